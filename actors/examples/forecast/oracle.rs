//! The best that could be done: who knows the model that a series was made with, and what a fault looks like.
//!
//! Every series of the study is one of eight kinds (its noise normal or heavy, correlated by one of four amounts). The oracle knows which,
//! and the true mean and scale, so that it sees the very draws that the noise was made of. Of each place it takes the likelihood that
//! the fault begins there over the likelihood that nothing does, averaged over its sizes, signs and lengths: no test finds more at as many
//! false alarms (Neyman and Pearson 1933). Its threshold is set on fresh noise of the same kind to one alarm a series and month exactly.

use super::chance::Chance;

/// What a series was made with.
pub(crate) struct Truth {
    /// Without its noise.
    pub(crate) means: Vec<f64>,
    /// Standard deviation of the noise.
    pub(crate) noise: f64,
    /// Its correlation from value to value.
    pub(crate) kept: f64,
    /// Is it of heavy tails?
    pub(crate) heavy: bool,
}

/// Values that are looked at from where a fault would begin.
const WINDOW: usize = 3;
/// Alarms in the noise that a threshold is set on.
const ALARMS: usize = 60;

/// A test for one kind of series.
pub(crate) struct Oracle {
    kept: f64,
    heavy: bool,
    /// One for each size and length: what it adds to the draws.
    shapes: Vec<[f64; WINDOW]>,
    threshold: f64,
}

impl Oracle {
    /// For spikes of one or two values of 8 to 12 times the noise, at one alarm in `values` values.
    pub(crate) fn of_spikes(kept: f64, heavy: bool, values: usize) -> Oracle {
        let fresh = (1.0 - kept * kept).sqrt();
        let mut shapes = Vec::new();
        for length in [1, 2] {
            for step in 0..5 {
                let size = 8.4 + 0.8 * f64::from(step);
                let profile = |k: usize| if k < length { size } else { 0.0 };
                let mut shape = [0.0; WINDOW];
                for (k, cell) in shape.iter_mut().enumerate() {
                    *cell = (profile(k) - k.checked_sub(1).map_or(0.0, |before| kept * profile(before))) / fresh;
                }
                shapes.push(shape);
                shapes.push(shape.map(|v| -v));
            }
        }
        let mut oracle = Oracle { kept, heavy, shapes, threshold: f64::INFINITY };
        let mut chance = Chance::new(17 + values as u64);
        let draws: Vec<f64> = (0..ALARMS * values).map(|_| if heavy { chance.heavy() } else { chance.normal() }).collect();
        let mut all: Vec<(f64, usize)> =
            draws.windows(WINDOW).enumerate().map(|(t, z)| (oracle.evidence(z), t)).filter(|(e, _)| *e > 0.0).collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut alarms: Vec<usize> = Vec::new();
        for (evidence, t) in all {
            if alarms.iter().all(|other| other.abs_diff(t) >= WINDOW) {
                alarms.push(t);
                if alarms.len() == ALARMS {
                    oracle.threshold = evidence;
                }
                if alarms.len() > ALARMS {
                    break;
                }
            }
        }
        // Fewer than the budget, even of those that speak for a fault at all.
        if oracle.threshold.is_infinite() {
            oracle.threshold = 0.0;
        }
        oracle
    }

    /// Is it made for such a series?
    pub(crate) fn knows(&self, truth: &Truth) -> bool {
        self.kept.to_bits() == truth.kept.to_bits() && self.heavy == truth.heavy
    }

    /// Where alarms begin, from `from` on: one after `quiet` values without.
    pub(crate) fn alarms(&self, series: &[f64], truth: &Truth, from: usize, quiet: usize) -> Vec<usize> {
        let fresh = (1.0 - self.kept * self.kept).sqrt();
        let errors: Vec<f64> = series.iter().zip(&truth.means).map(|(v, mean)| (v - mean) / truth.noise).collect();
        let draws: Vec<f64> =
            (0..errors.len()).map(|t| (errors[t] - t.checked_sub(1).map_or(0.0, |b| self.kept * errors[b])) / fresh).collect();
        let mut alarms = Vec::new();
        let mut last: Option<usize> = None;
        for t in from..draws.len().saturating_sub(WINDOW - 1) {
            if self.evidence(&draws[t..t + WINDOW]) >= self.threshold {
                if last.is_none_or(|last| t - last > quiet) {
                    alarms.push(t);
                }
                last = Some(t);
            }
        }
        alarms
    }

    /// Logarithm of the likelihood ratio.
    fn evidence(&self, draws: &[f64]) -> f64 {
        let density = |z: f64| if self.heavy { -2.5 * (1.0 + 0.5 * z * z).ln() } else { -0.5 * z * z };
        // Most places are nothing: the most that a fault could say there is seen at once.
        if draws[0].abs() < 3.0 {
            return f64::NEG_INFINITY;
        }
        let nothing: f64 = draws.iter().map(|z| density(*z)).sum();
        let ratios = self.shapes.iter().map(|shape| draws.iter().zip(shape).map(|(z, s)| density(z - s)).sum::<f64>() - nothing);
        let ratios: Vec<f64> = ratios.collect();
        let most = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        most + (ratios.iter().map(|r| (r - most).exp()).sum::<f64>() / ratios.len() as f64).ln()
    }
}
