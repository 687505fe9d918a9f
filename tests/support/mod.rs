//! What the reliability tests share: a watchdog, a gate, child processes, a look at the threads of
//! this process, and random numbers that a seed brings back.
#![allow(dead_code)]

use std::env;
use std::fmt::Debug;
use std::fs;
use std::io::Read;
use std::iter;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::process::{Command, Stdio};
use std::sync::{mpsc, Arc, Condvar, Mutex, Once};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take before it counts as hung: far more than the slowest machine needs, and
/// no test's success depends on it. `WATCHDOG_SECONDS` sets it.
pub fn limit() -> Duration {
    let seconds = env::var("WATCHDOG_SECONDS").ok();
    Duration::from_secs(seconds.map_or(150, |text| text.parse().expect("WATCHDOG_SECONDS")))
}

/// `full` in a release build, and `small` in a debug build, whose tasks are some ten times slower.
/// `FULL_SIZE=1` asks for the full size anyway.
pub fn size(small: usize, full: usize) -> usize {
    if cfg!(debug_assertions) && env::var_os("FULL_SIZE").is_none() {
        small
    } else {
        full
    }
}

/// The numbers below [`size`], but in a debug build no more of them than fit into a few seconds: on a
/// busy machine, where each meeting of threads waits for time slices, fewer rounds are enough.
pub fn rounds(small: usize, full: usize) -> impl Iterator<Item = usize> {
    let started = Instant::now();
    let bounded = size(0, 1) == 0;
    (0..size(small, full))
        .take_while(move |_| !bounded || started.elapsed() < Duration::from_secs(4))
}

/// What a body under a [`watchdog`] is at, for the message that says what hung.
#[derive(Clone, Default)]
pub struct Steps(Arc<Mutex<String>>);

impl Steps {
    pub fn at(&self, step: impl Into<String>) {
        *self.0.lock().unwrap() = step.into();
    }

    pub fn last(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

/// Runs `body` on a thread of its own, and fails when it has not ended within [`limit`].
pub fn watchdog<R: Send + 'static>(
    what: &str,
    body: impl FnOnce(&Steps) -> R + Send + 'static,
) -> R {
    let steps = Steps::default();
    let (sender, receiver) = mpsc::channel();
    let its_steps = steps.clone();
    thread::spawn(move || {
        let outcome = catch_unwind(AssertUnwindSafe(|| body(&its_steps)));
        let _ = sender.send(outcome);
    });
    match receiver.recv_timeout(limit()) {
        Ok(Ok(value)) => value,
        Ok(Err(payload)) => resume_unwind(payload),
        Err(_) => panic!("{}", hung(what, &steps)),
    }
}

/// Runs `body` on each of some cases at the same time, each under a [`watchdog`] of its own: for cases that wait most
/// of their time. Fails as the first of them that fails, once all of them are over.
pub fn side_by_side<T: Debug + Send + 'static>(
    what: &str,
    cases: impl IntoIterator<Item = T>,
    body: impl Fn(&Steps, T) + Clone + Send + 'static,
) {
    let run = |case| {
        let (what, body) = (format!("{what}, {case:?}"), body.clone());
        thread::spawn(move || watchdog(&what, move |steps| body(steps, case)))
    };
    let running: Vec<_> = cases.into_iter().map(run).collect();
    let failed: Vec<_> = running
        .into_iter()
        .filter_map(|case| case.join().err())
        .collect();
    if let Some(payload) = failed.into_iter().next() {
        resume_unwind(payload);
    }
}

pub fn hung(what: &str, steps: &Steps) -> String {
    format!(
        "HUNG: {what}: not over after {:?}; its last step: {}",
        limit(),
        steps.last()
    )
}

/// Closed until somebody opens it; then open for good.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn new() -> Self {
        Gate::default()
    }

    pub fn open(&self) {
        *self.0 .0.lock().unwrap() = true;
        self.0 .1.notify_all();
    }

    pub fn is_open(&self) -> bool {
        *self.0 .0.lock().unwrap()
    }

    pub fn wait(&self) {
        let mut open = self.0 .0.lock().unwrap();
        while !*open {
            open = self.0 .1.wait(open).unwrap();
        }
    }
}

/// Opens its gate when it is dropped, so that a failed assertion leaves no worker behind it.
pub struct OpenAtEnd(pub Gate);

impl Drop for OpenAtEnd {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// Something that threads count together.
#[derive(Clone, Default)]
pub struct Count(Arc<Mutex<usize>>);

impl Count {
    pub fn new() -> Self {
        Count::default()
    }

    pub fn add(&self, n: usize) {
        *self.0.lock().unwrap() += n;
    }

    pub fn subtract(&self, n: usize) {
        *self.0.lock().unwrap() -= n;
    }

    pub fn get(&self) -> usize {
        *self.0.lock().unwrap()
    }
}

/// Calls a closure when it is dropped.
pub struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> OnDrop<F> {
    pub fn new(f: F) -> Self {
        OnDrop(Some(f))
    }
}

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(f) = self.0.take() {
            f();
        }
    }
}

/// Waits until `condition` holds, by looking again and again; to be used under a [`watchdog`].
pub fn until(steps: &Steps, what: &str, mut condition: impl FnMut() -> bool) {
    steps.at(format!("until {what}"));
    let mut round = 0_u32;
    while !condition() {
        round += 1;
        if round < 100 {
            thread::yield_now();
        } else {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The names of this process's threads, each cut off after 15 bytes by the kernel.
pub fn thread_names() -> Vec<String> {
    let mut names = Vec::new();
    for task in fs::read_dir("/proc/self/task").expect("/proc is needed") {
        // A thread may end between the two reads.
        if let Ok(name) = task.and_then(|task| fs::read_to_string(task.path().join("comm"))) {
            names.push(name.trim_end().to_owned());
        }
    }
    names
}

/// How many threads have a name that begins so; at most 15 bytes of it count.
pub fn threads_named(prefix: &str) -> usize {
    assert!(prefix.len() <= 14, "the kernel cuts names off");
    thread_names()
        .iter()
        .filter(|name| name.starts_with(prefix))
        .count()
}

pub fn thread_total() -> usize {
    fs::read_dir("/proc/self/task")
        .expect("/proc is needed")
        .count()
}

/// The numbers up to this, from an iterator that panics if it is asked again after its end.
pub fn strict(end: usize) -> impl Iterator<Item = usize> {
    let mut numbers = 0..end;
    let mut ended = false;
    iter::from_fn(move || {
        assert!(!ended, "asked again after its end");
        let next = numbers.next();
        ended = next.is_none();
        next
    })
}

/// A figure of `/proc/self/status`, in kB where it is a size.
pub fn process_status(field: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("/proc is needed");
    let line = status
        .lines()
        .find(|line| line.starts_with(field))
        .expect("a field of /proc/self/status");
    let digits: String = line.chars().filter(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

const CHILD: &str = "RELIABILITY_TEST_CHILD";

/// How a child process ended.
#[derive(Debug)]
pub struct Ended {
    /// `None`: a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Whether this process is the child that was asked to play `role`.
pub fn is_child(role: &str) -> bool {
    env::var(CHILD).map_or(false, |its_role| its_role == role)
}

/// Runs one test of this binary again, in a process of its own in which [`is_child`] holds for
/// `role`. `limits` are commands for a shell that starts it, such as `ulimit -v 500000`; without them there is
/// no shell. Fails when the process hangs.
pub fn child(test: &str, role: &str, limits: &str) -> Ended {
    let exe = env::current_exe().expect("the path of this test");
    let mut command = if limits.is_empty() {
        Command::new(exe)
    } else {
        let mut shell = Command::new("sh");
        shell.arg("-c");
        shell.arg(format!("{limits}\nexec \"$0\" \"$@\""));
        shell.arg(exe);
        shell
    };
    let mut child = command
        .args(["--exact", test, "--include-ignored"])
        .args(["--nocapture", "--test-threads=1"])
        .env(CHILD, role)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let stdout = read_all(child.stdout.take().expect("piped"));
    let stderr = read_all(child.stderr.take().expect("piped"));
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("the child can be waited for") {
            break status;
        }
        if started.elapsed() > limit() {
            let _ = child.kill();
            let _ = child.wait();
            panic!(
                "HUNG: the child of {test} as {role} had not ended after {:?}\n{}\n{}",
                limit(),
                stdout.join().unwrap(),
                stderr.join().unwrap()
            );
        }
        thread::sleep(Duration::from_millis(5));
    };
    Ended {
        code: status.code(),
        stdout: stdout.join().unwrap(),
        stderr: stderr.join().unwrap(),
    }
}

fn read_all(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Sends the crate's log to a list that lasts as long as the process. Tests run side by side, so each
/// looks for lines that only it can have caused.
pub fn logged(part: &str) -> usize {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        concurrent_futures::set_logger(|record| {
            LOGGED.lock().unwrap().push(record.message().to_owned());
        });
    });
    LOGGED
        .lock()
        .unwrap()
        .iter()
        .filter(|line| line.contains(part))
        .count()
}

static LOGGED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Random numbers (SplitMix64): the same ones for the same seed.
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// Lets a moment pass that is sometimes nothing and sometimes a few microseconds.
    pub fn pause(&mut self) {
        match self.below(4) {
            0 => {}
            1 => thread::yield_now(),
            2 => {
                for _ in 0..self.below(2000) {
                    std::hint::spin_loop();
                }
            }
            _ => {
                if self.once_in(20) {
                    thread::sleep(Duration::from_micros(self.below(300) as u64));
                }
            }
        }
    }
}
