//! Scripted cases: `homeostat health replay`. Three kinds, each judged by the machinery of the mind itself.
//!
//! | kind | gives | is asked |
//! |---|---|---|
//! | `aggregate` | `{status, http}` | what do these statuses add up to (Spring Boot's rules)? |
//! | `threshold` | `[[t_s, state, what]…]` | what does the kubelet make of these probe results? |
//! | `composite`, `edge` | `{live, ready, http, why}`, or a list of them for `samples` | what is the verdict at this instant? |
//!
//! When a case says what it expects, that is also the list of fields it asks for.

use super::error_rate::Requests;
use super::streak::Streak;
use super::verdict::{Criticality, Observed, Part, Status, Verdict, uniform};
use super::{HealthConfig, checks};
use homeostat_schemas::event::Check;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// A case that cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// It is not in the format of the cases.
    #[error("not a case of kind `{kind}`: {why}")]
    Form {
        /// The kind it claims to be.
        kind: String,
        /// The parser's word.
        why: serde_json::Error,
    },
    /// No such kind.
    #[error("no such kind of case: `{0}` (known are aggregate, threshold, composite and edge)")]
    Kind(String),
    /// A threshold case that asks for too much.
    #[error("`results` has {0} entries, more than {RESULTS_MAX}")]
    Results(usize),
    /// A composite case with nothing to judge.
    #[error("a composite case has `samples` or `components`")]
    Empty,
}

/// Longest series of probe results.
const RESULTS_MAX: usize = 100_000;

/// Judges one case; the result is shaped like the case's `expect`.
///
/// # Errors
/// When the case is not in the format.
pub fn replay_case(case: &Value) -> Result<Value, CaseError> {
    let kind = case.get("kind").and_then(Value::as_str).unwrap_or_default();
    let asked = case.get("expect");
    match kind {
        "aggregate" => read::<AggregateCase>(kind, case).map(|case| asked_for(asked, case.judge(), &[])),
        "threshold" => read::<ThresholdCase>(kind, case)?.judge(),
        "composite" | "edge" => read::<CompositeCase>(kind, case)?.judge(asked),
        other => Err(CaseError::Kind(other.chars().take(100).collect())),
    }
}

fn read<'de, T: Deserialize<'de>>(kind: &str, case: &'de Value) -> Result<T, CaseError> {
    T::deserialize(case).map_err(|why| CaseError::Form { kind: kind.to_owned(), why })
}

/// Of a full answer, the fields that are asked for; when nothing says which, all but `extra`.
fn asked_for(asked: Option<&Value>, full: Map<String, Value>, extra: &[&str]) -> Value {
    let wanted = |field: &str| match asked.and_then(Value::as_object) {
        Some(asked) => asked.contains_key(field),
        None => !extra.contains(&field),
    };
    Value::Object(full.into_iter().filter(|(field, _)| wanted(field)).collect())
}

/// Fields keep their order in the file, which is that of the mind's own components; `preserve_order` is not needed, as only the
/// reasons of a verdict are ordered and those of a case's components are in the order of their names.
type Named<T> = std::collections::BTreeMap<String, T>;

#[derive(Debug, Deserialize)]
struct AggregateCase {
    #[serde(default)]
    components: Named<Node>,
}

/// A status, or a composite of more components.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Node {
    Word(String),
    Composite {
        components: Named<Node>,
    },
    Status {
        status: String,
    },
    /// Anything else is a foreign word.
    Other(serde::de::IgnoredAny),
}

impl Node {
    /// What it adds, and the word as it stood there: the answer says it in the same spelling.
    fn status(&self) -> Option<(Status, &str)> {
        match self {
            Node::Word(word) | Node::Status { status: word } => Status::of(word).map(|status| (status, word.as_str())),
            Node::Composite { components } => Some(aggregate(components)),
            Node::Other(_) => None,
        }
    }
}

fn aggregate(components: &Named<Node>) -> (Status, &str) {
    let known: Vec<(Status, &str)> = components.values().filter_map(Node::status).collect();
    let status = Status::aggregate(known.iter().map(|(status, _)| *status));
    let word = known.iter().find(|(one, _)| *one == status).map_or(status.name(), |(_, word)| word);
    (status, word)
}

impl AggregateCase {
    fn judge(&self) -> Map<String, Value> {
        let (status, word) = aggregate(&self.components);
        Map::from_iter([("status".to_owned(), word.into()), ("http".to_owned(), status.http().into())])
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ProbeKind {
    Liveness,
    Readiness,
    Startup,
}

/// A probe's timeline. Defaults are those of Kubernetes.
#[derive(Debug, Deserialize)]
struct ThresholdCase {
    probe: ProbeKind,
    #[serde(default = "ten")]
    period_s: u64,
    #[serde(default = "three")]
    failure_threshold: u32,
    #[serde(default = "one")]
    success_threshold: u32,
    #[serde(default)]
    initial_delay_s: u64,
    /// A letter a period: `S` success, `W` success with a warning, `F` failure; anything else is an error of the prober itself,
    /// whose result is thrown away.
    results: String,
}

const fn ten() -> u64 {
    10
}
const fn three() -> u32 {
    3
}
const fn one() -> u32 {
    1
}

impl ThresholdCase {
    /// The kubelet's worker (`pkg/kubelet/prober/worker.go`, `doProbe`) on one container that is never replaced: on hold it does
    /// not probe, nor during the initial delay; a failed liveness or any decided startup probe puts it on hold.
    fn judge(&self) -> Result<Value, CaseError> {
        if self.results.len() > RESULTS_MAX {
            return Err(CaseError::Results(self.results.len()));
        }
        let mut streak = Streak::new(match self.probe {
            ProbeKind::Liveness => Some(true),
            ProbeKind::Readiness => Some(false),
            ProbeKind::Startup => None,
        });
        let mut on_hold = false;
        let mut at_s: u64 = 0;
        let mut trace = Vec::new();
        for letter in self.results.chars() {
            let result = match letter {
                'S' | 's' | 'W' | 'w' => Some(true),
                'F' | 'f' => Some(false),
                _ => None,
            };
            let what = match result {
                _ if on_hold => "on_hold",
                _ if at_s < self.initial_delay_s => "initial_delay",
                None => "error",
                Some(good) if !streak.take(good, self.failure_threshold, self.success_threshold) => "below_threshold",
                Some(good) => {
                    if self.probe == ProbeKind::Startup || self.probe == ProbeKind::Liveness && !good {
                        on_hold = true;
                        streak.restart();
                    }
                    if on_hold && !good { "RESTART" } else { "set" }
                }
            };
            let state = match streak.state() {
                Some(true) => "S",
                Some(false) => "F",
                None => "U",
            };
            trace.push(json!([at_s, state, what]));
            at_s = at_s.saturating_add(self.period_s);
        }
        Ok(Value::Array(trace))
    }
}

#[derive(Debug, Deserialize)]
struct CompositeCase {
    #[serde(default)]
    config: Edges,
    samples: Option<Vec<Sample>>,
    components: Option<Named<ComponentCase>>,
}

/// The thresholds of a case; what it leaves out is as in the settings' defaults.
#[derive(Debug, Default, Deserialize)]
struct Edges {
    db_ms_max: Option<f64>,
    /// Only when a case names it: the four checks of the seed know no slow database.
    db_ms_warn: Option<f64>,
    mem_pct_max: Option<f64>,
    min_uptime_s: Option<f64>,
    err_pct_max: Option<f64>,
    min_calls: Option<u64>,
    pool_pct_max: Option<f64>,
    stale_s: Option<f64>,
}

/// A value that may be missing (nothing is checked) or `null` (it is checked, but nobody knows).
type Measured = Option<Option<f64>>;

fn measured<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Measured, D::Error> {
    Option::<f64>::deserialize(deserializer).map(Some)
}

/// What is measured at one instant.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Sample {
    #[serde(deserialize_with = "measured")]
    db_ms: Measured,
    db_error: Option<Value>,
    #[serde(deserialize_with = "measured")]
    mem_pct: Measured,
    #[serde(deserialize_with = "measured")]
    uptime_s: Measured,
    err: Option<u64>,
    calls: Option<u64>,
    #[serde(deserialize_with = "measured")]
    pool_pct: Measured,
    age_s: Option<f64>,
    expect: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum ComponentCase {
    Word(String),
    Full {
        #[serde(default)]
        status: Option<String>,
        #[serde(default)]
        criticality: Option<String>,
        #[serde(default)]
        required: Option<bool>,
        #[serde(default)]
        age_s: Option<f64>,
    },
}

impl CompositeCase {
    fn judge(&self, asked: Option<&Value>) -> Result<Value, CaseError> {
        if let Some(samples) = &self.samples {
            let judged = samples.iter().map(|sample| {
                let verdict = Verdict::of(&sample.parts(&self.config));
                let extra: &[&str] = if verdict.why.is_empty() { &["status", "why"] } else { &["status"] };
                asked_for(sample.expect.as_ref(), fields(&verdict), extra)
            });
            return Ok(Value::Array(judged.collect()));
        }
        let components = self.components.as_ref().ok_or(CaseError::Empty)?;
        let parts: Vec<Part> = components.iter().map(|(name, component)| component.part(name, &self.config)).collect();
        Ok(asked_for(asked, fields(&Verdict::of(&parts)), &["status", "why"]))
    }
}

fn fields(verdict: &Verdict) -> Map<String, Value> {
    match serde_json::to_value(verdict) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

#[allow(clippy::cast_precision_loss)] // thresholds in seconds and milliseconds lie far below 2^53
fn default_of(set: Option<f64>, default: u64) -> f64 {
    set.unwrap_or(default as f64)
}

impl Sample {
    /// Parts in the order of the four checks: database, memory, uptime, error rate.
    fn parts(&self, edges: &Edges) -> Vec<Part> {
        let default = HealthConfig::default();
        let stale = self.age_s.is_some_and(|age| age > edges.stale_s.unwrap_or(default_of(None, default.stale_ms / 1000)));
        let percent = |set: Option<f64>, default: f64| set.unwrap_or(default * 100.0) / 100.0;
        let judge = |measured: Measured, judge: &dyn Fn(f64) -> Observed| {
            measured.map(|value| value.filter(|_| !stale).map_or(Observed::Unknown, judge))
        };
        let mut parts = Vec::new();

        let failed = self.db_error.as_ref().is_some_and(|error| !matches!(error, Value::Null | Value::Bool(false)));
        let limit = default_of(edges.db_ms_max, default.probe_fail_ms);
        let database = judge(self.db_ms, &|ms| match ms {
            ms if ms >= limit => Observed::Fail,
            ms if edges.db_ms_warn.is_some_and(|warn| ms >= warn) => Observed::Warn,
            _ => Observed::Pass,
        });
        let database = if failed { Some(Observed::Fail) } else { database };
        parts.extend(database.map(|observed| Part::new("db", observed, Criticality::Required)));

        let limit = percent(edges.mem_pct_max, default.memory);
        let memory = judge(self.mem_pct, &|used| if used / 100.0 >= limit { Observed::Warn } else { Observed::Pass });
        parts.extend(memory.map(|observed| Part::new("memory", observed, Criticality::Optional)));

        let limit = default_of(edges.min_uptime_s, default.min_uptime_ms / 1000);
        let uptime = judge(self.uptime_s, &|up| if up > limit { Observed::Pass } else { Observed::Starting });
        parts.extend(uptime.map(|observed| Part::new("starting", observed, Criticality::Required)));

        if self.calls.is_some() || self.err.is_some() {
            let errors = self.err.unwrap_or(0);
            let requests = Requests { total: self.calls.unwrap_or(0).max(errors), errors };
            let judged =
                requests.judge(percent(edges.err_pct_max, default.error_rate), edges.min_calls.unwrap_or(default.error_rate_min_requests));
            let mut part = Part::new("error_rate", judged.unwrap_or(Observed::Pass), Criticality::Required);
            part.note = judged.is_none().then_some("too_few");
            parts.push(part);
        }

        let limit = percent(edges.pool_pct_max, default.pool);
        let pool = judge(self.pool_pct, &|used| if used / 100.0 >= limit { Observed::Warn } else { Observed::Pass });
        parts.extend(pool.map(|observed| Part::new("pool", observed, Criticality::Optional)));
        parts
    }
}

impl ComponentCase {
    fn part(&self, name: &str, edges: &Edges) -> Part {
        let (status, criticality, required, age_s) = match self {
            ComponentCase::Word(word) => (Some(word.as_str()), None, None, None),
            ComponentCase::Full { status, criticality, required, age_s } => (status.as_deref(), criticality.as_deref(), *required, *age_s),
        };
        // The same rule as for checks that come with heartbeats.
        let required = required.or_else(|| match criticality.map(uniform).as_deref() {
            Some("optional") => Some(false),
            Some(_) => Some(true),
            None => None,
        });
        let required = checks::required(&Check { name: name.to_owned(), required, ..Check::default() });
        let stale_s = edges.stale_s.unwrap_or(default_of(None, HealthConfig::default().stale_ms / 1000));
        let observed = if age_s.is_some_and(|age| age > stale_s) { Observed::Unknown } else { status.map_or(Observed::Unknown, observed) };
        Part::new(name, observed, if required { Criticality::Required } else { Criticality::Optional })
    }
}

/// What a component's word means, in the words of health checks, of statuses and of breakers.
fn observed(word: &str) -> Observed {
    match uniform(word).as_str() {
        "pass" | "up" | "ok" | "healthy" | "closed" | "ready" => Observed::Pass,
        "warn" | "warning" | "degraded" | "slow" | "halfopen" => Observed::Warn,
        "fail" | "failed" | "down" | "error" | "critical" | "unhealthy" | "open" | "forcedopen" => Observed::Fail,
        "starting" | "outofservice" => Observed::Starting,
        _ => Observed::Unknown,
    }
}
