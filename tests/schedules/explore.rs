//! Runs a scenario many times on real threads. A model scheduler has an `explore` of its own, which
//! tries the schedules that a real machine hardly ever shows.

use std::panic;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// Enough for a race that is not rare.
const ROUNDS: usize = 300;
/// On a slow or busy machine fewer will do, but some there must be.
const LEAST_ROUNDS: usize = 3;
const ENOUGH: Duration = Duration::from_millis(100);
/// For one round, which takes well under a millisecond.
const PATIENCE: Duration = Duration::from_secs(60);

/// # Panics
///
/// If the scenario does, or if it hangs; what has hung is left behind then.
pub fn explore(scenario: impl Fn() + Send + Sync + Copy + 'static) {
    let (progress, rounds) = mpsc::channel();
    let start = Instant::now();
    let runner = thread::spawn(move || {
        for round in 1..=ROUNDS {
            scenario();
            if progress.send(round).is_err() {
                return;
            }
            if round >= LEAST_ROUNDS && start.elapsed() > ENOUGH {
                return;
            }
        }
    });
    let mut ended = 0;
    loop {
        match rounds.recv_timeout(PATIENCE) {
            Ok(round) => ended = round,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => panic!(
                "scenario {} hangs: round {} has not ended within {:?}",
                thread::current().name().unwrap_or("?"),
                ended + 1,
                PATIENCE
            ),
        }
    }
    if let Err(payload) = runner.join() {
        panic::resume_unwind(payload);
    }
}
