//! What cannot be seen through the crate's public names: the accounts that a condition keeps of its sleepers. The sources are compiled
//! into this test, as `tests/schedules/small/parts.rs` does under the model.

#[path = "../src/stdlib/mod.rs"]
#[allow(dead_code, unused_imports)]
mod stdlib;

use std::time::Duration;
use stdlib::threading::{Condition, Deadline};

/// A sleeper whose time is over is a sleeper no more. Otherwise each time-out would leave one behind for ever, and every
/// later notification would enter the kernel for it.
#[test]
fn a_time_out_is_taken_off_the_sleepers() {
    let condition = Condition::new(0);
    for _ in 0..3 {
        let deadline = Deadline::after(Some(Duration::from_millis(1)));
        let acquired = condition.wait_for(|value| *value == 1, deadline);
        assert_eq!(acquired.sleepers(), 0);
    }
}
