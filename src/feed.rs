//! The one reader of the log in a process: every message is read and decoded once and handed to all who want it.
//!
//! A follower that starts behind (a restart, a new actor) catches up with a reader of its own until it meets the shared one.
//! What cannot be decoded is set aside as a dead message before anybody is given what came with it.
//!
//! Promises
//! - F-1 A follower gets every message after its position that is about what it follows once, in order, and learns how far the
//!   log went in between.
//! - F-2 A slow follower slows the reader down; nothing piles up beyond a few chunks.
//! - F-3 No follower has seen a message behind a bad one before the bad one has been set aside.
//! - F-4 A follower costs nothing for messages about something else.

mod chunk;
mod follower;
mod tap;

pub use chunk::{Chunk, Mark, decode, rejects};
pub use follower::Follower;
pub use tap::{Portion, Progress};

use crate::metrics::Metrics;
use crate::outputs;
use crate::system::told;
use homeostat_actors::core::Topics;
use homeostat_nats::{BusError, Log, Outbox, OutboxError, OutboxOptions, Output, Reader, ReaderError, ReaderOptions};
use homeostat_schemas::{Position, Root};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tap::Tap;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::MissedTickBehavior;

/// The name of the reader's chain: it publishes dead messages as an actor publishes alerts.
pub const READER: &str = "reader";

/// How many chunks are kept for those who are about to join.
const RING: usize = 4;
/// How many chunks may wait for one follower.
const WAITING: usize = RING + 2;
/// How often the reader notes how far everything bad is set aside.
const NOTE_EVERY: Duration = Duration::from_secs(5);
/// About how many bytes of messages a chunk holds.
const CHUNK_BYTES: usize = 2 * 1024 * 1024;
/// Chunks follow each other at this distance at least. When little happens nobody waits for it; under load, what comes meanwhile
/// is handed over together, instead of waking every follower for each few messages that the network happened to bring.
const PACE: Duration = Duration::from_millis(1);
/// What is said, not reported: what those who watch live want to hear.
const SAID: Topics = Topics::ALERTS.with(Topics::COMMANDS).with(Topics::OUTCOMES);

/// The largest message that the server takes, in bytes.
#[must_use]
pub fn message_limit(log: &Log) -> usize {
    log.bus().client().server_info().max_payload
}

/// Why a feed ended.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// Reading failed for good.
    #[error(transparent)]
    Read(#[from] ReaderError),
    /// The bus refused.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// Dead messages could not be set aside, or somebody else sets them aside now.
    #[error(transparent)]
    Dead(#[from] OutboxError),
    /// There is no thread to read on, or it ended.
    #[error("the log is not read: {0}")]
    Thread(String),
}

struct Shared {
    ring: VecDeque<Chunk>,
    taps: Vec<Tap>,
    /// The last position handed out.
    dispatched: Position,
    ended: bool,
}

/// The shared reader's side that followers hold.
#[derive(Clone)]
pub struct Feed {
    log: Log,
    root: Root,
    shared: Arc<Mutex<Shared>>,
    live: broadcast::Sender<Chunk>,
}

impl Feed {
    /// A feed that will hand out what comes after `from`.
    #[must_use]
    pub fn new(log: &Log, root: &Root, from: Position, live: broadcast::Sender<Chunk>) -> Feed {
        let shared = Shared { ring: VecDeque::with_capacity(RING), taps: Vec::new(), dispatched: from, ended: false };
        Feed { log: log.clone(), root: root.clone(), shared: Arc::new(Mutex::new(shared)), live }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything about these topics after `position`.
    #[must_use]
    pub fn follow(&self, position: Position, topics: Topics) -> Follower {
        Follower::new(self.clone(), position, topics)
    }

    /// The last position handed out.
    #[must_use]
    pub fn dispatched(&self) -> Position {
        self.lock().dispatched
    }

    /// Reads until told to stop. Run by one task.
    ///
    /// # Errors
    /// What cannot be cured by reading again.
    pub async fn run(&self, metrics: Arc<Metrics>, mut stop: watch::Receiver<bool>) -> Result<(), FeedError> {
        let result = self.read(&metrics, &mut stop).await;
        let mut shared = self.lock();
        shared.ended = true;
        shared.taps.clear();
        result
    }

    async fn read(&self, metrics: &Metrics, stop: &mut watch::Receiver<bool>) -> Result<(), FeedError> {
        let (mut dead, _) = Outbox::open(&self.log, READER, OutboxOptions::default()).await?;
        let mut noted = Instant::now();
        let options = ReaderOptions { bytes_max: CHUNK_BYTES, ..ReaderOptions::default() };
        let mut reader = Reader::open(&self.log, self.dispatched() + 1, options).await?;
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let entries = tokio::select! {
                () = told(stop) => return Ok(()),
                entries = async {
                    pace.tick().await;
                    reader.next().await
                } => entries,
            };
            let entries = match entries {
                Ok(entries) => entries,
                Err(error @ ReaderError::Overtaken { .. }) => {
                    tracing::error!(%error, "telemetry was lost before it could be read");
                    metrics.overtaken.inc();
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let chunk: Chunk = entries.iter().map(|entry| decode(&self.root, entry)).collect();
            drop(entries);
            self.set_aside(&mut dead, &chunk, metrics).await?;
            metrics.count(&chunk);
            let last = chunk.end().position;
            self.dispatch(chunk, stop).await;
            if noted.elapsed() > NOTE_EVERY {
                // Up to here everything bad is set aside: a start need not look before it.
                dead.note_checkpoint(last, last.to_string()).await?;
                noted = Instant::now();
            }
        }
    }

    /// F-3: what is bad is kept before what is good is handed out.
    async fn set_aside(&self, dead: &mut Outbox, chunk: &Chunk, metrics: &Metrics) -> Result<(), FeedError> {
        let mut outputs = Vec::new();
        let limit = message_limit(&self.log);
        for delivery in chunk.iter() {
            for (index, rejected) in (0..).zip(rejects(delivery)) {
                let identity = homeostat_nats::Identity { position: delivery.position, index };
                let message = outputs::dead(&self.root, &delivery.subject, delivery.position, rejected, READER, limit);
                outputs.push(Output { identity, message });
            }
        }
        if outputs.is_empty() {
            return Ok(());
        }
        metrics.dead.inc_by(outputs.len() as u64);
        tracing::warn!(count = outputs.len(), first = outputs[0].identity.position, "bad input was set aside; see the dead messages");
        dead.publish(outputs, chunk.end().position, None).await?;
        Ok(())
    }

    async fn dispatch(&self, chunk: Chunk, stop: &mut watch::Receiver<bool>) {
        let wanted: Vec<_> = {
            let mut shared = self.lock();
            if shared.ring.len() == RING {
                shared.ring.pop_front();
            }
            shared.ring.push_back(chunk.clone());
            shared.dispatched = chunk.end().position;
            shared.taps.retain(|tap| !tap.is_closed());
            shared.taps.iter_mut().filter_map(|tap| tap.offer(&chunk)).collect()
        };
        if let Some(said) = chunk.about(SAID) {
            // Nobody watching is no mistake.
            let _ = self.live.send(said);
        }
        for (tap, portion) in wanted {
            // F-2: waits for the slowest. A follower that ended meanwhile is left out.
            tokio::select! {
                () = told(stop) => return,
                _ = tap.send(portion) => {}
            }
        }
    }

    /// Joins the shared reader if it has not yet gone beyond `position`.
    fn join(&self, position: Position, topics: Topics, progress: &Arc<Progress>) -> Option<mpsc::Receiver<Portion>> {
        let mut shared = self.lock();
        if shared.ended {
            return None;
        }
        let covered = shared.dispatched <= position
            || shared.ring.front().and_then(|chunk| chunk.first()).is_some_and(|delivery| delivery.position <= position + 1);
        if !covered {
            return None;
        }
        let (mut tap, receiver) = Tap::new(topics, WAITING, progress);
        for chunk in shared.ring.iter().filter(|chunk| chunk.end().position > position) {
            if let Some((sender, portion)) = tap.offer(chunk) {
                // The ring is shorter than the channel.
                let _ = sender.try_send(portion);
            }
        }
        shared.taps.push(tap);
        Some(receiver)
    }
}
