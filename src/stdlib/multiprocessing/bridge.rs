// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! What a command starts at its far end: a process that has the real worker for its child, and copies what the
//! worker and the parent send each other. CPython has no such thing.

use super::super::threading::{lock, Condition, Deadline};
use super::connection::{is_time_out, Connection};
use super::frames::{frame, frame_from, Frames, Kind, LARGEST, VERSION};
use super::process::Process;
use super::spawn::{exit, main_arguments};
#[cfg(unix)]
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
#[cfg(unix)]
use std::os::unix::{io::AsFd, process::ExitStatusExt};
use std::process::{ExitStatus, Stdio};
use std::sync::{mpsc, Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How long to wait, after the worker's end, for what it has printed. A process of its own may hold the
/// pipe for ever.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// How long the rest of this process has to end by itself, once the parent is gone.
const GRACE: Duration = Duration::from_secs(1);

/// Serves as a bridge, and ends the process with the status of the worker.
pub(in super::super::super) fn bridge_main() -> ! {
    let output = Arc::new(Output::new());
    let status = serve(&output).unwrap_or_else(|error| {
        let text = error.to_string();
        let text = &text.as_bytes()[..text.len().min(LARGEST)];
        let _ = output.send(&frame(Kind::Failed, text));
        None
    });
    exit(status.map_or(1, |status| status.code().unwrap_or(128 + signal(status))))
}

fn serve(output: &Arc<Output>) -> io::Result<Option<ExitStatus>> {
    output.send(&frame(Kind::Hello, VERSION))?;
    let parent = Arc::new(Condition::new(Parent {
        gone: false,
        heard: Some(Instant::now()),
        messages: None,
    }));
    let mut frames = Frames::new(Input {
        stream: standard_input(),
        parent: Arc::clone(&parent),
    });
    let mut milliseconds = [0; 8];
    match frames.next(refuse)? {
        (Kind::Begin, payload) if payload.len() == 8 => milliseconds.copy_from_slice(payload),
        _ => return Err(io::ErrorKind::InvalidData.into()),
    }
    let keep_alive = Duration::from_millis(u64::from_le_bytes(milliseconds));
    let process = Arc::new(Process::start(&main_arguments(), Stdio::piped())?);
    let spawn = |name: &str, f: Box<dyn FnOnce() + Send>| {
        let builder = thread::Builder::new().name(name.to_owned());
        builder.spawn(f).map(drop)
    };
    let its = || {
        (
            Arc::clone(&parent),
            Arc::clone(&process),
            Arc::clone(output),
        )
    };
    let (its_parent, its_process, its_output) = its();
    let listen = move || listen(frames, &its_parent, &its_process, &its_output);
    spawn("parent", Box::new(listen))?;
    if keep_alive > Duration::ZERO {
        let (its_parent, its_process, its_output) = its();
        let alive = move || say_something(keep_alive, &its_parent, &its_process, &its_output);
        spawn("keep-alive", Box::new(alive))?;
        let (its_parent, its_process, _) = its();
        let silence = move || wait_for_silence(keep_alive, &its_parent, &its_process);
        spawn("silence", Box::new(silence))?;
    }
    let (sender, printed) = mpsc::channel::<()>();
    if let Some(stdout) = process.take_output() {
        let output = Arc::clone(output);
        let print = move || {
            copy(Kind::Output, stdout, &output);
            drop(sender);
        };
        spawn("output", Box::new(print))?;
    }
    let connected = process.connect(|| !parent.acquire().gone);
    let messages = match connected {
        Ok(messages) => messages,
        Err(Some(error)) => return Err(error),
        Err(None) => {
            let text = match process.join() {
                Ok(status) => format!("the worker has ended while it was starting, {status}"),
                Err(_) => "the worker has ended while it was starting".to_owned(),
            };
            let _ = printed.recv_timeout(LAST_WORDS);
            return Err(io::Error::new(io::ErrorKind::Other, text));
        }
    };
    parent.acquire().messages = Some(Arc::clone(&messages));
    output.send(&frame(Kind::Ready, &[]))?;
    copy(Kind::Data, &*messages, output);
    let status = process.join().map_err(|error| {
        let text = format!("how the worker has ended is not known: {error}");
        io::Error::new(error.kind(), text)
    })?;
    let _ = printed.recv_timeout(LAST_WORDS);
    output.send(&frame(Kind::Ended, &raw(status).to_le_bytes()))?;
    Ok(Some(status))
}

/// What is known of the parent.
struct Parent {
    gone: bool,
    /// When the last bytes had come; `None` while it is given to the worker, who takes its time.
    heard: Option<Instant>,
    /// The stream to the worker, once it is there.
    messages: Option<Arc<Connection>>,
}

/// Does what the parent wants, until it is gone.
fn listen(
    mut frames: Frames<Input>,
    parent: &Condition<Parent>,
    process: &Process,
    output: &Output,
) {
    while let Ok((kind, payload)) = frames.next(refuse) {
        let mut state = parent.acquire();
        state.heard = None;
        let messages = state.messages.clone();
        drop(state);
        match (kind, messages) {
            (Kind::Data, Some(messages)) => {
                if pass_on(payload, &messages, output).is_err() {
                    break;
                }
            }
            (Kind::Close, Some(messages)) => messages.shutdown(Shutdown::Write),
            (Kind::Terminate, _) => process.terminate(),
            (Kind::Alive, _) => {}
            _ => break,
        }
        parent.acquire().heard = Some(Instant::now());
    }
    leave(parent, process);
}

/// Gives the worker these bytes. It may take its time: to load what it is sent may take long.
///
/// # Errors
///
/// When the parent is gone.
fn pass_on(mut bytes: &[u8], mut messages: &Connection, output: &Output) -> io::Result<()> {
    while !bytes.is_empty() {
        match messages.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // That the parent is gone cannot be read while its bytes are not taken, but written.
            Err(error) if is_time_out(&error) => {
                if let Some(Err(error)) = output.try_send(&frame(Kind::Alive, &[])) {
                    return Err(error);
                }
            }
            // The worker has ended, which is reported elsewhere.
            Err(_) => break,
        }
    }
    Ok(())
}

/// Lets the parent hear of this side.
fn say_something(
    keep_alive: Duration,
    parent: &Condition<Parent>,
    process: &Process,
    output: &Output,
) {
    let alive = frame(Kind::Alive, &[]);
    loop {
        let deadline = Deadline::after(Some(keep_alive / 4));
        if parent.wait_for(|parent| parent.gone, deadline).gone {
            break;
        }
        // One that is writing says something, too.
        if let Some(Err(_)) = output.try_send(&alive) {
            break;
        }
    }
    leave(parent, process);
}

/// Listens to the parent's silence. That is a thread of its own, as one that says something may have to wait
/// until somebody takes it, which a parent that is gone does not do.
fn wait_for_silence(keep_alive: Duration, parent: &Condition<Parent>, process: &Process) {
    let silent = |heard: Instant| heard.elapsed() > keep_alive;
    loop {
        let deadline = Deadline::after(Some(keep_alive / 4));
        let state = parent.wait_for(|parent| parent.gone, deadline);
        if state.gone || state.heard.map_or(false, silent) {
            break;
        }
    }
    leave(parent, process);
}

/// The parent is gone: so is the worker, then, and this process.
fn leave(parent: &Condition<Parent>, process: &Process) {
    parent.acquire().gone = true;
    process.kill();
    thread::sleep(GRACE);
    exit(1);
}

/// What is printed towards the worker is no text.
fn refuse(_: &[u8]) -> io::Result<()> {
    Err(io::ErrorKind::InvalidData.into())
}

/// Sends the parent what a stream brings, until it ends, or nobody listens.
fn copy(kind: Kind, mut stream: impl Read, output: &Output) {
    let mut buffer = Vec::new();
    while let Ok(Some(frame)) = frame_from(kind, &mut stream, &mut buffer) {
        if output.send(frame).is_err() {
            break;
        }
    }
}

/// Standard output, one frame at a time. Past the buffer of std's, which would send a frame in pieces.
struct Output(Mutex<Box<dyn Write + Send>>);

impl Output {
    fn new() -> Self {
        Output(Mutex::new(standard_output()))
    }

    fn send(&self, frame: &[u8]) -> io::Result<()> {
        Self::write(&mut **lock(&self.0), frame)
    }

    /// Nothing, if somebody else is sending.
    fn try_send(&self, frame: &[u8]) -> Option<io::Result<()>> {
        let mut output = self.0.try_lock().ok()?;
        Some(Self::write(&mut **output, frame))
    }

    fn write(output: &mut dyn Write, frame: &[u8]) -> io::Result<()> {
        // What somebody prints in this process comes before a frame, or behind it.
        let _stdout = io::stdout().lock();
        output.write_all(frame)?;
        output.flush()
    }
}

#[cfg(unix)]
fn standard_output() -> Box<dyn Write + Send> {
    match io::stdout().as_fd().try_clone_to_owned() {
        Ok(owned) => Box::new(File::from(owned)),
        Err(_) => Box::new(io::stdout()),
    }
}

#[cfg(not(unix))]
fn standard_output() -> Box<dyn Write + Send> {
    Box::new(io::stdout())
}

/// Standard input. To hear of the parent, a part of a frame is enough: on a slow link, a whole one may take
/// longer than any silence may last.
struct Input {
    stream: Box<dyn Read + Send>,
    parent: Arc<Condition<Parent>>,
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.stream.read(buffer)?;
        self.parent.acquire().heard = Some(Instant::now());
        Ok(length)
    }
}

#[cfg(unix)]
fn standard_input() -> Box<dyn Read + Send> {
    match io::stdin().as_fd().try_clone_to_owned() {
        Ok(owned) => Box::new(File::from(owned)),
        Err(_) => Box::new(io::stdin()),
    }
}

#[cfg(not(unix))]
fn standard_input() -> Box<dyn Read + Send> {
    Box::new(io::stdin())
}

/// As a parent makes an `ExitStatus` of it again.
#[cfg(unix)]
fn raw(status: ExitStatus) -> i32 {
    status.into_raw()
}

#[cfg(not(unix))]
fn raw(status: ExitStatus) -> i32 {
    (status.code().unwrap_or(1) & 0xff) << 8
}

#[cfg(unix)]
fn signal(status: ExitStatus) -> i32 {
    status.signal().unwrap_or(0)
}

#[cfg(not(unix))]
fn signal(_: ExitStatus) -> i32 {
    0
}
