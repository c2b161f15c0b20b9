//! The ticker: log time moves though nothing happens.
//!
//! Every 250 ms a message on `{root}.tick`, as a compare-and-swap on that subject, so that several
//! processes make one beat: whoever is too late is refused and waits a whole period again. Never
//! a message id: an event bearing the tick's id would swallow it.
//!
//! Promises: TK-1 two beats stored in a row are, with one ticker or many, about a period apart.
//! TK-2 while the bus is away nothing piles up: the outage is a gap on the log, which is how a
//! mind tells it from everyone's silence. TK-3 a ticker that is stopped or dropped stops.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use crate::connect::Phase;
use crate::error::{AppendError, BusError};
use crate::log::Log;
use crate::message::Message;

/// How a ticker ticks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TickerConfig {
    /// Time between two beats, in milliseconds. Default 250, at least 10.
    pub period_ms: u64,
}

impl Default for TickerConfig {
    fn default() -> Self {
        Self { period_ms: 250 }
    }
}

/// What a ticker has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TickerStats {
    /// Beats of ours that were stored.
    pub stored: u64,
    /// Beats that somebody else had made already.
    pub late: u64,
    /// Beats that the bus did not take.
    pub failed: u64,
    /// Sequence of the last beat known.
    pub last: u64,
}

/// Beats until stopped.
#[derive(Debug)]
pub struct Ticker {
    stop: watch::Sender<bool>,
    stats: watch::Receiver<TickerStats>,
    task: JoinHandle<()>,
}

impl Ticker {
    /// Starts beating on the present tokio runtime.
    #[must_use]
    pub fn start(log: &Log, config: &TickerConfig) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (sender, stats) = watch::channel(TickerStats::default());
        let beat = Beat {
            subject: log.subject("tick"),
            log: log.clone(),
            period: Duration::from_millis(config.period_ms.max(10)),
            stats: sender,
            stopped,
        };
        Self { stop, stats, task: tokio::spawn(beat.run()) }
    }

    /// What it has done, now and whenever it changes.
    #[must_use]
    pub fn stats(&self) -> watch::Receiver<TickerStats> {
        self.stats.clone()
    }

    /// Stops it and waits until it has. A beat under way is awaited for at most 2 s.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if timeout(Duration::from_secs(2), &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Beat {
    log: Log,
    subject: String,
    period: Duration,
    stats: watch::Sender<TickerStats>,
    stopped: watch::Receiver<bool>,
}

impl Beat {
    async fn run(mut self) {
        // Unknown until asked; asked again whenever a beat was refused or its fate is unknown.
        let mut last: Option<u64> = None;
        let mut due = Instant::now();
        loop {
            tokio::select! {
                _ = self.stopped.changed() => return,
                () = sleep_until(due) => {}
            }
            if !self.connected().await {
                return;
            }
            match self.beat(last).await {
                Ok(seq) => {
                    last = Some(seq);
                    self.stats.send_modify(|s| {
                        s.stored += 1;
                        s.last = seq;
                    });
                    due += self.period;
                    // After a pause of this process (stopped, starved) the missed beats are
                    // not made up: they would be a lie about when they happened.
                    due = due.max(Instant::now() + self.period / 2);
                }
                Err(AppendError::Conflict { .. }) => {
                    self.stats.send_modify(|s| s.late += 1);
                    last = None;
                    due = Instant::now() + self.period;
                }
                Err(AppendError::Bus(error)) => {
                    self.failed(&error);
                    last = None;
                    due = Instant::now() + self.period;
                }
            }
        }
    }

    async fn beat(&self, last: Option<u64>) -> Result<u64, AppendError> {
        let last = match last {
            Some(last) => last,
            None => {
                // Somebody else beats, or this is the first one: from here on a period is
                // measured, so the beat itself comes with the next turn unless there is none.
                let found = self.log.last_on(&self.subject).await?;
                let seq = found.map_or(0, |entry| entry.seq);
                let fresh = seq != self.stats.borrow().last;
                self.stats.send_modify(|s| s.last = seq);
                if fresh && seq != 0 {
                    return Err(AppendError::Conflict { subject: self.subject.clone(), expected: seq });
                }
                seq
            }
        };
        self.log.append_if(Message::new(self.subject.clone(), Bytes::new()), last).await
    }

    /// Waits for a connection; false when there will be none or it is time to stop.
    async fn connected(&mut self) -> bool {
        let mut state = self.log.bus().state();
        loop {
            match state.borrow_and_update().phase {
                Phase::Connected => return true,
                Phase::Closed => return false,
                Phase::Disconnected => {}
            }
            tokio::select! {
                _ = self.stopped.changed() => return false,
                changed = state.changed() => if changed.is_err() { return false },
            }
        }
    }

    fn failed(&self, error: &BusError) {
        let first = self.stats.borrow().failed == 0;
        self.stats.send_modify(|s| s.failed += 1);
        if first {
            tracing::warn!(%error, "a tick was not stored");
        } else {
            tracing::debug!(%error, "a tick was not stored");
        }
    }
}
