//! From the publication of an event to the arrival of its alert, under load.
//!
//! The publisher sends one event a message at a fixed pace, whatever comes back. Every 200th is a slow query with a statement
//! never seen before, which is an alert of its own; a subscriber on core NATS waits for it. The clock starts when the message is
//! handed to the client library.

use crate::load::{self, SERVICE, deck, encode, headers, now_us};
use crate::publisher::Acks;
use crate::report::percentile;
use crate::stand::{Stand, connect};
use crate::{Outcome, Plan, progress};
use futures::StreamExt as _;
use homeostat_nats::async_nats::Subscriber;
use homeostat_schemas::event::Query;
use homeostat_schemas::{Alert, EventKind, State};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Messages a second.
const PER_SECOND: u64 = 5_000;
/// The pace is kept every millisecond.
const PER_TURN: u64 = PER_SECOND / 1_000;
/// One message in so many is a slow query.
const EVERY: u64 = 200;
/// How long an alert may take before it counts as missing.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Latency {
    /// Messages a second that were to be sent.
    pub offered_per_s: u64,
    /// Messages a second that were sent.
    pub sent_per_s: f64,
    /// Messages not yet acknowledged when the last one was sent: a backlog would show here.
    pub under_way: usize,
    /// Alerts that were to come, and that came.
    pub expected: usize,
    /// See `expected`.
    pub alerts: usize,
    /// Milliseconds from publication to alert.
    pub p50_ms: f64,
    /// See `p50_ms`.
    pub p90_ms: f64,
    /// See `p50_ms`.
    pub p99_ms: f64,
    /// See `p50_ms`.
    pub max_ms: f64,
}

/// Measures it.
pub(crate) async fn measure(plan: &Plan) -> Outcome<Latency> {
    let seconds = if plan.quick { 4 } else { 16 };
    let stand = Stand::start().await?;
    let worker = stand.worker().await?;
    let subscriber = connect(&stand.url()).await?;
    let subject = "homeostat.v1.alert.query.slow.>";
    let alerts = subscriber.subscribe(subject).await?;
    subscriber.flush().await?;
    let expected = usize::try_from(seconds * PER_SECOND / EVERY)?;
    let listening = tokio::spawn(listen(alerts, expected));
    let client = connect(&stand.url()).await?;
    let deck = deck(1)?;
    let acks = Acks::open(&client, 65_536).await?;
    let seed = now_us();
    let mut sent = BTreeMap::new();
    let mut pace = interval(Duration::from_millis(1));
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut all = (1_u32..).flat_map(|cycle| deck.iter().map(move |prepared| (cycle, prepared)));
    let (mut number, began_us) = (0, now_us());
    for _ in 0..seconds * 1_000 {
        pace.tick().await;
        for _ in 0..PER_TURN {
            number += 1;
            let now = now_us();
            if number % EVERY == 0 {
                let table = word(number / EVERY);
                let payload = slow(&table, now / 1_000)?;
                sent.insert(table, now_us());
                acks.send(&client, load::subject(EventKind::Query), headers(seed, number), payload).await?;
            } else if let Some((cycle, prepared)) = all.next() {
                let payload = prepared.payload(cycle, now / 1_000);
                acks.send(&client, load::subject(prepared.kind), headers(seed, number), payload).await?;
            }
        }
    }
    let took_us = now_us() - began_us;
    let under_way = acks.under_way();
    acks.all().await?;
    let arrived = listening.await??;
    worker.stop().await?;
    stand.stop().await;
    let mut delays: Vec<f64> =
        sent.iter().filter_map(|(table, sent)| Some(arrived.get(table)?.saturating_sub(*sent) as f64 / 1e3)).collect();
    delays.sort_by(f64::total_cmp);
    let latency = Latency {
        offered_per_s: PER_SECOND,
        sent_per_s: number as f64 * 1e6 / took_us as f64,
        under_way,
        expected,
        alerts: delays.len(),
        p50_ms: percentile(&delays, 0.50),
        p90_ms: percentile(&delays, 0.90),
        p99_ms: percentile(&delays, 0.99),
        max_ms: delays.last().copied().unwrap_or(f64::NAN),
    };
    progress(&format!("publish to alert: p50 {:.1} ms, p99 {:.1} ms", latency.p50_ms, latency.p99_ms));
    Ok(latency)
}

/// When each alert came, by the table of its statement.
async fn listen(mut alerts: Subscriber, expected: usize) -> Outcome<BTreeMap<String, u64>> {
    let mut arrived = BTreeMap::new();
    while arrived.len() < expected {
        let Ok(Some(message)) = timeout(PATIENCE, alerts.next()).await else { break };
        let now = now_us();
        let alert: Alert = serde_json::from_slice(&message.payload)?;
        let statement = alert.evidence.get("statement").and_then(|statement| statement.as_str()).unwrap_or_default();
        if let (State::Firing, Some(table)) = (alert.state, statement.split_whitespace().find(|word| word.starts_with(MARK))) {
            arrived.entry(table.to_owned()).or_insert(now);
        }
    }
    Ok(arrived)
}

const MARK: &str = "report_";

/// A number as a word of letters: digits in a name may be taken for those of a partition.
fn word(mut number: u64) -> String {
    let mut word = MARK.to_owned();
    while number > 0 {
        word.push(char::from(b'a' + u8::try_from(number % 26).unwrap_or(0)));
        number /= 26;
    }
    word
}

fn slow(table: &str, now_ms: u64) -> Outcome<Vec<u8>> {
    encode(&[Query {
        service: SERVICE.to_owned(),
        at_ms: now_ms,
        statement: format!("select r.id, r.total from {table} r where r.tenant_id = ? and r.state = ? limit ?"),
        took_us: 250_000,
        system: Some("postgresql".to_owned()),
        ..Query::default()
    }])
}
