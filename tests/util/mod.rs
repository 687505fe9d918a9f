//! The executors that the mix-ins in `tests/executor/` are run on: the thread pool, and one of
//! another kind, made of nothing but the crate's public names.

// Not every test file uses all of it.
#![allow(dead_code)]

use crate::executor::util::{Semaphore, SHORT_TIMEOUT};
use crate::executor::ExecutorMixin;
use concurrent_futures::{
    at_exit, Exception, Executor, Future, ShutdownOptions, SubmitError, ThreadPoolExecutor,
    ThreadPoolExecutorBuilder,
};
use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// CPython: `ThreadPoolMixin` in `util.py`.
pub struct ThreadPoolMixin;

impl ExecutorMixin for ThreadPoolMixin {
    type Executor = ThreadPoolExecutor;

    const AT_EXIT: Option<fn() -> Box<dyn Any>> = Some(|| Box::new(at_exit()));

    fn executor_type(max_workers: usize) -> Result<ThreadPoolExecutor, Box<dyn Error>> {
        Ok(ThreadPoolExecutor::new(max_workers)?)
    }
}

/// The threads of a pool, seen from outside: what CPython's tests look up in `executor._threads`.
#[derive(Clone, Default)]
pub struct Threads {
    names: Arc<Mutex<Vec<String>>>,
    ended: Semaphore,
}

thread_local! {
    static ENDING: RefCell<Option<Ending>> = const { RefCell::new(None) };
}

struct Ending(Semaphore);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.release(1);
    }
}

impl Threads {
    pub fn new() -> Self {
        Threads::default()
    }

    /// To be told of the pool's threads by an initializer.
    pub fn watch(&self, builder: ThreadPoolExecutorBuilder) -> ThreadPoolExecutorBuilder {
        let threads = self.clone();
        builder.initializer(move || {
            let name = thread::current().name().unwrap().to_owned();
            threads.names.lock().unwrap().push(name);
            let ending = Ending(threads.ended.clone());
            ENDING.with(|slot| *slot.borrow_mut() = Some(ending));
        })
    }

    /// Waits for the end of `count` threads, which are to be all, and returns their names.
    pub fn join(&self, count: usize) -> Vec<String> {
        for ended in 0..count {
            assert!(
                self.ended.try_acquire(SHORT_TIMEOUT),
                "{ended} of {count} threads have ended"
            );
        }
        let names = self.names.lock().unwrap().clone();
        assert_eq!(names.len(), count, "{names:?}");
        names
    }
}

/// Of the mix-ins' second executor.
pub struct ThreadPerTaskMixin;

impl ExecutorMixin for ThreadPerTaskMixin {
    type Executor = ThreadPerTaskExecutor;

    // The last submitted first.
    const IN_ORDER: bool = false;

    const AT_EXIT: Option<fn() -> Box<dyn Any>> = Some(|| Box::new(ThreadPerTaskExit));

    fn executor_type(max_workers: usize) -> Result<ThreadPerTaskExecutor, Box<dyn Error>> {
        ThreadPerTaskExecutor::new(max_workers)
    }
}

/// Runs every call on a thread of its own, so many at a time, the last submitted first.
pub struct ThreadPerTaskExecutor(Arc<Shared>);

struct Shared {
    max_workers: usize,
    state: Mutex<ThreadPerTaskState>,
    /// Notified when no call is running any more.
    idle: Condvar,
}

struct ThreadPerTaskState {
    /// Empty while fewer than `max_workers` calls run.
    waiting: VecDeque<Task>,
    running: usize,
    shutdown: bool,
}

type Task = Box<dyn FnOnce(What) + Send>;

enum What {
    Run,
    Cancel,
}

struct Everywhere {
    exiting: bool,
    running: usize,
}

static EVERYWHERE: Mutex<Everywhere> = Mutex::new(Everywhere {
    exiting: false,
    running: 0,
});
static IDLE_EVERYWHERE: Condvar = Condvar::new();

struct ThreadPerTaskExit;

impl Drop for ThreadPerTaskExit {
    fn drop(&mut self) {
        let mut everywhere = lock(&EVERYWHERE);
        everywhere.exiting = true;
        while everywhere.running > 0 {
            everywhere = IDLE_EVERYWHERE
                .wait(everywhere)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ThreadPerTaskExecutor {
    fn new(max_workers: usize) -> Result<Self, Box<dyn Error>> {
        if max_workers == 0 {
            return Err("max_workers must be greater than 0".into());
        }
        Ok(ThreadPerTaskExecutor(Arc::new(Shared {
            max_workers,
            state: Mutex::new(ThreadPerTaskState {
                waiting: VecDeque::new(),
                running: 0,
                shutdown: false,
            }),
            idle: Condvar::new(),
        })))
    }
}

impl Executor for ThreadPerTaskExecutor {
    fn try_submit<F, T, E>(&self, f: F) -> Result<Future<T>, SubmitError>
    where
        F: FnOnce() -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Into<Exception>,
    {
        let future = Future::new();
        let of_task = future.clone();
        let task: Task = Box::new(move |what| {
            if let What::Cancel = what {
                of_task.cancel();
            }
            // For a cancelled future, this tells those who wait for it.
            if !matches!(of_task.set_running_or_notify_cancel(), Ok(true)) {
                return;
            }
            let outcome = catch_unwind(AssertUnwindSafe(|| f().map_err(Into::into)))
                .unwrap_or_else(|payload| Err(Exception::from_panic(payload)));
            let _ = match outcome {
                Ok(value) => of_task.set_result(value),
                Err(exception) => of_task.set_exception(exception),
            };
        });
        let mut state = lock(&self.0.state);
        if state.shutdown {
            return Err(SubmitError::Shutdown);
        }
        let mut everywhere = lock(&EVERYWHERE);
        if everywhere.exiting {
            return Err(SubmitError::InterpreterShutdown);
        }
        if state.running == self.0.max_workers {
            state.waiting.push_back(task);
        } else {
            self.0
                .start(task, &mut everywhere)
                .map_err(SubmitError::Thread)?;
            state.running += 1;
        }
        Ok(future)
    }

    fn shutdown_with(&self, options: ShutdownOptions) {
        let mut state = lock(&self.0.state);
        state.shutdown = true;
        if options.cancel_futures {
            let waiting = std::mem::take(&mut state.waiting);
            drop(state);
            for task in waiting {
                task(What::Cancel);
            }
            state = lock(&self.0.state);
        }
        while options.wait && state.running > 0 {
            state = self
                .0
                .idle
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Shared {
    fn start(self: &Arc<Self>, task: Task, everywhere: &mut Everywhere) -> io::Result<()> {
        let shared = Arc::clone(self);
        thread::Builder::new().spawn(move || {
            // It panics if its result, which nobody wants any more, does so when it is dropped.
            let _ = catch_unwind(AssertUnwindSafe(|| task(What::Run)));
            shared.task_done();
        })?;
        everywhere.running += 1;
        Ok(())
    }

    fn task_done(self: &Arc<Self>) {
        let mut state = lock(&self.state);
        let mut everywhere = lock(&EVERYWHERE);
        match state.waiting.pop_back() {
            Some(task) => self
                .start(task, &mut everywhere)
                .expect("no thread for the next task"),
            None => state.running -= 1,
        }
        everywhere.running -= 1;
        if everywhere.running == 0 {
            IDLE_EVERYWHERE.notify_all();
        }
        if state.running == 0 {
            self.idle.notify_all();
        }
    }
}
