//! For a `static`, which outlives each schedule: a mutex with a `const` constructor.
//!
//! It is seen by the scheduler only if [`Explorer::statics`](crate::Explorer::statics) says so. Otherwise nothing may depend on
//! the order in which threads lock it, and no other operation be done while it is held.

pub use ::std::*;

pub mod sync {
    use crate::exec::context;
    use ::std::sync::LockResult;

    pub use crate::sync::MutexGuard;

    pub struct Mutex<T>(crate::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub const fn new(value: T) -> Self {
            Mutex(crate::sync::Mutex::outside(value))
        }

        /// # Errors
        ///
        /// If a thread has panicked while it held the lock.
        #[track_caller]
        pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
            if context().map_or(false, |(world, _)| world.lock().statics) {
                self.0.lock()
            } else {
                self.0.lock_unseen()
            }
        }
    }
}
