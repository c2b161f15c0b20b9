//! The running whole: what `up` starts, in which order, and how it stops.
//!
//! One process works, others stand by: a lease says which, the chains of the actors make sure of it. The gateway runs in all of
//! them, from the first moment, so that probes have an answer while the bus is still away.

mod pulse;

use crate::config::Config;
use crate::feed::{Chunk, Feed, FeedError, READER};
use crate::gateway::{GatewayActor, GatewayState, Readiness};
use crate::hands::Hands;
use crate::metrics::Metrics;
use crate::projector::Projector;
use crate::roster::{NAMES, Roster, Slots};
use crate::settings::InForceError;
use crate::store::Store;
use crate::supervise::{Common, End, Keeper};
use crate::telemetry::Spans;
use actix::System;
use homeostat_nats::{
    Bus, BusConfig, BusError, Checkpoints, Embedded, EmbeddedError, Fence, Head, Lease, LeaseConfig, LeaseState, Log, Ticker, TickerConfig,
};
use homeostat_schemas::{Position, Root, Subject};
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;

/// How many chunks a subscriber to the live stream may be behind.
const LIVE: usize = 64;
/// The pause before the bus is tried again, doubling up to [`RETRY_MAX`].
const RETRY: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Log time that has not moved for so long stands still: ticks come four times a second, and a takeover takes two seconds.
const STILL: Duration = Duration::from_secs(4);
/// After so long an embedded server is started again, and after up to [`PATIENCE_MAX`] more once more.
const PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE_MAX: Duration = Duration::from_secs(60);
/// An actor that has not moved for so long while the log did lags.
const LAG: Duration = Duration::from_secs(5);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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
}

/// What all parts share.
#[derive(Clone)]
struct Shared {
    config: Config,
    root: Root,
    system: System,
    slots: Slots,
    store: Store,
    metrics: Arc<Metrics>,
    spans: Spans,
    live: broadcast::Sender<Chunk>,
    stop: watch::Receiver<bool>,
}

/// Runs everything until `stop` says so.
///
/// # Errors
/// See [`SystemError`].
pub async fn up(config: Config, mut stop: watch::Receiver<bool>, announce: impl FnOnce(&Where)) -> Result<(), SystemError> {
    let root = Root::try_from(config.nats.root.clone()).map_err(|error| SystemError::Start(error.to_string()))?;
    config.actors.check().map_err(|error| SystemError::Start(error.to_string()))?;
    let data_dir = config.data_dir.display().to_string();
    std::fs::create_dir_all(&config.data_dir).map_err(|source| SystemError::DataDir { path: data_dir.clone(), source })?;
    let _lock = lock(&config.data_dir)?;
    let spans = Spans::new(&config.telemetry, root.as_str()).map_err(|error| SystemError::Start(error.to_string()))?;
    let store = Store::connect(&config.database, &config.data_dir).await.map_err(|error| SystemError::Start(error.to_string()))?;
    let metrics = Arc::new(Metrics::default());
    let slots = Slots::default();
    let (live, _) = broadcast::channel(LIVE);
    let (log_sender, log_receiver) = watch::channel(None::<Log>);
    let readiness = Arc::new(Readiness::default());
    let system = actix_system().await?;
    let shared = Shared {
        config: config.clone(),
        root: root.clone(),
        system: system.clone(),
        slots: slots.clone(),
        store: store.clone(),
        metrics: metrics.clone(),
        spans: spans.clone(),
        live: live.clone(),
        stop: stop.clone(),
    };

    let state = GatewayState { log: log_receiver, slots, store: store.clone(), metrics, root, readiness: readiness.clone(), live };
    let gateway = GatewayActor::run(&system, config.gateway.clone(), state).await.map_err(|error| SystemError::Start(error.to_string()))?;

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
        gateway: format!("http://{}", gateway.address()),
        nats: homeostat_nats::connect::public_url(&bus_config.url),
        embedded: embedded.is_some(),
        database: store.public_url(),
        data_dir,
    });

    let result = match open(&bus_config, &mut stop).await {
        Ok(Some(log)) => {
            log_sender.send_replace(Some(log.clone()));
            tokio::select! {
                result = work(&shared, &log, &readiness) => result,
                () = watch_bus(&shared, &log, &readiness, embedded.as_ref()) => Ok(()),
            }
        }
        Ok(None) => Ok(()),
        Err(error) => Err(error.into()),
    };
    // From here on everything has one deadline together.
    let deadline = Duration::from_secs(config.shell.stop_deadline_s);
    let ended = tokio::time::timeout(deadline, async {
        gateway.stop().await;
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
pub async fn told(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone can say nothing else any more either.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Connects and opens the log, waiting for a bus that is away. Nothing when told to stop meanwhile.
async fn open(config: &BusConfig, stop: &mut watch::Receiver<bool>) -> Result<Option<Log>, BusError> {
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

/// Says to readiness, for as long as it is let, how the bus and the actors are.
async fn watch_bus(shared: &Shared, log: &Log, readiness: &Readiness, embedded: Option<&Embedded>) {
    let mut every = tokio::time::interval(Duration::from_millis(250));
    let mut beat = Heart::new();
    let state = log.bus().state();
    loop {
        every.tick().await;
        let connected = state.borrow().phase == homeostat_nats::Phase::Connected;
        readiness.bus(connected);
        let still = beat.stands_still(log).await;
        readiness.still(still > STILL);
        if let Some(embedded) = embedded
            && still > beat.patience
        {
            tracing::error!(still_s = still.as_secs(), "the log takes no messages; nats-server is started again, in case there is room again");
            embedded.restart();
            beat.restarted();
        }
        let mut conditions = shared.slots.conditions();
        for (actor, condition) in &mut conditions {
            if beat.lags(actor, condition.position) {
                condition.caught_up = false;
                condition.trouble = Some("it does not move though the log does".to_owned());
            }
        }
        for (actor, condition) in &conditions {
            let newest = conditions.iter().map(|(_, condition)| condition.position).max().unwrap_or(0);
            shared.metrics.show(actor, condition, newest);
        }
        readiness.actors(conditions);
    }
}

/// Does log time move? Whoever ticks: what counts is that the log stores.
struct Heart {
    last: u64,
    moved: Instant,
    looked: Option<Instant>,
    /// Where each actor was, and since when it has been there.
    places: BTreeMap<&'static str, (Position, Instant)>,
    /// After standing still for so long our own server is started again; longer every time it did not help.
    patience: Duration,
}

impl Heart {
    fn new() -> Heart {
        Heart { last: 0, moved: Instant::now(), looked: None, places: BTreeMap::new(), patience: PATIENCE }
    }

    /// For how long log time has not moved.
    async fn stands_still(&mut self, log: &Log) -> Duration {
        if self.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            self.looked = Some(Instant::now());
            let tick = tokio::time::timeout(LOOK_EVERY, log.last_on(&log.subject("tick"))).await;
            if let Ok(Ok(Some(tick))) = tick
                && tick.seq != self.last
            {
                self.last = tick.seq;
                self.moved = Instant::now();
                self.patience = PATIENCE;
            }
        }
        self.moved.elapsed()
    }

    /// Has an actor been at the same place for long while the log went on?
    fn lags(&mut self, actor: &'static str, position: Position) -> bool {
        let place = self.places.entry(actor).or_insert((position, Instant::now()));
        if place.0 != position || position >= self.last {
            *place = (position, Instant::now());
        }
        place.1.elapsed() > LAG
    }

    fn restarted(&mut self) {
        self.patience = self.moved.elapsed() + (self.patience * 2).min(PATIENCE_MAX);
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
        shared.metrics.active.set(0);
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
        match active(shared, log, &lease).await {
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

/// How a turn at the work ended.
enum Turn {
    Stopped,
    Lost,
    GaveUp(String),
}

/// Why a turn ended that goes on after a pause.
#[derive(Debug, thiserror::Error)]
enum TurnError {
    #[error(transparent)]
    Feed(#[from] FeedError),
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error(transparent)]
    Settings(#[from] InForceError),
    #[error("a part ended unexpectedly")]
    Ended,
}

/// Everything that only the owner does: the feed, the actors, ticks, hands, projections.
async fn active(shared: &Shared, log: &Log, lease: &Lease) -> Result<Turn, TurnError> {
    crate::settings::configure(log, &shared.root, &shared.config.actors).await?;
    let feed = Feed::new(log, &shared.root, start(log, &shared.root).await?, shared.live.clone());
    let (ending, stop) = watch::channel(false);
    let common = Common {
        log: log.clone(),
        root: shared.root.clone(),
        feed: feed.clone(),
        metrics: shared.metrics.clone(),
        config: shared.config.shell.clone(),
        settings: shared.config.actors.clone(),
        system: shared.system.clone(),
        suspects: shared.config.data_dir.join("at-work"),
        spans: shared.spans.clone(),
        stop: stop.clone(),
        fence: fence(),
    };
    let (ends, mut ended) = mpsc::channel::<Result<End, FeedError>>(NAMES.len() + 2);
    let mut tasks = JoinSet::new();
    let keep = |ends: &mpsc::Sender<Result<End, FeedError>>| ends.clone();
    let Roster { query, health, status } = shared.slots.clone();
    let (a, b, c) = (Keeper::new(common.clone(), query), Keeper::new(common.clone(), health), Keeper::new(common.clone(), status));
    for (ends, keeper) in [(keep(&ends), boxed(a.run())), (keep(&ends), boxed(b.run())), (keep(&ends), boxed(c.run()))] {
        tasks.spawn(async move {
            let _ = ends.send(Ok(keeper.await)).await;
        });
    }
    let (reader, metrics, reading) = (feed.clone(), shared.metrics.clone(), stop.clone());
    let reader_ends = keep(&ends);
    tasks.spawn(async move {
        let result = reader.run(metrics, reading).await;
        let _ = reader_ends.send(result.map(|()| End::Stopped)).await;
    });
    let hands = Hands { log: log.clone(), root: shared.root.clone(), store: shared.store.clone(), metrics: shared.metrics.clone() };
    let (hand_feed, hand_stop, hand_ends) = (feed.clone(), stop.clone(), keep(&ends));
    tasks.spawn(async move {
        if let Err(error) = hands.run(hand_feed, hand_stop).await {
            let _ = hand_ends.send(Err(error)).await;
        }
    });
    tasks.spawn(Projector::new(log, &shared.root, &shared.store, &shared.slots).run(stop.clone()));
    tasks.spawn(pulse::run(log.clone(), shared.root.clone(), shared.slots.clone(), stop.clone()));
    let ticker = Ticker::start(log, &TickerConfig::default());

    let mut whole = shared.stop.clone();
    let mut owner = lease.state();
    let turn = tokio::select! {
        () = told(&mut whole) => Ok(Turn::Stopped),
        _ = owner.wait_for(|state| !matches!(state, LeaseState::Held { .. })), if !without_lease() => {
            tracing::warn!("the lease is lost; standing by");
            Ok(Turn::Lost)
        }
        end = ended.recv() => match end {
            Some(Ok(End::GaveUp(reason))) => Ok(Turn::GaveUp(reason)),
            Some(Ok(End::Fenced)) => Ok(Turn::Lost),
            Some(Err(error)) => Err(error.into()),
            Some(Ok(End::Stopped)) | None => Err(TurnError::Ended),
        },
    };
    ticker.stop().await;
    if !matches!(turn, Ok(Turn::Stopped)) {
        // Somebody else may be at work already, or the bus is away: nothing can be saved, and nothing need be.
        tasks.shutdown().await;
        return turn;
    }
    ending.send_replace(true);
    let deadline = Duration::from_secs(shared.config.shell.stop_deadline_s);
    let joined = tokio::time::timeout(deadline, async { while tasks.join_next().await.is_some() {} }).await;
    if joined.is_err() {
        tracing::error!(
            deadline_s = deadline.as_secs(),
            "not all actors stopped in time; the next start goes on from their last checkpoints"
        );
        tasks.abort_all();
    }
    turn
}

fn boxed<'a, T>(future: impl Future<Output = T> + Send + 'a) -> std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>> {
    Box::pin(future)
}

/// Where the shared reader begins: at the newest checkpoint, or where it last noted that everything bad is set aside, if that is
/// further back. Those behind it catch up by themselves.
async fn start(log: &Log, root: &Root) -> Result<Position, BusError> {
    let bounds = log.bounds().await?;
    let oldest = bounds.first.saturating_sub(1);
    let mut newest = oldest;
    for actor in NAMES {
        let head = log.last_on(&root.subject(&Subject::Chain(actor.to_owned()))).await?;
        let head = head.and_then(|entry| Head::decode(&entry).ok()).filter(|head| head.incarnation == log.incarnation());
        let position = head.and_then(|head| Checkpoints::position_of(&head.checkpoint?));
        newest = newest.max(position.unwrap_or(0).min(bounds.last));
    }
    // What is bad before this position is set aside already; behind it nobody knows.
    let reader = log.last_on(&root.subject(&Subject::Chain(READER.to_owned()))).await?;
    let reader = reader.and_then(|entry| Head::decode(&entry).ok()).filter(|head| head.incarnation == log.incarnation());
    Ok(newest.min(reader.map_or(oldest, |head| head.position)).max(oldest))
}

/// The chaos tests prove that the fence matters by taking it away.
fn fence() -> Fence {
    if off("HOMEOSTAT_TEST_FENCE") { Fence::Off } else { Fence::On }
}

/// The chaos tests let two processes believe that they own the log, to prove that the fence alone keeps them apart.
fn without_lease() -> bool {
    off("HOMEOSTAT_TEST_LEASE")
}

fn off(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| value == "off")
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
