//! What has a known cause is taken out of the floors before anybody speaks of growth: load, and single steps.

use super::shape::solve;
use crate::stats::theil_sen::median;

/// The floor of a quarter of an hour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    /// Middle of it, hours since the process started.
    pub hour: f64,
    /// Least memory, in percent of the baseline.
    pub floor: f64,
    /// Mean load, requests a second, when it was reported.
    pub load: Option<f64>,
}

/// A step is a jump of this many robust standard deviations of all jumps …
const STEP_DEVIATIONS: f64 = 5.0;
/// … and of at least so many percent of the baseline.
const STEP_MIN: f64 = 2.0;
/// So many more steps up than down are a staircase: that is growth.
const STAIRCASE: usize = 4;

/// The floors without load and single steps, `(hour, percent)`.
#[must_use]
pub(super) fn clean(points: &[Point]) -> Vec<(f64, f64)> {
    let mut levels = without_load(points);
    clip_steps(&mut levels);
    levels
}

/// Load is taken out where most floors have one and it varies. It acts at once or smoothed over up to an hour, whichever explains
/// more. Where it rises with time, what both explain is the load's.
fn without_load(points: &[Point]) -> Vec<(f64, f64)> {
    let plain = || points.iter().map(|point| (point.hour, point.floor)).collect::<Vec<_>>();
    let known: Vec<&Point> = points.iter().filter(|point| point.load.is_some_and(f64::is_finite)).collect();
    if known.len() < 8 || known.len() * 5 < points.len() * 4 {
        return plain();
    }
    let loads: Vec<f64> = known.iter().map(|point| point.load.unwrap_or_default()).collect();
    let (least, most) = loads.iter().fold((f64::MAX, f64::MIN), |(low, high), load| (low.min(*load), high.max(*load)));
    if most - least <= 0.1 * most.abs() {
        return plain();
    }
    let mut best: Option<(f64, f64, Vec<f64>)> = None;
    for lag in [0.0, 0.25, 0.5, 1.0] {
        let smooth = smoothed(&known, lag);
        let rows = known.iter().zip(&smooth).map(|(point, load)| ([1.0, *load, point.hour], point.floor));
        let alone = known.iter().zip(&smooth).map(|(point, load)| ([1.0, *load, 0.0], point.floor));
        // How much of the load is a line in time?
        let Some((_, rest)) = solve(known.iter().zip(&smooth).map(|(point, load)| ([1.0, point.hour], *load)), 2) else { continue };
        let Some((_, all)) = solve(alone.clone().map(|(row, _)| ([1.0, 0.0], row[1])), 1) else { continue };
        let collinear = rest < 0.2 * all;
        let Some((beta, rss)) = (if collinear { solve(alone, 2) } else { solve(rows, 3) }) else { continue };
        if best.as_ref().is_none_or(|(least, _, _)| rss < *least) {
            best = Some((rss, beta[1], smooth));
        }
    }
    let Some((_, beta, smooth)) = best.filter(|(_, beta, _)| *beta > 0.0) else { return plain() };
    let middle = median(&mut smooth.clone());
    known.iter().zip(&smooth).map(|(point, load)| (point.hour, point.floor - beta * (load - middle))).collect()
}

/// Loads smoothed exponentially over `lag` hours.
fn smoothed(points: &[&Point], lag: f64) -> Vec<f64> {
    let mut state: Option<(f64, f64)> = None;
    points
        .iter()
        .map(|point| {
            let load = point.load.unwrap_or_default();
            let value = match state {
                Some((hour, before)) if lag > 0.0 => {
                    let keep = (-(point.hour - hour).max(0.0) / lag).exp();
                    keep * before + (1.0 - keep) * load
                }
                _ => load,
            };
            state = Some((point.hour, value));
            value
        })
        .collect()
}

/// Replaces single steps by what is usual between neighbours. A staircase is left alone.
fn clip_steps(levels: &mut [(f64, f64)]) {
    if levels.len() < 8 {
        return;
    }
    let jumps: Vec<f64> = levels.windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
    let usual = median(&mut jumps.clone());
    let deviation = 1.4826 * median(&mut jumps.iter().map(|jump| (jump - usual).abs()).collect::<Vec<_>>());
    let limit = (STEP_DEVIATIONS * deviation).max(STEP_MIN);
    let up = jumps.iter().filter(|jump| **jump - usual > limit).count();
    let down = jumps.iter().filter(|jump| usual - **jump > limit).count();
    if up >= down + STAIRCASE {
        return;
    }
    // What falls without having jumped up is a collection or a restart: its fall takes back growth and must count.
    let falls_count = down > up;
    let mut shift = 0.0;
    for (index, jump) in jumps.iter().enumerate() {
        if jump - usual > limit || usual - jump > limit && !falls_count {
            shift += usual - jump;
        }
        levels[index + 1].1 += shift;
    }
}
