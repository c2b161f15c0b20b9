//! The Theil–Sen line: the median of the slopes between all pairs of points, and an interval for it.

/// Most points that are looked at; of a longer series the last ones are. All pairs are formed, so this bounds time and memory
/// (half a million slopes).
pub const POINTS_MAX: usize = 1_024;

/// A line through points `(x, y)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// Units of y in a unit of x.
    pub slope: f64,
    /// The value at x = 0: the median of `y − slope · x`.
    pub intercept: f64,
    /// Lower end of the interval for the slope.
    pub low: f64,
    /// Upper end of the interval for the slope.
    pub high: f64,
}

impl Line {
    /// The value at `x`.
    #[must_use]
    pub fn at(&self, x: f64) -> f64 {
        self.intercept + self.slope * x
    }
}

/// The Theil–Sen line (Theil 1950, Sen 1968) through points `(x, y)`, which may be in any order and have gaps. Pairs with the same x
/// say nothing of the slope and are left out, as in Sen; so are points that are not finite.
///
/// `s_deviation` is the standard deviation of the Mann–Kendall S of the same points (see [`super::mann_kendall`]) times the normal
/// quantile wanted: Sen's interval lies between the slopes of rank (N ∓ C) / 2 of N, where C is that product. A deviation that is
/// corrected for correlation widens the interval by as much, which Sen, who assumed independent errors, did not have.
///
/// `None` with fewer than two different x.
#[must_use]
pub fn theil_sen(points: &[(f64, f64)], s_deviation: f64) -> Option<Line> {
    let points: Vec<(f64, f64)> =
        points[points.len().saturating_sub(POINTS_MAX)..].iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
    let mut slopes = Vec::with_capacity(points.len() * points.len().saturating_sub(1) / 2);
    for (index, &(x1, y1)) in points.iter().enumerate() {
        for &(x2, y2) in &points[index + 1..] {
            let slope = (y2 - y1) / (x2 - x1);
            if slope.is_finite() {
                slopes.push(slope);
            }
        }
    }
    if slopes.is_empty() {
        return None;
    }
    let slope = median(&mut slopes);
    let pairs = slopes.len();
    let (low, high) = (rank(pairs, -s_deviation).saturating_sub(1), rank(pairs, s_deviation).min(pairs - 1));
    let low = *slopes.select_nth_unstable_by(low, f64::total_cmp).1;
    let high = *slopes.select_nth_unstable_by(high, f64::total_cmp).1;
    let mut rests: Vec<f64> = points.iter().map(|(x, y)| y - slope * x).collect();
    Some(Line { slope, intercept: median(&mut rests), low: low.min(slope), high: high.max(slope) })
}

/// The rank (N + C) / 2 among N slopes.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn rank(pairs: usize, deviation: f64) -> usize {
    ((pairs as f64 + deviation) / 2.0).round().clamp(0.0, pairs as f64) as usize
}

/// The median of values, the mean of the two in the middle when they are even in number; 0 of none. Sorts in part.
#[must_use]
pub fn median(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let middle = values.len() / 2;
    let odd = values.len() % 2 == 1;
    let (below, &mut upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    if odd {
        return upper;
    }
    let lower = below.iter().copied().max_by(f64::total_cmp).unwrap_or(upper);
    lower + (upper - lower) / 2.0
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp)]
mod tests {
    use super::*;

    const X: [f64; 10] = [1.0, 2.0, 4.0, 5.0, 7.0, 8.0, 9.0, 11.0, 12.0, 15.0];
    const Y: [f64; 10] = [3.1, 2.9, 4.4, 4.4, 6.0, 5.2, 7.7, 7.1, 9.0, 8.5];

    #[test]
    fn the_line_is_that_of_scipy() {
        let points: Vec<(f64, f64)> = X.into_iter().zip(Y).collect();
        // scipy 1.17.1: stats.theilslopes(y, x, 0.95), intercept as median(y − slope · x).
        let line = theil_sen(&points, 1.959_963_984_540_054 * 124_f64.sqrt()).unwrap();
        for (found, wanted) in [(line.slope, 0.45), (line.intercept, 2.375), (line.low, 0.325), (line.high, 0.62)] {
            assert!((found - wanted).abs() < 1e-12, "{line:?}");
        }
        let mut shuffled = points;
        shuffled.swap(0, 7);
        shuffled.swap(3, 4);
        assert_eq!(theil_sen(&shuffled, 0.0).unwrap().slope, line.slope);
    }

    #[test]
    fn a_few_wild_points_do_not_move_it() {
        let points: Vec<(f64, f64)> = (0..20).map(|n| (f64::from(n), if n % 7 == 3 { 1e9 } else { 2.0 * f64::from(n) })).collect();
        assert!((theil_sen(&points, 0.0).unwrap().slope - 2.0).abs() < 0.5);
    }

    #[test]
    fn where_there_is_no_line_none_is_found() {
        assert_eq!(theil_sen(&[], 0.0), None);
        assert_eq!(theil_sen(&[(1.0, 2.0), (1.0, 3.0)], 0.0), None);
        assert_eq!(theil_sen(&[(1.0, f64::NAN), (2.0, 3.0)], 0.0), None);
        assert_eq!(theil_sen(&[(1.0, 2.0), (3.0, 6.0)], f64::INFINITY).unwrap().slope, 2.0);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(median(&mut [4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut []), 0.0);
    }
}
