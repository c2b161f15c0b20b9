//! What surrounds a word on the bus: its place in the log, its headers, and the way from bytes to words and back.

use crate::batch::{DecodeError, Format, Frame, Rejected, decode_events};
use crate::subject::{Root, Subject};
use crate::time::{UnixMs, rfc3339};
use crate::{Alert, Answer, Ask, Command, Event, KeyFact, Outcome};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A place in the log: the stream sequence of a message, from 1. A line number in a file.
pub type Position = u64;

/// Who made an output, and from what: the same input makes the same identity, in production, after a crash, and in a replay.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// The stream's incarnation: a stream made anew counts from 1 again.
    pub incarnation: String,
    /// The actor.
    pub actor: String,
    /// The partition of the log.
    pub partition: u16,
    /// The message it was decided on.
    pub position: Position,
    /// Which of the outputs decided on it, from 0.
    pub index: u32,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}-{}-{}", self.incarnation, self.actor, self.partition, self.position, self.index)
    }
}

/// The W3C trace context of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceContext {
    /// The `traceparent` header, if it was a valid one.
    pub traceparent: Option<String>,
    /// The `tracestate` header.
    pub tracestate: Option<String>,
}

impl TraceContext {
    /// The context of these headers; an invalid `traceparent` is as good as none.
    #[must_use]
    pub fn new(traceparent: Option<&str>, tracestate: Option<&str>) -> TraceContext {
        let traceparent = traceparent.filter(|text| valid_traceparent(text)).map(str::to_owned);
        let tracestate = traceparent.as_ref().and(tracestate).map(|text| text.chars().take(512).collect());
        TraceContext { traceparent, tracestate }
    }

    /// The trace id, 32 hex characters.
    #[must_use]
    pub fn trace_id(&self) -> Option<&str> {
        self.traceparent.as_deref().and_then(|text| text.get(3..35))
    }

    /// Does the publisher record this trace?
    #[must_use]
    pub fn sampled(&self) -> bool {
        self.traceparent.as_deref().and_then(|text| u8::from_str_radix(text.get(53..55)?, 16).ok()).is_some_and(|flags| flags & 1 == 1)
    }
}

/// `00-<32 hex>-<16 hex>-<2 hex>`, ids not all zero (W3C Trace Context, level 1).
fn valid_traceparent(text: &str) -> bool {
    let hex = |range: std::ops::Range<usize>| {
        text.get(range)
            .is_some_and(|part| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) && part.bytes().any(|b| b != b'0'))
    };
    let flags = text.get(53..55).is_some_and(|part| part.bytes().all(|b| b.is_ascii_hexdigit()));
    let dashes = [2, 35, 52].iter().all(|&at| text.as_bytes().get(at) == Some(&b'-'));
    let version = text.get(0..2).is_some_and(|v| v != "ff" && v.bytes().all(|b| b.is_ascii_hexdigit()));
    version
        && dashes
        && hex(3..35)
        && hex(36..52)
        && flags
        && (text.len() == 55 || text.as_bytes().get(55) == Some(&b'-') && !text.starts_with("00"))
}

/// What a message of the log says.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Telemetry, each event good or rejected for itself.
    Events(Vec<Result<Event, Rejected>>),
    /// A finding.
    Alert(Box<Alert>),
    /// Something to be done.
    Command(Box<Command>),
    /// What became of a command.
    Outcome(Outcome),
    /// A question to a hand.
    Ask(Ask),
    /// A hand's answer.
    Answer(Answer),
    /// The settings in force from here on: one table an actor.
    Settings(serde_json::Value),
    /// What happened to an API key, and how it stands now.
    Key(Box<KeyFact>),
    /// Time passed.
    Tick,
    /// An actor's chain head or a dead message: nothing that a mind hears.
    Housekeeping,
    /// Something that should have been one of the others.
    Broken(Rejected),
}

/// One message of the log, decoded once for everyone.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// Its place.
    pub position: Position,
    /// When the stream took it. Whoever carries a mind makes log time of it: the running maximum.
    pub at: UnixMs,
    /// Its subject as it stood on the bus.
    pub subject: String,
    /// What it says.
    pub content: Content,
    /// The publisher's trace.
    pub context: TraceContext,
}

/// Headers that matter to us, whatever the transport calls them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Headers<'a> {
    /// `content-type`
    pub content_type: Option<&'a str>,
    /// `traceparent`
    pub traceparent: Option<&'a str>,
    /// `tracestate`
    pub tracestate: Option<&'a str>,
}

impl Delivery {
    /// From bytes to words. Never fails: what is not understood is [`Content::Broken`] or a rejected event.
    #[must_use]
    pub fn decode(root: &Root, position: Position, at: UnixMs, subject: String, headers: Headers<'_>, payload: &[u8]) -> Delivery {
        let content = content(root, at, &subject, headers.content_type, payload);
        Delivery { position, at, subject, content, context: TraceContext::new(headers.traceparent, headers.tracestate) }
    }
}

fn content(root: &Root, at: UnixMs, subject: &str, content_type: Option<&str>, payload: &[u8]) -> Content {
    let broken = |reason| {
        let said = content_type.map(|said| said.chars().take(100).collect());
        Content::Broken(Rejected { index: 0, payload: payload.to_vec(), content_type: said, reason })
    };
    let subject = match root.parse(subject) {
        Ok(subject) => subject,
        Err(error) => return broken(DecodeError::Subject(error.to_string())),
    };
    let format = match Format::of(content_type) {
        // What was set aside is in whatever form it came. Were it set aside again, that would never end.
        Err(_) if matches!(subject, Subject::Chain(_) | Subject::Dead(_) | Subject::Sealed(_)) => return Content::Housekeeping,
        Ok(format) => format,
        Err(reason) => return broken(reason),
    };
    let word = match &subject {
        Subject::Event(kind, service) => {
            return Content::Events(decode_events(Frame { kind: *kind, service, format, log_ms: Some(at) }, payload));
        }
        Subject::Alert(..) => format.read(payload).map(|alert| Content::Alert(Box::new(alert))),
        Subject::Command(..) => format.read(payload).map(|command| Content::Command(Box::new(command))),
        Subject::Outcome(_, _, service) => {
            format.read(payload).map(|outcome: Outcome| Content::Outcome(Outcome { service: service.clone(), ..outcome }))
        }
        Subject::Ask(_) => format.read(payload).map(Content::Ask),
        Subject::Answer(..) => format.read(payload).map(Content::Answer),
        Subject::Settings => format.read(payload).map(Content::Settings),
        Subject::Key(id) => format.read(payload).and_then(|fact| key(id, fact)),
        Subject::Tick => Ok(Content::Tick),
        // A sealed delivery is for its owner alone.
        Subject::Chain(_) | Subject::Dead(_) | Subject::Sealed(_) => Ok(Content::Housekeeping),
    };
    word.unwrap_or_else(broken)
}

/// A fact about a key, if it is one that a mind can work with and stands where it belongs.
fn key(id: &str, fact: KeyFact) -> Result<Content, DecodeError> {
    fact.check()?;
    if fact.record.id == id {
        Ok(Content::Key(Box::new(fact)))
    } else {
        Err(DecodeError::Key { body: fact.record.id, subject: id.chars().take(100).collect() })
    }
}

/// The CloudEvents 1.0 headers (NATS binding, binary mode) of an alert, command or outcome.
///
/// `ty` is what follows `homeostat.` in the type: `alert.query.n_plus_one`.
#[must_use]
pub fn cloudevents_headers(id: &str, ty: &str, source: &str, subject: &str, at: UnixMs) -> [(&'static str, String); 7] {
    [
        ("ce-specversion", "1.0".to_owned()),
        ("ce-id", id.to_owned()),
        ("ce-source", source.to_owned()),
        ("ce-type", format!("homeostat.{ty}")),
        ("ce-time", rfc3339(at)),
        ("ce-subject", subject.to_owned()),
        ("content-type", crate::batch::JSON.to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_aside_is_not_set_aside_again_whatever_it_calls_itself() {
        for subject in ["dead.query", "dead.unknown", "chain.query", "key.sealed.shop"] {
            let headers = Headers { content_type: Some("text/plain"), ..Headers::default() };
            let delivery = Delivery::decode(&Root::default(), 1, 1, format!("homeostat.v1.{subject}"), headers, b"hello");
            assert_eq!(delivery.content, Content::Housekeeping, "{subject}");
        }
    }

    #[test]
    fn a_traceparent_is_taken_only_when_it_is_one() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = TraceContext::new(Some(good), None);
        assert_eq!(context.trace_id(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        assert!(context.sampled());
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "äöü",
        ] {
            assert_eq!(TraceContext::new(Some(bad), Some("a=b")), TraceContext::default(), "{bad}");
        }
    }

    #[test]
    fn an_identity_is_one_subject_token() {
        let identity = Identity { incarnation: "k3j9".into(), actor: "key_rotation".into(), partition: 0, position: 17, index: 2 };
        assert_eq!(identity.to_string(), "k3j9-key_rotation-0-17-2");
        assert_eq!(crate::subject::Token(&identity.to_string()).to_string(), identity.to_string());
    }
}
