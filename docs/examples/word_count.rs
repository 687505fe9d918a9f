//! Counts lines, words and bytes of every file under some paths, as `wc` does, one task a file.
//!
//! ```text
//! cargo run --release --example word_count -- [--processes | --hosts A,B | --command WORDS] [PATH ...]
//! ```
//!
//! Without a path, it counts this project's own `docs` and `src`. A directory stands for all regular
//! files below it. A symbolic link is followed if it is named on the command line; one that is met
//! in a directory is passed over, so that nothing is counted twice and no loop is entered. So are
//! pipes, sockets and devices, which might have no end; naming one is an error.
//!
//! The tasks are run by threads, or, with `--processes`, by as many processes as there are processors.
//! Nothing is gained by that here: it shows in how many lines the two ways differ. With `--hosts a,b`
//! there is a process on each of these machines, to which `ssh` leads; it reads what has the same path there,
//! and this program has to have the same path there, too. With `--command`, some other command starts the
//! processes: `--command "srun -n1 -u"`, `--command nice`.
//!
//! What cannot be read is reported on standard error, the rest is still counted, and the exit status
//! is 1. `--help` says so, too; what follows `--` is a path, whatever it looks like.

use concurrent_futures::pickle::{Dump, Load, PickleError, Pickler, Unpickler};
use concurrent_futures::process::{freeze_support, OnCrash, ProcessPoolExecutor};
use concurrent_futures::{as_completed, Executor, Future, SubmitError, ThreadPoolExecutor};
use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};
use visible::visible;
use words::{Encoding, Words};

#[path = "printing/visible.rs"]
mod visible;
#[path = "word_count/words.rs"]
mod words;

const HELP: &str = "\
Usage: word_count [--processes | --hosts A,B | --command WORDS] [--] [PATH ...]

Counts lines, words and bytes of every file under the paths, as wc does, one
task a file, and prints the ten largest and the total. Without a path, it
counts this project's own docs and src. With --processes, the tasks are run by
processes instead of threads; with --hosts, by one on each of these hosts, by
way of ssh; with --command, by processes that this command starts. They read
what has the same path there.

A symbolic link is followed if it is named, and passed over if it is met in a
directory. What cannot be read is reported on standard error, the rest is still
counted, and the exit status is 1.
";

fn main() -> ExitCode {
    // First of all: a process that was started to run tasks does that here, and does not return.
    freeze_support(|registry| {
        registry.register(count);
    });
    match parse_arguments(env::args_os().skip(1)).and_then(run) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

struct Arguments {
    workers: Workers,
    paths: Vec<PathBuf>,
}

/// Who is to run the tasks.
enum Workers {
    Threads,
    Processes,
    /// Processes that a command starts, to which this program is appended: one for each command.
    Commands(Vec<Vec<String>>),
}

fn by_ssh(host: &str) -> Vec<String> {
    // Lest it ask for a password behind our back.
    ["ssh", "-oBatchMode=yes", host].map(str::to_owned).to_vec()
}

/// Nothing where there is a cry for help.
fn parse_arguments(
    mut arguments: impl Iterator<Item = OsString>,
) -> Result<Option<Arguments>, Box<dyn Error>> {
    let (mut workers, mut paths, mut options) = (Workers::Threads, Vec::new(), true);
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--help" | "-h") if options => return Ok(None),
            Some("--processes") if options => workers = Workers::Processes,
            Some(option @ ("--hosts" | "--command")) if options => {
                let value = arguments.next().and_then(|value| value.into_string().ok());
                let value = value.filter(|value| !value.trim().is_empty());
                let value = value.ok_or_else(|| format!("what follows {option}? See --help"))?;
                workers = Workers::Commands(match option {
                    "--hosts" => value.split(',').map(by_ssh).collect(),
                    _ => {
                        let words: Vec<_> = value.split_whitespace().map(str::to_owned).collect();
                        vec![words; thread::available_parallelism().map_or(1, |n| n.get())]
                    }
                });
            }
            Some("--") if options => options = false,
            Some(option) if options && option.starts_with('-') && option != "-" => {
                return Err(format!("no option {}; see --help", visible(option)).into());
            }
            _ => paths.push(PathBuf::from(argument)),
        }
    }
    if paths.is_empty() {
        paths = own_directories();
    }
    Ok(Some(Arguments { workers, paths }))
}

/// Whether everything could be counted.
fn run(arguments: Option<Arguments>) -> Result<bool, Box<dyn Error>> {
    let Arguments { workers, paths } = match arguments {
        Some(arguments) => arguments,
        None => {
            let_go(io::stdout().write_all(HELP.as_bytes()))?;
            return Ok(true);
        }
    };
    let mut report = Report::default();
    let files = find_files(paths, &mut report);
    // The `with` statement: when the body ends, the pool is shut down, and its threads or processes are
    // gone.
    match workers {
        // A closure, which has its argument with it.
        Workers::Threads => ThreadPoolExecutor::new(None)?.with(|pool| {
            count_all(
                |file| pool.try_submit(move || count(file)),
                files,
                &mut report,
            )
        })?,
        // A function, which was registered, and its argument, which is pickled.
        Workers::Processes => ProcessPoolExecutor::new(None)?
            .with(|pool| count_all(|file| pool.try_submit(count, file), files, &mut report))?,
        // The same; and there may be nobody else who knows where we are.
        Workers::Commands(commands) => {
            let (program, here) = (env::current_exe()?, env::current_dir()?);
            let max_workers = commands.len();
            let words = move |n: usize| {
                let command: Vec<OsString> = commands[n].iter().map(OsString::from).collect();
                [command, vec![program.clone().into()]].concat()
            };
            ProcessPoolExecutor::builder()
                .max_workers(max_workers)
                .commands(words)
                // To count a file once more does no harm.
                .on_crash(OnCrash::Retry(2))
                .build()?
                .with(|pool| {
                    count_all(
                        |file| pool.try_submit(count, here.join(file)),
                        files,
                        &mut report,
                    )
                })?;
        }
    }
    report.sort();
    for (path, error) in &report.failures {
        complain(&format!("{}: {error}", shown(path)));
    }
    let_go(report.print(&mut io::stdout().lock()))?;
    Ok(report.failures.is_empty())
}

/// The reader, `head` perhaps, has seen enough: that is no error.
fn let_go(printed: io::Result<()>) -> io::Result<()> {
    match printed {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

/// Whoever names a file may put anything into the name.
fn shown(path: &Path) -> String {
    visible(&path.to_string_lossy())
}

/// Submits a task for each file, and adds up what they return, in whatever order they finish.
fn count_all(
    submit: impl Fn(PathBuf) -> Result<Future<Counts>, SubmitError>,
    files: Vec<PathBuf>,
    report: &mut Report,
) -> Result<(), Box<dyn Error>> {
    // A future does not say what it was submitted for, but it can be the key to it. Clippy cannot know
    // that it is hashed by its identity, which never changes.
    #[allow(clippy::mutable_key_type)]
    let mut paths: HashMap<Future<Counts>, PathBuf> = HashMap::new();
    for path in files {
        // The task opens the file, and closes it: as many files are open as there are workers.
        paths.insert(submit(path.clone())?, path);
    }
    let mut progress = Progress::new(paths.len());
    for future in as_completed(paths.keys().cloned(), None) {
        // An error here would be the time-out of `as_completed`, which has none. That of the task is
        // in the future.
        let future = future?;
        let path = paths.remove(&future).unwrap_or_default();
        match future.result(None) {
            Ok(counts) => report.counted.push((path, counts)),
            Err(error) => report.failures.push((path, error.to_string())),
        }
        progress.step();
    }
    Ok(())
}

/// `docs` and `src` of this project, by their short names if we are there.
fn own_directories() -> Vec<PathBuf> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let here = env::current_dir().map_or(false, |directory| directory == project);
    let base = if here { Path::new("") } else { project };
    vec![base.join("docs"), base.join("src")]
}

/// The regular files that the paths name and those in the directories that they name.
fn find_files(paths: Vec<PathBuf>, report: &mut Report) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = Vec::new();
    for path in paths {
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => files.push(path),
            Ok(metadata) if metadata.is_dir() => directories.push(path),
            Ok(_) => report.fail(path, "neither a regular file nor a directory"),
            Err(error) => report.fail(path, error),
        }
    }
    // A list of what is left to do, not recursion: only one directory is open at a time, and none
    // is too deep.
    while let Some(directory) = directories.pop() {
        if let Err(error) = list_directory(&directory, &mut files, &mut directories) {
            report.fail(directory, error);
        }
    }
    files
}

fn list_directory(
    directory: &Path,
    files: &mut Vec<PathBuf>,
    directories: &mut Vec<PathBuf>,
) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // Of the entry itself: a symbolic link is neither a file nor a directory.
        let file_type = entry.file_type()?;
        if file_type.is_dir() {
            directories.push(entry.path());
        } else if file_type.is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// What is known at the end.
#[derive(Default)]
struct Report {
    counted: Vec<(PathBuf, Counts)>,
    failures: Vec<(PathBuf, String)>,
}

impl Report {
    /// How many of the largest files to print.
    const LARGEST: usize = 10;

    fn fail(&mut self, path: PathBuf, reason: impl ToString) {
        self.failures.push((path, reason.to_string()));
    }

    /// The largest files first, and the same order every time.
    fn sort(&mut self) {
        self.counted
            .sort_by(|(a, x), (b, y)| y.bytes.cmp(&x.bytes).then_with(|| a.cmp(b)));
        self.failures.sort();
    }

    fn total(&self) -> Counts {
        let mut total = Counts::default();
        for (_, counts) in &self.counted {
            total.lines += counts.lines;
            total.words += counts.words;
            total.bytes += counts.bytes;
        }
        total
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let largest = self.counted.len().min(Self::LARGEST);
        writeln!(out, "Largest {largest} of {} files:", self.counted.len())?;
        writeln!(out, "{:>10} {:>10} {:>12}", "lines", "words", "bytes")?;
        for (path, counts) in &self.counted[..largest] {
            counts.print(out, &shown(path))?;
        }
        self.total().print(out, "total")?;
        out.flush()
    }
}

/// Writes a line to standard error. Not with `eprintln!`, which panics when nobody can read it.
fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "word_count: {message}");
}

/// A line on standard error that says how far we are, if a person is looking.
struct Progress {
    done: usize,
    total: usize,
    shown: Option<Instant>,
}

impl Progress {
    const INTERVAL: Duration = Duration::from_millis(100);

    fn new(total: usize) -> Self {
        Progress {
            done: 0,
            total,
            shown: stderr_is_terminal().then(Instant::now),
        }
    }

    fn step(&mut self) {
        self.done += 1;
        // Writing a line for every file would take longer than counting most of them.
        if let Some(shown) = &mut self.shown {
            if shown.elapsed() >= Self::INTERVAL {
                *shown = Instant::now();
                let _ = write!(io::stderr(), "\r{} of {} files", self.done, self.total);
            }
        }
    }
}

/// The line is wiped out at the end, and when there is an error, too.
impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = write!(io::stderr(), "\r{:40}\r", "");
        }
    }
}

/// Whether standard error is a character device. That is the null device, too, which does not mind;
/// `std::io::IsTerminal` would know better, but is younger than Rust 1.63.
#[cfg(unix)]
fn stderr_is_terminal() -> bool {
    use std::os::unix::fs::FileTypeExt;
    fs::metadata("/dev/stderr").map_or(false, |metadata| metadata.file_type().is_char_device())
}

#[cfg(not(unix))]
fn stderr_is_terminal() -> bool {
    false
}

/// What a task returns.
#[derive(Clone, Copy, Default)]
struct Counts {
    lines: u64,
    words: u64,
    bytes: u64,
}

impl Counts {
    fn print(&self, out: &mut impl Write, name: &str) -> io::Result<()> {
        let Counts {
            lines,
            words,
            bytes,
        } = self;
        writeln!(out, "{lines:>10} {words:>10} {bytes:>12} {name}")
    }
}

/// How they come back from another process: as the tuple of the fields.
impl Dump for Counts {
    fn dump(&self, pickler: &mut Pickler<'_>) -> Result<(), PickleError> {
        (self.lines, self.words, self.bytes).dump(pickler)
    }
}
impl Load for Counts {
    fn load(unpickler: &mut Unpickler<'_>) -> Result<Self, PickleError> {
        Load::load(unpickler).map(|(lines, words, bytes)| Counts {
            lines,
            words,
            bytes,
        })
    }
}

/// The task: reads a file piece by piece, so that its size does not matter.
fn count(path: PathBuf) -> io::Result<Counts> {
    let mut file = File::open(path)?;
    let mut counts = Counts::default();
    let mut words = Words::new(Encoding::of_locale());
    let mut buffer = [0; 32 * 1024];
    // A character may begin in one piece and end in the next; its beginning is kept for then.
    let mut kept = 0;
    loop {
        let read = match file.read(&mut buffer[kept..]) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let end = kept + read;
        counts.bytes += read as u64;
        counts.lines += buffer[kept..end]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count() as u64;
        kept = words.add(&buffer[..end]);
        buffer.copy_within(end - kept..end, 0);
    }
    counts.words = words.count;
    Ok(counts)
}
