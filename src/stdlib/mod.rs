// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! What the port needs of the modules of Python's library that `concurrent.futures` imports. Nothing
//! here knows of futures.

pub mod event;
pub(super) mod exceptions;
pub(super) mod keyed_list;
pub(super) mod logging;
pub(super) mod multiprocessing;
pub mod pickle;
pub(super) mod queue;
mod spin;
pub(super) mod threading;

// What is kept for the whole process outlives a single run under a model scheduler, of which a
// process makes many. So it is behind a lock of std itself, which such a scheduler, put in the place of
// the name `std`, does not replace. Nothing but plain memory is touched while one of these is held.
pub(super) extern crate std as process_wide;
