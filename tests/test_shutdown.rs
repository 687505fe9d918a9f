//! CPython's `test_shutdown.py`. What the general cases do is in `executor/shutdown.rs`.

#[macro_use]
mod executor;
mod processes;
mod support;
mod util;

use concurrent_futures::{at_exit, Executor, ShutdownOptions, ThreadPoolExecutor};
use executor::shutdown;
use executor::util::{assert_process_ok, sleep_and_say, watchdog, Semaphore};
use std::time::Duration;
use util::{ThreadPoolMixin, Threads};

#[test]
fn test_run_after_shutdown() {
    shutdown::test_run_after_shutdown::<ThreadPoolMixin>("test_run_after_shutdown");
}

#[test]
fn test_interpreter_shutdown() {
    shutdown::test_interpreter_shutdown::<ThreadPoolMixin>("test_interpreter_shutdown");
}

#[test]
fn test_submit_after_interpreter_shutdown() {
    shutdown::test_submit_after_interpreter_shutdown::<ThreadPoolMixin>(
        "test_submit_after_interpreter_shutdown",
    );
}

#[test]
fn test_hang_issue12364() {
    shutdown::test_hang_issue12364::<ThreadPoolMixin>("test_hang_issue12364");
}

#[test]
fn test_cancel_futures() {
    shutdown::test_cancel_futures::<ThreadPoolMixin>("test_cancel_futures");
}

#[test]
fn test_hang_gh83386() {
    shutdown::test_hang_gh83386::<ThreadPoolMixin>("test_hang_gh83386");
}

#[test]
fn test_hang_gh94440() {
    shutdown::test_hang_gh94440::<ThreadPoolMixin>("test_hang_gh94440");
}

/// A pool of five that tells `threads` of its threads.
fn watched(threads: &Threads) -> ThreadPoolExecutor {
    threads
        .watch(ThreadPoolExecutor::builder())
        .max_workers(5)
        .build()
        .unwrap()
}

const ABS: [i32; 10] = [5, 4, 3, 2, 1, 0, 1, 2, 3, 4];

#[test]
fn test_threads_terminate() {
    watchdog("test_threads_terminate", || {
        let threads = Threads::new();
        let executor = watched(&threads);
        let sem = Semaphore::new();
        for _ in 0..3 {
            let sem = sem.clone();
            executor.submit(move || sem.acquire()).unwrap();
        }
        assert_eq!(executor.thread_count(), 3);
        sem.release(3);
        executor.shutdown();
        threads.join(3);
    });
}

#[test]
fn test_context_manager_shutdown() {
    watchdog("test_context_manager_shutdown", || {
        let threads = Threads::new();
        let executor = watched(&threads);
        executor.clone().with(|e| {
            let results = e.map(i32::abs, -5..5).unwrap();
            assert_eq!(results.collect::<Result<Vec<_>, _>>().unwrap(), ABS);
        });
        threads.join(executor.thread_count());
    });
}

#[test]
fn test_del_shutdown() {
    watchdog("test_del_shutdown", || {
        let threads = Threads::new();
        let executor = watched(&threads);
        let res = executor.map(i32::abs, -5..5).unwrap();
        let count = executor.thread_count();
        drop(executor);
        threads.join(count);
        // The results were all computed before the executor was shut down.
        assert_eq!(res.collect::<Result<Vec<_>, _>>().unwrap(), ABS);
    });
}

/// The threads are cleaned up also when `shutdown` does not wait for them.
#[test]
fn test_shutdown_no_wait() {
    watchdog("test_shutdown_no_wait", || {
        let threads = Threads::new();
        let executor = watched(&threads);
        let res = executor.map(i32::abs, -5..5).unwrap();
        executor.shutdown_with(ShutdownOptions::new().wait(false));
        threads.join(executor.thread_count());
        // The results were all computed before the executor was shut down.
        assert_eq!(res.collect::<Result<Vec<_>, _>>().unwrap(), ABS);
    });
}

/// `0` to `4`, which `_` sets apart from the pool's part of a thread's name.
fn pool_of(name: &str) -> &str {
    let (pool, number) = name.rsplit_once('_').unwrap();
    assert!(["0", "1", "2", "3", "4"].contains(&number), "{name}");
    pool
}

#[test]
fn test_thread_names_assigned() {
    watchdog("test_thread_names_assigned", || {
        let threads = Threads::new();
        let executor = threads
            .watch(ThreadPoolExecutor::builder())
            .max_workers(5)
            .thread_name_prefix("SpecialPool")
            .build()
            .unwrap();
        drop(executor.map(i32::abs, -5..5).unwrap());
        let count = executor.thread_count();
        assert!(count > 0);
        drop(executor);
        for name in threads.join(count) {
            assert_eq!(pool_of(&name), "SpecialPool");
        }
    });
}

/// Without a prefix, the names are reasonable, and unique.
#[test]
fn test_thread_names_default() {
    watchdog("test_thread_names_default", || {
        let pools: Vec<String> = (0..2)
            .map(|_| {
                let threads = Threads::new();
                let executor = watched(&threads);
                drop(executor.map(i32::abs, -5..5).unwrap());
                let count = executor.thread_count();
                drop(executor);
                let names = threads.join(count);
                let pool = pool_of(&names[0]);
                assert!(names.iter().all(|name| pool_of(name) == pool), "{names:?}");
                let number = pool.strip_prefix("ThreadPoolExecutor-").unwrap();
                assert!(!number.is_empty(), "{pool}");
                assert!(number.chars().all(|c| c.is_ascii_digit()), "{pool}");
                pool.to_owned()
            })
            .collect();
        assert_ne!(pools[0], pools[1]);
    });
}

#[test]
fn test_cancel_futures_wait_false() {
    let output = assert_process_ok("test_cancel_futures_wait_false", || {
        let t = ThreadPoolExecutor::new(None).unwrap();
        let _exit = at_exit();
        t.submit(|| sleep_and_say(Duration::from_millis(100), "apple"))
            .unwrap();
        t.shutdown_with(ShutdownOptions::new().wait(false).cancel_futures(true));
    });
    assert_eq!(output.err, "");
    // gh-116682: nothing, if the shutdown came before the call was started.
    assert!(
        output.out.is_empty() || output.out == ["apple"],
        "{:?}",
        output.out
    );
}

/// The same on an executor of another kind.
mod thread_per_task {
    shutdown_tests!(crate::util::ThreadPerTaskMixin);
}

/// CPython: `ProcessPoolSpawnProcessPoolShutdownTest`.
mod process_pool {
    use super::ABS;
    use crate::executor::util::{assert_process_ok, say};
    use crate::processes::*;
    use crate::support::{until, watchdog};
    use concurrent_futures::process::ProcessPoolExecutor;
    use concurrent_futures::{at_exit, ShutdownOptions, SubmitError};
    use std::thread;
    use std::time::Duration;

    #[test]
    fn test_run_after_shutdown() {
        watchdog("test_run_after_shutdown", |_| {
            let executor = pool(5);
            executor.shutdown();
            let submitted = executor.submit(pow, (2, 5));
            assert!(matches!(submitted, Err(SubmitError::Shutdown)));
        });
    }

    #[test]
    fn test_interpreter_shutdown() {
        let output = assert_process_ok("process_pool::test_interpreter_shutdown", || {
            let t = pool(5);
            let _exit = at_exit();
            t.submit(say_after, (200, "apple".to_owned())).unwrap();
        });
        assert_eq!(output.err, "");
        assert_eq!(output.out, ["apple"]);
    }

    #[test]
    fn test_submit_after_interpreter_shutdown() {
        struct RunLast(ProcessPoolExecutor);

        impl Drop for RunLast {
            fn drop(&mut self) {
                if let Err(error) = self.0.submit(abs, 1) {
                    say("runtime-error");
                    eprintln!("RuntimeError: {error}");
                }
            }
        }

        let name = "process_pool::test_submit_after_interpreter_shutdown";
        let output = assert_process_ok(name, || {
            let t = RunLast(pool(5));
            let _exit = at_exit();
            t.0.submit(abs, 42).unwrap().result(None).unwrap();
        });
        assert!(
            output
                .err
                .contains("RuntimeError: cannot schedule new futures"),
            "{}",
            output.err
        );
        assert_eq!(output.out, ["runtime-error"]);
    }

    #[test]
    fn test_hang_issue12364() {
        watchdog("test_hang_issue12364", |_| {
            let executor = pool(5);
            let holder = Holder::new();
            let fs: Vec<_> = (0..50)
                .map(|_| executor.submit(wait_at, Some(holder.port())).unwrap())
                .collect();
            let release = thread::spawn(move || (0..50).for_each(|_| drop(holder.entered())));
            executor.shutdown();
            for f in fs {
                // They are done when `shutdown` returns.
                assert_eq!(f.result(Duration::ZERO).unwrap(), 0);
            }
            release.join().unwrap();
        });
    }

    #[test]
    fn test_cancel_futures() {
        watchdog("test_cancel_futures", |steps| {
            let executor = pool(5);
            let holder = Holder::new();
            let fs: Vec<_> = (0..50)
                .map(|_| executor.submit(wait_at, Some(holder.port())).unwrap())
                .collect();
            // At least one is running, and it is not going to end before the others are cancelled.
            let held = holder.entered();
            let shutdown = thread::spawn(move || {
                executor.shutdown_with(ShutdownOptions::new().cancel_futures(true));
            });
            until(steps, "each call runs or is cancelled", || {
                fs.iter().any(|f| f.cancelled()) && fs.iter().all(|f| f.cancelled() || f.running())
            });
            let running = fs.iter().filter(|f| f.running()).count();
            assert!((1..=5).contains(&running), "{running}");
            drop(held);
            (1..running).for_each(|_| drop(holder.entered()));
            shutdown.join().unwrap();

            let (cancelled, others): (Vec<_>, Vec<_>) = fs.into_iter().partition(|f| f.cancelled());
            assert!(cancelled.len() > 20);
            assert!(!others.is_empty());
            for f in &others {
                assert!(f.done(), "{}", f.state());
                assert!(f.exception(None).unwrap().is_none());
            }
        });
    }

    /// CPython leaves it out, since its process pools hang there.
    #[test]
    fn test_hang_gh83386() {
        let output = assert_process_ok("process_pool::test_hang_gh83386", || {
            let t = pool(3);
            let _exit = at_exit();
            t.submit(say_after, (200, "apple".to_owned())).unwrap();
            t.shutdown_with(ShutdownOptions::new().wait(false));
        });
        assert_eq!(output.err, "");
        assert_eq!(output.out, ["apple"]);
    }

    #[test]
    fn test_hang_gh94440() {
        watchdog("test_hang_gh94440", |_| {
            for _ in 0..20 {
                let executor = pool(1);
                executor.submit(abs, 0).unwrap().result(None).unwrap();
                executor.submit(abs, 0).unwrap().cancel();
                executor.shutdown();
            }
        });
    }

    /// Waits until these are the processes of the pool, and returns their ids.
    #[cfg(target_os = "linux")]
    fn processes(
        executor: &ProcessPoolExecutor,
        steps: &crate::support::Steps,
        count: usize,
    ) -> Vec<u32> {
        until(steps, "the processes are started", || {
            executor.pids().len() == count
        });
        executor.pids()
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn test_processes_terminate() {
        watchdog("test_processes_terminate", |steps| {
            let executor = pool(5);
            let holder = Holder::new();
            for _ in 0..3 {
                executor.submit(wait_at, Some(holder.port())).unwrap();
            }
            assert_eq!(executor.process_count(), 3);
            let pids = processes(&executor, steps, 3);
            assert!(pids.iter().all(|&pid| is_alive(pid)));
            (0..3).for_each(|_| drop(holder.entered()));
            steps.at("shutdown");
            executor.shutdown();
            assert!(!pids.into_iter().any(is_alive));
        });
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn test_context_manager_shutdown() {
        watchdog("test_context_manager_shutdown", |_| {
            let pids = pool(5).with(|e| {
                let results = e.map(abs, -5..5).unwrap();
                assert_eq!(results.collect::<Result<Vec<_>, _>>().unwrap(), ABS);
                e.pids()
            });
            assert!(!pids.is_empty());
            assert!(!pids.into_iter().any(is_alive));
        });
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn test_del_shutdown() {
        watchdog("test_del_shutdown", |steps| {
            let executor = pool(5);
            let res = executor.map(abs, -5..5).unwrap();
            let count = executor.process_count();
            let pids = processes(&executor, steps, count);
            drop(executor);
            // The results were all computed before the executor was shut down.
            assert_eq!(res.collect::<Result<Vec<_>, _>>().unwrap(), ABS);
            until(steps, "the processes have ended", || {
                !pids.iter().any(|&pid| is_alive(pid))
            });
        });
    }

    #[test]
    fn test_shutdown_no_wait() {
        watchdog("test_shutdown_no_wait", |steps| {
            let executor = pool(5);
            let res = executor.map(abs, -5..5).unwrap();
            executor.shutdown_with(ShutdownOptions::new().wait(false));
            // The results were all computed before the executor was shut down.
            assert_eq!(res.collect::<Result<Vec<_>, _>>().unwrap(), ABS);
            until(steps, "the processes have ended", || {
                executor.process_count() == 0
            });
        });
    }
}
