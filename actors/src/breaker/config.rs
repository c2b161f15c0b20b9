//! The thresholds of the fleet's breaker: the documentation of each field is its manual.

use homeostat_schemas::Ms;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What an open breaker of the fleet takes away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShedMode {
    /// Everything but a few probes a second, then a ramp. Right for a peer that is down or drowning.
    #[default]
    Open,
    /// As much as does not help: while a good part of the calls still succeeds, the share is halved once, and given back when
    /// that did not make the rest succeed more often. Right for a peer that fails a part of its calls whatever the load.
    Fraction,
    /// Repetitions only: first attempts always pass.
    ShedRetries,
}

/// The settings table `actors.breaker`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerConfig {
    /// The share of failed calls from which a peer counts as failing, 0 to 1 (not included). Failures pile up in a sum that grows
    /// by 1 with each and falls by p / (1 − p) with each success, never below zero.
    pub threshold: f64,
    /// It opens when that sum reaches so many failures (a peer that fails 5 % of the time makes one such run in 10^12 calls), or four
    /// fifths of them at an outage: a run that a peer which fails what this one fails usually makes once in 10^10 runs …
    pub failures_min: f64,
    /// … and so many seconds of the fleet's traffic, whichever is more.
    pub failures_s: f64,
    /// Failures must have come from so many replicas …
    pub replicas_min: u32,
    /// … and from this share of them, whichever is more: one bad replica never opens the fleet's breaker.
    pub replicas_share: f64,
    /// What an open breaker takes away.
    pub shedding: ShedMode,
    /// The same for single peers, by name.
    pub shedding_by_peer: BTreeMap<String, ShedMode>,
    /// Probes a second of the whole fleet while it is open. One that is overdue is made likelier.
    pub probes_per_s: f64,
    /// The share of calls that may be probes at most, however little traffic there is.
    pub probe_share_max: f64,
    /// So many probes in a row must go well before the ramp begins.
    pub probes_good: u32,
    /// What comes back sooner than this after the opening was sent before it, and is no probe, ms: until then nothing passes.
    pub grace_ms: Ms,
    /// The share at which the ramp begins.
    pub ramp_from: f64,
    /// The ramp is looked at this often, ms: the share doubles while calls go well.
    pub ramp_every_ms: Ms,
    /// More failed or slow calls than this share, and at least three, make the ramp step back: the share is cut to `ramp_cut` of what
    /// it was, and from then on grows by `ramp_add` instead of doubling (additive increase, multiplicative decrease; Chiu and Jain, 1989).
    pub ramp_tolerance: f64,
    /// See `ramp_tolerance`.
    pub ramp_cut: f64,
    /// See `ramp_tolerance`.
    pub ramp_add: f64,
    /// How long a word of the fleet's breaker binds those who heard it, ms.
    pub lease_ms: Ms,
    /// A replica that has reported nothing for so long no longer counts as one, ms.
    pub replica_ms: Ms,
    /// A breaker of which nothing has been heard for so long is forgotten, ms.
    pub forget_ms: Ms,
    /// How many breakers (service, peer, operation, zone) are kept at most; further ones are counted, not watched.
    pub scopes_max: usize,
    /// How many operations of a peer, and how many zones, are told apart.
    pub parts_max: usize,
    /// How many replicas of a service are told apart; further ones count as one.
    pub replicas_max: usize,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        BreakerConfig {
            threshold: 0.5,
            failures_min: 10.0,
            failures_s: 0.5,
            replicas_min: 3,
            replicas_share: 0.1,
            shedding: ShedMode::Open,
            shedding_by_peer: BTreeMap::new(),
            probes_per_s: 2.0,
            probe_share_max: 0.5,
            probes_good: 2,
            grace_ms: 300,
            ramp_from: 0.1,
            ramp_every_ms: 500,
            ramp_tolerance: 0.2,
            ramp_cut: 0.7,
            ramp_add: 0.05,
            lease_ms: 1_500,
            replica_ms: 30_000,
            forget_ms: 600_000,
            scopes_max: 5_000,
            parts_max: 32,
            replicas_max: 1_000,
        }
    }
}

impl BreakerConfig {
    /// What an open breaker for this peer takes away.
    #[must_use]
    pub fn shedding_of(&self, peer: &str) -> ShedMode {
        self.shedding_by_peer.get(peer).copied().unwrap_or(self.shedding)
    }

    /// How much a success takes from the sum of failures.
    pub(super) fn relief(&self) -> f64 {
        self.threshold() / (1.0 - self.threshold())
    }

    /// `threshold`, as far as it can be used.
    pub(super) fn threshold(&self) -> f64 {
        if self.threshold.is_finite() { self.threshold.clamp(0.01, 0.99) } else { 0.5 }
    }
}
