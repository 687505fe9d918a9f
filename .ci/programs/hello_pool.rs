//! What `.ci/run size` measures: four greetings from a pool of two threads.

use concurrent_futures::{Executor, ThreadPoolExecutor};

fn main() {
    let lengths = ThreadPoolExecutor::new(2).unwrap().with(|pool| {
        let futures = ["world", "pool", "future", "worker"].map(|name| {
            let hello = move || {
                let text = format!("hello, {name}");
                println!("{text}");
                text.len()
            };
            pool.submit(hello).unwrap()
        });
        futures.map(|future| future.result(None).unwrap())
    });
    println!("{} bytes", lengths.iter().sum::<usize>());
}
