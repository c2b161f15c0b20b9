//! Who works and who stands by. Only for efficiency: the chain of the outbox is the fence.
//!
//! A key per actor in a bucket of its own, renewed by compare-and-swap. A standby takes it when
//! the revision has not moved for 2 s of *its own* monotonic clock, so no two clocks are compared
//! and nothing expires by itself (a time-to-live is lost when a key is re-created).
//!
//! Promises: LE-1 a holder that cannot renew for that same time says [`LeaseState::Standby`].
//! LE-2 a holder that stops says so, and a standby takes over at once. LE-3 the epoch grows with
//! every change of hands. The bucket lives in a file: a server alone does not bring streams in
//! memory back after a restart, and without the bucket nobody could take the lease again.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use crate::api::random_hex;
use crate::connect::{Bus, Phase};
use crate::error::BusError;
use crate::log::Log;
use crate::message::{Message, check_token};
use crate::streams::bucket_stream;

/// How leases are held.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LeaseConfig {
    /// How often the holder renews, and a standby looks, in milliseconds. Default 500.
    pub renew_ms: u64,
    /// A standby takes over when nothing has moved for so long, in milliseconds. Default 2000, at
    /// least twice `renew_ms`.
    pub patience_ms: u64,
}

impl Default for LeaseConfig {
    fn default() -> Self {
        Self { renew_ms: 500, patience_ms: 2_000 }
    }
}

/// Whether this process works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseState {
    /// Somebody else does, or it is not known yet.
    Standby {
        /// Who, if known.
        holder: Option<String>,
    },
    /// It does.
    Held {
        /// Grows with every change of hands.
        epoch: u64,
    },
}

impl LeaseState {
    /// Whether this process works.
    #[must_use]
    pub fn is_held(&self) -> bool {
        matches!(self, Self::Held { .. })
    }
}

/// What stands under the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    /// Random id of the lease that wrote it; empty when given back.
    holder: String,
    epoch: u64,
}

/// Takes part in the lease of one actor until stopped.
#[derive(Debug)]
pub struct Lease {
    state: watch::Receiver<LeaseState>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    holder: String,
}

impl Lease {
    /// Starts to take part, on the present tokio runtime. `name` is the actor's.
    ///
    /// # Errors
    /// [`BusError::Invalid`] when the name is not one plain token.
    pub fn start(log: &Log, name: &str, config: &LeaseConfig) -> Result<Self, BusError> {
        check_token(name)?;
        let holder = random_hex(8)?;
        let bucket = &log.bus().names().leases;
        let renew = Duration::from_millis(config.renew_ms.max(10));
        let (sender, state) = watch::channel(LeaseState::Standby { holder: None });
        let (stop, stopped) = watch::channel(false);
        let party = Party {
            bus: log.bus().clone(),
            stream: bucket_stream(bucket),
            key: format!("$KV.{bucket}.{name}"),
            holder: holder.clone(),
            renew,
            patience: Duration::from_millis(config.patience_ms).max(renew * 2),
            state: sender,
            seen: None,
            moved: Instant::now(),
        };
        Ok(Self { state, stop, task: tokio::spawn(party.run(stopped)), holder })
    }

    /// Whether this process works, now and whenever it changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<LeaseState> {
        self.state.clone()
    }

    /// The random id under which this process takes part.
    #[must_use]
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// Waits until this process holds the lease; its epoch. Nothing if the lease has ended.
    pub async fn held(&self) -> Option<u64> {
        let mut state = self.state.clone();
        match &*state.wait_for(LeaseState::is_held).await.ok()? {
            LeaseState::Held { epoch } => Some(*epoch),
            LeaseState::Standby { .. } => None,
        }
    }

    /// Gives the lease back, if held, and ends. Takes at most 2 s.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if timeout(Duration::from_secs(2), &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

impl Drop for Lease {
    /// Ends without giving it back: a standby takes over after its patience.
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Party {
    bus: Bus,
    stream: String,
    key: String,
    holder: String,
    renew: Duration,
    patience: Duration,
    state: watch::Sender<LeaseState>,
    /// The last claim seen and its revision.
    seen: Option<(u64, Claim)>,
    /// When the revision last moved, by our own clock; for a holder: when it last renewed.
    moved: Instant,
}

impl Party {
    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        let mut due = Instant::now();
        loop {
            tokio::select! {
                _ = stopped.changed() => return self.give_back().await,
                () = sleep_until(due) => {}
            }
            // A turn that hangs must not keep a holder believing.
            match timeout(self.renew.max(Duration::from_millis(250)), self.turn()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(key = %self.key, %error, "lease not renewed"),
                Err(_) => tracing::debug!(key = %self.key, "lease not renewed in time"),
            }
            let held = self.state.borrow().is_held();
            if held && self.moved.elapsed() >= self.patience {
                tracing::warn!(key = %self.key, "lease lost: it could not be renewed");
                self.stand_by(None);
            }
            if self.bus.state().borrow().phase == Phase::Closed {
                return self.stand_by(None);
            }
            due = Instant::now() + self.renew;
        }
    }

    async fn turn(&mut self) -> Result<(), BusError> {
        let held = self.state.borrow().is_held();
        if let (true, Some((revision, claim))) = (held, self.seen.clone()) {
            match self.write(&claim, revision).await {
                Ok(revision) => {
                    self.seen = Some((revision, claim));
                    self.moved = Instant::now();
                    return Ok(());
                }
                Err(error) if error.is_conflict() => {} // look who it was
                Err(error) => return Err(error),
            }
        }
        self.look().await
    }

    /// Reads the key; takes it when it is free or has not moved for the patience.
    async fn look(&mut self) -> Result<(), BusError> {
        let entry = self.bus.last_in(&self.stream, &self.key).await?;
        let (revision, claim) = match &entry {
            None => (0, None),
            // An unreadable claim is nobody's: it is waited for like any other.
            Some(entry) => (entry.seq, serde_json::from_slice::<Claim>(&entry.payload).ok()),
        };
        let claim = claim.unwrap_or(Claim { holder: String::new(), epoch: self.seen.as_ref().map_or(0, |(_, claim)| claim.epoch) });
        if self.seen.as_ref().map(|(revision, _)| *revision) != Some(revision) {
            self.seen = Some((revision, claim.clone()));
            self.moved = Instant::now();
        }
        if claim.holder == self.holder {
            // A renewal whose acknowledgement was lost, or a hold that was given up for want of an answer: what counts is that
            // the revision moves again.
            let revision = self.write(&claim, revision).await?;
            let epoch = claim.epoch;
            self.seen = Some((revision, claim));
            self.moved = Instant::now();
            self.hold(epoch);
            return Ok(());
        }
        let free = revision == 0 || claim.holder.is_empty();
        if !free && self.moved.elapsed() < self.patience {
            self.stand_by(Some(claim.holder));
            return Ok(());
        }
        let next = Claim { holder: self.holder.clone(), epoch: claim.epoch.saturating_add(1) };
        match self.write(&next, revision).await {
            Ok(revision) => {
                let epoch = next.epoch;
                self.seen = Some((revision, next));
                self.moved = Instant::now();
                self.hold(epoch);
                Ok(())
            }
            Err(error) if error.is_conflict() => {
                self.stand_by(None);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn give_back(&mut self) {
        let held = self.state.borrow().is_held();
        if let (true, Some((revision, claim))) = (held, self.seen.clone()) {
            let free = Claim { holder: String::new(), ..claim };
            let _ = timeout(Duration::from_secs(1), self.write(&free, revision)).await;
        }
        self.stand_by(None);
    }

    async fn write(&self, claim: &Claim, revision: u64) -> Result<u64, BusError> {
        let payload =
            serde_json::to_vec(claim).map_err(|error| BusError::Protocol { what: self.key.clone(), detail: error.to_string() })?;
        let message = Message::new(self.key.clone(), payload);
        Ok(self.bus.store(&message, Some(revision)).await?.seq)
    }

    fn hold(&self, epoch: u64) {
        let now = LeaseState::Held { epoch };
        self.state.send_if_modified(|state| {
            let changed = *state != now;
            if changed {
                tracing::info!(key = %self.key, epoch, "lease taken");
                *state = now;
            }
            changed
        });
    }

    fn stand_by(&self, holder: Option<String>) {
        let now = LeaseState::Standby { holder };
        self.state.send_if_modified(|state| {
            let changed = *state != now;
            *state = now;
            changed
        });
    }
}
