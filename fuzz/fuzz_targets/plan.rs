//! What a planner is asked and what it answers: any statement and any JSON.
#![no_main]

use homeostat_actors::query::{advise, plan};
use homeostat_reflexes::sql::{Dialect, Normaliser};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let normal = Normaliser::new().normalise(text, Dialect::Postgresql).normal.to_owned();
    if let Some(statement) = plan::statement(&normal, 100) {
        // One statement: a semicolon would begin another.
        assert!(!statement.text.contains(';') || statement.text.contains(['"', '\'']), "{}", statement.text);
        assert!(statement.parameters <= 256);
    }
    let _ = advise(text, Dialect::Postgresql, None);
    if let Ok(value) = serde_json::from_str::<serde_json::Value>(text) {
        assert!(plan::candidates(&value).len() <= plan::CANDIDATES_MAX);
    }
    let scan = serde_json::json!({ "Node Type": "Seq Scan", "Relation Name": "t", "Alias": "t", "Total Cost": 9.0, "Filter": text, "Sort Key": [text] });
    assert!(plan::candidates(&scan).len() <= plan::CANDIDATES_MAX);
});
