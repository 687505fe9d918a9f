// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! The functions that a worker process can be asked to call, and how it finds them.

use super::super::_base::{Exception, LOGGER};
use super::super::stdlib::multiprocessing::bridge::bridge_main;
use super::super::stdlib::multiprocessing::connection::{Connection, Incoming, Message, Receiver};
use super::super::stdlib::multiprocessing::spawn;
use super::super::stdlib::pickle::{
    dumps, DispatchTable, Dump, Load, PickleError, Pickler, RemoteError, Unpickler,
};
use super::super::stdlib::process_wide;
use super::{_process_worker, NAMES};
use std::any::{type_name, TypeId};
use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet};
use std::error::Error as StdError;
use std::hash::{Hash, Hasher};
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, PoisonError};

/// The functions of a program that may be called in another process; see
/// [`freeze_support`].
///
/// A worker process runs the same program, and so registers the same functions; what travels is a number.
/// Both sides compare what they have registered before the first call.
///
/// CPython: none; `pickle` sends the name of a function, and imports its module.
#[derive(Default)]
pub struct Registry {
    functions: Vec<Box<dyn Function>>,
    /// Where a function is in `functions`.
    numbers: HashMap<TypeId, u32>,
    errors: DispatchTable,
    /// The names of all that was registered, in order.
    names: Vec<&'static str>,
    /// Equal on two sides that have registered the same.
    fingerprint: u64,
}

static REGISTRY: process_wide::sync::Mutex<Option<Arc<Registry>>> =
    process_wide::sync::Mutex::new(None);

impl Registry {
    /// Registers a function of up to twelve arguments, so that it can be submitted. Once more does no
    /// harm.
    ///
    /// A generic function is registered as often as it is used with different types: `parse::<u8>` and
    /// `parse::<u16>` are two.
    ///
    /// What is no function, such as a closure with captures or a pointer to a function, does not compile:
    /// only what has no contents can be found again in another process.
    ///
    /// ```compile_fail
    /// use concurrent_futures::process::freeze_support;
    ///
    /// let n = std::env::args().count() as u64;
    /// freeze_support(|registry| {
    ///     registry.register(move |m: u64| m + n);
    /// });
    /// ```
    pub fn register<F, A, M>(&mut self, f: F) -> &mut Self
    where
        F: Callable<A, M>,
        F::Output: Dump,
        A: Load + 'static,
        M: 'static,
    {
        let () = HasNoContents::<F>::CHECK;
        let id = TypeId::of::<F>();
        if self.numbers.contains_key(&id) {
            return self;
        }
        self.numbers.insert(id, self.functions.len() as u32);
        self.functions.push(Box::new(Registered {
            f,
            types: PhantomData,
        }));
        self.add_to_fingerprint(type_name::<(F, A, F::Output)>());
        self
    }

    /// Registers an error type, so that it keeps its type in an [`Exception`] and in a boxed error. Those of
    /// std do so anyway, and so does an error that a function returns as itself.
    ///
    /// CPython: `copyreg.pickle`.
    pub fn register_error<E>(&mut self) -> &mut Self
    where
        E: StdError + Dump + Load + Send + Sync + 'static,
    {
        self.errors.register::<E>();
        self.add_to_fingerprint(type_name::<E>());
        self
    }

    /// Of names alone, since another build of the same program has other `TypeId`s.
    fn add_to_fingerprint(&mut self, name: &'static str) {
        self.names.push(name);
        let mut hasher = DefaultHasher::new();
        (self.fingerprint, name).hash(&mut hasher);
        self.fingerprint = hasher.finish();
    }

    /// Makes this the registry of the process, unless there is one.
    fn publish(self) -> Option<Arc<Registry>> {
        let mut registry = REGISTRY.lock().unwrap_or_else(PoisonError::into_inner);
        match *registry {
            Some(_) => None,
            None => registry.insert(Arc::new(self)).clone().into(),
        }
    }

    /// The registry of the process.
    pub(super) fn published() -> Option<Arc<Registry>> {
        let registry = REGISTRY.lock().unwrap_or_else(PoisonError::into_inner);
        registry.clone()
    }

    pub(super) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The names of all that was registered.
    pub(super) fn dump_names(&self) -> Vec<u8> {
        // Texts can always be dumped.
        dumps(&self.names).unwrap_or_default()
    }

    /// Compares this with what a worker has registered, which it says when it starts. Returns in words what
    /// differs, if anything does.
    ///
    /// # Errors
    ///
    /// When the stream has ended.
    pub(super) fn compare(
        &self,
        connection: &Connection,
        receiver: &mut Receiver,
    ) -> io::Result<Option<String>> {
        let fingerprint = self.fingerprint.to_le_bytes();
        if receiver.recv_bytes(connection)?.received == fingerprint {
            return Ok(None);
        }
        connection.send(&Message::of_bytes(&[NAMES]))?;
        let mut names = receiver.recv_bytes(connection)?;
        let names = Vec::load(&mut self.unpickler(&mut names)).unwrap_or_default();
        let difference = self.difference(&names);
        Ok(Some(format!(
            "the worker process has registered other functions than this one: {difference}"
        )))
    }

    /// In what the registry differs that has registered these, in words.
    fn difference(&self, names: &[String]) -> String {
        let list = |names: Vec<&str>| {
            let shown = names.len().min(5);
            // Theirs are the words of a stranger.
            let mut list = names[..shown].join(", ").escape_debug().to_string();
            if names.len() > shown {
                list += &format!(" and {} more", names.len() - shown);
            }
            list
        };
        let theirs: HashSet<&str> = names.iter().map(|name| &**name).collect();
        let ours: HashSet<&str> = self.names.iter().copied().collect();
        let without = |names: Vec<&'_ str>, others: &HashSet<&str>| {
            list(
                names
                    .into_iter()
                    .filter(|name| !others.contains(name))
                    .collect(),
            )
        };
        let lacks = without(self.names.clone(), &theirs);
        let has = without(names.iter().map(|name| &**name).collect(), &ours);
        match (&*lacks, &*has) {
            ("", "") => "it has the same ones, in another order".to_owned(),
            (lacks, "") => format!("it lacks {lacks}"),
            ("", has) => format!("it also has {has}"),
            (lacks, has) => format!("it lacks {lacks}, and has {has}"),
        }
    }

    /// The number of a function.
    pub(super) fn number<F: 'static>(&self) -> Result<u32, Exception> {
        let number = self.numbers.get(&TypeId::of::<F>()).copied();
        number.ok_or_else(|| {
            let name = type_name::<F>();
            Exception::msg(format!(
                "Can't pickle {name}: it is not registered in freeze_support"
            ))
        })
    }

    pub(super) fn pickler<'a>(&'a self, output: &'a mut Vec<u8>) -> Pickler<'a> {
        Pickler::new(output).dispatch_table(&self.errors)
    }

    /// An unpickler of what has arrived.
    pub(super) fn unpickler_of<'a>(&'a self, bytes: &'a [u8]) -> Unpickler<'a> {
        Unpickler::new(bytes).dispatch_table(&self.errors)
    }

    pub(super) fn unpickler<'a>(&'a self, message: &'a mut Incoming<'_>) -> Unpickler<'a> {
        let to_come = message.to_come();
        let unpickler = match &mut message.rest {
            Some(rest) => Unpickler::from_stream(message.received, rest, to_come),
            None => Unpickler::new(message.received),
        };
        unpickler.dispatch_table(&self.errors)
    }

    /// Calls a function with arguments as they were dumped, and dumps what it returns; the end of that may
    /// be returned instead. `last`: there is to be nothing behind the arguments.
    pub(super) fn call(
        &self,
        number: u32,
        arguments: &mut Unpickler<'_>,
        last: bool,
        reply: &mut Vec<u8>,
    ) -> Result<Vec<u8>, Exception> {
        let function = self.functions.get(number as usize);
        let function = function.ok_or_else(|| Exception::msg("there is no such function"))?;
        let mut pickler = self.pickler(reply);
        // Of a panic that an earlier call has caught.
        let _ = spawn::panic_location();
        let called = AssertUnwindSafe(|| function.call(arguments, last, &mut pickler));
        catch_unwind(called).unwrap_or_else(|payload| {
            let panic = Exception::from_panic(payload);
            let message = panic.panic_message().map(str::to_owned);
            Err(RemoteError::panicked(message, spawn::panic_location()))
        })
    }
}

/// Makes this program able to be a worker process. To be called first in `main`, before anything that is
/// not to happen once more in each worker.
///
/// It registers the functions that may be called in another process. In a worker it then serves calls, and
/// never returns. No pool can be made before it was called. What is registered when it is called once more
/// is of no effect.
///
/// CPython: `multiprocessing.freeze_support`, and the line `if __name__ == '__main__':`.
pub fn freeze_support(register: impl FnOnce(&mut Registry)) {
    let mut registry = Registry::default();
    register(&mut registry);
    if spawn::is_bridge() {
        bridge_main();
    }
    // In a worker, too: a call may use a pool of its own.
    let published = registry.publish();
    if let Some(registry) = published.filter(|_| spawn::is_forking()) {
        spawn::note_panics();
        // It stays open until the process has ended: its end is what the parent waits for, to kill what is
        // left of the process.
        let parent = spawn::spawn_main();
        let served = parent
            .as_ref()
            .map(|parent| _process_worker(parent, &registry));
        spawn::exit(i32::from(!matches!(served, Ok(Ok(())))));
    }
}

/// What the compiler checks of every registered function.
struct HasNoContents<F>(PhantomData<F>);

impl<F> HasNoContents<F> {
    const CHECK: () = assert!(
        mem::size_of::<F>() == 0,
        "only a function itself can be registered, not a closure with captures or a pointer"
    );
}

/// A registered function, whatever its types.
trait Function: Send + Sync {
    fn call(
        &self,
        arguments: &mut Unpickler<'_>,
        last: bool,
        reply: &mut Pickler<'_>,
    ) -> Result<Vec<u8>, Exception>;
}

struct Registered<F, A, M> {
    f: F,
    types: PhantomData<fn(A) -> M>,
}

impl<F, A, M> Function for Registered<F, A, M>
where
    F: Callable<A, M>,
    F::Output: Dump,
    A: Load,
{
    fn call(
        &self,
        unpickler: &mut Unpickler<'_>,
        last: bool,
        reply: &mut Pickler<'_>,
    ) -> Result<Vec<u8>, Exception> {
        let arguments = A::load(unpickler)?;
        match unpickler.remaining() {
            // While the call runs, nothing of its message may be unread: if the worker died then, it would
            // look as if the call had not begun.
            left if last && left > 0 => {
                let text = format!("{left} bytes are left over of the arguments");
                return Err(PickleError::new(text).into());
            }
            _ => {}
        }
        let mut output = self.f.call(arguments);
        let dumped = output.dump_and_take(reply);
        LOGGER.log_panic("Exception in worker", || drop(output));
        Ok(dumped?)
    }
}

/// A function that can be called with arguments of type `A`: for a function of one parameter, that is the
/// parameter's type, and for any other a tuple. `M` tells functions of one parameter that is a tuple from
/// those of several, and is left to the compiler.
///
/// It is there for all functions of up to twelve parameters.
pub trait Callable<A, M>: Send + Sync + 'static {
    /// What the function returns.
    type Output;

    #[doc(hidden)]
    fn call(&self, arguments: A) -> Self::Output;
}

/// What stands for `M` in a [`Callable`] of so many parameters.
pub struct Parameters<const N: usize>;

impl<F, A, R> Callable<A, Parameters<1>> for F
where
    F: Fn(A) -> R + Send + Sync + 'static,
{
    type Output = R;

    fn call(&self, argument: A) -> R {
        self(argument)
    }
}

macro_rules! functions {
    ($($count:literal: $($parameter:ident)*;)*) => {$(
        #[allow(non_snake_case)]
        impl<F, R, $($parameter),*> Callable<($($parameter,)*), Parameters<$count>> for F
        where
            F: Fn($($parameter),*) -> R + Send + Sync + 'static,
        {
            type Output = R;

            fn call(&self, ($($parameter,)*): ($($parameter,)*)) -> R {
                self($($parameter),*)
            }
        }
    )*};
}

functions! {
    0: ;
    2: A B;
    3: A B C;
    4: A B C D;
    5: A B C D E;
    6: A B C D E G;
    7: A B C D E G H;
    8: A B C D E G H I;
    9: A B C D E G H I J;
    10: A B C D E G H I J K;
    11: A B C D E G H I J K L;
    12: A B C D E G H I J K L M;
}
