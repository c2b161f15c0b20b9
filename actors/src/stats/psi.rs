//! The population stability index: quantiles, bins, the index, and how large it is without any drift.
//!
//! PSI = Σ (q − p)·ln(q/p) over bins, p of the baseline and q of now: the symmetric Kullback–Leibler divergence (Jeffreys 1946;
//! as an index of credit scores Siddiqi 2006). The lines 0.1 and 0.25 are custom, not theory: see [`expected`] and [`Null`].

use super::{real, seeded::Seeded};

/// How many bins the textbook has.
pub const TEXTBOOK_BINS: u32 = 10;

/// The quantile of a sample in ascending order, between the two nearest values (definition 7 of Hyndman and Fan 1996), digit by
/// digit as `numpy.quantile(…, method="linear")` computes it. `None` of an empty sample.
#[must_use]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = real(last as u64) * share.clamp(0.0, 1.0);
    let below = (place.floor() as usize).min(last);
    let (a, b, part) = (sorted[below], sorted[(below + 1).min(last)], place - place.floor());
    let step = b - a;
    if !step.is_finite() {
        // Two values farther apart than a number can say.
        return Some(a * (1.0 - part) + b * part);
    }
    Some(if part >= 0.5 { b - step * (1.0 - part) } else { a + step * part })
}

/// The inner edges of `bins` bins of equal share, each once: fewer where values repeat.
#[must_use]
pub fn edges(sorted: &[f64], bins: u32) -> Vec<f64> {
    let mut edges: Vec<f64> = (1..bins).filter_map(|i| quantile(sorted, f64::from(i) / f64::from(bins))).collect();
    edges.dedup();
    edges
}

/// The same edges and, below each that is the value of a tenth or more, one more: a heavy value has a bin of its own, or a fall from it
/// would be none.
#[must_use]
pub fn edges_apart(sorted: &[f64], bins: u32) -> Vec<f64> {
    let textbook = edges(sorted, bins);
    let (mut apart, mut last) = (Vec::with_capacity(textbook.len()), 0);
    for edge in textbook {
        let (before, until) = (sorted.partition_point(|x| *x < edge), sorted.partition_point(|x| *x <= edge));
        // Between two heavy neighbours there is nothing to tell them from.
        if is_heavy((until - before) as u64, sorted.len() as u64) && (apart.is_empty() || before > last) {
            apart.push(edge.next_down());
        }
        apart.push(edge);
        last = until;
    }
    apart
}

/// Is one value so many of all that it could fill a bin of the textbook alone?
#[must_use]
pub fn is_heavy(count: u64, all: u64) -> bool {
    count > 0 && count >= all.div_ceil(u64::from(TEXTBOOK_BINS))
}

/// How many values fall into each bin (e₍ᵢ₋₁₎, eᵢ], the first and the last open: one count more than there are edges.
#[must_use]
pub fn count(values: impl IntoIterator<Item = f64>, edges: &[f64]) -> Vec<u64> {
    let mut counts = vec![0; edges.len() + 1];
    for value in values {
        counts[edges.partition_point(|edge| *edge < value)] += 1;
    }
    counts
}

/// PSI with half a value added to every bin, (c + ½) / (n + ½B): finite for empty bins, without a floor that decides the result
/// (the prior of Jeffreys 1946; Krichevsky, Trofimov 1981). 0 when there are no bins.
#[must_use]
pub fn half_count(bins: impl Iterator<Item = (u64, u64)> + Clone) -> f64 {
    let (mut n, mut m, mut half) = (0, 0, 0.0);
    for (a, b) in bins.clone() {
        n += a;
        m += b;
        half += 0.5;
    }
    bins.map(|(a, b)| {
        let (p, q) = ((real(a) + 0.5) / (real(n) + half), (real(b) + 0.5) / (real(m) + half));
        (q - p) * (q / p).ln()
    })
    .sum()
}

/// What PSI is on average when nothing has changed: (B − 1)·(1/N + 1/M), the mean of the chi-square that it tends to (Yurdakul
/// 2018). Infinite when a sample is empty.
#[must_use]
pub fn expected(bins: usize, n: u64, m: u64) -> f64 {
    real((bins as u64).saturating_sub(1)) * (1.0 / real(n) + 1.0 / real(m))
}

/// How the null distribution of PSI is had.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Null {
    /// P(PSI ≥ the one that was found) without drift.
    pub p: f64,
    /// Was it drawn from the exact null, or is it the chi-square that it tends to?
    pub drawn: bool,
}

/// Below this expected count in some bin the chi-square is not trusted.
const EXPECTED_MIN: f64 = 10.0;
/// Draws cost no more steps than this together; fewer than [`DRAWS_MIN`] are not worth it.
const STEPS_MAX: u64 = 20_000_000;
const DRAWS_MIN: u64 = 400;
/// With fewer values a bin on average neither the chi-square nor a p-value from it means anything.
const A_BIN: u64 = 5;
/// So many draws above the one found are enough to know its share (Besag, Clifford 1991).
const ABOVE_ENOUGH: u64 = 25;

/// The p-value of a PSI over bins of counts (baseline, now).
///
/// Where counts are large, PSI·NM/(N+M) is chi-square with B − 1 degrees of freedom (Yurdakul 2018). Where they are small, the
/// null is drawn: bins between order statistics of the baseline have Dirichlet probabilities, so counts of now follow Pólya's urn
/// (Dirichlet–multinomial), whatever the distribution was. At most `draws` draws (fewer where M is large) from `seed`, each of M steps, stopped early
/// as by Besag and Clifford (1991): p = above/draws, or (above + 1)/(draws + 1) when `draws` were not enough to stop. Without
/// draws (`draws` = 0) it is the chi-square always, or 1 where there are fewer than five values a bin.
#[must_use]
pub fn null(bins: &[(u64, u64)], value: f64, draws: u64, seed: u64) -> Null {
    let (n, m) = bins.iter().fold((0, 0), |(n, m), (a, b)| (n + a, m + b));
    let used = bins.iter().filter(|(a, b)| a + b > 0).count();
    if n == 0 || m == 0 || used < 2 {
        return Null { p: 1.0, drawn: false };
    }
    let scale = real(n) * real(m) / (real(n) + real(m));
    let p = super::chi2::survival(value * scale, real(used as u64 - 1));
    let smallest = bins.iter().map(|(a, b)| a + b).filter(|all| *all > 0).min().unwrap_or(0);
    let sparse = real(smallest) * real(m.min(n)) / real(n + m) < EXPECTED_MIN;
    let draws = draws.min(STEPS_MAX / (m + bins.len() as u64));
    if !sparse || draws < DRAWS_MIN {
        // Nearly as many bins as values (names, times): nothing can be said.
        let p = if n + m < A_BIN * used as u64 { 1.0 } else { p };
        return Null { p, drawn: false };
    }
    let mut seeded = Seeded::new(seed);
    let (mut above, mut done) = (0, 0);
    let mut counts = vec![0_u64; bins.len()];
    let mut drawn = Vec::new();
    // One more ball than values: N values leave N + 1 gaps. It goes to the bins in turn.
    let balls: Vec<u64> = bins
        .iter()
        .scan(0, |sum, (a, _)| {
            *sum += a;
            Some(*sum)
        })
        .collect();
    while done < draws && above < ABOVE_ENOUGH {
        counts.fill(0);
        drawn.clear();
        for step in 0..m {
            let ball = seeded.below(n + 1 + step);
            let bin = if ball < n {
                balls.partition_point(|last| *last <= ball)
            } else if ball == n {
                usize::try_from(done).unwrap_or(0) % bins.len()
            } else {
                drawn[usize::try_from(ball - n - 1).unwrap_or(0)]
            };
            counts[bin] += 1;
            drawn.push(bin);
        }
        let psi = half_count(bins.iter().zip(&counts).map(|((a, _), b)| (*a, *b)));
        above += u64::from(psi >= value);
        done += 1;
    }
    let p = if above >= ABOVE_ENOUGH { real(above) / real(done) } else { real(above + 1) / real(done + 1) };
    Null { p, drawn: true }
}

#[cfg(test)]
#[allow(clippy::float_cmp)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn repeated_values_leave_fewer_bins_and_a_constant_two() {
        assert_eq!(edges(&[5.0; 30], 10), [5.0]);
        assert_eq!(count([4.0, 5.0, 6.0], &[5.0]), [2, 1]);
        assert_eq!(edges(&[], 10), [0.0; 0]);
        assert_eq!(count([1.0], &[]), [1]);
        assert_eq!(quantile(&[1.0, 2.0], 0.5), Some(1.5));
        assert!(quantile(&[-f64::MAX, f64::MAX], 0.5).unwrap().is_finite());
    }

    #[test]
    fn without_drift_thirty_values_a_side_have_a_psi_that_the_custom_calls_significant() {
        let mut seeded = Seeded::new(11);
        let mut values: Vec<f64> = (0..401)
            .map(|_| {
                let mut sample = |n: usize| (0..n).map(|_| seeded.normal()).collect::<Vec<f64>>();
                let (mut a, b) = (sample(30), sample(30));
                a.sort_by(f64::total_cmp);
                let edges = edges(&a, 10);
                let (a, b) = (count(a, &edges), count(b, &edges));
                half_count(a.into_iter().zip(b))
            })
            .collect();
        values.sort_by(f64::total_cmp);
        assert!(values[200] > 0.4 && values[200] < 0.7, "median {}", values[200]);
        assert!((expected(10, 30, 30) - 0.6).abs() < 1e-12);
    }

    #[test]
    fn p_values_of_the_null_are_uniform_for_few_and_for_many_values() {
        let mut seeded = Seeded::new(5);
        for (n, m, draws) in [(40, 25, 400), (3000, 2000, 0)] {
            let mut low = 0;
            for round in 0..400 {
                let mut a: Vec<f64> = (0..n).map(|_| seeded.normal()).collect();
                a.sort_by(f64::total_cmp);
                let edges = edges(&a, 10);
                let now = count((0..m).map(|_| seeded.normal()), &edges);
                let bins: Vec<(u64, u64)> = count(a, &edges).into_iter().zip(now).collect();
                let value = half_count(bins.iter().copied());
                low += u64::from(null(&bins, value, draws, round).p <= 0.1);
            }
            assert!((20..=62).contains(&low), "{low} of 400 below 0.1 at {n} and {m}");
        }
    }

    proptest! {
        #[test]
        fn the_index_is_finite_symmetric_and_not_negative(bins in prop::collection::vec((0_u64..50, 0_u64..50), 0..40)) {
            let value = half_count(bins.iter().copied());
            prop_assert!(value >= 0.0 && value.is_finite());
            let back = half_count(bins.iter().map(|(a, b)| (*b, *a)));
            prop_assert!((value - back).abs() < 1e-12);
            let p = null(&bins, value, 400, 3).p;
            prop_assert!((0.0..=1.0).contains(&p));
        }

        #[test]
        fn every_value_falls_into_one_bin(mut values in prop::collection::vec(-1e12_f64..1e12, 0..60), bins in 2_u32..40) {
            values.sort_by(f64::total_cmp);
            let edges = edges(&values, bins);
            prop_assert!(edges.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert_eq!(count(values.iter().copied(), &edges).iter().sum::<u64>(), values.len() as u64);
        }
    }
}
