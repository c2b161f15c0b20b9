//! What a process uses: memory, connection pools, caches.

use super::error_rate::ratio;
use super::record::{CacheUse, Class, Instance, Memory, PoolUse};
use super::streak::Streak;
use super::{HealthConfig, HealthCore, about, clip, instance_name, redelivered};
use crate::core::Cx;
use homeostat_schemas::event::{Cache, Pool, Resource};
use homeostat_schemas::{UnixMs, rule};

/// This many reports below the limit in a row resolve a pool.
const POOL_GOOD: u32 = 2;

impl HealthCore {
    /// The instance that reports, and whether there was room for it. One that never sends heartbeats is looked after all the same.
    fn reporter(&mut self, service: &str, instance: &str, cx: &mut Cx<'_, HealthConfig>) -> Option<&mut Instance> {
        let retire_after_ms = cx.config.retire_after_ms;
        let mut gone = Vec::new();
        let known = self.registry.instance(service, instance, Class::Passing, cx.now, retire_after_ms, &mut gone);
        // Only a parked instance has no place in the queue, and that one is to keep none.
        let place = known.is_some_and(|i| i.due_ms.is_none() && !i.watched());
        if place {
            self.registry.set_due(service, Some(instance), Some(cx.now.saturating_add(retire_after_ms.max(1_000))));
        }
        self.close(gone, "its place was needed", cx);
        self.registry.services.get_mut(service)?.instances.get_mut(instance)
    }

    pub(super) fn resource(&mut self, event: &Resource, cx: &mut Cx<'_, HealthConfig>) {
        let name = instance_name(event.instance.as_deref());
        let Some(i) = self.reporter(&event.service, name, cx) else { return };
        let same = |memory: &Memory| memory.bytes == event.memory_bytes && memory.oom_kills == event.oom_kills;
        if i.memory.as_ref().is_some_and(|memory| redelivered(event.at_ms, memory.event_ms, same(memory))) {
            self.duplicates += 1;
            return;
        }
        let memory = i.memory.get_or_insert_with(|| Memory {
            bytes: 0,
            limit: None,
            streak: Streak::new(Some(true)),
            // What was killed before we looked is history.
            oom_kills: event.oom_kills,
            event_ms: 0,
            seen_ms: 0,
        });
        memory.bytes = event.memory_bytes;
        memory.limit = event.memory_limit_bytes.filter(|&limit| limit > 0);
        memory.event_ms = event.at_ms;
        memory.seen_ms = cx.now;
        let killed = match (memory.oom_kills, event.oom_kills) {
            // A smaller count is that of a new cgroup, and all of it is new.
            (Some(before), Some(kills)) => {
                if kills >= before {
                    kills - before
                } else {
                    kills
                }
            }
            _ => 0,
        };
        memory.oom_kills = event.oom_kills.or(memory.oom_kills);
        let verdict = memory.limit.map(|limit| {
            let share = ratio(memory.bytes, limit);
            let good = share < cx.config.memory;
            (limit, share, good, memory.streak.take(good, cx.config.memory_samples, cx.config.memory_samples))
        });
        if killed > 0 {
            let summary = if killed == 1 {
                "a process was killed for want of memory".to_owned()
            } else {
                format!("{killed} processes were killed for want of memory")
            };
            let finding =
                about(&rule::HEALTH_OOM_KILL, &event.service, name, summary).evidence("oom_kills", event.oom_kills).evidence("new", killed);
            self.incidents.fire(finding, cx);
        }
        self.pressure(event, name, cx);
        if let Some((limit, share, good, true)) = verdict {
            let summary = format!("{:.1} % of the memory limit in use", share * 100.0);
            let finding = about(&rule::HEALTH_MEMORY, &event.service, name, summary)
                .evidence("memory_bytes", event.memory_bytes)
                .evidence("memory_limit_bytes", limit)
                .evidence("ratio", share)
                .evidence("limit", cx.config.memory);
            if good {
                self.incidents.resolve(finding, cx);
            } else {
                self.incidents.fire(finding, cx);
            }
        }
    }

    pub(super) fn pool(&mut self, event: &Pool, cx: &mut Cx<'_, HealthConfig>) {
        // A pool of nothing can neither be used up nor enlarged.
        if event.max == 0 {
            return;
        }
        let room = self.registry.limits().pools;
        let (instance, name) = (instance_name(event.instance.as_deref()), clip(&event.name));
        let Some(i) = self.reporter(&event.service, instance, cx) else { return };
        if !i.pools.contains_key(name) && i.pools.len() >= room {
            self.registry.overfull += 1;
            return;
        }
        let new = PoolUse { used: 0, max: 0, waiting: None, streak: Streak::new(Some(true)), event_ms: 0, seen_ms: 0 };
        let pool = i.pools.entry(name.to_owned()).or_insert(new);
        let same = (pool.used, pool.max, pool.waiting) == (event.used, event.max, event.waiting);
        if redelivered(event.at_ms, pool.event_ms, same) {
            self.duplicates += 1;
            return;
        }
        let share = ratio(event.used, event.max);
        let good = share < cx.config.pool;
        let decided = pool.streak.take(good, 1, POOL_GOOD);
        *pool =
            PoolUse { used: event.used, max: event.max, waiting: event.waiting, event_ms: event.at_ms, seen_ms: cx.now, ..pool.clone() };
        if !decided {
            return;
        }
        let waiting = event.waiting.map(|waiting| format!(", {waiting} waiting")).unwrap_or_default();
        let summary = format!("pool {name}: {} of {} connections in use{waiting}", event.used, event.max);
        let mut finding = about(&rule::HEALTH_POOL_EXHAUSTED, &event.service, instance, summary)
            .label("pool", name)
            .evidence("used", event.used)
            .evidence("max", event.max)
            .evidence("ratio", share)
            .evidence("limit", cx.config.pool);
        if good {
            self.incidents.resolve(finding, cx);
            return;
        }
        if let Some(waiting) = event.waiting {
            finding = finding.evidence("waiting", waiting);
        }
        let size = Size::of(event, cx.config.pool);
        finding = finding.evidence("demand", size.demand).evidence("advised_size", size.advised);
        if let Some((arrivals_per_s, hold_ms)) = size.flow {
            finding = finding.evidence("arrivals_per_s", arrivals_per_s).evidence("hold_ms", hold_ms);
        }
        finding.advice.push(format!(
            "{} connections wanted at once (Little's law) take a pool of {} to stay under {:.0} %.",
            size.demand,
            size.advised,
            cx.config.pool * 100.0
        ));
        self.incidents.fire(finding, cx);
    }

    /// What a living instance has not reported for `retire_after_ms` can neither get worse nor better: it is forgotten.
    pub(super) fn forget_vitals(&mut self, service: &str, instance: &str, cx: &mut Cx<'_, HealthConfig>) {
        let old = |seen_ms: UnixMs| cx.now.saturating_sub(seen_ms) >= cx.config.retire_after_ms;
        let Some(i) = self.registry.services.get_mut(service).and_then(|s| s.instances.get_mut(instance)) else { return };
        let memory = i.memory.take_if(|memory| old(memory.seen_ms)).is_some();
        let pools: Vec<String> = i.pools.iter().filter(|(_, pool)| old(pool.seen_ms)).map(|(name, _)| name.clone()).collect();
        i.pools.retain(|_, pool| !old(pool.seen_ms));
        self.forget_pressures(service, instance, cx);
        if memory {
            self.incidents.resolve(about(&rule::HEALTH_MEMORY, service, instance, "memory is no longer reported"), cx);
        }
        for name in pools {
            let finding = about(&rule::HEALTH_POOL_EXHAUSTED, service, instance, format!("pool {name} is no longer reported"));
            self.incidents.resolve(finding.label("pool", name), cx);
        }
    }

    pub(super) fn cache(&mut self, event: &Cache, cx: &mut Cx<'_, HealthConfig>) {
        let room = self.registry.limits().caches;
        let mut gone = Vec::new();
        let service = self.registry.service(&event.service, Class::Passing, cx.now, cx.config.retire_after_ms, &mut gone);
        let mut overfull = false;
        if let Some(service) = service {
            let name = clip(&event.name);
            if service.caches.contains_key(name) || service.caches.len() < room {
                let cache = service.caches.entry(name.to_owned()).or_default();
                *cache = CacheUse {
                    hits: event.hits,
                    misses: event.misses,
                    hits_total: cache.hits_total.saturating_add(event.hits),
                    misses_total: cache.misses_total.saturating_add(event.misses),
                    seen_ms: cx.now,
                };
            } else {
                overfull = true;
            }
        }
        self.registry.overfull += u64::from(overfull);
        self.close(gone, "its place was needed", cx);
    }
}

/// How large a pool ought to be.
struct Size {
    /// Connections wanted at once: those in use and those waited for.
    demand: u64,
    /// The size at which that demand stays under the limit.
    advised: u64,
    /// Arrivals a second and mean hold time in ms, when the wait is known.
    flow: Option<(f64, f64)>,
}

impl Size {
    /// By Little's law, L = λW (J. D. C. Little, 1961): callers wanting a connection at once, L, are those that hold one and those
    /// that wait. Of the queue alone, λ = waiting / wait; each connection is then held for used / λ.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // `as` saturates
    fn of(pool: &Pool, limit: f64) -> Size {
        let demand = pool.used.saturating_add(pool.waiting.unwrap_or(0));
        // Strictly under the limit, and never smaller than it is.
        let advised = if limit > 0.0 { ((demand as f64 / limit).floor() as u64).saturating_add(1) } else { demand };
        let flow = match (pool.waiting, pool.wait_us) {
            (Some(waiting), Some(wait_us)) if waiting > 0 && wait_us > 0 => {
                let arrivals_per_s = waiting as f64 * 1e6 / wait_us as f64;
                Some((arrivals_per_s, pool.used as f64 * 1e3 / arrivals_per_s))
            }
            _ => None,
        };
        Size { demand, advised: advised.max(pool.max), flow }
    }
}

/// Is what a report said still to be believed?
pub(super) fn fresh(seen_ms: UnixMs, now: UnixMs, config: &HealthConfig) -> bool {
    now.saturating_sub(seen_ms) <= config.stale_ms
}
