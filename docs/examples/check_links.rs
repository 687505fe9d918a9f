//! Checks the links between the HTML pages of a folder, many pages at the same time.
//!
//! ```text
//! cargo run --release --example check_links -- [--timeout SECONDS] [FOLDER]
//! ```
//!
//! A link to a file that is not there gets a line, and so does the progress. The whole has `SECONDS`, 60 if not
//! given; what is not checked by then is left. Without a folder, it makes one of two hundred pages,
//! one of which has a broken link, and removes it afterwards.

use concurrent_futures::{as_completed, Executor, Future, ShutdownOptions, ThreadPoolExecutor};
use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};
use std::time::Duration;
use visible::visible;

#[path = "printing/visible.rs"]
mod visible;

const HELP: &str = "\
Usage: check_links [--timeout SECONDS] [FOLDER]

Checks the links of all pages (*.html, *.htm) below FOLDER that lead to files. The
whole takes at most SECONDS, from 1 to 3600, or 60 if not given. The exit status
is 1 if a link is broken, a page cannot be read, or the time is over. Without a
folder, it makes a few pages and checks those.
";

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => match error.downcast_ref::<io::Error>() {
            // The reader, `head` perhaps, has seen enough.
            Some(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            _ => {
                // Not with `eprintln!`, which panics when nobody can read it.
                let _ = writeln!(io::stderr(), "check_links: {error}");
                ExitCode::FAILURE
            }
        },
    }
}

/// Returns whether all is well.
fn run() -> Result<bool, Box<dyn Error>> {
    let mut timeout = Duration::from_secs(60);
    let mut folder = None;
    let mut arguments = env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--help" || argument == "-h" {
            io::stdout().write_all(HELP.as_bytes())?;
            return Ok(true);
        } else if argument == "--timeout" {
            let seconds = arguments.next().unwrap_or_default();
            timeout = match seconds.to_string_lossy().parse() {
                Ok(seconds @ 1..=3600) => Duration::from_secs(seconds),
                _ => return Err("--timeout takes a number of seconds, from 1 to 3600".into()),
            };
        } else if folder.replace(PathBuf::from(argument)).is_some() {
            return Err("one folder at a time; see --help".into());
        }
    }
    match folder {
        Some(folder) => check(&folder, timeout),
        None => {
            let example = ExampleFolder::new()?;
            check(&example.0, timeout)?;
            Ok(true)
        }
    }
}

/// Checks the pages below a folder, and prints what is wrong. Returns whether nothing is.
fn check(folder: &Path, timeout: Duration) -> Result<bool, Box<dyn Error>> {
    let name = |path: &Path| {
        let path = path.strip_prefix(folder).unwrap_or(path);
        visible(&path.to_string_lossy())
    };
    let mut pages = Vec::new();
    collect(folder, &mut pages)
        .map_err(|error| format!("{}: {error}", visible(&folder.to_string_lossy())))?;
    // Reading waits for the disk, so there may be more threads than processors.
    let pool = ThreadPoolExecutor::new(16)?;
    // Futures are hashed by identity, which never changes; Clippy cannot know that.
    #[allow(clippy::mutable_key_type)]
    let mut page_of: HashMap<Future<Vec<String>>, &Path> = HashMap::new();
    for page in &pages {
        let path = page.clone();
        page_of.insert(pool.try_submit(move || broken_links(&path))?, page);
    }
    let mut stdout = io::stdout();
    let (mut checked, mut wrong) = (0, 0);
    // The keys are lent: what is yielded is a reference to one of them. The time-out is for them all.
    for future in as_completed(page_of.keys(), timeout) {
        let future = match future {
            Ok(future) => future,
            Err(error) => {
                writeln!(stdout, "the time is over: {error}")?;
                wrong += 1;
                break;
            }
        };
        let page = name(page_of[future]);
        match future.take_result(None) {
            Ok(links) => {
                wrong += links.len();
                for link in links {
                    writeln!(stdout, "{page}: no such file: {}", visible(&link))?;
                }
            }
            Err(error) => {
                wrong += 1;
                writeln!(stdout, "{page}: {error}")?;
            }
        }
        checked += 1;
        if checked % 50 == 0 {
            writeln!(stdout, "{checked} of {} pages", pages.len())?;
        }
    }
    // What has not begun is not wanted any more, and what hangs is not waited for: it ends with the program.
    pool.shutdown_with(ShutdownOptions::new().wait(false).cancel_futures(true));
    writeln!(stdout, "{checked} pages checked, {wrong} problems")?;
    Ok(wrong == 0)
}

/// The pages below a folder, in the order of their names.
fn collect(folder: &Path, pages: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        paths.push((entry.path(), entry.file_type()?.is_dir()));
    }
    paths.sort();
    for (path, is_folder) in paths {
        let extension = path.extension().map(|it| it.to_ascii_lowercase());
        if is_folder {
            collect(&path, pages)?;
        } else if extension.map_or(false, |it| it == "html" || it == "htm") {
            pages.push(path);
        }
    }
    Ok(())
}

/// The links of a page that lead to no file.
fn broken_links(page: &Path) -> io::Result<Vec<String>> {
    let text = fs::read(page)?;
    let text = String::from_utf8_lossy(&text);
    let folder = page.parent().unwrap_or(page);
    let is_broken = |link: &&str| {
        let path = link.split(['#', '?']).next().unwrap_or_default();
        // What has a scheme or a host, or starts at the root of a host, leads elsewhere.
        let is_elsewhere = path.contains(':') || path.starts_with('/');
        !path.is_empty() && !is_elsewhere && !folder.join(path).exists()
    };
    let broken = links(&text).into_iter().filter(is_broken);
    Ok(broken.map(str::to_owned).collect())
}

/// The values of all attributes `href` and `src`. No parser of HTML, but enough of one for an example.
fn links(text: &str) -> Vec<&str> {
    let mut links = Vec::new();
    for attribute in ["href=", "src="] {
        for (at, _) in text.match_indices(attribute) {
            let value = &text[at + attribute.len()..];
            let link = match value.chars().next() {
                Some(quote @ ('"' | '\'')) => value[1..].split(quote).next(),
                _ => value.split([' ', '>', '\n', '\t']).next(),
            };
            links.extend(link);
        }
    }
    links
}

/// Pages to show it with, removed at the end.
struct ExampleFolder(PathBuf);

impl ExampleFolder {
    fn new() -> io::Result<Self> {
        let folder = env::temp_dir().join(format!("check_links-{}", process::id()));
        fs::create_dir(&folder)?;
        let folder = ExampleFolder(folder);
        for n in 0..200 {
            let next = (n + 1) % 201;
            let page = format!("<a href=\"page{next}.html#top\">on</a> <a href='#top'>up</a>");
            fs::write(folder.0.join(format!("page{n}.html")), page)?;
        }
        Ok(folder)
    }
}

impl Drop for ExampleFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
