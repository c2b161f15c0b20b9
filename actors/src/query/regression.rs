//! `query.regressed`: a shape has become slower than it used to be, long before it is slow.
//!
//! A one-sided CUSUM (Page, "Continuous inspection schemes", Biometrika 1954) on the logarithm of the time of each execution.
//! The first executions of a shape are its baseline; from then on z = (log t − mean) / deviation, clipped to ±3 so that single
//! outliers count little, feeds S = max(0, S + z − k). S above h raises the alert if the executions since S was last 0 are
//! also slower by a ratio that matters. S is held at 2h; back at 0, the shape has recovered.
//!
//! Logarithms are base 2 in 1/1024, and everything is integers: the verdict is the same on every machine. The deviation is
//! taken to be at least a quarter of an octave, for a shape of very even times would otherwise alarm on 5 %.

use super::config::RegressionConfig;
use homeostat_schemas::UnixMs;
use serde::{Deserialize, Serialize};

/// One octave.
const ONE: i64 = 1_024;
/// Least deviation, a quarter of an octave (a ratio of 1.19).
const DEVIATION_MIN: i64 = ONE / 4;
/// How far one execution may lie from the mean, in deviations.
const CLIP: i64 = 3;

/// What is known of the pace of one shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Pace {
    /// Its baseline is being learnt.
    Learning { calls: u32, sum: i64, squares: i64 },
    /// It is being watched.
    Watching(Watch),
}

impl Default for Pace {
    fn default() -> Self {
        Pace::Learning { calls: 0, sum: 0, squares: 0 }
    }
}

/// A shape with a baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Watch {
    mean: i64,
    deviation: i64,
    /// S, in 1/1024 deviations.
    sum: i64,
    /// Executions since S was last 0, and their logarithms added up.
    calls: u32,
    logs: i64,
    /// When the alert was raised.
    pub(super) regressed_ms: Option<UnixMs>,
}

/// What an execution changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Regressed,
    Recovered,
}

impl Pace {
    /// Takes one execution.
    pub(super) fn add(&mut self, took_us: u64, now: UnixMs, config: &RegressionConfig) -> Option<Turn> {
        let log = log2(took_us);
        match self {
            Pace::Learning { calls, sum, squares } => {
                *calls += 1;
                *sum += log;
                *squares += log * log;
                if *calls >= config.learn_calls.clamp(2, 1_000_000) {
                    let n = i64::from(*calls);
                    let variance = (*squares / n - (*sum / n) * (*sum / n)).max(0);
                    *self = Pace::Watching(Watch {
                        mean: *sum / n,
                        deviation: variance.isqrt().max(DEVIATION_MIN),
                        sum: 0,
                        calls: 0,
                        logs: 0,
                        regressed_ms: None,
                    });
                }
                None
            }
            Pace::Watching(watch) => watch.add(log, now, config),
        }
    }

    /// The watch, once there is a baseline.
    pub(super) fn watch(&self) -> Option<&Watch> {
        match self {
            Pace::Learning { .. } => None,
            Pace::Watching(watch) => Some(watch),
        }
    }

    /// Since when it has been regressed, if it is.
    pub(super) fn regressed_ms(&self) -> Option<UnixMs> {
        self.watch().and_then(|watch| watch.regressed_ms)
    }
}

impl Watch {
    fn add(&mut self, log: i64, now: UnixMs, config: &RegressionConfig) -> Option<Turn> {
        let z = ((log - self.mean) * ONE / self.deviation).clamp(-CLIP * ONE, CLIP * ONE);
        let (k, h) = (fixed(config.k), fixed(config.h));
        self.sum = (self.sum + z - k).clamp(0, 2 * h);
        if self.sum == 0 {
            (self.calls, self.logs) = (0, 0);
            return self.regressed_ms.take().map(|_| Turn::Recovered);
        }
        self.calls = self.calls.saturating_add(1);
        self.logs = self.logs.saturating_add(log);
        if self.regressed_ms.is_none() && self.sum > h && self.shift() >= log2_ratio(config.min_ratio) {
            self.regressed_ms = Some(now);
            return Some(Turn::Regressed);
        }
        None
    }

    /// By how much the executions since S was last 0 lie above the baseline.
    fn shift(&self) -> i64 {
        self.logs.checked_div(i64::from(self.calls)).map_or(0, |mean| mean - self.mean)
    }

    /// Executions since the change began.
    pub(super) fn calls(&self) -> u32 {
        self.calls
    }

    /// How many times slower, to three digits.
    pub(super) fn ratio(&self) -> f64 {
        three_digits(exp2(self.shift()))
    }

    /// The geometric mean of the baseline, ms, to three digits.
    pub(super) fn baseline_ms(&self) -> f64 {
        three_digits(exp2(self.mean) / 1_000.0)
    }

    /// The geometric mean since the change began, ms, to three digits.
    pub(super) fn since_ms(&self) -> f64 {
        three_digits(exp2(self.mean + self.shift()) / 1_000.0)
    }
}

/// log2 in 1/1024, within 0.011: the exponent, and between powers of two m − 1 + 0.345 (m − 1)(2 − m) for the mantissa m.
#[allow(clippy::cast_possible_wrap)] // far below the sign bit
pub(super) fn log2(value: u64) -> i64 {
    let value = value.max(1);
    let exponent = value.ilog2();
    let fraction = ((u128::from(value) << 32 >> exponent) as i64 & 0xffff_ffff) >> 22;
    i64::from(exponent) * ONE + fraction + fraction * (ONE - fraction) * 353 / (ONE * ONE)
}

#[allow(clippy::cast_precision_loss)] // small numbers
pub(super) fn exp2(log: i64) -> f64 {
    (log as f64 / ONE as f64).exp2()
}

#[allow(clippy::cast_possible_truncation)] // saturates
fn fixed(value: f64) -> i64 {
    (value.clamp(0.0, 1e6) * ONE as f64) as i64
}

#[allow(clippy::cast_possible_truncation)]
fn log2_ratio(ratio: f64) -> i64 {
    (ratio.max(1.0).log2() * ONE as f64) as i64
}

/// Enough for a person, and too coarse for the last bit of a platform's mathematics to show.
pub(super) fn three_digits(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return 0.0;
    }
    let scale = 10f64.powi(2 - value.log10().floor() as i32);
    (value * scale).round() / scale
}

#[cfg(test)]
#[allow(clippy::cast_precision_loss)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A pseudo-random standard normal number: the sum of twelve uniform ones.
    struct Noise(u64);

    impl Noise {
        fn next(&mut self) -> f64 {
            let mut sum = -6.0;
            for _ in 0..12 {
                self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                sum += (self.0 >> 11) as f64 / (1u64 << 53) as f64;
            }
            sum
        }

        fn took_us(&mut self, median_us: f64) -> u64 {
            (median_us * (0.5 * self.next()).exp()) as u64
        }
    }

    fn learnt(noise: &mut Noise, config: &RegressionConfig) -> Pace {
        let mut pace = Pace::default();
        for _ in 0..config.learn_calls {
            assert_eq!(pace.add(noise.took_us(5_000.0), 0, config), None);
        }
        pace
    }

    #[test]
    fn the_logarithm_is_right_within_a_hundredth() {
        for value in (1..100_000u64).chain([1 << 40, u64::MAX]) {
            assert!((log2(value) as f64 / ONE as f64 - (value as f64).log2()).abs() < 0.011, "{value}");
        }
    }

    #[test]
    fn twice_as_slow_is_seen_within_fifty_executions_and_recovery_too() {
        let config = RegressionConfig::default();
        let mut delays: Vec<usize> = (1..=50)
            .map(|seed| {
                let mut noise = Noise(seed);
                let mut pace = learnt(&mut noise, &config);
                let delay = (1..).find(|_| pace.add(noise.took_us(10_000.0), 1, &config) == Some(Turn::Regressed));
                assert!((1.5..3.0).contains(&pace.watch().map_or(0.0, Watch::ratio)));
                assert!((0..500).any(|_| pace.add(noise.took_us(5_000.0), 2, &config) == Some(Turn::Recovered)));
                delay.unwrap_or(usize::MAX)
            })
            .collect();
        delays.sort_unstable();
        assert!(delays[25] <= 30 && delays[49] <= 60, "{delays:?}");
    }

    #[test]
    fn nothing_is_raised_in_a_million_even_executions() {
        let config = RegressionConfig::default();
        let mut raised = 0;
        for seed in 1..=50 {
            let mut noise = Noise(seed * 7_919);
            let mut pace = learnt(&mut noise, &config);
            raised += (0..20_000).filter(|_| pace.add(noise.took_us(5_000.0), 1, &config) == Some(Turn::Regressed)).count();
        }
        assert!(raised <= 1, "{raised}");
    }

    proptest! {
        #[test]
        fn no_duration_overflows(tooks in prop::collection::vec(any::<u64>(), 0..600)) {
            let mut pace = Pace::default();
            for took in tooks {
                pace.add(took, 0, &RegressionConfig::default());
            }
        }
    }
}
