//! What was measured last, to compare with: the effect of a command is the difference.

use super::RecoveryConfig;
use super::goal::Quantity;
use crate::core::clip;
use crate::stats::real;
use homeostat_schemas::event::{Cache, Pool, Resource};
use homeostat_schemas::{Ms, UnixMs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A measurement older than this is nothing to compare with.
const FRESH_MS: Ms = 600_000;

/// One series.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Series {
    pub(super) quantity: Quantity,
    pub(super) service: String,
    pub(super) instance: String,
    /// The cache or pool; empty for a process, and for all caches of a service together.
    pub(super) name: String,
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.quantity.word(), self.service)?;
        for part in [&self.instance, &self.name].into_iter().filter(|part| !part.is_empty()) {
            write!(f, " {part}")?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Last {
    /// Nothing while a cache has not had enough look-ups to say.
    value: Option<f64>,
    seen_ms: UnixMs,
    event_ms: UnixMs,
    hits: u64,
    lookups: u64,
}

/// The last value of every series.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Measurements {
    last: BTreeMap<Series, Last>,
    pub(super) no_room: u64,
}

impl Measurements {
    /// Takes a process's report; what it measures.
    pub(super) fn resource(&mut self, event: &Resource, now: UnixMs, config: &RecoveryConfig) -> Vec<(Series, f64)> {
        let series = |quantity| Series {
            quantity,
            service: event.service.clone(),
            instance: clip(event.instance.as_deref().unwrap_or_default()).to_owned(),
            name: String::new(),
        };
        let values = [
            (Quantity::Memory, Some(real(event.memory_bytes))),
            (Quantity::Heap, event.heap_bytes.map(real)),
            (Quantity::Cpu, event.cpu_ratio.filter(|ratio| ratio.is_finite())),
        ];
        let values = values.into_iter().filter_map(|(quantity, value)| Some((series(quantity), value?)));
        values.filter(|(series, value)| self.note(series, *value, event.at_ms, now, config)).collect()
    }

    /// Takes a pool's report; what it measures.
    pub(super) fn pool(&mut self, event: &Pool, now: UnixMs, config: &RecoveryConfig) -> Option<(Series, f64)> {
        if event.max == 0 {
            return None;
        }
        let series = Series {
            quantity: Quantity::PoolUsage,
            service: event.service.clone(),
            instance: clip(event.instance.as_deref().unwrap_or_default()).to_owned(),
            name: clip(&event.name).to_owned(),
        };
        let value = real(event.used) / real(event.max);
        self.note(&series, value, event.at_ms, now, config).then_some((series, value))
    }

    /// Takes a cache's report; what it measures, of the cache and of all caches of its service. Reports of few look-ups add up.
    pub(super) fn cache(&mut self, event: &Cache, now: UnixMs, config: &RecoveryConfig) -> Vec<(Series, f64)> {
        let lookups = event.hits.saturating_add(event.misses);
        let mut measured = Vec::new();
        for name in [clip(&event.name), ""] {
            let series =
                Series { quantity: Quantity::HitRate, service: event.service.clone(), instance: String::new(), name: name.to_owned() };
            let Some(last) = self.entry(&series, config) else { continue };
            // Caches of several instances report under one name, so a report is not known by its time.
            last.hits = last.hits.saturating_add(event.hits);
            last.lookups = last.lookups.saturating_add(lookups);
            last.seen_ms = now;
            if last.lookups >= config.lookups_min.max(1) {
                let value = real(last.hits.min(last.lookups)) / real(last.lookups);
                *last = Last { value: Some(value), seen_ms: now, ..Last::default() };
                measured.push((series, value));
            }
            if name.is_empty() {
                break;
            }
        }
        measured
    }

    /// The last value, if it is fresh enough to compare with.
    pub(super) fn last(&self, series: &Series, now: UnixMs) -> Option<f64> {
        self.last.get(series).filter(|last| now.saturating_sub(last.seen_ms) <= FRESH_MS).and_then(|last| last.value)
    }

    fn entry(&mut self, series: &Series, config: &RecoveryConfig) -> Option<&mut Last> {
        if !self.last.contains_key(series) && self.last.len() >= config.limits.series {
            self.no_room = self.no_room.saturating_add(1);
            return None;
        }
        Some(self.last.entry(series.clone()).or_default())
    }

    /// Keeps a value, unless it was there before, is older than the last, or there is no room. A sender's clock that was set back by
    /// more than a minute is believed.
    fn note(&mut self, series: &Series, value: f64, at_ms: UnixMs, now: UnixMs, config: &RecoveryConfig) -> bool {
        let Some(last) = self.entry(series, config) else { return false };
        let again = at_ms == last.event_ms && last.value == Some(value);
        if again || last.value.is_some() && at_ms < last.event_ms && last.event_ms - at_ms < 60_000 {
            return false;
        }
        *last = Last { value: Some(value), seen_ms: now, event_ms: at_ms, ..Last::default() };
        true
    }

    pub(super) fn sweep(&mut self, now: UnixMs) {
        self.last.retain(|_, last| now.saturating_sub(last.seen_ms) <= FRESH_MS);
    }

    pub(super) fn make_room(&mut self, limit: usize) {
        while self.last.len() > limit {
            self.last.pop_last();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.last.len()
    }
}
