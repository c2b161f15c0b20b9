//! The two-sample Kolmogorov–Smirnov test, two-sided.
//!
//! The statistic is kept as a whole number over the least common multiple of the sample sizes, so that ties and unequal sizes
//! cost no digit. The exact p-value counts lattice paths (Hodges 1958, "The significance probability of the Smirnov two-sample
//! test"); beyond [`EXACT_MAX`] values a side the one-sample distribution at the effective size takes its place. Both are what
//! `scipy.stats.ks_2samp(method="auto")` does (SciPy 1.14), with one deviation: where rounding makes the sum of paths exceed 1,
//! the answer here is 1. With ties the exact p-value is conservative.

use super::{kolmogorov, real};

/// Up to so many values on either side the exact distribution is taken, as in SciPy.
pub const EXACT_MAX: u64 = 10_000;

/// The largest distance between two empirical distribution functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Distance {
    /// Size of the first sample.
    pub n: u64,
    /// Size of the second sample.
    pub m: u64,
    /// max |Fₙ − Gₘ| · n · m, a whole number.
    pub scaled: u128,
}

impl Distance {
    /// Of two samples in ascending order, without not-a-number. `None` when one is empty.
    #[must_use]
    pub fn of_sorted(a: &[f64], b: &[f64]) -> Option<Distance> {
        let (n, m) = (a.len() as u64, b.len() as u64);
        if n == 0 || m == 0 {
            return None;
        }
        let (mut i, mut j, mut scaled) = (0_usize, 0_usize, 0_u128);
        while i < a.len() && j < b.len() {
            let value = if a[i] <= b[j] { a[i] } else { b[j] };
            while i < a.len() && a[i] <= value {
                i += 1;
            }
            while j < b.len() && b[j] <= value {
                j += 1;
            }
            scaled = scaled.max(gap(i as u64, m, j as u64, n));
        }
        Some(Distance { n, m, scaled })
    }

    /// Of two rows of counts over the same ordered cells. It is never more than that of the values themselves, so a test on it
    /// errs on the side of silence. `None` when one is empty.
    #[must_use]
    pub fn of_counts(cells: impl Iterator<Item = (u64, u64)> + Clone) -> Option<Distance> {
        let (n, m) = cells.clone().fold((0, 0), |(n, m), (a, b)| (n + a, m + b));
        if n == 0 || m == 0 {
            return None;
        }
        let (mut i, mut j, mut scaled) = (0, 0, 0);
        for (a, b) in cells {
            i += a;
            j += b;
            scaled = scaled.max(gap(i, m, j, n));
        }
        Some(Distance { n, m, scaled })
    }

    /// The statistic D, 0–1.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn d(&self) -> f64 {
        let divisor = gcd(u128::from(self.n), u128::from(self.m));
        let (scaled, all) = (self.scaled / divisor, u128::from(self.n) * u128::from(self.m) / divisor);
        scaled as f64 / all as f64
    }

    /// P(D ≥ d) if both samples come from one distribution: exact up to [`EXACT_MAX`] values a side, asymptotic beyond.
    ///
    /// The exact one costs up to n·m·min(1, 2d) steps of a nanosecond, or n when both sizes are equal.
    #[must_use]
    pub fn p(&self) -> f64 {
        if self.n.max(self.m) <= EXACT_MAX { self.exact() } else { self.asymptotic() }
    }

    /// Steps that [`Distance::exact`] takes.
    #[must_use]
    pub fn cost(&self) -> u128 {
        if self.n == self.m { u128::from(self.n) } else { (2 * self.scaled).min(u128::from(self.n) * u128::from(self.m)) }
    }

    /// The exact p-value, whatever it costs.
    #[must_use]
    pub fn exact(&self) -> f64 {
        let divisor = gcd(u128::from(self.n), u128::from(self.m));
        let h = self.scaled / divisor;
        if h == 0 {
            return 1.0;
        }
        let p = if self.n == self.m { outside_square(self.n, h) } else { outside(self.n.max(self.m), self.n.min(self.m), divisor, h) };
        p.clamp(0.0, 1.0)
    }

    /// The p-value from the one-sample distribution at the effective size, rounded to a whole number, as SciPy does.
    #[must_use]
    pub fn asymptotic(&self) -> f64 {
        kolmogorov::survival(self.effective(), self.d())
    }

    /// The same within 10⁻⁴, quickly.
    #[must_use]
    pub fn asymptotic_fast(&self) -> f64 {
        kolmogorov::survival_fast(self.effective(), self.d())
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn effective(&self) -> u64 {
        let (n, m) = (real(self.n.max(self.m)), real(self.n.min(self.m)));
        (n * m / (n + m)).round_ties_even() as u64
    }
}

fn gap(i: u64, m: u64, j: u64, n: u64) -> u128 {
    (u128::from(i) * u128::from(m)).abs_diff(u128::from(j) * u128::from(n))
}

fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}

/// Two samples of n: the share of paths that leave the band, by reflection (Gnedenko, Korolyuk 1951), summed as
/// P = 2·A₀·(1 − A₁·(1 − A₂·(…))) so that nothing cancels.
fn outside_square(n: u64, h: u128) -> f64 {
    let Ok(h) = u64::try_from(h) else { return 0.0 };
    let mut p = 0.0;
    for k in (0..=n / h).rev() {
        let mut term = 1.0;
        for j in 0..h {
            let Some(left) = n.checked_sub(k * h + j) else {
                term = 0.0;
                break;
            };
            term = real(left) * term / real(n + k * h + j + 1);
        }
        p = term * (1.0 - p);
    }
    2.0 * p
}

/// The share of the lattice paths from (0, 0) to (m, n), m ≥ n, that somewhere reach |x·n − y·m| ≥ h·gcd.
///
/// A(x, y) is the share of the paths to (x, y) that have left the band: 1 outside it, and inside
/// A(x, y) = (x·A(x−1, y) + y·A(x, y−1)) / (x + y) (Hodges 1958). All terms are positive, so small shares keep their digits.
/// Taken diagonal by diagonal, because no entry of a diagonal waits for another one.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_possible_wrap)] // sizes are at most EXACT_MAX here
fn outside(m: u64, n: u64, divisor: u128, h: u128) -> f64 {
    let (m, n) = (m as i128, n as i128);
    let (mg, ng, h) = (m / divisor as i128, n / divisor as i128, h as i128);
    let width = n as usize + 2;
    // Index y + 1, so that y − 1 is there too.
    let (mut last, mut next) = (vec![1.0_f64; width], vec![1.0_f64; width]);
    last[1] = 0.0;
    let mut cleared = 1_usize;
    for t in 1..=m + n {
        // |ng·(t − y) − mg·y| < h
        let low = ((ng * t - h).div_euclid(ng + mg) + 1).max(0).max(t - m);
        let high = ((ng * t + h - 1).div_euclid(ng + mg)).min(n).min(t);
        if low > high {
            return 1.0;
        }
        let (low, high, all) = (low as usize, high as usize, real(t as u64));
        let from = cleared.min(low + 1);
        next[from..=low].fill(1.0);
        cleared = low;
        let y_first = real(low as u64);
        let inverse = 1.0 / all;
        let window = next[low + 1..=high + 1].iter_mut().zip(last[low..=high].iter().zip(&last[low + 1..=high + 1]));
        let mut y = y_first;
        for (out, (below, before)) in window {
            *out = ((all - y) * before + y * below) * inverse;
            y += 1.0;
        }
        std::mem::swap(&mut last, &mut next);
        // What the window left behind is outside from here on.
        if high + 2 < width {
            next[high + 2] = 1.0;
        }
    }
    last[n as usize + 1]
}

#[cfg(test)]
#[allow(clippy::float_cmp)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sorted(mut values: Vec<f64>) -> Vec<f64> {
        values.sort_by(f64::total_cmp);
        values
    }

    /// The definition: the largest difference at any of the values.
    fn by_definition(a: &[f64], b: &[f64]) -> f64 {
        let share = |of: &[f64], at: f64| real(of.iter().filter(|x| **x <= at).count() as u64) / real(of.len() as u64);
        a.iter().chain(b).map(|at| (share(a, *at) - share(b, *at)).abs()).fold(0.0, f64::max)
    }

    /// Every way to mix n and m values, counted.
    fn by_enumeration(n: usize, m: usize, scaled: u128) -> f64 {
        let (mut hit, mut all) = (0_u64, 0_u64);
        for mask in 0_u32..1 << (n + m) {
            if mask.count_ones() as usize != n {
                continue;
            }
            let (mut i, mut j, mut worst) = (0_u64, 0_u64, 0);
            for bit in 0..n + m {
                if mask >> bit & 1 == 1 {
                    i += 1
                } else {
                    j += 1
                }
                worst = worst.max(gap(i, m as u64, j, n as u64));
            }
            all += 1;
            hit += u64::from(worst >= scaled);
        }
        real(hit) / real(all)
    }

    #[test]
    fn the_exact_p_value_is_the_share_of_all_ways_to_mix() {
        for (n, m) in [(1, 1), (1, 4), (3, 3), (2, 7), (5, 5), (4, 6), (6, 8), (3, 11)] {
            for scaled in 0..=(n * m) as u128 {
                let distance = Distance { n: n as u64, m: m as u64, scaled };
                if scaled % gcd(n as u128, m as u128) != 0 {
                    continue;
                }
                let (exact, counted) = (distance.exact(), by_enumeration(n, m, scaled));
                assert!((exact - counted).abs() <= 1e-12 * counted, "{n} {m} {scaled}: {exact} {counted}");
            }
        }
    }

    #[test]
    fn one_value_beyond_all_others_and_empty_samples() {
        assert_eq!(Distance::of_sorted(&[], &[1.0]), None);
        assert_eq!(Distance::of_counts(std::iter::empty()), None);
        let apart = Distance::of_sorted(&[1.0, 2.0], &[3.0]).unwrap();
        assert_eq!((apart.d(), apart.p()), (1.0, 2.0 / 3.0));
        let same = Distance::of_sorted(&[4.0; 9], &[4.0; 5]).unwrap();
        assert_eq!((same.d(), same.p()), (0.0, 1.0));
    }

    proptest! {
        #[test]
        fn the_statistic_is_its_definition_with_ties_and_unequal_sizes(
            a in prop::collection::vec(0_i8..9, 1..40), b in prop::collection::vec(0_i8..9, 1..40),
        ) {
            let (a, b) = (sorted(a.into_iter().map(f64::from).collect()), sorted(b.into_iter().map(f64::from).collect()));
            let distance = Distance::of_sorted(&a, &b).unwrap();
            prop_assert!((distance.d() - by_definition(&a, &b)).abs() < 1e-12);
            let count = |of: &[f64], level: i8| of.iter().filter(|x| **x == f64::from(level)).count() as u64;
            let counts: Vec<(u64, u64)> = (0..9).map(|level| (count(&a, level), count(&b, level))).collect();
            prop_assert_eq!(Distance::of_counts(counts.into_iter()), Some(distance));
            let p = distance.p();
            prop_assert!((0.0..=1.0).contains(&p));
            let other_way = Distance { n: distance.m, m: distance.n, ..distance }.p();
            prop_assert!((p - other_way).abs() <= 1e-12 * p);
        }

        #[test]
        fn exact_and_asymptotic_agree_where_both_hold(n in 300_u64..900, m in 300_u64..900, share in 0.02_f64..0.15) {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let scaled = (share * real(n * m)) as u128;
            let divisor = gcd(u128::from(n), u128::from(m));
            let distance = Distance { n, m, scaled: scaled / divisor * divisor };
            prop_assert!((distance.exact() - distance.asymptotic()).abs() < 0.08, "{} {}", distance.exact(), distance.asymptotic());
        }
    }
}
