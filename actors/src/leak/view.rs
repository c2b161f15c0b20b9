//! What the leak mind shows of itself: `/api/v1/leaks`.

use super::config::LeakRule;
use super::judge::Reason;
use super::limit::ToLimit;
use super::process::{Measured, Process, Tier};
use homeostat_schemas::UnixMs;
use schemars::JsonSchema;
use serde::Serialize;

/// Everything that can be seen of the leak mind.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct LeakView {
    /// Log time of this view.
    pub at_ms: UnixMs,
    /// The rule in force.
    pub rule: LeakRule,
    /// A row a process: the confirmed first, then the suspected, then the others; in order of names.
    pub processes: Vec<LeakRow>,
    /// Counters.
    pub totals: LeakTotals,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct LeakRow {
    /// Its service.
    pub service: String,
    /// Its name, when it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// What is said of it.
    pub verdict: Tier,
    /// What decided the last look; absent before the first.
    pub why: Option<Reason>,
    /// Since when it has been suspected, Unix ms.
    pub suspected_ms: Option<UnixMs>,
    /// Since when it has been confirmed, Unix ms.
    pub confirmed_ms: Option<UnixMs>,
    /// When the process started, as far as known, Unix ms.
    pub started_ms: UnixMs,
    /// Its last report, Unix ms.
    pub last_ms: UnixMs,
    /// Memory in that report, bytes.
    pub memory_bytes: f64,
    /// Its limit, bytes.
    pub memory_limit_bytes: Option<f64>,
    /// What was measured.
    pub measured: Option<Measured>,
    /// Hours until its limit, when it grows.
    pub to_limit: Option<ToLimit>,
    /// Is there room for a heap snapshot? Absent without a limit.
    pub snapshot_possible: Option<bool>,
    /// Processes that reported under this name.
    pub lives: u64,
    /// Reports that said nothing.
    pub ignored: u64,
}

/// Counters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LeakTotals {
    /// Processes watched.
    pub processes: usize,
    /// Reports of processes that found no room.
    pub refused: u64,
    /// Processes that were forgotten: silent, or their place was needed.
    pub forgotten: u64,
    /// Looks at floors.
    pub looks: u64,
    /// Findings open.
    pub open: usize,
}

impl LeakRow {
    pub(super) fn new(service: &str, instance: &str, process: &Process) -> LeakRow {
        let room = process.room();
        let (suspected_ms, confirmed_ms) = process.since();
        LeakRow {
            service: service.to_owned(),
            instance: (!instance.is_empty()).then(|| instance.to_owned()),
            verdict: process.tier(),
            why: process.last_look().map(|(_, why)| why),
            suspected_ms,
            confirmed_ms,
            started_ms: process.start_ms(),
            last_ms: process.last_ms(),
            memory_bytes: room.memory,
            memory_limit_bytes: room.limit,
            measured: process.measured().copied(),
            to_limit: process.to_limit(),
            snapshot_possible: room.snapshot().map(|(possible, _, _)| possible),
            lives: process.lives(),
            ignored: process.ignored(),
        }
    }
}
