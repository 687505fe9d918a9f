//! An executor that runs everything at once in the caller's thread, in place of a thread pool.
//!
//! ```text
//! cargo run --example inline_executor
//! ```

#[path = "executors/inline.rs"]
mod inline;
#[macro_use]
#[path = "printing/pipe.rs"]
mod pipe;

use concurrent_futures::{Error, Executor, ThreadPoolExecutor};
use inline::InlineExecutor;
use std::thread;

/// Written for any executor, it does not know on which threads its calls run.
fn word_lengths(executor: &impl Executor) -> Result<(), Box<dyn std::error::Error>> {
    let caller = thread::current().id();
    let words = ["concurrent", "futures"];
    let results = executor.map(
        move |word| (word.len(), thread::current().id() == caller),
        words,
    )?;
    for (word, result) in words.iter().zip(results) {
        let (length, by_caller) = result?;
        let by = if by_caller { "the caller" } else { "a worker" };
        println!("{word} has {length} letters, says {by}");
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    word_lengths(&ThreadPoolExecutor::new(2)?)?;
    let inline = InlineExecutor::new();
    word_lengths(&inline)?;

    // A call that fails, or panics, fails its future, not the caller.
    let future = inline.try_submit(|| "four".parse::<i32>())?;
    match future.result(None) {
        Err(Error::Exception(exception)) => println!("{}: {exception}", exception.type_name()),
        other => println!("{other:?}"),
    }

    inline.shutdown();
    println!("{}", inline.submit(|| ()).unwrap_err());
    Ok(())
}
