// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! Looking again a few times before falling asleep. Python has nothing like it: its threads take turns
//! by the interpreter lock in any case.
//!
//! What a thread waits for is often a microsecond away, while falling asleep and being woken costs tens
//! of them. So it first looks again in [`ROUNDS`] rounds, of which there are two kinds:
//!
//! - A *busy* round keeps the processor for some tens of nanoseconds, or a few hundred. That is the fastest if the
//!   thread that is waited for runs on another processor.
//! - An *offer* gives the processor to whoever can run. That is the fastest if the thread that is waited
//!   for needs this very processor.
//!
//! If a thread's last wait did not end in a busy round, the next one skips these; every
//! [`BUSY_EVERY`]th tries them again, in case things have changed.
//!
//! On a busy machine, an offer costs as long as the others are given the processor, which is
//! milliseconds. So a thread that has to be back by a certain time makes none shortly before it.
//!
//! A plain loop of offers, which needs none of this, is slower: see "kept" in `docs/performance.md`.

use std::cell::Cell;
use std::hint;
use std::thread;

/// How many times a thread looks again before it sleeps. On an idle machine that is a few microseconds in
/// all; where others want the processor, each offer may cost as long as they are given it.
const ROUNDS: u32 = 24;
/// So many of them, the first ones, are busy.
const BUSY_ROUNDS: u32 = 12;
/// See the head of this file.
const BUSY_EVERY: u32 = 16;
/// A thread whose waits ended with its first offer this often in a row very likely shares the
/// processor with the one that it waits for, while another may be free. The system does not part two
/// threads that take turns. It does so when it wakes one of them, so the next wait is a sleep.
const MAX_OFFERS: u32 = 32;

/// How a thread's last waits ended.
#[derive(Clone, Copy, Default)]
struct Past {
    /// How many in a row ended with the first offer of the processor.
    offers: u32,
    /// How many in a row did not end in a busy round, modulo [`BUSY_EVERY`].
    others: u32,
}

thread_local! {
    static PAST: Cell<Past> = const { Cell::new(Past { offers: 0, others: 0 }) };
}

/// Calls `look` a few times, until it finds what it looks for. After `None`, the caller is to sleep.
///
/// `may_offer` is asked before each offer: it says no when the caller has to be back soon.
#[inline]
pub(super) fn spin<R>(
    mut look: impl FnMut() -> Option<R>,
    may_offer: impl Fn() -> bool,
) -> Option<R> {
    // An error: the thread is at its end, on a platform without thread-locals of its own.
    let past = PAST.try_with(Cell::take).unwrap_or_default();
    if past.offers == MAX_OFFERS {
        return None;
    }
    let busy_rounds = if past.others == 0 { BUSY_ROUNDS } else { 0 };
    let others = (past.others + 1) % BUSY_EVERY;
    let remember = |offers| {
        let _ = PAST.try_with(|cell| cell.set(Past { offers, others }));
    };
    for round in 0..ROUNDS {
        if round < busy_rounds {
            for _ in 0..8 {
                hint::spin_loop();
            }
        } else if may_offer() {
            thread::yield_now();
        } else {
            break;
        }
        if let Some(found) = look() {
            if round >= busy_rounds {
                let first = round == busy_rounds;
                remember(if first { past.offers + 1 } else { 0 });
            }
            return Some(found);
        }
    }
    remember(0);
    None
}
