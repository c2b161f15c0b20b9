//! What can be seen of forecast: every series with its forecast and what is expected of it now.

use super::tracked::{Key, Tracked};
use homeostat_schemas::UnixMs;
use schemars::JsonSchema;
use serde::Serialize;

/// All of it.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct ForecastView {
    /// Log time.
    pub at_ms: UnixMs,
    /// Series, by service, metric and instance.
    pub series: Vec<SeriesView>,
    /// Series that found no room.
    pub refused: u64,
    /// Fits under way.
    pub fits: usize,
}

/// One series.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SeriesView {
    /// Whose.
    pub service: String,
    /// What: a metric's name, `success_rate`, `p95_ms`, `memory_bytes` or `pool.<name>`.
    pub metric: String,
    /// Of which instance, where it is not of the whole service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The last step that had a value.
    pub value: Option<f64>,
    /// What was expected of it.
    pub expected: Option<f64>,
    /// How often an error as large is to be expected.
    pub p: Option<f64>,
    /// Is an anomaly open?
    pub anomaly: bool,
    /// Steps seen so far.
    pub steps: u64,
    /// Periods the watch knows, in steps.
    pub season: Vec<usize>,
    /// The model of the forecast.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Why there is no forecast: an insufficient history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insufficient: Option<String>,
    /// The forecast, one point an hour, as far as it lies ahead.
    pub points: Vec<PointView>,
    /// When its limit is reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exhaustion: Option<ExhaustionView>,
}

/// One hour ahead.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct PointView {
    /// The hour begins, log time.
    pub at: UnixMs,
    /// What is expected.
    pub mean: f64,
    /// Lower end of the interval.
    pub lower: f64,
    /// Upper end of the interval.
    pub upper: f64,
}

/// When a limit is reached: times at which so many paths in a hundred have, nothing beyond the horizon.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct ExhaustionView {
    /// The limit.
    pub limit: f64,
    /// Share of the paths that reach it within the horizon.
    pub probability: f64,
    /// Ten in a hundred.
    pub p10_ms: Option<UnixMs>,
    /// Fifty.
    pub p50_ms: Option<UnixMs>,
    /// Ninety.
    pub p90_ms: Option<UnixMs>,
}

pub(super) fn series(key: &Key, tracked: &Tracked, now: UnixMs) -> SeriesView {
    let shown = |v: f64| tracked.gathered.shown(v);
    let (value, expected, p) = tracked.last.map_or((None, None, None), |(value, expected, p)| (Some(shown(value)), expected.map(shown), p));
    let outlook = tracked.outlook.as_ref();
    let points = outlook.into_iter().flat_map(|outlook| {
        let hour = |k: usize| outlook.from_ms.saturating_add(super::fit::HOUR.saturating_mul(k as u64));
        outlook
            .steps
            .iter()
            .enumerate()
            .map(move |(k, step)| (hour(k), step))
            .filter(move |(at, _)| at.saturating_add(super::fit::HOUR) > now)
    });
    SeriesView {
        service: key.service.clone(),
        metric: key.metric.clone(),
        instance: (!key.instance.is_empty()).then(|| key.instance.clone()),
        value,
        expected,
        p,
        anomaly: tracked.watch.incident().is_some(),
        steps: tracked.watch.seen(),
        season: tracked.watch.periods().to_vec(),
        model: outlook.filter(|outlook| !outlook.steps.is_empty()).map(|outlook| outlook.model.clone()),
        insufficient: match outlook {
            None => Some("insufficient history: no fit yet".to_owned()),
            Some(outlook) => outlook.insufficient.clone(),
        },
        points: points
            .map(|(at, [mean, lower, upper])| PointView { at, mean: shown(*mean), lower: shown(*lower), upper: shown(*upper) })
            .collect(),
        exhaustion: outlook.and_then(|outlook| {
            let at = |hours: u32| outlook.from_ms.saturating_add(super::fit::HOUR.saturating_mul(u64::from(hours)));
            outlook.exhaustion.map(|found| ExhaustionView {
                limit: shown(found.limit),
                probability: found.probability,
                p10_ms: found.p10.map(at),
                p50_ms: found.p50.map(at),
                p90_ms: found.p90.map(at),
            })
        }),
    }
}
