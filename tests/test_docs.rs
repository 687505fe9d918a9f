//! What the documents claim: their links, their programs, and those rows of `docs/divergences.md` that
//! no other test holds.

use concurrent_futures::{
    as_completed, thread::_python_exit, wait, AnyFuture, BrokenExecutor, BrokenThreadPool, Error,
    Exception, Executor, Future, MapOptions, ShutdownOptions, State, SubmitError,
    ThreadPoolExecutor, ALL_COMPLETED,
};
use std::cell::RefCell;
use std::collections::HashSet;
use std::env;
use std::error::Error as StdError;
use std::fmt;
use std::fs;
use std::future::Future as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{mpsc, Arc, Barrier, Mutex};
use std::task::{Context, Poll, Wake};
use std::thread;
use std::time::Duration;

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
                std::panic::resume_unwind(payload);
            }
        }
    }
}

/// A gate that is shut until it is opened, once.
#[derive(Clone)]
struct Gate(Future<()>);

impl Gate {
    fn new() -> Self {
        Gate(Future::new())
    }

    fn open(&self) {
        self.0.set_result(()).unwrap();
    }

    fn wait(&self) {
        self.0.result(None).unwrap();
    }
}

/// Sends when it is dropped.
struct Sends(mpsc::Sender<()>);

impl Drop for Sends {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

thread_local! {
    static AT_THREADS_END: RefCell<Option<Sends>> = const { RefCell::new(None) };
}

/// Calls a function when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// An error that says that it is empty, as an exception with `__len__` may in Python.
#[derive(Debug)]
struct Falsy;

impl fmt::Display for Falsy {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl StdError for Falsy {}

// The rows of docs/divergences.md that are held here.

#[test]
fn row_12_an_initializer_that_fails_after_shutdown_strands_no_worker() {
    watchdog("joining a worker whose sentinel was drained", || {
        let (busy, fail, go) = (Gate::new(), Gate::new(), Gate::new());
        let number = Mutex::new(0);
        let its_fail = fail.clone();
        let pool = ThreadPoolExecutor::builder()
            .max_workers(2)
            .try_initializer(move || {
                let mut number = number.lock().unwrap();
                *number += 1;
                if *number == 1 {
                    return Ok(());
                }
                drop(number);
                its_fail.wait();
                Err(Exception::msg("no"))
            })
            .build()
            .unwrap();
        let (its_busy, its_go) = (busy.clone(), go.clone());
        let (sender, ended) = mpsc::channel();
        let first = pool
            .submit(move || {
                AT_THREADS_END.with(|end| *end.borrow_mut() = Some(Sends(sender)));
                its_busy.open();
                its_go.wait();
            })
            .unwrap();
        busy.wait();
        let second = pool.submit(|| ()).unwrap();
        assert_eq!(pool.thread_count(), 2);
        pool.shutdown_with(ShutdownOptions::new().wait(false));
        fail.open();
        // Its exception is there only after the drain, and so after the sentinel was drained.
        assert!(second.exception(None).unwrap().is_some());
        go.open();
        first.result(None).unwrap();
        // Not `shutdown`, which would put another sentinel.
        ended.recv().unwrap();
    });
}

#[test]
fn row_13_an_initializer_that_fails_in_a_dropped_pool_strands_no_call() {
    watchdog("the call of a pool that was dropped", || {
        let (in_initializer, fail) = (Gate::new(), Gate::new());
        let (its_gate, its_fail) = (in_initializer.clone(), fail.clone());
        let pool = ThreadPoolExecutor::builder()
            .max_workers(1)
            .try_initializer(move || {
                its_gate.open();
                its_fail.wait();
                Err(Exception::msg("no"))
            })
            .build()
            .unwrap();
        let futures: Vec<_> = (0..3).map(|n| pool.submit(move || n).unwrap()).collect();
        in_initializer.wait();
        drop(pool);
        fail.open();
        for future in futures {
            let exception = future.exception(None).unwrap().unwrap();
            assert!(exception.downcast_ref::<BrokenThreadPool>().is_some());
        }
    });
}

#[test]
fn row_14_a_worker_survives_whatever_a_callback_throws() {
    watchdog("a pool of one after a callback panicked", || {
        let pool = ThreadPoolExecutor::new(1).unwrap();
        let gate = Gate::new();
        let its_gate = gate.clone();
        let future = pool.submit(move || its_gate.wait()).unwrap();
        let (sender, receiver) = mpsc::channel();
        future.add_done_callback(|_| std::panic::panic_any(42));
        future.add_done_callback(move |_| sender.send(()).unwrap());
        gate.open();
        receiver.recv().unwrap();
        assert_eq!(pool.submit(|| 7).unwrap().result(None).unwrap(), 7);
        assert_eq!(pool.thread_count(), 1);
    });
}

#[test]
fn row_15_a_long_chain_of_callbacks_is_run_to_its_end() {
    watchdog("a chain of callbacks", || {
        let futures: Vec<_> = (0..20_000).map(|_| Future::new()).collect();
        for pair in futures.windows(2) {
            let next = pair[1].clone();
            pair[0].add_done_callback(move |_| next.set_result(()).unwrap());
        }
        futures[0].set_result(()).unwrap();
        assert!(futures.iter().all(Future::done), "before it returns");
    });
}

#[test]
fn row_16_an_exception_is_one_whatever_it_says_of_itself() {
    let future = Future::<i32>::new();
    future.set_exception(Falsy).unwrap();
    match future.result(None) {
        Err(Error::Exception(exception)) => assert!(exception.downcast_ref::<Falsy>().is_some()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn row_17_as_completed_starts_with_its_call() {
    watchdog("as_completed with a time-out", || {
        let [first, second] = [Future::new(), Future::new()];
        let completed = as_completed(vec![first.clone(), second.clone()], None);
        second.set_result(2).unwrap();
        first.set_result(1).unwrap();
        let order: Vec<_> = completed.map(Result::unwrap).collect();
        assert!(order == [second, first], "the order in which they finished");

        // Were the clock started by `next`, it could not be over sooner than the time-out.
        let timeout = Duration::from_millis(20);
        let started_with_the_call = (0..20).any(|_| {
            let mut completed = as_completed(vec![Future::<i32>::new()], timeout);
            thread::sleep(timeout);
            let next = std::time::Instant::now();
            assert!(completed.next().unwrap().is_err());
            next.elapsed() < timeout
        });
        assert!(started_with_the_call);
    });
}

#[test]
fn row_18_what_is_done_already_comes_in_the_order_given() {
    let futures: Vec<_> = (0..100).map(|_| Future::new()).collect();
    for future in futures.iter().rev() {
        future.set_result(()).unwrap();
    }
    let completed: Vec<_> = as_completed(futures.clone(), None)
        .map(Result::unwrap)
        .collect();
    assert!(completed == futures);
}

#[test]
fn row_20_a_shutdown_loses_no_result_of_a_map() {
    watchdog("a map over a pool that was shut down", || {
        let pool = ThreadPoolExecutor::new(1).unwrap();
        let mut mapped = pool
            .map_with(|n| n, 0..9, MapOptions::new().buffersize(2))
            .unwrap();
        assert_eq!(mapped.next().unwrap().unwrap(), 0);
        pool.shutdown();
        let rest: Vec<_> = mapped.collect();
        assert!(matches!(rest[..2], [Ok(1), Ok(2)]), "{rest:?}");
        match &rest[2..] {
            [Err(Error::Exception(exception))] => {
                let refused = exception.downcast_ref::<SubmitError>().unwrap();
                assert!(matches!(refused, SubmitError::Shutdown));
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn row_21_a_chunk_is_one_task() {
    watchdog("a map in chunks", || {
        let pool = ThreadPoolExecutor::new(1).unwrap();
        let gate = Gate::new();
        let its_gate = gate.clone();
        let started = Gate::new();
        let its_started = started.clone();
        pool.submit(move || {
            its_started.open();
            its_gate.wait();
        })
        .unwrap();
        started.wait();
        let mapped = pool
            .map_with(|n| n * n, 0..10, MapOptions::new().chunksize(4))
            .unwrap();
        assert_eq!(pool.queue_size(), 3);
        gate.open();
        let squares: Vec<i32> = mapped.map(Result::unwrap).collect();
        assert_eq!(squares, (0..10).map(|n| n * n).collect::<Vec<_>>());
    });
}

/// Whether this process was started by [`child`] for the test of that name.
fn is_child(name: &str) -> bool {
    env::var("TEST_DOCS_CHILD").as_deref() == Ok(name)
}

/// Runs one test of this file in a process of its own, and returns what it printed.
fn child(name: &str) -> String {
    let output = Command::new(env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env("TEST_DOCS_CHILD", name)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{name}: {text}");
    text
}

#[test]
fn row_22_a_worker_shuts_all_pools_down() {
    let name = "row_22_a_worker_shuts_all_pools_down";
    if !is_child(name) {
        watchdog("a worker that shuts all pools down", move || {
            assert!(child(name).contains("it waited for nobody"));
        });
        return;
    }
    let gate = Gate::new();
    let busy = ThreadPoolExecutor::new(1).unwrap();
    let its_gate = gate.clone();
    let left = busy.submit(move || its_gate.wait()).unwrap();
    let pool = ThreadPoolExecutor::new(1).unwrap();
    pool.submit(_python_exit).unwrap().result(None).unwrap();
    println!("it waited for nobody");
    for pool in [&busy, &pool] {
        let refused = pool.submit(|| ()).unwrap_err();
        assert!(matches!(refused, SubmitError::InterpreterShutdown));
    }
    let new = ThreadPoolExecutor::new(1).unwrap();
    let refused = new.submit(|| ()).unwrap_err();
    assert!(matches!(refused, SubmitError::InterpreterShutdown));
    gate.open();
    left.result(None).unwrap();
}

#[test]
fn row_23_running_twice_is_an_error() {
    let future = Future::<i32>::new();
    assert!(future.set_running_or_notify_cancel().unwrap());
    let error = future.set_running_or_notify_cancel().unwrap_err();
    assert_eq!(error.to_string(), "Future in unexpected state");

    watchdog("a pool's cancelled future", || {
        let pool = ThreadPoolExecutor::new(1).unwrap();
        let gate = Gate::new();
        let its_gate = gate.clone();
        pool.submit(move || its_gate.wait()).unwrap();
        let future = pool.submit(|| ()).unwrap();
        assert!(future.cancel());
        for _ in 0..3 {
            assert!(!future.set_running_or_notify_cancel().unwrap());
        }
        gate.open();
    });
}

#[test]
fn row_24_a_callback_is_gone_once_it_was_called() {
    let held = Arc::new(());
    let future = Future::new();
    let its_held = Arc::clone(&held);
    future.add_done_callback(move |_| drop(Arc::clone(&its_held)));
    assert_eq!(Arc::strong_count(&held), 2);
    future.set_result(()).unwrap();
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn row_25_captures_are_dropped_before_the_result_is_seen() {
    watchdog("many small calls", || {
        let pool = ThreadPoolExecutor::new(2).unwrap();
        for round in 0..500 {
            let held = Arc::new(());
            let its_held = Arc::clone(&held);
            let future = pool
                .try_submit(move || {
                    let _held = &its_held;
                    if round % 2 == 0 {
                        Ok(())
                    } else {
                        Err(Exception::msg("no"))
                    }
                })
                .unwrap();
            future.exception(None).unwrap();
            assert_eq!(
                Arc::strong_count(&held),
                1,
                "while its future is still here"
            );
        }
    });
}

#[test]
fn row_26_a_worker_survives_drops_that_panic() {
    watchdog("a pool of one after panics in `Drop`", || {
        let pool = ThreadPoolExecutor::new(1).unwrap();
        let bomb = || OnDrop(|| panic!("dropped"));
        let gate = Gate::new();
        let its_gate = gate.clone();
        let _result_of_nobody = pool.submit(move || its_gate.wait()).unwrap();
        drop(pool.submit(bomb).unwrap());
        let capture = bomb();
        drop(pool.submit(move || drop(capture)).unwrap());
        drop(pool.submit(move || std::panic::panic_any(bomb())).unwrap());
        let capture = bomb();
        let cancelled = pool
            .submit(move || {
                let _capture = &capture;
            })
            .unwrap();
        assert!(cancelled.cancel());
        drop(cancelled);
        gate.open();
        assert_eq!(pool.submit(|| 7).unwrap().result(None).unwrap(), 7);
        assert_eq!(pool.thread_count(), 1);
    });
}

/// What stop 7 of the guide says of the order in `set_result`.
#[test]
fn whoever_waits_is_woken_before_the_callbacks_are_called() {
    watchdog("a callback that waits for those who wait", || {
        for _ in 0..200 {
            let future = Future::new();
            let (sender, woken) = mpsc::channel();
            let threads = [0, 1].map(|way| {
                let (future, sender) = (future.clone(), sender.clone());
                thread::spawn(move || {
                    match way {
                        0 => assert_eq!(future.result(None).unwrap(), 1),
                        _ => assert_eq!(wait([future], None, ALL_COMPLETED).done.len(), 1),
                    }
                    sender.send(()).unwrap();
                })
            });
            future.add_done_callback(move |future| {
                assert_eq!(future.state(), State::Finished);
                // Both had to take the future's lock to see that.
                woken.recv().unwrap();
                woken.recv().unwrap();
            });
            future.set_result(1).unwrap();
            for thread in threads {
                thread.join().unwrap();
            }
        }
    });
}

#[test]
fn row_29_an_error_and_a_panic_are_both_exceptions() {
    watchdog("two calls that fail", || {
        let pool = ThreadPoolExecutor::new(1).unwrap();
        let failed = pool.try_submit(|| "x".parse::<i32>()).unwrap();
        let panicked = pool.submit(|| -> i32 { panic!("no {}", 42) }).unwrap();
        let exception = failed.exception(None).unwrap().unwrap();
        assert!(!exception.is_panic());
        assert!(exception
            .downcast_ref::<std::num::ParseIntError>()
            .is_some());
        match panicked.result(None) {
            Err(Error::Exception(exception)) => {
                assert!(exception.is_panic());
                assert_eq!(exception.panic_message(), Some("no 42"));
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn row_30_errors_have_cpythons_words() {
    let words = "A thread initializer failed, the thread pool is not usable anymore";
    assert_eq!(
        BrokenExecutor::from(BrokenThreadPool::default()).to_string(),
        words
    );
    let refused = SubmitError::from(BrokenThreadPool::default());
    assert!(matches!(&refused, SubmitError::Broken(_)));
    assert_eq!(refused.to_string(), words);
    assert_eq!(
        SubmitError::Shutdown.to_string(),
        "cannot schedule new futures after shutdown"
    );
    assert_eq!(
        SubmitError::InterpreterShutdown.to_string(),
        "cannot schedule new futures after interpreter shutdown"
    );
    let future = Future::<i32>::new();
    assert!(matches!(future.result(Duration::ZERO), Err(Error::Timeout)));
    assert!(future.cancel());
    assert!(matches!(future.result(None), Err(Error::Cancelled)));
}

#[test]
fn row_32_a_result_is_cloned_or_taken() {
    let future = Future::new();
    future.set_result(vec![1, 2]).unwrap();
    let other = future.clone();
    assert_eq!(future.result(None).unwrap(), [1, 2]);
    assert_eq!(other.result(None).unwrap(), [1, 2]);
    assert_eq!(other.take_result(None).unwrap(), [1, 2]);
    assert!(matches!(future.result(None), Err(Error::Taken)));
    assert!(matches!(future.take_result(None), Err(Error::Taken)));
    assert_eq!(future.state(), State::Finished);
}

#[test]
fn row_41_futures_of_different_types_are_waited_for_together() {
    watchdog("futures of two types", || {
        let pool = ThreadPoolExecutor::new(2).unwrap();
        let number = pool.submit(|| 42).unwrap();
        let text = pool.submit(|| "42".to_owned()).unwrap();
        let futures = [AnyFuture::from(&number), AnyFuture::from(&text)];
        let waited = wait(futures.clone(), None, ALL_COMPLETED);
        assert_eq!(waited.done.len(), 2);
        assert!(futures.iter().all(|future| waited.done.contains(future)));
        assert!(AnyFuture::from(number.clone()) == futures[0]);
        assert!(futures[0] != futures[1]);
    });
}

/// Wakes a task by unparking the thread that polls it.
struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

async fn awaited(future: Future<i32>) -> Result<i32, Error> {
    future.await
}

#[test]
fn row_48_a_future_can_be_awaited() {
    watchdog("a future that is awaited", || {
        let pool = ThreadPoolExecutor::new(1).unwrap();
        let gate = Gate::new();
        let its_gate = gate.clone();
        let future = pool
            .submit(move || {
                its_gate.wait();
                42
            })
            .unwrap();
        let mut task = Box::pin(awaited(future));
        let waker = Arc::new(Unpark(thread::current())).into();
        let mut context = Context::from_waker(&waker);
        assert!(task.as_mut().poll(&mut context).is_pending());
        gate.open();
        loop {
            match task.as_mut().poll(&mut context) {
                Poll::Ready(result) => break assert_eq!(result.unwrap(), 42),
                Poll::Pending => thread::park(),
            }
        }
    });
}

/// Runs every call at once, on the caller's thread.
struct Immediate;

impl Executor for Immediate {
    fn try_submit<F, T, E>(&self, f: F) -> Result<Future<T>, SubmitError>
    where
        F: FnOnce() -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Into<Exception>,
    {
        let future = Future::new();
        future.set_running_or_notify_cancel().unwrap();
        match f() {
            Ok(value) => future.set_result(value).unwrap(),
            Err(error) => future.set_exception(error).unwrap(),
        }
        Ok(future)
    }

    fn shutdown_with(&self, _: ShutdownOptions) {}
}

#[test]
fn row_39_an_executor_is_two_methods() {
    let squares = Immediate.with(|executor| {
        let futures = vec![executor.submit(|| 1).unwrap()];
        assert_eq!(wait(futures, None, ALL_COMPLETED).done.len(), 1);
        executor.map(|n| n * n, 1..=3).unwrap()
    });
    assert_eq!(squares.map(Result::unwrap).collect::<Vec<_>>(), [1, 4, 9]);
}

#[test]
fn row_43_what_python_keeps_in_attributes() {
    watchdog("a pool that was shut down", || {
        let pool = ThreadPoolExecutor::new(3).unwrap();
        assert_eq!(
            (pool.max_workers(), pool.thread_count(), pool.queue_size()),
            (3, 0, 0)
        );
        let gate = Gate::new();
        let started = Arc::new(Barrier::new(4));
        for _ in 0..3 {
            let (gate, started) = (gate.clone(), Arc::clone(&started));
            pool.submit(move || {
                started.wait();
                gate.wait();
            })
            .unwrap();
        }
        started.wait();
        let waiting = pool.submit(|| ()).unwrap();
        assert_eq!((pool.thread_count(), pool.queue_size()), (3, 1));
        assert_eq!(waiting.state(), State::Pending);
        assert!(!pool.is_shutdown());
        pool.shutdown_with(ShutdownOptions::new().wait(false));
        assert!(pool.is_shutdown());
        assert_eq!(pool.queue_size(), 1, "the sentinel is no call");
        gate.open();
        pool.shutdown();
        assert_eq!((pool.thread_count(), pool.queue_size()), (3, 0));
    });
}

fn deep(n: usize) -> usize {
    let frame = [n; 128];
    match n {
        0 => 0,
        _ => deep(n - 1) + frame[n % 128] / n,
    }
}

#[test]
fn row_47_a_pool_has_its_own_stack_size() {
    watchdog("a deep recursion", || {
        let pool = ThreadPoolExecutor::builder()
            .max_workers(1)
            .thread_stack_size(64 << 20)
            .build()
            .unwrap();
        // More than the two megabytes that a thread has by default, in a debug build.
        let depth = pool.submit(|| deep(10_000)).unwrap();
        assert_eq!(depth.result(None).unwrap(), 10_000);
    });
}

/// A value whose clone asks its future how it is.
struct Nosy(Arc<Mutex<Option<Future<Nosy>>>>);

impl Clone for Nosy {
    fn clone(&self) -> Self {
        let future = self.0.lock().unwrap().clone().unwrap();
        assert!(future.done() && !future.cancel());
        Nosy(Arc::clone(&self.0))
    }
}

#[test]
fn row_65_a_value_is_cloned_without_the_lock() {
    watchdog("a clone that uses its own future", || {
        let future = Future::new();
        let cell = Arc::new(Mutex::new(Some(future.clone())));
        future.set_result(Nosy(Arc::clone(&cell))).unwrap();
        let clone = future.result(None).map(drop);
        assert!(clone.is_ok());
        cell.lock().unwrap().take();
    });
}

#[test]
fn row_69_what_shutdown_meets_first_is_run_or_cancelled() {
    watchdog("a pool that is shut down at once", || {
        for _ in 0..300 {
            let pool = ThreadPoolExecutor::new(5).unwrap();
            let (sender, ran) = mpsc::channel();
            let future = pool.submit(move || sender.send(()).unwrap()).unwrap();
            pool.shutdown_with(ShutdownOptions::new().cancel_futures(true));
            assert!(future.done());
            assert_eq!(ran.try_recv().is_ok(), !future.cancelled());
        }
    });
}

#[test]
fn row_70_a_pool_is_shut_down_while_its_results_are_read() {
    watchdog("map_with and a pool that ends", || {
        let pool = ThreadPoolExecutor::new(2).unwrap();
        let options = MapOptions::new().timeout(Duration::from_secs(60));
        let borrows = pool.map_with(|n: u32| n * n, 0..5, options).unwrap();
        pool.shutdown_with(ShutdownOptions::new().wait(false));
        let squares: Result<Vec<_>, _> = borrows.collect();
        assert_eq!(squares.unwrap(), [0, 1, 4, 9, 16]);

        let pool = ThreadPoolExecutor::new(2).unwrap();
        let owns = pool.map(|n: u32| n * n, 0..5).unwrap();
        drop(pool);
        let squares: Result<Vec<_>, _> = owns.collect();
        assert_eq!(squares.unwrap(), [0, 1, 4, 9, 16]);
    });
}

#[test]
fn row_71_a_callback_more_than_sixteen_deep_is_called_later() {
    watchdog("nested callbacks", || {
        let futures: Vec<_> = (0..40).map(|_| Future::new()).collect();
        // Of each future but the last: whether the callback of the next one had been called when the
        // `set_result` of that one returned.
        let called = Arc::new(Mutex::new(vec![false; futures.len()]));
        let within = Arc::new(Mutex::new(vec![false; futures.len() - 1]));
        for (n, future) in futures.iter().enumerate() {
            let (called, within) = (Arc::clone(&called), Arc::clone(&within));
            let next = futures.get(n + 1).cloned();
            future.add_done_callback(move |_| {
                called.lock().unwrap()[n] = true;
                if let Some(next) = next {
                    next.set_result(()).unwrap();
                    next.result(None).expect("its result is there");
                    within.lock().unwrap()[n] = called.lock().unwrap()[n + 1];
                }
            });
        }
        futures[0].set_result(()).unwrap();
        assert!(called.lock().unwrap().iter().all(|called| *called));
        let within = within.lock().unwrap();
        assert!(within[..15].iter().all(|within| *within), "{within:?}");
        assert!(!within[15], "{within:?}");
    });
}

// The documents themselves.

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `README.md` and `docs/*.md`.
fn documents() -> Vec<PathBuf> {
    let mut documents = vec![root().join("README.md")];
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .map_or(false, |extension| extension == "md")
        {
            documents.push(path);
        }
    }
    assert!(documents.len() > 5, "{documents:?}");
    documents
}

/// A fenced block: what stands behind the fence, the line of the fence, and what is in it.
struct Block {
    language: String,
    line: usize,
    text: String,
}

/// The fenced blocks of a document, and the document without them.
fn blocks(document: &str) -> (Vec<Block>, String) {
    let (mut blocks, mut prose) = (Vec::new(), String::new());
    let mut block: Option<Block> = None;
    for (number, line) in document.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), &mut block) {
            (Some(_), Some(_)) => blocks.extend(block.take()),
            (Some(language), None) => {
                block = Some(Block {
                    language: language.to_owned(),
                    line: number + 1,
                    text: String::new(),
                });
            }
            (None, Some(block)) => block.text += &format!("{line}\n"),
            (None, None) => prose += &format!("{line}\n"),
        }
    }
    assert!(block.is_none(), "a fence is not closed");
    (blocks, prose)
}

/// A document's prose without what stands between backticks.
fn without_code(prose: &str) -> String {
    let pieces = prose.lines().map(|line| {
        let outside: Vec<_> = line.split('`').step_by(2).collect();
        outside.join("`")
    });
    pieces.collect::<Vec<_>>().join("\n")
}

/// The anchors that GitHub makes of the headings.
fn anchors(document: &str) -> HashSet<String> {
    let (_, prose) = blocks(document);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let mut anchors = HashSet::new();
    for heading in headings {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        let anchor: String = text
            .chars()
            .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        assert!(anchors.insert(anchor), "{heading} is there twice");
    }
    anchors
}

/// The targets of the links in a document.
fn links(document: &str) -> Vec<String> {
    let prose = without_code(&blocks(document).1);
    prose
        .split("](")
        .skip(1)
        .map(|rest| rest[..rest.find(')').expect("a link ends")].to_owned())
        .collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    let mut count = 0;
    for path in documents() {
        let text = read(&path);
        for link in links(&text) {
            if link.contains("://") {
                continue;
            }
            count += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => path.clone(),
                _ => path.parent().unwrap().join(file),
            };
            let found =
                target.exists() && (anchor.is_empty() || anchors(&read(&target)).contains(anchor));
            if !found {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(count > 100, "only {count} links seen");
}

#[test]
fn the_checks_of_links_and_anchors_see_what_there_is() {
    let document = "# One `a_b`, two?\n[x](a.md#b) `[y](no)` ![z](p.svg)\n```text\n[w](no)\n```\n";
    assert_eq!(links(document), ["a.md#b", "p.svg"]);
    assert!(anchors(document).contains("one-a_b-two"));
}

/// The table of scenarios has those that there are, and the sentence above it counts what the table says.
#[test]
fn the_scenarios_are_those_of_the_table() {
    let mut scenarios = Vec::new();
    for entry in fs::read_dir(root().join("tests/schedules/small")).unwrap() {
        let text = read(&entry.unwrap().path());
        let all = text.split("model::scenarios! {\n").nth(1).unwrap();
        let all = all.split("\n}\n").next().unwrap().lines();
        let names = all.filter_map(|line| line.strip_prefix("    fn "));
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        scenarios.extend(names.map(|rest| rest.split(|c| !is_name(c)).next().unwrap().to_owned()));
    }
    let page = read(&root().join("docs/schedules.md"));
    let section = page.split("\n## The scenarios\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let (mut names, mut counts) = (Vec::new(), [0; 4]);
    for row in rows {
        let (name, rest) = row.split_once("` |").unwrap();
        names.push(name.to_owned());
        counts[match rest.split('|').nth(1).unwrap().trim() {
            "yes" => 0,
            "yes, with 1" => 1,
            "the hang is found" => 2,
            _ => 3,
        }] += 1;
    }
    scenarios.sort();
    names.sort();
    assert_eq!(names, scenarios);
    let [two, fewer, hangs, left] = counts;
    let words: Vec<_> = section.split_whitespace().collect();
    let text = words.join(" ");
    let sentence = format!(
        "Of {} scenarios, {two} came to the end of all schedules of two preemptions, {fewer} to the end of the one \
         that they ask for, and {hangs} are the hangs that must be found. The other {left} have more schedules",
        names.len()
    );
    assert!(text.contains(&sentence), "{sentence}");
}

/// The lines that a planted fault replaces stand once in its file, or nothing would be planted. The table has a row for
/// each, and the sentence below it counts what the table says.
#[test]
fn the_planted_faults_can_be_planted_and_are_those_of_the_table() {
    let text = read(&root().join("tests/schedules/faults.txt"));
    let mut faults = Vec::new();
    for fault in text.split("\nfault ").skip(1) {
        let (head, lines) = fault.split_once('\n').unwrap();
        let words: Vec<_> = head.split(' ').collect();
        let old = &lines[..=lines.find("\nwith\n").unwrap()];
        let source = read(&root().join("src").join(words[1]));
        let count = source.matches(old).count();
        assert_eq!(count, 1, "{}, whose lines are\n{old}", words[0]);
        faults.push(words[0]);
    }
    let page = read(&root().join("docs/schedules.md"));
    let section = page.split("\n## Planted faults\n").nth(1).unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows: Vec<_> = rows.map(|row| row.split_once("` |").unwrap()).collect();
    let names: Vec<_> = rows.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, faults);
    let missed = |(_, rest): &&(&str, &str)| rest.ends_with("| not found |");
    let sentence = format!(
        "Of {0} faults, all schedules find {0}, and the random ones {1}.",
        rows.len(),
        rows.len() - rows.iter().filter(missed).count()
    );
    assert!(section.contains(&sentence), "{sentence}");
}

/// The divergences, each with its number and what it says of its tests.
fn divergences(text: &str) -> Vec<(usize, String)> {
    let mut divergences = Vec::new();
    let mut in_tests = false;
    for line in text.lines() {
        let title = line.strip_prefix("### ").and_then(|it| it.split_once(". "));
        if let Some((number, _)) = title {
            divergences.push((number.parse().unwrap(), String::new()));
        }
        // What begins in one line may go on in the next ones.
        let tests = match line.strip_prefix("- **Test:** ") {
            Some(tests) => Some(tests),
            None => line.strip_prefix("  ").filter(|_| in_tests),
        };
        in_tests = tests.is_some();
        if let (Some(tests), Some(last)) = (tests, divergences.last_mut()) {
            last.1 += tests;
        }
    }
    divergences
}

/// The divergences are numbered, and the tests that they name exist.
#[test]
fn every_divergence_names_a_test_that_there_is() {
    let path = root().join("docs/divergences.md");
    let text = read(&path);
    assert!(!text.contains("\n| "), "one is in a table still");
    let mut rows = 0;
    let mut missing = Vec::new();
    for (number, tests) in divergences(&text) {
        rows += 1;
        assert_eq!(number, rows, "they are numbered one by one");
        if tests.starts_with("none") || tests == "the compiler" {
            continue;
        }
        assert!(tests.starts_with("[`"), "row {number}: {tests}");
        for test in tests.split("[`").skip(1) {
            let (name, rest) = test.split_once("`](").unwrap();
            let file = root().join("docs").join(&rest[..rest.find(')').unwrap()]);
            let wanted = match name.strip_suffix('*') {
                Some(prefix) => format!("fn {prefix}"),
                None => format!("fn {name}("),
            };
            if !fs::read_to_string(&file).map_or(false, |text| text.contains(&wanted)) {
                missing.push(format!("row {number}: {name} in {}", file.display()));
            }
        }
    }
    assert!(rows >= 60, "{rows}");
    assert!(missing.is_empty(), "{missing:#?}");
}

/// The Rust in a document is a program, which the next test compiles and runs, or among the doctests;
/// and what stands in `docs/examples` is an example.
#[test]
fn all_code_in_the_documents_is_compiled() {
    let sources = read(&root().join("src/lib.rs"));
    for path in documents() {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        let doctests = sources.contains(&format!("include_str!(\"../{name}\")"));
        for block in blocks(&read(&path)).0 {
            let place = format!("{name}:{}", block.line);
            match &*block.language {
                "rust" => assert!(
                    doctests || block.text.contains("fn main()"),
                    "{place} is neither a program nor a doctest"
                ),
                "text" | "sh" | "console" | "python" | "java" | "toml" => {}
                other => panic!("{place} is in {other:?}, which nothing checks"),
            }
        }
    }
    let manifest = read(&root().join("Cargo.toml"));
    for entry in fs::read_dir(root().join("docs/examples")).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .map_or(false, |extension| extension == "rs")
        {
            let name = path.file_name().unwrap().to_str().unwrap();
            let listed = format!("path = \"docs/examples/{name}\"");
            assert!(manifest.contains(&listed), "{name} is no example");
        }
    }
}

/// A program of a document, and what the document says that it prints.
struct Program {
    place: String,
    code: String,
    prints: Option<String>,
}

/// The code of a doctest with the lines that a page does not show.
fn without_hiding(code: &str) -> String {
    let lines = code.lines().map(|line| match line.trim_start() {
        "#" => "",
        trimmed => trimmed.strip_prefix("# ").unwrap_or(line),
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn programs() -> Vec<Program> {
    let mut programs: Vec<Program> = Vec::new();
    for path in documents() {
        let document = path.file_name().unwrap().to_str().unwrap().to_owned();
        let mut was_program = false;
        for block in blocks(&read(&path)).0 {
            let is_program = block.language == "rust" && block.text.contains("fn main()");
            if is_program {
                programs.push(Program {
                    place: format!("{document}:{}", block.line),
                    code: without_hiding(&block.text),
                    prints: None,
                });
            } else if was_program && block.language == "text" {
                programs.last_mut().unwrap().prints = Some(block.text);
            }
            was_program = is_program;
        }
    }
    programs
}

/// All programs are compiled together with the sources, and each is run in a process of its own.
#[test]
fn programs_print_what_the_documents_say() {
    let programs = programs();
    let mut source = format!(
        "#![allow(warnings)]\n#[path = {:?}]\nmod concurrent_futures;\n",
        root().join("src/lib.rs")
    );
    let mut arms = String::new();
    for (number, program) in programs.iter().enumerate() {
        source += &format!(
            "mod program_{number} {{\nuse super::concurrent_futures;\n{}\n\
             pub fn run() -> std::process::ExitCode {{ \
             std::process::Termination::report(main()) }}\n}}\n",
            program.code
        );
        arms += &format!("\"{number}\" => program_{number}::run(),\n");
    }
    source += &format!(
        "fn main() -> std::process::ExitCode {{\n\
         match &*std::env::var(\"PROGRAM\").unwrap() {{\n{arms}_ => unreachable!(),\n}}\n}}\n"
    );

    let directory = env::temp_dir().join(format!("documents-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let (file, binary) = (directory.join("programs.rs"), directory.join("programs"));
    fs::write(&file, source).unwrap();
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let compiled = Command::new(rustc)
        .args(["--edition", "2021", "-o"])
        .args([&binary, &file])
        .output()
        .unwrap();
    let messages = String::from_utf8_lossy(&compiled.stderr);
    assert!(compiled.status.success(), "{messages}");

    let mut compared = 0;
    for (number, program) in programs.iter().enumerate() {
        // A variable, which a program's own worker processes have, too.
        let output = Command::new(&binary)
            .env("PROGRAM", number.to_string())
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n");
        assert!(output.status.success(), "{}: {printed}", program.place);
        if let Some(prints) = &program.prints {
            compared += 1;
            assert_eq!(&printed, prints, "{}", program.place);
        }
    }
    fs::remove_dir_all(&directory).unwrap();
    assert!(compared >= 12, "only {compared} programs were compared");
}
