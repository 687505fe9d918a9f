// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The concurrent-futures developers

//! What travels between a parent and a bridge, over the standard streams of the command between them.

use std::io::{self, BufRead, BufReader, Read};

/// The version of what follows. Both sides are built from the same source.
pub(super) const VERSION: &[u8] = b"1";

/// How every frame begins. Its first byte is in no text, so what somebody prints into the stream, between
/// frames, can be told from them.
const MARK: [u8; 3] = [0xff, b'c', b'f'];

/// The mark, the kind, and how many bytes follow.
pub(super) const HEADER: usize = 8;

/// How many bytes may follow.
pub(super) const LARGEST: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Both ways: a piece of the stream between the pool and the worker.
    Data,
    /// Both ways: nothing, so that the other side hears something.
    Alive,
    /// To the bridge: after how many milliseconds of silence the other side is gone; zero for never.
    Begin,
    /// To the bridge: the end of what the worker is sent.
    Close,
    /// To the bridge: the worker is asked to end.
    Terminate,
    /// From the bridge, first of all: the version.
    Hello,
    /// From the bridge: the worker has connected.
    Ready,
    /// From the bridge: what was printed to standard output.
    Output,
    /// From the bridge, last of all: the status of the worker.
    Ended,
    /// From the bridge, last of all: why there is no worker.
    Failed,
}

const KINDS: [Kind; 10] = [
    Kind::Data,
    Kind::Alive,
    Kind::Begin,
    Kind::Close,
    Kind::Terminate,
    Kind::Hello,
    Kind::Ready,
    Kind::Output,
    Kind::Ended,
    Kind::Failed,
];

/// Does not compile unless each is where its number says.
const NUMBERED: () = {
    let mut n = 0;
    while n < KINDS.len() {
        assert!(KINDS[n] as usize == n);
        n += 1;
    }
};

pub(super) fn header(kind: Kind, length: usize) -> [u8; HEADER] {
    let () = NUMBERED;
    let mut header = [0; HEADER];
    header[..3].copy_from_slice(&MARK);
    header[3] = kind as u8;
    header[4..].copy_from_slice(&(length as u32).to_le_bytes());
    header
}

/// A whole frame. The payload is at most [`LARGEST`].
pub(super) fn frame(kind: Kind, payload: &[u8]) -> Vec<u8> {
    [&header(kind, payload.len()), payload].concat()
}

/// Reads what there is of a stream, behind room for a header, and makes a frame of it. Nothing at its end.
pub(super) fn frame_from(
    kind: Kind,
    mut stream: impl Read,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<&[u8]>> {
    buffer.resize(HEADER + LARGEST, 0);
    let length = loop {
        match stream.read(&mut buffer[HEADER..]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read?,
        }
    };
    buffer[..HEADER].copy_from_slice(&header(kind, length));
    Ok(Some(&buffer[..HEADER + length]).filter(|_| length > 0))
}

/// The receiving side.
pub(super) struct Frames<R> {
    stream: BufReader<R>,
    payload: Vec<u8>,
}

impl<R: Read> Frames<R> {
    pub(super) fn new(stream: R) -> Self {
        Frames {
            stream: BufReader::with_capacity(HEADER + LARGEST, stream),
            payload: Vec::new(),
        }
    }

    /// Waits for a frame. What stands before it is no frame, and goes to `text`, which may refuse it.
    ///
    /// # Errors
    ///
    /// When the stream ends, or nothing came within its time-out, or something that is no frame.
    pub(super) fn next(
        &mut self,
        mut text: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<(Kind, &[u8])> {
        loop {
            let buffer = match self.stream.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                filled => filled?,
            };
            if buffer.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mark = buffer.iter().position(|&byte| byte == MARK[0]);
            let before = mark.unwrap_or(buffer.len());
            if before == 0 {
                break;
            }
            text(&buffer[..before])?;
            self.stream.consume(before);
        }
        let mut header = [0; HEADER];
        self.stream.read_exact(&mut header)?;
        let mut length = [0; 4];
        length.copy_from_slice(&header[4..]);
        let length = u32::from_le_bytes(length) as usize;
        let kind = KINDS.get(usize::from(header[3])).copied();
        let kind = kind.filter(|_| header[..3] == MARK && length <= LARGEST);
        let kind = kind.ok_or(io::ErrorKind::InvalidData)?;
        self.payload.resize(length, 0);
        self.stream.read_exact(&mut self.payload)?;
        Ok((kind, &self.payload))
    }
}
