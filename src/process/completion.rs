// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! The future of a call, and how the reply of a worker completes it.

use super::super::_base::{Exception, Future, LOGGER};
use super::super::stdlib::multiprocessing::connection::Incoming;
use super::super::stdlib::pickle::{Load, PickleError, Unpickler};
use super::{Item, Registry, RETURNED};
use std::panic::{catch_unwind, AssertUnwindSafe};

/// The future of a work item, whatever its type.
pub(super) trait Completion: Send + Sync {
    fn id(&self) -> usize;
    fn set_running_or_notify_cancel(&self) -> bool;
    fn set_pending(&self);
    fn load<'a>(&'a self, result_item: &mut Incoming<'_>, registry: &Registry) -> Completing<'a>;
    /// Cancels the call, up to what is the user's code: that is left to `follow_up`. Returns whether the future
    /// is done now.
    fn mark_cancelled(&self) -> bool;
    /// Fails the call, up to what is the user's code, unless somebody else has completed it.
    fn mark_failed(&self, exception: Exception);
    /// Drops the message of a future that is done, and calls the callbacks, but for those that were called.
    fn follow_up(&self);
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
        match self.future.set_running_or_notify_cancel() {
            Ok(running) => running,
            // Somebody else has completed it, which was logged; or has marked it as running, but nobody else has
            // the call.
            Err(_) => self.future.running(),
        }
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

    fn mark_cancelled(&self) -> bool {
        self.future.mark_cancelled()
    }

    fn mark_failed(&self, exception: Exception) {
        self.future.mark_failed(exception);
    }

    fn follow_up(&self) {
        self.future.follow_up();
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

/// Fails calls that no worker will run, up to what is the user's code: that is left to [`follow_up`]. With the pool's
/// lock held, so that whoever finds that the pool has ended finds all calls done.
pub(super) fn mark_failed(failed: Vec<(Item, Exception)>) -> Vec<Item> {
    let mark = |(work_item, exception): (Item, _)| {
        work_item.future.mark_failed(exception);
        work_item
    };
    failed.into_iter().map(mark).collect()
}

/// Runs what is the user's code of calls that were ended without being run. No lock may be held. It may wait for any of
/// them, so all of them are done.
pub(super) fn follow_up(work_items: impl IntoIterator<Item = Item>) {
    for work_item in work_items {
        LOGGER.log_panic("exception ignored while abandoning a call", || {
            work_item.future.follow_up();
            drop(work_item);
        });
    }
}
