// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! Chunks of a `map`: in CPython `itertools.batched`, and `_chain_from_iterable_of_lists`.

use super::super::_base::{Chunk, Exception, Map, NextTask, Private, Submit, SubmitError};
use super::super::stdlib::multiprocessing::connection::Message;
use super::super::stdlib::pickle::{Dump, Load, Unpickler};
use super::{CallOptions, ProcessPoolExecutor, CHUNK, RETURNED};
use std::iter::Fuse;

/// What a [`Map`](super::super::Map) with a [`buffersize`](super::super::MapOptions::buffersize) has not
/// submitted yet.
pub struct Chunks<'a, I, T> {
    pub(super) executor: &'a ProcessPoolExecutor,
    /// The number of the function.
    pub(super) function: u32,
    /// The end of the items may come within a chunk, and is not asked for again.
    pub(super) iterator: Fuse<I>,
    pub(super) chunksize: usize,
    /// Whether an `Err` ends a chunk.
    pub(super) stop_at_err: bool,
    pub(super) load: fn(&mut Unpickler<'_>) -> Result<T, Exception>,
}

/// The iterator over the results of [`ProcessPoolExecutor::map_with`].
pub type MapWith<'a, I, T> = Map<T, Chunks<'a, <I as IntoIterator>::IntoIter, T>>;

impl<I: Iterator, T> Chunks<'_, I, T>
where
    I::Item: Dump,
{
    /// The message that asks for the next calls, and how many they are.
    fn next(&mut self) -> Result<(Message, usize), Exception> {
        let registry = &self.executor.pool().registry;
        let mut count = 0;
        let call_item = Message::new(|bytes| {
            (CHUNK, self.function).dump(&mut registry.pickler(bytes))?;
            (count, self.stop_at_err).dump(&mut registry.pickler(bytes))?;
            let begin = bytes.len();
            for item in self.iterator.by_ref().take(self.chunksize) {
                item.dump(&mut registry.pickler(bytes))?;
                count += 1;
            }
            let mut head = Vec::new();
            (count, self.stop_at_err).dump(&mut registry.pickler(&mut head))?;
            bytes[begin - head.len()..begin].copy_from_slice(&head);
            Ok::<_, Exception>(Vec::new())
        })?;
        Ok((call_item, count))
    }
}

impl<I, T> Submit<T> for Chunks<'_, I, T>
where
    I: Iterator,
    I::Item: Dump,
    T: Send + 'static,
{
    fn submit_next(&mut self, _: Private) -> NextTask<T> {
        let load = self.load;
        match self.next() {
            Ok((_, 0)) => None,
            Ok((call_item, count)) => {
                let future = self.executor.submit_call_item(
                    call_item,
                    CallOptions::new(),
                    move |unpickler| load_chunk(unpickler, count, load),
                );
                Some(future.map(|future| (future, count)))
            }
            Err(exception) => Some(Err(SubmitError::Pickling(exception))),
        }
    }

    fn at_most(&self, _: Private) -> Option<usize> {
        self.iterator.size_hint().1
    }
}

/// The results of a chunk: one for each of its items, up to the first that failed.
fn load_chunk<T>(
    unpickler: &mut Unpickler<'_>,
    count: usize,
    load: fn(&mut Unpickler<'_>) -> Result<T, Exception>,
) -> Result<Chunk<T>, Exception> {
    let mut values = Vec::new();
    for _ in 0..count {
        let result = match u8::load(unpickler)? {
            RETURNED => load(unpickler),
            _ => Err(Exception::load(unpickler)?),
        };
        match result {
            Ok(value) => values.push(value),
            Err(exception) => return Ok(Chunk::failed(values, exception)),
        }
    }
    Ok(Chunk::all(values))
}
