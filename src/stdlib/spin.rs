//! Looking again a few times before falling asleep. Python has nothing like it: its threads take turns
//! by the interpreter lock in any case.
//!
//! What a thread waits for is often a microsecond away, while falling asleep and being woken costs tens
//! of them. So it first looks again in [`ROUNDS`] rounds, of which there are two kinds:
//!
//! - A *busy* round keeps the processor for some tens of nanoseconds. That is the fastest if the
//!   thread that is waited for runs on another processor.
//! - An *offer* gives the processor to whoever can run. That is the fastest if the thread that is waited
//!   for needs this very processor.
//!
//! Which of the two it is, a thread learns from its last waits: when one ended with its first offer,
//! the next does without busy rounds. But for every [`BUSY_EVERY`]th, which has them all the same, lest
//! a thread never notice that things have changed.
//!
//! A plain loop of offers, which needs none of this, made a call and its answer 8 to 24 % slower.

use std::cell::Cell;
use std::hint;
use std::thread;

/// How often a thread looks again before it sleeps. On an idle machine that is a few microseconds in
/// all; where others want the processor, each offer may cost as long as they are given it.
const ROUNDS: u32 = 24;
/// So many of them are busy, the first ones.
const BUSY_ROUNDS: u32 = 12;
/// See the head of this file.
const BUSY_EVERY: u32 = 16;
/// A thread whose waits ended with its first offer this often in a row very likely shares the
/// processor with the one that it waits for, while another may be free. The system does not part two
/// threads that take turns. It does so when it wakes one of them, so the next wait is a sleep.
const MAX_OFFERS: u32 = 32;

thread_local! {
    /// How many waits of this thread in a row ended with its first offer of the processor.
    static OFFERS: Cell<u32> = const { Cell::new(0) };
}

/// Calls `look` a few times, until it finds what it looks for. After `None`, the caller is to sleep.
pub(super) fn spin<R>(mut look: impl FnMut() -> Option<R>) -> Option<R> {
    let offers = OFFERS.with(|offers| offers.replace(0));
    if offers == MAX_OFFERS {
        return None;
    }
    let busy_rounds = if offers % BUSY_EVERY == 0 {
        BUSY_ROUNDS
    } else {
        0
    };
    for round in 0..ROUNDS {
        if round < busy_rounds {
            for _ in 0..8 {
                hint::spin_loop();
            }
        } else {
            thread::yield_now();
        }
        if let Some(found) = look() {
            if round == busy_rounds {
                OFFERS.with(|cell| cell.set(offers + 1));
            }
            return Some(found);
        }
    }
    None
}
