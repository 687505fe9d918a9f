//! Two hangs of CPython 3.13, as small models of its own algorithm; and the same programs with this crate. The names are
//! CPython's. The numbers are those of the rows in docs/divergences.md.
use model::sync::{Arc, Condvar, Mutex};
use model::thread;
use std::collections::VecDeque;

/// `queue.SimpleQueue`, of one number for each work item, and `None`.
#[derive(Default)]
struct SimpleQueue {
    items: Mutex<VecDeque<Option<u32>>>,
    not_empty: Condvar,
}

impl SimpleQueue {
    fn put(&self, item: Option<u32>) {
        self.items.lock().unwrap().push_back(item);
        self.not_empty.notify_one();
    }

    fn get_nowait(&self) -> Option<Option<u32>> {
        self.items.lock().unwrap().pop_front()
    }

    fn get(&self) -> Option<u32> {
        let mut items = self.items.lock().unwrap();
        while items.is_empty() {
            items = self.not_empty.wait(items).unwrap();
        }
        items.pop_front().unwrap()
    }
}

/// `threading.Event`.
#[derive(Default)]
struct Event {
    flag: Mutex<bool>,
    is_set: Condvar,
}

impl Event {
    fn set(&self) {
        *self.flag.lock().unwrap() = true;
        self.is_set.notify_all();
    }

    fn wait(&self) {
        let mut flag = self.flag.lock().unwrap();
        while !*flag {
            flag = self.is_set.wait(flag).unwrap();
        }
    }
}

/// `_base.Future`, as far as `cancel` and `wait` go.
#[derive(Default)]
struct Future {
    _state: Mutex<&'static str>,
    /// The event of the one waiter.
    _waiter: Event,
}

impl Future {
    fn cancel(&self) {
        // Those in `result` are notified, but the waiters are not told.
        *self._state.lock().unwrap() = "CANCELLED";
    }

    fn set_running_or_notify_cancel(&self) -> bool {
        let mut state = self._state.lock().unwrap();
        if *state == "CANCELLED" {
            *state = "CANCELLED_AND_NOTIFIED";
            self._waiter.set();
            return false;
        }
        *state = "RUNNING";
        true
    }

    fn set_result(&self) {
        *self._state.lock().unwrap() = "FINISHED";
        self._waiter.set();
    }

    fn wait(&self) {
        let state = *self._state.lock().unwrap();
        if !["CANCELLED_AND_NOTIFIED", "FINISHED"].contains(&state) {
            self._waiter.wait();
        }
    }
}

#[derive(Default)]
struct ThreadPoolExecutor {
    _work_queue: SimpleQueue,
    /// Protected by `_shutdown_lock`.
    _shutdown: Mutex<bool>,
}

impl ThreadPoolExecutor {
    /// `_worker`.
    fn work(&self, run: impl Fn(u32)) {
        loop {
            match self._work_queue.get() {
                Some(work_item) => run(work_item),
                None if *self._shutdown.lock().unwrap() => {
                    self._work_queue.put(None);
                    return;
                }
                None => {}
            }
        }
    }

    /// With its drain of the queue, which takes out everything.
    fn _initializer_failed(&self) {
        let _shutdown_lock = self._shutdown.lock().unwrap();
        while self._work_queue.get_nowait().is_some() {}
    }

    /// The part under the lock. The join is the caller's.
    fn shutdown(&self) {
        let mut shutdown = self._shutdown.lock().unwrap();
        *shutdown = true;
        self._work_queue.put(None);
    }
}

fn named(name: &str, f: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    thread::Builder::new().name(name.to_owned()).spawn(f).unwrap()
}

model::scenarios! {
    /// Row 1: `main` waits for a future that it has cancelled; the only worker would tell it, but is kept busy until `main`
    /// goes on.
    fn row_1_in_cpython [finds("deadlock")] () {
        let future = Arc::new(Future::default());
        let (pool, gate) = (Arc::new(ThreadPoolExecutor::default()), Arc::new(Event::default()));
        pool._work_queue.put(Some(1));
        pool._work_queue.put(Some(2));
        let (own, item, busy) = (pool.clone(), future.clone(), gate.clone());
        let worker = named("worker", move || own.work(|number| match number {
            1 => busy.wait(),
            _ => if item.set_running_or_notify_cancel() {
                item.set_result();
            }
        }));
        future.cancel();
        future.wait();
        gate.set();
        pool.shutdown();
        worker.join().unwrap();
    }

    /// The same with this crate.
    fn row_1_here () {
        use concurrent_futures::*;
        let pool = concurrent_futures::ThreadPoolExecutor::new(1).unwrap();
        let (gate, opened) = model::sync::mpsc::channel::<()>();
        pool.submit(move || drop(opened.recv())).unwrap();
        let future = pool.submit(|| ()).unwrap();
        future.cancel();
        assert_eq!(wait(vec![future], None, ALL_COMPLETED).done.len(), 1);
        drop(gate);
        pool.shutdown();
    }

    /// Row 12: the drain of the worker whose initializer fails takes out the `None` that `shutdown` has put for the other.
    fn row_12_in_cpython [finds("deadlock")] () {
        let pool = Arc::new(ThreadPoolExecutor::default());
        let (own, other) = (pool.clone(), pool.clone());
        let worker_0 = named("worker_0", move || own.work(|_| ()));
        let worker_1 = named("worker_1", move || other._initializer_failed());
        pool.shutdown();
        worker_0.join().unwrap();
        worker_1.join().unwrap();
    }

    /// The same with this crate: the second worker's initializer fails.
    fn row_12_here [preemptions(1)] () {
        use concurrent_futures::*;
        set_logger(|_| ());
        let started = Mutex::new(0);
        let pool = concurrent_futures::ThreadPoolExecutor::builder()
            .max_workers(2)
            .initializer(move || {
                let mut started = started.lock().unwrap();
                *started += 1;
                let number = *started;
                drop(started);
                assert_eq!(number, 1);
            })
            .build()
            .unwrap();
        for _ in 0..2 {
            let _ = pool.submit(|| ());
        }
        pool.shutdown();
    }
}
