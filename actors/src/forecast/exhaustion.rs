//! When a limit is reached: first passage over paths made of the forecast and of errors drawn from the past.
//!
//! A line through the last day (`predict_linear`) knows neither the time of day nor how sure it is. Here the forecast is the middle,
//! and around it go paths in which the errors of a seasonal autoregression are drawn with replacement and feed on themselves (a
//! residual bootstrap; Efron and Tibshirani 1993). The answer is a distribution.

use super::fill::fill;
use super::sar::{Sar, Width};
use super::scale::Scale;
use serde::{Deserialize, Serialize};

/// Paths that are drawn.
const PATHS: usize = 200;
/// Seed of the draws: the same history gives the same paths.
const SEED: u64 = 0x5eed_f0ca_57ed_0001;

/// When a limit is reached, in steps from now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Exhaustion {
    /// The limit.
    pub limit: f64,
    /// Share of the paths that reach it within the horizon.
    pub probability: f64,
    /// One path in ten has reached it by then; nothing when that is beyond the horizon.
    pub p10: Option<u32>,
    /// Every other path has.
    pub p50: Option<u32>,
    /// Nine paths in ten have.
    pub p90: Option<u32>,
}

/// First passage of `limit` from below. `means` is the forecast of what follows `values` (missing ones not finite). `None` when too
/// little is known.
#[must_use]
pub fn exhaustion(values: &[f64], periods: &[usize], means: &[f64], limit: f64) -> Option<Exhaustion> {
    let known: Vec<bool> = values.iter().map(|v| v.is_finite()).collect();
    let full = fill(values, periods)?;
    let scale = Scale::of(&full, false);
    let inside = scale.all_inside(&full);
    let sar = Sar::fit(&inside, &known, periods, Width::Narrow, 1e-2)?;
    let reach = sar.reach();
    let misses: Vec<f64> = (reach..inside.len()).filter(|t| known[*t]).map(|t| inside[t] - sar.next(&inside[..t])).collect();
    let middle = misses.iter().sum::<f64>() / misses.len().max(1) as f64;
    let plain = sar.forecast(&inside, means.len())?;
    let aim: Vec<f64> = means.iter().map(|v| scale.inside(*v)).collect();
    let bound = scale.inside(limit);
    let mut state = SEED;
    let mut draw = |n: usize| {
        // xorshift64 (Marsaglia 2003): chance only has to look like it here.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from((state >> 11) % n.max(1) as u64).unwrap_or_default()
    };
    let mut passed = Vec::with_capacity(PATHS);
    let mut path = Vec::with_capacity(reach + means.len());
    for _ in 0..PATHS {
        path.clear();
        path.extend_from_slice(&inside[inside.len() - reach..]);
        for k in 0..means.len() {
            let miss = misses.get(draw(misses.len())).copied().unwrap_or_default() - middle;
            let next = sar.next(&path) + miss;
            path.push(next);
            // What the path strays from the plain forecast, around the one that is trusted.
            if aim[k] + next - plain[k] >= bound {
                passed.push(u32::try_from(k + 1).unwrap_or(u32::MAX));
                break;
            }
        }
    }
    passed.sort_unstable();
    let at = |share: f64| passed.get(((PATHS as f64 * share).ceil() as usize).max(1) - 1).copied();
    Some(Exhaustion { limit, probability: passed.len() as f64 / PATHS as f64, p10: at(0.1), p50: at(0.5), p90: at(0.9) })
}
