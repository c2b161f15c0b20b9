//! Forecast: what a series will be, what it should have been, and when it runs out.
//!
//! | part | file |
//! |---|---|
//! | forecasts: members, backtest, intervals | `portfolio.rs`, `member.rs` and one file a model, `interval.rs`, `period.rs`, `fill.rs`, `outliers.rs`, `levels.rs` |
//! | anomalies: one series under watch | `watch.rs`, `watch_model.rs`, `tail.rs`, `rls.rs` |
//! | limits: when one is reached | `exhaustion.rs` |
//! | from a file | `series.rs`, `anomalies.rs` |
//! | the mind: from events to series, alerts, asks | this file, `derive.rs`, `tracked.rs`, `fit.rs`, `view.rs` |
//!
//! The mind sums up events by steps of log time, one value a step, a metric and an instance. A value costs microseconds: it is held
//! against the series' own autoregression and learnt from. What is heavy, finding the periods, fitting, forecasting, is a hand's:
//! the history goes out with the ask, the model comes back with the answer. Series take turns by the hash of their names.
//!
//! Promises
//! - F-1 No series, history, hour or fit under way exceeds its limit, whatever names and values arrive.
//! - F-2 Every fit under way belongs to at most one series, and a series has at most one.
//! - F-3 An anomaly or exhaustion is open only for a series that is known.
//! - W-1, W-2 of every watch (`watch.rs`).

mod anomalies;
mod config;
mod damped;
mod derive;
mod exhaustion;
mod fill;
mod fit;
mod fourier;
mod interval;
mod levels;
mod linear;
mod member;
mod mstl;
mod naive;
mod outliers;
mod period;
mod portfolio;
mod rls;
mod sar;
mod scale;
mod series;
mod tail;
mod theta;
mod tracked;
mod view;
mod watch;
mod watch_model;

pub use anomalies::{Anomalies, MONTH_MS, anomalies, quiet, threshold};
pub use config::ForecastConfig;
pub use exhaustion::{Exhaustion, exhaustion};
pub use fit::{Fit, FitAsk, HAND, fit};
pub use member::{Member, alone};
pub use portfolio::{Ahead, HISTORY_MAX, HORIZON_MAX, KNOWN_MIN, NoOutlook, Outlook, PERIOD_MAX, Trial, Wish, forecast};
pub use series::{CELLS_MAX, Series};
pub use view::{ExhaustionView, ForecastView, PointView, SeriesView};
pub use watch::{Incident, Sight, Turn, Watch};
pub use watch_model::WatchModel;

use crate::core::{Core, Cx, Input, Interest, clip};
use crate::incidents::{Finding, Incidents};
use derive::Gathered;
use homeostat_schemas::{Answer, Event, EventKind, Ms, Rule, UnixMs, rule};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Bound;
use tracked::{HISTORY_HARD_MAX, Key, Pace, Tracked};
use xxhash_rust::xxh3::xxh3_64;

/// Series that are looked at in one tick, so that no tick takes long.
const TURN: usize = 1_000;
/// How often what ends by itself is looked after.
const SWEEP_MS: Ms = 1_000;
/// Hours before a forecast is asked for.
const HOURS_MIN: u64 = 8;
/// No setting lets more fits be under way.
const FITS_HARD_MAX: usize = 64;

/// The mind.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct ForecastCore {
    series: BTreeMap<Key, Tracked>,
    incidents: Incidents,
    /// Fits under way, by the id of the ask.
    fits: BTreeMap<String, UnderWay>,
    /// Where the next tick goes on closing and asking.
    closed_to: Option<Key>,
    asked_to: Option<Key>,
    swept_ms: UnixMs,
    refused: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct UnderWay {
    key: Key,
    until_ms: UnixMs,
    from_ms: UnixMs,
}

/// What a closed step means to others.
struct Found {
    key: Key,
    turn: Turn,
    at: UnixMs,
    value: f64,
    expected: f64,
    p: f64,
}

impl Core for ForecastCore {
    const NAME: &'static str = "forecast";
    const STATE_VERSION: u16 = 1;
    const INTEREST: Interest =
        Interest { events: &[EventKind::Metric, EventKind::Request, EventKind::Resource, EventKind::Pool], ..Interest::NONE };
    type Config = ForecastConfig;
    type View = ForecastView;

    fn step(&mut self, input: Input<'_>, cx: &mut Cx<'_, ForecastConfig>) {
        match input {
            Input::Event(event) => self.event(event, cx),
            Input::Answer(answer) => self.answer(answer, cx),
            Input::Tick => self.tick(cx),
            // The end of a file is no silence; the step that gathers stays open.
            Input::End | Input::Alert(_) | Input::Command(_) | Input::Outcome(_) | Input::Key(_) => {}
        }
    }

    fn broken_promise(&self, config: &ForecastConfig) -> Option<&'static str> {
        if self.fits.len() > FITS_HARD_MAX {
            return Some("F-1");
        }
        let asked = self.series.values().filter(|tracked| tracked.asked).count();
        let known = self.fits.values().filter(|fit| self.series.get(&fit.key).is_some_and(|tracked| tracked.asked)).count();
        if asked != known {
            return Some("F-2");
        }
        self.series.values().find_map(|tracked| tracked.broken_promise(history_max(config)))
    }

    fn view(&self, now: UnixMs, _config: &ForecastConfig) -> ForecastView {
        ForecastView {
            at_ms: now,
            series: self.series.iter().map(|(key, tracked)| view::series(key, tracked, now)).collect(),
            refused: self.refused,
            fits: self.fits.len(),
        }
    }

    fn incidents(&self) -> &Incidents {
        &self.incidents
    }
}

impl ForecastCore {
    fn event(&mut self, event: &Event, cx: &mut Cx<'_, ForecastConfig>) {
        match event {
            Event::Metric(metric) => {
                let limit = cx.config.limits.get(&metric.name).copied();
                self.take(&metric.service, &metric.name, metric.instance.as_deref(), Gathered::MEAN, metric.value, limit, cx);
            }
            Event::Request(request) => {
                let good = f64::from(u8::from(request.status < 500));
                self.take(&request.service, "success_rate", None, Gathered::SHARE, good, None, cx);
                self.take(&request.service, "p95_ms", None, Gathered::TIMES, request.took_us as f64 / 1_000.0, None, cx);
            }
            Event::Resource(resource) => {
                let limit = resource.memory_limit_bytes.filter(|limit| *limit > 0).map(|limit| limit as f64);
                let memory = resource.memory_bytes as f64;
                self.take(&resource.service, "memory_bytes", resource.instance.as_deref(), Gathered::MEAN, memory, limit, cx);
            }
            Event::Pool(pool) if pool.max > 0 => {
                let used = pool.used as f64 / pool.max as f64;
                let name = format!("pool.{}", pool.name);
                self.take(&pool.service, &name, pool.instance.as_deref(), Gathered::MEAN, used, Some(1.0), cx);
            }
            Event::Pool(_)
            | Event::Query(_)
            | Event::Call(_)
            | Event::Calls(_)
            | Event::Breaker(_)
            | Event::Span(_)
            | Event::Heartbeat(_)
            | Event::Cache(_)
            | Event::Sample(_)
            | Event::Order(_) => {}
        }
    }

    /// One more value of a series, in the step of log time.
    #[allow(clippy::too_many_arguments)] // one a part of what it is
    fn take(
        &mut self,
        service: &str,
        metric: &str,
        instance: Option<&str>,
        gathered: Gathered,
        value: f64,
        limit: Option<f64>,
        cx: &mut Cx<'_, ForecastConfig>,
    ) {
        let config = cx.config;
        if !value.is_finite() || !(config.only.is_empty() || config.only.iter().any(|start| metric.starts_with(start.as_str()))) {
            return;
        }
        let key =
            Key { service: service.to_owned(), metric: clip(metric).to_owned(), instance: clip(instance.unwrap_or_default()).to_owned() };
        if !self.series.contains_key(&key) {
            if self.series.len() >= config.series_max {
                self.refused = self.refused.saturating_add(1);
                return;
            }
            self.series.insert(key.clone(), Tracked::new(gathered, cx.now, step_ms(config)));
        }
        let pace = self.pace(config);
        let mut found = Vec::new();
        if let Some(tracked) = self.series.get_mut(&key) {
            if tracked.over(cx.now) {
                close(&key, tracked, cx.now, pace, &mut found);
            }
            tracked.heard_ms = cx.now;
            tracked.limit = limit.filter(|limit| limit.is_finite());
            tracked.gathered.add(value);
        }
        self.tell(found, cx);
    }

    fn tick(&mut self, cx: &mut Cx<'_, ForecastConfig>) {
        if cx.now >= self.swept_ms.saturating_add(SWEEP_MS) {
            self.swept_ms = cx.now;
            self.incidents.sweep(cx);
            self.limit(cx);
        }
        self.close_steps(cx);
        let late: Vec<String> = self.fits.iter().filter(|(_, fit)| fit.until_ms < cx.now).map(|(id, _)| id.clone()).collect();
        for id in late {
            if let Some(fit) = self.fits.remove(&id)
                && let Some(tracked) = self.series.get_mut(&fit.key)
            {
                tracked.asked = false;
            }
        }
        self.ask(cx);
    }

    /// Closes the steps that are over, of the next series in turn.
    fn close_steps(&mut self, cx: &mut Cx<'_, ForecastConfig>) {
        let pace = self.pace(cx.config);
        let mut found = Vec::new();
        let mut last = None;
        let mut looked = 0;
        for (key, tracked) in self.series.range_mut(after(self.closed_to.as_ref())).take(TURN) {
            looked += 1;
            if tracked.over(cx.now) {
                close(key, tracked, cx.now, pace, &mut found);
            }
            last = Some(key);
        }
        self.closed_to = if looked < TURN { None } else { last.cloned() };
        self.tell(found, cx);
    }

    /// Asks for the fits that are due, as many as may be under way.
    fn ask(&mut self, cx: &mut Cx<'_, ForecastConfig>) {
        let config = cx.config;
        let mut free = config.fits_max.min(FITS_HARD_MAX).saturating_sub(self.fits.len());
        let horizon = horizon(config);
        let timeout = config.fit_timeout_ms.clamp(1_000, fit::HOUR);
        let mut looked = 0;
        let mut last = None;
        for (key, tracked) in self.series.range_mut(after(self.asked_to.as_ref())).take(TURN) {
            if free == 0 {
                break;
            }
            looked += 1;
            last = Some(key.clone());
            let hours = tracked.watch.seen().saturating_mul(step_ms(config)) / fit::HOUR;
            if tracked.asked || !(tracked.watch.wants_model() || cx.now >= tracked.due_ms && hours >= HOURS_MIN) {
                continue;
            }
            let Ok(args) = serde_json::to_value(tracked.ask(horizon, level(config))) else { continue };
            free -= 1;
            let from_ms = tracked.next_hour_ms();
            // In a replay, answers find their way by what was asked.
            let what = format!("{:016x}", hash(key));
            let id = cx.ask(HAND, &what, args, timeout);
            tracked.asked = true;
            tracked.due_ms = due(key, tracked, cx.now, config);
            self.fits.insert(id, UnderWay { key: key.clone(), until_ms: cx.now.saturating_add(timeout), from_ms });
        }
        self.asked_to = if looked < TURN && free > 0 { None } else { last };
    }

    fn answer(&mut self, answer: &Answer, cx: &mut Cx<'_, ForecastConfig>) {
        let Some(under_way) = self.fits.remove(&answer.ask) else { return };
        let Some(tracked) = self.series.get_mut(&under_way.key) else { return };
        tracked.asked = false;
        let fit = if answer.ok { serde_json::from_value::<Fit>(answer.found.clone()).ok() } else { None };
        let Some(fit) = fit else {
            tracked.watch.no_model();
            return;
        };
        tracked.take(fit, under_way.from_ms, horizon(cx.config));
        self.exhaustion(&under_way.key, cx);
    }

    /// Raises or resolves the exhaustion of a series by what its last fit said.
    fn exhaustion(&mut self, key: &Key, cx: &mut Cx<'_, ForecastConfig>) {
        let Some(tracked) = self.series.get(key) else { return };
        let Some(outlook) = &tracked.outlook else { return };
        let at = |hours: Option<u32>| hours.map(|hours| outlook.from_ms.saturating_add(fit::HOUR.saturating_mul(u64::from(hours))));
        let near =
            outlook.exhaustion.filter(|found| at(found.p50).is_some_and(|at| at <= cx.now.saturating_add(cx.config.exhaustion_within_ms)));
        let Some(found) = near else {
            self.incidents
                .resolve(about(&rule::FORECAST_EXHAUSTION, key, format!("{} is no longer about to reach its limit", key.metric)), cx);
            return;
        };
        let hours = at(found.p50).unwrap_or_default().saturating_sub(cx.now) as f64 / fit::HOUR as f64;
        let finding = about(&rule::FORECAST_EXHAUSTION, key, format!("{} reaches its limit in about {hours:.0} h", key.metric))
            .evidence("limit", found.limit)
            .evidence("value", tracked.last.map(|(value, ..)| tracked.gathered.shown(value)))
            .evidence("probability", found.probability)
            .evidence("p10_ms", at(found.p10))
            .evidence("p50_ms", at(found.p50))
            .evidence("p90_ms", at(found.p90))
            .evidence("model", outlook.model.clone());
        self.incidents.fire(finding, cx);
    }

    /// Says what closed steps mean.
    fn tell(&mut self, found: Vec<Found>, cx: &mut Cx<'_, ForecastConfig>) {
        for Found { key, turn, at, value, expected, p } in found {
            let metric = &key.metric;
            if turn == Turn::Ended {
                self.incidents.resolve(about(&rule::FORECAST_ANOMALY, &key, format!("{metric} is as expected again")), cx);
                continue;
            }
            let mut finding = about(&rule::FORECAST_ANOMALY, &key, format!("{metric} is {}, expected {}", brief(value), brief(expected)))
                .evidence("value", value)
                .evidence("expected", expected)
                .evidence("p", p)
                .evidence("step_ms", step_ms(cx.config))
                .evidence("alarms_per_series_month", cx.config.alarms_per_series_month)
                .evidence("alarms_per_day", cx.config.alarms_per_day);
            finding.since_ms = Some(at);
            self.incidents.fire(finding, cx);
        }
    }

    /// Forgets what has been silent for too long, what a smaller limit has no room for, and what has another step.
    fn limit(&mut self, cx: &mut Cx<'_, ForecastConfig>) {
        let step = step_ms(cx.config);
        let keep = |tracked: &Tracked| tracked.heard_ms.saturating_add(cx.config.forget_after_ms) >= cx.now && tracked.has_step(step);
        let mut gone: Vec<Key> = self.series.iter().filter(|(_, tracked)| !keep(tracked)).map(|(key, _)| key.clone()).collect();
        let over = self.series.len().saturating_sub(gone.len()).saturating_sub(cx.config.series_max);
        gone.extend(
            self.series.iter().filter(|(_, tracked)| keep(tracked)).rev().take(over).map(|(key, _)| key.clone()).collect::<Vec<_>>(),
        );
        for key in gone {
            self.series.remove(&key);
            for rule in [&rule::FORECAST_ANOMALY, &rule::FORECAST_EXHAUSTION] {
                self.incidents.resolve(about(rule, &key, format!("{} is no longer watched", key.metric)), cx);
            }
        }
        // A fit for a series that is gone has nobody to come back to.
        self.fits.retain(|_, fit| self.series.get(&fit.key).is_some_and(|tracked| tracked.asked));
    }

    /// The budget in force: that of a series or that of all of them, whichever is stricter.
    fn pace(&self, config: &ForecastConfig) -> Pace {
        let step = step_ms(config);
        let a_day = self.series.len() as f64 * (fit::HOUR * 24) as f64 / step as f64;
        let all = (a_day / config.alarms_per_day.max(1e-9)).max(1.0).ln();
        Pace {
            threshold: threshold(Some(step), config.alarms_per_series_month).max(all),
            quiet: quiet(Some(step)),
            history_max: history_max(config),
            requests_min: config.requests_min,
        }
    }
}

/// Closes the steps of a series that are over, and notes the turns of its incident.
fn close(key: &Key, tracked: &mut Tracked, now: UnixMs, pace: Pace, found: &mut Vec<Found>) {
    tracked.close(now, pace, |tracked, sight, at| {
        if sight.turn != Turn::None {
            let (value, expected, p) = tracked.last.unwrap_or_default();
            let shown = |v: f64| tracked.gathered.shown(v);
            let (value, expected) = (shown(value), expected.map_or(f64::NAN, shown));
            found.push(Found { key: key.clone(), turn: sight.turn, at, value, expected, p: p.unwrap_or(1.0) });
        }
    });
}

/// When the next forecast is due: every series has its own place in the time between two.
fn due(key: &Key, tracked: &Tracked, now: UnixMs, config: &ForecastConfig) -> UnixMs {
    let refresh = config.refresh_ms.max(fit::HOUR / 2);
    // What may run out is looked at more often.
    let refresh = if tracked.limit.is_some() { refresh.min((refresh / 6).max(fit::HOUR / 2)) } else { refresh };
    let place = hash(key) % refresh;
    let turns = now.saturating_sub(place) / refresh + 1;
    turns.saturating_mul(refresh).saturating_add(place)
}

fn hash(key: &Key) -> u64 {
    xxh3_64([key.service.as_bytes(), b"\0", key.metric.as_bytes(), b"\0", key.instance.as_bytes()].concat().as_slice())
}

fn after(key: Option<&Key>) -> (Bound<&Key>, Bound<&Key>) {
    (key.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)
}

/// A finding about a series.
fn about(rule: &'static Rule, key: &Key, summary: String) -> Finding {
    let finding = Finding::new(rule, &key.service, summary).label("metric", key.metric.clone());
    if key.instance.is_empty() { finding } else { finding.label("instance", key.instance.clone()) }
}

/// A number for a person.
fn brief(value: f64) -> String {
    let size = value.abs();
    if size >= 1e6 || size > 0.0 && size < 1e-3 { format!("{value:.2e}") } else { format!("{value:.3}") }
}

fn step_ms(config: &ForecastConfig) -> Ms {
    config.step_ms.clamp(1_000, fit::HOUR)
}

fn horizon(config: &ForecastConfig) -> usize {
    usize::try_from(config.horizon_h).unwrap_or_default().clamp(1, 720)
}

fn level(config: &ForecastConfig) -> f64 {
    if config.level > 0.0 && config.level < 1.0 { config.level } else { 0.95 }
}

fn history_max(config: &ForecastConfig) -> usize {
    config.history_max.clamp(64, HISTORY_HARD_MAX)
}

#[cfg(test)]
mod tests;
