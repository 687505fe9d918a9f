// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! The keyword arguments of `ProcessPoolExecutor`.

use super::super::_base::{Exception, IntoException, ValueError, LOGGER};
use super::super::stdlib::multiprocessing::connection::{Incoming, Message};
use super::super::stdlib::multiprocessing::spawn::Timing;
use super::super::stdlib::pickle::{Dump, Load};
use super::super::stdlib::threading::{_register_atexit, Condition};
use super::command::{Commands, KEEP_ALIVE, STARTUP};
use super::completion::result_of;
use super::executor::{call_item, load_output, load_result};
use super::state::{Executing, Shutdown};
use super::{global, python_exit, Callable, Handle, OnCrash, Pool, ProcessPoolExecutor, Registry};
use std::ffi::OsString;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Makes a [`ProcessPoolExecutor`]; see [`ProcessPoolExecutor::builder`].
///
/// CPython: the keyword parameters of `ProcessPoolExecutor.__init__` in `process.py`.
#[must_use = "a builder does nothing until `build` is called"]
pub struct ProcessPoolExecutorBuilder {
    max_workers: Option<usize>,
    initializer: Option<Box<MakeInitializer>>,
    max_tasks_per_child: Option<usize>,
    on_crash: OnCrash,
    worker_args: Vec<OsString>,
    commands: Option<Box<MakeCommands>>,
    timing: Timing,
}

/// Makes the words of the commands for so many workers, each with the number of those that are its own.
type MakeCommands = dyn FnOnce(usize) -> Vec<(Vec<OsString>, usize)> + Send;

/// The call of an initializer, and what checks its result.
pub(super) struct Initializer {
    pub(super) call_item: Message,
    pub(super) check: fn(&mut Incoming<'_>, &Registry) -> Result<(), Exception>,
}

/// What an initializer returns is of no use.
fn ignore<T>(output: T) {
    LOGGER.log_panic("Exception in initializer", || drop(output));
}

/// Dumps an initializer and its arguments once the registry is at hand.
type MakeInitializer = dyn FnOnce(&Registry) -> Result<Initializer, Exception> + Send;

impl ProcessPoolExecutorBuilder {
    pub(super) fn new() -> Self {
        ProcessPoolExecutorBuilder {
            max_workers: None,
            initializer: None,
            max_tasks_per_child: None,
            on_crash: OnCrash::default(),
            worker_args: Vec::new(),
            commands: None,
            timing: Timing {
                startup: STARTUP,
                keep_alive: Some(KEEP_ALIVE),
            },
        }
    }

    /// How many processes the pool may have; for `None`, as many as there are processors.
    ///
    /// CPython: the parameter `max_workers`.
    pub fn max_workers(mut self, max_workers: impl Into<Option<usize>>) -> Self {
        self.max_workers = max_workers.into();
        self
    }

    /// What each process calls before its first call: a registered function, and its arguments. When it
    /// panics, the pool is broken; see [`BrokenProcessPool`](super::BrokenProcessPool).
    ///
    /// CPython: the parameters `initializer` and `initargs`.
    pub fn initializer<F, A, M>(mut self, f: F, args: A) -> Self
    where
        F: Callable<A, M>,
        A: Dump + Send + 'static,
        F::Output: Load,
    {
        drop(f);
        self.initializer = Some(Box::new(move |registry| {
            Ok(Initializer {
                call_item: call_item::<F, A>(registry, args)?,
                check: |result_item, registry| {
                    result_of(result_item, registry, &load_output::<F::Output>).map(ignore)
                },
            })
        }));
        self
    }

    /// Like [`initializer`](ProcessPoolExecutorBuilder::initializer), for one that may fail: an error
    /// breaks the pool as a panic does.
    ///
    /// CPython: the parameters `initializer` and `initargs`.
    pub fn try_initializer<F, A, M, T, E, N>(mut self, f: F, args: A) -> Self
    where
        F: Callable<A, M, Output = Result<T, E>>,
        A: Dump + Send + 'static,
        T: Load,
        E: Load + IntoException<N>,
    {
        drop(f);
        self.initializer = Some(Box::new(move |registry| {
            Ok(Initializer {
                call_item: call_item::<F, A>(registry, args)?,
                check: |result_item, registry| {
                    result_of(result_item, registry, &load_result::<T, E, N>).map(ignore)
                },
            })
        }));
        self
    }

    /// How many calls a process runs before it ends, and another one takes its place; for `None`, any
    /// number.
    ///
    /// CPython: the parameter `max_tasks_per_child`.
    pub fn max_tasks_per_child(mut self, max_tasks: impl Into<Option<usize>>) -> Self {
        self.max_tasks_per_child = max_tasks.into();
        self
    }

    /// What becomes of the pool when one of its processes dies.
    pub fn on_crash(mut self, on_crash: OnCrash) -> Self {
        self.on_crash = on_crash;
        self
    }

    /// The arguments that the program is started with, before one that marks it as a worker. None by
    /// default.
    ///
    /// In a test binary, `main` belongs to the test harness. There, a test function calls
    /// [`freeze_support`](super::freeze_support), and these arguments lead to it: if it is
    /// `worker_entry`, they are `["--exact", "worker_entry", "--nocapture", "--"]`.
    ///
    /// CPython: the parameter `mp_context` has the way in which processes are started.
    pub fn worker_args<S: Into<OsString>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.worker_args = args.into_iter().map(Into::into).collect();
        self
    }

    /// The words that start a worker: a program and its arguments, to which the [`worker_args`] and a marker
    /// are appended. `["ssh", "-o", "BatchMode=yes", "host", "prog"]` starts it on another machine,
    /// `["nice", "prog"]` on this one. The same words start all workers.
    ///
    /// The program has to be built from the same source as this one. Between it and this process there has to
    /// be nothing but its standard input, output and error. What calls print arrives on those of this
    /// process, line by line. Its standard streams here are sockets; that of a terminal is not inherited, so
    /// nobody can be asked for a password.
    ///
    /// A command that brings no worker (see [`startup_timeout`]) breaks the pool, with [`CommandFailed`] as
    /// the `source` of [`BrokenProcessPool`]. Not with [`OnCrash::FailCall`] or [`OnCrash::Retry`]: then it
    /// is logged, and tried again when a worker is needed; after the third failure in a row, the command is
    /// left out; and without the last one, the pool is broken.
    ///
    /// How it goes with `ssh` and Slurm, and whom one trusts, is in `docs/remote.md`.
    ///
    /// [`worker_args`]: ProcessPoolExecutorBuilder::worker_args
    /// [`startup_timeout`]: ProcessPoolExecutorBuilder::startup_timeout
    /// [`CommandFailed`]: super::CommandFailed
    /// [`BrokenProcessPool`]: super::BrokenProcessPool
    ///
    /// CPython: none.
    pub fn command<S: Into<OsString>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        let words = words.into_iter().map(Into::into).collect();
        self.commands = Some(Box::new(move |max_workers| vec![(words, max_workers)]));
        self
    }

    /// Like [`command`](ProcessPoolExecutorBuilder::command), with words that may differ from worker to
    /// worker. `words` is called by [`build`](ProcessPoolExecutorBuilder::build), with each number from zero
    /// up to [`max_workers`](ProcessPoolExecutorBuilder::max_workers), and so many workers there are at most.
    ///
    /// ```no_run
    /// use concurrent_futures::process::{OnCrash, ProcessPoolExecutor};
    ///
    /// let hosts = ["adam", "berta", "carla"];
    /// let pool = ProcessPoolExecutor::builder()
    ///     .max_workers(hosts.len())
    ///     .commands(move |n| ["ssh", "-o", "BatchMode=yes", hosts[n], "/opt/prog"])
    ///     .on_crash(OnCrash::Retry(2))
    ///     .build();
    /// ```
    ///
    /// CPython: none.
    pub fn commands<S, C>(mut self, mut words: impl FnMut(usize) -> C + Send + 'static) -> Self
    where
        S: Into<OsString>,
        C: IntoIterator<Item = S>,
    {
        let mut command = move |n| (words(n).into_iter().map(Into::into).collect(), 1);
        self.commands = Some(Box::new(move |max_workers| {
            (0..max_workers).map(&mut command).collect()
        }));
        self
    }

    /// How long a [`command`](ProcessPoolExecutorBuilder::command) may take to bring a worker, counted from
    /// its start; 30 seconds by default. Then it has failed. What the program does in `main` before
    /// [`freeze_support`](super::freeze_support) counts, an initializer does not.
    ///
    /// CPython: none.
    pub fn startup_timeout(mut self, timeout: Duration) -> Self {
        self.timing.startup = timeout;
        self
    }

    /// How long nothing may be heard of a worker behind a
    /// [`command`](ProcessPoolExecutorBuilder::command), and how long it may hear nothing of this process;
    /// 30 seconds by default. Both sides say something four times as often, also when there is
    /// nothing to say. After such a silence the worker counts as dead here, and ends there: of a machine that
    /// has vanished, no end of a stream ever comes. With `None`, nobody listens to silence.
    ///
    /// CPython: none.
    pub fn keep_alive(mut self, silence: impl Into<Option<Duration>>) -> Self {
        self.timing.keep_alive = silence.into();
        self
    }

    /// Makes the pool. No process is started yet.
    ///
    /// # Errors
    ///
    /// If `max_workers` or `max_tasks_per_child` is zero, if [`freeze_support`](super::freeze_support) was
    /// not called, or if the initializer is not registered or its arguments cannot be dumped; if a command
    /// has no words, or `keep_alive` is less than a millisecond, or there are commands where they cannot be
    /// run: they need Unix.
    ///
    /// CPython: `ProcessPoolExecutor.__init__` in `process.py`.
    pub fn build(self) -> Result<ProcessPoolExecutor, ValueError> {
        let processors = || thread::available_parallelism().map_or(1, |n| n.get());
        let ProcessPoolExecutorBuilder {
            max_workers,
            initializer,
            max_tasks_per_child,
            on_crash,
            worker_args,
            commands,
            timing,
        } = self;
        let max_workers = max_workers.unwrap_or_else(processors);
        if max_workers == 0 {
            return Err(ValueError::new("max_workers must be greater than 0"));
        }
        if max_tasks_per_child == Some(0) {
            return Err(ValueError::new("max_tasks_per_child must be >= 1"));
        }
        let commands = commands.map(|make| make(max_workers));
        if let Some(commands) = &commands {
            if commands.iter().any(|(words, _)| words.is_empty()) {
                return Err(ValueError::new("a command must have words"));
            }
            if timing.keep_alive.map_or(false, |it| it.as_millis() == 0) {
                return Err(ValueError::new("keep_alive must be at least a millisecond"));
            }
            if !cfg!(unix) {
                return Err(ValueError::new("commands need Unix"));
            }
        }
        let commands = commands.map(|commands| Commands::new(commands, timing));
        let registry = Registry::published().ok_or_else(|| {
            ValueError::new("process::freeze_support must be called first in main")
        })?;
        let initializer = initializer.map(|make| make(&registry)).transpose();
        let initializer = initializer.map_err(|_| {
            ValueError::new("the initializer is not registered, or its arguments cannot be dumped")
        })?;
        _register_atexit(python_exit);
        let pool = global(|global| {
            let usage = commands.as_ref().map(Commands::usage).unwrap_or_default();
            let pool = Arc::new(Pool {
                max_workers,
                max_tasks_per_child: max_tasks_per_child.unwrap_or(usize::MAX),
                on_crash,
                worker_args,
                commands,
                initializer,
                registry,
                number: global.counter,
                shutdown_lock: Condition::new(Executing {
                    shutdown: Some(Shutdown::Interpreter).filter(|_| global._global_shutdown),
                    usage,
                    ..Executing::default()
                }),
            });
            global.counter += 1;
            let pools = &mut global._threads_wakeups;
            pools.retain(|pool| pool.strong_count() > 0);
            pools.push(Arc::downgrade(&pool));
            pool
        });
        Ok(ProcessPoolExecutor(Arc::new(Handle(pool))))
    }
}
