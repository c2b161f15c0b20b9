//! The catalogue of every finding: one definition from which alerts, documentation, Prometheus rules and runbooks are made.

use crate::alert::Severity;
use crate::time::Ms;
use serde::Serialize;

/// When a finding is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Nature {
    /// It is a state: it resolves when the condition ends.
    State,
    /// It is an occurrence: it resolves after this long without another.
    Occurrence {
        /// Quiet time in milliseconds.
        quiet_ms: Ms,
    },
}

/// One rule.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// `<actor>.<condition>`.
    pub name: &'static str,
    /// How urgent it is unless the mind says otherwise.
    pub severity: Severity,
    /// When it is over.
    #[serde(flatten)]
    pub nature: Nature,
    /// What it means, one sentence.
    pub meaning: &'static str,
    /// Labels that make up its identity beside rule and service.
    pub labels: &'static [&'static str],
    /// Evidence: name and meaning of each number.
    pub evidence: &'static [(&'static str, &'static str)],
    /// What to do about it.
    pub advice: &'static str,
}

impl Rule {
    /// The rule of this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<&'static Rule> {
        CATALOGUE.iter().copied().find(|rule| rule.name == name)
    }

    /// The actor that owns it.
    #[must_use]
    pub fn actor(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(actor, _)| actor)
    }
}

const MINUTE: Ms = 60_000;

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
    advice: "Warm the cache, keep answers longer, or enlarge it.",
};

/// A service that used to send signs of life has stopped.
pub const HEALTH_SILENT: Rule = Rule {
    name: "health.silent",
    severity: Severity::Critical,
    nature: Nature::State,
    meaning: "An enrolled or expected instance has sent no heartbeat for three of its intervals; a warning while others of its service live.",
    labels: &["instance"],
    evidence: &[
        ("last_seen_ms", "log time of its last heartbeat, when there was one"),
        ("interval_s", "the interval it had announced"),
        ("missed", "whole intervals missed"),
        ("alive", "instances of its service that are heard"),
    ],
    advice: "See whether the process lives. If it is gone for good, retire it: an order `health.retire` with the service or service/instance.",
};

/// Every service fell silent together: it is the road, not the services.
pub const HEALTH_BUS_SILENT: Rule = Rule {
    name: "health.bus_silent",
    severity: Severity::Critical,
    nature: Nature::State,
    meaning: "All enrolled services fell silent together: their way to the bus is broken, not they themselves.",
    labels: &[],
    evidence: &[("services", "how many enrolled services are silent"), ("last_seen_ms", "log time of the last heartbeat of any of them")],
    advice: "Look at the network and at the bus between the services and Homeostat.",
};

/// Too many requests fail.
pub const HEALTH_ERROR_RATE: Rule = Rule {
    name: "health.error_rate",
    severity: Severity::Critical,
    nature: Nature::State,
    meaning: "The share of failed requests over the last minute reached the limit: a warning, and critical beyond statistical doubt.",
    labels: &[],
    evidence: &[
        ("errors", "failed requests in the window (status 5xx)"),
        ("requests", "completed requests in the window"),
        ("ratio", "errors / requests"),
        ("lower_bound", "Wilson lower bound of the ratio at 95 %"),
        ("limit", "the limit in force"),
    ],
    advice: "Look at the failing routes and what was deployed last.",
};

/// Memory is nearly used up.
pub const HEALTH_MEMORY: Rule = Rule {
    name: "health.memory",
    severity: Severity::Warning,
    nature: Nature::State,
    meaning: "A process uses more of its memory limit than it should.",
    labels: &["instance"],
    evidence: &[
        ("memory_bytes", "anonymous memory"),
        ("memory_limit_bytes", "the smallest limit that applies"),
        ("ratio", "their quotient"),
        ("limit", "the limit in force"),
    ],
    advice: "Raise the limit, lower the load, or look for a leak.",
};

/// Something is missed, however full it is.
pub const HEALTH_PRESSURE: Rule = Rule {
    name: "health.pressure",
    severity: Severity::Warning,
    nature: Nature::State,
    meaning: "The tasks of a process wait for memory, CPU or disk for too much of the time, or its CPU quota throttles it too often.",
    labels: &["instance", "resource"],
    evidence: &[
        ("value", "the share of the time that tasks waited (PSI, some avg10), or of the periods that were throttled"),
        ("limit", "the limit in force"),
    ],
    advice: "Give it more of what it waits for, or less to do; a raised quota helps against throttling.",
};

/// The kernel killed a process for want of memory.
pub const HEALTH_OOM_KILL: Rule = Rule {
    name: "health.oom_kill",
    severity: Severity::Critical,
    nature: Nature::Occurrence { quiet_ms: 10 * MINUTE },
    meaning: "The kernel killed a process of the service for want of memory.",
    labels: &["instance"],
    evidence: &[("oom_kills", "kills counted since the cgroup was made"), ("new", "kills since the last report")],
    advice: "Raise the limit or look for a leak before it happens again.",
};

/// A check of the application's own says it does not work.
pub const HEALTH_CHECK_FAILED: Rule = Rule {
    name: "health.check_failed",
    severity: Severity::Critical,
    nature: Nature::State,
    meaning: "A check that the service sends with its heartbeat is down, three times in a row.",
    labels: &["check", "instance"],
    evidence: &[
        ("status", "what the check says"),
        ("detail", "its word of explanation"),
        ("required", "whether the service can work without it"),
        ("failures", "bad reports in a row"),
    ],
    advice: "Look at what the check looks at.",
};

/// A connection pool is nearly used up.
pub const HEALTH_POOL_EXHAUSTED: Rule = Rule {
    name: "health.pool_exhausted",
    severity: Severity::Warning,
    nature: Nature::State,
    meaning: "A connection pool is used above its limit.",
    labels: &["pool", "instance"],
    evidence: &[
        ("used", "connections in use"),
        ("max", "connections it may have"),
        ("ratio", "their quotient"),
        ("waiting", "callers waiting"),
        ("limit", "the limit in force"),
        ("demand", "connections wanted at once: in use and waited for (Little's law)"),
        ("advised_size", "the size at which that demand stays under the limit"),
        ("arrivals_per_s", "callers a second, waiting / wait, when the wait is known"),
        ("hold_ms", "how long a connection is held, used / arrivals, when the wait is known"),
    ],
    advice: "Find what holds connections for long, or enlarge the pool.",
};

/// Homeostat's own database does not answer as it should.
pub const HEALTH_DATABASE: Rule = Rule {
    name: "health.database",
    severity: Severity::Critical,
    nature: Nature::State,
    meaning: "Homeostat's own database failed its probe three times in a row or took too long.",
    labels: &[],
    evidence: PROBE_EVIDENCE,
    advice: "See whether the database runs and whether its pool is used up.",
};

/// The bus does not answer as it should.
pub const HEALTH_BUS: Rule = Rule {
    name: "health.bus",
    severity: Severity::Critical,
    nature: Nature::State,
    meaning: "The bus failed its probe three times in a row or took too long.",
    labels: &[],
    evidence: PROBE_EVIDENCE,
    advice: "See whether nats-server runs, whether its disk is full, and how loaded it is.",
};

/// A series is not what it should be.
pub const FORECAST_ANOMALY: Rule = Rule {
    name: "forecast.anomaly",
    severity: Severity::Warning,
    nature: Nature::State,
    meaning: "A series is not what its own past lets expect: the evidence against chance has reached the budget of false alarms.",
    labels: &["metric", "instance"],
    evidence: &[
        ("value", "the value of the step that brought the evidence to the limit"),
        ("expected", "what was expected in its place"),
        ("p", "how often an error as large is to be expected"),
        ("step_ms", "length of a step, ms"),
        ("alarms_per_series_month", "the budget of false alarms of a series in thirty days"),
        ("alarms_per_day", "the budget of false alarms of all series in a day"),
    ],
    advice: "Look at what changed at that time: a deployment, the load, a dependency. A new level is taken over after a while.",
};

/// A limit will be reached soon.
pub const FORECAST_EXHAUSTION: Rule = Rule {
    name: "forecast.exhaustion",
    severity: Severity::Warning,
    nature: Nature::State,
    meaning: "A series is expected to reach its limit within the time that the settings name.",
    labels: &["metric", "instance"],
    evidence: &[
        ("limit", "the limit"),
        ("value", "the last value"),
        ("probability", "share of the paths that reach it within the horizon"),
        ("p10_ms", "one path in ten has reached it by then, log time; null beyond the horizon"),
        ("p50_ms", "every other path has"),
        ("p90_ms", "nine paths in ten have"),
        ("model", "the model of the forecast"),
    ],
    advice: "Free or enlarge what runs out before the earliest of these times, and find what uses it up.",
};

const PROBE_EVIDENCE: &[(&str, &str)] = &[
    ("took_ms", "how long the last probe took"),
    ("error", "what went wrong, when something did"),
    ("failures", "failed probes in a row"),
    ("limit_ms", "the limit in force"),
];

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
    advice: "Look at the peer: those who call it are protected, and recover by themselves when it does.",
};

/// A feature of a model no longer looks like its baseline.
pub const DRIFT_SHIFTED: Rule = Rule {
    name: "drift.shifted",
    severity: Severity::Warning,
    nature: Nature::State,
    meaning: "A feature of a model, or what the model says, no longer looks like its baseline.",
    labels: &["model", "feature"],
    evidence: &[
        ("verdict", "noticeable, moderate, significant or critical"),
        ("psi", "population stability index of the window over the deciles of the baseline"),
        ("psi_adjusted", "the same less what it is on average without drift"),
        ("psi_p", "its p-value"),
        ("ks_d", "Kolmogorov–Smirnov statistic of the window"),
        ("ks_p", "its p-value"),
        ("p", "p-value of all together"),
        ("e_value", "evidence piled up between windows, when that raised it: without drift it reaches x with a chance of 1/x at most"),
        ("n_current", "values in the window"),
        ("odd_baseline", "share of missing, infinite or unknown values in the baseline"),
        ("odd_current", "the same in the window"),
        ("baseline_version", "which baseline it was compared with"),
    ],
    advice: "Look at where the feature comes from: a changed source, unit or code. If the world has changed, retrain the model.",
};

/// A model as a whole no longer sees what it was made for.
pub const DRIFT_CRITICAL: Rule = Rule {
    name: "drift.critical",
    severity: Severity::Critical,
    nature: Nature::State,
    meaning: "A feature was significant in most of the last windows, a prediction drifted, or values are suddenly missing or unknown.",
    labels: &["model"],
    evidence: &[
        ("features", "the critical features"),
        ("psi_adjusted", "the largest adjusted index among the features"),
        ("psi_before", "the largest adjusted index before a retraining, when one was done"),
        ("psi_after", "the largest adjusted index after it"),
    ],
    advice: "Retrain the model on recent data; when that is done its baselines are renewed and the fall of the index is verified.",
};

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
    advice: "Free memory or restart the process before it is killed; raise the limit only if the growth is meant.",
};

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
    advice: "`homeostat recovery approve INCIDENT` or `homeostat recovery deny INCIDENT`.",
};

/// Most of a fleet is unhealthy for one cause.
pub const RECOVERY_FLEET_BRAKE: Rule = Rule {
    name: "recovery.fleet_brake",
    severity: Severity::Critical,
    nature: Nature::State,
    meaning: "Most instances of a service (or most services) are unhealthy for one cause: it lies in none of them, and nothing is done about it.",
    labels: &["cause"],
    evidence: &[("unhealthy", "how many are"), ("of", "of how many"), ("limit", "the share in force")],
    advice: "Look for what they share: a deployment, a dependency, the load. Commands go on by themselves when the share has fallen.",
};

/// Every rule, in the order of the documentation.
pub static CATALOGUE: &[&Rule] = &[
    &QUERY_SLOW,
    &QUERY_N_PLUS_ONE,
    &QUERY_DUPLICATE,
    &QUERY_N_PLUS_ONE_WRITE,
    &QUERY_REGRESSED,
    &QUERY_ADVICE,
    &QUERY_ADVICE_EFFECTIVE,
    &QUERY_ADVICE_INEFFECTIVE,
    &QUERY_CACHE_COLD,
    &HEALTH_SILENT,
    &HEALTH_BUS_SILENT,
    &HEALTH_ERROR_RATE,
    &HEALTH_MEMORY,
    &HEALTH_PRESSURE,
    &HEALTH_OOM_KILL,
    &HEALTH_CHECK_FAILED,
    &HEALTH_POOL_EXHAUSTED,
    &HEALTH_DATABASE,
    &HEALTH_BUS,
    &BREAKER_OPEN,
    &DRIFT_SHIFTED,
    &DRIFT_CRITICAL,
    &LEAK_SUSPECTED,
    &LEAK_CONFIRMED,
    &LEAK_LIMIT_NEAR,
    &FORECAST_ANOMALY,
    &FORECAST_EXHAUSTION,
    &RECOVERY_VERIFIED,
    &RECOVERY_INEFFECTIVE,
    &RECOVERY_ESCALATED,
    &RECOVERY_APPROVAL_WANTED,
    &RECOVERY_FLEET_BRAKE,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_two_tokens_and_stands_once() {
        let mut names: Vec<_> = CATALOGUE.iter().map(|rule| rule.name).collect();
        for name in &names {
            let tokens: Vec<_> = name.split('.').collect();
            assert_eq!(tokens.len(), 2, "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b == b'.'), "{name}");
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CATALOGUE.len());
    }
}
