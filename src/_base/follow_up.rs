// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! Ending futures in two steps, for whoever ends many of them.
//!
//! `cancel` and `set_exception` call callbacks, and drop what the future's call has captured. That is
//! code of the user's, and may wait for any other future. So if many futures are ended, those that have
//! not had their turn must not be left to wait for it: first all are given their state, then comes the
//! user's code.

use super::{Exception, Future, State, LOGGER};
use std::mem;

impl<T> Future<T> {
    /// The first step of [`cancel`](Future::cancel). Returns whether the future is done now: it is not
    /// if it is running.
    pub(in super::super) fn mark_cancelled(&self) -> bool {
        let mut shared = self.acquire();
        if shared.state == State::Pending {
            shared.set_cancelled();
            shared.notify_all();
            return true;
        }
        shared.state.is_done()
    }

    /// The first step of [`set_exception`](Future::set_exception), unless the future is done.
    pub(in super::super) fn mark_failed(&self, exception: Exception) {
        let mut shared = self.acquire();
        if !shared.state.is_done() {
            shared.set_outcome(Err(exception));
            shared.notify_all();
        }
    }

    /// The second step of both, for a future that is done: drops the call, as nobody will run it, and
    /// calls the callbacks.
    pub(in super::super) fn follow_up(&self) {
        self.discard_call();
        let done_callbacks = mem::take(&mut self.acquire().typed.done_callbacks);
        self._invoke_callbacks(done_callbacks);
    }

    /// For a future that is done, and was in this state before: if no worker had begun the call, somebody has completed it by
    /// hand.
    #[inline]
    pub(super) fn discard_early(&self, before: State) {
        if before == State::Pending {
            self.core.work.discard_early();
        }
    }

    /// Drops what a future that is done without it still has of its call.
    pub(super) fn discard_call(&self) {
        LOGGER.log_panic("exception ignored while dropping a call", || {
            self.core.work.discard();
        });
    }
}
