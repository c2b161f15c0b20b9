//! What reporting costs the application: the time of one call on its own thread, with the queue being emptied behind it.
//!
//! `cargo bench -p homeostat-client`. The bus is away on purpose: what is measured is the application's side, and the packing
//! goes on all the same (what does not fit is pushed out). A queue that is full answers sooner than one that is not, so the
//! share of events that were dropped is printed beside the figures.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};
use homeostat_client::event::{CallOutcome, Query};
use homeostat_client::{Client, Settings};
use std::hint::black_box;
use std::time::Duration;

const STATEMENT: &str = "SELECT o.id, o.total, c.name FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.status = 'open' AND \
                         o.created_at > '2026-01-01' AND c.region IN (1, 2, 3) ORDER BY o.created_at DESC LIMIT 50";

/// Runs `what` so often, waiting for the queue in between so that it is never full: the wait is not measured.
fn timed(client: &Client, iterations: u64, mut what: impl FnMut()) -> Duration {
    let mut total = Duration::ZERO;
    let mut left = iterations;
    while left > 0 {
        let now = left.min(4_096);
        let start = std::time::Instant::now();
        (0..now).for_each(|_| what());
        total += start.elapsed();
        left -= now;
        while client.stats().queued > 2_048 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    total
}

fn cost(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let settings = Settings::new("bench").url("nats://127.0.0.1:1").heartbeat(None).sampling(None).waiting(8 << 20);
    let client = runtime.block_on(settings.start()).expect("a client");
    let mut group = criterion.benchmark_group("client");
    group.bench_function("query", |b| {
        b.iter_custom(|n| timed(&client, n, || client.query(black_box(STATEMENT), Duration::from_micros(300))));
    });
    group.bench_function("query with all fields", |b| {
        b.iter_custom(|n| {
            timed(&client, n, || {
                let query = Query {
                    statement: STATEMENT.to_owned(),
                    took_us: 300,
                    system: Some("postgresql".to_owned()),
                    rows: Some(50),
                    trace: Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned()),
                    parent: Some("00f067aa0ba902b7".to_owned()),
                    ..Query::default()
                };
                let _ = black_box(client.event(query));
            })
        });
    });
    group.bench_function("request", |b| {
        b.iter_custom(|n| timed(&client, n, || client.request(black_box("GET /orders/{id}"), 200, Duration::from_micros(900))));
    });
    group.bench_function("metric", |b| b.iter_custom(|n| timed(&client, n, || client.metric(black_box("queue.depth"), 4.0))));
    let peer = client.peer("payments");
    group.bench_function("call, summed", |b| b.iter(|| peer.record(black_box(CallOutcome::Ok), Duration::from_micros(500))));
    let cache = client.cache("products");
    group.bench_function("cache look-up", |b| b.iter(|| black_box(&cache).hit()));
    group.finish();
    let stats = client.stats();
    println!("events offered {}, not taken {}", stats.accepted, stats.dropped);
}

criterion_group!(benches, cost);
criterion_main!(benches);
