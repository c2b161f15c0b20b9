//! What holds commands back.

use super::super::{Approval, Policy};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn quick() -> RecoveryConfig {
    RecoveryConfig { settle_ms: 0, ..RecoveryConfig::default() }
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("s{n:02}")).collect()
}

#[test]
fn one_at_a_time_in_a_failure_domain_and_no_more_than_the_blast_radius() {
    let mut play = Play::with(quick());
    let names = names(10);
    let beat = |zone: &str, name: &str| {
        at(0.0, json!({"kind": "heartbeat", "service": "shop", "instance": name, "zone": zone, "up_s": 500, "interval_s": 3_600}))
    };
    // Three zones, ten instances, a share of 0.2: two at once, and never two in one zone.
    play.feed(names.iter().enumerate().map(|(n, name)| beat(["a", "b", "c"][n % 3], name)));
    play.feed((0..5).map(|n| leaks(1.0, &names[n]))).until(10.0);
    let targets: Vec<String> = play.commands().iter().map(|command| command.target.clone()).collect();
    assert_eq!(targets, ["s00", "s01"]);
    let record = play.record().join("\n");
    assert!(record.contains("Held: blast radius: 2 of 10 instances at once"), "{record}");
    assert!(record.contains("Held: another command is under way in its failure domain (shop zone:a)"), "{record}");
    // The first one is over: the next one goes.
    let first = play.commands()[0].clone();
    let refused = Outcome {
        command: first.id,
        service: first.service,
        status: OutcomeStatus::Refused,
        instance: Some("s00".into()),
        ..Outcome::default()
    };
    play.feed([message(11.0, Content::Outcome(refused))]).until(13.0);
    assert_eq!(play.commands().len(), 3);
    play.survives();
}

#[test]
fn an_instance_whose_zone_nobody_knows_may_be_in_any() {
    let mut play = Play::with(quick());
    let beat = |name: &str, zone: &str| {
        at(0.0, json!({"kind": "heartbeat", "service": "shop", "instance": name, "zone": zone, "up_s": 500, "interval_s": 3_600}))
    };
    play.feed(names(10).iter().map(|name| beat(name, "a")));
    // `gone` has never been heard, or not for so long that it was forgotten.
    play.feed([leaks(1.0, "s00"), leaks(1.0, "gone")]).until(10.0);
    assert_eq!(play.commands().iter().map(|command| command.target.as_str()).collect::<Vec<_>>(), ["gone"]);
    play.says(11.0, OutcomeStatus::Refused).until(13.0);
    assert_eq!(play.last().target, "s00");
}

#[test]
fn a_service_of_one_may_be_healed() {
    let mut play = Play::with(quick());
    play.beats(0, 1, "shop", &["s1"]).feed([leaks(1.0, "s1")]).until(2.0);
    assert_eq!(play.commands().len(), 1);
}

#[test]
fn when_most_of_a_fleet_is_unhealthy_for_one_cause_everything_stops_and_is_said_once() {
    let mut play = Play::with(RecoveryConfig::default());
    let names = names(10);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    play.beats(0, 10, "shop", &names);
    play.feed((0..7).map(|n| leaks(10.0 + f64::from(n) / 10.0, names[n as usize]))).beats(20, 100, "shop", &names).until(100.0);
    assert_eq!(
        play.rig.transcript(),
        "10.5s   recovery.fleet_brake critical shop 6 of 10 instances have leak.confirmed: nothing is done about it\n"
    );
    assert!(play.record().contains(&"Held: fleet brake: 7 of 10 instances have leak.confirmed".to_owned()), "{:?}", play.record());
    // Something else is not stopped by it.
    play.feed([fires(100.0, "query.cache_cold", "cold", &[("cache", "products")])]).until(106.0);
    assert_eq!(play.last().action, "cache.warm");
    play.says(106.0, OutcomeStatus::Refused);
    // Two end; the brake is released after a while, and the rest are healed.
    play.feed([ends(110.0, "leak.confirmed", "leak-s00"), ends(110.0, "leak.confirmed", "leak-s01")])
        .beats(120, 300, "shop", &names)
        .until(300.0);
    let text = play.rig.transcript();
    assert!(text.contains("recovery.fleet_brake resolved shop 5 of 10 instances have leak.confirmed"), "{text}");
    assert_eq!(play.last().action, "memory.reclaim");
    play.survives();
}

#[test]
fn another_service_has_no_say_in_what_became_of_a_command() {
    let mut play = Play::with(quick());
    play.beats(0, 1, "shop", &["s1"]).feed([leaks(1.0, "s1")]).until(2.0);
    let command = play.last();
    for status in [OutcomeStatus::Accepted, OutcomeStatus::Done, OutcomeStatus::Failed] {
        let foreign = Outcome { command: command.id.clone(), service: "till".to_owned(), status, ..Outcome::default() };
        play.feed([message(3.0, Content::Outcome(foreign))]);
        assert_eq!(play.stage("leak-s1"), Some(Stage::Issued));
    }
    assert!(play.record().contains(&"Late: Done by a service it was not for: till".to_owned()), "{:?}", play.record());
    play.says(4.0, OutcomeStatus::Accepted);
    assert_eq!(play.stage("leak-s1"), Some(Stage::Accepted));
    play.survives();
}

#[test]
fn whoever_joins_a_brake_is_told_of_under_its_incident_and_not_each_time() {
    let mut play = Play::with(RecoveryConfig { hold_max_s: 600, ..RecoveryConfig::default() });
    let names = names(10);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    play.beats(0, 10, "shop", &names);
    play.feed((0..6).map(|n| leaks(10.0, names[n]))).beats(10, 100, "shop", &names);
    // Two join, one of which ends before anything is said; another at the very end of the time.
    play.feed([leaks(100.0, "s06"), leaks(100.0, "s07")]).beats(100, 300, "shop", &names);
    play.feed([ends(300.0, "leak.confirmed", "leak-s07")]).beats(300, 605, "shop", &names);
    play.feed([leaks(605.0, "s08")]).beats(610, 2_000, "shop", &names);
    assert_eq!(
        play.rig.transcript(),
        "10s     recovery.fleet_brake critical shop 6 of 10 instances have leak.confirmed: nothing is done about it\n\
         610.25s recovery.fleet_brake critical shop 8 of 10 instances have leak.confirmed, 2 more since it was last said: \
         for 10 min nothing has been done about it\n"
    );
    let alerts: Vec<Alert> = play.alerts();
    assert_eq!(alerts[0].incident, alerts[1].incident);
    assert_eq!(alerts[1].evidence["held"], 8);
    assert_eq!(alerts[1].evidence["joined"], 2);
    assert_eq!(alerts[1].evidence["incidents"][0], "leak-s08", "the latest is named first");
    // One message ends it, however often it was said.
    play.feed((0..6).map(|n| ends(2_000.0, "leak.confirmed", &format!("leak-{}", names[n])))).beats(2_000, 2_200, "shop", &names);
    assert_eq!(play.rig.transcript().matches("recovery.fleet_brake resolved").count(), 1);
    assert!(!play.commands().is_empty(), "the rest are healed");
    play.survives();
}

#[test]
fn the_same_cause_in_most_services_stops_them_all() {
    let mut play = Play::with(quick());
    let services = ["a", "b", "c", "d"];
    play.feed(
        services
            .iter()
            .map(|service| at(0.0, json!({"kind": "heartbeat", "service": service, "instance": "i", "up_s": 500, "interval_s": 60}))),
    );
    play.feed((0..3).map(|n| {
        let (at, content) = fires(1.0 + f64::from(n), "query.cache_cold", services[n as usize], &[("cache", "c")]);
        let Content::Alert(mut alert) = content else { panic!("it is an alert") };
        alert.service = services[n as usize].to_owned();
        (at, Content::Alert(alert))
    }));
    play.until(30.0);
    let text = play.rig.transcript();
    assert!(text.contains("recovery.fleet_brake critical homeostat 3 of 4 services have query.cache_cold"), "{text}");
    assert_eq!(play.commands().len(), 2, "the third was stopped");
}

#[test]
fn there_is_a_budget_for_everything_together() {
    let mut play = Play::with(RecoveryConfig { budget: 2, budget_window_s: 60, brake_min: 1_000, ..quick() });
    play.feed((0..4).map(|n| {
        let (at, content) = fires(1.0, "query.cache_cold", &format!("i{n}"), &[("cache", "c")]);
        let Content::Alert(mut alert) = content else { panic!("it is an alert") };
        alert.service = format!("service{n}");
        (at, Content::Alert(alert))
    }));
    play.until(50.0);
    assert_eq!(play.commands().len(), 2);
    assert!(play.record().contains(&"Held: budget: 2 commands within 60 s".to_owned()));
    play.until(70.0);
    assert_eq!(play.commands().len(), 4);
    play.survives();
}

#[test]
fn a_target_cools_down_between_incidents_and_is_not_healed_for_ever() {
    let mut play = Play::with(RecoveryConfig { tries_max: 3, ..quick() });
    for n in 0..5 {
        let began = f64::from(n) * 700.0 + 1.0;
        let incident = format!("leak{n}");
        play.memory(began, "s1", 1_000).feed([fires(began, "leak.confirmed", &incident, &[("instance", "s1")])]);
        if n < 3 {
            play.until(began + 1.0).does(began + 1.0).memory(began + 5.0, "s1", 500).memory(began + 6.0, "s1", 500);
        }
        play.until(began + 50.0).feed([ends(began + 60.0, "leak.confirmed", &incident)]);
        if n == 0 {
            play.feed([fires(began + 70.0, "leak.confirmed", "soon", &[("instance", "s1")])]).until(began + 100.0);
            assert!(play.record().contains(&"Held: memory.reclaim to s1 cools down".to_owned()));
            play.feed([ends(began + 101.0, "leak.confirmed", "soon")]);
        }
    }
    assert_eq!((play.commands().len(), play.count(What::Verified)), (3, 3));
    assert_eq!(play.count(What::Escalated), 2, "helping again and again is not healing");
    play.survives();
}

#[test]
fn nothing_is_done_while_the_cause_lies_elsewhere_and_not_for_ever() {
    let mut config = quick();
    config.rule = vec![Policy { unless: vec!["breaker.open".into()], ..Policy::new("health.error_rate", "load.shed", "{service}", "") }];
    let mut play = Play::with(config);
    play.feed([fires(1.0, "breaker.open", "open", &[("peer", "payments")]), fires(2.0, "health.error_rate", "errors", &[])]).until(60.0);
    assert_eq!(play.rig.transcript(), "");
    assert_eq!(play.record().last().map(String::as_str), Some("Held: breaker.open is open: the cause lies elsewhere"));
    play.feed([ends(60.0, "breaker.open", "open")]).until(62.0).does(62.0);
    assert_eq!(play.stage("errors"), Some(Stage::Unjudged), "done, and nobody said how to judge it");
    play.feed([fires(70.0, "breaker.open", "open2", &[]), ends(71.0, "health.error_rate", "errors")]);
    play.feed([fires(72.0, "health.error_rate", "errors2", &[])]).until(3_000.0);
    assert_eq!(play.stage("errors2"), Some(Stage::Escalated));
    play.survives();
}

#[test]
fn an_indefinite_target_is_refused() {
    let mut config = quick();
    let rule = |on: &str, target: &str| Policy::new(on, "cache.warm", target, "");
    config.rule = vec![rule("a.a", ""), rule("b.b", "*"), rule("c.c", "{cache}"), rule("d.d", "{nothing}")];
    let mut play = Play::with(config);
    play.feed([
        fires(1.0, "a.a", "a", &[]),
        fires(2.0, "b.b", "b", &[]),
        fires(3.0, "c.c", "c", &[("cache", "shop.>")]),
        fires(4.0, "d.d", "d", &[]),
    ]);
    play.until(10.0);
    assert_eq!((play.commands().len(), play.count(What::Escalated)), (0, 4));
}

#[test]
fn the_first_rule_that_fits_decides() {
    let mut config = quick();
    let only = |mut rule: Policy, name: &str, value: &str| {
        rule.filter = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        rule
    };
    config.rule = vec![
        only(Policy::new("a.a", "first.act", "x", ""), "cache", "prod*"),
        only(Policy::new("a.a", "second.act", "x", ""), "service", "till"),
        only(Policy::new("a.a", "third.act", "x", ""), "severity", "warning"),
        Policy::new("a.a", "fourth.act", "x", ""),
    ];
    let mut play = Play::with(config);
    play.feed([fires(1.0, "a.a", "1", &[("cache", "products")])]).until(2.0).says(2.0, OutcomeStatus::Refused);
    play.feed([fires(3.0, "a.a", "2", &[("cache", "users")])]).until(4.0);
    assert_eq!(play.commands().iter().map(|command| command.action.as_str()).collect::<Vec<_>>(), ["first.act", "third.act"]);
}

#[test]
fn settings_that_cannot_work_are_refused_with_the_reason() {
    let read = |rule: Value| Settings::<RecoveryConfig>::read(&json!({ "rule": [rule] })).map_err(|error| error.to_string());
    assert!(read(json!({"on": "a.b", "do": "c.d", "target": "x", "verify": "a.b resolves within 5m"})).is_ok());
    for (rule, word) in [
        (json!({"on": "a", "do": "c.d", "target": "x"}), "`a` is not two words joined by a dot"),
        (json!({"on": "a.b", "do": "C.D", "target": "x"}), "`C.D` is not two words"),
        (json!({"on": "a.b", "do": "c.d", "target": "x", "verify": "all is well"}), "`all is well` cannot be verified"),
        (json!({"on": "a.b", "do": "c.d", "target": "x", "cool_down_s": 5}), "unknown field `cool_down_s`"),
        (json!({"on": "a.b", "do": "c.d"}), "missing field `target`"),
        (json!({"on": "a.b", "do": "c.d", "target": "x", "approval": "nobody"}), "unknown variant `nobody`"),
    ] {
        let error = read(rule).unwrap_err();
        assert!(error.contains(word), "{error}");
    }
    assert_eq!(Approval::TwoPersons.needed(), 2);
    let defaults = Settings::<RecoveryConfig>::default().write();
    assert_eq!(Settings::<RecoveryConfig>::read(&defaults).unwrap().config, RecoveryConfig::default());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// The rig checks the promises after every message, whatever comes in whatever order.
    #[test]
    fn promises_hold_whatever_comes(steps in prop::collection::vec((0..11_u8, 0..5_usize, 0..400_u32), 1..80), room in 0..4_usize) {
        let mut config = RecoveryConfig { settle_ms: 0, hold_max_s: 60, approval_wait_s: 100, brake_min: 2, ..RecoveryConfig::default() };
        if room < 3 {
            config.limits = super::super::Limits { cases: room, targets: room, members: room, series: room, record: room };
        }
        let mut play = Play::with(config);
        let mut second = 0;
        for (what, which, gap) in steps {
            second += gap;
            let (now, name) = (f64::from(second), ["s0", "s1", "s2", "s3", "s4"][which]);
            let incident = format!("leak-{name}");
            match what {
                0 | 1 => { play.feed([leaks(now, name)]); }
                2 => { play.feed([ends(now, "leak.confirmed", &incident)]); }
                3 => { play.feed([fires(now, "leak.limit_near", &format!("near-{name}"), &[("instance", name)])]); }
                4 => { play.feed([order(now, "recovery.approve", &format!("near-{name}"), "ann", Value::Null)]); }
                5 => { play.beats(second, second + 1, "shop", &[name]); }
                6 => { play.memory(now, name, 1_000 - 100 * which as u64); }
                _ => if let Some(command) = play.commands().get(which).cloned() {
                    let status = [OutcomeStatus::Accepted, OutcomeStatus::Done, OutcomeStatus::Failed, OutcomeStatus::Refused][usize::from(what) % 4];
                    play.feed([message(now, Content::Outcome(Outcome { command: command.id, service: command.service, status, ..Outcome::default() }))]);
                }
            }
        }
        let fences: Vec<u64> = play.commands().iter().map(|command| command.fence).collect();
        prop_assert!(fences.windows(2).all(|pair| pair[0] < pair[1]), "R-6");
    }
}
