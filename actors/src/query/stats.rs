//! What is known of the executions of one shape, in constant memory.
//!
//! Quantiles come from a DDSketch (Masson, Rim and Lee, "DDSketch: a fast and fully-mergeable quantile sketch with
//! relative-error guarantees", VLDB 2019): mergeable, and within 2 % of the true value. Its bins are limited to 256, which is
//! 2 KiB and reaches four and a half decades below the slowest execution; what is faster still counts in the lowest bin.
//! Sums and extremes are integers and exact, so no order of arrival shows in them.

use homeostat_schemas::UnixMs;
use serde::{Deserialize, Serialize};
use sketches_ddsketch::{Config, DDSketch};

/// Relative error of a quantile.
const ACCURACY: f64 = 0.02;
/// Bins of a sketch: twice the step by which the crate grows it.
const BINS_MAX: u32 = 256;
/// What is faster than this counts as zero, microseconds. Durations are whole microseconds.
const SMALLEST_US: f64 = 0.5;

/// Executions of one shape.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Stats {
    pub(super) calls: u64,
    pub(super) errors: u64,
    pub(super) rows: u64,
    pub(super) slow_calls: u64,
    /// Answered from a cache: counted here and nowhere else, for the database never saw them.
    pub(super) cached: u64,
    pub(super) total_us: u64,
    pub(super) max_us: u64,
    pub(super) first_seen_ms: UnixMs,
    pub(super) last_seen_ms: UnixMs,
    sketch: DDSketch,
}

impl Stats {
    pub(super) fn new(now: UnixMs) -> Stats {
        Stats {
            calls: 0,
            errors: 0,
            rows: 0,
            slow_calls: 0,
            cached: 0,
            total_us: 0,
            max_us: 0,
            first_seen_ms: now,
            last_seen_ms: now,
            sketch: DDSketch::new(Config::new(ACCURACY, BINS_MAX, SMALLEST_US)),
        }
    }

    #[allow(clippy::cast_precision_loss)] // durations beyond 2^53 µs do not happen, and would be within the sketch's error
    pub(super) fn add(&mut self, now: UnixMs, took_us: u64, rows: u64, failed: bool, slow: bool) {
        self.calls += 1;
        self.errors += u64::from(failed);
        self.slow_calls += u64::from(slow);
        self.rows = self.rows.saturating_add(rows);
        self.total_us = self.total_us.saturating_add(took_us);
        self.max_us = self.max_us.max(took_us);
        self.last_seen_ms = self.last_seen_ms.max(now);
        self.sketch.add(took_us as f64);
    }

    /// Takes over the executions of another shape.
    pub(super) fn merge(&mut self, other: &Stats) {
        self.calls += other.calls;
        self.errors += other.errors;
        self.slow_calls += other.slow_calls;
        self.cached += other.cached;
        self.rows = self.rows.saturating_add(other.rows);
        self.total_us = self.total_us.saturating_add(other.total_us);
        self.max_us = self.max_us.max(other.max_us);
        self.first_seen_ms = self.first_seen_ms.min(other.first_seen_ms);
        self.last_seen_ms = self.last_seen_ms.max(other.last_seen_ms);
        // Both are made by `new`, so they have the same bins.
        let _ = self.sketch.merge(&other.sketch);
    }

    /// The value below which this share of the executions lies, microseconds, within 2 % and never above the maximum.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn quantile_us(&self, share: f64) -> f64 {
        self.sketch.quantile(share).ok().flatten().unwrap_or(0.0).min(self.max_us as f64)
    }

    /// The mean, microseconds.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn mean_us(&self) -> f64 {
        if self.calls == 0 { 0.0 } else { self.total_us as f64 / self.calls as f64 }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::cast_precision_loss)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn quantiles_are_within_their_error(mut tooks in prop::collection::vec(100u64..2_000_000, 1..400)) {
            let mut stats = Stats::new(0);
            for took in &tooks {
                stats.add(0, *took, 0, false, false);
            }
            tooks.sort_unstable();
            for share in [0.5, 0.95, 0.99] {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                let exact = tooks[(share * (tooks.len() as f64 - 1.0)) as usize] as f64;
                prop_assert!((stats.quantile_us(share) - exact).abs() <= exact * (ACCURACY + 1e-9));
            }
        }

        #[test]
        fn merging_is_adding_together(a in prop::collection::vec(0u64..u64::MAX, 0..50), b in prop::collection::vec(0u64..10_000, 0..50)) {
            let fill = |tooks: &[u64]| {
                let mut stats = Stats::new(7);
                tooks.iter().for_each(|took| stats.add(9, *took, 1, false, *took > 5_000));
                stats
            };
            let mut merged = fill(&a);
            merged.merge(&fill(&b));
            let together = fill(&[a, b].concat());
            prop_assert_eq!(merged.calls, together.calls);
            prop_assert_eq!(merged.total_us, together.total_us);
            prop_assert_eq!(merged.max_us, together.max_us);
            prop_assert_eq!(merged.slow_calls, together.slow_calls);
        }
    }
}
