//! An executor that times and names every call of a pool, and passes on for whom it is done.
//!
//! ```text
//! cargo run --example traced_executor
//! ```

#[macro_use]
#[path = "printing/pipe.rs"]
mod pipe;
#[path = "executors/traced.rs"]
mod traced;

use concurrent_futures::{wait, AnyFuture, Executor, SubmitError, ThreadPoolExecutor};
use concurrent_futures::{ALL_COMPLETED, FIRST_COMPLETED};
use std::sync::{mpsc, Arc, Mutex};
use std::thread;
use std::time::Duration;
use traced::{context, within, TracedExecutor};

type Traced = Arc<TracedExecutor<ThreadPoolExecutor>>;

/// A request: a few calls, which are done for it on any thread. Each knows its context.
fn handle(executor: &Traced) -> Result<Vec<AnyFuture>, SubmitError> {
    let load = executor.named("load").submit(|| {
        thread::sleep(Duration::from_millis(20));
        format!("loaded for {}", context())
    })?;
    let parse = executor.named("parse").try_submit(|| "x".parse::<u32>())?;
    // What a call submits belongs to the same request.
    let again = Arc::clone(executor);
    let outer = executor.named("outer").submit(move || {
        let inner = again.named("inner").submit(context);
        inner.is_ok()
    })?;
    Ok(vec![(&load).into(), (&parse).into(), (&outer).into()])
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (sender, spans) = mpsc::channel();
    // Within a lock: before Rust 1.72, threads could not share a sender.
    let sender = Mutex::new(sender);
    let report = move |span| {
        let sender = sender.lock().unwrap_or_else(|poison| poison.into_inner());
        let _ = sender.send(span);
    };
    let pool = ThreadPoolExecutor::builder()
        .max_workers(2)
        .thread_name_prefix("worker")
        .build()?;
    let executor = Arc::new(TracedExecutor::new(pool, report));

    let mut futures = Vec::new();
    for request in ["request 1", "request 2"] {
        futures.extend(within(request, || handle(&executor))?);
    }
    let waited = wait(futures, None, ALL_COMPLETED);
    println!("{} calls are done", waited.done.len());

    // Of many calls, one is enough, and the others are not run.
    let many: Result<Vec<_>, _> = (0..5)
        .map(|n| {
            let work = move || thread::sleep(Duration::from_millis(5 * n));
            executor.named(format!("attempt {n}")).submit(work)
        })
        .collect();
    let waited = wait(many?, None, FIRST_COMPLETED);
    for future in waited.not_done {
        future.cancel();
    }

    // All have been reported when the pool is gone, and the sender with it.
    executor.shutdown();
    drop(executor);
    for span in spans {
        println!("{span}");
    }
    Ok(())
}
