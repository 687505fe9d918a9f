//! The same program as hello_pool.rs, on bare threads.

use std::thread;

fn main() {
    let threads = ["world", "pool", "future", "worker"].map(|name| {
        let hello = move || {
            let text = format!("hello, {name}");
            println!("{text}");
            text.len()
        };
        thread::Builder::new().spawn(hello).unwrap()
    });
    let lengths = threads.map(|thread| thread.join().unwrap());
    println!("{} bytes", lengths.iter().sum::<usize>());
}
