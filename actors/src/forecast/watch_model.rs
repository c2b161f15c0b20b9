//! The model of a watch: what a fit finds in a history, as plain numbers that can go through the log.

use super::fill::fill;
use super::period;
use super::sar::{Sar, Width};
use super::scale::Scale;
use super::watch::{DRAWN_IN, FIRST_FIT};
use serde::{Deserialize, Serialize};

/// Penalty of the fit.
const RIDGE: f64 = 1e-2;

/// The model of a watch, as a fit makes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WatchModel {
    /// Are values looked at in logarithms?
    pub log: bool,
    /// What is subtracted.
    pub centre: f64,
    /// What is divided by.
    pub spread: f64,
    /// Periods, in steps.
    pub periods: Vec<usize>,
    /// Lags, in steps, ascending.
    pub lags: Vec<usize>,
    /// The level and one coefficient a lag.
    pub beta: Vec<f64>,
    /// Inverse of the normal equations, by rows.
    pub inverse: Vec<f64>,
}

impl WatchModel {
    /// Fits the model of a watch; `values` may miss some. `periods` are found when nothing is said. `None` when too little is
    /// known.
    #[must_use]
    pub fn fit(values: &[f64], periods: Option<&[usize]>, step_ms: Option<u64>) -> Option<WatchModel> {
        let known: Vec<bool> = values.iter().map(|v| v.is_finite()).collect();
        if known.iter().filter(|known| **known).count() < FIRST_FIT / 2 {
            return None;
        }
        let mut periods: Vec<usize> = match periods {
            Some(given) => given.to_vec(),
            None => period::detect(&fill(values, &[])?, step_ms),
        };
        periods.retain(|m| *m >= 2 && values.len() >= 2 * *m);
        periods.sort_unstable();
        periods.dedup();
        periods.truncate(2);
        let full = fill(values, &periods)?;
        let scale = Scale::of(&full, false);
        let inside = scale.all_inside(&full);
        let (sar, inverse) = {
            let (first, _) = Sar::fit_with_inverse(&inside, &known, &periods, Width::Narrow, RIDGE)?;
            Sar::fit_with_inverse(&drawn_in(&first, &inside), &known, &periods, Width::Narrow, RIDGE)?
        };
        let (centre, spread) = scale.parts();
        Some(WatchModel { log: false, centre, spread, periods, lags: sar.lags, beta: sar.beta, inverse })
    }

    /// Is it one that a watch can use?
    pub(super) fn sound(&self) -> bool {
        let ascending = self.lags.windows(2).all(|pair| pair[0] < pair[1]);
        self.centre.is_finite() && self.spread.is_finite() && self.spread > 0.0 && self.lags.first() >= Some(&1) && ascending
    }
}

/// The values, those drawn in that are far from what a first fit expects.
fn drawn_in(sar: &Sar, values: &[f64]) -> Vec<f64> {
    let reach = sar.reach();
    let misses: Vec<f64> = (reach..values.len()).map(|t| values[t] - sar.next(&values[..t])).collect();
    let mut sizes: Vec<f64> = misses.iter().map(|miss| miss.abs()).collect();
    sizes.sort_unstable_by(f64::total_cmp);
    let mean = sizes.iter().sum::<f64>() / sizes.len().max(1) as f64;
    let bound = DRAWN_IN * (2.0 * sizes.get(sizes.len() / 2).copied().unwrap_or_default()).max(0.25 * mean);
    let mut drawn = values.to_vec();
    if bound > 0.0 {
        for (v, miss) in drawn[reach..].iter_mut().zip(misses) {
            *v -= miss - miss.clamp(-bound, bound);
        }
    }
    drawn
}
