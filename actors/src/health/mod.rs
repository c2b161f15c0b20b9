//! Health: who is alive, who is ready, and what is wrong with the rest.
//!
//! | part | from | rules |
//! |---|---|---|
//! | presence | heartbeats, ticks | `health.silent`, `health.bus_silent` |
//! | checks | heartbeats | `health.check_failed` |
//! | errors | requests | `health.error_rate` |
//! | memory | resource reports | `health.memory`, `health.oom_kill` |
//! | pressure | resource reports | `health.pressure` |
//! | pools | pool reports | `health.pool_exhausted` |
//! | what others found | alerts `breaker.open`, `leak.limit_near` | none of its own: warnings of readiness |
//! | probes | answers of the hand `probe` | `health.database`, `health.bus` |
//!
//! Whoever sends a heartbeat is enrolled and waited for from then on. A silent instance is forgotten when it is retired (an
//! `order` event with action `health.retire` and target `service` or `service/instance`; a process that stops on purpose sends
//! one), when a process of its service that started after its last heartbeat has taken its place, or when it has been silent for
//! `retire_after_ms` while another instance of its service lives. The last instance of a service is never forgotten for its
//! silence.
//!
//! Promises
//! - H-1 No collection exceeds its limit in the settings, whatever names arrive.
//! - H-2 Every known instance waits for exactly one deadline, unless the bus is silent: nobody's silence is overlooked, and a tick
//!   costs only what is due.
//! - H-3 While the bus is silent no single silence is raised; while it is not, nobody is parked.
//! - H-4 A pause between ticks raises nothing: everyone who was waited for is given his full time again.
//! - H-5 At most one probe of a kind is under way.

mod checks;
mod config;
mod error_rate;
mod presence;
mod pressure;
mod probe;
mod record;
mod registry;
mod replay;
mod streak;
mod told;
mod verdict;
mod view;
mod vitals;

pub use config::{HealthConfig, Limits, Probe};
pub use error_rate::{Requests, ratio};
pub use replay::{CaseError, replay_case};
pub use streak::Streak;
pub use verdict::{Criticality, Level, Observed, Part, Status, Verdict};
pub use view::{CacheView, Component, HealthView, ServiceView, Totals};

use crate::core::{Core, Cx, Input, Interest, clip};
use crate::incidents::{Finding, Incidents};
use homeostat_schemas::event::Order;
use homeostat_schemas::{Event, EventKind, Ms, Rule, UnixMs, rule};
use probe::Probes;
use registry::{Gone, Registry};
use serde::{Deserialize, Serialize};

/// The service that Homeostat's own findings are about.
pub const OWN: &str = "homeostat";

/// The order that retires a service or an instance.
pub const RETIRE: &str = "health.retire";

/// The rules whose findings are about an instance or a service, and end with it.
const SERVICE_RULES: [&Rule; 7] = [
    &rule::HEALTH_SILENT,
    &rule::HEALTH_CHECK_FAILED,
    &rule::HEALTH_ERROR_RATE,
    &rule::HEALTH_MEMORY,
    &rule::HEALTH_OOM_KILL,
    &rule::HEALTH_POOL_EXHAUSTED,
    &rule::HEALTH_PRESSURE,
];

/// How often what ends by itself, and what the settings expect, is looked after.
const SWEEP_MS: Ms = 1_000;

/// The mind.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct HealthCore {
    registry: Registry,
    incidents: Incidents,
    probes: Probes,
    /// Log time when anybody was last heard (or began to be expected).
    heard_ms: UnixMs,
    /// Nobody is blamed for silence before this: the end of our own last outage, or of the bus's.
    floor_ms: UnixMs,
    bus_silent: bool,
    ticked_ms: UnixMs,
    swept_ms: UnixMs,
    outages: u64,
    duplicates: u64,
    replaced: u64,
}

impl Core for HealthCore {
    const NAME: &'static str = "health";
    const STATE_VERSION: u16 = 2;
    const INTEREST: Interest = Interest {
        events: &[EventKind::Heartbeat, EventKind::Request, EventKind::Resource, EventKind::Pool, EventKind::Cache, EventKind::Order],
        alerts: true,
        ..Interest::NONE
    };
    type Config = HealthConfig;
    type View = HealthView;

    fn step(&mut self, input: Input<'_>, cx: &mut Cx<'_, HealthConfig>) {
        let gone = self.registry.limit(cx.config.limits);
        self.close(gone, "there is no longer room for it", cx);
        match input {
            Input::Event(Event::Heartbeat(event)) => self.heartbeat(event, cx),
            Input::Event(Event::Request(event)) => self.request(event, cx),
            Input::Event(Event::Resource(event)) => self.resource(event, cx),
            Input::Event(Event::Pool(event)) => self.pool(event, cx),
            Input::Event(Event::Cache(event)) => self.cache(event, cx),
            Input::Event(Event::Order(event)) => self.order(event, cx),
            Input::Answer(answer) => self.probes.answer(answer, &mut self.incidents, cx),
            Input::Alert(alert) => self.told(alert, cx),
            Input::Tick => self.tick(cx),
            // The end of a file says nothing about anyone's health.
            Input::End
            | Input::Event(
                Event::Query(_)
                | Event::Call(_)
                | Event::Calls(_)
                | Event::Breaker(_)
                | Event::Span(_)
                | Event::Sample(_)
                | Event::Metric(_),
            )
            | Input::Command(_)
            | Input::Outcome(_)
            | Input::Key(_) => {}
        }
    }

    fn broken_promise(&self, _config: &HealthConfig) -> Option<&'static str> {
        self.registry.broken_promise().or_else(|| self.presence_promise()).or_else(|| self.probes.broken_promise())
    }

    fn view(&self, now: UnixMs, config: &HealthConfig) -> HealthView {
        self.full_view(now, config)
    }

    fn incidents(&self) -> &Incidents {
        &self.incidents
    }
}

impl HealthCore {
    fn tick(&mut self, cx: &mut Cx<'_, HealthConfig>) {
        let pause = cx.now.saturating_sub(self.ticked_ms);
        if pause > cx.config.outage_ms {
            // Before the first tick nobody was watching either.
            self.outages += u64::from(self.ticked_ms > 0);
            self.floor_ms = cx.now;
            self.probes.forget_pending(cx.now);
        }
        self.ticked_ms = cx.now;
        self.probes.tick(&mut self.incidents, cx);
        self.deadlines(cx);
        if cx.now >= self.swept_ms.saturating_add(SWEEP_MS) {
            self.swept_ms = cx.now;
            self.incidents.sweep(cx);
            self.look_after_expected(cx);
            self.look_after_bus(cx);
        }
    }

    /// Retires whom a person (or a process that stops on purpose) names.
    fn order(&mut self, order: &Order, cx: &mut Cx<'_, HealthConfig>) {
        if order.action != RETIRE {
            return;
        }
        let by: String = order.by.chars().take(100).collect();
        let why = format!("retired by {by}");
        // A service's name may hold any character, so the whole target is tried first.
        if self.registry.remove_service(&order.target).is_some() {
            self.close(vec![Gone { service: order.target.clone(), instance: None }], &why, cx);
        } else if let Some((service, instance)) = order.target.rsplit_once('/')
            && self.registry.remove_instance(service, instance).is_some()
        {
            self.close(vec![Gone { service: service.to_owned(), instance: Some(instance.to_owned()) }], &why, cx);
        }
    }

    /// Ends every finding about those who are no longer known.
    fn close(&mut self, gone: Vec<Gone>, why: &str, cx: &mut Cx<'_, HealthConfig>) {
        for Gone { service, instance } in gone {
            for rule in SERVICE_RULES {
                for labels in self.incidents.open_labels(rule, &service) {
                    let of_instance = labels.get("instance").map_or("", String::as_str);
                    let hit = match &instance {
                        None => true,
                        Some(instance) => of_instance == instance && rule.labels.contains(&"instance"),
                    };
                    if hit {
                        let mut finding = Finding::new(rule, &service, why);
                        finding.labels = labels;
                        self.incidents.resolve(finding, cx);
                    }
                }
            }
        }
    }
}

/// A finding about an instance; one without a name is told by its service alone.
fn about(rule: &'static Rule, service: &str, instance: &str, summary: impl Into<String>) -> Finding {
    let finding = Finding::new(rule, service, summary);
    if instance.is_empty() { finding } else { finding.label("instance", instance) }
}

/// The instance's name as it is kept.
fn instance_name(instance: Option<&str>) -> &str {
    clip(instance.unwrap_or_default())
}

/// Is an event of this time one that was there before, delivered once more or late? `same` tells whether it says what the last one said:
/// two of one millisecond that differ are two. A sender's clock that was set back by more than a minute is believed.
fn redelivered(at_ms: UnixMs, last_ms: UnixMs, same: bool) -> bool {
    if at_ms == last_ms { same } else { at_ms < last_ms && last_ms - at_ms < 60_000 }
}

#[cfg(test)]
mod tests;
