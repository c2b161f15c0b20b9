//! MSTL (Bandara, Hyndman and Bergmeir 2021): seasons by LOESS, one period after the other, and a damped trend on what they leave.
//!
//! The decomposition is that of `augurs`, which computes in 32 bits: the values must be centred and of unit spread
//! ([`super::scale::Scale`]), or a series of 1e9 ± 20 would be lost in rounding. Its intervals are not used, and of its trends neither:
//! the backtest asks for forecasts from many places of one series, and a trend that was fitted there knows only its end.

use super::damped::Damped;
use augurs::{Fit, mstl::MSTLModel};

/// A fitted model, in the units of the series it was fitted to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mstl {
    /// For every value of the fitted series the sum of its seasons, and then one longest season more.
    seasons: Vec<f64>,
    periods: Vec<Vec<f64>>,
    trend: Damped,
}

impl Mstl {
    /// Fits; periods without two seasons are left out, and without any period it is the damped trend alone. `None` when there are
    /// too few values.
    pub(crate) fn fit(values: &[f64], periods: &[usize]) -> Option<Mstl> {
        let n = values.len();
        let periods: Vec<usize> = periods.iter().copied().filter(|m| *m >= 2 && n / 2 >= *m).collect();
        if periods.is_empty() {
            return Some(Mstl { seasons: vec![0.0; n], periods: Vec::new(), trend: Damped::fit(values)? });
        }
        let model = MSTLModel::naive(periods.clone()).fit(values).ok()?;
        let parts = model.fit();
        let mut seasons = vec![0.0; n];
        for season in parts.seasonal() {
            seasons.iter_mut().zip(season).for_each(|(sum, s)| *sum += f64::from(*s));
        }
        let adjusted: Vec<f64> = values.iter().zip(&seasons).map(|(v, s)| v - s).collect();
        // The last season of each, to be repeated.
        let last =
            parts.seasonal().iter().zip(&periods).map(|(season, m)| season[n - m..].iter().copied().map(f64::from).collect()).collect();
        Some(Mstl { seasons, periods: last, trend: Damped::fit(&adjusted)? })
    }

    /// The next `horizon` values after `history`, which begins where the fitted series began and is not shorter.
    pub(crate) fn forecast(&self, history: &[f64], horizon: usize) -> Vec<f64> {
        let adjusted = history.iter().enumerate().map(|(t, v)| v - self.season(t));
        let mut path = self.trend.forecast(adjusted, horizon);
        path.iter_mut().enumerate().for_each(|(k, v)| *v += self.season(history.len() + k));
        path
    }

    fn season(&self, t: usize) -> f64 {
        match t.checked_sub(self.seasons.len()) {
            None => self.seasons[t],
            Some(beyond) => self.periods.iter().fold(0.0, |sum, last| sum + last[beyond % last.len()]),
        }
    }
}
