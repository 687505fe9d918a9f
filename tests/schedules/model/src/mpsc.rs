//! `std::sync::mpsc`.

use crate::exec::{nanos, Id, Kind, Op};
use crate::sync::step;
use ::std::collections::VecDeque;
use ::std::fmt;
use ::std::panic::{Location, RefUnwindSafe, UnwindSafe};
use ::std::sync::{Arc, Mutex, PoisonError};
use ::std::time::Duration;

pub use ::std::sync::mpsc::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError};

struct Channel<T> {
    id: Id,
    items: Mutex<VecDeque<T>>,
}

const OUTSIDE: fn() -> Kind =
    || panic!("a channel is used in another execution than it was made in");

impl<T> Channel<T> {
    #[track_caller]
    fn new(capacity: Option<usize>) -> Arc<Self> {
        Arc::new(Channel {
            id: Id::new(|| Kind::Channel {
                len: 0,
                capacity,
                senders: 1,
                receiver: true,
            }),
            items: Mutex::new(VecDeque::new()),
        })
    }

    fn push(&self, item: T) {
        self.items
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(item);
    }

    fn pop(&self) -> T {
        self.items
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
            .expect("an item that the model counts")
    }

    #[track_caller]
    fn step(&self, op: fn(usize) -> Op) -> u32 {
        step(&self.id, OUTSIDE, op).expect("a channel outside of any execution")
    }

    #[track_caller]
    fn one_sender_more(&self) {
        if let Some((world, _, channel)) = self.id.find(OUTSIDE) {
            if let Kind::Channel { senders, .. } = world.lock().kind_mut(channel) {
                *senders += 1;
            }
        }
    }
}

pub struct Sender<T>(Arc<Channel<T>>);

pub struct SyncSender<T>(Arc<Channel<T>>);

pub struct Receiver<T>(Arc<Channel<T>>);

#[track_caller]
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let channel = Channel::new(None);
    (Sender(channel.clone()), Receiver(channel))
}

#[track_caller]
pub fn sync_channel<T>(bound: usize) -> (SyncSender<T>, Receiver<T>) {
    let channel = Channel::new(Some(bound));
    (SyncSender(channel.clone()), Receiver(channel))
}

impl<T> Sender<T> {
    #[track_caller]
    pub fn send(&self, item: T) -> Result<(), SendError<T>> {
        match self.0.step(Op::Send) {
            0 => {
                self.0.push(item);
                Ok(())
            }
            _ => Err(SendError(item)),
        }
    }
}

impl<T> SyncSender<T> {
    #[track_caller]
    pub fn send(&self, item: T) -> Result<(), SendError<T>> {
        match self.0.step(Op::Send) {
            0 => {
                self.0.push(item);
                Ok(())
            }
            _ => Err(SendError(item)),
        }
    }

    #[track_caller]
    pub fn try_send(&self, item: T) -> Result<(), TrySendError<T>> {
        match self.0.step(Op::TrySend) {
            0 => {
                self.0.push(item);
                Ok(())
            }
            1 => Err(TrySendError::Full(item)),
            _ => Err(TrySendError::Disconnected(item)),
        }
    }
}

macro_rules! sender {
    ($sender:ident) => {
        impl<T> Clone for $sender<T> {
            #[track_caller]
            fn clone(&self) -> Self {
                self.0.one_sender_more();
                $sender(self.0.clone())
            }
        }

        impl<T> Drop for $sender<T> {
            #[track_caller]
            fn drop(&mut self) {
                step(&self.0.id, OUTSIDE, Op::DropSender);
            }
        }

        impl<T> fmt::Debug for $sender<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($sender)).finish_non_exhaustive()
            }
        }

        impl<T> UnwindSafe for $sender<T> {}
        impl<T> RefUnwindSafe for $sender<T> {}
    };
}

sender!(Sender);
sender!(SyncSender);

impl<T> Receiver<T> {
    #[track_caller]
    pub fn recv(&self) -> Result<T, RecvError> {
        match self.0.step(Op::Recv) {
            0 => Ok(self.0.pop()),
            _ => Err(RecvError),
        }
    }

    #[track_caller]
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        match self.0.step(Op::TryRecv) {
            0 => Ok(self.0.pop()),
            1 => Err(TryRecvError::Disconnected),
            _ => Err(TryRecvError::Empty),
        }
    }

    #[track_caller]
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        let place = Location::caller();
        let (world, me, channel) = self
            .0
            .id
            .find(OUTSIDE)
            .expect("a channel outside of any execution");
        let until = world.lock().clock.saturating_add(nanos(timeout));
        match world.step(me, Op::RecvUntil(channel, until), place) {
            0 => Ok(self.0.pop()),
            1 => Err(RecvTimeoutError::Disconnected),
            _ => Err(RecvTimeoutError::Timeout),
        }
    }

    pub fn iter(&self) -> Iter<'_, T> {
        Iter(self)
    }

    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter(self)
    }
}

impl<T> Drop for Receiver<T> {
    #[track_caller]
    fn drop(&mut self) {
        step(&self.0.id, OUTSIDE, Op::DropReceiver);
        let items =
            ::std::mem::take(&mut *self.0.items.lock().unwrap_or_else(PoisonError::into_inner));
        drop(items);
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

impl<T> UnwindSafe for Receiver<T> {}
impl<T> RefUnwindSafe for Receiver<T> {}

#[derive(Debug)]
pub struct Iter<'a, T>(&'a Receiver<T>);

#[derive(Debug)]
pub struct TryIter<'a, T>(&'a Receiver<T>);

#[derive(Debug)]
pub struct IntoIter<T>(Receiver<T>);

impl<T> Iterator for Iter<'_, T> {
    type Item = T;
    #[track_caller]
    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
    }
}

impl<T> Iterator for TryIter<'_, T> {
    type Item = T;
    #[track_caller]
    fn next(&mut self) -> Option<T> {
        self.0.try_recv().ok()
    }
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;
    #[track_caller]
    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
    }
}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;
    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;
    fn into_iter(self) -> IntoIter<T> {
        IntoIter(self)
    }
}
