// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! What is public of Python's `threading`: an event, for calls that are to be stopped.

use super::threading::{self, Deadline};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A flag that threads can wait for. Give one to a call that runs for long, so that it can be asked to
/// stop: the call looks at it, or sleeps on it.
///
/// It is a shared handle: a clone is another reference to the same event.
///
/// ```
/// use concurrent_futures::threading::Event;
/// use concurrent_futures::{Executor, ThreadPoolExecutor};
/// use std::time::Duration;
///
/// let pool = ThreadPoolExecutor::new(1)?;
/// let stop = Event::new();
/// let stopped = stop.clone();
/// let rounds = pool.submit(move || {
///     let mut rounds = 0;
///     // Does something every ten milliseconds, and ends at once when it is told to.
///     while !stopped.wait(Duration::from_millis(10)) {
///         rounds += 1;
///     }
///     rounds
/// })?;
/// stop.set();
/// rounds.result(None)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// CPython: `Event` in `threading.py`.
#[derive(Clone)]
pub struct Event(Arc<threading::Event>);

impl Event {
    /// An event that is not set.
    ///
    /// CPython: `Event.__init__` in `threading.py`.
    pub fn new() -> Self {
        Event(Arc::new(threading::Event::new()))
    }

    /// Whether it is set.
    ///
    /// CPython: `Event.is_set` in `threading.py`.
    pub fn is_set(&self) -> bool {
        self.0.is_set()
    }

    /// Sets it, and wakes all threads that wait for it, even if it is cleared right afterwards.
    ///
    /// CPython: `Event.set` in `threading.py`.
    pub fn set(&self) {
        self.0.set();
    }

    /// Unsets it: from now on, threads wait for it again.
    ///
    /// CPython: `Event.clear` in `threading.py`.
    pub fn clear(&self) {
        self.0.clear();
    }

    /// Blocks until it is set, for at most `timeout`; `None` is no limit, and zero does not wait.
    /// Returns whether it was set.
    ///
    /// CPython: `Event.wait` in `threading.py`.
    pub fn wait(&self, timeout: impl Into<Option<Duration>>) -> bool {
        self.0.wait(Deadline::after(timeout.into()))
    }
}

impl Default for Event {
    fn default() -> Self {
        Event::new()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("is_set", &self.is_set())
            .finish()
    }
}
