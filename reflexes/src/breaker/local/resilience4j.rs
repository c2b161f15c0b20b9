//! resilience4j 2.4, as its own source has it (`CircuitBreakerStateMachine`, `CircuitBreakerMetrics`,
//! `SlidingTimeWindowMetrics`, `FixedSizeSlidingWindowMetrics`): what it does, its traps included.
//!
//! - Completed calls only, judged after every result, `≥` threshold, in single precision.
//! - Open until the first call *strictly after* the wait; then `half_open_permits` calls pass, and the verdict falls when
//!   min(`min_calls`, permits) results are in: those of other eras count as well. Without `max_half_open_ms` a probe that never
//!   comes back leaves the breaker half-open for ever.
//! - An ignored error gives a permit back to a half-open breaker, also when it had none of it.
//! - Closing, disabling and the like begin with a new window; opening by hand what is open begins the wait anew.
//! - It has no bulkhead of its own: a full one (a decorator there) gives the permit back and is not counted.

use super::{Effects, Local};
use crate::breaker::config::WindowType;
use crate::breaker::window::Counts;
use crate::breaker::words::{Outcome, Permit, Refusal, State, Why};
use homeostat_schemas::Ms;

/// What the thresholds say of some counts.
enum Judged {
    TooFew,
    Below,
    Above(Why),
}

impl Local {
    pub(super) fn resilience4j_acquire(&mut self, now: Ms, effects: &mut Effects) -> Result<Permit, Refusal> {
        match self.state {
            State::Closed | State::Disabled | State::MetricsOnly => {}
            State::ForcedOpen => return Err(Refusal::ForcedOpen),
            State::Open if now <= self.retry_at => {
                return Err(Refusal::Open { retry_in: self.retry_at.saturating_sub(now).saturating_add(1) });
            }
            State::Open => self.half_open(now, effects),
            State::HalfOpen => {}
        }
        let probing = self.state == State::HalfOpen;
        if probing {
            if self.half.permits == 0 {
                return Err(Refusal::Probing);
            }
            self.half.permits -= 1;
        }
        let Some(place) = self.place() else {
            if probing {
                self.half.permits += 1;
            }
            return Err(Refusal::Bulkhead);
        };
        Ok(Permit { era: self.era, probe: u32::from(probing), place, counted: true })
    }

    pub(super) fn resilience4j_settle(&mut self, outcome: Outcome, slow: bool, now: Ms, effects: &mut Effects) {
        if outcome == Outcome::Ignored {
            if self.state == State::HalfOpen {
                self.half.permits = self.half.permits.saturating_add(1);
            }
            return;
        }
        let call = Counts { calls: 1, failed: u64::from(outcome.failed()), slow: u64::from(slow) };
        match self.state {
            State::Closed => {
                self.window.add(now, call);
                let sum = self.window.sum(now);
                let min = match self.config.window_type {
                    WindowType::Time => self.config.min_calls,
                    WindowType::Count => self.config.min_calls.min(self.config.window_calls),
                };
                if let Judged::Above(why) = self.resilience4j_judge(sum, min) {
                    // Its waits are not jittered.
                    self.open(why, now, 0.0, effects);
                }
            }
            State::MetricsOnly => self.window.add(now, call),
            State::HalfOpen => {
                self.half.results.add(now, call);
                let min = self.config.min_calls.min(self.config.half_open_permits);
                let sum = self.half.results.sum(now);
                match self.resilience4j_judge(sum, min) {
                    Judged::TooFew => {}
                    Judged::Below => self.close(Why::ProbesGood, now, effects),
                    Judged::Above(_) => self.open(Why::ProbesBad, now, 0.0, effects),
                }
            }
            State::Open | State::ForcedOpen | State::Disabled => {}
        }
    }

    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    fn resilience4j_judge(&self, sum: Counts, min: u32) -> Judged {
        if sum.calls == 0 || sum.calls < u64::from(min) {
            return Judged::TooFew;
        }
        let share = |part: u64| part as f32 * 100.0 / sum.calls as f32;
        if share(sum.failed) >= self.config.failure_pct as f32 {
            Judged::Above(Why::FailureRate)
        } else if share(sum.slow) >= self.config.slow_pct as f32 {
            Judged::Above(Why::SlowRate)
        } else {
            Judged::Below
        }
    }
}
