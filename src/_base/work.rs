// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! What a future that a pool made has of its call.

use super::super::stdlib::keyed_list::KeyedList;
use super::super::stdlib::threading::Condition;
use super::{Core, Future, Outcome, Shared, State, TypedPart};
use std::num::NonZeroU32;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{Arc, Mutex, Weak};

/// A pool's work item as its future sees it: something to keep, to discard, or to have run.
pub(in super::super) trait Work<T>:
    Send + Sync + UnwindSafe + RefUnwindSafe
{
    /// The future is done without it: drops what it has of the user's.
    fn discard(&self);

    /// The future was completed by hand before anybody had begun the call: drops what of it is of no use any more, where
    /// whoever comes for the call later can do without.
    fn discard_early(&self) {}

    /// Runs the call here and now, if nobody has begun it, and takes it off the pool's count of those that
    /// are not done. Returns whether it did. For a worker of the pool.
    fn help(&self, future: &Future<T>, unfinished: &Weak<Mutex<usize>>) -> bool;
}

/// The work of a future that was made without any.
impl<T> Work<T> for () {
    fn discard(&self) {}

    fn help(&self, _: &Future<T>, _: &Weak<Mutex<usize>>) -> bool {
        false
    }
}

/// A pool of threads has a number that no other one has; see [`Worker`](super::Worker).
pub(in super::super) type PoolNumber = NonZeroU32;

/// The number that all others have.
pub(in super::super) const NO_NUMBER: PoolNumber = match NonZeroU32::new(u32::MAX) {
    Some(number) => number,
    None => panic!(),
};

impl<T, W: Work<T> + 'static> Core<T, W> {
    /// For a pool; see [`Shared::pool`].
    #[inline]
    pub(in super::super) fn new(work: W, pool: PoolNumber) -> Arc<Self> {
        Core::pending(work, Some(pool))
    }

    #[inline]
    pub(super) fn pending(work: W, pool: Option<PoolNumber>) -> Arc<Self> {
        Arc::new(Core {
            condition: Condition::new(Shared {
                state: State::Pending,
                pool,
                failed: false,
                waiters: KeyedList::new(),
                typed: TypedPart {
                    outcome: Outcome::None,
                    done_callbacks: KeyedList::new(),
                },
            }),
            work,
        })
    }

    #[inline]
    pub(in super::super) fn into_future(self: Arc<Self>) -> Future<T> {
        Future {
            core: self,
            awaited: None,
        }
    }
}
