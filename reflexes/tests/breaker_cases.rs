//! The dialects of the breaker against what opossum 9 and resilience4j 2.4 really did.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

use homeostat_reflexes::breaker::replay::{Case, replay};
use homeostat_reflexes::breaker::words::Dialect;
use serde_json::Value;

/// How many traces of the file were compared.
fn compare(text: &str) -> usize {
    let all: Value = serde_json::from_str(text).unwrap();
    let mut compared = 0;
    for value in all["cases"].as_array().unwrap() {
        let case: Case = serde_json::from_value(value.clone()).unwrap();
        for (peer, expected) in value["expect"].as_object().unwrap() {
            let dialect: Dialect = peer.split('@').next().unwrap().parse().unwrap();
            let trace = serde_json::to_value(replay(&case, dialect).unwrap()).unwrap();
            assert_eq!(&trace, expected, "{} as {dialect}", value["id"]);
            compared += 1;
        }
    }
    compared
}

#[test]
fn every_case_ends_as_it_did_with_its_original() {
    assert_eq!(compare(include_str!("data/breaker_cases.json")), 35);
}

#[test]
fn random_scripts_end_as_they_did_with_opossum() {
    assert_eq!(compare(include_str!("data/breaker_opossum.json")), 210);
}

/// Files of further cases, when there are any: `BREAKER_CASES=file cargo test -p homeostat-reflexes --test breaker_cases`.
#[test]
fn further_cases_end_as_they_did_with_their_originals() {
    if let Ok(path) = std::env::var("BREAKER_CASES") {
        assert!(compare(&std::fs::read_to_string(path).unwrap()) > 0);
    }
}
