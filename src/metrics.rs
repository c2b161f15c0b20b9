//! How Homeostat itself is measured. Names follow OpenTelemetry and Prometheus; labels are bounded: an actor, a kind of event, a
//! route template, never a service, a statement, a key or an id. Latencies carry exemplars: the id of a recorded trace, for each bucket the
//! last one.
//!
//! Every metric is registered with all that [docs/metrics.md](../docs/metrics.md) says about it, so that the page is made of what is there.

mod labels;
mod objects;
mod process;
mod registrar;
mod shown;
mod store;
#[cfg(test)]
mod tests;
mod zero;

pub use labels::{
    ActorLabel, AlertLabels, BreakerLabel, CalloutLabel, CureLabel, DeliveryLabels, FindingLabels, HttpLabels, IntakeLabels, KeyLabel,
    KindLabel, TraceLabel,
};
pub use objects::Objects;
pub use process::Process;
pub use registrar::{Described, PAGE, Written, page, read};
pub use store::Room;

use crate::feed::Chunk;
use crate::keys::verify::Verifier;
use homeostat_actors::core::{Effect, Output, Topics};
use homeostat_schemas::{Content, Event, EventKind};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Unit;
use registrar::Registrar;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

/// Everything that is counted.
pub struct Metrics {
    registry: Mutex<Registrar>,
    /// This process, and its traffic with the bus.
    pub process: Process,
    /// Messages read from the log.
    pub messages: Counter,
    /// Good events, by kind.
    pub events: Family<KindLabel, Counter>,
    /// Changes of local breakers, by where they went.
    pub breaker_changes: Family<BreakerLabel, Counter>,
    /// Messages or events set aside.
    pub dead: Counter,
    /// How often retention removed telemetry before it was read.
    pub overtaken: Counter,
    /// Alerts published.
    pub alerts: Family<AlertLabels, Counter>,
    /// Commands published.
    pub commands: Counter,
    /// What became of cures, as the recovery actor judged.
    pub cures: Family<CureLabel, Counter>,
    /// Findings open, by rule and severity, as the status actor sees them.
    pub findings: Family<FindingLabels, Gauge>,
    /// Open findings that are silenced.
    pub silenced: Gauge,
    /// Open findings that somebody looks after.
    pub acknowledged: Gauge,
    /// Silences in force.
    pub silences: Gauge,
    /// Alerts sent to Alertmanager and webhooks, and attempts that failed.
    pub deliveries: Family<DeliveryLabels, Counter>,
    /// Asks answered by a hand.
    pub answers: Counter,
    /// How far each actor is.
    pub position: Family<ActorLabel, Gauge>,
    /// How many messages each actor has yet to take.
    pub lag: Family<ActorLabel, Gauge>,
    /// Restarts of each actor.
    pub restarts: Family<ActorLabel, Counter>,
    /// Position of each actor's last checkpoint.
    pub checkpoint: Family<ActorLabel, Gauge>,
    /// Unix time of each actor's last checkpoint, seconds.
    pub checkpoint_at: Family<ActorLabel, Gauge>,
    /// Size of each actor's last checkpoint.
    pub checkpoint_bytes: Family<ActorLabel, Gauge>,
    /// Findings open.
    pub open: Family<ActorLabel, Gauge>,
    /// Promises found broken at a checkpoint.
    pub broken_promises: Family<ActorLabel, Counter>,
    /// How often an actor was refused because somebody else owned it.
    pub fenced: Family<ActorLabel, Counter>,
    /// Messages set aside because a mind failed on them twice.
    pub poison: Family<ActorLabel, Counter>,
    /// How long a batch took from being read to its outputs being stored.
    pub cycle_seconds: Family<ActorLabel, HistogramWithExemplars<TraceLabel>>,
    /// Whether this process carries the actors (1) or stands by (0).
    pub active: Gauge,
    /// HTTP requests served: their number and time.
    pub http_seconds: Family<HttpLabels, HistogramWithExemplars<TraceLabel>>,
    /// What came in over HTTP, by what became of it.
    pub intake: Family<IntakeLabels, Counter>,
    /// API keys that were shown, by what became of them.
    pub keys: Family<KeyLabel, Counter>,
    /// Runs of argon2.
    pub argon2: Counter,
    /// Questions of nats-server about log-ins, by what became of them.
    pub callouts: Family<CalloutLabel, Counter>,
    /// Connections to the bus that were closed because their API keys had ended.
    pub callouts_closed: Counter,
    /// How full the disk and the streams are.
    pub room: Room,
}

fn buckets() -> impl Iterator<Item = f64> {
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0].into_iter()
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registrar::default();
        let metrics = Metrics {
            messages: Counter::default(),
            events: Family::default(),
            breaker_changes: Family::default(),
            dead: Counter::default(),
            overtaken: Counter::default(),
            alerts: Family::default(),
            commands: Counter::default(),
            cures: Family::default(),
            findings: Family::default(),
            silenced: Gauge::default(),
            acknowledged: Gauge::default(),
            silences: Gauge::default(),
            deliveries: Family::default(),
            answers: Counter::default(),
            position: Family::default(),
            lag: Family::default(),
            restarts: Family::default(),
            checkpoint: Family::default(),
            checkpoint_at: Family::default(),
            checkpoint_bytes: Family::default(),
            open: Family::default(),
            broken_promises: Family::default(),
            fenced: Family::default(),
            poison: Family::default(),
            cycle_seconds: Family::new_with_constructor(|| HistogramWithExemplars::new(buckets())),
            active: Gauge::default(),
            http_seconds: Family::new_with_constructor(|| HistogramWithExemplars::new(buckets())),
            intake: Family::default(),
            keys: Family::default(),
            argon2: Counter::default(),
            callouts: Family::default(),
            callouts_closed: Counter::default(),
            process: Process::register(&mut registry),
            room: Room::default(),
            registry: Mutex::default(),
        };
        let r = &mut registry;
        r.add("homeostat_log_messages", None, &[], "Messages read from the log", metrics.messages.clone());
        r.add("homeostat_events", None, &["kind"], "Good events read from the log", metrics.events.clone());
        r.add(
            "homeostat_breaker_changes",
            None,
            &["to"],
            "Changes of state that local breakers reported, by the state they went to",
            metrics.breaker_changes.clone(),
        );
        r.add("homeostat_dead", None, &[], "Messages and events that could not be processed and were set aside", metrics.dead.clone());
        r.add(
            "homeostat_log_overtaken",
            None,
            &[],
            "How often retention removed messages before they were read",
            metrics.overtaken.clone(),
        );
        r.add("homeostat_alerts", None, &["rule", "severity", "state"], "Alerts published", metrics.alerts.clone());
        r.add("homeostat_commands", None, &[], "Commands published", metrics.commands.clone());
        r.add(
            "homeostat_recovery_outcomes",
            None,
            &["outcome"],
            "What became of cures: verified, ineffective or escalated",
            metrics.cures.clone(),
        );
        r.add("homeostat_findings_open", None, &["rule", "severity"], "Findings open, by rule and severity", metrics.findings.clone());
        r.add(
            "homeostat_findings_silenced",
            None,
            &[],
            "Open findings that nobody is told of, because somebody silenced them",
            metrics.silenced.clone(),
        );
        r.add("homeostat_findings_acknowledged", None, &[], "Open findings that somebody looks after", metrics.acknowledged.clone());
        r.add("homeostat_silences_active", None, &[], "Silences in force", metrics.silences.clone());
        r.add(
            "homeostat_deliveries",
            None,
            &["receiver", "result"],
            "Alerts taken by receivers beside the bus (by Alertmanager again with each resend, by each member of its cluster), attempts that failed, and alerts withheld because they are silenced or it is too early for a second line",
            metrics.deliveries.clone(),
        );
        r.add("homeostat_answers", None, &[], "Asks that a hand answered", metrics.answers.clone());
        r.add("homeostat_actor_position", None, &["actor"], "Position of the last message the actor took", metrics.position.clone());
        r.add("homeostat_actor_lag_messages", None, &["actor"], "Messages read that the actor has yet to take", metrics.lag.clone());
        r.add("homeostat_actor_restarts", None, &["actor"], "Restarts of the actor", metrics.restarts.clone());
        r.add(
            "homeostat_actor_checkpoint_position",
            None,
            &["actor"],
            "Position of the actor's last checkpoint",
            metrics.checkpoint.clone(),
        );
        r.add(
            "homeostat_actor_checkpoint_timestamp",
            Some(Unit::Seconds),
            &["actor"],
            "Unix time of the actor's last checkpoint; before the first one, of when it began to work here",
            metrics.checkpoint_at.clone(),
        );
        r.add(
            "homeostat_actor_checkpoint_size",
            Some(Unit::Bytes),
            &["actor"],
            "Size of the actor's last checkpoint",
            metrics.checkpoint_bytes.clone(),
        );
        r.add("homeostat_actor_open_findings", None, &["actor"], "Findings that the actor has open", metrics.open.clone());
        r.add(
            "homeostat_actor_broken_promises",
            None,
            &["actor"],
            "Promises of the actor that did not hold at a checkpoint: a fault in the program, report it",
            metrics.broken_promises.clone(),
        );
        r.add(
            "homeostat_actor_fenced",
            None,
            &["actor"],
            "How often the actor was refused because another process owned it",
            metrics.fenced.clone(),
        );
        r.add(
            "homeostat_actor_poison",
            None,
            &["actor"],
            "Messages set aside because the actor failed on them again and again",
            metrics.poison.clone(),
        );
        r.add(
            "homeostat_actor_cycle",
            Some(Unit::Seconds),
            &["actor"],
            "Time from a batch being read to its outputs being stored",
            metrics.cycle_seconds.clone(),
        );
        r.add("homeostat_active", None, &[], "Whether this process carries the actors (1) or stands by (0)", metrics.active.clone());
        r.add(
            "http_server_request_duration",
            Some(Unit::Seconds),
            &["http_request_method", "http_route", "http_response_status_code"],
            "Duration of HTTP server requests",
            metrics.http_seconds.clone(),
        );
        r.add(
            "homeostat_intake",
            None,
            &["intake", "result"],
            "Spans and events that came in over HTTP: accepted, rejected, unavailable",
            metrics.intake.clone(),
        );
        r.add(
            "homeostat_key_verifications",
            None,
            &["result"],
            "API keys that were shown here: hot (remembered) and cold (after argon2) are accepted; malformed, forged, unknown, ended, wrong \
             and busy are not",
            metrics.keys.clone(),
        );
        r.add(
            "homeostat_key_argon2_runs",
            None,
            &[],
            "Runs of argon2: for each new secret, and for shown ones that are not remembered",
            metrics.argon2.clone(),
        );
        r.add(
            "homeostat_callouts",
            None,
            &["result"],
            "Log-ins at the bus that nats-server asked about: admitted, refused, busy, forged",
            metrics.callouts.clone(),
        );
        r.add(
            "homeostat_callout_connections_closed",
            None,
            &[],
            "Connections to the bus that the comparison with the API keys closed",
            metrics.callouts_closed.clone(),
        );
        metrics.room.register(r);
        metrics.begin();
        Metrics { registry: Mutex::new(registry), ..metrics }
    }
}

impl Metrics {
    /// The text that Prometheus scrapes (OpenMetrics 1.0).
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::with_capacity(16 * 1024);
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        match encode(&mut text, registry.registry()) {
            Ok(()) => text,
            // Writing into a String cannot fail; a metric that cannot encode itself is left out with the rest.
            Err(_) => "# EOF\n".to_owned(),
        }
    }

    /// What is registered, in the order in which it is written.
    #[must_use]
    pub fn described(&self) -> Vec<Described> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner).described().to_vec()
    }

    /// Counts what was read.
    pub fn count(&self, chunk: &Chunk) {
        self.messages.inc_by(chunk.len() as u64);
        for kind in EventKind::ALL.iter().copied().filter(|kind| chunk.topics().meets(Topics::event(*kind))) {
            let count = chunk.messages().filter(|(_, topics)| topics.meets(Topics::event(kind)));
            let good = count
                .map(|(delivery, _)| if let Content::Events(events) = &delivery.content { events.iter().flatten().count() } else { 0 });
            self.events.get_or_create(&KindLabel { kind: kind.name() }).inc_by(good.sum::<usize>() as u64);
        }
        for (delivery, _) in chunk.messages().filter(|(_, topics)| topics.meets(Topics::event(EventKind::Breaker))) {
            let Content::Events(events) = &delivery.content else { continue };
            // One that only says again where it stands has not changed.
            let changed = events.iter().flatten().filter_map(|event| match event {
                Event::Breaker(said) if said.from.is_some() => Some(said.state.name()),
                _ => None,
            });
            changed.for_each(|to| {
                self.breaker_changes.get_or_create(&BreakerLabel { to }).inc();
            });
        }
    }

    /// Counts what was published.
    pub fn count_output(&self, output: &Output) {
        match &output.effect {
            Effect::Alert(alert) => {
                let labels = AlertLabels { rule: alert.rule.clone(), severity: alert.severity.to_string(), state: alert.state.to_string() };
                self.alerts.get_or_create(&labels).inc();
                if let Some((outcome, ..)) = alert.verdict() {
                    self.cures.get_or_create(&CureLabel { outcome }).inc();
                }
            }
            Effect::Command(_) => {
                self.commands.inc();
            }
            Effect::Ask(_) | Effect::Announce(_) => {}
        }
    }

    /// Counts alerts that a receiver took.
    pub fn delivered(&self, receiver: &'static str, alerts: usize) {
        self.deliveries.get_or_create(&DeliveryLabels { receiver, result: "delivered" }).inc_by(alerts as u64);
    }

    /// Counts an attempt that failed.
    pub fn undelivered(&self, receiver: &'static str) {
        self.deliveries.get_or_create(&DeliveryLabels { receiver, result: "failed" }).inc();
    }

    /// Counts an alert that a webhook was not told because it is silenced, or not yet because of its `after_s`.
    pub fn withheld(&self) {
        self.deliveries.get_or_create(&DeliveryLabels { receiver: "webhook", result: "withheld" }).inc();
    }

    /// Counts a question about a log-in at the bus.
    pub fn asked(&self, result: &'static str) {
        self.callouts.get_or_create(&CalloutLabel { result }).inc();
    }

    /// Counts connections that were closed because their API keys had ended.
    pub fn closed(&self, connections: usize) {
        self.callouts_closed.inc_by(connections as u64);
    }

    /// Shows what became of the API keys that were shown. Both only grow, and are counted where keys are judged.
    pub fn show_keys(&self, verifier: &Verifier) {
        for (result, count) in verifier.counts().each() {
            self.keys.get_or_create(&KeyLabel { result }).inner().store(count, Ordering::Relaxed);
        }
        self.argon2.inner().store(verifier.argon2_runs(), Ordering::Relaxed);
    }
}
