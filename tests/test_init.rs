//! CPython's `test_init.py`.

// Only its `util` is used here.
#[macro_use]
mod executor;

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
