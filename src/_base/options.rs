//! The keyword arguments of `Executor.shutdown` and `Executor.map`.

use std::time::Duration;

/// How to shut an executor down: [`Executor::shutdown_with`](super::Executor::shutdown_with).
///
/// ```
/// use concurrent_futures::ShutdownOptions;
///
/// let options = ShutdownOptions::new().wait(false).cancel_futures(true);
/// assert!(!options.wait && options.cancel_futures);
/// ```
///
/// CPython: the parameters of `Executor.shutdown` in `_base.py`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownOptions {
    /// Whether to return only when all calls are done and the executor's resources are given back.
    pub wait: bool,
    /// Whether to cancel the calls that have not started.
    pub cancel_futures: bool,
    /// The limit of the waiting, if there is one. What runs by then goes on running.
    pub timeout: Option<Duration>,
}

impl ShutdownOptions {
    /// Python's defaults: wait, without a limit, and cancel nothing.
    pub fn new() -> Self {
        ShutdownOptions {
            wait: true,
            cancel_futures: false,
            timeout: None,
        }
    }

    /// Sets [`wait`](ShutdownOptions#structfield.wait).
    #[must_use]
    pub fn wait(mut self, wait: bool) -> Self {
        self.wait = wait;
        self
    }

    /// Sets [`cancel_futures`](ShutdownOptions#structfield.cancel_futures).
    #[must_use]
    pub fn cancel_futures(mut self, cancel_futures: bool) -> Self {
        self.cancel_futures = cancel_futures;
        self
    }

    /// Sets [`timeout`](ShutdownOptions#structfield.timeout). To learn whether everything has ended by
    /// then, use `shutdown_timeout` of the pool.
    #[must_use]
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeout = timeout.into();
        self
    }
}

impl Default for ShutdownOptions {
    fn default() -> Self {
        ShutdownOptions::new()
    }
}

/// How to map: [`Executor::map_with`](super::Executor::map_with).
///
/// CPython: the keyword parameters of `Executor.map` in `_base.py`; `buffersize` is from 3.14.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MapOptions {
    /// The time for all results together, counted from the call of `map_with`; `None` is no limit.
    pub timeout: Option<Duration>,
    /// How many tasks may be in flight, so that an endless iterator can be mapped; `None` submits
    /// everything at the call. Zero is refused by `map_with`.
    pub buffersize: Option<usize>,
    /// How many items make one task, for many small items. Zero is refused by `map_with`.
    pub chunksize: usize,
}

impl MapOptions {
    /// Python's defaults: no time-out, everything submitted at the call, a task for each item.
    pub fn new() -> Self {
        MapOptions {
            timeout: None,
            buffersize: None,
            chunksize: 1,
        }
    }

    /// Sets [`timeout`](MapOptions#structfield.timeout).
    #[must_use]
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeout = timeout.into();
        self
    }

    /// Sets [`buffersize`](MapOptions#structfield.buffersize).
    #[must_use]
    pub fn buffersize(mut self, buffersize: impl Into<Option<usize>>) -> Self {
        self.buffersize = buffersize.into();
        self
    }

    /// Sets [`chunksize`](MapOptions#structfield.chunksize).
    #[must_use]
    pub fn chunksize(mut self, chunksize: usize) -> Self {
        self.chunksize = chunksize;
        self
    }
}

impl Default for MapOptions {
    fn default() -> Self {
        MapOptions::new()
    }
}
