//! The labelled traces: what others' detectors say of them, and what we say, in every order.

use crate::core::{Effect, Settings};
use crate::query::{QueryConfig, QueryCore};
use crate::rig::{Rig, Story};
use homeostat_schemas::{Content, Event};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Deserialize)]
struct Case {
    id: String,
    expect: bool,
    kind: String,
    settings: Value,
    events: Vec<Value>,
}

fn cases() -> Vec<Case> {
    [include_str!("../../../tests/data/query/n_plus_one.json"), include_str!("../../../tests/data/query/single_keys.json")]
        .iter()
        .flat_map(|cases| serde_json::from_str::<Vec<Case>>(cases).unwrap())
        .collect()
}

fn config(case: &Case) -> QueryConfig {
    let table = if case.settings.is_object() { json!({ "n_plus_one": case.settings }) } else { json!({}) };
    Settings::read(&table).unwrap().config
}

fn parse(events: &[Value]) -> Vec<Event> {
    events.iter().map(|event| Event::from_json(event.to_string().as_bytes()).unwrap()).collect()
}

/// As a file is read: log time is the running maximum.
fn story(events: &[Event], per_message: usize) -> Story {
    let mut now = 0;
    events
        .chunks(per_message)
        .map(|events| {
            now = events.iter().map(Event::at_ms).fold(now, u64::max);
            (now, Content::Events(events.iter().cloned().map(Ok).collect()))
        })
        .collect()
}

const LOOPS: [&str; 3] = ["query.n_plus_one", "query.duplicate", "query.n_plus_one_write"];

type Findings = BTreeSet<(String, BTreeMap<String, String>)>;

fn found(config: &QueryConfig, story: Story) -> Findings {
    let mut rig = Rig::<QueryCore>::with(config.clone());
    rig.feed(story).end();
    rig.outputs()
        .iter()
        .filter_map(|output| match &output.effect {
            Effect::Alert(alert) if LOOPS.contains(&alert.rule.as_str()) => Some((alert.rule.clone(), alert.labels.clone())),
            _ => None,
        })
        .collect()
}

#[test]
fn every_labelled_trace_gets_its_label() {
    let mut wrong = Vec::new();
    for case in cases() {
        let kinds: Vec<String> =
            found(&config(&case), story(&parse(&case.events), 1)).into_iter().map(|(rule, _)| rule.replace("query.", "")).collect();
        let right = match (case.expect, case.kind.as_str()) {
            (false, _) => kinds.is_empty(),
            (true, "duplicate_or_n_plus_one") => kinds == ["duplicate"],
            (true, kind) => kinds == [kind],
        };
        if !right {
            wrong.push((case.id, case.kind, kinds));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Spans of other, healthy requests.
fn crowd(amid: &[Event]) -> Vec<Event> {
    let at = amid.iter().map(Event::at_ms).max().unwrap();
    let events = (0..40).flat_map(|n| {
        let trace = format!("crowd-{n}");
        [
            json!({ "kind": "query", "service": "shop", "at_ms": at, "took_us": 20_000, "trace": trace, "span": format!("{n}-1"), "parent": format!("{n}-v"), "statement": "SELECT * FROM items WHERE order_id = $1" }),
            json!({ "kind": "request", "service": "shop", "at_ms": at, "took_us": 30_000, "trace": trace, "span": format!("{n}-v"), "route": "GET /crowd", "status": 200 }),
        ]
    });
    parse(&events.collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn order_redelivery_company_and_messages_change_nothing(
        case in prop::sample::select((0..cases().len()).collect::<Vec<_>>()),
        seed in prop::collection::vec(any::<u32>(), 512),
        copies in 1usize..5,
        per_message in 1usize..40,
        company: bool,
    ) {
        let case = &cases()[case];
        let config = config(case);
        let straight = parse(&case.events);
        let wanted = found(&config, story(&straight, 1));
        let mut events: Vec<Event> = (0..copies).flat_map(|_| straight.clone()).collect();
        if company {
            events.extend(crowd(&straight));
        }
        // Fisher–Yates with the given numbers.
        for i in (1..events.len()).rev() {
            let j = seed[i % seed.len()].rotate_left((i / seed.len()) as u32) as usize % (i + 1);
            events.swap(i, j);
        }
        prop_assert_eq!(&found(&config, story(&events, per_message)), &wanted, "{}", case.id);
    }
}
