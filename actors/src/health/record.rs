//! What is kept of a service, of an instance of it, and of each thing they report.

use super::error_rate::Window;
use super::streak::Streak;
use homeostat_schemas::event::CheckStatus;
use homeostat_schemas::{Ms, Severity, UnixMs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How dear a name is when there is no room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Class {
    /// Known by its other events only.
    #[default]
    Passing,
    /// Sent a heartbeat.
    Enrolled,
    /// Stands in the settings.
    Expected,
}

/// Class and minute last heard: the order of eviction.
pub(super) type Rank = (Class, u64);

/// Is an instance there?
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Presence {
    /// It never sent a heartbeat, so nobody waits for one.
    #[default]
    Unwatched,
    /// Its heartbeats come.
    Alive,
    /// They no longer come.
    Silent,
    /// Nobody's come: it is judged when the bus is back.
    Parked,
}

/// The memory of a process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Memory {
    pub(super) bytes: u64,
    pub(super) limit: Option<u64>,
    pub(super) streak: Streak,
    pub(super) oom_kills: Option<u64>,
    pub(super) event_ms: UnixMs,
    pub(super) seen_ms: UnixMs,
}

/// How much of one thing is missed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Pressure {
    pub(super) value: f64,
    pub(super) streak: Streak,
    pub(super) seen_ms: UnixMs,
}

/// What another actor found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    /// What the part is called.
    pub(super) name: String,
    pub(super) instance: String,
    pub(super) why: String,
    pub(super) at_ms: UnixMs,
}

/// A connection pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct PoolUse {
    pub(super) used: u64,
    pub(super) max: u64,
    pub(super) waiting: Option<u64>,
    pub(super) streak: Streak,
    pub(super) event_ms: UnixMs,
    pub(super) seen_ms: UnixMs,
}

/// A check that comes with heartbeats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct CheckState {
    pub(super) status: CheckStatus,
    pub(super) required: bool,
    pub(super) took_us: Option<u64>,
    pub(super) detail: Option<String>,
    pub(super) streak: Streak,
    pub(super) since_ms: UnixMs,
    pub(super) seen_ms: UnixMs,
}

/// A cache's work: as last reported, and altogether.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct CacheUse {
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) hits_total: u64,
    pub(super) misses_total: u64,
    pub(super) seen_ms: UnixMs,
}

/// The life of a process as its last heartbeat told it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Life {
    /// `at_ms` of that heartbeat.
    pub(super) event_ms: UnixMs,
    /// When the process started by its own clock.
    pub(super) started_ms: UnixMs,
    /// For how long it had been up.
    pub(super) up_ms: Ms,
    /// When it started in log time.
    pub(super) began_ms: UnixMs,
    /// Has it had one good check since?
    pub(super) good_once: bool,
    /// Has it taken the place of another instance?
    pub(super) replaces: bool,
}

/// One instance of a service; the instance without a name is `""`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Instance {
    pub(super) rank: Rank,
    pub(super) presence: Presence,
    /// Log time of its last event of any kind.
    pub(super) seen_ms: UnixMs,
    /// Log time of its last heartbeat; of its enrolment, when it is expected and has not spoken.
    pub(super) heard_ms: UnixMs,
    pub(super) interval_ms: Ms,
    /// `None`: it is expected and has never spoken, or is unwatched.
    pub(super) life: Option<Life>,
    pub(super) checks: BTreeMap<String, CheckState>,
    pub(super) memory: Option<Memory>,
    pub(super) pools: BTreeMap<String, PoolUse>,
    /// By what is missed: four at most.
    pub(super) pressures: BTreeMap<String, Pressure>,
    /// Its place in the queue of deadlines.
    pub(super) due_ms: Option<UnixMs>,
}

/// One service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Service {
    pub(super) rank: Rank,
    pub(super) requests: Window,
    /// The severity at which its error rate was raised.
    pub(super) raised: Option<Severity>,
    /// Since when there have been too few requests to say.
    pub(super) few_since_ms: Option<UnixMs>,
    /// Its place in the queue of deadlines: when its error rate is looked at again.
    pub(super) due_ms: Option<UnixMs>,
    pub(super) caches: BTreeMap<String, CacheUse>,
    /// What other actors found, by incident.
    pub(super) told: BTreeMap<String, Told>,
    pub(super) instances: BTreeMap<String, Instance>,
}
