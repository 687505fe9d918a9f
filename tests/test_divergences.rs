//! One test, or a few, for each row of the table of differences in `docs/divergences.md`: situations
//! in which CPython hangs, loses a task or a worker, or cannot be followed by Rust. And bad input.

mod support;

use concurrent_futures::{
    as_completed, wait, BrokenThreadPool, Error, Exception, Executor, Future, MapOptions,
    ShutdownOptions, State, SubmitError, ThreadPoolExecutor, ALL_COMPLETED, FIRST_COMPLETED,
    FIRST_EXCEPTION,
};
use std::sync::{mpsc, Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;
use support::{child, is_child, logged, threads_named, until, watchdog, Count, Gate, OnDrop};
use support::{rounds, OpenAtEnd, Random};

/// A pool of `n` workers, each of them busy until the gate opens.
fn busy_pool(n: usize) -> (ThreadPoolExecutor, Gate) {
    let pool = ThreadPoolExecutor::new(n).unwrap();
    let gate = Gate::new();
    let started = Arc::new(Barrier::new(n + 1));
    for _ in 0..n {
        let (gate, started) = (gate.clone(), Arc::clone(&started));
        pool.submit(move || {
            started.wait();
            gate.wait();
        })
        .unwrap();
    }
    started.wait();
    (pool, gate)
}

fn cancel_now() -> ShutdownOptions {
    ShutdownOptions::new().wait(false).cancel_futures(true)
}

// 1: a future of a pool is cancelled, and no worker will pick it up soon, or ever.

#[test]
fn row_01_cancelling_a_pools_future_tells_whoever_waits_at_once() {
    watchdog("waiting for a cancelled future of a busy pool", |steps| {
        for round in 0..30 {
            let (pool, gate) = busy_pool(1);
            let _end = OpenAtEnd(gate.clone());
            let ran = Count::new();
            let its_ran = ran.clone();
            let future = pool.submit(move || its_ran.add(1)).unwrap();
            let waiting = Barrier::new(6);
            thread::scope(|scope| {
                let mut threads = Vec::new();
                for return_when in [FIRST_COMPLETED, FIRST_EXCEPTION, ALL_COMPLETED] {
                    let (future, waiting) = (&future, &waiting);
                    threads.push(scope.spawn(move || {
                        waiting.wait();
                        let waited = wait(vec![future.clone()], None, return_when);
                        assert!(waited.done.contains(future) && waited.not_done.is_empty());
                    }));
                }
                threads.push(scope.spawn(|| {
                    waiting.wait();
                    let yielded: Vec<_> = as_completed(vec![future.clone()], None)
                        .map(Result::unwrap)
                        .collect();
                    assert!(
                        yielded.len() == 1 && yielded[0] == future,
                        "told exactly once"
                    );
                }));
                threads.push(scope.spawn(|| {
                    waiting.wait();
                    assert!(matches!(future.result(None), Err(Error::Cancelled)));
                }));
                steps.at(format!("round {round}: cancel while five threads wait"));
                waiting.wait();
                if round % 2 == 0 {
                    // So that those who wait have most likely installed their waiters.
                    thread::sleep(Duration::from_millis(2));
                }
                assert!(future.cancel());
                assert_eq!(future.state(), State::CancelledAndNotified);
                for (number, thread) in threads.into_iter().enumerate() {
                    steps.at(format!("round {round}: join waiting thread {number}"));
                    thread.join().unwrap();
                }
            });
            steps.at(format!("round {round}: wait for what is cancelled already"));
            assert!(future.cancel(), "again");
            let waited = wait(vec![future.clone()], None, ALL_COMPLETED);
            assert_eq!(waited.done.len(), 1);
            assert_eq!(as_completed(vec![future.clone()], None).count(), 1);

            steps.at(format!(
                "round {round}: the worker skips the cancelled call"
            ));
            gate.open();
            assert_eq!(pool.submit(|| 7).unwrap().result(None).unwrap(), 7);
            assert_eq!(ran.get(), 0);
            assert_eq!(future.state(), State::CancelledAndNotified);
            assert_eq!(logged(&format!("{future:?}")), 0);
        }
    });
}

#[test]
fn row_01_shutdown_that_cancels_tells_whoever_waits() {
    watchdog("waiting over shutdown(cancel_futures)", |steps| {
        let (pool, gate) = busy_pool(2);
        let _end = OpenAtEnd(gate.clone());
        let futures: Vec<_> = (0..50).map(|n| pool.submit(move || n).unwrap()).collect();
        let (sender, installed) = mpsc::channel();
        let waiting = {
            let futures = futures.clone();
            thread::spawn(move || {
                let completed = as_completed(futures.clone(), None);
                sender.send(()).unwrap();
                let yielded = completed.map(Result::unwrap).count();
                (wait(futures, None, ALL_COMPLETED).done.len(), yielded)
            })
        };
        installed.recv().unwrap();
        pool.shutdown_with(cancel_now());
        steps.at("wait for the cancelled futures, the workers still busy");
        assert_eq!(waiting.join().unwrap(), (50, 50));
        assert!(futures
            .iter()
            .all(|f| f.state() == State::CancelledAndNotified));
        steps.at("wait once more, from the start");
        assert_eq!(wait(futures, None, ALL_COMPLETED).done.len(), 50);
    });
}

#[test]
fn row_01_a_future_of_nobodys_keeps_the_two_steps() {
    watchdog("a bare future", |_| {
        let future = Future::<i32>::new();
        assert!(future.cancel());
        assert_eq!(future.state(), State::Cancelled);
        let waited = wait(vec![future.clone()], Duration::ZERO, FIRST_COMPLETED);
        assert!(waited.not_done.contains(&future));
        let mut completed = as_completed(vec![future.clone()], Duration::ZERO);
        assert!(completed.next().unwrap().is_err());
        let mut completed = as_completed(vec![future.clone()], None);
        assert!(!future.set_running_or_notify_cancel().unwrap());
        assert_eq!(future.state(), State::CancelledAndNotified);
        assert_eq!(completed.next().unwrap().unwrap(), future);
        assert!(completed.next().is_none());
        let waited = wait(vec![future.clone()], None, ALL_COMPLETED);
        assert!(waited.done.contains(&future));
        assert!(future.set_running_or_notify_cancel().is_err());
    });
}

// 2: a done-callback uses the executor that is completing its future.

#[test]
fn row_02_a_callback_uses_the_pool_that_is_cancelling_its_future() {
    watchdog("a callback within shutdown(cancel_futures)", |steps| {
        let (pool, gate) = busy_pool(1);
        let _end = OpenAtEnd(gate.clone());
        let (sender, receiver) = mpsc::channel();
        let future = pool.submit(|| ()).unwrap();
        let (its_pool, its_steps) = (pool.clone(), steps.clone());
        future.add_done_callback(move |future| {
            its_steps.at("submit in the callback");
            let refused = its_pool.submit(|| ()).unwrap_err();
            its_steps.at("shut down in the callback");
            its_pool.shutdown_with(ShutdownOptions::new().wait(false));
            its_pool.shutdown_with(cancel_now());
            let seen = (its_pool.queue_size(), its_pool.thread_count());
            sender.send((refused, seen, future.cancelled())).unwrap();
        });
        pool.shutdown_with(cancel_now());
        let (refused, seen, cancelled) = receiver.try_recv().expect("called before it returns");
        assert!(matches!(refused, SubmitError::Shutdown));
        assert_eq!(seen, (0, 1));
        assert!(cancelled);
    });
}

#[test]
fn row_02_a_callback_uses_the_pool_whose_initializer_failed() {
    watchdog("a callback within a failing initializer", |steps| {
        logged("");
        let gate = Gate::new();
        let its_gate = gate.clone();
        let pool = ThreadPoolExecutor::builder()
            .max_workers(1)
            .try_initializer(move || {
                its_gate.wait();
                Err(Exception::msg("no"))
            })
            .build()
            .unwrap();
        let (sender, receiver) = mpsc::channel();
        let future = pool.submit(|| ()).unwrap();
        let (its_pool, its_steps) = (pool.clone(), steps.clone());
        future.add_done_callback(move |_| {
            its_steps.at("submit in the callback");
            let refused = its_pool.submit(|| ()).unwrap_err();
            its_steps.at("shut down in the callback, which a worker runs");
            its_pool.shutdown();
            sender.send(refused).unwrap();
        });
        gate.open();
        assert!(matches!(receiver.recv().unwrap(), SubmitError::Broken(_)));
        steps.at("shut down from outside");
        pool.shutdown();
    });
}

// 3: the initializer fails while a cancelled future is queued.

#[test]
fn row_03_a_failing_initializer_completes_every_queued_future() {
    watchdog("futures of a broken pool", |steps| {
        logged("");
        for panics in [false, true] {
            let gate = Gate::new();
            let its_gate = gate.clone();
            let pool = ThreadPoolExecutor::builder()
                .max_workers(1)
                .try_initializer(move || {
                    its_gate.wait();
                    if panics {
                        panic!("initializer");
                    }
                    Err(Exception::msg("initializer"))
                })
                .build()
                .unwrap();
            let futures: Vec<_> = (0..9).map(|n| pool.submit(move || n).unwrap()).collect();
            assert!(futures[1].cancel() && futures[4].cancel() && futures[8].cancel());
            gate.open();
            for (number, future) in futures.iter().enumerate() {
                steps.at(format!("result of future {number}, panics: {panics}"));
                match future.result(None) {
                    Err(Error::Cancelled) => assert!([1, 4, 8].contains(&number)),
                    Err(Error::Exception(exception)) => {
                        assert!(exception.downcast_ref::<BrokenThreadPool>().is_some());
                        assert!(![1, 4, 8].contains(&number));
                    }
                    other => panic!("future {number}: {other:?}"),
                }
            }
            steps.at("wait for all of them");
            assert_eq!(wait(futures, None, ALL_COMPLETED).done.len(), 9);
            steps.at("shutdown");
            pool.shutdown();
        }
    });
}

// 4: somebody else completes a future of the pool's.

#[test]
fn row_04_a_worker_survives_a_running_future_that_others_complete() {
    watchdog(
        "a pool of one whose running future was completed",
        |steps| {
            logged("");
            let pool = ThreadPoolExecutor::new(1).unwrap();
            for _ in 0..3 {
                let (gate, started) = (Gate::new(), Gate::new());
                let (its_gate, its_started) = (gate.clone(), started.clone());
                let future = pool
                    .submit(move || {
                        its_started.open();
                        its_gate.wait();
                        1
                    })
                    .unwrap();
                started.wait();
                let before = logged("Exception in worker");
                future.set_result(99).unwrap();
                gate.open();
                steps.at("the next call of the same worker");
                assert_eq!(pool.submit(|| 2).unwrap().result(None).unwrap(), 2);
                assert_eq!(future.result(None).unwrap(), 99);
                assert!(logged("Exception in worker") > before);
            }
            assert_eq!(pool.thread_count(), 1);
            pool.shutdown();
        },
    );
}

#[test]
fn row_04_a_worker_survives_a_queued_future_that_others_complete() {
    watchdog(
        "a pool of one whose queued futures were completed",
        |steps| {
            logged("");
            let (pool, gate) = busy_pool(1);
            let ran = Count::new();
            let submit = || {
                let ran = ran.clone();
                let call = move || {
                    ran.add(1);
                    1
                };
                pool.submit(call).unwrap()
            };
            let (value, error, running) = (submit(), submit(), submit());
            value.set_result(99).unwrap();
            error.set_exception(Exception::msg("outside")).unwrap();
            assert!(running.set_running_or_notify_cancel().unwrap());
            gate.open();
            steps.at("the next call of the same worker");
            assert_eq!(pool.submit(|| 2).unwrap().result(None).unwrap(), 2);
            assert_eq!(value.result(None).unwrap(), 99);
            assert_eq!(
                error.exception(None).unwrap().unwrap().to_string(),
                "outside"
            );
            // Nobody but a worker has this call, so a worker runs it all the same.
            assert_eq!(running.result(None).unwrap(), 1);
            assert_eq!(ran.get(), 1);
            assert!(logged("in unexpected state: FINISHED") >= 2);
            assert!(logged("in unexpected state: RUNNING") >= 1);
            pool.shutdown();
        },
    );
}

// 5: a worker shuts its own pool down and waits.

#[test]
fn row_05_a_worker_shuts_its_own_pool_down_and_waits() {
    watchdog("shutdown by a worker", |steps| {
        for workers in [1, 3] {
            let pool = ThreadPoolExecutor::new(workers).unwrap();
            let all_there = Arc::new(Barrier::new(workers));
            let futures: Vec<_> = (0..workers)
                .map(|_| {
                    let (pool, all_there) = (pool.clone(), Arc::clone(&all_there));
                    pool.clone()
                        .submit(move || {
                            all_there.wait();
                            pool.shutdown();
                            pool.shutdown_with(cancel_now().wait(true));
                        })
                        .unwrap()
                })
                .collect();
            let in_callback = Gate::new();
            let (its_pool, its_gate) = (pool.clone(), in_callback.clone());
            futures[0].add_done_callback(move |_| {
                its_pool.shutdown();
                its_gate.open();
            });
            for future in futures {
                steps.at(format!("{workers} workers that shut their pool down"));
                future.result(None).unwrap();
            }
            steps.at("the callback");
            in_callback.wait();
            steps.at("shutdown from outside");
            pool.shutdown();
        }
    });
}

// 6: no thread can be started.

#[test]
fn row_06_without_a_thread_the_call_is_refused_and_not_kept() {
    watchdog("a pool whose threads cannot start", |_| {
        // More than any address space has.
        let pool = ThreadPoolExecutor::builder()
            .max_workers(2)
            .thread_stack_size(1 << 60)
            .build()
            .unwrap();
        for _ in 0..3 {
            let dropped = Count::new();
            let its_dropped = dropped.clone();
            let captured = OnDrop::new(move || its_dropped.add(1));
            let refused = pool.submit(move || drop(captured)).unwrap_err();
            assert!(matches!(refused, SubmitError::Thread(_)), "{refused:?}");
            assert_eq!(dropped.get(), 1, "the call is not kept");
            assert_eq!((pool.queue_size(), pool.thread_count()), (0, 0));
        }
        assert!(pool.map(|n: i32| n, 0..3).is_err());
        pool.shutdown();
    });
}

#[test]
fn row_06_with_a_living_worker_the_call_waits_its_turn() {
    const ROLE: &str = "one thread and no more";
    if is_child(ROLE) {
        // The stack of one worker fits into the memory that the process may have; two do not.
        let pool = ThreadPoolExecutor::builder()
            .max_workers(4)
            .thread_stack_size(600 << 20)
            .build()
            .unwrap();
        let gate = Gate::new();
        let its_gate = gate.clone();
        let first = pool.submit(move || its_gate.wait()).expect("one thread");
        let others: Vec<_> = (0..20)
            .map(|n| {
                pool.submit(move || n)
                    .expect("kept for the worker there is")
            })
            .collect();
        assert_eq!(
            pool.thread_count(),
            1,
            "the limit is too high for this test"
        );
        gate.open();
        first.result(None).unwrap();
        let sum: i32 = others.iter().map(|f| f.result(None).unwrap()).sum();
        assert_eq!(sum, 190);
        pool.shutdown();
        println!("all calls were done");
        return;
    }
    let test = "row_06_with_a_living_worker_the_call_waits_its_turn";
    let ended = child(test, ROLE, "ulimit -v 1100000");
    assert!(
        ended.code == Some(0) && ended.stdout.contains("all calls were done"),
        "{ended:?}"
    );
}

// 7: idle accounting.

#[test]
fn row_07_fewer_calls_than_workers_all_run_at_once() {
    watchdog("calls that meet at a barrier", |steps| {
        let mut random = Random::new(7);
        for round in rounds(400, 400) {
            let workers = 1 + random.below(4);
            let pool = ThreadPoolExecutor::new(workers).unwrap();
            for meeting in 0..8 {
                // Earlier calls, whose worker may be done, or just going idle, or not.
                for _ in 0..random.below(workers + 1) {
                    let earlier = pool.submit(|| ()).unwrap();
                    if random.once_in(2) {
                        earlier.result(None).unwrap();
                    }
                }
                random.pause();
                let k = 1 + random.below(workers);
                let barrier = Arc::new(Barrier::new(k));
                let futures: Vec<_> = (0..k)
                    .map(|_| {
                        let barrier = Arc::clone(&barrier);
                        pool.submit(move || barrier.wait().is_leader()).unwrap()
                    })
                    .collect();
                for future in futures {
                    steps.at(format!(
                        "round {round}, meeting {meeting}: {k} calls on {workers} workers, {} threads",
                        pool.thread_count()
                    ));
                    future.result(None).unwrap();
                }
                assert!(pool.thread_count() <= workers);
            }
            steps.at(format!("round {round}: shutdown"));
            pool.shutdown();
        }
    });
}

#[test]
fn row_07_a_call_is_run_that_comes_as_the_worker_goes_idle() {
    watchdog("a call in the moment before a worker sleeps", |steps| {
        let mut random = Random::new(77);
        for workers in [1, 2] {
            let pool = ThreadPoolExecutor::new(workers).unwrap();
            for n in rounds(10_000, 100_000) {
                if n % 100 == 0 {
                    steps.at(format!("around call {n} on {workers} workers"));
                }
                // The moment is short, and some nanoseconds after the result of the call before.
                let future = pool.submit(|| ()).unwrap();
                let mut looks = 0;
                while !future.done() {
                    looks += 1;
                    if looks > 3000 {
                        thread::yield_now();
                    }
                }
                for _ in 0..random.below(100) {
                    std::hint::spin_loop();
                }
            }
            assert_eq!(pool.thread_count(), 1);
            steps.at("shutdown");
            pool.shutdown();
        }
    });
}

#[test]
fn row_07_an_idle_worker_is_used_before_a_thread_is_started() {
    watchdog("one call after another", |steps| {
        for round in rounds(40, 40) {
            let pool = ThreadPoolExecutor::new(8).unwrap();
            for n in 0..200 {
                steps.at(format!("round {round}, call {n}"));
                let future = pool.submit(move || n).unwrap();
                // Half of the rounds look all the time, so that the next call often comes while the
                // worker is on its way from the result to its sleep.
                let mut looks = 0;
                while round % 2 == 0 && !future.done() {
                    looks += 1;
                    if looks > 300 {
                        thread::yield_now();
                    }
                }
                assert_eq!(future.result(None).unwrap(), n);
                assert_eq!(pool.thread_count(), 1, "after call {n}");
            }
            pool.shutdown();
        }
    });
}

// 8: spurious wake-ups.

/// Takes a while to clone. Meanwhile others who ask for it sleep, and then all of them wake up while
/// only one of them can have it: a wake-up that is not theirs.
struct SlowToClone(u64);

impl Clone for SlowToClone {
    fn clone(&self) -> Self {
        for _ in 0..3 {
            thread::yield_now();
        }
        thread::sleep(Duration::from_micros(200));
        SlowToClone(self.0)
    }
}

#[test]
fn row_08_a_wake_up_that_is_not_the_result_is_slept_through() {
    watchdog("results of a value that is slow to clone", |steps| {
        for round in 0..10 {
            let future = Future::new();
            let barrier = Barrier::new(17);
            thread::scope(|scope| {
                for number in 0..16 {
                    let (future, barrier) = (&future, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        // Hours, or for ever: none of them may end early.
                        let timeout = (number % 2 == 0).then(|| Duration::from_secs(9999));
                        for _ in 0..10 {
                            let value: SlowToClone = future.result(timeout).expect("the value");
                            assert_eq!(value.0, 42);
                        }
                    });
                }
                steps.at(format!("round {round}: sixteen threads take the result"));
                barrier.wait();
                future.set_result(SlowToClone(42)).unwrap();
            });
        }
    });
}

// 9: map with a buffersize.

/// Never runs anything, and keeps what is submitted pending.
struct NeverRuns {
    futures: Count,
}

impl Executor for NeverRuns {
    fn try_submit<F, T, E>(&self, _: F) -> Result<Future<T>, SubmitError>
    where
        F: FnOnce() -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Into<Exception>,
    {
        self.futures.add(1);
        Ok(Future::new())
    }

    fn shutdown_with(&self, _: ShutdownOptions) {}
}

#[test]
fn row_09_map_holds_no_more_than_buffersize_calls() {
    watchdog("map(buffersize)", |steps| {
        for buffersize in 1..4 {
            let executor = NeverRuns {
                futures: Count::new(),
            };
            let taken = Count::new();
            let its_taken = taken.clone();
            let items = (0..).inspect(move |_| its_taken.add(1));
            let options = MapOptions::new()
                .buffersize(buffersize)
                .timeout(Duration::from_millis(5));
            let mut map = executor.map_with(|n: i32| n, items, options).unwrap();
            assert_eq!(executor.futures.get(), buffersize);
            // It waits for the first result, in vain; meanwhile it must not submit.
            steps.at("a result that never comes");
            assert!(matches!(map.next(), Some(Err(Error::Timeout))));
            assert_eq!(executor.futures.get(), buffersize, "while it waited");
            assert_eq!(taken.get(), buffersize, "items taken");
        }
        // And in a real pool.
        let pool = ThreadPoolExecutor::new(3).unwrap();
        let taken = Count::new();
        let its_taken = taken.clone();
        let items = (0..300).inspect(move |_| its_taken.add(1));
        let map = pool
            .map_with(|n| n, items, MapOptions::new().buffersize(5))
            .unwrap();
        for (expected, result) in map.enumerate() {
            steps.at(format!("result {expected}"));
            assert_eq!(result.unwrap(), expected);
            assert!(taken.get() <= expected + 1 + 5);
        }
        assert_eq!(taken.get(), 300);
        pool.shutdown();
    });
}

// 10: time-outs that no clock can express.

#[test]
fn row_10_a_timeout_too_large_for_the_clock_is_none() {
    watchdog("enormous time-outs", |steps| {
        let pool = ThreadPoolExecutor::new(1).unwrap();
        for timeout in [
            Duration::MAX,
            Duration::from_secs(u64::MAX),
            Duration::from_secs(u64::MAX / 2),
            Duration::from_secs(i64::MAX as u64 - 1),
            Duration::from_secs(1 << 62),
            Duration::from_secs(1 << 40),
        ] {
            let slow = || {
                pool.submit(|| {
                    thread::sleep(Duration::from_millis(3));
                    5
                })
                .unwrap()
            };
            steps.at(format!("result({timeout:?})"));
            assert_eq!(slow().result(timeout).unwrap(), 5);
            steps.at(format!("take_result({timeout:?})"));
            assert_eq!(slow().take_result(timeout).unwrap(), 5);
            steps.at(format!("exception({timeout:?})"));
            assert!(slow().exception(timeout).unwrap().is_none());
            steps.at(format!("wait({timeout:?})"));
            let waited = wait(vec![slow()], timeout, ALL_COMPLETED);
            assert_eq!((waited.done.len(), waited.not_done.len()), (1, 0));
            steps.at(format!("as_completed({timeout:?})"));
            assert_eq!(
                as_completed(vec![slow(), slow()], timeout)
                    .filter(Result::is_ok)
                    .count(),
                2
            );
            steps.at(format!("map(timeout = {timeout:?})"));
            let map = pool.map_with(|n: i32| n, 0..4, MapOptions::new().timeout(timeout));
            assert_eq!(map.unwrap().map(Result::unwrap).sum::<i32>(), 6);
        }
        pool.shutdown();
    });
}

// 11: the last reference to a pool is dropped.

#[test]
fn row_11_dropping_the_last_reference_joins_nothing_and_loses_nothing() {
    watchdog("a pool that is dropped", |steps| {
        let pool = ThreadPoolExecutor::builder()
            .max_workers(2)
            .thread_name_prefix("row11a")
            .build()
            .unwrap();
        let gate = Gate::new();
        let _end = OpenAtEnd(gate.clone());
        let futures: Vec<_> = (0..40)
            .map(|n| {
                let gate = gate.clone();
                pool.submit(move || {
                    gate.wait();
                    n
                })
                .unwrap()
            })
            .collect();
        steps.at("drop the pool while its workers are busy: it must not wait");
        drop(pool);
        assert!(!futures.iter().any(Future::done));
        gate.open();
        for (number, future) in futures.iter().enumerate() {
            steps.at(format!("future {number} of the dropped pool"));
            assert_eq!(future.result(None).unwrap(), number);
        }
        until(steps, "the workers are gone", || {
            threads_named("row11a") == 0
        });
    });
}

#[test]
fn row_11_a_worker_drops_the_last_reference() {
    watchdog("a pool that its own worker drops", |steps| {
        for round in 0..50 {
            let pool = ThreadPoolExecutor::builder()
                .max_workers(1 + round % 3)
                .thread_name_prefix("row11b")
                .build()
                .unwrap();
            let gate = Gate::new();
            let its_gate = gate.clone();
            let reference = pool.clone();
            let future = pool
                .submit(move || {
                    its_gate.wait();
                    drop(reference);
                    round
                })
                .unwrap();
            let later: Vec<_> = (0..5).map(|n| pool.submit(move || n).unwrap()).collect();
            drop(pool);
            gate.open();
            steps.at(format!("round {round}: the call that drops its pool"));
            assert_eq!(future.result(None).unwrap(), round);
            steps.at(format!("round {round}: those queued behind it"));
            assert_eq!(
                later.iter().map(|f| f.result(None).unwrap()).sum::<i32>(),
                10
            );
            until(steps, "the workers are gone", || {
                threads_named("row11b") == 0
            });
        }
    });
}

#[test]
fn row_11_idle_workers_end_when_the_pool_is_dropped() {
    watchdog("idle workers of a dropped pool", |steps| {
        let pool = ThreadPoolExecutor::builder()
            .max_workers(8)
            .thread_name_prefix("row11c")
            .build()
            .unwrap();
        let barrier = Arc::new(Barrier::new(8));
        for _ in 0..8 {
            let barrier = Arc::clone(&barrier);
            pool.submit(move || barrier.wait().is_leader()).unwrap();
        }
        until(steps, "all workers have started", || {
            threads_named("row11c") == 8
        });
        drop(pool);
        until(steps, "the workers are gone", || {
            threads_named("row11c") == 0
        });
    });
}

// Bad input: a clear error or the documented result, never a panic and never a hang.

#[test]
fn bad_input_to_the_constructor() {
    let error = ThreadPoolExecutor::new(0).unwrap_err();
    assert_eq!(error.to_string(), "max_workers must be greater than 0");
    let error = ThreadPoolExecutor::builder()
        .max_workers(0)
        .build()
        .unwrap_err();
    assert_eq!(error.to_string(), "max_workers must be greater than 0");

    for prefix in ["\0", "a\0b", "a\0"] {
        let error = ThreadPoolExecutor::builder()
            .thread_name_prefix(prefix)
            .build()
            .unwrap_err();
        assert!(error.to_string().contains("NUL"), "{error}");
    }
    watchdog("pools with odd but valid options", |_| {
        let long = "x".repeat(100_000);
        for prefix in ["", " ", "ä€𝄞", long.as_str()] {
            let pool = ThreadPoolExecutor::builder()
                .max_workers(usize::MAX)
                .thread_name_prefix(prefix)
                .thread_stack_size(1)
                .build()
                .unwrap();
            assert_eq!(pool.submit(|| 1).unwrap().result(None).unwrap(), 1);
            pool.shutdown();
        }
    });
}

#[test]
fn bad_input_zero_as_a_timeout() {
    watchdog("time-outs of zero", |_| {
        let (pool, gate) = busy_pool(1);
        let _end = OpenAtEnd(gate);
        let pending = pool.submit(|| 1).unwrap();
        assert!(matches!(
            pending.result(Duration::ZERO),
            Err(Error::Timeout)
        ));
        assert!(matches!(
            pending.take_result(Duration::ZERO),
            Err(Error::Timeout)
        ));
        assert!(matches!(
            pending.exception(Duration::ZERO),
            Err(Error::Timeout)
        ));
        for return_when in [FIRST_COMPLETED, FIRST_EXCEPTION, ALL_COMPLETED] {
            let waited = wait(vec![pending.clone()], Duration::ZERO, return_when);
            assert_eq!((waited.done.len(), waited.not_done.len()), (0, 1));
        }
        let finished = Future::new();
        finished.set_result(3).unwrap();
        assert_eq!(finished.result(Duration::ZERO).unwrap(), 3);
        let both = vec![pending.clone(), finished.clone()];
        let mut completed = as_completed(both.clone(), Duration::ZERO);
        assert_eq!(completed.next().unwrap().unwrap(), finished);
        let error = completed.next().unwrap().unwrap_err();
        assert_eq!(error.to_string(), "1 (of 2) futures unfinished");
        assert!(completed.next().is_none() && completed.next().is_none());
        let waited = wait(both, Duration::ZERO, ALL_COMPLETED);
        assert_eq!((waited.done.len(), waited.not_done.len()), (1, 1));
        let mut map = pool
            .map_with(|n: i32| n, 0..3, MapOptions::new().timeout(Duration::ZERO))
            .unwrap();
        assert!(matches!(map.next(), Some(Err(Error::Timeout))));
        assert!(map.next().is_none());
    });
}

#[test]
fn bad_input_no_futures_and_the_same_future_many_times() {
    watchdog("wait and as_completed", |_| {
        for return_when in [FIRST_COMPLETED, FIRST_EXCEPTION, ALL_COMPLETED] {
            let waited = wait(Vec::<Future<()>>::new(), None, return_when);
            assert!(waited.done.is_empty() && waited.not_done.is_empty());
        }
        assert_eq!(as_completed(Vec::<Future<()>>::new(), None).count(), 0);
        assert_eq!(
            as_completed(Vec::<Future<()>>::new(), Duration::ZERO).count(),
            0
        );

        let (pool, gate) = busy_pool(1);
        let future = pool.submit(|| 1).unwrap();
        let many = vec![future.clone(); 10_000];
        let mut completed = as_completed(many.clone(), Duration::ZERO);
        assert_eq!(completed.next().unwrap().unwrap_err().total(), 1);
        assert_eq!(
            wait(many.clone(), Duration::ZERO, ALL_COMPLETED)
                .not_done
                .len(),
            1
        );
        let mut completed = as_completed(many.clone(), None);
        gate.open();
        assert_eq!(wait(many.clone(), None, ALL_COMPLETED).done.len(), 1);
        assert_eq!(completed.next().unwrap().unwrap(), future);
        assert!(completed.next().is_none());
        assert_eq!(as_completed(many, None).count(), 1);
        pool.shutdown();
    });
}

#[test]
fn bad_input_done_and_pending_futures_given_twice() {
    watchdog("wait and as_completed", |_| {
        let (a, b) = (Future::new(), Future::new());
        let fs = vec![b.clone(), a.clone(), a.clone(), b.clone()];
        b.set_result(1).unwrap();
        let waited = wait(fs.clone(), None, FIRST_COMPLETED);
        assert!(waited.done.len() == 1 && waited.done.contains(&b));
        assert!(waited.not_done.len() == 1 && waited.not_done.contains(&a));
        a.set_result(2).unwrap();
        let waited = wait(fs, None, ALL_COMPLETED);
        assert!(waited.done.len() == 2 && waited.not_done.is_empty());
        // The first of several handles counts, whichever future has the lower address.
        for [a, b] in [[&a, &b], [&b, &a]] {
            let fs = [a, b, b, a].map(Clone::clone);
            let completed = as_completed(fs, None).map(Result::unwrap);
            assert!(completed.eq([a.clone(), b.clone()]));
        }
    });
}

#[test]
fn bad_input_futures_that_nobody_else_has() {
    watchdog("wait and as_completed", |_| {
        // None of them can get done any more, if it is not.
        for failing in 0..3 {
            let fs = (0..4).map(|n| {
                let future = Future::new();
                match n {
                    3 => {}
                    n if n == failing => future.set_exception(Exception::msg("no")).unwrap(),
                    n => future.set_result(n).unwrap(),
                }
                future
            });
            let waited = wait(fs, None, FIRST_EXCEPTION);
            assert_eq!((waited.done.len(), waited.not_done.len()), (3, 1));
        }
        let fs = (0..100).map(|n| {
            let future = Future::new();
            future.set_result(n).unwrap();
            future
        });
        let values = as_completed(fs, None).map(|future| future.unwrap().result(None).unwrap());
        assert!(values.eq(0..100));
    });
}

#[test]
fn bad_input_to_map() {
    watchdog("map", |_| {
        let pool = ThreadPoolExecutor::new(1).unwrap();
        let error = |options| match pool.map_with(|n: i32| n, 0..3, options) {
            Err(SubmitError::Value(error)) => error.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            error(MapOptions::new().buffersize(0)),
            "buffersize must be None or > 0"
        );
        assert_eq!(
            error(MapOptions::new().chunksize(0)),
            "chunksize must be >= 1."
        );
        let huge = MapOptions::new()
            .buffersize(usize::MAX)
            .chunksize(usize::MAX);
        let sum: i32 = pool
            .map_with(|n| n, 0..100, huge)
            .unwrap()
            .map(Result::unwrap)
            .sum();
        assert_eq!(sum, 4950);
        assert_eq!(pool.map(|n: i32| n, Vec::new()).unwrap().count(), 0);
        pool.shutdown();
        assert!(matches!(
            pool.map(|n: i32| n, 0..3),
            Err(SubmitError::Shutdown)
        ));
    });
}

#[test]
fn bad_input_submitting_during_and_after_shutdown() {
    watchdog("submitting while others shut down", |steps| {
        for round in 0..100 {
            let pool = ThreadPoolExecutor::new(2).unwrap();
            let start = Barrier::new(4);
            let accepted = Mutex::new(Vec::new());
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        start.wait();
                        for n in 0..50 {
                            match pool.submit(move || n) {
                                Ok(future) => accepted.lock().unwrap().push(future),
                                Err(SubmitError::Shutdown) => return,
                                Err(other) => panic!("{other}"),
                            }
                        }
                    });
                }
                steps.at(format!(
                    "round {round}: shutdown while three threads submit"
                ));
                start.wait();
                pool.shutdown();
            });
            steps.at(format!("round {round}: what was accepted is done"));
            let accepted = accepted.into_inner().unwrap();
            assert!(accepted.iter().all(|f| f.state() == State::Finished));
            let error = pool.submit(|| ()).unwrap_err();
            assert_eq!(
                error.to_string(),
                "cannot schedule new futures after shutdown"
            );
            pool.shutdown();
            pool.shutdown_with(cancel_now());
        }
    });
}
