//! From events to the log: packed into messages of one kind and service, published, acknowledged.

use super::Gate;
use super::auth::Caller;
use super::problem::Problem;
use crate::otlp::Group;
use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use homeostat_nats::{BusError, Log, Message};
use homeostat_schemas::batch::MSGPACK;
use homeostat_schemas::{Event, Root, Subject, TraceContext};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use xxhash_rust::xxh3::xxh3_128;

/// Largest payload of a message, and so of an event. NATS allows 1 MiB with the headers; a message that cannot be used is kept aside
/// whole, with its own headers and those that say why, and must still fit.
pub(crate) const MESSAGE_MAX: usize = 512 * 1024;
/// Keys for idempotency that are remembered.
const KEYS_MAX: usize = 10_000;
/// Most events of a message, so that one message is never a long step.
const EVENTS_MAX: usize = 5_000;

/// Makes message ids that nobody outside can foresee: a foreseen one would let a stranger swallow somebody else's message.
#[derive(Debug)]
pub(super) struct Ids {
    keys: [RandomState; 2],
    count: AtomicU64,
    said: Mutex<Said>,
}

/// What came with the last keys for idempotency: the ids that were made of them, the oldest first, and a digest of each content.
#[derive(Debug, Default)]
struct Said {
    digests: HashMap<String, u128>,
    order: VecDeque<String>,
}

impl Default for Ids {
    fn default() -> Self {
        Ids { keys: [RandomState::new(), RandomState::new()], count: AtomicU64::new(0), said: Mutex::default() }
    }
}

impl Ids {
    /// The same for the same bytes: a retry is a duplicate.
    pub(super) fn of(&self, domain: &str, bytes: &[u8]) -> String {
        let digest = xxh3_128(bytes);
        self.keyed((domain, digest, bytes.len()))
    }

    /// Another one every time.
    pub(super) fn fresh(&self) -> String {
        self.keyed(self.count.fetch_add(1, Ordering::Relaxed))
    }

    /// The one that belongs to a caller's `Idempotency-Key`, if the request has one. What others call theirs is another.
    pub(super) fn of_key(&self, domain: &str, caller: &Caller, request: &HttpRequest) -> Option<String> {
        let key = request.headers().get("idempotency-key")?;
        Some(self.of(domain, &[caller.name().as_bytes(), b"\0", key.as_bytes()].concat()))
    }

    /// The one for a request with this content: that of an earlier request, when its sender says that it is a retry.
    ///
    /// # Errors
    /// 422: the key came with another content before. As a retry, this one would be dropped unseen.
    pub(super) fn of_request(&self, domain: &str, caller: &Caller, request: &HttpRequest, content: &[u8]) -> Result<String, Problem> {
        let Some(id) = self.of_key(domain, caller, request) else { return Ok(self.fresh()) };
        let digest = xxh3_128(content);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        match said.digests.get(&id) {
            Some(known) if *known == digest => Ok(id),
            Some(_) => Err(Problem::unprocessable("this Idempotency-Key came with something else before; take a new one")),
            None => {
                if said.order.len() >= KEYS_MAX
                    && let Some(oldest) = said.order.pop_front()
                {
                    said.digests.remove(&oldest);
                }
                said.order.push_back(id.clone());
                said.digests.insert(id.clone(), digest);
                Ok(id)
            }
        }
    }

    fn keyed(&self, what: impl std::hash::Hash) -> String {
        let [a, b] = &self.keys;
        format!("{:016x}{:016x}", a.hash_one(&what), b.hash_one(&what))
    }
}

/// The trace that a request belongs to.
pub(super) fn context(request: &HttpRequest) -> TraceContext {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    TraceContext::new(header("traceparent"), header("tracestate"))
}

/// What became of groups of events.
#[derive(Debug, Default)]
pub(super) struct Packed {
    /// The messages, in order.
    pub(super) messages: Vec<Message>,
    /// Events larger than any message may be, in no message: which group, and which of it. They would be refused for ever, however
    /// often they are sent.
    pub(super) oversized: Vec<(usize, usize)>,
}

impl Packed {
    /// Why an event is among `oversized`.
    pub(super) fn reason() -> String {
        format!("it is larger than {} KiB, more than a message can carry", MESSAGE_MAX / 1024)
    }
}

/// Packs groups into messages. The id of each is that of the request and its place in it.
///
/// # Errors
/// An event that `MessagePack` cannot hold, which none of ours is.
pub(super) fn pack(root: &Root, groups: &[Group], id: &str, context: &TraceContext) -> Result<Packed, rmp_serde::encode::Error> {
    let Packed { mut messages, mut oversized } = Packed::default();
    for (which, group) in groups.iter().enumerate() {
        let subject = root.subject(&Subject::Event(group.kind, group.service.clone()));
        let mut pack = Pack::default();
        for (place, event) in group.events.iter().enumerate() {
            let before = pack.bytes.len();
            rmp_serde::encode::write_named(&mut pack.bytes, event)?;
            if pack.bytes.len() - before > MESSAGE_MAX {
                pack.bytes.truncate(before);
                oversized.push((which, place));
                continue;
            }
            if pack.events > 0 && (pack.bytes.len() > MESSAGE_MAX || pack.events == EVENTS_MAX) {
                let next = pack.bytes.split_off(before);
                messages.push(pack.message(&subject, id, messages.len(), context));
                pack = Pack { bytes: next, events: 0 };
            }
            pack.events += 1;
        }
        if pack.events > 0 {
            messages.push(pack.message(&subject, id, messages.len(), context));
        }
    }
    Ok(Packed { messages, oversized })
}

/// Encoded events beside each other.
#[derive(Default)]
struct Pack {
    bytes: Vec<u8>,
    events: usize,
}

impl Pack {
    fn message(self, subject: &str, id: &str, index: usize, context: &TraceContext) -> Message {
        let mut payload = Vec::with_capacity(self.bytes.len() + 5);
        match u8::try_from(self.events) {
            Ok(count) if count < 16 => payload.push(0x90 | count),
            _ => {
                payload.push(0xdd);
                payload.extend_from_slice(&u32::try_from(self.events).unwrap_or(u32::MAX).to_be_bytes());
            }
        }
        payload.extend_from_slice(&self.bytes);
        let mut message = Message::new(subject, payload).with("content-type", MSGPACK).with("Nats-Msg-Id", format!("{id}-{index}"));
        for (name, value) in [("traceparent", &context.traceparent), ("tracestate", &context.tracestate)] {
            if let Some(value) = value {
                message = message.with(name, value.clone());
            }
        }
        message
    }
}

/// Puts one event into the group of its kind and service. Linear in the number of groups, which a request has few of; beyond that
/// a new group is begun, which costs a message and nothing else. Which group it was.
pub(super) fn group(groups: &mut Vec<Group>, event: Event) -> usize {
    const LOOK_BACK: usize = 64;
    let (kind, service) = (event.kind(), event.service());
    let found = groups.iter_mut().enumerate().rev().take(LOOK_BACK).find(|(_, group)| group.kind == kind && group.service == service);
    if let Some((which, group)) = found {
        group.events.push(event);
        return which;
    }
    groups.push(Group { kind, service: service.to_owned(), events: vec![event] });
    groups.len() - 1
}

/// Publishes and waits until the stream has acknowledged every message.
///
/// # Errors
/// 503: the sender should try again. What was stored already carries the same id then and is dropped by the stream. 413: the bus
/// takes smaller messages only than it is meant to; trying again would not help.
pub(super) async fn store(gate: &Gate, messages: Vec<Message>) -> Result<(), Problem> {
    if messages.is_empty() {
        return Ok(());
    }
    let Some(log) = gate.log() else { return Err(Problem::unavailable("the bus is away; send it again")) };
    let count = messages.len();
    match tokio::time::timeout(gate.config.store_deadline(), append(&log, messages)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) if error.failed.iter().all(|(_, reason)| matches!(reason, BusError::TooLarge { .. })) => {
            tracing::error!(%error, "the bus takes smaller messages only: raise its max_payload and nats.stream.max_message_bytes to 1 MiB");
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the bus takes smaller messages only; send smaller events"))
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "telemetry could not be stored; its sender was told to try again");
            Err(Problem::unavailable("it could not be stored; send it again"))
        }
        Err(_) => {
            tracing::warn!(messages = count, "telemetry was not acknowledged in time; its sender was told to try again");
            Err(Problem::unavailable("it was not acknowledged in time; send it again"))
        }
    }
}

async fn append(log: &Log, messages: Vec<Message>) -> Result<(), homeostat_nats::AppendAllError> {
    log.append_all(messages).await.map(drop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use homeostat_schemas::batch::{Format, Frame};
    use homeostat_schemas::event::{EventKind, Query};

    #[test]
    fn what_is_packed_is_what_is_read_and_no_message_is_too_large() {
        let query =
            |index: u64| Query { service: "shop".into(), statement: "x".repeat(2_000), took_us: index, at_ms: 1, ..Query::default() };
        for count in [1, 15, 16, 300, 6_000] {
            let events: Vec<Event> = (0..count).map(|index| query(index).into()).collect();
            let groups = [Group { kind: EventKind::Query, service: "shop".into(), events: events.clone() }];
            let Packed { messages, oversized } = pack(&Root::default(), &groups, "id", &TraceContext::default()).unwrap();
            assert_eq!(oversized, []);
            let frame = Frame { kind: EventKind::Query, service: "shop", format: Format::MsgPack, log_ms: None };
            let read: Vec<Event> =
                messages.iter().flat_map(|message| homeostat_schemas::decode_events(frame, &message.payload)).map(Result::unwrap).collect();
            assert_eq!(read, events);
            assert!(messages.iter().all(|message| message.payload.len() <= MESSAGE_MAX + 5));
            let ids: std::collections::BTreeSet<_> = messages.iter().map(|message| message.headers[1].1.clone()).collect();
            assert_eq!(ids.len(), messages.len());
        }
    }

    #[test]
    fn an_event_larger_than_a_message_is_left_out_and_costs_no_other() {
        let query =
            |length: usize| Event::from(Query { service: "shop".into(), statement: "x".repeat(length), at_ms: 1, ..Query::default() });
        let sizes = [10, MESSAGE_MAX, 20, MESSAGE_MAX - 1_000, MESSAGE_MAX + 1, 30];
        let group = |kind| Group { kind, service: "shop".into(), events: sizes.map(query).to_vec() };
        let groups = [group(EventKind::Query), group(EventKind::Query)];
        let Packed { messages, oversized } = pack(&Root::default(), &groups, "id", &TraceContext::default()).unwrap();
        assert_eq!(oversized, [(0, 1), (0, 4), (1, 1), (1, 4)]);
        let frame = Frame { kind: EventKind::Query, service: "shop", format: Format::MsgPack, log_ms: None };
        let read = messages.iter().flat_map(|message| homeostat_schemas::decode_events(frame, &message.payload)).map(Result::unwrap);
        assert_eq!(read.collect::<Vec<_>>(), [10, 20, MESSAGE_MAX - 1_000, 30, 10, 20, MESSAGE_MAX - 1_000, 30].map(query));
        assert!(messages.iter().all(|message| message.payload.len() <= MESSAGE_MAX + 5));
    }

    #[test]
    fn ids_repeat_for_a_retry_only() {
        let (ids, others) = (Ids::default(), Ids::default());
        assert_eq!(ids.of("a", b"x"), ids.of("a", b"x"));
        assert_ne!(ids.of("a", b"x"), ids.of("b", b"x"));
        assert_ne!(ids.of("a", b"x"), others.of("a", b"x"));
        assert_ne!(ids.fresh(), ids.fresh());
    }
}
