//! Settings that become stricter while the mind runs, and planners that do not answer.

use crate::query::{QueryConfig, QueryCore};
use crate::rig::{Rig, at, batch, message};
use expect_test::expect;
use homeostat_schemas::Content;
use proptest::prelude::*;
use serde_json::{Value, json};

fn query(n: u64) -> Value {
    json!({ "kind": "query", "service": format!("s{n}"), "statement": format!("SELECT a FROM t{} WHERE b = 1", (b'a' + n as u8) as char), "took_us": 900, "trace": format!("t{n}"), "span": "s" })
}

fn limits(size: usize) -> Content {
    Content::Settings(json!({ "query": {
        "shapes_max": size, "services_max": size, "traces_max": size, "spans_max": size, "shape_idle_h": 0,
        "cache": { "caches_max": size }, "advice": { "verify_max": size }
    } }))
}

#[test]
fn what_is_there_stays_when_the_limits_fall_and_nothing_joins_it() {
    let mut rig = Rig::<QueryCore>::with(QueryConfig::default());
    rig.feed([batch(1.0, (0..8).map(query)), message(1.1, limits(3)), batch(1.2, (0..12).map(query))]);
    let view = rig.driver().view();
    assert_eq!((view.totals.shapes, view.totals.other_calls), (8, 4));
    // Those that fall idle give up their places, and the bound falls with them.
    rig.until(200.0).feed([batch(200.0, (0..12).map(query))]);
    assert_eq!(rig.driver().view().totals.shapes, 3);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// The rig checks every promise after every message.
    #[test]
    fn promises_hold_while_limits_rise_and_fall(steps in prop::collection::vec((0..12_u64, 0..6_usize, 0..4_u8), 1..60)) {
        let mut rig = Rig::<QueryCore>::with(QueryConfig::default());
        let mut seconds = 0.0;
        for (n, size, what) in steps {
            seconds += 0.2;
            match what {
                0 => rig.feed([message(seconds, limits(size))]),
                1 => rig.feed([at(seconds, json!({ "kind": "cache", "service": format!("s{n}"), "name": "c", "hits": n, "misses": 900, "over_ms": 1 }))]),
                _ => rig.feed([batch(seconds, (n..n + 4).map(query))]),
            };
        }
        rig.until(seconds + 130.0).end();
    }
}

fn scan(n: u64) -> Value {
    json!({ "kind": "query", "statement": "SELECT id FROM orders WHERE customer_id = $1", "took_us": 300_000, "system": "postgresql", "params": n.to_string() })
}

fn verifying() -> Rig<QueryCore> {
    let mut config = QueryConfig { slow_ms: 1_000, ..QueryConfig::default() };
    config.advice.verify_indexes = true;
    Rig::with(config)
}

#[test]
fn a_planner_that_does_not_answer_leaves_the_advice_unverified() {
    let mut rig = verifying();
    rig.feed((0..240).map(|n| at(n as f64 * 0.5, scan(n)))).until(130.0);
    expect![[r#"
        70.25s  query.advice info shop index: it looks rows up, joins or sorts by orders (customer_id); unverified: nobody asked a planner, and the index may be there already  select id from orders where customer_id = ?
    "#]]
    .assert_eq(&rig.transcript());
    assert_eq!(rig.driver().view().queries[0].advice[0].verified, Some(false));
}

#[test]
fn a_file_that_ends_before_the_planner_answered_gets_its_advice() {
    let mut rig = verifying();
    rig.feed((0..130).map(|n| at(n as f64 * 0.5, scan(n)))).end();
    expect![[r#"
        64.5s   query.advice info shop index: it looks rows up, joins or sorts by orders (customer_id); unverified: nobody asked a planner, and the index may be there already  select id from orders where customer_id = ?
    "#]]
    .assert_eq(&rig.transcript());
}
