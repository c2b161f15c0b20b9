//! What one query event costs the query mind, per core: the step alone, and decoding with it.
//!
//! `normal` statements are what clients and the OpenTelemetry intake send (placeholders, one text a shape); `raw` ones have
//! other literals every time, so that each is lexed. Every request has 20 queries, ends with its `request` event, and a fifth
//! of the requests are loops. A fresh mind takes 500 messages of 100 events.
//!
//! Before that, once: how much memory a mind has when it knows as many statements as it may tell apart, 20,000.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use homeostat_actors::core::Settings;
use homeostat_actors::driver::Driver;
use homeostat_actors::query::QueryCore;
use homeostat_schemas::batch::{Format, Frame};
use homeostat_schemas::event::{Query, Request};
use homeostat_schemas::{Content, Delivery, Event, EventKind, TraceContext, UnixMs, decode_events};
use std::hint::black_box;

/// That of the product: with another one, decoding is another thing.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MESSAGES: usize = 500;
const EVENTS: usize = 100;
const PER_REQUEST: usize = 20;
const START: UnixMs = 1_760_000_000_000;

const SHAPES: [&str; 8] = [
    "SELECT u.id, u.name, u.email, u.created_at FROM users u WHERE u.id = {} LIMIT 1",
    "SELECT i.id, i.sku, i.qty, i.price FROM order_items i WHERE i.order_id = {} ORDER BY i.id",
    "SELECT o.id, o.status, c.name, c.country FROM orders o INNER JOIN customers c ON c.id = o.customer_id WHERE o.status = 'new' AND o.total > {} ORDER BY o.created_at DESC LIMIT 50",
    "UPDATE carts SET touched_at = '2026-01-01 00:00:00', items = {} WHERE id = 17",
    "INSERT INTO audit_log (actor, action, target, detail) VALUES (5, 'view', {}, 'from the list')",
    "SELECT count(*) FROM likes WHERE post_id = {} AND deleted_at IS NULL",
    "SELECT p.* FROM products p WHERE p.sku IN ('a', 'b', 'c', {}) AND p.active = true",
    "SELECT \"settings\".\"key\", \"settings\".\"value\" FROM \"settings\" WHERE \"settings\".\"tenant_id\" = {}",
];

fn statement(shape: usize, table: usize, literal: Option<usize>) -> String {
    let value = literal.map_or_else(|| "?".to_owned(), |literal| literal.to_string());
    format!("{} /* {} */", SHAPES[shape].replace("{}", &value), table % 4)
        .replace("users", ["users", "members", "people", "persons"][table % 4])
}

fn deliveries(raw: bool) -> Vec<Vec<Event>> {
    let mut n = 0usize;
    (0..MESSAGES)
        .map(|message| {
            let at_ms = START + message as u64 * 3;
            let mut events: Vec<Event> = Vec::with_capacity(EVENTS + EVENTS / PER_REQUEST);
            for _ in 0..EVENTS / PER_REQUEST {
                let trace = format!("{:032x}", n as u128 * 0x9e37_79b9_7f4a_7c15 + 1);
                let looping = (n / PER_REQUEST).is_multiple_of(5);
                for _ in 0..PER_REQUEST {
                    n += 1;
                    let shape = if looping && !n.is_multiple_of(PER_REQUEST) { 1 } else { n % SHAPES.len() };
                    events.push(Event::Query(Query {
                        service: "shop".to_owned(),
                        at_ms,
                        statement: statement(shape, n, raw.then_some(n)),
                        took_us: 300 + (n as u64).wrapping_mul(2_654_435_761) % 9_000,
                        system: Some("postgresql".to_owned()),
                        rows: Some(n as u64 % 50),
                        trace: Some(trace.clone()),
                        span: Some(format!("{n:016x}")),
                        parent: Some(format!("{:016x}", n / PER_REQUEST)),
                        params: (!raw).then(|| format!("{n:016x}")),
                        ..Query::default()
                    }));
                }
                events.push(Event::Request(Request {
                    service: "shop".to_owned(),
                    at_ms,
                    route: "GET /orders".to_owned(),
                    status: 200,
                    took_us: 90_000,
                    trace: Some(trace),
                    span: Some(format!("{:016x}", n / PER_REQUEST)),
                    ..Request::default()
                }));
            }
            events
        })
        .collect()
}

fn delivery(position: u64, content: Content) -> Delivery {
    Delivery { position, at: START + position * 3, subject: String::new(), content, context: TraceContext::default() }
}

fn mind() -> Driver<QueryCore> {
    Driver::new("bench", Settings::default())
}

/// One message, and now and then a tick.
fn step(driver: &mut Driver<QueryCore>, delivery: &Delivery) -> usize {
    let mut outputs = driver.step(delivery).len();
    if delivery.position.is_multiple_of(80) {
        outputs += driver.step(&self::delivery(delivery.position, Content::Tick)).len();
    }
    outputs
}

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("query");
    group.sample_size(10);
    for (name, raw) in [("normal", false), ("raw", true)] {
        let messages = deliveries(raw);
        let count = messages.iter().map(Vec::len).sum::<usize>() as u64;
        group.throughput(Throughput::Elements(count));
        let decoded: Vec<Delivery> = messages
            .iter()
            .zip(1..)
            .map(|(events, position)| delivery(position, Content::Events(events.iter().cloned().map(Ok).collect())))
            .collect();
        group.bench_function(format!("step/{name}"), |bencher| {
            bencher.iter_batched(
                mind,
                |mut driver| (decoded.iter().map(|delivery| step(&mut driver, delivery)).sum::<usize>(), driver),
                BatchSize::PerIteration,
            );
        });
        // Only one kind a message on the bus: the few requests go separately.
        let encoded: Vec<(EventKind, Vec<u8>)> = messages
            .iter()
            .flat_map(|events| {
                [EventKind::Query, EventKind::Request].map(|kind| {
                    let of_kind: Vec<&Event> = events.iter().filter(|event| event.kind() == kind).collect();
                    (kind, rmp_serde::to_vec_named(&of_kind).unwrap_or_default())
                })
            })
            .collect();
        group.bench_function(format!("decode and step/{name}"), |bencher| {
            bencher.iter_batched(
                mind,
                |mut driver| {
                    let messages = encoded.iter().zip(1..);
                    let outputs = messages.map(|((kind, payload), position)| {
                        let frame = Frame { kind: *kind, service: "shop", format: Format::MsgPack, log_ms: None };
                        step(&mut driver, &delivery(position, Content::Events(decode_events(frame, black_box(payload)))))
                    });
                    (outputs.sum::<usize>(), driver)
                },
                BatchSize::PerIteration,
            );
        });
        group.bench_function(format!("decode/{name}"), |bencher| {
            bencher.iter(|| {
                for (kind, payload) in &encoded {
                    let frame = Frame { kind: *kind, service: "shop", format: Format::MsgPack, log_ms: None };
                    black_box(decode_events(frame, black_box(payload)));
                }
            });
        });
    }
    group.finish();
}

/// Executions of each statement, spread over a day, that the mind takes for [`memory`].
const ROUNDS: usize = 100;

/// Resident memory of this process, kilobytes; 0 where the system does not say.
#[allow(clippy::disallowed_methods)] // of the system, not of a mind
fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// Prints what a mind adds to the resident memory: with every statement known, each of some 170 bytes and executed [`ROUNDS`]
/// times, taking from 0.3 to 300 ms.
#[allow(clippy::print_stdout, clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn memory(_: &mut Criterion) {
    let settings = Settings::<homeostat_actors::query::QueryConfig>::default();
    let shapes = settings.config.shapes_max;
    let before = resident_kb();
    let mut driver: Driver<QueryCore> = Driver::new("bench", settings);
    let mut random = 1u64;
    for message in 0..shapes * ROUNDS / EVENTS {
        let at_ms = START + (message * EVENTS * 86_400 / (shapes * ROUNDS)) as u64 * 1_000;
        let events = (0..EVENTS).map(|event| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let shape = (message * EVENTS + event) % shapes;
            Ok(Event::Query(Query {
                service: "shop".to_owned(),
                at_ms,
                statement: format!(
                    "SELECT a.id, a.status, a.created_at, b.customer_id FROM items a JOIN history b ON b.id = a.ref_{shape} WHERE a.warehouse_id = $1 AND b.external_ref = $2 ORDER BY a.status DESC LIMIT 20"
                ),
                took_us: (300.0 * 10f64.powf((random >> 11) as f64 / (1u64 << 53) as f64 * 3.0)) as u64,
                system: Some("postgresql".to_owned()),
                rows: Some(random >> 60),
                source: Some(format!("app/models/item_{shape}.rb:17")),
                ..Query::default()
            }))
        });
        let delivery = Delivery { at: at_ms, ..delivery(message as u64 + 1, Content::Events(events.collect())) };
        step(&mut driver, &delivery);
    }
    let added = resident_kb().saturating_sub(before);
    println!("memory of a mind with {shapes} statements: {:.1} MB resident", added as f64 / 1_024.0);
    black_box(driver);
}

criterion_group!(all, memory, benches);
criterion_main!(all);
