//! `std::hint`.

use crate::exec::{context, Op};
use ::std::panic::Location;

pub use ::std::hint::*;

/// A spinning thread waits for others, so this is as good as offering them the processor.
#[track_caller]
pub fn spin_loop() {
    if let Some((world, me)) = context() {
        world.step(me, Op::Yield, Location::caller());
    }
}
