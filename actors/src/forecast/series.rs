//! Points in time on an even grid: what every model here stands on.

use homeostat_schemas::{Ms, UnixMs};

/// Cells that are kept; of a longer series the last ones.
pub const CELLS_MAX: usize = 200_000;

/// Distances that clocks are set to, ms.
const USUAL: [Ms; 22] = [
    1_000,
    2_000,
    5_000,
    10_000,
    15_000,
    20_000,
    30_000,
    60_000,
    120_000,
    180_000,
    300_000,
    600_000,
    900_000,
    1_200_000,
    1_800_000,
    3_600_000,
    7_200_000,
    10_800_000,
    21_600_000,
    43_200_000,
    86_400_000,
    604_800_000,
];

/// Times before this are hardly Unix milliseconds (it is March 1973): seconds perhaps, or numbers of rows.
const EPOCH_MS: UnixMs = 100_000_000_000;

/// A series at equal distances.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Time of the first cell.
    pub start: UnixMs,
    /// Time from cell to cell, at least 1.
    pub step: Ms,
    /// One value a cell: the mean of the points in it; not a number where there is none.
    pub values: Vec<f64>,
    /// For every point, in the order they were given, its cell; nothing for those that lie before the first cell.
    pub cells: Vec<Option<usize>>,
}

impl Series {
    /// Puts points on a grid. They may be unordered, repeated, irregular, and have values that are not finite (missing).
    ///
    /// The step is the median distance, drawn to a usual one (a minute, an hour) that is within 3 %; where distances are not about
    /// multiples of it, it is their mean.
    #[must_use]
    pub fn of(points: &[(UnixMs, f64)]) -> Series {
        let mut times: Vec<UnixMs> = points.iter().map(|(at, _)| *at).collect();
        times.sort_unstable();
        times.dedup();
        let (Some(&first), Some(&last)) = (times.first(), times.last()) else {
            return Series { start: 0, step: 1, values: Vec::new(), cells: Vec::new() };
        };
        let step = step(&times);
        // To the nearest cell, counted from the last point: what matters most stands exactly.
        let cells_back = |at: UnixMs| usize::try_from((last - at).saturating_add(step / 2) / step).unwrap_or(usize::MAX);
        let length = cells_back(first).saturating_add(1).min(CELLS_MAX);
        let mut sums = vec![(0.0_f64, 0_u32); length];
        let mut cells = Vec::with_capacity(points.len());
        for (at, value) in points {
            let cell = (length - 1).checked_sub(cells_back(*at));
            cells.push(cell);
            if let Some((mean, count)) = cell.and_then(|cell| sums.get_mut(cell)).filter(|_| value.is_finite()) {
                *count += 1;
                *mean += (value - *mean) / f64::from(*count);
            }
        }
        let values = sums.into_iter().map(|(mean, count)| if count > 0 { mean } else { f64::NAN }).collect();
        Series { start: last.saturating_sub(step.saturating_mul(length as u64 - 1)), step, values, cells }
    }

    /// The time of a cell, also of one that is still to come.
    #[must_use]
    pub fn at(&self, cell: usize) -> UnixMs {
        self.start.saturating_add(self.step.saturating_mul(cell as u64))
    }

    /// The step in milliseconds, where the times are Unix milliseconds.
    #[must_use]
    pub fn step_ms(&self) -> Option<Ms> {
        (self.start >= EPOCH_MS && self.step >= 1_000).then_some(self.step)
    }
}

/// The distance of a grid through ascending, distinct times.
fn step(times: &[UnixMs]) -> Ms {
    let mut distances: Vec<Ms> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    if distances.is_empty() {
        return 1;
    }
    distances.sort_unstable();
    let median = distances[distances.len() / 2].max(1);
    let multiple = |d: &&Ms| {
        let ratio = **d as f64 / median as f64;
        ratio >= 0.5 && (ratio - ratio.round()).abs() <= 0.25
    };
    let step = if distances.iter().filter(multiple).count() * 10 >= distances.len() * 6 {
        median
    } else {
        ((times[times.len() - 1] - times[0]) / distances.len() as u64).max(1)
    };
    USUAL.into_iter().find(|usual| step.abs_diff(*usual) * 100 <= *usual * 3).unwrap_or(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: UnixMs = 1_760_000_000_000;

    #[test]
    fn a_gap_is_empty_cells_and_jitter_is_not() {
        let points: Vec<_> = [0, 61, 119, 300, 358].iter().zip(1..).map(|(s, v)| (T + s * 1_000, f64::from(v))).collect();
        let series = Series::of(&points);
        assert_eq!((series.step, series.values.len()), (60_000, 7));
        assert_eq!(series.cells, [0, 1, 2, 5, 6].map(Some));
        assert!(series.values[3].is_nan() && series.values[4].is_nan());
        assert_eq!(series.at(7), T + 358_000 + 60_000);
        assert_eq!(series.step_ms(), Some(60_000));
    }

    #[test]
    fn order_repetition_and_missing_values_do_no_harm() {
        let series = Series::of(&[(20, 3.0), (0, 1.0), (10, f64::NAN), (20, 5.0), (10, 2.0)]);
        assert_eq!(series.values, [1.0, 2.0, 4.0]);
        assert_eq!((series.start, series.step, series.step_ms()), (0, 10, None));
    }

    #[test]
    fn nothing_one_point_and_the_ends_of_time_are_series_too() {
        assert_eq!(Series::of(&[]).values.len(), 0);
        assert_eq!(Series::of(&[(7, 1.0)]).values, [1.0]);
        let wide = Series::of(&[(0, 1.0), (1, 2.0), (2, 2.0), (3, 2.0), (u64::MAX, 3.0)]);
        assert_eq!(wide.values.len(), CELLS_MAX);
        assert_eq!(wide.values.last(), Some(&3.0));
    }
}
