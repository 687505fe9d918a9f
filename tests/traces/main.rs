//! Replays what CPython did, as `record.py` has recorded it, and compares line by line.
//!
//! `TRACES=FILE cargo test --test traces` replays another recording than the one that is kept here.
//! `docs/traces.md` describes the file and how to read a mismatch.

mod processes;
mod replay;
mod rows;
mod trace;
mod values;

use concurrent_futures::set_logger;
use replay::{lock, Context, Events};
use rows::Uses;
use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{mpsc, Arc, Mutex, MutexGuard, Once};
use std::thread;
use std::time::Duration;
use trace::{Outcome, Recording, Scenario};
use values::Value;

const KEPT: &str = "tests/traces/cpython-3.13.txt";
const KEPT_OF_PROCESSES: &str = "tests/traces/cpython-3.13-processes.txt";

/// No scenario takes long, save for a machine that is very busy.
const HANG_LIMIT: Duration = Duration::from_secs(30);

/// So many are shown in full.
const MISMATCHES_SHOWN: usize = 10;

/// How often a scenario is replayed whose outcome depends on the threads' order: each time with a longer pause before
/// each step, as the system may give a processor to the same thread first every time.
const TIMES: u64 = 10;

/// What has come of one scenario, or of one step.
#[derive(Default)]
struct Replayed {
    /// Index of the line in the scenario that was begun last.
    line: usize,
    /// How many lines were compared.
    lines: usize,
    uses: Uses,
    mismatch: Option<Mismatch>,
    hung: bool,
}

impl Replayed {
    /// Whether the pool may just have started one worker more. One whose value has a `Drop`, or whose call
    /// has failed, is not counted as free before that has had its chance to run, so who submits as soon as
    /// the outcome can be seen may find none that is free.
    fn another_worker(&self) -> bool {
        let signs = ["initializer: note", "thread_name = ", "process_count = "];
        self.mismatch.as_ref().map_or(false, |mismatch| {
            signs.iter().any(|sign| mismatch.ours.contains(sign))
        })
    }

    /// What has differed before is the cause, more likely than the trouble.
    fn trouble(&mut self, ours: String) {
        let line = self.line;
        self.mismatch.get_or_insert(Mismatch {
            line,
            theirs: "as recorded".to_owned(),
            ours,
        });
    }
}

struct Mismatch {
    /// Index of the line in the scenario.
    line: usize,
    theirs: String,
    ours: String,
}

/// The events of the scenario that is replayed. The logger is the whole process's.
static LOGGED: Mutex<Option<Arc<Events>>> = Mutex::new(None);
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn prepare() -> MutexGuard<'static, ()> {
    static ONCE: Once = Once::new();
    let guard = lock(&ONE_AT_A_TIME);
    ONCE.call_once(|| {
        set_logger(|record| {
            let events = lock(&LOGGED).clone();
            if let Some(events) = events {
                events.log(record);
            }
        });
        // Panics that belong to a scenario are not reported.
        let hook = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let text = info.payload().downcast_ref::<String>();
            if !text.map_or(false, |text| text.starts_with("boom")) {
                hook(info);
            }
        }));
    });
    guard
}

/// Replays scenarios on a thread of its own, one after the other, up to one that hangs.
fn replay(scenarios: &[Arc<Scenario>]) -> Vec<Replayed> {
    let progress = Arc::new(Mutex::new(Replayed::default()));
    let (sender, receiver) = mpsc::channel();
    {
        let (scenarios, progress) = (scenarios.to_vec(), Arc::clone(&progress));
        thread::spawn(move || {
            for scenario in scenarios {
                let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
                    for time in 0..TIMES {
                        *lock(&progress) = Replayed::default();
                        replay_one(&scenario, Duration::from_millis(time), &progress);
                        if !lock(&progress).another_worker() {
                            break;
                        }
                    }
                }));
                let mut replayed = std::mem::take(&mut *lock(&progress));
                if let Err(payload) = outcome {
                    let text = payload.downcast_ref::<String>().map(String::as_str);
                    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
                    replayed.trouble(format!("a panic: {}", text.unwrap_or("without a text")));
                }
                if sender.send(replayed).is_err() {
                    // Nobody listens any more, since this scenario has taken too long.
                    break;
                }
            }
        });
    }
    let mut all = Vec::new();
    for _ in scenarios {
        all.push(receiver.recv_timeout(HANG_LIMIT).unwrap_or_else(|_| {
            let mut replayed = std::mem::take(&mut *lock(&progress));
            replayed.hung = true;
            replayed.trouble("HANG".to_owned());
            replayed
        }));
        if all.last().map_or(false, |replayed| replayed.hung) {
            break;
        }
    }
    all
}

fn replay_one(scenario: &Scenario, pause: Duration, progress: &Mutex<Replayed>) {
    match scenario.type_name.as_str() {
        "i32" => replay_typed::<i32>(scenario, pause, progress),
        "i64" => replay_typed::<i64>(scenario, pause, progress),
        "String" => replay_typed::<String>(scenario, pause, progress),
        "()" => replay_typed::<()>(scenario, pause, progress),
        "bool" => replay_typed::<bool>(scenario, pause, progress),
        "f64" => replay_typed::<f64>(scenario, pause, progress),
        "Vec<i32>" => replay_typed::<Vec<i32>>(scenario, pause, progress),
        other => panic!("no type is named {other}"),
    }
}

fn replay_typed<T: Value>(scenario: &Scenario, pause: Duration, progress: &Mutex<Replayed>) {
    let context = Context::<T>::new();
    *lock(&LOGGED) = Some(Arc::clone(&context.events));
    for (index, step) in scenario.steps.iter().enumerate() {
        lock(progress).line = step.line;
        if pause > Duration::ZERO {
            thread::sleep(pause);
        }
        let mut replayed = Replayed::default();
        replay_step(scenario, index, &context, &mut replayed);
        let mut progress = lock(progress);
        progress.lines += replayed.lines;
        progress.uses.add(&replayed.uses);
        progress.mismatch = replayed.mismatch;
        if progress.mismatch.is_some() {
            break;
        }
    }
    let last_line = scenario.lines.len() - 1;
    let hung = scenario
        .steps
        .iter()
        .any(|step| step.outcome == Outcome::Hung);
    // What runs on here was not to be seen in CPython because of its hang.
    let mut left = context.events.take(0);
    left.retain(|_| !hung);
    if let Some(first) = left.first() {
        let mut progress = lock(progress);
        progress.mismatch.get_or_insert(Mismatch {
            line: last_line,
            theirs: "nothing more".to_owned(),
            ours: first.clone(),
        });
    }
    context.clean_up();
    *lock(&LOGGED) = None;
}

fn replay_step<T: Value>(
    scenario: &Scenario,
    index: usize,
    context: &Arc<Context<T>>,
    replayed: &mut Replayed,
) {
    let step = &scenario.steps[index];
    let (theirs, rows) = rows::expected_events(scenario, index);
    rows.into_iter().for_each(|row| replayed.uses.count(row));

    let outcome = context.perform(&step.action);
    let hung = step.outcome == Outcome::Hung;
    let beyond = if hung {
        rows::events_beyond_hang(scenario)
    } else {
        0
    };
    let ours = context.events.take(theirs.len() + beyond);
    let mut mismatch = |offset: usize, theirs: &str, ours: &str| {
        replayed.mismatch = Some(Mismatch {
            line: step.line + offset,
            theirs: theirs.to_owned(),
            ours: ours.to_owned(),
        });
    };

    let row = |theirs: &str, ours: &str| {
        rows::line_row(context, theirs, ours)
            .or_else(|| rows::process_row(scenario, index, theirs, ours))
    };
    let outcome_offset = step.events.len() + 1;
    match &step.outcome {
        Outcome::NotReached => {
            match rows::instead_of_hang(scenario, step, &outcome, &[]) {
                Some(row) => replayed.uses.count(row),
                None => mismatch(1, "not reached, because of the hang", &outcome),
            }
            return;
        }
        Outcome::Hung | Outcome::Returned(_) => {}
    }
    if let Some(row) = rows::events_row(scenario, &theirs, &ours).filter(|_| theirs != ours) {
        replayed.uses.count(row);
    } else {
        for (number, their_line) in theirs.iter().enumerate() {
            match ours.get(number) {
                Some(our_line) if our_line == their_line => {}
                Some(our_line) => match row(their_line, our_line) {
                    Some(row) => replayed.uses.count(row),
                    None => return mismatch(number + 1, their_line, our_line),
                },
                None => return mismatch(number + 1, their_line, "nothing"),
            }
        }
        if let Some(more) = ours.get(theirs.len()).filter(|_| !hung) {
            return mismatch(outcome_offset, "no more events", more);
        }
    }
    replayed.lines += 1 + theirs.len();
    match &step.outcome {
        Outcome::Returned(their_outcome) if *their_outcome == outcome => {}
        Outcome::Returned(their_outcome) => {
            let theirs = format!("{} = {}", step.action, their_outcome);
            let ours = format!("{} = {}", step.action, outcome);
            match row(&theirs, &ours) {
                Some(row) => replayed.uses.count(row),
                None => mismatch(outcome_offset, &theirs, &ours),
            }
        }
        Outcome::Hung => {
            let beyond = &ours[theirs.len()..];
            match rows::instead_of_hang(scenario, step, &outcome, beyond) {
                Some(row) => replayed.uses.count(row),
                None => mismatch(
                    outcome_offset,
                    "hung",
                    &format!("{outcome}, after {beyond:?}"),
                ),
            }
        }
        Outcome::NotReached => {}
    }
}

/// The files: a relative path is relative to where the user is, and cargo runs tests elsewhere.
fn paths() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    match env::var_os("TRACES").filter(|path| !path.is_empty()) {
        None => vec![root.join(KEPT), root.join(KEPT_OF_PROCESSES)],
        Some(path) => {
            let from_user = env::var_os("PWD").map(|directory| Path::new(&directory).join(&path));
            let from_user = from_user.filter(|path| path.is_file());
            vec![from_user.unwrap_or_else(|| PathBuf::from(path))]
        }
    }
}

/// Replays all scenarios. An error is the report on those that differ.
fn replay_all(recording: Recording) -> (String, Result<(), String>) {
    let mut lines = 0;
    let mut uses = Uses::default();
    let mut report = String::new();
    let mut mismatches = 0;
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let count = recording.scenarios.len();
    let scenarios: Vec<_> = recording.scenarios.into_iter().map(Arc::new).collect();
    for (scenario, replayed) in scenarios.iter().zip(replay(&scenarios)) {
        lines += replayed.lines;
        uses.add(&replayed.uses);
        if let Some(mismatch) = replayed.mismatch {
            mismatches += 1;
            *kinds.entry(scenario.kind.clone()).or_insert(0) += 1;
            if mismatches <= MISMATCHES_SHOWN {
                describe(&mut report, scenario, &mismatch);
            }
            if replayed.hung {
                report.push_str("what hangs may disturb the rest, which was not replayed\n");
                break;
            }
        }
    }
    let mut summary = format!(
        "{}: {count} scenarios, {lines} lines compared\n",
        recording.head[1..].join(", ")
    );
    for row in rows::ALL {
        if uses.of(row) > 0 {
            let _ = writeln!(summary, "  {:5} times divergence {row}", uses.of(row));
        }
    }
    if mismatches == 0 {
        return (summary, Ok(()));
    }
    let _ = writeln!(report, "{mismatches} scenarios differ, by kind: {kinds:?}");
    (summary, Err(report))
}

fn describe(report: &mut String, scenario: &Scenario, mismatch: &Mismatch) {
    let number = scenario.first_line + mismatch.line;
    let _ = writeln!(
        report,
        "\nscenario {} ({}) differs at line {number}:",
        scenario.number, scenario.kind
    );
    for (index, line) in scenario.lines.iter().enumerate() {
        let mark = if index == mismatch.line { "-->" } else { "" };
        let _ = writeln!(
            report,
            "{mark:>4} {:6}  {line}",
            scenario.first_line + index
        );
    }
    let _ = writeln!(report, "CPython: {}", mismatch.theirs);
    let _ = writeln!(report, "here:    {}", mismatch.ours);
}

#[test]
fn traces() {
    let _guard = prepare();
    for path in paths() {
        let text = fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
        let recording =
            Recording::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (summary, outcome) = replay_all(recording);
        // Not with `eprintln!`, which is not shown when the test passes.
        let _ = write!(io::stderr(), "\n{summary}");
        if let Err(report) = outcome {
            panic!("{report}");
        }
    }
}

/// A recording that is wrong in any one line is found to be so: no line is passed over.
#[test]
fn every_line_counts() {
    let _guard = prepare();
    let read = |path: &str, every: usize| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let recording = Recording::parse(&fs::read_to_string(path).unwrap()).unwrap();
        recording.scenarios.into_iter().step_by(every)
    };
    let mut wrong = Vec::new();
    for scenario in read(KEPT, 61).chain(read(KEPT_OF_PROCESSES, 17)) {
        // After a hang, what is expected does not come from the recording.
        let hung = |step: &trace::Step| step.outcome == Outcome::Hung;
        if scenario.steps.iter().any(hung) || scenario.kind == "churn" {
            continue;
        }
        for (index, line) in scenario.lines.iter().enumerate().skip(1) {
            if line.starts_with(' ') || line.starts_with("= ") {
                let mut lines = scenario.lines.clone();
                lines[index] = format!("{line} indeed");
                let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
                wrong.push((index, Arc::new(Scenario::parse(&lines, 1).unwrap())));
            }
        }
    }
    assert!(wrong.len() > 100, "only {} lines were changed", wrong.len());
    let scenarios: Vec<_> = wrong
        .iter()
        .map(|(_, scenario)| Arc::clone(scenario))
        .collect();
    let replayed = replay(&scenarios);
    assert_eq!(replayed.len(), wrong.len(), "the last one hung");
    for ((index, scenario), replayed) in wrong.iter().zip(replayed) {
        assert!(
            replayed
                .mismatch
                .map_or(false, |mismatch| mismatch.line == *index),
            "`{}` of scenario {} was passed over",
            scenario.lines[*index],
            scenario.number
        );
    }
}

#[test]
fn actions_are_read_as_they_are_written() {
    for line in [
        "new f0",
        "add_done_callback f0 c0 {}",
        "add_done_callback f0 c0 {cancel f1; add_done_callback f1 c1 {panic boom}; result f0 0}",
        "pool 1 - {gate g0; return []} {raise ValueError bad}",
    ] {
        let action = trace::Action::parse(line).map(|action| action.to_string());
        assert_eq!(action.as_deref(), Some(line));
    }
    for line in ["", "cancel f0}", "submit p0 {return 1", "{cancel f0}"] {
        assert!(trace::Action::parse(line).is_none(), "{line}");
    }
}
