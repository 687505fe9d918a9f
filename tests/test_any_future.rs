//! Futures of different types together: the untyped handle, and `wait` and `as_completed` on sets of
//! them.

// The hash of a future is that of its identity, which nothing changes.
#![allow(clippy::mutable_key_type)]

#[path = "executor/util.rs"]
#[allow(dead_code)]
mod util;

use concurrent_futures::{
    as_completed, wait, AnyFuture, AsCompleted, DoneAndNotDoneFutures, Error, Exception, Executor,
    Future, FutureSet, State, ThreadPoolExecutor, ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION,
};
use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::num::ParseIntError;
use std::sync::mpsc;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;
use util::{assert_process_ok, watchdog};

/// A result that cannot be cloned, compared or printed, and is not `Sync`.
struct Opaque(#[allow(dead_code)] std::cell::Cell<u8>);

/// A future in a state of CPython's tests.
fn create<T>(state: State, outcome: Option<Result<T, Exception>>) -> Future<T> {
    let future = Future::new();
    match state {
        State::Pending => {}
        State::Running => assert!(future.set_running_or_notify_cancel().unwrap()),
        State::Cancelled => assert!(future.cancel()),
        State::CancelledAndNotified => {
            assert!(future.cancel());
            assert!(!future.set_running_or_notify_cancel().unwrap());
        }
        State::Finished => match outcome.unwrap() {
            Ok(value) => future.set_result(value).unwrap(),
            Err(exception) => future.set_exception(exception).unwrap(),
        },
    }
    assert_eq!(future.state(), state);
    future
}

/// One handle for each state, each of another type; the last two are the finished ones, of which the
/// first has returned and the second failed.
fn in_every_state() -> [AnyFuture; 6] {
    [
        create::<i32>(State::Pending, None).into(),
        create::<String>(State::Running, None).into(),
        create::<Opaque>(State::Cancelled, None).into(),
        create::<()>(State::CancelledAndNotified, None).into(),
        create(State::Finished, Some(Ok(vec![1.5_f64]))).into(),
        create::<Box<u8>>(State::Finished, Some(Err(Exception::msg("no")))).into(),
    ]
}

/// What `wait` and `as_completed` take for done: not `CANCELLED`, of which those who wait were not told.
const SETTLED: [bool; 6] = [false, false, false, true, true, true];

fn hash<T: Hash>(value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn set(fs: impl IntoIterator<Item = AnyFuture>) -> HashSet<AnyFuture> {
    fs.into_iter().collect()
}

// ---- Identity.

#[test]
fn has_the_identity_of_its_future() {
    let future: Future<i32> = Future::new();
    let other: Future<i32> = Future::new();
    let handles = [
        AnyFuture::from(&future),
        AnyFuture::from(&future.clone()),
        AnyFuture::from(future.clone()),
        AnyFuture::from(&future).clone(),
    ];
    for a in &handles {
        for b in &handles {
            assert_eq!(a, b);
            assert_eq!(hash(a), hash(b));
        }
        assert_ne!(*a, AnyFuture::from(&other));
        assert_ne!(*a, AnyFuture::from(Future::<()>::new()));
    }
    assert_eq!(set(handles).len(), 1);
    // It stays the same when the state changes.
    let before = hash(&AnyFuture::from(&future));
    future.set_result(1).unwrap();
    assert_eq!(hash(&AnyFuture::from(&future)), before);
}

/// What Python programs do with a dict keyed by futures.
#[test]
fn a_map_finds_the_typed_future_again() {
    watchdog("a_map_finds_the_typed_future_again", || {
        enum Typed {
            Number(Future<usize>),
            Text(Future<String>),
        }

        let pool = ThreadPoolExecutor::new(4).unwrap();
        let mut typed = HashMap::new();
        for n in 0..100 {
            if n % 2 == 0 {
                let future = pool.submit(move || n).unwrap();
                typed.insert(AnyFuture::from(&future), (n, Typed::Number(future)));
            } else {
                let future = pool.submit(move || n.to_string()).unwrap();
                typed.insert(AnyFuture::from(&future), (n, Typed::Text(future)));
            }
        }
        let keys: Vec<_> = typed.keys().cloned().collect();
        let mut sum = 0;
        for future in as_completed(keys, None) {
            match typed.remove(&future.unwrap()).expect("an unknown future") {
                (n, Typed::Number(future)) => {
                    assert_eq!(future.result(Duration::ZERO).unwrap(), n);
                    sum += n;
                }
                (n, Typed::Text(future)) => {
                    assert_eq!(future.take_result(Duration::ZERO).unwrap(), n.to_string());
                    sum += n;
                }
            }
        }
        assert!(typed.is_empty());
        assert_eq!(sum, 99 * 100 / 2);
    });
}

// ---- Methods.

#[test]
fn methods_in_every_state() {
    use State::*;
    let states = [
        Pending,
        Running,
        Cancelled,
        CancelledAndNotified,
        Finished,
        Finished,
    ];
    for (n, (future, state)) in in_every_state().into_iter().zip(states).enumerate() {
        assert_eq!(future.state(), state);
        assert_eq!(future.running(), state == Running, "{state}");
        let cancelled = matches!(state, Cancelled | CancelledAndNotified);
        assert_eq!(future.cancelled(), cancelled, "{state}");
        assert_eq!(future.done(), cancelled || state == Finished, "{state}");
        for timeout in [Duration::ZERO, Duration::from_millis(1)] {
            match (n, future.exception(timeout)) {
                (0 | 1, Err(Error::Timeout)) | (2 | 3, Err(Error::Cancelled)) | (4, Ok(None)) => {}
                (5, Ok(Some(exception))) => assert_eq!(exception.to_string(), "no"),
                (_, other) => panic!("{state}: {other:?}"),
            }
        }
        assert_eq!(
            future.cancel(),
            matches!(state, Pending | Cancelled | CancelledAndNotified)
        );
        let cancelled_now = if state == Pending { Cancelled } else { state };
        assert_eq!(future.state(), cancelled_now);
    }
}

/// What is done through one handle is seen through the other.
#[test]
fn acts_on_its_future() {
    let future: Future<Opaque> = Future::new();
    let any = AnyFuture::from(&future);
    assert!(any.cancel());
    assert!(future.cancelled());

    let future = Future::new();
    let any = AnyFuture::from(&future);
    future.set_running_or_notify_cancel().unwrap();
    assert!(any.running());
    assert!(!any.cancel());
    future
        .set_exception("x".parse::<i32>().unwrap_err())
        .unwrap();
    let exception = any.exception(None).unwrap().unwrap();
    assert!(exception.downcast_ref::<ParseIntError>().is_some());
    let result: Result<i32, Error> = future.result(None);
    assert!(matches!(result, Err(Error::Exception(_))));
}

/// A pool's future tells those who wait for it as soon as it is cancelled, through whichever handle.
#[test]
fn cancels_the_call_of_a_pool() {
    watchdog("cancels_the_call_of_a_pool", || {
        let pool = ThreadPoolExecutor::new(1).unwrap();
        let (gate, waiting) = mpsc::channel::<()>();
        let busy = pool.submit(move || waiting.recv().is_err()).unwrap();
        let queued = AnyFuture::from(pool.submit(|| "never run").unwrap());
        let other = queued.clone();
        let canceller = thread::spawn(move || other.cancel());
        let waited = wait(
            [queued.clone(), AnyFuture::from(&busy)],
            None,
            FIRST_COMPLETED,
        );
        assert_eq!(waited.done, set([queued.clone()]));
        assert!(canceller.join().unwrap());
        assert_eq!(queued.state(), State::CancelledAndNotified);
        drop(gate);
        assert!(busy.result(None).unwrap());
    });
}

/// `exception` waits until the call is done.
#[test]
fn waits_for_the_exception() {
    watchdog("waits_for_the_exception", || {
        // A minute is no limit here.
        let timeouts = [None, Some(Duration::from_secs(60))];
        for round in 0..60 {
            let completes_with = round % 3;
            let future = Future::new();
            let any = AnyFuture::from(&future);
            let (sender, started) = mpsc::channel();
            let waiting = thread::spawn(move || {
                sender.send(()).unwrap();
                any.exception(timeouts[round % 2])
            });
            started.recv().unwrap();
            for _ in 0..10 {
                thread::yield_now();
            }
            match completes_with {
                0 => future.set_result(1).unwrap(),
                1 => future.set_exception(Exception::msg("no")).unwrap(),
                _ => assert!(future.cancel()),
            }
            match (completes_with, waiting.join().unwrap()) {
                (0, Ok(None)) | (2, Err(Error::Cancelled)) => {}
                (1, Ok(Some(exception))) => assert_eq!(exception.to_string(), "no"),
                (_, other) => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn callbacks_get_an_equal_handle() {
    let complete: [fn(&Future<i32>); 3] = [
        |f| f.set_result(1).unwrap(),
        |f| f.set_exception(Exception::msg("no")).unwrap(),
        |f| assert!(f.cancel()),
    ];
    for complete in complete {
        let future = Future::new();
        let any = AnyFuture::from(&future);
        let (sender, receiver) = mpsc::channel();
        let add = |order| {
            let sender = sender.clone();
            any.add_done_callback(move |handle| sender.send((order, handle.clone())).unwrap());
        };
        add(1);
        let typed = sender.clone();
        future.add_done_callback(move |handle| typed.send((2, AnyFuture::from(handle))).unwrap());
        add(3);
        assert!(receiver.try_recv().is_err());
        complete(&future);
        // At once, since it is done.
        add(4);
        let called: Vec<_> = receiver.try_iter().collect();
        let expected: Vec<_> = (1..=4).map(|order| (order, any.clone())).collect();
        assert_eq!(called, expected);
    }
}

/// The callback runs with no lock held, and what it captured goes with it.
#[test]
fn callbacks_use_their_future() {
    watchdog("callbacks_use_their_future", || {
        let future = Future::new();
        let any = AnyFuture::from(&future);
        let captured = Arc::new(());
        let capture = Arc::clone(&captured);
        any.add_done_callback(move |handle| {
            let _captured = capture;
            assert!(handle.done() && !handle.cancel());
            assert!(handle.exception(None).unwrap().is_none());
            assert!(!format!("{handle:?}").is_empty());
            handle.add_done_callback(|_| ());
            let waited = wait([handle.clone()], None, ALL_COMPLETED);
            assert_eq!(waited.done.len(), 1);
        });
        future.set_result(1).unwrap();
        assert_eq!(Arc::strong_count(&captured), 1);
        assert_eq!(future.result(None).unwrap(), 1);
    });
}

#[test]
fn debug_is_that_of_the_future() {
    fn check<T: Send + 'static>(future: Future<T>, expected: &str) {
        let any = AnyFuture::from(&future);
        assert_eq!(format!("{any:?}"), format!("{future:?}"));
        assert_eq!(format!("{any:#?}"), format!("{future:#?}"));
        assert!(format!("{any:?}").ends_with(expected), "{any:?}");
    }

    check::<i32>(create(State::Pending, None), " state=pending>");
    check::<i32>(create(State::Running, None), " state=running>");
    check::<i32>(create(State::Cancelled, None), " state=cancelled>");
    check::<i32>(
        create(State::CancelledAndNotified, None),
        " state=cancelled>",
    );
    check(
        create(State::Finished, Some(Ok(vec![String::new()]))),
        " state=finished returned Vec<String>>",
    );
    check(
        create(State::Finished, Some(Ok(Opaque(Default::default())))),
        " state=finished returned Opaque>",
    );
    check::<i32>(
        create(
            State::Finished,
            Some(Err("x".parse::<i32>().unwrap_err().into())),
        ),
        " state=finished raised ParseIntError>",
    );
}

#[test]
fn goes_where_a_future_goes() {
    fn anywhere<T: Send + Sync + Clone + 'static>() {}
    anywhere::<AnyFuture>();
    anywhere::<Future<i32>>();
    // The value need not be `Sync`, nor `Clone`.
    let any = AnyFuture::from(create(
        State::Finished,
        Some(Ok(Opaque(Default::default()))),
    ));
    assert!(thread::spawn(move || any.done()).join().unwrap());
}

/// The value lives as long as the last handle of either kind.
#[test]
fn keeps_its_future() {
    let value = Arc::new(());
    let future = create(State::Finished, Some(Ok(Arc::clone(&value))));
    let any = AnyFuture::from(&future);
    drop(future);
    assert_eq!(Arc::strong_count(&value), 2);
    let clone = any.clone();
    drop(any);
    assert_eq!(Arc::strong_count(&value), 2);
    drop(clone);
    assert_eq!(Arc::strong_count(&value), 1);
}

// ---- Waiting for several.

#[test]
fn wait_on_every_state() {
    let fs = in_every_state();
    let (mut done, mut not_done) = (HashSet::new(), HashSet::new());
    for (future, settled) in fs.iter().zip(SETTLED) {
        (if settled { &mut done } else { &mut not_done }).insert(future.clone());
    }
    for return_when in [FIRST_COMPLETED, FIRST_EXCEPTION, ALL_COMPLETED] {
        for timeout in [Duration::ZERO, Duration::from_millis(10)] {
            let waited = wait(fs.clone(), timeout, return_when);
            assert_eq!(waited.done, done, "{return_when:?}");
            assert_eq!(waited.not_done, not_done, "{return_when:?}");
        }
    }
    // Nothing stays installed, so completion tells nobody, and a new wait sees it.
    assert!(fs[0].cancel());
    let waited = wait(fs.iter().take(3).cloned(), Duration::ZERO, ALL_COMPLETED);
    assert_eq!((waited.done.len(), waited.not_done.len()), (0, 3));
}

/// With these there is nothing to wait for.
#[test]
fn wait_returns_at_once() {
    watchdog("wait_returns_at_once", || {
        let fs = in_every_state();
        for return_when in [FIRST_COMPLETED, FIRST_EXCEPTION] {
            assert_eq!(wait(fs.clone(), None, return_when).done.len(), 3);
        }
        let settled = fs.iter().skip(3).cloned();
        let waited = wait(settled.clone(), None, ALL_COMPLETED);
        assert_eq!(waited.done, set(settled));
        let nothing = wait(Vec::<AnyFuture>::new(), None, ALL_COMPLETED);
        assert!(nothing.done.is_empty() && nothing.not_done.is_empty());
        assert_eq!(as_completed(Vec::<AnyFuture>::new(), None).count(), 0);
    });
}

#[test]
fn wait_until_the_last_is_done() {
    watchdog("wait_until_the_last_is_done", || {
        let number = create::<i32>(State::Pending, None);
        let text = create::<String>(State::Running, None);
        let cancelled = create::<Opaque>(State::Cancelled, None);
        let mut fs = vec![
            AnyFuture::from(&number),
            AnyFuture::from(&text),
            AnyFuture::from(&cancelled),
        ];
        fs.extend(in_every_state().into_iter().skip(3));
        let all = set(fs.clone());
        let completer = thread::spawn(move || {
            number.cancel();
            number.set_running_or_notify_cancel().unwrap();
            text.set_exception(Exception::msg("no")).unwrap();
            cancelled.set_running_or_notify_cancel().unwrap();
        });
        let waited: DoneAndNotDoneFutures<(), AnyFuture> = wait(fs, None, ALL_COMPLETED);
        assert_eq!(waited.done, all);
        assert!(waited.not_done.is_empty());
        completer.join().unwrap();
    });
}

#[test]
fn wait_for_the_first_exception() {
    watchdog("wait_for_the_first_exception", || {
        let never = create::<i32>(State::Running, None);
        let returns = create::<String>(State::Running, None);
        let is_cancelled = create::<()>(State::Pending, None);
        let fails = create::<Vec<u8>>(State::Running, None);
        let fs = [
            AnyFuture::from(&never),
            AnyFuture::from(&returns),
            AnyFuture::from(&is_cancelled),
            AnyFuture::from(&fails),
        ];
        let done = set(fs[1..].to_vec());
        let completer = thread::spawn(move || {
            // Neither of the first two is an exception.
            returns.set_result(String::new()).unwrap();
            is_cancelled.cancel();
            is_cancelled.set_running_or_notify_cancel().unwrap();
            fails.set_exception(Exception::msg("no")).unwrap();
        });
        let waited = wait(fs, None, FIRST_EXCEPTION);
        assert_eq!(waited.done, done);
        assert_eq!(waited.not_done, set([AnyFuture::from(&never)]));
        completer.join().unwrap();
    });
}

/// Different handles of the same future are one future.
#[test]
fn duplicates_through_different_handles() {
    watchdog("duplicates_through_different_handles", || {
        let number = create::<i32>(State::Pending, None);
        let text = create(State::Finished, Some(Ok("done".to_owned())));
        let any = AnyFuture::from(&number);
        let fs = || {
            [
                AnyFuture::from(&text),
                any.clone(),
                AnyFuture::from(&number),
                AnyFuture::from(text.clone()),
                AnyFuture::from(&number.clone()),
                any.clone(),
            ]
        };

        let waited = wait(fs(), Duration::ZERO, ALL_COMPLETED);
        assert_eq!(waited.done, set([AnyFuture::from(&text)]));
        assert_eq!(waited.not_done, set([any.clone()]));

        let yielded: Vec<_> = as_completed(fs(), Duration::ZERO).collect();
        assert_eq!(yielded.len(), 2);
        assert_eq!(*yielded[0].as_ref().unwrap(), AnyFuture::from(&text));
        assert_eq!(
            yielded[1].as_ref().unwrap_err().to_string(),
            "1 (of 2) futures unfinished"
        );

        let completed = as_completed(fs(), None);
        let (waiting, number_2) = (fs(), number.clone());
        let waiter = thread::spawn(move || wait(waiting, None, ALL_COMPLETED));
        number_2.set_result(1).unwrap();
        let yielded: Vec<_> = completed.map(Result::unwrap).collect();
        assert_eq!(yielded, [AnyFuture::from(&text), any.clone()]);
        let waited = waiter.join().unwrap();
        assert_eq!((waited.done.len(), waited.not_done.len()), (2, 0));
    });
}

#[test]
fn as_completed_on_every_state() {
    watchdog("as_completed_on_every_state", || {
        for timeout in [Duration::ZERO, Duration::from_millis(10)] {
            let fs = in_every_state();
            let mut completed: AsCompleted<(), AnyFuture> = as_completed(fs.clone(), timeout);
            // In the order given.
            for future in &fs[3..] {
                assert_eq!(completed.next().unwrap().unwrap(), *future);
            }
            let error = completed.next().unwrap().unwrap_err();
            assert_eq!((error.unfinished(), error.total()), (3, 6));
            assert!(completed.next().is_none());
        }
    });
}

/// In the order in which they are done, whatever their types, and whatever that done is.
#[test]
fn as_completed_yields_in_finishing_order() {
    watchdog("as_completed_yields_in_finishing_order", || {
        let returns = create::<i32>(State::Running, None);
        let fails = create::<String>(State::Running, None);
        let is_cancelled = create::<Opaque>(State::Cancelled, None);
        let before = create(State::Finished, Some(Ok(())));
        let fs = [
            AnyFuture::from(&returns),
            AnyFuture::from(&fails),
            AnyFuture::from(&is_cancelled),
            AnyFuture::from(&before),
        ];
        let mut completed = as_completed(fs, None);
        assert_eq!(completed.next().unwrap().unwrap(), AnyFuture::from(&before));
        is_cancelled.set_running_or_notify_cancel().unwrap();
        fails.set_exception(Exception::msg("no")).unwrap();
        returns.set_result(1).unwrap();
        let rest: Vec<_> = completed.map(Result::unwrap).collect();
        assert_eq!(
            rest,
            [
                AnyFuture::from(&is_cancelled),
                AnyFuture::from(&fails),
                AnyFuture::from(&returns)
            ]
        );
    });
}

/// A loop that is left early leaves nothing behind, nor does the iterator keep what it has yielded.
#[test]
fn dropping_half_way() {
    watchdog("dropping_half_way", || {
        let value = Arc::new(());
        let running: Vec<Future<Arc<()>>> = (0..3).map(|_| create(State::Running, None)).collect();
        let done = create(State::Finished, Some(Ok(Arc::clone(&value))));
        let fs: Vec<AnyFuture> = running
            .iter()
            .map(AnyFuture::from)
            .chain([done.into()])
            .collect();
        let mut completed = as_completed(fs, None);
        assert_eq!(Arc::strong_count(&value), 2);
        drop(completed.next().unwrap().unwrap());
        assert_eq!(Arc::strong_count(&value), 1, "a yielded future was kept");
        running[0].set_result(Arc::clone(&value)).unwrap();
        drop(completed);
        running[1].set_result(Arc::clone(&value)).unwrap();
        assert!(running[2].state() == State::Running);
        assert_eq!(Arc::strong_count(&value), 3);
        drop(running);
        assert_eq!(Arc::strong_count(&value), 1);
    });
}

/// The same once the time is over, and after `wait`.
#[test]
fn nothing_is_kept_after_a_time_out() {
    let value = Arc::new(());
    let dropped = |future: Future<Arc<()>>, any: AnyFuture| {
        future.set_result(Arc::clone(&value)).unwrap();
        assert_eq!(Arc::strong_count(&value), 2);
        drop((future, any));
        assert_eq!(Arc::strong_count(&value), 1);
    };

    let future = create(State::Running, None);
    let any = AnyFuture::from(&future);
    let mut completed = as_completed([any.clone()], Duration::ZERO);
    assert!(completed.next().unwrap().is_err());
    // The iterator is still there.
    dropped(future, any);
    drop(completed);

    let future = create(State::Running, None);
    let any = AnyFuture::from(&future);
    drop(wait([any.clone()], Duration::from_millis(1), ALL_COMPLETED));
    dropped(future, any);
}

/// Nor is the waiter: of many waits that gave up, the futures would keep a hundred bytes each.
#[test]
#[cfg(target_os = "linux")]
fn memory_comes_back() {
    fn resident_bytes() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }

    // In a process of its own, where no other test takes memory.
    assert_process_ok("memory_comes_back", || {
        let number = create::<i32>(State::Pending, None);
        let text = create::<String>(State::Running, None);
        let fs = [AnyFuture::from(&number), AnyFuture::from(&text)];
        let round = || {
            for _ in 0..5_000 {
                drop(wait(fs.clone(), Duration::ZERO, ALL_COMPLETED));
                drop(as_completed(fs.clone(), None));
            }
        };
        round();
        let before = resident_bytes();
        for _ in 0..20 {
            round();
        }
        let grown = resident_bytes().saturating_sub(before);
        assert!(grown < 16 << 20, "200,000 waits have left {grown} bytes");
    });
}

/// Many threads wait for the same mixed set in different orders, while others complete it. Were the
/// locks not taken in one order, this would hang.
#[test]
fn raced_waits() {
    watchdog("raced_waits", || {
        for round in 0..200 {
            let numbers: Vec<Future<usize>> = (0..4).map(|_| Future::new()).collect();
            let texts: Vec<Future<String>> = (0..4).map(|_| Future::new()).collect();
            let fs: Vec<AnyFuture> = numbers
                .iter()
                .map(AnyFuture::from)
                .chain(texts.iter().map(AnyFuture::from))
                .collect();
            let barrier = Arc::new(Barrier::new(5));
            let waiters: Vec<_> = (0..3)
                .map(|n| {
                    let (mut fs, barrier) = (fs.clone(), Arc::clone(&barrier));
                    thread::spawn(move || {
                        fs.rotate_left(n * 3);
                        barrier.wait();
                        match (n + round) % 3 {
                            0 => wait(fs, None, ALL_COMPLETED).done.len(),
                            1 => as_completed(fs, None)
                                .map(|f| set([f.unwrap()]).len())
                                .sum(),
                            _ => {
                                let waited = wait(fs, None, FIRST_COMPLETED);
                                assert!(!waited.done.is_empty());
                                waited.done.len() + waited.not_done.len()
                            }
                        }
                    })
                })
                .collect();
            let completers = [
                {
                    let barrier = Arc::clone(&barrier);
                    thread::spawn(move || {
                        barrier.wait();
                        for number in numbers {
                            number.set_result(round).unwrap();
                        }
                    })
                },
                {
                    let barrier = Arc::clone(&barrier);
                    thread::spawn(move || {
                        barrier.wait();
                        for text in texts {
                            text.cancel();
                            text.set_running_or_notify_cancel().unwrap();
                        }
                    })
                },
            ];
            for completer in completers {
                completer.join().unwrap();
            }
            for waiter in waiters {
                assert_eq!(waiter.join().unwrap(), 8);
            }
        }
    });
}

/// Typed and untyped waits for the same futures, at the same time.
#[test]
fn typed_and_untyped_waits_together() {
    watchdog("typed_and_untyped_waits_together", || {
        let pool = ThreadPoolExecutor::new(2).unwrap();
        for _ in 0..200 {
            let futures: Vec<_> = (0..4).map(|n| pool.submit(move || n).unwrap()).collect();
            let mut any: Vec<AnyFuture> = futures.iter().map(AnyFuture::from).collect();
            any.reverse();
            let untyped =
                thread::spawn(move || as_completed(any, None).map(Result::unwrap).count());
            let typed = wait(futures.clone(), None, ALL_COMPLETED);
            assert_eq!(typed.done, futures.into_iter().collect::<FutureSet<_>>());
            assert_eq!(untyped.join().unwrap(), 4);
        }
    });
}
