//! Who is known: services, their instances, and what was last seen of each. Bounded, whatever names arrive.
//!
//! Who is evicted when there is no room is decided by class (never sent a heartbeat < did < must by the settings) and then by who
//! was unheard the longest, to the minute: an index in that order is touched at most once a minute a name. See [`Limits`].

use super::config::Limits;
use super::record::{Class, Instance, Presence, Rank, Service};
use homeostat_schemas::{Ms, UnixMs};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Someone who is no longer known: a service, or one instance of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gone {
    pub(super) service: String,
    pub(super) instance: Option<String>,
}

/// Everyone who is known.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Registry {
    pub(super) services: BTreeMap<String, Service>,
    limits: Limits,
    services_by_rank: BTreeSet<(Rank, String)>,
    instances_by_rank: BTreeSet<(Rank, String, String)>,
    due: BTreeSet<(UnixMs, String, Option<String>)>,
    /// Events whose sender found no room.
    pub(super) refused: u64,
    /// Names that had to make room.
    pub(super) evicted: u64,
    /// Checks, pools and caches that found no room.
    pub(super) overfull: u64,
}

const MINUTE: Ms = 60_000;

impl Registry {
    /// Takes the limits in force; what no longer fits goes.
    pub(super) fn limit(&mut self, limits: Limits) -> Vec<Gone> {
        let mut gone = Vec::new();
        if self.limits == limits {
            return gone;
        }
        self.limits = limits;
        while self.services.len() > limits.services
            && let Some((_, name)) = self.services_by_rank.first().cloned()
        {
            self.evict(name, None, &mut gone);
        }
        while self.instances_by_rank.len() > limits.instances
            && let Some((_, service, name)) = self.instances_by_rank.first().cloned()
        {
            self.evict(service, Some(name), &mut gone);
        }
        for (name, service) in &mut self.services {
            let mut ranked: Vec<_> = service.instances.iter().map(|(instance, i)| (i.rank, instance.clone())).collect();
            ranked.sort_unstable();
            ranked.truncate(ranked.len().saturating_sub(limits.instances_per_service));
            gone.extend(ranked.into_iter().map(|(_, instance)| Gone { service: name.clone(), instance: Some(instance) }));
            while service.caches.len() > limits.caches {
                service.caches.pop_last();
            }
            while service.told.len() > limits.told {
                service.told.pop_last();
            }
        }
        for each in &gone {
            if let Some(instance) = &each.instance
                && self.remove_instance(&each.service, instance).is_some()
            {
                self.evicted += 1;
            }
        }
        for (name, service) in &mut self.services {
            for (instance, i) in &mut service.instances {
                let names = i.checks.keys().skip(limits.checks).chain(i.pools.keys().skip(limits.pools));
                if names.count() > 0 {
                    // Its findings are closed with it; it is known again with its next report.
                    gone.push(Gone { service: name.clone(), instance: Some(instance.clone()) });
                    i.checks.clear();
                    i.pools.clear();
                }
            }
        }
        gone
    }

    /// The service of this name, known from now on; `None` when there is no room for it.
    pub(super) fn service(
        &mut self,
        name: &str,
        class: Class,
        now: UnixMs,
        retire_after_ms: Ms,
        gone: &mut Vec<Gone>,
    ) -> Option<&mut Service> {
        if !self.services.contains_key(name) {
            if self.services.len() >= self.limits.services {
                let Some((rank, oldest)) = self.services_by_rank.first().cloned().filter(|_| self.limits.services > 0) else {
                    self.refused += 1;
                    return None;
                };
                if !makes_room(rank, class, now, retire_after_ms) {
                    self.refused += 1;
                    return None;
                }
                self.evict(oldest, None, gone);
            }
            let rank = (class, now / MINUTE);
            self.services_by_rank.insert((rank, name.to_owned()));
            self.services.insert(name.to_owned(), Service { rank, ..Service::default() });
        }
        let service = self.services.get_mut(name)?;
        let rank = (class.max(service.rank.0), now / MINUTE);
        if rank != service.rank {
            self.services_by_rank.remove(&(service.rank, name.to_owned()));
            self.services_by_rank.insert((rank, name.to_owned()));
            service.rank = rank;
        }
        Some(service)
    }

    /// The instance of this name of a service, known from now on; `None` when there is no room for it.
    pub(super) fn instance(
        &mut self,
        service: &str,
        name: &str,
        class: Class,
        now: UnixMs,
        retire_after_ms: Ms,
        gone: &mut Vec<Gone>,
    ) -> Option<&mut Instance> {
        self.service(service, class, now, retire_after_ms, gone)?;
        if !self.services.get(service)?.instances.contains_key(name) {
            if !self.room_for_instance(service, class, now, retire_after_ms, gone) {
                self.refused += 1;
                return None;
            }
            let rank = (class, now / MINUTE);
            self.instances_by_rank.insert((rank, service.to_owned(), name.to_owned()));
            self.services.get_mut(service)?.instances.insert(name.to_owned(), Instance { rank, ..Instance::default() });
        }
        let instance = self.services.get_mut(service)?.instances.get_mut(name)?;
        instance.seen_ms = now;
        let rank = (class.max(instance.rank.0), now / MINUTE);
        if rank != instance.rank {
            self.instances_by_rank.remove(&(instance.rank, service.to_owned(), name.to_owned()));
            self.instances_by_rank.insert((rank, service.to_owned(), name.to_owned()));
            instance.rank = rank;
        }
        Some(instance)
    }

    fn room_for_instance(&mut self, service: &str, class: Class, now: UnixMs, retire_after_ms: Ms, gone: &mut Vec<Gone>) -> bool {
        let Some(siblings) = self.services.get(service).map(|s| &s.instances) else { return false };
        if siblings.len() >= self.limits.instances_per_service {
            // Only a heartbeat is worth the walk, and the walk is bounded by the limit.
            let oldest = if class == Class::Passing { None } else { siblings.iter().map(|(name, i)| (i.rank, name)).min() };
            let Some((rank, oldest)) = oldest.map(|(rank, name)| (rank, name.clone())) else { return false };
            if !makes_room(rank, class, now, retire_after_ms) {
                return false;
            }
            self.evict(service.to_owned(), Some(oldest), gone);
        }
        if self.instances_by_rank.len() >= self.limits.instances {
            let Some((rank, of, oldest)) = self.instances_by_rank.first().cloned() else { return false };
            if !makes_room(rank, class, now, retire_after_ms) {
                return false;
            }
            self.evict(of, Some(oldest), gone);
        }
        self.services.get(service).is_some_and(|s| s.instances.len() < self.limits.instances_per_service)
            && self.instances_by_rank.len() < self.limits.instances
    }

    fn evict(&mut self, service: String, instance: Option<String>, gone: &mut Vec<Gone>) {
        self.evicted += 1;
        match &instance {
            Some(instance) => drop(self.remove_instance(&service, instance)),
            None => drop(self.remove_service(&service)),
        }
        gone.push(Gone { service, instance });
    }

    /// Forgets a service and everything of it.
    pub(super) fn remove_service(&mut self, name: &str) -> Option<Service> {
        let service = self.services.remove(name)?;
        self.services_by_rank.remove(&(service.rank, name.to_owned()));
        if let Some(due) = service.due_ms {
            self.due.remove(&(due, name.to_owned(), None));
        }
        for (instance, i) in &service.instances {
            self.instances_by_rank.remove(&(i.rank, name.to_owned(), instance.clone()));
            if let Some(due) = i.due_ms {
                self.due.remove(&(due, name.to_owned(), Some(instance.clone())));
            }
        }
        Some(service)
    }

    /// Forgets one instance.
    pub(super) fn remove_instance(&mut self, service: &str, name: &str) -> Option<Instance> {
        let instance = self.services.get_mut(service)?.instances.remove(name)?;
        self.instances_by_rank.remove(&(instance.rank, service.to_owned(), name.to_owned()));
        if let Some(due) = instance.due_ms {
            self.due.remove(&(due, service.to_owned(), Some(name.to_owned())));
        }
        Some(instance)
    }

    /// Gives a service or an instance its place in the queue of deadlines, or takes it away.
    pub(super) fn set_due(&mut self, service: &str, instance: Option<&str>, due_ms: Option<UnixMs>) {
        let Some(s) = self.services.get_mut(service) else { return };
        let slot = match instance {
            None => &mut s.due_ms,
            Some(name) => match s.instances.get_mut(name) {
                Some(i) => &mut i.due_ms,
                None => return,
            },
        };
        if *slot == due_ms {
            return;
        }
        let mut key = (0, service.to_owned(), instance.map(str::to_owned));
        if let Some(old) = slot.take() {
            key.0 = old;
            self.due.remove(&key);
        }
        if let Some(due) = due_ms {
            *slot = Some(due);
            key.0 = due;
            self.due.insert(key);
        }
    }

    /// The next whose deadline has come, taken out of the queue.
    pub(super) fn pop_due(&mut self, now: UnixMs) -> Option<(String, Option<String>)> {
        if self.due.first()?.0 > now {
            return None;
        }
        let (_, service, instance) = self.due.pop_first()?;
        if let Some(s) = self.services.get_mut(&service) {
            match &instance {
                None => s.due_ms = None,
                Some(name) => {
                    if let Some(i) = s.instances.get_mut(name) {
                        i.due_ms = None;
                    }
                }
            }
        }
        Some((service, instance))
    }

    /// The class of a service once it is no longer expected.
    pub(super) fn declass(&mut self, name: &str) {
        if let Some(service) = self.services.get_mut(name)
            && service.rank.0 == Class::Expected
        {
            self.services_by_rank.remove(&(service.rank, name.to_owned()));
            service.rank.0 = Class::Enrolled;
            self.services_by_rank.insert((service.rank, name.to_owned()));
        }
    }

    /// The services that the settings expect.
    pub(super) fn expected(&self) -> impl Iterator<Item = &str> {
        self.services_by_rank.iter().rev().take_while(|((class, _), _)| *class == Class::Expected).map(|(_, name)| name.as_str())
    }

    /// Are at least two services enrolled?
    pub(super) fn several_enrolled(&self) -> bool {
        self.services_by_rank.iter().rev().take_while(|((class, _), _)| *class >= Class::Enrolled).nth(1).is_some()
    }

    /// How many instances are known.
    pub(super) fn instances(&self) -> usize {
        self.instances_by_rank.len()
    }

    /// The limits in force.
    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// H-1 and H-2 (see the module of the mind).
    pub(super) fn broken_promise(&self) -> Option<&'static str> {
        let limits = &self.limits;
        let within = self.services.len() <= limits.services
            && self.instances_by_rank.len() <= limits.instances
            && self.services.values().all(|s| {
                s.instances.len() <= limits.instances_per_service
                    && s.caches.len() <= limits.caches
                    && s.requests.buckets() as u64 <= super::error_rate::WINDOW_S
                    && s.instances.values().all(|i| i.checks.len() <= limits.checks && i.pools.len() <= limits.pools)
            });
        if !within {
            return Some("H-1");
        }
        let instances: usize = self.services.values().map(|s| s.instances.len()).sum();
        let mut queued = 0;
        for (name, service) in &self.services {
            let places = service.due_ms.map(|due| (due, name.clone(), None));
            let places = places.into_iter().chain(
                service.instances.iter().filter_map(|(instance, i)| i.due_ms.map(|due| (due, name.clone(), Some(instance.clone())))),
            );
            for place in places {
                if !self.due.contains(&place) {
                    return Some("H-2");
                }
                queued += 1;
            }
        }
        let waiting =
            self.services.values().flat_map(|s| s.instances.values()).all(|i| i.due_ms.is_some() || i.presence == Presence::Parked);
        let sound = instances == self.instances_by_rank.len()
            && self.services.len() == self.services_by_rank.len()
            && queued == self.due.len()
            && waiting;
        (!sound).then_some("H-2")
    }
}

/// After this many times `retire_after_ms` even a service that once sent heartbeats yields to one that never did.
const YIELDS_AFTER: u64 = 6;

/// May someone of this rank be evicted for a newcomer of this class?
fn makes_room((class, minute): Rank, newcomer: Class, now: UnixMs, retire_after_ms: Ms) -> bool {
    let unheard_for =
        |times: u64| minute.saturating_add(1).saturating_mul(MINUTE).saturating_add(retire_after_ms.saturating_mul(times)) <= now;
    match (class, newcomer) {
        (Class::Passing, _) | (Class::Enrolled, Class::Expected) => true,
        (Class::Enrolled, Class::Enrolled) => unheard_for(1),
        (Class::Enrolled, Class::Passing) => unheard_for(YIELDS_AFTER),
        (Class::Expected, _) => false,
    }
}
