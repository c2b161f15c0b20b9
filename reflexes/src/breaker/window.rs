//! What a breaker remembers of past calls: sums over the last stretch of time, or over the last so many calls. Its size depends
//! on the settings only, never on the traffic.

use super::config::{CALLS_MAX, Config, WindowType};
use super::words::Dialect;
use homeostat_schemas::Ms;

/// Calls, and those of them that failed or were slow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) calls: u64,
    pub(super) failed: u64,
    pub(super) slow: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: Counts) {
        self.calls = self.calls.saturating_add(other.calls);
        self.failed = self.failed.saturating_add(other.failed);
        self.slow = self.slow.saturating_add(other.slow);
    }

    fn take(&mut self, other: Counts) {
        self.calls = self.calls.saturating_sub(other.calls);
        self.failed = self.failed.saturating_sub(other.failed);
        self.slow = self.slow.saturating_sub(other.slow);
    }
}

/// A window of time: a ring of parts of equal width, counted from an origin. The newest part is still being filled, so it reaches
/// back between `parts − 1` and `parts` widths, which is what both peers do.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TimeWindow {
    parts: Vec<Counts>,
    width: Ms,
    origin: Ms,
    /// The number of the newest part, counted from the origin.
    newest: u64,
    sum: Counts,
}

impl TimeWindow {
    fn new(parts: u64, width: Ms, origin: Ms, now: Ms) -> TimeWindow {
        let width = width.max(1);
        // At most so many parts, whatever is asked: wider ones then.
        let wanted = parts.max(1);
        let parts = wanted.min(u64::from(CALLS_MAX));
        let width = if parts < wanted { width.saturating_mul(wanted.div_ceil(parts)) } else { width };
        let newest = now.saturating_sub(origin) / width;
        TimeWindow { parts: vec![Counts::default(); usize::try_from(parts).unwrap_or(1)], width, origin, newest, sum: Counts::default() }
    }

    fn place(&self, number: u64) -> usize {
        usize::try_from(number % self.parts.len() as u64).unwrap_or(0)
    }

    /// Moves on to the part of `now`; what falls out is forgotten.
    fn pass(&mut self, now: Ms) {
        let number = now.saturating_sub(self.origin) / self.width;
        if number.saturating_sub(self.newest) >= self.parts.len() as u64 {
            self.parts.fill(Counts::default());
            self.sum = Counts::default();
            self.newest = number;
        }
        while self.newest < number {
            self.newest += 1;
            let place = self.place(self.newest);
            self.sum.take(std::mem::take(&mut self.parts[place]));
        }
    }

    fn add(&mut self, now: Ms, counts: Counts) {
        self.pass(now);
        let place = self.place(self.newest);
        self.parts[place].add(counts);
        self.sum.add(counts);
    }
}

/// A window of calls: a ring of single results.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CountWindow {
    calls: Vec<Counts>,
    size: usize,
    next: usize,
    sum: Counts,
}

impl CountWindow {
    fn new(size: u32) -> CountWindow {
        CountWindow { calls: Vec::new(), size: size.clamp(1, CALLS_MAX) as usize, next: 0, sum: Counts::default() }
    }

    fn add(&mut self, call: Counts) {
        self.sum.add(call);
        if self.calls.len() < self.size {
            self.calls.push(call);
        } else {
            self.sum.take(std::mem::replace(&mut self.calls[self.next], call));
        }
        self.next = (self.next + 1) % self.size;
    }
}

/// Either.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Window {
    Time(TimeWindow),
    Count(CountWindow),
}

impl Window {
    /// An empty one as the dialect has it. `born` is when the breaker was made: opossum's parts are counted from there,
    /// resilience4j's are seconds of the epoch.
    pub(super) fn new(config: &Config, born: Ms, now: Ms) -> Window {
        match (config.dialect, config.window_type) {
            (Dialect::Opossum, _) => {
                Window::Time(TimeWindow::new(config.buckets.into(), config.window_ms / u64::from(config.buckets.max(1)), born, now))
            }
            (_, WindowType::Count) => Window::Count(CountWindow::new(config.window_calls)),
            (Dialect::Resilience4j, WindowType::Time) => Window::Time(TimeWindow::new(config.window_ms / 1_000, 1_000, 0, now)),
            (Dialect::Homeostat, WindowType::Time) => Window::Time(TimeWindow::new(60, config.window_ms.div_ceil(60), born, now)),
        }
    }

    /// A window of so many calls.
    pub(super) fn of_calls(size: u32) -> Window {
        Window::Count(CountWindow::new(size))
    }

    /// How long a part of a window of time is, ms; 0 in a window of calls.
    pub(super) fn width(&self) -> Ms {
        match self {
            Window::Time(window) => window.width,
            Window::Count(_) => 0,
        }
    }

    /// Counts, in a window of calls as one call each.
    pub(super) fn add(&mut self, now: Ms, counts: Counts) {
        match self {
            Window::Time(window) => window.add(now, counts),
            Window::Count(window) => {
                let size = u64::from(CALLS_MAX);
                let (failed, slow) = (counts.failed.min(size), counts.slow.min(size));
                for call in 0..counts.calls.min(size) {
                    window.add(Counts { calls: 1, failed: u64::from(call < failed), slow: u64::from(call < slow) });
                }
            }
        }
    }

    /// What it holds at `now`.
    pub(super) fn sum(&mut self, now: Ms) -> Counts {
        match self {
            Window::Time(window) => {
                window.pass(now);
                window.sum
            }
            Window::Count(window) => window.sum,
        }
    }
}
