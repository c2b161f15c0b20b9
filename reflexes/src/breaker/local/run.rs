//! The run of failures that may be an outage ([`crate::breaker::usual`]).

use crate::breaker::usual::{Usual, step};
use crate::breaker::window::Counts;

/// What the peer fails usually, and the present run of failures.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Run {
    usual: Usual,
    calls: Counts,
    sum: f64,
}

impl Run {
    /// Calls ended while the breaker was closed, `threshold` (0 to 1) being its own. Is it an outage?
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn add(&mut self, calls: Counts, threshold: f64) -> bool {
        let (bad, good) = (calls.failed as f64, calls.calls.saturating_sub(calls.failed) as f64);
        self.calls.add(calls);
        self.sum = (self.sum + step(bad, good, threshold)).max(0.0);
        calls.failed > 0 && self.usual.is_exceeded(self.sum, threshold)
    }

    /// It is over: it was usual.
    pub(super) fn settle(&mut self) {
        self.usual.learn(self.calls.calls, self.calls.failed);
        self.discard();
    }

    /// It opened the breaker, or was ended from outside.
    pub(super) fn discard(&mut self) {
        (self.calls, self.sum) = (Counts::default(), 0.0);
    }
}
