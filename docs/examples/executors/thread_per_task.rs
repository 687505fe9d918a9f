//! An executor that starts a thread for each task.

use concurrent_futures::{Exception, Executor, Future, Promise, ShutdownOptions, SubmitError};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// Runs every call on a thread of its own, so that no call waits for another one to end: for few, long
/// calls, above all such as wait for each other, which would deadlock in a pool.
///
/// A task must not shut it down with `wait`, since it would wait for itself.
#[derive(Default)]
pub struct ThreadPerTaskExecutor(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    idle: Condvar,
}

#[derive(Default)]
struct State {
    running: usize,
    shutdown: bool,
}

/// A task that counts as running for as long as this exists: also if its thread cannot be started, and
/// if the drop of its result panics.
struct Running(Arc<Shared>);

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.0.state.lock().unwrap();
        state.running -= 1;
        if state.running == 0 {
            self.0.idle.notify_all();
        }
    }
}

impl ThreadPerTaskExecutor {
    pub fn new() -> Self {
        ThreadPerTaskExecutor::default()
    }
}

impl Executor for ThreadPerTaskExecutor {
    fn try_submit<F, T, E>(&self, f: F) -> Result<Future<T>, SubmitError>
    where
        F: FnOnce() -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Into<Exception>,
    {
        let mut state = self.0.state.lock().unwrap();
        if state.shutdown {
            return Err(SubmitError::Shutdown);
        }
        state.running += 1;
        drop(state);
        let running = Running(Arc::clone(&self.0));
        let promise = Promise::new();
        let future = promise.future();
        let task = move || {
            // Dropped in the opposite order: the task has ended when nothing of it is left.
            let (_running, promise, f) = (running, promise, f);
            // False if it was cancelled before its thread came this far.
            if !matches!(promise.set_running_or_notify_cancel(), Ok(true)) {
                return;
            }
            let outcome = catch_unwind(AssertUnwindSafe(|| f().map_err(Into::into)))
                .unwrap_or_else(|payload| Err(Exception::from_panic(payload)));
            // An error of these would mean that somebody else has completed the future.
            let _ = match outcome {
                Ok(value) => promise.set_result(value),
                Err(exception) => promise.set_exception(exception),
            };
        };
        let spawned = thread::Builder::new().spawn(task);
        spawned.map(|_| future).map_err(SubmitError::Thread)
    }

    /// With `wait`, returns when all tasks have ended. There is nothing to cancel: every task was
    /// started when it was submitted.
    fn shutdown_with(&self, options: ShutdownOptions) {
        let mut state = self.0.state.lock().unwrap();
        state.shutdown = true;
        while options.wait && state.running > 0 {
            state = self.0.idle.wait(state).unwrap();
        }
    }
}
