//! The other end of a future, for executors of one's own.

use super::super::_base::{Core, Exception, Future, InvalidStateError, NO_NUMBER};
use std::error::Error as StdError;
use std::fmt;

/// The end of a [`Future`] that an executor keeps: it says what becomes of the call. An executor makes
/// one for each call, gives its [`future`](Promise::future) away, and keeps the promise with the call.
///
/// It is better for that than a bare [`Future::new`], in two ways. Its future tells those who wait for it
/// at once when it is cancelled, as a pool's does, and not only when the executor meets the call. And a
/// promise that is dropped without an outcome, with the call that it belonged to, fails the future with
/// [`BrokenPromise`]: a call that is lost is an error, and not a thread that waits for ever.
///
/// ```
/// use concurrent_futures::{Error, Promise};
/// use std::thread;
///
/// let promise = Promise::new();
/// let future = promise.future();
/// thread::spawn(move || {
///     if let Ok(true) = promise.set_running_or_notify_cancel() {
///         promise.set_result(6 * 7).unwrap();
///     }
/// });
/// assert_eq!(future.result(None)?, 42);
///
/// let lost = Promise::<i32>::new().future();
/// assert_eq!(lost.result(None).unwrap_err().to_string(), "the promise was dropped without an outcome");
/// # Ok::<(), Error>(())
/// ```
///
/// CPython: none; there an executor completes a `Future` by itself.
pub struct Promise<T> {
    future: Future<T>,
}

impl<T> Promise<T> {
    /// A promise whose future is pending.
    pub fn new() -> Self {
        Promise {
            future: Core::new((), NO_NUMBER).into_future(),
        }
    }

    /// Its future: another handle each time.
    pub fn future(&self) -> Future<T> {
        self.future.clone()
    }

    /// To be called before the call is run, and to be run only for `true`; see
    /// [`Future::set_running_or_notify_cancel`].
    ///
    /// # Errors
    ///
    /// If the call is running or finished. That is also logged.
    ///
    /// CPython: `Future.set_running_or_notify_cancel` in `_base.py`.
    pub fn set_running_or_notify_cancel(&self) -> Result<bool, InvalidStateError> {
        self.future.set_running_or_notify_cancel()
    }

    /// Completes the call with a value; see [`Future::set_result`].
    ///
    /// # Errors
    ///
    /// If the call is done already. The value is dropped.
    ///
    /// CPython: `Future.set_result` in `_base.py`.
    pub fn set_result(&self, value: T) -> Result<(), InvalidStateError> {
        self.future.set_result(value)
    }

    /// Completes the call with an exception; see [`Future::set_exception`].
    ///
    /// # Errors
    ///
    /// If the call is done already. The exception is dropped.
    ///
    /// CPython: `Future.set_exception` in `_base.py`.
    pub fn set_exception(&self, exception: impl Into<Exception>) -> Result<(), InvalidStateError> {
        self.future.set_exception(exception)
    }
}

impl<T> Default for Promise<T> {
    fn default() -> Self {
        Promise::new()
    }
}

impl<T> fmt::Debug for Promise<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promise")
            .field("future", &self.future)
            .finish()
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        if !self.future.done() {
            // An error: somebody else was faster.
            let _ = self.future.set_exception(BrokenPromise);
        }
    }
}

/// A [`Promise`] was dropped without an outcome: the executor has lost the call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrokenPromise;

impl fmt::Display for BrokenPromise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("the promise was dropped without an outcome")
    }
}

impl StdError for BrokenPromise {}
