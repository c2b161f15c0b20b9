//! What can be seen of health: the readiness of every service and of Homeostat itself, with the parts behind it.
//!
//! The parts carry what a health+json answer needs (draft-inadarei-api-health-check): status, observed value and unit, time, and
//! a word. A service is as ready as the best of its watched instances, because that is the one that can be given the work; that
//! others are worse is a warning.

use super::checks::observed;
use super::error_rate::{Requests, WINDOW_S, ratio};
use super::record::{Instance, Presence, Service};
use super::verdict::{Criticality, Level, Observed, Part, Status, Verdict};
use super::vitals::fresh;
use super::{HealthConfig, HealthCore};
use homeostat_schemas::{Ms, UnixMs};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// How many components of one service are shown, the worst first.
const COMPONENTS_MAX: usize = 200;

/// One part of a service.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Component {
    /// What it is: `heartbeat`, `uptime`, `error_rate`, `memory`, `pressure:<of what>`, `pool:<name>`,
    /// `breaker:<peer>`, `memory_limit` (it will be reached soon), `database`, or the name of a check.
    pub name: String,
    /// Whose it is, when the service has instances with names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// What it adds to the status of the service.
    pub status: Status,
    /// What it means for readiness.
    pub level: Level,
    /// Can the service not work without it?
    pub required: bool,
    /// A word of explanation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_value: Option<f64>,
    /// In which unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_unit: Option<&'static str>,
    /// When, log time.
    pub at_ms: UnixMs,
}

/// A cache's work.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct CacheView {
    /// Look-ups it answered, in its last report.
    pub hits: u64,
    /// Look-ups it could not answer, in its last report.
    pub misses: u64,
    /// Hits over look-ups in the last report; `null` without any.
    pub hit_ratio: Option<f64>,
    /// Hits over look-ups since the service is known; `null` without any.
    pub hit_ratio_total: Option<f64>,
    /// When it last reported, log time.
    pub at_ms: UnixMs,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ServiceView {
    /// Status, levels, HTTP code and reasons.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The parts behind it, the worst first, at most 200.
    pub components: Vec<Component>,
    /// How many instances send heartbeats.
    pub alive: usize,
    /// How many used to.
    pub silent: usize,
    /// When it was last heard, log time; 0 when never.
    pub last_heard_ms: UnixMs,
    /// Requests of the last minute.
    pub requests: Requests,
    /// Its caches.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub caches: BTreeMap<String, CacheView>,
}

/// How much is known, and what found no room.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Totals {
    /// Services known.
    pub services: usize,
    /// Instances known.
    pub instances: usize,
    /// Events whose sender found no room.
    pub refused: u64,
    /// Names that had to make room for others.
    pub evicted: u64,
    /// Checks, pools and caches beyond the limit.
    pub overfull: u64,
    /// Instances whose place another process took.
    pub replaced: u64,
    /// Events that were there before.
    pub duplicates: u64,
    /// Outages of our own.
    pub outages: u64,
    /// Findings open.
    pub open: usize,
    /// Findings that found no room.
    pub no_room: u64,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct HealthView {
    /// Log time of this view.
    pub at_ms: UnixMs,
    /// Homeostat itself: may it be relied on? This is what `/readyz` answers.
    pub own: ServiceView,
    /// The services it watches: what `/readyz/{service}` answers.
    pub services: BTreeMap<String, ServiceView>,
    /// Counts.
    pub totals: Totals,
}

/// A part with what is shown of it.
struct Shown {
    part: Part,
    why: Option<String>,
    value: Option<(f64, &'static str)>,
    at_ms: UnixMs,
}

impl Shown {
    fn new(name: impl Into<String>, observed: Observed, criticality: Criticality, at_ms: UnixMs) -> Shown {
        Shown { part: Part::new(name, observed, criticality), why: None, value: None, at_ms }
    }

    fn component(&self, instance: &str) -> Component {
        Component {
            name: self.part.name.clone(),
            instance: (!instance.is_empty()).then(|| instance.to_owned()),
            status: self.part.observed.status(self.part.criticality),
            level: self.part.level(),
            required: self.part.criticality != Criticality::Optional,
            why: self.why.clone(),
            observed_value: self.value.map(|(value, _)| value),
            observed_unit: self.value.map(|(_, unit)| unit),
            at_ms: self.at_ms,
        }
    }
}

impl HealthCore {
    pub(super) fn full_view(&self, now: UnixMs, config: &HealthConfig) -> HealthView {
        HealthView {
            at_ms: now,
            own: self.own_view(now, config),
            services: self
                .registry
                .services
                .iter()
                .map(|(name, service)| (name.clone(), view(service, now, self.floor_ms, config)))
                .collect(),
            totals: Totals {
                services: self.registry.services.len(),
                instances: self.registry.instances(),
                refused: self.registry.refused,
                evicted: self.registry.evicted,
                overfull: self.registry.overfull,
                replaced: self.replaced,
                duplicates: self.duplicates,
                outages: self.outages,
                open: self.incidents.len(),
                no_room: self.incidents.no_room(),
            },
        }
    }

    /// One service as it is seen at `now`; `None` when it is not known.
    #[must_use]
    pub fn service_view(&self, name: &str, now: UnixMs, config: &HealthConfig) -> Option<ServiceView> {
        self.registry.services.get(name).map(|service| view(service, now, self.floor_ms, config))
    }

    /// Homeostat itself.
    #[must_use]
    pub fn own_view(&self, now: UnixMs, config: &HealthConfig) -> ServiceView {
        let mut shown = Vec::new();
        for probe in &config.probes {
            let state = self.probes.of.get(probe);
            if state.is_some_and(|state| state.absent) {
                continue;
            }
            let observed = state.map_or(Observed::Unknown, |state| state.observed(now, config));
            let mut one = Shown::new(probe.name(), observed, Criticality::Required, state.map_or(0, |state| state.seen_ms));
            one.value = state.and_then(|state| state.took_us).map(|took| (millis(took), "ms"));
            one.why = match state {
                Some(state) if state.error.is_some() => state.error.clone(),
                Some(state) if state.seen_ms > 0 && observed == Observed::Unknown => Some("no result for too long".to_owned()),
                Some(state) if state.seen_ms > 0 => None,
                _ => Some("no result yet".to_owned()),
            };
            shown.push(one);
        }
        if self.bus_silent {
            let mut one = Shown::new("telemetry", Observed::Warn, Criticality::Optional, self.heard_ms);
            one.why = Some("every service fell silent at once".to_owned());
            shown.push(one);
        }
        let parts: Vec<Part> = shown.iter().map(|one| one.part.clone()).collect();
        ServiceView {
            verdict: Verdict::of(&parts),
            components: shown.iter().map(|one| one.component("")).collect(),
            alive: 1,
            silent: 0,
            last_heard_ms: self.ticked_ms,
            requests: Requests::default(),
            caches: BTreeMap::new(),
        }
    }
}

fn view(service: &Service, now: UnixMs, floor_ms: UnixMs, config: &HealthConfig) -> ServiceView {
    let requests = service.requests.at(now);
    let mut own = Vec::new();
    if requests.total > 0 {
        own.push(errors(requests, now, config));
    }
    let mut components: Vec<Component> = own.iter().map(|one| one.component("")).collect();
    for told in service.told.values() {
        let mut one = Shown::new(told.name.as_str(), Observed::Warn, Criticality::Optional, told.at_ms);
        one.why = Some(told.why.clone());
        components.push(one.component(&told.instance));
        own.push(one);
    }
    let mut parts: Vec<Part> = own.into_iter().map(|one| one.part).collect();

    let mut votes = Vec::new();
    for (name, instance) in &service.instances {
        let shown = instance_parts(instance, now, floor_ms, config);
        components.extend(shown.iter().map(|one| one.component(name)));
        let its: Vec<Part> = shown.into_iter().map(|one| one.part).collect();
        if instance.watched() {
            votes.push(Verdict::of(&its));
        } else {
            // Without heartbeats nothing says that it could take over work from those that fail.
            parts.extend(its);
        }
    }
    let mut verdict = Verdict::of(&parts);
    let best = votes.iter().map(|vote| vote.ready).min().unwrap_or_default();
    let worst = votes.iter().map(|vote| vote.ready).max().unwrap_or_default();
    if !votes.is_empty() {
        verdict.live = votes.iter().map(|vote| vote.live).min().unwrap_or_default();
        verdict.ready = verdict.ready.max(if best == Level::Fail { Level::Fail } else { worst.min(Level::Warn) });
        let able = votes.iter().filter(|vote| best == Level::Fail || vote.ready < Level::Fail).map(|vote| vote.status);
        verdict.status = Status::aggregate(able.chain([verdict.status]));
        for why in votes.into_iter().flat_map(|vote| vote.why) {
            if !verdict.why.contains(&why) && verdict.why.len() < COMPONENTS_MAX {
                verdict.why.push(why);
            }
        }
        verdict.http = if verdict.ready == Level::Fail { 503 } else { 200 };
    }
    // A stable sort: within a level in order of instance and part.
    components.sort_by_key(|component| std::cmp::Reverse(component.level));
    components.truncate(COMPONENTS_MAX);
    ServiceView {
        verdict,
        components,
        alive: service.instances.values().filter(|i| i.presence == Presence::Alive && i.life.is_some()).count(),
        silent: service.instances.values().filter(|i| matches!(i.presence, Presence::Silent | Presence::Parked)).count(),
        last_heard_ms: service.instances.values().filter(|i| i.life.is_some()).map(|i| i.heard_ms).max().unwrap_or(0),
        requests,
        caches: service.caches.iter().map(|(name, cache)| (name.clone(), cache_view(*cache))).collect(),
    }
}

fn errors(requests: Requests, now: UnixMs, config: &HealthConfig) -> Shown {
    let judged = requests.judge(config.error_rate, config.error_rate_min_requests);
    let mut shown = Shown::new("error_rate", judged.unwrap_or(Observed::Pass), Criticality::Required, now);
    shown.value = Some((requests.ratio(), "1"));
    shown.why = Some(match judged {
        None => format!("too few requests to say: {} in {WINDOW_S} s", requests.total),
        Some(_) => format!("{} of {} in {WINDOW_S} s", requests.errors, requests.total),
    });
    shown
}

fn instance_parts(instance: &Instance, now: UnixMs, floor_ms: UnixMs, config: &HealthConfig) -> Vec<Shown> {
    let mut shown = Vec::new();
    let patience = config.stale_ms.max(instance.interval_ms.saturating_mul(config.missed_intervals.into()));
    if instance.watched() {
        let silent_ms = now.saturating_sub(instance.heard_ms.max(floor_ms));
        let observed = match instance.presence {
            Presence::Silent => Observed::Fail,
            _ if instance.life.is_none() || silent_ms > patience => Observed::Unknown,
            Presence::Parked => Observed::Warn,
            Presence::Alive | Presence::Unwatched => Observed::Pass,
        };
        let criticality = if observed == Observed::Fail { Criticality::Live } else { Criticality::Required };
        let mut one = Shown::new("heartbeat", observed, criticality, instance.heard_ms);
        one.value = Some((seconds(now.saturating_sub(instance.heard_ms)), "s"));
        if instance.life.is_none() {
            one.why = Some("not heard yet".to_owned());
        }
        shown.push(one);
    }
    if let Some(life) = instance.life {
        let up_ms = life.up_ms.saturating_add(now.saturating_sub(instance.heard_ms));
        let started = up_ms > config.min_uptime_ms && life.good_once;
        let name = if started { "uptime" } else { "starting" };
        let mut one = Shown::new(name, if started { Observed::Pass } else { Observed::Starting }, Criticality::Required, instance.heard_ms);
        one.value = Some((seconds(up_ms), "s"));
        if !life.good_once {
            one.why = Some("no good check yet".to_owned());
        }
        shown.push(one);
    }
    for (name, check) in &instance.checks {
        let criticality = if check.required { Criticality::Required } else { Criticality::Optional };
        let mut one = Shown::new(name, observed(check, now, patience), criticality, check.seen_ms);
        one.why.clone_from(&check.detail);
        one.value = check.took_us.map(|took| (millis(took), "ms"));
        shown.push(one);
    }
    if let Some((memory, limit)) = instance.memory.as_ref().and_then(|memory| Some((memory, memory.limit?))) {
        let observed = match memory.streak.state() {
            _ if !fresh(memory.seen_ms, now, config) => Observed::Unknown,
            Some(false) => Observed::Warn,
            _ => Observed::Pass,
        };
        let mut one = Shown::new("memory", observed, Criticality::Optional, memory.seen_ms);
        one.value = Some((ratio(memory.bytes, limit), "1"));
        shown.push(one);
    }
    for (name, pressure) in &instance.pressures {
        let observed = match pressure.streak.state() {
            _ if !fresh(pressure.seen_ms, now, config) => Observed::Unknown,
            Some(false) => Observed::Warn,
            _ => Observed::Pass,
        };
        let mut one = Shown::new(format!("pressure:{name}"), observed, Criticality::Optional, pressure.seen_ms);
        one.value = Some((pressure.value, "1"));
        shown.push(one);
    }
    for (name, pool) in &instance.pools {
        let observed = match pool.streak.state() {
            _ if !fresh(pool.seen_ms, now, config) => Observed::Unknown,
            Some(false) => Observed::Warn,
            _ => Observed::Pass,
        };
        let mut one = Shown::new(format!("pool:{name}"), observed, Criticality::Optional, pool.seen_ms);
        one.value = Some((ratio(pool.used, pool.max), "1"));
        one.why = pool.waiting.filter(|&waiting| waiting > 0).map(|waiting| format!("{waiting} waiting"));
        shown.push(one);
    }
    shown
}

fn cache_view(cache: super::record::CacheUse) -> CacheView {
    let share = |hits: u64, misses: u64| match hits.saturating_add(misses) {
        0 => None,
        all => Some(ratio(hits, all)),
    };
    CacheView {
        hits: cache.hits,
        misses: cache.misses,
        hit_ratio: share(cache.hits, cache.misses),
        hit_ratio_total: share(cache.hits_total, cache.misses_total),
        at_ms: cache.seen_ms,
    }
}

#[allow(clippy::cast_precision_loss)]
fn seconds(ms: Ms) -> f64 {
    ms as f64 / 1000.0
}

#[allow(clippy::cast_precision_loss)]
fn millis(us: u64) -> f64 {
    us as f64 / 1000.0
}
