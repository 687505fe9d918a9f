//! What is measured, a short function for each. `concurrent_futures.py` has the same functions.
//!
//! A workload runs so many tasks on a pool and returns its figure for each of them: nanoseconds, but
//! for `memory`, which returns bytes. What has to be prepared first is not timed.

use concurrent_futures::{
    as_completed, wait, Executor, Future, FutureSet, MapOptions, ReturnWhen, ShutdownOptions,
    ThreadPoolExecutor, ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION,
};
use std::collections::HashSet;
use std::sync::mpsc::{channel, Sender};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};
use std::{fs, thread};

pub type Workload = fn(&ThreadPoolExecutor, usize) -> f64;

pub const WORKLOADS: &[(&str, Workload)] = &[
    ("fan-out", fan_out),
    ("ping-pong", ping_pong),
    ("producers", producers),
    ("completed", completed),
    ("one-channel", one_channel),
    ("wait-first-completed", wait_first_completed),
    ("wait-first-exception", wait_first_exception),
    ("wait-all-completed", wait_all_completed),
    ("set", set),
    ("future-set", future_set),
    ("map", map),
    ("map-1000", |pool, tasks| map_in_chunks(pool, tasks, 1_000)),
    ("map-256", |pool, tasks| map_in_chunks(pool, tasks, 256)),
    ("map-16", |pool, tasks| map_in_chunks(pool, tasks, 16)),
    ("map-1", |pool, tasks| map_in_chunks(pool, tasks, 1)),
    ("by-hand-1000", |pool, tasks| {
        chunks_by_hand(pool, tasks, 1_000)
    }),
    ("by-hand-256", |pool, tasks| {
        chunks_by_hand(pool, tasks, 256)
    }),
    ("by-hand-16", |pool, tasks| chunks_by_hand(pool, tasks, 16)),
    ("by-hand-1", calls_by_hand),
    ("cancel", cancel),
    ("shutdown-cancel", shutdown_cancel),
    ("real-work", real_work),
    ("memory", memory),
    ("boxes", boxes),
];

/// Submits all tasks, then collects all results.
pub fn fan_out(pool: &ThreadPoolExecutor, tasks: usize) -> f64 {
    let start = Instant::now();
    let futures = submit_all(pool, 0..tasks);
    check(futures.into_iter().map(value).sum(), tasks);
    per_task(start, tasks)
}

/// The memory that a fan-out takes for its tasks, without the tasks. The pool does nothing.
fn boxes(_: &ThreadPoolExecutor, tasks: usize) -> f64 {
    let start = Instant::now();
    let boxes: Vec<_> = (0..tasks).map(|i| Box::new([i; 21])).collect();
    check(boxes.into_iter().map(|it| it[20]).sum(), tasks);
    per_task(start, tasks)
}

/// Submits one task and waits for it, then the next.
fn ping_pong(pool: &ThreadPoolExecutor, tasks: usize) -> f64 {
    let start = Instant::now();
    let values = (0..tasks).map(|i| value(pool.submit(move || i).expect("an open pool")));
    check(values.sum(), tasks);
    per_task(start, tasks)
}

/// Ping-pong with tasks that compute for that long.
pub fn ping_pong_busy(pool: &ThreadPoolExecutor, tasks: usize, time: Duration) -> f64 {
    let start = Instant::now();
    for _ in 0..tasks {
        let task = move || compute_for(time);
        let future = pool.submit(task).expect("an open pool");
        future.take_result(None).expect("a result");
    }
    per_task(start, tasks)
}

/// Keeps a processor busy for that long.
pub fn compute_for(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {}
}

/// Four threads share the tasks, and submit and collect at the same time.
fn producers(pool: &ThreadPoolExecutor, tasks: usize) -> f64 {
    let start = Instant::now();
    let produce = |number| {
        let share = number * tasks / 4..(number + 1) * tasks / 4;
        submit_all(pool, share)
            .into_iter()
            .map(value)
            .sum::<usize>()
    };
    let sum = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|number| scope.spawn(move || produce(number)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a producer"))
            .sum()
    });
    check(sum, tasks);
    per_task(start, tasks)
}

/// Takes the results in the order in which they finish.
fn completed(pool: &ThreadPoolExecutor, tasks: usize) -> f64 {
    let start = Instant::now();
    let futures = as_completed(submit_all(pool, 0..tasks), None);
    check(
        futures
            .map(|future| value(future.expect("no time-out")))
            .sum(),
        tasks,
    );
    per_task(start, tasks)
}

/// What `as_completed` replaces: every task sends its result to one channel, and nobody looks at the futures.
fn one_channel(pool: &ThreadPoolExecutor, tasks: usize) -> f64 {
    let start = Instant::now();
    let (sender, receiver) = channel();
    for i in 0..tasks {
        let sender = sender.clone();
        let task = move || sender.send(i).is_ok();
        drop(pool.submit(task).expect("an open pool"));
    }
    drop(sender);
    check(receiver.into_iter().sum(), tasks);
    per_task(start, tasks)
}

/// Waits for none of the tasks, all of which are pending: what such a call costs beside the waiting.
/// (On a pool that works, it would find one done, and have nothing to do.)
fn wait_first_completed(_: &ThreadPoolExecutor, tasks: usize) -> f64 {
    let pool = ThreadPoolExecutor::new(1).expect("a pool");
    let blocked = Blocked::new(&pool);
    let start = Instant::now();
    let futures = submit_all(&pool, 0..tasks);
    let waited = wait(futures, Duration::ZERO, FIRST_COMPLETED);
    let figure = per_task(start, tasks);
    assert_eq!(waited.not_done.len(), tasks);
    drop(blocked);
    pool.shutdown();
    figure
}

fn wait_first_exception(pool: &ThreadPoolExecutor, tasks: usize) -> f64 {
    wait_for_all(pool, tasks, FIRST_EXCEPTION)
}

fn wait_all_completed(pool: &ThreadPoolExecutor, tasks: usize) -> f64 {
    wait_for_all(pool, tasks, ALL_COMPLETED)
}

/// Submits all tasks, then waits for all of them; none fails.
fn wait_for_all(pool: &ThreadPoolExecutor, tasks: usize, return_when: ReturnWhen) -> f64 {
    let start = Instant::now();
    let waited = wait(submit_all(pool, 0..tasks), None, return_when);
    let figure = per_task(start, tasks);
    assert_eq!(waited.done.len(), tasks);
    figure
}

/// Puts as many futures into a set of std: the part of `wait` that is std's, but with its usual hasher.
#[allow(clippy::mutable_key_type)] // Its hash is its identity.
fn set(_: &ThreadPoolExecutor, tasks: usize) -> f64 {
    let futures: Vec<Future<usize>> = (0..tasks).map(|_| Future::new()).collect();
    let start = Instant::now();
    let mut set = HashSet::with_capacity(tasks);
    set.extend(futures);
    let figure = per_task(start, tasks);
    assert_eq!(set.len(), tasks);
    figure
}

/// The same with the hasher that `wait` uses.
fn future_set(_: &ThreadPoolExecutor, tasks: usize) -> f64 {
    let futures: Vec<Future<usize>> = (0..tasks).map(|_| Future::new()).collect();
    let start = Instant::now();
    let mut set = FutureSet::with_capacity(tasks);
    set.extend(futures);
    let figure = per_task(start, tasks);
    assert_eq!(set.len(), tasks);
    figure
}

/// Maps all items and takes all results.
fn map(pool: &ThreadPoolExecutor, tasks: usize) -> f64 {
    let start = Instant::now();
    let results = pool.map(|i| i, 0..tasks).expect("an open pool");
    check(results.map(|result| result.expect("a result")).sum(), tasks);
    per_task(start, tasks)
}

/// Maps so many items a task, and adds the results up.
fn map_in_chunks(pool: &ThreadPoolExecutor, items: usize, chunksize: usize) -> f64 {
    let start = Instant::now();
    let options = MapOptions::new().chunksize(chunksize);
    let results = pool
        .map_with(successor, 0..items, options)
        .expect("an open pool");
    let sum: usize = results.map(|result| result.expect("a result")).sum();
    check(sum - items, items);
    per_task(start, items)
}

/// What that replaces: lists of items, a call for each, and lists of results.
fn chunks_by_hand(pool: &ThreadPoolExecutor, items: usize, chunksize: usize) -> f64 {
    let start = Instant::now();
    let mut numbers = 0..items;
    let next_chunk = || {
        let chunk: Vec<usize> = numbers.by_ref().take(chunksize).collect();
        Some(chunk).filter(|chunk| !chunk.is_empty())
    };
    let submit = |chunk: Vec<usize>| {
        let task = move || chunk.into_iter().map(successor).collect::<Vec<usize>>();
        pool.submit(task).expect("an open pool")
    };
    let futures: Vec<_> = std::iter::from_fn(next_chunk).map(submit).collect();
    let chunks = futures
        .into_iter()
        .map(|future| future.take_result(None).expect("a result"));
    check(chunks.flatten().sum::<usize>() - items, items);
    per_task(start, items)
}

/// A call for each item.
fn calls_by_hand(pool: &ThreadPoolExecutor, items: usize) -> f64 {
    let start = Instant::now();
    let submit = |i| pool.submit(move || successor(i)).expect("an open pool");
    let futures: Vec<_> = (0..items).map(submit).collect();
    check(futures.into_iter().map(value).sum::<usize>() - items, items);
    per_task(start, items)
}

/// What is mapped.
fn successor(number: usize) -> usize {
    number + 1
}

/// Cancels every task behind a busy worker.
fn cancel(_: &ThreadPoolExecutor, tasks: usize) -> f64 {
    let pool = ThreadPoolExecutor::new(1).expect("a pool");
    let blocked = Blocked::new(&pool);
    let futures = submit_all(&pool, 0..tasks);
    let start = Instant::now();
    let cancelled = futures.iter().filter(|future| future.cancel()).count();
    let figure = per_task(start, tasks);
    assert_eq!(cancelled, tasks);
    drop(blocked);
    pool.shutdown();
    figure
}

/// Shuts a pool down with every task still queued behind a busy worker, and cancels them so.
fn shutdown_cancel(_: &ThreadPoolExecutor, tasks: usize) -> f64 {
    let pool = ThreadPoolExecutor::new(1).expect("a pool");
    let blocked = Blocked::new(&pool);
    let futures = submit_all(&pool, 0..tasks);
    let start = Instant::now();
    pool.shutdown_with(ShutdownOptions::new().wait(false).cancel_futures(true));
    let figure = per_task(start, tasks);
    assert!(futures.iter().all(Future::cancelled));
    drop(blocked);
    pool.shutdown();
    figure
}

/// Maps a function that computes and shares nothing.
fn real_work(pool: &ThreadPoolExecutor, tasks: usize) -> f64 {
    let start = Instant::now();
    let results = pool
        .map(|_| collatz_steps(5_000), 0..tasks)
        .expect("an open pool");
    let steps: usize = results.map(|result| result.expect("a result")).sum();
    assert_eq!(steps, 387_968 * tasks);
    per_task(start, tasks)
}

/// How many steps the numbers up to `limit` take to reach 1, together.
fn collatz_steps(limit: usize) -> usize {
    let mut steps = 0;
    for start in 1..=limit {
        let mut number = start;
        while number != 1 {
            number = if number % 2 == 0 {
                number / 2
            } else {
                3 * number + 1
            };
            steps += 1;
        }
    }
    steps
}

/// The resident bytes of a task queued behind a busy worker, its future included. Only the first run
/// in a process tells the truth, since later ones find memory that was given back to the allocator.
fn memory(_: &ThreadPoolExecutor, tasks: usize) -> f64 {
    let pool = ThreadPoolExecutor::new(1).expect("a pool");
    let blocked = Blocked::new(&pool);
    let mut futures = Vec::with_capacity(tasks);
    let before = resident_bytes().expect("/proc");
    futures.extend((0..tasks).map(|i| pool.submit(move || i).expect("an open pool")));
    let after = resident_bytes().expect("/proc");
    drop(blocked);
    check(futures.into_iter().map(value).sum(), tasks);
    pool.shutdown();
    (after - before) / tasks as f64
}

/// What the process holds of the machine's memory; `None` where there is no such file.
pub fn resident_bytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024.0)
}

fn submit_all(pool: &ThreadPoolExecutor, numbers: std::ops::Range<usize>) -> Vec<Future<usize>> {
    numbers
        .map(|i| pool.submit(move || i).expect("an open pool"))
        .collect()
}

fn value(future: Future<usize>) -> usize {
    future.take_result(None).expect("a result")
}

fn check(sum: usize, tasks: usize) {
    assert_eq!(sum, tasks * (tasks - 1) / 2, "a result was lost");
}

fn per_task(start: Instant, tasks: usize) -> f64 {
    start.elapsed().as_nanos() as f64 / tasks as f64
}

/// Keeps every worker of a pool busy until it is dropped, so that what is submitted stays queued.
pub struct Blocked {
    _senders: Vec<Sender<()>>,
}

impl Blocked {
    /// Returns when every worker has started, and is busy.
    pub fn new(pool: &ThreadPoolExecutor) -> Self {
        let all_started = Arc::new(Barrier::new(pool.max_workers() + 1));
        let block_one = |_| {
            let (sender, receiver) = channel();
            let all_started = Arc::clone(&all_started);
            let task = move || {
                all_started.wait();
                // An error, when the sender is dropped.
                let _ = receiver.recv();
            };
            pool.submit(task).expect("an open pool");
            sender
        };
        let _senders = (0..pool.max_workers()).map(block_one).collect();
        all_started.wait();
        Blocked { _senders }
    }
}
