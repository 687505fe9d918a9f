//! What `docs/reading-guide.md` says of orders and numbers, held against the sources: ours always, and
//! CPython's where a Python 3.13 is at hand. What can be seen from outside is tested elsewhere, as
//! behaviour; here is what only a reader sees.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A Python 3.13, if there is one, and where its `concurrent.futures` is.
fn python() -> Option<(&'static str, PathBuf)> {
    const PRINT: &str =
        "import sys, concurrent.futures as f; assert sys.version_info[:2] == (3, 13); \
                         print(f.__path__[0])";
    ["python3.13", "python3", "python"].iter().find_map(|it| {
        // pyenv chooses by this variable, and all others ignore it.
        let output = Command::new(it)
            .args(["-c", PRINT])
            .env("PYENV_VERSION", "3.13")
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output
            .status
            .success()
            .then(|| (*it, text.trim_end().into()))
    })
}

fn cpython() -> Option<PathBuf> {
    python().map(|(_, folder)| folder)
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// A definition without its comments: from the line that begins so, or the one after `above` that does, to the
/// end of its block.
fn definition(text: &str, above: &str, head: &str) -> String {
    let start = text.find(above).unwrap_or_else(|| panic!("no {above}"));
    let mut lines = text[start..].lines();
    let first = lines
        .find(|line| line.trim_start().starts_with(head))
        .unwrap_or_else(|| panic!("no {head} below {above}"));
    let mut definition = format!("{first}\n");
    for line in lines {
        let code = line.trim_start();
        // The head of a definition may go on for some lines, and end with a bracket of its own.
        let is_head = code.starts_with(')') || code.starts_with('{') || code == "where";
        if !code.is_empty() && indentation(line) <= indentation(first) && !is_head {
            break;
        }
        if !code.starts_with("//") && !code.starts_with('#') {
            definition += line;
            definition += "\n";
        }
    }
    definition
}

/// The first of these that is not there, behind the one before it.
fn out_of_order<'a>(text: &str, marks: &[&'a str]) -> Option<&'a str> {
    let mut rest = text;
    for mark in marks {
        match rest.find(mark) {
            Some(at) => rest = &rest[at + mark.len()..],
            None => return Some(mark),
        }
    }
    None
}

/// A line for each: the stop of the guide, a file, a text above the definition, how that begins, and what is in it, in
/// order. Lines with a `#` say what is meant.
const OURS: &str = r##"
# What is inside of the lock.
1 | thread.rs |  | struct PoolState | threads: > broken: > shutdown:
# The future before the lock, and under it: check, put, adjust.
2 | thread.rs | impl Executor for ThreadPoolExecutor | fn try_submit | Core::new( > self.0.submit(
2 | thread.rs | `ThreadPoolExecutor.submit` | fn submit | (&self.shutdown_lock) > check_open()? > work_queue.put( > _adjust_thread_count(
# What `get` does before it counts itself as idle: two looks, the second with the lock.
4 | stdlib/queue.rs |  | pub(in super::super) fn get( | self.get_nowait() > self.putting.acquire() > self.get_nowait() > idle += 1
# A call is counted as done before its outcome can be seen.
5 | _base.rs |  | pub(super) fn complete( | last_act() > set_outcome(
6 | thread.rs |  | fn _worker( | map(initialize) > loop { > work_queue.get() > log_panic( > work_item.run(
7 | _base/shared.rs |  | pub(super) fn set_outcome( | state = State::Finished > Outcome::Value(value) > waiter.add_result(
7 | _base/shared.rs | Err(exception) => | Err(exception) => | Outcome::Exception > waiter.add_exception(
7 | _base.rs |  | pub(super) fn complete( | set_outcome( > shared.notify_all() > _invoke_callbacks(
7 | stdlib/threading.rs |  | pub(in super::super) fn notify_all( | drop(waited) > condvar.notify_all()
7 | thread.rs |  | fn execute< | catch_unwind( > future.complete(
# It looks until the time is over.
8 | stdlib/threading.rs |  | pub(in super::super) fn wait_for( | self.spin_for( > while !predicate > sleep(
8 | stdlib/spin.rs | const ROUNDS | const ROUNDS | = 24;
# The waiters are told, under the lock, before the sleepers are woken.
9 | _base.rs |  | pub fn cancel( | set_cancelled() > notify_all() > discard_call() > _invoke_callbacks(
10 | _base.rs | impl Waiter for _FirstCompletedWaiter | fn add_result | append( > event.set()
10 | _base.rs | impl Waiter for _AllCompletedWaiter | fn add_exception | append( > if self.stop_on_exception > = 1 > _decrement_pending_calls()
10 | _base.rs |  | fn _decrement_pending_calls | saturating_sub(1) > == 0 > event.set()
10 | _base.rs |  | fn take_finished_futures | lock( > event.clear() > mem::swap(
11 | _base/futures.rs |  | pub(super) fn new< | if future.is_shared > alone.insert( > shared.sort()
11 | _base.rs | `_AcquireFutures` in | struct _AcquireFutures | Acquired<
12 | _base.rs |  | impl<T, F: Waitable<T>> Drop for AsCompleted | self.close()
12 | _base.rs |  | fn close( | self.fs.uninstall(
# The oldest is waited for, then the next one submitted.
13 | _base/map.rs |  | pub(super) fn next_chunk( | self.close() > _result_or_cancel( > self.submit_next()
13 | _base/map.rs |  | pub(super) fn close( | future.cancel()
14 | thread.rs |  | fn shutdown( | lock(&self.shutdown_lock) > cancel(&self.work_queue) > put(None) > drop(state) > follow_up(cancelled)
14 | thread.rs |  | fn _initializer_failed( | lock(&self.shutdown_lock) > strand( > drop(state) > follow_up(
14 | thread.rs |  | fn cancel( | drain( > mark_cancelled()
# A real reference only while it looks.
15 | thread.rs |  | fn _worker( | executor_reference: &Weak<Pool> > work_queue.get() > upgrade() > drop(executor) > put(None)
15 | thread.rs | impl Drop for Registered | fn drop | _threads_queues.remove(
# Three lines: the secret and the folder, before there is one, and that it is there.
16 | stdlib/multiprocessing/process.rs |  | pub(in super::super::super) fn connect( | "{secret}\n{}\n" > Listener::in_folder( > "{address}\n" > drop(stdin) > self.accept(
16 | stdlib/multiprocessing/spawn.rs |  | pub(in super::super::super) fn spawn_main( | [String::new(), String::new(), String::new()] > read_to_end( > connect(Role::Messages) > connect(Role::Control) > remove(
# The arguments are dumped before the pool hears of the call.
17 | process/executor.rs |  | pub(super) fn submit_call< | call_item::<F, A>( > self.submit_call_item(
17 | process/executor.rs |  | pub(super) fn submit_call_item< | into_future() > self.pool().submit(
17 | process.rs | `ProcessPoolExecutor.submit` in | fn submit(self: &Arc | self.lock() > is_open()? > idle.pop() > is_small() > worker.send( > push_back( > _adjust_process_count(
# An idle one first, the one that was busy last.
18 | process.rs |  | fn _adjust_process_count( | idle.pop() > summon( > == self.max_workers > _spawn_process(
18 | process/state.rs |  | pub(super) fn next_work_item( | self.idle.push(number)
# One manager, one worker, a read; and before that the worker's registry, and the initializer.
19 | process.rs | impl _ExecutorManagerThread | fn serve( | self.start() > process.connect( > self.initialize( > add_call_item_to_queue( > loop { > recv_bytes( > process_result_item(
19 | process.rs |  | fn add_call_item_to_queue( | set_running_or_notify_cancel() > next_work_item() > connection.send(
19 | process/state.rs |  | pub(super) fn summon( | worker.send( > SUMMONS
# What was dumped of a result is taken back for the exception that dumping it raised.
20 | process.rs |  | fn _sendback_result( | truncate(start) > push(RAISED) > exception.dump(
20 | process/registry.rs |  | pub fn freeze_support( | register(&mut registry) > spawn_main() > _process_worker( > spawn::exit(
20 | stdlib/multiprocessing/spawn.rs | "control" | let status = match control.read_exact | TERMINATE > TERMINATED > 1
# Load, out of the hand, complete, and before anybody sees the outcome the next call; or that last.
21 | process.rs |  | fn process_result_item( | future.load( > in_hand.take() > complete( > next_work_item() > drop(work_item) > next_work_item() > add_call_item_to_queue(
21 | process/completion.rs | impl<T, L> Completion for Typed | fn load<'a> | result_of( > future.complete(result, last_act)
# Killed on purpose, then whether the pool is broken, then whether the call comes back.
22 | process.rs |  | fn join_executor_internals( | process.join() > verdict.is_some() > if break_pool > comes_back( > push_front( > WorkerDied {
22 | process/returns.rs |  | pub(super) fn comes_back( | unread || !self.sent > returns.begun < retries > set_pending()
# In place of the sentinel; and who has the pool, and who has the handle.
23 | process/state.rs |  | pub(super) fn retire( | shutdown(Half::Write)
23 | process.rs |  | fn shutdown( | shut_down( > notify_all() > follow_up(
23 | process/state.rs |  | pub(super) fn shut_down( | mem::take(&mut self.idle) > retire() > mark_cancelled()
23 | process.rs |  | struct _ExecutorManagerThread | pool: Arc<Pool>
23 | process.rs |  | struct Handle( | Arc<Pool>
23 | process.rs |  | pub struct ProcessPoolExecutor( | Arc<Handle>
"##;

const CPYTHONS: &str = r##"
1 | thread.py |  | def _worker | executor._shutdown = True
1 | thread.py |  | def _initializer_failed | with self._shutdown_lock > self._broken =
1 | thread.py |  | def shutdown | with self._shutdown_lock > self._shutdown = True
2 | thread.py |  | def submit | with self._shutdown_lock, _global_shutdown_lock > if self._broken > if self._shutdown > if _shutdown > _base.Future() > _work_queue.put(w) > _adjust_thread_count()
5 | thread.py |  | def _adjust_thread_count | _idle_semaphore.acquire(timeout=0) > t.start() > self._threads.add(t)
6 | thread.py |  | def _worker | initializer(*initargs) > while True > work_queue.get > work_item.run() > del work_item
7 | _base.py |  | def set_result | with self._condition > self._result = result > self._state = FINISHED > waiter.add_result(self) > notify_all() > self._invoke_callbacks()
8 | _base.py |  | def result( | self._condition.wait(timeout) > raise TimeoutError()
9 | _base.py |  | def cancel( | [RUNNING, FINISHED] > return False > [CANCELLED, CANCELLED_AND_NOTIFIED] > return True > = CANCELLED
10 | _base.py |  | class _FirstCompletedWaiter | event.set() > event.set() > event.set()
10 | _base.py | class _AllCompletedWaiter | def add_exception | if self.stop_on_exception > event.set() > _decrement_pending_calls()
10 | _base.py |  | def as_completed | with waiter.lock > waiter.finished_futures = [] > waiter.event.clear()
11 | _base.py |  | class _AcquireFutures | sorted(futures, key=id) > _condition.acquire() > _condition.release()
12 | _base.py |  | def _yield_finished_futures | del f > yield fs.pop()
12 | _base.py |  | def as_completed | finished.reverse() > yield from
12 | _base.py |  | def as_completed | finally: > for f in fs: > _waiters.remove(waiter)
13 | _base.py | class Executor | def map | self.submit( > def result_iterator > _result_or_cancel( > finally: > future.cancel()
14 | thread.py |  | def shutdown | with self._shutdown_lock > future.cancel() > put(None) > t.join()
15 | thread.py |  | def _adjust_thread_count | def weakref_cb > q.put(None) > weakref.ref(self, weakref_cb)
15 | thread.py | _threads_queues = | _threads_queues = | weakref.WeakKeyDictionary()
# Nothing is pickled, or even put into the queue to the workers.
17 | process.py |  | def submit | _WorkItem( > _work_ids.put( > wakeup() > _adjust_process_count() > _start_executor_manager_thread()
18 | process.py |  | def _adjust_process_count | _idle_worker_semaphore.acquire( > < self._max_workers > _spawn_process()
19 | process.py | EXTRA_QUEUED_CALLS = | EXTRA_QUEUED_CALLS = | = 1
19 | process.py | class ProcessPoolExecutor | def __init__ | queue_size = self._max_workers + EXTRA_QUEUED_CALLS
19 | process.py |  | def add_call_item_to_queue | set_running_or_notify_cancel() > call_queue.put(
19 | process.py |  | def wait_result_broken_or_wakeup | [result_reader, wakeup_reader] > readers + worker_sentinels
22 | process.py |  | def _terminate_broken | _broken = > set_exception(bpe) > p.terminate()
"##;

fn check(orders: &str, folder: &Path) {
    let mut count = 0;
    for line in orders
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        // What is in it may have a bar in it.
        let columns: Vec<_> = line.splitn(5, '|').map(str::trim).collect();
        if let [stop, file, above, head, marks] = columns[..] {
            let definition = definition(&read(&folder.join(file)), above, head);
            let marks: Vec<_> = marks.split(" > ").collect();
            if let Some(mark) = out_of_order(&definition, &marks) {
                panic!(
                    "stop {stop}: {mark} is not behind what it follows in {file}:\n{definition}"
                );
            }
            count += 1;
        } else {
            panic!("{line}");
        }
    }
    assert!(count > 20, "{count}");
}

#[test]
fn our_sources_have_the_orders_that_the_guide_tells() {
    check(OURS, &root().join("src"));
}

#[test]
fn cpythons_sources_have_the_orders_that_the_guide_tells() {
    match cpython() {
        Some(folder) => check(CPYTHONS, &folder),
        None => println!("no Python 3.13 at hand: what the guide says of it is not checked"),
    }
}

/// What is said to happen once, or not at all.
#[test]
fn what_the_guide_counts() {
    let ours = |file: &str, head| definition(&read(&root().join("src").join(file)), "", head);
    let sentinels = ours("thread.rs", "fn shutdown(")
        .matches("put(None)")
        .count();
    assert_eq!(sentinels, 1, "stop 14: one `None` for all workers");
    // A future knows three methods of a waiter.
    let futures = [
        ours("_base.rs", "impl<T> Future<T>"),
        read(&root().join("src/_base/shared.rs")),
    ]
    .concat();
    let told = futures.matches("waiter.add_").count();
    let known = ["add_result(", "add_exception(", "add_cancelled("];
    let known = known
        .iter()
        .map(|it| futures.matches(&format!("waiter.{it}")).count());
    assert_eq!((told, known.collect()), (3, vec![1, 1, 1]), "stop 10");

    let folder = match cpython() {
        Some(folder) => folder,
        None => {
            return println!("no Python 3.13 at hand: what the guide says of it is not checked")
        }
    };
    let theirs = |file, head| definition(&read(&folder.join(file)), "", head);
    let worker = theirs("thread.py", "def _worker");
    assert!(
        !worker.contains("_shutdown_lock"),
        "stop 1: `_worker` takes no lock"
    );
    let result = theirs("_base.py", "def result(");
    assert_eq!(result.matches(".wait(").count(), 1, "stop 8: it looks once");
    let cancel = theirs("_base.py", "def cancel(");
    assert!(
        !cancel.contains("waiter"),
        "stop 9: `cancel` tells no waiter"
    );
    let shutdown = theirs("thread.py", "def shutdown");
    assert_eq!(
        shutdown.matches("put(None)").count(),
        1,
        "stop 14: one `None`"
    );
    let submit = theirs("process.py", "def submit");
    assert!(
        !submit.contains("_CallItem"),
        "stop 17: nothing is sent by `submit`"
    );
}

/// As many stops as it says, in as many walks, each with all that a stop has; and no question without an answer.
#[test]
fn the_guide_is_whole() {
    let guide = read(&root().join("docs/reading-guide.md"));
    let mut walks: Vec<u32> = Vec::new();
    let mut stops = 0;
    for section in guide.split("\n## ").skip(1) {
        walks.push(0);
        for stop in section.split("\n### ").skip(1) {
            stops += 1;
            assert!(stop.starts_with(&format!("{stops}. ")), "{stop}");
            for field in ["CPython", "Here", "Look for", "Question", "Exercise"] {
                assert_eq!(
                    stop.matches(&format!("\n- **{field}:** ")).count(),
                    1,
                    "{field}: {stop}"
                );
            }
            let question = &stop[stop.find("**Question:** ").unwrap()..];
            let question = &question[..question.find("\n- ").unwrap()];
            let answered = question.contains("](")
                || question.contains('(')
                || stop.contains("\n- **Answer:** ");
            assert!(answered, "{question}");
            *walks.last_mut().unwrap() += 1;
        }
    }
    walks.retain(|&stops| stops > 0);
    // "The first eight", "the last eight".
    assert_eq!(
        (stops, walks.first(), walks.last()),
        (23, Some(&8), Some(&8)),
        "{walks:?}"
    );
    assert!(guide.contains("There are twenty-three stops. The first eight follow"));
    assert!(guide.contains("The last eight follow"));
}

/// What the documents say that a program in Python prints: every line of it, in backticks.
#[test]
fn python_prints_what_the_documents_say() {
    let python = match python() {
        Some((python, _)) if cfg!(target_os = "linux") => python,
        _ => return println!("no Python 3.13 at hand, in Linux: its programs are not run"),
    };
    let documents = ["questions.md", "conditions.md"];
    let documents = documents.map(|it| read(&root().join("docs").join(it)));
    let mut compared = 0;
    for program in documents
        .iter()
        .flat_map(|it| it.split("\n```python\n").skip(1))
    {
        let (program, after) = program.split_once("```\n").unwrap();
        let after = after.trim_start();
        if !after.starts_with("prints ") {
            continue;
        }
        let says = &after[..after.find("\n\n").unwrap_or(after.len())];
        // `spawn` imports the main module, so it has to be a file.
        let file = std::env::temp_dir().join(format!("question_{}.py", std::process::id()));
        fs::write(&file, program).unwrap();
        let output = Command::new(python)
            .args(["-W", "ignore"])
            .arg(&file)
            .env("PYENV_VERSION", "3.13")
            .output()
            .unwrap();
        fs::remove_file(&file).unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{program}");
        for line in printed.lines() {
            let quoted = format!("`{line}`");
            assert!(
                says.contains(&quoted),
                "{quoted} is printed by\n{program}\n{says}"
            );
            compared += 1;
        }
    }
    assert!(compared >= 13, "{compared}");
}

#[test]
fn the_checks_see_what_there_is() {
    let text =
        "fn a(\n    x: u8,\n) {\n    // c\n    b();\n\n    c();\n}\n\nfn d() {\n    e();\n}\n";
    assert_eq!(
        definition(text, "", "fn a("),
        "fn a(\n    x: u8,\n) {\n    b();\n\n    c();\n"
    );
    let python = "class A:\n    def f(self):\n        # g\n        h()\n\nclass B:\n    def f(self):\n        i()\n";
    assert_eq!(
        definition(python, "class B", "def f"),
        "    def f(self):\n        i()\n"
    );
    assert_eq!(out_of_order("a b c", &["a", "c"]), None);
    assert_eq!(out_of_order("a b c", &["c", "a"]), Some("a"));
}
