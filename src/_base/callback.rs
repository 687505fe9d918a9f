//! What a future calls when it is done.

use super::nesting::Nesting;
use super::{Future, TypedPart};
use std::mem;

/// A done-callback.
///
/// Callbacks are added only where `T: 'static`, while futures are completed and dropped for any `T`. So
/// all that needs `T: 'static` is a method of the callback, whose type was fixed where the bound held.
pub(super) trait Callback<T>: Send {
    fn call(self: Box<Self>, future: &Future<T>);

    /// The call, to be made later.
    fn postpone(self: Box<Self>, future: Future<T>) -> Box<dyn FnOnce()>;

    /// The drop of the callback, to be done later.
    fn discard(self: Box<Self>) -> Box<dyn FnOnce()>;
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

impl<T> Drop for TypedPart<T> {
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
