// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! The mix-in of CPython's `test_as_completed.py`, with its name and those of its cases.

use super::util::{
    cancelled_and_notified_future, create_future, exception_future, mul, pending_future, promise,
    running_future, successful_future, watchdog, Gate,
};
use super::{with_executor, ExecutorMixin};
use concurrent_futures::{as_completed, Executor, Future, State};
use std::collections::HashSet;
use std::iter;
use std::sync::Arc;
use std::time::Duration;

pub fn test_no_timeout<M: ExecutorMixin>(name: &str) {
    with_executor::<M>(name, |executor| {
        promise("`as_completed` yields every future, done or not, once");
        let fs = HashSet::from([
            cancelled_and_notified_future(),
            exception_future(),
            successful_future(),
            executor.submit(|| mul(2, 21)).unwrap(),
            executor.submit(|| mul(7, 6)).unwrap(),
        ]);
        let completed: HashSet<_> = as_completed(fs.clone(), None)
            .map(|future| future.unwrap())
            .collect();
        assert_eq!(completed, fs);
    });
}

pub fn test_future_times_out<M: ExecutorMixin>(name: &str) {
    with_executor::<M>(name, |executor| {
        promise("`as_completed` yields what is done, and then the time-out");
        let already_completed = HashSet::from([
            cancelled_and_notified_future(),
            exception_future(),
            successful_future(),
        ]);
        for timeout in [Duration::ZERO, Duration::from_millis(100)] {
            let gate = Gate::new();
            let future = executor.submit(gate.call()).unwrap();
            let fs = already_completed.iter().cloned().chain([future.clone()]);

            let mut completed_futures = HashSet::new();
            let mut timed_out = false;
            for completed in as_completed(fs, timeout) {
                match completed {
                    Ok(future) => assert!(completed_futures.insert(future)),
                    Err(_) => timed_out = true,
                }
            }

            // `future` was not completed.
            assert!(timed_out);
            assert_eq!(completed_futures, already_completed);
            assert!(!future.done());
        }
    });
}

/// bpo-20367: duplicates neither fail nor are yielded twice. bpo-31641: any iterable will do.
pub fn test_duplicate_futures<M: ExecutorMixin>(name: &str) {
    with_executor::<M>(name, |executor| {
        promise("`as_completed` yields a future once, however often it was given");
        let gate = Gate::new();
        let future1 = executor.submit(gate.call()).unwrap();
        let completed = as_completed(iter::repeat(future1.clone()).take(3), None);
        gate.open_soon();
        let completed: Vec<_> = completed.map(|future| future.unwrap()).collect();
        assert_eq!(completed, [future1]);
    });
}

/// bpo-14406: the iterator keeps no reference to a future that it has yielded.
pub fn test_free_reference_yielded_future<M: ExecutorMixin>(name: &str) {
    watchdog(name, || {
        // A future's result dies with it, so a weak reference to the result tells about the future.
        let mut futures_list: Vec<Future<Arc<String>>> = (0..8).map(|_| Future::new()).collect();
        futures_list.push(create_future(State::CancelledAndNotified, None, None));
        futures_list.push(create_future(
            State::Finished,
            None,
            Some(Arc::new("42".to_owned())),
        ));

        // Drops the yielded handle and ours; true if the future had a result, and it is gone.
        fn was_freed(
            future: Future<Arc<String>>,
            futures_list: &mut Vec<Future<Arc<String>>>,
        ) -> bool {
            futures_list.retain(|f| *f != future);
            if future.cancelled() {
                return false;
            }
            let weak = Arc::downgrade(&future.result(None).unwrap());
            assert!(weak.upgrade().is_some());
            drop(future);
            assert!(weak.upgrade().is_none(), "a yielded future was kept");
            true
        }

        let mut freed = 0;
        let mut timed_out = false;
        for future in as_completed(futures_list.clone(), Duration::ZERO) {
            match future {
                Ok(future) => freed += usize::from(was_freed(future, &mut futures_list)),
                Err(_) => timed_out = true,
            }
        }
        assert!(timed_out);
        assert_eq!((freed, futures_list.len()), (1, 8));

        futures_list[0]
            .set_result(Arc::new("test".to_owned()))
            .unwrap();
        for future in as_completed(futures_list.clone(), None) {
            freed += usize::from(was_freed(future.unwrap(), &mut futures_list));
            if let Some(next) = futures_list.first() {
                next.set_result(Arc::new("test".to_owned())).unwrap();
            }
        }
        assert_eq!((freed, futures_list.len()), (9, 0));
    });
}

pub fn test_correct_timeout_exception_msg<M: ExecutorMixin>(name: &str) {
    watchdog(name, || {
        let futures_list = [
            cancelled_and_notified_future(),
            pending_future(),
            running_future(),
            successful_future(),
        ];
        let errors: Vec<_> = as_completed(futures_list, Duration::ZERO)
            .filter_map(Result::err)
            .collect();
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].to_string(), "2 (of 4) futures unfinished");
    });
}
