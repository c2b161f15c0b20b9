//! The checks that come with heartbeats, and the share of failed requests.

use super::error_rate::{Requests, WINDOW_S, outcome};
use super::record::{CheckState, Class};
use super::streak::Streak;
use super::verdict::Observed;
use super::{HealthConfig, HealthCore, about, clip};
use crate::core::Cx;
use crate::incidents::Finding;
use homeostat_schemas::event::{Check, CheckStatus, Heartbeat, Request};
use homeostat_schemas::{Mode, Severity, UnixMs, rule};

/// How an open error rate is looked at again, ms.
const RECHECK_MS: u64 = 1_000;

/// Longest word of explanation that is kept, in characters.
const DETAIL_MAX: usize = 200;

/// Can the service not work without what is checked? A breaker guards a dependency, and a dependency must not take its users
/// out of service, so a check named `breaker:<peer>` is optional unless it says otherwise.
pub(super) fn required(check: &Check) -> bool {
    check.required.unwrap_or(!check.name.starts_with("breaker:"))
}

/// Does it work?
pub(super) const fn good(status: CheckStatus) -> bool {
    match status {
        CheckStatus::Up | CheckStatus::Warn => true,
        CheckStatus::Down | CheckStatus::Unknown => false,
    }
}

impl HealthCore {
    /// The checks of a heartbeat that is neither late nor a duplicate.
    pub(super) fn checks(&mut self, beat: &Heartbeat, instance: &str, cx: &mut Cx<'_, HealthConfig>) {
        let config = cx.config;
        let room = self.registry.limits().checks;
        let Some(i) = self.registry.services.get_mut(&beat.service).and_then(|s| s.instances.get_mut(instance)) else { return };
        let mut seen: Vec<&str> = Vec::with_capacity(beat.checks.len().min(room));
        for check in &beat.checks {
            let name = clip(&check.name);
            if !i.checks.contains_key(name) && i.checks.len() >= room {
                self.registry.overfull += 1;
                continue;
            }
            // Two of a name in one heartbeat are one report.
            if seen.contains(&name) {
                continue;
            }
            seen.push(name);
            let (good, required) = (good(check.status), required(check));
            let state = i.checks.entry(name.to_owned()).or_insert_with(|| CheckState {
                status: check.status,
                required,
                took_us: None,
                detail: None,
                streak: Streak::new(Some(true)),
                since_ms: cx.now,
                seen_ms: cx.now,
            });
            if state.streak.last() != Some(good) {
                state.since_ms = cx.now;
            }
            state.status = check.status;
            state.required = required;
            state.took_us = check.took_us;
            state.detail = check.detail.as_ref().map(|detail| detail.chars().take(DETAIL_MAX).collect());
            state.seen_ms = cx.now;
            if !state.streak.take(good, config.failures, config.successes) {
                continue;
            }
            let said = state.detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default();
            let summary = format!("check {name} is {}{said}", word(check.status));
            let mut finding = about(&rule::HEALTH_CHECK_FAILED, &beat.service, instance, summary)
                .label("check", name)
                .evidence("status", word(check.status))
                .evidence("detail", state.detail.clone())
                .evidence("required", required);
            if good {
                self.incidents.resolve(finding, cx);
            } else {
                finding = finding.evidence("failures", state.streak.run());
                finding.severity = (!required).then_some(Severity::Warning);
                finding.since_ms = Some(state.since_ms);
                self.incidents.fire(finding, cx);
            }
        }
        // What the service no longer reports can neither fail nor recover.
        let patience = config.stale_ms.max(i.interval_ms.saturating_mul(3));
        let old: Vec<String> =
            i.checks.iter().filter(|(_, state)| cx.now.saturating_sub(state.seen_ms) > patience).map(|(name, _)| name.clone()).collect();
        for name in old {
            i.checks.remove(&name);
            let finding = about(&rule::HEALTH_CHECK_FAILED, &beat.service, instance, format!("check {name} is no longer reported"));
            self.incidents.resolve(finding.label("check", &name), cx);
        }
    }

    pub(super) fn request(&mut self, request: &Request, cx: &mut Cx<'_, HealthConfig>) {
        let Some(error) = outcome(request.status) else { return };
        let config = cx.config;
        let mut gone = Vec::new();
        let service = self.registry.service(&request.service, Class::Passing, cx.now, config.retire_after_ms, &mut gone);
        let mut severity = None;
        let mut requests = Requests::default();
        if let Some(service) = service {
            service.requests.add(cx.now, error);
            requests = service.requests.at(cx.now);
            severity = severity_of(requests, config).filter(|&severity| service.raised.is_none_or(|raised| raised < severity));
        }
        self.close(gone, "its place was needed", cx);
        if let Some(severity) = severity {
            self.raise_errors(&request.service, requests, severity, cx);
        }
    }

    fn raise_errors(&mut self, service: &str, requests: Requests, severity: Severity, cx: &mut Cx<'_, HealthConfig>) {
        if cx.mode(rule::HEALTH_ERROR_RATE.name) == Mode::Off {
            return;
        }
        let mut finding = error_finding(service, requests, cx.config, error_summary(requests));
        finding.severity = Some(severity);
        if self.incidents.fire(finding, cx) {
            if let Some(s) = self.registry.services.get_mut(service) {
                s.raised = Some(severity);
                s.few_since_ms = None;
            }
            self.registry.set_due(service, None, Some(cx.now.saturating_add(RECHECK_MS)));
        }
    }

    /// Looks again at an error rate that was raised.
    pub(super) fn recheck_errors(&mut self, service: &str, cx: &mut Cx<'_, HealthConfig>) {
        let config = cx.config;
        let open = self.incidents.is_open(&rule::HEALTH_ERROR_RATE, service, &std::collections::BTreeMap::new());
        let Some(s) = self.registry.services.get_mut(service) else { return };
        s.requests.expire(cx.now);
        let requests = s.requests.at(cx.now);
        if requests.total >= config.error_rate_min_requests.max(1) {
            s.few_since_ms = None;
        }
        let over = if requests.total >= config.error_rate_min_requests.max(1) {
            (requests.ratio() < config.error_rate * config.error_rate_clear).then(|| error_summary(requests))
        } else {
            let since = *s.few_since_ms.get_or_insert(cx.now);
            let long = cx.now.saturating_sub(since) >= WINDOW_S * 1000;
            long.then(|| format!("too few requests to say: {} in the last {WINDOW_S} s", requests.total))
        };
        if !open || over.is_some() {
            s.raised = None;
            s.few_since_ms = None;
            if let Some(summary) = over {
                self.incidents.resolve(error_finding(service, requests, config, summary), cx);
            }
        } else {
            self.registry.set_due(service, None, Some(cx.now.saturating_add(RECHECK_MS)));
        }
    }
}

fn severity_of(requests: Requests, config: &HealthConfig) -> Option<Severity> {
    match requests.judge(config.error_rate, config.error_rate_min_requests)? {
        Observed::Fail => Some(Severity::Critical),
        Observed::Warn => Some(Severity::Warning),
        Observed::Pass | Observed::Unknown | Observed::Starting => None,
    }
}

fn error_summary(requests: Requests) -> String {
    format!("{} of {} requests failed in the last {WINDOW_S} s ({:.1} %)", requests.errors, requests.total, requests.ratio() * 100.0)
}

fn error_finding(service: &str, requests: Requests, config: &HealthConfig, summary: String) -> Finding {
    Finding::new(&rule::HEALTH_ERROR_RATE, service, summary)
        .evidence("errors", requests.errors)
        .evidence("requests", requests.total)
        .evidence("ratio", requests.ratio())
        .evidence("lower_bound", requests.lower_bound())
        .evidence("limit", config.error_rate)
}

/// The word on the wire.
pub(super) const fn word(status: CheckStatus) -> &'static str {
    match status {
        CheckStatus::Up => "up",
        CheckStatus::Warn => "warn",
        CheckStatus::Down => "down",
        CheckStatus::Unknown => "unknown",
    }
}

/// What a check shows now: unknown when it is old, a warning while a bad run is still too short to count or a good one too short
/// to recover.
pub(super) fn observed(state: &CheckState, now: UnixMs, patience: u64) -> Observed {
    if now.saturating_sub(state.seen_ms) > patience {
        return Observed::Unknown;
    }
    match (state.streak.state(), state.streak.last()) {
        (Some(false), _) if state.status == CheckStatus::Unknown => Observed::Unknown,
        (Some(false), _) => Observed::Fail,
        (_, Some(false)) => Observed::Warn,
        _ if state.status == CheckStatus::Warn => Observed::Warn,
        _ => Observed::Pass,
    }
}
