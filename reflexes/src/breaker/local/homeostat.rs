//! Our own rules.
//!
//! - Completed calls only, `≥` threshold, at least `min_calls` of them; beside that a sequential test (Page's CUSUM with the
//!   drift at the threshold) that a window full of old successes cannot slow down, and one for outages that goes by what the peer
//!   fails usually ([`crate::breaker::usual`]).
//! - A permit carries its era: what comes back late is counted in the totals and decides nothing.
//! - Half-open, the verdict falls as soon as it is certain, whatever the probes still under way bring. Every probe has a
//!   deadline; one that does not come back has failed. One that is ignored gives its permit back.
//! - A new window after closing. Waits grow and are jittered. A full bulkhead is evidence of nothing.

use super::{Effects, Local};
use crate::breaker::config::{Sheds, WindowType};
use crate::breaker::window::Counts;
use crate::breaker::words::{Attempt, Outcome, Permit, Refusal, State, Why};
use homeostat_schemas::Ms;

impl Local {
    pub(super) fn homeostat_acquire(&mut self, attempt: Attempt, now: Ms, effects: &mut Effects) -> Result<Permit, Refusal> {
        if self.state == State::Open && now >= self.retry_at {
            self.half_open(now, effects);
        }
        // In this mode a first attempt passes whatever the state, as a probe where one is wanted.
        let passes = self.config.sheds == Sheds::Retries && attempt == Attempt::First;
        let refusal = match self.state {
            State::Closed | State::Disabled | State::MetricsOnly => None,
            State::ForcedOpen => Some(Refusal::ForcedOpen),
            State::Open => Some(Refusal::Open { retry_in: self.retry_at.saturating_sub(now) }).filter(|_| !passes),
            State::HalfOpen => Some(Refusal::Probing).filter(|_| !passes && !self.wants_probe()),
        };
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        let Some(place) = self.place() else { return Err(Refusal::Bulkhead) };
        let mut permit = Permit { era: self.era, probe: 0, place, counted: true };
        if self.state == State::HalfOpen && self.wants_probe() {
            self.half.last = self.half.last.wrapping_add(1).max(1);
            self.half.under_way.push((self.half.last, now.saturating_add(self.config.probe_deadline_ms)));
            permit.probe = self.half.last;
        }
        Ok(permit)
    }

    /// Results and probes under way do not yet make up the number of permits.
    fn wants_probe(&self) -> bool {
        self.half.seen.calls.saturating_add(self.half.under_way.len() as u64) < u64::from(self.config.half_open_permits)
    }

    pub(super) fn homeostat_settle(&mut self, permit: &Permit, outcome: Outcome, slow: bool, now: Ms, chance: f64, effects: &mut Effects) {
        if permit.era != self.era {
            self.totals.late += 1;
            return;
        }
        let call = Counts { calls: 1, failed: u64::from(outcome.failed()), slow: u64::from(slow) };
        match self.state {
            State::Closed if outcome == Outcome::Ignored => {}
            State::Closed => self.judge_closed(call, now, chance, effects),
            State::MetricsOnly if outcome != Outcome::Ignored => self.window.add(now, call),
            State::HalfOpen => {
                let Some(place) = self.half.under_way.iter().position(|(probe, _)| *probe == permit.probe) else { return };
                self.half.under_way.remove(place);
                if outcome != Outcome::Ignored {
                    self.judge_half_open(call, now, chance, effects);
                }
            }
            State::Open | State::ForcedOpen | State::Disabled | State::MetricsOnly => {}
        }
    }

    pub(super) fn homeostat_absorb(&mut self, ok: u64, now: Ms, chance: f64, effects: &mut Effects) {
        let calls = Counts { calls: ok, ..Counts::default() };
        match self.state {
            _ if ok == 0 => {}
            State::Closed => self.judge_closed(calls, now, chance, effects),
            State::MetricsOnly => self.window.add(now, calls),
            State::Open | State::HalfOpen | State::ForcedOpen | State::Disabled => {}
        }
    }

    fn judge_closed(&mut self, calls: Counts, now: Ms, chance: f64, effects: &mut Effects) {
        self.window.add(now, calls);
        let sum = self.window.sum(now);
        let min = match self.config.window_type {
            WindowType::Time => self.config.min_calls,
            WindowType::Count => self.config.min_calls.min(self.config.window_calls),
        };
        let enough = sum.calls > 0 && sum.calls >= u64::from(min);
        let why = if enough && reaches(sum.failed, sum.calls, self.config.failure_pct) {
            Some(Why::FailureRate)
        } else if enough && self.config.slow_ms.is_some() && reaches(sum.slow, sum.calls, self.config.slow_pct) {
            Some(Why::SlowRate)
        } else if self.piles_up(calls, now) {
            Some(Why::Sequential)
        } else {
            None
        };
        if let Some(why) = why {
            self.open(why, now, chance, effects);
        }
    }

    /// The sequential tests: does the sum reach what `min_calls` failures in a row make of it, or is it an outage by what the peer
    /// fails usually?
    #[allow(clippy::cast_precision_loss)]
    fn piles_up(&mut self, calls: Counts, now: Ms) -> bool {
        let threshold = self.config.failure_pct / 100.0;
        // At a threshold of 100 % a single success ends every suspicion, which is what the window says already.
        if !self.config.sequential || threshold >= 1.0 {
            return false;
        }
        if now.saturating_sub(self.counted_at) > self.config.window_ms {
            self.excess = 0.0;
            self.run.settle();
        }
        self.counted_at = now;
        let (bad, good) = (calls.failed as f64, calls.calls.saturating_sub(calls.failed) as f64);
        self.excess = (self.excess + bad * (1.0 - threshold) - good * threshold).max(0.0);
        let outage = self.run.add(calls, threshold);
        if self.excess == 0.0 {
            self.run.settle();
        }
        // The sum is made of rounded steps.
        outage || self.excess + 1e-9 >= f64::from(self.config.min_calls.max(1)) * (1.0 - threshold)
    }

    fn judge_half_open(&mut self, call: Counts, now: Ms, chance: f64, effects: &mut Effects) {
        let seen = &mut self.half.seen;
        seen.calls += call.calls;
        seen.failed += call.failed;
        seen.slow += call.slow;
        let all = u64::from(self.config.half_open_permits);
        let open = all.saturating_sub(seen.calls);
        let slow = |count| self.config.slow_ms.is_some() && reaches(count, all, self.config.slow_pct);
        if reaches(seen.failed, all, self.config.failure_pct) || slow(seen.slow) {
            self.open(Why::ProbesBad, now, chance, effects);
        } else if !reaches(seen.failed + open, all, self.config.failure_pct) && !slow(seen.slow + open) {
            self.close(Why::ProbesGood, now, effects);
        }
    }

    pub(super) fn homeostat_timers(&mut self, now: Ms, chance: f64, effects: &mut Effects) {
        if self.half.until.is_some_and(|until| until <= now) {
            // With few calls the results at hand must do: to wait for more would be to open for want of traffic.
            let seen = self.half.seen;
            let slow = self.config.slow_ms.is_some() && reaches(seen.slow, seen.calls, self.config.slow_pct);
            if seen.calls > 0 && !reaches(seen.failed, seen.calls, self.config.failure_pct) && !slow {
                self.close(Why::ProbesGood, now, effects);
            } else {
                self.open(Why::ProbesLost, now, chance, effects);
            }
            return;
        }
        while self.state == State::HalfOpen && self.half.under_way.first().is_some_and(|(_, deadline)| *deadline <= now) {
            self.half.under_way.remove(0);
            self.judge_half_open(Counts { calls: 1, failed: 1, slow: 0 }, now, chance, effects);
        }
        if let Some(change) = effects.changes.last_mut()
            && change.why == Why::ProbesBad
        {
            change.why = Why::ProbesLost;
        }
    }
}

/// Is `part` of `whole` at least `pct` percent?
#[allow(clippy::cast_precision_loss)]
fn reaches(part: u64, whole: u64, pct: f64) -> bool {
    part as f64 * 100.0 >= pct * whole as f64
}
