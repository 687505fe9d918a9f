// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! What a worker that waits for a call of its own pool does with it; `_base/worker.rs` says when.

use super::super::_base::{Exception, Future, Work, LOGGER};
use super::super::stdlib::threading::lock;
use super::{_WorkItem, execute, Counted, Unfinished, WorkQueue};
use std::sync::{Arc, Mutex, Weak};

/// Stack for a call within another, and for what both need of it, as a rough measure: so deep, and no
/// deeper, calls are run within others.
pub(super) const STACK_OF_A_CALL: usize = 32 << 10;
/// What std gives a thread.
pub(super) const DEFAULT_STACK: usize = 2 << 20;

impl<F, T, E> Work<T> for _WorkItem<F>
where
    F: FnOnce() -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: Into<Exception>,
{
    fn discard(&self) {
        // Not dropped with the lock held.
        let f = lock(&self.f).take();
        drop(f);
    }

    fn help(&self, future: &Future<T>, unfinished: &Weak<Unfinished>) -> bool {
        // Held until the future is running. So whoever else comes for the call, and does not find it, can
        // tell from the future whether it was cancelled, and is to be taken off the count, or is run here.
        let mut f = lock(&self.f);
        if f.is_none() || !future.mark_running() {
            return false;
        }
        let call = f.take();
        drop(f);
        if let Some(call) = call {
            // What may panic here is `Drop` of a result that nobody wants.
            LOGGER.log_panic("Exception in worker", || {
                let unfinished = Some(unfinished);
                execute(future, call, &mut Counted { unfinished });
            });
        }
        true
    }
}

/// A call that was run by a worker that waited for it is still in the queue, and its future and value with
/// it. No other worker may meet it for long, if ever: they may all be in calls that go on like that. So now and
/// then a worker takes such calls out.
#[derive(Default)]
pub(super) struct Sweeper {
    /// How many calls were helped since the queue was swept.
    helped: Arc<Mutex<usize>>,
}

impl Sweeper {
    /// So many are left alone, lest small queues be swept all the time.
    const FEW: usize = 64;

    /// What a worker is to call when it has helped. It sweeps if there may be as many spent calls in the queue as
    /// others. So the time that it takes is, for each helped call, that for a few items.
    pub(super) fn sweep(
        &self,
        queue: &Arc<WorkQueue>,
        unfinished: &Weak<Unfinished>,
    ) -> Box<dyn Fn() + Send> {
        let (helped, queue, unfinished) = (
            Arc::clone(&self.helped),
            Arc::clone(queue),
            Weak::clone(unfinished),
        );
        Box::new(move || {
            let mut number = lock(&helped);
            *number += 1;
            let many = *number;
            drop(number);
            if many < Self::FEW || many < queue.qsize() / 2 {
                return;
            }
            *lock(&helped) = 0;
            for work_item in queue.take_out(|work_item| work_item.is_spent()) {
                // As a worker does that meets it: one that was cancelled is still counted.
                let mut counted = Counted {
                    unfinished: Some(&unfinished),
                };
                LOGGER.log_panic("Exception in worker", || work_item.run(&mut counted));
            }
        })
    }
}
