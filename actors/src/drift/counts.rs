//! Counts of cells in as few bytes as they need: a feature has hundreds of cells, and most hold few values.
//!
//! Promise: what was counted is what is read; nothing overflows (a full cell stays full).

use serde::{Deserialize, Serialize};

/// Counts of a fixed number of cells. They widen when one of them no longer fits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Counts {
    /// Up to 255.
    Bytes(Vec<u8>),
    /// Up to 65,535.
    Words(Vec<u16>),
    /// Up to 4 · 10⁹.
    Longs(Vec<u32>),
    /// Beyond.
    Wide(Vec<u64>),
}

impl Default for Counts {
    fn default() -> Self {
        Counts::Bytes(Vec::new())
    }
}

impl Counts {
    pub(super) fn new(cells: usize) -> Counts {
        Counts::Bytes(vec![0; cells])
    }

    pub(super) fn of(counts: &[u64]) -> Counts {
        let mut all = Counts::new(counts.len());
        for (cell, count) in counts.iter().enumerate() {
            all.add(cell, *count);
        }
        all
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Counts::Bytes(counts) => counts.len(),
            Counts::Words(counts) => counts.len(),
            Counts::Longs(counts) => counts.len(),
            Counts::Wide(counts) => counts.len(),
        }
    }

    /// One more in a cell; nothing when there is no such cell.
    pub(super) fn count(&mut self, cell: usize) {
        let fits = match self {
            Counts::Bytes(counts) => counts.get_mut(cell).is_none_or(|n| n.checked_add(1).map(|more| *n = more).is_some()),
            Counts::Words(counts) => counts.get_mut(cell).is_none_or(|n| n.checked_add(1).map(|more| *n = more).is_some()),
            Counts::Longs(_) | Counts::Wide(_) => false,
        };
        if !fits {
            self.add(cell, 1);
        }
    }

    pub(super) fn add(&mut self, cell: usize, more: u64) {
        loop {
            let done = match self {
                Counts::Bytes(counts) => put(counts, cell, more),
                Counts::Words(counts) => put(counts, cell, more),
                Counts::Longs(counts) => put(counts, cell, more),
                Counts::Wide(counts) => {
                    if let Some(count) = counts.get_mut(cell) {
                        *count = count.saturating_add(more);
                    }
                    true
                }
            };
            if done {
                return;
            }
            self.widen();
        }
    }

    /// All of the cells from one on to before another.
    pub(super) fn sum(&self, from: usize, to: usize) -> u64 {
        fn all<T: Copy>(counts: &[T], from: usize, to: usize) -> u64
        where
            u64: From<T>,
        {
            counts.get(from..to.min(counts.len())).unwrap_or_default().iter().fold(0, |sum, n| sum.saturating_add(u64::from(*n)))
        }
        match self {
            Counts::Bytes(counts) => all(counts, from, to),
            Counts::Words(counts) => all(counts, from, to),
            Counts::Longs(counts) => all(counts, from, to),
            Counts::Wide(counts) => all(counts, from, to),
        }
    }

    pub(super) fn merge(&mut self, other: &Counts) {
        for (cell, more) in other.iter().enumerate() {
            if more > 0 {
                self.add(cell, more);
            }
        }
    }

    pub(super) fn get(&self, cell: usize) -> u64 {
        match self {
            Counts::Bytes(counts) => counts.get(cell).copied().map_or(0, u64::from),
            Counts::Words(counts) => counts.get(cell).copied().map_or(0, u64::from),
            Counts::Longs(counts) => counts.get(cell).copied().map_or(0, u64::from),
            Counts::Wide(counts) => counts.get(cell).copied().unwrap_or(0),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u64> + Clone {
        (0..self.len()).map(|cell| self.get(cell))
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Counts::Bytes(counts) => counts.capacity(),
            Counts::Words(counts) => 2 * counts.capacity(),
            Counts::Longs(counts) => 4 * counts.capacity(),
            Counts::Wide(counts) => 8 * counts.capacity(),
        }
    }

    fn widen(&mut self) {
        *self = match self {
            Counts::Bytes(counts) => Counts::Words(counts.iter().map(|n| u16::from(*n)).collect()),
            Counts::Words(counts) => Counts::Longs(counts.iter().map(|n| u32::from(*n)).collect()),
            Counts::Longs(counts) => Counts::Wide(counts.iter().map(|n| u64::from(*n)).collect()),
            Counts::Wide(counts) => Counts::Wide(std::mem::take(counts)),
        };
    }
}

/// Adds in place; false when the sum does not fit.
fn put<T: Copy + TryFrom<u64>>(counts: &mut [T], cell: usize, more: u64) -> bool
where
    u64: From<T>,
{
    let Some(count) = counts.get_mut(cell) else { return true };
    match u64::from(*count).checked_add(more).and_then(|sum| T::try_from(sum).ok()) {
        Some(sum) => {
            *count = sum;
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_counted_is_what_is_read(adds in prop::collection::vec((0_usize..6, prop::sample::select(vec![1_u64, 3, 254, 65_000, 1 << 31, u64::MAX])), 0..40)) {
            let (mut counts, mut plain) = (Counts::new(5), [0_u64; 5]);
            for (cell, more) in adds {
                if more == 1 { counts.count(cell) } else { counts.add(cell, more) }
                if let Some(count) = plain.get_mut(cell) {
                    *count = count.saturating_add(more);
                }
            }
            prop_assert_eq!(counts.iter().collect::<Vec<_>>(), plain.to_vec());
            prop_assert_eq!(counts.sum(1, 4), plain[1..4].iter().fold(0_u64, |sum, n| sum.saturating_add(*n)));
            prop_assert_eq!((counts.sum(3, 9), counts.sum(4, 2)), (plain[3..].iter().fold(0_u64, |sum, n| sum.saturating_add(*n)), 0));
        }
    }

    #[test]
    fn small_counts_take_a_byte_each() {
        let mut counts = Counts::new(256);
        (0..255).for_each(|_| counts.count(7));
        assert_eq!(counts.bytes(), 256);
        counts.count(7);
        assert_eq!((counts.bytes(), counts.get(7)), (512, 256));
    }
}
