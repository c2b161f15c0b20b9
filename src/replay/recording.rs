//! The file that `record` writes: NDJSON, a head and then one message of the log a line, exact to the byte.

use homeostat_nats::Entry;
use homeostat_schemas::envelope::Headers;
use homeostat_schemas::{Delivery, Root};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of the format.
pub const FORMAT: u32 = 1;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The version of the format.
    pub homeostat_recording: u32,
    /// The stream's incarnation: identities are made of it.
    pub incarnation: String,
    /// The root of subjects.
    pub root: Root,
    /// The first sequence that was to be recorded.
    pub from: u64,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Sequence in the log.
    pub seq: u64,
    /// When the stream took it.
    pub at_ms: u64,
    /// Its subject.
    pub subject: String,
    /// Headers that matter to who reads the message, by lower-case name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The payload, when it is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The payload in hexadecimal, when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hex: Option<String>,
}

/// A line that is no message.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// Not the JSON of a message.
    #[error("not a recorded message: {0}")]
    Json(#[from] serde_json::Error),
    /// Neither text nor hexadecimal.
    #[error("a message must have `text` or `hex`, and `hex` must be hexadecimal")]
    Payload,
}

impl Line {
    /// The line of an entry.
    #[must_use]
    pub fn of(entry: &Entry) -> Line {
        let headers = entry.sorted_headers().into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        let (text, hex) = match std::str::from_utf8(&entry.payload) {
            Ok(text) => (Some(text.to_owned()), None),
            Err(_) => (None, Some(to_hex(&entry.payload))),
        };
        Line { seq: entry.seq, at_ms: entry.at_ms, subject: entry.subject.to_string(), headers, text, hex }
    }

    /// The payload.
    ///
    /// # Errors
    /// When there is none that can be read.
    pub fn payload(&self) -> Result<Vec<u8>, LineError> {
        match (&self.text, &self.hex) {
            (Some(text), None) => Ok(text.as_bytes().to_vec()),
            (None, Some(hex)) => from_hex(hex).ok_or(LineError::Payload),
            _ => Err(LineError::Payload),
        }
    }

    /// The message as the minds get it.
    ///
    /// # Errors
    /// When its payload cannot be read.
    pub fn decode(&self, root: &Root) -> Result<Delivery, LineError> {
        let header = |name: &str| self.headers.get(name).map(String::as_str);
        let headers =
            Headers { content_type: header("content-type"), traceparent: header("traceparent"), tracestate: header("tracestate") };
        Ok(Delivery::decode(root, self.seq, self.at_ms, self.subject.clone(), headers, &self.payload()?))
    }
}

fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| if let [a, b] = pair { Some(digit(*a)? << 4 | digit(*b)?) } else { None }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_payload_comes_back(payload in proptest::collection::vec(any::<u8>(), 0..64)) {
            let entry = Entry { seq: 1, at_ms: 2, subject: "a.b".into(), headers: None, payload: payload.clone().into() };
            let line: Line = serde_json::from_str(&serde_json::to_string(&Line::of(&entry)).unwrap()).unwrap();
            prop_assert_eq!(line.payload().unwrap(), payload);
        }
    }

    #[test]
    fn a_line_without_a_payload_is_an_error() {
        let line = |json: &str| serde_json::from_str::<Line>(json).unwrap().payload();
        assert!(line(r#"{"seq":1,"at_ms":1,"subject":"a"}"#).is_err());
        assert!(line(r#"{"seq":1,"at_ms":1,"subject":"a","hex":"abc"}"#).is_err());
        assert!(line(r#"{"seq":1,"at_ms":1,"subject":"a","hex":"zz"}"#).is_err());
    }
}
