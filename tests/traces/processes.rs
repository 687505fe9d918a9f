//! Performs the actions of a scenario on a process pool.
//!
//! A task runs in a worker, and comes back over a socket for what concerns the others: its gates and its
//! notes.

use crate::replay::{lock, seconds, unit, Context, Results};
use crate::trace::{Action, Word};
use crate::values::{exception, register_errors, Value};
use concurrent_futures::process::{freeze_support, ProcessPoolExecutor, Registry};
use concurrent_futures::{Exception, MapOptions, ShutdownOptions};
use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::panic;
use std::process;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// Where a worker comes to, out of `main` of the test harness.
#[test]
fn worker_entry() {
    if env::args().any(|argument| argument == "--multiprocessing-fork") {
        // All panics there belong to a scenario.
        panic::set_hook(Box::new(|_| ()));
    }
    freeze_support(register);
}

fn register(registry: &mut Registry) {
    registry
        .register(run_there::<i32>)
        .register(run_there::<i64>)
        .register(run_there::<String>)
        .register(run_there::<()>)
        .register(run_there::<bool>)
        .register(run_there::<f64>)
        .register(run_there::<Vec<i32>>);
    register_errors(registry);
}

// ---- In a worker

/// Says something to the replayer, and waits until it lets the task go on.
fn tell(port: u16, line: &str) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    let _ = stream.read(&mut [0]);
}

/// What a task does, whose name is `who`; its body is `task {...}`.
fn run_there<T: Value>(port: u16, who: String, task: String) -> Result<T, Exception> {
    let task = Action::parse(&task).unwrap();
    for action in task.block(1) {
        match action.name() {
            "return" => return Ok(T::parse(action.text(1))),
            "raise" => return Err(exception(action.text(1), action.text(2))),
            "panic" => panic!("{}", action.text(1)),
            "exit" => process::exit(action.text(1).parse().unwrap()),
            "note" => tell(port, &format!("note {who}")),
            "gate" => tell(port, &format!("gate {}", action.text(1))),
            _ => panic!("no task does `{action}`"),
        }
    }
    panic!("the task {who} returns nothing")
}

// ---- In the replayer

/// Who listens to the tasks of a scenario.
pub struct Desk {
    port: u16,
    thread: JoinHandle<()>,
}

impl Desk {
    fn new<T: Value>(context: &Arc<Context<T>>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let context = Arc::clone(context);
        let thread = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut line = String::new();
                let mut reader = BufReader::new(&stream);
                let _ = reader.read_line(&mut line);
                let context = Arc::clone(&context);
                match line.trim_end().split_once(' ') {
                    Some(("note", who)) => context.events.add(format!("{who}: note")),
                    Some(("gate", name)) => {
                        let name = name.to_owned();
                        thread::spawn(move || {
                            context.pass(&name);
                            drop(stream);
                        });
                    }
                    _ => break,
                }
            }
        });
        Desk { port, thread }
    }

    fn close(self) {
        tell(self.port, "close");
        let _ = self.thread.join();
    }
}

impl<T: Value> Context<T> {
    /// Does what is done otherwise on a process pool; `None` for anything else.
    pub fn perform_on_processes(self: &Arc<Self>, action: &Action) -> Option<String> {
        if action.name() == "processes" {
            return Some(self.new_processes(action));
        }
        // Not to be locked meanwhile: a thread waits in `shutdown`, say.
        let pool = lock(&self.processes).clone();
        match (action.name(), pool) {
            // When there is no pool any more, it is the futures that end.
            ("ended", None) if lock(&self.desk).is_some() => Some("all".to_owned()),
            ("submit", Some(pool)) => Some(self.submit_to_process(&pool, action)),
            ("map", Some(pool)) => Some(self.map_on_processes(&pool, action)),
            ("shutdown", Some(pool)) => {
                let options = ShutdownOptions::new()
                    .wait(action.text(1) == "true")
                    .cancel_futures(action.text(2) == "true");
                pool.shutdown_with(options);
                Some(unit())
            }
            ("drop", Some(pool)) if action.text(1) == "pool" => {
                *lock(&self.processes) = None;
                drop(pool);
                Some(unit())
            }
            ("ended", Some(pool)) => {
                pool.shutdown();
                Some("all".to_owned())
            }
            ("process_count", Some(pool)) => Some(pool.process_count().to_string()),
            ("max_workers", Some(pool)) => Some(pool.max_workers().to_string()),
            _ => None,
        }
    }

    fn new_processes(self: &Arc<Self>, action: &Action) -> String {
        freeze_support(register);
        let entry = "processes::worker_entry";
        let builder = ProcessPoolExecutor::builder()
            .max_workers(action.text(1).parse::<usize>().unwrap())
            .worker_args(["--exact", entry, "--nocapture", "--quiet", "--"]);
        match builder.build() {
            Ok(pool) => {
                *lock(&self.processes) = Some(pool);
                lock(&self.desk).get_or_insert_with(|| Desk::new(self));
                unit()
            }
            Err(error) => format!("raise ValueError: {error}"),
        }
    }

    /// The arguments of [`run_there`].
    fn task(&self, who: &str, body: &[Action]) -> (u16, String, String) {
        let port = lock(&self.desk).as_ref().map(|desk| desk.port);
        let task = [Word::Text("task".to_owned()), Word::Block(body.to_vec())];
        let task = Action(task.into()).to_string();
        (port.expect("a desk"), who.to_owned(), task)
    }

    fn submit_to_process(&self, pool: &ProcessPoolExecutor, action: &Action) -> String {
        let name = action.text(1);
        let task = self.task(name, action.block(2));
        match pool.try_submit(run_there::<T>, task) {
            Ok(future) => {
                lock(&self.futures).insert(name.to_owned(), future);
                unit()
            }
            Err(error) => format!(
                "raise SubmitError: {}",
                crate::values::mask(&error.to_string())
            ),
        }
    }

    fn map_on_processes(&self, pool: &ProcessPoolExecutor, action: &Action) -> String {
        let name = action.text(1);
        let bodies = action.blocks(4);
        let tasks = bodies.iter().enumerate();
        let tasks = tasks.map(|(number, body)| self.task(&format!("{name}.{number}"), body));
        let tasks: Vec<_> = tasks.collect();
        let options = MapOptions::new()
            .timeout(seconds(action.text(2)))
            .chunksize(action.text(3).parse().unwrap());
        // This form borrows the pool, and the iterator is to be kept with the pool.
        let pool: &'static ProcessPoolExecutor = Box::leak(Box::new(pool.clone()));
        match pool.try_map_with(run_there::<T>, tasks, options) {
            Ok(map) => {
                let results: Results<T> = Box::new(map);
                lock(&self.maps).insert(name.to_owned(), results);
                unit()
            }
            Err(error) => format!(
                "raise SubmitError: {}",
                crate::values::mask(&error.to_string())
            ),
        }
    }

    pub fn clean_up_processes(&self) {
        let pool = lock(&self.processes).take();
        if let Some(pool) = pool {
            pool.shutdown();
        }
        let desk = lock(&self.desk).take();
        if let Some(desk) = desk {
            desk.close();
        }
    }
}
