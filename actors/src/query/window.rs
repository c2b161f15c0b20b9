//! Counts over the last while, in twelfths: adding and sliding cost the same however many executions there were.

use homeostat_schemas::{Ms, UnixMs};
use serde::{Deserialize, Serialize};

/// Into how many parts the window is cut. It reaches back between eleven and twelve of them.
const PARTS: usize = 12;

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Part {
    calls: u32,
    slow: u32,
    total_us: u64,
    max_us: u64,
}

/// Executions over the last while.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Window {
    /// The number of the newest part: log time divided by the length of a part.
    newest: u64,
    parts: [Part; PARTS],
    /// The sum over the parts, kept as they change.
    calls: u64,
    total_us: u64,
}

impl Window {
    /// Lets what is too old fall out. `window` is its whole length.
    pub(super) fn slide(&mut self, now: UnixMs, window: Ms) {
        let number = now / window.div_ceil(PARTS as u64).max(1);
        if number == self.newest {
            return;
        }
        // A number that went back, or far ahead, is another length of the window or a long silence: nothing of it counts.
        if number < self.newest || number - self.newest >= PARTS as u64 {
            *self = Window { newest: number, ..Window::default() };
            return;
        }
        while self.newest < number {
            self.newest += 1;
            let index = self.index();
            self.parts[index] = Part::default();
        }
        self.sum();
    }

    fn sum(&mut self) {
        self.calls = self.parts.iter().map(|part| u64::from(part.calls)).sum();
        self.total_us = self.parts.iter().fold(0, |sum, part| sum.saturating_add(part.total_us));
    }

    #[allow(clippy::cast_possible_truncation)] // less than PARTS
    fn index(&self) -> usize {
        (self.newest % PARTS as u64) as usize
    }

    /// Counts an execution in the newest part.
    pub(super) fn add(&mut self, took_us: u64, slow: bool) {
        let index = self.index();
        let part = &mut self.parts[index];
        part.calls = part.calls.saturating_add(1);
        part.slow = part.slow.saturating_add(u32::from(slow));
        part.total_us = part.total_us.saturating_add(took_us);
        part.max_us = part.max_us.max(took_us);
        self.calls = self.calls.saturating_add(1);
        self.total_us = self.total_us.saturating_add(took_us);
    }

    pub(super) fn calls(&self) -> u64 {
        self.calls
    }

    pub(super) fn total_us(&self) -> u64 {
        self.total_us
    }

    pub(super) fn slow(&self) -> u64 {
        self.parts.iter().map(|part| u64::from(part.slow)).sum()
    }

    pub(super) fn max_us(&self) -> u64 {
        self.parts.iter().map(|part| part.max_us).max().unwrap_or(0)
    }

    /// The mean, microseconds; `None` when nothing was executed.
    pub(super) fn mean_us(&self) -> Option<u64> {
        self.total_us.checked_div(self.calls)
    }

    /// Does the mean exceed the limit? Exact, without rounding.
    pub(super) fn mean_exceeds(&self, limit_us: u64) -> bool {
        self.calls > 0 && u128::from(self.total_us) > u128::from(limit_us) * u128::from(self.calls)
    }

    /// Is the mean below the limit? Exact, without rounding.
    pub(super) fn mean_below(&self, limit_us: u64) -> bool {
        self.calls > 0 && u128::from(self.total_us) < u128::from(limit_us) * u128::from(self.calls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Ms = 60_000;

    #[test]
    fn what_is_older_than_the_window_no_longer_counts() {
        let mut window = Window::default();
        window.slide(1_000_000, MINUTE);
        window.add(900, true);
        window.slide(1_050_000, MINUTE);
        window.add(100, false);
        assert_eq!((window.calls(), window.mean_us(), window.slow(), window.max_us()), (2, Some(500), 1, 900));
        window.slide(1_062_000, MINUTE);
        assert_eq!((window.calls(), window.mean_us(), window.slow(), window.max_us()), (1, Some(100), 0, 100));
        window.slide(9_000_000, MINUTE);
        assert_eq!((window.calls(), window.mean_us()), (0, None));
    }

    #[test]
    fn absurd_durations_do_not_overflow() {
        let mut window = Window::default();
        for second in 0..200 {
            window.slide(second * 1000, MINUTE);
            for _ in 0..100 {
                window.add(u64::MAX, true);
            }
        }
        assert!(window.mean_exceeds(1));
    }

    #[test]
    fn a_mean_at_the_limit_neither_exceeds_it_nor_lies_below() {
        let mut window = Window::default();
        window.add(100, false);
        assert!(!window.mean_exceeds(100) && !window.mean_below(100));
    }
}
