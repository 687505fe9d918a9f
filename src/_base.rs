//! Futures, waiting for them, and what every executor has in common: CPython's `_base.py`.
//!
//! # Lock order
//!
//! An executor's shutdown lock, then a future's condition, then a waiter's lock. The conditions of
//! several futures are taken in the order of their addresses, behind those of futures that no other
//! thread can have ([`_AcquireFutures`]). The locks of the queue, of a worker's account and of a
//! thread handle are innermost: nothing else is locked under them, but one half of the queue under
//! the other. No code of the user's runs under any of them: what is to be called or dropped is
//! moved out first.

use super::awaiting::Task;
use super::process;
use super::threading::{lock, Acquired, Condition, Deadline, Event};
use std::any::{type_name, Any};
use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::mem;
use std::panic::{catch_unwind, AssertUnwindSafe, RefUnwindSafe, UnwindSafe};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::vec::IntoIter;

/// When [`wait`] returns.
///
/// CPython: the strings `FIRST_COMPLETED`, `FIRST_EXCEPTION` and `ALL_COMPLETED` in `_base.py`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReturnWhen {
    /// As soon as any future finishes or is cancelled.
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

    /// What `wait` and `as_completed` mean by done: a cancelled future is not, until those who wait
    /// for it were told.
    fn is_settled(self) -> bool {
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

/// How grave a [`LogRecord`] is.
///
/// CPython: the levels of `logging` that `concurrent.futures` uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Level {
    /// A callback panicked; whatever it was called for went on.
    Error,
    /// An initializer failed, or a future was used against the rules.
    Critical,
}

/// What a [logger](set_logger) is told.
///
/// CPython: a call of `LOGGER.exception` or `LOGGER.critical`.
#[derive(Debug)]
pub struct LogRecord<'a> {
    level: Level,
    message: &'a str,
    exception: Option<&'a Exception>,
}

impl LogRecord<'_> {
    /// How grave it is.
    pub fn level(&self) -> Level {
        self.level
    }

    /// CPython's message, such as `exception calling callback for <Future at 0x... state=finished
    /// returned i32>`.
    pub fn message(&self) -> &str {
        self.message
    }

    /// The exception that is reported, if the report is about one: CPython's `exc_info`.
    pub fn exception(&self) -> Option<&Exception> {
        self.exception
    }
}

type Logger = dyn Fn(&LogRecord<'_>) + Send + Sync;

static LOGGER: process::sync::Mutex<Option<Arc<Logger>>> = process::sync::Mutex::new(None);

fn swap_logger(logger: Option<Arc<Logger>>) -> Option<Arc<Logger>> {
    let mut current = LOGGER.lock().unwrap_or_else(PoisonError::into_inner);
    mem::replace(&mut *current, logger)
}

/// Sends this crate's log records to `logger`, for the whole process, instead of to standard error.
///
/// What is logged is what has nowhere else to go: a panic in a callback or in an initializer, a
/// future that was completed behind its executor's back. Exceptions of tasks are not logged; they
/// are kept in the task's future.
///
/// The logger runs on whichever thread has something to report, while no lock of this crate is
/// held, and may use any of its functions. A panic in it is caught and ignored. The logger that was
/// set before is dropped.
///
/// ```
/// use concurrent_futures::{set_logger, Future};
/// use std::sync::mpsc;
///
/// let (sender, receiver) = mpsc::channel();
/// let sender = std::sync::Mutex::new(sender);
/// set_logger(move |record| {
///     let _ = sender.lock().unwrap().send(record.message().to_owned());
/// });
///
/// let future = Future::new();
/// future.add_done_callback(|_| panic!("no"));
/// future.set_result(1).unwrap();
/// assert!(receiver.recv().unwrap().starts_with("exception calling callback for <Future at 0x"));
/// ```
///
/// CPython: `LOGGER` in `_base.py`, and `logging.Logger.addHandler`.
pub fn set_logger(logger: impl Fn(&LogRecord<'_>) + Send + Sync + 'static) {
    drop(swap_logger(Some(Arc::new(logger))));
}

/// Logs. Call it without holding any lock.
pub(super) fn log(level: Level, message: &str, exception: Option<&Exception>) {
    let logger = LOGGER
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let record = LogRecord {
        level,
        message,
        exception,
    };
    // A logger that panics, or panics when it is dropped, has nobody to report to. It may be dropped
    // here: another may have been set meanwhile, even by itself.
    let called = catch_unwind(AssertUnwindSafe(|| match &logger {
        Some(logger) => logger(&record),
        None => log_to_stderr(&record),
    }));
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(logger)));
    for outcome in [called, dropped] {
        if let Err(payload) = outcome {
            drop_payload(payload);
        }
    }
}

fn log_to_stderr(record: &LogRecord<'_>) {
    let mut text = record.message.to_owned();
    if let Some(exception) = record.exception {
        text = format!("{}\n{}: {}", text, exception.type_name(), exception);
    }
    // Not `eprintln!`, which panics when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{}", text);
}

/// Runs what may panic where nothing can be done about it but log: `Drop` of a user's value, most
/// often.
pub(super) fn log_panic(message: &str, f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
        log(
            Level::Critical,
            message,
            Some(&Exception::from_panic(payload)),
        );
    }
}

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

/// What a call raised: the error that it returned, or the payload of its panic. A clone refers to
/// the same exception.
///
/// Every error type converts into it, so that `?` works in a function that returns
/// `Result<T, Exception>`. For that reason it cannot implement `std::error::Error` itself; see
/// [`as_error`](Exception::as_error).
///
/// ```
/// use concurrent_futures::Exception;
///
/// fn parse(text: &str) -> Result<i32, Exception> {
///     if text.is_empty() {
///         return Err(Exception::msg("nothing to parse"));
///     }
///     Ok(text.parse()?)
/// }
///
/// let exception = parse("x").unwrap_err();
/// assert!(exception.downcast_ref::<std::num::ParseIntError>().is_some());
/// assert_eq!(exception.type_name(), "ParseIntError");
/// ```
///
/// CPython: `BaseException`.
#[derive(Clone)]
pub struct Exception(Arc<Raised>);

enum Raised {
    Error {
        type_name: &'static str,
        error: Box<dyn StdError + Send + Sync>,
    },
    Panic {
        message: Option<String>,
        payload: Mutex<Option<Box<dyn Any + Send>>>,
    },
}

// An exception is only looked at, but for a payload, which is only taken.
impl UnwindSafe for Raised {}
impl RefUnwindSafe for Raised {}

impl Exception {
    /// An exception that is this error.
    pub fn new<E: StdError + Send + Sync + 'static>(error: E) -> Self {
        Exception(Arc::new(Raised::Error {
            type_name: type_name::<E>(),
            error: Box::new(error),
        }))
    }

    /// An exception that is this error. The name of its type is no longer known, and given as
    /// `Error`.
    pub fn from_boxed(error: Box<dyn StdError + Send + Sync>) -> Self {
        Exception(Arc::new(Raised::Error {
            type_name: "Error",
            error,
        }))
    }

    /// An exception that is a panic, from what `catch_unwind` or `JoinHandle::join` returned.
    pub fn from_panic(payload: Box<dyn Any + Send>) -> Self {
        let message = match payload.downcast_ref::<&'static str>() {
            Some(text) => Some((*text).to_owned()),
            None => payload.downcast_ref::<String>().cloned(),
        };
        Exception(Arc::new(Raised::Panic {
            message,
            payload: Mutex::new(Some(payload)),
        }))
    }

    /// An exception that is just a text: `Exception("text")` in Python.
    pub fn msg(text: impl Into<String>) -> Self {
        Exception(Arc::new(Raised::Error {
            type_name: "Exception",
            error: Box::new(Message(text.into())),
        }))
    }

    /// The error, unless the exception is a panic.
    pub fn as_error(&self) -> Option<&(dyn StdError + Send + Sync + 'static)> {
        match &*self.0 {
            Raised::Error { error, .. } => Some(&**error),
            Raised::Panic { .. } => None,
        }
    }

    /// The error, if it is an `E`: what `except E as error` does in Python.
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        self.as_error().and_then(|error| error.downcast_ref())
    }

    /// Whether the call panicked.
    pub fn is_panic(&self) -> bool {
        matches!(&*self.0, Raised::Panic { .. })
    }

    /// The text that the call panicked with; `None` for a payload that is no text, and for an
    /// exception that is no panic. It stays when the payload is taken.
    pub fn panic_message(&self) -> Option<&str> {
        match &*self.0 {
            Raised::Panic { message, .. } => message.as_deref(),
            Raised::Error { .. } => None,
        }
    }

    /// Moves the panic's payload out, for `std::panic::resume_unwind` or a look at its type. The
    /// first caller gets it, whichever clone it is called on; later ones get `None`.
    pub fn take_panic(&self) -> Option<Box<dyn Any + Send>> {
        match &*self.0 {
            Raised::Panic { payload, .. } => lock(payload).take(),
            Raised::Error { .. } => None,
        }
    }

    /// The name of the error's type without its module path, such as `ParseIntError`, and `panic`
    /// for a panic: `type(exception).__name__` in Python.
    pub fn type_name(&self) -> String {
        match &*self.0 {
            Raised::Error { type_name, .. } => without_paths(type_name),
            Raised::Panic { .. } => "panic".to_owned(),
        }
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Exception {
    fn from(error: E) -> Self {
        Exception::new(error)
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Raised::Error { error, .. } => error.fmt(f),
            Raised::Panic { message, .. } => {
                f.pad(message.as_deref().unwrap_or("a payload that is no text"))
            }
        }
    }
}

impl fmt::Debug for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Raised::Error { error, .. } => error.fmt(f),
            Raised::Panic { message, .. } => f.debug_tuple("Panic").field(message).finish(),
        }
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        if let Raised::Panic { payload, .. } = self {
            if let Some(payload) = lock(payload).take() {
                drop_payload(payload);
            }
        }
    }
}

/// Drops a panic's payload, whose own `Drop` may panic in turn, and again. Not for ever: what still
/// panics after a few rounds is leaked.
fn drop_payload(mut payload: Box<dyn Any + Send>) {
    for _ in 0..8 {
        match catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            Ok(()) => return,
            Err(next) => payload = next,
        }
    }
    mem::forget(payload);
}

struct Message(String);

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Exception").field(&self.0).finish()
    }
}

impl StdError for Message {}

/// `alloc::vec::Vec<alloc::string::String>` without the module paths: `Vec<String>`.
fn without_paths(type_name: &str) -> String {
    let mut short = String::with_capacity(type_name.len());
    let mut rest = type_name;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
            .unwrap_or(rest.len());
        let (path, after) = rest.split_at(end);
        short.push_str(path.rsplit("::").next().unwrap_or(path));
        let mut separators = after.chars();
        short.extend(separators.next());
        rest = separators.as_str();
    }
    short
}

/// Not all futures were done in time: what [`as_completed`]'s iterator ends with.
///
/// CPython: the `TimeoutError` that `as_completed` raises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeoutError {
    unfinished: usize,
    total: usize,
}

impl TimeoutError {
    /// How many of the futures had not been yielded.
    pub fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// How many futures there were, each counted once.
    pub fn total(&self) -> usize {
        self.total
    }
}

impl fmt::Display for TimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} (of {}) futures unfinished",
            self.unfinished, self.total
        )
    }
}

impl StdError for TimeoutError {}

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

/// An argument is out of range. `Display` writes CPython's message, such as `max_workers must be
/// greater than 0`.
///
/// CPython: `ValueError`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueError {
    message: &'static str,
}

impl ValueError {
    /// For executors: which argument, and what it should have been.
    pub fn new(message: &'static str) -> Self {
        ValueError { message }
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.message)
    }
}

impl StdError for ValueError {}

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
    /// An option of [`map_with`](Executor::map_with) is out of range.
    Value(ValueError),
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
            SubmitError::Value(error) => error.fmt(f),
        }
    }
}

impl StdError for SubmitError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            SubmitError::Thread(error) => Some(error),
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

/// Provides the event that [`wait`] and [`as_completed`] block on, and collects the futures that
/// have finished meanwhile: each as its position in the waiting thread's list, so that a waiter
/// keeps no future alive and need not know its type.
///
/// CPython: `_Waiter` in `_base.py`, the base class.
pub struct _Waiter {
    event: Event,
    finished_futures: Mutex<Vec<usize>>,
}

impl _Waiter {
    fn new() -> Self {
        _Waiter {
            event: Event::new(),
            finished_futures: Mutex::new(Vec::new()),
        }
    }

    fn append(&self, future: usize) {
        lock(&self.finished_futures).push(future);
    }
}

/// What a future calls when it is done, once, while its condition is held.
///
/// CPython: the methods that every `_Waiter` has.
pub trait Waiter: Send + Sync {
    fn base(&self) -> &_Waiter;

    fn add_result(&self, future: usize);

    fn add_exception(&self, future: usize) {
        self.add_result(future);
    }

    fn add_cancelled(&self, future: usize) {
        self.add_result(future);
    }
}

/// Used by [`as_completed`]. CPython: `_AsCompletedWaiter` in `_base.py`.
struct _AsCompletedWaiter(_Waiter);

impl _AsCompletedWaiter {
    /// The futures that were added since the last call, in finishing order.
    fn take_finished_futures(&self) -> Vec<usize> {
        let mut finished_futures = lock(&self.0.finished_futures);
        // With the lock held, lest a future be added, and its event lost, between the two.
        self.0.event.clear();
        mem::take(&mut *finished_futures)
    }
}

impl Waiter for _AsCompletedWaiter {
    fn base(&self) -> &_Waiter {
        &self.0
    }

    fn add_result(&self, future: usize) {
        let mut finished_futures = lock(&self.0.finished_futures);
        finished_futures.push(future);
        // Behind another future, the event is set already: it is cleared when the list is emptied.
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

    fn add_result(&self, future: usize) {
        self.0.append(future);
        self.0.event.set();
    }
}

/// Used by [`wait`] for `FIRST_EXCEPTION` and `ALL_COMPLETED`. CPython: `_AllCompletedWaiter` in
/// `_base.py`.
struct _AllCompletedWaiter {
    base: _Waiter,
    num_pending_calls: Mutex<usize>,
    stop_on_exception: bool,
}

impl _AllCompletedWaiter {
    fn new(num_pending_calls: usize, stop_on_exception: bool) -> Self {
        _AllCompletedWaiter {
            base: _Waiter::new(),
            num_pending_calls: Mutex::new(num_pending_calls),
            stop_on_exception,
        }
    }

    fn _decrement_pending_calls(&self) {
        let mut num_pending_calls = lock(&self.num_pending_calls);
        *num_pending_calls -= 1;
        if *num_pending_calls == 0 {
            self.base.event.set();
        }
    }
}

impl Waiter for _AllCompletedWaiter {
    fn base(&self) -> &_Waiter {
        &self.base
    }

    fn add_result(&self, future: usize) {
        self.base.append(future);
        self._decrement_pending_calls();
    }

    fn add_exception(&self, future: usize) {
        self.base.append(future);
        if self.stop_on_exception {
            self.base.event.set();
        } else {
            self._decrement_pending_calls();
        }
    }
}

/// A waiter as a future knows it.
pub struct Installed {
    waiter: Arc<dyn Waiter>,
    /// Where the future stands in the waiting thread's list. Not a handle to the future itself: a
    /// waiter must not keep one alive.
    position: usize,
}

/// What [`wait`] and [`as_completed`] take: a [`Future`], or an [`AnyFuture`](super::AnyFuture).
///
/// It cannot be implemented elsewhere. Of its methods, nothing is promised.
pub trait Waitable<T>: Clone + Eq + Hash + fmt::Debug {
    /// The type itself.
    type Handle;

    #[doc(hidden)]
    fn id(&self) -> usize;

    /// Whether there may be another handle.
    #[doc(hidden)]
    fn is_shared(&self) -> bool;

    #[doc(hidden)]
    fn acquire(fs: &Futures<Self>) -> _AcquireFutures<'_>;

    #[doc(hidden)]
    fn remove_waiter(&self, waiter: &_Waiter);
}

impl<T> Waitable<T> for Future<T> {
    type Handle = Self;

    fn id(&self) -> usize {
        Future::id(self)
    }

    fn is_shared(&self) -> bool {
        Arc::strong_count(&self.promise) > 1
    }

    fn acquire(fs: &Futures<Self>) -> _AcquireFutures<'_> {
        _AcquireFutures::new(
            fs.iter()
                .map(|(position, future)| (position, future.acquire())),
        )
    }

    fn remove_waiter(&self, waiter: &_Waiter) {
        self.acquire()
            .waiters
            .retain(|installed| !std::ptr::eq(installed.waiter.base(), waiter));
    }
}

/// Futures without duplicates: what `set(fs)` is in Python.
pub struct Futures<F> {
    /// In the order given; a duplicate of an earlier one, or one that was yielded, is `None`.
    given: Vec<Option<F>>,
    /// The positions in `given`, in an order in which several may be held at once.
    ordered: Vec<usize>,
}

impl<F> Futures<F> {
    fn new<T>(fs: impl IntoIterator<Item = F>) -> Self
    where
        F: Waitable<T>,
    {
        let mut given: Vec<_> = fs.into_iter().map(Some).collect();
        let mut ordered = Vec::with_capacity(given.len());
        let mut shared = Vec::new();
        // None is missing yet, so these are the positions.
        for (position, future) in given.iter().flatten().enumerate() {
            // A handle that is the only one has no duplicate, and nobody else can hold its future.
            if future.is_shared() {
                shared.push((future.id(), position));
            } else {
                ordered.push(position);
            }
        }
        // By address, and of several handles to one future, the first.
        shared.sort_unstable();
        let mut previous_id = None;
        for (id, position) in shared {
            if previous_id.replace(id) == Some(id) {
                given[position] = None;
            } else {
                ordered.push(position);
            }
        }
        Futures { given, ordered }
    }

    /// How many there were.
    fn len(&self) -> usize {
        self.ordered.len()
    }

    /// Those still there, with their positions, in the order in which they may be held.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &F)> + '_ {
        self.ordered
            .iter()
            .filter_map(move |&position| Some((position, self.given[position].as_ref()?)))
    }

    fn move_to(&mut self, set: &mut HashSet<F>, positions: Vec<usize>)
    where
        F: Eq + Hash,
    {
        // A set that grows hashes everything anew.
        set.reserve(positions.len());
        let futures = positions
            .into_iter()
            .filter_map(|position| self.given[position].take());
        set.extend(futures);
    }

    /// Takes the waiter out of every future still there; from a settled one it is gone already.
    fn remove_waiter<T>(&self, waiter: &_Waiter)
    where
        F: Waitable<T>,
    {
        for (_, future) in self.iter() {
            future.remove_waiter(waiter);
        }
    }
}

/// A future whose condition is held, be it known as a `Future` or as an `AnyFuture`.
pub trait AcquiredFuture {
    fn state(&self) -> State;

    fn has_exception(&self) -> bool;

    fn install(&mut self, installed: Installed);
}

impl<T> AcquiredFuture for Acquired<'_, Shared<T>> {
    fn state(&self) -> State {
        self.state
    }

    fn has_exception(&self) -> bool {
        matches!(self.outcome, Outcome::Exception(_))
    }

    fn install(&mut self, installed: Installed) {
        // One waiter is the common case, and room for four is what `push` would make.
        if self.waiters.is_empty() {
            self.waiters.reserve_exact(1);
        }
        self.waiters.push(installed);
    }
}

/// Holds the conditions of several futures at once, so that no future can get done between a look
/// at its state and the installation of a waiter, nor one before another is looked at. A future that
/// is settled need not be held: nothing will change about it.
///
/// Always in the order of their addresses: two threads that wait for the same futures, given in
/// different orders, would otherwise each hold what the other needs. (Futures of which there
/// is no other handle come first, in any order: nobody else can hold them.)
///
/// CPython: `_AcquireFutures` in `_base.py`.
pub struct _AcquireFutures<'a> {
    /// The positions of the settled ones.
    done: Vec<usize>,
    /// Whether one of these has an exception.
    failed: bool,
    /// The others, which are held.
    not_done: Box<dyn AcquiredAll + 'a>,
}

impl<'a> _AcquireFutures<'a> {
    /// `fs` acquires each future when it is asked for it.
    pub(super) fn new(fs: impl Iterator<Item = (usize, impl AcquiredFuture + 'a)>) -> Self {
        let mut done = Vec::new();
        let mut failed = false;
        let mut not_done = Vec::new();
        for (position, future) in fs {
            if future.state().is_settled() {
                done.push(position);
                failed |= future.has_exception();
            } else {
                not_done.push((position, future));
            }
        }
        _AcquireFutures {
            done,
            failed,
            not_done: Box::new(not_done),
        }
    }
}

/// The held futures of an `_AcquireFutures`. Behind a trait, so that it need not know whether they
/// are `Future`s or `AnyFuture`s.
trait AcquiredAll {
    fn install(&mut self, waiter: &Arc<dyn Waiter>);
}

impl<G: AcquiredFuture> AcquiredAll for Vec<(usize, G)> {
    fn install(&mut self, waiter: &Arc<dyn Waiter>) {
        for (position, future) in self {
            future.install(Installed {
                waiter: Arc::clone(waiter),
                position: *position,
            });
        }
    }
}

/// CPython: `_create_and_install_waiters` in `_base.py`; [`as_completed`] makes its waiter itself,
/// since it has to know its type.
fn _create_and_install_waiters(
    fs: &mut _AcquireFutures<'_>,
    pending_count: usize,
    return_when: ReturnWhen,
) -> Arc<dyn Waiter> {
    let waiter: Arc<dyn Waiter> = match return_when {
        ReturnWhen::FirstCompleted => Arc::new(_FirstCompletedWaiter(_Waiter::new())),
        ReturnWhen::FirstException => Arc::new(_AllCompletedWaiter::new(pending_count, true)),
        ReturnWhen::AllCompleted => Arc::new(_AllCompletedWaiter::new(pending_count, false)),
    };
    fs.not_done.install(&waiter);
    waiter
}

/// The iterator that [`as_completed`] returns.
pub struct AsCompleted<T, F: Waitable<T> = Future<T>> {
    fs: Futures<F>,
    /// How many were not yielded yet.
    pending: usize,
    /// Done and not yielded yet, in the order in which to yield them.
    finished: IntoIter<usize>,
    waiter: Arc<_AsCompletedWaiter>,
    deadline: Deadline,
    value: PhantomData<fn() -> T>,
}

impl<T, F: Waitable<T>> AsCompleted<T, F> {
    /// The next of those known to be done. It is moved out, so that nothing keeps it alive once it
    /// is yielded. Its waiter it forgot when it told it.
    ///
    /// CPython: `_yield_finished_futures` in `_base.py`.
    fn _yield_finished_futures(&mut self) -> Option<F> {
        let position = self.finished.next()?;
        self.pending -= 1;
        self.fs.given[position].take()
    }

    /// Lets go of the futures that were not yielded.
    fn finish(&mut self) {
        self.fs.remove_waiter(&self.waiter.0);
        self.fs.given.clear();
        self.fs.ordered.clear();
        self.finished = Vec::new().into_iter();
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
pub fn as_completed<T, F: Waitable<T>>(
    fs: impl IntoIterator<Item = F>,
    timeout: impl Into<Option<Duration>>,
) -> AsCompleted<T, F> {
    let deadline = Deadline::after(timeout.into());
    let fs = Futures::new(fs);
    let waiter = Arc::new(_AsCompletedWaiter(_Waiter::new()));
    let mut acquired = F::acquire(&fs);
    let dyn_waiter: Arc<dyn Waiter> = Arc::clone(&waiter) as _;
    acquired.not_done.install(&dyn_waiter);
    let done = mem::take(&mut acquired.done);
    drop(acquired);
    // In the order given, and faster than to sort them.
    let mut is_done = vec![false; fs.given.len()];
    for position in done {
        is_done[position] = true;
    }
    let finished: Vec<_> = (0..is_done.len())
        .filter(|&position| is_done[position])
        .collect();
    AsCompleted {
        pending: fs.len(),
        finished: finished.into_iter(),
        fs,
        waiter,
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
                let error = TimeoutError {
                    unfinished: self.pending,
                    total: self.fs.len(),
                };
                self.finish();
                return Some(Err(error));
            }
            self.waiter.0.event.wait(self.deadline);
            self.finished = self.waiter.take_finished_futures().into_iter();
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
        self.finish();
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
/// CPython: `DoneAndNotDoneFutures` in `_base.py`.
pub struct DoneAndNotDoneFutures<T, F: Waitable<T> = Future<T>> {
    /// Finished, or cancelled.
    pub done: HashSet<F::Handle>,
    /// All others.
    pub not_done: HashSet<F::Handle>,
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
pub fn wait<T, F: Waitable<T, Handle = F>>(
    fs: impl IntoIterator<Item = F>,
    timeout: impl Into<Option<Duration>>,
    return_when: ReturnWhen,
) -> DoneAndNotDoneFutures<T, F> {
    let deadline = Deadline::after(timeout.into());
    let mut fs = Futures::new(fs);
    let mut waited = DoneAndNotDoneFutures {
        done: HashSet::new(),
        not_done: HashSet::new(),
    };
    let mut acquired = F::acquire(&fs);
    let done = mem::take(&mut acquired.done);
    let pending_count = fs.len() - done.len();
    let enough = match return_when {
        ReturnWhen::FirstCompleted => !done.is_empty(),
        ReturnWhen::FirstException => acquired.failed,
        ReturnWhen::AllCompleted => false,
    };
    if enough || pending_count == 0 {
        drop(acquired);
        fs.move_to(&mut waited.done, done);
    } else {
        let waiter = _create_and_install_waiters(&mut acquired, pending_count, return_when);
        drop(acquired);
        let waiter = waiter.base();
        let finished_futures = || mem::take(&mut *lock(&waiter.finished_futures));
        fs.move_to(&mut waited.done, done);
        waiter.event.wait(deadline);
        fs.move_to(&mut waited.done, finished_futures());
        // The others may tell it as long as it is installed there.
        fs.remove_waiter(waiter);
        fs.move_to(&mut waited.done, finished_futures());
    }
    waited.not_done.reserve(fs.len() - waited.done.len());
    waited.not_done.extend(fs.given.into_iter().flatten());
    waited
}

/// The result of a future that nobody else asks for: if it is not done in time, it is cancelled.
///
/// CPython: `_result_or_cancel` in `_base.py`.
fn _result_or_cancel<T>(fut: &Future<T>, deadline: Deadline) -> Result<T, Error> {
    let result = fut.take(deadline);
    fut.cancel();
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
    promise: Arc<Promise<T>>,
    /// The async task that awaits this very handle; see awaiting.rs.
    pub(super) task: Option<Arc<Task>>,
}

/// A future as its executor made it: with the work that will complete it, in one allocation. Where
/// the type of that work is not known, it is only kept.
pub(super) struct Promise<T, W: ?Sized = dyn Work> {
    condition: Condition<Shared<T>>,
    pub(super) work: W,
}

/// What must be true of the work for the future to be shared among threads.
pub(super) trait Work: Send + Sync + UnwindSafe + RefUnwindSafe {}

impl<W: Send + Sync + UnwindSafe + RefUnwindSafe> Work for W {}

impl<T, W: Work + 'static> Promise<T, W> {
    /// For a pool; see [`Shared::made_by_pool`].
    pub(super) fn new(work: W) -> Arc<Self> {
        Promise::pending(work, true)
    }

    fn pending(work: W, made_by_pool: bool) -> Arc<Self> {
        Arc::new(Promise {
            condition: Condition::new(Shared {
                state: State::Pending,
                made_by_pool,
                outcome: Outcome::None,
                waiters: Vec::new(),
                done_callbacks: Vec::new(),
            }),
            work,
        })
    }

    pub(super) fn into_future(self: Arc<Self>) -> Future<T> {
        Future {
            promise: self,
            task: None,
        }
    }
}

pub struct Shared<T> {
    state: State,
    /// A future that a pool made tells its waiters itself when it is cancelled. In CPython, a worker
    /// does that once it meets the future's work item, which may be late or never.
    made_by_pool: bool,
    /// Python's `_result` and `_exception`.
    outcome: Outcome<T>,
    /// To be told when the future is settled; empty from then on.
    waiters: Vec<Installed>,
    /// To be called when the future is done; empty from then on.
    pub(super) done_callbacks: Vec<Box<dyn Callback<T>>>,
}

enum Outcome<T> {
    /// Not finished yet, or cancelled, or the value was taken.
    None,
    Value(T),
    /// Moved out by `result`, which puts it back when it has cloned it.
    Lent,
    Exception(Exception),
}

impl<T> Shared<T> {
    pub(super) fn is_done(&self) -> bool {
        self.state.is_done()
    }

    fn is_lent(&self) -> bool {
        matches!(self.outcome, Outcome::Lent)
    }

    /// Tells the waiters that the future was cancelled.
    fn notify_cancel(&mut self) {
        self.state = State::CancelledAndNotified;
        for Installed { waiter, position } in mem::take(&mut self.waiters) {
            waiter.add_cancelled(position);
        }
    }
}

impl<T> Future<T> {
    /// A future that is pending until somebody completes it. For executors and tests; the futures of
    /// your calls come from [`Executor::submit`].
    ///
    /// CPython: `Future.__init__` in `_base.py`.
    pub fn new() -> Self {
        Promise::pending((), false).into_future()
    }

    /// Python's `id(future)`.
    pub(super) fn id(&self) -> usize {
        Arc::as_ptr(&self.promise) as *const () as usize
    }

    pub(super) fn acquire(&self) -> Acquired<'_, Shared<T>> {
        self.promise.condition.acquire()
    }

    fn _invoke_callbacks(&self, done_callbacks: Vec<Box<dyn Callback<T>>>) {
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
            log(
                Level::Error,
                &format!("exception calling callback for {:?}", self),
                Some(&Exception::from_panic(payload)),
            );
        }
    }

    /// Cancels the call if it has not started, and says whether it is cancelled: `false` if it is
    /// running or finished, `true` if it was cancelled now or before.
    ///
    /// Threads that wait in [`result`](Future::result) and [`exception`](Future::exception) are
    /// woken, and the done-callbacks are called on this thread before `cancel` returns.
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
            State::Cancelled | State::CancelledAndNotified => return true,
            State::Pending => {}
        }
        shared.state = State::Cancelled;
        if shared.made_by_pool {
            shared.notify_cancel();
        }
        let done_callbacks = mem::take(&mut shared.done_callbacks);
        shared.notify_all();
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

    /// The state.
    ///
    /// CPython: `Future._state` in `_base.py`.
    pub fn state(&self) -> State {
        self.acquire().state
    }

    /// Waits for the value, and returns with the lock held and the value in its place.
    ///
    /// CPython: `Future.__get_result` in `_base.py`, and the waiting half of `Future.result`.
    fn __get_result(&self, deadline: Deadline) -> Result<Acquired<'_, Shared<T>>, Error> {
        let mut shared = self.promise.condition.wait_for(
            |shared| shared.state.is_done() && !shared.is_lent(),
            deadline,
        );
        if shared.is_lent() {
            // The future is done, so this is no time-out; and the value will be put back.
            drop(shared);
            shared = self
                .promise
                .condition
                .wait_for(|shared| !shared.is_lent(), Deadline::Never);
        }
        match (shared.state, &shared.outcome) {
            (State::Cancelled | State::CancelledAndNotified, _) => Err(Error::Cancelled),
            (State::Pending | State::Running, _) => Err(Error::Timeout),
            (State::Finished, Outcome::Value(_)) => Ok(shared),
            (State::Finished, Outcome::Exception(exception)) => {
                Err(Error::Exception(exception.clone()))
            }
            (State::Finished, _) => Err(Error::Taken),
        }
    }

    /// Has `callback` called with this future when it is done: by the thread that completes or
    /// cancels it, or right now if it is done already. Callbacks are called in the order in which
    /// they were added, each exactly once, and no lock is held meanwhile.
    ///
    /// A callback that panics is logged (see [`set_logger`]), and the next one is called. Callbacks
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
            shared.done_callbacks.push(callback);
            return;
        }
        drop(shared);
        self._invoke_callbacks(vec![callback]);
    }

    /// A clone of the value that the call returned. Blocks until the call is done, for at most
    /// `timeout`; `None` is no limit, and zero does not wait.
    ///
    /// The value is cloned with no lock held. Until that is done, others who ask for it wait, so
    /// `T::clone` must not ask this same future for its result.
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
        let mut shared = self.__get_result(Deadline::after(timeout.into()))?;
        let lent = LentValue {
            future: self,
            value: mem::replace(&mut shared.outcome, Outcome::Lent),
        };
        drop(shared);
        match &lent.value {
            Outcome::Value(value) => Ok(value.clone()),
            _ => Err(Error::Taken),
        }
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
        let mut shared = self.__get_result(deadline)?;
        match mem::replace(&mut shared.outcome, Outcome::None) {
            Outcome::Value(value) => Ok(value),
            _ => Err(Error::Taken),
        }
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
        let shared = self
            .promise
            .condition
            .wait_for(|shared| shared.state.is_done(), deadline);
        match (shared.state, &shared.outcome) {
            (State::Cancelled | State::CancelledAndNotified, _) => Err(Error::Cancelled),
            (State::Pending | State::Running, _) => Err(Error::Timeout),
            (State::Finished, Outcome::Exception(exception)) => Ok(Some(exception.clone())),
            (State::Finished, _) => Ok(None),
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
    /// If the call is running or done, or if this has told of its cancellation before. That is also
    /// logged.
    ///
    /// **Differs from CPython:** for a cancelled future that a pool made, `false` every time, since
    /// `cancel` has told everybody already.
    ///
    /// CPython: `Future.set_running_or_notify_cancel` in `_base.py`, where the error is a
    /// `RuntimeError`.
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
            State::CancelledAndNotified if shared.made_by_pool => Ok(false),
            state => {
                drop(shared);
                log(
                    Level::Critical,
                    &format!("Future {} in unexpected state: {}", self.id(), state),
                    None,
                );
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
        self.finish(Ok(value), || ())
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
        self.finish(Err(exception.into()), || ())
    }

    /// Completes the call: `set_result` and `set_exception` in one.
    ///
    /// If no code of the user's can run on this thread from here on, neither a callback nor `Drop` of
    /// the value, then `last_act` is called before anybody can see the outcome.
    pub(super) fn finish(
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
        let waiters = mem::take(&mut shared.waiters);
        let done_callbacks = mem::take(&mut shared.done_callbacks);
        shared.state = State::Finished;
        match outcome {
            Ok(value) => {
                shared.outcome = Outcome::Value(value);
                if done_callbacks.is_empty() && !mem::needs_drop::<T>() {
                    last_act();
                }
                for installed in &waiters {
                    installed.waiter.add_result(installed.position);
                }
            }
            Err(exception) => {
                shared.outcome = Outcome::Exception(exception);
                for installed in &waiters {
                    installed.waiter.add_exception(installed.position);
                }
            }
        }
        shared.notify_all();
        self._invoke_callbacks(done_callbacks);
        Ok(())
    }
}

/// CPython: `Future.__repr__` in `_base.py`.
impl<T> fmt::Debug for Future<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = self.acquire();
        let state = shared.state;
        let exception = match &shared.outcome {
            Outcome::Exception(exception) => Some(exception.clone()),
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

impl<T> Default for Future<T> {
    fn default() -> Self {
        Future::new()
    }
}

impl<T> Clone for Future<T> {
    fn clone(&self) -> Self {
        Future {
            promise: Arc::clone(&self.promise),
            task: None,
        }
    }
}

impl<T> PartialEq for Future<T> {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl<T> Eq for Future<T> {}

impl<T> Hash for Future<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id().hash(state);
    }
}

/// Puts the value back into its future, also when `clone` panics.
struct LentValue<'a, T> {
    future: &'a Future<T>,
    value: Outcome<T>,
}

impl<T> Drop for LentValue<'_, T> {
    fn drop(&mut self) {
        let mut shared = self.future.acquire();
        shared.outcome = mem::replace(&mut self.value, Outcome::None);
        shared.notify_all();
    }
}

/// A done-callback.
///
/// Callbacks are added only where `T: 'static`, while futures are completed and dropped for any `T`.
/// What needs that bound is a method here, so that it is compiled where the callback is added.
pub trait Callback<T>: Send {
    fn call(self: Box<Self>, future: &Future<T>);

    /// The call, to be made later.
    fn postpone(self: Box<Self>, future: Future<T>) -> Box<dyn FnOnce()>;

    /// The drop of the callback, to be done later.
    fn discard(self: Box<Self>) -> Box<dyn FnOnce()>;

    /// Whether it is there to wake this task.
    fn wakes(&self, _task: &Task) -> bool {
        false
    }
}

impl<T: 'static, F: FnOnce(&Future<T>) + Send + 'static> Callback<T> for F {
    fn call(self: Box<Self>, future: &Future<T>) {
        self(future);
    }

    fn postpone(self: Box<Self>, future: Future<T>) -> Box<dyn FnOnce()> {
        Box::new(move || future.invoke(self))
    }

    fn discard(self: Box<Self>) -> Box<dyn FnOnce()> {
        Box::new(move || drop(self))
    }
}

/// One level of callbacks, or of dropping them, within others.
///
/// A callback may complete a future whose callback completes the next, and so on; and a future that
/// is dropped drops its callbacks, and with them the futures that they hold. Such a chain may be
/// longer than any stack. So only a few levels nest, as all do in CPython; what would go deeper is
/// left to the outermost level, which does it in order before it ends. (In CPython, a chain of some
/// hundred ends with a `RecursionError` in the log, and what is left of it is never completed.)
struct Nesting;

struct Nested {
    depth: usize,
    postponed: VecDeque<Box<dyn FnOnce()>>,
}

thread_local! {
    static NESTED: RefCell<Nested> = RefCell::new(Nested { depth: 0, postponed: VecDeque::new() });
}

impl Nesting {
    /// Enough for callbacks that use other futures, and few enough for a stack of 64 KiB.
    const MAXIMUM: usize = 16;

    /// Goes one level deeper, if there is one.
    fn enter() -> Option<Nesting> {
        let entered = NESTED.try_with(|nested| {
            let mut nested = nested.borrow_mut();
            if nested.depth == Nesting::MAXIMUM {
                return None;
            }
            nested.depth += 1;
            Some(Nesting)
        });
        // An error: the thread is ending, and its last destructors may nest as they like.
        entered.unwrap_or_else(|_| Some(Nesting))
    }

    /// Leaves something to the outermost level.
    fn postpone(work: Box<dyn FnOnce()>) {
        NESTED.with(|nested| nested.borrow_mut().postponed.push_back(work));
    }

    /// Leaves this level, unless it is the outermost and has to do what this returns first.
    fn leave() -> Option<Box<dyn FnOnce()>> {
        let left = NESTED.try_with(|nested| {
            let mut nested = nested.borrow_mut();
            if nested.depth == 1 && !nested.postponed.is_empty() {
                return nested.postponed.pop_front();
            }
            nested.depth -= 1;
            None
        });
        left.unwrap_or(None)
    }
}

impl Drop for Nesting {
    fn drop(&mut self) {
        while let Some(work) = Nesting::leave() {
            log_panic("exception ignored while dropping callbacks", work);
        }
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        if self.done_callbacks.is_empty() {
            return;
        }
        let done_callbacks = mem::take(&mut self.done_callbacks);
        match Nesting::enter() {
            Some(_level) => drop(done_callbacks),
            None => {
                for callback in done_callbacks {
                    Nesting::postpone(callback.discard());
                }
            }
        }
    }
}

/// How to shut an executor down: [`Executor::shutdown_with`].
///
/// ```
/// use concurrent_futures::ShutdownOptions;
///
/// let options = ShutdownOptions::new().wait(false).cancel_futures(true);
/// assert!(!options.wait && options.cancel_futures);
/// ```
///
/// CPython: the parameters of `Executor.shutdown` in `_base.py`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownOptions {
    /// Whether to return only when all calls are done and the executor's resources are given back.
    pub wait: bool,
    /// Whether to cancel the calls that have not started.
    pub cancel_futures: bool,
}

impl ShutdownOptions {
    /// Python's defaults: wait, and cancel nothing.
    pub fn new() -> Self {
        ShutdownOptions {
            wait: true,
            cancel_futures: false,
        }
    }

    /// Sets [`wait`](ShutdownOptions#structfield.wait).
    #[must_use]
    pub fn wait(mut self, wait: bool) -> Self {
        self.wait = wait;
        self
    }

    /// Sets [`cancel_futures`](ShutdownOptions#structfield.cancel_futures).
    #[must_use]
    pub fn cancel_futures(mut self, cancel_futures: bool) -> Self {
        self.cancel_futures = cancel_futures;
        self
    }
}

impl Default for ShutdownOptions {
    fn default() -> Self {
        ShutdownOptions::new()
    }
}

/// How to map: [`Executor::map_with`].
///
/// CPython: the keyword parameters of `Executor.map` in `_base.py`; `buffersize` is from 3.14.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MapOptions {
    /// The time for all results together, counted from the call of `map_with`; `None` is no limit.
    pub timeout: Option<Duration>,
    /// How many tasks may be in flight, so that an endless iterator can be mapped; `None` submits
    /// everything at the call. Zero is refused by `map_with`.
    pub buffersize: Option<usize>,
    /// How many items make one task, for many small items. Zero is refused by `map_with`.
    pub chunksize: usize,
}

impl MapOptions {
    /// Python's defaults: no time-out, everything submitted at the call, a task for each item.
    pub fn new() -> Self {
        MapOptions {
            timeout: None,
            buffersize: None,
            chunksize: 1,
        }
    }

    /// Sets [`timeout`](MapOptions#structfield.timeout).
    #[must_use]
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeout = timeout.into();
        self
    }

    /// Sets [`buffersize`](MapOptions#structfield.buffersize).
    #[must_use]
    pub fn buffersize(mut self, buffersize: impl Into<Option<usize>>) -> Self {
        self.buffersize = buffersize.into();
        self
    }

    /// Sets [`chunksize`](MapOptions#structfield.chunksize).
    #[must_use]
    pub fn chunksize(mut self, chunksize: usize) -> Self {
        self.chunksize = chunksize;
        self
    }
}

impl Default for MapOptions {
    fn default() -> Self {
        MapOptions::new()
    }
}

/// Something that executes calls asynchronously.
///
/// A new executor is two methods, [`try_submit`](Executor::try_submit) and
/// [`shutdown_with`](Executor::shutdown_with). It makes a [`Future`] for each call, asks
/// [`set_running_or_notify_cancel`] before it runs one, and completes it with
/// [`set_result`](Future::set_result) or [`set_exception`](Future::set_exception). A reference to
/// an executor is an executor, too.
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

    /// Takes no more calls from now on. May be called any number of times.
    ///
    /// CPython: `Executor.shutdown` in `_base.py`.
    fn shutdown_with(&self, options: ShutdownOptions);

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
        let mut map = self.try_map_with(f, iterable, MapOptions::new())?;
        // Everything is submitted, so nothing of the executor and the iterable is needed any more.
        Ok(Map {
            fs: mem::take(&mut map.fs),
            chunk: Vec::new().into_iter(),
            deadline: map.deadline,
            unsubmitted: None,
            refused: None,
            started: false,
        })
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
        if options.buffersize == Some(0) {
            return Err(ValueError::new("buffersize must be None or > 0").into());
        }
        if options.chunksize == 0 {
            return Err(ValueError::new("chunksize must be >= 1.").into());
        }
        let mut map = Map {
            fs: VecDeque::new(),
            chunk: Vec::new().into_iter(),
            deadline: Deadline::after(options.timeout),
            unsubmitted: Some(Unsubmitted {
                executor: self,
                f: Arc::new(move |item| f(item).map_err(Into::into)),
                iterator: iterable.into_iter(),
                chunksize: options.chunksize,
            }),
            refused: None,
            started: false,
        };
        while map.unsubmitted.is_some() && options.buffersize.map_or(true, |n| map.fs.len() < n) {
            map.submit_next();
        }
        match map.refused.take() {
            Some(error) => Err(error),
            None => Ok(map),
        }
    }

    /// [`shutdown_with`](Executor::shutdown_with) Python's defaults: waits until all calls are done
    /// and the executor's resources are given back, and cancels nothing.
    ///
    /// CPython: `Executor.shutdown` in `_base.py`.
    fn shutdown(&self) {
        self.shutdown_with(ShutdownOptions::new());
    }

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
        struct Exit<'a, X: Executor>(&'a X);

        impl<X: Executor> Drop for Exit<'_, X> {
            fn drop(&mut self) {
                self.0.shutdown();
            }
        }

        let _exit = Exit(&self);
        body(&self)
    }
}

impl<X: Executor + ?Sized> Executor for &X {
    fn try_submit<F, T, E>(&self, f: F) -> Result<Future<T>, SubmitError>
    where
        F: FnOnce() -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Into<Exception>,
    {
        (**self).try_submit(f)
    }

    fn shutdown_with(&self, options: ShutdownOptions) {
        (**self).shutdown_with(options);
    }
}

/// The iterator over the results of [`Executor::map`].
///
/// CPython: the generator that `Executor.map` returns.
pub struct Map<T, U = ()> {
    /// Submitted, and their results not taken yet, in the order of the items.
    fs: VecDeque<Future<Chunk<T>>>,
    /// What is left of the results that were taken last.
    chunk: IntoIter<Result<T, Exception>>,
    deadline: Deadline,
    unsubmitted: Option<U>,
    /// Why nothing more could be submitted.
    refused: Option<SubmitError>,
    /// A result was asked for. In CPython, a generator that never ran has no `finally` to run.
    started: bool,
}

/// The results of one task: one for each of its items, up to the first that failed.
type Chunk<T> = Vec<Result<T, Exception>>;

/// What a [`Map`] with a [`buffersize`](MapOptions::buffersize) has not submitted yet.
pub struct Unsubmitted<'a, X: ?Sized, I: Iterator, T> {
    executor: &'a X,
    f: Arc<MapFunction<I::Item, T>>,
    iterator: I,
    chunksize: usize,
}

type MapFunction<A, T> = dyn Fn(A) -> Result<T, Exception> + Send + Sync;

/// The iterator over the results of [`Executor::map_with`].
pub type MapWith<'a, X, I, T> = Map<T, Unsubmitted<'a, X, <I as IntoIterator>::IntoIter, T>>;

/// Where a [`Map`] gets its next task from; public only because `Map` mentions it.
pub trait Submit<T> {
    /// Submits the next items, if there are any.
    #[doc(hidden)]
    fn submit_next(&mut self) -> Option<Result<Future<Chunk<T>>, SubmitError>>;
}

/// The source of a map that has submitted everything.
impl<T> Submit<T> for () {
    fn submit_next(&mut self) -> Option<Result<Future<Chunk<T>>, SubmitError>> {
        None
    }
}

impl<X, I, T> Submit<T> for Unsubmitted<'_, X, I, T>
where
    X: Executor + ?Sized,
    I: Iterator,
    I::Item: Send + 'static,
    T: Send + 'static,
{
    fn submit_next(&mut self) -> Option<Result<Future<Chunk<T>>, SubmitError>> {
        let items: Vec<_> = self.iterator.by_ref().take(self.chunksize).collect();
        if items.is_empty() {
            return None;
        }
        let f = Arc::clone(&self.f);
        Some(self.executor.submit(move || _process_chunk(&*f, items)))
    }
}

/// CPython: `_process_chunk` in `process.py`, which loses the results that a failing item's chunk
/// had before it.
fn _process_chunk<A, T>(f: &MapFunction<A, T>, items: Vec<A>) -> Chunk<T> {
    let mut chunk = Vec::with_capacity(items.len());
    for item in items {
        let result = catch_unwind(AssertUnwindSafe(|| f(item)))
            .unwrap_or_else(|payload| Err(Exception::from_panic(payload)));
        let failed = result.is_err();
        chunk.push(result);
        if failed {
            break;
        }
    }
    chunk
}

impl<T, U: Submit<T>> Map<T, U> {
    fn submit_next(&mut self) {
        match self.unsubmitted.as_mut().and_then(Submit::submit_next) {
            Some(Ok(future)) => return self.fs.push_back(future),
            Some(Err(error)) => self.refused = Some(error),
            None => {}
        }
        self.unsubmitted = None;
    }
}

impl<T, U> Map<T, U> {
    /// Cancels what was not yielded: the iteration has ended.
    fn finish(&mut self) {
        self.unsubmitted = None;
        self.refused = None;
        self.chunk = Vec::new().into_iter();
        for future in mem::take(&mut self.fs) {
            future.cancel();
        }
    }
}

impl<T, U: Submit<T>> Iterator for Map<T, U> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.started = true;
        loop {
            match self.chunk.next() {
                Some(Ok(value)) => return Some(Ok(value)),
                Some(Err(exception)) => {
                    self.finish();
                    return Some(Err(Error::Exception(exception)));
                }
                None => {}
            }
            let future = match self.fs.pop_front() {
                Some(future) => future,
                None => {
                    let error = self.refused.take()?;
                    return Some(Err(Error::Exception(error.into())));
                }
            };
            match _result_or_cancel(&future, self.deadline) {
                Ok(chunk) => self.chunk = chunk.into_iter(),
                Err(error) => {
                    self.finish();
                    return Some(Err(error));
                }
            }
            // Only now: before its result was there, the future was one of those in flight.
            self.submit_next();
        }
    }
}

impl<T, U: Submit<T>> FusedIterator for Map<T, U> {}

impl<T, U> Drop for Map<T, U> {
    fn drop(&mut self) {
        if self.started {
            self.finish();
        }
    }
}

impl<T, U> fmt::Debug for Map<T, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("fs", &self.fs)
            .finish_non_exhaustive()
    }
}

/// An executor can no longer run anything, after a severe failure.
///
/// CPython: `BrokenExecutor` in `_base.py`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenExecutor {
    message: String,
}

impl BrokenExecutor {
    /// For executors: what `message` says has happened.
    pub fn new(message: impl Into<String>) -> Self {
        BrokenExecutor {
            message: message.into(),
        }
    }
}

impl fmt::Display for BrokenExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.message)
    }
}

impl StdError for BrokenExecutor {}
