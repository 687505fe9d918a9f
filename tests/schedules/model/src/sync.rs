//! `std::sync`: what blocks is the model's, what does not is std's own.
//!
//! `Arc` and `Weak` are std's: no other type can be made into an `Arc<dyn Trait>`, or be a `self: Arc<Self>`.

use crate::exec::{nanos, Id, Kind, Obj, Op, Tid, World};
use ::std::fmt;
use ::std::ops::{Deref, DerefMut};
use ::std::panic::{Location, RefUnwindSafe, UnwindSafe};
use ::std::sync as real;
use ::std::time::Duration;

pub use crate::atomic;
pub use crate::mpsc;
pub use ::std::sync::{Arc, LockResult, PoisonError, TryLockError, TryLockResult, Weak};

const MUTEX: fn() -> Kind = || Kind::Mutex { owner: None };

/// Does one operation on an object, or says that this thread is in no execution.
#[track_caller]
pub(crate) fn step(id: &Id, kind: fn() -> Kind, op: impl FnOnce(Obj) -> Op) -> Option<u32> {
    let (world, me, object) = id.find(kind)?;
    Some(world.step(me, op(object), Location::caller()))
}

pub struct Mutex<T: ?Sized> {
    id: Id,
    real: real::Mutex<T>,
}

pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    real: Option<real::MutexGuard<'a, T>>,
    changed: bool,
    /// The scheduler does not know of it.
    unseen: bool,
}

impl<T> Mutex<T> {
    /// Not `const`: an object's name says who has made it. For a `static`, see [`crate::statics`].
    #[track_caller]
    pub fn new(value: T) -> Self {
        Mutex {
            id: Id::new(MUTEX),
            real: real::Mutex::new(value),
        }
    }

    pub(crate) const fn outside(value: T) -> Self {
        Mutex {
            id: Id::unknown(),
            real: real::Mutex::new(value),
        }
    }

    pub fn into_inner(self) -> LockResult<T> {
        self.real.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// The lock itself, once the scheduler has granted it.
    fn granted(&self) -> LockResult<MutexGuard<'_, T>> {
        match self.real.try_lock() {
            Ok(real) => Ok(MutexGuard {
                mutex: self,
                real: Some(real),
                changed: false,
                unseen: false,
            }),
            Err(TryLockError::Poisoned(error)) => Err(PoisonError::new(MutexGuard {
                mutex: self,
                real: Some(error.into_inner()),
                changed: false,
                unseen: false,
            })),
            Err(TryLockError::WouldBlock) => panic!("a mutex that the model has granted is held"),
        }
    }

    #[track_caller]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        if step(&self.id, MUTEX, Op::Lock).is_some() {
            return self.granted();
        }
        self.lock_unseen()
    }

    pub(crate) fn lock_unseen(&self) -> LockResult<MutexGuard<'_, T>> {
        match self.real.lock() {
            Ok(real) => Ok(MutexGuard {
                mutex: self,
                real: Some(real),
                changed: false,
                unseen: true,
            }),
            Err(error) => Err(PoisonError::new(MutexGuard {
                mutex: self,
                real: Some(error.into_inner()),
                changed: false,
                unseen: true,
            })),
        }
    }

    #[track_caller]
    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        if let Some(0) = step(&self.id, MUTEX, Op::TryLock) {
            return Err(TryLockError::WouldBlock);
        }
        self.granted().map_err(TryLockError::Poisoned)
    }

    pub fn is_poisoned(&self) -> bool {
        self.real.is_poisoned()
    }

    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.real.get_mut()
    }
}

impl<T: Default> Default for Mutex<T> {
    #[track_caller]
    fn default() -> Self {
        Mutex::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    #[track_caller]
    fn from(value: T) -> Self {
        Mutex::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.real.fmt(f)
    }
}

impl<T: ?Sized> UnwindSafe for Mutex<T> {}
impl<T: ?Sized> RefUnwindSafe for Mutex<T> {}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.real.as_ref().expect("a held lock")
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.changed = true;
        self.real.as_mut().expect("a held lock")
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[track_caller]
    fn drop(&mut self) {
        if self.real.take().is_some() && !self.unseen {
            let changed = self.changed;
            step(&self.mutex.id, MUTEX, |mutex| Op::Unlock(mutex, changed));
        }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Whether a wait ended for the time. (std's cannot be made.)
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

pub struct Condvar {
    id: Id,
}

const CONDVAR: fn() -> Kind = || Kind::Condvar {
    waiters: Vec::new(),
};

impl Condvar {
    #[track_caller]
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Condvar {
            id: Id::new(CONDVAR),
        }
    }

    #[track_caller]
    fn wait_until<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        timeout: Option<Duration>,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let place = Location::caller();
        let mutex = guard.mutex;
        guard.real = None;
        drop(guard);
        let (world, me, condvar) = self
            .id
            .find(CONDVAR)
            .expect("a wait outside of any execution");
        let (_, _, lock) = mutex.id.find(MUTEX).expect("an execution");
        let until = timeout.map(|timeout| world.lock().clock.saturating_add(nanos(timeout)));
        world.step(
            me,
            Op::Wait {
                condvar,
                mutex: lock,
                until,
            },
            place,
        );
        let woken = world.step(
            me,
            Op::Waiting {
                condvar,
                mutex: lock,
                until,
            },
            place,
        );
        if woken != 0 {
            // Nobody has told it, so nobody has made it wait for the lock.
            world.step(me, Op::Lock(lock), place);
        }
        let result = WaitTimeoutResult(woken == 1);
        match mutex.granted() {
            Ok(guard) => Ok((guard, result)),
            Err(error) => Err(PoisonError::new((error.into_inner(), result))),
        }
    }

    #[track_caller]
    pub fn wait<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        match self.wait_until(guard, None) {
            Ok((guard, _)) => Ok(guard),
            Err(error) => Err(PoisonError::new(error.into_inner().0)),
        }
    }

    #[track_caller]
    pub fn wait_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<MutexGuard<'a, T>> {
        while condition(&mut *guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    #[track_caller]
    pub fn wait_timeout<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        self.wait_until(guard, Some(timeout))
    }

    #[track_caller]
    pub fn wait_timeout_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        timeout: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let end = crate::time::Instant::now() + timeout;
        loop {
            if !condition(&mut *guard) {
                return Ok((guard, WaitTimeoutResult(false)));
            }
            let left = end.saturating_duration_since(crate::time::Instant::now());
            if left.is_zero() {
                return Ok((guard, WaitTimeoutResult(true)));
            }
            guard = self.wait_timeout(guard, left)?.0;
        }
    }

    #[track_caller]
    pub fn notify_one(&self) {
        step(&self.id, CONDVAR, |condvar| Op::Notify {
            condvar,
            all: false,
        });
    }

    #[track_caller]
    pub fn notify_all(&self) {
        step(&self.id, CONDVAR, |condvar| Op::Notify {
            condvar,
            all: true,
        });
    }
}

impl Default for Condvar {
    #[track_caller]
    fn default() -> Self {
        Condvar::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}

impl UnwindSafe for Condvar {}
impl RefUnwindSafe for Condvar {}

pub struct Barrier {
    id: Id,
    size: usize,
}

#[derive(Debug)]
pub struct BarrierWaitResult(bool);

impl BarrierWaitResult {
    pub fn is_leader(&self) -> bool {
        self.0
    }
}

impl Barrier {
    #[track_caller]
    pub fn new(size: usize) -> Self {
        Barrier {
            id: Id::new(|| Kind::Barrier {
                size,
                arrived: 0,
                generation: 0,
            }),
            size,
        }
    }

    #[track_caller]
    pub fn wait(&self) -> BarrierWaitResult {
        let place = Location::caller();
        let size = self.size;
        let (world, me, barrier): (real::Arc<World>, Tid, Obj) = self
            .id
            .find(|| Kind::Barrier {
                size,
                arrived: 0,
                generation: 0,
            })
            .expect("a barrier outside of any execution");
        // Read in the same step: only then is it known which round it is.
        let last = world.step(me, Op::Arrive(barrier), place) == 1;
        if !last {
            let generation = match world.lock().kind(barrier) {
                Kind::Barrier { generation, .. } => *generation,
                _ => 0,
            };
            world.step(me, Op::Gather(barrier, generation), place);
        }
        BarrierWaitResult(last)
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").finish_non_exhaustive()
    }
}

impl UnwindSafe for Barrier {}
impl RefUnwindSafe for Barrier {}

pub struct RwLock<T: ?Sized> {
    id: Id,
    real: real::RwLock<T>,
}

const RWLOCK: fn() -> Kind = || Kind::RwLock {
    readers: 0,
    writer: false,
};

impl<T> RwLock<T> {
    #[track_caller]
    pub fn new(value: T) -> Self {
        RwLock {
            id: Id::new(RWLOCK),
            real: real::RwLock::new(value),
        }
    }

    pub fn into_inner(self) -> LockResult<T> {
        self.real.into_inner()
    }
}

macro_rules! guard {
    ($name:ident, $release:ident) => {
        pub struct $name<'a, T: ?Sized> {
            lock: &'a RwLock<T>,
            real: Option<real::$name<'a, T>>,
        }

        impl<T: ?Sized> Deref for $name<'_, T> {
            type Target = T;
            fn deref(&self) -> &T {
                self.real.as_ref().expect("a held lock")
            }
        }

        impl<T: ?Sized> Drop for $name<'_, T> {
            fn drop(&mut self) {
                self.real = None;
                step(&self.lock.id, RWLOCK, Op::$release);
            }
        }
    };
}

guard!(RwLockReadGuard, ReadUnlock);
guard!(RwLockWriteGuard, WriteUnlock);

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.real.as_mut().expect("a held lock")
    }
}

impl<T: ?Sized> RwLock<T> {
    fn granted_read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        match self.real.try_read() {
            Ok(real) => Ok(RwLockReadGuard {
                lock: self,
                real: Some(real),
            }),
            Err(TryLockError::Poisoned(error)) => Err(PoisonError::new(RwLockReadGuard {
                lock: self,
                real: Some(error.into_inner()),
            })),
            Err(TryLockError::WouldBlock) => panic!("a lock that the model has granted is held"),
        }
    }

    fn granted_write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        match self.real.try_write() {
            Ok(real) => Ok(RwLockWriteGuard {
                lock: self,
                real: Some(real),
            }),
            Err(TryLockError::Poisoned(error)) => Err(PoisonError::new(RwLockWriteGuard {
                lock: self,
                real: Some(error.into_inner()),
            })),
            Err(TryLockError::WouldBlock) => panic!("a lock that the model has granted is held"),
        }
    }

    #[track_caller]
    pub fn read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        step(&self.id, RWLOCK, Op::ReadLock);
        self.granted_read()
    }

    #[track_caller]
    pub fn write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        step(&self.id, RWLOCK, Op::WriteLock);
        self.granted_write()
    }

    #[track_caller]
    pub fn try_read(&self) -> TryLockResult<RwLockReadGuard<'_, T>> {
        match step(&self.id, RWLOCK, Op::TryReadLock) {
            Some(0) => Err(TryLockError::WouldBlock),
            _ => self.granted_read().map_err(TryLockError::Poisoned),
        }
    }

    #[track_caller]
    pub fn try_write(&self) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        match step(&self.id, RWLOCK, Op::TryWriteLock) {
            Some(0) => Err(TryLockError::WouldBlock),
            _ => self.granted_write().map_err(TryLockError::Poisoned),
        }
    }
}

impl<T: ?Sized> UnwindSafe for RwLock<T> {}
impl<T: ?Sized> RefUnwindSafe for RwLock<T> {}
