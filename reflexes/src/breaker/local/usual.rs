//! An outage, told from what a peer fails usually.
//!
//! A window and a sum with the drift at the threshold must wait for `min_calls`, as they know nothing of the peer. Who knows that it
//! fails 1 % of its calls need not see twenty failures in a row. So a second sum looks for outages only: it grows by 1 − d with each
//! failure and falls by d with each success, never below zero, d lying half-way between the threshold and all calls (75 % for a
//! threshold of 50 %: a success outweighs three failures). Of a peer that fails a share q < d of its calls it reaches `sum` within one
//! run with a chance of at most e^(−θ·sum), θ > 0 being the root of q·e^(θ(1−d)) + (1−q)·e^(−θd) = 1 (Lundberg's inequality). A run of
//! which that chance is below [`CHANCE`] is an outage: 8 failures in a row where up to 5 % fail usually, 11 where 10 % do, 15 where
//! 20 % do. Shares near the threshold are left to the other tests.

use crate::breaker::window::Counts;

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

/// What a peer fails usually, and the run of failures that may be an outage. A run has no part in what is usual until it has ended by
/// itself: what opens the breaker never has.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Usual {
    known: Counts,
    run: Counts,
    sum: f64,
}

impl Usual {
    /// Calls ended while the breaker was closed, `threshold` (0 to 1) being its own. Is it an outage?
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn add(&mut self, calls: Counts, threshold: f64) -> bool {
        let drift = f64::midpoint(threshold, 1.0);
        let (bad, good) = (calls.failed as f64, calls.calls.saturating_sub(calls.failed) as f64);
        self.run.add(calls);
        self.sum = (self.sum + bad * (1.0 - drift) - good * drift).max(0.0);
        calls.failed > 0 && self.is_exceeded(drift)
    }

    /// The run is over: it was usual.
    pub(super) fn settle(&mut self) {
        self.sum = 0.0;
        self.known.add(std::mem::take(&mut self.run));
        // As often as it takes, so that the share stays what it is however many came at once.
        while self.known.calls > CALLS_MAX {
            self.known.calls /= 2;
            self.known.failed /= 2;
        }
    }

    /// The run opened the breaker, or was ended from outside.
    pub(super) fn discard(&mut self) {
        (self.run, self.sum) = (Counts::default(), 0.0);
    }

    /// Does the usual share never make such a sum?
    #[allow(clippy::cast_precision_loss)]
    fn is_exceeded(&self, drift: f64) -> bool {
        if self.sum < FEWEST * (1.0 - drift) {
            return false;
        }
        let share = ((self.known.failed as f64 + PRIOR.0) / (self.known.calls as f64 + PRIOR.1)).max(LEAST);
        if share >= drift {
            return false;
        }
        // The left side of the equation is below 1 between 0 and θ and above it beyond, so θ itself need not be known.
        let theta = -CHANCE.ln() / self.sum;
        share * (theta * (1.0 - drift)).exp() + (1.0 - share) * (-theta * drift).exp() <= 1.0
    }
}
