//! Calls that find everybody asleep, or nearly: a few at a time, with pauses in between. Beside them, the least that
//! could do the same: threads that share the receiver of a channel, and one channel for each answer.

use crate::harness::{Contender, Options, Report};
use crate::runners::NAME;
use crate::workloads::compute_for;
use concurrent_futures::{Executor, ThreadPoolExecutor};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{io, thread};

const PLAIN: &str = "a plain pool";
const WORKERS: usize = 2;

/// What both can do: run some calls, each for so long, and return when all have answered.
trait Run {
    fn run(&self, calls: &[Duration]);
}

impl Run for ThreadPoolExecutor {
    fn run(&self, calls: &[Duration]) {
        let submit = |&time: &Duration| {
            self.submit(move || compute_for(time))
                .expect("an open pool")
        };
        let futures: Vec<_> = calls.iter().map(submit).collect();
        for future in futures {
            future.take_result(None).expect("a result");
        }
    }
}

type Call = Box<dyn FnOnce() + Send>;

/// The thread pool of the Rust Book.
struct Plain(Sender<Call>);

impl Plain {
    fn new() -> Self {
        let (sender, receiver) = channel::<Call>();
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..WORKERS {
            let receiver: Arc<Mutex<Receiver<Call>>> = Arc::clone(&receiver);
            thread::spawn(move || loop {
                let call = receiver.lock().expect("a lock").recv();
                match call {
                    Ok(call) => call(),
                    Err(_) => return,
                }
            });
        }
        Plain(sender)
    }
}

impl Run for Plain {
    fn run(&self, calls: &[Duration]) {
        let submit = |&time: &Duration| {
            let (sender, receiver) = channel();
            let call = move || {
                compute_for(time);
                let _ = sender.send(());
            };
            self.0.send(Box::new(call)).expect("its threads");
            receiver
        };
        let answers: Vec<_> = calls.iter().map(submit).collect();
        for answer in answers {
            answer.recv().expect("an answer");
        }
    }
}

/// Both, with all workers started.
fn both() -> [(&'static str, Box<dyn Run>); 2] {
    let pools: [(&str, Box<dyn Run>); 2] = [
        (
            NAME,
            Box::new(ThreadPoolExecutor::new(WORKERS).expect("a pool")),
        ),
        (PLAIN, Box::new(Plain::new())),
    ];
    for (_, pool) in &pools {
        pool.run(&[Duration::from_millis(1); WORKERS]);
    }
    pools
}

/// The microseconds of so many runs, each after a pause; ascending.
fn times(pool: &dyn Run, calls: &[Duration], pause: Duration, runs: usize) -> Vec<f64> {
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            thread::sleep(pause);
            let start = Instant::now();
            pool.run(calls);
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times
}

/// One call that does nothing, after half a millisecond of rest: half of them take less than the first of the
/// two figures, and 99 in 100 less than the second.
pub fn one_call(report: &mut Report, options: &Options) -> io::Result<()> {
    let runs = options.scale.rested;
    let pause = Duration::from_micros(500);
    for (case, share) in [
        ("one call, half of them", 0.5),
        ("one call, 99 in 100", 0.99),
    ] {
        compare(report, options, "after rest", case, "us", |pool| {
            let times = times(pool, &[Duration::ZERO], pause, runs);
            times[((runs - 1) as f64 * share) as usize]
        })?;
    }
    Ok(())
}

/// Eight calls of 20 microseconds at once, after two milliseconds of rest.
pub fn burst(report: &mut Report, options: &Options) -> io::Result<()> {
    let runs = (options.scale.rested / 4).max(1);
    let calls = [Duration::from_micros(20); 8];
    let pause = Duration::from_millis(2);
    compare(
        report,
        options,
        "after rest",
        "8 calls of 20 us",
        "us",
        |pool| {
            let times = times(pool, &calls, pause, runs);
            times[times.len() / 2]
        },
    )
}

/// Two thousand calls of 5 to 50 microseconds at once.
pub fn mixed_calls(report: &mut Report, options: &Options) -> io::Result<()> {
    let number = options.scale.mixed as u64;
    let calls: Vec<_> = (0..number)
        .map(|number| Duration::from_micros(5 + number * 7919 % 46))
        .collect();
    let case = format!("{number} calls of 5 to 50 us");
    compare(report, options, "mixed calls", &case, "us", |pool| {
        times(pool, &calls, Duration::ZERO, 1)[0]
    })
}

fn compare(
    report: &mut Report,
    options: &Options,
    measure: &str,
    case: &str,
    unit: &'static str,
    run: impl Fn(&dyn Run) -> f64,
) -> io::Result<()> {
    if !options.picks(measure, case) {
        return Ok(());
    }
    let pools = both();
    let run = &run;
    let contenders = pools
        .iter()
        .map(|(who, pool)| {
            let run = move || run(&**pool);
            Contender::new(case.to_owned(), who.to_string(), 1, run)
        })
        .collect();
    let figures = report.compare(measure, unit, contenders);
    let what = format!("{case}, over a plain pool");
    report.goal(measure, &what, figures[0].over(figures[1]), None);
    Ok(())
}
