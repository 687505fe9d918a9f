// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! What the methods of `Future` are made of.

use super::super::stdlib::threading::Acquired;
use super::{Core, Exception, Future, Outcome, Shared, State, TypedPart};
use std::mem;
use std::sync::Arc;

impl<T> Future<T> {
    /// Python's `id(future)`.
    pub(in super::super) fn id(&self) -> usize {
        Arc::as_ptr(&self.core) as *const () as usize
    }

    /// For a worker that waits: it begins the call only if nobody else has, and nothing is wrong if somebody
    /// has. See [`Core::mark_running`].
    pub(in super::super) fn mark_running(&self) -> bool {
        self.core.mark_running()
    }

    pub(super) fn acquire(&self) -> Acquired<'_, Shared<TypedPart<T>>> {
        self.core.condition.acquire()
    }
}

impl<T, W: ?Sized> Core<T, W> {
    /// [`set_running_or_notify_cancel`](Future::set_running_or_notify_cancel) for who holds the lock of the call, and
    /// so must not log: marks a pending call as running, and no other. Returns whether it was pending.
    #[inline]
    pub(in super::super) fn mark_running(&self) -> bool {
        let mut shared = self.condition.acquire();
        let pending = shared.state == State::Pending;
        if pending {
            shared.state = State::Running;
        }
        pending
    }
}

impl<R: ?Sized> Shared<R> {
    /// For a pending future. The caller then wakes the sleepers, and calls [`Future::follow_up`].
    pub(super) fn set_cancelled(&mut self) {
        self.state = State::Cancelled;
        if self.pool.is_some() {
            self.notify_cancel();
        }
    }

    /// Tells the waiters that the future was cancelled.
    pub(super) fn notify_cancel(&mut self) {
        self.state = State::CancelledAndNotified;
        for (waiter, position) in mem::take(&mut self.waiters) {
            waiter.add_cancelled(position);
        }
    }
}

impl<T> Shared<TypedPart<T>> {
    /// For a future that is not done. The caller then wakes the sleepers, and calls the callbacks.
    pub(super) fn set_outcome(&mut self, outcome: Result<T, Exception>) {
        self.state = State::Finished;
        let waiters = mem::take(&mut self.waiters);
        match outcome {
            Ok(value) => {
                self.typed.outcome = Outcome::Value(value);
                for (waiter, position) in waiters {
                    waiter.add_result(position);
                }
            }
            Err(exception) => {
                self.failed = true;
                // Whoever has left a callback will see it.
                let retrieved = !self.typed.done_callbacks.is_empty();
                self.typed.outcome = Outcome::Exception {
                    exception,
                    retrieved,
                };
                for (waiter, position) in waiters {
                    waiter.add_exception(position);
                }
            }
        }
    }
}

impl<T> TypedPart<T> {
    pub(super) fn set_retrieved(&mut self) {
        if let Outcome::Exception { retrieved, .. } = &mut self.outcome {
            *retrieved = true;
        }
    }

    pub(super) fn is_lent(&self) -> bool {
        matches!(self.outcome, Outcome::Lent(_))
    }
}
