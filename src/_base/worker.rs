// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! A pool's worker that waits for calls of the same pool.
//!
//! Python's and Java's documentation warn of what may come of it: all workers wait, and nobody is left to
//! run what they wait for. Here a worker that waits runs such calls itself, within its own call. In these
//! words:
//!
//! - A future is *own* if the pool made it whose worker waits. It is *queued* as long as nobody has begun
//!   its call.
//! - A wait *needs* all its futures (`result`, `exception`, `ALL_COMPLETED`; any wait with one future left),
//!   or has a *choice* of them. It is *over* when what it waits for has happened.
//! - A wait is *for good* if it has no time-out.
//! - A worker is *blocked* if of what it waits for, all that is not done is own futures. A pool is *stuck* if
//!   all its workers are blocked, for good, and none of these waits is over.
//!
//! What a wait for good needs, the worker runs at once. No program comes to hang by that which would get
//! on otherwise: the worker does nothing until that call is done, whoever runs it. If the call, in its
//! turn, waits for something that only this worker would do later, it waits in vain on any thread. (One way
//! out is lost: a call that has begun can no longer be cancelled.)
//!
//! With a choice that would be wrong. Of `wait([a, b], FIRST_COMPLETED)`, `b` may be done soon; and `a` may
//! wait for what this worker does after that. So the worker runs one of them only if the pool is stuck.
//! Own futures are completed by workers, so nothing would happen in that pool again, unless a thread from
//! outside cancels one of them. Nobody can tell whether that will be, and a pool that waits for it in vain is
//! the greater evil.
//!
//! Only what a worker waits for itself is run by it. If the last to be blocked finds the pool stuck, and
//! none of its own futures queued, it *nudges* those whose futures may be: sets their event, upon which they look
//! again. A pool becomes stuck by a worker that is blocked, or by one that ends. One that ends has found the
//! queue empty, so nobody need look; unless the system has refused its thread. It was counted meanwhile, and
//! the others were not all. So if none but the blocked are left, these are nudged.
//!
//! A wait that may not be helped, as it is not for good, or nested too deeply, or the pool was told so,
//! counts as blocked nevertheless, since the log is told, once, when all workers are.

use super::super::stdlib::keyed_list::KeyedList;
use super::super::stdlib::threading::{lock, Deadline};
use super::futures::{One, Several, Wanted};
use super::nesting::Nesting;
use super::{
    _FirstCompletedWaiter, _Waiter, AsCompleted, Future, PoolNumber, Waitable, Waiter, LOGGER,
};
use std::cell::{Cell, RefCell};
use std::mem;
use std::rc::Rc;
use std::sync::{Arc, Mutex, Weak};

thread_local! {
    /// The worker that this thread is.
    static WORKER: RefCell<Option<Rc<Worker>>> = const { RefCell::new(None) };
}

/// A worker of a pool that helps. The pool makes it before it starts the thread.
pub(in super::super) struct Worker {
    workers: Arc<Workers>,
    /// The pool's count of calls that are not done.
    unfinished: Weak<Mutex<usize>>,
    /// How many more calls it may run within others.
    levels: Cell<usize>,
    /// Takes what is left of such calls out of the queue.
    sweep: Box<dyn Fn() + Send>,
}

/// All workers of a pool. It outlives the pool: there may be calls in the queue of one that is gone.
pub(in super::super) struct Workers {
    /// The pool's futures have it, too.
    pub(in super::super) number: PoolNumber,
    /// The pool's, for the log.
    name: String,
    state: Mutex<WorkersState>,
}

struct WorkersState {
    /// How many were made and have not ended.
    workers: usize,
    /// How many are blocked.
    blocked: usize,
    /// What these wait for.
    waits: KeyedList<Wait>,
    /// Whether it was logged that all are.
    warned: bool,
}

/// What a blocked worker waits for.
struct Wait {
    waiter: Arc<dyn Waiter>,
    for_good: bool,
    /// Whether one of its futures was queued when the worker looked last.
    queued: bool,
    /// Whether the worker may run that one if the pool is stuck.
    may_help: bool,
}

/// What a worker is to do that is about to wait.
enum Act<'a> {
    /// Run a call.
    Help,
    /// Log that the pool is stuck, then look again.
    Warn,
    /// Wait, and keep this meanwhile.
    Wait(Blocked<'a>),
}

/// A worker that is blocked.
struct Blocked<'a> {
    workers: &'a Workers,
    key: usize,
}

impl Drop for Blocked<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.workers.state);
        state.blocked -= 1;
        let wait = state.waits.remove(self.key);
        drop((state, wait));
    }
}

impl Workers {
    pub(in super::super) fn new(number: PoolNumber, name: String) -> Arc<Self> {
        Arc::new(Workers {
            number,
            name,
            state: Mutex::new(WorkersState {
                workers: 0,
                blocked: 0,
                waits: KeyedList::new(),
                warned: false,
            }),
        })
    }

    /// For a worker that has just looked which of its futures are queued.
    fn block(&self, wait: Wait) -> Act<'_> {
        let mut state = lock(&self.state);
        let is_last = state.blocked + 1 == state.workers;
        // This one may be over by now, too: the worker that has ended it may be among the blocked.
        let is_over = |it: &Wait| it.waiter.is_over();
        if is_last && !is_over(&wait) && !state.waits.iter().any(is_over) {
            let others = || state.waits.iter();
            let stuck = wait.for_good && others().all(|it| it.for_good);
            if stuck && wait.may_help {
                return Act::Help;
            }
            // Whoever is nudged finds a call to run, or will say that it has none.
            let nudge_helpers = stuck && others().any(|it| it.may_help);
            let nudge = |it: &&Wait| it.may_help || it.queued && !nudge_helpers;
            if nudge_helpers || !wait.queued && !state.warned {
                let nudged = others().filter(nudge);
                nudged.for_each(|it| it.waiter.base().event.set());
            } else if wait.queued && !mem::replace(&mut state.warned, true) {
                return Act::Warn;
            }
        }
        state.blocked += 1;
        let key = state.waits.push(wait);
        Act::Wait(Blocked { workers: self, key })
    }

    fn warn(&self) {
        let message = format!(
            "all {} workers of the pool {:?} wait for calls of the same pool, and none is left to run those \
             that are still queued",
            lock(&self.state).workers,
            self.name
        );
        LOGGER.critical(&message, None);
    }
}

impl Worker {
    /// One more worker. Within a call it may run others, so many levels deep.
    pub(in super::super) fn new(
        workers: Arc<Workers>,
        unfinished: Weak<Mutex<usize>>,
        levels: usize,
        sweep: Box<dyn Fn() + Send>,
    ) -> Self {
        lock(&workers.state).workers += 1;
        Worker {
            workers,
            unfinished,
            levels: Cell::new(levels),
            sweep,
        }
    }

    pub(super) fn number(&self) -> PoolNumber {
        self.workers.number
    }

    /// Makes this thread that worker, until the guard is dropped.
    pub(in super::super) fn enter(self) -> Entered {
        let _ = WORKER.try_with(|worker| worker.replace(Some(Rc::new(self))));
        Entered
    }

    /// The worker that this thread is. (At the very end of a thread, when its thread-locals are gone, it is
    /// none.)
    pub(super) fn current() -> Option<Rc<Worker>> {
        let worker = WORKER.try_with(|worker| worker.borrow().clone());
        worker.unwrap_or(None)
    }

    /// How many levels there are left within a call that is run here; `None` if this would nest too deeply.
    fn levels_within(&self) -> Option<usize> {
        // The callbacks that this thread is in need stack, too: eight of them as much as a call.
        let needed = 1 + Nesting::depth() / 8;
        self.levels.get().checked_sub(needed)
    }

    /// Runs the call of an own future, if it is still queued and this does not nest too deeply. Returns
    /// whether it did.
    pub(super) fn run<T>(&self, future: &Future<T>) -> bool {
        struct LevelsBefore<'a>(&'a Cell<usize>, usize);
        impl Drop for LevelsBefore<'_> {
            fn drop(&mut self) {
                self.0.set(self.1);
            }
        }
        let levels = match self.levels_within() {
            Some(levels) => levels,
            None => return false,
        };
        let _before = LevelsBefore(&self.levels, self.levels.replace(levels));
        // The worker goes on when the call is done. What the call leaves to an outermost level of callbacks
        // must not be left to one that goes on only then.
        let outer_levels = Nesting::set_aside();
        let helped = future.core.work.help(future, &self.unfinished);
        drop(outer_levels);
        if helped {
            (self.sweep)();
        }
        helped
    }

    /// What this worker does in place of waiting for the waiter's event.
    pub(super) fn wait(
        &self,
        wanted: &mut dyn Wanted,
        waiter: &Arc<dyn Waiter>,
        needs_all: bool,
        deadline: Deadline,
    ) {
        let number = self.number();
        let for_good = matches!(deadline, Deadline::Never);
        let may_help = for_good && self.levels_within().is_some();
        if may_help && needs_all {
            while let Some(future) = wanted.queued(number) {
                future.run(self);
                wanted.pass();
            }
        }
        while !waiter.is_over() && !deadline.has_passed() {
            if wanted.any_elsewhere(number) {
                // Whatever the others are at, this wait may end from elsewhere. Or only own futures may come
                // to be left: of a mixture, each sets the event.
                waiter.base().event.wait(deadline);
                waiter.base().event.clear();
                continue;
            }
            let queued = wanted.queued(number);
            let act = self.workers.block(Wait {
                waiter: Arc::clone(waiter),
                for_good,
                queued: queued.is_some(),
                may_help: may_help && queued.is_some(),
            });
            match (act, queued) {
                (Act::Wait(_blocked), _) => {
                    waiter.base().event.wait(deadline);
                    // It may have been a nudge. The event is cleared first: what is over by then is seen,
                    // and what comes later sets it again.
                    waiter.base().event.clear();
                }
                (Act::Help, Some(future)) => {
                    future.run(self);
                    wanted.pass();
                }
                (Act::Help, None) => {}
                (Act::Warn, _) => self.workers.warn(),
            }
        }
    }
}

impl Worker {
    /// [`wait`](Worker::wait), until the iterator has a future to yield.
    pub(super) fn wait_for_next<T, F: Waitable<T>>(&self, iterator: &mut AsCompleted<T, F>) {
        let waiter: Arc<dyn Waiter> = Arc::clone(&iterator.waiter) as _;
        let is_last = iterator.pending == 1;
        let mut wanted = Several::new(&iterator.fs, &mut iterator.candidates);
        self.wait(&mut wanted, &waiter, is_last, iterator.deadline);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let mut state = lock(&self.workers.state);
        state.workers -= 1;
        if state.blocked == state.workers {
            // They may have taken this one, which never ran, for one that is not blocked.
            let blocked = state.waits.iter();
            blocked.for_each(|it| it.waiter.base().event.set());
        }
    }
}

/// See [`Worker::enter`].
pub(in super::super) struct Entered;

impl Drop for Entered {
    fn drop(&mut self) {
        let worker = WORKER.try_with(|worker| worker.take());
        drop(worker);
    }
}

impl<T> Future<T> {
    /// This thread is about to wait until the future is done, which that pool made. If it is one of that
    /// pool's workers, it runs the call, or waits here.
    pub(super) fn wait_as_worker(&self, pool: PoolNumber, deadline: Deadline) {
        let worker = match Worker::current() {
            Some(worker) if worker.number() == pool => worker,
            _ => return,
        };
        if matches!(deadline, Deadline::Never) && worker.run(self) {
            return;
        }
        let waiter: Arc<dyn Waiter> = Arc::new(_FirstCompletedWaiter(_Waiter::new()));
        let mut shared = self.acquire();
        if shared.state.is_final() {
            return;
        }
        let key = shared.waiters.push((Arc::clone(&waiter), 0));
        drop(shared);
        worker.wait(&mut One(Some(self)), &waiter, true, deadline);
        let _waiter = self.acquire().waiters.remove(key);
    }
}
