//! An executor that bounds how many tasks of a pool may be outstanding: a bounded queue.
//!
//! ```text
//! cargo run --example bounded_executor
//! ```

#[path = "executors/bounded.rs"]
mod bounded;
#[macro_use]
#[path = "printing/pipe.rs"]
mod pipe;

use bounded::BoundedExecutor;
use concurrent_futures::{Executor, ThreadPoolExecutor};
use std::sync::{mpsc, Arc, Mutex};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Two workers, and at most four calls that have not ended.
    let pool = ThreadPoolExecutor::new(2)?;
    let bounded = BoundedExecutor::new(&pool, 4);

    // Four calls that wait for us fill it.
    let (gate, waiting) = mpsc::channel::<()>();
    let waiting = Arc::new(Mutex::new(waiting));
    for _ in 0..4 {
        let waiting = Arc::clone(&waiting);
        bounded.submit(move || waiting.lock().unwrap().recv().is_ok())?;
    }
    println!(
        "room for a fifth: {}",
        bounded.submit_if_room(|| ())?.is_some()
    );

    // With the gate gone, they end; this waits for the first of them to make room.
    drop(gate);
    println!("the fifth gives {}", bounded.submit(|| 5)?.result(None)?);

    // A thousand calls, of which no more than four ever wait in memory.
    let mut most = 0;
    for n in 0..1000 {
        bounded.submit(move || n)?;
        most = most.max(pool.queue_size());
    }
    println!("no more than four were queued: {}", most <= 4);

    bounded.shutdown();
    println!("{}", bounded.submit(|| ()).unwrap_err());
    Ok(())
}
