//! Printing where nobody may be reading any more.

use std::io::{self, ErrorKind, Write};
use std::process;

/// In place of the standard library's, which panics when the reader of a pipe is gone.
// Not every example prints lines.
#[allow(unused_macros)]
macro_rules! println {
    ($($text:tt)*) => {
        $crate::pipe::print(&format!("{}\n", format_args!($($text)*)))
    };
}

/// Writes to standard output. When nobody reads it any more, as in `example | head -n 1`, the program ends
/// without a word, and with status 0: the reader has seen enough, and nothing went wrong. Anything else, a
/// full disk perhaps, is an error.
pub fn print(text: &str) {
    let mut stdout = io::stdout();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => process::exit(0),
        Err(error) => {
            // Not with `eprintln!`, which panics in turn.
            let _ = writeln!(io::stderr(), "cannot print: {error}");
            process::exit(1)
        }
    }
}
