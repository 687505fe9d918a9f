//! Workers behind a command that is not what it seems to be: it speaks the protocol, up to some point.
#![cfg(target_os = "linux")]

mod processes;
mod support;

use concurrent_futures::process::{OnCrash, ProcessPoolExecutor, ProcessPoolExecutorBuilder};
use concurrent_futures::ShutdownOptions;
use processes::*;
use std::env;
use std::io::{self, Read, Write};
use std::process::{exit, Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;
use support::{until, watchdog, Steps};

fn this() -> String {
    env::current_exe().unwrap().to_str().unwrap().to_owned()
}

// What a frame is for, by its number.
const DATA: u8 = 0;
const ALIVE: u8 = 1;
const BEGIN: u8 = 2;
const HELLO: u8 = 5;
const READY: u8 = 6;

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
    say(&frame(READY, &[]));
    say(&greeting);
    // It is always there.
    thread::spawn(|| loop {
        say(&frame(ALIVE, &[]));
        thread::sleep(Duration::from_millis(20));
    });
    match fault {
        // Reads nothing, and replies when a holder at this port lets it.
        "deaf" => loop {
            hold(number as u16);
            // As if the call had returned an empty list.
            say(&message(&[1, 0, 0, 0, 0, 0, 0, 0, 0]));
        },
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
