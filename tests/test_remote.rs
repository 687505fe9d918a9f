//! Workers that a command starts: what it must be able to do, and what may become of it.
#![cfg(target_os = "linux")]

mod processes;
mod support;

use concurrent_futures::pickle::RemoteError;
use concurrent_futures::process::{
    freeze_support, BrokenProcessPool, CallKilled, CallOptions, CallTimeout, CommandFailed,
    OnCrash, ProcessPoolExecutor, ProcessPoolExecutorBuilder, WorkerDied,
};
use concurrent_futures::{Future, MapOptions, SubmitError};
use processes::*;
use std::collections::BTreeSet;
use std::env;
use std::fmt::Debug;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use support::{child, is_child, logged, rounds, side_by_side, until, watchdog, Random, Steps};

fn this() -> String {
    env::current_exe().unwrap().to_str().unwrap().to_owned()
}

/// The words, and this program.
fn words(words: &[&str]) -> Vec<String> {
    let mut words: Vec<_> = words.iter().map(ToString::to_string).collect();
    words.push(this());
    words
}

/// A shell that is between the pool and the bridge, and stays there.
fn shell() -> Vec<String> {
    words(&["sh", "-c", r#""$@"; exit $?"#, "sh"])
}

fn exec() -> Vec<String> {
    words(&["sh", "-c", r#"exec "$@""#, "sh"])
}

fn by(command: Vec<String>, max_workers: usize) -> ProcessPoolExecutorBuilder {
    builder(max_workers).command(command)
}

/// With crashes that are the matter of single calls.
fn tough(command: Vec<String>, max_workers: usize) -> ProcessPoolExecutor {
    let builder = by(command, max_workers).on_crash(OnCrash::FailCall);
    builder.build().unwrap()
}

fn died<T: Clone + Debug>(future: &Future<T>) -> WorkerDied {
    let exception = exception(future);
    let died = exception.downcast_ref::<WorkerDied>();
    died.unwrap_or_else(|| panic!("{exception:?}")).clone()
}

// ---- What works

/// What runs commands may take any other status for a failure, and say so, as `srun` does.
#[test]
fn a_worker_that_is_not_needed_any_more_ends_well() {
    watchdog("the status of a command", |_| {
        let path = env::temp_dir().join(format!("test-status-{}", std::process::id()));
        let script = format!(r#""$@"; echo $? > {}"#, path.display());
        let pool = by(words(&["sh", "-c", &script, "sh"]), 1).build().unwrap();
        assert_eq!(pool.submit(square, 3).unwrap().result(None).unwrap(), 9);
        pool.shutdown();
        let status = fs::read_to_string(&path).unwrap();
        let _ = fs::remove_file(&path);
        assert_eq!(status, "0\n");
    });
}

#[test]
fn engines_of_this_machine() {
    watchdog("engines of this machine", |steps| {
        for command in [
            exec(),
            shell(),
            words(&["env"]),
            words(&["nice", "-n", "5"]),
        ] {
            steps.at(format!("{command:?}"));
            let pool = by(command, 2).build().unwrap();
            assert_eq!(pool.submit(square, 5).unwrap().result(None).unwrap(), 25);
            assert_eq!(pool.submit(mul, (6, 7)).unwrap().result(None).unwrap(), 42);
            let large = pool.submit(echo, vec![7; 3_000_000]).unwrap();
            assert_eq!(large.result(None).unwrap(), vec![7; 3_000_000]);
            let parsed = exception(&pool.try_submit(parse, "x".to_owned()).unwrap());
            assert!(is::<std::num::ParseIntError>(&parsed));
            let panicked = exception(&pool.submit(panics, "no".to_owned()).unwrap());
            assert!(panicked
                .downcast_ref::<RemoteError>()
                .unwrap()
                .location()
                .is_some());
            let options = MapOptions::new().chunksize(7);
            let results = pool.map_with(square, 0..100, options).unwrap();
            assert!(results.map(Result::unwrap).eq((0..100).map(|n| n * n)));
            // An empty standard input, as of any other worker.
            let input = pool.submit(standard_input, ()).unwrap();
            assert_eq!(input.result(None).unwrap(), "");
            steps.at("shutdown");
            let pids = pool.pids();
            pool.shutdown();
            assert!(pids.iter().all(|&pid| !is_alive(pid)));
        }
    });
}

#[test]
fn each_worker_has_a_command_of_its_own() {
    watchdog("a command for each worker", |_| {
        let names = ["adam", "berta", "carla"];
        let pool = builder(3)
            .commands(move |n| ["env".to_owned(), format!("NAME={}", names[n]), this()])
            .build()
            .unwrap();
        assert_eq!(pool.max_workers(), 3);
        let holder = Holder::new();
        let held: Vec<_> = (0..2)
            .map(|_| pool.submit(hold, holder.port()).unwrap())
            .collect();
        let in_hold = [holder.entered(), holder.entered()];
        let third = pool.submit(variable, "NAME".to_owned()).unwrap();
        let third = third.result(None).unwrap().unwrap();
        drop(in_hold);
        assert!(held.iter().all(|it| it.result(None).is_ok()));
        let mut seen = BTreeSet::from([third]);
        let calls: Vec<_> = (0..60)
            .map(|_| pool.submit(variable, "NAME".to_owned()).unwrap())
            .collect();
        seen.extend(calls.iter().map(|call| call.result(None).unwrap().unwrap()));
        assert!(seen.iter().all(|name| names.contains(&name.as_str())));
        assert_eq!(pool.process_count(), 3);
        pool.shutdown();
    });
}

#[test]
fn what_a_builder_refuses() {
    register_all();
    let builder = ProcessPoolExecutor::builder;
    let refused = |builder: ProcessPoolExecutorBuilder| builder.build().unwrap_err().to_string();
    assert!(refused(builder().command(Vec::<String>::new())).contains("words"));
    let short = by(exec(), 1).keep_alive(Duration::from_micros(10));
    assert!(refused(short).contains("millisecond"));
}

/// The same command for all of them, so nobody has to count them.
#[test]
fn a_command_for_any_number_of_workers() {
    watchdog("any number of workers", |_| {
        let pool = by(exec(), usize::MAX).build().unwrap();
        assert_eq!(pool.submit(square, 7).unwrap().result(None).unwrap(), 49);
        pool.shutdown();
    });
}

/// An initializer, and a limit on the calls of a process, are as with any other worker.
#[test]
fn initializers_and_limits() {
    watchdog("initializers and limits", |_| {
        let pool = by(exec(), 1)
            .initializer(set_state, 5)
            .max_tasks_per_child(2);
        let pool = pool.build().unwrap();
        let calls: Vec<_> = (0..6).map(|_| pool.submit(pid, ()).unwrap()).collect();
        let pids: BTreeSet<_> = calls
            .iter()
            .map(|call| call.result(None).unwrap())
            .collect();
        assert_eq!(pids.len(), 3);
        assert_eq!(pool.submit(state, ()).unwrap().result(None).unwrap(), 5);
        pool.shutdown();
        let fails = by(exec(), 1).try_initializer(fails, false).build().unwrap();
        let failed = exception(&fails.submit(square, 1).unwrap());
        assert!(
            failed.to_string().contains("the initializer fails"),
            "{failed}"
        );
    });
}

/// What calls print arrives, each line as a whole, and never gets into the protocol.
#[test]
fn what_calls_print() {
    if is_child("prints") {
        let pool = by(shell(), 2).build().unwrap();
        pool.submit(prints, "said".to_owned()).unwrap();
        let texts = ["abc", "xyz"].map(str::to_owned);
        for text in &texts {
            pool.submit(prints_lines, (text.clone(), 3000)).unwrap();
        }
        let frame = "\u{ff}cf\0\0\0".to_owned();
        pool.submit(prints, frame).unwrap();
        assert_eq!(pool.submit(square, 5).unwrap().result(None).unwrap(), 25);
        pool.shutdown();
        return;
    }
    let ended = child("what_calls_print", "prints", "");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for text in ["abc", "xyz"] {
        let line = text.repeat(20);
        let lines = ended.stdout.lines().filter(|it| it.contains(&line));
        assert_eq!(lines.count(), 3000);
        let parts = ended.stdout.matches(text).count();
        assert_eq!(parts, 3000 * 20);
    }
    assert_eq!(ended.stdout.matches("said").count(), 2, "{}", ended.stdout);
    assert_eq!(ended.stderr.matches("said").count(), 1, "{}", ended.stderr);
}

// ---- How a worker ends

#[test]
fn the_status_of_the_worker_is_passed_on() {
    watchdog("the status", |steps| {
        for command in [exec(), shell()] {
            let pool = tough(command, 2);
            steps.at("exit");
            let exited = died(&pool.submit(exits, 3).unwrap());
            assert_eq!(exited.status().unwrap().code(), Some(3));
            assert!(exited.to_string().contains("started by `sh -c"), "{exited}");
            steps.at("abort");
            let aborted = died(&pool.submit(aborts, ()).unwrap());
            assert_eq!(aborted.status().unwrap().signal(), Some(6));
            steps.at("a signal");
            let holder = Holder::new();
            let call = pool.submit(hold, holder.port()).unwrap();
            kill(holder.entered().pid, "KILL");
            assert_eq!(died(&call).status().unwrap().signal(), Some(9));
            steps.at("terminate_workers");
            let call = pool.submit(hold, holder.port()).unwrap();
            let held = holder.entered();
            pool.terminate_workers();
            assert_eq!(died(&call).status().unwrap().code(), Some(143));
            assert!(!is_alive(held.pid));
            pool.shutdown();
        }
    });
}

/// A program may ignore SIGCHLD: the system then forgets its children as they end. What a bridge says of its worker is
/// known all the same, and nobody waits for what is forgotten.
#[test]
fn a_program_that_ignores_its_children() {
    const TEST: &str = "a_program_that_ignores_its_children";
    if is_child("ignores") {
        watchdog("ignored children", |steps| {
            let before = support::thread_total();
            for (n, pool) in [tough(exec(), 1), tough_pool(1)].into_iter().enumerate() {
                steps.at(format!("pool {n}"));
                for round in 0..3 {
                    assert_eq!(pool.submit(square, 5).unwrap().result(None).unwrap(), 25);
                    let status = died(&pool.submit(exits, 3).unwrap()).status();
                    let known = (n == 0).then_some(Some(3));
                    assert_eq!(status.map(|it| it.code()), known, "round {round}");
                }
                pool.shutdown();
            }
            // A bridge may ignore them, too.
            steps.at("a bridge");
            let pool = tough(words(&["env"]), 1);
            assert_eq!(pool.submit(square, 5).unwrap().result(None).unwrap(), 25);
            let text = died(&pool.submit(exits, 3).unwrap()).to_string();
            let expected = "how the worker has ended is not known: No child";
            assert!(text.contains(expected), "{text}");
            pool.shutdown();
            let ends = by(words(&["env"]), 1).worker_args(["--list"]).build();
            let text = exception(&ends.unwrap().submit(square, 5).unwrap()).to_string();
            assert!(text.contains("ended before it was"), "{text}");
            // One that ends while it starts.
            steps.at("a command");
            let failed = exception(&tough(vec!["true".into()], 1).submit(square, 5).unwrap());
            let text = failed.to_string();
            assert!(text.contains("has ended before it was a worker"), "{text}");
            steps.at("a worker");
            let pool = builder(1).worker_args(["--list"]).build().unwrap();
            let failed = exception(&pool.submit(square, 5).unwrap());
            assert!(is::<BrokenProcessPool>(&failed), "{failed:?}");
            pool.shutdown();
            until(steps, "no thread is left", || {
                support::thread_total() <= before
            });
            println!("it works");
        });
        return;
    }
    let mut command = Command::new("env");
    command.args([
        "--ignore-signal=CHLD",
        &this(),
        "--exact",
        TEST,
        "--nocapture",
    ]);
    let output = command.env("RELIABILITY_TEST_CHILD", "ignores").output();
    let output = output.unwrap();
    let text = [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
    assert!(text[0].contains("it works"), "{text:?}");
}

#[test]
fn calls_that_are_ended() {
    watchdog("calls that are ended", |steps| {
        for command in [exec(), shell()] {
            let pool = tough(command.clone(), 2);
            let holder = Holder::new();
            steps.at("kill_call");
            let call = pool.submit(hold, holder.port()).unwrap();
            let held = holder.entered();
            assert!(pool.kill_call(&call));
            assert!(is::<CallKilled>(&exception(&call)));
            until(steps, "it is gone", || !is_alive(held.pid));
            // Long enough for a new worker to start, and the call in it.
            steps.at("a time limit, of a worker that is stopped");
            let options = CallOptions::new().timeout(Duration::from_secs(3));
            let call = pool.submit_with(hold, holder.port(), options).unwrap();
            let held = holder.entered();
            kill(held.pid, "STOP");
            assert!(is::<CallTimeout>(&exception(&call)));
            until(steps, "it is gone", || !is_alive(held.pid));
            steps.at("kill_workers");
            let call = pool.submit(hold, holder.port()).unwrap();
            let held = holder.entered();
            pool.kill_workers();
            died(&call);
            pool.shutdown();
            until(steps, "it is gone", || !is_alive(held.pid));
        }
    });
}

/// The bridge is killed: the worker does not live on.
#[test]
fn the_bridge_is_killed() {
    watchdog("the bridge is killed", |steps| {
        for idle in [false, true] {
            let pool = tough(exec(), 1);
            let holder = Holder::new();
            let worker = pool.submit(pid, ()).unwrap().result(None).unwrap();
            let call = (!idle).then(|| {
                let call = pool.submit(hold, holder.port()).unwrap();
                (call, holder.entered())
            });
            steps.at(format!("the end, idle: {idle}"));
            kill(pool.pids()[0], "KILL");
            if let Some((call, _)) = call {
                assert_eq!(died(&call).status().unwrap().signal(), Some(9));
            }
            until(steps, "the worker is gone", || !is_alive(worker));
            until(steps, "the pool goes on", || {
                pool.submit(square, 3).unwrap().result(None).ok() == Some(9)
            });
            pool.shutdown();
        }
    });
}

/// Something between the pool and the bridge is killed, and the streams are as they were: nothing is lost.
#[test]
fn what_stands_between_is_killed() {
    watchdog("what stands between is killed", |steps| {
        let pool = tough(shell(), 1);
        let holder = Holder::new();
        let call = pool.submit(hold, holder.port()).unwrap();
        let held = holder.entered();
        kill(pool.pids()[0], "KILL");
        let worker = held.pid;
        thread::sleep(Duration::from_millis(50));
        drop(held);
        steps.at("the result");
        assert_eq!(call.result(None).unwrap(), worker);
        assert_eq!(pool.submit(pid, ()).unwrap().result(None).unwrap(), worker);
        pool.shutdown();
        until(steps, "the worker is gone", || !is_alive(worker));
    });
}

/// A wrapper that is killed can end nobody. The bridge behind it sees that its input has ended, and takes the worker
/// along.
#[test]
fn a_killed_wrapper_takes_its_worker_along() {
    watchdog("a killed wrapper", |steps| {
        let token = format!("test-wrapper-{}", std::process::id());
        let variable = format!("TOKEN={token}");
        let wrappers = [
            r#""$@"; true"#,
            r#"nice sh -c '"$@"; true' sh "$@"; true"#,
            // One that hears of no end, and one that has gone before.
            r#"trap "" TERM HUP INT; "$@"; sleep 0"#,
            r#"exec 3<&0; "$@" <&3 & exit 0"#,
        ];
        for wrapper in wrappers {
            let command = words(&["env", &variable, "sh", "-c", wrapper, "sh"]);
            for end in 0..7 {
                steps.at(format!("{wrapper}, end {end}"));
                let pool = tough(command.clone(), 2);
                let holder = Holder::new();
                let options = CallOptions::new();
                let options = options.timeout((end == 1).then(|| Duration::from_millis(300)));
                let call = pool.submit_with(hold, holder.port(), options).unwrap();
                let held = (end != 0).then(|| holder.entered());
                match end {
                    // While it starts, perhaps.
                    0 => until(steps, "a process", || match pool.pids().first() {
                        Some(&pid) => {
                            kill(pid, "KILL");
                            true
                        }
                        None => false,
                    }),
                    1 => assert!(is::<CallTimeout>(&exception(&call))),
                    2 => assert!(pool.kill_call(&call)),
                    3 => pool.terminate_workers(),
                    4 => pool.kill_workers(),
                    5 => pool.pids().iter().for_each(|&pid| kill(pid, "KILL")),
                    _ => kill(held.as_ref().unwrap().pid, "KILL"),
                }
                if end == 0 {
                    pool.kill_workers();
                }
                drop(held);
                drop(call.exception(None));
                pool.shutdown();
                until(steps, "nobody is left", || with_variable(&token) == 0);
            }
        }
    });
}

/// Where nobody reads what calls print, they wait, and can be ended all the same.
#[test]
fn nobody_reads_what_is_printed() {
    if is_child("unread") {
        let pool = tough(exec(), 1);
        let begun = env::var("TOKEN").unwrap();
        pool.submit(touch, (begun, String::new()))
            .unwrap()
            .result(None)
            .unwrap();
        let call = pool
            .submit(prints_lines, ("long".repeat(1000), 1000))
            .unwrap();
        thread::sleep(Duration::from_millis(500));
        assert!(!call.done());
        assert!(pool.kill_call(&call));
        assert!(is::<CallKilled>(&exception(&call)));
        pool.shutdown();
        std::process::exit(77);
    }
    watchdog("nobody reads", |steps| {
        let begun = env::temp_dir().join(format!("test-unread-{}", std::process::id()));
        let mut child = Command::new(this())
            .args(["--exact", "nobody_reads_what_is_printed", "--nocapture"])
            .env("RELIABILITY_TEST_CHILD", "unread")
            .env("TOKEN", &begun)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        until(steps, "it has begun", || begun.exists());
        let mut status = None;
        until(steps, "it has ended", || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        assert_eq!(status.unwrap().code(), Some(77));
        fs::remove_file(begun).unwrap();
    });
}

#[test]
fn no_worker_outlives_a_killed_parent() {
    if is_child("parent") {
        let pool = by(shell(), 2).build().unwrap();
        let token = env::var("TOKEN").unwrap();
        let tasks: Vec<_> = (0..2)
            .map(|_| pool.submit(takes_a_while, token.clone()).unwrap())
            .collect();
        tasks.iter().for_each(|task| drop(task.result(None)));
        return;
    }
    watchdog("killed parents", |steps| {
        let mut random = Random::new(5);
        for n in rounds(8, 60) {
            let token = format!("test-remote-{}-{n}", std::process::id());
            let mut parent = Command::new(this())
                .args([
                    "--exact",
                    "no_worker_outlives_a_killed_parent",
                    "--nocapture",
                ])
                .env("RELIABILITY_TEST_CHILD", "parent")
                .env("TOKEN", &token)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            thread::sleep(Duration::from_micros(random.below(60_000) as u64));
            parent.kill().unwrap();
            parent.wait().unwrap();
            until(steps, "nobody is left", || with_variable(&token) == 0);
        }
    });
}

/// How many processes have this in their environment.
fn with_variable(token: &str) -> usize {
    let mut count = 0;
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok());
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let has = environment
            .split(|&byte| byte == 0)
            .any(|it| it.strip_prefix(b"TOKEN=") == Some(token.as_bytes()));
        count += usize::from(has && pid.map_or(false, is_alive));
    }
    count
}

// ---- Commands that are none

/// What a pool says whose only command does this.
fn says(command: &[&str], on_crash: OnCrash, limit: Duration) -> String {
    let pool = builder(2)
        .command(command.iter().copied())
        .on_crash(on_crash)
        .startup_timeout(limit)
        .build()
        .unwrap();
    let futures: Vec<_> = (0..3).filter_map(|n| pool.submit(square, n).ok()).collect();
    let mut text = String::new();
    for future in futures {
        let exception = exception(&future);
        assert!(is::<BrokenProcessPool>(&exception), "{exception:?}");
        let broken = exception.as_error().and_then(|error| error.source());
        let failed = broken.unwrap().downcast_ref::<CommandFailed>().unwrap();
        assert!(failed.command().starts_with(command[0]));
        assert!(exception.to_string().contains(failed.reason()));
        text = failed.to_string();
    }
    assert!(matches!(
        pool.submit(square, 1),
        Err(SubmitError::Broken(_))
    ));
    pool.shutdown();
    assert_eq!(pool.process_count(), 0);
    text
}

#[test]
fn commands_that_start_no_worker() {
    const PROMPT: &str = r#"printf "Welcome\nPassword: " >&2; read x"#;
    const ASKS: &str = r#"printf "Password: "; sleep 9 & wait"#;
    const REFUSED: &str = "echo one; echo two >&2; echo three >&2; exit 7";
    let cases = [
        (&["false"][..], &["exit status: 1", "printed nothing"][..]),
        (&["true"], &["exit status: 0", "printed nothing"]),
        (&["/there/is/no/such"], &["No such file"]),
        (
            &["sh", "-c", REFUSED],
            &["exit status: 7", "one", "two", "three"],
        ),
        (
            &["sh", "-c", "exec >&- 2>&-; exec sleep 1000"],
            &["closed its output before it was a worker"],
        ),
        (&["echo", "banner"], &["exit status: 0", "banner"]),
        (&["sh", "-c", "exec yes"], &["none of the protocol"]),
        (
            &["sh", "-c", "exec cat"],
            &["nothing was heard of a worker for 400ms"],
        ),
        (
            &["sh", "-c", "exec sleep 1000"],
            &["nothing was heard of a worker for 400ms"],
        ),
        (&["printf", r"\377cf garbage and more of it"], &["no frame"]),
        (
            &["printf", r"\377cf\005\001\000\000\0009"],
            &["another version"],
        ),
        (
            &[
                "printf",
                r"\377cf\005\001\000\000\0001\377cf\011\002\000\000\000no",
            ],
            &["no"],
        ),
        (
            &["sh", "-c", PROMPT],
            &["nothing was heard of a worker for 4s", "Password:"],
        ),
        (
            &["sh", "-c", ASKS],
            &["nothing was heard of a worker for 4s", "Password:"],
        ),
    ];
    side_by_side("no worker", cases, |steps, (command, expected)| {
        let prompts = expected.contains(&"Password:");
        // What hangs is to be found soon, but after its prompt; what ends by itself may take its time.
        let limit = if prompts {
            4_000
        } else if expected[0].starts_with("nothing was heard") {
            400
        } else {
            60_000
        };
        let all = [OnCrash::BreakPool, OnCrash::FailCall, OnCrash::Retry(3)];
        for on_crash in &all[..if prompts { 1 } else { 3 }] {
            steps.at(format!("{on_crash:?}"));
            let text = says(command, *on_crash, Duration::from_millis(limit));
            for expected in expected {
                assert!(text.contains(expected), "{text}");
            }
        }
    });
}

/// A shell that greets everybody does no harm.
#[test]
fn a_banner_before_the_protocol() {
    watchdog("a banner", |_| {
        let greets = r#"echo "Welcome"; echo "no mail" >&2; printf "> "; exec "$@""#;
        let pool = by(words(&["sh", "-c", greets, "sh"]), 1).build().unwrap();
        assert_eq!(pool.submit(square, 5).unwrap().result(None).unwrap(), 25);
        pool.shutdown();
    });
}

#[test]
fn other_entry() {
    if env::args().any(|it| it.starts_with("--multiprocessing-")) {
        freeze_support(|registry| {
            registry.register(mul).register(unregistered);
        });
    }
}

#[test]
fn the_handshake_says_what_differs() {
    watchdog("another registry", |_| {
        let pool = by(exec(), 1)
            .worker_args(entry("other_entry"))
            .build()
            .unwrap();
        let text = exception(&pool.submit(square, 1).unwrap()).to_string();
        for part in [
            "registered other functions",
            "lacks",
            "nothing",
            "more",
            "unregistered",
        ] {
            assert!(text.contains(part), "{text}");
        }
        pool.shutdown();
    });
}

// ---- Some work, some do not

#[test]
fn a_command_that_fails_is_left_out() {
    watchdog("a command that is left out", |steps| {
        let failing = |n: usize| vec!["sh".to_owned(), "-c".to_owned(), format!("exit {n}")];
        for on_crash in [OnCrash::FailCall, OnCrash::Retry(1)] {
            let left_out = |n: usize| logged(&format!("exit {n}\"` has started no worker, three"));
            let before = (left_out(0), left_out(2));
            let pool = builder(3)
                .commands(move |n| if n == 1 { exec() } else { failing(n) })
                .on_crash(on_crash)
                .build()
                .unwrap();
            steps.at("the calls");
            let calls: Vec<_> = (0..50)
                .map(|n| pool.submit(sleep_ms, n % 5).unwrap())
                .collect();
            for (n, call) in (0..).zip(&calls) {
                assert_eq!(call.result(None).unwrap(), n % 5);
            }
            until(steps, "two are left out", || {
                let calls: Vec<_> = (0..5).map(|_| pool.submit(sleep_ms, 1).unwrap()).collect();
                assert!(calls.iter().all(|call| call.result(None).is_ok()));
                (left_out(0), left_out(2)) == (before.0 + 1, before.1 + 1)
            });
            assert_eq!(pool.process_count(), 1);
            pool.shutdown();
        }
    });
}

/// One that works at first, and then does no more.
#[test]
fn the_last_command_goes() {
    watchdog("the last command", |steps| {
        let gone = env::temp_dir().join(format!("test-gone-{}", std::process::id()));
        let script = format!(
            r#"[ -e {} ] && {{ echo "closed for today"; exit 4; }}; exec "$@""#,
            gone.display()
        );
        let pool = tough(words(&["sh", "-c", &script, "sh"]), 1);
        assert_eq!(pool.submit(square, 5).unwrap().result(None).unwrap(), 25);
        fs::write(&gone, "").unwrap();
        died(&pool.submit(exits, 1).unwrap());
        steps.at("the end of it");
        let broken = exception(&pool.submit(square, 5).unwrap());
        fs::remove_file(&gone).unwrap();
        assert!(is::<BrokenProcessPool>(&broken));
        assert!(broken.to_string().contains("closed for today"), "{broken}");
        assert!(matches!(
            pool.submit(square, 1),
            Err(SubmitError::Broken(_))
        ));
        pool.shutdown();
    });
}

/// While a host does not answer, the others work; the call that waited for it is run by another.
#[test]
fn a_host_that_does_not_answer() {
    watchdog("no answer", |steps| {
        let pool = builder(2)
            .commands(|n| {
                if n == 0 {
                    vec![
                        "sh".to_owned(),
                        "-c".to_owned(),
                        "exec sleep 1000".to_owned(),
                    ]
                } else {
                    exec()
                }
            })
            .on_crash(OnCrash::FailCall)
            .startup_timeout(Duration::from_millis(500))
            .build()
            .unwrap();
        steps.at("the first call");
        let first = pool.submit(square, 1).unwrap();
        assert_eq!(first.result(None).unwrap(), 1);
        steps.at("more of them, and large ones");
        let calls: Vec<_> = (0..20)
            .map(|_| pool.submit(echo, vec![1; 10_000]).unwrap())
            .collect();
        for call in calls {
            assert_eq!(call.result(None).unwrap().len(), 10_000);
        }
        pool.shutdown();
    });
}

// ---- Silence

fn stop(steps: &Steps, pid: u32) {
    kill(pid, "STOP");
    until(steps, "it is stopped", || is_stopped(pid));
}

/// To the other side, a bridge that is stopped is a machine that has vanished.
#[test]
fn a_machine_that_vanishes() {
    side_by_side("it vanishes, retry", [false, true], |steps, retry| {
        let on_crash = if retry {
            OnCrash::Retry(1)
        } else {
            OnCrash::FailCall
        };
        let pool = by(exec(), 1)
            .on_crash(on_crash)
            .keep_alive(Duration::from_secs(2))
            .build()
            .unwrap();
        let holder = Holder::new();
        let call = pool.submit(hold, holder.port()).unwrap();
        let first = holder.entered();
        // For as long as it says something, a call may take its time.
        thread::sleep(Duration::from_secs(5));
        assert!(call.running());
        stop(steps, pool.pids()[0]);
        if retry {
            steps.at("the second attempt");
            let second = holder.entered();
            let pid = second.pid;
            drop(second);
            assert_eq!(call.result(None).unwrap(), pid);
        } else {
            let died = died(&call);
            assert_eq!(died.status(), None);
            let text = died.to_string();
            assert!(text.contains("nothing was heard of it for 2s"), "{text}");
        }
        until(steps, "the worker is gone", || !is_alive(first.pid));
        pool.shutdown();
    });
}

/// It may vanish while it is written to, or while it is idle.
#[test]
fn a_machine_that_vanishes_at_other_times() {
    watchdog("a machine that vanishes at other times", |steps| {
        let pool = by(exec(), 1)
            .on_crash(OnCrash::Retry(1))
            .keep_alive(Duration::from_secs(2))
            .build()
            .unwrap();
        steps.at("idle");
        pool.submit(square, 1).unwrap().result(None).unwrap();
        stop(steps, pool.pids()[0]);
        until(steps, "its end is seen", || pool.process_count() == 0);
        steps.at("written to");
        pool.submit(square, 1).unwrap().result(None).unwrap();
        stop(steps, pool.pids()[0]);
        let large = pool.submit(echo, vec![1; 20_000_000]).unwrap();
        assert_eq!(large.result(None).unwrap().len(), 20_000_000);
        pool.shutdown();
    });
}

/// A link that comes back in time has done no harm.
#[test]
fn a_silence_that_ends_in_time() {
    watchdog("a short silence", |steps| {
        let pool = by(exec(), 1)
            .keep_alive(Duration::from_secs(60))
            .build()
            .unwrap();
        let bridge = {
            pool.submit(square, 1).unwrap().result(None).unwrap();
            pool.pids()[0]
        };
        stop(steps, bridge);
        let call = pool.submit(square, 7).unwrap();
        thread::sleep(Duration::from_millis(300));
        assert!(!call.done());
        kill(bridge, "CONT");
        assert_eq!(call.result(None).unwrap(), 49);
        pool.shutdown();
    });
}

/// Nobody listens to silence; so a stopped bridge is waited for, until somebody wants it gone.
#[test]
fn without_a_keep_alive() {
    watchdog("no keep-alive", |steps| {
        let pool = by(exec(), 1).keep_alive(None).on_crash(OnCrash::FailCall);
        let pool = pool.build().unwrap();
        let holder = Holder::new();
        let call = pool.submit(hold, holder.port()).unwrap();
        let held = holder.entered();
        stop(steps, pool.pids()[0]);
        thread::sleep(Duration::from_millis(300));
        assert!(call.running());
        steps.at("kill_workers");
        pool.kill_workers();
        died(&call);
        pool.shutdown();
        until(steps, "the worker is gone", || !is_alive(held.pid));
    });
}

/// And the other way round: a parent that has vanished leaves no worker there.
#[test]
fn a_parent_that_vanishes() {
    if is_child("vanishing") {
        let pool = by(exec(), 1)
            .keep_alive(Duration::from_secs(2))
            .build()
            .unwrap();
        let token = env::var("TOKEN").unwrap();
        let _ = pool.submit(takes_a_while, token).unwrap().result(None);
        return;
    }
    watchdog("a parent that vanishes", |steps| {
        let token = format!("test-vanish-{}", std::process::id());
        let mut parent = Command::new(this())
            .args(["--exact", "a_parent_that_vanishes", "--nocapture"])
            .env("RELIABILITY_TEST_CHILD", "vanishing")
            .env("TOKEN", &token)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until(steps, "parent, bridge and worker", || {
            with_variable(&token) >= 3
        });
        stop(steps, parent.id());
        until(steps, "only the parent", || with_variable(&token) == 1);
        parent.kill().unwrap();
        parent.wait().unwrap();
    });
}

// ---- Strange bytes, and what is left

/// A command that plays back a conversation, with a fault in it.
#[test]
fn hostile_bytes_from_a_command() {
    watchdog("hostile bytes", |steps| {
        let frame = |kind: u8, payload: &[u8]| {
            let mut frame = vec![0xff, b'c', b'f', kind];
            frame.extend((payload.len() as u32).to_le_bytes());
            frame.extend(payload);
            frame
        };
        let reply = [&3_u64.to_le_bytes()[..], &[1, 9, 9]].concat();
        let recording = [
            frame(5, b"1"),
            frame(7, b"text\n"),
            frame(6, b""),
            frame(0, &reply),
            frame(1, b""),
            frame(8, &[0, 3, 0, 0]),
        ]
        .concat();
        let path = env::temp_dir().join(format!("test-hostile-{}", std::process::id()));
        let mut random = Random::new(11);
        for round in rounds(60, 2000) {
            let mut bytes = recording.clone();
            for _ in 0..random.below(4) {
                let at = random.below(bytes.len());
                match random.below(3) {
                    0 => bytes[at] = random.below(256) as u8,
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, random.below(256) as u8),
                }
            }
            fs::write(&path, &bytes).unwrap();
            steps.at(format!("round {round}: {bytes:?}"));
            let pool = builder(1)
                .command([
                    "sh".to_owned(),
                    "-c".to_owned(),
                    format!("cat {}; cat", path.display()),
                ])
                .startup_timeout(Duration::from_millis(30))
                .keep_alive(Duration::from_millis(30))
                .build()
                .unwrap();
            let failed = exception(&pool.submit(square, 1).unwrap());
            assert!(is::<BrokenProcessPool>(&failed), "{failed:?}");
            pool.shutdown();
        }
        fs::remove_file(&path).unwrap();
    });
}

#[test]
fn nothing_is_left() {
    if is_child("left") {
        let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
        let once = |n: usize| {
            let command = [exec(), shell()][n % 2].clone();
            let pool = tough(command, 2);
            let holder = Holder::new();
            let futures: Vec<_> = (0..2).map(|_| pool.submit(hold, holder.port())).collect();
            let held = [holder.entered(), holder.entered()];
            match n % 5 {
                0 => kill(held[0].pid, "KILL"),
                1 => pool.kill_workers(),
                2 => pool.terminate_workers(),
                3 => kill(pool.pids()[0], "KILL"),
                _ => {}
            }
            drop(held);
            pool.shutdown();
            assert!(futures.iter().all(|future| future.as_ref().unwrap().done()));
            let fails = tough(vec!["false".to_owned()], 1);
            exception(&fails.submit(square, 1).unwrap());
        };
        (0..4).for_each(once);
        let open = || (descriptors(), support::thread_total());
        // A dropped pool's last thread may still be ending.
        let until = |what: &dyn Fn((usize, usize)) -> bool| {
            let end = Instant::now() + Duration::from_secs(20);
            while !what(open()) && Instant::now() < end {
                thread::sleep(Duration::from_millis(10));
            }
        };
        until(&|(_, threads)| threads <= 2);
        let before = open();
        (0..20).for_each(once);
        until(&|(descriptors, threads)| descriptors <= before.0 && threads <= before.1);
        let after = open();
        assert!(
            after.0 <= before.0 && after.1 <= before.1,
            "{before:?} {after:?}"
        );
        let me = std::process::id();
        let children = fs::read_to_string(format!("/proc/self/task/{me}/children"));
        assert_eq!(children.unwrap_or_default(), "");
        println!("nothing is left");
        return;
    }
    let ended = child("nothing_is_left", "left", "");
    assert!(ended.stdout.contains("nothing is left"), "{ended:?}");
}
