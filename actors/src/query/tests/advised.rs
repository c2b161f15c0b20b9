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

/// The kinds of advice for a statement that is asked all the time, seldom with new parameters, and returns many rows.
fn kinds(sql: &str, dialect: Dialect) -> Vec<AdviceKind> {
    let stats = AdviceStats {
        rows_p95: Some(20_000.0),
        calls_per_min: Some(1_200.0),
        distinct_param_ratio: Some(0.02),
        p50_ms: Some(3.0),
        writes_to_tables_per_min: Some(0.0),
        repeats_per_trace: None,
    };
    advise(sql, dialect, Some(&stats)).into_iter().map(|advice| advice.kind).collect()
}

#[test]
fn what_changes_without_a_write_or_differs_by_session_is_not_to_be_cached() {
    let (pg, mysql, sqlite) = (Dialect::Postgresql, Dialect::Mysql, Dialect::Sqlite);
    for (sql, dialect, kept) in [
        ("SELECT a FROM s WHERE d > datetime('now')", sqlite, false),
        ("SELECT a FROM s WHERE d > datetime('now', '-1 day')", sqlite, false),
        ("SELECT a FROM s WHERE d = date()", sqlite, false),
        ("SELECT strftime('%s', 'now') - at FROM s", sqlite, false),
        ("SELECT julianday('now') - julianday(at) FROM s", sqlite, false),
        ("SELECT time('now'), a FROM s", sqlite, false),
        ("SELECT a FROM s WHERE unixepoch() > at", sqlite, false),
        ("SELECT date(at), strftime('%Y', at) FROM s", sqlite, true),
        ("SELECT a FROM s WHERE d = date('2020-01-01')", pg, true),
        ("SELECT name FROM sqlite_master WHERE type = 'table'", sqlite, false),
        ("SELECT a FROM s WHERE owner = current_user", pg, false),
        ("SELECT a FROM s WHERE owner = current_user", mysql, false),
        ("SELECT a FROM s WHERE owner = current_user()", mysql, false),
        ("SELECT a FROM s WHERE owner = session_user AND role = current_role", pg, false),
        ("SELECT a FROM s WHERE tenant = current_setting('app.tenant')", pg, false),
        ("SELECT a FROM s WHERE db = database()", mysql, false),
        ("SELECT a FROM s WHERE user = 'ann'", mysql, true),
        ("SELECT @x FROM s", mysql, false),
        ("SELECT a FROM s WHERE b = @x", mysql, false),
        ("SELECT @@max_connections, a FROM s", mysql, false),
        ("SELECT pid FROM pg_stat_activity", pg, false),
        ("SELECT relname FROM pg_catalog.pg_class", pg, false),
        ("SELECT table_name FROM information_schema.tables", mysql, false),
        ("SELECT host FROM mysql.user", mysql, false),
        ("SELECT event_name FROM performance_schema.events_waits_current", mysql, false),
        ("SELECT pg_is_in_recovery(), a FROM s", pg, false),
        ("SELECT a FROM s, pg_sleep(1)", pg, false),
        ("WITH x AS (INSERT INTO s VALUES (1) RETURNING id) SELECT id FROM x", pg, false),
        ("SELECT a FROM s WHERE b = 1", pg, true),
    ] {
        let seen = advise(sql, dialect, None);
        assert_eq!(kinds(sql, dialect).contains(&AdviceKind::Cache), kept, "{sql}: {seen:?}");
    }
}

#[test]
fn a_limit_is_missed_where_many_rows_were_seen_and_nothing_bounds_them() {
    for (sql, missed) in [
        ("SELECT id FROM orders", true),
        ("SELECT id FROM orders LIMIT NULL", true),
        ("SELECT id FROM orders LIMIT ALL", true),
        ("SELECT id FROM orders LIMIT NULL OFFSET 5", true),
        ("SELECT id FROM orders LIMIT 5 OFFSET NULL", false),
        ("SELECT id FROM (SELECT id FROM orders LIMIT NULL) o LIMIT 5", false),
        ("WITH x AS (UPDATE orders SET a = 1 RETURNING id) SELECT id FROM x", false),
    ] {
        assert_eq!(kinds(sql, Dialect::Postgresql).contains(&AdviceKind::MissingLimit), missed, "{sql}");
        assert!(!advise(sql, Dialect::Postgresql, None).iter().any(|advice| advice.kind == AdviceKind::MissingLimit), "{sql}");
    }
}

#[test]
fn every_column_is_too_many_where_they_are_inserted_too() {
    for (sql, star) in [
        ("INSERT INTO a SELECT * FROM b", true),
        ("INSERT INTO a SELECT b.* FROM b JOIN c ON c.id = b.c_id", true),
        ("INSERT INTO a (x) SELECT x FROM (SELECT * FROM b) c", false),
        ("INSERT INTO a (x) VALUES (1) RETURNING *", false),
        ("WITH x AS (INSERT INTO a SELECT * FROM b RETURNING id) SELECT id FROM x", true),
    ] {
        assert_eq!(kinds(sql, Dialect::Postgresql).contains(&AdviceKind::SelectStar), star, "{sql}");
    }
}

#[test]
fn no_index_for_what_none_can_look_up() {
    let columns = |sql: &str| -> Vec<String> {
        let indexes = advise(sql, Dialect::Postgresql, None).into_iter().filter(|advice| advice.kind == AdviceKind::Index);
        indexes.map(|index| index.columns.join(", ")).collect()
    };
    for sql in [
        "SELECT x FROM t WHERE NOT a = 1",
        "SELECT x FROM t WHERE NOT (a = 1)",
        "SELECT x FROM t WHERE NOT (a = 1 OR b IN (2, 3))",
        "SELECT x FROM t WHERE NOT a IS NULL",
        "SELECT x FROM t WHERE NOT a LIKE 'x%'",
        "SELECT x FROM t WHERE NOT a = ANY($1)",
        "SELECT x FROM t WHERE a = b",
        "SELECT x FROM t WHERE t.a = t.b",
        "SELECT x FROM t k WHERE k.a = b",
        "SELECT x FROM s JOIN t ON s.a = s.b",
    ] {
        assert_eq!(columns(sql), [""; 0], "{sql}");
    }
    for (sql, expected) in [
        ("SELECT x FROM t WHERE NOT a <> 1", "a"),
        ("SELECT x FROM t WHERE NOT (a <> 1 OR b < 2)", "a, b"),
        ("SELECT x FROM t WHERE NOT a NOT IN (1, 2)", "a"),
        ("SELECT x FROM t WHERE NOT NOT a = 1", "a"),
        ("SELECT x FROM t WHERE a = b AND c = 1", "c"),
        ("SELECT l.x FROM t l JOIN t r ON l.a = r.b WHERE l.c = 1", "c"),
    ] {
        assert_eq!(columns(sql).first().map(String::as_str), Some(expected), "{sql}");
    }
    assert_eq!(columns("SELECT l.x FROM t l JOIN t r ON l.a = r.b"), ["a", "b"]);
    assert!(advise("SELECT x FROM t WHERE a = @v", Dialect::Mysql, None).iter().all(|advice| advice.columns == ["a"]));
}

#[test]
fn a_write_inside_with_that_repeats_wants_several_rows_a_statement() {
    let stats = AdviceStats { repeats_per_trace: Some(12.0), ..AdviceStats::default() };
    let sql = "WITH x AS (INSERT INTO a (b) VALUES ($1) RETURNING id) SELECT id FROM x";
    let kinds =
        |sql: &str| -> Vec<AdviceKind> { advise(sql, Dialect::Postgresql, Some(&stats)).into_iter().map(|advice| advice.kind).collect() };
    assert_eq!(kinds(sql), [AdviceKind::BulkWrite]);
    assert_eq!(kinds("EXPLAIN UPDATE a SET b = 1 WHERE c = 2"), []);
}
