//! A model of std, under which a small program is run in every order in which its threads may be interleaved.
//!
//! The crate takes std's place: `extern crate model as std;` in a crate that is otherwise `#![no_std]`, or under that
//! name in its manifest; see `../run`. What is here is std's own but for `sync`, `thread`, `time` and `hint`
//! and `thread_local!`. Not there: `thread::scope`, `Once` and its kin, and `const` constructors, since
//! an object is known by who has made it. What a program may use of std and is not there does not compile.
//!
//! Every thread of the program is a thread of the system, but only one of them runs at any time: it has the baton. At
//! each operation of the model it asks the scheduler who takes the next step, and if that is not itself, hands
//! the baton over and waits until it gets it back. Which thread took which step is recorded, and is all that is needed to run the
//! same schedule again. [`plan`](../model/plan/index.html) says in which order schedules are run, and why some need not be.
//!
//! What is found: a deadlock, of which a lost wake-up is one; threads that are left behind when `main` has ended; a
//! thread that panics, by a failed assertion or else; a loop that would spin for ever. What is not: what depends on weak memory
//! orders, for all operations are sequentially consistent; and time, which passes only when a wait ends for it,
//! as it may whenever somebody waits with a time-out.
#![forbid(unsafe_code)]

#[doc(hidden)]
pub mod atomic;
mod exec;
mod hashing;
mod local;
#[doc(hidden)]
pub mod mpsc;
mod plan;
mod report;

pub mod hint;
pub mod statics;
pub mod sync;
pub mod thread;
pub mod time;

pub mod explorer;

pub use ::std::*;
pub use explorer::{check, main, Explorer, Failure, Mode, Report};

/// A number for an address that is the same in each run that asks for the same addresses in the same order.
/// Addresses themselves are not, and whoever sorts by them would not do the same each time.
pub fn address<T: ?Sized>(pointer: *const T) -> usize {
    let address = pointer as *const () as usize;
    match exec::context() {
        None => address,
        Some((world, _)) => {
            let mut exec = world.lock();
            let position = exec
                .addresses
                .iter()
                .position(|&known| known == address)
                .unwrap_or_else(|| {
                    exec.addresses.push(address);
                    exec.addresses.len() - 1
                });
            64 * (position + 1)
        }
    }
}

/// The next `n` threads that are to be started are refused, as by a system that has no more.
pub fn refuse_threads(n: u32) {
    if let Some((world, _)) = exec::context() {
        world.lock().refuse = n;
    }
}

fn refused() -> bool {
    exec::context().map_or(false, |(world, _)| {
        let mut exec = world.lock();
        let refused = exec.refuse > 0;
        exec.refuse -= u32::from(refused);
        refused
    })
}

/// From now on, a thread of this schedule that panics is not a failure by itself: who joins it will see.
pub fn allow_panics() {
    if let Some((world, _)) = exec::context() {
        world.lock().panics_fail = false;
    }
}

fn panics_fail() -> bool {
    exec::context().map_or(true, |(world, _)| world.lock().panics_fail)
}

/// Small programs, each of which is run in every schedule: the `main` of a program that explores.
///
/// After a program's name there may be options of the [`Explorer`] in brackets.
#[macro_export]
macro_rules! scenarios {
    ($($(#[$attribute:meta])* fn $name:ident $([$($option:ident $(($value:expr))?),*])? () $body:block)*) => {
        $($(#[$attribute])* fn $name() $body)*

        fn main() {
            $crate::main(&[
                $((stringify!($name), $name as fn(), $crate::Explorer::new()$($(.$option($($value)?))*)?),)*
            ]);
        }
    };
}
