//! CPython's `test_wait.py`. What the general cases do is in `executor/wait.rs`.

#[macro_use]
mod executor;
mod processes;
mod support;
mod util;

use concurrent_futures::{Executor, ALL_COMPLETED};
use executor::util::Gate;
use executor::{wait, with_executor};
use std::collections::HashSet;
use util::ThreadPoolMixin;

#[test]
fn test_20369() {
    wait::test_20369::<ThreadPoolMixin>("test_20369");
}

#[test]
fn test_first_completed() {
    wait::test_first_completed::<ThreadPoolMixin>("test_first_completed");
}

#[test]
fn test_first_completed_some_already_completed() {
    wait::test_first_completed_some_already_completed::<ThreadPoolMixin>(
        "test_first_completed_some_already_completed",
    );
}

#[test]
fn test_first_exception() {
    wait::test_first_exception::<ThreadPoolMixin>("test_first_exception");
}

#[test]
fn test_first_exception_some_already_complete() {
    wait::test_first_exception_some_already_complete::<ThreadPoolMixin>(
        "test_first_exception_some_already_complete",
    );
}

#[test]
fn test_first_exception_one_already_failed() {
    wait::test_first_exception_one_already_failed::<ThreadPoolMixin>(
        "test_first_exception_one_already_failed",
    );
}

#[test]
fn test_all_completed() {
    wait::test_all_completed::<ThreadPoolMixin>("test_all_completed");
}

#[test]
fn test_timeout() {
    wait::test_timeout::<ThreadPoolMixin>("test_timeout");
}

/// bpo-14406: a race between calls that end and a thread that begins to wait for all of them.
#[test]
#[allow(clippy::mutable_key_type)] // The hash of a future is that of its identity.
fn test_pending_calls_race() {
    with_executor::<ThreadPoolMixin>("test_pending_calls_race", |executor| {
        for _ in 0..100 {
            let gate = Gate::new();
            let fs: HashSet<_> = (0..100)
                .map(|_| executor.submit(gate.call()).unwrap())
                .collect();
            gate.open();
            let waited = concurrent_futures::wait(fs.clone(), None, ALL_COMPLETED);
            assert_eq!(waited.done, fs);
        }
    });
}

/// The same on an executor of another kind.
mod thread_per_task {
    wait_tests!(crate::util::ThreadPerTaskMixin);
}

/// CPython: `ProcessPoolSpawnWaitTest`.
#[allow(clippy::mutable_key_type)] // The hash of a future is that of its identity.
mod process_pool {
    use crate::executor::util::{
        cancelled_and_notified_future, cancelled_future, exception_future, soon, successful_future,
    };
    use crate::processes::*;
    use crate::support::watchdog;
    use concurrent_futures::{wait, Future, ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION};
    use std::collections::HashSet;
    use std::time::Duration;

    #[test]
    fn test_20369() {
        watchdog("test_20369", |_| {
            let executor = pool(5);
            let holder = Holder::new();
            let future = executor.submit(wait_at, Some(holder.port())).unwrap();
            let held = holder.entered();
            soon(move || drop(held));
            let waited = wait([future.clone(), future.clone()], None, ALL_COMPLETED);
            assert_eq!(waited.done, HashSet::from([future]));
            assert_eq!(waited.not_done, HashSet::new());
        });
    }

    #[test]
    fn test_first_completed() {
        watchdog("test_first_completed", |_| {
            let executor = pool(5);
            let holder = Holder::new();
            let future1 = executor.submit(multiply, (21, 2)).unwrap();
            let future2 = executor.submit(wait_at, Some(holder.port())).unwrap();
            let cancelled = cancelled_future();
            let fs = [cancelled.clone(), future1.clone(), future2.clone()];
            let waited = wait(fs, None, FIRST_COMPLETED);
            assert_eq!(waited.done, HashSet::from([future1]));
            assert_eq!(waited.not_done, HashSet::from([cancelled, future2]));
            drop(holder.entered());
        });
    }

    #[test]
    fn test_first_completed_some_already_completed() {
        watchdog("test_first_completed_some_already_completed", |_| {
            let executor = pool(5);
            let holder = Holder::new();
            let completed = [cancelled_and_notified_future(), successful_future()];
            let future1 = executor.submit(wait_at, Some(holder.port())).unwrap();
            let fs = completed.iter().cloned().chain([future1.clone()]);
            let waited = wait(fs, None, FIRST_COMPLETED);
            assert_eq!(waited.done, HashSet::from(completed));
            assert_eq!(waited.not_done, HashSet::from([future1]));
            drop(holder.entered());
        });
    }

    #[test]
    fn test_first_exception() {
        watchdog("test_first_exception", |_| {
            let executor = pool(5);
            let holders = [Holder::new(), Holder::new(), Holder::new()];
            let [port1, port2, port3] = [0, 1, 2].map(|n: usize| holders[n].port());
            let future1 = executor.submit(wait_at, Some(port1)).unwrap();
            let future2: Future<i32> = executor.try_submit(fail_at, port2).unwrap();
            let future3 = executor.submit(wait_at, Some(port3)).unwrap();

            // `future2` fails after `future1` has returned.
            let [held1, held2, held3] = [0, 1, 2].map(|n: usize| holders[n].entered());
            future1.add_done_callback(move |_| drop(held2));
            soon(move || drop(held1));
            let fs = [future1.clone(), future2.clone(), future3.clone()];
            let waited = wait(fs, None, FIRST_EXCEPTION);

            assert_eq!(waited.done, HashSet::from([future1, future2]));
            assert_eq!(waited.not_done, HashSet::from([future3]));
            drop(held3);
        });
    }

    #[test]
    fn test_first_exception_some_already_complete() {
        watchdog("test_first_exception_some_already_complete", |_| {
            let executor = pool(5);
            let holder = Holder::new();
            let completed = [successful_future(), cancelled_and_notified_future()];
            let cancelled = cancelled_future();
            let future1 = executor.submit(divide, (21, 0)).unwrap();
            let future2 = executor.submit(wait_at, Some(holder.port())).unwrap();
            let pending = [cancelled, future2];

            let fs = completed.iter().chain(&pending).cloned();
            let waited = wait(fs.chain([future1.clone()]), None, FIRST_EXCEPTION);

            let done: HashSet<_> = completed.into_iter().chain([future1]).collect();
            assert_eq!(waited.done, done);
            assert_eq!(waited.not_done, HashSet::from(pending));
            drop(holder.entered());
        });
    }

    #[test]
    fn test_first_exception_one_already_failed() {
        watchdog("test_first_exception_one_already_failed", |_| {
            let executor = pool(5);
            let holder = Holder::new();
            let failed = exception_future();
            let future1 = executor.submit(wait_at, Some(holder.port())).unwrap();
            let waited = wait([failed.clone(), future1.clone()], None, FIRST_EXCEPTION);
            assert_eq!(waited.done, HashSet::from([failed]));
            assert_eq!(waited.not_done, HashSet::from([future1]));
            drop(holder.entered());
        });
    }

    #[test]
    fn test_all_completed() {
        watchdog("test_all_completed", |_| {
            let executor = pool(5);
            let fs = HashSet::from([
                successful_future(),
                cancelled_and_notified_future(),
                exception_future(),
                executor.submit(divide, (2, 0)).unwrap(),
                executor.submit(multiply, (2, 21)).unwrap(),
            ]);
            let waited = wait(fs.clone(), None, ALL_COMPLETED);
            assert_eq!(waited.done, fs);
            assert_eq!(waited.not_done, HashSet::new());
        });
    }

    #[test]
    fn test_timeout() {
        watchdog("test_timeout", |_| {
            let executor = pool(5);
            let holder = Holder::new();
            let completed = [
                cancelled_and_notified_future(),
                exception_future(),
                successful_future(),
            ];
            let future = executor.submit(wait_at, Some(holder.port())).unwrap();
            let fs = completed.iter().cloned().chain([future.clone()]);
            let waited = wait(fs, Duration::from_millis(50), ALL_COMPLETED);
            assert_eq!(waited.done, HashSet::from(completed));
            assert_eq!(waited.not_done, HashSet::from([future]));
            drop(holder.entered());
        });
    }
}
