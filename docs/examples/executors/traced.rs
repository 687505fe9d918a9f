//! An executor that watches every call of another one.

use concurrent_futures::{Exception, Executor, Future, ShutdownOptions, SubmitError};
use std::cell::RefCell;
use std::fmt;
use std::mem;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Passes calls on to another executor, and reports of each what became of it: what Java's pools have
/// `beforeExecute` and `afterExecute` for. It also takes the [`context`] of whoever submits a call along
/// to the thread that runs it.
///
/// A call is reported by whoever ends it: the thread that ran it, before its outcome can be seen; or,
/// unrun, the thread that drops it, because it was cancelled or refused.
pub struct TracedExecutor<X> {
    executor: X,
    name: Arc<str>,
    report: Arc<dyn Fn(Span) + Send + Sync>,
}

/// What became of a call.
#[derive(Clone, Debug)]
pub struct Span {
    /// What [`TracedExecutor::named`] was given.
    pub name: Arc<str>,
    /// The context of the thread that submitted it.
    pub context: Arc<str>,
    /// The name of the thread that ran it, or dropped it.
    pub thread: String,
    /// From its submission to its start, or to its drop.
    pub waited: Duration,
    /// From its start to its end.
    pub ran: Duration,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Returned,
    /// It returned an error, with this message.
    Failed(String),
    Panicked,
    /// It was refused, or cancelled before it began.
    NotRun,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Span { name, context, .. } = self;
        let waited = self.waited.as_secs_f64() * 1e3;
        let ran = self.ran.as_secs_f64() * 1e3;
        write!(f, "[{context}] {name} waited {waited:.1} ms, ")?;
        match &self.outcome {
            Outcome::NotRun => return f.write_str("and was not run"),
            Outcome::Returned => f.write_str("returned")?,
            Outcome::Failed(why) => write!(f, "failed ({why})")?,
            Outcome::Panicked => f.write_str("panicked")?,
        }
        write!(f, " after {ran:.1} ms on {}", self.thread)
    }
}

thread_local! {
    static CONTEXT: RefCell<Arc<str>> = RefCell::new(Arc::from(""));
}

/// What this thread works for: a request's number, say. Within a call of a [`TracedExecutor`], that is what
/// it was for whoever submitted the call.
pub fn context() -> Arc<str> {
    CONTEXT.with(|context| Arc::clone(&context.borrow()))
}

/// Calls `body` in a context: what it submits, and what is submitted by those calls in turn, belongs to it.
pub fn within<R>(context: impl Into<Arc<str>>, body: impl FnOnce() -> R) -> R {
    /// Puts the former context back, also when `body` panics.
    struct Former(Arc<str>);

    impl Drop for Former {
        fn drop(&mut self) {
            let former = mem::replace(&mut self.0, Arc::from(""));
            CONTEXT.with(|context| *context.borrow_mut() = former);
        }
    }

    let context = context.into();
    let _former = Former(CONTEXT.with(|current| mem::replace(&mut *current.borrow_mut(), context)));
    body()
}

impl<X: Executor> TracedExecutor<X> {
    /// `report` is called for every call, on many threads, and holds them up while it runs. If it
    /// panics, that changes nothing for the call.
    pub fn new(executor: X, report: impl Fn(Span) + Send + Sync + 'static) -> Self {
        TracedExecutor {
            executor,
            name: Arc::from("a call"),
            report: Arc::new(report),
        }
    }

    /// The same executor, under which calls have this name.
    pub fn named(&self, name: impl Into<Arc<str>>) -> TracedExecutor<&X> {
        TracedExecutor {
            executor: &self.executor,
            name: name.into(),
            report: Arc::clone(&self.report),
        }
    }
}

/// A call's, which goes where the call goes: it reports when it is dropped, however that comes about.
struct Trace {
    name: Arc<str>,
    context: Arc<str>,
    submitted: Instant,
    started: Option<Instant>,
    outcome: Outcome,
    report: Arc<dyn Fn(Span) + Send + Sync>,
}

impl Drop for Trace {
    fn drop(&mut self) {
        let now = Instant::now();
        let started = self.started.unwrap_or(now);
        let span = Span {
            name: Arc::clone(&self.name),
            context: Arc::clone(&self.context),
            thread: thread::current().name().unwrap_or("a thread").to_owned(),
            waited: started - self.submitted,
            ran: now - started,
            outcome: mem::replace(&mut self.outcome, Outcome::NotRun),
        };
        // A panic in a drop, while the call's own panic unwinds, would end the process.
        let _ = catch_unwind(AssertUnwindSafe(|| (self.report)(span)));
    }
}

impl<X: Executor> Executor for TracedExecutor<X> {
    fn try_submit<F, T, E>(&self, f: F) -> Result<Future<T>, SubmitError>
    where
        F: FnOnce() -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Into<Exception>,
    {
        let trace = Trace {
            name: Arc::clone(&self.name),
            context: context(),
            submitted: Instant::now(),
            started: None,
            outcome: Outcome::NotRun,
            report: Arc::clone(&self.report),
        };
        self.executor.try_submit(move || {
            let mut trace = trace;
            trace.started = Some(Instant::now());
            // Unless it comes to what follows the call.
            trace.outcome = Outcome::Panicked;
            let result = within(Arc::clone(&trace.context), f).map_err(Into::<Exception>::into);
            trace.outcome = match &result {
                Ok(_) => Outcome::Returned,
                Err(exception) => Outcome::Failed(exception.to_string()),
            };
            result
        })
    }

    fn shutdown_with(&self, options: ShutdownOptions) {
        self.executor.shutdown_with(options);
    }
}
