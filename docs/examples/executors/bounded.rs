//! An executor that bounds how many tasks of another one may be outstanding.

use concurrent_futures::{Exception, Executor, Future, ShutdownOptions, SubmitError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// Passes calls on to another executor, but no more than `bound` at a time: a producer that is faster
/// than the workers does not fill the memory with calls that wait.
///
/// When it is full, `submit` blocks, and [`submit_if_room`](BoundedExecutor::submit_if_room) refuses. A
/// task must not submit to it but with the latter: if all did, none would end and make room.
///
/// A call takes up room until it has run, which is before its result can be seen, or was dropped unrun. A
/// thread pool drops a call when it is cancelled; another executor may keep it until its turn comes.
pub struct BoundedExecutor<X> {
    executor: X,
    room: Arc<Room>,
}

struct Room {
    left: Mutex<usize>,
    freed: Condvar,
}

/// Room for one call, which goes where the call goes: it is given back when the call's captures are
/// dropped, however that comes about.
struct Place(Arc<Room>);

impl Drop for Place {
    fn drop(&mut self) {
        *self.0.left.lock().unwrap() += 1;
        self.0.freed.notify_one();
    }
}

impl Place {
    fn take(room: &Arc<Room>, mut left: MutexGuard<'_, usize>) -> Self {
        *left -= 1;
        Place(Arc::clone(room))
    }
}

impl<X: Executor> BoundedExecutor<X> {
    /// Panics if `bound` is zero: every `submit` would block for ever.
    pub fn new(executor: X, bound: usize) -> Self {
        assert!(bound > 0, "bound must be greater than 0");
        let (left, freed) = (Mutex::new(bound), Condvar::new());
        let room = Arc::new(Room { left, freed });
        BoundedExecutor { executor, room }
    }

    /// `submit` that does not block: `None` when it is full. The call is dropped then.
    pub fn submit_if_room<F, T>(&self, f: F) -> Result<Option<Future<T>>, SubmitError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let left = self.room.left.lock().unwrap();
        if *left == 0 {
            return Ok(None);
        }
        let place = Place::take(&self.room, left);
        let future = self.executor.submit(move || (f(), drop(place)).0)?;
        Ok(Some(future))
    }
}

impl<X: Executor> Executor for BoundedExecutor<X> {
    /// Blocks until there is room.
    fn try_submit<F, T, E>(&self, f: F) -> Result<Future<T>, SubmitError>
    where
        F: FnOnce() -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Into<Exception>,
    {
        let mut left = self.room.left.lock().unwrap();
        while *left == 0 {
            left = self.room.freed.wait(left).unwrap();
        }
        let place = Place::take(&self.room, left);
        self.executor.try_submit(move || (f(), drop(place)).0)
    }

    fn shutdown_with(&self, options: ShutdownOptions) {
        self.executor.shutdown_with(options);
    }
}
