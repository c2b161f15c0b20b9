//! The seasonal naive forecast: as it was a season ago. What every other model has to beat.

/// The values of the last season, again and again. `period` 1 is the naive forecast: as it was just now.
pub(crate) fn forecast(history: &[f64], period: usize, horizon: usize) -> Option<Vec<f64>> {
    let last = &history[history.len().checked_sub(period.max(1))?..];
    Some((0..horizon).map(|k| last[k % last.len()]).collect())
}

/// Mean absolute difference to a season before, the scale of the MASE (Hyndman and Koehler 2006). `None` without two values a
/// season apart.
pub(crate) fn error(values: &[f64], period: usize) -> Option<f64> {
    let pairs = values.len().checked_sub(period).filter(|pairs| *pairs > 0)?;
    let sum: f64 = values.iter().zip(&values[period..]).map(|(before, now)| (now - before).abs()).sum();
    Some(sum / pairs as f64)
}

/// The period (1 when none is better) by which the series repeats best, of those it has two seasons of.
pub(crate) fn dominant(values: &[f64], periods: &[usize]) -> usize {
    let mut best = (1, error(values, 1).unwrap_or(f64::INFINITY));
    for &period in periods.iter().filter(|m| **m > 1 && values.len() >= 2 * **m) {
        if let Some(e) = error(values, period).filter(|e| *e < best.1) {
            best = (period, e);
        }
    }
    best.0
}
