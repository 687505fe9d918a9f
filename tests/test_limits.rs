//! What happens at the edges: no threads to be had, thousands of pools, a million calls, chains longer
//! than any stack, the end of the process, and nothing to do at all.

mod support;

use concurrent_futures::{
    as_completed, at_exit, thread as pool_thread, wait, Error, Exception, Executor, Future,
    ShutdownOptions, SubmitError, ThreadPoolExecutor, ALL_COMPLETED, FIRST_EXCEPTION,
};
use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::sync::{mpsc, Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;
use support::{child, is_child, logged, process_status, size, thread_total, threads_named, until};
use support::{watchdog, Count, Gate, OnDrop, Random, Steps};

/// Runs `body` in a child process that plays `role`, the name of the calling test, under a watchdog.
fn in_a_child(role: &'static str, limits: &str, body: fn(&Steps)) {
    if is_child(role) {
        watchdog(role, body);
        println!("child: done");
        return;
    }
    let ended = child(role, role, limits);
    let passed = ended.code == Some(0) && ended.stdout.contains("child: done");
    assert!(passed, "{ended:?}");
}

// Threads refused.

#[test]
fn impossible_stack_sizes_are_refused() {
    watchdog("pools with impossible stacks", |steps| {
        for bytes in [
            usize::MAX,
            usize::MAX - 1,
            usize::MAX - 4095,
            usize::MAX - 4096,
            usize::MAX - (1 << 20),
            isize::MAX as usize,
            isize::MAX as usize + 1,
            usize::MAX / 2 + 4096,
            usize::MAX / 16,
            (1 << 60) + 1,
        ] {
            steps.at(format!("{bytes:#x}"));
            let pool = ThreadPoolExecutor::builder()
                .max_workers(3)
                .thread_stack_size(bytes)
                .initializer(|| ())
                .build()
                .unwrap();
            for _ in 0..3 {
                let dropped = Count::new();
                let its_dropped = dropped.clone();
                let captured = OnDrop::new(move || its_dropped.add(1));
                match pool.submit(move || drop(captured)) {
                    Err(SubmitError::Thread(_)) => {}
                    other => panic!("{bytes:#x}: {other:?}"),
                }
                assert_eq!(dropped.get(), 1);
                assert_eq!((pool.queue_size(), pool.thread_count()), (0, 0));
            }
            pool.shutdown();
            assert!(matches!(pool.submit(|| ()), Err(SubmitError::Shutdown)));
        }
    });
}

#[test]
fn work_is_done_by_the_threads_there_are() {
    // Each worker has a stack of 192 MiB, of which some fit into the process's memory. Here and
    // below these are multiples of the 64 MiB that glibc reserves for a thread's heap, so that what
    // is left over, and the rest of the process lives on, is much the same at any time.
    in_a_child(
        "work_is_done_by_the_threads_there_are",
        "ulimit -v 1500000",
        |steps| {
            for round in 0..20 {
                let pool = ThreadPoolExecutor::builder()
                    .max_workers(100)
                    .thread_stack_size(192 << 20)
                    .build()
                    .unwrap();
                let gate = Gate::new();
                let submit = |n: usize| {
                    let gate = gate.clone();
                    pool.submit(move || {
                        gate.wait();
                        n
                    })
                };
                let futures: Vec<_> = (0..50).map(|n| submit(n).expect("one thread")).collect();
                let threads = pool.thread_count();
                assert!((1..50).contains(&threads), "{threads} threads");
                gate.open();
                for (number, future) in futures.iter().enumerate() {
                    steps.at(format!("round {round}, call {number} on {threads} threads"));
                    assert_eq!(future.result(None).unwrap(), number);
                }
                steps.at(format!("round {round}: shutdown of {pool:?}"));
                pool.shutdown();
            }
        },
    );
}

#[test]
fn a_pool_recovers_when_threads_can_be_had_again() {
    in_a_child(
        "a_pool_recovers_when_threads_can_be_had_again",
        "ulimit -v 1200000",
        |steps| {
            let make = || {
                ThreadPoolExecutor::builder()
                    .max_workers(1)
                    .thread_stack_size(600 << 20)
                    .build()
                    .unwrap()
            };
            let (first, second) = (make(), make());
            for round in 0..5 {
                let gate = Gate::new();
                let its_gate = gate.clone();
                let first = if round == 0 { first.clone() } else { make() };
                let running = first.submit(move || its_gate.wait()).unwrap();
                assert!(matches!(second.submit(|| 1), Err(SubmitError::Thread(_))));
                assert_eq!((second.queue_size(), second.thread_count()), (0, 0));
                gate.open();
                running.result(None).unwrap();
                steps.at("the first pool's shutdown, which gives its memory back");
                first.shutdown();
            }
            steps.at("the second pool's call, once there is room");
            assert_eq!(second.submit(|| 2).unwrap().result(None).unwrap(), 2);
            second.shutdown();
        },
    );
}

#[test]
fn many_threads_refused_at_random() {
    in_a_child(
        "many_threads_refused_at_random",
        "ulimit -v 900000",
        |steps| {
            // Threads of several pools contend for what memory there is; every call ends all the same.
            let totals = Mutex::new((0, 0));
            thread::scope(|scope| {
                for number in 0..3 {
                    let (totals, steps) = (&totals, steps.clone());
                    scope.spawn(move || {
                        let mut random = Random::new(number);
                        for round in 0..60 {
                            let pool = ThreadPoolExecutor::builder()
                                .max_workers(1 + random.below(6))
                                .thread_stack_size((64 << 20) * (1 + random.below(3)))
                                .build()
                                .unwrap();
                            let calls: Vec<_> = (0..20).map(|n| pool.submit(move || n)).collect();
                            for (n, call) in calls.into_iter().enumerate() {
                                steps.at(format!(
                                    "thread {number}, round {round}, call {n}: {pool:?}"
                                ));
                                match call {
                                    Ok(future) => {
                                        assert_eq!(future.result(None).unwrap(), n);
                                        totals.lock().unwrap().0 += 1;
                                    }
                                    Err(SubmitError::Thread(_)) => totals.lock().unwrap().1 += 1,
                                    Err(other) => panic!("{other}"),
                                }
                            }
                            pool.shutdown();
                        }
                    });
                }
            });
            let (done, refused) = *totals.lock().unwrap();
            assert_eq!(done + refused, 3 * 60 * 20);
            assert!(done > 0);
        },
    );
}

// Thousands of pools.

fn thousands(steps: &Steps, end: fn(ThreadPoolExecutor)) {
    let pools = size(4_000, 20_000);
    let token = Arc::new(());
    let make_and_use = |n: usize| {
        let its_token = Arc::clone(&token);
        let pool = ThreadPoolExecutor::builder()
            .max_workers(1 + n % 2)
            .initializer(move || drop(Arc::clone(&its_token)))
            .build()
            .unwrap();
        for _ in 0..n % 3 {
            drop(pool.submit(move || n).unwrap());
        }
        if n % 4 == 1 {
            assert_eq!(pool.submit(move || n).unwrap().result(None).unwrap(), n);
        }
        end(pool);
    };
    let own = thread_total();
    let settle = || {
        until(steps, "all workers have ended", || thread_total() == own);
        until(steps, "nothing refers to the initializers", || {
            Arc::strong_count(&token) == 1
        });
    };
    let mut after_warming_up = 0;
    for n in 0..pools {
        steps.at(format!("pool {n}"));
        make_and_use(n);
        if n % 100 == 0 {
            // Dropped pools end when they like; here not too many at once.
            settle();
        }
        if n == pools / 5 {
            settle();
            after_warming_up = process_status("VmRSS");
        }
    }
    settle();
    let after_all = process_status("VmRSS");
    // A pool that is left behind is more than a kB.
    let left = (pools - pools / 5) / 2;
    assert!(
        after_all < after_warming_up + left,
        "{after_warming_up} kB after a fifth of the pools, {after_all} kB in the end"
    );
}

#[test]
fn thousands_of_pools_that_are_dropped() {
    in_a_child("thousands_of_pools_that_are_dropped", "", |steps| {
        thousands(steps, drop);
    });
}

#[test]
fn thousands_of_pools_that_are_shut_down() {
    in_a_child("thousands_of_pools_that_are_shut_down", "", |steps| {
        thousands(steps, |pool| pool.shutdown());
    });
}

#[test]
fn thousands_of_pools_that_are_shut_down_without_waiting() {
    in_a_child(
        "thousands_of_pools_that_are_shut_down_without_waiting",
        "",
        |steps| {
            thousands(steps, |pool| {
                pool.shutdown_with(ShutdownOptions::new().wait(false).cancel_futures(true));
            });
        },
    );
}

// Size.

#[test]
fn a_million_queued_calls() {
    watchdog("a million queued calls", |steps| {
        let calls = size(100_000, 1_000_000);
        let gate = Gate::new();
        let sum = Count::new();
        let pool = ThreadPoolExecutor::new(2).unwrap();
        for _ in 0..2 {
            let gate = gate.clone();
            drop(pool.submit(move || gate.wait()).unwrap());
        }
        let mut last = None;
        for n in 0..calls {
            let sum = sum.clone();
            last = Some(pool.submit(move || sum.add(n)).unwrap());
        }
        assert!((calls..calls + 2).contains(&pool.queue_size()));
        gate.open();
        steps.at("the last of them");
        last.unwrap().result(None).unwrap();
        steps.at("shutdown");
        pool.shutdown();
        assert_eq!(sum.get(), calls * (calls - 1) / 2);
        assert_eq!(pool.queue_size(), 0);

        steps.at("as many, cancelled by a shutdown");
        let pool = ThreadPoolExecutor::new(1).unwrap();
        let gate = Gate::new();
        let its_gate = gate.clone();
        let running = pool.submit(move || its_gate.wait()).unwrap();
        until(steps, "the first runs", || running.running());
        let futures: Vec<_> = (0..calls)
            .map(|n| pool.submit(move || n).unwrap())
            .collect();
        pool.shutdown_with(ShutdownOptions::new().wait(false).cancel_futures(true));
        assert!(futures.iter().all(Future::cancelled));
        gate.open();
        pool.shutdown();
    });
}

#[test]
fn a_million_futures_in_one_wait() {
    watchdog("a million futures in one wait", |steps| {
        let number = size(100_000, 1_000_000);
        let pool = ThreadPoolExecutor::new(2).unwrap();
        let gate = Gate::new();
        let its_gate = gate.clone();
        let first = pool.submit(move || its_gate.wait()).unwrap();
        let mut futures = vec![first];
        futures.extend((1..number).map(|_| pool.submit(|| ()).unwrap()));
        steps.at("a wait that times out");
        let waited = wait(futures.clone(), Duration::from_millis(1), ALL_COMPLETED);
        assert_eq!(waited.done.len() + waited.not_done.len(), number);
        assert!(waited.not_done.contains(&futures[0]));
        drop(waited);
        steps.at("a wait for all, and one for an exception that does not come");
        let all = futures.clone();
        let other = thread::spawn(move || wait(all, None, FIRST_EXCEPTION).done.len());
        gate.open();
        assert_eq!(wait(futures, None, ALL_COMPLETED).done.len(), number);
        assert_eq!(other.join().unwrap(), number);
        pool.shutdown();
    });
}

#[test]
fn a_million_futures_in_one_as_completed() {
    watchdog("a million futures in one as_completed", |steps| {
        let number = size(100_000, 1_000_000);
        let pool = ThreadPoolExecutor::new(2).unwrap();
        let gate = Gate::new();
        let its_gate = gate.clone();
        let first = pool.submit(move || its_gate.wait()).unwrap();
        let mut futures = vec![first.clone()];
        futures.extend((1..number).map(|_| pool.submit(|| ()).unwrap()));
        steps.at("one that is dropped half-way");
        assert_eq!(
            as_completed(futures.clone(), None).take(number / 2).count(),
            number / 2
        );
        steps.at("one that yields all");
        let mut yielded = 0;
        let mut last = None;
        for future in as_completed(futures, None) {
            yielded += 1;
            if yielded == number - 1 {
                gate.open();
            }
            last = future.ok();
        }
        assert_eq!(yielded, number);
        assert_eq!(last, Some(first));
        pool.shutdown();
    });
}

#[test]
fn a_future_with_a_hundred_thousand_callbacks() {
    watchdog("a hundred thousand callbacks", |steps| {
        for cancelled in [false, true] {
            let future = Future::new();
            let (sender, receiver) = mpsc::channel();
            for n in 0..100_000 {
                let sender = sender.clone();
                future.add_done_callback(move |_| sender.send(n).unwrap());
            }
            drop(sender);
            steps.at(format!("cancelled: {cancelled}"));
            if cancelled {
                assert!(future.cancel());
            } else {
                future.set_result(1).unwrap();
            }
            assert!(receiver.iter().eq(0..100_000), "in order, each once");
        }
        steps.at("dropped without being called");
        let future = Future::<()>::new();
        for _ in 0..100_000 {
            future.add_done_callback(|_| unreachable!());
        }
    });
}

/// A chain: each future's callback does `step` to the next one. The futures, first to last, and how
/// many callbacks were called.
fn chain(length: usize, step: fn(&Future<usize>, &Future<usize>)) -> (Vec<Future<usize>>, Count) {
    let futures: Vec<Future<usize>> = (0..length).map(|_| Future::new()).collect();
    let called = Count::new();
    for pair in futures.windows(2) {
        let (next, called) = (pair[1].clone(), called.clone());
        pair[0].add_done_callback(move |this| {
            called.add(1);
            step(this, &next);
        });
    }
    (futures, called)
}

const LINKS: usize = 100_000;

fn chains(steps: &Steps) {
    let completes: fn(&Future<usize>, &Future<usize>) = |this, next| {
        let value = this.result(None).expect("the value before");
        next.set_result(value + 1).expect("still pending");
    };
    let fails: fn(&Future<usize>, &Future<usize>) = |this, next| {
        let exception = this.exception(None).unwrap().expect("the exception before");
        next.set_exception(exception).expect("still pending");
    };
    let cancels: fn(&Future<usize>, &Future<usize>) = |this, next| {
        assert!(this.cancelled());
        assert!(next.cancel());
    };

    steps.at("a chain that is completed");
    let (futures, called) = chain(LINKS, completes);
    futures[0].set_result(1).unwrap();
    assert_eq!(called.get(), LINKS - 1, "before set_result returns");
    assert_eq!(futures[LINKS - 1].result(Duration::ZERO).unwrap(), LINKS);
    steps.at("and dropped, first to last");
    futures.into_iter().for_each(drop);

    steps.at("a chain that fails");
    let (mut futures, called) = chain(LINKS, fails);
    futures[0].set_exception(Exception::msg("first")).unwrap();
    assert_eq!(called.get(), LINKS - 1);
    let last = futures.pop().unwrap();
    assert_eq!(last.exception(None).unwrap().unwrap().to_string(), "first");
    steps.at("and is dropped, last to first");
    futures.into_iter().rev().for_each(drop);

    steps.at("a chain that is cancelled");
    let (futures, called) = chain(LINKS, cancels);
    assert!(futures[0].cancel());
    assert_eq!(called.get(), LINKS - 1);
    assert!(futures.iter().all(Future::cancelled));

    for reversed in [false, true] {
        steps.at(format!(
            "a chain that nobody completes, dropped; reversed: {reversed}"
        ));
        let (mut futures, called) = chain(LINKS, completes);
        if reversed {
            futures.reverse();
        }
        futures.into_iter().for_each(drop);
        assert_eq!(called.get(), 0);

        steps.at(format!(
            "a chain that is completed from its middle; reversed: {reversed}"
        ));
        let (mut futures, called) = chain(LINKS, completes);
        futures[LINKS / 2].set_result(1).unwrap();
        assert_eq!(called.get(), LINKS - LINKS / 2 - 1);
        if reversed {
            futures.reverse();
        }
        futures.into_iter().for_each(drop);
    }

    steps.at("a chain held by its first future alone, dropped");
    let (mut futures, called) = chain(LINKS, completes);
    let first = futures.swap_remove(0);
    drop(futures);
    drop(first);
    assert_eq!(called.get(), 0);

    steps.at("a chain held by its first future alone, completed");
    let (mut futures, called) = chain(LINKS, completes);
    let first = futures.swap_remove(0);
    drop(futures);
    first.set_result(0).unwrap();
    assert_eq!(called.get(), LINKS - 1);

    steps.at("a callback that adds a callback, and so on");
    fn nest(future: &Future<usize>, left: usize, called: Count) {
        future.add_done_callback(move |future| {
            called.add(1);
            if left > 1 {
                nest(future, left - 1, called);
            }
        });
    }
    let (future, called) = (Future::new(), Count::new());
    nest(&future, LINKS, called.clone());
    future.set_result(0).unwrap();
    assert_eq!(called.get(), LINKS);
}

#[test]
fn chains_of_a_hundred_thousand_futures() {
    watchdog("chains of futures", chains);
}

#[test]
fn chains_of_a_hundred_thousand_futures_on_a_small_stack() {
    // A stack overflow is the end of the process.
    in_a_child(
        "chains_of_a_hundred_thousand_futures_on_a_small_stack",
        "",
        |steps| {
            // Unoptimized code takes several times the stack of what is released.
            let bytes = size(128, 64) << 10;
            let its_steps = steps.clone();
            let small = thread::Builder::new()
                .stack_size(bytes)
                .spawn(move || chains(&its_steps))
                .unwrap();
            small.join().unwrap();

            steps.at("on a worker with such a stack");
            let pool = ThreadPoolExecutor::builder()
                .max_workers(1)
                .thread_stack_size(bytes)
                .build()
                .unwrap();
            let its_steps = steps.clone();
            pool.submit(move || chains(&its_steps))
                .unwrap()
                .result(None)
                .unwrap();
            pool.shutdown();
        },
    );
}

#[test]
fn a_chain_through_a_pool() {
    watchdog(
        "a chain of calls, each submitted by a callback of the one before",
        |steps| {
            fn link(pool: ThreadPoolExecutor, left: usize, end: Gate) {
                let future = pool.submit(move || left).unwrap();
                future.add_done_callback(move |future| match future.result(None).unwrap() {
                    0 => end.open(),
                    left => link(pool, left - 1, end),
                });
            }
            for workers in [1, 3] {
                let pool = ThreadPoolExecutor::new(workers).unwrap();
                let end = Gate::new();
                link(pool.clone(), size(20_000, 100_000), end.clone());
                steps.at(format!("on {workers} workers"));
                end.wait();
                pool.shutdown();
            }
        },
    );
}

// The end of the process.

/// Has work running and queued when the process ends. The calls write where the parent can see.
fn leave_work(calls: usize) -> ThreadPoolExecutor {
    let pool = ThreadPoolExecutor::new(2).unwrap();
    let started = Arc::new(Barrier::new(3));
    for n in 0..calls {
        let started = Arc::clone(&started);
        let future = pool
            .submit(move || {
                if n < 2 {
                    started.wait();
                }
                thread::sleep(Duration::from_millis(20));
                let _ = writeln!(std::io::stderr(), "call {n} is done");
            })
            .unwrap();
        future.add_done_callback(move |_| {
            let _ = writeln!(std::io::stderr(), "callback {n}");
        });
    }
    started.wait();
    pool
}

fn done_calls(stderr: &str) -> usize {
    stderr.matches("is done").count()
}

#[test]
fn the_process_ends_with_a_guard() {
    let role = "the_process_ends_with_a_guard";
    if is_child(role) {
        let _exit = at_exit();
        drop(leave_work(10));
        return;
    }
    let ended = child(role, role, "");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(done_calls(&ended.stderr), 10, "{ended:?}");
    assert_eq!(ended.stderr.matches("callback").count(), 10, "{ended:?}");
}

#[test]
fn the_process_ends_with_a_guard_and_the_pool_in_use() {
    let role = "the_process_ends_with_a_guard_and_the_pool_in_use";
    if is_child(role) {
        let pool;
        let exit = at_exit();
        pool = leave_work(10);
        let from_outside = pool.clone();
        let busy = thread::spawn(move || {
            let mut accepted = 0;
            loop {
                match from_outside.submit(|| ()) {
                    Ok(_) => accepted += 1,
                    Err(SubmitError::InterpreterShutdown) => return accepted,
                    Err(other) => panic!("{other}"),
                }
            }
        });
        drop(exit);
        busy.join().unwrap();
        let error = pool.submit(|| ()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot schedule new futures after interpreter shutdown"
        );
        // As are pools that have no thread yet.
        let fresh = ThreadPoolExecutor::new(1).unwrap();
        assert!(matches!(
            fresh.submit(|| ()),
            Err(SubmitError::InterpreterShutdown)
        ));
        assert_eq!((fresh.queue_size(), fresh.thread_count()), (0, 0));
        fresh.shutdown();
        pool.shutdown();
        pool_thread::_python_exit();
        println!("child: done");
        return;
    }
    let ended = child(role, role, "");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("child: done"), "{ended:?}");
    assert_eq!(done_calls(&ended.stderr), 10, "{ended:?}");
}

#[test]
fn the_process_ends_with_several_guards_at_once() {
    let role = "the_process_ends_with_several_guards_at_once";
    if is_child(role) {
        let pools: Vec<_> = (0..5).map(|_| leave_work(4)).collect();
        let threads: Vec<_> = (0..4).map(|_| thread::spawn(|| drop(at_exit()))).collect();
        // Called by a worker, it waits for nobody.
        let _ = pools[0].submit(pool_thread::_python_exit);
        for thread in threads {
            thread.join().unwrap();
        }
        drop(pools);
        drop(at_exit());
        return;
    }
    let ended = child(role, role, "");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(done_calls(&ended.stderr), 20, "{ended:?}");
}

#[test]
fn the_process_ends_without_a_guard() {
    let role = "the_process_ends_without_a_guard";
    if is_child(role) {
        std::mem::forget(leave_work(1000));
        return;
    }
    for _ in 0..5 {
        let ended = child(role, role, "");
        assert_eq!(ended.code, Some(0), "no hang and no crash: {ended:?}");
        assert!(done_calls(&ended.stderr) < 1000, "{ended:?}");
    }
}

#[test]
fn the_process_panics_with_a_guard() {
    let role = "the_process_panics_with_a_guard";
    if is_child(role) {
        let _exit = at_exit();
        let _pool = leave_work(10);
        panic!("main panics");
    }
    let ended = child(role, role, "");
    assert_eq!(ended.code, Some(101), "{ended:?}");
    assert_eq!(done_calls(&ended.stderr), 10, "{ended:?}");
}

#[test]
fn the_process_panics_without_a_guard() {
    let role = "the_process_panics_without_a_guard";
    if is_child(role) {
        let _pool = leave_work(1000);
        panic!("main panics");
    }
    let ended = child(role, role, "");
    assert_eq!(ended.code, Some(101), "{ended:?}");
    assert!(done_calls(&ended.stderr) < 1000, "{ended:?}");
}

#[test]
fn the_process_exits() {
    let role = "the_process_exits";
    if is_child(role) {
        // Neither is dropped.
        let _exit = at_exit();
        let _pool = leave_work(1000);
        std::process::exit(7);
    }
    for _ in 0..5 {
        let ended = child(role, role, "");
        assert_eq!(ended.code, Some(7), "{ended:?}");
        assert!(done_calls(&ended.stderr) < 1000, "{ended:?}");
    }
}

#[test]
fn the_process_exits_from_a_task() {
    let role = "the_process_exits_from_a_task";
    if is_child(role) {
        let _exit = at_exit();
        let pool = leave_work(10);
        pool.submit(|| std::process::exit(9)).unwrap();
        pool.shutdown();
        unreachable!("the task has ended the process");
    }
    let ended = child(role, role, "");
    assert_eq!(ended.code, Some(9), "{ended:?}");
}

// Idle.

/// How often each worker was put to sleep or off its processor, and how long it ran, as the kernel
/// counts it.
fn run_times(prefix: &str) -> HashMap<String, String> {
    let mut times = HashMap::new();
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path();
        let name = fs::read_to_string(path.join("comm")).unwrap();
        if name.starts_with(prefix) {
            let ran = fs::read_to_string(path.join("schedstat")).unwrap_or_default();
            let stat = fs::read_to_string(path.join("stat")).unwrap();
            // User and system time, in ticks.
            let times_of_stat: Vec<_> = stat.rsplit(')').next().unwrap().split(' ').collect();
            let status = fs::read_to_string(path.join("status")).unwrap();
            let switches: Vec<_> = status
                .lines()
                .filter(|line| line.contains("ctxt"))
                .collect();
            times.insert(
                name.trim_end().to_owned(),
                format!("{ran} {:?} {switches:?}", &times_of_stat[12..14]),
            );
        }
    }
    times
}

#[test]
fn workers_at_rest_use_no_processor_time() {
    in_a_child("workers_at_rest_use_no_processor_time", "", |steps| {
        let pool = ThreadPoolExecutor::builder()
            .max_workers(32)
            .thread_name_prefix("rest")
            .build()
            .unwrap();
        for _ in 0..20 {
            let barrier = Arc::new(Barrier::new(32));
            let futures: Vec<_> = (0..32)
                .map(|_| {
                    let barrier = Arc::clone(&barrier);
                    pool.submit(move || barrier.wait().is_leader()).unwrap()
                })
                .collect();
            let _ = wait(futures, None, ALL_COMPLETED);
        }
        until(steps, "all are there", || threads_named("rest_") == 32);
        let mut before = run_times("rest_");
        until(steps, "all have gone to sleep", || {
            thread::sleep(Duration::from_millis(100));
            let now = run_times("rest_");
            let asleep = now == before;
            before = now;
            asleep
        });
        thread::sleep(Duration::from_secs(2));
        // Not one of them ran for a nanosecond, nor woke up once.
        assert_eq!(run_times("rest_"), before);
        assert_eq!(before.len(), 32);
        assert_eq!(pool.submit(|| 5).unwrap().result(None).unwrap(), 5);
        pool.shutdown();
    });
}

#[test]
fn those_who_wait_use_no_processor_time() {
    in_a_child("those_who_wait_use_no_processor_time", "", |steps| {
        let future = Future::<u8>::new();
        let waiting: Vec<_> = (0..4)
            .map(|number| {
                let future = future.clone();
                thread::Builder::new()
                    .name(format!("waits_{number}"))
                    .spawn(move || match number {
                        0 => drop(future.result(Duration::from_secs(9999))),
                        1 => drop(future.result(None)),
                        2 => drop(wait(vec![future], None, ALL_COMPLETED)),
                        _ => drop(as_completed(vec![future], Duration::MAX).count()),
                    })
                    .unwrap()
            })
            .collect();
        until(steps, "all are there", || threads_named("waits_") == 4);
        let mut before = run_times("waits_");
        until(steps, "all have gone to sleep", || {
            thread::sleep(Duration::from_millis(100));
            let now = run_times("waits_");
            let asleep = now == before;
            before = now;
            asleep
        });
        thread::sleep(Duration::from_secs(1));
        assert_eq!(run_times("waits_"), before);
        future.set_result(1).unwrap();
        for thread in waiting {
            thread.join().unwrap();
        }
    });
}

// Deadlocks that a pool cannot solve, and how far its promises go.

#[test]
fn a_task_may_wait_for_another_while_a_worker_is_free() {
    watchdog("tasks that wait for tasks", |steps| {
        logged("");
        let pool = ThreadPoolExecutor::new(2).unwrap();
        for round in 0..200 {
            let inner = pool.clone();
            let outer = pool
                .submit(move || inner.submit(move || round).unwrap().result(None).unwrap())
                .unwrap();
            steps.at(format!("round {round}"));
            assert_eq!(outer.result(None).unwrap(), round);
        }
        // With one worker it would be a deadlock; a time-out ends it.
        let pool = ThreadPoolExecutor::new(1).unwrap();
        let inner = pool.clone();
        let outer = pool.submit(move || {
            let future = inner.submit(|| 1).unwrap();
            future.result(Duration::from_millis(1)).map_err(|error| {
                assert!(matches!(error, Error::Timeout));
                future.cancel()
            })
        });
        steps.at("a pool of one");
        assert_eq!(outer.unwrap().result(None).unwrap(), Err(true));
        pool.shutdown();
    });
}
