//! Heap profiles: what is on a heap by type or by place of allocation, and what grew from one profile to the next.
//!
//! | format | by | file |
//! |---|---|---|
//! | V8 `.heapsnapshot` (Node.js, Chrome) | constructor or kind | `v8` |
//! | pprof (gzipped or plain protobuf) | function | `pprof` |
//! | jemalloc `heap_v2` text | call stack | `jemalloc` |
//!
//! Files are read once from front to back in pieces and never held: a snapshot of hundreds of megabytes costs what its names cost.
//! Every collection has a limit; beyond it a profile is refused or, where that is honest, its rest summed up under one name.

pub mod diff;
pub mod error;
pub mod jemalloc;
pub mod pprof;
mod source;
pub mod v8;

pub use diff::{Diff, Row, diff};
pub use error::HeapError;

use serde::Serialize;
use source::Source;
use std::collections::HashMap;
use std::fmt;
use std::io::Read;

/// How a profile is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// V8 `.heapsnapshot`.
    V8,
    /// pprof.
    Pprof,
    /// jemalloc `heap_v2`.
    Jemalloc,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::V8 => "V8 heap snapshot",
            Format::Pprof => "pprof",
            Format::Jemalloc => "jemalloc heap profile",
        })
    }
}

/// How much there is of something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// Objects.
    pub count: i64,
    /// Bytes.
    pub bytes: i64,
}

impl Amount {
    fn add(&mut self, other: Amount) {
        self.count = self.count.saturating_add(other.count);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// What stands under one name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Entry {
    /// The thing itself: self size of a type, what a function or a place allocated.
    pub own: Amount,
    /// What it and all it called allocated, where stacks are known.
    pub with_callees: Option<i64>,
}

/// A profile.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// How it was written.
    pub format: Format,
    /// What was counted, in the words of the profile (`inuse_space`), where it has words.
    pub value: Option<String>,
    /// By name.
    pub entries: HashMap<String, Entry>,
    /// All together.
    pub total: Amount,
}

/// Names that are kept; what is beyond stands under [`OTHERS`].
pub const NAMES_MAX: usize = 200_000;
/// Whatever found no name of its own.
pub const OTHERS: &str = "(others)";
/// Longest name that is kept, in characters.
pub const NAME_LENGTH_MAX: usize = 400;

/// Reads a profile, of whichever format it is.
///
/// # Errors
/// It cannot be read, is none of the formats, is cut off, or is not as its format says.
pub fn read(input: impl Read) -> Result<Profile, HeapError> {
    let mut source = Source::new(input);
    let start = source.start(16)?;
    let text = start.trim_ascii_start();
    if start.starts_with(&[0x1f, 0x8b]) {
        return read_unzipped(flate2::read::MultiGzDecoder::new(source));
    }
    if text.starts_with(b"{") {
        return v8::read(source);
    }
    if text.starts_with(b"heap") {
        return jemalloc::read(source);
    }
    // A profile begins with its sample types: field 1, length-delimited.
    if start.first() == Some(&0x0a) {
        return pprof::read(source);
    }
    Err(HeapError::UnknownFormat)
}

/// What comes out of gzip: any of the formats.
fn read_unzipped(input: impl Read) -> Result<Profile, HeapError> {
    let mut source = Source::new(input);
    let start = source.start(16)?;
    match start.trim_ascii_start().first() {
        Some(b'{') => v8::read(source),
        Some(b'h') => jemalloc::read(source),
        Some(_) => pprof::read(source),
        None => Err(HeapError::UnknownFormat),
    }
}

#[cfg(test)]
mod tests;
