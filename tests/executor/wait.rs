// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! The mix-in of CPython's `test_wait.py`, with the names of its cases.

use super::util::{
    cancelled_and_notified_future, cancelled_future, divmod, exception_future, mul, promise,
    successful_future, Gate,
};
use super::{with_executor, ExecutorMixin};
use concurrent_futures::{
    wait, Exception, Executor, ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION,
};
use std::collections::HashSet;
use std::time::Duration;

/// bpo-20369: a future that is given twice is waited for once.
pub fn test_20369<M: ExecutorMixin>(name: &str) {
    with_executor::<M>(name, |executor| {
        promise("`wait` returns a future once, however often it was given");
        let gate = Gate::new();
        let future = executor.submit(gate.call()).unwrap();
        gate.open_soon();
        let waited = wait([future.clone(), future.clone()], None, ALL_COMPLETED);
        assert_eq!(waited.done, HashSet::from([future]));
        assert_eq!(waited.not_done, HashSet::new());
    });
}

pub fn test_first_completed<M: ExecutorMixin>(name: &str) {
    with_executor::<M>(name, |executor| {
        promise("`wait` for the first that completes returns when one has");
        let (gate1, gate2) = (Gate::new(), Gate::new());
        let cancelled = cancelled_future();
        let future1 = executor.submit(gate1.call()).unwrap();
        let future2 = executor.submit(gate2.call()).unwrap();

        gate1.open_soon();
        let waited = wait(
            [cancelled.clone(), future1.clone(), future2.clone()],
            None,
            FIRST_COMPLETED,
        );

        assert_eq!(waited.done, HashSet::from([future1]));
        assert_eq!(waited.not_done, HashSet::from([cancelled, future2]));
    });
}

pub fn test_first_completed_some_already_completed<M: ExecutorMixin>(name: &str) {
    with_executor::<M>(name, |executor| {
        promise("`wait` for the first that completes returns at once if one has");
        let gate = Gate::new();
        let completed = [cancelled_and_notified_future(), successful_future()];
        let future1 = executor.submit(gate.call()).unwrap();

        let fs = completed.iter().cloned().chain([future1.clone()]);
        let waited = wait(fs, None, FIRST_COMPLETED);

        assert_eq!(waited.done, HashSet::from(completed));
        assert_eq!(waited.not_done, HashSet::from([future1]));
    });
}

pub fn test_first_exception<M: ExecutorMixin>(name: &str) {
    with_executor::<M>(name, |executor| {
        promise("`wait` for the first exception returns when a call fails");
        let (gate1, gate2, gate3) = (Gate::new(), Gate::new(), Gate::new());
        let future1 = executor.submit(gate1.call()).unwrap();
        let event2 = gate2.event();
        let future2 = executor
            .try_submit(move || {
                event2.wait();
                Err::<i32, _>(Exception::msg("this is an exception"))
            })
            .unwrap();
        let future3 = executor.submit(gate3.call()).unwrap();

        // `future2` fails after `future1` has returned.
        let event2 = gate2.event();
        future1.add_done_callback(move |_| event2.set());
        gate1.open_soon();
        let waited = wait(
            [future1.clone(), future2.clone(), future3.clone()],
            None,
            FIRST_EXCEPTION,
        );

        assert_eq!(waited.done, HashSet::from([future1, future2]));
        assert_eq!(waited.not_done, HashSet::from([future3]));
    });
}

pub fn test_first_exception_some_already_complete<M: ExecutorMixin>(name: &str) {
    with_executor::<M>(name, |executor| {
        promise("`wait` for the first exception returns when a call fails");
        let (gate1, gate2) = (Gate::new(), Gate::new());
        let successful = successful_future();
        let cancelled = cancelled_future();
        let cancelled_and_notified = cancelled_and_notified_future();
        let event1 = gate1.event();
        let future1 = executor
            .submit(move || {
                event1.wait();
                divmod(21, 0).0
            })
            .unwrap();
        let future2 = executor.submit(gate2.call()).unwrap();

        gate1.open_soon();
        let waited = wait(
            [
                successful.clone(),
                cancelled.clone(),
                cancelled_and_notified.clone(),
                future1.clone(),
                future2.clone(),
            ],
            None,
            FIRST_EXCEPTION,
        );

        assert_eq!(
            waited.done,
            HashSet::from([successful, cancelled_and_notified, future1])
        );
        assert_eq!(waited.not_done, HashSet::from([cancelled, future2]));
    });
}

pub fn test_first_exception_one_already_failed<M: ExecutorMixin>(name: &str) {
    with_executor::<M>(name, |executor| {
        promise("`wait` for the first exception returns at once if a call has failed");
        let gate = Gate::new();
        let failed = exception_future();
        let future1 = executor.submit(gate.call()).unwrap();

        let waited = wait([failed.clone(), future1.clone()], None, FIRST_EXCEPTION);

        assert_eq!(waited.done, HashSet::from([failed]));
        assert_eq!(waited.not_done, HashSet::from([future1]));
    });
}

pub fn test_all_completed<M: ExecutorMixin>(name: &str) {
    with_executor::<M>(name, |executor| {
        promise("`wait` for all returns when all are done");
        let fs = HashSet::from([
            successful_future(),
            cancelled_and_notified_future(),
            exception_future(),
            executor.submit(|| divmod(2, 0).0).unwrap(),
            executor.submit(|| mul(2, 21)).unwrap(),
        ]);
        let waited = wait(fs.clone(), None, ALL_COMPLETED);
        assert_eq!(waited.done, fs);
        assert_eq!(waited.not_done, HashSet::new());
    });
}

pub fn test_timeout<M: ExecutorMixin>(name: &str) {
    with_executor::<M>(name, |executor| {
        promise("`wait` with a time-out returns when the time is over");
        let gate = Gate::new();
        let completed = [
            cancelled_and_notified_future(),
            exception_future(),
            successful_future(),
        ];
        let future = executor.submit(gate.call()).unwrap();

        let fs = completed.iter().cloned().chain([future.clone()]);
        let waited = wait(fs, Duration::from_millis(50), ALL_COMPLETED);

        assert_eq!(waited.done, HashSet::from(completed));
        assert_eq!(waited.not_done, HashSet::from([future]));
    });
}
