//! Orders: people approve, deny, pause and ask.

use super::super::{Approval, Policy};
use super::*;
use crate::core::Modes;
use expect_test::expect;
use homeostat_schemas::Mode;

fn asking(approval: Approval) -> RecoveryConfig {
    let mut config = RecoveryConfig { settle_ms: 0, ..RecoveryConfig::default() };
    let rule = Policy::new("leak.confirmed", "service.restart", "{instance}", "leak.confirmed resolves within 5m");
    config.rule = vec![Policy { approval, ..rule }];
    config
}

#[test]
fn a_person_agrees_and_it_is_done() {
    let mut play = Play::with(asking(Approval::Person));
    play.feed([leaks(1.0, "s1")]).until(60.0);
    assert_eq!((play.commands().len(), play.stage("leak-s1")), (0, Some(Stage::Proposed)));
    play.feed([order(60.0, "recovery.approve", "leak-s1", "ann", Value::Null)]).until(61.0).does(61.0);
    play.feed([ends(70.0, "leak.confirmed", "leak-s1")]);
    expect![[r#"
        1.25s   recovery.approval_wanted warning shop service.restart s1: a person has to agree
        60s     recovery.approval_wanted resolved shop ann agreed
        60.25s  service.restart Act shop s1
        70s     recovery.verified info shop service.restart s1: leak.confirmed resolved: it was seen
    "#]]
    .assert_eq(&play.rig.transcript());
    play.survives();
}

#[test]
fn two_persons_are_two() {
    let mut play = Play::with(asking(Approval::TwoPersons));
    let approve = |second: f64, by: &str| order(second, "recovery.approve", "leak-s1", by, Value::Null);
    play.feed([leaks(1.0, "s1")]).until(10.0);
    play.feed([approve(10.0, "ann"), approve(11.0, "ann"), approve(12.0, "")]).until(20.0);
    assert_eq!(play.commands().len(), 0);
    play.feed([approve(20.0, "bob")]).until(21.0);
    assert_eq!(play.commands().len(), 1);
    play.survives();
}

#[test]
fn whoever_agrees_agrees_to_one_try() {
    let mut play = Play::with(asking(Approval::Person));
    play.feed([leaks(1.0, "s1"), order(2.0, "recovery.approve", "leak-s1", "ann", Value::Null)]).until(5.0);
    play.says(5.0, OutcomeStatus::Failed).until(700.0);
    assert_eq!((play.commands().len(), play.stage("leak-s1")), (1, Some(Stage::Proposed)));
}

#[test]
fn a_person_says_no_or_nothing() {
    let mut play = Play::with(asking(Approval::Person));
    play.feed([leaks(1.0, "s1"), leaks(1.0, "s2")]).until(10.0);
    play.feed([order(10.0, "recovery.deny", "leak-s1", "ann", Value::Null)]).until(4_000.0);
    assert_eq!((play.stage("leak-s1"), play.stage("leak-s2")), (Some(Stage::Denied), Some(Stage::Escalated)));
    assert_eq!(play.commands().len(), 0);
    // Another try of what was escalated, because a person says so.
    play.feed([order(4_000.0, "recovery.approve", "leak-s2", "bob", Value::Null)]).until(4_001.0).does(4_001.0);
    play.feed([ends(4_010.0, "leak.confirmed", "leak-s2"), ends(4_011.0, "leak.confirmed", "leak-s1")]);
    expect![[r#"
        1.25s   recovery.approval_wanted warning shop service.restart s1: a person has to agree
        1.25s   recovery.approval_wanted warning shop service.restart s2: a person has to agree
        10s     recovery.approval_wanted resolved shop ann said no
        3601.25s recovery.approval_wanted resolved shop nobody decided in time
        3601.25s recovery.escalated critical shop service.restart s2: nobody decided whether it may be done
        4000s   recovery.escalated resolved shop bob asked for another try
        4000.25s service.restart Act shop s2
        4010s   recovery.verified info shop service.restart s2: leak.confirmed resolved: it was seen
    "#]]
    .assert_eq(&play.rig.transcript());
    play.survives();
}

#[test]
fn the_kill_switch_stops_everything_and_nothing_is_forgotten() {
    let mut play = Play::with(RecoveryConfig { settle_ms: 0, ..RecoveryConfig::default() });
    play.feed([order(1.0, "recovery.pause", "all", "ann", Value::Null), leaks(2.0, "s1")]).until(9_000.0);
    assert_eq!((play.rig.transcript().as_str(), play.stage("leak-s1")), ("", Some(Stage::Waiting)));
    play.feed([order(9_000.0, "recovery.resume", "all", "ann", Value::Null)]).until(9_002.0);
    assert_eq!(play.commands().len(), 1);
    play.survives();
}

#[test]
fn a_service_or_an_action_can_be_paused_alone() {
    let mut play = Play::with(RecoveryConfig { settle_ms: 0, ..RecoveryConfig::default() });
    play.feed([order(1.0, "recovery.pause", "action:memory.reclaim", "ann", Value::Null)]);
    play.feed([order(1.0, "recovery.pause", "service:till", "ann", Value::Null), order(1.0, "recovery.pause", "shop", "ann", Value::Null)]);
    play.feed([leaks(2.0, "s1"), fires(2.0, "query.cache_cold", "cold", &[("cache", "products")])]).until(10.0);
    assert_eq!(play.commands().iter().map(|command| command.action.as_str()).collect::<Vec<_>>(), ["cache.warm"]);
    assert_eq!(play.count(What::Rejected), 1, "`shop` says neither service nor action");
    let view = play.rig.driver().view();
    assert_eq!(view.paused.iter().map(|pause| pause.scope.as_str()).collect::<Vec<_>>(), ["action:memory.reclaim", "service:till"]);
}

#[test]
fn an_order_to_another_mind_is_no_request() {
    let mut play = Play::with(RecoveryConfig { settle_ms: 0, ..RecoveryConfig::default() });
    for (second, action) in [(1.0, "drift.baseline"), (2.0, "drift.relearn"), (3.0, "index.created"), (4.0, "health.retire")] {
        play.feed([order(second, action, "m", "ann", Value::Null)]);
    }
    play.feed([order(5.0, "cache.warm", "products", "ann", Value::Null)]).until(10.0);
    assert_eq!(play.commands().iter().map(|command| command.action.as_str()).collect::<Vec<_>>(), ["cache.warm"]);
}

#[test]
fn off_is_a_kill_switch_too() {
    let modes = Modes { actor: Mode::Off, ..Modes::default() };
    let mut play = Play::with_settings(Settings { modes, config: RecoveryConfig { settle_ms: 0, ..RecoveryConfig::default() } });
    play.feed([leaks(2.0, "s1")]).until(9_000.0);
    assert_eq!(play.rig.transcript(), "");
}

#[test]
fn a_request_goes_through_the_same_guard_rails() {
    let mut play = Play::with(RecoveryConfig { settle_ms: 0, ..RecoveryConfig::default() });
    play.beats(0, 1, "shop", &["s1"]).memory(1.0, "s1", 1_000);
    let ask = |second: f64, action: &str, target: &str, by: &str| order(second, action, target, by, json!({"gently": true}));
    play.feed([ask(2.0, "memory.reclaim", "s1", "ann"), ask(2.0, "memory.reclaim", "s1", "ann")]).until(3.0);
    assert_eq!(play.commands().len(), 1, "an order that comes twice is one");
    assert_eq!(play.last().args, json!({"gently": true, "instance": "s1", "timeout_s": 300}));
    play.does(3.0).memory(4.0, "s1", 500).memory(5.0, "s1", 500);
    // Cool-down, wildcard, no name, no action.
    play.feed([ask(10.0, "memory.reclaim", "s1", "bob"), ask(11.0, "memory.reclaim", "*", "bob")]);
    play.feed([ask(12.0, "memory.reclaim", "s1", ""), ask(13.0, "reboot", "s1", "bob"), ask(14.0, "recovery.approve", "nothing", "bob")])
        .until(20.0);
    assert_eq!(play.commands().len(), 1);
    assert_eq!((play.count(What::Requested), play.count(What::Rejected), play.count(What::Held)), (3, 3, 1));
    expect![[r#"
        2.25s   memory.reclaim Act shop s1
        5s      recovery.verified info shop memory.reclaim s1: resource.memory falls 20 % within 5m: 1000 → 500, -50.0 %
        11.25s  recovery.escalated critical shop memory.reclaim *: its target is empty, a wildcard or too long
    "#]]
    .assert_eq(&play.rig.transcript());
    play.survives();
}

#[test]
fn a_request_that_nobody_judges_says_so() {
    let mut play = Play::with(RecoveryConfig { settle_ms: 0, ..RecoveryConfig::default() });
    play.feed([order(1.0, "heap.snapshot", "s1", "ann", Value::Null)]).until(2.0).does(2.0);
    let case = play.rig.driver().view().open[0].clone();
    assert_eq!((case.stage, case.why.as_str()), (Stage::Unjudged, "done; nothing says how to judge it"));
    play.until(700.0);
    assert_eq!(play.rig.driver().view().open.len(), 0);
}
