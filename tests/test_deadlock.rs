//! CPython's `test_deadlock.py`: nothing that goes wrong on the way of a call, or of its result, leaves
//! anybody waiting.
//!
//! A crash is an abort here, and an exit is an exit of the process, which takes the pool with it. A panic
//! stands for what Python raises.

mod processes;
mod support;

use concurrent_futures::process::{BrokenProcessPool, ProcessPoolExecutor};
use concurrent_futures::{Error, Exception, Future, ShutdownOptions, SubmitError};
use processes::*;
use std::fmt::Debug;
use support::watchdog;

/// What a call on a pool of two raises.
fn raised<T: Clone + Debug>(
    test: &str,
    submit: impl FnOnce(&ProcessPoolExecutor) -> Result<Future<T>, SubmitError> + Send + 'static,
) -> Exception {
    watchdog(test, |_| {
        let executor = pool(2);
        let future = submit(&executor).unwrap();
        let result = future.result(None);
        executor.shutdown();
        match result {
            Err(Error::Exception(exception)) => exception,
            other => panic!("{other:?}"),
        }
    })
}

fn assert_broken(exception: &Exception) {
    assert!(
        exception.downcast_ref::<BrokenProcessPool>().is_some(),
        "{exception}"
    );
}

/// Arguments are dumped in `submit`, which says so itself.
#[test]
fn test_error_at_task_pickle() {
    let executor = pool(2);
    match executor.submit(takes_bad, Bad::Dump) {
        Err(SubmitError::Pickling(exception)) => {
            assert_eq!(exception.to_string(), "Error in pickle");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn test_exit_at_task_unpickle() {
    let exception = raised("test_exit_at_task_unpickle", |pool| {
        pool.submit(takes_bad, Bad::ExitInLoad)
    });
    assert_broken(&exception);
}

/// It is the call's own exception, and breaks nothing.
#[test]
fn test_error_at_task_unpickle() {
    let exception = raised("test_error_at_task_unpickle", |pool| {
        pool.submit(takes_bad, Bad::Load)
    });
    assert_eq!(exception.to_string(), "Error in unpickle");
}

#[test]
fn test_crash_at_task_unpickle() {
    let exception = raised("test_crash_at_task_unpickle", |pool| {
        pool.submit(takes_bad, Bad::AbortInLoad)
    });
    assert_broken(&exception);
}

#[test]
fn test_crash_during_func_exec_on_worker() {
    let exception = raised("test_crash_during_func_exec_on_worker", |pool| {
        pool.submit(aborts, ())
    });
    assert_broken(&exception);
}

/// In Python, `sys.exit` raises an exception, which travels.
#[test]
fn test_exit_during_func_exec_on_worker() {
    let exception = raised("test_exit_during_func_exec_on_worker", |pool| {
        pool.submit(exits, 1)
    });
    assert_broken(&exception);
}

#[test]
fn test_error_during_func_exec_on_worker() {
    let exception = raised("test_error_during_func_exec_on_worker", |pool| {
        pool.submit(panics, "RuntimeError".to_owned())
    });
    assert_eq!(exception.panic_message(), Some("RuntimeError"));
}

#[test]
fn test_crash_during_result_pickle_on_worker() {
    let exception = raised("test_crash_during_result_pickle_on_worker", |pool| {
        pool.submit(bad_result, Bad::AbortInDump.number())
    });
    assert_broken(&exception);
}

#[test]
fn test_exit_during_result_pickle_on_worker() {
    let exception = raised("test_exit_during_result_pickle_on_worker", |pool| {
        pool.submit(bad_result, Bad::ExitInDump.number())
    });
    assert_broken(&exception);
}

#[test]
fn test_error_during_result_pickle_on_worker() {
    let exception = raised("test_error_during_result_pickle_on_worker", |pool| {
        pool.submit(bad_result, Bad::Dump.number())
    });
    assert_eq!(exception.to_string(), "Error in pickle");
}

/// It is the call's own exception, and breaks nothing.
#[test]
fn test_error_during_result_unpickle_in_result_handler() {
    let exception = raised(
        "test_error_during_result_unpickle_in_result_handler",
        |pool| pool.submit(bad_result, Bad::Load.number()),
    );
    assert_eq!(exception.to_string(), "Error in unpickle");
}

/// A panic, since an exit would be that of this process, which is what Python makes an exception of.
#[test]
fn test_exit_during_result_unpickle_in_result_handler() {
    let exception = raised(
        "test_exit_during_result_unpickle_in_result_handler",
        |pool| pool.submit(bad_result, Bad::PanicInLoad.number()),
    );
    assert_eq!(exception.panic_message(), Some("panic in load"));
}

/// A worker that fails after the call of shutdown.
#[test]
fn test_shutdown_deadlock() {
    watchdog("test_shutdown_deadlock", |_| {
        let executor = pool(2);
        let holder = Holder::new();
        let future = executor.submit(hold_and_abort, holder.port()).unwrap();
        let held = holder.entered();
        executor.shutdown_with(ShutdownOptions::new().wait(false));
        drop(held);
        executor.shutdown();
        match future.result(None) {
            Err(Error::Exception(exception)) => assert_broken(&exception),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn test_shutdown_deadlock_pickle() {
    watchdog("test_shutdown_deadlock_pickle", |_| {
        let executor = pool(2);
        executor.submit(square, 42).unwrap().result(None).unwrap();
        assert!(matches!(
            executor.submit(takes_bad, Bad::Dump),
            Err(SubmitError::Pickling(_))
        ));
        executor.shutdown_with(ShutdownOptions::new().wait(false));
        executor.shutdown();
    });
}

#[test]
fn test_crash_big_data() {
    watchdog("test_crash_big_data", |_| {
        let executor = pool(2);
        let data = vec![b'a'; 4 * 1024 * 1024 + 1];
        match executor.map(crash_with_data, vec![data; 10]) {
            Ok(mut results) => match results.next() {
                Some(Err(Error::Exception(exception))) => assert_broken(&exception),
                other => panic!("{other:?}"),
            },
            // It was broken before everything was submitted.
            Err(error) => assert!(matches!(error, SubmitError::Broken(_)), "{error}"),
        }
        executor.shutdown();
    });
}
