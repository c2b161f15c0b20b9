//! `query.cache_cold`: a cache that answers too few of the questions it is asked.

use super::QueryCore;
use super::config::QueryConfig;
use super::shapes::cut;
use crate::core::Cx;
use crate::incidents::Finding;
use homeostat_schemas::UnixMs;
use homeostat_schemas::event::Cache;
use homeostat_schemas::rule::QUERY_CACHE_COLD;
use serde::{Deserialize, Serialize};

/// Longest name of a cache that is kept, bytes.
const NAME_MAX_BYTES: usize = 64;
/// Into how many parts the window is cut.
const PARTS: usize = 6;

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Part {
    hits: u64,
    misses: u64,
}

/// The look-ups of one cache over the last while.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct CacheUse {
    newest: u64,
    parts: [Part; PARTS],
    cold: bool,
    last_ms: UnixMs,
}

impl CacheUse {
    fn slide(&mut self, now: UnixMs, config: &QueryConfig) {
        let number = now / config.cache.window_s.max(1).saturating_mul(1_000).div_ceil(PARTS as u64);
        let passed = number.abs_diff(self.newest);
        if number < self.newest || passed >= PARTS as u64 {
            self.parts = [Part::default(); PARTS];
        } else {
            self.parts.rotate_right(passed as usize % PARTS);
            self.parts.iter_mut().take(passed as usize).for_each(|part| *part = Part::default());
        }
        self.newest = number;
    }

    fn sums(&self) -> (u64, u64) {
        self.parts.iter().fold((0, 0), |(hits, misses), part| (hits.saturating_add(part.hits), misses.saturating_add(part.misses)))
    }
}

impl QueryCore {
    /// Takes what a cache says of itself.
    pub(super) fn cache(&mut self, event: &Cache, cx: &mut Cx<'_, QueryConfig>) {
        let config = cx.config;
        let key = (event.service.clone(), cut(&event.name, NAME_MAX_BYTES));
        // More than one has to go when the settings have become stricter.
        while !self.caches.contains_key(&key) && self.caches.len() >= config.cache.caches_max {
            // The cache that has been silent for longest makes room, unless it is cold: that has to be resolved first.
            let idle =
                self.caches.iter().filter(|(_, cache)| !cache.cold).min_by_key(|(_, cache)| cache.last_ms).map(|(key, _)| key.clone());
            let Some(idle) = idle else { return };
            self.caches.remove(&idle);
        }
        let cache = self.caches.entry(key.clone()).or_default();
        cache.last_ms = cx.now;
        cache.slide(cx.now, config);
        cache.parts[0].hits = cache.parts[0].hits.saturating_add(event.hits);
        cache.parts[0].misses = cache.parts[0].misses.saturating_add(event.misses);
        let (hits, misses) = cache.sums();
        let lookups = hits.saturating_add(misses);
        if lookups < config.cache.min_lookups.max(1) {
            return;
        }
        #[allow(clippy::cast_precision_loss)] // a ratio of counts
        let ratio = (hits as f64 / lookups as f64 * 1_000.0).round() / 1_000.0;
        let finding = |summary: String| {
            Finding::new(&QUERY_CACHE_COLD, &key.0, summary)
                .label("cache", &*key.1)
                .evidence("hits", hits)
                .evidence("misses", misses)
                .evidence("ratio", ratio)
                .evidence("limit", config.cache.cold_ratio)
                .evidence("goal", config.cache.goal_ratio)
        };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // below 1000
        let percent = (ratio * 100.0).floor() as u64;
        if !cache.cold && ratio < config.cache.cold_ratio {
            cache.cold = true;
            self.incidents.fire(finding(format!("{} answers {percent} % of {lookups} look-ups", key.1)), cx);
        } else if cache.cold && ratio >= config.cache.warm_ratio {
            cache.cold = false;
            self.incidents.resolve(finding(format!("{} answers {percent} % of {lookups} look-ups", key.1)), cx);
        }
    }

    /// A cache that says nothing any more is not cold any more.
    pub(super) fn forget_caches(&mut self, cx: &mut Cx<'_, QueryConfig>) {
        let quiet_ms = cx.config.quiet_min.saturating_mul(60_000);
        let silent: Vec<(String, String)> =
            self.caches.iter().filter(|(_, cache)| cx.now.saturating_sub(cache.last_ms) >= quiet_ms).map(|(key, _)| key.clone()).collect();
        for (service, name) in silent {
            let summary = format!("{name} has been silent for {} min", cx.config.quiet_min);
            self.incidents.resolve(Finding::new(&QUERY_CACHE_COLD, &service, summary).label("cache", &*name), cx);
            self.caches.remove(&(service, name));
        }
    }
}
