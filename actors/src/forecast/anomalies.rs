//! A whole series through the watch: what `homeostat anomalies` prints, and what studies measure.

use super::watch::{Incident, Turn, Watch};
use super::watch_model::WatchModel;
use homeostat_schemas::Ms;

/// Thirty days, the month of budgets.
pub const MONTH_MS: Ms = 30 * 24 * 3_600_000;
/// Values a month where nobody knows the step: those of five minutes.
const MONTH_OF_ROWS: f64 = 8_640.0;
/// Quiet values that end an incident: at least, and at most.
const QUIET: (usize, usize) = (6, 720);
/// The same where nobody knows the step.
const QUIET_ROWS: usize = 48;
/// Values that a watch keeps in a file; a mind keeps fewer.
const HISTORY_MAX: usize = 4_096;

/// What was seen in a series.
#[derive(Debug, Clone, PartialEq)]
pub struct Anomalies {
    /// For every value the p-value of its error, where there is one.
    pub p: Vec<Option<f64>>,
    /// For every value what was expected.
    pub expected: Vec<Option<f64>>,
    /// The incidents, by their places in the series.
    pub incidents: Vec<Incident>,
}

/// The height that evidence must reach: `ln A` for `A` values between false alarms, that is, for `alarms` a series and month.
#[must_use]
pub fn threshold(step_ms: Option<Ms>, alarms: f64) -> f64 {
    let values = step_ms.filter(|step| *step > 0).map_or(MONTH_OF_ROWS, |step| MONTH_MS as f64 / step as f64);
    (values / alarms.max(1e-12)).max(20.0).ln()
}

/// Usual values, one after the other, that end an incident: half a day of them.
#[must_use]
pub fn quiet(step_ms: Option<Ms>) -> usize {
    let half_day = |step: Ms| usize::try_from(MONTH_MS / 60 / step).unwrap_or(usize::MAX);
    step_ms.filter(|step| *step > 0).map_or(QUIET_ROWS, |step| half_day(step).clamp(QUIET.0, QUIET.1))
}

/// Watches a series from its first value to its last; missing values are not finite.
#[must_use]
pub fn anomalies(values: &[f64], periods: Option<&[usize]>, step_ms: Option<Ms>, threshold: f64) -> Anomalies {
    let mut watch = Watch::default();
    let mut all = Anomalies { p: Vec::with_capacity(values.len()), expected: Vec::with_capacity(values.len()), incidents: Vec::new() };
    let mut open: Option<Incident> = None;
    for &value in values {
        let sight = watch.push(value, threshold, quiet(step_ms), HISTORY_MAX);
        all.p.push(sight.p);
        all.expected.push(sight.expected);
        if sight.turn == Turn::Ended {
            all.incidents.extend(open.take());
        }
        open = watch.incident().copied();
        if watch.wants_model() {
            match WatchModel::fit(watch.history(), periods, step_ms) {
                Some(model) => watch.learn(model),
                None => watch.no_model(),
            }
        }
    }
    all.incidents.extend(open);
    all
}
