// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! What a future that a pool made has of its call.

use super::super::stdlib::keyed_list::KeyedList;
use super::super::stdlib::threading::{Condition, Deadline};
use super::{Core, Future, Outcome, Shared, State, TypedPart};
use std::num::NonZeroU32;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

/// A pool's work item as its future sees it: something to keep, to discard, or to have run.
pub(in super::super) trait Work<T>:
    Send + Sync + UnwindSafe + RefUnwindSafe
{
    /// The future is done without it: drops what it has of the user's.
    fn discard(&self);

    /// This thread is about to wait for the future, which is pending. Runs the call here and now, if
    /// nobody has begun it, and this is a worker of the pool that it was given to; with a `deadline`,
    /// this only takes note of the waiting.
    fn help(&self, future: &Future<T>, deadline: Deadline) -> Help;
}

/// What became of a request for help.
pub(in super::super) enum Help {
    /// The call was run.
    Ran,
    /// Somebody else has it in hand, or will have.
    Wait,
    /// As `Wait`, and this is to be kept until the waiting is over.
    Blocked(Box<dyn Blocked>),
    /// No call can be run on this thread.
    NoWorker,
}

/// A worker that waits for calls of its own pool.
pub(in super::super) trait Blocked {}

/// The work of a future that was made without any.
impl<T> Work<T> for () {
    fn discard(&self) {}

    fn help(&self, _: &Future<T>, _: Deadline) -> Help {
        Help::NoWorker
    }
}

/// A pool that helps its own workers has a number that no other one has; see [`Work::help`].
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
