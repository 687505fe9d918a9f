// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! What a pool knows of its calls and of its workers: in CPython the attributes of `ProcessPoolExecutor`.

use super::super::_base::{Exception, SubmitError, LOGGER};
use super::super::stdlib::multiprocessing::connection::{Connection, Message};
use super::super::stdlib::multiprocessing::process::Process;
use super::super::stdlib::threading::Thread;
use super::command::Usage;
use super::completion::mark_failed;
use super::{BrokenProcessPool, Item, Pool, WorkerDied, SUMMONS};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::mem;
use std::net::Shutdown as Half;
use std::sync::Arc;
use std::time::Instant;

/// What CPython changes only with `_shutdown_lock` held.
#[derive(Default)]
pub(super) struct Executing {
    /// The calls that no worker has in its hand, all of them pending or cancelled. While they are more than
    /// the summoned workers, no worker is idle.
    pub(super) work_items: VecDeque<Item>,
    /// The workers, by their numbers, from when their managers are started until their processes have
    /// ended.
    pub(super) processes: BTreeMap<usize, WorkerProcess>,
    /// The workers that are idle. The one that was busy last is the last.
    pub(super) idle: Vec<usize>,
    /// How many workers are starting.
    pub(super) starting: usize,
    /// How many workers were summoned, and have not replied.
    pub(super) summoned: usize,
    /// How many processes in a row died before they were ready.
    pub(super) failed_starts: usize,
    /// How the pool's commands do, if it has any.
    pub(super) usage: Vec<Usage>,
    /// How many workers there ever were.
    pub(super) started: usize,
    /// What broke the pool.
    pub(super) broken: Option<BrokenProcessPool>,
    /// Who has shut it down first.
    pub(super) shutdown: Option<Shutdown>,
    /// The pool was ended by force: what was running is not run again.
    pub(super) forced: bool,
    /// The thread that watches the deadlines, once it was needed, until the pool is over.
    pub(super) watchdog: Option<Arc<Thread>>,
    /// When the watchdog is to look for calls that have run for too long: at the first of their deadlines, or
    /// earlier, since those of calls that are done are not taken back.
    pub(super) next_look: Option<Instant>,
    /// Counts what the watchdog has to know of: earlier deadlines, and ends.
    pub(super) events: u64,
    /// Threads that have next to nothing left to do but callbacks, and are to be joined.
    pub(super) ended: Vec<Arc<Thread>>,
}

/// Who has shut the pool down.
#[derive(Clone, Copy)]
pub(super) enum Shutdown {
    Executor,
    Interpreter,
}

/// A worker process, as its pool knows it.
pub(super) struct WorkerProcess {
    /// Its manager.
    pub(super) thread: Arc<Thread>,
    /// The command that starts it, if the pool has commands.
    pub(super) command: Option<usize>,
    /// `None` until it was started.
    pub(super) process: Option<Arc<Process>>,
    /// `None` until it is ready.
    pub(super) connection: Option<Arc<Connection>>,
    /// The call that it runs, or is about to.
    pub(super) in_hand: Option<InHand>,
    /// It was asked to look into the queue, and has not replied.
    pub(super) summoned: bool,
    /// It was killed, or is to be as soon as it has a process.
    pub(super) doomed: bool,
    /// The pool has let it go: its stream of calls was ended, or nobody waits for it to be ready.
    pub(super) retired: bool,
    /// How many calls it has run.
    pub(super) tasks: usize,
}

/// A call in a worker's hand.
pub(super) struct InHand {
    pub(super) work_item: Item,
    /// Whether the worker may have got the whole of it.
    pub(super) sent: bool,
    /// When the worker is to be killed.
    pub(super) deadline: Option<Instant>,
    /// Why the worker was killed, if it was killed to end this call.
    pub(super) verdict: Option<Exception>,
}

impl InHand {
    pub(super) fn new(work_item: Item, sent: bool) -> Self {
        InHand {
            work_item,
            sent,
            deadline: None,
            verdict: None,
        }
    }
}

impl WorkerProcess {
    pub(super) fn new(thread: Arc<Thread>, command: Option<usize>) -> Self {
        WorkerProcess {
            thread,
            command,
            process: None,
            connection: None,
            in_hand: None,
            summoned: false,
            doomed: false,
            retired: false,
            tasks: 0,
        }
    }

    /// Sends a small message to a worker that was idle, and says whether it has been sent.
    pub(super) fn send(&mut self, message: &Message) -> bool {
        let sent = match &self.connection {
            Some(connection) => connection.send_at_once(message),
            None => return false,
        };
        match &sent {
            Ok(()) => {}
            // It has replied to what it has not read. Whoever waited for it, with the lock held, would
            // wait for a stranger.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.kill(),
            Err(_) => self.end_process(),
        }
        sent.is_ok()
    }

    pub(super) fn kill(&mut self) {
        self.doomed = true;
        self.end_process();
    }

    /// Ends the process. One that cannot be sent anything is dying; or it is a stranger, who has closed what it
    /// reads, and lives on: what waits for its end would wait for ever.
    pub(super) fn end_process(&self) {
        if let Some(process) = &self.process {
            process.kill();
        }
    }

    pub(super) fn retire(&mut self) {
        self.retired = true;
        if let Some(connection) = &self.connection {
            connection.shutdown(Half::Write);
        }
    }
}

impl Executing {
    /// Whether the pool takes calls, unless it is broken.
    pub(super) fn is_open(&self) -> Result<(), SubmitError> {
        match self.shutdown {
            None => Ok(()),
            Some(Shutdown::Executor) => Err(SubmitError::Shutdown),
            Some(Shutdown::Interpreter) => Err(SubmitError::InterpreterShutdown),
        }
    }

    /// A worker, as its own manager or whoever has taken it off the list of the idle knows it.
    pub(super) fn worker(&mut self, number: usize) -> &mut WorkerProcess {
        let worker = self.processes.get_mut(&number);
        worker.expect("a worker is there until its own manager takes it out")
    }

    /// Takes a worker off the list of the idle, if it is there.
    pub(super) fn withdraw(&mut self, number: usize) {
        self.idle.retain(|&idle| idle != number);
    }

    /// Takes out a worker whose process has ended, and says whether it was ready.
    pub(super) fn remove(&mut self, number: usize) -> (WorkerProcess, bool) {
        let worker = self.processes.remove(&number);
        let worker = worker.expect("only its own manager takes a worker out, and once");
        let ready = worker.connection.is_some();
        self.starting -= usize::from(!ready);
        self.summoned -= usize::from(worker.summoned);
        if let Some(command) = worker.command {
            self.command_is_free(command);
        }
        (worker, ready)
    }

    /// Whether there is a use for a worker that is starting, or has ended with no call in its hand.
    ///
    /// CPython: `is_shutting_down` in `process.py`.
    pub(super) fn is_wanted(&self, number: usize) -> bool {
        let doomed = self.processes[&number].doomed;
        !doomed && (self.shutdown.is_none() || !self.work_items.is_empty())
    }

    /// Whether all that there ever was has ended.
    pub(super) fn is_over(&self) -> bool {
        self.shutdown.is_some() && self.processes.is_empty() && self.watchdog.is_none()
    }

    /// Takes out the threads that have returned. Until they are joined, they have their stacks.
    pub(super) fn take_ended(&mut self) -> Vec<Arc<Thread>> {
        let ended = mem::take(&mut self.ended).into_iter();
        let (alive, ended) = ended.partition(|thread| thread.is_alive());
        self.ended = alive;
        ended
    }

    /// Whether this thread is one that `shutdown` would wait for.
    pub(super) fn is_managed_here(&self) -> bool {
        let managers = self.processes.values().map(|worker| &worker.thread);
        managers
            .chain(&self.ended)
            .any(|thread| thread.is_current())
    }

    /// Puts the next call into a worker's hand. If there is none, the worker is idle, or retired.
    pub(super) fn next_work_item(&mut self, number: usize, max_tasks: usize) -> Option<Item> {
        let shut_down = self.shutdown.is_some();
        let worker = self.worker(number);
        if worker.doomed {
            return None;
        }
        if worker.tasks >= max_tasks {
            worker.retire();
            return None;
        }
        let next = self.work_items.pop_front();
        match &next {
            Some(work_item) => {
                self.worker(number).in_hand = Some(InHand::new(Arc::clone(work_item), true));
            }
            None if shut_down => self.worker(number).retire(),
            None => self.idle.push(number),
        }
        next
    }

    /// Has an idle worker look into the queue.
    pub(super) fn summon(&mut self, number: usize) {
        self.summoned += 1;
        let worker = self.worker(number);
        worker.summoned = true;
        // If that fails, the worker is dying, and its manager sees to what is in the queue.
        worker.send(&Message::of_bytes(&[SUMMONS]));
    }

    /// Takes no more calls from here on, and lets the idle workers end. Returns the calls that were cancelled,
    /// for [`follow_up`](super::completion::follow_up).
    pub(super) fn shut_down(&mut self, by: Shutdown, cancel_futures: bool) -> Vec<Item> {
        self.shutdown = self.shutdown.or(Some(by));
        for number in mem::take(&mut self.idle) {
            self.worker(number).retire();
        }
        self.events += 1;
        let mut cancelled = Vec::new();
        if cancel_futures {
            for work_item in mem::take(&mut self.work_items) {
                if work_item.future.mark_cancelled() {
                    cancelled.push(work_item);
                } else {
                    // Marked as running from outside. Nobody but a worker can bring it to an end.
                    self.work_items.push_back(work_item);
                }
            }
        }
        cancelled
    }

    /// Takes all calls out of the queue, to fail with this.
    pub(super) fn fail_all(&mut self, exception: &Exception, failed: &mut Vec<(Item, Exception)>) {
        let work_items = mem::take(&mut self.work_items);
        failed.extend(work_items.into_iter().map(|item| (item, exception.clone())));
    }

    /// Fails what `shut_down` could not cancel, since it was marked as running from outside, and nobody will run.
    /// Returns it for [`follow_up`](super::completion::follow_up).
    pub(super) fn fail_marked(&mut self) -> Vec<Item> {
        let died = WorkerDied {
            pid: None,
            status: None,
            note: None,
        };
        let mut failed = Vec::new();
        self.fail_all(&Exception::new(died), &mut failed);
        mark_failed(failed)
    }

    /// Breaks the pool, unless it is broken, and returns what its calls fail with. Those in the queue are
    /// moved to `failed`. Those in the hands of workers fail when these have ended, which are killed here.
    ///
    /// CPython: `terminate_broken` in `process.py`.
    pub(super) fn terminate_broken(
        &mut self,
        broken: BrokenProcessPool,
        failed: &mut Vec<(Item, Exception)>,
    ) -> Exception {
        let exception = Exception::new(self.broken.get_or_insert(broken).clone());
        self.shutdown = self.shutdown.or(Some(Shutdown::Executor));
        self.idle.clear();
        for worker in self.processes.values_mut() {
            worker.kill();
        }
        self.fail_all(&exception, failed);
        exception
    }
}

/// What broke the pool may have an error of the user's in it, whose `Drop` may panic; and the last reference to the pool may
/// be anybody's: a manager's, or `_python_exit`'s, which has more to do then.
impl Drop for Pool {
    fn drop(&mut self) {
        let broken = self.lock().broken.take();
        LOGGER.log_panic("exception ignored while dropping an error", || drop(broken));
    }
}
