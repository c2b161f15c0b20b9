//! The thresholds of leak: the documentation of each field is its manual.

use super::judge::Demands;
use homeostat_schemas::Ms;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// By which rule a process leaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeakRule {
    /// The floor of memory, without load and single steps, grows monotonically and in a shape that has no bound.
    #[default]
    Robust,
    /// Memory is more than `compatible_pct_per_h` above what it was an hour ago. Everybody's first rule; it takes warm-up, the rise
    /// of a day and every step for a leak, and misses slow ones.
    Compatible,
}

/// The settings table `actors.leak`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LeakConfig {
    /// By which rule a process leaks: `robust` or `compatible`.
    pub rule: LeakRule,
    /// With the compatible rule: growth within an hour that is a leak, percent.
    pub compatible_pct_per_h: f64,
    /// What a process does this long after its start is warm-up and says nothing, ms.
    pub warmup_ms: Ms,
    /// Growth below this is no finding, percent of the process's level after its warm-up, an hour.
    pub min_slope_pct_per_h: f64,
    /// How sure the trend test must be: a standard normal deviate (2.33 is one false trend in a hundred looks at independent noise).
    pub trend_z: f64,
    /// Before a process is this old nothing is suspected, ms.
    pub suspect_after_ms: Ms,
    /// So long must memory have grown before a leak is confirmed, ms.
    pub confirm_after_ms: Ms,
    /// By how much the information criterion must prefer growth without a bound to growth with one (6 is strong evidence, in the words
    /// of Kass and Raftery; every point costs about half an hour).
    pub shape_margin: f64,
    /// So many looks in a row, one every 15 minutes, must agree before a leak is confirmed; a suspicion needs one.
    pub agreeing: u32,
    /// A suspicion ends after this long without growth, ms.
    pub suspicion_clears_after_ms: Ms,
    /// A confirmed leak ends after this long without growth, when memory was given back, or with the process. Milliseconds.
    pub leak_clears_after_ms: Ms,
    /// A growing process that reaches its memory limit sooner than this raises `leak.limit_near`, ms.
    pub limit_near_ms: Ms,
    /// A process that reports nothing for this long is gone, ms.
    pub forget_after_ms: Ms,
    /// How many processes are watched, about 4 KB each. A newcomer takes the place of the one that was silent for longest, if that
    /// was ten minutes; otherwise it is counted and not watched.
    pub processes: usize,
}

const MINUTE: Ms = 60_000;
const HOUR: Ms = 60 * MINUTE;

impl Default for LeakConfig {
    fn default() -> Self {
        LeakConfig {
            rule: LeakRule::Robust,
            compatible_pct_per_h: 10.0,
            warmup_ms: 45 * MINUTE,
            min_slope_pct_per_h: 1.0,
            trend_z: 2.33,
            suspect_after_ms: 3 * HOUR,
            confirm_after_ms: 6 * HOUR,
            shape_margin: 3.0,
            agreeing: 2,
            suspicion_clears_after_ms: HOUR,
            leak_clears_after_ms: 12 * HOUR,
            limit_near_ms: 2 * HOUR,
            forget_after_ms: 3 * HOUR,
            processes: 5_000,
        }
    }
}

impl LeakConfig {
    pub(super) fn demands(&self) -> Demands {
        Demands {
            min_slope: self.min_slope_pct_per_h,
            z: self.trend_z,
            suspect_h: hours(self.suspect_after_ms),
            confirm_h: hours(self.confirm_after_ms),
            margin: self.shape_margin,
        }
    }
}

/// Milliseconds as hours.
#[allow(clippy::cast_precision_loss)]
pub(super) fn hours(ms: Ms) -> f64 {
    ms as f64 / 3_600_000.0
}
