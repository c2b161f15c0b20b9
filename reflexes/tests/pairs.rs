//! Pairs of statements that must, or must not, be one shape; collected from the suites of other normalisers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use homeostat_reflexes::sql::{Dialect, Fingerprint, Normaliser};
use serde_json::Value;

fn cases() -> Vec<Value> {
    serde_json::from_str(include_str!("data/normalisation.json")).unwrap()
}

fn normal(statement: &str, dialect: Dialect) -> (String, Fingerprint) {
    let mut normaliser = Normaliser::new();
    let seen = normaliser.normalise(statement, dialect);
    (seen.normal.to_owned(), seen.fingerprint)
}

#[test]
fn every_lexical_pair_is_told_together_or_apart() {
    let mut wrong = Vec::new();
    for case in cases().iter().filter(|case| case["level"] == "lexical") {
        let dialect: Dialect = case["dialect"].as_str().unwrap().parse().unwrap();
        let (a, a_print) = normal(case["a"].as_str().unwrap(), dialect);
        let (b, b_print) = normal(case["b"].as_str().unwrap(), dialect);
        if (a_print == b_print) != case["same"].as_bool().unwrap() {
            wrong.push(format!("{} {}\n  {a}\n  {b}", case["id"], case["rule"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_told_apart_lexically_on_purpose_is_stated() {
    let apart: Vec<_> = cases()
        .iter()
        .filter(|case| case["level"] == "optional")
        .map(|case| {
            let dialect: Dialect = case["dialect"].as_str().unwrap().parse().unwrap();
            let same = normal(case["a"].as_str().unwrap(), dialect) == normal(case["b"].as_str().unwrap(), dialect);
            format!("{} {}", case["rule"].as_str().unwrap(), if same { "same" } else { "apart" })
        })
        .collect();
    expect_test::expect![[r#"
        digits in identifiers (pt policy; libpg_query and go-sqllexer default disagree) apart
        FIELD() list length same
        adjacent strings on one line are an error apart
        optimizer hint ignored (or kept: policy) same"#]]
    .assert_eq(&apart.join("\n"));
}

#[test]
fn normal_forms_are_their_own_normal_form() {
    for case in cases() {
        let dialect: Dialect = case["dialect"].as_str().unwrap().parse().unwrap();
        for side in ["a", "b"] {
            let once = normal(case[side].as_str().unwrap(), dialect);
            assert_eq!(normal(&once.0, dialect), once, "{}", case[side]);
        }
    }
}
