//! A file in pieces, with a place in it for errors.

use super::{Format, HeapError};
use std::io::{self, Read};

/// Bytes that are held at once.
const PIECE: usize = 256 * 1024;

/// A reader with a buffer that may be looked into.
pub(super) struct Source<R> {
    input: R,
    buffer: Vec<u8>,
    place: usize,
    filled: usize,
    /// Where the buffer begins in the file.
    offset: u64,
    ended: bool,
}

impl<R: Read> Source<R> {
    pub(super) fn new(input: R) -> Self {
        Source { input, buffer: vec![0; PIECE], place: 0, filled: 0, offset: 0, ended: false }
    }

    /// The place in the file.
    pub(super) fn at(&self) -> u64 {
        self.offset + self.place as u64
    }

    /// What is there; empty at the end only.
    pub(super) fn piece(&mut self) -> Result<&[u8], HeapError> {
        if self.place == self.filled && !self.ended {
            self.offset += self.filled as u64;
            (self.place, self.filled) = (0, 0);
            self.more()?;
        }
        Ok(&self.buffer[self.place..self.filled])
    }

    pub(super) fn consume(&mut self, bytes: usize) {
        self.place = (self.place + bytes).min(self.filled);
    }

    /// The first bytes of the file, up to `count`, without taking them.
    pub(super) fn start(&mut self, count: usize) -> Result<&[u8], HeapError> {
        while self.filled < count && !self.ended {
            self.more()?;
        }
        Ok(&self.buffer[self.place..self.filled.min(self.place + count)])
    }

    fn more(&mut self) -> Result<(), HeapError> {
        loop {
            match self.input.read(&mut self.buffer[self.filled..]) {
                Ok(0) => self.ended = true,
                Ok(read) => self.filled += read,
                Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
                // What a decompressor calls an unexpected end is a file that was cut off.
                Err(why) if why.kind() == io::ErrorKind::UnexpectedEof => return Err(self.cut_off("in compressed data")),
                Err(why) => return Err(why.into()),
            }
            return Ok(());
        }
    }

    /// The next byte, taken; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<u8>, HeapError> {
        let byte = self.piece()?.first().copied();
        self.consume(usize::from(byte.is_some()));
        Ok(byte)
    }

    /// The next byte that is not white, not taken.
    pub(super) fn peek_text(&mut self) -> Result<Option<u8>, HeapError> {
        loop {
            let piece = self.piece()?;
            match piece.iter().position(|byte| !byte.is_ascii_whitespace()) {
                Some(place) => {
                    let byte = piece[place];
                    self.consume(place);
                    return Ok(Some(byte));
                }
                None if piece.is_empty() => return Ok(None),
                None => {
                    let white = piece.len();
                    self.consume(white);
                }
            }
        }
    }

    pub(super) fn cut_off(&self, inside: &'static str) -> HeapError {
        HeapError::Truncated { at: self.offset + self.filled as u64, inside }
    }

    pub(super) fn malformed(&self, format: Format, what: impl Into<String>) -> HeapError {
        HeapError::Malformed { format, at: self.at(), what: what.into() }
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let piece = self.piece().map_err(io::Error::other)?;
        let count = piece.len().min(into.len());
        into[..count].copy_from_slice(&piece[..count]);
        self.consume(count);
        Ok(count)
    }
}
