//! CPython's `test_as_completed.py`. What the cases do is in `executor/as_completed.rs`.

#[macro_use]
mod executor;
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
