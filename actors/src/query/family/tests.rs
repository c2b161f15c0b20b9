//! Kin and strangers, what is used for what, and the bounds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use expect_test::expect;
use homeostat_reflexes::sql::{Dialect, Fingerprint, Normaliser};
use proptest::prelude::*;
use serde_json::Value;

use super::*;

mod kin;

const DIALECTS: [Dialect; 4] = [Dialect::Generic, Dialect::Postgresql, Dialect::Mysql, Dialect::Sqlite];

fn analysed(statement: &str, dialect: Dialect) -> Analysis {
    let mut normaliser = Normaliser::new();
    analyse(normaliser.normalise(statement, dialect).normal, dialect)
}

fn family(statement: &str) -> Fingerprint {
    analysed(statement, Dialect::Postgresql).family
}

fn cases() -> Vec<Value> {
    serde_json::from_str(include_str!("data/normalisation.json")).unwrap()
}

#[test]
fn every_pair_but_the_optional_ones_is_kin_or_not_as_told() {
    let mut wrong = Vec::new();
    for case in cases().iter().filter(|case| case["level"] != "optional") {
        let dialect: Dialect = case["dialect"].as_str().unwrap().parse().unwrap();
        let [a, b] = ["a", "b"].map(|side| analysed(case[side].as_str().unwrap(), dialect).family);
        if (a == b) != case["same"].as_bool().unwrap() {
            wrong.push(format!("{} {}: {} | {}", case["id"], case["rule"], case["a"], case["b"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_the_parser_does_not_understand_is_known() {
    let mut unread: Vec<String> = Vec::new();
    for case in cases() {
        let dialect: Dialect = case["dialect"].as_str().unwrap().parse().unwrap();
        for side in ["a", "b"] {
            let mut normaliser = Normaliser::new();
            let normal = normaliser.normalise(case[side].as_str().unwrap(), dialect).normal;
            if !analyse(normal, dialect).parsed && !unread.iter().any(|known| known == normal) {
                unread.push(normal.to_owned());
            }
        }
    }
    expect![[r#"
        prepare transaction ?
        deallocate a123
        deallocate all
        savepoint some_id
        release some_id
        do ?
        create subscription mysub connection ? publication p
        select ? ?
        delete from orders where order_date < ?; optimize table orders"#]]
    .assert_eq(&unread.join("\n"));
}

#[test]
fn columns_are_told_with_their_roles() {
    let statements = [
        "SELECT u.id, o.total FROM users u JOIN orders o ON o.user_id = u.id WHERE u.email = $1 AND o.total > 5 ORDER BY o.created_at DESC",
        "SELECT * FROM t WHERE a IN (1, 2) AND (b = 1 OR c < 2) AND lower(d) = 'x' AND e IS NULL AND f NOT IN (1) AND g LIKE 'x%'",
        "SELECT id FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.a_id = a.id AND b.x = 1) AND a.y BETWEEN 1 AND 2",
        "WITH c AS (SELECT * FROM users) SELECT id FROM c WHERE n = (SELECT max(n) FROM m)",
        "UPDATE t SET a = b + 1 WHERE c = 1 AND d >= 2",
        "DELETE FROM a USING b WHERE a.id = b.a_id AND b.x IS NOT NULL",
        "SELECT status, count(*) FROM orders WHERE customer_id = ANY($1) GROUP BY status",
        "INSERT INTO t (a) SELECT b FROM u WHERE c = 1",
        "SELECT * FROM t WHERE (a, b) IN ((1, 2)) AND created_at > now() - interval '1 day' AND active",
    ];
    let mut told = String::new();
    for statement in statements {
        let seen = analysed(statement, Dialect::Postgresql);
        told += &format!("{statement}\n  tables {}\n", seen.tables.join(" "));
        for used in seen.columns.iter().filter(|used| used.role != Role::Select) {
            let table = used.table.as_deref().unwrap_or("?");
            let alternative = if used.conjunct { "" } else { " (not always)" };
            told += &format!("  {:?} {table}.{}{alternative}\n", used.role, used.column);
        }
    }
    expect![[r#"
        SELECT u.id, o.total FROM users u JOIN orders o ON o.user_id = u.id WHERE u.email = $1 AND o.total > 5 ORDER BY o.created_at DESC
          tables users orders
          Join orders.user_id
          Join users.id
          Equality users.email
          Range orders.total
          OrderDescending orders.created_at
        SELECT * FROM t WHERE a IN (1, 2) AND (b = 1 OR c < 2) AND lower(d) = 'x' AND e IS NULL AND f NOT IN (1) AND g LIKE 'x%'
          tables t
          Equality t.a
          Equality t.b (not always)
          Range t.c (not always)
          Expression t.d
          Null t.e
          Inequality t.f
          Pattern t.g
        SELECT id FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.a_id = a.id AND b.x = 1) AND a.y BETWEEN 1 AND 2
          tables a b
          Join b.a_id
          Join a.id
          Equality b.x
          Range a.y
        WITH c AS (SELECT * FROM users) SELECT id FROM c WHERE n = (SELECT max(n) FROM m)
          tables users m
          Equality ?.n
        UPDATE t SET a = b + 1 WHERE c = 1 AND d >= 2
          tables t
          Equality t.c
          Range t.d
        DELETE FROM a USING b WHERE a.id = b.a_id AND b.x IS NOT NULL
          tables a b
          Join a.id
          Join b.a_id
          Inequality b.x
        SELECT status, count(*) FROM orders WHERE customer_id = ANY($1) GROUP BY status
          tables orders
          Equality orders.customer_id
          Group orders.status
        INSERT INTO t (a) SELECT b FROM u WHERE c = 1
          tables t u
          Equality u.c
        SELECT * FROM t WHERE (a, b) IN ((1, 2)) AND created_at > now() - interval '1 day' AND active
          tables t
          Equality t.a
          Equality t.b
          Range t.created_at
          Equality t.active
    "#]]
    .assert_eq(&told);
}

#[test]
fn star_bound_and_locks_are_seen_where_they_matter() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("data/rule_suggestions.json")).unwrap();
    for case in &cases {
        let sql = case["sql"].as_str().unwrap();
        let seen = analysed(sql, Dialect::Generic);
        match case["rule"].as_str().unwrap() {
            "select_star" => assert_eq!(seen.select_star, case["expect"].as_bool().unwrap(), "{sql}: {}", case["why"]),
            // What the number of rows decides is decided elsewhere.
            "missing_limit" if case["expect"] == true => assert!(!seen.bounded, "{sql}"),
            "missing_limit"
                if ["FETCH FIRST", "TOP", "aggregate returns one row", "bounded in the subquery"]
                    .contains(&case["why"].as_str().unwrap()) =>
            {
                assert!(seen.bounded, "{sql}: {}", case["why"]);
            }
            "cache" if case["why"] == "volatile" => assert!(seen.volatile, "{sql}"),
            "cache" if case["why"] == "locking read" => assert!(seen.locking, "{sql}"),
            _ => {}
        }
    }
}

#[test]
fn what_an_index_needs_is_among_the_roles() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("data/index_columns.json")).unwrap();
    for case in cases.iter().filter(|case| case["columns"].is_array()) {
        let sql = case["sql"].as_str().unwrap();
        let seen = analysed(sql, Dialect::Postgresql);
        assert!(seen.parsed, "{sql}");
        for column in case["columns"].as_array().unwrap() {
            let name = column.as_str().unwrap().split(' ').next().unwrap();
            let useful = seen.columns.iter().any(|used| {
                used.column == name
                    && used.conjunct
                    && used.table.as_deref() == Some("users")
                    && !matches!(used.role, Role::Inequality | Role::Expression | Role::Select)
            });
            assert!(useful, "{sql}: {name} in {:?}", seen.columns);
        }
    }
}

#[test]
fn a_large_or_deep_statement_is_not_parsed_and_harms_nobody() {
    let deep = |open: &str, close: &str, n: usize| format!("SELECT {}1{} FROM t", open.repeat(n), close.repeat(n));
    let long = |link: &str, n: usize| format!("SELECT * FROM t WHERE a = b{}", link.repeat(n));
    let statements = [
        deep("(", ")", 100_000),
        deep("(SELECT ", ")", 20_000),
        deep("f(", ")", 1_000),
        deep("CASE WHEN a THEN ", " END", 500),
        deep("NOT ", "", 3_000),
        deep("- ", "", 3_000),
        deep("a[", "]", 3_000),
        long(" AND c = d", 100_000),
        long(" AND c = d", 500),
        long(" + c", 500),
        long(" + c", 5_000),
        long("::text", 3_000),
        long(" IS NULL", 3_000),
        long(" COLLATE c", 3_000),
        long(" UNION SELECT a FROM t", 250),
        long(" UNION SELECT a FROM t", 2_000),
        long(" AT TIME ZONE z", 2_000),
        long(".x", 10_000),
        long("[a]", 5_000),
        format!("SELECT {} FROM t", "a, ".repeat(3_000)),
        format!("SELECT * FROM {}", "t JOIN (".repeat(2_000)),
        format!("{} SELECT 1", "EXPLAIN ".repeat(3_000)),
        format!("CREATE TABLE t (a {})", "ARRAY<".repeat(3_000)),
        "\u{0}".repeat(1 << 20),
        "x".repeat(1 << 20),
    ];
    // A small stack, as on a worker thread: recursion that is not bounded would end the process.
    std::thread::Builder::new()
        .stack_size(1 << 20)
        .spawn(move || {
            for statement in &statements {
                for dialect in DIALECTS {
                    let seen = analysed(statement, dialect);
                    assert!(seen.columns.len() <= COLUMNS_MAX && seen.tables.len() <= TABLES_MAX);
                }
            }
        })
        .unwrap()
        .join()
        .unwrap();
}

fn words() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "select",
        "*",
        "from",
        "t",
        "u",
        "a",
        "b",
        ",",
        "where",
        "and",
        "or",
        "not",
        "=",
        "<",
        "in",
        "(",
        ")",
        "?",
        "is",
        "null",
        "union",
        "all",
        "join",
        "on",
        "left",
        "group by",
        "order by",
        "limit",
        "insert into",
        "values",
        "update",
        "set",
        "delete from",
        "with x as (",
        "case",
        "when",
        "then",
        "end",
        "exists (",
        "any (",
        "array[",
        "]",
        "::int",
        ".",
        "as",
        "count(*)",
        "between",
        "like",
        "desc",
        "interval ?",
        "having",
        "returning",
        ";",
        "prepare",
        "declare",
        "cursor for",
    ];
    prop::collection::vec(prop::sample::select(WORDS), 0..30).prop_map(|words| words.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_words_have_a_family(text in words(), dialect in prop::sample::select(DIALECTS.to_vec())) {
        let seen = analysed(&text, dialect);
        prop_assert_eq!(&seen, &analysed(&text, dialect));
    }

    #[test]
    fn the_order_of_conditions_and_columns_makes_no_stranger(
        columns in prop::collection::btree_set("[a-f]", 2..6), seed in prop::collection::vec(any::<u32>(), 6),
    ) {
        let columns: Vec<String> = columns.into_iter().collect();
        let mut shuffled = columns.clone();
        shuffled.sort_by_key(|name| seed[usize::from(name.as_bytes()[0] - b'a')]);
        let statement = |columns: &[String]| {
            let list = columns.join("_x, ");
            let conditions: Vec<String> = columns.iter().map(|name| format!("{name}_x = 1")).collect();
            format!("SELECT {list}_x FROM t WHERE {}", conditions.join(" AND "))
        };
        prop_assert_eq!(family(&statement(&columns)), family(&statement(&shuffled)));
    }
}
