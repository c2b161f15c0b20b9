//! The sequential tests of our own breaker: an outage is seen soon, and what a peer fails usually is none.
#![allow(clippy::unwrap_used)]

use homeostat_reflexes::breaker::local::{Event, Local};
use homeostat_reflexes::breaker::{Attempt, Config, Operation, Outcome, State};
use homeostat_schemas::Ms;
use proptest::prelude::*;

/// One call that is admitted and ends like this.
fn ends(breaker: &mut Local, failed: bool, now: Ms) {
    let permit = breaker.step(Event::Acquire(Attempt::First), now, 0.0).decision.unwrap().unwrap();
    let outcome = if failed { Outcome::Failure } else { Outcome::Success };
    breaker.step(Event::Settle { permit, outcome, took: 0 }, now, 0.0);
}

/// So many failures in a row open it.
fn failures_to_open(breaker: &mut Local, now: Ms) -> u32 {
    let mut failures = 0;
    while breaker.state() == State::Closed {
        failures += 1;
        ends(breaker, true, now);
    }
    failures
}

#[test]
fn an_outage_is_seen_through_a_window_full_of_success() {
    for (sequential, failures) in [(true, 8), (false, 10_000)] {
        let mut breaker = Local::new(Config { sequential, ..Config::default() }, 0);
        breaker.step(Event::Absorb { ok: 10_000 }, 1_000, 0.0);
        assert_eq!(failures_to_open(&mut breaker, 2_000), failures);
    }
}

#[test]
fn the_more_a_peer_fails_usually_the_more_an_outage_must_show() {
    let needed = |one_in: u64| {
        let mut breaker = Local::new(Config::default(), 0);
        (0..1_000).for_each(|n| ends(&mut breaker, n % one_in == 0, n));
        failures_to_open(&mut breaker, 2_000)
    };
    assert_eq!([100, 20, 10, 5, 3].map(needed), [8, 8, 11, 15, 19]);
    // Of a new one nothing is known.
    assert_eq!(failures_to_open(&mut Local::new(Config::default(), 0), 0), 15);
}

#[test]
fn what_opened_it_is_never_usual() {
    let mut breaker = Local::new(Config::default(), 0);
    breaker.step(Event::Absorb { ok: 1_000 }, 0, 0.0);
    for n in 1..20 {
        assert_eq!(failures_to_open(&mut breaker, n * 1_000), 8);
        breaker.step(Event::Operate(Operation::Close), n * 1_000, 0.0);
    }
}

/// Draws whether a call fails: xorshift, so that it is the same everywhere.
struct Dice(u64);

impl Dice {
    fn fails(&mut self, pct: u64) -> bool {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % 100 < pct
    }
}

#[test]
fn a_steady_share_below_the_threshold_opens_nothing() {
    for pct in [5, 20, 30] {
        let (mut breaker, mut dice) = (Local::new(Config::default(), 0), Dice(0x9e37_79b9_7f4a_7c15));
        for n in 0..200_000 {
            ends(&mut breaker, dice.fails(pct), n * 100);
            assert_eq!(breaker.state(), State::Closed, "{pct} % after {n} calls");
        }
    }
}

#[test]
fn a_share_that_creeps_up_is_no_outage_below_the_threshold() {
    let (mut breaker, mut dice) = (Local::new(Config::default(), 0), Dice(0x1234_5678_9abc_def1));
    for n in 0..30_000u64 {
        // From nothing to 30 %.
        ends(&mut breaker, dice.fails(n / 1_000), n * 100);
        assert_eq!(breaker.state(), State::Closed, "{} %", n / 1_000);
    }
    let failures = failures_to_open(&mut breaker, 3_000_000);
    assert!((15..=20).contains(&failures), "{failures}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever was before, `min_calls` failures in a row open a breaker with a sequential test.
    #[test]
    fn a_row_of_failures_opens_it_whatever_was_usual(before in prop::collection::vec(any::<bool>(), 0..400), min_calls in 1u32..30) {
        let mut breaker = Local::new(Config { min_calls, ..Config::default() }, 0);
        for failed in before {
            ends(&mut breaker, failed, 0);
            if breaker.state() != State::Closed {
                breaker.step(Event::Operate(Operation::Close), 0, 0.0);
            }
        }
        prop_assert!(failures_to_open(&mut breaker, 0) <= min_calls);
    }
}
