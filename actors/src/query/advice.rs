//! What could be better about a statement, and why: pure, from its text and what is known of its executions.

use super::config::AdviceConfig;
use super::family::{Analysis, analyse};
use super::index::{IndexCandidate, candidates, is_system};
use homeostat_reflexes::sql::{Dialect, Normaliser, Verb};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What kind of advice it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdviceKind {
    /// Create an index.
    Index,
    /// Name the columns.
    SelectStar,
    /// Bound the result.
    MissingLimit,
    /// Keep the answer.
    Cache,
    /// Load related rows together.
    EagerLoading,
    /// Write several rows a statement.
    BulkWrite,
}

impl AdviceKind {
    /// The word on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            AdviceKind::Index => "index",
            AdviceKind::SelectStar => "select_star",
            AdviceKind::MissingLimit => "missing_limit",
            AdviceKind::Cache => "cache",
            AdviceKind::EagerLoading => "eager_loading",
            AdviceKind::BulkWrite => "bulk_write",
        }
    }
}

/// One piece of advice. What does not apply to its kind is `null` or empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Advice {
    /// What kind.
    pub kind: AdviceKind,
    /// Why, in a sentence.
    pub reason: String,
    /// Of an index: the table, without quotes.
    pub table: Option<String>,
    /// Of an index: its columns in order, without quotes; with an operator class where one is needed.
    pub columns: Vec<String>,
    /// Of an index: `btree` or `gin`.
    pub using: Option<String>,
    /// Of an index: the exact statement that creates it.
    pub ddl: Option<String>,
    /// Of an index: whether a planner confirmed that it would be used; `false` means that nobody asked one.
    pub verified: Option<bool>,
    /// Of a verified index: planned cost with it over planned cost without it.
    pub cost_ratio: Option<f64>,
}

/// What is known of the executions of a statement. What is not known is not held against it, and gives no advice that
/// needs it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AdviceStats {
    /// 95 % of the executions return no more rows than this.
    pub rows_p95: Option<f64>,
    /// Executions a minute.
    pub calls_per_min: Option<f64>,
    /// Different parameters over executions, 0–1.
    pub distinct_param_ratio: Option<f64>,
    /// Median time, ms.
    pub p50_ms: Option<f64>,
    /// Writes a minute to the tables it reads.
    pub writes_to_tables_per_min: Option<f64>,
    /// Executions inside one request.
    #[serde(alias = "repeats", alias = "repeats_per_request")]
    pub repeats_per_trace: Option<f64>,
}

/// Below this much saved time in a minute a cache is not worth its trouble, ms.
const CACHE_MIN_MS_PER_MIN: f64 = 300.0;
/// From so many repeats in one request on they are worth a word: as `n_plus_one.min_count`.
const REPEATS_MIN: f64 = 5.0;

/// What could be better about a statement, with the thresholds of the default settings. Indexes are unverified.
///
/// Never fails: a statement that cannot be parsed gets no advice that depends on its structure.
#[must_use]
pub fn advise(sql: &str, dialect: Dialect, stats: Option<&AdviceStats>) -> Vec<Advice> {
    let mut normaliser = Normaliser::new();
    let seen = normaliser.normalise(sql, dialect);
    if seen.shape.is_unterminated() {
        return Vec::new();
    }
    let mut analysis = analyse(seen.normal, dialect);
    analysis.bounded &= !seen.shape.has_null_limit();
    of_analysis(&analysis, seen.verb, dialect, stats.unwrap_or(&AdviceStats::default()), &AdviceConfig::default())
}

/// As [`advise`], of a statement that has been analysed.
pub(super) fn of_analysis(analysis: &Analysis, verb: Verb, dialect: Dialect, stats: &AdviceStats, config: &AdviceConfig) -> Vec<Advice> {
    let mut advice = indexes(analysis, verb, dialect);
    if !analysis.parsed {
        return advice;
    }
    let reads = verb == Verb::Select && !analysis.writes;
    if matches!(verb, Verb::Select | Verb::Insert) && analysis.select_star {
        advice.push(plain(
            AdviceKind::SelectStar,
            "it reads every column: naming those that are used saves transfer, lets an index answer alone, and keeps working when a column is added",
        ));
    }
    if reads {
        advice.extend(missing_limit(analysis, stats, config));
        advice.extend(cache(analysis, stats, config));
    }
    if stats.repeats_per_trace.is_some_and(|repeats| repeats >= REPEATS_MIN) {
        let repeats = stats.repeats_per_trace.unwrap_or(0.0);
        if verb.is_write() || analysis.writes {
            advice.push(plain(AdviceKind::BulkWrite, format!("it runs {repeats} times in one request: write several rows a statement")));
        } else if reads {
            advice.push(plain(AdviceKind::EagerLoading, format!("it runs {repeats} times in one request: load the related rows together")));
        }
    }
    advice
}

pub(super) fn plain(kind: AdviceKind, reason: impl Into<String>) -> Advice {
    Advice { kind, reason: reason.into(), table: None, columns: Vec::new(), using: None, ddl: None, verified: None, cost_ratio: None }
}

/// Unverified index advice.
pub(super) fn indexes(analysis: &Analysis, verb: Verb, dialect: Dialect) -> Vec<Advice> {
    if !analysis.parsed || !matches!(verb, Verb::Select | Verb::Update | Verb::Delete | Verb::Merge) {
        return Vec::new();
    }
    candidates(analysis, dialect).into_iter().map(|candidate| index(candidate, dialect, None)).collect()
}

/// Index advice; `cost_ratio` when a planner was asked.
pub(super) fn index(candidate: IndexCandidate, dialect: Dialect, cost_ratio: Option<f64>) -> Advice {
    let on = format!("{} ({})", candidate.table, candidate.columns.join(", "));
    let reason = match cost_ratio {
        Some(ratio) if ratio < 0.01 => format!("with an index on {on} the planner expects less than 1 % of the cost"),
        Some(ratio) => format!("with an index on {on} the planner expects {:.0} % of the cost", ratio * 100.0),
        None => format!("it looks rows up, joins or sorts by {on}; unverified: nobody asked a planner, and the index may be there already"),
    };
    Advice {
        ddl: Some(candidate.ddl(dialect)),
        table: Some(candidate.table),
        columns: candidate.columns,
        using: Some(candidate.using),
        verified: Some(cost_ratio.is_some()),
        cost_ratio,
        ..plain(AdviceKind::Index, reason)
    }
}

/// Index advice of a planner. An index of a partitioned table cannot be created concurrently.
#[must_use]
pub fn planned(candidate: IndexCandidate, dialect: Dialect, cost_ratio: f64, partitioned: bool) -> Advice {
    let mut advice = index(candidate, dialect, Some(cost_ratio));
    if partitioned {
        advice.ddl = advice.ddl.map(|ddl| ddl.replacen(" CONCURRENTLY", "", 1));
    }
    advice
}

/// Only of a statement that was seen to return many rows: whether that is a large table the text does not tell.
fn missing_limit(analysis: &Analysis, stats: &AdviceStats, config: &AdviceConfig) -> Option<Advice> {
    if analysis.bounded || analysis.tables.is_empty() {
        return None;
    }
    #[allow(clippy::cast_precision_loss)] // a threshold
    let many = config.limit_min_rows as f64;
    let rows = stats.rows_p95.filter(|rows| *rows >= many)?;
    let reason = format!("nothing bounds its result, and one execution in twenty returns {rows} rows or more");
    Some(plain(AdviceKind::MissingLimit, reason))
}

/// The database's own tables change with the server and the session, without any write that could be counted.
fn cache(analysis: &Analysis, stats: &AdviceStats, config: &AdviceConfig) -> Option<Advice> {
    let kept = !analysis.volatile && !analysis.locking && !analysis.tables.is_empty();
    if !kept || analysis.tables.iter().any(|table| is_system(table)) {
        return None;
    }
    let (calls, distinct) = (stats.calls_per_min?, stats.distinct_param_ratio?);
    let writes = stats.writes_to_tables_per_min.unwrap_or(0.0);
    #[allow(clippy::cast_precision_loss)] // a threshold
    let hot = calls >= config.cache_min_calls_per_min as f64 && stats.p50_ms.is_none_or(|p50| p50 * calls >= CACHE_MIN_MS_PER_MIN);
    let worth = hot && distinct <= config.cache_max_distinct_ratio && writes <= calls * config.cache_max_write_ratio;
    worth.then(|| {
        let known = ((1.0 - distinct) * 100.0).round();
        plain(AdviceKind::Cache, format!("it is asked {calls} times a minute, {known} % of the questions were asked before, and its tables are written {writes} times a minute"))
    })
}
