//! The Mann–Kendall test for a monotonic trend, corrected for the correlation of neighbours.

use super::theil_sen::{POINTS_MAX, theil_sen};

/// What the test found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trend {
    /// Kendall's S: pairs that rise less pairs that fall.
    pub s: f64,
    /// Standard deviation of S without a trend, corrected for ties and correlation.
    pub deviation: f64,
    /// S over its deviation, with continuity correction: a standard normal variable without a trend.
    pub z: f64,
    /// Correlation of neighbours about the Theil–Sen line, as it was corrected for: 0 to 0.95.
    pub correlation: f64,
}

/// The test of Mann (1945) and Kendall (1975) for values in order of time, with the variance of ties.
///
/// Neighbours that resemble each other make the plain test see trends everywhere. Its variance is multiplied by n / n\* for an
/// autoregressive process of first order (Bayley & Hammersley 1946; used for this test by Yue & Wang 2004):
/// `1 + 2 (ρ^(n+1) − nρ² + (n−1)ρ) / (n (ρ−1)²)`. ρ is the lag-1 correlation of what is left about the Theil–Sen line, because the
/// trend itself would count as correlation (Yue, Pilon et al. 2002). Deviations from these papers: ρ is freed from its bias in
/// short series to first order (Kendall 1954: E[r] ≈ ρ − (1 + 4ρ)/n, here with two fitted parameters: (r + 2/n) / (1 − 4/n)), and
/// a negative one counts as none, so that the correction never makes a trend more significant.
///
/// `x` are the times of the values `y`, any unit. `None` with fewer than four finite values.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn mann_kendall(points: &[(f64, f64)]) -> Option<Trend> {
    let points: Vec<(f64, f64)> =
        points[points.len().saturating_sub(POINTS_MAX)..].iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
    let count = points.len();
    if count < 4 {
        return None;
    }
    let mut s = 0_i64;
    for (index, (_, before)) in points.iter().enumerate() {
        for (_, after) in &points[index + 1..] {
            s += i64::from(after > before) - i64::from(after < before);
        }
    }
    let n = count as f64;
    let mut variance = n * (n - 1.0) * (2.0 * n + 5.0);
    let mut sorted: Vec<f64> = points.iter().map(|(_, y)| *y).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    for ties in sorted.chunk_by(|a, b| a == b).map(|ties| ties.len() as f64) {
        variance -= ties * (ties - 1.0) * (2.0 * ties + 5.0);
    }
    let correlation = correlation(&points);
    let deviation = (variance.max(0.0) / 18.0 * inflation(n, correlation)).sqrt();
    let s = s as f64;
    let continuous = if s == 0.0 { 0.0 } else { s - s.signum() };
    let z = if deviation > 0.0 { continuous / deviation } else { 0.0 };
    Some(Trend { s, deviation, z, correlation })
}

/// By how much the variance of S grows for this correlation of neighbours.
fn inflation(n: f64, rho: f64) -> f64 {
    let sum = rho.powf(n + 1.0) - n * rho * rho + (n - 1.0) * rho;
    (1.0 + 2.0 * sum / (n * (rho - 1.0) * (rho - 1.0))).max(1.0)
}

/// Lag-1 correlation about the Theil–Sen line, freed from its bias, 0 to 0.95.
#[allow(clippy::cast_precision_loss)]
fn correlation(points: &[(f64, f64)]) -> f64 {
    let Some(line) = theil_sen(points, 0.0) else { return 0.0 };
    let rests: Vec<f64> = points.iter().map(|(x, y)| y - line.at(*x)).collect();
    lag_one(&rests)
}

/// Lag-1 correlation of residuals of a fit with two parameters, freed from its bias in short series, 0 to 0.95.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn lag_one(rests: &[f64]) -> f64 {
    let n = rests.len() as f64;
    if rests.len() < 6 {
        return 0.0;
    }
    let mean = rests.iter().sum::<f64>() / n;
    let square: f64 = rests.iter().map(|rest| (rest - mean) * (rest - mean)).sum();
    if square.is_nan() || square <= 0.0 {
        return 0.0;
    }
    let product: f64 = rests.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum();
    ((product / square + 2.0 / n) / (1.0 - 4.0 / n)).clamp(0.0, 0.95)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::cast_precision_loss, clippy::float_cmp)]
mod tests {
    use super::*;

    fn series(values: &[f64]) -> Vec<(f64, f64)> {
        (0_u32..).map(f64::from).zip(values.iter().copied()).collect()
    }

    #[test]
    fn s_and_its_variance_are_those_of_pymannkendall() {
        // pymannkendall.original_test of the same values: s and var_s, with ties.
        let cases: [(&[f64], f64, f64, f64); 2] = [
            (&[3.1, 2.9, 4.4, 4.4, 6.0, 5.2, 7.7, 7.1, 9.0, 8.5], 36.0, 124.0, 3.143_092_785_468_561),
            (&[5.0, 3.0, 5.0, 8.0, 1.0, 5.0, 7.0, 7.0, 2.0, 9.0, 4.0, 6.0], 10.0, 208.0, 0.624_037_720_753_382_8),
        ];
        for (values, s, variance, z) in cases {
            let trend = mann_kendall(&series(values)).unwrap();
            let plain = variance * inflation(values.len() as f64, trend.correlation);
            assert!((trend.s - s).abs() < 1e-12);
            assert!((trend.deviation * trend.deviation - plain).abs() < 1e-9, "{trend:?}");
            // Without correlation it is the plain test.
            assert!((trend.z * trend.deviation - z * variance.sqrt()).abs() < 1e-9, "{trend:?}");
        }
    }

    #[test]
    fn the_inflation_is_the_sum_over_all_lags() {
        // 1 + 2 Σ (1 − k/n) ρ^k, the form in which Bayley and Hammersley give it.
        for (n, rho) in [(12_i32, 0.3_f64), (40, 0.7), (100, 0.9)] {
            let sum: f64 = (1..n).map(|k| (1.0 - f64::from(k) / f64::from(n)) * rho.powi(k)).sum();
            assert!((inflation(f64::from(n), rho) - (1.0 + 2.0 * sum)).abs() < 1e-9, "{n} {rho}");
        }
    }

    #[test]
    fn neighbours_that_resemble_each_other_are_believed_less() {
        let (mut x, mut state) = (0.0, 1_u64);
        let walk: Vec<f64> = (0..60)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                x = 0.9 * x + (state >> 33) as f64 / 2_f64.powi(31) - 0.5;
                x
            })
            .collect();
        let trend = mann_kendall(&series(&walk)).unwrap();
        assert!(trend.correlation > 0.5, "{trend:?}");
        assert!(trend.deviation > 2.0 * (60.0 * 59.0 * 125.0 / 18.0_f64).sqrt(), "{trend:?}");
    }

    #[test]
    fn constants_have_no_trend_and_few_points_no_answer() {
        assert_eq!(mann_kendall(&series(&[7.0; 30])).map(|trend| (trend.s, trend.z)), Some((0.0, 0.0)));
        assert_eq!(mann_kendall(&series(&[1.0, 2.0, 3.0])), None);
        assert_eq!(mann_kendall(&series(&[1.0, f64::NAN, 2.0, f64::INFINITY, 3.0])), None);
    }
}
