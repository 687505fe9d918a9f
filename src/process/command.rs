// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! The commands that start a pool's workers, and which of them are of use. CPython has no such thing.

use super::super::_base::Exception;
use super::super::stdlib::multiprocessing::process::Process;
use super::super::stdlib::multiprocessing::spawn::Timing;
use super::state::Executing;
use super::{_ExecutorManagerThread, CommandFailed, End, FAILED_STARTS};
use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt::Write;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

/// What the builder has if nobody says anything else.
pub(super) const STARTUP: Duration = Duration::from_secs(30);
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// How a pool starts its workers, if not by itself.
pub(super) struct Commands {
    /// The words of each, and how many workers it is for. No two have the same words.
    list: Vec<(Vec<OsString>, usize)>,
    pub(super) timing: Timing,
}

/// How a command does.
#[derive(Clone, Default)]
pub(super) struct Usage {
    /// How many workers it has.
    workers: usize,
    /// How often in a row it brought none.
    failures: usize,
}

impl Commands {
    /// The words of each command, and how many workers it is for. Words may occur more than once.
    pub(super) fn new(commands: Vec<(Vec<OsString>, usize)>, timing: Timing) -> Self {
        let mut list: Vec<(Vec<OsString>, usize)> = Vec::new();
        let mut numbers = HashMap::new();
        for (words, workers) in commands {
            let number = *numbers.entry(words.clone()).or_insert(list.len());
            if number == list.len() {
                list.push((words, 0));
            }
            list[number].1 += workers;
        }
        Commands { list, timing }
    }

    pub(super) fn words(&self, command: usize) -> &[OsString] {
        &self.list[command].0
    }

    /// As a person would write it.
    pub(super) fn name(&self, command: usize) -> String {
        let mut name = String::new();
        for word in self.words(command) {
            let word = word.to_string_lossy();
            let plain = |c: char| c.is_alphanumeric() || "-_./:=,@%+".contains(c);
            let separator = if name.is_empty() { "" } else { " " };
            let _ = if word.chars().all(plain) && !word.is_empty() {
                write!(name, "{separator}{word}")
            } else {
                write!(name, "{separator}{word:?}")
            };
        }
        name
    }

    /// None of them was used yet.
    pub(super) fn usage(&self) -> Vec<Usage> {
        vec![Usage::default(); self.list.len()]
    }

    /// The command for another worker: of those that have not all of theirs, the one that has failed least,
    /// lest a host that is down be asked again and again while there are others.
    pub(super) fn next(&self, usage: &[Usage]) -> Option<usize> {
        let free = (0..self.list.len()).filter(|&command| {
            let Usage { workers, failures } = usage[command];
            workers < self.list[command].1 && failures < FAILED_STARTS
        });
        free.min_by_key(|&command| usage[command].failures)
    }
}

impl Executing {
    /// A worker is about to be started by this command.
    pub(super) fn command_is_used(&mut self, command: usize) {
        self.usage[command].workers += 1;
    }

    /// This command has brought a worker.
    pub(super) fn command_has_worked(&mut self, command: usize) {
        self.usage[command].failures = 0;
    }

    /// A worker of this command is gone.
    pub(super) fn command_is_free(&mut self, command: usize) {
        self.usage[command].workers -= 1;
    }

    /// This command has brought no worker. Returns how often in a row that was so.
    fn command_has_failed(&mut self, command: usize) -> usize {
        self.usage[command].failures += 1;
        self.usage[command].failures
    }

    /// Whether all commands are left out.
    pub(super) fn is_out_of_commands(&self) -> bool {
        self.usage.iter().all(|it| it.failures >= FAILED_STARTS)
    }
}

impl _ExecutorManagerThread {
    /// Starts the worker's process.
    pub(super) fn start(&self) -> io::Result<Process> {
        let worker_args = &self.pool.worker_args;
        match (&self.pool.commands, self.command) {
            (Some(commands), Some(command)) => {
                Process::start_command(commands.words(command), worker_args, commands.timing)
            }
            _ => Process::start(worker_args, Stdio::inherit()),
        }
    }

    /// What there is to say of how the worker was started.
    pub(super) fn note(&self, process: Option<&Process>) -> Option<String> {
        let name = self.pool.commands.as_ref()?.name(self.command?);
        let reason = process.and_then(Process::reason);
        let reason = reason.map_or(String::new(), |reason| format!(": {reason}"));
        Some(format!("`{name}`{reason}"))
    }

    /// Takes down that the command has started no worker. Returns what to log, and why that is so.
    pub(super) fn command_failed(
        &self,
        state: &mut Executing,
        end: End,
        status: Option<ExitStatus>,
    ) -> (String, Exception) {
        let reason = match (end, status) {
            (End::NotStarted(error), _) => error.to_string(),
            (_, Some(status)) => format!("the worker has ended before it was ready, {status}"),
            (_, None) => "the worker has ended before it was ready".to_owned(),
        };
        let name = |commands: &Commands| self.command.map(|command| commands.name(command));
        let command = self.pool.commands.as_ref().and_then(name);
        let command = command.unwrap_or_default();
        let failures = self.command.map(|it| state.command_has_failed(it));
        let message = if failures >= Some(FAILED_STARTS) {
            format!("`{command}` has started no worker, three times in a row, and is left out from now on:")
        } else {
            format!("`{command}` has started no worker:")
        };
        let failed = CommandFailed { command, reason };
        (message, Exception::new(failed))
    }
}
