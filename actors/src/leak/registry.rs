//! Who is watched.

use super::process::Process;
use homeostat_schemas::{Ms, UnixMs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A newcomer may take the place of a process that has been silent for this long.
const SILENT: Ms = 10 * 60_000;
/// When no place was to be had, nobody looks for one again for this long.
const NO_PLACE: Ms = 60_000;

/// A process, and when it was last heard in log time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Watched {
    pub process: Process,
    pub heard_ms: UnixMs,
}

/// Processes by service and instance.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Registry {
    services: BTreeMap<String, BTreeMap<String, Watched>>,
    count: usize,
    /// How many there may be, as was last said.
    limit: usize,
    full_until_ms: UnixMs,
    pub refused: u64,
    pub forgotten: u64,
}

fn name((service, instance, _): (&String, &String, &Watched)) -> Gone {
    (service.clone(), instance.clone())
}

/// A process that is no longer watched.
pub(super) type Gone = (String, String);

impl Registry {
    /// The process of this name, newly made if there is room; who had to go for it is added to `gone`.
    pub(super) fn process(&mut self, (service, instance): (&str, &str), now: UnixMs, gone: &mut Vec<Gone>) -> Option<&mut Process> {
        let known = self.services.get(service).is_some_and(|instances| instances.contains_key(instance));
        if !known {
            if self.count >= self.limit && !self.make_room(now, gone) {
                self.refused = self.refused.saturating_add(1);
                return None;
            }
            self.count += 1;
        }
        let instances = if self.services.contains_key(service) {
            self.services.get_mut(service)?
        } else {
            self.services.entry(service.to_owned()).or_default()
        };
        let watched =
            if instances.contains_key(instance) { instances.get_mut(instance)? } else { instances.entry(instance.to_owned()).or_default() };
        watched.heard_ms = now;
        Some(&mut watched.process)
    }

    fn make_room(&mut self, now: UnixMs, gone: &mut Vec<Gone>) -> bool {
        if self.limit == 0 || now < self.full_until_ms {
            return false;
        }
        let silent = |(_, _, watched): &(&String, &String, &Watched)| now.saturating_sub(watched.heard_ms) >= SILENT;
        let longest = self.all().filter(silent).min_by_key(|(_, _, watched)| watched.heard_ms);
        let Some(longest) = longest.map(name) else {
            self.full_until_ms = now.saturating_add(NO_PLACE);
            return false;
        };
        self.remove(&longest);
        gone.push(longest);
        true
    }

    fn remove(&mut self, (service, instance): &Gone) {
        if let Some(instances) = self.services.get_mut(service)
            && instances.remove(instance).is_some()
        {
            self.count -= 1;
            self.forgotten = self.forgotten.saturating_add(1);
            if instances.is_empty() {
                self.services.remove(service);
            }
        }
    }

    /// Sets how many may be watched; who is too many is forgotten.
    pub(super) fn limit(&mut self, limit: usize) -> Vec<Gone> {
        self.limit = limit;
        let over = self.count.saturating_sub(limit);
        if over == 0 {
            return Vec::new();
        }
        let surplus: Vec<Gone> = self.all().take(over).map(name).collect();
        surplus.iter().for_each(|one| self.remove(one));
        surplus
    }

    /// Forgets who has been silent for this long.
    pub(super) fn sweep(&mut self, now: UnixMs, after: Ms) -> Vec<Gone> {
        let gone: Vec<Gone> = self.all().filter(|(_, _, watched)| now.saturating_sub(watched.heard_ms) >= after.max(1)).map(name).collect();
        gone.iter().for_each(|one| self.remove(one));
        gone
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&String, &String, &Watched)> {
        self.services.iter().flat_map(|(service, instances)| instances.iter().map(move |(instance, watched)| (service, instance, watched)))
    }

    pub(super) fn get(&self, service: &str, instance: &str) -> Option<&Process> {
        self.services.get(service)?.get(instance).map(|watched| &watched.process)
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// L-1 broken?
    pub(super) fn broken_promise(&self) -> Option<&'static str> {
        let known: usize = self.services.values().map(BTreeMap::len).sum();
        (known != self.count || self.count > self.limit || !self.all().all(|(_, _, watched)| watched.process.bounded())).then_some("L-1")
    }
}
