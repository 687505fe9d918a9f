//! Processes that die, stop, lie, or are forgotten, at every step: no future without an end, no blame for
//! the wrong call, no process, file or descriptor left.
#![cfg(target_os = "linux")]

mod processes;
mod support;

use concurrent_futures::process::{
    freeze_support, BrokenProcessPool, CallKilled, CallOptions, CallTimeout, OnCrash,
    ProcessPoolExecutor, WorkerDied,
};
use concurrent_futures::{wait, ALL_COMPLETED};
use concurrent_futures::{Error, Exception, Future, MapOptions, ShutdownOptions, SubmitError};
use processes::*;
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use support::{
    child, is_child, process_status, rounds, size, until, watchdog, Gate, Random, Steps,
};

fn stop(steps: &Steps, pid: u32) {
    kill(pid, "STOP");
    until(steps, "the worker is stopped", || is_stopped(pid));
}

/// An empty folder, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        // Short, as a socket's path has to be.
        let path = env::temp_dir().join(format!("test-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Folder(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn entries(&self) -> usize {
        fs::read_dir(&self.0).unwrap().count()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

// ---- The bugs that random stress had found in a prototype

/// A worker that is idle, and dies between being found so and being written to. It is stopped, lest it
/// read the call before it dies.
#[test]
fn a_call_that_a_dead_worker_has_not_read_is_run_by_another() {
    watchdog("a call for a dead worker", |steps| {
        for n in 0..10 {
            let pool = tough_pool(1);
            let first = pool.submit(pid, ()).unwrap().result(None).unwrap();
            stop(steps, first);
            let small = pool.submit(square, n).unwrap();
            assert!(small.running());
            kill(first, "KILL");
            steps.at("the result");
            assert_eq!(small.result(None).unwrap(), n * n);
            pool.shutdown();
        }
    });
}

#[test]
fn a_large_call_waits_in_the_queue_until_a_worker_can_read_it() {
    watchdog("a large call for a dead worker", |steps| {
        let pool = tough_pool(1);
        let first = pool.submit(pid, ()).unwrap().result(None).unwrap();
        stop(steps, first);
        let large = pool.submit(echo, vec![1; 3_000_000]).unwrap();
        assert!(!large.running());
        kill(first, "KILL");
        steps.at("the result");
        assert_eq!(large.result(None).unwrap().len(), 3_000_000);
        // Or is cancelled.
        let second = pool.submit(pid, ()).unwrap().result(None).unwrap();
        stop(steps, second);
        let large = pool.submit(echo, vec![1; 3_000_000]).unwrap();
        assert!(large.cancel());
        kill(second, "CONT");
        assert_eq!(pool.submit(square, 2).unwrap().result(None).unwrap(), 4);
    });
}

/// The worker has begun to read the call, so nobody can know that it did not begin.
#[test]
fn a_worker_that_dies_while_it_is_written_to() {
    watchdog("a worker dies while it is written to", |steps| {
        for _ in 0..5 {
            let pool = tough_pool(1);
            let holder = Holder::new();
            let held = pool.submit(hold, holder.port()).unwrap();
            let in_hold = holder.entered();
            let large = pool.submit(echo, vec![1; 50_000_000]).unwrap();
            let small = pool.submit(square, 3).unwrap();
            drop(in_hold);
            let first = held.result(None).unwrap();
            until(steps, "the call is running", || large.running());
            kill(first, "KILL");
            steps.at("the results");
            match large.result(None) {
                Ok(bytes) => assert_eq!(bytes.len(), 50_000_000),
                Err(Error::Exception(exception)) => assert!(is::<WorkerDied>(&exception)),
                other => panic!("{other:?}"),
            }
            assert_eq!(small.result(None).unwrap(), 9);
        }
    });
}

/// It is the call itself that kills, while most of it is still on its way.
#[test]
fn a_large_call_that_workers_die_of() {
    watchdog("a large call that kills", |steps| {
        let pool = tough_pool(2);
        let arguments = (Bad::AbortInLoad, vec![1; 8_000_000]);
        let kills = pool.submit(takes_bad_and_more, arguments).unwrap();
        let other = pool.submit(square, 3).unwrap();
        steps.at("its end");
        assert!(is::<WorkerDied>(&exception(&kills)));
        assert_eq!(other.result(None).unwrap(), 9);
        pool.shutdown();
    });
}

/// A broken pool must not forget calls that other workers have in their hands.
#[test]
fn every_future_of_a_broken_pool_ends_with_the_process_that_died() {
    watchdog("the futures of a broken pool", |steps| {
        let pool = pool(3);
        let holder = Holder::new();
        let mut futures: Vec<_> = (0..3)
            .map(|_| pool.submit(hold, holder.port()).unwrap())
            .collect();
        let held: Vec<_> = (0..3).map(|_| holder.entered()).collect();
        futures.extend((0..20).map(|_| pool.submit(hold, holder.port()).unwrap()));
        let cancelled = futures.pop().unwrap();
        assert!(cancelled.cancel());
        kill(held[1].pid, "KILL");
        steps.at("all futures");
        for future in futures {
            let exception = exception(&future);
            let broken = exception
                .downcast_ref::<BrokenProcessPool>()
                .expect("broken");
            assert_eq!(broken.pid(), Some(held[1].pid));
            assert_eq!(broken.status().and_then(|status| status.signal()), Some(9));
            let text = exception.to_string();
            assert!(
                text.contains("terminated abruptly") && text.contains("SIGKILL"),
                "{text}"
            );
        }
        assert!(matches!(cancelled.result(None), Err(Error::Cancelled)));
        match pool.submit(square, 1) {
            Err(SubmitError::Broken(broken)) => assert!(broken.to_string().contains("SIGKILL")),
            other => panic!("{other:?}"),
        }
        pool.shutdown();
        assert_eq!(pool.process_count(), 0);
        assert!(held.iter().all(|held| !is_alive(held.pid)));
    });
}

/// Also in one that bears the death of a worker, but not that of three that cannot start.
#[test]
fn every_future_of_a_pool_whose_workers_cannot_start_any_more() {
    watchdog("workers cannot start any more", |steps| {
        let folder = Folder::new("any-more");
        let builder = builder(2).on_crash(OnCrash::FailCall);
        let pool = builder.initializer(exits_at, folder.path("exit"));
        let pool = pool.build().unwrap();
        let holder = Holder::new();
        let running = pool.submit(hold, holder.port()).unwrap();
        let _held = holder.entered();
        fs::write(folder.path("exit"), "").unwrap();
        let pending = pool.submit(square, 2).unwrap();
        steps.at("the exceptions");
        assert!(is::<BrokenProcessPool>(&exception(&pending)));
        assert!(is::<BrokenProcessPool>(&exception(&running)));
        pool.shutdown();
    });
}

/// A call that came back to the queue is cancelled, or run, but not forgotten.
#[test]
fn cancel_futures_beside_a_worker_that_dies() {
    watchdog("cancel_futures beside a death", |steps| {
        for n in rounds(10, 40) {
            let pool = tough_pool(1);
            let first = pool.submit(pid, ()).unwrap().result(None).unwrap();
            stop(steps, first);
            let futures: Vec<_> = (0..5).map(|n| pool.submit(square, n).unwrap()).collect();
            let other = pool.clone();
            let cancelling = thread::spawn(move || {
                thread::sleep(Duration::from_micros(50 * n as u64));
                other.shutdown_with(ShutdownOptions::new().cancel_futures(true));
            });
            kill(first, "KILL");
            steps.at("all futures");
            for (n, future) in (0..).zip(&futures) {
                match future.result(None) {
                    Ok(result) => assert_eq!(result, n * n),
                    Err(Error::Cancelled) => {}
                    other => panic!("{other:?}"),
                }
            }
            steps.at("shutdown");
            cancelling.join().unwrap();
        }
    });
}

/// Whatever `kill_call` hits, no call is run twice, and none without its own fault fails.
#[test]
fn kill_call_races_with_the_start_of_the_next_call() {
    watchdog("kill_call", |steps| {
        let folder = Folder::new("kill-call");
        let mut random = Random::new(1);
        let pool = tough_pool(2);
        let mut killed = 0;
        for round in rounds(30, 150) {
            let path = folder.path(&round.to_string());
            let futures: Vec<_> = (0..20)
                .map(|n| pool.submit(touch, (path.clone(), n.to_string())).unwrap())
                .collect();
            let victim = random.below(20);
            random.pause();
            let hit = pool.kill_call(&futures[victim]);
            steps.at("all futures");
            for (n, future) in futures.iter().enumerate() {
                match future.result(None) {
                    Ok(()) => assert!(!(hit && n == victim)),
                    Err(Error::Exception(exception)) => {
                        assert!(hit && n == victim, "call {n} fails with {exception}");
                        assert!(is::<CallKilled>(&exception), "{exception}");
                    }
                    other => panic!("{other:?}"),
                }
            }
            killed += usize::from(hit);
            let mut times = BTreeMap::new();
            for line in fs::read_to_string(&path).unwrap_or_default().lines() {
                *times.entry(line.to_owned()).or_insert(0) += 1;
            }
            assert!(times.values().all(|&times| times == 1), "{times:?}");
            assert!(times.len() >= 19, "{times:?}");
        }
        println!("{killed} calls killed");
        pool.shutdown();
    });
}

#[test]
fn what_kill_call_cannot_kill() {
    watchdog("kill_call", |_| {
        let pool = tough_pool(1);
        let other = tough_pool(1);
        let holder = Holder::new();
        let running = pool.submit(hold, holder.port()).unwrap();
        let held = holder.entered();
        let waiting = pool.submit(square, 2).unwrap();
        assert!(!pool.kill_call(&waiting), "it has not begun");
        assert!(!other.kill_call(&running), "it is another pool's");
        assert!(!pool.kill_call(&Future::<u32>::new()));
        assert!(pool.kill_call(&running));
        assert!(is::<CallKilled>(&exception(&running)));
        assert!(!pool.kill_call(&running), "it is done");
        assert_eq!(waiting.result(None).unwrap(), 4);
        assert!(!pool.kill_call(&waiting));
        assert!(!is_alive(held.pid));
    });
}

/// A stopped process is a long call to those who wait. Those who want it gone get through.
#[test]
fn a_stopped_worker() {
    watchdog("a stopped worker", |steps| {
        let pool = tough_pool(2);
        let holder = Holder::new();
        let futures: Vec<_> = (0..2)
            .map(|_| pool.submit(hold, holder.port()).unwrap())
            .collect();
        let held: Vec<_> = (0..2).map(|_| holder.entered()).collect();
        let waiting = pool.submit(square, 1).unwrap();
        held.iter().for_each(|held| stop(steps, held.pid));
        let other = pool.clone();
        let shutdown = thread::spawn(move || other.shutdown());
        pool.kill_workers();
        steps.at("the futures");
        assert!(futures
            .iter()
            .all(|future| is::<WorkerDied>(&exception(future))));
        assert!(matches!(waiting.result(None), Err(Error::Cancelled)));
        steps.at("shutdown");
        shutdown.join().unwrap();
        assert_eq!(pool.pids(), []);
    });
}

/// What a worker had not read when the pool was ended by force is not run by another one.
/// Long about its end, as one with much memory may be: here a debugger has it, and is stopped.
#[test]
fn a_killed_worker_that_does_not_end() {
    struct Tracer(Child);

    impl Drop for Tracer {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    watchdog("a worker that does not end", |steps| {
        let pool = tough_pool(2);
        let holder = Holder::new();
        let running = pool.submit(hold, holder.port()).unwrap();
        let held = holder.entered();
        let tracer = Command::new("strace")
            .args(["-f", "-o", "/dev/null", "-p", &held.pid.to_string()])
            .stderr(Stdio::null())
            .spawn();
        let mut tracer = match tracer {
            Ok(tracer) => Tracer(tracer),
            Err(error) => return println!("left out: no strace, {error}"),
        };
        let is_traced = || {
            let status = fs::read_to_string(format!("/proc/{}/status", held.pid));
            !status.unwrap().contains("TracerPid:\t0\n")
        };
        let mut ended = false;
        until(steps, "it is traced", || {
            ended = tracer.0.try_wait().unwrap().is_some();
            ended || is_traced()
        });
        if ended {
            return println!("left out: strace may not trace it");
        }
        stop(steps, tracer.0.id());
        assert!(pool.kill_call(&running));
        for n in 0..20 {
            steps.at(format!("kill it again, {n}"));
            assert!(pool.kill_call(&running));
            // Time enough for the manager to wait for the end of the process, once.
            thread::sleep(Duration::from_millis(20));
        }
        steps.at("another call");
        assert_eq!(pool.submit(square, 6).unwrap().result(None).unwrap(), 36);
        pool.terminate_workers();
        pool.kill_workers();
        assert!(!running.done());
        drop(tracer);
        steps.at("its end");
        assert!(is::<CallKilled>(&exception(&running)));
        pool.shutdown();
    });
}

#[test]
fn a_pool_that_is_ended_by_force_begins_nothing() {
    watchdog("a pool that is ended by force", |steps| {
        for terminate in [false, true] {
            let folder = Folder::new(&format!("force-{terminate}"));
            let path = folder.path("calls");
            let pool = tough_pool(1);
            let first = pool.submit(pid, ()).unwrap().result(None).unwrap();
            stop(steps, first);
            let unread = pool.submit(touch, (path.clone(), "1".to_owned())).unwrap();
            assert!(unread.running());
            if terminate {
                pool.terminate_workers();
                kill(first, "KILL");
            } else {
                pool.kill_workers();
            }
            steps.at("the future");
            assert!(is::<WorkerDied>(&exception(&unread)));
            steps.at("shutdown");
            pool.shutdown();
            assert!(fs::read_to_string(&path).is_err(), "the call was run");
        }
    });
}

/// The callback waits for the very call that is to be ended.
#[test]
fn a_callback_of_a_cancelled_call_does_not_save_what_runs() {
    watchdog("a callback waits for what is ended by force", |steps| {
        for terminate in [false, true] {
            let pool = tough_pool(1);
            let holder = Holder::new();
            let running = pool.submit(hold, holder.port()).unwrap();
            let _held = holder.entered();
            let waiting = pool.submit(square, 2).unwrap();
            let its_running = running.clone();
            waiting.add_done_callback(move |_| {
                let _ = its_running.exception(None);
            });
            steps.at("the end by force");
            if terminate {
                pool.terminate_workers();
            } else {
                pool.kill_workers();
            }
            assert!(waiting.cancelled());
            assert!(is::<WorkerDied>(&exception(&running)));
            pool.shutdown();
        }
    });
}

/// A callback is called when the process has ended, and lasts.
#[test]
fn a_shutdown_in_time_beside_a_callback_that_lasts() {
    watchdog("a callback lasts", |steps| {
        let pool = tough_pool(1);
        let gate = Gate::new();
        let holder = Holder::new();
        let dying = pool.submit(hold_and_abort, holder.port()).unwrap();
        let its_gate = gate.clone();
        dying.add_done_callback(move |_| its_gate.wait());
        drop(holder.entered());
        until(steps, "the process has ended", || pool.process_count() == 0);
        steps.at("shutdown_timeout");
        let options = ShutdownOptions::new();
        for timeout in [Duration::ZERO, Duration::from_millis(20)] {
            let ended = pool.shutdown_timeout(options.timeout(timeout));
            assert_eq!(ended.unwrap_err().unfinished(), 1);
        }
        gate.open();
        steps.at("shutdown");
        pool.shutdown_timeout(options).unwrap();
    });
}

/// Without a process, there is nothing to wait for but for threads to end.
#[test]
fn a_shutdown_in_time_without_a_process() {
    watchdog("no process", |steps| {
        for _ in 0..20 {
            let pool = builder(1).max_tasks_per_child(1).build().unwrap();
            let options = CallOptions::new().timeout(Duration::from_secs(3600));
            let call = pool.submit_with(square, 2, options).unwrap();
            assert_eq!(call.result(None).unwrap(), 4);
            until(steps, "the process has ended", || pool.process_count() == 0);
            let now = ShutdownOptions::new().timeout(Duration::ZERO);
            if let Err(error) = pool.shutdown_timeout(now) {
                // Its manager's thread.
                assert_eq!((error.unfinished(), error.total()), (1, 1));
            }
        }
    });
}

#[test]
fn a_time_limit_ends_what_is_stopped() {
    watchdog("a time limit", |steps| {
        // Stopped in its call.
        let pool = pool(1);
        let limit = Duration::from_millis(200);
        let holder = Holder::new();
        let options = CallOptions::new().timeout(limit);
        let call = pool.submit_with(hold, holder.port(), options).unwrap();
        let held = holder.entered();
        stop(steps, held.pid);
        let timeout = exception(&call);
        assert_eq!(
            timeout.downcast_ref::<CallTimeout>().unwrap().timeout(),
            limit
        );
        // Stopped before it could read the call.
        let first = pool.submit(pid, ()).unwrap().result(None).unwrap();
        stop(steps, first);
        let call = pool.submit_with(square, 1, options).unwrap();
        assert!(is::<CallTimeout>(&exception(&call)));
        // Nothing of this has broken the pool.
        assert_eq!(pool.submit(square, 3).unwrap().result(None).unwrap(), 9);
        let quick = pool.submit_with(square, 4, CallOptions::new().timeout(Duration::MAX));
        assert_eq!(quick.unwrap().result(None).unwrap(), 16);
        steps.at("shutdown");
        pool.shutdown();
    });
}

/// Among others, at the same time, each with its own limit.
#[test]
fn only_the_calls_that_take_too_long_are_ended() {
    watchdog("time limits", |_| {
        let pool = pool(4);
        let holder = Holder::new();
        let limits = [50, 100, 150, 60_000];
        let futures: Vec<_> = limits
            .iter()
            .map(|&limit| {
                let options = CallOptions::new().timeout(Duration::from_millis(limit));
                pool.submit_with(hold, holder.port(), options).unwrap()
            })
            .collect();
        let held: Vec<_> = (0..4).map(|_| holder.entered()).collect();
        for future in &futures[..3] {
            assert!(is::<CallTimeout>(&exception(future)));
        }
        assert!(futures[3].running());
        drop(held);
        futures[3].result(None).unwrap();
        pool.shutdown();
    });
}

/// The first calls of a chunk run, or would, before the rest of it has been read. So it is read whole, lest
/// a death in one of them look like one before all of them.
#[test]
fn no_call_of_a_chunk_is_run_twice() {
    watchdog("a chunk that kills", |steps| {
        let folder = Folder::new("chunk");
        let path = folder.path("calls");
        let pool = tough_pool(1);
        let items = (0..100).map(|n| (path.clone(), n, vec![1; 10_000]));
        let chunk = MapOptions::new().chunksize(100);
        let results = pool.map_with(touch_and_abort_at_3, items, chunk).unwrap();
        steps.at("the results");
        match results.last() {
            Some(Err(Error::Exception(exception))) => assert!(is::<WorkerDied>(&exception)),
            other => panic!("{other:?}"),
        }
        pool.shutdown();
        assert_eq!(fs::read_to_string(&path).unwrap(), "0\n1\n2\n3\n");
    });
}

/// Nor is a call begun whose arguments do not take all that was dumped.
#[test]
fn arguments_with_something_left_over() {
    watchdog("something left over", |_| {
        for length in [10, 1_000_000] {
            let pool = tough_pool(1);
            let left = exception(&pool.submit(takes_half, Half(vec![1; length])).unwrap());
            let text = left.to_string();
            assert!(text.contains("left over of the arguments"), "{text}");
            assert_eq!(pool.submit(square, 2).unwrap().result(None).unwrap(), 4);
        }
    });
}

// ---- How a worker can end

#[test]
fn ways_to_die() {
    watchdog("ways to die", |steps| {
        let pool = tough_pool(2);
        let died = |future: Future<()>| {
            let exception = exception(&future);
            let died = exception
                .downcast_ref::<WorkerDied>()
                .expect("WorkerDied")
                .clone();
            assert!(
                died.to_string().contains(&died.pid().unwrap().to_string()),
                "{died}"
            );
            died.status().unwrap()
        };
        steps.at("exit");
        assert_eq!(died(pool.submit(exits, 3).unwrap()).code(), Some(3));
        assert_eq!(died(pool.submit(exits, 0).unwrap()).code(), Some(0));
        steps.at("abort");
        assert_eq!(died(pool.submit(aborts, ()).unwrap()).signal(), Some(6));
        steps.at("an overflow of the stack");
        let overflow = exception(&pool.submit(overflows, 0).unwrap());
        let overflow = overflow
            .downcast_ref::<WorkerDied>()
            .unwrap()
            .status()
            .unwrap();
        assert!(matches!(overflow.signal(), Some(6 | 11)), "{overflow:?}");
        steps.at("a signal");
        let holder = Holder::new();
        let call = pool.submit(hold, holder.port()).unwrap();
        kill(holder.entered().pid, "KILL");
        let killed = exception(&call);
        let killed = killed
            .downcast_ref::<WorkerDied>()
            .unwrap()
            .status()
            .unwrap();
        assert_eq!(killed.signal(), Some(9));
        steps.at("terminate_workers");
        let call = pool.submit(hold, holder.port()).unwrap();
        let _held = holder.entered();
        pool.terminate_workers();
        let terminated = exception(&call);
        let terminated = terminated
            .downcast_ref::<WorkerDied>()
            .unwrap()
            .status()
            .unwrap();
        assert_eq!(terminated.code(), Some(143));
        pool.shutdown();
    });
}

#[test]
fn an_idle_worker_dies() {
    watchdog("an idle worker", |steps| {
        let tough = tough_pool(1);
        let first = tough.submit(pid, ()).unwrap().result(None).unwrap();
        kill(first, "KILL");
        until(steps, "it is gone", || tough.process_count() == 0);
        let second = tough.submit(pid, ()).unwrap().result(None).unwrap();
        assert_ne!(first, second);
        // CPython's pool is broken then.
        let pool = pool(1);
        let first = pool.submit(pid, ()).unwrap().result(None).unwrap();
        kill(first, "KILL");
        until(steps, "the pool is broken", || {
            matches!(pool.submit(square, 1), Err(SubmitError::Broken(_)))
        });
    });
}

/// A worker that lives on for moments after its result is there, and takes some next call with it, or
/// not: then that call alone fails, or none.
#[test]
fn deaths_at_any_moment() {
    watchdog("deaths at any moment", |steps| {
        let mut random = Random::new(3);
        let pool = tough_pool(2);
        let mut died = 0;
        for _ in rounds(60, 400) {
            let kills = pool
                .submit(kills_itself_after, random.below(400) as u64)
                .unwrap();
            let futures: Vec<_> = (0..30).map(|n| pool.submit(square, n).unwrap()).collect();
            steps.at("all futures");
            let mut failed = 0;
            for (n, future) in (0..).zip(&futures) {
                match future.result(None) {
                    Ok(result) => assert_eq!(result, n * n),
                    Err(Error::Exception(exception)) => {
                        assert!(is::<WorkerDied>(&exception), "{exception}");
                        failed += 1;
                    }
                    other => panic!("{other:?}"),
                }
            }
            if let Err(Error::Exception(exception)) = kills.result(None) {
                assert!(is::<WorkerDied>(&exception), "{exception}");
                failed += 1;
            }
            // One of this round, and one of the round before.
            assert!(failed <= 2, "{failed} calls failed for one death");
            died += failed;
        }
        println!("{died} calls failed");
        pool.shutdown();
    });
}

/// Killed in the middle of writing its result, at any byte.
#[test]
fn half_a_result() {
    watchdog("half a result", |steps| {
        let pool = tough_pool(1);
        for n in rounds(20, 100) {
            let kills = pool.submit(kills_itself_after, 30 * n as u64).unwrap();
            let large = pool.submit(bytes, 4_000_000).unwrap();
            let small = pool.submit(square, 5).unwrap();
            steps.at("the results");
            for result in [
                kills.result(None).map(|_| 0),
                large.result(None).map(|r| r.len()),
            ] {
                match result {
                    Ok(length) => assert!([0, 4_000_000].contains(&length)),
                    Err(Error::Exception(exception)) => assert!(is::<WorkerDied>(&exception)),
                    other => panic!("{other:?}"),
                }
            }
            let _ = small.result(None);
        }
    });
}

/// A process that inherited all that can be inherited lives on; the death is seen at once.
#[test]
fn a_grandchild_lives_on() {
    watchdog("a grandchild", |_| {
        let folder = Folder::new("grandchild");
        let path = folder.path("pid");
        let pool = tough_pool(1);
        let call = pool.submit(grandchild, path.clone()).unwrap();
        assert!(is::<WorkerDied>(&exception(&call)));
        let pid = fs::read_to_string(path).unwrap().parse().unwrap();
        assert!(is_alive(pid), "the grandchild outlived nobody");
        kill(pid, "KILL");
        pool.shutdown();
    });
}

/// It has the streams, and so they do not end with the worker. Whoever ends the call does not wait for that.
#[test]
fn a_copy_of_the_worker_lives_on() {
    watchdog("a copy of the worker", |steps| {
        let folder = Folder::new("copy-lives");
        for n in 0..3 {
            let path = folder.path(&n.to_string());
            let pool = tough_pool(1);
            let call = pool.submit(forks, path.clone()).unwrap();
            let copy = || fs::read_to_string(&path).unwrap_or_default().parse();
            until(steps, "there is a copy", || copy().is_ok());
            match n {
                0 => assert!(pool.kill_call(&call)),
                1 => pool.kill_workers(),
                _ => {
                    // The worker itself ends by this.
                    pool.terminate_workers();
                    pool.kill_workers();
                }
            }
            steps.at("the exception");
            let ended = exception(&call);
            assert!(is::<CallKilled>(&ended) || is::<WorkerDied>(&ended));
            steps.at("shutdown");
            pool.shutdown();
            assert!(is_alive(copy().unwrap()));
            kill(copy().unwrap(), "KILL");
        }
    });
}

#[test]
fn workers_that_cannot_start() {
    watchdog("workers that cannot start", |steps| {
        for on_crash in [OnCrash::BreakPool, OnCrash::FailCall] {
            // The test harness finds nothing to run, and ends well.
            let pool = builder(2)
                .worker_args(entry("there_is_no_such_test"))
                .on_crash(on_crash)
                .build()
                .unwrap();
            let futures: Vec<_> = (0..5).map(|n| pool.submit(square, n).unwrap()).collect();
            steps.at("the futures");
            for future in futures {
                assert!(is::<BrokenProcessPool>(&exception(&future)));
            }
            steps.at("shutdown");
            pool.shutdown();
            // Other functions than here.
            let pool = builder(2)
                .worker_args(entry("other_entry"))
                .on_crash(on_crash)
                .build()
                .unwrap();
            let future = pool.submit(square, 1).unwrap();
            let exception = exception(&future);
            assert!(
                exception.to_string().contains("registered other functions"),
                "{exception}"
            );
            assert!(is::<BrokenProcessPool>(&exception));
            pool.shutdown();
        }
    });
}

/// Only some start: that is enough.
#[test]
fn killed_while_they_start() {
    watchdog("killed while they start", |steps| {
        for n in rounds(20, 100) {
            let pool = tough_pool(2);
            let futures: Vec<_> = (0..10).map(|n| pool.submit(square, n).unwrap()).collect();
            until(steps, "there is a process", || !pool.pids().is_empty());
            let victim = pool.pids()[0];
            thread::sleep(Duration::from_micros(100 * n as u64));
            kill(victim, "KILL");
            steps.at("the futures");
            let mut failed = 0;
            for (n, future) in (0..).zip(&futures) {
                match future.result(None) {
                    Ok(result) => assert_eq!(result, n * n),
                    Err(Error::Exception(exception)) => {
                        assert!(is::<WorkerDied>(&exception), "{exception}");
                        failed += 1;
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert!(failed <= 1);
            steps.at("shutdown");
            pool.shutdown();
        }
    });
}

/// A worker that is stopped while it starts, and a pool that nobody needs any more.
#[test]
fn stopped_while_it_starts() {
    watchdog("stopped while it starts", |steps| {
        let pool = tough_pool(1);
        let future = pool.submit(square, 1).unwrap();
        until(steps, "there is a process", || !pool.pids().is_empty());
        let pid = pool.pids()[0];
        stop(steps, pid);
        assert!(future.done() || future.cancel() || future.running());
        steps.at("kill_workers");
        pool.kill_workers();
        pool.shutdown();
        assert!(!is_alive(pid));
    });
}

#[test]
fn initializers_that_fail() {
    watchdog("initializers that fail", |steps| {
        for on_crash in [OnCrash::BreakPool, OnCrash::FailCall] {
            for panic in [true, false] {
                let pool = builder(2).try_initializer(fails, panic).on_crash(on_crash);
                let pool = pool.build().unwrap();
                let futures: Vec<_> = (0..5).filter_map(|n| pool.submit(square, n).ok()).collect();
                steps.at("the futures");
                for future in &futures {
                    let exception = exception(future);
                    let broken = exception.downcast_ref::<BrokenProcessPool>().unwrap();
                    // It was ended for that, by the pool.
                    assert_eq!(broken.status(), None);
                    let text = exception.to_string();
                    assert!(text.contains("the initializer "), "{text}");
                    let cause = exception.as_error().and_then(|error| error.source());
                    assert!(cause.unwrap().to_string().contains("the initializer "));
                }
                until(steps, "the pool is broken", || {
                    matches!(pool.submit(square, 1), Err(SubmitError::Broken(_)))
                });
                steps.at("shutdown");
                pool.shutdown();
            }
        }
        // One that exits.
        let pool = builder(2).initializer(exits, 5).build().unwrap();
        let exception = exception(&pool.submit(square, 1).unwrap());
        let broken = exception.downcast_ref::<BrokenProcessPool>().unwrap();
        assert_eq!(broken.status().unwrap().code(), Some(5));
    });
}

// ---- A stranger between the pool and its worker

/// A worker that is none: it has the real one started, and stands between it and the pool. What it does to
/// the bytes is said by its last argument but one: `cut-100` ends after the worker's first 100 bytes,
/// `flip-100` turns over some bits of the byte behind them, `insert-100` puts some bytes there,
/// `leave-100` leaves some out, `pause-100` sends them a little later. `deaf-100` reads nothing, and replies
/// when a [`Holder`] at port 100 lets it. `half-100` closes what it reads, and lives on.
#[test]
fn stranger_entry() {
    let arguments: Vec<_> = env::args().collect();
    if arguments.last().map(|last| &**last) != Some("--multiprocessing-fork") {
        return;
    }
    let fault = &arguments[arguments.len() - 2];
    let (fault, at) = fault.split_once('-').unwrap();
    let at: usize = at.parse().unwrap();
    // The pool's side: a secret, a folder, and that somebody listens there.
    let mut lines = String::new();
    std::io::stdin().read_to_string(&mut lines).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    let connect = |role: u8| {
        let mut stream = UnixStream::connect(format!("{}/socket", lines[1])).unwrap();
        stream.write_all(lines[0].as_bytes()).unwrap();
        stream.write_all(&[role]).unwrap();
        stream
    };
    let pool = [connect(0), connect(1)];
    // The worker's side.
    let folder = Folder::new("stranger");
    let listener = UnixListener::bind(folder.path("socket")).unwrap();
    let mut worker = Command::new(env::current_exe().unwrap())
        .args(entry("processes::worker_entry"))
        .arg("--multiprocessing-fork")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let introduction = format!("{}\n{}\n\n", lines[0], folder.path(""));
    worker
        .stdin
        .take()
        .unwrap()
        .write_all(introduction.as_bytes())
        .unwrap();
    let accept = || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut vec![0; lines[0].len() + 1]).unwrap();
        stream
    };
    let real = [accept(), accept()];
    drop(folder);
    if fault == "deaf" || fault == "half" {
        let mut greeting = [0; 16];
        (&real[0]).read_exact(&mut greeting).unwrap();
        let mut to = &pool[0];
        if fault == "half" {
            to.shutdown(std::net::Shutdown::Read).unwrap();
        }
        let _ = to.write_all(&greeting);
        let _ = worker.kill();
        loop {
            hold(at as u16);
            // As if the call had returned an empty list.
            let reply = [&9_u64.to_le_bytes()[..], &[1], &[0; 8]].concat();
            if to.write_all(&reply).is_err() {
                std::process::exit(0);
            }
        }
    }
    for n in 0..2 {
        let mut from = pool[n].try_clone().unwrap();
        let mut to = real[n].try_clone().unwrap();
        thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Write);
        });
    }
    let mut down = Vec::new();
    let mut buffer = [0; 4096];
    let mut random = Random::new(at as u64);
    let (mut from, mut to) = (&real[0], &pool[0]);
    let mut seen = 0;
    loop {
        let n = from.read(&mut buffer).unwrap_or(0);
        if n == 0 {
            break;
        }
        down.clear();
        for &byte in &buffer[..n] {
            let here = seen == at;
            seen += 1;
            match fault {
                "cut" if here => {
                    let _ = to.write_all(&down);
                    let _ = worker.kill();
                    std::process::abort();
                }
                "flip" if here => down.push(byte ^ (1 << random.below(8))),
                "leave" if here => {}
                "pause" if here => {
                    let _ = to.write_all(&down);
                    thread::sleep(Duration::from_millis(200));
                    down.clear();
                    down.push(byte);
                }
                "insert" if here => {
                    down.extend((0..1 + random.below(40)).map(|_| random.below(256) as u8));
                    down.push(byte);
                }
                _ => down.push(byte),
            }
        }
        if to.write_all(&down).is_err() {
            break;
        }
    }
    let _ = worker.kill();
    let _ = worker.wait();
    std::process::exit(0);
}

/// A pool with such a worker; whatever it does, every future ends, with an error that is known or a
/// result.
fn through_a_stranger(fault: &str, on_crash: OnCrash) {
    let mut arguments = entry("stranger_entry");
    arguments.push(fault.to_owned());
    let pool = builder(1)
        .worker_args(arguments)
        .on_crash(on_crash)
        .build()
        .unwrap();
    let squares: Vec<_> = (0..3).filter_map(|n| pool.submit(square, n).ok()).collect();
    let large = pool.submit(bytes, 20_000);
    let texts: Vec<_> = pool.try_submit(parse, "x".to_owned()).into_iter().collect();
    // A reply that is said to be longer than it is, is not over yet.
    let _ = wait(squares.clone(), Duration::from_millis(300), ALL_COMPLETED);
    let _ = large
        .as_ref()
        .map(|large| large.exception(Duration::from_millis(100)));
    pool.kill_workers();
    pool.shutdown();
    let mut exceptions = Vec::new();
    for square in squares {
        exceptions.extend(square.exception(Duration::ZERO).unwrap_or_else(|error| {
            assert!(matches!(error, Error::Cancelled), "{error}");
            None
        }));
    }
    for text in texts {
        exceptions.extend(text.exception(Duration::ZERO).unwrap_or(None));
    }
    if let Ok(large) = large {
        assert!(large.done());
        if let Ok(large) = large.result(None) {
            assert!(large.len() <= 21_000);
        }
    }
    if fault.starts_with("cut") {
        let known = |it: &Exception| is::<WorkerDied>(it) || is::<BrokenProcessPool>(it);
        let parse_error = |it: &Exception| is::<std::num::ParseIntError>(it);
        assert!(
            exceptions.iter().all(|it| known(it) || parse_error(it)),
            "{exceptions:?}"
        );
    }
}

/// What it does not read fills the stream, until a call to what seems to be an idle worker finds no room. Nobody
/// is to wait for that, least of all with the pool's lock held.
#[test]
fn a_stranger_that_does_not_read() {
    watchdog("a stranger that does not read", |steps| {
        let holder = Holder::new();
        let mut arguments = entry("stranger_entry");
        arguments.push(format!("deaf-{}", holder.port()));
        let pool = builder(1)
            .worker_args(arguments)
            .on_crash(OnCrash::FailCall)
            .build()
            .unwrap();
        let mut pids = Vec::new();
        for n in 0..1000 {
            steps.at(format!("call {n}"));
            let call = pool.submit(echo, vec![1; 4_000]).unwrap();
            while !call.done() {
                let pid = holder.entered().pid;
                pids.push(pid);
                // The last request of one that was killed is followed by one of the next.
                until(steps, &format!("call {n} is done"), || {
                    call.done() || !pool.pids().contains(&pid)
                });
            }
            assert_eq!(call.result(None).unwrap(), []);
            pids.dedup();
            if pids.len() > 1 {
                break;
            }
        }
        assert!(pids.len() > 1, "there was room for all calls");
        steps.at("shutdown");
        pool.kill_workers();
        pool.shutdown();
    });
}

/// What cannot be sent to it is not waited for.
#[test]
fn a_stranger_that_closes_one_half() {
    watchdog("a stranger that closes one half", |steps| {
        for length in [10, 3_000_000] {
            steps.at(format!("{length} bytes"));
            let holder = Holder::new();
            let mut arguments = entry("stranger_entry");
            arguments.push(format!("half-{}", holder.port()));
            let pool = builder(1)
                .worker_args(arguments)
                .on_crash(OnCrash::FailCall)
                .build()
                .unwrap();
            let call = pool.submit(echo, vec![1; length]).unwrap();
            let died = exception(&call);
            assert!(is::<WorkerDied>(&died), "{died:?}");
            pool.kill_workers();
            pool.shutdown();
        }
    });
}

/// A stream may bring the header of a large message, and nothing of the message yet.
#[test]
fn a_header_that_comes_alone() {
    watchdog("a header that comes alone", |_| {
        let mut arguments = entry("stranger_entry");
        // Behind the greeting, of 16 bytes, and the 8 of a header.
        arguments.push("pause-24".to_owned());
        let pool = builder(1).worker_args(arguments).build().unwrap();
        let large = pool.submit(bytes, 20_000).unwrap();
        assert_eq!(large.result(None).unwrap(), vec![7; 20_000]);
    });
}

/// So that the tests below show what they say.
#[test]
fn a_stranger_that_changes_nothing() {
    watchdog("a stranger", |_| {
        let mut arguments = entry("stranger_entry");
        arguments.push("flip-1000000".to_owned());
        let pool = builder(1).worker_args(arguments).build().unwrap();
        assert_eq!(pool.submit(square, 5).unwrap().result(None).unwrap(), 25);
        assert_eq!(
            pool.submit(bytes, 20_000).unwrap().result(None).unwrap(),
            vec![7; 20_000]
        );
    });
}

/// Killed after each byte of its greeting and of its first replies, and after some of a long one.
#[test]
fn killed_after_so_many_bytes() {
    watchdog("killed after k bytes", |steps| {
        let all = (0..90).chain([5_000, 8_200, 8_300, 15_000, 20_080]);
        let every = size(7, 1);
        for (n, k) in all.enumerate().filter(|(n, _)| n % every == 0) {
            let fault = format!("cut-{k}");
            steps.at(&fault);
            through_a_stranger(
                &fault,
                [OnCrash::FailCall, OnCrash::BreakPool][n / every % 2],
            );
        }
    });
}

#[test]
fn hostile_bytes_from_a_worker() {
    // In a process of its own, whose memory is that of this test alone.
    if !is_child("hostile") {
        let ended = child("hostile_bytes_from_a_worker", "hostile", "");
        assert_eq!(ended.code, Some(0), "{ended:?}");
        return;
    }
    watchdog("hostile bytes", |steps| {
        let mut random = Random::new(9);
        for n in rounds(24, 200) {
            let kind = ["flip", "insert", "leave"][n % 3];
            let at = if random.once_in(4) {
                random.below(20_300)
            } else {
                random.below(90)
            };
            let fault = format!("{kind}-{at}");
            steps.at(&fault);
            through_a_stranger(&fault, [OnCrash::FailCall, OnCrash::BreakPool][n % 2]);
        }
        // In kB: whatever lengths were said, memory was taken for what came.
        assert!(support::process_status("VmHWM") < 1_000_000);
    });
}

// ---- What cannot travel

#[test]
fn what_cannot_travel() {
    watchdog("what cannot travel", |steps| {
        for pool in [pool(1), tough_pool(1)] {
            match pool.submit(unregistered, ()) {
                Err(SubmitError::Pickling(exception)) => {
                    assert!(
                        exception.to_string().contains("::unregistered"),
                        "{exception}"
                    );
                }
                other => panic!("{other:?}"),
            }
            match pool.submit(takes_bad, Bad::Dump) {
                Err(SubmitError::Pickling(exception)) => {
                    assert_eq!(exception.to_string(), "Error in pickle");
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(pool.process_count(), 0);
            let raised = |future: Future<_>| {
                steps.at("a result");
                exception(&future.clone())
            };
            let load = raised(pool.submit(takes_bad, Bad::Load).unwrap());
            assert_eq!(load.to_string(), "Error in unpickle");
            let load = raised(pool.submit(takes_bad, Bad::PanicInLoad).unwrap());
            assert_eq!(load.panic_message(), Some("panic in load"));
            let result = |bad: Bad| exception(&pool.submit(bad_result, bad.number()).unwrap());
            assert_eq!(result(Bad::Dump).to_string(), "Error in pickle");
            assert_eq!(
                result(Bad::PanicInDump).panic_message(),
                Some("panic in dump")
            );
            assert_eq!(result(Bad::Load).to_string(), "Error in unpickle");
            assert_eq!(
                result(Bad::PanicInLoad).panic_message(),
                Some("panic in load")
            );
            // All of it in one process, which goes on.
            assert_eq!(pool.process_count(), 1);
            assert_eq!(pool.submit(square, 2).unwrap().result(None).unwrap(), 4);
        }
    });
}

/// Where another worker than this crate's has sent it, it is an error.
#[test]
fn large_arguments_and_results() {
    watchdog("large arguments", |_| {
        let length = size(50_000_000, 1_000_000_000);
        let pool = tough_pool(2);
        let echoed = pool.submit(echo, vec![3; length]).unwrap();
        assert_eq!(echoed.take_result(None).unwrap().len(), length);
        let made = pool.submit(bytes, length).unwrap();
        assert_eq!(made.take_result(None).unwrap().len(), length);
    });
}

// ---- A parent that dies

/// What a parent does that is to be killed: workers that start, are idle, and busy.
#[test]
fn parent_entry() {
    if !is_child("parent") {
        return;
    }
    register_all();
    let token = env::var("TOKEN").unwrap();
    let mut arguments = entry("processes::worker_entry");
    arguments.push(token);
    let pool = ProcessPoolExecutor::builder()
        .max_workers(3)
        .worker_args(arguments)
        .build()
        .unwrap();
    drop(pool.submit(echo, vec![1; 1_000_000]).unwrap());
    loop {
        drop(pool.submit(sleep_ms, 1_000_000).unwrap());
        for n in 0..200 {
            pool.submit(square, n).unwrap().result(None).unwrap();
        }
        drop(pool.submit(sleep_ms, 1_000_000).unwrap());
        let _ = pool
            .submit(bytes, 100_000_000)
            .unwrap()
            .result(None)
            .unwrap();
    }
}

#[test]
fn no_worker_and_no_file_outlives_a_killed_parent() {
    watchdog("killed parents", |steps| {
        let folder = Folder::new("orphans");
        let mut random = Random::new(5);
        let mut tokens = Vec::new();
        for round in rounds(40, 300) {
            let token = format!("token-{}-{round}", std::process::id());
            let mut parent = Command::new(env::current_exe().unwrap())
                .args(["--exact", "parent_entry", "--nocapture", "--quiet"])
                .env("RELIABILITY_TEST_CHILD", "parent")
                .env("TOKEN", &token)
                .env("TMPDIR", &folder.0)
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .spawn()
                .unwrap();
            thread::sleep(Duration::from_micros(random.below(30_000) as u64));
            parent.kill().unwrap();
            parent.wait().unwrap();
            tokens.push(token);
        }
        for token in &tokens {
            until(steps, "no worker is left", || {
                processes_with(token).is_empty()
            });
        }
        until(steps, "no file is left", || folder.entries() == 0);
    });
}

/// A worker that is told to end has something to say first, as do all processes; but not for ever. Here nobody reads it.
#[test]
fn a_worker_cannot_print_its_last_words() {
    if is_child("last words") {
        let mut arguments = entry("processes::worker_entry");
        arguments.push(env::var("TOKEN").unwrap());
        register_all();
        let pool = ProcessPoolExecutor::builder()
            .max_workers(2)
            .worker_args(arguments)
            .build()
            .unwrap();
        let begun: String = env::var("BEGUN").unwrap();
        // The beginning of a line stays in the process until its end, or that of the process.
        pool.submit(prints_and_holds, begun).unwrap();
        // Fills the pipe.
        let _ = pool.submit(floods, 10_000_000).unwrap().result(None);
        return;
    }
    watchdog("last words", |steps| {
        let folder = Folder::new("words");
        let token = format!("words-{}", std::process::id());
        let mut parent = Command::new(env::current_exe().unwrap())
            .args(["--exact", "a_worker_cannot_print_its_last_words"])
            .arg("--nocapture")
            .env("RELIABILITY_TEST_CHILD", "last words")
            .env("TOKEN", &token)
            .env("BEGUN", folder.path("begun"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until(steps, "it has begun", || {
            fs::metadata(folder.path("begun")).is_ok()
        });
        until(steps, "there are workers", || {
            processes_with(&token).len() == 2
        });
        thread::sleep(Duration::from_millis(500));
        parent.kill().unwrap();
        let stdout = parent.stdout.take();
        parent.wait().unwrap();
        until(steps, "no worker is left", || {
            processes_with(&token).is_empty()
        });
        drop(stdout);
    });
}

// ---- Programs that do it wrong

#[test]
fn other_entry() {
    if env::args().any(|argument| argument == "--multiprocessing-fork") {
        freeze_support(|registry| {
            registry.register(mul);
        });
    }
}

#[test]
fn freeze_support_forgotten_and_late() {
    if is_child("forgotten") {
        let forgotten = ProcessPoolExecutor::new(2).unwrap_err();
        assert!(
            forgotten.to_string().contains("freeze_support"),
            "{forgotten}"
        );
        register_all();
        // Called once more, with other functions, it does nothing.
        freeze_support(|registry| {
            registry.register(unregistered);
        });
        let pool = pool(1);
        assert_eq!(pool.submit(square, 4).unwrap().result(None).unwrap(), 16);
        assert!(matches!(
            pool.submit(unregistered, ()),
            Err(SubmitError::Pickling(_))
        ));
        println!("late is not too late");
        return;
    }
    let ended = child("freeze_support_forgotten_and_late", "forgotten", "");
    assert!(ended.stdout.contains("late is not too late"), "{ended:?}");
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

/// In Linux, the workers run the file that this process runs, be it deleted, or another one in its place,
/// before there is a pool or while there is one.
#[test]
fn the_executable_is_deleted() {
    let works = |pool: &ProcessPoolExecutor| {
        assert_eq!(pool.submit(square, 5).unwrap().result(None).unwrap(), 25);
    };
    if is_child("deleted") {
        watchdog("the executable is deleted", move |_| {
            let exe = env::current_exe().unwrap();
            let running = tough_pool(1);
            works(&running);
            let another = exe.with_extension("new");
            fs::write(&another, "no program").unwrap();
            fs::rename(&another, &exe).unwrap();
            for _ in 0..2 {
                let died = exception(&running.submit(exits, 1).unwrap());
                assert!(is::<WorkerDied>(&died));
                works(&running);
                works(&pool(2));
                // It is there in the first of the two rounds only.
                let _ = fs::remove_file(&exe);
            }
            println!("it works");
        });
        return;
    }
    let folder = Folder::new("deleted");
    let output = run_copy(&folder, "the_executable_is_deleted", "deleted", &[]);
    assert!(output.contains("it works"), "{output}");
}

/// Runs a test of this binary as a child that has this role, from a copy of the binary, and returns what it
/// has written. `wrapper` is a program with arguments that runs another one.
fn run_copy(folder: &Folder, test: &str, role: &str, wrapper: &[&str]) -> String {
    let copy = folder.path("copy");
    fs::copy(env::current_exe().unwrap(), &copy).unwrap();
    let mut words = wrapper.iter().copied().chain([&*copy]);
    let mut command = Command::new(words.next().unwrap());
    command
        .args(words)
        .args(["--exact", test, "--nocapture"])
        .env("RELIABILITY_TEST_CHILD", role)
        .stdin(Stdio::null());
    loop {
        // "Text file busy": a process that another test was just starting still has the file that was
        // written, until it executes its own.
        let output = match command.output() {
            Err(error) if error.raw_os_error() == Some(26) => {
                thread::yield_now();
                continue;
            }
            output => output.unwrap(),
        };
        let text =
            [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
        // From the wrapper, if there is one.
        if !text[1].contains("Text file busy") {
            return text.concat();
        }
    }
}

/// Whether a program can be run so, for which one may have to be root.
fn can_run(wrapper: &[&str]) -> bool {
    let mut command = Command::new(wrapper[0]);
    let status = command.args(&wrapper[1..]).arg("true").output();
    status.map_or(false, |output| output.status.success())
}

/// Loopback then, too: the folder cannot be made in one that is read-only, nor its socket in one that
/// is full. Mounted for the child alone.
#[test]
fn a_full_or_read_only_folder_for_temporary_files() {
    if is_child("mounted") {
        watchdog("a full folder", |_| {
            let empty = |path: &str| fs::read_dir(path).unwrap().next().is_none();
            let temporary = env::temp_dir().to_str().unwrap().to_owned();
            for pool in [pool(2), tough_pool(2)] {
                assert_eq!(pool.submit(square, 6).unwrap().result(None).unwrap(), 36);
                let echoed = pool.submit(echo, vec![1; 3_000_000]).unwrap();
                assert_eq!(echoed.result(None).unwrap().len(), 3_000_000);
                pool.shutdown();
                assert!(empty(&temporary), "something is left in {temporary}");
            }
            println!("it works");
        });
        return;
    }
    let folder = Folder::new("mounted");
    let mounted = folder.path("mounted");
    fs::create_dir(&mounted).unwrap();
    for options in ["ro", "nr_inodes=1", "nr_inodes=2"] {
        let script = format!(
            "mount -t tmpfs -o {options} none {mounted} && TMPDIR={mounted} exec \"$0\" \"$@\""
        );
        let wrapper = ["unshare", "-rm", "sh", "-c", &*script];
        if !can_run(&wrapper) {
            println!("left out: nothing can be mounted here");
            continue;
        }
        let test = "a_full_or_read_only_folder_for_temporary_files";
        let output = run_copy(&folder, test, "mounted", &wrapper);
        assert!(output.contains("it works"), "{options}: {output}");
    }
}

/// Loopback then.
#[test]
fn no_folder_for_temporary_files() {
    if is_child("folder") {
        let folder = Folder::new("none");
        for path in [
            "/proc",
            "/there/is/no/such",
            "a\nb",
            &folder.path(&"long".repeat(40)),
        ] {
            let _ = fs::create_dir(path);
            env::set_var("TMPDIR", path);
            for pool in [pool(2), tough_pool(2)] {
                assert_eq!(pool.submit(square, 6).unwrap().result(None).unwrap(), 36);
                let echoed = pool.submit(echo, vec![1; 3_000_000]).unwrap();
                assert_eq!(echoed.result(None).unwrap().len(), 3_000_000);
                let died = exception(&pool.submit(exits, 1).unwrap());
                assert!(is::<BrokenProcessPool>(&died) || is::<WorkerDied>(&died));
                pool.shutdown();
            }
            let _ = fs::remove_dir(path);
        }
        println!("it works");
        return;
    }
    let ended = child("no_folder_for_temporary_files", "folder", "");
    assert!(ended.stdout.contains("it works"), "{ended:?}");
}

/// Loopback, too: a program may go elsewhere between making the folder and removing it.
#[test]
fn a_relative_folder_for_temporary_files() {
    if is_child("relative") {
        watchdog("a relative folder", |steps| {
            let folder = Folder::new("relative");
            for place in ["here", "there"] {
                fs::create_dir_all(folder.path(place) + "/temporary").unwrap();
            }
            env::set_var("TMPDIR", "temporary");
            for n in 0..5 {
                env::set_current_dir(folder.path("here")).unwrap();
                // Of workers that wait before they are ready, and so until they are killed.
                register_all();
                let pool = ProcessPoolExecutor::builder().max_workers(1);
                let pool = pool.worker_args(entry("never_ready_entry"));
                let pool = pool.build().unwrap();
                let call = pool.submit(square, n).unwrap();
                until(steps, "there is a process", || !pool.pids().is_empty());
                // Time enough for the folder to be made, if any is.
                thread::sleep(Duration::from_millis(20));
                env::set_current_dir(folder.path("there")).unwrap();
                pool.kill_workers();
                steps.at("shutdown");
                pool.shutdown();
                assert!(call.cancelled());
                for place in ["here", "there"] {
                    let left = fs::read_dir(folder.path(place) + "/temporary").unwrap();
                    assert_eq!(left.count(), 0, "{place}");
                }
            }
            // And it works.
            assert_eq!(pool(1).submit(square, 6).unwrap().result(None).unwrap(), 36);
            println!("it works");
        });
        return;
    }
    let ended = child("a_relative_folder_for_temporary_files", "relative", "");
    assert!(ended.stdout.contains("it works"), "{ended:?}");
}

/// Whoever comes to a loopback address, and says little or nothing, does not keep the worker waiting, nor the pool.
#[test]
fn strangers_on_a_loopback_address() {
    if is_child("loopback") {
        watchdog("strangers", |steps| {
            env::set_var("TMPDIR", "relative");
            register_all();
            let pool = ProcessPoolExecutor::builder().max_workers(1);
            let pool = pool.worker_args(entry("never_ready_entry"));
            let pool = pool.build().unwrap();
            let call = pool.submit(square, 1).unwrap();
            let mut port = None;
            until(steps, "it listens", || {
                port = listening().pop();
                port.is_some()
            });
            let connect = || TcpStream::connect(("127.0.0.1", port.unwrap())).unwrap();
            // It has something to say every second, and would be done after a minute.
            let mut slow = connect();
            let speaker = thread::spawn(move || {
                while slow.write_all(b"x").is_ok() {
                    thread::sleep(Duration::from_millis(900));
                }
            });
            thread::sleep(Duration::from_millis(500));
            let silent: Vec<_> = (0..20).map(|_| connect()).collect();
            pool.kill_workers();
            steps.at("shutdown");
            let before = Instant::now();
            pool.shutdown();
            let took = before.elapsed();
            assert!(call.cancelled());
            drop(silent);
            speaker.join().unwrap();
            assert!(took < Duration::from_secs(30), "{took:?}");
            println!("it works");
        });
        return;
    }
    let ended = child("strangers_on_a_loopback_address", "loopback", "");
    assert!(ended.stdout.contains("it works"), "{ended:?}");
}

/// The worker is taken in beside strangers that came before it, say nothing, and stay, or have hung up.
#[test]
fn a_worker_among_strangers() {
    if is_child("among") {
        watchdog("a worker among strangers", |steps| {
            let folder = Folder::new("among");
            env::set_var("TMPDIR", "relative");
            let came = folder.path("came");
            env::set_var("STRANGERS_CAME", &came);
            register_all();
            let pool = ProcessPoolExecutor::builder().max_workers(1);
            let pool = pool.worker_args(entry("late_entry")).build().unwrap();
            let call = pool.submit(square, 6).unwrap();
            let mut port = None;
            until(steps, "it listens", || {
                port = listening().pop();
                port.is_some()
            });
            let connect = |_| TcpStream::connect(("127.0.0.1", port.unwrap())).unwrap();
            (0..20).map(connect).for_each(drop);
            let silent: Vec<_> = (0..40).map(connect).collect();
            fs::write(came, "").unwrap();
            steps.at("the result");
            let before = Instant::now();
            assert_eq!(call.result(None).unwrap(), 36);
            let took = before.elapsed();
            assert!(took < Duration::from_secs(30), "{took:?}");
            drop(silent);
            pool.shutdown();
            println!("it works");
        });
        return;
    }
    let ended = child("a_worker_among_strangers", "among", "");
    assert!(ended.stdout.contains("it works"), "{ended:?}");
}

#[test]
fn late_entry() {
    let is_worker = |last: String| last.starts_with("--multiprocessing");
    if env::args().next_back().map_or(false, is_worker) {
        let came = env::var("STRANGERS_CAME").unwrap();
        while fs::metadata(&came).is_err() {
            thread::sleep(Duration::from_millis(1));
        }
        register_all();
    }
}

/// The ports at which this process listens.
fn listening() -> Vec<u16> {
    let sockets: Vec<_> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter_map(|link| {
            Some(
                link.to_str()?
                    .strip_prefix("socket:[")?
                    .strip_suffix(']')?
                    .to_owned(),
            )
        })
        .collect();
    let table = fs::read_to_string("/proc/self/net/tcp").unwrap();
    let lines = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter(|line| line[3] == "0A" && sockets.iter().any(|inode| inode == line[9]))
        .map(|line| u16::from_str_radix(line[1].rsplit(':').next().unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn never_ready_entry() {
    if env::args()
        .next_back()
        .map_or(false, |last| last.starts_with("--multiprocessing"))
    {
        thread::sleep(Duration::from_secs(60));
    }
}

/// Calls fail, or are refused, or made; the pool stays usable.
#[test]
fn too_few_descriptors_processes_and_memory() {
    if is_child("poor") {
        let pool = tough_pool(6);
        let mut failed = 0;
        let mut futures = Vec::new();
        for n in 0..50 {
            match pool.submit(square, n) {
                Ok(future) => futures.push((n, future)),
                Err(SubmitError::Thread(_)) => failed += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        for (n, future) in futures {
            match future.result(None) {
                Ok(result) => assert_eq!(result, n * n),
                Err(Error::Exception(exception)) => {
                    let known = match exception.downcast_ref::<SubmitError>() {
                        Some(error) => matches!(error, SubmitError::Process(_)),
                        None => is::<BrokenProcessPool>(&exception),
                    };
                    assert!(known, "{exception:?}");
                    failed += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        pool.shutdown();
        println!("{failed} failed");
        return;
    }
    // For root there is no limit to the processes, so it is somebody else who has it.
    let folder = Folder::new("poor");
    let nobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let test = "too_few_descriptors_processes_and_memory";
    for processes in [2, 8, 14, 17] {
        let limit = format!("--nproc={processes}");
        let wrapper: Vec<_> = nobody.into_iter().chain(["prlimit", &*limit]).collect();
        if !can_run(&wrapper) {
            println!("left out: nobody else can be had to run it");
            continue;
        }
        let output = run_copy(&folder, test, "poor", &wrapper);
        let failed = output.lines().find(|line| line.ends_with(" failed"));
        // With no thread for it, the test itself cannot begin.
        let begun = !output.contains("failed to spawn thread");
        assert!(failed.is_some() || !begun, "{processes}: {output}");
        println!("{processes} processes: {failed:?}");
    }
    for limits in [
        "ulimit -n 8",
        "ulimit -n 12",
        "ulimit -n 20",
        "ulimit -v 60000",
    ] {
        let ended = child("too_few_descriptors_processes_and_memory", "poor", limits);
        assert!(ended.stdout.contains(" failed\n"), "{limits}: {ended:?}");
        println!(
            "{limits}: {}",
            ended
                .stdout
                .lines()
                .find(|line| line.ends_with("failed"))
                .unwrap()
        );
    }
}

// ---- Nothing is left, nothing is shared

fn sockets_of(pid: u32) -> usize {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let targets = links.filter_map(|entry| fs::read_link(entry.path()).ok());
    targets
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count()
}

#[test]
fn the_workers_of_two_pools_share_nothing() {
    if is_child("two") {
        let pools = [pool(2), pool(2)];
        let holder = Holder::new();
        let calls: Vec<_> = (0..4)
            .map(|n| pools[n % 2].submit(hold, holder.port()).unwrap())
            .collect();
        let held: Vec<_> = (0..4).map(|_| holder.entered()).collect();
        for held in &held {
            // Its messages, its control, and the holder's.
            assert_eq!(sockets_of(held.pid), 3);
        }
        // The end of one pool is nothing to the other.
        pools[0].kill_workers();
        pools[0].shutdown();
        assert!(calls[1].running() && calls[3].running());
        drop(held);
        assert!(calls[1].result(None).is_ok() && calls[3].result(None).is_ok());
        println!("they share nothing");
        return;
    }
    let ended = child("the_workers_of_two_pools_share_nothing", "two", "");
    assert!(ended.stdout.contains("they share nothing"), "{ended:?}");
}

#[test]
fn a_hundred_pools_leave_nothing_behind() {
    if is_child("hundred") {
        let folder = Folder::new("hundred");
        env::set_var("TMPDIR", &folder.0);
        let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
        let once = |n: usize| {
            let pool = tough_pool(2);
            let holder = Holder::new();
            let futures: Vec<_> = (0..2).map(|_| pool.submit(hold, holder.port())).collect();
            let held = [holder.entered(), holder.entered()];
            match n % 4 {
                0 => kill(held[0].pid, "KILL"),
                1 => pool.kill_workers(),
                2 => pool.terminate_workers(),
                _ => {}
            }
            drop(held);
            pool.shutdown();
            assert!(futures.iter().all(|future| future.as_ref().unwrap().done()));
        };
        (0..4).for_each(once);
        let before = (descriptors(), support::thread_total());
        (0..100).for_each(once);
        assert_eq!((descriptors(), support::thread_total()), before);
        let me = std::process::id();
        let children = fs::read_to_string(format!("/proc/self/task/{me}/children"));
        assert_eq!(children.unwrap_or_default(), "");
        assert_eq!(folder.entries(), 0);
        println!("nothing is left");
        return;
    }
    let ended = child("a_hundred_pools_leave_nothing_behind", "hundred", "");
    assert!(ended.stdout.contains("nothing is left"), "{ended:?}");
}

/// Each process has a thread here, and each thread a stack.
#[test]
fn a_thousand_processes_of_one_pool_leave_nothing_behind() {
    let test = "a_thousand_processes_of_one_pool_leave_nothing_behind";
    if is_child("thousand") {
        let pool = builder(2).max_tasks_per_child(1).build().unwrap();
        let run = |calls| {
            for n in 0..calls {
                assert_eq!(pool.submit(square, n).unwrap().result(None).unwrap(), n * n);
            }
        };
        run(20);
        let before = process_status("VmSize");
        let calls = size(100, 1000) as u64;
        run(calls);
        let grown = process_status("VmSize").saturating_sub(before);
        println!("{grown} kB more after {calls} processes");
        // A stack is 2 MB.
        assert!(grown < 1000 * calls as usize, "{grown} kB more");
        println!("nothing is left");
        return;
    }
    // An arena of glibc's takes 64 MB of addresses, and how many there are is a matter of the load.
    let ended = child(test, "thousand", "export MALLOC_ARENA_MAX=1");
    assert!(ended.stdout.contains("nothing is left"), "{ended:?}");
}

/// The watchdog sleeps until the first deadline. Only an earlier one wakes it.
#[test]
fn limits_do_not_wake_the_watchdog() {
    let test = "limits_do_not_wake_the_watchdog";
    if !is_child("limits") {
        let ended = child(test, "limits", "");
        assert!(ended.stdout.contains("it has slept"), "{ended:?}");
        return;
    }
    watchdog(test, |steps| {
        let pool = pool(1);
        let run = |calls| {
            let options = CallOptions::new().timeout(Duration::from_secs(3600));
            for n in 0..calls {
                let call = pool.submit_with(square, n, options).unwrap();
                assert_eq!(call.result(None).unwrap(), n * n);
                let sleeps = || status_of("deadlines", "State:").starts_with('S');
                until(steps, "it sleeps again", sleeps);
            }
        };
        let sleeps = || -> u64 {
            let sleeps = status_of("deadlines", "voluntary_ctxt_switches:");
            sleeps.parse().unwrap()
        };
        run(1);
        let before = sleeps();
        run(50);
        let sleeps = sleeps() - before;
        assert!(sleeps < 10, "it went to sleep {sleeps} times");
        println!("it has slept");
    });
}

/// What the system says of a thread of this process.
fn status_of(thread: &str, field: &str) -> String {
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path();
        let status = fs::read_to_string(path.join("status")).unwrap();
        let value = |field| status.lines().find_map(|line| line.strip_prefix(field));
        if value("Name:").unwrap().trim() == thread {
            return value(field).unwrap().trim().to_owned();
        }
    }
    panic!("there is no thread {thread}");
}

/// The processes of a pool that nobody refers to end by themselves, when they are done.
#[test]
fn a_pool_that_is_dropped() {
    watchdog("a dropped pool", |steps| {
        let pool = pool(2);
        let holder = Holder::new();
        let futures: Vec<_> = (0..4)
            .map(|_| pool.submit(hold, holder.port()).unwrap())
            .collect();
        drop(pool);
        let held: Vec<_> = (0..2).map(|_| holder.entered()).collect();
        let pids: Vec<_> = held.iter().map(|held| held.pid).collect();
        drop(held);
        drop([holder.entered(), holder.entered()]);
        futures
            .iter()
            .for_each(|future| assert!(future.result(None).is_ok()));
        until(steps, "the workers have ended", || {
            pids.iter().all(|&pid| !is_alive(pid))
        });
    });
}

/// In a callback, on the thread of one of the pool's own workers.
#[test]
fn shutdown_in_a_callback() {
    watchdog("shutdown in a callback", |steps| {
        for die in [false, true] {
            let pool = pool(2);
            let (sender, receiver) = mpsc::channel();
            let future = if die {
                pool.submit(exits, 1).unwrap()
            } else {
                pool.submit(nothing, ()).unwrap()
            };
            let other = pool.clone();
            future.add_done_callback(move |_| {
                other.shutdown();
                sender.send(()).unwrap();
            });
            steps.at("the callback");
            receiver.recv().unwrap();
            steps.at("shutdown");
            pool.shutdown();
        }
    });
}

/// Where it cannot wait, it says so: not even the callback that asks has returned.
#[test]
fn shutdown_timeout_in_a_callback() {
    watchdog("shutdown_timeout in a callback", |steps| {
        for die in [false, true] {
            let pool = tough_pool(2);
            let holder = Holder::new();
            let beside = pool.submit(hold, holder.port()).unwrap();
            let held = holder.entered();
            let future = if die {
                pool.submit(hold_and_abort, holder.port()).unwrap()
            } else {
                pool.submit(hold, holder.port()).unwrap()
            };
            let its_held = holder.entered();
            let (sender, receiver) = mpsc::channel();
            let other = pool.clone();
            future.add_done_callback(move |_| {
                let ended = other.shutdown_timeout(ShutdownOptions::new());
                sender.send(ended.is_ok()).unwrap();
                let now = ShutdownOptions::new().wait(false);
                sender.send(other.shutdown_timeout(now).is_ok()).unwrap();
            });
            drop(its_held);
            steps.at("the callback");
            assert_eq!([receiver.recv(), receiver.recv()], [Ok(false), Ok(true)]);
            drop(held);
            steps.at("shutdown");
            pool.shutdown_timeout(ShutdownOptions::new()).unwrap();
            beside.result(None).unwrap();
        }
    });
}

// ---- All of it at once

#[test]
fn random_stress_with_deaths() {
    watchdog("stress with deaths", |steps| {
        let started = Instant::now();
        for seed in rounds(1000, 1000).take_while(|_| started.elapsed() < Duration::from_secs(8)) {
            stress(steps, seed as u64);
        }
    });
}

fn stress(steps: &Steps, seed: u64) {
    steps.at(format!("seed {seed}"));
    let mut random = Random::new(seed);
    let mut options = builder(1 + random.below(3)).on_crash(OnCrash::FailCall);
    if random.once_in(3) {
        options = options.max_tasks_per_child(1 + random.below(4));
    }
    if random.once_in(3) {
        options = options.initializer(set_state, 77);
    }
    let pool = options.build().unwrap();
    let mut numbers: Vec<(u64, Future<u64>)> = Vec::new();
    let mut others: Vec<Future<()>> = Vec::new();
    let mut large = Vec::new();
    let mut killed = 0;
    for _ in 0..random.below(60) {
        let mut act = || -> Result<(), SubmitError> {
            match random.below(12) {
                0 => others.push(pool.submit(exits, 1)?),
                1 => others.push(pool.submit(aborts, ())?),
                2 => large.push(pool.submit(echo, vec![1; random.below(300_000)])?),
                3 => {
                    let limit = Duration::from_micros(random.below(3000) as u64);
                    let options = CallOptions::new().timeout(limit);
                    numbers.push((1, pool.submit_with(sleep_ms, 1, options)?));
                }
                4 => {
                    if let Some(&pid) = pool.pids().first() {
                        kill(pid, "KILL");
                        killed += 1;
                    }
                }
                5 => {
                    if let Some((_, future)) = numbers.last() {
                        pool.kill_call(future);
                    }
                }
                6 => {
                    if let Some((_, future)) = numbers.last() {
                        future.cancel();
                    }
                }
                7 => {
                    let map = pool.map_with(square, 0..20, MapOptions::new().chunksize(3));
                    drop(map?.collect::<Vec<_>>());
                }
                _ => {
                    let n = random.below(1000) as u64;
                    numbers.push((n * n, pool.submit(square, n)?));
                }
            }
            Ok(())
        };
        match act() {
            Ok(()) => {}
            // Three in a row were killed while they started.
            Err(SubmitError::Broken(_)) if killed >= 3 => break,
            Err(error) => panic!("seed {seed}: {error}"),
        }
        random.pause();
    }
    match random.below(5) {
        0 => pool.kill_workers(),
        1 => pool.terminate_workers(),
        2 => pool.shutdown_with(ShutdownOptions::new().cancel_futures(true)),
        _ => {}
    }
    pool.shutdown();
    for (expected, future) in numbers {
        assert!(future.done());
        if let Ok(result) = future.result(None) {
            assert_eq!(result, expected);
        }
    }
    assert!(others.iter().all(Future::done) && large.iter().all(Future::done));
    assert_eq!(pool.process_count(), 0);
}
