//! How far one queue for all workers goes: `cargo bench --bench scaling`. It measures what a task costs, and
//! which part of that only one thread at a time can do; simulates such a pool; holds the simulation against what this
//! machine shows on one processor and on two; and asks it about machines with more. `docs/scaling.md`
//! says what the tables mean. What can be added: `--quick`.

#[path = "../../src/stdlib/mod.rs"]
#[allow(dead_code, unused_imports)]
mod stdlib;

use concurrent_futures::{Executor, ThreadPoolExecutor};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};
use std::{env, thread};
use stdlib::queue::SimpleQueue;
use stdlib::threading::lock_busy;

/// How long a task computes, in nanoseconds.
const TASKS: [u64; 4] = [0, 1_000, 10_000, 100_000];
const PROCESSORS: [usize; 3] = [4, 16, 64];

/// How much is done for a figure.
#[derive(Clone, Copy)]
struct Scale {
    rounds: usize,
    /// Tasks of a measured round, and of a simulated one.
    tasks: usize,
}

fn main() {
    let arguments: Vec<String> = env::args().collect();
    let has = |flag| arguments.iter().any(|argument| argument == flag);
    // Without `--bench` this is `cargo test`, which only wants to know that everything runs.
    let (rounds, tasks) = match (has("--bench"), has("--quick")) {
        (true, false) => (60, 5_000),
        (true, true) => (5, 5_000),
        _ => (1, 1_000),
    };
    let scale = Scale { rounds, tasks };
    let spin = Spin::calibrate();
    if has(ONE_PROCESSOR) {
        // The other side of `on_one_processor`.
        for work in TASKS {
            println!("{}", measure(scale, &spin, 1, 1, work));
        }
        return;
    }
    let processors = thread::available_parallelism().map_or(1, |n| n.get());
    println!("{processors} processors, {tasks} tasks a round, the best of {rounds} rounds\n");
    let model = Model::measure(scale, processors);
    model.print();
    check(&model, scale, &spin, processors);
    predict(&model);
    limits(&model);
    remedies(&model);
}

// ---- What a task costs

/// Times in nanoseconds.
struct Model {
    /// What `submit` does with no lock that others want: above all, it allocates.
    submit_alone: f64,
    /// And with the shutdown lock, and under it `putting`.
    submit_locked: f64,
    /// What a worker does with `getting`.
    get_locked: f64,
    /// And without: runs a call that is empty, and completes its future.
    run_alone: f64,
    /// Brings a cache line from another processor.
    transfer: f64,
    /// How many tasks are simulated.
    tasks: usize,
}

/// So many cache lines come along with a lock whose last holder was another thread: its own, the ends of the
/// channel, the slot for the item.
const LINES: f64 = 3.0;

impl Model {
    fn measure(scale: Scale, processors: usize) -> Self {
        let best = |figure: &dyn Fn(usize) -> f64| {
            let figures = (0..scale.rounds).map(|_| figure(scale.tasks));
            figures.fold(f64::INFINITY, f64::min)
        };
        let submit = best(&|tasks| submit_and_run(tasks).0);
        let run = best(&|tasks| submit_and_run(tasks).1);
        let put = best(&|tasks| put_and_get(tasks).0);
        let get = best(&|tasks| put_and_get(tasks).1);
        let transfer = if processors > 1 { best(&transfer) } else { 0.0 };
        Model {
            submit_alone: (submit - put).max(0.0),
            submit_locked: put,
            get_locked: get,
            run_alone: (run - get).max(0.0),
            transfer,
            tasks: scale.tasks,
        }
    }

    fn print(&self) {
        println!("what a task costs, ns");
        for (name, figure) in [
            ("submit, outside of the locks", self.submit_alone),
            (
                "submit, with the shutdown lock and `putting`",
                self.submit_locked,
            ),
            ("a worker, with `getting`", self.get_locked),
            ("a worker, outside of it", self.run_alone),
            ("a cache line from another processor", self.transfer),
        ] {
            println!("  {name:<48} {figure:>7.1}");
        }
        println!();
    }

    /// What a processor has to do for a task that computes for so long.
    fn whole(&self, work: u64) -> f64 {
        self.submit_alone + self.submit_locked + self.get_locked + self.run_alone + work as f64
    }
}

fn per_task(start: Instant, tasks: usize) -> f64 {
    start.elapsed().as_nanos() as f64 / tasks as f64
}

/// What `submit` costs while the only worker is busy, and what a task costs that worker afterwards.
fn submit_and_run(tasks: usize) -> (f64, f64) {
    let pool = ThreadPoolExecutor::new(1).expect("a pool");
    let (sender, receiver) = channel::<()>();
    let busy = pool.submit(move || receiver.recv().is_err());
    drop(busy.expect("an open pool"));
    let start = Instant::now();
    for _ in 0..tasks {
        drop(pool.submit(|| ()).expect("an open pool"));
    }
    let submit = per_task(start, tasks);
    let start = Instant::now();
    drop(sender);
    pool.shutdown();
    (submit, per_task(start, tasks))
}

/// The two sections by themselves, with all locks there are in them, on one thread.
fn put_and_get(tasks: usize) -> (f64, f64) {
    let (shutdown_lock, queue) = (Mutex::new(()), SimpleQueue::new());
    let start = Instant::now();
    for number in 0..tasks {
        let _locked = lock_busy(&shutdown_lock);
        assert!(!queue.put(Some((number, number))), "nobody is idle");
    }
    let put = per_task(start, tasks);
    let start = Instant::now();
    while queue.get_nowait().is_ok() {}
    (put, per_task(start, tasks))
}

/// Two threads write to one line in turns. In short batches, of which the best counts: one of the two may be put
/// aside at any time.
fn transfer(times: usize) -> f64 {
    const BATCH: usize = 20;
    let limit = Duration::from_millis(20 + times as u64 / 20);
    let (turn, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                if turn.load(Ordering::Acquire) == 1 {
                    turn.store(0, Ordering::Release);
                }
            }
        });
        let mut best = f64::INFINITY;
        let began = Instant::now();
        while began.elapsed() < limit {
            let start = Instant::now();
            for _ in 0..BATCH {
                turn.store(1, Ordering::Release);
                while turn.load(Ordering::Acquire) == 1 {}
            }
            best = best.min(per_task(start, 2 * BATCH));
        }
        over.store(true, Ordering::Relaxed);
        best
    })
}

// ---- What this machine does

/// Computes for a time that does not depend on how often the thread is put aside.
struct Spin {
    rounds_in_a_microsecond: f64,
}

impl Spin {
    fn calibrate() -> Self {
        const ROUNDS: u64 = 100_000;
        let microseconds = |_| {
            let start = Instant::now();
            assert_ne!(spin(ROUNDS), 0);
            start.elapsed().as_secs_f64() * 1e6
        };
        let best = (0..20).map(microseconds).fold(f64::INFINITY, f64::min);
        Spin {
            rounds_in_a_microsecond: ROUNDS as f64 / best,
        }
    }
}

/// Each round needs the one before it: random numbers (xorshift).
fn spin(rounds: u64) -> u64 {
    (0..rounds).fold(1, |mut value, _| {
        value ^= value << 13;
        value ^= value >> 7;
        value ^ (value << 17)
    })
}

/// Tasks a second, of the best round: all are submitted, by so many threads at once, and the pool is shut down.
fn measure(scale: Scale, one: &Spin, submitters: usize, workers: usize, work: u64) -> f64 {
    let rounds = (work as f64 / 1e3 * one.rounds_in_a_microsecond) as u64;
    // Rounds of some milliseconds, so that there are some in which no thread is put aside.
    let tasks = scale.tasks.min(4_000_000 / (work as usize + 1)).max(40);
    let share = tasks / submitters;
    let round = |_| {
        let pool = ThreadPoolExecutor::new(workers).expect("a pool");
        let all_there = Arc::new(Barrier::new(workers + 1));
        for _ in 0..workers {
            let all_there = Arc::clone(&all_there);
            let started = pool.submit(move || all_there.wait().is_leader());
            drop(started.expect("an open pool"));
        }
        all_there.wait();
        let start = Instant::now();
        let submit = || {
            for _ in 0..share {
                drop(pool.submit(move || spin(rounds)).expect("an open pool"));
            }
        };
        thread::scope(|scope| {
            for _ in 1..submitters {
                scope.spawn(submit);
            }
            submit();
        });
        pool.shutdown();
        (share * submitters) as f64 / start.elapsed().as_secs_f64()
    };
    (0..scale.rounds).map(round).fold(0.0, f64::max)
}

const ONE_PROCESSOR: &str = "--one-processor";

/// [`measure`] for each size of task, in a process that has but one processor; `None` where there is no `taskset`.
fn on_one_processor() -> Option<Vec<f64>> {
    let arguments = env::args()
        .skip(1)
        .filter(|argument| argument != ONE_PROCESSOR);
    let output = Command::new("taskset")
        .args(["-c", "0"])
        .arg(env::current_exe().ok()?)
        .args(arguments)
        .arg(ONE_PROCESSOR)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let figures: Vec<f64> = text.lines().filter_map(|line| line.parse().ok()).collect();
    Some(figures).filter(|figures| figures.len() == TASKS.len())
}

// ---- What the model does

/// A pool, or one of several, under simulation. Times are in nanoseconds.
#[derive(Clone, Default)]
struct Pool {
    /// The submitters' locks: until when they are held, and by whom.
    putting: (f64, Option<usize>),
    getting: (f64, Option<usize>),
    /// When each item in the queue was put.
    items: VecDeque<f64>,
    idle: Vec<usize>,
}

/// So many threads on so many processors. Thread `n` is of pool `n % pools`.
#[derive(Clone, Copy)]
struct Machine {
    processors: usize,
    submitters: usize,
    workers: usize,
    pools: usize,
}

/// A time that can be ordered, in thousandths of a nanosecond.
type Ticks = u64;

fn ticks(nanoseconds: f64) -> Ticks {
    (nanoseconds * 1e3) as Ticks
}

/// Tasks a second. Whoever is ready first has the processor that is free first, and the lock when its holder
/// releases it; a lock that was another thread's comes with its lines. Sleeping and waking cost nothing.
fn simulate(model: &Model, machine: Machine, work: u64) -> f64 {
    let Machine {
        processors,
        submitters,
        workers,
        pools,
    } = machine;
    let handover = if processors > 1 {
        LINES * model.transfer
    } else {
        0.0
    };
    let taken = |lock: &mut (f64, Option<usize>), thread, at: f64, held: f64| {
        let from = at.max(lock.0);
        let comes = if lock.1 == Some(thread) {
            0.0
        } else {
            handover
        };
        *lock = (from + comes + held, Some(thread));
        lock.0
    };
    let mut left = vec![model.tasks / submitters; submitters];
    let mut all = vec![Pool::default(); pools];
    let mut free = vec![0.0_f64; processors];
    let mut ready = BinaryHeap::new();
    // The submitters come first, and so their numbers: one is of the pool of the workers beside it.
    ready.extend((0..submitters + workers).map(|thread| Reverse((0, thread))));
    let mut end = 0.0_f64;
    while let Some(Reverse((at, thread))) = ready.pop() {
        let is_submitter = thread < submitters;
        let number = if is_submitter {
            thread
        } else {
            thread - submitters
        };
        let pool = &mut all[number % pools];
        if !is_submitter && pool.items.is_empty() {
            pool.idle.push(thread);
            continue;
        }
        if is_submitter && left[thread] == 0 {
            continue;
        }
        let processor = (0..processors).min_by(|&a, &b| free[a].total_cmp(&free[b]));
        let processor = &mut free[processor.expect("a processor")];
        let mut at = (at as f64 / 1e3).max(*processor);
        if is_submitter {
            left[thread] -= 1;
            at = taken(
                &mut pool.putting,
                thread,
                at + model.submit_alone,
                model.submit_locked,
            );
            pool.items.push_back(at);
            if let Some(idle) = pool.idle.pop() {
                ready.push(Reverse((ticks(at), idle)));
            }
        } else if let Some(put) = pool.items.pop_front() {
            at = taken(&mut pool.getting, thread, at.max(put), model.get_locked);
            at += model.run_alone + work as f64;
            end = end.max(at);
        }
        *processor = at;
        ready.push(Reverse((ticks(at), thread)));
    }
    (model.tasks / submitters * submitters) as f64 / end * 1e9
}

// ---- The tables

fn size(work: u64) -> String {
    format!("{} us", work / 1000)
}

/// In thousands.
fn thousands(tasks_a_second: f64) -> String {
    format!("{:.0}", tasks_a_second / 1e3)
}

fn check(model: &Model, scale: Scale, spin: &Spin, processors: usize) {
    println!(
        "the check: thousands of tasks a second, measured, simulated, and the one over the other"
    );
    let row = |name: &str, machine: Machine, measured: &dyn Fn(usize, u64) -> f64| {
        print!("  {name:<44}");
        for (index, &work) in TASKS.iter().enumerate() {
            let (measured, simulated) = (measured(index, work), simulate(model, machine, work));
            let (one, other) = (thousands(measured), thousands(simulated));
            print!(
                " | {}: {one} {other} {:.2}",
                size(work),
                measured / simulated
            );
        }
        println!();
    };
    let machine = |processors, submitters, workers| Machine {
        processors,
        submitters,
        workers,
        pools: 1,
    };
    match on_one_processor() {
        Some(figures) => row(
            "1 processor, 1 submitter, 1 worker",
            machine(1, 1, 1),
            &|index, _| figures[index],
        ),
        None => println!("  (no taskset to measure on one processor with)"),
    }
    if processors > 1 {
        for (submitters, workers) in [(1, 1), (1, 2), (2, 2), (4, 4)] {
            let name =
                format!("{processors} processors, {submitters} submitting, {workers} working");
            row(
                &name,
                machine(processors, submitters, workers),
                &|_, work| measure(scale, spin, submitters, workers, work),
            );
        }
    }
    println!();
}

/// As many workers as processors, and one submitter or as many.
fn machine(processors: usize, many: bool) -> Machine {
    Machine {
        processors,
        submitters: if many { processors } else { 1 },
        workers: processors,
        pools: 1,
    }
}

fn submitters(many: bool) -> &'static str {
    if many {
        "as many submitters"
    } else {
        "one submitter"
    }
}

fn predict(model: &Model) {
    println!("predicted: thousands of tasks a second, and the share of what as many processors could do that share nothing");
    for processors in PROCESSORS {
        for many in [false, true] {
            let name = format!("{processors} processors, {}", submitters(many));
            print!("  {name:<44}");
            for work in TASKS {
                let simulated = simulate(model, machine(processors, many), work);
                let share = simulated / possible(model, processors, work);
                print!(" | {}: {} {share:.2}", size(work), thousands(simulated));
            }
            println!();
        }
    }
    println!();
}

/// What so many processors could do if they shared nothing.
fn possible(model: &Model, processors: usize, work: u64) -> f64 {
    processors as f64 / model.whole(work) * 1e9
}

/// How much longer a cache line takes from another socket, or so.
const FAR: f64 = 4.0;

fn limits(model: &Model) {
    println!("from which size of task on the pool does nine tenths of that, us; and if a cache line took {FAR} times as long");
    let far = Model {
        transfer: FAR * model.transfer,
        ..*model
    };
    let from = |model: &Model, machine: Machine| {
        let reaches = |&work: &u64| {
            let simulated = simulate(model, machine, work);
            simulated >= 0.9 * possible(model, machine.processors, work)
        };
        // In steps of a tenth.
        let sizes = (0..130).map(|step| (100.0 * 1.1_f64.powi(step)) as u64);
        let from = sizes.into_iter().find(reaches);
        from.map_or("none".to_owned(), |from| {
            format!("{:.1}", from as f64 / 1e3)
        })
    };
    for processors in PROCESSORS {
        for many in [false, true] {
            let name = format!("{processors} processors, {}", submitters(many));
            let machine = machine(processors, many);
            let (near, far) = (from(model, machine), from(&far, machine));
            println!("  {name:<44} {near:>8} {far:>8}");
        }
    }
    println!();
}

fn remedies(model: &Model) {
    println!(
        "what would help: thousands of tasks, or items, a second, as many submitters as processors"
    );
    for processors in PROCESSORS {
        for work in [0, 1_000] {
            let one = machine(processors, true);
            let split = |pools| simulate(model, Machine { pools, ..one }, work);
            // A chunk is a call, of a hundred times the work.
            let chunks = 100.0 * simulate(model, one, 100 * work);
            let name = format!("{processors} processors, tasks of {}", size(work));
            println!(
                "  {name:<36} one queue {}, two pools {}, four {}, a queue each {}, chunks of 100 {}",
                thousands(split(1)),
                thousands(split(2)),
                thousands(split(4)),
                thousands(split(processors)),
                thousands(chunks),
            );
        }
    }
}
