//! The chi-square test of homogeneity: do two rows of counts come from one distribution?

use super::real;
use statrs::function::gamma::checked_gamma_ur;

/// What the test found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Chi2 {
    /// Σ (observed − expected)² / expected over both rows.
    pub statistic: f64,
    /// Levels seen at all, less one.
    pub dof: u64,
    /// P(χ² ≥ statistic).
    pub p: f64,
}

/// P(χ² ≥ x) with `dof` degrees of freedom: the regularised upper incomplete gamma function Q(dof/2, x/2).
#[must_use]
pub fn survival(x: f64, dof: f64) -> f64 {
    if x.is_nan() || x <= 0.0 || dof <= 0.0 {
        return 1.0;
    }
    if !x.is_finite() {
        return 0.0;
    }
    checked_gamma_ur(dof / 2.0, x / 2.0).unwrap_or(1.0).clamp(0.0, 1.0)
}

/// Pearson's test (1900) of two rows of counts, a pair a level; levels that nobody saw do not count. With two levels Yates's
/// correction (1934) is made, as `scipy.stats.chi2_contingency` does unless told otherwise. `None` when a row is empty; one
/// level alone is no difference (statistic 0, p 1).
#[must_use]
pub fn test(levels: impl Iterator<Item = (u64, u64)> + Clone) -> Option<Chi2> {
    let levels = levels.filter(|(a, b)| a + b > 0);
    let (n, m, seen) = levels.clone().fold((0, 0, 0_u64), |(n, m, seen), (a, b)| (n + a, m + b, seen + 1));
    if n == 0 || m == 0 {
        return None;
    }
    let dof = seen - 1;
    if dof == 0 {
        return Some(Chi2 { statistic: 0.0, dof, p: 1.0 });
    }
    let all = real(n) + real(m);
    let cell = |observed: u64, row: u64, column: u64| {
        let expected = real(row) * real(column) / all;
        let mut difference = (real(observed) - expected).abs();
        if dof == 1 {
            difference -= difference.min(0.5);
        }
        difference * difference / expected
    };
    let statistic = levels.map(|(a, b)| cell(a, n, a + b) + cell(b, m, a + b)).sum();
    Some(Chi2 { statistic, dof, p: survival(statistic, real(dof)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, wanted: f64) -> bool {
        (found - wanted).abs() <= 1e-9 * wanted
    }

    #[test]
    fn the_same_as_scipy_for_three_levels_and_for_two() {
        let three = test([(700, 600), (250, 300), (50, 100)].into_iter()).unwrap();
        assert!(close(three.statistic, 28.904428904428904) && close(three.p, 5.290333031184187e-7), "{three:?}");
        // scipy 1.14.1: chi2_contingency([[30, 70], [45, 55]])
        let two = test([(30, 45), (70, 55)].into_iter()).unwrap();
        assert!(close(two.statistic, 4.181333333333333) && close(two.p, 0.04087153408900628), "{two:?}");
    }

    #[test]
    fn tails_keep_their_digits() {
        // scipy 1.14.1: chi2.sf(x, dof)
        for (x, dof, p) in [(500.0, 9.0, 5.7494139030446954e-102), (0.5, 3.0, 0.9188914116546758), (900.0, 1.0, 9.813427854296455e-198)] {
            let found = survival(x, dof);
            assert!((found - p).abs() <= 1e-6 * p, "{x} {dof}: {found:e} {p:e}");
        }
    }

    #[test]
    fn one_level_is_no_difference_and_an_empty_row_no_test() {
        assert_eq!(test([(5, 9), (0, 0)].into_iter()).map(|t| (t.dof, t.p as i32)), Some((0, 1)));
        assert_eq!(test([(5, 0)].into_iter()), None);
        assert_eq!(test(std::iter::empty()), None);
    }
}
