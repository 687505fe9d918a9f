//! Callbacks within callbacks, up to a depth that every stack bears.

use super::LOGGER;
use std::cell::RefCell;
use std::collections::VecDeque;

/// One level of callbacks, or of dropping them, within others.
///
/// A callback may complete a future whose callback completes the next, and so on; and a future that
/// is dropped drops its callbacks, and with them the futures that they hold. Such a chain may be
/// longer than any stack. So only a few levels nest, as all do in CPython; what would go deeper is
/// left to the outermost level, which does it in order before it ends. (In CPython, a chain of some
/// hundred ends with a `RecursionError` in the log, and what is left of it is never completed.)
pub(super) struct Nesting;

struct Nested {
    depth: usize,
    postponed: VecDeque<Box<dyn FnOnce()>>,
}

thread_local! {
    static NESTED: RefCell<Nested> = RefCell::new(Nested { depth: 0, postponed: VecDeque::new() });
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
        // An error: the thread is ending, and its last destructors may nest as they like.
        entered.unwrap_or_else(|_| Some(Nesting))
    }

    /// Leaves something to the outermost level.
    pub(super) fn postpone(work: Box<dyn FnOnce()>) {
        NESTED.with(|nested| nested.borrow_mut().postponed.push_back(work));
    }

    /// Leaves this level, unless it is the outermost and has to do what this returns first.
    fn leave() -> Option<Box<dyn FnOnce()>> {
        let left = NESTED.try_with(|nested| {
            let mut nested = nested.borrow_mut();
            if nested.depth == 1 && !nested.postponed.is_empty() {
                return nested.postponed.pop_front();
            }
            nested.depth -= 1;
            None
        });
        left.unwrap_or(None)
    }
}

impl Drop for Nesting {
    fn drop(&mut self) {
        while let Some(work) = Nesting::leave() {
            LOGGER.log_panic("exception ignored while dropping callbacks", work);
        }
    }
}
