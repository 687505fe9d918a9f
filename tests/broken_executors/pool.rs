//! A small thread pool that keeps every promise of the kit, and breaks any one of them if told to.

use concurrent_futures::{
    BrokenExecutor, Exception, Executor, Future, InvalidStateError, Map, ShutdownOptions,
    SubmitError,
};
use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::error::Error;
use std::mem;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// What is wrong with a pool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Flaw {
    /// Nothing.
    None,

    // What is made of a call.
    /// Runs calls without `set_running_or_notify_cancel`.
    NeverAsks,
    /// Sets calls running when they are submitted.
    AsksAtOnce,
    /// Runs calls of which `set_running_or_notify_cancel` has said that they were cancelled.
    RunsTheCancelled,
    /// Skips calls that are cancelled without `set_running_or_notify_cancel`, which would tell whoever waits.
    SkipsWithoutTelling,
    /// Makes a text of every error.
    LosesTypes,
    /// Makes an error of every panic.
    LosesPanics,
    /// Loses every tenth call.
    LosesCalls,
    /// Maps the items from the last to the first.
    MapsBackwards,

    // Which calls run, and when.
    /// Has one thread, whatever was asked for.
    HasOneThread,
    /// Has four times as many as was asked for.
    HasManyThreads,
    /// Has one more.
    HasOneThreadMore,
    /// Is a stack.
    LastInFirstOut,
    /// Runs every call within `submit`.
    RunsInSubmit,
    /// Wakes a worker only if the queue was empty.
    WakesTooFew,
    /// Can be made without workers.
    AcceptsNoWorkers,

    // Locks.
    /// Runs calls with its lock held.
    RunsLocked,
    /// Completes futures, and so calls callbacks, with its lock held.
    CompletesLocked,
    /// Cancels, and so calls callbacks, with its lock held.
    CancelsLocked,

    // Workers that end.
    /// Lets a call's panic through.
    CatchesNothing,
    /// Ends the worker of a call that has panicked, once its future is completed.
    EndsAfterPanics,
    /// Lets through what panics when it is dropped.
    DropsUnguarded,
    /// Unwraps `set_running_or_notify_cancel`.
    ExpectsToRun,
    /// Unwraps `set_result`.
    ExpectsToComplete,

    // What is kept.
    /// Keeps a handle of every future.
    KeepsFutures,
    /// Keeps the future of the last call in each worker.
    KeepsTheLast,
    /// Keeps the calls that it has refused.
    KeepsTheRefused,
    /// Keeps the calls that were cancelled.
    KeepsTheCancelled,

    // Shutting down.
    /// Takes calls after `shutdown`.
    NeverRefuses,
    /// Has another error for it.
    RefusesWithAnother,
    /// Looks whether it was shut down some time before it puts the call into the queue.
    ChecksTooEarly,
    /// Never waits in `shutdown`.
    NeverWaits,
    /// Waits also if told not to.
    AlwaysWaits,
    /// Waits in the first `shutdown` only.
    WaitsOnce,
    /// Panics in the second `shutdown`.
    PanicsTheSecondTime,
    /// Drops what is queued at `shutdown`.
    DropsTheQueue,
    /// Does not heed `cancel_futures`.
    NeverCancels,
    /// Fails the calls that are to be cancelled.
    FailsForCancels,
    /// Cancels them, and tells nobody.
    CancelsWithoutTelling,
    /// Leaves its workers asleep at `shutdown`.
    LeavesThreads,
    /// Leaves them asleep when it is dropped.
    OutlivesItsHandle,
    /// Drops the queue when it is dropped.
    DropsTheQueueInDrop,
    /// Does not shut down at the end of `with`.
    ForgetsInWith,
}

type Task = Box<dyn FnOnce(Do, &Shared) + Send>;

#[derive(Clone, Copy, PartialEq)]
enum Do {
    Run,
    Cancel,
}

pub struct Pool(Arc<Shared>);

struct Shared {
    flaw: Flaw,
    state: Mutex<State>,
    /// Notified when there is work, or no more to come.
    work: Condvar,
    /// Notified when a thread ends or a task has.
    ended: Condvar,
    kept: Mutex<Vec<Box<dyn Any + Send>>>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Task>,
    submitted: usize,
    /// Submitted, and not ended.
    outstanding: usize,
    threads: usize,
    shutdown: bool,
}

thread_local! {
    static LAST: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the worker, if nothing catches it.
fn die() -> ! {
    resume_unwind(Box::new("a worker dies"));
}

impl Pool {
    pub fn new(max_workers: usize, flaw: Flaw) -> Result<Self, Box<dyn Error>> {
        if max_workers == 0 && flaw != Flaw::AcceptsNoWorkers {
            return Err("max_workers must be greater than 0".into());
        }
        let threads = match flaw {
            Flaw::HasOneThread => 1,
            Flaw::HasManyThreads => 4 * max_workers,
            Flaw::HasOneThreadMore => max_workers + 1,
            _ => max_workers,
        };
        let shared = Arc::new(Shared {
            flaw,
            state: Mutex::new(State {
                threads,
                ..State::default()
            }),
            work: Condvar::new(),
            ended: Condvar::new(),
            kept: Mutex::default(),
        });
        for _ in 0..threads {
            let shared = Arc::clone(&shared);
            thread::Builder::new().spawn(move || worker(&shared))?;
        }
        Ok(Pool(shared))
    }
}

/// A thread that counts for as long as this exists.
struct Thread<'a>(&'a Shared);

impl Drop for Thread<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).threads -= 1;
        self.0.ended.notify_all();
    }
}

fn worker(shared: &Shared) {
    let _thread = Thread(shared);
    loop {
        let mut state = lock(&shared.state);
        let task = loop {
            let task = match shared.flaw {
                Flaw::LastInFirstOut => state.queue.pop_back(),
                _ => state.queue.pop_front(),
            };
            match task {
                Some(task) => break task,
                None if state.shutdown => return,
                None => {}
            }
            state = shared
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        };
        drop(state);
        let outcome = catch_unwind(AssertUnwindSafe(|| task(Do::Run, shared)));
        lock(&shared.state).outstanding -= 1;
        shared.ended.notify_all();
        match (shared.flaw, outcome) {
            (Flaw::CatchesNothing, Err(_))
            | (Flaw::EndsAfterPanics, Err(_))
            | (Flaw::DropsUnguarded, Err(_))
            | (Flaw::ExpectsToRun, Err(_))
            | (Flaw::ExpectsToComplete, Err(_)) => die(),
            _ => {}
        }
    }
}

/// What becomes of a call.
fn run<F, T, E>(promise: Future<T>, f: F, what: Do, shared: &Shared)
where
    F: FnOnce() -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: Into<Exception>,
{
    let flaw = shared.flaw;
    if what == Do::Cancel {
        drop(f);
        if flaw == Flaw::FailsForCancels {
            let _ = promise.set_exception(Exception::msg("shut down"));
        } else {
            promise.cancel();
        }
        if flaw != Flaw::CancelsWithoutTelling {
            let _ = promise.set_running_or_notify_cancel();
        }
        return;
    }
    let ask = || matches!(promise.set_running_or_notify_cancel(), Ok(true));
    let runs = match flaw {
        Flaw::NeverAsks | Flaw::AsksAtOnce => true,
        Flaw::RunsTheCancelled => {
            ask();
            true
        }
        Flaw::SkipsWithoutTelling => !promise.cancelled() && ask(),
        Flaw::ExpectsToRun if !ask() => die(),
        Flaw::ExpectsToRun => true,
        _ => ask(),
    };
    if !runs {
        if flaw == Flaw::KeepsTheCancelled {
            lock(&shared.kept).push(Box::new(f));
        }
        return;
    }
    let held = (flaw == Flaw::RunsLocked).then(|| lock(&shared.state));
    let outcome = if flaw == Flaw::CatchesNothing {
        f().map_err(Into::into)
    } else {
        catch_unwind(AssertUnwindSafe(|| f().map_err(Into::into)))
            .unwrap_or_else(|payload| Err(Exception::from_panic(payload)))
    };
    drop(held);
    let outcome = outcome.map_err(|exception| match flaw {
        Flaw::LosesTypes if !exception.is_panic() => Exception::msg(exception.to_string()),
        Flaw::LosesPanics if exception.is_panic() => Exception::msg(exception.to_string()),
        _ => exception,
    });
    let panicked = matches!(&outcome, Err(exception) if exception.is_panic());
    let held = (flaw == Flaw::CompletesLocked).then(|| lock(&shared.state));
    let completed = complete(&promise, outcome);
    drop(held);
    match flaw {
        Flaw::ExpectsToComplete if completed.is_err() => die(),
        Flaw::EndsAfterPanics if panicked => die(),
        Flaw::KeepsFutures => lock(&shared.kept).push(Box::new(promise)),
        Flaw::KeepsTheLast => {
            LAST.with(|last| last.replace(Some(Box::new(promise))));
        }
        _ => {}
    }
}

fn complete<T>(
    promise: &Future<T>,
    outcome: Result<T, Exception>,
) -> Result<(), InvalidStateError> {
    match outcome {
        Ok(value) => promise.set_result(value),
        Err(exception) => promise.set_exception(exception),
    }
}

impl Executor for Pool {
    fn try_submit<F, T, E>(&self, f: F) -> Result<Future<T>, SubmitError>
    where
        F: FnOnce() -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Into<Exception>,
    {
        let shared = &*self.0;
        let flaw = shared.flaw;
        let future = Future::new();
        if flaw == Flaw::AsksAtOnce {
            let _ = future.set_running_or_notify_cancel();
        }
        let promise = future.clone();
        let task: Task = Box::new(move |what, shared| run(promise, f, what, shared));
        let mut state = lock(&shared.state);
        if state.shutdown && flaw != Flaw::NeverRefuses {
            drop(state);
            if flaw == Flaw::KeepsTheRefused {
                lock(&shared.kept).push(Box::new(task));
            }
            return Err(match flaw {
                Flaw::RefusesWithAnother => BrokenExecutor::new("shut down").into(),
                _ => SubmitError::Shutdown,
            });
        }
        if flaw == Flaw::ChecksTooEarly {
            drop(state);
            thread::sleep(Duration::from_millis(1));
            state = lock(&shared.state);
        }
        state.submitted += 1;
        if flaw == Flaw::LosesCalls && state.submitted % 10 == 0 {
            return Ok(future);
        }
        state.outstanding += 1;
        if flaw == Flaw::RunsInSubmit {
            drop(state);
            task(Do::Run, shared);
            lock(&shared.state).outstanding -= 1;
            return Ok(future);
        }
        let was_empty = state.queue.is_empty();
        state.queue.push_back(task);
        drop(state);
        if was_empty || flaw != Flaw::WakesTooFew {
            shared.work.notify_one();
        }
        Ok(future)
    }

    fn shutdown_with(&self, options: ShutdownOptions) {
        let shared = &*self.0;
        let flaw = shared.flaw;
        let mut state = lock(&shared.state);
        match flaw {
            Flaw::WaitsOnce if state.shutdown => return,
            Flaw::PanicsTheSecondTime if state.shutdown => panic!("the threads are gone"),
            _ => state.shutdown = true,
        }
        let mut waiting = VecDeque::new();
        if options.cancel_futures && flaw != Flaw::NeverCancels || flaw == Flaw::DropsTheQueue {
            waiting = mem::take(&mut state.queue);
            state.outstanding -= waiting.len();
        }
        if flaw == Flaw::CancelsLocked {
            waiting
                .into_iter()
                .for_each(|task| task(Do::Cancel, shared));
        } else {
            drop(state);
            if flaw != Flaw::DropsTheQueue {
                waiting
                    .into_iter()
                    .for_each(|task| task(Do::Cancel, shared));
            }
            state = lock(&shared.state);
        }
        if flaw != Flaw::LeavesThreads {
            shared.work.notify_all();
        }
        let wait = match flaw {
            Flaw::NeverWaits => false,
            Flaw::AlwaysWaits => true,
            _ => options.wait,
        };
        let ended = |state: &State| match flaw {
            Flaw::LeavesThreads => state.outstanding == 0,
            _ => state.threads == 0,
        };
        while wait && !ended(&state) {
            state = shared
                .ended
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn try_map<F, I, T, E>(&self, f: F, iterable: I) -> Result<Map<T>, SubmitError>
    where
        F: Fn(I::Item) -> Result<T, E> + Send + Sync + 'static,
        I: IntoIterator,
        I::Item: Send + 'static,
        T: Send + 'static,
        E: Into<Exception>,
    {
        if self.0.flaw == Flaw::MapsBackwards {
            let mut items: Vec<_> = iterable.into_iter().collect();
            items.reverse();
            return Plain(self).try_map(f, items);
        }
        Plain(self).try_map(f, iterable)
    }

    fn with<R>(self, body: impl FnOnce(&Self) -> R) -> R {
        match self.0.flaw {
            Flaw::ForgetsInWith => body(&self),
            _ => Plain(&self).with(|plain| body(plain.0)),
        }
    }
}

/// A pool with the provided methods as they are.
struct Plain<'a>(&'a Pool);

impl Executor for Plain<'_> {
    fn try_submit<F, T, E>(&self, f: F) -> Result<Future<T>, SubmitError>
    where
        F: FnOnce() -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Into<Exception>,
    {
        self.0.try_submit(f)
    }

    fn shutdown_with(&self, options: ShutdownOptions) {
        self.0.shutdown_with(options);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let shared = &*self.0;
        let mut state = lock(&shared.state);
        if shared.flaw == Flaw::OutlivesItsHandle {
            return;
        }
        state.shutdown = true;
        let mut dropped = VecDeque::new();
        if shared.flaw == Flaw::DropsTheQueueInDrop {
            dropped = mem::take(&mut state.queue);
        }
        drop(state);
        drop(dropped);
        shared.work.notify_all();
    }
}
