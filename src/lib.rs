//! CPython's `concurrent.futures`, ported to Rust module by module on the standard library alone.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

// State of the whole process outlives any one run under a model scheduler, several of which share
// a process, so it is kept behind a lock that such a scheduler does not replace. Nothing but plain
// memory is touched while one of these is held.
extern crate std as process;

mod _base;
mod any;
mod awaiting;
mod queue;
pub mod thread;
mod threading;

pub use _base::{
    as_completed, set_logger, wait, AsCompleted, BrokenExecutor, DoneAndNotDoneFutures, Error,
    Exception, Executor, Future, InvalidStateError, Level, LogRecord, Map, MapOptions, MapWith,
    ReturnWhen, ShutdownOptions, State, Submit, SubmitError, TimeoutError, Unsubmitted, ValueError,
    Waitable, ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION,
};
pub use any::AnyFuture;
pub use thread::{
    at_exit, AtExit, BrokenThreadPool, ThreadPoolExecutor, ThreadPoolExecutorBuilder,
};

/// The README's programs, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
