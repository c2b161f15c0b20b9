//! The heavy part of a forecast, as a pure function: what the hand `fit` does for the mind, and what its answer holds.
//!
//! The history goes out with the ask and the result comes back through the log, so a replay takes the recorded one, and a replay of
//! a plain file of events computes the same.

use super::exhaustion::{Exhaustion, exhaustion};
use super::portfolio::{Wish, forecast};
use super::watch_model::WatchModel;
use homeostat_schemas::Ms;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The hand's name.
pub const HAND: &str = "fit";
/// The step of forecasts: an hour.
pub(super) const HOUR: Ms = 3_600_000;

/// What is asked.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FitAsk {
    /// Time between two cells.
    pub step_ms: Ms,
    /// The last cells, for the watch.
    pub cells: Vec<Option<f64>>,
    /// The last hours, for the forecast.
    pub hours: Vec<Option<f64>>,
    /// Hours ahead.
    pub horizon: usize,
    /// Coverage of the interval.
    pub level: f64,
    /// What the series must not reach.
    pub limit: Option<f64>,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// The model of the watch.
    pub watch: Option<WatchModel>,
    /// The name of the forecast's model.
    pub model: String,
    /// Periods of the forecast, hours.
    pub periods: Vec<usize>,
    /// Mean, lower and upper end, one an hour.
    pub steps: Vec<[f64; 3]>,
    /// Why there is no forecast.
    pub insufficient: Option<String>,
    /// When the limit is reached, hours from the end of the history.
    pub exhaustion: Option<Exhaustion>,
}

/// Fits what was asked.
///
/// # Errors
/// The ask cannot be read.
pub fn fit(args: &Value) -> Result<Value, String> {
    let ask: FitAsk = serde_json::from_value(args.clone()).map_err(|why| format!("not an ask of a fit: {why}"))?;
    let values = |list: &[Option<f64>]| list.iter().map(|v| v.unwrap_or(f64::NAN)).collect::<Vec<_>>();
    let mut found = Fit { watch: WatchModel::fit(&values(&ask.cells), None, Some(ask.step_ms)), ..Fit::default() };
    let hours = values(&ask.hours);
    match forecast(&hours, &Wish { horizon: ask.horizon, level: ask.level, periods: None, step_ms: Some(HOUR) }) {
        Ok(outlook) => {
            found.model = outlook.model();
            found.steps = outlook.steps.iter().map(|step| [step.mean, step.lower, step.upper]).collect();
            let means: Vec<f64> = outlook.steps.iter().map(|step| step.mean).collect();
            found.exhaustion = ask.limit.and_then(|limit| exhaustion(&hours, &outlook.periods, &means, limit));
            found.periods = outlook.periods;
        }
        Err(why) => found.insufficient = Some(why.to_string()),
    }
    serde_json::to_value(found).map_err(|why| why.to_string())
}
