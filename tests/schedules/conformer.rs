//! What must hold of every executor, in every schedule: `bash tests/schedules/run --executor FILE EXPRESSION`.
use concurrent_futures::*;
use model::thread;
use std::sync::{Arc, Mutex};

fn executor() -> Arc<impl Executor + Send + Sync + 'static> {
    set_logger(|_| ());
    Arc::new(executor::executor())
}

fn cancelling() -> ShutdownOptions {
    ShutdownOptions::new().cancel_futures(true)
}

model::scenarios! {
    /// One call, and the end.
    fn runs_a_call() {
        let executor = executor();
        assert_eq!(executor.submit(|| 7).unwrap().result(None).unwrap(), 7);
        executor.shutdown();
    }

    /// Two calls, whose results are asked for in the other order.
    fn runs_two_calls() {
        let executor = executor();
        let futures = [executor.submit(|| 1).unwrap(), executor.submit(|| 2).unwrap()];
        assert_eq!(futures[1].result(None).unwrap(), 2);
        assert_eq!(futures[0].result(None).unwrap(), 1);
        executor.shutdown();
    }

    /// Two threads submit at once.
    fn two_threads_submit() {
        let executor = executor();
        let other = executor.clone();
        let submitter = thread::spawn(move || other.submit(|| 1).unwrap());
        let future = executor.submit(|| 2).unwrap();
        assert_eq!(submitter.join().unwrap().result(None).unwrap() + future.result(None).unwrap(), 3);
        executor.shutdown();
    }

    /// A call that panics, and one that comes after it.
    fn survives_a_panic() {
        let executor = executor();
        let first = executor.submit(|| panic!("on purpose")).unwrap();
        let second = executor.submit(|| 2).unwrap();
        assert!(matches!(first.result(None), Err::<(), _>(Error::Exception(_))));
        assert_eq!(second.result(None).unwrap(), 2);
        executor.shutdown();
    }

    /// A call runs, or is cancelled, but never both.
    fn cancel_against_run() {
        let executor = executor();
        let ran = Arc::new(Mutex::new(false));
        let own = ran.clone();
        let future = executor.submit(move || *own.lock().unwrap() = true).unwrap();
        let cancelled = future.cancel();
        executor.shutdown();
        assert_eq!((*ran.lock().unwrap(), future.cancelled()), (!cancelled, cancelled));
    }

    /// After `shutdown`, whatever was submitted is done.
    fn shutdown_waits() {
        let executor = executor();
        let future = executor.submit(|| ()).unwrap();
        executor.shutdown();
        assert!(future.done());
        assert!(executor.submit(|| ()).is_err());
    }

    /// So it is for two who shut it down at once.
    fn two_shutdowns() {
        let executor = executor();
        let future = executor.submit(|| ()).unwrap();
        let (other, same) = (executor.clone(), future.clone());
        let second = thread::spawn(move || {
            other.shutdown();
            assert!(same.done());
        });
        executor.shutdown();
        assert!(future.done());
        second.join().unwrap();
    }

    /// A call that comes during `shutdown` is refused, or run.
    fn submit_against_shutdown() {
        let executor = executor();
        let other = executor.clone();
        let submitter = thread::spawn(move || other.submit(|| 7));
        executor.shutdown();
        if let Ok(future) = submitter.join().unwrap() {
            assert_eq!(future.result(None).unwrap(), 7);
        }
    }

    /// `shutdown` that cancels: the call is done, one way or the other, and whoever waits is told.
    fn cancelling_shutdown() {
        let executor = executor();
        let future = executor.submit(|| ()).unwrap();
        let waited = future.clone();
        let waiter = thread::spawn(move || wait(vec![waited], None, ALL_COMPLETED).done.len());
        executor.shutdown_with(cancelling());
        assert!(future.done());
        assert_eq!(waiter.join().unwrap(), 1);
    }

    /// A callback is called once.
    fn callback_is_called_once() {
        let executor = executor();
        let calls = Arc::new(Mutex::new(0));
        let own = calls.clone();
        executor.submit(|| ()).unwrap().add_done_callback(move |_| *own.lock().unwrap() += 1);
        executor.shutdown();
        assert_eq!(*calls.lock().unwrap(), 1);
    }

    /// What is queued when the executor goes is done all the same.
    fn dropped_with_a_call() {
        let executor = executor();
        let future = executor.submit(|| 7).unwrap();
        drop(executor);
        assert_eq!(future.result(None).unwrap(), 7);
    }
}
