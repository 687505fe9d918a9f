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
//! `executor` at the root of the test file.

// Each test file uses a part of this folder.
#![allow(dead_code, unused_macros)]
// The hash of a future is that of its identity, which nothing changes.
#![allow(clippy::mutable_key_type)]

use concurrent_futures::Executor;
use std::any::Any;
use std::error::Error;

pub mod as_completed;
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

    /// Whether an executor of `max_workers` runs no more than so many calls at once, and refuses to
    /// have none. If not, `test_cancel_futures` and `test_max_workers_negative` mean nothing and are
    /// left out.
    const BOUNDED: bool = true;

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
    util::watchdog(name, || {
        let executor = M::executor_type(M::WORKER_COUNT).expect("no executor");
        executor.with(|executor| case(executor));
    });
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

/// CPython: `ExecutorTest` in `executor.py`.
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

/// CPython: `ExecutorShutdownTest` in `test_shutdown.py`.
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
    };
}
