// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! What the port needs of Python's `multiprocessing`: to start this program again as a worker process, and
//! to talk to it. Nothing here knows of pools.
//!
//! # How a worker comes to its streams
//!
//! Safe code can hand a child nothing but its standard input, output and error, and all three belong to
//! what the worker runs: a grandchild may inherit them, a task may read and write them. So the pipe that is
//! the worker's standard input carries three lines only, and then ends: a secret, the folder in which the
//! parent listens, and a word that it does listen there (or the address at which it listens instead).
//! The worker connects twice, and shows the secret. One stream carries messages; the other, the
//! *control*, carries nothing but a request to end, and its own end: a worker whose control ends exits
//! at once, in the middle of a call, too. So no worker outlives its parent.
//!
//! The parent listens on a Unix socket in a private folder, or, where that cannot be (Windows, a folder
//! for temporary files that is relative, full, read-only, or has a name that is too long or no line of text),
//! on a loopback address. It does so anew for each worker, and until that worker has connected. The worker is
//! told the folder before the folder is made, and both sides remove it: whichever is killed, the other one
//! leaves nothing behind.
//!
//! # Workers behind a command
//!
//! A command, `ssh` perhaps, starts this program somewhere, and has its standard streams, and nothing else. So
//! what it starts is a *bridge*: a process that starts the real worker beside itself, in the way above, and
//! speaks to the parent in [`frames`] over its own standard input and output. It copies what the pool and
//! the worker send each other; what the worker prints comes in frames, too, or through standard error, and so
//! never gets in between. When the worker ends, the bridge says how. When the bridge's standard input ends, or
//! nothing comes from the parent for too long, it kills the worker and ends.
//!
//! The bridge speaks first. What comes before its first frame was printed by somebody on the way.

pub(in super::super) mod bridge;
#[cfg(unix)]
mod command;
pub(in super::super) mod connection;
mod frames;
pub(in super::super) mod process;
pub(in super::super) mod spawn;
