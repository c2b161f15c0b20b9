//! Subjects: where on the bus each word lives. A name of any bytes becomes one token by a reversible escape.

use crate::event::{EventKind, SERVICE_MAX};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Write as _};

/// The default root: the word may be chosen, `v1` is the version of the schema.
pub const DEFAULT_ROOT: &str = "homeostat.v1";

/// The first tokens of every subject: `homeostat.v1`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Root(String);

impl Default for Root {
    fn default() -> Self {
        Root(DEFAULT_ROOT.to_owned())
    }
}

impl TryFrom<String> for Root {
    type Error = SubjectError;
    fn try_from(text: String) -> Result<Self, SubjectError> {
        let fine =
            text.split('.').all(|token| !token.is_empty() && token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'));
        if fine && text.len() <= 64 { Ok(Root(text)) } else { Err(SubjectError::Root(text)) }
    }
}

impl From<Root> for String {
    fn from(root: Root) -> String {
        root.0
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Root {
    /// The root as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The subject's text below this root.
    #[must_use]
    pub fn subject(&self, subject: &Subject) -> String {
        let mut text = String::with_capacity(self.0.len() + 48);
        text.push_str(&self.0);
        text.push('.');
        // Writing to a String cannot fail.
        let _ = write!(text, "{subject}");
        text
    }

    /// Where the breaker actor announces what share of calls to `peer` a service may send (core NATS, not in the log).
    #[must_use]
    pub fn admission(&self, service: &str, peer: &str) -> String {
        format!("{}.admission.{}.{}", self.0, Token(service), Token(peer))
    }

    /// Where a client on the same machine may ask which keys sign alerts and commands (core NATS request, not in the log).
    #[must_use]
    pub fn signers(&self) -> String {
        format!("{}.signers", self.0)
    }

    /// Reads a subject below this root.
    ///
    /// # Errors
    /// Says which token is not understood.
    pub fn parse(&self, text: &str) -> Result<Subject, SubjectError> {
        let rest = text.strip_prefix(self.0.as_str()).and_then(|rest| rest.strip_prefix('.'));
        rest.ok_or_else(|| SubjectError::Foreign(text.to_owned())).and_then(Subject::parse)
    }
}

/// A subject below the root, by its meaning.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// `event.<kind>.<service>`
    Event(EventKind, String),
    /// `alert.<actor>.<condition>.<service>`
    Alert(String, String, String),
    /// `command.<topic>.<verb>.<service>`
    Command(String, String, String),
    /// `outcome.<topic>.<verb>.<service>`
    Outcome(String, String, String),
    /// `ask.<hand>`
    Ask(String),
    /// `answer.<hand>.<ask id>`: one subject an ask, so that the first answer wins by compare-and-swap.
    Answer(String, String),
    /// `control.settings`
    Settings,
    /// `control.keys.<id>`: what happened to a key.
    Key(String),
    /// `key.sealed.<service>`: a new secret on its way to the owner of its key.
    Sealed(String),
    /// `chain.<actor>`
    Chain(String),
    /// `dead.<kind>`; the kind is the word as it stood in the subject, known or not.
    Dead(String),
    /// `tick`
    Tick,
}

impl Subject {
    fn parse(text: &str) -> Result<Subject, SubjectError> {
        let bad = |why| SubjectError::Form { subject: text.chars().take(200).collect(), why };
        let mut tokens = [""; 5];
        let mut count = 0;
        for token in text.split('.') {
            if count == tokens.len() {
                return Err(bad("too many tokens"));
            }
            tokens[count] = token;
            count += 1;
        }
        let name = |token: &str| unescape(token).ok_or_else(|| bad("a token is empty or not escaped as `=HH`"));
        let service = |token: &str| {
            let service = name(token)?;
            if service.len() <= SERVICE_MAX { Ok(service) } else { Err(bad("the service's name is longer than 64 bytes")) }
        };
        match &tokens[..count] {
            ["event", kind, s] => match EventKind::from_name(kind) {
                Some(kind) => Ok(Subject::Event(kind, service(s)?)),
                None => Err(bad("no such kind of event")),
            },
            ["alert", actor, condition, s] => Ok(Subject::Alert(name(actor)?, name(condition)?, service(s)?)),
            ["command", topic, verb, s] => Ok(Subject::Command(name(topic)?, name(verb)?, service(s)?)),
            ["outcome", topic, verb, s] => Ok(Subject::Outcome(name(topic)?, name(verb)?, service(s)?)),
            ["ask", hand] => Ok(Subject::Ask(name(hand)?)),
            ["answer", hand, ask] => Ok(Subject::Answer(name(hand)?, name(ask)?)),
            ["control", "settings"] => Ok(Subject::Settings),
            ["control", "keys", id] => Ok(Subject::Key(name(id)?)),
            ["key", "sealed", s] => Ok(Subject::Sealed(service(s)?)),
            ["chain", actor] => Ok(Subject::Chain(name(actor)?)),
            ["dead", kind] => Ok(Subject::Dead(name(kind)?)),
            ["tick"] => Ok(Subject::Tick),
            _ => Err(bad("no such subject")),
        }
    }

    /// The subject without the service or other open-ended name: the low-cardinality name of a destination, for spans and metrics.
    #[must_use]
    pub fn template(&self) -> &'static str {
        match self {
            Subject::Event(EventKind::Query, _) => "event.query",
            Subject::Event(EventKind::Request, _) => "event.request",
            Subject::Event(EventKind::Call, _) => "event.call",
            Subject::Event(EventKind::Calls, _) => "event.calls",
            Subject::Event(EventKind::Breaker, _) => "event.breaker",
            Subject::Event(EventKind::Span, _) => "event.span",
            Subject::Event(EventKind::Heartbeat, _) => "event.heartbeat",
            Subject::Event(EventKind::Resource, _) => "event.resource",
            Subject::Event(EventKind::Pool, _) => "event.pool",
            Subject::Event(EventKind::Cache, _) => "event.cache",
            Subject::Event(EventKind::Sample, _) => "event.sample",
            Subject::Event(EventKind::Metric, _) => "event.metric",
            Subject::Event(EventKind::Order, _) => "event.order",
            Subject::Alert(..) => "alert",
            Subject::Command(..) => "command",
            Subject::Outcome(..) => "outcome",
            Subject::Ask(_) => "ask",
            Subject::Answer(..) => "answer",
            Subject::Settings => "control.settings",
            Subject::Key(_) => "control.keys",
            Subject::Sealed(_) => "key.sealed",
            Subject::Chain(_) => "chain",
            Subject::Dead(_) => "dead",
            Subject::Tick => "tick",
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Event(kind, service) => write!(f, "event.{kind}.{}", Token(service)),
            Subject::Alert(a, c, service) => write!(f, "alert.{}.{}.{}", Token(a), Token(c), Token(service)),
            Subject::Command(t, v, service) => write!(f, "command.{}.{}.{}", Token(t), Token(v), Token(service)),
            Subject::Outcome(t, v, service) => write!(f, "outcome.{}.{}.{}", Token(t), Token(v), Token(service)),
            Subject::Ask(hand) => write!(f, "ask.{}", Token(hand)),
            Subject::Answer(hand, ask) => write!(f, "answer.{}.{}", Token(hand), Token(ask)),
            Subject::Settings => f.write_str("control.settings"),
            Subject::Key(id) => write!(f, "control.keys.{}", Token(id)),
            Subject::Sealed(service) => write!(f, "key.sealed.{}", Token(service)),
            Subject::Chain(actor) => write!(f, "chain.{}", Token(actor)),
            Subject::Dead(kind) => write!(f, "dead.{}", Token(kind)),
            Subject::Tick => f.write_str("tick"),
        }
    }
}

/// A name as one token: `[A-Za-z0-9_-]` stand for themselves, every other byte is `=HH` in upper-case hex.
/// The empty name, which no token can be, is a lone `=`.
pub struct Token<'a>(pub &'a str);

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_char('=');
        }
        for byte in self.0.bytes() {
            if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' {
                f.write_char(char::from(byte))?;
            } else {
                write!(f, "={byte:02X}")?;
            }
        }
        Ok(())
    }
}

/// The name a token stands for, or nothing when it is no token that [`Token`] writes.
#[must_use]
pub fn unescape(token: &str) -> Option<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if !token.is_empty() && token.bytes().all(plain) {
        return Some(token.to_owned());
    }
    let mut name = Vec::with_capacity(token.len());
    let mut bytes = token.bytes();
    while let Some(byte) = bytes.next() {
        if plain(byte) {
            name.push(byte);
            continue;
        }
        let hex = |b: u8| match b {
            b'0'..=b'9' => Some(b - b'0'),
            b'A'..=b'F' => Some(b - b'A' + 10),
            _ => None,
        };
        if byte != b'=' {
            return None;
        }
        let decoded = hex(bytes.next()?)? << 4 | hex(bytes.next()?)?;
        // One name has one token: what needs no escape must not be escaped.
        if plain(decoded) {
            return None;
        }
        name.push(decoded);
    }
    if name.is_empty() { None } else { String::from_utf8(name).ok() }
}

/// A text that is no subject of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// Not below the root.
    #[error("`{0}` does not begin with the root")]
    Foreign(String),
    /// Below the root, but of no known form.
    #[error("`{subject}`: {why}")]
    Form {
        /// The subject below the root.
        subject: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A root that cannot be one.
    #[error("`{0}` cannot be the root of subjects: use words of letters, digits, `_` and `-`, joined by dots, 64 bytes at most")]
    Root(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_the_documentation() {
        let subject = Subject::Event(EventKind::Query, "unknown_service:node".to_owned());
        let text = Root::default().subject(&subject);
        assert_eq!(text, "homeostat.v1.event.query.unknown_service=3Anode");
        assert_eq!(Root::default().parse(&text), Ok(subject));
    }

    #[test]
    fn strange_subjects_are_errors() {
        let root = Root::default();
        for text in [
            "",
            "homeostat.v1",
            "homeostat.v1.",
            "homeostat.v1.event.query",
            "homeostat.v1.event.query.",
            "homeostat.v1.event.nothing.shop",
            "homeostat.v1.event.query.a.b",
            "homeostat.v1.event.query.*",
            "homeostat.v1.event.query.a=3",
            "homeostat.v1.event.query.a=41",
            "homeostat.v1.event.query.a=3a",
            "homeostat.v1.event.query.=FF",
            "other.event.query.shop",
            "homeostat.v10.tick",
        ] {
            assert!(root.parse(text).is_err(), "{text}");
        }
        assert!(root.parse(&format!("homeostat.v1.event.query.{}", "a".repeat(65))).is_err());
    }

    proptest! {
        #[test]
        fn every_name_comes_back(name in "\\PC{1,16}") {
            prop_assume!(!name.is_empty());
            let token = Token(&name).to_string();
            prop_assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-=".contains(&b)));
            prop_assert_eq!(unescape(&token), Some(name));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,60}") {
            let _ = Root::default().parse(&format!("homeostat.v1.{text}"));
        }
    }
}
