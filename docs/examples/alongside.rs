//! Writes one page with both sources: CPython's `concurrent.futures` on the left, this project's on the right,
//! and `docs/map.md` between them. Scrolling one carries the other, definition by definition.
//!
//! ```sh
//! cargo run --example alongside -- -o alongside.html
//! ```
//!
//! CPython's files are read from a Python on this machine, or from the directory that `--python` names. The
//! page needs no network and nothing else: it can be kept, and passed on.

#[path = "alongside/documents.rs"]
mod documents;
#[path = "alongside/page.rs"]
mod page;
#[path = "alongside/python.rs"]
mod python;
#[path = "alongside/rust.rs"]
mod rust;
#[path = "alongside/source.rs"]
mod source;
#[path = "printing/visible.rs"]
mod visible;

use page::{Input, Python, PAIRS};
use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use visible::visible;

const HELP: &str = "\
Usage: alongside [--python DIR] [-o FILE]

Writes a page, in HTML, with CPython's concurrent.futures and this project's
side by side: to FILE, or to standard output.

  --python DIR   read CPython's files from DIR: a directory with _base.py in it,
                 a library (lib/python3.13), an installation, or a checkout
                 of CPython. Otherwise a Python on this machine is asked: 3.13
                 if there is one, as that is what the map is made for; else the
                 newest
  -o FILE        write there; what it held is lost
  --fingerprints print what the page knows CPython's definitions by, instead
  -h, --help     print this

Without a Python, the page says so, and shows this project's side.
";

fn main() -> ExitCode {
    match parse_arguments(env::args_os().skip(1)).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not with `eprintln!`, which panics when nobody can read it.
            let _ = writeln!(io::stderr(), "alongside: {error}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Default)]
struct Arguments {
    help: bool,
    fingerprints: bool,
    python: Option<PathBuf>,
    output: Option<PathBuf>,
}

fn parse_arguments(arguments: impl Iterator<Item = OsString>) -> Result<Arguments, Box<dyn Error>> {
    let mut parsed = Arguments::default();
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let place = match argument.to_str() {
            Some("--help" | "-h") => {
                parsed.help = true;
                return Ok(parsed);
            }
            Some("--fingerprints") => {
                parsed.fingerprints = true;
                continue;
            }
            Some("--python") => &mut parsed.python,
            Some("-o" | "--output") => &mut parsed.output,
            _ => {
                let argument = visible(&argument.to_string_lossy());
                return Err(format!("no option {argument}; see --help").into());
            }
        };
        match arguments.next().filter(|value| !value.is_empty()) {
            Some(value) => *place = Some(PathBuf::from(value)),
            None => return Err(format!("{} takes a path", argument.to_string_lossy()).into()),
        }
    }
    Ok(parsed)
}

fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    if arguments.help {
        return print(HELP);
    }
    let python = match &arguments.python {
        Some(directory) => Some(read_python(directory)?),
        None => find_python(),
    };
    if arguments.fingerprints {
        let python = python.ok_or("no Python was found")?;
        return print(&page::fingerprints(&python));
    }
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let input = Input {
        python,
        ours: read_ours(&project.join("src"))?,
        map: read(&project.join("docs/map.md"))?,
        divergences: read(&project.join("docs/divergences.md"))?,
        guide: read(&project.join("docs/reading-guide.md"))?,
    };
    let page = page::build(&input);
    match &arguments.output {
        Some(file) => {
            fs::write(file, page).map_err(|error| format!("{}: {error}", shown(file)))?;
            print(&format!("Wrote {}.\n", shown(file)))
        }
        None => print(&page),
    }
}

/// A reader that has seen enough is no error.
fn print(text: &str) -> Result<(), Box<dyn Error>> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(format!("cannot print: {error}").into())
        }
        _ => Ok(()),
    }
}

/// Whoever names a file may put anything into the name.
fn shown(path: &Path) -> String {
    visible(&path.to_string_lossy())
}

/// What is no UTF-8 in it, is replaced.
fn read(path: &Path) -> Result<String, Box<dyn Error>> {
    let bytes = fs::read(path).map_err(|error| format!("{}: {error}", shown(path)))?;
    Ok(String::from_utf8_lossy(&bytes).replace("\r\n", "\n"))
}

/// Every file below `src`, with its name there; a module stands before its parts.
fn read_ours(src: &Path) -> Result<Vec<(String, String)>, Box<dyn Error>> {
    let mut files = Vec::new();
    let mut directories = vec![(src.to_owned(), String::new())];
    while let Some((directory, prefix)) = directories.pop() {
        let entries =
            fs::read_dir(&directory).map_err(|error| format!("{}: {error}", shown(&directory)))?;
        for entry in entries {
            let entry = entry?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.file_type()?.is_dir() {
                directories.push((entry.path(), format!("{name}/")));
            } else if name.ends_with(".rs") {
                files.push((name, read(&entry.path())?));
            }
        }
    }
    // As the two windows are gone through: what mirrors CPython's three files first.
    let place = |name: &str| {
        let top = name
            .trim_end_matches(".rs")
            .split('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        let pairs = PAIRS.iter().position(|pair| pair.1 == format!("{top}.rs"));
        let others = ["lib", "beyond"].iter().position(|it| *it == top);
        pairs.unwrap_or_else(|| PAIRS.len() + others.unwrap_or(9))
    };
    files.sort_by_key(|(name, _)| {
        let module = name
            .trim_end_matches(".rs")
            .trim_end_matches("/mod")
            .to_owned();
        (place(name), module)
    });
    Ok(files)
}

/// The three files of a directory, or of where they are below it.
fn read_python(directory: &Path) -> Result<Python, Box<dyn Error>> {
    let mut places = vec![
        directory.to_owned(),
        directory.join("concurrent/futures"),
        directory.join("Lib/concurrent/futures"),
    ];
    // Of the versions of an installation, the last is the newest, but for 3.9, which is old.
    if let Ok(entries) = fs::read_dir(directory.join("lib")) {
        let names = entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.filter(|name| name.starts_with("python3")).collect();
        names.sort_by_key(|name| (name != "python3.13", name.len(), name.clone()));
        let folders = names.iter().map(|name| directory.join("lib").join(name));
        places.extend(folders.map(|folder| folder.join("concurrent/futures")));
    }
    let place = places
        .iter()
        .find(|place| PAIRS.iter().all(|pair| place.join(pair.0).is_file()));
    let place = place.ok_or_else(|| {
        format!(
            "{}: no concurrent/futures with _base.py, thread.py and process.py",
            shown(directory)
        )
    })?;
    let texts: Result<Vec<_>, _> = PAIRS.iter().map(|pair| read(&place.join(pair.0))).collect();
    let newer = || {
        texts
            .as_ref()
            .map_or(false, |texts| texts[1].contains("class WorkerContext"))
    };
    let guess = || newer().then(|| "3.14, or newer, by its looks".to_owned());
    Ok(Python {
        version: version(place).or_else(guess),
        path: shown(place),
        texts: texts?,
    })
}

/// What the directory says of its version: a checkout has it in a header, an installation in its name.
fn version(place: &Path) -> Option<String> {
    if let Some(root) = place.ancestors().nth(3) {
        if let Ok(header) = fs::read_to_string(root.join("Include/patchlevel.h")) {
            let line = header
                .lines()
                .find_map(|line| line.strip_prefix("#define PY_VERSION "));
            return line.map(|version| version.trim().trim_matches('"').to_owned());
        }
    }
    place.ancestors().find_map(|folder| {
        let name = folder.file_name()?.to_string_lossy().into_owned();
        let version = name.strip_prefix("python")?;
        version.starts_with("3.").then(|| version.to_owned())
    })
}

/// Asks the Pythons of this machine for theirs.
fn find_python() -> Option<Python> {
    const ASK: &str = "import sys, concurrent.futures as f; print('.'.join(map(str, sys.version_info[:3]))); print(f.__path__[0])";
    let mut best: Option<((bool, u32), Python)> = None;
    for (program, chosen) in [
        ("python3.13", Some("3.13")),
        ("python3.14", Some("3.14")),
        ("python3", Some("3.13")),
        ("python3", Some("3.14")),
        ("python3", None),
        ("python", None),
    ] {
        let mut command = Command::new(program);
        command.args(["-I", "-c", ASK]).stdin(Stdio::null());
        if let Some(chosen) = chosen {
            // pyenv chooses by this variable, and all others ignore it.
            command.env("PYENV_VERSION", chosen);
        }
        let output = match command.output() {
            Ok(output) if output.status.success() => output,
            _ => continue,
        };
        let text = String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n");
        let (version, path) = match text.trim_end().split_once('\n') {
            Some(answer) => answer,
            None => continue,
        };
        let minor = version
            .split('.')
            .nth(1)
            .and_then(|minor| minor.parse().ok());
        let rank = (version.starts_with("3.13."), minor.unwrap_or(0));
        if best.as_ref().map_or(true, |best| best.0 < rank) {
            if let Ok(python) = read_python(Path::new(path)) {
                let version = Some(version.to_owned());
                best = Some((rank, Python { version, ..python }));
            }
        }
        if rank.0 {
            break;
        }
    }
    best.map(|best| best.1)
}
