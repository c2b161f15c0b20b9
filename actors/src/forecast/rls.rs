//! Recursive least squares: the autoregression learns from every value, in a fraction of a microsecond.
//!
//! With a forgetting factor (Ljung and Söderström 1983). The inverse of the normal equations comes with the fit, so that the
//! first values do not move what a whole history has taught.

use serde::{Deserialize, Serialize};

/// What a value's weight is a step later.
const FORGET: f64 = 0.9995;
/// The matrix is bounded to this: what nothing is learnt of for long would otherwise grow without end.
const BOUND: f64 = 1e4;

/// Coefficients that learn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rls {
    pub(crate) beta: Vec<f64>,
    /// Inverse of the normal equations, row by row.
    inverse: Vec<f64>,
}

impl Rls {
    /// From a fit: `inverse` is the inverse of its normal equations, by rows.
    pub(crate) fn new(beta: Vec<f64>, inverse: Vec<f64>) -> Option<Rls> {
        let p = beta.len();
        (p > 0 && inverse.len() == p * p && beta.iter().chain(&inverse).all(|v| v.is_finite())).then_some(Rls { beta, inverse })
    }

    /// Learns that `x` came with an error of `miss`.
    pub(crate) fn learn(&mut self, x: &[f64], miss: f64) {
        let p = self.beta.len();
        let mut gain = vec![0.0; p];
        for (cell, row) in gain.iter_mut().zip(self.inverse.chunks_exact(p)) {
            *cell = row.iter().zip(x).fold(0.0, |sum, (a, b)| sum + a * b);
        }
        let share = FORGET + gain.iter().zip(x).fold(0.0, |sum, (a, b)| sum + a * b);
        if !(share.is_finite() && share > 0.0 && miss.is_finite()) {
            return;
        }
        for (i, row) in self.inverse.chunks_exact_mut(p).enumerate() {
            let by = gain[i] / share;
            for (cell, g) in row.iter_mut().zip(&gain) {
                *cell = ((*cell - by * g) / FORGET).clamp(-BOUND, BOUND);
            }
        }
        self.beta.iter_mut().zip(&gain).for_each(|(b, g)| *b += miss * g / share);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_coefficients_that_change() {
        let mut rls = Rls::new(vec![0.0, 0.0], vec![10.0, 0.0, 0.0, 10.0]).unwrap();
        for t in 0..20_000_u32 {
            let x = [1.0, f64::from(t * 7 % 11) / 11.0];
            let truth = if t < 2_000 { 1.0 + 2.0 * x[1] } else { 4.0 - x[1] };
            let miss = truth - rls.beta[0] - rls.beta[1] * x[1];
            rls.learn(&x, miss);
        }
        assert!((rls.beta[0] - 4.0).abs() < 0.01 && (rls.beta[1] + 1.0).abs() < 0.01, "{:?}", rls.beta);
        rls.learn(&[f64::NAN, 1.0], 1.0);
        assert!(rls.beta.iter().all(|b| b.is_finite()));
        assert_eq!(Rls::new(vec![1.0], vec![]), None);
    }
}
