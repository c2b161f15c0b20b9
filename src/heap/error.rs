//! Why a heap profile cannot be used.

use super::Format;

/// Why a heap profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HeapError {
    /// It cannot be read, or not be decompressed.
    #[error("it cannot be read")]
    Io(#[from] std::io::Error),
    /// It ends too early.
    #[error("it is cut off at byte {at}, {inside}")]
    Truncated {
        /// Where it ends.
        at: u64,
        /// In the middle of what.
        inside: &'static str,
    },
    /// It is not as its format says.
    #[error("it is no {format}: byte {at}: {what}")]
    Malformed {
        /// What it seemed to be.
        format: Format,
        /// Where.
        at: u64,
        /// What is wrong.
        what: String,
    },
    /// It has more of something than is kept.
    #[error("it has more than {limit} {what}")]
    TooMuch {
        /// How many are kept.
        limit: usize,
        /// Of what.
        what: &'static str,
    },
    /// It is none that is known.
    #[error("it is none of: V8 .heapsnapshot, pprof, jemalloc heap_v2")]
    UnknownFormat,
    /// Two profiles that say different things.
    #[error("the first is a {0}, the second a {1}")]
    Different(String, String),
}
