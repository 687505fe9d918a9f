//! Workers behind a command that is not what it seems to be: it speaks the protocol, up to some point.
#![cfg(target_os = "linux")]

mod processes;
mod support;

use concurrent_futures::process::{
    CallOptions, CallTimeout, OnCrash, ProcessPoolExecutor, ProcessPoolExecutorBuilder, WorkerDied,
};
use concurrent_futures::ShutdownOptions;
use processes::*;
use std::env;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::io::AsFd;
use std::os::unix::net::UnixStream;
use std::process::{exit, Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;
use support::{side_by_side, until, watchdog, Steps};

fn this() -> String {
    env::current_exe().unwrap().to_str().unwrap().to_owned()
}

// What a frame is for, by its number.
const DATA: u8 = 0;
const ALIVE: u8 = 1;
const BEGIN: u8 = 2;
const HELLO: u8 = 5;
const READY: u8 = 6;
const ENDED: u8 = 8;
const FAILED: u8 = 9;

const HOUR: Duration = Duration::from_secs(3600);

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_le_bytes();
    [&[0xff, b'c', b'f', kind], &length[..], payload].concat()
}

/// A message from a worker: its length, and what it says.
fn message(bytes: &[u8]) -> Vec<u8> {
    frame(
        DATA,
        &[&(bytes.len() as u64).to_le_bytes()[..], bytes].concat(),
    )
}

/// What a worker says first: which functions it has.
fn greeting() -> Vec<u8> {
    let mut worker = Command::new(this())
        .args(entry("processes::worker_entry"))
        .arg("--multiprocessing-bridge")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = worker.stdin.take().unwrap();
    stdin.write_all(&frame(BEGIN, &[0; 8])).unwrap();
    let mut stdout = worker.stdout.take().unwrap();
    // Something was printed before the first frame.
    let mut byte = [0];
    while byte != [0xff] {
        stdout.read_exact(&mut byte).unwrap();
    }
    let mut stream = io::Cursor::new(byte).chain(stdout);
    let greeting = loop {
        if let (DATA, greeting) = received(&mut stream).unwrap() {
            break frame(DATA, &greeting);
        }
    };
    drop(stdin);
    worker.wait().unwrap();
    greeting
}

/// A frame; nothing once the stream ends.
fn received(stream: &mut impl Read) -> Option<(u8, Vec<u8>)> {
    let mut header = [0; 8];
    stream.read_exact(&mut header).ok()?;
    let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).ok()?;
    Some((header[3], payload))
}

static OUTPUT: Mutex<()> = Mutex::new(());

fn say(bytes: &[u8]) {
    let _output = OUTPUT.lock().unwrap();
    let mut stdout = io::stdout().lock();
    if stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .is_err()
    {
        exit(0);
    }
}

/// A bridge that is none. What it does is said by a variable, and a number behind it.
#[test]
fn stranger_entry() {
    let fault = match env::var("STRANGER") {
        Ok(fault) if env::args().next_back().unwrap() == "--multiprocessing-bridge" => fault,
        _ => return,
    };
    env::remove_var("STRANGER");
    let (fault, number) = fault.split_once('-').unwrap();
    let number: u64 = number.parse().unwrap();
    let greeting = greeting();
    say(&frame(HELLO, b"1"));
    let begin = received(&mut io::stdin()).unwrap();
    assert_eq!(begin.0, BEGIN);
    let close_half = || {
        let stdin = io::stdin().as_fd().try_clone_to_owned().unwrap();
        UnixStream::from(stdin).shutdown(Shutdown::Read).unwrap();
    };
    if (fault, number) == ("half", 0) {
        close_half();
    }
    say(&frame(READY, &[]));
    say(&greeting);
    // It is always there.
    thread::spawn(|| loop {
        say(&frame(ALIVE, &[]));
        thread::sleep(Duration::from_millis(20));
    });
    let nine = message(&[&[1][..], &9_u64.to_le_bytes()].concat());
    let next_call = || {
        while received(&mut io::stdin()).map_or(true, |(kind, _)| kind != DATA) {}
    };
    match fault {
        // Reads nothing, and replies when a holder at this port lets it.
        "deaf" => loop {
            hold(number as u16);
            // As if the call had returned an empty list.
            say(&message(&[1, 0, 0, 0, 0, 0, 0, 0, 0]));
        },
        // Replies so many times to each call, and begins before the first.
        "eager" => loop {
            for _ in 0..number {
                say(&nine);
            }
            next_call();
        },
        // Says that so many bytes follow.
        "boasts" => {
            next_call();
            let length = number.to_le_bytes();
            say(&frame(
                DATA,
                &[&length[..], &[1], &length, &[0; 100]].concat(),
            ));
            thread::sleep(HOUR);
        }
        // Replies, and then sends what is no frame.
        "lapses" => {
            next_call();
            say(&nine);
            next_call();
            say(b"\xffnonsense");
            thread::sleep(HOUR);
        }
        // Does nothing of what it is told, and does not end.
        "obstinate" => loop {
            let _ = received(&mut io::stdin());
        },
        // Closes what it reads, at once or after a call, and goes on speaking.
        "half" => {
            if number > 0 {
                next_call();
                close_half();
                say(&nine);
            }
            thread::sleep(HOUR);
        }
        // Says that the worker has ended in a way that there may not be.
        "ends" => {
            next_call();
            say(&frame(ENDED, &(number as i32).to_le_bytes()));
            thread::sleep(HOUR);
        }
        // Gives a reason that is to be obeyed by terminals.
        "excuses" => {
            next_call();
            say(&frame(
                FAILED,
                b"\x1b[31mred\r\nand\x07 \xff".repeat(1000).as_slice(),
            ));
            thread::sleep(HOUR);
        }
        _ => panic!("{fault}"),
    }
}

fn stranger(fault: &str, number: u64) -> ProcessPoolExecutorBuilder {
    builder(1)
        .command([
            "env".to_owned(),
            format!("STRANGER={fault}-{number}"),
            this(),
        ])
        .worker_args(entry("stranger_entry"))
        .on_crash(OnCrash::FailCall)
}

/// Makes calls of a deaf stranger until there is no room for one, and so another takes its place, or there were
/// so many. Returns how many it took.
fn fill(steps: &Steps, pool: &ProcessPoolExecutor, holder: &Holder, limit: usize) -> usize {
    let mut pids = Vec::new();
    for n in 0..limit {
        steps.at(format!("call {n} of {limit}"));
        let call = pool.submit(echo, vec![1; 4_000]).unwrap();
        while !call.done() {
            let pid = holder.entered().pid;
            pids.push(pid);
            // The last request of one that was killed is followed by one of the next.
            until(steps, &format!("call {n} of {limit} is done"), || {
                call.done() || !pool.pids().contains(&pid)
            });
        }
        assert_eq!(call.result(None).unwrap(), []);
        pids.dedup();
        if pids.len() > 1 {
            return n;
        }
    }
    assert_ne!(limit, usize::MAX);
    limit
}

/// What it does not read fills the stream, until what seems to be an idle worker cannot be sent any more. Nobody is
/// to wait for that, least of all with the pool's lock held.
#[test]
fn a_stranger_that_speaks_and_does_not_read() {
    watchdog("a stranger that speaks and does not read", |steps| {
        let start = |keep_alive: Option<Duration>| {
            let holder = Holder::new();
            let builder = stranger("deaf", holder.port().into()).keep_alive(keep_alive);
            (builder.build().unwrap(), holder)
        };
        let end = |pool: ProcessPoolExecutor| {
            pool.shutdown_with(ShutdownOptions::new().wait(false));
            pool.kill_workers();
            pool.shutdown();
        };
        // A call.
        let (pool, holder) = start(None);
        let room = fill(steps, &pool, &holder, usize::MAX);
        end(pool);
        // The end of the worker.
        let (pool, holder) = start(None);
        assert_eq!(fill(steps, &pool, &holder, room), room);
        steps.at("shutdown");
        end(pool);
        // What keeps it alive, and a call behind that.
        let (pool, holder) = start(Some(Duration::from_millis(400)));
        fill(steps, &pool, &holder, usize::MAX);
        end(pool);
    });
}

/// To load its arguments may take a worker longer than anything else does; nothing of them is lost.
#[test]
fn arguments_that_are_loaded_slowly() {
    watchdog("arguments that are loaded slowly", |_| {
        let pool = builder(1)
            .command(["env".to_owned(), this()])
            .keep_alive(Duration::from_secs(2))
            .build()
            .unwrap();
        let slow = Slow(vec![1; 1_000_000], vec![2; 3_000_000]);
        let expected = [&*slow.0, &slow.1].concat();
        let loaded = pool.submit(takes_slow, slow).unwrap();
        assert_eq!(loaded.result(None).unwrap(), expected);
        pool.shutdown();
    });
}

/// No more than one reply to each call; what else comes ends the worker.
#[test]
fn a_stranger_that_replies_too_often() {
    side_by_side(
        "a stranger that replies too often",
        [1, 2],
        |steps, replies| {
            let pool = stranger("eager", replies).build().unwrap();
            for n in 0..10 {
                steps.at(format!("call {n}"));
                let call = pool.submit(square, 3).unwrap();
                match call.exception(None).unwrap() {
                    None => assert_eq!(call.result(None).unwrap(), 9),
                    Some(exception) => assert!(is::<WorkerDied>(&exception), "{exception}"),
                }
            }
            pool.kill_workers();
            pool.shutdown();
        },
    );
}

#[test]
fn a_stranger_that_boasts() {
    let lengths = [200, 9_000, 1 << 33, 1 << 62, u64::MAX];
    side_by_side("a stranger that boasts", lengths, |_, length| {
        let pool = stranger("boasts", length).build().unwrap();
        let options = CallOptions::new().timeout(Duration::from_secs(1));
        let call = pool.submit_with(echo, vec![1], options).unwrap();
        let exception = exception(&call);
        let known = is::<CallTimeout>(&exception) || exception.to_string().contains("bytes");
        assert!(known, "{exception}");
        pool.kill_workers();
        pool.shutdown();
    });
}

#[test]
fn a_stranger_that_lapses() {
    watchdog("a stranger that lapses", |_| {
        let pool = stranger("lapses", 0).build().unwrap();
        assert_eq!(pool.submit(square, 3).unwrap().result(None).unwrap(), 9);
        let text = exception(&pool.submit(square, 3).unwrap()).to_string();
        assert!(text.contains("it has sent what is no frame"), "{text}");
        pool.shutdown();
    });
}

/// What cannot be sent to it is not waited for: not a call, be it small or large, nor the question whether it would look
/// into the queue.
#[test]
fn a_stranger_that_closes_one_half() {
    let cases = [(0, 10), (1, 10), (1, 300_000)];
    side_by_side(
        "a stranger that closes one half",
        cases,
        |_, (calls, length)| {
            let pool = stranger("half", calls).build().unwrap();
            for _ in 0..calls {
                assert_eq!(pool.submit(square, 3).unwrap().result(None).unwrap(), 9);
            }
            let exception = exception(&pool.submit(echo, vec![1; length]).unwrap());
            // The next of its kind takes the call for its first one.
            let replied = exception.to_string().contains("9 bytes are needed");
            assert!(
                is::<WorkerDied>(&exception) || (calls > 0 && replied),
                "{exception:?}"
            );
            pool.kill_workers();
            pool.shutdown();
        },
    );
}

/// It is asked, and then it is killed; nobody waits for it for long.
#[test]
fn a_stranger_that_does_not_end() {
    watchdog("a stranger that does not end", |steps| {
        let pool = stranger("obstinate", 0).build().unwrap();
        for n in 0..4 {
            steps.at(format!("call {n}"));
            let options = CallOptions::new().timeout((n == 1).then(|| Duration::from_millis(50)));
            let call = pool.submit_with(square, 3, options).unwrap();
            until(steps, "it runs", || call.running() || call.done());
            match n {
                0 => assert!(pool.kill_call(&call)),
                1 => {}
                2 => pool.pids().iter().for_each(|&pid| kill(pid, "TERM")),
                _ => pool.terminate_workers(),
            }
            if n == 3 {
                assert!(!call.done());
                pool.kill_workers();
            }
            exception(&call);
        }
        pool.shutdown();
        assert_eq!(pool.process_count(), 0);
    });
}

#[test]
fn a_stranger_that_ends_strangely() {
    let statuses = [0, 0x137f, 0xffff, 0x7fff_ffff, 0x8000_0000, u32::MAX];
    side_by_side("a stranger that ends strangely", statuses, |_, status| {
        let pool = stranger("ends", status.into()).build().unwrap();
        let exception = exception(&pool.submit(square, 3).unwrap());
        assert!(is::<WorkerDied>(&exception), "{exception:?}");
        assert!(exception.to_string().contains("abruptly"));
        pool.shutdown();
    });
}

#[test]
fn a_stranger_that_excuses_itself() {
    watchdog("a stranger that excuses itself", |_| {
        let pool = stranger("excuses", 0).build().unwrap();
        let text = exception(&pool.submit(square, 3).unwrap()).to_string();
        assert!(text.contains("[31mred"), "{text}");
        assert!(!text.chars().any(char::is_control), "{text:?}");
        assert!(text.len() < 3000, "{}", text.len());
        pool.shutdown();
    });
}

// ---- What a builder may be given

#[test]
fn words_that_cannot_be_a_command() {
    watchdog("words that cannot be a command", |steps| {
        for (words, expected) in [
            (vec![""], "No such file"),
            (vec!["", ""], "No such file"),
            (vec!["a\0b"], "nul byte"),
            (vec!["env", "a\0b"], "nul byte"),
            (vec!["/"], "ermission denied"),
            (vec!["/dev/null"], "ermission denied"),
        ] {
            for on_crash in [OnCrash::BreakPool, OnCrash::Retry(u32::MAX)] {
                steps.at(format!("{words:?} {on_crash:?}"));
                let builder = builder(2).command(words.clone()).on_crash(on_crash);
                let pool = builder.build().unwrap();
                let text = exception(&pool.submit(square, 3).unwrap()).to_string();
                assert!(text.contains(expected), "{text}");
                assert!(!text.contains('\0'), "{text:?}");
                pool.shutdown();
            }
        }
        let panics = std::panic::catch_unwind(|| {
            let builder = builder(2).commands(|n| -> Vec<String> { panic!("{n}") });
            builder.build().map(drop)
        });
        assert!(panics.is_err());
    });
}

/// Nothing is too short or too long to be taken at its word.
#[test]
fn times_that_are_too_short_or_too_long() {
    watchdog("times that are too short or too long", |steps| {
        let by = || builder(1).command(["env".to_owned(), this()]);
        let zero = by().keep_alive(Duration::ZERO).build();
        assert!(zero.unwrap_err().to_string().contains("millisecond"));
        for keep_alive in [
            Duration::MAX,
            Duration::from_secs(u64::MAX),
            Duration::from_secs(u64::MAX / 1000 + 1),
            Duration::from_millis(u64::MAX),
            Duration::from_millis(u64::MAX) + Duration::from_millis(50),
        ] {
            steps.at(format!("keep_alive {keep_alive:?}"));
            let builder = by().keep_alive(keep_alive).startup_timeout(Duration::MAX);
            let pool = builder.build().unwrap();
            assert!(pool.submit(pid_after, 200).unwrap().result(None).is_ok());
            pool.shutdown();
        }
        // Nobody can keep to that; whatever becomes of the calls, they end.
        steps.at("keep_alive 1 ms");
        let pool = by()
            .keep_alive(Duration::from_millis(1))
            .on_crash(OnCrash::Retry(2));
        let pool = pool.build().unwrap();
        let calls: Vec<_> = (0..5).filter_map(|n| pool.submit(square, n).ok()).collect();
        calls.iter().for_each(|call| drop(call.exception(None)));
        pool.shutdown();
        steps.at("startup_timeout 0");
        let pool = by().startup_timeout(Duration::ZERO).build().unwrap();
        let text = exception(&pool.submit(square, 3).unwrap()).to_string();
        assert!(
            text.contains("nothing was heard of a worker for 0ns"),
            "{text}"
        );
        pool.shutdown();
    });
}

/// However often a call may be run again, the pool's end by force is its end.
#[test]
fn a_poisonous_call_that_is_run_again_and_again() {
    watchdog("a poisonous call", |steps| {
        let pool = builder(2)
            .command(["env".to_owned(), this()])
            .on_crash(OnCrash::Retry(u32::MAX))
            .build()
            .unwrap();
        let holder = Holder::new();
        let poison = pool.submit(hold_and_abort, holder.port()).unwrap();
        for n in 0..6 {
            steps.at(format!("attempt {n}"));
            drop(holder.entered());
            assert_eq!(pool.submit(square, n).unwrap().result(None).unwrap(), n * n);
        }
        steps.at("the end");
        let _held = holder.entered();
        pool.kill_workers();
        assert!(is::<WorkerDied>(&exception(&poison)));
        pool.shutdown();
    });
}
