//! Recovery: alerts become commands by the rules of the settings, and a command has not succeeded when it was sent or acknowledged,
//! but when its effect was measured.
//!
//! | part | what |
//! |---|---|
//! | [`config`] | the policy: rules, guard rails, limits |
//! | `template`, `goal` | from an alert to target and arguments; what has to come true |
//! | `case` | an incident and how far it has come |
//! | `open` | alerts and orders become cases |
//! | `flow` | from stage to stage: issue, outcomes, deadlines |
//! | `verdict` | measured effects, and the alerts that say how it ended |
//! | `rails`, `brake` | what must hold before a command goes out |
//! | `members`, `measure` | who is there, and what was measured last |
//! | `record`, `view` | what was done and what was held back, and why |
//!
//! The actor's mode is `observe` unless the settings say otherwise: everything is decided as it would be, and the commands go out
//! marked as not to be executed.
//!
//! Promises
//! - R-1 No collection exceeds its limit in the settings.
//! - R-2 At most one command is under way for a failure domain, and never more for a service than its blast radius when it was issued.
//! - R-3 Every case that is not over has exactly one time at which it is looked at again: none is forgotten, none goes on for ever.
//! - R-4 Every command under way belongs to one case, and that case knows it.
//! - R-5 The counts from which the fleet brake is judged are those of the open cases.
//! - R-6 Fences only grow.

mod brake;
mod case;
mod config;
mod flow;
mod goal;
mod measure;
mod members;
mod open;
mod rails;
mod record;
mod template;
mod verdict;
mod view;

pub use case::Stage;
pub use config::{Approval, Limits, Policy, RecoveryConfig};
pub use open::check;
pub use record::{Entry, What};
pub use view::{BrakeView, Budget, CaseView, PauseView, RecoveryView};

use crate::core::{Core, Cx, Input, Interest};
use crate::incidents::Incidents;
use brake::Brakes;
use case::Case;
use homeostat_schemas::{Event, EventKind, Mode, Ms, UnixMs};
use measure::{Measurements, Series};
use members::Members;
use rails::Rails;
use record::Record;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The service that findings about the whole fleet are about.
const OWN: &str = "homeostat";

/// How often what ends by itself is looked after.
const SWEEP_MS: Ms = 1_000;

/// The orders that this actor follows beside requests for a command. Their target is an incident, or what is paused.
pub mod order {
    /// A person agrees to a proposal, or asks for another try of what was escalated.
    pub const APPROVE: &str = "recovery.approve";
    /// A person says no.
    pub const DENY: &str = "recovery.deny";
    /// Stop commands: target `all`, `service:<name>` or `action:<name>`.
    pub const PAUSE: &str = "recovery.pause";
    /// Let them go on; the target is that of the pause.
    pub const RESUME: &str = "recovery.resume";

    /// Is it a person's decision about an incident?
    #[must_use]
    pub fn decides(action: &str) -> bool {
        [APPROVE, DENY].contains(&action)
    }
}

/// The mind.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct RecoveryCore {
    cases: BTreeMap<String, Case>,
    due: BTreeSet<(UnixMs, String)>,
    /// The last command of every case that is not over, and the case.
    commands: BTreeMap<String, String>,
    /// The cases that wait for a measurement.
    watching: BTreeMap<Series, BTreeSet<String>>,
    rails: Rails,
    brakes: Brakes,
    members: Members,
    measurements: Measurements,
    record: Record,
    incidents: Incidents,
    dropped: u64,
    swept_ms: UnixMs,
    mode: Mode,
    /// The limits that were in force at the last step, against which promises are judged.
    limits: Limits,
}

impl Core for RecoveryCore {
    const NAME: &'static str = "recovery";
    const STATE_VERSION: u16 = 2;
    const MODE: Mode = Mode::Observe;
    const INTEREST: Interest = Interest {
        events: &[EventKind::Heartbeat, EventKind::Resource, EventKind::Pool, EventKind::Cache, EventKind::Order],
        alerts: true,
        outcomes: true,
        ..Interest::NONE
    };
    type Config = RecoveryConfig;
    type View = RecoveryView;

    fn step(&mut self, input: Input<'_>, cx: &mut Cx<'_, RecoveryConfig>) {
        self.limit(cx);
        match input {
            Input::Event(Event::Heartbeat(event)) => self.members.beat(event, cx.now, cx.config),
            Input::Event(Event::Resource(event)) => {
                let measured = self.measurements.resource(event, cx.now, cx.config);
                self.measured(measured, cx);
            }
            Input::Event(Event::Pool(event)) => {
                let measured = self.measurements.pool(event, cx.now, cx.config);
                self.measured(measured, cx);
            }
            Input::Event(Event::Cache(event)) => {
                let measured = self.measurements.cache(event, cx.now, cx.config);
                self.measured(measured, cx);
            }
            Input::Event(Event::Order(event)) => self.order(event, cx),
            Input::Alert(alert) => self.alert(alert, cx),
            Input::Outcome(outcome) => self.outcome(outcome, cx),
            Input::Tick => self.tick(cx),
            // The end of a file executes nothing and judges nothing.
            Input::End
            | Input::Event(
                Event::Query(_)
                | Event::Request(_)
                | Event::Call(_)
                | Event::Calls(_)
                | Event::Breaker(_)
                | Event::Span(_)
                | Event::Sample(_)
                | Event::Metric(_),
            )
            | Input::Command(_)
            | Input::Key(_)
            | Input::Answer(_) => {}
        }
    }

    fn broken_promise(&self, _config: &RecoveryConfig) -> Option<&'static str> {
        let Limits { cases, targets, members, series, record } = self.limits;
        let within = self.cases.len() <= cases
            && self.rails.targets.len() <= targets.max(self.rails.flights.len())
            && self.members.len() <= members
            && self.measurements.len() <= series
            && self.record.len() <= record;
        if !within {
            return Some("R-1");
        }
        let held = self.rails.flights.iter().all(|(domain, incident)| {
            self.cases.get(incident).is_some_and(|case| case.stage.in_flight() && case.domain.as_ref() == Some(domain))
        });
        if !held || self.cases.values().filter(|case| case.domain.is_some()).count() != self.rails.flights.len() {
            return Some("R-2");
        }
        // Without a copy of any name: this is asked after every message of a simulation with millions of them.
        let mut due: Vec<(UnixMs, &str)> = self.cases.iter().filter_map(|(id, case)| Some((case.due_ms?, id.as_str()))).collect();
        due.sort_unstable();
        let placed = due.into_iter().eq(self.due.iter().map(|(due, id)| (*due, id.as_str())));
        if !placed || !self.cases.values().all(|case| case.due_ms.is_some() || case.stage.is_over()) {
            return Some("R-3");
        }
        let known = self.commands.iter().all(|(command, incident)| {
            self.cases.get(incident).is_some_and(|case| case.sent.as_ref().is_some_and(|sent| sent.id == *command))
        });
        let flying = self.cases.values().filter(|case| case.stage.in_flight());
        if !known || !flying.into_iter().all(|case| case.sent.as_ref().is_some_and(|sent| self.commands.contains_key(&sent.id))) {
            return Some("R-4");
        }
        (!self.brakes.agrees(self.cases.values())).then_some("R-5")
    }

    fn view(&self, now: UnixMs, config: &RecoveryConfig) -> RecoveryView {
        self.full_view(now, config)
    }

    fn incidents(&self) -> &Incidents {
        &self.incidents
    }
}

impl RecoveryCore {
    fn tick(&mut self, cx: &mut Cx<'_, RecoveryConfig>) {
        if cx.now >= self.swept_ms.saturating_add(SWEEP_MS) {
            self.swept_ms = cx.now;
            self.incidents.sweep(cx);
            self.members.sweep(cx.now, cx.config);
            self.measurements.sweep(cx.now);
            self.rails.sweep(cx.now, cx.config);
            self.look_at_causes(cx);
        }
        while let Some((due, incident)) = self.due.first().cloned()
            && due <= cx.now
        {
            self.due.pop_first();
            if let Some(mut case) = self.cases.remove(&incident) {
                case.due_ms = None;
                self.look_at(case, cx);
            }
        }
    }

    /// Holds the limits in force, which may have become stricter.
    fn limit(&mut self, cx: &mut Cx<'_, RecoveryConfig>) {
        self.mode = cx.actor_mode();
        if self.limits == cx.config.limits {
            return;
        }
        self.limits = cx.config.limits;
        while self.cases.len() > self.limits.cases {
            // What is over first, then what has not begun, then the rest.
            let order = |case: &&Case| (!case.stage.is_over(), case.stage.in_flight(), case.opened_ms);
            let Some(incident) = self.cases.values().min_by_key(order).map(|case| case.incident.clone()) else { break };
            if let Some(case) = self.take(&incident) {
                self.drop_case(case, "there is no longer room for it", cx);
            }
        }
        self.rails.make_room(self.limits.targets);
        self.members.make_room(self.limits.members);
        self.measurements.make_room(self.limits.series);
        self.record.make_room(self.limits.record);
    }

    /// Writes down what was decided about a case.
    fn note(&mut self, case: &Case, what: What, why: impl Into<String>, cx: &Cx<'_, RecoveryConfig>) {
        let entry = Entry {
            what,
            why: why.into(),
            incident: case.incident.clone(),
            rule: case.rule.clone(),
            service: case.service.clone(),
            action: case.action.clone(),
            target: case.target.clone(),
            command: case.sent.as_ref().map_or_else(String::new, |sent| sent.id.clone()),
            ..Entry::default()
        };
        self.write(entry, cx);
    }

    fn write(&mut self, entry: Entry, cx: &Cx<'_, RecoveryConfig>) {
        self.record.write(Entry { at_ms: cx.now, position: cx.position(), ..entry }, self.limits.record);
    }

    /// Takes a case out, to work on it. It has to be put back, or closed.
    fn take(&mut self, incident: &str) -> Option<Case> {
        let case = self.cases.remove(incident)?;
        if let Some(due) = case.due_ms {
            self.due.remove(&(due, case.incident.clone()));
        }
        Some(case)
    }

    /// Puts a case back as it was.
    fn put_back(&mut self, case: Case) {
        let due_ms = case.due_ms;
        self.put(case, due_ms);
    }

    /// Puts a case back, to be looked at again at `due_ms`.
    fn put(&mut self, mut case: Case, due_ms: Option<UnixMs>) {
        case.due_ms = due_ms;
        if let Some(due) = due_ms {
            self.due.insert((due, case.incident.clone()));
        }
        self.cases.insert(case.incident.clone(), case);
    }
}

#[cfg(test)]
mod tests;
