//! Fourier terms and a piecewise linear trend, by ridge regression: the model of Prophet (Taylor and Letham 2018) without its
//! sampler.
//!
//! Trend: a line with hinges at equal distances in the first 80 % of the history, their changes of slope shrunk. Season: sines and
//! cosines of every period, shrunk with their frequency. Deviations from Prophet: normal (ridge) instead of Laplace priors,
//! and what is left at the end of the history fades out at the rate of its own lag-1 correlation instead of being dropped at once.

use super::linear::Normal;

/// Hinges of the trend.
const HINGES: usize = 8;
/// Sines and cosines a period, at most.
const HARMONICS: [usize; 3] = [8, 6, 4];

/// A fitted model, in the units of the series it was fitted to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fourier {
    n: usize,
    periods: Vec<Season>,
    beta: Vec<f64>,
    fade: f64,
}

/// One period: the sines of a turn in its steps, and which multiples of it are used.
#[derive(Debug, Clone, PartialEq)]
struct Season {
    sines: Vec<(f64, f64)>,
    harmonics: Vec<usize>,
}

impl Fourier {
    /// Fits; periods without two seasons are left out. `None` when there are too few values for even a line.
    pub(crate) fn fit(values: &[f64], known: &[bool], periods: &[usize]) -> Option<Fourier> {
        let n = values.len();
        if n < 8 {
            return None;
        }
        let mut model = Fourier { n, periods: seasons(periods.iter().copied().filter(|m| n >= 2 * *m)), beta: Vec::new(), fade: 0.0 };
        let terms = model.periods.iter().flat_map(|season| &season.harmonics);
        let p = 2 + HINGES + 2 * terms.clone().count();
        let mut penalty = vec![1e-6, 1e-3 * n as f64];
        penalty.resize(2 + HINGES, 0.02 * n as f64);
        for k in terms {
            let extra = 1e-3 * (n as f64).min(100.0) * (*k as f64);
            penalty.extend([extra, extra]);
        }
        let mut normal = Normal::new(p);
        let mut rows = vec![0.0; p * n];
        for (t, row) in rows.chunks_exact_mut(p).enumerate() {
            model.row(t, row);
            if known[t] {
                normal.add(row, values[t], 1.0);
            }
        }
        model.beta = normal.solve(&penalty)?;
        let (mut now, mut both, mut before) = (0.0, 0.0, 0.0);
        for (v, row) in values.iter().zip(rows.chunks_exact(p)) {
            let rest = v - dot(row, &model.beta);
            now += rest * rest;
            both += rest * before;
            before = rest;
        }
        model.fade = if now > 0.0 { (both / now).clamp(0.0, 0.98) } else { 0.0 };
        Some(model)
    }

    /// The next `horizon` values after `history`, which begins where the fitted series began.
    pub(crate) fn forecast(&self, history: &[f64], horizon: usize) -> Vec<f64> {
        let mut row = vec![0.0; self.beta.len()];
        let mut at = |t: usize| {
            self.row(t, &mut row);
            dot(&row, &self.beta)
        };
        let mut rest = history.len().checked_sub(1).map_or(0.0, |last| history[last] - at(last));
        let mut path = Vec::with_capacity(horizon);
        for k in 0..horizon {
            rest *= self.fade;
            path.push(at(history.len() + k) + rest);
        }
        path
    }

    fn row(&self, t: usize, row: &mut [f64]) {
        let at = t as f64 / self.n as f64;
        row[0] = 1.0;
        row[1] = at - 0.5;
        for (j, cell) in row[2..2 + HINGES].iter_mut().enumerate() {
            *cell = (at - 0.8 * (j + 1) as f64 / HINGES as f64).max(0.0);
        }
        let mut next = 2 + HINGES;
        for Season { sines, harmonics } in &self.periods {
            for k in harmonics {
                (row[next], row[next + 1]) = sines[k * t % sines.len()];
                next += 2;
            }
        }
    }
}

fn seasons(periods: impl Iterator<Item = usize>) -> Vec<Season> {
    let mut all: Vec<Season> = Vec::new();
    for (index, m) in periods.enumerate() {
        let turn = |j: usize| (std::f64::consts::TAU * j as f64 / m as f64).sin_cos();
        // A harmonic that a shorter period has already is left out: k/m is j/l.
        let new = |k: &usize| !all.iter().any(|known| known.harmonics.iter().any(|j| j * m == k * known.sines.len()));
        let harmonics = (1..=HARMONICS[index.min(2)].min(m / 2)).filter(new).collect();
        all.push(Season { sines: (0..m).map(turn).collect(), harmonics });
    }
    all
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).fold(0.0, |sum, (a, b)| sum + a * b)
}
