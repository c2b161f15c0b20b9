//! `homeostat bench`: how load is made.

use super::silence::duration;
use clap::Args;
use homeostat_schemas::{EventKind, Ms};

/// `bench`
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// Kinds of events, message by message in turn
    #[arg(long, value_name = "KINDS", value_delimiter = ',', default_value = "query,request", value_parser = kind)]
    pub kinds: Vec<EventKind>,
    /// Events a second, all kinds together, due at fixed times [default: as fast as they are acknowledged]
    #[arg(long, value_name = "EVENTS", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub rate: Option<u64>,
    /// How long
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub duration: Ms,
    /// Events a message
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=500))]
    pub batch: u64,
    /// Services that the events are of: bench-0, bench-1, …
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub services: u64,
    /// Shapes a service: statements, routes, peers, series, pools, caches, models
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub shapes: u64,
    /// Messages that may wait for their acknowledgement at once
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=4_096))]
    pub in_flight: u64,
    /// Every so often a slow query never seen before, and how long until its alert is on the bus; 0s: never
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = or_never)]
    pub alert_every: Ms,
    /// Share of messages that belong to a recorded trace: what tracing costs
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub traced: f64,
    /// How long actors may take afterwards to catch up
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub settle: Ms,
}

fn kind(text: &str) -> Result<EventKind, String> {
    // An order is somebody's word, and no load.
    let kinds = || EventKind::ALL.iter().filter(|kind| **kind != EventKind::Order);
    kinds()
        .find(|kind| kind.name() == text.trim())
        .copied()
        .ok_or_else(|| format!("one of {}", kinds().map(|kind| kind.name()).collect::<Vec<_>>().join(", ")))
}

fn or_never(text: &str) -> Result<Ms, String> {
    if matches!(text.trim(), "0" | "0s") { Ok(0) } else { duration(text) }
}

fn share(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| "a share from 0 to 1".to_owned())
}
