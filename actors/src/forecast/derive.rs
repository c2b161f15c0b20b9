//! From events to one value a step: means of metrics, success of requests, their 95th percentile, memory, use of pools.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Buckets of times an octave.
const PER_OCTAVE: f64 = 8.0;

/// What came in during a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Gathered {
    /// The mean of values.
    Mean {
        /// So far.
        mean: f64,
        /// How many.
        count: u64,
    },
    /// A share, from counts.
    Share {
        /// Successes.
        good: u64,
        /// All.
        all: u64,
    },
    /// Times, in logarithmic buckets.
    Times {
        /// How many in which.
        buckets: BTreeMap<u16, u64>,
        /// All.
        all: u64,
    },
}

impl Gathered {
    pub(super) const MEAN: Gathered = Gathered::Mean { mean: 0.0, count: 0 };
    pub(super) const SHARE: Gathered = Gathered::Share { good: 0, all: 0 };
    pub(super) const TIMES: Gathered = Gathered::Times { buckets: BTreeMap::new(), all: 0 };

    /// One more value: a measurement, a success (1) or a failure (0), a time in ms.
    pub(super) fn add(&mut self, value: f64) {
        match self {
            Gathered::Mean { mean, count } => {
                *count += 1;
                *mean += (value - *mean) / *count as f64;
            }
            Gathered::Share { good, all } => {
                *all += 1;
                *good += u64::from(value > 0.0);
            }
            Gathered::Times { buckets, all } => {
                *all += 1;
                *buckets.entry(bucket(value)).or_default() += 1;
            }
        }
    }

    /// The value of the step in the units of the model, not a number when too little came; and begins the next step.
    ///
    /// A share becomes ln((s + ½)/(n − s + ½)) (Haldane 1956; Anscombe 1956), which is finite for 0 and n of n: the logit of a rate
    /// of exactly 1 is not.
    pub(super) fn close(&mut self, min: u64) -> f64 {
        let value = match self {
            Gathered::Mean { mean, count } if *count > 0 => *mean,
            Gathered::Share { good, all } if *all >= min.max(1) => ((*good as f64 + 0.5) / ((*all - *good) as f64 + 0.5)).ln(),
            Gathered::Times { buckets, all } if *all >= min.max(1) => {
                let rank = (*all as f64 * 0.95).ceil() as u64;
                let mut seen = 0;
                let place = buckets.iter().find(|(_, n)| {
                    seen += **n;
                    seen >= rank
                });
                place.map_or(f64::NAN, |(bucket, _)| ((f64::from(*bucket) + 0.5) / PER_OCTAVE).exp2() / 1_000.0)
            }
            _ => f64::NAN,
        };
        *self = self.empty();
        value
    }

    /// The same with nothing in it.
    pub(super) fn empty(&self) -> Gathered {
        match self {
            Gathered::Mean { .. } => Gathered::MEAN,
            Gathered::Share { .. } => Gathered::SHARE,
            Gathered::Times { .. } => Gathered::TIMES,
        }
    }

    /// A value of the model in the units of the series.
    pub(super) fn shown(&self, value: f64) -> f64 {
        match self {
            Gathered::Share { .. } => 1.0 / (1.0 + (-value).exp()),
            Gathered::Mean { .. } | Gathered::Times { .. } => value,
        }
    }
}

/// The bucket of a time in ms: an eighth of an octave of microseconds.
fn bucket(ms: f64) -> u16 {
    ((ms.max(0.0) * 1_000.0).max(1.0).log2() * PER_OCTAVE).floor().min(f64::from(u16::MAX)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_perfect_rate_is_finite_and_comes_back() {
        let mut share = Gathered::SHARE;
        (0..1_000).for_each(|_| share.add(1.0));
        let value = share.close(20);
        assert!(value.is_finite() && share.shown(value) > 0.999, "{value}");
        assert!(share.close(20).is_nan(), "an empty step is missing");
    }

    #[test]
    fn a_percentile_is_right_within_a_bucket() {
        let mut times = Gathered::TIMES;
        (1..=1_000).for_each(|ms| times.add(f64::from(ms)));
        let p95 = times.close(20);
        assert!((900.0..1_000.0).contains(&p95), "{p95}");
        let mut mean = Gathered::MEAN;
        [1.0, 2.0, 6.0].into_iter().for_each(|v| mean.add(v));
        assert_eq!(mean.close(20), 3.0);
    }
}
