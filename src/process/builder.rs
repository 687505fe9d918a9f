// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! The keyword arguments of `ProcessPoolExecutor`.

use super::super::_base::{Exception, IntoException, ValueError};
use super::super::stdlib::pickle::{Dump, Load};
use super::super::stdlib::threading::{_register_atexit, Condition};
use super::completion::result_of;
use super::executor::{call_item, load_output, load_result};
use super::state::{Executing, Shutdown};
use super::{
    global, python_exit, Callable, Handle, Initializer, OnCrash, Pool, ProcessPoolExecutor,
    Registry,
};
use std::ffi::OsString;
use std::sync::Arc;
use std::thread;

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
                    result_of(result_item, registry, &load_output::<F::Output>).map(drop)
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
                    result_of(result_item, registry, &load_result::<T, E, N>).map(drop)
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

    /// Makes the pool. No process is started yet.
    ///
    /// # Errors
    ///
    /// If `max_workers` or `max_tasks_per_child` is zero, if [`freeze_support`](super::freeze_support) was
    /// not called, or if the initializer is not registered or its arguments cannot be dumped.
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
        } = self;
        let max_workers = max_workers.unwrap_or_else(processors);
        if max_workers == 0 {
            return Err(ValueError::new("max_workers must be greater than 0"));
        }
        if max_tasks_per_child == Some(0) {
            return Err(ValueError::new("max_tasks_per_child must be >= 1"));
        }
        let registry = Registry::published().ok_or_else(|| {
            ValueError::new("process::freeze_support must be called first in main")
        })?;
        let initializer = initializer.map(|make| make(&registry)).transpose();
        let initializer = initializer.map_err(|_| {
            ValueError::new("the initializer is not registered, or its arguments cannot be dumped")
        })?;
        _register_atexit(python_exit);
        let pool = global(|global| {
            let pool = Arc::new(Pool {
                max_workers,
                max_tasks_per_child: max_tasks_per_child.unwrap_or(usize::MAX),
                on_crash,
                worker_args,
                initializer,
                registry,
                number: global.counter,
                shutdown_lock: Condition::new(Executing {
                    shutdown: Some(Shutdown::Interpreter).filter(|_| global._global_shutdown),
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
