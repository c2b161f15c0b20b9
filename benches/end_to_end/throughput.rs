//! Durable events a second: the bare pipeline, and the same load with all minds, in turns.
//!
//! Both are timed from the first message sent to the last one done with: decoded by the bare consumer, or taken by every actor
//! of the running system (which has then published whatever followed from it). A run during which other processes took more than
//! [`OTHERS_MAX`] of a processor is taken again, [`RETAKES`] times in all; what they took is in the JSON.

use crate::bare::{self, Consumed};
use crate::publisher::{self, Published};
use crate::report::{Distribution, median};
use crate::stand::{Role, Stand, Usage, machine_busy, threads};
use crate::{Outcome, Plan, load, progress};
use serde::Serialize;
use std::collections::BTreeMap;

/// Events a message, events a run, events a quick run.
const LOADS: [(usize, u64, u64); 3] = [(1, 250_000, 60_000), (10, 1_000_000, 250_000), (100, 2_000_000, 500_000)];

/// Processors that strangers may have used in a run that counts. The kernel's own writing to disk is among them.
const OTHERS_MAX: f64 = 0.35;
/// How often a disturbed run is taken again, over all runs: on a machine that is never calm it would take for ever.
const RETAKES: usize = 6;

/// One run of one variant.
#[derive(Debug, Clone, Serialize)]
struct Run {
    events_per_s: f64,
    /// Publishing alone: until the last acknowledgement.
    acked_per_s: f64,
    /// Processor time of each process, microseconds an event.
    publisher_us: f64,
    consumer_us: f64,
    server_us: f64,
    /// Processors that processes other than these three used meanwhile.
    others: f64,
    /// Of the consuming process, by thread, microseconds an event.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    threads_us: BTreeMap<String, f64>,
}

impl Run {
    fn of(published: &Published, ended_us: u64, consumer: Usage, server: Usage, busy_s: f64) -> Run {
        let known = published.usage.cpu_s + consumer.cpu_s + server.cpu_s;
        let elapsed_s = ended_us.saturating_sub(published.began_us).max(1) as f64 / 1e6;
        let events = published.events as f64;
        let rate = |until: u64| events * 1e6 / until.saturating_sub(published.began_us).max(1) as f64;
        Run {
            events_per_s: rate(ended_us),
            acked_per_s: rate(published.acked_us),
            publisher_us: published.usage.cpu_s * 1e6 / events,
            consumer_us: consumer.cpu_s * 1e6 / events,
            server_us: server.cpu_s * 1e6 / events,
            others: ((busy_s - known) / elapsed_s).max(0.0),
            threads_us: BTreeMap::new(),
        }
    }
}

/// All runs of a variant.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Variant {
    /// Events a second from the first message sent to the last one done with.
    pub events_per_s: Distribution,
    /// Events a second until the last acknowledgement, the median.
    pub acked_per_s: f64,
    /// Processor microseconds an event of the publisher, the median.
    pub publisher_us: f64,
    /// The same of the process that consumes: the bare consumer, or the worker.
    pub consumer_us: f64,
    /// The same of nats-server.
    pub server_us: f64,
    /// All three together.
    pub all_us: f64,
    runs: Vec<Run>,
}

impl Variant {
    fn of(runs: Vec<Run>) -> Variant {
        let middle = |of: fn(&Run) -> f64| median(&runs.iter().map(of).collect::<Vec<f64>>());
        Variant {
            events_per_s: Distribution::of(&runs.iter().map(|run| run.events_per_s).collect::<Vec<f64>>()),
            acked_per_s: middle(|run| run.acked_per_s),
            publisher_us: middle(|run| run.publisher_us),
            consumer_us: middle(|run| run.consumer_us),
            server_us: middle(|run| run.server_us),
            all_us: middle(|run| run.publisher_us + run.consumer_us + run.server_us),
            runs,
        }
    }
}

/// One size of messages.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    /// Events a message.
    pub per_message: usize,
    /// Events a run.
    pub events: u64,
    /// Bytes a message, the mean.
    pub message_bytes: usize,
    /// Publish, acknowledge, file, consume, decode.
    pub bare: Variant,
    /// The same with all minds and everything around them.
    pub system: Variant,
    /// System over bare: the median of the rounds, because what disturbs a round disturbs both of its runs.
    pub ratio: f64,
    /// Bare over system: processor time an event of publisher, consumer and server together. What the ratio comes to when every
    /// processor is busy all the time; strangers hardly change it.
    pub cpu_ratio: f64,
}

/// Measures every size.
pub(crate) async fn measure(plan: &Plan) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    let mut retakes = if plan.quick { 0 } else { RETAKES };
    for (per_message, long, short) in LOADS {
        let events = if plan.quick { short } else { long };
        let deck = load::deck(per_message)?;
        let message_bytes = deck.iter().map(load::Prepared::size).sum::<usize>() / deck.len().max(1);
        let (mut bare, mut system) = (Vec::new(), Vec::new());
        for round in 0..plan.rounds {
            // Who goes first gets the colder or the quieter machine: by turns.
            for turn in 0..2 {
                let name = if (round + turn) % 2 == 0 { "bare" } else { "system" };
                let run = undisturbed(name == "bare", per_message, events, &mut retakes).await?;
                let (rate, others) = (run.events_per_s, run.others);
                progress(&format!("{per_message} a message, round {}, {name}: {rate:.0} events/s, others {others:.2} cores", round + 1));
                if name == "bare" { bare.push(run) } else { system.push(run) }
            }
        }
        let ratios: Vec<f64> = system.iter().zip(&bare).map(|(system, bare)| system.events_per_s / bare.events_per_s).collect();
        let (bare, system, ratio) = (Variant::of(bare), Variant::of(system), median(&ratios));
        let cpu_ratio = bare.all_us / system.all_us;
        rows.push(Row { per_message, events, message_bytes, bare, system, ratio, cpu_ratio });
    }
    Ok(rows)
}

/// One run, and another one as long as strangers disturb it and there are retakes left; the least disturbed of them.
async fn undisturbed(bare: bool, per_message: usize, events: u64, retakes: &mut usize) -> Outcome<Run> {
    let once = || async { if bare { run_bare(per_message, events).await } else { run_system(per_message, events).await } };
    let mut best = once().await?;
    while best.others > OTHERS_MAX && *retakes > 0 {
        *retakes -= 1;
        let again = once().await?;
        if again.others < best.others {
            best = again;
        }
    }
    Ok(best)
}

async fn publish(stand: &Stand, per_message: usize, events: u64) -> Outcome<Published> {
    let mut publisher = Role::spawn(&[publisher::ROLE, &stand.url(), &per_message.to_string(), &events.to_string()])?;
    let published = serde_json::from_str(&publisher.line().await?)?;
    publisher.end().await?;
    Ok(published)
}

async fn run_bare(per_message: usize, events: u64) -> Outcome<Run> {
    let stand = Stand::start().await?;
    let mut consumer = Role::spawn(&[bare::ROLE, &stand.url(), stand.stream(), &events.to_string()])?;
    if consumer.line().await? != bare::READY {
        return Err("the consumer is not ready".into());
    }
    let (before, busy) = (stand.usage()?, machine_busy()?);
    let published = publish(&stand, per_message, events).await?;
    let consumed: Consumed = serde_json::from_str(&consumer.line().await?)?;
    let (server, busy_s) = (stand.usage()?.since(&before), machine_busy()? - busy);
    consumer.end().await?;
    stand.stop().await;
    Ok(Run::of(&published, consumed.ended_us, consumed.usage, server, busy_s))
}

async fn run_system(per_message: usize, events: u64) -> Outcome<Run> {
    let stand = Stand::start().await?;
    let worker = stand.worker().await?;
    let (server, before, before_threads, busy) = (stand.usage()?, worker.usage()?, threads(worker.pid)?, machine_busy()?);
    let published = publish(&stand, per_message, events).await?;
    worker.taken(published.last_seq).await?;
    let ended_us = load::now_us();
    let (used, server, busy_s) = (worker.usage()?.since(&before), stand.usage()?.since(&server), machine_busy()? - busy);
    let threads_us = spent(&before_threads, &threads(worker.pid)?, published.events);
    worker.stop().await?;
    stand.stop().await;
    Ok(Run { threads_us, ..Run::of(&published, ended_us, used, server, busy_s) })
}

/// Microseconds an event (or a span) that each thread spent.
pub(crate) fn spent(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>, count: u64) -> BTreeMap<String, f64> {
    let per = |(name, seconds): (&String, &f64)| {
        let us = (seconds - before.get(name).unwrap_or(&0.0)) * 1e6 / count.max(1) as f64;
        (us >= 0.005).then(|| (name.clone(), (us * 1e3).round() / 1e3))
    };
    after.iter().filter_map(per).collect()
}
