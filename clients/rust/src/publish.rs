//! One message and one try to publish it.

use crate::link::LinkState;
use crate::pack::Packed;
use async_nats::{Client, HeaderMap, Request, RequestErrorKind};
use serde::Deserialize;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

/// A message that waits or is under way.
pub(crate) struct Message {
    /// Its place in the order in which messages were made.
    pub(crate) number: u64,
    /// Its `Nats-Msg-Id`, the same at every try.
    pub(crate) id: String,
    pub(crate) packed: Packed,
    /// Since when it may be stored without our knowing.
    pub(crate) first_tried: Option<Instant>,
    /// Who waits for it.
    pub(crate) answer: Option<oneshot::Sender<Result<(), String>>>,
}

impl Message {
    /// What it takes in memory, near enough.
    pub(crate) fn size(&self) -> usize {
        self.packed.payload.len() + self.packed.subject.len() + 256
    }

    /// Tells whoever waits for it.
    pub(crate) fn answer(&mut self, what: Result<(), String>) {
        if let Some(answer) = self.answer.take() {
            let _ = answer.send(what);
        }
    }
}

/// What became of a try.
pub(crate) enum Sent {
    /// It is in the log, perhaps since an earlier try.
    Stored { duplicate: bool },
    /// The server does not let this user publish there.
    Forbidden(String),
    /// It will never be stored.
    Rejected(String),
    /// It is not in the log; another try may succeed.
    NotStored(String),
    /// Nobody knows; without a word the connection was lost.
    Unknown(Option<String>),
}

/// The stream's answer to a publish (JetStream `PubAck`).
#[derive(Deserialize)]
struct Ack {
    #[serde(default)]
    duplicate: bool,
    error: Option<AckError>,
}

#[derive(Deserialize)]
struct AckError {
    code: u16,
    #[serde(default)]
    description: String,
}

/// Publishes through JetStream and waits for the acknowledgement, for a refusal or for the end of the connection.
///
/// `connections` and `refusals` are what was known when it was decided to send: anything newer concerns this try.
pub(crate) async fn send(
    client: Client,
    message: Message,
    mut link: watch::Receiver<LinkState>,
    connections: u64,
    refusals: u64,
    ack_timeout: Duration,
) -> (Message, Sent) {
    let request = Request::new().headers(headers(&message)).payload(message.packed.payload.clone()).timeout(Some(ack_timeout));
    let subject = message.packed.subject.clone();
    let known = link.clone();
    let sent = tokio::select! {
        answer = client.send_request(subject.clone(), request) => match answer {
            Ok(answer) => judge(&answer.payload),
            Err(error) => match error.kind() {
                RequestErrorKind::NoResponders => {
                    Sent::NotStored(format!("no stream takes `{subject}`: is Homeostat running on this bus?"))
                }
                RequestErrorKind::MaxPayloadExceeded | RequestErrorKind::InvalidSubject => Sent::Rejected(error.to_string()),
                RequestErrorKind::TimedOut if known.borrow().refuses("_INBOX") => {
                    Sent::Unknown(Some("this user may not hear answers: see HOMEOSTAT_NATS__INBOX_PREFIX".to_owned()))
                }
                RequestErrorKind::TimedOut => {
                    Sent::Unknown(Some(format!("no acknowledgement within {} ms", ack_timeout.as_millis())))
                }
                RequestErrorKind::Other => Sent::Unknown(Some(error.to_string())),
            },
        },
        state = link.wait_for(|s| !s.connected || s.connections != connections || s.refusals(&subject) > refusals) => match state {
            Ok(state) if state.connected && state.connections == connections => {
                Sent::Forbidden(state.refused.get(&subject).map(|(_, detail)| detail.clone()).unwrap_or_default())
            }
            _ => Sent::Unknown(None),
        },
    };
    (message, sent)
}

fn headers(message: &Message) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", message.id.as_str());
    headers.insert("content-type", message.packed.content_type);
    headers.insert("traceparent", message.packed.traceparent.as_str());
    for (name, value) in &message.packed.headers {
        headers.insert(*name, value.as_str());
    }
    headers
}

fn judge(payload: &[u8]) -> Sent {
    match serde_json::from_slice::<Ack>(payload) {
        Ok(Ack { error: None, duplicate }) => Sent::Stored { duplicate },
        Ok(Ack { error: Some(error), .. }) => {
            let text = format!("the log does not take it: {}", error.description);
            // 4xx is about the message, 5xx about the state of the stream.
            if (400..500).contains(&error.code) { Sent::Rejected(text) } else { Sent::NotStored(text) }
        }
        Err(error) => Sent::Unknown(Some(format!("an answer that is no acknowledgement: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_streams_answer_is_understood() {
        assert!(matches!(judge(br#"{"stream":"homeostat","seq":7}"#), Sent::Stored { duplicate: false }));
        assert!(matches!(judge(br#"{"stream":"homeostat","seq":7,"duplicate":true}"#), Sent::Stored { duplicate: true }));
        let full = br#"{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"},"stream":"homeostat","seq":0}"#;
        assert!(matches!(judge(full), Sent::NotStored(_)));
        let large = br#"{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"}}"#;
        assert!(matches!(judge(large), Sent::Rejected(_)));
        assert!(matches!(judge(b"no"), Sent::Unknown(Some(_))));
    }
}
