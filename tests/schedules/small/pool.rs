//! The thread pool: starting, idling, cancelling, shutting down, being dropped, breaking, and the end of the program.
use concurrent_futures::*;
use model::sync::{Arc, Barrier, Mutex};
use model::thread;

fn pool(workers: usize) -> ThreadPoolExecutor {
    ThreadPoolExecutor::builder().max_workers(workers).thread_name_prefix("worker").build().unwrap()
}

/// Its initializer always fails.
fn broken_pool() -> ThreadPoolExecutor {
    set_logger(|_| ());
    ThreadPoolExecutor::builder()
        .max_workers(1)
        .thread_name_prefix("worker")
        .try_initializer(|| Err::<(), _>(Exception::new(No)))
        .build()
        .unwrap()
}

fn cancelling() -> ShutdownOptions {
    ShutdownOptions::new().cancel_futures(true)
}

/// Starts two workers, which have met when it returns and may be about to be idle.
fn two_workers() -> ThreadPoolExecutor {
    let pool = pool(2);
    let barrier = Arc::new(Barrier::new(2));
    for _ in 0..2 {
        let barrier = barrier.clone();
        pool.submit(move || drop(barrier.wait())).unwrap();
    }
    pool
}

model::scenarios! {
    /// One call, and the end.
    fn pool_submit_and_shutdown() {
        let pool = pool(1);
        let future = pool.submit(|| 7).unwrap();
        assert_eq!(future.result(None).unwrap(), 7);
        pool.shutdown();
    }

    /// Two calls, with room for two workers.
    fn pool_two_calls() {
        let pool = pool(2);
        let futures = [1, 2].map(|number| pool.submit(move || number).unwrap());
        assert_eq!(futures.map(|future| future.result(None).unwrap()), [1, 2]);
        pool.shutdown();
    }

    /// Two calls one after the other need one thread only.
    fn pool_reuses_a_free_worker() {
        let pool = pool(2);
        for number in 0..2 {
            assert_eq!(pool.submit(move || number).unwrap().result(None).unwrap(), number);
            assert_eq!(pool.thread_count(), 1);
        }
        pool.shutdown();
    }

    /// Two calls that need each other get a thread each.
    fn pool_starts_a_second_worker() {
        two_workers().shutdown();
    }

    /// The same when a worker has run a call before, and may or may not be idle.
    fn pool_starts_a_second_worker_later() {
        let pool = pool(2);
        pool.submit(|| ()).unwrap().result(None).unwrap();
        let barrier = Arc::new(Barrier::new(2));
        let futures = [(); 2].map(|_| {
            let barrier = barrier.clone();
            pool.submit(move || drop(barrier.wait())).unwrap()
        });
        futures.map(|future| future.result(None).unwrap());
        assert_eq!(pool.thread_count(), 2);
        pool.shutdown();
    }

    /// A sentinel for two workers that may both be asleep.
    fn pool_sentinel_is_passed_on() {
        let pool = two_workers();
        pool.shutdown();
        assert_eq!(pool.thread_count(), 2);
    }

    /// The last reference goes: both workers are woken, and end.
    fn pool_dropped_wakes_its_workers() {
        drop(two_workers());
    }

    /// `shutdown` returns when all calls are done.
    fn pool_shutdown_runs_what_is_queued() {
        let pool = pool(1);
        let futures = [(); 2].map(|_| pool.submit(|| ()).unwrap());
        pool.shutdown();
        assert!(futures.iter().all(|future| future.done() && !future.cancelled()));
    }

    /// `cancel` against the worker that takes the call, and what it has captured, which goes with a `cancel` that is first.
    fn pool_cancel_against_run() {
        let pool = pool(1);
        let ran = Arc::new(Mutex::new(false));
        let own = ran.clone();
        let future = pool.submit(move || *own.lock().unwrap() = true).unwrap();
        let cancelled = future.cancel();
        assert!(!cancelled || Arc::strong_count(&ran) == 1);
        pool.shutdown();
        assert_eq!(*ran.lock().unwrap(), !cancelled);
        assert_eq!(future.cancelled(), cancelled);
    }

    /// The same by a thread of its own, while another waits for the result.
    fn pool_cancel_against_run_and_result() {
        let pool = pool(1);
        let ran = Arc::new(Mutex::new(false));
        let own = ran.clone();
        let future = pool.submit(move || *own.lock().unwrap() = true).unwrap();
        let other = future.clone();
        let canceller = thread::spawn(move || other.cancel());
        let outcome = future.result(None);
        let cancelled = canceller.join().unwrap();
        assert_eq!(cancelled, matches!(outcome, Err(Error::Cancelled)));
        pool.shutdown();
        assert_eq!(*ran.lock().unwrap(), !cancelled);
    }

    /// Two callbacks that are added while the call runs are called once each.
    fn pool_callbacks_against_run() {
        let pool = pool(1);
        let calls = Arc::new(Mutex::new(0));
        let future = pool.submit(|| ()).unwrap();
        for _ in 0..2 {
            let calls = calls.clone();
            future.add_done_callback(move |_| *calls.lock().unwrap() += 1);
        }
        pool.shutdown();
        assert_eq!(*calls.lock().unwrap(), 2);
    }

    /// `shutdown` that cancels, against the worker, while somebody waits.
    fn pool_cancelling_shutdown_wakes() {
        let pool = pool(1);
        let future = pool.submit(|| 7).unwrap();
        let waiter = thread::spawn(move || match future.result(None) {
            Ok(value) => assert_eq!(value, 7),
            Err(error) => assert!(matches!(error, Error::Cancelled)),
        });
        pool.shutdown_with(cancelling());
        waiter.join().unwrap();
    }

    /// `shutdown` that cancels, against `as_completed`: three futures are yielded, whatever became of them.
    fn pool_cancelling_shutdown_wakes_as_completed() {
        let pool = pool(1);
        let futures: Vec<_> = (0..3).map(|_| pool.submit(|| ()).unwrap()).collect();
        let waiter = thread::spawn(move || as_completed(futures, None).flatten().count());
        pool.shutdown_with(cancelling().wait(false));
        assert_eq!(waiter.join().unwrap(), 3);
        pool.shutdown();
    }

    /// `shutdown` that cancels, against `submit`: refused, or done when both have returned.
    fn pool_submit_against_cancelling_shutdown() {
        let pool = pool(1);
        let first = pool.submit(|| ()).unwrap();
        let other = pool.clone();
        let submitter = thread::spawn(move || other.submit(|| ()).ok());
        pool.shutdown_with(cancelling());
        let second = submitter.join().unwrap();
        assert!(first.done() && second.iter().all(Future::done));
    }

    /// A callback uses the pool whose cancelling `shutdown` calls it.
    fn pool_callback_uses_the_pool_that_cancels_it() {
        let pool = pool(1);
        pool.submit(|| ()).unwrap();
        let queued = pool.submit(|| ()).unwrap();
        let own = pool.clone();
        queued.add_done_callback(move |_| drop(own.submit(|| ())));
        pool.shutdown_with(cancelling().wait(false));
        pool.shutdown();
        assert!(queued.done());
    }

    /// `cancel` against a cancelling `shutdown`.
    fn pool_cancel_against_cancelling_shutdown() {
        let pool = pool(1);
        let future = pool.submit(|| 7).unwrap();
        let other = future.clone();
        let canceller = thread::spawn(move || other.cancel());
        pool.shutdown_with(cancelling());
        canceller.join().unwrap();
        assert!(future.done());
    }

    /// The pool goes while its call is queued: it is run all the same.
    fn pool_dropped_with_a_call_queued() {
        let pool = pool(1);
        let future = pool.submit(|| 7).unwrap();
        drop(pool);
        assert_eq!(future.result(None).unwrap(), 7);
    }

    /// The same with two calls, and room for two workers.
    fn pool_dropped_with_two_calls() {
        let pool = pool(2);
        let futures = [1, 2].map(|number| pool.submit(move || number).unwrap());
        drop(pool);
        assert_eq!(futures.map(|future| future.result(None).unwrap()), [1, 2]);
    }

    /// A worker drops the last reference to its own pool.
    fn pool_last_reference_dropped_by_a_worker() {
        let pool = pool(1);
        let own = pool.clone();
        let future = pool.submit(move || drop(own)).unwrap();
        drop(pool);
        future.result(None).unwrap();
    }

    /// One shuts it down, one drops a reference.
    fn pool_drop_against_shutdown() {
        let pool = pool(1);
        pool.submit(|| ()).unwrap();
        let other = pool.clone();
        let dropper = thread::spawn(move || drop(other));
        pool.shutdown();
        drop(pool);
        dropper.join().unwrap();
    }

    /// Both return only when the call is done.
    fn pool_two_shutdowns() {
        let pool = pool(1);
        let future = pool.submit(|| ()).unwrap();
        let (other, same) = (pool.clone(), future.clone());
        let second = thread::spawn(move || {
            other.shutdown();
            assert!(same.done());
        });
        pool.shutdown();
        assert!(future.done());
        second.join().unwrap();
    }

    /// A worker shuts its own pool down, and another thread does.
    fn pool_shutdown_by_a_worker() {
        let pool = pool(1);
        let own = pool.clone();
        let future = pool.submit(move || own.shutdown()).unwrap();
        pool.shutdown();
        future.result(None).unwrap();
    }

    /// A call that comes as the pool is shut down is taken, and then run, or refused.
    fn pool_submit_against_shutdown() {
        let pool = pool(1);
        let other = pool.clone();
        let submitter = thread::spawn(move || other.submit(|| 7));
        pool.shutdown();
        match submitter.join().unwrap() {
            Ok(future) => assert_eq!(future.result(None).unwrap(), 7),
            Err(error) => assert!(matches!(error, SubmitError::Shutdown)),
        }
    }

    /// Two submit at once to a pool of one.
    fn pool_two_submit() {
        let pool = pool(1);
        let other = pool.clone();
        let submitter = thread::spawn(move || other.submit(|| 1).unwrap());
        let future = pool.submit(|| 2).unwrap();
        assert_eq!(submitter.join().unwrap().result(None).unwrap() + future.result(None).unwrap(), 3);
        assert_eq!(pool.thread_count(), 1);
        pool.shutdown();
    }

    /// No thread can be started: the call is refused, and the next is taken.
    fn pool_thread_is_refused() {
        let pool = pool(1);
        model::refuse_threads(1);
        assert!(matches!(pool.submit(|| 1), Err(SubmitError::Thread(_))));
        assert_eq!(pool.queue_size(), 0);
        assert_eq!(pool.submit(|| 2).unwrap().result(None).unwrap(), 2);
        pool.shutdown();
    }

    /// A callback, while the worker is not free, submits a call and waits for it: it finds another worker.
    fn pool_callback_waits_for_its_own_pool [preemptions(1)] () {
        let pool = pool(2);
        let (own, (sender, receiver)) = (pool.clone(), model::sync::mpsc::channel());
        let future = pool.submit(|| 1).unwrap();
        future.add_done_callback(move |_| {
            let next = own.submit(|| 2).unwrap();
            sender.send(next.result(None).unwrap()).unwrap();
        });
        assert_eq!(receiver.recv().unwrap(), 2);
        pool.shutdown();
    }

    /// A call that is cancelled while queued leaves nothing behind, and `wait` sees its end.
    fn pool_wait_for_a_cancelled_call() {
        let pool = pool(1);
        let future = pool.submit(|| ()).unwrap();
        let same = future.clone();
        let canceller = thread::spawn(move || same.cancel());
        assert_eq!(wait(vec![future], None, ALL_COMPLETED).done.len(), 1);
        canceller.join().unwrap();
        pool.shutdown();
    }

    /// `wait` and `as_completed`, at once, see a call that runs and one that is cancelled.
    fn pool_waits_of_two_kinds() {
        let pool = pool(1);
        let futures = [(); 2].map(|_| pool.submit(|| ()).unwrap());
        futures[1].cancel();
        let waited = futures.to_vec();
        let waiter = thread::spawn(move || wait(waited, None, ALL_COMPLETED).done.len());
        assert_eq!(as_completed(futures.to_vec(), None).flatten().count(), 2);
        assert_eq!(waiter.join().unwrap(), 2);
        pool.shutdown();
    }

    /// `wait` for the first of two returns while the other runs.
    fn pool_first_completed() {
        let pool = pool(2);
        let barrier = Arc::new(Barrier::new(2));
        let inner = barrier.clone();
        let slow = pool.submit(move || drop(inner.wait())).unwrap();
        let fast = pool.submit(|| ()).unwrap();
        let seen = wait(vec![slow.clone(), fast.clone()], None, FIRST_COMPLETED);
        assert!(seen.done.contains(&fast) && seen.not_done.contains(&slow));
        barrier.wait();
        pool.shutdown();
    }

    /// `map` is dropped before its first result is asked for, and the pool shut down.
    fn map_against_shutdown() {
        let pool = pool(1);
        let other = pool.clone();
        let stopper = thread::spawn(move || other.shutdown());
        match pool.map(|number: i32| number + 1, [1]) {
            Ok(results) => assert_eq!(results.map(Result::unwrap).collect::<Vec<_>>(), [2]),
            Err(error) => assert!(matches!(error, SubmitError::Shutdown)),
        }
        stopper.join().unwrap();
    }

    /// The initializer fails: the call has its error, or was refused.
    fn initializer_fails() {
        let pool = broken_pool();
        if let Ok(future) = pool.submit(|| ()) {
            assert!(matches!(future.result(None), Err(Error::Exception(_))));
        }
        pool.shutdown();
    }

    /// The same with a second call, which may come too late.
    fn initializer_fails_against_submit() {
        let pool = broken_pool();
        let futures = [pool.submit(|| ()), pool.submit(|| ())];
        for future in futures.iter().flatten() {
            assert!(matches!(future.result(None), Err(Error::Exception(_))));
        }
        pool.shutdown();
    }

    /// The initializer fails as the pool is shut down.
    fn initializer_fails_against_shutdown() {
        let pool = broken_pool();
        let future = pool.submit(|| ()).unwrap();
        pool.shutdown();
        assert!(future.done());
    }

    /// One of two initializers fails as the pool is shut down; the other worker ends all the same.
    fn initializer_fails_breaks_two [preemptions(1)] () {
        set_logger(|_| ());
        let first = Mutex::new(true);
        let pool = ThreadPoolExecutor::builder()
            .max_workers(2)
            .thread_name_prefix("worker")
            .try_initializer(move || {
                let fails = std::mem::replace(&mut *first.lock().unwrap(), false);
                if fails { Err(Exception::new(No)) } else { Ok(()) }
            })
            .build()
            .unwrap();
        let futures = [pool.submit(|| ()), pool.submit(|| ())];
        pool.shutdown();
        assert!(futures.iter().flatten().all(Future::done));
    }

    /// The initializer fails as the last reference goes.
    fn initializer_fails_against_drop() {
        let pool = broken_pool();
        let future = pool.submit(|| ()).unwrap();
        drop(pool);
        assert!(matches!(future.result(None), Err(Error::Exception(_))));
    }

    /// The initializers of two workers fail, and the first of three calls is cancelled meanwhile: each future ends.
    fn initializer_fails_beside_a_cancelled_call [preemptions(1)] () {
        set_logger(|_| ());
        let pool = ThreadPoolExecutor::builder()
            .max_workers(2)
            .thread_name_prefix("worker")
            .try_initializer(|| Err::<(), _>(Exception::new(No)))
            .build()
            .unwrap();
        let futures: Vec<_> = (0..3).filter_map(|_| pool.submit(|| ()).ok()).collect();
        futures[0].cancel();
        assert!(futures.iter().all(|future| future.result(None).is_err()));
        pool.shutdown();
    }

    /// `_python_exit` returns when what was submitted is done.
    fn python_exit_waits [statics] () {
        concurrent_futures::thread::reset();
        let pool = pool(1);
        let future = pool.submit(|| ()).unwrap();
        concurrent_futures::thread::_python_exit();
        assert!(future.done());
        assert!(matches!(pool.submit(|| ()), Err(SubmitError::InterpreterShutdown)));
    }

    /// `_python_exit` against `submit`: taken and run, or refused.
    fn python_exit_against_submit [statics] () {
        concurrent_futures::thread::reset();
        let pool = pool(1);
        let other = pool.clone();
        let submitter = thread::spawn(move || other.submit(|| 7));
        concurrent_futures::thread::_python_exit();
        if let Ok(future) = submitter.join().unwrap() {
            // What was taken was waited for.
            assert!(future.done());
        }
    }

    /// `_python_exit` against `shutdown`.
    fn python_exit_against_shutdown [statics] () {
        concurrent_futures::thread::reset();
        let pool = pool(1);
        let future = pool.submit(|| ()).unwrap();
        let other = pool.clone();
        let stopper = thread::spawn(move || other.shutdown());
        concurrent_futures::thread::_python_exit();
        assert!(future.done());
        stopper.join().unwrap();
    }

    /// `_python_exit` against the last reference's end.
    fn python_exit_against_drop [statics] () {
        concurrent_futures::thread::reset();
        let pool = pool(1);
        let future = pool.submit(|| ()).unwrap();
        let dropper = thread::spawn(move || drop(pool));
        concurrent_futures::thread::_python_exit();
        assert!(future.done());
        dropper.join().unwrap();
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
