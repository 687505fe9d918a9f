// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! The process pool: CPython's `process.py`.
//!
//! A worker is this program, started again. Each has a thread here, its manager, which starts it, sends it
//! one call at a time, waits for the reply, completes the future, and sees it end. A worker is
//!
//! - *starting* from when its manager is started until it has said that it is ready;
//! - *idle* when its manager has found nothing in the queue; `submit` takes it off the list of the idle to
//!   write a small call to it, or to *summon* it, upon which its manager looks into the queue again;
//! - *doomed* when it was killed, or is about to be: it gets nothing more;
//! - *retired* when the pool has let it go: its stream of calls was ended, upon which it exits by itself,
//!   or it is not waited for any more while it starts.
//!
//! A call is in the queue and pending, or in a worker's hand, which is to say that it is running, or that
//! the worker's manager is just asking whether it was cancelled. A worker has one call in its hand at most,
//! and so its death blames one call at most.

mod builder;
mod call_item;
mod command;
mod completion;
mod deadlines;
mod errors;
mod executor;
mod map;
mod options;
mod registry;
mod returns;
mod state;

use self::builder::Initializer;
use self::command::Commands;
use self::completion::{follow_up, mark_failed, Completion};
use self::returns::Returns;
use self::state::{Executing, InHand, Shutdown, WorkerProcess};
use super::_base::{
    Exception, Future, Map, MapOptions, ShutdownOptions, SubmitError, TimeoutError, ValueError,
    LOGGER,
};
use super::stdlib::multiprocessing::connection::{Connection, Incoming, Message, Receiver};
use super::stdlib::pickle::{Dump, Load, Unpickler};
use super::stdlib::process_wide;
use super::stdlib::threading::{Acquired, Condition, Deadline, Thread};
use std::convert::{Infallible, TryFrom};
use std::ffi::OsString;
use std::io;
use std::panic::{catch_unwind, AssertUnwindSafe, RefUnwindSafe, UnwindSafe};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

pub use self::builder::ProcessPoolExecutorBuilder;
pub use self::errors::{CallKilled, CallTimeout, CommandFailed, WorkerDied};
pub use self::map::{Chunks, MapWith};
pub use self::options::{CallOptions, OnCrash};
pub use self::registry::{freeze_support, Callable, Parameters, Registry};

/// What CPython's module keeps in `_threads_wakeups` and `_global_shutdown`.
struct Global {
    /// Every pool that there is. In CPython a dictionary of their threads.
    _threads_wakeups: Vec<Weak<Pool>>,
    /// `_python_exit` has run.
    _global_shutdown: bool,
    /// How many pools there were.
    counter: usize,
}

/// Innermost: nothing else is locked under it.
static GLOBAL: process_wide::sync::Mutex<Global> = process_wide::sync::Mutex::new(Global {
    _threads_wakeups: Vec::new(),
    _global_shutdown: false,
    counter: 0,
});

fn global<R>(f: impl FnOnce(&mut Global) -> R) -> R {
    f(&mut GLOBAL.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Shuts all process pools of this process down, for good, and waits until what they were given is
/// done. From then on, `submit` returns [`SubmitError::InterpreterShutdown`].
///
/// It is meant for the end of the program, and [`at_exit`](super::at_exit) calls it there. Called in a
/// callback that runs on a thread of any process pool, it waits for nobody.
///
/// CPython: `_python_exit` in `process.py`.
pub fn _python_exit() {
    python_exit(Deadline::Never);
}

/// [`_python_exit`], which waits no longer than until the deadline.
fn python_exit(deadline: Deadline) {
    let pools = global(|global| {
        global._global_shutdown = true;
        global._threads_wakeups.clone()
    });
    let pools: Vec<_> = pools.iter().filter_map(Weak::upgrade).collect();
    let options = ShutdownOptions::new();
    for pool in &pools {
        let _ = pool.shutdown(options.wait(false), Shutdown::Interpreter, Deadline::Now);
    }
    if pools.iter().any(|pool| pool.lock().is_managed_here()) {
        return;
    }
    for pool in &pools {
        if let Err(error) = pool.shutdown(options, Shutdown::Interpreter, deadline) {
            LOGGER.critical("Exception ignored at exit:", Some(&error.into()));
        }
    }
}

// The first byte of what a worker is sent.
const CALL: u8 = 1;
const CHUNK: u8 = 2;
const SUMMONS: u8 = 3;
const NAMES: u8 = 4;
// The first byte of what it replies.
const RETURNED: u8 = 1;
const RAISED: u8 = 2;
const SUMMONED: u8 = 3;

/// After so many processes in a row that died before they were ready, a pool is broken, or a command left
/// out.
const FAILED_STARTS: usize = 3;

/// A submitted call: its future, and the message that asks a worker for it.
///
/// CPython: `_WorkItem` in `process.py`.
struct _WorkItem<F: ?Sized = dyn Completion> {
    /// The future has a weak reference to it.
    call_item: Arc<_CallItem>,
    options: CallOptions,
    /// How often it came back to the queue.
    returns: Mutex<Returns>,
    future: F,
}

type Item = Arc<_WorkItem>;

/// What a worker is sent; nothing, once nobody will send it any more.
///
/// CPython: `_CallItem` in `process.py`.
struct _CallItem(Mutex<Message>);

/// Calls a function once for each of several arguments, up to the first that fails. In the reply, each
/// result has a `RETURNED` or `RAISED` before it.
///
/// CPython: `_process_chunk` in `process.py`, which loses the results before a failure.
fn _process_chunk(
    registry: &Registry,
    number: u32,
    chunk: &mut Unpickler<'_>,
    reply: &mut Vec<u8>,
) -> Result<(), Exception> {
    let (count, stop_at_err) = <(usize, bool)>::load(chunk)?;
    // Lest a death in one of the calls look like one before all of them, with their arguments unread.
    let length = usize::try_from(chunk.remaining()).unwrap_or(usize::MAX);
    let items = u8::load_vec(length, chunk)?;
    let mut items = registry.unpickler_of(&items);
    for n in 1..=count {
        let start = reply.len();
        reply.push(RETURNED);
        let outcome = registry.call(number, &mut items, n == count, reply);
        let failed = outcome.is_err();
        let tail = _sendback_result(registry, reply, start, outcome);
        reply.extend(tail);
        // A dumped `Err` begins with a one.
        if failed || (stop_at_err && reply.get(start + 1) == Some(&1)) {
            break;
        }
    }
    Ok(())
}

/// Puts an exception in the place of what was dumped since `start`, if there is one; or returns what
/// belongs behind it.
///
/// CPython: `_sendback_result` in `process.py`.
fn _sendback_result(
    registry: &Registry,
    reply: &mut Vec<u8>,
    start: usize,
    outcome: Result<Vec<u8>, Exception>,
) -> Vec<u8> {
    outcome.unwrap_or_else(|exception| {
        reply.truncate(start);
        reply.push(RAISED);
        let dump = AssertUnwindSafe(|| exception.dump(&mut registry.pickler(reply)));
        if !matches!(catch_unwind(dump), Ok(Ok(()))) {
            reply.truncate(start + 1);
            let exception = Exception::msg("an exception that cannot be dumped");
            let _ = exception.dump(&mut registry.pickler(reply));
        }
        LOGGER.log_panic("Exception in worker", || drop(exception));
        Vec::new()
    })
}

/// Evaluates calls from the parent and sends the results back, until there are no more.
///
/// CPython: `_process_worker` in `process.py`.
fn _process_worker(connection: &Connection, registry: &Registry) -> io::Result<()> {
    let mut receiver = Receiver::new();
    connection.send(&Message::of_bytes(&registry.fingerprint().to_le_bytes()))?;
    loop {
        let mut call_item = match receiver.recv_bytes(connection) {
            // CPython: the `None` in the call queue.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            received => received?,
        };
        let reply = Message::new(|reply| Ok(evaluate(&mut call_item, registry, reply)));
        call_item.finish()?;
        connection.send(&reply.unwrap_or_else(|never: Infallible| match never {}))?;
    }
}

/// Appends the reply to what the parent has sent, or returns the end of it.
fn evaluate(call_item: &mut Incoming<'_>, registry: &Registry, reply: &mut Vec<u8>) -> Vec<u8> {
    match call_item.received {
        [SUMMONS] => {
            reply.push(SUMMONED);
            return Vec::new();
        }
        [NAMES] => return registry.dump_names(),
        _ => {}
    }
    let start = reply.len();
    reply.push(RETURNED);
    let mut unpickler = registry.unpickler(call_item);
    let outcome = match <(u8, u32)>::load(&mut unpickler) {
        Ok((CALL, number)) => registry.call(number, &mut unpickler, true, reply),
        Ok((_, number)) => {
            _process_chunk(registry, number, &mut unpickler, reply).map(|()| Vec::new())
        }
        Err(error) => Err(error.into()),
    };
    _sendback_result(registry, reply, start, outcome)
}

/// The manager of one worker.
///
/// CPython: `_ExecutorManagerThread` in `process.py`, which is one for all workers.
struct _ExecutorManagerThread {
    pool: Arc<Pool>,
    /// Of the worker, in `Executing::processes`.
    number: usize,
    /// What starts it, if the pool has commands.
    command: Option<usize>,
}

/// How a worker came to its end.
enum End {
    /// There was no process to be had, or no way to talk to it.
    NotStarted(io::Error),
    /// It works, but not for this pool.
    Unusable(Exception),
    /// The process has ended, or its stream has.
    Ended {
        /// What it was sent is known to be unread, and so did not begin.
        unread: bool,
    },
}

impl _ExecutorManagerThread {
    /// CPython: `_ExecutorManagerThread.run` in `process.py`.
    fn run(&self) {
        let end = self.serve().unwrap_or_else(|end| end);
        self.join_executor_internals(end);
    }

    fn serve(&self) -> Result<End, End> {
        let process = Arc::new(self.start().map_err(End::NotStarted)?);
        let mut state = self.pool.lock();
        let worker = state.worker(self.number);
        worker.process = Some(Arc::clone(&process));
        if worker.doomed {
            worker.kill();
        }
        drop(state);
        let is_wanted = || {
            let mut state = self.pool.lock();
            let wanted = state.is_wanted(self.number);
            // For good: a call that comes back to the queue now does not make its end a failed start.
            state.worker(self.number).retired |= !wanted;
            wanted
        };
        let connection = process.connect(is_wanted).map_err(|error| match error {
            Some(error) => End::NotStarted(error),
            None => End::Ended { unread: false },
        })?;
        let mut receiver = Receiver::new();
        self.initialize(&connection, &mut receiver)?;
        let mut state = self.pool.lock();
        state.worker(self.number).connection = Some(Arc::clone(&connection));
        state.starting -= 1;
        state.failed_starts = 0;
        if let Some(command) = self.command {
            state.command_has_worked(command);
        }
        drop(state);
        self.add_call_item_to_queue(&connection, self.next_work_item());
        loop {
            let result_item = receiver.recv_bytes(&connection);
            let processed = result_item.and_then(|it| self.process_result_item(&connection, it));
            if let Err(error) = processed {
                let unread = connection.is_unread(&error);
                return Ok(End::Ended { unread });
            }
        }
    }

    /// Makes sure that the worker has the functions that this process has, and runs the initializer.
    fn initialize(&self, connection: &Connection, receiver: &mut Receiver) -> Result<(), End> {
        let ended = |_| End::Ended { unread: false };
        let registry = &self.pool.registry;
        let differs = registry.compare(connection, receiver).map_err(ended)?;
        if let Some(differs) = differs {
            return Err(End::Unusable(Exception::msg(differs)));
        }
        if let Some(initializer) = &self.pool.initializer {
            connection.send(&initializer.call_item).map_err(ended)?;
            let mut result_item = receiver.recv_bytes(connection).map_err(ended)?;
            (initializer.check)(&mut result_item, registry).map_err(|exception| {
                LOGGER.critical("Exception in initializer:", Some(&exception));
                End::Unusable(exception)
            })?;
            result_item.finish().map_err(ended)?;
        }
        Ok(())
    }

    /// Puts the next call into the worker's hand. If there is none, the worker is idle from here on, or ends.
    fn next_work_item(&self) -> Option<Item> {
        let max_tasks = self.pool.max_tasks_per_child;
        self.pool.lock().next_work_item(self.number, max_tasks)
    }

    /// Sends the worker the call in its hand; if that was cancelled, the next one that was not.
    ///
    /// CPython: `add_call_item_to_queue` in `process.py`.
    fn add_call_item_to_queue(&self, connection: &Connection, mut next: Option<Item>) {
        while let Some(work_item) = next {
            if !work_item.future.set_running_or_notify_cancel() {
                self.pool.lock().worker(self.number).in_hand = None;
                // Perhaps the last to have its future, which may have a result by somebody else.
                LOGGER.log_panic("Exception in worker", || drop(work_item));
                next = self.next_work_item();
                continue;
            }
            if let Some(timeout) = work_item.options.timeout {
                let mut state = self.pool.lock();
                if state.set_deadline(self.number, timeout) {
                    state.notify_all();
                }
            }
            let sent = work_item.call_item.lend(|it| connection.send(it));
            if sent.is_err() {
                // The worker has not got the whole of it.
                let mut state = self.pool.lock();
                let worker = state.worker(self.number);
                if let Some(in_hand) = &mut worker.in_hand {
                    in_hand.sent = false;
                }
                worker.end_process();
            }
            return;
        }
    }

    /// Completes the future of the call that the worker had in its hand.
    ///
    /// CPython: `process_result_item` in `process.py`.
    fn process_result_item(
        &self,
        connection: &Connection,
        mut result_item: Incoming<'_>,
    ) -> io::Result<()> {
        let mut state = self.pool.lock();
        let worker = state.worker(self.number);
        let work_item = match (result_item.received.first(), &worker.in_hand) {
            (Some(&RETURNED | &RAISED), Some(in_hand)) => Arc::clone(&in_hand.work_item),
            (Some(&SUMMONED), None) if worker.summoned => {
                worker.summoned = false;
                state.summoned -= 1;
                drop(state);
                self.add_call_item_to_queue(connection, self.next_work_item());
                return Ok(());
            }
            _ => {
                // These are the bytes of a stranger.
                worker.kill();
                state.withdraw(self.number);
                return Err(io::ErrorKind::InvalidData.into());
            }
        };
        drop(state);
        let complete = work_item.future.load(&mut result_item, &self.pool.registry);
        let finished = result_item.finish();
        let mut state = self.pool.lock();
        let worker = state.worker(self.number);
        let in_hand = match worker.in_hand.take() {
            Some(in_hand) if in_hand.verdict.is_none() && finished.is_ok() => in_hand,
            // The worker has died, or it was killed to end the call, and this came just before.
            dying => {
                worker.in_hand = dying;
                drop(state);
                LOGGER.log_panic("Exception in worker", || drop(complete));
                return finished;
            }
        };
        worker.tasks += 1;
        drop(state);
        drop(in_hand);
        // As what a closure in a thread pool has captured, before anybody sees the result.
        work_item.call_item.discard();
        // While code of the user's runs here, nobody reads what the worker replies. So it gets the next call,
        // or counts as idle, only when there is no such code to run any more.
        let mut next = None;
        LOGGER.log_panic("Exception in worker", || {
            complete(&mut || next = Some(self.next_work_item()));
        });
        LOGGER.log_panic("Exception in worker", || drop(work_item));
        let next = next.unwrap_or_else(|| self.next_work_item());
        self.add_call_item_to_queue(connection, next);
        Ok(())
    }

    /// Waits for the process to end, and sees to what its end means for the calls.
    ///
    /// CPython: `_join_executor_internals` and `_terminate_broken` in `process.py`.
    fn join_executor_internals(&self, end: End) {
        let mut state = self.pool.lock();
        // To wait for its end takes a while, and it is to get no call meanwhile.
        state.withdraw(self.number);
        let process = state.worker(self.number).process.clone();
        drop(state);
        let pid = process.as_ref().map(|process| process.pid());
        let status = process.as_ref().and_then(|process| process.join().ok());
        let mut failed = Vec::new();
        let note = self.note(process.as_deref());
        let started = !matches!(end, End::NotStarted(_));
        let (cause, status) = match &end {
            // An error of the user's, which is not to be dropped with the lock held if the pool is broken already.
            // The process was killed for it, just now.
            End::Unusable(cause) => (Some(cause.clone()), None),
            _ => (None, status),
        };
        let mut state = self.pool.lock();
        let wanted = state.is_wanted(self.number);
        let (mut worker, ready) = state.remove(self.number);
        let mut command_failure = None;
        let broken = |cause| BrokenProcessPool::new(pid, status, note.clone(), cause);
        let break_pool = self.pool.on_crash == OnCrash::BreakPool;
        let verdict = worker.in_hand.as_mut().and_then(|it| it.verdict.take());
        match (end, worker.in_hand) {
            (_, Some(in_hand)) if verdict.is_some() => {
                failed.extend(verdict.map(|exception| (in_hand.work_item, exception)));
            }
            (_, Some(in_hand)) if break_pool || state.broken.is_some() => {
                let exception = state.terminate_broken(broken(None), &mut failed);
                failed.push((in_hand.work_item, exception));
            }
            (End::Ended { unread }, Some(in_hand))
                if !state.forced && in_hand.comes_back(self.pool.on_crash, unread) =>
            {
                state.work_items.push_front(in_hand.work_item);
            }
            (_, Some(in_hand)) => {
                let died = WorkerDied { pid, status, note };
                failed.push((in_hand.work_item, Exception::new(died)));
            }
            (End::Unusable(cause), None) => {
                state.terminate_broken(broken(Some(cause)), &mut failed);
            }
            (_, None) if worker.retired || !wanted => {}
            (end, None) if self.command.is_some() && !ready => {
                let failure = self.command_failed(&mut state, end, status);
                if break_pool || state.is_out_of_commands() {
                    state.terminate_broken(broken(Some(failure.1.clone())), &mut failed);
                }
                command_failure = Some(failure);
            }
            (End::NotStarted(error), None) => {
                // Others will come to the calls, if there are any.
                if state.processes.is_empty() {
                    let exception = Exception::new(SubmitError::Process(error));
                    state.fail_all(&exception, &mut failed);
                }
            }
            (End::Ended { .. }, None) => {
                state.failed_starts += usize::from(!ready);
                if break_pool || state.failed_starts >= FAILED_STARTS {
                    state.terminate_broken(broken(None), &mut failed);
                }
            }
        }
        // Where there was no process to be had, there is none at once again; but perhaps by another command.
        if started || command_failure.is_some() {
            if let Err(error) = self.pool._adjust_process_count(&mut state) {
                state.fail_all(&Exception::new(error), &mut failed);
            }
        }
        let failed = mark_failed(failed);
        state.events += 1;
        let ended = state.take_ended();
        state.ended.push(worker.thread);
        state.notify_all();
        if let Some((message, exception)) = command_failure {
            LOGGER.exception(&message, &exception);
        }
        follow_up(failed);
        LOGGER.log_panic("Exception in initializer", || drop(cause));
        ended.iter().for_each(|thread| thread.join(Deadline::Never));
    }
}

/// A process of the pool terminated abruptly, so the pool is not usable any more: the exception of every
/// call that was pending or running then. It converts into a [`BrokenExecutor`](super::BrokenExecutor).
///
/// A pool that is made with [`OnCrash::FailCall`] fails one call instead, with [`WorkerDied`]; one with
/// [`OnCrash::Retry`] makes the call again.
///
/// CPython: `BrokenProcessPool` in `process.py`; it names the process from 3.15 on.
#[derive(Clone, Debug)]
pub struct BrokenProcessPool {
    pid: Option<u32>,
    status: Option<ExitStatus>,
    /// The command that had started it, and why it was given up, as far as that applies.
    note: Option<String>,
    /// What the initializer failed with, or what else made the process unusable.
    cause: Option<Exception>,
}

impl BrokenProcessPool {
    /// The id that the process had; of one behind a [`command`](ProcessPoolExecutorBuilder::command), that of
    /// the command. `None` if none was started.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// How the process ended: with which status, or by which signal. `None` if it was ended since it was
    /// of no use, as when the initializer has failed in it.
    pub fn status(&self) -> Option<ExitStatus> {
        self.status
    }
}

/// An executor that runs calls in other processes.
///
/// The processes run this very program again, which must call [`freeze_support`] first in its `main`, and
/// register there the functions that are to be called. Arguments and results travel between the processes
/// as [`pickle`](super::pickle) dumps them. Processes are started as they are needed, up to `max_workers`,
/// an idle one being preferred; each runs one call at a time.
///
/// Futures are those of any other executor. A process may crash, be killed, or be ended by
/// [`kill_call`](ProcessPoolExecutor::kill_call) or a [time limit](CallOptions::timeout), and what it does
/// to the others is for [`OnCrash`] to say.
///
/// It is a shared handle: a clone is another reference to the same pool. When the last one is dropped, the
/// processes finish what is queued and end; nothing waits for that. When this process ends, however it
/// does, they end at once.
///
/// ```
/// use concurrent_futures::process::{freeze_support, ProcessPoolExecutor};
///
/// fn fib(n: u64) -> u64 {
///     if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     freeze_support(|registry| {
///         registry.register(fib);
///     });
///     let pool = ProcessPoolExecutor::new(2)?;
///     let future = pool.submit(fib, 20)?;
///     assert_eq!(future.result(None)?, 6765);
///     pool.shutdown();
///     Ok(())
/// }
/// ```
///
/// CPython: `ProcessPoolExecutor` in `process.py`.
#[derive(Clone)]
pub struct ProcessPoolExecutor(Arc<Handle>);

/// What the clones of an executor share. When the last of them goes, so does this.
///
/// CPython: the weak reference that `_ExecutorManagerThread` has to its executor.
struct Handle(Arc<Pool>);

impl Drop for Handle {
    fn drop(&mut self) {
        let options = ShutdownOptions::new().wait(false);
        let _ = self.0.shutdown(options, Shutdown::Executor, Deadline::Now);
    }
}

/// What `ProcessPoolExecutor` is in CPython. The managers have references to it.
struct Pool {
    max_workers: usize,
    max_tasks_per_child: usize,
    on_crash: OnCrash,
    worker_args: Vec<OsString>,
    /// `None` if workers are children of this process.
    commands: Option<Commands>,
    initializer: Option<Initializer>,
    registry: Arc<Registry>,
    /// Counts the pools of this process, for the names of threads.
    number: usize,
    /// An outer lock, as the shutdown lock of a thread pool is. Directly under it only futures' conditions,
    /// a thread's id and end, a process's handle and streams, a call's message, the spare memory of messages,
    /// and how often a call has come back are locked. A worker's manager locks it under the condition of the
    /// future that it completes, which nobody else locks under this one.
    shutdown_lock: Condition<Executing>,
}

// No code of the user's runs under its lock, so a panic does not leave it half-changed.
impl UnwindSafe for Pool {}
impl RefUnwindSafe for Pool {}

impl Pool {
    fn lock(&self) -> Acquired<'_, Executing> {
        self.shutdown_lock.acquire()
    }

    /// Finds workers for the calls in the queue: one that is idle first, and then a new one, as long as
    /// there are fewer than `max_workers`.
    ///
    /// # Errors
    ///
    /// If no worker could be started and there is none at all.
    ///
    /// CPython: `ProcessPoolExecutor._adjust_process_count` in `process.py`.
    fn _adjust_process_count(self: &Arc<Self>, state: &mut Executing) -> Result<(), SubmitError> {
        // Those that are about to look into the queue need not be found again. But one that is starting may
        // take long, behind a command, so an idle one is better.
        while state.work_items.len() > state.summoned {
            let coming = state.starting + state.summoned;
            let command = self.commands.as_ref().map(|it| it.next(&state.usage));
            if let Some(number) = state.idle.pop() {
                state.summon(number);
            } else if state.work_items.len() <= coming
                || state.processes.len() == self.max_workers
                || command == Some(None)
            {
                break;
            } else if let Err(error) = self._spawn_process(state, command.flatten()) {
                // The workers there are will come to it.
                if !state.processes.is_empty() {
                    break;
                }
                return Err(SubmitError::Thread(error));
            }
        }
        Ok(())
    }

    /// CPython: `ProcessPoolExecutor._spawn_process` in `process.py`.
    fn _spawn_process(
        self: &Arc<Self>,
        state: &mut Executing,
        command: Option<usize>,
    ) -> io::Result<()> {
        let number = state.started;
        let manager = _ExecutorManagerThread {
            pool: Arc::clone(self),
            number,
            command,
        };
        let name = format!("ProcessPoolExecutor-{}_{}", self.number, number);
        let thread = Thread::new();
        thread.start(thread::Builder::new().name(name), move || manager.run())?;
        if let Some(command) = command {
            state.command_is_used(command);
        }
        let worker = WorkerProcess::new(thread, command);
        state.processes.insert(number, worker);
        state.started += 1;
        state.starting += 1;
        Ok(())
    }

    /// The part of `submit` that does not depend on types. The caller has a reference to the work item,
    /// too, so that a call that is refused is not dropped here, with the lock held.
    ///
    /// CPython: `ProcessPoolExecutor.submit` in `process.py`.
    fn submit(self: &Arc<Self>, work_item: Item) -> Result<(), SubmitError> {
        let mut state = self.lock();
        if let Some(broken) = state.broken.clone() {
            // Its text may be that of an error of the user's.
            drop(state);
            return Err(broken.into());
        }
        state.is_open()?;
        let timeout = work_item.options.timeout;
        if timeout.is_some() {
            self.watch_deadlines(&mut state)?;
        }
        match state.idle.pop() {
            Some(number) if work_item.call_item.is_small() => {
                // Nobody else has the future yet, so it was not cancelled.
                work_item.future.set_running_or_notify_cancel();
                let worker = state.worker(number);
                let sent = work_item.call_item.lend(|it| worker.send(it));
                worker.in_hand = Some(InHand::new(work_item, sent));
                if timeout.map_or(false, |timeout| state.set_deadline(number, timeout)) {
                    state.notify_all();
                }
                Ok(())
            }
            idle => {
                state.idle.extend(idle);
                state.work_items.push_back(work_item);
                let adjusted = self._adjust_process_count(&mut state);
                if adjusted.is_err() {
                    // There is no worker, so it is still there.
                    state.work_items.pop_back();
                }
                adjusted
            }
        }
    }
}

impl ProcessPoolExecutor {
    /// A pool of at most `max_workers` processes; for `None`, of as many as there are processors. No
    /// process is started yet.
    ///
    /// # Errors
    ///
    /// If `max_workers` is zero, or if [`freeze_support`] was not called.
    ///
    /// CPython: `ProcessPoolExecutor.__init__` in `process.py`.
    pub fn new(max_workers: impl Into<Option<usize>>) -> Result<Self, ValueError> {
        ProcessPoolExecutor::builder()
            .max_workers(max_workers)
            .build()
    }

    /// A pool with more options than [`new`](ProcessPoolExecutor::new) has.
    ///
    /// CPython: the keyword parameters of `ProcessPoolExecutor.__init__` in `process.py`.
    pub fn builder() -> ProcessPoolExecutorBuilder {
        ProcessPoolExecutorBuilder::new()
    }

    /// Schedules a call of `f` and returns a future for what it returns. Arguments are given as they are for
    /// a function of one parameter, and as a tuple for any other: `submit(fib, 30)`,
    /// `submit(add, (1, 2))`, `submit(now, ())`.
    ///
    /// The arguments are dumped before this returns. It does not block.
    ///
    /// # Errors
    ///
    /// When the pool takes no more calls; when `f` was not registered, or the arguments cannot be dumped;
    /// see [`SubmitError`].
    ///
    /// CPython: `ProcessPoolExecutor.submit` in `process.py`.
    pub fn submit<F, A, M>(&self, f: F, args: A) -> Result<Future<F::Output>, SubmitError>
    where
        F: Callable<A, M>,
        A: Dump,
        F::Output: Load + Send + 'static,
    {
        self.submit_with(f, args, CallOptions::new())
    }

    /// Calls `f` with each item, and returns an iterator over the results in the order of the items. All
    /// calls are submitted before `map` returns. For a function of several parameters, the items are tuples.
    ///
    /// The iterator is that of [`Executor::map`](super::Executor::map), which see.
    ///
    /// # Errors
    ///
    /// Those of [`submit`](ProcessPoolExecutor::submit); the calls submitted so far are made all the same.
    ///
    /// CPython: `ProcessPoolExecutor.map` in `process.py`.
    pub fn map<F, I, M>(&self, f: F, iterable: I) -> Result<Map<F::Output>, SubmitError>
    where
        F: Callable<I::Item, M>,
        I: IntoIterator,
        I::Item: Dump,
        F::Output: Load + Send + 'static,
    {
        let map = self.map_with(f, iterable, MapOptions::new())?;
        Ok(map.all_submitted())
    }

    /// Shuts the pool down and waits until all calls are done and all processes have ended.
    ///
    /// CPython: `ProcessPoolExecutor.shutdown` in `process.py`.
    pub fn shutdown(&self) {
        self.shutdown_with(ShutdownOptions::new());
    }

    /// Takes no more calls from now on, and lets the processes end once the queue is empty. May be called
    /// any number of times, from any thread.
    ///
    /// With `wait`, it returns when all processes have ended, and so all calls are done. With
    /// `cancel_futures`, calls that have not started are cancelled, and their callbacks are called on this
    /// thread.
    ///
    /// **Differs from CPython:** called in a callback that runs on a thread of the pool's own, it does not wait,
    /// since that thread is one of those that it would wait for.
    ///
    /// CPython: `ProcessPoolExecutor.shutdown` in `process.py`.
    pub fn shutdown_with(&self, options: ShutdownOptions) {
        let _ = self.shutdown_timeout(options);
    }

    /// Ends the pool by force: takes no more calls, cancels those that have not started, and asks every
    /// process to end, which it does at once, in the middle of a call, too. It waits for nothing.
    ///
    /// The calls that were running fail as if their processes had died; see [`OnCrash`]. A process that is
    /// stopped (SIGSTOP) does not hear of it; [`kill_workers`](ProcessPoolExecutor::kill_workers) ends that,
    /// too.
    ///
    /// **Differs from CPython:** the process is asked by a message instead of SIGTERM, which std cannot
    /// send. Its status is 143, what a shell makes of that signal, or that of SIGABRT, if what it does at its
    /// end takes longer than a second.
    ///
    /// CPython: `ProcessPoolExecutor.terminate_workers` in 3.14's `process.py`.
    pub fn terminate_workers(&self) {
        self.pool()._force_shutdown(|worker| match &worker.process {
            Some(process) => process.terminate(),
            None => worker.kill(),
        });
    }

    /// Ends the pool by force, like [`terminate_workers`](ProcessPoolExecutor::terminate_workers), but kills
    /// the processes, whatever state they are in.
    ///
    /// CPython: `ProcessPoolExecutor.kill_workers` in 3.14's `process.py`.
    pub fn kill_workers(&self) {
        self.pool()._force_shutdown(WorkerProcess::kill);
    }

    fn pool(&self) -> &Arc<Pool> {
        &(self.0).0
    }
}

impl Pool {
    /// CPython: `ProcessPoolExecutor.shutdown` in `process.py`.
    fn shutdown(
        &self,
        options: ShutdownOptions,
        by: Shutdown,
        deadline: Deadline,
    ) -> Result<(), TimeoutError> {
        let mut state = self.lock();
        let total = state.processes.len();
        let cancelled = state.shut_down(by, options.cancel_futures);
        // A manager cannot wait for its own end.
        let managed_here = state.is_managed_here();
        state.notify_all();
        follow_up(cancelled);
        if !options.wait {
            return Ok(());
        }
        let deadline = if managed_here {
            Deadline::Now
        } else {
            deadline
        };
        let late = |alive: usize| Err(TimeoutError::workers(alive, total.max(alive)));
        let state = self
            .shutdown_lock
            .wait_for(|state| state.processes.is_empty(), deadline);
        if !state.processes.is_empty() {
            return late(state.processes.len());
        }
        drop(state);
        // Without processes, the watchdog has nothing to wait for. A manager may have callbacks to call.
        let state = self
            .shutdown_lock
            .wait_for(Executing::is_over, Deadline::Never);
        let ended = state.ended.clone();
        drop(state);
        ended.iter().for_each(|thread| thread.join(deadline));
        match ended.iter().filter(|thread| thread.is_alive()).count() {
            0 => Ok(()),
            alive => late(alive),
        }
    }

    /// CPython: `ProcessPoolExecutor._force_shutdown` in 3.14's `process.py`.
    fn _force_shutdown(&self, operation: impl FnMut(&mut WorkerProcess)) {
        let mut state = self.lock();
        // From here on, no call comes back to the queue, which is emptied only once.
        state.forced = true;
        let cancelled = state.shut_down(Shutdown::Executor, true);
        // First, as a callback of a call that is cancelled may wait for one that runs.
        state.processes.values_mut().for_each(operation);
        let failed = state.fail_marked();
        state.notify_all();
        follow_up(cancelled.into_iter().chain(failed));
    }
}
