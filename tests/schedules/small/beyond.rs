//! What the crate has beyond CPython: helping while waiting, bounds, promises, events, an end in time.
use concurrent_futures::*;
use model::sync::{Arc, Mutex};
use model::thread;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(1);

fn pool(workers: usize) -> ThreadPoolExecutor {
    ThreadPoolExecutor::builder().max_workers(workers).thread_name_prefix("worker").build().unwrap()
}

model::scenarios! {
    /// A worker waits for a call of its own pool of one: it runs that call itself.
    fn helped_wait() {
        let pool = ThreadPoolExecutor::builder().max_workers(1).help_while_waiting(true).build().unwrap();
        let own = pool.clone();
        let outer = pool.submit(move || own.submit(|| 7).unwrap().result(None).unwrap()).unwrap();
        assert_eq!(outer.result(None).unwrap(), 7);
        pool.shutdown();
    }

    /// The call that is waited for is cancelled meanwhile.
    fn helped_wait_against_cancel() {
        let pool = ThreadPoolExecutor::builder().max_workers(1).help_while_waiting(true).build().unwrap();
        let (own, (sender, receiver)) = (pool.clone(), model::sync::mpsc::channel());
        let outer = pool
            .submit(move || {
                let inner = own.submit(|| 7).unwrap();
                sender.send(inner.clone()).unwrap();
                inner.result(None)
            })
            .unwrap();
        let cancelled = receiver.recv().unwrap().cancel();
        match outer.result(None).unwrap() {
            Ok(value) => assert!(value == 7 && !cancelled),
            Err(error) => assert!(matches!(error, Error::Cancelled) && cancelled),
        }
        pool.shutdown();
    }

    /// The pool is shut down while a worker helps.
    fn helped_wait_against_shutdown() {
        let pool = ThreadPoolExecutor::builder().max_workers(1).help_while_waiting(true).build().unwrap();
        let own = pool.clone();
        let outer = pool
            .submit(move || own.submit(|| 7).ok().map(|inner| inner.result(None).unwrap()))
            .unwrap();
        pool.shutdown();
        assert!(matches!(outer.result(None), Ok(None) | Ok(Some(7))));
    }

    /// A worker waits for one of two, of which its own would block until it has gone on: it leaves that one alone.
    fn helped_wait_for_the_first_of_two() {
        let pool = pool(1);
        let (own, promise) = (pool.clone(), Promise::new());
        let promised = promise.future();
        let outer = pool
            .submit(move || {
                let (gone_on, opened) = model::sync::mpsc::channel::<()>();
                let queued = own.submit(move || drop(opened.recv())).unwrap();
                let done = wait([queued, promised], None, FIRST_COMPLETED).done.len();
                drop(gone_on);
                done
            })
            .unwrap();
        promise.set_result(()).unwrap();
        assert_eq!(outer.result(None).unwrap(), 1);
        pool.shutdown();
    }

    /// The only worker waits for one of two calls of its own pool: the pool is stuck, so it runs one.
    fn helped_wait_in_a_stuck_pool() {
        let pool = pool(1);
        let own = pool.clone();
        let outer = pool
            .submit(move || {
                let two = [own.submit(|| ()).unwrap(), own.submit(|| ()).unwrap()];
                wait(two, None, FIRST_COMPLETED).done.len()
            })
            .unwrap();
        assert!(outer.result(None).unwrap() > 0);
        pool.shutdown();
    }

    /// One of two workers waits for one of two calls, the other for that worker: whoever comes last sees to it that one is run.
    fn helped_wait_by_a_nudge [preemptions(1)] () {
        let pool = pool(2);
        let own = pool.clone();
        let one = pool
            .submit(move || {
                let two = [own.submit(|| ()).unwrap(), own.submit(|| ()).unwrap()];
                wait(two, None, FIRST_COMPLETED).done.len()
            })
            .unwrap();
        let other = pool.submit(move || one.result(None).unwrap()).unwrap();
        assert!(other.result(None).unwrap() > 0);
    }

    /// A worker is about to wait for the first of two calls. The other worker runs one of them, and then waits for the
    /// first worker. So both wait, but the first one's wait is over: it leaves alone the other call, which would block
    /// until it has gone on.
    fn helped_wait_that_is_over_meanwhile() {
        let pool = pool(2);
        let (own, (sender, receiver)) = (pool.clone(), model::sync::mpsc::channel::<Future<()>>());
        let outer = pool
            .submit(move || {
                let (gone_on, opened) = model::sync::mpsc::channel::<()>();
                let outer = receiver.recv().unwrap();
                let quick = own.submit(|| ()).unwrap();
                own.submit(move || outer.result(None).unwrap()).unwrap();
                let queued = own.submit(move || drop(opened.recv())).unwrap();
                wait([queued, quick], None, FIRST_COMPLETED);
                drop(gone_on);
            })
            .unwrap();
        sender.send(outer).unwrap();
    }

    /// The only worker waits for the first of two calls of its own pool, while a second thread is counted, and then
    /// refused: the pool is stuck all the same.
    fn helped_wait_against_a_refused_thread() {
        let pool = pool(2);
        let (own, (sender, receiver)) = (pool.clone(), model::sync::mpsc::channel());
        let outer = pool
            .submit(move || {
                model::refuse_threads(3);
                let two = [own.submit(|| ()).unwrap(), own.submit(|| ()).unwrap()];
                sender.send(()).unwrap();
                thread::yield_now();
                wait(two, None, FIRST_COMPLETED).done.len()
            })
            .unwrap();
        receiver.recv().unwrap();
        pool.submit(|| ()).unwrap();
        assert!(outer.result(None).unwrap() > 0);
    }

    /// Of a promise and a call of its own pool, a worker waits for both, or the first exception. Only when the promise is
    /// kept is the pool stuck: then the worker is told, though its wait is not over.
    fn helped_wait_for_a_promise_and_a_call() {
        let pool = pool(1);
        let (own, promise) = (pool.clone(), Promise::new());
        let promised = promise.future();
        pool.submit(move || {
            let queued = own.submit(|| ()).unwrap();
            wait([promised, queued], None, FIRST_EXCEPTION);
        })
        .unwrap();
        promise.set_result(()).unwrap();
    }

    /// The same with `as_completed`, which needs the last one.
    fn helped_as_completed_of_a_promise_and_two_calls() {
        let pool = pool(1);
        let (own, promise) = (pool.clone(), Promise::new());
        let promised = promise.future();
        pool.submit(move || {
            let all = [own.submit(|| ()).unwrap(), promised, own.submit(|| ()).unwrap()];
            as_completed(all, None).for_each(drop);
        })
        .unwrap();
        promise.set_result(()).unwrap();
    }

    /// Both workers wait for the first of two calls each: whoever is the last to be blocked runs one, and the other goes on.
    fn helped_wait_by_two_with_a_choice() {
        let pool = pool(2);
        for _ in 0..2 {
            let own = pool.clone();
            pool.submit(move || {
                let two = [own.submit(|| ()).unwrap(), own.submit(|| ()).unwrap()];
                wait(two, None, FIRST_COMPLETED);
            })
            .unwrap();
        }
    }

    /// The only worker waits for the first of two calls that another thread cancels with the pool.
    fn helped_wait_with_a_choice_against_cancel_futures() {
        let pool = pool(1);
        let own = pool.clone();
        let outer = pool
            .submit(move || {
                let two: Vec<_> = (0..2).filter_map(|_| own.submit(|| ()).ok()).collect();
                two.is_empty() || !wait(two, None, FIRST_COMPLETED).done.is_empty()
            })
            .unwrap();
        pool.shutdown_with(ShutdownOptions::new().cancel_futures(true));
        assert!(outer.cancelled() || outer.result(None).unwrap());
    }

    /// The second worker's initializer fails while the first waits for the first of two calls.
    fn helped_wait_with_a_choice_against_a_failing_initializer() {
        set_logger(|_| ());
        let started = Mutex::new(0);
        let pool = ThreadPoolExecutor::builder()
            .max_workers(2)
            .thread_name_prefix("worker")
            .initializer(move || {
                *started.lock().unwrap() += 1;
                assert!(*started.lock().unwrap() < 2);
            })
            .build()
            .unwrap();
        let own = pool.clone();
        pool.submit(move || {
            let two: Vec<_> = (0..2).filter_map(|_| own.submit(|| ()).ok()).collect();
            wait(two, None, FIRST_COMPLETED);
        })
        .unwrap();
    }

    /// A worker waits with a time-out for a call of its own pool, which another thread shuts down, cancelling what is queued.
    fn helped_wait_with_a_time_out_against_cancel_futures() {
        set_logger(|_| ());
        let pool = pool(1);
        let own = pool.clone();
        let outer = pool
            .submit(move || own.submit(|| 7).ok().map(|inner| inner.result(SOON).is_ok()))
            .unwrap();
        pool.shutdown_with(ShutdownOptions::new().cancel_futures(true));
        assert!(outer.cancelled() || matches!(outer.result(None), Ok(None | Some(false))));
    }

    /// The second worker's initializer fails while the first runs the call that it waits for: run or failed, never both.
    fn helped_wait_against_a_failing_initializer() {
        set_logger(|_| ());
        let started = Mutex::new(0);
        let pool = ThreadPoolExecutor::builder()
            .max_workers(2)
            .thread_name_prefix("worker")
            .initializer(move || {
                *started.lock().unwrap() += 1;
                assert!(*started.lock().unwrap() < 2);
            })
            .build()
            .unwrap();
        let (own, ran) = (pool.clone(), Arc::new(Mutex::new(0)));
        let its_ran = ran.clone();
        let outer = pool
            .submit(move || own.submit(move || *its_ran.lock().unwrap() += 1).ok().map(|inner| inner.result(None).is_ok()))
            .unwrap();
        let succeeded = outer.result(None).unwrap() == Some(true);
        assert_eq!(*ran.lock().unwrap(), i32::from(succeeded));
        pool.shutdown();
    }

    /// Room for one: the second call blocks until the first has ended.
    fn bounded_blocks() {
        let executor = BoundedExecutor::new(pool(1), 1, WhenFull::Block);
        let futures = [executor.submit(|| 1).unwrap(), executor.submit(|| 2).unwrap()];
        executor.shutdown();
        assert!(futures.iter().all(Future::done));
    }

    /// Blocked, and shut down by another thread: refused, or taken and run.
    fn bounded_blocks_against_shutdown() {
        let executor = Arc::new(BoundedExecutor::new(pool(1), 1, WhenFull::Block));
        let (gate, opened) = model::sync::mpsc::channel::<()>();
        executor.submit(move || drop(opened.recv())).unwrap();
        let other = executor.clone();
        let submitter = thread::spawn(move || other.submit(|| 2).is_ok());
        executor.shutdown_with(ShutdownOptions::new().wait(false));
        assert!(!submitter.join().unwrap());
        drop(gate);
        executor.shutdown();
    }

    /// With no room, the call is refused; with room again, taken.
    fn bounded_refuses() {
        let executor = BoundedExecutor::new(pool(1), 1, WhenFull::Refuse);
        let first = executor.submit(|| 1).unwrap();
        match executor.submit(|| 2) {
            Ok(second) => assert_eq!(second.result(None).unwrap(), 2),
            Err(error) => assert!(matches!(error, SubmitError::Full)),
        }
        first.result(None).unwrap();
        // Its room is given back before its result can be seen.
        executor.submit(|| 3).unwrap();
        executor.shutdown();
    }

    /// With no room, the caller runs the call.
    fn bounded_caller_runs() {
        let executor = BoundedExecutor::new(pool(1), 1, WhenFull::CallerRuns);
        let futures = [executor.submit(|| 1).unwrap(), executor.submit(|| 2).unwrap()];
        executor.shutdown();
        assert!(futures.iter().all(Future::done));
    }

    /// A promise that is kept while somebody waits.
    fn promise_kept() {
        let promise = Promise::new();
        let future = promise.future();
        let keeper = thread::spawn(move || promise.set_result(7).unwrap());
        assert_eq!(future.result(None).unwrap(), 7);
        keeper.join().unwrap();
    }

    /// A promise that is dropped: whoever waits gets an error.
    fn promise_dropped() {
        let promise = Promise::<i32>::new();
        let future = promise.future();
        let breaker = thread::spawn(move || drop(promise));
        assert!(matches!(future.result(None), Err(Error::Exception(_))));
        breaker.join().unwrap();
    }

    /// A promise that is dropped against `cancel`.
    fn promise_dropped_against_cancel() {
        let promise = Promise::<i32>::new();
        let future = promise.future();
        let breaker = thread::spawn(move || drop(promise));
        let cancelled = future.cancel();
        breaker.join().unwrap();
        assert_eq!((future.done(), future.cancelled()), (true, cancelled));
    }

    /// `shutdown` with a time-out against the call: the error, or nothing; then the end.
    fn shutdown_timeout_against_the_call() {
        let pool = pool(1);
        let future = pool.submit(|| 7).unwrap();
        let options = ShutdownOptions::new().timeout(SOON);
        if pool.shutdown_timeout(options).is_ok() {
            assert!(future.done() && pool.is_terminated());
        }
        pool.shutdown();
        assert!(future.done() && pool.is_terminated());
    }

    /// One gives up for the time, another waits for ever.
    fn shutdown_timeout_beside_shutdown() {
        let pool = pool(1);
        let future = pool.submit(|| 7).unwrap();
        let other = pool.clone();
        let impatient = thread::spawn(move || drop(other.shutdown_timeout(ShutdownOptions::new().timeout(SOON))));
        pool.shutdown();
        assert!(future.done());
        impatient.join().unwrap();
    }

    /// An event that is set while one waits for it, with a time-out.
    fn event_against_its_time_out() {
        let event = Arc::new(concurrent_futures::threading::Event::new());
        let other = event.clone();
        let setter = thread::spawn(move || other.set());
        if event.wait(SOON) {
            assert!(event.is_set());
        }
        setter.join().unwrap();
        assert!(event.wait(None));
    }

    /// A process pool's parent, as it were: calls go to a worker through one channel, their answers come back through another, to
    /// a thread that completes the futures; and the worker may die with a call in its hands.
    fn parent_of_a_worker_that_dies() {
        let (calls, taken) = model::sync::mpsc::channel::<(usize, i32)>();
        let (answers, answered) = model::sync::mpsc::channel::<(usize, i32)>();
        let futures = [Future::new(), Future::new()];
        assert!(futures.iter().all(|future| future.set_running_or_notify_cancel().unwrap()));
        let pending = Arc::new(Mutex::new(futures.to_vec()));
        let worker = thread::spawn(move || {
            if let Ok((number, argument)) = taken.recv() {
                answers.send((number, argument + 1)).unwrap();
            }
            // It dies: of the second call there is no answer.
        });
        let own = pending.clone();
        let manager = thread::spawn(move || {
            for (number, value) in answered {
                let future: Future<i32> = own.lock().unwrap()[number].clone();
                future.set_result(value).unwrap();
            }
            // The worker is gone, and so are its answers: everything that is still pending is broken.
            let futures = own.lock().unwrap().clone();
            for future in futures {
                if !future.done() {
                    let _ = future.set_exception(BrokenExecutor::new("the worker has died"));
                }
            }
        });
        for (number, future) in futures.iter().enumerate() {
            if calls.send((number, 1)).is_err() {
                let _ = future.set_exception(BrokenExecutor::new("the worker has died"));
            }
        }
        let outcomes = futures.map(|future| future.result(None));
        assert!(matches!(outcomes[0], Ok(2)));
        assert!(matches!(outcomes[1], Err(Error::Exception(_))));
        drop(calls);
        worker.join().unwrap();
        manager.join().unwrap();
    }
}
