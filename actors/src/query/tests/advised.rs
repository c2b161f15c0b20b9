//! Advice against the labelled statements.

use crate::query::advice::{AdviceKind, AdviceStats, advise};
use crate::query::family::analyse;
use crate::query::index::to_verify;
use homeostat_reflexes::sql::{Dialect, Normaliser};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct RuleCase {
    id: String,
    rule: AdviceKind,
    sql: String,
    stats: AdviceStats,
    expect: bool,
}

#[derive(Deserialize)]
struct ColumnsCase {
    id: String,
    sql: String,
    columns: Option<Vec<String>>,
    explanation: Option<String>,
}

#[derive(Deserialize)]
struct ColumnsCases {
    cases: Vec<ColumnsCase>,
}

#[test]
fn every_labelled_statement_gets_its_advice() {
    let cases: Vec<RuleCase> = serde_json::from_str(include_str!("../../../tests/data/query/rule_suggestions.json")).unwrap();
    for dialect in [Dialect::Postgresql, Dialect::Generic] {
        for case in &cases {
            let given = advise(&case.sql, dialect, Some(&case.stats)).iter().any(|advice| advice.kind == case.rule);
            assert_eq!(given, case.expect, "{} {dialect}", case.id);
        }
    }
}

/// What the text cannot tell is known by name: `states` has too few rows for an index.
#[test]
fn index_columns_are_those_of_the_labels() {
    let cases: ColumnsCases = serde_json::from_str(include_str!("../../../tests/data/query/index_columns.json")).unwrap();
    let mut wrong = Vec::new();
    for case in cases.cases {
        if case.explanation.as_deref() == Some("fewer than 500 rows") {
            continue;
        }
        let advice = advise(&case.sql, Dialect::Postgresql, None);
        let columns: Option<Vec<String>> =
            advice.iter().find(|advice| advice.kind == AdviceKind::Index).map(|advice| advice.columns.clone());
        if columns != case.columns {
            wrong.push((case.id, case.sql, columns, case.columns));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A planner can only choose among what it is offered.
#[test]
fn the_measured_best_index_is_among_the_candidates() {
    let file: Value = serde_json::from_str(include_str!("../../../tests/data/query/index_suggestions.json")).unwrap();
    let mut missed = Vec::new();
    for case in file["cases"].as_array().unwrap().iter().filter(|case| case["expect"] == "suggest") {
        let sql = case["sql"].as_str().unwrap();
        let normal = Normaliser::new().normalise(sql, Dialect::Postgresql).normal.to_owned();
        let found = to_verify(&analyse(&normal, Dialect::Postgresql), Dialect::Postgresql);
        let best = &case["measured"]["best_single_index"][0];
        let first = best["columns"][0].as_str().unwrap();
        // What lies behind a view, only the schema tells.
        if sql.contains("posts_view") {
            continue;
        }
        let table = best["table"].as_str().unwrap().replace('"', "");
        if !found.iter().any(|candidate| candidate.table == table && candidate.columns.first().is_some_and(|column| column == first)) {
            missed.push((sql.to_owned(), best.to_string(), found));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}
