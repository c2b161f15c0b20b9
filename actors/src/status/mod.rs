//! Status: what is open now. It folds alerts, commands and outcomes into one picture and finds nothing itself; the gateway and
//! the console show it, and there is no other truth about it.
//!
//! What finds no room makes room in this order: incidents that are resolved before open ones, and within each the oldest; commands
//! that are settled (nothing more is expected of them) before others, and within each the oldest. What was dropped is counted.
//!
//! People's word on alerts is kept here too: silences, maintenance windows that come again, and who looks after what. They are
//! `order` events on the log ([`homeostat_schemas::silence`]), so a replay knows them, and log time decides when one is in force.
//! An alert that is silenced is found, shown and acted on as any other; only nobody is told.
//!
//! Promises
//! - S-1 No collection exceeds its limit in the settings.
//! - S-2 Every incident and every command stands in the order of eviction exactly once, in the class it is in.
//! - S-3 A message that comes again, or late, changes nothing: an incident is as its last message by log time said.
//! - S-4 Only open incidents are covered by silences or acknowledged, and only by silences that are known.

mod commands;
mod incidents;
mod silences;

pub use commands::{CommandState, CommandView, Reply};
pub use incidents::{Acknowledgement, Count};
pub use silences::{Refusal, SilenceState, SilenceView, check};

use crate::core::{Core, Cx, Input, Interest};
use crate::incidents::Incidents;
use commands::Commands;
use homeostat_schemas::event::Order;
use homeostat_schemas::{Alert, Event, EventKind, Severity, UnixMs, silence};
use incidents::Findings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use silences::Silences;
use std::collections::BTreeMap;

/// The settings table `actors.status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StatusConfig {
    /// Incidents that are kept, open and resolved together.
    pub incidents_max: usize,
    /// Commands that are kept.
    pub commands_max: usize,
    /// Outcomes that are kept of one command (one per instance and status).
    pub outcomes_max: usize,
    /// Rules that are counted; further ones are counted together under `__other__`.
    pub rules_max: usize,
    /// Resolved incidents and commands that the view shows, the newest.
    pub recent_max: usize,
    /// Silences that are kept; those that are over make room first.
    pub silences_max: usize,
}

impl Default for StatusConfig {
    fn default() -> Self {
        StatusConfig { incidents_max: 10_000, commands_max: 1_000, outcomes_max: 32, rules_max: 256, recent_max: 200, silences_max: 500 }
    }
}

/// What is open now, and what was of late.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct StatusView {
    /// Log time of this view.
    pub at_ms: UnixMs,
    /// How many incidents are open, by severity.
    pub open_by_severity: BTreeMap<Severity, usize>,
    /// How many incidents are open, by service.
    pub open_by_service: BTreeMap<String, usize>,
    /// Counts by rule.
    pub rules: BTreeMap<String, Count>,
    /// Open incidents, the most urgent first, then the oldest: the last message of each.
    pub open: Vec<Alert>,
    /// Resolved incidents, the newest first.
    pub resolved: Vec<Alert>,
    /// Commands, the newest first.
    pub commands: Vec<CommandView>,
    /// What found no room.
    pub dropped: Dropped,
    /// What people say about open incidents, by incident; those of which nothing is said are not there.
    pub marks: BTreeMap<String, Mark>,
    /// Silences: those in force first, then those to come, then those that are over.
    pub silences: Vec<SilenceView>,
    /// Orders about silences and acknowledgements that were not followed, the newest first.
    pub refused_orders: Vec<Refusal>,
}

impl StatusView {
    /// Open incidents that nobody is told of, because somebody silenced them.
    #[must_use]
    pub fn silenced(&self) -> usize {
        self.marks.values().filter(|mark| !mark.silenced_by.is_empty()).count()
    }

    /// Open incidents that somebody looks after.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.marks.values().filter(|mark| mark.acknowledged.is_some()).count()
    }

    /// Silences in force.
    #[must_use]
    pub fn silences_active(&self) -> usize {
        self.silences.iter().filter(|silence| silence.state == SilenceState::Active).count()
    }
}

/// What people say about an open incident.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Mark {
    /// Silences in force that cover it.
    pub silenced_by: Vec<String>,
    /// Who looks after it.
    pub acknowledged: Option<Acknowledgement>,
    /// The id of its first message, if that was not the last.
    pub first: Option<String>,
}

/// What people said about alerts, for whoever is to tell others of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Said {
    /// As of this log time.
    pub at_ms: UnixMs,
    /// Silences; how many incidents each covers is left at 0.
    pub silences: Vec<SilenceView>,
    /// Open incidents that somebody looks after.
    pub acknowledged: Vec<(Alert, Acknowledgement)>,
}

/// What had to make room, and what belonged to nothing known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Dropped {
    /// Open incidents.
    pub open: u64,
    /// Resolved incidents.
    pub resolved: u64,
    /// Commands that were not settled.
    pub commands: u64,
    /// Outcomes of commands that are not, or no longer, known.
    pub outcomes: u64,
}

/// The mind.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct StatusCore {
    findings: Findings,
    commands: Commands,
    silences: Silences,
    dropped: Dropped,
    /// It finds nothing itself.
    own: Incidents,
    /// The limits that were in force at the last step, against which promises are judged.
    limits: Option<StatusConfig>,
}

impl Core for StatusCore {
    const NAME: &'static str = "status";
    const STATE_VERSION: u16 = 2;
    const INTEREST: Interest = Interest { events: &[EventKind::Order], alerts: true, commands: true, outcomes: true, ..Interest::NONE };
    type Config = StatusConfig;
    type View = StatusView;

    fn step(&mut self, input: Input<'_>, cx: &mut Cx<'_, StatusConfig>) {
        if self.limits.as_ref() != Some(cx.config) {
            self.limits = Some(cx.config.clone());
        }
        match input {
            Input::Alert(alert) => {
                self.commands.verdict(alert);
                self.findings.take(alert, &mut self.silences, cx.config, &mut self.dropped);
            }
            Input::Command(command) => self.commands.take(command, cx.position()),
            Input::Outcome(outcome) => self.commands.outcome(outcome, cx.now, cx.config, &mut self.dropped),
            Input::Event(Event::Order(order)) => self.order(order, cx),
            Input::Tick => self.commands.expire(cx.now),
            Input::Event(_) | Input::Key(_) | Input::Answer(_) | Input::End => {}
        }
        if self.silences.sweep(cx.now, cx.config) {
            self.findings.uncover(&self.silences);
        }
        self.findings.make_room(cx.config, &mut self.dropped);
        self.commands.make_room(cx.config, &mut self.dropped);
    }

    fn broken_promise(&self, config: &StatusConfig) -> Option<&'static str> {
        let limits = self.limits.as_ref().unwrap_or(config);
        let kept = self.findings.broken_promise(limits).or_else(|| self.commands.broken_promise(limits));
        let silences = || (!self.silences.within(limits)).then_some("S-1");
        kept.or_else(silences).or_else(|| (!self.findings.covered_rightly(&self.silences)).then_some("S-4"))
    }

    fn view(&self, now: UnixMs, config: &StatusConfig) -> StatusView {
        let mut view = StatusView {
            at_ms: now,
            rules: self.findings.counts().clone(),
            commands: self.commands.recent(config.recent_max),
            dropped: self.dropped,
            silences: self.silences.view(now, &self.findings.covered()),
            refused_orders: self.silences.refused(),
            ..StatusView::default()
        };
        self.findings.show(&mut view, config.recent_max);
        view
    }

    fn incidents(&self) -> &Incidents {
        &self.own
    }
}

impl StatusCore {
    /// What people say about these incidents at a log time, by incident; those that are not open are not there.
    #[must_use]
    pub fn marks(&self, incidents: &[String], now: UnixMs) -> BTreeMap<String, Mark> {
        let active = self.silences.active(now);
        incidents.iter().filter_map(|incident| Some((incident.clone(), self.findings.mark(incident, &active)?))).collect()
    }

    /// The last message of an open incident, and what people say about it at a log time.
    #[must_use]
    pub fn open(&self, incident: &str, now: UnixMs) -> Option<(Alert, Mark)> {
        let mark = self.findings.mark(incident, &self.silences.active(now))?;
        Some((self.findings.get(incident)?.clone(), mark))
    }

    /// What people said about alerts, as of a log time.
    #[must_use]
    pub fn said(&self, now: UnixMs) -> Said {
        let acknowledged = self.findings.acknowledged().map(|(alert, said)| (alert.clone(), said.clone())).collect();
        Said { at_ms: now, silences: self.silences.view(now, &BTreeMap::new()), acknowledged }
    }

    /// People's word on alerts. What cannot be followed is kept with its reason.
    fn order(&mut self, order: &Order, cx: &Cx<'_, StatusConfig>) {
        let by = silences::said(&order.by);
        let named = || if by.is_empty() { Err("whoever says so has a name (`by`)".to_owned()) } else { Ok(()) };
        let done = match order.action.as_str() {
            silence::CREATE => {
                let made = self.silences.create(order, cx.now, cx.config);
                // Others may have made room for it.
                self.findings.uncover(&self.silences);
                made.map(|()| self.findings.cover(&order.target, &mut self.silences))
            }
            silence::EXPIRE => named().and_then(|()| self.silences.expire(order, cx.now)),
            silence::ACKNOWLEDGE => {
                let reason = silences::said(order.reason.as_deref().unwrap_or_default());
                named().and_then(|()| self.findings.acknowledge(&order.target, &by, &reason, cx.now))
            }
            silence::UNACKNOWLEDGE => named().and_then(|()| self.findings.unacknowledge(&order.target)),
            // For another mind.
            _ => return,
        };
        if let Err(why) = done {
            self.silences.refuse(order, why, cx.now);
        }
    }

    /// The last message of an incident.
    #[must_use]
    pub fn incident(&self, incident: &str) -> Option<&Alert> {
        self.findings.get(incident)
    }

    /// A command with what became of it.
    #[must_use]
    pub fn command(&self, id: &str) -> Option<&CommandView> {
        self.commands.get(id)
    }
}

#[cfg(test)]
mod tests;
