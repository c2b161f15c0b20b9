//! Admissions: what share of its calls to a peer the fleet's breaker lets a service make, said by the breaker actor to whoever
//! listens now (core NATS, not in the log).

use crate::time::{Ms, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far the fleet's breaker is open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdmissionState {
    /// All calls pass again; said a few times, then no more.
    #[default]
    Closed,
    /// Probes only.
    Open,
    /// The share grows as long as calls end well.
    Ramping,
}

/// What share of calls may be made.
///
/// It binds for `lease_ms` from when it was heard, and is said again before that; who hears nothing more goes on with its own
/// breaker. Of two, the one with the larger `epoch` is the newer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Admission {
    /// The service whose calls are meant.
    pub service: String,
    /// Whom it calls.
    pub peer: String,
    /// What it asks of the peer; absent: anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The failure domain of the caller; absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// How far the breaker is open.
    pub state: AdmissionState,
    /// The share of first attempts that may be made, 0 to 1.
    pub fraction: f64,
    /// The share of repetitions that may be made, 0 to 1.
    pub retry_fraction: f64,
    /// Who is not in that share is not refused but waits, until another word comes, at most so long, milliseconds, and is then let
    /// through: while it is being found out whether shedding helps at all, nothing is lost by it. Absent: they are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_ms: Option<Ms>,
    /// Grows with every admission about the same calls, also when the actor or the log was made anew.
    pub epoch: u64,
    /// For how long it binds, milliseconds.
    pub lease_ms: Ms,
    /// How long ago the run of failures began, milliseconds: who has succeeded since without a failure need not follow.
    pub run_ms: Ms,
    /// Log time when it was said.
    pub at_ms: UnixMs,
}
