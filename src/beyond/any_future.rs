// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! Futures of different result types together: in Python, where no type is in the way, just futures.

use super::super::_base::{Awaited, Error, Exception, Future, Private, State, Untyped, Waitable};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// A handle to a [`Future`] whose result type was left out, so that futures of different types can
/// be kept, and waited for, together.
///
/// It has the identity of the future, and its methods but for those that deal in values. To find the
/// typed future again, keep it in a map with the handle as its key, as Python programs do with a
/// dict keyed by futures.
///
/// ```
/// use concurrent_futures::{as_completed, AnyFuture, Executor, ThreadPoolExecutor};
///
/// let pool = ThreadPoolExecutor::new(2)?;
/// let number = pool.submit(|| 42)?;
/// let text = pool.submit(|| "forty-two".to_owned())?;
/// for future in as_completed([AnyFuture::from(&number), AnyFuture::from(&text)], None) {
///     let future = future?;
///     if future == AnyFuture::from(&number) {
///         assert_eq!(number.result(None)?, 42);
///     } else {
///         assert_eq!(text.result(None)?, "forty-two");
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// CPython: `Future` in `_base.py`.
pub struct AnyFuture {
    handle: Arc<dyn DynFuture>,
    /// What this handle has left with the future, if it is being awaited.
    awaited: Option<Awaited>,
}

/// What a future can do whatever its type.
trait DynFuture: Send + Sync + UnwindSafe + RefUnwindSafe {
    fn id(&self) -> usize;
    fn cancel(&self) -> bool;
    fn state(&self) -> State;
    fn exception(&self, timeout: Option<Duration>) -> Result<Option<Exception>, Error>;
    fn add_done_callback(&self, callback: Box<dyn FnOnce(&AnyFuture) + Send>);
    fn untyped(&self, _: Private) -> Untyped<'_>;
    fn wake_when_done(&self, awaited: &mut Option<Awaited>, waker: &Waker) -> bool;
    fn take_back(&self, awaited: Awaited);
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

impl<T: Send + 'static> DynFuture for Future<T> {
    fn id(&self) -> usize {
        Future::id(self)
    }

    fn cancel(&self) -> bool {
        Future::cancel(self)
    }

    fn state(&self) -> State {
        Future::state(self)
    }

    fn exception(&self, timeout: Option<Duration>) -> Result<Option<Exception>, Error> {
        Future::exception(self, timeout)
    }

    fn add_done_callback(&self, callback: Box<dyn FnOnce(&AnyFuture) + Send>) {
        Future::add_done_callback(self, |future| callback(&AnyFuture::from(future)));
    }

    fn untyped(&self, private: Private) -> Untyped<'_> {
        Waitable::untyped(self, private)
    }

    fn wake_when_done(&self, awaited: &mut Option<Awaited>, waker: &Waker) -> bool {
        Future::wake_when_done(self, awaited, waker)
    }

    fn take_back(&self, awaited: Awaited) {
        Future::take_back(self, awaited);
    }

    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl<T: Send + 'static> From<&Future<T>> for AnyFuture {
    fn from(future: &Future<T>) -> Self {
        AnyFuture {
            handle: Arc::new(future.clone()),
            awaited: None,
        }
    }
}

impl Clone for AnyFuture {
    fn clone(&self) -> Self {
        AnyFuture {
            handle: Arc::clone(&self.handle),
            awaited: None,
        }
    }
}

/// Takes back what polling has left with the future.
impl Drop for AnyFuture {
    fn drop(&mut self) {
        if let Some(awaited) = self.awaited.take() {
            self.handle.take_back(awaited);
        }
    }
}

impl<T: Send + 'static> From<Future<T>> for AnyFuture {
    fn from(future: Future<T>) -> Self {
        AnyFuture::from(&future)
    }
}

impl AnyFuture {
    /// See [`Future::cancel`].
    ///
    /// CPython: `Future.cancel` in `_base.py`.
    pub fn cancel(&self) -> bool {
        self.handle.cancel()
    }

    /// See [`Future::cancelled`].
    ///
    /// CPython: `Future.cancelled` in `_base.py`.
    pub fn cancelled(&self) -> bool {
        self.state().is_cancelled()
    }

    /// See [`Future::running`].
    ///
    /// CPython: `Future.running` in `_base.py`.
    pub fn running(&self) -> bool {
        self.state() == State::Running
    }

    /// See [`Future::done`].
    ///
    /// CPython: `Future.done` in `_base.py`.
    pub fn done(&self) -> bool {
        self.state().is_done()
    }

    /// See [`Future::state`].
    ///
    /// CPython: `Future._state` in `_base.py`.
    pub fn state(&self) -> State {
        self.handle.state()
    }

    /// See [`Future::exception`], which also says when it blocks and errs.
    ///
    /// # Errors
    ///
    /// Those of [`Future::exception`].
    ///
    /// CPython: `Future.exception` in `_base.py`.
    pub fn exception(
        &self,
        timeout: impl Into<Option<Duration>>,
    ) -> Result<Option<Exception>, Error> {
        self.handle.exception(timeout.into())
    }

    /// See [`Future::add_done_callback`].
    ///
    /// CPython: `Future.add_done_callback` in `_base.py`.
    pub fn add_done_callback(&self, callback: impl FnOnce(&AnyFuture) + Send + 'static) {
        self.handle.add_done_callback(Box::new(callback));
    }

    /// For `poll`; see `awaiting.rs`.
    pub(super) fn wake_when_done(&mut self, waker: &Waker) -> bool {
        self.handle.wake_when_done(&mut self.awaited, waker)
    }
}

impl PartialEq for AnyFuture {
    fn eq(&self, other: &Self) -> bool {
        self.handle.id() == other.handle.id()
    }
}

impl Eq for AnyFuture {}

impl Hash for AnyFuture {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.handle.id().hash(state);
    }
}

impl fmt::Debug for AnyFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt(f)
    }
}

/// An untyped future's value has no type; `()` stands in its place.
impl Waitable<()> for AnyFuture {
    type Handle = Self;

    fn untyped(&self, private: Private) -> Untyped<'_> {
        // The typed handle is inside of this one, whose clones share it.
        let untyped = self.handle.untyped(private);
        untyped.shared_if(Arc::strong_count(&self.handle) > 1)
    }
}
