//! How far a breaker of the fleet is open: probes, then a ramp that doubles while calls go well and backs off when they do not.

use super::config::{BreakerConfig, ShedMode};
use super::scope::Sums;
use homeostat_schemas::{AdmissionState, Ms, UnixMs};
use serde::{Deserialize, Serialize};

/// So many times as many probes are let through after one that went well.
const HOPEFUL: f64 = 3.0;

/// A probe that is overdue is made likelier, so many times at most.
const OVERDUE_MAX: f64 = 4.0;

/// What comes back sooner than this after the share was halved says nothing of that, ms. It is short, as half of the calls are lost for
/// so long: where calls take longer the trial finds no help, and all is given back.
const TRIAL_GRACE_MS: Ms = 100;

/// While a trial is younger than this, who is not in the share waits instead of being refused, ms: most trials are over by then, and
/// where shedding does not help nothing was lost.
const HOLD_MS: Ms = 500;

/// The ramp.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Ramp {
    /// The share admitted.
    pub(super) fraction: f64,
    /// The share of repetitions admitted.
    pub(super) retries: f64,
    /// Has it ever had to step back? Then it grows by addition.
    stepped_back: bool,
    /// What came back in this step.
    step: Sums,
    /// Failures since the last success.
    run: u64,
    /// When this step began.
    step_ms: UnixMs,
    /// The share of failures that was there before anything was shed, while it is being found out whether shedding helps.
    trial: Option<f64>,
    /// That share, once shedding was found not to help: then it is no reason to step back.
    floor: f64,
}

/// Where a breaker of the fleet stands.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) enum Phase {
    /// All calls pass.
    #[default]
    Closed,
    /// Probes only.
    Open {
        /// Since when.
        since_ms: UnixMs,
        /// The share admitted.
        fraction: f64,
        /// Probes in a row that went well.
        good: u32,
        /// When one last came back.
        heard_ms: UnixMs,
    },
    /// A growing share.
    Ramping(Ramp),
    /// All calls pass again, and it is still being said.
    Closing {
        /// Until when.
        until_ms: UnixMs,
    },
}

impl Phase {
    /// Opens: with probes, or in the mode in which that is not wanted.
    pub(super) fn open(mode: ShedMode, run: Sums, now: UnixMs) -> Phase {
        /// From this share of successes on a peer is one that answers in part.
        const PARTLY: f64 = 0.2;
        let bad = bad_share(run);
        match mode {
            ShedMode::ShedRetries => Phase::Ramping(Ramp { floor: 1.0, ..Ramp::at(1.0, now) }),
            ShedMode::Fraction if 1.0 - bad >= PARTLY => Phase::Ramping(Ramp { trial: Some(bad), ..Ramp::at(0.5, now) }),
            ShedMode::Fraction | ShedMode::Open => Phase::opened(now),
        }
    }

    /// Nothing passes at first, as what comes back during the grace is no probe.
    const fn opened(now: UnixMs) -> Phase {
        Phase::Open { since_ms: now, fraction: 0.0, good: 0, heard_ms: now }
    }

    /// What it is called outside.
    pub(super) const fn state(&self) -> AdmissionState {
        match self {
            Phase::Closed | Phase::Closing { .. } => AdmissionState::Closed,
            Phase::Open { .. } => AdmissionState::Open,
            Phase::Ramping(_) => AdmissionState::Ramping,
        }
    }

    /// The shares of first attempts and of repetitions admitted.
    pub(super) fn shares(&self) -> (f64, f64) {
        match self {
            Phase::Closed | Phase::Closing { .. } => (1.0, 1.0),
            Phase::Open { fraction, .. } => (*fraction, 0.0),
            Phase::Ramping(ramp) => (ramp.fraction, ramp.retries),
        }
    }

    /// How long who is not in the shares waits for another word, instead of being refused.
    pub(super) fn hold_ms(&self, now: UnixMs) -> Option<Ms> {
        match self {
            Phase::Ramping(ramp) if ramp.trial.is_some() && now.saturating_sub(ramp.step_ms) < HOLD_MS => Some(HOLD_MS),
            _ => None,
        }
    }

    /// Calls came back while it is not closed. True when it changed.
    pub(super) fn take(&mut self, sums: Sums, demand: f64, now: UnixMs, config: &BreakerConfig) -> bool {
        match self {
            Phase::Closed | Phase::Closing { .. } => false,
            Phase::Open { since_ms, good, fraction, heard_ms } => {
                if now.saturating_sub(*since_ms) < config.grace_ms {
                    return false;
                }
                if sums.ok.saturating_add(sums.failed) > 0 {
                    *heard_ms = now;
                }
                // Of a sum with both in it nobody knows the order: the failures count as the later.
                let bad = sums.failed.saturating_add(sums.slow);
                let fine = u32::try_from(sums.ok.saturating_sub(sums.slow)).unwrap_or(u32::MAX);
                let before = *good;
                *good = if bad > 0 { 0 } else { good.saturating_add(fine) };
                if *good >= config.probes_good.max(1) {
                    *self = Phase::Ramping(Ramp::at(config.ramp_from, now));
                    return true;
                }
                // The next ones come sooner: hope is to be told from chance before long.
                let hopeful = before == 0 && *good > 0;
                if hopeful {
                    *fraction = (*fraction * HOPEFUL).min(share(config.probe_share_max));
                }
                hopeful
            }
            Phase::Ramping(ramp) => {
                if ramp.trial.is_some() && now.saturating_sub(ramp.step_ms) < TRIAL_GRACE_MS {
                    return false;
                }
                ramp.step.ok = ramp.step.ok.saturating_add(sums.ok);
                ramp.step.failed = ramp.step.failed.saturating_add(sums.failed);
                ramp.step.slow = ramp.step.slow.saturating_add(sums.slow);
                // Of a sum with both in it nobody knows the order.
                ramp.run = if sums.ok > 0 { 0 } else { ramp.run.saturating_add(sums.failed) };
                ramp.end_trial(demand, now)
            }
        }
    }

    /// Time passed.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn tick(&mut self, demand: f64, now: UnixMs, config: &BreakerConfig) {
        match self {
            Phase::Closed => {}
            Phase::Closing { until_ms } => {
                if now >= *until_ms {
                    *self = Phase::Closed;
                }
            }
            Phase::Open { since_ms, fraction, good, heard_ms } => {
                let probed_ms = since_ms.saturating_add(config.grace_ms);
                if now < probed_ms {
                    return;
                }
                // Chance alone would now and then leave the fleet without one for seconds.
                let missing = config.probes_per_s * now.saturating_sub(probed_ms.max(*heard_ms)) as f64 / 1_000.0;
                let more = if *good > 0 { HOPEFUL } else { missing.clamp(1.0, OVERDUE_MAX) };
                *fraction = (probe_fraction(demand, config) * more).min(share(config.probe_share_max));
            }
            Phase::Ramping(ramp) if ramp.trial.is_some() => {
                ramp.end_trial(demand, now);
            }
            Phase::Ramping(ramp) if now.saturating_sub(ramp.step_ms) >= config.ramp_every_ms => *self = ramp.next(demand, now, config),
            Phase::Ramping(_) => {}
        }
    }
}

impl Ramp {
    fn at(fraction: f64, now: UnixMs) -> Ramp {
        Ramp {
            fraction: share(fraction),
            retries: 0.0,
            stepped_back: false,
            step: Sums::default(),
            run: 0,
            step_ms: now,
            trial: None,
            floor: 0.0,
        }
    }

    /// Does shedding half of the calls help? It does when the rest makes up for it: when twice the share succeeds, or where that cannot
    /// be, three quarters of the failures go. Failures are reported at once and successes with the next sum, so failures are what is
    /// counted, by A. Wald's sequential test (1945) of their rate: as many as before, or as few as then? True when it is known, and the
    /// ramp goes on accordingly.
    #[allow(clippy::cast_precision_loss)]
    fn end_trial(&mut self, demand: f64, now: UnixMs) -> bool {
        /// To shed half for nothing is dear: it is taken for help with this chance of error …
        const HELPS: f64 = 1e-5;
        /// … and what costs little, to give it back, is done with this.
        const HELPS_NOT: f64 = 0.1;
        /// After so many calls without a verdict it does not help enough.
        const CALLS_MAX: f64 = 100.0;
        let Some(before) = self.trial else { return false };
        let bad = before.clamp(0.01, 0.99);
        let helped = 1.0 - (2.0 * (1.0 - bad)).min(1.0 - bad / 4.0);
        let calls = demand * self.fraction * now.saturating_sub(self.step_ms.saturating_add(TRIAL_GRACE_MS)) as f64 / 1_000.0;
        let failures = self.step.failed.saturating_add(self.step.slow.min(self.step.ok)) as f64;
        let evidence = calls * (bad - helped) - failures * (bad / helped).ln();
        // Where reports are late or lost there are no failures either: half of the calls must have come back, and gone well.
        let back = self.step.ok.saturating_add(self.step.failed) as f64;
        let helps = evidence >= -HELPS.ln() && back >= calls / 2.0 && bad_share(self.step) < f64::midpoint(bad, helped);
        if !helps && evidence > HELPS_NOT.ln() && calls < CALLS_MAX {
            return false;
        }
        let next = Ramp { step: Sums::default(), step_ms: now, trial: None, ..self.clone() };
        *self = if helps { Ramp { stepped_back: true, ..next } } else { Ramp { fraction: 1.0, retries: 1.0, floor: before, ..next } };
        true
    }

    /// One look: what the calls of this step say.
    #[allow(clippy::cast_precision_loss)]
    fn next(&self, demand: f64, now: UnixMs, config: &BreakerConfig) -> Phase {
        /// Fewer failures in a row say nothing.
        const ENOUGH: f64 = 5.0;
        /// A peer that fails in part makes a longer run as rarely as this: it begins some hundred runs a second.
        const RARELY: f64 = 1e-8;
        /// What it fails usually was seen on some tens of calls, and may be so much more.
        const UNSURE: f64 = 0.1;
        /// A share that was found not to depend on the load may be so much worse, or so many standard deviations.
        const CHANCE: f64 = 0.2;
        const DEVIATIONS: f64 = 3.0;
        /// One failure, or two, is what a healthy peer has as well.
        const STEP_BACK: u64 = 3;
        let seen = self.step.ok.saturating_add(self.step.failed);
        let bad = bad_share(self.step);
        let next = Ramp { step: Sums::default(), step_ms: now, ..self.clone() };
        let deviation = (self.floor * (1.0 - self.floor) / seen.max(1) as f64).sqrt();
        let limit = config.ramp_tolerance.max(if self.floor > 0.0 { self.floor + CHANCE.max(DEVIATIONS * deviation) } else { 0.0 });
        let usual = if self.floor > 0.0 { (self.floor + UNSURE).min(0.95) } else { 0.0 };
        let outage = ENOUGH.max(RARELY.ln() / usual.ln());
        if self.floor < 1.0 && self.run as f64 >= outage {
            return Phase::opened(now);
        }
        if seen == 0 {
            // Nothing was sent, or nothing came back yet.
            return Phase::Ramping(next);
        }
        let failing = self.step.failed.saturating_add(self.step.slow) >= STEP_BACK;
        if bad > limit && failing && self.floor < 1.0 {
            let least = probe_fraction(demand, config);
            return Phase::Ramping(Ramp {
                fraction: share(self.fraction * config.ramp_cut).max(least),
                retries: 0.0,
                stepped_back: true,
                ..next
            });
        }
        if self.fraction >= 1.0 {
            // It has borne the whole load for a step. A peer that goes on failing in part is not called well.
            let well = bad < config.threshold * 0.8 && bad <= config.ramp_tolerance.max(config.threshold * 0.5);
            return if well { Phase::Closing { until_ms: now.saturating_add(config.lease_ms) } } else { Phase::Ramping(next) };
        }
        let grown = if self.stepped_back { self.fraction + config.ramp_add } else { self.fraction * 2.0 };
        Phase::Ramping(Ramp { fraction: share(grown), ..next })
    }
}

/// The share of calls that makes so many probes a second.
fn probe_fraction(demand: f64, config: &BreakerConfig) -> f64 {
    let most = share(config.probe_share_max);
    if demand > 0.0 { share(config.probes_per_s / demand).min(most) } else { most }
}

/// Failed and slow calls of those that came back.
#[allow(clippy::cast_precision_loss)]
fn bad_share(sums: Sums) -> f64 {
    let all = sums.ok.saturating_add(sums.failed);
    if all == 0 { 0.0 } else { sums.failed.saturating_add(sums.slow.min(sums.ok)) as f64 / all as f64 }
}

fn share(value: f64) -> f64 {
    if value.is_finite() { value.clamp(0.0, 1.0) } else { 1.0 }
}
