//! What a digest found, as rows.

use super::{Digest, Row};
use crate::query::advice::{self, Advice, AdviceKind, AdviceStats};
use crate::query::config::QueryConfig;
use crate::query::family::analyse;
use crate::query::view::{self, QueryRow, ms};
use homeostat_reflexes::sql;
use homeostat_schemas::UnixMs;
use schemars::JsonSchema;
use serde::Serialize;

/// Everything that a digest of a log found.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct DigestReport {
    /// A row a statement, the one that took the most time first.
    pub queries: Vec<DigestRow>,
    /// Sums over everything.
    pub totals: Totals,
}

/// One statement of a log.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct DigestRow {
    /// As `/api/v1/queries` has it. Times of day are the log's own; 0 when it has none.
    #[serde(flatten)]
    pub row: QueryRow,
    /// OpenTelemetry's `db.query.summary` of it.
    pub summary: String,
    /// Its tables.
    pub tables: Vec<String>,
    /// Rows that were read, when the log says so.
    pub rows_examined: u64,
    /// Time spent waiting for locks, ms, when the log says so.
    pub lock_ms: f64,
    /// When its slowest execution ended.
    pub slowest_at_ms: UnixMs,
}

/// Sums over a log.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Totals {
    /// Entries read.
    pub entries: u64,
    /// Executions counted.
    pub calls: u64,
    /// Executions that failed.
    pub errors: u64,
    /// Statements told apart.
    pub shapes: u64,
    /// Executions counted under `__other__`.
    pub other_calls: u64,
    /// Time of all executions, ms.
    pub total_ms: f64,
    /// Time of the first entry; 0 when the log has no times.
    pub from_ms: UnixMs,
    /// Time of the last entry.
    pub until_ms: UnixMs,
    /// Statements of which the log does not say how long they took: not among the calls.
    pub untimed: u64,
    /// Durations of which the log does not say the statement: not among the calls.
    pub nameless: u64,
    /// Steps before an execution (parse, bind) that were logged by themselves: not among the calls.
    pub prepared: u64,
    /// Time of these steps, ms.
    pub prepared_ms: f64,
    /// Plans of `auto_explain`: not among the calls.
    pub plans: u64,
    /// What could not be understood: lines outside of an entry, entries without a statement.
    pub broken: u64,
}

impl Digest {
    /// The rows, the one that took the most time first. `service` is what they are named after.
    #[must_use]
    pub fn report(self, service: &str, config: &QueryConfig) -> DigestReport {
        let whole_us =
            self.rows.iter().map(|row| &row.stats).chain([&self.other]).fold(0u64, |sum, stats| sum.saturating_add(stats.total_us));
        let counts = self.counts;
        let mut totals = Totals {
            entries: counts.entries,
            shapes: self.rows.len() as u64,
            other_calls: self.other.calls,
            total_ms: ms(whole_us),
            from_ms: counts.from_ms,
            until_ms: counts.until_ms,
            untimed: counts.untimed,
            nameless: counts.nameless,
            prepared: counts.prepared,
            prepared_ms: ms(counts.prepared_us),
            plans: counts.plans,
            broken: counts.broken,
            ..Totals::default()
        };
        let minutes = minutes(counts.until_ms.saturating_sub(counts.from_ms));
        let dialect = self.dialect();
        let mut queries: Vec<DigestRow> = Vec::with_capacity(self.rows.len() + 1);
        for row in &self.rows {
            totals.calls += row.stats.calls;
            totals.errors += row.stats.errors;
            let analysis = (!row.command).then(|| analyse(&row.statement, dialect));
            let advice = match &analysis {
                Some(analysis) if row.whole => {
                    let all = advice::of_analysis(analysis, row.verb, dialect, &stats(row, minutes, config), &config.advice);
                    all.into_iter().filter(|advice| is_worth(row, advice, minutes, config)).collect()
                }
                _ => Vec::new(),
            };
            queries.push(DigestRow {
                row: QueryRow {
                    fingerprint: row.fingerprint.to_string(),
                    family: analysis.as_ref().map(|analysis| analysis.family.to_string()),
                    statement: row.statement.to_string(),
                    system: Some(dialect.as_str().to_owned()),
                    advice,
                    ..view::row(service, &row.stats, whole_us)
                },
                summary: if row.command { row.statement.to_string() } else { sql::summary(&row.statement, dialect) },
                tables: analysis.map(|analysis| analysis.tables).unwrap_or_default(),
                rows_examined: row.examined,
                lock_ms: ms(row.lock_us),
                slowest_at_ms: row.slowest_ms,
            });
        }
        if self.other.calls + self.other.errors > 0 {
            totals.calls += self.other.calls;
            totals.errors += self.other.errors;
            queries.push(DigestRow { row: view::row(service, &self.other, whole_us), ..DigestRow::default() });
        }
        queries.sort_by(|a, b| {
            b.row
                .total_ms
                .total_cmp(&a.row.total_ms)
                .then_with(|| (b.row.calls, &a.row.fingerprint).cmp(&(a.row.calls, &b.row.fingerprint)))
        });
        DigestReport { queries, totals }
    }
}

#[allow(clippy::cast_precision_loss)] // rates
fn minutes(span_ms: u64) -> f64 {
    (span_ms as f64 / 60_000.0).max(1.0)
}

#[allow(clippy::cast_precision_loss)] // rates
fn stats(row: &Row, minutes: f64, config: &QueryConfig) -> AdviceStats {
    let many = row.stats.calls >= 5 && row.many_rows.saturating_mul(20) >= row.stats.calls;
    AdviceStats {
        rows_p95: Some(if many { config.advice.limit_min_rows as f64 } else { 0.0 }),
        calls_per_min: Some((row.stats.calls as f64 / minutes).round()),
        p50_ms: Some(row.stats.quantile_us(0.5) / 1_000.0),
        ..AdviceStats::default()
    }
}

/// Advice needs a reason in the executions beside one in the statement, as with the live mind.
#[allow(clippy::cast_precision_loss)] // rates
fn is_worth(row: &Row, advice: &Advice, minutes: f64, config: &QueryConfig) -> bool {
    let slow = row.stats.mean_us() > config.slow_us() as f64;
    match advice.kind {
        AdviceKind::Index => slow || row.stats.total_us as f64 / 1_000.0 / minutes >= config.advice.index_min_ms_per_min as f64,
        AdviceKind::SelectStar => slow || row.stats.calls as f64 / minutes >= config.advice.star_min_calls_per_min as f64,
        AdviceKind::MissingLimit | AdviceKind::Cache | AdviceKind::EagerLoading | AdviceKind::BulkWrite => true,
    }
}
