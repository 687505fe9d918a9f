//! An executor that starts a thread for each task, and calls that would deadlock in a pool.
//!
//! ```text
//! cargo run --example thread_per_task
//! ```

#[macro_use]
#[path = "printing/pipe.rs"]
mod pipe;
#[path = "executors/thread_per_task.rs"]
mod thread_per_task;

use concurrent_futures::{as_completed, Executor, Future};
use std::sync::mpsc;
use thread_per_task::ThreadPerTaskExecutor;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let executor = ThreadPerTaskExecutor::new();

    // Each call waits for the next one, which is submitted later. A pool with fewer threads than there
    // are calls would never finish this.
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..8).map(|_| mpsc::channel::<u32>()).unzip();
    let mut chain: Vec<Future<u32>> = Vec::new();
    let next = senders.iter().skip(1).cloned().map(Some).chain([None]);
    for (receiver, next) in receivers.into_iter().zip(next) {
        chain.push(executor.submit(move || {
            let n = receiver.recv().unwrap_or(0) + 1;
            if let Some(next) = next {
                let _ = next.send(n);
            }
            n
        })?);
    }
    senders[0].send(0)?;

    let mut numbers = Vec::new();
    for future in as_completed(chain, None) {
        numbers.push(future?.result(None)?);
    }
    numbers.sort_unstable();
    println!("{numbers:?}");

    executor.shutdown();
    println!("{}", executor.submit(|| ()).unwrap_err());
    Ok(())
}
