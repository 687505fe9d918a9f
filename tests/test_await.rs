//! Futures awaited: in no async runtime but a small `block_on`, and polled by hand where it matters who
//! is woken, when, and how often.

// The hash of a future is that of its identity, which nothing changes.
#![allow(clippy::mutable_key_type)]

#[path = "../docs/examples/runtime/mod.rs"]
mod runtime;
#[path = "executor/util.rs"]
#[allow(dead_code)]
mod util;

use concurrent_futures::{
    as_completed, set_logger, wait, AnyFuture, Error, Exception, Executor, Future, State,
    ThreadPoolExecutor, ALL_COMPLETED, FIRST_COMPLETED,
};
use runtime::{block_on, first, join_all, Timer};
use std::collections::HashSet;
use std::future;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::mpsc;
use std::sync::{Arc, Barrier, Mutex, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;
use util::{assert_process_ok, watchdog};

/// Counts how often it is woken; the references to it tell where the waker is kept.
#[derive(Default)]
struct Counter(Mutex<usize>);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        *self.0.lock().unwrap() += 1;
    }
}

impl Counter {
    fn new() -> Arc<Self> {
        Arc::default()
    }

    fn woken(&self) -> usize {
        *self.0.lock().unwrap()
    }
}

/// Polls once. The waker that is passed is gone when this returns, unless the future keeps a clone.
fn poll<F: future::Future + Unpin>(
    task: &mut F,
    waker: &Arc<impl Wake + Send + Sync + 'static>,
) -> Poll<F::Output> {
    let waker = Waker::from(Arc::clone(waker));
    Pin::new(task).poll(&mut Context::from_waker(&waker))
}

/// A waker that does something of its own when it is woken, and when it is dropped.
struct Hook {
    on_wake: Box<dyn Fn() + Send + Sync>,
    on_drop: Box<dyn Fn() + Send + Sync>,
}

impl Hook {
    fn on_wake(f: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Hook {
            on_wake: Box::new(f),
            on_drop: Box::new(|| ()),
        })
    }

    fn on_drop(f: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Hook {
            on_wake: Box::new(|| ()),
            on_drop: Box::new(f),
        })
    }
}

impl Wake for Hook {
    fn wake(self: Arc<Self>) {
        (self.on_wake)();
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        (self.on_drop)();
    }
}

/// Everything that locks a future, which would hang if its lock were held.
fn use_every_lock(future: &Future<i32>) {
    let _ = future.state();
    let _ = future.result(Duration::ZERO);
    let _ = future.exception(Duration::ZERO);
    let _ = format!("{future:?}");
    future.add_done_callback(|_| ());
    drop(wait([future.clone()], Duration::ZERO, ALL_COMPLETED));
    drop(as_completed([AnyFuture::from(future)], Duration::ZERO));
    drop(poll(&mut future.clone(), &Counter::new()));
    future.cancel();
}

fn assert_send<T: Send>(value: T) -> T {
    value
}

// ---- What awaiting gives.

#[test]
fn gives_the_result() {
    watchdog("gives_the_result", || {
        let pool = ThreadPoolExecutor::new(2).unwrap();
        let square = |n: u64| pool.submit(move || n * n).unwrap();
        let sum = block_on(assert_send(async {
            let mut sum = 0;
            for n in 1..=100 {
                sum += square(n).await?;
            }
            Ok::<_, Error>(sum)
        }));
        assert_eq!(sum.unwrap(), 338_350);
    });
}

#[test]
fn gives_the_error() {
    watchdog("gives_the_error", || {
        let pool = ThreadPoolExecutor::new(1).unwrap();

        let failed = pool.try_submit(|| "x".parse::<i32>()).unwrap();
        match block_on(failed) {
            Err(Error::Exception(exception)) => {
                assert!(exception
                    .downcast_ref::<std::num::ParseIntError>()
                    .is_some());
            }
            other => panic!("{other:?}"),
        }

        let panicked = pool.submit(|| -> i32 { resume_unwind(Box::new("oh no")) });
        match block_on(panicked.unwrap()) {
            Err(Error::Exception(exception)) => {
                assert_eq!(exception.panic_message(), Some("oh no"))
            }
            other => panic!("{other:?}"),
        }

        let (gate, waiting) = mpsc::channel::<()>();
        let busy = pool.submit(move || waiting.recv().is_err()).unwrap();
        let cancelled = pool.submit(|| 1).unwrap();
        let mut task = cancelled.clone();
        let counter = Counter::new();
        assert!(poll(&mut task, &counter).is_pending());
        assert!(cancelled.cancel());
        assert_eq!(counter.woken(), 1);
        assert!(matches!(block_on(task), Err(Error::Cancelled)));
        drop(gate);
        assert!(block_on(busy).unwrap());

        let taken = pool.submit(|| 1).unwrap();
        assert_eq!(taken.take_result(None).unwrap(), 1);
        assert!(matches!(block_on(taken), Err(Error::Taken)));
    });
}

/// By the time the task comes to look, somebody else may have moved the value out.
#[test]
fn taken_between_wake_up_and_poll() {
    let future = Future::new();
    let mut task = future.clone();
    assert!(poll(&mut task, &Counter::new()).is_pending());
    future.set_result(1).unwrap();
    assert_eq!(future.take_result(None).unwrap(), 1);
    match poll(&mut task, &Counter::new()) {
        Poll::Ready(Err(Error::Taken)) => {}
        other => panic!("{other:?}"),
    }
}

/// One that is done needs no waker, and gives its outcome as often as it is asked.
#[test]
fn a_future_that_is_done_is_ready() {
    type Complete = fn(&Future<i32>);
    type Check = fn(&Result<i32, Error>) -> bool;
    let states: [(Complete, Check); 4] = [
        (|f| f.set_result(1).unwrap(), |r| matches!(r, Ok(1))),
        (
            |f| f.set_exception(Exception::msg("no")).unwrap(),
            |r| matches!(r, Err(Error::Exception(e)) if e.to_string() == "no"),
        ),
        (
            |f| assert!(f.cancel()),
            |r| matches!(r, Err(Error::Cancelled)),
        ),
        (
            |f| {
                f.cancel();
                f.set_running_or_notify_cancel().unwrap();
            },
            |r| matches!(r, Err(Error::Cancelled)),
        ),
    ];
    for (complete, expected) in states {
        let future = Future::new();
        complete(&future);
        let counter = Counter::new();
        let mut task = future.clone();
        for _ in 0..3 {
            match poll(&mut task, &counter) {
                Poll::Ready(result) => assert!(expected(&result), "{result:?}"),
                Poll::Pending => panic!("{future:?} is pending"),
            }
        }
        assert_eq!((counter.woken(), Arc::strong_count(&counter)), (0, 1));
    }
}

/// Running is not done.
#[test]
fn is_pending_until_done() {
    let future = Future::new();
    let mut task = future.clone();
    let counter = Counter::new();
    assert!(poll(&mut task, &counter).is_pending());
    future.set_running_or_notify_cancel().unwrap();
    assert!(poll(&mut task, &counter).is_pending());
    assert_eq!(counter.woken(), 0);
    future.set_result(1).unwrap();
    assert_eq!(counter.woken(), 1);
    assert!(matches!(poll(&mut task, &counter), Poll::Ready(Ok(1))));
}

/// A handle that is awaited is a handle like any other.
#[test]
fn a_polled_handle_is_the_same_future() {
    let future: Future<i32> = Future::new();
    let mut polled = future.clone();
    assert!(poll(&mut polled, &Counter::new()).is_pending());
    assert_eq!(polled, future);
    assert_eq!(AnyFuture::from(&polled), AnyFuture::from(&future));
    assert_eq!(format!("{polled:?}"), format!("{future:?}"));
    let set = HashSet::from([polled.clone(), future.clone(), polled]);
    let waited = wait(set, Duration::ZERO, FIRST_COMPLETED);
    assert_eq!(waited.not_done, HashSet::from([future]));
}

/// Awaiting belongs to the handle, and is not cloned with it.
#[test]
fn the_clone_of_a_polled_handle_is_not_awaited() {
    let future = Future::new();
    let mut polled = future.clone();
    let counter = Counter::new();
    assert!(poll(&mut polled, &counter).is_pending());
    let clone = polled.clone();
    let references = Arc::strong_count(&counter);
    drop(clone);
    assert_eq!(Arc::strong_count(&counter), references);
    future.set_result(1).unwrap();
    assert_eq!(counter.woken(), 1);
}

// ---- Who is woken.

/// The new one, exactly once; the old one is given up at once.
#[test]
fn a_changed_waker_replaces_the_old_one() {
    let complete: [fn(&Future<i32>); 3] = [
        |f| f.set_result(1).unwrap(),
        |f| f.set_exception(Exception::msg("no")).unwrap(),
        |f| assert!(f.cancel()),
    ];
    for complete in complete {
        let future = Future::new();
        let mut task = future.clone();
        let old = Counter::new();
        let new = Counter::new();
        assert!(poll(&mut task, &old).is_pending());
        assert_eq!(Arc::strong_count(&old), 2);
        assert!(poll(&mut task, &new).is_pending());
        assert_eq!(Arc::strong_count(&old), 1);
        assert_eq!(Arc::strong_count(&new), 2);
        complete(&future);
        assert_eq!((old.woken(), new.woken()), (0, 1));
        assert!(poll(&mut task, &new).is_ready());
        assert_eq!((old.woken(), new.woken()), (0, 1));
        assert_eq!((Arc::strong_count(&old), Arc::strong_count(&new)), (1, 1));
    }
}

/// And back again: what counts is the last poll.
#[test]
fn a_task_that_moves_between_wakers() {
    let future = Future::new();
    let mut task = future.clone();
    let counters = [Counter::new(), Counter::new(), Counter::new()];
    for _ in 0..1000 {
        for counter in &counters {
            assert!(poll(&mut task, counter).is_pending());
        }
    }
    assert!(poll(&mut task, &counters[1]).is_pending());
    let references: Vec<_> = counters.iter().map(Arc::strong_count).collect();
    assert_eq!(references, [1, 2, 1]);
    future.set_result(1).unwrap();
    let woken: Vec<_> = counters.iter().map(|counter| counter.woken()).collect();
    assert_eq!(woken, [0, 1, 0]);
}

/// The task goes from thread to thread, as in a runtime with several.
#[test]
fn a_handle_that_was_polled_on_another_thread() {
    let future = Future::new();
    let mut task = future.clone();
    let there = Counter::new();
    let sent = Arc::clone(&there);
    let mut task = thread::spawn(move || {
        assert!(poll(&mut task, &sent).is_pending());
        task
    })
    .join()
    .unwrap();
    let here = Counter::new();
    assert!(poll(&mut task, &here).is_pending());
    future.set_result(1).unwrap();
    assert_eq!((there.woken(), here.woken()), (0, 1));
    assert!(matches!(poll(&mut task, &here), Poll::Ready(Ok(1))));
}

/// Tasks are woken where they stand among the callbacks.
#[test]
fn wakes_in_the_order_of_callbacks() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let record = |what: &'static str| {
        let order = Arc::clone(&order);
        move || order.lock().unwrap().push(what)
    };
    let future = Future::new();
    let callback = record("callback 1");
    future.add_done_callback(move |_| callback());
    let mut task = future.clone();
    assert!(poll(&mut task, &Hook::on_wake(record("task 1"))).is_pending());
    let callback = record("callback 2");
    future.add_done_callback(move |_| callback());
    let mut other = future.clone();
    assert!(poll(&mut other, &Hook::on_wake(record("task 2"))).is_pending());
    future.set_result(1).unwrap();
    assert_eq!(
        *order.lock().unwrap(),
        ["callback 1", "task 1", "callback 2", "task 2"]
    );
}

#[test]
fn ten_thousand_tasks_await_one_future() {
    watchdog("ten_thousand_tasks_await_one_future", || {
        let pool = ThreadPoolExecutor::new(1).unwrap();
        let (gate, waiting) = mpsc::channel::<()>();
        let future = pool.submit(move || waiting.recv().is_err()).unwrap();
        let mut tasks: Vec<_> = (0..10_000)
            .map(|_| (future.clone(), Counter::new()))
            .collect();
        for (task, counter) in &mut tasks {
            assert!(poll(task, counter).is_pending());
        }
        // A third of them give up, from the first to the last.
        let mut n = 0;
        tasks.retain(|_| {
            n += 1;
            n % 3 != 0
        });
        // The callbacks before this one have been called when it is.
        let (sender, receiver) = mpsc::channel();
        future.add_done_callback(move |_| sender.send(()).unwrap());
        drop(gate);
        receiver.recv().unwrap();
        assert_eq!(tasks.len(), 6667);
        for (task, counter) in &mut tasks {
            assert_eq!(counter.woken(), 1);
            assert!(matches!(poll(task, counter), Poll::Ready(Ok(true))));
            assert_eq!((counter.woken(), Arc::strong_count(counter)), (1, 1));
        }
    });
}

#[test]
fn ten_thousand_tasks_in_one_block_on() {
    watchdog("ten_thousand_tasks_in_one_block_on", || {
        let future = Future::new();
        let tasks = join_all(vec![future.clone(); 10_000]);
        let completer = thread::spawn(move || {
            thread::yield_now();
            future.set_result(7).unwrap();
        });
        let results = block_on(tasks);
        assert_eq!(results.len(), 10_000);
        assert!(results.iter().all(|result| matches!(result, Ok(7))));
        completer.join().unwrap();
    });
}

// ---- What is left behind.

#[test]
fn a_dropped_task_leaves_nothing_behind() {
    let future: Future<i32> = Future::new();
    let counter = Counter::new();
    let stays = Counter::new();
    let mut staying = future.clone();
    assert!(poll(&mut staying, &stays).is_pending());
    for _ in 0..1000 {
        let mut task = future.clone();
        assert!(poll(&mut task, &counter).is_pending());
        assert_eq!(Arc::strong_count(&counter), 2);
        drop(task);
        assert_eq!(Arc::strong_count(&counter), 1);
    }
    // Many at a time, dropped in all orders.
    for step in [1, 7, 99] {
        let mut tasks: Vec<_> = (0..100).map(|_| Some(future.clone())).collect();
        for task in tasks.iter_mut().flatten() {
            assert!(poll(task, &counter).is_pending());
        }
        for n in 0..100 {
            assert_eq!(Arc::strong_count(&counter), 101 - n);
            tasks[n * step % 100] = None;
        }
        assert_eq!(Arc::strong_count(&counter), 1);
    }
    future.set_result(1).unwrap();
    assert_eq!((counter.woken(), stays.woken()), (0, 1));
}

/// It takes back what it has left, and nothing of anybody else's: neither the callbacks around it, nor another task's
/// waker; and nothing if it has left nothing.
#[test]
fn a_dropped_task_takes_nobody_elses_callback() {
    let future: Future<i32> = Future::new();
    let called = Arc::new(Mutex::new(Vec::new()));
    let call = |name: &'static str| {
        let called = Arc::clone(&called);
        future.add_done_callback(move |_| called.lock().unwrap().push(name));
    };
    let (dropped, stays) = (Counter::new(), Counter::new());
    call("before");
    let mut task = future.clone();
    assert!(poll(&mut task, &dropped).is_pending());
    call("between");
    let mut staying = future.clone();
    assert!(poll(&mut staying, &stays).is_pending());
    call("after");
    drop(task);
    drop(future.clone());
    future.set_result(1).unwrap();
    assert_eq!(*called.lock().unwrap(), ["before", "between", "after"]);
    assert_eq!((dropped.woken(), stays.woken()), (0, 1));
}

/// An `async` block that is dropped while it awaits drops the handle that it awaits.
#[test]
fn a_dropped_async_block_leaves_nothing_behind() {
    let future: Future<i32> = Future::new();
    let counter = Counter::new();
    let awaited = future.clone();
    let mut task = Box::pin(async move { awaited.await.map(|n| n + 1) });
    assert!(poll(&mut task, &counter).is_pending());
    assert_eq!(Arc::strong_count(&counter), 2);
    drop(task);
    assert_eq!(Arc::strong_count(&counter), 1);
    assert_eq!(future.state(), State::Pending);
}

/// The waker is given up with the wake-up, not only when the handle is dropped.
#[test]
fn completion_leaves_nothing_behind() {
    let future = Future::new();
    let mut task = future.clone();
    let counter = Counter::new();
    assert!(poll(&mut task, &counter).is_pending());
    future.set_result(1).unwrap();
    assert_eq!((counter.woken(), Arc::strong_count(&counter)), (1, 1));
    // A poll after that has nothing to leave.
    let late = Counter::new();
    assert!(poll(&mut task, &late).is_ready());
    assert_eq!(Arc::strong_count(&late), 1);
}

/// Nobody will ever complete it, so nobody will ever be woken.
#[test]
fn a_future_that_is_dropped_with_its_tasks() {
    let counter = Counter::new();
    let mut task: Future<i32> = Future::new();
    assert!(poll(&mut task, &counter).is_pending());
    let mut other = task.clone();
    assert!(poll(&mut other, &counter).is_pending());
    drop(task);
    drop(other);
    assert_eq!((counter.woken(), Arc::strong_count(&counter)), (0, 1));
}

/// The memory of tasks that gave up comes back while the future is still pending. Each would leave at
/// least a hundred bytes.
#[test]
#[cfg(target_os = "linux")]
fn memory_comes_back() {
    fn resident_bytes() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }

    // In a process of its own, where no other test takes memory.
    assert_process_ok("memory_comes_back", || {
        let future: Future<i32> = Future::new();
        let counter = Counter::new();
        let round = || {
            for _ in 0..100 {
                let mut tasks = vec![future.clone(); 100];
                for task in &mut tasks {
                    assert!(poll(task, &counter).is_pending());
                }
            }
        };
        round();
        let before = resident_bytes();
        for _ in 0..40 {
            round();
        }
        let grown = resident_bytes().saturating_sub(before);
        assert!(grown < 20 << 20, "400,000 tasks have left {grown} bytes");
        assert_eq!(Arc::strong_count(&counter), 1);
    });
}

#[test]
fn a_dropped_task_does_not_cancel_the_work() {
    watchdog("a_dropped_task_does_not_cancel_the_work", || {
        let pool = ThreadPoolExecutor::new(1).unwrap();
        let (gate, waiting) = mpsc::channel::<()>();
        let (sender, receiver) = mpsc::channel();
        let also = sender.clone();
        let mut running = pool
            .submit(move || {
                let _ = waiting.recv();
                sender.send("running").unwrap();
            })
            .unwrap();
        let mut queued = pool.submit(move || also.send("queued").unwrap()).unwrap();
        let kept = queued.clone();
        let counter = Counter::new();
        assert!(poll(&mut running, &counter).is_pending());
        assert!(poll(&mut queued, &counter).is_pending());
        drop((running, queued));
        assert!(!kept.done());
        drop(gate);
        assert_eq!(receiver.recv().unwrap(), "running");
        assert_eq!(receiver.recv().unwrap(), "queued");
        assert!(block_on(kept).is_ok());
        assert_eq!((counter.woken(), Arc::strong_count(&counter)), (0, 1));
    });
}

// ---- No lock is held.

#[test]
fn a_waker_uses_the_future_that_wakes_it() {
    watchdog("a_waker_uses_the_future_that_wakes_it", || {
        let complete: [fn(&Future<i32>); 3] = [
            |f| f.set_result(1).unwrap(),
            |f| f.set_exception(Exception::msg("no")).unwrap(),
            |f| assert!(f.cancel()),
        ];
        for complete in complete {
            let future = Future::new();
            let mut task = future.clone();
            let (sender, receiver) = mpsc::channel();
            let sender = Mutex::new(sender);
            let inner = future.clone();
            let hook = Hook::on_wake(move || {
                use_every_lock(&inner);
                sender.lock().unwrap().send(inner.done()).unwrap();
            });
            assert!(poll(&mut task, &hook).is_pending());
            complete(&future);
            assert!(receiver.try_recv().unwrap());
        }
    });
}

/// By the next poll, by the end of the task, by completion, and by the end of the future.
#[test]
fn a_waker_uses_the_future_that_drops_it() {
    watchdog("a_waker_uses_the_future_that_drops_it", || {
        type GiveUp = fn(&Future<i32>, &mut Option<Future<i32>>);
        let give_up: [GiveUp; 4] = [
            |_, task| drop(poll(task.as_mut().unwrap(), &Counter::new())),
            |_, task| *task = None,
            |future, _| future.set_result(1).unwrap(),
            |future, _| assert!(future.cancel()),
        ];
        for give_up in give_up {
            let future = Future::new();
            let mut task = Some(future.clone());
            let (sender, receiver) = mpsc::channel();
            let sender = Mutex::new(sender);
            let inner = future.clone();
            let hook = Hook::on_drop(move || {
                use_every_lock(&inner);
                sender.lock().unwrap().send(()).unwrap();
            });
            assert!(poll(task.as_mut().unwrap(), &hook).is_pending());
            drop(hook);
            assert!(receiver.try_recv().is_err(), "dropped too early");
            give_up(&future, &mut task);
            receiver.try_recv().expect("not dropped");
        }
    });
}

/// The task is polled again by its own wake-up, on the thread that completes the future.
#[test]
fn a_waker_that_polls_the_task() {
    struct Inline {
        task: Mutex<Future<i32>>,
        results: Mutex<mpsc::Sender<Result<i32, Error>>>,
    }

    impl Wake for Inline {
        fn wake(self: Arc<Self>) {
            let polled = poll(&mut *self.task.lock().unwrap(), &self);
            if let Poll::Ready(result) = polled {
                self.results.lock().unwrap().send(result).unwrap();
            }
        }
    }

    watchdog("a_waker_that_polls_the_task", || {
        let (results, receiver) = mpsc::channel();
        let future = Future::new();
        for _ in 0..10 {
            let inline = Arc::new(Inline {
                task: Mutex::new(future.clone()),
                results: Mutex::new(results.clone()),
            });
            inline.wake();
        }
        drop(results);
        assert!(receiver.try_recv().is_err());
        future.set_result(1).unwrap();
        let results: Vec<_> = receiver.iter().map(Result::unwrap).collect();
        assert_eq!(results, [1; 10]);
    });
}

/// Each wake-up completes the next future, further than any stack would go.
#[test]
fn a_long_chain_of_wake_ups() {
    watchdog("a_long_chain_of_wake_ups", || {
        let futures: Vec<Future<usize>> = (0..20_000).map(|_| Future::new()).collect();
        let mut tasks = futures.clone();
        for (n, task) in tasks.iter_mut().enumerate() {
            let next = futures.get(n + 1).cloned();
            let hook = Hook::on_wake(move || {
                if let Some(next) = &next {
                    next.set_result(n + 1).unwrap();
                }
            });
            assert!(poll(task, &hook).is_pending());
        }
        futures[0].set_result(0).unwrap();
        for (n, task) in tasks.into_iter().enumerate() {
            assert_eq!(block_on(task).unwrap(), n);
        }
    });
}

// ---- Wakers that panic.

#[test]
fn a_waker_that_panics_when_woken() {
    watchdog("a_waker_that_panics_when_woken", || {
        let logged = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&logged);
        set_logger(move |record| {
            log.lock().unwrap().push((
                record.message().to_owned(),
                record.exception().map(ToString::to_string),
            ));
        });
        let pool = ThreadPoolExecutor::new(1).unwrap();
        let (gate, waiting) = mpsc::channel::<()>();
        let future = pool.submit(move || waiting.recv().is_err()).unwrap();
        let [mut before, mut panics, mut after] = [(); 3].map(|()| future.clone());
        let counter = Counter::new();
        assert!(poll(&mut before, &counter).is_pending());
        let hook = Hook::on_wake(|| resume_unwind(Box::new("this waker panics")));
        assert!(poll(&mut panics, &hook).is_pending());
        assert!(poll(&mut after, &counter).is_pending());
        drop(gate);
        // The worker lives, is done with the first call, and comes to the second.
        assert_eq!(pool.submit(|| 2).unwrap().result(None).unwrap(), 2);
        assert_eq!(counter.woken(), 2);
        for task in [before, panics, after] {
            assert!(block_on(task).unwrap());
        }
        let expected = (
            format!("exception calling callback for {future:?}"),
            Some("this waker panics".to_owned()),
        );
        let times = logged
            .lock()
            .unwrap()
            .iter()
            .filter(|&entry| *entry == expected)
            .count();
        assert_eq!(times, 1, "{:?}", logged.lock().unwrap());

        // Somebody who completes a future does not get the panic, either.
        let bare = Future::new();
        let mut task = bare.clone();
        assert!(poll(&mut task, &hook).is_pending());
        bare.set_result(1).unwrap();
        assert!(matches!(poll(&mut task, &hook), Poll::Ready(Ok(1))));
    });
}

/// Whoever drops the handle gets the panic, as of any `Drop`; the future and its other tasks do not.
#[test]
fn a_waker_that_panics_when_dropped() {
    watchdog("a_waker_that_panics_when_dropped", || {
        let panics = || Hook::on_drop(|| resume_unwind(Box::new("oh no")));
        let future = Future::new();
        let counter = Counter::new();
        let mut other = future.clone();
        assert!(poll(&mut other, &counter).is_pending());

        // The next poll drops it.
        let mut task = future.clone();
        assert!(poll(&mut task, &panics()).is_pending());
        let changed = catch_unwind(AssertUnwindSafe(|| poll(&mut task, &counter)));
        assert!(changed.is_err());
        assert!(poll(&mut task, &counter).is_pending());

        // The end of the handle drops it.
        let mut task_2 = future.clone();
        assert!(poll(&mut task_2, &panics()).is_pending());
        assert!(catch_unwind(AssertUnwindSafe(|| drop(task_2))).is_err());

        // Completion drops it.
        let mut task_3 = future.clone();
        assert!(poll(&mut task_3, &panics()).is_pending());
        future.set_result(1).unwrap();
        assert_eq!(counter.woken(), 2);
        for task in [other, task, task_3] {
            assert_eq!(block_on(task).unwrap(), 1);
        }
    });
}

/// A value whose `clone` panics does so in the task that awaits it, and stays for the others.
#[test]
fn a_value_that_panics_when_cloned() {
    #[derive(Debug)]
    struct Picky(Arc<Mutex<bool>>);

    impl Clone for Picky {
        fn clone(&self) -> Self {
            if *self.0.lock().unwrap() {
                resume_unwind(Box::new("not now"));
            }
            Picky(Arc::clone(&self.0))
        }
    }

    watchdog("a_value_that_panics_when_cloned", || {
        let panics = Arc::new(Mutex::new(true));
        let future = Future::new();
        let mut task = future.clone();
        assert!(poll(&mut task, &Counter::new()).is_pending());
        future.set_result(Picky(Arc::clone(&panics))).unwrap();
        assert!(catch_unwind(AssertUnwindSafe(|| poll(&mut task, &Counter::new()))).is_err());
        *panics.lock().unwrap() = false;
        assert!(poll(&mut task, &Counter::new()).is_ready());
        assert!(block_on(future).is_ok());
    });
}

// ---- Races.

/// Many threads await, while many others complete, fail and cancel: one of them wins, and every task is
/// woken.
#[test]
fn raced_wake_ups() {
    watchdog("raced_wake_ups", || {
        const AWAITING: usize = 4;
        for round in 0..300 {
            let future = Future::new();
            let barrier = Arc::new(Barrier::new(AWAITING + 3));
            let complete: [fn(&Future<i32>) -> bool; 3] = [
                |f| f.set_result(1).is_ok(),
                |f| f.set_exception(Exception::msg("no")).is_ok(),
                // True as well if it was cancelled before, but nobody else cancels it.
                |f| f.cancel(),
            ];
            let completing: Vec<_> = complete
                .into_iter()
                .map(|complete| {
                    let (future, barrier) = (future.clone(), Arc::clone(&barrier));
                    thread::spawn(move || {
                        barrier.wait();
                        complete(&future)
                    })
                })
                .collect();
            let awaiting: Vec<_> = (0..AWAITING)
                .map(|n| {
                    let (mut task, barrier) = (future.clone(), Arc::clone(&barrier));
                    thread::spawn(move || {
                        let counter = Counter::new();
                        // Half of them poll before the race, too, so that they have a waker to change.
                        if (n + round) % 2 == 0 {
                            assert!(poll(&mut task, &counter).is_pending());
                        }
                        barrier.wait();
                        let result = block_on(task);
                        let seen = match result {
                            Ok(1) => 0,
                            Err(Error::Exception(_)) => 1,
                            Err(Error::Cancelled) => 2,
                            other => panic!("{other:?}"),
                        };
                        (seen, counter)
                    })
                })
                .collect();
            let won: Vec<bool> = completing.into_iter().map(|t| t.join().unwrap()).collect();
            let (seen, counters): (HashSet<usize>, Vec<_>) =
                awaiting.into_iter().map(|t| t.join().unwrap()).unzip();
            // Now that nobody is about to wake anybody.
            assert!(counters
                .iter()
                .all(|counter| Arc::strong_count(counter) == 1));
            assert_eq!(won.iter().filter(|won| **won).count(), 1, "{won:?}");
            assert_eq!(seen.len(), 1, "{seen:?}");
            assert!(seen.iter().all(|&n| won[n]), "{won:?} but {seen:?}");
        }
    });
}

/// A task polls with another waker each time while the future is completed. If the last poll said that
/// it is pending, the last waker is woken; at most one ever is; none is kept.
#[test]
fn raced_changes_of_the_waker() {
    watchdog("raced_changes_of_the_waker", || {
        let mut pending = 0;
        for round in 0..2000 {
            let future = Future::new();
            let mut task = future.clone();
            let barrier = Arc::new(Barrier::new(2));
            let other = Arc::clone(&barrier);
            let completer = thread::spawn(move || {
                other.wait();
                if round % 2 == 0 {
                    future.set_result(1).unwrap();
                } else {
                    future.cancel();
                }
            });
            let counters: Vec<_> = (0..1 + round % 20).map(|_| Counter::new()).collect();
            barrier.wait();
            let mut last = None;
            for counter in &counters {
                if poll(&mut task, counter).is_ready() {
                    last = None;
                    break;
                }
                last = Some(counter);
            }
            completer.join().unwrap();
            let woken: usize = counters.iter().map(|counter| counter.woken()).sum();
            match last {
                Some(last) => {
                    pending += 1;
                    assert_eq!((last.woken(), woken), (1, 1));
                    assert!(poll(&mut task, last).is_ready());
                }
                None => assert!(woken <= 1),
            }
            for counter in &counters {
                assert_eq!(Arc::strong_count(counter), 1);
            }
        }
        println!("{pending} of 2000 rounds ended with a wake-up to come");
    });
}

/// Tasks are dropped while the future is completed: woken or not, nothing is kept, and those that stay
/// are woken.
#[test]
fn raced_drops() {
    watchdog("raced_drops", || {
        for _ in 0..1000 {
            let future = Future::new();
            let barrier = Arc::new(Barrier::new(3));
            let kept = Counter::new();
            let dropped = Counter::new();
            let mut threads = Vec::new();
            for _ in 0..2 {
                let (mut task, barrier) = (future.clone(), Arc::clone(&barrier));
                let (dropped, kept) = (Arc::clone(&dropped), Arc::clone(&kept));
                threads.push(thread::spawn(move || {
                    let mut stays = task.clone();
                    assert!(poll(&mut task, &dropped).is_pending());
                    assert!(poll(&mut stays, &kept).is_pending());
                    barrier.wait();
                    drop(task);
                    stays
                }));
            }
            barrier.wait();
            future.set_result(1).unwrap();
            let stayed: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
            assert_eq!(kept.woken(), 2);
            assert!(dropped.woken() <= 2);
            assert_eq!(
                (Arc::strong_count(&kept), Arc::strong_count(&dropped)),
                (1, 1)
            );
            assert!(stayed.iter().all(Future::done));
        }
    });
}

/// From many threads, all through one pool, each future awaited by a task elsewhere.
#[test]
fn many_threads_await_many_calls() {
    watchdog("many_threads_await_many_calls", || {
        let pool = ThreadPoolExecutor::new(4).unwrap();
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let pool = pool.clone();
                thread::spawn(move || {
                    for n in 0..500 {
                        let future = pool.submit(move || thread * 1000 + n).unwrap();
                        let results = block_on(join_all(vec![future; 3]));
                        for result in results {
                            assert_eq!(result.unwrap(), thread * 1000 + n);
                        }
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(pool.thread_count() <= 4);
    });
}

// ---- The recipes of the example.

#[test]
fn a_time_out_cancels_what_has_not_started() {
    watchdog("a_time_out_cancels_what_has_not_started", || {
        let pool = ThreadPoolExecutor::new(1).unwrap();
        let timer = Timer::start();
        let (gate, waiting) = mpsc::channel::<()>();
        let running = pool.submit(move || waiting.recv().is_err()).unwrap();
        while !running.running() {
            thread::yield_now();
        }
        let queued = pool.submit(|| 1).unwrap();
        let result = block_on(timer.wait_for(queued.clone(), Duration::from_millis(5)));
        assert!(matches!(result, Err(Error::Timeout)), "{result:?}");
        assert!(queued.cancelled());
        let result = block_on(timer.wait_for(running.clone(), Duration::from_millis(5)));
        assert!(matches!(result, Err(Error::Timeout)), "{result:?}");
        assert!(running.running());
        drop(gate);
        // An hour, of which none is waited for.
        let result = block_on(timer.wait_for(running, Duration::from_secs(3600)));
        assert!(result.unwrap());
    });
}

/// The loser of a race leaves nothing in the future that it lost on.
#[test]
fn the_loser_of_a_race_leaves_nothing_behind() {
    let (winner, loser) = (Future::new(), Future::<()>::new());
    let counter = Counter::new();
    let mut race = first(loser.clone(), winner.clone());
    assert!(poll(&mut race, &counter).is_pending());
    assert_eq!(Arc::strong_count(&counter), 3);
    winner.set_result(()).unwrap();
    assert!(matches!(poll(&mut race, &counter), Poll::Ready(None)));
    drop(race);
    assert_eq!(Arc::strong_count(&counter), 1);
    assert_eq!(loser.state(), State::Pending);
}

/// The value goes with the last handle, awaited or not.
#[test]
fn an_awaited_value_is_not_kept() {
    let future = Future::new();
    let task = future.clone();
    let value = Arc::new(1);
    let weak: Weak<i32> = Arc::downgrade(&value);
    future.set_result(value).unwrap();
    drop(future);
    let awaited = block_on(task).unwrap();
    assert_eq!(weak.strong_count(), 1);
    drop(awaited);
    assert!(weak.upgrade().is_none());
}
