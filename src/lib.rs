//! CPython's `concurrent.futures`, ported to Rust module by module on the standard library alone.
#![forbid(unsafe_code)]
#![warn(missing_docs)]
