// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! What the cases share: CPython's `util.py`, and what of `threading` and `test.support` they use.

use concurrent_futures::{Exception, Future, State};
use std::any::Any;
use std::cell::RefCell;
use std::env;
use std::io::{self, Read, Write};
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::process::{self, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long to wait for what ought to happen at once. CPython: `support.SHORT_TIMEOUT`.
pub const SHORT_TIMEOUT: Duration = Duration::from_secs(30);

/// Longer than the watchdog waits: when the time-out comes, the state is looked at again, and so a
/// wake-up that was lost would not be noticed. CPython: `support.LONG_TIMEOUT`.
pub const LONG_TIMEOUT: Duration = Duration::from_secs(300);

/// The environment variable that says after how many seconds a case counts as hung.
pub const WATCHDOG_SECONDS: &str = "WATCHDOG_SECONDS";

/// How long a case may take. Without the environment variable, far more than it can need on a slow and
/// busy machine.
pub fn watchdog_timeout() -> Duration {
    let seconds = match env::var(WATCHDOG_SECONDS) {
        Ok(text) => match text.parse() {
            Ok(seconds) if seconds > 0 => seconds,
            _ => panic!("{WATCHDOG_SECONDS} must be a whole number above 0, not {text:?}"),
        },
        Err(_) => 60,
    };
    Duration::from_secs(seconds)
}

/// How long a case waits for what ought to happen at once: less than the watchdog does, so that the
/// case can say what has not happened.
pub fn short_timeout() -> Duration {
    SHORT_TIMEOUT.min(watchdog_timeout() / 2)
}

// ---- Which promise is broken when a case fails

thread_local! {
    /// What the case on this thread is about, which the watchdog on another thread reads.
    static PROMISE: RefCell<Arc<Mutex<&'static str>>> = RefCell::default();
}

/// Says what the executor promises, and the case is about to find out. If the case fails or hangs
/// before the next `promise`, its message says that this one is broken.
pub fn promise(text: &'static str) {
    PROMISE.with(|promise| *lock(&promise.borrow()) = text);
}

/// What to say of a case that has failed, if it was about a promise.
fn broken(name: &str, promise: &Mutex<&str>, what: &str) -> Option<String> {
    let promise = *lock(promise);
    (!promise.is_empty()).then(|| format!("broken promise: {promise}\n{name}: {what}"))
}

/// Panics for the one that panicked with `payload`, and says which promise is broken.
fn blame(name: &str, promise: &Mutex<&str>, payload: Box<dyn Any + Send>) -> ! {
    let text = match (payload.downcast_ref::<&str>(), payload.downcast_ref()) {
        (Some(text), _) => text,
        (None, Some(text)) => String::as_str(text),
        (None, None) => "panicked",
    };
    match broken(name, promise, text) {
        Some(message) => panic!("{message}"),
        None => resume_unwind(payload),
    }
}

/// Calls `body`, on this thread; if it panics, the message says which promise is broken.
pub fn blaming(name: &str, body: impl FnOnce()) {
    let promise = PROMISE.with(|promise| promise.replace(Arc::default()));
    let outcome = catch_unwind(AssertUnwindSafe(body));
    let of_body = PROMISE.with(|slot| slot.replace(promise));
    if let Err(payload) = outcome {
        blame(name, &of_body, payload);
    }
}

/// A future that nobody runs, brought into a state by the methods that an executor uses.
pub fn create_future<T>(
    state: State,
    exception: Option<Exception>,
    result: Option<T>,
) -> Future<T> {
    let f = Future::new();
    match state {
        State::Pending => {}
        State::Running => assert!(f.set_running_or_notify_cancel().unwrap()),
        State::Cancelled => assert!(f.cancel()),
        State::CancelledAndNotified => {
            assert!(f.cancel());
            assert!(!f.set_running_or_notify_cancel().unwrap());
        }
        State::Finished => match (exception, result) {
            (Some(exception), None) => f.set_exception(exception).unwrap(),
            (None, Some(result)) => f.set_result(result).unwrap(),
            _ => panic!("a finished future has either an exception or a result"),
        },
    }
    assert_eq!(f.state(), state);
    f
}

/// An error of the operating system: Python's `OSError()`.
pub fn os_error() -> Exception {
    Exception::new(io::Error::from(io::ErrorKind::Other))
}

// CPython has the following as constants of the module. Here each call makes another one, so that
// tests that run side by side do not share it.

pub fn pending_future() -> Future<i32> {
    create_future(State::Pending, None, None)
}

pub fn running_future() -> Future<i32> {
    create_future(State::Running, None, None)
}

pub fn cancelled_future() -> Future<i32> {
    create_future(State::Cancelled, None, None)
}

pub fn cancelled_and_notified_future() -> Future<i32> {
    create_future(State::CancelledAndNotified, None, None)
}

pub fn exception_future() -> Future<i32> {
    create_future(State::Finished, Some(os_error()), None)
}

pub fn successful_future() -> Future<i32> {
    create_future(State::Finished, None, Some(42))
}

pub fn mul(x: i32, y: i32) -> i32 {
    x * y
}

/// Quotient and remainder; panics where Python raises `ZeroDivisionError`.
pub fn divmod(x: i32, y: i32) -> (i32, i32) {
    (x / y, x % y)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `threading.Semaphore(0)`.
#[derive(Clone, Default)]
pub struct Semaphore(Arc<(Mutex<usize>, Condvar)>);

impl Semaphore {
    pub fn new() -> Self {
        Semaphore::default()
    }

    pub fn release(&self, n: usize) {
        let (permits, condvar) = &*self.0;
        *lock(permits) += n;
        condvar.notify_all();
    }

    pub fn acquire(&self) {
        let (permits, condvar) = &*self.0;
        let mut permits = lock(permits);
        while *permits == 0 {
            permits = condvar
                .wait(permits)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *permits -= 1;
    }

    /// Whether there was a permit within `timeout`.
    #[must_use]
    pub fn try_acquire(&self, timeout: Duration) -> bool {
        let end_time = Instant::now() + timeout;
        let (permits, condvar) = &*self.0;
        let mut permits = lock(permits);
        while *permits == 0 {
            let left = end_time.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return false;
            }
            permits = condvar
                .wait_timeout(permits, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        *permits -= 1;
        true
    }
}

/// `threading.Event`.
#[derive(Clone, Debug, Default)]
pub struct Event(Arc<(Mutex<bool>, Condvar)>);

impl Event {
    pub fn new() -> Self {
        Event::default()
    }

    pub fn set(&self) {
        let (flag, condvar) = &*self.0;
        *lock(flag) = true;
        condvar.notify_all();
    }

    pub fn wait(&self) {
        let (flag, condvar) = &*self.0;
        let mut flag = lock(flag);
        while !*flag {
            flag = condvar.wait(flag).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Fails if the event is not set soon: `what` says what has not happened then.
    pub fn expect(&self, what: &str) {
        let timeout = short_timeout();
        assert!(self.wait_timeout(timeout), "{what} within {timeout:?}");
    }

    /// Whether the event is set already.
    #[must_use]
    pub fn is_set(&self) -> bool {
        *lock(&self.0 .0)
    }

    /// Whether the event was set within `timeout`.
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        let (flag, condvar) = &*self.0;
        let (flag, _) = condvar
            .wait_timeout_while(lock(flag), timeout, |flag| !*flag)
            .unwrap_or_else(PoisonError::into_inner);
        *flag
    }
}

/// Keeps calls from finishing until it is opened: what CPython's tests use `time.sleep` for. It also
/// opens when it is dropped, lest a test that fails leave calls behind that never end.
#[derive(Default)]
pub struct Gate(Event);

impl Gate {
    pub fn new() -> Self {
        Gate::default()
    }

    pub fn open(&self) {
        self.0.set();
    }

    /// To be moved into a call, which waits for it.
    pub fn event(&self) -> Event {
        self.0.clone()
    }

    /// A call that returns once the gate is open.
    pub fn call(&self) -> impl FnOnce() -> i32 + Send + 'static {
        let event = self.event();
        move || {
            event.wait();
            0
        }
    }

    /// Opens it in a moment, when the calling thread most likely waits already. Whether it does is
    /// not to matter for what the test asserts.
    pub fn open_soon(&self) {
        let event = self.event();
        soon(move || event.set());
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.open();
    }
}

/// Calls `f` on another thread, in a moment.
pub fn soon(f: impl FnOnce() + Send + 'static) {
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        f();
    });
}

/// Fails if `body` has not ended in time, and says so; and if it panics. In both cases the message says
/// which [`promise`] is broken.
pub fn watchdog<R: Send + 'static>(name: &str, body: impl FnOnce() -> R + Send + 'static) -> R {
    let timeout = watchdog_timeout();
    let (sender, receiver) = mpsc::channel::<()>();
    let promise = Arc::<Mutex<_>>::default();
    let of_body = Arc::clone(&promise);
    let thread = thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let _dropped_at_the_end = sender;
            PROMISE.with(|promise| *promise.borrow_mut() = of_body);
            body()
        })
        .unwrap();
    if let Err(RecvTimeoutError::Timeout) = receiver.recv_timeout(timeout) {
        let what = format!("hung: it has not ended after {timeout:?}");
        let message = broken(name, &promise, &what).unwrap_or_else(|| format!("{name} {what}"));
        panic!("{message}");
    }
    thread
        .join()
        .unwrap_or_else(|payload| blame(name, &promise, payload))
}

/// What a fresh process has written.
pub struct Output {
    /// What it has said with [`say`], a line each.
    pub out: Vec<String>,
    pub err: String,
}

const CHILD: &str = "CONCURRENT_FUTURES_CHILD";
const SAID: &str = "said: ";

/// Runs `script` in a fresh process, from which it returns what was written. A `script` that panics
/// or hangs fails the test.
///
/// That process is this test binary again, told to run the one test `name`, which must be the one
/// that calls this: there, `script` is called, and the process ends when it returns.
///
/// CPython: `assert_python_ok` in `test.support.script_helper`.
pub fn assert_process_ok(name: &str, script: impl FnOnce()) -> Output {
    if env::var(CHILD).as_deref() == Ok(name) {
        script();
        // At once, so that nothing but the script has waited for anything.
        process::exit(0);
    }
    let mut child = Command::new(env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, name)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let out = read(child.stdout.take().unwrap());
    let err = read(child.stderr.take().unwrap());
    // Both end when the process does.
    let timeout = watchdog_timeout();
    let texts = (|| {
        let out = out.recv_timeout(timeout)?;
        let err = err.recv_timeout(timeout)?;
        Ok::<_, RecvTimeoutError>((out, err))
    })();
    if texts.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().unwrap();
    let (out, err) = match texts {
        Ok(texts) => texts,
        Err(_) => panic!("the process of {name} hung: it has not ended after {timeout:?}"),
    };
    assert!(
        status.success(),
        "the process of {name} failed with {status}\nout: {out}\nerr: {err}"
    );
    Output {
        out: out
            .lines()
            .filter_map(|line| line.strip_prefix(SAID))
            .map(str::to_owned)
            .collect(),
        err,
    }
}

fn read(mut stream: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}

/// Python's `print` in a fresh process. The test runner writes there, too, sometimes without ending
/// its line.
pub fn say(text: &str) {
    let mut stdout = io::stdout();
    stdout
        .write_all(format!("\n{SAID}{text}\n").as_bytes())
        .and_then(|()| stdout.flush())
        .unwrap();
}

pub fn sleep_and_say(time: Duration, text: &str) {
    thread::sleep(time);
    say(text);
}
