// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! At most so many calls at a time.

use super::super::_base::{
    Exception, Executor, Future, IntoException, ShutdownOptions, SubmitError,
};
use super::super::stdlib::threading::{Condition, Deadline};
use super::promise::Promise;
use std::fmt;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;

/// An executor around another one that has at most so many calls at a time that are not done. A
/// producer that is faster than the workers does not fill the memory with calls that wait.
///
/// What becomes of a call that is too many, [`WhenFull`] says. A call makes room when it has run, failed
/// or panicked, or is refused, before its outcome can be seen; one that is cancelled, before `cancel`
/// returns. The other executor can be used directly at the same time; what it is given then does not
/// count.
///
/// ```
/// use concurrent_futures::{BoundedExecutor, Executor, SubmitError, ThreadPoolExecutor, WhenFull};
/// use std::sync::mpsc;
///
/// let pool = BoundedExecutor::new(ThreadPoolExecutor::new(2)?, 1, WhenFull::Refuse);
/// let (sender, receiver) = mpsc::channel();
/// let slow = pool.submit(move || receiver.recv())?;
/// assert!(matches!(pool.submit(|| ()), Err(SubmitError::Full)));
/// sender.send("done")?;
/// assert_eq!(slow.result(None)?, Ok("done"));
/// pool.submit(|| ())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// CPython: none; asked for in gh-73781.
pub struct BoundedExecutor<X: Executor> {
    executor: X,
    when_full: WhenFull,
    room: Arc<Room>,
}

/// What a [`BoundedExecutor`] does with a call when it is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenFull {
    /// `submit` blocks until there is room, or the executor is shut down through this
    /// `BoundedExecutor`. Not for calls that submit calls to the same executor: if all of them blocked,
    /// none would ever make room.
    Block,
    /// `submit` returns [`SubmitError::Full`].
    Refuse,
    /// `submit` runs the call, on the thread that calls it, and returns a future that is done.
    CallerRuns,
}

struct Room {
    limit: usize,
    state: Condition<RoomState>,
}

struct RoomState {
    /// How many calls have a permit.
    calls: usize,
    shutdown: bool,
}

/// The permission for one call. It goes where the call goes, and is given back when the call's captures
/// are dropped, however that comes about.
struct Permit(Arc<Room>);

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.0.state.acquire();
        state.calls -= 1;
        state.notify();
    }
}

impl<X: Executor> BoundedExecutor<X> {
    /// At most `limit` calls of `executor` at a time.
    ///
    /// # Panics
    ///
    /// If `limit` is zero: there would never be room.
    pub fn new(executor: X, limit: usize, when_full: WhenFull) -> Self {
        assert!(limit > 0, "limit must be greater than 0");
        BoundedExecutor {
            executor,
            when_full,
            room: Arc::new(Room {
                limit,
                state: Condition::new(RoomState {
                    calls: 0,
                    shutdown: false,
                }),
            }),
        }
    }

    /// The executor inside. The calls that it has go on.
    pub fn into_inner(self) -> X {
        self.executor
    }

    /// A permit, or `None` if there is no room and the caller is to run the call itself.
    fn acquire(&self) -> Result<Option<Permit>, SubmitError> {
        let limit = self.room.limit;
        let is_free = |state: &RoomState| state.shutdown || state.calls < limit;
        let deadline = match self.when_full {
            WhenFull::Block => Deadline::Never,
            WhenFull::Refuse | WhenFull::CallerRuns => Deadline::Now,
        };
        let mut state = self.room.state.wait_for(is_free, deadline);
        if state.shutdown {
            return Err(SubmitError::Shutdown);
        }
        if state.calls < limit {
            state.calls += 1;
            return Ok(Some(Permit(Arc::clone(&self.room))));
        }
        match self.when_full {
            WhenFull::CallerRuns => Ok(None),
            WhenFull::Block | WhenFull::Refuse => Err(SubmitError::Full),
        }
    }
}

impl<X: Executor> Executor for BoundedExecutor<X> {
    /// Schedules `f`, or does what [`WhenFull`] says. With [`WhenFull::Block`], it blocks while the
    /// executor is full.
    ///
    /// # Errors
    ///
    /// Those of the executor inside, and [`SubmitError::Full`].
    fn try_submit<F, T, E>(&self, f: F) -> Result<Future<T>, SubmitError>
    where
        F: FnOnce() -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Into<Exception>,
    {
        match self.acquire()? {
            Some(permit) => self.executor.try_submit(move || {
                // Dropped with the call: before the outcome can be seen, and also if it is never run.
                let _permit = permit;
                f()
            }),
            None => Ok(run(f)),
        }
    }

    /// Shuts the executor inside down. Those who block in `submit` are refused.
    fn shutdown_with(&self, options: ShutdownOptions) {
        let mut state = self.room.state.acquire();
        state.shutdown = true;
        state.notify_all();
        self.executor.shutdown_with(options);
    }
}

/// As [`Executor::try_submit`], for errors of more kinds.
impl<X: Executor> BoundedExecutor<X> {
    /// Schedules `f`, or does what [`WhenFull`] says; `f` may fail, with any error, a box with an error
    /// in it, a text, or an [`Exception`].
    ///
    /// # Errors
    ///
    /// Those of the executor inside, and [`SubmitError::Full`].
    pub fn try_submit<F, T, E, M>(&self, f: F) -> Result<Future<T>, SubmitError>
    where
        F: FnOnce() -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: IntoException<M>,
    {
        Executor::try_submit(self, move || f().map_err(E::into_exception))
    }
}

/// Runs a call here and now.
fn run<T, E: Into<Exception>>(f: impl FnOnce() -> Result<T, E>) -> Future<T> {
    let promise = Promise::new();
    let future = promise.future();
    // Nobody else has the future yet, so there can be no error.
    let _ = promise.set_running_or_notify_cancel();
    let outcome = catch_unwind(AssertUnwindSafe(|| f().map_err(Into::into)))
        .unwrap_or_else(|payload| Err(Exception::from_panic(payload)));
    let _ = match outcome {
        Ok(value) => promise.set_result(value),
        Err(exception) => promise.set_exception(exception),
    };
    future
}

impl<X: Executor + fmt::Debug> fmt::Debug for BoundedExecutor<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls = self.room.state.acquire().calls;
        f.debug_struct("BoundedExecutor")
            .field("executor", &self.executor)
            .field("limit", &self.room.limit)
            .field("calls", &calls)
            .field("when_full", &self.when_full)
            .finish()
    }
}
