//! A turn at the work: everything that only the owner of the log does, from taking the lease to giving it up.

use super::{Shared, pulse, told};
use crate::feed::{Feed, FeedError, READER};
use crate::hands::{Hands, IndexAdvice};
use crate::keys;
use crate::projector::Projector;
use crate::roster::NAMES;
use crate::settings::InForceError;
use crate::supervise::{Common, End, Floor, alone};
use homeostat_nats::{BusError, Checkpoints, Fence, Head, Lease, LeaseState, Log, Ticker, TickerConfig};
use homeostat_schemas::{Position, Root, Subject};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// How a turn at the work ended.
pub(super) enum Turn {
    Stopped,
    Lost,
    GaveUp(String),
}

/// Why a turn ended that goes on after a pause.
#[derive(Debug, thiserror::Error)]
pub(super) enum TurnError {
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
pub(super) async fn active(shared: &Shared, log: &Log, lease: &Lease) -> Result<Turn, TurnError> {
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
        floor: Floor::default(),
        spans: shared.spans.clone(),
        signing: shared.signing.clone(),
        stop: stop.clone(),
        fence: fence(),
    };
    let (ends, mut ended) = mpsc::channel::<Result<End, FeedError>>(NAMES.len() + 2);
    let mut tasks = JoinSet::new();
    for keeper in shared.slots.keepers(&common) {
        let ends = ends.clone();
        tasks.spawn(async move {
            let _ = ends.send(Ok(keeper.await)).await;
        });
    }
    let (reader, metrics, reading) = (feed.clone(), shared.metrics.clone(), stop.clone());
    let (reader_ends, system) = (ends.clone(), shared.system.clone());
    tasks.spawn(async move {
        // Decoding is most of the work there is, and an event is cheapest to drop on the thread that made it.
        let result =
            alone(&system, async move { reader.run(metrics, reading).await }).await.unwrap_or_else(|why| Err(FeedError::Thread(why)));
        let _ = reader_ends.send(result.map(|()| End::Stopped)).await;
    });
    let hands = Hands {
        log: log.clone(),
        root: shared.root.clone(),
        store: shared.store.clone(),
        keys: shared.keys.clone(),
        audit: shared.audit.clone(),
        index_advice: IndexAdvice::new(shared.config.planner.clone()),
        metrics: shared.metrics.clone(),
    };
    let (hand_feed, hand_stop, hand_ends) = (feed.clone(), stop.clone(), ends.clone());
    tasks.spawn(async move {
        if let Err(error) = hands.run(hand_feed, hand_stop).await {
            let _ = hand_ends.send(Err(error)).await;
        }
    });
    tasks.spawn(Projector::new(log, &shared.root, &shared.store, &shared.slots).run(stop.clone()));
    tasks.spawn(keys::outbox::run(shared.keys.records.clone(), log.clone(), shared.root.clone(), stop.clone()));
    tasks.spawn(keys::notes::run(shared.keys.records.clone(), log.clone(), shared.root.clone(), stop.clone()));
    shared.receivers.start(log, &shared.root, &shared.slots, &shared.metrics, &mut tasks, &stop);
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
pub(super) fn without_lease() -> bool {
    off("HOMEOSTAT_TEST_LEASE")
}

fn off(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| value == "off")
}
