// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! The mix-ins of CPython's `test_concurrent_futures`: what has to hold of every executor.
//!
//! To run them on an executor of your own, copy this folder into your `tests/`, tell it how to make
//! your executor, and have the cases written out as tests:
//!
//! ```ignore
//! #[macro_use]
//! mod executor;
//!
//! struct Mine;
//!
//! impl executor::ExecutorMixin for Mine {
//!     type Executor = MyExecutor;
//!     fn executor_type(max_workers: usize) -> Result<MyExecutor, Box<dyn std::error::Error>> {
//!         Ok(MyExecutor::new(max_workers)?)
//!     }
//! }
//!
//! executor_tests!(Mine);
//! as_completed_tests!(Mine);
//! wait_tests!(Mine);
//! shutdown_tests!(Mine);
//! ```
//!
//! Nothing but the public names of the crate is used. The macros expect the folder to be the module
//! `executor` at the root of the test file. (If the crate is a module of yours, let the folder's lines
//! that begin with `use concurrent_futures::` begin with its path.)
//!
//! A case that fails says which promise is broken, and then what it has seen:
//!
//! ```text
//! broken promise: a call that runs is running, and cannot be cancelled
//! a_call_is_running_while_it_runs: it runs, and its future is PENDING: ...
//! ```
//!
//! - `executor.rs`, `as_completed.rs`, `wait.rs` and `shutdown.rs` are CPython's cases, under their names.
//! - `calls.rs` and `ending.rs` are what those leave open: `executor_tests!` and `shutdown_tests!` have them,
//!   too. What an executor may choose is a constant of the mix-in, which its message names.
//! - An executor for which a case has no meaning at all, such as one that runs every call within
//!   `submit`, names those that are left: `instantiate! { Mine, executor, test_submit test_map }`.
//! - A case that hangs is ended after 60 seconds, or as many as the environment variable
//!   `WATCHDOG_SECONDS` says: `WATCHDOG_SECONDS=5 cargo test` while the executor is young.

// Each test file uses a part of this folder.
#![allow(dead_code, unused_macros)]
// The hash of a future is that of its identity, which nothing changes.
#![allow(clippy::mutable_key_type)]

use concurrent_futures::Executor;
use std::any::Any;
use std::error::Error;
use std::mem::ManuallyDrop;
use util::{promise, watchdog};

pub mod as_completed;
pub mod calls;
pub mod ending;
// `executor.rs` of the folder `executor` is CPython's `executor.py`.
#[allow(clippy::module_inception)]
pub mod executor;
pub mod shutdown;
pub mod util;
pub mod wait;

/// How to make the executor that the cases are to be run on, and what can be expected of it.
///
/// CPython: `ExecutorMixin` in `util.py`.
pub trait ExecutorMixin: 'static {
    type Executor: Executor + Send + Sync + 'static;

    /// How many workers the executor of a case gets. Several cases need three that run side by side;
    /// `test_cancel_futures` wants few.
    const WORKER_COUNT: usize = 5;

    /// Whether an executor of `max_workers` runs no more than so many calls at once, lets the others wait
    /// without blocking `submit`, and refuses to have no workers. If not, the cases about calls that wait
    /// for a worker, and about the number of workers, mean nothing and are left out.
    const BOUNDED: bool = true;

    /// Whether calls that wait for a worker begin in the order in which they were submitted, as CPython's
    /// do. A stack, or a queue with priorities, says no.
    const IN_ORDER: bool = true;

    /// Whether the threads that run the calls are the executor's own, and end soon after `shutdown`. One
    /// that runs them on threads that others use, too, says no.
    const OWN_THREADS: bool = true;

    /// Whether they end also if the executor is dropped without `shutdown`, as CPython's do; once they have
    /// run what was submitted, or it was cancelled. Whether the drop waits for that is free.
    const DROP_ENDS_THREADS: bool = true;

    /// A new executor. CPython: `self.executor_type(max_workers=max_workers)`.
    fn executor_type(max_workers: usize) -> Result<Self::Executor, Box<dyn Error>>;

    /// Makes a guard that, dropped at the end of the process, finishes what the executors of this kind
    /// were given and lets them take no more. Without it, the cases about the end of the process are
    /// left out.
    ///
    /// CPython: the hook that the executor's module registers with `threading._register_atexit`.
    const AT_EXIT: Option<fn() -> Box<dyn Any>> = None;
}

/// Runs a case on a new executor, which is shut down at its end: CPython's `setUp` and `tearDown`.
/// Fails if that takes too long.
pub fn with_executor<M: ExecutorMixin>(
    name: &str,
    case: impl FnOnce(&M::Executor) + Send + 'static,
) {
    with_workers::<M>(name, M::WORKER_COUNT, case);
}

/// The same on an executor of so many workers.
pub fn with_workers<M: ExecutorMixin>(
    name: &str,
    max_workers: usize,
    case: impl FnOnce(&M::Executor) + Send + 'static,
) {
    watchdog(name, move || {
        promise("an executor can be made");
        // If the case panics it is left as it is: neither a `shutdown` nor a drop that hangs is to
        // hide what the case has found.
        let executor = ManuallyDrop::new(M::executor_type(max_workers).expect("no executor"));
        case(&executor);
        promise("`shutdown` returns once all calls have ended");
        executor.shutdown();
        drop(ManuallyDrop::into_inner(executor));
    });
}

/// Says that a case is left out, and by which constant of the mix-in.
fn left_out(name: &str, constant: &str) {
    println!("{name} left out: for this executor, {constant} is false");
}

/// Makes a test of each case named, for the module's own use.
macro_rules! instantiate {
    ($mixin:ty, $file:ident, $($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                let path = concat!(module_path!(), "::", stringify!($name));
                // The test runner's names do not begin with the crate's.
                let (_, name) = path.split_once("::").unwrap();
                crate::executor::$file::$name::<$mixin>(name);
            }
        )*
    };
}

/// CPython: `ExecutorTest` in `executor.py`. And `calls.rs`.
macro_rules! executor_tests {
    ($mixin:ty) => {
        instantiate! { $mixin, executor,
            test_submit
            test_submit_keyword
            test_map
            test_map_exception
            test_map_timeout
            test_shutdown_race_issue12456
            test_no_stale_references
            test_max_workers_negative
            test_free_reference
        }
        instantiate! { $mixin, calls,
            a_call_is_running_while_it_runs
            an_error_keeps_its_type
            a_panic_is_an_exception
            map_in_all_its_forms
            several_threads_submit
            as_many_calls_as_workers_run_side_by_side
            no_more_calls_than_workers_run_at_once
            calls_begin_in_the_order_of_their_submission
            a_cancelled_call_is_never_run
            whoever_waits_for_a_cancelled_call_is_told
            a_call_may_use_the_executor
            a_callback_may_use_the_executor
            a_worker_survives_panics
            a_worker_survives_what_others_do_to_its_future
            a_cancelled_call_is_let_go_of
            an_outcome_goes_with_its_last_handle
            a_result_that_nobody_wants_is_dropped
        }
    };
}

/// CPython: `AsCompletedTests` in `test_as_completed.py`.
macro_rules! as_completed_tests {
    ($mixin:ty) => {
        instantiate! { $mixin, as_completed,
            test_no_timeout
            test_future_times_out
            test_duplicate_futures
            test_free_reference_yielded_future
            test_correct_timeout_exception_msg
        }
    };
}

/// CPython: `WaitTests` in `test_wait.py`.
macro_rules! wait_tests {
    ($mixin:ty) => {
        instantiate! { $mixin, wait,
            test_20369
            test_first_completed
            test_first_completed_some_already_completed
            test_first_exception
            test_first_exception_some_already_complete
            test_first_exception_one_already_failed
            test_all_completed
            test_timeout
        }
    };
}

/// CPython: `ExecutorShutdownTest` in `test_shutdown.py`. And `ending.rs`.
macro_rules! shutdown_tests {
    ($mixin:ty) => {
        instantiate! { $mixin, shutdown,
            test_run_after_shutdown
            test_interpreter_shutdown
            test_submit_after_interpreter_shutdown
            test_hang_issue12364
            test_cancel_futures
            test_hang_gh83386
            test_hang_gh94440
        }
        instantiate! { $mixin, ending,
            a_refused_call_is_dropped
            shutdown_without_wait_loses_nothing
            shutdown_waits_whoever_calls_it_again
            what_is_accepted_during_shutdown_is_run
            shutdown_that_cancels_tells_whoever_waits
            a_callback_may_use_the_executor_that_cancels
            with_shuts_down_and_waits
            shutdown_ends_the_threads
            dropping_the_executor_ends_its_threads
            dropping_the_executor_loses_no_call
        }
    };
}
