//! CPython's `test_wait.py`. What the general cases do is in `executor/wait.rs`.

#[macro_use]
mod executor;
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
