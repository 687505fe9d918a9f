//! An executor that runs every call at once, in the caller's thread.

use concurrent_futures::{Exception, Executor, Future, Promise, ShutdownOptions, SubmitError};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Mutex;

/// Runs every call before `submit` returns: for tests and for debugging, where one thread is easier to
/// follow than many, and for a program that takes "no threads" as a setting.
///
/// A call that waits for something the caller does after `submit` waits for ever.
#[derive(Default)]
pub struct InlineExecutor {
    shutdown: Mutex<bool>,
}

impl InlineExecutor {
    pub fn new() -> Self {
        InlineExecutor::default()
    }
}

impl Executor for InlineExecutor {
    fn try_submit<F, T, E>(&self, f: F) -> Result<Future<T>, SubmitError>
    where
        F: FnOnce() -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Into<Exception>,
    {
        // Not held while the call runs, for it may submit, or shut down, in turn.
        if *self.shutdown.lock().unwrap() {
            return Err(SubmitError::Shutdown);
        }
        let promise = Promise::new();
        let future = promise.future();
        // Nobody else has the future yet, so it is neither cancelled nor done: none of these errs.
        let _ = promise.set_running_or_notify_cancel();
        let outcome = catch_unwind(AssertUnwindSafe(|| f().map_err(Into::into)))
            .unwrap_or_else(|payload| Err(Exception::from_panic(payload)));
        let _ = match outcome {
            Ok(value) => promise.set_result(value),
            Err(exception) => promise.set_exception(exception),
        };
        Ok(future)
    }

    /// There is never anything to wait for, nor to cancel.
    fn shutdown_with(&self, _options: ShutdownOptions) {
        *self.shutdown.lock().unwrap() = true;
    }
}
