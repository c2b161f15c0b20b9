//! Rules of the breaker actor: peers that fail.

use super::{Nature, Rule};
use crate::alert::Severity;

/// Calls to a peer fail on several replicas of a service.
pub const BREAKER_OPEN: Rule = Rule {
    name: "breaker.open",
    severity: Severity::Critical,
    nature: Nature::State,
    meaning: "Calls to a peer fail on several replicas, and the fleet's breaker holds calls back.",
    labels: &["peer", "operation", "zone"],
    evidence: &[
        ("failed", "calls that failed since the run of failures began"),
        ("ok", "calls that succeeded since then"),
        ("excess", "the sum of failures beyond the threshold"),
        ("needed", "the sum from which it opens"),
        ("replicas_failing", "replicas with a failure since the run began"),
        ("replicas_needed", "of how many replicas failures must have come"),
        ("replicas", "replicas that report calls"),
        ("demand_per_s", "calls a second of all replicas, those that were not sent included"),
        ("fraction", "the share of calls that is admitted"),
    ],
    look: "`replicas_failing` of `replicas`: one caller, or the peer; `fraction`: how much passes; `GET /api/v1/breakers?peer=…`: states and local breakers; the peer's own alerts.",
    advice: "Look at the peer: those who call it are protected, and recover by themselves when it does.",
};
