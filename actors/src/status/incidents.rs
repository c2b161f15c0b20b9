//! Incidents: the last message of each, open or resolved.

use super::silences::{SilenceState, Silences};
use super::{Dropped, Mark, StatusConfig, StatusView};
use crate::core::Kept;
use homeostat_schemas::Severity;
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

/// Somebody looks after an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Acknowledgement {
    /// Who.
    pub by: String,
    /// What was said.
    pub reason: String,
    /// Since when, log time.
    pub at_ms: UnixMs,
    /// How urgent the incident was then. One that grows has to be acknowledged again.
    pub severity: Severity,
}

/// An incident.
#[derive(Debug, Serialize, Deserialize)]
struct Known {
    /// Its last message.
    last: Kept<Alert>,
    /// The id of its first.
    first: String,
    /// The silences that cover it, in force or not.
    silences: BTreeSet<String>,
    acknowledged: Option<Acknowledgement>,
}

impl Known {
    /// What people say about it, when these silences are in force.
    fn mark(&self, active: &BTreeSet<&str>) -> Mark {
        Mark {
            silenced_by: self.silences.iter().filter(|id| active.contains(id.as_str())).cloned().collect(),
            acknowledged: self.acknowledged.clone(),
            first: (self.first != self.last.0.id).then(|| self.first.clone()),
        }
    }
}

/// Where an incident stands in the order of eviction: open ones last, then by when their last message was decided.
type Place = (bool, UnixMs, String);

/// Every incident that is known.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Findings {
    alerts: BTreeMap<String, Known>,
    order: BTreeSet<Place>,
    rules: BTreeMap<String, Count>,
}

fn place(alert: &Alert) -> Place {
    (alert.state == State::Firing, alert.at_ms, alert.incident.clone())
}

impl Findings {
    pub(super) fn take(&mut self, alert: &Alert, silences: &mut Silences, config: &StatusConfig, dropped: &mut Dropped) {
        let before = self.alerts.get(&alert.incident).map(|known| &known.last.0);
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
        let mut known = Known { last: Kept(alert.clone()), first: alert.id.clone(), silences: BTreeSet::new(), acknowledged: None };
        if let Some(before) = self.alerts.remove(&alert.incident) {
            self.order.remove(&place(&before.last.0));
            known.first = before.first;
            known.acknowledged = before.acknowledged.filter(|said| is_open && alert.severity <= said.severity);
        }
        if is_open {
            known.silences = silences.covering(alert).into_iter().collect();
        }
        self.alerts.insert(alert.incident.clone(), known);
        self.order.insert(place(alert));
        self.make_room(config, dropped);
    }

    /// A silence was made, anew or for the first time: which open incidents does it cover?
    pub(super) fn cover(&mut self, id: &str, silences: &mut Silences) {
        for known in self.alerts.values_mut() {
            if known.last.0.state == State::Firing && silences.covers(id, &known.last.0) {
                known.silences.insert(id.to_owned());
            } else {
                known.silences.remove(id);
            }
        }
    }

    /// Silences were forgotten.
    pub(super) fn uncover(&mut self, silences: &Silences) {
        for known in self.alerts.values_mut() {
            known.silences.retain(|id| silences.contains(id));
        }
    }

    /// The open incident of this id, or whose last message has it.
    fn open_mut(&mut self, id: &str) -> Option<&mut Known> {
        let is_it = |known: &Known| known.last.0.state == State::Firing;
        let incident = match self.alerts.get(id) {
            Some(_) => id.to_owned(),
            None => {
                self.alerts.values().find(|known| is_it(known) && (known.last.0.id == id || known.first == id))?.last.0.incident.clone()
            }
        };
        self.alerts.get_mut(&incident).filter(|known| is_it(known))
    }

    /// Somebody looks after an incident.
    ///
    /// # Errors
    /// It is not open.
    pub(super) fn acknowledge(&mut self, id: &str, by: &str, reason: &str, now: UnixMs) -> Result<(), String> {
        let known = self.open_mut(id).ok_or("no such incident is open")?;
        let (by, reason) = (by.to_owned(), reason.to_owned());
        known.acknowledged = Some(Acknowledgement { by, reason, at_ms: now, severity: known.last.0.severity });
        Ok(())
    }

    /// Nobody does any more.
    ///
    /// # Errors
    /// It is not open, or nobody did.
    pub(super) fn unacknowledge(&mut self, id: &str) -> Result<(), String> {
        let known = self.open_mut(id).ok_or("no such incident is open")?;
        known.acknowledged.take().map(drop).ok_or_else(|| "it was not acknowledged".to_owned())
    }

    /// How many open incidents each silence covers.
    pub(super) fn covered(&self) -> BTreeMap<String, usize> {
        let mut covered = BTreeMap::new();
        for id in self.alerts.values().flat_map(|known| &known.silences) {
            *covered.entry(id.clone()).or_default() += 1;
        }
        covered
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
            if let Some(Known { last: Kept(alert), .. }) = self.alerts.remove(&incident)
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
        self.alerts.get(incident).map(|known| &known.last.0)
    }

    /// What people say about an incident, if it is open.
    pub(super) fn mark(&self, incident: &str, active: &BTreeSet<&str>) -> Option<Mark> {
        self.alerts.get(incident).filter(|known| known.last.0.state == State::Firing).map(|known| known.mark(active))
    }

    /// The open incidents that somebody looks after.
    pub(super) fn acknowledged(&self) -> impl Iterator<Item = (&Alert, &Acknowledgement)> {
        self.alerts.values().filter_map(|known| Some((&known.last.0, known.acknowledged.as_ref()?)))
    }

    pub(super) fn counts(&self) -> &BTreeMap<String, Count> {
        &self.rules
    }

    /// Open incidents, and the newest resolved ones.
    pub(super) fn show(&self, view: &mut StatusView, recent_max: usize) {
        let active = view.silences.iter().filter(|silence| silence.state == SilenceState::Active);
        let active: BTreeSet<&str> = active.map(|silence| silence.id.as_str()).collect();
        for (open, _, incident) in self.order.iter().rev() {
            let Some(known) = self.alerts.get(incident) else { continue };
            let alert = &known.last.0;
            if *open {
                let mark = known.mark(&active);
                if mark != Mark::default() {
                    view.marks.insert(incident.clone(), mark);
                }
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
        let placed = self.alerts.values().all(|known| self.order.contains(&place(&known.last.0)));
        (!placed || self.order.len() != self.alerts.len()).then_some("S-2")
    }

    /// S-4.
    pub(super) fn covered_rightly(&self, silences: &Silences) -> bool {
        self.alerts.values().all(|known| {
            let open = known.last.0.state == State::Firing;
            let silences_known = known.silences.iter().all(|id| silences.contains(id));
            silences_known && (open || (known.silences.is_empty() && known.acknowledged.is_none()))
        })
    }
}
