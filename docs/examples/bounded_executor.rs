//! At most so many calls at a time, and what becomes of one more: `BoundedExecutor`.
//!
//! ```text
//! cargo run --example bounded_executor
//! ```

#[macro_use]
#[path = "printing/pipe.rs"]
mod pipe;

use concurrent_futures::{BoundedExecutor, Executor, ThreadPoolExecutor, WhenFull};
use std::sync::{mpsc, Arc, Mutex};
use std::thread;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = ThreadPoolExecutor::new(2)?;

    // Four calls that wait for us fill it. The fifth is refused.
    let refusing = BoundedExecutor::new(pool.clone(), 4, WhenFull::Refuse);
    let (gate, waiting) = mpsc::channel::<()>();
    let waiting = Arc::new(Mutex::new(waiting));
    let mut held = Vec::new();
    for _ in 0..4 {
        let waiting = Arc::clone(&waiting);
        held.push(refusing.submit(move || waiting.lock().unwrap().recv().is_ok())?);
    }
    println!("a fifth: {}", refusing.submit(|| 5).unwrap_err());

    // The pool has no bound of its own. With the gate gone, all of these end.
    let unbounded = pool.submit(|| "is done")?;
    drop(gate);
    println!("one without a bound {}", unbounded.result(None)?);
    for future in held {
        future.result(None)?;
    }
    println!("the fifth gives {}", refusing.submit(|| 5)?.result(None)?);

    // A thousand calls, of which no more than four ever wait in memory: `submit` blocks.
    let blocking = BoundedExecutor::new(pool.clone(), 4, WhenFull::Block);
    let mut most = 0;
    for n in 0..1000 {
        blocking.submit(move || n)?;
        most = most.max(pool.queue_size());
    }
    println!("no more than four were queued: {}", most <= 4);

    // Whoever has nothing better to do may run the call itself.
    let helping = BoundedExecutor::new(pool.clone(), 1, WhenFull::CallerRuns);
    let (gate, waiting) = mpsc::channel::<()>();
    helping.submit(move || waiting.recv().is_ok())?;
    let here = thread::current().id();
    let runs_here = helping.submit(move || thread::current().id() == here)?;
    println!("the caller has run it: {}", runs_here.result(None)?);
    drop(gate);

    pool.shutdown();
    println!("{}", blocking.submit(|| ()).unwrap_err());
    Ok(())
}
