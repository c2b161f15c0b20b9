//! JetStream's own interface: requests, acknowledgements, and errors in our terms.
//!
//! Why not the client library's typed calls: a stream's configuration must survive a round trip
//! with fields this version does not know, batches have no typed call, and one kind of error for
//! everything says better what to do. A publish the server *refuses* gets no answer at all (the
//! refusal comes as an event of the connection), so every request also listens for that.

use std::time::Duration;

use async_nats::client::{Request, RequestErrorKind};
use async_nats::header::{HeaderMap, NATS_EXPECTED_LAST_SUBJECT_SEQUENCE};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::connect::Bus;
use crate::error::{BusError, NO_MESSAGE_FOUND};
use crate::message::{Entry, Message};

/// The subject prefix of JetStream's interface.
const PREFIX: &str = "$JS.API";

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    code: u64,
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

#[derive(Deserialize)]
struct MaybeRefused {
    #[serde(default)]
    error: Option<Refusal>,
}

/// JetStream's acknowledgement of a stored message or batch.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Ack {
    /// The stream that stored it.
    pub(crate) stream: String,
    /// Its sequence there; of a batch, that of the last message.
    pub(crate) seq: u64,
    /// How many messages the batch had.
    #[serde(default)]
    pub(crate) count: Option<u64>,
}

/// What JetStream says about a stream. The configuration stays as it is: unknown fields survive.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct StreamInfo {
    pub(crate) config: serde_json::Map<String, serde_json::Value>,
    pub(crate) state: StreamState,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct StreamState {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
    #[serde(default)]
    pub(crate) first_ts: String,
    /// Subject → number of messages; only when a filter was asked for.
    #[serde(default)]
    pub(crate) subjects: Option<std::collections::BTreeMap<String, u64>>,
}

impl StreamInfo {
    pub(crate) fn metadata(&self, key: &str) -> Option<&str> {
        self.config.get("metadata")?.get(key)?.as_str()
    }
}

impl Bus {
    /// One request to JetStream's interface, for example `STREAM.INFO.homeostat`.
    pub(crate) async fn call<T: DeserializeOwned>(&self, endpoint: &str, body: &impl Serialize) -> Result<T, BusError> {
        let payload =
            serde_json::to_vec(body).map_err(|error| BusError::Protocol { what: endpoint.to_owned(), detail: error.to_string() })?;
        let subject = format!("{PREFIX}.{endpoint}");
        let reply = self.request(endpoint, subject, None, payload.into(), self.request_timeout()).await?;
        decode(endpoint, &reply)
    }

    /// A publish whose acknowledgement is awaited. With `expected`, stored only if that sequence
    /// is still the last one on the message's subject.
    pub(crate) async fn store(&self, message: &Message, expected: Option<u64>) -> Result<Ack, BusError> {
        let mut headers = message.header_map()?;
        if let Some(expected) = expected {
            headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string());
        }
        self.store_with(&message.subject, headers, message.payload.clone()).await
    }

    /// [`Bus::store`] with headers already built; the subject must have been checked.
    pub(crate) async fn store_with(&self, subject: &str, headers: HeaderMap, payload: Bytes) -> Result<Ack, BusError> {
        let headers = (!headers.is_empty()).then_some(headers);
        let reply = self.request(subject, subject.to_owned(), headers, payload, self.request_timeout()).await?;
        decode(subject, &reply)
    }

    /// Sends without asking for an answer. The message is in the client's queue afterwards.
    pub(crate) async fn send(&self, subject: &str, headers: HeaderMap, payload: Bytes) -> Result<(), BusError> {
        let after = self.request_timeout();
        let publish = self.client().publish_with_headers(subject.to_owned(), headers, payload);
        match tokio::time::timeout(after, publish).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(BusError::Closed { what: subject.to_owned(), detail: error.to_string() }),
            Err(_) => Err(BusError::Timeout { what: subject.to_owned(), after }),
        }
    }

    /// The last message on a subject of a stream, from the stream's leader (`STREAM.MSG.GET`; a
    /// direct get may be answered by a replica that lags).
    pub(crate) async fn last_in(&self, stream: &str, subject: &str) -> Result<Option<Entry>, BusError> {
        self.get_in(stream, &serde_json::json!({ "last_by_subj": subject })).await
    }

    /// The message a `STREAM.MSG.GET` query names, from the stream's leader.
    pub(crate) async fn get_in(&self, stream: &str, query: &serde_json::Value) -> Result<Option<Entry>, BusError> {
        #[derive(Deserialize)]
        struct Found {
            message: async_nats::jetstream::stream::RawMessage,
        }
        let endpoint = format!("STREAM.MSG.GET.{stream}");
        let found: Found = match self.call(&endpoint, query).await {
            Ok(found) => found,
            Err(BusError::Refused { code: NO_MESSAGE_FOUND, .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let message = async_nats::jetstream::message::StreamMessage::try_from(found.message)
            .map_err(|error| BusError::Protocol { what: endpoint, detail: error.to_string() })?;
        Ok(Some(Entry {
            seq: message.sequence,
            at_ms: unix_ms(message.time.unix_timestamp_nanos()),
            subject: message.subject,
            headers: (!message.headers.is_empty()).then_some(message.headers),
            payload: message.payload,
        }))
    }

    /// What JetStream says about a stream.
    pub(crate) async fn stream_info(&self, stream: &str) -> Result<StreamInfo, BusError> {
        self.call(&format!("STREAM.INFO.{stream}"), &serde_json::json!({})).await
    }

    /// Removes all messages of a stream that match a subject filter; says how many they were.
    pub(crate) async fn purge(&self, stream: &str, filter: &str) -> Result<u64, BusError> {
        #[derive(Deserialize)]
        struct Purged {
            #[serde(default)]
            purged: u64,
        }
        let endpoint = format!("STREAM.PURGE.{stream}");
        let purged: Purged = self.call(&endpoint, &serde_json::json!({ "filter": filter })).await?;
        Ok(purged.purged)
    }

    /// A request with a deadline that also notices when the server refuses the publish.
    async fn request(
        &self,
        what: &str,
        subject: String,
        headers: Option<HeaderMap>,
        payload: Bytes,
        after: Duration,
    ) -> Result<Bytes, BusError> {
        let mut state = self.state();
        let before = state.borrow_and_update().violations;
        let mut request = Request::new().payload(payload).timeout(Some(after));
        if let Some(headers) = headers {
            request = request.headers(headers);
        }
        let needle = format!("\"{subject}\"");
        let answer = self.client().send_request(subject, request);
        // The outer deadline covers a full command queue, which the client's own does not.
        let deadline = tokio::time::sleep(after + Duration::from_millis(250));
        tokio::pin!(answer, deadline);
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return answer
                    .map(|message| message.payload)
                    .map_err(|error| request_error(what, after, &error)),
                () = &mut deadline => return Err(BusError::Timeout { what: what.to_owned(), after }),
                Ok(()) = state.changed() => {
                    let state = state.borrow_and_update();
                    if state.violations != before
                        && let Some(detail) = &state.last_violation
                        && detail.contains(&needle)
                    {
                        return Err(BusError::Denied { what: what.to_owned(), detail: detail.clone() });
                    }
                }
            }
        }
    }
}

fn request_error(what: &str, after: Duration, error: &async_nats::client::RequestError) -> BusError {
    let what = what.to_owned();
    match error.kind() {
        RequestErrorKind::TimedOut => BusError::Timeout { what, after },
        RequestErrorKind::NoResponders => BusError::NoResponders { what },
        RequestErrorKind::InvalidSubject => BusError::Invalid { what, reason: "not a subject" },
        RequestErrorKind::MaxPayloadExceeded => BusError::TooLarge { what, detail: error.to_string() },
        RequestErrorKind::Other => BusError::Closed { what, detail: error.to_string() },
    }
}

/// Takes a JetStream answer apart: `{"error": …}` or the thing itself.
pub(crate) fn decode<T: DeserializeOwned>(what: &str, reply: &[u8]) -> Result<T, BusError> {
    let broken = |error: serde_json::Error| BusError::Protocol { what: what.to_owned(), detail: error.to_string() };
    let maybe: MaybeRefused = serde_json::from_slice(reply).map_err(broken)?;
    if let Some(refusal) = maybe.error {
        let code = if refusal.err_code == 0 { refusal.code } else { refusal.err_code };
        return Err(BusError::Refused { what: what.to_owned(), code, description: refusal.description });
    }
    serde_json::from_slice(reply).map_err(broken)
}

/// Nanoseconds since 1970 as whole milliseconds; before 1970 is 0.
pub(crate) fn unix_ms(nanos: i128) -> u64 {
    u64::try_from(nanos.max(0) / 1_000_000).unwrap_or(u64::MAX)
}

/// `n` random bytes in lower-case hex.
pub(crate) fn random_hex(n: usize) -> Result<String, BusError> {
    let mut bytes = vec![0_u8; n];
    getrandom::fill(&mut bytes).map_err(|error| BusError::Random(error.to_string()))?;
    Ok(hex(&bytes))
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_refusal_keeps_jetstreams_code_and_words() {
        let reply = br#"{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 7"},"stream":"","seq":0}"#;
        let error = decode::<Ack>("a.b", reply).unwrap_err();
        assert!(error.is_conflict());
        assert_eq!(error.to_string(), "a.b: refused with 10071: wrong last sequence: 7");
    }

    #[test]
    fn an_unintelligible_answer_is_an_error_not_a_panic() {
        for reply in [&b""[..], b"+OK", b"[]", b"{}", b"{\"seq\":-1}", b"\xff\xfe"] {
            assert!(matches!(decode::<Ack>("x", reply), Err(BusError::Protocol { .. })));
        }
    }

    #[test]
    fn a_batch_is_acknowledged_with_its_last_sequence_and_its_size() {
        let ack: Ack = decode("x", br#"{"stream":"homeostat","seq":12,"batch":"b","count":3}"#).unwrap();
        assert_eq!((ack.seq, ack.count, ack.stream.as_str()), (12, Some(3), "homeostat"));
    }

    #[test]
    fn times_before_1970_are_zero() {
        assert_eq!(unix_ms(-5), 0);
        assert_eq!(unix_ms(1_700_000_000_123_999_999), 1_700_000_000_123);
    }
}
