//! Values that are missing, for models that need every one: as a season before or after, else on the line between neighbours.

/// The series without gaps: every value that is not finite is replaced. Nothing when there is no value at all.
pub(crate) fn fill(values: &[f64], periods: &[usize]) -> Option<Vec<f64>> {
    let first = values.iter().position(|v| v.is_finite())?;
    let mut full = values.to_vec();
    full[..first].fill(values[first]);
    let mut t = first + 1;
    while t < values.len() {
        if values[t].is_finite() {
            t += 1;
            continue;
        }
        let end = (t..values.len()).find(|u| values[*u].is_finite()).unwrap_or(values.len());
        let before = full[t - 1];
        let gap = (end - t + 1) as f64;
        // A short gap is a line; a longer one repeats the shortest season around it, if there is one.
        let season = periods.iter().copied().find(|m| *m >= 2 && end - t > m / 6 && t >= *m);
        for u in t..end {
            let line = values.get(end).map_or(before, |after| before + (after - before) * ((u - t + 1) as f64 / gap));
            full[u] = season.map_or(line, |m| full[u - m]);
        }
        t = end;
    }
    Some(full)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_short_gap_is_a_line_and_a_long_one_a_season() {
        let gap = f64::NAN;
        assert_eq!(fill(&[gap, 1.0, gap, 3.0, gap], &[]).unwrap(), [1.0, 1.0, 2.0, 3.0, 3.0]);
        let mut values: Vec<f64> = (0..24).map(|t| f64::from(t % 8)).collect();
        values[10..16].fill(gap);
        let full = fill(&values, &[8]).unwrap();
        assert_eq!(full, (0..24).map(|t| f64::from(t % 8)).collect::<Vec<_>>());
        assert_eq!(fill(&[gap, f64::INFINITY], &[]), None);
        assert_eq!(fill(&[], &[]), None);
    }
}
