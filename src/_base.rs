// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! Futures, waiting for them, and what every executor has in common: CPython's `_base.py`.
//!
//! # Lock order
//!
//! A thread that holds one lock of this crate and takes another takes them in this order:
//!
//! 1. a pool's shutdown lock, then the state of its `Workers`;
//! 2. the lock of a work item's call;
//! 3. the conditions of futures: of several, in the order of their addresses, except that those to
//!    which the thread has the only handle come first, in any order ([`_AcquireFutures`] says why);
//! 4. a waiter's locks, and its event's;
//! 5. the queue's `putting`, then its `getting`, then its `following`; or one of `Unfinished`,
//!    `Sweeper::helped`, `_GLOBAL_SHUTDOWN_LOCK` and `Thread::id`, alone.
//!
//! `Thread::handle` is held while that thread is joined, for as long as it runs, and so is never waited
//! for with another lock held. No code of the user's runs under any of them: what is to be called or
//! dropped is moved out first.

mod callback;
mod executor;
mod follow_up;
mod future_set;
mod futures;
mod handle;
mod lent;
mod map;
mod nesting;
mod options;
mod positions;
mod shared;
mod waker;
mod work;
mod worker;

use self::callback::Callback;
pub(super) use self::executor::Cause;
use self::executor::{Exit, TryExit};
use self::futures::{Candidates, Erased, Futures, Several};
use self::lent::{Borrowers, LentValue};
pub(super) use self::map::{Chunk, NextTask};
use self::nesting::Nesting;
use self::positions::{Finished, Positions};
use super::stdlib::exceptions::without_paths;
use super::stdlib::keyed_list::KeyedList;
use super::stdlib::logging::Logger;
use super::stdlib::threading::{lock, Acquired, Condition, Deadline, Event};
use std::any::type_name;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::mem;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::vec::IntoIter;

pub use self::callback::log_unretrieved;
pub use self::future_set::{BuildIdentityHasher, FutureSet, IdentityHasher};
pub use self::futures::{Private, Untyped, Waitable};
pub use self::map::{MapWith, Submit, Unsubmitted};
pub use self::options::{MapOptions, ShutdownOptions};
pub use self::waker::Awaited;
pub(super) use self::work::{PoolNumber, Work, NO_NUMBER};
pub(super) use self::worker::{Worker, Workers};
pub use super::stdlib::exceptions::{Exception, IntoException, TimeoutError, ValueError};

/// When [`wait`] returns.
///
/// CPython: the strings `FIRST_COMPLETED`, `FIRST_EXCEPTION` and `ALL_COMPLETED` in `_base.py`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReturnWhen {
    /// As soon as any future finishes or is cancelled (and told of; see [`wait`]).
    FirstCompleted,
    /// As soon as any future finishes with an exception; when none does, like
    /// [`AllCompleted`](ReturnWhen::AllCompleted). A cancelled future is no exception.
    FirstException,
    /// When all futures have finished or were cancelled.
    AllCompleted,
}

/// [`ReturnWhen::FirstCompleted`] under its Python name.
pub const FIRST_COMPLETED: ReturnWhen = ReturnWhen::FirstCompleted;
/// [`ReturnWhen::FirstException`] under its Python name.
pub const FIRST_EXCEPTION: ReturnWhen = ReturnWhen::FirstException;
/// [`ReturnWhen::AllCompleted`] under its Python name.
pub const ALL_COMPLETED: ReturnWhen = ReturnWhen::AllCompleted;

/// The state of a [`Future`]. `Display` writes CPython's constant, such as `PENDING`.
///
/// CPython: `PENDING`, `RUNNING`, ... and `_FUTURE_STATES` in `_base.py`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Not started yet.
    Pending,
    /// Its call is being executed; it can no longer be cancelled.
    Running,
    /// Cancelled, but those who [`wait`] for it were not told yet. Only a future that no pool made
    /// is ever seen in this state.
    Cancelled,
    /// Cancelled, and those who wait for it were told.
    CancelledAndNotified,
    /// Its call returned or raised.
    Finished,
}

impl State {
    /// What `done()` means: a result can be asked for without waiting.
    pub(super) fn is_done(self) -> bool {
        self.is_cancelled() || self == State::Finished
    }

    pub(super) fn is_cancelled(self) -> bool {
        matches!(self, State::Cancelled | State::CancelledAndNotified)
    }

    /// Whether the state will never change again. `done()` is true for `Cancelled` already, while `wait`
    /// and `as_completed` count a future only when its waiters have been told.
    fn is_final(self) -> bool {
        matches!(self, State::CancelledAndNotified | State::Finished)
    }

    /// CPython: `_STATE_TO_DESCRIPTION_MAP` in `_base.py`.
    fn description(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Running => "running",
            State::Cancelled | State::CancelledAndNotified => "cancelled",
            State::Finished => "finished",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            State::Pending => "PENDING",
            State::Running => "RUNNING",
            State::Cancelled => "CANCELLED",
            State::CancelledAndNotified => "CANCELLED_AND_NOTIFIED",
            State::Finished => "FINISHED",
        })
    }
}

/// CPython: `LOGGER` in `_base.py`.
pub(super) static LOGGER: Logger = Logger;

/// Why there is no result: what [`Future::result`] and its like return.
///
/// CPython: `CancelledError` and `TimeoutError` in `_base.py`, and whatever the call raised.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The future was cancelled. CPython: `CancelledError`.
    Cancelled,
    /// The future was not done in time. CPython: `TimeoutError`.
    Timeout,
    /// The call failed: it returned `Err`, or it panicked.
    Exception(Exception),
    /// The value was moved out by [`Future::take_result`] before.
    Taken,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Cancelled => f.write_str("the future was cancelled"),
            Error::Timeout => f.write_str("the future was not done in time"),
            Error::Exception(exception) => exception.fmt(f),
            Error::Taken => f.write_str("the result was taken before"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            // Its text is this error's own; the chain goes on behind it.
            Error::Exception(exception) => exception.as_error().and_then(StdError::source),
            _ => None,
        }
    }
}

/// The operation is not allowed in the future's state. `Display` writes CPython's message, such as
/// `FINISHED: <Future at 0x... state=finished returned i32>`.
///
/// CPython: `InvalidStateError` in `_base.py`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidStateError {
    message: String,
}

impl fmt::Display for InvalidStateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.message)
    }
}

impl StdError for InvalidStateError {}

/// Provides the event that [`wait`] and [`as_completed`] block on, and collects the futures that
/// have finished meanwhile: each as its position in the waiting thread's list, so that a waiter
/// keeps no future alive and need not know its type.
///
/// CPython: `_Waiter` in `_base.py`, the base class.
struct _Waiter {
    /// Set when the waiting thread is to look.
    event: Event,
    /// In the order in which they finished or were cancelled.
    finished_futures: Mutex<Vec<usize>>,
}

impl _Waiter {
    fn new() -> Self {
        _Waiter {
            event: Event::new(),
            finished_futures: Mutex::new(Vec::new()),
        }
    }

    fn append(&self, position: usize) {
        lock(&self.finished_futures).push(position);
    }
}

/// What differs between the kinds of `_Waiter`. A future that is done calls one of these methods, once,
/// while it holds its own condition.
///
/// CPython: the methods that every `_Waiter` has.
trait Waiter: Send + Sync {
    fn base(&self) -> &_Waiter;

    /// Whether what is waited for has happened.
    fn is_over(&self) -> bool {
        !lock(&self.base().finished_futures).is_empty()
    }

    fn add_result(&self, position: usize);

    fn add_exception(&self, position: usize) {
        self.add_result(position);
    }

    fn add_cancelled(&self, position: usize) {
        self.add_result(position);
    }
}

/// Used by [`as_completed`]. CPython: `_AsCompletedWaiter` in `_base.py`.
struct _AsCompletedWaiter(_Waiter);

impl _AsCompletedWaiter {
    /// Swaps an empty list for that of the futures that were added since the last call, in finishing order.
    fn take_finished_futures(&self, list: &mut Vec<usize>) {
        let mut finished_futures = lock(&self.0.finished_futures);
        // While the list is locked. Otherwise a future could be added in between, and its event would be
        // cleared without the future having been seen.
        self.0.event.clear();
        mem::swap(&mut *finished_futures, list);
    }
}

impl Waiter for _AsCompletedWaiter {
    fn base(&self) -> &_Waiter {
        &self.0
    }

    fn add_result(&self, position: usize) {
        let mut finished_futures = lock(&self.0.finished_futures);
        finished_futures.push(position);
        // If there was another future in the list, the event is set: it is cleared only when the list is
        // emptied.
        if finished_futures.len() == 1 {
            self.0.event.set();
        }
    }
}

/// Used by [`wait`] for `FIRST_COMPLETED`. CPython: `_FirstCompletedWaiter` in `_base.py`.
struct _FirstCompletedWaiter(_Waiter);

impl Waiter for _FirstCompletedWaiter {
    fn base(&self) -> &_Waiter {
        &self.0
    }

    fn add_result(&self, position: usize) {
        self.0.append(position);
        self.0.event.set();
    }
}

/// Used by [`wait`] for `FIRST_EXCEPTION` and `ALL_COMPLETED`. CPython: `_AllCompletedWaiter` in
/// `_base.py`.
struct _AllCompletedWaiter {
    base: _Waiter,
    /// How many of the futures have not told this waiter yet. With `stop_on_exception`, none is waited for
    /// after one that failed.
    num_pending_calls: Mutex<usize>,
    /// Whether a future with an exception sets the event, too.
    stop_on_exception: bool,
    /// Whether every future does, for a worker that looks which are left; see `worker.rs`.
    tells_each: bool,
}

impl _AllCompletedWaiter {
    fn new(num_pending_calls: usize, stop_on_exception: bool, tells_each: bool) -> Self {
        _AllCompletedWaiter {
            base: _Waiter::new(),
            num_pending_calls: Mutex::new(num_pending_calls),
            stop_on_exception,
            tells_each,
        }
    }

    fn _decrement_pending_calls(&self) {
        let mut num_pending_calls = lock(&self.num_pending_calls);
        *num_pending_calls = num_pending_calls.saturating_sub(1);
        if *num_pending_calls == 0 || self.tells_each {
            self.base.event.set();
        }
    }
}

impl Waiter for _AllCompletedWaiter {
    fn base(&self) -> &_Waiter {
        &self.base
    }

    fn is_over(&self) -> bool {
        *lock(&self.num_pending_calls) == 0
    }

    fn add_result(&self, position: usize) {
        self.base.append(position);
        self._decrement_pending_calls();
    }

    fn add_exception(&self, position: usize) {
        self.base.append(position);
        if self.stop_on_exception {
            *lock(&self.num_pending_calls) = 1;
        }
        self._decrement_pending_calls();
    }
}

/// Holds the conditions of several futures at once, so that a future that was found not to be done stays
/// so until every future has the waiter. A future whose state is final need not be held: nothing will
/// change about it.
///
/// They are taken in the order of their addresses. Two threads that wait for the same futures, given in
/// different orders, would otherwise each hold what the other needs. That cannot happen with a future
/// of which there is no other handle, so those are spared the sorting, and taken before the others.
///
/// CPython: `_AcquireFutures` in `_base.py`.
struct _AcquireFutures<'a> {
    /// The positions of the final ones.
    done: Positions,
    /// Whether one of these has an exception.
    failed: bool,
    /// The others, which are held, with their positions.
    not_done: Vec<(usize, Acquired<'a, Shared<dyn Erased + 'a>>)>,
}

impl<'a> _AcquireFutures<'a> {
    fn new<T, F: Waitable<T>>(fs: &'a Futures<F>) -> Self {
        let mut acquired = _AcquireFutures {
            done: Positions::new(fs.given.len()),
            failed: false,
            not_done: Vec::new(),
        };
        for position in fs.ordered() {
            let shared = match fs.get(position) {
                Some(future) => future.condition.acquire(),
                None => continue,
            };
            if shared.state.is_final() {
                acquired.done.insert(position);
                acquired.failed |= shared.failed;
            } else {
                acquired.not_done.push((position, shared));
            }
        }
        acquired
    }

    /// Installs the waiter in every future that is held, and lets go of them all. Returns where it is
    /// installed.
    fn install(self, waiter: &Arc<dyn Waiter>) -> Vec<Installed> {
        let install = |(position, shared): &mut (usize, Acquired<'_, Shared<dyn Erased + '_>>)| {
            let waiter = Arc::clone(waiter);
            let position = *position;
            let key = shared.waiters.push((waiter, position));
            Installed { position, key }
        };
        // All stay locked until all have the waiter: this is dropped at the end.
        let mut not_done = self.not_done;
        not_done.iter_mut().map(install).collect()
    }
}

/// A waiter in a future.
struct Installed {
    position: usize,
    /// The waiter's key in the future's list.
    key: usize,
}

/// CPython: `_create_and_install_waiters` in `_base.py`; [`as_completed`] makes its waiter itself,
/// since it has to know its type.
fn _create_and_install_waiters(
    fs: _AcquireFutures<'_>,
    return_when: ReturnWhen,
) -> (Arc<dyn Waiter>, Vec<Installed>) {
    let pending_count = fs.not_done.len();
    let all = |stop_on_exception| {
        let tells_each = Worker::current().map_or(false, |worker| fs.are_mixed(&worker));
        _AllCompletedWaiter::new(pending_count, stop_on_exception, tells_each)
    };
    let waiter: Arc<dyn Waiter> = match return_when {
        ReturnWhen::FirstCompleted => Arc::new(_FirstCompletedWaiter(_Waiter::new())),
        ReturnWhen::FirstException => Arc::new(all(true)),
        ReturnWhen::AllCompleted => Arc::new(all(false)),
    };
    let installed = fs.install(&waiter);
    (waiter, installed)
}

/// The iterator that [`as_completed`] returns.
#[must_use = "an iterator waits for nothing until it is asked for the next future"]
pub struct AsCompleted<T, F: Waitable<T> = Future<T>> {
    /// Without those that were yielded.
    fs: Futures<F>,
    /// How many were not yielded yet.
    pending: usize,
    /// The positions of those that are done and not yielded yet, in the order in which to yield them.
    finished: Finished,
    waiter: Arc<_AsCompletedWaiter>,
    /// Where the waiter was installed. A future drops it from its list when it tells it.
    installed: Vec<Installed>,
    candidates: Candidates,
    deadline: Deadline,
    value: PhantomData<fn() -> T>,
}

impl<T, F: Waitable<T>> AsCompleted<T, F> {
    /// The next of those known to be done. It is moved out, so that nothing keeps it alive once it is
    /// yielded. (CPython also takes the waiter out of it; here a future lets go of its waiters when it
    /// tells them.)
    ///
    /// CPython: `_yield_finished_futures` in `_base.py`.
    fn _yield_finished_futures(&mut self) -> Option<F> {
        let position = self.finished.next()?;
        self.pending -= 1;
        self.fs.given[position].take()
    }

    /// Ends the iteration: lets go of the futures that were not yielded. Python's `generator.close`.
    fn close(&mut self) {
        self.fs.uninstall(mem::take(&mut self.installed));
        self.fs.clear();
        self.finished = Finished::new(Positions::default());
        self.pending = 0;
    }
}

/// An iterator over futures that yields each when it is done: those that are done already first, in
/// the order given, then the others in the order in which they finish or are cancelled. A future
/// that is given several times is yielded once.
///
/// `timeout` is a limit for the whole iteration, counted from this call; `None` is no limit. Once it
/// has passed, the iterator yields what it has already seen to be done, then one [`TimeoutError`],
/// and ends. The futures are not affected, and those yielded before remain valid.
///
/// `next` blocks until a future is done. The iterator keeps no reference to a future that it has
/// yielded, and once dropped leaves nothing behind in the others.
///
/// A cancelled future counts as done once those who wait for it are told: at once for a future that
/// a pool made, and for any other in [`set_running_or_notify_cancel`].
///
/// ```
/// use concurrent_futures::{as_completed, Executor, ThreadPoolExecutor};
///
/// let pool = ThreadPoolExecutor::new(4)?;
/// let futures: Vec<_> = (1..=3).map(|n| pool.submit(move || n * n)).collect::<Result<_, _>>()?;
/// let mut squares = Vec::new();
/// for future in as_completed(futures, None) {
///     squares.push(future?.result(None)?);
/// }
/// squares.sort();
/// assert_eq!(squares, [1, 4, 9]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// **Differs from CPython:** the time-out counts from this call, as CPython documents; its generator
/// starts the clock at the first `next`.
///
/// [`set_running_or_notify_cancel`]: Future::set_running_or_notify_cancel
///
/// CPython: `as_completed` in `_base.py`.
#[must_use = "an iterator waits for nothing until it is asked for the next future"]
pub fn as_completed<T, F: Waitable<T>>(
    fs: impl IntoIterator<Item = F>,
    timeout: impl Into<Option<Duration>>,
) -> AsCompleted<T, F> {
    let deadline = Deadline::after(timeout.into());
    let fs = Futures::new(fs);
    let waiter = Arc::new(_AsCompletedWaiter(_Waiter::new()));
    let mut acquired = _AcquireFutures::new(&fs);
    let done = mem::take(&mut acquired.done);
    let dyn_waiter: Arc<dyn Waiter> = Arc::clone(&waiter) as _;
    let installed = acquired.install(&dyn_waiter);
    AsCompleted {
        pending: fs.len(),
        finished: Finished::new(done),
        fs,
        waiter,
        installed,
        candidates: Candidates::default(),
        deadline,
        value: PhantomData,
    }
}

impl<T, F: Waitable<T>> Iterator for AsCompleted<T, F> {
    type Item = Result<F, TimeoutError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(future) = self._yield_finished_futures() {
                return Some(Ok(future));
            }
            if self.pending == 0 {
                return None;
            }
            if self.deadline.has_passed() {
                let error = TimeoutError::futures(self.pending, self.fs.len());
                self.close();
                return Some(Err(error));
            }
            if let Some(worker) = Worker::current() {
                worker.wait_for_next(self);
            } else {
                self.waiter.0.event.wait(self.deadline);
            }
            self.waiter.take_finished_futures(self.finished.list());
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // At the least, the time-out's error.
        (self.pending.min(1), Some(self.pending))
    }
}

impl<T, F: Waitable<T>> FusedIterator for AsCompleted<T, F> {}

impl<T, F: Waitable<T>> Drop for AsCompleted<T, F> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<T, F: Waitable<T>> fmt::Debug for AsCompleted<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsCompleted")
            .field("unfinished", &self.pending)
            .finish_non_exhaustive()
    }
}

/// What [`wait`] returns: the futures that are done, and those that are not.
///
/// As with Python's named tuple, there is nothing to it but these two, so that it can be taken apart:
/// `let DoneAndNotDoneFutures { done, not_done } = wait(futures, None, ALL_COMPLETED);`
///
/// CPython: `DoneAndNotDoneFutures` in `_base.py`.
pub struct DoneAndNotDoneFutures<T, F: Waitable<T> = Future<T>> {
    /// Finished, or cancelled and told of.
    pub done: FutureSet<F::Handle>,
    /// All others.
    pub not_done: FutureSet<F::Handle>,
}

impl<T, F: Waitable<T>> fmt::Debug for DoneAndNotDoneFutures<T, F>
where
    F::Handle: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DoneAndNotDoneFutures")
            .field("done", &self.done)
            .field("not_done", &self.not_done)
            .finish()
    }
}

/// Waits until the futures are done, or the first of them is, as `return_when` says; or until
/// `timeout` has passed. Blocks meanwhile. With no futures at all it returns at once.
///
/// A time-out is no error: what is not done by then is in `not_done`. Neither is a failed future:
/// it is done. A future that is given several times is returned once.
///
/// A cancelled future counts as done once those who wait for it are told: at once for a future that
/// a pool made, and for any other in [`set_running_or_notify_cancel`].
///
/// ```
/// use concurrent_futures::{wait, Executor, ThreadPoolExecutor, FIRST_EXCEPTION};
///
/// let pool = ThreadPoolExecutor::new(2)?;
/// let good = pool.try_submit(|| "1".parse::<i32>())?;
/// let bad = pool.try_submit(|| "x".parse::<i32>())?;
/// let waited = wait(vec![good, bad.clone()], None, FIRST_EXCEPTION);
/// assert!(waited.done.contains(&bad));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`set_running_or_notify_cancel`]: Future::set_running_or_notify_cancel
///
/// CPython: `wait` in `_base.py`.
#[must_use = "it says which of the futures are done; to wait for all of them, and no more, write `let _ =`"]
pub fn wait<T, F: Waitable<T, Handle = F>>(
    fs: impl IntoIterator<Item = F>,
    timeout: impl Into<Option<Duration>>,
    return_when: ReturnWhen,
) -> DoneAndNotDoneFutures<T, F> {
    let deadline = Deadline::after(timeout.into());
    let fs = Futures::new(fs);
    let mut acquired = _AcquireFutures::new(&fs);
    let mut done = mem::take(&mut acquired.done);
    let enough = match return_when {
        ReturnWhen::FirstCompleted => !done.is_empty(),
        ReturnWhen::FirstException => acquired.failed,
        ReturnWhen::AllCompleted => false,
    };
    if enough || acquired.not_done.is_empty() {
        drop(acquired);
    } else {
        let (waiter, installed) = _create_and_install_waiters(acquired, return_when);
        let add_finished_futures = |done: &mut Positions| {
            let finished_futures = mem::take(&mut *lock(&waiter.base().finished_futures));
            finished_futures.into_iter().for_each(|it| done.insert(it));
        };
        if let Some(worker) = Worker::current() {
            let all = return_when == ReturnWhen::AllCompleted || installed.len() == 1;
            let mut candidates = Candidates::default();
            let mut wanted = Several::new(&fs, &mut candidates);
            worker.wait(&mut wanted, &waiter, all, deadline);
        } else {
            waiter.base().event.wait(deadline);
        }
        add_finished_futures(&mut done);
        // The futures that were collected no longer have the waiter. The others may tell it until it is
        // taken out here, so there may be more to collect afterwards.
        let installed = installed.into_iter();
        fs.uninstall(installed.filter(|it| !done.contains(it.position)));
        add_finished_futures(&mut done);
    }
    let (done, not_done) = fs.divide(&done);
    DoneAndNotDoneFutures { done, not_done }
}

/// Takes the result, or cancels: after a time-out nobody will ask again. (CPython cancels either way,
/// which is nothing to a future that is done.)
///
/// CPython: `_result_or_cancel` in `_base.py`.
fn _result_or_cancel<T>(fut: &Future<T>, deadline: Deadline) -> Result<T, Error> {
    let result = fut.take(deadline);
    if result.is_err() {
        fut.cancel();
    }
    result
}

/// The result of a call that is executed somewhere else, perhaps later.
///
/// A future is a shared handle: a clone refers to the same call, and two handles are equal, and hash
/// alike, if they do. The call goes on when all handles are dropped.
///
/// ```
/// use concurrent_futures::{Executor, ThreadPoolExecutor};
///
/// let pool = ThreadPoolExecutor::new(1)?;
/// let future = pool.submit(|| 6 * 7)?;
/// assert_eq!(future.result(None)?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// `Debug` writes what Python's `repr` does: `<Future at 0x7f0c5c000d10 state=finished returned i32>`.
///
/// CPython: `Future` in `_base.py`.
pub struct Future<T> {
    core: Arc<Core<T>>,
    /// Set by polling: the callback that this handle has left with the future, to be woken by it.
    pub(super) awaited: Option<Awaited>,
}

/// What the handles of a future share. A pool's future also has the work in it that will complete it,
/// in the same allocation: memory is the greater part of what a small call costs. Where the type of
/// that work is not known, it can only be kept or discarded.
pub(super) struct Core<T, W: ?Sized = dyn Work<T>> {
    condition: Condition<Shared<TypedPart<T>>>,
    pub(super) work: W,
}

/// CPython: the attributes that `Future.__init__` sets in `_base.py`. What does not depend on the type
/// of the result comes first, so that `wait` and `as_completed` can do without that type.
struct Shared<R: ?Sized> {
    state: State,
    /// The number of the pool that made it, if one did. Such a future tells its waiters itself when it is
    /// cancelled. In CPython, a worker does that once it meets the future's work item, which may be late
    /// or never.
    pool: Option<PoolNumber>,
    /// Whether there is an exception in `typed`.
    failed: bool,
    /// Whom to tell, each with this future's position in that waiter's list. Empty once the state is
    /// final.
    waiters: KeyedList<(Arc<dyn Waiter>, usize)>,
    /// What depends on the type.
    typed: R,
}

struct TypedPart<T> {
    /// Python's `_result` and `_exception`.
    outcome: Outcome<T>,
    /// To be called when the future is done; empty from then on.
    done_callbacks: KeyedList<Box<dyn Callback<T>>>,
}

enum Outcome<T> {
    /// Not finished yet, or cancelled, or the value was taken.
    None,
    Value(T),
    /// Moved out by `result`, which gives it back when it has cloned it. Whoever wants it meanwhile
    /// waits here. (A second lock, for the value alone, would do without this. It would cost 16 bytes for
    /// each future, and run `T::clone` under a lock.)
    Lent(Option<Box<Borrowers<T>>>),
    Exception {
        exception: Exception,
        /// Somebody has asked for it, or left a callback; see [`log_unretrieved`].
        retrieved: bool,
    },
}

impl<T> Future<T> {
    /// A future that is pending until somebody completes it. For executors and tests; the futures of
    /// your calls come from [`Executor::submit`].
    ///
    /// CPython: `Future.__init__` in `_base.py`.
    pub fn new() -> Self {
        Core::pending((), None).into_future()
    }

    fn _invoke_callbacks(&self, done_callbacks: KeyedList<Box<dyn Callback<T>>>) {
        if done_callbacks.is_empty() {
            return;
        }
        match Nesting::enter() {
            Some(_level) => {
                for callback in done_callbacks {
                    self.invoke(callback);
                }
            }
            None => {
                for callback in done_callbacks {
                    Nesting::postpone(callback.postpone(self.clone()));
                }
            }
        }
    }

    fn invoke(&self, callback: Box<dyn Callback<T>>) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| callback.call(self))) {
            let message = format!("exception calling callback for {:?}", self);
            LOGGER.exception(&message, &Exception::from_panic(payload));
        }
    }
}

/// CPython: `Future.__repr__` in `_base.py`.
impl<T> fmt::Debug for Future<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = self.acquire();
        let state = shared.state;
        let exception = match &shared.typed.outcome {
            Outcome::Exception { exception, .. } => Some(exception.clone()),
            _ => None,
        };
        drop(shared);
        write!(
            f,
            "<Future at {:#x} state={}",
            self.id(),
            state.description()
        )?;
        match (state, exception) {
            (State::Finished, Some(exception)) => write!(f, " raised {}>", exception.type_name()),
            (State::Finished, None) => write!(f, " returned {}>", without_paths(type_name::<T>())),
            _ => f.write_str(">"),
        }
    }
}

impl<T> Future<T> {
    /// Cancels the call if it has not started, and says whether it is cancelled: `false` if it is
    /// running or finished, `true` if it was cancelled now or before.
    ///
    /// The thread whose call of `cancel` did it wakes those that wait in [`result`](Future::result) and
    /// [`exception`](Future::exception), drops the call with all that it has captured, and calls the
    /// done-callbacks (see [`add_done_callback`](Future::add_done_callback)) before its `cancel` returns.
    /// Another thread that cancels the same future meanwhile returns sooner, as in CPython.
    ///
    /// **Differs from CPython:** a future that a pool made also tells those who wait for it in
    /// [`wait`] and [`as_completed`], at once. In CPython a worker does that when it meets the
    /// cancelled work item, which may be late, or never (gh-92001, gh-87893, gh-109934).
    ///
    /// CPython: `Future.cancel` in `_base.py`.
    pub fn cancel(&self) -> bool {
        let mut shared = self.acquire();
        match shared.state {
            State::Running | State::Finished => return false,
            State::Cancelled | State::CancelledAndNotified => {
                let called_back = shared.typed.done_callbacks.is_empty();
                drop(shared);
                if !called_back {
                    // One of many that a pool cancels, whose turn it is only now.
                    self.follow_up();
                }
                return true;
            }
            State::Pending => {}
        }
        shared.set_cancelled();
        // Taken under the lock, lest another thread that cancels it call them in this one's place.
        let done_callbacks = mem::take(&mut shared.typed.done_callbacks);
        shared.notify_all();
        self.discard_call();
        self._invoke_callbacks(done_callbacks);
        true
    }

    /// Whether the call was cancelled.
    ///
    /// CPython: `Future.cancelled` in `_base.py`.
    pub fn cancelled(&self) -> bool {
        self.state().is_cancelled()
    }

    /// Whether the call is being executed.
    ///
    /// CPython: `Future.running` in `_base.py`.
    pub fn running(&self) -> bool {
        self.state() == State::Running
    }

    /// Whether the call has finished or was cancelled.
    ///
    /// CPython: `Future.done` in `_base.py`.
    pub fn done(&self) -> bool {
        self.state().is_done()
    }

    /// What `cancelled`, `running` and `done` are made of.
    ///
    /// CPython: `Future._state` in `_base.py`.
    pub fn state(&self) -> State {
        self.acquire().state
    }

    /// Waits until the future is done, and asks for its outcome.
    fn wait_until_done(
        &self,
        deadline: Deadline,
    ) -> Result<Acquired<'_, Shared<TypedPart<T>>>, Error> {
        let mut shared = self.acquire();
        if !shared.state.is_done() && !matches!(deadline, Deadline::Now) {
            let pool = shared.pool;
            drop(shared);
            if let Some(pool) = pool {
                self.wait_as_worker(pool, deadline);
            }
            let is_done = |shared: &Shared<TypedPart<T>>| shared.state.is_done();
            shared = self.core.condition.wait_for(is_done, deadline);
        }
        match shared.state {
            State::Pending | State::Running => Err(Error::Timeout),
            State::Cancelled | State::CancelledAndNotified => Err(Error::Cancelled),
            State::Finished => {
                shared.typed.set_retrieved();
                Ok(shared)
            }
        }
    }

    /// Waits for the value, which may be in other hands then.
    ///
    /// CPython: `Future.__get_result` in `_base.py`, and the waiting half of `Future.result`.
    fn __get_result(
        &self,
        deadline: Deadline,
    ) -> Result<Acquired<'_, Shared<TypedPart<T>>>, Error> {
        let shared = self.wait_until_done(deadline)?;
        match &shared.typed.outcome {
            Outcome::Exception { exception, .. } => Err(Error::Exception(exception.clone())),
            Outcome::None => Err(Error::Taken),
            Outcome::Value(_) => Ok(shared),
            Outcome::Lent(_) if matches!(deadline, Deadline::Now) => Ok(shared),
            Outcome::Lent(_) => {
                // Most values are cloned sooner than a sleeping thread could be woken.
                drop(shared);
                let condition = &self.core.condition;
                let shared = condition.spin_for(|shared| !shared.typed.is_lent(), deadline);
                Ok(shared.unwrap_or_else(|| self.acquire()))
            }
        }
    }

    /// Has `callback` called with this future when it is done: by the thread that completes or
    /// cancels it, or right now if it is done already. Each is called once, while no lock is held, and
    /// those that were added before the future was done are called in the order in which they were added.
    /// One that is added while these are being called does not wait for them, as in CPython. The
    /// callbacks of a future that is dropped without ever being done are dropped with it.
    ///
    /// A callback that panics is logged (see [`set_logger`](super::set_logger)), and the next one is called. Callbacks
    /// that complete futures whose callbacks complete futures nest up to a fixed depth; what goes
    /// deeper is called, in order, before the outermost completion returns.
    ///
    /// ```
    /// use concurrent_futures::Future;
    ///
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// let future = Future::new();
    /// future.add_done_callback(move |future| sender.send(future.result(None).unwrap()).unwrap());
    /// future.set_result(42).unwrap();
    /// assert_eq!(receiver.recv().unwrap(), 42);
    /// ```
    ///
    /// CPython: `Future.add_done_callback` in `_base.py`.
    pub fn add_done_callback(&self, callback: impl FnOnce(&Future<T>) + Send + 'static)
    where
        T: 'static,
    {
        let callback = Box::new(callback);
        let mut shared = self.acquire();
        if !shared.state.is_done() {
            shared.typed.done_callbacks.push(callback);
            return;
        }
        shared.typed.set_retrieved();
        drop(shared);
        let mut done_callbacks = KeyedList::<Box<dyn Callback<T>>>::new();
        done_callbacks.push(callback);
        self._invoke_callbacks(done_callbacks);
    }

    /// A clone of the value that the call returned. Blocks until the call is done, for at most
    /// `timeout`; `None` is no limit, and zero does not wait for it.
    ///
    /// The value is cloned with no lock held, by one thread after the other. Once the call is done, this
    /// waits for its turn, whatever the time-out says; so `T::clone` must not ask this same future for
    /// its result. With a time-out of zero, the turn is the next: after the thread that is cloning the
    /// value, and others with such a time-out.
    ///
    /// # Errors
    ///
    /// [`Error::Cancelled`] if the call was cancelled, [`Error::Timeout`] if it is not done in time,
    /// [`Error::Exception`] if it failed, and [`Error::Taken`] after
    /// [`take_result`](Future::take_result).
    ///
    /// CPython: `Future.result` in `_base.py`.
    pub fn result(&self, timeout: impl Into<Option<Duration>>) -> Result<T, Error>
    where
        T: Clone,
    {
        let deadline = Deadline::after(timeout.into());
        let lent = LentValue::borrow(self, self.__get_result(deadline)?, deadline)?;
        Ok(T::clone(&lent))
    }

    /// Like [`result`](Future::result), but moves the value out instead of cloning it. From then on,
    /// this future and its clones give [`Error::Taken`].
    ///
    /// # Errors
    ///
    /// Those of [`result`](Future::result). An exception is not moved out, but given every time.
    ///
    /// CPython: none; there a result is a reference, and needs no moving.
    pub fn take_result(&self, timeout: impl Into<Option<Duration>>) -> Result<T, Error> {
        self.take(Deadline::after(timeout.into()))
    }

    fn take(&self, deadline: Deadline) -> Result<T, Error> {
        LentValue::take(self, self.__get_result(deadline)?, deadline)
    }

    /// The exception that the call raised, or `None` if it returned a value. Blocks until the call is
    /// done, for at most `timeout`; `None` is no limit, and zero does not wait.
    ///
    /// # Errors
    ///
    /// [`Error::Cancelled`] if the call was cancelled, [`Error::Timeout`] if it is not done in time.
    ///
    /// CPython: `Future.exception` in `_base.py`.
    pub fn exception(
        &self,
        timeout: impl Into<Option<Duration>>,
    ) -> Result<Option<Exception>, Error> {
        let deadline = Deadline::after(timeout.into());
        match &self.wait_until_done(deadline)?.typed.outcome {
            Outcome::Exception { exception, .. } => Ok(Some(exception.clone())),
            _ => Ok(None),
        }
    }

    /// Marks the call as running, or tells those who wait for it that it was cancelled. For executors
    /// and tests: an executor calls this before it runs the call, and runs it only for `true`.
    ///
    /// Returns `true` if the call is running now and can no longer be cancelled, and `false` if it was
    /// cancelled.
    ///
    /// # Errors
    ///
    /// If the call is running or finished, or if an earlier call of this method has told of its
    /// cancellation. Either is also logged.
    ///
    /// **Differs from CPython:** for a cancelled future that a pool made, `false` every time, since
    /// `cancel` has told everybody already.
    ///
    /// CPython: `Future.set_running_or_notify_cancel` in `_base.py`, where the error is a
    /// `RuntimeError`.
    #[inline]
    pub fn set_running_or_notify_cancel(&self) -> Result<bool, InvalidStateError> {
        let mut shared = self.acquire();
        match shared.state {
            State::Pending => {
                shared.state = State::Running;
                Ok(true)
            }
            State::Cancelled => {
                // Those in `result` and `exception` were woken by `cancel`.
                shared.notify_cancel();
                Ok(false)
            }
            State::CancelledAndNotified if shared.pool.is_some() => Ok(false),
            state => {
                drop(shared);
                let message = format!("Future {} in unexpected state: {}", self.id(), state);
                LOGGER.critical(&message, None);
                Err(InvalidStateError {
                    message: "Future in unexpected state".to_owned(),
                })
            }
        }
    }

    /// Completes the call with a value. For executors and tests. Whoever waits is woken, and the
    /// done-callbacks are called on this thread before this returns.
    ///
    /// # Errors
    ///
    /// If the call is done already. The value is dropped.
    ///
    /// CPython: `Future.set_result` in `_base.py`.
    pub fn set_result(&self, value: T) -> Result<(), InvalidStateError> {
        self.complete(Ok(value), || ())
    }

    /// Completes the call with an exception: any error type, or an [`Exception`]. For executors and
    /// tests. Whoever waits is woken, and the done-callbacks are called on this thread before this
    /// returns.
    ///
    /// # Errors
    ///
    /// If the call is done already. The exception is dropped.
    ///
    /// CPython: `Future.set_exception` in `_base.py`.
    pub fn set_exception(&self, exception: impl Into<Exception>) -> Result<(), InvalidStateError> {
        self.complete(Err(exception.into()), || ())
    }

    /// Completes the call: `set_result` and `set_exception` in one.
    ///
    /// `last_act` says that the worker is free. It is called before anybody can see the outcome, but only
    /// if no more of the user's code can run on this thread: no callback, no `Drop` of the value.
    /// Otherwise it is the caller's to say so when that has run.
    #[inline]
    pub(super) fn complete(
        &self,
        outcome: Result<T, Exception>,
        last_act: impl FnOnce(),
    ) -> Result<(), InvalidStateError> {
        let mut shared = self.acquire();
        let state = shared.state;
        if state.is_done() {
            drop(shared);
            return Err(InvalidStateError {
                message: format!("{}: {:?}", state, self),
            });
        }
        if outcome.is_ok() && shared.typed.done_callbacks.is_empty() && !mem::needs_drop::<T>() {
            last_act();
        }
        shared.set_outcome(outcome);
        let done_callbacks = mem::take(&mut shared.typed.done_callbacks);
        shared.notify_all();
        self.discard_early(state);
        self._invoke_callbacks(done_callbacks);
        Ok(())
    }
}

/// Something that executes calls asynchronously.
///
/// A new executor is two methods, [`try_submit`](Executor::try_submit) and
/// [`shutdown_with`](Executor::shutdown_with). It makes a [`Future`] for each call, asks
/// [`set_running_or_notify_cancel`] before it runs one, and completes it with
/// [`set_result`](Future::set_result) or [`set_exception`](Future::set_exception). A reference to
/// an executor is an executor, too. The conformance kit, the folder `tests/executor/` of the
/// repository, tests executors of your own and names the promises that they break.
///
/// [`set_running_or_notify_cancel`]: Future::set_running_or_notify_cancel
///
/// CPython: `Executor` in `_base.py`.
pub trait Executor {
    /// Schedules `f` and returns a future for its result. `f` may fail: the future of a call that
    /// returns `Err` has that error as its exception, as has the future of one that panics.
    ///
    /// # Errors
    ///
    /// When the executor takes no more calls; see [`SubmitError`].
    ///
    /// CPython: `Executor.submit` in `_base.py`.
    fn try_submit<F, T, E>(&self, f: F) -> Result<Future<T>, SubmitError>
    where
        F: FnOnce() -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Into<Exception>;

    /// Schedules `f`, which cannot fail but by panicking, and returns a future for its result.
    ///
    /// # Errors
    ///
    /// When the executor takes no more calls; see [`SubmitError`].
    ///
    /// CPython: `Executor.submit` in `_base.py`.
    fn submit<F, T>(&self, f: F) -> Result<Future<T>, SubmitError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.try_submit(move || Ok::<T, Infallible>(f()))
    }

    /// Calls `f` with each item, and returns an iterator over the results in the order of the items.
    /// All calls are submitted before `map` returns. For several iterables, `zip` them.
    ///
    /// The iterator's `next` blocks until its result is there. It ends with the first error, and the
    /// calls that have not started by then are cancelled, as they are when it is dropped half-way. An
    /// iterator that is dropped before its first `next` cancels nothing: who does not ask for results
    /// wants the calls made.
    ///
    /// # Errors
    ///
    /// When the executor takes no more calls; those submitted so far are made all the same.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ThreadPoolExecutor};
    ///
    /// let pool = ThreadPoolExecutor::new(4)?;
    /// let squares: Vec<i32> = pool.map(|n| n * n, 1..=3)?.collect::<Result<_, _>>()?;
    /// assert_eq!(squares, [1, 4, 9]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// CPython: `Executor.map` in `_base.py`.
    fn map<F, I, T>(&self, f: F, iterable: I) -> Result<Map<T>, SubmitError>
    where
        F: Fn(I::Item) -> T + Send + Sync + 'static,
        I: IntoIterator,
        I::Item: Send + 'static,
        T: Send + 'static,
    {
        self.try_map(move |item| Ok::<T, Infallible>(f(item)), iterable)
    }

    /// Like [`map`](Executor::map), with a time-out, a bound on the tasks in flight, or several items
    /// in one task.
    ///
    /// With a [`buffersize`](MapOptions::buffersize), `iterable` is read as results are taken, on the
    /// thread that takes them. If the executor refuses a later call, the results of the earlier ones
    /// are yielded first, and then the [`SubmitError`] as an [`Error::Exception`].
    ///
    /// # Errors
    ///
    /// When the executor takes no more calls, or for a `buffersize` or `chunksize` of zero.
    ///
    /// ```
    /// use concurrent_futures::{Executor, MapOptions, ThreadPoolExecutor};
    ///
    /// let pool = ThreadPoolExecutor::new(2)?;
    /// let squares = pool.map_with(|n: u64| n * n, 0.., MapOptions::new().buffersize(8))?;
    /// let small: Vec<u64> = squares.map(Result::unwrap).take_while(|&n| n < 30).collect();
    /// assert_eq!(small, [0, 1, 4, 9, 16, 25]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// **Differs from CPython:** never more than `buffersize` tasks are in flight (gh-131466);
    /// results are not lost when the executor is shut down meanwhile (gh-146392); and `chunksize`,
    /// which CPython's thread pool ignores, is heeded.
    ///
    /// CPython: `Executor.map` in `_base.py`.
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
        self.try_map_with(move |item| Ok::<T, Infallible>(f(item)), iterable, options)
    }

    /// Like [`map`](Executor::map), for an `f` that may fail: its error is yielded as an
    /// [`Error::Exception`], and ends the iteration.
    ///
    /// # Errors
    ///
    /// When the executor takes no more calls; those submitted so far are made all the same.
    ///
    /// CPython: `Executor.map` in `_base.py`.
    fn try_map<F, I, T, E>(&self, f: F, iterable: I) -> Result<Map<T>, SubmitError>
    where
        F: Fn(I::Item) -> Result<T, E> + Send + Sync + 'static,
        I: IntoIterator,
        I::Item: Send + 'static,
        T: Send + 'static,
        E: Into<Exception>,
    {
        Ok(self
            .try_map_with(f, iterable, MapOptions::new())?
            .all_submitted())
    }

    /// Like [`map_with`](Executor::map_with), for an `f` that may fail.
    ///
    /// # Errors
    ///
    /// When the executor takes no more calls, or for a `buffersize` or `chunksize` of zero.
    ///
    /// CPython: `Executor.map` in `_base.py`.
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
        Map::new(self, f, iterable, options)
    }

    /// Calls [`shutdown_with`](Executor::shutdown_with) with Python's defaults: waits until all calls are
    /// done and the executor's resources are given back, and cancels nothing.
    ///
    /// CPython: `Executor.shutdown` in `_base.py`.
    fn shutdown(&self) {
        self.shutdown_with(ShutdownOptions::new());
    }

    /// Takes no more calls from now on. May be called any number of times.
    ///
    /// CPython: `Executor.shutdown` in `_base.py`.
    fn shutdown_with(&self, options: ShutdownOptions);

    /// Python's `with` statement: calls `body`, then shuts the executor down and waits, also when
    /// `body` panics.
    ///
    /// ```
    /// use concurrent_futures::{Executor, ThreadPoolExecutor};
    ///
    /// let future = ThreadPoolExecutor::new(2)?.with(|pool| pool.submit(|| 6 * 7))?;
    /// assert!(future.done());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// CPython: `Executor.__enter__` and `Executor.__exit__` in `_base.py`.
    fn with<R>(self, body: impl FnOnce(&Self) -> R) -> R
    where
        Self: Sized,
    {
        let _exit = Exit(&self);
        body(&self)
    }

    /// [`with`](Executor::with) for a `body` that may fail. On `Err`, and on a panic, the calls that
    /// have not begun are cancelled, so that a program that has failed does not go on with them.
    ///
    /// ```
    /// use concurrent_futures::{Error, Executor, ThreadPoolExecutor};
    ///
    /// let failed = ThreadPoolExecutor::new(1)?.try_with(|pool| {
    ///     let futures = pool.map(|n| 10 / n, [5, 0, 2])?;
    ///     futures.collect::<Result<Vec<i32>, Error>>()
    /// });
    /// assert_eq!(failed.unwrap_err().to_string(), "attempt to divide by zero");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// **Differs from CPython:** its `with` statement runs everything that was submitted, also after an
    /// exception (gh-130975).
    fn try_with<R, E>(self, body: impl FnOnce(&Self) -> Result<R, E>) -> Result<R, E>
    where
        Self: Sized,
    {
        let mut exit = TryExit::new(&self);
        let result = body(&self);
        exit.set_failed(result.is_err());
        result
    }
}

impl<T, U: Submit<T>> Iterator for Map<T, U> {
    type Item = Result<T, Error>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self.values.next() {
            Some(value) => Some(Ok(value)),
            None => self.next_chunk(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.bounds()
    }

    /// What `for_each`, `count`, `last` and others are made of that take all results.
    fn fold<B, G: FnMut(B, Self::Item) -> B>(mut self, init: B, mut g: G) -> B {
        let mut folded = init;
        while let Some(result) = self.next() {
            folded = g(folded, result);
            let values = mem::replace(&mut self.values, Vec::new().into_iter());
            folded = values.map(Ok).fold(folded, &mut g);
        }
        folded
    }
}

/// The iterator over the results of [`Executor::map`].
///
/// CPython: the generator that `Executor.map` returns.
#[must_use = "the calls are made all the same; but their errors are in what the iterator yields"]
pub struct Map<T, U = ()> {
    /// Submitted, and their results not taken yet, in the order of the items.
    fs: VecDeque<Future<Chunk<T>>>,
    /// How many items these have.
    items: usize,
    /// What is left of the results that were taken last.
    values: IntoIter<T>,
    /// What is to be yielded behind these: the failure that ended their task.
    failure: Option<Exception>,
    /// Results that were taken, and not looked at yet.
    taken: Option<Chunk<T>>,
    /// The limit for all results together.
    deadline: Deadline,
    /// Where further tasks come from. `None` once there are no more.
    unsubmitted: Option<U>,
    /// Why nothing more could be submitted.
    refused: Option<SubmitError>,
    /// A result was asked for. In CPython, a generator that never ran has no `finally` to run.
    started: bool,
}

/// An executor can no longer run anything, after a severe failure.
///
/// CPython: `BrokenExecutor` in `_base.py`.
#[derive(Clone, Debug)]
pub struct BrokenExecutor {
    message: String,
    /// What broke it.
    cause: Cause,
}

impl BrokenExecutor {
    /// For executors: what `message` says has happened.
    pub fn new(message: impl Into<String>) -> Self {
        BrokenExecutor {
            message: message.into(),
            cause: Cause::default(),
        }
    }

    /// The same, with what has broken it as its [`source`](StdError::source).
    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<Option<Exception>>) -> Self {
        self.cause = Cause::new(cause.into());
        self
    }
}

/// Two are equal if they say the same.
impl PartialEq for BrokenExecutor {
    fn eq(&self, other: &Self) -> bool {
        self.message == other.message
    }
}

impl Eq for BrokenExecutor {}

impl fmt::Display for BrokenExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.message)
    }
}

impl StdError for BrokenExecutor {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.source()
    }
}

/// Why an executor did not take a call. The call was dropped without being run.
///
/// CPython: the `RuntimeError`, `BrokenExecutor` or `ValueError` that `submit` and `map` raise.
#[derive(Debug)]
#[non_exhaustive]
pub enum SubmitError {
    /// The executor was shut down.
    Shutdown,
    /// [`thread::_python_exit`](super::thread::_python_exit) has run.
    InterpreterShutdown,
    /// The executor can no longer run anything.
    Broken(BrokenExecutor),
    /// No thread could be started, and the executor has none.
    Thread(std::io::Error),
    /// No process could be started, and the executor has none.
    Process(std::io::Error),
    /// The call cannot travel to another process: its function is not registered, or an argument of it
    /// cannot be dumped. CPython: `PicklingError`.
    Pickling(Exception),
    /// An option of [`map_with`](Executor::map_with) is out of range.
    Value(ValueError),
    /// The executor has as many calls as it takes at a time; see `BoundedExecutor`.
    Full,
}

impl fmt::Display for SubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SubmitError::Shutdown => f.pad("cannot schedule new futures after shutdown"),
            SubmitError::InterpreterShutdown => {
                f.pad("cannot schedule new futures after interpreter shutdown")
            }
            SubmitError::Broken(error) => error.fmt(f),
            SubmitError::Thread(error) => write!(f, "can't start new thread: {}", error),
            SubmitError::Process(error) => write!(f, "can't start new process: {}", error),
            SubmitError::Pickling(exception) => exception.fmt(f),
            SubmitError::Value(error) => error.fmt(f),
            SubmitError::Full => f.pad("the executor is full"),
        }
    }
}

impl StdError for SubmitError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            SubmitError::Thread(error) | SubmitError::Process(error) => Some(error),
            SubmitError::Broken(error) => error.source(),
            _ => None,
        }
    }
}

impl From<BrokenExecutor> for SubmitError {
    fn from(error: BrokenExecutor) -> Self {
        SubmitError::Broken(error)
    }
}

impl From<ValueError> for SubmitError {
    fn from(error: ValueError) -> Self {
        SubmitError::Value(error)
    }
}
