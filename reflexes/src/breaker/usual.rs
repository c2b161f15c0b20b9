//! An outage, told from what a peer fails usually.
//!
//! A window and a sum with the drift at the threshold must wait for `min_calls`, as they know nothing of the peer. Who knows that it
//! fails 1 % of its calls need not see twenty failures in a row. So a second sum looks for outages only: it grows by 1 − d with each
//! failure and falls by d with each success, d lying half-way between the threshold and all calls (75 % for a threshold of 50 %: a
//! success outweighs three failures). Of a peer that fails a share q < d of its calls it reaches `sum` within one run with a chance of
//! at most e^(−θ·sum), θ > 0 being the root of q·e^(θ(1−d)) + (1−q)·e^(−θd) = 1 (Lundberg's inequality). A run of which that chance is
//! below [`CHANCE`] is an outage: 8 failures in a row where up to 5 % fail usually, 11 where 10 % do, 15 where 20 % do. Shares near the
//! threshold are left to the other tests.

use serde::{Deserialize, Serialize};

/// The chance of a run that is taken for no chance any more.
const CHANCE: f64 = 1e-10;

/// No peer is trusted to fail less often than this.
const LEAST: f64 = 0.05;

/// A sum that fewer failures in a row make is likelier than [`CHANCE`] of every peer (0.05^7.5 = 1.7·10⁻¹⁰).
const FEWEST: f64 = 7.5;

/// A peer of which nothing is known fails so many of so many calls.
const PRIOR: (f64, f64) = (2.0, 10.0);

/// From so many calls on what is known is halved, so that it is that of the last 100 to 200 calls.
const CALLS_MAX: u64 = 200;

/// What share of its calls a peer fails usually. A run of failures has no part in it until it has ended by itself: what opens a breaker
/// never has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usual {
    calls: u64,
    failed: u64,
}

impl Usual {
    /// So many calls, so many failures among them, were usual.
    pub fn learn(&mut self, calls: u64, failed: u64) {
        self.calls = self.calls.saturating_add(calls);
        self.failed = self.failed.saturating_add(failed);
        // As often as it takes, so that the share stays what it is however many came at once.
        while self.calls > CALLS_MAX {
            self.calls /= 2;
            self.failed /= 2;
        }
    }

    /// Are so many failures and successes since a run began an outage, the breaker opening at `threshold` (0 to 1)?
    #[must_use]
    pub fn is_outage(&self, failed: f64, ok: f64, threshold: f64) -> bool {
        self.is_exceeded(step(failed, ok, threshold), threshold)
    }

    /// Does the usual share never make such a sum of [`step`]s?
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn is_exceeded(&self, sum: f64, threshold: f64) -> bool {
        let drift = drift(threshold);
        if sum < FEWEST * (1.0 - drift) {
            return false;
        }
        let share = ((self.failed as f64 + PRIOR.0) / (self.calls as f64 + PRIOR.1)).max(LEAST);
        if share >= drift {
            return false;
        }
        // The left side of the equation is below 1 between 0 and θ and above it beyond, so θ itself need not be known.
        let theta = -CHANCE.ln() / sum;
        share * (theta * (1.0 - drift)).exp() + (1.0 - share) * (-theta * drift).exp() <= 1.0
    }
}

/// What failures and successes add to the sum.
pub(super) fn step(failed: f64, ok: f64, threshold: f64) -> f64 {
    let drift = drift(threshold);
    failed * (1.0 - drift) - ok * drift
}

fn drift(threshold: f64) -> f64 {
    f64::midpoint(threshold, 1.0)
}
