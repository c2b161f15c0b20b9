//! Levels that changed: the history before a step is moved to where the series is now, so that seasons are learnt from all of it and the
//! level from what came after. Otherwise every model goes on expecting the old level, for as long as most of the history has it.
//!
//! In the differences to a season before, a step is a box: they are off by its size from it on until a season later, and nowhere else. It
//! is looked for by the medians on either side (Tukey's running medians, which keep edges). To be one, the edge must be far beyond those
//! elsewhere in the same series, the values on either side must be told apart, and moving the past must make the series repeat itself
//! better by half of what a step of its size costs: the end of a box fails there. What is moved is a sum or a factor, whichever leaves less.

use crate::stats::theil_sen::median;

/// So many times the difference that one place in five has, and it is a step.
const FAR: f64 = 4.0;
/// The share of a step's cost that must be gone.
const GAIN_MIN: f64 = 0.5;
/// The share of values that lie on their own side of a step.
const APART: f64 = 0.9;
/// Not even one value in so many was ever so far off.
const NEVER: usize = 500;
/// Steps that are looked for; a history with more of them lives by steps.
const STEPS_MAX: usize = 4;
/// Places in a window between two that are looked at.
const PLACES: usize = 12;
/// Values on either side of a step, at least.
const BESIDE_MIN: usize = 4;

/// The history with its past at the level of its end, and the places of the steps; `periods` ascending. Values that are not finite are
/// missing and stay so. Without a period nothing is moved.
pub(super) fn levelled(values: &[f64], periods: &[usize]) -> (Vec<f64>, Vec<usize>) {
    let mut level = values.to_vec();
    let mut steps = Vec::new();
    let fits = |m: &usize| *m >= 2 * BESIDE_MIN && values.len() >= 2 * *m + BESIDE_MIN;
    let Some(&shortest) = periods.iter().find(|m| fits(m)) else { return (level, steps) };
    // Seven seasons of a day are a week, which a step may hide; from a week to the next, days of the week do not look like steps.
    let mut seasons: Vec<usize> = periods.iter().copied().chain([7 * shortest]).filter(fits).collect();
    seasons.sort_unstable();
    seasons.dedup();
    let beside = (shortest / 2).max(BESIDE_MIN);
    while let Some((at, change)) = seasons.iter().rev().find_map(|season| step(&level, *season, beside)) {
        if steps.len() == STEPS_MAX {
            return (values.to_vec(), Vec::new());
        }
        level[..at].iter_mut().for_each(|v| *v = change.of(*v));
        steps.push(at);
    }
    (level, steps)
}

/// What a step did to the values.
#[derive(Debug, Clone, Copy)]
enum Change {
    Sum(f64),
    Factor(f64),
}

impl Change {
    fn of(self, value: f64) -> f64 {
        match self {
            Change::Sum(by) => value + by,
            Change::Factor(by) => value * by,
        }
    }
}

/// The step that it pays most to undo.
fn step(values: &[f64], season: usize, beside: usize) -> Option<(usize, Change)> {
    let n = values.len();
    let apart: Vec<f64> = (season..n).map(|t| values[t] - values[t - season]).collect();
    let mut others = Vec::with_capacity(beside);
    let mut middle = |range: std::ops::Range<usize>| {
        others.clear();
        others.extend(apart[range].iter().copied().filter(|v| v.is_finite()));
        if others.len() < BESIDE_MIN { f64::NAN } else { median(&mut others) }
    };
    let stride = (beside / PLACES).max(1);
    let mut edges = Vec::new();
    for at in (beside..(apart.len() + 1).saturating_sub(beside)).step_by(stride) {
        let edge = middle(at..at + beside) - middle(at - beside..at);
        if edge.is_finite() {
            edges.push((at, edge.abs()));
        }
    }
    let mut sizes: Vec<f64> = edges.iter().map(|(_, edge)| *edge).collect();
    sizes.sort_unstable_by(f64::total_cmp);
    let bound = FAR * sizes.get(sizes.len() * 4 / 5)?;
    let mut best: Option<(f64, usize, Change)> = None;
    // Highest of their surroundings only.
    for (index, &(at, edge)) in edges.iter().enumerate() {
        let around = &edges[index.saturating_sub(PLACES)..(index + PLACES + 1).min(edges.len())];
        if edge <= bound || edge <= 0.0 || around.iter().any(|(_, other)| *other > edge) {
            continue;
        }
        if let Some((gain, at, change)) = undone(values, season, season + at, beside)
            && best.is_none_or(|(most, ..)| gain > most)
        {
            best = Some((gain, at, change));
        }
    }
    best.map(|(_, at, change)| (at, change))
}

/// What it gains to undo a step near a place, where it is exactly, and how it is undone. Nothing when it gains too little.
fn undone(values: &[f64], season: usize, near: usize, beside: usize) -> Option<(f64, usize, Change)> {
    let n = values.len();
    let stride = (beside / PLACES).max(1);
    let end = n.min(near + season);
    let pairs =
        |from: usize, to: usize| (from..to).map(|t| (values[t - season], values[t])).filter(|(a, b)| a.is_finite() && b.is_finite());
    let left = |change: Change, from: usize, to: usize| pairs(from, to).map(|(before, now)| (now - change.of(before)).abs()).sum::<f64>();
    let measure = |from: usize, to: usize| {
        let mut by: Vec<f64> = pairs(from, to).map(|(before, now)| now - before).collect();
        let mut ratios: Vec<f64> = pairs(from, to).filter(|(a, b)| *a > 0.0 && *b > 0.0).map(|(before, now)| now / before).collect();
        if by.len() < BESIDE_MIN {
            return None;
        }
        let factor = if ratios.len() == by.len() { median(&mut ratios) } else { f64::NAN };
        let (sum, factor) = (median(&mut by), Change::Factor(factor));
        let change = if left(factor, from, to) < left(Change::Sum(sum), from, to) { factor } else { Change::Sum(sum) };
        Some((sum, change))
    };
    let (_, change) = measure(near, end)?;
    // The windows of medians say where to within their stride and a value or two: where the two sides are told apart best.
    let (first, last) = (near.saturating_sub(2 * stride + 2).max(season), (near + 2 * stride + 2).min(n - 1));
    let cost = |at: usize| left(Change::Sum(0.0), first, at) + left(change, at, last + 1);
    let at = (first..=last).map(|at| (cost(at), at)).min_by(|a, b| a.0.total_cmp(&b.0))?.1;
    let end = n.min(at + season);
    let (sum, change) = measure(at, end)?;
    // The two sides are told apart: values from the step on lie on its far side, and those of as long before on its near side.
    let beyond = |from: usize, to: usize| pairs(from, to).filter(|(before, now)| (now - before) / sum > 0.5).count();
    let start = at.saturating_sub((end - at).max(beside)).max(season);
    let (after, before) = (pairs(at, end).count(), pairs(start, at).count());
    if (beyond(at, end) as f64) < APART * after as f64 || beyond(start, at) as f64 > (1.0 - APART) * before as f64 {
        return None;
    }
    // Before most of a day has passed it may be a holiday: then only what never was so far off is believed.
    if n - at < beside + beside / 2 {
        let (far, all) = pairs(season, at).fold((0, 0), |(far, all), (a, b)| (far + usize::from((b - a).abs() > 0.5 * sum.abs()), all + 1));
        if n - at < beside || far * NEVER > all {
            return None;
        }
    }
    let gain = left(Change::Sum(0.0), at, end) - left(change, at, end);
    (gain > GAIN_MIN * sum.abs() * (end - at) as f64).then_some((gain, at, change))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::seeded::Seeded;

    fn days(seed: u64, n: u32, week: bool) -> Vec<f64> {
        let mut source = Seeded::new(seed);
        let weekend = |t: u32| if week && t / 24 % 7 >= 5 { 0.6 } else { 1.0 };
        let wave = |t: u32| 10.0 * weekend(t) * (f64::from(t) * std::f64::consts::TAU / 24.0).sin();
        (0..n).map(|t| 100.0 * weekend(t) + wave(t) + source.normal()).collect()
    }

    #[test]
    fn the_past_is_moved_to_where_the_series_is_now() {
        for back in [12, 24, 48, 72] {
            for factor in [0.5, 1.3, 2.0] {
                let mut values = days(1, 672, false);
                let at = values.len() - back;
                let before = values.clone();
                values[at..].iter_mut().for_each(|v| *v *= factor);
                let (level, steps) = levelled(&values, &[24]);
                assert!(steps.len() == 1 && steps[0].abs_diff(at) <= 1, "{back} {factor}: {steps:?}");
                let off = level.iter().zip(&before).map(|(a, b)| (a / factor - b).abs()).sum::<f64>() / 672.0;
                assert!(off < 2.0, "{back} {factor}: {off}");
            }
        }
    }

    #[test]
    fn what_comes_again_is_no_step() {
        for seed in 0..20 {
            for (week, periods) in [(false, vec![24]), (true, vec![24]), (true, vec![24, 168])] {
                let values = days(seed, 672, week);
                assert_eq!(levelled(&values, &periods), (values.clone(), vec![]), "{seed} {week} {periods:?}");
            }
        }
    }

    #[test]
    fn gaps_constants_and_few_values_are_no_trouble() {
        for n in 0..60 {
            let values = vec![7.0; n];
            assert_eq!(levelled(&values, &[24]), (values, vec![]));
        }
        let mut values = days(3, 672, false);
        values[650..].iter_mut().for_each(|v| *v += 80.0);
        values[100..130].fill(f64::NAN);
        values[660..664].fill(f64::NAN);
        let (level, steps) = levelled(&values, &[24]);
        assert!(steps == [650] && level.iter().zip(&values).all(|(a, b)| a.is_finite() == b.is_finite()), "{steps:?}");
    }
}
