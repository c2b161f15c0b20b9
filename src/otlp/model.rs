//! What is kept of an export request. Text borrows the body wherever it stands there unescaped.

use super::attributes::{Attribute, Key};
use std::borrow::Cow;

/// Most spans of one request that are looked at; the rest is rejected in a partial success. A collector sends 8,192 at once,
/// a body of 20 MiB holds about 100,000 real ones, and two bytes are an empty one.
pub const SPANS_MAX: usize = 131_072;

/// One export request.
#[derive(Debug, Default, PartialEq)]
pub struct Batch<'a> {
    /// The processes that the spans are from; only those that have any.
    pub resources: Vec<Resource<'a>>,
    /// The spans, those of one resource beside each other.
    pub spans: Vec<Span<'a>>,
    /// Spans beyond [`SPANS_MAX`].
    pub excess: u64,
}

impl<'a> Batch<'a> {
    /// Keeps a span of the resource that comes next, unless there are too many.
    pub(super) fn push(&mut self, mut span: Span<'a>) {
        if self.spans.len() < SPANS_MAX {
            span.resource = self.resources.len();
            self.spans.push(span);
        } else {
            self.excess += 1;
        }
    }

    /// Ends a resource: all spans pushed since the last one are its own.
    pub(super) fn close(&mut self, resource: Resource<'a>) {
        if self.spans.last().is_some_and(|span| span.resource == self.resources.len()) {
            self.resources.push(resource);
        }
    }
}

/// The process that spans are from.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Resource<'a> {
    /// `service.name`
    pub service: Option<Cow<'a, str>>,
    /// `service.instance.id`
    pub instance: Option<Cow<'a, str>>,
    /// `cloud.availability_zone`
    pub zone: Option<Cow<'a, str>>,
}

impl<'a> Resource<'a> {
    /// Takes an attribute if it is one that matters here; the first of a name wins.
    pub(super) fn set(&mut self, key: &str, value: Attribute<'a>) {
        let slot = match key {
            "service.name" => &mut self.service,
            "service.instance.id" => &mut self.instance,
            "cloud.availability_zone" => &mut self.zone,
            _ => return,
        };
        if slot.is_none() {
            *slot = value.into_text();
        }
    }
}

/// What a span says of itself: which side of a call it is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// Not said, or a kind of the future.
    #[default]
    Unspecified,
    /// Work inside a process.
    Internal,
    /// An inbound request.
    Server,
    /// An outbound call.
    Client,
    /// A message sent.
    Producer,
    /// A message received.
    Consumer,
}

impl SpanKind {
    /// By its number in `trace.proto`.
    pub(super) const fn from_number(number: i64) -> SpanKind {
        match number {
            1 => SpanKind::Internal,
            2 => SpanKind::Server,
            3 => SpanKind::Client,
            4 => SpanKind::Producer,
            5 => SpanKind::Consumer,
            _ => SpanKind::Unspecified,
        }
    }

    /// By its name in `trace.proto`.
    pub(super) fn from_name(name: &str) -> SpanKind {
        match name {
            "SPAN_KIND_INTERNAL" => SpanKind::Internal,
            "SPAN_KIND_SERVER" => SpanKind::Server,
            "SPAN_KIND_CLIENT" => SpanKind::Client,
            "SPAN_KIND_PRODUCER" => SpanKind::Producer,
            "SPAN_KIND_CONSUMER" => SpanKind::Consumer,
            _ => SpanKind::Unspecified,
        }
    }

    /// The word on the wire of a `span` event.
    pub(super) const fn word(self) -> &'static str {
        match self {
            SpanKind::Unspecified => "unspecified",
            SpanKind::Internal => "internal",
            SpanKind::Server => "server",
            SpanKind::Client => "client",
            SpanKind::Producer => "producer",
            SpanKind::Consumer => "consumer",
        }
    }
}

/// A trace id; all zero is none.
pub type TraceId = [u8; 16];
/// A span id; all zero is none.
pub type SpanId = [u8; 8];

/// One span.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Span<'a> {
    /// Its trace; `None` when the field was not 16 bytes.
    pub trace: Option<TraceId>,
    /// Itself; `None` when the field was not 8 bytes.
    pub id: Option<SpanId>,
    /// Its caller; `None` on a root.
    pub parent: Option<SpanId>,
    /// Its name.
    pub name: Cow<'a, str>,
    /// Which side of a call it is.
    pub kind: SpanKind,
    /// When it began, Unix nanoseconds.
    pub start_ns: u64,
    /// When it ended, Unix nanoseconds.
    pub end_ns: u64,
    /// Its status is ERROR.
    pub failed: bool,
    /// The attributes somebody here asks for, each key once.
    pub attributes: Vec<(Key, Attribute<'a>)>,
    /// A digest over the parameters it carries, whatever their order.
    pub parameters: Option<u64>,
    /// Which of the batch's resources it is from.
    pub resource: usize,
    /// Which of the keys came under their current names, a bit each.
    pub(super) current: u64,
}

impl<'a> Span<'a> {
    /// Takes an attribute. Of two with the same meaning (`db.statement` and `db.query.text`) the current name wins, of two with
    /// the same name the first: a call that is described twice is still one call.
    pub(super) fn set(&mut self, name: &str, value: Attribute<'a>) {
        if let Some(parameter) = super::attributes::parameter(name) {
            let digest = super::attributes::digest(parameter, &value);
            self.parameters = Some(self.parameters.unwrap_or_default().wrapping_add(digest));
            return;
        }
        let Some((key, current)) = Key::of(name) else { return };
        if matches!(value, Attribute::Empty) {
            return;
        }
        let bit = 1 << key as u64;
        match self.attributes.iter_mut().find(|(known, _)| *known == key) {
            None => self.attributes.push((key, value)),
            Some((_, old)) if current && self.current & bit == 0 => *old = value,
            Some(_) => return,
        }
        if current {
            self.current |= bit;
        }
    }

    /// The text of an attribute; the empty text is none.
    #[must_use]
    pub fn text(&self, key: Key) -> Option<&str> {
        self.get(key).and_then(Attribute::as_text).filter(|text| !text.is_empty())
    }

    /// The number of an attribute, also when it was sent as text.
    #[must_use]
    pub fn number(&self, key: Key) -> Option<i64> {
        self.get(key).and_then(Attribute::as_number)
    }

    /// An attribute.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<&Attribute<'a>> {
        self.attributes.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// How long it took, microseconds; a clock that ran backwards makes it 0.
    #[must_use]
    pub fn took_us(&self) -> u64 {
        self.end_ns.saturating_sub(self.start_ns) / 1_000
    }
}

/// `bytes` as an id: of the right length and not all zero.
pub(super) fn id<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok().filter(|id: &[u8; N]| id.iter().any(|byte| *byte != 0))
}
