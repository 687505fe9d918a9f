//! Downloads `http://` addresses at the same time, and prints each as it completes, fastest first.
//!
//! ```text
//! cargo run --release --example fetch_urls -- [--timeout SECONDS] [URL ...]
//! ```
//!
//! Without an address, it serves a few pages to itself, one of which fails. An address that cannot be
//! downloaded gets a line that says why, the others go on, and the exit status is 1; for its own
//! pages, where that is part of the show, 0. An address has `SECONDS` to answer, 10 if not given.
//!
//! It speaks as much HTTP as fits here: no encryption, no redirections, no proxies.

use concurrent_futures::{as_completed, Executor, Future, ShutdownOptions, ThreadPoolExecutor};
use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::fmt;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};
use visible::visible;

#[path = "printing/visible.rs"]
mod visible;

const HELP: &str = "\
Usage: fetch_urls [--timeout SECONDS] [URL ...]

Downloads http:// addresses at the same time, and prints each as it completes.
An address has SECONDS to answer, from 1 to 3600, or 10 if not given. The exit
status is 1 if one of them failed. Without an address, it serves a few pages to
itself and downloads those.
";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            // Not with `eprintln!`, which panics when nobody can read it.
            let _ = writeln!(io::stderr(), "fetch_urls: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode, Box<dyn Error>> {
    let (timeout, urls) = match parse_arguments()? {
        Some(arguments) => arguments,
        None => {
            return match io::stdout().write_all(HELP.as_bytes()) {
                Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
                _ => Ok(ExitCode::SUCCESS),
            };
        }
    };
    if urls.is_empty() {
        fetch_all(serve_pages()?, timeout)?;
        return Ok(ExitCode::SUCCESS);
    }
    let failed = fetch_all(urls, timeout)?;
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The time-out, and the addresses; nothing where there is a cry for help.
fn parse_arguments() -> Result<Option<(Duration, Vec<String>)>, String> {
    let mut timeout = 10;
    let mut urls = Vec::new();
    // Not `env::args`, which panics when an argument is no Unicode.
    let mut arguments = env::args_os()
        .skip(1)
        .map(|a| a.to_string_lossy().into_owned());
    while let Some(argument) = arguments.next() {
        if ["--help", "-h"].contains(&&*argument) {
            return Ok(None);
        } else if argument == "--timeout" {
            let seconds = arguments.next().unwrap_or_default();
            timeout = match seconds.parse() {
                Ok(seconds @ 1..=3600) => seconds,
                _ => return Err("--timeout takes a number of seconds, from 1 to 3600".to_owned()),
            };
        } else {
            urls.push(argument);
        }
    }
    Ok(Some((Duration::from_secs(timeout), urls)))
}

/// Fetches each address in a task of its own, and returns how many failed.
fn fetch_all(urls: Vec<String>, timeout: Duration) -> Result<usize, Box<dyn Error>> {
    // Such tasks wait more than they compute, so there may be many more threads than processors. No
    // more are started than there are addresses.
    let pool = ThreadPoolExecutor::builder()
        .max_workers(32)
        .thread_name_prefix("fetch")
        .build()?;
    // The `with` statement: when the body ends, the pool is shut down, and its threads are gone.
    pool.with(|pool| print_as_completed(pool, urls, timeout))
}

fn print_as_completed(
    pool: &ThreadPoolExecutor,
    urls: Vec<String>,
    timeout: Duration,
) -> Result<usize, Box<dyn Error>> {
    let started = Instant::now();
    // A future does not say what it was submitted for, but it can be the key to it. Clippy cannot know
    // that it is hashed by its identity, which never changes.
    #[allow(clippy::mutable_key_type)]
    let mut url_of: HashMap<Future<Page>, String> = HashMap::new();
    for url in urls {
        let address = url.clone();
        // The task may fail, hence `try_submit`; its error waits in the future.
        url_of.insert(pool.try_submit(move || fetch(&address, timeout))?, url);
    }
    let mut failed = 0;
    for future in as_completed(url_of.keys().cloned(), None) {
        let future = future?;
        let url = visible(&url_of[&future]);
        let seconds = started.elapsed().as_secs_f64();
        let line = match future.take_result(None) {
            Ok(page) => format!("{seconds:7.3} s  {url}: {} bytes", page.body.len()),
            Err(error) => {
                failed += 1;
                format!("{seconds:7.3} s  {url}: failed: {error}")
            }
        };
        if let Err(error) = writeln!(io::stdout(), "{line}") {
            // There is nobody to print for, so what has not begun need not begin.
            pool.shutdown_with(ShutdownOptions::new().wait(false).cancel_futures(true));
            match error.kind() {
                // The reader, `head` perhaps, has seen enough.
                ErrorKind::BrokenPipe => break,
                _ => return Err(error.into()),
            }
        }
    }
    Ok(failed)
}

/// What a task returns.
struct Page {
    body: Vec<u8>,
}

/// Why it does not.
#[derive(Debug)]
enum FetchError {
    BadAddress(&'static str),
    Io(io::Error),
    TimedOut(Duration),
    TooLarge,
    NotHttp,
    CutOff { received: usize, length: usize },
    Status(String),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FetchError::BadAddress(why) => write!(f, "bad address: {why}"),
            FetchError::Io(error) if error.kind() == ErrorKind::ConnectionRefused => {
                f.write_str("connection refused")
            }
            FetchError::Io(error) => error.fmt(f),
            FetchError::TimedOut(timeout) => write!(f, "timed out after {timeout:?}"),
            FetchError::TooLarge => write!(f, "larger than {MAX_SIZE} bytes"),
            FetchError::NotHttp => f.write_str("the server did not answer in HTTP"),
            FetchError::CutOff { received, length } => {
                write!(f, "connection closed after {received} of {length} bytes")
            }
            FetchError::Status(status) => write!(f, "HTTP status {}", visible(status)),
        }
    }
}

/// An error type of one's own needs no more than this to be a future's exception.
impl Error for FetchError {}

impl From<io::Error> for FetchError {
    fn from(error: io::Error) -> Self {
        FetchError::Io(error)
    }
}

/// The task: downloads a page.
fn fetch(url: &str, timeout: Duration) -> Result<Page, FetchError> {
    let url = Url::parse(url)?;
    let limit = Limit::new(timeout);
    let mut stream = connect(&url, &limit)?;
    stream.set_write_timeout(Some(limit.remaining()?))?;
    // In HTTP/1.0, the server sends the page as it is, and closes the connection at its end.
    let request = format!(
        "GET {} HTTP/1.0\r\nHost: {}\r\nConnection: close\r\n\r\n",
        url.path, url.host_and_port
    );
    stream
        .write_all(request.as_bytes())
        .map_err(|error| limit.explain(error))?;
    parse_response(&read_to_end(stream, &limit)?)
}

/// A time-out for all that is done for an address together. One for each `read` would be no limit
/// for a server that sends a byte now and then.
struct Limit {
    timeout: Duration,
    end: Instant,
}

impl Limit {
    fn new(timeout: Duration) -> Self {
        let end = Instant::now() + timeout;
        Limit { timeout, end }
    }

    fn remaining(&self) -> Result<Duration, FetchError> {
        match self.end.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(FetchError::TimedOut(self.timeout)),
            remaining => Ok(remaining),
        }
    }

    /// A socket's time-out has one of two names, by the system.
    fn explain(&self, error: io::Error) -> FetchError {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => FetchError::TimedOut(self.timeout),
            _ => FetchError::Io(error),
        }
    }
}

/// Connects to the first of the host's addresses that answers. (The look-up of a name has a time-out
/// of its own, the system's.)
fn connect(url: &Url, limit: &Limit) -> Result<TcpStream, FetchError> {
    let mut result = Err(FetchError::BadAddress("the host has no address"));
    let addresses: Vec<SocketAddr> = (url.host.as_str(), url.port).to_socket_addrs()?.collect();
    for address in addresses {
        result = TcpStream::connect_timeout(&address, limit.remaining()?)
            .map_err(|error| limit.explain(error));
        if result.is_ok() {
            break;
        }
    }
    result
}

/// The most that is kept of a page and its headers, in bytes.
const MAX_SIZE: usize = 16 << 20;

fn read_to_end(mut stream: TcpStream, limit: &Limit) -> Result<Vec<u8>, FetchError> {
    let mut response = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        stream.set_read_timeout(Some(limit.remaining()?))?;
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(response),
            Ok(length) => response.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(limit.explain(error)),
        }
        if response.len() > MAX_SIZE {
            return Err(FetchError::TooLarge);
        }
    }
}

fn parse_response(response: &[u8]) -> Result<Page, FetchError> {
    let end = response.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.ok_or(FetchError::NotHttp)?;
    let (head, body) = (
        String::from_utf8_lossy(&response[..end]),
        &response[end + 4..],
    );
    let mut lines = head.lines();
    // Such as `HTTP/1.1 200 OK`.
    let status_line = lines.next().unwrap_or_default();
    let status = match status_line.split_once(' ') {
        Some((version, status)) if version.starts_with("HTTP/") => status,
        _ => return Err(FetchError::NotHttp),
    };
    if !status.starts_with('2') {
        return Err(FetchError::Status(status.to_owned()));
    }
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("Content-Length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(body.len());
    // A connection that breaks looks like one that ends, but for this.
    let body = body.get(..length).ok_or(FetchError::CutOff {
        received: body.len(),
        length,
    })?;
    Ok(Page {
        body: body.to_vec(),
    })
}

/// What is needed of an address such as `http://host:port/path?query#fragment`.
struct Url {
    host: String,
    port: u16,
    host_and_port: String,
    path: String,
}

impl Url {
    fn parse(url: &str) -> Result<Url, FetchError> {
        let bad = |why| Err(FetchError::BadAddress(why));
        // A line break in an address would add a line to the request.
        if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return bad("what is no visible ASCII character has to be written as %XX");
        }
        let (scheme, rest) = match url.split_once("://") {
            Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
            None => return bad("it does not begin with http://"),
        };
        match scheme.as_str() {
            "http" => {}
            "https" => return bad("https:// needs encryption, which the standard library lacks"),
            _ => return bad("it does not begin with http://"),
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let (host_and_port, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if host_and_port.contains('@') {
            return bad("user names are not supported");
        }
        // The colons within `[::1]` are no separators.
        let (host, port) = match host_and_port.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().unwrap_or(0)),
            _ => (host_and_port, 80),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || port == 0 {
            return bad("it has no host, or no valid port");
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Url {
            host: host.to_owned(),
            port,
            host_and_port: host_and_port.to_owned(),
            path: format!("{slash}{path}"),
        })
    }
}

/// The pages of the demonstration: path, delay in milliseconds, status.
const PAGES: [(&str, u64, &str); 5] = [
    ("/patience", 400, "200 OK"),
    ("/coffee", 200, "200 OK"),
    ("/broken", 100, "500 Internal Server Error"),
    ("/tea", 300, "200 OK"),
    ("/quick", 0, "200 OK"),
];

/// Serves the pages on the loopback interface, once each, and returns their addresses.
fn serve_pages() -> Result<Vec<String>, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    // A server is a pool, too. This one is not waited for: the last reference to it goes with the
    // thread, and its workers end when they have answered.
    let pool = ThreadPoolExecutor::new(PAGES.len())?;
    thread::spawn(move || {
        for stream in listener.incoming().take(PAGES.len()).flatten() {
            // If it is refused, the connection is closed, and the other side will say so.
            let _ = pool.try_submit(move || answer(stream));
        }
    });
    Ok(PAGES
        .iter()
        .map(|(path, ..)| format!("http://{address}{path}"))
        .collect())
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut head = String::new();
    let mut reader = BufReader::new(&stream);
    // All of the request is read, to the empty line: closing a connection with something unread
    // would break it, and what was sent could be lost.
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head)? > 0 {}
    let path = head.split(' ').nth(1).unwrap_or_default();
    let page = PAGES.iter().find(|page| page.0 == path);
    let (path, delay, status) = page.copied().unwrap_or((path, 0, "404 Not Found"));
    thread::sleep(Duration::from_millis(delay));
    let body = format!("This page took its time: {delay} ms for {path}.\n");
    let length = body.len();
    write!(
        stream,
        "HTTP/1.0 {status}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}
