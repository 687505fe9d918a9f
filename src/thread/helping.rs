//! A worker that waits for a call of its own pool.

use super::super::_base::{Blocked, Exception, Future, Help, PoolNumber, Work, LOGGER};
use super::super::stdlib::threading::{lock, Deadline};
use super::{_WorkItem, run, Counted, Pool, Unfinished};
use std::cell::RefCell;
use std::mem;
use std::sync::Weak;

thread_local! {
    /// The pool that this thread is a worker of.
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

/// What a worker has to know to help.
#[derive(Clone)]
pub(super) struct Current {
    pub(super) pool: Weak<Pool>,
    pub(super) number: PoolNumber,
    pub(super) unfinished: Weak<Unfinished>,
    /// How many calls this thread may run within others.
    pub(super) depth: usize,
}

/// Stack for a call within another, and for what both need of it, as a rough measure: so deep, and no
/// deeper, calls are run within others.
pub(super) const STACK_OF_A_CALL: usize = 32 << 10;
/// What std gives a thread.
pub(super) const DEFAULT_STACK: usize = 2 << 20;

/// A worker that waits for a call of its own pool runs it itself, if no other has begun it. Python's and
/// Java's documentation warn of what happens otherwise: all workers wait, and nobody is left to run what
/// they wait for. No new deadlock comes of it, as the worker cannot go on before that call is done.
pub(super) struct Helping {
    pub(super) unfinished: Weak<Unfinished>,
}

impl Current {
    /// From now on, this thread is a worker of this pool.
    pub(super) fn set(self) {
        let _ = CURRENT.try_with(|current| *current.borrow_mut() = Some(self));
    }
}

impl Helping {
    /// For a call of this pool; an error says why this thread is not to run it.
    pub(super) fn begin(number: Option<PoolNumber>, deadline: Deadline) -> Result<Self, Help> {
        let current = CURRENT.try_with(|current| current.borrow().clone());
        let current = match current {
            Ok(Some(current)) => current,
            _ => return Err(Help::NoWorker),
        };
        if number != Some(current.number) {
            return Err(Help::Wait);
        }
        if current.depth == 0 || !matches!(deadline, Deadline::Never) {
            return Err(
                BlockedWorker::new(&current).map_or(Help::Wait, |it| Help::Blocked(Box::new(it)))
            );
        }
        Helping::deeper(|depth| depth - 1);
        Ok(Helping {
            unfinished: current.unfinished,
        })
    }

    fn deeper(change: impl FnOnce(usize) -> usize) {
        let _ = CURRENT.try_with(|current| {
            if let Some(current) = &mut *current.borrow_mut() {
                current.depth = change(current.depth);
            }
        });
    }
}

impl Drop for Helping {
    fn drop(&mut self) {
        Helping::deeper(|depth| depth + 1);
    }
}

/// A worker that waits for a call of its own pool, and may not run it: because the pool was told so, or
/// the waiting has a time-out, or calls are nested too deeply. When all workers do, that is logged, once.
struct BlockedWorker {
    pool: Weak<Pool>,
}

impl Blocked for BlockedWorker {}

impl BlockedWorker {
    fn new(current: &Current) -> Option<Self> {
        let pool = current.pool.upgrade()?;
        let mut state = lock(&pool.shutdown_lock);
        state.blocked += 1;
        let warn = state.blocked == pool.max_workers && !mem::replace(&mut state.warned, true);
        drop(state);
        if warn {
            let message = format!(
                "all {} workers of the pool {:?} wait for calls of the same pool that are still queued",
                pool.max_workers, pool.thread_name_prefix
            );
            LOGGER.critical(&message, None);
        }
        // It may be the last reference by now, and dropping the pool drops the initializer.
        LOGGER.log_panic("Exception in worker", || drop(pool));
        Some(BlockedWorker {
            pool: Weak::clone(&current.pool),
        })
    }
}

impl Drop for BlockedWorker {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            let mut state = lock(&pool.shutdown_lock);
            state.blocked -= 1;
            drop(state);
            LOGGER.log_panic("Exception in worker", || drop(pool));
        }
    }
}

impl<F, T, E> Work<T> for _WorkItem<F>
where
    F: FnOnce() -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: Into<Exception>,
{
    fn discard(&self) {
        // Not dropped with the lock held.
        let f = lock(&self.f).take();
        drop(f);
    }

    fn help(&self, future: &Future<T>, deadline: Deadline) -> Help {
        let helping = match Helping::begin(future.pool(), deadline) {
            Ok(helping) => helping,
            Err(help) => return help,
        };
        let f = match lock(&self.f).take() {
            Some(f) => f,
            None => return Help::Wait,
        };
        let mut counted = Counted {
            unfinished: Some(&helping.unfinished),
        };
        run(future, f, &mut counted);
        if future.cancelled() {
            // The worker that meets it takes it off the count.
            counted.unfinished = None;
        }
        Help::Ran
    }
}
