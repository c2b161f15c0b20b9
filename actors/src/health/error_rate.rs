//! The share of failed requests over the last 60 s, and when it is too high.
//!
//! A share of few requests says little: 2 of 20 is 10 %, and yet compatible with a true rate of 3 %. So the limit must be
//! reached by the lower end of Wilson's score interval (E. B. Wilson, 1927) before anything is taken out of service; the plain
//! share reaching it is a warning.

use super::verdict::Observed;
use homeostat_schemas::UnixMs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// The window, in seconds; also the number of its buckets.
pub(super) const WINDOW_S: u64 = 60;

/// Requests in the window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Requests {
    /// Completed.
    pub total: u64,
    /// Completed with 5xx.
    pub errors: u64,
}

impl Requests {
    /// Failed over completed; 0 of nothing.
    #[must_use]
    pub fn ratio(self) -> f64 {
        if self.total == 0 { 0.0 } else { ratio(self.errors, self.total) }
    }

    /// The lower end of the two-sided 95 % Wilson interval of the share; 0 of nothing.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // counts of one minute lie far below 2^53
    pub fn lower_bound(self) -> f64 {
        /// The 97.5 % quantile of the normal distribution.
        const Z: f64 = 1.959_963_984_540_054;
        if self.total == 0 {
            return 0.0;
        }
        let n = self.total as f64;
        let p = self.ratio();
        let z2 = Z * Z;
        let centre = p + z2 / (2.0 * n);
        let spread = Z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
        // Rounding must not lift it above the share itself (of no failures, above nothing).
        ((centre - spread) / (1.0 + z2 / n)).clamp(0.0, p)
    }

    /// Is it too much? `None` when there are fewer than `min` to judge by.
    #[must_use]
    pub fn judge(self, limit: f64, min: u64) -> Option<Observed> {
        if self.total < min.max(1) {
            None
        } else if self.ratio() < limit {
            Some(Observed::Pass)
        } else if self.lower_bound() < limit {
            Some(Observed::Warn)
        } else {
            Some(Observed::Fail)
        }
    }
}

/// A quotient of counts. IEEE division is correctly rounded, so the result is the same everywhere, and a share that equals a
/// decimal limit exactly (2 of 20 and 0.1) compares equal to it.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// Requests of the last minute, a bucket a second; seconds without any cost nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Window {
    buckets: VecDeque<(u64, Requests)>,
    sum: Requests,
}

impl Window {
    /// One request completed at `now`.
    pub(super) fn add(&mut self, now: UnixMs, error: bool) {
        self.expire(now);
        let second = now / 1000;
        let one = Requests { total: 1, errors: u64::from(error) };
        match self.buckets.back_mut() {
            Some((last, bucket)) if *last >= second => {
                bucket.total += one.total;
                bucket.errors += one.errors;
            }
            _ => self.buckets.push_back((second, one)),
        }
        self.sum.total += one.total;
        self.sum.errors += one.errors;
    }

    /// Forgets what is older than the window.
    pub(super) fn expire(&mut self, now: UnixMs) {
        let second = now / 1000;
        while let Some(&(first, bucket)) = self.buckets.front()
            && first + WINDOW_S <= second
        {
            self.sum.total -= bucket.total;
            self.sum.errors -= bucket.errors;
            self.buckets.pop_front();
        }
    }

    /// What lies in the window that ends `now`.
    #[must_use]
    pub(super) fn at(&self, now: UnixMs) -> Requests {
        let mut sum = self.sum;
        for (_, bucket) in self.buckets.iter().take_while(|(second, _)| second + WINDOW_S <= now / 1000) {
            sum.total -= bucket.total;
            sum.errors -= bucket.errors;
        }
        sum
    }

    /// How many buckets it holds.
    #[must_use]
    pub(super) fn buckets(&self) -> usize {
        self.buckets.len()
    }
}

/// Did a request complete, and if so, did it fail? `None` for what says nothing of the service: no final status, or a client
/// that went away (499).
#[must_use]
pub(super) const fn outcome(status: u16) -> Option<bool> {
    match status {
        0..=199 | 499 => None,
        500..=599 => Some(true),
        _ => Some(false),
    }
}
