// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! How an executor ends: what CPython's cases leave open of `shutdown`, of `with`, and of the drop of
//! an executor.

use super::calls::{expect_told, join, occupy};
use super::util::{promise, short_timeout, soon, watchdog, Event, Gate, Semaphore};
use super::{left_out, with_executor, with_workers, ExecutorMixin};
use concurrent_futures::{wait, Executor, Future, ShutdownOptions, SubmitError, ALL_COMPLETED};
use std::cell::RefCell;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::{mpsc, Arc};
use std::thread;

// ---- Shutting down

/// However it is submitted.
pub fn a_refused_call_is_dropped<M: ExecutorMixin>(name: &str) {
    with_executor::<M>(name, |executor| {
        executor.shutdown();
        promise("after `shutdown`, a call is refused with `SubmitError::Shutdown`, and dropped");
        let captured = Arc::new(());
        let capture = || Arc::clone(&captured);
        let (a, b, c) = (capture(), capture(), capture());
        let refused = [
            executor.submit(move || drop(a)).err(),
            executor
                .try_submit(move || {
                    drop(b);
                    Ok::<_, SubmitError>(())
                })
                .err(),
            executor.map(move |_| drop(Arc::clone(&c)), [1]).err(),
        ];
        for error in refused {
            assert!(matches!(error, Some(SubmitError::Shutdown)), "{error:?}");
        }
        assert_eq!(Arc::strong_count(&captured), 1, "a refused call is kept");
    });
}

pub fn shutdown_without_wait_loses_nothing<M: ExecutorMixin>(name: &str) {
    with_executor::<M>(name, |executor| {
        promise("`shutdown` with `wait` false returns at once");
        let gate = Gate::new();
        let futures = [(); 3].map(|()| executor.submit(gate.call()).unwrap());
        executor.shutdown_with(ShutdownOptions::new().wait(false));
        promise("`shutdown` with `wait` false loses no call");
        let submitted = executor.submit(|| ());
        assert!(
            matches!(submitted, Err(SubmitError::Shutdown)),
            "{submitted:?}"
        );
        assert!(!futures.iter().any(Future::done), "{futures:?}");
        gate.open();
        for future in futures {
            let result = future.result(short_timeout());
            assert_eq!(result.expect("a call was lost"), 0);
        }
    });
}

/// By this thread, or by another one at the same time.
pub fn shutdown_waits_whoever_calls_it_again<M: ExecutorMixin>(name: &str) {
    with_executor::<M>(name, |executor| {
        promise("`shutdown` waits, also when it was called before");
        let gate = Gate::new();
        let future = occupy(executor, &gate);
        executor.shutdown_with(ShutdownOptions::new().wait(false));
        gate.open_soon();
        thread::scope(|scope| {
            let threads = [(); 3].map(|()| {
                scope.spawn(|| {
                    executor.shutdown();
                    assert!(future.done(), "a call runs on when `shutdown` returns");
                })
            });
            threads.into_iter().for_each(join);
        });
        promise("`shutdown` may be called any number of times");
        executor.shutdown();
        executor.shutdown_with(ShutdownOptions::new().wait(false).cancel_futures(true));
        executor.shutdown_with(ShutdownOptions::new().cancel_futures(true));
    });
}

pub fn what_is_accepted_during_shutdown_is_run<M: ExecutorMixin>(name: &str) {
    watchdog(name, || {
        promise("a call that was accepted is run, also if `shutdown` comes at the same time");
        for _ in 0..50 {
            let executor = M::executor_type(M::WORKER_COUNT).unwrap();
            let futures = thread::scope(|scope| {
                let submitters = [(); 3].map(|()| {
                    let executor = &executor;
                    scope.spawn(move || {
                        let mut futures = Vec::new();
                        while let Ok(future) = executor.submit(|| ()) {
                            futures.push(future);
                            // Lest there be a million of them.
                            thread::yield_now();
                        }
                        futures
                    })
                });
                thread::yield_now();
                executor.shutdown();
                submitters.map(|submitter| submitter.join().unwrap_or_else(|p| resume_unwind(p)))
            });
            let futures = futures.into_iter().flatten();
            let waited = wait(futures, short_timeout(), ALL_COMPLETED);
            let lost = waited.not_done.len();
            assert_eq!(
                lost,
                0,
                "so many calls were lost, beside {}",
                waited.done.len()
            );
        }
    });
}

pub fn shutdown_that_cancels_tells_whoever_waits<M: ExecutorMixin>(name: &str) {
    if !M::BOUNDED {
        return left_out(name, "BOUNDED");
    }
    with_workers::<M>(name, 1, |executor| {
        promise("whoever waits for a call that `shutdown` cancels is told");
        let (gate, ran) = (Gate::new(), Event::new());
        let running = occupy(executor, &gate);
        let queued: Vec<_> = (0..3)
            .map(|n| {
                let ran = ran.clone();
                let call = move || {
                    ran.set();
                    n
                };
                executor.submit(call).unwrap()
            })
            .collect();
        expect_told(&queued, || {
            executor.shutdown_with(ShutdownOptions::new().wait(false).cancel_futures(true));
            gate.open();
            executor.shutdown();
        });
        promise("`shutdown` with `cancel_futures` cancels what waits, and nothing else");
        assert!(queued.iter().all(Future::cancelled), "{queued:?}");
        assert!(!ran.is_set(), "a cancelled call was run");
        assert_eq!(running.result(None).unwrap(), 0);
    });
}

pub fn a_callback_may_use_the_executor_that_cancels<M: ExecutorMixin>(name: &str) {
    if !M::BOUNDED {
        return left_out(name, "BOUNDED");
    }
    watchdog(name, || {
        promise("a done-callback may use the executor that is cancelling its future");
        let executor = Arc::new(M::executor_type(1).unwrap());
        let gate = Gate::new();
        occupy(&*executor, &gate);
        let queued = executor.submit(|| 1).unwrap();
        let (of_callback, (sender, receiver)) = (Arc::clone(&executor), mpsc::channel());
        queued.add_done_callback(move |_| {
            let submitted = of_callback.submit(|| 2);
            of_callback.shutdown_with(ShutdownOptions::new().wait(false).cancel_futures(true));
            let _ = sender.send(submitted);
        });
        executor.shutdown_with(ShutdownOptions::new().wait(false).cancel_futures(true));
        let submitted = receiver
            .recv_timeout(short_timeout())
            .expect("it was not called, or the executor does not answer");
        assert!(
            matches!(submitted, Err(SubmitError::Shutdown)),
            "{submitted:?}"
        );
        gate.open();
        executor.shutdown();
    });
}

/// Python's `with`: also when its body raises.
pub fn with_shuts_down_and_waits<M: ExecutorMixin>(name: &str) {
    watchdog(name, || {
        promise("`with` shuts down and waits, also when its body panics");
        for panics in [false, true] {
            let executor = M::executor_type(M::WORKER_COUNT).unwrap();
            let (gate, mut future) = (Gate::new(), None);
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                executor.with(|executor| {
                    future = Some(executor.submit(gate.call()).unwrap());
                    gate.open_soon();
                    if panics {
                        resume_unwind(Box::new("oh no"));
                    }
                });
            }));
            assert_eq!(outcome.is_err(), panics);
            assert!(future.unwrap().done(), "a call runs on when `with` returns");
        }
    });
}

// ---- The threads

thread_local! {
    static ENDING: RefCell<Option<Ending>> = const { RefCell::new(None) };
}

/// Tells of the end of the thread that has it.
struct Ending(Semaphore);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.release(1);
    }
}

/// The threads that an executor runs calls on.
struct Threads {
    ended: Semaphore,
    count: usize,
}

impl Threads {
    /// Of an executor that is to have `WORKER_COUNT` workers, which are busy until the gate opens. If it
    /// runs calls on the thread that submits them, that is none of its own.
    fn watch<M: ExecutorMixin>(executor: &M::Executor, gate: &Gate) -> (Self, Vec<Future<()>>) {
        let (ended, caller) = (Semaphore::new(), thread::current().id());
        let (sender, receiver) = mpsc::channel();
        let futures: Vec<_> = (0..M::WORKER_COUNT)
            .map(|_| {
                let (ended, event, sender) = (ended.clone(), gate.event(), sender.clone());
                executor
                    .submit(move || {
                        let own = thread::current().id() != caller;
                        if own {
                            ENDING.with(|slot| *slot.borrow_mut() = Some(Ending(ended)));
                        }
                        let _ = sender.send(own);
                        event.wait();
                    })
                    .unwrap()
            })
            .collect();
        let started = (0..M::WORKER_COUNT).map(|n| {
            let started = receiver.recv_timeout(short_timeout());
            started.unwrap_or_else(|_| panic!("{n} calls run, of {}", M::WORKER_COUNT))
        });
        let count = started.filter(|own| *own).count();
        (Threads { ended, count }, futures)
    }

    fn expect_end(&self) {
        let timeout = short_timeout();
        for ended in 0..self.count {
            assert!(
                self.ended.try_acquire(timeout),
                "after {timeout:?}, {ended} of {} threads have ended",
                self.count
            );
        }
    }
}

pub fn shutdown_ends_the_threads<M: ExecutorMixin>(name: &str) {
    if !M::OWN_THREADS {
        return left_out(name, "OWN_THREADS");
    }
    // Idle ones, and such as have something to do.
    for (idle, waits) in [(true, true), (true, false), (false, true), (false, false)] {
        with_executor::<M>(name, move |executor| {
            promise("`shutdown` ends the executor's threads (unless OWN_THREADS is false)");
            let gate = Gate::new();
            let (threads, futures) = Threads::watch::<M>(executor, &gate);
            if idle {
                gate.open();
                let _ = wait(futures, None, ALL_COMPLETED);
            } else {
                gate.open_soon();
            }
            executor.shutdown_with(ShutdownOptions::new().wait(waits));
            threads.expect_end();
        });
    }
}

pub fn dropping_the_executor_ends_its_threads<M: ExecutorMixin>(name: &str) {
    if !(M::OWN_THREADS && M::DROP_ENDS_THREADS) {
        return left_out(name, "OWN_THREADS or DROP_ENDS_THREADS");
    }
    watchdog(name, || {
        promise("an executor that is dropped ends its threads (unless DROP_ENDS_THREADS is false)");
        // Idle ones, and such as have something to do.
        for idle in [true, false] {
            let executor = M::executor_type(M::WORKER_COUNT).unwrap();
            let gate = Gate::new();
            let (threads, futures) = Threads::watch::<M>(&executor, &gate);
            if idle {
                gate.open();
                let _ = wait(futures, None, ALL_COMPLETED);
            } else {
                // If the drop waits for the calls, it is not to wait for ever.
                soon(move || gate.open());
            }
            drop(executor);
            threads.expect_end();
        }
    });
}

pub fn dropping_the_executor_loses_no_call<M: ExecutorMixin>(name: &str) {
    watchdog(name, || {
        promise("every call of an executor that is dropped ends: it is run, or cancelled");
        let executor = M::executor_type(M::WORKER_COUNT).unwrap();
        let gate = Gate::new();
        let futures: Vec<_> = (0..3 * M::WORKER_COUNT)
            .map(|_| executor.submit(gate.call()).unwrap())
            .collect();
        soon(move || gate.open());
        drop(executor);
        let waited = wait(futures, short_timeout(), ALL_COMPLETED);
        assert!(
            waited.not_done.is_empty(),
            "{} were lost, such as {:?}",
            waited.not_done.len(),
            waited.not_done
        );
    });
}
