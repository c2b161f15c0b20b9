//! Rules of the recovery actor: what became of cures.

use super::{MINUTE, Nature, Rule};
use crate::alert::Severity;

const VERDICT_EVIDENCE: &[(&str, &str)] = &[
    ("incident", "the incident it was done for"),
    ("command", "the last command"),
    ("tries", "commands for this incident so far"),
    ("verify", "what had to come true"),
    ("measured", "the series by which it was judged, when one was measured"),
    ("before", "its last value before the command"),
    ("after", "its last value since the command was done"),
    ("took_ms", "time from done to this verdict, ms"),
];

/// A command helped, as measured.
pub const RECOVERY_VERIFIED: Rule = Rule {
    name: "recovery.verified",
    severity: Severity::Info,
    nature: Nature::Occurrence { quiet_ms: 10 * MINUTE },
    meaning: "A command was carried out, and its effect was measured.",
    labels: &["action", "target", "cause"],
    evidence: VERDICT_EVIDENCE,
    look: "`measured`, `before` and `after`; `homeostat explain`, with `incident`: the whole chain.",
    advice: "Nothing need be done now; look for the cause if it happens again.",
};

/// A command was carried out and did not help.
pub const RECOVERY_INEFFECTIVE: Rule = Rule {
    name: "recovery.ineffective",
    severity: Severity::Warning,
    nature: Nature::Occurrence { quiet_ms: 10 * MINUTE },
    meaning: "A command was carried out, and what it was to bring about was measured and did not come true in time.",
    labels: &["action", "target", "cause"],
    evidence: VERDICT_EVIDENCE,
    look: "`verify` beside `measured`, `before` and `after`: what was wanted, and what came; `tries`; `homeostat explain`, with `incident`; `GET /api/v1/recovery/decisions?incident=…`.",
    advice: "It is tried again after the cool-down until its attempts are used up; see whether the rule does what it is meant to.",
};

/// Recovery gives up on an incident; a person has to look.
pub const RECOVERY_ESCALATED: Rule = Rule {
    name: "recovery.escalated",
    severity: Severity::Critical,
    nature: Nature::Occurrence { quiet_ms: 24 * 60 * MINUTE },
    meaning: "Nothing more is done about an incident by itself: attempts are used up, a guard rail held for too long, or nobody decided.",
    labels: &["action", "target", "cause"],
    evidence: VERDICT_EVIDENCE,
    look: "`tries`; `homeostat explain`, with `incident`: what was decided, done and measured; `GET /api/v1/recovery/decisions?incident=…`.",
    advice: "See `homeostat recovery list` for what was tried. Another try: `homeostat recovery approve` with the incident.",
};

/// A command waits for a person.
pub const RECOVERY_APPROVAL_WANTED: Rule = Rule {
    name: "recovery.approval_wanted",
    severity: Severity::Warning,
    nature: Nature::State,
    meaning: "A command would be issued, and its rule wants a person to agree first.",
    labels: &["action", "target", "cause"],
    evidence: &[
        ("approve", "the incident to approve or deny"),
        ("args", "the arguments of the command"),
        ("missing", "how many persons have yet to agree"),
        ("until_ms", "when it is escalated unless somebody decides, log time"),
    ],
    look: "`args` and `until_ms`; `homeostat explain`, with `approve`: what led to it; `homeostat recovery list`: what else waits.",
    advice: "`homeostat recovery approve INCIDENT` or `homeostat recovery deny INCIDENT`.",
};

/// Most of a fleet is unhealthy for one cause.
pub const RECOVERY_FLEET_BRAKE: Rule = Rule {
    name: "recovery.fleet_brake",
    severity: Severity::Critical,
    nature: Nature::State,
    meaning: "Most instances of a service (or most services) are unhealthy for one cause: it lies in none of them, and nothing is done about it.",
    labels: &["cause"],
    evidence: &[
        ("unhealthy", "how many are"),
        ("of", "of how many"),
        ("limit", "the share in force"),
        ("held", "how many incidents wait for its end"),
        ("incidents", "those incidents, the latest first, at most 20"),
        (
            "joined",
            "how many have joined since it was last said; it is said again for them under the same incident, at most every `hold_max_s`",
        ),
    ],
    look: "`unhealthy` of `of`; `incidents`: what those have in common; the label `cause`; `homeostat recovery list`: what waits.",
    advice: "Look for what they share: a deployment, a dependency, the load. Commands go on by themselves when the share has fallen.",
};
