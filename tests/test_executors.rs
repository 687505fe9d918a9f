//! The executors of the examples: the conformance cases of `executor/`, where their meaning allows, and
//! what each of them promises beyond those.

#[macro_use]
mod executor;

#[path = "../docs/examples/executors/bounded.rs"]
mod bounded;
#[path = "../docs/examples/executors/inline.rs"]
mod inline;
#[path = "../docs/examples/executors/thread_per_task.rs"]
mod thread_per_task;

use bounded::BoundedExecutor;
use concurrent_futures::{
    wait, Executor, Future, ShutdownOptions, SubmitError, ThreadPoolExecutor, ALL_COMPLETED,
};
use executor::util::watchdog;
use inline::InlineExecutor;
use std::panic::{catch_unwind, resume_unwind};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;
use thread_per_task::ThreadPerTaskExecutor;

#[test]
fn inline_runs_before_submit_returns() {
    let executor = InlineExecutor::new();
    let caller = thread::current().id();
    let order = Arc::new(Mutex::new(Vec::new()));
    for n in 0..3 {
        let order_ = Arc::clone(&order);
        let future = executor
            .submit(move || {
                order_.lock().unwrap().push(n);
                thread::current().id()
            })
            .unwrap();
        assert!(future.done() && !future.cancel());
        assert_eq!(future.result(Duration::ZERO).unwrap(), caller);
        assert_eq!(order.lock().unwrap().last(), Some(&n));
    }
}

/// No lock is held meanwhile.
#[test]
fn inline_calls_use_the_executor() {
    watchdog("inline_calls_use_the_executor", || {
        let executor = Arc::new(InlineExecutor::new());
        let inner = Arc::clone(&executor);
        let future = executor
            .submit(move || {
                let result = inner.submit(|| 1).unwrap().result(None).unwrap();
                inner.shutdown();
                (result, inner.submit(|| 2).is_err())
            })
            .unwrap();
        assert_eq!(future.result(None).unwrap(), (1, true));
    });
}

/// Each waits for all the others, which no pool of fewer threads would survive.
#[test]
fn tasks_that_wait_for_each_other() {
    watchdog("tasks_that_wait_for_each_other", || {
        let executor = ThreadPerTaskExecutor::new();
        let barrier = Arc::new(Barrier::new(40));
        let futures: Vec<_> = (0..40)
            .map(|_| {
                let barrier = Arc::clone(&barrier);
                executor.submit(move || barrier.wait().is_leader()).unwrap()
            })
            .collect();
        executor.shutdown();
        assert!(futures.iter().all(Future::done));
    });
}

#[test]
fn shutdown_of_a_thread_per_task_waits_if_told() {
    watchdog("shutdown_of_a_thread_per_task_waits_if_told", || {
        let executor = ThreadPerTaskExecutor::new();
        let (gate, waiting) = mpsc::channel::<()>();
        let future = executor.submit(move || waiting.recv().is_err()).unwrap();
        executor.shutdown_with(ShutdownOptions::new().wait(false));
        assert!(!future.done());
        let opener = thread::spawn(move || drop(gate));
        executor.shutdown();
        assert!(future.done());
        opener.join().unwrap();
    });
}

/// A task whose result panics when it is dropped ends its thread, and still counts as ended.
#[test]
fn a_thread_per_task_that_panics_at_its_end() {
    struct Panics;

    impl Drop for Panics {
        fn drop(&mut self) {
            resume_unwind(Box::new("oh no"));
        }
    }

    watchdog("a_thread_per_task_that_panics_at_its_end", || {
        let executor = ThreadPerTaskExecutor::new();
        for _ in 0..20 {
            let (gate, waiting) = mpsc::channel::<()>();
            let future = executor.submit(move || {
                let _ = waiting.recv();
                Panics
            });
            // Now the thread has the only reference to what is going to be the result.
            drop(future);
            drop(gate);
        }
        executor.shutdown();
    });
}

/// However many submit, never more than `bound` calls have begun to be submitted and not ended.
#[test]
fn no_more_than_the_bound_are_outstanding() {
    watchdog("no_more_than_the_bound_are_outstanding", || {
        const BOUND: usize = 3;
        let pool = ThreadPoolExecutor::new(8).unwrap();
        let executor = BoundedExecutor::new(&pool, BOUND);
        let (running, most) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(0)));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
                        let call = move || {
                            let mut now = running.lock().unwrap();
                            *now += 1;
                            let mut most = most.lock().unwrap();
                            *most = (*most).max(*now);
                            drop((now, most));
                            thread::yield_now();
                            *running.lock().unwrap() -= 1;
                        };
                        executor.submit(call).unwrap();
                        assert!(pool.queue_size() <= BOUND);
                    }
                });
            }
        });
        executor.shutdown();
        let most = *most.lock().unwrap();
        assert!((1..=BOUND).contains(&most), "{most} at a time");
    });
}

#[test]
fn a_full_executor_refuses_or_blocks() {
    watchdog("a_full_executor_refuses_or_blocks", || {
        let executor = Arc::new(BoundedExecutor::new(ThreadPoolExecutor::new(1).unwrap(), 2));
        let (gate, waiting) = mpsc::channel::<()>();
        let running = executor.submit(move || waiting.recv().is_err()).unwrap();
        let queued = executor
            .submit_if_room(|| 1)
            .unwrap()
            .expect("room for two");
        assert!(executor.submit_if_room(|| 2).unwrap().is_none());
        assert!(executor.submit_if_room(|| 2).unwrap().is_none());

        let blocked = Arc::clone(&executor);
        let (sender, receiver) = mpsc::channel();
        let submitter = thread::spawn(move || {
            let future = blocked.submit(|| 3).unwrap();
            sender.send(()).unwrap();
            future.result(None).unwrap()
        });
        // It cannot get through before there is room; if it did, most likely within this time.
        let early = receiver.recv_timeout(Duration::from_millis(20));
        assert_eq!(early, Err(RecvTimeoutError::Timeout));
        assert!(!running.done());
        drop(gate);
        receiver.recv().unwrap();
        assert_eq!(submitter.join().unwrap(), 3);
        assert_eq!(queued.result(None).unwrap(), 1);
    });
}

/// Who has seen the outcome finds room, whatever the outcome was.
#[test]
fn room_is_given_back_before_the_outcome_is_seen() {
    watchdog("room_is_given_back_before_the_outcome_is_seen", || {
        let executor = BoundedExecutor::new(ThreadPoolExecutor::new(2).unwrap(), 1);
        for n in 0..1000 {
            let future = executor
                .submit_if_room(move || {
                    if n % 2 == 0 {
                        resume_unwind(Box::new("oh no"));
                    }
                })
                .unwrap()
                .unwrap_or_else(|| panic!("no room for call {n}"));
            assert_eq!(future.exception(None).unwrap().is_some(), n % 2 == 0);
        }
    });
}

/// A refused call gives its room back, too: it is refused again, and never said to be one too many.
#[test]
fn room_is_given_back_by_what_is_refused() {
    watchdog("room_is_given_back_by_what_is_refused", || {
        let executor = BoundedExecutor::new(ThreadPoolExecutor::new(1).unwrap(), 2);
        executor.shutdown();
        for _ in 0..10 {
            assert!(matches!(executor.submit(|| 1), Err(SubmitError::Shutdown)));
            let submitted = executor.submit_if_room(|| 1);
            assert!(matches!(submitted, Err(SubmitError::Shutdown)));
        }
    });
}

/// The room of calls that are cancelled goes to those who wait for it: here, to be refused.
#[test]
fn shutdown_wakes_those_who_wait_for_room() {
    watchdog("shutdown_wakes_those_who_wait_for_room", || {
        for _ in 0..50 {
            let executor = Arc::new(BoundedExecutor::new(ThreadPoolExecutor::new(1).unwrap(), 3));
            let (gate, waiting) = mpsc::channel::<()>();
            let running = executor.submit(move || waiting.recv().is_err()).unwrap();
            while !running.running() {
                thread::yield_now();
            }
            let queued = [(); 2].map(|()| executor.submit(|| ()).unwrap());
            let blocked: Vec<_> = (0..4)
                .map(|_| {
                    let executor = Arc::clone(&executor);
                    thread::spawn(move || executor.submit(|| ()))
                })
                .collect();
            executor.shutdown_with(ShutdownOptions::new().wait(false).cancel_futures(true));
            for submitter in blocked {
                let submitted = submitter.join().unwrap();
                assert!(matches!(submitted, Err(SubmitError::Shutdown)));
            }
            assert!(queued.iter().all(Future::cancelled));
            drop(gate);
            assert_eq!(wait([running], None, ALL_COMPLETED).done.len(), 1);
        }
    });
}

/// A cancelled call gives its room back when it is cancelled, however long the worker is busy.
#[test]
fn room_of_a_cancelled_call() {
    watchdog("room_of_a_cancelled_call", || {
        let executor = BoundedExecutor::new(ThreadPoolExecutor::new(1).unwrap(), 2);
        let (gate, waiting) = mpsc::channel::<()>();
        executor.submit(move || waiting.recv().is_err()).unwrap();
        let queued = executor.submit(|| 1).unwrap();
        assert!(queued.cancel());
        let next = executor.submit_if_room(|| 2).unwrap().expect("no room");
        assert!(executor.submit_if_room(|| 3).unwrap().is_none());
        drop(gate);
        assert_eq!(next.result(None).unwrap(), 2);
    });
}

#[test]
fn a_bound_of_zero_panics() {
    assert!(catch_unwind(|| BoundedExecutor::new(InlineExecutor::new(), 0)).is_err());
}

// ---- Conformance: the kit in executor/.

mod thread_pool_conformance {
    use super::{executor, ThreadPoolExecutor};
    use concurrent_futures::at_exit;
    use std::any::Any;

    struct ThreadPoolMixin;

    impl executor::ExecutorMixin for ThreadPoolMixin {
        type Executor = ThreadPoolExecutor;

        const AT_EXIT: Option<fn() -> Box<dyn Any>> = Some(|| Box::new(at_exit()));

        fn executor_type(max_workers: usize) -> Result<Self::Executor, Box<dyn std::error::Error>> {
            Ok(ThreadPoolExecutor::new(max_workers)?)
        }
    }

    // The others are in test_as_completed.rs and test_wait.rs.
    executor_tests!(ThreadPoolMixin);
    shutdown_tests!(ThreadPoolMixin);
}

/// A case that has calls wait for what the caller does after `submit` has no meaning here.
mod inline_conformance {
    use super::{executor, InlineExecutor};

    struct InlineMixin;

    impl executor::ExecutorMixin for InlineMixin {
        type Executor = InlineExecutor;

        fn executor_type(_: usize) -> Result<InlineExecutor, Box<dyn std::error::Error>> {
            Ok(InlineExecutor::new())
        }
    }

    instantiate! { InlineMixin, executor,
        test_submit
        test_submit_keyword
        test_map
        test_map_exception
        test_shutdown_race_issue12456
        test_no_stale_references
        test_free_reference
    }
    instantiate! { InlineMixin, calls,
        an_error_keeps_its_type
        a_panic_is_an_exception
        map_in_all_its_forms
        several_threads_submit
        a_call_may_use_the_executor
        an_outcome_goes_with_its_last_handle
    }
    instantiate! { InlineMixin, as_completed,
        test_no_timeout
        test_free_reference_yielded_future
        test_correct_timeout_exception_msg
    }
    instantiate! { InlineMixin, wait, test_all_completed }
    instantiate! { InlineMixin, shutdown, test_run_after_shutdown test_hang_gh94440 }
    instantiate! { InlineMixin, ending,
        a_refused_call_is_dropped
        what_is_accepted_during_shutdown_is_run
    }
}

/// All but the cases about a number of workers, and the end of the process.
mod thread_per_task_conformance {
    use super::{executor, ThreadPerTaskExecutor};

    struct ThreadPerTaskMixin;

    impl executor::ExecutorMixin for ThreadPerTaskMixin {
        type Executor = ThreadPerTaskExecutor;

        const BOUNDED: bool = false;

        fn executor_type(_: usize) -> Result<ThreadPerTaskExecutor, Box<dyn std::error::Error>> {
            Ok(ThreadPerTaskExecutor::new())
        }
    }

    executor_tests!(ThreadPerTaskMixin);
    as_completed_tests!(ThreadPerTaskMixin);
    wait_tests!(ThreadPerTaskMixin);
    shutdown_tests!(ThreadPerTaskMixin);
}

/// With room for all calls that a case leaves waiting, of which there are fifty at most.
mod bounded_conformance {
    use super::{executor, BoundedExecutor, ThreadPoolExecutor};

    struct BoundedMixin;

    impl executor::ExecutorMixin for BoundedMixin {
        type Executor = BoundedExecutor<ThreadPoolExecutor>;

        fn executor_type(max_workers: usize) -> Result<Self::Executor, Box<dyn std::error::Error>> {
            let pool = ThreadPoolExecutor::new(max_workers)?;
            Ok(BoundedExecutor::new(pool, 50))
        }
    }

    executor_tests!(BoundedMixin);
    as_completed_tests!(BoundedMixin);
    wait_tests!(BoundedMixin);
    shutdown_tests!(BoundedMixin);
}

/// With room for no more calls than there are workers, so that none waits for one. The cases that submit
/// many calls before they let one end would block.
mod full_conformance {
    use super::{executor, BoundedExecutor, ThreadPoolExecutor};

    struct FullMixin;

    impl executor::ExecutorMixin for FullMixin {
        type Executor = BoundedExecutor<ThreadPoolExecutor>;

        const BOUNDED: bool = false;

        fn executor_type(max_workers: usize) -> Result<Self::Executor, Box<dyn std::error::Error>> {
            let pool = ThreadPoolExecutor::new(max_workers)?;
            Ok(BoundedExecutor::new(pool, max_workers))
        }
    }

    executor_tests!(FullMixin);
    as_completed_tests!(FullMixin);
    wait_tests!(FullMixin);
    instantiate! { FullMixin, shutdown, test_run_after_shutdown test_hang_gh94440 }
    instantiate! { FullMixin, ending,
        a_refused_call_is_dropped
        shutdown_without_wait_loses_nothing
        shutdown_waits_whoever_calls_it_again
        what_is_accepted_during_shutdown_is_run
        with_shuts_down_and_waits
        shutdown_ends_the_threads
        dropping_the_executor_ends_its_threads
    }
}

/// Around executors of all kinds, and with less room than there are workers: what holds of all of them,
/// whatever threads they use.
macro_rules! around {
    ($($name:ident: $executor:ty = $new:expr;)*) => {
        $(
            mod $name {
                use super::*;

                struct Mixin;

                impl executor::ExecutorMixin for Mixin {
                    type Executor = BoundedExecutor<$executor>;

                    fn executor_type(_: usize) -> Result<Self::Executor, Box<dyn std::error::Error>> {
                        Ok($new)
                    }
                }

                instantiate! { Mixin, executor, test_submit test_map test_free_reference }
                instantiate! { Mixin, calls,
                    an_error_keeps_its_type
                    a_panic_is_an_exception
                    map_in_all_its_forms
                    several_threads_submit
                    an_outcome_goes_with_its_last_handle
                }
                instantiate! { Mixin, shutdown, test_run_after_shutdown test_hang_gh94440 }
                instantiate! { Mixin, ending,
                    a_refused_call_is_dropped
                    what_is_accepted_during_shutdown_is_run
                }
            }
        )*
    };
}

around! {
    room_for_1: ThreadPoolExecutor = BoundedExecutor::new(ThreadPoolExecutor::new(2)?, 1);
    around_thread_per_task: ThreadPerTaskExecutor =
        BoundedExecutor::new(ThreadPerTaskExecutor::new(), 2);
    around_inline: InlineExecutor = BoundedExecutor::new(InlineExecutor::new(), 1);
    around_bounded: BoundedExecutor<ThreadPoolExecutor> =
        BoundedExecutor::new(BoundedExecutor::new(ThreadPoolExecutor::new(2)?, 2), 3);
}
