// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! What `wait` and `as_completed` take, and the set that they make of it.

use super::super::stdlib::threading::Condition;
use super::{
    _AcquireFutures, Future, FutureSet, Installed, PoolNumber, Positions, Shared, State, Worker,
    LOGGER,
};
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::mem;
use std::sync::Arc;

/// What [`wait`](super::wait) and [`as_completed`](super::as_completed) take: a [`Future`], an
/// `AnyFuture`, or a reference to one of them.
///
/// It cannot be implemented, and its method cannot be called, elsewhere.
pub trait Waitable<T>: Clone + Eq + Hash + fmt::Debug {
    /// Always the type itself. A struct has to use its parameter `T`;
    /// [`DoneAndNotDoneFutures`](super::DoneAndNotDoneFutures) does so by this, instead of by a private
    /// field, so that it can be taken apart.
    type Handle;

    #[doc(hidden)]
    fn untyped(&self, _: Private) -> Untyped<'_>;
}

/// A reference to a future stands for it, and is what is yielded or returned.
impl<T, F: Waitable<T>> Waitable<T> for &F {
    type Handle = Self;

    fn untyped(&self, private: Private) -> Untyped<'_> {
        // The same reference may be given twice.
        (**self).untyped(private).shared_if(true)
    }
}

/// Makes a method private to this crate: the method asks for one of these, and nobody else can make one.
pub struct Private(pub(super) ());

/// A future as those who wait see it, whatever its type.
pub struct Untyped<'a> {
    pub(super) condition: &'a Condition<Shared<dyn Erased + 'a>>,
    /// The future itself, whose call a worker may have to run.
    future: &'a dyn Queued,
    /// Whether there may be another handle.
    is_shared: bool,
}

impl Untyped<'_> {
    /// The same, if there may be other handles to the handle that this was made of.
    pub(in super::super) fn shared_if(self, is_shared: bool) -> Self {
        Untyped {
            is_shared: self.is_shared || is_shared,
            ..self
        }
    }
}

/// The [`TypedPart`](super::TypedPart) of a future whose type is not known. There is nothing to call, as
/// waiting never touches it.
pub(super) trait Erased {}

impl<R> Erased for R {}

/// A future whose call may still be in the queue of a pool.
pub(super) trait Queued {
    /// Whether it is in the queue of that pool.
    fn is_queued(&self, pool: PoolNumber) -> bool;

    /// Whether it is not done, and another pool made it, or none.
    fn is_elsewhere(&self, pool: PoolNumber) -> bool;

    fn run(&self, worker: &Worker) -> bool;
}

impl<T> Queued for Future<T> {
    fn is_queued(&self, pool: PoolNumber) -> bool {
        let shared = self.acquire();
        shared.state == State::Pending && shared.pool == Some(pool)
    }

    fn is_elsewhere(&self, pool: PoolNumber) -> bool {
        let shared = self.acquire();
        !shared.state.is_final() && shared.pool != Some(pool)
    }

    fn run(&self, worker: &Worker) -> bool {
        worker.run(self)
    }
}

/// What a worker waits for.
pub(super) trait Wanted {
    /// The first that is queued in that pool, in the order given.
    fn queued(&mut self, pool: PoolNumber) -> Option<&dyn Queued>;

    /// Whether one that is not done yet does not come from that pool.
    fn any_elsewhere(&mut self, pool: PoolNumber) -> bool;

    /// Whoever has tried to run the first one is done with it: it is not queued any more, even if it is
    /// still pending because another worker has only just taken it out of the queue.
    fn pass(&mut self);
}

/// The one future that a worker waits for, which its own pool made. `None` once it was passed.
pub(super) struct One<'a>(pub(super) Option<&'a dyn Queued>);

impl Wanted for One<'_> {
    fn queued(&mut self, pool: PoolNumber) -> Option<&dyn Queued> {
        self.0.filter(|future| future.is_queued(pool))
    }

    fn any_elsewhere(&mut self, _: PoolNumber) -> bool {
        false
    }

    fn pass(&mut self) {
        self.0 = None;
    }
}

/// How far a worker has come with the futures that it waits for.
#[derive(Default)]
pub(super) struct Candidates {
    /// None before this position is queued any more, or a worker has just tried to run it.
    from: usize,
    /// None before this position is both elsewhere and not done.
    elsewhere: usize,
}

/// Several that a worker waits for.
pub(super) struct Several<'a, T, F> {
    fs: &'a Futures<F>,
    candidates: &'a mut Candidates,
    value: PhantomData<fn() -> T>,
}

impl<'a, T, F: Waitable<T>> Several<'a, T, F> {
    pub(super) fn new(fs: &'a Futures<F>, candidates: &'a mut Candidates) -> Self {
        Several {
            fs,
            candidates,
            value: PhantomData,
        }
    }
}

impl<T, F: Waitable<T>> Wanted for Several<'_, T, F> {
    fn queued(&mut self, pool: PoolNumber) -> Option<&dyn Queued> {
        let from = &mut self.candidates.from;
        while *from < self.fs.given.len() {
            match self.fs.get(*from) {
                Some(it) if it.future.is_queued(pool) => return Some(it.future),
                _ => *from += 1,
            }
        }
        None
    }

    fn any_elsewhere(&mut self, pool: PoolNumber) -> bool {
        let elsewhere = &mut self.candidates.elsewhere;
        while *elsewhere < self.fs.given.len() {
            match self.fs.get(*elsewhere) {
                Some(it) if it.future.is_elsewhere(pool) => return true,
                _ => *elsewhere += 1,
            }
        }
        false
    }

    fn pass(&mut self) {
        self.candidates.from += 1;
    }
}

impl _AcquireFutures<'_> {
    /// Whether of those that are held, some come from this worker's pool, and others do not.
    pub(super) fn are_mixed(&self, worker: &Worker) -> bool {
        let is_own = |pool: Option<PoolNumber>| pool == Some(worker.number());
        let mut owns = self.not_done.iter().map(|(_, shared)| is_own(shared.pool));
        let first = owns.next();
        owns.any(|own| Some(own) != first)
    }
}

impl Untyped<'_> {
    /// Python's `id(future)`.
    fn id(&self) -> usize {
        let condition: *const _ = self.condition;
        condition as *const () as usize
    }
}

impl<T> Waitable<T> for Future<T> {
    type Handle = Self;

    fn untyped(&self, _: Private) -> Untyped<'_> {
        Untyped {
            condition: &self.core.condition,
            future: self,
            is_shared: Arc::strong_count(&self.core) > 1,
        }
    }
}

/// Futures without duplicates: what `set(fs)` is in Python.
pub(super) struct Futures<F> {
    /// In the order given. A duplicate of an earlier one, or one that was taken out, is `None`. What
    /// the rest of `_base.rs` calls a future's position is its index here.
    pub(super) given: Vec<Option<F>>,
    /// The positions of those of which this is the only handle.
    alone: Positions,
    /// The others, each with its identity and its position, in the order in which to lock them.
    shared: Vec<(usize, usize)>,
    len: usize,
}

impl<F> Futures<F> {
    pub(super) fn new<T>(fs: impl IntoIterator<Item = F>) -> Self
    where
        F: Waitable<T>,
    {
        let mut given: Vec<_> = fs.into_iter().map(Some).collect();
        let mut alone = Positions::new(given.len());
        let mut shared = Vec::new();
        for (position, future) in given.iter().enumerate() {
            let future = match future {
                Some(future) => future.untyped(Private(())),
                None => continue,
            };
            // A handle that is the only one has no duplicate, and nobody else can lock its future.
            if future.is_shared {
                shared.push((future.id(), position));
            } else {
                alone.insert(position);
            }
        }
        let len = given.len() - shared.len();
        // By address, and of several handles to one future, the first. Futures that were made one after the other
        // are in that order, mostly; `sort` makes use of it, and `sort_unstable` does not.
        shared.sort();
        let mut previous_id = None;
        shared.retain(|&(id, position)| {
            let is_new = previous_id.replace(id) != Some(id);
            if !is_new {
                given[position] = None;
            }
            is_new
        });
        Futures {
            len: len + shared.len(),
            given,
            alone,
            shared,
        }
    }

    /// How many there were.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The positions, in an order in which several futures may be locked at once.
    pub(super) fn ordered(&self) -> impl Iterator<Item = usize> + '_ {
        let shared = self.shared.iter().map(|&(_, position)| position);
        self.alone.iter().chain(shared)
    }

    /// A future that was not taken out.
    pub(super) fn get<T>(&self, position: usize) -> Option<Untyped<'_>>
    where
        F: Waitable<T>,
    {
        let future = self.given[position].as_ref()?;
        Some(future.untyped(Private(())))
    }

    /// Takes the waiter out of those that it was not told of.
    pub(super) fn uninstall<T>(&self, installed: impl IntoIterator<Item = Installed>)
    where
        F: Waitable<T>,
    {
        for Installed { position, key } in installed {
            if let Some(future) = self.get(position) {
                future.condition.acquire().waiters.remove(key);
            }
        }
    }

    /// Drops them one by one: a list of which two results panic would end the process.
    pub(super) fn clear(&mut self) {
        for future in mem::take(&mut self.given) {
            LOGGER.log_panic("exception ignored while dropping an item", || drop(future));
        }
    }

    /// Sorts them into those that are done and the others. Each set gets its room at once, as one that grows
    /// hashes everything anew.
    pub(super) fn divide(self, done: &Positions) -> (FutureSet<F>, FutureSet<F>)
    where
        F: Eq + Hash,
    {
        let number = done.len();
        let mut sets = (
            FutureSet::with_capacity(number),
            FutureSet::with_capacity(self.len - number),
        );
        for (position, future) in self.given.into_iter().enumerate() {
            if let Some(future) = future {
                let is_done = done.contains(position);
                let set = if is_done { &mut sets.0 } else { &mut sets.1 };
                set.insert(future);
            }
        }
        sets
    }
}
