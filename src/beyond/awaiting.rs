// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! Awaiting a future in an async program, which CPython does with `asyncio.wrap_future`.

use super::super::_base::{Error, Future};
use super::any_future::AnyFuture;
use std::future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// A future can be awaited in any async runtime, so that an event loop does not block while a pool
/// works: what `loop.run_in_executor` is in Python.
///
/// The output is that of [`Future::result`], a clone of the value; hence the bound. Any number of
/// tasks may await the same future, each through a handle of its own. A task that is dropped leaves
/// nothing behind, and does not cancel the call. Polling does not block, but for one clone of the value
/// that another thread is making at the moment, and those of other tasks that are polled with it.
///
/// A future that nobody awaits pays nothing for it. The task is woken by the thread that completes
/// the future, in the order in which done-callbacks are called; and a worker that calls a waker is as
/// busy as one that calls a callback. So a task that submits its next call as soon as it is woken may
/// find the worker not idle yet, and have the pool start another, within `max_workers`.
///
/// ```
/// use concurrent_futures::{Executor, ThreadPoolExecutor};
///
/// async fn answer(pool: &ThreadPoolExecutor) -> Result<i32, Box<dyn std::error::Error>> {
///     let future = pool.submit(|| 6 * 7)?; // something that would block the event loop
///     Ok(future.await?)
/// }
/// ```
///
/// CPython: `asyncio.wrap_future`, and `Future.__await__` of `asyncio`.
impl<T: Clone> future::Future for Future<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // A handle of its own, so that what this one has left is in its place when a waker panics.
        let future = self.clone();
        if future.wake_when_done(&mut self.awaited, context.waker()) {
            Poll::Ready(self.result(Duration::ZERO))
        } else {
            Poll::Pending
        }
    }
}

/// The same for a future whose type was left out: the output says whether the call failed, or was
/// cancelled.
///
/// CPython: `asyncio.wrap_future`.
impl future::Future for AnyFuture {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.wake_when_done(context.waker()) {
            return Poll::Pending;
        }
        Poll::Ready(match self.exception(Duration::ZERO) {
            Ok(None) => Ok(()),
            Ok(Some(exception)) => Err(Error::Exception(exception)),
            Err(error) => Err(error),
        })
    }
}
