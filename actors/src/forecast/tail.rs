//! How unusual an error is: conformal p-values, carried beyond the largest error known by a tail.
//!
//! The p-value of an error is its rank among the last errors (Vovk et al. 2005), which cannot be less than one over their number.
//! A fleet tests millions of times a day, so the largest tenth is fitted with a generalised Pareto tail (Pickands 1975;
//! probability-weighted moments of Hosking and Wallis 1987), its shape never lighter than exponential.
//!
//! Where the tail begins follows the last errors; how heavy it is changes slowly and shows in few of them, so that the tail remembers ten
//! times as long. Of an incident it learns only the errors that began it (as peaks over a threshold are declustered; Davison and Smith
//! 1990): the rest say how long it was.

use serde::{Deserialize, Serialize};

/// Errors that are kept.
pub(crate) const KEPT: usize = 480;
/// Fewer say nothing.
const KEPT_MIN: usize = 24;
/// The share of them that the tail is fitted to.
const TAIL: f64 = 0.1;
/// Errors of the tail that are kept.
const BEYOND_KEPT: usize = 480;
/// What is known of tails before any error was seen counts as much as so many errors, and says this of their shape: mildly heavy.
const PRIOR: (f64, f64) = (48.0, 0.1);
/// Shapes the tail may have; a heavier one calls nothing unusual.
const SHAPE: (f64, f64) = (0.0, 0.6);
/// Errors between two fits of the tail.
const REFIT: u32 = 12;
/// A smaller size, in usual errors, is never unusual: where everything is equal, the last digits are not a finding.
const NOTHING: f64 = 0.2;
/// No size is larger.
const SIZE_MAX: f64 = 1e30;
/// No p-value is less.
const P_MIN: f64 = 1e-15;

/// The sizes of the last errors, and their tail.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tail {
    sizes: Vec<f32>,
    next: u32,
    /// The last errors that were in the tail when they came.
    #[serde(default)]
    beyond: Vec<f32>,
    #[serde(default)]
    beyond_next: u32,
    since: u32,
    /// Where the tail begins, and the share of errors that lie in it.
    threshold: f64,
    share: f64,
    scale: f64,
    shape: f64,
}

impl Tail {
    /// From the sizes of a history, the newest last. `before` is the tail of the same model until now, which remembers longer.
    pub(crate) fn of(sizes: &[f64], before: Option<Tail>) -> Tail {
        let mut tail = Tail::default();
        if let Some(before) = before {
            (tail.beyond, tail.beyond_next) = (before.beyond, before.beyond_next);
        } else {
            let mut sorted = sizes.to_vec();
            sorted.sort_unstable_by(f64::total_cmp);
            let threshold = sorted.len().checked_sub(above(sorted.len()) + 1).and_then(|index| sorted.get(index));
            let far = sizes.iter().filter(|size| threshold.is_some_and(|threshold| *size > threshold));
            far.for_each(|size| tail.keep_beyond(size.min(SIZE_MAX) as f32));
        }
        tail.sizes = sizes[sizes.len().saturating_sub(KEPT)..].iter().map(|size| size.min(SIZE_MAX) as f32).collect();
        tail.next = (tail.sizes.len() % KEPT) as u32;
        tail.fit();
        tail
    }

    /// One more size of an error; `apart` when it is none of an incident that is open.
    pub(crate) fn push(&mut self, size: f64, apart: bool) {
        let size = size.min(SIZE_MAX) as f32;
        if self.sizes.len() < KEPT {
            self.sizes.push(size);
        } else if let Some(cell) = self.sizes.get_mut(self.next as usize) {
            *cell = size;
        }
        self.next = (self.next + 1) % KEPT as u32;
        if apart && f64::from(size) > self.threshold && self.sizes.len() > KEPT_MIN {
            self.keep_beyond(size);
        }
        self.since += 1;
        if self.since >= REFIT || self.sizes.len() <= KEPT_MIN {
            self.since = 0;
            self.fit();
        }
    }

    /// One more of the tail.
    fn keep_beyond(&mut self, size: f32) {
        if self.beyond.len() < BEYOND_KEPT {
            self.beyond.push(size);
        } else if let Some(cell) = self.beyond.get_mut(self.beyond_next as usize) {
            *cell = size;
        }
        self.beyond_next = (self.beyond_next + 1) % BEYOND_KEPT as u32;
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
        let above = above(n);
        let Some(&threshold) = n.checked_sub(above + 1).and_then(|index| sizes.get(index)) else { return };
        self.threshold = f64::from(threshold);
        // Those of the last errors, unless more are remembered.
        let mut tail: Vec<f32> = self.beyond.iter().copied().filter(|size| *size > threshold).collect();
        if tail.len() < above {
            tail = sizes.split_off(n - above);
        }
        tail.sort_unstable_by(f32::total_cmp);
        let count = tail.len() as f64;
        let (mut first, mut second) = (0.0, 0.0);
        for (i, size) in tail.iter().enumerate() {
            let excess = f64::from(size - threshold);
            first += excess;
            second += excess * (count - i as f64 - 0.65) / count;
        }
        first /= count;
        second /= count;
        let apart = first - 2.0 * second;
        let shape = match (first > 0.0, apart > 0.0) {
            (true, true) => 2.0 - first / apart,
            (true, false) => SHAPE.1,
            (false, _) => 0.0,
        };
        let (prior, mild) = PRIOR;
        self.shape = ((count * shape + prior * mild) / (count + prior)).clamp(SHAPE.0, SHAPE.1);
        self.scale = first * (1.0 - self.shape);
        // Nearly equal errors have no tail of their own; what is beyond them is measured by its size.
        let none = first < NOTHING && self.threshold < NOTHING;
        self.share = if none { 1.0 } else { TAIL };
        self.shape = if none { 0.0 } else { self.shape };
        self.scale = self.scale.max(0.05 * self.threshold).max(if none { 0.5 } else { 0.1 });
    }
}

/// How many of so many errors are the tail.
fn above(n: usize) -> usize {
    ((n as f64 * TAIL) as usize).max(6).min(n / 2)
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
            tail.push(size, true);
        }
        let share = below.map(|b| f64::from(b) / f64::from(count));
        assert!((0.47..0.53).contains(&share[0]) && (0.04..0.06).contains(&share[1]) && (0.002..0.009).contains(&share[2]), "{share:?}");
        assert!(tail.p(8.0).unwrap() < 1e-4, "{:?}", tail.p(8.0));
        assert_eq!(Tail::default().p(1.0), None);
    }

    #[test]
    fn errors_that_never_were_have_a_tail_too() {
        let mut tail = Tail::default();
        (0..100).for_each(|_| tail.push(0.0, true));
        assert_eq!(tail.p(0.0), Some(1.0));
        assert!(tail.p(20.0).unwrap() < 1e-9 && tail.p(0.3).unwrap() > 0.5);
    }

    /// Student's t with four degrees of freedom.
    fn heavy(draw: &mut impl FnMut() -> f64) -> f64 {
        let square = (0..4).map(|_| normal(draw).powi(2)).sum::<f64>() / 4.0;
        normal(draw).abs() / square.sqrt()
    }

    #[test]
    fn far_out_the_p_values_of_heavy_tails_are_about_what_they_say() {
        let (mut tail, mut draw) = (Tail::default(), chance(6));
        let mut below = [0_u32; 2];
        for t in 0..105_000 {
            let size = heavy(&mut draw);
            if let Some(p) = tail.p(size).filter(|_| t >= 5_000) {
                for (cell, bound) in below.iter_mut().zip([1e-3, 1e-4]) {
                    *cell += u32::from(p <= bound);
                }
            }
            tail.push(size, true);
        }
        assert!((50..200).contains(&below[0]) && (2..40).contains(&below[1]), "{below:?}, expected 100 and 10");
    }

    #[test]
    fn an_incident_does_not_teach_that_it_is_usual_for_long() {
        let (mut tail, mut draw) = (Tail::default(), chance(7));
        (0..5_000).for_each(|_| tail.push(normal(&mut draw).abs(), true));
        let before = tail.p(8.0).unwrap();
        (0..300).for_each(|_| tail.push(6.0 + normal(&mut draw).abs(), false));
        (0..KEPT).for_each(|_| tail.push(normal(&mut draw).abs(), true));
        let after = tail.p(8.0).unwrap();
        assert!(before < 1e-6 && after < 10.0 * before, "{before} and then {after}");
        assert!(tail.beyond.len() <= BEYOND_KEPT && tail.sizes.len() <= KEPT);
    }

    #[test]
    fn a_tail_of_an_earlier_version_is_read() {
        let old = r#"{"sizes":[1.0,2.0],"next":2,"since":0,"threshold":0.0,"share":0.1,"scale":0.0,"shape":0.0}"#;
        let mut tail: Tail = serde_json::from_str(old).unwrap();
        (0..600).for_each(|t| tail.push(f64::from(t % 7), true));
        assert!(tail.p(5.0).is_some());
    }
}
