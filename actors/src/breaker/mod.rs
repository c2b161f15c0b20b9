//! The fleet's breaker: what share of its calls to a failing peer a whole service may make.
//!
//! Every replica has a breaker of its own in the client library (`homeostat_reflexes::breaker`), which sees its own calls only.
//! This mind sees those of all replicas, so it knows sooner, is not deceived by one bad replica, and needs three probes a second
//! where fifty replicas on their own need fifty.
//!
//! | part | what |
//! |---|---|
//! | `scope` | the calls of one service to one peer: all, of an operation, from a zone; when it opens |
//! | `ramp` | how far it is open: probes, a ramp, back-off |
//! | `local` | where the replicas' own breakers stand, as they say |
//!
//! It opens when the sum of failures (CUSUM at `threshold`) reaches `failures_min` and `failures_s` seconds of traffic, from enough
//! distinct replicas; where traffic is little four fifths of `failures_min` are enough for an outage, told from what the peer fails
//! usually ([`homeostat_reflexes::breaker::usual`]). Of scopes that contain one another the widest that fails is the one that opens: a
//! zone is told apart only while the rest goes well.
//!
//! It speaks by admissions (`homeostat.v1.admission.<service>.<peer>`), at once and then with every tick until it is closed and
//! for one lease more. They bind for their lease only: without this mind, or without the bus, every replica goes on alone. In the
//! mode `observe` it raises its findings and says nothing.
//!
//! Promises
//! - BR-1 No more scopes are kept than `scopes_max`, nor replicas of one than `replicas_max` and one for the rest.
//! - BR-2 A finding `breaker.open` is open exactly while its breaker is, unless the rule is off or there is no room for it.
//! - BR-3 Shares lie between 0 and 1, and epochs only grow.
//! - BR-4 Only a breaker that is not closed, or was not a lease ago, costs anything at a tick beside a look once a second.
//! - BR-5 No more local breakers of a scope are kept than `replicas_max`; an older word about one never replaces a newer.

mod config;
mod local;
mod ramp;
mod scope;
mod view;

pub use config::{BreakerConfig, ShedMode};
pub use local::LocalBreakerView;
pub use view::BreakerView;

use crate::core::{Announcement, Core, Cx, Input, Interest, clip};
use crate::incidents::{Finding, Incidents};
use homeostat_schemas::event::{Breaker, Call, CallOutcome, Calls};
use homeostat_schemas::{Admission, AdmissionState, Event, EventKind, Mode, Ms, UnixMs, rule};
use ramp::Phase;
use scope::{Reached, Scope, Sums};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// How often what is no longer heard of is forgotten.
const SWEEP_MS: Ms = 1_000;

/// Which calls.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Key {
    service: String,
    peer: String,
    operation: Option<String>,
    zone: Option<String>,
}

/// The mind.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct BreakerCore {
    scopes: BTreeMap<Key, Scope>,
    incidents: Incidents,
    /// The last epoch given to an admission.
    epoch: u64,
    swept_ms: UnixMs,
    /// Reports for which there was no room.
    no_room: u64,
    scopes_max: usize,
    replicas_max: usize,
}

impl Core for BreakerCore {
    const NAME: &'static str = "breaker";
    const STATE_VERSION: u16 = 4;
    const INTEREST: Interest = Interest { events: &[EventKind::Call, EventKind::Calls, EventKind::Breaker], ..Interest::NONE };
    type Config = BreakerConfig;
    type View = Vec<BreakerView>;

    fn step(&mut self, input: Input<'_>, cx: &mut Cx<'_, BreakerConfig>) {
        self.limit(cx);
        match input {
            Input::Event(Event::Call(call)) => self.call(call, cx),
            Input::Event(Event::Calls(calls)) => self.calls(calls, cx),
            Input::Event(Event::Breaker(said)) => self.local(said, cx),
            Input::Tick => self.tick(cx),
            Input::Event(_) | Input::End | Input::Alert(_) | Input::Command(_) | Input::Outcome(_) | Input::Key(_) | Input::Answer(_) => {}
        }
    }

    fn broken_promise(&self, _config: &BreakerConfig) -> Option<&'static str> {
        if self.scopes.len() > self.scopes_max || self.scopes.values().any(|scope| scope.replicas() > self.replicas_max.saturating_add(1)) {
            return Some("BR-1");
        }
        if self.incidents.no_room() == 0 && self.incidents.len() > self.scopes.values().filter(|scope| scope.is_open()).count() {
            return Some("BR-2");
        }
        let fine = |scope: &Scope| {
            let (first, retries) = scope.phase.shares();
            (0.0..=1.0).contains(&first) && (0.0..=1.0).contains(&retries) && scope.epoch <= self.epoch && scope.excess >= 0.0
        };
        if !self.scopes.values().all(fine) {
            return Some("BR-3");
        }
        self.scopes.values().any(|scope| scope.locals.len() > self.replicas_max).then_some("BR-5")
    }

    fn view(&self, now: UnixMs, config: &BreakerConfig) -> Vec<BreakerView> {
        self.full_view(now, config)
    }

    fn incidents(&self) -> &Incidents {
        &self.incidents
    }
}

impl BreakerCore {
    fn call(&mut self, call: &Call, cx: &mut Cx<'_, BreakerConfig>) {
        let mut sums = Sums::default();
        match call.outcome {
            CallOutcome::Ok => sums.ok = 1,
            CallOutcome::Error | CallOutcome::Timeout => sums.failed = 1,
            CallOutcome::Shed => sums.shed = 1,
            CallOutcome::Ignored => return,
        }
        let about = (call.service.as_str(), call.peer.as_str(), call.operation.as_deref(), call.zone.as_deref());
        self.take(about, call.instance.as_deref(), sums, cx);
    }

    fn calls(&mut self, calls: &Calls, cx: &mut Cx<'_, BreakerConfig>) {
        let sums = Sums { ok: calls.ok, failed: calls.failed, shed: calls.shed, slow: calls.slow.unwrap_or(0).min(calls.ok) };
        if sums.all() > 0 {
            let about = (calls.service.as_str(), calls.peer.as_str(), calls.operation.as_deref(), calls.zone.as_deref());
            self.take(about, calls.instance.as_deref(), sums, cx);
        }
    }

    /// The breaker of a replica says where it stands.
    fn local(&mut self, said: &Breaker, cx: &mut Cx<'_, BreakerConfig>) {
        let operation = said.operation.as_deref().map(|name| clip(name).to_owned());
        let key = Key { service: said.service.clone(), peer: said.peer.clone(), operation, zone: None };
        let room = self.has_room(&key, cx.config)
            && self.scopes.entry(key).or_insert_with(|| Scope::new(cx.now)).locals.hear(said, cx.now, cx.config);
        if !room {
            self.no_room = self.no_room.saturating_add(1);
        }
    }

    /// One report, for every scope that it belongs to, the widest first.
    fn take(
        &mut self,
        (service, peer, operation, zone): (&str, &str, Option<&str>, Option<&str>),
        instance: Option<&str>,
        sums: Sums,
        cx: &mut Cx<'_, BreakerConfig>,
    ) {
        let instance = clip(instance.unwrap_or_default());
        let by_zone = zone.map(|zone| (None, Some(zone)));
        let by_operation = operation.map(|operation| (Some(operation), None));
        let by_both = operation.zip(zone).map(|(operation, zone)| (Some(operation), Some(zone)));
        // The widest first: it is the one to open when all of them fail.
        for (operation, zone) in [Some((None, None)), by_zone, by_operation, by_both].into_iter().flatten() {
            let key = Key {
                service: service.to_owned(),
                peer: peer.to_owned(),
                operation: operation.map(|name| clip(name).to_owned()),
                zone: zone.map(|name| clip(name).to_owned()),
            };
            if !self.has_room(&key, cx.config) {
                self.no_room = self.no_room.saturating_add(1);
                continue;
            }
            let scope = self.scopes.entry(key.clone()).or_insert_with(|| Scope::new(cx.now));
            let probe = scope.take(instance, sums, cx.now, cx.config);
            let demand = scope.demand(cx.now);
            if probe && scope.phase.take(sums, demand, cx.now, cx.config) {
                self.say(&key, cx);
            } else if self.may_open(&key, cx.now, cx.config) {
                self.open(&key, cx);
            }
        }
    }

    fn has_room(&self, key: &Key, config: &BreakerConfig) -> bool {
        if self.scopes.contains_key(key) {
            return true;
        }
        let first = key.widest();
        let narrow = *key != first;
        let parts = || self.scopes.range(first.clone()..).take_while(|(k, _)| k.service == key.service && k.peer == key.peer).count();
        self.scopes.len() < config.scopes_max && (!narrow || parts() <= config.parts_max)
    }

    /// A breaker that is closed may open, unless a wider one is open, or nearly all of its traffic is that of this one.
    fn may_open(&self, key: &Key, now: UnixMs, config: &BreakerConfig) -> bool {
        /// A wider scope with less traffic than this times the narrow one's is the same calls.
        const WIDER: f64 = 1.2;
        let Some(scope) = self.scopes.get(key).filter(|scope| !scope.is_open()) else { return false };
        let demand = scope.demand(now);
        key.wider().all(|wider| match self.scopes.get(&wider) {
            // While the wider one is on its way as well, it is the one to open.
            Some(wider) => !wider.is_open() && wider.demand(now) > demand * WIDER && wider.excess < wider.needed(now, config) / 2.0,
            None => true,
        })
    }

    fn open(&mut self, key: &Key, cx: &mut Cx<'_, BreakerConfig>) {
        let Some(scope) = self.scopes.get_mut(key) else { return };
        let Some(reached) = scope.reached(cx.now, cx.config) else { return };
        scope.phase = Phase::open(cx.config.shedding_of(&key.peer), scope.run, cx.now);
        let finding = opened(key, scope, reached, cx);
        self.incidents.fire(finding, cx);
        self.say(key, cx);
        // What is narrower is covered now.
        let all = self.scopes.range(key.widest()..).take_while(|(k, _)| k.service == key.service && k.peer == key.peer);
        let covered: Vec<Key> =
            all.filter(|(k, scope)| scope.is_open() && k.wider().any(|wider| wider == *key)).map(|(k, _)| k.clone()).collect();
        for narrow in covered {
            if let Some(scope) = self.scopes.get_mut(&narrow) {
                scope.phase = Phase::Closing { until_ms: cx.now.saturating_add(cx.config.lease_ms) };
            }
            self.closed(&narrow, "a wider breaker is open", cx);
            self.say(&narrow, cx);
        }
    }

    fn tick(&mut self, cx: &mut Cx<'_, BreakerConfig>) {
        let busy: Vec<Key> = self.scopes.iter().filter(|(_, scope)| scope.phase != Phase::Closed).map(|(key, _)| key.clone()).collect();
        for key in busy {
            let Some(scope) = self.scopes.get_mut(&key) else { continue };
            let was_open = scope.is_open();
            let demand = scope.demand(cx.now);
            scope.phase.tick(demand, cx.now, cx.config);
            if was_open && !scope.is_open() {
                self.closed(&key, "calls go well again", cx);
            }
            self.say(&key, cx);
        }
        if cx.now >= self.swept_ms.saturating_add(SWEEP_MS) {
            self.swept_ms = cx.now;
            self.incidents.sweep(cx);
            let config = cx.config;
            self.scopes.values_mut().for_each(|scope| scope.forget(cx.now, config));
            let quiet = |scope: &Scope| scope.locals.len() == 0 && cx.now.saturating_sub(scope.heard_ms) >= config.forget_ms;
            let gone: Vec<Key> = self.scopes.iter().filter(|(_, scope)| quiet(scope)).map(|(key, _)| key.clone()).collect();
            for key in gone {
                self.forget(&key, "nothing is heard of its calls any more", cx);
            }
        }
    }

    /// Says what holds for these calls now.
    fn say(&mut self, key: &Key, cx: &mut Cx<'_, BreakerConfig>) {
        let Some(scope) = self.scopes.get_mut(key).filter(|scope| scope.phase != Phase::Closed) else { return };
        self.epoch = self.epoch.saturating_add(1).max(cx.now);
        scope.epoch = self.epoch;
        if cx.mode(rule::BREAKER_OPEN.name) != Mode::Act {
            return;
        }
        let (fraction, retry_fraction) = scope.phase.shares();
        let said = Admission {
            service: key.service.clone(),
            peer: key.peer.clone(),
            operation: key.operation.clone(),
            zone: key.zone.clone(),
            state: scope.phase.state(),
            fraction,
            retry_fraction,
            hold_ms: scope.phase.hold_ms(cx.now),
            epoch: scope.epoch,
            lease_ms: cx.config.lease_ms,
            run_ms: cx.now.saturating_sub(scope.began_ms),
            at_ms: cx.now,
        };
        let body = serde_json::to_value(&said).unwrap_or(Value::Null);
        cx.announce(Announcement { service: key.service.clone(), peer: key.peer.clone(), body });
    }

    /// A breaker is closed, and with it all that was covered by it begins anew.
    fn closed(&mut self, key: &Key, why: &str, cx: &mut Cx<'_, BreakerConfig>) {
        let same = |k: &Key| k.service == key.service && k.peer == key.peer;
        let all = self.scopes.range_mut(key.widest()..).take_while(|(k, _)| same(k));
        all.filter(|(k, _)| *k == key || k.wider().any(|wider| wider == *key)).for_each(|(_, scope)| scope.calm());
        self.incidents.resolve(about(key, why), cx);
    }

    fn forget(&mut self, key: &Key, why: &str, cx: &mut Cx<'_, BreakerConfig>) {
        if self.scopes.remove(key).is_some() {
            self.incidents.resolve(about(key, why), cx);
        }
    }

    /// Brings what is kept under the limits in force.
    fn limit(&mut self, cx: &mut Cx<'_, BreakerConfig>) {
        if (self.scopes_max, self.replicas_max) != (cx.config.scopes_max, cx.config.replicas_max) {
            (self.scopes_max, self.replicas_max) = (cx.config.scopes_max, cx.config.replicas_max);
            self.scopes.values_mut().for_each(|scope| scope.limit(cx.config));
            while self.scopes.len() > self.scopes_max {
                let Some(last) = self.scopes.keys().next_back().cloned() else { break };
                self.forget(&last, "there is no longer room for it", cx);
            }
        }
    }
}

impl Key {
    /// All calls to the peer.
    fn widest(&self) -> Key {
        Key { operation: None, zone: None, ..self.clone() }
    }

    /// The scopes that contain this one.
    fn wider(&self) -> impl Iterator<Item = Key> {
        let without = |operation: bool, zone: bool| Key {
            service: self.service.clone(),
            peer: self.peer.clone(),
            operation: self.operation.clone().filter(|_| !operation),
            zone: self.zone.clone().filter(|_| !zone),
        };
        let own = self.clone();
        [without(true, true), without(true, false), without(false, true)].into_iter().filter(move |wider| *wider != own)
    }

    /// In words.
    fn name(&self) -> String {
        let operation = self.operation.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
        let zone = self.zone.as_ref().map(|name| format!(" from zone {name}")).unwrap_or_default();
        format!("{}{operation}{zone}", self.peer)
    }
}

/// The finding about a breaker.
fn about(key: &Key, summary: impl Into<String>) -> Finding {
    let mut finding = Finding::new(&rule::BREAKER_OPEN, &key.service, summary).label("peer", key.peer.clone());
    for (name, value) in [("operation", &key.operation), ("zone", &key.zone)] {
        if let Some(value) = value {
            finding = finding.label(name, value.clone());
        }
    }
    finding
}

fn opened(key: &Key, scope: &Scope, reached: Reached, cx: &Cx<'_, BreakerConfig>) -> Finding {
    let run = scope.run;
    let mode = cx.config.shedding_of(&key.peer);
    let what = match (scope.phase.state(), mode) {
        (_, ShedMode::ShedRetries) => "no repetitions",
        (AdmissionState::Open, _) => "probes only",
        _ => "a share only",
    };
    let mut finding = about(
        key,
        format!("calls to {} fail on {} of {} replicas: {what}", key.name(), reached.replicas, scope.replicas().max(reached.replicas)),
    );
    finding.since_ms = Some(scope.began_ms);
    finding
        .evidence("failed", run.failed)
        .evidence("ok", run.ok)
        .evidence("excess", scope.excess)
        .evidence("needed", reached.needed)
        .evidence("replicas_failing", reached.replicas)
        .evidence("replicas_needed", reached.replicas_needed)
        .evidence("replicas", scope.replicas())
        .evidence("demand_per_s", scope.demand(cx.now))
        .evidence("fraction", scope.phase.shares().0)
}

#[cfg(test)]
mod tests;
