//! What the query mind shows of itself: `/api/v1/queries`.

use super::advice::Advice;
use super::shapes::{Shape, Shapes};
use super::stats::Stats;
use super::{FINDINGS, QueryCore, names::OTHER};
use homeostat_schemas::UnixMs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything that can be seen of the query mind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QueryView {
    /// A row a shape, the one that took the most time first.
    pub queries: Vec<QueryRow>,
    /// The latest executions above `slow_ms`, newest first.
    pub slow: Vec<SlowExecution>,
    /// Counters over everything.
    pub totals: QueryTotals,
}

/// One shape of one service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QueryRow {
    /// The service.
    pub service: String,
    /// 16 hexadecimal characters, or `__other__` for what found no row of its own.
    pub fingerprint: String,
    /// The fingerprint of what the statement means, whatever the order of its parts; absent when it cannot be parsed.
    pub family: Option<String>,
    /// The statement in normal form: no literal is ever kept.
    pub statement: String,
    /// The database system as the sender named it.
    pub system: Option<String>,
    /// Executions.
    pub calls: u64,
    /// Those that failed.
    pub errors: u64,
    /// Rows returned or changed.
    pub rows: u64,
    /// Executions above `slow_ms`.
    pub slow_calls: u64,
    /// Answers that came from a cache; not among the calls.
    pub cached: u64,
    /// Mean time, ms.
    pub mean_ms: f64,
    /// Half of the executions took no longer, ms (within 1.6 %, as the other quantiles).
    pub p50_ms: f64,
    /// 95 % took no longer, ms.
    pub p95_ms: f64,
    /// 99 % took no longer, ms.
    pub p99_ms: f64,
    /// The slowest, ms.
    pub max_ms: f64,
    /// All together, ms.
    pub total_ms: f64,
    /// Its share of the service's whole time in the database, 0–1.
    pub share: f64,
    /// Log time of the first execution.
    pub first_seen_ms: UnixMs,
    /// Log time of the last execution.
    pub last_seen_ms: UnixMs,
    /// Rules that are open for it.
    pub findings: Vec<String>,
    /// What to do about it.
    pub advice: Vec<Advice>,
}

/// One execution above `slow_ms`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SlowExecution {
    /// The service.
    pub service: String,
    /// The shape.
    pub fingerprint: String,
    /// How long it took, ms.
    pub took_ms: f64,
    /// When it was reported, log time.
    pub at_ms: UnixMs,
    /// The trace it ran in.
    pub trace: Option<String>,
}

/// Counters over everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueryTotals {
    /// Executions counted.
    pub calls: u64,
    /// Those above `slow_ms`.
    pub slow_calls: u64,
    /// Shapes told apart.
    pub shapes: u64,
    /// Executions counted under `__other__`: there was no room for their service or their statement.
    pub other_calls: u64,
    /// Shapes that gave their place to new ones.
    pub retired_shapes: u64,
    /// Traces open now.
    pub open_traces: u64,
    /// Spans kept for them.
    pub open_spans: u64,
    /// Spans that were delivered again and counted once.
    pub redelivered: u64,
    /// Spans that were not looked at because their trace had too many.
    pub unseen_spans: u64,
    /// Traces closed early for want of room.
    pub evicted_traces: u64,
    /// Findings open now.
    pub findings: u64,
}

#[allow(clippy::cast_precision_loss)] // for show
pub(super) fn ms(us: u64) -> f64 {
    round(us as f64 / 1_000.0)
}

fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

#[allow(clippy::cast_precision_loss)]
pub(super) fn row(service: &str, stats: &Stats, service_us: u64) -> QueryRow {
    QueryRow {
        service: service.to_owned(),
        fingerprint: OTHER.to_owned(),
        statement: OTHER.to_owned(),
        calls: stats.calls,
        errors: stats.errors,
        rows: stats.rows,
        slow_calls: stats.slow_calls,
        cached: stats.cached,
        mean_ms: round(stats.mean_us() / 1_000.0),
        p50_ms: round(stats.quantile_us(0.50) / 1_000.0),
        p95_ms: round(stats.quantile_us(0.95) / 1_000.0),
        p99_ms: round(stats.quantile_us(0.99) / 1_000.0),
        max_ms: ms(stats.max_us),
        total_ms: ms(stats.total_us),
        share: if service_us == 0 { 0.0 } else { round(stats.total_us as f64 / service_us as f64) },
        first_seen_ms: stats.first_seen_ms,
        last_seen_ms: stats.last_seen_ms,
        ..QueryRow::default()
    }
}

fn full_row(shape: &Shape, shapes: &Shapes, service_us: u64, findings: Vec<String>) -> QueryRow {
    QueryRow {
        fingerprint: shape.fingerprint.to_string(),
        statement: shape.statement.to_string(),
        system: (shape.system != 0).then(|| shapes.systems.name(shape.system).to_owned()),
        findings,
        family: shape.family.map(|family| family.to_string()),
        advice: shape.advice.clone(),
        ..row(shapes.services.name(shape.service), &shape.stats, service_us)
    }
}

pub(super) fn view(core: &QueryCore) -> QueryView {
    let shapes = &core.shapes;
    let mut service_us: BTreeMap<u32, u64> = BTreeMap::new();
    let all =
        shapes.iter().map(|(_, shape)| (shape.service, &shape.stats)).chain(shapes.other.iter().map(|(service, stats)| (*service, stats)));
    for (service, stats) in all {
        let sum = service_us.entry(service).or_default();
        *sum = sum.saturating_add(stats.total_us);
    }
    let whole = |service: u32| service_us.get(&service).copied().unwrap_or(0);
    let mut open: BTreeMap<(u32, String), Vec<String>> = BTreeMap::new();
    for rule in FINDINGS {
        for (name, number) in shapes.services.all() {
            for labels in core.incidents.open_labels(rule, name) {
                let Some(fingerprint) = labels.get("fingerprint") else { continue };
                let rules = open.entry((number, fingerprint.clone())).or_default();
                if rules.last().is_none_or(|last| last != rule.name) {
                    rules.push(rule.name.to_owned());
                }
            }
        }
    }
    let mut queries: Vec<QueryRow> = shapes
        .iter()
        .map(|(_, shape)| {
            full_row(shape, shapes, whole(shape.service), open.remove(&(shape.service, shape.fingerprint.to_string())).unwrap_or_default())
        })
        .chain(shapes.other.iter().map(|(service, stats)| row(shapes.services.name(*service), stats, whole(*service))))
        .collect();
    queries.sort_by(|a, b| b.total_ms.total_cmp(&a.total_ms).then_with(|| (&a.service, &a.fingerprint).cmp(&(&b.service, &b.fingerprint))));
    QueryView { queries, slow: core.slow_list.iter().rev().cloned().collect(), totals: totals(core) }
}

fn totals(core: &QueryCore) -> QueryTotals {
    let stats = || core.shapes.iter().map(|(_, shape)| &shape.stats).chain(core.shapes.other.values());
    let of_other = core.shapes.iter().filter(|(_, shape)| core.shapes.services.name(shape.service) == OTHER).map(|(_, shape)| &shape.stats);
    let other = of_other.chain(core.shapes.other.values());
    QueryTotals {
        calls: stats().fold(0, |sum, stats| sum.saturating_add(stats.calls)),
        slow_calls: stats().fold(0, |sum, stats| sum.saturating_add(stats.slow_calls)),
        shapes: core.shapes.len() as u64,
        other_calls: other.fold(0, |sum, stats| sum.saturating_add(stats.calls)),
        retired_shapes: core.retired,
        open_traces: core.traces.len() as u64,
        open_spans: core.traces.spans() as u64,
        redelivered: core.traces.redelivered,
        unseen_spans: core.traces.unseen,
        evicted_traces: core.traces.evicted,
        findings: core.incidents.len() as u64,
    }
}
