//! CPython's `test_thread_pool.py`. What the cases of `executor.py` do is in `executor/executor.rs`.

#[macro_use]
mod executor;
mod util;

use concurrent_futures::{Error, Executor, MapOptions, ThreadPoolExecutor};
use executor::executor as executor_test;
use executor::util::{mul, watchdog, Gate, Semaphore};
use executor::with_executor;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use util::ThreadPoolMixin;

#[test]
fn test_submit() {
    executor_test::test_submit::<ThreadPoolMixin>("test_submit");
}

#[test]
fn test_submit_keyword() {
    executor_test::test_submit_keyword::<ThreadPoolMixin>("test_submit_keyword");
}

#[test]
fn test_map() {
    executor_test::test_map::<ThreadPoolMixin>("test_map");
}

#[test]
fn test_map_exception() {
    executor_test::test_map_exception::<ThreadPoolMixin>("test_map_exception");
}

#[test]
fn test_map_timeout() {
    executor_test::test_map_timeout::<ThreadPoolMixin>("test_map_timeout");
}

#[test]
fn test_shutdown_race_issue12456() {
    executor_test::test_shutdown_race_issue12456::<ThreadPoolMixin>(
        "test_shutdown_race_issue12456",
    );
}

#[test]
fn test_no_stale_references() {
    executor_test::test_no_stale_references::<ThreadPoolMixin>("test_no_stale_references");
}

#[test]
fn test_max_workers_negative() {
    executor_test::test_max_workers_negative::<ThreadPoolMixin>("test_max_workers_negative");
}

#[test]
fn test_free_reference() {
    executor_test::test_free_reference::<ThreadPoolMixin>("test_free_reference");
}

/// bpo-11777: `map` submits all its calls, whether or not anybody iterates over the results.
#[test]
fn test_map_submits_without_iteration() {
    with_executor::<ThreadPoolMixin>("test_map_submits_without_iteration", |executor| {
        let gate = Gate::new();
        let event = gate.event();
        let finished = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&finished);
        let record_finished = move |n| {
            event.wait();
            record.lock().unwrap().push(n);
        };
        // As in CPython, the iterator is gone before any of the calls has ended, and most are queued.
        drop(executor.map(record_finished, 0..10).unwrap());
        gate.open();
        executor.shutdown();
        let mut finished = finished.lock().unwrap();
        finished.sort_unstable();
        assert_eq!(*finished, (0..10).collect::<Vec<_>>());
    });
}

#[test]
fn test_default_workers() {
    let executor = ThreadPoolExecutor::new(None).unwrap();
    let processors = thread::available_parallelism().map_or(1, |n| n.get());
    assert_eq!(executor.max_workers(), (processors + 4).min(32));
}

#[test]
fn test_saturation() {
    watchdog("test_saturation", || {
        let executor = ThreadPoolExecutor::new(4).unwrap();
        let sem = Semaphore::new();
        for _ in 0..15 * executor.max_workers() {
            let sem = sem.clone();
            executor.submit(move || sem.acquire()).unwrap();
        }
        assert_eq!(executor.thread_count(), executor.max_workers());
        sem.release(15 * executor.max_workers());
        executor.shutdown();
    });
}

#[test]
fn test_idle_thread_reuse() {
    watchdog("test_idle_thread_reuse", || {
        for _ in 0..100 {
            let executor = ThreadPoolExecutor::new(None).unwrap();
            for (x, y) in [(21, 2), (6, 7), (3, 14)] {
                let future = executor.submit(move || mul(x, y)).unwrap();
                assert_eq!(future.result(None).unwrap(), 42);
            }
            assert_eq!(executor.thread_count(), 1);
            executor.shutdown();
        }
    });
}

#[test]
fn test_executor_map_current_future_cancel() {
    watchdog("test_executor_map_current_future_cancel", || {
        let stop_event = Gate::new();
        let log = Arc::new(Mutex::new(Vec::new()));
        let log_n_wait = {
            let (log, event) = (Arc::clone(&log), stop_event.event());
            move |ident: &str| {
                log.lock().unwrap().push(format!("{ident} started"));
                event.wait();
                log.lock().unwrap().push(format!("{ident} stopped"));
            }
        };

        let pool = ThreadPoolExecutor::new(1).unwrap();
        pool.with(|pool| {
            // Saturate the pool.
            let first = log_n_wait.clone();
            let fut = pool.submit(move || first("first")).unwrap();
            let mut results = pool
                .map_with(
                    log_n_wait,
                    ["second", "third"],
                    MapOptions::new().timeout(Duration::ZERO),
                )
                .unwrap();
            assert!(matches!(results.next(), Some(Err(Error::Timeout))));
            drop(results);
            stop_event.open();
            fut.result(None).unwrap();
        });
        // "second" was cancelled because of the time-out, "third" because it remained in `results`.
        assert_eq!(*log.lock().unwrap(), ["first started", "first stopped"]);
    });
}

/// The same on an executor of another kind.
mod thread_per_task {
    executor_tests!(crate::util::ThreadPerTaskMixin);
}
