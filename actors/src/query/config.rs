//! The thresholds of the query mind. The documentation of each field is its manual.

use homeostat_reflexes::sql::Verb;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the query mind, `[actors.query]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QueryConfig {
    /// A query shape is slow when its mean time over `slow_window_s` exceeds this, milliseconds. Every single execution
    /// above it is counted and the latest are listed.
    pub slow_ms: u64,
    /// The window over which the mean is taken, seconds. It slides in twelfths.
    pub slow_window_s: u64,
    /// So many executions must be in the window before the mean is believed.
    pub min_calls: u64,
    /// A slow shape has recovered when its mean falls below this share of `slow_ms`.
    pub resolve_ratio: f64,
    /// A slow shape has also recovered when it has not been executed for so many minutes.
    pub quiet_min: u64,
    /// How many slow executions are listed.
    pub slow_list_max: usize,
    /// Repeated queries inside one request.
    pub n_plus_one: NPlusOneConfig,
    /// Shapes that have become slower than they were.
    pub regression: RegressionConfig,
    /// Advice.
    pub advice: AdviceConfig,
    /// Caches, from `cache` events.
    pub cache: CacheConfig,
    /// So many shapes (service and fingerprint) are told apart; executions of further ones are counted under `__other__`
    /// until a shape has not been seen for `shape_idle_h`.
    pub shapes_max: usize,
    /// A shape that has not been seen for so many hours gives its place to a new one when there is no other.
    pub shape_idle_h: u64,
    /// So many services are told apart; the rest is `__other__`.
    pub services_max: usize,
    /// A longer normal form is kept, shown and published only up to here, bytes. Its fingerprint is that of the whole.
    pub statement_max_bytes: usize,
    /// So many traces are open at a time. When one more begins, the one that has been quiet for longest is closed.
    pub traces_max: usize,
    /// So many spans of one trace are looked at; what comes beyond is counted in the statistics alone.
    pub spans_per_trace_max: usize,
    /// So many spans are kept over all open traces. Beyond, the trace that has been quiet for longest is closed.
    pub spans_max: usize,
    /// A trace is over when nothing of it has come for so long, milliseconds. Until then the same span delivered again
    /// counts once.
    pub trace_idle_ms: u64,
    /// After its root request a trace is judged at the next tick; when parts of it still come in after the root, as soon
    /// as none has come for so long, milliseconds.
    pub join_grace_ms: u64,
}

impl Default for QueryConfig {
    fn default() -> Self {
        QueryConfig {
            slow_ms: 100,
            slow_window_s: 60,
            min_calls: 1,
            resolve_ratio: 0.8,
            quiet_min: 10,
            slow_list_max: 100,
            n_plus_one: NPlusOneConfig::default(),
            regression: RegressionConfig::default(),
            advice: AdviceConfig::default(),
            cache: CacheConfig::default(),
            shapes_max: 20_000,
            shape_idle_h: 1,
            services_max: 1_000,
            statement_max_bytes: 4_096,
            traces_max: 20_000,
            spans_per_trace_max: 2_000,
            spans_max: 200_000,
            trace_idle_ms: 30_000,
            join_grace_ms: 200,
        }
    }
}

/// Settings of `query.n_plus_one`, `query.duplicate` and `query.n_plus_one_write`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NPlusOneConfig {
    /// So many repeats of one shape under one caller are a finding.
    pub min_count: usize,
    /// The repeats must have taken so long together, milliseconds: the time during which at least one of them ran.
    pub min_total_ms: u64,
    /// Which statements are looked at.
    pub kinds: Vec<StatementKind>,
    /// Shapes whose normal form contains one of these texts are left alone.
    pub ignore_queries: Vec<String>,
    /// Queries whose `source` contains one of these texts are left alone.
    pub ignore_sources: Vec<String>,
}

impl Default for NPlusOneConfig {
    fn default() -> Self {
        use StatementKind::{Call, Delete, Document, Insert, Merge, Select, Update};
        NPlusOneConfig {
            min_count: 5,
            min_total_ms: 50,
            kinds: vec![Select, Insert, Update, Delete, Merge, Call, Document],
            ignore_queries: Vec::new(),
            // Rails: a validation has to ask row by row, and find_each is a walk by key.
            ignore_sources: vec!["active_record/validations/uniqueness".to_owned(), "active_record/relation/batches".to_owned()],
        }
    }
}

/// What a statement does, as far as N+1 tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StatementKind {
    /// Reads.
    #[serde(alias = "SELECT")]
    Select,
    /// Adds rows.
    #[serde(alias = "INSERT")]
    Insert,
    /// Changes rows.
    #[serde(alias = "UPDATE")]
    Update,
    /// Removes rows.
    #[serde(alias = "DELETE")]
    Delete,
    /// Adds or changes rows.
    #[serde(alias = "MERGE")]
    Merge,
    /// Runs a procedure or a prepared statement.
    #[serde(alias = "CALL")]
    Call,
    /// A command of a document store.
    Document,
    /// A command of a key-value store: cheap by design, so not looked at unless named.
    KeyValue,
    /// A statement nobody knows.
    Other,
}

impl StatementKind {
    /// The kind of a verb; `None` for what is about the connection, the session or the schema and never a finding.
    #[must_use]
    pub fn of(verb: Verb) -> Option<StatementKind> {
        Some(match verb {
            Verb::Select => StatementKind::Select,
            Verb::Insert => StatementKind::Insert,
            Verb::Update => StatementKind::Update,
            Verb::Delete => StatementKind::Delete,
            Verb::Merge => StatementKind::Merge,
            Verb::Call => StatementKind::Call,
            Verb::Document => StatementKind::Document,
            Verb::KeyValue => StatementKind::KeyValue,
            Verb::Other => StatementKind::Other,
            Verb::Ddl | Verb::Transaction | Verb::Session | Verb::Connect | Verb::Explain => return None,
        })
    }
}

/// Settings of `query.regressed`: a CUSUM on the logarithm of the time of each execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RegressionConfig {
    /// The first so many executions of a shape are its baseline. A baseline of few is off by too much.
    pub learn_calls: u32,
    /// What is taken off at every step, in deviations: changes of less than twice this are not looked for.
    pub k: f64,
    /// The height at which the alert is raised. With k = 0.5, 16 gives about one false alarm in a million executions, and
    /// twice as slow is seen after about 27.
    pub h: f64,
    /// The executions since the change must be slower than the baseline by this factor.
    pub min_ratio: f64,
    /// After so many hours the new pace is the baseline, and the alert resolves.
    pub rebaseline_h: u64,
}

impl Default for RegressionConfig {
    fn default() -> Self {
        RegressionConfig { learn_calls: 400, k: 0.5, h: 16.0, min_ratio: 1.5, rebaseline_h: 24 }
    }
}

/// Settings of `query.advice`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdviceConfig {
    /// Have each index of a PostgreSQL shape checked by a planner before it is advised (the hand `index_advice`, table `[planner]`).
    /// Without it, and when no planner is configured or it does not answer in time, the advice says that it is unverified.
    pub verify_indexes: bool,
    /// How long that check may take, milliseconds.
    pub verify_timeout_ms: u64,
    /// So many checks are under way at a time; a shape that finds no room is looked at again later.
    pub verify_max: usize,
    /// So many shapes are watched for the effect of an index at a time.
    pub effects_max: usize,
    /// After an advised index was created, so many executions are needed before its effect is judged.
    pub effect_min_calls: u64,
    /// By this share the executions must have become shorter for the index to count as effective.
    pub effect_min_gain: f64,
    /// What the executions leave open is decided after so many hours.
    pub effect_max_h: u64,
    /// An index is looked for when a shape is slow, or when it reads for so many milliseconds in each minute.
    pub index_min_ms_per_min: u64,
    /// A result of more rows than this (95 % of executions) without a limit is worth a word.
    pub limit_min_rows: u64,
    /// `SELECT *` is worth a word from so many calls a minute, or when the shape is slow.
    pub star_min_calls_per_min: u64,
    /// An answer is worth keeping when it is asked for so often in a minute…
    pub cache_min_calls_per_min: u64,
    /// …when at most this share of the questions is a new one…
    pub cache_max_distinct_ratio: f64,
    /// …and when its tables are written at most this often for each read.
    pub cache_max_write_ratio: f64,
}

impl Default for AdviceConfig {
    fn default() -> Self {
        AdviceConfig {
            verify_indexes: true,
            verify_timeout_ms: 10_000,
            verify_max: 8,
            effects_max: 1_000,
            effect_min_calls: 50,
            effect_min_gain: 0.2,
            effect_max_h: 24,
            index_min_ms_per_min: 6_000,
            limit_min_rows: 1_000,
            star_min_calls_per_min: 60,
            cache_min_calls_per_min: 60,
            cache_max_distinct_ratio: 0.5,
            cache_max_write_ratio: 0.1,
        }
    }
}

/// Settings of `query.cache_cold`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// The window over which hits and misses are added up, seconds. It slides in sixths.
    pub window_s: u64,
    /// So many look-ups must be in the window before their share is believed.
    pub min_lookups: u64,
    /// Below this share of hits a cache is cold.
    pub cold_ratio: f64,
    /// From this share on it is warm again.
    pub warm_ratio: f64,
    /// The share that a good cache has; shown beside the measured one.
    pub goal_ratio: f64,
    /// So many caches are told apart.
    pub caches_max: usize,
}

impl Default for CacheConfig {
    fn default() -> Self {
        CacheConfig { window_s: 300, min_lookups: 100, cold_ratio: 0.6, warm_ratio: 0.7, goal_ratio: 0.95, caches_max: 1_000 }
    }
}

impl QueryConfig {
    /// The limit of `query.slow`, microseconds.
    #[must_use]
    pub fn slow_us(&self) -> u64 {
        self.slow_ms.saturating_mul(1_000)
    }

    /// Below this mean a slow shape has recovered, microseconds.
    #[must_use]
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn recovered_us(&self) -> u64 {
        // A conversion from float saturates; a ratio above 1 would make an alert flap.
        (self.slow_us() as f64 * self.resolve_ratio.clamp(0.0, 1.0)) as u64
    }
}
