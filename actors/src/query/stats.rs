//! What is known of the executions of one shape, in bounded memory. Sums and extremes are exact integers, so no order of
//! arrival shows in them.

use super::histogram::Histogram;
use homeostat_schemas::UnixMs;
use serde::{Deserialize, Serialize};

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
    times: Histogram,
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
            times: Histogram::default(),
        }
    }

    pub(super) fn add(&mut self, now: UnixMs, took_us: u64, rows: u64, failed: bool, slow: bool) {
        self.calls = self.calls.saturating_add(1);
        self.errors = self.errors.saturating_add(u64::from(failed));
        self.slow_calls = self.slow_calls.saturating_add(u64::from(slow));
        self.rows = self.rows.saturating_add(rows);
        self.total_us = self.total_us.saturating_add(took_us);
        self.max_us = self.max_us.max(took_us);
        self.last_seen_ms = self.last_seen_ms.max(now);
        self.times.add(took_us);
    }

    /// Takes over the executions of another shape.
    pub(super) fn merge(&mut self, other: &Stats) {
        self.calls = self.calls.saturating_add(other.calls);
        self.errors = self.errors.saturating_add(other.errors);
        self.slow_calls = self.slow_calls.saturating_add(other.slow_calls);
        self.cached = self.cached.saturating_add(other.cached);
        self.rows = self.rows.saturating_add(other.rows);
        self.total_us = self.total_us.saturating_add(other.total_us);
        self.max_us = self.max_us.max(other.max_us);
        self.first_seen_ms = self.first_seen_ms.min(other.first_seen_ms);
        self.last_seen_ms = self.last_seen_ms.max(other.last_seen_ms);
        self.times.merge(&other.times);
    }

    /// This share of the executions took no longer, microseconds; within 1.6 %, and never above the maximum.
    #[allow(clippy::cast_precision_loss)] // for show and for thresholds
    pub(super) fn quantile_us(&self, share: f64) -> f64 {
        // Of few executions the slowest is asked for, and that is known exactly.
        let slowest = (share * self.calls as f64).ceil() >= self.calls as f64;
        if slowest { self.max_us as f64 } else { self.times.quantile(share).min(self.max_us) as f64 }
    }

    /// Executions by about how long they took, microseconds.
    pub(super) fn counts(&self) -> impl Iterator<Item = (u64, u64)> {
        self.times.counts()
    }

    /// The mean, microseconds.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn mean_us(&self) -> f64 {
        if self.calls == 0 { 0.0 } else { self.total_us as f64 / self.calls as f64 }
    }
}
