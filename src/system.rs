//! The running whole: what `up` starts, in which order, and how it stops.
//!
//! One process works, others stand by: a lease says which, the chains of the actors make sure of it. The gateway runs in all of
//! them, from the first moment, so that probes have an answer while the bus is still away.

mod pulse;
mod room;
mod turn;
mod watch;

use crate::audit::{Audit, SigningKey};
use crate::callout::Callout;
use crate::config::Config;
use crate::delivery::Receivers;
use crate::feed::Chunk;
use crate::gateway::{GatewayActor, GatewayState, Readiness};
use crate::keys::Keys;
use crate::metrics::Metrics;
use crate::roster::Slots;
use crate::settings::InForceError;
use crate::signing::Signing;
use crate::store::Store;
use crate::telemetry::Spans;
use actix::System;
use homeostat_nats::{Bus, BusConfig, BusError, Embedded, EmbeddedError, Lease, LeaseConfig, Log};
use homeostat_schemas::Root;
use std::fs::{File, TryLockError};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, watch as signal};
use turn::{Turn, active, without_lease};

/// How many chunks a subscriber to the live stream may be behind.
const LIVE: usize = 64;
/// The pause before the bus is tried again, doubling up to [`RETRY_MAX`].
const RETRY: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Why the system ended otherwise than it was told.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// The data directory cannot be made.
    #[error("the data directory {path} cannot be made: {source}; choose another with --data-dir")]
    DataDir {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Another process works in the data directory.
    #[error("another homeostat works in {0} already: stop it, or choose another directory with --data-dir")]
    Taken(String),
    /// No embedded server.
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    /// The bus refused for good.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The settings cannot be used.
    #[error(transparent)]
    Settings(#[from] InForceError),
    /// Any other setting or component that cannot be used.
    #[error("{0}")]
    Start(String),
    /// An actor fell too often.
    #[error("giving up: {0}")]
    GaveUp(String),
    /// Stopping took too long.
    #[error("not everything had stopped after {0} s; what was acknowledged is safe, the next start goes on from the last checkpoint")]
    Slow(u64),
}

/// Where everything is, for people.
#[derive(Debug, Clone)]
pub struct Where {
    /// The gateway's base URL.
    pub gateway: String,
    /// The bus, without credentials.
    pub nats: String,
    /// Whether that is a server of our own.
    pub embedded: bool,
    /// The database, without credentials.
    pub database: String,
    /// The data directory.
    pub data_dir: String,
    /// The public key that signs alerts and commands.
    pub signer: String,
}

/// What all parts share.
#[derive(Clone)]
struct Shared {
    config: Config,
    root: Root,
    system: System,
    slots: Slots,
    store: Store,
    keys: Keys,
    audit: Audit,
    metrics: Arc<Metrics>,
    spans: Spans,
    signing: Signing,
    receivers: Receivers,
    live: broadcast::Sender<Chunk>,
    stop: signal::Receiver<bool>,
}

/// Runs everything until `stop` says so.
///
/// # Errors
/// See [`SystemError`].
pub async fn up(config: Config, mut stop: signal::Receiver<bool>, announce: impl FnOnce(&Where)) -> Result<(), SystemError> {
    let root = Root::try_from(config.nats.root.clone()).map_err(|error| SystemError::Start(error.to_string()))?;
    config.actors.check().map_err(|error| SystemError::Start(error.to_string()))?;
    let data_dir = config.data_dir.display().to_string();
    // History and state are their owner's; an existing directory stays as it is.
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&config.data_dir)
        .map_err(|source| SystemError::DataDir { path: data_dir.clone(), source })?;
    let _lock = lock(&config.data_dir)?;
    let signing = Signing::open(&config.signing, &config.data_dir).map_err(|error| SystemError::Start(error.to_string()))?;
    let spans = Spans::new(&config.telemetry, root.as_str()).map_err(|error| SystemError::Start(error.to_string()))?;
    let receivers = Receivers::new(&config.delivery).map_err(|error| SystemError::Start(error.to_string()))?;
    let store = Store::connect(&config.database, &config.data_dir).await.map_err(|error| SystemError::Start(error.to_string()))?;
    let callout = Callout::open(&config.nats).map_err(|error| SystemError::Start(error.to_string()))?;
    let keys = Keys::open(store.clone(), &config.gateway.keys, &config.data_dir).map_err(|error| SystemError::Start(error.to_string()))?;
    let keys = Keys { connections: callout.as_ref().map(|callout| callout.connections()), ..keys };
    keys.replicas.join();
    let metrics = Arc::new(Metrics::default());
    let slots = Slots::default();
    let (live, _) = broadcast::channel(LIVE);
    let (log_sender, log_receiver) = signal::channel(None::<Log>);
    let readiness = Arc::new(Readiness::default());
    let signing_key =
        SigningKey::of(&config.data_dir).map_err(|error| SystemError::Start(format!("the key that signs the audit log: {error}")))?;
    let audit = Audit::new(log_receiver.clone(), Some(signing_key));
    let system = actix_system().await?;
    let shared = Shared {
        config: config.clone(),
        root: root.clone(),
        system: system.clone(),
        slots: slots.clone(),
        store: store.clone(),
        keys: keys.clone(),
        audit: audit.clone(),
        metrics: metrics.clone(),
        spans: spans.clone(),
        signing: signing.clone(),
        receivers,
        live: live.clone(),
        stop: stop.clone(),
    };

    let state = GatewayState {
        log: log_receiver.clone(),
        slots,
        store: store.clone(),
        metrics: metrics.clone(),
        root,
        readiness: readiness.clone(),
        live,
        keys: Some(Arc::new(keys.clone())),
        registry: Some(keys.clone()),
        audit: audit.clone(),
    };
    let gateway = GatewayActor::run(&system, config.gateway.clone(), state).await.map_err(|error| SystemError::Start(error.to_string()))?;

    // Everything about keys that every process does, whether or not it owns the log.
    let (ending, until) = signal::channel(false);
    let watching = tokio::spawn(keys.clone().watch(until.clone()));
    let looking = tokio::spawn(room::watch(metrics.room.clone(), config.data_dir.clone(), log_receiver));
    let admitting = callout.map(|callout| tokio::spawn(callout.run(keys.clone(), metrics, until.clone())));
    let counting = tokio::spawn({
        let keys = keys.clone();
        async move { keys.usage.run(keys.records.clone(), until).await }
    });

    let embedded = match &config.nats.url {
        Some(_) => None,
        None => Some(Embedded::start(config.nats.embedded.embedded(&config.data_dir)).await?),
    };
    let bus_config = match (&embedded, &config.nats.url) {
        (Some(embedded), _) => config.nats.own_bus(embedded.run_info()),
        (None, Some(url)) => config.nats.bus(url).map_err(|error| SystemError::Start(error.to_string()))?,
        (None, None) => return Err(SystemError::Start("no bus".to_owned())),
    };
    announce(&Where {
        gateway: format!("{}://{}", config.gateway.scheme(), gateway.address()),
        nats: homeostat_nats::connect::public_url(&bus_config.url),
        embedded: embedded.is_some(),
        database: store.public_url(),
        data_dir,
        signer: signing.public().to_owned(),
    });

    let result = match open(&bus_config, &mut stop).await {
        Ok(Some(log)) => {
            log_sender.send_replace(Some(log.clone()));
            let listening = tokio::spawn(keys.replicas.clone().run(log.bus().clone(), shared.root.clone(), stop.clone()));
            let checkpoints = tokio::spawn(audit.clone().sign());
            let told = tokio::spawn(signing.answer(log.bus().clone(), shared.root.clone()));
            let result = tokio::select! {
                result = work(&shared, &log, &readiness) => result,
                () = watch::watch(&shared, &log, &readiness, embedded.as_ref()) => Ok(()),
            };
            listening.abort();
            told.abort();
            checkpoints.abort();
            if let Err(error) = audit.checkpoint().await {
                tracing::warn!(%error, "the end of the audit log is not signed; the next start does it");
            }
            result
        }
        Ok(None) => Ok(()),
        Err(error) => Err(error.into()),
    };
    // From here on everything has one deadline together.
    let deadline = Duration::from_secs(config.shell.stop_deadline_s);
    let ended = tokio::time::timeout(deadline, async {
        gateway.stop().await;
        // The last uses are written down while there is a database.
        ending.send_replace(true);
        looking.abort();
        let _ = tokio::join!(watching, counting);
        if let Some(admitting) = admitting {
            let _ = admitting.await;
        }
        store.close().await;
        if let Some(log) = &*log_sender.borrow() {
            let _ = log.bus().close().await;
        }
        if let Some(embedded) = embedded {
            embedded.stop().await;
        }
        let _ = tokio::task::spawn_blocking(move || spans.flush(Duration::from_secs(3))).await;
    });
    let slow = ended.await.is_err();
    system.stop();
    match result {
        Ok(()) if slow => Err(SystemError::Slow(deadline.as_secs())),
        result => result,
    }
}

/// Takes the data directory for this process; the kernel gives it back when the process ends, however it ends.
fn lock(data_dir: &Path) -> Result<File, SystemError> {
    let path = data_dir.join("homeostat.lock");
    let unusable = |source: std::io::Error| SystemError::DataDir { path: data_dir.display().to_string(), source };
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SystemError::Taken(data_dir.display().to_string())),
        Err(TryLockError::Error(source)) => Err(unusable(source)),
    }
}

/// Waits until everything is to end.
pub async fn told(stop: &mut signal::Receiver<bool>) {
    // A sender that is gone can say nothing else any more either.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Connects and opens the log, waiting for a bus that is away. Nothing when told to stop meanwhile.
async fn open(config: &BusConfig, stop: &mut signal::Receiver<bool>) -> Result<Option<Log>, BusError> {
    let mut pause = RETRY;
    loop {
        let attempt = async { Bus::connect(config).await?.ensure_log().await };
        let error = tokio::select! {
            result = attempt => match result {
                Ok(log) => return Ok(Some(log)),
                Err(error) if error.is_transient() => error,
                Err(error) => return Err(error),
            },
            () = told(stop) => return Ok(None),
        };
        tracing::warn!(%error, pause_ms = pause.as_millis(), "the bus cannot be reached yet");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = told(stop) => return Ok(None),
        }
        pause = (pause * 2).min(RETRY_MAX);
    }
}

/// Takes its turn at the work until told to stop.
async fn work(shared: &Shared, log: &Log, readiness: &Readiness) -> Result<(), SystemError> {
    let config = &shared.config.shell;
    let lease = Lease::start(log, "owner", &LeaseConfig { renew_ms: config.lease_renew_ms, patience_ms: config.lease_patience_ms })?;
    let mut stop = shared.stop.clone();
    let mut pause = RETRY;
    let result = loop {
        readiness.standby(true);
        shared.metrics.stand_by();
        let held = tokio::select! {
            () = told(&mut stop) => break Ok(()),
            held = lease.held(), if !without_lease() => held,
            () = std::future::ready(()), if without_lease() => Some(0),
        };
        if held.is_none() {
            break Err(SystemError::Start("the lease ended".to_owned()));
        }
        readiness.standby(false);
        shared.metrics.active.set(1);
        let turn = active(shared, log, &lease).await;
        // Whoever has the work now shows how it goes, from this moment on and not only after the pauses below.
        shared.slots.forget();
        shared.metrics.stand_by();
        match turn {
            Ok(Turn::Stopped) => break Ok(()),
            Ok(Turn::Lost) => {
                pause = RETRY;
                // The lease must have been renewed once before it is believed again: two owners would take turns at fencing.
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(config.lease_renew_ms * 2)) => {}
                    () = told(&mut stop) => break Ok(()),
                }
            }
            Ok(Turn::GaveUp(reason)) => break Err(SystemError::GaveUp(reason)),
            Err(error) => {
                tracing::warn!(%error, pause_ms = pause.as_millis(), "the actors stopped and are started again");
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = told(&mut stop) => break Ok(()),
                }
                pause = (pause * 2).min(RETRY_MAX);
            }
        }
    };
    lease.stop().await;
    result
}

/// An actix system on a thread of its own: shells and the gateway get their arbiters from it.
///
/// # Errors
/// When no thread can be had.
pub async fn actix_system() -> Result<System, SystemError> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let spawned = std::thread::Builder::new().name("actix".to_owned()).spawn(move || {
        let runner = System::new();
        let _ = sender.send(System::current());
        // Ends with `System::stop`; its code says nothing that we do not know.
        let _ = runner.run();
    });
    spawned.map_err(|error| SystemError::Start(format!("no thread for actix: {error}")))?;
    receiver.await.map_err(|_| SystemError::Start("actix did not start".to_owned()))
}
