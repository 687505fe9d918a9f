//! What the explorer finds, and that it says so.

use model::sync::{mpsc, Arc, Barrier, Condvar, Mutex};
use model::time::{Duration, Instant};
use model::{hint, thread, Explorer, Failure, Mode, Report};
use std::collections::BTreeSet;

fn failure(report: Report) -> Failure {
    report
        .failure
        .unwrap_or_else(|| panic!("nothing was found in {}", report.schedules))
}

#[test]
fn a_lost_update_takes_one_preemption() {
    let report = Explorer::new().run(|| {
        let number = Arc::new(Mutex::new(0));
        let other = number.clone();
        let add = |number: &Mutex<i32>| {
            let read = *number.lock().unwrap();
            *number.lock().unwrap() = read + 1;
        };
        let adder = thread::spawn(move || add(&other));
        add(&number);
        adder.join().unwrap();
        assert_eq!(*number.lock().unwrap(), 2);
    });
    let failure = failure(report);
    assert_eq!(failure.preemptions, 1, "{}", failure.text());
    assert!(failure.what.contains("main panicked"), "{}", failure.text());
    assert!(
        failure.table.contains("tests/finds.rs") || failure.table.contains("finds.rs:"),
        "{}",
        failure.text()
    );
}

#[test]
fn locks_in_two_orders_deadlock() {
    let report = Explorer::new().run(|| {
        let locks = Arc::new((Mutex::new(()), Mutex::new(())));
        let other = locks.clone();
        let second = thread::spawn(move || {
            let _b = other.1.lock().unwrap();
            let _a = other.0.lock().unwrap();
        });
        let a = locks.0.lock().unwrap();
        let b = locks.1.lock().unwrap();
        drop((a, b));
        second.join().unwrap();
    });
    let failure = failure(report);
    assert!(failure.what.contains("deadlock"), "{}", failure.text());
    assert!(
        failure.what.contains("which main holds"),
        "{}",
        failure.text()
    );
}

fn lost_wake_up(if_instead_of_while: bool) -> Report {
    Explorer::new().run(move || {
        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        let other = shared.clone();
        let setter = thread::spawn(move || {
            *other.0.lock().unwrap() = true;
            other.1.notify_one();
        });
        if if_instead_of_while {
            // Looks, lets go, and only then waits.
            let set = *shared.0.lock().unwrap();
            if !set {
                let guard = shared.0.lock().unwrap();
                drop(shared.1.wait(guard).unwrap());
            }
        } else {
            let guard = shared.0.lock().unwrap();
            drop(shared.1.wait_while(guard, |set| !*set).unwrap());
        }
        setter.join().unwrap();
    })
}

#[test]
fn a_wake_up_is_lost() {
    let failure = failure(lost_wake_up(true));
    assert!(
        failure.what.contains("for a notification"),
        "{}",
        failure.text()
    );
    let report = lost_wake_up(false);
    assert!(report.failure.is_none() && report.complete, "{report:?}");
}

#[test]
fn a_wake_up_for_nothing_is_an_option() {
    let program = || {
        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        let other = shared.clone();
        let setter = thread::spawn(move || {
            *other.0.lock().unwrap() = true;
            other.1.notify_one();
        });
        let mut guard = shared.0.lock().unwrap();
        if !*guard {
            guard = shared.1.wait(guard).unwrap();
        }
        assert!(*guard, "woken for nothing");
        drop(guard);
        setter.join().unwrap();
    };
    assert!(Explorer::new().run(program).failure.is_none());
    assert!(failure(Explorer::new().spurious(1).run(program))
        .table
        .contains("woken for nothing"));
}

#[test]
fn a_thread_is_left_behind() {
    let report = Explorer::new().run(|| {
        let (sender, receiver) = mpsc::channel::<()>();
        let kept = Arc::new(sender);
        let own = kept.clone();
        thread::spawn(move || {
            let _own = own;
            let _ = receiver.recv();
        });
    });
    assert!(failure(report).what.contains("left behind"));
}

#[test]
fn a_spin_that_never_ends() {
    let report = Explorer::new().run(|| {
        let flag = Mutex::new(false);
        while !*flag.lock().unwrap() {
            hint::spin_loop();
        }
    });
    let failure = failure(report);
    assert!(failure.what.contains("livelock"), "{}", failure.text());
}

#[test]
fn a_spin_ends_when_what_it_looks_at_changes() {
    for rounds in [3, 100_000] {
        let report = Explorer::new().run(move || {
            let flag = Arc::new(Mutex::new(false));
            let other = flag.clone();
            let setter = thread::spawn(move || *other.lock().unwrap() = true);
            let seen = (0..rounds).any(|_| {
                thread::yield_now();
                *flag.lock().unwrap()
            });
            assert!(seen || rounds == 3);
            setter.join().unwrap();
        });
        assert!(report.failure.is_none() && report.complete, "{report:?}");
    }
}

#[test]
fn both_sides_of_a_time_out() {
    let seen: std::sync::Arc<std::sync::Mutex<BTreeSet<(bool, bool)>>> = Default::default();
    let set = seen.clone();
    let report = Explorer::new().run(move || {
        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        let other = shared.clone();
        let start = Instant::now();
        let setter = thread::spawn(move || {
            *other.0.lock().unwrap() = true;
            other.1.notify_one();
        });
        let guard = shared.0.lock().unwrap();
        let (guard, result) = shared
            .1
            .wait_timeout_while(guard, Duration::from_secs(1), |set| !*set)
            .unwrap();
        let late = start.elapsed() >= Duration::from_secs(1);
        assert_eq!(result.timed_out(), !*guard);
        set.lock().unwrap().insert((*guard, late));
        drop(guard);
        setter.join().unwrap();
    });
    assert!(report.failure.is_none() && report.complete, "{report:?}");
    // Set after the time, but before it has the lock again: late, and yet set.
    let expected = [(false, true), (true, false), (true, true)];
    assert!(
        seen.lock().unwrap().iter().eq(&expected),
        "{:?}",
        seen.lock().unwrap()
    );
}

#[test]
fn a_schedule_is_replayed() {
    let program = || {
        let number = Arc::new(Mutex::new(0));
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let number = number.clone();
                thread::spawn(move || {
                    let read = *number.lock().unwrap();
                    *number.lock().unwrap() = read + 1;
                })
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert!(*number.lock().unwrap() > 1, "lost two");
    };
    for mode in [Mode::All, Mode::Plain, Mode::Random, Mode::Pct] {
        let failure = failure(Explorer::new().mode(mode).schedules(100_000).run(program));
        assert!(
            failure.table.contains("lost two"),
            "{mode:?} {}",
            failure.text()
        );
    }
}

#[test]
fn channels_and_barriers() {
    let report = Explorer::new().run(|| {
        let (sender, receiver) = mpsc::sync_channel(1);
        let barrier = Arc::new(Barrier::new(2));
        let own = barrier.clone();
        let other = thread::spawn(move || {
            for number in 0..3 {
                sender.send(number).unwrap();
            }
            own.wait().is_leader()
        });
        assert!(receiver.recv().unwrap() == 0);
        let leader = barrier_after(&receiver, &barrier);
        assert!(leader != other.join().unwrap());
        assert!(receiver.recv().is_err());
    });
    assert!(report.failure.is_none() && report.complete, "{report:?}");

    fn barrier_after(receiver: &mpsc::Receiver<i32>, barrier: &Barrier) -> bool {
        assert_eq!(receiver.recv(), Ok(1));
        assert_eq!(receiver.recv(), Ok(2));
        barrier.wait().is_leader()
    }
}

#[test]
fn rendezvous() {
    let report = Explorer::new().run(|| {
        let (sender, receiver) = mpsc::sync_channel(0);
        let other = thread::spawn(move || sender.send(7).unwrap());
        assert_eq!(receiver.recv(), Ok(7));
        other.join().unwrap();
        assert!(receiver.recv().is_err());
    });
    assert!(report.failure.is_none() && report.complete, "{report:?}");
}

#[test]
fn parked_threads() {
    let report = Explorer::new().run(|| {
        let main = thread::current();
        let other = thread::Builder::new()
            .name("other".to_owned())
            .spawn(move || main.unpark())
            .unwrap();
        assert_eq!(other.thread().name(), Some("other"));
        thread::park();
        other.join().unwrap();
    });
    assert!(report.failure.is_none() && report.complete, "{report:?}");
    let report = Explorer::new().run(thread::park);
    assert!(failure(report).what.contains("to be unparked"));
}

model::thread_local! {
    static NUMBER: std::cell::Cell<i32> = const { std::cell::Cell::new(0) };
    static NOTED: Noted = Noted;
}

struct Noted;

impl Drop for Noted {
    fn drop(&mut self) {
        assert!(NUMBER.try_with(std::cell::Cell::get).is_err());
    }
}

#[test]
fn each_thread_of_each_schedule_has_its_own() {
    let report = Explorer::new().run(|| {
        let add = || {
            NUMBER.with(|number| number.set(number.get() + 1));
            NOTED.with(|_| ());
            assert_eq!(NUMBER.with(std::cell::Cell::get), 1);
        };
        let other = thread::spawn(add);
        add();
        other.join().unwrap();
    });
    assert!(report.failure.is_none() && report.complete, "{report:?}");
}

#[test]
fn a_panic_that_is_expected() {
    let program = |allowed: bool| {
        move || {
            if allowed {
                model::allow_panics();
            }
            let other = thread::spawn(|| panic!("on purpose"));
            assert!(other.join().is_err());
        }
    };
    assert!(failure(Explorer::new().run(program(false)))
        .what
        .contains("thread 1 panicked: on purpose"));
    assert!(Explorer::new().run(program(true)).failure.is_none());
}
