// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! How `map` submits: all at the call, or, with a `buffersize`, as results are taken.

use super::super::stdlib::threading::Deadline;
use super::{
    _result_or_cancel, Error, Exception, Executor, Future, Map, MapOptions, Private, SubmitError,
    ValueError, LOGGER,
};
use std::collections::VecDeque;
use std::fmt;
use std::iter::{Fuse, FusedIterator};
use std::mem;
use std::panic::{catch_unwind, AssertUnwindSafe, RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::vec::IntoIter;

impl<'a, X, I, T> Map<T, Unsubmitted<'a, X, I, T>>
where
    X: Executor + ?Sized,
    I: Iterator,
    I::Item: Send + 'static,
    T: Send + 'static,
{
    pub(super) fn new<E: Into<Exception>>(
        executor: &'a X,
        f: impl Fn(I::Item) -> Result<T, E> + Send + Sync + 'static,
        iterable: impl IntoIterator<Item = I::Item, IntoIter = I>,
        options: MapOptions,
    ) -> Result<Self, SubmitError> {
        let unsubmitted = Unsubmitted {
            executor,
            f: Arc::new(move |item| f(item).map_err(Into::into)),
            references: Vec::new(),
            iterator: iterable.into_iter().fuse(),
            chunksize: options.chunksize,
        };
        Map::submit(unsubmitted, options)
    }

    /// The same iterator, which submits what is left by another executor: a reference to this one.
    pub(super) fn with_executor<Y: Executor + ?Sized>(
        mut self,
        executor: &'a Y,
    ) -> Map<T, Unsubmitted<'a, Y, I, T>> {
        let unsubmitted = self.unsubmitted.take();
        let unsubmitted = unsubmitted.map(|unsubmitted| Unsubmitted {
            executor,
            f: unsubmitted.f,
            references: unsubmitted.references,
            iterator: unsubmitted.iterator,
            chunksize: unsubmitted.chunksize,
        });
        self.not_begun(unsubmitted)
    }
}

impl<T, U: Submit<T>> Map<T, U> {
    /// What `Executor.map` does before it returns its generator.
    pub(in super::super) fn submit(
        unsubmitted: U,
        options: MapOptions,
    ) -> Result<Self, SubmitError> {
        if options.buffersize == Some(0) {
            return Err(ValueError::new("buffersize must be None or > 0").into());
        }
        if options.chunksize == 0 {
            return Err(ValueError::new("chunksize must be >= 1.").into());
        }
        let mut map = Map {
            fs: VecDeque::new(),
            items: 0,
            values: Vec::new().into_iter(),
            failure: None,
            taken: None,
            deadline: Deadline::after(options.timeout),
            unsubmitted: Some(unsubmitted),
            refused: None,
            started: false,
        };
        while map.unsubmitted.is_some() && options.buffersize.map_or(true, |n| map.fs.len() < n) {
            map.submit_next();
        }
        match map.refused.take() {
            Some(error) => Err(error),
            None => Ok(map),
        }
    }

    /// The same iterator when nothing of the executor and the iterable is needed any more.
    pub(in super::super) fn all_submitted(mut self) -> Map<T> {
        self.not_begun(None)
    }

    /// Submits the next task, if there is one.
    fn submit_next(&mut self) {
        let unsubmitted = self.unsubmitted.as_mut();
        match unsubmitted.and_then(|unsubmitted| unsubmitted.submit_next(Private(()))) {
            Some(Ok((future, items))) => {
                self.items += items;
                return self.fs.push_back(future);
            }
            Some(Err(error)) => self.refused = Some(error),
            None => {}
        }
        self.unsubmitted = None;
    }

    /// `next`, when no more values are at hand.
    pub(super) fn next_chunk(&mut self) -> Option<Result<T, Error>> {
        self.started = true;
        loop {
            match self.taken.take() {
                Some(Chunk::One(value)) => return Some(Ok(value)),
                Some(Chunk::All(values)) => self.values = values.into_iter(),
                Some(Chunk::Failed(failed)) => {
                    self.values = failed.0.into_iter();
                    self.failure = Some(failed.1);
                }
                None => {}
            }
            if let Some(value) = self.values.next() {
                return Some(Ok(value));
            }
            if let Some(exception) = self.failure.take() {
                self.close();
                return Some(Err(Error::Exception(exception)));
            }
            let future = match self.fs.pop_front() {
                Some(future) => future,
                None => {
                    let error = self.refused.take()?;
                    return Some(Err(Error::Exception(error.into())));
                }
            };
            match _result_or_cancel(&future, self.deadline) {
                Ok(chunk) => {
                    self.items = self.items.saturating_sub(chunk.len());
                    self.taken = Some(chunk);
                }
                Err(error) => {
                    self.close();
                    return Some(Err(error));
                }
            }
            // Not earlier: until its result was there, the future counted towards `buffersize`. And not
            // later, as it may panic, and what was taken is not to be lost.
            self.submit_next();
        }
    }

    /// How many results and errors there will be, at the least and at the most. An error ends them, so only what
    /// is at hand is certain, and one for all tasks together.
    pub(super) fn bounds(&self) -> (usize, Option<usize>) {
        let mut at_hand = self.values.len() + usize::from(self.failure.is_some());
        let mut ends = self.failure.is_some();
        if let Some(chunk) = &self.taken {
            at_hand += chunk.len();
            ends |= matches!(chunk, Chunk::Failed(_));
        }
        if ends {
            return (at_hand, Some(at_hand));
        }
        let more = !self.fs.is_empty() || self.refused.is_some();
        let unsubmitted = match &self.unsubmitted {
            Some(unsubmitted) => unsubmitted.at_most(Private(())),
            // An error in place of items.
            None => Some(usize::from(self.refused.is_some())),
        };
        let at_most = unsubmitted.and_then(|n| n.checked_add(at_hand)?.checked_add(self.items));
        (at_hand + usize::from(more), at_most)
    }
}

impl<T, U> Map<T, U> {
    /// The same, before the first result was asked for, with another source of tasks.
    fn not_begun<V>(&mut self, unsubmitted: Option<V>) -> Map<T, V> {
        Map {
            fs: mem::take(&mut self.fs),
            items: self.items,
            values: Vec::new().into_iter(),
            failure: None,
            taken: None,
            deadline: self.deadline,
            unsubmitted,
            refused: self.refused.take(),
            started: false,
        }
    }

    /// Ends the iteration: cancels what was not yielded. Python's `generator.close`.
    pub(super) fn close(&mut self) {
        // First of all, as what follows may panic.
        for future in &self.fs {
            future.cancel();
        }
        self.clear();
    }

    /// Drops the results one by one: a list of which two panic would end the process.
    fn clear(&mut self) {
        for future in mem::take(&mut self.fs) {
            LOGGER.log_panic("exception ignored while dropping an item", || drop(future));
        }
        self.items = 0;
        let values = mem::replace(&mut self.values, Vec::new().into_iter());
        drop(Values(values.collect()));
        // Last of all, as nothing stands between these and a panic: an error, the iterable.
        self.taken = None;
        self.failure = None;
        self.refused = None;
        self.unsubmitted = None;
    }
}

impl<T, U: Submit<T>> FusedIterator for Map<T, U> {}

// No panic leaves it half-changed: futures, and results that were not looked at.
impl<T, U: UnwindSafe> UnwindSafe for Map<T, U> {}
impl<T, U: RefUnwindSafe> RefUnwindSafe for Map<T, U> {}

impl<T, U> Drop for Map<T, U> {
    fn drop(&mut self) {
        if self.started {
            self.close();
        } else {
            self.clear();
        }
    }
}

impl<T, U> fmt::Debug for Map<T, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("fs", &self.fs)
            .finish_non_exhaustive()
    }
}

/// The results of one task; public only because [`Submit`] mentions it.
pub enum Chunk<T> {
    /// That of its only item.
    One(T),
    /// Those of all its items, at least one.
    All(Values<T>),
    /// Those of the items before the one that failed, and how that one did. In a box, as it is rare, and
    /// every future has room for the largest of these.
    Failed(Box<(Values<T>, Exception)>),
}

/// The items or the results of one task; public only because [`Chunk`] mentions it. If two panic when they are
/// dropped, a `Vec` would end the process.
pub struct Values<T>(Vec<T>);

impl<T> Values<T> {
    fn into_iter(mut self) -> IntoIter<T> {
        mem::take(&mut self.0).into_iter()
    }
}

impl<T> Drop for Values<T> {
    fn drop(&mut self) {
        if mem::needs_drop::<T>() {
            for value in mem::take(&mut self.0) {
                LOGGER.log_panic("exception ignored while dropping an item", || drop(value));
            }
        }
    }
}

impl<T> Chunk<T> {
    pub(in super::super) fn all(values: Vec<T>) -> Self {
        Chunk::All(Values(values))
    }

    pub(in super::super) fn failed(values: Vec<T>, exception: Exception) -> Self {
        Chunk::Failed(Box::new((Values(values), exception)))
    }

    /// How many results and errors there are.
    fn len(&self) -> usize {
        match self {
            Chunk::One(_) => 1,
            Chunk::All(values) => values.0.len(),
            Chunk::Failed(failed) => failed.0 .0.len() + 1,
        }
    }
}

/// What a [`Map`] with a [`buffersize`](MapOptions::buffersize) has not submitted yet.
pub struct Unsubmitted<'a, X: ?Sized, I: Iterator, T> {
    executor: &'a X,
    /// Every task has a reference to it.
    f: Arc<dyn MapFunction<I::Item, T>>,
    /// Those for the next tasks.
    references: Vec<Arc<dyn MapFunction<I::Item, T>>>,
    /// The items of which no task was made yet. The end of them may come within a chunk, and is not asked for
    /// again.
    iterator: Fuse<I>,
    /// How many items make one task.
    chunksize: usize,
}

/// The iterator over the results of [`Executor::map_with`].
pub type MapWith<'a, X, I, T> = Map<T, Unsubmitted<'a, X, <I as IntoIterator>::IntoIter, T>>;

/// A task that was submitted, and how many items it has; why it was refused; or `None`, if there are no
/// more items.
pub(in super::super) type NextTask<T> = Option<Result<(Future<Chunk<T>>, usize), SubmitError>>;

/// Where a [`Map`] gets its next task from; public only because `Map` mentions it. It cannot be
/// implemented, and its methods cannot be called, elsewhere.
pub trait Submit<T> {
    /// Submits the next items.
    #[doc(hidden)]
    fn submit_next(&mut self, _: Private) -> NextTask<T>;

    /// How many items there are left at the most, if that is known.
    #[doc(hidden)]
    fn at_most(&self, _: Private) -> Option<usize>;
}

/// The source of a map that has submitted everything.
impl<T> Submit<T> for () {
    fn submit_next(&mut self, _: Private) -> NextTask<T> {
        None
    }

    fn at_most(&self, _: Private) -> Option<usize> {
        Some(0)
    }
}

impl<X, I, T> Submit<T> for Unsubmitted<'_, X, I, T>
where
    X: Executor + ?Sized,
    I: Iterator,
    I::Item: Send + 'static,
    T: Send + 'static,
{
    fn submit_next(&mut self, _: Private) -> NextTask<T> {
        if self.chunksize == 1 {
            // Without a list of one, twice.
            let item = self.iterator.next()?;
            let f = self.reference();
            let future = self.executor.submit(move || f.one(item));
            return Some(future.map(|future| (future, 1)));
        }
        let items: Vec<_> = self.iterator.by_ref().take(self.chunksize).collect();
        let count = items.len();
        if count == 0 {
            return None;
        }
        let (f, items) = (self.reference(), Values(items));
        let future = self.executor.submit(move || f.all(items));
        Some(future.map(|future| (future, count)))
    }

    fn at_most(&self, _: Private) -> Option<usize> {
        self.iterator.size_hint().1
    }
}

impl<X: ?Sized, I: Iterator, T> Unsubmitted<'_, X, I, T> {
    /// A reference to the function. They are made some at a time, more the more tasks there are: if each were made
    /// with its task, this thread would contend for their count with the workers, who drop theirs.
    fn reference(&mut self) -> Arc<dyn MapFunction<I::Item, T>> {
        self.references.pop().unwrap_or_else(|| {
            let number = (self.references.capacity() * 2).clamp(4, 64);
            self.references.resize(number, Arc::clone(&self.f));
            Arc::clone(&self.f)
        })
    }
}

/// The function of a map, whatever its type. A whole chunk is one call through here.
trait MapFunction<A, T>: Send + Sync {
    fn one(&self, item: A) -> Chunk<T>;
    fn all(&self, items: Values<A>) -> Chunk<T>;
}

impl<A, T, F> MapFunction<A, T> for F
where
    F: Fn(A) -> Result<T, Exception> + Send + Sync,
{
    fn one(&self, item: A) -> Chunk<T> {
        let result = catch_unwind(AssertUnwindSafe(|| self(item)));
        match result.unwrap_or_else(|payload| Err(Exception::from_panic(payload))) {
            Ok(value) => Chunk::One(value),
            Err(exception) => Chunk::failed(Vec::new(), exception),
        }
    }

    fn all(&self, items: Values<A>) -> Chunk<T> {
        _process_chunk(self, items)
    }
}

/// CPython: `_process_chunk` in `process.py`, which loses the results that a failing item's chunk
/// had before it.
fn _process_chunk<A, T>(f: impl Fn(A) -> Result<T, Exception>, items: Values<A>) -> Chunk<T> {
    let mut failure = None;
    let process = |item| {
        if failure.is_some() {
            LOGGER.log_panic("exception ignored while dropping an item", || drop(item));
            return None;
        }
        let result = catch_unwind(AssertUnwindSafe(|| f(item)));
        match result.unwrap_or_else(|payload| Err(Exception::from_panic(payload))) {
            Ok(value) => Some(value),
            Err(exception) => {
                failure = Some(exception);
                None
            }
        }
    };
    // Std puts the results where the items were, if they fit. So nothing may unwind through this: it would
    // drop the results. And where `f` cannot unwind, the compiler takes the `catch_unwind` out.
    let values = items.into_iter().filter_map(process).collect();
    match failure {
        None => Chunk::all(values),
        Some(exception) => Chunk::failed(values, exception),
    }
}
