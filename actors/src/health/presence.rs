//! Who is there: heartbeats, silence, replacement, and the bus that is silent as a whole.
//!
//! A publisher is missing when it has said nothing for `missed_intervals` of the interval it announced itself, plus a short grace.
//! Its deadline stands in an ordered queue and is only looked at when it comes: a heartbeat moves nothing but a number.
//!
//! The bus is silent, and not the services, when there is one moment before which every enrolled service was heard in time and
//! after which none was: with `due` = last heartbeat + 1.5 intervals, every service that was not silent before has
//! `last heartbeat of anyone ≤ due < now`, and they are at least two. Those that fell silent before that moment did so on their own.

use super::record::{Class, Instance, Life, Presence, Service};
use super::registry::Gone;
use super::{HealthConfig, HealthCore, OWN, about, instance_name, redelivered};
use crate::core::Cx;
use crate::incidents::Finding;
use homeostat_schemas::event::Heartbeat;
use homeostat_schemas::{Mode, Ms, Severity, UnixMs, rule};

/// Bounds of an announced interval: more often than 10 a second nobody is waited for, and more rarely than every seven days no
/// event may announce itself.
const INTERVAL: std::ops::RangeInclusive<Ms> = 100..=604_800_000;

/// The interval of a service that is expected and has not yet said its own.
const EXPECTED_INTERVAL_MS: Ms = 30_000;

/// Two heartbeats whose process started within this time of each other tell of the same life: uptimes may be whole seconds.
const SAME_LIFE_MS: Ms = 1_500;

/// Seconds to milliseconds, saturating.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // `as` saturates, and the event's check keeps NaN out
fn ms(seconds: f64) -> Ms {
    (seconds * 1000.0).round() as Ms
}

impl Instance {
    /// Is a heartbeat waited for, or was one?
    pub(super) fn watched(&self) -> bool {
        self.presence != Presence::Unwatched
    }

    /// Since when its silence counts.
    fn silent_since(&self, floor_ms: UnixMs) -> UnixMs {
        if self.presence == Presence::Silent { self.heard_ms } else { self.heard_ms.max(floor_ms) }
    }

    fn deadline(&self, floor_ms: UnixMs, config: &HealthConfig) -> UnixMs {
        let patience = self.interval_ms.saturating_mul(config.missed_intervals.max(1).into());
        self.heard_ms.max(floor_ms).saturating_add(patience).saturating_add(config.silence_grace_ms)
    }
}

impl Service {
    fn alive(&self) -> usize {
        self.instances.values().filter(|i| i.presence == Presence::Alive).count()
    }
}

impl HealthCore {
    pub(super) fn heartbeat(&mut self, beat: &Heartbeat, cx: &mut Cx<'_, HealthConfig>) {
        let config = cx.config;
        if self.bus_silent {
            self.bus_is_back(cx);
        }
        let name = instance_name(beat.instance.as_deref());
        let mut gone = Vec::new();
        let instance = self.registry.instance(&beat.service, name, Class::Enrolled, cx.now, config.retire_after_ms, &mut gone);
        let Some(instance) = instance else {
            return self.close(gone, "its place was needed", cx);
        };
        let up_ms = ms(beat.up_s);
        let started_ms = beat.at_ms.saturating_sub(up_ms);
        let same_life = instance.life.filter(|life| life.started_ms.abs_diff(started_ms) <= SAME_LIFE_MS);
        if same_life.is_some_and(|life| redelivered(beat.at_ms, life.event_ms, true)) {
            self.duplicates += 1;
            return self.close(gone, "its place was needed", cx);
        }
        let before = instance.presence;
        let silent_ms = cx.now.saturating_sub(instance.heard_ms);
        instance.presence = Presence::Alive;
        instance.heard_ms = cx.now;
        instance.interval_ms = ms(beat.interval_s).clamp(*INTERVAL.start(), *INTERVAL.end());
        let life = same_life.unwrap_or(Life { began_ms: cx.now.saturating_sub(up_ms), ..Life::default() });
        let good = beat.checks.iter().all(|check| !super::checks::required(check) || super::checks::good(check.status));
        instance.life = Some(Life { event_ms: beat.at_ms, started_ms, up_ms, good_once: life.good_once || good, ..life });
        let (due_ms, deadline) = (instance.due_ms, instance.deadline(self.floor_ms, config));
        // Later is found out when the old deadline comes; only earlier must be said now.
        if due_ms.is_none_or(|due| due > deadline) {
            self.registry.set_due(&beat.service, Some(name), Some(deadline));
        }
        self.heard_ms = cx.now;
        self.close(gone, "its place was needed", cx);
        if before == Presence::Silent {
            let finding = about(&rule::HEALTH_SILENT, &beat.service, name, format!("heard again after {} s", silent_ms / 1000));
            self.incidents.resolve(finding.evidence("silent_ms", silent_ms), cx);
        }
        if before == Presence::Unwatched {
            self.take_place(&beat.service, name, cx);
        }
        self.checks(beat, name, cx);
        self.forget_vitals(&beat.service, name, cx);
    }

    /// A newcomer takes the place of a silent instance of its service that was last heard before the newcomer's process began, and
    /// of the one that was only expected.
    fn take_place(&mut self, service: &str, newcomer: &str, cx: &mut Cx<'_, HealthConfig>) {
        let Some(s) = self.registry.services.get_mut(service) else { return };
        let only_expected = s.instances.get("").is_some_and(|i| i.watched() && i.life.is_none());
        if only_expected && !newcomer.is_empty() {
            self.registry.remove_instance(service, "");
            let gone = Gone { service: service.to_owned(), instance: Some(String::new()) };
            return self.close(vec![gone], &format!("{newcomer} is heard"), cx);
        }
        let Some(life) = s.instances.get(newcomer).and_then(|i| i.life) else { return };
        let silent = s.instances.iter().find(|(_, i)| i.presence == Presence::Silent && i.life.is_some() && i.heard_ms < life.began_ms);
        if let Some(left) = silent.map(|(name, _)| name.clone()) {
            self.replace(service, left, newcomer, cx);
        }
    }

    fn replace(&mut self, service: &str, left: String, newcomer: &str, cx: &mut Cx<'_, HealthConfig>) {
        let heir = self.registry.services.get_mut(service).and_then(|s| s.instances.get_mut(newcomer));
        if let Some(life) = heir.and_then(|i| i.life.as_mut()) {
            life.replaces = true;
        }
        self.registry.remove_instance(service, &left);
        self.replaced += 1;
        self.close(vec![Gone { service: service.to_owned(), instance: Some(left) }], &format!("replaced by {newcomer}"), cx);
    }

    /// Everyone whose deadline has come.
    pub(super) fn deadlines(&mut self, cx: &mut Cx<'_, HealthConfig>) {
        let mut bus_judged = false;
        while let Some((service, instance)) = self.registry.pop_due(cx.now) {
            let Some(name) = instance else {
                self.recheck_errors(&service, cx);
                continue;
            };
            let Some(i) = self.registry.services.get(&service).and_then(|s| s.instances.get(&name)) else { continue };
            let next = match i.presence {
                Presence::Unwatched => self.look_after_unwatched(&service, &name, cx),
                Presence::Silent => self.look_after_silent(&service, &name, cx),
                Presence::Parked => None,
                Presence::Alive => {
                    let deadline = i.deadline(self.floor_ms, cx.config);
                    if deadline > cx.now {
                        Some(deadline)
                    } else {
                        if !self.bus_silent && !bus_judged {
                            bus_judged = true;
                            self.judge_bus(cx);
                        }
                        self.missing(&service, &name, cx)
                    }
                }
            };
            self.registry.set_due(&service, Some(&name), next);
        }
    }

    /// An instance that was alive has missed its deadline: parked, replaced, or silent. Gives its next deadline.
    fn missing(&mut self, service: &str, name: &str, cx: &mut Cx<'_, HealthConfig>) -> Option<UnixMs> {
        let s = self.registry.services.get_mut(service)?;
        let i = s.instances.get_mut(name)?;
        if self.bus_silent {
            i.presence = Presence::Parked;
            return None;
        }
        i.presence = Presence::Silent;
        let (heard_ms, spoke) = (i.heard_ms, i.life.is_some());
        let heir = s.instances.iter().find(|(_, other)| {
            other.presence == Presence::Alive && other.life.is_some_and(|life| !life.replaces && life.began_ms > heard_ms)
        });
        if let Some(heir) = heir.map(|(heir, _)| heir.clone()).filter(|_| spoke) {
            self.replace(service, name.to_owned(), &heir, cx);
            return None;
        }
        self.raise_silent(service, name, cx);
        Some(cx.now.saturating_add(cx.config.retire_after_ms.max(1_000)))
    }

    fn raise_silent(&mut self, service: &str, name: &str, cx: &mut Cx<'_, HealthConfig>) {
        let Some((s, i)) = self.registry.services.get(service).and_then(|s| Some((s, s.instances.get(name)?))) else { return };
        let silent_ms = cx.now.saturating_sub(i.heard_ms);
        let missed = silent_ms / i.interval_ms.max(1);
        let alive = s.alive();
        let summary = match i.life {
            Some(_) => format!("silent for {missed} intervals of {} s", seconds(i.interval_ms)),
            None => format!("expected, but not heard for {} s", silent_ms / 1000),
        };
        let mut finding = about(&rule::HEALTH_SILENT, service, name, summary)
            .evidence("interval_s", seconds(i.interval_ms))
            .evidence("missed", missed)
            .evidence("alive", alive);
        if i.life.is_some() {
            finding = finding.evidence("last_seen_ms", i.heard_ms);
        }
        finding.since_ms = Some(i.heard_ms);
        // One of several is a loss of capacity, the last one is an outage.
        finding.severity = (alive > 0).then_some(Severity::Warning);
        self.incidents.fire(finding, cx);
    }

    /// A silent instance is retired when others of its service live; the last one is never forgotten.
    fn look_after_silent(&mut self, service: &str, name: &str, cx: &mut Cx<'_, HealthConfig>) -> Option<UnixMs> {
        let s = self.registry.services.get(service)?;
        let long = cx.now.saturating_sub(s.instances.get(name)?.silent_since(self.floor_ms)) >= cx.config.retire_after_ms;
        if long && s.alive() > 0 {
            self.registry.remove_instance(service, name);
            let why = format!("retired: silent for {} min while others of its service live", cx.config.retire_after_ms / 60_000);
            self.close(vec![Gone { service: service.to_owned(), instance: Some(name.to_owned()) }], &why, cx);
            return None;
        }
        // It may have found no room before, or its rule may have been off.
        let labels = about(&rule::HEALTH_SILENT, service, name, "").labels;
        if !self.incidents.is_open(&rule::HEALTH_SILENT, service, &labels) {
            if self.floor_ms == cx.now {
                return Some(cx.now.saturating_add(1_000));
            }
            self.raise_silent(service, name, cx);
        }
        Some(cx.now.saturating_add(cx.config.retire_after_ms.max(1_000)))
    }

    fn look_after_unwatched(&mut self, service: &str, name: &str, cx: &mut Cx<'_, HealthConfig>) -> Option<UnixMs> {
        let i = self.registry.services.get(service)?.instances.get(name)?;
        let until = i.seen_ms.max(self.floor_ms).saturating_add(cx.config.retire_after_ms);
        if until > cx.now {
            return Some(until);
        }
        self.registry.remove_instance(service, name);
        self.close(vec![Gone { service: service.to_owned(), instance: Some(name.to_owned()) }], "it no longer reports", cx);
        None
    }

    /// Is it the bus that is silent? If so, raises that, and takes back the single alerts that were part of it.
    fn judge_bus(&mut self, cx: &mut Cx<'_, HealthConfig>) {
        if cx.mode(rule::HEALTH_BUS_SILENT.name) == Mode::Off {
            return;
        }
        let Some((services, last_ms)) = self.silent_together(cx.now, cx.config) else { return };
        let summary = format!("{services} services fell silent together {} s ago", cx.now.saturating_sub(last_ms) / 1000);
        let mut finding =
            Finding::new(&rule::HEALTH_BUS_SILENT, OWN, summary).evidence("services", services).evidence("last_seen_ms", self.heard_ms);
        finding.since_ms = Some(last_ms);
        self.bus_silent = self.incidents.fire(finding, cx);
        if !self.bus_silent {
            return;
        }
        let mut part = Vec::new();
        for (service, s) in &mut self.registry.services {
            for (name, i) in &mut s.instances {
                if i.presence == Presence::Silent && due(i, self.floor_ms) >= last_ms {
                    i.presence = Presence::Parked;
                    part.push((service.clone(), name.clone()));
                }
            }
        }
        for (service, name) in part {
            self.registry.set_due(&service, Some(&name), None);
            let finding = about(&rule::HEALTH_SILENT, &service, &name, "part of the silence of the whole bus");
            self.incidents.resolve(finding, cx);
        }
    }

    /// How many services fell silent together, and when the last of them was heard; `None` when they did not.
    fn silent_together(&self, now: UnixMs, config: &HealthConfig) -> Option<(usize, UnixMs)> {
        let last_ms = self.heard_ms.max(self.floor_ms);
        let mut together = 0;
        for service in self.registry.services.values() {
            let frequent = |i: &&Instance| i.watched() && i.interval_ms <= config.bus_interval_max_ms;
            let Some(due_ms) = service.instances.values().filter(frequent).map(|i| due(i, self.floor_ms)).max() else { continue };
            if due_ms >= now {
                return None;
            }
            together += usize::from(due_ms >= last_ms);
        }
        (together >= 2).then_some((together, last_ms))
    }

    /// Somebody is heard again: everyone else is waited for anew, so that those who did not survive are found.
    fn bus_is_back(&mut self, cx: &mut Cx<'_, HealthConfig>) {
        self.bus_silent = false;
        let silent_ms = cx.now.saturating_sub(self.heard_ms);
        self.floor_ms = cx.now;
        let mut waiting = Vec::new();
        for (service, s) in &mut self.registry.services {
            for (name, i) in &mut s.instances {
                if i.presence == Presence::Parked {
                    i.presence = Presence::Alive;
                    waiting.push((service.clone(), name.clone(), i.deadline(self.floor_ms, cx.config)));
                }
            }
        }
        for (service, name, deadline) in waiting {
            self.registry.set_due(&service, Some(&name), Some(deadline));
        }
        let finding = Finding::new(&rule::HEALTH_BUS_SILENT, OWN, format!("heard again after {} s", silent_ms / 1000));
        self.incidents.resolve(finding, cx);
    }

    /// The bus is no longer judged when its rule is off, or there is nobody left to judge it by.
    pub(super) fn look_after_bus(&mut self, cx: &mut Cx<'_, HealthConfig>) {
        if self.bus_silent && (cx.mode(rule::HEALTH_BUS_SILENT.name) == Mode::Off || !self.registry.several_enrolled()) {
            self.bus_is_back(cx);
        }
    }

    /// Enrols whom the settings expect, and lets go of whom they no longer do.
    pub(super) fn look_after_expected(&mut self, cx: &mut Cx<'_, HealthConfig>) {
        let config = cx.config;
        let room = config.limits.services;
        for service in config.expected.iter().take(room).filter(|name| (1..=homeostat_schemas::event::SERVICE_MAX).contains(&name.len())) {
            let known = self.registry.services.get(service);
            let watched = known.is_some_and(|s| s.instances.values().any(Instance::watched));
            if watched && known.is_some_and(|s| s.rank.0 == Class::Expected) {
                continue;
            }
            let mut gone = Vec::new();
            self.registry.service(service, Class::Expected, cx.now, config.retire_after_ms, &mut gone);
            if !watched && let Some(i) = self.registry.instance(service, "", Class::Expected, cx.now, config.retire_after_ms, &mut gone) {
                i.presence = Presence::Alive;
                i.heard_ms = cx.now;
                i.interval_ms = EXPECTED_INTERVAL_MS;
                let deadline = i.deadline(self.floor_ms, config);
                self.registry.set_due(service, Some(""), Some(deadline));
                self.heard_ms = cx.now;
            }
            self.close(gone, "its place was needed", cx);
        }
        let dropped: Vec<String> =
            self.registry.expected().filter(|name| !config.expected.iter().any(|e| e == name)).map(str::to_owned).collect();
        for service in dropped {
            self.registry.declass(&service);
            let never_spoke = |i: &Instance| i.watched() && i.life.is_none();
            if self.registry.services.get(&service).and_then(|s| s.instances.get("")).is_some_and(never_spoke) {
                self.registry.remove_instance(&service, "");
                self.close(vec![Gone { service, instance: Some(String::new()) }], "no longer expected", cx);
            }
        }
    }

    /// H-3.
    pub(super) fn presence_promise(&self) -> Option<&'static str> {
        let mut instances = self.registry.services.values().flat_map(|s| s.instances.values());
        let open = self.incidents.is_open(&rule::HEALTH_BUS_SILENT, OWN, &std::collections::BTreeMap::new());
        let parked = instances.any(|i| i.presence == Presence::Parked);
        (!self.bus_silent && (parked || open)).then_some("H-3")
    }
}

/// When its next heartbeat was to be there at the latest, with half an interval to spare.
fn due(instance: &Instance, floor_ms: UnixMs) -> UnixMs {
    instance.silent_since(floor_ms).saturating_add(instance.interval_ms.saturating_mul(3) / 2)
}

/// Milliseconds as seconds, for people.
#[allow(clippy::cast_precision_loss)]
fn seconds(ms: Ms) -> f64 {
    ms as f64 / 1000.0
}
