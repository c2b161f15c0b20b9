//! What is raised about a process, and when it ends.

use super::config::hours;
use super::process::{Change, Cleared, Process, Tier};
use super::{LeakConfig, LeakCore};
use crate::core::Cx;
use crate::incidents::Finding;
use homeostat_schemas::{Rule, UnixMs, rule};
use serde_json::Value;
use std::collections::BTreeMap;

/// A limit that is this many times as far away as `limit_near_ms` is no longer near.
const FAR: f64 = 1.5;

/// Service and instance.
pub(super) type Name<'a> = (&'a str, &'a str);

const RULES: [&Rule; 3] = [&rule::LEAK_SUSPECTED, &rule::LEAK_CONFIRMED, &rule::LEAK_LIMIT_NEAR];

impl LeakCore {
    /// Says what a change means.
    pub(super) fn changed(&mut self, name: Name<'_>, change: Change, cx: &mut Cx<'_, LeakConfig>) {
        match change {
            Change::NewLife => self.close(name, "another process has taken its place", cx),
            // What stands is raised at every look; raising what is open changes nothing, and a rule that was off is made up for.
            Change::Looked => {
                self.looks = self.looks.saturating_add(1);
                match self.watched(name).map(Process::tier).unwrap_or_default() {
                    Tier::None => {}
                    Tier::Suspected => self.raise(&rule::LEAK_SUSPECTED, name, cx),
                    Tier::Confirmed => {
                        self.end(&rule::LEAK_SUSPECTED, name, "it is confirmed", cx);
                        self.raise(&rule::LEAK_CONFIRMED, name, cx);
                    }
                }
                self.limit(name, cx);
            }
            Change::Suspected | Change::Confirmed => {}
            Change::Cleared(Cleared::Stopped) => self.close(name, "it has stopped growing", cx),
            Change::Cleared(Cleared::GivenBack) => self.close(name, "memory was given back", cx),
        }
    }

    /// Ends every finding about a process.
    pub(super) fn close(&mut self, name: Name<'_>, why: &str, cx: &mut Cx<'_, LeakConfig>) {
        for rule in RULES {
            self.end(rule, name, why, cx);
        }
    }

    fn raise(&mut self, rule: &'static Rule, name: Name<'_>, cx: &mut Cx<'_, LeakConfig>) {
        let Some(process) = self.watched(name) else { return };
        let finding = describe(finding(rule, name), process, cx.now);
        self.incidents.fire(finding, cx);
    }

    fn end(&mut self, rule: &'static Rule, name: Name<'_>, why: &str, cx: &mut Cx<'_, LeakConfig>) {
        let mut finding = finding(rule, name);
        why.clone_into(&mut finding.summary);
        self.incidents.resolve(finding, cx);
    }

    /// The limit is near, or no longer.
    fn limit(&mut self, name: Name<'_>, cx: &mut Cx<'_, LeakConfig>) {
        let Some(process) = self.watched(name) else { return };
        let near = hours(cx.config.limit_near_ms);
        match process.to_limit() {
            Some(eta) if eta.hours < near => {
                let mut finding = describe(finding(&rule::LEAK_LIMIT_NEAR, name), process, cx.now);
                finding.summary = format!("memory reaches its limit in {}", span(eta.hours));
                self.incidents.fire(finding, cx);
            }
            Some(eta) if eta.hours < near * FAR => {}
            _ => self.end(&rule::LEAK_LIMIT_NEAR, name, "the limit is no longer near", cx),
        }
    }

    fn watched(&self, (service, instance): Name<'_>) -> Option<&Process> {
        self.registry.get(service, instance)
    }

    /// L-2 broken?
    pub(super) fn findings_promise(&self) -> Option<&'static str> {
        let mut about = 0;
        for (service, instance, watched) in self.registry.all().filter(|(_, _, watched)| watched.process.tier() > Tier::None) {
            let labels = labels(instance);
            let open = |rule| usize::from(self.incidents.is_open(rule, service, &labels));
            let [suspected, confirmed, near] = RULES.map(open);
            about += suspected + confirmed + near;
            let tier = watched.process.tier();
            // A rule that is off, or was when the finding would have been raised, has nothing open.
            if suspected > usize::from(tier == Tier::Suspected) || confirmed > usize::from(tier == Tier::Confirmed) {
                return Some("L-2");
            }
        }
        (about != self.incidents.len()).then_some("L-2")
    }
}

fn labels(instance: &str) -> BTreeMap<String, String> {
    if instance.is_empty() { BTreeMap::new() } else { BTreeMap::from([("instance".to_owned(), instance.to_owned())]) }
}

fn finding(rule: &'static Rule, (service, instance): Name<'_>) -> Finding {
    Finding { labels: labels(instance), ..Finding::new(rule, service, "") }
}

/// With the numbers behind it, at log time `now`.
fn describe(mut finding: Finding, process: &Process, now: UnixMs) -> Finding {
    let room = process.room();
    let mut put = |name: &str, value: Value| finding.evidence.insert(name.to_owned(), value);
    put("memory_bytes", bytes(room.memory));
    put("floor_bytes", bytes(room.floor));
    put("memory_limit_bytes", room.limit.map_or(Value::Null, bytes));
    put("started_ms", process.start_ms().into());
    if let Some((possible, needed, free)) = room.snapshot() {
        put("snapshot_possible", possible.into());
        put("snapshot_needs_bytes", bytes(needed));
        put("free_bytes", bytes(free));
    }
    let eta = process.to_limit();
    if let Some(eta) = eta {
        put("eta_h", rounded(eta.hours));
        put("eta_earliest_h", rounded(eta.earliest));
        put("eta_latest_h", eta.latest.map_or(Value::Null, rounded));
    }
    let Some(measured) = process.measured() else { return finding };
    put("baseline_bytes", bytes(measured.base_bytes));
    put("slope_pct_per_h", rounded(measured.slope_pct_per_h));
    put("slope_low_pct_per_h", rounded(measured.slope_low));
    put("slope_high_pct_per_h", rounded(measured.slope_high));
    put("trend_z", rounded(measured.z));
    if let Some(shape) = measured.shape {
        put("shape", serde_json::to_value(shape).unwrap_or_default());
        put("bounded_shape", serde_json::to_value(measured.bounded).unwrap_or_default());
        put("shape_margin", measured.margin.map_or(Value::Null, rounded));
    }
    let lasted = measured.at_ms.saturating_sub(measured.since_ms);
    finding.summary = format!("memory grows by {:.1} % an hour, for {} now", measured.slope_pct_per_h, span(hours(lasted)));
    if let Some(eta) = eta {
        finding.summary.push_str(&format!("; at its limit in {}", span(eta.hours)));
    }
    // Measured by the sender's clock, told in log time.
    finding.since_ms = Some(now.saturating_sub(lasted));
    finding
}

fn span(hours: f64) -> String {
    match hours {
        h if h < 1.0 => format!("{:.0} min", h * 60.0),
        h if h < 48.0 => format!("{h:.1} h"),
        h => format!("{:.0} days", h / 24.0),
    }
}

/// Four significant places are more than any of these numbers is worth.
fn rounded(value: f64) -> Value {
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 { 0.0.into() } else { Value::Null };
    }
    format!("{value:.3e}").parse::<f64>().map_or(Value::Null, Value::from)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn bytes(value: f64) -> Value {
    // Saturates; what is not finite never gets here.
    (value.round() as u64).into()
}
