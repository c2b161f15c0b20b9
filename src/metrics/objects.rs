//! What the minds know, object by object: statements, breakers, features, series, processes, keys. `GET /metrics/per-object` is made
//! of their views when it is asked, and of as many objects a mind as `gateway.metrics_objects_max` allows; what was left out is counted.
//!
//! It stands beside `/metrics` and not in it, because its labels name services and statements: who scrapes it decides to keep them.

use super::registrar::{Described, Registrar};
use homeostat_actors::breaker::BreakerView;
use homeostat_actors::drift::{DriftView, Verdict};
use homeostat_actors::forecast::{ForecastView, SeriesView};
use homeostat_actors::health::{HealthView, Level};
use homeostat_actors::key_rotation::KeyRotationView;
use homeostat_actors::leak::{LeakView, Tier};
use homeostat_actors::query::QueryView;
use homeostat_actors::recovery::RecoveryView;
use homeostat_actors::status::StatusView;
use homeostat_schemas::{AdmissionState, UnixMs};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Unit;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

/// Longest text in a label, bytes: a statement, an advice, a summary.
const TEXT_MAX: usize = 200;
/// How far ahead forecasts are shown, hours; 0 is the hour that is running.
const AHEAD_H: [usize; 4] = [0, 1, 6, 24];
const HOUR_MS: UnixMs = 3_600_000;

/// A metric of objects.
#[derive(Debug)]
struct Kind {
    name: &'static str,
    unit: Option<&'static str>,
    counter: bool,
    labels: &'static [&'static str],
    meaning: &'static str,
}

const fn gauge(name: &'static str, labels: &'static [&'static str], meaning: &'static str) -> Kind {
    Kind { name, unit: None, counter: false, labels, meaning }
}

impl Kind {
    const fn counted(self) -> Kind {
        Kind { counter: true, ..self }
    }

    const fn in_unit(self, unit: &'static str) -> Kind {
        Kind { unit: Some(unit), ..self }
    }

    fn unit(&self) -> Option<Unit> {
        self.unit.map(|unit| match unit {
            "seconds" => Unit::Seconds,
            "bytes" => Unit::Bytes,
            other => Unit::Other(other.to_owned()),
        })
    }
}

/// Every metric of objects: the one list. Places in it are its names here.
macro_rules! kinds {
    ($($id:ident = $kind:expr;)*) => {
        #[allow(clippy::upper_case_acronyms, non_camel_case_types)]
        #[derive(Clone, Copy)]
        enum Id { $($id),* }
        const KINDS: &[Kind] = &[$($kind),*];
    };
}

const STATEMENT: &[&str] = &["service", "fingerprint", "statement"];
const BREAKER: &[&str] = &["service", "peer", "operation", "zone"];
const FEATURE: &[&str] = &["service", "model", "feature"];
const SERIES: &[&str] = &["service", "metric", "service_instance_id"];
const PROCESS: &[&str] = &["service", "service_instance_id"];
const KEY: &[&str] = &["key", "owner"];

kinds! {
    AlertStarted = gauge("homeostat_alert_started_timestamp", &["incident", "alert", "rule", "severity", "service", "summary", "trace_id"],
        "Open findings: since when. `alert` is the id of the last message about it, `trace_id` the trace that shows it, if it has one").in_unit("seconds");
    AlertsOpen = gauge("homeostat_alerts_open", &["service"], "Open findings of a service");
    ServiceLevel = gauge("homeostat_service_level", &["service"], "May the service be given work: 0 yes, 1 somebody should look, 2 no");
    ServiceInstances = gauge("homeostat_service_instances", &["service", "state"], "Instances by their heartbeats: alive, silent");
    ServiceRequests = gauge("homeostat_service_requests", &["service"], "Requests that the service completed in the last minute");
    ServiceErrors = gauge("homeostat_service_errors", &["service"], "Share of them that ended with 5xx").in_unit("ratio");
    CacheHits = gauge("homeostat_service_cache_hits", &["service", "cache"], "Share of look-ups that the cache answered, by its last report")
        .in_unit("ratio");
    QueryCalls = gauge("homeostat_query_calls", STATEMENT, "Executions of the statement").counted();
    QueryErrors = gauge("homeostat_query_errors", STATEMENT, "Executions that failed").counted();
    QuerySlow = gauge("homeostat_query_slow_calls", STATEMENT, "Executions that took longer than `slow_ms`").counted();
    QueryTime = gauge("homeostat_query_time", STATEMENT, "Time of all executions together").counted().in_unit("seconds");
    QueryQuantile = gauge("homeostat_query_duration", &["service", "fingerprint", "statement", "quantile"],
        "Time of an execution that this share did not exceed, within 1.6 %").in_unit("seconds");
    QueryFinding = gauge("homeostat_query_finding", &["service", "fingerprint", "statement", "rule"],
        "1 for each rule that is open for the statement, N+1 among them");
    QueryAdvice = gauge("homeostat_query_advice", &["service", "fingerprint", "statement", "advice", "text"],
        "1 for each advice: what to do, and the statement that does it or the reason");
    BreakerAdmitted = gauge("homeostat_breaker_admitted", BREAKER, "Share of first attempts that the fleet admits").in_unit("ratio");
    BreakerRetries = gauge("homeostat_breaker_retries_admitted", BREAKER, "Share of repetitions that the fleet admits").in_unit("ratio");
    BreakerState = gauge("homeostat_breaker_state", &["service", "peer", "operation", "zone", "state"],
        "1 for the state of the fleet's breaker, 0 for the others: closed, ramping, open");
    BreakerDemand = gauge("homeostat_breaker_demand_per_second", BREAKER, "Attempts a second of all replicas, refused ones included");
    BreakerReplicas = gauge("homeostat_breaker_replicas", &["service", "peer", "operation", "zone", "state"],
        "Replicas that reported calls of late (reporting), and those of them with failures now (failing)");
    BreakerLocal = gauge("homeostat_breaker_local", &["service", "peer", "operation", "zone", "state"],
        "Replicas by the state of their own breakers, as far as they said it");
    DriftVerdict = gauge("homeostat_drift_verdict", FEATURE,
        "What is said of the feature: 0 nothing or too little data, 1 noticeable, 2 moderate, 3 significant, 4 critical");
    DriftPsi = gauge("homeostat_drift_psi", FEATURE, "Population stability index of the last window, less what chance alone makes of it");
    DriftP = gauge("homeostat_drift_p_value", FEATURE, "p-value of the last window, all tests together");
    DriftE = gauge("homeostat_drift_e_value", FEATURE, "Evidence piled up: without drift it reaches x with a chance of 1/x at most");
    DriftPending = gauge("homeostat_drift_pending_values", FEATURE, "Values since the last look");
    ForecastActual = gauge("homeostat_forecast_actual", SERIES, "The series: its last step that had a value");
    ForecastExpected = gauge("homeostat_forecast_expected", SERIES, "What had been expected of that step");
    ForecastAnomaly = gauge("homeostat_forecast_anomaly", SERIES, "Is the series unusual now: 0 or 1");
    ForecastPoint = gauge("homeostat_forecast_point", &["service", "metric", "service_instance_id", "ahead", "bound"],
        "The forecast of an hour, `ahead` from now: its mean, and the lower and upper end of its interval");
    ForecastLimit = gauge("homeostat_forecast_limit", SERIES, "The limit of the series");
    ForecastLimitReached = gauge("homeostat_forecast_limit_probability", SERIES, "Chance that the limit is reached within the horizon").in_unit("ratio");
    ForecastLimitAt = gauge("homeostat_forecast_limit_timestamp", &["service", "metric", "service_instance_id", "quantile"],
        "When the limit is reached: this share of the paths is there by then").in_unit("seconds");
    LeakMemory = gauge("homeostat_leak_memory", PROCESS, "Memory of the process in its last report").in_unit("bytes");
    LeakLimit = gauge("homeostat_leak_memory_limit", PROCESS, "Its limit").in_unit("bytes");
    LeakGrowth = gauge("homeostat_leak_growth_per_hour", &["service", "service_instance_id", "bound"],
        "Growth an hour: measured (mean), and the ends of its 95 % interval (lower, upper)").in_unit("bytes");
    LeakVerdict = gauge("homeostat_leak_verdict", PROCESS, "Does it leak: 0 no, 1 suspected, 2 confirmed");
    LeakToLimit = gauge("homeostat_leak_time_to_limit", PROCESS, "Time until its limit, growing as measured").in_unit("seconds");
    KeyVersion = gauge("homeostat_key_version", &["key", "owner", "state"], "The newest version of the key, and where it is in its life");
    KeyExpiry = gauge("homeostat_key_expiry_timestamp", KEY, "The end of the key").in_unit("seconds");
    KeyDue = gauge("homeostat_key_due_timestamp", &["key", "owner", "next"], "What is due next for the key, and when").in_unit("seconds");
    KeyUsed = gauge("homeostat_key_last_used_timestamp", KEY, "When any version of the key was used last").in_unit("seconds");
    KeyFailures = gauge("homeostat_key_failures", KEY, "Tries in a row that failed to do what is due");
    RecoveryDecisions = gauge("homeostat_recovery_decisions", &["what"], "Entries of the decision record").counted();
    RecoveryIncidents = gauge("homeostat_recovery_incidents", &["stage"], "Incidents by how far their cure has come");
    RecoveryBudget = gauge("homeostat_recovery_budget", &["bound"], "Commands of late (used), and how many there may be (limit)");
    RecoveryStopped = gauge("homeostat_recovery_stopped", &["by"], "What is stopped: by a person (pause), by the fleet brake (brake)");
    LeftOut = gauge("homeostat_objects_left_out", &["of"], "Objects that are not shown here, because there are more than `gateway.metrics_objects_max`");
}

type Labels = Vec<(&'static str, String)>;

/// One answer of `/metrics/per-object`.
pub struct Objects {
    max: usize,
    registrar: Registrar,
    gauges: BTreeMap<&'static str, Family<Labels, Gauge<f64, AtomicU64>>>,
    counters: BTreeMap<&'static str, Family<Labels, Counter<f64, AtomicU64>>>,
}

/// A text short enough for a label.
fn short(text: &str) -> String {
    if text.len() <= TEXT_MAX {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(TEXT_MAX - '…'.len_utf8());
    format!("{}…", &text[..end])
}

/// A label's value without control characters but line feeds, which are escaped: whoever names a service writes no lines here.
fn clean(value: &str) -> String {
    value.chars().map(|letter| if letter.is_control() && letter != '\n' { char::REPLACEMENT_CHARACTER } else { letter }).collect()
}

/// The word of an enumeration on the wire.
fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

#[allow(clippy::cast_precision_loss)] // milliseconds of this millennium stay below 2^53
fn seconds(ms: UnixMs) -> f64 {
    ms as f64 / 1e3
}

#[allow(clippy::cast_precision_loss)] // counts stay far below 2^53
fn number(count: impl TryInto<u64>) -> f64 {
    count.try_into().unwrap_or(u64::MAX) as f64
}

impl Objects {
    /// An empty answer, for at most so many objects a mind.
    #[must_use]
    pub fn new(max: usize) -> Objects {
        let mut objects = Objects { max, registrar: Registrar::default(), gauges: BTreeMap::new(), counters: BTreeMap::new() };
        for kind in KINDS {
            let Kind { name, labels, meaning, .. } = *kind;
            if kind.counter {
                let family = objects.counters.entry(name).or_default();
                objects.registrar.add(name, kind.unit(), labels, meaning, family.clone());
            } else {
                let family = objects.gauges.entry(name).or_default();
                objects.registrar.add(name, kind.unit(), labels, meaning, family.clone());
            }
        }
        objects
    }

    /// What is registered, in the order in which it is written.
    #[must_use]
    pub fn described(&self) -> &[Described] {
        self.registrar.described()
    }

    /// The text that Prometheus scrapes (OpenMetrics 1.0).
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::with_capacity(64 * 1024);
        // Writing into a String cannot fail.
        if encode(&mut text, self.registrar.registry()).is_ok() { text } else { "# EOF\n".to_owned() }
    }

    /// Values stand in the order of the kind's labels.
    fn put<const N: usize>(&self, id: Id, values: [&str; N], value: f64) {
        let kind = &KINDS[id as usize];
        debug_assert_eq!(kind.labels.len(), N, "{}", kind.name);
        let labels: Labels = kind.labels.iter().copied().zip(values.into_iter().map(clean)).collect();
        if let Some(family) = self.counters.get(kind.name) {
            family.get_or_create(&labels).inc_by(value);
        } else if let Some(family) = self.gauges.get(kind.name) {
            family.get_or_create(&labels).set(value);
        }
    }

    /// The first of the objects, the rest counted.
    fn some<T>(&self, of: &str, objects: impl ExactSizeIterator<Item = T>) -> impl Iterator<Item = T> {
        self.put(Id::LeftOut, [of], number(objects.len().saturating_sub(self.max)));
        objects.take(self.max)
    }

    /// Open findings.
    pub fn status(&self, view: &StatusView) {
        for alert in self.some("alerts", view.open.iter()) {
            let trace = alert.trace.as_deref().unwrap_or_default();
            let severity = alert.severity.to_string();
            let labels = [&alert.incident, &alert.id, &alert.rule, &*severity, &alert.service, &*short(&alert.summary), trace];
            self.put(Id::AlertStarted, labels.map(|label: &str| label), seconds(alert.since_ms));
        }
        for (service, open) in self.some("services_with_alerts", view.open_by_service.iter()) {
            self.put(Id::AlertsOpen, [service], number(*open));
        }
    }

    /// Watched services.
    pub fn health(&self, view: &HealthView) {
        for (name, service) in self.some("services", view.services.iter()) {
            let level = match service.verdict.ready {
                Level::Pass => 0.0,
                Level::Warn => 1.0,
                Level::Fail => 2.0,
            };
            self.put(Id::ServiceLevel, [name], level);
            self.put(Id::ServiceInstances, [name, "alive"], number(service.alive));
            self.put(Id::ServiceInstances, [name, "silent"], number(service.silent));
            self.put(Id::ServiceRequests, [name], number(service.requests.total));
            self.put(Id::ServiceErrors, [name], service.requests.ratio());
            for (cache, seen) in &service.caches {
                if let Some(hits) = seen.hit_ratio {
                    self.put(Id::CacheHits, [name, cache], hits);
                }
            }
        }
    }

    /// Statements, those that took the most time.
    pub fn query(&self, view: &QueryView) {
        for row in self.some("statements", view.queries.iter()) {
            let statement = short(&row.statement);
            let labels = [&*row.service, &*row.fingerprint, &*statement];
            self.put(Id::QueryCalls, labels, number(row.calls));
            self.put(Id::QueryErrors, labels, number(row.errors));
            self.put(Id::QuerySlow, labels, number(row.slow_calls));
            self.put(Id::QueryTime, labels, row.total_ms / 1e3);
            let [service, fingerprint, statement] = labels;
            for (quantile, ms) in [("0.5", row.p50_ms), ("0.95", row.p95_ms), ("0.99", row.p99_ms)] {
                self.put(Id::QueryQuantile, [service, fingerprint, statement, quantile], ms / 1e3);
            }
            for rule in &row.findings {
                self.put(Id::QueryFinding, [service, fingerprint, statement, rule], 1.0);
            }
            for advice in &row.advice {
                let text = short(advice.ddl.as_deref().unwrap_or(&advice.reason));
                self.put(Id::QueryAdvice, [service, fingerprint, statement, &word(&advice.kind), &text], 1.0);
            }
        }
    }

    /// The fleet's breakers, and what is known of those of the replicas.
    pub fn breaker(&self, view: &[BreakerView]) {
        for row in self.some("breakers", view.iter()) {
            let labels = [&*row.service, &*row.peer, row.operation.as_deref().unwrap_or_default(), row.zone.as_deref().unwrap_or_default()];
            let [service, peer, operation, zone] = labels;
            let under = |id, state: &str, value| self.put(id, [service, peer, operation, zone, state], value);
            self.put(Id::BreakerAdmitted, labels, row.fraction);
            self.put(Id::BreakerRetries, labels, row.retry_fraction);
            self.put(Id::BreakerDemand, labels, row.demand_per_s);
            for state in [AdmissionState::Closed, AdmissionState::Ramping, AdmissionState::Open] {
                under(Id::BreakerState, &word(&state), f64::from(u8::from(state == row.state)));
            }
            under(Id::BreakerReplicas, "reporting", number(row.replicas));
            under(Id::BreakerReplicas, "failing", number(row.replicas_failing));
            for (state, replicas) in &row.local_states {
                under(Id::BreakerLocal, state.name(), number(*replicas));
            }
        }
    }

    /// Features of models, in order of their names.
    pub fn drift(&self, view: &DriftView) {
        let features: Vec<_> = view.models.iter().flat_map(|model| model.features.iter().map(move |feature| (model, feature))).collect();
        for (model, feature) in self.some("features", features.into_iter()) {
            let labels = [&*model.service, &*model.model, &*feature.feature];
            let verdict = match feature.verdict {
                Verdict::Insufficient | Verdict::None => 0.0,
                Verdict::Noticeable => 1.0,
                Verdict::Moderate => 2.0,
                Verdict::Significant => 3.0,
                Verdict::Critical => 4.0,
            };
            self.put(Id::DriftVerdict, labels, verdict);
            self.put(Id::DriftPending, labels, number(feature.pending));
            if let Some(look) = &feature.last {
                self.put(Id::DriftPsi, labels, look.psi_adjusted);
                self.put(Id::DriftP, labels, look.p);
            }
            if let Some(e) = feature.e_value {
                self.put(Id::DriftE, labels, e);
            }
        }
    }

    /// Series, in order of their names.
    pub fn forecast(&self, view: &ForecastView) {
        for series in self.some("series", view.series.iter()) {
            self.one_series(series, view.at_ms);
        }
    }

    fn one_series(&self, series: &SeriesView, now: UnixMs) {
        let labels = [&*series.service, &*series.metric, series.instance.as_deref().unwrap_or_default()];
        let [service, metric, instance] = labels;
        for (id, value) in [(Id::ForecastActual, series.value), (Id::ForecastExpected, series.expected)] {
            if let Some(value) = value {
                self.put(id, labels, value);
            }
        }
        self.put(Id::ForecastAnomaly, labels, f64::from(u8::from(series.anomaly)));
        for ahead in AHEAD_H {
            let then = now.saturating_add(HOUR_MS.saturating_mul(ahead as UnixMs));
            // The hour that holds that moment.
            let Some(point) = series.points.iter().find(|point| point.at <= then && then < point.at.saturating_add(HOUR_MS)) else {
                continue;
            };
            for (bound, value) in [("lower", point.lower), ("mean", point.mean), ("upper", point.upper)] {
                self.put(Id::ForecastPoint, [service, metric, instance, &format!("{ahead}h"), bound], value);
            }
        }
        if let Some(found) = &series.exhaustion {
            self.put(Id::ForecastLimit, labels, found.limit);
            self.put(Id::ForecastLimitReached, labels, found.probability);
            for (quantile, at) in [("0.1", found.p10_ms), ("0.5", found.p50_ms), ("0.9", found.p90_ms)] {
                if let Some(at) = at {
                    self.put(Id::ForecastLimitAt, [service, metric, instance, quantile], seconds(at));
                }
            }
        }
    }

    /// Processes, those that leak first.
    pub fn leak(&self, view: &LeakView) {
        for row in self.some("processes", view.processes.iter()) {
            let labels = [&*row.service, row.instance.as_deref().unwrap_or_default()];
            let [service, instance] = labels;
            self.put(Id::LeakMemory, labels, row.memory_bytes);
            if let Some(limit) = row.memory_limit_bytes {
                self.put(Id::LeakLimit, labels, limit);
            }
            let verdict = match row.verdict {
                Tier::None => 0.0,
                Tier::Suspected => 1.0,
                Tier::Confirmed => 2.0,
            };
            self.put(Id::LeakVerdict, labels, verdict);
            if let Some(measured) = &row.measured {
                let bytes = |percent: f64| measured.base_bytes * percent / 100.0;
                for (bound, percent) in [("lower", measured.slope_low), ("mean", measured.slope_pct_per_h), ("upper", measured.slope_high)]
                {
                    self.put(Id::LeakGrowth, [service, instance, bound], bytes(percent));
                }
            }
            if let Some(to_limit) = &row.to_limit {
                self.put(Id::LeakToLimit, labels, to_limit.hours * 3_600.0);
            }
        }
    }

    /// API keys, those first for which something is due first.
    pub fn key_rotation(&self, view: &KeyRotationView) {
        for row in self.some("keys", view.keys.iter()) {
            let labels = [&*row.key, &*row.owner];
            let [key, owner] = labels;
            self.put(Id::KeyVersion, [key, owner, row.state.name()], f64::from(row.version));
            self.put(Id::KeyFailures, labels, f64::from(row.failures));
            for (id, at) in [(Id::KeyExpiry, row.expires_ms), (Id::KeyUsed, row.last_used_ms)] {
                if let Some(at) = at {
                    self.put(id, labels, seconds(at));
                }
            }
            if let (Some(next), Some(at)) = (row.next, row.next_ms) {
                self.put(Id::KeyDue, [key, owner, next.name()], seconds(at));
            }
        }
    }

    /// What is done about what is wrong.
    pub fn recovery(&self, view: &RecoveryView) {
        for (what, count) in &view.counts {
            self.put(Id::RecoveryDecisions, [what.name()], number(*count));
        }
        for (stage, count) in &view.stages {
            self.put(Id::RecoveryIncidents, [&word(stage)], number(*count));
        }
        self.put(Id::RecoveryBudget, ["used"], number(view.budget.used));
        self.put(Id::RecoveryBudget, ["limit"], number(view.budget.of));
        self.put(Id::RecoveryStopped, ["pause"], number(view.paused.len()));
        self.put(Id::RecoveryStopped, ["brake"], number(view.brakes.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_and_labels_of_its_own() {
        let names: std::collections::BTreeSet<&str> = KINDS.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), KINDS.len());
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let cut = short(&"ä".repeat(TEXT_MAX));
        assert!(cut.len() <= TEXT_MAX && cut.ends_with('…'), "{cut}");
        assert_eq!(short("select 1"), "select 1");
    }
}
