//! Who runs the workloads: this process, or another one that is told to over a pipe.

use crate::processes::Pools;
use crate::workloads::WORKLOADS;
use crate::KEEP_MEMORY;
use concurrent_futures::ThreadPoolExecutor;
use std::collections::HashMap;
use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

pub const NAME: &str = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));

pub trait Runner {
    fn name(&self) -> &str;

    /// One round of a workload: its figure.
    fn run(&mut self, workload: &str, workers: usize, tasks: usize) -> f64;

    /// How many tasks make a round, where this crate takes so many.
    fn share(&self, tasks: usize) -> usize {
        tasks
    }

    /// What this crate's time for a workload is to be at most, where this runner's is 1.
    fn at_most(&self) -> Option<f64> {
        None
    }
}

/// This process. It keeps its pools from round to round.
#[derive(Default)]
pub struct Here {
    pools: HashMap<usize, ThreadPoolExecutor>,
    process_pools: Pools,
}

impl Runner for Here {
    fn name(&self) -> &str {
        NAME
    }

    fn run(&mut self, workload: &str, workers: usize, tasks: usize) -> f64 {
        if let Some(figure) = self.process_pools.run(workload, workers, tasks) {
            return figure;
        }
        let (_, run) = WORKLOADS
            .iter()
            .find(|(name, _)| *name == workload)
            .unwrap_or_else(|| panic!("no workload is called {workload}"));
        let pool = self
            .pools
            .entry(workers)
            .or_insert_with(|| ThreadPoolExecutor::new(workers).expect("a pool"));
        run(pool, tasks)
    }
}

/// Another process: CPython, another build of this program, or this program with a heap of its own.
pub struct Elsewhere {
    name: String,
    /// One task here for so many of ours: CPython would take minutes for as many.
    fraction: usize,
    at_most: f64,
    child: Child,
    requests: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
}

impl Elsewhere {
    pub fn this_program() -> io::Result<Self> {
        let program = env::current_exe()?;
        Elsewhere::start(Command::new(program).arg("--serve"), 1, 1.0)
    }

    /// The same, with the settings of glibc's allocator that most programs run with.
    pub fn with_usual_memory() -> io::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        Elsewhere::start(usual_memory(&mut command).arg("--serve"), 1, 1.0)
    }

    pub fn python(program: &str) -> io::Result<Self> {
        Elsewhere::start(&mut python(program), 10, 0.02)
    }

    pub fn python_with_usual_memory(program: &str) -> io::Result<Self> {
        Elsewhere::start(usual_memory(&mut python(program)), 10, 0.02)
    }

    pub fn command(command: &str) -> io::Result<Self> {
        let mut words = command.split_whitespace();
        let program = words.next().unwrap_or_default();
        let mut other = Elsewhere::start(Command::new(program).args(words), 1, 1.1)?;
        other.name = "the other build".to_owned();
        Ok(other)
    }

    fn start(command: &mut Command, fraction: usize, at_most: f64) -> io::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut other = Elsewhere {
            name: String::new(),
            fraction,
            at_most,
            requests: child.stdin.take(),
            replies: BufReader::new(child.stdout.take().expect("a pipe")),
            child,
        };
        other.name = other.reply()?;
        Ok(other)
    }

    fn reply(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.replies.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }

    fn ask(&mut self, request: &str) -> io::Result<String> {
        let requests = self.requests.as_mut().expect("a pipe");
        writeln!(requests, "{request}")?;
        self.reply()
    }
}

fn python(program: &str) -> Command {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/bench/concurrent_futures.py"
    );
    let mut command = Command::new(program);
    command.args([script, "--serve"]);
    command
}

fn usual_memory(command: &mut Command) -> &mut Command {
    for (variable, _) in KEEP_MEMORY {
        command.env_remove(variable);
    }
    command
}

impl Runner for Elsewhere {
    fn name(&self) -> &str {
        &self.name
    }

    fn run(&mut self, workload: &str, workers: usize, tasks: usize) -> f64 {
        let reply = self.ask(&format!("{workload} {workers} {tasks}"));
        let reply = reply.unwrap_or_else(|error| panic!("{}: {error}", self.name));
        reply.parse().expect("a figure")
    }

    fn share(&self, tasks: usize) -> usize {
        tasks / self.fraction
    }

    fn at_most(&self) -> Option<f64> {
        Some(self.at_most)
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // It ends when it has nothing more to read.
        self.requests = None;
        let _ = self.child.wait();
    }
}

/// The other side of an [`Elsewhere`].
pub fn serve() -> io::Result<()> {
    let mut here = Here::default();
    println!("{NAME}");
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let figure = match words[..] {
            [workload, workers, tasks] => here.run(
                workload,
                workers.parse().expect("a number of workers"),
                tasks.parse().expect("a number of tasks"),
            ),
            _ => panic!("not `WORKLOAD WORKERS TASKS`: {line}"),
        };
        println!("{figure}");
    }
    Ok(())
}
