//! The Theta method (Assimakopoulos and Nikolopoulos 2000), in the form that Hyndman and Billah (2003) showed it to have:
//! simple exponential smoothing of the seasonally adjusted series, with half the slope of its line as drift.
//!
//! Seasonal adjustment is classical additive decomposition; a series in logarithms is thus adjusted multiplicatively, as in the M
//! competitions. Deviation: the smoothing weight is searched on a grid, not by a general optimiser.

/// A fitted model, in the units of the series it was fitted to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Theta {
    /// One value for each place in the season, by index modulo its length.
    season: Vec<f64>,
    weight: f64,
    drift: f64,
}

/// Smoothing weights that are tried.
const WEIGHTS: [f64; 10] = [0.02, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.75, 0.9, 0.99];

impl Theta {
    /// Fits; `period` 1 is without season. `None` when there are fewer than four values or fewer than two seasons.
    pub(crate) fn fit(values: &[f64], period: usize) -> Option<Theta> {
        let n = values.len();
        if n < 4 || n < 2 * period {
            return None;
        }
        let season = if period > 1 { season(values, period) } else { vec![0.0] };
        let adjusted: Vec<f64> = values.iter().enumerate().map(|(t, v)| v - season[t % season.len()]).collect();
        let mut best = (f64::INFINITY, WEIGHTS[0]);
        for weight in WEIGHTS {
            let (_, error) = smooth(adjusted.iter().copied(), weight);
            if error < best.0 {
                best = (error, weight);
            }
        }
        Some(Theta { season, weight: best.1, drift: slope(&adjusted) / 2.0 })
    }

    /// The next `horizon` values after `history`, which begins where the fitted series began.
    pub(crate) fn forecast(&self, history: &[f64], horizon: usize) -> Vec<f64> {
        let m = self.season.len();
        let (level, _) = smooth(history.iter().enumerate().map(|(t, v)| v - self.season[t % m]), self.weight);
        let n = history.len();
        let start = (1.0 - (1.0 - self.weight).powi(i32::try_from(n).unwrap_or(i32::MAX))) / self.weight;
        (0..horizon).map(|k| level + self.drift * (k as f64 + start) + self.season[(n + k) % m]).collect()
    }
}

/// The last level, and the sum of squares of the one-step errors.
fn smooth(values: impl Iterator<Item = f64>, weight: f64) -> (f64, f64) {
    let (mut level, mut error, mut first) = (0.0, 0.0, true);
    for value in values {
        if first {
            (level, first) = (value, false);
        }
        let miss = value - level;
        error += miss * miss;
        level += weight * miss;
    }
    (level, error)
}

/// The slope of the least-squares line, a step.
pub(crate) fn slope(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let (middle, mean) = ((n - 1.0) / 2.0, values.iter().sum::<f64>() / n);
    let (mut xy, mut xx) = (0.0, 0.0);
    for (t, v) in values.iter().enumerate() {
        let x = t as f64 - middle;
        xy += x * (v - mean);
        xx += x * x;
    }
    if xx > 0.0 { xy / xx } else { 0.0 }
}

/// Classical additive decomposition: means, by place in the season, of the differences to a moving average over one season,
/// centred to sum to zero.
pub(crate) fn season(values: &[f64], period: usize) -> Vec<f64> {
    let n = values.len();
    let mut sums = Vec::with_capacity(n + 1);
    sums.push(0.0);
    for v in values {
        sums.push(sums[sums.len() - 1] + v);
    }
    let (mut total, mut count) = (vec![0.0; period], vec![0.0_f64; period]);
    let half = period / 2;
    for t in half..n.saturating_sub(half) {
        // An even season weighs its two ends by half.
        let mean = if period % 2 == 1 {
            (sums[t + half + 1] - sums[t - half]) / period as f64
        } else {
            ((sums[t + half] - sums[t - half]) + 0.5 * (values[t + half] - values[t - half])) / period as f64
        };
        total[t % period] += values[t] - mean;
        count[t % period] += 1.0;
    }
    let mut season: Vec<f64> = total.iter().zip(&count).map(|(sum, n)| sum / n.max(1.0)).collect();
    let mean = season.iter().sum::<f64>() / period as f64;
    season.iter_mut().for_each(|s| *s -= mean);
    season
}
