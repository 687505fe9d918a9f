//! Java's classic bounded buffer, `ArrayBlockingQueue`: a ring of slots, one lock, two conditions.
//! Producers and consumers run on a thread pool. `docs/conditions.md` explains it.
//!
//! ```sh
//! cargo run --example array_blocking_queue
//! ```

#[macro_use]
#[path = "printing/pipe.rs"]
mod pipe;

use concurrent_futures::{wait, Executor, ThreadPoolExecutor, ALL_COMPLETED};
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// A queue that holds at most so many items: who puts waits while it is full, who takes waits while
/// it is empty.
pub struct ArrayBlockingQueue<T> {
    lock: Mutex<Ring<T>>,
    /// Signalled once for every item that was taken: there is room for one.
    not_full: Condvar,
    /// Signalled once for every item that was put: there is something for one.
    not_empty: Condvar,
}

struct Ring<T> {
    slots: Box<[Option<T>]>,
    take_index: usize,
    put_index: usize,
    count: usize,
}

impl<T> Ring<T> {
    fn is_full(&self) -> bool {
        self.count == self.slots.len()
    }

    fn enqueue(&mut self, item: T) {
        self.slots[self.put_index] = Some(item);
        self.put_index = (self.put_index + 1) % self.slots.len();
        self.count += 1;
    }

    fn dequeue(&mut self) -> Option<T> {
        let item = self.slots[self.take_index].take()?;
        self.take_index = (self.take_index + 1) % self.slots.len();
        self.count -= 1;
        Some(item)
    }
}

impl<T> ArrayBlockingQueue<T> {
    /// A queue for `capacity` items.
    ///
    /// # Panics
    ///
    /// If `capacity` is zero: nobody could ever put anything.
    pub fn new(capacity: usize) -> Self {
        assert!(capacity > 0, "a queue without slots");
        ArrayBlockingQueue {
            lock: Mutex::new(Ring {
                slots: (0..capacity).map(|_| None).collect(),
                take_index: 0,
                put_index: 0,
                count: 0,
            }),
            not_full: Condvar::new(),
            not_empty: Condvar::new(),
        }
    }

    fn ring(&self) -> MutexGuard<'_, Ring<T>> {
        // No code of the user's runs while it is held, so nobody can have poisoned it.
        self.lock.lock().unwrap()
    }

    /// Puts an item, and waits for room as long as it takes.
    pub fn put(&self, item: T) {
        let mut ring = self.ring();
        while ring.is_full() {
            ring = self.not_full.wait(ring).unwrap();
        }
        ring.enqueue(item);
        drop(ring);
        self.not_empty.notify_one();
    }

    /// Puts an item if there is room now, and gives it back if not.
    pub fn offer(&self, item: T) -> Result<(), T> {
        self.offer_timeout(item, Duration::ZERO)
    }

    /// Puts an item, and waits for room no longer than `timeout`; then it gives the item back.
    pub fn offer_timeout(&self, item: T, timeout: Duration) -> Result<(), T> {
        let mut ring = wait_until(&self.not_full, self.ring(), timeout, |r| !r.is_full());
        if ring.is_full() {
            return Err(item);
        }
        ring.enqueue(item);
        drop(ring);
        self.not_empty.notify_one();
        Ok(())
    }

    /// Takes the oldest item, and waits for one as long as it takes.
    pub fn take(&self) -> T {
        let mut ring = self.ring();
        loop {
            match ring.dequeue() {
                Some(item) => {
                    drop(ring);
                    self.not_full.notify_one();
                    return item;
                }
                None => ring = self.not_empty.wait(ring).unwrap(),
            }
        }
    }

    /// Takes the oldest item, if there is one now.
    pub fn poll(&self) -> Option<T> {
        self.poll_timeout(Duration::ZERO)
    }

    /// Takes the oldest item, and waits for one no longer than `timeout`.
    pub fn poll_timeout(&self, timeout: Duration) -> Option<T> {
        let mut ring = wait_until(&self.not_empty, self.ring(), timeout, |r| r.count > 0);
        let item = ring.dequeue()?;
        drop(ring);
        self.not_full.notify_one();
        Some(item)
    }

    /// How many items are in it.
    pub fn size(&self) -> usize {
        self.ring().count
    }

    /// How many more it can hold.
    pub fn remaining_capacity(&self) -> usize {
        let ring = self.ring();
        ring.slots.len() - ring.count
    }
}

impl<T> fmt::Debug for ArrayBlockingQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArrayBlockingQueue")
            .field("size", &self.size())
            .field("remaining_capacity", &self.remaining_capacity())
            .finish()
    }
}

/// Waits until `ready` or until the time is over: `Condvar::wait_timeout_while`, written out. A
/// wake-up by itself says nothing, so it looks again after each, and waits for what is left.
fn wait_until<'a, T>(
    condition: &Condvar,
    mut ring: MutexGuard<'a, Ring<T>>,
    timeout: Duration,
    ready: impl Fn(&Ring<T>) -> bool,
) -> MutexGuard<'a, Ring<T>> {
    let start = Instant::now();
    while !ready(&ring) {
        match timeout.checked_sub(start.elapsed()) {
            None | Some(Duration::ZERO) => break,
            Some(left) => ring = condition.wait_timeout(ring, left).unwrap().0,
        }
    }
    ring
}

fn main() -> Result<(), Box<dyn Error>> {
    const PRODUCERS: u64 = 3;
    const CONSUMERS: usize = 2;
    const ITEMS: u64 = 1000;

    let queue = Arc::new(ArrayBlockingQueue::new(8));
    // A thread for each: a producer that waits for room must not keep a consumer from starting.
    let pool = ThreadPoolExecutor::new(PRODUCERS as usize + CONSUMERS)?;

    let mut producers = Vec::new();
    for producer in 0..PRODUCERS {
        let queue = Arc::clone(&queue);
        producers.push(pool.submit(move || {
            for n in 0..ITEMS {
                queue.put(Some(producer * ITEMS + n));
            }
        })?);
    }
    let mut consumers = Vec::new();
    for _ in 0..CONSUMERS {
        let queue = Arc::clone(&queue);
        consumers.push(pool.submit(move || {
            let (mut count, mut sum) = (0, 0);
            // `None` is the sentinel: no more items for this consumer.
            while let Some(n) = queue.take() {
                count += 1;
                sum += n;
            }
            (count, sum)
        })?);
    }

    let _ = wait(producers, None, ALL_COMPLETED);
    for _ in 0..CONSUMERS {
        queue.put(None);
    }
    let (mut count, mut sum) = (0, 0);
    for consumer in consumers {
        let (its_count, its_sum) = consumer.result(None)?;
        count += its_count;
        sum += its_sum;
    }
    println!("{count} items went through 8 slots; their sum is {sum}");
    println!("left: {queue:?}");

    // Now that nobody takes anything, the time-outs.
    for n in 0..8 {
        queue.put(Some(n));
    }
    println!("offer to a full queue: {:?}", queue.offer(Some(8)));
    let timeout = Duration::from_millis(20);
    println!(
        "and with a time-out: {:?}",
        queue.offer_timeout(Some(8), timeout)
    );
    while queue.poll().is_some() {}
    println!("poll of an empty queue: {:?}", queue.poll_timeout(timeout));

    pool.shutdown();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;

    /// Fails if the body has not ended in a minute.
    fn watchdog(what: &str, body: impl FnOnce() + Send + 'static) {
        let (sender, receiver) = mpsc::channel();
        let thread = thread::spawn(move || {
            body();
            let _ = sender.send(());
        });
        if let Err(mpsc::RecvTimeoutError::Timeout) = receiver.recv_timeout(Duration::from_secs(60))
        {
            panic!("hung: {what}");
        }
        thread.join().unwrap();
    }

    #[test]
    fn items_come_out_in_the_order_in_which_they_went_in() {
        let queue = ArrayBlockingQueue::new(3);
        for round in 0..10 {
            queue.put(round);
            queue.put(round + 100);
            assert_eq!(queue.size(), 2);
            assert_eq!(queue.remaining_capacity(), 1);
            assert_eq!(queue.take(), round);
            assert_eq!(queue.poll(), Some(round + 100));
        }
        assert_eq!(queue.poll(), None);
    }

    #[test]
    fn a_full_queue_gives_the_item_back() {
        let queue = ArrayBlockingQueue::new(1);
        assert_eq!(queue.offer("a"), Ok(()));
        assert_eq!(queue.offer("b"), Err("b"));
        let timeout = Duration::from_millis(5);
        let start = Instant::now();
        assert_eq!(queue.offer_timeout("b", timeout), Err("b"));
        assert!(start.elapsed() >= timeout);
        assert_eq!(queue.take(), "a");
        let start = Instant::now();
        assert_eq!(queue.poll_timeout(timeout), None);
        assert!(start.elapsed() >= timeout);
    }

    #[test]
    fn put_waits_for_take_and_take_for_put() {
        watchdog("two threads and one slot", || {
            let there = Arc::new(ArrayBlockingQueue::new(1));
            let back = Arc::new(ArrayBlockingQueue::new(1));
            let pool = ThreadPoolExecutor::new(1).unwrap();
            let (its_there, its_back) = (Arc::clone(&there), Arc::clone(&back));
            let echo = pool
                .submit(move || {
                    for _ in 0..2000 {
                        its_back.put(its_there.take());
                    }
                })
                .unwrap();
            for n in 0..2000 {
                there.put(n);
                assert_eq!(back.take(), n);
            }
            echo.result(None).unwrap();
        });
    }

    #[test]
    fn nothing_is_lost_or_doubled_between_many() {
        watchdog("four producers and four consumers", || {
            let queue = Arc::new(ArrayBlockingQueue::new(2));
            let pool = ThreadPoolExecutor::new(8).unwrap();
            let consumers: Vec<_> = (0..4)
                .map(|n| {
                    let queue = Arc::clone(&queue);
                    let some = move || -> Vec<u32> {
                        let next = || match n % 2 {
                            0 => queue.take(),
                            _ => loop {
                                if let Some(item) = queue.poll_timeout(Duration::from_millis(1)) {
                                    break item;
                                }
                            },
                        };
                        std::iter::from_fn(next).collect()
                    };
                    pool.submit(some).unwrap()
                })
                .collect();
            let producers: Vec<_> = (0..4)
                .map(|n| {
                    let queue = Arc::clone(&queue);
                    let all = move || {
                        for item in 0..500 {
                            let mut item = Some(n * 500 + item);
                            if n % 2 == 0 {
                                queue.put(item);
                                continue;
                            }
                            while let Err(back) =
                                queue.offer_timeout(item, Duration::from_millis(1))
                            {
                                item = back;
                            }
                        }
                    };
                    pool.submit(all).unwrap()
                })
                .collect();
            assert_eq!(wait(producers, None, ALL_COMPLETED).done.len(), 4);
            for _ in 0..4 {
                queue.put(None);
            }
            let mut items = Vec::new();
            for consumer in consumers {
                let its_items = consumer.result(None).unwrap();
                items.extend(its_items);
            }
            items.sort_unstable();
            assert_eq!(items, (0..2000).collect::<Vec<_>>());
        });
    }

    #[test]
    fn the_program_runs() {
        watchdog("main", || main().unwrap());
    }
}
