// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! Python's builtin exceptions, as far as the port has a use for them: `BaseException`,
//! `TimeoutError` and `ValueError`.

use super::threading::lock;
use std::any::{type_name, Any};
use std::error::Error as StdError;
use std::fmt;
use std::mem;
use std::ops::Deref;
use std::panic::{catch_unwind, AssertUnwindSafe, RefUnwindSafe, UnwindSafe};
use std::sync::{Arc, Mutex, PoisonError};

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

/// What stands for the message of a panic that has none.
pub(super) const NO_TEXT: &str = "a payload that is no text";

enum Raised {
    Error {
        /// With its module path.
        type_name: &'static str,
        error: Box<dyn StdError + Send + Sync>,
    },
    Panic {
        /// The payload, if it is a text.
        message: Option<String>,
        /// `None` once it was taken.
        payload: Mutex<Option<Box<dyn Any + Send>>>,
        /// Where an error is needed.
        as_error: Text,
        /// What is known of a panic in another process.
        remote: Option<Box<dyn StdError + Send + Sync>>,
    },
}

// An exception is only looked at, but for a payload, which is only taken.
impl UnwindSafe for Raised {}
impl RefUnwindSafe for Raised {}

impl Exception {
    /// An exception that is this error.
    pub fn new<E: StdError + Send + Sync + 'static>(error: E) -> Self {
        Exception::named(type_name::<E>(), Box::new(error))
    }

    /// An exception that is this error. The name of its type is no longer known, and given as
    /// `Error`.
    pub fn from_boxed(error: Box<dyn StdError + Send + Sync>) -> Self {
        Exception::named("Error", error)
    }

    /// An exception that is this error, of a type of this name.
    pub(super) fn named(type_name: &'static str, error: Box<dyn StdError + Send + Sync>) -> Self {
        match error.downcast::<Carried>() {
            Ok(carried) => carried.0,
            Err(error) => Exception(Arc::new(Raised::Error { type_name, error })),
        }
    }

    /// An exception that is a panic, from what `catch_unwind` or `JoinHandle::join` returned.
    pub fn from_panic(payload: Box<dyn Any + Send>) -> Self {
        let message = match payload.downcast_ref::<&'static str>() {
            Some(text) => Some((*text).to_owned()),
            None => payload.downcast_ref::<String>().cloned(),
        };
        Exception(Arc::new(Raised::Panic {
            as_error: Text(message.as_deref().unwrap_or(NO_TEXT).to_owned()),
            message,
            payload: Mutex::new(Some(payload)),
            remote: None,
        }))
    }

    /// An exception that is a panic in another process, whose payload stayed there.
    pub(super) fn from_remote_panic(
        message: Option<String>,
        remote: Box<dyn StdError + Send + Sync>,
    ) -> Self {
        let payload: Box<dyn Any + Send> = match &message {
            Some(message) => Box::new(message.clone()),
            None => Box::new(()),
        };
        Exception(Arc::new(Raised::Panic {
            as_error: Text(remote.to_string()),
            message,
            payload: Mutex::new(Some(payload)),
            remote: Some(remote),
        }))
    }

    /// An exception that is just a text: `Exception("text")` in Python.
    pub fn msg(text: impl Into<String>) -> Self {
        Exception::named("Exception", Box::new(Text(text.into())))
    }

    /// The error, unless the exception is a panic. One in another process is an error as well, a
    /// [`RemoteError`](super::pickle::RemoteError), which knows where it happened.
    pub fn as_error(&self) -> Option<&(dyn StdError + Send + Sync + 'static)> {
        match &*self.0 {
            Raised::Error { error, .. } => Some(&**error),
            Raised::Panic { remote, .. } => remote.as_deref(),
        }
    }

    /// The error, or what stands for the panic: for the `source` of another error.
    pub(in super::super) fn as_dyn_error(&self) -> &(dyn StdError + 'static) {
        match &*self.0 {
            Raised::Error { error, .. } => &**error,
            Raised::Panic { as_error, .. } => as_error,
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

/// What a call may fail with: any error type, an [`Exception`], a text (`String`, `&'static str`), and a
/// box with an error in it, be that std's or another crate's. `M` is found by the compiler: it tells the
/// ways of conversion apart.
pub trait IntoException<M> {
    /// The exception that it is.
    fn into_exception(self) -> Exception;
}

/// For what converts into an [`Exception`] by itself, as all errors do.
#[derive(Debug)]
pub enum AsException {}

/// For a text.
#[derive(Debug)]
pub enum AsText {}

/// For what has an error in it, and gives it away as a box.
#[derive(Debug)]
pub enum AsBox {}

impl<E: Into<Exception>> IntoException<AsException> for E {
    fn into_exception(self) -> Exception {
        self.into()
    }
}

impl IntoException<AsText> for String {
    fn into_exception(self) -> Exception {
        Exception::msg(self)
    }
}

impl IntoException<AsText> for &'static str {
    fn into_exception(self) -> Exception {
        Exception::msg(self)
    }
}

impl<E> IntoException<AsBox> for E
where
    E: Deref<Target = dyn StdError + Send + Sync> + Into<Box<dyn StdError + Send + Sync>>,
{
    fn into_exception(self) -> Exception {
        Exception::from_boxed(self.into())
    }
}

/// An exception as an error, for where only an error will do. It has the exception's text, and what is
/// behind that.
#[derive(Clone)]
pub(in super::super) struct Carried(pub(in super::super) Exception);

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Carried {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.as_error().and_then(StdError::source)
    }
}

impl From<Exception> for Box<dyn StdError + Send + Sync> {
    fn from(exception: Exception) -> Self {
        Box::new(Carried(exception))
    }
}

impl From<Exception> for Box<dyn StdError> {
    fn from(exception: Exception) -> Self {
        Box::new(Carried(exception))
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
            Raised::Panic { message, .. } => f.pad(message.as_deref().unwrap_or(NO_TEXT)),
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
            let payload = payload.get_mut().unwrap_or_else(PoisonError::into_inner);
            if let Some(payload) = payload.take() {
                drop_payload(payload);
            }
        }
    }
}

/// Drops a panic's payload, whose own `Drop` may panic in turn, and again. Not for ever: what still
/// panics after a few rounds is leaked.
pub(super) fn drop_payload(mut payload: Box<dyn Any + Send>) {
    for _ in 0..8 {
        match catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            Ok(()) => return,
            Err(next) => payload = next,
        }
    }
    mem::forget(payload);
}

/// The error inside of an exception that is just a text.
pub(super) struct Text(pub(super) String);

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Exception").field(&self.0).finish()
    }
}

impl StdError for Text {}

/// `alloc::vec::Vec<alloc::string::String>` without the module paths: `Vec<String>`.
pub(in super::super) fn without_paths(type_name: &str) -> String {
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

/// Not everything was done in time: the futures given to `as_completed`, the workers of a pool that is
/// being shut down. `Display` says `2 (of 3) futures unfinished`, or `2 (of 8) workers still running`.
///
/// CPython: the `TimeoutError` that `as_completed` raises in `_base.py`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeoutError {
    unfinished: usize,
    total: usize,
    /// What is counted.
    of: Counted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    Futures,
    Workers,
}

impl TimeoutError {
    /// So many of so many futures were not yielded.
    pub(in super::super) fn futures(unfinished: usize, total: usize) -> Self {
        TimeoutError {
            unfinished,
            total,
            of: Counted::Futures,
        }
    }

    /// So many of so many workers have not ended.
    pub(in super::super) fn workers(unfinished: usize, total: usize) -> Self {
        TimeoutError {
            unfinished,
            total,
            of: Counted::Workers,
        }
    }

    /// How many of the futures had not been yielded, or of the workers had not ended.
    pub fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// How many futures there were, each counted once, or workers.
    pub fn total(&self) -> usize {
        self.total
    }
}

impl fmt::Display for TimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.of {
            Counted::Futures => "futures unfinished",
            Counted::Workers => "workers still running",
        };
        write!(f, "{} (of {}) {}", self.unfinished, self.total, what)
    }
}

impl StdError for TimeoutError {}

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
