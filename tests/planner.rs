//! Index advice against a real PostgreSQL with HypoPG.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::postgres::{Cluster, PASSWORD};
use homeostat::planner::{Planner, PlannerConfig, PlannerError};
use homeostat_actors::query::family::analyse;
use homeostat_actors::query::index::{IndexCandidate, to_verify};
use homeostat_reflexes::sql::{Dialect, Normaliser};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use std::sync::Arc;

/// A database with these tables.
async fn database(cluster: &Cluster, schema: &str) -> (PlannerConfig, PgConnection) {
    let url = cluster.database();
    let config = PlannerConfig { url: Some(url.clone()), password_file: Some(cluster.password_file()), ..PlannerConfig::default() };
    let with_password = url.replace("homeostat@", "homeostat:p%40ss%3Aw%2Frd@");
    let mut connection = PgConnection::connect(&with_password).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(schema)).execute(&mut connection).await.unwrap();
    (config, connection)
}

async fn advise(planner: &mut Planner, sql: &str) -> Result<Vec<String>, PlannerError> {
    let normal = Normaliser::new().normalise(sql, Dialect::Postgresql).normal.to_owned();
    let offered = to_verify(&analyse(&normal, Dialect::Postgresql), Dialect::Postgresql);
    let found = planner.advise(&normal, 100, &offered).await?;
    assert!(found.iter().all(|index| index.cost_ratio <= homeostat::planner::COST_RATIO_MAX && index.cost_after < index.cost_before));
    Ok(found.iter().map(|index| index.candidate().ddl(Dialect::Postgresql)).collect())
}

#[tokio::test]
async fn the_measured_statements_get_the_indexes_that_pay_and_no_others() {
    let cluster = Cluster::shared();
    let file: Value = serde_json::from_str(include_str!("../actors/tests/data/query/index_suggestions.json")).unwrap();
    // What is measured by executing is not needed here.
    let schema = file["schema_sql"].as_str().unwrap().replace("CREATE EXTENSION pg_stat_statements;", "");
    // As autovacuum leaves tables: a planner counts on no index alone before it knows that all rows are visible.
    let (schema, _analyze) = schema.rsplit_once("ANALYZE").unwrap();
    let (config, mut connection) = database(&cluster, schema).await;
    // The sample is every row, for what a planner thinks of a third of a table depends on which rows it saw.
    for statement in ["SET default_statistics_target = 2000", "VACUUM ANALYZE"] {
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
    }
    let mut planner = Planner::connect(&config).await.unwrap();
    let (mut right, mut wrong, mut missed) = (0, Vec::new(), Vec::new());
    for case in file["cases"].as_array().unwrap() {
        let sql = case["sql"].as_str().unwrap();
        let found = advise(&mut planner, sql).await.unwrap();
        match (case["expect"] == "suggest", found.is_empty()) {
            (true, false) => right += 1,
            (false, false) => wrong.push((sql, found)),
            (true, true) => missed.push(sql),
            (false, true) => {}
        }
    }
    let (precision, recall) = (right as f64 / (right + wrong.len()) as f64, right as f64 / (right + missed.len()) as f64);
    assert!(precision >= 0.97 && recall >= 0.95, "{precision} {recall} {wrong:#?} {missed:#?}");
    planner.close().await;
}

#[tokio::test]
async fn mixed_case_other_schemas_views_and_partitions_are_what_they_are() {
    let cluster = Cluster::shared();
    let (config, mut connection) = database(
        &cluster,
        r#"CREATE EXTENSION hypopg;
        CREATE SCHEMA "My Shop";
        CREATE TABLE "My Shop"."Order.Items" ("Order Id" int, "select" int, note text);
        INSERT INTO "My Shop"."Order.Items" SELECT i, i % 5000, 'x' FROM generate_series(1, 50000) i;
        CREATE SCHEMA stock; CREATE TABLE stock.parts (sku int, name text);
        INSERT INTO stock.parts SELECT i, 'n' || i FROM generate_series(1, 50000) i;
        CREATE VIEW parts_of_today AS SELECT sku AS number, name FROM stock.parts WHERE name <> 'secret in a view';
        CREATE TABLE visits (id bigint, at date, "user" int) PARTITION BY RANGE (at);
        CREATE TABLE visits_1 PARTITION OF visits FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
        CREATE TABLE visits_2 PARTITION OF visits FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
        INSERT INTO visits SELECT i, '2026-01-01'::date + i % 58, i % 5000 FROM generate_series(1, 60000) i;
        ANALYZE"#,
    )
    .await;
    let mut planner = Planner::connect(&config).await.unwrap();
    for (sql, ddl) in [
        ("SELECT * FROM stock.parts WHERE sku = 7", "CREATE INDEX CONCURRENTLY ON stock.parts (sku)"),
        ("SELECT name FROM parts_of_today WHERE number = 7", "CREATE INDEX CONCURRENTLY ON stock.parts (sku)"),
        ("SELECT count(*) FROM visits WHERE \"user\" = 3", "CREATE INDEX CONCURRENTLY ON visits (\"user\")"),
        ("DELETE FROM stock.parts WHERE name = 'a'", "CREATE INDEX CONCURRENTLY ON stock.parts (name)"),
    ] {
        assert_eq!(advise(&mut planner, sql).await.unwrap(), [ddl], "{sql}");
    }
    let found = planner.advise("select * from \"My Shop\".\"Order.Items\" where \"select\" = ?", 100, &[]).await.unwrap();
    assert_eq!(found[0].columns, ["select"]);
    // Nothing was made, and nothing was changed.
    let made: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname IN ('stock', 'public', 'My Shop')")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM stock.parts").fetch_one(&mut connection).await.unwrap();
    assert_eq!((made, left), (0, 50_000));
    // An index that is there is seen, and no longer advised.
    let wanted = [IndexCandidate { table: "stock.parts".to_owned(), columns: vec!["sku".to_owned()], using: "btree".to_owned() }];
    assert_eq!(planner.present(&wanted).await.unwrap(), [false]);
    sqlx::raw_sql("CREATE INDEX ON stock.parts (sku, name)").execute(&mut connection).await.unwrap();
    assert_eq!(planner.present(&wanted).await.unwrap(), [true]);
    assert!(advise(&mut planner, "SELECT * FROM stock.parts WHERE sku = 7").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_wide_schema_does_not_matter() {
    let cluster = Cluster::shared();
    let columns: Vec<String> = (0..20).map(|n| format!("c{n} int")).collect();
    let tables: String = (0..300).map(|n| format!("CREATE TABLE \"T{n}\" ({});", columns.join(", "))).collect();
    let filled = (0..8)
        .map(|n| format!("INSERT INTO \"T{n}\" SELECT {} FROM generate_series(1, 20000) i;", vec!["i"; 20].join(", ")))
        .collect::<String>();
    let (config, _connection) = database(&cluster, &format!("CREATE EXTENSION hypopg; {tables} {filled} ANALYZE")).await;
    let mut planner = Planner::connect(&config).await.unwrap();
    let joins: String = (1..8).map(|n| format!(" JOIN \"T{n}\" t{n} ON t{n}.c{n} = t0.c{n}")).collect();
    let conditions: Vec<String> = (0..20).map(|n| format!("t0.c{n} = {n}")).collect();
    let sql = format!("SELECT t0.* FROM \"T0\" t0{joins} WHERE {} ORDER BY t0.c19 LIMIT 5", conditions.join(" AND "));
    let found = advise(&mut planner, &sql).await.unwrap();
    assert!(!found.is_empty() && found.iter().all(|ddl| ddl.starts_with("CREATE INDEX CONCURRENTLY ON \"T")), "{found:?}");
}

#[tokio::test]
async fn what_cannot_be_planned_is_an_error_of_the_statement_without_a_literal() {
    let cluster = Cluster::shared();
    let (config, mut connection) = database(
        &cluster,
        "CREATE EXTENSION hypopg; CREATE TABLE t (a int, b json); INSERT INTO t SELECT i FROM generate_series(1, 9999) i; ANALYZE t",
    )
    .await;
    let mut planner = Planner::connect(&config).await.unwrap();
    for sql in [
        "SELECT * FROM nowhere WHERE a = 'canary'",
        "SELECT nothing('canary') FROM t",
        "SELECT * FROM t WHERE a = 1; DROP TABLE t",
        "DROP TABLE t",
        "COPY t TO '/tmp/canary'",
        "",
    ] {
        let why = advise(&mut planner, sql).await.unwrap_err();
        assert!(why.is_of_the_statement() && !why.to_string().contains("canary"), "{sql}: {why}");
    }
    // The connection is good for the next one, and the table is still there. A column without an order has no index.
    assert_eq!(advise(&mut planner, "SELECT * FROM t WHERE a = 5").await.unwrap(), ["CREATE INDEX CONCURRENTLY ON t (a)"]);
    assert!(advise(&mut planner, "SELECT * FROM t WHERE b IS NOT NULL").await.unwrap().is_empty());
    assert_eq!(sqlx::query_scalar::<_, i64>("SELECT count(*) FROM t").fetch_one(&mut connection).await.unwrap(), 9_999);
    // Somebody changes the table: nobody waits for that.
    let mut change = connection.begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE t IN ACCESS EXCLUSIVE MODE").execute(&mut *change).await.unwrap();
    assert_eq!(advise(&mut planner, "SELECT * FROM t WHERE a = 5").await, Err(PlannerError::Late));
    change.rollback().await.unwrap();
    assert_eq!(advise(&mut planner, "SELECT * FROM t WHERE a = 5").await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_database_that_cannot_be_asked_is_told_without_its_address() {
    let cluster: Arc<Cluster> = Cluster::shared();
    let plain = PlannerConfig { url: Some(cluster.database()), ..PlannerConfig::default() };
    let wrong = |url: &str| PlannerConfig { url: Some(url.to_owned()), ..PlannerConfig::default() };
    let refused = plain.url.as_deref().unwrap().replace("homeostat@", "homeostat:s3cret@");
    for (config, what) in [
        (PlannerConfig { password_file: Some(cluster.password_file()), ..plain.clone() }, "hypopg"),
        (wrong(&refused), "refuses user or password"),
        (wrong("postgres://u:s3cret@127.0.0.1:1/db"), "cannot be reached"),
        (wrong("postgres//s3cret"), "no address"),
        (PlannerConfig::default(), "planner.url"),
    ] {
        let why = Planner::connect(&config).await.map(|_| ()).unwrap_err().to_string();
        assert!(why.contains(what) && !why.contains("s3cret") && !why.contains(PASSWORD) && !why.contains("127.0.0.1"), "{why}");
    }
}
