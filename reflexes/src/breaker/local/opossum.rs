//! opossum 9.0.0, as its own source has it (`lib/circuit.js`, `lib/status.js`): what it does, its traps included.
//!
//! - Every call counts as fired, also while the breaker is open or disabled; results count when they come, from whatever era.
//! - The share is failures over *fired* calls, judged after a failure only, and must be *above* the threshold.
//! - One probe is let through after the timer; any success closes, any failure opens, the probe's or not. A probe that never
//!   comes back leaves the breaker half-open for ever, and so does one that fails during the warm-up.
//! - An error that is filtered is a success. A full bulkhead is a failure, and uses up the probe.
//! - The window outlives the closing. A disabled breaker's timer goes on.

use super::{Effects, Local};
use crate::breaker::window::Counts;
use crate::breaker::words::{Operation, Outcome, Permit, Refusal, State, Why};
use homeostat_schemas::Ms;

impl Local {
    pub(super) fn opossum_acquire(&mut self, now: Ms, effects: &mut Effects) -> Result<Permit, Refusal> {
        self.window.add(now, Counts { calls: 1, ..Counts::default() });
        if !self.enabled {
            return Ok(Permit { era: self.era, probe: 0, place: false, counted: false });
        }
        let probing = self.state == State::HalfOpen;
        if self.state != State::Closed && !(probing && self.half.permits > 0) {
            let open = Refusal::Open { retry_in: self.retry_at.saturating_sub(now) };
            return Err(if probing { Refusal::Probing } else { open });
        }
        self.half.permits = 0;
        let Some(place) = self.place() else {
            self.opossum_fail(now, now, effects);
            return Err(Refusal::Bulkhead);
        };
        Ok(Permit { era: self.era, probe: u32::from(probing), place, counted: true })
    }

    pub(super) fn opossum_settle(&mut self, permit: &Permit, outcome: Outcome, took: Ms, now: Ms, effects: &mut Effects) {
        match outcome {
            _ if !permit.counted => {}
            Outcome::Success | Outcome::Ignored => {
                if self.state == State::HalfOpen {
                    self.opossum_close(Why::ProbesGood, now, effects);
                }
            }
            Outcome::Failure => self.opossum_fail(now, now, effects),
            // The timers of one instant go off in the order in which they were set: a call that was given up was timed before the
            // window's next turn, unless a turn takes longer.
            Outcome::Timeout if took > self.window.width() => self.opossum_fail(now, now.saturating_sub(1), effects),
            Outcome::Timeout => self.opossum_fail(now, now, effects),
        }
    }

    /// A failure, which the window counts as of `counted`.
    fn opossum_fail(&mut self, now: Ms, counted: Ms, effects: &mut Effects) {
        self.window.add(counted, Counts { failed: 1, ..Counts::default() });
        if self.config.warm_up && now < self.born.saturating_add(self.config.window_ms) {
            return;
        }
        let half_open = self.state == State::HalfOpen;
        let sum = self.window.sum(counted);
        // One call is no volume to wait for: opossum's default.
        let volume = if self.config.min_calls <= 1 { 0 } else { u64::from(self.config.min_calls) };
        if sum.calls < volume && !half_open {
            return;
        }
        // With no fired call left in the window the share is infinite, as in JavaScript.
        #[allow(clippy::cast_precision_loss)]
        let share = sum.failed as f64 / sum.calls as f64 * 100.0;
        if share > self.config.failure_pct || half_open {
            self.opossum_open(if half_open { Why::ProbesBad } else { Why::FailureRate }, now, effects);
        }
    }

    fn opossum_open(&mut self, why: Why, now: Ms, effects: &mut Effects) {
        if self.state != State::Open {
            self.era += 1;
            self.totals.opened += 1;
            self.retry_at = now.saturating_add(self.config.open_ms);
            self.half.permits = 0;
            self.change(State::Open, why, now, effects);
        }
    }

    fn opossum_close(&mut self, why: Why, now: Ms, effects: &mut Effects) {
        if self.state != State::Closed {
            self.era += 1;
            self.half.permits = 0;
            self.change(State::Closed, why, now, effects);
        }
    }

    pub(super) fn opossum_operate(&mut self, operation: Operation, now: Ms, effects: &mut Effects) {
        match operation {
            Operation::Open => self.opossum_open(Why::Operator, now, effects),
            Operation::Close => self.opossum_close(Why::Operator, now, effects),
            Operation::Disable => self.enabled = false,
            Operation::Enable => self.enabled = true,
            // It has neither.
            Operation::ForceOpen | Operation::MetricsOnly => {}
        }
    }
}
