//! Tests of the conformance kit itself: executors that break one promise each, and the case that finds
//! it, with its words.

#[macro_use]
#[path = "../executor/mod.rs"]
mod executor;
mod pool;

use concurrent_futures::ThreadPoolExecutor;
use executor::util::WATCHDOG_SECONDS;
use executor::ExecutorMixin;
use pool::{Flaw, Pool};
use std::any::Any;
use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

const CHILD: &str = "BROKEN_EXECUTORS_CHILD";

/// What is wrong with the pools of this process: nothing, except in a child process of [`caught`]. So one
/// mix-in does for all flaws, and each case need be compiled but once.
static FLAW: Mutex<Flaw> = Mutex::new(Flaw::None);

struct Mixin;

impl ExecutorMixin for Mixin {
    type Executor = Pool;

    fn executor_type(max_workers: usize) -> Result<Pool, Box<dyn Error>> {
        let flaw = *FLAW.lock().unwrap();
        Pool::new(max_workers, flaw)
    }
}

/// Runs a case in a process of its own, which may hang or die, as the test `name`, which must be the one
/// that calls this. It is to fail, and to say that `promise` is broken. Returns all that it has said.
///
/// The watchdog is impatient there, since it is what finds many a flaw. A machine may be so slow that the
/// watchdog bites too early, and so names another promise, or that the flaw does not show in time; so
/// there are several attempts, and more time for the later ones.
fn caught(name: &str, flaw: Flaw, case: fn(&str), promise: &str) -> String {
    if env::var(CHILD).as_deref() == Ok(name) {
        *FLAW.lock().unwrap() = flaw;
        case(name);
        return String::new();
    }
    // Rust 1.63 writes a panic's message in quotes, behind the thread's name.
    let expected = format!("broken promise: {promise}\n{name}: ");
    let mut said = String::new();
    for seconds in ["1", "1", "10", "10", "60"] {
        let output = Command::new(env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture", "--test-threads=1"])
            .env(CHILD, name)
            .env(WATCHDOG_SECONDS, seconds)
            .env("RUST_BACKTRACE", "0")
            .output()
            .unwrap();
        said = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() && said.contains(&expected) {
            return said;
        }
    }
    panic!("{name} was not caught: expected\n{expected}\nand not\n{said}");
}

/// A test for each flaw: its name, the flaw, the case that finds it, and what the case says.
macro_rules! broken {
    ($($name:ident: $flaw:ident, $file:ident::$case:ident, $promise:literal;)*) => {
        $(
            #[test]
            fn $name() {
                let case = executor::$file::$case::<Mixin>;
                caught(stringify!($name), Flaw::$flaw, case, $promise);
            }
        )*
    };
}

broken! {
    never_asks: NeverAsks, calls::a_call_is_running_while_it_runs,
        "a call that runs is running, and cannot be cancelled";
    asks_at_once: AsksAtOnce, calls::a_cancelled_call_is_never_run,
        "a call that waits for its turn is pending, and can be cancelled";
    runs_the_cancelled: RunsTheCancelled, calls::a_cancelled_call_is_never_run,
        "a cancelled call is never run";
    skips_without_telling: SkipsWithoutTelling, calls::whoever_waits_for_a_cancelled_call_is_told,
        "whoever waits for a call that is cancelled is told";
    loses_types: LosesTypes, calls::an_error_keeps_its_type,
        "the error that a call returns is its future's exception, type and all";
    loses_panics: LosesPanics, calls::a_panic_is_an_exception,
        "a call that panics has that panic, payload and all, as its future's exception";
    loses_calls: LosesCalls, calls::several_threads_submit,
        "several threads may submit at once, and every call is run";
    maps_backwards: MapsBackwards, executor::test_map,
        "`map` yields the results in the order of the items";
    maps_backwards_again: MapsBackwards, calls::map_in_all_its_forms,
        "`map`, in all its forms, yields the results in the order of the items";

    has_one_thread: HasOneThread, calls::as_many_calls_as_workers_run_side_by_side,
        "as many calls as there are workers run side by side";
    wakes_too_few: WakesTooFew, calls::as_many_calls_as_workers_run_side_by_side,
        "as many calls as there are workers run side by side";
    runs_in_submit: RunsInSubmit, calls::as_many_calls_as_workers_run_side_by_side,
        "as many calls as there are workers run side by side";
    has_many_threads: HasManyThreads, calls::no_more_calls_than_workers_run_at_once,
        "an executor of `max_workers` runs no more calls at once (unless BOUNDED is false)";
    has_one_thread_more: HasOneThreadMore, calls::no_more_calls_than_workers_run_at_once,
        "an executor of `max_workers` runs no more calls at once (unless BOUNDED is false)";
    last_in_first_out: LastInFirstOut, calls::calls_begin_in_the_order_of_their_submission,
        "calls begin in the order of their submission (unless IN_ORDER is false)";
    accepts_no_workers: AcceptsNoWorkers, executor::test_max_workers_negative,
        "an executor of no workers is refused";

    runs_locked: RunsLocked, calls::a_call_may_use_the_executor,
        "a call may submit another one: no lock is held while a call runs";
    completes_locked: CompletesLocked, calls::a_callback_may_use_the_executor,
        "a done-callback may use the executor: no lock is held while it is called";
    cancels_locked: CancelsLocked, ending::a_callback_may_use_the_executor_that_cancels,
        "a done-callback may use the executor that is cancelling its future";

    catches_nothing: CatchesNothing, calls::a_worker_survives_panics,
        "a worker survives a call that panics";
    ends_after_panics: EndsAfterPanics, calls::a_worker_survives_panics,
        "a worker survives a call that panics";
    drops_unguarded: DropsUnguarded, calls::a_worker_survives_panics,
        "a worker survives a result that panics when it is dropped";
    expects_to_complete: ExpectsToComplete, calls::a_worker_survives_what_others_do_to_its_future,
        "a worker survives a future that somebody else completes";
    expects_to_run: ExpectsToRun, calls::a_worker_survives_what_others_do_to_its_future,
        "a worker survives a call that is cancelled before it comes to it";

    keeps_futures: KeepsFutures, calls::an_outcome_goes_with_its_last_handle,
        "the outcome of a call is dropped with the last handle of its future";
    keeps_the_last: KeepsTheLast, calls::an_outcome_goes_with_its_last_handle,
        "the outcome of a call is dropped with the last handle of its future";
    keeps_what_nobody_wants: KeepsFutures, calls::a_result_that_nobody_wants_is_dropped,
        "a result that nobody wants is dropped when its call has ended";
    keeps_the_cancelled: KeepsTheCancelled, calls::a_cancelled_call_is_let_go_of,
        "a cancelled call is let go of, with all it captured, once a worker is free";
    keeps_the_refused: KeepsTheRefused, ending::a_refused_call_is_dropped,
        "after `shutdown`, a call is refused with `SubmitError::Shutdown`, and dropped";

    never_refuses: NeverRefuses, shutdown::test_run_after_shutdown,
        "after `shutdown`, a call is refused with `SubmitError::Shutdown`";
    refuses_with_another: RefusesWithAnother, shutdown::test_run_after_shutdown,
        "after `shutdown`, a call is refused with `SubmitError::Shutdown`";
    checks_too_early: ChecksTooEarly, ending::what_is_accepted_during_shutdown_is_run,
        "a call that was accepted is run, also if `shutdown` comes at the same time";
    never_waits: NeverWaits, shutdown::test_hang_issue12364,
        "`shutdown` lets everything run that was submitted, and waits for it";
    always_waits: AlwaysWaits, ending::shutdown_without_wait_loses_nothing,
        "`shutdown` with `wait` false returns at once";
    drops_the_queue: DropsTheQueue, shutdown::test_hang_issue12364,
        "`shutdown` lets everything run that was submitted, and waits for it";
    waits_once: WaitsOnce, ending::shutdown_waits_whoever_calls_it_again,
        "`shutdown` waits, also when it was called before";
    panics_the_second_time: PanicsTheSecondTime, ending::shutdown_waits_whoever_calls_it_again,
        "`shutdown` waits, also when it was called before";
    never_cancels: NeverCancels, shutdown::test_cancel_futures,
        "`shutdown` with `cancel_futures` cancels what waits, and lets what runs end";
    fails_for_cancels: FailsForCancels, shutdown::test_cancel_futures,
        "`shutdown` with `cancel_futures` cancels what waits, and lets what runs end";
    cancels_without_telling: CancelsWithoutTelling, ending::shutdown_that_cancels_tells_whoever_waits,
        "whoever waits for a call that `shutdown` cancels is told";
    leaves_threads: LeavesThreads, ending::shutdown_ends_the_threads,
        "`shutdown` ends the executor's threads (unless OWN_THREADS is false)";
    outlives_its_handle: OutlivesItsHandle, ending::dropping_the_executor_ends_its_threads,
        "an executor that is dropped ends its threads (unless DROP_ENDS_THREADS is false)";
    drops_the_queue_in_drop: DropsTheQueueInDrop, ending::dropping_the_executor_loses_no_call,
        "every call of an executor that is dropped ends: it is run, or cancelled";
    forgets_in_with: ForgetsInWith, ending::with_shuts_down_and_waits,
        "`with` shuts down and waits, also when its body panics";
}

/// A pool that does nothing at the end of the process, though the mix-in says so.
struct NoExit;

impl ExecutorMixin for NoExit {
    type Executor = ThreadPoolExecutor;

    const AT_EXIT: Option<fn() -> Box<dyn Any>> = Some(|| Box::new(()));

    fn executor_type(max_workers: usize) -> Result<ThreadPoolExecutor, Box<dyn Error>> {
        Ok(ThreadPoolExecutor::new(max_workers)?)
    }
}

#[test]
fn waits_for_nothing_at_exit() {
    let case = executor::shutdown::test_interpreter_shutdown::<NoExit>;
    let promise = "the guard `AT_EXIT` lets everything run that was submitted";
    caught("waits_for_nothing_at_exit", Flaw::None, case, promise);
}

#[test]
fn takes_calls_after_exit() {
    let case = executor::shutdown::test_submit_after_interpreter_shutdown::<NoExit>;
    let promise = "after the guard `AT_EXIT`, a call is refused";
    caught("takes_calls_after_exit", Flaw::None, case, promise);
}

#[test]
fn waits_for_nothing_at_exit_after_shutdown() {
    let case = executor::shutdown::test_hang_gh83386::<NoExit>;
    let promise = "the guard `AT_EXIT` also waits after a `shutdown` that did not";
    caught(
        "waits_for_nothing_at_exit_after_shutdown",
        Flaw::None,
        case,
        promise,
    );
}

/// What hangs is ended after the time that the environment says, and by its name.
#[test]
fn hangs() {
    let case = executor::shutdown::test_cancel_futures::<Mixin>;
    let promise = "`shutdown` with `cancel_futures` cancels what waits, and lets what runs end";
    let said = caught("hangs", Flaw::NeverCancels, case, promise);
    if env::var(CHILD).is_err() {
        assert!(
            said.contains("hangs: hung: it has not ended after "),
            "{said}"
        );
    }
}

/// The same pool without a flaw.
mod flawless {
    use super::Mixin;

    executor_tests!(Mixin);
    as_completed_tests!(Mixin);
    wait_tests!(Mixin);
    shutdown_tests!(Mixin);
}

/// What is a flaw in one executor may be the purpose of another, which says so.
mod choices {
    use super::*;

    struct Stack;

    impl ExecutorMixin for Stack {
        type Executor = Pool;

        const IN_ORDER: bool = false;

        fn executor_type(max_workers: usize) -> Result<Pool, Box<dyn Error>> {
            Pool::new(max_workers, Flaw::LastInFirstOut)
        }
    }

    struct Shared;

    impl ExecutorMixin for Shared {
        type Executor = Pool;

        const OWN_THREADS: bool = false;

        fn executor_type(max_workers: usize) -> Result<Pool, Box<dyn Error>> {
            Pool::new(max_workers, Flaw::LeavesThreads)
        }
    }

    struct Outlives;

    impl ExecutorMixin for Outlives {
        type Executor = Pool;

        const DROP_ENDS_THREADS: bool = false;

        fn executor_type(max_workers: usize) -> Result<Pool, Box<dyn Error>> {
            Pool::new(max_workers, Flaw::OutlivesItsHandle)
        }
    }

    struct Eager;

    impl ExecutorMixin for Eager {
        type Executor = Pool;

        const BOUNDED: bool = false;

        fn executor_type(max_workers: usize) -> Result<Pool, Box<dyn Error>> {
            Pool::new(max_workers, Flaw::HasManyThreads)
        }
    }

    mod stack {
        use super::Stack;
        executor_tests!(Stack);
    }

    mod shared {
        use super::Shared;
        shutdown_tests!(Shared);
    }

    mod outlives {
        use super::Outlives;
        shutdown_tests!(Outlives);
    }

    mod eager {
        use super::Eager;
        executor_tests!(Eager);
        shutdown_tests!(Eager);
    }
}

/// Every case that is ours finds a flaw, and so does every flaw find its case.
#[test]
fn every_case_and_every_flaw_is_used() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let read = |file: &str| fs::read_to_string(tests.join(file)).unwrap();
    let this = read("broken_executors/main.rs");
    let mut cases = 0;
    for file in ["calls", "ending"] {
        for line in read(&format!("executor/{file}.rs")).lines() {
            let case = line
                .strip_prefix("pub fn ")
                .and_then(|rest| rest.split_once("<M: ExecutorMixin>"));
            if let Some((case, _)) = case {
                cases += 1;
                let used = format!(", {file}::{case},");
                assert!(this.contains(&used), "no broken executor for {case}");
            }
        }
    }
    assert!(cases > 20, "{cases}");

    let pool = read("broken_executors/pool.rs");
    let (_, flaws) = pool.split_once("pub enum Flaw {").unwrap();
    let (flaws, _) = flaws.split_once("\n}").unwrap();
    let flaws = flaws.lines().map(str::trim);
    for flaw in flaws.filter_map(|line| line.strip_suffix(',')) {
        let used = format!(": {flaw}, ");
        assert!(flaw == "None" || this.contains(&used), "{flaw} is not used");
    }
}
