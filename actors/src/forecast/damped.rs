//! Holt's method with additive errors and a damped trend: ETS(A,Ad,N) of Hyndman et al. (2008), "AAN damped".
//!
//! The parameters are searched on a grid by the sum of squares of the one-step errors over the last [`LOOK`] values: exponential
//! smoothing has forgotten what was before. Own, because the ETS of `augurs` brings a random number generator with it, which no
//! mind may reach, and because a fit must cost microseconds.

/// Values the search looks at.
const LOOK: usize = 200;

const LEVEL: [f64; 7] = [0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 0.98];
const TREND: [f64; 4] = [0.0, 0.05, 0.15, 0.4];
const DAMPING: [f64; 3] = [0.8, 0.92, 0.98];

/// The parameters found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Damped {
    level: f64,
    trend: f64,
    damping: f64,
}

impl Damped {
    /// Fits; `None` for fewer than four values.
    pub(crate) fn fit(values: &[f64]) -> Option<Damped> {
        if values.len() < 4 {
            return None;
        }
        let values = &values[values.len().saturating_sub(LOOK)..];
        let mut best = (f64::INFINITY, None);
        for level in LEVEL {
            for trend in TREND {
                for damping in DAMPING {
                    let tried = Damped { level, trend: trend * level, damping };
                    let (_, _, error) = tried.run(values.iter().copied());
                    if error < best.0 {
                        best = (error, Some(tried));
                    }
                    // Without a trend there is nothing to damp.
                    if trend == 0.0 {
                        break;
                    }
                }
            }
        }
        best.1
    }

    /// The next `horizon` values after `history`.
    pub(crate) fn forecast(&self, history: impl Iterator<Item = f64>, horizon: usize) -> Vec<f64> {
        let (mut level, mut trend, _) = self.run(history);
        let mut path = Vec::with_capacity(horizon);
        for _ in 0..horizon {
            trend *= self.damping;
            level += trend;
            path.push(level);
        }
        path
    }

    /// Level and trend at the end, and the sum of squares of the one-step errors.
    fn run(&self, values: impl Iterator<Item = f64>) -> (f64, f64, f64) {
        let (mut level, mut trend, mut error, mut first) = (0.0, 0.0, 0.0, true);
        for value in values {
            if first {
                (level, first) = (value, false);
                continue;
            }
            trend *= self.damping;
            let miss = value - level - trend;
            error += miss * miss;
            level += trend + self.level * miss;
            trend += self.trend * miss;
        }
        (level, trend, error)
    }
}
