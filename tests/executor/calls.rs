// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! What every call can rely on, from its submission to the last trace of it, where CPython's cases leave
//! it open. Most of these were written after an executor that breaks them had passed CPython's.

use super::util::{promise, short_timeout, watchdog, Event, Gate, Semaphore};
use super::{left_out, with_executor, with_workers, ExecutorMixin};
use concurrent_futures::{
    as_completed, wait, Error, Exception, Executor, Future, MapOptions, ShutdownOptions, State,
    ALL_COMPLETED,
};
use std::fmt;
use std::panic::resume_unwind;
use std::sync::{mpsc, Arc, Mutex};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

/// Long enough for what an executor does that does more than it may; what one leaves undone for so long
/// counts as not done.
const MOMENT: Duration = Duration::from_millis(100);

/// An error with something in it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct MyError(i32);

impl fmt::Display for MyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "my error {}", self.0)
    }
}

impl std::error::Error for MyError {}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        resume_unwind(Box::new("dropped"));
    }
}

/// Tells when it is dropped.
#[derive(Debug)]
struct Tells(Event);

impl Drop for Tells {
    fn drop(&mut self) {
        self.0.set();
    }
}

impl fmt::Display for Tells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an error that tells")
    }
}

impl std::error::Error for Tells {}

/// Panics if the thread did.
pub(super) fn join<T>(thread: ScopedJoinHandle<'_, T>) {
    if let Err(payload) = thread.join() {
        resume_unwind(payload);
    }
}

/// Submits a call that waits for the gate, and returns its future once it runs.
pub(super) fn occupy(executor: &impl Executor, gate: &Gate) -> Future<i32> {
    let (started, event) = (Event::new(), gate.event());
    let its_started = started.clone();
    let future = executor
        .submit(move || {
            its_started.set();
            event.wait();
            0
        })
        .unwrap();
    started.expect("a call was not started");
    future
}

/// Fails unless all workers are there: as many calls must run at once.
pub(super) fn expect_workers<M: ExecutorMixin>(executor: &M::Executor) {
    let (gate, started) = (Gate::new(), Semaphore::new());
    let futures: Vec<_> = (0..M::WORKER_COUNT)
        .map(|_| {
            let (started, event) = (started.clone(), gate.event());
            executor
                .submit(move || {
                    started.release(1);
                    event.wait();
                })
                .unwrap()
        })
        .collect();
    let timeout = short_timeout();
    for running in 0..M::WORKER_COUNT {
        assert!(
            started.try_acquire(timeout),
            "of {} calls, {running} run side by side, after {timeout:?}",
            M::WORKER_COUNT
        );
    }
    gate.open();
    for future in futures {
        future.result(None).unwrap();
    }
}

// ---- What is made of a call

pub fn a_call_is_running_while_it_runs<M: ExecutorMixin>(name: &str) {
    with_executor::<M>(name, |executor| {
        promise("a call that runs is running, and cannot be cancelled");
        let gate = Gate::new();
        let future = occupy(executor, &gate);
        let state = future.state();
        assert!(
            future.running(),
            "it runs, and its future is {state}: set_running_or_notify_cancel was not asked"
        );
        assert!(!future.cancel(), "`cancel` says true of a call that runs");
        gate.open();
        assert_eq!(future.result(None).unwrap(), 0);
    });
}

pub fn an_error_keeps_its_type<M: ExecutorMixin>(name: &str) {
    with_executor::<M>(name, |executor| {
        promise("the error that a call returns is its future's exception, type and all");
        let future = executor.try_submit(|| Err::<i32, _>(MyError(42))).unwrap();
        let exception = match future.result(None) {
            Err(Error::Exception(exception)) => exception,
            other => panic!("the result is {other:?}"),
        };
        assert_eq!(
            exception.downcast_ref(),
            Some(&MyError(42)),
            "downcast_ref does not find the error in {exception:?}"
        );
        assert_eq!(exception.type_name(), "MyError");
        assert_eq!(exception.to_string(), "my error 42");
        assert!(!exception.is_panic(), "is_panic of an error");

        let future = executor.try_submit(|| "x".parse::<i32>()).unwrap();
        let exception = future.exception(None).unwrap().unwrap();
        assert_eq!(exception.type_name(), "ParseIntError");

        let future = executor
            .try_submit(|| Err::<i32, _>(Exception::msg("no type")))
            .unwrap();
        let exception = future.exception(None).unwrap().unwrap();
        assert_eq!(exception.to_string(), "no type");
    });
}

pub fn a_panic_is_an_exception<M: ExecutorMixin>(name: &str) {
    with_executor::<M>(name, |executor| {
        promise("a call that panics has that panic, payload and all, as its future's exception");
        let panics = |payload: Box<dyn std::any::Any + Send>| {
            let future = executor.submit(move || -> i32 { resume_unwind(payload) });
            future.unwrap().exception(None).unwrap().unwrap()
        };
        for payload in [
            Box::new("oh no") as Box<dyn std::any::Any + Send>,
            Box::new("oh no".to_owned()),
        ] {
            let exception = panics(payload);
            assert!(exception.is_panic(), "is_panic denies it: {exception:?}");
            assert_eq!(exception.panic_message(), Some("oh no"));
        }
        let exception = panics(Box::new(42));
        assert!(exception.is_panic(), "is_panic denies it: {exception:?}");
        let payload = exception.take_panic().expect("the payload is gone");
        assert_eq!(payload.downcast_ref(), Some(&42));
    });
}

/// Also with several tasks in flight, and several items in one.
pub fn map_in_all_its_forms<M: ExecutorMixin>(name: &str) {
    with_executor::<M>(name, |executor| {
        promise("`map`, in all its forms, yields the results in the order of the items");
        let expected: Vec<u64> = (0..50).map(|n| n * n).collect();
        let squares = executor.map(|n: u64| n * n, 0..50).unwrap();
        assert_eq!(squares.collect::<Result<Vec<_>, _>>().unwrap(), expected);

        for (buffersize, chunksize) in [(1, 1), (3, 1), (3, 2), (1, 100)] {
            let options = MapOptions::new()
                .buffersize(buffersize)
                .chunksize(chunksize);
            let squares = executor.map_with(|n: u64| n * n, 0.., options).unwrap();
            let squares: Result<Vec<_>, _> = squares.take(50).collect();
            assert_eq!(squares.unwrap(), expected);
        }

        let mut halves = executor
            .try_map(
                |n: i32| {
                    if n % 2 == 0 {
                        Ok(n / 2)
                    } else {
                        Err(MyError(n))
                    }
                },
                [0, 2, 5, 4],
            )
            .unwrap();
        assert_eq!(halves.next().unwrap().unwrap(), 0);
        assert_eq!(halves.next().unwrap().unwrap(), 1);
        match halves.next() {
            Some(Err(Error::Exception(exception))) => {
                assert_eq!(exception.downcast_ref(), Some(&MyError(5)));
            }
            other => panic!("expected an error: {other:?}"),
        }
        assert!(halves.next().is_none());
    });
}

pub fn several_threads_submit<M: ExecutorMixin>(name: &str) {
    with_executor::<M>(name, |executor| {
        promise("several threads may submit at once, and every call is run");
        thread::scope(|scope| {
            let threads = [0, 1, 2].map(|thread| {
                scope.spawn(move || {
                    for n in 0..50 {
                        let future = executor.submit(move || thread + n).unwrap();
                        let result = future.take_result(short_timeout());
                        assert_eq!(result.expect("a call was lost"), thread + n);
                    }
                })
            });
            threads.into_iter().for_each(join);
        });
    });
}

// ---- Which calls run, and when

/// Those that found work, and those that had fallen asleep, which is what the later rounds are for.
pub fn as_many_calls_as_workers_run_side_by_side<M: ExecutorMixin>(name: &str) {
    with_executor::<M>(name, |executor| {
        promise("as many calls as there are workers run side by side");
        for _ in 0..20 {
            expect_workers::<M>(executor);
        }
    });
}

pub fn no_more_calls_than_workers_run_at_once<M: ExecutorMixin>(name: &str) {
    if !M::BOUNDED {
        return left_out(name, "BOUNDED");
    }
    for max_workers in [1, M::WORKER_COUNT] {
        with_workers::<M>(name, max_workers, move |executor| {
            promise(
                "an executor of `max_workers` runs no more calls at once (unless BOUNDED is false)",
            );
            let (gate, started) = (Gate::new(), Semaphore::new());
            thread::scope(|scope| {
                // On another thread, since an executor may let it wait when all workers are busy.
                scope.spawn(|| {
                    for _ in 0..4 * max_workers {
                        let (started, event) = (started.clone(), gate.event());
                        executor
                            .submit(move || {
                                started.release(1);
                                event.wait();
                            })
                            .unwrap();
                    }
                });
                for _ in 0..max_workers {
                    assert!(started.try_acquire(short_timeout()), "too few calls run");
                }
                let one_more = started.try_acquire(MOMENT);
                gate.open();
                assert!(
                    !one_more,
                    "of {max_workers}, at least {} calls run at once",
                    max_workers + 1
                );
            });
        });
    }
}

pub fn calls_begin_in_the_order_of_their_submission<M: ExecutorMixin>(name: &str) {
    if !M::BOUNDED {
        return left_out(name, "BOUNDED");
    }
    if !M::IN_ORDER {
        return left_out(name, "IN_ORDER");
    }
    with_workers::<M>(name, 1, |executor| {
        promise("calls begin in the order of their submission (unless IN_ORDER is false)");
        let gate = Gate::new();
        let order = Arc::new(Mutex::new(Vec::new()));
        thread::scope(|scope| {
            let (sender, submitted) = mpsc::channel();
            let (gate, order) = (&gate, &order);
            // On another thread, since an executor may let it wait when the worker is busy.
            scope.spawn(move || {
                occupy(executor, gate);
                for n in 0..20 {
                    let order = Arc::clone(order);
                    executor
                        .submit(move || order.lock().unwrap().push(n))
                        .unwrap();
                }
                let _ = sender.send(());
            });
            let _ = submitted.recv_timeout(MOMENT);
            gate.open();
        });
        executor.shutdown();
        assert_eq!(*order.lock().unwrap(), (0..20).collect::<Vec<_>>());
    });
}

pub fn a_cancelled_call_is_never_run<M: ExecutorMixin>(name: &str) {
    if !M::BOUNDED {
        return left_out(name, "BOUNDED");
    }
    with_workers::<M>(name, 1, |executor| {
        promise("a call that waits for its turn is pending, and can be cancelled");
        let (gate, ran) = (Gate::new(), Event::new());
        occupy(executor, &gate);
        let queued: Vec<_> = (0..3)
            .map(|_| {
                let ran = ran.clone();
                executor.submit(move || ran.set()).unwrap()
            })
            .collect();
        for future in &queued {
            assert_eq!(future.state(), State::Pending);
            assert!(future.cancel(), "its future is {}", future.state());
        }
        promise("a cancelled call is never run");
        gate.open();
        executor.shutdown();
        assert!(!ran.is_set(), "it was run");
        assert!(queued.iter().all(Future::cancelled));
    });
}

pub fn whoever_waits_for_a_cancelled_call_is_told<M: ExecutorMixin>(name: &str) {
    if !M::BOUNDED {
        return left_out(name, "BOUNDED");
    }
    with_workers::<M>(name, 1, |executor| {
        promise("whoever waits for a call that is cancelled is told");
        let gate = Gate::new();
        occupy(executor, &gate);
        let queued: Vec<_> = (0..3).map(|_| executor.submit(|| 1).unwrap()).collect();
        expect_told(&queued, || {
            for future in &queued {
                assert!(future.cancel());
            }
            gate.open();
        });
    });
}

/// Fails unless all who wait for the futures are told, when `end` has seen to it that they end:
/// those who wait already, and those who come later.
pub(super) fn expect_told(futures: &[Future<i32>], end: impl FnOnce()) {
    let timeout = short_timeout();
    let wait_for_all = || {
        let waited = wait(futures.iter().cloned(), timeout, ALL_COMPLETED);
        assert!(
            waited.not_done.is_empty(),
            "`wait` still waits for {:?}",
            waited.not_done
        );
    };
    thread::scope(|scope| {
        let mut waiting = vec![
            scope.spawn(wait_for_all),
            scope.spawn(|| {
                let completed = as_completed(futures.iter().cloned(), timeout);
                if let Some(Err(error)) = completed.last() {
                    panic!("`as_completed` still waits: {error}, of {futures:?}");
                }
            }),
        ];
        waiting.extend(futures.iter().map(|future| {
            scope.spawn(move || {
                let result = future.exception(timeout);
                assert!(
                    !matches!(result, Err(Error::Timeout)),
                    "`exception` still waits for {future:?}"
                );
            })
        }));
        // Most likely they wait by now, but whether they do is not to matter.
        thread::yield_now();
        end();
        waiting.into_iter().for_each(join);
    });
    wait_for_all();
}

// ---- What a call and a callback may do

pub fn a_call_may_use_the_executor<M: ExecutorMixin>(name: &str) {
    watchdog(name, || {
        promise("a call may submit another one: no lock is held while a call runs");
        let executor = Arc::new(M::executor_type(M::WORKER_COUNT).unwrap());
        let of_call = Arc::clone(&executor);
        let inner = executor
            .submit(move || of_call.submit(|| 42).unwrap())
            .unwrap()
            .take_result(short_timeout())
            .expect("`submit` has not returned to the call");
        let result = inner.take_result(short_timeout());
        assert_eq!(result.expect("the inner call has not ended"), 42);
        executor.shutdown();
    });
}

pub fn a_callback_may_use_the_executor<M: ExecutorMixin>(name: &str) {
    watchdog(name, || {
        promise("a done-callback may use the executor: no lock is held while it is called");
        let executor = Arc::new(M::executor_type(M::WORKER_COUNT).unwrap());
        for fails in [false, true] {
            let (sender, receiver) = mpsc::channel();
            let gate = Gate::new();
            let event = gate.event();
            let future = executor
                .try_submit(move || {
                    event.wait();
                    if fails {
                        Err(MyError(1))
                    } else {
                        Ok(())
                    }
                })
                .unwrap();
            let of_callback = Arc::clone(&executor);
            future.add_done_callback(move |_| {
                let _ = sender.send(of_callback.submit(|| 42).unwrap());
            });
            gate.open();
            let inner = receiver
                .recv_timeout(short_timeout())
                .expect("`submit` has not returned to the callback");
            let result = inner.take_result(short_timeout());
            assert_eq!(result.expect("the call has not ended"), 42);
        }
        executor.shutdown();
    });
}

// ---- What a worker survives

pub fn a_worker_survives_panics<M: ExecutorMixin>(name: &str) {
    with_executor::<M>(name, |executor| {
        promise("a worker survives a call that panics");
        for _ in 0..3 {
            let future = executor.submit(|| resume_unwind(Box::new("oh no")));
            let exception = future.unwrap().exception(short_timeout());
            assert!(
                matches!(exception, Ok(Some(_))),
                "the call has panicked, and the outcome is {exception:?}"
            );
        }
        expect_workers::<M>(executor);

        promise("a worker survives a result that panics when it is dropped");
        for _ in 0..3 {
            let gate = Gate::new();
            let event = gate.event();
            let future = executor.submit(move || {
                event.wait();
                Bomb
            });
            // So that the worker has the last handle, and drops the result.
            drop(future.unwrap());
            gate.open();
        }
        expect_workers::<M>(executor);

        promise("a worker survives a call whose captures panic when they are dropped");
        for _ in 0..3 {
            let bomb = Bomb;
            let future = executor.submit(move || drop(bomb)).unwrap();
            let exception = future.exception(short_timeout());
            assert!(matches!(exception, Ok(Some(_))), "{exception:?}");
        }
        expect_workers::<M>(executor);
    });
}

pub fn a_worker_survives_what_others_do_to_its_future<M: ExecutorMixin>(name: &str) {
    with_executor::<M>(name, |executor| {
        promise("a worker survives a future that somebody else completes");
        for _ in 0..3 {
            let gate = Gate::new();
            let future = occupy(executor, &gate);
            future.set_result(7).unwrap();
            gate.open();
            assert_eq!(future.result(None).unwrap(), 7);
        }
        expect_workers::<M>(executor);

        promise("a worker survives a call that is cancelled before it comes to it");
        for _ in 0..20 * M::WORKER_COUNT {
            executor.submit(|| ()).unwrap().cancel();
        }
        expect_workers::<M>(executor);
    });
}

// ---- What is kept

/// Of a call that was run, Rust itself drops what it captured, before there is an outcome.
pub fn a_cancelled_call_is_let_go_of<M: ExecutorMixin>(name: &str) {
    if !M::BOUNDED {
        return left_out(name, "BOUNDED");
    }
    with_workers::<M>(name, 1, |executor| {
        promise("a cancelled call is let go of, with all it captured, once a worker is free");
        let (gate, gone) = (Gate::new(), Event::new());
        occupy(executor, &gate);
        let captured = Tells(gone.clone());
        let future = executor.submit(move || drop(captured)).unwrap();
        assert!(future.cancel());
        gate.open();
        gone.expect("it was not dropped");

        promise("a call that `shutdown` cancels is let go of, with all it captured");
        let (gate, gone) = (Gate::new(), Event::new());
        occupy(executor, &gate);
        let captured = Tells(gone.clone());
        let future = executor.submit(move || drop(captured)).unwrap();
        executor.shutdown_with(ShutdownOptions::new().wait(false).cancel_futures(true));
        gate.open();
        gone.expect("it was not dropped");
        assert!(future.cancelled());
    });
}

pub fn an_outcome_goes_with_its_last_handle<M: ExecutorMixin>(name: &str) {
    with_executor::<M>(name, |executor| {
        promise("the outcome of a call is dropped with the last handle of its future");
        let gone = Event::new();
        let result = Tells(gone.clone());
        let future = executor.submit(move || Arc::new(result)).unwrap();
        drop(future.result(None).unwrap());
        drop(future);
        gone.expect("a result is kept: it was not dropped");

        let gone = Event::new();
        let error = Tells(gone.clone());
        let future = executor.try_submit(move || Err::<i32, _>(error)).unwrap();
        assert!(future.exception(None).unwrap().is_some());
        drop(future);
        gone.expect("an error is kept: it was not dropped");
    });
}

pub fn a_result_that_nobody_wants_is_dropped<M: ExecutorMixin>(name: &str) {
    with_executor::<M>(name, |executor| {
        promise("a result that nobody wants is dropped when its call has ended");
        let (gone, gate) = (Event::new(), Gate::new());
        let (result, event) = (Tells(gone.clone()), gate.event());
        let future = executor.submit(move || {
            event.wait();
            result
        });
        drop(future.unwrap());
        gate.open();
        gone.expect("it is kept: it was not dropped");
    });
}
