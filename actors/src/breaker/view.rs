//! What can be seen of the fleet's breakers.

use super::config::ShedMode;
use super::local::LocalBreakerView;
use super::scope::Scope;
use super::{BreakerConfig, BreakerCore, Key};
use homeostat_schemas::event::BreakerState;
use homeostat_schemas::{AdmissionState, UnixMs};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// One breaker.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct BreakerView {
    /// The service whose calls are meant.
    pub service: String,
    /// Whom it calls.
    pub peer: String,
    /// What it asks of the peer; absent: anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The callers' zone; absent: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// How far it is open.
    pub state: AdmissionState,
    /// The share of first attempts admitted.
    pub fraction: f64,
    /// The share of repetitions admitted.
    pub retry_fraction: f64,
    /// What an open breaker takes away.
    pub shedding: ShedMode,
    /// Attempts a second of all replicas, those that were not sent included.
    pub demand_per_s: f64,
    /// Replicas that reported calls of late.
    pub replicas: usize,
    /// Those of them with a failure since the run of failures began.
    pub replicas_failing: usize,
    /// The sum of failures beyond the threshold.
    pub excess: f64,
    /// When the present run of failures began; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_since_ms: Option<UnixMs>,
    /// The epoch of the last admission, 0 before the first.
    pub epoch: u64,
    /// When calls were last reported, or it was first heard of.
    pub heard_ms: UnixMs,
    /// How many replicas' own breakers stand where; those that have been closed for a while say nothing.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub local_states: BTreeMap<BreakerState, usize>,
    /// The first hundred of them, those that are not closed before the others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub local: Vec<LocalBreakerView>,
}

impl BreakerCore {
    pub(super) fn full_view(&self, now: UnixMs, config: &BreakerConfig) -> Vec<BreakerView> {
        self.scopes.iter().map(|(key, scope)| one(key, scope, now, config)).collect()
    }
}

fn one(key: &Key, scope: &Scope, now: UnixMs, config: &BreakerConfig) -> BreakerView {
    let (fraction, retry_fraction) = scope.phase.shares();
    BreakerView {
        service: key.service.clone(),
        peer: key.peer.clone(),
        operation: key.operation.clone(),
        zone: key.zone.clone(),
        state: scope.phase.state(),
        fraction,
        retry_fraction,
        shedding: config.shedding_of(&key.peer),
        demand_per_s: scope.demand(now),
        replicas: scope.replicas(),
        replicas_failing: scope.failing(),
        excess: scope.excess,
        run_since_ms: (scope.excess > 0.0).then_some(scope.began_ms),
        epoch: scope.epoch,
        heard_ms: scope.heard_ms,
        local_states: scope.locals.counts(),
        local: scope.locals.view(),
    }
}
