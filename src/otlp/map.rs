//! Spans into events, grouped as they go onto the bus: one kind and one service a group.
//!
//! | span | event |
//! |---|---|
//! | SERVER | `request` |
//! | with a statement | `query`, its parent the span's own |
//! | CLIENT over HTTP or RPC | `call` |
//! | INTERNAL, PRODUCER, CONSUMER; a framework's SERVER span below a SERVER span | `span` |
//! | any other CLIENT (connect, pool) | nothing, or `span` when a query hangs below it |
//!
//! Parents stay the real ones: Express puts database spans below an INTERNAL `request handler`, other frameworks below the SERVER
//! span itself, and only the mind, which sees a trace whole even when it comes in parts, can find the request above.

use super::attributes::Key;
use super::family::{Family, Role};
use super::model::{Batch, Resource, Span, SpanKind};
use super::names::{self, NAME_MAX, bounded, hex, without_values};
use super::{call, query, request};
use homeostat_reflexes::sql::Normaliser;
use homeostat_schemas::event::{self, EventKind};
use homeostat_schemas::time::DAY;
use homeostat_schemas::{Event, UnixMs};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

/// Longest name of an instance or a zone, in bytes.
const INSTANCE_MAX: usize = 128;

/// Turns batches into events. Cheap to share; holds the secret under which parameters are hashed, drawn once a process.
#[derive(Debug)]
pub struct Mapper {
    keys: RandomState,
}

impl Default for Mapper {
    fn default() -> Self {
        Mapper { keys: RandomState::new() }
    }
}

/// Events of one kind and one service, in the order of their spans.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The kind.
    pub kind: EventKind,
    /// The service.
    pub service: String,
    /// The events, at least one.
    pub events: Vec<Event>,
}

/// What came of a batch.
#[derive(Debug, Default)]
pub struct Mapped {
    /// The events by kind and service, in that order.
    pub groups: Vec<Group>,
    /// Spans that could be used.
    pub accepted: u64,
    /// Spans that could not.
    pub rejected: u64,
    /// Why, for the exporter's log; empty when none was rejected.
    pub reason: String,
    /// What each service sent, by name: tells a service whose database is not instrumented.
    pub services: BTreeMap<String, ServiceSpans>,
}

/// How many spans of a sort a service sent.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct ServiceSpans {
    /// Inbound requests.
    pub requests: u64,
    /// Spans of a database, with or without a statement.
    pub database: u64,
}

/// Why a span cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Defect {
    Ids,
    End,
    Future,
    Excess,
}

impl Defect {
    const fn words(self) -> &'static str {
        match self {
            Defect::Ids => "without a valid trace and span id",
            Defect::End => "without an end time",
            Defect::Future => "that end more than a day from now",
            Defect::Excess => "beyond the limit of one request",
        }
    }
}

impl Mapper {
    /// Takes the literals out of events that came another way than as spans: what leaves the gateway is in normal form.
    pub fn redact<'e>(&self, events: impl IntoIterator<Item = &'e mut Event>) {
        let mut normaliser = self.normaliser();
        for event in events {
            if let Event::Query(query) = event {
                query::redact(query, &mut normaliser, &self.keys);
            }
        }
    }

    fn normaliser(&self) -> Normaliser {
        Normaliser::with_key(self.keys.hash_one("parameters"))
    }

    /// The events of a batch. `now` judges end times too far ahead, which no mind would accept.
    #[must_use]
    pub fn map(&self, batch: &Batch<'_>, now: UnixMs) -> Mapped {
        let mut normaliser = self.normaliser();
        let family = Family::of(batch, &mut normaliser);
        let mut groups: BTreeMap<(EventKind, String), Vec<Event>> = BTreeMap::new();
        let mut defects: BTreeMap<Defect, u64> = BTreeMap::new();
        let mut mapped = Mapped::default();
        if batch.excess > 0 {
            defects.insert(Defect::Excess, batch.excess);
        }
        for (index, spans) in batch.spans.chunk_by(|a, b| a.resource == b.resource).scan(0, |first, spans| {
            let index = *first;
            *first += spans.len();
            Some((index, spans))
        }) {
            let process = Process::of(spans.first().and_then(|span| batch.resources.get(span.resource)));
            let mut seen = ServiceSpans::default();
            let mut events = Events::default();
            for (place, span) in (index..).zip(spans) {
                if let Some(defect) = defect(span, now) {
                    *defects.entry(defect).or_default() += 1;
                    continue;
                }
                mapped.accepted += 1;
                seen.requests += u64::from(span.kind == SpanKind::Server);
                seen.database += u64::from(span.get(Key::DbSystem).is_some() || span.get(Key::DbStatement).is_some());
                let role = family.role(place);
                let event = match role {
                    Role::Request => process.event(span, request::request(span, family.route(place))),
                    Role::Query => process.event(span, query::query(span, &mut normaliser, &self.keys)),
                    Role::Call => match call::call(span) {
                        Some(call) => process.event(span, call),
                        None => continue,
                    },
                    Role::Context => process.event(span, context(span)),
                    Role::Silent => continue,
                };
                events.push(role, event);
            }
            events.into_groups(&process.service, &mut groups);
            let total = mapped.services.entry(process.service).or_default();
            total.requests += seen.requests;
            total.database += seen.database;
        }
        mapped.rejected = defects.values().sum();
        mapped.reason = defects.iter().map(|(defect, count)| format!("{count} spans {}", defect.words())).collect::<Vec<_>>().join(", ");
        mapped.groups = groups.into_iter().map(|((kind, service), events)| Group { kind, service, events }).collect();
        mapped
    }
}

/// The events of one process, apart by what they are: spans come in thousands, services do not.
#[derive(Default)]
struct Events([Vec<Event>; 4]);

impl Events {
    const KINDS: [EventKind; 4] = [EventKind::Query, EventKind::Request, EventKind::Call, EventKind::Span];

    fn push(&mut self, role: Role, event: Event) {
        let place = match role {
            Role::Query => 0,
            Role::Request => 1,
            Role::Call => 2,
            Role::Context | Role::Silent => 3,
        };
        self.0[place].push(event);
    }

    fn into_groups(self, service: &str, groups: &mut BTreeMap<(EventKind, String), Vec<Event>>) {
        for (kind, mut events) in Self::KINDS.into_iter().zip(self.0) {
            if !events.is_empty() {
                groups.entry((kind, service.to_owned())).or_default().append(&mut events);
            }
        }
    }
}

fn defect(span: &Span<'_>, now: UnixMs) -> Option<Defect> {
    if span.trace.is_none() || span.id.is_none() {
        Some(Defect::Ids)
    } else if span.end_ns == 0 {
        Some(Defect::End)
    } else if span.end_ns / 1_000_000 > now.saturating_add(DAY) {
        Some(Defect::Future)
    } else {
        None
    }
}

fn context(span: &Span<'_>) -> event::Span {
    event::Span { name: bounded(&without_values(&span.name), NAME_MAX), op: span.kind.word().to_owned(), ..event::Span::default() }
}

/// The process that spans are from, as events name it.
struct Process {
    service: String,
    instance: Option<String>,
    zone: Option<String>,
}

impl Process {
    fn of(resource: Option<&Resource<'_>>) -> Self {
        let name = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(|text| bounded(text, INSTANCE_MAX));
        Process {
            service: names::service(resource.and_then(|resource| resource.service.as_deref())),
            instance: name(resource.and_then(|resource| resource.instance.as_deref())),
            zone: name(resource.and_then(|resource| resource.zone.as_deref())),
        }
    }

    /// Fills in what every event of a span has.
    fn event<E: OfSpan>(&self, span: &Span<'_>, mut event: E) -> Event {
        let place = event.place();
        place.service.clone_from(&self.service);
        place.instance.clone_from(&self.instance);
        place.zone.clone_from(&self.zone);
        *place.at_ms = span.end_ns / 1_000_000;
        *place.took_us = span.took_us();
        event.trace(hex(&span.trace.unwrap_or_default()), hex(&span.id.unwrap_or_default()), span.parent.map(|parent| hex(&parent)));
        event.into()
    }
}

/// The fields that every event of a span has.
struct Place<'e> {
    service: &'e mut String,
    instance: &'e mut Option<String>,
    zone: &'e mut Option<String>,
    at_ms: &'e mut UnixMs,
    took_us: &'e mut u64,
}

/// An event that comes from a span.
trait OfSpan: Into<Event> {
    fn place(&mut self) -> Place<'_>;
    fn trace(&mut self, trace: String, span: String, parent: Option<String>);
}

macro_rules! of_span {
    ($($kind:ty: $wrap:expr),*) => {
        $(impl OfSpan for $kind {
            fn place(&mut self) -> Place<'_> {
                Place {
                    service: &mut self.service,
                    instance: &mut self.instance,
                    zone: &mut self.zone,
                    at_ms: &mut self.at_ms,
                    took_us: &mut self.took_us,
                }
            }
            fn trace(&mut self, trace: String, span: String, parent: Option<String>) {
                (self.trace, self.span, self.parent) = ($wrap(trace), $wrap(span), parent);
            }
        })*
    };
}

of_span!(event::Query: Some, event::Request: Some, event::Call: Some, event::Span: std::convert::identity);
