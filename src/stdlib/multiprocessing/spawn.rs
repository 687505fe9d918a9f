// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! How this program is started again, and what it does first then: Python's `multiprocessing.spawn`.

use super::super::process_wide;
use super::connection::{connect, remove, Connection, Role};
use std::cell::RefCell;
use std::env;
use std::ffi::OsString;
use std::io::{self, BufRead, Read};
use std::panic;
use std::path::{Path, PathBuf};
use std::process::{self, Child};
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;

/// The last argument of a worker process. CPython: `--multiprocessing-fork`.
const MARKER: &str = "--multiprocessing-fork";

/// The last argument of a process that a command has started, to be a bridge to a worker.
const BRIDGE: &str = "--multiprocessing-bridge";

/// How long things may take where a worker is started by a command.
#[derive(Clone, Copy)]
pub(in super::super::super) struct Timing {
    /// From the start of the command until the worker has connected.
    pub(in super::super::super) startup: Duration,
    /// The silence after which the other side is gone; `None` for never.
    pub(in super::super::super) keep_alive: Option<Duration>,
}

/// A byte on the control stream that asks the worker to end.
pub(super) const TERMINATE: u8 = b'T';

/// The status of a process that ended since it was asked to: what a shell makes of SIGTERM.
const TERMINATED: i32 = 128 + 15;

/// How long a worker that ends in the middle of a call may take for what a process does at its end.
const LAST_ACTS: Duration = Duration::from_secs(1);

/// Whether this process was started as a worker.
pub(in super::super::super) fn is_forking() -> bool {
    env::args_os().last().map_or(false, |last| last == MARKER)
}

/// Whether this process was started as a bridge to a worker.
pub(in super::super::super) fn is_bridge() -> bool {
    env::args_os().last().map_or(false, |last| last == BRIDGE)
}

/// The arguments of this process, but for the program and the marker.
pub(super) fn main_arguments() -> Vec<OsString> {
    let mut arguments: Vec<_> = env::args_os().skip(1).collect();
    arguments.pop();
    arguments
}

/// The program that a worker runs. In Linux the very file that this process runs, be it replaced or
/// deleted by now.
pub(super) fn get_executable() -> io::Result<PathBuf> {
    let this = Path::new("/proc/self/exe");
    if cfg!(target_os = "linux") && this.exists() {
        return Ok(this.to_owned());
    }
    env::current_exe()
}

/// Kills a process, unless it has ended. std does not signal a process whose end it knows of; but where
/// SIGCHLD is ignored, or others wait for all children, it never learns of that, and the id may be somebody
/// else's by now. So ask first, which also tells that there is no such child any more.
///
/// CPython: `Popen.send_signal` in `subprocess.py` polls first for the same reason.
pub(super) fn kill(child: &mut Child) {
    if matches!(child.try_wait(), Ok(None)) {
        // An error: it has ended just now.
        let _ = child.kill();
    }
}

/// The arguments of a worker.
pub(super) fn get_command_line(worker_args: &[OsString]) -> Vec<OsString> {
    let mut arguments = worker_args.to_owned();
    arguments.push(MARKER.into());
    arguments
}

/// The arguments of a command, behind its own words.
pub(super) fn get_bridge_command_line(worker_args: &[OsString]) -> Vec<OsString> {
    let mut arguments = worker_args.to_owned();
    arguments.push(BRIDGE.into());
    arguments
}

/// In a worker: connects to the parent. From then on, the process exits when the parent asks it to, or
/// has ended.
pub(in super::super::super) fn spawn_main() -> io::Result<Connection> {
    let mut lines = [String::new(), String::new(), String::new()];
    let mut stdin = io::stdin().lock();
    for line in &mut lines {
        stdin.read_line(line)?;
    }
    // What this process runs finds an empty standard input.
    let _ = stdin.read_to_end(&mut Vec::new());
    let listening = lines[2].ends_with('\n');
    let [secret, folder, address] = lines.map(|line| line.trim_end_matches('\n').to_owned());
    let folder = Path::new(&folder);
    let connect = |role| {
        let address = Some(&*address).filter(|address| !address.is_empty());
        connect(folder, address, &secret, role)
    };
    let connected = if listening {
        connect(Role::Messages).and_then(|messages| Ok((messages, connect(Role::Control)?)))
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    };
    if !folder.as_os_str().is_empty() {
        remove(folder);
    }
    let (messages, control) = connected?;
    let small = || thread::Builder::new().stack_size(64 * 1024);
    small().name("control".to_owned()).spawn(move || {
        let mut control = &control;
        let mut request = [0];
        let status = match control.read_exact(&mut request) {
            Ok(()) if request == [TERMINATE] => TERMINATED,
            _ => 1,
        };
        // A process that exits does some things first, in which it may wait for ever: for somebody to read
        // the beginning of a line that a call has printed, or for what the call holds.
        let _ = small().spawn(|| {
            thread::sleep(LAST_ACTS);
            process::abort()
        });
        exit(status)
    })?;
    Ok(messages)
}

/// Ends the process. Two threads may want it at once, for which the `exit` of C is not made.
pub(in super::super::super) fn exit(status: i32) -> ! {
    static EXITING: process_wide::sync::Mutex<()> = process_wide::sync::Mutex::new(());
    let _exiting = EXITING.lock().unwrap_or_else(PoisonError::into_inner);
    process::exit(status);
}

thread_local! {
    /// Where this thread panicked last.
    static PANICKED_AT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From here on, notes where threads panic, and then does what was done before.
pub(in super::super::super) fn note_panics() {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let location = info.location().map(ToString::to_string);
        // An error: the thread is ending.
        let _ = PANICKED_AT.try_with(|panicked_at| *panicked_at.borrow_mut() = location);
        hook(info);
    }));
}

/// Where this thread panicked last: file, line and column.
pub(in super::super::super) fn panic_location() -> Option<String> {
    PANICKED_AT.with(|panicked_at| panicked_at.borrow_mut().take())
}
