//! Outcomes: what became of a command, said by the application that executed it (or did not).

use crate::time::UnixMs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far a command came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeStatus {
    /// It was taken up.
    #[default]
    Accepted,
    /// It was done. Whether it helped is measured, not said.
    Done,
    /// It was tried and failed.
    Failed,
    /// The application will not do it.
    Refused,
    /// It came too late.
    Expired,
}

/// What became of a command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// The command's id.
    pub command: String,
    /// How far it came.
    pub status: OutcomeStatus,
    /// A word of explanation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// When, by the executor's clock.
    pub at_ms: UnixMs,
    /// Which replica says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The service that says so: that of the subject, for which the bus's rights vouch. Not in the body.
    #[serde(skip)]
    pub service: String,
}
