//! Rules of the health actor: signs of life, failures, memory, pools, probes.

use super::{MINUTE, Nature, Rule};
use crate::alert::Severity;

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
    look: "`alive`: one instance, or all of the service; `last_seen_ms`; `health.oom_kill` of the instance; `GET /readyz/{service}`; the last lines of the process.",
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
    look: "`services` and `last_seen_ms`; `GET /readyz?verbose` and `homeostat doctor`: whether Homeostat reaches the bus; the connections that nats-server has.",
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
    look: "`errors` of `requests`; `lower_bound` beside `limit`: how sure it is; `breaker.open`: a dependency that is down; `homeostat tail alerts`: what else began then.",
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
    look: "`memory_bytes` beside `memory_limit_bytes`; `GET /api/v1/leaks?instance=…`: whether it grows; `health.pressure`: whether it is short of it.",
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
    look: "the label `resource`: what it waits for; `value` beside `limit`; what else runs on the machine; `health.memory` of the instance.",
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
    look: "`new`: how many at once; `GET /api/v1/leaks?instance=…`: how its memory had grown; `leak.confirmed`; the kernel's log of the machine.",
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
    look: "the label `check` and `detail`: what is wrong; `required`: whether the service can do without; `GET /readyz/{service}`: all of its checks.",
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
    look: "`waiting` and `hold_ms`: many callers, or connections held for long; `advised_size`; `query.slow` of the service; `GET /api/v1/queries?service=…`.",
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
    look: "`error` and `took_ms`; `homeostat doctor`; `GET /readyz?verbose`; the database's own log.",
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
    look: "`error` and `took_ms`; `homeostat doctor`; `GET /readyz?verbose`; the log and the free disk of nats-server.",
    advice: "See whether nats-server runs, whether its disk is full, and how loaded it is.",
};

const PROBE_EVIDENCE: &[(&str, &str)] = &[
    ("took_ms", "how long the last probe took"),
    ("error", "what went wrong, when something did"),
    ("failures", "failed probes in a row"),
    ("limit_ms", "the limit in force"),
];
