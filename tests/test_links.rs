//! Workers behind a command whose link is slow, or stands still, or is told to end at a bad time.
#![cfg(target_os = "linux")]

mod processes;
mod support;

use concurrent_futures::process::{
    OnCrash, ProcessPoolExecutor, ProcessPoolExecutorBuilder, WorkerDied,
};
use concurrent_futures::{Error, Exception, MapOptions, ShutdownOptions};
use processes::*;
use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::process::{exit, Command, Stdio};
use std::thread;
use std::time::Duration;
use support::{
    child, is_child, process_status, rounds, side_by_side, size, until, watchdog, Count, Random,
    Steps,
};

const BRIDGE: &str = "--multiprocessing-bridge";
const HOUR: Duration = Duration::from_secs(3600);

fn this() -> String {
    env::current_exe().unwrap().to_str().unwrap().to_owned()
}

// ---- What stands between the pool and the bridge, as the two ends of `ssh` do

/// Copies both ways, so many bytes in a second; zero for any number.
#[test]
fn relay_entry() {
    let rate = match env::var("RELAY") {
        Ok(rate) if env::args().next_back().unwrap() == BRIDGE => rate.parse().unwrap(),
        _ => return,
    };
    let mut bridge = Command::new(this())
        .args(entry("processes::worker_entry"))
        .arg(BRIDGE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (input, output) = (bridge.stdin.take().unwrap(), bridge.stdout.take().unwrap());
    thread::spawn(move || copy(io::stdin(), input, rate));
    copy(output, io::stdout(), rate);
    exit(bridge.wait().unwrap().code().unwrap_or(1));
}

/// Copies until one of them ends.
fn copy(mut from: impl Read, mut to: impl Write, rate: usize) {
    let length = if rate == 0 { 65_536 } else { rate / 20 };
    let mut buffer = vec![0; length];
    loop {
        match from.read(&mut buffer) {
            Ok(length) if length > 0 => {
                let written = to.write_all(&buffer[..length]).and_then(|()| to.flush());
                if written.is_err() {
                    break;
                }
                if rate > 0 {
                    thread::sleep(Duration::from_secs(1) * length as u32 / rate as u32);
                }
            }
            _ => break,
        }
    }
}

fn relay(rate: usize, token: &str, before: &[&str]) -> ProcessPoolExecutorBuilder {
    let variables = [format!("RELAY={rate}"), format!("TOKEN={token}")];
    let words = ["env".to_owned()].into_iter().chain(variables);
    let words = words.chain(before.iter().map(ToString::to_string));
    builder(1)
        .command(words.chain([this()]))
        .worker_args(entry("relay_entry"))
        .on_crash(OnCrash::FailCall)
}

fn exec(max_workers: usize) -> ProcessPoolExecutorBuilder {
    builder(max_workers).command(["env".to_owned(), this()])
}

fn token(name: &str) -> String {
    format!("test-links-{name}-{}", std::process::id())
}

fn stop(steps: &Steps, pid: u32) {
    kill(pid, "STOP");
    until(steps, "it is stopped", || is_stopped(pid));
}

/// The processes that have this in their environment.
fn with_token(token: &str) -> Vec<u32> {
    let variable = format!("TOKEN={token}");
    processes_having("environ", &variable)
}

fn goes_on(pool: &ProcessPoolExecutor) {
    assert_eq!(pool.submit(square, 5).unwrap().result(None).unwrap(), 25);
}

// ---- Slow, and still

/// As long as bytes arrive, nobody is dead; also when a frame takes longer than the silence that is allowed.
#[test]
fn a_link_that_is_slow() {
    let cases = [(20_000, 80_000), (8_000_000, 20_000_000)];
    side_by_side("a slow link", cases, |_, (rate, length)| {
        let builder = relay(rate, &token("slow"), &[]);
        let pool = builder.keep_alive(Duration::from_secs(2)).build().unwrap();
        let echoed = pool.submit(echo, vec![3; length]).unwrap();
        assert_eq!(echoed.result(None).unwrap(), vec![3; length]);
        assert_eq!(pool.process_count(), 1);
        goes_on(&pool);
        pool.shutdown();
    });
}

/// What stands between is stopped: while a call runs, while its arguments are under way, and while its result is.
#[test]
fn a_link_that_stands_still() {
    let wrappers = [&[][..], &["sh", "-c", r#""$@"; exit $?"#, "sh"]];
    let cases = wrappers
        .into_iter()
        .flat_map(|wrapper| (0..4).map(move |n| (n, wrapper)));
    side_by_side("a link that stands still", cases, |steps, (n, wrapper)| {
        let keep_alive = [Some(1), Some(1), Some(1), None][n];
        let token = token(&format!("still{n}-{}", wrapper.len()));
        let builder = relay(500_000, &token, wrapper);
        let builder = builder.keep_alive(keep_alive.map(Duration::from_secs));
        let pool = builder.build().unwrap();
        goes_on(&pool);
        let pid = pool.pids()[0];
        let relay = if wrapper.is_empty() {
            pid
        } else {
            let children = format!("/proc/{pid}/task/{pid}/children");
            fs::read_to_string(children)
                .unwrap()
                .trim()
                .parse()
                .unwrap()
        };
        let holder = Holder::new();
        let call: Box<dyn Fn() -> Option<Exception>> = match n {
            1 | 2 => {
                let (sent, returned) = if n == 1 {
                    (1_500_000, 0)
                } else {
                    (0, 1_500_000)
                };
                let call = pool.submit(bytes_for, (vec![1; sent], returned)).unwrap();
                // It is about a third of the way.
                thread::sleep(Duration::from_secs(1));
                Box::new(move || call.exception(None).unwrap())
            }
            _ => {
                let call = pool.submit(hold, holder.port()).unwrap();
                let held = holder.entered();
                Box::new(move || {
                    let _held = &held;
                    call.exception(None).unwrap()
                })
            }
        };
        stop(steps, relay);
        steps.at("it is found");
        if keep_alive.is_none() {
            pool.kill_workers();
        }
        match call() {
            // It had not got all of its arguments, so another has run it.
            None => assert_eq!(n, 1),
            Some(exception) => {
                assert!(n != 1 && is::<WorkerDied>(&exception), "{exception:?}");
                let text = exception.to_string();
                let silent = text.contains("nothing was heard of it for 1s");
                assert_eq!(silent, keep_alive.is_some(), "{text}");
            }
        }
        pool.shutdown();
        assert_eq!(pool.process_count(), 0);
        kill(relay, "CONT");
        until(steps, "nobody is left", || with_token(&token).is_empty());
    });
}

/// The bridge's worker, here, prints when it has greeted, and nearly fills a pipe with that.
#[test]
fn talkative_entry() {
    if env::var_os("TALKATIVE").is_some() && env::args().next_back().unwrap() != BRIDGE {
        thread::spawn(|| {
            thread::sleep(Duration::from_secs(1));
            print!("{}", "x".repeat(65_380));
            io::stdout().flush()
        });
    }
    if env::var_os("TALKATIVE").is_some() {
        register_all();
    }
}

/// A parent that reads nothing more, and falls silent later. The bridge may be about to say something that nobody
/// takes; it finds the silence all the same.
#[test]
fn a_parent_that_does_not_read_and_falls_silent() {
    watchdog("a parent that falls silent", |steps| {
        let token = token("silent");
        let frame = |kind: u8, payload: &[u8]| {
            let length = (payload.len() as u32).to_le_bytes();
            [&[0xff, b'c', b'f', kind], &length[..], payload].concat()
        };
        let mut bridge = Command::new(this())
            .args(entry("talkative_entry"))
            .arg(BRIDGE)
            .env("TALKATIVE", "")
            .env("TOKEN", &token)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = bridge.stdin.take().unwrap();
        let mut stdout = bridge.stdout.take().unwrap();
        let begin = frame(2, &400_u64.to_le_bytes());
        stdin.write_all(&begin).unwrap();
        steps.at("the greeting");
        let mut seen = Vec::new();
        while !seen.windows(4).any(|it| it == b"\xffcf\0") {
            let mut byte = [0];
            stdout.read_exact(&mut byte).unwrap();
            seen.push(byte[0]);
        }
        let mut length = [0; 4];
        stdout.read_exact(&mut length).unwrap();
        let greeting = &mut vec![0; u32::from_le_bytes(length) as usize];
        stdout.read_exact(greeting).unwrap();
        steps.at("it is spoken to");
        for _ in 0..100 {
            // An error: on a machine that is too busy, it has found a silence already.
            let _ = stdin.write_all(&frame(1, &[]));
            thread::sleep(Duration::from_millis(50));
        }
        steps.at("it is not spoken to");
        assert_eq!(bridge.wait().unwrap().code(), Some(1));
        until(steps, "nobody is left", || with_token(&token).is_empty());
    });
}

/// Results that arrive about when their worker is given up: they count, or they do not.
#[test]
fn a_result_in_the_last_moment() {
    watchdog("a result in the last moment", |steps| {
        let keep_alive = Duration::from_millis(200);
        let builder = exec(1).on_crash(OnCrash::FailCall);
        let pool = builder.keep_alive(keep_alive).build().unwrap();
        let mut random = Random::new(3);
        let mut outcomes = [0, 0];
        for round in rounds(30, 300) {
            steps.at(format!("round {round}, {outcomes:?}"));
            let holder = Holder::new();
            let call = pool.submit(hold, holder.port()).unwrap();
            let held = holder.entered();
            let count = Count::new();
            let its_count = count.clone();
            call.add_done_callback(move |_| its_count.add(1));
            let bridge = pool.pids().first().copied();
            // On a busy machine, it may have been given up without this.
            bridge.iter().for_each(|&bridge| kill(bridge, "STOP"));
            drop(held);
            let jitter = random.below(60_000) as u64;
            thread::sleep(keep_alive - Duration::from_millis(40) + Duration::from_micros(jitter));
            bridge.iter().for_each(|&bridge| kill(bridge, "CONT"));
            match call.result(None) {
                Ok(_) => outcomes[0] += 1,
                Err(Error::Exception(exception)) => {
                    assert!(is::<WorkerDied>(&exception), "{exception:?}");
                    outcomes[1] += 1;
                }
                other => panic!("{other:?}"),
            }
            until(steps, "it is said", || count.get() > 0);
            // The next one does not get what was meant for this one.
            let next = pool.submit(square, round as u64).unwrap();
            match next.result(None) {
                Ok(result) => assert_eq!(result, (round * round) as u64),
                Err(Error::Exception(exception)) => assert!(is::<WorkerDied>(&exception)),
                other => panic!("{other:?}"),
            }
            assert_eq!(count.get(), 1);
        }
        println!("results and deaths: {outcomes:?}");
        pool.shutdown();
    });
}

// ---- What is printed

fn memory(pid: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    let digits: String = line.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

/// Nobody waits for a newline for ever, or takes bytes for text.
#[test]
fn a_flood_without_lines() {
    let length = size(20_000_000, 100_000_000);
    if is_child("flood") {
        let pool = exec(1).build().unwrap();
        goes_on(&pool);
        let bridge = pool.pids()[0].to_string();
        let before = [process_status("VmHWM"), memory(&bridge)];
        let written = pool.submit(floods, length).unwrap();
        assert_eq!(written.result(None).unwrap(), length);
        goes_on(&pool);
        let after = [process_status("VmHWM"), memory(&bridge)];
        for (before, after) in before.iter().zip(after) {
            assert!(after < before + 4_000, "{before} {after}");
        }
        assert_eq!(pool.pids()[0].to_string(), bridge);
        pool.shutdown();
        exit(77);
    }
    watchdog("a flood", move |_| {
        let mut child = Command::new(this())
            .args(["--exact", "a_flood_without_lines", "--nocapture"])
            .env("RELIABILITY_TEST_CHILD", "flood")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut buffer = vec![0; 65_536];
        let mut count = 0;
        while let Ok(length @ 1..) = stdout.read(&mut buffer) {
            count += buffer[..length].iter().filter(|&&it| it == 0xfe).count();
        }
        assert_eq!(child.wait().unwrap().code(), Some(77));
        assert_eq!(count, length);
    });
}

/// A parent need not have a standard input, nor any other stream.
#[test]
fn a_parent_without_streams() {
    if is_child("closed") {
        let pool = exec(2).build().unwrap();
        goes_on(&pool);
        pool.submit(prints, "said".to_owned()).unwrap();
        let input = pool.submit(standard_input, ()).unwrap();
        assert_eq!(input.result(None).unwrap(), "");
        let echoed = pool.submit(echo, vec![1; 1_000_000]).unwrap();
        assert_eq!(echoed.result(None).unwrap().len(), 1_000_000);
        pool.shutdown();
        exit(77);
    }
    for closed in ["exec <&-", "exec >&-", "exec 2>&-", "exec <&- >&- 2>&-"] {
        let ended = child("a_parent_without_streams", "closed", closed);
        assert_eq!(ended.code, Some(77), "{closed}: {}", ended.stderr);
    }
}

// ---- Ends, and new beginnings

/// A pool ends while its only command has yet to say something.
#[test]
fn an_end_before_the_beginning() {
    watchdog("an end before the beginning", |steps| {
        for end in 0..6 {
            steps.at(format!("end {end}"));
            let token = token(&format!("end{end}"));
            let words = [
                "env",
                &format!("TOKEN={token}"),
                "sh",
                "-c",
                "sleep 1000; :",
            ];
            // Whoever waits for the call, waits for the start.
            let waits = matches!(end, 0 | 5);
            let limit = if waits {
                Duration::from_millis(500)
            } else {
                HOUR
            };
            let pool = builder(1)
                .command(words)
                .startup_timeout(limit)
                .build()
                .unwrap();
            let call = pool.submit(square, 3).unwrap();
            let options = ShutdownOptions::new();
            until(steps, "it is started", || {
                waits || !with_token(&token).is_empty()
            });
            steps.at(format!("the end of end {end}"));
            match end {
                0 => pool.shutdown(),
                1 => {
                    let limit = Duration::from_millis(100);
                    let ended = pool.shutdown_timeout(options.timeout(limit));
                    assert!(ended.is_err());
                    assert!(!call.done());
                    pool.kill_workers();
                }
                2 => pool.kill_workers(),
                3 => pool.terminate_workers(),
                4 => pool.shutdown_with(options.cancel_futures(true)),
                _ => {}
            }
            if end < 5 {
                pool.shutdown();
                assert_eq!(pool.process_count(), 0);
            }
            drop(pool);
            steps.at(format!("the call of end {end}"));
            assert!(call.result(None).is_err());
            // The shell is killed; what it has started itself is not known here.
            until(steps, "no shell is left", || with_token(&token).len() <= 1);
            for pid in with_token(&token) {
                kill(pid, "KILL");
            }
        }
    });
}

/// A worker dies in the middle of a chunk: all of that is run again, by another, and nothing else is.
#[test]
fn chunks_that_are_run_again() {
    watchdog("chunks that are run again", |steps| {
        let path = env::temp_dir().join(token("chunks"));
        for deadly in [0, 14, 29, 39] {
            steps.at(format!("{deadly}"));
            let pool = exec(2).on_crash(OnCrash::Retry(1)).build().unwrap();
            let file = path.to_str().unwrap().to_owned();
            let options = MapOptions::new().chunksize(10);
            let calls = (0..40).map(|n| (file.clone(), n, deadly));
            let results = pool.map_with(aborts_first_at, calls, options).unwrap();
            assert!(results.map(Result::unwrap).eq(0..40));
            goes_on(&pool);
            pool.shutdown();
            let text = fs::read_to_string(&path).unwrap();
            fs::remove_file(&path).unwrap();
            for n in 0..40 {
                let times = text.lines().filter(|line| *line == n.to_string()).count();
                let again = n / 10 == deadly / 10 && n <= deadly;
                assert_eq!(times, if again { 2 } else { 1 }, "{n} of {deadly}");
            }
        }
    });
}
