//! Rules of the query actor: what statements cost, and what would help.

use super::{MINUTE, Nature, Rule};
use crate::alert::Severity;

/// The mean time of a query shape over the last minute exceeds the limit.
pub const QUERY_SLOW: Rule = Rule {
    name: "query.slow",
    severity: Severity::Warning,
    nature: Nature::State,
    meaning: "The mean time of a query over the last window is above `slow_ms`.",
    labels: &["fingerprint"],
    evidence: &[
        ("statement", "the query in normal form: no literal is ever kept"),
        ("mean_ms", "mean time over the window, ms"),
        ("max_ms", "slowest execution in the window, ms"),
        ("calls", "executions in the window"),
        ("slow_calls", "executions in the window above the limit"),
        ("slow_ms", "the limit in force, ms"),
        ("sources", "where in the code it was sent, when known"),
    ],
    look: "`sources`: where it is sent from; `max_ms` beside `mean_ms`: all of them slow, or a few; `GET /api/v1/queries?fingerprint=…`: p50, p95, p99 and calls; `homeostat query advise`: what would help.",
    advice: "Look at the plan of the statement; an index, fewer rows or a cached answer usually helps.",
};

/// One request asked the same question of the database again and again, each time with other parameters.
pub const QUERY_N_PLUS_ONE: Rule = Rule {
    name: "query.n_plus_one",
    severity: Severity::Warning,
    nature: Nature::Occurrence { quiet_ms: 10 * MINUTE },
    meaning: "One request sent the same query many times with different parameters where one query would do.",
    labels: &["fingerprint", "route"],
    evidence: N_PLUS_ONE_EVIDENCE,
    look: "`sources` and the label `route`: where the loop is; `repeats` and `total_ms`: what it costs a request; the alert's trace: one such request.",
    advice: "Load the related rows together: a join, `IN (…)`, or the eager loading of your ORM.",
};

/// One request asked exactly the same question again and again.
pub const QUERY_DUPLICATE: Rule = Rule {
    name: "query.duplicate",
    severity: Severity::Info,
    nature: Nature::Occurrence { quiet_ms: 10 * MINUTE },
    meaning: "One request sent the same query with the same parameters many times.",
    labels: &["fingerprint", "route"],
    evidence: N_PLUS_ONE_EVIDENCE,
    look: "`sources` and the label `route`: who asks again; `repeats` and `total_ms`: what it costs a request; the alert's trace: one such request.",
    advice: "Ask once and keep the answer for the rest of the request.",
};

/// One request wrote rows one by one.
pub const QUERY_N_PLUS_ONE_WRITE: Rule = Rule {
    name: "query.n_plus_one_write",
    severity: Severity::Warning,
    nature: Nature::Occurrence { quiet_ms: 10 * MINUTE },
    meaning: "One request wrote many rows one by one where one statement would do.",
    labels: &["fingerprint", "route"],
    evidence: N_PLUS_ONE_EVIDENCE,
    look: "`sources` and the label `route`: where the loop is; `repeats` and `total_ms`: what it costs a request; the alert's trace: one such request.",
    advice: "Write in bulk: several rows a statement, or the bulk operation of your ORM.",
};

const N_PLUS_ONE_EVIDENCE: &[(&str, &str)] = &[
    ("statement", "the query in normal form"),
    ("repeats", "how often it ran in one request"),
    ("total_ms", "time during which at least one of the repeats ran, ms"),
    ("mean_ms", "mean time of one repeat, ms"),
    ("distinct_params", "different parameters among the repeats, as far as known"),
    ("calls", "executions in all affected requests so far"),
    ("traces", "affected requests so far"),
    ("sources", "where in the code it was sent, when known"),
];

/// A query shape has become slower than it used to be.
pub const QUERY_REGRESSED: Rule = Rule {
    name: "query.regressed",
    severity: Severity::Warning,
    nature: Nature::State,
    meaning: "A query takes clearly longer than in its own past, be it slow by itself or not.",
    labels: &["fingerprint"],
    evidence: &[
        ("statement", "the query in normal form"),
        ("baseline_ms", "geometric mean of its first executions, ms"),
        ("mean_ms", "geometric mean since the change began, ms"),
        ("ratio", "their quotient"),
        ("calls", "executions since the change began"),
    ],
    look: "`baseline_ms` beside `mean_ms`; what else began at `since_ms` (`homeostat tail alerts`); `GET /api/v1/queries?fingerprint=…`; the plan as it is now, by EXPLAIN.",
    advice: "Look at what changed: a deployment, the amount of data, a plan, a lost index, a lock.",
};

/// Something about a query shape could be better.
pub const QUERY_ADVICE: Rule = Rule {
    name: "query.advice",
    severity: Severity::Info,
    nature: Nature::Occurrence { quiet_ms: 24 * 60 * MINUTE },
    meaning: "A statement would be cheaper if it or the schema were changed; its executions say that it is worth it.",
    labels: &["fingerprint", "kind"],
    evidence: &[
        ("statement", "the query in normal form"),
        ("reason", "why, in a sentence"),
        ("ddl", "the exact statements that create the indexes, when indexes are advised"),
        ("verified", "whether a planner confirmed that the index would be used; `false` means that nobody asked one"),
        ("cost_ratio", "planned cost with the index over planned cost without it, when verified"),
        ("calls", "executions so far"),
        ("mean_ms", "mean time, ms"),
        ("total_ms", "time of all executions, ms"),
    ],
    look: "`reason` and `ddl`; `verified`: whether a planner was asked; `total_ms`: what there is to gain; `GET /api/v1/queries?fingerprint=…`.",
    advice: "Change the statement or the schema as the reason says.",
};

/// An advised index is there, and the statement has become faster.
pub const QUERY_ADVICE_EFFECTIVE: Rule = Rule {
    name: "query.advice_effective",
    severity: Severity::Info,
    nature: Nature::Occurrence { quiet_ms: 24 * 60 * MINUTE },
    meaning: "An index that was advised is there, and the executions have become shorter by `effect_min_gain` or more.",
    labels: &["fingerprint", "kind"],
    evidence: EFFECT_EVIDENCE,
    look: "`before_ms` beside `after_ms`, and how many executions were compared (`calls_before`, `calls_after`).",
    advice: "Nothing is to be done: the advice has paid.",
};

/// An advised index is there, and the statement has not become faster.
pub const QUERY_ADVICE_INEFFECTIVE: Rule = Rule {
    name: "query.advice_ineffective",
    severity: Severity::Warning,
    nature: Nature::Occurrence { quiet_ms: 24 * 60 * MINUTE },
    meaning: "An index that was advised is there, and the executions have not become shorter by `effect_min_gain`.",
    labels: &["fingerprint", "kind"],
    evidence: EFFECT_EVIDENCE,
    look: "`ratio` beside `cost_ratio`: what was found, and what a planner had expected; how many executions were compared (`calls_before`, `calls_after`); the plan of `statement`.",
    advice: "See with EXPLAIN (ANALYZE) whether the index is used; one that is not costs every write, so drop it.",
};

const EFFECT_EVIDENCE: &[(&str, &str)] = &[
    ("statement", "the query in normal form"),
    ("ddl", "the exact statements that were advised"),
    ("before_ms", "geometric mean of the time of its executions before the index, ms"),
    ("after_ms", "geometric mean since, ms"),
    ("ratio", "their quotient"),
    ("calls_before", "executions before that were compared"),
    ("calls_after", "executions since"),
    ("created_ms", "log time at which the index was seen to be there"),
    ("cost_ratio", "what a planner had expected, when one was asked"),
];

/// A cache answers too few of the questions it is asked.
pub const QUERY_CACHE_COLD: Rule = Rule {
    name: "query.cache_cold",
    severity: Severity::Warning,
    nature: Nature::State,
    meaning: "The share of look-ups that a cache answers is below the limit.",
    labels: &["cache"],
    evidence: &[
        ("hits", "look-ups answered in the window"),
        ("misses", "look-ups not answered in the window"),
        ("ratio", "hits / look-ups"),
        ("limit", "the limit in force"),
        ("goal", "the share that a good cache has"),
    ],
    look: "`hits` and `misses`; whether the cache was emptied or its process started at `since_ms`; `homeostat recovery list`: whether it is being warmed.",
    advice: "Warm the cache, keep answers longer, or enlarge it.",
};
