// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! Streams that carry messages: Python's `multiprocessing.connection`.

use super::super::process_wide;
use std::fs;
use std::io::{self, BufReader, Read, Take, Write};
use std::mem;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
#[cfg(unix)]
use std::os::unix::{
    fs::DirBuilderExt,
    net::{UnixListener, UnixStream},
};
use std::path::{Path, PathBuf};
#[cfg(unix)]
use std::sync::Arc;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// A stream between two processes. Any thread may read it while another one writes.
pub(in super::super::super) enum Connection {
    #[cfg(unix)]
    Unix(UnixStream),
    Tcp(TcpStream),
    /// To a worker behind a command. What it sends comes over a stream; what it is sent goes to the command.
    #[cfg(unix)]
    Command(UnixStream, Arc<dyn Forward>),
}

/// Sends a worker what it is to receive.
#[cfg(unix)]
pub(in super::super::super) trait Forward: Send + Sync {
    /// Sends all of this. If it is not patient, this fails soon with `WouldBlock` where nobody reads it, and
    /// what it is sent is of no use any more.
    fn forward(&self, bytes: &[u8], patient: bool) -> io::Result<()>;

    /// Ends what is sent, or also what is received.
    fn shutdown(&self, how: Shutdown);
}

impl Connection {
    /// Whether the error with which receiving failed says that the peer ended without having read all that
    /// it was sent. Only where streams say that, and say it of nothing else.
    pub(in super::super::super) fn is_unread(&self, error: &io::Error) -> bool {
        let is_local = match self {
            #[cfg(unix)]
            Connection::Unix(_) => true,
            _ => false,
        };
        cfg!(target_os = "linux") && is_local && error.kind() == io::ErrorKind::ConnectionReset
    }

    /// Ends what this side sends, or also what it receives. Both sides of the stream see it, whatever
    /// they are at.
    pub(in super::super::super) fn shutdown(&self, how: Shutdown) {
        // An error: the stream has ended before.
        let _ = match self {
            #[cfg(unix)]
            Connection::Unix(stream) => stream.shutdown(how),
            #[cfg(unix)]
            Connection::Command(_, command) => {
                command.shutdown(how);
                Ok(())
            }
            Connection::Tcp(stream) => stream.shutdown(how),
        };
    }

    pub(in super::super::super) fn send(&self, message: &Message) -> io::Result<()> {
        self.write_whole(&message.bytes, true)?;
        self.write_whole(&message.tail, true)
    }

    /// Sends a message for which there is room if the peer has read what it has replied to. If it has not, this
    /// fails soon with `WouldBlock`, in Unix; and the stream is of no use any more.
    pub(in super::super::super) fn send_at_once(&self, message: &Message) -> io::Result<()> {
        self.write_whole(&message.bytes, false)?;
        self.write_whole(&message.tail, false)
    }

    /// Sends what is no message, at once.
    pub(super) fn send_bytes(&self, bytes: &[u8]) -> io::Result<()> {
        self.write_whole(bytes, false)
    }

    fn write_whole(&self, mut bytes: &[u8], patient: bool) -> io::Result<()> {
        #[cfg(unix)]
        if let Connection::Command(_, command) = self {
            return command.forward(bytes, patient);
        }
        let mut stream = self;
        while !bytes.is_empty() {
            match stream.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => bytes = &bytes[n..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if patient && error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// std's own stream. It reads into new memory as it is, where a `Read` of our own has to be given
    /// memory that was filled with zeros.
    fn stream(&self) -> Box<dyn Read + '_> {
        match self {
            #[cfg(unix)]
            Connection::Unix(stream) | Connection::Command(stream, _) => Box::new(stream),
            Connection::Tcp(stream) => Box::new(stream),
        }
    }

    /// In Windows, a stream on which sending has timed out is of no use, also to who would try again.
    fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            #[cfg(unix)]
            Connection::Unix(stream) => stream.set_write_timeout(Some(timeout)),
            // It has a time-out of its own.
            #[cfg(unix)]
            Connection::Command(..) => Ok(()),
            Connection::Tcp(stream) if cfg!(unix) => stream.set_write_timeout(Some(timeout)),
            Connection::Tcp(_) => Ok(()),
        }
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        match self {
            #[cfg(unix)]
            Connection::Unix(stream) | Connection::Command(stream, _) => {
                stream.set_nonblocking(nonblocking)
            }
            Connection::Tcp(stream) => stream.set_nonblocking(nonblocking),
        }
    }
}

/// Whether reading or writing has failed for the time that it took. Systems differ in the name.
pub(super) fn is_time_out(error: &io::Error) -> bool {
    let kind = error.kind();
    kind == io::ErrorKind::WouldBlock || kind == io::ErrorKind::TimedOut
}

impl Read for &Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            #[cfg(unix)]
            Connection::Unix(stream) | Connection::Command(stream, _) => (&*stream).read(buffer),
            Connection::Tcp(stream) => (&*stream).read(buffer),
        }
    }
}

impl Write for &Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            #[cfg(unix)]
            Connection::Unix(stream) => (&*stream).write(bytes),
            #[cfg(unix)]
            Connection::Command(_, command) => {
                command.forward(bytes, true)?;
                Ok(bytes.len())
            }
            Connection::Tcp(stream) => (&*stream).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A message begins with the number of the bytes that follow.
const HEADER: usize = 8;

/// From so many bytes on, the memory of a message is kept for the next one; up to so many.
const LARGE: usize = 64 << 10;
const KEPT: usize = 2 << 20;

/// Where messages are made, and what is left of the last large one: memory that is given back to the
/// system and asked for again takes longer to get than to fill.
static SPARE: process_wide::sync::Mutex<Vec<u8>> = process_wide::sync::Mutex::new(Vec::new());

/// A message with its header; or no message, for which nothing is sent.
#[derive(Default)]
pub(in super::super::super) struct Message {
    bytes: Vec<u8>,
    /// The end of it, if that were too many bytes to copy them.
    tail: Vec<u8>,
}

impl Message {
    /// A short message.
    pub(in super::super::super) fn of_bytes(content: &[u8]) -> Self {
        let mut bytes = (content.len() as u64).to_le_bytes().to_vec();
        bytes.extend(content);
        let tail = Vec::new();
        Message { bytes, tail }
    }

    /// The message that `fill` appends, and then what it returns.
    pub(in super::super::super) fn new<E>(
        fill: impl FnOnce(&mut Vec<u8>) -> Result<Vec<u8>, E>,
    ) -> Result<Self, E> {
        let mut bytes = mem::take(&mut *SPARE.lock().unwrap_or_else(PoisonError::into_inner));
        bytes.clear();
        bytes.extend([0; HEADER]);
        let tail = fill(&mut bytes);
        let length = bytes.len() - HEADER + tail.as_ref().map_or(0, Vec::len);
        bytes[..HEADER].copy_from_slice(&(length as u64).to_le_bytes());
        if bytes.len() < LARGE {
            let small = bytes.as_slice().to_vec();
            keep(mem::replace(&mut bytes, small));
        }
        tail.map(|tail| Message { bytes, tail })
    }

    pub(in super::super::super) fn len(&self) -> usize {
        self.bytes.len() + self.tail.len()
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        if self.bytes.capacity() >= LARGE {
            keep(mem::take(&mut self.bytes));
        }
    }
}

fn keep(bytes: Vec<u8>) {
    if bytes.capacity() <= KEPT {
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.capacity() < bytes.capacity() {
            *spare = bytes;
        }
    }
}

/// The receiving half of a connection. A small message takes one system call, and no memory of its own.
pub(in super::super::super) struct Receiver {
    buffer: Box<[u8]>,
    /// Where in the buffer what was received and not returned yet begins and ends.
    begin: usize,
    end: usize,
}

/// A message without its header: what has been received of it, and where the rest comes from.
pub(in super::super::super) struct Incoming<'a> {
    pub(in super::super::super) received: &'a [u8],
    pub(in super::super::super) rest: Option<BufReader<Take<Box<dyn Read + 'a>>>>,
}

impl Incoming<'_> {
    /// How many bytes of the message have not been taken off the stream.
    pub(in super::super::super) fn to_come(&self) -> u64 {
        let rest = self.rest.as_ref();
        rest.map_or(0, |rest| {
            rest.get_ref().limit() + rest.buffer().len() as u64
        })
    }

    /// Takes the message off the stream, as far as that was not done.
    ///
    /// # Errors
    ///
    /// When the stream has ended before the message.
    pub(in super::super::super) fn finish(mut self) -> io::Result<()> {
        if let Some(rest) = &mut self.rest {
            io::copy(rest, &mut io::sink())?;
            if rest.get_ref().limit() > 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }
}

impl Receiver {
    pub(in super::super::super) fn new() -> Self {
        Receiver {
            buffer: vec![0; 8192].into(),
            begin: 0,
            end: 0,
        }
    }

    /// Waits for a message.
    ///
    /// # Errors
    ///
    /// When the stream has ended.
    pub(in super::super::super) fn recv_bytes<'a>(
        &'a mut self,
        connection: &'a Connection,
    ) -> io::Result<Incoming<'a>> {
        self.fill(connection, HEADER)?;
        let mut header = [0; HEADER];
        header.copy_from_slice(&self.buffer[self.begin..self.begin + HEADER]);
        self.begin += HEADER;
        let length = u64::from_le_bytes(header);
        if length <= self.buffer.len() as u64 {
            let length = length as usize;
            self.fill(connection, length)?;
            self.begin += length;
            let received = &self.buffer[self.begin - length..self.begin];
            let rest = None;
            return Ok(Incoming { received, rest });
        }
        // A message begins with what it is, so that has to be there, too.
        self.fill(connection, 1)?;
        let received = &self.buffer[self.begin..self.end];
        let to_come = length - received.len() as u64;
        self.begin = self.end;
        // What is read in large pieces goes past the buffer.
        let rest = BufReader::with_capacity(64 * 1024, connection.stream().take(to_come));
        let rest = Some(rest);
        Ok(Incoming { received, rest })
    }

    /// Receives until at least so many bytes are in the buffer.
    fn fill(&mut self, mut connection: &Connection, length: usize) -> io::Result<()> {
        if self.begin == self.end || self.buffer.len() - self.begin < length {
            self.buffer.copy_within(self.begin..self.end, 0);
            self.end -= self.begin;
            self.begin = 0;
        }
        while self.end - self.begin < length {
            match connection.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.end += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// What a stream is for; the worker says so when it connects.
#[derive(Clone, Copy)]
pub(super) enum Role {
    Messages = 0,
    Control = 1,
}

/// Where a parent listens for one worker.
pub(super) enum Listener {
    #[cfg(unix)]
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    /// Listens in a folder, which is made for it.
    #[cfg(unix)]
    pub(super) fn in_folder(folder: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().mode(0o700).create(folder)?;
        let listener = UnixListener::bind(socket(folder))?;
        listener.set_nonblocking(true)?;
        Ok(Listener::Unix(listener))
    }

    #[cfg(not(unix))]
    pub(super) fn in_folder(_: &Path) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Listens on a loopback address, which is returned, too.
    pub(super) fn on_loopback() -> io::Result<(Self, String)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?.to_string();
        Ok((Listener::Tcp(listener), address))
    }

    /// Somebody who has connected; `None` if there is nobody now.
    pub(super) fn accept(&self) -> io::Result<Option<Guest>> {
        let accepted = match self {
            #[cfg(unix)]
            Listener::Unix(listener) => listener
                .accept()
                .map(|(stream, _)| Ok(Connection::Unix(stream))),
            Listener::Tcp(listener) => listener.accept().map(|(stream, _)| {
                // In Windows, other processes that this one starts may inherit what was accepted, and keep it
                // open when this one has ended. They do not inherit a copy.
                let stream = if cfg!(windows) {
                    stream.try_clone()?
                } else {
                    stream
                };
                stream.set_nodelay(true)?;
                Ok(Connection::Tcp(stream))
            }),
        };
        match accepted {
            // An error: it has hung up.
            Ok(connection) => Ok(connection.and_then(Guest::new).ok()),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
                // Some systems say so of one that has hung up before.
                io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset => Ok(None),
                _ => Err(error),
            },
        }
    }
}

/// Who has connected to a [`Listener`]: the worker, or, on a loopback address, perhaps a stranger, who may say
/// nothing, or now and then a byte.
pub(super) struct Guest {
    connection: Connection,
    /// What it has said so far.
    greeting: Vec<u8>,
    /// Until then it has to show the secret.
    deadline: Instant,
}

impl Guest {
    fn new(connection: Connection) -> io::Result<Self> {
        connection.set_nonblocking(true)?;
        Ok(Guest {
            connection,
            greeting: Vec::new(),
            deadline: Instant::now() + Duration::from_secs(2),
        })
    }

    /// Hears what it says, without waiting for it. Returns the stream of one that knows the secret, and what it is
    /// for, or the guest, if that is not known yet; `None` of a stranger.
    pub(super) fn hear(mut self, secret: &str) -> Option<Result<(Connection, usize), Self>> {
        let mut buffer = vec![0; secret.len() + 1 - self.greeting.len()];
        match (&self.connection).read(&mut buffer) {
            Ok(0) => return None,
            Ok(n) => self.greeting.extend(&buffer[..n]),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
                _ => return None,
            },
        }
        if self.greeting.len() <= secret.len() {
            let in_time = Instant::now() < self.deadline;
            return Some(Err(self)).filter(|_| in_time);
        }
        let role = usize::from(self.greeting.pop().unwrap_or_default());
        // Not `==`, which takes the longer the more of it is right.
        let differences = self.greeting.iter().zip(secret.bytes());
        let known = differences.fold(0, |all, (a, b)| all | (a ^ b)) == 0;
        if !known || role > Role::Control as usize {
            return None;
        }
        self.connection.set_nonblocking(false).ok()?;
        let timeout = Duration::from_secs(1);
        self.connection.set_write_timeout(timeout).ok()?;
        Some(Ok((self.connection, role)))
    }
}

/// Connects to a parent: in a folder, or at an address.
pub(super) fn connect(
    folder: &Path,
    address: Option<&str>,
    secret: &str,
    role: Role,
) -> io::Result<Connection> {
    let connection = match address {
        Some(address) => {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            Connection::Tcp(stream)
        }
        None => in_folder(folder)?,
    };
    let mut greeting = secret.as_bytes().to_owned();
    greeting.push(role as u8);
    connection.send_bytes(&greeting)?;
    Ok(connection)
}

#[cfg(unix)]
fn in_folder(folder: &Path) -> io::Result<Connection> {
    UnixStream::connect(socket(folder)).map(Connection::Unix)
}

#[cfg(not(unix))]
fn in_folder(_: &Path) -> io::Result<Connection> {
    Err(io::ErrorKind::Unsupported.into())
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("socket")
}

/// Removes the folder in which a parent listened, if it is still there.
pub(super) fn remove(folder: &Path) {
    // Errors: it was never made, or the other side was faster.
    let _ = fs::remove_file(socket(folder));
    let _ = fs::remove_dir(folder);
}
