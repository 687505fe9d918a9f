//! Everything at once, at random: threads that submit, cancel, wait, complete, shut down and drop, on
//! several pools, with panics and re-entry wherever code of the user's runs. Afterwards every call is
//! accounted for, every closure, value and callback as well, and no thread is left.
//!
//! `STRESS_SECONDS=300 cargo test --release --test stress` runs for as long as it is told, and for
//! a few seconds otherwise. It prints its seed; `STRESS_SEED` begins with that one again. What threads
//! do is the same then, but not how they interleave. A failure prints the seed of the episode that
//! failed and the last operations.

mod support;

use concurrent_futures::{
    as_completed, set_logger, wait, BrokenThreadPool, Error, Exception, Executor, Future,
    MapOptions, ReturnWhen, ShutdownOptions, State, SubmitError, ThreadPoolExecutor, ALL_COMPLETED,
    FIRST_COMPLETED, FIRST_EXCEPTION,
};
use std::cell::Cell;
use std::collections::VecDeque;
use std::env;
use std::io::Write;
use std::panic::{self, catch_unwind, panic_any, AssertUnwindSafe};
use std::sync::{mpsc, Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use support::{limit, threads_named, until, Count, Random, Steps};

/// What the names of all workers begin with, and no other thread's (the first one has the program's).
const PREFIX: &str = "worker-";

/// Panics that belong to the test begin so, and are not printed.
const EXPECTED: &str = "expected: ";

fn on_a_worker() -> bool {
    thread::current()
        .name()
        .map_or(false, |name| name.starts_with(PREFIX))
}

/// What became of one call.
#[derive(Default)]
struct Record {
    ran: Count,
    dropped: Count,
    callbacks_added: Count,
    callbacks_called: Count,
    /// Somebody else has completed it.
    outside: Count,
    /// Seen by its callback, or in its future at the end.
    outcome: Mutex<Vec<Outcome>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Refused,
    Cancelled,
    Finished,
    Failed,
    Broken,
}

impl Record {
    fn see<T>(&self, future: &Future<T>) {
        let outcome = match future.exception(Duration::ZERO) {
            Ok(None) => Outcome::Finished,
            Ok(Some(exception)) if exception.downcast_ref::<BrokenThreadPool>().is_some() => {
                Outcome::Broken
            }
            Ok(Some(_)) => Outcome::Failed,
            Err(Error::Cancelled) => Outcome::Cancelled,
            Err(other) => panic!("a future that is not done was said to be: {other}"),
        };
        self.outcome.lock().unwrap().push(outcome);
    }

    fn is_complete(&self) -> bool {
        self.outcome.lock().unwrap().len() == 1
            && self.dropped.get() == 1
            && self.callbacks_added.get() == self.callbacks_called.get()
    }
}

/// A result that is counted, and whose drop may panic, or submit; but only on a worker, so that the
/// test's own threads go on.
struct Value {
    on_drop: OnDrop,
    world: Arc<World>,
}

#[derive(Clone, Copy)]
enum OnDrop {
    Nothing,
    Panic,
    Submit(u64),
}

impl Value {
    fn new(world: &Arc<World>, random: &mut Random) -> Self {
        world.values.add(1);
        let on_drop = match random.below(12) {
            0 => OnDrop::Panic,
            1 => OnDrop::Submit(random.next()),
            _ => OnDrop::Nothing,
        };
        Value {
            on_drop,
            world: Arc::clone(world),
        }
    }
}

impl Clone for Value {
    fn clone(&self) -> Self {
        self.world.values.add(1);
        thread::yield_now();
        Value {
            on_drop: OnDrop::Nothing,
            world: Arc::clone(&self.world),
        }
    }
}

thread_local! {
    /// Set where a drop that panics would leak other values, through no fault of this crate's: a
    /// `HashSet` forgets the elements behind one that panics, and a function its result when one of
    /// its variables does (rust-lang/rust#47949).
    static CALM: Cell<bool> = const { Cell::new(false) };
}

fn calmly<R>(f: impl FnOnce() -> R) -> R {
    CALM.with(|calm| calm.set(true));
    let _calm = support::OnDrop::new(|| CALM.with(|calm| calm.set(false)));
    f()
}

impl Drop for Value {
    fn drop(&mut self) {
        self.world.values.subtract(1);
        if !on_a_worker() || thread::panicking() || CALM.with(Cell::get) {
            return;
        }
        match self.on_drop {
            OnDrop::Nothing => {}
            OnDrop::Panic => panic!("{EXPECTED}the drop of a value"),
            OnDrop::Submit(seed) => {
                let mut random = Random::new(seed);
                self.world.submit(&mut random, 0);
            }
        }
    }
}

/// What one episode shares.
#[derive(Default)]
struct World {
    pools: Mutex<Vec<ThreadPoolExecutor>>,
    records: Mutex<Vec<Arc<Record>>>,
    /// Futures that everybody may use: a few of all there are.
    shared: Mutex<Vec<(Future<Value>, Arc<Record>)>>,
    /// Futures without a callback, to be looked at in the end.
    silent: Mutex<Vec<(Future<Value>, Arc<Record>)>>,
    plain: Mutex<Vec<(Future<u32>, Arc<Record>)>>,
    bare: Mutex<Vec<(Future<u32>, Count)>>,
    /// Values that live.
    values: Count,
    waits: Count,
    meetings: Count,
    last_operations: Mutex<VecDeque<String>>,
}

type SharedFuture = (Future<Value>, Arc<Record>);

impl World {
    fn note(&self, actor: usize, operation: &str) {
        let mut last = self.last_operations.lock().unwrap();
        if last.len() == 60 {
            last.pop_front();
        }
        last.push_back(format!("{actor}: {operation}"));
    }

    fn record(&self) -> Arc<Record> {
        let record = Arc::new(Record::default());
        self.records.lock().unwrap().push(Arc::clone(&record));
        record
    }

    fn pool(&self, random: &mut Random) -> Option<(usize, ThreadPoolExecutor)> {
        let pools = self.pools.lock().unwrap();
        let number = random.below(pools.len().max(1));
        Some((number, pools.get(number)?.clone()))
    }

    fn some_shared(&self, random: &mut Random) -> Option<SharedFuture> {
        let shared = self.shared.lock().unwrap();
        if shared.is_empty() {
            return None;
        }
        Some(shared[random.below(shared.len())].clone())
    }

    fn many_shared(&self, random: &mut Random) -> Vec<Future<Value>> {
        let shared = self.shared.lock().unwrap();
        let number = random.below(shared.len() + 1);
        shared[..number].iter().map(|(f, _)| f.clone()).collect()
    }

    fn share(&self, future: SharedFuture, random: &mut Random) {
        let replaced = {
            let mut shared = self.shared.lock().unwrap();
            if shared.len() < 40 {
                shared.push(future);
                return;
            }
            let position = random.below(40);
            std::mem::replace(&mut shared[position], future)
        };
        drop(replaced);
    }

    /// Submits a call that may do the same in turn, `depth` times.
    fn submit(self: &Arc<Self>, random: &mut Random, depth: usize) {
        let (number, pool) = match self.pool(random) {
            Some(found) => found,
            None => return,
        };
        let record = self.record();
        if random.once_in(4) {
            return self.submit_plain(&pool, record, random);
        }
        let call = self.call(number, Arc::clone(&record), random, depth);
        let future = match pool.try_submit(call) {
            Ok(future) => future,
            Err(error) => return refused(&error, &record),
        };
        drop(pool);
        if random.once_in(4) {
            let pair = (future, record);
            if random.once_in(2) {
                self.shared.lock().unwrap().push(pair.clone());
            }
            self.silent.lock().unwrap().push(pair);
            return;
        }
        self.add_callbacks(&future, &record, random, depth);
        if random.once_in(3) {
            self.share((future, record), random);
        } else if random.once_in(4) {
            future.cancel();
        }
    }

    /// A result that is nothing to drop, and no callback: the worker is free at once.
    fn submit_plain(&self, pool: &ThreadPoolExecutor, record: Arc<Record>, random: &mut Random) {
        let number = random.below(1000) as u32;
        let its = Arc::clone(&record);
        let guard = support::OnDrop::new(move || its.dropped.add(1));
        let its = Arc::clone(&record);
        match pool.submit(move || {
            let _guard = guard;
            its.ran.add(1);
            number
        }) {
            Ok(future) => self.plain.lock().unwrap().push((future, record)),
            Err(error) => refused(&error, &record),
        }
    }

    fn call(
        self: &Arc<Self>,
        number: usize,
        record: Arc<Record>,
        random: &mut Random,
        depth: usize,
    ) -> impl FnOnce() -> Result<Value, Exception> + Send + 'static {
        let its = Arc::clone(&record);
        let guard = support::OnDrop::new(move || its.dropped.add(1));
        let mut random = Random::new(random.next());
        let world = Arc::clone(self);
        move || {
            let _guard = guard;
            record.ran.add(1);
            random.pause();
            for _ in 0..random.below(3) {
                if depth > 0 {
                    world.act_on_a_worker(number, &mut random, depth - 1);
                }
            }
            match random.below(10) {
                0 => panic!("{EXPECTED}a text"),
                1 => panic_any(Value::new(&world, &mut random)),
                2 => Err(Exception::msg("an error")),
                3 => Err("x".parse::<i32>().unwrap_err().into()),
                _ => Ok(Value::new(&world, &mut random)),
            }
        }
    }

    /// The first callback tells the outcome; others do this and that.
    fn add_callbacks(
        self: &Arc<Self>,
        future: &Future<Value>,
        record: &Arc<Record>,
        random: &mut Random,
        depth: usize,
    ) {
        let its = Arc::clone(record);
        future.add_done_callback(move |future| its.see(future));
        for _ in 0..random.below(3) {
            record.callbacks_added.add(1);
            let its = Arc::clone(record);
            let world = Arc::clone(self);
            let mut random = Random::new(random.next());
            future.add_done_callback(move |future| {
                its.callbacks_called.add(1);
                match random.below(8) {
                    0 => panic!("{EXPECTED}a callback"),
                    1 => panic_any(Value::new(&world, &mut random)),
                    2 => drop(future.take_result(None)),
                    3 => drop(future.cancel()),
                    4 if depth > 0 => world.submit(&mut random, depth - 1),
                    5 if random.once_in(150) => {
                        // Not waiting: who runs this may be whom others wait for.
                        if let Some((_, pool)) = world.pool(&mut random) {
                            pool.shutdown_with(some_shutdown(&mut random).wait(false));
                        }
                    }
                    _ => {}
                }
            });
        }
    }

    /// What a call does: nothing that waits for another call without a limit.
    fn act_on_a_worker(self: &Arc<Self>, own: usize, random: &mut Random, depth: usize) {
        match random.below(12) {
            0..=3 => self.submit(random, depth),
            4 => drop(self.some_shared(random).map(|(f, _)| f.cancel())),
            5 => calmly(|| {
                if let Some((future, _)) = self.some_shared(random) {
                    drop(future.result(Duration::ZERO));
                }
            }),
            6 => calmly(|| {
                drop(wait(
                    self.many_shared(random),
                    some_moment(random),
                    some_end(random),
                ));
            }),
            7 => calmly(|| {
                drop(as_completed(self.many_shared(random), some_moment(random)).next());
            }),
            8 if random.once_in(80) => {
                // Its own pool, for which it does not wait, or one further on: never in a circle.
                if let Some((number, pool)) = self.pool(random) {
                    let options = some_shutdown(random);
                    let waits = options.wait && number >= own;
                    pool.shutdown_with(options.wait(waits));
                }
            }
            9 => drop(self.some_shared(random).map(|(f, _)| format!("{f:?}"))),
            10 => self.complete_from_outside(random),
            _ => random.pause(),
        }
    }

    fn complete_from_outside(self: &Arc<Self>, random: &mut Random) {
        if let Some((future, record)) = self.some_shared(random) {
            let outcome = if random.once_in(2) {
                future.set_result(Value::new(self, random))
            } else {
                future.set_exception(Exception::msg("from outside"))
            };
            if outcome.is_ok() {
                record.outside.add(1);
            }
        }
    }

    fn act(self: &Arc<Self>, actor: usize, random: &mut Random) {
        match random.below(24) {
            0..=5 => {
                self.note(actor, "submit");
                self.submit(random, 3);
            }
            6 => {
                self.note(actor, "submit many");
                for _ in 0..random.below(40) {
                    self.submit(random, 1);
                }
            }
            7 | 8 => {
                self.note(actor, "cancel");
                if let Some((future, _)) = self.some_shared(random) {
                    if future.cancel() {
                        assert_eq!(future.state(), State::CancelledAndNotified);
                    } else {
                        assert!(!future.cancelled());
                    }
                }
            }
            9 => {
                self.note(actor, "result");
                if let Some((future, _)) = self.some_shared(random) {
                    assert!(!matches!(future.result(None), Err(Error::Timeout)));
                    assert!(future.done());
                }
            }
            10 => {
                self.note(actor, "take the result, with a time-out");
                if let Some((future, _)) = self.some_shared(random) {
                    let _ = future.take_result(some_moment(random));
                }
            }
            11 => {
                self.note(actor, "add a callback");
                if let Some((future, record)) = self.some_shared(random) {
                    record.callbacks_added.add(1);
                    future.add_done_callback(move |_| record.callbacks_called.add(1));
                }
            }
            12 => {
                self.note(actor, "wait");
                self.waits.add(1);
                let futures = self.many_shared(random);
                let number = futures.len();
                let end = some_end(random);
                let waited = wait(futures, None, end);
                assert!(number == 0 || !waited.done.is_empty());
                assert!(end != ALL_COMPLETED || waited.not_done.is_empty());
            }
            13 => {
                self.note(actor, "wait, with a time-out");
                self.waits.add(1);
                let waited = wait(
                    self.many_shared(random),
                    some_moment(random),
                    some_end(random),
                );
                assert!(waited.done.iter().all(Future::done));
            }
            14 => {
                self.note(actor, "as_completed");
                self.waits.add(1);
                let futures = self.many_shared(random);
                let number = distinct(&futures);
                let yielded = as_completed(futures, None).map(Result::unwrap);
                assert_eq!(yielded.filter(Future::done).count(), number);
            }
            15 => {
                self.note(actor, "as_completed, half-way or with a time-out");
                self.waits.add(1);
                let futures = self.many_shared(random);
                let half = random.below(10);
                let completed = as_completed(futures, some_moment(random));
                assert!(completed.take(half).flatten().all(|f| f.done()));
            }
            16 => {
                self.note(actor, "map");
                self.map(random);
            }
            17 => {
                self.note(actor, "complete from outside");
                self.complete_from_outside(random);
            }
            18 | 19 => {
                self.note(actor, "bare futures");
                self.bare(random);
            }
            20 if random.once_in(16) => {
                self.note(actor, "shutdown");
                if let Some((_, pool)) = self.pool(random) {
                    pool.shutdown_with(some_shutdown(random));
                }
            }
            21 if random.once_in(8) => {
                self.note(actor, "drop a pool");
                let mut pools = self.pools.lock().unwrap();
                let dropped = (pools.len() > 1).then(|| pools.pop());
                drop(pools);
                drop(dropped);
            }
            22 => {
                self.note(actor, "set the logger");
                set_logger(|record| {
                    assert!(!record.message().is_empty());
                    if record.message().len() % 5 == 0 {
                        panic!("{EXPECTED}the logger");
                    }
                });
            }
            _ => {
                self.note(actor, "pause");
                random.pause();
            }
        }
    }

    fn map(&self, random: &mut Random) {
        let pool = match self.pool(random) {
            Some((_, pool)) => pool,
            None => return,
        };
        let (items, bad) = (random.below(30), random.below(90));
        let panics = random.below(60);
        let iterable = (0..items).inspect(|n| assert!(*n != panics, "{EXPECTED}an iterator"));
        let mut options = MapOptions::new().chunksize(1 + random.below(4));
        if random.once_in(2) {
            options = options.buffersize(1 + random.below(5));
        }
        if random.once_in(4) {
            options = options.timeout(some_moment(random));
        }
        let taken = random.below(items + 2);
        let function = move |n: usize| {
            assert!(n != bad, "{EXPECTED}a mapped function");
            n
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            if let Ok(map) = pool.map_with(function, iterable, options) {
                for (expected, result) in map.take(taken).enumerate() {
                    match result {
                        Ok(n) => assert!(n == expected && n != bad),
                        Err(_) => break,
                    }
                }
            }
        }));
        assert!(
            outcome.is_ok() || panics < items,
            "the iterator's panic, or none"
        );
    }

    fn bare(&self, random: &mut Random) {
        let (future, completions) = {
            let mut bare = self.bare.lock().unwrap();
            if bare.len() < 4 || random.once_in(4) {
                bare.push((Future::new(), Count::new()));
                if random.once_in(3) && bare.len() > 1 {
                    // A chain.
                    let next = bare[bare.len() - 1].clone();
                    bare[bare.len() - 2].0.add_done_callback(move |_| {
                        if next.0.set_result(3).is_ok() {
                            next.1.add(1);
                        }
                    });
                }
            }
            bare[random.below(bare.len())].clone()
        };
        match random.below(6) {
            0 if future.set_result(1).is_ok() => completions.add(1),
            1 if future.set_exception(Exception::msg("bare")).is_ok() => completions.add(1),
            2 => drop(future.cancel()),
            3 => drop(future.result(some_moment(random))),
            4 => drop(wait(vec![future], some_moment(random), ALL_COMPLETED)),
            _ => drop(as_completed(vec![future], some_moment(random)).next()),
        }
    }

    /// Waits for the futures that have no callback, and writes their outcomes down.
    fn look_at_the_silent(&self, steps: &Steps) -> Vec<Future<Value>> {
        let silent = std::mem::take(&mut *self.silent.lock().unwrap());
        for (number, (future, record)) in silent.iter().enumerate() {
            steps.at(format!("silent future {number}: {future:?}"));
            let _ = future.exception(None);
            record.see(future);
        }
        let plain = std::mem::take(&mut *self.plain.lock().unwrap());
        for (number, (future, record)) in plain.iter().enumerate() {
            steps.at(format!("plain future {number}: {future:?}"));
            let _ = future.exception(None);
            record.see(future);
        }
        silent.into_iter().map(|(future, _)| future).collect()
    }

    /// As many calls as a pool has workers meet, if the pool takes and keeps them all.
    fn meet(&self, pool: &ThreadPoolExecutor, steps: &Steps) {
        let k = pool.max_workers();
        let meeting = Arc::new((Mutex::new(0), Condvar::new()));
        let arrive = |meeting: &(Mutex<usize>, Condvar), n: usize| {
            *meeting.0.lock().unwrap() += n;
            meeting.1.notify_all();
        };
        let mut futures = Vec::new();
        for _ in 0..k {
            let its = Arc::clone(&meeting);
            let call = move || {
                arrive(&its, 1);
                let mut there = its.0.lock().unwrap();
                while *there < k {
                    there = its.1.wait(there).unwrap();
                }
            };
            let its = Arc::clone(&meeting);
            match pool.submit(call) {
                Ok(future) => {
                    // An initializer may yet fail, or a call that is queued shut the pool down: then
                    // nobody is to wait for those who cannot come.
                    future.add_done_callback(move |future| {
                        if !matches!(future.exception(Duration::ZERO), Ok(None)) {
                            arrive(&its, k);
                        }
                    });
                    futures.push(future);
                }
                Err(_) => arrive(&meeting, k),
            }
        }
        let mut came = 0;
        for future in futures {
            steps.at(format!("a meeting of {k} calls on {pool:?}"));
            came += usize::from(matches!(future.exception(None), Ok(None)));
        }
        self.meetings.add(usize::from(came == k));
    }
}

fn refused(error: &SubmitError, record: &Record) {
    match error {
        SubmitError::Shutdown | SubmitError::Broken(_) | SubmitError::Thread(_) => {
            record.outcome.lock().unwrap().push(Outcome::Refused);
        }
        other => panic!("{other}"),
    }
}

fn distinct(futures: &[Future<Value>]) -> usize {
    futures
        .iter()
        .collect::<std::collections::HashSet<_>>()
        .len()
}

fn some_end(random: &mut Random) -> ReturnWhen {
    [FIRST_COMPLETED, FIRST_EXCEPTION, ALL_COMPLETED][random.below(3)]
}

fn some_moment(random: &mut Random) -> Duration {
    match random.below(3) {
        0 => Duration::ZERO,
        _ => Duration::from_micros(random.below(300) as u64),
    }
}

fn some_shutdown(random: &mut Random) -> ShutdownOptions {
    ShutdownOptions::new()
        .wait(random.once_in(2))
        .cancel_futures(random.once_in(2))
}

fn some_pool(random: &mut Random, number: usize) -> ThreadPoolExecutor {
    let workers = 1 + random.below(6);
    let mut builder = ThreadPoolExecutor::builder()
        .max_workers(workers)
        .thread_name_prefix(format!("{PREFIX}{number}"));
    match random.below(8) {
        0 => {
            let left = Mutex::new(random.below(workers + 1));
            let panics = random.once_in(2);
            builder = builder.try_initializer(move || {
                let mut left = left.lock().unwrap_or_else(|error| error.into_inner());
                if let Some(fewer) = left.checked_sub(1) {
                    *left = fewer;
                    return Ok(());
                }
                assert!(!panics, "{EXPECTED}an initializer");
                Err(Exception::msg("an initializer"))
            });
        }
        1 => builder = builder.initializer(thread::yield_now),
        2 if random.once_in(4) => builder = builder.thread_stack_size(1 << 60),
        _ => {}
    }
    builder.build().unwrap()
}

/// What was counted, over all episodes.
#[derive(Debug, Default)]
struct Totals {
    episodes: usize,
    pools: usize,
    submitted: usize,
    finished: usize,
    failed: usize,
    broken: usize,
    cancelled: usize,
    refused: usize,
    from_outside: usize,
    callbacks: usize,
    waits: usize,
    meetings: usize,
    bare: usize,
}

fn episode(seed: u64, world: Arc<World>, steps: &Steps) -> Totals {
    let mut random = Random::new(seed);
    let pools: Vec<_> = (0..1 + random.below(4))
        .map(|number| some_pool(&mut random, number))
        .collect();
    let number_of_pools = pools.len();
    *world.pools.lock().unwrap() = pools;
    let actors = 2 + random.below(5);
    let operations = 20 + random.below(80);
    steps.at("the threads act");
    thread::scope(|scope| {
        for actor in 0..actors {
            let mut random = Random::new(random.next());
            let world = &world;
            scope.spawn(move || {
                for _ in 0..operations {
                    world.act(actor, &mut random);
                }
                world.note(actor, "done");
            });
        }
    });
    let pools = world.pools.lock().unwrap().clone();
    for pool in &pools {
        world.meet(pool, steps);
    }
    drop(pools);

    // The ends: some pools are shut down, some just dropped.
    let mut pools = std::mem::take(&mut *world.pools.lock().unwrap());
    for pool in pools.drain(..) {
        if random.once_in(2) {
            steps.at(format!("shutdown of {pool:?}"));
            pool.shutdown_with(some_shutdown(&mut random));
        }
    }
    let bare = std::mem::take(&mut *world.bare.lock().unwrap());
    let number_of_bare = bare.len();
    for (future, completions) in bare {
        steps.at(format!("the bare {future:?}"));
        if future.set_result(2).is_ok() {
            completions.add(1);
        }
        if future.cancelled() {
            let _ = future.set_running_or_notify_cancel();
        }
        assert_eq!(
            completions.get(),
            usize::from(!future.cancelled()),
            "completed once"
        );
        assert_eq!(wait(vec![future], None, ALL_COMPLETED).done.len(), 1);
    }
    let late = world.look_at_the_silent(steps);
    steps.at("wait for all that are left at once");
    assert!(wait(late, None, ALL_COMPLETED).not_done.is_empty());
    drop(std::mem::take(&mut *world.shared.lock().unwrap()));

    until(steps, "no worker is left", || threads_named(PREFIX) == 0);
    // The list of threads is no snapshot: a worker that is just starting or ending may be missing.
    // Only now is everything over; and what was submitted meanwhile, by the drop of a value, counts.
    until(steps, "every call, callback and value has ended", || {
        drop(world.look_at_the_silent(&Steps::default()));
        drop(std::mem::take(&mut *world.shared.lock().unwrap()));
        let records = world.records.lock().unwrap().clone();
        let left = records
            .iter()
            .filter(|record| !record.is_complete())
            .count();
        let values = world.values.get();
        steps.at(format!("the end of {left} calls and {values} values"));
        left == 0 && values == 0
    });
    steps.at("the books");
    let mut totals = Totals {
        episodes: 1,
        pools: number_of_pools,
        waits: world.waits.get(),
        meetings: world.meetings.get(),
        bare: number_of_bare,
        ..Totals::default()
    };
    let records = std::mem::take(&mut *world.records.lock().unwrap());
    for (number, record) in records.iter().enumerate() {
        let outcome = record.outcome.lock().unwrap().clone();
        let (ran, outside) = (record.ran.get(), record.outside.get());
        let facts = format!(
            "call {number} of {}: {outcome:?}, ran {ran}, dropped {}, from outside {outside}, callbacks {} of {}",
            records.len(),
            record.dropped.get(),
            record.callbacks_called.get(),
            record.callbacks_added.get()
        );
        assert!(record.is_complete(), "{facts}");
        assert!(outside <= 1, "{facts}");
        match outcome[0] {
            Outcome::Finished | Outcome::Failed if outside == 1 => assert!(ran <= 1, "{facts}"),
            Outcome::Finished | Outcome::Failed => assert_eq!(ran, 1, "{facts}"),
            _ => assert_eq!((ran, outside), (0, 0), "{facts}"),
        }
        match outcome[0] {
            Outcome::Finished => totals.finished += 1,
            Outcome::Failed => totals.failed += 1,
            Outcome::Broken => totals.broken += 1,
            Outcome::Cancelled => totals.cancelled += 1,
            Outcome::Refused => totals.refused += 1,
        }
        totals.from_outside += outside;
        totals.callbacks += record.callbacks_called.get();
    }
    totals.submitted = records.len();
    totals
}

fn number_in(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is no number: {text}")),
    )
}

fn say(text: &str) {
    // Also while the test passes, which `println!` does not.
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[test]
fn stress() {
    let printed = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let payload = info.payload();
        let text = match payload.downcast_ref::<String>() {
            Some(text) => text.as_str(),
            None => payload.downcast_ref::<&str>().copied().unwrap_or(EXPECTED),
        };
        if !text.starts_with(EXPECTED) {
            printed(info);
        }
    }));
    set_logger(|_| ());

    let seconds = number_in("STRESS_SECONDS").unwrap_or(3);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let first_seed = number_in("STRESS_SEED").unwrap_or(now.as_nanos() as u64 % 1_000_000_000_000);
    say(&format!(
        "stress: STRESS_SEED={first_seed} STRESS_SECONDS={seconds}"
    ));

    let mut totals = Totals::default();
    let started = Instant::now();
    // The seed of an episode is the number of the one before and one, so that any of them can be
    // the first.
    for seed in first_seed.. {
        let world = Arc::new(World::default());
        let steps = Steps::default();
        let (sender, receiver) = mpsc::channel();
        let (its_world, its_steps) = (Arc::clone(&world), steps.clone());
        thread::spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| episode(seed, its_world, &its_steps)));
            let _ = sender.send(outcome);
        });
        let failure = match receiver.recv_timeout(limit()) {
            Ok(Ok(counted)) => {
                totals.add(&counted);
                None
            }
            Ok(Err(payload)) => Some(Exception::from_panic(payload).to_string()),
            Err(_) => Some(support::hung("an episode", &steps)),
        };
        if let Some(failure) = failure {
            let last = world.last_operations.lock().map(|last| last.clone());
            let last: Vec<_> = last.unwrap_or_default().into();
            panic!(
                "{failure}\nrun it again with STRESS_SEED={seed}\nat: {}\nits last operations:\n  {}",
                steps.last(),
                last.join("\n  ")
            );
        }
        if started.elapsed() >= Duration::from_secs(seconds) {
            break;
        }
    }
    let Totals {
        submitted,
        finished,
        failed,
        broken,
        cancelled,
        refused,
        ..
    } = totals;
    assert_eq!(submitted, finished + failed + broken + cancelled + refused);
    say(&format!("stress: all sums are right: {totals:?}"));
}

impl Totals {
    fn add(&mut self, other: &Totals) {
        self.episodes += other.episodes;
        self.pools += other.pools;
        self.submitted += other.submitted;
        self.finished += other.finished;
        self.failed += other.failed;
        self.broken += other.broken;
        self.cancelled += other.cancelled;
        self.refused += other.refused;
        self.from_outside += other.from_outside;
        self.callbacks += other.callbacks;
        self.waits += other.waits;
        self.meetings += other.meetings;
        self.bare += other.bare;
    }
}
