//! What a process pool costs, beside CPython's with `spawn`. `concurrent_futures.py` has the same workloads,
//! under the same names.

use crate::harness::{Contender, Options, Report};
use crate::measures::{runners, runners_with_usual_memory, Runners};
use crate::runners::NAME;
use concurrent_futures::process::{freeze_support, ProcessPoolExecutor};
use concurrent_futures::MapOptions;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use std::{fs, io};

/// To be called first in `main`, which the workers run, too.
pub fn register() {
    freeze_support(|registry| {
        registry.register(same).register(echo).register(busy);
    });
}

fn same(number: usize) -> usize {
    number
}

fn echo(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

fn busy(micros: u64) {
    let (start, time) = (Instant::now(), Duration::from_micros(micros));
    while start.elapsed() < time {}
}

/// The pools of this process, which are kept from round to round, by their number of workers.
#[derive(Default)]
pub struct Pools(HashMap<usize, ProcessPoolExecutor>);

impl Pools {
    fn get(&mut self, workers: usize) -> &ProcessPoolExecutor {
        self.0.entry(workers).or_insert_with(|| new_pool(workers))
    }

    /// One round of a workload; `None` if it is none of these.
    pub fn run(&mut self, workload: &str, workers: usize, tasks: usize) -> Option<f64> {
        let figure = match workload {
            "process-fan-out" => fan_out(self.get(workers), tasks),
            "process-ping-pong" => ping_pong(self.get(workers), tasks),
            "process-map" => map(self.get(workers), tasks),
            "process-first-map" => {
                let pool = new_pool(workers);
                let figure = map(&pool, tasks);
                pool.shutdown();
                figure
            }
            "process-1-mb" => to_and_fro(self.get(workers), tasks, 1_000_000),
            "process-100-mb" => to_and_fro(self.get(workers), tasks, 100_000_000),
            "process-start" => start(workers, tasks).0,
            "process-shutdown" => start(workers, tasks).1,
            "process-memory" => memory(workers),
            "process-useful" => useful(self.get(workers), tasks),
            _ => return None,
        };
        Some(figure)
    }
}

fn new_pool(workers: usize) -> ProcessPoolExecutor {
    ProcessPoolExecutor::new(workers).expect("a pool")
}

/// Submits all tasks, then collects all results.
fn fan_out(pool: &ProcessPoolExecutor, tasks: usize) -> f64 {
    let start = Instant::now();
    let submit = |number| pool.submit(same, number).expect("an open pool");
    let futures: Vec<_> = (0..tasks).map(submit).collect();
    let results = futures.iter().map(|it| it.take_result(None));
    check(results.map(|it| it.expect("a result")).sum(), tasks);
    per_task(start, tasks)
}

/// Submits one task and waits for it, then the next.
fn ping_pong(pool: &ProcessPoolExecutor, tasks: usize) -> f64 {
    let start = Instant::now();
    let call = |number| {
        pool.submit(same, number)
            .expect("an open pool")
            .result(None)
    };
    check(
        (0..tasks).map(|it| call(it).expect("a result")).sum(),
        tasks,
    );
    per_task(start, tasks)
}

fn map(pool: &ProcessPoolExecutor, tasks: usize) -> f64 {
    let start = Instant::now();
    let results = pool.map_with(same, 0..tasks, MapOptions::new().chunksize(256));
    let results = results
        .expect("an open pool")
        .map(|it| it.expect("a result"));
    check(results.sum(), tasks);
    per_task(start, tasks)
}

/// Bytes that are sent and come back, one call at a time.
fn to_and_fro(pool: &ProcessPoolExecutor, tasks: usize, length: usize) -> f64 {
    let sent: Vec<_> = (0..tasks).map(|_| vec![7; length]).collect();
    let start = Instant::now();
    for bytes in sent {
        let future = pool.submit(echo, bytes).expect("an open pool");
        let came = future.take_result(None).expect("a result");
        assert_eq!(came.len(), length);
    }
    per_task(start, tasks)
}

/// From a new pool to its first result, and then through `shutdown`.
fn start(workers: usize, lives: usize) -> (f64, f64) {
    let (mut started, mut shut_down) = (Duration::ZERO, Duration::ZERO);
    for number in 0..lives {
        let start = Instant::now();
        let pool = new_pool(workers);
        let future = pool.submit(same, number).expect("an open pool");
        assert_eq!(future.result(None).expect("a result"), number);
        started += start.elapsed();
        let start = Instant::now();
        pool.shutdown();
        shut_down += start.elapsed();
    }
    let each = |time: Duration| time.as_nanos() as f64 / lives as f64;
    (each(started), each(shut_down))
}

/// The private bytes of a worker that has run one call, and waits for the next.
fn memory(workers: usize) -> f64 {
    let pool = new_pool(workers);
    pool.submit(same, 1)
        .expect("an open pool")
        .result(None)
        .expect("a result");
    let bytes = private_bytes(pool.pids()[0]).expect("/proc");
    pool.shutdown();
    bytes
}

fn private_bytes(pid: u32) -> Option<f64> {
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let private = smaps.lines().filter(|line| line.starts_with("Private_"));
    let kibibytes = private.filter_map(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    Some(kibibytes.sum::<f64>() * 1024.0)
}

/// Calls that compute for 100 us each: the nanoseconds of all workers for each nanosecond of use.
fn useful(pool: &ProcessPoolExecutor, tasks: usize) -> f64 {
    const MICROS: u64 = 100;
    let start = Instant::now();
    let submit = |_| pool.submit(busy, MICROS).expect("an open pool");
    let futures: Vec<_> = (0..tasks).map(submit).collect();
    for future in &futures {
        future.result(None).expect("a result");
    }
    per_task(start, tasks) * pool.max_workers() as f64 / (MICROS * 1000) as f64
}

fn check(sum: usize, tasks: usize) {
    assert_eq!(sum, tasks * (tasks - 1) / 2, "a result was lost");
}

fn per_task(start: Instant, tasks: usize) -> f64 {
    start.elapsed().as_nanos() as f64 / tasks as f64
}

/// What the two processes of a call cannot do without: so many bytes to and fro over a socket pair.
#[cfg(unix)]
fn floor(tasks: usize, length: usize) -> f64 {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    let (mut here, mut there) = UnixStream::pair().expect("a socket pair");
    let other = std::thread::spawn(move || {
        let mut bytes = vec![0; length];
        while there.read_exact(&mut bytes).is_ok() {
            there.write_all(&bytes).expect("a stream");
        }
    });
    let mut bytes = vec![1; length];
    let start = Instant::now();
    for _ in 0..tasks {
        here.write_all(&bytes).expect("a stream");
        here.read_exact(&mut bytes).expect("a stream");
    }
    let figure = per_task(start, tasks);
    drop(here);
    other.join().expect("a thread");
    figure
}

#[cfg(not(unix))]
fn floor(_: usize, _: usize) -> f64 {
    f64::NAN
}

/// All of it on two workers, with what the ratio to CPython is to be at most.
pub fn processes(report: &mut Report, options: &Options) -> io::Result<()> {
    let tasks = options.scale.tasks / 5;
    let cases: [(&str, &str, &str, usize, f64); 11] = [
        ("small calls", "process-fan-out", "ns/task", tasks, 0.12),
        (
            "one at a time",
            "process-ping-pong",
            "ns/task",
            tasks / 10,
            0.12,
        ),
        ("map, chunksize 256", "process-map", "ns/task", tasks, 0.20),
        (
            "first map, chunksize 256",
            "process-first-map",
            "ns/task",
            tasks,
            0.20,
        ),
        (
            "1 MB to and fro",
            "process-1-mb",
            "ns/task",
            tasks / 200,
            0.16,
        ),
        (
            "100 MB to and fro",
            "process-100-mb",
            "ns/task",
            tasks / 10_000,
            0.40,
        ),
        (
            "1 MB to and fro, malloc",
            "process-1-mb",
            "ns/task",
            tasks / 200,
            0.16,
        ),
        (
            "100 MB to and fro, malloc",
            "process-100-mb",
            "ns/task",
            tasks / 10_000,
            0.40,
        ),
        (
            "new pool to first result",
            "process-start",
            "ns",
            tasks / 1000,
            0.04,
        ),
        (
            "shutdown",
            "process-shutdown",
            "ns",
            (tasks / 1000).max(1),
            0.10,
        ),
        (
            "memory of an idle worker",
            "process-memory",
            "bytes",
            1,
            0.05,
        ),
    ];
    let all: Runners = runners(options)?;
    let usual: Runners = runners_with_usual_memory(options)?;
    for (case, workload, unit, tasks, at_most) in cases {
        if !options.picks("processes", case) {
            continue;
        }
        if workload == "process-memory" && private_bytes(std::process::id()).is_none() {
            println!("processes: memory is not measured, for want of /proc/PID/smaps_rollup");
            continue;
        }
        let all = if case.ends_with("malloc") {
            &usual
        } else {
            &all
        };
        let contenders = all.iter().map(|runner| {
            let who = runner.borrow().name().to_owned();
            // A map is the same on both sides, as its first one is made of starting the workers.
            let tasks = match workload {
                "process-map" | "process-first-map" => tasks,
                _ => runner.borrow().share(tasks).max(1),
            };
            let run = move || runner.borrow_mut().run(workload, 2, tasks);
            Contender::new(case.to_owned(), who, tasks, run)
        });
        let figures = report.compare("processes", unit, contenders.collect());
        for (runner, other) in all.iter().zip(&figures).skip(1) {
            let what = format!("{case}, against {}", runner.borrow().name());
            report.goal("processes", &what, figures[0].over(*other), Some(at_most));
        }
    }
    above_the_floor(report, options, &all, tasks / 10)?;
    if options.picks("processes", "calls of 100 us") {
        let here = &all[0];
        let run = move || here.borrow_mut().run("process-useful", 2, tasks / 10);
        let case = "calls of 100 us".to_owned();
        let contender = Contender::new(case, NAME.to_owned(), tasks / 10, run);
        let figures = report.compare("processes", "ns/useful ns", vec![contender]);
        // At least 0.85 of it is to be useful.
        let what = "two workers' time over the useful part, calls of 100 us";
        report.goal("processes", what, figures[0], Some(1.176));
    }
    Ok(())
}

/// One call at a time, beside as many bytes without a pool.
fn above_the_floor(
    report: &mut Report,
    options: &Options,
    all: &Runners,
    tasks: usize,
) -> io::Result<()> {
    if cfg!(not(unix)) || !options.picks("processes", "above the floor") {
        return Ok(());
    }
    let here = &all[0];
    for (case, workload, tasks, length, at_most) in [
        ("above the floor", "process-ping-pong", tasks, 16, Some(2.5)),
        (
            "1 MB above the floor",
            "process-1-mb",
            (tasks / 20).max(1),
            1_000_000,
            None,
        ),
    ] {
        let call = move || here.borrow_mut().run(workload, 2, tasks);
        let contenders = vec![
            Contender::new(case.to_owned(), NAME.to_owned(), tasks, call),
            Contender::new(case.to_owned(), "a socket pair".to_owned(), tasks, || {
                floor(tasks, length)
            }),
        ];
        let figures = report.compare("processes", "ns/task", contenders);
        let what = format!("one call at a time over {length} bytes on a socket pair");
        report.goal("processes", &what, figures[0].over(figures[1]), at_most);
    }
    Ok(())
}
