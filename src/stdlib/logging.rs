// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! What the port needs of Python's `logging`: one logger, and one place where its records go.

use super::exceptions::{drop_payload, Exception};
use super::process_wide;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, PoisonError};

/// How grave a [`LogRecord`] is.
///
/// CPython: the levels of `logging` that `concurrent.futures` uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Level {
    /// A callback panicked; whatever it was called for went on.
    Error,
    /// An initializer failed, a future was used against the rules, or a `Drop` panicked where nobody
    /// could be told.
    Critical,
}

/// What a [logger](set_logger) is told.
///
/// CPython: a call of `LOGGER.exception` or `LOGGER.critical`.
#[derive(Debug)]
pub struct LogRecord<'a> {
    level: Level,
    message: &'a str,
    exception: Option<&'a Exception>,
}

impl LogRecord<'_> {
    /// How grave it is.
    pub fn level(&self) -> Level {
        self.level
    }

    /// CPython's message, such as `exception calling callback for <Future at 0x... state=finished
    /// returned i32>`.
    pub fn message(&self) -> &str {
        self.message
    }

    /// The exception that is reported, if the report is about one: CPython's `exc_info`.
    pub fn exception(&self) -> Option<&Exception> {
        self.exception
    }
}

type Handler = dyn Fn(&LogRecord<'_>) + Send + Sync;

/// Where all records go; standard error for `None`.
static HANDLER: process_wide::sync::Mutex<Option<Arc<Handler>>> =
    process_wide::sync::Mutex::new(None);

/// Sends this crate's log records to `logger`, for the whole process, instead of to standard error.
///
/// What is logged is what has nowhere else to go: a panic in a callback, in an initializer or in the
/// `Drop` of a value or a call that nobody wants any more, a future that was completed behind its
/// executor's back. Exceptions of tasks are not logged; they
/// are kept in the task's future.
///
/// The logger runs on whichever thread has something to report, while no lock of this crate is
/// held, and may use any of its functions. A panic in it is caught and ignored. The logger that was
/// set before is dropped.
///
/// ```
/// use concurrent_futures::{set_logger, Future};
/// use std::sync::mpsc;
///
/// let (sender, receiver) = mpsc::channel();
/// let sender = std::sync::Mutex::new(sender);
/// set_logger(move |record| {
///     let _ = sender.lock().unwrap().send(record.message().to_owned());
/// });
///
/// let future = Future::new();
/// future.add_done_callback(|_| panic!("no"));
/// future.set_result(1).unwrap();
/// assert!(receiver.recv().unwrap().starts_with("exception calling callback for <Future at 0x"));
/// ```
///
/// CPython: `LOGGER` in `_base.py`, and `logging.Logger.addHandler`.
pub fn set_logger(logger: impl Fn(&LogRecord<'_>) + Send + Sync + 'static) {
    let mut handler = HANDLER.lock().unwrap_or_else(PoisonError::into_inner);
    let replaced = handler.replace(Arc::new(logger));
    drop(handler);
    drop(replaced);
}

/// `logging.Logger`. No lock may be held when one of its methods is called: the handler is the user's.
pub(in super::super) struct Logger;

impl Logger {
    /// Logs what should not have happened. `exc_info` is the exception to report, if there is one.
    pub(in super::super) fn critical(&self, message: &str, exc_info: Option<&Exception>) {
        self.handle(Level::Critical, message, exc_info);
    }

    /// Logs an exception with which something else can go on.
    pub(in super::super) fn exception(&self, message: &str, exc_info: &Exception) {
        self.handle(Level::Error, message, Some(exc_info));
    }

    /// Calls `f`, and logs its panic, if it panics: for what nobody waits for, most often the `Drop` of
    /// a user's value.
    #[inline]
    pub(in super::super) fn log_panic(&self, message: &str, f: impl FnOnce()) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
            self.critical(message, Some(&Exception::from_panic(payload)));
        }
    }

    fn handle(&self, level: Level, message: &str, exception: Option<&Exception>) {
        let handler = HANDLER
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let record = LogRecord {
            level,
            message,
            exception,
        };
        // A handler that panics, or panics when it is dropped, has nobody to report to. It may be
        // dropped here: another may have been set meanwhile, even by itself.
        let called = catch_unwind(AssertUnwindSafe(|| match &handler {
            Some(handler) => handler(&record),
            None => emit(&record),
        }));
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(handler)));
        for outcome in [called, dropped] {
            if let Err(payload) = outcome {
                drop_payload(payload);
            }
        }
    }
}

/// Writes a record to standard error: `logging.StreamHandler.emit`, and the text of `traceback` for an exception
/// that cannot be shown.
fn emit(record: &LogRecord<'_>) {
    let mut text = record.message.to_owned();
    if let Some(exception) = record.exception {
        // It is shown by code of the user's, and where that fails, the rest is still worth having.
        let shown = catch_unwind(AssertUnwindSafe(|| exception.to_string()));
        let shown = shown.unwrap_or_else(|payload| {
            drop_payload(payload);
            "<exception str() failed>".to_owned()
        });
        let _ = write!(text, "\n{}: {}", exception.type_name(), shown);
    }
    text.push('\n');
    // Not `eprintln!`, which panics when standard error is closed.
    let _ = io::stderr().write_all(text.as_bytes());
}
