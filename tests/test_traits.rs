//! What a type must be for a user to hold it anywhere: in a static, in another thread, across
//! `catch_unwind`. It is lost by a field added somewhere inside, and then by no other test.

use concurrent_futures::*;
use std::cell::Cell;
use std::panic::{RefUnwindSafe, UnwindSafe};

fn anywhere<T: Send + Sync + Unpin + UnwindSafe + RefUnwindSafe>() {}

#[test]
fn handles_can_be_held_anywhere() {
    anywhere::<Future<i32>>();
    anywhere::<AnyFuture>();
    anywhere::<ThreadPoolExecutor>();
}

/// A value that no two threads may look at is cloned or moved out by one at a time.
#[test]
fn a_future_is_shared_though_its_value_is_not() {
    anywhere::<Future<Cell<i32>>>();
}

#[test]
fn errors_can_be_held_anywhere() {
    anywhere::<Error>();
    anywhere::<InvalidStateError>();
    anywhere::<TimeoutError>();
    anywhere::<ValueError>();
    anywhere::<BrokenExecutor>();
    anywhere::<BrokenThreadPool>();
    fn an_error<E: std::error::Error + Send + Sync + 'static>() {}
    an_error::<Error>();
    an_error::<SubmitError>();
    an_error::<InvalidStateError>();
    an_error::<TimeoutError>();
    an_error::<ValueError>();
    an_error::<BrokenExecutor>();
    an_error::<BrokenThreadPool>();
}

#[test]
fn iterators_move_between_threads() {
    fn moves<T: Send>() {}
    moves::<AsCompleted<i32>>();
    moves::<AsCompleted<(), AnyFuture>>();
    moves::<Map<i32>>();
    moves::<MapWith<'_, ThreadPoolExecutor, Vec<i32>, i32>>();
    moves::<DoneAndNotDoneFutures<i32>>();
}
