//! Incidents: the last message of each, open or resolved.

use super::{Dropped, StatusConfig, StatusView};
use crate::core::Kept;
use homeostat_schemas::{Alert, State, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Where rules beyond the limit are counted.
const OTHER: &str = "__other__";

/// How often a rule spoke.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Count {
    /// Incidents that began.
    pub fired: u64,
    /// Incidents that ended.
    pub resolved: u64,
    /// Incidents that are open.
    pub open: u64,
}

/// Where an incident stands in the order of eviction: open ones last, then by when their last message was decided.
type Place = (bool, UnixMs, String);

/// Every incident that is known.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Findings {
    alerts: BTreeMap<String, Kept<Alert>>,
    order: BTreeSet<Place>,
    rules: BTreeMap<String, Count>,
}

fn place(alert: &Alert) -> Place {
    (alert.state == State::Firing, alert.at_ms, alert.incident.clone())
}

impl Findings {
    pub(super) fn take(&mut self, alert: &Alert, config: &StatusConfig, dropped: &mut Dropped) {
        let before = self.alerts.get(&alert.incident).map(|kept| &kept.0);
        // The log is in order, so an earlier message is one that was there before; an incident that is over does not begin again.
        let was_there = |before: &Alert| {
            alert.id == before.id || alert.at_ms < before.at_ms || before.state == State::Resolved && alert.at_ms == before.at_ms
        };
        if before.is_some_and(was_there) {
            return;
        }
        let was_open = before.is_some_and(|before| before.state == State::Firing);
        let is_open = alert.state == State::Firing;
        let count = self.count(&alert.rule, config);
        count.fired = count.fired.saturating_add(u64::from(is_open && !was_open));
        count.resolved = count.resolved.saturating_add(u64::from(!is_open));
        count.open = count.open.saturating_add(u64::from(is_open && !was_open)).saturating_sub(u64::from(!is_open && was_open));
        if let Some(Kept(before)) = self.alerts.insert(alert.incident.clone(), Kept(alert.clone())) {
            self.order.remove(&place(&before));
        }
        self.order.insert(place(alert));
        self.make_room(config, dropped);
    }

    fn count(&mut self, rule: &str, config: &StatusConfig) -> &mut Count {
        let known = self.rules.contains_key(rule) || self.rules.len() < config.rules_max;
        self.rules.entry(if known { rule } else { OTHER }.to_owned()).or_default()
    }

    pub(super) fn make_room(&mut self, config: &StatusConfig, dropped: &mut Dropped) {
        // More rules than there may be only when the settings have become stricter: those that say least join the others.
        while self.rules.len() > config.rules_max.saturating_add(1)
            && let Some(least) = self.least_rule()
            && let Some(count) = self.rules.remove(&least)
        {
            let other = self.rules.entry(OTHER.to_owned()).or_default();
            other.fired = other.fired.saturating_add(count.fired);
            other.resolved = other.resolved.saturating_add(count.resolved);
            other.open = other.open.saturating_add(count.open);
        }
        while self.alerts.len() > config.incidents_max
            && let Some((open, _, incident)) = self.order.pop_first()
        {
            if let Some(Kept(alert)) = self.alerts.remove(&incident)
                && open
            {
                dropped.open += 1;
                let count = self.count(&alert.rule, config);
                count.open = count.open.saturating_sub(1);
            } else {
                dropped.resolved += 1;
            }
        }
    }

    /// The rule with the fewest incidents open, and of those the one that spoke least.
    fn least_rule(&self) -> Option<String> {
        let rules = self.rules.iter().filter(|(rule, _)| *rule != OTHER);
        rules.min_by_key(|(rule, count)| (count.open, count.fired, *rule)).map(|(rule, _)| rule.clone())
    }

    pub(super) fn get(&self, incident: &str) -> Option<&Alert> {
        self.alerts.get(incident).map(|kept| &kept.0)
    }

    pub(super) fn counts(&self) -> &BTreeMap<String, Count> {
        &self.rules
    }

    /// Open incidents, and the newest resolved ones.
    pub(super) fn show(&self, view: &mut StatusView, recent_max: usize) {
        for (open, _, incident) in self.order.iter().rev() {
            let Some(Kept(alert)) = self.alerts.get(incident) else { continue };
            if *open {
                *view.open_by_severity.entry(alert.severity).or_default() += 1;
                *view.open_by_service.entry(alert.service.clone()).or_default() += 1;
                view.open.push(alert.clone());
            } else if view.resolved.len() < recent_max {
                view.resolved.push(alert.clone());
            } else {
                break;
            }
        }
        view.open.sort_by(|a, b| (b.severity, a.since_ms, &a.incident).cmp(&(a.severity, b.since_ms, &b.incident)));
    }

    /// S-1 and S-2.
    pub(super) fn broken_promise(&self, limits: &StatusConfig) -> Option<&'static str> {
        if self.alerts.len() > limits.incidents_max || self.rules.len() > limits.rules_max.saturating_add(1) {
            return Some("S-1");
        }
        let placed = self.alerts.values().all(|kept| self.order.contains(&place(&kept.0)));
        (!placed || self.order.len() != self.alerts.len()).then_some("S-2")
    }
}
