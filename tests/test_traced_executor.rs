//! The executor of the example `traced_executor`: what it reports, when, and for whom.

#[path = "../docs/examples/executors/traced.rs"]
mod traced;

use concurrent_futures::{
    Error, Executor, Future, MapOptions, ShutdownOptions, SubmitError, ThreadPoolExecutor,
};
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::{mpsc, Arc, Mutex};
use std::thread;
use std::time::Duration;
use traced::{context, within, Outcome, Span, TracedExecutor};

/// Runs `body` on a thread of its own, and fails when it has not ended in two minutes.
fn watchdog(what: &str, body: impl FnOnce() + Send + 'static) {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::spawn(move || {
        body();
        let _ = sender.send(());
    });
    match receiver.recv_timeout(Duration::from_secs(120)) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("hung: {what}"),
        _ => {
            if let Err(payload) = thread.join() {
                resume_unwind(payload);
            }
        }
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Span>>>);

impl Log {
    fn spans(&self) -> Vec<Span> {
        self.0.lock().unwrap().clone()
    }

    fn last(&self) -> Span {
        self.spans().pop().expect("a call was reported")
    }
}

fn traced(workers: usize) -> (TracedExecutor<ThreadPoolExecutor>, Log) {
    let pool = ThreadPoolExecutor::builder()
        .max_workers(workers)
        .thread_name_prefix("traced")
        .build()
        .unwrap();
    let log = Log::default();
    let its_log = log.clone();
    let executor = TracedExecutor::new(pool, move |span| its_log.0.lock().unwrap().push(span));
    (executor, log)
}

#[test]
fn each_call_is_reported_before_its_outcome_can_be_seen() {
    watchdog("calls of every outcome", || {
        let (executor, log) = traced(2);
        let mut calls = 0;
        for _ in 0..100 {
            assert_eq!(executor.submit(|| 6 * 7).unwrap().result(None).unwrap(), 42);
            calls += 1;
            assert_eq!(log.spans().len(), calls);
            assert_eq!(log.last().outcome, Outcome::Returned);

            let failed = executor.named("number").try_submit(|| "x".parse::<u8>());
            match failed.unwrap().result(None) {
                Err(Error::Exception(exception)) => {
                    assert_eq!(exception.type_name(), "ParseIntError");
                }
                other => panic!("{other:?}"),
            }
            calls += 1;
            assert_eq!(log.spans().len(), calls);
            let why = "invalid digit found in string".to_owned();
            assert_eq!(log.last().outcome, Outcome::Failed(why));
            assert_eq!(&*log.last().name, "number");

            let panicked = executor.submit(|| -> u8 { resume_unwind(Box::new("oh no")) });
            let exception = panicked.unwrap().exception(None).unwrap().unwrap();
            assert_eq!(exception.panic_message(), Some("oh no"));
            calls += 1;
            assert_eq!(log.spans().len(), calls);
            assert_eq!(log.last().outcome, Outcome::Panicked);
            assert!(log.last().thread.starts_with("traced_"));
        }
    });
}

#[test]
fn times_are_those_of_the_call() {
    watchdog("a call behind another one", || {
        let (executor, log) = traced(1);
        let time = Duration::from_millis(20);
        // The first call lasts until the second one was submitted, and then a while.
        let (submitted, told) = mpsc::channel::<()>();
        let first = move || {
            told.recv().unwrap();
            thread::sleep(time);
        };
        let first = executor.named("first").submit(first).unwrap();
        let second = executor.named("second").submit(|| ()).unwrap();
        submitted.send(()).unwrap();
        second.result(None).unwrap();
        first.result(None).unwrap();
        let spans = log.spans();
        assert_eq!((&*spans[0].name, &*spans[1].name), ("first", "second"));
        assert!(spans[0].ran >= time, "{spans:?}");
        assert!(spans[1].waited >= time, "{spans:?}");
    });
}

#[test]
fn what_is_cancelled_or_refused_is_reported_unrun() {
    watchdog("calls that are not run", || {
        let (executor, log) = traced(1);
        let (open, gate) = mpsc::channel::<()>();
        let (begin, begun) = mpsc::channel();
        let run = move || {
            begin.send(()).unwrap();
            gate.recv().is_err()
        };
        let running = executor.submit(run).unwrap();
        // Or else it would be cancelled, too.
        begun.recv().unwrap();
        let cancelled = executor.named("cancelled").submit(|| ()).unwrap();
        assert!(cancelled.cancel());
        assert_eq!(log.spans().len(), 1);
        assert_eq!(log.last().outcome, Outcome::NotRun);
        assert_eq!(&*log.last().name, "cancelled");
        assert_eq!(log.last().ran, Duration::ZERO);

        let left: Vec<Future<()>> = (0..3).map(|_| executor.submit(|| ()).unwrap()).collect();
        executor.shutdown_with(ShutdownOptions::new().wait(false).cancel_futures(true));
        assert!(left.iter().all(Future::cancelled));
        assert_eq!(log.spans().len(), 4);

        let refused = executor.named("refused").submit(|| ());
        assert!(matches!(refused, Err(SubmitError::Shutdown)));
        assert_eq!(&*log.last().name, "refused");
        assert_eq!(log.last().outcome, Outcome::NotRun);

        drop(open);
        assert!(running.result(None).unwrap());
        assert_eq!(log.spans().len(), 6);
    });
}

#[test]
fn the_context_goes_where_the_call_goes() {
    watchdog("calls of two contexts", || {
        let (executor, log) = traced(2);
        let executor = Arc::new(executor);
        for round in 0..200 {
            let name = format!("request {round}");
            let again = Arc::clone(&executor);
            let outer = within(&*name, || {
                let inner = move || (context(), again.submit(context).unwrap());
                executor.submit(inner).unwrap()
            });
            let (outer, inner) = outer.take_result(None).unwrap();
            assert_eq!(&*outer, name);
            assert_eq!(&*inner.result(None).unwrap(), name);
            assert_eq!(&*context(), "", "and this thread has none");
            // A worker keeps nothing of it, whatever became of the call.
            within("panic", || executor.submit(|| resume_unwind(Box::new(0))))
                .map(|future: Future<()>| future.exception(None).unwrap())
                .unwrap();
            assert_eq!(
                &*executor.submit(context).unwrap().result(None).unwrap(),
                ""
            );
        }
        let spans = log.spans();
        assert_eq!(spans.len(), 200 * 4);
        let of_request_7 = spans.iter().filter(|span| &*span.context == "request 7");
        assert_eq!(of_request_7.count(), 2);
    });
}

#[test]
fn a_context_ends_with_its_body() {
    within("outer", || {
        within("inner", || assert_eq!(&*context(), "inner"));
        assert_eq!(&*context(), "outer");
        let panicked = catch_unwind(|| within("panic", || resume_unwind(Box::new("oh no"))));
        assert!(panicked.is_err());
        assert_eq!(&*context(), "outer");
    });
    assert_eq!(&*context(), "");
}

#[test]
fn a_report_that_panics_changes_nothing() {
    watchdog("reports that panic", || {
        let pool = ThreadPoolExecutor::new(1).unwrap();
        let executor = TracedExecutor::new(pool, |_| resume_unwind(Box::new("report")));
        for _ in 0..3 {
            assert_eq!(executor.submit(|| 1).unwrap().result(None).unwrap(), 1);
            let panicked = executor.submit(|| -> i32 { resume_unwind(Box::new("call")) });
            let exception = panicked.unwrap().exception(None).unwrap().unwrap();
            assert_eq!(exception.panic_message(), Some("call"));
        }
        executor.shutdown();
        let refused = catch_unwind(AssertUnwindSafe(|| executor.submit(|| ()).is_err()));
        assert!(refused.unwrap());
    });
}

/// What comes with the trait: a map is many calls.
#[test]
fn a_map_is_traced_call_by_call() {
    watchdog("a map", || {
        let (executor, log) = traced(2);
        let named = executor.named("square");
        let squares = named.map(|n: u64| n * n, 0..50).unwrap();
        assert_eq!(squares.map(Result::unwrap).sum::<u64>(), 40_425);
        let options = MapOptions::new().chunksize(10);
        let squares = named.map_with(|n: u64| n * n, 0..50, options).unwrap();
        assert_eq!(squares.map(Result::unwrap).sum::<u64>(), 40_425);
        executor.shutdown();
        let spans = log.spans();
        assert_eq!(spans.len(), 55);
        assert!(spans.iter().all(|span| &*span.name == "square"));
    });
}
