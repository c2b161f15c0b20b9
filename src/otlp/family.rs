//! Who called whom within one export request, and what each span therefore is.
//!
//! Several layers may report one call: a framework inside the HTTP server, a driver below an object mapper, an HTTP client below
//! a cloud library. The outer one counts, the inner ones are context or nothing. A trace may be split over several requests; what
//! is not in this one is not known here, and the mind puts the parts together.

use super::attributes::Key;
use super::model::{Batch, Span, SpanId, SpanKind, TraceId};
use super::{call, query};
use homeostat_reflexes::sql::Normaliser;
use std::collections::{BTreeMap, HashMap};

/// How far up a caller is looked for.
const CLIMB_MAX: usize = 32;

/// What a span becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A `request` event.
    Request,
    /// A `query` event.
    Query,
    /// A `call` event.
    Call,
    /// A `span` event, so that the mind finds the caller's caller.
    Context,
    /// Nothing.
    Silent,
}

/// The spans of a request with their callers.
pub(super) struct Family<'b, 'a> {
    spans: &'b [Span<'a>],
    places: HashMap<(TraceId, SpanId), usize>,
    roles: Vec<Role>,
    routes: BTreeMap<usize, usize>,
}

impl<'b, 'a> Family<'b, 'a> {
    pub(super) fn of(batch: &'b Batch<'a>, normaliser: &mut Normaliser) -> Self {
        let spans = &batch.spans[..];
        let places = spans.iter().enumerate().filter_map(|(place, span)| Some(((span.trace?, span.id?), place))).collect();
        let mut family = Family { spans, places, roles: spans.iter().map(alone).collect(), routes: BTreeMap::new() };
        let roles = (0..spans.len()).map(|place| family.among(place, normaliser)).collect();
        family.roles = roles;
        for place in 0..spans.len() {
            family.introduce(place);
        }
        family
    }

    pub(super) fn role(&self, place: usize) -> Role {
        self.roles.get(place).copied().unwrap_or(Role::Silent)
    }

    /// The route of a request that a span below it knows.
    pub(super) fn route(&self, place: usize) -> Option<&str> {
        self.spans.get(*self.routes.get(&place)?)?.text(Key::HttpRoute)
    }

    fn parent(&self, place: usize) -> Option<usize> {
        let span = self.spans.get(place)?;
        self.places.get(&(span.trace?, span.parent?)).copied().filter(|parent| *parent != place)
    }

    /// What a span is beside its caller.
    fn among(&self, place: usize, normaliser: &mut Normaliser) -> Role {
        let role = self.role(place);
        let Some(parent) = self.parent(place).filter(|parent| self.spans[*parent].resource == self.spans[place].resource) else {
            return role;
        };
        match (role, self.role(parent)) {
            (Role::Request, Role::Request) => Role::Context,
            (Role::Call, Role::Call | Role::Query) => Role::Silent,
            (Role::Query, Role::Query)
                if query::normal(&self.spans[place], normaliser) == query::normal(&self.spans[parent], normaliser) =>
            {
                Role::Silent
            }
            _ => role,
        }
    }

    /// Makes known to its callers what a span has to say of them.
    fn introduce(&mut self, place: usize) {
        let knows_route = handles(&self.spans[place]);
        if self.roles[place] != Role::Query && !knows_route {
            return;
        }
        let mut at = place;
        for _ in 0..CLIMB_MAX {
            let Some(parent) = self.parent(at) else { return };
            at = parent;
            match self.roles[at] {
                Role::Request => {
                    if knows_route && self.spans[at].text(Key::HttpRoute).is_none() {
                        self.routes.entry(at).or_insert(place);
                    }
                    return;
                }
                Role::Silent if self.roles[place] == Role::Query => self.roles[at] = Role::Context,
                _ => {}
            }
        }
    }
}

/// What a span is for itself.
fn alone(span: &Span<'_>) -> Role {
    match span.kind {
        SpanKind::Server => Role::Request,
        _ if query::is_query(span) => Role::Query,
        SpanKind::Client if call::is_call(span) => Role::Call,
        SpanKind::Client => Role::Silent,
        _ => Role::Context,
    }
}

/// Is it a span of the code that a route leads to? Middleware carries the route it is mounted at, which is not the request's.
fn handles(span: &Span<'_>) -> bool {
    let handler = || matches!(span.text(Key::HandlerType), Some("request_handler" | "request-handler" | "router"));
    let server = || span.kind == SpanKind::Server;
    span.text(Key::HttpRoute).is_some() && (server() || handler())
}
