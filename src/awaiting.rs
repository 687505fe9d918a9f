//! Awaiting a future in an async program, which CPython does with `asyncio.wrap_future`.

use super::_base::{Callback, Error, Future};
use super::threading::lock;
use std::future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Whom to wake, for one handle that is being awaited. The handle changes the waker, and the
/// callback that it left with the future takes it.
pub struct Task {
    waker: Mutex<Option<Waker>>,
}

/// The done-callback that wakes a task.
struct Wake(Arc<Task>);

impl<T> Callback<T> for Wake {
    fn call(self: Box<Self>, _future: &Future<T>) {
        self.0.wake();
    }

    fn postpone(self: Box<Self>, _future: Future<T>) -> Box<dyn FnOnce()> {
        Box::new(move || self.0.wake())
    }

    fn discard(self: Box<Self>) -> Box<dyn FnOnce()> {
        Box::new(move || drop(self))
    }

    fn wakes(&self, task: &Task) -> bool {
        std::ptr::eq(&*self.0, task)
    }
}

impl Task {
    fn wake(&self) {
        let waker = lock(&self.waker).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// From now on, this is the waker. Cloned and dropped outside the lock: both are the runtime's
    /// own code.
    fn set_waker(&self, waker: &Waker) {
        let known = lock(&self.waker)
            .as_ref()
            .map_or(false, |known| known.will_wake(waker));
        if !known {
            let waker = Some(waker.clone());
            let replaced = std::mem::replace(&mut *lock(&self.waker), waker);
            drop(replaced);
        }
    }
}

/// A future can be awaited in any async runtime, so that an event loop does not block while a pool
/// works: what `loop.run_in_executor` is in Python.
///
/// The output is that of [`Future::result`], a clone of the value; hence the bound. Any number of
/// tasks may await the same future, each through a handle of its own. A task that is dropped leaves
/// nothing behind, and does not cancel the call. Polling does not block, but for as long as another
/// thread takes to clone the value.
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
        if !self.done() {
            let waker = context.waker();
            match &self.task {
                Some(task) => task.set_waker(waker),
                None => self.task = self.leave_waker(waker.clone()),
            }
            // It may have got done in between, and called the waker that was set before.
            if !self.done() {
                return Poll::Pending;
            }
        }
        self.task = None;
        Poll::Ready(self.result(Duration::ZERO))
    }
}

impl<T> Future<T> {
    /// Leaves a callback that wakes, unless the future is done.
    fn leave_waker(&self, waker: Waker) -> Option<Arc<Task>> {
        let task = Arc::new(Task {
            waker: Mutex::new(Some(waker)),
        });
        let wake = Box::new(Wake(Arc::clone(&task)));
        let mut shared = self.acquire();
        if shared.is_done() {
            return None;
        }
        shared.done_callbacks.push(wake);
        drop(shared);
        Some(task)
    }
}

/// Takes back what polling has left with the future.
impl<T> Drop for Future<T> {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            let mut shared = self.acquire();
            let callbacks = &mut shared.done_callbacks;
            if let Some(position) = callbacks.iter().position(|callback| callback.wakes(&task)) {
                callbacks.remove(position);
            }
        }
    }
}
