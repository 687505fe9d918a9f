//! CPython's `test_as_completed.py`. What the cases do is in `executor/as_completed.rs`.

#[macro_use]
mod executor;
mod processes;
mod support;
mod util;

use executor::as_completed;
use util::ThreadPoolMixin;

#[test]
fn test_no_timeout() {
    as_completed::test_no_timeout::<ThreadPoolMixin>("test_no_timeout");
}

#[test]
fn test_future_times_out() {
    as_completed::test_future_times_out::<ThreadPoolMixin>("test_future_times_out");
}

#[test]
fn test_duplicate_futures() {
    as_completed::test_duplicate_futures::<ThreadPoolMixin>("test_duplicate_futures");
}

#[test]
fn test_free_reference_yielded_future() {
    as_completed::test_free_reference_yielded_future::<ThreadPoolMixin>(
        "test_free_reference_yielded_future",
    );
}

#[test]
fn test_correct_timeout_exception_msg() {
    as_completed::test_correct_timeout_exception_msg::<ThreadPoolMixin>(
        "test_correct_timeout_exception_msg",
    );
}

/// The same on an executor of another kind.
mod thread_per_task {
    as_completed_tests!(crate::util::ThreadPerTaskMixin);
}

/// CPython: `ProcessPoolSpawnAsCompletedTest`.
#[allow(clippy::mutable_key_type)] // The hash of a future is that of its identity.
mod process_pool {
    use crate::executor::util::{
        cancelled_and_notified_future, exception_future, soon, successful_future,
    };
    use crate::processes::*;
    use crate::support::{until, watchdog};
    use concurrent_futures::as_completed;
    use std::collections::HashSet;
    use std::iter;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn test_no_timeout() {
        watchdog("test_no_timeout", |_| {
            let executor = pool(5);
            let fs = HashSet::from([
                cancelled_and_notified_future(),
                exception_future(),
                successful_future(),
                executor.submit(multiply, (2, 21)).unwrap(),
                executor.submit(multiply, (7, 6)).unwrap(),
            ]);
            let completed: HashSet<_> = as_completed(fs.clone(), None)
                .map(|future| future.unwrap())
                .collect();
            assert_eq!(completed, fs);
        });
    }

    #[test]
    fn test_future_times_out() {
        watchdog("test_future_times_out", |_| {
            let executor = pool(5);
            let already_completed = HashSet::from([
                cancelled_and_notified_future(),
                exception_future(),
                successful_future(),
            ]);
            for timeout in [Duration::ZERO, Duration::from_millis(100)] {
                let holder = Holder::new();
                let future = executor.submit(wait_at, Some(holder.port())).unwrap();
                let fs = already_completed.iter().cloned().chain([future.clone()]);

                let mut completed_futures = HashSet::new();
                let mut timed_out = false;
                for completed in as_completed(fs, timeout) {
                    match completed {
                        Ok(future) => assert!(completed_futures.insert(future)),
                        Err(_) => timed_out = true,
                    }
                }

                // `future` was not completed.
                assert!(timed_out);
                assert_eq!(completed_futures, already_completed);
                assert!(!future.done());
                drop(holder.entered());
            }
        });
    }

    #[test]
    fn test_duplicate_futures() {
        watchdog("test_duplicate_futures", |_| {
            let executor = pool(5);
            let holder = Holder::new();
            let future1 = executor.submit(wait_at, Some(holder.port())).unwrap();
            let completed = as_completed(iter::repeat(future1.clone()).take(3), None);
            let held = holder.entered();
            soon(move || drop(held));
            let completed: Vec<_> = completed.map(|future| future.unwrap()).collect();
            assert_eq!(completed, [future1]);
        });
    }

    /// A future's result dies with it, so a weak reference to the result tells about the future. The
    /// thread that has completed it lets it go a moment later.
    #[test]
    fn test_free_reference_yielded_future() {
        watchdog("test_free_reference_yielded_future", |steps| {
            let executor = pool(5);
            let mut futures_list: Vec<_> = (0..10)
                .map(|n| executor.submit(make_object, n).unwrap())
                .collect();
            for future in as_completed(futures_list.clone(), None) {
                let future = future.unwrap();
                futures_list.retain(|other| *other != future);
                let weak = Arc::downgrade(&future.result(None).unwrap().0);
                assert!(weak.upgrade().is_some());
                drop(future);
                until(steps, "the yielded future is gone", || {
                    weak.upgrade().is_none()
                });
            }
            assert_eq!(futures_list.len(), 0);
        });
    }

    #[test]
    fn test_correct_timeout_exception_msg() {
        watchdog("test_correct_timeout_exception_msg", |_| {
            let executor = pool(1);
            let holder = Holder::new();
            let running = executor.submit(wait_at, Some(holder.port())).unwrap();
            let held = holder.entered();
            let pending = executor.submit(wait_at, None).unwrap();
            let cancelled = executor.submit(wait_at, None).unwrap();
            assert!(cancelled.cancel() && !pending.running() && running.running());
            let futures_list = [cancelled, pending, running, successful_future()];
            let errors: Vec<_> = as_completed(futures_list, Duration::ZERO)
                .filter_map(Result::err)
                .collect();
            assert_eq!(errors.len(), 1);
            assert_eq!(errors[0].to_string(), "2 (of 4) futures unfinished");
            drop(held);
        });
    }
}
