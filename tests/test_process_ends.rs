//! Calls of a process pool that end without a result: in which order that is done, what runs meanwhile, and what is
//! kept.
#![cfg(target_os = "linux")]

mod processes;
mod support;

use concurrent_futures::process::{BrokenProcessPool, OnCrash, ProcessPoolExecutor, WorkerDied};
use concurrent_futures::{set_logger, Future, ShutdownOptions, State};
use processes::*;
use std::sync::{mpsc, Arc, Barrier, Mutex};
use std::thread;
use support::{child, is_child, process_status, rounds, watchdog};

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
