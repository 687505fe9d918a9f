//! Whatever a pool calls, drops or shows may use that same pool: every place where code of the user's
//! runs, with everything that it might do there.

mod support;

use concurrent_futures::{
    as_completed, set_logger, wait, BrokenThreadPool, Error, Exception, Executor, Future,
    MapOptions, ShutdownOptions, ThreadPoolExecutor, ALL_COMPLETED,
};
use std::fmt;
use std::iter;
use std::panic::panic_any;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;
use support::{child, is_child, logged, threads_named, until, watchdog, Gate, OnDrop, Steps};

/// Every worker that runs in a place, another that is free to do what is asked of the pool there, and
/// none too many.
const WORKERS: usize = 2;

/// What is done in a place, with a reference to the pool that may be the last one.
type Act = Box<dyn FnOnce(ThreadPoolExecutor) + Send>;

type Action = (&'static str, fn(ThreadPoolExecutor));

fn actions() -> Vec<Action> {
    vec![
        ("submit", |pool| {
            let _ = pool.submit(|| ());
        }),
        ("submit and take the result", |pool| {
            if let Ok(future) = pool.submit(|| 7) {
                expect_or_broken(future.result(None), 7);
            }
        }),
        ("submit and cancel", |pool| {
            for _ in 0..5 {
                if let Ok(future) = pool.submit(|| ()) {
                    future.cancel();
                    let _ = future.result(None);
                }
            }
        }),
        ("add callbacks", |pool| {
            let called = Gate::new();
            let its_called = called.clone();
            match pool.submit(|| ()) {
                Ok(future) => future.add_done_callback(move |future| {
                    future.add_done_callback(move |_| its_called.open());
                }),
                Err(_) => its_called.open(),
            }
            called.wait();
        }),
        ("wait", |pool| {
            let futures: Vec<_> = (0..4).filter_map(|n| pool.submit(move || n).ok()).collect();
            let _ = wait(futures.clone(), None, ALL_COMPLETED);
            assert_eq!(as_completed(futures.clone(), None).count(), futures.len());
        }),
        ("map", |pool| {
            if let Ok(map) = pool.map(|n: usize| n, 0..4) {
                for (expected, result) in map.enumerate() {
                    expect_or_broken(result, expected);
                }
            }
        }),
        ("look", |pool| {
            let _ = (pool.thread_count(), pool.queue_size(), format!("{pool:?}"));
        }),
        ("shutdown without waiting", |pool| {
            pool.shutdown_with(ShutdownOptions::new().wait(false));
        }),
        ("shutdown that cancels", |pool| {
            pool.shutdown_with(ShutdownOptions::new().wait(false).cancel_futures(true));
        }),
        ("shutdown and wait", |pool| pool.shutdown()),
        ("drop the reference", drop),
    ]
}

/// What is submitted while an initializer's failure is on its way comes back with that failure.
fn expect_or_broken(result: Result<usize, Error>, expected: usize) {
    match result {
        Ok(value) => assert_eq!(value, expected),
        Err(Error::Exception(exception)) => {
            assert!(exception.downcast_ref::<BrokenThreadPool>().is_some());
        }
        Err(other) => panic!("{other}"),
    }
}

fn make(prefix: &str) -> ThreadPoolExecutor {
    ThreadPoolExecutor::builder()
        .max_workers(WORKERS)
        .thread_name_prefix(prefix)
        .build()
        .unwrap()
}

/// Keeps every worker busy until the gate opens.
fn occupy(pool: &ThreadPoolExecutor) -> Gate {
    let gate = Gate::new();
    let barrier = Arc::new(Barrier::new(WORKERS + 1));
    for _ in 0..WORKERS {
        let (gate, barrier) = (gate.clone(), Arc::clone(&barrier));
        pool.submit(move || {
            barrier.wait();
            gate.wait();
        })
        .unwrap();
    }
    barrier.wait();
    gate
}

/// Does the act when it is dropped, wherever that is.
fn on_drop(act: Act, pool: &ThreadPoolExecutor) -> OnDrop<impl FnOnce() + Send> {
    let pool = pool.clone();
    OnDrop::new(move || act(pool))
}

/// An error that does something when it is dropped.
struct DropError {
    _does: Mutex<Box<dyn std::any::Any + Send>>,
}

impl fmt::Debug for DropError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DropError")
    }
}

impl fmt::Display for DropError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DropError")
    }
}

impl std::error::Error for DropError {}

/// Does every action in `place`, which gets the prefix for its pool's threads and what to do there.
fn in_place(prefix: &'static str, place: fn(&str, Act)) {
    watchdog(prefix, move |steps| {
        logged("");
        in_place_under(steps, prefix, place);
    });
}

fn in_place_under(steps: &Steps, prefix: &'static str, place: fn(&str, Act)) {
    for (name, action) in actions() {
        for _ in 0..3 {
            steps.at(format!("{name}, {prefix}"));
            let done = Gate::new();
            let (its_done, its_steps) = (done.clone(), steps.clone());
            place(
                prefix,
                Box::new(move |pool| {
                    action(pool);
                    its_steps.at(format!("after: {name}, {prefix}"));
                    its_done.open();
                }),
            );
            let last = steps.last();
            until(steps, &format!("the act is done ({last})"), || {
                done.is_open()
            });
            // Whatever it did, nobody refers to the pool any more.
            until(steps, &format!("the workers are gone ({last})"), || {
                threads_named(prefix) == 0
            });
        }
    }
}

#[test]
fn in_a_callback_that_a_worker_calls() {
    in_place("re-cbworker", |prefix, act| {
        let pool = make(prefix);
        let gate = occupy(&pool);
        let future = pool.submit(|| ()).unwrap();
        future.add_done_callback(move |_| act(pool));
        gate.open();
    });
}

#[test]
fn in_a_callback_that_cancel_calls() {
    in_place("re-cbcancel", |prefix, act| {
        let pool = make(prefix);
        let gate = occupy(&pool);
        let future = pool.submit(|| ()).unwrap();
        future.add_done_callback(move |future| {
            gate.open();
            assert!(future.cancel() && future.result(None).is_err());
            act(pool);
        });
        assert!(future.cancel());
    });
}

#[test]
fn in_a_callback_that_is_called_at_once() {
    in_place("re-cbnow", |prefix, act| {
        let pool = make(prefix);
        let future = pool.submit(|| ()).unwrap();
        future.result(None).unwrap();
        future.add_done_callback(move |_| act(pool));
    });
}

#[test]
fn in_a_callback_that_shutdown_calls() {
    in_place("re-cbshut", |prefix, act| {
        let pool = make(prefix);
        let gate = occupy(&pool);
        let futures: Vec<_> = (0..3).map(|_| pool.submit(|| ()).unwrap()).collect();
        let reference = pool.clone();
        futures[1].add_done_callback(move |_| {
            gate.open();
            act(reference);
        });
        pool.shutdown_with(ShutdownOptions::new().cancel_futures(true));
        assert!(futures.iter().all(Future::cancelled));
    });
}

#[test]
fn in_a_callback_of_a_broken_pool() {
    in_place("re-cbbroken", |prefix, act| {
        let gate = Gate::new();
        let its_gate = gate.clone();
        let pool = ThreadPoolExecutor::builder()
            .max_workers(WORKERS)
            .thread_name_prefix(prefix)
            .try_initializer(move || {
                its_gate.wait();
                Err(Exception::msg("no"))
            })
            .build()
            .unwrap();
        let future = pool.submit(|| ()).unwrap();
        future.add_done_callback(move |_| act(pool));
        gate.open();
    });
}

#[test]
fn in_the_drop_of_a_value_nobody_took() {
    in_place("re-value", |prefix, act| {
        let pool = make(prefix);
        let gate = occupy(&pool);
        let value = on_drop(act, &pool);
        drop(pool.submit(move || value).unwrap());
        drop(pool);
        gate.open();
    });
}

#[test]
fn in_the_drop_of_a_panics_payload() {
    in_place("re-payload", |prefix, act| {
        let pool = make(prefix);
        let gate = occupy(&pool);
        let payload = on_drop(act, &pool);
        drop(pool.submit(move || panic_any(payload)).unwrap());
        drop(pool);
        gate.open();
    });
}

#[test]
fn in_the_drop_of_an_error() {
    in_place("re-error", |prefix, act| {
        let pool = make(prefix);
        let gate = occupy(&pool);
        let error = DropError {
            _does: Mutex::new(Box::new(on_drop(act, &pool))),
        };
        drop(pool.try_submit(move || Err::<(), _>(error)).unwrap());
        drop(pool);
        gate.open();
    });
}

#[test]
fn in_the_drop_of_a_closure_that_has_run() {
    in_place("re-closure", |prefix, act| {
        let pool = make(prefix);
        let gate = occupy(&pool);
        let captured = on_drop(act, &pool);
        drop(pool.submit(move || drop(captured)).unwrap());
        drop(pool);
        gate.open();
    });
}

#[test]
fn in_the_drop_of_a_closure_that_a_worker_skips() {
    in_place("re-skipped", |prefix, act| {
        let pool = make(prefix);
        let gate = occupy(&pool);
        let captured = on_drop(act, &pool);
        let future = pool.submit(move || drop(captured)).unwrap();
        drop(pool);
        // Whoever cancels drops it, unless a worker was faster.
        let canceller = thread::spawn(move || future.cancel());
        gate.open();
        canceller.join().unwrap();
    });
}

#[test]
fn in_the_drop_of_a_closure_that_shutdown_cancels() {
    in_place("re-dropshut", |prefix, act| {
        let pool = make(prefix);
        let gate = occupy(&pool);
        let captured = on_drop(act, &pool);
        let opens = OnDrop::new(move || gate.open());
        pool.submit(move || drop(opens)).unwrap();
        pool.submit(move || drop(captured)).unwrap();
        pool.shutdown_with(ShutdownOptions::new().cancel_futures(true));
    });
}

#[test]
fn in_the_drop_of_a_closure_that_a_broken_pool_drops() {
    in_place("re-dropbrok", |prefix, act| {
        let gate = Gate::new();
        let its_gate = gate.clone();
        let pool = ThreadPoolExecutor::builder()
            .max_workers(WORKERS)
            .thread_name_prefix(prefix)
            .initializer(move || {
                its_gate.wait();
                panic!("no");
            })
            .build()
            .unwrap();
        let captured = on_drop(act, &pool);
        pool.submit(move || drop(captured)).unwrap();
        drop(pool);
        gate.open();
    });
}

#[test]
fn in_the_drop_of_a_closure_that_is_refused() {
    in_place("re-refused", |prefix, act| {
        let pool = make(prefix);
        occupy(&pool).open();
        pool.shutdown_with(ShutdownOptions::new().wait(false));
        let captured = on_drop(act, &pool);
        assert!(pool.submit(move || drop(captured)).is_err());
    });
    in_place("re-nothread", |prefix, act| {
        let pool = ThreadPoolExecutor::builder()
            .max_workers(WORKERS)
            .thread_name_prefix(prefix)
            .thread_stack_size(1 << 60)
            .build()
            .unwrap();
        let captured = on_drop(act, &pool);
        assert!(pool.submit(move || drop(captured)).is_err());
    });
}

#[test]
fn in_the_drop_of_a_callback_never_called() {
    in_place("re-dropcb", |prefix, act| {
        let pool = make(prefix);
        let captured = on_drop(act, &pool);
        let future = Future::<()>::new();
        future.add_done_callback(move |_| drop(captured));
        drop(pool.submit(move || drop(future)).unwrap());
    });
}

#[test]
fn in_an_iterator_given_to_map() {
    in_place("re-iter", |prefix, act| {
        let pool = make(prefix);
        let reference = pool.clone();
        let items = iter::once(1).chain(iter::once_with(move || {
            act(reference);
            2
        }));
        let _ = pool.map(|n| n, items).map(|map| map.map(drop).count());
    });
}

#[test]
fn in_an_iterator_that_is_read_later() {
    in_place("re-iterlate", |prefix, act| {
        let pool = make(prefix);
        let reference = pool.clone();
        let items = iter::once(1).chain(iter::once_with(move || {
            act(reference);
            2
        }));
        let mut map = pool
            .map_with(|n| n, items, MapOptions::new().buffersize(1))
            .unwrap();
        assert_eq!(map.next().unwrap().unwrap(), 1);
        let _ = map.next();
    });
}

#[test]
fn in_the_drop_of_an_iterator_given_to_map() {
    in_place("re-iterdrop", |prefix, act| {
        let pool = make(prefix);
        let captured = on_drop(act, &pool);
        let items = (0..3).inspect(move |_| {
            let _ = &captured;
        });
        let _ = pool.map(|n| n, items).map(|map| map.map(drop).count());
    });
}

#[test]
fn in_the_drop_of_the_function_given_to_map() {
    in_place("re-mapdrop", |prefix, act| {
        let pool = make(prefix);
        let captured = Mutex::new(on_drop(act, &pool));
        let function = move |n: i32| {
            drop(captured.lock().unwrap());
            n
        };
        let _ = pool.map(function, 0..3).map(|map| map.map(drop).count());
    });
}

#[test]
fn in_an_initializer() {
    in_place("re-init", |prefix, act| {
        let slot = Arc::new(Mutex::new(None));
        let its_slot = Arc::clone(&slot);
        let pool = ThreadPoolExecutor::builder()
            .max_workers(WORKERS)
            .thread_name_prefix(prefix)
            .initializer(move || {
                let taken: Option<(Act, ThreadPoolExecutor)> = its_slot.lock().unwrap().take();
                if let Some((act, pool)) = taken {
                    act(pool);
                }
            })
            .build()
            .unwrap();
        *slot.lock().unwrap() = Some((act, pool.clone()));
        drop(pool.submit(|| ()).unwrap());
    });
}

#[test]
fn in_the_clone_of_a_result() {
    in_place("re-clone", |prefix, act| {
        struct Acts(Arc<Mutex<Option<(Act, ThreadPoolExecutor)>>>);
        impl Clone for Acts {
            fn clone(&self) -> Self {
                let taken = self.0.lock().unwrap().take();
                if let Some((act, pool)) = taken {
                    act(pool);
                }
                Acts(Arc::clone(&self.0))
            }
        }
        let pool = make(prefix);
        let acts = Acts(Arc::new(Mutex::new(Some((act, pool.clone())))));
        let future = pool.submit(move || acts).unwrap();
        drop(pool);
        assert!(future.result(Duration::from_secs(9999)).is_ok());
    });
}

#[test]
fn in_a_value_of_the_workers_thread() {
    in_place("re-local", |prefix, act| {
        thread_local! {
            static LOCAL: std::cell::RefCell<Option<Box<dyn std::any::Any>>> =
                std::cell::RefCell::new(None);
        }
        // Its destructor runs when the thread ends, after the last code of the pool's.
        let pool = make(prefix);
        let captured = on_drop(act, &pool);
        pool.submit(move || {
            LOCAL.with(|local| *local.borrow_mut() = Some(Box::new(captured)));
        })
        .unwrap();
        pool.shutdown_with(ShutdownOptions::new().wait(false));
    });
}

/// The logger is one for the process, so it is tried in a process of its own.
#[test]
fn in_the_logger() {
    const ROLE: &str = "the logger uses the pool";
    if !is_child(ROLE) {
        let ended = child("in_the_logger", ROLE, "");
        let passed = ended.code == Some(0) && ended.stdout.contains("child: done");
        assert!(passed, "{ended:?}");
        return;
    }
    static SLOT: Mutex<Option<(Act, ThreadPoolExecutor)>> = Mutex::new(None);
    let act_once = || {
        let taken = SLOT.lock().unwrap().take();
        if let Some((act, pool)) = taken {
            act(pool);
        }
    };
    set_logger(move |_| act_once());
    watchdog("the logger", |steps| {
        in_place_under(steps, "re-logcb", |prefix, act| {
            let pool = make(prefix);
            let gate = occupy(&pool);
            let future = pool.submit(|| ()).unwrap();
            future.add_done_callback(|_| panic!("logged"));
            *SLOT.lock().unwrap() = Some((act, pool));
            gate.open();
        });
        in_place_under(steps, "re-logstate", |prefix, act| {
            let pool = make(prefix);
            let gate = occupy(&pool);
            let future = pool.submit(|| ()).unwrap();
            future.set_result(()).unwrap();
            *SLOT.lock().unwrap() = Some((act, pool));
            gate.open();
        });
        in_place_under(steps, "re-loginit", |prefix, act| {
            let gate = Gate::new();
            let its_gate = gate.clone();
            let pool = ThreadPoolExecutor::builder()
                .max_workers(WORKERS)
                .thread_name_prefix(prefix)
                .initializer(move || {
                    its_gate.wait();
                    panic!("no");
                })
                .build()
                .unwrap();
            pool.submit(|| ()).unwrap();
            *SLOT.lock().unwrap() = Some((act, pool));
            gate.open();
        });
    });
    println!("child: done");
}
