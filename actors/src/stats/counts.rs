//! Tails of counts: rare things (a missing value, an unseen level) that become frequent.

use super::real;
use statrs::function::beta::checked_beta_reg;

/// The chance that a share grew by luck: `k` of `n` values before, `j` of `m` now.
///
/// The tail of the binomial at the largest share that the baseline leaves possible (Clopper, Pearson 1934, at a doubt of 10⁻⁷), with
/// that doubt added: a p-value whatever the true share is (Berger, Boos 1994, "P values maximized over a confidence set for the
/// nuisance parameter"). So a rare thing is not called frequent because the baseline was short.
#[must_use]
pub fn grew(k: u64, n: u64, j: u64, m: u64) -> f64 {
    if n == 0 || m == 0 || j == 0 {
        return 1.0;
    }
    let (k, j) = (k.min(n), j.min(m));
    let doubt = 1e-7_f64;
    let upper = if k == n { 1.0 } else { upper_bound(k, n, doubt) };
    (at_least(j, m, upper) + doubt).min(1.0)
}

/// P(X ≥ j) of a binomial: the regularised incomplete beta function I_p(j, m − j + 1).
#[must_use]
pub fn at_least(j: u64, m: u64, p: f64) -> f64 {
    if j == 0 || p >= 1.0 {
        return 1.0;
    }
    if j > m || p <= 0.0 {
        return 0.0;
    }
    checked_beta_reg(real(j), real(m - j) + 1.0, p).unwrap_or(1.0).clamp(0.0, 1.0)
}

/// The share above which `k` of `n` or fewer would be seen with a chance of `doubt` only (Clopper, Pearson 1934), by bisection.
fn upper_bound(k: u64, n: u64, doubt: f64) -> f64 {
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    for _ in 0..60 {
        let middle = low.midpoint(high);
        // P(X ≤ k) = 1 − P(X ≥ k + 1)
        if 1.0 - at_least(k + 1, n, middle) > doubt { low = middle } else { high = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::seeded::Seeded;

    #[test]
    fn luck_is_called_luck_and_a_jump_a_jump() {
        assert!(grew(0, 7000, 3, 1000) > 1e-4);
        assert!(grew(0, 7000, 60, 1000) < 1e-6);
        assert!(grew(700, 7000, 110, 1000) > 0.1);
        assert!((grew(5, 10, 0, 10) - 1.0).abs() < 1e-12 && (grew(0, 0, 5, 5) - 1.0).abs() < 1e-12);
        // scipy 1.14.1: binom.sf(2, 10, 0.1)
        assert!((at_least(3, 10, 0.1) - 0.0701908264).abs() < 1e-9);
    }

    #[test]
    fn it_is_no_more_often_small_than_it_says() {
        let mut seeded = Seeded::new(3);
        for share in [0.002, 0.05, 0.4] {
            let mut draw = |n: u64| (0..n).filter(|_| seeded.unit() < share).count() as u64;
            let low = (0..600).filter(|_| grew(draw(500), 500, draw(200), 200) <= 0.05).count();
            assert!(low <= 42, "{low} of 600 at {share}");
        }
    }
}
