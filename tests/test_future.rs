//! CPython's `test_future.py`.

// Only its `util` is used here.
#[macro_use]
mod executor;

use concurrent_futures::{Error, Exception, Future, State, ThreadPoolExecutor};
use executor::util::{
    assert_process_ok, cancelled_and_notified_future, cancelled_future, create_future,
    exception_future, os_error, pending_future, running_future, say, soon, successful_future,
    watchdog, LONG_TIMEOUT,
};
use std::fmt::Debug;
use std::io;
use std::panic;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

/// Has `fn_` called with the future when it is done. What it returns is to be received afterwards.
fn add_fn<T: 'static, R: Send + 'static>(
    f: &Future<T>,
    fn_: impl FnOnce(&Future<T>) -> R + Send + 'static,
) -> Receiver<R> {
    let (sender, receiver) = mpsc::channel();
    f.add_done_callback(move |callback_future| sender.send(fn_(callback_future)).unwrap());
    receiver
}

fn message_of(callback_future: &Future<i32>) -> String {
    let exception = callback_future.exception(None).unwrap();
    exception.expect("no exception").to_string()
}

#[test]
fn test_done_callback_with_result() {
    watchdog("test_done_callback_with_result", || {
        let f = Future::new();
        let callback_result = add_fn(&f, |callback_future| callback_future.result(None).unwrap());
        f.set_result(5).unwrap();
        assert_eq!(callback_result.try_recv(), Ok(5));
    });
}

#[test]
fn test_done_callback_with_exception() {
    watchdog("test_done_callback_with_exception", || {
        let f = Future::new();
        let callback_exception = add_fn(&f, message_of);
        f.set_exception(Exception::msg("test")).unwrap();
        assert_eq!(callback_exception.try_recv().as_deref(), Ok("test"));
    });
}

#[test]
fn test_done_callback_with_cancel() {
    watchdog("test_done_callback_with_cancel", || {
        let f = Future::<i32>::new();
        let was_cancelled = add_fn(&f, Future::cancelled);
        assert!(f.cancel());
        assert_eq!(was_cancelled.try_recv(), Ok(true));
    });
}

#[test]
fn test_done_callback_raises() {
    let output = assert_process_ok("test_done_callback_raises", || {
        // Rust's own report of a panic is not what the test is about.
        panic::set_hook(Box::new(|_| {}));
        let f = Future::new();
        f.add_done_callback(|_| {
            say("raising_fn was called");
            panic!("doh!");
        });
        f.add_done_callback(|_| say("fn was called"));
        f.set_result(5).unwrap();
    });
    assert_eq!(output.out, ["raising_fn was called", "fn was called"]);
    assert!(output.err.contains("panic: doh!"), "{}", output.err);
}

#[test]
fn test_done_callback_already_successful() {
    watchdog("test_done_callback_already_successful", || {
        let f = Future::new();
        f.set_result(5).unwrap();
        let callback_result = add_fn(&f, |callback_future| callback_future.result(None).unwrap());
        assert_eq!(callback_result.try_recv(), Ok(5));
    });
}

#[test]
fn test_done_callback_already_failed() {
    watchdog("test_done_callback_already_failed", || {
        let f = Future::new();
        f.set_exception(Exception::msg("test")).unwrap();
        let callback_exception = add_fn(&f, message_of);
        assert_eq!(callback_exception.try_recv().as_deref(), Ok("test"));
    });
}

#[test]
fn test_done_callback_already_cancelled() {
    watchdog("test_done_callback_already_cancelled", || {
        let f = Future::<i32>::new();
        assert!(f.cancel());
        let was_cancelled = add_fn(&f, Future::cancelled);
        assert_eq!(was_cancelled.try_recv(), Ok(true));
    });
}

#[test]
fn test_done_callback_raises_already_succeeded() {
    let output = assert_process_ok("test_done_callback_raises_already_succeeded", || {
        panic::set_hook(Box::new(|_| {}));
        let f = Future::new();
        f.set_result(5).unwrap();
        f.add_done_callback(|_| panic!("doh!"));
    });
    let err = output.err;
    assert!(err.contains("exception calling callback for"), "{err}");
    assert!(err.contains("doh!"), "{err}");
}

/// Python's `assertRegex(text, before + '<Future at 0x[0-9a-f]+ ' + after)`, for all of the text.
fn assert_repr(text: &str, before: &str, after: &str) {
    let address = text
        .strip_prefix(before)
        .and_then(|text| text.strip_prefix("<Future at 0x"))
        .and_then(|text| text.strip_suffix(after))
        .and_then(|text| text.strip_suffix(' '))
        .unwrap_or_else(|| panic!("{text} is not {before}<Future at 0x... {after}"));
    assert!(!address.is_empty(), "{text}");
    assert!(
        address.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')),
        "{text}"
    );
}

#[test]
fn test_repr() {
    watchdog("test_repr", || {
        fn assert_repr_of(f: &Future<i32>, after: &str) {
            assert_repr(&format!("{f:?}"), "", after);
        }

        assert_repr_of(&pending_future(), "state=pending>");
        assert_repr_of(&running_future(), "state=running>");
        assert_repr_of(&cancelled_future(), "state=cancelled>");
        assert_repr_of(&cancelled_and_notified_future(), "state=cancelled>");
        // The name of `std::io::Error`.
        assert_repr_of(&exception_future(), "state=finished raised Error>");
        assert_repr_of(&successful_future(), "state=finished returned i32>");
    });
}

#[test]
fn test_cancel() {
    watchdog("test_cancel", || {
        let f1 = create_future::<i32>(State::Pending, None, None);
        let f2 = create_future::<i32>(State::Running, None, None);
        let f3 = create_future::<i32>(State::Cancelled, None, None);
        let f4 = create_future::<i32>(State::CancelledAndNotified, None, None);
        let f5 = create_future::<i32>(State::Finished, Some(os_error()), None);
        let f6 = create_future(State::Finished, None, Some(5));

        assert!(f1.cancel());
        assert_eq!(f1.state(), State::Cancelled);

        assert!(!f2.cancel());
        assert_eq!(f2.state(), State::Running);

        assert!(f3.cancel());
        assert_eq!(f3.state(), State::Cancelled);

        assert!(f4.cancel());
        assert_eq!(f4.state(), State::CancelledAndNotified);

        assert!(!f5.cancel());
        assert_eq!(f5.state(), State::Finished);

        assert!(!f6.cancel());
        assert_eq!(f6.state(), State::Finished);
    });
}

#[test]
fn test_cancelled() {
    watchdog("test_cancelled", || {
        assert!(!pending_future().cancelled());
        assert!(!running_future().cancelled());
        assert!(cancelled_future().cancelled());
        assert!(cancelled_and_notified_future().cancelled());
        assert!(!exception_future().cancelled());
        assert!(!successful_future().cancelled());
    });
}

#[test]
fn test_done() {
    watchdog("test_done", || {
        assert!(!pending_future().done());
        assert!(!running_future().done());
        assert!(cancelled_future().done());
        assert!(cancelled_and_notified_future().done());
        assert!(exception_future().done());
        assert!(successful_future().done());
    });
}

#[test]
fn test_running() {
    watchdog("test_running", || {
        assert!(!pending_future().running());
        assert!(running_future().running());
        assert!(!cancelled_future().running());
        assert!(!cancelled_and_notified_future().running());
        assert!(!exception_future().running());
        assert!(!successful_future().running());
    });
}

fn is_os_error(exception: &Exception) -> bool {
    exception.downcast_ref::<io::Error>().is_some()
}

fn assert_timeout<T: Debug>(result: Result<T, Error>) {
    assert!(matches!(result, Err(Error::Timeout)), "{result:?}");
}

fn assert_cancelled<T: Debug>(result: Result<T, Error>) {
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
}

#[test]
fn test_result_with_timeout() {
    watchdog("test_result_with_timeout", || {
        let timeout = Duration::ZERO;
        assert_timeout(pending_future().result(timeout));
        assert_timeout(running_future().result(timeout));
        assert_cancelled(cancelled_future().result(timeout));
        assert_cancelled(cancelled_and_notified_future().result(timeout));
        match exception_future().result(timeout) {
            Err(Error::Exception(exception)) => assert!(is_os_error(&exception)),
            other => panic!("expected an error of the system: {other:?}"),
        }
        assert_eq!(successful_future().result(timeout).unwrap(), 42);
    });
}

#[test]
fn test_result_with_success() {
    watchdog("test_result_with_success", || {
        let f1 = create_future(State::Pending, None, None);
        let notification = f1.clone();
        soon(move || notification.set_result(42).unwrap());
        assert_eq!(f1.result(LONG_TIMEOUT).unwrap(), 42);
    });
}

#[test]
fn test_result_with_cancel() {
    watchdog("test_result_with_cancel", || {
        let f1 = create_future::<i32>(State::Pending, None, None);
        let notification = f1.clone();
        soon(move || assert!(notification.cancel()));
        assert_cancelled(f1.result(LONG_TIMEOUT));
    });
}

#[test]
fn test_exception_with_timeout() {
    watchdog("test_exception_with_timeout", || {
        let timeout = Duration::ZERO;
        assert_timeout(pending_future().exception(timeout));
        assert_timeout(running_future().exception(timeout));
        assert_cancelled(cancelled_future().exception(timeout));
        assert_cancelled(cancelled_and_notified_future().exception(timeout));
        let exception = exception_future().exception(timeout).unwrap();
        assert!(is_os_error(&exception.unwrap()));
        assert!(successful_future().exception(timeout).unwrap().is_none());
    });
}

#[test]
fn test_exception_with_success() {
    watchdog("test_exception_with_success", || {
        let f1 = create_future::<i32>(State::Pending, None, None);
        let notification = f1.clone();
        soon(move || notification.set_exception(os_error()).unwrap());
        let exception = f1.exception(LONG_TIMEOUT).unwrap();
        assert!(is_os_error(&exception.unwrap()));
    });
}

#[test]
fn test_multiple_set_result() {
    watchdog("test_multiple_set_result", || {
        let f = create_future(State::Pending, None, None);
        f.set_result(1).unwrap();
        let error = f.set_result(2).unwrap_err();
        assert_repr(
            &error.to_string(),
            "FINISHED: ",
            "state=finished returned i32>",
        );
        assert!(f.done());
        assert_eq!(f.result(None).unwrap(), 1);
    });
}

#[test]
fn test_multiple_set_exception() {
    watchdog("test_multiple_set_exception", || {
        /// Where the error is, to tell it from others.
        fn id(exception: &Exception) -> *const () {
            exception.as_error().unwrap() as *const _ as *const ()
        }

        let f = create_future::<i32>(State::Pending, None, None);
        let e = Exception::new(ThreadPoolExecutor::new(0).unwrap_err());
        f.set_exception(e.clone()).unwrap();
        let error = f.set_exception(Exception::msg("another")).unwrap_err();
        assert_repr(
            &error.to_string(),
            "FINISHED: ",
            "state=finished raised ValueError>",
        );
        assert_eq!(id(&f.exception(None).unwrap().unwrap()), id(&e));
    });
}
