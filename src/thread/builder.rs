// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! The keyword parameters of `ThreadPoolExecutor.__init__`.

use super::super::_base::{Exception, IntoException};
use super::Initializer;
use std::fmt;
use std::sync::Arc;

/// Makes a [`ThreadPoolExecutor`](super::ThreadPoolExecutor); see its
/// [`builder`](super::ThreadPoolExecutor::builder).
///
/// ```
/// use concurrent_futures::{Executor, ThreadPoolExecutor};
///
/// let pool = ThreadPoolExecutor::builder()
///     .max_workers(2)
///     .thread_name_prefix("fetch")
///     .initializer(|| println!("{:?} starts", std::thread::current().name()))
///     .build()?;
/// let name = pool.submit(|| std::thread::current().name().map(str::to_owned))?;
/// assert_eq!(name.result(None)?.as_deref(), Some("fetch_0"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// CPython: the keyword parameters of `ThreadPoolExecutor.__init__` in `thread.py`.
#[must_use = "a builder does nothing until `build` is called"]
pub struct ThreadPoolExecutorBuilder {
    pub(super) max_workers: Option<usize>,
    pub(super) thread_name_prefix: String,
    pub(super) helps: bool,
    pub(super) thread_stack_size: Option<usize>,
    pub(super) initializer: Option<Arc<Initializer>>,
}

impl ThreadPoolExecutorBuilder {
    /// How many threads the pool may have; for `None`, as many as there are processors and four
    /// more, but at most 32.
    ///
    /// CPython: the parameter `max_workers`.
    pub fn max_workers(mut self, max_workers: impl Into<Option<usize>>) -> Self {
        self.max_workers = max_workers.into();
        self
    }

    /// Thread M of the pool is named `prefix_M`. Without a prefix, or with an empty one, it is
    /// `ThreadPoolExecutor-N_M`, where N counts the pools of the process that have no prefix.
    ///
    /// CPython: the parameter `thread_name_prefix`.
    pub fn thread_name_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.thread_name_prefix = prefix.into();
        self
    }

    /// What each thread calls before its first task. When it panics, the pool is broken: every call
    /// that is pending fails with [`BrokenThreadPool`](super::BrokenThreadPool), and every later `submit` is refused with
    /// [`SubmitError::Broken`](super::SubmitError::Broken).
    ///
    /// CPython: the parameters `initializer` and `initargs`.
    pub fn initializer(self, initializer: impl Fn() + Send + Sync + 'static) -> Self {
        self.try_initializer(move || {
            initializer();
            Ok::<(), Exception>(())
        })
    }

    /// Like [`initializer`](ThreadPoolExecutorBuilder::initializer), for one that may fail: an error
    /// breaks the pool as a panic does. It is logged; see [`set_logger`](super::super::set_logger).
    ///
    /// CPython: the parameters `initializer` and `initargs`.
    pub fn try_initializer<F, E, M>(mut self, initializer: F) -> Self
    where
        F: Fn() -> Result<(), E> + Send + Sync + 'static,
        E: IntoException<M>,
    {
        self.initializer = Some(Arc::new(move || initializer().map_err(E::into_exception)));
        self
    }

    /// Whether a worker that waits for a call of its own pool, without a time-out, runs that call itself
    /// if no other worker has begun it. It is on by default: without it, all workers may come to wait,
    /// with nobody left to run what they wait for.
    ///
    /// It does so at once if it cannot go on before that call is done: in `result`, `take_result`,
    /// `exception`, the `next` of a `Map`, and `wait` for all. A worker that waits for the first of several,
    /// in `wait` or in `as_completed`, runs one of them only if all workers of the pool wait without a
    /// time-out for nothing but calls of that pool: another of them may be done before, and the call
    /// may need that this worker has gone on.
    ///
    /// Such a call runs in the midst of another: with the thread-locals of that, with the locks that it
    /// holds, and on what is left of the stack. It can no longer be cancelled. With stacks of the default
    /// size, 2 MiB, up to 64 calls are nested so; another
    /// [`thread_stack_size`](ThreadPoolExecutorBuilder::thread_stack_size) allows more, or fewer. Where the
    /// variable `RUST_MIN_STACK` makes stacks smaller, which this does not see, it has to be set.
    ///
    /// Where it is off, a wait has a time-out, or calls are nested too deeply, the worker waits. When all
    /// workers of a pool have come to wait for its calls, and none is left to run those that are queued,
    /// that is logged, once; see [`set_logger`](super::super::set_logger).
    ///
    /// CPython: none; its documentation warns of the deadlock.
    pub fn help_while_waiting(mut self, on: bool) -> Self {
        self.helps = on;
        self
    }

    /// The size of each thread's stack, in bytes, which the system may round up. By default, what
    /// `std::thread` takes.
    ///
    /// CPython: `threading.stack_size`.
    pub fn thread_stack_size(mut self, bytes: usize) -> Self {
        self.thread_stack_size = Some(bytes);
        self
    }
}

impl fmt::Debug for ThreadPoolExecutorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPoolExecutorBuilder")
            .field("max_workers", &self.max_workers)
            .field("thread_name_prefix", &self.thread_name_prefix)
            .field("thread_stack_size", &self.thread_stack_size)
            .finish_non_exhaustive()
    }
}
