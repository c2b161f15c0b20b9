//! From a body to a [`Batch`]: which encoding it is in, and what can be wrong with it.

use super::model::Batch;
use super::{json, protobuf};

/// The two encodings of OTLP/HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `application/x-protobuf`
    Protobuf,
    /// `application/json`
    Json,
}

impl Encoding {
    /// The encoding that a `Content-Type` names; parameters are ignored. `None` for any other, and when there is none.
    #[must_use]
    pub fn of(content_type: &str) -> Option<Encoding> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("application/x-protobuf") {
            Some(Encoding::Protobuf)
        } else if essence.eq_ignore_ascii_case("application/json") {
            Some(Encoding::Json)
        } else {
            None
        }
    }

    /// The content type, as it stands in an answer.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Encoding::Protobuf => "application/x-protobuf",
            Encoding::Json => "application/json",
        }
    }
}

/// Why a body is no export request. Says where, never what stood there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not the protobuf wire format, or a field of another type than the schema says.
    #[error("malformed protobuf at byte {at}: {why}")]
    Protobuf {
        /// Offset in the body after decompression.
        at: usize,
        /// What is wrong there.
        why: &'static str,
    },
    /// Not JSON, too deeply nested, or a field of another type than the schema says.
    #[error("malformed JSON at line {line} column {column}: {why}")]
    Json {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong there.
        why: &'static str,
    },
}

/// Reads an `ExportTraceServiceRequest`. The batch borrows the body.
///
/// # Errors
/// [`DecodeError`] when the body is not one; nothing of it may be used then.
pub fn decode(encoding: Encoding, body: &[u8]) -> Result<Batch<'_>, DecodeError> {
    match encoding {
        Encoding::Protobuf => protobuf::decode(body),
        Encoding::Json => json::decode(body),
    }
}
