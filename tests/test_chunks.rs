//! `map` in chunks: an item that fails ends the results at its place, wherever in a chunk that is, and
//! however they are taken.

mod support;

use concurrent_futures::{
    Error, Exception, Executor, Map, MapOptions, ShutdownOptions, Submit, SubmitError,
    ThreadPoolExecutor,
};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Duration;
use support::{logged, strict, until, watchdog, Count, Gate, OnDrop, Steps};

/// How an item fails.
#[derive(Clone, Copy, Debug)]
enum How {
    Returns,
    Panics,
}

fn double(n: usize, fails: Option<usize>, how: How) -> Result<usize, Exception> {
    match how {
        _ if fails != Some(n) => Ok(2 * n),
        How::Returns => Err(Exception::msg(format!("no {n}"))),
        How::Panics => panic!("no {n}"),
    }
}

/// What the results ought to be, an error as its text.
fn expected(items: usize, fails: Option<usize>) -> Vec<Result<usize, String>> {
    let before = fails.unwrap_or(items).min(items);
    let failure = fails.filter(|&n| n < items);
    let values = (0..before).map(|n| Ok(2 * n));
    values
        .chain(failure.map(|n| Err(format!("no {n}"))))
        .collect()
}

fn as_text(result: Result<usize, Error>) -> Result<usize, String> {
    result.map_err(|error| error.to_string())
}

/// Every place of the failure, in chunks of several sizes, all submitted at once or not.
fn fail_at_any_place(executor: &impl Executor, sizes: &[usize], steps: &Steps) {
    for &items in sizes {
        for chunksize in [1, 2, 3, 100] {
            for buffersize in [None, Some(1), Some(2)] {
                for fails in (0..items).map(Some).chain([None]) {
                    for how in [How::Returns, How::Panics] {
                        let case = format!(
                            "{items} items by {chunksize}, {buffersize:?}, {fails:?} {how:?}"
                        );
                        steps.at(&case);
                        let options = MapOptions::new()
                            .chunksize(chunksize)
                            .buffersize(buffersize);
                        let map = || {
                            let f = move |n| double(n, fails, how);
                            executor.try_map_with(f, 0..items, options).unwrap()
                        };
                        take_in_all_ways(map, &expected(items, fails), &case);
                    }
                }
            }
        }
    }
}

fn take_in_all_ways<U: Submit<usize>>(
    map: impl Fn() -> Map<usize, U>,
    expected: &[Result<usize, String>],
    case: &str,
) {
    // The first of them one by one, the rest at once.
    for first in 0..=expected.len() {
        let mut results = map();
        let mut taken: Vec<_> = results.by_ref().take(first).map(as_text).collect();
        results.for_each(|result| taken.push(as_text(result)));
        assert_eq!(taken, expected, "{case}, {first} first");
    }
    let mut one_by_one = Vec::new();
    let mut results = map();
    for result in &mut results {
        one_by_one.push(as_text(result));
    }
    assert_eq!(one_by_one, expected, "{case}");
    assert!(results.next().is_none(), "{case}");
}

#[test]
fn an_item_that_fails_at_any_place() {
    watchdog("maps that fail", |steps| {
        // Without threads, as there are some thousands of maps.
        fail_at_any_place(&Naive::default(), &[0, 1, 2, 5, 8], steps);
        let pool = ThreadPoolExecutor::new(2).unwrap();
        fail_at_any_place(&pool, &[3], steps);
        pool.shutdown();
    });
}

#[test]
fn what_follows_the_item_that_fails() {
    watchdog("a chunk that ends early", |steps| {
        for how in [How::Returns, How::Panics] {
            let pool = ThreadPoolExecutor::new(1).unwrap();
            let (called, dropped) = (Count::new(), Count::new());
            let its_called = called.clone();
            let items: Vec<_> = (0..6)
                .map(|n| {
                    let dropped = dropped.clone();
                    (n, OnDrop::new(move || dropped.add(1)))
                })
                .collect();
            let map = pool
                .try_map_with(
                    move |(n, _dropped)| {
                        its_called.add(1);
                        double(n, Some(2), how)
                    },
                    items,
                    MapOptions::new().chunksize(6),
                )
                .unwrap();
            let results: Vec<_> = map.map(as_text).collect();
            assert_eq!(results, expected(6, Some(2)));
            assert_eq!(called.get(), 3, "not called after the failure");
            until(steps, "all items are dropped", || dropped.get() == 6);
            pool.shutdown();
        }
    });
}

#[test]
fn items_that_panic_when_they_are_dropped() {
    watchdog("a chunk whose rest panics", |_| {
        // From now on the log goes to where this looks.
        logged("");
        let pool = ThreadPoolExecutor::new(1).unwrap();
        for chunksize in [3, 5] {
            let items = (0..5).map(|n| {
                let not_called = OnDrop::new(move || assert!(n < 3, "left over: {n}"));
                (n, not_called)
            });
            let map = pool
                .try_map_with(
                    |(n, _item)| double(n, Some(2), How::Returns),
                    items,
                    MapOptions::new().chunksize(chunksize),
                )
                .unwrap();
            let results: Vec<_> = map.map(as_text).collect();
            assert_eq!(results, expected(5, Some(2)), "not what the drop says");
        }
        assert_eq!(pool.submit(|| 7).unwrap().result(None).unwrap(), 7);
        pool.shutdown();
        assert!(logged("while dropping an item") >= 2);
    });
}

#[test]
fn a_map_that_is_dropped_half_way() {
    watchdog("maps that are dropped", |steps| {
        for taken in 1..=7 {
            let pool = ThreadPoolExecutor::new(1).unwrap();
            let (called, made, dropped) = (Count::new(), Count::new(), Count::new());
            let gate = Gate::new();
            let (its_called, its_made, its_dropped, its_gate) =
                (called.clone(), made.clone(), dropped.clone(), gate.clone());
            let mut map = pool
                .map_with(
                    move |n: usize| {
                        if n == 8 {
                            its_gate.wait();
                        }
                        its_called.add(1);
                        its_made.add(1);
                        let dropped = its_dropped.clone();
                        (n, OnDrop::new(move || dropped.add(1)))
                    },
                    0..40,
                    MapOptions::new().chunksize(4),
                )
                .unwrap();
            for n in 0..taken {
                steps.at(format!("{taken} taken: {n}"));
                assert_eq!(map.next().unwrap().unwrap().0, n);
            }
            // The third chunk is, or will be, at its first item, and none of those behind it has begun.
            drop(map);
            gate.open();
            steps.at("shutdown");
            pool.shutdown();
            assert!(called.get() <= 12, "{} calls", called.get());
            assert_eq!(dropped.get(), made.get(), "nothing is kept");
        }
    });
}

#[test]
fn a_fold_that_panics_cancels_the_rest() {
    watchdog("a fold that panics", |_| {
        let pool = ThreadPoolExecutor::new(1).unwrap();
        let gate = Gate::new();
        let (called, dropped) = (Count::new(), Count::new());
        let (its_called, its_dropped, its_gate) = (called.clone(), dropped.clone(), gate.clone());
        let map = pool
            .map_with(
                move |n: usize| {
                    if n == 4 {
                        its_gate.wait();
                    }
                    its_called.add(1);
                    let dropped = its_dropped.clone();
                    (n, OnDrop::new(move || dropped.add(1)))
                },
                0..20,
                MapOptions::new().chunksize(4),
            )
            .unwrap();
        let folded = catch_unwind(AssertUnwindSafe(|| {
            map.for_each(|result| assert!(result.unwrap().0 < 2, "enough"));
        }));
        assert!(folded.is_err());
        gate.open();
        pool.shutdown();
        assert!(called.get() <= 8, "{} calls", called.get());
        assert_eq!(dropped.get(), called.get());
    });
}

/// Counts the items that are read from it.
fn counted(items: usize, read: &Count) -> impl Iterator<Item = usize> {
    let read = read.clone();
    (0..items).inspect(move |_| read.add(1))
}

#[test]
fn a_buffer_of_chunks_is_never_exceeded() {
    watchdog("buffers of chunks", |steps| {
        for (chunksize, buffersize) in [(1, 1), (1, 3), (2, 1), (3, 2), (7, 4), (50, 1)] {
            steps.at(format!("{chunksize}, {buffersize}"));
            let pool = ThreadPoolExecutor::new(2).unwrap();
            let (read, called) = (Count::new(), Count::new());
            let its_called = called.clone();
            let options = MapOptions::new()
                .chunksize(chunksize)
                .buffersize(buffersize);
            let map = pool
                .map_with(
                    move |n| {
                        its_called.add(1);
                        n
                    },
                    counted(40, &read),
                    options,
                )
                .unwrap();
            assert_eq!(read.get(), (chunksize * buffersize).min(40));
            for (taken, result) in map.enumerate() {
                assert_eq!(result.unwrap(), taken);
                // The chunk that this result is of has made room for one more.
                let begun = taken / chunksize + 1;
                let at_most = (begun + buffersize) * chunksize;
                assert_eq!(read.get(), at_most.min(40));
                assert!(called.get() <= at_most);
            }
            assert_eq!((read.get(), called.get()), (40, 40));
            pool.shutdown();
        }
    });
}

#[test]
fn an_iterable_that_panics_loses_no_result() {
    watchdog("an iterable that panics", |_| {
        for chunksize in [1, 2] {
            let pool = ThreadPoolExecutor::new(1).unwrap();
            let mut panicked = false;
            // Once, instead of the fourth item.
            let items = (0..8).inspect(move |&n| {
                if n == 4 && !std::mem::replace(&mut panicked, true) {
                    panic!("no fourth item");
                }
            });
            let options = MapOptions::new().chunksize(chunksize).buffersize(1);
            let mut map = pool.map_with(|n: i32| n, items, options).unwrap();
            let (mut results, mut panics) = (Vec::new(), 0);
            loop {
                match catch_unwind(AssertUnwindSafe(|| map.next())) {
                    Ok(Some(result)) => results.push(result.unwrap()),
                    Ok(None) => break,
                    Err(_) => panics += 1,
                }
                let (at_least, at_most) = map.size_hint();
                assert!(at_most.unwrap() >= at_least);
            }
            assert_eq!(panics, 1);
            assert_eq!(results[..4], [0, 1, 2, 3], "with {chunksize} in a chunk");
        }
    });
}

/// Takes all results, and holds what was left against every hint on the way.
fn check_hints<T, U: Submit<T>>(mut map: Map<T, U>, case: &str) -> usize {
    let mut hints = vec![map.size_hint()];
    while map.next().is_some() {
        hints.push(map.size_hint());
    }
    let results = hints.len() - 1;
    for (taken, (at_least, at_most)) in hints.into_iter().enumerate() {
        let left = results - taken;
        assert!(at_least <= left, "{case}: {at_least} <= {left}");
        if let Some(at_most) = at_most {
            assert!(left <= at_most, "{case}: {left} <= {at_most}");
        }
    }
    assert_eq!(map.size_hint(), (0, Some(0)), "{case}");
    results
}

#[test]
fn the_size_hint_is_right_all_the_way() {
    watchdog("size hints", |steps| {
        let executor = Naive::default();
        for items in [0, 1, 4, 7] {
            for chunksize in [1, 2, 4, 9] {
                for buffersize in [None, Some(1), Some(2)] {
                    for fails in (0..items).map(Some).chain([None]) {
                        let case = format!("{items} by {chunksize}, {buffersize:?}, {fails:?}");
                        steps.at(&case);
                        let options = MapOptions::new()
                            .chunksize(chunksize)
                            .buffersize(buffersize);
                        let f = move |n| double(n, fails, How::Returns);
                        let map = executor.try_map_with(f, 0..items, options).unwrap();
                        assert_eq!(
                            map.size_hint().1,
                            Some(items),
                            "{case}: exact, if none fails"
                        );
                        let results = check_hints(map, &case);
                        assert_eq!(results, expected(items, fails).len(), "{case}");
                        let unknown = (0..items).filter(|n| *n < usize::MAX);
                        let map = executor.try_map_with(f, unknown, options).unwrap();
                        check_hints(map, &case);
                    }
                }
            }
        }
        let pool = ThreadPoolExecutor::new(2).unwrap();
        steps.at("an endless iterator");
        let options = MapOptions::new().buffersize(2).chunksize(3);
        let mut endless = pool.map_with(|n: usize| n, 0.., options).unwrap();
        endless.next();
        assert_eq!(endless.size_hint(), (3, None));
        drop(endless);

        steps.at("a pool that is shut down meanwhile");
        let options = MapOptions::new().buffersize(1).chunksize(2);
        let refused = pool.map_with(|n: usize| n, 0..9, options).unwrap();
        pool.shutdown_with(ShutdownOptions::new().wait(false));
        assert_eq!(
            check_hints(refused, "refused"),
            3,
            "two results and an error"
        );
    });
}

/// Some iterators begin again after their `None`.
#[test]
fn an_iterator_is_not_asked_after_its_end() {
    watchdog("an iterator that has ended", |_| {
        let pool = ThreadPoolExecutor::new(1).unwrap();
        for chunksize in [1, 2, 3, 4, 9] {
            for buffersize in [None, Some(1)] {
                let options = MapOptions::new()
                    .chunksize(chunksize)
                    .buffersize(buffersize);
                let doubled = pool.map_with(|n: usize| 2 * n, strict(4), options);
                let doubled: Result<Vec<_>, _> = doubled.unwrap().collect();
                assert_eq!(doubled.unwrap(), [0, 2, 4, 6], "by {chunksize}");
            }
        }
    });
}

#[test]
fn a_time_out_between_chunks() {
    watchdog("a map that times out", |_| {
        let pool = ThreadPoolExecutor::new(1).unwrap();
        let (second_begun, gate) = (Gate::new(), Gate::new());
        let (its_begun, its_gate) = (second_begun.clone(), gate.clone());
        let f = move |n: usize| {
            if n == 3 {
                its_begun.open();
                its_gate.wait();
            }
            n
        };
        let options = MapOptions::new().chunksize(3).timeout(Duration::ZERO);
        let map = pool.map_with(f, 0..9, options).unwrap();
        second_begun.wait();
        let results: Vec<_> = map.collect();
        assert!(matches!(
            results[..],
            [Ok(0), Ok(1), Ok(2), Err(Error::Timeout)]
        ));
        gate.open();
        pool.shutdown();
    });
}

/// Runs every call at once, and lets a panic of it through. It counts the calls.
#[derive(Default)]
struct Naive(Count);

impl Executor for Naive {
    fn try_submit<F, T, E>(&self, f: F) -> Result<concurrent_futures::Future<T>, SubmitError>
    where
        F: FnOnce() -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Into<Exception>,
    {
        let future = concurrent_futures::Future::new();
        self.0.add(1);
        let completed = match f() {
            Ok(value) => future.set_result(value),
            Err(error) => future.set_exception(error.into()),
        };
        completed.unwrap();
        Ok(future)
    }

    fn shutdown_with(&self, _: ShutdownOptions) {}
}

#[test]
fn an_executor_that_catches_nothing_sees_no_panic() {
    for chunksize in [1, 2, 4] {
        let executor = Naive::default();
        let options = MapOptions::new().chunksize(chunksize);
        let map = executor
            .try_map_with(|n| double(n, Some(2), How::Panics), 0..4, options)
            .unwrap();
        assert_eq!(executor.0.get(), 4 / chunksize);
        let results: Vec<_> = map.map(as_text).collect();
        assert_eq!(results, expected(4, Some(2)));
    }
}

#[test]
fn results_that_are_larger_smaller_or_nothing() {
    watchdog("results of other sizes", |_| {
        let pool = ThreadPoolExecutor::new(2).unwrap();
        let options = MapOptions::new().chunksize(3);
        let larger = pool
            .map_with(|n: u8| [n; 100], 0..8, options)
            .unwrap()
            .map(Result::unwrap);
        assert!(larger.eq((0..8).map(|n| [n; 100])));
        let smaller = pool
            .map_with(|n: [u64; 9]| n[0] as u8, (0..8).map(|n| [n; 9]), options)
            .unwrap()
            .map(Result::unwrap);
        assert!(smaller.eq(0..8));
        let nothing = pool.map_with(|_: u64| (), 0..8, options).unwrap();
        assert_eq!(nothing.map(Result::unwrap).count(), 8);
        let shared = Arc::new(());
        let its_shared = Arc::clone(&shared);
        let held = pool
            .map_with(move |_: ()| Arc::clone(&its_shared), vec![(); 8], options)
            .unwrap();
        drop(held.map(Result::unwrap).collect::<Vec<_>>());
        pool.shutdown();
        assert_eq!(Arc::strong_count(&shared), 1);
    });
}
