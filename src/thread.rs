// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! The thread pool: CPython's `thread.py`.

mod builder;
mod helping;
mod more;

pub use self::builder::ThreadPoolExecutorBuilder;
use self::helping::{Sweeper, DEFAULT_STACK, STACK_OF_A_CALL};
use super::_base::{
    BrokenExecutor, Cause, Core, Exception, Executor, Future, PoolNumber, ShutdownOptions,
    SubmitError, TimeoutError, ValueError, Worker, Workers, LOGGER, NO_NUMBER,
};
use super::stdlib::keyed_list::KeyedList;
use super::stdlib::process_wide;
use super::stdlib::queue::SimpleQueue;
use super::stdlib::threading::{_register_atexit, _shutdown, lock, lock_busy, Deadline, Thread};
use std::error::Error as StdError;
use std::fmt;
use std::panic::{catch_unwind, AssertUnwindSafe, RefUnwindSafe, UnwindSafe};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

/// What CPython's module keeps in `_threads_queues`, `_shutdown` and `ThreadPoolExecutor._counter`.
struct Global {
    /// Every worker that has not ended. In CPython a dictionary with weak keys; here a worker takes
    /// its own entry out.
    _threads_queues: KeyedList<Entry>,
    /// `_python_exit` has run: no thread is started any more.
    _shutdown: bool,
    _counter: usize,
    /// Of pools, those with a prefix included.
    pools: u32,
}

#[derive(Clone)]
struct Entry {
    thread: Arc<Thread>,
    work_queue: Arc<WorkQueue>,
    executor_reference: Weak<Pool>,
}

/// Innermost: nothing else is locked under it.
///
/// CPython holds it in every `submit`, so that no worker is created while the interpreter shuts
/// down. Here `submit` takes it only to start a thread; `_python_exit` goes to the pools instead.
static _GLOBAL_SHUTDOWN_LOCK: process_wide::sync::Mutex<Global> =
    process_wide::sync::Mutex::new(Global {
        _threads_queues: KeyedList::new(),
        _shutdown: false,
        _counter: 0,
        pools: 0,
    });

fn global<R>(f: impl FnOnce(&mut Global) -> R) -> R {
    let mut global = _GLOBAL_SHUTDOWN_LOCK
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    f(&mut global)
}

/// The number of a new pool. After four billion pools, numbers are used again.
fn next_pool_number() -> PoolNumber {
    global(|global| {
        global.pools = global.pools % (u32::MAX - 1) + 1;
        PoolNumber::new(global.pools).unwrap_or(NO_NUMBER)
    })
}

/// Shuts all thread pools of the process down, for good, and waits until what they were given is
/// done. From then on, `submit` returns [`SubmitError::InterpreterShutdown`], but for a pool that was shut
/// down, or broken, before.
///
/// It is meant for the end of the program, and [`at_exit`] calls it there. Called by a worker of any
/// pool, it waits for nobody, since that worker's own task is among what it would wait for.
///
/// CPython: `_python_exit` in `thread.py`.
pub fn _python_exit() {
    python_exit(Deadline::Never);
}

/// [`_python_exit`], which waits no longer than until the deadline.
fn python_exit(deadline: Deadline) {
    let entries = global(|global| {
        global._shutdown = true;
        global._threads_queues.iter().cloned().collect::<Vec<_>>()
    });
    for entry in &entries {
        if let Some(pool) = entry.executor_reference.upgrade() {
            let mut state = lock(&pool.shutdown_lock);
            state.shutdown = state.shutdown.or(Some(Shutdown::Interpreter));
            drop(state);
            // It may be the last reference by now, and dropping the pool drops the initializer.
            LOGGER.log_panic("exception ignored in _python_exit", || drop(pool));
        }
        entry.work_queue.put(None);
    }
    if !entries.iter().any(|entry| entry.thread.is_current()) {
        for entry in &entries {
            entry.thread.join(deadline);
        }
        let alive = entries.iter().filter(|entry| entry.thread.is_alive());
        let alive = alive.count();
        if alive > 0 {
            let error = TimeoutError::workers(alive, entries.len());
            LOGGER.critical("Exception ignored at exit:", Some(&error.into()));
        }
    }
    // An entry may be the last to know of a queue, and of a call that was left in it.
    LOGGER.log_panic("exception ignored in _python_exit", || drop(entries));
}

/// Returns a guard for the first line of `main`: when it is dropped at the end, what was submitted to
/// any pool is finished before the process ends. Without it, the process ends at once when `main`
/// returns, as all Rust programs do, whatever other threads are at.
///
/// The guard also works when `main` panics, but not against `std::process::exit`, which drops
/// nothing. Once it is dropped, no pool takes calls any more.
///
/// ```
/// use concurrent_futures::{Executor, ThreadPoolExecutor};
///
/// fn main() {
///     let _exit = concurrent_futures::at_exit();
///     let pool = ThreadPoolExecutor::new(2).unwrap();
///     pool.submit(|| println!("this is printed")).unwrap();
/// }
/// ```
///
/// CPython: `threading._register_atexit(_python_exit)` in `thread.py`.
pub fn at_exit() -> AtExit {
    AtExit { timeout: None }
}

/// What [`at_exit`] returns. Dropping it calls [`_python_exit`].
#[derive(Debug)]
#[must_use = "dropping it shuts all pools down; keep it in a variable until the end of `main`"]
#[non_exhaustive]
pub struct AtExit {
    timeout: Option<Duration>,
}

impl AtExit {
    /// The guard waits no longer than that. What is not done by then ends with the process, and how many
    /// workers were still running is logged; see [`set_logger`](super::set_logger).
    ///
    /// ```
    /// use concurrent_futures::at_exit;
    /// use std::time::Duration;
    ///
    /// let _exit = at_exit().timeout(Duration::from_secs(5));
    /// ```
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeout = timeout.into();
        self
    }
}

impl Drop for AtExit {
    fn drop(&mut self) {
        _shutdown(Deadline::after(self.timeout));
    }
}

type WorkQueue = SimpleQueue<Arc<dyn QueuedCall>>;

/// A submitted call. In CPython the work item holds the future. Here the future's [`Core`] holds the work
/// item, to save an allocation: memory is the greater part of what a small call costs.
///
/// CPython: `_WorkItem` in `thread.py`.
struct _WorkItem<F> {
    /// `None` once the call was begun or given up.
    f: Mutex<Option<F>>,
}

/// A work item with its future, whatever their types.
trait QueuedCall: Send + Sync {
    /// Runs the call, unless it was cancelled.
    fn run(self: Arc<Self>, counted: &mut Counted<'_>);

    /// Cancels the call, up to what is the user's code: that is left to `follow_up`. Returns whether the
    /// future is done now.
    fn mark_cancelled(self: Arc<Self>) -> bool;

    /// Fails the call, up to what is the user's code; unless a worker that waits for it runs it.
    fn mark_failed(self: Arc<Self>, exception: Exception);

    /// Drops the call, and calls the callbacks of its future, if that is done.
    fn follow_up(self: Arc<Self>);

    /// Whether the call was begun or given up, so that a worker will find nothing to run.
    fn is_spent(&self) -> bool;
}

impl<F, T, E> QueuedCall for Core<T, _WorkItem<F>>
where
    F: FnOnce() -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: Into<Exception>,
{
    fn run(self: Arc<Self>, counted: &mut Counted<'_>) {
        // Held until the future is running. So whoever cancels it before that finds the call, and drops it, before
        // its `cancel` returns.
        let mut f = lock(&self.work.f);
        if f.is_some() && !self.mark_running() {
            drop(f);
            return self.run_unless_done(counted);
        }
        let call = f.take();
        drop(f);
        let future = self.into_future();
        match call {
            Some(f) => execute(&future, f, counted),
            None if future.cancelled() => {}
            // Another worker, which waited for it, has run it, and has taken it off the count.
            None => counted.unfinished = None,
        }
    }

    fn mark_cancelled(self: Arc<Self>) -> bool {
        self.into_future().mark_cancelled()
    }

    fn mark_failed(self: Arc<Self>, exception: Exception) {
        // Locked, lest such a worker begin it meanwhile.
        let f = lock(&self.work.f);
        if f.is_some() {
            Arc::clone(&self).into_future().mark_failed(exception);
        }
    }

    fn follow_up(self: Arc<Self>) {
        let future = self.into_future();
        if future.done() {
            future.follow_up();
        }
    }

    fn is_spent(&self) -> bool {
        // Never waits: the queue's locks, which come later in the lock order, are held.
        self.work.f.try_lock().map_or(false, |f| f.is_none())
    }
}

/// How many of the calls that a pool took no worker is done with. (A cancelled call counts until a worker
/// meets it.) The pool compares it with the number of its threads to learn whether it needs another. One
/// that has all its threads needs to know no longer, and drops it.
type Unfinished = Mutex<usize>;

/// A call that is being run. It is taken off the count just before its outcome can be seen, so that
/// whoever sees it and submits the next call finds this worker free. If code of the user's may still run
/// after that, and keep the worker busy, it is taken off when that has run.
struct Counted<'a> {
    /// `None` once the call is off the count.
    unfinished: Option<&'a Weak<Unfinished>>,
}

impl Counted<'_> {
    #[inline]
    fn take_off(&mut self) {
        if let Some(unfinished) = self.unfinished.take().and_then(Weak::upgrade) {
            let mut unfinished = lock(&unfinished);
            // A call that was submitted after the counting had stopped was never added. Its worker gets
            // here if another worker keeps the count alive for a moment. The count is then too low, but
            // nobody reads it any more.
            *unfinished = unfinished.saturating_sub(1);
        }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.take_off();
    }
}

type Initializer = dyn Fn() -> Result<(), Exception> + Send + Sync;

/// The body of every thread of a pool. It refers to the pool weakly: a pool that nobody else refers
/// to is dropped, and its drop puts the sentinel into the queue: a `None`, at which a worker looks whether
/// it is to end.
///
/// CPython: `_worker` in `thread.py`.
fn _worker(
    executor_reference: &Weak<Pool>,
    work_queue: &WorkQueue,
    initializer: Option<Arc<Initializer>>,
    unfinished: &Weak<Unfinished>,
    worker: Worker,
) {
    if let Some(Err(exception)) = initializer.map(initialize) {
        LOGGER.critical("Exception in initializer:", Some(&exception));
        let broken = BrokenThreadPool {
            cause: Cause::new(Some(exception)),
        };
        // What may panic is `Drop` of the error, and of the pool, to which this may be the last reference.
        LOGGER.log_panic("Exception in worker", || {
            match executor_reference.upgrade() {
                Some(executor) => executor._initializer_failed(broken),
                None => {
                    // As in `_initializer_failed`, but the pool is gone, so there is none to mark as broken.
                    let stranded = strand(work_queue, broken);
                    work_queue.put(None);
                    follow_up(stranded);
                }
            }
        });
        return;
    }
    // Not earlier: a thread that is not initialized runs no call.
    let _entered = worker.enter();
    loop {
        // The queue keeps count of the idle workers. One is idle when `get` has found the queue empty.
        if let Some(work_item) = work_queue.get() {
            let mut counted = Counted {
                unfinished: Some(unfinished),
            };
            // What may panic here is `Drop`: of a result that nobody wants, of a call that was
            // cancelled.
            LOGGER.log_panic("Exception in worker", || work_item.run(&mut counted));
            continue;
        }
        // Exit if:
        //   - the interpreter is shutting down, or
        //   - the pool that owns this worker was dropped, or
        //   - the pool that owns this worker was shut down.
        if let Some(executor) = executor_reference.upgrade() {
            let exit = executor.is_shutting_down();
            // It may be the last reference by now, and dropping the pool drops the initializer.
            LOGGER.log_panic("Exception in worker", || drop(executor));
            if !exit {
                continue;
            }
        }
        // Wake the next worker.
        work_queue.put(None);
        return;
    }
}

/// Runs a call that was marked as running.
fn execute<F, T, E>(future: &Future<T>, f: F, counted: &mut Counted<'_>)
where
    F: FnOnce() -> Result<T, E>,
    E: Into<Exception>,
{
    // `f` is consumed, and its captures with it, before anybody can see the result.
    let outcome = catch_unwind(AssertUnwindSafe(|| f().map_err(Into::into)))
        .unwrap_or_else(|payload| Err(Exception::from_panic(payload)));
    if let Err(error) = future.complete(outcome, || counted.take_off()) {
        LOGGER.critical("Exception in worker", Some(&Exception::new(error)));
    }
}

fn initialize(initializer: Arc<Initializer>) -> Result<(), Exception> {
    let outcome = catch_unwind(AssertUnwindSafe(|| initializer()))
        .unwrap_or_else(|payload| Err(Exception::from_panic(payload)));
    LOGGER.log_panic("Exception in worker", || drop(initializer));
    outcome
}

/// Takes everything out of the queue, sentinels too.
fn drain(work_queue: &WorkQueue) -> Vec<Arc<dyn QueuedCall>> {
    let mut work_items = Vec::new();
    while let Ok(work_item) = work_queue.get_nowait() {
        work_items.extend(work_item);
    }
    work_items
}

/// Takes everything out of the queue of a broken pool, and fails the calls. What is left to do, without
/// any lock, is to `follow_up`.
fn strand(work_queue: &WorkQueue, broken: BrokenThreadPool) -> Vec<Arc<dyn QueuedCall>> {
    let exception = Exception::new(broken);
    let work_items = drain(work_queue);
    for work_item in &work_items {
        Arc::clone(work_item).mark_failed(exception.clone());
    }
    work_items
}

/// Takes the calls out of the queue, and cancels them. What is left to do, without any lock, is to
/// `follow_up`.
fn cancel(work_queue: &WorkQueue) -> Vec<Arc<dyn QueuedCall>> {
    let (cancelled, running): (Vec<_>, _) = drain(work_queue)
        .into_iter()
        .partition(|work_item| Arc::clone(work_item).mark_cancelled());
    // Marked as running from outside. Nobody but a worker can bring those to an end.
    for work_item in running {
        work_queue.put(Some(work_item));
    }
    cancelled
}

/// Runs what is the user's code of the calls that were ended without being run.
fn follow_up(work_items: Vec<Arc<dyn QueuedCall>>) {
    for work_item in work_items {
        // What may panic is `Drop` of a result, and the other items are not to suffer.
        LOGGER.log_panic("exception ignored while dropping a call", || {
            work_item.follow_up();
        });
    }
}

/// A worker thread failed to initialize, so its pool can no longer run anything. It converts into a
/// [`BrokenExecutor`], and is also the exception of every future that was pending then. Its
/// [`source`](StdError::source) is what the initializer failed with.
///
/// CPython: `BrokenThreadPool` in `thread.py`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct BrokenThreadPool {
    /// What the initializer failed with.
    cause: Cause,
}

/// Any two are equal: they say the same.
impl PartialEq for BrokenThreadPool {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for BrokenThreadPool {}

impl fmt::Display for BrokenThreadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("A thread initializer failed, the thread pool is not usable anymore")
    }
}

impl StdError for BrokenThreadPool {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.source()
    }
}

impl From<BrokenThreadPool> for BrokenExecutor {
    fn from(error: BrokenThreadPool) -> Self {
        BrokenExecutor::new(error.to_string()).with_cause(error.cause.exception())
    }
}

impl From<BrokenThreadPool> for SubmitError {
    fn from(error: BrokenThreadPool) -> Self {
        SubmitError::Broken(error.into())
    }
}

/// An executor that runs calls on a pool of threads.
///
/// Threads are started as they are needed, up to `max_workers`: a call that is submitted while a
/// thread is idle, or about to be, goes to that thread. They end when the pool is shut down, or when
/// the last reference to it is dropped.
///
/// It is a shared handle: a clone is another reference to the same pool. Dropping the last one wakes
/// the workers, which finish what is queued and end; it waits for nothing. To wait, call
/// [`shutdown`](Executor::shutdown), or use [`with`](Executor::with).
///
/// A task may wait for another task of the same pool. If no worker has begun that one, the worker that
/// waits runs it itself, in the midst of the first; see
/// [`help_while_waiting`](ThreadPoolExecutorBuilder::help_while_waiting). That goes for waiting without a
/// time-out. With one, all workers may come to wait, with nobody left to run what they wait for.
///
/// ```
/// use concurrent_futures::{Executor, ThreadPoolExecutor};
///
/// let pool = ThreadPoolExecutor::new(4)?;
/// let future = pool.submit(|| 6 * 7)?;
/// assert_eq!(future.result(None)?, 42);
/// pool.shutdown();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// CPython: `ThreadPoolExecutor` in `thread.py`.
#[derive(Clone)]
pub struct ThreadPoolExecutor(Arc<Pool>);

/// The pool itself. `ThreadPoolExecutor` is a reference to it, as a variable is in Python.
struct Pool {
    max_workers: usize,
    /// Calls that no worker has picked up, and the sentinel. The workers have references, too.
    work_queue: Arc<WorkQueue>,
    thread_name_prefix: String,
    /// Its futures have it, so that a worker can tell calls of its own pool from others.
    number: PoolNumber,
    /// Those that wait for calls of this pool, and how many there are.
    workers: Arc<Workers>,
    /// Whether a worker that waits for a call of this pool runs it.
    helps: bool,
    /// Keeps the queue free of the calls that were run so.
    sweeper: Sweeper,
    /// In bytes; std's default for `None`.
    thread_stack_size: Option<usize>,
    /// Run by each thread before its first call.
    initializer: Option<Arc<Initializer>>,
    shutdown_lock: Mutex<PoolState>,
}

// No code of the user's runs under its lock, so a panic does not leave it half-changed.
impl UnwindSafe for Pool {}
impl RefUnwindSafe for Pool {}

/// What CPython changes only with `_shutdown_lock` held.
struct PoolState {
    /// All that were started, those that have ended included.
    threads: Vec<Arc<Thread>>,
    /// `None` once there are `max_workers` threads. The workers refer to it weakly.
    unfinished: Option<Arc<Unfinished>>,
    /// `Some` once an initializer has failed.
    broken: Option<BrokenThreadPool>,
    /// `None` as long as the pool takes calls.
    shutdown: Option<Shutdown>,
}

/// Who has shut the pool down.
#[derive(Clone, Copy)]
enum Shutdown {
    /// `shutdown` of this pool.
    Executor,
    /// [`_python_exit`], which shuts all pools down.
    Interpreter,
}

impl ThreadPoolExecutor {
    /// A pool of at most `max_workers` threads; for `None`, of as many as there are processors and
    /// four more, but at most 32. No thread is started yet.
    ///
    /// # Errors
    ///
    /// If `max_workers` is zero.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// assert_eq!(ThreadPoolExecutor::new(3)?.max_workers(), 3);
    /// assert!((5..=32).contains(&ThreadPoolExecutor::new(None)?.max_workers()));
    /// assert!(ThreadPoolExecutor::new(0).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// CPython: `ThreadPoolExecutor.__init__` in `thread.py`.
    pub fn new(max_workers: impl Into<Option<usize>>) -> Result<Self, ValueError> {
        ThreadPoolExecutor::builder()
            .max_workers(max_workers)
            .build()
    }

    /// A pool with more options than [`new`](ThreadPoolExecutor::new) has.
    ///
    /// CPython: the keyword parameters of `ThreadPoolExecutor.__init__` in `thread.py`.
    pub fn builder() -> ThreadPoolExecutorBuilder {
        ThreadPoolExecutorBuilder {
            max_workers: None,
            thread_name_prefix: String::new(),
            helps: true,
            thread_stack_size: None,
            initializer: None,
        }
    }
}

/// The other half of `ThreadPoolExecutor.__init__`. Its parameters are in `thread/builder.rs`.
impl ThreadPoolExecutorBuilder {
    /// Makes the pool. No thread is started yet.
    ///
    /// # Errors
    ///
    /// If `max_workers` is zero, or if the prefix has a NUL byte in it, which no thread's name can
    /// have.
    ///
    /// CPython: `ThreadPoolExecutor.__init__` in `thread.py`.
    pub fn build(self) -> Result<ThreadPoolExecutor, ValueError> {
        let max_workers = self.max_workers.unwrap_or_else(|| {
            // For work that waits and for work that computes; but not too many on large machines.
            let processors = thread::available_parallelism().map_or(1, |n| n.get());
            processors.saturating_add(4).min(32)
        });
        if max_workers == 0 {
            return Err(ValueError::new("max_workers must be greater than 0"));
        }
        _register_atexit(python_exit);
        let mut thread_name_prefix = self.thread_name_prefix;
        if thread_name_prefix.contains('\0') {
            return Err(ValueError::new(
                "thread_name_prefix must not contain a NUL byte",
            ));
        }
        if thread_name_prefix.is_empty() {
            let number = global(|global| {
                global._counter += 1;
                global._counter - 1
            });
            thread_name_prefix = format!("ThreadPoolExecutor-{number}");
        }
        let number = next_pool_number();
        Ok(ThreadPoolExecutor(Arc::new(Pool {
            max_workers,
            work_queue: Arc::new(SimpleQueue::new()),
            workers: Workers::new(number, thread_name_prefix.clone()),
            thread_name_prefix,
            number,
            helps: self.helps,
            sweeper: Sweeper::default(),
            thread_stack_size: self.thread_stack_size,
            initializer: self.initializer,
            shutdown_lock: Mutex::new(PoolState {
                threads: Vec::new(),
                unfinished: Some(Arc::default()),
                broken: None,
                shutdown: None,
            }),
        })))
    }
}

impl Executor for ThreadPoolExecutor {
    fn try_submit<F, T, E>(&self, f: F) -> Result<Future<T>, SubmitError>
    where
        F: FnOnce() -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Into<Exception>,
    {
        let f = Mutex::new(Some(f));
        let work_item = Core::new(_WorkItem { f }, self.0.number);
        let future = Arc::clone(&work_item).into_future();
        self.0.submit(work_item)?;
        Ok(future)
    }

    /// Takes no more calls from now on, wakes all workers, and lets them end once the queue is empty.
    /// May be called any number of times, from any thread.
    ///
    /// With `wait`, it returns when all workers have ended, and so all calls are done; also when
    /// another thread shuts the pool down at the same time, or did before without waiting. With
    /// `cancel_futures`, calls that have not started are cancelled, and their callbacks are called on
    /// this thread.
    ///
    /// **Differs from CPython:** called by one of the pool's own workers, in a task or a callback, it
    /// does not wait: the worker would wait for itself, or for another worker that waits for it. CPython
    /// raises `RuntimeError: cannot join current thread`.
    ///
    /// CPython: `ThreadPoolExecutor.shutdown` in `thread.py`.
    fn shutdown_with(&self, options: ShutdownOptions) {
        let _ = self.0.shutdown(options);
    }
}

impl Pool {
    /// The part of `submit` that does not depend on types. The caller has a reference to the work
    /// item, too, so that a call that is refused is not dropped here, with the lock held.
    ///
    /// CPython: `ThreadPoolExecutor.submit` in `thread.py`.
    fn submit(self: &Arc<Self>, work_item: Arc<dyn QueuedCall>) -> Result<(), SubmitError> {
        let mut state = lock_busy(&self.shutdown_lock);
        state.check_open()?;
        if let Some(unfinished) = &state.unfinished {
            *lock(unfinished) += 1;
        }
        if self.work_queue.put(Some(work_item)) {
            // An idle worker is counted on to come for it.
            return Ok(());
        }
        self._adjust_thread_count(&mut state)
    }

    /// Starts a thread for a call that was just put into the queue, if none of those there are is
    /// free to take it.
    ///
    /// # Errors
    ///
    /// If no thread could be started and there is none at all. Then the call is out of the queue again.
    ///
    /// CPython: `ThreadPoolExecutor._adjust_thread_count` in `thread.py`. Its `_idle_semaphore` has
    /// two counterparts here. `SimpleQueue::put` says whether it found an idle worker. And when it did
    /// not, the calls that are not done tell how many threads are needed: a worker may be between two
    /// calls, and not idle yet.
    fn _adjust_thread_count(self: &Arc<Self>, state: &mut PoolState) -> Result<(), SubmitError> {
        let unfinished = match &state.unfinished {
            Some(unfinished) => Arc::clone(unfinished),
            // There are as many threads as there may be.
            None => return Ok(()),
        };
        // One thread, or more if some were refused before.
        while *lock(&unfinished) > state.threads.len() {
            let num_threads = state.threads.len();
            match self.start_thread(num_threads, Arc::downgrade(&unfinished)) {
                Ok(thread) => state.threads.push(thread),
                // The threads there are will come to it.
                Err(_) if num_threads > 0 => break,
                Err(error) => {
                    // No worker can have taken the call: take it back.
                    let _ = self.work_queue.get_nowait();
                    *lock(&unfinished) -= 1;
                    return Err(error);
                }
            }
            if state.threads.len() == self.max_workers {
                state.unfinished = None;
                break;
            }
        }
        Ok(())
    }
}

/// CPython: `weakref_cb` in `ThreadPoolExecutor._adjust_thread_count`, which wakes the workers when
/// the executor is gone.
impl Drop for Pool {
    fn drop(&mut self) {
        self.work_queue.put(None);
    }
}

impl Pool {
    fn start_thread(
        self: &Arc<Self>,
        number: usize,
        unfinished: Weak<Unfinished>,
    ) -> Result<Arc<Thread>, SubmitError> {
        let thread = Thread::new();
        let registered = Registered::new(Entry {
            thread: Arc::clone(&thread),
            work_queue: Arc::clone(&self.work_queue),
            executor_reference: Arc::downgrade(self),
        })?;
        let mut builder =
            thread::Builder::new().name(format!("{}_{}", self.thread_name_prefix, number));
        if let Some(size) = self.thread_stack_size {
            builder = builder.stack_size(size);
        }
        let initializer = self.initializer.clone();
        let depth = self.thread_stack_size.unwrap_or(DEFAULT_STACK) / STACK_OF_A_CALL;
        let levels = if self.helps { depth } else { 0 };
        let worker = Worker::new(
            Arc::clone(&self.workers),
            Weak::clone(&unfinished),
            levels,
            self.sweeper.sweep(&self.work_queue, &unfinished),
        );
        thread
            .start(builder, move || {
                let Entry {
                    work_queue,
                    executor_reference,
                    ..
                } = &registered.entry;
                _worker(
                    executor_reference,
                    work_queue,
                    initializer,
                    &unfinished,
                    worker,
                );
            })
            .map_err(SubmitError::Thread)?;
        Ok(thread)
    }

    /// CPython: `ThreadPoolExecutor._initializer_failed` in `thread.py`.
    fn _initializer_failed(&self, broken: BrokenThreadPool) {
        let mut state = lock(&self.shutdown_lock);
        // Of several that fail, the first one's error is kept. The others' are dropped with the argument,
        // when the lock is released.
        let first = state.broken.as_ref().unwrap_or(&broken).clone();
        state.broken = Some(first.clone());
        let stranded = strand(&self.work_queue, first);
        if state.shutdown.is_some() {
            // The sentinel is drained with the rest, and other workers may be waiting for it.
            self.work_queue.put(None);
        }
        drop(state);
        follow_up(stranded);
    }

    /// CPython: `ThreadPoolExecutor.shutdown` in `thread.py`.
    fn shutdown(&self, options: ShutdownOptions) -> Result<(), TimeoutError> {
        let deadline = Deadline::after(options.timeout);
        let mut state = lock(&self.shutdown_lock);
        state.shutdown = state.shutdown.or(Some(Shutdown::Executor));
        let cancelled = if options.cancel_futures {
            // With the lock held, so that another thread's `shutdown` finds all calls done.
            cancel(&self.work_queue)
        } else {
            Vec::new()
        };
        // Wakes the first worker; it wakes the next.
        self.work_queue.put(None);
        let threads = state.threads.clone();
        drop(state);
        follow_up(cancelled);
        if !options.wait {
            return Ok(());
        }
        if !threads.iter().any(|thread| thread.is_current()) {
            for thread in &threads {
                thread.join(deadline);
            }
        }
        match threads.iter().filter(|thread| thread.is_alive()).count() {
            0 => Ok(()),
            alive => Err(TimeoutError::workers(alive, threads.len())),
        }
    }

    /// Asked by a worker that has got the sentinel. Flags the pool as shutting down as early as
    /// possible if the whole process is.
    fn is_shutting_down(&self) -> bool {
        let mut state = lock(&self.shutdown_lock);
        if state.shutdown.is_none() && global(|global| global._shutdown) {
            state.shutdown = Some(Shutdown::Interpreter);
        }
        state.shutdown.is_some()
    }
}

impl PoolState {
    /// An error if the pool takes no more calls.
    fn check_open(&self) -> Result<(), SubmitError> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone().into());
        }
        match self.shutdown {
            None => Ok(()),
            Some(Shutdown::Executor) => Err(SubmitError::Shutdown),
            Some(Shutdown::Interpreter) => Err(SubmitError::InterpreterShutdown),
        }
    }
}

/// An entry of `_threads_queues`, taken out when this is dropped: at the end of the thread, or when
/// it could not be started.
struct Registered {
    entry: Entry,
    /// Of the entry, in `_threads_queues`.
    key: usize,
}

impl Registered {
    fn new(entry: Entry) -> Result<Self, SubmitError> {
        let key = global(|global| {
            if global._shutdown {
                return Err(SubmitError::InterpreterShutdown);
            }
            Ok(global._threads_queues.push(entry.clone()))
        })?;
        Ok(Registered { entry, key })
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // Returned by the closure, so that it is dropped after the lock is released.
        drop(global(|global| global._threads_queues.remove(self.key)));
    }
}

impl fmt::Debug for ThreadPoolExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPoolExecutor")
            .field("max_workers", &self.0.max_workers)
            .field("thread_name_prefix", &self.0.thread_name_prefix)
            .field("thread_count", &self.thread_count())
            .field("queue_size", &self.queue_size())
            .finish_non_exhaustive()
    }
}

impl<F, T, E> Core<T, _WorkItem<F>>
where
    F: FnOnce() -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: Into<Exception>,
{
    /// Runs a call that was not pending any more when a worker came for it.
    #[cold]
    fn run_unless_done(self: Arc<Self>, counted: &mut Counted<'_>) {
        let future = Arc::clone(&self).into_future();
        if let Ok(false) = future.set_running_or_notify_cancel() {
            // Whoever has cancelled it drops the call.
            return;
        }
        let f = lock(&self.work.f).take();
        match f {
            // Somebody else has marked it as running, which was logged. But nobody else has the call.
            Some(f) if future.running() => execute(&future, f, counted),
            // Completed by somebody else, which was logged.
            f => drop(f),
        }
    }
}
