//! After the advice: the index appears, and the stream says whether it helped.

use crate::core::{Effect, Settings};
use crate::query::{QueryConfig, QueryCore};
use crate::rig::{Rig, Story, at, message, survives_restart_anywhere};
use expect_test::expect;
use homeostat_schemas::{Answer, Ask, Command, Content, Mode, Outcome, OutcomeStatus};
use serde_json::{Value, json};

const STATEMENT: &str = "SELECT id FROM orders WHERE customer_id = $1";

fn config() -> QueryConfig {
    QueryConfig { slow_ms: 1_000, ..QueryConfig::default() }
}

/// Two executions a second; times differ a little, and not by chance.
fn runs(from_s: u64, until_s: u64, took_ms: u64) -> Story {
    let took_us = |n: u64| took_ms * 1_000 + n * 2_654_435_761 % (took_ms * 200);
    let run = |n: u64| json!({ "kind": "query", "statement": STATEMENT, "took_us": took_us(n), "system": "postgresql", "params": n.to_string(), "rows": 3 });
    (from_s * 2..until_s * 2).map(|n| at(n as f64 * 0.5, run(n))).collect()
}

fn answer(ask: &Ask, found: Value) -> Option<Answer> {
    let Ask { id, actor, hand, what, .. } = ask.clone();
    Some(Answer { ask: id, actor, hand, what, ok: true, found, ..Answer::default() })
}

/// A planner that would use the first candidate, and a catalogue in which it appears after five minutes.
fn planner(ask: &Ask) -> Option<Answer> {
    let found = if ask.what == "present" {
        let there = ask.asked_ms >= crate::rig::START + 300_000;
        json!({ "present": ask.args["indexes"].as_array()?.iter().map(|_| there).collect::<Vec<_>>() })
    } else {
        let mut first = ask.args["candidates"].as_array()?.first()?.clone();
        first["cost_ratio"] = json!(0.04);
        json!({ "indexes": [first] })
    };
    answer(ask, found)
}

#[test]
fn an_index_that_appears_in_the_catalogue_and_helps_is_effective() {
    let mut rig = Rig::<QueryCore>::with(config());
    rig.hand = Some(planner);
    rig.feed(runs(0, 290, 300)).feed(runs(290, 400, 4));
    expect![[r#"
        60.25s  query.advice info shop index: with an index on orders (customer_id) the planner expects 4 % of the cost  select id from orders where customer_id = ?
        300.25s query.advice resolved shop the index is there; its effect is being measured
        325s    query.advice_effective info shop 4.39 ms with the index, 328 ms without  select id from orders where customer_id = ?
    "#]].assert_eq(&rig.transcript());
    let alert = rig.outputs().iter().rev().find_map(|output| match &output.effect {
        Effect::Alert(alert) if alert.rule == "query.advice_effective" => Some(alert.clone()),
        _ => None,
    });
    let evidence = alert.unwrap().evidence;
    assert_eq!(evidence["ddl"], json!(["CREATE INDEX CONCURRENTLY ON orders (customer_id)"]));
    assert_eq!(evidence["cost_ratio"], json!(0.04));
    assert!(evidence["ratio"].as_f64().unwrap() < 0.02 && evidence["before_ms"].as_f64().unwrap() > 300.0, "{evidence:?}");
}

#[test]
fn an_index_that_changes_nothing_is_ineffective_and_not_advised_again() {
    let mut rig = Rig::<QueryCore>::with(config());
    rig.hand = Some(planner);
    rig.feed(runs(0, 900, 300));
    expect![[r#"
        60.25s  query.advice info shop index: with an index on orders (customer_id) the planner expects 4 % of the cost  select id from orders where customer_id = ?
        300.25s query.advice resolved shop the index is there; its effect is being measured
        325s    query.advice_ineffective warning shop 328 ms with the index, 328 ms without: it can go  select id from orders where customer_id = ?
    "#]].assert_eq(&rig.transcript());
}

#[test]
fn without_a_planner_an_order_says_that_the_index_is_there() {
    let mut config = config();
    config.advice.verify_indexes = false;
    let mut rig = Rig::<QueryCore>::with(config);
    let order = json!({ "kind": "order", "action": "index.created", "target": "orders", "args": null, "by": "ann" });
    rig.feed(runs(0, 100, 300)).feed([at(100.0, order)]).feed(runs(100, 240, 5));
    expect![[r#"
        60.25s  query.advice info shop index: it looks rows up, joins or sorts by orders (customer_id); unverified: nobody asked a planner, and the index may be there already  select id from orders where customer_id = ?
        100s    query.advice resolved shop the index is there; its effect is being measured
        124.5s  query.advice_effective info shop 5.48 ms with the index, 328 ms without  select id from orders where customer_id = ?
    "#]].assert_eq(&rig.transcript());
}

#[test]
fn a_command_that_was_done_says_so_too_and_one_that_was_only_shown_does_not() {
    for (mode, found) in [(Mode::Act, 1), (Mode::Observe, 0)] {
        let mut config = config();
        config.advice.verify_indexes = false;
        let mut rig = Rig::<QueryCore>::with(config);
        let command = Command {
            id: "c1".to_owned(),
            action: "index.create".to_owned(),
            service: "shop".to_owned(),
            target: "orders".to_owned(),
            mode,
            ..Command::default()
        };
        let outcome = |status| Outcome { command: "c1".to_owned(), service: "shop".to_owned(), status, ..Outcome::default() };
        rig.feed(runs(0, 100, 300));
        rig.feed([
            message(100.0, Content::Command(Box::new(command))),
            message(100.1, Content::Outcome(outcome(OutcomeStatus::Accepted))),
            message(100.2, Content::Outcome(outcome(OutcomeStatus::Done))),
        ]);
        rig.feed(runs(101, 240, 5));
        assert_eq!(rig.transcript().matches("query.advice_effective").count(), found, "{}", rig.transcript());
    }
}

#[test]
fn a_gain_between_is_decided_by_the_mean_when_there_is_no_more_to_wait_for() {
    let mut config = config();
    config.advice.verify_indexes = false;
    config.advice.effect_min_calls = 20;
    let mut rig = Rig::<QueryCore>::with(config);
    let order = json!({ "kind": "order", "action": "index.created", "target": "orders", "args": null, "by": "ann" });
    rig.feed(runs(0, 100, 100)).feed([at(100.0, order)]).feed(runs(100, 320, 81));
    assert_eq!(rig.transcript().matches("query.advice_ineffective warning").count(), 1, "{}", rig.transcript());
}

#[test]
fn where_there_is_no_planner_nobody_is_asked_again_for_a_while() {
    let mut rig = Rig::<QueryCore>::with(config());
    rig.hand = Some(|ask| Some(Answer { configured: false, ok: false, ..answer(ask, Value::Null)? }));
    rig.feed(runs(0, 300, 300));
    let asks = rig.outputs().iter().filter(|output| matches!(output.effect, Effect::Ask(_))).count();
    assert_eq!((asks, rig.transcript().matches("unverified").count()), (1, 1), "{}", rig.transcript());
}

#[test]
fn effects_survive_a_restart_anywhere() {
    let mut story = runs(0, 100, 300);
    story.push(at(100.0, json!({ "kind": "order", "action": "index.created", "target": "orders", "args": null, "by": "ann" })));
    story.extend(runs(100, 160, 5));
    let mut config = config();
    config.advice.verify_indexes = false;
    survives_restart_anywhere::<QueryCore>(&Settings { config, ..Settings::default() }, &story);
}
