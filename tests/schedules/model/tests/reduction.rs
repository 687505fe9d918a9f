//! The reduced search finds what the plain one finds: for random small programs, the same set of outcomes.

use model::sync::atomic::{AtomicI32, Ordering};
use model::sync::{mpsc, Arc, Condvar, Mutex, Weak};
use model::time::Duration;
use model::{thread, Explorer, Mode};
use std::collections::BTreeSet;

#[derive(Clone, Copy, Debug)]
enum Statement {
    Add(usize, i32),
    Nested(i32),
    TryLock(usize),
    Load,
    Store(i32),
    FetchAdd(i32),
    Send(i32),
    TryRecv,
    Set,
    Wait,
    Spin(usize),
    Own,
    DropShared,
    Upgrade,
    /// Takes what may have been put there by another thread, and uses it.
    Take,
    Give,
}

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn statement(&mut self) -> Statement {
        let (which, number) = (self.below(2) as usize, self.below(3) as i32 + 1);
        match self.below(16) {
            0 => Statement::Add(which, number),
            1 => Statement::Nested(number),
            2 => Statement::TryLock(which),
            3 => Statement::Load,
            4 => Statement::Store(number),
            5 => Statement::FetchAdd(number),
            6 => Statement::Send(number),
            7 => Statement::TryRecv,
            8 => Statement::Set,
            9 => Statement::Wait,
            10 => Statement::Spin(which),
            11 => Statement::Own,
            12 => Statement::DropShared,
            13 => Statement::Upgrade,
            14 => Statement::Take,
            _ => Statement::Give,
        }
    }
}

struct Shared {
    numbers: [Mutex<i32>; 2],
    atomic: AtomicI32,
    receiver: Mutex<mpsc::Receiver<i32>>,
    flag: Mutex<i32>,
    condvar: Condvar,
    place: Mutex<Option<Arc<Mutex<i32>>>>,
}

/// Its last reference tells.
struct Told(Arc<Shared>);

impl Drop for Told {
    fn drop(&mut self) {
        *self.0.numbers[0].lock().unwrap() *= 7;
    }
}

fn execute(
    program: &[Statement],
    shared: &Shared,
    sender: &mpsc::Sender<i32>,
    mut told: Option<Arc<Told>>,
    weak: &Weak<Told>,
) -> Vec<i32> {
    let mut seen = Vec::new();
    for &statement in program {
        match statement {
            Statement::Add(which, number) => {
                let mut value = shared.numbers[which].lock().unwrap();
                *value = *value * 2 + number;
                seen.push(*value);
            }
            Statement::Nested(number) => {
                let first = shared.numbers[0].lock().unwrap();
                let mut second = shared.numbers[1].lock().unwrap();
                *second += *first * 3 + number;
            }
            Statement::TryLock(which) => seen.push(match shared.numbers[which].try_lock() {
                Ok(value) => *value,
                Err(_) => -1,
            }),
            Statement::Load => seen.push(shared.atomic.load(Ordering::SeqCst)),
            Statement::Store(number) => shared.atomic.store(number, Ordering::SeqCst),
            Statement::FetchAdd(number) => {
                seen.push(shared.atomic.fetch_add(number * 10, Ordering::SeqCst))
            }
            Statement::Send(number) => sender.send(number).unwrap(),
            Statement::TryRecv => {
                seen.push(shared.receiver.lock().unwrap().try_recv().unwrap_or(-2))
            }
            Statement::Set => {
                *shared.flag.lock().unwrap() += 1;
                shared.condvar.notify_one();
            }
            Statement::Wait => {
                let mut flag = shared.flag.lock().unwrap();
                if *flag == 0 {
                    flag = shared
                        .condvar
                        .wait_timeout(flag, Duration::from_secs(1))
                        .unwrap()
                        .0;
                }
                seen.push(*flag);
                *flag -= i32::from(*flag > 0);
            }
            Statement::Spin(which) => {
                let found = (0..5).find_map(|_| {
                    thread::yield_now();
                    shared.numbers[which]
                        .try_lock()
                        .ok()
                        .filter(|value| **value > 2)
                        .map(|value| *value)
                });
                seen.push(found.unwrap_or(-3));
            }
            Statement::Own => {
                let own = Mutex::new(1);
                *own.lock().unwrap() += 1;
                drop(own.try_lock());
            }
            Statement::DropShared => drop(told.take()),
            Statement::Upgrade => match weak.upgrade() {
                Some(_told) => shared.atomic.store(90, Ordering::SeqCst),
                None => *shared.numbers[1].lock().unwrap() += 40,
            },
            Statement::Give => {
                let given = Arc::new(Mutex::new(5));
                *given.lock().unwrap() += 1;
                *shared.place.lock().unwrap() = Some(given);
            }
            Statement::Take => {
                let taken = shared.place.lock().unwrap().clone();
                seen.push(taken.map_or(-4, |taken| {
                    let mut taken = taken.lock().unwrap();
                    *taken += 1;
                    *taken
                }));
            }
        }
    }
    seen
}

type Outcomes = BTreeSet<Vec<i32>>;

fn outcomes(programs: &[Vec<Statement>], preemptions: Option<u32>, mode: Mode) -> (Outcomes, u64) {
    let all: std::sync::Arc<std::sync::Mutex<Outcomes>> = Default::default();
    let (own, programs) = (all.clone(), programs.to_vec());
    let explorer = Explorer::new().preemptions(preemptions).mode(mode);
    let report = explorer.schedules(20_000).run(move || {
        let (sender, receiver) = mpsc::channel();
        let shared = Arc::new(Shared {
            numbers: [Mutex::new(1), Mutex::new(2)],
            atomic: AtomicI32::new(0),
            receiver: Mutex::new(receiver),
            flag: Mutex::new(0),
            condvar: Condvar::new(),
            place: Mutex::new(None),
        });
        let told = Arc::new(Told(shared.clone()));
        let weak = Arc::downgrade(&told);
        let mut threads = Vec::new();
        for program in &programs[1..] {
            let (program, shared, sender, told, weak) = (
                program.clone(),
                shared.clone(),
                sender.clone(),
                told.clone(),
                weak.clone(),
            );
            threads.push(thread::spawn(move || {
                execute(&program, &shared, &sender, Some(told), &weak)
            }));
        }
        let mut outcome = execute(&programs[0], &shared, &sender, Some(told), &weak);
        for thread in threads {
            outcome.push(-100);
            outcome.extend(thread.join().unwrap());
        }
        for number in &shared.numbers {
            outcome.push(*number.lock().unwrap());
        }
        outcome.push(shared.atomic.load(Ordering::SeqCst));
        own.lock().unwrap().insert(outcome);
    });
    if let Some(failure) = &report.failure {
        panic!("{}", failure.text());
    }
    let complete = report.complete;
    let mut all = all.lock().unwrap().clone();
    if !complete {
        all.clear();
    }
    (all, report.schedules)
}

#[test]
fn the_same_outcomes_as_without_reduction() {
    let programs: u64 = std::env::var("PROGRAMS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(150);
    let seed: u64 = std::env::var("SEED")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1);
    let (mut compared, mut plainly, mut reduced) = (0, 0, 0);
    for number in seed..seed + programs {
        let mut rng = Rng(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let threads = 2 + rng.below(2) as usize;
        let most = if threads == 2 { 4 } else { 2 };
        let programs: Vec<Vec<Statement>> = (0..threads)
            .map(|_| (0..1 + rng.below(most)).map(|_| rng.statement()).collect())
            .collect();
        for preemptions in [Some(0), Some(1), Some(2), None] {
            if preemptions.is_none() && programs.iter().map(Vec::len).sum::<usize>() > 4 {
                continue;
            }
            let (plain, run) = outcomes(&programs, preemptions, Mode::Plain);
            if plain.is_empty() {
                continue;
            }
            let (mine, run_reduced) = outcomes(&programs, preemptions, Mode::All);
            // Where a release is a step of its own, a preemption at it is one that the reduced search does
            // not need; so it may find more within the same bound, but never less.
            let missing: Vec<_> = plain.difference(&mine).collect();
            assert!(
                missing.is_empty(),
                "program {number}, {preemptions:?}: {programs:?}\nmissing: {missing:?}"
            );
            if preemptions.is_none() {
                assert_eq!(plain, mine, "program {number}: {programs:?}");
            }
            compared += 1;
            plainly += run;
            reduced += run_reduced;
        }
    }
    println!("{compared} searches compared: {plainly} schedules plainly, {reduced} with reduction");
    assert!(compared > 0);
}
