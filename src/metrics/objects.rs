//! What the minds know, object by object: statements, breakers, features, series, processes, keys. `GET /metrics/per-object` is made
//! of their views when it is asked, and of as many objects a mind as `gateway.metrics_objects_max` allows; what was left out is counted.
//!
//! It stands beside `/metrics` and not in it, because its labels name services and statements: who scrapes it decides to keep them.

mod kinds;

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
use kinds::{Id, KINDS, Kind};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

/// Longest text in a label, bytes: a statement, an advice, a summary.
const TEXT_MAX: usize = 200;
/// How far ahead forecasts are shown, hours; 0 is the hour that is running.
const AHEAD_H: [usize; 4] = [0, 1, 6, 24];
const HOUR_MS: UnixMs = 3_600_000;

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

    /// What found no room with an actor.
    fn no_room<const N: usize>(&self, actor: &str, refused: [(&str, u64); N]) {
        for (what, count) in refused {
            self.put(Id::NoRoom, [actor, what], number(count));
        }
    }

    /// The first of the objects, the rest counted.
    fn some<T>(&self, of: &str, objects: impl ExactSizeIterator<Item = T>) -> impl Iterator<Item = T> {
        self.put(Id::LeftOut, [of], number(objects.len().saturating_sub(self.max)));
        objects.take(self.max)
    }

    /// Open findings.
    pub fn status(&self, view: &StatusView) {
        self.no_room("status", [("open_findings", view.dropped.open), ("commands", view.dropped.commands)]);
        for alert in self.some("alerts", view.open.iter()) {
            let trace = alert.trace.as_deref().unwrap_or_default();
            let labels = [&alert.incident, &alert.id, &alert.rule, alert.severity.name(), &alert.service, &*short(&alert.summary), trace];
            self.put(Id::AlertStarted, labels.map(|label: &str| label), seconds(alert.since_ms));
        }
        for (service, open) in self.some("services_with_alerts", view.open_by_service.iter()) {
            self.put(Id::AlertsOpen, [service], number(*open));
        }
    }

    /// Watched services.
    pub fn health(&self, view: &HealthView) {
        let totals = &view.totals;
        let refused = [("events", totals.refused), ("names", totals.evicted), ("checks", totals.overfull), ("findings", totals.no_room)];
        self.no_room("health", refused);
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
        let totals = &view.totals;
        let refused = [("executions", totals.other_calls), ("spans", totals.unseen_spans), ("traces", totals.evicted_traces)];
        self.no_room("query", refused);
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
        self.no_room("drift", [("values", view.no_room)]);
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
        self.no_room("forecast", [("series", view.refused)]);
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
        self.no_room("leak", [("reports", view.totals.refused)]);
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
        self.no_room("key_rotation", [("keys", view.totals.no_room)]);
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
        self.no_room("recovery", [("incidents", view.dropped)]);
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
    fn a_long_text_is_cut_between_characters() {
        let cut = short(&"ä".repeat(TEXT_MAX));
        assert!(cut.len() <= TEXT_MAX && cut.ends_with('…'), "{cut}");
        assert_eq!(short("select 1"), "select 1");
    }
}
