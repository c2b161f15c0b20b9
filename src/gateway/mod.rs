//! The gateway: HTTP for probes, intake and people. One actix actor that owns an actix-web server.
//!
//! | module | what |
//! |---|---|
//! | [`config`] | the settings |
//! | [`actor`] | starting and stopping |
//! | [`server`], [`pace`], [`tls`] | actix-web over connections that must get on, with or without TLS |
//! | [`routes`] | every path, its methods, who may ask it and what serves it: the one list |
//! | [`auth`] | keys, scopes, and who sent a request; [`client`] says from where |
//! | [`admission`], [`limits`] | the check in front of every path, and how much anybody may ask |
//! | [`layer`] | what holds for every request: headers, limits, deadlines, measures |
//! | [`problem`] | errors as RFC 9457 |
//! | [`probes`], [`readiness`] | is it alive, is it ready |
//! | [`body`] | request bodies: bounded, inflated, in time |
//! | [`traces`], [`events`] | intake: OTLP and Homeostat's own events; [`publish`] puts both on the log |
//! | [`api`] | what every answer of `/api/v1` has in common |
//! | [`status`], [`alerts`], [`commands`], [`queries`], [`breakers`] | how everything is, and what was found and done, as JSON |
//! | [`drift`] | models and their features as JSON |
//! | [`forecasts`] | series, their forecasts and what is unusual, as JSON |
//! | [`keys`] | API keys: create, rotate, take back |
//! | [`recovery`] | what is done about what is wrong, and orders of people |
//! | [`silences`] | what nobody is told of, and who looks after what |
//! | [`stream`] | alerts, commands and outcomes as they happen |
//! | [`openapi`] | the description of all this, made from the types |
//!
//! Promises
//! - G-1 Liveness depends on nothing but this process; readiness answers at once from what was last seen.
//! - G-2 An intake answers 200 only after the stream has acknowledged everything it accepted.
//! - G-3 No body costs more memory than its limit, whatever it claims or inflates to, and what is made of it is a small multiple;
//!   the bodies of all intake together stay within one budget.
//! - G-4 Every request ends within its deadline, and every error is a problem that says what to do and nothing of the inside.

pub mod actor;
mod admission;
pub mod alerts;
mod api;
pub mod auth;
mod body;
pub mod breakers;
pub mod client;
pub mod commands;
pub mod config;
pub mod drift;
pub mod events;
pub mod forecasts;
pub mod key_rotation;
pub mod keys;
mod layer;
pub mod leaks;
mod limits;
pub mod openapi;
mod pace;
mod probes;
pub mod problem;
mod publish;
pub mod queries;
pub mod readiness;
pub mod recovery;
pub mod routes;
mod server;
pub mod silences;
pub mod status;
pub mod stream;
pub mod tls;
mod traces;

pub use actor::{GatewayActor, GatewayHandle};
pub use auth::{Authenticate, Caller, Principal, Refusal};
pub use config::{AuthMode, GatewayConfig, GatewayError};
pub use readiness::{Check, Level, Readiness, Ready};

use crate::audit::{Act, Audit};
use crate::feed::Chunk;
use crate::metrics::Metrics;
use crate::otlp::{Mapper, ServiceSpans};
use crate::roster::Slots;
use crate::store::Store;
use admission::Limits;
use client::{Hosts, Proxies};
use homeostat_nats::Log;
use homeostat_schemas::Root;
use problem::Problem;
use publish::Ids;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Semaphore, broadcast, watch};

/// How many services are told apart when spans are counted.
const SERVICES_MAX: usize = 1_000;

/// What the gateway speaks for.
#[derive(Clone)]
pub struct GatewayState {
    /// The log; nothing while the bus is away.
    pub log: watch::Receiver<Option<Log>>,
    /// The running actors.
    pub slots: Slots,
    /// History.
    pub store: Store,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The root of all subjects.
    pub root: Root,
    /// How the parts are.
    pub readiness: Arc<Readiness>,
    /// Messages as they are read.
    pub live: broadcast::Sender<Chunk>,
    /// Judges keys; nothing where there are none, and then nobody is let in who needs one.
    pub keys: Option<Arc<dyn Authenticate>>,
    /// The keys themselves, for those who administer them.
    pub registry: Option<crate::keys::Keys>,
    /// Where everything that changes something is recorded first.
    pub audit: Audit,
}

/// What every worker shares.
struct Gate {
    config: GatewayConfig,
    state: GatewayState,
    mapper: Mapper,
    ids: Ids,
    /// Intake requests at work.
    intake: Arc<Semaphore>,
    /// KiB for the bodies of all of them.
    memory: Arc<Semaphore>,
    /// Requests to the API at work.
    api: Arc<Semaphore>,
    /// Clients of the stream.
    clients: Arc<Semaphore>,
    /// What each service sent over OTLP.
    services: Mutex<BTreeMap<String, ServiceSpans>>,
    /// Whether a request needs a key.
    keys_needed: bool,
    /// Where requests come from.
    forwarded: Proxies,
    /// Under which names it answers without a key.
    hosts: Hosts,
    /// What everybody has used.
    limits: Limits,
    /// Says that the process stops.
    stop: watch::Receiver<bool>,
}

impl Gate {
    fn new(config: GatewayConfig, state: GatewayState, keys_needed: bool, stop: watch::Receiver<bool>) -> Self {
        let permits = |count: usize| Arc::new(Semaphore::new(count.clamp(1, Semaphore::MAX_PERMITS)));
        Gate {
            intake: permits(config.intake_max),
            memory: permits(config.intake_memory_mb.saturating_mul(1024)),
            api: permits(config.api_max),
            clients: permits(config.stream_clients_max),
            keys_needed,
            forwarded: Proxies::new(&config),
            hosts: Hosts::new(&config),
            limits: Limits::default(),
            config,
            state,
            mapper: Mapper::default(),
            ids: Ids::default(),
            services: Mutex::default(),
            stop,
        }
    }

    fn log(&self) -> Option<Log> {
        self.state.log.borrow().clone()
    }

    /// Records what is about to be done. Only behind it may it be done.
    ///
    /// # Errors
    /// 503: it could not be recorded, so it is not done.
    async fn audit(&self, caller: &Caller, action: &str, target: &str, detail: Value) -> Result<(), Problem> {
        let by = caller.name();
        let act = Act { action, target, by: &by, source: Some(caller.source), detail };
        match self.state.audit.record(act).await {
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::error!(%error, action, "nothing was done, because it could not be recorded in the audit log");
                Err(Problem::unavailable("it cannot be recorded in the audit log now, so it is not done; send it again"))
            }
        }
    }

    /// Adds up what services sent; beyond the limit new ones are not counted, and nothing depends on it but a hint.
    fn count_services(&self, seen: BTreeMap<String, ServiceSpans>) {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        for (service, spans) in seen {
            if services.len() >= SERVICES_MAX && !services.contains_key(&service) {
                continue;
            }
            let total = services.entry(service).or_default();
            total.requests = total.requests.saturating_add(spans.requests);
            total.database = total.database.saturating_add(spans.database);
        }
    }
}
