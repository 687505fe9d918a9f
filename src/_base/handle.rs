// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! What every object in Python has by itself: identity, and any number of references.

use super::Future;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

impl<T> Default for Future<T> {
    fn default() -> Self {
        Future::new()
    }
}

impl<T> Clone for Future<T> {
    fn clone(&self) -> Self {
        Future {
            core: Arc::clone(&self.core),
            awaited: None,
        }
    }
}

impl<T> PartialEq for Future<T> {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl<T> Eq for Future<T> {}

impl<T> Hash for Future<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id().hash(state);
    }
}
