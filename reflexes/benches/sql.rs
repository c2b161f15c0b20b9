//! What normalising a statement costs, beside what reading its bytes and what a full parser cost, over the same statements
//! in the same run.
//!
//! `cargo bench -p homeostat-reflexes --bench sql` reports the time for the whole set; the throughput line gives it per
//! statement (elements). `cargo bench … -- --profile-time 5 normalise` runs one of them for a profiler.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use homeostat_reflexes::sql::{Dialect, Normaliser, summary};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Tokenizer;

/// What ORMs and people write: 100 to 300 bytes, literals and placeholders, quoted and bare names, lists.
const STATEMENTS: [&str; 10] = [
    r#"SELECT "orders"."id", "orders"."customer_id", "orders"."total", "orders"."created_at" FROM "orders" WHERE "orders"."customer_id" = 4711 AND "orders"."status" = 'shipped' ORDER BY "orders"."created_at" DESC LIMIT 20"#,
    "SELECT o.id, o.total, i.sku, i.qty FROM orders o JOIN order_items i ON i.order_id = o.id WHERE o.customer_id = $1 AND o.created_at >= $2 ORDER BY o.id",
    "INSERT INTO audit_log (actor_id, action, target, payload, created_at) VALUES (42, 'order.update', 'orders/4711', '{\"status\": \"shipped\"}', now()) RETURNING id",
    "UPDATE accounts SET balance = balance - 19.99, updated_at = '2026-03-01 12:00:00' WHERE id = 815 AND balance >= 19.99",
    "SELECT id, name, email FROM users WHERE id IN (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987) AND deleted_at IS NULL",
    "DELETE FROM sessions WHERE expires_at < '2026-03-01T00:00:00Z' AND user_id NOT IN (SELECT id FROM users WHERE role = 'service')",
    r#"SELECT COUNT(*) AS "__count" FROM "shop_product" INNER JOIN "shop_category" ON ("shop_product"."category_id" = "shop_category"."id") WHERE ("shop_category"."slug" = 'books' AND "shop_product"."active" = true)"#,
    "WITH recent AS (SELECT customer_id, max(created_at) AS last FROM orders WHERE created_at > now() - interval '30 days' GROUP BY customer_id) SELECT c.name, r.last FROM customers c JOIN recent r ON r.customer_id = c.id LIMIT 100",
    "SELECT data->>'city' AS city, avg((data->>'price')::numeric) FROM listings WHERE data @> '{\"kind\": \"flat\"}' GROUP BY 1 HAVING count(*) > 10",
    "select sku, qty from order_items where order_id = $1 and warehouse_id = $2 and qty > 0 order by sku, qty desc limit 50 offset 100 /* GET /orders/{id} */",
];

fn sql(c: &mut Criterion) {
    let bytes: usize = STATEMENTS.iter().map(|statement| statement.len()).sum();
    let mut group = c.benchmark_group(format!("sql/{}B", bytes / STATEMENTS.len()));
    group.throughput(Throughput::Elements(STATEMENTS.len() as u64));

    // The least that any normaliser must do: look at every byte, each step depending on the one before.
    group.bench_function("byte_pass", |b| {
        b.iter(|| {
            for statement in STATEMENTS {
                black_box(black_box(statement).bytes().fold(0u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)));
            }
        });
    });
    group.bench_function("normalise", |b| {
        let mut normaliser = Normaliser::with_key(7);
        b.iter(|| {
            for statement in STATEMENTS {
                black_box(normaliser.normalise(black_box(statement), Dialect::Postgresql));
            }
        });
    });
    group.bench_function("normalise_generic", |b| {
        let mut normaliser = Normaliser::with_key(7);
        b.iter(|| {
            for statement in STATEMENTS {
                black_box(normaliser.normalise(black_box(statement), Dialect::Generic));
            }
        });
    });
    group.bench_function("summary", |b| {
        b.iter(|| {
            for statement in STATEMENTS {
                black_box(summary(black_box(statement), Dialect::Postgresql));
            }
        });
    });
    group.bench_function("sqlparser_tokenise", |b| {
        b.iter(|| {
            for statement in STATEMENTS {
                black_box(Tokenizer::new(&PostgreSqlDialect {}, black_box(statement)).tokenize().unwrap());
            }
        });
    });
    group.bench_function("sqlparser_parse", |b| {
        b.iter(|| {
            for statement in STATEMENTS {
                black_box(Parser::parse_sql(&PostgreSqlDialect {}, black_box(statement)).unwrap());
            }
        });
    });
    group.finish();
}

criterion_group!(benches, sql);
criterion_main!(benches);
