//! Commands and what became of them.

use super::{Dropped, StatusConfig};
use homeostat_schemas::{Alert, Command, Mode, Outcome, OutcomeStatus, Position, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Longest word of explanation that is kept of an outcome, in characters.
const DETAIL_MAX: usize = 300;

/// How far a command has come, in the order in which it can come further.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CommandState {
    /// It shows what would have been done, and is not to be executed.
    Observed,
    /// It is on its way.
    #[default]
    Issued,
    /// Nobody took it up in time.
    Expired,
    /// It was taken up.
    Accepted,
    /// The application will not do it.
    Refused,
    /// It was tried and failed.
    Failed,
    /// It was done; whether it helped is being measured.
    Done,
    /// It did not help.
    Ineffective,
    /// It helped.
    Verified,
    /// A person was called.
    Escalated,
}

impl CommandState {
    /// Is nothing more expected?
    #[must_use]
    pub const fn is_settled(self) -> bool {
        match self {
            CommandState::Issued | CommandState::Accepted | CommandState::Done => false,
            CommandState::Observed
            | CommandState::Expired
            | CommandState::Refused
            | CommandState::Failed
            | CommandState::Ineffective
            | CommandState::Verified
            | CommandState::Escalated => true,
        }
    }
}

/// One answer of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reply {
    /// What it said.
    pub status: OutcomeStatus,
    /// Which instance.
    pub instance: Option<String>,
    /// Its word of explanation.
    pub detail: Option<String>,
    /// When it was heard, log time.
    pub at_ms: UnixMs,
}

/// A command with what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommandView {
    /// The command as it was issued.
    #[serde(with = "crate::core::kept")]
    #[schemars(with = "Command")]
    pub command: Command,
    /// How far it has come.
    pub state: CommandState,
    /// Every answer, in the order they came.
    pub outcomes: Vec<Reply>,
    /// The alert that judged its effect.
    pub verdict: Option<String>,
    position: Position,
}

/// Every command that is known.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Commands {
    by_id: BTreeMap<String, CommandView>,
    /// The order of eviction: settled ones first, then by position.
    order: BTreeSet<(bool, Position, String)>,
    by_position: BTreeSet<(Position, String)>,
    /// Those that were issued and not yet taken up, by the time after which they must not be.
    expiring: BTreeSet<(UnixMs, String)>,
}

fn place(view: &CommandView) -> (bool, Position, String) {
    (!view.state.is_settled(), view.position, view.command.id.clone())
}

impl Commands {
    pub(super) fn take(&mut self, command: &Command, position: Position) {
        // One that is known already came again.
        if self.by_id.contains_key(&command.id) {
            return;
        }
        let state = if command.mode == Mode::Act { CommandState::Issued } else { CommandState::Observed };
        let view = CommandView { command: command.clone(), state, outcomes: Vec::new(), verdict: None, position };
        self.order.insert(place(&view));
        self.by_position.insert((position, command.id.clone()));
        if state == CommandState::Issued {
            self.expiring.insert((command.expires_ms, command.id.clone()));
        }
        self.by_id.insert(command.id.clone(), view);
    }

    pub(super) fn outcome(&mut self, outcome: &Outcome, now: UnixMs, config: &StatusConfig, dropped: &mut Dropped) {
        // Another service's word about it is none.
        let Some(view) = self.by_id.get_mut(&outcome.command).filter(|view| view.command.service == outcome.service) else {
            dropped.outcomes += 1;
            return;
        };
        let known = view.outcomes.iter().any(|reply| reply.status == outcome.status && reply.instance == outcome.instance);
        if known {
            return;
        }
        if view.outcomes.len() < config.outcomes_max {
            let detail = outcome.detail.as_ref().map(|detail| detail.chars().take(DETAIL_MAX).collect());
            view.outcomes.push(Reply { status: outcome.status, instance: outcome.instance.clone(), detail, at_ms: now });
        } else {
            dropped.outcomes += 1;
        }
        let state = match outcome.status {
            OutcomeStatus::Accepted => CommandState::Accepted,
            OutcomeStatus::Done => CommandState::Done,
            OutcomeStatus::Failed => CommandState::Failed,
            OutcomeStatus::Refused => CommandState::Refused,
            OutcomeStatus::Expired => CommandState::Expired,
        };
        let id = outcome.command.clone();
        self.advance(&id, state);
    }

    /// A verdict of the recovery actor names the command among its causes.
    pub(super) fn verdict(&mut self, alert: &Alert) {
        let state = match alert.rule.as_str() {
            "recovery.verified" => CommandState::Verified,
            "recovery.ineffective" => CommandState::Ineffective,
            "recovery.escalated" => CommandState::Escalated,
            _ => return,
        };
        for id in &alert.cause {
            if let Some(view) = self.by_id.get_mut(id) {
                view.verdict = Some(alert.id.clone());
                self.advance(id, state);
            }
        }
    }

    /// What nobody took up in time is over.
    pub(super) fn expire(&mut self, now: UnixMs) {
        while let Some((_, id)) = self.expiring.first().filter(|(expires, _)| *expires < now).cloned() {
            self.advance(&id, CommandState::Expired);
        }
    }

    /// A command only ever comes further; outcomes of several instances may come in any order, and one that did it is enough.
    fn advance(&mut self, id: &str, state: CommandState) {
        let Some(view) = self.by_id.get_mut(id) else { return };
        self.expiring.remove(&(view.command.expires_ms, id.to_owned()));
        if state > view.state {
            self.order.remove(&place(view));
            view.state = state;
            self.order.insert(place(view));
        }
    }

    pub(super) fn make_room(&mut self, config: &StatusConfig, dropped: &mut Dropped) {
        while self.by_id.len() > config.commands_max
            && let Some((unsettled, position, id)) = self.order.pop_first()
        {
            dropped.commands += u64::from(unsettled);
            self.by_position.remove(&(position, id.clone()));
            if let Some(view) = self.by_id.remove(&id) {
                self.expiring.remove(&(view.command.expires_ms, id));
            }
        }
    }

    pub(super) fn get(&self, id: &str) -> Option<&CommandView> {
        self.by_id.get(id)
    }

    /// The newest, newest first.
    pub(super) fn recent(&self, max: usize) -> Vec<CommandView> {
        self.by_position.iter().rev().take(max).filter_map(|(_, id)| self.by_id.get(id)).cloned().collect()
    }

    /// S-1 and S-2.
    pub(super) fn broken_promise(&self, limits: &StatusConfig) -> Option<&'static str> {
        // A smaller limit on outcomes holds for new ones.
        if self.by_id.len() > limits.commands_max {
            return Some("S-1");
        }
        let placed = self
            .by_id
            .values()
            .all(|view| self.order.contains(&place(view)) && self.by_position.contains(&(view.position, view.command.id.clone())));
        let expiring = self.expiring.iter().all(|(_, id)| self.by_id.get(id).is_some_and(|view| view.state == CommandState::Issued));
        let sound = placed && expiring && self.order.len() == self.by_id.len() && self.by_position.len() == self.by_id.len();
        (!sound).then_some("S-2")
    }
}
