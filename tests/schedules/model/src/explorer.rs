//! Running a program in many schedules, and saying what was found.

use crate::exec::{Known, World};
use crate::hashing::Rng;
use crate::plan::{All, Pct, Plan, Replay};
use crate::report;
use ::std::env;
use ::std::fmt::Write as _;
use ::std::panic;
use ::std::process::{exit, Command, Stdio};
use ::std::sync::{Arc, Mutex, Once};
use ::std::thread;
use ::std::time::{Duration, Instant};

/// Which schedules are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// All of at most so many preemptions, each state once.
    All,
    /// All of at most so many preemptions, one by one.
    Plain,
    /// At each step, any thread.
    Random,
    /// Random priorities, and a few points at which whoever runs loses its own.
    Pct,
}

/// How a program is explored.
#[derive(Clone, Copy, Debug)]
pub struct Explorer {
    preemptions: Option<u32>,
    spurious: u32,
    statics: bool,
    mode: Mode,
    seed: u64,
    schedules: u64,
    time: Duration,
    report_progress: bool,
    finds: Option<&'static str>,
}

/// What was explored, and what was found.
#[derive(Debug)]
pub struct Report {
    /// How many were run. If all, of those with the most preemptions that were asked for.
    pub schedules: u64,
    /// States with a choice, each explored once.
    pub states: usize,
    /// The most preemptions of those schedules, if there was a bound.
    pub preemptions: Option<u32>,
    /// All of them were explored.
    pub complete: bool,
    pub mode: Mode,
    pub time: Duration,
    pub failure: Option<Failure>,
}

/// A schedule that must not be.
#[derive(Debug)]
pub struct Failure {
    /// What has happened, and what everybody waited for then.
    pub what: String,
    /// For `REPLAY`.
    pub schedule: String,
    pub preemptions: u32,
    /// Who did what where, step by step.
    pub table: String,
}

impl Default for Explorer {
    fn default() -> Self {
        Explorer::new()
    }
}

impl Explorer {
    /// All schedules of at most two preemptions.
    pub const fn new() -> Self {
        Explorer {
            preemptions: Some(2),
            spurious: 0,
            statics: false,
            mode: Mode::All,
            seed: 1,
            schedules: u64::MAX,
            time: Duration::from_secs(3600),
            report_progress: false,
            finds: None,
        }
    }

    /// The program is known to be wrong: a failure that begins with this is found, or the scenario fails.
    pub fn finds(mut self, what: &'static str) -> Self {
        self.finds = Some(what);
        self
    }

    /// At most so many preemptions in a schedule; `None`: any number.
    pub fn preemptions(mut self, most: impl Into<Option<u32>>) -> Self {
        self.preemptions = most.into();
        self
    }

    /// So many waits for a condition, or parked threads, may wake up for nothing in each schedule.
    pub fn spurious(mut self, most: u32) -> Self {
        self.spurious = most;
        self
    }

    /// Locking a `static` is a step; see [`crate::statics`].
    pub fn statics(mut self) -> Self {
        self.statics = true;
        self
    }

    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// For [`Mode::Random`] and [`Mode::Pct`].
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// No more schedules than these.
    pub fn schedules(mut self, most: u64) -> Self {
        self.schedules = most;
        self
    }

    /// No longer than this.
    pub fn time(mut self, most: Duration) -> Self {
        self.time = most;
        self
    }

    /// What the environment says: `MODE` (all, plain, random, pct), `PREEMPTIONS` (a number, or any), `SPURIOUS`, `SEED`,
    /// `SCHEDULES`, and `TIME` in seconds, for each program.
    pub fn from_environment(mut self) -> Self {
        fn number(name: &str) -> Option<u64> {
            let text = env::var(name).ok()?;
            Some(
                text.parse()
                    .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
            )
        }
        match env::var("MODE").as_deref() {
            Ok("plain") => self.mode = Mode::Plain,
            Ok("random") => self.mode = Mode::Random,
            Ok("pct") => self.mode = Mode::Pct,
            Ok("all") | Err(_) => {}
            Ok(other) => panic!("MODE is all, plain, random or pct, not {other}"),
        }
        match env::var("PREEMPTIONS").as_deref() {
            Ok("any") => self.preemptions = None,
            _ => {
                if let Some(most) = number("PREEMPTIONS") {
                    self.preemptions = Some(most as u32);
                }
            }
        }
        self.spurious = number("SPURIOUS").map_or(self.spurious, |most| most as u32);
        self.seed = number("SEED").unwrap_or(self.seed);
        if matches!(self.mode, Mode::Random | Mode::Pct) {
            self.schedules = self.schedules.min(5_000);
        }
        self.schedules = number("SCHEDULES").unwrap_or(self.schedules);
        self.time = number("TIME").map_or(self.time, Duration::from_secs);
        self
    }

    fn world(&self, plan: Plan, known: Known) -> Arc<World> {
        let world = World::new(plan);
        let mut exec = world.lock();
        exec.known = known;
        exec.plain = self.mode != Mode::All;
        exec.statics = self.statics;
        drop(exec);
        world
    }

    /// Explores, and reports.
    pub fn run(&self, program: impl Fn() + Send + Sync + 'static) -> Report {
        self.run_shared(Arc::new(program))
    }

    fn run_shared(&self, program: Arc<dyn Fn() + Send + Sync>) -> Report {
        listen_to_panics();
        let start = Instant::now();
        let mut report = match self.mode {
            Mode::All => self.all(&program, start),
            Mode::Plain => {
                self.one_bound(&program, self.preemptions, Known::default(), start)
                    .0
            }
            Mode::Random => self.random(&program, Plan::Random(Rng(self.seed)), start),
            Mode::Pct => self.random(&program, Plan::Pct(Pct::new(Rng(self.seed), 3)), start),
        };
        report.time = start.elapsed();
        report
    }

    /// One bound after the other, so that what is found first needs the fewest preemptions.
    fn all(&self, program: &Arc<dyn Fn() + Send + Sync>, start: Instant) -> Report {
        // Learn which objects are shared, so that the search need not begin anew too often.
        let mut known = Known::default();
        let world = self.world(Plan::Random(Rng(self.seed)), known);
        for _ in 0..30 {
            if world.run(program.clone(), self.spurious).is_some() {
                break;
            }
        }
        known = ::std::mem::take(&mut world.lock().known);
        let mut last = None;
        for bound in 0..=self.preemptions.unwrap_or(0) {
            let bound = self.preemptions.map(|_| bound);
            let (report, learned) = self.one_bound(program, bound, known, start);
            known = learned;
            if report.failure.is_some() || !report.complete {
                return report;
            }
            last = Some(report);
        }
        last.expect("at least one bound")
    }

    fn one_bound(
        &self,
        program: &Arc<dyn Fn() + Send + Sync>,
        bound: Option<u32>,
        mut known: Known,
        start: Instant,
    ) -> (Report, Known) {
        'anew: loop {
            known.news = false;
            let plan = Plan::All(All::new(bound, self.mode == Mode::All));
            let world = self.world(plan, known);
            let mut schedules = 0;
            loop {
                let wrong = world.run(program.clone(), self.spurious);
                schedules += 1;
                let mut exec = world.lock();
                let states = match &exec.plan {
                    Plan::All(all) => all.states(),
                    _ => 0,
                };
                let mut report = Report {
                    schedules,
                    states,
                    preemptions: bound,
                    complete: false,
                    mode: self.mode,
                    time: Duration::ZERO,
                    failure: None,
                };
                if let Some(wrong) = wrong {
                    drop(exec);
                    report.failure = Some(self.failure(program, &world, wrong.what));
                    return (report, Known::default());
                }
                if exec.known.news && self.mode == Mode::All {
                    known = ::std::mem::take(&mut exec.known);
                    continue 'anew;
                }
                let more = match &mut exec.plan {
                    Plan::All(all) => all.advance(),
                    _ => false,
                };
                report.complete = !more;
                if !more || schedules >= self.schedules || start.elapsed() > self.time {
                    known = ::std::mem::take(&mut exec.known);
                    return (report, known);
                }
                if self.report_progress && schedules % 100_000 == 0 {
                    eprintln!("{schedules} schedules, {states} states");
                }
            }
        }
    }

    fn random(&self, program: &Arc<dyn Fn() + Send + Sync>, plan: Plan, start: Instant) -> Report {
        let world = self.world(plan, Known::default());
        let mut report = Report {
            schedules: 0,
            states: 0,
            preemptions: None,
            complete: false,
            mode: self.mode,
            time: Duration::ZERO,
            failure: None,
        };
        while report.schedules < self.schedules && start.elapsed() < self.time {
            report.schedules += 1;
            if let Some(wrong) = world.run(program.clone(), self.spurious) {
                report.failure = Some(self.failure(program, &world, wrong.what));
                break;
            }
        }
        report
    }

    /// Runs the failed schedule once more, this time with a table.
    fn failure(
        &self,
        program: &Arc<dyn Fn() + Send + Sync>,
        world: &Arc<World>,
        what: String,
    ) -> Failure {
        let exec = world.lock();
        let replay = Replay {
            steps: exec.steps.clone(),
            values: exec.values.clone(),
            spurious: self.spurious,
        };
        let preemptions = exec.preemptions;
        let schedule = replay.to_text();
        drop(exec);
        let again = self.replay(program.clone(), replay);
        Failure {
            what,
            schedule,
            preemptions,
            table: again.table,
        }
    }

    fn replay(&self, program: Arc<dyn Fn() + Send + Sync>, replay: Replay) -> Failure {
        listen_to_panics();
        let schedule = replay.to_text();
        let spurious = replay.spurious;
        let world = self.world(Plan::Replay(replay), Known::default());
        world.lock().table = Some(Vec::new());
        let wrong = world.run(program, spurious);
        let exec = world.lock();
        let mut table = report::table(&exec);
        for panic in &exec.panics {
            let _ = writeln!(table, "panic: {panic}");
        }
        let what = wrong.map_or("nothing was wrong".to_owned(), |wrong| wrong.what);
        Failure {
            what,
            schedule,
            preemptions: exec.preemptions,
            table,
        }
    }
}

impl Report {
    /// One line: how many schedules, and whether all.
    pub fn line(&self) -> String {
        let schedules = grouped(self.schedules);
        let what = match (self.mode, self.preemptions, self.complete) {
            (Mode::Random, ..) => format!("{schedules} random schedules"),
            (Mode::Pct, ..) => format!("{schedules} schedules by random priorities"),
            (_, Some(most), true) => {
                format!("{schedules} schedules, all of at most {most} preemptions")
            }
            (_, None, true) => format!("{schedules} schedules, all there are"),
            (_, Some(0), false) => format!("{schedules} schedules, not all without preemptions"),
            (Mode::All, Some(most), false) => format!(
                "{schedules} schedules of at most {most} preemptions, not all; all of at most {}",
                most - 1
            ),
            (_, Some(most), false) => {
                format!("{schedules} schedules, not all of at most {most} preemptions")
            }
            (_, None, false) => format!("{schedules} schedules, not all"),
        };
        format!("{what}, {:.1} s", self.time.as_secs_f64())
    }
}

impl Failure {
    pub fn text(&self) -> String {
        format!(
            "{}\nafter {} preemptions, in the schedule REPLAY={}\n\n{}",
            self.what.trim_end(),
            self.preemptions,
            self.schedule,
            self.table
        )
    }
}

/// `1,284,503`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Panics are part of many programs, and thousands of them are nobody's news. Those of the schedule that fails are kept.
fn listen_to_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| match crate::exec::context() {
            Some((world, me)) => {
                if let Ok(mut exec) = world.exec.try_lock() {
                    if exec.table.is_some() {
                        let label = exec.threads[me].label.clone();
                        exec.panics.push(format!("{label}: {info}"));
                    }
                }
            }
            None => before(info),
        }));
    });
}

/// Explores one program as the environment says, and panics if something is found: for a test.
pub fn check(explorer: Explorer, program: impl Fn() + Send + Sync + 'static) {
    let explorer = explorer.from_environment();
    let program: Arc<dyn Fn() + Send + Sync> = Arc::new(program);
    if let Ok(text) = env::var("REPLAY") {
        let replay = Replay::parse(&text).unwrap_or_else(|| panic!("this is no schedule: {text}"));
        println!("{}", explorer.replay(program, replay).text());
        return;
    }
    let report = explorer.run_shared(program);
    println!("{}", report.line());
    if let Some(failure) = report.failure {
        panic!("{}", failure.text());
    }
}

type Scenario = (&'static str, fn(), Explorer);

/// The `main` of a program that explores: each scenario in a process of its own, as many at once as there are processors.
/// Arguments are parts of names: the scenarios to run. `--list` names them all.
pub fn main(scenarios: &[Scenario]) {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [flag, name] = &arguments[..] {
        if flag == "--one" {
            let one = scenarios
                .iter()
                .find(|scenario| scenario.0 == *name)
                .expect("a scenario");
            exit(one_scenario(one));
        }
    }
    if arguments.iter().any(|argument| argument == "--list") {
        scenarios
            .iter()
            .for_each(|scenario| println!("{}", scenario.0));
        return;
    }
    let chosen: Vec<&Scenario> = scenarios
        .iter()
        .filter(|scenario| {
            arguments.is_empty() || arguments.iter().any(|part| scenario.0.contains(&part[..]))
        })
        .collect();
    if env::var("REPLAY").is_ok() {
        match chosen[..] {
            [one] => exit(one_scenario(one)),
            _ => panic!("REPLAY is for one scenario, and these are {}", chosen.len()),
        }
    }
    let failed = all_scenarios(&chosen);
    println!("{} passed, {} failed", chosen.len() - failed, failed);
    exit(i32::from(failed > 0));
}

fn one_scenario(scenario: &Scenario) -> i32 {
    let explorer = scenario.2.from_environment();
    let program: Arc<dyn Fn() + Send + Sync> = Arc::new(scenario.1);
    if let Ok(text) = env::var("REPLAY") {
        let replay = Replay::parse(&text).unwrap_or_else(|| panic!("this is no schedule: {text}"));
        println!("{}", explorer.replay(program, replay).text());
        return 0;
    }
    let report = explorer.run_shared(program);
    match &report.failure {
        Some(failure)
            if explorer
                .finds
                .map_or(false, |what| failure.what.starts_with(what)) =>
        {
            println!(
                "{}: found, as it must be, by schedule {}: {}",
                scenario.0,
                grouped(report.schedules),
                failure.text()
            );
            0
        }
        None if explorer.finds.is_some() => {
            println!(
                "{}: FAILED, nothing was found: {}",
                scenario.0,
                report.line()
            );
            1
        }
        None => {
            println!("{}: {}", scenario.0, report.line());
            0
        }
        Some(failure) => {
            println!(
                "{}: FAILED, {}\n{}",
                scenario.0,
                report.line(),
                failure.text()
            );
            1
        }
    }
}

/// Runs them, and returns how many have failed.
fn all_scenarios(chosen: &[&Scenario]) -> usize {
    let own = env::current_exe().expect("the path of this program");
    // On one processor, a baton is handed over without waking up another.
    let pins = Command::new("taskset")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let pins = pins.map_or(false, |status| status.success());
    let processors = thread::available_parallelism().map_or(1, |n| n.get());
    let jobs = env::var("JOBS")
        .ok()
        .and_then(|jobs| jobs.parse().ok())
        .unwrap_or(processors);
    let rest = Mutex::new(chosen.iter());
    let failed = Mutex::new(0);
    thread::scope(|scope| {
        for job in 0..jobs {
            let (rest, failed, own) = (&rest, &failed, &own);
            scope.spawn(move || loop {
                let next = rest.lock().unwrap().next();
                let name = match next {
                    Some(scenario) => scenario.0,
                    None => return,
                };
                let mut command = if pins {
                    let mut command = Command::new("taskset");
                    command
                        .arg("-c")
                        .arg((job % processors).to_string())
                        .arg(own);
                    command
                } else {
                    Command::new(own)
                };
                let output = command
                    .args(["--one", name])
                    .stderr(Stdio::inherit())
                    .output();
                match output {
                    Ok(output) => {
                        print!("{}", String::from_utf8_lossy(&output.stdout));
                        if !output.status.success() {
                            if output.status.code() != Some(1) {
                                println!("{name}: FAILED, {}", output.status);
                            }
                            *failed.lock().unwrap() += 1;
                        }
                    }
                    Err(error) => {
                        println!("{name}: FAILED, {error}");
                        *failed.lock().unwrap() += 1;
                    }
                }
            });
        }
    });
    let failed = *failed.lock().unwrap();
    failed
}
