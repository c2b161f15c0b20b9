//! Values that say nothing about those to come: a spike, a dropped reading, an outage of minutes in a series of hours. One of them at the
//! end of a history would carry every forecast away, and one within it widens every interval.
//!
//! A value is one when it is far, by the spread of all of them, both from its neighbours and from the same place in the seasons around
//! it (Hampel 1974, "The influence curve and its role in robust estimation": median and median absolute deviation, which outliers do not
//! move). What lasts is a new level, what comes again is a season, and what is frequent is how the series is: neither is touched.

use crate::stats::real;
use crate::stats::theil_sen::median;

/// So many robust standard deviations are far. Wide, because histories of counts and latencies have heavy tails.
const FAR: f64 = 12.0;
/// Neighbours on either side.
const NEAR: usize = 4;
/// At the end nobody knows yet whether it lasts; longer than this it is believed.
const AT_END_MAX: usize = 2;
/// A larger share of a history is part of its nature.
const SHARE_MAX: f64 = 0.02;
/// The median absolute deviation of normal values times this is their standard deviation.
const NORMAL: f64 = 1.482_602_218_505_602;

/// Which of the values are outliers; `period` is the shortest season, in steps. Values that are not finite are none.
pub(super) fn outliers(values: &[f64], period: Option<usize>) -> Vec<bool> {
    let n = values.len();
    let mut far = vec![false; n];
    let before = residuals(values, |t| t.saturating_sub(NEAR)..t);
    let after = residuals(values, |t| t + 1..n.min(t + 1 + NEAR));
    // On either side of a new level a value is near to one side.
    let near = |(before, after): (&f64, &f64)| if after.is_nan() || before.abs() <= after.abs() { *before } else { *after };
    let bound = mark(&before.iter().zip(&after).map(near).collect::<Vec<_>>(), &mut far, |far, is| *far = is);
    if let Some(m) = period {
        let seasonal = residuals(values, |t| {
            let back = |k: usize| t.checked_sub(k * m);
            let ahead = |k: usize| Some(t + k * m).filter(|u| *u < n);
            let around = [back(1), ahead(1), back(2), ahead(2), back(3), ahead(3)];
            around.into_iter().flatten().take(4)
        });
        mark(&seasonal, &mut far, |far, is| *far &= is);
    }
    // At the end, values that are alike are where the series is now.
    let last = values.last().copied().unwrap_or_default();
    let alike = values.iter().rev().take_while(|v| (*v - last).abs() <= bound).count();
    if alike > AT_END_MAX {
        far[n - alike..].fill(false);
    }
    let longest = period.map_or(AT_END_MAX, |m| m / 4).clamp(AT_END_MAX, NEAR);
    let mut t = 0;
    while t < n {
        let end = (t..n).find(|u| !far[*u]).unwrap_or(n);
        if end - t > if end == n { AT_END_MAX } else { longest } {
            far[t..end].fill(false);
        }
        t = end + 1;
    }
    if real(far.iter().filter(|far| **far).count() as u64) > SHARE_MAX * real(n as u64) {
        far.fill(false);
    }
    far
}

/// What every value is away from the median of those beside it; not a number where nothing is.
fn residuals<I: Iterator<Item = usize>>(values: &[f64], beside: impl Fn(usize) -> I) -> Vec<f64> {
    let mut others = Vec::new();
    (0..values.len())
        .map(|t| {
            others.clear();
            others.extend(beside(t).filter_map(|u| values.get(u)).filter(|v| v.is_finite()));
            if others.len() < 2 { f64::NAN } else { values[t] - median(&mut others) }
        })
        .collect()
}

/// Says which are far, and from where on.
fn mark(residuals: &[f64], far: &mut [bool], set: impl Fn(&mut bool, bool)) -> f64 {
    let mut sizes: Vec<f64> = residuals.iter().map(|r| r.abs()).filter(|r| r.is_finite()).collect();
    let bound = if sizes.is_empty() { f64::INFINITY } else { FAR * NORMAL * median(&mut sizes) };
    for (far, r) in far.iter_mut().zip(residuals) {
        // Where nothing is beside it, nothing speaks against it either.
        set(far, r.abs() > bound);
    }
    bound
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::seeded::Seeded;

    fn days(seed: u64) -> Vec<f64> {
        let mut source = Seeded::new(seed);
        (0..504).map(|t| 100.0 + 10.0 * (f64::from(t) * std::f64::consts::TAU / 24.0).sin() + source.normal()).collect()
    }

    fn found(values: &[f64]) -> Vec<usize> {
        outliers(values, Some(24)).iter().enumerate().filter(|(_, far)| **far).map(|(t, _)| t).collect()
    }

    #[test]
    fn spikes_and_short_outages_are_found_and_nothing_else() {
        let mut values = days(1);
        assert_eq!(found(&values), [0; 0]);
        for (t, value) in [(100, 1_000.0), (200, 0.0), (201, 0.0), (202, 0.0), (503, 10_000.0)] {
            values[t] = value;
        }
        assert_eq!(found(&values), [100, 200, 201, 202, 503]);
    }

    #[test]
    fn what_lasts_comes_again_or_is_frequent_stays() {
        let mut shifted = days(2);
        shifted[300..].iter_mut().for_each(|v| *v += 200.0);
        assert_eq!(found(&shifted), [0; 0]);
        let mut fresh = days(3);
        fresh[501..].iter_mut().for_each(|v| *v += 200.0);
        assert_eq!(found(&fresh), [0; 0], "three values at the end may be the new level");
        let mut nightly = days(4);
        (3..504).step_by(24).for_each(|t| nightly[t] = 900.0);
        assert_eq!(found(&nightly), [0; 0]);
        let mut bursts = days(5);
        (0..504).step_by(17).for_each(|t| bursts[t] = 900.0);
        assert_eq!(found(&bursts), [0; 0]);
    }

    #[test]
    fn gaps_constants_and_few_values_are_no_trouble() {
        let mut gaps = days(6);
        gaps[50..90].fill(f64::NAN);
        assert_eq!(found(&gaps), [0; 0]);
        assert_eq!(found(&[5.0; 60]), [0; 0]);
        for n in 0..10 {
            assert_eq!(outliers(&vec![f64::INFINITY; n], None), vec![false; n]);
        }
        let mut constant = vec![5.0; 100];
        constant[99] = 6.0;
        assert_eq!(found(&constant), [99]);
    }
}
