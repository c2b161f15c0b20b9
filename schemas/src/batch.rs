//! One message of telemetry into events. A message is one event or an array of them; one bad event never costs its siblings.
//!
//! Everything whole is decoded in one go; only when that fails is the message walked element by element. Memory stays within a
//! small factor of the message, whatever lengths its headers claim, and nesting is limited.

use crate::event::{self, Event, EventKind, Kind};
use crate::time::{DAY, UnixMs};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use std::io::Cursor;

/// How deeply a value may nest.
const DEPTH_MAX: usize = 64;

/// How many bad events of one message are set aside one by one; what is bad behind them is set aside as one piece, so that a
/// message of half a million wrong elements does not become half a million messages.
pub const REJECTED_MAX: usize = 64;

/// The media type of MessagePack.
pub const MSGPACK: &str = "application/msgpack";
/// The media type of JSON, and what is assumed without a header.
pub const JSON: &str = "application/json";

/// One event, or one part of a message, that could not be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Which element of the message, from 0; of a message that is no array, or broken in itself, the place where it broke.
    pub index: usize,
    /// The bytes of the element as they came; those of the whole message when nothing of it can be told apart.
    pub payload: Vec<u8>,
    /// What the sender said they are, if anything.
    pub content_type: Option<String>,
    /// Why.
    pub reason: DecodeError,
}

/// Why bytes are not an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not in the format it claims to be.
    #[error("malformed {format}: {why}")]
    Malformed {
        /// `JSON` or `MessagePack`.
        format: &'static str,
        /// The parser's word.
        why: String,
    },
    /// The right format, but not the right fields.
    #[error("not an event of kind `{kind}`: {why}")]
    Fields {
        /// The kind its subject names.
        kind: &'static str,
        /// Which field, and what is wrong with it.
        why: String,
    },
    /// A value that no mind can work with.
    #[error("unfit value: {0}")]
    Unfit(#[from] event::Unfit),
    /// Another service than its subject says.
    #[error("its service is `{body}` but its subject says `{subject}`")]
    Service {
        /// What the body says.
        body: String,
        /// What the subject says.
        subject: String,
    },
    /// About another key than its subject says.
    #[error("it is about the key `{body}` but its subject says `{subject}`")]
    Key {
        /// What the body says.
        body: String,
        /// What the subject says.
        subject: String,
    },
    /// Too far ahead.
    #[error("at_ms {at_ms} is more than a day ahead of log time {log_ms}")]
    Future {
        /// What the event says.
        at_ms: UnixMs,
        /// Log time.
        log_ms: UnixMs,
    },
    /// A content type nobody knows.
    #[error("content type `{0}` is neither application/msgpack nor application/json")]
    ContentType(String),
    /// The subject is none of ours.
    #[error("{0}")]
    Subject(String),
    /// It was understood, but an actor failed on it again and again.
    #[error("{0}")]
    Poison(String),
    /// Too many bad events in one message to set each aside.
    #[error("{0} more bad events; this is the rest of the message from the first of them on")]
    Others(usize),
}

/// The format of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JSON.
    Json,
    /// MessagePack with named fields.
    MsgPack,
}

impl Format {
    /// The format a `Content-Type` names; JSON when there is none. Parameters (`; charset=utf-8`) are ignored.
    ///
    /// # Errors
    /// A type that is neither.
    pub fn of(content_type: Option<&str>) -> Result<Format, DecodeError> {
        let Some(content_type) = content_type else { return Ok(Format::Json) };
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let is = |name: &str| essence.eq_ignore_ascii_case(name);
        if is(JSON) || is("application/cloudevents+json") {
            Ok(Format::Json)
        } else if is(MSGPACK) || is("application/x-msgpack") || is("application/vnd.msgpack") {
            Ok(Format::MsgPack)
        } else {
            Err(DecodeError::ContentType(content_type.chars().take(100).collect()))
        }
    }

    /// Its media type.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Format::Json => JSON,
            Format::MsgPack => MSGPACK,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Format::Json => "JSON",
            Format::MsgPack => "MessagePack",
        }
    }

    fn read_fields<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, String> {
        self.read(bytes).map_err(|error| if let DecodeError::Malformed { why, .. } = error { why } else { error.to_string() })
    }

    fn malformed(self, why: impl ToString) -> DecodeError {
        DecodeError::Malformed { format: self.name(), why: why.to_string() }
    }

    /// One value of any type in this format.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`] with the parser's word.
    pub fn read<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, DecodeError> {
        match self {
            Format::Json => serde_json::from_slice(bytes).map_err(|e| self.malformed(e)),
            Format::MsgPack => {
                let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
                reader.set_max_depth(DEPTH_MAX);
                T::deserialize(&mut reader).map_err(|e| self.malformed(e))
            }
        }
    }
}

/// What is known of a message from outside its payload.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// The kind its subject names.
    pub kind: EventKind,
    /// The service its subject names.
    pub service: &'a str,
    /// Its format.
    pub format: Format,
    /// Log time, against which a time too far ahead is judged; `None` for a file, which has no other clock.
    pub log_ms: Option<UnixMs>,
}

/// The events of a message in order, each one good or rejected for itself.
///
/// Never empty, except for an empty array: a payload that is no event at all is one rejection.
#[must_use]
pub fn decode_events(frame: Frame<'_>, payload: &[u8]) -> Vec<Result<Event, Rejected>> {
    event::dispatch!(frame.kind, decode(frame, payload))
}

/// One event from a JSON object whose `kind` says what it is.
pub(crate) fn event_from_json(text: &[u8]) -> Result<Event, DecodeError> {
    #[derive(Deserialize)]
    struct Head {
        kind: EventKind,
    }
    let head: Head = serde_json::from_slice(text).map_err(|e| Format::Json.malformed(e))?;
    event::dispatch!(head.kind, one_json(head.kind, text))
}

fn one_json<T: Kind>(kind: EventKind, text: &[u8]) -> Result<Event, DecodeError> {
    let event: T = serde_json::from_slice(text).map_err(|e| DecodeError::Fields { kind: kind.name(), why: e.to_string() })?;
    event.check()?;
    Ok(event.into())
}

fn decode<T: Kind>(frame: Frame<'_>, payload: &[u8]) -> Vec<Result<Event, Rejected>> {
    let whole = match frame.format {
        Format::Json => whole_json::<T>(payload),
        Format::MsgPack => whole_msgpack::<T>(payload),
    };
    let good = whole.and_then(|events| events.into_iter().map(|event| judge(frame, event).map(Ok)).collect::<Result<Vec<_>, _>>().ok());
    good.unwrap_or_else(|| {
        // One of them is bad: each is looked at by itself, so that the bytes of those that are can be kept as they came.
        let mut sorted = Sorted::default();
        match frame.format {
            Format::Json => each_json::<T>(frame, payload, &mut sorted),
            Format::MsgPack => each_msgpack::<T>(frame, payload, &mut sorted),
        }
        sorted.finish()
    })
}

/// Good events, and a bounded number of bad ones.
#[derive(Default)]
struct Sorted {
    events: Vec<Result<Event, Rejected>>,
    rejected: usize,
    others: Option<(Rejected, usize)>,
}

impl Sorted {
    /// `rest` is the message from this element on.
    fn take<'a>(&mut self, event: Result<Event, Rejected>, rest: impl FnOnce() -> &'a [u8]) {
        match event {
            Ok(event) => self.events.push(Ok(event)),
            Err(rejected) if self.rejected < REJECTED_MAX => {
                self.rejected += 1;
                self.events.push(Err(rejected));
            }
            Err(rejected) => match &mut self.others {
                Some((_, count)) => *count += 1,
                None => self.others = Some((Rejected { payload: rest().to_vec(), ..rejected }, 1)),
            },
        }
    }

    fn finish(mut self) -> Vec<Result<Event, Rejected>> {
        if let Some((rejected, count)) = self.others {
            self.events.push(Err(Rejected { reason: DecodeError::Others(count), ..rejected }));
        }
        self.events
    }
}

/// Is an event one that its message may carry?
fn judge<T: Kind>(frame: Frame<'_>, event: T) -> Result<Event, DecodeError> {
    event.check()?;
    let event: Event = event.into();
    if event.service() != frame.service {
        return Err(DecodeError::Service { body: event.service().chars().take(100).collect(), subject: frame.service.to_owned() });
    }
    match frame.log_ms {
        Some(log_ms) if event.at_ms() > log_ms.saturating_add(DAY) => Err(DecodeError::Future { at_ms: event.at_ms(), log_ms }),
        _ => Ok(event),
    }
}

impl Frame<'_> {
    fn rejected(&self, index: usize, payload: &[u8], reason: DecodeError) -> Rejected {
        Rejected { index, payload: payload.to_vec(), content_type: Some(self.format.media_type().to_owned()), reason }
    }

    /// One element by itself.
    fn element<T: Kind>(&self, index: usize, bytes: &[u8]) -> Result<Event, Rejected> {
        let event = self.format.read_fields::<T>(bytes).map_err(|why| DecodeError::Fields { kind: self.kind.name(), why });
        event.and_then(|event| judge(*self, event)).map_err(|reason| self.rejected(index, bytes, reason))
    }
}

fn is_array_json(payload: &[u8]) -> bool {
    payload.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'[')
}

fn is_array_msgpack(payload: &[u8]) -> bool {
    matches!(payload.first(), Some(0x90..=0x9f | 0xdc | 0xdd))
}

fn whole_json<T: Kind>(payload: &[u8]) -> Option<Vec<T>> {
    if is_array_json(payload) {
        serde_json::from_slice(payload).ok()
    } else {
        serde_json::from_slice(payload).ok().map(|event| vec![event])
    }
}

fn whole_msgpack<T: Kind>(payload: &[u8]) -> Option<Vec<T>> {
    let mut reader = rmp_serde::Deserializer::from_read_ref(payload);
    reader.set_max_depth(DEPTH_MAX);
    let events = if is_array_msgpack(payload) { Vec::deserialize(&mut reader).ok()? } else { vec![T::deserialize(&mut reader).ok()?] };
    // Bytes after the value mean that the sender and we disagree about what it is.
    // Asked for one more marker, the reader finds none.
    let at_end = matches!(
        <()>::deserialize(&mut reader),
        Err(rmp_serde::decode::Error::InvalidMarkerRead(end)) if end.kind() == std::io::ErrorKind::UnexpectedEof
    );
    at_end.then_some(events)
}

fn each_json<T: Kind>(frame: Frame<'_>, payload: &[u8], sorted: &mut Sorted) {
    use serde_json::value::RawValue;
    let elements: Result<Vec<&RawValue>, _> =
        if is_array_json(payload) { serde_json::from_slice(payload) } else { serde_json::from_slice(payload).map(|element| vec![element]) };
    let elements = match elements {
        Ok(elements) => elements,
        Err(e) => return sorted.take(Err(frame.rejected(0, payload, frame.format.malformed(e))), || payload),
    };
    for (index, raw) in elements.into_iter().enumerate() {
        let bytes = raw.get().as_bytes();
        let event = frame.element::<T>(index, bytes);
        // The element lies within the payload: its distance from the start is where the rest begins.
        let start = (bytes.as_ptr() as usize).saturating_sub(payload.as_ptr() as usize);
        sorted.take(event, || payload.get(start..).unwrap_or(bytes));
    }
}

fn each_msgpack<T: Kind>(frame: Frame<'_>, payload: &[u8], sorted: &mut Sorted) {
    let (mut at, claimed) = match payload {
        [head @ 0x90..=0x9f, ..] => (1, usize::from(head & 0x0f)),
        [0xdc, a, b, ..] => (3, usize::from(u16::from_be_bytes([*a, *b]))),
        [0xdd, a, b, c, d, ..] => (5, u32::from_be_bytes([*a, *b, *c, *d]) as usize),
        _ => (0, 1),
    };
    for index in 0..claimed {
        let rest = payload.get(at..).unwrap_or_default();
        let mut reader = rmp_serde::Deserializer::new(Cursor::new(rest));
        reader.set_max_depth(DEPTH_MAX);
        let length = match IgnoredAny::deserialize(&mut reader) {
            Ok(_) => usize::try_from(reader.position()).unwrap_or(rest.len()).min(rest.len()),
            // Where one value is broken, nobody knows where the next begins; where it is the first, nothing can be told apart.
            Err(e) => {
                let rest = if index == 0 { payload } else { rest };
                return sorted.take(Err(frame.rejected(index, rest, frame.format.malformed(e))), || rest);
            }
        };
        let bytes = &rest[..length];
        sorted.take(frame.element::<T>(index, bytes), || rest);
        at += length;
    }
    if at < payload.len() {
        let rest = &payload[at..];
        sorted.take(Err(frame.rejected(claimed, rest, frame.format.malformed("bytes after the end"))), || rest);
    }
}

#[cfg(test)]
mod tests;
