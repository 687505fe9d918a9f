// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! Worker processes, as their parent sees them: Python's `multiprocessing.process`.

use super::super::threading::lock;
#[cfg(unix)]
use super::command::Link;
use super::connection::{remove, Connection, Listener};
use super::spawn::{
    get_bridge_command_line, get_command_line, get_executable, kill, Timing, TERMINATE,
};
use std::collections::hash_map::RandomState;
use std::collections::VecDeque;
use std::env;
use std::ffi::OsString;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Write};
use std::mem;
use std::net::Shutdown;
use std::process::{self, Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How many that have connected, and may be the worker, are heard at once. The worker says at once who it is; who has been
/// silent for the longest time is sent away for another one.
const GUESTS: usize = 16;

/// A worker process. It is killed when this is dropped.
pub(in super::super::super) struct Process {
    pid: u32,
    /// Held only for moments: whoever waits for the end of the process, which may take long if it has much memory,
    /// takes it out. By then it has been killed, so nobody else needs it.
    child: Mutex<Option<Child>>,
    /// The streams of messages and of control; `None` until the worker has connected.
    streams: Mutex<Option<[Arc<Connection>; 2]>>,
    /// If the process is a command, which has the worker start elsewhere: its streams.
    link: Option<Link>,
}

impl Process {
    /// Starts this program again, with these arguments before the marker, and this for its standard output.
    pub(in super::super::super) fn start(
        worker_args: &[OsString],
        stdout: Stdio,
    ) -> io::Result<Self> {
        let child = Command::new(get_executable()?)
            .args(get_command_line(worker_args))
            .stdin(Stdio::piped())
            .stdout(stdout)
            .spawn()?;
        Ok(Process::new(child, None))
    }

    /// Starts a command, which has this program started somewhere, with these arguments before the marker of
    /// a bridge.
    pub(in super::super::super) fn start_command(
        words: &[OsString],
        worker_args: &[OsString],
        timing: Timing,
    ) -> io::Result<Self> {
        let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .args(get_bridge_command_line(worker_args));
        let (child, link) = Link::start(command, timing)?;
        Ok(Process::new(child, Some(link)))
    }

    fn new(child: Child, link: Option<Link>) -> Self {
        Process {
            pid: child.id(),
            child: Mutex::new(Some(child)),
            streams: Mutex::new(None),
            link,
        }
    }

    /// What the process prints, if that was to be taken.
    pub(super) fn take_output(&self) -> Option<ChildStdout> {
        lock(&self.child).as_mut()?.stdout.take()
    }

    /// Why the worker behind a command was given up, if that is known.
    pub(in super::super::super) fn reason(&self) -> Option<String> {
        self.link.as_ref()?.reason()
    }

    /// Tells the process where to connect, and waits until it has.
    ///
    /// # Errors
    ///
    /// `None` when the process has ended, or `is_wanted` says that nobody needs it any more; an error when
    /// there is nowhere to listen, or of a command, which says what is wrong with it.
    pub(in super::super::super) fn connect(
        &self,
        is_wanted: impl Fn() -> bool,
    ) -> Result<Arc<Connection>, Option<io::Error>> {
        if let Some(link) = &self.link {
            return link.connect(&self.child, is_wanted).map(Arc::new);
        }
        let secret = secret();
        let folder = Folder::new(&secret);
        let mut child = lock(&self.child);
        let stdin = child.as_mut().and_then(|child| child.stdin.take());
        drop(child);
        let mut stdin = stdin.ok_or(None)?;
        // An error: the process has ended.
        let mut tell = |line: &str| stdin.write_all(line.as_bytes()).map_err(|_| None);
        tell(&format!("{secret}\n{}\n", folder.0))?;
        let (listener, address) = match Listener::in_folder(folder.0.as_ref()) {
            Ok(listener) => (listener, String::new()),
            Err(_) => Listener::on_loopback()?,
        };
        tell(&format!("{address}\n"))?;
        // The worker waits for the end of the pipe.
        drop(stdin);
        self.accept(&listener, &secret, is_wanted)
    }

    fn accept(
        &self,
        listener: &Listener,
        secret: &str,
        is_wanted: impl Fn() -> bool,
    ) -> Result<Arc<Connection>, Option<io::Error>> {
        let mut streams = [None, None];
        // Several are heard at once, lest a stranger that says nothing keep the worker waiting.
        let mut guests = VecDeque::new();
        // Nothing tells of a connection and of the end of a process at once. So this looks for both; soon
        // again at first, as most workers connect after a millisecond, and then ever more seldom.
        let mut pause = Duration::from_micros(50);
        loop {
            let guest = listener.accept()?;
            let nobody = guest.is_none();
            guests.extend(guest);
            if guests.len() > GUESTS {
                guests.pop_front();
            }
            for guest in mem::take(&mut guests) {
                match guest.hear(secret) {
                    Some(Ok((stream, role))) => streams[role] = Some(Arc::new(stream)),
                    Some(Err(guest)) => guests.push_back(guest),
                    None => {}
                }
            }
            if let [Some(messages), Some(control)] = &streams {
                let messages = Arc::clone(messages);
                *lock(&self.streams) = Some([Arc::clone(&messages), Arc::clone(control)]);
                return Ok(messages);
            }
            if !is_wanted() || !self.lives() {
                return Err(None);
            }
            if nobody {
                thread::sleep(pause);
                pause = (pause + pause / 16).min(Duration::from_millis(10));
            }
        }
    }

    /// Whether it has not ended yet. If that is not known, it has; see `kill`.
    fn lives(&self) -> bool {
        match &mut *lock(&self.child) {
            Some(child) => matches!(child.try_wait(), Ok(None)),
            None => false,
        }
    }

    pub(in super::super::super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Asks the process to end. It does so at once, whatever it runs, unless it is stopped.
    pub(in super::super::super) fn terminate(&self) {
        if let Some(link) = &self.link {
            if !link.terminate() {
                link.kill();
            }
            return;
        }
        let streams = lock(&self.streams);
        let asked = streams
            .as_ref()
            .map(|[_, control]| control.send_bytes(&[TERMINATE]));
        drop(streams);
        if !matches!(asked, Some(Ok(()))) {
            self.kill();
        }
    }

    /// Ends the process, whatever state it is in. A command is given a moment to see to the worker first, in
    /// [`join`](Process::join).
    pub(in super::super::super) fn kill(&self) {
        if let Some(link) = &self.link {
            return link.kill();
        }
        if let Some(child) = &mut *lock(&self.child) {
            kill(child);
        }
        // A process that the worker has forked may have the other ends, too.
        for stream in lock(&self.streams).iter().flatten() {
            stream.shutdown(Shutdown::Both);
        }
    }

    /// Waits for the end of a process whose stream has ended. One that has closed it and lives on is
    /// killed.
    ///
    /// # Errors
    ///
    /// When it is not known how it ended; or when it was waited for before.
    pub(in super::super::super) fn join(&self) -> io::Result<ExitStatus> {
        if let Some(link) = &self.link {
            let status = link.join(&self.child)?;
            return status.ok_or_else(|| io::ErrorKind::TimedOut.into());
        }
        self.kill();
        let child = lock(&self.child).take();
        child.ok_or(io::ErrorKind::NotFound)?.wait()
    }
}

/// Where no command can be run: its streams would have to be sockets.
#[cfg(not(unix))]
enum Link {}

#[cfg(not(unix))]
impl Link {
    fn start(_: Command, _: Timing) -> io::Result<(Child, Self)> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn connect(
        &self,
        _: &Mutex<Option<Child>>,
        _: impl Fn() -> bool,
    ) -> Result<Connection, Option<io::Error>> {
        match *self {}
    }

    fn reason(&self) -> Option<String> {
        match *self {}
    }

    fn terminate(&self) -> bool {
        match *self {}
    }

    fn kill(&self) {
        match *self {}
    }

    fn join(&self, _: &Mutex<Option<Child>>) -> io::Result<Option<ExitStatus>> {
        match *self {}
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.join();
    }
}

/// Where a listener is to be, removed when this is dropped; the empty string for nowhere.
struct Folder(String);

impl Folder {
    /// A name in the folder for temporary files that nobody else has.
    fn new(secret: &str) -> Self {
        if !cfg!(unix) {
            return Folder(String::new());
        }
        // It comes from the secret, and gives nothing of it away.
        let mut hasher = RandomState::new().build_hasher();
        hasher.write(secret.as_bytes());
        let name = format!("futures-{}-{:016x}", process::id(), hasher.finish());
        let path = env::temp_dir().join(name);
        // It has to be the same for both sides, wherever they may go meanwhile.
        let path = Some(path).filter(|path| path.is_absolute());
        let path = path.and_then(|path| path.into_os_string().into_string().ok());
        // One that is no text, or of several lines, is not worth the trouble.
        let path = path.filter(|path| path.lines().count() == 1);
        Folder(path.unwrap_or_default())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            remove(self.0.as_ref());
        }
    }
}

/// What nobody can guess. std asks the system for 128 random bits, to make keys for hashing; here hashes
/// under such a key are used as random numbers.
fn secret() -> String {
    let random = RandomState::new();
    let hash = |n| {
        let mut hasher = random.build_hasher();
        hasher.write_u8(n);
        format!("{:016x}", hasher.finish())
    };
    (0..4).map(hash).collect()
}
