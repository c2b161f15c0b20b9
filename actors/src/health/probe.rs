//! Homeostat's own probes: asks to the hand `probe`, answered on the log.
//!
//! A hand that says it is not configured (in a replay of a plain file there is none), or that has never answered at all, is no
//! failure of what it would have probed; once it has answered, an answer that does not come in time is.

use super::streak::Streak;
use super::verdict::Observed;
use super::{HealthConfig, OWN, Probe};
use crate::core::Cx;
use crate::incidents::{Finding, Incidents};
use homeostat_schemas::{Answer, Ms, Rule, UnixMs, rule};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

/// The hand that is asked.
const HAND: &str = "probe";

/// What the hand is given beyond the limit, so that a slow answer is seen as slow and not as missing, ms.
const SLACK_MS: Ms = 1_000;

/// Longest error that is kept, in characters.
const ERROR_MAX: usize = 300;

const ALL: [Probe; 2] = [Probe::Database, Probe::Bus];

/// One kind of probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    next_ms: UnixMs,
    pending: Option<Pending>,
    streak: Streak,
    since_ms: UnixMs,
    /// Log time of the last result; 0 before the first.
    pub(super) seen_ms: UnixMs,
    pub(super) took_us: Option<u64>,
    pub(super) error: Option<String>,
    /// There is no such hand: nothing is known, and nothing is wrong.
    pub(super) absent: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Pending {
    ask: String,
    until_ms: UnixMs,
}

/// Every kind of probe that is in the settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Probes {
    pub(super) of: BTreeMap<Probe, State>,
}

impl Probes {
    pub(super) fn tick(&mut self, incidents: &mut Incidents, cx: &mut Cx<'_, HealthConfig>) {
        for probe in ALL {
            if !cx.config.probes.contains(&probe) {
                if self.of.remove(&probe).is_some() {
                    incidents.resolve(Finding::new(rule_of(probe), OWN, "no longer probed"), cx);
                }
                continue;
            }
            let state = self.of.entry(probe).or_insert_with(|| State {
                next_ms: cx.now,
                pending: None,
                streak: Streak::new(None),
                since_ms: cx.now,
                seen_ms: 0,
                took_us: None,
                error: None,
                absent: false,
            });
            if state.pending.as_ref().is_some_and(|pending| pending.until_ms <= cx.now) {
                state.pending = None;
                if state.seen_ms > 0 {
                    let error = format!("no answer within {} ms", cx.config.probe_fail_ms.saturating_add(SLACK_MS));
                    state.take(probe, None, Some(error), incidents, cx);
                }
            }
            if state.pending.is_none() && state.next_ms <= cx.now {
                let timeout = cx.config.probe_fail_ms.saturating_add(SLACK_MS);
                let ask = cx.ask(HAND, probe.name(), json!({ "timeout_ms": timeout }), timeout);
                state.pending = Some(Pending { ask, until_ms: cx.now.saturating_add(timeout) });
                state.next_ms = cx.now.saturating_add(cx.config.probe_interval_ms.max(1_000));
            }
        }
    }

    pub(super) fn answer(&mut self, answer: &Answer, incidents: &mut Incidents, cx: &mut Cx<'_, HealthConfig>) {
        let asked = |state: &&mut State| state.pending.as_ref().is_some_and(|pending| pending.ask == answer.ask);
        // An answer that nobody waits for any more came too late: its time-out has been counted.
        let Some((&probe, state)) = self.of.iter_mut().find(|(_, state)| asked(state)) else { return };
        state.pending = None;
        state.absent = !answer.configured;
        if state.absent {
            state.streak = Streak::new(None);
            (state.seen_ms, state.took_us, state.error) = (0, None, None);
            incidents.resolve(Finding::new(rule_of(probe), OWN, "no longer configured"), cx);
            return;
        }
        let error = match &answer.error {
            Some(error) => Some(error.chars().take(ERROR_MAX).collect()),
            None if answer.ok => None,
            None => Some("it failed without a word".to_owned()),
        };
        let error = error.filter(|_| !answer.ok);
        state.take(probe, Some(answer.took_us), error, incidents, cx);
    }

    /// After an outage of our own nobody knows whether the hand still works on it: it is asked again at once.
    pub(super) fn forget_pending(&mut self, now: UnixMs) {
        for state in self.of.values_mut() {
            state.pending = None;
            state.next_ms = now;
        }
    }

    /// H-5.
    pub(super) fn broken_promise(&self) -> Option<&'static str> {
        let asked_early = |state: &State| state.pending.as_ref().is_some_and(|pending| pending.until_ms == 0 || state.next_ms == 0);
        (self.of.len() > ALL.len() || self.of.values().any(asked_early)).then_some("H-5")
    }
}

impl State {
    fn take(
        &mut self,
        probe: Probe,
        took_us: Option<u64>,
        error: Option<String>,
        incidents: &mut Incidents,
        cx: &mut Cx<'_, HealthConfig>,
    ) {
        let config = cx.config;
        let slow = took_us.is_some_and(|took| took >= config.probe_fail_ms.saturating_mul(1000));
        let good = error.is_none() && !slow;
        if self.streak.last() != Some(good) {
            self.since_ms = cx.now;
        }
        self.seen_ms = cx.now;
        self.took_us = took_us;
        self.error = error;
        if !self.streak.take(good, config.failures, config.successes) {
            return;
        }
        let took = took_us.map(|took| took / 1000);
        let summary = match (&self.error, took) {
            (Some(error), _) => format!("{} probe failed: {error}", probe.name()),
            (None, Some(took)) => format!("{} probe took {took} ms", probe.name()),
            (None, None) => format!("{} probe", probe.name()),
        };
        let mut finding = Finding::new(rule_of(probe), OWN, summary).evidence("took_ms", took).evidence("limit_ms", config.probe_fail_ms);
        if good {
            incidents.resolve(finding, cx);
        } else {
            finding = finding.evidence("error", self.error.clone()).evidence("failures", self.streak.run());
            finding.since_ms = Some(self.since_ms);
            incidents.fire(finding, cx);
        }
    }

    /// What it shows now. Before the first two good results in a row one is enough: a start must not take a minute.
    pub(super) fn observed(&self, now: UnixMs, config: &HealthConfig) -> Observed {
        if self.seen_ms == 0 || now.saturating_sub(self.seen_ms) > config.stale_ms {
            return Observed::Unknown;
        }
        match (self.streak.state(), self.streak.last()) {
            (Some(false), _) | (None, Some(false) | None) => Observed::Fail,
            (Some(true), Some(false)) => Observed::Warn,
            _ if self.took_us.is_some_and(|took| took >= config.probe_warn_ms.saturating_mul(1000)) => Observed::Warn,
            _ => Observed::Pass,
        }
    }
}

fn rule_of(probe: Probe) -> &'static Rule {
    match probe {
        Probe::Database => &rule::HEALTH_DATABASE,
        Probe::Bus => &rule::HEALTH_BUS,
    }
}
