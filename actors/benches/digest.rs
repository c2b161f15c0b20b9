//! What one execution in a log costs `homeostat query digest`, per core: cutting into entries, normalising, counting.
//!
//! Statements of about 170 bytes, 200 shapes, other literals every time, as PostgreSQL and MySQL write them; one block of a megabyte. What pt-query-digest
//! and pgBadger need for the same is measured by `benches/peers/digest.py`.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use homeostat_actors::query::digest::{Digest, DigestOptions, LogFormat};
use std::fmt::Write as _;
use std::hint::black_box;

const SHAPES: usize = 200;
const BLOCK: usize = 1024 * 1024;
const OPTIONS: DigestOptions = DigestOptions { shapes_max: 20_000, statement_max_bytes: 4_096, slow_us: 100_000, many_rows: 1_000 };

fn statement(n: usize) -> String {
    let (shape, a, b) = (n * 7_919 % SHAPES, n * 2_654_435_761 % 10_000_000, n * 40_503 % 100_000);
    match shape % 4 {
        0 => format!(
            "SELECT a.id, a.status, a.created_at, b.customer_id FROM user_items a JOIN audit_history b ON b.id = a.ref_{shape} WHERE a.warehouse_id = {a} AND b.external_ref = '{b:08x}' ORDER BY a.status DESC LIMIT 20"
        ),
        1 => format!(
            "UPDATE stock_lines SET currency = '{b:08x}', updated_by = {a}, touched_{shape} = '2026-01-01 00:00:00' WHERE status = {b} AND customer_id IN ({a}, {b}, {n})"
        ),
        2 => format!(
            "INSERT INTO order_log (currency, status, external_ref, extra_{shape}) VALUES ({a}, '{b:08x}', '{a:08x}', {n}), ({b}, '{a:08x}', '{b:08x}', {n})"
        ),
        _ => format!(
            "SELECT count(*), max(created_at) FROM user_log WHERE external_ref = '{b:08x}' AND updated_by BETWEEN {b} AND {a} AND flag_{shape} IS NOT NULL GROUP BY currency HAVING count(*) > {n}"
        ),
    }
}

/// A block and its executions.
fn block(format: LogFormat) -> (String, u64) {
    let (mut text, mut count) = (String::with_capacity(BLOCK + 1_024), 0);
    for n in 0.. {
        if text.len() >= BLOCK {
            break;
        }
        let (statement, us) = (statement(n), 300 + n * 2_654_435_761 % 9_000);
        let written = match format {
            LogFormat::MysqlSlow => writeln!(
                text,
                "# Time: 2026-01-01T00:00:00.123456Z\n# User@Host: app[app] @ web [10.0.0.7]  Id: 1000\n# Query_time: 0.{us:06}  Lock_time: 0.000002 Rows_sent: 3  Rows_examined: 2000\nSET timestamp=1767225600;\n{statement};"
            ),
            LogFormat::PostgresqlJson => writeln!(
                text,
                "{{\"timestamp\":\"2026-01-01 00:00:00.123 UTC\",\"pid\":1000,\"error_severity\":\"LOG\",\"message\":\"duration: 1.{us} ms  statement: {statement}\"}}"
            ),
            LogFormat::PostgresqlCsv => writeln!(
                text,
                "2026-01-01 00:00:00.123 UTC,\"app\",\"shop\",1000,\"10.0.0.7:1\",6b07.1,1,\"SELECT\",2026-01-01 00:00:00 UTC,3/4,0,LOG,00000,\"duration: 1.{us} ms  statement: {statement}\",,,,,,,,,\"\",\"client backend\",,0"
            ),
            LogFormat::PostgresqlStderr => {
                writeln!(text, "2026-01-01 00:00:00.123 UTC [1000] app@shop LOG:  duration: 1.{us} ms  statement: {statement}")
            }
        };
        // Writing to a String cannot fail.
        let _ = written;
        count += 1;
    }
    (text, count)
}

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("digest");
    group.sample_size(20);
    for (name, format) in [
        ("postgresql-stderr", LogFormat::PostgresqlStderr),
        ("postgresql-csv", LogFormat::PostgresqlCsv),
        ("postgresql-json", LogFormat::PostgresqlJson),
        ("mysql-slow", LogFormat::MysqlSlow),
    ] {
        let (text, count) = block(format);
        group.throughput(Throughput::Elements(count));
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || Digest::new(format, OPTIONS),
                |mut digest| {
                    let seam = digest.block(black_box(text.as_bytes()));
                    (digest, seam)
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
