//! One breaker of the fleet: the calls of one service to one peer, all of them or those of an operation or a zone.
//!
//! The sum of failures is Page's CUSUM (E. S. Page, 1954) for Bernoulli trials, with the drift at the user's threshold: while the
//! true share of failures is below it the sum keeps returning to zero, above it grows without end.

use super::config::BreakerConfig;
use super::local::Locals;
use super::ramp::Phase;
use homeostat_reflexes::breaker::Usual;
use homeostat_schemas::{Ms, UnixMs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Demand is measured over the last two seconds, in parts of a quarter.
const PARTS: usize = 8;
const PART_MS: Ms = 250;

/// So many successes without a failure since the run began make a replica one that does not follow.
const DISSENT: u64 = homeostat_reflexes::breaker::follower::DISSENT as u64;

/// At an outage this share of `failures_min` is enough.
const OUTAGE: f64 = 0.8;

/// Sums of calls as a replica reports them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sums {
    pub(super) ok: u64,
    pub(super) failed: u64,
    pub(super) shed: u64,
    pub(super) slow: u64,
}

impl Sums {
    pub(super) fn all(self) -> u64 {
        self.ok.saturating_add(self.failed).saturating_add(self.shed)
    }
}

/// What one replica did since the run began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Replica {
    heard_ms: UnixMs,
    ok: u64,
    failed: u64,
    /// How much of the sum came from it: its failures, less what successes took back. The sum is that of all weights, until a
    /// replica is forgotten.
    weight: f64,
}

/// Attempts a second.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Demand {
    parts: [u64; PARTS],
    newest: u64,
    since_ms: UnixMs,
}

impl Demand {
    fn pass(&mut self, now: UnixMs) {
        let number = now / PART_MS;
        let gone = number.saturating_sub(self.newest);
        if gone >= PARTS as u64 {
            self.parts = [0; PARTS];
            self.since_ms = now;
        } else {
            for part in self.newest + 1..=number {
                self.parts[place(part)] = 0;
            }
        }
        self.newest = self.newest.max(number);
    }

    fn add(&mut self, now: UnixMs, attempts: u64) {
        self.pass(now);
        let part = &mut self.parts[place(self.newest)];
        *part = part.saturating_add(attempts);
    }

    /// Attempts a second; of a stretch shorter than half a second as if it had been one.
    #[allow(clippy::cast_precision_loss)]
    fn rate(&self, now: UnixMs) -> f64 {
        let seen = now.saturating_sub(self.since_ms).clamp(PART_MS * 2, PART_MS * PARTS as Ms);
        let current = now / PART_MS;
        let kept = (0..PARTS as u64).map(|back| self.newest.saturating_sub(back)).filter(|part| part + PARTS as u64 > current);
        let sum = kept.fold(0u64, |sum, part| sum.saturating_add(self.parts[place(part)]));
        sum as f64 * 1_000.0 / seen as f64
    }
}

fn place(part: u64) -> usize {
    usize::try_from(part % PARTS as u64).unwrap_or(0)
}

/// What adding up may lose.
const ROUNDING: f64 = 1e-9;

/// One breaker of the fleet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Scope {
    /// The sum of failures.
    pub(super) excess: f64,
    /// When it last left zero.
    pub(super) began_ms: UnixMs,
    /// Calls since then.
    pub(super) run: Sums,
    replicas: BTreeMap<String, Replica>,
    demand: Demand,
    pub(super) phase: Phase,
    pub(super) epoch: u64,
    pub(super) heard_ms: UnixMs,
    /// Where the replicas' own breakers stand.
    pub(super) locals: Locals,
    /// What share of calls fails usually.
    usual: Usual,
}

/// Why a breaker opens: the numbers behind it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Reached {
    pub(super) needed: f64,
    pub(super) replicas: usize,
    pub(super) replicas_needed: usize,
}

impl Scope {
    pub(super) fn new(now: UnixMs) -> Scope {
        Scope {
            excess: 0.0,
            began_ms: now,
            run: Sums::default(),
            replicas: BTreeMap::new(),
            demand: Demand { since_ms: now, newest: now / PART_MS, ..Demand::default() },
            phase: Phase::Closed,
            epoch: 0,
            heard_ms: now,
            locals: Locals::default(),
            usual: Usual::default(),
        }
    }

    /// A replica reports. True when its calls say something of a probe: it follows, and does not go by its own good experience.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn take(&mut self, replica: &str, sums: Sums, now: UnixMs, config: &BreakerConfig) -> bool {
        self.heard_ms = now;
        self.demand.add(now, sums.all());
        let cap = self.needed(now, config) / 2.0;
        let name = if self.replicas.contains_key(replica) || self.replicas.len() < config.replicas_max { replica } else { "" };
        let (failed, relief) = (sums.failed as f64, sums.ok as f64 * config.relief());
        let before = self.excess;
        if before == 0.0 && sums.failed > 0 {
            self.began_ms = now;
            self.run = Sums::default();
        }
        self.relieve(name, relief.min(before));
        let known = self.replicas.entry(name.to_owned()).or_default();
        known.heard_ms = now;
        // One replica alone never makes more than half of what is needed. What successes took back may be made again: else a few replicas
        // of a peer that fails in part would have used up their halves before the sum is there.
        let counted = failed.min((cap - known.weight).max(0.0));
        self.excess = (before + counted - relief).max(0.0);
        self.run.ok = self.run.ok.saturating_add(sums.ok);
        self.run.failed = self.run.failed.saturating_add(sums.failed);
        self.run.slow = self.run.slow.saturating_add(sums.slow);
        if self.excess == 0.0 && self.phase == Phase::Closed {
            // All is as usual; what a replica did before a run has no part in it.
            self.usual.learn(self.run.ok.saturating_add(self.run.failed), self.run.failed);
            self.run = Sums::default();
            if before > 0.0 {
                self.calm();
            }
            return true;
        }
        known.weight = if relief < before { known.weight + counted } else { self.excess };
        known.ok = known.ok.saturating_add(sums.ok);
        known.failed = known.failed.saturating_add(sums.failed);
        known.failed > 0 || known.ok < DISSENT
    }

    /// Takes from the sum: first what this replica made of it, then what the others did, from each as much as it made.
    fn relieve(&mut self, replica: &str, relief: f64) {
        let own = self.replicas.get_mut(replica).map_or(0.0, |known| {
            let own = relief.min(known.weight);
            known.weight -= own;
            own
        });
        let rest = relief - own;
        if rest > 0.0 {
            let sum: f64 = self.replicas.values().map(|replica| replica.weight).sum();
            let keep = if sum > rest { 1.0 - rest / sum } else { 0.0 };
            self.replicas.values_mut().for_each(|replica| replica.weight *= keep);
        }
    }

    /// The run of failures is over: every replica begins anew.
    pub(super) fn calm(&mut self) {
        self.excess = 0.0;
        self.run = Sums::default();
        for replica in self.replicas.values_mut() {
            *replica = Replica { heard_ms: replica.heard_ms, ..Replica::default() };
        }
    }

    /// Replicas heard of late are forgotten when they fall silent; as none of them reports, none holds the sum up either.
    pub(super) fn forget(&mut self, now: UnixMs, config: &BreakerConfig) {
        self.replicas.retain(|_, replica| now.saturating_sub(replica.heard_ms) < config.replica_ms);
        self.locals.forget(now, config);
        if self.phase == Phase::Closed && self.excess > 0.0 && now.saturating_sub(self.heard_ms) >= config.replica_ms {
            self.calm();
        }
    }

    /// Does it hold anything back?
    pub(super) const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open { .. } | Phase::Ramping(_))
    }

    /// Brings the replicas under the limit: what is over it counts as one from now on.
    pub(super) fn limit(&mut self, config: &BreakerConfig) {
        while self.replicas.len() > config.replicas_max.saturating_add(1) {
            self.replicas.pop_last();
        }
        self.locals.limit(config);
    }

    /// Should it open?
    pub(super) fn reached(&self, now: UnixMs, config: &BreakerConfig) -> Option<Reached> {
        let failures = if self.is_outage(config) { config.failures_min * OUTAGE } else { config.failures_min };
        let needed = self.at_least(failures, now, config);
        // Two halves, each summed up from many parts, are a whole.
        if self.excess < needed - ROUNDING {
            return None;
        }
        let replicas = self.failing();
        let replicas_needed = self.replicas_needed(config);
        (replicas >= replicas_needed).then_some(Reached { needed, replicas, replicas_needed })
    }

    pub(super) fn needed(&self, now: UnixMs, config: &BreakerConfig) -> f64 {
        self.at_least(config.failures_min, now, config)
    }

    fn at_least(&self, failures: f64, now: UnixMs, config: &BreakerConfig) -> f64 {
        failures.max(config.failures_s * self.demand(now)).max(1.0)
    }

    /// While they are fewer than `failures_min`: do failures pile up as they never do of a peer that fails what this one fails usually?
    #[allow(clippy::cast_precision_loss)]
    fn is_outage(&self, config: &BreakerConfig) -> bool {
        /// A replica that is bad itself has as little part in it as this.
        const EACH: u64 = 2;
        if self.excess < config.failures_min * OUTAGE || self.excess >= config.failures_min {
            return false;
        }
        let failed: u64 = self.replicas.values().map(|replica| replica.failed.min(EACH)).sum();
        self.usual.is_outage(failed as f64, self.run.ok as f64, config.threshold())
    }

    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn replicas_needed(&self, config: &BreakerConfig) -> usize {
        let share = (self.replicas.len() as f64 * config.replicas_share.clamp(0.0, 1.0)).ceil() as usize;
        share.max(config.replicas_min as usize)
    }

    /// Replicas with a failure since the run began.
    pub(super) fn failing(&self) -> usize {
        self.replicas.values().filter(|replica| replica.failed > 0).count()
    }

    /// Replicas known.
    pub(super) fn replicas(&self) -> usize {
        self.replicas.len()
    }

    /// Attempts a second of the fleet, those that were not sent included.
    pub(super) fn demand(&self, now: UnixMs) -> f64 {
        self.demand.rate(now)
    }
}
