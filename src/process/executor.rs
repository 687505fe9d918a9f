// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! What a [`ProcessPoolExecutor`] can do that is not in Python's.

use super::super::_base::{
    Core, Exception, Future, IntoException, Map, MapOptions, ShutdownOptions, SubmitError,
    TimeoutError, NO_NUMBER,
};
use super::super::stdlib::multiprocessing::connection::Message;
use super::super::stdlib::pickle::{Dump, Load, Unpickler};
use super::super::stdlib::threading::Deadline;
use super::completion::Typed;
use super::state::Shutdown;
use super::{
    _CallItem, _WorkItem, CallKilled, CallOptions, Callable, Chunks, Item, MapWith,
    ProcessPoolExecutor, Registry, CALL,
};
use std::fmt;
use std::sync::{Arc, Mutex};

impl ProcessPoolExecutor {
    /// Like [`submit`](ProcessPoolExecutor::submit), with a limit to the time that the call may take.
    ///
    /// # Errors
    ///
    /// Those of `submit`.
    ///
    /// CPython: none.
    pub fn submit_with<F, A, M>(
        &self,
        f: F,
        args: A,
        options: CallOptions,
    ) -> Result<Future<F::Output>, SubmitError>
    where
        F: Callable<A, M>,
        A: Dump,
        F::Output: Load + Send + 'static,
    {
        self.submit_call(f, args, options, load_output::<F::Output>)
    }

    /// Like [`submit`](ProcessPoolExecutor::submit), for an `f` that may fail: when it returns `Err`, its
    /// future has that error as its exception.
    ///
    /// # Errors
    ///
    /// Those of `submit`.
    ///
    /// CPython: `ProcessPoolExecutor.submit` in `process.py`.
    pub fn try_submit<F, A, M, T, E, N>(&self, f: F, args: A) -> Result<Future<T>, SubmitError>
    where
        F: Callable<A, M, Output = Result<T, E>>,
        A: Dump,
        T: Load + Send + 'static,
        E: Load + IntoException<N> + 'static,
    {
        self.submit_call(f, args, CallOptions::new(), load_result::<T, E, N>)
    }

    pub(super) fn submit_call<F: 'static, A: Dump, T: Send + 'static>(
        &self,
        _: F,
        args: A,
        options: CallOptions,
        load: fn(&mut Unpickler<'_>) -> Result<T, Exception>,
    ) -> Result<Future<T>, SubmitError> {
        let call_item = call_item::<F, A>(&self.pool().registry, args);
        self.submit_call_item(call_item.map_err(SubmitError::Pickling)?, options, load)
    }

    pub(super) fn submit_call_item<T: Send + 'static>(
        &self,
        call_item: Message,
        options: CallOptions,
        load: impl Fn(&mut Unpickler<'_>) -> Result<T, Exception> + Send + Sync + 'static,
    ) -> Result<Future<T>, SubmitError> {
        let call_item = _CallItem::new(call_item);
        let future = Core::new(Arc::downgrade(&call_item), NO_NUMBER).into_future();
        let work_item: Item = Arc::new(_WorkItem {
            call_item,
            options,
            returns: Mutex::default(),
            future: Typed {
                future: future.clone(),
                load,
            },
        });
        self.pool().submit(Arc::clone(&work_item))?;
        Ok(future)
    }

    /// Like [`map`](ProcessPoolExecutor::map), with a time-out, a bound on the tasks in flight, or several
    /// items in one task, which then travel together, as do their results.
    ///
    /// # Errors
    ///
    /// Those of `map`, and for a `buffersize` or `chunksize` of zero.
    ///
    /// CPython: `ProcessPoolExecutor.map` in `process.py`.
    pub fn map_with<F, I, M>(
        &self,
        f: F,
        iterable: I,
        options: MapOptions,
    ) -> Result<MapWith<'_, I, F::Output>, SubmitError>
    where
        F: Callable<I::Item, M>,
        I: IntoIterator,
        I::Item: Dump,
        F::Output: Load + Send + 'static,
    {
        self.map_chunks(f, iterable, options, false, load_output::<F::Output>)
    }

    /// Like [`map`](ProcessPoolExecutor::map), for an `f` that may fail: its error is yielded as an
    /// [`Error::Exception`](super::super::Error::Exception), and ends the iteration.
    ///
    /// # Errors
    ///
    /// Those of `map`.
    ///
    /// CPython: `ProcessPoolExecutor.map` in `process.py`.
    pub fn try_map<F, I, M, T, E, N>(&self, f: F, iterable: I) -> Result<Map<T>, SubmitError>
    where
        F: Callable<I::Item, M, Output = Result<T, E>>,
        I: IntoIterator,
        I::Item: Dump,
        T: Load + Send + 'static,
        E: Load + IntoException<N> + 'static,
    {
        let map = self.try_map_with(f, iterable, MapOptions::new())?;
        Ok(map.all_submitted())
    }

    /// Like [`map_with`](ProcessPoolExecutor::map_with), for an `f` that may fail.
    ///
    /// # Errors
    ///
    /// Those of `map_with`.
    ///
    /// CPython: `ProcessPoolExecutor.map` in `process.py`.
    pub fn try_map_with<F, I, M, T, E, N>(
        &self,
        f: F,
        iterable: I,
        options: MapOptions,
    ) -> Result<MapWith<'_, I, T>, SubmitError>
    where
        F: Callable<I::Item, M, Output = Result<T, E>>,
        I: IntoIterator,
        I::Item: Dump,
        T: Load + Send + 'static,
        E: Load + IntoException<N> + 'static,
    {
        self.map_chunks(f, iterable, options, true, load_result::<T, E, N>)
    }

    fn map_chunks<F: 'static, I: IntoIterator, T: Send + 'static>(
        &self,
        _: F,
        iterable: I,
        options: MapOptions,
        stop_at_err: bool,
        load: fn(&mut Unpickler<'_>) -> Result<T, Exception>,
    ) -> Result<MapWith<'_, I, T>, SubmitError>
    where
        I::Item: Dump,
    {
        let function = self.pool().registry.number::<F>();
        let chunks = Chunks {
            executor: self,
            function: function.map_err(SubmitError::Pickling)?,
            iterator: iterable.into_iter().fuse(),
            chunksize: options.chunksize,
            stop_at_err,
            load,
        };
        Map::submit(chunks, options)
    }

    /// Python's `with` statement: calls `body`, then shuts the pool down and waits, also when `body`
    /// panics.
    ///
    /// CPython: `Executor.__enter__` and `Executor.__exit__` in `_base.py`.
    pub fn with<R>(self, body: impl FnOnce(&Self) -> R) -> R {
        let _exit = Exit(&self, ShutdownOptions::new());
        body(&self)
    }

    /// Like [`with`](ProcessPoolExecutor::with), for a `body` that may fail. When it returns `Err` or
    /// panics, calls that have not begun are cancelled.
    ///
    /// CPython: none; there all calls are made first.
    pub fn try_with<R, E>(self, body: impl FnOnce(&Self) -> Result<R, E>) -> Result<R, E> {
        let mut exit = Exit(&self, ShutdownOptions::new().cancel_futures(true));
        let result = body(&self);
        exit.1.cancel_futures = result.is_err();
        result
    }

    /// Like [`shutdown_with`](ProcessPoolExecutor::shutdown_with), and says whether all processes have ended
    /// within the [`timeout`](ShutdownOptions#structfield.timeout) of the options, and the callbacks of what
    /// they ran have returned.
    ///
    /// # Errors
    ///
    /// If that is not so; the error says of how many. They go on, and can be waited for again, or
    /// [killed](ProcessPoolExecutor::kill_workers). Also in a callback that runs on a thread of the pool's own, which
    /// cannot wait for its own end.
    ///
    /// CPython: none.
    pub fn shutdown_timeout(&self, options: ShutdownOptions) -> Result<(), TimeoutError> {
        let deadline = Deadline::after(options.timeout);
        self.pool().shutdown(options, Shutdown::Executor, deadline)
    }

    /// Ends a call that runs, together with its process; its future fails with [`CallKilled`]. All other
    /// calls go on, with another process in the place of that one.
    ///
    /// Returns `false`, and does nothing, if the call is not running in this pool: it waits, it is done, or
    /// its result has just arrived.
    ///
    /// CPython: none.
    pub fn kill_call<T>(&self, future: &Future<T>) -> bool {
        // Not with the lock held, which is locked under the condition of a future.
        if !future.running() {
            return false;
        }
        let mut state = self.pool().lock();
        for worker in state.processes.values_mut() {
            if let Some(in_hand) = &mut worker.in_hand {
                if in_hand.work_item.future.id() == future.id() {
                    in_hand
                        .verdict
                        .get_or_insert_with(|| Exception::new(CallKilled));
                    worker.kill();
                    return true;
                }
            }
        }
        false
    }

    /// How many processes the pool may have.
    ///
    /// CPython: `ProcessPoolExecutor._max_workers` in `process.py`.
    pub fn max_workers(&self) -> usize {
        self.pool().max_workers
    }

    /// How many processes there are, those included that are about to start or to end.
    ///
    /// CPython: `len(ProcessPoolExecutor._processes)` in `process.py`.
    pub fn process_count(&self) -> usize {
        self.pool().lock().processes.len()
    }

    /// The ids of the processes, in the order in which they were started; of those behind a
    /// [`command`](super::ProcessPoolExecutorBuilder::command), those of the commands.
    ///
    /// CPython: the keys of `ProcessPoolExecutor._processes` in `process.py`.
    pub fn pids(&self) -> Vec<u32> {
        let state = self.pool().lock();
        let processes = state
            .processes
            .values()
            .filter_map(|worker| worker.process.as_ref());
        processes.map(|process| process.pid()).collect()
    }
}

/// What is done at the end of `with`, whatever happens.
struct Exit<'a>(&'a ProcessPoolExecutor, ShutdownOptions);

impl Drop for Exit<'_> {
    fn drop(&mut self) {
        self.0.shutdown_with(self.1);
    }
}

pub(super) fn load_output<T: Load>(unpickler: &mut Unpickler<'_>) -> Result<T, Exception> {
    Ok(T::load(unpickler)?)
}

pub(super) fn load_result<T, E, N>(unpickler: &mut Unpickler<'_>) -> Result<T, Exception>
where
    T: Load,
    E: Load + IntoException<N>,
{
    Result::<T, E>::load(unpickler)?.map_err(E::into_exception)
}

/// The message that asks for a call.
pub(super) fn call_item<F: 'static, A: Dump>(
    registry: &Registry,
    mut args: A,
) -> Result<Message, Exception> {
    let number = registry.number::<F>()?;
    Message::new(|bytes| {
        let mut pickler = registry.pickler(bytes);
        (CALL, number).dump(&mut pickler)?;
        Ok(args.dump_and_take(&mut pickler)?)
    })
}

impl fmt::Debug for ProcessPoolExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessPoolExecutor")
            .field("max_workers", &self.max_workers())
            .field("pids", &self.pids())
            .finish_non_exhaustive()
    }
}
