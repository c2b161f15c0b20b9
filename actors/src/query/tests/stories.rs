use crate::core::Settings;
use crate::query::{QueryConfig, QueryCore};
use crate::rig::{Rig, START, Story, at, batch, survives_restart_anywhere};
use expect_test::expect;
use serde_json::{Value, json};

fn query(took_ms: u64, id: u64) -> Value {
    json!({ "kind": "query", "statement": format!("SELECT * FROM t WHERE id = {id}"), "took_us": took_ms * 1000, "system": "postgresql" })
}

/// An item of a loop under a request.
fn item(trace: &str, n: u64, took_ms: u64) -> Value {
    json!({
        "kind": "query", "statement": "SELECT * FROM items WHERE order_id = $1", "took_us": took_ms * 1000, "trace": trace, "at_ms": START + n * took_ms,
        "span": format!("{trace}-{n}"), "parent": format!("{trace}-view"), "params": n.to_string(), "source": "app/orders.rb:10"
    })
}

fn request(trace: &str, route: &str) -> Value {
    json!({ "kind": "request", "route": route, "status": 200, "took_us": 300_000, "trace": trace, "span": format!("{trace}-view") })
}

#[test]
fn alerts_once_when_slow_and_once_when_recovered() {
    let mut rig = Rig::<QueryCore>::with(QueryConfig { min_calls: 2, ..Default::default() });
    rig.feed([at(1.0, query(250, 1)), at(2.0, query(350, 2)), at(3.0, query(900, 3)), at(70.0, query(5, 4)), at(71.0, query(5, 5))]);
    expect![[r#"
        2s      query.slow warning shop mean 300 ms  select * from t where id = ?
        70s     query.slow resolved shop mean 5.0 ms  select * from t where id = ?
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn a_mean_between_the_two_limits_changes_nothing() {
    let mut rig = Rig::<QueryCore>::with(QueryConfig::default());
    rig.feed([at(0.0, query(101, 1)), at(1.0, query(79, 2)), at(2.0, query(75, 3))]).until(50.0);
    expect![[r#"
        0s      query.slow warning shop mean 101 ms  select * from t where id = ?
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn silence_resolves_after_ten_minutes() {
    let mut rig = Rig::<QueryCore>::with(QueryConfig::default());
    rig.feed([at(0.0, query(500, 1))]).until(620.0);
    expect![[r#"
        0s      query.slow warning shop mean 500 ms  select * from t where id = ?
        600s    query.slow resolved shop quiet for 10 min  select * from t where id = ?
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn a_fast_execution_among_slow_ones_is_weighed_not_believed() {
    let mut rig = Rig::<QueryCore>::with(QueryConfig::default());
    rig.feed([at(0.0, query(20, 1)), at(1.0, query(150, 2)), at(2.0, query(190, 3))]);
    expect![[r#"
        2s      query.slow warning shop mean 120 ms  select * from t where id = ?
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn a_loop_is_found_at_the_tick_after_its_request() {
    let mut rig = Rig::<QueryCore>::with(QueryConfig::default());
    rig.feed([batch(1.0, (0..12).map(|n| item("a", n, 9))), at(1.1, request("a", "GET /orders"))]).until(1.25);
    expect![[r#"
        1.25s   query.n_plus_one warning shop 12 times, 108 ms in GET /orders  select * from items where order_id = ?
        1.25s   query.advice info shop eager_loading: it ran 12 times in GET /orders: load the related rows together  select * from items where order_id = ?
    "#]]
    .assert_eq(&rig.transcript());
}

fn mixed() -> Story {
    let mut story = vec![at(0.1, query(250, 1)), at(0.3, request("a", "GET /orders"))];
    story.extend((0..12u32).map(|n| at(0.35 + f64::from(n) * 0.02, item("a", n.into(), 9))));
    story.push(batch(1.0, (0..3).map(|n| item("b", n, 40))));
    story.extend([at(2.0, request("b", "GET /b")), at(3.0, item("c", 1, 30)), at(33.0, query(5, 2)), at(90.0, query(5, 9))]);
    story
}

#[test]
fn a_restart_anywhere_changes_nothing() {
    survives_restart_anywhere::<QueryCore>(&Settings::default(), &mixed());
}

#[test]
fn the_same_span_delivered_again_counts_once() {
    let mut rig = Rig::<QueryCore>::with(QueryConfig::default());
    for second in 0..4u32 {
        rig.feed([batch(f64::from(second), (0..3).map(|n| item("a", n, 40)))]);
    }
    let view = rig.driver().view();
    assert_eq!((view.queries[0].calls, view.totals.redelivered), (3, 9));
}

#[test]
fn without_a_trace_nothing_is_a_loop() {
    let mut rig = Rig::<QueryCore>::with(QueryConfig::default());
    let events = (0..50).map(
        |n| json!({ "kind": "query", "statement": "SELECT * FROM items WHERE order_id = $1", "took_us": 20_000, "params": n.to_string() }),
    );
    rig.feed([batch(1.0, events)]).until(60.0).end();
    assert_eq!(rig.transcript(), "");
}

#[test]
fn what_finds_no_place_is_counted_with_the_rest() {
    let mut rig = Rig::<QueryCore>::with(QueryConfig { shapes_max: 3, ..Default::default() });
    for table in 0..10 {
        rig.feed([at(1.0, json!({ "kind": "query", "statement": format!("SELECT a FROM t_{table}x"), "took_us": 1000 }))]);
    }
    let view = rig.driver().view();
    assert_eq!((view.totals.shapes, view.totals.other_calls, view.totals.calls), (3, 7, 10));
    assert!(view.queries.iter().any(|row| row.fingerprint == "__other__" && row.calls == 7));
}

#[test]
fn an_idle_shape_gives_its_place_to_a_new_one() {
    let mut rig = Rig::<QueryCore>::with(QueryConfig { shapes_max: 1, ..Default::default() });
    let event = |table: &str| json!({ "kind": "query", "statement": format!("SELECT a FROM {table}"), "took_us": 1000 });
    rig.feed([at(1.0, event("old")), at(2.0, event("young")), at(3700.0, event("young"))]);
    let view = rig.driver().view();
    assert_eq!((view.totals.shapes, view.totals.other_calls, view.totals.retired_shapes), (1, 2, 1));
    assert_eq!(view.queries.iter().find(|row| row.fingerprint != "__other__").unwrap().statement, "select a from young");
}

#[test]
fn an_open_trace_that_must_go_is_judged_first() {
    let mut rig = Rig::<QueryCore>::with(QueryConfig { traces_max: 2, ..Default::default() });
    rig.feed([batch(1.0, (0..8).map(|n| item("a", n, 60))), at(1.1, item("b", 0, 1)), at(1.2, item("c", 0, 1))]);
    expect![[r#"
        1.2s    query.n_plus_one warning shop 8 times, 480 ms  select * from items where order_id = ?
        1.2s    query.advice info shop eager_loading: it ran 8 times: load the related rows together  select * from items where order_id = ?
    "#]]
    .assert_eq(&rig.transcript());
    assert_eq!(rig.driver().view().totals.evicted_traces, 1);
}

fn cache(hits: u64, misses: u64) -> Value {
    json!({ "kind": "cache", "name": "products", "hits": hits, "misses": misses, "over_ms": 10_000 })
}

#[test]
fn a_cold_cache_is_told_until_it_is_warm_again() {
    let mut rig = Rig::<QueryCore>::with(QueryConfig::default());
    rig.feed([
        at(1.0, cache(40, 50)),
        at(11.0, cache(10, 20)),
        at(21.0, cache(100, 45)),
        at(31.0, cache(900, 10)),
        at(400.0, cache(5, 50)),
    ]);
    expect![[r#"
        11s     query.cache_cold warning shop products answers 41 % of 120 look-ups
        31s     query.cache_cold resolved shop products answers 89 % of 1175 look-ups
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn a_silent_cache_is_not_cold_for_ever() {
    let mut rig = Rig::<QueryCore>::with(QueryConfig::default());
    rig.feed([at(1.0, cache(0, 500))]).until(700.0);
    expect![[r#"
        1s      query.cache_cold warning shop products answers 0 % of 500 look-ups
        601s    query.cache_cold resolved shop products has been silent for 10 min
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn a_shape_that_became_slower_is_told_though_it_is_not_slow() {
    let mut rig = Rig::<QueryCore>::with(QueryConfig::default());
    let took_us = |n: u64, base: u64| base + n * 2_654_435_761 % base;
    let run = |n: u64, base: u64| json!({ "kind": "query", "statement": "SELECT a FROM t WHERE b = ?", "took_us": took_us(n, base) });
    for n in 0..500 {
        rig.feed([at(n as f64 * 0.1, run(n, 4_000))]);
    }
    for n in 0..60 {
        rig.feed([at(60.0 + n as f64 * 0.1, run(n, 9_000))]);
    }
    for n in 0..200 {
        rig.feed([at(70.0 + n as f64 * 0.1, run(n, 4_000))]);
    }
    expect![[r#"
        60.6s   query.regressed warning shop 2.23 times slower than before  select a from t where b = ?
        76.4s   query.regressed resolved shop as fast as before  select a from t where b = ?
    "#]]
    .assert_eq(&rig.transcript());
}

fn hot(n: u64, statement: &str, took_ms: u64, rows: u64) -> Value {
    json!({ "kind": "query", "statement": statement, "took_us": took_ms * 1000, "system": "postgresql", "rows": rows, "params": (n % 7).to_string() })
}

fn minute(statement: &str, took_ms: u64, rows: u64, minutes: u64) -> Story {
    (0..minutes * 120).map(|n| at(n as f64 * 0.5, hot(n, statement, took_ms, rows))).collect()
}

#[test]
fn a_hot_question_that_repeats_itself_is_worth_keeping() {
    let mut rig = Rig::<QueryCore>::with(QueryConfig::default());
    rig.feed(minute("SELECT name FROM settings WHERE tenant_id = $1", 4, 3, 4));
    expect![[r#"
        120.25s query.advice info shop cache: it is asked 111 times a minute, 94 % of the questions were asked before, and its tables are written 0 times a minute  select name from settings where tenant_id = ?
    "#]].assert_eq(&rig.transcript());
}

#[test]
fn a_slow_scan_gets_an_index_that_nobody_verified() {
    let mut config = QueryConfig { slow_ms: 1_000, ..Default::default() };
    config.advice.verify_indexes = false;
    let mut rig = Rig::<QueryCore>::with(config);
    rig.feed(minute("SELECT * FROM orders WHERE customer_id = $1 ORDER BY created_at DESC", 300, 4_000, 2));
    expect![[r#"
        60.25s  query.advice info shop index: it looks rows up, joins or sorts by orders (customer_id, created_at); unverified: nobody asked a planner, and the index may be there already  select * from orders where customer_id = ? order by created_at desc
        60.25s  query.advice info shop select_star: it reads every column: naming those that are used saves transfer, lets an index answer alone, and keeps working when a column is added  select * from orders where customer_id = ? order by created_at desc
        60.25s  query.advice info shop missing_limit: nothing bounds its result, and one execution in twenty returns 1000 rows or more  select * from orders where customer_id = ? order by created_at desc
    "#]].assert_eq(&rig.transcript());
    let advice = &rig.driver().view().queries[0].advice;
    assert!(advice.iter().any(|advice| advice.ddl.as_deref() == Some("CREATE INDEX CONCURRENTLY ON orders (customer_id, created_at)")
        && advice.verified == Some(false)));
}

#[test]
fn an_index_is_advised_when_the_planner_would_use_it() {
    let mut config = QueryConfig { slow_ms: 1_000, ..Default::default() };
    config.advice.verify_indexes = true;
    let mut rig = Rig::<QueryCore>::with(config);
    rig.hand = Some(|ask| {
        let candidates = ask.args["candidates"].as_array()?;
        let mut first = candidates.first()?.clone();
        first["cost_ratio"] = json!(0.04);
        Some(homeostat_schemas::Answer {
            ask: ask.id.clone(),
            actor: ask.actor.clone(),
            hand: ask.hand.clone(),
            what: ask.what.clone(),
            ok: true,
            took_us: 900,
            found: json!({ "indexes": [first] }),
            ..Default::default()
        })
    });
    rig.feed(minute("SELECT id FROM orders WHERE customer_id = $1", 300, 4, 3));
    expect![[r#"
        60.25s  query.advice info shop index: with an index on orders (customer_id) the planner expects 4 % of the cost  select id from orders where customer_id = ?
        120.25s query.advice info shop cache: it is asked 111 times a minute, 94 % of the questions were asked before, and its tables are written 0 times a minute  select id from orders where customer_id = ?
    "#]].assert_eq(&rig.transcript());
}

#[test]
fn advice_survives_a_restart_anywhere() {
    let mut story = minute("SELECT * FROM orders WHERE customer_id = $1", 60, 4_000, 3);
    story.extend((0..3).map(|n| at(200.0 + f64::from(n), cache(10, 90))));
    survives_restart_anywhere::<QueryCore>(&Settings::default(), &story);
}
