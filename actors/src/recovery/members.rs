//! Who is there: the instances that send heartbeats, from which follows how many may be acted on at once.

use super::RecoveryConfig;
use crate::core::clip;
use homeostat_schemas::event::Heartbeat;
use homeostat_schemas::{Ms, UnixMs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Member {
    seen_ms: UnixMs,
    interval_ms: Ms,
    zone: String,
}

impl Member {
    fn fresh(&self, now: UnixMs, config: &RecoveryConfig) -> bool {
        let patience = config.member_stale_s.saturating_mul(1_000).max(self.interval_ms.saturating_mul(3));
        now.saturating_sub(self.seen_ms) <= patience
    }
}

/// Every living instance.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Members {
    of: BTreeMap<String, BTreeMap<String, Member>>,
    count: usize,
    pub(super) no_room: u64,
}

impl Members {
    pub(super) fn beat(&mut self, beat: &Heartbeat, now: UnixMs, config: &RecoveryConfig) {
        let instance = clip(beat.instance.as_deref().unwrap_or_default());
        let known = self.of.get(&beat.service).is_some_and(|service| service.contains_key(instance));
        if !known && self.count >= config.limits.members {
            self.no_room = self.no_room.saturating_add(1);
            return;
        }
        let member = Member {
            seen_ms: now,
            interval_ms: (beat.interval_s.clamp(0.0, 604_800.0) * 1_000.0) as Ms,
            zone: clip(beat.zone.as_deref().unwrap_or_default()).to_owned(),
        };
        let before = self.of.entry(beat.service.clone()).or_default().insert(instance.to_owned(), member);
        self.count += usize::from(before.is_none());
    }

    /// A person, or a process that stops on purpose, says that it is gone: `service` or `service/instance`.
    pub(super) fn retire(&mut self, target: &str) {
        if let Some(service) = self.of.remove(target) {
            self.count -= service.len();
        } else if let Some((service, instance)) = target.rsplit_once('/')
            && let Some(members) = self.of.get_mut(service)
        {
            self.count -= usize::from(members.remove(instance).is_some());
            if members.is_empty() {
                self.of.remove(service);
            }
        }
    }

    /// Forgets who is no longer there, and, when the settings have become stricter, whom there is no room for.
    pub(super) fn sweep(&mut self, now: UnixMs, config: &RecoveryConfig) {
        self.of.retain(|_, service| {
            service.retain(|_, member| member.fresh(now, config));
            !service.is_empty()
        });
        self.count = self.of.values().map(BTreeMap::len).sum();
        self.make_room(config.limits.members);
    }

    pub(super) fn make_room(&mut self, limit: usize) {
        while self.count > limit {
            let Some(mut last) = self.of.last_entry() else { break };
            last.get_mut().pop_last();
            self.count -= 1;
            if last.get().is_empty() {
                last.remove();
            }
        }
    }

    /// How many instances of a service are there: those of the last look that are still fresh.
    pub(super) fn fresh(&self, service: &str, now: UnixMs, config: &RecoveryConfig) -> usize {
        self.of.get(service).map_or(0, |service| service.values().filter(|member| member.fresh(now, config)).count())
    }

    /// How many services have an instance that is there.
    pub(super) fn services(&self) -> usize {
        self.of.len()
    }

    /// Is there an instance of this name?
    pub(super) fn knows(&self, service: &str, instance: &str) -> bool {
        self.of.get(service).is_some_and(|service| service.contains_key(instance))
    }

    /// The zone of an instance; empty when it has none or nobody knows.
    pub(super) fn zone(&self, service: &str, instance: &str) -> &str {
        self.of.get(service).and_then(|service| service.get(instance)).map_or("", |member| member.zone.as_str())
    }

    /// The `turn`-th of the named instances that are there, counted round and round: whoever is to take a command up that any could.
    pub(super) fn pick(&self, service: &str, turn: u32, now: UnixMs, config: &RecoveryConfig) -> Option<&str> {
        let service = self.of.get(service)?;
        let named: Vec<&str> =
            service.iter().filter(|(name, member)| !name.is_empty() && member.fresh(now, config)).map(|(name, _)| name.as_str()).collect();
        let turn = usize::try_from(turn).unwrap_or(0).checked_rem(named.len())?;
        named.get(turn).copied()
    }

    /// Counts by service, for the view.
    pub(super) fn counts(&self) -> BTreeMap<String, usize> {
        self.of.iter().map(|(service, members)| (service.clone(), members.len())).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }
}
