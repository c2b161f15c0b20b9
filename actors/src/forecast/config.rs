//! The thresholds of forecast: the documentation of each field is its manual.

use homeostat_schemas::Ms;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The settings table `actors.forecast`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ForecastConfig {
    /// Values are summed up over so long, ms, and each such step is one value of the series. Another step begins every series anew.
    pub step_ms: Ms,
    /// Time between two forecasts of a series, ms; half an hour at least. Series take turns.
    pub refresh_ms: Ms,
    /// How far forecasts go, hours.
    pub horizon_h: u32,
    /// The share of future values that their intervals are to cover.
    pub level: f64,
    /// False alarms that a series may raise in thirty days.
    pub alarms_per_series_month: f64,
    /// False alarms that all series together may raise in a day; the stricter of the two budgets counts.
    pub alarms_per_day: f64,
    /// `forecast.exhaustion` is raised when a limit is expected to be reached within so long, ms.
    pub exhaustion_within_ms: Ms,
    /// Limits of metrics by their name, as in `{ "queue.depth" = 10000 }`. Memory and pools bring their own.
    pub limits: BTreeMap<String, f64>,
    /// Metrics that are watched, beginnings of their names; all when the list is empty. Derived series are called
    /// `success_rate`, `p95_ms`, `memory_bytes` and `pool.<name>`.
    pub only: Vec<String>,
    /// With fewer requests in a step nothing is said of their success and of their times.
    pub requests_min: u64,
    /// A series of which nothing came for so long is forgotten, ms.
    pub forget_after_ms: Ms,
    /// Series that are kept. What finds no room is counted in the view.
    pub series_max: usize,
    /// Steps of a series that are kept, and from which the watch learns: two days at least, for days to be learnt.
    pub history_max: usize,
    /// Fits that may be under way at once.
    pub fits_max: usize,
    /// After so long nobody waits for a fit any more, ms.
    pub fit_timeout_ms: Ms,
}

impl Default for ForecastConfig {
    fn default() -> Self {
        ForecastConfig {
            step_ms: 300_000,
            refresh_ms: 6 * 3_600_000,
            horizon_h: 168,
            level: 0.95,
            alarms_per_series_month: 1.0,
            alarms_per_day: 1.0,
            exhaustion_within_ms: 24 * 3_600_000,
            limits: BTreeMap::new(),
            only: Vec::new(),
            requests_min: 20,
            forget_after_ms: 7 * 24 * 3_600_000,
            series_max: 2_000,
            history_max: 1_200,
            fits_max: 4,
            fit_timeout_ms: 60_000,
        }
    }
}
