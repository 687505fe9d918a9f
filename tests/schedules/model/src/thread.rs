//! `std::thread`. (`scope` is not there: without `unsafe` it would need threads of its own for each schedule.)

use crate::exec::{context, nanos, Op, Tid, World};
use ::std::any::Any;
use ::std::fmt;
use ::std::io;
use ::std::num::NonZeroUsize;
use ::std::panic::{
    catch_unwind, resume_unwind, AssertUnwindSafe, Location, RefUnwindSafe, UnwindSafe,
};
use ::std::sync::{Arc, Mutex, PoisonError};
use ::std::time::Duration;

pub use crate::local::{AccessError, LocalKey};
pub use ::std::thread::{panicking, Result};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ThreadId(u64);

#[derive(Clone)]
pub struct Thread {
    id: ThreadId,
    tid: Tid,
    name: Option<Arc<str>>,
}

impl Thread {
    pub fn id(&self) -> ThreadId {
        self.id
    }

    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    #[track_caller]
    pub fn unpark(&self) {
        if let Some((world, me)) = context() {
            world.step(me, Op::Unpark(self.tid), Location::caller());
        }
    }
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Thread")
            .field("id", &self.id)
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

fn thread(world: &World, tid: Tid, name: Option<Arc<str>>) -> Thread {
    Thread {
        id: ThreadId(world.lock().generation << 8 | tid as u64),
        tid,
        name,
    }
}

pub fn current() -> Thread {
    let (world, me) = context().expect("a thread of an execution");
    let label = world.lock().threads[me].label.clone();
    let name = (!label.starts_with("thread ")).then(|| Arc::from(label));
    thread(&world, me, name)
}

#[track_caller]
pub fn yield_now() {
    if let Some((world, me)) = context() {
        world.step(me, Op::Yield, Location::caller());
    }
}

#[track_caller]
pub fn sleep(duration: Duration) {
    if let Some((world, me)) = context() {
        let until = world.lock().clock.saturating_add(nanos(duration));
        world.step(me, Op::Sleep(until), Location::caller());
    }
}

#[track_caller]
pub fn park() {
    let (world, me) = context().expect("a thread of an execution");
    world.step(me, Op::Park(None), Location::caller());
}

#[track_caller]
pub fn park_timeout(timeout: Duration) {
    let (world, me) = context().expect("a thread of an execution");
    let until = world.lock().clock.saturating_add(nanos(timeout));
    world.step(me, Op::Park(Some(until)), Location::caller());
}

pub fn available_parallelism() -> io::Result<NonZeroUsize> {
    Ok(NonZeroUsize::new(2).expect("two"))
}

#[derive(Debug, Default)]
pub struct Builder {
    name: Option<String>,
}

impl Builder {
    pub fn new() -> Self {
        Builder::default()
    }

    pub fn name(mut self, name: String) -> Self {
        self.name = Some(name);
        self
    }

    /// All are the same here.
    pub fn stack_size(self, _bytes: usize) -> Self {
        self
    }

    /// # Errors
    ///
    /// If [`crate::refuse_threads`] says so.
    #[track_caller]
    pub fn spawn<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let place = Location::caller();
        let (world, me) = context().expect("a thread of an execution");
        if crate::refused() {
            return Err(io::Error::new(
                io::ErrorKind::WouldBlock,
                "the model refuses a thread",
            ));
        }
        let packet = Arc::new(Mutex::new(None));
        let own = packet.clone();
        let body = move || {
            let outcome = catch_unwind(AssertUnwindSafe(f));
            let panic = outcome
                .as_ref()
                .err()
                .map(|payload| crate::exec::message(&**payload));
            let fails = panic.is_some();
            *lock(&own) = Some(outcome);
            // If nobody will ask for it, it goes here, as with std.
            drop(own);
            if let (true, Some(text)) = (fails && crate::panics_fail(), panic) {
                resume_unwind(Box::new(text));
            }
        };
        let mut exec = world.lock();
        let number = exec.threads.len();
        let label = self
            .name
            .clone()
            .unwrap_or_else(|| format!("thread {number}"));
        let tid = exec.add_thread(Some(me), label);
        world.host(&mut exec, tid, Box::new(body));
        drop(exec);
        world.step(me, Op::Spawn(tid), place);
        let thread = thread(&world, tid, self.name.map(Arc::from));
        Ok(JoinHandle { thread, packet })
    }
}

#[track_caller]
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Builder::new().spawn(f).expect("failed to spawn thread")
}

fn lock<T>(mutex: &Mutex<T>) -> ::std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub struct JoinHandle<T> {
    thread: Thread,
    packet: Arc<Mutex<Option<::std::result::Result<T, Box<dyn Any + Send>>>>>,
}

impl<T> JoinHandle<T> {
    pub fn thread(&self) -> &Thread {
        &self.thread
    }

    #[track_caller]
    pub fn join(self) -> Result<T> {
        let (world, me) = context().expect("a thread of an execution");
        world.step(me, Op::Join(self.thread.tid), Location::caller());
        let outcome = lock(&self.packet).take();
        outcome.expect("what the thread has returned")
    }

    #[track_caller]
    pub fn is_finished(&self) -> bool {
        let (world, me) = context().expect("a thread of an execution");
        world.step(me, Op::IsFinished(self.thread.tid), Location::caller()) == 1
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").finish_non_exhaustive()
    }
}

impl<T> UnwindSafe for JoinHandle<T> {}
impl<T> RefUnwindSafe for JoinHandle<T> {}
