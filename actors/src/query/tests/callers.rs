//! Callers as senders may report them: missing, their own parents, in a circle, twice. Whatever they say, judging ends, and says
//! the same in whatever order it was told.

use crate::core::Effect;
use crate::query::{QueryConfig, QueryCore};
use crate::rig::{Rig, START, batch};
use proptest::prelude::*;
use serde_json::{Value, json};

fn run(n: usize, parent: &str) -> Value {
    json!({
        "kind": "query", "statement": "SELECT * FROM items WHERE order_id = $1", "took_us": 20_000, "at_ms": START + n as u64 * 21,
        "trace": "t", "span": format!("q{n}"), "parent": parent, "params": n.to_string()
    })
}

fn span(id: &str, parent: &str, name: &str) -> Value {
    json!({ "kind": "span", "name": name, "op": "f", "took_us": 1, "trace": "t", "span": id, "parent": parent })
}

fn request(id: &str, parent: &str) -> Value {
    json!({ "kind": "request", "route": format!("GET /{id}"), "status": 200, "took_us": 1, "trace": "t", "span": id, "parent": parent })
}

/// The findings: rule, route and number of repeats, sorted.
fn found(events: Vec<Value>) -> Vec<(String, String, u64)> {
    let config = QueryConfig { spans_per_trace_max: 10_000, ..QueryConfig::default() };
    let mut rig = Rig::<QueryCore>::with(config);
    rig.feed([batch(2.0, events)]).until(3.0).end();
    let mut found: Vec<_> = rig
        .outputs()
        .iter()
        .filter_map(|output| match &output.effect {
            Effect::Alert(alert) if alert.rule == "query.n_plus_one" => {
                let route = alert.labels.get("route").cloned().unwrap_or_default();
                Some((alert.rule.clone(), route, alert.evidence["repeats"].as_u64()?))
            }
            _ => None,
        })
        .collect();
    found.sort();
    found
}

fn one(route: &str, repeats: u64) -> Vec<(String, String, u64)> {
    vec![("query.n_plus_one".to_owned(), route.to_owned(), repeats)]
}

#[test]
fn a_span_that_is_its_own_parent_is_a_caller() {
    let mut events: Vec<Value> = (0..6).map(|n| run(n, "a")).collect();
    events.extend([span("a", "a", "load"), request("view", "")]);
    assert_eq!(found(events), one("GET /view", 6));
}

#[test]
fn a_circle_of_one_name_is_one_caller_wherever_it_is_entered() {
    for names in [["load", "load", "load"], ["load", "load", "save"]] {
        let mut events: Vec<Value> = (0..6).map(|n| run(n, "a")).collect();
        events.extend([span("a", "b", names[0]), span("b", "c", names[1]), span("c", "a", names[2]), request("view", "")]);
        assert_eq!(found(events), one("GET /view", 6));
    }
}

#[test]
fn a_way_into_a_circle_ends_there() {
    let mut events: Vec<Value> = (0..6).map(|n| run(n, "in")).collect();
    events.extend([span("in", "a", "in"), span("a", "b", "a"), span("b", "a", "b"), request("view", "")]);
    assert_eq!(found(events), one("GET /view", 6));
}

#[test]
fn a_request_is_found_however_deep_the_recursion() {
    for name in [|_: usize| "walk".to_owned(), |n: usize| ["left", "right"][n % 2].to_owned()] {
        let mut events: Vec<Value> = (0..6).map(|n| run(n, "s999")).collect();
        for n in 0..1_000 {
            let parent = if n == 0 { "view".to_owned() } else { format!("s{}", n - 1) };
            events.push(span(&format!("s{n}"), &parent, &name(n)));
        }
        // Two requests, so that it takes the way up to tell whose they are.
        events.extend([request("view", ""), request("other", "")]);
        assert_eq!(found(events), one("GET /view", 6));
    }
}

#[test]
fn a_request_and_a_span_of_one_id_are_one_caller_in_either_order() {
    let mut events: Vec<Value> = (0..6).map(|n| run(n, "view")).collect();
    events.extend([request("view", ""), span("view", "above", "GET"), request("other", "")]);
    assert_eq!(found(events.clone()), one("GET /view", 6));
    events.reverse();
    assert_eq!(found(events), one("GET /view", 6));
}

/// A node of a graph of callers: an id, a parent (which may be itself, unknown, or nobody), a name; every fifth is a request.
fn caller() -> impl Strategy<Value = Value> {
    (0..8_u8, 0..11_u8, 0..3_u8, 0..5_u8).prop_map(|(id, parent, name, kind)| {
        let (id, parent) = (format!("s{id}"), if parent == 10 { String::new() } else { format!("s{parent}") });
        if kind == 0 { request(&id, &parent) } else { span(&id, &parent, &format!("f{}", (b'a' + name) as char)) }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn judging_ends_whatever_hangs_below_whatever(callers in prop::collection::vec(caller(), 0..24), parents in prop::collection::vec(0..11_u8, 0..24)) {
        let runs = parents.iter().enumerate().map(|(n, parent)| run(n, &format!("s{parent}")));
        let runs = found(runs.chain(callers).collect()).iter().map(|(_, _, repeats)| *repeats).sum::<u64>();
        prop_assert!(runs <= parents.len() as u64);
    }

    #[test]
    fn order_does_not_matter_in_any_graph(
        mut events in (prop::collection::vec(caller(), 0..24), prop::collection::vec(0..11_u8, 0..24)).prop_map(|(callers, parents)| {
            // Of spans with one id the first that comes counts, so here each has its own.
            let mut seen = std::collections::BTreeSet::new();
            let callers = callers.into_iter().filter(|caller| seen.insert((caller["kind"].to_string(), caller["span"].to_string())));
            let callers: Vec<Value> = callers.collect();
            callers.into_iter().chain(parents.iter().enumerate().map(|(n, parent)| run(n, &format!("s{parent}")))).collect::<Vec<_>>()
        }),
        seed in any::<u64>(),
    ) {
        let before = found(events.clone());
        let mut state = seed | 1;
        for index in (1..events.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            events.swap(index, (state >> 33) as usize % (index + 1));
        }
        prop_assert_eq!(found(events), before);
    }
}
