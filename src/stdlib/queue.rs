// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! What the port needs of Python's `queue`: the unbounded `SimpleQueue`, on `std::sync::mpsc`.
//!
//! An `mpsc` channel has one receiver. Shared behind a lock that is held while it waits, as in the
//! Rust Book's thread pool, every item wakes two threads: the one that waits on the channel, and then
//! the one that waits for the lock. Here nobody waits on the channel. Threads wait on the condition of
//! the putting side, which counts them, in these words:
//!
//! - A thread in `get` that found the queue empty is *idle*.
//! - An item that is put while a thread is idle is *announced*: there is one idle thread less, and one
//!   open announcement more. The first thread in `get` to see an open announcement answers it: takes it
//!   down, and then looks for the item.
//! - Of the threads that are idle, and those that have not answered yet, some are *asleep*. The others
//!   are *awake*: they look again before they sleep, or are just waking up, and so will see an
//!   announcement without being notified.

use super::threading::{lock, lock_busy, Condition, Deadline};
use std::collections::VecDeque;
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError, TrySendError};
use std::sync::Mutex;

/// `queue.SimpleQueue`. What it carries is an item or `None`, the sentinel that the pool's workers
/// pass on to each other when they end.
///
/// It has no bound, but is a chain of channels that have one. An unbounded channel allocates memory
/// every few items, which the getting thread frees. Where the allocator has locks for that, as
/// glibc's has, that thread and the one that makes the next items wait for each other, in the kernel.
/// Here a channel that is full is followed by one of twice its size, up to a limit: so nothing is
/// allocated while the items that wait fit into one channel, and one channel for a thousand if not.
///
/// Two locks, so that putting and getting do not wait for each other while there are items. Where
/// both are held, `putting` was taken first. A third, the innermost, is for the rest of the chain.
pub(in super::super) struct SimpleQueue<T> {
    /// Threads in `get` wait on it until there is an announcement.
    putting: Condition<Putting<T>>,
    getting: Mutex<Getting<T>>,
    /// The receivers of the channels behind the first one of the chain.
    following: Following<T>,
}

type Following<T> = Mutex<VecDeque<Receiver<Option<T>>>>;

/// What belongs to the side that puts.
struct Putting<T> {
    /// Sends into the last channel of the chain.
    sender: SyncSender<Option<T>>,
    /// How many items the last channel has room for.
    capacity: usize,
    /// Items put so far, sentinels not counted. It wraps around.
    items: usize,
    /// How many threads are idle.
    idle: usize,
    /// How many announcements are open.
    announced: usize,
}

/// What belongs to the side that gets. On a cache line of its own, as whoever gets would else slow down
/// whoever puts.
#[repr(align(64))]
struct Getting<T> {
    /// Receives from the first channel of the chain.
    receiver: Receiver<Option<T>>,
    /// Items got so far, sentinels not counted. It wraps around.
    items: usize,
}

/// A channel has all its memory from the start, and most pools never have many items waiting.
const MIN_CAPACITY: usize = 4;
/// Larger ones would save little more, and the last channel keeps its memory as long as the queue lives.
const MAX_CAPACITY: usize = 1024;

impl<T> Putting<T> {
    /// Sends, and chains a channel if this one is full. There is no other error, since the queue owns
    /// the receivers.
    #[inline]
    fn send(&mut self, item: Option<T>, following: &Following<T>) {
        if let Err(TrySendError::Full(item)) = self.sender.try_send(item) {
            self.capacity = MAX_CAPACITY.min(2 * self.capacity);
            let (sender, receiver) = mpsc::sync_channel(self.capacity);
            let _ = sender.try_send(item);
            lock(following).push_back(receiver);
            // The full channel has no sender now, and says so once it is empty.
            self.sender = sender;
        }
    }
}

impl<T> Getting<T> {
    #[inline]
    fn recv(&mut self, following: &Following<T>) -> Result<Option<T>, Empty> {
        loop {
            match self.receiver.try_recv() {
                Ok(item) => return Ok(item),
                Err(TryRecvError::Empty) => return Err(Empty),
                // The channel that follows was there before this one lost its sender.
                Err(TryRecvError::Disconnected) => {
                    self.receiver = lock(following).pop_front().ok_or(Empty)?;
                }
            }
        }
    }
}

/// `queue.Empty`.
#[derive(Debug)]
pub(in super::super) struct Empty;

impl<T> SimpleQueue<T> {
    pub(in super::super) fn new() -> Self {
        let (sender, receiver) = mpsc::sync_channel(MIN_CAPACITY);
        SimpleQueue {
            putting: Condition::new(Putting {
                sender,
                capacity: MIN_CAPACITY,
                items: 0,
                idle: 0,
                announced: 0,
            }),
            getting: Mutex::new(Getting { receiver, items: 0 }),
            following: Mutex::new(VecDeque::new()),
        }
    }

    /// Puts an item, or the sentinel. Returns whether it was announced, that is, whether an idle thread
    /// is counted on to come for it, so that the pool needs no other: `_idle_semaphore.acquire(timeout=0)` in
    /// CPython's `_adjust_thread_count`.
    #[inline]
    pub(in super::super) fn put(&self, item: Option<T>) -> bool {
        let mut putting = self.putting.acquire();
        putting.items = putting.items.wrapping_add(usize::from(item.is_some()));
        putting.send(item, &self.following);
        if putting.idle == 0 {
            return false;
        }
        let awake = putting.idle + putting.announced - putting.sleepers();
        putting.idle -= 1;
        putting.announced += 1;
        if putting.announced > awake {
            putting.notify();
        }
        true
    }

    /// The next item or sentinel, if there is one: `get(block=False)`.
    #[inline]
    pub(in super::super) fn get_nowait(&self) -> Result<Option<T>, Empty> {
        let mut getting = lock_busy(&self.getting);
        let item = getting.recv(&self.following)?;
        getting.items = getting.items.wrapping_add(usize::from(item.is_some()));
        Ok(item)
    }

    /// The next item or sentinel, waiting for one if need be.
    #[inline]
    pub(in super::super) fn get(&self) -> Option<T> {
        loop {
            if let Ok(item) = self.get_nowait() {
                return item;
            }
            let mut putting = self.putting.acquire();
            // Look again now that nothing can be put: counted as idle with an item in the queue,
            // this thread would be credited to a later item while it takes the earlier one
            // (CPython's window between `get_nowait` and `_idle_semaphore.release`).
            if let Ok(item) = self.get_nowait() {
                return item;
            }
            putting.idle += 1;
            drop(putting);
            self.putting
                .wait_for(|putting| putting.announced > 0, Deadline::Never)
                .announced -= 1;
            // The item that was announced may have gone to a thread that was not idle. Then look again,
            // and wait again.
        }
    }

    /// Takes out the items that `is_spent` says so of, in time linear in the number of all. The others and the
    /// sentinels stay in order. `is_spent` is called with the locks held.
    ///
    /// An idle thread that was told of an item that is taken out here looks, and waits again.
    pub(in super::super) fn take_out(&self, is_spent: impl Fn(&T) -> bool) -> Vec<T> {
        let mut putting = self.putting.acquire();
        let mut getting = lock(&self.getting);
        let mut items = Vec::new();
        while let Ok(item) = getting.recv(&self.following) {
            items.push(item);
        }
        let mut spent = Vec::new();
        for item in items {
            match item {
                Some(item) if is_spent(&item) => spent.push(item),
                item => putting.send(item, &self.following),
            }
        }
        getting.items = getting.items.wrapping_add(spent.len());
        spent
    }

    /// How many items wait, sentinels not counted.
    pub(in super::super) fn qsize(&self) -> usize {
        let putting = self.putting.acquire();
        let getting = lock(&self.getting);
        putting.items.wrapping_sub(getting.items)
    }
}
