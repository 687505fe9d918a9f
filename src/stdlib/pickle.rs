// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! Values to bytes and back, for calls that go to another process: Python's `pickle`.
//!
//! [`dumps`] makes bytes of a value, and [`loads`] a value of bytes. What Python looks up at run
//! time, the type says here: a type that has [`Dump`] can be sent, one that has [`Load`] can be
//! received. Most types of the standard library have both.
//!
//! ```
//! use concurrent_futures::pickle::{dumps, loads};
//! use std::collections::BTreeMap;
//!
//! let stock = BTreeMap::from([("spam".to_owned(), vec![1, 2, 3]), ("eggs".to_owned(), vec![])]);
//! let bytes = dumps(&stock)?;
//! assert_eq!(loads::<BTreeMap<String, Vec<i32>>>(&bytes)?, stock);
//! # Ok::<(), concurrent_futures::pickle::PickleError>(())
//! ```
//!
//! # Types of your own
//!
//! A struct travels as the tuple of its fields, as by Python's `__reduce__`, in two impls of one
//! line each. An enum puts a number before each of its cases.
//!
//! ```
//! use concurrent_futures::pickle::{dumps, loads, Dump, Load, PickleError, Pickler, Unpickler};
//!
//! #[derive(Debug, PartialEq)]
//! struct Order {
//!     id: u64,
//!     item: String,
//!     shape: Shape,
//! }
//!
//! impl Dump for Order {
//!     fn dump(&self, pickler: &mut Pickler<'_>) -> Result<(), PickleError> {
//!         (self.id, &self.item, &self.shape).dump(pickler)
//!     }
//! }
//! impl Load for Order {
//!     fn load(unpickler: &mut Unpickler<'_>) -> Result<Self, PickleError> {
//!         Load::load(unpickler).map(|(id, item, shape)| Order { id, item, shape })
//!     }
//! }
//!
//! #[derive(Debug, PartialEq)]
//! enum Shape {
//!     Point,
//!     Circle(f64),
//!     Group(Vec<Shape>),
//! }
//!
//! impl Dump for Shape {
//!     fn dump(&self, pickler: &mut Pickler<'_>) -> Result<(), PickleError> {
//!         match self {
//!             Shape::Point => 0_u8.dump(pickler),
//!             Shape::Circle(radius) => (1_u8, radius).dump(pickler),
//!             Shape::Group(shapes) => (2_u8, shapes).dump(pickler),
//!         }
//!     }
//! }
//! impl Load for Shape {
//!     fn load(unpickler: &mut Unpickler<'_>) -> Result<Self, PickleError> {
//!         match u8::load(unpickler)? {
//!             0 => Ok(Shape::Point),
//!             1 => Load::load(unpickler).map(Shape::Circle),
//!             2 => Load::load(unpickler).map(Shape::Group),
//!             other => Err(PickleError::new(format!("no Shape is {other}"))),
//!         }
//!     }
//! }
//!
//! let shape = Shape::Group(vec![Shape::Circle(1.5), Shape::Point]);
//! let order = Order { id: 7, item: "sign".to_owned(), shape };
//! assert_eq!(loads::<Order>(&dumps(&order)?)?, order);
//! # Ok::<(), PickleError>(())
//! ```
//!
//! # Errors
//!
//! The errors of the standard library travel, wherever the same error can be provoked again, as do
//! [`Exception`](super::super::Exception) and boxed errors, in which `downcast_ref` finds the type
//! again: one of the standard library's, or of those in a [`DispatchTable`]. An error of any other
//! type arrives as a [`RemoteError`], which has its text and the name of its type.
//!
//! # What the bytes are
//!
//! Nothing but the values, one behind the other; what they mean is known by the type that they are
//! loaded as.
//!
//! | | |
//! | --- | --- |
//! | an integer, a float | its bytes, little-endian; `usize` and `isize` as 64 bits |
//! | `bool`, `char` | as `u8`, as `u32` |
//! | a tuple, an array | its elements |
//! | a `Vec`, a slice, a set, a map | their number as `u64`, and the elements (of a map: tuples) |
//! | a `String` | as the slice of its bytes |
//! | `None`, `Some(x)` | 0, or 1 and `x`, the number as `u8` |
//! | `Ok(x)`, `Err(y)` | 0 and `x`, or 1 and `y` |
//! | a reference, a `Box`, `Rc`, `Arc`, `Cow` | what it refers to |
//!
//! An element of an array or a collection that takes no byte, such as those of a `Vec<()>`, is a
//! zero instead: so no length is greater than the number of bytes that follow.
//!
//! # Bytes from a stranger
//!
//! Whatever the bytes are, [`loads`] returns a value or an error. It does not panic; it does not
//! take memory on the word of a length, but only as the elements arrive; and bytes that are left
//! over are an error.
//!
//! A type can contain itself only behind a pointer or in a collection, and of these at most 128 may
//! stand inside each other. What nests deeper is an error, of [`dumps`] as well, lest the stack
//! overflow: a linked list of a million boxed nodes cannot be sent, and a `Vec` of a million nodes
//! can. Each takes a few kilobytes of stack where nothing is optimized, and more if the type is
//! large itself. Counted are the impls of `Box`, `Rc`, `Arc` and the collections: so let a type of
//! your own load its `Box<Self>` as that, and not put what `Self::load` returns into a box.
//! References are not counted, as fields are dumped through them: what refers to itself by
//! references alone, in a chain of any length or in a circle, is not for [`dumps`].
//!
//! **Differs from CPython:** This is not Python's format, and neither reads the other's. The bytes
//! do not name their types, so loading runs no code but that of the type that is asked for. There
//! is no memo: what two `Rc`s share is sent twice. Left-over bytes are an error; Python ignores
//! them.
//!
//! CPython: the module `pickle`.

use std::any::type_name;
use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::iter;
use std::mem::size_of;

/// How many pointers and collections may stand inside each other.
const MAX_DEPTH: usize = 128;

/// What a collection takes before it has any element, what is read from a stream at once, and from what
/// on it pays to take bytes out of a value instead of copying them; in bytes. A multiple of any integer's size.
const PIECE: usize = 64 * 1024;

/// A value that can be sent to another process. The [module](self) shows how a type of your own
/// becomes one.
///
/// CPython: what an object's `__reduce__` is for.
pub trait Dump {
    /// Appends the value to what the pickler has written.
    ///
    /// Fails for a value that cannot travel: one that nests too deeply, and the few of std's types
    /// that say so.
    ///
    /// CPython: `object.__reduce__`.
    fn dump(&self, pickler: &mut Pickler<'_>) -> Result<(), PickleError>;

    /// The same for each of several values, so that integers need not go one by one.
    #[doc(hidden)]
    fn dump_slice(values: &[Self], pickler: &mut Pickler<'_>) -> Result<(), PickleError>
    where
        Self: Sized,
    {
        values.iter().try_for_each(|value| pickler.element(value))
    }

    /// The same for a value that is not needed any more. If it ends with many bytes, they are taken out of
    /// it, and returned instead of being copied.
    ///
    /// CPython: the `buffer_callback` of a `Pickler`, for values that say that they are a `PickleBuffer`.
    #[doc(hidden)]
    fn dump_and_take(&mut self, pickler: &mut Pickler<'_>) -> Result<Vec<u8>, PickleError> {
        self.dump(pickler)?;
        Ok(Vec::new())
    }

    /// Takes the values, if they are many bytes.
    #[doc(hidden)]
    fn take_bytes(_: &mut Vec<Self>) -> Option<Vec<u8>>
    where
        Self: Sized,
    {
        None
    }
}

/// A value that can be received from another process. The [module](self) shows how a type of your
/// own becomes one.
///
/// CPython: what the callable that `__reduce__` returns is for.
pub trait Load: Sized {
    /// Takes a value off the bytes that are left.
    ///
    /// Fails if they are no such value. The bytes may come from anybody: check what you take for
    /// granted.
    ///
    /// CPython: the callable that `object.__reduce__` returns.
    fn load(unpickler: &mut Unpickler<'_>) -> Result<Self, PickleError>;

    /// The same for `length` values.
    #[doc(hidden)]
    fn load_vec(length: usize, unpickler: &mut Unpickler<'_>) -> Result<Vec<Self>, PickleError> {
        let mut values = Vec::with_capacity(length.min(PIECE / size_of::<Self>().max(1)));
        for _ in 0..length {
            values.push(unpickler.element()?);
        }
        Ok(values)
    }
}

/// Makes bytes of a value.
///
/// # Errors
///
/// Those of [`Dump::dump`].
///
/// CPython: `pickle.dumps`.
pub fn dumps<T: Dump + ?Sized>(value: &T) -> Result<Vec<u8>, PickleError> {
    let mut output = Vec::new();
    value.dump(&mut Pickler::new(&mut output))?;
    Ok(output)
}

/// Makes a value of bytes, all of which must belong to it.
///
/// # Errors
///
/// Those of [`Load::load`], and when bytes are left over.
///
/// CPython: `pickle.loads`, which ignores what is left over.
pub fn loads<T: Load>(bytes: &[u8]) -> Result<T, PickleError> {
    let mut unpickler = Unpickler::new(bytes);
    let value = T::load(&mut unpickler)?;
    match unpickler.remaining() {
        0 => Ok(value),
        left => Err(PickleError::new(format!("{} bytes are left over", left))),
    }
}

/// A value cannot be pickled, or bytes cannot be unpickled.
///
/// CPython: `pickle.PickleError`, `pickle.PicklingError` and `pickle.UnpicklingError`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PickleError {
    message: Cow<'static, str>,
}

impl PickleError {
    /// For types of your own: what is wrong with the value or the bytes.
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        PickleError {
            message: message.into(),
        }
    }

    /// The bytes are no `T`.
    fn invalid<T: ?Sized>() -> Self {
        PickleError::new(format!("the bytes are no {}", type_name::<T>()))
    }

    /// std has no way to make a `T` like this one.
    fn opaque<T: ?Sized>() -> Self {
        PickleError::new(format!("no such {} can be made again", type_name::<T>()))
    }
}

impl fmt::Display for PickleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.message)
    }
}

impl StdError for PickleError {}

/// Writes values behind each other.
///
/// CPython: `pickle.Pickler`.
pub struct Pickler<'a> {
    output: &'a mut Vec<u8>,
    dispatch_table: Option<&'a DispatchTable>,
    /// How many pointers and collections surround what is dumped now.
    depth: usize,
}

impl<'a> Pickler<'a> {
    /// A pickler that appends to `output`. If a `dump` fails, part of its value stays there.
    ///
    /// CPython: `pickle.Pickler(file)`.
    pub fn new(output: &'a mut Vec<u8>) -> Self {
        Pickler {
            output,
            dispatch_table: None,
            depth: 0,
        }
    }

    /// Errors of the types in `table` keep their type in an [`Exception`](super::super::Exception).
    /// Whoever loads needs the same table.
    ///
    /// CPython: `Pickler.dispatch_table`.
    pub fn dispatch_table(mut self, table: &'a DispatchTable) -> Self {
        self.dispatch_table = Some(table);
        self
    }

    /// Appends a value.
    ///
    /// CPython: `Pickler.dump`.
    pub fn dump<T: Dump + ?Sized>(&mut self, value: &T) -> Result<(), PickleError> {
        value.dump(self)
    }

    fn reserve(&mut self, bytes: usize) -> Result<(), PickleError> {
        let reserved = self.output.try_reserve(bytes);
        reserved.map_err(|error| PickleError::new(error.to_string()))
    }

    /// What is behind a pointer or in a collection.
    fn nest(
        &mut self,
        dump: impl FnOnce(&mut Self) -> Result<(), PickleError>,
    ) -> Result<(), PickleError> {
        self.depth = deeper(self.depth)?;
        let dumped = dump(self);
        self.depth -= 1;
        dumped
    }

    /// A length, and what `elements` dumps, which is so many values.
    fn sequence(
        &mut self,
        length: usize,
        elements: impl FnOnce(&mut Self) -> Result<(), PickleError>,
    ) -> Result<(), PickleError> {
        // As many bytes as there are elements, at least.
        self.reserve(length.saturating_add(size_of::<u64>()))?;
        length.dump(self)?;
        self.nest(elements)
    }

    /// One of many values, each of which takes at least a byte.
    fn element<T: Dump>(&mut self, value: T) -> Result<(), PickleError> {
        let start = self.output.len();
        value.dump(self)?;
        if self.output.len() == start {
            self.output.push(0);
        }
        Ok(())
    }

    fn each<T: Dump>(
        &mut self,
        items: impl ExactSizeIterator<Item = T>,
    ) -> Result<(), PickleError> {
        self.sequence(items.len(), |pickler| {
            items.into_iter().try_for_each(|item| pickler.element(item))
        })
    }
}

impl fmt::Debug for Pickler<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pickler").finish_non_exhaustive()
    }
}

/// Reads values that stand behind each other.
///
/// CPython: `pickle.Unpickler`.
pub struct Unpickler<'a> {
    /// What is at hand.
    bytes: &'a [u8],
    /// Where the bytes behind those come from, and how many they are said to be.
    stream: Option<&'a mut dyn Read>,
    to_come: u64,
    dispatch_table: Option<&'a DispatchTable>,
    /// How many pointers and collections surround what is loaded now.
    depth: usize,
}

impl<'a> Unpickler<'a> {
    /// An unpickler of these bytes.
    ///
    /// CPython: `pickle.Unpickler(io.BytesIO(bytes))`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Unpickler {
            bytes,
            stream: None,
            to_come: 0,
            dispatch_table: None,
            depth: 0,
        }
    }

    /// An unpickler of these bytes and the `to_come` bytes that follow on a stream, where it blocks
    /// until they are there.
    ///
    /// It never reads more than that of the stream, and the bytes of a large `Vec<u8>` go straight
    /// to their place. Small values take a call of `read` each: let the stream be buffered, or most
    /// of its bytes at hand. Where nobody knows how many follow, `u64::MAX` is for all that come.
    ///
    /// CPython: `pickle.Unpickler(file)`.
    pub fn from_stream(bytes: &'a [u8], stream: &'a mut dyn Read, to_come: u64) -> Self {
        // So that the sum has a number. One that stood still while bytes are taken would mislead `element`.
        let to_come = to_come.min(u64::MAX - bytes.len() as u64);
        Unpickler {
            stream: Some(stream),
            to_come,
            ..Unpickler::new(bytes)
        }
    }

    /// The table that the [`Pickler`] had.
    ///
    /// CPython: `Pickler.dispatch_table`; an unpickler finds types by their names.
    pub fn dispatch_table(mut self, table: &'a DispatchTable) -> Self {
        self.dispatch_table = Some(table);
        self
    }

    /// Takes a value off what is left.
    ///
    /// CPython: `Unpickler.load`.
    pub fn load<T: Load>(&mut self) -> Result<T, PickleError> {
        T::load(self)
    }

    /// How many bytes are left.
    #[inline]
    pub fn remaining(&self) -> u64 {
        self.to_come + self.bytes.len() as u64
    }

    fn read<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        let mut array = [0; N];
        self.fill(&mut array)?;
        Ok(array)
    }

    #[inline]
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), PickleError> {
        if buffer.len() > self.bytes.len() {
            return self.fill_from_stream(buffer);
        }
        let (now, later) = self.bytes.split_at(buffer.len());
        buffer.copy_from_slice(now);
        self.bytes = later;
        Ok(())
    }

    #[cold]
    fn fill_from_stream(&mut self, buffer: &mut [u8]) -> Result<(), PickleError> {
        self.at_least(buffer.len() as u64)?;
        let (at_hand, rest) = buffer.split_at_mut(self.bytes.len());
        at_hand.copy_from_slice(self.bytes);
        self.bytes = &[];
        if let Some(stream) = &mut self.stream {
            stream.read_exact(rest).map_err(broken_off)?;
        }
        self.to_come -= rest.len() as u64;
        Ok(())
    }

    /// Fails if there are not so many bytes.
    #[inline]
    fn at_least(&self, bytes: u64) -> Result<(), PickleError> {
        let remaining = self.remaining();
        if bytes > remaining {
            let message = format!("{} bytes are needed, and {} left", bytes, remaining);
            return Err(PickleError::new(message));
        }
        Ok(())
    }

    /// The next `length` bytes, in memory that grows with what is there.
    fn take(&mut self, length: usize) -> Result<Vec<u8>, PickleError> {
        self.at_least(length as u64)?;
        let (now, later) = self.bytes.split_at(length.min(self.bytes.len()));
        let mut bytes = now.to_vec();
        self.bytes = later;
        while bytes.len() < length {
            let more = (length - bytes.len()).min(bytes.len().max(16 * PIECE));
            bytes
                .try_reserve_exact(more)
                .map_err(|error| PickleError::new(error.to_string()))?;
            let read = match &mut self.stream {
                Some(stream) => stream.take(more as u64).read_to_end(&mut bytes),
                None => Ok(0),
            };
            let read = read.map_err(broken_off)?;
            self.to_come -= read as u64;
            if read < more {
                return Err(broken_off(ErrorKind::UnexpectedEof.into()));
            }
        }
        Ok(bytes)
    }

    /// Calls `f` with the next bytes, which are `length` values of this size, some whole values at
    /// a time.
    fn pieces(
        &mut self,
        length: usize,
        size: usize,
        mut f: impl FnMut(&[u8]),
    ) -> Result<(), PickleError> {
        let mut left = length.saturating_mul(size);
        self.at_least(left as u64)?;
        let mut buffer = Vec::new();
        while left > 0 {
            let whole = left.min(self.bytes.len() / size * size);
            if whole > 0 {
                let (now, later) = self.bytes.split_at(whole);
                self.bytes = later;
                f(now);
                left -= whole;
            } else {
                buffer.resize(left.min(PIECE), 0);
                self.fill(&mut buffer)?;
                f(&buffer);
                left -= buffer.len();
            }
        }
        Ok(())
    }

    /// What is behind a pointer or in a collection.
    fn nest<R>(
        &mut self,
        load: impl FnOnce(&mut Self) -> Result<R, PickleError>,
    ) -> Result<R, PickleError> {
        self.depth = deeper(self.depth)?;
        let loaded = load(self);
        self.depth -= 1;
        loaded
    }

    /// A length, and what `elements` loads, which is so many values.
    fn sequence<R>(
        &mut self,
        elements: impl FnOnce(&mut Self, usize) -> Result<R, PickleError>,
    ) -> Result<R, PickleError> {
        let length = usize::load(self)?;
        self.at_least(length as u64)?;
        self.nest(|unpickler| elements(unpickler, length))
    }

    /// One of many values. As each takes a byte, a loop over them is no longer than the bytes.
    fn element<T: Load>(&mut self) -> Result<T, PickleError> {
        let remaining = self.remaining();
        let value = T::load(self)?;
        if self.remaining() == remaining {
            self.read::<1>()?;
        }
        Ok(value)
    }

    fn each<T: Load, C: Default + Extend<T>>(&mut self) -> Result<C, PickleError> {
        self.sequence(|unpickler, length| {
            let mut collection = C::default();
            for _ in 0..length {
                collection.extend(iter::once(unpickler.element()?));
            }
            Ok(collection)
        })
    }
}

impl fmt::Debug for Unpickler<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unpickler").finish_non_exhaustive()
    }
}

#[inline]
fn deeper(depth: usize) -> Result<usize, PickleError> {
    if depth == MAX_DEPTH {
        return Err(PickleError::new(format!(
            "more than {} pointers and collections are inside each other",
            MAX_DEPTH
        )));
    }
    Ok(depth + 1)
}

fn broken_off(error: io::Error) -> PickleError {
    PickleError::new(format!("the stream broke off: {}", error))
}

// ---- Impls in few lines

/// Impls of `Dump`, each without the lines around its one expression, or two: that of `dump_and_take`.
macro_rules! dump {
    ($(
        [$($generics:tt)*] $type:ty: |$value:ident, $pickler:ident| $dump:expr $(, $take:expr)?;
    )*) => {$(
        impl<$($generics)*> Dump for $type {
            #[inline]
            fn dump(&self, $pickler: &mut Pickler<'_>) -> Result<(), PickleError> {
                let $value = self;
                $dump
            }

            $(fn dump_and_take(
                &mut self,
                $pickler: &mut Pickler<'_>,
            ) -> Result<Vec<u8>, PickleError> {
                let $value = self;
                $take
            })?
        }
    )*};
}

/// The same for `Load`.
macro_rules! load {
    ($([$($generics:tt)*] $type:ty: |$unpickler:ident| $load:expr;)*) => {$(
        impl<$($generics)*> Load for $type {
            #[inline]
            fn load($unpickler: &mut Unpickler<'_>) -> Result<Self, PickleError> {
                $load
            }
        }
    )*};
}

/// Types that travel as another: what to dump of a value, and what to make of that, if it is any
/// value at all. After Python's `__reduce__`.
macro_rules! reduce {
    ($($type:ty $([$generic:ident])?: |$value:ident| $dump:expr, $make:expr;)*) => {$(
        dump! { [$($generic: Dump)?] $type: |$value, pickler| $dump.dump(pickler); }
        load! { [$($generic: Load)?] $type: |unpickler| {
            let make: fn(_) -> Option<Self> = $make;
            make(Load::load(unpickler)?).ok_or_else(PickleError::invalid::<Self>)
        }; }
    )*};
}

// Behind the macros, which they use.
mod errors;
mod types;

pub use errors::{DispatchTable, RemoteError};
