//! The thresholds of health: the documentation of each field is its manual.

use homeostat_schemas::Ms;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What Homeostat probes of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// Its database: `SELECT 1`, waiting for a connection of the pool included.
    Database,
    /// The bus: a round trip.
    Bus,
}

impl Probe {
    /// The word in asks, settings and views.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Probe::Database => "database",
            Probe::Bus => "bus",
        }
    }
}

/// The settings table `actors.health`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HealthConfig {
    /// What Homeostat probes of its own; leave out what is not used.
    pub probes: Vec<Probe>,
    /// Time between two probes, ms.
    pub probe_interval_ms: Ms,
    /// A probe that takes this long or longer has failed, ms.
    pub probe_fail_ms: Ms,
    /// A probe that takes this long or longer is a warning, ms.
    pub probe_warn_ms: Ms,
    /// This many failures in a row make a probe or a check bad.
    pub failures: u32,
    /// This many successes in a row make it good again.
    pub successes: u32,
    /// A result older than this is unknown: a failure where it is required, else a warning. A check that comes with heartbeats is
    /// given three of their intervals if that is longer. Milliseconds.
    pub stale_ms: Ms,
    /// A process is not ready before it has been up for *longer* than this and has had one good check, ms.
    pub min_uptime_ms: Ms,
    /// The share of failed requests (completed with 5xx) in the last 60 s that is too high. Reached by the Wilson 95 % lower bound
    /// it is critical and the service not ready; reached by the plain share only, a warning.
    pub error_rate: f64,
    /// With fewer requests in those 60 s nothing is said.
    pub error_rate_min_requests: u64,
    /// An open error-rate finding resolves when the share falls below this part of the limit (or when for 60 s there were too few
    /// requests to say).
    pub error_rate_clear: f64,
    /// The share of its memory limit that is too much for a process.
    pub memory: f64,
    /// This many samples in a row decide on memory, up and down.
    pub memory_samples: u32,
    /// The share of the time that tasks wait for memory (PSI, `some avg10`) that is too much.
    pub pressure_memory: f64,
    /// The same for CPU.
    pub pressure_cpu: f64,
    /// The same for disk and network storage.
    pub pressure_io: f64,
    /// The share of periods in which the CPU quota throttled a process that is too much.
    pub throttled: f64,
    /// This many reports in a row decide on pressure, up and down.
    pub pressure_samples: u32,
    /// The share of its connections at which a pool counts as used up; one report raises, two below it in a row resolve.
    pub pool: f64,
    /// A publisher is silent when it has missed this many of the intervals it announced itself.
    pub missed_intervals: u32,
    /// Added to that, ms: time for other publishers to fall due too, so that a silent bus is one alert and not many.
    pub silence_grace_ms: Ms,
    /// Publishers with longer intervals say too rarely whether the bus lives, and are left out when that is judged, ms.
    pub bus_interval_max_ms: Ms,
    /// A silent instance is retired after this long if another instance of its service lives; so is, without any alert, one that
    /// never sent a heartbeat and no longer reports anything. Milliseconds.
    pub retire_after_ms: Ms,
    /// A longer pause between two ticks is an outage of our own: everyone gets his full time again, and nothing is raised. Ms.
    pub outage_ms: Ms,
    /// Services that must speak, whether or not they ever did. They are never retired: take them off this list.
    pub expected: Vec<String>,
    /// How much is kept.
    pub limits: Limits,
}

impl Default for HealthConfig {
    fn default() -> Self {
        HealthConfig {
            probes: vec![Probe::Database, Probe::Bus],
            probe_interval_ms: 30_000,
            probe_fail_ms: 5_000,
            probe_warn_ms: 500,
            failures: 3,
            successes: 2,
            stale_ms: 90_000,
            min_uptime_ms: 30_000,
            error_rate: 0.10,
            error_rate_min_requests: 20,
            error_rate_clear: 0.8,
            memory: 0.9,
            memory_samples: 2,
            pressure_memory: 0.1,
            pressure_cpu: 0.5,
            pressure_io: 0.3,
            throttled: 0.25,
            pressure_samples: 3,
            pool: 0.8,
            missed_intervals: 3,
            silence_grace_ms: 1_000,
            bus_interval_max_ms: 120_000,
            retire_after_ms: 600_000,
            outage_ms: 2_000,
            expected: Vec::new(),
            limits: Limits::default(),
        }
    }
}

/// How much is kept. What finds no room is counted in the view, never silently dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Services. A newcomer takes the place of the longest unheard service that never sent a heartbeat; a newcomer with a
    /// heartbeat also that of one that has been silent for `retire_after_ms`, one without after six times as long; otherwise it is
    /// refused, so that no flood of names pushes out a living service.
    pub services: usize,
    /// Instances of all services together; the same order of eviction.
    pub instances: usize,
    /// Instances of one service; a newcomer with a heartbeat takes the place of one that never sent any.
    pub instances_per_service: usize,
    /// Checks of one instance; further ones are ignored.
    pub checks: usize,
    /// Pools of one instance; further ones are ignored.
    pub pools: usize,
    /// Caches of one service; further ones are ignored.
    pub caches: usize,
    /// Findings of other actors about one service; further ones are ignored.
    pub told: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { services: 10_000, instances: 100_000, instances_per_service: 1_000, checks: 32, pools: 16, caches: 16, told: 32 }
    }
}
