//! Futures without a pool: those who complete, cancel, wait, call back and await.
use concurrent_futures::*;
use model::sync::{Arc, Mutex};
use model::thread;
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(1);

/// A future that somebody has begun to work for.
fn running<T: Send + 'static>() -> Future<T> {
    let future = Future::new();
    assert!(future.set_running_or_notify_cancel().unwrap());
    future
}

fn in_a_thread<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> thread::JoinHandle<R> {
    thread::spawn(f)
}

/// Completes it from another thread.
fn complete(future: &Future<i32>, value: i32) -> thread::JoinHandle<()> {
    let future = future.clone();
    in_a_thread(move || future.set_result(value).unwrap())
}

/// Counts how often it was woken, and unparks nobody: who awaits is looked after by [`block_on`].
struct Woken {
    thread: thread::Thread,
    calls: Mutex<usize>,
}

impl Wake for Woken {
    fn wake(self: std::sync::Arc<Self>) {
        *self.calls.lock().unwrap() += 1;
        self.thread.unpark();
    }
}

fn woken() -> (std::sync::Arc<Woken>, Waker) {
    let woken = std::sync::Arc::new(Woken { thread: thread::current(), calls: Mutex::new(0) });
    (woken.clone(), woken.into())
}

fn poll(future: &mut Future<i32>, waker: &Waker) -> Poll<Result<i32, Error>> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// Polls with a waker of its own each time.
fn block_on(mut future: Future<i32>) -> Result<i32, Error> {
    loop {
        let (_, waker) = woken();
        match poll(&mut future, &waker) {
            Poll::Ready(outcome) => return outcome,
            Poll::Pending => thread::park(),
        }
    }
}

model::scenarios! {
    /// The first who waits: it may look before, or sleep, or be about to.
    fn future_one_waits() {
        let future = running();
        let other = complete(&future, 7);
        assert_eq!(future.result(None).unwrap(), 7);
        other.join().unwrap();
    }

    /// The same, and whoever sleeps is woken for nothing once.
    fn future_one_waits_and_is_woken_for_nothing [spurious(1)] () {
        let future = running();
        let other = complete(&future, 7);
        assert_eq!(future.result(None).unwrap(), 7);
        other.join().unwrap();
    }

    /// The first and the second who wait for the same future.
    fn future_two_wait() {
        let future = running();
        let waiter = future.clone();
        let second = in_a_thread(move || waiter.result(None).unwrap());
        let other = complete(&future, 7);
        assert_eq!(future.result(None).unwrap(), 7);
        assert_eq!(second.join().unwrap(), 7);
        other.join().unwrap();
    }

    /// A time-out against completion: one of the two, and afterwards the value is there all the same.
    fn future_time_out_against_completion() {
        let future = running();
        let other = complete(&future, 7);
        match future.result(SOON) {
            Ok(value) => assert_eq!(value, 7),
            Err(error) => assert!(matches!(error, Error::Timeout)),
        }
        other.join().unwrap();
        assert_eq!(future.result(Duration::ZERO).unwrap(), 7);
    }

    /// One gives up for the time, while another waits for ever: the notification goes to the right one.
    fn future_time_out_beside_one_who_waits() {
        let future = running();
        let waiter = future.clone();
        let second = in_a_thread(move || waiter.result(None).unwrap());
        let third = future.clone();
        let impatient = in_a_thread(move || third.result(SOON).is_ok());
        future.set_result(7).unwrap();
        assert_eq!(second.join().unwrap(), 7);
        impatient.join().unwrap();
    }

    /// Two complete it: one of them is told that it is too late.
    fn future_two_complete() {
        let future = running();
        let other = future.clone();
        let second = in_a_thread(move || other.set_result(1).is_ok());
        let first = future.set_result(2).is_ok();
        assert!(first != second.join().unwrap());
        assert_eq!(future.result(None).unwrap(), if first { 2 } else { 1 });
    }

    /// `cancel` against `set_running_or_notify_cancel`: exactly one of them is first.
    fn future_cancel_against_running() {
        let future = Future::<i32>::new();
        let other = future.clone();
        let canceller = in_a_thread(move || other.cancel());
        let running = future.set_running_or_notify_cancel().unwrap();
        assert!(running != canceller.join().unwrap());
        assert_eq!(future.cancelled(), !running);
    }

    /// `cancel` wakes who waits for a result.
    fn future_cancel_wakes() {
        let future = Future::<i32>::new();
        let other = future.clone();
        let canceller = in_a_thread(move || other.cancel());
        assert!(matches!(future.result(None), Err(Error::Cancelled)));
        assert!(canceller.join().unwrap());
    }

    /// A callback that is added while the future gets done is called once.
    fn callback_against_completion() {
        let future = running();
        let calls = Arc::new(Mutex::new(0));
        let other = complete(&future, 7);
        let own = calls.clone();
        future.add_done_callback(move |future| {
            assert!(future.done());
            *own.lock().unwrap() += 1;
        });
        other.join().unwrap();
        assert_eq!(*calls.lock().unwrap(), 1);
    }

    /// Two callbacks that are added while the future is cancelled.
    fn callbacks_against_cancel() {
        let future = Future::<i32>::new();
        let calls = Arc::new(Mutex::new(0));
        let other = future.clone();
        let canceller = in_a_thread(move || assert!(other.cancel()));
        for _ in 0..2 {
            let own = calls.clone();
            future.add_done_callback(move |_| *own.lock().unwrap() += 1);
        }
        canceller.join().unwrap();
        assert_eq!(*calls.lock().unwrap(), 2);
    }

    /// Who cancels a future has called its callbacks when `cancel` returns, though another thread cancels it, too.
    fn callback_against_a_second_cancel() {
        let future = Future::<i32>::new();
        let calls = Arc::new(Mutex::new(0));
        let own = calls.clone();
        future.add_done_callback(move |_| *own.lock().unwrap() += 1);
        let other = future.clone();
        let second = in_a_thread(move || assert!(!other.cancelled() || other.cancel()));
        assert!(future.cancel());
        assert_eq!(*calls.lock().unwrap(), 1);
        second.join().unwrap();
    }

    /// `wait` for the first of two.
    fn wait_first_completed() {
        let (a, b) = (running(), running::<i32>());
        let other = complete(&a, 1);
        let waited = wait(vec![a.clone(), b.clone()], None, FIRST_COMPLETED);
        assert!(waited.done.contains(&a) && waited.not_done.contains(&b));
        other.join().unwrap();
    }

    /// `wait` for the first exception: a value does not end it.
    fn wait_first_exception() {
        let (a, b) = (running::<i32>(), running::<i32>());
        let (first, second) = (a.clone(), b.clone());
        let other = in_a_thread(move || {
            first.set_result(1).unwrap();
            second.set_exception(Exception::new(No)).unwrap();
        });
        let waited = wait(vec![a, b], None, FIRST_EXCEPTION);
        assert_eq!(waited.done.len(), 2);
        other.join().unwrap();
    }

    /// `wait` for both, which two threads complete.
    fn wait_all_completed() {
        let (a, b) = (running(), running());
        let others = [complete(&a, 1), complete(&b, 2)];
        let waited = wait(vec![a, b], None, ALL_COMPLETED);
        assert_eq!((waited.done.len(), waited.not_done.len()), (2, 0));
        others.map(|other| other.join().unwrap());
    }

    /// `wait` with a time-out against completion: what is done by then is in `done`.
    fn wait_time_out_against_completion() {
        let (a, b) = (running(), running::<i32>());
        let other = complete(&a, 1);
        let waited = wait(vec![a.clone(), b], SOON, ALL_COMPLETED);
        assert_eq!(waited.done.len() + waited.not_done.len(), 2);
        other.join().unwrap();
        assert!(a.done());
    }

    /// Two wait for the same two, given in different orders: neither holds what the other needs.
    fn wait_in_different_orders() {
        let (a, b) = (running::<i32>(), running::<i32>());
        let (c, d) = (a.clone(), b.clone());
        let second = in_a_thread(move || wait(vec![d, c], None, FIRST_COMPLETED).done.len());
        assert!(wait(vec![a.clone(), b.clone()], Duration::ZERO, ALL_COMPLETED).done.is_empty());
        a.set_result(1).unwrap();
        assert_eq!(second.join().unwrap(), 1);
    }

    /// A future that is cancelled tells who waits once its executor says so.
    fn wait_for_a_cancelled_one() {
        let future = Future::<i32>::new();
        let other = future.clone();
        let canceller = in_a_thread(move || {
            assert!(other.cancel());
            assert!(!other.set_running_or_notify_cancel().unwrap());
        });
        let waited = wait(vec![future.clone()], None, ALL_COMPLETED);
        assert_eq!(waited.done.len(), 1);
        assert!(future.cancelled());
        canceller.join().unwrap();
    }

    /// Two futures, yielded in the order in which they get done.
    fn as_completed_with_two() {
        let (a, b) = (running(), running());
        let (first, second) = (a.clone(), b.clone());
        let other = in_a_thread(move || {
            first.set_result(1).unwrap();
            second.set_result(2).unwrap();
        });
        let values: Vec<i32> = as_completed(vec![a, b], None)
            .map(|future| future.unwrap().result(None).unwrap())
            .collect();
        assert_eq!(values, [1, 2]);
        other.join().unwrap();
    }

    /// Two futures, done by two threads: both are yielded.
    fn as_completed_with_two_from_two() {
        let (a, b) = (running(), running());
        let others = [complete(&a, 1), complete(&b, 2)];
        let sum: i32 = as_completed(vec![a, b], None)
            .map(|future| future.unwrap().result(None).unwrap())
            .sum();
        assert_eq!(sum, 3);
        others.map(|other| other.join().unwrap());
    }

    /// A time-out against completion: the future, or one error; then the end.
    fn as_completed_time_out() {
        let future = running();
        let other = complete(&future, 1);
        let mut futures = as_completed(vec![future], SOON);
        assert!(futures.next().is_some());
        assert!(futures.next().is_none());
        other.join().unwrap();
    }

    /// Given up while the future gets done: nobody is told who is no longer there.
    fn as_completed_dropped() {
        let (a, b) = (running(), running());
        let other = complete(&b, 2);
        a.set_result(1).unwrap();
        let mut futures = as_completed(vec![a, b.clone()], None);
        assert!(futures.next().is_some());
        drop(futures);
        other.join().unwrap();
        assert_eq!(b.result(None).unwrap(), 2);
    }

    /// Awaited with another waker each time.
    fn await_with_a_changing_waker() {
        let future = running();
        let other = complete(&future, 7);
        let mut awaited = future.clone();
        let (_, first) = woken();
        let (last, waker) = woken();
        let pending = poll(&mut awaited, &first).is_pending() && poll(&mut awaited, &waker).is_pending();
        other.join().unwrap();
        if pending {
            // It was the last waker's turn.
            assert_eq!(*last.calls.lock().unwrap(), 1);
        }
        assert!(poll(&mut awaited, &waker).is_ready());
    }

    /// Awaited until it is done.
    fn await_until_done() {
        let future = running();
        let other = complete(&future, 7);
        assert_eq!(block_on(future).unwrap(), 7);
        other.join().unwrap();
    }

    /// Awaited, and given up meanwhile; another handle goes on.
    fn await_given_up() {
        let future = running();
        let other = complete(&future, 7);
        let mut awaited = future.clone();
        let (_, waker) = woken();
        let _ = poll(&mut awaited, &waker);
        drop(awaited);
        assert_eq!(block_on(future).unwrap(), 7);
        other.join().unwrap();
    }

    /// Given up while the future gets done, beside somebody's callback: that one is called.
    fn await_given_up_beside_a_callback() {
        let future = running();
        let calls = Arc::new(Mutex::new(0));
        let mut awaited = future.clone();
        let (_, waker) = woken();
        let _ = poll(&mut awaited, &waker);
        let own = calls.clone();
        future.add_done_callback(move |_| *own.lock().unwrap() += 1);
        let other = complete(&future, 7);
        drop(awaited);
        other.join().unwrap();
        assert_eq!(*calls.lock().unwrap(), 1);
    }

    /// Awaited, and cancelled meanwhile.
    fn await_against_cancel() {
        let future = Future::<i32>::new();
        let other = future.clone();
        let canceller = in_a_thread(move || assert!(other.cancel()));
        assert!(matches!(block_on(future), Err(Error::Cancelled)));
        canceller.join().unwrap();
    }

    /// A value that is lent to its `clone` is not lost to the one who takes it.
    fn lent_value_against_take() {
        let future = running();
        let value = Slow(std::sync::Arc::new(Mutex::new(7)));
        future.set_result(value).unwrap();
        let other = future.clone();
        let reader = in_a_thread(move || other.result(None).map(|value| *value.0.lock().unwrap()));
        let taken = future.take_result(None).map(|value| *value.0.lock().unwrap());
        assert_eq!(taken.unwrap(), 7);
        match reader.join().unwrap() {
            Ok(value) => assert_eq!(value, 7),
            Err(error) => assert!(matches!(error, Error::Taken)),
        }
    }

    /// Two clone at once: the second waits for the first to give the value back.
    fn lent_value_to_two() {
        let future = running();
        future.set_result(Slow(std::sync::Arc::new(Mutex::new(7)))).unwrap();
        let other = future.clone();
        let reader = in_a_thread(move || *other.result(None).unwrap().0.lock().unwrap());
        assert_eq!(*future.result(None).unwrap().0.lock().unwrap(), 7);
        assert_eq!(reader.join().unwrap(), 7);
    }
}

/// A value whose clone takes a lock, so that others may come in between.
struct Slow(std::sync::Arc<Mutex<i32>>);

impl Clone for Slow {
    fn clone(&self) -> Self {
        drop(self.0.lock().unwrap());
        Slow(self.0.clone())
    }
}

#[derive(Debug)]
struct No;

impl std::fmt::Display for No {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no")
    }
}

impl std::error::Error for No {}
