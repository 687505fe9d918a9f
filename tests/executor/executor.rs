// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! CPython's `executor.py`: what every executor does. Shutting it down, and the `with` statement,
//! are in `shutdown.rs`.

use super::util::{blaming, divmod, mul, promise, short_timeout, Event, Gate};
use super::{left_out, with_executor, ExecutorMixin};
use concurrent_futures::{Error, Executor, MapOptions};
use std::sync::Arc;
use std::time::Duration;

/// Tells when it is dropped.
#[derive(Default)]
struct MyObject {
    collected: Event,
}

impl MyObject {
    fn my_method(&self) {}
}

impl Drop for MyObject {
    fn drop(&mut self) {
        self.collected.set();
    }
}

pub fn test_submit<M: ExecutorMixin>(name: &str) {
    with_executor::<M>(name, |executor| {
        promise("the result of a call is that of its future");
        let future = executor.submit(|| 2_i32.pow(8)).unwrap();
        assert_eq!(future.result(None).unwrap(), 256);
    });
}

/// A closure's captures are its arguments, whatever their names.
pub fn test_submit_keyword<M: ExecutorMixin>(name: &str) {
    with_executor::<M>(name, |executor| {
        promise("a call is run with what it captured");
        let y = 8;
        let future = executor.submit(move || mul(2, y)).unwrap();
        assert_eq!(future.result(None).unwrap(), 16);

        let (args, executor_, r#fn) = ((1,), 2, 3);
        let future = executor.submit(move || (args, executor_, r#fn)).unwrap();
        assert_eq!(future.result(None).unwrap(), ((1,), 2, 3));
    });
}

pub fn test_map<M: ExecutorMixin>(name: &str) {
    fn pow((x, y): (i64, u32)) -> i64 {
        x.pow(y)
    }

    with_executor::<M>(name, |executor| {
        promise("`map` yields the results in the order of the items");
        let arguments = || (0..10).zip(0..10);
        let expected: Vec<i64> = arguments().map(pow).collect();

        let results = executor.map(pow, arguments()).unwrap();
        assert_eq!(results.collect::<Result<Vec<_>, _>>().unwrap(), expected);

        let results = executor
            .map_with(pow, arguments(), MapOptions::new().chunksize(3))
            .unwrap();
        assert_eq!(results.collect::<Result<Vec<_>, _>>().unwrap(), expected);
    });
}

pub fn test_map_exception<M: ExecutorMixin>(name: &str) {
    with_executor::<M>(name, |executor| {
        promise("`map` yields what a call panicked with, and then ends");
        let mut i = executor
            .map(|(x, y)| divmod(x, y), [(1, 2), (1, 3), (1, 0), (1, 5)])
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

pub fn test_map_timeout<M: ExecutorMixin>(name: &str) {
    with_executor::<M>(name, |executor| {
        promise("`map_with` a time-out yields the results that are there, and then the time-out");
        // A machine that is busy may not have got to the first two calls when the time is over; that
        // proves nothing, so it is given more.
        for timeout in [100, 1_000, 10_000, 60_000] {
            let gate = Gate::new();
            let event = gate.event();
            let mut results = executor
                .map_with(
                    move |waits| {
                        if waits {
                            event.wait();
                        }
                    },
                    [false, false, true],
                    MapOptions::new().timeout(Duration::from_millis(timeout)),
                )
                .unwrap();
            let mut returned = 0;
            let error = loop {
                match results.next().expect("expected a time-out") {
                    Ok(()) => returned += 1,
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

/// bpo-12456: shutting down with as many calls under way as there are workers, and one more.
pub fn test_shutdown_race_issue12456<M: ExecutorMixin>(name: &str) {
    with_executor::<M>(name, |executor| {
        promise("`shutdown` lets everything run that was submitted");
        let twos = vec![2; M::WORKER_COUNT + 1];
        let results = executor.map(|n: i32| n.to_string(), twos).unwrap();
        executor.shutdown();
        assert_eq!(
            results.collect::<Result<Vec<_>, _>>().unwrap(),
            vec!["2"; M::WORKER_COUNT + 1]
        );
    });
}

/// bpo-16284: the executor does not hang onto references.
pub fn test_no_stale_references<M: ExecutorMixin>(name: &str) {
    with_executor::<M>(name, |executor| {
        promise("nothing is kept of a call that was run");
        let my_object = Arc::new(MyObject::default());
        let my_object_collected = my_object.collected.clone();
        let callee = Arc::clone(&my_object);
        // Deliberately discarding the future.
        drop(executor.submit(move || callee.my_method()).unwrap());
        drop(my_object);
        assert!(
            my_object_collected.wait_timeout(short_timeout()),
            "Stale reference not collected within timeout."
        );
    });
}

/// There are no negative numbers in a `usize`, so zero is all there is to refuse.
pub fn test_max_workers_negative<M: ExecutorMixin>(name: &str) {
    if !M::BOUNDED {
        return left_out(name, "BOUNDED");
    }
    blaming(name, || {
        promise("an executor of no workers is refused");
        match M::executor_type(0) {
            Ok(_) => panic!("there is an executor of no workers"),
            Err(error) => assert!(
                error
                    .to_string()
                    .contains("max_workers must be greater than 0"),
                "{error}"
            ),
        }
    });
}

/// bpo-14406: the result iterator keeps no reference to what it has yielded.
pub fn test_free_reference<M: ExecutorMixin>(name: &str) {
    with_executor::<M>(name, |executor| {
        promise("the iterator of `map` keeps nothing that it has yielded");
        let results = executor.map(|_| Arc::new(MyObject::default()), 0..10);
        let mut yielded = 0;
        for obj in results.unwrap() {
            let obj = obj.unwrap();
            let weak = Arc::downgrade(&obj);
            drop(obj);
            assert!(weak.upgrade().is_none(), "a yielded result was kept");
            yielded += 1;
        }
        assert_eq!(yielded, 10);
    });
}
