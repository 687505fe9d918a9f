//! Test methods that CPython 3.14 has and 3.13 has not, under their names. What became of each is in
//! `docs/conformance.md`.

mod support;

use concurrent_futures::{Executor, MapOptions, SubmitError, ThreadPoolExecutor};
use support::watchdog;

/// The results of the first items.
fn results<T: Send + 'static>(
    items: impl IntoIterator<Item = T, IntoIter = impl Iterator<Item = T> + 'static>,
    buffersize: usize,
    count: usize,
    f: impl Fn(T) -> String + Send + Sync + 'static,
) -> Vec<String> {
    let pool = ThreadPoolExecutor::new(5).unwrap();
    let options = MapOptions::new().buffersize(buffersize);
    let results = pool.map_with(f, items, options).unwrap();
    results.take(count).map(Result::unwrap).collect()
}

#[test]
fn test_map_buffersize_value_validation() {
    let pool = ThreadPoolExecutor::new(1).unwrap();
    let options = MapOptions::new().buffersize(0);
    let refused = pool.map_with(|n: i32| n, 0..4, options).map(drop);
    match refused {
        Err(SubmitError::Value(error)) => {
            assert_eq!(error.to_string(), "buffersize must be None or > 0");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn test_map_buffersize() {
    watchdog("test_map_buffersize", |_| {
        for buffersize in [1, 2, 4, 8] {
            let results = results(0..4, buffersize, 9, |n: i32| n.to_string());
            assert_eq!(results, ["0", "1", "2", "3"]);
        }
    });
}

#[test]
fn test_map_buffersize_on_multiple_iterables() {
    watchdog("test_map_buffersize_on_multiple_iterables", |_| {
        for buffersize in [1, 2, 4, 8] {
            let pairs = (0..4).zip(0..4);
            let results = results(pairs, buffersize, 9, |(a, b): (i32, i32)| {
                (a + b).to_string()
            });
            assert_eq!(results, ["0", "2", "4", "6"]);
        }
    });
}

#[test]
fn test_map_buffersize_on_infinite_iterable() {
    watchdog("test_map_buffersize_on_infinite_iterable", |_| {
        let results = results(0.., 2, 3, |n: i32| n.to_string());
        assert_eq!(results, ["0", "1", "2"]);
    });
}

#[test]
fn test_map_buffersize_on_multiple_infinite_iterables() {
    watchdog("test_map_buffersize_on_multiple_infinite_iterables", |_| {
        let results = results((0..).zip(0..), 2, 3, |(a, b): (i32, i32)| {
            (a + b).to_string()
        });
        assert_eq!(results, ["0", "2", "4"]);
    });
}

#[test]
fn test_map_buffersize_on_empty_iterable() {
    watchdog("test_map_buffersize_on_empty_iterable", |_| {
        let results = results(Vec::<i32>::new(), 2, 1, |n| n.to_string());
        assert!(results.is_empty());
    });
}

#[test]
fn test_map_buffersize_when_buffer_is_full() {
    watchdog("test_map_buffersize_when_buffer_is_full", |_| {
        let pool = ThreadPoolExecutor::new(5).unwrap();
        let mut items = 0..4;
        let options = MapOptions::new().buffersize(2);
        let map = pool.map_with(|n: i32| n, items.by_ref(), options).unwrap();
        pool.shutdown();
        drop(map);
        assert_eq!(items.next(), Some(2), "no more than two were taken");
    });
}
