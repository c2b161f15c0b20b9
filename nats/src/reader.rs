//! The log in order, from a sequence on, without gap or repeat, across any trouble.
//!
//! An ephemeral pull consumer of our own (no acknowledgements, in memory, one replica, heartbeat
//! every 500 ms). Why not the client's ordered consumer: it needs 15 s to recover from a restart
//! of the server. Why pull: what has been asked for bounds what can wait in this process.
//!
//! Promises
//! - RD-1 every entry that matches is handed out exactly once, in order of its sequence.
//! - RD-2 what breaks (a gap in the consumer's own count, missed heartbeats, a new connection, a
//!   consumer that is gone) leads to a new consumer at the next sequence, never to a hole.
//! - RD-3 what retention removed before it was read is said ([`ReaderError::Overtaken`]), not
//!   skipped in silence. The next call goes on behind the hole.
//! - RD-4 [`Reader::next`] may be dropped at any await and called again.
//! - RD-5 at most [`ReaderOptions::batch_max`] entries and about [`ReaderOptions::bytes_max`]
//!   bytes wait here, and one and a half times as much in the client.

mod session;

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use crate::connect::Phase;
use crate::error::BusError;
use crate::log::Log;
use crate::message::Entry;
use session::{Arrival, Session};

/// How a reader reads.
#[derive(Debug, Clone)]
pub struct ReaderOptions {
    /// Only these subjects (wildcards allowed), in full. Empty: everything. They must not
    /// overlap each other.
    pub filters: Vec<String>,
    /// At most so many entries a batch. Default 1024, at most 65,536.
    pub batch_max: usize,
    /// About so many bytes a batch. Default 8 MiB.
    pub bytes_max: usize,
    /// How often an idle server says that it lives. Default 500 ms, at least 100 ms.
    pub heartbeat: Duration,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self { filters: Vec::new(), batch_max: 1024, bytes_max: 8 * 1024 * 1024, heartbeat: Duration::from_millis(500) }
    }
}

/// Why there is no next batch.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReaderError {
    /// Retention was faster: entries from `wanted` to `first - 1` are gone. The next call goes on
    /// at `first`.
    #[error("overtaken by retention: {wanted} was wanted, the log now begins at {first}; raise `nats.stream.max_bytes` or `max_age_s`")]
    Overtaken {
        /// The sequence that should have come next.
        wanted: u64,
        /// The oldest one still there.
        first: u64,
    },
    /// The log ends before the position asked for: it lost its tail or is another log.
    #[error("position {wanted} is beyond the end of the log ({last}); the log lost its tail, rebuild from an older checkpoint")]
    Ahead {
        /// The sequence that should come next.
        wanted: u64,
        /// The last one of the log.
        last: u64,
    },
    /// After trouble, the last entry that was handed out is another one in the log: the server
    /// lost its tail (a power cut) and wrote on over it.
    #[error("the log was rewritten at {seq}: what was read there is not there any more; rebuild from an older checkpoint")]
    Rewritten {
        /// The sequence of the entry that changed.
        seq: u64,
    },
    /// Not to be cured by trying again (that is done here): the stream was re-created, the user
    /// may not read it, the connection was closed.
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// Reads the log in order.
pub struct Reader {
    log: Log,
    options: ReaderOptions,
    /// The sequence wanted next: everything before it was handed out or is in `ready`.
    next: u64,
    session: Option<Session>,
    /// Taken from the session, not yet handed out.
    ready: Vec<Entry>,
    ready_bytes: usize,
    /// The lowest sequence since the last check that may have been removed before it was read.
    doubt: Option<u64>,
    /// To be said before anything else is handed out.
    trouble: Option<ReaderError>,
    /// The last entry taken: its sequence, time and size.
    seen: Option<(u64, u64, usize)>,
    failures: u32,
    not_before: Option<Instant>,
    restarts: u64,
    pending: u64,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("next", &self.next)
            .field("filters", &self.options.filters)
            .field("restarts", &self.restarts)
            .finish_non_exhaustive()
    }
}

impl Reader {
    /// Opens the log at sequence `from` (0 and 1 are its beginning, as far as it is still there).
    ///
    /// # Errors
    /// [`BusError`] when the bus does not answer or refuses; [`ReaderError::Overtaken`] and
    /// [`ReaderError::Ahead`] come from the first [`Reader::next`].
    pub async fn open(log: &Log, from: u64, options: ReaderOptions) -> Result<Self, BusError> {
        let mut options = options;
        options.batch_max = options.batch_max.clamp(1, 65_536);
        options.bytes_max = options.bytes_max.max(64 * 1024);
        options.heartbeat = options.heartbeat.clamp(Duration::from_millis(100), Duration::from_secs(10));
        let mut reader = Self {
            log: log.clone(),
            options,
            next: from,
            session: None,
            ready: Vec::new(),
            ready_bytes: 0,
            doubt: None,
            trouble: None,
            seen: None,
            failures: 0,
            not_before: None,
            restarts: 0,
            pending: 0,
        };
        // "From the beginning" is not overtaken by what had gone before anybody asked.
        if from <= 1 {
            reader.next = log.bounds().await?.first.max(1);
        }
        match reader.start().await {
            Ok(()) => {}
            Err(ReaderError::Bus(error)) => return Err(error),
            Err(trouble) => reader.trouble = Some(trouble),
        }
        Ok(reader)
    }

    /// The next entries: at least one, at most `batch_max`. Whatever has already arrived is taken
    /// at once, so that batches are small when little happens and large under load. Waits for as
    /// long as nothing comes. May be dropped while waiting.
    ///
    /// # Errors
    /// See [`ReaderError`]. Trouble that passes (the bus is away) is not an error: it waits.
    pub async fn next(&mut self) -> Result<Vec<Entry>, ReaderError> {
        loop {
            match self.trouble.take() {
                None => {}
                Some(overtaken @ ReaderError::Overtaken { .. }) => return Err(overtaken),
                Some(fatal) => {
                    self.trouble = Some(fatal.clone());
                    return Err(fatal);
                }
            }
            if self.session.is_none() {
                self.restart().await?;
            }
            if let Err(reason) = self.gather().await {
                tracing::debug!(next = self.next, %reason, "reader starts again");
                self.session = None;
            }
            if self.ready.is_empty() {
                continue;
            }
            if let Some(wanted) = self.doubt {
                // Entries were skipped: by the filter, by expiry of single messages, or by
                // retention. Only the stream knows. They stay in `ready` meanwhile.
                let Ok(bounds) = self.log.bounds().await.inspect_err(|error| {
                    tracing::debug!(%error, "reader cannot check for retention yet");
                }) else {
                    self.back_off();
                    self.wait().await;
                    continue;
                };
                self.doubt = None;
                if bounds.first > wanted {
                    self.trouble = Some(ReaderError::Overtaken { wanted, first: bounds.first });
                    // What came before the hole goes out before the message about it.
                    let behind = self.ready.partition_point(|entry| entry.seq < wanted);
                    let rest = self.ready.split_off(behind);
                    let before = std::mem::replace(&mut self.ready, rest);
                    if before.is_empty() {
                        continue;
                    }
                    return Ok(before);
                }
            }
            self.failures = 0;
            self.ready_bytes = 0;
            return Ok(std::mem::take(&mut self.ready));
        }
    }

    /// The sequence of the entry wanted next, counting what [`Reader::next`] has handed out (and
    /// what it holds ready).
    #[must_use]
    pub fn position(&self) -> u64 {
        self.next
    }

    /// How many matching entries the server had still to deliver when it sent the last one.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// How often trouble led to a new consumer.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Waits for one entry, then takes what else is there. `Err` is the reason to start again.
    async fn gather(&mut self) -> Result<(), String> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        let mut arrival = if self.ready.is_empty() { Some(session.arrival().await?) } else { session.arrived()? };
        while let Some(Arrival { entry, pending }) = arrival {
            if entry.seq < self.next {
                return Err(format!("sequence {} came again", entry.seq));
            }
            if entry.seq > self.next && self.doubt.is_none() {
                self.doubt = Some(self.next);
            }
            self.next = entry.seq.saturating_add(1);
            self.seen = Some((entry.seq, entry.at_ms, entry.payload.len()));
            self.pending = pending;
            self.ready_bytes += entry.payload.len();
            self.ready.push(entry);
            if self.ready.len() >= self.options.batch_max || self.ready_bytes >= self.options.bytes_max {
                break;
            }
            arrival = session.arrived()?;
        }
        // Before these are worked on, not after: so the server sends the next ones meanwhile.
        session.refill().await
    }

    /// A new session after trouble, with growing pauses, for as long as it takes.
    async fn restart(&mut self) -> Result<(), ReaderError> {
        loop {
            self.wait().await;
            match self.start().await {
                Ok(()) => {
                    self.restarts += 1;
                    return Ok(());
                }
                Err(ReaderError::Bus(error)) if error.is_transient() => {
                    if self.log.bus().state().borrow().phase == Phase::Closed {
                        return Err(error.into());
                    }
                    tracing::debug!(%error, next = self.next, "reader waits for the bus");
                    self.back_off();
                }
                Err(overtaken @ ReaderError::Overtaken { .. }) => return Err(overtaken),
                Err(fatal) => {
                    self.trouble = Some(fatal.clone());
                    return Err(fatal);
                }
            }
        }
    }

    async fn start(&mut self) -> Result<(), ReaderError> {
        let bounds = self.log.bounds().await?;
        if self.next > bounds.last.saturating_add(1) {
            return Err(ReaderError::Ahead { wanted: self.next, last: bounds.last });
        }
        if let Some((seq, at_ms, size)) = self.seen
            && let Some(entry) = self.log.get(seq).await?
            && (entry.at_ms != at_ms || entry.payload.len() != size)
        {
            return Err(ReaderError::Rewritten { seq });
        }
        let wanted = self.doubt.unwrap_or(self.next);
        if bounds.first > wanted {
            self.doubt = None;
            self.next = self.next.max(bounds.first);
            return Err(ReaderError::Overtaken { wanted, first: bounds.first });
        }
        self.session = Some(Session::open(&self.log, self.next, &self.options).await?);
        Ok(())
    }

    fn back_off(&mut self) {
        let pause = Duration::from_millis(25 << self.failures.min(5));
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(Instant::now() + pause);
    }

    /// Waits out the pause, but not longer than until there is a connection again.
    async fn wait(&mut self) {
        if let Some(at) = self.not_before {
            sleep_until(at).await;
            self.not_before = None;
        }
        let mut state = self.log.bus().state();
        let connected = state.wait_for(|state| state.phase != Phase::Disconnected);
        // The bound only keeps this from hanging on a state that never comes.
        let _ = timeout(Duration::from_secs(5), connected).await;
    }
}
