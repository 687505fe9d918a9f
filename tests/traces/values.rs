//! The values and errors that scenarios use, under the names that CPython's have in the recording.

use concurrent_futures::pickle::{Dump, Load, PickleError, Pickler, Unpickler};
use concurrent_futures::process::Registry;
use concurrent_futures::{Error, Exception, State};
use std::fmt;

/// A type of results.
pub trait Value: Clone + Dump + Load + Send + 'static {
    fn parse(text: &str) -> Self;
    fn show(&self) -> String;
}

macro_rules! plain_value {
    ($($type:ty),*) => {$(
        impl Value for $type {
            fn parse(text: &str) -> Self {
                text.parse().unwrap_or_else(|_| panic!("`{text}` is no {}", stringify!($type)))
            }
            fn show(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

plain_value!(i32, i64, String, bool, f64);

impl Value for () {
    fn parse(_: &str) -> Self {}
    fn show(&self) -> String {
        "()".to_owned()
    }
}

impl Value for Vec<i32> {
    fn parse(text: &str) -> Self {
        let items = text.trim_matches(|c| c == '[' || c == ']');
        items
            .split(',')
            .filter(|item| !item.is_empty())
            .map(i32::parse)
            .collect()
    }
    fn show(&self) -> String {
        let items: Vec<String> = self.iter().map(i32::to_string).collect();
        format!("[{}]", items.join(","))
    }
}

macro_rules! errors {
    ($($name:ident),*) => {
        $(
            #[derive(Debug)]
            struct $name(String);

            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str(&self.0)
                }
            }

            impl std::error::Error for $name {}

            impl Dump for $name {
                fn dump(&self, pickler: &mut Pickler<'_>) -> Result<(), PickleError> {
                    self.0.dump(pickler)
                }
            }

            impl Load for $name {
                fn load(unpickler: &mut Unpickler<'_>) -> Result<Self, PickleError> {
                    Load::load(unpickler).map($name)
                }
            }
        )*

        /// So that they keep their types on the way from another process.
        pub fn register_errors(registry: &mut Registry) {
            $(registry.register_error::<$name>();)*
        }

        /// The exception that Python's class of this name is here.
        pub fn exception(name: &str, text: &str) -> Exception {
            match name {
                "panic" => Exception::from_panic(Box::new(text.to_owned())),
                $(stringify!($name) => Exception::new($name(text.to_owned())),)*
                _ => panic!("no error is named {name}"),
            }
        }
    };
}

errors!(
    ValueError,
    TypeError,
    ZeroDivisionError,
    OSError,
    AppError,
    ParseError
);

pub fn show_state(state: State) -> String {
    state.to_string()
}

pub fn show_exception(exception: &Exception) -> String {
    with_text(&exception.type_name(), &exception.to_string())
}

/// CPython's `CancelledError` and `TimeoutError` have no text.
pub fn show_error(error: &Error) -> String {
    match error {
        Error::Cancelled => "CancelledError".to_owned(),
        Error::Timeout => "TimeoutError".to_owned(),
        Error::Exception(exception) => show_exception(exception),
        other => format!("{other:?}"),
    }
}

pub fn with_text(type_name: &str, text: &str) -> String {
    if text.is_empty() {
        type_name.to_owned()
    } else {
        format!("{}: {}", type_name, mask(text))
    }
}

/// Hides what differs from run to run: addresses, and the numbers of futures, pools and processes.
pub fn mask(text: &str) -> String {
    let mut masked = text.to_owned();
    for (before, digits, after, put) in [
        ("0x", "0123456789abcdef", "", ""),
        ("Future ", "0123456789", " in", "ID"),
        ("ThreadPoolExecutor-", "0123456789", "_", "N"),
        ("(process ", "0123456789", ",", "N"),
    ] {
        let mut from = 0;
        while let Some(found) = masked[from..].find(before) {
            let start = from + found + before.len();
            let length = masked[start..]
                .find(|c| !digits.contains(c))
                .unwrap_or(masked.len() - start);
            from = start;
            if length > 0 && masked[start + length..].starts_with(after) {
                masked.replace_range(start..start + length, put);
                from += put.len();
            }
        }
    }
    masked
}
