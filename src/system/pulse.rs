//! Homeostat's own sign of life: it watches itself as it watches others. Its checks say which actor has fallen or lags.

use super::told;
use crate::clock::now_ms;
use crate::roster::Slots;
use homeostat_nats::{Log, Message};
use homeostat_schemas::event::{Check, CheckStatus, Heartbeat};
use homeostat_schemas::{EventKind, Root, Subject};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The service's name.
const SERVICE: &str = "homeostat";
/// Time between two signs of life.
const INTERVAL: Duration = Duration::from_secs(30);
/// A mind so many messages behind the newest one lags.
const LAG_MAX: u64 = 1_000_000;

pub(super) async fn run(log: Log, root: Root, slots: Slots, mut stop: watch::Receiver<bool>) {
    let started = Instant::now();
    let instance = hostname();
    let mut every = tokio::time::interval(INTERVAL);
    loop {
        tokio::select! {
            () = told(&mut stop) => return,
            _ = every.tick() => {}
        }
        let conditions = slots.conditions();
        let newest = conditions.iter().map(|(_, condition)| condition.position).max().unwrap_or(0);
        // In the first moments nobody can have caught up yet.
        let settled = started.elapsed() > INTERVAL / 2;
        let checks = conditions.into_iter().map(|(actor, condition)| {
            let (status, detail) = if settled && !condition.running {
                (CheckStatus::Down, Some("not running".to_owned()))
            } else if newest - condition.position > LAG_MAX {
                (CheckStatus::Warn, Some("far behind the log".to_owned()))
            } else {
                (CheckStatus::Up, None)
            };
            Check { name: actor.to_owned(), status, required: Some(true), detail, ..Check::default() }
        });
        let heartbeat = Heartbeat {
            service: SERVICE.to_owned(),
            at_ms: now_ms(),
            instance: Some(instance.clone()),
            up_s: started.elapsed().as_secs_f64(),
            interval_s: INTERVAL.as_secs_f64(),
            checks: checks.collect(),
            ..Heartbeat::default()
        };
        let subject = root.subject(&Subject::Event(EventKind::Heartbeat, SERVICE.to_owned()));
        let body = serde_json::to_vec(&heartbeat).unwrap_or_default();
        if let Err(error) = log.append(Message::new(subject, body).with("content-type", homeostat_schemas::batch::JSON)).await {
            tracing::debug!(%error, "no sign of life could be given");
        }
    }
}

/// The machine's name: the same after a restart, so that a restart is no new instance.
fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.chars().take(64).collect() }
}
