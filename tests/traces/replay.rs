//! Performs the actions of a scenario on the crate.

use crate::processes::Desk;
use crate::trace::Action;
use crate::values::{exception, mask, show_error, show_exception, show_state, with_text, Value};
use concurrent_futures::process::ProcessPoolExecutor;
use concurrent_futures::{
    as_completed, wait, AsCompleted, Error, Exception, Executor, Future, InvalidStateError,
    LogRecord, MapOptions, ReturnWhen, ShutdownOptions, ThreadPoolExecutor, ALL_COMPLETED,
    FIRST_COMPLETED, FIRST_EXCEPTION,
};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long to wait for the events that CPython had.
const EVENTS_LIMIT: Duration = Duration::from_secs(10);

pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|error| error.into_inner())
}

pub type Results<T> = Box<dyn Iterator<Item = Result<T, Error>> + Send>;

/// The futures, iterators, gates, threads and the pool of one scenario.
pub struct Context<T> {
    pub futures: Mutex<BTreeMap<String, Future<T>>>,
    iterators: Mutex<BTreeMap<String, AsCompleted<T>>>,
    pub maps: Mutex<BTreeMap<String, Results<T>>>,
    gates: Mutex<Gates>,
    threads: Mutex<BTreeMap<String, JoinHandle<String>>>,
    pool: Mutex<Option<ThreadPoolExecutor>>,
    /// The pool of a scenario with processes.
    pub processes: Mutex<Option<ProcessPoolExecutor>>,
    /// Where the tasks of those report.
    pub desk: Mutex<Option<Desk>>,
    pub events: Arc<Events>,
    workers: Arc<Workers>,
}

/// What callbacks, tasks and the logger reported, in order.
#[derive(Default)]
pub struct Events {
    lines: Mutex<Vec<String>>,
    added: Condvar,
}

impl Events {
    pub fn add(&self, line: String) {
        lock(&self.lines).push(line);
        self.added.notify_all();
    }

    pub fn log(&self, record: &LogRecord<'_>) {
        let level = format!("{:?}", record.level()).to_uppercase();
        let mut line = format!("log {} {}", level, mask(record.message()));
        if let Some(exception) = record.exception() {
            line += &format!(" [{}]", show_exception(exception));
        }
        self.add(line);
    }

    /// Waits until there are so many lines, and takes all there are.
    pub fn take(&self, count: usize) -> Vec<String> {
        let end = Instant::now() + EVENTS_LIMIT;
        let mut lines = lock(&self.lines);
        while lines.len() < count {
            let left = end.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                break;
            }
            lines = self
                .added
                .wait_timeout(lines, left)
                .unwrap_or_else(|error| error.into_inner())
                .0;
        }
        std::mem::take(&mut *lines)
    }
}

#[derive(Default)]
struct Gates {
    by_name: BTreeMap<String, Arc<Gate>>,
    /// The scenario has ended, and nobody is to wait any more.
    all_open: bool,
}

#[derive(Default)]
struct Gate {
    /// Whether a task has reached it, and whether it was opened.
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Gate {
    fn update(&self, change: impl FnOnce(&mut (bool, bool))) {
        change(&mut lock(&self.state));
        self.changed.notify_all();
    }

    fn wait_until(&self, holds: impl Fn(&(bool, bool)) -> bool) {
        let mut state = lock(&self.state);
        while !holds(&state) {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(|error| error.into_inner());
        }
    }
}

/// The living threads that have run a task.
#[derive(Default)]
struct Workers {
    count: Mutex<usize>,
    changed: Condvar,
}

/// Lives in a worker's thread-local storage, and so is dropped when the thread ends.
struct Worker(Arc<Workers>);

impl Drop for Worker {
    fn drop(&mut self) {
        *lock(&self.0.count) -= 1;
        self.0.changed.notify_all();
    }
}

thread_local! {
    static WORKER: RefCell<Option<Worker>> = const { RefCell::new(None) };
}

impl<T: Value> Context<T> {
    pub fn new() -> Arc<Self> {
        Arc::new(Context {
            futures: Default::default(),
            iterators: Default::default(),
            maps: Default::default(),
            gates: Default::default(),
            threads: Default::default(),
            pool: Default::default(),
            processes: Default::default(),
            desk: Default::default(),
            events: Default::default(),
            workers: Default::default(),
        })
    }

    pub fn future(&self, name: &str) -> Future<T> {
        let future = lock(&self.futures).get(name).cloned();
        future.unwrap_or_else(|| panic!("no future is named {name}"))
    }

    fn all(&self, names: &[&str]) -> Vec<Future<T>> {
        names.iter().map(|name| self.future(name)).collect()
    }

    fn name_of(&self, future: &Future<T>) -> String {
        let futures = lock(&self.futures);
        let found = futures.iter().find(|(_, other)| *other == future);
        found.map_or_else(|| "?".to_owned(), |(name, _)| name.clone())
    }

    fn show_set<'a>(&self, futures: impl IntoIterator<Item = &'a Future<T>>) -> String {
        let mut names: Vec<String> = futures.into_iter().map(|f| self.name_of(f)).collect();
        names.sort();
        format!("{{{}}}", names.join(" "))
    }

    /// What a task does that comes to a gate.
    pub fn pass(&self, gate: &str) {
        let gate = self.gate(gate);
        gate.update(|state| state.0 = true);
        gate.wait_until(|state| state.1);
    }

    fn gate(&self, name: &str) -> Arc<Gate> {
        let mut gates = lock(&self.gates);
        let all_open = gates.all_open;
        let gate = gates.by_name.entry(name.to_owned()).or_default();
        lock(&gate.state).1 |= all_open;
        Arc::clone(gate)
    }

    fn pool(&self) -> ThreadPoolExecutor {
        let pool = lock(&self.pool).clone();
        pool.unwrap_or_else(|| panic!("there is no pool"))
    }

    /// What a task, a callback or an initializer does.
    fn run_body(self: &Arc<Self>, who: &str, body: &[Action]) -> Result<Option<T>, Exception> {
        for action in body {
            match action.name() {
                "return" => return Ok(Some(T::parse(action.text(1)))),
                "raise" => return Err(exception(action.text(1), action.text(2))),
                "panic" => panic!("{}", action.text(1)),
                "note" => self.events.add(format!("{who}: note")),
                "thread_name" => {
                    let name = mask(thread::current().name().unwrap_or("without"));
                    self.events.add(format!("{who}: thread_name = {name}"));
                }
                "gate" => self.pass(action.text(1)),
                _ => {
                    let outcome = self.perform(action);
                    self.events.add(format!("{who}: {action} = {outcome}"));
                }
            }
        }
        Ok(None)
    }

    fn run_task(self: &Arc<Self>, who: &str, body: &[Action]) -> Result<T, Exception> {
        WORKER.with(|worker| {
            worker.borrow_mut().get_or_insert_with(|| {
                *lock(&self.workers.count) += 1;
                Worker(Arc::clone(&self.workers))
            });
        });
        let value = self.run_body(who, body)?;
        Ok(value.unwrap_or_else(|| panic!("the task {who} returns nothing")))
    }

    /// Does it, and says what came of it.
    pub fn perform(self: &Arc<Self>, action: &Action) -> String {
        if let Some(outcome) = self.perform_on_processes(action) {
            return outcome;
        }
        match action.name() {
            "new" => {
                lock(&self.futures).insert(action.text(1).to_owned(), Future::new());
                unit()
            }
            "state" => show_state(self.future(action.text(1)).state()),
            "repr" => mask(&format!("{:?}", self.future(action.text(1)))),
            "cancelled" => self.future(action.text(1)).cancelled().to_string(),
            "running" => self.future(action.text(1)).running().to_string(),
            "done" => self.future(action.text(1)).done().to_string(),
            "cancel" => self.changed(action, |future| Ok(future.cancel().to_string())),
            "set_running_or_notify_cancel" => self.changed(action, |future| {
                let running = future.set_running_or_notify_cancel();
                running.map(|running| running.to_string())
            }),
            "set_result" => self.changed(action, |future| {
                future.set_result(T::parse(action.text(2))).map(|()| unit())
            }),
            "set_exception" => self.changed(action, |future| {
                future
                    .set_exception(exception(action.text(2), action.text(3)))
                    .map(|()| unit())
            }),
            "result" => match self.future(action.text(1)).result(seconds(action.text(2))) {
                Ok(value) => value.show(),
                Err(error) => raised(&error),
            },
            "exception" => {
                let future = self.future(action.text(1));
                match future.exception(seconds(action.text(2))) {
                    Ok(None) => "None".to_owned(),
                    Ok(Some(exception)) => show_exception(&exception),
                    Err(error) => raised(&error),
                }
            }
            "add_done_callback" => {
                let context = Arc::clone(self);
                let name = action.text(2).to_owned();
                let body = action.block(3).to_vec();
                self.future(action.text(1))
                    .add_done_callback(move |future| {
                        let (called_for, state) = (context.name_of(future), future.state());
                        context.events.add(format!("{name} {called_for} {state}"));
                        if context.run_body(&name, &body).is_err() {
                            panic!("a callback has nowhere to return an error to");
                        }
                    });
                unit()
            }
            "wait" => {
                let fs = self.all(&action.texts(3));
                let waited = wait(fs, seconds(action.text(1)), return_when(action.text(2)));
                format!(
                    "done {} not_done {}",
                    self.show_set(&waited.done),
                    self.show_set(&waited.not_done)
                )
            }
            "as_completed" => self.as_completed(action),
            "collect" => {
                let mut taken = Vec::new();
                let mut end = "end".to_owned();
                for item in as_completed(self.all(&action.texts(2)), seconds(action.text(1))) {
                    match item {
                        Ok(future) => taken.push(future),
                        Err(error) => end = format!("raise TimeoutError: {error}"),
                    }
                }
                format!("{} {end}", self.show_set(&taken))
            }
            "next" => self.next(action.text(1)),
            "drop" => {
                let name = action.text(1);
                if name == "pool" {
                    let pool = lock(&self.pool).take();
                    drop(pool);
                } else if name.starts_with('m') {
                    let map = lock(&self.maps).remove(name);
                    drop(map);
                } else {
                    let iterator = lock(&self.iterators).remove(name);
                    drop(iterator);
                }
                unit()
            }
            "churn" => self.churn(action),
            "spawn" => {
                let context = Arc::clone(self);
                let action_there = action.block(2)[0].clone();
                let thread = thread::spawn(move || context.perform(&action_there));
                lock(&self.threads).insert(action.text(1).to_owned(), thread);
                unit()
            }
            "pause" => {
                thread::sleep(Duration::from_millis(3));
                unit()
            }
            "join" => {
                let thread = lock(&self.threads).remove(action.text(1));
                thread
                    .unwrap_or_else(|| panic!("no such thread"))
                    .join()
                    .unwrap_or_else(|_| "panicked".to_owned())
            }
            "pool" => self.new_pool(action),
            "submit" => {
                let context = Arc::clone(self);
                let name = action.text(1).to_owned();
                let who = name.clone();
                let body = action.block(2).to_vec();
                let submitted = self
                    .pool()
                    .try_submit(move || context.run_task(&who, &body));
                match submitted {
                    Ok(future) => {
                        lock(&self.futures).insert(name, future);
                        unit()
                    }
                    Err(error) => format!("raise SubmitError: {error}"),
                }
            }
            "map" => self.map(action),
            "open" => {
                self.gate(action.text(1)).update(|state| state.1 = true);
                unit()
            }
            "settle" => {
                for name in action.texts(1) {
                    if name.starts_with('g') {
                        self.gate(name).wait_until(|state| state.0);
                    } else {
                        let _ = self.future(name).exception(None);
                    }
                }
                unit()
            }
            "shutdown" => {
                let options = ShutdownOptions::new()
                    .wait(action.text(1) == "true")
                    .cancel_futures(action.text(2) == "true");
                self.pool().shutdown_with(options);
                unit()
            }
            "thread_count" => self.pool().thread_count().to_string(),
            "queue_size" => self.pool().queue_size().to_string(),
            "max_workers" => self.pool().max_workers().to_string(),
            "ended" => {
                self.wait_for_workers();
                "all".to_owned()
            }
            _ => panic!("unknown action `{action}`"),
        }
    }

    /// An operation that may change the state of the future, which its outcome then says.
    fn changed(
        &self,
        action: &Action,
        operation: impl FnOnce(&Future<T>) -> Result<String, InvalidStateError>,
    ) -> String {
        let future = self.future(action.text(1));
        let outcome = match operation(&future) {
            Ok(outcome) => outcome,
            Err(error) => format!("raise InvalidStateError: {}", mask(&error.to_string())),
        };
        format!("{outcome} | {}", future.state())
    }

    fn as_completed(&self, action: &Action) -> String {
        let fs = self.all(&action.texts(4));
        let mut iterator = as_completed(fs, seconds(action.text(2)));
        let mut taken = Vec::new();
        let mut end = None;
        for _ in 0..action.text(3).parse().unwrap_or(0) {
            match iterator.next() {
                Some(Ok(future)) => taken.push(future),
                Some(Err(error)) => end = Some(format!("raise TimeoutError: {error}")),
                None => end = Some("end".to_owned()),
            }
        }
        lock(&self.iterators).insert(action.text(1).to_owned(), iterator);
        end.unwrap_or_else(|| self.show_set(&taken))
    }

    fn next(&self, name: &str) -> String {
        // Taken out meanwhile: `next` may block, and others use the table.
        if name.starts_with('m') {
            let map = lock(&self.maps).remove(name);
            let mut map = map.unwrap_or_else(|| panic!("no map is named {name}"));
            let item = map.next();
            lock(&self.maps).insert(name.to_owned(), map);
            return match item {
                Some(Ok(value)) => value.show(),
                Some(Err(error)) => raised(&error),
                None => "end".to_owned(),
            };
        }
        let iterator = lock(&self.iterators).remove(name);
        let mut iterator = iterator.unwrap_or_else(|| panic!("no iterator is named {name}"));
        let item = iterator.next();
        lock(&self.iterators).insert(name.to_owned(), iterator);
        match item {
            Some(Ok(future)) => self.name_of(&future),
            Some(Err(error)) => format!("raise TimeoutError: {error}"),
            None => "end".to_owned(),
        }
    }

    fn new_pool(self: &Arc<Self>, action: &Action) -> String {
        let mut builder = ThreadPoolExecutor::builder();
        if let Ok(max_workers) = action.text(1).parse::<usize>() {
            builder = builder.max_workers(max_workers);
        }
        if action.text(2) != "-" {
            builder = builder.thread_name_prefix(action.text(2));
        }
        let bodies = action.blocks(3);
        if !bodies.is_empty() {
            let context = Arc::clone(self);
            let next = Mutex::new(0);
            builder = builder.try_initializer(move || {
                let number = {
                    let mut next = lock(&next);
                    *next += 1;
                    *next - 1
                };
                context.run_body("initializer", &bodies[number]).map(drop)
            });
        }
        match builder.build() {
            Ok(pool) => {
                *lock(&self.pool) = Some(pool);
                unit()
            }
            Err(error) => format!("raise ValueError: {error}"),
        }
    }

    fn map(self: &Arc<Self>, action: &Action) -> String {
        let name = action.text(1).to_owned();
        let context = Arc::clone(self);
        let who = name.clone();
        let bodies = action.blocks(3);
        let items = 0..bodies.len();
        let f = move |item: usize| context.run_task(&format!("{who}.{item}"), &bodies[item]);
        let results: Result<Results<T>, _> = match seconds(action.text(2)) {
            None => self.pool().try_map(f, items).map(|map| Box::new(map) as _),
            timeout => {
                // This form borrows the pool, and the iterator is to be kept with the pool.
                let pool: &'static ThreadPoolExecutor = Box::leak(Box::new(self.pool()));
                pool.try_map_with(f, items, MapOptions::new().timeout(timeout))
                    .map(|map| Box::new(map) as _)
            }
        };
        match results {
            Ok(results) => {
                lock(&self.maps).insert(name, results);
                unit()
            }
            Err(error) => format!("raise SubmitError: {error}"),
        }
    }

    /// Waits in vain, many times. A waiter that were left behind each time would be seen in the
    /// memory that the process uses; where the system does not tell that, nothing is seen.
    fn churn(&self, action: &Action) -> String {
        let fs = self.all(&action.texts(3));
        let how = action.text(1);
        let count: usize = action.text(2).parse().unwrap_or(0);
        let before = resident_bytes();
        for _ in 0..count {
            match how {
                "as_completed" => {
                    as_completed(fs.iter().cloned(), Duration::ZERO).for_each(drop);
                }
                "dropped" => drop(as_completed(fs.iter().cloned(), None).next()),
                _ => drop(wait(fs.iter().cloned(), Duration::ZERO, return_when(how))),
            }
        }
        let grown = resident_bytes().saturating_sub(before);
        // An entry in the list of a future's waiters alone is two words and more.
        if grown / count < 16 {
            "waiters 0".to_owned()
        } else {
            format!("waiters left: {} bytes a wait", grown / count)
        }
    }

    fn wait_for_workers(&self) {
        let mut count = lock(&self.workers.count);
        while *count > 0 {
            count = self
                .workers
                .changed
                .wait(count)
                .unwrap_or_else(|error| error.into_inner());
        }
    }

    /// Ends all threads and breaks the cycles of references, so that nothing is left of the scenario.
    pub fn clean_up(self: &Arc<Self>) {
        let gates: Vec<_> = {
            let mut gates = lock(&self.gates);
            gates.all_open = true;
            gates.by_name.values().cloned().collect()
        };
        for gate in gates {
            gate.update(|state| state.1 = true);
        }
        lock(&self.maps).clear();
        lock(&self.iterators).clear();
        let pool = lock(&self.pool).take();
        if let Some(pool) = &pool {
            pool.shutdown();
        }
        drop(pool);
        self.wait_for_workers();
        self.clean_up_processes();
        let threads = std::mem::take(&mut *lock(&self.threads));
        if !threads.is_empty() {
            // The scenario was left in the middle, and they may be waiting for what was to come.
            let futures: Vec<Future<T>> = lock(&self.futures).values().cloned().collect();
            for future in futures.iter().filter(|future| !future.cancel()) {
                let _ = future.set_exception(Exception::msg("left in the middle"));
            }
            for future in futures.iter().filter(|future| future.cancelled()) {
                let _ = future.set_running_or_notify_cancel();
            }
        }
        for (_, thread) in threads {
            let _ = thread.join();
        }
        let futures = std::mem::take(&mut *lock(&self.futures));
        drop(futures);
    }
}

pub fn unit() -> String {
    "()".to_owned()
}

fn raised(error: &Error) -> String {
    format!("raise {}", with_text(&show_error(error), ""))
}

pub fn seconds(timeout: &str) -> Option<Duration> {
    timeout.parse().ok().map(Duration::from_secs_f64)
}

fn return_when(name: &str) -> ReturnWhen {
    match name {
        "FIRST_COMPLETED" => FIRST_COMPLETED,
        "FIRST_EXCEPTION" => FIRST_EXCEPTION,
        "ALL_COMPLETED" => ALL_COMPLETED,
        _ => panic!("`{name}` says nothing about when to return"),
    }
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0) * 4096
}
