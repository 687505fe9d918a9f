//! A pool where threads are hard to come by: every call that `submit` takes must be done, and what it
//! refuses must be refused because no thread could be started.
//!
//!     low_limits stack            with stacks of 64 KiB
//!     low_limits threads          under a limit on threads or memory that somebody else has set

use concurrent_futures::{
    as_completed, wait, Exception, Executor, Future, SubmitError, ThreadPoolExecutor, ALL_COMPLETED,
};
use std::process;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const WORKERS: usize = 24;

fn main() {
    // Started first, while there is a thread to be had.
    let watchdog = thread::Builder::new().stack_size(64 << 10).spawn(|| {
        thread::sleep(Duration::from_secs(60));
        eprintln!("It hangs.");
        process::exit(3);
    });
    if watchdog.is_err() {
        println!("no watchdog");
    }
    match std::env::args().nth(1).as_deref() {
        Some("stack") => stack(),
        Some("threads") => threads(),
        _ => panic!("what?"),
    }
}

fn stack() {
    let pool = ThreadPoolExecutor::builder()
        .max_workers(WORKERS)
        .thread_stack_size(64 << 10)
        .initializer(|| println!("{} starts", thread::current().name().unwrap_or("?")))
        .build()
        .unwrap();
    let (sender, receiver) = mpsc::channel();
    let futures: Vec<Future<usize>> = (0..1000)
        .map(|n| {
            let future = pool
                .try_submit(move || match n % 10 {
                    0 => panic!("{n}"),
                    1 => Err(Exception::from(
                        n.to_string().parse::<u8>().map(|_| ()).unwrap_err(),
                    )),
                    _ => Ok(n),
                })
                .unwrap();
            let sender = sender.clone();
            future.add_done_callback(move |future| sender.send(future.clone()).unwrap());
            future
        })
        .collect();
    pool.shutdown();
    drop(sender);
    assert_eq!(receiver.iter().count(), 1000);
    let good: usize = as_completed(futures, None)
        .flatten()
        .flat_map(|f| f.result(None))
        .sum();
    println!("{WORKERS} stacks of 64 KiB: {good}");
}

fn threads() {
    let mut started = Vec::new();
    let mut refused = 0;
    for round in 0..20 {
        // Address space, so that under a limit on it there is room for more threads now and then.
        let mut taken = Vec::<u8>::new();
        let _ = taken.try_reserve_exact((round % 4) << 23);
        let pool = ThreadPoolExecutor::builder()
            .max_workers(WORKERS)
            .thread_stack_size(8 << 20)
            .build()
            .unwrap();
        let mut futures = Vec::new();
        for n in 0..4 * WORKERS {
            match pool.submit(move || {
                // So that every call would like a thread of its own.
                thread::sleep(Duration::from_micros(500));
                n
            }) {
                Ok(future) => futures.push((n, future)),
                Err(SubmitError::Thread(_)) => refused += 1,
                Err(error) => panic!("{error:?}"),
            }
        }
        if pool.thread_count() == 0 {
            assert!(futures.is_empty());
        }
        let waited = wait(
            futures.iter().map(|(_, future)| future.clone()),
            None,
            ALL_COMPLETED,
        );
        assert_eq!(
            (waited.done.len(), waited.not_done.len()),
            (futures.len(), 0)
        );
        for (n, future) in futures {
            assert_eq!(future.result(None).unwrap(), n);
        }
        started.push(pool.thread_count());
        pool.shutdown();
    }
    let (least, most) = (started.iter().min().unwrap(), started.iter().max().unwrap());
    println!("threads started of {WORKERS}: {least} to {most}; calls refused: {refused}");
}
