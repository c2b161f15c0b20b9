//! An incident that something can be done about, and how far that has come.
//!
//! ```text
//! waiting → (proposed → approved) → issued → accepted → done → verified
//!    ▲                                │          │       └──→ ineffective ─┐
//!    │                                └ expired ─┴ failed, refused ────────┤
//!    └──────────────────────────── after the cool-down ◀───────────────────┴─ attempts used up → escalated
//! ```

use super::config::{Approval, Policy};
use super::goal::Goal;
use homeostat_schemas::{Mode, Severity, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// How far it has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Something is to be done, and has not been yet: see the reason.
    #[default]
    Waiting,
    /// A person has to agree.
    Proposed,
    /// A command is on its way.
    Issued,
    /// It was taken up.
    Accepted,
    /// It was done; its effect is being measured.
    Done,
    /// It helped. Over.
    Verified,
    /// It was done, and nothing says how to judge it. Over.
    Unjudged,
    /// It was shown what would have been done. Over.
    Observed,
    /// A person was called. Over, unless that person asks for another try.
    Escalated,
    /// A person said no. Over.
    Denied,
}

impl Stage {
    /// Is a command under way or being judged?
    #[must_use]
    pub const fn in_flight(self) -> bool {
        matches!(self, Stage::Issued | Stage::Accepted | Stage::Done)
    }

    /// Does nothing more happen by itself?
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Stage::Verified | Stage::Unjudged | Stage::Observed | Stage::Escalated | Stage::Denied)
    }
}

/// What a command holds while it is under way: no other one to the same domain.
pub(super) type Domain = (String, String);

/// A command as it was issued last.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Sent {
    pub(super) id: String,
    /// The replica it was assigned to; empty when any may take it.
    pub(super) instance: String,
    pub(super) at_ms: UnixMs,
    /// The goal's quantity before it.
    pub(super) before: Option<f64>,
    pub(super) done_ms: Option<UnixMs>,
    /// The goal's quantity as last measured since it was done.
    pub(super) after: Option<f64>,
    /// Measurements in a row that show the effect.
    pub(super) good: u32,
}

/// An incident and what is done about it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Case {
    pub(super) incident: String,
    /// The alert's rule; empty for an order.
    pub(super) rule: String,
    pub(super) service: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) severity: Severity,
    /// The id of the alert (or the order's place in the log).
    pub(super) reason: String,
    /// Whose order it is; empty for an alert.
    pub(super) by: String,
    /// The trace in which it all began.
    pub(super) traceparent: Option<String>,
    pub(super) trace: Option<String>,
    pub(super) opened_ms: UnixMs,
    pub(super) action: String,
    pub(super) target: String,
    #[serde(with = "crate::core::kept")]
    pub(super) args: Map<String, Value>,
    pub(super) verify: String,
    pub(super) goal: Option<Goal>,
    pub(super) terms: Terms,
    pub(super) stage: Stage,
    /// Why it is in this stage.
    pub(super) why: String,
    /// Since when it has been held back by what does not end by itself.
    pub(super) held_ms: Option<UnixMs>,
    /// Who has agreed.
    pub(super) approvals: Vec<String>,
    pub(super) sent: Option<Sent>,
    /// The ids of all commands of this case, at most [`COMMANDS_MAX`].
    pub(super) commands: Vec<String>,
    pub(super) domain: Option<Domain>,
    /// When its alert ended; nothing while it is open, and for an order.
    pub(super) resolved_ms: Option<UnixMs>,
    /// When it is looked at next.
    pub(super) due_ms: Option<UnixMs>,
}

/// The ids of a case's commands that are kept.
pub(super) const COMMANDS_MAX: usize = 20;

/// What a rule allows; kept with the case, so that a change of the settings is for the next one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Terms {
    pub(super) cooldown_s: u64,
    pub(super) attempts: u32,
    pub(super) approval: Approval,
    pub(super) mode: Mode,
    pub(super) unless: Vec<String>,
    pub(super) expires_s: u64,
    pub(super) timeout_s: u64,
}

impl Terms {
    pub(super) fn of(policy: &Policy) -> Terms {
        Terms {
            cooldown_s: policy.cooldown_s,
            attempts: policy.attempts,
            approval: policy.approval,
            mode: policy.mode,
            unless: policy.unless.clone(),
            expires_s: policy.expires_s,
            timeout_s: policy.timeout_s,
        }
    }
}

impl Case {
    /// The instance that the incident is about, if it is about one.
    pub(super) fn instance(&self) -> &str {
        self.labels.get("instance").map_or("", String::as_str)
    }

    /// Its place among the targets: cool-down and failures are counted for this.
    pub(super) fn target_key(&self) -> (String, String, String) {
        // One pool or cache name in two instances is two targets.
        let target = if self.instance().is_empty() || self.instance() == self.target {
            self.target.clone()
        } else {
            format!("{}/{}", self.instance(), self.target)
        };
        (self.service.clone(), target, self.action.clone())
    }

    /// Is its alert open?
    pub(super) fn is_open(&self) -> bool {
        self.by.is_empty() && self.resolved_ms.is_none()
    }
}
