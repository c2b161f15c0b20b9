//! Events into messages: arrays of one kind and service, small enough, in the order in which they came within a service.

use crate::cli::CliError;
use homeostat_nats::Message;
use homeostat_schemas::batch::MSGPACK;
use homeostat_schemas::event::EventKind;
use homeostat_schemas::{Event, Root, Subject, TraceContext};
use std::collections::BTreeMap;

/// Events a message.
pub const EVENTS_MAX: usize = 500;
/// Bytes a message, unless one event alone is larger.
pub const BYTES_MAX: usize = 256 * 1024;
/// Bytes an event. NATS allows messages of 1 MiB with their headers, and one that cannot be used is kept aside whole, with its
/// own headers and those that say why.
pub const EVENT_MAX: usize = 512 * 1024;
/// Services with an open message at once; then all are closed.
const OPEN_MAX: usize = 1_024;

struct Open {
    kind: EventKind,
    count: usize,
    bytes: Vec<u8>,
}

/// Collects events into messages.
pub struct Packer {
    root: Root,
    trace: TraceContext,
    /// One open message a service: one of another kind closes it, so that order holds over kinds.
    open: BTreeMap<String, Open>,
    ready: Vec<(Message, u64)>,
    taken: u64,
}

impl Packer {
    /// A packer of messages that belong to a trace.
    #[must_use]
    pub fn new(root: Root, trace: TraceContext) -> Packer {
        Packer { root, trace, open: BTreeMap::new(), ready: Vec::new(), taken: 0 }
    }

    /// Takes one event, unless it is larger than [`EVENT_MAX`]: then it says so and leaves it.
    ///
    /// # Errors
    /// An event that `MessagePack` cannot hold, which none of ours is, or no random numbers.
    pub fn push(&mut self, event: &Event) -> Result<bool, CliError> {
        let bytes = rmp_serde::to_vec_named(event)?;
        if bytes.len() > EVENT_MAX {
            return Ok(false);
        }
        let (kind, service) = (event.kind(), event.service());
        self.taken += 1;
        let full = |open: &Open| open.kind != kind || open.count == EVENTS_MAX || open.bytes.len() + bytes.len() > BYTES_MAX;
        if self.open.get(service).is_some_and(full)
            && let Some((service, open)) = self.open.remove_entry(service)
        {
            self.finish(service, open)?;
        }
        if let Some(open) = self.open.get_mut(service) {
            open.count += 1;
            open.bytes.extend_from_slice(&bytes);
            return Ok(true);
        }
        if self.open.len() == OPEN_MAX {
            self.close()?;
        }
        self.open.insert(service.to_owned(), Open { kind, count: 1, bytes });
        Ok(true)
    }

    /// Closes all messages that are open.
    ///
    /// # Errors
    /// The operating system gives no random numbers.
    pub fn close(&mut self) -> Result<(), CliError> {
        let open = std::mem::take(&mut self.open);
        open.into_iter().try_for_each(|(service, open)| self.finish(service, open))
    }

    /// Messages that are closed and not taken.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// How many events came in.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// The closed messages in the order in which they are to be stored, each with its number of events.
    pub fn take(&mut self) -> Vec<(Message, u64)> {
        std::mem::take(&mut self.ready)
    }

    fn finish(&mut self, service: String, Open { kind, count, bytes }: Open) -> Result<(), CliError> {
        let mut payload = Vec::with_capacity(bytes.len() + 3);
        array_head(&mut payload, count);
        payload.extend_from_slice(&bytes);
        let mut message = Message::new(self.root.subject(&Subject::Event(kind, service)), payload)
            .with("content-type", MSGPACK)
            .with("Nats-Msg-Id", id()?);
        if let Some(traceparent) = &self.trace.traceparent {
            message = message.with("traceparent", traceparent.clone());
        }
        self.ready.push((message, count as u64));
        Ok(())
    }
}

/// The head of a `MessagePack` array of at most [`EVENTS_MAX`] elements.
fn array_head(payload: &mut Vec<u8>, count: usize) {
    match u8::try_from(count) {
        Ok(few @ 0..=15) => payload.push(0x90 | few),
        _ => {
            payload.push(0xdc);
            payload.extend_from_slice(&u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
}

/// A message id of 128 random bits: nobody can foresee it and swallow the message that will bear it.
///
/// # Errors
/// The operating system gives no random numbers.
pub fn id() -> Result<String, CliError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|why| CliError::new("the operating system gives no random numbers").because(why))?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use homeostat_schemas::batch::{Format, Frame};
    use homeostat_schemas::decode_events;
    use homeostat_schemas::event::{Query, Request};

    fn query(service: &str, took_us: u64) -> Event {
        Query { service: service.into(), statement: "select ?".into(), took_us, at_ms: 1, ..Query::default() }.into()
    }

    fn request(service: &str, took_us: u64) -> Event {
        Request { service: service.into(), route: "GET /".into(), took_us, at_ms: 1, ..Request::default() }.into()
    }

    fn unpacked(packer: &mut Packer) -> Vec<Vec<Event>> {
        packer.close().unwrap();
        let root = Root::default();
        let decode = |(message, count): (Message, u64)| {
            let Ok(Subject::Event(kind, service)) = root.parse(&message.subject) else { return Vec::new() };
            let frame = Frame { kind, service: &service, format: Format::MsgPack, log_ms: None };
            let events: Vec<Event> = decode_events(frame, &message.payload).into_iter().map(Result::unwrap).collect();
            assert_eq!(events.len() as u64, count);
            events
        };
        packer.take().into_iter().map(decode).collect()
    }

    #[test]
    fn the_order_within_a_service_holds_over_kinds() {
        let mut packer = Packer::new(Root::default(), TraceContext::default());
        let events = [query("a", 1), query("a", 2), query("b", 3), request("a", 4), query("b", 5), query("a", 6)];
        assert!(events.iter().all(|event| packer.push(event).unwrap()));
        let messages = unpacked(&mut packer);
        assert_eq!(messages.len(), 4);
        for service in ["a", "b"] {
            let of = |events: &[Event]| events.iter().filter(|event| event.service() == service).cloned().collect::<Vec<_>>();
            assert_eq!(of(&messages.concat()), of(&events));
        }
    }

    #[test]
    fn a_message_stays_small() {
        let mut packer = Packer::new(Root::default(), TraceContext::default());
        assert!((0..1_234).all(|n| packer.push(&query("a", n)).unwrap()));
        let long = "x".repeat(100_000);
        let long = Event::from(Query { service: "b".into(), statement: long, ..Query::default() });
        assert!((0..5).all(|_| packer.push(&long).unwrap()));
        let sizes: Vec<usize> = unpacked(&mut packer).iter().map(Vec::len).collect();
        assert_eq!(sizes, [500, 500, 2, 2, 234, 1]);
    }

    #[test]
    fn an_event_that_no_message_can_carry_is_left() {
        let mut packer = Packer::new(Root::default(), TraceContext::default());
        let long = |length| Event::from(Query { service: "a".into(), statement: "x".repeat(length), ..Query::default() });
        assert!(packer.push(&query("a", 1)).unwrap());
        assert!(!packer.push(&long(EVENT_MAX)).unwrap());
        assert!(packer.push(&long(EVENT_MAX - 1_000)).unwrap());
        assert_eq!(packer.taken(), 2);
        assert_eq!(unpacked(&mut packer).concat(), [query("a", 1), long(EVENT_MAX - 1_000)]);
    }

    #[test]
    fn no_two_messages_share_an_id() {
        let ids: std::collections::BTreeSet<String> = (0..100).map(|_| id().unwrap()).collect();
        assert_eq!(ids.len(), 100);
        assert!(ids.iter().all(|id| id.len() == 32));
    }
}
