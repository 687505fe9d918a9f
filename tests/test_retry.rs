//! `OnCrash::Retry`: a call whose worker died is run again by another.
#![cfg(target_os = "linux")]

mod processes;
mod support;

use concurrent_futures::process::{
    BrokenProcessPool, CallKilled, CallOptions, CallTimeout, OnCrash, ProcessPoolExecutor,
    WorkerDied,
};
use concurrent_futures::{Error, Future, MapOptions, ShutdownOptions, State, SubmitError};
use processes::*;
use std::collections::BTreeMap;
use std::env;
use std::fmt::Debug;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use support::{rounds, until, watchdog, Random};

fn retrying(max_workers: usize, retries: u32) -> ProcessPoolExecutor {
    let builder = builder(max_workers).on_crash(OnCrash::Retry(retries));
    builder.build().unwrap()
}

/// Whether the future has failed with an exception of this type.
fn failed<E: std::error::Error + 'static, T: Clone + Debug>(future: &Future<T>) -> bool {
    match future.result(None) {
        Err(Error::Exception(exception)) => exception.downcast_ref::<E>().is_some(),
        other => panic!("no exception, but {other:?}"),
    }
}

/// A file that calls write to, removed at the end.
struct Lines(PathBuf);

impl Lines {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("test-{name}-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        Lines(path)
    }

    fn path(&self) -> String {
        self.0.to_str().unwrap().to_owned()
    }

    /// How often each number stands there.
    fn times(&self) -> BTreeMap<u64, usize> {
        let mut times = BTreeMap::new();
        for line in fs::read_to_string(&self.0).unwrap_or_default().lines() {
            *times.entry(line.parse().unwrap()).or_insert(0) += 1;
        }
        times
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_call_whose_worker_died_is_run_again_by_another() {
    watchdog("a call that is run again", |steps| {
        let pool = retrying(1, 2);
        let holder = Holder::new();
        let call = pool.submit(hold, holder.port()).unwrap();
        let next = pool.submit(square, 3).unwrap();
        let first = holder.entered();
        kill(first.pid, "KILL");
        steps.at("the second attempt");
        let second = holder.entered();
        assert_ne!(first.pid, second.pid);
        until(steps, "it is running again", || call.running());
        assert!(!call.cancel());
        kill(second.pid, "KILL");
        steps.at("the third attempt");
        let third = holder.entered();
        let last = third.pid;
        drop(third);
        assert_eq!(call.result(None).unwrap(), last);
        assert_eq!(next.result(None).unwrap(), 9);
        pool.shutdown();
    });
}

/// So many times, and no more. No other call is touched.
#[test]
fn a_call_that_always_kills() {
    watchdog("a call that always kills", |steps| {
        for retries in [0, 1, 3] {
            let pool = retrying(2, retries);
            let holder = Holder::new();
            let call = pool.submit(hold_and_abort, holder.port()).unwrap();
            let others: Vec<_> = (0..20).map(|n| pool.submit(square, n).unwrap()).collect();
            let mut pids = Vec::new();
            for attempt in 0..=retries {
                steps.at(format!("attempt {attempt}"));
                pids.push(holder.entered().pid);
            }
            let exception = call.exception(None).unwrap().unwrap();
            let died = exception.downcast_ref::<WorkerDied>().unwrap();
            assert_eq!(died.pid(), pids.last().copied());
            pids.dedup();
            assert_eq!(pids.len(), retries as usize + 1);
            for (n, other) in (0..).zip(others) {
                assert_eq!(other.result(None).unwrap(), n * n);
            }
            pool.shutdown();
            assert!(!holder.is_wanted());
        }
    });
}

#[test]
fn what_was_ended_on_purpose_is_not_run_again() {
    watchdog("ended on purpose", |steps| {
        let pool = retrying(1, 5);
        let holder = Holder::new();
        steps.at("kill_call");
        let call = pool.submit(hold, holder.port()).unwrap();
        let _held = holder.entered();
        assert!(pool.kill_call(&call));
        assert!(failed::<CallKilled, _>(&call));
        steps.at("a time limit");
        let options = CallOptions::new().timeout(Duration::from_millis(100));
        let call = pool.submit_with(hold, holder.port(), options).unwrap();
        assert!(failed::<CallTimeout, _>(&call));
        let _held = holder.entered();
        steps.at("the pool goes on");
        assert_eq!(pool.submit(square, 4).unwrap().result(None).unwrap(), 16);
        assert!(!holder.is_wanted());
        pool.shutdown();
        for terminate in [true, false] {
            steps.at(format!("terminate: {terminate}"));
            let pool = retrying(2, 5);
            let calls: Vec<_> = (0..2)
                .map(|_| pool.submit(hold, holder.port()).unwrap())
                .collect();
            let waiting = pool.submit(hold, holder.port()).unwrap();
            let _held = [holder.entered(), holder.entered()];
            if terminate {
                pool.terminate_workers();
            } else {
                pool.kill_workers();
            }
            assert!(calls.iter().all(failed::<WorkerDied, _>));
            assert!(matches!(waiting.result(None), Err(Error::Cancelled)));
            pool.shutdown();
            assert!(!holder.is_wanted());
        }
    });
}

/// Each attempt has the whole of its time.
#[test]
fn a_time_limit_holds_for_each_attempt() {
    watchdog("a time limit and an attempt", |steps| {
        let pool = retrying(1, 1);
        let holder = Holder::new();
        let options = CallOptions::new().timeout(Duration::from_secs(3600));
        let call = pool.submit_with(hold, holder.port(), options).unwrap();
        kill(holder.entered().pid, "KILL");
        steps.at("the second attempt");
        drop(holder.entered());
        call.result(None).unwrap();
        let options = CallOptions::new().timeout(Duration::from_millis(500));
        let call = pool.submit_with(hold, holder.port(), options).unwrap();
        kill(holder.entered().pid, "KILL");
        let _held = holder.entered();
        assert!(failed::<CallTimeout, _>(&call));
        pool.shutdown();
    });
}

/// It is pending, so it can be cancelled, by itself or with all others.
#[test]
fn a_call_that_waits_to_be_run_again() {
    watchdog("waits to be run again", |steps| {
        for shutdown in [false, true] {
            let holder = Holder::new();
            let pool = builder(1)
                .initializer(hold, holder.port())
                .on_crash(OnCrash::Retry(1))
                .build()
                .unwrap();
            let call = pool.submit(hold, holder.port()).unwrap();
            steps.at("the first attempt");
            drop(holder.entered());
            kill(holder.entered().pid, "KILL");
            steps.at("the second initializer");
            let initializing = holder.entered();
            assert_eq!(call.state(), State::Pending);
            if shutdown {
                pool.shutdown_with(ShutdownOptions::new().wait(false).cancel_futures(true));
            } else {
                assert!(call.cancel());
            }
            assert!(matches!(call.result(None), Err(Error::Cancelled)));
            drop(initializing);
            steps.at("shutdown");
            pool.shutdown();
            assert!(!holder.is_wanted());
        }
    });
}

/// Workers that never become ready break the pool, however often a call may be run.
#[test]
fn workers_that_cannot_start() {
    watchdog("workers that cannot start", |_| {
        let pool = builder(2)
            .worker_args(entry("there_is_no_such_test"))
            .on_crash(OnCrash::Retry(100))
            .build()
            .unwrap();
        let future = pool.submit(square, 1).unwrap();
        assert!(failed::<BrokenProcessPool, _>(&future));
        assert!(matches!(
            pool.submit(square, 1),
            Err(SubmitError::Broken(_))
        ));
        pool.shutdown();
    });
}

/// All items of a chunk are run again, those before the deadly one, too.
#[test]
fn a_chunk_is_run_again_as_a_whole() {
    watchdog("a chunk that is run again", |_| {
        let lines = Lines::new("chunk");
        let pool = retrying(1, 1);
        let items = (0..9).map(|n| (lines.path(), n, 4));
        let options = MapOptions::new().chunksize(3);
        let results = pool.map_with(aborts_first_at, items, options).unwrap();
        let results: Vec<u64> = results.map(Result::unwrap).collect();
        assert_eq!(results, (0..9).collect::<Vec<_>>());
        let times: Vec<_> = lines.times().into_values().collect();
        assert_eq!(times, [1, 1, 1, 2, 2, 1, 1, 1, 1]);
        pool.shutdown();
    });
}

/// At most once: the first chunk is yielded, the second one failed, and nothing is run twice.
#[test]
fn without_retries_nothing_is_run_twice() {
    watchdog("nothing is run twice", |_| {
        let lines = Lines::new("once");
        let pool = tough_pool(1);
        let items = (0..6).map(|n| (lines.path(), n, 4));
        let options = MapOptions::new().chunksize(3);
        let results = pool.map_with(aborts_first_at, items, options).unwrap();
        let results: Vec<_> = results.collect();
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 3);
        assert!(results[3].is_err());
        assert!(lines.times().values().all(|&times| times == 1));
        pool.shutdown();
    });
}

/// Workers are killed all the time, and every call has its result.
#[test]
fn at_least_once_among_many_deaths() {
    watchdog("many deaths", |steps| {
        let mut random = Random::new(7);
        for round in rounds(5, 40) {
            let lines = Lines::new("deaths");
            // With a bound that no call reaches.
            let pool = retrying(2, 1000);
            let call = |n| {
                pool.submit(aborts_first_at, (lines.path(), n, n / 7 * 7))
                    .unwrap()
            };
            let futures: Vec<_> = (0..60).map(call).collect();
            steps.at(format!("round {round}"));
            for n in 0..10 {
                random.pause();
                // Only a worker that is ready, since three in a row that are not break the pool.
                if futures[n * 6].done() {
                    if let Some(&pid) = pool.pids().first() {
                        kill(pid, "KILL");
                        let _ = futures[n * 6 + 5].result(None);
                    }
                }
            }
            for (n, future) in (0..).zip(&futures) {
                assert_eq!(future.result(None).unwrap(), n);
            }
            let times = lines.times();
            assert_eq!(times.len(), 60);
            assert!((0..60).step_by(7).all(|n| times[&n] >= 2));
            pool.shutdown();
        }
    });
}
