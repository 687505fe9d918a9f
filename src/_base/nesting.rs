// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! Callbacks within callbacks, up to a depth that every stack bears.

use super::LOGGER;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::mem::{self, ManuallyDrop};

/// One level of callbacks, or of dropping them, within others.
///
/// A callback may complete a future whose callback completes the next, and so on; and a future that
/// is dropped drops its callbacks, and with them the futures that they hold. Such a chain may be
/// longer than any stack. So only a few levels nest, as all do in CPython; what would go deeper is
/// left to the outermost level, which does it in order before it ends. (In CPython, a chain of some
/// three hundred ends with a `RecursionError` in the log, and what is left of it is never completed.)
pub(super) struct Nesting;

#[derive(Default)]
struct Nested {
    /// How many levels there are on this thread.
    depth: usize,
    /// What was left to the outermost level; empty when there is no level.
    postponed: VecDeque<Box<dyn FnOnce()>>,
}

thread_local! {
    /// Never dropped, so that the thread can use it to its very end: a user's thread-local may be
    /// dropped later than this one would be, and hold a chain of futures. Nothing is lost by that, for
    /// when there is no level, there is nothing in it, not even memory.
    static NESTED: ManuallyDrop<RefCell<Nested>> = ManuallyDrop::new(RefCell::new(Nested {
        depth: 0,
        postponed: VecDeque::new(),
    }));
}

impl Nesting {
    /// Enough for callbacks that use other futures, and few enough for a stack of 64 KiB.
    const MAXIMUM: usize = 16;

    /// Goes one level deeper, if there is one.
    pub(super) fn enter() -> Option<Nesting> {
        let entered = NESTED.try_with(|nested| {
            let mut nested = nested.borrow_mut();
            if nested.depth == Nesting::MAXIMUM {
                return None;
            }
            nested.depth += 1;
            Some(Nesting)
        });
        // An error: the platform has no thread-locals of its own, and those of std are gone at the end
        // of a thread, so that its last destructors nest as they like.
        entered.unwrap_or_else(|_| Some(Nesting))
    }

    /// How many levels there are on this thread.
    pub(super) fn depth() -> usize {
        let depth = NESTED.try_with(|nested| nested.borrow().depth);
        depth.unwrap_or(0)
    }

    /// Until what this returns is dropped, this thread is as one without any level.
    pub(super) fn set_aside() -> SetAside {
        let nested = NESTED.try_with(|nested| mem::take(&mut *nested.borrow_mut()));
        SetAside(nested.ok())
    }

    /// Leaves something to the outermost level.
    pub(super) fn postpone(work: Box<dyn FnOnce()>) {
        NESTED.with(|nested| nested.borrow_mut().postponed.push_back(work));
    }

    /// Leaves this level and returns `None`; or, if it is the outermost and something is postponed, stays
    /// and returns that, which the caller is to do before it asks again.
    fn leave() -> Option<Box<dyn FnOnce()>> {
        let left = NESTED.try_with(|nested| {
            let mut nested = nested.borrow_mut();
            if nested.depth == 1 && !nested.postponed.is_empty() {
                return nested.postponed.pop_front();
            }
            nested.depth -= 1;
            if nested.depth == 0 {
                nested.postponed = VecDeque::new();
            }
            None
        });
        left.unwrap_or(None)
    }
}

impl Drop for Nesting {
    fn drop(&mut self) {
        while let Some(work) = Nesting::leave() {
            LOGGER.log_panic("exception ignored in a postponed callback", work);
        }
    }
}

/// The levels of this thread, to be given back by the drop of this, when there are none again.
pub(super) struct SetAside(Option<Nested>);

impl Drop for SetAside {
    fn drop(&mut self) {
        if let Some(outer) = self.0.take() {
            NESTED.with(|nested| *nested.borrow_mut() = outer);
        }
    }
}
