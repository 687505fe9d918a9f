// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! CPython's `concurrent.futures`, ported to Rust module by module on the standard library alone.
//!
//! A pool of threads, or of processes, runs calls; a [`Future`] stands for the result of each. Calls are
//! submitted and mapped, futures are waited for together or one by one as they finish, cancelled, and given
//! callbacks. If you know the Python module, you know this one: names, defaults, states and messages
//! are CPython's, and what differs is listed with its reasons in `docs/divergences.md`. There are no
//! dependencies and there is no `unsafe`; four primitives of std carry it all: channels, mutexes,
//! condition variables and weak references. To learn how such a pool works inside, start with
//! `docs/reading-guide.md`.
//!
//! # A first program
//!
//! ```
//! use concurrent_futures::{Executor, ThreadPoolExecutor};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let pool = ThreadPoolExecutor::new(4)?;
//!     let future = pool.submit(|| (1..=20).product::<u64>())?;
//!     println!("20! is {}", future.result(None)?);
//!     pool.shutdown();
//!     Ok(())
//! }
//! ```
//!
//! [`Executor`] is the trait that has `submit`, `map` and `shutdown`, so it is imported, too.
//! `ThreadPoolExecutor::new(None)` takes CPython's default: four threads more than there are
//! processors, and at most 32.
//!
//! # Recipes
//!
//! ## Fan out and collect
//!
//! [`map`](Executor::map) yields results in the order of the items, whatever order they finish in.
//!
//! ```
//! use concurrent_futures::{Executor, ThreadPoolExecutor};
//!
//! let words = ["never", "look", "inside"];
//! let lengths: Vec<usize> = ThreadPoolExecutor::new(2)?
//!     .with(|pool| pool.map(|word: &str| word.len(), words))?
//!     .collect::<Result<_, _>>()?;
//! assert_eq!(lengths, [5, 4, 6]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`with`](Executor::with) is Python's `with` statement: it shuts the pool down at the end, and waits.
//!
//! ## Results as they come
//!
//! [`as_completed`] yields each future when it is done. What belongs to a future is kept in a map, whose
//! keys futures can be.
//!
//! ```
//! use concurrent_futures::{as_completed, Executor, ThreadPoolExecutor};
//! use std::collections::HashMap;
//!
//! let pool = ThreadPoolExecutor::new(2)?;
//! let mut pages = HashMap::new();
//! for page in ["index", "about"] {
//!     pages.insert(pool.submit(move || page.len())?, page);
//! }
//! for future in as_completed(pages.keys(), None) {
//!     let future = future?;
//!     println!("{}: {} bytes", pages[future], future.result(None)?);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ## The first that succeeds
//!
//! ```
//! use concurrent_futures::{as_completed, Exception, Executor, ThreadPoolExecutor};
//!
//! let pool = ThreadPoolExecutor::new(3)?;
//! let ask = |mirror: u16| match mirror {
//!     2 => Ok(format!("mirror {mirror} answers")),
//!     _ => Err(Exception::msg(format!("mirror {mirror} is down"))),
//! };
//! let futures: Vec<_> = (1..=3).map(|n| pool.try_submit(move || ask(n))).collect::<Result<_, _>>()?;
//!
//! let answer = as_completed(futures.clone(), None).find_map(|future| future.ok()?.result(None).ok());
//! assert_eq!(answer.as_deref(), Some("mirror 2 answers"));
//!
//! // Nobody needs the others. Those that run go on; those that wait never start.
//! for future in futures {
//!     future.cancel();
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The one in `docs/recipes.md` also says why none has.
//!
//! ## Time-outs
//!
//! A time-out ends the waiting, not the call: a thread cannot be stopped from outside, though a
//! [process](#calls-that-may-crash-or-have-to-be-stopped) can. A limit for several futures together is
//! that of [`wait`] or [`as_completed`].
//!
//! ```
//! use concurrent_futures::{wait, Error, Executor, ThreadPoolExecutor, ALL_COMPLETED};
//! use std::sync::mpsc;
//! use std::time::Duration;
//!
//! let pool = ThreadPoolExecutor::new(2)?;
//! let (sender, receiver) = mpsc::channel();
//! let slow = pool.submit(move || receiver.recv().unwrap())?;
//! let quick = pool.submit(|| 1)?;
//!
//! assert!(matches!(slow.result(Duration::from_millis(10)), Err(Error::Timeout)));
//! quick.result(None)?;
//! let waited = wait([slow.clone(), quick], Duration::from_millis(10), ALL_COMPLETED);
//! assert!(waited.done.len() == 1 && waited.not_done.contains(&slow));
//!
//! sender.send(2)?;
//! assert_eq!(slow.result(None)?, 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ## Errors with `?`
//!
//! [`try_submit`](Executor::try_submit) and [`try_map`](Executor::try_map) take calls that return
//! `Result`. Their errors, and panics, arrive in [`Error::Exception`]; `downcast_ref` finds the type
//! again, as `except ValueError` does in Python.
//!
//! ```
//! use concurrent_futures::{Error, Exception, Executor, ThreadPoolExecutor};
//! use std::num::ParseIntError;
//!
//! fn sum(text: &str) -> Result<i32, Exception> {
//!     let mut sum = 0;
//!     for number in text.split('+') {
//!         sum += number.trim().parse::<i32>()?;
//!     }
//!     Ok(sum)
//! }
//!
//! let pool = ThreadPoolExecutor::new(2)?;
//! assert_eq!(pool.try_submit(|| sum("1 + 2"))?.result(None)?, 3);
//! match pool.try_submit(|| sum("1 + x"))?.result(None) {
//!     Err(Error::Exception(exception)) => {
//!         assert!(exception.downcast_ref::<ParseIntError>().is_some());
//!     }
//!     other => unreachable!("{:?}", other),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ## Cancelling
//!
//! A call that has not started can be cancelled. One that runs cannot; give it something to look at.
//!
//! ```
//! use concurrent_futures::{Error, Executor, ShutdownOptions, ThreadPoolExecutor};
//! use std::sync::mpsc;
//!
//! let pool = ThreadPoolExecutor::new(1)?;
//! let (stop, stopped) = mpsc::channel();
//! let running = pool.submit(move || {
//!     let mut rounds = 0_u64;
//!     while stopped.try_recv().is_err() {
//!         rounds += 1;
//!     }
//!     rounds
//! })?;
//! let waiting = pool.submit(|| 0)?;
//!
//! assert!(waiting.cancel());
//! assert!(matches!(waiting.result(None), Err(Error::Cancelled)));
//! stop.send(())?;
//! running.result(None)?;
//!
//! // All that have not started, and no more calls:
//! pool.shutdown_with(ShutdownOptions::new().cancel_futures(true));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ## Callbacks
//!
//! A callback runs on the thread that completes the future, or at once if it is done already. Keep it
//! short, and let it send what it learned.
//!
//! ```
//! use concurrent_futures::{Executor, ThreadPoolExecutor};
//! use std::sync::mpsc;
//!
//! let pool = ThreadPoolExecutor::new(2)?;
//! let (sender, receiver) = mpsc::channel();
//! for n in 1..=3 {
//!     let sender = sender.clone();
//!     pool.submit(move || n * n)?.add_done_callback(move |future| {
//!         let _ = sender.send(future.result(None));
//!     });
//! }
//! drop(sender);
//! let mut squares = receiver.iter().collect::<Result<Vec<_>, _>>()?;
//! squares.sort();
//! assert_eq!(squares, [1, 4, 9]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ## Bounded memory
//!
//! `map` submits everything at once, and what was submitted is kept. With a
//! [`buffersize`](MapOptions::buffersize) it reads the items as results are taken, and never has more
//! than that many calls in flight; the items may be endless. [`chunksize`](MapOptions::chunksize) makes
//! one call of several small items.
//!
//! ```
//! use concurrent_futures::{Executor, MapOptions, ThreadPoolExecutor};
//!
//! let pool = ThreadPoolExecutor::new(4)?;
//! let squares = pool.map_with(|n: u64| n * n, 0.., MapOptions::new().buffersize(8))?;
//! let large = squares.map(Result::unwrap).find(|&square| square > 1000);
//! assert_eq!(large, Some(1024));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ## State for each thread
//!
//! An initializer runs on each thread before its first call. With a thread-local variable it gives the
//! calls of one thread something to share: a connection, a buffer, a random generator.
//!
//! ```
//! use concurrent_futures::{Executor, ThreadPoolExecutor};
//! use std::cell::RefCell;
//!
//! thread_local! {
//!     static BUFFER: RefCell<Vec<u8>> = RefCell::new(Vec::new());
//! }
//!
//! let pool = ThreadPoolExecutor::builder()
//!     .max_workers(2)
//!     .initializer(|| BUFFER.with(|buffer| buffer.borrow_mut().reserve(4096)))
//!     .build()?;
//! let ready = pool.submit(|| BUFFER.with(|buffer| buffer.borrow().capacity() >= 4096))?;
//! assert!(ready.result(None)?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ## Futures of different types
//!
//! [`AnyFuture`] is a handle without the type of the result; see there.
//!
//! ## Calls that may crash, or have to be stopped
//!
//! A [`ProcessPoolExecutor`] runs calls in other processes, which are this
//! program, started again. So `main` begins with [`freeze_support`](process::freeze_support) and the
//! functions that are to be called, and arguments and results are [pickled](pickle). A call that takes
//! longer than its limit is ended, with its process.
//!
//! ```
//! use concurrent_futures::process::{
//!     freeze_support, CallOptions, CallTimeout, OnCrash, ProcessPoolExecutor, WorkerDied,
//! };
//! use std::time::Duration;
//!
//! fn half(n: u64) -> u64 {
//!     match n {
//!         0 => std::process::abort(),
//!         n if n % 2 == 0 => n / 2,
//!         _ => loop {
//!             std::thread::yield_now();
//!         },
//!     }
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     freeze_support(|registry| {
//!         registry.register(half);
//!     });
//!     let pool = ProcessPoolExecutor::builder().max_workers(2).on_crash(OnCrash::FailCall).build()?;
//!     let crashes = pool.submit(half, 0)?;
//!     let loops = pool.submit_with(half, 1, CallOptions::new().timeout(Duration::from_millis(100)))?;
//!     assert_eq!(pool.submit(half, 42)?.result(None)?, 21);
//!
//!     let died = crashes.exception(None)?.unwrap();
//!     assert!(died.downcast_ref::<WorkerDied>().is_some());
//!     let ended = loops.exception(None)?.unwrap();
//!     assert!(ended.downcast_ref::<CallTimeout>().is_some());
//!     pool.shutdown();
//!     Ok(())
//! }
//! ```
//!
//! # Questions
//!
//! **Is this `async`?** No, but it goes with it. A [`Future`] here is Python's: a handle to a call that a
//! thread runs, most often waited for by blocking. It can also be awaited, in any runtime, and so keeps
//! blocking work out of an event loop; it starts without being polled, and goes on without being held.
//!
//! **Should I use this, or rayon?** For data parallelism over slices and iterators, rayon: it borrows from the
//! stack, splits work itself, and steals it. Use this for calls that come one by one, that wait for
//! something, or that must be cancelled, timed or reported one by one; where no packages are allowed;
//! and to learn from.
//!
//! **Can a call borrow from the stack?** No: what it captures must be `'static`, since nothing keeps the
//! caller's frame alive until the call has run. Move values in, share them with `Arc`, or use
//! `std::thread::scope`.
//!
//! **What happens to a pool that I drop?** Its workers finish what is queued and end. Nothing waits for
//! that, so a process may end first. Call [`shutdown`](Executor::shutdown), use
//! [`with`](Executor::with), or hold the guard of [`at_exit`] in `main`.
//!
//! **Why does my program hang?** Perhaps all workers wait for calls of their own pool. A worker runs such a
//! call itself, unless it waits with a time-out, or for the first of several, one of which is not of that
//! pool. The log tells of a pool that is stuck. Look at what waits for what; give the inner calls a pool of
//! their own, or submit the second call from a done-callback of the first. A lock that is held while a
//! result is waited for does the same.
//!
//! **What if a call panics?** Its future has the panic as its exception, the worker goes on, and the
//! panic hook prints its message as usual. With `panic = "abort"` there is nothing to catch.
//!
//! **How fast is it?** A small call costs one allocation and, while workers are busy, no system
//! call. All workers share one queue, so millions of calls that do next to nothing are better put
//! together, with [`chunksize`](MapOptions::chunksize) or by hand.
//!
//! **Threads or processes?** Threads: in Rust they compute in parallel, and Python's reason for processes, its
//! global interpreter lock, is none here. A process of its own is for a call that may crash, leak, or have to be
//! stopped, or that uses a library which is not made for threads.
//!
//! **Which compiler?** Rust 1.63 or newer, and no cargo is needed: `rustc --edition 2021 --crate-type rlib
//! src/lib.rs` builds it, and `src/` can be copied into another crate as a module.
#![forbid(unsafe_code)]
// Copied into a program as a module, all that the program does not use would be warned about. What
// is unused in the crate itself, `.ci/run unused` finds.
#![allow(dead_code, unused_imports)]

mod _base;
mod beyond;
pub mod process;
mod stdlib;
pub mod thread;

pub use self::stdlib::event as threading;

#[doc(inline)]
pub use self::_base::{
    as_completed, log_unretrieved, wait, AsCompleted, BrokenExecutor, BuildIdentityHasher,
    DoneAndNotDoneFutures, Error, Exception, Executor, Future, FutureSet, IdentityHasher,
    IntoException, InvalidStateError, Map, MapOptions, MapWith, ReturnWhen, ShutdownOptions, State,
    Submit, SubmitError, TimeoutError, Unsubmitted, ValueError, Waitable, ALL_COMPLETED,
    FIRST_COMPLETED, FIRST_EXCEPTION,
};
#[doc(inline)]
pub use self::beyond::any_future::AnyFuture;
#[doc(inline)]
pub use self::beyond::bounded_executor::{BoundedExecutor, WhenFull};
#[doc(inline)]
pub use self::beyond::promise::{BrokenPromise, Promise};
pub use self::process::ProcessPoolExecutor;
#[doc(inline)]
pub use self::stdlib::logging::{set_logger, Level, LogRecord};
pub use self::stdlib::pickle;
#[doc(inline)]
pub use self::thread::{
    at_exit, AtExit, BrokenThreadPool, ThreadPoolExecutor, ThreadPoolExecutorBuilder,
};
