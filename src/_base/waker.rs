// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! Whom to wake when a future that is awaited is done.

use super::super::stdlib::threading::lock;
use super::{Callback, Future};
use std::mem;
use std::sync::{Arc, Mutex};
use std::task::Waker;

/// What a handle that is being awaited has left with its future. A pointer, as every handle has room for
/// it.
pub struct Awaited(Arc<Mutex<WakerSlot>>);

/// The waker of one handle. The handle changes it with every poll, and the callback that the handle
/// left with the future takes it.
struct WakerSlot {
    waker: Option<Waker>,
    /// The key of that callback, in the future's list.
    key: usize,
}

/// The done-callback that wakes whoever awaits.
struct Wake(Arc<Mutex<WakerSlot>>);

impl<T> Callback<T> for Wake {
    fn call(self: Box<Self>, _future: &Future<T>) {
        self.wake();
    }

    fn postpone(self: Box<Self>, _future: Future<T>) -> Box<dyn FnOnce()> {
        Box::new(move || self.wake())
    }

    fn discard(self: Box<Self>) -> Box<dyn FnOnce()> {
        Box::new(move || drop(self))
    }
}

impl Wake {
    fn wake(&self) {
        let waker = lock(&self.0).waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Awaited {
    /// From now on, this is the waker. It is cloned, and the one before is dropped, outside the lock:
    /// both are the runtime's own code.
    fn set_waker(&self, waker: &Waker) {
        let known = lock(&self.0)
            .waker
            .as_ref()
            .map_or(false, |known| known.will_wake(waker));
        if !known {
            let waker = Some(waker.clone());
            let replaced = mem::replace(&mut lock(&self.0).waker, waker);
            drop(replaced);
        }
    }
}

impl<T> Future<T> {
    /// Has `waker` woken when the future is done, in place of the one that the handle had given before,
    /// which has left `awaited`. Returns whether the future is done already.
    pub(in super::super) fn wake_when_done(
        &self,
        awaited: &mut Option<Awaited>,
        waker: &Waker,
    ) -> bool {
        if !self.done() {
            match awaited {
                Some(awaited) => awaited.set_waker(waker),
                None => *awaited = self.leave_waker(waker.clone()),
            }
            // It may have got done in between, and called the waker that was set before.
            if !self.done() {
                return false;
            }
        }
        *awaited = None;
        true
    }

    /// Takes back what a handle that was being awaited has left.
    pub(in super::super) fn take_back(&self, awaited: Awaited) {
        let key = lock(&awaited.0).key;
        let callback = self.acquire().typed.done_callbacks.remove(key);
        // It has the waker, whose `Drop` is the runtime's own code.
        drop(callback);
    }

    /// Leaves a callback that wakes, unless the future is done.
    fn leave_waker(&self, waker: Waker) -> Option<Awaited> {
        let slot = Arc::new(Mutex::new(WakerSlot {
            waker: Some(waker),
            key: 0,
        }));
        let wake = Box::new(Wake(Arc::clone(&slot)));
        let mut shared = self.acquire();
        if shared.state.is_done() {
            return None;
        }
        let key = shared.typed.done_callbacks.push(wake);
        drop(shared);
        lock(&slot).key = key;
        Some(Awaited(slot))
    }
}

/// Takes back what polling has left with the future.
impl<T> Drop for Future<T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(awaited) = self.awaited.take() {
            self.take_back(awaited);
        }
    }
}
