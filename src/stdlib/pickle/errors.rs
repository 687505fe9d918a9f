// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! How errors travel: std's as themselves, those that a table has as well, and what is left of any
//! other.

use super::super::exceptions::{Carried, Exception, Text, NO_TEXT};
use super::{Dump, Load, PickleError, Pickler, Unpickler};
use std::any::type_name;
use std::array::TryFromSliceError;
use std::char::{CharTryFromError, DecodeUtf16Error, ParseCharError, TryFromCharError};
use std::convert::TryFrom;
use std::env::VarError;
use std::error::Error as StdError;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, ErrorKind};
use std::iter;
use std::net::{
    AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6,
};
use std::num::{NonZeroU8, ParseFloatError, ParseIntError, TryFromIntError};
use std::path::{Path, StripPrefixError};
use std::str::{ParseBoolError, Utf8Error};
use std::string::{FromUtf16Error, FromUtf8Error};
use std::sync::mpsc::{RecvError, RecvTimeoutError, TryRecvError};
use std::time::{SystemTimeError, UNIX_EPOCH};

/// How many of the errors that caused an error travel with it.
const MAX_SOURCES: usize = 32;

// ---- std's errors

/// Errors that are provoked again: which of these says the same?
macro_rules! provoked {
    ($($error:ty: $($provoke:expr),*;)*) => {$(
        dump! { [] $error: |value, pickler| {
            let text = value.to_string();
            let all: &[Option<Self>] = &[$($provoke),*];
            let texts = all.iter().map(|error| error.as_ref().map(Self::to_string));
            let mut numbered = (0..=u8::MAX).zip(texts);
            match numbered.find(|(_, its_text)| its_text.as_ref() == Some(&text)) {
                Some((number, _)) => number.dump(pickler),
                None => Err(PickleError::opaque::<Self>()),
            }
        }; }
        load! { [] $error: |unpickler| {
            let number = u8::load(unpickler)?;
            let error = vec![$($provoke),*].into_iter().nth(number.into()).flatten();
            error.ok_or_else(PickleError::invalid::<Self>)
        }; }
    )*};
}

provoked! {
    ParseIntError: "".parse::<u8>().err(), "x".parse::<u8>().err(), "256".parse::<u8>().err(),
        "-129".parse::<i8>().err(), "0".parse::<NonZeroU8>().err();
    ParseFloatError: "".parse::<f64>().err(), "x".parse::<f64>().err();
    ParseBoolError: "x".parse::<bool>().err();
    ParseCharError: "".parse::<char>().err(), "xx".parse::<char>().err();
    TryFromIntError: u8::try_from(256).err();
    CharTryFromError: char::try_from(0xD800_u32).err();
    TryFromCharError: u8::try_from(char::MAX).err();
    TryFromSliceError: <[u8; 1]>::try_from(&[][..]).err();
    AddrParseError: "".parse::<IpAddr>().err(), "".parse::<Ipv4Addr>().err(),
        "".parse::<Ipv6Addr>().err(), "".parse::<SocketAddr>().err(),
        "".parse::<SocketAddrV4>().err(), "".parse::<SocketAddrV6>().err();
    FromUtf16Error: String::from_utf16(&[0xD800]).err();
    StripPrefixError: Path::new("a").strip_prefix("b").err();
    RecvError: Some(RecvError);
    TryRecvError: Some(TryRecvError::Empty), Some(TryRecvError::Disconnected);
    RecvTimeoutError: Some(RecvTimeoutError::Timeout), Some(RecvTimeoutError::Disconnected);
    fmt::Error: Some(fmt::Error);
}

reduce! {
    FromUtf8Error: |value| value.as_bytes(), |bytes| String::from_utf8(bytes).err();
    DecodeUtf16Error: |value| value.unpaired_surrogate(), |unit|
        char::decode_utf16([unit]).find_map(Result::err);
    SystemTimeError: |value| value.duration(), |ahead|
        UNIX_EPOCH.checked_add(ahead).and_then(|later| UNIX_EPOCH.duration_since(later).err());
    VarError: |value| match value {
        VarError::NotPresent => None,
        VarError::NotUnicode(text) => Some(text),
    }, |text: Option<OsString>| Some(text.map_or(VarError::NotPresent, VarError::NotUnicode));
    PickleError: |value| &value.message, |message| Some(PickleError { message });
    Text: |value| &value.0, |text| Some(Text(text));
    Carried: |value| &value.0, |exception| Some(Carried(exception));
}

/// The kinds that Rust 1.63 has names for.
#[rustfmt::skip]
const KINDS: [ErrorKind; 20] = {
    use ErrorKind::*;
    [
        NotFound, PermissionDenied, ConnectionRefused, ConnectionReset, ConnectionAborted,
        NotConnected, AddrInUse, AddrNotAvailable, BrokenPipe, AlreadyExists, WouldBlock,
        InvalidInput, InvalidData, TimedOut, WriteZero, Interrupted, Unsupported, UnexpectedEof,
        OutOfMemory, Other,
    ]
};

fn kind_of(code: i32) -> ErrorKind {
    io::Error::from_raw_os_error(code).kind()
}

dump! {
    [] ErrorKind: |value, pickler| match (0..=u8::MAX).zip(KINDS).find(|(_, kind)| kind == value) {
        Some((number, _)) => Ok::<u8, i32>(number).dump(pickler),
        // The others are at least those of some codes of the system.
        None => match (1..200).find(|&code| kind_of(code) == *value) {
            Some(code) => Err::<u8, i32>(code).dump(pickler),
            None => Err(PickleError::opaque::<Self>()),
        },
    };
    [] io::Error: |value, pickler| {
        let inner = value.get_ref().map(|inner| inner as &(dyn StdError + 'static));
        (value.kind(), value.to_string(), value.raw_os_error(), inner).dump(pickler)
    };
    // As bytes that have this error: of a mere position, a stranger could name one that is as far
    // as memory.
    [] Utf8Error: |value, pickler| {
        let bad: &[u8] = match value.error_len() {
            None => b"\xC3",
            Some(1) => b"\xFF",
            Some(2) => b"\xE1\x80a",
            Some(_) => b"\xF1\x80\x80a",
        };
        pickler.sequence(value.valid_up_to().saturating_add(bad.len()), |pickler| {
            let length = pickler.output.len() + value.valid_up_to();
            pickler.output.resize(length, b'a');
            u8::dump_slice(bad, pickler)
        })
    };
}

load! {
    [] ErrorKind: |unpickler| match Load::load(unpickler)? {
        Ok::<u8, i32>(number) => {
            let kind = KINDS.get(usize::from(number)).copied();
            kind.ok_or_else(PickleError::invalid::<Self>)
        }
        Err(code) => Ok(kind_of(code)),
    };
    [] io::Error: |unpickler| {
        let kind = ErrorKind::load(unpickler)?;
        let text = String::load(unpickler)?;
        let error = match Load::load(unpickler)? {
            (Some(code), None::<BoxedError>) => io::Error::from_raw_os_error(code),
            (_, Some(inner)) => io::Error::new(kind, inner),
            (None, None) => kind.into(),
        };
        // Some have a text but nothing inside, and other systems have other texts.
        let same = error.kind() == kind && error.to_string() == text;
        Ok(if same { error } else { io::Error::new(kind, text) })
    };
    [] Utf8Error: |unpickler| FromUtf8Error::load(unpickler).map(|error| error.utf8_error());
}

// ---- Errors of any type

/// Error types of your own that keep their type in an [`Exception`] or a boxed error, as std's do.
/// Both sides register the same types in the same order.
///
/// CPython: `Pickler.dispatch_table`, and `copyreg.pickle`.
#[derive(Clone, Default)]
pub struct DispatchTable(Vec<ErrorType>);

impl DispatchTable {
    /// A table without any type.
    pub fn new() -> Self {
        DispatchTable::default()
    }

    /// Adds an error type.
    ///
    /// ```
    /// use concurrent_futures::pickle::{DispatchTable, Dump, Load, PickleError};
    /// use concurrent_futures::pickle::{Pickler, Unpickler};
    /// use concurrent_futures::Exception;
    /// use std::fmt;
    ///
    /// #[derive(Debug)]
    /// struct OutOfStock(String);
    ///
    /// impl fmt::Display for OutOfStock {
    ///     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    ///         write!(f, "there is no more {}", self.0)
    ///     }
    /// }
    /// impl std::error::Error for OutOfStock {}
    /// impl Dump for OutOfStock {
    ///     fn dump(&self, pickler: &mut Pickler<'_>) -> Result<(), PickleError> {
    ///         self.0.dump(pickler)
    ///     }
    /// }
    /// impl Load for OutOfStock {
    ///     fn load(unpickler: &mut Unpickler<'_>) -> Result<Self, PickleError> {
    ///         Load::load(unpickler).map(OutOfStock)
    ///     }
    /// }
    ///
    /// let mut table = DispatchTable::new();
    /// table.register::<OutOfStock>();
    ///
    /// let mut bytes = Vec::new();
    /// let exception = Exception::new(OutOfStock("spam".to_owned()));
    /// Pickler::new(&mut bytes).dispatch_table(&table).dump(&exception)?;
    /// let exception: Exception = Unpickler::new(&bytes).dispatch_table(&table).load()?;
    /// assert_eq!(exception.downcast_ref::<OutOfStock>().unwrap().0, "spam");
    /// # Ok::<(), PickleError>(())
    /// ```
    ///
    /// CPython: `copyreg.pickle`.
    pub fn register<E: StdError + Dump + Load + Send + Sync + 'static>(&mut self) -> &mut Self {
        self.0.push(ErrorType::of::<E>());
        self
    }
}

impl fmt::Debug for DispatchTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|error_type| (error_type.type_name)());
        f.debug_set().entries(names).finish()
    }
}

type BoxedError = Box<dyn StdError + Send + Sync>;

/// The number of that type among [all](ErrorType::all).
const REMOTE_ERROR: u16 = 0;

/// What can be done with an error type that is not known when this is compiled.
#[derive(Clone, Copy)]
struct ErrorType {
    type_name: fn() -> &'static str,
    is_type_of: fn(&(dyn StdError + 'static)) -> bool,
    dump: fn(&(dyn StdError + 'static), &mut Pickler<'_>) -> Result<(), PickleError>,
    load: fn(&mut Unpickler<'_>) -> Result<BoxedError, PickleError>,
}

impl ErrorType {
    fn of<E: StdError + Dump + Load + Send + Sync + 'static>() -> Self {
        ErrorType {
            type_name: type_name::<E>,
            is_type_of: |error| error.is::<E>(),
            dump: |error, pickler| match error.downcast_ref::<E>() {
                Some(error) => error.dump(pickler),
                None => Err(PickleError::opaque::<E>()),
            },
            load: |unpickler| Ok(Box::new(E::load(unpickler)?)),
        }
    }

    /// All that there are, in an order that both sides have.
    fn all(table: Option<&DispatchTable>) -> impl Iterator<Item = ErrorType> + '_ {
        // "Exception" is what CPython calls it.
        let message = ErrorType {
            type_name: type_name::<Exception>,
            ..ErrorType::of::<Text>()
        };
        IntoIterator::into_iter([
            ErrorType::of::<RemoteError>(),
            message,
            ErrorType::of::<Carried>(),
            ErrorType::of::<PickleError>(),
            ErrorType::of::<io::Error>(),
            ErrorType::of::<fmt::Error>(),
            ErrorType::of::<ParseIntError>(),
            ErrorType::of::<ParseFloatError>(),
            ErrorType::of::<ParseBoolError>(),
            ErrorType::of::<ParseCharError>(),
            ErrorType::of::<TryFromIntError>(),
            ErrorType::of::<CharTryFromError>(),
            ErrorType::of::<TryFromCharError>(),
            ErrorType::of::<TryFromSliceError>(),
            ErrorType::of::<AddrParseError>(),
            ErrorType::of::<Utf8Error>(),
            ErrorType::of::<FromUtf8Error>(),
            ErrorType::of::<FromUtf16Error>(),
            ErrorType::of::<DecodeUtf16Error>(),
            ErrorType::of::<StripPrefixError>(),
            ErrorType::of::<VarError>(),
            ErrorType::of::<SystemTimeError>(),
            ErrorType::of::<RecvError>(),
            ErrorType::of::<TryRecvError>(),
            ErrorType::of::<RecvTimeoutError>(),
        ])
        .chain(table.into_iter().flat_map(|table| table.0.iter().copied()))
    }
}

/// As the number of its type and its value; or as a `RemoteError`, and what can be said of it.
fn dump_error(
    error: &(dyn StdError + 'static),
    type_name: &str,
    pickler: &mut Pickler<'_>,
) -> Result<(), PickleError> {
    let start = pickler.output.len();
    // What is behind the last number, in the table of a program that has registered so many, travels as text.
    let mut types = (0..=u16::MAX).zip(ErrorType::all(pickler.dispatch_table));
    if let Some((number, error_type)) = types.find(|(_, it)| (it.is_type_of)(error)) {
        number.dump(pickler)?;
        if pickler.nest(|it| (error_type.dump)(error, it)).is_ok() {
            return Ok(());
        }
        // Its type travels, but not this one of it.
        pickler.output.truncate(start);
    }
    REMOTE_ERROR.dump(pickler)?;
    pickler.nest(|pickler| RemoteError::new(error, type_name).dump(pickler))
}

/// The error, and the name of its type.
fn load_error(unpickler: &mut Unpickler<'_>) -> Result<(&'static str, BoxedError), PickleError> {
    let number = u16::load(unpickler)?;
    let error_type = ErrorType::all(unpickler.dispatch_table).nth(number.into());
    let error_type = error_type.ok_or_else(PickleError::invalid::<dyn StdError>)?;
    let error = unpickler.nest(error_type.load)?;
    Ok(((error_type.type_name)(), error))
}

dump! {
    [] dyn StdError: |value, pickler| dump_error(value, "Error", pickler);
    [] dyn StdError + Send + Sync: |value, pickler| dump_error(value, "Error", pickler);
    [] Exception: |value, pickler| {
        value.is_panic().dump(pickler)?;
        match value.as_error() {
            Some(error) if !value.is_panic() => dump_error(error, &value.type_name(), pickler),
            _ => {
                let remote = value.downcast_ref::<RemoteError>();
                (value.panic_message(), remote.and_then(RemoteError::location)).dump(pickler)
            }
        }
    };
}

load! {
    [] Box<dyn StdError>: |unpickler| load_error(unpickler).map(|(_, error)| error as Self);
    [] BoxedError: |unpickler| load_error(unpickler).map(|(_, error)| error);
    [] Exception: |unpickler| match bool::load(unpickler)? {
        false => load_error(unpickler).map(|(name, error)| Exception::named(name, error)),
        true => {
            let (message, location) = Load::load(unpickler)?;
            Ok(RemoteError::panicked(message, location))
        }
    };
}

/// What is left of an error, or of a panic, that was raised in another process and could not
/// travel: its text, which `Display` writes, and the texts of its sources.
///
/// CPython: `_RemoteTraceback` in `process.py`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteError {
    type_name: String,
    text: String,
    location: Option<String>,
    source: Option<Box<RemoteError>>,
}

impl RemoteError {
    fn new(error: &(dyn StdError + 'static), type_name: &str) -> Self {
        let sources = iter::successors(error.source(), |&error| error.source());
        // Some errors are their own source.
        let sources = sources.take(MAX_SOURCES).map(ToString::to_string);
        RemoteError {
            type_name: type_name.to_owned(),
            text: error.to_string(),
            location: None,
            source: RemoteError::chain(sources.collect()),
        }
    }

    fn chain(texts: Vec<String>) -> Option<Box<RemoteError>> {
        texts.into_iter().rev().fold(None, |source, text| {
            Some(Box::new(RemoteError {
                type_name: "Error".to_owned(),
                text,
                location: None,
                source,
            }))
        })
    }

    /// A panic in another process: what it said, if that was a text, and where.
    pub(in super::super::super) fn panicked(
        message: Option<String>,
        location: Option<String>,
    ) -> Exception {
        let error = RemoteError {
            type_name: "panic".to_owned(),
            text: match &message {
                Some(message) => message.clone(),
                None => NO_TEXT.to_owned(),
            },
            location,
            source: None,
        };
        Exception::from_remote_panic(message, Box::new(error))
    }

    /// The name of the type that the error had, without its module path, or `panic`. It is `Error`
    /// for a type that was not known any more: that of a boxed error, or of a source.
    pub fn type_name(&self) -> &str {
        &self.type_name
    }

    /// The file, line and column of a panic, such as `src/main.rs:12:5`.
    pub fn location(&self) -> Option<&str> {
        self.location.as_deref()
    }
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl StdError for RemoteError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

reduce! {
    RemoteError: |value| {
        let sources = iter::successors(value.source.as_deref(), |error| error.source.as_deref());
        let sources: Vec<&str> = sources.map(|error| &*error.text).collect();
        (&value.type_name, &value.text, &value.location, sources)
    }, |(type_name, text, location, sources): (_, _, _, Vec<_>)| match sources.len() {
        0..=MAX_SOURCES => Some(RemoteError {
            type_name,
            text,
            location,
            source: RemoteError::chain(sources),
        }),
        _ => None,
    };
}
