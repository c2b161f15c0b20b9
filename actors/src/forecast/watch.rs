//! Watching a series: what every value should have been, how unusual it is, and when that is an incident.
//!
//! 1. The autoregression says what comes next; the error is measured in units of the recent errors.
//! 2. Its conformal p-value becomes an e-value, `∫ κ p^(κ−1) dκ` (Vovk and Wang 2021), which is at most 1 on average while
//!    nothing happens.
//! 3. One alarm in `A` values is the budget of false alarms, and is shared out in halves (a combined Shewhart and CUSUM chart; Lucas 1982):
//!    - a value by itself, whose p-value is at most `1 / 2A`;
//!    - evidence that gathers: the e-CUSUM `S ← max(0, S + ln e)`, at a height that it reaches once in `2A` even p-values (an e-detector;
//!      Shin, Ramdas and Rinaldo 2023; but by its mean run length and not by the bound, which is twenty times as strict).
//! 4. Either begins an incident, which ends when nothing unusual was seen for a while: one alarm, however long. A series that
//!    had incidents of late must show more for the next.
//!
//! Nothing unusual gets into what is expected next: errors are drawn in before they enter the history, so that a spike does not
//! echo a season later. An incident that stays on one side is a new level: the history moves there, and the season keeps its shape.
//!
//! Promises
//! - W-1 The history is at most as long as was said, whatever comes.
//! - W-2 No value, however wild, makes an expectation that is not a number.

use super::fill::fill;
use super::rls::Rls;
use super::tail::Tail;
use super::watch_model::WatchModel;
use serde::{Deserialize, Serialize};

/// Values before the first model.
pub(super) const FIRST_FIT: usize = 48;
/// An error enters the history as at most this many times the usual.
pub(super) const DRAWN_IN: f64 = 4.0;
/// How fast the usual error follows.
const USUAL_RATE: f64 = 0.01;
/// An error with a smaller p-value is unusual: it keeps an incident open.
const UNUSUAL: f64 = 0.01;
/// So many unusual errors to one side, one after the other but for a few, are a new level.
const NEW_LEVEL: u32 = 24;
/// The evidence with which an incident is taken to have begun.
const ONSET: f64 = 3.0;
/// The e-CUSUM of even p-values reaches a height h once in at least so many times e^h values, for every h from [`HEIGHT_MIN`] on (counted
/// over 10⁸ draws: 19.0 times at 2, 22.5 at 3, 28.1 at 5; `alarms_on_even_p_values_keep_to_the_budget` counts again).
const RUN_LENGTH: f64 = 19.0;
/// Less evidence is none.
const HEIGHT_MIN: f64 = 2.0;
/// By how much every incident of late raises what the next one must show.
const AGAIN: f64 = 0.3;
/// After so many quiet times an incident counts half: a week, when the quiet time is half a day.
const FADE: f64 = 14.0;
/// A longer gap widens no further.
const GAP_MAX: u32 = 100;
/// Values between two fits, once the history is long.
const REFIT: u64 = 2_016;

/// What a watch says of a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sight {
    /// What was expected; nothing before the first model.
    pub expected: Option<f64>,
    /// How often an error as large as this is to be expected; nothing of a missing value or before enough errors are known.
    pub p: Option<f64>,
    /// What became of the incident.
    pub turn: Turn,
}

/// What became of the incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Nothing.
    None,
    /// One began with this value.
    Began,
    /// It ended: its last unusual value is the one given.
    Ended,
}

/// An incident.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// The value with which the evidence began, counted from the first value of the watch.
    pub start: u64,
    /// The last unusual value.
    pub end: u64,
    /// The least p-value in it.
    pub p: f64,
    /// The value that had it.
    pub value: f64,
    /// What was expected in its place.
    pub expected: f64,
}

/// One series under watch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    /// Values so far.
    seen: u64,
    /// When the last model was fitted.
    fitted: u64,
    model: Option<Learning>,
    /// As it came, missing values as not-a-numbers; the newest last.
    raw: Vec<f64>,
    /// What the model is fed: complete, errors drawn in.
    clean: Vec<f64>,
    tail: Tail,
    usual: f64,
    /// The usual error does not fall below this.
    floor: f64,
    /// Values missing since the last known one.
    gap: u32,
    evidence: f64,
    /// Where the evidence began to grow.
    began: u64,
    incident: Option<Incident>,
    quiet: u32,
    /// Incidents of late, each fading by half in a week of values.
    lately: f64,
    /// Unusual errors to one side: positive above, negative below; and their sum.
    side: i32,
    side_sum: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Learning {
    centre: f64,
    spread: f64,
    periods: Vec<usize>,
    lags: Vec<usize>,
    rls: Rls,
}

impl Watch {
    /// Values so far.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// The incident that is open.
    #[must_use]
    pub fn incident(&self) -> Option<&Incident> {
        self.incident.as_ref()
    }

    /// The periods that the model knows.
    #[must_use]
    pub fn periods(&self) -> &[usize] {
        self.model.as_ref().map_or(&[], |model| &model.periods)
    }

    /// The history, missing values as not-a-numbers, the newest last: what a model is fitted to.
    #[must_use]
    pub fn history(&self) -> &[f64] {
        &self.raw
    }

    /// Is a new model due? At first often, then whenever there is a quarter more, then regularly.
    #[must_use]
    pub fn wants_model(&self) -> bool {
        let since = self.seen - self.fitted;
        self.raw.len() >= FIRST_FIT && (self.model.is_none() && since >= 12 || since >= (self.fitted / 4).clamp(12, REFIT))
    }

    /// A fit was tried and there is no model.
    pub fn no_model(&mut self) {
        self.fitted = self.seen;
    }

    /// Takes up a model.
    pub fn learn(&mut self, model: WatchModel) {
        self.fitted = self.seen;
        let reach = model.lags.last().copied().unwrap_or_default();
        if !model.sound() || reach >= self.raw.len() || model.beta.len() != model.lags.len() + 1 {
            return;
        }
        let Some(rls) = Rls::new(model.beta, model.inverse) else { return };
        let learning = Learning { centre: model.centre, spread: model.spread, periods: model.periods, lags: model.lags, rls };
        let Some(full) = fill(&self.raw, &learning.periods) else { return };
        // The history in the eyes of this model: what its usual error is, and what is to be drawn in.
        let mut x = vec![0.0; learning.rls.beta.len()];
        let mut sizes = Vec::with_capacity(full.len() - reach);
        let mut usual = learning.usual(&full);
        let floor = 0.4 * usual;
        self.clean = full;
        for t in reach..self.clean.len() {
            let inside = learning.expect(&self.clean[..t], &mut x);
            if self.raw[t].is_finite() {
                let miss = learning.inside(self.raw[t]) - inside;
                sizes.push(miss.abs() / usual);
                let bound = DRAWN_IN * usual;
                let drawn = miss.clamp(-bound, bound);
                usual = follow(usual, drawn, floor);
                self.clean[t] = learning.outside(inside + drawn);
            } else {
                self.clean[t] = learning.outside(inside);
            }
        }
        if !self.clean.iter().all(|v| v.is_finite()) {
            self.model = None;
            self.clean = fill(&self.raw, &[]).unwrap_or_default();
            return;
        }
        self.usual = usual;
        self.floor = floor;
        let before = std::mem::take(&mut self.tail);
        let same = self.model.as_ref().is_some_and(|model| model.lags == learning.lags);
        self.tail = Tail::of(&sizes, same.then_some(before));
        self.model = Some(learning);
    }

    /// Takes the next value, not a number when it is missing. `threshold` is `ln A`, so many `quiet` values end an incident, and
    /// about `history_max` values are kept.
    pub fn push(&mut self, value: f64, threshold: f64, quiet: usize, history_max: usize) -> Sight {
        let place = self.seen;
        self.lately *= (-std::f64::consts::LN_2 / (FADE * quiet.max(1) as f64)).exp();
        self.seen += 1;
        let known = value.is_finite() && value.abs() < 1e100;
        let mut sight = Sight { expected: None, p: None, turn: Turn::None };
        let kept = match &mut self.model {
            Some(model) if self.clean.len() >= model.reach() => {
                let mut x = vec![0.0; model.rls.beta.len()];
                let inside = model.expect(&self.clean, &mut x);
                let expected = model.outside(inside);
                if !expected.is_finite() {
                    // The model has run away: it is given up, and the next fit begins anew.
                    self.model = None;
                    self.fitted = place;
                    if known { value } else { self.clean.last().copied().unwrap_or_default() }
                } else if known {
                    sight.expected = Some(expected);
                    let miss = model.inside(value) - inside;
                    // After a gap the expectation stands on expectations, and misses more, like a random walk.
                    let size = miss.abs() / (self.usual * f64::from(self.gap.min(GAP_MAX) + 1).sqrt());
                    sight.p = self.tail.p(size);
                    let bound = DRAWN_IN * self.usual;
                    let drawn = miss.clamp(-bound, bound);
                    if self.incident.is_none() {
                        model.rls.learn(&x, drawn);
                    }
                    self.tail.push(size, self.incident.is_none());
                    self.usual = follow(self.usual, drawn, self.floor);
                    let kept = model.outside(inside + drawn);
                    self.side(sight.p, miss);
                    kept
                } else {
                    sight.expected = Some(expected);
                    expected
                }
            }
            _ if known => value,
            _ => self.clean.last().copied().unwrap_or_default(),
        };
        self.gap = if known { 0 } else { self.gap.saturating_add(1) };
        self.keep(if known { value } else { f64::NAN }, kept, history_max);
        if let (Some(p), Some(expected)) = (sight.p, sight.expected) {
            sight.turn = self.weigh(place, p, value, expected, threshold, quiet);
        }
        sight
    }

    /// Evidence, and what follows from it.
    pub(super) fn weigh(&mut self, place: u64, p: f64, value: f64, expected: f64, threshold: f64, quiet: usize) -> Turn {
        if let Some(incident) = &mut self.incident {
            if p < UNUSUAL {
                incident.end = place;
                self.quiet = 0;
                if p < incident.p {
                    (incident.p, incident.value, incident.expected) = (p, value, expected);
                }
                return Turn::None;
            }
            self.quiet += 1;
            if (self.quiet as usize) < quiet {
                return Turn::None;
            }
            self.incident = None;
            self.evidence = 0.0;
            return Turn::Ended;
        }
        if self.evidence < ONSET {
            self.began = place;
        }
        self.evidence = (self.evidence + e_value(p).ln()).max(0.0);
        // What the next one must show; two ways to show it, half of the budget for each.
        let half = threshold * (1.0 + AGAIN * self.lately) + std::f64::consts::LN_2;
        let alone = -p.ln() >= half;
        if self.evidence < (half - RUN_LENGTH.ln()).max(HEIGHT_MIN) && !alone {
            return Turn::None;
        }
        if alone {
            // A value that shows an incident by itself is where it begins.
            self.began = place;
        }
        self.lately += 1.0;
        self.incident = Some(Incident { start: self.began, end: place, p, value, expected });
        self.quiet = 0;
        self.side = 0;
        self.side_sum = 0.0;
        Turn::Began
    }

    /// Counts unusual errors to one side; enough of them are a new level, to which the history moves.
    fn side(&mut self, p: Option<f64>, miss: f64) {
        let sign = if miss > 0.0 { 1 } else { -1 };
        if self.incident.is_none() || p.is_none_or(|p| p > 0.05) {
            // A usual error takes one back.
            self.side -= self.side.signum();
            return;
        }
        if self.side.signum() == -sign {
            self.side = 0;
            self.side_sum = 0.0;
        }
        self.side += sign;
        self.side_sum += miss;
        if self.side.unsigned_abs() >= NEW_LEVEL
            && let Some(model) = &self.model
        {
            let by = self.side_sum / f64::from(NEW_LEVEL) * model.spread;
            self.clean.iter_mut().for_each(|v| *v += by);
            self.side = 0;
            self.side_sum = 0.0;
        }
    }

    fn keep(&mut self, raw: f64, clean: f64, history_max: usize) {
        self.raw.push(raw);
        self.clean.push(clean);
        let max = history_max.max(FIRST_FIT);
        // In steps, so that the rest is not moved for every value.
        if self.raw.len() > max + max / 8 {
            let over = self.raw.len() - max;
            self.raw.drain(..over);
            self.clean.drain(..over);
        }
    }

    /// The first promise that does not hold.
    #[must_use]
    pub fn broken_promise(&self, history_max: usize) -> Option<&'static str> {
        let max = history_max.max(FIRST_FIT);
        if self.raw.len() > max + max / 8 || self.raw.len() != self.clean.len() {
            return Some("W-1");
        }
        if !self.clean.iter().all(|v| v.is_finite()) || !self.evidence.is_finite() {
            return Some("W-2");
        }
        None
    }
}

impl Learning {
    /// The usual size of its errors over complete values: by their median, so that the largest do not count.
    fn usual(&self, values: &[f64]) -> f64 {
        let mut x = vec![0.0; self.rls.beta.len()];
        let first = self.reach().max(values.len().saturating_sub(400));
        let mut sizes: Vec<f64> =
            (first..values.len()).map(|t| (self.inside(values[t]) - self.expect(&values[..t], &mut x)).abs()).collect();
        sizes.sort_unstable_by(f64::total_cmp);
        // 1.18 times the median is the mean of a normal variable's size.
        let usual = 1.18 * sizes.get(sizes.len() / 2).copied().unwrap_or_default();
        let mean = sizes.iter().sum::<f64>() / sizes.len().max(1) as f64;
        let usual = usual.max(0.1 * mean);
        // Where nothing was ever missed, a thousandth of the level is nothing.
        let nothing = 1e-3 * (self.centre / self.spread).abs().clamp(1.0, 1e12);
        if usual.is_finite() && usual > 1e-12 { usual } else { nothing }
    }

    fn reach(&self) -> usize {
        self.lags.last().copied().unwrap_or_default()
    }

    fn inside(&self, value: f64) -> f64 {
        (value - self.centre) / self.spread
    }

    fn outside(&self, value: f64) -> f64 {
        value * self.spread + self.centre
    }

    /// What comes after `history`, in the units of the model; `x` becomes the row.
    fn expect(&self, history: &[f64], x: &mut [f64]) -> f64 {
        let n = history.len();
        x[0] = 1.0;
        for (cell, lag) in x[1..].iter_mut().zip(&self.lags) {
            *cell = self.inside(history[n - lag]);
        }
        x.iter().zip(&self.rls.beta).fold(0.0, |sum, (a, b)| sum + a * b)
    }
}

/// The usual error after one more.
fn follow(usual: f64, drawn: f64, floor: f64) -> f64 {
    (usual + USUAL_RATE * (drawn.abs().min(2.5 * usual) - usual)).max(floor)
}

/// `∫₀¹ κ p^(κ−1) dκ`: at most 1 on average for a p-value.
fn e_value(p: f64) -> f64 {
    let p = p.clamp(1e-15, 1.0);
    let l = p.ln();
    // Near 1 the formula is 0/0; its limit is one half.
    if l > -1e-4 { 0.5 } else { (1.0 - p + p * l) / (p * l * l) }
}
