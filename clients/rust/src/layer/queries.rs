//! A `tracing` layer that makes `query` events of what sqlx 0.9 says of the statements it executes.
//!
//! sqlx speaks on target `sqlx::query`, at the level `ConnectOptions::log_statements` sets (`Debug` by default), and
//! at `log_slow_statements` for slow ones. It says `elapsed_secs`, `rows_returned`, `rows_affected`, `summary` (the first four
//! words) and `db.statement`, which is empty when the summary is the whole statement. It says nothing of failures.
//!
//! sqlx's SQLite driver speaks from a thread of its own, inside the span of the task that asked: the trace is therefore found
//! in the spans around the event as well as in the task.

use crate::client::{Client, Inner};
use crate::pack::{STATEMENT_MAX, cut};
use crate::trace::Context;
use homeostat_schemas::event::Query;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterFn, Filtered, filter_fn};
use tracing_subscriber::layer::Context as Registry;
use tracing_subscriber::registry::LookupSpan;

/// The layer, with its filter: it wants what sqlx says and the spans of requests, whatever other layers want.
///
/// ```no_run
/// use tracing_subscriber::prelude::*;
/// # async fn f(client: homeostat_client::Client) {
/// tracing_subscriber::registry()
///     .with(homeostat_client::layer::sqlx(&client, "sqlite"))
///     // .with(fmt::layer().with_filter(EnvFilter::from_default_env())): filters belong to their layers. One that is added
///     // to the registry itself decides for all of them, and would have to let `sqlx::query=debug` through.
///     .init();
/// # }
/// ```
///
/// `system` is the database system as OpenTelemetry calls it: `postgresql`, `mysql`, `sqlite`.
#[must_use]
pub fn sqlx<S>(client: &Client, system: &'static str) -> Filtered<Queries, FilterFn, S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let wanted = |metadata: &Metadata<'_>| match metadata.target() {
        // sqlx asks first whether anybody wants it: such a hint is neither event nor span.
        "sqlx::query" => !metadata.is_span() && *metadata.level() <= Level::DEBUG,
        "homeostat::request" => metadata.is_span(),
        _ => false,
    };
    let filter: FilterFn = filter_fn(wanted);
    // The subscriber lives as long as the process; it must not keep the client alive.
    Queries { client: Arc::downgrade(&client.inner), system }.with_filter(filter)
}

/// See [`sqlx`].
#[derive(Clone)]
pub struct Queries {
    client: Weak<Inner>,
    system: &'static str,
}

impl std::fmt::Debug for Queries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Queries")
    }
}

impl<S> Layer<S> for Queries
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, registry: Registry<'_, S>) {
        let mut found = Parent(None);
        attributes.record(&mut found);
        if let (Some(context), Some(span)) = (found.0, registry.span(id)) {
            span.extensions_mut().insert(context);
        }
    }

    fn on_event(&self, event: &Event<'_>, registry: Registry<'_, S>) {
        let Some(client) = self.client.upgrade() else { return };
        let mut said = Said::default();
        event.record(&mut said);
        let Some(took) = said.took else { return };
        let mut statement = if said.statement.is_empty() { said.summary } else { said.statement };
        let truncated = cut(&mut statement, STATEMENT_MAX).then_some(true);
        if statement.is_empty() {
            return;
        }
        let around = || {
            let mut scope = registry.event_scope(event)?;
            scope.find_map(|span| span.extensions().get::<Context>().copied())
        };
        let context = Context::current().or_else(around);
        let query = Query {
            statement,
            took_us: crate::us(took),
            system: Some(self.system.to_owned()),
            rows: Some(said.returned.max(said.affected)),
            trace: context.map(|context| context.trace_id()),
            parent: context.map(|context| context.span_id()),
            truncated,
            ..Query::default()
        };
        let _ = client.event(query.into(), context);
    }
}

/// What sqlx says.
#[derive(Default)]
struct Said {
    summary: String,
    statement: String,
    returned: u64,
    affected: u64,
    took: Option<Duration>,
}

impl Visit for Said {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "elapsed_secs" {
            self.took = Duration::try_from_secs_f64(value).ok();
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "rows_returned" => self.returned = value,
            "rows_affected" => self.affected = value,
            _ => {}
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => value.clone_into(&mut self.summary),
            "db.statement" => value.trim().clone_into(&mut self.statement),
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

/// The trace of a request's span.
struct Parent(Option<Context>);

impl Visit for Parent {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "homeostat.traceparent" {
            self.0 = Context::from_traceparent(value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "homeostat.traceparent" {
            self.0 = Context::from_traceparent(&format!("{value:?}"));
        }
    }
}
