//! No literal gets past the mind: not into alerts, the view or a checkpoint.

use crate::core::Effect;
use crate::query::{QueryConfig, QueryCore};
use crate::rig::{Rig, at, batch};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
struct Canary {
    id: String,
    dialect: String,
    sql: String,
}

const CANARY: &str = "QvZxK7canary";

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window.eq_ignore_ascii_case(text.as_bytes()))
}

#[test]
fn no_canary_is_in_any_alert_view_or_checkpoint() {
    let canaries: Vec<Canary> = serde_json::from_str(include_str!("../../../tests/data/query/leak_canaries.json")).unwrap();
    assert!(canaries.len() > 20);
    for canary in canaries {
        let mut rig = Rig::<QueryCore>::with(QueryConfig::default());
        let raw = canary.sql.replace("{CANARY_HEX}", &hex(CANARY)).replace("{CANARY}", CANARY);
        for (n, cut) in [raw.len(), raw.len() * 3 / 4, raw.len() / 2].into_iter().enumerate() {
            let end = (0..=cut).rev().find(|end| raw.is_char_boundary(*end)).unwrap();
            let statement = &raw[..end];
            let trace = format!("trace-{n}");
            let event = |k: usize| {
                json!({ "kind": "query", "statement": statement, "system": canary.dialect, "took_us": 200_000, "trace": trace,
                        "span": k.to_string(), "parent": "view", "rows": 5_000, "params": format!("{CANARY}{k}") })
            };
            rig.feed([batch(1.0 + n as f64, (0..15).map(event))]);
            rig.feed([at(
                1.1 + n as f64,
                json!({ "kind": "request", "route": "GET /", "status": 200, "took_us": 1, "trace": trace, "span": "view" }),
            )]);
        }
        rig.until(70.0);
        let mut seen = rig.driver().save().unwrap();
        seen.extend(serde_json::to_vec(&rig.driver().view()).unwrap());
        for output in rig.outputs() {
            match &output.effect {
                Effect::Alert(alert) => seen.extend(serde_json::to_vec(alert).unwrap()),
                Effect::Command(command) => seen.extend(serde_json::to_vec(command).unwrap()),
                Effect::Ask(ask) => seen.extend(serde_json::to_vec(ask).unwrap()),
                Effect::Announce(announcement) => seen.extend(announcement.body.to_string().into_bytes()),
            }
        }
        assert!(!rig.outputs().is_empty(), "{}: nothing came out", canary.id);
        for secret in [CANARY.to_owned(), CANARY[..6].to_owned(), hex(CANARY)] {
            assert!(!contains(&seen, &secret), "{}: {secret}", canary.id);
        }
    }
}
