//! The one reader of the log in a process: every message is read and decoded once and handed to all who follow.
//!
//! A follower that starts behind (a restart, a new actor) catches up with a reader of its own until it meets the shared one.
//! What cannot be decoded is set aside as a dead message before anybody is given what came with it.
//!
//! Promises
//! - F-1 A follower gets every message after its position once, in order.
//! - F-2 A slow follower slows the reader down; nothing piles up beyond a few chunks.
//! - F-3 No follower has seen a message behind a bad one before the bad one has been set aside.

use crate::metrics::Metrics;
use crate::outputs;
use crate::system::told;
use homeostat_nats::{BusError, Entry, Log, Outbox, OutboxError, OutboxOptions, Output, Reader, ReaderError, ReaderOptions};
use homeostat_schemas::envelope::Headers;
use homeostat_schemas::{Content, Delivery, Position, Rejected, Root};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{broadcast, mpsc, watch};

/// Messages of the log in order, decoded, shared.
pub type Chunk = Arc<[Delivery]>;

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

/// Decodes what was read. Nothing can fail: what is not understood says so itself.
#[must_use]
pub fn decode(root: &Root, entry: &Entry) -> Delivery {
    let headers = Headers {
        content_type: entry.header("content-type"),
        traceparent: entry.header("traceparent"),
        tracestate: entry.header("tracestate"),
    };
    Delivery::decode(root, entry.seq, entry.at_ms, entry.subject.to_string(), headers, &entry.payload)
}

/// Everything of a message that could not be processed.
pub fn rejects(delivery: &Delivery) -> Box<dyn Iterator<Item = &Rejected> + '_> {
    match &delivery.content {
        Content::Events(events) => Box::new(events.iter().filter_map(|event| event.as_ref().err())),
        Content::Broken(rejected) => Box::new(std::iter::once(rejected)),
        _ => Box::new(std::iter::empty()),
    }
}

/// The largest message that the server takes, in bytes.
#[must_use]
pub fn message_limit(log: &Log) -> usize {
    log.bus().client().server_info().max_payload
}

/// Is it something that is said, not reported: what those who watch live want to hear?
fn said(delivery: &Delivery) -> bool {
    matches!(delivery.content, Content::Alert(_) | Content::Command(_) | Content::Outcome(_))
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
}

struct Shared {
    ring: VecDeque<Chunk>,
    taps: Vec<mpsc::Sender<Chunk>>,
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

    /// Everything after `position`.
    #[must_use]
    pub fn follow(&self, position: Position) -> Follower {
        Follower { feed: self.clone(), position, source: Source::Nothing }
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
        loop {
            let entries = tokio::select! {
                () = told(stop) => return Ok(()),
                entries = reader.next() => entries,
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
            let last = chunk.last().map_or(0, |delivery| delivery.position);
            self.dispatch(chunk, stop).await;
            if noted.elapsed() > NOTE_EVERY {
                // Up to here everything bad is set aside: a start need not look before it.
                dead.note_checkpoint(last, last.to_string()).await?;
                noted = Instant::now();
            }
        }
    }

    /// F-3: what is bad is kept before what is good is handed out.
    async fn set_aside(&self, dead: &mut Outbox, chunk: &[Delivery], metrics: &Metrics) -> Result<(), FeedError> {
        let mut outputs = Vec::new();
        let limit = message_limit(&self.log);
        for delivery in chunk {
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
        dead.publish(outputs, chunk.last().map_or(0, |delivery| delivery.position), None).await?;
        Ok(())
    }

    async fn dispatch(&self, chunk: Chunk, stop: &mut watch::Receiver<bool>) {
        let Some(last) = chunk.last().map(|delivery| delivery.position) else { return };
        let taps = {
            let mut shared = self.lock();
            if shared.ring.len() == RING {
                shared.ring.pop_front();
            }
            shared.ring.push_back(chunk.clone());
            shared.dispatched = last;
            shared.taps.retain(|tap| !tap.is_closed());
            shared.taps.clone()
        };
        let said: Chunk = chunk.iter().filter(|delivery| said(delivery)).cloned().collect();
        if !said.is_empty() {
            // Nobody watching is no mistake.
            let _ = self.live.send(said);
        }
        for tap in taps {
            // F-2: waits for the slowest. A follower that ended meanwhile is left out.
            tokio::select! {
                () = told(stop) => return,
                _ = tap.send(chunk.clone()) => {}
            }
        }
    }

    /// Joins the shared reader if it has not yet gone beyond `position`.
    fn join(&self, position: Position) -> Option<mpsc::Receiver<Chunk>> {
        let mut shared = self.lock();
        if shared.ended {
            return None;
        }
        let covered = shared.dispatched <= position
            || shared.ring.front().and_then(|chunk| chunk.first()).is_some_and(|delivery| delivery.position <= position + 1);
        if !covered {
            return None;
        }
        let (tap, receiver) = mpsc::channel(WAITING);
        for chunk in &shared.ring {
            if chunk.last().is_some_and(|delivery| delivery.position > position) {
                // The ring is shorter than the channel.
                let _ = tap.try_send(chunk.clone());
            }
        }
        shared.taps.push(tap);
        Some(receiver)
    }
}

enum Source {
    Nothing,
    Own(Box<Reader>),
    Shared(mpsc::Receiver<Chunk>),
}

/// One who follows the log from a position of their own.
pub struct Follower {
    feed: Feed,
    position: Position,
    source: Source,
}

impl Follower {
    /// Has it met the shared reader?
    #[must_use]
    pub fn caught_up(&self) -> bool {
        matches!(self.source, Source::Shared(_))
    }

    /// The next messages; `None` when the feed has ended. May contain messages that were handed out before (never after a
    /// gap): the one who follows passes over positions they know.
    ///
    /// # Errors
    /// What cannot be cured by reading again.
    pub async fn next(&mut self) -> Result<Option<Chunk>, FeedError> {
        loop {
            match &mut self.source {
                Source::Nothing => {
                    if let Some(receiver) = self.feed.join(self.position) {
                        self.source = Source::Shared(receiver);
                    } else if self.feed.lock().ended {
                        return Ok(None);
                    } else {
                        let options = ReaderOptions { bytes_max: CHUNK_BYTES, ..ReaderOptions::default() };
                        self.source = Source::Own(Box::new(Reader::open(&self.feed.log, self.position + 1, options).await?));
                    }
                }
                Source::Shared(receiver) => {
                    let chunk = receiver.recv().await;
                    self.note(chunk.as_ref());
                    return Ok(chunk);
                }
                Source::Own(reader) => {
                    if let Some(receiver) = self.feed.join(self.position) {
                        self.source = Source::Shared(receiver);
                        continue;
                    }
                    if self.feed.lock().ended {
                        return Ok(None);
                    }
                    let entries = match reader.next().await {
                        Ok(entries) => entries,
                        Err(error @ ReaderError::Overtaken { .. }) => {
                            tracing::error!(%error, "telemetry was lost before it could be read");
                            continue;
                        }
                        Err(error) => return Err(error.into()),
                    };
                    let chunk: Chunk = entries.iter().map(|entry| decode(&self.feed.root, entry)).collect();
                    self.note(Some(&chunk));
                    return Ok(Some(chunk));
                }
            }
        }
    }

    fn note(&mut self, chunk: Option<&Chunk>) {
        if let Some(last) = chunk.and_then(|chunk| chunk.last()) {
            self.position = self.position.max(last.position);
        }
    }
}
