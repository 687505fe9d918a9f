// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! What values of std travel, and as what.

use super::{Dump, Load, PickleError, Pickler, Unpickler, PIECE};
use std::borrow::Cow;
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, LinkedList, VecDeque};
use std::convert::{Infallible, TryFrom, TryInto};
use std::ffi::{OsStr, OsString};
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;
use std::mem::{self, size_of, size_of_val};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::num::*;
use std::ops::{Bound, Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

// ---- Numbers, and what is written as numbers

macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl Dump for $number {
            #[inline]
            fn dump(&self, pickler: &mut Pickler<'_>) -> Result<(), PickleError> {
                pickler.output.extend_from_slice(&self.to_le_bytes());
                Ok(())
            }

            fn dump_slice(values: &[Self], pickler: &mut Pickler<'_>) -> Result<(), PickleError> {
                pickler.reserve(size_of_val(values))?;
                let start = pickler.output.len();
                pickler.output.resize(start + size_of_val(values), 0);
                let places = pickler.output[start..].chunks_exact_mut(size_of::<Self>());
                for (place, value) in places.zip(values) {
                    place.copy_from_slice(&value.to_le_bytes());
                }
                Ok(())
            }
        }

        impl Load for $number {
            #[inline]
            fn load(unpickler: &mut Unpickler<'_>) -> Result<Self, PickleError> {
                unpickler.read().map(Self::from_le_bytes)
            }

            fn load_vec(
                length: usize,
                unpickler: &mut Unpickler<'_>,
            ) -> Result<Vec<Self>, PickleError> {
                let mut values = Vec::new();
                unpickler.pieces(length, size_of::<Self>(), |bytes| {
                    values.extend(bytes.chunks_exact(size_of::<Self>()).map(|bytes| {
                        let mut array = [0; size_of::<Self>()];
                        array.copy_from_slice(bytes);
                        Self::from_le_bytes(array)
                    }));
                })?;
                Ok(values)
            }
        }
    )*};
}

numbers!(i8 u16 i16 u32 i32 u64 i64 u128 i128 f32 f64);

impl Dump for u8 {
    #[inline]
    fn dump(&self, pickler: &mut Pickler<'_>) -> Result<(), PickleError> {
        pickler.output.push(*self);
        Ok(())
    }

    fn dump_slice(values: &[Self], pickler: &mut Pickler<'_>) -> Result<(), PickleError> {
        pickler.reserve(values.len())?;
        pickler.output.extend_from_slice(values);
        Ok(())
    }

    fn take_bytes(values: &mut Vec<Self>) -> Option<Vec<u8>> {
        (values.len() >= PIECE).then(|| mem::take(values))
    }
}

impl Load for u8 {
    #[inline]
    fn load(unpickler: &mut Unpickler<'_>) -> Result<Self, PickleError> {
        unpickler.read().map(|[byte]| byte)
    }

    fn load_vec(length: usize, unpickler: &mut Unpickler<'_>) -> Result<Vec<Self>, PickleError> {
        unpickler.take(length)
    }
}

reduce! {
    bool: |value| u8::from(*value), |number: u8| match number {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    };
    char: |value| u32::from(*value), char::from_u32;
    usize: |value| *value as u64, |number: u64| usize::try_from(number).ok();
    isize: |value| *value as i64, |number: i64| isize::try_from(number).ok();
    NonZeroU8: |value| value.get(), Self::new;
    NonZeroI8: |value| value.get(), Self::new;
    NonZeroU16: |value| value.get(), Self::new;
    NonZeroI16: |value| value.get(), Self::new;
    NonZeroU32: |value| value.get(), Self::new;
    NonZeroI32: |value| value.get(), Self::new;
    NonZeroU64: |value| value.get(), Self::new;
    NonZeroI64: |value| value.get(), Self::new;
    NonZeroU128: |value| value.get(), Self::new;
    NonZeroI128: |value| value.get(), Self::new;
    NonZeroUsize: |value| value.get(), Self::new;
    NonZeroIsize: |value| value.get(), Self::new;
    Wrapping<T> [T]: |value| &value.0, |inner| Some(Wrapping(inner));
    Reverse<T> [T]: |value| &value.0, |inner| Some(Reverse(inner));
    Ordering: |value| *value as i8, |number: i8| match number {
        -1 => Some(Ordering::Less),
        0 => Some(Ordering::Equal),
        1 => Some(Ordering::Greater),
        _ => None,
    };
    RangeFull: |_value| (), |()| Some(..);
    Range<T> [T]: |value| (&value.start, &value.end), |(start, end)| Some(start..end);
    RangeFrom<T> [T]: |value| &value.start, |start| Some(start..);
    RangeTo<T> [T]: |value| &value.end, |end| Some(..end);
    RangeToInclusive<T> [T]: |value| &value.end, |end| Some(..=end);
    Bound<T> [T]: |value| match value {
        Bound::Included(bound) => Ok(Some(bound)),
        Bound::Excluded(bound) => Err(bound),
        Bound::Unbounded => Ok(None),
    }, |bound| Some(match bound {
        Ok(Some(bound)) => Bound::Included(bound),
        Ok(None) => Bound::Unbounded,
        Err(bound) => Bound::Excluded(bound),
    });
    Duration: |value| (value.as_secs(), value.subsec_nanos()), |(secs, nanos)| match nanos {
        0..=999_999_999 => Some(Duration::new(secs, nanos)),
        _ => None,
    };
    SystemTime: |value| value.duration_since(UNIX_EPOCH).map_err(|error| error.duration()),
        |since| match since {
            Ok(after) => UNIX_EPOCH.checked_add(after),
            Err(before) => UNIX_EPOCH.checked_sub(before),
        };
    Ipv4Addr: |value| u32::from(*value), |number: u32| Some(number.into());
    Ipv6Addr: |value| u128::from(*value), |number: u128| Some(number.into());
    IpAddr: |value| match value {
        IpAddr::V4(ip) => Ok(*ip),
        IpAddr::V6(ip) => Err(*ip),
    }, |ip: Result<_, _>| Some(ip.map_or_else(IpAddr::V6, IpAddr::V4));
    SocketAddrV4: |value| (*value.ip(), value.port()), |(ip, port)| Some(Self::new(ip, port));
    SocketAddrV6: |value| (*value.ip(), value.port(), value.flowinfo(), value.scope_id()),
        |(ip, port, flowinfo, scope_id)| Some(Self::new(ip, port, flowinfo, scope_id));
    SocketAddr: |value| match value {
        SocketAddr::V4(addr) => Ok(*addr),
        SocketAddr::V6(addr) => Err(*addr),
    }, |addr: Result<_, _>| Some(addr.map_or_else(SocketAddr::V6, SocketAddr::V4));
}

// ---- Nothing, alternatives, tuples and arrays

dump! {
    [] (): |_value, _pickler| Ok(());
    [T: ?Sized] PhantomData<T>: |_value, _pickler| Ok(());
    [] Infallible: |value, _pickler| match *value {};
    [T: Dump] Option<T>: |value, pickler| {
        value.is_some().dump(pickler)?;
        value.as_ref().map_or(Ok(()), |value| value.dump(pickler))
    }, {
        value.is_some().dump(pickler)?;
        value.as_mut().map_or(Ok(Vec::new()), |value| value.dump_and_take(pickler))
    };
    [T: Dump, E: Dump] Result<T, E>: |value, pickler| {
        value.is_err().dump(pickler)?;
        match value {
            Ok(value) => value.dump(pickler),
            Err(error) => error.dump(pickler),
        }
    }, {
        value.is_err().dump(pickler)?;
        match value {
            Ok(value) => value.dump_and_take(pickler),
            Err(error) => error.dump_and_take(pickler),
        }
    };
    [T: Dump + PartialOrd] RangeInclusive<T>: |value, pickler| {
        // An iterator that has come to its end looks as if it had one more item.
        if value.is_empty() && value.start() <= value.end() {
            return Err(PickleError::opaque::<Self>());
        }
        (value.start(), value.end()).dump(pickler)
    };
    [T: Dump, const N: usize] [T; N]: |value, pickler| {
        // As many bytes as there are elements, at least.
        pickler.reserve(N)?;
        T::dump_slice(value, pickler)
    };
}

load! {
    [] (): |_unpickler| Ok(());
    [T: ?Sized] PhantomData<T>: |_unpickler| Ok(PhantomData);
    [] Infallible: |_unpickler| Err(PickleError::invalid::<Self>());
    [T: Load] Option<T>: |unpickler| match bool::load(unpickler)? {
        false => Ok(None),
        true => T::load(unpickler).map(Some),
    };
    [T: Load, E: Load] Result<T, E>: |unpickler| match bool::load(unpickler)? {
        false => T::load(unpickler).map(Ok),
        true => E::load(unpickler).map(Err),
    };
    [T: Load] RangeInclusive<T>: |unpickler| Load::load(unpickler).map(|(start, end)| start..=end);
    [T: Load, const N: usize] [T; N]: |unpickler| {
        let array = T::load_vec(N, unpickler)?.try_into();
        array.map_err(|_| PickleError::invalid::<Self>())
    };
}

macro_rules! tuples {
    ($($($field:ident)*, $last:ident;)*) => {$(
        #[allow(non_snake_case)]
        impl<$($field: Dump,)* $last: Dump> Dump for ($($field,)* $last,) {
            fn dump(&self, pickler: &mut Pickler<'_>) -> Result<(), PickleError> {
                let ($($field,)* $last,) = self;
                $($field.dump(pickler)?;)*
                $last.dump(pickler)
            }

            fn dump_and_take(&mut self, pickler: &mut Pickler<'_>) -> Result<Vec<u8>, PickleError> {
                let ($($field,)* $last,) = self;
                $($field.dump(pickler)?;)*
                $last.dump_and_take(pickler)
            }
        }

        load! { [$($field: Load,)* $last: Load] ($($field,)* $last,): |unpickler| {
            Ok(($($field::load(unpickler)?,)* $last::load(unpickler)?,))
        }; }
    )*};
}

tuples! {
    , A;
    A, B;
    A B, C;
    A B C, D;
    A B C D, E;
    A B C D E, F;
    A B C D E F, G;
    A B C D E F G, H;
    A B C D E F G H, I;
    A B C D E F G H I, J;
    A B C D E F G H I J, K;
    A B C D E F G H I J K, L;
}

// ---- Pointers and collections

dump! {
    [T: Dump + ?Sized] &T: |value, pickler| (**value).dump(pickler);
    [T: Dump + ?Sized] &mut T: |value, pickler| (**value).dump(pickler);
    [T: Dump + ToOwned + ?Sized] Cow<'_, T>: |value, pickler| (**value).dump(pickler);
    [T: Dump + ?Sized] Box<T>: |value, pickler| pickler.nest(|pickler| (**value).dump(pickler));
    [T: Dump + ?Sized] Rc<T>: |value, pickler| pickler.nest(|pickler| (**value).dump(pickler));
    [T: Dump + ?Sized] Arc<T>: |value, pickler| pickler.nest(|pickler| (**value).dump(pickler));
    [T: Dump] [T]: |value, pickler| {
        pickler.sequence(value.len(), |pickler| T::dump_slice(value, pickler))
    };
    [T: Dump] Vec<T>: |value, pickler| value.as_slice().dump(pickler), match T::take_bytes(value) {
        Some(bytes) => bytes.len().dump(pickler).map(|()| bytes),
        None => value.dump(pickler).map(|()| Vec::new()),
    };
    [T: Dump] VecDeque<T>: |value, pickler| pickler.sequence(value.len(), |pickler| {
        let (front, back) = value.as_slices();
        T::dump_slice(front, pickler)?;
        T::dump_slice(back, pickler)
    });
    [T: Dump] LinkedList<T>: |value, pickler| pickler.each(value.iter());
    [T: Dump] BinaryHeap<T>: |value, pickler| pickler.each(value.iter());
    [T: Dump] BTreeSet<T>: |value, pickler| pickler.each(value.iter());
    [T: Dump, S] HashSet<T, S>: |value, pickler| pickler.each(value.iter());
    [K: Dump, V: Dump] BTreeMap<K, V>: |value, pickler| pickler.each(value.iter());
    [K: Dump, V: Dump, S] HashMap<K, V, S>: |value, pickler| pickler.each(value.iter());
}

load! {
    [T: Load] Box<T>: |unpickler| unpickler.nest(T::load).map(Self::new);
    [T: Load] Rc<T>: |unpickler| unpickler.nest(T::load).map(Self::new);
    [T: Load] Arc<T>: |unpickler| unpickler.nest(T::load).map(Self::new);
    [T: Load] Box<[T]>: |unpickler| unpickler.nest(Vec::load).map(Self::from);
    [T: Load] Rc<[T]>: |unpickler| unpickler.nest(Vec::load).map(Self::from);
    [T: Load] Arc<[T]>: |unpickler| unpickler.nest(Vec::load).map(Self::from);
    [] Box<str>: |unpickler| unpickler.nest(String::load).map(Self::from);
    [] Rc<str>: |unpickler| unpickler.nest(String::load).map(Self::from);
    [] Arc<str>: |unpickler| unpickler.nest(String::load).map(Self::from);
    [] Box<Path>: |unpickler| unpickler.nest(PathBuf::load).map(Self::from);
    [] Rc<Path>: |unpickler| unpickler.nest(PathBuf::load).map(Self::from);
    [] Arc<Path>: |unpickler| unpickler.nest(PathBuf::load).map(Self::from);
    [O: Load, T: ToOwned<Owned = O> + ?Sized] Cow<'_, T>: |unpickler| {
        Load::load(unpickler).map(Cow::Owned)
    };
    [T: Load] Vec<T>: |unpickler| {
        unpickler.sequence(|unpickler, length| T::load_vec(length, unpickler))
    };
    [T: Load] VecDeque<T>: |unpickler| Vec::load(unpickler).map(Self::from);
    [T: Load] LinkedList<T>: |unpickler| unpickler.each();
    [T: Load + Ord] BinaryHeap<T>: |unpickler| Vec::load(unpickler).map(Self::from);
    [T: Load + Ord] BTreeSet<T>: |unpickler| unpickler.each();
    [T: Load + Eq + Hash, S: BuildHasher + Default] HashSet<T, S>: |unpickler| unpickler.each();
    [K: Load + Ord, V: Load] BTreeMap<K, V>: |unpickler| unpickler.each();
    [K: Load + Eq + Hash, V: Load, S: BuildHasher + Default] HashMap<K, V, S>: |unpickler| {
        unpickler.each()
    };
}

// ---- Texts

dump! {
    [] str: |value, pickler| value.as_bytes().dump(pickler);
    [] String: |value, pickler| value.as_bytes().dump(pickler), {
        mem::take(value).into_bytes().dump_and_take(pickler)
    };
    // What is no Unicode is a text to this kind of system only.
    [] OsStr: |value, pickler| match value.to_str() {
        Some(text) => Ok::<_, Vec<NativeUnit>>(text).dump(pickler),
        None => match native_units(value) {
            Some(units) => Err::<(), _>(units).dump(pickler),
            None => Err(PickleError::opaque::<Self>()),
        },
    };
    [] OsString: |value, pickler| value.as_os_str().dump(pickler);
    [] Path: |value, pickler| value.as_os_str().dump(pickler);
    [] PathBuf: |value, pickler| value.as_os_str().dump(pickler);
}

load! {
    [] String: |unpickler| {
        let text = String::from_utf8(Load::load(unpickler)?);
        text.map_err(|_| PickleError::invalid::<Self>())
    };
    [] OsString: |unpickler| match Load::load(unpickler)? {
        Ok::<String, Vec<NativeUnit>>(text) => Ok(text.into()),
        Err(units) => from_native_units(units).ok_or_else(PickleError::invalid::<Self>),
    };
    [] PathBuf: |unpickler| OsString::load(unpickler).map(Self::from);
}

#[cfg(not(windows))]
type NativeUnit = u8;
#[cfg(windows)]
type NativeUnit = u16;

#[cfg(unix)]
fn native_units(text: &OsStr) -> Option<Vec<NativeUnit>> {
    Some(std::os::unix::ffi::OsStrExt::as_bytes(text).to_vec())
}

#[cfg(unix)]
fn from_native_units(units: Vec<NativeUnit>) -> Option<OsString> {
    Some(std::os::unix::ffi::OsStringExt::from_vec(units))
}

#[cfg(windows)]
fn native_units(text: &OsStr) -> Option<Vec<NativeUnit>> {
    Some(std::os::windows::ffi::OsStrExt::encode_wide(text).collect())
}

#[cfg(windows)]
fn from_native_units(units: Vec<NativeUnit>) -> Option<OsString> {
    Some(std::os::windows::ffi::OsStringExt::from_wide(&units))
}

#[cfg(not(any(unix, windows)))]
fn native_units(_: &OsStr) -> Option<Vec<NativeUnit>> {
    None
}

#[cfg(not(any(unix, windows)))]
fn from_native_units(_: Vec<NativeUnit>) -> Option<OsString> {
    None
}
