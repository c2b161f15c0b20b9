//! From an alert to a verdict.

use super::*;
use crate::core::Modes;
use expect_test::expect;
use homeostat_schemas::Mode;

#[test]
fn a_leak_is_reclaimed_and_the_effect_is_measured() {
    let mut play = Play::with(RecoveryConfig::default());
    play.beats(0, 20, "shop", &["s1"]).memory(15.0, "s1", 1_000).feed([leaks(20.0, "s1")]).until(30.0);
    play.does(30.0);
    play.memory(35.0, "s1", 790).memory(40.0, "s1", 850).memory(45.0, "s1", 780).memory(50.0, "s1", 770);
    play.feed([ends(60.0, "leak.confirmed", "leak-s1")]);
    expect![[r#"
        25s     memory.reclaim Act shop s1
        50s     recovery.verified info shop memory.reclaim s1: resource.memory falls 20 % within 5m: 1000 → 770, -23.0 %
    "#]]
    .assert_eq(&play.rig.transcript());
    let command = play.last();
    assert_eq!((command.attempt, command.reason.as_str(), command.incident.as_str()), (1, "alert-leak-s1", "leak-s1"));
    assert_eq!((command.expires_ms, command.verify.what.as_str()), (START + 85_000, "resource.memory falls 20 % within 5m"));
    assert_eq!(command.args, json!({"instance": "s1", "timeout_s": 300}));
    assert_eq!(play.stage("leak-s1"), None, "the alert has ended, and nothing of it is kept but the record");
    expect![[r#"
        Opened: it was seen
        Issued: attempt 1
        Accepted: taken up
        Done: done
        Verified: resource.memory falls 20 % within 5m: 1000 → 770, -23.0 %
    "#]]
    .assert_eq(&(play.record().join("\n") + "\n"));
    play.survives();
}

#[test]
fn what_does_not_help_is_tried_again_after_the_cool_down_and_then_a_person_is_called() {
    let mut play = Play::with(RecoveryConfig::default());
    play.memory(1.0, "s1", 1_000).feed([leaks(2.0, "s1")]).until(8.0);
    // Issued at 7, 910 and 1813 s; done three seconds later; judged 300 s after that; tried again after 600 s.
    for issued in [7.0, 910.0, 1_813.0] {
        play.until(issued).does(issued + 3.0).memory(issued + 13.0, "s1", 990).memory(issued + 23.0, "s1", 995).until(issued + 880.0);
        play.memory(issued + 895.0, "s1", 1_000);
    }
    play.until(5_000.0).feed([ends(5_100.0, "leak.confirmed", "leak-s1")]);
    expect![[r#"
        7s      memory.reclaim Act shop s1
        310s    recovery.ineffective warning shop memory.reclaim s1: not in time: resource.memory falls 20 % within 5m (1000 → 995, -0.5 %)
        910s    memory.reclaim Act shop s1
        910.25s recovery.ineffective resolved shop quiet for 10 min, seen once
        1213s   recovery.ineffective warning shop memory.reclaim s1: not in time: resource.memory falls 20 % within 5m (1000 → 995, -0.5 %)
        1813s   memory.reclaim Act shop s1
        1813.25s recovery.ineffective resolved shop quiet for 10 min, seen once
        2116s   recovery.ineffective warning shop memory.reclaim s1: not in time: resource.memory falls 20 % within 5m (1000 → 995, -0.5 %)
        2116s   recovery.escalated critical shop memory.reclaim s1: 3 of 3 tries without effect; the last: not in time: resource.memory falls 20 % within 5m (1000 → 995, -0.5 %)
        2716.25s recovery.ineffective resolved shop quiet for 10 min, seen once
        5100s   recovery.escalated resolved shop it was seen
    "#]]
    .assert_eq(&play.rig.transcript());
    let fences: Vec<u64> = play.commands().iter().map(|command| command.fence).collect();
    assert!(fences.is_sorted() && fences[0] < fences[1] && fences[1] < fences[2]);
    assert_eq!(play.commands().iter().map(|command| command.attempt).collect::<Vec<_>>(), [1, 2, 3]);
    play.survives();
}

#[test]
fn a_command_that_nobody_takes_up_expires_and_one_that_is_refused_or_hangs_has_failed() {
    let mut play = Play::with(RecoveryConfig::default());
    play.memory(1.0, "s1", 1_000).feed([leaks(2.0, "s1")]).until(670.0);
    play.says(670.0, OutcomeStatus::Refused).until(1_275.0);
    play.says(1_275.0, OutcomeStatus::Accepted).until(2_000.0);
    assert_eq!(play.stage("leak-s1"), Some(Stage::Escalated));
    expect![[r#"
        Opened: it was seen
        Issued: attempt 1
        Expired: nobody took it up in time
        Issued: attempt 2
        Refused: refused
        Issued: attempt 3
        Accepted: taken up
        Failed: it was taken up, and nothing was heard of it
        Escalated: 3 of 3 tries without effect; the last: it was taken up, and nothing was heard of it
    "#]]
    .assert_eq(&(play.record().join("\n") + "\n"));
    play.survives();
}

#[test]
fn a_late_answer_is_judged_instead_of_doing_it_again() {
    let mut play = Play::with(RecoveryConfig::default());
    play.memory(1.0, "s1", 1_000).feed([leaks(2.0, "s1")]).until(100.0);
    assert_eq!(play.count(What::Expired), 1);
    play.says(100.0, OutcomeStatus::Done).memory(105.0, "s1", 500).memory(110.0, "s1", 500).until(1_500.0);
    assert_eq!((play.commands().len(), play.stage("leak-s1")), (1, Some(Stage::Verified)));
    play.survives();
}

#[test]
fn an_incident_that_ends_by_itself_is_left_alone() {
    let mut play = Play::with(RecoveryConfig::default());
    play.feed([leaks(2.0, "s1"), ends(4.0, "leak.confirmed", "leak-s1")]).until(60.0);
    assert_eq!(play.rig.transcript(), "");
    // One that ends while the command is on its way is not tried again.
    play.memory(60.0, "s2", 1_000).feed([leaks(61.0, "s2"), ends(70.0, "leak.confirmed", "leak-s2")]).until(1_000.0);
    assert_eq!((play.commands().len(), play.count(What::Expired), play.count(What::Resolved)), (1, 1, 2));
    play.survives();
}

#[test]
fn without_a_measurement_a_person_has_to_judge() {
    let mut play = Play::with(RecoveryConfig::default());
    play.feed([leaks(2.0, "s1")]).until(10.0).does(10.0).until(400.0);
    expect![[r#"
        7s      memory.reclaim Act shop s1
        310s    recovery.escalated critical shop memory.reclaim s1: it was done, but nothing was measured to judge it by
    "#]]
    .assert_eq(&play.rig.transcript());
}

#[test]
fn a_cold_cache_is_warmed_and_a_used_up_pool_enlarged() {
    let mut play = Play::with(RecoveryConfig { settle_ms: 0, ..RecoveryConfig::default() });
    let cache = |second: f64, hits: u64| {
        at(second, json!({"kind": "cache", "service": "shop", "name": "products", "hits": hits, "misses": 100 - hits, "over_ms": 1000}))
    };
    let pool = |second: f64, used: u64| {
        at(second, json!({"kind": "pool", "service": "shop", "instance": "s1", "name": "db", "used": used, "max": 20}))
    };
    play.beats(0, 10, "shop", &["s1", "s2"]);
    play.feed([cache(1.0, 10), pool(1.0, 20), fires(2.0, "query.cache_cold", "cold", &[("cache", "products")])]).until(3.0);
    assert_eq!((play.last().action.as_str(), play.last().target.as_str()), ("cache.warm", "products"));
    assert_eq!(play.last().args, json!({"instance": "s1", "timeout_s": 300}), "one of those who live takes it up");
    play.does(3.0).feed([cache(4.0, 59), cache(5.0, 60), cache(6.0, 70)]).until(7.0);
    let (at, content) = fires(7.0, "health.pool_exhausted", "full", &[("instance", "s1"), ("pool", "db")]);
    let Content::Alert(mut alert) = content else { panic!("it is an alert") };
    alert.evidence.insert("advised_size".to_owned(), json!(32));
    play.feed([(at, Content::Alert(alert))]).until(8.0);
    assert_eq!(play.last().args, json!({"instance": "s1", "size": 32, "timeout_s": 300}));
    play.does(8.0).feed([pool(9.0, 15), pool(10.0, 14)]);
    expect![[r#"
        2.25s   cache.warm Act shop products
        6s      recovery.verified info shop cache.warm products: cache.hit_rate rises above 60 % within 5m: 0.100 → 0.700, +600.0 %
        7.25s   pool.resize Act shop db
        10s     recovery.verified info shop pool.resize db: pool.usage falls below 80 % within 5m: 1.000 → 0.700, -30.0 %
    "#]]
    .assert_eq(&play.rig.transcript());
    play.survives();
}

#[test]
fn observing_shows_what_would_be_done_and_waits_for_nobody() {
    let modes = Modes { actor: Mode::Observe, ..Modes::default() };
    let mut play = Play::with_settings(Settings { modes, config: RecoveryConfig::default() });
    play.feed([leaks(1.0, "s1"), fires(1.0, "leak.limit_near", "near", &[("instance", "s2")])]).until(2_000.0);
    expect![[r#"
        6s      memory.reclaim Observe shop s1
        6s      service.restart Observe shop s2
    "#]]
    .assert_eq(&play.rig.transcript());
    assert_eq!((play.stage("leak-s1"), play.stage("near")), (Some(Stage::Observed), Some(Stage::Observed)));
    assert_eq!(<RecoveryCore as crate::core::Core>::MODE, Mode::Observe, "that is the default");
    play.survives();
}

#[test]
fn what_was_only_shown_does_not_hold_up_what_is_done() {
    let modes = Modes { actor: Mode::Observe, ..Modes::default() };
    let mut play = Play::with_settings(Settings { modes, config: RecoveryConfig { settle_ms: 0, ..RecoveryConfig::default() } });
    play.feed([leaks(1.0, "s1"), ends(5.0, "leak.confirmed", "leak-s1"), leaks(6.0, "s1")]).until(8.0);
    assert_eq!(play.commands().len(), 1, "what is shown is not shown again within the cool-down");
    let act = Content::Settings(json!({ "recovery": { "mode": "act", "settle_ms": 0 } }));
    play.feed([ends(9.0, "leak.confirmed", "leak-s1"), message(10.0, act), leaks(11.0, "s1")]).until(12.0);
    expect![[r#"
        1.25s   memory.reclaim Observe shop s1
        11.25s  memory.reclaim Act shop s1
    "#]]
    .assert_eq(&play.rig.transcript());
    play.survives();
}

#[test]
fn another_alert_may_be_the_goal() {
    let mut config = RecoveryConfig { settle_ms: 0, ..RecoveryConfig::default() };
    config.rule = vec![super::super::Policy::new("leak.confirmed", "service.restart", "{instance}", "health.memory resolves within 5m")];
    let mut play = Play::with(config);
    play.feed([leaks(1.0, "s1")]).until(2.0).does(2.0);
    play.feed([ends(3.0, "health.memory", "memory-s1")]);
    assert_eq!(play.stage("leak-s1"), Some(Stage::Verified));
}
