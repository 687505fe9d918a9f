//! A panic anywhere in what the user wrote: it becomes the future's exception, or is logged, and the
//! pool's capacity is the same afterwards.

mod support;

use concurrent_futures::{
    set_logger, wait, BrokenThreadPool, Error, Exception, Executor, Future, MapOptions,
    ShutdownOptions, SubmitError, ThreadPoolExecutor, ALL_COMPLETED,
};
use std::fmt;
use std::panic::{catch_unwind, panic_any, AssertUnwindSafe};
use std::sync::{Arc, Barrier, Mutex};
use support::{child, is_child, logged, watchdog, Count, Gate, OnDrop, Steps};

const WORKERS: usize = 3;

/// As many calls as there are workers still meet.
fn capacity_is_whole(pool: &ThreadPoolExecutor, steps: &Steps) {
    let barrier = Arc::new(Barrier::new(pool.max_workers()));
    let futures: Vec<_> = (0..pool.max_workers())
        .map(|_| {
            let barrier = Arc::clone(&barrier);
            pool.submit(move || barrier.wait().is_leader()).unwrap()
        })
        .collect();
    let last = steps.last();
    steps.at(format!("the pool's capacity after: {last}"));
    let leaders = futures.iter().filter(|f| f.result(None).unwrap()).count();
    assert_eq!(leaders, 1);
    assert!(pool.thread_count() <= pool.max_workers());
}

/// Panics when it is dropped.
struct Bomb(&'static str);

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("dropped: {}", self.0);
    }
}

/// Panics when it is dropped, with a payload that does the same.
struct ChainedBomb(u32);

impl Drop for ChainedBomb {
    fn drop(&mut self) {
        if self.0 > 0 {
            panic_any(ChainedBomb(self.0 - 1));
        }
    }
}

/// An error that panics when it is dropped, and when it is shown.
#[derive(Debug)]
struct BadError;

impl fmt::Display for BadError {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("shown");
    }
}

impl std::error::Error for BadError {}

impl Drop for BadError {
    fn drop(&mut self) {
        panic!("dropped: an error");
    }
}

fn pool() -> ThreadPoolExecutor {
    logged("");
    ThreadPoolExecutor::new(WORKERS).unwrap()
}

/// A pool whose workers are busy until the gate opens.
fn busy_pool() -> (ThreadPoolExecutor, Gate) {
    busy(pool())
}

fn busy(pool: ThreadPoolExecutor) -> (ThreadPoolExecutor, Gate) {
    let gate = Gate::new();
    let barrier = Arc::new(Barrier::new(pool.max_workers() + 1));
    for _ in 0..pool.max_workers() {
        let (gate, barrier) = (gate.clone(), Arc::clone(&barrier));
        pool.submit(move || {
            barrier.wait();
            gate.wait();
        })
        .unwrap();
    }
    barrier.wait();
    (pool, gate)
}

#[test]
fn in_a_task() {
    watchdog("tasks that panic", |steps| {
        let pool = pool();
        for round in 0..20 {
            steps.at(format!("round {round}: text"));
            let exception = |future: Future<()>| future.exception(None).unwrap().unwrap();
            let text = exception(pool.submit(|| panic!("text")).unwrap());
            assert!(text.is_panic());
            assert_eq!(text.panic_message(), Some("text"));
            let formatted = exception(pool.submit(move || panic!("round {round}")).unwrap());
            assert_eq!(formatted.to_string(), format!("round {round}"));
            steps.at(format!("round {round}: a typed payload"));
            let typed = exception(pool.submit(|| panic_any(42_u64)).unwrap());
            assert_eq!(typed.panic_message(), None);
            assert_eq!(*typed.take_panic().unwrap().downcast::<u64>().unwrap(), 42);
            assert!(typed.take_panic().is_none());
            steps.at(format!("round {round}: payloads that panic when dropped"));
            for depth in [1, 3, 100] {
                let chained =
                    exception(pool.submit(move || panic_any(ChainedBomb(depth))).unwrap());
                assert!(chained.is_panic());
                drop(chained);
            }
            for _ in 0..WORKERS * 2 {
                // Dropped by the worker.
                drop(pool.submit(|| panic_any(Bomb("a payload"))).unwrap());
                drop(pool.submit(|| panic_any(ChainedBomb(100))).unwrap());
            }
            capacity_is_whole(&pool, steps);
        }
        steps.at("shutdown");
        pool.shutdown();
    });
}

#[test]
fn in_a_callback() {
    watchdog("callbacks that panic", |steps| {
        let (pool, gate) = busy_pool();
        let called = Count::new();
        let futures: Vec<_> = (0..30).map(|n| pool.submit(move || n).unwrap()).collect();
        for future in &futures {
            for number in 0..6 {
                let called = called.clone();
                future.add_done_callback(move |_| {
                    called.add(1);
                    match number {
                        0 => panic!("a callback"),
                        1 => panic_any(Bomb("a callback's payload")),
                        2 => panic_any(7_u8),
                        3 => panic_any(ChainedBomb(50)),
                        _ => {}
                    }
                });
            }
        }
        steps.at("callbacks that run in cancel()");
        assert!(futures[7].cancel());
        assert_eq!(called.get(), 6);
        gate.open();
        steps.at("callbacks that workers run");
        let _ = wait(futures.clone(), None, ALL_COMPLETED);
        capacity_is_whole(&pool, steps);
        steps.at("shutdown");
        pool.shutdown();
        assert_eq!(called.get(), 180, "the later callbacks run, too");
        steps.at("callbacks that are called at once");
        futures[0].add_done_callback(|_| panic!("at once"));
        assert!(logged("exception calling callback for <Future at 0x") >= 121);
    });
}

#[test]
fn in_an_initializer() {
    watchdog("initializers that panic", |steps| {
        logged("");
        for kind in 0..4 {
            let gate = Gate::new();
            let its_gate = gate.clone();
            let pool = ThreadPoolExecutor::builder()
                .max_workers(WORKERS)
                .initializer(move || {
                    its_gate.wait();
                    match kind {
                        0 => panic!("text"),
                        1 => panic_any(Bomb("an initializer's payload")),
                        2 => panic_any(ChainedBomb(40)),
                        _ => panic_any(5_i8),
                    }
                })
                .build()
                .unwrap();
            let futures: Vec<_> = (0..10)
                .filter_map(|n| pool.submit(move || n).ok())
                .collect();
            gate.open();
            for future in futures {
                steps.at(format!("kind {kind}: {future:?}"));
                match future.result(None) {
                    Err(Error::Exception(exception)) => {
                        assert!(exception.downcast_ref::<BrokenThreadPool>().is_some());
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert!(matches!(pool.submit(|| ()), Err(SubmitError::Broken(_))));
            steps.at(format!("kind {kind}: shutdown"));
            pool.shutdown();
        }
    });
}

#[test]
fn in_the_drop_of_an_initializers_error() {
    watchdog("an initializer's error that panics when dropped", |steps| {
        logged("");
        let pool = ThreadPoolExecutor::builder()
            .max_workers(1)
            .try_initializer(|| Err(BadError))
            .build()
            .unwrap();
        if let Ok(future) = pool.submit(|| ()) {
            steps.at("the future of the broken pool");
            assert!(future.exception(None).unwrap().is_some());
        }
        steps.at("shutdown");
        pool.shutdown();
    });
}

#[test]
fn in_the_drop_of_a_result_nobody_took() {
    watchdog("results that panic when dropped", |steps| {
        let (pool, gate) = busy_pool();
        for _ in 0..30 {
            drop(pool.submit(|| Bomb("a result")).unwrap());
            drop(pool.submit(|| ChainedBomb(9)).unwrap());
        }
        gate.open();
        capacity_is_whole(&pool, steps);
        steps.at("shutdown");
        pool.shutdown();
    });
}

#[test]
fn in_the_drop_of_captures() {
    watchdog("closures that panic when dropped", |steps| {
        steps.at("when they have run");
        let pool = pool();
        for _ in 0..30 {
            let bomb = Bomb("a capture");
            let future = pool
                .submit(move || {
                    let _moved = &bomb;
                    1
                })
                .unwrap();
            let exception = future.exception(None).unwrap().expect("the panic");
            assert_eq!(exception.panic_message(), Some("dropped: a capture"));
        }
        capacity_is_whole(&pool, steps);
        steps.at("shutdown");
        pool.shutdown();

        steps.at("when a worker skips them");
        let (pool, gate) = busy_pool();
        for _ in 0..30 {
            let bomb = Bomb("a skipped capture");
            assert!(pool.submit(move || drop(bomb)).unwrap().cancel());
        }
        gate.open();
        capacity_is_whole(&pool, steps);
        steps.at("shutdown");
        pool.shutdown();

        steps.at("when shutdown cancels them");
        let (pool, gate) = busy_pool();
        let futures: Vec<_> = (0..30)
            .map(|_| {
                let bomb = Bomb("a cancelled capture");
                pool.submit(move || drop(bomb)).unwrap()
            })
            .collect();
        pool.shutdown_with(ShutdownOptions::new().wait(false).cancel_futures(true));
        assert!(futures.iter().all(Future::cancelled));
        gate.open();
        steps.at("shutdown again");
        pool.shutdown();

        steps.at("when an initializer fails");
        let gate = Gate::new();
        let its_gate = gate.clone();
        let pool = ThreadPoolExecutor::builder()
            .max_workers(1)
            .initializer(move || {
                its_gate.wait();
                panic!("no");
            })
            .build()
            .unwrap();
        let futures: Vec<_> = (0..30)
            .map(|_| {
                let bomb = Bomb("a stranded capture");
                pool.submit(move || drop(bomb)).unwrap()
            })
            .collect();
        gate.open();
        assert_eq!(wait(futures, None, ALL_COMPLETED).done.len(), 30);
        steps.at("shutdown of the broken pool");
        pool.shutdown();

        steps.at("when they are refused");
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let bomb = Bomb("a refused capture");
            pool.submit(move || drop(bomb))
        }));
        assert!(outcome.is_err(), "a panic of the submitting thread's own");
        assert!(matches!(pool.submit(|| ()), Err(SubmitError::Broken(_))));
    });
}

#[test]
fn in_the_drop_of_an_exception() {
    watchdog("errors that panic when dropped", |steps| {
        let (pool, gate) = busy_pool();
        for _ in 0..30 {
            drop(pool.try_submit(|| Err::<(), _>(BadError)).unwrap());
        }
        gate.open();
        capacity_is_whole(&pool, steps);
        let future = pool.try_submit(|| Err::<(), _>(BadError)).unwrap();
        steps.at("shutdown");
        pool.shutdown();
        assert!(format!("{future:?}").contains("raised BadError"));
        std::mem::forget(future);
    });
}

#[test]
fn in_the_conversion_and_the_cloning() {
    watchdog("conversions and clones that panic", |steps| {
        struct Unconvertible;
        impl From<Unconvertible> for Exception {
            fn from(_: Unconvertible) -> Exception {
                panic!("converted");
            }
        }
        #[derive(Debug)]
        struct Unclonable(Arc<Mutex<u32>>);
        impl Clone for Unclonable {
            fn clone(&self) -> Self {
                let left = {
                    let mut left = self.0.lock().unwrap();
                    *left = left.saturating_sub(1);
                    *left
                };
                assert!(left == 0, "cloned");
                Unclonable(Arc::clone(&self.0))
            }
        }

        let pool = pool();
        let future = pool.try_submit(|| Err::<(), _>(Unconvertible)).unwrap();
        let exception = future.exception(None).unwrap().unwrap();
        assert_eq!(exception.panic_message(), Some("converted"));
        capacity_is_whole(&pool, steps);

        let left = Arc::new(Mutex::new(3));
        let future = pool.submit(move || Unclonable(left)).unwrap();
        for _ in 0..2 {
            steps.at("a clone that panics");
            assert!(catch_unwind(AssertUnwindSafe(|| future.result(None))).is_err());
        }
        steps.at("the value is still there");
        assert!(future.result(None).is_ok());
        assert!(future.take_result(None).is_ok());
        pool.shutdown();
    });
}

#[test]
fn in_the_body_of_with() {
    watchdog("with, whose body panics", |steps| {
        logged("");
        let gate = Gate::new();
        let done = Count::new();
        let (its_gate, its_done) = (gate.clone(), done.clone());
        let outer = pool();
        let reference = outer.clone();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            outer.with(|pool| {
                for _ in 0..20 {
                    let (gate, done) = (its_gate.clone(), its_done.clone());
                    pool.submit(move || {
                        gate.wait();
                        done.add(1);
                        panic!("as well");
                    })
                    .unwrap();
                }
                gate.open();
                steps.at("with waits for the calls before the panic goes on");
                panic!("body");
            })
        }));
        assert!(outcome.is_err());
        assert_eq!(done.get(), 20);
        assert!(matches!(
            reference.submit(|| ()),
            Err(SubmitError::Shutdown)
        ));
    });
}

#[test]
fn in_an_iterator_given_to_map() {
    watchdog("an iterator that panics", |steps| {
        let (pool, gate) = busy_pool();
        let ran = Count::new();
        let items = || (0..10).inspect(|n| assert!(*n != 6, "item {n}"));
        let its_ran = ran.clone();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            pool.map(move |_| its_ran.add(1), items()).map(drop)
        }));
        assert!(outcome.is_err());
        gate.open();
        capacity_is_whole(&pool, steps);
        assert_eq!(ran.get(), 6, "what was submitted is run, as in CPython");

        steps.at("in next(), with a buffersize");
        let mut map = pool
            .map_with(|n| n, items(), MapOptions::new().buffersize(2))
            .unwrap();
        let mut values = Vec::new();
        let mut panics = 0;
        for _ in 0..20 {
            match catch_unwind(AssertUnwindSafe(|| map.next())) {
                Ok(Some(result)) => values.push(result.unwrap()),
                Ok(None) => break,
                Err(_) => panics += 1,
            }
        }
        assert_eq!(panics, 1);
        assert_eq!(values, [0, 1, 2, 3, 4, 5, 7, 8, 9], "nothing else is lost");
        drop(map);
        capacity_is_whole(&pool, steps);
        pool.shutdown();
    });
}

#[test]
fn in_the_function_given_to_map() {
    watchdog("a mapped function that panics", |steps| {
        let pool = pool();
        for chunksize in [1, 4] {
            let options = MapOptions::new().chunksize(chunksize);
            let mut map = pool
                .map_with(|n| assert!(n != 5, "five"), 0..10, options)
                .unwrap();
            for _ in 0..5 {
                assert!(map.next().unwrap().is_ok());
            }
            steps.at("the item that panics");
            assert!(matches!(map.next(), Some(Err(Error::Exception(e))) if e.is_panic()));
            assert!(map.next().is_none());
            capacity_is_whole(&pool, steps);
        }
        pool.shutdown();
    });
}

#[test]
fn in_the_drop_of_a_callback_that_is_never_called() {
    watchdog("callbacks that panic when dropped", |steps| {
        let pool = pool();
        for _ in 0..10 {
            let future = Future::<i32>::new();
            let bomb = Bomb("a callback's capture");
            future.add_done_callback(move |_| drop(bomb));
            // The last reference, on a worker.
            drop(pool.submit(move || drop(future)).unwrap());
        }
        capacity_is_whole(&pool, steps);
        pool.shutdown();
    });
}

#[test]
fn in_the_drop_of_an_initializer() {
    watchdog("an initializer that panics when dropped", |steps| {
        logged("");
        for round in 0..10 {
            let bomb = Bomb("an initializer");
            let pool = ThreadPoolExecutor::builder()
                .max_workers(1)
                .initializer(move || {
                    let _ = &bomb;
                })
                .build()
                .unwrap();
            let (gate, reference) = (Gate::new(), pool.clone());
            let its_gate = gate.clone();
            let first = pool
                .submit(move || {
                    its_gate.wait();
                    drop(reference);
                })
                .unwrap();
            let later: Vec<_> = (0..5).map(|n| pool.submit(move || n).unwrap()).collect();
            drop(pool);
            gate.open();
            steps.at(format!("round {round}: the call that drops the pool"));
            // Its captures are the last reference, and so it is its panic.
            assert!(first.exception(None).unwrap().unwrap().is_panic());
            steps.at(format!("round {round}: those behind it"));
            let sum: i32 = later.iter().map(|f| f.result(None).unwrap()).sum();
            assert_eq!(sum, 10);
        }
    });
}

/// The logger is one for the process, so these have a process of their own.
fn in_a_child(test: &str) {
    let ended = child(test, test, "");
    assert!(
        ended.code == Some(0) && ended.stdout.contains("child: done"),
        "{ended:?}"
    );
}

#[test]
fn in_the_logger() {
    if !is_child("in_the_logger") {
        return in_a_child("in_the_logger");
    }
    watchdog("a logger that panics", |steps| {
        let called = Count::new();
        let its_called = called.clone();
        set_logger(move |_| {
            its_called.add(1);
            panic_any(Bomb("a logger's payload"));
        });
        let (pool, gate) = busy(ThreadPoolExecutor::new(WORKERS).unwrap());
        for _ in 0..10 {
            let future = pool.submit(|| ()).unwrap();
            future.add_done_callback(|_| panic!("logged"));
            drop(pool.submit(|| Bomb("logged")).unwrap());
        }
        gate.open();
        capacity_is_whole(&pool, steps);
        steps.at("shutdown");
        pool.shutdown();
        assert!(called.get() >= 20);
        steps.at("an initializer");
        let pool = ThreadPoolExecutor::builder()
            .initializer(|| panic!("logged"))
            .build()
            .unwrap();
        if let Ok(future) = pool.submit(|| ()) {
            assert!(future.exception(None).unwrap().is_some());
        }
        pool.shutdown();
    });
    println!("child: done");
}

#[test]
fn in_the_drop_of_a_logger() {
    if !is_child("in_the_drop_of_a_logger") {
        return in_a_child("in_the_drop_of_a_logger");
    }
    watchdog("a logger that panics when dropped", |steps| {
        let pool = ThreadPoolExecutor::new(1).unwrap();
        let bomb = Bomb("a logger");
        // Replaced while it runs on the worker, it is dropped when it returns, by that worker.
        set_logger(move |_| {
            let _ = &bomb;
            set_logger(|_| ());
        });
        let (pool, gate) = busy(pool);
        drop(pool.submit(|| Bomb("logged")).unwrap());
        gate.open();
        capacity_is_whole(&pool, steps);
        steps.at("shutdown");
        pool.shutdown();
    });
    println!("child: done");
}

#[test]
fn in_the_text_of_a_logged_exception() {
    let role = "in_the_text_of_a_logged_exception";
    if !is_child(role) {
        let ended = child(role, role, "");
        assert!(
            ended.code == Some(0) && ended.stdout.contains("child: done"),
            "{ended:?}"
        );
        let logged = "Exception in initializer:\nBadError: <exception str() failed>\n";
        assert!(ended.stderr.contains(logged), "{ended:?}");
        return;
    }
    watchdog("an error that panics when shown", |steps| {
        // The default logger shows it on standard error.
        let pool = ThreadPoolExecutor::builder()
            .max_workers(1)
            .try_initializer(|| Err(BadError))
            .build()
            .unwrap();
        let future = pool.submit(|| ());
        if let Ok(future) = future {
            steps.at("the future");
            assert!(future.exception(None).unwrap().is_some());
        }
        steps.at("shutdown");
        pool.shutdown();
    });
    println!("child: done");
}

#[test]
fn in_a_drop_that_runs_other_code() {
    watchdog("a drop that submits and panics", |steps| {
        let (pool, gate) = busy_pool();
        let ran = Count::new();
        for _ in 0..20 {
            let (its_pool, its_ran) = (pool.clone(), ran.clone());
            let value = OnDrop::new(move || {
                its_pool.submit(move || its_ran.add(1)).unwrap();
                panic!("after it has submitted");
            });
            drop(pool.submit(move || value).unwrap());
        }
        gate.open();
        capacity_is_whole(&pool, steps);
        support::until(steps, "what the drops submitted has run", || {
            ran.get() == 20
        });
        pool.shutdown();
    });
}
