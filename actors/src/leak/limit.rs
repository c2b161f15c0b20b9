//! How far a process is from its memory limit, in bytes and in hours.

use super::process::Measured;
use schemars::JsonSchema;
use serde::Serialize;

/// What a process uses and may use, bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Room {
    /// Memory in its last sample.
    pub memory: f64,
    /// Its floor of late: the median of the last three.
    pub floor: f64,
    /// The most in the last hour.
    pub top: f64,
    /// Its limit.
    pub limit: Option<f64>,
    /// Heap in use.
    pub heap: Option<f64>,
}

/// Hours until memory reaches the limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct ToLimit {
    /// The floor, growing as measured.
    pub hours: f64,
    /// The earliest: the highest of the last hour, growing as fast as the interval of the growth allows.
    pub earliest: f64,
    /// The latest: the floor, growing as slowly as the interval allows; absent when it allows no growth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest: Option<f64>,
}

impl Room {
    /// When growth reaches the limit. A runtime that collects before it dies lives until the floor does; one that does not, dies with
    /// the highest peak: hence the interval.
    #[must_use]
    pub fn to_limit(&self, measured: &Measured) -> Option<ToLimit> {
        let limit = self.limit?;
        let hours = |level: f64, slope: f64| (slope > 0.0).then(|| ((limit - level) / (slope / 100.0 * measured.base_bytes)).max(0.0));
        let hours_at = hours(self.floor, measured.slope_pct_per_h).filter(|hours| hours.is_finite())?;
        Some(ToLimit {
            hours: hours_at,
            earliest: hours(self.top, measured.slope_high).unwrap_or(0.0).min(hours_at),
            latest: hours(self.floor, measured.slope_low).filter(|hours| hours.is_finite()).map(|hours| hours.max(hours_at)),
        })
    }

    /// May a heap snapshot be taken? It needs about as much memory again as the heap, and some to write it: twice the heap must be free
    /// below the limit. Without a limit nobody knows; without a heap size all memory counts as heap. Bytes needed and bytes free.
    #[must_use]
    pub fn snapshot(&self) -> Option<(bool, f64, f64)> {
        let free = (self.limit? - self.memory).max(0.0);
        let needed = 2.0 * self.heap.unwrap_or(self.memory);
        Some((free >= needed, needed, free))
    }
}
