//! What users ask of such a pool, and Python's has not.

mod support;

use concurrent_futures::threading::Event;
use concurrent_futures::{
    as_completed, at_exit, log_unretrieved, wait, AnyFuture, BoundedExecutor, BrokenPromise,
    BrokenThreadPool, Error, Exception, Executor, Future, MapOptions, Promise, ShutdownOptions,
    State, SubmitError, ThreadPoolExecutor, WhenFull, ALL_COMPLETED, FIRST_COMPLETED,
    FIRST_EXCEPTION,
};
use std::cell::Cell;
use std::collections::HashMap;
use std::error::Error as StdError;
use std::num::ParseIntError;
use std::pin::Pin;
use std::sync::{mpsc, Arc, Barrier, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;
use support::{
    child, is_child, logged, rounds, size, until, watchdog, Count, Gate, OnDrop, Random,
};

type Boxed = Box<dyn StdError + Send + Sync>;

fn busy(pool: &impl Executor) -> (Future<()>, Gate) {
    let (started, gate) = (Gate::new(), Gate::new());
    let (its_started, its_gate) = (started.clone(), gate.clone());
    let call = move || {
        its_started.open();
        its_gate.wait();
    };
    let future = pool.submit(call).unwrap();
    started.wait();
    (future, gate)
}

// ---- References

// Futures are hashed by identity, which does not change.
#[allow(clippy::mutable_key_type)]
#[test]
fn references_are_waited_for_and_given_back() {
    let pool = ThreadPoolExecutor::new(2).unwrap();
    let mut pages = HashMap::new();
    for page in ["index", "about"] {
        pages.insert(pool.submit(move || page.len()).unwrap(), page);
    }
    for future in as_completed(pages.keys(), None) {
        let future: &Future<usize> = future.unwrap();
        assert_eq!(future.result(None).unwrap(), pages[future].len());
    }
    let futures: Vec<_> = (0..3).map(|n| pool.submit(move || n).unwrap()).collect();
    let waited = wait(&futures, None, ALL_COMPLETED);
    assert!(futures.iter().all(|future| waited.done.contains(&future)));
    assert_eq!(as_completed(&futures, None).count(), 3);
    let any: Vec<_> = futures.iter().map(AnyFuture::from).collect();
    assert_eq!(wait(&any, None, FIRST_COMPLETED).not_done.len(), 0);
    assert_eq!(as_completed(any.iter(), None).count(), 3);
}

#[test]
fn the_same_reference_twice() {
    watchdog("wait for the same reference twice", |_| {
        let future = Future::<i32>::new();
        let waited = wait([&future, &future], Duration::ZERO, ALL_COMPLETED);
        assert_eq!(waited.not_done.len(), 1);
        assert_eq!(as_completed([&future, &future], Duration::ZERO).count(), 1);
        let any = AnyFuture::from(&future);
        assert_eq!(
            wait([&any, &any], Duration::ZERO, ALL_COMPLETED)
                .not_done
                .len(),
            1
        );
    });
}

// ---- Errors

#[test]
fn calls_fail_with_errors_of_any_kind() {
    let pool = ThreadPoolExecutor::new(1).unwrap();
    let boxed =
        pool.try_submit(|| -> Result<i32, Boxed> { Err("x".parse::<i32>().unwrap_err().into()) });
    let boxed = boxed.unwrap().exception(None).unwrap().unwrap();
    assert!(boxed.downcast_ref::<ParseIntError>().is_some());
    let typed = pool.try_submit(|| "x".parse::<i32>()).unwrap();
    let typed = typed.exception(None).unwrap().unwrap();
    assert_eq!(typed.type_name(), "ParseIntError");
    for future in [
        pool.try_submit(|| Err::<(), _>("no eggs")).unwrap(),
        pool.try_submit(|| Err::<(), _>(String::from("no eggs")))
            .unwrap(),
        pool.try_submit(|| Err::<(), _>(Exception::msg("no eggs")))
            .unwrap(),
    ] {
        let exception = future.exception(None).unwrap().unwrap();
        assert_eq!(
            (exception.type_name(), exception.to_string()),
            ("Exception".into(), "no eggs".into())
        );
    }
    let same = Exception::new("y".parse::<u8>().unwrap_err());
    let its = same.clone();
    let failed = pool.try_submit(move || Err::<(), Exception>(its)).unwrap();
    let failed = failed.exception(None).unwrap().unwrap();
    assert!(failed.downcast_ref::<ParseIntError>().is_some());
    let mapped = pool
        .try_map(|n: i32| if n < 2 { Ok(n) } else { Err("too many") }, 0..5)
        .unwrap();
    assert_eq!(mapped.filter_map(Result::ok).count(), 2);
    let options = MapOptions::new().chunksize(2);
    let mapped = pool
        .try_map_with(|n: i32| Err::<(), _>(format!("{n}")), 0..5, options)
        .unwrap();
    assert_eq!(mapped.last().unwrap().unwrap_err().to_string(), "0");
}

#[test]
fn an_exception_is_carried_through_a_box_and_back() {
    let boxed: Boxed = Exception::new("x".parse::<i32>().unwrap_err()).into();
    assert_eq!(boxed.to_string(), "invalid digit found in string");
    let back = Exception::from_boxed(boxed);
    assert!(back.downcast_ref::<ParseIntError>().is_some());
    let panic: Boxed = Exception::from_panic(Box::new("no eggs")).into();
    assert!(Exception::from_boxed(panic).is_panic());
}

#[test]
fn a_refusal_meets_the_question_mark() {
    fn error(pool: &ThreadPoolExecutor) -> Result<i32, Error> {
        pool.submit(|| 1)?.result(None)
    }
    fn exception(pool: &ThreadPoolExecutor) -> Result<i32, Exception> {
        Ok(pool.submit(|| 1)?.result(None)?)
    }
    fn boxed(pool: &ThreadPoolExecutor) -> Result<i32, Box<dyn StdError>> {
        Ok(pool.submit(|| 1)?.result(None)?)
    }
    let pool = ThreadPoolExecutor::new(1).unwrap();
    assert_eq!(
        (
            error(&pool).unwrap(),
            exception(&pool).unwrap(),
            boxed(&pool).unwrap()
        ),
        (1, 1, 1)
    );
    pool.shutdown();
    match error(&pool) {
        Err(Error::Exception(it)) => {
            assert!(matches!(it.downcast_ref(), Some(SubmitError::Shutdown)));
        }
        other => panic!("{other:?}"),
    }
    assert!(exception(&pool).is_err() && boxed(&pool).is_err());
}

#[test]
fn a_failing_initializer_tells_why() {
    watchdog("a pool whose initializer fails", |_| {
        for panics in [false, true] {
            let gate = Gate::new();
            let its_gate = gate.clone();
            let pool = ThreadPoolExecutor::builder()
                .max_workers(1)
                .try_initializer(move || -> Result<(), Boxed> {
                    its_gate.wait();
                    assert!(!panics, "no eggs");
                    "x".parse::<i32>()?;
                    Ok(())
                })
                .build()
                .unwrap();
            let stranded = pool.submit(|| ()).unwrap();
            gate.open();
            let exception = stranded.exception(None).unwrap().unwrap();
            let broken = exception.downcast_ref::<BrokenThreadPool>().unwrap();
            let refused = pool.submit(|| ()).unwrap_err();
            let executor = match &refused {
                SubmitError::Broken(error) => error,
                other => panic!("{other:?}"),
            };
            for source in [broken.source(), executor.source(), refused.source()] {
                let source = source.unwrap();
                if panics {
                    assert_eq!(source.to_string(), "no eggs");
                } else {
                    assert!(source.downcast_ref::<ParseIntError>().is_some());
                }
            }
        }
    });
}

// ---- Ending in time

#[test]
fn shutdown_says_who_is_still_running() {
    watchdog("shutdown with a time-out", |_| {
        let pool = ThreadPoolExecutor::new(3).unwrap();
        let calls: Vec<_> = (0..2).map(|_| busy(&pool)).collect();
        assert!(!pool.is_shutdown() && !pool.is_terminated());
        let options = ShutdownOptions::new().timeout(Duration::from_millis(5));
        let error = pool.shutdown_timeout(options).unwrap_err();
        assert_eq!(error.to_string(), "2 (of 2) workers still running");
        assert_eq!((error.unfinished(), error.total()), (2, 2));
        assert!(pool.is_shutdown() && !pool.is_terminated());
        pool.shutdown_with(options);
        pool.shutdown_timeout(ShutdownOptions::new().wait(false))
            .unwrap();
        calls[0].1.open();
        calls[0].0.result(None).unwrap();
        assert!(matches!(pool.submit(|| ()), Err(SubmitError::Shutdown)));
        calls[1].1.open();
        pool.shutdown_timeout(ShutdownOptions::new()).unwrap();
        assert!(pool.is_terminated());
        pool.shutdown_timeout(options).unwrap();
    });
}

#[test]
fn whoever_is_told_that_all_have_ended_finds_it_true() {
    watchdog("shutdown_timeout against the end of calls", |_| {
        let mut random = Random::new(1);
        for _ in 0..size(200, 3000) {
            let pool = ThreadPoolExecutor::new(2).unwrap();
            let futures: Vec<_> = (0..2)
                .map(|_| {
                    let mut random = Random::new(random.next());
                    pool.submit(move || random.pause()).unwrap()
                })
                .collect();
            let options =
                ShutdownOptions::new().timeout(Duration::from_micros(random.below(90) as u64));
            match pool.shutdown_timeout(options) {
                Ok(()) => assert!(pool.is_terminated() && futures.iter().all(Future::done)),
                Err(error) => assert!(error.unfinished() > 0),
            }
            pool.shutdown();
            assert!(pool.is_terminated());
        }
    });
}

#[test]
fn a_worker_that_shuts_its_pool_down_is_told_that_it_runs() {
    watchdog("shutdown_timeout by a worker", |_| {
        let pool = ThreadPoolExecutor::new(1).unwrap();
        let its_pool = pool.clone();
        let outcome = pool.submit(move || its_pool.shutdown_timeout(ShutdownOptions::new()));
        let error = outcome.unwrap().result(None).unwrap().unwrap_err();
        assert_eq!(error.to_string(), "1 (of 1) workers still running");
        pool.shutdown();
    });
}

#[test]
fn the_guard_of_at_exit_gives_up_in_time() {
    let role = "the_guard_of_at_exit_gives_up_in_time";
    if is_child(role) {
        let guard = at_exit().timeout(Duration::from_millis(20));
        let pool = ThreadPoolExecutor::new(2).unwrap();
        let (_running, _gate) = busy(&pool);
        drop(guard);
        // A new pool, which takes no calls, does not wait for that one either.
        let late = ThreadPoolExecutor::new(1).unwrap();
        assert!(matches!(
            late.submit(|| ()),
            Err(SubmitError::InterpreterShutdown)
        ));
        println!("child: done");
        std::process::exit(0);
    }
    let ended = child(role, role, ":");
    assert!(ended.stdout.contains("child: done"), "{ended:?}");
    assert!(
        ended.stderr.contains("1 (of 1) workers still running"),
        "{ended:?}"
    );
}

#[test]
fn a_body_that_fails_cancels_what_has_not_begun() {
    watchdog("try_with", |_| {
        for panics in [false, true] {
            let ran = Count::new();
            let its_ran = ran.clone();
            let body = move || {
                let pool = ThreadPoolExecutor::new(1).unwrap();
                pool.try_with(|pool| -> Result<(), Error> {
                    let (_running, gate) = busy(pool);
                    for _ in 0..10 {
                        let (ran, gate) = (its_ran.clone(), gate.clone());
                        let queued = pool.submit(move || ran.add(1))?;
                        // The running call ends only when the others are cancelled.
                        queued.add_done_callback(move |_| gate.open());
                    }
                    assert!(!panics, "no eggs");
                    Err(Error::Timeout)
                })
            };
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            assert_eq!(outcome.is_err(), panics);
            assert_eq!(ran.get(), 0);
        }
        let ran = Count::new();
        let its_ran = ran.clone();
        let ok: Result<i32, Error> = ThreadPoolExecutor::new(1).unwrap().try_with(|pool| {
            for _ in 0..10 {
                let ran = its_ran.clone();
                pool.submit(move || ran.add(1))?;
            }
            Ok(7)
        });
        assert_eq!((ok.unwrap(), ran.get()), (7, 10));
    });
}

// ---- A call that waits for calls of its own pool

fn fibonacci(pool: &ThreadPoolExecutor, n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let its_pool = pool.clone();
    let one = pool.submit(move || fibonacci(&its_pool, n - 1)).unwrap();
    let two = fibonacci(pool, n - 2);
    one.result(None).unwrap() + two
}

fn merge_sort(pool: &ThreadPoolExecutor, mut numbers: Vec<u64>) -> Vec<u64> {
    if numbers.len() < 3 {
        numbers.sort_unstable();
        return numbers;
    }
    let right = numbers.split_off(numbers.len() / 2);
    let its_pool = pool.clone();
    let left = pool.submit(move || merge_sort(&its_pool, numbers)).unwrap();
    let right = merge_sort(pool, right);
    let (mut left, mut right) = (left.take_result(None).unwrap(), right);
    left.append(&mut right);
    left.sort_unstable();
    left
}

#[test]
fn calls_wait_for_calls_of_their_own_pool() {
    watchdog("recursion within one pool", |steps| {
        for workers in [1, 2, 8] {
            let pool = ThreadPoolExecutor::new(workers).unwrap();
            steps.at(format!("fibonacci on {workers}"));
            let its_pool = pool.clone();
            let root = pool.submit(move || fibonacci(&its_pool, 15)).unwrap();
            assert_eq!(root.result(None).unwrap(), 610);
            steps.at(format!("merge sort on {workers}"));
            let mut random = Random::new(7);
            let numbers: Vec<_> = (0..300).map(|_| random.next()).collect();
            let mut sorted = numbers.clone();
            sorted.sort_unstable();
            let its_pool = pool.clone();
            let root = pool.submit(move || merge_sort(&its_pool, numbers)).unwrap();
            assert_eq!(root.take_result(None).unwrap(), sorted);
            pool.shutdown();
        }
    });
}

#[test]
fn every_way_of_waiting_helps() {
    watchdog("waiting in a pool of one", |steps| {
        for workers in [1, 2] {
            let pool = ThreadPoolExecutor::new(workers).unwrap();
            let inner = pool.clone();
            let steps = steps.clone();
            let outer = pool.submit(move || {
                let some = |n: i32| {
                    (0..n)
                        .map(|n| inner.submit(move || n).unwrap())
                        .collect::<Vec<_>>()
                };
                steps.at("exception");
                assert!(some(1)[0].exception(None).unwrap().is_none());
                steps.at("wait");
                assert_eq!(wait(some(5), None, ALL_COMPLETED).done.len(), 5);
                steps.at("wait for the first");
                assert!(!wait(some(5), None, FIRST_COMPLETED).done.is_empty());
                steps.at("as_completed");
                assert_eq!(as_completed(some(5), None).map(Result::unwrap).count(), 5);
                steps.at("as_completed, references");
                assert_eq!(as_completed(&some(5), None).map(Result::unwrap).count(), 5);
                steps.at("map in map");
                let pool = inner.clone();
                let nested = move |n: u64| {
                    pool.map(move |m: u64| n * m, 0..10)
                        .unwrap()
                        .map(Result::unwrap)
                        .sum::<u64>()
                };
                assert_eq!(
                    inner
                        .map(nested, 0..10)
                        .unwrap()
                        .map(Result::unwrap)
                        .sum::<u64>(),
                    45 * 45
                );
                steps.at("untyped");
                let any = AnyFuture::from(&some(1)[0]);
                any.exception(None).unwrap();
            });
            outer.unwrap().result(None).unwrap();
            pool.shutdown();
        }
    });
}

#[test]
fn ten_thousand_nested_waits() {
    watchdog("nested waits in flight", |_| {
        for workers in [1, 2, 8] {
            let pool = ThreadPoolExecutor::new(workers).unwrap();
            let futures: Vec<_> = (0..size(2_000, 10_000) as u64)
                .map(|n| {
                    let inner = pool.clone();
                    let call = move || {
                        let future = inner.submit(move || n).unwrap();
                        future.result(None).unwrap() + 1
                    };
                    pool.submit(call).unwrap()
                })
                .collect();
            for (n, future) in futures.into_iter().enumerate() {
                assert_eq!(future.result(None).unwrap(), n as u64 + 1);
            }
            pool.shutdown();
            assert_eq!(pool.queue_size(), 0);
        }
    });
}

#[test]
fn a_call_of_another_pool_is_left_to_that_pool() {
    watchdog("two pools", |_| {
        let (one, other) = (
            ThreadPoolExecutor::new(1).unwrap(),
            ThreadPoolExecutor::new(1).unwrap(),
        );
        let call = move || {
            let name = || thread::current().name().unwrap().to_owned();
            (other.submit(name).unwrap().result(None).unwrap(), name())
        };
        let (its, here) = one.submit(call).unwrap().result(None).unwrap();
        assert_ne!(its, here);
    });
}

#[test]
fn helped_calls_leave_the_account_right() {
    watchdog("threads after helped calls", |_| {
        let pool = ThreadPoolExecutor::new(4).unwrap();
        for _ in 0..50 {
            let inner = pool.clone();
            let call = move || inner.submit(|| 1).unwrap().result(None).unwrap();
            pool.submit(call).unwrap().result(None).unwrap();
        }
        // As many calls as the maximum run side by side.
        let barrier = Arc::new(Barrier::new(4));
        let futures: Vec<_> = (0..4)
            .map(|_| {
                let barrier = Arc::clone(&barrier);
                pool.submit(move || barrier.wait().is_leader()).unwrap()
            })
            .collect();
        futures.iter().for_each(|future| drop(future.result(None)));
    });
}

#[test]
fn a_call_that_is_cancelled_while_a_worker_waits_for_it() {
    watchdog("cancel against help", |_| {
        for round in 0..size(300, 3000) {
            let pool = ThreadPoolExecutor::new(1 + round % 2).unwrap();
            let inner = pool.clone();
            let (sender, receiver) = mpsc::channel();
            let outer = pool.submit(move || {
                let future = inner.submit(|| 1).unwrap();
                sender.send(future.clone()).unwrap();
                future.result(None).is_ok()
            });
            let cancelled = receiver.recv().unwrap().cancel();
            assert_eq!(outer.unwrap().result(None).unwrap(), !cancelled);
            pool.shutdown();
        }
    });
}

#[test]
fn a_pool_that_does_not_help_says_that_it_is_stuck() {
    logged("");
    watchdog("a pool that is stuck", |steps| {
        let pool = ThreadPoolExecutor::builder()
            .max_workers(1)
            .thread_name_prefix("stuck")
            .help_while_waiting(false)
            .build()
            .unwrap();
        let inner = pool.clone();
        let (sender, receiver) = mpsc::channel();
        let outer = pool.submit(move || {
            let future = inner.submit(|| 1).unwrap();
            sender.send(future.clone()).unwrap();
            future.result(None).is_err()
        });
        let stuck = receiver.recv().unwrap();
        let line = "all 1 workers of the pool \"stuck\" wait for calls of the same pool";
        until(steps, "it is logged", || logged(line) == 1);
        assert!(stuck.cancel());
        assert!(outer.unwrap().result(None).unwrap());
        // Once is enough.
        let inner = pool.clone();
        let call = move || {
            inner
                .submit(|| 1)
                .unwrap()
                .result(Duration::from_millis(1))
                .is_err()
        };
        assert!(pool.submit(call).unwrap().result(None).unwrap());
        assert_eq!(logged(line), 1);
    });
}

#[test]
fn deep_nesting_stops_at_what_the_stack_bears() {
    watchdog("a chain of calls that wait", |steps| {
        // Two workers: where nesting ends, the next level needs another thread.
        fn nest(pool: &ThreadPoolExecutor, depth: usize) -> usize {
            if depth == 0 {
                return 0;
            }
            let inner = pool.clone();
            let future = pool.submit(move || nest(&inner, depth - 1)).unwrap();
            future.result(None).unwrap() + 1
        }
        for (stack, depth) in [(2 << 20, 60), (256 << 10, 7), (64 << 10, 1)] {
            steps.at(format!("{stack} bytes"));
            let pool = ThreadPoolExecutor::builder()
                .max_workers(2)
                .thread_stack_size(stack)
                .build()
                .unwrap();
            let inner = pool.clone();
            let future = pool.submit(move || nest(&inner, depth)).unwrap();
            assert_eq!(future.result(None).unwrap(), depth);
        }
    });
}

/// A worker waits for one of two calls, the first of which ends only when the worker has gone on.
fn goes_on(
    what: &'static str,
    wait_for_one: impl Fn(Vec<Future<()>>) + Send + Sync + Copy + 'static,
) {
    watchdog("waiting for the first of two", move |steps| {
        for elsewhere in ["on another worker", "on no worker", "in another pool"] {
            steps.at(format!("{what}, one is completed {elsewhere}"));
            let workers = if elsewhere == "on another worker" {
                2
            } else {
                1
            };
            let pool = ThreadPoolExecutor::new(workers).unwrap();
            let promise = Promise::new();
            let (running, gate) = match elsewhere {
                "on another worker" => busy(&pool),
                "on no worker" => (promise.future(), Gate::new()),
                _ => busy(&ThreadPoolExecutor::new(1).unwrap()),
            };
            let (inner, waits, its_gate) = (pool.clone(), Gate::new(), gate.clone());
            let its_waits = waits.clone();
            let outer = pool.submit(move || {
                let gone_on = Gate::new();
                let its_gone_on = gone_on.clone();
                let queued = inner.submit(move || its_gone_on.wait()).unwrap();
                its_waits.open();
                wait_for_one(vec![queued.clone(), running]);
                assert!(!queued.done());
                gone_on.open();
                drop(its_gate);
                queued
            });
            waits.wait();
            thread::sleep(Duration::from_millis(5));
            gate.open();
            promise.set_exception(Exception::msg("no eggs")).unwrap();
            let queued = outer.unwrap().result(None).unwrap();
            queued.result(None).unwrap();
            pool.shutdown();
        }
    });
}

#[test]
fn a_worker_goes_on_when_the_first_of_two_is_done() {
    goes_on("wait", |futures| {
        assert_eq!(wait(futures, None, FIRST_COMPLETED).done.len(), 1);
    });
}

#[test]
fn a_worker_goes_on_when_one_of_two_has_failed() {
    watchdog("waiting for an exception", |_| {
        let pool = ThreadPoolExecutor::new(1).unwrap();
        let (inner, promise, waits) = (pool.clone(), Promise::new(), Gate::new());
        let (promised, its_waits) = (promise.future(), waits.clone());
        let outer = pool.submit(move || {
            let gone_on = Gate::new();
            let its_gone_on = gone_on.clone();
            let queued = inner.submit(move || its_gone_on.wait()).unwrap();
            its_waits.open();
            let waited = wait([queued, promised], None, FIRST_EXCEPTION);
            gone_on.open();
            waited.done.len()
        });
        waits.wait();
        promise.set_exception(Exception::msg("no eggs")).unwrap();
        assert_eq!(outer.unwrap().result(None).unwrap(), 1);
        pool.shutdown();
    });
}

#[test]
fn a_worker_goes_on_when_the_first_is_yielded() {
    goes_on("as_completed", |futures| {
        as_completed(&futures, None).next().unwrap().unwrap();
    });
}

#[test]
fn a_pool_that_is_stuck_runs_one_of_those_that_are_waited_for() {
    watchdog("a pool all of whose workers wait", |steps| {
        for workers in [1, 2, 8] {
            for round in rounds(30, 300) {
                steps.at(format!("round {round} on {workers}"));
                let pool = ThreadPoolExecutor::new(workers).unwrap();
                let all_run = Arc::new(Barrier::new(workers));
                let outer: Vec<_> = (0..workers)
                    .map(|n| {
                        let (inner, all_run) = (pool.clone(), Arc::clone(&all_run));
                        let call = move || {
                            all_run.wait();
                            let two = [0, 1].map(|n| inner.submit(move || n).unwrap());
                            match (round + n) % 3 {
                                0 => wait(two, None, FIRST_COMPLETED).done.len(),
                                1 => wait(two, None, FIRST_EXCEPTION).done.len(),
                                _ => as_completed(two, None).map(Result::unwrap).count(),
                            }
                        };
                        pool.submit(call).unwrap()
                    })
                    .collect();
                assert!(outer.iter().all(|outer| outer.result(None).unwrap() > 0));
                pool.shutdown();
            }
        }
    });
}

#[test]
fn the_last_to_wait_has_another_one_run_what_it_waits_for() {
    watchdog("one worker waits for another one's call", |steps| {
        for round in rounds(100, 2000) {
            steps.at(format!("round {round}"));
            let pool = ThreadPoolExecutor::new(2).unwrap();
            let (inner, mut random) = (pool.clone(), Random::new(round as u64));
            let mut its_random = random.clone();
            let (started, running) = (Gate::new(), Gate::new());
            let (its_started, its_running) = (started.clone(), running.clone());
            // It waits for one of two calls that are queued ...
            let first = pool.submit(move || {
                its_started.open();
                its_running.wait();
                its_random.pause();
                let two = [0, 1].map(|n| inner.submit(move || n).unwrap());
                match round % 3 {
                    0 => wait(two, None, FIRST_COMPLETED).done.len(),
                    1 => wait(two, None, FIRST_EXCEPTION).done.len(),
                    _ => as_completed(two, None).map(Result::unwrap).count(),
                }
            });
            let first = first.unwrap();
            started.wait();
            // ... and the other worker for that one.
            let second = pool.submit(move || {
                running.open();
                random.pause();
                match random.below(3) {
                    0 => first.result(None).unwrap(),
                    1 => wait([first], None, ALL_COMPLETED).done.len(),
                    _ => as_completed(&[first], None).map(Result::unwrap).count(),
                }
            });
            assert!(second.unwrap().result(None).unwrap() > 0);
            pool.shutdown();
        }
    });
}

#[test]
fn a_worker_that_waits_for_others_too_is_not_stuck() {
    watchdog("a wait that ends from outside", |_| {
        let pool = ThreadPoolExecutor::new(2).unwrap();
        let (promise, both_wait) = (Promise::<()>::new(), Gate::new());
        let (inner, promised) = (pool.clone(), promise.future());
        let started = Gate::new();
        let its_started = started.clone();
        // Its own call is done at once, the promise is kept later.
        let one = pool.submit(move || {
            its_started.open();
            let own = inner.submit(|| ()).unwrap();
            wait([own, promised], None, ALL_COMPLETED).done.len()
        });
        started.wait();
        let (inner, its_both_wait) = (pool.clone(), both_wait.clone());
        let other = pool.submit(move || {
            let gone_on = Gate::new();
            let its_gone_on = gone_on.clone();
            let quick = inner.submit(|| ()).unwrap();
            let slow = inner.submit(move || its_gone_on.wait()).unwrap();
            its_both_wait.open();
            let waited = wait([slow, quick], None, FIRST_COMPLETED).done.len();
            gone_on.open();
            waited
        });
        both_wait.wait();
        thread::sleep(Duration::from_millis(20));
        promise.set_result(()).unwrap();
        assert_eq!(one.unwrap().result(None).unwrap(), 2);
        assert_eq!(other.unwrap().result(None).unwrap(), 1);
        pool.shutdown();
    });
}

/// A worker waits for a promise and for two calls of its own pool, of which it has a choice. Once the promise is
/// kept, it waits for its own pool only.
#[test]
fn a_worker_is_stuck_when_what_is_left_is_its_own() {
    watchdog("a mixture of which the others are done", |steps| {
        for round in rounds(20, 500) {
            steps.at(format!("the only worker, round {round}"));
            let pool = ThreadPoolExecutor::new(1).unwrap();
            let (inner, promise, waits) = (pool.clone(), Promise::new(), Gate::new());
            let (promised, its_waits) = (promise.future(), waits.clone());
            let mut random = Random::new(round as u64);
            let outer = pool.submit(move || {
                let [one, two] = [0, 1].map(|_| inner.submit(|| ()).unwrap());
                let all = [one, promised, two];
                its_waits.open();
                match round % 2 {
                    0 => wait(all, None, FIRST_EXCEPTION).done.len(),
                    _ => as_completed(all, None).map(Result::unwrap).count(),
                }
            });
            waits.wait();
            random.pause();
            promise.set_result(()).unwrap();
            assert_eq!(outer.unwrap().result(None).unwrap(), 3);
            pool.shutdown();
        }
        for round in rounds(20, 500) {
            steps.at(format!("the other worker has a choice, round {round}"));
            let pool = ThreadPoolExecutor::new(2).unwrap();
            let (inner, promise, promised) = {
                let promise = Promise::new();
                let promised = promise.future();
                (pool.clone(), promise, promised)
            };
            let (started, both) = (Gate::new(), Gate::new());
            let (its_started, its_both) = (started.clone(), both.clone());
            let choice = pool.submit(move || {
                its_started.open();
                its_both.wait();
                let two = [0, 1].map(|_| inner.submit(|| ()).unwrap());
                wait(two, None, FIRST_COMPLETED).done.len()
            });
            let choice = choice.unwrap();
            started.wait();
            let mixture = pool.submit(move || {
                both.open();
                wait([choice, promised.clone()], None, ALL_COMPLETED)
                    .done
                    .len()
            });
            Random::new(round as u64).pause();
            promise.set_result(1).unwrap();
            assert_eq!(mixture.unwrap().result(None).unwrap(), 2);
            pool.shutdown();
        }
    });
}

#[test]
fn a_call_that_is_helped_within_callbacks_has_its_own() {
    /// Calls `f` in a callback of a callback, and so on.
    fn nest(left: usize, f: Box<dyn FnOnce() + Send>) {
        if left == 0 {
            return f();
        }
        let future = Future::new();
        future.add_done_callback(move |_| nest(left - 1, f));
        future.set_result(()).unwrap();
    }
    watchdog("a call that waits for its own callback", |steps| {
        for depth in 0..20 {
            steps.at(format!("within {depth} callbacks"));
            let pool = ThreadPoolExecutor::new(1).unwrap();
            let inner = pool.clone();
            let outer = pool.submit(move || {
                let wait_for_call = move || {
                    let call = inner.submit(|| {
                        let called = Gate::new();
                        let its_called = called.clone();
                        let future = Future::new();
                        future.add_done_callback(move |_| its_called.open());
                        future.set_result(()).unwrap();
                        called.wait();
                    });
                    call.unwrap().result(None).unwrap();
                };
                nest(depth, Box::new(wait_for_call));
            });
            outer.unwrap().result(None).unwrap();
            pool.shutdown();
        }
    });
}

/// A call that never ends, and has its pool make one call after the other, keeps none of them.
#[test]
fn helped_calls_do_not_stay_in_the_queue() {
    watchdog("many calls within one", |steps| {
        for queued in [0, 300] {
            steps.at(format!("beside {queued} that are queued"));
            let pool = ThreadPoolExecutor::new(1).unwrap();
            let (inner, dropped, begin) = (pool.clone(), Count::new(), Gate::new());
            let its_begin = begin.clone();
            let outer = pool.submit(move || {
                its_begin.wait();
                let mut kept = 0;
                for made in 1..=5000 {
                    let dropped_one = dropped.clone();
                    let value = move || Arc::new(OnDrop::new(move || dropped_one.add(1)));
                    drop(inner.submit(value).unwrap().result(None).unwrap());
                    kept = kept.max(made - dropped.get());
                }
                (kept, inner.queue_size())
            });
            let others: Vec<_> = (0..queued)
                .map(|n| pool.submit(move || n).unwrap())
                .collect();
            begin.open();
            let (kept, queue_size) = outer.unwrap().result(None).unwrap();
            assert!(kept <= 64 + 2 * queued, "{kept} values are kept");
            assert!(
                queue_size <= 64 + 3 * queued,
                "{queue_size} calls in the queue"
            );
            for (n, other) in others.iter().enumerate() {
                assert_eq!(other.result(None).unwrap(), n);
            }
            pool.shutdown();
        }
    });
}

#[test]
fn a_wait_that_is_over_meanwhile_is_not_helped() {
    watchdog(
        "the other worker waits, too, after it has ended the wait",
        |steps| {
            for round in rounds(300, 5000) {
                steps.at(format!("round {round}"));
                let mut random = Random::new(round as u64);
                let pool = ThreadPoolExecutor::new(2).unwrap();
                let (inner, mut its_random) = (pool.clone(), random.clone());
                let (quick, gate) = busy(&pool);
                let waits = Gate::new();
                let its_waits = waits.clone();
                let outer = pool.submit(move || {
                    let gone_on = Gate::new();
                    let its_gone_on = gone_on.clone();
                    let slow = inner.submit(move || its_gone_on.wait()).unwrap();
                    its_waits.open();
                    its_random.pause();
                    let _ = wait([slow, quick], None, FIRST_COMPLETED);
                    gone_on.open();
                });
                let outer = outer.unwrap();
                // It is in the queue before the slow one, so that the other worker takes it, and waits.
                let last = pool.submit(move || outer.result(None).unwrap()).unwrap();
                waits.wait();
                random.pause();
                gate.open();
                last.result(None).unwrap();
                pool.shutdown();
            }
        },
    );
}

#[test]
fn what_another_pool_has_is_no_obstacle() {
    watchdog("waiting for all of two pools' calls", |_| {
        let pool = ThreadPoolExecutor::new(1).unwrap();
        let other = ThreadPoolExecutor::new(1).unwrap();
        let (inner, promise) = (pool.clone(), Promise::new());
        let promised = promise.future();
        let outer = pool.submit(move || {
            let (theirs, gate) = busy(&other);
            let own = inner.submit(move || gate.open()).unwrap();
            let last = inner
                .submit(move || promise.set_result(()).unwrap())
                .unwrap();
            let all = [promised, theirs, own, last];
            let any: Vec<_> = all.iter().map(AnyFuture::from).collect();
            assert_eq!(wait(any, None, ALL_COMPLETED).done.len(), 4);
            wait(&all, None, ALL_COMPLETED).done.len()
        });
        assert_eq!(outer.unwrap().result(None).unwrap(), 4);
    });
}

#[test]
fn helped_calls_are_run_in_the_order_given() {
    watchdog("the order of helped calls", |_| {
        let pool = ThreadPoolExecutor::new(1).unwrap();
        let inner = pool.clone();
        let outer = pool.submit(move || {
            for first in [false, true] {
                let (sender, order) = mpsc::channel();
                let futures: Vec<_> = (0..50)
                    .map(|n| {
                        let sender = sender.clone();
                        inner.submit(move || sender.send(n).unwrap()).unwrap()
                    })
                    .collect();
                // Duplicates are run once, and yielded once.
                let twice = futures.iter().chain(&futures).rev();
                if first {
                    assert_eq!(as_completed(twice, None).map(Result::unwrap).count(), 50);
                } else {
                    assert_eq!(wait(twice, None, ALL_COMPLETED).done.len(), 50);
                }
                drop((sender, futures));
                assert!(order.iter().eq((0..50).rev()));
            }
        });
        outer.unwrap().result(None).unwrap();
        pool.shutdown();
    });
}

#[test]
fn a_pool_that_nobody_refers_to_is_helped_all_the_same() {
    watchdog("a pool that is gone", |_| {
        for last_in_helped in [false, true] {
            let pool = ThreadPoolExecutor::new(1).unwrap();
            let (inner, dropped) = (pool.clone(), Gate::new());
            let its_dropped = dropped.clone();
            let outer = pool.submit(move || {
                its_dropped.wait();
                let mut futures: Vec<_> = (0..3).map(|_| inner.submit(|| ()).unwrap()).collect();
                if last_in_helped {
                    let before = inner.clone();
                    futures.insert(0, inner.submit(move || drop(before)).unwrap());
                }
                drop(inner);
                wait(futures.clone(), None, FIRST_COMPLETED).done.len()
                    + as_completed(futures, None).map(Result::unwrap).count()
            });
            drop(pool);
            dropped.open();
            assert!(outer.unwrap().result(None).unwrap() > 3);
        }
    });
}

#[test]
fn waiting_with_a_time_out_against_shutdown() {
    watchdog("a time-out against cancel_futures", |steps| {
        for round in rounds(200, 5000) {
            steps.at(format!("round {round}"));
            let mut random = Random::new(round as u64);
            let pool = ThreadPoolExecutor::builder()
                .max_workers(1 + random.below(2))
                .help_while_waiting(random.once_in(2))
                .build()
                .unwrap();
            let (inner, mut its_random) = (pool.clone(), random.clone());
            let outer = pool.submit(move || {
                let future = match inner.submit(|| ()) {
                    Ok(future) => future,
                    Err(_) => return,
                };
                let soon = Duration::from_micros(its_random.below(200) as u64);
                match its_random.below(3) {
                    0 => drop(future.result(soon)),
                    1 => drop(wait([future], soon, FIRST_COMPLETED)),
                    _ => drop(as_completed([future], soon).count()),
                }
            });
            random.pause();
            pool.shutdown_with(ShutdownOptions::new().cancel_futures(true));
            assert!(outer.unwrap().done());
        }
    });
}

#[test]
fn a_call_is_helped_or_fails_with_its_pool() {
    logged("");
    watchdog("a failing initializer against helping", |steps| {
        for round in rounds(200, 3000) {
            steps.at(format!("round {round}"));
            let (fail, started) = (Gate::new(), Count::new());
            let its_fail = fail.clone();
            let pool = ThreadPoolExecutor::builder()
                .max_workers(2)
                .initializer(move || {
                    started.add(1);
                    if started.get() > 1 {
                        its_fail.wait();
                        panic!("a fire in the kitchen");
                    }
                })
                .build()
                .unwrap();
            let (inner, mut random) = (pool.clone(), Random::new(round as u64));
            let outer = pool.submit(move || {
                let (ran, called_back) = (Count::new(), Count::new());
                let futures: Vec<_> = (0..4)
                    .filter_map(|_| {
                        let ran = ran.clone();
                        inner.submit(move || ran.add(1)).ok()
                    })
                    .collect();
                for future in &futures {
                    let called_back = called_back.clone();
                    future.add_done_callback(move |future| {
                        assert!(future.done());
                        called_back.add(1);
                    });
                }
                fail.open();
                random.pause();
                let failed = futures.iter().filter(|it| it.result(None).is_err()).count();
                (futures.len(), ran.get(), failed, called_back)
            });
            let (total, ran, failed, called_back) = outer.unwrap().result(None).unwrap();
            assert_eq!(ran + failed, total);
            pool.shutdown();
            assert_eq!(called_back.get(), total);
        }
        assert_eq!(logged("in unexpected state"), 0);
        assert_eq!(logged("exception calling callback"), 0);
    });
}

#[test]
fn cancelled_against_helped_leaves_the_account_right() {
    watchdog("the account of a cancelled call", |steps| {
        let pool = ThreadPoolExecutor::new(8).unwrap();
        for round in rounds(300, 5000) {
            steps.at(format!("round {round}"));
            let mut random = Random::new(round as u64);
            let inner = pool.clone();
            let (sender, receiver) = mpsc::channel();
            let outer = pool.submit(move || {
                let future = inner.submit(|| ()).unwrap();
                sender.send(future.clone()).unwrap();
                drop(future.result(None));
            });
            random.pause();
            receiver.recv().unwrap().cancel();
            outer.unwrap().result(None).unwrap();
            // Two calls side by side: whoever runs them is done with what was queued before.
            let barrier = Arc::new(Barrier::new(2));
            let both = [(); 2].map(|()| {
                let barrier = Arc::clone(&barrier);
                pool.submit(move || barrier.wait().is_leader()).unwrap()
            });
            let _ = wait(both, None, ALL_COMPLETED);
            // There were never more than these two and the cancelled one that were not done.
            assert!(pool.thread_count() <= 3, "a thread too many");
        }
    });
}

struct Explosive;

impl Drop for Explosive {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic!("no eggs");
        }
    }
}

#[test]
fn what_panics_in_a_helped_call_stays_there() {
    logged("");
    watchdog("panics in helped calls", |_| {
        let pool = ThreadPoolExecutor::new(1).unwrap();
        let inner = pool.clone();
        let outer = pool.submit(move || {
            let panicked = inner.submit(|| panic!("no eggs")).unwrap();
            assert!(panicked.exception(None).unwrap().unwrap().is_panic());
            // A call that completes its own future: the value that it returns is dropped, which panics.
            let (sender, receiver) = mpsc::channel::<Future<Explosive>>();
            let call = move || {
                let its_own = receiver.recv().unwrap();
                its_own.set_exception(Exception::msg("no eggs")).unwrap();
                Explosive
            };
            let future = inner.submit(call).unwrap();
            sender.send(future.clone()).unwrap();
            assert!(future.exception(None).unwrap().is_some());
            let _ = wait([future], None, ALL_COMPLETED);
            // A callback of a helped call waits, too.
            let last = inner.clone();
            let called_back = inner.submit(|| ()).unwrap();
            called_back
                .add_done_callback(move |_| last.submit(|| ()).unwrap().result(None).unwrap());
            called_back.result(None).unwrap();
        });
        outer.unwrap().result(None).unwrap();
        pool.shutdown();
        assert_eq!(pool.queue_size(), 0);
    });
}

#[test]
fn no_call_is_run_by_a_thread_that_is_not_initialized() {
    thread_local!(static INITIALIZED: Cell<bool> = const { Cell::new(false) });
    watchdog("an initializer that waits", |steps| {
        let (slot, started) = (Arc::new(Mutex::new(None)), Count::new());
        let its_slot = Arc::clone(&slot);
        let outcome = Arc::new(Mutex::new(None));
        let its_outcome = Arc::clone(&outcome);
        let pool = ThreadPoolExecutor::builder()
            .max_workers(2)
            .initializer(move || {
                started.add(1);
                if started.get() == 2 {
                    let pool: ThreadPoolExecutor = its_slot.lock().unwrap().take().unwrap();
                    let own = pool.submit(|| INITIALIZED.with(Cell::get)).unwrap();
                    *its_outcome.lock().unwrap() = own.result(None).ok();
                }
                INITIALIZED.with(|it| it.set(true));
            })
            .build()
            .unwrap();
        *slot.lock().unwrap() = Some(pool.clone());
        let (_running, gate) = busy(&pool);
        let second = pool.submit(|| ()).unwrap();
        until(steps, "the other thread is initialized", || {
            slot.lock().unwrap().is_none()
        });
        gate.open();
        second.result(None).unwrap();
        until(steps, "its call is run", || {
            outcome.lock().unwrap().is_some()
        });
        pool.shutdown();
        assert_eq!(*outcome.lock().unwrap(), Some(true));
    });
}

#[test]
fn only_a_pool_that_is_stuck_says_so() {
    logged("");
    watchdog("what a pool logs when its workers wait", |steps| {
        let pool = |name: &str, helps| {
            ThreadPoolExecutor::builder()
                .max_workers(2)
                .thread_name_prefix(name)
                .help_while_waiting(helps)
                .build()
                .unwrap()
        };
        let line = |name: &str| format!("all 2 workers of the pool \"{name}\" wait");
        steps.at("one waits for what the other one runs");
        let first = pool("fine", false);
        let (running, gate) = busy(&first);
        let its_running = running.clone();
        let waits = first.submit(move || its_running.result(None)).unwrap();
        let (inner, promise) = (first.clone(), Promise::new());
        let promised = promise.future();
        gate.open();
        waits.result(None).unwrap().unwrap();
        steps.at("both wait, one of them for a promise");
        let also = inner.submit(move || wait([promised], None, ALL_COMPLETED).done.len());
        let call = move || {
            inner
                .submit(|| ())
                .unwrap()
                .result(Duration::from_millis(5))
        };
        let _ = first.submit(call).unwrap().result(None).unwrap();
        promise.set_result(()).unwrap();
        also.unwrap().result(None).unwrap();
        steps.at("all are helped");
        let second = pool("helped", true);
        let barrier = Arc::new(Barrier::new(2));
        let both = [(); 2].map(|()| {
            let (inner, barrier) = (second.clone(), Arc::clone(&barrier));
            let call = move || {
                barrier.wait();
                let two = [(); 2].map(|()| inner.submit(|| ()).unwrap());
                as_completed(&two, None).map(Result::unwrap).count()
            };
            second.submit(call).unwrap()
        });
        assert!(both.iter().all(|it| it.result(None).unwrap() == 2));
        assert_eq!(logged(&line("fine")) + logged(&line("helped")), 0);

        steps.at("one waits for the other one, which waits for a call that is queued");
        let third = pool("both", false);
        let inner = third.clone();
        let outer = third.submit(move || {
            let (started, stop) = (Gate::new(), Gate::new());
            let (innermost, its_started) = (inner.clone(), started.clone());
            let its_stop = stop.clone();
            let middle = inner.submit(move || {
                its_started.open();
                its_stop.wait();
                let queued = innermost.submit(|| ()).unwrap();
                while queued.result(Duration::from_millis(5)).is_err() {
                    if logged("all 2 workers of the pool \"both\" wait") > 0 {
                        queued.cancel();
                        return false;
                    }
                }
                true
            });
            started.wait();
            stop.open();
            middle.unwrap().result(None).unwrap()
        });
        assert!(!outer.unwrap().result(None).unwrap());
        assert_eq!(logged(&line("both")), 1);
    });
}

#[test]
fn ten_thousand_waits_for_the_first_of_two() {
    watchdog("nested waits with a choice", |_| {
        for workers in [1, 2, 8] {
            let pool = ThreadPoolExecutor::new(workers).unwrap();
            let futures: Vec<_> = (0..size(1_000, 10_000))
                .map(|n| {
                    let inner = pool.clone();
                    let call = move || {
                        let two = [0, 1].map(|m| inner.submit(move || m).unwrap());
                        if n % 2 == 0 {
                            wait(two, None, FIRST_COMPLETED).done.len().min(1)
                        } else {
                            as_completed(two, None).map(Result::unwrap).count()
                        }
                    };
                    pool.submit(call).unwrap()
                })
                .collect();
            for (n, future) in futures.into_iter().enumerate() {
                assert_eq!(future.result(None).unwrap(), 1 + n % 2);
            }
            pool.shutdown();
        }
    });
}

// ---- Events

#[test]
fn an_event_stops_a_running_call() {
    watchdog("events", |_| {
        let pool = ThreadPoolExecutor::new(4).unwrap();
        let stop = Event::new();
        assert!(
            !stop.is_set() && !stop.wait(Duration::ZERO) && !stop.wait(Duration::from_millis(1))
        );
        let calls: Vec<_> = (0..4)
            .map(|_| {
                let stop = stop.clone();
                pool.submit(move || stop.wait(None)).unwrap()
            })
            .collect();
        stop.set();
        stop.set();
        assert!(calls.iter().all(|call| call.result(None).unwrap()));
        assert!(stop.is_set() && stop.wait(None));
        stop.clear();
        assert!(!stop.is_set());
        assert_eq!(format!("{stop:?}"), "Event { is_set: false }");
    });
}

#[test]
fn an_event_that_is_set_and_cleared_wakes_who_waits() {
    watchdog("a pulse", |_| {
        // On a busy machine, a thread may not have come to wait when it is pulsed, and sees nothing of it; so this
        // goes on until it was woken several times in a row, which does not happen by chance.
        let mut in_a_row = 0;
        while in_a_row < 5 {
            let event = Event::new();
            let its_event = event.clone();
            let (sender, receiver) = mpsc::channel();
            let waiting = thread::spawn(move || {
                sender.send(false).unwrap();
                sender.send(its_event.wait(None)).unwrap();
            });
            receiver.recv().unwrap();
            thread::sleep(Duration::from_millis(20));
            event.set();
            event.clear();
            let woken = receiver.recv_timeout(Duration::from_secs(1));
            event.set();
            waiting.join().unwrap();
            in_a_row = if woken == Ok(true) { in_a_row + 1 } else { 0 };
        }
    });
}

// ---- Bounded

#[test]
fn a_full_executor_blocks_refuses_or_lets_the_caller_run() {
    watchdog("a bounded executor", |_| {
        let pool = ThreadPoolExecutor::new(1).unwrap();
        let refusing = BoundedExecutor::new(pool.clone(), 2, WhenFull::Refuse);
        let (running, gate) = busy(&refusing);
        let queued = refusing.submit(|| ()).unwrap();
        assert!(matches!(refusing.submit(|| ()), Err(SubmitError::Full)));
        // A cancelled call makes room at once.
        assert!(queued.cancel());
        let again = refusing.submit(|| ()).unwrap();
        assert!(matches!(
            refusing.try_submit(|| Err::<(), _>("x")),
            Err(SubmitError::Full)
        ));
        // The pool itself is not bounded.
        let unbounded = pool.submit(|| ()).unwrap();
        gate.open();
        running.result(None).unwrap();
        again.result(None).unwrap();
        unbounded.result(None).unwrap();
        assert!(format!("{refusing:?}").contains("calls: 0"), "{refusing:?}");

        let running_here = BoundedExecutor::new(pool.clone(), 1, WhenFull::CallerRuns);
        let (_running, gate) = busy(&running_here);
        let here = running_here.submit(|| thread::current().id()).unwrap();
        assert_eq!(here.result(Duration::ZERO).unwrap(), thread::current().id());
        let panicked = running_here.submit(|| panic!("no eggs")).unwrap();
        assert!(panicked.exception(None).unwrap().unwrap().is_panic());
        gate.open();

        let blocking = Arc::new(BoundedExecutor::new(pool.clone(), 1, WhenFull::Block));
        let (_running, gate) = busy(&*blocking);
        let submitters: Vec<_> = (0..3)
            .map(|_| {
                let blocking = Arc::clone(&blocking);
                thread::spawn(move || blocking.submit(|| ()).map(drop))
            })
            .collect();
        blocking.shutdown_with(ShutdownOptions::new().wait(false));
        for submitter in submitters {
            let outcome = submitter.join().unwrap();
            assert!(matches!(outcome, Err(SubmitError::Shutdown)), "{outcome:?}");
        }
        gate.open();
        let blocking = Arc::try_unwrap(blocking).ok().unwrap();
        blocking.into_inner().shutdown();
    });
}

#[test]
#[should_panic(expected = "limit must be greater than 0")]
fn a_bounded_executor_of_nothing() {
    let pool = ThreadPoolExecutor::new(1).unwrap();
    drop(BoundedExecutor::new(pool, 0, WhenFull::Block));
}

#[test]
fn a_million_calls_through_a_limit() {
    watchdog("calls through a limit", |steps| {
        let limit = 64;
        let pool = ThreadPoolExecutor::new(2).unwrap();
        let bounded = BoundedExecutor::new(pool.clone(), limit, WhenFull::Block);
        let (outstanding, most) = (Count::new(), Count::new());
        std::panic::set_hook(Box::new(|_| ()));
        let mut random = Random::new(3);
        for number in 0..size(30_000, 1_000_000) {
            if number % 1000 == 0 {
                steps.at(format!("call {number}"));
            }
            outstanding.add(1);
            let its_outstanding = outstanding.clone();
            let gone = OnDrop::new(move || its_outstanding.subtract(1));
            let panics = random.once_in(100);
            let future = bounded.submit(move || {
                let _gone = gone;
                assert!(!panics, "no eggs");
            });
            let future = future.unwrap();
            most.add(outstanding.get().saturating_sub(most.get()));
            if random.once_in(10) {
                future.cancel();
            }
        }
        let _ = std::panic::take_hook();
        bounded.shutdown();
        assert_eq!(outstanding.get(), 0);
        assert!(most.get() <= limit + 1, "{} at a time", most.get());
        assert!(format!("{bounded:?}").contains("calls: 0"), "{bounded:?}");
    });
}

// ---- Never asked

#[test]
fn exceptions_that_nobody_asked_for() {
    let role = "exceptions_that_nobody_asked_for";
    if is_child(role) {
        logged("");
        let line = "exception was never retrieved";
        let failed = || {
            let future = Future::<i32>::new();
            future.set_exception(Exception::msg("no eggs")).unwrap();
            future
        };
        drop(failed());
        assert_eq!(logged(line), 0);
        log_unretrieved(true);
        let (one, two) = {
            let future = failed();
            (future.clone(), future)
        };
        drop(one);
        assert_eq!(logged(line), 0);
        drop(two);
        assert_eq!(logged(line), 1);
        // Asked, in each of the ways.
        assert!(failed().result(None).is_err());
        assert!(failed().take_result(None).is_err());
        assert!(failed().exception(None).is_ok());
        failed().add_done_callback(|_| ());
        let called_back = Future::<i32>::new();
        called_back.add_done_callback(|_| ());
        called_back
            .set_exception(Exception::msg("no eggs"))
            .unwrap();
        drop(called_back);
        assert!(matches!(poll(&mut failed()), Poll::Ready(Err(_))));
        assert!(AnyFuture::from(failed()).exception(None).is_ok());
        // Fine, cancelled, never done.
        Future::new().set_result(1).unwrap();
        Future::<i32>::new().cancel();
        drop(Future::<i32>::new());
        assert_eq!(logged(line), 1);
        // Looking whether it is done is not asking.
        drop(wait([failed()], None, ALL_COMPLETED));
        assert_eq!(logged(line), 2);
        let pool = ThreadPoolExecutor::new(1).unwrap();
        drop(pool.submit(|| panic!("no eggs")).unwrap());
        pool.shutdown();
        assert_eq!(logged(line), 3);
        log_unretrieved(false);
        drop(failed());
        assert_eq!(logged(line), 3);
        println!("child: done");
        return;
    }
    let ended = child(role, role, ":");
    assert!(ended.stdout.contains("child: done"), "{ended:?}");
}

// ---- Promises

#[test]
fn a_promise_is_kept_or_broken() {
    watchdog("promises", |_| {
        let promise = Promise::new();
        let future = promise.future();
        assert_eq!(future.state(), State::Pending);
        assert!(promise.set_running_or_notify_cancel().unwrap());
        promise.set_result(1).unwrap();
        assert!(
            promise.set_result(2).is_err()
                && promise.set_exception(BrokenPromise::default()).is_err()
        );
        drop(promise);
        assert_eq!(future.result(None).unwrap(), 1);

        for run in [false, true] {
            let promise = Promise::<i32>::default();
            let future = promise.future();
            if run {
                promise.set_running_or_notify_cancel().unwrap();
            }
            let waiting = {
                let future = future.clone();
                thread::spawn(move || wait([future], None, ALL_COMPLETED).done.len())
            };
            drop(promise);
            assert_eq!(waiting.join().unwrap(), 1);
            let exception = future.exception(None).unwrap().unwrap();
            assert_eq!(exception.downcast_ref(), Some(&BrokenPromise::default()));
        }
    });
}

#[test]
fn the_future_of_a_promise_tells_of_its_cancellation_at_once() {
    watchdog("cancelling the future of a promise", |_| {
        let promise = Promise::<i32>::new();
        let future = promise.future();
        let waiting = {
            let future = future.clone();
            thread::spawn(move || wait([future], None, ALL_COMPLETED).done.len())
        };
        assert!(future.cancel());
        assert_eq!(waiting.join().unwrap(), 1);
        assert_eq!(future.state(), State::CancelledAndNotified);
        assert!(!promise.set_running_or_notify_cancel().unwrap());
        drop(promise);
        assert!(future.cancelled());
    });
}

// ---- Awaiting what has no type

struct Nothing;

impl Wake for Nothing {
    fn wake(self: Arc<Self>) {}
}

fn poll<F: std::future::Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    let waker = Waker::from(Arc::new(Nothing));
    Pin::new(future).poll(&mut Context::from_waker(&waker))
}

#[test]
fn an_untyped_future_is_awaited() {
    let future = Future::new();
    let mut any = AnyFuture::from(&future);
    assert!(poll(&mut any).is_pending() && poll(&mut any).is_pending());
    let mut other = any.clone();
    assert!(poll(&mut other).is_pending());
    drop(other);
    future.set_result(1).unwrap();
    assert!(matches!(poll(&mut any), Poll::Ready(Ok(()))));
    let failed = Future::<()>::new();
    failed.set_exception(Exception::msg("no eggs")).unwrap();
    assert!(matches!(
        poll(&mut AnyFuture::from(&failed)),
        Poll::Ready(Err(Error::Exception(_)))
    ));
    let cancelled = Future::<()>::new();
    cancelled.cancel();
    assert!(matches!(
        poll(&mut AnyFuture::from(&cancelled)),
        Poll::Ready(Err(Error::Cancelled))
    ));
}

#[test]
fn an_awaiting_handle_that_goes_takes_only_its_own_callback() {
    let future = Future::<i32>::new();
    let called = Count::new();
    let its_called = called.clone();
    future.add_done_callback(move |_| its_called.add(1));
    let mut typed = future.clone();
    let mut any = AnyFuture::from(&future);
    assert!(poll(&mut typed).is_pending() && poll(&mut any).is_pending());
    let its_called = called.clone();
    future.add_done_callback(move |_| its_called.add(1));
    drop((typed, any));
    future.set_result(1).unwrap();
    assert_eq!(called.get(), 2);
}
