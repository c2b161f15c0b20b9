//! The telemetry of a shop, encoded once and sent again and again with fresh trace ids and times.
//!
//! 200 statement shapes in normal form, 171 bytes each, on 40 routes. A request asks 6 to 14 of the 10 shapes of its route; one
//! in 20 asks one of them 25 times more with other parameters each time, and one in 10 repeats a query with the same ones.
//! Every query carries trace, span, parent and a hash of its parameters; every request ends with its `request` event, without
//! which no trace would close. Encoding the events anew for every message would measure the encoder: the publisher only writes
//! new trace ids and times into messages that are ready.

use crate::Outcome;
use homeostat_schemas::batch::MSGPACK;
use homeostat_schemas::event::{Query, Request};
use homeostat_schemas::{Event, EventKind, Root, Subject};
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};

/// The service all of it speaks of.
pub(crate) const SERVICE: &str = "shop";

const SHAPES: usize = 200;
const STATEMENT_BYTES: usize = 171;
const PER_ROUTE: usize = 10;
const ROUTES: usize = 40;
/// So many events are encoded; beyond, they come again as other traces.
const EVENTS: usize = 20_000;
/// Every time in a message is written over before it is sent; eight bytes wide from the start.
const TIME: u64 = 1_800_000_000_000;

const TABLES: [&str; 20] = [
    "orders",
    "order_items",
    "customers",
    "products",
    "prices",
    "carts",
    "cart_items",
    "payments",
    "refunds",
    "shipments",
    "addresses",
    "warehouses",
    "stock_levels",
    "reviews",
    "ratings",
    "coupons",
    "campaigns",
    "sessions",
    "wishlists",
    "suppliers",
];
const COLUMNS: [&str; 16] = [
    "id",
    "state",
    "name",
    "total",
    "currency",
    "created_at",
    "updated_at",
    "version",
    "note",
    "kind",
    "amount",
    "weight",
    "country",
    "city",
    "email",
    "flags",
];

/// A small generator that gives the same load every time (xorshift64*, Vigna 2016).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap_or(0) % bound.max(1)
    }
}

/// One message that only lacks its trace ids and times.
pub(crate) struct Prepared {
    /// Its kind.
    pub kind: EventKind,
    payload: Vec<u8>,
    /// Where trace ids begin.
    traces: Vec<usize>,
    /// Where the eight bytes of times begin.
    times: Vec<usize>,
    /// How many events it holds.
    pub events: usize,
}

impl Prepared {
    fn of(kind: EventKind, events: &[Event]) -> Outcome<Prepared> {
        let payload = encode(events)?;
        let traces = places(&payload, b"\xa5trace\xd9\x20");
        let times = places(&payload, b"\xa5at_ms\xcf");
        if traces.len() != events.len() || times.len() != events.len() {
            return Err("the encoding of events has changed: trace ids and times are not where they were".into());
        }
        Ok(Prepared { kind, payload, traces, times, events: events.len() })
    }

    /// The message as it is sent in a cycle, now.
    pub(crate) fn payload(&self, cycle: u32, now_ms: u64) -> Vec<u8> {
        let mut payload = self.payload.clone();
        let id = format!("{cycle:08x}");
        for &at in &self.traces {
            if let Some(place) = payload.get_mut(at..at + 8) {
                place.copy_from_slice(id.as_bytes());
            }
        }
        for &at in &self.times {
            if let Some(place) = payload.get_mut(at..at + 8) {
                place.copy_from_slice(&now_ms.to_be_bytes());
            }
        }
        payload
    }

    /// Its size in bytes.
    pub(crate) fn size(&self) -> usize {
        self.payload.len()
    }
}

/// Events as they stand on the bus: one alone, several as an array.
pub(crate) fn encode<T: Serialize>(events: &[T]) -> Outcome<Vec<u8>> {
    Ok(match events {
        [one] => rmp_serde::to_vec_named(one)?,
        all => rmp_serde::to_vec_named(all)?,
    })
}

fn places(payload: &[u8], key: &[u8]) -> Vec<usize> {
    payload.windows(key.len()).enumerate().filter(|(_, window)| *window == key).map(|(at, _)| at + key.len()).collect()
}

/// Messages in the order in which they are sent, over and over.
pub(crate) fn deck(per_message: usize) -> Outcome<Vec<Prepared>> {
    let mut deck = Vec::new();
    let (mut queries, mut requests) = (Vec::new(), Vec::new());
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let shapes: Vec<String> = (0..SHAPES).map(statement).collect();
    let (mut traces, mut events) = (0, 0);
    while events < EVENTS {
        let request = request(traces, &shapes, &mut dice);
        events += request.len();
        traces += 1;
        for event in request {
            let kind = event.kind();
            let waiting = if kind == EventKind::Query { &mut queries } else { &mut requests };
            waiting.push(event);
            if waiting.len() >= per_message {
                deck.push(Prepared::of(kind, waiting)?);
                waiting.clear();
            }
        }
    }
    Ok(deck)
}

/// The events of one request: its queries, then itself.
fn request(number: usize, shapes: &[String], dice: &mut Dice) -> Vec<Event> {
    let trace = format!("{:032x}", number.wrapping_mul(0x5851_f42d_4c95_7f2d) as u64 as u128 | 1 << 90);
    let root = format!("{:016x}", number + 1);
    let route = dice.below(ROUTES);
    let mut took_us = 2_000;
    let mut events: Vec<Event> = Vec::with_capacity(40);
    let mut ask = |shape: usize, params: usize, dice: &mut Dice, events: &mut Vec<Event>| {
        let took = 300 + dice.below(5_000) as u64;
        took_us += took;
        events.push(Event::Query(Query {
            service: SERVICE.to_owned(),
            at_ms: TIME,
            instance: Some(format!("shop-{}", number % 4)),
            statement: shapes[shape % shapes.len()].clone(),
            took_us: took,
            system: Some("postgresql".to_owned()),
            rows: Some(dice.below(40) as u64),
            trace: Some(trace.clone()),
            span: Some(format!("{:016x}", (number + 1) * 100 + events.len())),
            parent: Some(root.clone()),
            params: Some(format!("{:016x}", params.wrapping_mul(0x9e37_79b9_7f4a_7c15))),
            ..Query::default()
        }));
    };
    for _ in 0..6 + dice.below(9) {
        let (shape, params) = (route * 5 + dice.below(PER_ROUTE), dice.below(1 << 30));
        ask(shape, params, dice, &mut events);
        if dice.below(90) == 0 {
            ask(shape, params, dice, &mut events);
        }
    }
    if number.is_multiple_of(20) {
        for child in 0..25 {
            ask(route * 5, (number << 8) + child, dice, &mut events);
        }
    }
    events.push(Event::Request(Request {
        service: SERVICE.to_owned(),
        at_ms: TIME,
        instance: Some(format!("shop-{}", number % 4)),
        route: format!("GET /{}/{{id}}/{}", TABLES[route % TABLES.len()], COLUMNS[route % COLUMNS.len()]),
        status: if dice.below(500) == 0 { 500 } else { 200 },
        took_us,
        trace: Some(trace),
        span: Some(root),
        ..Request::default()
    }));
    events
}

/// A statement in normal form: a join of two tables with as many columns as make it 171 bytes long.
fn statement(number: usize) -> String {
    let (one, other) = (TABLES[number % TABLES.len()], TABLES[(number / TABLES.len() * 3 + number + 1) % TABLES.len()]);
    let rest =
        format!(" from {one} t inner join {other} u on u.id = t.{other}_id where t.tenant_id = ? and t.{} = ?", COLUMNS[number / 20]);
    let mut text = "select t.id".to_owned();
    for column in COLUMNS.iter().cycle().skip(number % COLUMNS.len()) {
        let more = format!(", t.{column}");
        if text.len() + more.len() + rest.len() > STATEMENT_BYTES {
            break;
        }
        text.push_str(&more);
    }
    // What is left is less than a column: a longer name of the first one.
    let missing = STATEMENT_BYTES.saturating_sub(text.len() + rest.len());
    if missing > 0 {
        text.insert_str("select t.".len(), &"x".repeat(missing));
    }
    text + &rest
}

/// The subject of a kind.
pub(crate) fn subject(kind: EventKind) -> String {
    Root::default().subject(&Subject::Event(kind, SERVICE.to_owned()))
}

/// The headers with which clients publish: what it is, and an id of 128 bits that tells a retry.
pub(crate) fn headers(seed: u64, number: u64) -> homeostat_nats::async_nats::HeaderMap {
    let mut headers = homeostat_nats::async_nats::HeaderMap::new();
    headers.insert("content-type", MSGPACK);
    headers.insert("Nats-Msg-Id", format!("{seed:016x}{number:016x}"));
    headers
}

/// The wall clock in microseconds, the same for every process of this machine.
pub(crate) fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
