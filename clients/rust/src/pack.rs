//! Events into messages: one kind and service each, MessagePack with named fields, statements without their literals.
//!
//! Promises
//! - `C-1` no literal of a statement leaves the application: what is packed is the normal form, and a keyed hash.
//! - `C-2` no message is larger than 512 KiB.

use crate::queue::Item;
use crate::settings::MESSAGE_MAX;
use crate::trace::Context;
use bytes::Bytes;
use homeostat_reflexes::sql::{Dialect, Normaliser};
use homeostat_schemas::batch::MSGPACK;
use homeostat_schemas::event::{Flag, Query};
use homeostat_schemas::{Event, EventKind, Root, Subject};
use serde::Serialize as _;
use std::collections::BTreeMap;

/// Longest statement that is looked at, in bytes; what is longer is cut and marked so.
pub(crate) const STATEMENT_MAX: usize = 32 * 1024;
/// Most events of a message, so that one message is never a long step for whoever reads it.
const EVENTS_MAX: u32 = 5_000;
/// Most services of which events wait at once; an application speaks of itself, and rarely of another.
const GROUPS_MAX: usize = 64;
/// Room for the head of the array.
const HEAD: usize = 5;

/// A message without its id.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    /// Which kind its events are; nothing for what is no event.
    pub(crate) kind: Option<EventKind>,
    pub(crate) subject: String,
    pub(crate) payload: Bytes,
    pub(crate) events: u64,
    pub(crate) content_type: &'static str,
    pub(crate) traceparent: String,
    /// Headers beside those that every message has.
    pub(crate) headers: Vec<(&'static str, String)>,
}

#[derive(Default)]
struct Group {
    /// The elements, behind room for the head.
    bytes: Vec<u8>,
    events: u32,
    context: Option<Context>,
}

/// Packs events, one after the other.
pub(crate) struct Packer {
    root: Root,
    service: String,
    instance: Option<String>,
    zone: Option<String>,
    batch_bytes: usize,
    normaliser: Normaliser,
    groups: BTreeMap<(EventKind, String), Group>,
    /// Messages that are ready.
    pub(crate) ready: Vec<Packed>,
    /// Events that no message could hold, since this was last asked.
    pub(crate) oversized: u64,
}

impl Packer {
    pub(crate) fn new(root: Root, service: String, instance: String, zone: Option<String>, batch_bytes: usize, params_key: u64) -> Packer {
        Packer {
            root,
            service,
            instance: Some(instance),
            zone,
            batch_bytes: batch_bytes.min(MESSAGE_MAX),
            normaliser: Normaliser::with_key(params_key),
            groups: BTreeMap::new(),
            ready: Vec::new(),
            oversized: 0,
        }
    }

    /// Takes one event; a message that is full with it becomes ready.
    pub(crate) fn add(&mut self, item: Item) {
        let Item { mut event, context, .. } = item;
        if let Event::Query(query) = &mut event {
            self.without_literals(query);
        }
        // The names of this replica are lent to the event for as long as it is written.
        let kind = event.kind();
        let stamp = event.stamp_mut();
        let own = *stamp.service == self.service;
        let (lent_instance, lent_zone) = (own && stamp.instance.is_none(), own && stamp.zone.is_none());
        if lent_instance {
            *stamp.instance = self.instance.take();
        }
        if lent_zone {
            *stamp.zone = self.zone.take();
        }
        let key = (kind, event.service().to_owned());
        if !self.groups.contains_key(&key) && self.groups.len() >= GROUPS_MAX {
            self.finish();
        }
        let fits = self.write(&key, &event, context);
        let stamp = event.stamp_mut();
        if lent_instance {
            self.instance = stamp.instance.take();
        }
        if lent_zone {
            self.zone = stamp.zone.take();
        }
        if !fits {
            self.oversized += 1;
        }
    }

    fn write(&mut self, key: &(EventKind, String), event: &Event, context: Option<Context>) -> bool {
        let group = self.groups.entry(key.clone()).or_default();
        if group.bytes.is_empty() {
            group.bytes.resize(HEAD, 0);
        }
        let before = group.bytes.len();
        let written = event.serialize(&mut rmp_serde::Serializer::new(&mut group.bytes).with_struct_map()).is_ok();
        let size = group.bytes.len() - before;
        if !written || size + HEAD > MESSAGE_MAX {
            group.bytes.truncate(before);
            return false;
        }
        if group.bytes.len() > MESSAGE_MAX {
            // It fits into a message, but not into this one.
            let mut next = Group { bytes: vec![0; HEAD], events: 1, context };
            next.bytes.extend_from_slice(&group.bytes[before..]);
            group.bytes.truncate(before);
            let full = std::mem::replace(group, next);
            let message = self.seal(key, full);
            self.ready.push(message);
            return true;
        }
        group.events += 1;
        // The newest trace that is recorded, else the newest.
        if context.is_some_and(|context| context.sampled()) || !group.context.is_some_and(|known| known.sampled()) {
            group.context = context.or(group.context);
        }
        if group.bytes.len() >= self.batch_bytes || group.events >= EVENTS_MAX {
            let full = std::mem::take(group);
            let message = self.seal(key, full);
            self.ready.push(message);
        }
        true
    }

    /// Everything that was taken becomes ready.
    pub(crate) fn finish(&mut self) {
        for (key, group) in std::mem::take(&mut self.groups) {
            if group.events > 0 {
                let message = self.seal(&key, group);
                self.ready.push(message);
            }
        }
    }

    fn seal(&self, (kind, service): &(EventKind, String), group: Group) -> Packed {
        let Group { mut bytes, events, context } = group;
        // An array of 32-bit length: five bytes, whatever the length.
        bytes[0] = 0xdd;
        bytes[1..HEAD].copy_from_slice(&events.to_be_bytes());
        Packed {
            kind: Some(*kind),
            subject: self.root.subject(&Subject::Event(*kind, service.clone())),
            payload: bytes.into(),
            events: u64::from(events),
            content_type: MSGPACK,
            traceparent: context.unwrap_or_else(Context::root).traceparent(),
            headers: Vec::new(),
        }
    }

    /// The normal form instead of the statement, and a hash instead of what it was about.
    fn without_literals(&mut self, query: &mut Query) {
        if cut(&mut query.statement, STATEMENT_MAX) {
            query.truncated = Some(true);
        }
        let dialect = query.system.as_deref().map_or(Dialect::Generic, Dialect::from_system);
        let seen = self.normaliser.normalise(&query.statement, dialect);
        if query.params.is_none() {
            query.params = seen.params.map(|hash| format!("{hash:016x}"));
        }
        if seen.shape.is_unterminated() {
            query.truncated = Some(true);
        }
        let normal = seen.normal.to_owned();
        query.statement = normal;
        // Drivers quote values in their messages: `Key (email)=(ana@example.org) already exists`.
        if let Some(Flag::Text(text)) = &query.error
            && !is_code(text)
        {
            query.error = Some(Flag::Bool(!text.is_empty()));
        }
    }
}

/// A class or code of an error (`23505`, `sqlx::Error::RowNotFound`), which has no room for a value.
fn is_code(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'-'))
}

/// Cuts a text to at most so many bytes, between characters. Says whether there was anything to cut.
pub(crate) fn cut(text: &mut String, max: usize) -> bool {
    if text.len() <= max {
        return false;
    }
    text.truncate(text.floor_char_boundary(max));
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostat_schemas::batch::{Format, Frame};
    use homeostat_schemas::decode_events;
    use homeostat_schemas::event::{Metric, Sample};

    fn packer() -> Packer {
        Packer::new(Root::default(), "shop".to_owned(), "web-1".to_owned(), Some("a".to_owned()), 128 << 10, 7)
    }

    fn add(packer: &mut Packer, event: impl Into<Event>, service: &str) {
        let mut event = event.into();
        *event.stamp_mut().service = service.to_owned();
        packer.add(Item::new(event, None));
    }

    fn read(packed: &Packed) -> Vec<Event> {
        let service = packed.subject.rsplit('.').next().unwrap();
        let frame = Frame { kind: packed.kind.unwrap(), service, format: Format::MsgPack, log_ms: None };
        decode_events(frame, &packed.payload).into_iter().map(Result::unwrap).collect()
    }

    #[test]
    fn a_message_has_one_kind_and_service_and_every_event_its_replica() {
        let mut packer = packer();
        for n in 0..3 {
            add(&mut packer, Metric { value: f64::from(n), ..Metric::default() }, "shop");
            add(&mut packer, Query { statement: format!("select {n}"), ..Query::default() }, "shop");
        }
        add(&mut packer, Metric { instance: Some("other-1".to_owned()), ..Metric::default() }, "other");
        packer.finish();
        let mut told: Vec<String> = Vec::new();
        for packed in &packer.ready {
            let events = read(packed);
            assert_eq!(events.len() as u64, packed.events);
            told.push(format!("{} {} {:?}", packed.subject, packed.events, events[0].instance().unwrap()));
        }
        assert_eq!(
            told,
            [
                "homeostat.v1.event.query.shop 3 \"web-1\"",
                "homeostat.v1.event.metric.other 1 \"other-1\"",
                "homeostat.v1.event.metric.shop 3 \"web-1\""
            ]
        );
    }

    #[test]
    fn no_message_is_larger_than_one_may_be_and_nothing_is_lost_but_what_never_fits() {
        let mut packer = packer();
        let sample = |bytes: usize| Sample { values: Some(vec!["x".repeat(bytes).into()]), ..Sample::default() };
        for bytes in [1, 100_000, 400_000, 500_000, 200, MESSAGE_MAX + 1, 90_000, 300] {
            add(&mut packer, sample(bytes), "shop");
        }
        packer.finish();
        assert_eq!(packer.oversized, 1);
        assert!(packer.ready.iter().all(|packed| packed.payload.len() <= MESSAGE_MAX));
        let lengths: Vec<usize> = packer.ready.iter().flat_map(read).map(|event| serde_json::to_string(&event).unwrap().len()).collect();
        assert_eq!(lengths.len(), 7);
    }

    #[test]
    fn a_long_statement_is_cut_and_says_so_and_a_text_of_an_error_stays_at_home() {
        let mut packer = packer();
        let long = format!("select '{}", "secret ".repeat(10_000));
        let error = |text: &str| Some(Flag::Text(text.to_owned()));
        add(&mut packer, Query { statement: long, error: error("Key (email)=(ana) exists"), ..Query::default() }, "shop");
        add(&mut packer, Query { statement: "select 1".to_owned(), error: error("23505"), ..Query::default() }, "shop");
        packer.finish();
        let events = read(&packer.ready[0]);
        let [Event::Query(cut), Event::Query(coded)] = events.as_slice() else { panic!("two queries") };
        assert_eq!((cut.statement.as_str(), cut.truncated, &cut.error), ("select ?", Some(true), &Some(Flag::Bool(true))));
        assert_eq!(coded.error, error("23505"));
        assert_eq!(coded.params.as_ref().map(String::len), Some(16));
    }
}
