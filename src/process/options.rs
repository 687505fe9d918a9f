// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! How a pool and its calls are to behave, where Python's have no say.

use std::time::Duration;

/// What becomes of a pool when one of its processes dies.
///
/// CPython: none; there a pool is broken then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnCrash {
    /// The pool is broken: every call that is pending or running, and every later `submit`, fails with
    /// [`BrokenProcessPool`](super::BrokenProcessPool).
    #[default]
    BreakPool,
    /// The call that the process was running fails with [`WorkerDied`](super::WorkerDied). Another process
    /// is started when it is needed, and all other calls go on.
    ///
    /// Three processes in a row that die before they are ready break the pool all the same.
    FailCall,
    /// As `FailCall`, but the call that the process was running is run again by another, so many times at
    /// most. If the process of the last attempt dies, too, the call fails with
    /// [`WorkerDied`](super::WorkerDied).
    ///
    /// The processes that died may have run the call in part, or to its end, and what they have done stays
    /// done: such a call may be run *more than once*, while with `BreakPool` and `FailCall` it is run once at
    /// most. So this is for calls that can bear it, as those that only compute, or that write a file as a
    /// whole. Of a [`chunk`](super::super::MapOptions::chunksize), all items are run again. Meanwhile the
    /// call is pending, and can be cancelled; a [limit](CallOptions::timeout) holds for each attempt.
    ///
    /// What was ended on purpose is not run again: by a limit,
    /// [`kill_call`](super::ProcessPoolExecutor::kill_call),
    /// [`terminate_workers`](super::ProcessPoolExecutor::terminate_workers) or
    /// [`kill_workers`](super::ProcessPoolExecutor::kill_workers).
    Retry(u32),
}

/// How to make a call: [`submit_with`](super::ProcessPoolExecutor::submit_with).
///
/// ```
/// use concurrent_futures::process::CallOptions;
/// use std::time::Duration;
///
/// let options = CallOptions::new().timeout(Duration::from_secs(10));
/// assert_eq!(options.timeout, Some(Duration::from_secs(10)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallOptions {
    /// How long the call may run, counted from when it is [`running`](super::super::Future::running). Then
    /// it is ended, together with its process, and its future fails with
    /// [`CallTimeout`](super::CallTimeout). `None` is no limit.
    pub timeout: Option<Duration>,
}

impl CallOptions {
    /// No limit.
    pub fn new() -> Self {
        CallOptions::default()
    }

    /// Sets [`timeout`](CallOptions#structfield.timeout).
    #[must_use]
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeout = timeout.into();
        self
    }
}
