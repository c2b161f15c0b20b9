//! The promises of the breaker, for whatever may happen to it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use homeostat_reflexes::breaker::local::{Event, Local};
use homeostat_reflexes::breaker::{
    Attempt, Clock, Config, Dialect, Edge, Gate, HOLD_MAX_MS, Operation, Outcome, Permit, Refusal, Sheds, State, Why, WindowType,
};
use homeostat_schemas::{Admission, AdmissionState, Ms};
use proptest::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a story does next.
#[derive(Debug, Clone)]
enum Act {
    Call,
    /// Ends the nth call under way.
    End(usize, Outcome, Ms),
    Operate(Operation),
    Absorb(u64),
    Inherit,
    Renew,
    Wait(Ms),
}

fn act() -> impl Strategy<Value = Act> {
    let outcome = prop::sample::select(vec![Outcome::Success, Outcome::Failure, Outcome::Failure, Outcome::Timeout, Outcome::Ignored]);
    let operation = prop::sample::select(vec![
        Operation::Open,
        Operation::Close,
        Operation::Disable,
        Operation::Enable,
        Operation::MetricsOnly,
        Operation::ForceOpen,
    ]);
    prop_oneof![
        8 => Just(Act::Call),
        8 => (0usize..8, outcome, prop::sample::select(vec![0, 5, 100, 5_000, 100_000])).prop_map(|(n, o, t)| Act::End(n, o, t)),
        1 => operation.prop_map(Act::Operate),
        1 => (0u64..50).prop_map(Act::Absorb),
        1 => Just(Act::Inherit),
        1 => Just(Act::Renew),
        4 => prop::sample::select(vec![0, 1, 10, 1_000, 5_000, 61_000, 1_000_000]).prop_map(Act::Wait),
    ]
}

fn config() -> impl Strategy<Value = Config> {
    (
        prop::sample::select(vec![0.0, 1.0, 33.3, 50.0, 100.0, 120.0]),
        prop::sample::select(vec![WindowType::Time, WindowType::Count]),
        1u32..12,
        prop::sample::select(vec![1, 100, 5_000]),
        prop::option::of(prop::sample::select(vec![1.0, 1.5, 2.0, 10.0])),
        0u32..6,
        prop::sample::select(vec![0, 50, 7_000]),
        prop::option::of(prop::sample::select(vec![1, 2_000])),
        prop::option::of(1u32..4),
    )
        .prop_map(
            |(failure_pct, window_type, min_calls, open_ms, open_backoff, half_open_permits, max_half_open_ms, slow_ms, capacity)| Config {
                failure_pct,
                window_type,
                window_calls: 10,
                min_calls,
                open_ms,
                open_backoff,
                open_max_ms: 30_000,
                half_open_permits,
                max_half_open_ms,
                slow_ms,
                slow_pct: 60.0,
                capacity,
                probe_deadline_ms: 2_000,
                ..Config::default()
            },
        )
}

/// Tells a story, and gives the machine, the time, and the permits that were never settled.
fn tell(config: Config, story: &[Act]) -> (Local, Ms, Vec<Permit>, Vec<State>) {
    let (mut breaker, mut now, mut under_way, mut states) = (Local::new(config, 0), 0, Vec::new(), Vec::new());
    for act in story {
        let event = match act.clone() {
            Act::Call => Event::Acquire(Attempt::First),
            Act::End(n, outcome, took) if !under_way.is_empty() => {
                Event::Settle { permit: under_way.remove(n % under_way.len()), outcome, took }
            }
            Act::End(..) => Event::Tick,
            Act::Operate(operation) => Event::Operate(operation),
            Act::Absorb(ok) => Event::Absorb { ok },
            Act::Inherit => Event::Inherit,
            Act::Renew => Event::Renew,
            Act::Wait(ms) => {
                now += ms;
                Event::Tick
            }
        };
        let before = breaker.state();
        let effects = breaker.step(event, now, 0.5);
        if let Some(Ok(permit)) = effects.decision {
            under_way.push(permit);
        }
        let mut at = before;
        for change in &effects.changes {
            assert_eq!(change.from, at, "changes follow one another");
            assert_ne!(change.from, change.to);
            at = change.to;
        }
        assert_eq!(at, breaker.state(), "every change is told");
        states.push(at);
    }
    (breaker, now, under_way, states)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// B-2. The calls of the story that are still under way never come back.
    #[test]
    fn there_is_no_wedge(config in config(), story in prop::collection::vec(act(), 0..120)) {
        // Lost calls keep their place in a bulkhead for good: that is what a client's own timeout is for.
        let config = Config { capacity: None, ..config };
        let (mut breaker, mut now, _lost, _) = tell(config.clone(), &story);
        if matches!(breaker.state(), State::ForcedOpen | State::Disabled | State::MetricsOnly) {
            breaker.step(Event::Operate(Operation::Enable), now, 0.5);
        }
        // The longest wait with all of its jitter, and the deadline of a probe.
        let longest = breaker.config().open_max_ms * 3 / 2 + breaker.config().probe_deadline_ms + 100;
        let mut refused_since = now;
        let give_up = now + 3 * longest + 200_000;
        while breaker.state() != State::Closed {
            now += 100;
            prop_assert!(now < give_up, "still {} after {} ms of good calls", breaker.state(), 3 * longest);
            match breaker.step(Event::Acquire(Attempt::First), now, 0.999).decision.unwrap() {
                Ok(permit) => {
                    refused_since = now;
                    breaker.step(Event::Settle { permit, outcome: Outcome::Success, took: 0 }, now, 0.999);
                }
                Err(_) => prop_assert!(now - refused_since <= longest, "refused for {} ms", now - refused_since),
            }
        }
    }

    /// B-1.
    #[test]
    fn the_same_story_has_the_same_end(config in config(), story in prop::collection::vec(act(), 0..60)) {
        for dialect in [Dialect::Opossum, Dialect::Resilience4j, Dialect::Homeostat] {
            let config = Config { dialect, ..config.clone() };
            let (one, _, _, states) = tell(config.clone(), &story);
            let (other, _, _, again) = tell(config, &story);
            prop_assert_eq!(one, other);
            prop_assert_eq!(states, again);
        }
    }

    /// B-3.
    #[test]
    fn what_comes_back_late_decides_nothing(config in config(), story in prop::collection::vec(act(), 0..60)) {
        let (mut breaker, now, mut under_way, _) = tell(config, &story);
        breaker.step(Event::Operate(Operation::Close), now, 0.5);
        let before = (breaker.state(), breaker.era());
        for permit in under_way.drain(..) {
            breaker.step(Event::Settle { permit, outcome: Outcome::Failure, took: 0 }, now, 0.5);
        }
        prop_assert_eq!((breaker.state(), breaker.era()), before);
    }

    /// B-4.
    #[test]
    fn a_refusal_is_never_evidence(config in config(), refused in 1usize..50) {
        let mut breaker = Local::new(Config { capacity: Some(1), ..config }, 0);
        let held = breaker.step(Event::Acquire(Attempt::First), 0, 0.5).decision.unwrap().unwrap();
        for _ in 0..refused {
            let decision = breaker.step(Event::Acquire(Attempt::First), 1, 0.5).decision.unwrap();
            prop_assert_eq!(decision, Err(Refusal::Bulkhead));
        }
        prop_assert_eq!(breaker.state(), State::Closed);
        breaker.step(Event::Settle { permit: held, outcome: Outcome::Ignored, took: 0 }, 2, 0.5);
        prop_assert!(breaker.step(Event::Acquire(Attempt::First), 3, 0.5).decision.unwrap().is_ok());
    }

    /// B-6: whatever the fleet says, in whatever order, it holds nobody back after the last lease.
    #[test]
    fn the_fleets_word_ends_with_its_lease(
        said in prop::collection::vec((0u64..6, 0.0f64..1.5, prop::sample::select(vec![0, 1_500, u64::MAX]), 0u64..3_000), 0..20),
    ) {
        let mut edge = Edge::new(Config::default(), None, None, 0);
        let mut now = 0;
        for (epoch, fraction, lease_ms, passed) in said {
            now += passed;
            let word = Admission { epoch, fraction, lease_ms, state: AdmissionState::Open, run_ms: 500, ..Admission::default() };
            edge.hear(&word, now, 0.5);
        }
        now += 60_000;
        let _ = edge.report(now, 0.0);
        prop_assert_eq!(edge.snapshot(now).share, None);
        // What it inherited ends with its own first wait.
        now += Config::default().open_ms;
        prop_assert!(edge.acquire(Attempt::First, 0, now, 0.999).is_ok());
    }
}

#[test]
fn the_originals_wedge_and_we_do_not() {
    let wedged = |dialect| {
        let mut breaker = Local::new(Config { dialect, min_calls: 2, half_open_permits: 1, ..Config::default() }, 0);
        for _ in 0..2 {
            let permit = breaker.step(Event::Acquire(Attempt::First), 0, 0.0).decision.unwrap().unwrap();
            breaker.step(Event::Settle { permit, outcome: Outcome::Failure, took: 0 }, 0, 0.0);
        }
        assert_eq!(breaker.state(), State::Open);
        // The probe never comes back.
        let lost = breaker.step(Event::Acquire(Attempt::First), 6_000, 0.0).decision.unwrap();
        assert!(lost.is_ok(), "{dialect}");
        breaker.step(Event::Acquire(Attempt::First), 10_000_000, 0.0).decision.unwrap().is_err()
    };
    assert!(wedged(Dialect::Opossum) && wedged(Dialect::Resilience4j));
    let mut breaker = Local::new(Config { min_calls: 2, half_open_permits: 1, jitter: 0.0, ..Config::default() }, 0);
    breaker.step(Event::Operate(Operation::Open), 0, 0.0);
    let _lost = breaker.step(Event::Acquire(Attempt::First), 5_000, 0.0).decision.unwrap().unwrap();
    let late = breaker.step(Event::Tick, 15_000, 0.0).changes;
    assert_eq!((late[0].to, late[0].why), (State::Open, Why::ProbesLost));
}

#[test]
fn waits_grow_to_their_limit_and_start_anew_after_closing() {
    let config = Config { half_open_permits: 1, jitter: 0.0, open_backoff: Some(2.0), open_max_ms: 30_000, ..Config::default() };
    let mut breaker = Local::new(config, 0);
    breaker.step(Event::Operate(Operation::Open), 0, 0.0);
    let (mut now, mut waits) = (0, Vec::new());
    for _ in 0..5 {
        let began = now;
        let permit = loop {
            match breaker.step(Event::Acquire(Attempt::First), now, 0.0).decision.unwrap() {
                Ok(permit) => break permit,
                Err(Refusal::Open { retry_in }) => now += retry_in.max(1),
                Err(other) => panic!("{other}"),
            }
        };
        waits.push(now - began);
        breaker.step(Event::Settle { permit, outcome: Outcome::Failure, took: 0 }, now, 0.0);
    }
    assert_eq!(waits, [5_000, 10_000, 20_000, 30_000, 30_000]);
}

#[test]
fn first_attempts_pass_where_only_retries_are_shed() {
    let mut breaker = Local::new(Config { sheds: Sheds::Retries, jitter: 0.0, ..Config::default() }, 0);
    breaker.step(Event::Operate(Operation::Open), 0, 0.0);
    assert!(breaker.step(Event::Acquire(Attempt::Retry), 1, 0.0).decision.unwrap().is_err());
    let permit = breaker.step(Event::Acquire(Attempt::First), 1, 0.0).decision.unwrap().unwrap();
    breaker.step(Event::Settle { permit, outcome: Outcome::Success, took: 0 }, 2, 0.0);
    assert_eq!(breaker.state(), State::Open, "calls that pass anyway are no probes before the wait is over");
    for _ in 0..2 {
        let permit = breaker.step(Event::Acquire(Attempt::First), 6_000, 0.0).decision.unwrap().unwrap();
        breaker.step(Event::Settle { permit, outcome: Outcome::Success, took: 0 }, 6_000, 0.0);
    }
    assert_eq!(breaker.state(), State::Closed);
}

/// A clock that is set by hand.
#[derive(Default)]
struct Hand(AtomicU64);

impl Clock for Hand {
    fn now(&self) -> Ms {
        self.0.load(Ordering::Relaxed)
    }
    fn chance(&self) -> f64 {
        0.5
    }
}

fn word(epoch: u64, state: AdmissionState, fraction: f64) -> Admission {
    Admission { epoch, state, fraction, retry_fraction: 0.0, lease_ms: 1_500, run_ms: 1_000, ..Admission::default() }
}

#[test]
fn a_gate_follows_the_fleet_and_goes_on_alone_without_it() {
    let clock = Hand(AtomicU64::new(10_000));
    let gate = Gate::new(Config::default(), None, None, &clock);
    assert!(gate.acquire(Attempt::First, &clock).is_ok());
    gate.hear(&word(1, AdmissionState::Open, 0.01), &clock);
    assert_eq!(gate.acquire(Attempt::First, &clock), Err(Refusal::Fleet));
    // An older word changes nothing.
    gate.hear(&word(1, AdmissionState::Open, 1.0), &clock);
    assert_eq!(gate.acquire(Attempt::First, &clock), Err(Refusal::Fleet));
    gate.hear(&word(2, AdmissionState::Ramping, 0.8), &clock);
    assert!(gate.acquire(Attempt::First, &clock).is_ok());
    assert_eq!(gate.acquire(Attempt::Retry, &clock), Err(Refusal::Fleet));
    gate.hear(&word(3, AdmissionState::Closed, 1.0), &clock);
    assert!(gate.acquire(Attempt::Retry, &clock).is_ok());
    assert_eq!(gate.snapshot(&clock).state, State::Closed);
    // The next run is cut off in the middle: the local machine goes on, open for half of its first wait (the chance is 0.5).
    gate.hear(&word(4, AdmissionState::Open, 0.01), &clock);
    clock.0.store(11_500, Ordering::Relaxed);
    assert_eq!(gate.acquire(Attempt::First, &clock), Err(Refusal::Open { retry_in: 2_500 }));
    clock.0.store(14_000, Ordering::Relaxed);
    assert!(gate.acquire(Attempt::First, &clock).is_ok_and(|permit| permit.is_probe()));
}

#[test]
fn who_is_held_back_waits_for_another_word_and_passes_without_one() {
    let clock = Hand(AtomicU64::new(10_000));
    let gate = Gate::new(Config::default(), None, None, &clock);
    let held = |left: Ms| Err(Refusal::Held { wait: left });
    gate.hear(&Admission { hold_ms: Some(120), ..word(1, AdmissionState::Ramping, 0.4) }, &clock);
    assert_eq!(gate.acquire(Attempt::First, &clock), held(50));
    assert_eq!(gate.acquire_held(Attempt::First, 50, &clock), held(50));
    assert_eq!(gate.acquire_held(Attempt::First, 100, &clock), held(20));
    assert!(gate.acquire_held(Attempt::First, 120, &clock).is_ok());
    assert_eq!(gate.snapshot(&clock).totals.shed, 0, "who waits is not refused");
    // Who waits is not drawn again: otherwise more and more of them would be let through while it is being found out what helps.
    gate.hear(&Admission { hold_ms: Some(120), ..word(2, AdmissionState::Ramping, 0.6) }, &clock);
    assert!(gate.acquire(Attempt::First, &clock).is_ok());
    assert_eq!(gate.acquire_held(Attempt::First, 50, &clock), held(50));
    // Shedding helps: from now on it is refused. It does not help: all pass.
    gate.hear(&word(3, AdmissionState::Ramping, 0.4), &clock);
    assert_eq!(gate.acquire_held(Attempt::First, 60, &clock), Err(Refusal::Fleet));
    gate.hear(&word(4, AdmissionState::Ramping, 1.0), &clock);
    assert!(gate.acquire_held(Attempt::First, 60, &clock).is_ok());
    // Whatever a word says.
    gate.hear(&Admission { hold_ms: Some(Ms::MAX), lease_ms: Ms::MAX, ..word(5, AdmissionState::Ramping, 0.0) }, &clock);
    assert_eq!(gate.acquire_held(Attempt::First, HOLD_MAX_MS - 1, &clock), held(1));
    assert!(gate.acquire_held(Attempt::First, HOLD_MAX_MS, &clock).is_ok());
}

#[test]
fn who_only_succeeds_does_not_follow() {
    let clock = Hand(AtomicU64::new(10_000));
    let gate = Gate::new(Config::default(), None, None, &clock);
    for _ in 0..3 {
        let permit = gate.acquire(Attempt::First, &clock).unwrap();
        gate.succeed(permit, &clock);
    }
    // Heard of as a sum, as old as the last look.
    let _ = gate.report(&clock);
    gate.hear(&word(1, AdmissionState::Open, 0.01), &clock);
    assert!(gate.acquire(Attempt::First, &clock).is_ok(), "three successes since the run began");
    let permit = gate.acquire(Attempt::First, &clock).unwrap();
    gate.settle(permit, Outcome::Failure, 5, &clock);
    assert_eq!(gate.acquire(Attempt::First, &clock), Err(Refusal::Fleet), "and then a failure");
}

#[test]
fn a_word_about_others_is_none() {
    let mut edge = Edge::new(Config::default(), Some("charge".into()), Some("a".into()), 0);
    for (operation, zone, follows) in [(Some("refund"), None, false), (None, Some("b"), false), (Some("charge"), Some("a"), true)] {
        let said = Admission { operation: operation.map(Into::into), zone: zone.map(Into::into), ..word(1, AdmissionState::Open, 0.0) };
        edge.hear(&said, 0, 0.5);
        assert_eq!(edge.snapshot(0).share.is_some(), follows, "{operation:?} {zone:?}");
    }
}

#[test]
fn every_call_is_reported_once() {
    let clock = Hand(AtomicU64::new(1_000));
    let gate = Gate::new(Config::default(), None, None, &clock);
    let mut seen = (0, 0, 0);
    for n in 0..1_000u64 {
        clock.0.store(1_000 + n * 7, Ordering::Relaxed);
        let urgent = match gate.acquire(Attempt::First, &clock) {
            Ok(permit) => gate.settle(permit, if n % 3 == 0 { Outcome::Failure } else { Outcome::Success }, 1, &clock),
            Err(_) => false,
        };
        if urgent || n % 29 == 0 {
            let delta = gate.report(&clock).delta.unwrap_or_default();
            seen = (seen.0 + delta.ok, seen.1 + delta.failed, seen.2 + delta.shed);
        }
    }
    clock.0.store(100_000, Ordering::Relaxed);
    let delta = gate.report(&clock).delta.unwrap_or_default();
    assert_eq!((seen.0 + delta.ok, seen.1 + delta.failed, seen.2 + delta.shed), (666, 334, 0));
    let totals = gate.snapshot(&clock).totals;
    assert_eq!((totals.ok, totals.failed, totals.shed), (666, 334, 0));
}

#[test]
fn threads_share_a_gate() {
    let clock = Hand(AtomicU64::new(0));
    let gate = Gate::new(Config::default(), None, None, &clock);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..20_000 {
                    if let Ok(permit) = gate.acquire(Attempt::First, &clock) {
                        gate.settle(permit, if n % 20 == 0 { Outcome::Failure } else { Outcome::Success }, 1, &clock);
                    }
                }
            });
        }
    });
    let totals = gate.snapshot(&clock).totals;
    assert_eq!((totals.ok, totals.failed, totals.opened), (76_000, 4_000, 0));
}

#[test]
fn where_shedding_does_not_help_the_replica_does_not_open_by_itself() {
    let clock = Hand(AtomicU64::new(10_000));
    let gate = Gate::new(Config::default(), None, None, &clock);
    let zone = Admission { zone: Some("a".into()), hold_ms: Some(300), ..word(1, AdmissionState::Ramping, 0.4) };
    gate.hear(&Admission { retry_fraction: 1.0, ..word(1, AdmissionState::Ramping, 1.0) }, &clock);
    for call in 0..100 {
        let permit = gate.acquire(Attempt::Retry, &clock).unwrap();
        gate.settle(permit, if call % 5 < 3 { Outcome::Failure } else { Outcome::Success }, 5, &clock);
    }
    // The word about its zone is the one that sheds: who is not in that share waits as it says.
    let gate = Gate::new(Config::default(), None, Some("a".into()), &clock);
    gate.hear(&Admission { retry_fraction: 1.0, ..word(1, AdmissionState::Ramping, 1.0) }, &clock);
    gate.hear(&zone, &clock);
    assert_eq!(gate.acquire(Attempt::First, &clock), Err(Refusal::Held { wait: 50 }));
}
