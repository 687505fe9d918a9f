//! What is compared with what, and what the ratio is meant to be.

use crate::harness::{Contender, Figures, Options, Report};
use crate::runners::{Elsewhere, Here, Runner, NAME};
use crate::workloads::{fan_out, ping_pong_busy, resident_bytes, Blocked};
use concurrent_futures::{Executor, Future, ThreadPoolExecutor};
use std::cell::RefCell;
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

pub type Runners = Vec<RefCell<Box<dyn Runner>>>;

/// This process, and the other programs that it was asked to compare itself with.
pub fn runners(options: &Options) -> io::Result<Runners> {
    let mut runners: Vec<Box<dyn Runner>> = vec![Box::new(Here::default())];
    if let Some(command) = &options.against {
        runners.push(Box::new(Elsewhere::command(command)?));
    }
    if let Some(program) = &options.python {
        runners.push(Box::new(Elsewhere::python(program)?));
    }
    Ok(runners.into_iter().map(RefCell::new).collect())
}

/// This crate and CPython, each with the settings of glibc's allocator that most programs run with.
pub fn runners_with_usual_memory(options: &Options) -> io::Result<Runners> {
    let mut runners: Vec<Box<dyn Runner>> = vec![Box::new(Elsewhere::with_usual_memory()?)];
    if let Some(program) = &options.python {
        runners.push(Box::new(Elsewhere::python_with_usual_memory(program)?));
    }
    Ok(runners.into_iter().map(RefCell::new).collect())
}

fn contender<'a>(
    runner: &'a RefCell<Box<dyn Runner>>,
    workload: &'static str,
    workers: usize,
    tasks: usize,
) -> Contender<'a> {
    let who = runner.borrow().name().to_owned();
    let tasks = runner.borrow().share(tasks);
    let run = move || runner.borrow_mut().run(workload, workers, tasks);
    Contender::new(at_workers(workers), who, tasks, run)
}

fn at_workers(workers: usize) -> String {
    format!("{workers} worker{}", if workers == 1 { "" } else { "s" })
}

/// The four workloads, at 2 and at 8 workers.
pub fn workloads(report: &mut Report, options: &Options) -> io::Result<()> {
    let runners = runners(options)?;
    let scale = &options.scale;
    for (workload, tasks) in [
        ("fan-out", scale.tasks),
        ("ping-pong", scale.tasks / 20),
        ("producers", scale.tasks),
        ("completed", scale.tasks),
    ] {
        for workers in [2, 8] {
            if !options.picks(workload, &at_workers(workers)) {
                continue;
            }
            let contenders = runners
                .iter()
                .map(|runner| contender(runner, workload, workers, tasks))
                .collect();
            let figures = report.compare(workload, "ns/task", contenders);
            for (runner, other) in runners.iter().zip(&figures).skip(1) {
                let runner = runner.borrow();
                let what = format!("{}, against {}", at_workers(workers), runner.name());
                report.goal(workload, &what, figures[0].over(*other), runner.at_most());
            }
        }
    }
    Ok(())
}

/// What the rounds of the workloads do not show, since they follow others: a fan-out on a new pool, in
/// a new process, beside the next one in the same process. And the same of the boxes that so many tasks
/// take, without tasks: what new memory costs, whoever asks for it.
pub fn first_burst(report: &mut Report, options: &Options) -> io::Result<()> {
    let tasks = options.scale.tasks;
    for (case, workload, workers, at_most) in [
        (at_workers(2), "fan-out", 2, Some(1.4)),
        (at_workers(8), "fan-out", 8, Some(1.4)),
        ("boxes alone".to_owned(), "boxes", 2, None),
    ] {
        if !options.picks("first burst", &case) {
            continue;
        }
        let figure = move |number: usize| match Elsewhere::this_program() {
            Ok(mut runner) => {
                let rounds = (0..number).map(|_| runner.run(workload, workers, tasks));
                rounds.last().expect("a round")
            }
            Err(error) => panic!("another process: {error}"),
        };
        let contenders = vec![
            Contender::new(case.clone(), NAME.to_owned(), tasks, move || figure(1)),
            Contender::new(
                format!("{case}, the second"),
                NAME.to_owned(),
                tasks,
                move || figure(2),
            ),
        ];
        let figures = report.compare("first burst", "ns/task", contenders);
        let what = format!("{case}, over the second");
        report.goal("first burst", &what, figures[0].over(figures[1]), at_most);
    }
    Ok(())
}

/// Ping-pong with calls that take some microseconds, which is about as long as a thread looks around
/// before it sleeps.
pub fn short_calls(report: &mut Report, options: &Options) -> io::Result<()> {
    let tasks = options.scale.tasks / 50;
    for micros in [1, 3, 10] {
        let case = format!("of {micros} us");
        if !options.picks("short calls", &case) {
            continue;
        }
        let pool = ThreadPoolExecutor::new(2).expect("a pool");
        let run = move || ping_pong_busy(&pool, tasks, Duration::from_micros(micros));
        let contender = Contender::new(case, NAME.to_owned(), tasks, run);
        report.compare("short calls", "ns/task", vec![contender]);
    }
    Ok(())
}

/// `map` beside what it replaces, at several sizes of its chunks.
pub fn map(report: &mut Report, options: &Options) -> io::Result<()> {
    let items = options.scale.mapped;
    let here = &RefCell::new(Box::new(Here::default()) as Box<dyn Runner>);
    for (case, map, by_hand, share, at_most) in [
        ("1000 items a call", "map-1000", "by-hand-1000", 1, 1.3),
        ("256 items a call", "map-256", "by-hand-256", 1, 1.3),
        ("16 items a call", "map-16", "by-hand-16", 4, 1.3),
        ("1 item a call", "map-1", "by-hand-1", 20, 1.25),
    ] {
        if !options.picks("map", case) {
            continue;
        }
        let contender = |workload: &'static str, who: &str| {
            let run = move || here.borrow_mut().run(workload, 2, items / share);
            Contender::new(case.to_owned(), who.to_owned(), items / share, run)
        };
        let contenders = vec![
            contender(map, NAME),
            contender(by_hand, "submit, take_result"),
        ];
        let figures = report.compare("map", "ns/item", contenders);
        let what = format!("{case}, over calls by hand");
        report.goal("map", &what, figures[0].over(figures[1]), Some(at_most));
    }
    Ok(())
}

/// A task that waits for calls of its own pool, one after the other: the worker that it is on runs them
/// itself, or another one does, for which the pool is told not to help.
pub fn helped_calls(report: &mut Report, options: &Options) -> io::Result<()> {
    let case = at_workers(2);
    if !options.picks("helped calls", &case) {
        return Ok(());
    }
    let tasks = options.scale.tasks / 10;
    let contender = |helps: bool, who: &str| {
        let pool = ThreadPoolExecutor::builder()
            .max_workers(2)
            .help_while_waiting(helps)
            .build()
            .expect("a pool");
        let run = move || {
            let its_own = pool.clone();
            let task = move || ping_pong_busy(&its_own, tasks, Duration::ZERO);
            let future = pool.submit(task).expect("an open pool");
            future.take_result(None).expect("a result")
        };
        Contender::new(case.clone(), who.to_owned(), tasks, run)
    };
    let contenders = vec![contender(true, NAME), contender(false, "the other worker")];
    let figures = report.compare("helped calls", "ns/task", contenders);
    let what = format!("{case}, over the other worker");
    report.goal(
        "helped calls",
        &what,
        figures[0].over(figures[1]),
        Some(1.0),
    );
    Ok(())
}

/// `as_completed` beside a channel to which the tasks themselves send their results.
pub fn one_channel(report: &mut Report, options: &Options) -> io::Result<()> {
    let tasks = options.scale.tasks;
    let here = &RefCell::new(Box::new(Here::default()) as Box<dyn Runner>);
    for workers in [2, 8] {
        let case = at_workers(workers);
        if !options.picks("one channel", &case) {
            continue;
        }
        let contender = |workload: &'static str, who: &str| {
            let run = move || here.borrow_mut().run(workload, workers, tasks);
            Contender::new(case.clone(), who.to_owned(), tasks, run)
        };
        let contenders = vec![
            contender("completed", NAME),
            contender("one-channel", "tasks that send"),
        ];
        let figures = report.compare("one channel", "ns/task", contenders);
        let what = format!("{case}, as_completed over it");
        report.goal("one channel", &what, figures[0].over(figures[1]), Some(1.0));
    }
    Ok(())
}

/// What a task costs among ten thousand, and among a million.
pub fn growth(report: &mut Report, options: &Options) -> io::Result<()> {
    let sizes = options.scale.sizes;
    let largest = sizes[sizes.len() - 1];
    use Memory::{Kept, Usual};
    for (case, workload, memory) in [
        ("submit and collect", "fan-out", Kept),
        ("wait, FIRST_COMPLETED", "wait-first-completed", Kept),
        ("wait, FIRST_EXCEPTION", "wait-first-exception", Kept),
        ("wait, ALL_COMPLETED", "wait-all-completed", Kept),
        (
            "wait, FIRST_COMPLETED, malloc",
            "wait-first-completed",
            Usual,
        ),
        (
            "wait, FIRST_EXCEPTION, malloc",
            "wait-first-exception",
            Usual,
        ),
        ("wait, ALL_COMPLETED, malloc", "wait-all-completed", Usual),
        ("a set of as many futures", "set", Kept),
        ("a FutureSet of as many", "future-set", Kept),
        ("as_completed", "completed", Kept),
        ("map", "map", Kept),
        ("cancel all", "cancel", Kept),
        ("shutdown, cancel_futures", "shutdown-cancel", Kept),
    ] {
        if !options.picks("growth", case) {
            continue;
        }
        let (who, at_most) = match workload {
            "set" => ("std HashSet", None),
            "future-set" => (NAME, None),
            _ => (NAME, Some(1.3)),
        };
        // Each size in a process of its own: ten thousand tasks that find the heap that a million
        // left behind are slower than by themselves.
        let mut contenders = Vec::new();
        for &size in sizes {
            let mut runner = match memory {
                Kept => Elsewhere::this_program()?,
                Usual => Elsewhere::with_usual_memory()?,
            };
            // The same work for all sizes, so that none is judged by less.
            let repeats = largest / size;
            let run = move || {
                let figures = (0..repeats).map(|_| runner.run(workload, 2, size));
                figures.sum::<f64>() / repeats as f64
            };
            contenders.push(Contender::new(case.to_owned(), who.to_owned(), size, run));
        }
        let figures = report.compare("growth", "ns/task", contenders);
        let slowest = figures.iter().copied().reduce(Figures::max);
        let fastest = figures.iter().copied().reduce(Figures::min);
        if let (Some(slowest), Some(fastest)) = (slowest, fastest) {
            let what = format!("{case}, the slowest size over the fastest");
            report.goal("growth", &what, slowest.over(fastest), at_most);
        }
    }
    Ok(())
}

/// Whether the allocator keeps what is freed; see `KEEP_MEMORY`.
#[derive(Clone, Copy)]
enum Memory {
    Kept,
    /// `malloc` as it comes.
    Usual,
}

/// What a queued task holds of the machine's memory.
pub fn memory(report: &mut Report, options: &Options) -> io::Result<()> {
    if !options.picks("memory", "queued") {
        return Ok(());
    }
    if resident_bytes().is_none() {
        println!("memory: not measured, for want of /proc/self/status");
        return Ok(());
    }
    let tasks = options.scale.queued;
    // A process of its own for each round, as `workloads::memory` needs.
    let run = move || match Elsewhere::this_program() {
        Ok(mut runner) => runner.run("memory", 1, tasks),
        Err(error) => panic!("another process: {error}"),
    };
    let contender = Contender::new("queued".to_owned(), NAME.to_owned(), tasks, run);
    let figures = report.compare_rounds("memory", "bytes/task", 3, vec![contender]);
    let what = "bytes for a queued task and its future";
    report.goal("memory", what, figures[0], Some(200.0));
    Ok(())
}

/// Eight producers, each with a pool of one worker of its own, beside one such producer: if they
/// shared anything, they would be slower than their number alone explains.
pub fn contention(report: &mut Report, options: &Options) -> io::Result<()> {
    if !options.picks("contention", "producers on pools of their own") {
        return Ok(());
    }
    let tasks = options.scale.tasks;
    let contenders = [1, 8].map(|producers| {
        let pools: Vec<_> = (0..producers)
            .map(|_| ThreadPoolExecutor::new(1).expect("a pool"))
            .collect();
        let case = if producers == 1 {
            "1 producer, 1 pool"
        } else {
            "8 producers, 8 pools"
        };
        let run = move || produce_on_each(&pools, tasks);
        Contender::new(case.to_owned(), NAME.to_owned(), tasks * producers, run)
    });
    let figures = report.compare("contention", "ns/task", contenders.into());
    // A producer and its worker keep two cores busy, if there are two; eight of them, sixteen.
    let cores = |threads: usize| threads.min(report.cores) as f64;
    let ratio = figures[1].over(figures[0]).times(cores(16) / cores(2));
    report.goal(
        "contention",
        "8 over 1, for each task and core",
        ratio,
        Some(1.0),
    );
    Ok(())
}

/// Fan-out on every pool at once.
fn produce_on_each(pools: &[ThreadPoolExecutor], tasks: usize) -> f64 {
    let all_ready = Barrier::new(pools.len());
    let produce = |pool| {
        all_ready.wait();
        let start = Instant::now();
        fan_out(pool, tasks);
        start
    };
    let started = thread::scope(|scope| {
        let produce = &produce;
        let start = |pool| scope.spawn(move || produce(pool));
        let threads: Vec<_> = pools.iter().map(start).collect();
        let started = threads
            .into_iter()
            .map(|thread| thread.join().expect("a producer"));
        started.min().expect("a producer")
    });
    started.elapsed().as_nanos() as f64 / (tasks * pools.len()) as f64
}

/// A map that computes, on one worker and on two.
pub fn real_work(report: &mut Report, options: &Options) -> io::Result<()> {
    if !options.picks("real work", "1 worker 2 workers") {
        return Ok(());
    }
    let runners = runners(options)?;
    let tasks = options.scale.items;
    let contenders = runners
        .iter()
        .flat_map(|runner| [1, 2].map(|workers| contender(runner, "real-work", workers, tasks)))
        .collect();
    let figures = report.compare("real work", "ns/task", contenders);
    for (number, runner) in runners.iter().enumerate() {
        let what = format!("2 workers over 1, {}", runner.borrow().name());
        let ratio = figures[2 * number + 1].over(figures[2 * number]);
        report.goal("real work", &what, ratio, (number == 0).then_some(0.55));
    }
    Ok(())
}

/// A pool that lives for one task on each of its workers, beside threads that do the same. The tasks
/// meet at a barrier, or a worker that is done with the first would be given the second.
pub fn birth_and_death(report: &mut Report, options: &Options) -> io::Result<()> {
    const THREADS: usize = 8;
    const LIVES: usize = 20;

    fn pool() {
        let all_started = Arc::new(Barrier::new(THREADS));
        let pool = ThreadPoolExecutor::new(THREADS).expect("a pool");
        for _ in 0..THREADS {
            let all_started = Arc::clone(&all_started);
            let task = move || all_started.wait().is_leader();
            pool.submit(task).expect("an open pool");
        }
        pool.shutdown();
    }

    fn threads() {
        let all_started = Arc::new(Barrier::new(THREADS));
        let start = |_| {
            let all_started = Arc::clone(&all_started);
            thread::spawn(move || all_started.wait().is_leader())
        };
        let threads: Vec<_> = (0..THREADS).map(start).collect();
        for thread in threads {
            thread.join().expect("a thread");
        }
    }

    if !options.picks("birth and death", "pool of 8, 8 threads") {
        return Ok(());
    }
    let microseconds = |live: fn()| {
        move || {
            let start = Instant::now();
            (0..LIVES).for_each(|_| live());
            start.elapsed().as_secs_f64() * 1e6 / LIVES as f64
        }
    };
    let contenders = vec![
        Contender::new(
            "pool of 8".to_owned(),
            NAME.to_owned(),
            THREADS,
            microseconds(pool),
        ),
        Contender::new(
            "8 threads".to_owned(),
            "std::thread".to_owned(),
            THREADS,
            microseconds(threads),
        ),
    ];
    let figures = report.compare("birth and death", "us", contenders);
    report.goal(
        "birth and death",
        "a pool over bare threads",
        figures[0].over(figures[1]),
        Some(1.2),
    );
    Ok(())
}

/// What an idle pool costs, and what a wait costs that waits in vain.
pub fn rest(report: &mut Report, options: &Options) -> io::Result<()> {
    if !options.picks("rest", "idle pool of 32, wait in vain") {
        return Ok(());
    }
    if processor_microseconds().is_none() {
        println!("rest: not measured, for want of /proc/self/task/*/schedstat");
        return Ok(());
    }
    let idle = Duration::from_millis(options.scale.idle_millis);
    let asleep = move || processor_time_of(|| thread::sleep(idle)) / idle.as_secs_f64();
    let asleep_with_a_pool = move || {
        let pool = ThreadPoolExecutor::new(32).expect("a pool");
        // Starts them all.
        drop(Blocked::new(&pool));
        // Till they sleep.
        thread::sleep(Duration::from_millis(50));
        let figure = asleep();
        pool.shutdown();
        figure
    };
    let contenders = vec![
        Contender::new(
            "idle pool of 32".to_owned(),
            NAME.to_owned(),
            0,
            asleep_with_a_pool,
        ),
        Contender::new("no pool".to_owned(), "std::thread".to_owned(), 0, asleep),
    ];
    let figures = report.compare_rounds("rest", "us/s", 1, contenders);
    let share = figures[0].times(1e-6);
    report.goal(
        "rest",
        "processors that an idle pool keeps busy",
        share,
        Some(0.001),
    );

    let future = Future::<()>::new();
    let (mutex, condvar) = (Mutex::new(()), Condvar::new());
    let timeout = Duration::from_millis(1);
    let our_wait = || assert!(future.result(timeout).is_err());
    let std_wait = || {
        let guard = mutex.lock().expect("a lock");
        drop(condvar.wait_timeout(guard, timeout).expect("a lock"));
    };
    const WAITS: usize = 50;
    let repeated =
        |wait: &dyn Fn()| processor_time_of(|| (0..WAITS).for_each(|_| wait())) / WAITS as f64;
    let contenders = vec![
        Contender::new("wait in vain".to_owned(), NAME.to_owned(), WAITS, || {
            repeated(&our_wait)
        }),
        Contender::new(
            "wait in vain".to_owned(),
            "std::sync::Condvar".to_owned(),
            WAITS,
            || repeated(&std_wait),
        ),
    ];
    let figures = report.compare("rest", "us", contenders);
    let spin = figures[0].minus(figures[1]);
    report.goal(
        "rest",
        "microseconds of spinning in a wait",
        spin,
        Some(10.0),
    );
    Ok(())
}

/// The microseconds that all threads of this process were on a processor for meanwhile.
fn processor_time_of(f: impl FnOnce()) -> f64 {
    let before = processor_microseconds().expect("/proc");
    f();
    processor_microseconds().expect("/proc") - before
}

/// So far; `None` where there are no such files.
fn processor_microseconds() -> Option<f64> {
    let mut nanoseconds = 0.0;
    for task in fs::read_dir("/proc/self/task").ok()? {
        let schedstat = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        nanoseconds += schedstat.split(' ').next()?.parse::<f64>().ok()?;
    }
    Some(nanoseconds / 1e3)
}
