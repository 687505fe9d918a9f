//! Futures in an async program, with time-outs and cancellation, and no runtime but a page of code.
//!
//! ```text
//! cargo run --example await_without_runtime
//! ```

#[macro_use]
#[path = "printing/pipe.rs"]
mod pipe;
#[path = "runtime/mod.rs"]
mod runtime;

use concurrent_futures::{Error, Executor, Future, SubmitError, ThreadPoolExecutor};
use runtime::{block_on, join_all, Timer};
use std::error::Error as StdError;
use std::thread;
use std::time::Duration;

/// What would block an event loop: a query, a large file, a long computation.
fn slow_square(n: u64) -> u64 {
    thread::sleep(Duration::from_millis(20));
    n * n
}

/// Python's `await loop.run_in_executor(pool, slow_square, n)`.
async fn square(pool: &ThreadPoolExecutor, n: u64) -> Result<u64, Box<dyn StdError>> {
    Ok(pool.submit(move || slow_square(n))?.await?)
}

/// Cancels the call, unless it runs already, when the task that awaits it is dropped. A future alone
/// does not: other handles may want its result.
struct CancelOnDrop<T>(Future<T>);

impl<T> Drop for CancelOnDrop<T> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// A call that can be cancelled while it runs, since it looks now and then whether somebody wants it to
/// stop. `stop` is cancelled to say so.
fn count_until(stop: &Future<()>) -> u64 {
    let mut count = 0;
    while !stop.cancelled() {
        count += 1;
        thread::sleep(Duration::from_millis(1));
    }
    count
}

fn main() -> Result<(), Box<dyn StdError>> {
    let pool = ThreadPoolExecutor::new(2)?;
    let timer = Timer::start();
    block_on(async {
        println!("one: {}", square(&pool, 7).await?);

        // Several at the same time.
        let calls: Result<Vec<_>, SubmitError> = (1..=4)
            .map(|n| pool.submit(move || slow_square(n)))
            .collect();
        let squares: Result<Vec<_>, _> = join_all(calls?).await.into_iter().collect();
        println!("all: {:?}", squares?);

        // With a time-out. The call runs, so it cannot be cancelled; it has to be asked to stop.
        let stop = Future::new();
        let told = stop.clone();
        let endless = pool.submit(move || count_until(&told))?;
        let result = timer
            .wait_for(endless.clone(), Duration::from_millis(50))
            .await;
        println!("in time: {}", !matches!(result, Err(Error::Timeout)));
        stop.cancel();
        println!("stopped after counting: {}", endless.await? > 0);

        // Calls that have not started are cancelled. Here nobody can start them.
        let stop = Future::new();
        for _ in 0..pool.max_workers() {
            let told = stop.clone();
            pool.submit(move || count_until(&told))?;
        }
        let queued = pool.submit(|| println!("never printed"))?;
        let result = timer
            .wait_for(queued.clone(), Duration::from_millis(20))
            .await;
        println!(
            "in time: {}, cancelled: {}",
            result.is_ok(),
            queued.cancelled()
        );

        // The same for a task that is dropped before it ends.
        let abandoned = CancelOnDrop(pool.submit(|| println!("never printed"))?);
        let observer = abandoned.0.clone();
        drop(async move { abandoned.0.clone().await });
        println!("cancelled: {}", observer.cancelled());
        stop.cancel();
        Ok::<_, Box<dyn StdError>>(())
    })?;
    pool.shutdown();
    Ok(())
}
