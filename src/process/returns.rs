// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! Calls that come back to the queue, since the worker that had them in its hand has died. CPython has no such
//! thing: there its pool is broken.

use super::super::stdlib::threading::lock;
use super::state::InHand;
use super::OnCrash;

/// How often a call comes back from a worker that died before it could begin, at most. It may be what the
/// workers die of, in loading its arguments.
const UNREAD: u32 = 3;

/// How often a call came back to the queue.
#[derive(Default)]
pub(super) struct Returns {
    /// From workers that are known not to have begun it.
    unread: u32,
    /// From workers that may have run it, in part or to its end.
    begun: u32,
}

impl InHand {
    /// Makes the call pending again, unless that was done too often. `unread`: it is known that the worker has
    /// not read it.
    pub(super) fn comes_back(&self, on_crash: OnCrash, unread: bool) -> bool {
        let mut returns = lock(&self.work_item.returns);
        let retries = match on_crash {
            OnCrash::Retry(retries) => retries,
            _ => 0,
        };
        let again = if (unread || !self.sent) && returns.unread < UNREAD {
            returns.unread += 1;
            true
        } else if returns.begun < retries {
            returns.begun += 1;
            true
        } else {
            false
        };
        if again {
            self.work_item.future.set_pending();
        }
        again
    }
}
