// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! How `map` submits: all at the call, or, with a `buffersize`, as results are taken.

use super::super::stdlib::threading::Deadline;
use super::{Exception, Executor, Future, Map, MapOptions, Private, SubmitError, ValueError};
use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;
use std::mem;
use std::panic::{catch_unwind, AssertUnwindSafe, RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

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
            iterator: iterable.into_iter(),
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
        Map {
            fs: mem::take(&mut self.fs),
            chunk: mem::replace(&mut self.chunk, Vec::new().into_iter()),
            deadline: self.deadline,
            unsubmitted: unsubmitted.map(|unsubmitted| Unsubmitted {
                executor,
                f: unsubmitted.f,
                iterator: unsubmitted.iterator,
                chunksize: unsubmitted.chunksize,
            }),
            refused: self.refused.take(),
            started: self.started,
        }
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
            chunk: Vec::new().into_iter(),
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
        Map {
            fs: mem::take(&mut self.fs),
            chunk: Vec::new().into_iter(),
            deadline: self.deadline,
            unsubmitted: None,
            refused: None,
            started: false,
        }
    }

    /// Submits the next task, if there is one.
    pub(super) fn submit_next(&mut self) {
        let unsubmitted = self.unsubmitted.as_mut();
        match unsubmitted.and_then(|unsubmitted| unsubmitted.submit_next(Private(()))) {
            Some(Ok(future)) => return self.fs.push_back(future),
            Some(Err(error)) => self.refused = Some(error),
            None => {}
        }
        self.unsubmitted = None;
    }
}

impl<T, U> Map<T, U> {
    /// Ends the iteration: cancels what was not yielded. Python's `generator.close`.
    pub(super) fn close(&mut self) {
        // First of all, as what follows may panic: the drop of a result, of the iterable.
        for future in &self.fs {
            future.cancel();
        }
        self.fs = VecDeque::new();
        self.unsubmitted = None;
        self.refused = None;
        self.chunk = Vec::new().into_iter();
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

/// The results of one task: one for each of its items, up to the first that failed.
pub(in super::super) type Chunk<T> = Vec<Result<T, Exception>>;

/// What a [`Map`] with a [`buffersize`](MapOptions::buffersize) has not submitted yet.
pub struct Unsubmitted<'a, X: ?Sized, I: Iterator, T> {
    executor: &'a X,
    /// Every task has a reference to it.
    f: Arc<MapFunction<I::Item, T>>,
    /// The items of which no task was made yet.
    iterator: I,
    /// How many items make one task.
    chunksize: usize,
}

type MapFunction<A, T> = dyn Fn(A) -> Result<T, Exception> + Send + Sync;

/// The iterator over the results of [`Executor::map_with`].
pub type MapWith<'a, X, I, T> = Map<T, Unsubmitted<'a, X, <I as IntoIterator>::IntoIter, T>>;

/// Where a [`Map`] gets its next task from; public only because `Map` mentions it. It cannot be
/// implemented, and its method cannot be called, elsewhere.
pub trait Submit<T> {
    /// Submits the next items, if there are any.
    #[doc(hidden)]
    fn submit_next(&mut self, _: Private) -> Option<Result<Future<Chunk<T>>, SubmitError>>;
}

/// The source of a map that has submitted everything.
impl<T> Submit<T> for () {
    fn submit_next(&mut self, _: Private) -> Option<Result<Future<Chunk<T>>, SubmitError>> {
        None
    }
}

impl<X, I, T> Submit<T> for Unsubmitted<'_, X, I, T>
where
    X: Executor + ?Sized,
    I: Iterator,
    I::Item: Send + 'static,
    T: Send + 'static,
{
    fn submit_next(&mut self, _: Private) -> Option<Result<Future<Chunk<T>>, SubmitError>> {
        let items: Vec<_> = self.iterator.by_ref().take(self.chunksize).collect();
        if items.is_empty() {
            return None;
        }
        let f = Arc::clone(&self.f);
        Some(self.executor.submit(move || _process_chunk(&*f, items)))
    }
}

/// CPython: `_process_chunk` in `process.py`, which loses the results that a failing item's chunk
/// had before it.
fn _process_chunk<A, T>(f: &MapFunction<A, T>, items: Vec<A>) -> Chunk<T> {
    let mut chunk = Vec::with_capacity(items.len());
    for item in items {
        let result = catch_unwind(AssertUnwindSafe(|| f(item)))
            .unwrap_or_else(|payload| Err(Exception::from_panic(payload)));
        let failed = result.is_err();
        chunk.push(result);
        if failed {
            break;
        }
    }
    chunk
}
