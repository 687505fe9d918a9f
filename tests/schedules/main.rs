//! Small programs that must end well whichever way their threads are interleaved. Together they need
//! each lock, notification, second look and sentinel of the crate: with any one of these taken away,
//! one of them fails.
//!
//! Here each runs many times on real threads. The same file is also run under a model scheduler,
//! with the model's `sync`, `thread` and `hint` in the place of std's, which decides at every step who
//! goes on, and reports a deadlock, a lost wake-up and a thread left behind. Hence the rules: what
//! blocks or lets others go on is from these three, named through `std::`, or from the crate; a
//! scenario ends all its threads; it waits without time-outs, since no time passes in the model; and
//! it leaves the process as it was.
mod explore;

use concurrent_futures::*;
use explore::explore;
use std::future::Future as _;
use std::hint;
use std::pin::Pin;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

fn pool(workers: usize) -> ThreadPoolExecutor {
    ThreadPoolExecutor::new(workers).unwrap()
}

/// Lets others go on, for about as long as they look around before they fall asleep. So in some of
/// the schedules they do sleep by then, in some they are about to, and in some they do not.
///
/// In the model, each turn of either loop is a step. On a busy machine only the few of the second one
/// take long.
fn linger() {
    for _ in 0..150 {
        hint::spin_loop();
    }
    for _ in 0..10 {
        thread::yield_now();
    }
}

/// Occupies all workers at once, which there must be then.
fn meet(pool: &ThreadPoolExecutor, workers: usize) -> Vec<Future<()>> {
    let barrier = Arc::new(Barrier::new(workers));
    (0..workers)
        .map(|_| {
            let barrier = barrier.clone();
            pool.submit(move || {
                barrier.wait();
            })
            .unwrap()
        })
        .collect()
}

fn all_results<T: Clone>(futures: Vec<Future<T>>) -> Vec<T> {
    futures
        .into_iter()
        .map(|future| future.result(None).unwrap())
        .collect()
}

/// A task of the pool that runs until something is sent, or the sender is dropped.
fn blocker(pool: &ThreadPoolExecutor) -> (Future<()>, Sender<()>) {
    let (gate, closed) = mpsc::channel();
    let running = Arc::new(Barrier::new(2));
    let started = running.clone();
    let future = pool
        .submit(move || {
            started.wait();
            let _ = closed.recv();
        })
        .unwrap();
    running.wait();
    (future, gate)
}

/// Initializers fail here on purpose, which would fill the log.
fn quietly() {
    set_logger(|_| ());
}

// ---- Workers and their queue

#[test]
fn a_free_worker_is_reused() {
    explore(|| {
        let pool = pool(2);
        for n in 0..3 {
            let future = pool.submit(move || n).unwrap();
            assert_eq!(future.result(None).unwrap(), n);
            assert_eq!(pool.thread_count(), 1);
        }
        pool.shutdown();
    });
}

#[test]
fn a_sleeping_worker_is_reused() {
    explore(|| {
        let pool = pool(2);
        for n in 0..2 {
            let future = pool.submit(move || n).unwrap();
            assert_eq!(future.result(None).unwrap(), n);
            linger();
        }
        assert_eq!(pool.thread_count(), 1);
        pool.shutdown();
    });
}

#[test]
fn a_worker_seen_to_be_free_by_as_completed_is_reused() {
    explore(|| {
        let pool = pool(2);
        for n in 0..5 {
            let future = pool.submit(move || n).unwrap();
            // Unlike `result`, this does not wait for the future's lock.
            assert!(as_completed(vec![future], None).next().is_some());
            assert_eq!(pool.thread_count(), 1);
        }
        pool.shutdown();
    });
}

#[test]
fn a_worker_whose_call_failed_is_reused() {
    explore(|| {
        let pool = pool(4);
        let failed = pool.try_submit(|| Err::<(), _>(Exception::msg("no")));
        assert!(failed.unwrap().result(None).is_err());
        // An error may have a `Drop`, and keep its worker busy still; but not once that one has come
        // to the next call.
        pool.submit(|| ()).unwrap().result(None).unwrap();
        let threads = pool.thread_count();
        if threads == 1 {
            for _ in 0..2 {
                pool.submit(|| ()).unwrap().result(None).unwrap();
                assert_eq!(pool.thread_count(), 1);
            }
        }
        pool.shutdown();
    });
}

#[test]
fn two_free_workers_are_reused() {
    explore(|| {
        let pool = pool(3);
        all_results(meet(&pool, 2));
        for _ in 0..2 {
            // Not both need be idle yet, but both are done.
            pool.submit(|| ()).unwrap().result(None).unwrap();
            assert_eq!(pool.thread_count(), 2);
        }
        pool.shutdown();
    });
}

#[test]
fn workers_meet_after_a_call_was_cancelled() {
    explore(|| {
        let pool = pool(2);
        let (first, gate) = blocker(&pool);
        let (second, other_gate) = blocker(&pool);
        let cancelled = pool.submit(|| ()).unwrap();
        assert!(cancelled.cancel());
        drop((gate, other_gate));
        all_results(vec![first, second]);
        all_results(meet(&pool, 2));
        assert_eq!(pool.thread_count(), 2);
        pool.shutdown();
    });
}

#[test]
fn workers_meet_while_others_go_idle() {
    explore(|| {
        let pool = pool(2);
        let earlier = pool.submit(|| ()).unwrap();
        let other = pool.clone();
        let submitter = thread::spawn(move || other.submit(|| ()).unwrap());
        earlier.result(None).unwrap();
        // The other call may be queued, running or done.
        let met = meet(&pool, 2);
        all_results(met);
        submitter.join().unwrap().result(None).unwrap();
        assert!(pool.thread_count() <= 2);
        pool.shutdown();
    });
}

#[test]
fn three_workers_meet_after_uneven_work() {
    explore(|| {
        let pool = pool(3);
        let first = pool.submit(|| 1).unwrap();
        let _second = pool.submit(|| 2).unwrap();
        first.result(None).unwrap();
        all_results(meet(&pool, 3));
        all_results(meet(&pool, 3));
        assert_eq!(pool.thread_count(), 3);
        pool.shutdown();
    });
}

#[test]
fn calls_from_several_threads_meet() {
    explore(|| {
        let pool = pool(2);
        let barrier = Arc::new(Barrier::new(2));
        pool.submit(|| ()).unwrap();
        let other = (pool.clone(), barrier.clone());
        let submitter = thread::spawn(move || {
            let (pool, barrier) = other;
            pool.submit(move || {
                barrier.wait();
            })
            .unwrap()
        });
        let future = pool
            .submit(move || {
                barrier.wait();
            })
            .unwrap();
        future.result(None).unwrap();
        submitter.join().unwrap().result(None).unwrap();
        pool.shutdown();
    });
}

#[test]
fn sleeping_workers_are_woken_for_calls() {
    explore(|| {
        let pool = pool(2);
        all_results(meet(&pool, 2));
        linger();
        all_results(meet(&pool, 2));
        linger();
        all_results(meet(&pool, 2));
        pool.shutdown();
    });
}

#[test]
fn sleeping_workers_are_woken_by_shutdown() {
    explore(|| {
        let pool = pool(2);
        all_results(meet(&pool, 2));
        linger();
        linger();
        pool.shutdown();
    });
}

#[test]
fn sleeping_workers_are_woken_by_the_pools_end() {
    explore(|| {
        let pool = pool(2);
        all_results(meet(&pool, 2));
        linger();
        linger();
    });
}

/// A full channel of the queue is followed by another, several times, while a worker takes what is in
/// the earlier ones.
#[test]
fn a_queue_grows_while_it_is_emptied() {
    explore(|| {
        let pool = pool(1);
        let other = pool.clone();
        let submitter = thread::spawn(move || {
            let calls = (0..8).map(|n| other.submit(move || n).unwrap());
            all_results(calls.collect())
        });
        let calls = (8..20).map(|n| pool.submit(move || n).unwrap());
        assert!(all_results(calls.collect()).into_iter().eq(8..20));
        assert!(submitter.join().unwrap().into_iter().eq(0..8));
        assert_eq!(pool.queue_size(), 0);
        pool.shutdown();
    });
}

/// From all the channels of the queue.
#[test]
fn every_queued_call_is_cancelled() {
    explore(|| {
        let pool = pool(1);
        let (running, gate) = blocker(&pool);
        let calls: Vec<_> = (0..14).map(|n| pool.submit(move || n).unwrap()).collect();
        pool.shutdown_with(ShutdownOptions::new().wait(false).cancel_futures(true));
        assert!(calls.iter().all(Future::cancelled));
        drop(gate);
        pool.shutdown();
        assert_eq!(pool.queue_size(), 0);
        running.result(None).unwrap();
    });
}

#[test]
fn queue_size_counts_what_waits() {
    explore(|| {
        let pool = pool(1);
        let other = pool.clone();
        let submitter = thread::spawn(move || {
            for _ in 0..3 {
                other.submit(|| ()).unwrap().result(None).unwrap();
            }
        });
        for _ in 0..3 {
            assert!(pool.queue_size() <= 1);
        }
        submitter.join().unwrap();
        pool.shutdown();
        assert_eq!(pool.queue_size(), 0);
    });
}

#[test]
fn a_callback_waits_for_its_own_pool() {
    explore(|| {
        let pool = pool(2);
        let (future, gate) = blocker(&pool);
        let (sender, receiver) = mpsc::channel();
        let inner = pool.clone();
        future.add_done_callback(move |_| {
            let nested = inner.submit(|| 7).unwrap();
            sender.send(nested.result(None).unwrap()).unwrap();
        });
        drop(gate);
        assert_eq!(receiver.recv().unwrap(), 7);
        pool.shutdown();
    });
}

/// A result that nobody keeps, and whose end waits for its pool.
struct Farewell(ThreadPoolExecutor, Sender<i32>);

impl Drop for Farewell {
    fn drop(&mut self) {
        let nested = self.0.submit(|| 7).unwrap();
        self.1.send(nested.result(None).unwrap()).unwrap();
    }
}

#[test]
fn drop_of_a_value_waits_for_its_own_pool() {
    explore(|| {
        let pool = pool(2);
        let (sender, receiver) = mpsc::channel();
        let inner = pool.clone();
        drop(pool.submit(move || Farewell(inner, sender)).unwrap());
        assert_eq!(receiver.recv().unwrap(), 7);
        pool.shutdown();
    });
}

#[test]
fn drop_of_a_call_waits_for_its_own_pool() {
    explore(|| {
        let pool = pool(2);
        let (_, gate) = blocker(&pool);
        let (_, other_gate) = blocker(&pool);
        let (sender, receiver) = mpsc::channel();
        let farewell = Farewell(pool.clone(), sender);
        let queued = pool.submit(move || drop(farewell)).unwrap();
        // Whoever cancels drops the call, which waits for a worker.
        let canceller = thread::spawn(move || queued.cancel());
        drop((gate, other_gate));
        assert_eq!(receiver.recv().unwrap(), 7);
        canceller.join().unwrap();
        pool.shutdown();
    });
}

#[test]
fn captures_are_dropped_before_the_result_is_seen() {
    explore(|| {
        let pool = pool(1);
        let capture = Arc::new(());
        let captured = capture.clone();
        let future = pool.submit(move || drop(captured)).unwrap();
        future.result(None).unwrap();
        assert_eq!(Arc::strong_count(&capture), 1);
        pool.shutdown();
    });
}

#[test]
fn callbacks_of_cancelled_calls_wait_for_each_other() {
    explore(|| {
        let pool = pool(1);
        let (_, gate) = blocker(&pool);
        let first = pool.submit(|| ()).unwrap();
        let second = pool.submit(|| ()).unwrap();
        for (future, other) in [(&first, second.clone()), (&second, first.clone())] {
            future.add_done_callback(move |_| assert!(other.result(None).is_err()));
        }
        let other = pool.clone();
        let canceller = thread::spawn(move || {
            other.shutdown_with(ShutdownOptions::new().wait(false).cancel_futures(true));
        });
        canceller.join().unwrap();
        assert!(first.cancelled() && second.cancelled());
        drop(gate);
        pool.shutdown();
    });
}

#[test]
fn a_shutdown_returns_with_everything_done() {
    explore(|| {
        let pool = pool(1);
        let futures: Vec<_> = (0..3).map(|_| pool.submit(|| ()).unwrap()).collect();
        let other = pool.clone();
        let canceller = thread::spawn(move || {
            other.shutdown_with(ShutdownOptions::new().wait(false).cancel_futures(true));
        });
        pool.shutdown();
        assert!(futures.iter().all(Future::done));
        canceller.join().unwrap();
    });
}

#[test]
fn cancelling_races_the_worker_for_the_call() {
    explore(|| {
        let pool = pool(1);
        let capture = Arc::new(());
        let captured = capture.clone();
        let future = pool.submit(move || drop(captured)).unwrap();
        let cancelled = future.cancel();
        assert!(!cancelled || Arc::strong_count(&capture) == 1);
        assert_eq!(future.result(None).is_err(), cancelled);
        pool.shutdown();
        assert_eq!(Arc::strong_count(&capture), 1);
    });
}

#[test]
fn a_call_is_marked_as_running_while_it_is_queued() {
    explore(|| {
        quietly();
        let pool = pool(1);
        let future = pool.submit(|| 7).unwrap();
        let other = pool.clone();
        let canceller = thread::spawn(move || {
            other.shutdown_with(ShutdownOptions::new().wait(false).cancel_futures(true));
        });
        let marked = future.set_running_or_notify_cancel();
        let ran = future.result(None).is_ok();
        assert!(ran || !matches!(marked, Ok(true)));
        canceller.join().unwrap();
        pool.shutdown();
    });
}

#[test]
fn results_are_asked_for_with_and_without_waiting() {
    explore(|| {
        let future = Future::new();
        future.set_result(7).unwrap();
        let threads: Vec<_> = (0..3)
            .map(|number| {
                let future = future.clone();
                thread::spawn(move || match number {
                    0 => future.result(std::time::Duration::ZERO).unwrap(),
                    _ => future.result(None).unwrap(),
                })
            })
            .collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), 7);
        }
    });
}

// ---- Ends of a pool

#[test]
fn shutdown_waits_for_every_call_that_was_taken() {
    explore(|| {
        let pool = pool(2);
        let other = pool.clone();
        let submitter = thread::spawn(move || other.submit(|| ()).ok());
        let first = pool.submit(|| ()).unwrap();
        pool.shutdown();
        assert!(first.done());
        let second = submitter.join().unwrap();
        assert!(second.map_or(true, |future| future.done()));
    });
}

#[test]
fn shutdown_waits_for_the_first_call() {
    explore(|| {
        let pool = pool(1);
        let other = pool.clone();
        let submitter = thread::spawn(move || other.submit(|| ()).ok());
        pool.shutdown();
        let future = submitter.join().unwrap();
        assert!(future.map_or(true, |future| future.done()));
    });
}

#[test]
fn every_shutdown_waits() {
    explore(|| {
        let pool = pool(1);
        let future = pool.submit(thread::yield_now).unwrap();
        let others: Vec<_> = (0..2)
            .map(|_| {
                let (pool, future) = (pool.clone(), future.clone());
                thread::spawn(move || {
                    pool.shutdown();
                    assert!(future.done());
                })
            })
            .collect();
        pool.shutdown_with(ShutdownOptions::new().wait(false));
        pool.shutdown();
        assert!(future.done());
        for other in others {
            other.join().unwrap();
        }
    });
}

#[test]
fn shutdowns_race_submit_and_cancel() {
    explore(|| {
        let pool = pool(2);
        let first = pool.submit(|| ()).unwrap();
        let second = pool.submit(|| ()).unwrap();
        let other = pool.clone();
        let cancelling = thread::spawn(move || {
            other.shutdown_with(ShutdownOptions::new().cancel_futures(true));
        });
        let (other, cancelled) = (pool.clone(), second.clone());
        let submitting = thread::spawn(move || {
            let future = other.submit(|| ()).ok();
            cancelled.cancel();
            future
        });
        pool.shutdown_with(ShutdownOptions::new().wait(false));
        pool.shutdown();
        cancelling.join().unwrap();
        let third = submitting.join().unwrap();
        assert!(first.done() && second.done());
        assert!(third.map_or(true, |future| future.done()));
    });
}

#[test]
fn cancelling_shutdowns_race_each_other() {
    explore(|| {
        let pool = pool(1);
        let futures: Vec<_> = (0..3).map(|n| pool.submit(move || n).unwrap()).collect();
        let other = pool.clone();
        let options = ShutdownOptions::new().cancel_futures(true);
        let cancelling = thread::spawn(move || other.shutdown_with(options.wait(false)));
        pool.shutdown_with(options);
        cancelling.join().unwrap();
        for future in futures {
            let outcome = future.result(None);
            assert_eq!(future.cancelled(), matches!(outcome, Err(Error::Cancelled)));
        }
    });
}

#[test]
fn workers_shut_their_pool_down_together() {
    explore(|| {
        let pool = pool(2);
        let barrier = Arc::new(Barrier::new(2));
        let futures: Vec<_> = (0..2)
            .map(|_| {
                let (inner, barrier) = (pool.clone(), barrier.clone());
                pool.submit(move || {
                    barrier.wait();
                    inner.shutdown();
                })
                .unwrap()
            })
            .collect();
        pool.shutdown();
        assert!(futures.iter().all(Future::done));
    });
}

#[test]
fn a_callback_shuts_its_pool_down() {
    explore(|| {
        let pool = pool(2);
        let (future, gate) = blocker(&pool);
        let queued = pool.submit(|| ()).unwrap();
        let inner = pool.clone();
        future.add_done_callback(move |_| {
            inner.shutdown_with(ShutdownOptions::new().cancel_futures(true));
        });
        drop((gate, pool));
        // Done or cancelled, either will do.
        let _ = queued.result(None);
    });
}

#[test]
fn callbacks_of_cancelled_calls_use_the_pool() {
    explore(|| {
        let pool = pool(1);
        let (_, gate) = blocker(&pool);
        let queued = pool.submit(|| ()).unwrap();
        let inner = pool.clone();
        let (sender, receiver) = mpsc::channel();
        queued.add_done_callback(move |_| {
            let refused = inner.submit(|| ()).is_err();
            inner.shutdown_with(ShutdownOptions::new().wait(false).cancel_futures(true));
            sender.send(refused).unwrap();
        });
        let other = pool.clone();
        let second = thread::spawn(move || other.shutdown());
        pool.shutdown_with(ShutdownOptions::new().wait(false).cancel_futures(true));
        assert!(queued.cancelled());
        assert!(receiver.recv().unwrap());
        drop(gate);
        second.join().unwrap();
    });
}

#[test]
fn last_reference_dropped_by_a_worker_with_calls_queued() {
    explore(|| {
        let pool = pool(1);
        let (gate, closed) = mpsc::channel::<()>();
        let inner = pool.clone();
        let first = pool
            .submit(move || {
                let _ = closed.recv();
                drop(inner);
            })
            .unwrap();
        let queued: Vec<_> = (0..2).map(|n| pool.submit(move || n).unwrap()).collect();
        drop(pool);
        drop(gate);
        first.result(None).unwrap();
        assert_eq!(all_results(queued), [0, 1]);
    });
}

#[test]
fn last_references_dropped_by_two_workers_and_a_callback() {
    explore(|| {
        let pool = pool(2);
        let (first, second) = (pool.clone(), pool.clone());
        let a = pool.submit(move || drop(first)).unwrap();
        let b = pool.submit(|| ()).unwrap();
        b.add_done_callback(move |_| drop(second));
        let c = pool.submit(|| ()).unwrap();
        drop(pool);
        all_results(vec![a, b, c]);
    });
}

#[test]
fn dropped_pool_races_shutdown() {
    explore(|| {
        let pool = pool(2);
        let future = pool.submit(|| ()).unwrap();
        let other = pool.clone();
        let shutting = thread::spawn(move || {
            other.shutdown_with(ShutdownOptions::new().wait(false));
        });
        drop(pool);
        shutting.join().unwrap();
        future.result(None).unwrap();
    });
}

// ---- Initializers that fail

/// A pool of two whose first or second worker fails to start up, or for zero both.
fn half_broken_pool(failing: usize) -> ThreadPoolExecutor {
    let calls = Mutex::new(0);
    ThreadPoolExecutor::builder()
        .max_workers(2)
        .try_initializer(move || {
            let mut calls = calls.lock().unwrap();
            *calls += 1;
            if *calls == failing || failing == 0 {
                return Err(Exception::msg("cannot start"));
            }
            Ok(())
        })
        .build()
        .unwrap()
}

fn is_broken_or<T>(outcome: Result<T, Error>, other: fn(&Error) -> bool) -> bool {
    match outcome {
        Ok(_) => true,
        Err(Error::Exception(exception)) => exception.downcast_ref::<BrokenThreadPool>().is_some(),
        Err(error) => other(&error),
    }
}

#[test]
fn initializers_fail() {
    quietly();
    for failing in 0..=2 {
        explore(move || {
            let pool = half_broken_pool(failing);
            let futures: Vec<_> = (0..3).filter_map(|n| pool.submit(move || n).ok()).collect();
            for future in futures {
                assert!(is_broken_or(future.result(None), |_| false));
            }
            pool.shutdown();
        });
    }
}

#[test]
fn failing_initializer_races_shutdown() {
    quietly();
    for failing in 0..=2 {
        explore(move || {
            let pool = half_broken_pool(failing);
            let futures: Vec<_> = (0..3).filter_map(|n| pool.submit(move || n).ok()).collect();
            let other = pool.clone();
            let shutting = thread::spawn(move || {
                other.shutdown_with(ShutdownOptions::new().wait(false));
            });
            pool.shutdown();
            shutting.join().unwrap();
            for future in futures {
                assert!(future.done());
                assert!(is_broken_or(future.result(None), |_| false));
            }
        });
    }
}

#[test]
fn failing_initializer_races_cancelling_shutdown() {
    quietly();
    for failing in 0..=2 {
        explore(move || {
            let pool = half_broken_pool(failing);
            let futures: Vec<_> = (0..3).filter_map(|n| pool.submit(move || n).ok()).collect();
            pool.shutdown_with(ShutdownOptions::new().cancel_futures(true));
            for future in futures {
                // What the one has drained, it may still be ending when the other has waited.
                assert!(is_broken_or(future.result(None), |error| matches!(
                    error,
                    Error::Cancelled
                )));
            }
        });
    }
}

#[test]
fn failing_initializer_races_the_pools_end() {
    quietly();
    for failing in 0..=2 {
        explore(move || {
            let pool = half_broken_pool(failing);
            let futures: Vec<_> = (0..3).filter_map(|n| pool.submit(move || n).ok()).collect();
            drop(pool);
            for future in futures {
                assert!(is_broken_or(future.result(None), |_| false));
            }
        });
    }
}

#[test]
fn failing_initializer_races_submit() {
    quietly();
    explore(|| {
        let pool = half_broken_pool(1);
        let other = pool.clone();
        let submitting = thread::spawn(move || other.submit(|| 1).ok());
        let mine = pool.submit(|| 2).ok();
        for future in submitting.join().unwrap().into_iter().chain(mine) {
            assert!(is_broken_or(future.result(None), |_| false));
        }
        pool.shutdown();
    });
}

#[test]
fn callback_of_a_stranded_call_uses_the_pool() {
    quietly();
    explore(|| {
        let (gate, closed) = mpsc::channel::<()>();
        let closed = Mutex::new(closed);
        let pool = ThreadPoolExecutor::builder()
            .max_workers(1)
            .try_initializer(move || {
                let _ = closed.lock().unwrap().recv();
                Err(Exception::msg("cannot start"))
            })
            .build()
            .unwrap();
        let future = pool.submit(|| ()).unwrap();
        let inner = pool.clone();
        let (sender, receiver) = mpsc::channel();
        future.add_done_callback(move |_| {
            let refused = inner.submit(|| ()).is_err();
            inner.shutdown();
            sender.send(refused).unwrap();
        });
        drop(gate);
        assert!(receiver.recv().unwrap());
        assert!(future.result(None).is_err());
        pool.shutdown();
    });
}

// ---- Futures

#[test]
fn sleepers_are_woken_by_a_value() {
    explore(|| {
        let future = Future::new();
        let sleepers: Vec<_> = (0..2)
            .map(|_| {
                let future = future.clone();
                thread::spawn(move || future.result(None).unwrap())
            })
            .collect();
        linger();
        linger();
        future.set_result(7).unwrap();
        for sleeper in sleepers {
            assert_eq!(sleeper.join().unwrap(), 7);
        }
    });
}

#[test]
fn sleepers_are_woken_by_an_exception() {
    explore(|| {
        let future = Future::<i32>::new();
        let sleeper = future.clone();
        let sleeper = thread::spawn(move || sleeper.exception(None).unwrap().is_some());
        linger();
        future.set_exception(Exception::msg("no")).unwrap();
        assert!(sleeper.join().unwrap());
    });
}

#[test]
fn sleepers_are_woken_by_cancel() {
    explore(|| {
        let future = Future::<i32>::new();
        let sleepers: Vec<_> = (0..2)
            .map(|_| {
                let future = future.clone();
                thread::spawn(move || matches!(future.result(None), Err(Error::Cancelled)))
            })
            .collect();
        linger();
        linger();
        assert!(future.cancel());
        for sleeper in sleepers {
            assert!(sleeper.join().unwrap());
        }
    });
}

#[test]
fn a_sleeper_is_woken_by_the_pool() {
    explore(|| {
        let pool = pool(1);
        let future = pool.submit(linger).unwrap();
        future.result(None).unwrap();
        pool.shutdown();
    });
}

#[test]
fn callbacks_race_completion() {
    explore(|| {
        let future = Future::new();
        let (sender, receiver) = mpsc::channel();
        let adders: Vec<_> = (0..2)
            .map(|n| {
                let (future, sender) = (future.clone(), sender.clone());
                thread::spawn(move || {
                    future.add_done_callback(move |future| {
                        // No lock is held here, or these would never return.
                        assert!(future.done() && !future.cancel());
                        future.result(None).unwrap();
                        sender.send(n).unwrap();
                    });
                })
            })
            .collect();
        future.set_result(7).unwrap();
        for adder in adders {
            adder.join().unwrap();
        }
        drop((sender, future));
        let mut called: Vec<usize> = receiver.iter().collect();
        called.sort_unstable();
        assert_eq!(called, [0, 1]);
    });
}

#[test]
fn callbacks_race_cancel() {
    explore(|| {
        let future = Future::<()>::new();
        let calls = Arc::new(Mutex::new(0));
        let (other, counter) = (future.clone(), calls.clone());
        let adder = thread::spawn(move || {
            other.add_done_callback(move |future| {
                assert!(future.cancelled());
                *counter.lock().unwrap() += 1;
            });
        });
        let other = future.clone();
        let canceller = thread::spawn(move || other.cancel());
        assert!(future.cancel());
        assert!(canceller.join().unwrap());
        adder.join().unwrap();
        assert_eq!(*calls.lock().unwrap(), 1);
    });
}

#[test]
fn who_cancels_has_called_the_callbacks() {
    explore(|| {
        let future = Future::<()>::new();
        let calls = Arc::new(Mutex::new(0));
        let counter = calls.clone();
        future.add_done_callback(move |_| *counter.lock().unwrap() += 1);
        let other = future.clone();
        let second = thread::spawn(move || assert!(!other.cancelled() || other.cancel()));
        assert!(future.cancel());
        assert_eq!(*calls.lock().unwrap(), 1);
        second.join().unwrap();
    });
}

#[test]
fn two_threads_complete_a_future() {
    explore(|| {
        let future = Future::new();
        let other = future.clone();
        let completer = thread::spawn(move || other.set_result(1).is_ok());
        let mine = future.set_exception(Exception::msg("no")).is_ok();
        let theirs = completer.join().unwrap();
        assert!(mine != theirs);
        assert_eq!(future.result(None).is_ok(), theirs);
    });
}

#[test]
fn cancel_races_running() {
    explore(|| {
        let future = Future::new();
        let waited = vec![future.clone()];
        let waiter = thread::spawn(move || wait(waited, None, ALL_COMPLETED).done.len());
        let other = future.clone();
        let iterating = thread::spawn(move || as_completed(vec![other], None).count());
        let other = future.clone();
        let canceller = thread::spawn(move || other.cancel());
        let runs = future.set_running_or_notify_cancel().unwrap();
        if runs {
            future.set_result(1).unwrap();
        }
        assert_eq!(canceller.join().unwrap(), !runs);
        assert_eq!(waiter.join().unwrap(), 1);
        assert_eq!(iterating.join().unwrap(), 1);
    });
}

#[test]
fn cancel_races_a_result() {
    explore(|| {
        let future = Future::new();
        let waited = vec![future.clone()];
        let waiter = thread::spawn(move || wait(waited, None, FIRST_COMPLETED).done.len());
        let other = future.clone();
        let canceller = thread::spawn(move || other.cancel());
        let completed = future.set_result(1).is_ok();
        assert_eq!(canceller.join().unwrap(), !completed);
        if !completed {
            assert!(!future.set_running_or_notify_cancel().unwrap());
        }
        assert_eq!(waiter.join().unwrap(), 1);
    });
}

/// Its clone takes a while.
struct Slow;

impl Clone for Slow {
    fn clone(&self) -> Self {
        linger();
        linger();
        Slow
    }
}

#[test]
fn results_are_cloned_and_taken_at_once() {
    explore(|| {
        let future = Future::new();
        let cloners: Vec<_> = (0..2)
            .map(|_| {
                let future = future.clone();
                thread::spawn(move || {
                    let outcome = future.result(None);
                    assert!(matches!(outcome, Ok(7) | Err(Error::Taken)));
                })
            })
            .collect();
        let other = future.clone();
        let taker = thread::spawn(move || other.take_result(None).unwrap());
        future.set_result(7).unwrap();
        assert_eq!(taker.join().unwrap(), 7);
        for cloner in cloners {
            cloner.join().unwrap();
        }
        assert!(matches!(future.result(None), Err(Error::Taken)));
    });
}

#[test]
fn a_value_that_is_being_cloned_is_waited_for() {
    explore(|| {
        let future = Future::new();
        future.set_result(Slow).unwrap();
        let others: Vec<_> = (0..2)
            .map(|_| {
                let future = future.clone();
                thread::spawn(move || future.result(None).map(drop).unwrap())
            })
            .collect();
        // It is done, so this is no time-out, whoever has the value.
        future.result(Duration::ZERO).map(drop).unwrap();
        for other in others {
            other.join().unwrap();
        }
        future.take_result(None).map(drop).unwrap();
    });
}

/// Its clone uses the future whose value it is.
struct Curious(Future<Curious>);

impl Clone for Curious {
    fn clone(&self) -> Self {
        assert!(self.0.done());
        assert!(matches!(self.0.exception(None), Ok(None)));
        Curious(self.0.clone())
    }
}

#[test]
fn a_clone_uses_its_future() {
    explore(|| {
        let future = Future::new();
        let other = future.clone();
        let completer = thread::spawn(move || other.set_result(Curious(other.clone())).unwrap());
        drop(future.result(None).unwrap());
        completer.join().unwrap();
        // It refers to itself as long as it has its value.
        drop(future.take_result(None));
    });
}

// ---- Waiting for several

#[test]
fn waits_given_in_different_orders() {
    explore(|| {
        let (a, b) = (Future::new(), Future::new());
        let (forth, back) = (vec![a.clone(), b.clone()], vec![b.clone(), a.clone()]);
        let first = thread::spawn(move || wait(forth, None, ALL_COMPLETED).done.len());
        let second = thread::spawn(move || wait(back, None, ALL_COMPLETED).done.len());
        a.set_result(1).unwrap();
        b.set_result(2).unwrap();
        assert_eq!(first.join().unwrap(), 2);
        assert_eq!(second.join().unwrap(), 2);
    });
}

/// Each of the two waits has a future that only it has a handle to, beside two that both have, and one
/// of these twice.
#[test]
fn waits_for_own_and_for_shared_futures() {
    explore(|| {
        let pool = pool(1);
        let shared = [Future::new(), Future::new()];
        let waits = [[0, 1, 0], [1, 0, 1]].map(|order| {
            let mut fs = vec![pool.submit(|| 4).unwrap()];
            fs.extend(order.map(|n: usize| shared[n].clone()));
            thread::spawn(move || all_results(as_completed(fs, None).flatten().collect()))
        });
        let [a, b] = shared;
        a.set_result(1).unwrap();
        b.set_result(2).unwrap();
        for wait in waits {
            let mut results = wait.join().unwrap();
            results.sort_unstable();
            assert_eq!(results, [1, 2, 4]);
        }
        pool.shutdown();
    });
}

#[test]
fn waits_of_all_kinds_on_the_same_futures() {
    explore(|| {
        let (a, b) = (Future::new(), Future::new());
        let (forth, back) = (vec![a.clone(), b.clone()], vec![b.clone(), a.clone()]);
        let waited = forth.clone();
        let all = thread::spawn(move || wait(waited, None, ALL_COMPLETED).done.len());
        let waited = back.clone();
        let first = thread::spawn(move || wait(waited, None, FIRST_COMPLETED).done.len());
        let failed = b.clone();
        let exception = thread::spawn(move || {
            assert!(wait(forth, None, FIRST_EXCEPTION).done.contains(&failed));
        });
        let iterating = thread::spawn(move || as_completed(back, None).flatten().count());
        let other = a.clone();
        let completer = thread::spawn(move || other.set_result(1).unwrap());
        b.set_exception(Exception::msg("no")).unwrap();
        completer.join().unwrap();
        assert_eq!(all.join().unwrap(), 2);
        assert!(first.join().unwrap() >= 1);
        exception.join().unwrap();
        assert_eq!(iterating.join().unwrap(), 2);
    });
}

#[test]
fn futures_completed_at_once_are_all_counted() {
    explore(|| {
        let futures: Vec<_> = (0..2).map(|_| Future::new()).collect();
        let waited = futures.clone();
        let waiter = thread::spawn(move || wait(waited, None, ALL_COMPLETED).done.len());
        let completers: Vec<_> = futures
            .into_iter()
            .map(|future| thread::spawn(move || future.set_result(1).unwrap()))
            .collect();
        assert_eq!(waiter.join().unwrap(), 2);
        for completer in completers {
            completer.join().unwrap();
        }
    });
}

#[test]
fn sleeping_waits_are_woken() {
    explore(|| {
        let (a, b) = (Future::new(), Future::new());
        let both = vec![a.clone(), b.clone()];
        let waited = both.clone();
        let all = thread::spawn(move || wait(waited, None, ALL_COMPLETED).done.len());
        let waited = both.clone();
        let first = thread::spawn(move || wait(waited, None, FIRST_COMPLETED).done.len());
        let iterating = thread::spawn(move || as_completed(both, None).flatten().count());
        linger();
        linger();
        a.set_result(1).unwrap();
        assert_eq!(first.join().unwrap(), 1);
        linger();
        b.set_result(2).unwrap();
        assert_eq!(all.join().unwrap(), 2);
        assert_eq!(iterating.join().unwrap(), 2);
    });
}

#[test]
fn a_sleeping_wait_is_woken_by_an_exception() {
    explore(|| {
        let (a, b) = (Future::<i32>::new(), Future::<i32>::new());
        let waited = vec![a.clone(), b.clone()];
        let waiter = thread::spawn(move || wait(waited, None, FIRST_EXCEPTION));
        linger();
        a.set_exception(Exception::msg("no")).unwrap();
        let seen = waiter.join().unwrap();
        assert!(seen.done.contains(&a) && seen.not_done.contains(&b));
        b.cancel();
    });
}

#[test]
fn cancel_tells_those_who_wait_for_a_call() {
    explore(|| {
        let pool = pool(1);
        let (blocking, gate) = blocker(&pool);
        let queued = pool.submit(|| ()).unwrap();
        let other = queued.clone();
        let result = thread::spawn(move || matches!(other.result(None), Err(Error::Cancelled)));
        let waited = vec![queued.clone()];
        let waiter = thread::spawn(move || wait(waited, None, ALL_COMPLETED).done.len());
        let other = queued.clone();
        let iterating = thread::spawn(move || as_completed(vec![other], None).flatten().count());
        linger();
        assert!(queued.cancel());
        // While the only worker is busy with something else.
        assert!(result.join().unwrap());
        assert_eq!(waiter.join().unwrap(), 1);
        assert_eq!(iterating.join().unwrap(), 1);
        assert!(blocking.running());
        drop(gate);
        pool.shutdown();
    });
}

#[test]
fn a_cancelled_future_tells_its_waiters_later() {
    explore(|| {
        let future = Future::<()>::new();
        let waited = vec![future.clone()];
        let waiter = thread::spawn(move || wait(waited, None, ALL_COMPLETED).done.len());
        let other = future.clone();
        let iterating = thread::spawn(move || as_completed(vec![other], None).flatten().count());
        assert!(future.cancel());
        linger();
        assert!(!future.set_running_or_notify_cancel().unwrap());
        assert_eq!(waiter.join().unwrap(), 1);
        assert_eq!(iterating.join().unwrap(), 1);
    });
}

#[test]
fn as_completed_yields_in_finishing_order() {
    explore(|| {
        let (a, b) = (Future::new(), Future::new());
        let finishing = as_completed(vec![b.clone(), a.clone()], None);
        let iterating = thread::spawn(move || finishing.flatten().collect::<Vec<_>>());
        let other = a.clone();
        let completer = thread::spawn(move || other.set_result(1).unwrap());
        a.result(None).unwrap();
        b.set_result(2).unwrap();
        assert!(iterating.join().unwrap() == [a, b]);
        completer.join().unwrap();
    });
}

#[test]
fn as_completed_dropped_half_way() {
    explore(|| {
        let futures: Vec<_> = (0..3).map(|_| Future::new()).collect();
        let mut finishing = as_completed(futures.clone(), None);
        let (one, others) = (futures[0].clone(), futures[1..].to_vec());
        let first = thread::spawn(move || one.set_result(0).unwrap());
        let second = thread::spawn(move || {
            for future in others {
                future.set_result(0).unwrap();
            }
        });
        assert!(finishing.next().unwrap().unwrap().done());
        drop(finishing);
        assert_eq!(as_completed(futures, None).flatten().count(), 3);
        first.join().unwrap();
        second.join().unwrap();
    });
}

#[test]
fn futures_complete_while_they_are_yielded() {
    explore(|| {
        let futures: Vec<_> = (0..3).map(|_| Future::new()).collect();
        let finishing = as_completed(futures.clone(), None);
        let completer = thread::spawn(move || {
            for future in futures {
                future.set_result(0).unwrap();
            }
        });
        assert_eq!(finishing.flatten().count(), 3);
        completer.join().unwrap();
    });
}

// ---- Maps

#[test]
fn map_dropped_half_way_cancels_what_has_not_started() {
    explore(|| {
        let pool = pool(1);
        let (gate, closed) = mpsc::channel::<()>();
        let last_ran = Arc::new(Mutex::new(false));
        let (closed, ran) = (Mutex::new(closed), last_ran.clone());
        let running = Arc::new(Barrier::new(2));
        let started = running.clone();
        let call = move |n| match n {
            0 => {}
            1 => {
                started.wait();
                let _ = closed.lock().unwrap().recv();
            }
            _ => *ran.lock().unwrap() = true,
        };
        let mut results = pool.map(call, 0..3).unwrap();
        results.next().unwrap().unwrap();
        running.wait();
        drop(results);
        drop(gate);
        pool.shutdown();
        assert!(!*last_ran.lock().unwrap());
    });
}

#[test]
fn buffered_map_dropped_half_way() {
    explore(|| {
        let pool = pool(2);
        let options = MapOptions::new().buffersize(2);
        let mut results = pool.map_with(|n| n + 1, 0.., options).unwrap();
        assert_eq!(results.next().unwrap().unwrap(), 1);
        drop(results);
        pool.shutdown();
        assert_eq!(pool.queue_size(), 0);
    });
}

#[test]
fn map_outlives_its_pool() {
    explore(|| {
        let pool = pool(2);
        let results = pool.map(|n| n + 1, 0..3).unwrap();
        drop(pool);
        let results: Vec<i32> = results.map(Result::unwrap).collect();
        assert_eq!(results, [1, 2, 3]);
    });
}

#[test]
fn map_races_shutdown() {
    explore(|| {
        let pool = pool(2);
        let other = pool.clone();
        let shutting = thread::spawn(move || {
            other.shutdown_with(ShutdownOptions::new().cancel_futures(true));
        });
        if let Ok(results) = pool.map(|n| n + 1, 0..2) {
            for result in results {
                assert!(matches!(result, Ok(_) | Err(Error::Cancelled)));
            }
        }
        shutting.join().unwrap();
    });
}

// ---- Awaiting

/// Sleeps until it is woken as a `Waker`.
#[derive(Default)]
struct Signal {
    woken: Mutex<bool>,
    condvar: Condvar,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        *self.woken.lock().unwrap() = true;
        self.condvar.notify_one();
    }
}

impl Signal {
    fn wait(&self) {
        let mut woken = self.woken.lock().unwrap();
        while !*woken {
            woken = self.condvar.wait(woken).unwrap();
        }
    }
}

/// Polls with a new waker each time, as a task does that moves between executors, and trusts only
/// the last of them.
fn block_on(mut future: Future<i32>, polls: usize) -> Result<i32, Error> {
    loop {
        let mut last = None;
        for _ in 0..polls {
            let signal = Arc::new(Signal::default());
            let waker = Waker::from(signal.clone());
            let mut context = Context::from_waker(&waker);
            if let Poll::Ready(output) = Pin::new(&mut future).poll(&mut context) {
                return output;
            }
            last = Some(signal);
        }
        last.unwrap().wait();
    }
}

#[test]
fn awaiting_races_completion() {
    for polls in 1..=2 {
        explore(move || {
            let future = Future::new();
            let (one, other) = (future.clone(), future.clone());
            let first = thread::spawn(move || block_on(one, polls).unwrap());
            let second = thread::spawn(move || block_on(other, polls).unwrap());
            future.set_result(7).unwrap();
            assert_eq!(first.join().unwrap(), 7);
            assert_eq!(second.join().unwrap(), 7);
        });
    }
}

#[test]
fn awaiting_races_cancel_and_is_given_up() {
    explore(|| {
        let future = Future::<i32>::new();
        let (one, mut other) = (future.clone(), future.clone());
        let awaiting = thread::spawn(move || block_on(one, 2));
        let giving_up = thread::spawn(move || {
            let waker = Waker::from(Arc::new(Signal::default()));
            let _ = Pin::new(&mut other).poll(&mut Context::from_waker(&waker));
        });
        assert!(future.cancel());
        assert!(matches!(awaiting.join().unwrap(), Err(Error::Cancelled)));
        giving_up.join().unwrap();
    });
}
