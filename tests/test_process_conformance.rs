//! The conformance kit in `executor/`, on the process pool.
//!
//! The kit submits closures, and those cannot go to another process. So an adaptor keeps each closure here
//! and has the pool call [`call_back`] with its number: the worker asks for the closure to be run, and does
//! not return before it has. A closure runs when and as long as a worker runs its call, and its outcome is
//! there when the pool has completed the call. So the kit sees which calls the pool runs, when, how many
//! at once, and what becomes of those that are cancelled, refused, or left when it is shut down or dropped.
//!
//! What it does not see is how arguments, results and errors travel: `test_process_pool.rs` has that.

#[macro_use]
mod executor;
mod processes;

use concurrent_futures::process::ProcessPoolExecutor;
use concurrent_futures::{at_exit, Exception, Executor, Future, ShutdownOptions, SubmitError};
use executor::ExecutorMixin;
use processes::{builder, call_back};
use std::any::Any;
use std::collections::HashMap;
use std::error::Error;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, Mutex};
use std::thread;

type Closure = Box<dyn FnOnce() + Send>;

/// Where the closures wait for a worker to ask for them.
struct Desk {
    /// Where it listens; 0 before that.
    port: u16,
    submitted: u64,
    closures: Option<HashMap<u64, Closure>>,
}

static DESK: Mutex<Desk> = Mutex::new(Desk {
    port: 0,
    submitted: 0,
    closures: None,
});

/// Puts a closure on the desk, and returns the port and the number with which it can be asked for.
fn put(closure: Closure) -> (u16, u64) {
    let mut desk = DESK.lock().unwrap();
    if desk.port == 0 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        desk.port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for worker in listener.incoming().flatten() {
                thread::spawn(move || answer(worker));
            }
        });
    }
    desk.submitted += 1;
    let number = desk.submitted;
    let closures = desk.closures.get_or_insert_with(HashMap::new);
    closures.insert(number, closure);
    (desk.port, number)
}

fn take(number: u64) -> Option<Closure> {
    DESK.lock().unwrap().closures.as_mut()?.remove(&number)
}

/// What a worker asks for. It is told that the closure has run by the end of its stream.
fn answer(mut worker: TcpStream) {
    let mut number = [0; 8];
    worker.read_exact(&mut number).unwrap();
    if let Some(closure) = take(u64::from_le_bytes(number)) {
        closure();
    }
    let _ = worker.write_all(&[1]);
}

/// A process pool whose workers have closures run here.
struct ClosurePool(ProcessPoolExecutor);

impl Executor for ClosurePool {
    fn try_submit<F, T, E>(&self, f: F) -> Result<Future<T>, SubmitError>
    where
        F: FnOnce() -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Into<Exception>,
    {
        let future = Future::new();
        let outcome = Arc::new(Mutex::new(None));
        let (of_closure, its_outcome) = (future.clone(), Arc::clone(&outcome));
        let (port, number) = put(Box::new(move || {
            if matches!(of_closure.set_running_or_notify_cancel(), Ok(true)) {
                let call = AssertUnwindSafe(|| f().map_err(Into::into));
                let caught = catch_unwind(call);
                let result = caught.unwrap_or_else(|it| Err(Exception::from_panic(it)));
                *its_outcome.lock().unwrap() = Some(result);
            }
        }));
        let call = match self.0.submit(call_back, (port, number)) {
            Ok(call) => call,
            Err(error) => {
                drop(take(number));
                return Err(error);
            }
        };
        let of_call = future.clone();
        call.add_done_callback(move |call| {
            if call.cancelled() {
                of_call.cancel();
                // Tells those who wait.
                let _ = of_call.set_running_or_notify_cancel();
                return drop(take(number));
            }
            let outcome = outcome.lock().unwrap().take();
            // Errors: somebody else has completed it.
            let _ = match (outcome, call.exception(None)) {
                (Some(Ok(value)), Ok(None)) => of_call.set_result(value),
                (Some(Err(exception)), Ok(None)) => of_call.set_exception(exception),
                (_, Ok(Some(exception))) => of_call.set_exception(exception),
                // It was cancelled before it was run.
                _ => Ok(()),
            };
        });
        future.add_done_callback(move |future| {
            if future.cancelled() {
                call.cancel();
            }
        });
        Ok(future)
    }

    fn shutdown_with(&self, options: ShutdownOptions) {
        self.0.shutdown_with(options);
    }
}

struct ProcessPoolMixin;

impl ExecutorMixin for ProcessPoolMixin {
    type Executor = ClosurePool;

    const WORKER_COUNT: usize = 3;

    // The workers are processes. What becomes of these is in test_process_pool.rs.
    const OWN_THREADS: bool = false;

    const AT_EXIT: Option<fn() -> Box<dyn Any>> = Some(|| Box::new(at_exit()));

    fn executor_type(max_workers: usize) -> Result<ClosurePool, Box<dyn Error>> {
        Ok(ClosurePool(builder(max_workers).build()?))
    }
}

executor_tests!(ProcessPoolMixin);
as_completed_tests!(ProcessPoolMixin);
wait_tests!(ProcessPoolMixin);
shutdown_tests!(ProcessPoolMixin);
