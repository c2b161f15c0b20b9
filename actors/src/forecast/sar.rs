//! SAR: a ridge autoregression on the last few values and on the values around one and two seasons ago.
//!
//! An AR model whose lags are chosen by the periods instead of by a search: 1, 2, 3 and, for every period m, m−1, m, m+1 and 2m
//! (the lags that a multiplicative seasonal AR of Box and Jenkins expands to). Fitted by one pass of least squares; forecasts of
//! several steps feed on themselves.

use super::linear::Normal;

/// Rows below this for every coefficient, and the longest lag is left out.
const ROWS_FOR_LAG: usize = 2;
/// Rows below this for every coefficient, and nothing is fitted: it would follow the noise.
const ROWS_TO_FIT: usize = 6;

/// Which lags a model has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    /// 1, 2, 3 and m−1, m, m+1, 2m.
    Narrow,
    /// The whole first day or season up to 24, and a wider neighbourhood of m and 2m.
    Wide,
}

/// A fitted model, in the units of the series it was fitted to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sar {
    pub(crate) lags: Vec<usize>,
    /// The level, then one coefficient a lag.
    pub(crate) beta: Vec<f64>,
}

/// The lags for these periods that a history of `n` values supports, ascending.
pub(crate) fn lags(periods: &[usize], width: Width, n: usize) -> Vec<usize> {
    let mut lags: Vec<usize> = match width {
        Width::Narrow => vec![1, 2, 3],
        Width::Wide => (1..=periods.first().map_or(6, |m| (*m).clamp(3, 24))).collect(),
    };
    for &m in periods {
        match width {
            Width::Narrow => lags.extend([m - 1, m, m + 1, 2 * m]),
            Width::Wide => lags.extend([m - 2, m - 1, m, m + 1, m + 2, 2 * m - 1, 2 * m, 2 * m + 1]),
        }
    }
    lags.retain(|&lag| lag > 0);
    lags.sort_unstable();
    lags.dedup();
    while let Some(&longest) = lags.last() {
        if n >= longest + ROWS_FOR_LAG * (lags.len() + 1) {
            break;
        }
        lags.pop();
    }
    lags
}

impl Sar {
    /// Fits by ridge regression; `values` are standardised and complete, `known` says which of them were measured: a value that
    /// was filled in is never a target. `None` when the history is too short or says nothing.
    pub(crate) fn fit(values: &[f64], known: &[bool], periods: &[usize], width: Width, ridge: f64) -> Option<Sar> {
        let (lags, normal, penalty) = Self::normal(values, known, periods, width, ridge)?;
        let beta = normal.solve(&penalty)?;
        Some(Sar { lags, beta })
    }

    /// The same, with the inverse of the normal equations, by rows.
    pub(crate) fn fit_with_inverse(values: &[f64], known: &[bool], periods: &[usize], width: Width, ridge: f64) -> Option<(Sar, Vec<f64>)> {
        let (lags, normal, penalty) = Self::normal(values, known, periods, width, ridge)?;
        let beta = normal.solve(&penalty)?;
        Some((Sar { lags, beta }, normal.inverse(&penalty)?))
    }

    fn normal(values: &[f64], known: &[bool], periods: &[usize], width: Width, ridge: f64) -> Option<(Vec<usize>, Normal, Vec<f64>)> {
        let lags = lags(periods, width, values.len());
        let &longest = lags.last()?;
        let p = lags.len() + 1;
        let mut normal = Normal::new(p);
        let mut x = vec![1.0; p];
        for t in longest..values.len() {
            if known[t] {
                for (cell, &lag) in x[1..].iter_mut().zip(&lags) {
                    *cell = values[t - lag];
                }
                normal.add(&x, values[t], 1.0);
            }
        }
        if normal.rows() < ROWS_TO_FIT * p {
            return None;
        }
        let mut penalty = vec![ridge; p];
        penalty[0] = 1e-6;
        Some((lags, normal, penalty))
    }

    /// How many values it looks back.
    pub(crate) fn reach(&self) -> usize {
        self.lags.last().copied().unwrap_or_default()
    }

    /// The next value after `history`, which reaches back far enough.
    pub(crate) fn next(&self, history: &[f64]) -> f64 {
        let n = history.len();
        self.lags.iter().zip(&self.beta[1..]).fold(self.beta[0], |sum, (&lag, b)| sum + b * history[n - lag])
    }

    /// The next `horizon` values after `history`; nothing when that does not reach back far enough.
    pub(crate) fn forecast(&self, history: &[f64], horizon: usize) -> Option<Vec<f64>> {
        let reach = self.reach();
        let mut path = Vec::with_capacity(reach + horizon);
        path.extend_from_slice(&history[history.len().checked_sub(reach)?..]);
        for _ in 0..horizon {
            path.push(self.next(&path));
        }
        path.drain(..reach);
        Some(path)
    }
}
