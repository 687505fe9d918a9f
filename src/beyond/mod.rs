//! What `concurrent.futures` does not have.

pub(super) mod any_future;
mod awaiting;
pub(super) mod bounded_executor;
pub(super) mod promise;
