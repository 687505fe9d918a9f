// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! What a worker that waits for a call of its own pool does with it; `_base/worker.rs` says when.

use super::super::_base::{Exception, Future, Work, LOGGER};
use super::super::stdlib::threading::lock;
use super::{_WorkItem, execute, Counted, Unfinished};
use std::sync::Weak;

/// Stack for a call within another, and for what both need of it, as a rough measure: so deep, and no
/// deeper, calls are run within others.
pub(super) const STACK_OF_A_CALL: usize = 32 << 10;
/// What std gives a thread.
pub(super) const DEFAULT_STACK: usize = 2 << 20;

impl<F, T, E> Work<T> for _WorkItem<F>
where
    F: FnOnce() -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: Into<Exception>,
{
    fn discard(&self) {
        // Not dropped with the lock held.
        let f = lock(&self.f).take();
        drop(f);
    }

    fn help(&self, future: &Future<T>, unfinished: &Weak<Unfinished>) -> bool {
        // Held until the future is running. So whoever else comes for the call, and does not find it, can
        // tell from the future whether it was cancelled, and is to be taken off the count, or is run here.
        let mut f = lock(&self.f);
        if f.is_none() || !future.mark_running() {
            return false;
        }
        let call = f.take();
        drop(f);
        if let Some(call) = call {
            // What may panic here is `Drop` of a result that nobody wants.
            LOGGER.log_panic("Exception in worker", || {
                let unfinished = Some(unfinished);
                execute(future, call, &mut Counted { unfinished });
            });
        }
        true
    }
}
