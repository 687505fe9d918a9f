// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! One thread at a time looks at a future's value.
//!
//! Python's `result` returns a reference. Here it returns a clone, and a value need not be one that
//! several threads may look at at once. To clone it under the future's lock would be to run the user's
//! code under a lock. So a thread borrows the value: it moves it out, and gives it back.
//!
//! Whoever wants the value meanwhile waits in a queue, and is told when its turn has come, so that a
//! thread that asks over and over cannot overtake it. A caller that is not to wait (`poll`, a time-out of
//! zero) goes to the front. It still waits for the clone in progress, and for anybody else at the front.

use super::super::stdlib::threading::{Acquired, Deadline, Event};
use super::{Error, Future, Outcome, Shared, TypedPart};
use std::collections::VecDeque;
use std::mem;
use std::ops::Deref;
use std::sync::Arc;

/// The threads that wait for a value that was moved out.
pub(super) struct Borrowers<T> {
    /// An event for each. It is set when the thread's turn has come, or the value was taken for good.
    waiting: VecDeque<Arc<Event>>,
    /// The value, from when it is given back until the thread whose turn it is has moved it out again.
    returned: Option<T>,
}

impl<T> Default for Borrowers<T> {
    fn default() -> Self {
        Borrowers {
            waiting: VecDeque::new(),
            returned: None,
        }
    }
}

/// A value that was moved out of its future, to be given back by the drop of this, also when `clone`
/// panics.
pub(super) struct LentValue<'a, T> {
    future: &'a Future<T>,
    /// `None` once it was given back or kept.
    value: Option<T>,
}

impl<'a, T> LentValue<'a, T> {
    /// Moves the value out of a finished future, or waits for its turn.
    #[inline]
    pub(super) fn borrow(
        future: &'a Future<T>,
        mut shared: Acquired<'_, Shared<TypedPart<T>>>,
        deadline: Deadline,
    ) -> Result<Self, Error> {
        let value = match mem::replace(&mut shared.typed.outcome, Outcome::Lent(None)) {
            Outcome::Value(value) => value,
            Outcome::Lent(borrowers) => {
                let mut borrowers = borrowers.unwrap_or_default();
                let turn = Arc::new(Event::new());
                match deadline {
                    Deadline::Now => borrowers.waiting.push_front(Arc::clone(&turn)),
                    Deadline::Never | Deadline::At(_) => {
                        borrowers.waiting.push_back(Arc::clone(&turn))
                    }
                }
                shared.typed.outcome = Outcome::Lent(Some(borrowers));
                drop(shared);
                turn.wait(Deadline::Never);
                match &mut future.acquire().typed.outcome {
                    Outcome::Lent(Some(borrowers)) => borrowers.returned.take(),
                    _ => None,
                }
                .ok_or(Error::Taken)?
            }
            // It was taken since the caller looked.
            other => {
                shared.typed.outcome = other;
                return Err(Error::Taken);
            }
        };
        Ok(LentValue {
            future,
            value: Some(value),
        })
    }

    /// Moves the value out for good. Most often it is there, and was not lent to anybody.
    #[inline]
    pub(super) fn take(
        future: &'a Future<T>,
        mut shared: Acquired<'_, Shared<TypedPart<T>>>,
        deadline: Deadline,
    ) -> Result<T, Error> {
        match mem::replace(&mut shared.typed.outcome, Outcome::None) {
            Outcome::Value(value) => Ok(value),
            other => {
                shared.typed.outcome = other;
                Ok(LentValue::borrow(future, shared, deadline)?.keep())
            }
        }
    }

    /// Does not give the value back.
    #[inline]
    pub(super) fn keep(mut self) -> T {
        let mut shared = self.future.acquire();
        let outcome = mem::replace(&mut shared.typed.outcome, Outcome::None);
        drop(shared);
        if let Outcome::Lent(Some(borrowers)) = outcome {
            for turn in borrowers.waiting {
                turn.set();
            }
        }
        self.value.take().expect("neither given back nor kept yet")
    }
}

impl<T> Deref for LentValue<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value
            .as_ref()
            .expect("neither given back nor kept yet")
    }
}

impl<T> Drop for LentValue<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let value = match self.value.take() {
            Some(value) => value,
            None => return,
        };
        let mut shared = self.future.acquire();
        if let Outcome::Lent(Some(borrowers)) = &mut shared.typed.outcome {
            if let Some(turn) = borrowers.waiting.pop_front() {
                // Still lent to all others. Whoever waits stays until it has moved the value out.
                borrowers.returned = Some(value);
                drop(shared);
                turn.set();
                return;
            }
        }
        shared.typed.outcome = Outcome::Value(value);
    }
}
