//! The thresholds of a local breaker: the documentation of each field is its manual.

use super::words::Dialect;
use homeostat_schemas::Ms;
use serde::{Deserialize, Serialize};

/// Most calls a window counts one by one, and most probes at a time: what state holds is bounded by it.
pub const CALLS_MAX: u32 = 10_000;

/// What a window is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowType {
    /// The calls of the last `window_ms`.
    #[default]
    Time,
    /// The last `window_calls` calls.
    Count,
}

/// What an open breaker refuses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sheds {
    /// Every call but its probes.
    #[default]
    All,
    /// Repetitions only: first attempts always pass. For peers of which a part of every answer is better than none.
    Retries,
}

/// The settings of one breaker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whose rules.
    pub dialect: Dialect,
    /// The share of failed calls, in percent, from which (opossum: above which) it opens.
    pub failure_pct: f64,
    /// What the window is made of.
    pub window_type: WindowType,
    /// How far a window of time reaches back, ms.
    pub window_ms: Ms,
    /// Into how many parts opossum divides it. resilience4j uses whole seconds, we sixty parts.
    pub buckets: u32,
    /// How many calls a window of calls holds.
    pub window_calls: u32,
    /// With fewer calls in the window nothing is judged.
    pub min_calls: u32,
    /// How long it stays open the first time, ms.
    pub open_ms: Ms,
    /// By how much the wait grows each time its probes fail; absent or 1 means it does not. opossum knows none. With w seconds between
    /// rounds of n probes, an outage of t seconds and r calls a second cost n·t / w calls sent in vain and r·w / 2 refused in vain,
    /// together least at w = √(2·n·t / r). With two probes and 5 calls a second that is 5 s for half a minute and 10 s for two minutes,
    /// and so goes a wait that grows by a twentieth.
    pub open_backoff: Option<f64>,
    /// The wait never grows beyond this, ms (ours only). A peer that is well again is refused for up to so long: what longer waits
    /// save in probes they cost many times over then.
    pub open_max_ms: Ms,
    /// Up to so much of the wait is added by chance, 0 to 1, so that the replicas of a fleet do not probe together (ours only).
    pub jitter: f64,
    /// How many probes a half-open breaker lets through; their results decide. opossum always has one.
    pub half_open_permits: u32,
    /// A probe that has not come back after so long has failed, ms (ours only).
    pub probe_deadline_ms: Ms,
    /// A half-open breaker waits no longer than this for its verdict, ms; 0 means any time. Then it opens again; ours closes if
    /// there are results by then and they are good. opossum knows none.
    pub max_half_open_ms: Ms,
    /// A call that takes longer is slow, ms. Absent: nothing is slow (resilience4j: 60 s). opossum knows none.
    pub slow_ms: Option<Ms>,
    /// The share of slow calls, in percent, from which it opens.
    pub slow_pct: f64,
    /// How many calls may be under way at once. Absent: any number.
    pub capacity: Option<u32>,
    /// No failure opens it before the first window is over (opossum only).
    pub warm_up: bool,
    /// Opens also when failures pile up: a sum that grows by 1 − p with each failure and falls by p with each success, p being the
    /// threshold, and never below zero, reaches what `min_calls` failures in a row make. A window full of good calls then does
    /// not hide an outage for half its length. And opens at an outage: a run of failures, few successes among them, that the share
    /// which fails usually makes once in 10^10 runs: 8 in a row where that share is up to 5 %, 11 at 10 %, 15 at 20 % (ours only).
    /// Better off for a peer that now and then fails in part and of which the fleet's breaker finds out whether shedding helps.
    pub sequential: bool,
    /// What it refuses when it is open (ours only).
    pub sheds: Sheds,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            dialect: Dialect::Homeostat,
            failure_pct: 50.0,
            window_type: WindowType::Time,
            window_ms: 60_000,
            buckets: 60,
            window_calls: 100,
            min_calls: 20,
            open_ms: 5_000,
            open_backoff: Some(1.05),
            open_max_ms: 10_000,
            jitter: 0.5,
            half_open_permits: 3,
            probe_deadline_ms: 10_000,
            max_half_open_ms: 0,
            slow_ms: None,
            slow_pct: 100.0,
            capacity: None,
            warm_up: false,
            sequential: true,
            sheds: Sheds::All,
        }
    }
}

impl Config {
    /// The same with every number inside what a breaker can work with: a share above 0, at least one permit, a wait, a deadline
    /// and a window of at least a millisecond, at most [`CALLS_MAX`] calls and probes.
    #[must_use]
    pub fn bounded(mut self) -> Config {
        let share = |pct: f64| if pct > 0.0 { pct } else { f64::MIN_POSITIVE };
        self.failure_pct = share(self.failure_pct);
        self.slow_pct = share(self.slow_pct);
        self.window_ms = self.window_ms.max(1);
        self.buckets = self.buckets.clamp(1, CALLS_MAX);
        self.window_calls = self.window_calls.clamp(1, CALLS_MAX);
        self.open_ms = self.open_ms.max(1);
        self.open_max_ms = self.open_max_ms.max(self.open_ms);
        self.half_open_permits = self.half_open_permits.clamp(1, CALLS_MAX);
        self.probe_deadline_ms = self.probe_deadline_ms.max(1);
        self.jitter = if self.jitter.is_finite() { self.jitter.clamp(0.0, 1.0) } else { 0.0 };
        self.open_backoff = self.open_backoff.filter(|factor| factor.is_finite() && *factor >= 1.0);
        self
    }
}
