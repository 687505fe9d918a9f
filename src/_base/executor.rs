// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! What Python's `Executor` does without: a guard for the `with` statement, and references.

use super::{
    Error, Exception, Executor, Future, Map, MapOptions, MapWith, ShutdownOptions, State,
    SubmitError, LOGGER,
};
use std::error::Error as StdError;
use std::panic::{RefUnwindSafe, UnwindSafe};

/// What [`Executor::with`] does at the end, whatever happens.
pub(super) struct Exit<'a, X: Executor>(pub(super) &'a X);

impl<X: Executor> Drop for Exit<'_, X> {
    fn drop(&mut self) {
        self.0.shutdown();
    }
}

/// What [`Executor::try_with`] does at the end.
pub(super) struct TryExit<'a, X: Executor> {
    executor: &'a X,
    /// Until the contrary is known: there may be a panic.
    failed: bool,
}

impl<'a, X: Executor> TryExit<'a, X> {
    pub(super) fn new(executor: &'a X) -> Self {
        TryExit {
            executor,
            failed: true,
        }
    }

    pub(super) fn set_failed(&mut self, failed: bool) {
        self.failed = failed;
    }
}

impl<X: Executor> Drop for TryExit<'_, X> {
    fn drop(&mut self) {
        let options = ShutdownOptions::new().cancel_futures(self.failed);
        self.executor.shutdown_with(options);
    }
}

/// What broke an executor. It may be dropped anywhere, and a panic in its `Drop` concerns nobody there.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Cause(Option<Exception>);

impl Cause {
    pub(in super::super) fn new(exception: Option<Exception>) -> Self {
        Cause(exception)
    }

    /// For `Error::source`.
    pub(in super::super) fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.as_ref().map(Exception::as_dyn_error)
    }

    pub(in super::super) fn exception(&self) -> Option<Exception> {
        self.0.clone()
    }
}

impl Drop for Cause {
    fn drop(&mut self) {
        let exception = self.0.take();
        LOGGER.log_panic("exception ignored while dropping an error", || {
            drop(exception);
        });
    }
}

/// Every method is passed on: an executor may have its own of those that the trait provides.
impl<X: Executor + ?Sized> Executor for &X {
    fn submit<F, T>(&self, f: F) -> Result<Future<T>, SubmitError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        (**self).submit(f)
    }

    fn try_submit<F, T, E>(&self, f: F) -> Result<Future<T>, SubmitError>
    where
        F: FnOnce() -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Into<Exception>,
    {
        (**self).try_submit(f)
    }

    fn map<F, I, T>(&self, f: F, iterable: I) -> Result<Map<T>, SubmitError>
    where
        F: Fn(I::Item) -> T + Send + Sync + 'static,
        I: IntoIterator,
        I::Item: Send + 'static,
        T: Send + 'static,
    {
        (**self).map(f, iterable)
    }

    fn map_with<F, I, T>(
        &self,
        f: F,
        iterable: I,
        options: MapOptions,
    ) -> Result<MapWith<'_, Self, I, T>, SubmitError>
    where
        F: Fn(I::Item) -> T + Send + Sync + 'static,
        I: IntoIterator,
        I::Item: Send + 'static,
        T: Send + 'static,
    {
        let map = (**self).map_with(f, iterable, options)?;
        Ok(map.with_executor(self))
    }

    fn try_map<F, I, T, E>(&self, f: F, iterable: I) -> Result<Map<T>, SubmitError>
    where
        F: Fn(I::Item) -> Result<T, E> + Send + Sync + 'static,
        I: IntoIterator,
        I::Item: Send + 'static,
        T: Send + 'static,
        E: Into<Exception>,
    {
        (**self).try_map(f, iterable)
    }

    fn try_map_with<F, I, T, E>(
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
        E: Into<Exception>,
    {
        let map = (**self).try_map_with(f, iterable, options)?;
        Ok(map.with_executor(self))
    }

    fn shutdown(&self) {
        (**self).shutdown();
    }

    fn shutdown_with(&self, options: ShutdownOptions) {
        (**self).shutdown_with(options);
    }
}

/// What a pool asks of its futures.
impl<T> Future<T> {
    /// Takes `set_running_or_notify_cancel` back: the call did not begin, and waits again.
    pub(in super::super) fn set_pending(&self) {
        let mut shared = self.acquire();
        if shared.state == State::Running {
            shared.state = State::Pending;
        }
    }
}

/// So that `?` works on what `submit` returns where an [`Error`] is returned.
impl From<SubmitError> for Error {
    fn from(error: SubmitError) -> Self {
        Error::Exception(Exception::new(error))
    }
}

// An error that is only looked at.
impl UnwindSafe for SubmitError {}
impl RefUnwindSafe for SubmitError {}
