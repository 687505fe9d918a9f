//! Random small programs against a specification: what two or three threads see of futures, of `wait` and of a pool must be
//! what they could see if each operation happened at once, in some order.
//!
//! A program is made from a seed, run in every schedule of at most two preemptions, and after each of them the
//! answers of all operations are compared with [`Spec`], a state machine without threads: is there an order of the operations that
//! keeps each thread's own order, and that of operations of which one had ended before the other began, in
//! which the machine gives these answers? (Herlihy and Wing's linearizability.) What a pool does by itself, beginning
//! a call and ending it, may happen at any point in between. A program that fails is made smaller as long as it fails, and printed
//! as Rust code.
use concurrent_futures::*;
use executor::WORKERS;
use model::thread;
use model::Explorer;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// One call of a function, by one thread. The futures are two that nobody works for, `f0` and `f1`, and those of the calls
/// of the pool: call 0 was submitted before the threads begin, the others are the thread's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Op {
    Cancel(usize),
    SetRunning(usize),
    SetResult(usize, i32),
    SetException(usize),
    State(usize),
    Poll(usize),
    Take(usize),
    AddCallback(usize),
    WaitBoth,
    Submit(usize),
    CancelCall(usize),
    CallState(usize),
    CallResult(usize),
    Shutdown { wait: bool, cancel: bool },
}

/// What an operation has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Answer {
    Nothing,
    Is(bool),
    Refused,
    Value(i32),
    Timeout,
    Cancelled,
    Failed,
    Taken,
    In(State),
    Done(bool, bool),
}

/// What is known of one operation after a schedule.
#[derive(Clone, Copy, Debug)]
struct Event {
    op: Op,
    began: usize,
    ended: usize,
    answer: Answer,
}

type Program = Vec<Vec<Op>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Bare {
    state: State,
    value: Option<i32>,
    failed: bool,
    callbacks: usize,
}

/// The specification's state: the two futures, the calls of the pool in the order in which they were submitted, and whether the
/// pool is open.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Spec {
    futures: [Bare; 2],
    calls: Vec<(usize, State)>,
    closed: bool,
    cancels: bool,
}

impl Spec {
    fn new(with_pool: bool) -> Self {
        let bare = Bare { state: State::Pending, value: None, failed: false, callbacks: 0 };
        let calls = if with_pool { vec![(0, State::Pending)] } else { vec![] };
        Spec { futures: [bare; 2], calls, closed: false, cancels: false }
    }

    fn is_done(state: State) -> bool {
        matches!(state, State::Cancelled | State::CancelledAndNotified | State::Finished)
    }

    fn call(&mut self, number: usize) -> Option<&mut State> {
        self.calls.iter_mut().find(|call| call.0 == number).map(|call| &mut call.1)
    }

    /// What the pool may do now by itself.
    fn internal(&self) -> Vec<Spec> {
        let mut next = Vec::new();
        let running = self.calls.iter().filter(|call| call.1 == State::Running).count();
        let mut earlier_is_pending = false;
        for (position, &(_, state)) in self.calls.iter().enumerate() {
            let mut change = |state| {
                let mut spec = self.clone();
                spec.calls[position].1 = state;
                next.push(spec);
            };
            match state {
                State::Pending => {
                    let free = WORKERS.map_or(true, |most| running < most && !earlier_is_pending);
                    if free {
                        change(State::Running);
                    }
                    if self.cancels {
                        change(State::CancelledAndNotified);
                    }
                    // A shutdown that cancels takes calls out of the queue before it marks them.
                    earlier_is_pending |= !self.cancels;
                }
                State::Running => change(State::Finished),
                _ => {}
            }
        }
        next
    }

    /// Performs an operation that gives this answer, if it may give it now. The second half of `Shutdown` is its end.
    fn step(&self, event: &Event, second: bool) -> Option<Spec> {
        let mut spec = self.clone();
        let answer = match event.op {
            Op::Cancel(f) => {
                let state = &mut spec.futures[f].state;
                if *state == State::Pending {
                    *state = State::Cancelled;
                }
                Answer::Is(matches!(state, State::Cancelled | State::CancelledAndNotified))
            }
            Op::SetRunning(f) => {
                let state = &mut spec.futures[f].state;
                match state {
                    State::Pending => {
                        *state = State::Running;
                        Answer::Is(true)
                    }
                    State::Cancelled => {
                        *state = State::CancelledAndNotified;
                        Answer::Is(false)
                    }
                    _ => Answer::Refused,
                }
            }
            Op::SetResult(f, _) | Op::SetException(f) => {
                let future = &mut spec.futures[f];
                if Spec::is_done(future.state) {
                    Answer::Refused
                } else {
                    future.state = State::Finished;
                    match event.op {
                        Op::SetResult(_, value) => future.value = Some(value),
                        _ => future.failed = true,
                    }
                    Answer::Nothing
                }
            }
            Op::State(f) => Answer::In(spec.futures[f].state),
            Op::Poll(f) | Op::Take(f) => {
                let future = &mut spec.futures[f];
                match (future.state, future.value) {
                    (State::Finished, _) if future.failed => Answer::Failed,
                    (State::Finished, Some(value)) => {
                        if matches!(event.op, Op::Take(_)) {
                            future.value = None;
                        }
                        Answer::Value(value)
                    }
                    (State::Finished, None) => Answer::Taken,
                    (State::Cancelled, _) | (State::CancelledAndNotified, _) => Answer::Cancelled,
                    _ => Answer::Timeout,
                }
            }
            Op::AddCallback(f) => {
                spec.futures[f].callbacks += 1;
                Answer::Nothing
            }
            Op::WaitBoth => {
                let ends = |f: usize| {
                    matches!(spec.futures[f].state, State::Finished | State::CancelledAndNotified)
                };
                Answer::Done(ends(0), ends(1))
            }
            Op::Submit(number) => {
                if spec.closed {
                    Answer::Refused
                } else {
                    spec.calls.push((number, State::Pending));
                    Answer::Nothing
                }
            }
            Op::CancelCall(number) => match spec.call(number) {
                None => Answer::Nothing,
                Some(state) => {
                    if *state == State::Pending {
                        *state = State::CancelledAndNotified;
                    }
                    Answer::Is(*state == State::CancelledAndNotified)
                }
            },
            Op::CallState(number) => spec.call(number).map_or(Answer::Nothing, |state| Answer::In(*state)),
            Op::CallResult(number) => match spec.call(number) {
                None => Answer::Nothing,
                Some(State::Finished) => Answer::Value(number as i32),
                Some(State::CancelledAndNotified) => Answer::Cancelled,
                // It is waited for.
                Some(_) => return None,
            },
            Op::Shutdown { cancel, .. } if !second => {
                spec.closed = true;
                spec.cancels |= cancel;
                Answer::Nothing
            }
            Op::Shutdown { wait, cancel } => {
                let ended = |state: State| Spec::is_done(state) || (!wait && !(cancel && state == State::Pending));
                if !spec.calls.iter().all(|call| ended(call.1)) {
                    return None;
                }
                Answer::Nothing
            }
        };
        (answer == event.answer).then(|| spec)
    }
}

/// Whether some order explains the answers, and the calls of the callbacks.
fn is_explained(history: &[Vec<Event>], callbacks: [usize; 2], with_pool: bool) -> bool {
    type Position = (usize, bool);
    let mut seen: HashSet<(Spec, Vec<Position>)> = HashSet::new();
    let mut stack = vec![(Spec::new(with_pool), vec![(0, false); history.len()])];
    while let Some((spec, at)) = stack.pop() {
        if !seen.insert((spec.clone(), at.clone())) {
            continue;
        }
        if at.iter().zip(history).all(|(position, events)| position.0 == events.len()) {
            let called = |f: usize| if Spec::is_done(spec.futures[f].state) { spec.futures[f].callbacks } else { 0 };
            if [called(0), called(1)] == callbacks {
                return true;
            }
        }
        for next in spec.internal() {
            stack.push((next, at.clone()));
        }
        for thread in 0..history.len() {
            let (position, second) = at[thread];
            let event = match history[thread].get(position) {
                Some(event) => event,
                None => continue,
            };
            // Something that had ended before this one began comes first.
            let too_early = (0..history.len()).any(|other| {
                history[other].get(at[other].0).map_or(false, |earlier| earlier.ended < event.began)
            });
            if too_early {
                continue;
            }
            if let Some(next) = spec.step(event, second) {
                let mut at = at.clone();
                at[thread] = match event.op {
                    Op::Shutdown { .. } if !second => (position, true),
                    _ => (position + 1, false),
                };
                stack.push((next, at));
            }
        }
    }
    false
}

fn answer(outcome: Result<i32, Error>) -> Answer {
    match outcome {
        Ok(value) => Answer::Value(value),
        Err(Error::Cancelled) => Answer::Cancelled,
        Err(Error::Timeout) => Answer::Timeout,
        Err(Error::Exception(_)) => Answer::Failed,
        Err(Error::Taken) => Answer::Taken,
        Err(_) => unreachable!(),
    }
}

#[derive(Debug)]
struct No;

impl std::fmt::Display for No {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no")
    }
}

impl std::error::Error for No {}

fn uses_pool(program: &Program) -> bool {
    program.iter().flatten().any(|op| {
        matches!(
            op,
            Op::Submit(_) | Op::CancelCall(_) | Op::CallState(_) | Op::CallResult(_) | Op::Shutdown { .. }
        )
    })
}

fn perform<X: Executor>(
    op: Op,
    futures: &[Future<i32>; 2],
    pool: Option<&X>,
    calls: &mut Vec<(usize, Future<i32>)>,
    callbacks: &Arc<Mutex<[usize; 2]>>,
) -> Answer {
    let call = |calls: &[(usize, Future<i32>)], number| {
        calls.iter().find(|call| call.0 == number).map(|call| call.1.clone())
    };
    let unless = |refused: bool| if refused { Answer::Refused } else { Answer::Nothing };
    match op {
        Op::Cancel(f) => Answer::Is(futures[f].cancel()),
        Op::SetRunning(f) => futures[f].set_running_or_notify_cancel().map_or(Answer::Refused, Answer::Is),
        Op::SetResult(f, value) => unless(futures[f].set_result(value).is_err()),
        Op::SetException(f) => unless(futures[f].set_exception(Exception::new(No)).is_err()),
        Op::State(f) => Answer::In(futures[f].state()),
        Op::Poll(f) => answer(futures[f].result(Duration::ZERO)),
        Op::Take(f) => answer(futures[f].take_result(Duration::ZERO)),
        Op::AddCallback(f) => {
            let callbacks = callbacks.clone();
            futures[f].add_done_callback(move |_| callbacks.lock().unwrap()[f] += 1);
            Answer::Nothing
        }
        Op::WaitBoth => {
            let done = wait(futures.to_vec(), Duration::ZERO, ALL_COMPLETED).done;
            Answer::Done(done.contains(&futures[0]), done.contains(&futures[1]))
        }
        Op::Submit(number) => match pool.expect("a pool").submit(move || number as i32) {
            Ok(future) => {
                calls.push((number, future));
                Answer::Nothing
            }
            Err(_) => Answer::Refused,
        },
        Op::CancelCall(number) => call(calls, number).map_or(Answer::Nothing, |call| Answer::Is(call.cancel())),
        Op::CallState(number) => call(calls, number).map_or(Answer::Nothing, |call| {
            Answer::In(match call.state() {
                State::Cancelled => State::CancelledAndNotified,
                state => state,
            })
        }),
        Op::CallResult(number) => call(calls, number).map_or(Answer::Nothing, |call| answer(call.result(None))),
        Op::Shutdown { wait, cancel } => {
            let options = ShutdownOptions::new().wait(wait).cancel_futures(cancel);
            pool.expect("a pool").shutdown_with(options);
            Answer::Nothing
        }
    }
}

/// Runs a program once, in the schedule that is being explored, and panics if nothing explains what was seen.
fn run(program: &Program) {
    set_logger(|_| ());
    let with_pool = uses_pool(program);
    let pool = with_pool.then(|| std::sync::Arc::new(executor::executor()));
    let futures = [Future::new(), Future::new()];
    let first = pool.as_ref().map(|pool| (0, pool.submit(|| 0).unwrap()));
    let callbacks = Arc::new(Mutex::new([0; 2]));
    let (clock, history) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(vec![Vec::new(); program.len()])));
    let threads: Vec<_> = program
        .iter()
        .enumerate()
        .map(|(number, ops)| {
            let (ops, futures, pool, mut calls) = (ops.clone(), futures.clone(), pool.clone(), Vec::from_iter(first.clone()));
            let (callbacks, clock, history) = (callbacks.clone(), clock.clone(), history.clone());
            let tick = move || {
                let mut clock = clock.lock().unwrap();
                *clock += 1;
                *clock
            };
            let body = move || {
                for op in ops {
                    let began = tick();
                    let answer = perform(op, &futures, pool.as_deref(), &mut calls, &callbacks);
                    history.lock().unwrap()[number].push(Event { op, began, ended: tick(), answer });
                }
            };
            thread::Builder::new().name(format!("thread_{number}")).spawn(body).unwrap()
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    if let Some(pool) = pool {
        pool.shutdown();
    }
    let (history, callbacks) = (history.lock().unwrap().clone(), *callbacks.lock().unwrap());
    if !is_explained(&history, callbacks, with_pool) {
        let mut text = String::from("no order of the operations explains these answers:\n");
        for (number, events) in history.iter().enumerate() {
            for event in events {
                let _ = writeln!(
                    text,
                    "  thread_{number}: {:?}: {:?} (from {} to {})",
                    event.op, event.answer, event.began, event.ended
                );
            }
        }
        let _ = writeln!(text, "  callbacks called: {callbacks:?}");
        panic!("{text}");
    }
}

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Two threads with up to four operations each, or three with up to two.
fn random_program(seed: u64) -> Program {
    let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let threads = 2 + rng.below(2);
    let most = if threads == 2 { 4 } else { 2 };
    let pool = rng.below(3) == 0;
    let mut next_call = 0;
    (0..threads)
        .map(|_| {
            let mut own = vec![0];
            (0..1 + rng.below(most))
                .map(|_| {
                    let f = rng.below(2) as usize;
                    if pool {
                        let call = own[rng.below(own.len() as u64) as usize];
                        match rng.below(6) {
                            0 | 1 if next_call < 2 => {
                                next_call += 1;
                                own.push(next_call);
                                Op::Submit(next_call)
                            }
                            0 | 2 => Op::CancelCall(call),
                            1 | 3 => Op::CallState(call),
                            4 => Op::CallResult(call),
                            _ => Op::Shutdown { wait: rng.below(2) == 0, cancel: rng.below(2) == 0 },
                        }
                    } else {
                        match rng.below(9) {
                            0 => Op::Cancel(f),
                            1 => Op::SetRunning(f),
                            2 => Op::SetResult(f, 1 + rng.below(9) as i32),
                            3 => Op::SetException(f),
                            4 => Op::State(f),
                            5 => Op::Poll(f),
                            6 => Op::Take(f),
                            7 => Op::AddCallback(f),
                            _ => Op::WaitBoth,
                        }
                    }
                })
                .collect()
        })
        .collect()
}

fn explore(program: &Program) -> model::Report {
    let program = program.clone();
    Explorer::new().schedules(30_000).from_environment().run(move || run(&program))
}

/// As long as it fails without one of its operations, without that.
fn shrink(mut program: Program) -> Program {
    'smaller: loop {
        for thread in 0..program.len() {
            for position in 0..program[thread].len() {
                let mut smaller = program.clone();
                smaller[thread].remove(position);
                smaller.retain(|ops| !ops.is_empty());
                if explore(&smaller).failure.is_some() {
                    program = smaller;
                    continue 'smaller;
                }
            }
        }
        return program;
    }
}

/// The program as code, that one can paste into a test.
fn code(program: &Program) -> String {
    let mut text = String::from("let (f0, f1) = (Future::<i32>::new(), Future::<i32>::new());\n");
    if uses_pool(program) {
        text.push_str("let pool = std::sync::Arc::new(executor());\nlet call_0 = pool.submit(|| 0).unwrap();\n");
    }
    for (number, ops) in program.iter().enumerate() {
        let _ = writeln!(text, "let thread_{number} = {{");
        text.push_str("    let (f0, f1) = (f0.clone(), f1.clone());\n");
        if uses_pool(program) {
            text.push_str("    let (pool, call_0) = (pool.clone(), call_0.clone());\n");
        }
        text.push_str("    thread::spawn(move || {\n");
        for op in ops {
            let line = match *op {
                Op::Cancel(f) => format!("f{f}.cancel();"),
                Op::SetRunning(f) => format!("let _ = f{f}.set_running_or_notify_cancel();"),
                Op::SetResult(f, value) => format!("let _ = f{f}.set_result({value});"),
                Op::SetException(f) => format!("let _ = f{f}.set_exception(std::fmt::Error);"),
                Op::State(f) => format!("f{f}.state();"),
                Op::Poll(f) => format!("let _ = f{f}.result(Duration::ZERO);"),
                Op::Take(f) => format!("let _ = f{f}.take_result(Duration::ZERO);"),
                Op::AddCallback(f) => format!("f{f}.add_done_callback(|_| println!(\"called\"));"),
                Op::WaitBoth => "wait(vec![f0.clone(), f1.clone()], Duration::ZERO, ALL_COMPLETED);".to_owned(),
                Op::Submit(number) => format!("let call_{number} = pool.submit(|| {number}).unwrap();"),
                Op::CancelCall(number) => format!("call_{number}.cancel();"),
                Op::CallState(number) => format!("call_{number}.state();"),
                Op::CallResult(number) => format!("let _ = call_{number}.result(None);"),
                Op::Shutdown { wait, cancel } => {
                    format!("pool.shutdown_with(ShutdownOptions::new().wait({wait}).cancel_futures({cancel}));")
                }
            };
            let _ = writeln!(text, "        {line}");
        }
        text.push_str("    })\n};\n");
    }
    for number in 0..program.len() {
        let _ = writeln!(text, "thread_{number}.join().unwrap();");
    }
    if uses_pool(program) {
        text.push_str("pool.shutdown();\n");
    }
    text
}

fn main() {
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().expect("a number"));
    let (programs, seed) = (number("PROGRAMS", 300), number("SEED", 1));
    let (mut schedules, mut complete) = (0, 0);
    for seed in seed..seed + programs {
        let program = random_program(seed);
        let report = explore(&program);
        schedules += report.schedules;
        complete += usize::from(report.complete);
        if report.failure.is_some() {
            let program = shrink(program);
            let failure = explore(&program).failure.expect("it has failed before");
            println!("SEED={seed} PROGRAMS=1 fails:\n\n{}\n{}", code(&program), failure.text());
            std::process::exit(1);
        }
    }
    println!(
        "{programs} programs from seed {seed}, {complete} of them in all schedules of at most two preemptions: \
         {schedules} schedules, each of them explained"
    );
}
