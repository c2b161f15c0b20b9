//! How long executions took, as counts in buckets: quantiles within 1.6 % in about half a kilobyte a shape.
//!
//! The buckets are those of HdrHistogram (32 equal parts of every power of two; durations below 32 µs are exact), kept
//! sparsely: a shape's executions fall into some fifty of two thousand. Integers only, so merging is adding, and nothing
//! depends on the order of arrival. The crates that were tried do not fit twenty thousand of them into 64 MB: sketches-ddsketch
//! keeps dense 64-bit bins (2 to 4 KiB for the range of one shape, and a logarithm for each execution), hdrhistogram a dense
//! table (9 KiB).

use serde::{Deserialize, Serialize};

/// Parts of an octave, as a power of two.
const PART_BITS: u32 = 5;
const PARTS: u64 = 1 << PART_BITS;
/// Bits of an entry that hold its count; the rest holds its bucket. 2^48 executions are nine years of a million a second.
const COUNT_BITS: u32 = 48;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;

/// Octaves that exist, the values below [`PARTS`] among them.
const OCTAVES: usize = 60;

/// Counts by duration.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Histogram {
    /// Bucket in the upper 16 bits, count in the lower 48, sorted. At most 1,920 buckets exist.
    entries: Vec<u64>,
    /// Where the first part of each octave stands among the entries, going by what was found in it last and as if no part were
    /// missing. Only a hint: an entry is looked at before it is believed, and most are the right one.
    #[serde(skip, default = "no_hints")]
    hints: [u16; OCTAVES],
}

const fn no_hints() -> [u16; OCTAVES] {
    [0; OCTAVES]
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { entries: Vec::new(), hints: no_hints() }
    }
}

fn bucket(value: u64) -> u64 {
    if value < PARTS {
        return value;
    }
    let octave = u64::from(value.ilog2() - PART_BITS);
    // The leading bit is the octave's, the five below it are the part.
    (octave << PART_BITS) + (value >> octave)
}

/// The middle of a bucket.
fn middle(bucket: u64) -> u64 {
    if bucket < 2 * PARTS {
        return bucket;
    }
    let octave = (bucket >> PART_BITS) - 1;
    let lower = (bucket - (octave << PART_BITS)) << octave;
    lower + (1 << octave) / 2
}

/// Adds to the count of an entry.
fn add_to(entry: &mut u64, count: u64) {
    let (bucket, before) = (*entry & !COUNT_MAX, *entry & COUNT_MAX);
    *entry = bucket | before.saturating_add(count).min(COUNT_MAX);
}

impl Histogram {
    /// Counts a duration.
    pub(super) fn add(&mut self, value: u64) {
        self.add_many(bucket(value), 1);
    }

    #[allow(clippy::cast_possible_truncation)] // buckets are below 1,920
    fn add_many(&mut self, bucket: u64, count: u64) {
        let (octave, part) = ((bucket / PARTS) as usize % OCTAVES, (bucket % PARTS) as u16);
        let hint = self.hints[octave].wrapping_add(part);
        if let Some(entry) = self.entries.get_mut(usize::from(hint)).filter(|entry| **entry >> COUNT_BITS == bucket) {
            add_to(entry, count);
            return;
        }
        let found = self.entries.binary_search_by_key(&bucket, |entry| entry >> COUNT_BITS);
        self.hints[octave] = (found.unwrap_or_else(|at| at) as u16).wrapping_sub(part);
        match found {
            Ok(at) => add_to(&mut self.entries[at], count),
            Err(at) => {
                if self.entries.len() == self.entries.capacity() {
                    // By eights instead of doubling: there are many of these.
                    self.entries.reserve_exact(8);
                }
                self.entries.insert(at, (bucket << COUNT_BITS) | count.min(COUNT_MAX));
            }
        }
    }

    /// The middle of each bucket that holds any, and how many.
    pub(super) fn counts(&self) -> impl Iterator<Item = (u64, u64)> {
        self.entries.iter().map(|entry| (middle(entry >> COUNT_BITS), entry & COUNT_MAX))
    }

    /// Takes over the counts of another.
    pub(super) fn merge(&mut self, other: &Histogram) {
        for entry in &other.entries {
            self.add_many(entry >> COUNT_BITS, entry & COUNT_MAX);
        }
    }

    /// The least duration that this share of the executions (0–1) did not exceed (nearest rank); 0 when there are none.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a rank
    pub(super) fn quantile(&self, share: f64) -> u64 {
        let count: u64 = self.entries.iter().map(|entry| entry & COUNT_MAX).sum();
        let rank = ((share.clamp(0.0, 1.0) * count as f64).ceil() as u64).saturating_sub(1);
        let mut below = 0;
        for entry in &self.entries {
            below += entry & COUNT_MAX;
            if below > rank {
                return middle(entry >> COUNT_BITS);
            }
        }
        0
    }
}

#[cfg(test)]
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn quantiles_are_within_a_part_of_an_octave(mut values in prop::collection::vec(prop_oneof![0u64..64, 0u64..2_000_000, any::<u64>()], 1..400)) {
            let mut histogram = Histogram::default();
            values.iter().for_each(|value| histogram.add(*value));
            values.sort_unstable();
            for share in [0.0, 0.5, 0.95, 0.99, 1.0] {
                let exact = values[((share * values.len() as f64).ceil() as usize).saturating_sub(1)];
                let error = histogram.quantile(share).abs_diff(exact);
                prop_assert!(error as f64 <= exact as f64 / 64.0 + 1.0, "{share} {exact} {error}");
            }
        }

        #[test]
        fn every_value_is_counted_in_its_bucket(values in prop::collection::vec(prop_oneof![0u64..64, 900u64..1_200, any::<u64>()], 1..400)) {
            let (mut histogram, mut wanted) = (Histogram::default(), std::collections::BTreeMap::<u64, u64>::new());
            for value in values {
                histogram.add(value);
                *wanted.entry(middle(bucket(value))).or_default() += 1;
            }
            prop_assert_eq!(histogram.counts().collect::<Vec<_>>(), wanted.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn merging_is_adding_together(a in prop::collection::vec(any::<u64>(), 0..60), b in prop::collection::vec(0u64..10_000, 0..60)) {
            let fill = |values: &[u64]| {
                let mut histogram = Histogram::default();
                values.iter().for_each(|value| histogram.add(*value));
                histogram
            };
            let mut merged = fill(&a);
            merged.merge(&fill(&b));
            prop_assert_eq!(merged.entries, fill(&[b, a].concat()).entries);
        }
    }

    #[test]
    fn buckets_are_in_the_order_of_their_values_and_few() {
        assert_eq!(bucket(u64::MAX), 1_919);
        let mut last = 0;
        for exponent in 0..64u32 {
            for value in [1u64 << exponent, (1u64 << exponent) | (1u64 << exponent) >> 1] {
                assert!(bucket(value) >= last);
                last = bucket(value);
            }
        }
    }
}
