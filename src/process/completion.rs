// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! The future of a call, and how the reply of a worker completes it.

use super::super::_base::{Exception, Future, LOGGER};
use super::super::stdlib::multiprocessing::connection::Incoming;
use super::super::stdlib::pickle::{Load, PickleError, Unpickler};
use super::{Item, Registry, RETURNED};
use std::collections::VecDeque;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// The future of a work item, whatever its type.
pub(super) trait Completion: Send + Sync {
    fn id(&self) -> usize;
    fn set_running_or_notify_cancel(&self) -> bool;
    fn set_pending(&self);
    fn load<'a>(&'a self, result_item: &mut Incoming<'_>, registry: &Registry) -> Completing<'a>;
    fn set_exception(&self, exception: Exception);
    fn cancel(&self);
}

/// Completes a future with a result that was loaded. Its argument is `last_act` of `Future::complete`.
pub(super) type Completing<'a> = Box<dyn FnOnce(&mut dyn FnMut()) + 'a>;

pub(super) struct Typed<T, L> {
    pub(super) future: Future<T>,
    /// Makes a result of what the function has returned.
    pub(super) load: L,
}

impl<T, L> Completion for Typed<T, L>
where
    T: Send + 'static,
    L: Fn(&mut Unpickler<'_>) -> Result<T, Exception> + Send + Sync,
{
    fn id(&self) -> usize {
        self.future.id()
    }

    fn set_running_or_notify_cancel(&self) -> bool {
        // An error: somebody else has completed it, which was logged.
        self.future.set_running_or_notify_cancel().unwrap_or(false)
    }

    fn set_pending(&self) {
        self.future.set_pending();
    }

    fn load<'a>(&'a self, result_item: &mut Incoming<'_>, registry: &Registry) -> Completing<'a> {
        let result = result_of(result_item, registry, &self.load);
        Box::new(move |last_act| {
            if let Err(error) = self.future.complete(result, last_act) {
                LOGGER.critical("Exception in worker", Some(&Exception::new(error)));
            }
        })
    }

    fn set_exception(&self, exception: Exception) {
        // An error: it was cancelled, or somebody else has completed it.
        let _ = self.future.set_exception(exception);
    }

    fn cancel(&self) {
        self.future.cancel();
    }
}

/// What a worker's reply says: the value that was returned, or the exception that was raised.
///
/// CPython: `_ResultItem` in `process.py`.
pub(super) fn result_of<T>(
    result_item: &mut Incoming<'_>,
    registry: &Registry,
    load: &dyn Fn(&mut Unpickler<'_>) -> Result<T, Exception>,
) -> Result<T, Exception> {
    let mut unpickler = registry.unpickler(result_item);
    let result = catch_unwind(AssertUnwindSafe(|| {
        let result = match u8::load(&mut unpickler)? {
            RETURNED => load(&mut unpickler),
            _ => Err(Exception::load(&mut unpickler)?),
        };
        match unpickler.remaining() {
            left if left > 0 && result.is_ok() => {
                let text = format!("{left} bytes are left over of what the call returned");
                Err(PickleError::new(text).into())
            }
            _ => result,
        }
    }));
    result.unwrap_or_else(|payload| Err(Exception::from_panic(payload)))
}

/// Completes what no worker will run. No lock may be held.
pub(super) fn abandon(work_item: Item, complete: impl FnOnce(&dyn Completion)) {
    LOGGER.log_panic("exception ignored while abandoning a call", || {
        complete(&work_item.future);
        drop(work_item);
    });
}

/// Cancels calls that were taken out of the queue. No lock may be held.
pub(super) fn cancel_all(work_items: VecDeque<Item>) {
    for work_item in work_items {
        abandon(work_item, |future| future.cancel());
    }
}
