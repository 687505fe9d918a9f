//! CPython's `test_process_pool.py`, and our own promises of the pool where nothing goes wrong.

mod processes;
mod support;

use concurrent_futures::pickle::RemoteError;
use concurrent_futures::process::{BrokenProcessPool, CallOptions, OnCrash, ProcessPoolExecutor};
use concurrent_futures::{
    as_completed, wait, Error, Executor, MapOptions, ShutdownOptions, State, SubmitError,
    ThreadPoolExecutor, ALL_COMPLETED, FIRST_COMPLETED,
};
use processes::*;
use std::collections::HashMap;
use std::num::ParseIntError;
use std::process::Command;
use std::sync::{mpsc, Arc};
use std::time::Duration;
use support::{child, is_child, strict, until, watchdog, Steps};

/// How many workers CPython's tests have.
const WORKER_COUNT: usize = 5;

// ---- CPython's cases

/// There the process is asked to end, by SIGTERM; here it exits, with the same effect.
#[test]
fn test_killed_child() {
    watchdog("test_killed_child", |_| {
        let executor = pool(WORKER_COUNT);
        let holder = Holder::new();
        let future = executor.submit(hold, holder.port()).unwrap();
        let killed = executor.submit(exits, 15).unwrap();
        for error in [
            future.result(None).unwrap_err(),
            killed.result(None).unwrap_err(),
        ] {
            match error {
                Error::Exception(exception) => {
                    assert!(exception.downcast_ref::<BrokenProcessPool>().is_some());
                }
                other => panic!("{other:?}"),
            }
        }
        // Submitting other jobs fails as well.
        assert!(matches!(
            executor.submit(mul, (2, 8)),
            Err(SubmitError::Broken(_))
        ));
        executor.shutdown();
    });
}

#[test]
fn test_map_chunksize() {
    watchdog("test_map_chunksize", |_| {
        let executor = pool(WORKER_COUNT);
        let pairs = || (0..40_u64).map(|n| (n, n));
        let expected: Vec<u64> = (0..40).map(|n| n * n).collect();
        for chunksize in [6, 50, 40] {
            let options = MapOptions::new().chunksize(chunksize);
            let results = executor.map_with(mul, pairs(), options).unwrap();
            assert_eq!(results.collect::<Result<Vec<_>, _>>().unwrap(), expected);
        }
        let bad = executor.map_with(mul, pairs(), MapOptions::new().chunksize(0));
        assert!(matches!(bad, Err(SubmitError::Value(_))));
    });
}

#[test]
fn test_traceback() {
    watchdog("test_traceback", |_| {
        let executor = pool(1);
        let future = executor.submit(panics, "123".to_owned()).unwrap();
        let exception = future.exception(None).unwrap().unwrap();
        assert!(exception.is_panic());
        assert_eq!(exception.panic_message(), Some("123"));
        let remote = exception.downcast_ref::<RemoteError>().unwrap();
        assert_eq!(
            (remote.type_name(), remote.to_string()),
            ("panic", "123".to_owned())
        );
        let location = remote.location().unwrap();
        assert!(location.contains("tests/processes/mod.rs:"), "{location}");
    });
}

/// The place of a panic is not that of another one, which an earlier call has caught.
#[test]
fn a_panic_without_a_place() {
    watchdog("a panic without a place", |_| {
        let executor = pool(1);
        let caught = executor.submit(catches_a_panic, ()).unwrap();
        assert!(caught.result(None).unwrap());
        let resumed = executor.submit(resumes_a_panic, "on".to_owned()).unwrap();
        let exception = resumed.exception(None).unwrap().unwrap();
        assert_eq!(exception.panic_message(), Some("on"));
        let remote = exception.downcast_ref::<RemoteError>().unwrap();
        assert_eq!(remote.location(), None);
    });
}

/// The arguments are values here, dropped when the function is done with them.
#[test]
fn test_ressources_gced_in_workers() {
    watchdog("test_ressources_gced_in_workers", |_| {
        let executor = pool(1);
        executor
            .submit(takes_counted, Counted)
            .unwrap()
            .result(None)
            .unwrap();
        assert_eq!(
            executor.submit(counted, ()).unwrap().result(None).unwrap(),
            0
        );
    });
}

#[test]
fn test_saturation() {
    watchdog("test_saturation", |_| {
        let executor = pool(WORKER_COUNT);
        let holder = Holder::new();
        let job_count = 15 * WORKER_COUNT;
        let futures: Vec<_> = (0..job_count)
            .map(|_| executor.submit(hold, holder.port()).unwrap())
            .collect();
        assert_eq!(executor.process_count(), WORKER_COUNT);
        (0..job_count).for_each(|_| drop(holder.entered()));
        assert!(futures.iter().all(|future| future.result(None).is_ok()));
        executor.shutdown();
    });
}

#[test]
fn test_idle_process_reuse_one() {
    watchdog("test_idle_process_reuse_one", |_| {
        let executor = pool(WORKER_COUNT);
        for (a, b) in [(21, 2), (6, 7), (3, 14)] {
            executor.submit(mul, (a, b)).unwrap().result(None).unwrap();
        }
        assert_eq!(executor.process_count(), 1);
    });
}

#[test]
fn test_idle_process_reuse_multiple() {
    watchdog("test_idle_process_reuse_multiple", |_| {
        let executor = pool(WORKER_COUNT);
        executor.submit(mul, (12, 7)).unwrap().result(None).unwrap();
        executor.submit(mul, (33, 25)).unwrap();
        executor
            .submit(mul, (25, 26))
            .unwrap()
            .result(None)
            .unwrap();
        executor.submit(mul, (18, 29)).unwrap();
        executor.submit(mul, (1, 2)).unwrap().result(None).unwrap();
        executor.submit(mul, (0, 9)).unwrap();
        assert!(executor.process_count() <= 3);
        executor.shutdown();
    });
}

#[test]
fn test_max_tasks_per_child() {
    watchdog("test_max_tasks_per_child", |_| {
        let executor = builder(1).max_tasks_per_child(3).build().unwrap();
        let original_pid = executor.submit(pid, ()).unwrap().result(None).unwrap();
        // The worker pid remains the same, as the worker could be reused.
        assert_eq!(
            executor.submit(pid, ()).unwrap().result(None).unwrap(),
            original_pid
        );
        assert_eq!(executor.process_count(), 1);
        assert_eq!(
            executor.submit(pid, ()).unwrap().result(None).unwrap(),
            original_pid
        );
        // A new worker is started, while the previous was reaped.
        let new_pid = executor.submit(pid, ()).unwrap().result(None).unwrap();
        assert_ne!(original_pid, new_pid);
        assert_eq!(executor.process_count(), 1);
        executor.shutdown();
        assert!(builder(1).max_tasks_per_child(0).build().is_err());
    });
}

#[test]
fn test_max_tasks_early_shutdown() {
    watchdog("test_max_tasks_early_shutdown", |_| {
        let executor = builder(3).max_tasks_per_child(1).build().unwrap();
        let futures: Vec<_> = (0..6)
            .map(|n| executor.submit(mul, (n, n)).unwrap())
            .collect();
        executor.shutdown();
        for (n, future) in (0..).zip(futures) {
            assert_eq!(future.result(None).unwrap(), n * n);
        }
    });
}

// ---- CPython's cases of `executor.py`

#[test]
fn test_submit() {
    watchdog("test_submit", |_| {
        let future = pool(WORKER_COUNT).submit(pow, (2, 8)).unwrap();
        assert_eq!(future.result(None).unwrap(), 256);
    });
}

/// A function's parameters have a place and no name.
#[test]
fn test_submit_keyword() {
    watchdog("test_submit_keyword", |_| {
        let executor = pool(WORKER_COUNT);
        let future = executor.submit(mul, (2, 8)).unwrap();
        assert_eq!(future.result(None).unwrap(), 16);
    });
}

#[test]
fn test_map() {
    watchdog("test_map", |_| {
        let executor = pool(WORKER_COUNT);
        let arguments = || (0..10).zip(0..10);
        let expected: Vec<i64> = arguments().map(|(x, y)| pow(x, y)).collect();
        let results = executor.map(pow, arguments()).unwrap();
        assert_eq!(results.collect::<Result<Vec<_>, _>>().unwrap(), expected);
        let options = MapOptions::new().chunksize(3);
        let results = executor.map_with(pow, arguments(), options).unwrap();
        assert_eq!(results.collect::<Result<Vec<_>, _>>().unwrap(), expected);
    });
}

#[test]
fn test_map_exception() {
    watchdog("test_map_exception", |_| {
        let executor = pool(WORKER_COUNT);
        let mut i = executor
            .map(divmod, [(1, 2), (1, 3), (1, 0), (1, 5)])
            .unwrap();
        assert_eq!(i.next().unwrap().unwrap(), (0, 1));
        assert_eq!(i.next().unwrap().unwrap(), (0, 1));
        match i.next() {
            Some(Err(Error::Exception(exception))) => assert_eq!(
                exception.panic_message(),
                Some("attempt to divide by zero"),
                "{exception:?}"
            ),
            other => panic!("expected a division by zero: {other:?}"),
        }
        assert!(i.next().is_none());
    });
}

#[test]
fn test_map_timeout() {
    watchdog("test_map_timeout", |_| {
        let executor = pool(WORKER_COUNT);
        // A machine that is busy may not have got to the first two calls when the time is over; that
        // proves nothing, so it is given more.
        for timeout in [100, 1_000, 10_000, 60_000] {
            let holder = Holder::new();
            let options = MapOptions::new().timeout(Duration::from_millis(timeout));
            let items = [None, None, Some(holder.port())];
            let mut results = executor.map_with(wait_at, items, options).unwrap();
            let mut returned = 0;
            let error = loop {
                match results.next().expect("expected a time-out") {
                    Ok(_) => returned += 1,
                    Err(error) => break error,
                }
            };
            assert!(matches!(error, Error::Timeout), "{error:?}");
            assert!(returned <= 2);
            if returned == 2 {
                return;
            }
        }
        panic!("the first two calls have not returned in a minute");
    });
}

#[test]
fn test_shutdown_race_issue12456() {
    watchdog("test_shutdown_race_issue12456", |_| {
        let executor = pool(WORKER_COUNT);
        let results = executor.map(text_of, vec![2; WORKER_COUNT + 1]).unwrap();
        executor.shutdown();
        assert_eq!(
            results.collect::<Result<Vec<_>, _>>().unwrap(),
            vec!["2"; WORKER_COUNT + 1]
        );
    });
}

/// The arguments are gone when `submit` returns: they were dumped.
#[test]
fn test_no_stale_references() {
    watchdog("test_no_stale_references", |_| {
        let executor = pool(WORKER_COUNT);
        let my_object = MyObject::default();
        let weak = Arc::downgrade(&my_object.0);
        let future = executor.submit(take_object, my_object).unwrap();
        assert!(weak.upgrade().is_none());
        future.result(None).unwrap();
    });
}

/// There are no negative numbers in a `usize`, so zero is all there is to refuse.
#[test]
fn test_max_workers_negative() {
    register_all();
    let error = ProcessPoolExecutor::new(0).unwrap_err();
    assert_eq!(error.to_string(), "max_workers must be greater than 0");
}

#[test]
fn test_free_reference() {
    watchdog("test_free_reference", |_| {
        let executor = pool(WORKER_COUNT);
        let mut yielded = 0;
        for obj in executor.map(make_object, 0..10).unwrap() {
            let obj = obj.unwrap();
            let weak = Arc::downgrade(&obj.0);
            drop(obj);
            assert!(weak.upgrade().is_none(), "a yielded result was kept");
            yielded += 1;
        }
        assert_eq!(yielded, 10);
    });
}

// ---- Our own promises

/// gh-115634, gh-119592 and gh-152967: a process that has run as many calls as it may is replaced while
/// others wait, also in a pool that was shut down or dropped.
#[test]
fn calls_outlive_the_processes_and_the_pool() {
    watchdog("a limit on the calls of a process", |steps| {
        for max_tasks in [1, 2, 3] {
            for end in ["none", "shutdown", "drop"] {
                steps.at(format!("{max_tasks} calls a process, {end}"));
                let limited = builder(2).max_tasks_per_child(max_tasks);
                let pool = limited.build().unwrap();
                let futures: Vec<_> = (0..10).map(|_| pool.submit(pid, ()).unwrap()).collect();
                let _kept = match end {
                    "none" => Some(pool),
                    "shutdown" => {
                        pool.shutdown_with(ShutdownOptions::new().wait(false));
                        Some(pool)
                    }
                    _ => {
                        drop(pool);
                        None
                    }
                };
                let mut calls = HashMap::new();
                for future in futures {
                    *calls.entry(future.result(None).unwrap()).or_insert(0) += 1;
                }
                assert!(calls.values().all(|&calls| calls <= max_tasks), "{calls:?}");
            }
        }
    });
}

#[test]
fn any_number_of_parameters() {
    watchdog("any number of parameters", |_| {
        let pool = pool(1);
        pool.submit(nothing, ()).unwrap().result(None).unwrap();
        assert_eq!(pool.submit(square, 12).unwrap().result(None).unwrap(), 144);
        assert_eq!(pool.submit(mul, (6, 7)).unwrap().result(None).unwrap(), 42);
        let twelve = pool.submit(
            twelve,
            (
                1,
                2,
                3,
                4,
                -1,
                -2,
                -3,
                -4,
                true,
                'x',
                "text".to_owned(),
                (5, 6),
            ),
        );
        assert_eq!(
            twelve.unwrap().result(None).unwrap(),
            "1 2 3 4 -1 -2 -3 -4 true x text (5, 6)"
        );
    });
}

/// Around the size from which on bytes are sent without being copied.
#[test]
fn many_bytes_anywhere() {
    watchdog("many bytes", |_| {
        let pool = pool(2);
        let sizes = [0, 1, 4000, 65_535, 65_536, 300_000];
        for text in sizes.map(|size| "x".repeat(size)) {
            for bytes in sizes.map(|size| vec![size as u8; size]) {
                let future = pool.submit(exchange, (text.clone(), bytes.clone()));
                let exchanged = future.unwrap().result(None).unwrap();
                if text.is_empty() {
                    assert!(exchanged == Err(Some(bytes)));
                } else {
                    assert!(exchanged == Ok((bytes, text.clone())));
                }
            }
        }
        // Others follow in the same message.
        let items = || sizes.iter().map(|&size| vec![size as u8; size]);
        let options = MapOptions::new().chunksize(4);
        let echoed = pool.map_with(echo, items(), options).unwrap();
        assert!(echoed.map(Result::unwrap).eq(items()));
    });
}

#[test]
fn errors_arrive_with_their_types() {
    watchdog("errors", |_| {
        let pool = pool(2);
        assert_eq!(
            pool.try_submit(parse, "7".to_owned())
                .unwrap()
                .result(None)
                .unwrap(),
            7
        );
        match pool.try_submit(parse, "x".to_owned()).unwrap().result(None) {
            Err(Error::Exception(exception)) => {
                assert!(exception.downcast_ref::<ParseIntError>().is_some());
                assert_eq!(exception.type_name(), "ParseIntError");
            }
            other => panic!("{other:?}"),
        }
        // As itself, it is a value.
        assert!(pool
            .submit(parse, "x".to_owned())
            .unwrap()
            .result(None)
            .unwrap()
            .is_err());
        // Of each chunk, what comes before the error.
        let texts = || ["1", "2", "x", "4"].map(str::to_owned);
        for chunksize in [1, 3, 4] {
            let options = MapOptions::new().chunksize(chunksize);
            let mut results = pool.try_map_with(parse, texts(), options).unwrap();
            assert!(matches!(results.next(), Some(Ok(1))));
            assert!(matches!(results.next(), Some(Ok(2))));
            match results.next() {
                Some(Err(Error::Exception(exception))) => {
                    assert!(exception.downcast_ref::<ParseIntError>().is_some());
                }
                other => panic!("{other:?}"),
            }
            assert!(results.next().is_none());
        }
        let results: Vec<_> = pool.try_map(parse, texts()).unwrap().collect();
        assert_eq!(results.len(), 3);
        let panicking = pool.map(panics, ["a".to_owned(), "b".to_owned()]).unwrap();
        assert_eq!(panicking.collect::<Vec<_>>().len(), 1);
    });
}

/// What comes behind an error in its chunk is not called.
#[test]
fn a_chunk_ends_with_its_first_error() {
    watchdog("a chunk with an error", |_| {
        let pool = pool(1);
        let options = MapOptions::new().chunksize(10);
        let results = pool.try_map_with(counting_fails, 0..10, options).unwrap();
        assert_eq!(results.collect::<Vec<_>>().len(), 4);
        assert_eq!(pool.submit(state, ()).unwrap().result(None).unwrap(), 4);
    });
}

#[test]
fn an_iterator_is_not_asked_after_its_end() {
    watchdog("an iterator that has ended", |_| {
        let pool = pool(1);
        for chunksize in [1, 2, 3, 9] {
            let options = MapOptions::new().chunksize(chunksize);
            let items = strict(4).map(|n| n as u64);
            let squares = pool.map_with(square, items, options).unwrap();
            let squares: Vec<_> = squares.map(Result::unwrap).collect();
            assert_eq!(squares, [0, 1, 4, 9], "by {chunksize}");
        }
    });
}

#[test]
fn map_with_a_buffersize() {
    watchdog("map with a buffersize", |_| {
        let pool = pool(2);
        let options = MapOptions::new().buffersize(4).chunksize(3);
        let squares = pool.map_with(square, 0.., options).unwrap();
        let large = squares.map(Result::unwrap).find(|&square| square > 1000);
        assert_eq!(large, Some(1024));
        let options = MapOptions::new().timeout(Duration::from_millis(50));
        let mut late = pool.map_with(sleep_ms, [100_000], options).unwrap();
        assert!(matches!(late.next(), Some(Err(Error::Timeout))));
        pool.kill_workers();
    });
}

#[test]
fn an_initializer_runs_once_in_each_process() {
    watchdog("an initializer", |_| {
        let pool = builder(2).initializer(set_state, 42).build().unwrap();
        let holder = Holder::new();
        let calls: Vec<_> = (0..2)
            .map(|_| pool.submit(hold, holder.port()).unwrap())
            .collect();
        drop([holder.entered(), holder.entered()]);
        calls
            .iter()
            .for_each(|call| assert!(call.result(None).is_ok()));
        let states: Vec<_> = pool
            .map(stated, 0..10)
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(states, [42; 10]);
        assert!(builder(1).initializer(unregistered, ()).build().is_err());
        assert!(builder(1)
            .initializer(takes_bad, Bad::Dump)
            .build()
            .is_err());
    });
}

/// As many calls run as there are workers, and every other one can be cancelled.
#[test]
fn what_is_running_is_being_run() {
    watchdog("what is running", |_| {
        let pool = pool(3);
        let holder = Holder::new();
        let futures: Vec<_> = (0..10)
            .map(|_| pool.submit(hold, holder.port()).unwrap())
            .collect();
        let held: Vec<_> = (0..3).map(|_| holder.entered()).collect();
        let running: Vec<_> = futures.iter().filter(|future| future.running()).collect();
        assert_eq!(running.len(), 3);
        let waiting: Vec<_> = futures.iter().filter(|future| !future.running()).collect();
        assert!(waiting.iter().all(|future| future.cancel()));
        assert!(waiting
            .iter()
            .all(|future| future.state() == State::CancelledAndNotified));
        assert!(running.iter().all(|future| !future.cancel()));
        drop(held);
        assert!(running.iter().all(|future| future.result(None).is_ok()));
    });
}

/// What stop 18 of the guide says of processes that are started, and of those that are idle.
#[test]
fn the_idle_process_that_was_busy_last_is_taken() {
    watchdog("which process is taken", |_| {
        let pool = pool(3);
        let holder = Holder::new();
        let mut futures = Vec::new();
        let counts = [(); 5].map(|()| {
            futures.push(pool.submit(hold, holder.port()).unwrap());
            pool.process_count()
        });
        assert_eq!(counts, [1, 2, 3, 3, 3]);
        for _ in 0..5 {
            drop(holder.entered());
        }
        drop(futures);
        for _ in 0..5 {
            let futures = [(); 3].map(|()| pool.submit(hold, holder.port()).unwrap());
            let held = [(); 3].map(|()| holder.entered());
            let mut pending = futures.to_vec();
            let mut last = 0;
            for held in held {
                last = held.pid;
                drop(held);
                let waited = wait(pending, None, FIRST_COMPLETED);
                pending = waited.not_done.into_iter().collect();
            }
            for _ in 0..3 {
                assert_eq!(pool.submit(pid, ()).unwrap().result(None).unwrap(), last);
            }
        }
    });
}

#[test]
fn futures_of_threads_and_processes_are_waited_for_together() {
    watchdog("threads and processes", |_| {
        let processes = pool(2);
        let threads = ThreadPoolExecutor::new(2).unwrap();
        let mut futures: Vec<_> = (0..5)
            .map(|n| processes.submit(square, n).unwrap())
            .collect();
        futures.extend((5..10).map(|n| threads.submit(move || n * n).unwrap()));
        let waited = wait(futures.clone(), None, ALL_COMPLETED);
        assert_eq!(waited.done.len(), 10);
        let sum: u64 = as_completed(futures, None)
            .map(|f| f.unwrap().result(None).unwrap())
            .sum();
        assert_eq!(sum, 285);
    });
}

#[test]
fn callbacks() {
    watchdog("callbacks", |_| {
        let pool = pool(2);
        let (sender, receiver) = mpsc::channel();
        for n in 0..20 {
            let sender = sender.clone();
            let future = pool.submit(square, n).unwrap();
            future.add_done_callback(move |future| sender.send(future.result(None)).unwrap());
        }
        let mut squares: Vec<_> = (0..20).map(|_| receiver.recv().unwrap().unwrap()).collect();
        squares.sort_unstable();
        assert_eq!(squares, (0..20).map(|n| n * n).collect::<Vec<_>>());
        // One that submits, and waits for nobody.
        let (sender, receiver) = mpsc::channel();
        let other = pool.clone();
        pool.submit(square, 3)
            .unwrap()
            .add_done_callback(move |future| {
                let next = other.submit(square, future.result(None).unwrap()).unwrap();
                sender.send(next).unwrap();
            });
        assert_eq!(receiver.recv().unwrap().result(None).unwrap(), 81);
    });
}

#[test]
fn shutdown_and_with() {
    watchdog("shutdown", |steps| {
        let empty = pool(2);
        empty.shutdown();
        assert!(matches!(
            empty.submit(square, 1),
            Err(SubmitError::Shutdown)
        ));
        let future = pool(2).with(|pool| pool.submit(square, 4).unwrap());
        assert_eq!(future.state(), State::Finished);
        let futures = pool(1).try_with(|pool| {
            let holder = Holder::new();
            let running = pool.submit(hold, holder.port()).unwrap();
            let held = holder.entered();
            let waiting = pool.submit(square, 1).unwrap();
            // Were it let go by the end of this body, the one that waits could begin.
            waiting.add_done_callback(move |_| drop(held));
            Err::<(), _>((running, waiting))
        });
        let (running, waiting) = futures.unwrap_err();
        assert_eq!(
            (running.state(), waiting.cancelled()),
            (State::Finished, true)
        );
        steps.at("no waiting");
        let pool = pool(2);
        let holder = Holder::new();
        let future = pool.submit(hold, holder.port()).unwrap();
        let held = holder.entered();
        pool.shutdown_with(ShutdownOptions::new().wait(false));
        assert!(future.running());
        drop(held);
        steps.at("waiting");
        pool.shutdown();
        assert!(future.done());
        assert_eq!((pool.process_count(), pool.pids()), (0, vec![]));
    });
}

#[test]
fn the_smallest_and_the_default_number_of_workers() {
    register_all();
    assert!(ProcessPoolExecutor::new(0).is_err());
    let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
    assert_eq!(
        ProcessPoolExecutor::new(None).unwrap().max_workers(),
        processors
    );
    assert_eq!(ProcessPoolExecutor::new(3).unwrap().max_workers(), 3);
    let text = format!("{:?}", ProcessPoolExecutor::new(3).unwrap());
    assert_eq!(text, "ProcessPoolExecutor { max_workers: 3, pids: [], .. }");
}

/// What a task reads and writes has nothing to do with what its process reads and writes.
#[test]
fn standard_streams_belong_to_the_task() {
    if is_child("streams") {
        let pool = pool(1);
        assert_eq!(
            pool.submit(standard_input, ())
                .unwrap()
                .result(None)
                .unwrap(),
            ""
        );
        for _ in 0..3 {
            pool.submit(prints, "from the task".to_owned())
                .unwrap()
                .result(None)
                .unwrap();
        }
        pool.shutdown();
        return;
    }
    let ended = child("standard_streams_belong_to_the_task", "streams", "");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    // Of each call, what `println`, `print` and `eprintln` wrote.
    assert_eq!(
        ended.stdout.matches("from the task").count(),
        6,
        "{ended:?}"
    );
    assert_eq!(
        ended.stderr.matches("from the task").count(),
        3,
        "{ended:?}"
    );
}

/// A line that is not at its end yet is written when the worker exits, which therefore must not be killed
/// while it does.
#[test]
fn a_worker_exits_in_peace() {
    // To start a process takes Windows far longer.
    let pools = if cfg!(windows) { 10 } else { 100 };
    if is_child("peace") {
        for _ in 0..pools {
            let pool = pool(2);
            let printed = [0, 1].map(|_| pool.submit(prints, "from the task".to_owned()));
            for printed in printed {
                printed.unwrap().result(None).unwrap();
            }
            pool.shutdown();
        }
        return;
    }
    let ended = child("a_worker_exits_in_peace", "peace", "");
    assert_eq!(ended.code, Some(0));
    assert_eq!(ended.stdout.matches("from the task").count(), pools * 4);
}

#[test]
fn at_exit_waits_for_processes() {
    if is_child("exit") {
        register_all();
        let pool = pool(2);
        let _exit = concurrent_futures::at_exit();
        let folder = std::env::var("CONCURRENT_FUTURES_TEST_FOLDER").unwrap();
        for n in 0..20 {
            let own = format!("{folder}/{n}");
            pool.submit(touch, (own, n.to_string())).unwrap();
        }
        let other = pool.clone();
        drop(_exit);
        assert!(matches!(
            other.submit(square, 1),
            Err(SubmitError::InterpreterShutdown)
        ));
        let late = processes::pool(1);
        assert!(matches!(
            late.submit(square, 1),
            Err(SubmitError::InterpreterShutdown)
        ));
        return;
    }
    // A file for each call: two processes that append to one may lose lines under Wine.
    let folder = std::env::temp_dir().join(format!("test-at-exit-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "at_exit_waits_for_processes", "--nocapture"])
        .env("RELIABILITY_TEST_CHILD", "exit")
        .env("CONCURRENT_FUTURES_TEST_FOLDER", &folder)
        .status()
        .unwrap();
    let calls = std::fs::read_dir(&folder).unwrap().count();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!((status.code(), calls), (Some(0), 20));
}

/// Also while another child of the parent lives on, which has inherited what can be inherited.
#[test]
fn no_worker_outlives_its_parent() {
    const PORT: &str = "CONCURRENT_FUTURES_TEST_PORT";
    let test = "no_worker_outlives_its_parent";
    let again = |role, port: u16| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture"]);
        command.env("RELIABILITY_TEST_CHILD", role);
        command.env(PORT, port.to_string()).spawn().unwrap()
    };
    let port = || std::env::var(PORT).unwrap().parse().unwrap();
    if is_child("other") {
        hold(port());
        return;
    }
    if is_child("parent") {
        let pool = pool(1);
        pool.submit(hold, port()).unwrap();
        until(&Steps::default(), "there is a worker", || {
            !pool.pids().is_empty()
        });
        hold(port());
        let _other = again("other", port());
        hold(port());
        std::process::exit(0);
    }
    watchdog(test, move |steps| {
        let holder = Holder::new();
        let mut parent = again("parent", holder.port());
        let first = holder.entered();
        let second = holder.entered();
        let (worker, held) = if first.pid == parent.id() {
            (second, first)
        } else {
            (first, second)
        };
        steps.at("the other child");
        drop(held);
        let (third, fourth) = (holder.entered(), holder.entered());
        let (other, held) = if third.pid == parent.id() {
            (fourth, third)
        } else {
            (third, fourth)
        };
        steps.at("the parent");
        drop(held);
        assert_eq!(parent.wait().unwrap().code(), Some(0));
        steps.at("the worker");
        let mut worker = worker;
        worker.ended();
        drop(other);
    });
}

#[test]
fn ending_in_time() {
    watchdog("ending in time", |_| {
        let pool = pool(3);
        let holder = Holder::new();
        let call = pool.submit(hold, holder.port()).unwrap();
        let held = holder.entered();
        let options = ShutdownOptions::new().timeout(Duration::from_millis(20));
        let error = pool.shutdown_timeout(options).unwrap_err();
        assert_eq!(error.to_string(), "1 (of 1) workers still running");
        assert!(call.running());
        drop(held);
        pool.shutdown_timeout(ShutdownOptions::new().timeout(Duration::from_secs(1000)))
            .unwrap();
        assert!(call.done());
    });
}

#[test]
fn a_pool_in_a_worker() {
    watchdog("a pool in a worker", |_| {
        let pool = pool(2);
        let nested: Vec<_> = (0..4).map(|n| pool.submit(nested, n).unwrap()).collect();
        for (n, future) in (0..).zip(nested) {
            assert_eq!(future.result(None).unwrap(), n * n);
        }
    });
}

#[test]
fn a_time_limit_that_is_kept() {
    watchdog("a time limit", |steps| {
        let pool = builder(1).on_crash(OnCrash::BreakPool).build().unwrap();
        let options = CallOptions::new().timeout(Duration::from_secs(1000));
        let future = pool.submit_with(square, 3, options).unwrap();
        assert_eq!(future.result(None).unwrap(), 9);
        steps.at("shutdown");
        pool.shutdown();
        until(steps, "all has ended", || pool.process_count() == 0);
    });
}

/// CPython 3.14: `test_force_shutdown_workers_dead_workers`, `_not_started_yet` and `_stops_pool`.
#[test]
fn force_shutdown_of_dead_workers_and_of_none() {
    watchdog("ending a pool by force", |steps| {
        let by_force = [
            ProcessPoolExecutor::terminate_workers,
            ProcessPoolExecutor::kill_workers,
        ];
        for end in by_force {
            steps.at("a worker that is dead");
            let broken = pool(1);
            let call = broken.submit(exits, 1).unwrap();
            assert!(call.result(None).is_err());
            end(&broken);
            steps.at("no worker yet");
            let new = pool(1);
            end(&new);
            assert_eq!(new.process_count(), 0);
            steps.at("an idle worker");
            let idle = pool(1);
            assert_eq!(idle.submit(square, 3).unwrap().result(None).unwrap(), 9);
            end(&idle);
            let refused = idle.submit(square, 3).unwrap_err();
            assert!(matches!(refused, SubmitError::Shutdown), "{refused}");
            until(steps, "the process is gone", || idle.process_count() == 0);
        }
    });
}
