//! With `panic = "abort"`, a task that panics ends the process; without, it is the future's exception.

use concurrent_futures::{Error, Executor, ThreadPoolExecutor};

fn main() {
    let pool = ThreadPoolExecutor::new(1).unwrap();
    assert_eq!(pool.submit(|| 1).unwrap().result(None).unwrap(), 1);
    println!("A task has run.");
    let future = pool.submit(|| panic!("the task panicked")).unwrap();
    match future.result(None) {
        Err(Error::Exception(exception)) => println!("The future has it: {exception}"),
        other => panic!("{other:?}"),
    }
}
