//! Stories of the fleet's breaker.

use super::*;
use crate::core::{Effect, Settings};
use crate::rig::{Rig, START, Story, at, survives_restart_anywhere};
use expect_test::expect;
use homeostat_schemas::Content;
use serde_json::json;

/// What replica `n` reports of a quarter of a second.
fn report(n: u32, ok: u64, failed: u64) -> Value {
    json!({"kind": "calls", "instance": format!("shop-{n}"), "zone": format!("z{}", n % 2), "peer": "payments",
        "ok": ok, "failed": failed, "shed": 0, "over_ms": 250})
}

/// `replicas` report every quarter of a second from `from` to `to`: so many good and bad calls each.
fn traffic(from: f64, to: f64, replicas: u32, calls: impl Fn(u32) -> (u64, u64)) -> Story {
    let mut story = Vec::new();
    let mut now = from;
    while now < to {
        for n in 0..replicas {
            let (ok, failed) = calls(n);
            story.push(at(now + f64::from(n) * 0.001, report(n, ok, failed)));
        }
        now += 0.25;
    }
    story
}

fn rig() -> Rig<BreakerCore> {
    Rig::with(BreakerConfig::default())
}

/// What was said.
fn words(rig: &Rig<BreakerCore>) -> impl Iterator<Item = Admission> {
    rig.outputs().iter().filter_map(|output| match &output.effect {
        Effect::Announce(said) => Some(serde_json::from_value(said.body.clone()).unwrap()),
        _ => None,
    })
}

/// The same: seconds, state, share and whom it is about, a line each, when any of it is another than before.
fn said(rig: &Rig<BreakerCore>) -> String {
    let (mut text, mut last) = (String::new(), String::new());
    for word in words(rig) {
        let what = format!("{:?} {:.3} {}{}", word.state, word.fraction, word.peer, word.zone.map(|z| format!(" {z}")).unwrap_or_default());
        if what != last {
            text += &format!("{:<6} {what}\n", (word.at_ms - START) as f64 / 1_000.0);
        }
        last = what;
    }
    text
}

#[test]
fn an_outage_opens_and_recovery_ramps_up() {
    let mut rig = rig();
    rig.feed(traffic(0.1, 10.0, 10, |_| (5, 0)));
    rig.feed(traffic(10.1, 11.1, 10, |_| (0, 5)));
    // The breaker is open: probes fail, then succeed, then the ramp.
    rig.feed([at(12.0, report(1, 0, 1)), at(13.0, report(2, 1, 0)), at(13.4, report(3, 1, 0))]);
    rig.feed(traffic(13.6, 20.0, 10, |_| (5, 0)));
    rig.until(25.0);
    expect![[r#"
        10.359 Open 0.000 payments
        10.75  Open 0.011 payments
        11.25  Open 0.013 payments
        11.5   Open 0.021 payments
        11.75  Open 0.036 payments
        12     Open 0.061 payments
        12.25  Open 0.040 payments
        12.5   Open 0.078 payments
        12.75  Open 0.500 payments
        13.4   Ramping 0.100 payments
        14     Ramping 0.200 payments
        14.5   Ramping 0.400 payments
        15     Ramping 0.800 payments
        15.5   Ramping 1.000 payments
        16     Closed 1.000 payments
    "#]]
    .assert_eq(&said(&rig));
    expect![[r#"
        10.359s breaker.open critical shop calls to payments fail on 10 of 10 replicas: probes only
        16s     breaker.open resolved shop calls go well again
    "#]]
    .assert_eq(&rig.transcript());
}

/// Single failures of so many replicas in turn, ten a second from `from` on, until the breaker is open: how many there were.
fn failures_to_open(rig: &mut Rig<BreakerCore>, from: f64, replicas: u32) -> u32 {
    let mut failures = 0;
    while rig.driver().view().iter().all(|view| view.state == AdmissionState::Closed) {
        rig.feed([at(from + f64::from(failures) * 0.1, report(failures % replicas, 0, 1))]);
        failures += 1;
        assert!(failures < 100);
    }
    failures
}

#[test]
fn the_less_a_peer_fails_usually_the_fewer_failures_are_an_outage() {
    let needed = |one_in: u32| {
        let mut rig = rig();
        rig.feed((0..600).map(|n| {
            let failed = n % one_in == 0;
            at(f64::from(n) * 0.1, report(n % 9, u64::from(!failed), u64::from(failed)))
        }));
        failures_to_open(&mut rig, 60.0, 9)
    };
    assert_eq!([100, 20, 10, 5].map(needed), [8, 8, 10, 10]);
    // Of a new one nothing is known.
    assert_eq!(failures_to_open(&mut rig(), 0.0, 9), 10);
}

#[test]
fn a_bad_replica_makes_no_outage_of_what_others_fail_by_chance() {
    let mut rig = rig();
    rig.feed((0..600).map(|n| at(f64::from(n) * 0.1, report(n % 4, 1, 0))));
    rig.feed((0..5).map(|n| at(60.0 + f64::from(n) * 0.1, report(0, 0, 1))));
    rig.feed((1..4).map(|n| at(61.0 + f64::from(n) * 0.1, report(n, 0, 1))));
    assert_eq!((rig.driver().view()[0].excess, rig.transcript()), (8.0, String::new()));
    // Two more of others make ten, whatever is usual.
    assert_eq!(failures_to_open(&mut rig, 62.0, 4), 3);
}

#[test]
fn what_was_outweighed_at_once_has_no_part_in_an_outage() {
    let mut rig = rig();
    // Busy replicas, each report with a failure among many successes, as a peer that is well makes them.
    rig.feed(traffic(0.0, 60.0, 4, |_| (5, 1)));
    rig.feed(traffic(60.0, 61.5, 4, |_| (0, 6)));
    assert!(rig.transcript().contains("fail on 4 of 4 replicas"), "{}", rig.transcript());
}

#[test]
fn who_succeeded_before_the_outage_follows_and_its_probes_count() {
    let mut rig = rig();
    rig.feed(traffic(0.1, 10.0, 10, |_| (5, 0)));
    rig.feed(traffic(10.1, 11.1, 9, |_| (0, 5)));
    rig.feed([at(12.0, report(9, 1, 0)), at(12.2, report(9, 1, 0))]);
    assert_eq!(rig.driver().view()[0].state, AdmissionState::Ramping);
}

#[test]
fn nothing_passes_until_a_result_would_be_one_of_a_probe() {
    let mut rig = rig();
    rig.feed(traffic(0.1, 10.0, 10, |_| (5, 0)));
    rig.feed(traffic(10.1, 10.4, 10, |_| (0, 5)));
    // Opened just now.
    assert_eq!((rig.driver().view()[0].state, rig.driver().view()[0].fraction), (AdmissionState::Open, 0.0));
    rig.until(11.0);
    assert!(rig.driver().view()[0].fraction > 0.0);
}

#[test]
fn a_probe_that_is_overdue_is_made_likelier_until_one_comes_back() {
    /// What ten replicas refuse in two seconds: twenty calls a second.
    fn refused(from: f64) -> Story {
        let one = |n: u32| {
            let mut event = report(n % 10, 0, 0);
            event["shed"] = 5.into();
            at(from + f64::from(n) * 0.25, event)
        };
        (0..8).map(one).collect()
    }
    let mut rig = rig();
    rig.feed(traffic(0.1, 5.0, 10, |_| (1, 0)));
    rig.feed(traffic(5.1, 6.1, 10, |_| (0, 2)));
    rig.feed(refused(6.1));
    rig.feed(refused(8.1));
    let share = |rig: &Rig<BreakerCore>| rig.driver().view()[0].fraction;
    assert!((0.35..0.5).contains(&share(&rig)), "{}", share(&rig));
    rig.feed([at(10.12, report(1, 0, 1))]);
    rig.until(10.3);
    assert!((0.08..0.15).contains(&share(&rig)), "{}", share(&rig));
}

#[test]
fn one_bad_replica_opens_nothing() {
    let mut rig = rig();
    rig.feed(traffic(0.0, 60.0, 10, |n| if n == 3 { (0, 50) } else { (5, 0) }));
    assert_eq!((rig.transcript(), said(&rig)), (String::new(), String::new()));
}

#[test]
fn a_peer_that_fails_more_than_the_threshold_opens_it_however_few_replicas_there_are() {
    // Three of five fail. In a sum that replicas had only once to fill, three of them came to two thirds of what is needed, and no further.
    for (replicas, ok, failed) in [(3, 2, 3), (4, 2, 3), (10, 2, 3), (3, 1, 19)] {
        let mut rig = rig();
        rig.feed(traffic(0.1, 10.0, replicas, |_| (ok + failed, 0)));
        rig.feed(traffic(10.1, 30.0, replicas, |_| (ok, failed)));
        assert!(words(&rig).any(|word| word.state == AdmissionState::Open), "{replicas} replicas: {ok} good, {failed} bad");
    }
    let mut rig = rig();
    rig.feed(traffic(0.1, 60.0, 3, |_| (3, 2)));
    assert_eq!(said(&rig), "", "two of five are below the threshold");
}

#[test]
fn an_outage_opens_it_whatever_a_replica_saw_before_it_failed_as_well() {
    for calls in 1..=40 {
        let mut rig = rig();
        rig.feed(traffic(0.1, 10.0, 3, |_| (1, 0)));
        // Two of three fail, and then the third.
        rig.feed(traffic(10.1, 10.1 + 0.25 * f64::from(calls), 3, |n| if n < 2 { (0, 1) } else { (1, 0) }));
        let all = 10.1 + 0.25 * f64::from(calls);
        rig.feed(traffic(all, all + 10.0, 3, |_| (0, 1)));
        assert!(words(&rig).any(|word| word.state == AdmissionState::Open), "after {calls} reports");
    }
}

#[test]
fn five_percent_of_errors_open_nothing() {
    let mut rig = rig();
    rig.feed(traffic(0.0, 120.0, 20, |n| if n == 0 { (0, 5) } else { (5, 0) }));
    assert_eq!(rig.transcript(), "");
}

#[test]
fn a_zone_that_fails_is_told_apart() {
    let mut rig = rig();
    rig.feed(traffic(0.1, 5.0, 12, |_| (5, 0)));
    rig.feed(traffic(5.1, 7.0, 12, |n| if n % 2 == 0 { (0, 5) } else { (9, 0) }));
    let words = said(&rig);
    assert!(words.lines().next().unwrap().ends_with("payments z0"), "{words}");
    assert!(words.lines().all(|line| line.ends_with("z0")), "{words}");
}

#[test]
fn an_operation_that_fails_is_told_apart() {
    let mut rig = rig();
    for n in 0..40u32 {
        let second = f64::from(n) * 0.1;
        for (operation, ok, failed) in [("charge", 9, 0), ("refund", 0, 2)] {
            let mut event = report(n % 5, ok, failed);
            event["operation"] = operation.into();
            rig.feed([at(second, event)]);
        }
    }
    let open: Vec<_> = rig.driver().view().into_iter().filter(|view| view.state != AdmissionState::Closed).collect();
    assert_eq!(open.len(), 1, "{}", rig.transcript());
    assert_eq!(open[0].operation.as_deref(), Some("refund"));
}

#[test]
fn where_only_retries_are_shed_first_attempts_always_pass() {
    let mut rig = Rig::<BreakerCore>::with(BreakerConfig { shedding: ShedMode::ShedRetries, ..BreakerConfig::default() });
    rig.feed(traffic(0.0, 3.0, 10, |_| (2, 5)));
    let words: Vec<Admission> = words(&rig).collect();
    assert!(!words.is_empty() && words.iter().all(|word| (word.fraction, word.retry_fraction) == (1.0, 0.0)));
    assert_eq!(rig.driver().core().incidents().len(), 1);
}

#[test]
fn where_shedding_does_not_help_the_share_is_given_back() {
    let mut rig = Rig::<BreakerCore>::with(BreakerConfig { shedding: ShedMode::Fraction, ..BreakerConfig::default() });
    rig.feed(traffic(0.0, 10.0, 10, |_| (2, 3)));
    let view = rig.driver().view();
    assert_eq!((view[0].state, view[0].fraction), (AdmissionState::Ramping, 1.0));
}

#[test]
fn only_a_run_that_a_peer_that_fails_in_part_never_makes_is_its_outage() {
    let mut rig = Rig::<BreakerCore>::with(BreakerConfig { shedding: ShedMode::Fraction, ..BreakerConfig::default() });
    rig.feed(traffic(0.0, 10.0, 10, |_| (2, 3)));
    let run = |from: f64, failures: u32| (0..failures).map(move |n| at(from + f64::from(n) * 0.004, report(n % 10, 0, 1)));
    // At 250 calls a second a run of 40 comes once in months; where the share had been measured too low, one that was long enough came
    // within minutes.
    rig.feed(run(10.0, 40));
    rig.feed(traffic(10.25, 12.0, 10, |_| (2, 3)));
    assert!(words(&rig).all(|word| word.state != AdmissionState::Open), "{}", said(&rig));
    rig.feed(run(12.1, 80));
    rig.until(13.0);
    assert!(words(&rig).any(|word| word.state == AdmissionState::Open), "{}", said(&rig));
}

/// A peer of which 60 % fail, until a share is shed; the time of that, s.
fn shed(rig: &mut Rig<BreakerCore>) -> f64 {
    let mut now = 0.0;
    while rig.driver().view().iter().all(|view| view.state == AdmissionState::Closed) {
        rig.feed(traffic(now, now + 0.25, 10, |_| (2, 3)));
        now += 0.25;
        assert!(now < 10.0);
    }
    assert_eq!(rig.driver().view()[0].fraction, 0.5);
    now
}

#[test]
fn what_does_not_help_is_given_back_within_half_a_second() {
    let mut rig = Rig::<BreakerCore>::with(BreakerConfig { shedding: ShedMode::Fraction, ..BreakerConfig::default() });
    let now = shed(&mut rig);
    rig.feed(traffic(now, now + 0.5, 10, |n| if n % 2 == 0 { (1, 1) } else { (0, 2) }));
    assert_eq!(rig.driver().view()[0].fraction, 1.0, "{}", said(&rig));
}

#[test]
fn what_helps_stays_shed_and_is_given_back_in_steps() {
    let mut rig = Rig::<BreakerCore>::with(BreakerConfig { shedding: ShedMode::Fraction, ..BreakerConfig::default() });
    let now = shed(&mut rig);
    rig.feed(traffic(now, now + 1.5, 10, |_| (2, 0)));
    let fraction = rig.driver().view()[0].fraction;
    assert!((0.5..0.7).contains(&fraction), "{}", said(&rig));
    rig.feed(traffic(now + 1.5, now + 12.0, 10, |_| (4, 0)));
    assert_eq!(rig.driver().view()[0].state, AdmissionState::Closed, "{}", said(&rig));
}

#[test]
fn silence_is_no_sign_that_shedding_helps() {
    let mut rig = Rig::<BreakerCore>::with(BreakerConfig { shedding: ShedMode::Fraction, ..BreakerConfig::default() });
    let now = shed(&mut rig);
    rig.until(now + 5.0);
    // Those outside the share wait at first, and are refused when it takes longer.
    let words: Vec<Admission> = words(&rig).filter(|word| word.state == AdmissionState::Ramping && word.fraction < 1.0).collect();
    let young = |word: &Admission| word.at_ms < words[0].at_ms + 500;
    assert!(words.iter().all(|word| word.hold_ms == young(word).then_some(500)), "{words:?}");
    assert!(words.iter().any(|word| !young(word)), "{words:?}");
    rig.feed(traffic(now + 5.0, now + 5.5, 10, |_| (2, 0)));
    assert_eq!(rig.driver().view()[0].fraction, 1.0, "{}", said(&rig));
}

#[test]
fn observing_says_nothing_to_replicas() {
    let mut settings = Settings::<BreakerConfig>::default();
    settings.modes.actor = Mode::Observe;
    let mut rig = Rig::<BreakerCore>::with_settings(settings);
    rig.feed(traffic(0.0, 2.0, 10, |_| (0, 5)));
    assert_eq!(said(&rig), "");
    assert_eq!(rig.driver().core().incidents().len(), 1);
}

#[test]
fn an_open_breaker_speaks_every_tick_and_epochs_grow() {
    let mut rig = rig();
    rig.feed(traffic(0.0, 1.0, 10, |_| (0, 5)));
    rig.until(11.0);
    let epochs: Vec<u64> = words(&rig).map(|word| word.epoch).collect();
    assert!(epochs.len() >= 40, "{}", epochs.len());
    assert!(epochs.is_sorted_by(|a, b| a < b));
}

#[test]
fn what_is_no_longer_heard_of_is_forgotten() {
    let mut rig = rig();
    rig.feed(traffic(0.0, 1.0, 10, |_| (0, 5)));
    rig.until(700.0);
    assert!(rig.driver().view().is_empty());
    assert!(rig.transcript().contains("resolved shop nothing is heard of its calls any more"));
}

#[test]
fn a_flood_of_names_finds_its_limit() {
    let config = BreakerConfig { scopes_max: 20, parts_max: 4, replicas_max: 3, ..BreakerConfig::default() };
    let mut rig = Rig::<BreakerCore>::with(config);
    for n in 0..500u32 {
        let mut event = report(n, 1, 1);
        event["peer"] = format!("peer-{}", n % 40).into();
        event["operation"] = format!("op-{n}").into();
        rig.feed([at(f64::from(n) * 0.01, event)]);
    }
    assert!(rig.driver().view().len() <= 20);
}

/// What the breaker of replica `n` says.
fn local(n: u32, state: &str, why: Option<&str>, epoch: u64) -> Value {
    json!({"kind": "breaker", "instance": format!("shop-{n}"), "zone": "z1", "peer": "payments", "state": state,
        "from": why.map(|_| "closed"), "why": why, "epoch": epoch, "since_ms": START + epoch})
}

/// The local breakers as they are seen, a line each.
fn locals(rig: &Rig<BreakerCore>) -> String {
    let one = |view: &BreakerView| {
        let all = view.local.iter().map(|l| format!("{} {} {} {}\n", view.peer, l.instance, l.state, l.why.as_deref().unwrap_or("-")));
        all.collect::<String>()
    };
    rig.driver().view().iter().map(one).collect()
}

#[test]
fn the_breakers_of_replicas_are_seen_as_they_change_and_forgotten_when_they_fall_silent() {
    let mut rig = rig();
    rig.feed([
        at(1.0, local(1, "open", Some("sequential"), 1_000)),
        at(1.1, local(2, "forced_open", Some("operator"), 1_100)),
        at(1.2, local(3, "closed", Some("probes_good"), 1_200)),
        // Late: stored after the word that followed it.
        at(1.3, local(3, "half_open", Some("wait_over"), 1_150)),
    ]);
    expect![[r#"
        payments shop-1 open sequential
        payments shop-2 forced_open operator
        payments shop-3 closed probes_good
    "#]]
    .assert_eq(&locals(&rig));
    let counts = rig.driver().view().remove(0).local_states;
    assert_eq!(counts.values().sum::<usize>(), 3);
    // The first goes on to say so, the others fall silent.
    rig.feed([at(20.0, local(1, "open", None, 1_000)), at(30.0, local(1, "half_open", Some("wait_over"), 29_000))]);
    rig.until(40.0);
    assert_eq!(locals(&rig), "payments shop-1 half_open wait_over\n");
    rig.until(70.0);
    assert_eq!((locals(&rig), rig.transcript()), (String::new(), String::new()), "and nobody is told: it is the replica's own affair");
    rig.until(700.0);
    assert!(rig.driver().view().is_empty());
}

#[test]
fn a_flood_of_local_breakers_finds_its_limit() {
    let config = BreakerConfig { scopes_max: 20, parts_max: 4, replicas_max: 3, ..BreakerConfig::default() };
    let mut rig = Rig::<BreakerCore>::with(config);
    for n in 0..500u32 {
        let mut event = local(n, "open", None, u64::from(n));
        event["peer"] = format!("peer-{}", n % 40).into();
        event["operation"] = format!("op-{}", n % 7).into();
        rig.feed([at(f64::from(n) * 0.01, event)]);
    }
    let view = rig.driver().view();
    assert!(view.len() <= 20 && view.iter().all(|view| view.local.len() <= 3));
}

#[test]
fn a_restart_anywhere_changes_nothing() {
    let mut story = traffic(0.1, 3.0, 6, |_| (5, 0));
    story.extend(traffic(3.1, 4.1, 6, |_| (0, 5)));
    story.extend([at(4.2, local(1, "open", Some("sequential"), 4_000)), at(4.3, local(2, "disabled", Some("operator"), 4_100))]);
    story.extend([at(5.0, report(1, 1, 0)), at(5.3, report(2, 1, 0))]);
    story.extend(traffic(5.5, 9.0, 6, |n| (4, u64::from(n == 1))));
    story.push((START + 9_500, Content::Tick));
    survives_restart_anywhere::<BreakerCore>(&Settings::default(), &story);
}

/// Ten calls each quarter of a second, each reported by itself.
fn trickle(from: f64, quarters: u32, failed: impl Fn(u32) -> bool) -> Story {
    traffic(from, from + f64::from(quarters) * 0.25, 10, move |n| if failed(n) { (0, 1) } else { (1, 0) })
}

#[test]
fn a_peer_that_fails_in_part_is_down_only_after_a_run_that_chance_does_not_make() {
    let mut rig = Rig::<BreakerCore>::with(BreakerConfig { shedding: ShedMode::Fraction, ..BreakerConfig::default() });
    let now = shed(&mut rig);
    rig.feed(traffic(now, now + 5.0, 10, |_| (2, 3)));
    assert_eq!((rig.driver().view()[0].state, rig.driver().view()[0].fraction), (AdmissionState::Ramping, 1.0));
    // Twenty failures in a row, and one success behind them: 60 % make such a run.
    rig.feed(trickle(now + 5.0, 2, |_| true));
    rig.feed(trickle(now + 5.5, 1, |n| n % 5 < 3));
    assert_eq!(rig.driver().view()[0].state, AdmissionState::Ramping, "{}", said(&rig));
    rig.feed(trickle(now + 5.75, 8, |_| true));
    assert_eq!(rig.driver().view()[0].state, AdmissionState::Open, "{}", said(&rig));
}
