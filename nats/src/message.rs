//! What goes onto the log ([`Message`]) and what comes off it ([`Entry`]).
//!
//! Promises: whatever an application put into a header, reading it never panics; what NATS cannot
//! carry (line breaks in a header, blanks in a subject) is refused here, before it is sent.

use std::str::FromStr;

use async_nats::header::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;

use crate::error::BusError;

/// The most a subject may be long, in bytes. NATS itself only bounds the protocol line (4 KiB).
pub const SUBJECT_BYTES_MAX: usize = 1024;

/// A message to be appended to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it goes. No wildcard, no blank, no empty token.
    pub subject: String,
    /// Header names and values, in order. `Nats-*` names need exactly the server's spelling.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub payload: Bytes,
}

impl Message {
    /// A message without headers.
    #[must_use]
    pub fn new(subject: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self { subject: subject.into(), headers: Vec::new(), payload: payload.into() }
    }

    /// The same message with one more header.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Its size as the server counts it, near enough for limits: subject, headers and payload.
    #[must_use]
    pub fn size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(n, v)| n.len() + v.len() + 4).sum();
        self.subject.len() + headers + self.payload.len()
    }

    /// Checks subject and headers and returns the headers as the client library wants them.
    pub(crate) fn header_map(&self) -> Result<HeaderMap, BusError> {
        check_subject(&self.subject)?;
        let mut map = HeaderMap::new();
        for (name, value) in &self.headers {
            let name = HeaderName::from_str(name)
                .map_err(|_| BusError::Invalid { what: shorten(name), reason: "a header name is visible ASCII without a colon" })?;
            let value = HeaderValue::from_str(value)
                .map_err(|_| BusError::Invalid { what: shorten(value), reason: "a header value has no line break" })?;
            map.append(name, value);
        }
        Ok(map)
    }
}

/// A message of the log.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its place in the total order, from 1, growing; gaps are messages that have expired.
    pub seq: u64,
    /// When the stream stored it, in Unix milliseconds. Not monotonic: the server's clock may
    /// step. Log time is the running maximum.
    pub at_ms: u64,
    /// Where it was published.
    pub subject: async_nats::Subject,
    /// Its headers, if it has any.
    pub headers: Option<HeaderMap>,
    /// Its body.
    pub payload: Bytes,
}

impl Entry {
    /// The first value of a header, its name in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        header(self.headers.as_ref()?, name)
    }

    /// The first value of each of these headers, their names in any case. One walk over the headers, whatever their number.
    #[must_use]
    pub fn some_headers<const N: usize>(&self, names: [&str; N]) -> [Option<&str>; N] {
        let mut found: [Option<(&str, &str)>; N] = [None; N];
        for (key, values) in self.headers.iter().flat_map(HeaderMap::iter) {
            let key: &str = key.as_ref();
            for (found, name) in found.iter_mut().zip(names) {
                // An exact spelling wins; of two others the same one is chosen every time.
                let better = found.is_none_or(|(old, _)| old != name && (key == name || key < old));
                if key.eq_ignore_ascii_case(name)
                    && better
                    && let Some(value) = values.first()
                {
                    *found = Some((key, value.as_str()));
                }
            }
        }
        found.map(|found| found.map(|(_, value)| value))
    }

    /// All headers, sorted by name, so that the same message gives the same order everywhere.
    #[must_use]
    pub fn sorted_headers(&self) -> Vec<(&str, &str)> {
        let mut all: Vec<(&str, &str)> = self
            .headers
            .iter()
            .flat_map(HeaderMap::iter)
            .flat_map(|(name, values)| values.iter().map(|v| (AsRef::<str>::as_ref(name), v.as_str())))
            .collect();
        all.sort_by(|a, b| a.0.cmp(b.0));
        all
    }
}

/// The first value of a header, its name in any case. An exact spelling wins.
#[must_use]
pub fn header<'a>(map: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let exact = HeaderName::from_str(name).ok().and_then(|name| map.get(name));
    exact
        .or_else(|| {
            map.iter()
                .filter(|(key, _)| AsRef::<str>::as_ref(*key).eq_ignore_ascii_case(name))
                // Two spellings of one name: the same one is chosen every time.
                .min_by(|a, b| AsRef::<str>::as_ref(a.0).cmp(b.0.as_ref()))
                .and_then(|(_, values)| values.first())
        })
        .map(HeaderValue::as_str)
}

/// Refuses a subject that cannot be published to.
pub(crate) fn check_subject(subject: &str) -> Result<(), BusError> {
    let reason = if subject.is_empty() || subject.split('.').any(str::is_empty) {
        "a subject has no empty token"
    } else if subject.len() > SUBJECT_BYTES_MAX {
        "a subject is at most 1024 bytes long"
    } else if subject.bytes().any(|b| b <= b' ' || b == 0x7f) {
        "a subject has no blank or control character"
    } else if subject.split('.').any(|token| token == "*" || token == ">") {
        "one cannot publish to a wildcard"
    } else {
        return Ok(());
    };
    Err(BusError::Invalid { what: shorten(subject), reason })
}

/// Refuses what is not one plain subject token: `[A-Za-z0-9_-]{1,64}`.
pub(crate) fn check_token(token: &str) -> Result<(), BusError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if (1..=64).contains(&token.len()) && token.bytes().all(plain) {
        return Ok(());
    }
    Err(BusError::Invalid { what: shorten(token), reason: "a name here is 1 to 64 of A-Z a-z 0-9 _ -" })
}

/// At most 64 characters of foreign text, made safe for a log line.
fn shorten(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn entry(headers: &[(&str, &str)]) -> Entry {
        let message = headers.iter().fold(Message::new("a.b", "x"), |m, (n, v)| m.with(*n, *v));
        Entry { seq: 1, at_ms: 1, subject: "a.b".into(), headers: Some(message.header_map().unwrap()), payload: Bytes::new() }
    }

    #[test]
    fn headers_are_found_in_any_spelling_and_the_exact_one_wins() {
        let e = entry(&[("Content-Type", "a"), ("X", "upper"), ("x", "lower")]);
        assert_eq!(e.header("content-type"), Some("a"));
        assert_eq!(e.header("CONTENT-TYPE"), Some("a"));
        assert_eq!(e.header("x"), Some("lower"));
        assert_eq!(e.header("X"), Some("upper"));
        assert_eq!(e.header("missing"), None);
        assert_eq!(e.header("not a name:"), None);
        for name in ["content-type", "CONTENT-TYPE", "x", "X", "missing"] {
            assert_eq!(e.some_headers([name, "x"]), [e.header(name), Some("lower")], "{name}");
        }
        assert_eq!(e.sorted_headers(), [("Content-Type", "a"), ("X", "upper"), ("x", "lower")]);
        let e = entry(&[("Xy", "b"), ("XY", "a"), ("xY", "c")]);
        assert_eq!((e.some_headers(["xy"]), e.header("xy")), ([Some("a")], Some("a")));
    }

    #[test]
    fn what_nats_cannot_carry_is_refused_before_it_is_sent() {
        for subject in ["", ".", "a..b", "a b", "a.*", "a.>", "a\r\nPUB x", "a\0"] {
            assert!(Message::new(subject, "").header_map().is_err(), "{subject:?}");
        }
        assert!(Message::new("a".repeat(2000), "").header_map().is_err());
        for (name, value) in [("a:b", "x"), ("a\n", "x"), ("a", "x\r\ny"), ("é", "x")] {
            let message = Message::new("a", "").with(name, value);
            assert!(message.header_map().is_err(), "{name:?} {value:?}");
        }
        assert!(Message::new("a.b*c", "").with("a", "ü").header_map().is_ok());
    }

    #[test]
    fn tokens_are_plain() {
        for good in ["query", "key_rotation", "A-1"] {
            assert!(check_token(good).is_ok());
        }
        for bad in ["", "a.b", "*", ">", "a b", &"a".repeat(65)] {
            assert!(check_token(bad).is_err(), "{bad}");
        }
    }
}
