// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! What a pool has beside CPython's methods: what it is asked, and errors of more kinds.

use super::super::_base::{
    Executor, Future, IntoException, Map, MapOptions, MapWith, ShutdownOptions, SubmitError,
    TimeoutError,
};
use super::super::stdlib::threading::lock;
use super::ThreadPoolExecutor;

/// As those of [`Executor`], for errors of more kinds: the trait cannot ask for this bound without turning
/// away executors that were written for the other one.
impl ThreadPoolExecutor {
    /// Schedules `f` and returns a future for its result. `f` may fail, with any error, a box with an
    /// error in it, a text (`String` or `&'static str`), or an
    /// [`Exception`](super::super::Exception).
    ///
    /// # Errors
    ///
    /// When the pool takes no more calls; see [`SubmitError`].
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    /// use std::error::Error;
    ///
    /// let pool = ThreadPoolExecutor::new(1)?;
    /// let boxed = pool.try_submit(|| -> Result<u8, Box<dyn Error + Send + Sync>> { Ok("7".parse()?) })?;
    /// assert_eq!(boxed.result(None)?, 7);
    /// let text = pool.try_submit(|| Err::<(), _>("no eggs"))?;
    /// assert_eq!(text.result(None).unwrap_err().to_string(), "no eggs");
    /// # Ok::<(), Box<dyn Error>>(())
    /// ```
    ///
    /// CPython: `ThreadPoolExecutor.submit` in `thread.py`.
    pub fn try_submit<F, T, E, M>(&self, f: F) -> Result<Future<T>, SubmitError>
    where
        F: FnOnce() -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: IntoException<M>,
    {
        Executor::try_submit(self, move || f().map_err(E::into_exception))
    }

    /// [`map`](Executor::map) for an `f` that may fail, in the ways of
    /// [`try_submit`](ThreadPoolExecutor::try_submit).
    ///
    /// # Errors
    ///
    /// When the pool takes no more calls; those submitted so far are made all the same.
    ///
    /// CPython: `Executor.map` in `_base.py`.
    pub fn try_map<F, I, T, E, M>(&self, f: F, iterable: I) -> Result<Map<T>, SubmitError>
    where
        F: Fn(I::Item) -> Result<T, E> + Send + Sync + 'static,
        I: IntoIterator,
        I::Item: Send + 'static,
        T: Send + 'static,
        E: IntoException<M>,
    {
        Executor::try_map(
            self,
            move |item| f(item).map_err(E::into_exception),
            iterable,
        )
    }

    /// [`map_with`](Executor::map_with) for an `f` that may fail, in the ways of
    /// [`try_submit`](ThreadPoolExecutor::try_submit).
    ///
    /// # Errors
    ///
    /// When the pool takes no more calls, or for a `buffersize` or `chunksize` of zero.
    ///
    /// CPython: `Executor.map` in `_base.py`.
    pub fn try_map_with<F, I, T, E, M>(
        &self,
        f: F,
        iterable: I,
        options: MapOptions,
    ) -> Result<MapWith<'_, Self, I, T>, SubmitError>
    where
        F: Fn(I::Item) -> Result<T, E> + Send + Sync + 'static,
        I: IntoIterator,
        I::Item: Send + 'static,
        T: Send + 'static,
        E: IntoException<M>,
    {
        let f = move |item| f(item).map_err(E::into_exception);
        Executor::try_map_with(self, f, iterable, options)
    }
}

impl ThreadPoolExecutor {
    /// [`shutdown_with`](Executor::shutdown_with), which also says whether all workers have ended in time.
    /// If not, the pool is shut down all the same, and a later call waits again.
    ///
    /// The time-out is for what workers run. Where all of that has ended in time, this waits, however long it
    /// takes, for the destructors of the thread-locals that tasks have left in the workers' threads. Without
    /// [`wait`](ShutdownOptions#structfield.wait) it returns at once, and says nothing of the workers.
    ///
    /// # Errors
    ///
    /// If the time-out of `options` has passed; or if a worker of the pool itself calls this, which
    /// cannot wait for its own end. How many workers are still running is in the error.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ShutdownOptions, ThreadPoolExecutor};
    /// use std::sync::mpsc;
    /// use std::time::Duration;
    ///
    /// let pool = ThreadPoolExecutor::new(8)?;
    /// let (sender, receiver) = mpsc::channel::<()>();
    /// pool.submit(move || receiver.recv())?;
    /// let options = ShutdownOptions::new().timeout(Duration::from_millis(10));
    /// let error = pool.shutdown_timeout(options).unwrap_err();
    /// assert_eq!(error.to_string(), "1 (of 1) workers still running");
    /// drop(sender);
    /// pool.shutdown();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// CPython: none; asked for in gh-72165.
    pub fn shutdown_timeout(&self, options: ShutdownOptions) -> Result<(), TimeoutError> {
        self.0.shutdown(options)
    }

    /// Whether the pool takes no more calls because it was shut down, by [`shutdown`](Executor::shutdown)
    /// or at the end of the program. Nothing is said of the calls that it has.
    ///
    /// CPython: `ThreadPoolExecutor._shutdown` in `thread.py`.
    pub fn is_shutdown(&self) -> bool {
        lock(&self.0.shutdown_lock).shutdown.is_some()
    }

    /// Whether the pool was shut down and all its workers have come to their end, so that everything that
    /// it was given is done. It does not block.
    ///
    /// CPython: none; Java's `ExecutorService.isTerminated`.
    pub fn is_terminated(&self) -> bool {
        let state = lock(&self.0.shutdown_lock);
        state.shutdown.is_some() && !state.threads.iter().any(|thread| thread.is_alive())
    }

    /// How many threads the pool may have.
    ///
    /// CPython: `ThreadPoolExecutor._max_workers` in `thread.py`.
    pub fn max_workers(&self) -> usize {
        self.0.max_workers
    }

    /// How many threads the pool has started. Those that have ended, because the pool was shut down
    /// or is broken, are counted, too.
    ///
    /// CPython: `len(ThreadPoolExecutor._threads)` in `thread.py`.
    pub fn thread_count(&self) -> usize {
        lock(&self.0.shutdown_lock).threads.len()
    }

    /// How many calls no worker has picked up yet, cancelled ones included; and for a while, those that were
    /// run by a worker that waited for them.
    ///
    /// CPython: `ThreadPoolExecutor._work_queue.qsize()` in `thread.py`, which counts sentinels, too.
    pub fn queue_size(&self) -> usize {
        self.0.work_queue.qsize()
    }
}
