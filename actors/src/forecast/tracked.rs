//! One series of the mind: what gathers now, its watch, its hours, and what the last fit said.

use super::derive::Gathered;
use super::exhaustion::Exhaustion;
use super::fit::{Fit, FitAsk, HOUR};
use super::watch::{Sight, Turn, Watch};
use homeostat_schemas::{Ms, UnixMs};
use serde::{Deserialize, Serialize};

/// Hours that are kept: five weeks.
pub(super) const HOURS_MAX: usize = 840;
/// A silence of so many steps begins a series anew: nothing known of it counts any more.
const SILENCE_MAX: u64 = 600;

/// Which series.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Key {
    pub(super) service: String,
    pub(super) metric: String,
    /// Empty when it is of the whole service.
    pub(super) instance: String,
}

/// A series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Tracked {
    pub(super) gathered: Gathered,
    /// The step that gathers, since the epoch.
    cell: u64,
    step_ms: Ms,
    pub(super) heard_ms: UnixMs,
    pub(super) watch: Watch,
    /// The last value and what was said of it.
    pub(super) last: Option<(f64, Option<f64>, Option<f64>)>,
    /// Means by the hour, missing ones not numbers; the hour that gathers, since the epoch.
    hours: Vec<f64>,
    hour: u64,
    hour_mean: (f64, u32),
    pub(super) limit: Option<f64>,
    pub(super) outlook: Option<Outlook>,
    /// When the next forecast is due.
    pub(super) due_ms: UnixMs,
    /// A fit is under way.
    pub(super) asked: bool,
}

/// What the last fit said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Outlook {
    /// The first hour of the forecast.
    pub(super) from_ms: UnixMs,
    pub(super) model: String,
    pub(super) periods: Vec<usize>,
    pub(super) steps: Vec<[f64; 3]>,
    pub(super) insufficient: Option<String>,
    pub(super) exhaustion: Option<Exhaustion>,
}

impl Tracked {
    pub(super) fn new(gathered: Gathered, now: UnixMs, step_ms: Ms) -> Tracked {
        Tracked {
            gathered,
            cell: now / step_ms,
            step_ms,
            heard_ms: now,
            watch: Watch::default(),
            last: None,
            hours: Vec::new(),
            hour: now / HOUR,
            hour_mean: (0.0, 0),
            limit: None,
            outlook: None,
            due_ms: 0,
            asked: false,
        }
    }

    /// Is its step of this length?
    pub(super) fn has_step(&self, step_ms: Ms) -> bool {
        self.step_ms == step_ms
    }

    /// Is its step over?
    pub(super) fn over(&self, now: UnixMs) -> bool {
        now / self.step_ms > self.cell
    }

    /// Closes the steps that are over: the one that gathered, and those since in which nothing came. What was seen of each is told to
    /// `told`, with the time at which its step began.
    pub(super) fn close(&mut self, now: UnixMs, pace: Pace, mut told: impl FnMut(&Self, Sight, UnixMs)) {
        let current = now / self.step_ms;
        if current.saturating_sub(self.cell) > SILENCE_MAX {
            let anew = Tracked::new(self.gathered.empty(), now, self.step_ms);
            let before = std::mem::replace(self, Tracked { limit: self.limit, heard_ms: self.heard_ms, asked: self.asked, ..anew });
            if before.watch.incident().is_some() {
                told(self, Sight { expected: None, p: None, turn: Turn::Ended }, now);
            }
            return;
        }
        while self.cell < current {
            let at = self.cell.saturating_mul(self.step_ms);
            let value = self.gathered.close(pace.requests_min);
            self.by_hour(at, value);
            let sight = self.watch.push(value, pace.threshold, pace.quiet, pace.history_max);
            if value.is_finite() {
                self.last = Some((value, sight.expected, sight.p));
            }
            told(self, sight, at);
            self.cell += 1;
        }
    }

    fn by_hour(&mut self, at: UnixMs, value: f64) {
        let hour = at / HOUR;
        while self.hour < hour {
            let (mean, count) = std::mem::take(&mut self.hour_mean);
            self.hours.push(if count > 0 { mean } else { f64::NAN });
            self.hour += 1;
        }
        if self.hours.len() > HOURS_MAX + HOURS_MAX / 8 {
            let over = self.hours.len() - HOURS_MAX;
            self.hours.drain(..over);
        }
        if value.is_finite() {
            self.hour_mean.1 += 1;
            self.hour_mean.0 += (value - self.hour_mean.0) / f64::from(self.hour_mean.1);
        }
    }

    /// What a hand is asked about it.
    pub(super) fn ask(&self, horizon: usize, level: f64) -> FitAsk {
        let list = |values: &[f64]| values.iter().map(|v| v.is_finite().then_some(*v)).collect();
        FitAsk { step_ms: self.step_ms, cells: list(self.watch.history()), hours: list(&self.hours), horizon, level, limit: self.limit }
    }

    /// The first hour that is not among the closed ones.
    pub(super) fn next_hour_ms(&self) -> UnixMs {
        self.hour.saturating_mul(HOUR)
    }

    /// Takes what a fit found for a history that ended at `from_ms`.
    pub(super) fn take(&mut self, fit: Fit, from_ms: UnixMs, horizon: usize) {
        match fit.watch {
            Some(model) => self.watch.learn(model),
            None => self.watch.no_model(),
        }
        self.outlook = Some(Outlook {
            from_ms,
            model: fit.model.chars().take(200).collect(),
            periods: fit.periods.into_iter().take(3).collect(),
            steps: fit.steps.into_iter().take(horizon).collect(),
            insufficient: fit.insufficient,
            exhaustion: fit.exhaustion,
        });
    }

    pub(super) fn broken_promise(&self, history_max: usize) -> Option<&'static str> {
        if self.hours.len() > HOURS_MAX + HOURS_MAX / 8 {
            return Some("F-1");
        }
        // A shorter limit is kept from the next value on.
        self.watch.broken_promise(history_max.max(self.watch.history().len().min(HISTORY_HARD_MAX)))
    }
}

/// No setting lets a history be longer.
pub(super) const HISTORY_HARD_MAX: usize = 8_192;

/// What a step is closed with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) threshold: f64,
    pub(super) quiet: usize,
    pub(super) history_max: usize,
    pub(super) requests_min: u64,
}
