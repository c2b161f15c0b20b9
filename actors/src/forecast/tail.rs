//! How unusual an error is: conformal p-values, carried beyond the largest error known by a tail.
//!
//! The p-value of an error is its rank among the last errors (Vovk et al. 2005), which cannot be less than one over their number.
//! A fleet tests millions of times a day, so the largest tenth is fitted with a generalised Pareto tail (Pickands 1975;
//! probability-weighted moments of Hosking and Wallis 1987), its shape never lighter than exponential.

use serde::{Deserialize, Serialize};

/// Errors that are kept.
pub(crate) const KEPT: usize = 480;
/// Fewer say nothing.
const KEPT_MIN: usize = 24;
/// The share of them that the tail is fitted to.
const TAIL: f64 = 0.1;
/// Shapes the tail may have; a heavier one calls nothing unusual.
const SHAPE: (f64, f64) = (0.0, 0.6);
/// Errors between two fits of the tail.
const REFIT: u32 = 12;
/// A smaller size, in usual errors, is never unusual: where everything is equal, the last digits are not a finding.
const NOTHING: f64 = 0.2;
/// No p-value is less.
const P_MIN: f64 = 1e-15;

/// The sizes of the last errors, and their tail.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tail {
    sizes: Vec<f32>,
    next: u32,
    since: u32,
    /// Where the tail begins, and the share of errors that lie in it.
    threshold: f64,
    share: f64,
    scale: f64,
    shape: f64,
}

impl Tail {
    /// One more size of an error.
    pub(crate) fn push(&mut self, size: f64) {
        let size = size.min(1e30) as f32;
        if self.sizes.len() < KEPT {
            self.sizes.push(size);
        } else if let Some(cell) = self.sizes.get_mut(self.next as usize) {
            *cell = size;
        }
        self.next = (self.next + 1) % KEPT as u32;
        self.since += 1;
        if self.since >= REFIT || self.sizes.len() <= KEPT_MIN {
            self.since = 0;
            self.fit();
        }
    }

    /// The p-value of a size: how often one at least as large is to be expected. `None` while too few are known.
    pub(crate) fn p(&self, size: f64) -> Option<f64> {
        let n = self.sizes.len();
        if n < KEPT_MIN {
            return None;
        }
        if size < NOTHING {
            return Some(1.0);
        }
        if size > self.threshold && self.scale > 0.0 {
            let beyond = (size - self.threshold) / self.scale;
            let survival = if self.shape > 1e-6 { (1.0 + self.shape * beyond).powf(-1.0 / self.shape) } else { (-beyond).exp() };
            return Some((self.share * survival).max(P_MIN));
        }
        let larger = self.sizes.iter().filter(|known| f64::from(**known) >= size).count();
        Some((larger + 1) as f64 / (n + 1) as f64)
    }

    fn fit(&mut self) {
        let mut sizes = self.sizes.clone();
        sizes.sort_unstable_by(f32::total_cmp);
        let n = sizes.len();
        let above = ((n as f64 * TAIL) as usize).max(6).min(n / 2);
        let Some(&threshold) = n.checked_sub(above + 1).and_then(|index| sizes.get(index)) else { return };
        let (mut first, mut second) = (0.0, 0.0);
        for (i, size) in sizes[n - above..].iter().enumerate() {
            let excess = f64::from(size - threshold);
            first += excess;
            second += excess * (above as f64 - i as f64 - 0.65) / above as f64;
        }
        first /= above as f64;
        second /= above as f64;
        self.threshold = f64::from(threshold);
        let apart = first - 2.0 * second;
        let shape = match (first > 0.0, apart > 0.0) {
            (true, true) => 2.0 - first / apart,
            (true, false) => SHAPE.1,
            (false, _) => 0.0,
        };
        // So few points say little of a shape: half way to that of a mildly heavy tail.
        self.shape = (0.5 * shape + 0.5 * 0.1).clamp(SHAPE.0, SHAPE.1);
        self.scale = first * (1.0 - self.shape);
        // Nearly equal errors have no tail of their own; what is beyond them is measured by its size.
        let none = first < NOTHING && self.threshold < NOTHING;
        self.share = if none { 1.0 } else { TAIL };
        self.scale = self.scale.max(0.05 * self.threshold).max(if none { 0.5 } else { 0.1 });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::forecast::tests::outlook::{chance, normal};

    #[test]
    fn p_values_of_noise_are_even_and_those_far_out_are_small() {
        let (mut tail, mut draw) = (Tail::default(), chance(5));
        let mut below = [0_u32; 3];
        let mut count = 0_u32;
        for _ in 0..20_000 {
            let size = normal(&mut draw).abs();
            if let Some(p) = tail.p(size) {
                count += 1;
                for (cell, bound) in below.iter_mut().zip([0.5, 0.05, 0.005]) {
                    *cell += u32::from(p <= bound);
                }
            }
            tail.push(size);
        }
        let share = below.map(|b| f64::from(b) / f64::from(count));
        assert!((0.47..0.53).contains(&share[0]) && (0.04..0.06).contains(&share[1]) && (0.002..0.009).contains(&share[2]), "{share:?}");
        assert!(tail.p(8.0).unwrap() < 1e-4, "{:?}", tail.p(8.0));
        assert_eq!(Tail::default().p(1.0), None);
    }

    #[test]
    fn errors_that_never_were_have_a_tail_too() {
        let mut tail = Tail::default();
        (0..100).for_each(|_| tail.push(0.0));
        assert_eq!(tail.p(0.0), Some(1.0));
        assert!(tail.p(20.0).unwrap() < 1e-9 && tail.p(0.3).unwrap() > 0.5);
    }
}
