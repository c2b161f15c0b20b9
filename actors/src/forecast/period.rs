//! Which seasons a series has: by autocorrelation at the lengths that services live by, and by the first clear peak otherwise.
//!
//! A periodogram finds the wrong season where a daily shape has strong harmonics; autocorrelation at a day and at a week does not.

use super::theta::slope;

/// Rise of the autocorrelation, from its lowest point before a period to the period, that makes it one.
const RISE: f64 = 0.2;
/// The same where nobody would expect the period.
const RISE_UNEXPECTED: f64 = 0.4;
/// How much more of it there must be from change to change: of noise, neighbouring changes have an autocorrelation of −½.
const CHANGES_RISE: f64 = 0.6;
/// By how much a week must be more alike than six and eight days.
const WEEK_RISE: f64 = 0.03;
/// Longest lag of the search for a peak where no step is known.
const SCAN_MAX: usize = 400;
/// Values that are looked at; the last ones.
const LOOK_MAX: usize = 4_096;

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

/// The periods of a series, ascending, at most two. `values` are complete; `step_ms` is the time between two of them, when that
/// is known.
pub(crate) fn detect(values: &[f64], step_ms: Option<u64>) -> Vec<usize> {
    let values = &values[values.len().saturating_sub(LOOK_MAX)..];
    let found = Acf::of(values, 0.0).map_or_else(Vec::new, |acf| acf.periods(step_ms));
    if !found.is_empty() {
        return found;
    }
    // A level that changed outweighs every season; from one value to the next it changed once.
    let changes: Vec<f64> = values.windows(2).map(|pair| pair[1] - pair[0]).collect();
    Acf::of(&changes, CHANGES_RISE).map_or_else(Vec::new, |acf| acf.periods(step_ms))
}

/// The autocorrelation of a series without its line.
struct Acf {
    values: Vec<f64>,
    variance: f64,
    /// By how much more than in a series a rise is one.
    more: f64,
}

impl Acf {
    fn of(values: &[f64], more: f64) -> Option<Acf> {
        if values.len() < 8 {
            return None;
        }
        let n = values.len() as f64;
        let (mean, slope) = (values.iter().sum::<f64>() / n, slope(values));
        let mut values: Vec<f64> = values.iter().enumerate().map(|(t, v)| v - mean - slope * (t as f64 - (n - 1.0) / 2.0)).collect();
        // A spike must not hide the rest: what is far out is drawn in.
        let mut sizes: Vec<f64> = values.iter().map(|v| v.abs()).collect();
        sizes.sort_unstable_by(f64::total_cmp);
        let bound = 4.0 * sizes[sizes.len() * 3 / 4];
        if bound > 0.0 {
            values.iter_mut().for_each(|v| *v = v.clamp(-bound, bound));
        }
        let variance = values.iter().map(|v| v * v).sum::<f64>() / n;
        (variance > 0.0 && variance.is_finite()).then_some(Acf { values, variance, more })
    }

    /// The periods that it shows, ascending, at most two.
    fn periods(&self, step_ms: Option<u64>) -> Vec<usize> {
        match step_ms.filter(|step| *step > 0) {
            Some(step) if step <= DAY => {
                let steps = |span: u64| usize::try_from(span / step).ok().filter(|m| *m >= 2 && span.is_multiple_of(step));
                let day = steps(DAY).filter(|m| self.rises(*m, RISE));
                let week = steps(7 * DAY).filter(|m| match steps(DAY) {
                    Some(day) if day >= 2 => self.beats_neighbours(*m, day),
                    _ => self.rises(*m, RISE),
                });
                let mut found: Vec<usize> = day.into_iter().chain(week).collect();
                // Minutes may have a beat within the hour (jobs, scrapes).
                if found.is_empty() {
                    found.extend(steps(HOUR).filter(|m| self.rises(*m, RISE_UNEXPECTED)));
                }
                if found.is_empty() {
                    found.extend(self.peak());
                }
                found
            }
            _ => {
                // Hours, half hours, quarters, ten and five minutes of a day with the week to each; days of a week; months.
                for day in [24, 48, 96, 144, 288] {
                    if self.rises(day, RISE) && self.is_peak(day) {
                        let mut found = vec![day];
                        found.extend(Some(7 * day).filter(|week| self.beats_neighbours(*week, day)));
                        return found;
                    }
                }
                // Days of a week and months of a year, in short histories.
                let short = [7, 12].into_iter().find(|m| self.values.len() < 24 * m && self.rises(*m, RISE_UNEXPECTED) && self.is_peak(*m));
                short.or_else(|| self.peak()).into_iter().collect()
            }
        }
    }

    /// At a lag; nothing where fewer than two of its lengths are there.
    fn at(&self, lag: usize) -> Option<f64> {
        let pairs = self.values.len().checked_sub(lag).filter(|pairs| *pairs >= lag.max(4))?;
        let sum = self.values.iter().zip(&self.values[lag..]).fold(0.0, |sum, (a, b)| sum + a * b);
        Some(sum / pairs as f64 / self.variance)
    }

    fn noise(&self) -> f64 {
        2.0 / (self.values.len() as f64).sqrt()
    }

    /// Is it higher at `m` than at its lowest before, by more than chance?
    fn rises(&self, m: usize, by: f64) -> bool {
        let Some(here) = self.at(m) else { return false };
        let stride = (m / 24).max(1);
        let lowest = (1..m).step_by(stride).filter_map(|lag| self.at(lag)).fold(f64::INFINITY, f64::min);
        let by = by.max(0.8 * self.noise()) + self.more;
        here > by.min(0.5) / 2.0 && (here - lowest > by)
    }

    /// Is it highest at `m` in its neighbourhood?
    fn is_peak(&self, m: usize) -> bool {
        let Some(here) = self.at(m) else { return false };
        let near = (m / 6).max(1);
        let highest = |lags: std::ops::RangeInclusive<usize>| lags.filter_map(|lag| self.at(lag)).fold(f64::NEG_INFINITY, f64::max);
        here >= highest(m - near..=m - 1) && here >= highest(m + 1..=m + near)
    }

    /// Is it higher at `m` than `by` before and after?
    fn beats_neighbours(&self, m: usize, by: usize) -> bool {
        let Some(here) = self.at(m) else { return false };
        let before = self.at(m - by).unwrap_or(f64::INFINITY);
        let after = self.at(m + by).unwrap_or(f64::NEG_INFINITY);
        here > before + WEEK_RISE && here > after + WEEK_RISE && here > self.noise()
    }

    /// The shortest lag with a clear peak that no longer one beats clearly.
    fn peak(&self) -> Option<usize> {
        let last = SCAN_MAX.min(self.values.len() / 2);
        let acf: Vec<f64> = (1..=last).map_while(|lag| self.at(lag)).collect();
        let by = RISE_UNEXPECTED.max(2.0 * self.noise()) + self.more;
        let (mut lowest, mut peaks) = (f64::INFINITY, Vec::new());
        for i in 0..acf.len() {
            lowest = lowest.min(acf[i]);
            let top = i > 0 && acf[i] >= acf[i - 1] && acf.get(i + 1).is_none_or(|next| acf[i] > *next);
            if top && acf[i] > 0.25 && acf[i] - lowest > by && i + 1 < acf.len() {
                peaks.push((i + 1, acf[i]));
            }
        }
        let highest = peaks.iter().fold(f64::NEG_INFINITY, |high, (_, r)| high.max(*r));
        peaks.into_iter().find(|(_, r)| *r >= 0.9 * highest).map(|(lag, _)| lag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(n: usize, periods: &[(usize, f64)], noise: f64) -> Vec<f64> {
        let mut state = 7_u64;
        (0..n)
            .map(|t| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let chance = (state >> 33) as f64 / f64::from(1_u32 << 31) - 0.5;
                let waves: f64 = periods.iter().map(|(m, a)| a * (std::f64::consts::TAU * t as f64 / *m as f64).sin()).sum();
                waves + noise * chance
            })
            .collect()
    }

    #[test]
    fn a_day_and_a_week_are_found_with_and_without_a_known_step() {
        let values = wave(900, &[(24, 1.0), (168, 0.7)], 0.5);
        assert_eq!(detect(&values, Some(HOUR)), [24, 168]);
        assert_eq!(detect(&values, None), [24, 168]);
        assert_eq!(detect(&wave(900, &[(24, 1.0)], 0.5), Some(HOUR)), [24]);
        assert_eq!(detect(&wave(60, &[(7, 1.0)], 0.5), Some(DAY)), [7]);
        assert_eq!(detect(&wave(300, &[(13, 1.0)], 0.3), None), [13]);
    }

    #[test]
    fn a_season_is_found_although_the_level_changed() {
        for at in [100, 300, 420, 480] {
            let mut values = wave(504, &[(24, 10.0)], 3.0);
            values[at..].iter_mut().for_each(|v| *v += 200.0);
            assert_eq!(detect(&values, Some(HOUR)), [24], "{at}");
            assert_eq!(detect(&values, None), [24], "{at}");
        }
    }

    #[test]
    fn noise_a_line_and_a_constant_have_no_season() {
        assert_eq!(detect(&wave(900, &[], 1.0), Some(HOUR)), [0_usize; 0]);
        assert_eq!(detect(&wave(900, &[], 1.0), None), [0_usize; 0]);
        let line: Vec<f64> = (0..500).map(f64::from).collect();
        assert_eq!(detect(&line, None), [0_usize; 0]);
        assert_eq!(detect(&[5.0; 500], Some(HOUR)), [0_usize; 0]);
        assert_eq!(detect(&[], None), [0_usize; 0]);
    }
}
