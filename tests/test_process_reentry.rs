//! Where code of the user's runs in the parent of a process pool's workers, what it does there: it panics, it
//! blocks, it uses the same pool. No future without an end comes of it.
#![cfg(target_os = "linux")]

mod processes;
mod support;

use concurrent_futures::pickle::{Dump, Load, PickleError, Pickler, Unpickler};
use concurrent_futures::process::{freeze_support, CallKilled, OnCrash, ProcessPoolExecutor};
use concurrent_futures::{Exception, Future};
use processes::{entry, hold, square, Holder};
use std::fmt;
use std::sync::{mpsc, Arc, Barrier, Mutex};
use std::time::{Duration, Instant};
use support::{rounds, watchdog, Gate, Random, Steps};

/// What is done where a [`Hooked`] is loaded, dropped and shown. A test sets it in the parent; in the workers
/// there is nothing to be done.
#[derive(Clone, Default)]
struct Hooks {
    load: Option<Hook>,
    drop: Option<Hook>,
    display: Option<Hook>,
}

type Hook = Arc<dyn Fn() + Send + Sync>;

static HOOKS: Mutex<Hooks> = Mutex::new(Hooks {
    load: None,
    drop: None,
    display: None,
});

fn hook(hook: impl Fn(&Hooks) -> Option<Hook>) {
    let hook = hook(&HOOKS.lock().unwrap());
    if let Some(hook) = hook {
        hook();
    }
}

/// What the hooks have may be the last reference to a pool, and so to an error with a hook in its `Drop`: it is not
/// dropped with the lock held.
fn unhook() {
    let hooks = std::mem::take(&mut *HOOKS.lock().unwrap());
    drop(hooks);
}

/// A test that sets hooks. One at a time, under a watchdog.
fn hooked(what: &str, test: impl FnOnce(&Steps) + Send + 'static) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    unhook();
    watchdog(what, test);
    unhook();
}

fn on_load(f: impl Fn() + Send + Sync + 'static) {
    HOOKS.lock().unwrap().load = Some(Arc::new(f));
}

fn on_drop(f: impl Fn() + Send + Sync + 'static) {
    HOOKS.lock().unwrap().drop = Some(Arc::new(f));
}

fn on_display(f: impl Fn() + Send + Sync + 'static) {
    HOOKS.lock().unwrap().display = Some(Arc::new(f));
}

/// A value, and an error, of a type with hooks.
#[derive(Debug)]
struct Hooked;

impl Dump for Hooked {
    fn dump(&self, _: &mut Pickler<'_>) -> Result<(), PickleError> {
        Ok(())
    }
}

impl Load for Hooked {
    fn load(_: &mut Unpickler<'_>) -> Result<Self, PickleError> {
        let value = Hooked;
        hook(|hooks| hooks.load.clone());
        Ok(value)
    }
}

impl Drop for Hooked {
    fn drop(&mut self) {
        hook(|hooks| hooks.drop.clone());
    }
}

impl fmt::Display for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hook(|hooks| hooks.display.clone());
        f.write_str("hooked")
    }
}

impl std::error::Error for Hooked {}

/// Dumps more than it loads.
struct TooMuch(Hooked);

impl Dump for TooMuch {
    fn dump(&self, pickler: &mut Pickler<'_>) -> Result<(), PickleError> {
        (&self.0, 1).dump(pickler)
    }
}

impl Load for TooMuch {
    fn load(unpickler: &mut Unpickler<'_>) -> Result<Self, PickleError> {
        Load::load(unpickler).map(TooMuch)
    }
}

fn make() -> Hooked {
    Hooked
}

fn make_at(port: u16) -> Hooked {
    hold(port);
    Hooked
}

fn fails() -> Result<(), Hooked> {
    Err(Hooked)
}

fn make_too_much() -> TooMuch {
    TooMuch(Hooked)
}

#[test]
fn hooked_entry() {
    register();
}

fn register() {
    freeze_support(|registry| {
        registry
            .register(square)
            .register(hold)
            .register(make)
            .register(fails)
            .register(make_at)
            .register(make_too_much);
    });
}

fn builder(max_workers: usize) -> concurrent_futures::process::ProcessPoolExecutorBuilder {
    register();
    ProcessPoolExecutor::builder()
        .max_workers(max_workers)
        .worker_args(entry("hooked_entry"))
        .on_crash(OnCrash::FailCall)
}

fn pool(max_workers: usize) -> ProcessPoolExecutor {
    builder(max_workers).build().unwrap()
}

fn exception<T>(future: &Future<T>) -> Exception {
    future.exception(None).unwrap().expect("an exception")
}

/// Every worker is there, and so is its manager.
fn assert_works(steps: &Steps, pool: &ProcessPoolExecutor) {
    steps.at("another call");
    let squares = pool.map(square, 0..4).unwrap();
    let squares: Vec<_> = squares.map(Result::unwrap).collect();
    assert_eq!(squares, [0, 1, 4, 9]);
}

// ---- What panics

/// The result had arrived, and nobody is to have it.
#[test]
fn a_result_of_a_killed_call_whose_drop_panics() {
    hooked("kill_call while the result is loaded", |steps| {
        let gate = Gate::new();
        let (sender, receiver) = mpsc::channel();
        let (sender, its_gate) = (Mutex::new(sender), gate.clone());
        on_load(move || {
            sender.lock().unwrap().send(()).unwrap();
            its_gate.wait();
        });
        on_drop(|| panic!("drop of a result"));
        let pool = pool(1);
        let future = pool.submit(make, ()).unwrap();
        receiver.recv().unwrap();
        assert!(pool.kill_call(&future));
        gate.open();
        steps.at("the exception");
        assert!(exception(&future).downcast_ref::<CallKilled>().is_some());
        assert_works(steps, &pool);
    });
}

#[test]
fn a_result_with_bytes_left_over_whose_drop_panics() {
    hooked("bytes are left over", |steps| {
        on_drop(|| panic!("drop of a result"));
        let pool = pool(1);
        let future = pool.submit(make_too_much, ()).unwrap();
        steps.at("the exception");
        assert!(future.exception(None).unwrap().is_some());
        assert_works(steps, &pool);
    });
}

/// Its worker's manager is the last to have the future, in which somebody has put a result.
#[test]
fn a_result_of_somebody_else_s_whose_drop_panics() {
    hooked("a call that somebody else has completed", |steps| {
        on_drop(|| panic!("drop of a result"));
        let pool = pool(1);
        let holder = Holder::new();
        let held = pool.submit(hold, holder.port()).unwrap();
        let in_hold = holder.entered();
        let future = pool.submit(make, ()).unwrap();
        assert!(future.set_result(Hooked).is_ok());
        drop(future);
        drop(in_hold);
        steps.at("the call before it");
        held.result(None).unwrap();
        assert_works(steps, &pool);
    });
}

#[test]
fn an_initializer_s_result_whose_drop_panics() {
    hooked("the result of an initializer", |steps| {
        on_drop(|| panic!("drop of a result"));
        let pool = builder(1).initializer(make, ()).build().unwrap();
        assert_works(steps, &pool);
    });
}

// ---- What waits for another call of the pool, for which there is another worker

/// Nobody has the future any more, so the result is dropped where it has arrived.
#[test]
fn the_drop_of_a_result_waits_for_another_call() {
    hooked("the drop of a result waits", |steps| {
        let pool = pool(2);
        let (sender, receiver) = mpsc::channel();
        let (sender, its_pool) = (Mutex::new(sender), pool.clone());
        on_drop(move || {
            let result = its_pool.submit(square, 5).unwrap().result(None);
            sender.lock().unwrap().send(result.unwrap()).unwrap();
        });
        let holder = Holder::new();
        drop(pool.submit(make_at, holder.port()).unwrap());
        drop(holder.entered());
        steps.at("the drop");
        assert_eq!(receiver.recv().unwrap(), 25);
        unhook();
    });
}

/// The callback comes when the result does.
#[test]
fn a_late_callback_waits_for_another_call() {
    watchdog("a late callback waits", |steps| {
        let pool = pool(2);
        let mut random = Random::new(18);
        for round in rounds(20_000, 40_000) {
            let future = pool.submit(square, 3).unwrap();
            let pause = Duration::from_nanos(random.next() % 100_000);
            let submitted = Instant::now();
            while submitted.elapsed() < pause {}
            let (sender, receiver) = mpsc::channel();
            let its_pool = pool.clone();
            future.add_done_callback(move |_| {
                let result = its_pool.submit(square, 5).unwrap().result(None);
                sender.send(result.unwrap()).unwrap();
            });
            steps.at(format!("the callback of round {round}"));
            assert_eq!(receiver.recv().unwrap(), 25);
        }
    });
}

// ---- What uses the pool that refuses calls, or breaks

/// What a submit to a broken pool says has the text of the error that broke it.
#[test]
fn the_display_of_what_broke_the_pool() {
    hooked("the text of an initializer's error", |steps| {
        let pool = builder(1).try_initializer(fails, ()).build().unwrap();
        let future = pool.submit(square, 3).unwrap();
        assert!(future.exception(None).unwrap().is_some());
        let its_pool = pool.clone();
        on_display(move || assert!(its_pool.process_count() <= 1));
        steps.at("submit");
        let refused = pool.submit(square, 3).unwrap_err();
        assert!(refused.to_string().ends_with("hooked"), "{refused}");
    });
}

/// Of two errors that break the pool, it keeps one.
#[test]
fn the_drop_of_what_breaks_a_broken_pool() {
    hooked("two initializers fail", |steps| {
        let both = Arc::new(Barrier::new(2));
        on_load(move || {
            both.wait();
        });
        let pool = builder(2).try_initializer(fails, ()).build().unwrap();
        let its_pool = pool.clone();
        on_drop(move || assert!(its_pool.process_count() <= 2));
        let futures = [(); 2].map(|()| pool.submit(square, 3).unwrap());
        steps.at("the exceptions");
        for future in &futures {
            assert!(future.exception(None).unwrap().is_some());
        }
        steps.at("shutdown");
        pool.shutdown();
        unhook();
    });
}

/// The pool keeps that error, and whoever has the last reference to the pool drops it.
#[test]
fn the_drop_of_what_broke_the_pool_panics() {
    hooked("the drop of an initializer's error", |steps| {
        let pool = builder(1).try_initializer(fails, ()).build().unwrap();
        let future = pool.submit(square, 3).unwrap();
        assert!(future.exception(None).unwrap().is_some());
        drop(future);
        pool.shutdown();
        let (sender, dropped) = mpsc::channel();
        let sender = Mutex::new(sender);
        on_drop(move || {
            sender.lock().unwrap().send(()).unwrap();
            panic!("in drop");
        });
        steps.at("the end of the pool");
        drop(pool);
        dropped.try_recv().unwrap();
    });
}
