//! What can be seen of recovery: what is open and how far it has come, what is stopped, and the decision record.

use super::case::{Case, Stage};
use super::record::{Entry, What};
use super::{RecoveryConfig, RecoveryCore};
use homeostat_schemas::{Mode, Severity, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Cases that are shown at most.
const SHOWN_MAX: usize = 500;
/// Entries of the record that are shown at most: as many as are kept by default, from which history takes them.
const RECORD_MAX: usize = 1_000;

/// An incident that something can be done about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CaseView {
    /// Its id: what is approved or denied.
    pub incident: String,
    /// The alert's rule; empty for an order.
    pub rule: String,
    /// The service.
    pub service: String,
    /// The alert's labels.
    pub labels: BTreeMap<String, String>,
    /// How urgent the alert is.
    pub severity: Severity,
    /// What is to be done.
    pub action: String,
    /// To what.
    pub target: String,
    /// How far it has come.
    pub stage: Stage,
    /// Why it is there.
    pub why: String,
    /// How its effect is judged; empty when it is not.
    pub verify: String,
    /// The alert, or the order's place in the log.
    pub reason: String,
    /// Who ordered it; empty for an alert.
    pub by: String,
    /// Who has agreed.
    pub approvals: Vec<String>,
    /// How many more have to agree.
    pub approvals_missing: usize,
    /// Its commands, the last one last.
    pub commands: Vec<String>,
    /// What was measured before the last command.
    pub before: Option<f64>,
    /// What was measured last since it was done.
    pub after: Option<f64>,
    /// When it began, log time.
    pub opened_ms: UnixMs,
    /// When it is looked at again, log time.
    pub due_ms: Option<UnixMs>,
}

/// What a person stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PauseView {
    /// `all`, `service:<name>` or `action:<name>`.
    pub scope: String,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when, log time.
    pub since_ms: UnixMs,
}

/// What the fleet brake stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BrakeView {
    /// The rule of the alerts.
    pub cause: String,
    /// The service; empty for the whole fleet.
    pub service: String,
    /// How many are unhealthy.
    pub unhealthy: usize,
    /// Of how many.
    pub of: usize,
    /// Since when, log time.
    pub since_ms: UnixMs,
}

/// What may still be issued.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Budget {
    /// Commands of late.
    pub used: usize,
    /// How many there may be.
    pub of: usize,
    /// Within so many seconds.
    pub window_s: u64,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecoveryView {
    /// Log time of this view.
    pub at_ms: UnixMs,
    /// The actor's mode: with `observe`, commands go out marked as not to be executed.
    pub mode: Mode,
    /// What is stopped by a person.
    pub paused: Vec<PauseView>,
    /// What is stopped by the fleet brake.
    pub brakes: Vec<BrakeView>,
    /// Commands of late, and how many there may be.
    pub budget: Budget,
    /// Incidents, those that wait for a person first, at most 500.
    pub open: Vec<CaseView>,
    /// How many there are in each stage.
    pub stages: BTreeMap<Stage, usize>,
    /// The decision record, the newest first, at most 1000; older entries are in history.
    pub record: Vec<Entry>,
    /// How many entries there were of each sort.
    pub counts: BTreeMap<What, u64>,
    /// Living instances by service.
    pub members: BTreeMap<String, usize>,
    /// Incidents, instances and series that found no room.
    pub dropped: u64,
}

impl RecoveryView {
    /// Is an incident of this id known here? Nothing when there are more than are shown.
    #[must_use]
    pub fn knows(&self, incident: &str) -> Option<bool> {
        let shown = self.open.iter().any(|case| case.incident == incident);
        if shown || self.open.len() == self.stages.values().sum::<usize>() { Some(shown) } else { None }
    }
}

fn view(case: &Case) -> CaseView {
    let sent = case.sent.clone().unwrap_or_default();
    let missing = case.terms.approval.needed().saturating_sub(case.approvals.len());
    CaseView {
        incident: case.incident.clone(),
        rule: case.rule.clone(),
        service: case.service.clone(),
        labels: case.labels.clone(),
        severity: case.severity,
        action: case.action.clone(),
        target: case.target.clone(),
        stage: case.stage,
        why: case.why.clone(),
        verify: case.verify.clone(),
        reason: case.reason.clone(),
        by: case.by.clone(),
        approvals: case.approvals.clone(),
        approvals_missing: if case.stage == Stage::Proposed { missing } else { 0 },
        commands: case.commands.clone(),
        before: sent.before,
        after: sent.after,
        opened_ms: case.opened_ms,
        due_ms: case.due_ms,
    }
}

impl RecoveryCore {
    pub(super) fn full_view(&self, now: UnixMs, config: &RecoveryConfig) -> RecoveryView {
        let mut stages = BTreeMap::new();
        self.cases.values().for_each(|case| *stages.entry(case.stage).or_default() += 1);
        let mut open: Vec<&Case> = self.cases.values().collect();
        let urgency = |stage: Stage| match stage {
            Stage::Proposed => 0,
            Stage::Escalated => 1,
            Stage::Issued | Stage::Accepted | Stage::Done => 2,
            Stage::Waiting => 3,
            Stage::Verified | Stage::Unjudged | Stage::Observed | Stage::Denied => 4,
        };
        open.sort_by_key(|case| (urgency(case.stage), case.opened_ms));
        RecoveryView {
            at_ms: now,
            mode: self.mode,
            paused: self
                .rails
                .paused
                .iter()
                .map(|(scope, pause)| PauseView {
                    scope: scope.clone(),
                    by: pause.by.clone(),
                    reason: pause.reason.clone(),
                    since_ms: pause.at_ms,
                })
                .collect(),
            brakes: self
                .brakes
                .on
                .iter()
                .map(|((cause, service), brake)| BrakeView {
                    cause: cause.clone(),
                    service: service.clone(),
                    unhealthy: brake.unhealthy,
                    of: brake.of,
                    since_ms: brake.since_ms,
                })
                .collect(),
            budget: Budget { used: self.rails.used(now, config), of: config.budget, window_s: config.budget_window_s },
            open: open.into_iter().take(SHOWN_MAX).map(view).collect(),
            stages,
            record: self.record.newest(RECORD_MAX),
            counts: self.record.counts().clone(),
            members: self.members.counts(),
            dropped: self.dropped.saturating_add(self.members.no_room).saturating_add(self.measurements.no_room),
        }
    }
}
