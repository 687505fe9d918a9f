// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! What a future calls when it is done.

use super::super::stdlib::process_wide;
use super::nesting::Nesting;
use super::{Future, Outcome, TypedPart, LOGGER};
use std::mem;
use std::sync::PoisonError;

/// A done-callback.
///
/// Callbacks are added only where `T: 'static`, while futures are completed and dropped for any `T`. So
/// all that needs `T: 'static` is a method of the callback, whose type was fixed where the bound held.
pub(super) trait Callback<T>: Send {
    fn call(self: Box<Self>, future: &Future<T>);

    /// The call, to be made later.
    fn postpone(self: Box<Self>, future: Future<T>) -> Box<dyn FnOnce()>;

    /// The drop of the callback, to be done later.
    fn discard(self: Box<Self>) -> Box<dyn FnOnce()>;
}

impl<T: 'static, F: FnOnce(&Future<T>) + Send + 'static> Callback<T> for F {
    fn call(self: Box<Self>, future: &Future<T>) {
        self(future);
    }

    fn postpone(self: Box<Self>, future: Future<T>) -> Box<dyn FnOnce()> {
        Box::new(move || future.invoke(self))
    }

    fn discard(self: Box<Self>) -> Box<dyn FnOnce()> {
        Box::new(move || drop(self))
    }
}

/// Nobody can ask for the outcome any more, and nobody is left to call.
impl<T> Drop for TypedPart<T> {
    #[inline]
    fn drop(&mut self) {
        if let Outcome::Exception {
            exception,
            retrieved: false,
        } = &self.outcome
        {
            if *LOGS_UNRETRIEVED
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
            {
                LOGGER.exception("exception was never retrieved", exception);
            }
        }
        if self.done_callbacks.is_empty() {
            return;
        }
        let done_callbacks = mem::take(&mut self.done_callbacks);
        match Nesting::enter() {
            Some(_level) => {
                // One by one: if two panicked in the drop of the list, that would end the process.
                for callback in done_callbacks {
                    LOGGER.log_panic("exception ignored while dropping a callback", || {
                        drop(callback);
                    });
                }
            }
            None => {
                for callback in done_callbacks {
                    Nesting::postpone(callback.discard());
                }
            }
        }
    }
}

static LOGS_UNRETRIEVED: process_wide::sync::Mutex<bool> = process_wide::sync::Mutex::new(false);

/// From now on, for the whole process, whether to log that an exception was never retrieved: with the
/// exception, when the last handle goes to a future that has failed, and nobody has asked for its
/// outcome, awaited it, or given it a callback. `wait` and `as_completed` do not ask for an outcome. An
/// error of the function given to `map` is among what its iterator yields, and is not logged.
///
/// It is off by default, and costs nothing then. Where the log goes is set by
/// [`set_logger`](super::super::set_logger).
///
/// CPython: none for threads (gh-85544); `asyncio` does that for its own futures.
pub fn log_unretrieved(on: bool) {
    *LOGS_UNRETRIEVED
        .lock()
        .unwrap_or_else(PoisonError::into_inner) = on;
}
