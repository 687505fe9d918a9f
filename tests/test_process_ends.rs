//! Calls of a process pool that end without a result: in which order that is done, what runs meanwhile, and what
//! is kept. Beside it, deaths, limits and ends of pools at moments that no other test looks at.
#![cfg(target_os = "linux")]

mod processes;
mod support;

use concurrent_futures::process::{
    BrokenProcessPool, CallKilled, CallOptions, CallTimeout, OnCrash, ProcessPoolExecutor,
    WorkerDied,
};
use concurrent_futures::{at_exit, set_logger, Future, ShutdownOptions, State, SubmitError};
use processes::*;
use std::fs;
use std::sync::{mpsc, Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;
use support::{
    child, is_child, process_status, rounds, threads_named, until, watchdog, Count, Random, Steps,
};

/// Two futures, each of which waits for the other one in a callback.
fn wait_for_each_other(one: &Future<u64>, other: &Future<u64>) -> mpsc::Receiver<bool> {
    let (sender, receiver) = mpsc::channel();
    for (its, awaited) in [(one, other), (other, one)] {
        let (awaited, sender) = (awaited.clone(), sender.clone());
        its.add_done_callback(move |_| {
            let outcome = awaited.result(None);
            sender.send(outcome.is_err()).unwrap();
        });
    }
    receiver
}

// ---- Many calls end at once, and the callback of one waits for another

#[test]
fn callbacks_of_cancelled_calls_wait_for_each_other() {
    watchdog("calls that are cancelled together", |steps| {
        for way in 0..3 {
            let pool = tough_pool(1);
            let holder = Holder::new();
            let running = pool.submit(hold, holder.port()).unwrap();
            let held = holder.entered();
            let futures = [2, 3].map(|n| pool.submit(square, n).unwrap());
            let called = wait_for_each_other(&futures[0], &futures[1]);
            steps.at(format!("way {way}"));
            let cancel = ShutdownOptions::new().cancel_futures(true);
            match way {
                0 => pool.shutdown_with(cancel.wait(false)),
                1 => pool.kill_workers(),
                _ => pool.terminate_workers(),
            }
            assert_eq!([called.recv(), called.recv()], [Ok(true), Ok(true)]);
            assert!(futures.iter().all(Future::cancelled));
            drop(held);
            let _ = running.exception(None);
            pool.shutdown();
        }
    });
}

#[test]
fn callbacks_of_failed_calls_wait_for_each_other() {
    watchdog("calls that fail together", |steps| {
        let pool = pool(1);
        let holder = Holder::new();
        let running = pool.submit(hold_and_abort, holder.port()).unwrap();
        let held = holder.entered();
        let futures = [2, 3].map(|n| pool.submit(square, n).unwrap());
        let called = wait_for_each_other(&futures[0], &futures[1]);
        let its_running = running.clone();
        futures[0].add_done_callback(move |_| drop(its_running.exception(None)));
        drop(held);
        steps.at("the callbacks");
        assert_eq!([called.recv(), called.recv()], [Ok(true), Ok(true)]);
        steps.at("the call that ran");
        assert!(is::<BrokenProcessPool>(&exception(&running)));
        pool.shutdown();
    });
}

/// The logger is told first of the command, and waits for the calls.
#[test]
fn a_logger_waits_for_the_calls_of_a_pool_without_commands() {
    const TEST: &str = "a_logger_waits_for_the_calls_of_a_pool_without_commands";
    if is_child("logger") {
        register_all();
        let pool = ProcessPoolExecutor::builder()
            .max_workers(1)
            .command(["/nonexistent"])
            .build()
            .unwrap();
        let futures: Arc<Mutex<Vec<Future<u64>>>> = Arc::default();
        let its_futures = Arc::clone(&futures);
        set_logger(move |_| {
            for future in its_futures.lock().unwrap().iter() {
                assert!(future.exception(None).unwrap().is_some());
            }
        });
        let mut list = futures.lock().unwrap();
        list.push(pool.submit(square, 2).unwrap());
        drop(list);
        pool.shutdown();
        return;
    }
    let ended = child(TEST, "logger", "");
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

/// Who finds that everything has ended also finds that every call has.
#[test]
fn a_shutdown_beside_one_that_cancels() {
    watchdog("two shutdowns", |steps| {
        for round in rounds(40, 400) {
            steps.at(format!("round {round}"));
            let pool = tough_pool(1);
            let holder = Holder::new();
            let running = pool.submit(hold, holder.port()).unwrap();
            let held = holder.entered();
            let futures: Vec<_> = (0..2000).map(|n| pool.submit(square, n).unwrap()).collect();
            let both = Arc::new(Barrier::new(2));
            let (its_pool, its_both) = (pool.clone(), Arc::clone(&both));
            let canceller = thread::spawn(move || {
                its_both.wait();
                its_pool.shutdown_with(ShutdownOptions::new().cancel_futures(true).wait(false));
            });
            both.wait();
            drop(held);
            pool.shutdown();
            let late = futures.iter().filter(|future| !future.done()).count();
            assert_eq!(late, 0, "in round {round}");
            assert!(running.done());
            canceller.join().unwrap();
        }
    });
}

// ---- Calls that somebody else has marked as running

#[test]
fn a_queued_call_that_was_marked_as_running_is_run() {
    watchdog("a call that was marked from outside", |steps| {
        for cancel_futures in [false, true] {
            let pool = pool(1);
            let holder = Holder::new();
            let running = pool.submit(hold, holder.port()).unwrap();
            let held = holder.entered();
            let marked = pool.submit(square, 6).unwrap();
            let other = pool.submit(square, 7).unwrap();
            assert!(marked.set_running_or_notify_cancel().unwrap());
            let options = ShutdownOptions::new().wait(false);
            pool.shutdown_with(options.cancel_futures(cancel_futures));
            drop(held);
            steps.at(format!("cancel_futures: {cancel_futures}"));
            assert_eq!(marked.result(None).unwrap(), 36);
            assert_eq!(other.result(None).is_err(), cancel_futures);
            running.result(None).unwrap();
            pool.shutdown();
        }
    });
}

#[test]
fn a_queued_call_that_was_marked_as_running_ends_by_force() {
    watchdog("a marked call of a pool that ends by force", |steps| {
        for (terminate, on_crash) in [(false, OnCrash::BreakPool), (true, OnCrash::Retry(3))] {
            let pool = builder(1).on_crash(on_crash).build().unwrap();
            let holder = Holder::new();
            let _running = pool.submit(hold, holder.port()).unwrap();
            let _held = holder.entered();
            let marked = pool.submit(square, 6).unwrap();
            assert!(marked.set_running_or_notify_cancel().unwrap());
            steps.at("the end by force");
            if terminate {
                pool.terminate_workers();
            } else {
                pool.kill_workers();
            }
            steps.at("the marked one");
            assert!(is::<WorkerDied>(&exception(&marked)));
            pool.shutdown();
        }
    });
}

// ---- What is kept

const LARGE: usize = 100 << 20;

/// In kB.
fn memory() -> usize {
    process_status("VmRSS:")
}

/// In a process of its own, as this looks at the memory of the whole process.
fn alone(test: &str, body: impl FnOnce()) {
    if is_child("alone") {
        return body();
    }
    let ended = child(test, "alone", "");
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

/// No worker comes by.
#[test]
fn the_message_of_a_cancelled_call_is_freed() {
    alone("the_message_of_a_cancelled_call_is_freed", || {
        let pool = pool(1);
        let holder = Holder::new();
        let running = pool.submit(hold, holder.port()).unwrap();
        let held = holder.entered();
        let before = memory();
        let cancelled = pool.submit(echo, vec![1; LARGE]).unwrap();
        assert!(memory() > before + (LARGE >> 11));
        assert!(cancelled.cancel());
        let after = memory();
        assert!(after < before + (LARGE >> 11), "{before} kB, {after} kB");
        drop(held);
        running.result(None).unwrap();
        pool.shutdown();
    });
}

/// As that of a cancelled one.
#[test]
fn the_message_of_a_call_completed_by_hand_is_freed() {
    alone("the_message_of_a_call_completed_by_hand_is_freed", || {
        let pool = pool(1);
        let holder = Holder::new();
        let running = pool.submit(hold, holder.port()).unwrap();
        let held = holder.entered();
        for fails in [false, true] {
            let before = memory();
            let completed = pool.submit(echo, vec![1; LARGE]).unwrap();
            assert!(memory() > before + (LARGE >> 11));
            if fails {
                completed
                    .set_exception(concurrent_futures::Exception::msg("by hand"))
                    .unwrap();
            } else {
                completed.set_result(vec![2]).unwrap();
            }
            let after = memory();
            assert!(after < before + (LARGE >> 11), "{before} kB, {after} kB");
        }
        drop(held);
        running.result(None).unwrap();
        assert_eq!(pool.submit(square, 6).unwrap().result(None).unwrap(), 36);
        pool.shutdown();
    });
}

/// As a closure in a thread pool, before its result is seen.
#[test]
fn the_message_of_a_call_that_ran_is_freed() {
    alone("the_message_of_a_call_that_ran_is_freed", || {
        let pool = pool(1);
        pool.submit(square, 1).unwrap().result(None).unwrap();
        let before = memory();
        let ran = pool.submit(bytes_for, (vec![1; LARGE], 1)).unwrap();
        let (sender, receiver) = mpsc::channel();
        ran.add_done_callback(move |_| sender.send(memory()).unwrap());
        let after = receiver.recv().unwrap();
        assert!(after < before + (LARGE >> 11), "{before} kB, {after} kB");
        pool.shutdown();
    });
}

/// Between two attempts.
#[test]
fn the_message_of_a_call_that_came_back_is_freed() {
    alone("the_message_of_a_call_that_came_back_is_freed", || {
        let holder = Holder::new();
        let pool = builder(1)
            .initializer(hold, holder.port())
            .on_crash(OnCrash::Retry(1))
            .build()
            .unwrap();
        let before = memory();
        let call = pool.submit(hold_with, (vec![1; LARGE], holder.port()));
        let call = call.unwrap();
        drop(holder.entered());
        kill(holder.entered().pid, "KILL");
        let initializing = holder.entered();
        assert_eq!(call.state(), State::Pending);
        assert!(memory() > before + (LARGE >> 11));
        assert!(call.cancel());
        let after = memory();
        assert!(after < before + (LARGE >> 11), "{before} kB, {after} kB");
        drop(initializing);
        pool.shutdown();
    });
}

// ---- The pool is used where it ends

/// The last reference goes in a callback, with calls in the queue, and every call has a process of its own.
#[test]
fn a_pool_is_dropped_in_its_own_callback() {
    watchdog("dropped in a callback", |steps| {
        for on_crash in [OnCrash::BreakPool, OnCrash::FailCall, OnCrash::Retry(1)] {
            let pool = builder(2)
                .max_tasks_per_child(1)
                .on_crash(on_crash)
                .build()
                .unwrap();
            let holder = Holder::new();
            let first = pool.submit(hold, holder.port()).unwrap();
            let held = holder.entered();
            let rest: Vec<_> = (0..6).map(|n| pool.submit(square, n).unwrap()).collect();
            let limited = CallOptions::new().timeout(Duration::from_secs(1000));
            let limited = pool.submit_with(square, 9, limited).unwrap();
            let pool = Mutex::new(Some(pool));
            let (sender, receiver) = mpsc::channel();
            first.add_done_callback(move |_| {
                drop(pool.lock().unwrap().take());
                sender.send(()).unwrap();
            });
            drop(held);
            steps.at("the callback");
            receiver.recv().unwrap();
            steps.at("the rest");
            for (n, future) in (0..).zip(&rest) {
                assert_eq!(future.result(None).unwrap(), n * n);
            }
            assert_eq!(limited.result(None).unwrap(), 81);
        }
    });
}

/// In callbacks of its own: of a call that ran, one whose process died, one that was killed, and one that was
/// cancelled.
#[test]
fn ends_of_all_kinds_in_callbacks() {
    watchdog("ends in callbacks", |steps| {
        let ends: [fn(&ProcessPoolExecutor); 4] = [
            |pool| pool.kill_workers(),
            |pool| pool.terminate_workers(),
            |pool| pool.shutdown_with(ShutdownOptions::new().cancel_futures(true)),
            |pool| drop(pool.clone().with(|pool| pool.submit(square, 2).map(drop))),
        ];
        for (end, way) in (0..ends.len()).flat_map(|end| (0..4).map(move |way| (end, way))) {
            steps.at(format!("end {end}, way {way}"));
            let pool = tough_pool(2);
            let holder = Holder::new();
            let beside = pool.submit(hold, holder.port()).unwrap();
            let beside_held = holder.entered();
            let future = pool.submit(hold, holder.port()).unwrap();
            let held = holder.entered();
            let waiting = pool.submit(square, 2).unwrap();
            let (sender, receiver) = mpsc::channel();
            let (its_pool, end) = (pool.clone(), ends[end]);
            let callback = move || {
                end(&its_pool);
                sender.send(()).unwrap();
            };
            if way < 3 {
                future.add_done_callback(move |_| callback());
            } else {
                waiting.add_done_callback(move |_| callback());
            }
            match way {
                0 => drop(held),
                1 => kill(held.pid, "KILL"),
                2 => assert!(pool.kill_call(&future)),
                _ => {
                    // On this thread, which is none of the pool's, and so waits.
                    let its_waiting = waiting.clone();
                    thread::spawn(move || {
                        while !its_waiting.cancelled() {
                            thread::sleep(Duration::from_millis(1));
                        }
                        drop((held, beside_held));
                    });
                    assert!(waiting.cancel());
                    receiver.recv().unwrap();
                    continue;
                }
            }
            receiver.recv().unwrap();
            drop(beside_held);
            steps.at(format!("way {way}, shutdown"));
            pool.shutdown();
            assert!(beside.done() && future.done() && waiting.done());
        }
    });
}

// ---- at_exit

#[test]
fn at_exit_beside_an_initializer_that_never_ends() {
    const TEST: &str = "at_exit_beside_an_initializer_that_never_ends";
    if is_child("exit") {
        register_all();
        let _exit = at_exit().timeout(Duration::from_millis(300));
        let holder = Holder::new();
        let pool = builder(2).initializer(hold, holder.port()).build().unwrap();
        let future = pool.submit(square, 1).unwrap();
        std::mem::forget(holder.entered());
        let its_pool = pool.clone();
        future.add_done_callback(move |_| its_pool.shutdown());
        std::mem::forget(holder);
        return;
    }
    let ended = child(TEST, "exit", "");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.stderr.contains("1 (of 1) workers still running"),
        "{ended:?}"
    );
}

/// The end of the program comes in a callback, on a manager's thread; and then in the main thread.
#[test]
fn at_exit_in_a_callback() {
    const TEST: &str = "at_exit_in_a_callback";
    if is_child("exit") {
        register_all();
        let outer = at_exit();
        let (one, two) = (pool(2), tough_pool(1));
        let holder = Holder::new();
        let first = one.submit(hold, holder.port()).unwrap();
        let held = holder.entered();
        let second = two.submit(sleep_ms, 200).unwrap();
        let late: Vec<_> = (0..4).map(|n| one.submit(square, n).unwrap()).collect();
        let (sender, receiver) = mpsc::channel();
        first.add_done_callback(move |_| {
            drop(at_exit());
            let refused = pool(1).submit(square, 1);
            assert!(matches!(refused, Err(SubmitError::InterpreterShutdown)));
            sender.send(()).unwrap();
        });
        drop(held);
        receiver.recv().unwrap();
        drop(outer);
        assert!(second.done() && late.iter().all(Future::done));
        println!("over");
        return;
    }
    let ended = child(TEST, "exit", "");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("over"), "{ended:?}");
}

// ---- Limits and initializers

#[test]
fn limits_of_every_length() {
    watchdog("limits", |steps| {
        let pool = tough_pool(2);
        let no_limit = [Duration::MAX, Duration::from_secs(u64::MAX / 2)];
        let limit = |limit| CallOptions::new().timeout(limit);
        let holder = Holder::new();
        for timeout in no_limit {
            let future = pool.submit_with(square, 3, limit(timeout)).unwrap();
            assert_eq!(future.result(None).unwrap(), 9);
        }
        for timeout in [Duration::ZERO, Duration::from_nanos(1)] {
            steps.at(format!("{timeout:?}"));
            // A small one for an idle worker, and large ones that wait in the queue.
            let small = pool
                .submit_with(sleep_ms, 1_000_000, limit(timeout))
                .unwrap();
            assert!(is::<CallTimeout>(&exception(&small)));
            let large = (vec![1; 1 << 20], holder.port());
            let large = pool.submit_with(hold_with, large, limit(timeout));
            assert!(is::<CallTimeout>(&exception(&large.unwrap())));
        }
        assert_eq!(pool.submit(square, 4).unwrap().result(None).unwrap(), 16);
        pool.shutdown();
    });
}

#[test]
fn an_initializer_that_never_ends() {
    watchdog("an initializer that never ends", |steps| {
        for way in 0..4 {
            let holder = Holder::new();
            let pool = builder(1)
                .initializer(hold, holder.port())
                .on_crash(OnCrash::Retry(2))
                .build()
                .unwrap();
            let limit = CallOptions::new().timeout(Duration::from_millis(1));
            let future = pool.submit_with(square, 3, limit).unwrap();
            let held = holder.entered();
            steps.at(format!("way {way}"));
            let at_once = ShutdownOptions::new().timeout(Duration::from_millis(20));
            assert_eq!(pool.shutdown_timeout(at_once).unwrap_err().unfinished(), 1);
            // The limit is for the call.
            assert_eq!(future.state(), State::Pending);
            assert!(!pool.kill_call(&future));
            match way {
                0 => pool.kill_workers(),
                1 => pool.terminate_workers(),
                2 => assert!(future.cancel()),
                _ => kill(held.pid, "KILL"),
            }
            if way < 3 {
                assert!(future.cancelled());
            }
            drop(held);
            if way == 3 {
                drop(holder.entered());
                let _ = future.exception(None);
            }
            steps.at(format!("way {way}, shutdown"));
            pool.shutdown();
            assert!(future.done());
        }
    });
}

// ---- While a large message is written to a worker that does not read

#[test]
fn what_can_be_done_while_a_message_is_written() {
    watchdog("a message that is being written", |steps| {
        for way in 0..5 {
            steps.at(format!("way {way}"));
            let pool = tough_pool(1);
            let mut options = CallOptions::new();
            if way == 4 {
                options = options.timeout(Duration::from_millis(300));
            }
            // The worker reads the first part, and is at that for long.
            let slow = Slow(vec![1; 1000], vec![1; 64 << 20]);
            let large = pool.submit_with(takes_slow, slow, options).unwrap();
            until(steps, "it is running", || large.running() || large.done());
            thread::sleep(Duration::from_millis(50));
            let next = pool.submit(square, 5).unwrap();
            assert!(!large.cancel());
            match way {
                0 => assert!(pool.kill_call(&large)),
                1 => pool.kill_workers(),
                2 => pool.terminate_workers(),
                3 => kill(pool.pids()[0], "KILL"),
                _ => {}
            }
            steps.at(format!("way {way}, the call"));
            match way {
                0 => assert!(is::<CallKilled>(&exception(&large))),
                1 | 2 => assert!(is::<WorkerDied>(&exception(&large))),
                // It did not begin, and so another one runs it.
                3 => assert_eq!(large.take_result(None).unwrap().len(), 1000 + (64 << 20)),
                _ => assert!(is::<CallTimeout>(&exception(&large))),
            }
            steps.at(format!("way {way}, the next one"));
            assert_eq!(next.exception(None).is_err(), way == 1 || way == 2);
            pool.shutdown();
        }
    });
}

// ---- Counts

/// Each of the dying calls is begun once more than it has retries, beside others, and each process makes one call.
#[test]
fn attempts_are_counted_where_each_process_makes_one_call() {
    watchdog("attempts", |steps| {
        let mut random = Random::new(5);
        for round in rounds(4, 40) {
            steps.at(format!("round {round}"));
            let path = std::env::temp_dir().join(format!("test-attempts-{}", std::process::id()));
            let path = path.to_str().unwrap().to_owned();
            let _ = fs::remove_file(&path);
            let retries = random.below(4) as u32;
            let pool = builder(2)
                .max_tasks_per_child(1)
                .on_crash(OnCrash::Retry(retries))
                .build()
                .unwrap();
            let dying: Vec<_> = (0..6)
                .map(|_| {
                    pool.submit(touch_and_abort_at_3, (path.clone(), 3, vec![0; 10]))
                        .unwrap()
                })
                .collect();
            let living: Vec<_> = (0..6).map(|n| pool.submit(square, n).unwrap()).collect();
            for future in &dying {
                assert!(is::<WorkerDied>(&exception(future)));
            }
            for (n, future) in (0..).zip(&living) {
                assert_eq!(future.result(None).unwrap(), n * n);
            }
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            assert_eq!(lines, 6 * (retries as usize + 1));
            pool.shutdown();
            fs::remove_file(&path).unwrap();
        }
    });
}

/// Threads that submit, cancel, kill calls and kill processes, with retries, few calls for a process, limits and an
/// end at any time: every future ends, callbacks are called once, and nothing is left.
#[test]
fn everything_at_once() {
    let left = || {
        let threads = threads_named("ProcessPoolEx") + threads_named("deadlines");
        (threads, fs::read_dir("/proc/self/fd").unwrap().count())
    };
    alone("everything_at_once", || {
        let before = left();
        watchdog("everything at once", everything);
        assert_eq!(left(), before);
    });
}

fn everything(steps: &Steps) {
    for round in rounds(1000, 1000) {
        let mut random = Random::new(round as u64);
        steps.at(format!("round {round}"));
        let on_crash = [
            OnCrash::FailCall,
            OnCrash::Retry(1),
            OnCrash::Retry(u32::MAX),
        ];
        let on_crash = on_crash[random.below(3)];
        let mut options = builder(1 + random.below(3)).on_crash(on_crash);
        if random.once_in(2) {
            options = options.max_tasks_per_child(1 + random.below(3));
        }
        let pool = options.build().unwrap();
        let (futures, called) = (Mutex::new(Vec::new()), Count::new());
        let seeds: Vec<u64> = (0..3).map(|_| random.next()).collect();
        thread::scope(|scope| {
            for seed in seeds {
                let (pool, futures, called) = (&pool, &futures, &called);
                scope.spawn(move || {
                    let mut random = Random::new(seed);
                    for _ in 0..20 {
                        let submitted = match random.below(6) {
                            0 => pool.submit_with(
                                sleep_ms,
                                random.below(3) as u64,
                                CallOptions::new()
                                    .timeout(Duration::from_micros(random.below(2000) as u64)),
                            ),
                            // With a number of attempts that all of them may need.
                            1 if on_crash != OnCrash::Retry(u32::MAX) => {
                                pool.submit(late_death, vec![0; random.below(200_000)])
                            }
                            2 => pool.submit(takes_bytes, vec![0; random.below(200_000)]),
                            _ => pool.submit(square, 3),
                        };
                        let future = match submitted {
                            Ok(future) => future,
                            Err(_) => return,
                        };
                        let its_called = called.clone();
                        future.add_done_callback(move |_| its_called.add(1));
                        match random.below(6) {
                            0 => drop(future.cancel()),
                            1 => drop(pool.kill_call(&future)),
                            2 => {
                                let pids = pool.pids();
                                if !pids.is_empty() && random.once_in(4) {
                                    kill(pids[random.below(pids.len())], "KILL");
                                }
                            }
                            _ => {}
                        }
                        futures.lock().unwrap().push(future);
                    }
                    match random.below(8) {
                        0 => pool.kill_workers(),
                        1 => pool.terminate_workers(),
                        2 => pool.shutdown_with(ShutdownOptions::new().cancel_futures(true)),
                        3 => pool.shutdown_with(ShutdownOptions::new().wait(false)),
                        _ => {}
                    }
                });
            }
        });
        steps.at(format!("round {round}: shutdown"));
        pool.shutdown();
        let futures = futures.into_inner().unwrap();
        assert!(futures.iter().all(Future::done), "round {round}");
        assert_eq!(called.get(), futures.len(), "round {round}");
        assert_eq!(pool.process_count(), 0);
    }
}
