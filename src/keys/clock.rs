//! The time by which keys expire: the wall clock, but not wherever it jumps.
//!
//! A machine whose clock was set wrong must neither expire every key at once nor bring dead ones back to life. So the wall clock is
//! held against the monotonic one: while both agree within five minutes the wall clock counts; when they part, time goes on from where
//! it was, and says so, until an operator has looked (a restart takes the wall clock as it is).

use crate::clock::now_ms;
use homeostat_schemas::{Ms, UnixMs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// How far wall and monotonic clock may part.
pub const JUMP_MS: Ms = 5 * 60 * 1000;

/// A clock that does not jump.
#[derive(Debug)]
pub struct SteadyClock {
    wall: UnixMs,
    started: Instant,
    jumped: AtomicBool,
}

impl Default for SteadyClock {
    fn default() -> Self {
        SteadyClock { wall: now_ms(), started: Instant::now(), jumped: AtomicBool::new(false) }
    }
}

impl SteadyClock {
    /// Now.
    #[must_use]
    pub fn now(&self) -> UnixMs {
        let since = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.judge(now_ms(), self.wall.saturating_add(since))
    }

    fn judge(&self, wall: UnixMs, steady: UnixMs) -> UnixMs {
        let jumped = wall.abs_diff(steady) > JUMP_MS;
        if jumped != self.jumped.load(Ordering::Relaxed) {
            self.jumped.store(jumped, Ordering::Relaxed);
            if jumped {
                tracing::error!(wall, steady, "the wall clock jumped; keys expire by the time that has passed, until a restart");
            } else {
                tracing::info!("the wall clock is back");
            }
        }
        if jumped { steady } else { wall }
    }

    /// Has the wall clock jumped away?
    #[must_use]
    pub fn jumped(&self) -> bool {
        self.jumped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_slewed_counts_and_one_that_jumped_does_not() {
        let clock = SteadyClock::default();
        let steady = 1_000_000_000;
        assert_eq!(clock.judge(steady + JUMP_MS, steady), steady + JUMP_MS);
        assert!(!clock.jumped());
        for wall in [steady + JUMP_MS + 1, 0, UnixMs::MAX] {
            assert_eq!(clock.judge(wall, steady), steady);
            assert!(clock.jumped());
        }
        assert_eq!(clock.judge(steady - 1, steady), steady - 1);
        assert!(!clock.jumped());
    }
}
