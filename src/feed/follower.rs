//! One who follows the log from a position of their own: behind, with a reader of their own, then with everyone else.

use super::chunk::{Chunk, Mark, decode};
use super::tap::{Portion, Progress};
use super::{CHUNK_BYTES, Feed, FeedError};
use homeostat_actors::core::Topics;
use homeostat_nats::{Reader, ReaderError, ReaderOptions};
use homeostat_schemas::Position;
use std::sync::Arc;
use tokio::sync::mpsc;

enum Source {
    Nothing,
    Own(Box<Reader>),
    Shared(mpsc::Receiver<Portion>),
}

/// One who follows the log from a position of their own.
pub struct Follower {
    feed: Feed,
    topics: Topics,
    position: Position,
    source: Source,
    progress: Arc<Progress>,
}

impl Follower {
    pub(super) fn new(feed: Feed, position: Position, topics: Topics) -> Follower {
        Follower { feed, topics, position, source: Source::Nothing, progress: Arc::default() }
    }

    /// Has it met the shared reader?
    #[must_use]
    pub fn caught_up(&self) -> bool {
        matches!(self.source, Source::Shared(_))
    }

    /// How far the log went past it.
    #[must_use]
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// The next messages; `None` when the feed has ended. May contain messages that were handed out before (never after a
    /// gap), and such as are about something else: the one who follows passes over them.
    ///
    /// # Errors
    /// What cannot be cured by reading again.
    pub async fn next(&mut self) -> Result<Option<Portion>, FeedError> {
        loop {
            match &mut self.source {
                Source::Nothing => {
                    if let Some(receiver) = self.feed.join(self.position, self.topics, &self.progress) {
                        self.source = Source::Shared(receiver);
                    } else if self.feed.lock().ended {
                        return Ok(None);
                    } else {
                        let options = ReaderOptions { bytes_max: CHUNK_BYTES, ..ReaderOptions::default() };
                        self.source = Source::Own(Box::new(Reader::open(&self.feed.log, self.position + 1, options).await?));
                    }
                }
                Source::Shared(receiver) => return Ok(receiver.recv().await),
                Source::Own(reader) => {
                    if let Some(receiver) = self.feed.join(self.position, self.topics, &self.progress) {
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
                    self.position = self.position.max(chunk.end().position);
                    return Ok(Some(Portion { passed: Mark::default(), chunk }));
                }
            }
        }
    }

    /// What has already come behind that, at most `most`: one who was busy takes it together.
    pub fn waiting(&mut self, most: usize) -> Vec<Portion> {
        let Source::Shared(receiver) = &mut self.source else { return Vec::new() };
        std::iter::from_fn(|| receiver.try_recv().ok()).take(most).collect()
    }
}
