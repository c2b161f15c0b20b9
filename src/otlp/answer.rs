//! What an exporter gets back: `ExportTraceServiceResponse` and `google.rpc.Status`, in the encoding it speaks.

use super::decode::Encoding;

/// The gRPC codes that an answer of the intake can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The body is no export request; sending it again will not help.
    InvalidArgument = 3,
    /// It is too large.
    ResourceExhausted = 8,
    /// It cannot be stored now; send it again.
    Unavailable = 14,
}

/// An `ExportTraceServiceResponse`; says nothing of rejections when there are none, as the specification wants.
#[must_use]
pub fn response(encoding: Encoding, rejected: u64, reason: &str) -> Vec<u8> {
    let rejected = i64::try_from(rejected).unwrap_or(i64::MAX);
    match encoding {
        Encoding::Json if rejected == 0 => b"{}".to_vec(),
        Encoding::Json => {
            // A 64-bit integer is a text in the JSON mapping of protobuf.
            serde_json::json!({ "partialSuccess": { "rejectedSpans": rejected.to_string(), "errorMessage": reason } })
                .to_string()
                .into_bytes()
        }
        Encoding::Protobuf if rejected == 0 => Vec::new(),
        Encoding::Protobuf => {
            let mut inner = Vec::new();
            number(&mut inner, 1, rejected.unsigned_abs());
            text(&mut inner, 2, reason.as_bytes());
            let mut message = Vec::new();
            text(&mut message, 1, &inner);
            message
        }
    }
}

/// A `google.rpc.Status`.
#[must_use]
pub fn status(encoding: Encoding, code: Code, message: &str) -> Vec<u8> {
    match encoding {
        Encoding::Json => serde_json::json!({ "code": code as u8, "message": message }).to_string().into_bytes(),
        Encoding::Protobuf => {
            let mut status = Vec::new();
            number(&mut status, 1, code as u64);
            text(&mut status, 2, message.as_bytes());
            status
        }
    }
}

fn number(into: &mut Vec<u8>, field: u64, value: u64) {
    varint(into, field << 3);
    varint(into, value);
}

fn text(into: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    varint(into, field << 3 | 2);
    varint(into, bytes.len() as u64);
    into.extend_from_slice(bytes);
}

fn varint(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    into.push(value.to_le_bytes()[0]);
}
