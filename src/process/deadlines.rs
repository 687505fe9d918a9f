// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! Ends calls that take longer than they may. CPython has no such thing.

use super::super::_base::{Exception, SubmitError};
use super::super::stdlib::threading::{Deadline, Thread};
use super::state::Executing;
use super::{CallTimeout, Pool};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

impl Executing {
    /// A call with a limit begins to run in this worker. Returns whether the watchdog has to be woken: it
    /// sleeps until a deadline that is later.
    pub(super) fn set_deadline(&mut self, number: usize, timeout: Duration) -> bool {
        let deadline = Instant::now().checked_add(timeout);
        if let Some(in_hand) = &mut self.worker(number).in_hand {
            in_hand.deadline = deadline;
        }
        let earliest = self.next_look.into_iter().chain(deadline).min();
        let earlier = earliest != self.next_look;
        self.next_look = earliest;
        self.events += u64::from(earlier);
        earlier
    }

    /// Kills the workers whose calls have run for too long, if it is time to look, and returns when to look
    /// again.
    fn kill_overdue(&mut self) -> Deadline {
        let now = Instant::now();
        if self.next_look.map_or(false, |next_look| next_look <= now) {
            let mut next: Option<Instant> = None;
            for worker in self.processes.values_mut() {
                if let Some(in_hand) = &mut worker.in_hand {
                    match in_hand.deadline {
                        Some(deadline) if deadline <= now => {
                            let timeout = in_hand.work_item.options.timeout.unwrap_or_default();
                            in_hand.deadline = None;
                            in_hand
                                .verdict
                                .get_or_insert_with(|| Exception::new(CallTimeout { timeout }));
                            worker.kill();
                        }
                        Some(deadline) => {
                            next = Some(next.map_or(deadline, |next| next.min(deadline)));
                        }
                        None => {}
                    }
                }
            }
            self.next_look = next;
        }
        self.next_look.map_or(Deadline::Never, Deadline::At)
    }
}

impl Pool {
    /// Starts the thread that watches the deadlines, if that was not done before.
    pub(super) fn watch_deadlines(
        self: &Arc<Self>,
        state: &mut Executing,
    ) -> Result<(), SubmitError> {
        if state.watchdog.is_none() {
            let thread = Thread::new();
            let pool = Arc::clone(self);
            let builder = thread::Builder::new().name("deadlines".to_owned());
            thread
                .start(builder, move || pool.watch())
                .map_err(SubmitError::Thread)?;
            state.watchdog = Some(thread);
        }
        Ok(())
    }

    /// What that thread does, until the pool is over.
    fn watch(&self) {
        let mut seen = None;
        let mut next = Deadline::Now;
        loop {
            let mut state = self
                .shutdown_lock
                .wait_for(|state| Some(state.events) != seen, next);
            seen = Some(state.events);
            next = state.kill_overdue();
            if state.shutdown.is_some() && state.processes.is_empty() {
                let thread = state.watchdog.take();
                state.ended.extend(thread);
                return state.notify_all();
            }
        }
    }
}
