// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! The mix-in of CPython's `test_shutdown.py`, with the names of its cases.

use super::util::{
    assert_process_ok, blaming, promise, say, short_timeout, sleep_and_say, watchdog, Gate,
    Semaphore,
};
use super::{left_out, with_executor, ExecutorMixin};
use concurrent_futures::{Executor, ShutdownOptions, SubmitError};
use std::any::Any;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub fn test_run_after_shutdown<M: ExecutorMixin>(name: &str) {
    with_executor::<M>(name, |executor| {
        promise("after `shutdown`, a call is refused with `SubmitError::Shutdown`");
        executor.shutdown();
        let submitted = executor.submit(|| 2_i32.pow(5));
        assert!(
            matches!(submitted, Err(SubmitError::Shutdown)),
            "{submitted:?}"
        );
    });
}

/// What the executor does at the end of the process, if it does anything.
fn at_exit<M: ExecutorMixin>(name: &str) -> Option<fn() -> Box<dyn Any>> {
    if M::AT_EXIT.is_none() {
        println!("{name} left out: this executor does nothing at the end of the process");
    }
    M::AT_EXIT
}

/// What was submitted is finished before the process ends.
pub fn test_interpreter_shutdown<M: ExecutorMixin>(name: &str) {
    let at_exit = match at_exit::<M>(name) {
        Some(at_exit) => at_exit,
        None => return,
    };
    blaming(name, || {
        promise("the guard `AT_EXIT` lets everything run that was submitted");
        let output = assert_process_ok(name, || {
            let t = M::executor_type(5).unwrap();
            // Dropped first, as in CPython, where the hook runs before modules lose their variables.
            let _exit = at_exit();
            t.submit(|| sleep_and_say(Duration::from_millis(200), "apple"))
                .unwrap();
        });
        assert_eq!(output.err, "");
        assert_eq!(output.out, ["apple"]);
    });
}

pub fn test_submit_after_interpreter_shutdown<M: ExecutorMixin>(name: &str) {
    struct RunLast<X: Executor>(X);

    impl<X: Executor> Drop for RunLast<X> {
        fn drop(&mut self) {
            if let Err(error) = self.0.submit(|| ()) {
                say("runtime-error");
                eprintln!("RuntimeError: {error}");
            }
        }
    }

    let at_exit = match at_exit::<M>(name) {
        Some(at_exit) => at_exit,
        None => return,
    };
    blaming(name, || {
        promise("after the guard `AT_EXIT`, a call is refused");
        let output = assert_process_ok(name, || {
            let _t = RunLast(M::executor_type(5).unwrap());
            let _exit = at_exit();
        });
        assert!(
            output
                .err
                .contains("RuntimeError: cannot schedule new futures"),
            "{}",
            output.err
        );
        assert_eq!(output.out, ["runtime-error"]);
    });
}

/// bpo-12364: shutting down with many calls in the queue.
pub fn test_hang_issue12364<M: ExecutorMixin>(name: &str) {
    with_executor::<M>(name, |executor| {
        promise("`shutdown` lets everything run that was submitted, and waits for it");
        let gate = Gate::new();
        let fs: Vec<_> = (0..50)
            .map(|_| executor.submit(gate.call()).unwrap())
            .collect();
        gate.open_soon();
        executor.shutdown();
        for f in fs {
            // They are done when `shutdown` returns.
            assert_eq!(f.result(Duration::ZERO).unwrap(), 0);
        }
    });
}

pub fn test_cancel_futures<M: ExecutorMixin>(name: &str) {
    if !M::BOUNDED {
        return left_out(name, "BOUNDED");
    }
    assert!(M::WORKER_COUNT <= 5, "test needs few workers");
    with_executor::<M>(name, |executor| {
        promise("`shutdown` with `cancel_futures` cancels what waits, and lets what runs end");
        let gate = Gate::new();
        let started = Semaphore::new();
        let fs: Vec<_> = (0..50)
            .map(|_| {
                let (started, event) = (started.clone(), gate.event());
                executor
                    .submit(move || {
                        started.release(1);
                        event.wait();
                    })
                    .unwrap()
            })
            .collect();
        // At least one is running, and it is not going to end before many are cancelled.
        assert!(started.try_acquire(short_timeout()), "nothing was started");
        let cancellations = Arc::new(Mutex::new(0));
        for f in &fs {
            let (cancellations, event) = (Arc::clone(&cancellations), gate.event());
            f.add_done_callback(move |f| {
                let mut cancellations = cancellations.lock().unwrap();
                *cancellations += usize::from(f.cancelled());
                if *cancellations > 20 {
                    event.set();
                }
            });
        }
        executor.shutdown_with(ShutdownOptions::new().cancel_futures(true));

        let (cancelled, others): (Vec<_>, Vec<_>) = fs.into_iter().partition(|f| f.cancelled());
        // With few workers, many of the calls were waiting.
        assert!(
            cancelled.len() > 20,
            "of 50 calls, {} are cancelled",
            cancelled.len()
        );
        // The others were able to finish.
        for f in &others {
            assert!(f.done(), "{}", f.state());
            assert!(f.exception(None).unwrap().is_none());
        }
        assert!(!others.is_empty());
    });
}

/// gh-83386: `shutdown(wait=False)` does not make the process hang at its end, nor lose a call that
/// is running.
pub fn test_hang_gh83386<M: ExecutorMixin>(name: &str) {
    let at_exit = match at_exit::<M>(name) {
        Some(at_exit) => at_exit,
        None => return,
    };
    blaming(name, || {
        promise("the guard `AT_EXIT` also waits after a `shutdown` that did not");
        let output = assert_process_ok(name, || {
            let t = M::executor_type(3).unwrap();
            let _exit = at_exit();
            t.submit(|| sleep_and_say(Duration::from_millis(200), "apple"))
                .unwrap();
            t.shutdown_with(ShutdownOptions::new().wait(false));
        });
        assert_eq!(output.err, "");
        assert_eq!(output.out, ["apple"]);
    });
}

/// gh-94440: `shutdown(wait=True)` does not hang when a call was submitted and quickly cancelled
/// right before.
pub fn test_hang_gh94440<M: ExecutorMixin>(name: &str) {
    watchdog(name, || {
        promise("`shutdown` returns also if a call was cancelled right before");
        for _ in 0..200 {
            let executor = M::executor_type(1).unwrap();
            executor.submit(|| 0).unwrap().result(None).unwrap();
            executor.submit(|| 0).unwrap().cancel();
            executor.shutdown();
        }
    });
}
