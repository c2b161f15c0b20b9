//! From what a mind decides to what stands on the bus.

use crate::signing::Signing;
use homeostat_actors::core::{Announcement, Effect, Output};
use homeostat_nats::Message;
use homeostat_schemas::batch::DecodeError;
use homeostat_schemas::envelope::cloudevents_headers;
use homeostat_schemas::{Rejected, Root, Subject};
use serde::Serialize;

/// `ce-source` of everything that the minds say.
fn source(actor: &str) -> String {
    format!("/homeostat/actors/{actor}")
}

/// Where an effect goes and its body: what stands on the bus, and what a replay prints.
#[derive(Debug, Clone, PartialEq)]
pub struct Wire {
    /// The subject, by its meaning.
    pub subject: Subject,
    /// The JSON body.
    pub body: Vec<u8>,
}

/// The subject and body of an effect; nothing for an announcement, which is not in the log.
#[must_use]
pub fn wire(effect: &Effect) -> Option<Wire> {
    let (subject, body) = match effect {
        Effect::Alert(alert) => {
            let (actor, condition) = alert.actor_and_condition();
            (Subject::Alert(actor.to_owned(), condition.to_owned(), alert.service.clone()), json(alert))
        }
        Effect::Command(command) => {
            let (topic, verb) = command.topic_and_verb();
            (Subject::Command(topic.to_owned(), verb.to_owned(), command.service.clone()), json(command))
        }
        Effect::Ask(ask) => (Subject::Ask(ask.hand.clone()), json(ask)),
        Effect::Announce(_) => return None,
    };
    Some(Wire { subject, body })
}

/// Words hold nothing that JSON cannot: string keys only, and numbers that are not finite become `null`.
fn json(word: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(word).unwrap_or_default()
}

/// The message of an output. `trace` is the context that its reader continues. Alerts and commands are signed.
#[must_use]
pub fn message(root: &Root, output: &Output, trace: Option<&str>, signing: &Signing) -> Option<Message> {
    let wire = wire(&output.effect)?;
    let identity = output.identity.as_ref()?;
    let mut message = Message::new(root.subject(&wire.subject), wire.body);
    let ty = match &output.effect {
        Effect::Alert(alert) => Some((format!("alert.{}", alert.rule), &alert.service, alert.at_ms)),
        Effect::Command(command) => Some((format!("command.{}", command.action), &command.service, command.issued_ms)),
        Effect::Ask(_) | Effect::Announce(_) => None,
    };
    let signed = ty.is_some();
    match ty {
        Some((ty, service, at)) => {
            for (name, value) in cloudevents_headers(&identity.to_string(), &ty, &source(&identity.actor), &header_safe(service), at) {
                message = message.with(name, value);
            }
        }
        None => message = message.with("content-type", homeostat_schemas::batch::JSON),
    }
    let message = match trace {
        Some(trace) => message.with("traceparent", trace),
        None => message,
    };
    Some(if signed { signing.sign(message) } else { message })
}

/// The message of an announcement (core NATS, not in the log).
#[must_use]
pub fn announcement(root: &Root, announcement: &Announcement) -> Message {
    Message::new(root.admission(&announcement.service, &announcement.peer), json(&announcement.body))
        .with("content-type", homeostat_schemas::batch::JSON)
}

/// How long a dead message is kept.
const DEAD_TTL: &str = "24h";

/// What the headers of a dead message may need beside its payload, in bytes.
const DEAD_HEADERS: usize = 8 * 1024;

/// The message that keeps aside what could not be processed: the original bytes, and in the headers where and why.
///
/// `limit` is the largest message the server takes: the bytes are cut where the headers would not fit beside them. What a mind
/// failed on is kept as long as the log, so that a replay knows what was passed over; the rest goes after a day.
#[must_use]
pub fn dead(root: &Root, subject: &str, position: u64, rejected: &Rejected, by: &str, limit: usize) -> Message {
    let kind = subject.strip_prefix(root.as_str()).map_or("unknown", |rest| {
        let mut tokens = rest.trim_start_matches('.').split('.');
        match tokens.next() {
            Some("event") => tokens.next().unwrap_or("unknown"),
            Some(word) if !word.is_empty() => word,
            _ => "unknown",
        }
    });
    let kept = rejected.payload.len().min(limit.saturating_sub(DEAD_HEADERS));
    let payload = rejected.payload.get(..kept).unwrap_or_default().to_vec();
    let message = Message::new(root.subject(&Subject::Dead(kind.chars().take(64).collect())), payload)
        .with("homeostat-position", position.to_string())
        .with("homeostat-index", rejected.index.to_string())
        .with("homeostat-subject", header_safe(subject))
        .with("homeostat-reason", header_safe(&rejected.reason.to_string()))
        .with("homeostat-by", by);
    let message = match &rejected.content_type {
        Some(said) => message.with("homeostat-content-type", header_safe(said)),
        None => message,
    };
    let message =
        if kept < rejected.payload.len() { message.with("homeostat-cut-from", rejected.payload.len().to_string()) } else { message };
    match rejected.reason {
        DecodeError::Poison(_) => message,
        _ => message.with("Nats-TTL", DEAD_TTL),
    }
}

/// A text that fits into a header: no control characters, 512 characters at most.
fn header_safe(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(512).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::SigningConfig;
    use homeostat_schemas::signature::{Signed, Signers};
    use homeostat_schemas::{Alert, Identity};

    #[test]
    fn an_alert_is_a_cloudevent_with_a_deterministic_id() {
        let alert = Alert { id: "k-query-0-7-0".into(), rule: "query.slow".into(), service: "web\r\nshop".into(), ..Alert::default() };
        let identity = Identity { incarnation: "k".into(), actor: "query".into(), partition: 0, position: 7, index: 0 };
        let output = Output { identity: Some(identity), effect: Effect::Alert(Box::new(alert)), traceparent: None };
        let dir = tempfile::tempdir().unwrap();
        let signing = Signing::open(&SigningConfig::default(), dir.path()).unwrap();
        let message =
            message(&Root::default(), &output, Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), &signing).unwrap();
        let headers = message.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let trusted = Signers::new([signing.public()]).unwrap();
        assert!(trusted.verify(&Signed::of(&message.subject, headers, &message.payload)).is_good());
        assert_eq!(message.subject, "homeostat.v1.alert.query.slow.web=0D=0Ashop");
        let header = |name: &str| message.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        assert_eq!(header("ce-id"), Some("k-query-0-7-0"));
        assert_eq!(header("ce-type"), Some("homeostat.alert.query.slow"));
        assert_eq!(header("ce-subject"), Some("web  shop"));
        assert_eq!(header("Nats-Msg-Id"), None, "a predictable id could be poisoned, and would hide a missing fence");
    }

    #[test]
    fn a_dead_message_fits_whatever_came() {
        let rejected = Rejected {
            index: 0,
            payload: vec![b'x'; 1_048_576],
            content_type: None,
            reason: DecodeError::ContentType("text/plain".into()),
        };
        let message = dead(&Root::default(), "homeostat.v1.event.query.shop", 9, &rejected, "reader", 1_048_576);
        assert!(message.size() <= 1_048_576);
        assert!(message.headers.iter().any(|(name, value)| name == "homeostat-cut-from" && value == "1048576"));
    }

    #[test]
    fn a_dead_message_says_where_and_why() {
        let rejected = Rejected {
            index: 3,
            payload: b"x".to_vec(),
            content_type: Some("text/plain\nx".into()),
            reason: DecodeError::ContentType("text/plain\nx".into()),
        };
        for (subject, kind) in [
            ("homeostat.v1.event.query.shop", "query"),
            ("homeostat.v1.event.we*ird.shop", "we=2Aird"),
            ("homeostat.v1.alert.x", "alert"),
            ("elsewhere", "unknown"),
        ] {
            let message = dead(&Root::default(), subject, 9, &rejected, "reader", 1_048_576);
            assert_eq!(message.subject, format!("homeostat.v1.dead.{kind}"));
            assert!(message.headers.iter().all(|(_, value)| !value.contains(['\r', '\n'])));
        }
    }
}
