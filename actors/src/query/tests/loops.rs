//! Loops as they come in other shapes: what is one, what is not, and what would help.

use crate::core::Effect;
use crate::query::{QueryConfig, QueryCore};
use crate::rig::{Rig, START, batch};
use serde_json::{Value, json};

const ITEMS: &str = "SELECT * FROM items WHERE order_id = $1";

/// A request with `count` queries of 20 ms, each with what `with` adds.
fn loop_of(statement: &str, count: u64, with: impl Fn(u64) -> Value) -> Vec<Value> {
    let mut events: Vec<Value> = (0..count)
        .map(|n| {
            let mut event = json!({ "kind": "query", "statement": statement, "took_us": 20_000, "at_ms": START + n * 21, "trace": "t", "span": format!("q{n}"), "parent": "view" });
            let added = with(n);
            for (name, value) in added.as_object().into_iter().flatten() {
                event[name] = value.clone();
            }
            event
        })
        .collect();
    events.push(json!({ "kind": "request", "route": "GET /", "status": 200, "took_us": 900_000, "at_ms": START + 2_000, "trace": "t", "span": "view" }));
    events
}

fn distinct(n: u64) -> Value {
    json!({ "params": n.to_string() })
}

/// The findings, and how often each was repeated.
fn found(events: Vec<Value>) -> Vec<(String, u64)> {
    let mut rig = Rig::<QueryCore>::with(QueryConfig::default());
    rig.feed([batch(2.0, events)]).until(3.0);
    let of = |rule: &str| {
        rule.strip_prefix("query.").filter(|rule| ["n_plus_one", "duplicate", "n_plus_one_write"].contains(rule)).map(str::to_owned)
    };
    rig.outputs()
        .iter()
        .filter_map(|output| match &output.effect {
            Effect::Alert(alert) => Some((of(&alert.rule)?, alert.evidence["repeats"].as_u64()?)),
            _ => None,
        })
        .collect()
}

fn one(rule: &str, repeats: u64) -> Vec<(String, u64)> {
    vec![(rule.to_owned(), repeats)]
}

#[test]
fn five_repeats_are_a_loop_and_four_are_not() {
    assert_eq!(found(loop_of(ITEMS, 5, distinct)), one("n_plus_one", 5));
    assert_eq!(found(loop_of(ITEMS, 4, distinct)), []);
}

#[test]
fn many_fast_repeats_add_up_though_ends_are_whole_milliseconds() {
    let fast = |n: u64| json!({ "took_us": 900, "at_ms": START + n * 9 / 10, "params": n.to_string() });
    assert_eq!(found(loop_of(ITEMS, 60, fast)), one("n_plus_one", 60));
    assert_eq!(found(loop_of(ITEMS, 40, fast)), []);
}

#[test]
fn parallel_repeats_count_for_the_time_they_take_together() {
    let parallel = |took: u64| move |n: u64| json!({ "took_us": took, "at_ms": START + 100, "params": n.to_string() });
    assert_eq!(found(loop_of(ITEMS, 12, parallel(60_000))), one("n_plus_one", 12));
    assert_eq!(found(loop_of(ITEMS, 12, parallel(20_000))), []);
}

#[test]
fn parameters_nobody_knows_are_taken_to_differ() {
    assert_eq!(found(loop_of(ITEMS, 8, |_| json!({}))), one("n_plus_one", 8));
}

#[test]
fn a_question_without_parameters_is_the_same_every_time() {
    assert_eq!(found(loop_of("SELECT * FROM settings", 8, |_| json!({}))), one("duplicate", 8));
}

#[test]
fn two_questions_asked_over_and_over_want_a_cache() {
    assert_eq!(found(loop_of(ITEMS, 20, |n| json!({ "params": (n % 2).to_string() }))), one("duplicate", 20));
    assert_eq!(found(loop_of(ITEMS, 20, |n| json!({ "params": (n % 6).to_string() }))), one("n_plus_one", 20));
}

#[test]
fn writes_one_by_one_are_told_apart_from_reads() {
    for statement in [
        "INSERT INTO log (a) VALUES ($1)",
        "UPDATE t SET a = $1 WHERE id = $2",
        "INSERT INTO t (id) VALUES ($1) ON CONFLICT DO NOTHING",
        "DELETE FROM t WHERE id = $1",
    ] {
        assert_eq!(found(loop_of(statement, 10, distinct)), one("n_plus_one_write", 10), "{statement}");
    }
    let in_portions = |n: u64| json!({ "params": n.to_string(), "rows": 500 });
    assert_eq!(found(loop_of("INSERT INTO log (a) VALUES (?)", 10, in_portions)), []);
}

#[test]
fn a_write_that_with_hides_is_a_write() {
    for statement in [
        "WITH x AS (INSERT INTO b (a) VALUES ($1) RETURNING id) SELECT * FROM x",
        "WITH gone AS (DELETE FROM b WHERE id = $1 RETURNING a), kept AS (SELECT a FROM gone) SELECT a FROM kept",
    ] {
        assert_eq!(found(loop_of(statement, 10, distinct)), one("n_plus_one_write", 10), "{statement}");
    }
    assert_eq!(found(loop_of("WITH x AS (SELECT * FROM b WHERE id = $1) SELECT * FROM x", 10, distinct)), one("n_plus_one", 10));
}

#[test]
fn what_is_set_before_a_question_does_not_hide_it() {
    let cases = [
        ("SET x = 1; SELECT * FROM b WHERE id = $1", one("n_plus_one", 10)),
        ("SET LOCAL statement_timeout = 500; SET x = 1; SELECT * FROM b WHERE id = $1;", one("n_plus_one", 10)),
        ("BEGIN; UPDATE b SET a = $1 WHERE id = $2; COMMIT", one("n_plus_one_write", 10)),
        ("SET x = 1; SELECT 1", vec![]),
        ("SET x = 1; SET y = 2", vec![]),
        ("BEGIN; COMMIT", vec![]),
        ("SET x = 1; SELECT * FROM b ORDER BY id LIMIT 10 OFFSET $1", vec![]),
        ("SET x = 1; SELECT * FROM b WHERE a = 'cut off", vec![]),
    ];
    for (statement, expected) in cases {
        assert_eq!(found(loop_of(statement, 10, distinct)), expected, "{statement}");
    }
}

#[test]
fn what_the_sender_excuses_is_no_finding() {
    for excuse in ["cached", "suppressed", "truncated", "paging"] {
        assert_eq!(found(loop_of(ITEMS, 10, |n| json!({ "params": n.to_string(), excuse: true }))), [], "{excuse}");
    }
}

#[test]
fn a_queue_that_is_polled_is_no_duplicate() {
    let poll = "SELECT * FROM jobs WHERE state = 'new' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED";
    assert_eq!(found(loop_of(poll, 10, |_| json!({}))), []);
    assert_eq!(found(loop_of("SELECT * FROM accounts WHERE id = $1 FOR UPDATE", 10, distinct)), one("n_plus_one", 10));
}

#[test]
fn resolvers_of_one_name_are_one_caller_and_functions_of_two_names_are_two() {
    let under = |names: &'static [&'static str]| {
        let mut events = loop_of(ITEMS, 6, |n| json!({ "params": n.to_string(), "parent": format!("s{n}") }));
        for n in 0..6 {
            events.push(json!({ "kind": "span", "name": format!("{} {n}", names[n % names.len()]), "op": "resolve", "took_us": 1, "trace": "t", "span": format!("s{n}"), "parent": "view" }));
        }
        events
    };
    assert_eq!(found(under(&["Book.authors"])), one("n_plus_one", 6));
    assert_eq!(found(under(&["Book.authors", "Book.editors"])), []);
}

#[test]
fn a_tree_that_is_walked_by_recursion_is_one_caller() {
    let mut events = loop_of(ITEMS, 6, |n| json!({ "params": n.to_string(), "parent": format!("s{n}") }));
    for n in 0..6 {
        let parent = if n == 0 { "view".to_owned() } else { format!("s{}", n - 1) };
        events.push(
            json!({ "kind": "span", "name": "load", "op": "f", "took_us": 1, "trace": "t", "span": format!("s{n}"), "parent": parent }),
        );
    }
    assert_eq!(found(events), one("n_plus_one", 6));
}

#[test]
fn callers_that_were_never_reported_are_told_apart_by_their_ids() {
    assert_eq!(found(loop_of(ITEMS, 6, |n| json!({ "params": n.to_string(), "parent": format!("unknown{}", n % 2) }))), []);
    assert_eq!(found(loop_of(ITEMS, 6, |n| json!({ "params": n.to_string(), "parent": "unknown" }))), one("n_plus_one", 6));
}

#[test]
fn queries_without_a_caller_belong_to_the_only_request() {
    assert_eq!(found(loop_of(ITEMS, 6, |n| json!({ "params": n.to_string(), "parent": null }))), one("n_plus_one", 6));
}

#[test]
fn callers_that_go_in_a_circle_do_no_harm() {
    let mut events = loop_of(ITEMS, 6, |n| json!({ "params": n.to_string(), "parent": "a" }));
    for (span, parent) in [("a", "b"), ("b", "a")] {
        events.push(json!({ "kind": "span", "name": span, "op": "f", "took_us": 1, "trace": "t", "span": span, "parent": parent }));
    }
    assert_eq!(found(events).len(), 1);
}

#[test]
fn two_lines_of_code_are_two_callers() {
    assert_eq!(found(loop_of(ITEMS, 8, |n| json!({ "params": n.to_string(), "source": format!("app.py:{}", n % 2) }))), []);
}

#[test]
fn two_loops_in_one_request_are_two_findings() {
    let mut events = loop_of(ITEMS, 6, distinct);
    events.extend(loop_of("SELECT name FROM products WHERE id = $1", 7, |n| json!({ "params": n.to_string(), "span": format!("p{n}") })));
    assert_eq!(found(events).into_iter().map(|(_, repeats)| repeats).collect::<Vec<_>>(), [6, 7]);
}

#[test]
fn requests_inside_one_trace_are_judged_apart() {
    let mut events = Vec::new();
    for n in 0..10 {
        events.push(json!({ "kind": "query", "statement": ITEMS, "took_us": 20_000, "at_ms": START + n * 21, "trace": "t", "span": format!("q{n}"), "parent": format!("r{n}"), "params": n.to_string() }));
        events.push(json!({ "kind": "request", "route": "GET /user", "status": 200, "took_us": 30_000, "at_ms": START + n * 21, "trace": "t", "span": format!("r{n}"), "parent": "elsewhere" }));
    }
    assert_eq!(found(events), []);
}
