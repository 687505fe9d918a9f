//! What an async runtime gives, as little of it as will do: `block_on`, timers, and two ways to wait
//! for more than one thing. On `Mutex`, `Condvar`, `mpsc` and threads.

// Each program uses a part of it.
#![allow(dead_code)]

use concurrent_futures::{Error, Future};
use std::collections::BTreeMap;
use std::future;
use std::pin::Pin;
use std::sync::{mpsc, Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

/// Sleeps until it is woken: Python's `threading.Event`.
#[derive(Default)]
struct Signal {
    woken: Mutex<bool>,
    condvar: Condvar,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        *self.woken.lock().unwrap() = true;
        self.condvar.notify_one();
    }
}

/// Runs a task to its end on this thread, which sleeps when there is nothing to do: `asyncio.run`.
pub fn block_on<F: future::Future>(task: F) -> F::Output {
    let mut task = Box::pin(task);
    let signal = Arc::new(Signal::default());
    let waker = Waker::from(Arc::clone(&signal));
    loop {
        if let Poll::Ready(output) = task.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let mut woken = signal.woken.lock().unwrap();
        while !*woken {
            woken = signal.condvar.wait(woken).unwrap();
        }
        *woken = false;
    }
}

/// All outputs, in the order of the tasks, which run side by side: `asyncio.gather`.
pub fn join_all<F: future::Future + Unpin>(tasks: Vec<F>) -> JoinAll<F> {
    let outputs = tasks.iter().map(|_| None).collect();
    JoinAll {
        tasks: tasks.into_iter().map(Some).collect(),
        outputs,
    }
}

pub struct JoinAll<F: future::Future> {
    tasks: Vec<Option<F>>,
    outputs: Vec<Option<F::Output>>,
}

// Nothing in it is pinned but by being `Unpin` itself.
impl<F: future::Future> Unpin for JoinAll<F> {}

impl<F: future::Future + Unpin> future::Future for JoinAll<F> {
    type Output = Vec<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut pending = false;
        for (slot, output) in this.tasks.iter_mut().zip(&mut this.outputs) {
            if let Some(task) = slot {
                match Pin::new(task).poll(context) {
                    Poll::Ready(ready) => {
                        *output = Some(ready);
                        *slot = None;
                    }
                    Poll::Pending => pending = true,
                }
            }
        }
        if pending {
            return Poll::Pending;
        }
        Poll::Ready(this.outputs.drain(..).flatten().collect())
    }
}

/// One thread for any number of timers: `loop.call_later`.
pub struct Timer {
    sleepers: Mutex<mpsc::Sender<(Instant, Future<()>)>>,
}

impl Timer {
    pub fn start() -> Self {
        let (sender, receiver) = mpsc::channel::<(Instant, Future<()>)>();
        thread::spawn(move || {
            let mut sleeping: BTreeMap<Instant, Vec<Future<()>>> = BTreeMap::new();
            loop {
                let now = Instant::now();
                while let Some((&time, _)) = sleeping.iter().next().filter(|(&time, _)| time <= now)
                {
                    for sleep in sleeping.remove(&time).into_iter().flatten() {
                        // An error: it was cancelled.
                        let _ = sleep.set_result(());
                    }
                }
                let left = sleeping.keys().next().map(|&time| time - now);
                match receiver.recv_timeout(left.unwrap_or(Duration::from_secs(3600))) {
                    Ok((time, sleep)) => sleeping.entry(time).or_default().push(sleep),
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    Err(mpsc::RecvTimeoutError::Disconnected) if sleeping.is_empty() => return,
                    Err(mpsc::RecvTimeoutError::Disconnected) => {
                        thread::sleep(left.unwrap_or_default());
                    }
                }
            }
        });
        Timer {
            sleepers: Mutex::new(sender),
        }
    }

    /// Done when the time has passed: `asyncio.sleep`. It is a future like any other, completed by the
    /// timer's thread.
    pub fn sleep(&self, time: Duration) -> Future<()> {
        let sleep = Future::new();
        let entry = (Instant::now() + time, sleep.clone());
        // It cannot fail: the thread outlives this.
        let _ = self.sleepers.lock().unwrap().send(entry);
        sleep
    }

    /// The future's result, if it is there in time; if not, [`Error::Timeout`], and the call is
    /// cancelled unless it runs already: `asyncio.wait_for`.
    pub async fn wait_for<T: Clone>(&self, future: Future<T>, time: Duration) -> Result<T, Error> {
        match first(future.clone(), self.sleep(time)).await {
            Some(result) => result,
            None => {
                future.cancel();
                Err(Error::Timeout)
            }
        }
    }
}

/// The first one's output, or `None` if the second one is done before it.
pub fn first<A, B>(a: A, b: B) -> First<A, B> {
    First { a, b }
}

pub struct First<A, B> {
    a: A,
    b: B,
}

impl<A: future::Future + Unpin, B: future::Future + Unpin> future::Future for First<A, B> {
    type Output = Option<A::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(output) = Pin::new(&mut self.a).poll(context) {
            return Poll::Ready(Some(output));
        }
        Pin::new(&mut self.b).poll(context).map(|_| None)
    }
}
