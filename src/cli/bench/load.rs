//! The events of a bench: valid, of so many services and shapes, each message another one. Nothing in them is slow, wrong or growing, so
//! that what is measured is the price of telemetry and not that of findings.

use crate::clock::now_ms;
use homeostat_schemas::event::{
    Breaker, Cache, Call, CallOutcome, Calls, Heartbeat, Metric, Pool, Query, Request, Resource, Sample, SampleValue, Span,
};
use homeostat_schemas::{Event, EventKind};

/// Statements are about as long as those of real services.
const COLUMNS: &str = "id, customer_id, state, total, currency, created_at, updated_at, note";

/// Makes messages of events.
pub(super) struct Load {
    kinds: Vec<EventKind>,
    services: u64,
    shapes: u64,
    batch: u64,
    /// Messages made so far.
    messages: u64,
    /// Tells traces of two benches apart.
    run: u64,
}

impl Load {
    pub(super) fn new(kinds: Vec<EventKind>, services: u64, shapes: u64, batch: u64, run: u64) -> Load {
        Load { kinds, services, shapes, batch, messages: 0, run }
    }

    /// The events of the next message: one kind, one service, one trace.
    pub(super) fn next(&mut self) -> Vec<Event> {
        let kinds = self.kinds.len() as u64;
        let (round, which) = (self.messages / kinds, self.messages % kinds);
        self.messages += 1;
        let kind = usize::try_from(which).ok().and_then(|which| self.kinds.get(which)).copied().unwrap_or(EventKind::Query);
        let service = format!("bench-{}", round % self.services);
        // A request belongs to the queries of the same round: a trace ends, as it does in real services.
        let trace = format!("{:016x}{round:016x}", self.run | 1);
        (0..self.batch).map(|place| self.event(kind, &service, &trace, round, place)).collect()
    }

    fn event(&self, kind: EventKind, service: &str, trace: &str, round: u64, place: u64) -> Event {
        let number = (round / self.services).wrapping_mul(self.batch).wrapping_add(place);
        let shape = number % self.shapes;
        let (service, at_ms) = (service.to_owned(), now_ms());
        let trace = || Some(trace.to_owned());
        let span = || Some(format!("{:016x}", number.wrapping_add(2)));
        let took_us = 200 + number % 700;
        match kind {
            EventKind::Query => Query {
                service,
                at_ms,
                statement: format!(
                    "select {COLUMNS} from orders_{shape} where customer_id = ? and state = ? order by created_at desc limit ?"
                ),
                took_us,
                system: Some("postgresql".to_owned()),
                rows: Some(number % 20),
                trace: trace(),
                span: span(),
                parent: Some("0000000000000001".to_owned()),
                params: Some(format!("{number:016x}")),
                ..Query::default()
            }
            .into(),
            EventKind::Request => {
                let route = format!("GET /orders/{shape}/{{id}}");
                Request { service, at_ms, route, status: 200, took_us: took_us * 20, trace: trace(), span: span(), ..Request::default() }
                    .into()
            }
            EventKind::Call => {
                let peer = format!("bench-peer-{}", shape % 100);
                Call { service, at_ms, peer, outcome: CallOutcome::Ok, took_us, trace: trace(), span: span(), ..Call::default() }.into()
            }
            EventKind::Calls => {
                Calls { service, at_ms, peer: format!("bench-peer-{}", shape % 100), ok: 100, over_ms: 1_000, ..Calls::default() }.into()
            }
            EventKind::Breaker => {
                let peer = format!("bench-peer-{}", shape % 100);
                Breaker { service, at_ms, peer, epoch: at_ms, ..Breaker::default() }.into()
            }
            EventKind::Span => {
                let (trace, span) = (trace().unwrap_or_default(), span().unwrap_or_default());
                Span { service, at_ms, name: format!("work {shape}"), op: "internal".to_owned(), took_us, trace, span, ..Span::default() }
                    .into()
            }
            EventKind::Heartbeat => {
                let instance = Some(format!("{service}-{shape}"));
                Heartbeat { service, at_ms, instance, up_s: 100.0, interval_s: 600.0, ..Heartbeat::default() }.into()
            }
            EventKind::Resource => {
                let instance = Some(format!("{service}-{shape}"));
                let memory_bytes = 200_000_000 + number % 1_000_000;
                Resource { service, at_ms, instance, memory_bytes, memory_limit_bytes: Some(1_000_000_000), ..Resource::default() }.into()
            }
            EventKind::Pool => Pool { service, at_ms, name: format!("pool-{shape}"), used: 2, max: 10, ..Pool::default() }.into(),
            EventKind::Cache => {
                Cache { service, at_ms, name: format!("cache-{shape}"), hits: 95, misses: 5, over_ms: 1_000, ..Cache::default() }.into()
            }
            EventKind::Sample => {
                #[expect(clippy::cast_precision_loss, reason = "a value, not a count")]
                let value = Some(SampleValue::Number((number % 1_000) as f64));
                Sample { service, at_ms, model: format!("model-{shape}"), feature: "x".to_owned(), value, ..Sample::default() }.into()
            }
            // An order is refused on the command line.
            EventKind::Metric | EventKind::Order => {
                #[expect(clippy::cast_precision_loss, reason = "a value, not a count")]
                let value = (number % 100) as f64;
                Metric { service, at_ms, name: format!("series-{shape}"), value, ..Metric::default() }.into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_valid_and_of_as_many_services_and_shapes_as_was_said() {
        let kinds: Vec<EventKind> = EventKind::ALL.iter().copied().filter(|kind| *kind != EventKind::Order).collect();
        let mut load = Load::new(kinds.clone(), 3, 4, 5, 1);
        let messages: Vec<Vec<Event>> = (0..kinds.len() * 12).map(|_| load.next()).collect();
        for (message, kind) in messages.iter().zip(kinds.iter().cycle()) {
            assert!(message.len() == 5 && message.iter().all(|event| event.kind() == *kind && event.service() == message[0].service()));
            assert!(message.iter().all(|event| event.check().is_ok()), "{message:?}");
        }
        let of = |kind: EventKind| messages.iter().flatten().filter(move |event| event.kind() == kind);
        let services: std::collections::BTreeSet<&str> = of(EventKind::Query).map(Event::service).collect();
        assert_eq!(services.len(), 3);
        let statements: std::collections::BTreeSet<String> = of(EventKind::Query)
            .filter_map(|event| if let Event::Query(query) = event { Some(query.statement.clone()) } else { None })
            .collect();
        assert_eq!(statements.len(), 4);
    }
}
