//! Rules of the leak actor: memory that grows without a bound.

use super::{Nature, Rule};
use crate::alert::Severity;

const LEAK_EVIDENCE: &[(&str, &str)] = &[
    ("slope_pct_per_h", "growth an hour, percent of the level after warm-up"),
    ("slope_low_pct_per_h", "lower end of its 95 % interval"),
    ("slope_high_pct_per_h", "upper end of its 95 % interval"),
    ("trend_z", "normal deviate of the trend test"),
    ("shape", "the curve without a bound that fits its life best, when curves were compared"),
    ("bounded_shape", "the curve with a bound that fits it best"),
    ("shape_margin", "by how much the information criterion prefers the former"),
    ("memory_bytes", "memory in its last report"),
    ("floor_bytes", "the floor of memory of late"),
    ("baseline_bytes", "its level after warm-up"),
    ("memory_limit_bytes", "the limit, when there is one"),
    ("eta_h", "hours until the floor reaches the limit"),
    ("eta_earliest_h", "hours, at the earliest"),
    ("eta_latest_h", "hours, at the latest; null when the interval of the growth reaches zero"),
    ("started_ms", "when the process started, or was first seen"),
    ("snapshot_possible", "whether twice the heap is free below the limit, so that a heap snapshot may be asked for"),
    ("snapshot_needs_bytes", "how much that is"),
    ("free_bytes", "memory below the limit"),
];

/// A process may leak.
pub const LEAK_SUSPECTED: Rule = Rule {
    name: "leak.suspected",
    severity: Severity::Info,
    nature: Nature::State,
    meaning: "The memory of a process has been growing steadily for hours, and may yet level off.",
    labels: &["instance"],
    evidence: LEAK_EVIDENCE,
    look: "`slope_low_pct_per_h`: the least that it grows; `eta_earliest_h`; `shape` beside `bounded_shape`; `GET /api/v1/leaks?instance=…`.",
    advice: "Nothing yet; a leak is confirmed or the suspicion dropped within hours.",
};

/// A process leaks.
pub const LEAK_CONFIRMED: Rule = Rule {
    name: "leak.confirmed",
    severity: Severity::Warning,
    nature: Nature::State,
    meaning: "The memory of a process grows without a bound: no warm-up, load, step, filling cache or time of day explains it.",
    labels: &["instance"],
    evidence: LEAK_EVIDENCE,
    look: "`slope_pct_per_h` and `eta_h`: how long there is; `snapshot_possible`: whether a heap profile may be taken; `GET /api/v1/leaks?instance=…`; two profiles in `homeostat heap diff`.",
    advice: "Compare two heap profiles an hour apart (`homeostat heap diff A B`); a restart buys time until the limit.",
};

/// A growing process is near its limit.
pub const LEAK_LIMIT_NEAR: Rule = Rule {
    name: "leak.limit_near",
    severity: Severity::Critical,
    nature: Nature::State,
    meaning: "At the pace at which its memory grows, a process reaches its limit within two hours.",
    labels: &["instance"],
    evidence: LEAK_EVIDENCE,
    look: "`eta_earliest_h` and `free_bytes`: how long there is; `slope_pct_per_h`; `GET /api/v1/leaks?instance=…`: whether it is a leak or its load.",
    advice: "Free memory or restart the process before it is killed; raise the limit only if the growth is meant.",
};
