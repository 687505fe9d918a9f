//! CPython's `test_init.py`.

// Only its `util` is used here.
#[macro_use]
mod executor;
mod processes;
mod support;

use concurrent_futures::{Executor, ThreadPoolExecutor};
use executor::util::watchdog;
use std::sync::{Arc, Mutex};

const WORKER_COUNT: usize = 2;

/// CPython: `InitializerMixin.test_initializer`.
#[test]
fn test_initializer() {
    watchdog("test_initializer", || {
        let status = Arc::new(Mutex::new("uninitialized"));
        let initargs = (Arc::clone(&status), "initialized");
        let executor = ThreadPoolExecutor::builder()
            .max_workers(WORKER_COUNT)
            .initializer(move || *initargs.0.lock().unwrap() = initargs.1)
            .build()
            .unwrap();
        executor.with(|executor| {
            let futures: Vec<_> = (0..WORKER_COUNT)
                .map(|_| {
                    let status = Arc::clone(&status);
                    executor.submit(move || *status.lock().unwrap()).unwrap()
                })
                .collect();
            for f in futures {
                assert_eq!(f.result(None).unwrap(), "initialized");
            }
        });
    });
}

/// CPython: `FailingInitializerMixin`.
mod failing_initializer {
    use super::executor::util::{watchdog, Gate};
    use super::WORKER_COUNT;
    use concurrent_futures::{
        set_logger, BrokenThreadPool, Error, Executor, Level, SubmitError, ThreadPoolExecutor,
    };
    use std::fmt;
    use std::sync::{Arc, Mutex};

    #[derive(Debug)]
    struct ValueError(&'static str);

    impl fmt::Display for ValueError {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl std::error::Error for ValueError {}

    #[test]
    fn test_initializer() {
        watchdog("failing_initializer::test_initializer", || {
            let logged = Arc::new(Mutex::new(Vec::new()));
            let log = Arc::clone(&logged);
            set_logger(move |record| {
                let exc_info = record
                    .exception()
                    .map(|exception| format!("{}: {exception}", exception.type_name()));
                let line = (record.level(), record.message().to_owned(), exc_info);
                log.lock().unwrap().push(line);
            });

            let gate = Gate::new();
            let scheduled = gate.event();
            let executor = ThreadPoolExecutor::builder()
                .max_workers(WORKER_COUNT)
                .try_initializer(move || {
                    scheduled.wait();
                    Err(ValueError("error in initializer"))
                })
                .build()
                .unwrap();
            executor.with(|executor| {
                let future = executor.submit(|| ()).unwrap();
                gate.open();
                match future.result(None) {
                    Err(Error::Exception(exception)) => {
                        assert!(exception.downcast_ref::<BrokenThreadPool>().is_some());
                    }
                    other => panic!("expected a broken pool: {other:?}"),
                }
                // From this point on, `submit` is guaranteed to fail.
                let submitted = executor.submit(|| ());
                assert!(
                    matches!(submitted, Err(SubmitError::Broken(_))),
                    "{submitted:?}"
                );
            });

            assert_eq!(
                *logged.lock().unwrap(),
                [(
                    Level::Critical,
                    "Exception in initializer:".to_owned(),
                    Some("ValueError: error in initializer".to_owned())
                )]
            );
        });
    }
}

/// CPython: `ProcessPoolSpawnInitializerTest`.
mod process_pool {
    use super::WORKER_COUNT;
    use crate::processes::*;
    use crate::support::watchdog;

    #[test]
    fn test_initializer() {
        watchdog("test_initializer", |_| {
            let initialized = builder(WORKER_COUNT).initializer(set_state, 42);
            let executor = initialized.build().unwrap();
            let futures: Vec<_> = (0..WORKER_COUNT)
                .map(|_| executor.submit(state, ()).unwrap())
                .collect();
            for f in futures {
                assert_eq!(f.result(None).unwrap(), 42);
            }
            executor.shutdown();
        });
    }
}

/// CPython: `ProcessPoolSpawnFailingInitializerTest`, and `FailingInitializerResourcesTest`, which runs
/// that one.
mod process_pool_failing_initializer {
    use super::WORKER_COUNT;
    use crate::executor::util::assert_process_ok;
    use crate::processes::*;
    use concurrent_futures::process::BrokenProcessPool;
    use concurrent_futures::{Error, SubmitError};

    /// What the test does, in a process of its own, whose log is its standard error.
    fn break_a_pool() {
        let holder = Holder::new();
        let failing = builder(WORKER_COUNT).try_initializer(fail_in_initializer, holder.port());
        let executor = failing.build().unwrap();
        let future = executor.submit(state, ()).unwrap();
        drop(holder.entered());
        match future.result(None) {
            Err(Error::Exception(exception)) => {
                let broken = exception.downcast_ref::<BrokenProcessPool>();
                let source = std::error::Error::source(broken.unwrap()).unwrap();
                assert_eq!(source.to_string(), "error in initializer");
            }
            other => panic!("expected a broken pool: {other:?}"),
        }
        // From this point on, `submit` is guaranteed to fail.
        let submitted = executor.submit(state, ());
        assert!(matches!(submitted, Err(SubmitError::Broken(_))));
        executor.shutdown();
    }

    #[test]
    fn test_initializer() {
        let name = "process_pool_failing_initializer::test_initializer";
        let output = assert_process_ok(name, break_a_pool);
        let logged = output.err.contains("Exception in initializer:");
        assert!(
            logged && output.err.contains("error in initializer"),
            "{}",
            output.err
        );
    }

    /// gh-104090: the pool that its initializer has broken leaves nothing behind.
    #[test]
    #[cfg(target_os = "linux")]
    fn test_spawn() {
        /// Descriptors and processes of this process, and folders that it has made.
        fn resources() -> [usize; 3] {
            use std::fs;
            let count = |path: &str| fs::read_dir(path).map_or(0, Iterator::count);
            let this = std::process::id();
            // After the name, which may hold anything, and the state.
            let is_child = |stat: &String| {
                let mut fields = stat.rsplit(") ").next().unwrap_or("").split(' ');
                fields.nth(1) == Some(&this.to_string())
            };
            let all = fs::read_dir("/proc").into_iter().flatten().flatten();
            let stats = all.filter_map(|it| fs::read_to_string(it.path().join("stat")).ok());
            let children = stats.filter(is_child).count();
            let folders = fs::read_dir(std::env::temp_dir()).unwrap().flatten();
            let ours = format!("futures-{this}-");
            let folders = folders.filter(|it| it.file_name().to_string_lossy().starts_with(&ours));
            [count("/proc/self/fd"), children, folders.count()]
        }

        assert_process_ok("process_pool_failing_initializer::test_spawn", || {
            // What std opens once, and keeps.
            break_a_pool();
            let before = resources();
            break_a_pool();
            assert_eq!(resources(), before);
            assert_eq!(before[1..], [0, 0]);
        });
    }
}
