//! Makes calls of which some crash, leak, exit or loop for ever, each in a process of its own, and prints
//! what became of each while the others go on.
//!
//! ```text
//! cargo run --release --example isolate -- [--timeout SECONDS] [--workers N] [CALL ...]
//! ```
//!
//! Without a call, it makes one of each kind; `--help` lists them. A call that runs for longer than
//! `SECONDS`, 1 if not given, is ended. Whatever becomes of the calls, the exit status is 0: that they may
//! fail is the point.
//!
//! Three things do it: `OnCrash::FailCall`, by which a crash is the matter of one call; a time limit in
//! `CallOptions`; and `max_tasks_per_child(1)`, by which nothing that a call leaves behind outlives it.

use concurrent_futures::pickle::RemoteError;
use concurrent_futures::process::{
    freeze_support, CallOptions, OnCrash, ProcessPoolExecutor, Registry,
};
use concurrent_futures::{as_completed, Error as FutureError, Exception, Future, SubmitError};
use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::mem;
use std::num::ParseIntError;
use std::panic;
use std::process::{self, ExitCode};
use std::thread;
use std::time::{Duration, Instant};
use visible::visible;

#[path = "printing/visible.rs"]
mod visible;

const HELP: &str = "\
Usage: isolate [--timeout SECONDS] [--workers N] [CALL ...]

Makes each CALL in a process of its own, N at a time, and prints what became of
it while the others go on. A call that runs for longer than SECONDS, from 1 to
3600, or 1 if not given, is ended. N is at most 64; without it, there are as
many as processors. Without a call, each kind is made once:

  sum    adds numbers         parse  fails with an error
  panic  panics               abort  aborts its process
  exit   exits, with 3        kill   is killed from outside (where there is kill)
  leak   leaks 64 MiB         loop   loops for ever
";

/// What can be called: a name, and how to submit it.
const CALLS: [(&str, Submit); 8] = [
    ("loop", |pool, options| pool.submit_with(loops, (), options)),
    ("panic", |pool, options| {
        pool.submit_with(panics, 42, options)
    }),
    ("abort", |pool, options| {
        pool.submit_with(aborts, (), options)
    }),
    ("exit", |pool, options| pool.submit_with(exits, 3, options)),
    ("kill", |pool, options| {
        pool.submit_with(killed, (), options)
    }),
    ("leak", |pool, options| pool.submit_with(leaks, 64, options)),
    ("parse", |pool, options| {
        pool.submit_with(parse, "seven".to_owned(), options)
    }),
    ("sum", |pool, options| {
        pool.submit_with(sum, (1, 1_000_000), options)
    }),
];

type Submit = fn(&ProcessPoolExecutor, CallOptions) -> Result<Future<Returned>, SubmitError>;

/// What a call returns: a text, or an error, which travels as itself, since it is one of std's.
type Returned = Result<String, ParseIntError>;

/// A worker process has these as well, and so a number is all that has to travel to name one.
fn register(registry: &mut Registry) {
    registry
        .register(loops)
        .register(panics)
        .register(aborts)
        .register(exits)
        .register(killed)
        .register(leaks)
        .register(parse)
        .register(sum);
}

fn loops() -> Returned {
    loop {
        thread::yield_now();
    }
}

fn panics(answer: u32) -> Returned {
    panic!("{answer} is not the question")
}

fn aborts() -> Returned {
    process::abort()
}

fn exits(status: i32) -> Returned {
    process::exit(status)
}

/// As the system does when memory runs out.
fn killed() -> Returned {
    let this = process::id().to_string();
    match process::Command::new("kill").args(["-9", &this]).status() {
        Ok(_) => loops(),
        Err(_) => Ok("there is no kill".to_owned()),
    }
}

fn leaks(megabytes: usize) -> Returned {
    let memory = vec![1_u8; megabytes << 20];
    let text = format!("leaked {} MiB, which went with its process", megabytes);
    mem::forget(memory);
    Ok(text)
}

fn parse(text: String) -> Returned {
    text.parse::<u32>().map(|number| number.to_string())
}

fn sum(from: u64, to: u64) -> Returned {
    Ok(format!("returned {}", (from..=to).sum::<u64>()))
}

fn main() -> ExitCode {
    // In a worker, the message of a panic travels to whoever waits, and need not be printed there, too.
    panic::set_hook(Box::new(|_| ()));
    // First of all: in a worker process, this makes the calls, and does not return.
    freeze_support(register);
    drop(panic::take_hook());
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not with `eprintln!`, which panics when nobody can read it.
            let _ = writeln!(io::stderr(), "isolate: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Arguments {
    timeout: Duration,
    workers: Option<usize>,
    calls: Vec<(&'static str, Submit)>,
}

/// Nothing where there is a cry for help.
fn parse_arguments() -> Result<Option<Arguments>, String> {
    let (mut timeout, mut workers, mut calls) = (1, None, Vec::new());
    // Not `env::args`, which panics when an argument is no Unicode.
    let mut arguments = env::args_os()
        .skip(1)
        .map(|a| a.to_string_lossy().into_owned());
    while let Some(argument) = arguments.next() {
        let mut number = |up_to: u64| {
            let number = arguments.next().and_then(|number| number.parse().ok());
            let number = number.filter(|number| (1..=up_to).contains(number));
            number.ok_or_else(|| format!("{argument} takes a number, from 1 to {up_to}"))
        };
        match &*argument {
            "--help" | "-h" => return Ok(None),
            "--timeout" => timeout = number(3600)?,
            "--workers" => workers = Some(number(64)? as usize),
            name => match CALLS.iter().find(|(its_name, _)| *its_name == name) {
                Some(call) => calls.push(*call),
                None => return Err(format!("no call {}; see --help", visible(name))),
            },
        }
    }
    if calls.is_empty() {
        calls.extend(CALLS);
    }
    Ok(Some(Arguments {
        timeout: Duration::from_secs(timeout),
        workers,
        calls,
    }))
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments = match parse_arguments()? {
        Some(arguments) => arguments,
        None => {
            return match io::stdout().write_all(HELP.as_bytes()) {
                Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
                _ => Ok(()),
            };
        }
    };
    let pool = ProcessPoolExecutor::builder()
        .max_workers(arguments.workers)
        .max_tasks_per_child(1)
        .on_crash(OnCrash::FailCall)
        .build()?;
    pool.with(|pool| make_all(pool, arguments))
}

/// Makes the calls, and prints what becomes of each.
fn make_all(pool: &ProcessPoolExecutor, arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let options = CallOptions::new().timeout(arguments.timeout);
    // A future does not say what it was submitted for, but it can be the key to it. Clippy cannot know
    // that it is hashed by its identity, which never changes.
    #[allow(clippy::mutable_key_type)]
    let mut name_of = HashMap::new();
    for (name, submit) in arguments.calls {
        name_of.insert(submit(pool, options)?, name);
    }
    for future in as_completed(name_of.keys(), None) {
        let future = future?;
        let seconds = started.elapsed().as_secs_f64();
        let outcome = visible(&outcome(future));
        let printed = writeln!(
            io::stdout(),
            "{seconds:7.3} s  {:6} {outcome}",
            name_of[future]
        );
        if let Err(error) = printed {
            // There is nobody to print for, so nothing needs to go on, not even what runs.
            pool.kill_workers();
            match error.kind() {
                // The reader, `head` perhaps, has seen enough.
                ErrorKind::BrokenPipe => break,
                _ => return Err(error.into()),
            }
        }
    }
    Ok(())
}

fn outcome(future: &Future<Returned>) -> String {
    match future.result(None) {
        Ok(Ok(text)) => text,
        Ok(Err(error)) => format!("failed: {error}"),
        Err(FutureError::Exception(exception)) => why(&exception),
        Err(error) => error.to_string(),
    }
}

/// `WorkerDied` and `CallTimeout` say it themselves. Of a panic it is worth saying where it happened.
fn why(exception: &Exception) -> String {
    let remote = exception.downcast_ref::<RemoteError>();
    match (
        exception.panic_message(),
        remote.and_then(RemoteError::location),
    ) {
        (Some(message), Some(location)) => format!("panicked at {location}: {message}"),
        _ => exception.to_string(),
    }
}
