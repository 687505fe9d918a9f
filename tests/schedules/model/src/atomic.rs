//! `std::sync::atomic`, as if every operation were sequentially consistent.

use crate::exec::{Id, Kind, Op};
use crate::sync::step;
use ::std::fmt;
use ::std::sync::atomic as real;

pub use ::std::sync::atomic::Ordering;

const ATOMIC: fn() -> Kind = || Kind::Atomic;
const SC: Ordering = Ordering::SeqCst;

macro_rules! common {
    ($name:ident, $value:ty) => {
        pub struct $name {
            id: Id,
            real: real::$name,
        }

        impl $name {
            /// Not `const`: an object's name says who has made it.
            #[track_caller]
            pub fn new(value: $value) -> Self {
                $name {
                    id: Id::new(ATOMIC),
                    real: real::$name::new(value),
                }
            }

            #[track_caller]
            pub fn load(&self, _: Ordering) -> $value {
                step(&self.id, ATOMIC, Op::Load);
                self.real.load(SC)
            }

            #[track_caller]
            pub fn store(&self, value: $value, _: Ordering) {
                step(&self.id, ATOMIC, Op::Store);
                self.real.store(value, SC);
            }

            #[track_caller]
            pub fn swap(&self, value: $value, _: Ordering) -> $value {
                step(&self.id, ATOMIC, Op::Store);
                self.real.swap(value, SC)
            }

            #[track_caller]
            pub fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                _: Ordering,
                _: Ordering,
            ) -> Result<$value, $value> {
                step(&self.id, ATOMIC, Op::Store);
                self.real.compare_exchange(current, new, SC, SC)
            }

            #[track_caller]
            pub fn compare_exchange_weak(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.compare_exchange(current, new, success, failure)
            }

            #[track_caller]
            pub fn fetch_update(
                &self,
                _: Ordering,
                _: Ordering,
                f: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                step(&self.id, ATOMIC, Op::Store);
                self.real.fetch_update(SC, SC, f)
            }

            pub fn get_mut(&mut self) -> &mut $value {
                self.real.get_mut()
            }

            pub fn into_inner(self) -> $value {
                self.real.into_inner()
            }
        }

        impl Default for $name {
            #[track_caller]
            fn default() -> Self {
                $name::new(Default::default())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.real.fmt(f)
            }
        }
    };
}

macro_rules! fetch {
    ($name:ident, $value:ty, $($method:ident)*) => {
        impl $name {
            $(
                #[track_caller]
                pub fn $method(&self, value: $value, _: Ordering) -> $value {
                    step(&self.id, ATOMIC, Op::Store);
                    self.real.$method(value, SC)
                }
            )*
        }
    };
}

macro_rules! number {
    ($($name:ident $value:ty,)*) => {
        $(
            common!($name, $value);
            fetch!($name, $value, fetch_add fetch_sub fetch_and fetch_or fetch_xor fetch_max fetch_min);
        )*
    };
}

number!(
    AtomicUsize usize,
    AtomicIsize isize,
    AtomicU64 u64,
    AtomicI64 i64,
    AtomicU32 u32,
    AtomicI32 i32,
    AtomicU8 u8,
);
common!(AtomicBool, bool);
fetch!(AtomicBool, bool, fetch_and fetch_or fetch_xor fetch_nand);
