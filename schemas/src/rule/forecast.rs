//! Rules of the forecast actor: unusual series, limits that come near.

use super::{Nature, Rule};
use crate::alert::Severity;

/// A series is not what it should be.
pub const FORECAST_ANOMALY: Rule = Rule {
    name: "forecast.anomaly",
    severity: Severity::Warning,
    nature: Nature::State,
    meaning: "A series is not what its own past lets expect: the evidence against chance has reached the budget of false alarms.",
    labels: &["metric", "instance"],
    evidence: &[
        ("value", "the value of the step that brought the evidence to the limit"),
        ("expected", "what was expected in its place"),
        ("p", "how often an error as large is to be expected"),
        ("step_ms", "length of a step, ms"),
        ("alarms_per_series_month", "the budget of false alarms of a series in thirty days"),
        ("alarms_per_day", "the budget of false alarms of all series in a day"),
    ],
    look: "`value` beside `expected`; `p`: how odd it is; `GET /api/v1/forecasts?metric=…`: the series; `homeostat tail alerts`: what else began then.",
    advice: "Look at what changed at that time: a deployment, the load, a dependency. A new level is taken over after a while.",
};

/// A limit will be reached soon.
pub const FORECAST_EXHAUSTION: Rule = Rule {
    name: "forecast.exhaustion",
    severity: Severity::Warning,
    nature: Nature::State,
    meaning: "A series is expected to reach its limit within the time that the settings name.",
    labels: &["metric", "instance"],
    evidence: &[
        ("limit", "the limit"),
        ("value", "the last value"),
        ("probability", "share of the paths that reach it within the horizon"),
        ("p10_ms", "one path in ten has reached it by then, log time; null beyond the horizon"),
        ("p50_ms", "every other path has"),
        ("p90_ms", "nine paths in ten have"),
        ("model", "the model of the forecast"),
    ],
    look: "`p10_ms`: the earliest to reckon with; `value` beside `limit`; `probability`; `GET /api/v1/forecasts?metric=…`: the paths.",
    advice: "Free or enlarge what runs out before the earliest of these times, and find what uses it up.",
};
