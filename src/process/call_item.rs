// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! The message that asks a worker for a call, and when it goes. It may be many bytes, and a cancelled call stays in the
//! queue until a worker comes by, so its future drops the message at once.

use super::super::_base::{Future, Work};
use super::super::stdlib::multiprocessing::connection::Message;
use super::super::stdlib::threading::lock;
use super::_CallItem;
use std::mem;
use std::sync::{Arc, Mutex, Weak};

impl _CallItem {
    pub(super) fn new(message: Message) -> Arc<Self> {
        Arc::new(_CallItem(Mutex::new(message)))
    }

    /// Whether the message is sure to find room in the stream to an idle worker, so that to write it does
    /// not block, whatever the worker is at.
    pub(super) fn is_small(&self) -> bool {
        lock(&self.0).len() <= 4096
    }

    /// Lends the message to who sends it, with the lock held however long that takes: the call is running
    /// then, and so nobody wants to drop it.
    pub(super) fn lend<R>(&self, send: impl FnOnce(&Message) -> R) -> R {
        send(&lock(&self.0))
    }

    /// Drops the message, as nobody will send it any more.
    pub(super) fn discard(&self) {
        let message = mem::take(&mut *lock(&self.0));
        drop(message);
    }
}

/// What a future has of its call. Weak, as the future may be kept for long when the call is done.
impl<T> Work<T> for Weak<_CallItem> {
    fn discard(&self) {
        if let Some(call_item) = self.upgrade() {
            call_item.discard();
        }
    }

    fn discard_early(&self) {
        Work::<T>::discard(self);
    }

    fn help(&self, _: &Future<T>, _: &Weak<Mutex<usize>>) -> bool {
        false
    }
}
