// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! What the port needs of Python's `threading`: a condition with its lock, an event, and a thread
//! that any number of others may join.
//!
//! Nothing here knows of futures. Python's names are kept; what differs is that a lock owns the
//! data it protects, and that a lock is released by dropping what `acquire` returned.

use super::process_wide;
use super::spin::spin;
use std::io;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};

/// Locks a mutex of this crate, poisoned or not.
///
/// No user code runs under any of them, so a panic cannot leave one half-changed.
pub(in super::super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// [`lock`], for a mutex that many running threads want, perhaps more of them than there are processors.
///
/// The holder will nearly always release it within a microsecond, if it has a processor. So this thread
/// offers its own, once, before it asks std for the lock. For std may put it to sleep: from then on
/// releasing the lock takes a system call, and each thread that is woken finds it taken again.
pub(in super::super) fn lock_busy<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    try_lock(mutex).unwrap_or_else(|| {
        thread::yield_now();
        lock(mutex)
    })
}

fn try_lock<T: ?Sized>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(error)) => Some(error.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// The `end_time` that Python computes as `timeout + time.monotonic()`.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Deadline {
    /// No timeout, or one that the clock cannot express.
    Never,
    At(Instant),
    /// A timeout of zero: whoever asks does not want to wait, and the clock is not read.
    Now,
}

impl Deadline {
    #[inline]
    pub(in super::super) fn after(timeout: Option<Duration>) -> Self {
        match timeout {
            None => Deadline::Never,
            Some(Duration::ZERO) => Deadline::Now,
            Some(timeout) => Instant::now()
                .checked_add(timeout)
                .map_or(Deadline::Never, Deadline::At),
        }
    }

    /// The time left: `None` without a limit, zero once it has passed.
    fn remaining(self) -> Option<Duration> {
        match self {
            Deadline::Never => None,
            Deadline::At(end_time) => Some(end_time.saturating_duration_since(Instant::now())),
            Deadline::Now => Some(Duration::ZERO),
        }
    }

    /// Whether there is time enough to let other threads have the processor for a while, a second or
    /// more. Whoever sleeps until a deadline is woken in time; whoever offers its processor to others
    /// gets it back when they have had their share.
    fn is_far(self) -> bool {
        self.remaining()
            .map_or(true, |left| left >= Duration::from_secs(1))
    }

    pub(in super::super) fn has_passed(self) -> bool {
        self.remaining() == Some(Duration::ZERO)
    }
}

/// `threading.Condition`: a lock, the value it protects, and a queue of threads that wait for the
/// value to change.
///
/// `Condvar::notify_all` enters the kernel even when nobody waits. Python's condition does not,
/// since it keeps a list of its waiters, and takes them out when it notifies them; this one counts
/// them under its lock, to the same end.
pub(in super::super) struct Condition<T: ?Sized> {
    condvar: Condvar,
    /// The last field, so that a `&Condition<T>` can be unsized to a `&Condition<dyn Trait>`.
    lock: Mutex<Waited<T>>,
}

/// What the lock protects.
struct Waited<T: ?Sized> {
    /// How many threads are asleep in `wait_for`, less the notified.
    sleepers: u32,
    /// How many were notified and have not woken up yet.
    notified: u32,
    /// What the condition protects, reached through [`Acquired`].
    value: T,
}

// A panic cannot leave a value half-changed, as no code of the user's runs under the lock. Without these
// lines it would depend on the platform: `Condvar` is both on Linux, and neither on Windows, in Rust
// 1.63.
impl<T: ?Sized> UnwindSafe for Condition<T> {}
impl<T: ?Sized> RefUnwindSafe for Condition<T> {}

/// A held lock of a [`Condition`]; dropping it is Python's `release`.
pub(in super::super) struct Acquired<'a, T: ?Sized> {
    condition: &'a Condition<T>,
    waited: MutexGuard<'a, Waited<T>>,
}

impl<T> Condition<T> {
    pub(in super::super) fn new(value: T) -> Self {
        Condition {
            condvar: Condvar::new(),
            lock: Mutex::new(Waited {
                sleepers: 0,
                notified: 0,
                value,
            }),
        }
    }

    /// Waits until `predicate` holds or the deadline passes, whichever comes first, and returns
    /// with the lock held. The caller looks at the value to learn which of the two it was.
    #[inline]
    pub(in super::super) fn wait_for(
        &self,
        predicate: impl Fn(&T) -> bool,
        deadline: Deadline,
    ) -> Acquired<'_, T> {
        let acquired = self.acquire();
        if predicate(&acquired) || matches!(deadline, Deadline::Now) {
            return acquired;
        }
        drop(acquired);
        if let Some(acquired) = self.spin_for(&predicate, deadline) {
            return acquired;
        }
        let mut acquired = self.acquire();
        while !predicate(&acquired) {
            match deadline.remaining() {
                Some(Duration::ZERO) => break,
                remaining => acquired = acquired.sleep(remaining),
            }
        }
        acquired
    }
}

impl<T: ?Sized> Condition<T> {
    /// Looks again a few times whether `predicate` holds, and gives up before it would cost much.
    #[inline]
    pub(in super::super) fn spin_for(
        &self,
        predicate: impl Fn(&T) -> bool,
        deadline: Deadline,
    ) -> Option<Acquired<'_, T>> {
        spin(
            || self.try_acquire().filter(|acquired| predicate(acquired)),
            || deadline.is_far(),
        )
    }

    #[inline]
    pub(in super::super) fn acquire(&self) -> Acquired<'_, T> {
        Acquired {
            condition: self,
            waited: lock(&self.lock),
        }
    }

    #[inline]
    fn try_acquire(&self) -> Option<Acquired<'_, T>> {
        Some(Acquired {
            condition: self,
            waited: try_lock(&self.lock)?,
        })
    }
}

impl<T> Acquired<'_, T> {
    fn sleep(mut self, timeout: Option<Duration>) -> Self {
        self.waited.sleepers += 1;
        let condvar = &self.condition.condvar;
        self.waited = match timeout {
            None => condvar
                .wait(self.waited)
                .unwrap_or_else(PoisonError::into_inner),
            Some(timeout) => {
                condvar
                    .wait_timeout(self.waited, timeout)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        };
        // A waking thread cannot tell why it woke: by a notification, for the time, or by chance. It takes
        // a notification if one is on its way, whoever that was meant for. The thread that it was meant
        // for then counts as having woken by itself, so the totals are right.
        match self.waited.notified.checked_sub(1) {
            Some(others) => self.waited.notified = others,
            None => self.waited.sleepers -= 1,
        }
        self
    }
}

impl<T: ?Sized> Acquired<'_, T> {
    /// How many threads are asleep with no notification on its way.
    pub(in super::super) fn sleepers(&self) -> usize {
        self.waited.sleepers as usize
    }

    /// Releases the lock, then wakes one sleeper, if there is one: in this order, lest the woken
    /// thread's first act be to wait for the lock.
    pub(in super::super) fn notify(self) {
        let Acquired {
            condition,
            mut waited,
        } = self;
        if waited.sleepers == 0 {
            return;
        }
        waited.sleepers -= 1;
        waited.notified += 1;
        drop(waited);
        condition.condvar.notify_one();
    }

    /// Releases the lock, then wakes every sleeper, if there is any.
    #[inline]
    pub(in super::super) fn notify_all(self) {
        let Acquired {
            condition,
            mut waited,
        } = self;
        if waited.sleepers == 0 {
            return;
        }
        waited.notified += mem::take(&mut waited.sleepers);
        drop(waited);
        condition.condvar.notify_all();
    }
}

impl<T: ?Sized> Deref for Acquired<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.waited.value
    }
}

impl<T: ?Sized> DerefMut for Acquired<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.waited.value
    }
}

/// `threading.Event`.
pub(in super::super) struct Event {
    flag: Condition<Flag>,
}

struct Flag {
    is_set: bool,
    /// How often it was set. It wraps around.
    sets: u32,
}

impl Event {
    pub(in super::super) fn new() -> Self {
        Event {
            flag: Condition::new(Flag {
                is_set: false,
                sets: 0,
            }),
        }
    }

    pub(in super::super) fn set(&self) {
        let mut flag = self.flag.acquire();
        flag.is_set = true;
        flag.sets = flag.sets.wrapping_add(1);
        flag.notify_all();
    }

    pub(in super::super) fn clear(&self) {
        self.flag.acquire().is_set = false;
    }

    pub(in super::super) fn is_set(&self) -> bool {
        self.flag.acquire().is_set
    }

    /// Waits until the event is set or the deadline passes, and returns whether it was set.
    pub(in super::super) fn wait(&self, deadline: Deadline) -> bool {
        // Who sets it may clear it before a sleeper that was woken gets the lock. Nobody would know of that from
        // the flag alone.
        let sets = self.flag.acquire().sets;
        let was_set = |flag: &Flag| flag.is_set || flag.sets != sets;
        was_set(&self.flag.wait_for(was_set, deadline))
    }
}

/// `threading.Thread`: made first and started later, and any number of threads may join it.
pub(in super::super) struct Thread {
    /// `None` until the thread was started.
    id: Mutex<Option<ThreadId>>,
    /// `None` before the thread was started, and once it was joined. The lock is held while a thread
    /// joins.
    handle: Mutex<Option<JoinHandle<()>>>,
    /// Set when the target has returned. Std cannot join with a time-out.
    ended: Event,
}

impl Thread {
    pub(in super::super) fn new() -> Arc<Self> {
        Arc::new(Thread {
            id: Mutex::new(None),
            handle: Mutex::new(None),
            ended: Event::new(),
        })
    }

    pub(in super::super) fn start(
        self: &Arc<Self>,
        builder: thread::Builder,
        target: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let ending = Ending(Arc::clone(self));
        let handle = builder.spawn(move || {
            // Dropped after the target, also when that panics.
            let _ending = ending;
            target();
        })?;
        *lock(&self.id) = Some(handle.thread().id());
        *lock(&self.handle) = Some(handle);
        Ok(())
    }

    pub(in super::super) fn is_current(&self) -> bool {
        *lock(&self.id) == Some(thread::current().id())
    }

    /// Whether its target has not returned yet.
    pub(in super::super) fn is_alive(&self) -> bool {
        !self.ended.is_set()
    }

    /// Returns when the thread has ended, or the deadline has passed: then it is still alive. What is
    /// left of a thread whose target has returned, the destructors of its thread-locals, is waited for
    /// in any case.
    ///
    /// A second caller waits for the lock that the first one holds while it waits for the thread, and so
    /// returns no earlier.
    pub(in super::super) fn join(&self, deadline: Deadline) {
        if !matches!(deadline, Deadline::Never) && !self.ended.wait(deadline) {
            return;
        }
        let mut handle = lock(&self.handle);
        if let Some(handle) = handle.take() {
            // An error would be the thread's panic, which was reported when it happened.
            let _ = handle.join();
        }
    }
}

static _THREADING_ATEXITS: process_wide::sync::Mutex<Atexits> =
    process_wide::sync::Mutex::new((Vec::new(), false));

/// What is to be called at the end of the program, and whether that has come.
type Atexits = (Vec<fn(Deadline)>, bool);

/// Has `func` called by [`_shutdown`]; at once, if that was called before, where Python raises an error.
pub(in super::super) fn _register_atexit(func: fn(Deadline)) {
    let mut atexits = _THREADING_ATEXITS
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let (funcs, exiting) = &mut *atexits;
    if funcs.contains(&func) {
        // Not called again: it would wait for what `_shutdown` has given up waiting for.
        return;
    }
    funcs.push(func);
    if *exiting {
        drop(atexits);
        func(Deadline::Never);
    }
}

/// Calls what was registered, the last first. None is to wait longer than until the deadline.
pub(in super::super) fn _shutdown(deadline: Deadline) {
    let mut atexits = _THREADING_ATEXITS
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    atexits.1 = true;
    let funcs = atexits.0.clone();
    drop(atexits);
    for func in funcs.iter().rev() {
        func(deadline);
    }
}

/// Says that a thread's target has returned.
struct Ending(Arc<Thread>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.ended.set();
    }
}
