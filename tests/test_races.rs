//! Many threads at once on the same pool and the same futures: every worker is used, every call is
//! accounted for, and nobody who waits misses the end.

mod support;

use concurrent_futures::{
    as_completed, wait, BrokenThreadPool, Error, Exception, Executor, Future, ShutdownOptions,
    SubmitError, ThreadPoolExecutor, ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION,
};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;
use support::{
    child, is_child, logged, process_status, rounds, size, threads_named, until, watchdog,
};
use support::{Count, Gate, OnDrop, Random, Steps};

// Full use of the pool.

fn full_use(workers: usize, steps: &Steps) {
    let mut random = Random::new(workers as u64);
    let pool = ThreadPoolExecutor::builder()
        .max_workers(workers)
        .thread_name_prefix(format!("full{workers}"))
        .build()
        .unwrap();
    let value = |round: usize| match round % 3 {
        // Some with something to drop, which the worker does after the result is visible.
        0 => Some("x".repeat(round % 50)),
        _ => None,
    };
    for round in rounds(1500, 12_000) {
        let mut earlier = Vec::new();
        for _ in 0..random.below(workers + 2) {
            let panics = random.once_in(50);
            let mut its_random = Random::new(random.next());
            let future = pool
                .submit(move || {
                    its_random.pause();
                    assert!(!panics, "a task that panics");
                    value(round)
                })
                .unwrap();
            match random.below(4) {
                0 => drop(future.cancel()),
                1 => future.add_done_callback(move |_| its_random_pause(round)),
                _ => {}
            }
            earlier.push(future);
        }
        // Without those, what follows may have to wait for its turn; so mostly wait for them.
        if random.once_in(3) {
            random.pause();
        } else {
            for future in earlier.drain(..) {
                let _ = future.exception(None);
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
        steps.at(format!(
            "round {round}: {k} calls on {workers} workers, {pool:?}"
        ));
        let leaders = futures.iter().filter(|f| f.result(None).unwrap()).count();
        assert_eq!(leaders, 1);
        assert!(pool.thread_count() <= workers);
    }
    assert!(threads_named(&format!("full{workers}_")) <= workers);
    steps.at(format!("shutdown of {workers} workers"));
    pool.shutdown();
}

fn its_random_pause(seed: usize) {
    Random::new(seed as u64).pause();
}

#[test]
fn full_use_of_one_and_two_workers() {
    watchdog("meetings of all workers", |steps| {
        full_use(1, steps);
        full_use(2, steps);
    });
}

#[test]
fn full_use_of_three_to_five_workers() {
    watchdog("meetings of all workers", |steps| {
        for workers in 3..=5 {
            full_use(workers, steps);
        }
    });
}

#[test]
fn full_use_of_six_to_eight_workers() {
    watchdog("meetings of all workers", |steps| {
        for workers in 6..=8 {
            full_use(workers, steps);
        }
    });
}

#[test]
fn full_use_as_threads_are_started() {
    watchdog("meetings in new pools", |steps| {
        let mut random = Random::new(99);
        for round in rounds(1500, 10_000) {
            let workers = 1 + random.below(8);
            let pool = ThreadPoolExecutor::new(workers).unwrap();
            for meeting in 0..2 {
                let k = 1 + random.below(workers);
                let barrier = Arc::new(Barrier::new(k));
                let futures: Vec<_> = (0..k)
                    .map(|_| {
                        random.pause();
                        let barrier = Arc::clone(&barrier);
                        pool.submit(move || barrier.wait().is_leader()).unwrap()
                    })
                    .collect();
                steps.at(format!(
                    "round {round}, meeting {meeting}: {k} calls, {pool:?}"
                ));
                assert_eq!(
                    futures.iter().filter(|f| f.result(None).unwrap()).count(),
                    1
                );
            }
            assert!(pool.thread_count() <= workers);
            steps.at(format!("round {round}: shutdown"));
            pool.shutdown();
        }
    });
}

#[test]
fn no_thread_is_started_while_one_is_certainly_idle() {
    watchdog("calls to idle workers", |steps| {
        for workers in 2..=8 {
            let pool = ThreadPoolExecutor::new(workers).unwrap();
            for threads in 1..workers {
                // Exactly this many threads, by a meeting of as many calls.
                let barrier = Arc::new(Barrier::new(threads));
                let futures: Vec<_> = (0..threads)
                    .map(|_| {
                        let barrier = Arc::clone(&barrier);
                        pool.submit(move || barrier.wait().is_leader()).unwrap()
                    })
                    .collect();
                steps.at(format!("{threads} of {workers}"));
                let _ = wait(futures, None, ALL_COMPLETED);
                assert_eq!(pool.thread_count(), threads);
                for _ in 0..100 {
                    for k in 1..=threads {
                        let futures: Vec<_> =
                            (0..k).map(|n| pool.submit(move || n).unwrap()).collect();
                        for future in futures {
                            future.result(None).unwrap();
                        }
                    }
                    assert_eq!(pool.thread_count(), threads);
                }
            }
            pool.shutdown();
        }
    });
}

// Racing ends.

/// What became of the calls that some threads submitted.
#[derive(Default)]
struct Books {
    submitted: Count,
    refused: Count,
    /// Closures that ran, and of these those that panicked or returned an error.
    ran: Count,
    ran_and_failed: Count,
    /// Closures dropped, whether they have run or not.
    dropped: Count,
    called_back: Count,
    accepted: Mutex<Vec<Future<u32>>>,
}

impl Books {
    fn submit(&self, pool: &ThreadPoolExecutor, random: &mut Random) -> Option<Future<u32>> {
        self.submitted.add(1);
        let (ran, failed) = (self.ran.clone(), self.ran_and_failed.clone());
        let dropped = self.dropped.clone();
        let captured = OnDrop::new(move || dropped.add(1));
        let fate = random.below(10);
        let mut its_random = Random::new(random.next());
        let accepted = pool.try_submit(move || {
            let _captured = captured;
            ran.add(1);
            its_random.pause();
            match fate {
                0 => {
                    failed.add(1);
                    panic!("a task that panics");
                }
                1 => {
                    failed.add(1);
                    Err(Exception::msg("a task that fails"))
                }
                _ => Ok(1),
            }
        });
        match accepted {
            Ok(future) => {
                let called_back = self.called_back.clone();
                future.add_done_callback(move |_| called_back.add(1));
                self.accepted.lock().unwrap().push(future.clone());
                Some(future)
            }
            Err(SubmitError::Shutdown | SubmitError::Broken(_)) => {
                self.refused.add(1);
                None
            }
            Err(other) => panic!("{other}"),
        }
    }

    /// To be called when everybody is done.
    fn check(self, steps: &Steps) -> usize {
        let accepted = self.accepted.into_inner().unwrap();
        let (mut finished, mut failed, mut broken, mut cancelled) = (0, 0, 0, 0);
        for (number, future) in accepted.iter().enumerate() {
            steps.at(format!("future {number} of {}: {future:?}", accepted.len()));
            match future.result(None) {
                Ok(1) => finished += 1,
                Err(Error::Cancelled) => cancelled += 1,
                Err(Error::Exception(exception)) => {
                    if exception.downcast_ref::<BrokenThreadPool>().is_some() {
                        broken += 1;
                    } else {
                        failed += 1;
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        steps.at("wait for all at once");
        assert_eq!(
            wait(accepted.clone(), None, ALL_COMPLETED).done.len(),
            accepted.len()
        );
        let total = self.submitted.get();
        assert_eq!(
            total,
            finished + failed + broken + cancelled + self.refused.get(),
            "submitted = finished + failed + cancelled + refused"
        );
        assert_eq!(self.ran.get(), finished + failed, "each ran at most once");
        assert_eq!(self.ran_and_failed.get(), failed);
        // The last closure or callback may still be on its way behind the future it belongs to.
        until(steps, "every closure is dropped", || {
            self.dropped.get() == total
        });
        until(steps, "every callback is called", || {
            self.called_back.get() == accepted.len()
        });
        total
    }
}

/// Options for a shutdown: each form now and then.
fn some_shutdown(random: &mut Random) -> ShutdownOptions {
    ShutdownOptions::new()
        .wait(random.once_in(2))
        .cancel_futures(random.once_in(2))
}

fn racing_ends(seed: u64, initializers_fail: bool, steps: &Steps) -> usize {
    let mut random = Random::new(seed);
    let workers = 1 + random.below(4);
    let mut builder = ThreadPoolExecutor::builder()
        .max_workers(workers)
        .thread_name_prefix(format!("race{}_", seed % 1000));
    if initializers_fail {
        let left = Mutex::new(random.below(workers + 1));
        builder = builder.try_initializer(move || {
            let mut left = left.lock().unwrap();
            match left.checked_sub(1) {
                Some(fewer) => {
                    *left = fewer;
                    Ok(())
                }
                None => Err(Exception::msg("an initializer that fails")),
            }
        });
    }
    let pool = builder.build().unwrap();
    let books = Books::default();
    let threads = 6;
    let start = Barrier::new(threads);
    thread::scope(|scope| {
        for number in 0..threads {
            let (start, books) = (&start, &books);
            let mut random = Random::new(random.next());
            let pool = pool.clone();
            let steps = steps.clone();
            scope.spawn(move || {
                let mut futures = Vec::new();
                let ends = random.below(30);
                start.wait();
                for _ in 0..30 {
                    match random.below(8) {
                        0..=3 => futures.extend(books.submit(&pool, &mut random)),
                        4 | 5 if !futures.is_empty() => {
                            let future: &Future<u32> = &futures[random.below(futures.len())];
                            let cancelled = future.cancel();
                            assert_eq!(cancelled, future.cancelled());
                        }
                        6 if !futures.is_empty() => {
                            let some = futures[random.below(futures.len())..].to_vec();
                            let timeout = Duration::from_micros(random.below(200) as u64);
                            let waited = wait(some, timeout, FIRST_COMPLETED);
                            assert!(waited.done.iter().all(Future::done));
                        }
                        _ => random.pause(),
                    }
                    if futures.len() > ends {
                        break;
                    }
                }
                if number % 2 == 0 {
                    steps.at(format!("seed {seed}: thread {number} shuts down"));
                    pool.shutdown_with(some_shutdown(&mut random));
                } else if random.once_in(3) {
                    // A worker does.
                    let (its_pool, options) = (pool.clone(), some_shutdown(&mut random));
                    let _ = pool.submit(move || its_pool.shutdown_with(options));
                }
                drop(pool);
                if random.once_in(2) {
                    steps.at(format!(
                        "seed {seed}: thread {number} waits for its futures"
                    ));
                    assert_eq!(as_completed(futures.clone(), None).count(), futures.len());
                }
            });
        }
        drop(pool);
    });
    steps.at(format!("seed {seed}: the books"));
    books.check(steps)
}

#[test]
fn racing_ends_add_up() {
    watchdog("threads that submit, cancel, shut down and drop", |steps| {
        let mut total = 0;
        for seed in rounds(400, 3000).map(|n| n as u64) {
            total += racing_ends(seed, false, steps);
        }
        assert!(total > 0);
        until(steps, "the workers are gone", || threads_named("race") == 0);
    });
}

#[test]
fn racing_ends_with_initializers_that_fail_add_up() {
    watchdog("the same, and initializers fail", |steps| {
        logged("");
        for seed in rounds(400, 3000).map(|n| n as u64) {
            racing_ends(seed + 1_000_000, true, steps);
        }
    });
}

#[test]
fn racing_shutdowns_all_wait_for_every_worker() {
    watchdog("eight threads that shut down and wait", |steps| {
        for round in rounds(150, 1000) {
            let pool = ThreadPoolExecutor::new(3).unwrap();
            let done = Count::new();
            let cancels = round % 3 == 0;
            let futures: Vec<_> = (0..20)
                .map(|_| {
                    let done = done.clone();
                    pool.submit(move || {
                        thread::yield_now();
                        done.add(1);
                    })
                    .unwrap()
                })
                .collect();
            if round % 2 == 0 {
                pool.shutdown_with(ShutdownOptions::new().wait(false));
            }
            let start = Barrier::new(8);
            thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        start.wait();
                        pool.shutdown_with(ShutdownOptions::new().cancel_futures(cancels));
                        // Now every worker has ended, whoever was first.
                        let ran = futures
                            .iter()
                            .filter(|f| f.done() && !f.cancelled())
                            .count();
                        assert_eq!(done.get(), ran);
                        assert!(futures.iter().filter(|f| f.running()).count() == 0);
                        if !cancels {
                            assert_eq!(ran, 20);
                        }
                    });
                }
                steps.at(format!("round {round}: {pool:?}"));
            });
        }
    });
}

#[test]
fn a_failing_initializer_leaves_the_others_their_sentinel() {
    watchdog("shutdown while an initializer fails", |steps| {
        logged("");
        for round in 0..50 {
            let (gate, late) = (Gate::new(), Gate::new());
            let its_late = late.clone();
            let pool = ThreadPoolExecutor::builder()
                .max_workers(2)
                .thread_name_prefix("sentinel")
                .try_initializer(move || {
                    if thread::current().name() == Some("sentinel_1") {
                        its_late.wait();
                        return Err(Exception::msg("no"));
                    }
                    Ok(())
                })
                .build()
                .unwrap();
            let its_gate = gate.clone();
            let running = pool.submit(move || its_gate.wait()).unwrap();
            until(steps, "the first worker runs", || running.running());
            let queued = pool.submit(|| ()).unwrap();
            // What is queued now is that call, and behind it the sentinel.
            pool.shutdown_with(ShutdownOptions::new().wait(false));
            late.open();
            steps.at(format!("round {round}: the queued call"));
            assert!(queued.exception(None).unwrap().is_some());
            gate.open();
            until(steps, "both workers have ended", || {
                threads_named("sentinel_") == 0
            });
            steps.at(format!("round {round}: shutdown"));
            pool.shutdown();
        }
    });
}

// Waiting crowds.

#[test]
fn a_crowd_that_waits_misses_nothing() {
    watchdog("two hundred threads that wait", |steps| {
        for round in rounds(3, 10).map(|n| n as u64) {
            let pool = ThreadPoolExecutor::new(4).unwrap();
            let gate = Gate::new();
            let futures: Vec<_> = (0..60)
                .map(|n| {
                    let gate = gate.clone();
                    pool.try_submit(move || {
                        if n < 4 {
                            gate.wait();
                        }
                        Random::new(n + round * 1000).pause();
                        if n % 7 == 3 {
                            return Err(Exception::msg("one in seven"));
                        }
                        Ok(n)
                    })
                    .unwrap()
                })
                .collect();
            let crowd = 200;
            let start = Barrier::new(crowd + 1);
            let returned = Count::new();
            thread::scope(|scope| {
                for number in 0..crowd {
                    let (start, futures, returned) = (&start, &futures, &returned);
                    scope.spawn(move || {
                        start.wait();
                        one_of_the_crowd(number, futures, round);
                        returned.add(1);
                    });
                }
                steps.at(format!("round {round}: let all go"));
                start.wait();
                futures[59].cancel();
                gate.open();
                until(steps, &format!("round {round}: everybody returned"), || {
                    returned.get() == crowd
                });
            });
            pool.shutdown();
        }
    });
}

fn one_of_the_crowd(number: usize, futures: &[Future<u64>], round: u64) {
    let mut random = Random::new(number as u64 + round * 1000);
    let mut mine = futures.to_vec();
    // Everybody in another order, and some of them twice.
    for n in 0..mine.len() {
        mine.swap(n, random.below(futures.len()));
    }
    mine.push(mine[0].clone());
    let short = Duration::from_micros(random.below(3000) as u64);
    match number % 8 {
        0 => {
            for future in &mine {
                let _ = future.result(None);
                assert!(future.done());
            }
        }
        1 => assert_eq!(wait(mine, None, ALL_COMPLETED).done.len(), 60),
        2 => assert!(!wait(mine, None, FIRST_COMPLETED).done.is_empty()),
        3 => {
            let waited = wait(mine, None, FIRST_EXCEPTION);
            assert!(waited
                .done
                .iter()
                .any(|f| !f.cancelled() && f.exception(None).unwrap().is_some()));
        }
        4 => {
            let yielded: Vec<_> = as_completed(mine, None).map(Result::unwrap).collect();
            assert_eq!(yielded.len(), 60);
            assert!(yielded.iter().all(Future::done));
        }
        5 => {
            // Dropped half-way, again and again.
            for half in [1, 5, 30, 59, 60] {
                let yielded = as_completed(mine.clone(), None).take(half).count();
                assert_eq!(yielded, half);
            }
        }
        6 => loop {
            // Time-outs that race the end.
            let waited = wait(mine.clone(), short, ALL_COMPLETED);
            assert_eq!(waited.done.len() + waited.not_done.len(), 60);
            if waited.not_done.is_empty() {
                break;
            }
        },
        _ => loop {
            let mut done = 0;
            let mut late = None;
            for future in as_completed(mine.clone(), short) {
                match future {
                    Ok(future) => {
                        assert!(late.is_none() && future.done());
                        done += 1;
                    }
                    Err(error) => late = Some(error),
                }
            }
            match late {
                Some(error) => assert_eq!(error.unfinished() + done, 60),
                None => {
                    assert_eq!(done, 60);
                    break;
                }
            }
        },
    }
}

#[test]
fn a_timed_out_result_races_the_value() {
    watchdog("results whose time-out races them", |steps| {
        let pool = ThreadPoolExecutor::new(1).unwrap();
        let mut random = Random::new(5);
        for round in rounds(3000, 20_000) {
            steps.at(format!("round {round}"));
            let mut its_random = Random::new(random.next());
            let future = pool
                .submit(move || {
                    its_random.pause();
                    round
                })
                .unwrap();
            let timeout = Duration::from_micros(random.below(100) as u64);
            match future.result(timeout) {
                Ok(value) => assert_eq!(value, round),
                Err(Error::Timeout) => assert_eq!(future.result(None).unwrap(), round),
                Err(other) => panic!("{other}"),
            }
        }
        pool.shutdown();
    });
}

#[test]
fn one_of_many_takes_the_result() {
    watchdog("threads that take the same result", |steps| {
        for round in rounds(200, 2000) {
            let future = Future::new();
            let start = Barrier::new(9);
            let taken = Count::new();
            thread::scope(|scope| {
                for _ in 0..8 {
                    let (future, start, taken) = (&future, &start, &taken);
                    scope.spawn(move || {
                        start.wait();
                        match future.take_result(None) {
                            Ok(value) => {
                                assert_eq!(value, round);
                                taken.add(1);
                            }
                            Err(Error::Taken) => {}
                            Err(other) => panic!("{other}"),
                        }
                    });
                }
                steps.at(format!("round {round}"));
                start.wait();
                future.set_result(round).unwrap();
            });
            assert_eq!(taken.get(), 1);
        }
    });
}

#[test]
fn no_waiter_stays_installed() {
    const ROLE: &str = "waits that time out";
    if !is_child(ROLE) {
        let ended = child("no_waiter_stays_installed", ROLE, "");
        let passed = ended.code == Some(0) && ended.stdout.contains("child: done");
        assert!(passed, "{ended:?}");
        return;
    }
    watchdog(ROLE, |steps| {
        let futures: Vec<Future<()>> = (0..10).map(|_| Future::new()).collect();
        let waits = size(20_000, 100_000);
        let round = |steps: &Steps| {
            for number in 0..waits {
                if number % 1000 == 0 {
                    steps.at(format!("wait {number}"));
                }
                // It installs its waiter all the same, and gives the processor to nobody.
                let timeout = Duration::ZERO;
                let waited = wait(futures.clone(), timeout, ALL_COMPLETED);
                assert_eq!(waited.not_done.len(), 10);
                let mut completed = as_completed(futures.clone(), timeout);
                assert!(number % 2 == 0 || completed.next().unwrap().is_err());
            }
        };
        round(steps);
        let before = process_status("VmRSS");
        round(steps);
        round(steps);
        let after = process_status("VmRSS");
        // A waiter left in each future at each wait would be at least 16 bytes each.
        let left = waits * 2 * 2 * 10 * 16 / 1024;
        assert!(left > 10_000);
        assert!(after < before + left / 4, "{before} kB, then {after} kB");
        steps.at("complete what nobody waits for any more");
        for future in futures {
            future.set_result(()).unwrap();
        }
    });
    println!("child: done");
}
