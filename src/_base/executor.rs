//! What Python's `Executor` does without: a guard for the `with` statement, and references.

use super::{Exception, Executor, Future, ShutdownOptions, SubmitError};

/// What [`Executor::with`] does at the end, whatever happens.
pub(super) struct Exit<'a, X: Executor>(pub(super) &'a X);

impl<X: Executor> Drop for Exit<'_, X> {
    fn drop(&mut self) {
        self.0.shutdown();
    }
}

impl<X: Executor + ?Sized> Executor for &X {
    fn try_submit<F, T, E>(&self, f: F) -> Result<Future<T>, SubmitError>
    where
        F: FnOnce() -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Into<Exception>,
    {
        (**self).try_submit(f)
    }

    fn shutdown_with(&self, options: ShutdownOptions) {
        (**self).shutdown_with(options);
    }
}
