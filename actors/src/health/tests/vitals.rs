//! What services say of themselves, and what becomes of their requests.

use super::*;
use crate::core::Effect;
use homeostat_schemas::{Answer, Ask};
use std::collections::BTreeMap;

fn check(at_s: u32, checks: Value) -> (u64, homeostat_schemas::Content) {
    at(f64::from(at_s), json!({"kind": "heartbeat", "up_s": 100 + at_s, "interval_s": 1, "checks": checks}))
}

fn shop(rig: &Rig<HealthCore>) -> ServiceView {
    rig.driver().view().services["shop"].clone()
}

/// `ready`, the HTTP code and the reasons.
fn ready(view: &ServiceView) -> String {
    format!("{:?} {} {}", view.verdict.ready, view.verdict.http, view.verdict.why.join(" "))
}

#[test]
fn a_required_check_takes_the_service_out_after_three_and_back_in_after_two() {
    let mut rig = rig();
    let mut readiness = String::new();
    for (second, status) in ["up", "down", "down", "down", "down", "up", "down", "up", "up"].iter().enumerate() {
        rig.feed([check(u32::try_from(second).unwrap() + 1, json!([{"name": "db", "status": status, "detail": "refused"}]))]);
        readiness += &format!("{status} {}\n", ready(&shop(&rig)));
    }
    expect![[r#"
        up Pass 200 
        down Warn 200 db
        down Warn 200 db
        down Fail 503 db
        down Fail 503 db
        up Fail 503 db
        down Fail 503 db
        up Fail 503 db
        up Pass 200 
    "#]]
    .assert_eq(&readiness);
    expect![[r#"
        4s      health.check_failed critical shop check db is down: refused
        9s      health.check_failed resolved shop check db is up: refused
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn an_open_breaker_of_an_optional_dependency_is_a_warning_and_nothing_more() {
    let mut rig = rig();
    let checks = json!([{"name": "breaker:payments", "status": "down"}, {"name": "db", "status": "up"}, {"name": "disk", "status": "down", "required": false}]);
    rig.feed((1..=5).map(|second| check(second, checks.clone())));
    assert_eq!(ready(&shop(&rig)), "Warn 200 breaker:payments disk");
    expect![[r#"
        3s      health.check_failed warning shop check breaker:payments is down
        3s      health.check_failed warning shop check disk is down
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn a_check_that_is_no_longer_reported_is_over() {
    let mut rig = rig();
    rig.feed((1..=3).map(|second| check(second, json!([{"name": "db", "status": "down"}]))));
    rig.feed((4..=100).map(|second| check(second, json!([]))));
    expect![[r#"
        3s      health.check_failed critical shop check db is down
        94s     health.check_failed resolved shop check db is no longer reported
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn nobody_is_ready_before_thirty_seconds_and_one_good_check() {
    let beat = |second: f64, up_s: f64, status: &str| {
        at(second, json!({"kind": "heartbeat", "up_s": up_s, "interval_s": 10, "checks": [{"name": "db", "status": status}]}))
    };
    let mut rig = rig();
    rig.feed([beat(10.0, 10.0, "up")]);
    assert_eq!(ready(&shop(&rig)), "Fail 503 starting");
    assert_eq!(shop(&rig).verdict.status, Status::OutOfService);
    rig.until(30.0).feed([beat(30.0, 30.0, "up")]);
    assert_eq!(ready(&shop(&rig)), "Fail 503 starting", "longer than 30 s, not as long");
    rig.until(30.25);
    assert_eq!(ready(&shop(&rig)), "Pass 200 ");
    assert_eq!(shop(&rig).verdict.status, Status::Up);
    // A new life begins anew, and without a good check it is not ready however long it lives.
    rig.feed([beat(40.0, 0.0, "down"), beat(50.0, 10.0, "down"), beat(75.0, 35.0, "down")]);
    assert_eq!(ready(&shop(&rig)), "Fail 503 starting db");
    rig.feed([beat(80.0, 40.0, "up"), beat(90.0, 50.0, "up")]);
    assert_eq!(ready(&shop(&rig)), "Pass 200 ");
}

#[test]
fn a_silent_service_is_down_and_one_of_two_is_a_warning() {
    let mut rig = rig();
    rig.feed([at(1.0, beat("a", 100.0)), at(1.0, beat("b", 100.0))]);
    rig.feed((2..12).map(|s| at(f64::from(s), beat("b", 99.0 + f64::from(s)))));
    let view = shop(&rig);
    assert_eq!((ready(&view).as_str(), view.verdict.live, view.alive, view.silent), ("Warn 200 heartbeat", Level::Pass, 1, 1));
    rig.until(20.0);
    let view = shop(&rig);
    assert_eq!((ready(&view).as_str(), view.verdict.live, view.verdict.status), ("Fail 503 heartbeat", Level::Fail, Status::Down));
}

#[test]
fn an_instance_that_cannot_serve_does_not_colour_those_that_can() {
    let with_db = |instance: &str, status: &str| json!({"kind": "heartbeat", "instance": instance, "up_s": 100, "interval_s": 10, "checks": [{"name": "db", "status": status}]});
    let mut rig = rig();
    for n in 1..=4 {
        rig.feed([at(f64::from(n) * 10.0, with_db("a", "down")), at(f64::from(n) * 10.0, with_db("b", "up"))]);
    }
    let view = shop(&rig);
    assert_eq!((ready(&view).as_str(), view.verdict.status), ("Warn 200 starting db", Status::Up));
    assert_eq!(view.components[0].instance.as_deref(), Some("a"), "the worst comes first");
}

#[test]
fn errors_warn_by_their_share_and_are_critical_beyond_doubt() {
    let mut rig = rig();
    let burst = |second: f64, good: usize, bad: usize| {
        crate::rig::batch(second, std::iter::repeat_n(request(200), good).chain(std::iter::repeat_n(request(503), bad)))
    };
    rig.feed([burst(1.0, 16, 3)]);
    assert_eq!(rig.transcript(), "", "too few to say");
    rig.feed([burst(2.0, 1, 0)]);
    assert_eq!(ready(&shop(&rig)), "Warn 200 error_rate");
    rig.feed([burst(3.0, 0, 5)]);
    assert_eq!(ready(&shop(&rig)), "Fail 503 error_rate");
    // 8 % and more is still the same incident.
    rig.feed([burst(4.0, 72, 0)]).until(10.0).feed([burst(10.0, 5, 0)]).until(75.0);
    expect![[r#"
        2s      health.error_rate warning shop 3 of 20 requests failed in the last 60 s (15.0 %)
        3s      health.error_rate critical shop 5 of 22 requests failed in the last 60 s (22.7 %)
        11s     health.error_rate resolved shop 8 of 102 requests failed in the last 60 s (7.8 %)
    "#]]
    .assert_eq(&rig.transcript());
    let incidents: std::collections::BTreeSet<_> = rig
        .outputs()
        .iter()
        .filter_map(|o| if let Effect::Alert(alert) = &o.effect { Some(alert.incident.clone()) } else { None })
        .collect();
    assert_eq!(incidents.len(), 1, "one incident from beginning to end");
}

#[test]
fn an_error_rate_without_requests_ends_after_a_minute_of_saying_nothing() {
    let mut rig = rig();
    rig.feed([crate::rig::batch(1.0, std::iter::repeat_n(request(500), 30))]).until(200.0);
    expect![[r#"
        1s      health.error_rate critical shop 20 of 20 requests failed in the last 60 s (100.0 %)
        121s    health.error_rate resolved shop too few requests to say: 0 in the last 60 s
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn the_minute_of_saying_nothing_begins_anew_when_there_are_requests_again() {
    let mut rig = rig();
    let burst = |second: f64| crate::rig::batch(second, std::iter::repeat_n(request(500), 30));
    // Quiet from 61 s, heard again at 100 s (still failing), quiet from 160 s.
    rig.feed([burst(1.0), burst(100.0)]).until(300.0);
    expect![[r#"
        1s      health.error_rate critical shop 20 of 20 requests failed in the last 60 s (100.0 %)
        220s    health.error_rate resolved shop too few requests to say: 0 in the last 60 s
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn requests_that_did_not_complete_say_nothing() {
    let mut rig = rig();
    rig.feed([crate::rig::batch(1.0, [request(499), request(0), request(101), request(404), request(500)])]);
    assert_eq!(shop(&rig).requests, Requests { total: 2, errors: 1 });
}

#[test]
fn memory_takes_two_samples_each_way_and_a_sample_again_is_not_another() {
    let sample = |second: f64, at_s: u64, bytes: u64| {
        at(
            second,
            json!({"kind": "resource", "instance": "a", "at_ms": START + at_s * 1000, "memory_bytes": bytes, "memory_limit_bytes": 1000}),
        )
    };
    let mut rig = rig();
    rig.feed([sample(1.0, 1, 899), sample(2.0, 2, 900), sample(3.0, 2, 900), sample(4.0, 4, 899)]);
    assert_eq!(rig.transcript(), "");
    rig.feed([
        sample(5.0, 5, 900),
        sample(6.0, 6, 950),
        sample(7.0, 7, 899),
        sample(8.0, 8, 901),
        sample(9.0, 9, 800),
        sample(10.0, 10, 800),
    ]);
    expect![[r#"
        6s      health.memory warning shop 95.0 % of the memory limit in use
        10s     health.memory resolved shop 80.0 % of the memory limit in use
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn memory_without_a_limit_is_no_verdict() {
    let mut rig = rig();
    rig.feed((1..5).map(|s| at(f64::from(s), json!({"kind": "resource", "memory_bytes": u64::MAX, "memory_limit_bytes": 0}))));
    assert_eq!(rig.transcript(), "");
}

#[test]
fn a_kill_for_want_of_memory_is_counted_from_when_we_look() {
    let sample = |second: u32, kills: u64| at(f64::from(second), json!({"kind": "resource", "memory_bytes": 1, "oom_kills": kills}));
    let mut rig = rig();
    // Three are history; one is new; a new cgroup counts from none, and its two are new.
    rig.feed([sample(1, 3), sample(2, 3), sample(3, 4), sample(4, 2)]).until(700.0);
    expect![[r#"
        3s      health.oom_kill critical shop a process was killed for want of memory
        604s    health.oom_kill resolved shop it no longer reports
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn a_pool_that_is_used_up_is_told_with_the_size_it_should_have() {
    let pool = |second: u32, used: u64, waiting: u64| {
        at(f64::from(second), json!({"kind": "pool", "name": "main", "used": used, "max": 20, "waiting": waiting, "wait_us": 50_000}))
    };
    let mut rig = rig();
    rig.feed([pool(1, 15, 0), pool(2, 20, 10), pool(3, 20, 12), pool(4, 15, 0), pool(5, 16, 0), pool(6, 3, 0), pool(7, 3, 0)]);
    expect![[r#"
        2s      health.pool_exhausted warning shop pool main: 20 of 20 connections in use, 10 waiting
        7s      health.pool_exhausted resolved shop pool main: 3 of 20 connections in use, 0 waiting
    "#]]
    .assert_eq(&rig.transcript());
    let Effect::Alert(alert) = &rig.outputs()[0].effect else { panic!("an alert comes first") };
    // λ = 10 / 50 ms = 200 a second; each holds a connection for 20 / 200 s; 30 at once stay under 80 % of 38.
    let expected = [("advised_size", json!(38)), ("arrivals_per_s", json!(200.0)), ("demand", json!(30)), ("hold_ms", json!(100.0))];
    for (name, value) in expected {
        assert_eq!(alert.evidence[name], value, "{name}");
    }
    assert_eq!(alert.labels, BTreeMap::from([("pool".to_owned(), "main".to_owned())]));
}

#[test]
fn an_instance_that_only_reports_is_forgotten_with_its_findings() {
    let mut rig = rig();
    rig.feed((1..=2).map(|s| at(f64::from(s), json!({"kind": "pool", "instance": "a", "name": "main", "used": 9, "max": 10}))))
        .until(700.0);
    expect![[r#"
        1s      health.pool_exhausted warning shop pool main: 9 of 10 connections in use
        602s    health.pool_exhausted resolved shop it no longer reports
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn what_a_living_instance_no_longer_reports_is_forgotten() {
    let mut rig = rig();
    rig.feed((1..=2).map(|s| at(f64::from(s), json!({"kind": "pool", "name": "main", "used": 9, "max": 10}))));
    rig.feed((1..=2).map(|s| at(2.0 + f64::from(s), json!({"kind": "resource", "memory_bytes": 9, "memory_limit_bytes": 10}))));
    rig.feed((1..=70).map(|s| at(f64::from(s) * 10.0, beat_of("shop", f64::from(s) * 10.0, 10))));
    expect![[r#"
        1s      health.pool_exhausted warning shop pool main: 9 of 10 connections in use
        4s      health.memory warning shop 90.0 % of the memory limit in use
        610s    health.memory resolved shop memory is no longer reported
        610s    health.pool_exhausted resolved shop pool main is no longer reported
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn caches_are_shown_as_they_reported_and_altogether() {
    let cache = |second: u32, hits: u64, misses: u64| {
        at(f64::from(second), json!({"kind": "cache", "name": "pages", "hits": hits, "misses": misses, "over_ms": 1000}))
    };
    let mut rig = rig();
    rig.feed([cache(1, 60, 40), cache(2, 0, 0), cache(3, 20, 80)]);
    let view = &shop(&rig).caches["pages"];
    assert_eq!((view.hit_ratio, view.hit_ratio_total), (Some(0.2), Some(0.4)));
}

fn answer(ask: &Ask, ok: bool, took_us: u64) -> Answer {
    let error = (!ok).then(|| "connection refused".to_owned());
    Answer {
        ask: ask.id.clone(),
        actor: ask.actor.clone(),
        hand: ask.hand.clone(),
        what: ask.what.clone(),
        ok,
        took_us,
        error,
        ..Answer::default()
    }
}

/// The database fails from the second minute on for two minutes; the bus is always well.
fn flaky(ask: &Ask) -> Option<Answer> {
    let bad = (60_000..180_000).contains(&(ask.asked_ms - START)) && ask.what == "database";
    Some(answer(ask, !bad, 1_000))
}

#[test]
fn probes_come_at_once_and_then_every_thirty_seconds() {
    let mut rig = Rig::<HealthCore>::with(HealthConfig::default());
    rig.hand = Some(flaky);
    rig.until(0.25);
    assert_eq!(rig.driver().view().own.verdict.ready, Level::Pass, "one good answer of each is enough to start");
    rig.until(300.0);
    expect![[r#"
        120.25s health.database critical homeostat database probe failed: connection refused
        210.25s health.database resolved homeostat database probe took 1 ms
    "#]]
    .assert_eq(&rig.transcript());
    let asked: Vec<u64> = rig
        .outputs()
        .iter()
        .filter_map(|o| if let Effect::Ask(ask) = &o.effect { (ask.what == "bus").then_some(ask.asked_ms - START) } else { None })
        .collect();
    assert_eq!(asked, (0..10).map(|n| 250 + n * 30_000).collect::<Vec<_>>());
}

#[test]
fn a_probe_may_be_slow_slower_and_failed() {
    let of = |hand: fn(&Ask) -> Option<Answer>| {
        let mut rig = Rig::<HealthCore>::with(HealthConfig { probes: vec![Probe::Database], ..HealthConfig::default() });
        rig.hand = Some(hand);
        ready(&rig.until(100.0).driver().view().own)
    };
    assert_eq!(of(|ask| Some(answer(ask, true, 499_999))), "Pass 200 ");
    assert_eq!(of(|ask| Some(answer(ask, true, 500_000))), "Warn 200 database");
    assert_eq!(of(|ask| Some(answer(ask, true, 4_999_999))), "Warn 200 database");
    assert_eq!(of(|ask| Some(answer(ask, true, 5_000_000))), "Fail 503 database");
    assert_eq!(of(|_| None), "Fail 503 database", "no answer yet is not ready");
    assert_eq!(of(|ask| Some(Answer { configured: false, ..answer(ask, false, 0) })), "Pass 200 ", "what is not there cannot fail");
}

#[test]
fn an_answer_that_stops_coming_is_a_failure_and_one_that_never_came_is_not() {
    let mut rig = Rig::<HealthCore>::with(HealthConfig { probes: vec![Probe::Database], ..HealthConfig::default() });
    rig.until(500.0);
    assert_eq!(rig.transcript(), "", "there may be no such hand");
    rig.hand = Some(|ask| Some(answer(ask, true, 10)));
    rig.until(560.0);
    rig.hand = None;
    rig.until(700.0);
    expect![[r#"
        636.25s health.database critical homeostat database probe failed: no answer within 6000 ms
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn a_result_older_than_ninety_seconds_is_unknown() {
    let mut rig = Rig::<HealthCore>::with(HealthConfig { probes: vec![Probe::Bus], ..HealthConfig::default() });
    rig.hand = Some(|ask| Some(answer(ask, true, 10)));
    rig.until(1.0);
    let core = rig.driver().core();
    let (config, seen) = (HealthConfig::default(), START + 250);
    let ready = |at| core.own_view(at, &HealthConfig { probes: vec![Probe::Bus], ..config.clone() }).verdict.ready;
    assert_eq!((ready(seen + 90_000), ready(seen + 90_001)), (Level::Pass, Level::Fail));
}

#[test]
fn vitals_survive_a_restart_anywhere() {
    let mut story = Story::new();
    for s in 1..40_u32 {
        let bad = (10..20).contains(&s);
        let status = if bad { "down" } else { "up" };
        story.push(check(s, json!([{"name": "db", "status": status}])));
        story.push(crate::rig::batch(f64::from(s), std::iter::repeat_n(request(if bad { 500 } else { 200 }), 5)));
        story.push(at(
            f64::from(s),
            json!({"kind": "resource", "memory_bytes": if bad { 95 } else { 5 }, "memory_limit_bytes": 100, "oom_kills": s / 15}),
        ));
        story.push(at(f64::from(s), json!({"kind": "pool", "name": "p", "used": if bad { 9 } else { 1 }, "max": 10})));
    }
    survives_restart_anywhere::<HealthCore>(&Settings::default(), &story);
}
