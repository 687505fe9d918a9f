// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! Commands that start a worker somewhere else, as the parent sees them. CPython has no such thing.
//!
//! The command's standard streams are sockets: a pipe cannot be made to end from this side alone, and what
//! the command has started may hold the other side for ever.

use super::super::threading::{lock, Condition, Deadline};
use super::connection::{is_time_out, Connection, Forward};
use super::frames::{frame, Frames, Kind, LARGEST, VERSION};
use super::spawn::{kill, Timing};
use std::convert::TryFrom;
use std::io::{self, Read, Write};
use std::mem;
use std::net::Shutdown;
use std::os::unix::io::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a command may take to end by itself once it has nothing left to do.
const GRACE: Duration = Duration::from_secs(1);

/// How long to wait, after the command's end, for what it has printed.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How long to write without getting on before looking whether there is a reason to go on. Who is not patient
/// has none.
const STUCK: Duration = Duration::from_millis(100);

/// How much a command may print to standard output before it has to speak the protocol.
const BANNER: usize = 16 << 10;

/// How many of the bytes that were printed last are kept, and how many lines of them are shown.
const TAIL: usize = 1000;
const TAIL_LINES: usize = 5;

/// The streams of a command, and what came over them.
pub(super) struct Link {
    began: Instant,
    timing: Timing,
    shared: Arc<Shared>,
    output: UnixStream,
    errors: UnixStream,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the threads of a link share.
struct Shared {
    known: Condition<Known>,
    /// The command's standard input. One frame is written at a time.
    input: Mutex<UnixStream>,
    /// The same, for whoever cannot wait for the lock.
    input_end: UnixStream,
    /// The stream of what the worker sends the pool: the pool's side, and the worker's.
    near: UnixStream,
    far: UnixStream,
}

#[derive(Default)]
struct Known {
    /// The worker has connected.
    ready: bool,
    /// Nothing more comes from it.
    ended: bool,
    /// Nothing more comes from standard error.
    said_all: bool,
    /// How the worker has ended.
    status: Option<ExitStatus>,
    /// Why there is no worker, or none any more, if more is known than that it is so.
    reason: Option<String>,
    /// What was printed last.
    tail: Vec<u8>,
}

impl Link {
    /// Starts the command.
    pub(super) fn start(mut command: Command, timing: Timing) -> io::Result<(Child, Self)> {
        let (input, its_input) = UnixStream::pair()?;
        let (output, its_output) = UnixStream::pair()?;
        let (errors, its_errors) = UnixStream::pair()?;
        let (near, far) = UnixStream::pair()?;
        input.set_write_timeout(Some(STUCK))?;
        let shared = Arc::new(Shared {
            known: Condition::new(Known::default()),
            input_end: input.try_clone()?,
            input: Mutex::new(input),
            near,
            far,
        });
        let link = Link {
            began: Instant::now(),
            timing,
            shared,
            output,
            errors,
            threads: Mutex::default(),
        };
        let child = command
            .stdin(OwnedFd::from(its_input))
            .stdout(OwnedFd::from(its_output))
            .stderr(OwnedFd::from(its_errors))
            .spawn()?;
        // With the command, this side's copies of its streams go.
        drop(command);
        Ok((child, link))
    }

    /// Starts the threads, and waits until there is a worker; see `Process::connect`.
    pub(super) fn connect(
        &self,
        child: &Mutex<Option<Child>>,
        is_wanted: impl Fn() -> bool,
    ) -> Result<Connection, Option<io::Error>> {
        let (output, errors) = (self.output.try_clone()?, self.errors.try_clone()?);
        let (shared, keep_alive) = (Arc::clone(&self.shared), self.timing.keep_alive);
        self.spawn("output of a command", move || {
            shared.receive(output, keep_alive)
        })?;
        let shared = Arc::clone(&self.shared);
        self.spawn("errors of a command", move || shared.relay(errors))?;
        let near = self.shared.near.try_clone()?;
        let limit = self.began.checked_add(self.timing.startup);
        let mut pause = Duration::from_millis(1);
        loop {
            let changed = |known: &Known| known.ready || known.ended;
            let known = self
                .shared
                .known
                .wait_for(changed, Deadline::after(Some(pause)));
            if known.ready {
                let shared = Arc::clone(&self.shared);
                return Ok(Connection::Command(near, shared));
            }
            let ended = known.ended;
            drop(known);
            if ended {
                return Err(Some(self.why_it_ended(child)));
            }
            if !is_wanted() {
                return Err(None);
            }
            if limit.map_or(false, |limit| limit <= Instant::now()) {
                let text = format!(
                    "nothing was heard of a worker for {:?}",
                    self.timing.startup
                );
                return Err(Some(self.error(io::ErrorKind::TimedOut, text)));
            }
            pause = (pause + pause / 8).min(Duration::from_millis(10));
        }
    }

    /// The command's output has ended before there was a worker.
    fn why_it_ended(&self, child: &Mutex<Option<Child>>) -> io::Error {
        let reason = self.shared.known.acquire().reason.clone();
        let text = reason.unwrap_or_else(|| {
            self.shared.end_input();
            match wait(child, Instant::now() + GRACE) {
                Ok(Some(status)) => format!("it has ended before it was a worker, {status}"),
                Ok(None) => "it has closed its output before it was a worker".to_owned(),
                Err(_) => "it has ended before it was a worker".to_owned(),
            }
        });
        self.error(io::ErrorKind::Other, text)
    }

    /// An error with what was printed last.
    fn error(&self, kind: io::ErrorKind, mut text: String) -> io::Error {
        let said_all = |known: &Known| known.said_all;
        let known = &self.shared.known;
        let known = known.wait_for(said_all, Deadline::after(Some(LAST_WORDS)));
        let tail = String::from_utf8_lossy(&known.tail).into_owned();
        drop(known);
        let lines = tail.lines().map(str::trim_end);
        let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
        if lines.is_empty() {
            text += "; it has printed nothing";
        } else {
            text += "; the last that it has printed:";
            for line in &lines[lines.len().saturating_sub(TAIL_LINES)..] {
                text += "\n    ";
                text.extend(harmless(line));
            }
        }
        io::Error::new(kind, text)
    }

    fn spawn(&self, name: &str, f: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let builder = thread::Builder::new().name(name.to_owned());
        let thread = builder.spawn(f)?;
        lock(&self.threads).push(thread);
        Ok(())
    }

    /// Why the worker was given up, if that is known.
    pub(super) fn reason(&self) -> Option<String> {
        self.shared.known.acquire().reason.clone()
    }

    /// Asks the worker to end; says whether that could be sent.
    pub(super) fn terminate(&self) -> bool {
        match self.shared.input.try_lock() {
            Ok(mut input) => input.write_all(&frame(Kind::Terminate, &[])).is_ok(),
            Err(_) => false,
        }
    }

    /// Ends both directions of the stream to the worker, and what the command reads, which is to end by that.
    pub(super) fn kill(&self) {
        self.shared.shutdown(Shutdown::Both);
    }

    /// Waits for the command, and kills it if it takes too long. Returns the status of the worker, if that has
    /// arrived, or else of the command, if it has ended by itself and that can be known.
    pub(super) fn join(&self, child: &Mutex<Option<Child>>) -> io::Result<Option<ExitStatus>> {
        self.kill();
        let now = Instant::now();
        let known = self.shared.known.acquire();
        let can_end = known.ready && known.reason.is_none();
        drop(known);
        let limit = if can_end { now + GRACE } else { now };
        let mut status = wait(child, limit);
        if let Ok(None) = status {
            // Not waited for with the lock held; see `Process::child`.
            let child = lock(child).take();
            if let Some(mut child) = child {
                kill(&mut child);
                status = child.wait().map(|_| None);
            }
        }
        let threads = mem::take(&mut *lock(&self.threads));
        if threads.is_empty() {
            return status;
        }
        let last_words = || {
            let said_all = |known: &Known| known.said_all && known.ended;
            let deadline = Deadline::after(Some(LAST_WORDS));
            self.shared.known.wait_for(said_all, deadline)
        };
        if let Some(of_worker) = last_words().status {
            status = Ok(Some(of_worker));
        }
        let _ = self.output.shutdown(Shutdown::Both);
        let _ = self.errors.shutdown(Shutdown::Both);
        let known = last_words();
        // If not, they print where nobody reads, and who waited for them would wait for that.
        let can_end = known.said_all && known.ended;
        drop(known);
        for thread in threads.into_iter().filter(|_| can_end) {
            let _ = thread.join();
        }
        status
    }
}

/// Waits for a child until then. Nothing tells of its end, so this looks for it, ever more seldom.
///
/// # Errors
///
/// When it has ended, and nobody can say how: see [`kill`].
fn wait(child: &Mutex<Option<Child>>, until: Instant) -> io::Result<Option<ExitStatus>> {
    let mut pause = Duration::from_micros(200);
    loop {
        let status = match &mut *lock(child) {
            Some(child) => child.try_wait()?,
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        if status.is_some() {
            return Ok(status);
        }
        if Instant::now() >= until {
            return Ok(None);
        }
        thread::sleep(pause);
        pause = (pause + pause / 4).min(Duration::from_millis(10));
    }
}

impl Forward for Shared {
    fn forward(&self, bytes: &[u8], patient: bool) -> io::Result<()> {
        for piece in bytes.chunks(LARGEST) {
            self.send(&frame(Kind::Data, piece), patient)?;
        }
        Ok(())
    }

    fn shutdown(&self, how: Shutdown) {
        if how == Shutdown::Write {
            // An error: it has ended, or does not read.
            if self.send(&frame(Kind::Close, &[]), false).is_err() {
                self.end_input();
            }
        } else {
            let _ = self.near.shutdown(Shutdown::Both);
            self.end_input();
        }
    }
}

impl Shared {
    fn end_input(&self) {
        let _ = self.input_end.shutdown(Shutdown::Write);
    }

    /// Writes a frame to the command. With patience it may take as long as it wants, unless it has ended.
    /// Without, it has to have room: that is for a worker that is idle, and so has read all but what keeps
    /// it alive; and nobody else is patient with it at that time, who would hold the lock.
    fn send(&self, frame: &[u8], patient: bool) -> io::Result<()> {
        self.write(&mut lock(&self.input), frame, patient)
    }

    fn write(&self, input: &mut UnixStream, frame: &[u8], patient: bool) -> io::Result<()> {
        let mut left = frame;
        while !left.is_empty() {
            match input.write(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => left = &left[written..],
                Err(error) if is_time_out(&error) => {
                    if !patient || self.known.acquire().ended {
                        // No other frame can follow on a part of one.
                        if left.len() < frame.len() {
                            self.end_input();
                        }
                        return Err(error);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what the command writes to its standard output, until that ends, or says nothing for too long.
    fn receive(self: &Arc<Self>, output: UnixStream, keep_alive: Option<Duration>) {
        let mut printer = Printer::new(io::stdout());
        let mut sender = None;
        let received = self.receive_frames(&output, keep_alive, &mut printer, &mut sender);
        printer.flush();
        let mut known = self.known.acquire();
        known.ended = true;
        if known.reason.is_none() && known.status.is_none() {
            known.reason = match received {
                Err(error) if is_time_out(&error) => {
                    let silence = keep_alive.unwrap_or_default();
                    Some(format!("nothing was heard of it for {silence:?}"))
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    Some(match error.get_ref() {
                        Some(text) => text.to_string(),
                        None => "it has sent what is no frame".to_owned(),
                    })
                }
                _ => None,
            };
        }
        known.notify_all();
        let _ = self.far.shutdown(Shutdown::Both);
        self.end_input();
        if let Some(sender) = sender {
            let _: thread::Result<()> = JoinHandle::join(sender);
        }
    }

    fn receive_frames(
        self: &Arc<Self>,
        output: &UnixStream,
        keep_alive: Option<Duration>,
        printer: &mut Printer<io::Stdout>,
        sender: &mut Option<JoinHandle<()>>,
    ) -> io::Result<()> {
        let mut frames = Frames::new(output);
        // Before the first frame, it is not what a task has printed.
        let mut banner = Printer::new(io::stderr());
        let mut length = 0;
        let hello = frames.next(|text| {
            self.note(text);
            length += text.len();
            if length <= BANNER {
                banner.print(text);
                return Ok(());
            }
            let text = format!("it has printed {length} bytes, and none of the protocol");
            Err(io::Error::new(io::ErrorKind::InvalidData, text))
        });
        banner.flush();
        if hello? != (Kind::Hello, VERSION) {
            let text = "it speaks another version of the protocol";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        output.set_read_timeout(keep_alive)?;
        let milliseconds = keep_alive.unwrap_or_default().as_millis();
        let milliseconds = u64::try_from(milliseconds).unwrap_or(u64::MAX);
        self.send(&frame(Kind::Begin, &milliseconds.to_le_bytes()), true)?;
        if let Some(keep_alive) = keep_alive {
            let shared = Arc::clone(self);
            let builder = thread::Builder::new().name("keep-alive of a command".to_owned());
            *sender = Some(builder.spawn(move || shared.say_something(keep_alive / 4))?);
        }
        loop {
            let printed = |text: &[u8]| {
                printer.print(text);
                Ok(())
            };
            let (kind, payload) = frames.next(printed)?;
            match kind {
                Kind::Alive => {}
                // An error: the pool does not want it any more, but how the worker ends.
                Kind::Data => drop((&self.far).write_all(payload)),
                Kind::Output => printer.print(payload),
                Kind::Ready => {
                    let mut known = self.known.acquire();
                    known.ready = true;
                    known.notify_all();
                }
                Kind::Ended => {
                    let mut raw = [0; 4];
                    raw.copy_from_slice(payload.get(..4).ok_or(io::ErrorKind::InvalidData)?);
                    let status = ExitStatus::from_raw(i32::from_le_bytes(raw));
                    self.known.acquire().status = Some(status);
                    return Ok(());
                }
                Kind::Failed => {
                    let text = String::from_utf8_lossy(&payload[..payload.len().min(TAIL)]);
                    self.known.acquire().reason = Some(harmless(&text).collect());
                    return Ok(());
                }
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }

    /// Lets the bridge hear something now and then.
    fn say_something(&self, interval: Duration) {
        let alive = frame(Kind::Alive, &[]);
        loop {
            let deadline = Deadline::after(Some(interval));
            if self.known.wait_for(|known| known.ended, deadline).ended {
                break;
            }
            // Who is writing says something, too.
            if let Ok(mut input) = self.input.try_lock() {
                match self.write(&mut input, &alive, false) {
                    // The other side has more to read than it has read. With patience, this would keep
                    // the lock from whoever has none.
                    Err(error) if is_time_out(&error) => {}
                    // The command has ended.
                    Err(_) => break,
                    Ok(()) => {}
                }
            }
        }
    }

    /// Passes on what the command writes to its standard error.
    fn relay(&self, mut errors: UnixStream) {
        let mut printer = Printer::new(io::stderr());
        let mut buffer = [0; 4096];
        loop {
            match errors.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => {
                    self.note(&buffer[..length]);
                    printer.print(&buffer[..length]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        printer.flush();
        let mut known = self.known.acquire();
        known.said_all = true;
        known.notify_all();
    }

    /// Keeps the last of what was printed.
    fn note(&self, text: &[u8]) {
        let mut known = self.known.acquire();
        known.tail.extend(text);
        let surplus = known.tail.len().saturating_sub(TAIL);
        known.tail.drain(..surplus);
    }
}

/// What comes from elsewhere is not for the terminal to obey.
fn harmless(text: &str) -> impl Iterator<Item = char> + '_ {
    text.chars().map(|c| if c.is_control() { '?' } else { c })
}

/// Prints line by line, so that those of several workers do not mix.
struct Printer<W: Write> {
    to: W,
    line: Vec<u8>,
}

impl<W: Write> Printer<W> {
    /// From so many bytes on, a line is printed in pieces.
    const LONGEST: usize = 64 << 10;

    fn new(to: W) -> Self {
        Printer {
            to,
            line: Vec::new(),
        }
    }

    fn print(&mut self, text: &[u8]) {
        // Not in what was there before, where there is no end of a line.
        let end = text.iter().rposition(|&byte| byte == b'\n');
        let end = end.map_or(0, |end| self.line.len() + end + 1);
        self.line.extend(text);
        if end > 0 || self.line.len() >= Self::LONGEST {
            let end = if end > 0 { end } else { self.line.len() };
            // An error: nobody reads it.
            let _ = self.to.write_all(&self.line[..end]);
            self.line.drain(..end);
        }
    }

    fn flush(&mut self) {
        let _ = self.to.write_all(&self.line);
        let _ = self.to.flush();
        self.line.clear();
    }
}
