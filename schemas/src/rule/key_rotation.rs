//! Rules of the key rotation actor: what people should know about API keys before it hurts.

use super::{MINUTE, Nature, Rule};
use crate::alert::Severity;

const DAY: crate::time::Ms = 24 * 60 * MINUTE;

/// A key ends for good within two weeks.
pub const KEY_ROTATION_EXPIRES_SOON: Rule = Rule {
    name: "key_rotation.expires_soon",
    severity: Severity::Info,
    nature: Nature::State,
    meaning: "A key reaches its end, which is never put off, within 14 days (info), 7 days (warning) or one day (critical).",
    labels: &["key"],
    evidence: &[
        ("expires_ms", "when it ends, Unix ms"),
        ("left_ms", "how long it has left, ms"),
        ("version", "the version in force"),
        ("last_used_ms", "when any version of it was used last, Unix ms"),
    ],
    look: "`left_ms`; `last_used_ms`: whether anybody uses it; `homeostat keys show`; `GET /api/v1/key_rotation?owner=…`: what else of the owner's is due.",
    advice: "Create its successor with `homeostat keys create`, give it to the owner, and let this one end.",
};

/// A key has ended.
pub const KEY_ROTATION_EXPIRED: Rule = Rule {
    name: "key_rotation.expired",
    severity: Severity::Warning,
    nature: Nature::Occurrence { quiet_ms: DAY },
    meaning: "A key has no version left that is accepted: its time is over.",
    labels: &["key"],
    evidence: &[
        ("version", "the version that ended last"),
        ("expired_ms", "when it ended, Unix ms"),
        ("last_used_ms", "when any version of it was used last, Unix ms"),
    ],
    look: "`last_used_ms` beside `expired_ms`: used to the end, or long forgotten; `homeostat keys show`.",
    advice: "If its owner still needs one, create another with `homeostat keys create`.",
};

/// A key has a new version.
pub const KEY_ROTATION_ROTATED: Rule = Rule {
    name: "key_rotation.rotated",
    severity: Severity::Info,
    nature: Nature::Occurrence { quiet_ms: 60 * MINUTE },
    meaning: "A key has a new version; the old one is accepted for its grace.",
    labels: &["key"],
    evidence: &[
        ("version", "the new version"),
        ("by", "who did it"),
        ("grace_until_ms", "until when the old version is accepted, Unix ms; absent when it is not"),
        ("recipient", "whether the secret went sealed to its owner"),
    ],
    look: "`by`, `grace_until_ms` and `recipient`; `homeostat audit tail`: who did it, and from where.",
    advice: "Nothing need be done when the owner follows its sealed deliveries.",
};

/// The owner still uses what is about to end.
pub const KEY_ROTATION_OLD_VERSION_IN_USE: Rule = Rule {
    name: "key_rotation.old_version_in_use",
    severity: Severity::Info,
    nature: Nature::State,
    meaning: "The old version of a key ends within 3 days (info), one day (warning) or one hour (critical), and was used within the last 24 hours.",
    labels: &["key"],
    evidence: &[
        ("version", "the old version"),
        ("ends_ms", "when it is no longer accepted, Unix ms"),
        ("left_ms", "how long that is, ms"),
        ("count", "how often it has been used"),
        ("last_used_ms", "when it was used last, Unix ms"),
        ("source", "from where it was used last"),
    ],
    look: "`source` and `last_used_ms`: who uses it still; `left_ms`; `homeostat keys show`: both versions.",
    advice: "Have the owner take the new version: `homeostat keys open`, or the client library's `client.keys`.",
};

/// A key should have had a new version, and cannot be given one.
pub const KEY_ROTATION_OVERDUE: Rule = Rule {
    name: "key_rotation.overdue",
    severity: Severity::Warning,
    nature: Nature::State,
    meaning: "A key is older than its rotation period and is not rotated by itself: nobody is named to whom a new secret could be sealed, or this actor only observes.",
    labels: &["key"],
    evidence: &[
        ("version", "the version in force"),
        ("created_ms", "when it was made, Unix ms"),
        ("due_ms", "when it should have had a successor, Unix ms"),
        ("why", "what is in the way"),
    ],
    look: "`why` and `due_ms`; `homeostat keys show`: its owner and recipient; `GET /api/v1/key_rotation?owner=…`.",
    advice: "Name a recipient (`homeostat keys xkey` makes a pair), or rotate by hand with `homeostat keys rotate`.",
};

/// Somebody else is to be given a key's secrets.
pub const KEY_ROTATION_RECIPIENT_CHANGES: Rule = Rule {
    name: "key_rotation.recipient_changes",
    severity: Severity::Warning,
    nature: Nature::State,
    meaning: "Another recipient of a key's secrets was asked for and waits for its time.",
    labels: &["key"],
    evidence: &[("by", "who asked"), ("from_ms", "from when on it counts, Unix ms"), ("recipient", "the public xkey that is to be")],
    look: "`by` and `from_ms`; `recipient`: whether its owner knows that xkey; `homeostat audit tail`: from where it was asked; `homeostat keys list`: who may ask.",
    advice: "If nobody you know asked for it, call it off before that, and look who holds a key with the scope keys:admin.",
};

/// A key was taken back.
pub const KEY_ROTATION_REVOKED: Rule = Rule {
    name: "key_rotation.revoked",
    severity: Severity::Warning,
    nature: Nature::Occurrence { quiet_ms: DAY },
    meaning: "A key, or a version of it, was taken back; critical when somebody else may know it.",
    labels: &["key"],
    evidence: &[
        ("version", "the version, when it was not all of them"),
        ("by", "who did it"),
        ("compromised", "whether somebody else may know it"),
        ("last_used_ms", "when any version of it was used last, Unix ms"),
        ("source", "from where"),
    ],
    look: "`compromised`; `last_used_ms` and `source`: who used it last, and from where; `homeostat audit export`: what was changed with it.",
    advice: "The receipt of the revocation names every replica that has evicted it. If it was compromised, see what it was used for since.",
};

/// What is due for a key cannot be done.
pub const KEY_ROTATION_FAILED: Rule = Rule {
    name: "key_rotation.failed",
    severity: Severity::Critical,
    nature: Nature::State,
    meaning: "What is due for a key (or for all of them) has failed three times in a row; it is tried again with growing pauses.",
    labels: &["key", "what"],
    evidence: &[
        ("failures", "tries in a row that failed"),
        ("why", "what was wrong the last time"),
        ("again_ms", "when it is tried again, Unix ms"),
    ],
    look: "`why` and `failures`; the label `what`: which act; `again_ms`; `homeostat doctor`; `GET /api/v1/key_rotation`.",
    advice: "See whether the database and the bus answer (`homeostat doctor`); nothing is lost, and nobody is locked out before the old version ends.",
};

/// The clocks contradict each other.
pub const KEY_ROTATION_CLOCK_JUMPED: Rule = Rule {
    name: "key_rotation.clock_jumped",
    severity: Severity::Critical,
    nature: Nature::State,
    meaning: "A wall clock has moved by more than five minutes against the monotonic clock: until it is back or somebody accepts it, no key expires, is rotated or is purged by the actor.",
    labels: &[],
    evidence: &[
        ("clock", "which: the machine's, the log's, or both against each other"),
        ("by_ms", "how far it is ahead (behind, when negative), ms"),
        ("machine", "the boot of the machine that was asked"),
    ],
    look: "`clock` and `by_ms`; the time service of `machine`; `GET /api/v1/key_rotation`: what waits.",
    advice: "Set the clock right and wait. If the new time is right, say so with `homeostat keys accept-clock`.",
};
