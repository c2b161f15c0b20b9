//! What becomes of a model after it was retrained.
//!
//! The recovery actor turns `drift.critical` into the command `model.retrain`; this mind hears the command and its outcome. `done`
//! makes every baseline of the model old: the model now knows what it sees today. So baselines are learnt anew, and the first look
//! at them tells whether the drift is gone: then `drift.critical` resolves with the fall of PSI, else it stays open.

use super::DriftCore;
use super::baseline::Origin;
use super::config::DriftConfig;
use super::model::Model;
use crate::core::Cx;
use homeostat_schemas::{Command, Mode, Outcome, OutcomeStatus, UnixMs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A retraining whose effect is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Renewal {
    pub(super) since_ms: UnixMs,
    /// The largest adjusted PSI before it.
    pub(super) psi_before: f64,
}

/// Commands to retrain whose outcome is awaited: by id, with service and model, oldest out first.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Commands {
    awaited: BTreeMap<String, (String, String)>,
    order: std::collections::VecDeque<String>,
}

impl Commands {
    pub(super) fn len(&self) -> usize {
        self.awaited.len().max(self.order.len())
    }

    /// Remembers a command to retrain a model that is known here.
    pub(super) fn note(&mut self, command: &Command, services: &BTreeMap<String, BTreeMap<String, Model>>, max: usize) {
        let known = services.get(&command.service).is_some_and(|models| models.contains_key(&command.target));
        if command.action != super::RETRAIN || command.mode != Mode::Act || !known || max == 0 {
            return;
        }
        if self.awaited.insert(command.id.clone(), (command.service.clone(), command.target.clone())).is_none() {
            self.order.push_back(command.id.clone());
        }
        self.trim(max);
    }

    pub(super) fn trim(&mut self, max: usize) {
        while self.order.len() > max {
            if let Some(id) = self.order.pop_front() {
                self.awaited.remove(&id);
            }
        }
    }

    /// The service and model of a command that is awaited no longer, if that service says so.
    fn done(&mut self, outcome: &Outcome) -> Option<(String, String)> {
        let id = &outcome.command;
        if self.awaited.get(id)?.0 != outcome.service {
            return None;
        }
        self.order.retain(|known| known != id);
        self.awaited.remove(id)
    }
}

impl DriftCore {
    /// An executor said what became of a command.
    pub(super) fn outcome(&mut self, outcome: &Outcome, cx: &Cx<'_, DriftConfig>) {
        match outcome.status {
            OutcomeStatus::Accepted => {}
            OutcomeStatus::Failed | OutcomeStatus::Refused | OutcomeStatus::Expired => drop(self.commands.done(outcome)),
            OutcomeStatus::Done => {
                let Some((service, model)) = self.commands.done(outcome) else { return };
                if let Some(model) = self.services.get_mut(&service).and_then(|models| models.get_mut(&model)) {
                    model.renew(cx.now, cx.config);
                }
            }
        }
    }
}

impl Model {
    fn renew(&mut self, now: UnixMs, config: &DriftConfig) {
        self.renewal = Some(Renewal { since_ms: now, psi_before: self.worst() });
        self.quiet_until_ms = now.saturating_add(config.retrain_cooldown_ms);
        for feature in self.features.values_mut() {
            // One that is being learnt already would be halfway between the old and the new: it begins again, too.
            feature.learn(Origin::Renewed, now);
        }
    }
}
