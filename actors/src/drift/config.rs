//! The thresholds of drift: the documentation of each field is its manual.

use homeostat_schemas::Ms;
use homeostat_schemas::time::DAY;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which rule decides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RuleSet {
    /// Keeps a stated budget of false alarms.
    #[default]
    Guarded,
    /// The rule that everyone copies: PSI 0.1 and 0.25, K-S p < 0.05. It alarms on most days without any drift.
    Compatible,
}

/// The settings table `actors.drift`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DriftConfig {
    /// `guarded` keeps the budget `alpha`; `compatible` is PSI 0.1/0.25 and K-S p < 0.05.
    pub rule: RuleSet,
    /// PSI from here on is moderate (guarded: the adjusted one).
    pub moderate: f64,
    /// PSI from here on is significant (guarded: the adjusted one).
    pub significant: f64,
    /// Guarded: drift whose adjusted PSI is below this does not matter, however certain it is.
    pub floor: f64,
    /// Compatible: a p-value below this is noticed.
    pub compatible_p: f64,
    /// With fewer values on either side the answer is `insufficient`.
    pub min_samples: u64,
    /// Guarded: the chance of any false alarm about a model within `horizon_ms`, all its features and all looks together. Half of
    /// it is spent on the windows, half on watching in between.
    pub alpha: f64,
    /// The time over which `alpha` is promised, ms.
    pub horizon_ms: Ms,
    /// The share of false findings in one look, at most (Benjamini–Hochberg); in force for `drift compare`, which looks once.
    pub q: f64,
    /// A window: what is compared with the baseline, ms. Windows begin at multiples of it (UTC).
    pub window_ms: Ms,
    /// So many windows together are compared with the baseline; 0 means 1 (guarded) or 7 (compatible).
    pub current_windows: u32,
    /// Between windows the e-processes are looked at this often, ms.
    pub watch_ms: Ms,
    /// So many windows make a learnt baseline.
    pub baseline_windows: u32,
    /// A learnt baseline has at least so many values.
    pub baseline_min: u64,
    /// From so many windows of a baseline on it is known how much windows differ without drift, and whether samples depend on each
    /// other.
    pub calibration_windows: u32,
    /// Compare each window with the same part of the week: Mondays with Mondays, or 3 o'clock on Monday with 3 o'clock on Monday
    /// when windows are hours.
    pub seasonal: bool,
    /// Cells into which the baseline's range is cut for K-S, 20 to 500; PSI has its ten bins from them.
    pub cells: u32,
    /// Features that are what the model says, not what it sees: their drift is critical when it is significant.
    pub predictions: Vec<String>,
    /// A jump of the share of missing, infinite or unknown values by so much is critical.
    pub odd_jump: f64,
    /// Of so many windows …
    pub critical_of: u32,
    /// … so many significant ones are critical.
    pub critical_windows: u32,
    /// After a model was retrained it is not called critical again for so long, ms.
    pub retrain_cooldown_ms: Ms,
    /// So many windows after a retraining make the new baseline.
    pub renew_windows: u32,
    /// How much is kept.
    pub limits: Limits,
}

impl Default for DriftConfig {
    fn default() -> Self {
        DriftConfig {
            rule: RuleSet::Guarded,
            moderate: 0.1,
            significant: 0.25,
            floor: 0.005,
            compatible_p: 0.05,
            min_samples: 30,
            alpha: 0.05,
            horizon_ms: 30 * DAY,
            q: 0.01,
            window_ms: DAY,
            current_windows: 0,
            watch_ms: 3_600_000,
            baseline_windows: 14,
            baseline_min: 500,
            calibration_windows: 14,
            seasonal: false,
            cells: 250,
            predictions: ["prediction", "y_pred", "y_pred_proba", "score"].map(str::to_owned).to_vec(),
            odd_jump: 0.05,
            critical_of: 3,
            critical_windows: 2,
            retrain_cooldown_ms: DAY,
            renew_windows: 2,
            limits: Limits::default(),
        }
    }
}

impl DriftConfig {
    /// How many windows together are compared with the baseline.
    #[must_use]
    pub fn current(&self) -> u32 {
        match (self.current_windows, self.rule) {
            (0, RuleSet::Guarded) => 1,
            (0, RuleSet::Compatible) => 7,
            (windows, _) => windows.min(MAX_WINDOWS),
        }
    }

    /// A window, never 0.
    #[must_use]
    pub fn window(&self) -> Ms {
        self.window_ms.max(60_000)
    }

    /// Looks at windows within the horizon.
    #[must_use]
    pub fn looks(&self) -> u64 {
        (self.horizon_ms / self.window()).max(1)
    }

    /// What one look may spend of the budget: half of `alpha` shared by all looks of the horizon, never more than `q`.
    #[must_use]
    pub fn look_q(&self) -> f64 {
        (self.alpha / 2.0 / crate::stats::real(self.looks())).min(self.q)
    }
}

/// No more windows than this are ever kept.
pub(super) const MAX_WINDOWS: u32 = 31;

/// How much is kept. What finds no room is counted in the view, never silently dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Features of all models together.
    pub features: usize,
    /// Features of one model.
    pub features_per_model: usize,
    /// Levels of a category; further ones count as one.
    pub levels: usize,
    /// Commands to retrain whose outcome is waited for.
    pub commands: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { features: 10_000, features_per_model: 2_000, levels: 100, commands: 256 }
    }
}
