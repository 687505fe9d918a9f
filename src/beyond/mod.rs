//! What `concurrent.futures` does not have.

pub(super) mod any_future;
mod awaiting;
