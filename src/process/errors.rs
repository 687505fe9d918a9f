// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! Why a call in another process has no result, where Python's pool would be broken.

use super::super::_base::{BrokenExecutor, Exception, SubmitError};
use super::BrokenProcessPool;
use std::error::Error as StdError;
use std::fmt;
use std::process::ExitStatus;
use std::time::Duration;

/// The process that ran the call has died, and the pool goes on with others: the exception of the call
/// with [`OnCrash::FailCall`](super::OnCrash::FailCall), and with
/// [`OnCrash::Retry`](super::OnCrash::Retry) after the last attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerDied {
    pub(super) pid: Option<u32>,
    pub(super) status: Option<ExitStatus>,
    /// The command that had started it, and why it was given up, as far as that applies.
    pub(super) note: Option<String>,
}

impl WorkerDied {
    /// The id that the process had; of one behind a
    /// [`command`](super::ProcessPoolExecutorBuilder::command), that of the command.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// How the process ended: with which status, or by which signal.
    pub fn status(&self) -> Option<ExitStatus> {
        self.status
    }
}

impl fmt::Display for WorkerDied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the process that ran the call terminated abruptly")?;
        describe(f, self.pid, self.status, self.note.as_deref())
    }
}

impl StdError for WorkerDied {}

impl BrokenProcessPool {
    pub(super) fn new(
        pid: Option<u32>,
        status: Option<ExitStatus>,
        note: Option<String>,
        cause: Option<Exception>,
    ) -> Self {
        BrokenProcessPool {
            pid,
            status,
            note,
            cause,
        }
    }
}

impl fmt::Display for BrokenProcessPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "A process in the process pool was terminated abruptly while the future was running or \
             pending",
        )?;
        match &self.cause {
            Some(cause) => write!(f, ": {}", cause),
            None => describe(f, self.pid, self.status, self.note.as_deref()),
        }
    }
}

impl StdError for BrokenProcessPool {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_ref().map(Exception::as_dyn_error)
    }
}

impl From<BrokenProcessPool> for BrokenExecutor {
    fn from(error: BrokenProcessPool) -> Self {
        BrokenExecutor::new(error.to_string()).with_cause(error.cause)
    }
}

impl From<BrokenProcessPool> for SubmitError {
    fn from(error: BrokenProcessPool) -> Self {
        SubmitError::Broken(error.into())
    }
}

/// Appends how a process ended, as far as that is known.
pub(super) fn describe(
    f: &mut fmt::Formatter<'_>,
    pid: Option<u32>,
    status: Option<ExitStatus>,
    note: Option<&str>,
) -> fmt::Result {
    match (pid, status) {
        (Some(pid), Some(status)) => write!(f, " (process {pid}, {status})"),
        (Some(pid), None) => write!(f, " (process {pid})"),
        _ => Ok(()),
    }?;
    note.map_or(Ok(()), |note| write!(f, ", started by {note}"))
}

/// A [`command`](super::ProcessPoolExecutorBuilder::command) has started no worker. It is logged; and it is
/// the `source` of the [`BrokenProcessPool`](super::BrokenProcessPool) that it may lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandFailed {
    pub(super) command: String,
    pub(super) reason: String,
}

impl CommandFailed {
    /// The words of the command.
    pub fn command(&self) -> &str {
        &self.command
    }

    /// What is wrong, and what the command has printed last.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for CommandFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.command, self.reason)
    }
}

impl StdError for CommandFailed {}

/// The call ran for longer than [`CallOptions::timeout`](super::CallOptions::timeout) allows, and was ended
/// together with its process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallTimeout {
    pub(super) timeout: Duration,
}

impl CallTimeout {
    /// The limit that the call had.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }
}

impl fmt::Display for CallTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the call was ended after {:?}", self.timeout)
    }
}

impl StdError for CallTimeout {}

/// The call was ended, together with its process, by
/// [`kill_call`](super::ProcessPoolExecutor::kill_call).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallKilled;

impl fmt::Display for CallKilled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("the call was killed")
    }
}

impl StdError for CallKilled {}
