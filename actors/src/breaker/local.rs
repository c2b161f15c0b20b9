//! The breakers of the replicas themselves, as they say (`breaker` events): shown, and nothing is decided by them. What a
//! replica's breaker lets through shows in its calls.

use super::config::BreakerConfig;
use crate::core::clip;
use homeostat_schemas::UnixMs;
use homeostat_schemas::event::{Breaker, BreakerState};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// So many of one peer are shown at most.
const SHOWN_MAX: usize = 100;

/// Where the breaker of one replica stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Local {
    state: BreakerState,
    epoch: u64,
    since_ms: UnixMs,
    why: Option<String>,
    zone: Option<String>,
    heard_ms: UnixMs,
}

/// By instance; those of which something was heard within `replica_ms`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Locals(BTreeMap<String, Local>);

/// The breaker of one replica.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct LocalBreakerView {
    /// Whose it is; empty when it did not say.
    pub instance: String,
    /// In which zone that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Where it stands.
    pub state: BreakerState,
    /// Since when, by the replica's clock.
    pub since_ms: UnixMs,
    /// Why it went there, in the replica's word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Grows with every change.
    pub epoch: u64,
    /// When it was last heard of.
    pub heard_ms: UnixMs,
}

impl Locals {
    /// A replica's word; an older one than what is known says nothing. False when there is no room for it.
    pub(super) fn hear(&mut self, said: &Breaker, now: UnixMs, config: &BreakerConfig) -> bool {
        let instance = clip(said.instance.as_deref().unwrap_or_default());
        let known_count = self.0.len();
        match self.0.get_mut(instance) {
            Some(known) if said.epoch < known.epoch => return true,
            // Said again: the reason of the change still holds.
            Some(known) if said.epoch == known.epoch => {
                known.heard_ms = now;
                return true;
            }
            None if known_count >= config.replicas_max => return false,
            Some(_) | None => {}
        }
        let local = Local {
            state: said.state,
            epoch: said.epoch,
            since_ms: said.since_ms.unwrap_or(said.at_ms),
            why: said.why.as_deref().map(|why| clip(why).to_owned()),
            zone: said.zone.as_deref().map(|zone| clip(zone).to_owned()),
            heard_ms: now,
        };
        self.0.insert(instance.to_owned(), local);
        true
    }

    /// A replica that says nothing any more is gone, or its breaker has been closed for a while.
    pub(super) fn forget(&mut self, now: UnixMs, config: &BreakerConfig) {
        self.0.retain(|_, local| now.saturating_sub(local.heard_ms) < config.replica_ms);
    }

    /// Brings them under the limit.
    pub(super) fn limit(&mut self, config: &BreakerConfig) {
        while self.0.len() > config.replicas_max {
            self.0.pop_last();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many stand where.
    pub(super) fn counts(&self) -> BTreeMap<BreakerState, usize> {
        let mut counts = BTreeMap::new();
        self.0.values().for_each(|local| *counts.entry(local.state).or_default() += 1);
        counts
    }

    /// Those that are not closed first, then those that closed of late.
    pub(super) fn view(&self) -> Vec<LocalBreakerView> {
        let (closed, others): (Vec<_>, Vec<_>) = self.0.iter().partition(|(_, local)| local.state == BreakerState::Closed);
        let one = |(instance, local): (&String, &Local)| LocalBreakerView {
            instance: instance.clone(),
            zone: local.zone.clone(),
            state: local.state,
            since_ms: local.since_ms,
            why: local.why.clone(),
            epoch: local.epoch,
            heard_ms: local.heard_ms,
        };
        others.into_iter().chain(closed).take(SHOWN_MAX).map(one).collect()
    }
}
