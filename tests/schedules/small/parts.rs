//! The queue and the condition, which are private to the crate.
#![no_std]
#![allow(dead_code, unused_imports)]
extern crate model as std;

use std::prelude::v1::*;
use std::{println, vec};

#[path = "@SRC@/stdlib/mod.rs"]
mod stdlib;

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use stdlib::queue::SimpleQueue;
use stdlib::threading::{Condition, Deadline, Event, Thread};

fn queue() -> Arc<SimpleQueue<i32>> {
    Arc::new(SimpleQueue::new())
}

fn get(queue: &Arc<SimpleQueue<i32>>) -> thread::JoinHandle<Option<i32>> {
    let queue = queue.clone();
    thread::spawn(move || queue.get())
}

fn soon() -> Deadline {
    Deadline::after(Some(Duration::from_secs(1)))
}

model::scenarios! {
    /// One puts, one gets: it may find the item, or sleep, or be about to.
    fn queue_put_and_get() {
        let queue = queue();
        let getter = get(&queue);
        queue.put(Some(1));
        assert_eq!(getter.join().unwrap(), Some(1));
        assert_eq!(queue.qsize(), 0);
    }

    /// The same, and the condition wakes for nothing.
    fn queue_get_is_woken_for_nothing [spurious(1)] () {
        let queue = queue();
        let getter = get(&queue);
        queue.put(Some(1));
        assert_eq!(getter.join().unwrap(), Some(1));
    }

    /// Two items for one thread, in their order.
    fn queue_keeps_the_order() {
        let queue = queue();
        let other = queue.clone();
        let getter = thread::spawn(move || (other.get(), other.get()));
        queue.put(Some(1));
        queue.put(Some(2));
        assert_eq!(getter.join().unwrap(), (Some(1), Some(2)));
        assert_eq!(queue.qsize(), 0);
    }

    /// Two get; each is told of one item.
    fn queue_two_getters() {
        let queue = queue();
        let getters = [get(&queue), get(&queue)];
        queue.put(Some(1));
        queue.put(Some(2));
        let mut got = getters.map(|getter| getter.join().unwrap().unwrap());
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
    }

    /// Two put, one gets both.
    fn queue_two_putters() {
        let queue = queue();
        let other = queue.clone();
        let putter = thread::spawn(move || other.put(Some(1)));
        let third = queue.clone();
        let getter = thread::spawn(move || third.get().unwrap() + third.get().unwrap());
        queue.put(Some(2));
        assert_eq!(getter.join().unwrap(), 3);
        putter.join().unwrap();
    }

    /// Who is told of an item counts as idle no longer: `put` says true for as many as were idle, at most.
    fn queue_announces_to_the_idle_only() {
        let queue = queue();
        let getter = get(&queue);
        let told = usize::from(queue.put(Some(1))) + usize::from(queue.put(Some(2)));
        assert!(told <= 1);
        assert_eq!(getter.join().unwrap(), Some(1));
        // Nobody is there any more to take the other.
        assert_eq!(queue.qsize(), 1);
        assert!(!queue.put(Some(3)));
    }

    /// An item that is put while somebody is idle may be taken by another; the one who was told waits again.
    fn queue_item_is_taken_by_another() {
        let queue = queue();
        let getter = get(&queue);
        let other = queue.clone();
        let thief = thread::spawn(move || other.get_nowait().ok().flatten());
        queue.put(Some(1));
        if thief.join().unwrap().is_some() {
            queue.put(Some(2));
            assert_eq!(getter.join().unwrap(), Some(2));
        } else {
            assert_eq!(getter.join().unwrap(), Some(1));
        }
        assert_eq!(queue.qsize(), 0);
    }

    /// The first channel has room for four: the fifth item goes to the one that follows, while the first is emptied.
    fn queue_grows_while_it_is_emptied() {
        let queue = queue();
        (1..=4).for_each(|item| drop(queue.put(Some(item))));
        let other = queue.clone();
        let getter = thread::spawn(move || [(); 5].map(|_| other.get().unwrap()));
        queue.put(Some(5));
        assert_eq!(getter.join().unwrap(), [1, 2, 3, 4, 5]);
        assert_eq!(queue.qsize(), 0);
    }

    /// The same, seen by somebody who does not wait: an item that is counted can be got.
    fn queue_growth_hides_nothing() {
        let queue = queue();
        (1..=4).for_each(|item| drop(queue.put(Some(item))));
        let other = queue.clone();
        let putter = thread::spawn(move || other.put(Some(5)));
        for item in 1..=4 {
            assert_eq!(queue.get_nowait().unwrap(), Some(item));
        }
        putter.join().unwrap();
        assert_eq!(queue.get_nowait().unwrap(), Some(5));
        assert!(queue.get_nowait().is_err());
    }

    /// `qsize` looks at both sides at once.
    fn queue_size_is_never_negative() {
        let queue = queue();
        let other = queue.clone();
        let user = thread::spawn(move || {
            other.put(Some(1));
            other.get_nowait().unwrap()
        });
        assert!(queue.qsize() <= 1);
        user.join().unwrap();
        assert_eq!(queue.qsize(), 0);
    }

    /// One sentinel ends two: who gets it puts it back.
    fn queue_sentinel_is_passed_on() {
        let queue = queue();
        let ends = [queue.clone(), queue.clone()].map(|queue| {
            thread::spawn(move || {
                assert_eq!(queue.get(), None);
                queue.put(None);
            })
        });
        queue.put(None);
        ends.map(|end| end.join().unwrap());
        assert_eq!(queue.qsize(), 0);
    }

    /// One waits, one changes the value and notifies.
    fn condition_wait_and_notify() {
        let condition = Arc::new(Condition::new(0));
        let other = condition.clone();
        let waiter = thread::spawn(move || *other.wait_for(|value| *value == 1, Deadline::Never));
        let mut value = condition.acquire();
        *value = 1;
        value.notify();
        assert_eq!(waiter.join().unwrap(), 1);
        assert_eq!(condition.acquire().sleepers(), 0);
    }

    /// Two wait: each of two notifications wakes another.
    fn condition_two_notifications() {
        let condition = Arc::new(Condition::new(0));
        let waiters = [condition.clone(), condition.clone()].map(|condition| {
            thread::spawn(move || *condition.wait_for(|value| *value > 0, Deadline::Never) -= 1)
        });
        for _ in 0..2 {
            let mut value = condition.acquire();
            *value += 1;
            value.notify();
        }
        waiters.map(|waiter| waiter.join().unwrap());
        assert_eq!(*condition.acquire(), 0);
        assert_eq!(condition.acquire().sleepers(), 0);
    }

    /// Two wait, one notification for all.
    fn condition_notify_all() {
        let condition = Arc::new(Condition::new(0));
        let waiters = [condition.clone(), condition.clone()].map(|condition| {
            thread::spawn(move || drop(condition.wait_for(|value| *value > 0, Deadline::Never)))
        });
        let mut value = condition.acquire();
        *value = 1;
        value.notify_all();
        waiters.map(|waiter| waiter.join().unwrap());
        assert_eq!(condition.acquire().sleepers(), 0);
    }

    /// A notification comes as the time is over: whichever it was, nobody is counted as asleep afterwards.
    fn condition_notify_against_time_out() {
        let condition = Arc::new(Condition::new(0));
        let other = condition.clone();
        let waiter = thread::spawn(move || drop(other.wait_for(|value| *value == 1, soon())));
        let mut value = condition.acquire();
        *value = 1;
        value.notify();
        waiter.join().unwrap();
        assert_eq!(condition.acquire().sleepers(), 0);
    }

    /// After a time-out, nobody is counted as asleep, and the next notification goes to the next who sleeps.
    fn condition_time_out_then_notify() {
        let condition = Arc::new(Condition::new(0));
        drop(condition.wait_for(|value| *value == 1, soon()));
        assert_eq!(condition.acquire().sleepers(), 0);
        let other = condition.clone();
        let waiter = thread::spawn(move || drop(other.wait_for(|value| *value == 1, Deadline::Never)));
        let mut value = condition.acquire();
        *value = 1;
        value.notify();
        waiter.join().unwrap();
        assert_eq!(condition.acquire().sleepers(), 0);
    }

    /// One waits for ever, one for a time, and there is one notification: it is not lost with the one whose time is over,
    /// since that one passes it on.
    fn condition_time_out_beside_a_waiter() {
        let condition = Arc::new(Condition::new(0));
        let waiters = [Deadline::Never, soon()].map(|deadline| {
            let condition = condition.clone();
            thread::spawn(move || {
                let mut value = condition.wait_for(|value| *value > 0, deadline);
                if *value > 0 {
                    *value = 2;
                    value.notify();
                }
            })
        });
        let mut value = condition.acquire();
        *value = 1;
        value.notify_all();
        waiters.map(|waiter| waiter.join().unwrap());
        assert_eq!(condition.acquire().sleepers(), 0);
    }

    /// Woken for nothing, a thread waits again, and the accounts of the sleepers hold.
    fn condition_woken_for_nothing [spurious(2)] () {
        let condition = Arc::new(Condition::new(0));
        let other = condition.clone();
        let waiter = thread::spawn(move || drop(other.wait_for(|value| *value == 1, Deadline::Never)));
        let mut value = condition.acquire();
        *value = 1;
        value.notify_all();
        waiter.join().unwrap();
        assert_eq!(condition.acquire().sleepers(), 0);
    }

    /// Set and cleared and set: whoever waits in between is woken by one of the two.
    fn event_set_and_clear() {
        let event = Arc::new(Event::new());
        let other = event.clone();
        let waiter = thread::spawn(move || drop(other.wait(Deadline::Never)));
        event.set();
        event.clear();
        event.set();
        waiter.join().unwrap();
    }

    /// Two join a thread: both return only when it has ended.
    fn thread_two_join() {
        let ended = Arc::new(Mutex::new(false));
        let thread = Thread::new();
        let flag = ended.clone();
        thread.start(thread::Builder::new(), move || *flag.lock().unwrap() = true).unwrap();
        let (other, flag) = (thread.clone(), ended.clone());
        let joiner = thread::spawn(move || {
            other.join(Deadline::Never);
            assert!(*flag.lock().unwrap());
        });
        thread.join(Deadline::Never);
        assert!(*ended.lock().unwrap());
        assert!(!thread.is_current());
        joiner.join().unwrap();
    }
}
