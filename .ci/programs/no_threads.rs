//! For platforms without threads: nothing panics, and `submit` says what is the matter. Run under a
//! host that does not show standard output, it is silent, and a panic traps.

use concurrent_futures::process::{freeze_support, CallOptions, OnCrash, ProcessPoolExecutor};
use concurrent_futures::{
    as_completed, at_exit, wait, AnyFuture, Error, Exception, Executor, Future, MapOptions,
    ShutdownOptions, SubmitError, ThreadPoolExecutor, ALL_COMPLETED, FIRST_COMPLETED,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn square(n: u64) -> u64 {
    n * n
}

fn main() {
    let exit = at_exit();
    let pool = ThreadPoolExecutor::new(None).unwrap();
    for _ in 0..3 {
        match pool.submit(|| 1) {
            Err(SubmitError::Thread(error)) => println!("submit: {error}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((pool.thread_count(), pool.queue_size()), (0, 0));

    // What was refused is not kept.
    let captured = Arc::new(());
    let weak = Arc::downgrade(&captured);
    assert!(pool.submit(move || drop(captured)).is_err());
    assert!(weak.upgrade().is_none());

    assert!(matches!(pool.map(|n| n, 0..3), Err(SubmitError::Thread(_))));
    let options = MapOptions::new().buffersize(2).chunksize(3);
    assert!(matches!(
        pool.map_with(|n| n, 0.., options),
        Err(SubmitError::Thread(_))
    ));

    // Nor are there processes.
    freeze_support(|registry| {
        registry.register(square);
    });
    for on_crash in [OnCrash::BreakPool, OnCrash::FailCall] {
        let builder = ProcessPoolExecutor::builder().on_crash(on_crash);
        let pool = builder.initializer(square, 1).build().unwrap();
        let refused = |result| matches!(result, Err(SubmitError::Thread(_)));
        assert!(refused(pool.submit(square, 2).map(drop)));
        let options = CallOptions::new().timeout(Duration::from_secs(1));
        assert!(refused(pool.submit_with(square, 2, options).map(drop)));
        assert!(refused(pool.map(square, 0..3).map(drop)));
        pool.kill_workers();
        pool.shutdown();
        assert_eq!(pool.process_count(), 0);
    }

    // Futures work, and can be waited for when they are done.
    let (done, pending) = (Future::new(), Future::new());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let callback = Arc::clone(&seen);
    done.add_done_callback(move |future| callback.lock().unwrap().push(future.clone()));
    done.set_result(7).unwrap();
    assert_eq!(*seen.lock().unwrap(), [done.clone()]);
    assert_eq!(done.result(None).unwrap(), 7);
    assert!(matches!(
        pending.result(Duration::ZERO),
        Err(Error::Timeout)
    ));
    let waited = wait([done.clone(), pending.clone()], None, FIRST_COMPLETED);
    assert_eq!((waited.done.len(), waited.not_done.len()), (1, 1));
    let waited = wait(
        [done.clone(), pending.clone()],
        Duration::ZERO,
        ALL_COMPLETED,
    );
    assert_eq!((waited.done.len(), waited.not_done.len()), (1, 1));
    let yielded: Vec<_> = as_completed([done.clone(), pending.clone()], Duration::ZERO).collect();
    assert_eq!(yielded[0].as_ref().unwrap(), &done);
    assert_eq!(
        yielded[1].as_ref().unwrap_err().to_string(),
        "1 (of 2) futures unfinished"
    );
    pending.set_exception(Exception::msg("no")).unwrap();
    let both = [AnyFuture::from(&done), AnyFuture::from(&pending)];
    assert_eq!(as_completed(both, None).flatten().count(), 2);
    assert!(Future::<i32>::new().cancel());

    pool.shutdown();
    assert!(matches!(pool.submit(|| 1), Err(SubmitError::Shutdown)));
    pool.shutdown_with(ShutdownOptions::new().cancel_futures(true));
    ThreadPoolExecutor::new(1)
        .unwrap()
        .with(|pool| assert!(pool.submit(|| 1).is_err()));
    let pool = ThreadPoolExecutor::new(1).unwrap();
    drop(exit);
    match pool.submit(|| 1) {
        Err(error @ SubmitError::InterpreterShutdown) => println!("submit: {error}"),
        other => panic!("{other:?}"),
    }
    println!("Nothing panicked.");
}
