//! Looks for a text in many files at the same time, and prints what it finds in the order of the files.
//!
//! ```text
//! cargo run --release --example parallel_grep -- TEXT [FILE | FOLDER ...]
//! ```
//!
//! Exits as `grep` does: with 0 if a line was found, with 1 if none was, and with 2 after an error.

use concurrent_futures::{Executor, MapOptions, ThreadPoolExecutor};
use std::env;
use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use visible::visible;

#[macro_use]
#[path = "printing/pipe.rs"]
mod pipe;
#[path = "printing/visible.rs"]
mod visible;

const HELP: &str = "\
Usage: parallel_grep [--] TEXT [FILE | FOLDER ...]

Prints each line with TEXT in it, with its file and its number, in the order of
the files. Of a folder, it searches all files; without a file, those of the
current folder. The exit status is 0 if a line was found, 1 if none was, and 2
if there was an error.
";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(2)
        }
    }
}

/// Not with `eprintln!`, which panics when nobody can read it.
fn complain(error: &str) {
    let _ = writeln!(io::stderr(), "parallel_grep: {error}");
}

fn run() -> Result<ExitCode, Box<dyn Error>> {
    // Not `env::args`, which panics when an argument is no Unicode.
    let mut arguments: Vec<_> = env::args_os().skip(1).collect();
    let is = |at: usize, word: &str| arguments.get(at).map_or(false, |it| it == word);
    if arguments.is_empty() || is(0, "--help") || is(0, "-h") {
        pipe::print(HELP);
        return Ok(ExitCode::SUCCESS);
    }
    if is(0, "--") {
        arguments.remove(0);
    } else if arguments[0].to_string_lossy().starts_with('-') {
        let option = visible(&arguments[0].to_string_lossy());
        return Err(format!("there is no option {option}; see --help").into());
    }
    let mut arguments = arguments.into_iter();
    let text = arguments.next().ok_or("which text? see --help")?;
    let text = text.to_string_lossy().into_owned();
    let mut paths: Vec<PathBuf> = arguments.map(PathBuf::from).collect();
    if paths.is_empty() {
        paths.push(PathBuf::from("."));
    }
    let mut failed = false;
    let mut files = Vec::new();
    for path in paths {
        collect(path, &mut files, &mut |error| {
            failed = true;
            complain(&error);
        });
    }

    let pool = ThreadPoolExecutor::new(None)?;
    let search = move |path: PathBuf| {
        let found = find(&text, &path).map_err(|error| error.to_string());
        (path, found)
    };
    let mut found_any = false;
    // Results come in the order of the files, whichever is read first. No more than so many files are
    // read ahead, lest what was found in them fill the memory.
    let options = MapOptions::new().buffersize(64);
    for result in pool.map_with(search, files, options)? {
        let (path, found) = result?;
        let name = visible(&path.to_string_lossy());
        match found {
            Ok(lines) => {
                for (number, line) in lines {
                    found_any = true;
                    println!("{name}:{number}:{line}");
                }
            }
            Err(error) => {
                failed = true;
                complain(&format!("{name}: {error}"));
            }
        }
    }
    Ok(match (failed, found_any) {
        (true, _) => ExitCode::from(2),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::from(1),
    })
}

/// The files below a path, in the order of their names. What a symbolic link in a folder points to is not
/// followed, so there is no circle.
fn collect(path: PathBuf, files: &mut Vec<PathBuf>, failed: &mut dyn FnMut(String)) {
    if !path.is_dir() {
        files.push(path);
        return;
    }
    let mut entries = Vec::new();
    match fs::read_dir(&path) {
        Ok(directory) => entries.extend(directory.flatten()),
        Err(error) => failed(format!("{}: {error}", visible(&path.to_string_lossy()))),
    }
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect(entry.path(), files, failed),
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            // A link, a pipe, a device.
            _ => {}
        }
    }
}

/// The lines of a file that have the text in them, with their numbers, in a form that can be printed.
fn find(text: &str, path: &Path) -> io::Result<Vec<(usize, String)>> {
    let bytes = fs::read(path)?;
    let content = String::from_utf8_lossy(&bytes);
    let lines = (1..).zip(content.lines());
    let found = lines.filter(|(_, line)| line.contains(text));
    Ok(found
        .map(|(number, line)| match line {
            "" => (number, String::new()),
            line => (number, visible(line)),
        })
        .collect())
}
