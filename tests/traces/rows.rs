//! Where the crate differs from CPython on purpose. Each rule says exactly what the crate does instead;
//! whatever else differs is a mismatch.

use crate::replay::Context;
use crate::trace::{Action, Scenario, Step, Word};
use crate::values::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A row of the divergences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    CancelledTellsWaiters,
    CallbackUnderLock,
    InitializerAndCancelled,
    CompletedFromOutside,
    JoinItself,
    Nesting,
    NamesTheProcess,
    RunningIsRunning,
}

pub const ALL: [Row; 8] = [
    Row::CancelledTellsWaiters,
    Row::CallbackUnderLock,
    Row::InitializerAndCancelled,
    Row::CompletedFromOutside,
    Row::JoinItself,
    Row::Nesting,
    Row::NamesTheProcess,
    Row::RunningIsRunning,
];

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Row::CancelledTellsWaiters => "1: cancelling a pool's future tells its waiters at once",
            Row::CallbackUnderLock => {
                "2: a callback may use the executor that completes its future"
            }
            Row::InitializerAndCancelled => {
                "3: a failing initializer completes what is queued behind a cancelled future"
            }
            Row::CompletedFromOutside => "4: a worker survives a future completed by others",
            Row::JoinItself => "5: a worker may shut its own pool down with wait",
            Row::Nesting => "15: callbacks nested deeper than 16 levels come after the outer ones",
            Row::NamesTheProcess => "92: a broken process pool names the process and its status",
            Row::RunningIsRunning => {
                "97: a call that no process has is not running, and can be cancelled"
            }
        })
    }
}

const BROKEN: &str =
    "BrokenThreadPool: A thread initializer failed, the thread pool is not usable anymore";

/// The events of CPython that are to be expected here, and the rows because of which others are not.
pub fn expected_events(scenario: &Scenario, index: usize) -> (Vec<String>, Vec<Row>) {
    let mut rows = Vec::new();
    let mut expected: Vec<String> = Vec::new();
    for line in &scenario.steps[index].events {
        // The worker dies of it there; here it has nothing more to report.
        if scenario.kind == "completed_from_outside"
            && line
                == "log CRITICAL Exception in worker [InvalidStateError: Future in unexpected state]"
            && expected.last().map(String::as_str)
                == Some("log CRITICAL Future ID in unexpected state: FINISHED")
        {
            rows.push(Row::CompletedFromOutside);
        } else {
            expected.push(line.clone());
        }
    }
    (expected, rows)
}

/// How many events there are here beyond those of CPython, when CPython hung.
pub fn events_beyond_hang(scenario: &Scenario) -> usize {
    usize::from(scenario.kind == "callback_under_lock")
}

/// Why this line may differ. Both have the form `action = outcome`, or are some other event.
pub fn line_row<T: Value>(context: &Context<T>, theirs: &str, ours: &str) -> Option<Row> {
    let notified = theirs
        .replace("CANCELLED_AND_NOTIFIED", "CANCELLED")
        .replace("CANCELLED", "CANCELLED_AND_NOTIFIED");
    if ours == notified && of_pool_only(theirs) {
        return Some(Row::CancelledTellsWaiters);
    }
    let (action, their_outcome) = split(theirs)?;
    let (our_action, our_outcome) = split(ours)?;
    if action != our_action {
        return None;
    }
    if action.contains("shutdown true")
        && their_outcome == "raise RuntimeError: cannot join current thread"
        && our_outcome == "()"
    {
        return Some(Row::JoinItself);
    }
    let told = |name: &str| name.starts_with('p') && context.future(name).cancelled();
    if outcome_with_told(action, their_outcome, our_outcome, told).as_deref() == Some(our_outcome) {
        return Some(Row::CancelledTellsWaiters);
    }
    None
}

const DIED: &str =
    "A process in the process pool was terminated abruptly while the future was running or \
                    pending";
const REFUSED: &str = "A child process terminated abruptly, the process pool is not usable anymore";

/// Why this line of a scenario with processes may differ. `index` is that of the step.
pub fn process_row(scenario: &Scenario, index: usize, theirs: &str, ours: &str) -> Option<Row> {
    let steps = &scenario.steps;
    if let Some(status) = steps.iter().find_map(|step| exit_status(&step.action)) {
        let named = format!("{DIED} (process N, exit status: {status})");
        let died = theirs.replace(&format!("{DIED}."), &named);
        if died != theirs && died == ours || theirs.replace(REFUSED, &named) == ours {
            return Some(Row::NamesTheProcess);
        }
    }
    let (action, their_outcome) = split(theirs)?;
    let name = action.split(' ').nth(1)?;
    // A call with a gate was begun when it was there.
    let settled = |step: &Step| step.action.name() == "settle";
    let begun = |until: usize| {
        let gate = gate_of(scenario, name);
        let gates = steps[..until].iter().filter(|step| settled(step));
        gate.map_or(false, |gate| {
            gates
                .flat_map(|step| step.action.texts(1))
                .any(|it| it == gate)
        })
    };
    if their_outcome == "RUNNING" && ours == format!("{action} = PENDING") && !begun(index) {
        return Some(Row::RunningIsRunning);
    }
    let cancels = |step: &Step| {
        let action = step.action.to_string();
        action.contains("shutdown ") && action.trim_end_matches('}').ends_with(" true")
    };
    let cancelled = steps[..index].iter().position(cancels)?;
    let right = match action.split(' ').next()? {
        "repr" => their_outcome.contains("state=finished") && ours.contains("state=cancelled"),
        "cancelled" => their_outcome == "false" && ours.ends_with(" = true"),
        _ => false,
    };
    (right && !begun(cancelled)).then_some(Row::RunningIsRunning)
}

/// The status with which a submitted task ends its process.
fn exit_status(action: &Action) -> Option<&str> {
    let body = (action.name() == "submit").then(|| action.block(2))?;
    let exit = body.iter().find(|action| action.name() == "exit")?;
    Some(exit.text(1))
}

/// The gate of the task of that name.
fn gate_of<'a>(scenario: &'a Scenario, name: &str) -> Option<&'a str> {
    let actions = scenario.steps.iter().map(|step| &step.action);
    let mut submits = actions.filter(|action| action.name() == "submit");
    let submit = submits.find(|action| action.text(1) == name)?;
    let gate = submit
        .block(2)
        .iter()
        .find(|action| action.name() == "gate")?;
    Some(gate.text(1))
}

/// CPython's outcome of `wait` or `collect`, with those that are done here only moved to those that are
/// done, if it is right that they are.
fn outcome_with_told(
    action: &str,
    theirs: &str,
    ours: &str,
    told: impl Fn(&str) -> bool,
) -> Option<String> {
    let (their_done, their_rest) = set(theirs.strip_prefix("done ").unwrap_or(theirs))?;
    let (our_done, _) = set(ours.strip_prefix("done ").unwrap_or(ours))?;
    let moved: BTreeSet<&str> = our_done.difference(&their_done).copied().collect();
    if !moved.iter().all(|name| told(name)) {
        return None;
    }
    let done = show(their_done.union(&moved));
    if action.contains("wait ") {
        let (their_not_done, end) = set(their_rest.strip_prefix(" not_done ")?)?;
        let not_done = show(their_not_done.difference(&moved));
        Some(format!("done {done} not_done {not_done}{end}"))
    } else {
        let text = their_rest.strip_prefix(" raise TimeoutError: ")?;
        let (unfinished, end) = text.split_once(' ')?;
        match unfinished.parse::<usize>().ok()?.checked_sub(moved.len())? {
            0 => Some(format!("{done} end")),
            left => Some(format!("{done} raise TimeoutError: {left} {end}")),
        }
    }
}

/// The names in `{p0 p1} and the rest`, and the rest.
fn set(text: &str) -> Option<(BTreeSet<&str>, &str)> {
    let (names, rest) = text.strip_prefix('{')?.split_once('}')?;
    let names = names.split(' ').filter(|name| !name.is_empty());
    Some((names.collect(), rest))
}

fn show<'a>(names: impl Iterator<Item = &'a &'a str>) -> String {
    let names: Vec<&str> = names.copied().collect();
    format!("{{{}}}", names.join(" "))
}

fn split(line: &str) -> Option<(&str, &str)> {
    line.split_once(" = ")
}

/// Whether the futures that the line is about were all made by a pool.
fn of_pool_only(line: &str) -> bool {
    let named = |prefix: char| {
        line.split(|c: char| !c.is_alphanumeric()).any(|word| {
            let mut characters = word.chars();
            characters.next() == Some(prefix) && characters.as_str().parse::<usize>().is_ok()
        })
    };
    named('p') && !named('f')
}

/// Why all events of a step may differ together.
pub fn events_row(scenario: &Scenario, theirs: &[String], ours: &[String]) -> Option<Row> {
    let calls = |lines: &[String]| -> Vec<String> {
        let calls = lines.iter().filter(|line| !line.contains(": "));
        calls.cloned().collect()
    };
    let sorted = |lines: &[String]| {
        let mut lines = lines.to_vec();
        lines.sort();
        lines
    };
    let deep = calls(theirs).len() > 16;
    if scenario.kind == "chain"
        && deep
        && calls(theirs) == calls(ours)
        && sorted(theirs) == sorted(ours)
    {
        return Some(Row::Nesting);
    }
    None
}

/// The row of a hang, if the crate does what it says, in the operation that hung or in one after it.
pub fn instead_of_hang(
    scenario: &Scenario,
    step: &Step,
    ours: &str,
    events_beyond: &[String],
) -> Option<Row> {
    let action = &step.action;
    let (row, right) = match scenario.kind.as_str() {
        "cancelled_not_picked_up" => {
            let names = |from: usize| {
                let names: BTreeSet<&str> = action.texts(from).into_iter().collect();
                names.into_iter().collect::<Vec<_>>().join(" ")
            };
            let right = match action.name() {
                "wait" => ours == format!("done {{{}}} not_done {{}}", names(3)),
                "collect" => ours == format!("{{{}}} end", names(2)),
                "repr" => ours.contains("state=cancelled") || ours.contains("state=finished"),
                _ => false,
            };
            (Row::CancelledTellsWaiters, right)
        }
        "callback_under_lock" => {
            let inner = scenario.steps.iter().find_map(|step| {
                let is_callback = step.action.name() == "add_done_callback";
                is_callback.then(|| step.action.block(3)[0].to_string())
            })?;
            let right = match action.name() {
                "done" => ours == "true",
                "settle" => ours == "()",
                "shutdown" | "open" => {
                    let of_callback = events_beyond.first()?.strip_prefix("c0: ")?;
                    let outcome = of_callback.strip_prefix(&inner)?.strip_prefix(" = ")?;
                    ours == "()"
                        && match (inner.starts_with("submit"), action.name()) {
                            (false, _) => outcome == "()",
                            (true, "open") => {
                                let text = BROKEN.split_once(": ")?.1;
                                outcome == format!("raise SubmitError: {text}")
                            }
                            (true, _) => outcome
                                == "raise SubmitError: cannot schedule new futures after shutdown",
                        }
                }
                _ => false,
            };
            (Row::CallbackUnderLock, right)
        }
        "initializer_and_cancelled" => {
            let right = match action.name() {
                "cancelled" => ours == "true",
                "exception" => ours == BROKEN,
                _ => false,
            };
            (Row::InitializerAndCancelled, right)
        }
        "completed_from_outside" => {
            let right = match action.name() {
                "result" => returned_by(scenario, action.text(1)).as_deref() == Some(ours),
                "repr" => ours.contains("state=finished"),
                _ => false,
            };
            (Row::CompletedFromOutside, right)
        }
        _ => return None,
    };
    right.then_some(row)
}

/// What the task of that name returns.
fn returned_by(scenario: &Scenario, name: &str) -> Option<String> {
    let submit = scenario
        .steps
        .iter()
        .map(|step| &step.action)
        .find(|action| action.name() == "submit" && action.text(1) == name)?;
    match submit.0.get(2) {
        Some(Word::Block(body)) => {
            let end: &Action = body.last()?;
            (end.name() == "return").then(|| end.text(1).to_owned())
        }
        _ => None,
    }
}

/// How often each row was used.
#[derive(Default)]
pub struct Uses(BTreeMap<Row, usize>);

impl Uses {
    pub fn count(&mut self, row: Row) {
        *self.0.entry(row).or_insert(0) += 1;
    }

    pub fn add(&mut self, other: &Uses) {
        for (row, count) in &other.0 {
            *self.0.entry(*row).or_insert(0) += count;
        }
    }

    pub fn of(&self, row: Row) -> usize {
        self.0.get(&row).copied().unwrap_or(0)
    }
}
