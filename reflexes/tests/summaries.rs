//! Summaries as OpenTelemetry's `db.query.summary` wants them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use expect_test::expect;
use homeostat_reflexes::sql::{Dialect, SUMMARY_MAX, summary, tables};
use serde_json::Value;

#[test]
fn every_given_statement_has_the_given_summary_in_every_dialect() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("data/query_summary.json")).unwrap();
    let mut wrong = Vec::new();
    for case in &cases {
        for dialect in [Dialect::Generic, Dialect::Postgresql, Dialect::Mysql, Dialect::Sqlite] {
            let seen = summary(case["sql"].as_str().unwrap(), dialect);
            if seen != case["summary"] {
                wrong.push(format!("{} {dialect}: {seen} instead of {}", case["id"], case["summary"]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn operations_and_targets_stand_in_the_order_of_the_statement() {
    let statements = [
        "WITH c AS (SELECT * FROM users) SELECT id FROM c JOIN public.orders o ON o.user_id = c.id",
        "UPDATE ONLY accounts a SET x = 1 FROM totals t WHERE t.id = a.id",
        "DELETE FROM a USING b, c WHERE a.id = b.id",
        "MERGE INTO stock s USING deliveries d ON s.id = d.id WHEN MATCHED THEN UPDATE SET n = 1 WHEN NOT MATCHED THEN INSERT VALUES (1)",
        "INSERT INTO t (a, b) VALUES (1, 'from secret') ON CONFLICT (a) DO UPDATE SET b = EXCLUDED.b",
        "SELECT EXTRACT(YEAR FROM created), a IS DISTINCT FROM b FROM (x JOIN y ON x.a = y.a), z FOR UPDATE",
        "CREATE OR REPLACE VIEW v AS SELECT * FROM t",
        "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a)",
        "DROP TABLE IF EXISTS a, b CASCADE",
        "TRUNCATE orders",
        "CALL refresh('secret')",
        "EXEC dbo.Refresh @id = 5",
        "BEGIN",
        "SET search_path TO secret",
        "COPY t FROM '/tmp/secret'",
        "EXPLAIN ANALYZE SELECT 1 FROM t",
        "/* from secret */ SELECT a -- from secret\nFROM `t` UNION ALL SELECT b FROM `u`",
        "DELETE FROM orders WHERE note = 'x'; OPTIMIZE TABLE orders",
        "SELECT * FROM generate_series(1, 10) g, LATERAL (SELECT 1 FROM t) l",
        "{\"filter\":{\"name\":\"secret\"},\"find\":\"reviews\"}",
        "HGET users:secret name",
        "connect",
        "",
    ];
    let seen: Vec<_> = statements
        .iter()
        .map(|statement| format!("{} | {}", summary(statement, Dialect::Generic), tables(statement, Dialect::Generic).join(" ")))
        .collect();
    expect![[r#"
        SELECT users SELECT c public.orders | users public.orders
        UPDATE accounts totals | accounts totals
        DELETE a b c | a b c
        MERGE stock deliveries | stock deliveries
        INSERT t | t
        SELECT x y z | x y z
        CREATE VIEW v SELECT t | v t
        CREATE UNIQUE INDEX i t | t
        DROP TABLE a b | a b
        TRUNCATE orders | orders
        CALL refresh | 
        EXEC dbo.Refresh | 
        BEGIN | 
        SET | 
        COPY | 
        EXPLAIN SELECT t | t
        SELECT `t` `u` | t u
        DELETE orders OPTIMIZE | orders
        SELECT generate_series SELECT t | t
        find reviews | reviews
        HGET | 
        connect | 
         | "#]]
    .assert_eq(&seen.join("\n"));
}

#[test]
fn a_summary_is_cut_between_words() {
    let statement = format!("SELECT * FROM {}", (0..100).map(|n| format!("table_{n}")).collect::<Vec<_>>().join(", "));
    let seen = summary(&statement, Dialect::Generic);
    assert!(seen.chars().count() <= SUMMARY_MAX && seen.chars().count() > SUMMARY_MAX - 10);
    assert!(statement.contains(&format!(" {},", seen.rsplit(' ').next().unwrap())));
}

#[test]
fn values_are_no_names_wherever_a_comma_stands_before_them() {
    let statements = [
        "SELECT * FROM a JOIN b ON a.tags && ARRAY['x','value_x'] WHERE b.id = 3",
        "SELECT * FROM a JOIN b ON a.tags && ARRAY[x, 'value_x', \"value_x\"]",
        "SELECT * FROM a ARRAY JOIN ['x', 'value_x'] AS v, [x, 'value_x'] AS w",
        "MERGE INTO t USING s ON t.a = ARRAY['aa','value_x'] WHEN MATCHED THEN DELETE",
        "SELECT * FROM a JOIN b ON a.x = 'y', 'value_x', \"value_x\"",
        "DELETE FROM a USING b WHERE a.x = ANY (ARRAY['y', 'value_x'])",
        "UPDATE a JOIN b ON a.x IN ('y', 'value_x') SET a.y = ['x', 'value_x'], a.z = \"value_x\"",
        "SELECT * FROM f('x', 'value_x') JOIN LATERAL g(['x', 'value_x']) ON true, 'value_x'",
    ];
    for statement in statements {
        for dialect in [Dialect::Generic, Dialect::Postgresql, Dialect::Mysql, Dialect::Sqlite] {
            for end in 0..=statement.len() {
                let seen = summary(&statement[..end], dialect);
                // To PostgreSQL and SQLite, what stands in double quotes is a name.
                let names = matches!(dialect, Dialect::Postgresql | Dialect::Sqlite) && seen.contains("\"value_x\"");
                assert!(names || !seen.contains("valu"), "{dialect}: {} of {}", seen, &statement[..end]);
            }
        }
    }
    for account in ["CREATE USER \"value_x\"@\"h\"", "ALTER USER \"value_x\"@'h' ACCOUNT LOCK", "DROP USER \"value_x\"@\"h\""] {
        for dialect in [Dialect::Generic, Dialect::Mysql] {
            assert!(!summary(account, dialect).contains("valu"), "{account}");
        }
    }
}

#[test]
fn a_cut_statement_has_a_summary_without_its_values() {
    let statement = "INSERT INTO t (a) SELECT 'value_x', $$value_x$$ FROM u WHERE b = \"value_x\" AND c = E'\\'value_x'";
    for end in 0..=statement.len() {
        for dialect in [Dialect::Generic, Dialect::Postgresql, Dialect::Mysql, Dialect::Sqlite] {
            assert!(!summary(&statement[..end], dialect).contains("valu"), "{}", &statement[..end]);
        }
    }
}
