//! Replicas: every process that judges keys says that it is there, forgets a key when it is told to, and says that it has.
//!
//! | subject (core NATS, not in the log) | who | what |
//! |---|---|---|
//! | `replica.<instance>` | every process, once a second | [`Beat`]: it is there, and whom it still lets in |
//! | `receipt.<id>.evict` | whoever has changed a key | [`Evict`]: forget what you know of it |
//! | `receipt.<id>.ack.<instance>` | every process | it has |
//!
//! The facts about keys in the log are heard, too: they tell of changes by a process that died before it could ask for a receipt.
//!
//! What is remembered of a key is worth only as much as the certainty that one would be told of its end. That certainty is the tick of
//! the log, four times a second, over the same connection: a process that has not heard it for [`ADMIN_CLOSED`] lets nobody change
//! anything any more, and after [`CLOSED`] lets nobody in at all. When it is heard again after a gap, everything that was remembered is
//! forgotten first, because what was said in the gap is lost.
//!
//! Promises
//! - RE-1 An acknowledgement is sent after the key was forgotten, never before.
//! - RE-2 After a gap in the ticks nothing that was remembered before it lets anybody in.
//! - RE-3 At most [`REPLICAS_MAX`] others are remembered.

use super::format::NoRandomness;
use crate::system::told;
use futures::StreamExt as _;
use homeostat_nats::Bus;
use homeostat_nats::async_nats::{Client, Subscriber};
use homeostat_schemas::key::{KeyFact, Scope};
use homeostat_schemas::{Root, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Between two signs of life.
pub const BEAT_EVERY: Duration = Duration::from_secs(1);
/// Without a tick for so long nobody is let in to change anything.
pub const ADMIN_CLOSED: Duration = Duration::from_secs(5);
/// Without a tick for so long nobody is let in.
pub const CLOSED: Duration = Duration::from_secs(30);
/// A gap between ticks in which something may have been missed.
const GAP: Duration = Duration::from_secs(2);
/// One who has not been heard for so long lets nobody in any more, and is no longer asked.
pub const FORGOTTEN: Duration = Duration::from_secs(60);
/// Others that are remembered.
pub const REPLICAS_MAX: usize = 256;
/// The pause before listening is tried again.
const AGAIN: Duration = Duration::from_millis(250);

/// What is remembered of keys, and can be forgotten.
pub trait Remembers: Send + Sync {
    /// Forgets what is known of a key under a smaller generation. When it has returned, nothing of it counts any more.
    fn evict(&self, key: &str, generation: u64);
    /// Forgets everything.
    fn forget(&self);
}

impl Remembers for super::Verifier {
    fn evict(&self, key: &str, generation: u64) {
        super::Verifier::evict(self, key, generation);
    }

    fn forget(&self) {
        super::Verifier::forget(self);
    }
}

/// Whom a process lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Open {
    /// Everybody with a key.
    All,
    /// Nobody who could change anything.
    Reading,
    /// Nobody.
    Nobody,
}

/// A sign of life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// Who.
    pub instance: String,
    /// When, by its clock.
    pub at_ms: UnixMs,
    /// Whom it lets in.
    pub open: Open,
}

/// A key that is to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evict {
    /// Its id.
    pub key: String,
    /// The generation from which on what is known counts.
    pub generation: u64,
}

/// Another process, as it was heard last.
#[derive(Debug, Clone, Copy)]
struct Heard {
    at: Instant,
}

struct State {
    others: BTreeMap<String, Heard>,
}

/// This process among the others.
pub struct Replicas {
    instance: String,
    began: Instant,
    /// Since when this process takes part, ms since `began`; [`NOT_YET`] before. One that does not (a command, a test) is always open.
    joined: AtomicU64,
    /// When a tick was heard last, ms since `began`.
    ticked: AtomicU64,
    state: Mutex<State>,
    memory: Arc<dyn Remembers>,
    bus: watch::Sender<Option<(Client, Root)>>,
}

const NOT_YET: u64 = u64::MAX;

impl std::fmt::Debug for Replicas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replicas").field("instance", &self.instance).field("open", &self.open()).finish_non_exhaustive()
    }
}

/// A name for this process that no other has: the machine's, and chance.
///
/// # Errors
/// The operating system gives no random numbers.
pub fn instance_name() -> Result<String, NoRandomness> {
    let mut random = [0; 4];
    super::format::random(&mut random)?;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host.trim().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(40).collect();
    Ok(format!("{}-{:08x}", if host.is_empty() { "homeostat" } else { &host }, u32::from_le_bytes(random)))
}

impl Replicas {
    /// This process under a name of its own, with what it remembers. What it remembers is nothing yet, so it is open.
    #[must_use]
    pub fn new(instance: String, memory: Arc<dyn Remembers>) -> Arc<Replicas> {
        let state = Mutex::new(State { others: BTreeMap::new() });
        let (bus, _) = watch::channel(None);
        let (joined, ticked) = (AtomicU64::new(NOT_YET), AtomicU64::new(0));
        Arc::new(Replicas { instance, began: Instant::now(), joined, ticked, state, memory, bus })
    }

    /// Its name.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// What it remembers.
    #[must_use]
    pub fn memory(&self) -> &dyn Remembers {
        &*self.memory
    }

    /// From now on this process has to hear ticks to let anybody in.
    pub fn join(&self) {
        let now = self.since_ms();
        self.ticked.store(now, Ordering::Release);
        self.joined.store(now, Ordering::Release);
    }

    fn since_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(NOT_YET - 1)
    }

    /// The connection and the root of subjects, while there is one.
    #[must_use]
    pub fn bus(&self) -> Option<(Client, Root)> {
        self.bus.borrow().clone()
    }

    /// Whom this process lets in.
    #[must_use]
    pub fn open(&self) -> Open {
        let silent = self.silent();
        if self.joined.load(Ordering::Acquire) == NOT_YET {
            Open::All
        } else if silent >= CLOSED {
            Open::Nobody
        } else if silent >= ADMIN_CLOSED {
            Open::Reading
        } else {
            Open::All
        }
    }

    /// May a holder of this scope be let in with it? Not when it could change something and the end of its key might have been missed.
    #[must_use]
    pub fn allows(&self, scope: Scope) -> bool {
        match self.open() {
            Open::All => true,
            Open::Reading => !matches!(scope, Scope::KeysAdmin | Scope::CommandsWrite),
            Open::Nobody => false,
        }
    }

    fn silent(&self) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_millis(self.ticked.load(Ordering::Acquire)))
    }

    /// RE-2: after a gap everything is forgotten before anybody is let in again.
    fn tick(&self) {
        if self.silent() >= GAP {
            self.memory.forget();
        }
        self.ticked.store(self.since_ms(), Ordering::Release);
    }

    /// The processes that may remember something, this one included, and how long each has not been heard.
    #[must_use]
    pub fn known(&self) -> BTreeMap<String, Duration> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.others.retain(|_, heard| heard.at.elapsed() < FORGOTTEN);
        let mut known: BTreeMap<String, Duration> = state.others.iter().map(|(name, heard)| (name.clone(), heard.at.elapsed())).collect();
        known.insert(self.instance.clone(), Duration::ZERO);
        known
    }

    fn heard(&self, payload: &[u8], subject: &str) {
        let Ok(beat) = serde_json::from_slice::<Beat>(payload) else { return };
        // Whoever may speak for one may not speak for another.
        if beat.instance == self.instance || subject.rsplit('.').next() != Some(beat.instance.as_str()) {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.others.len() >= REPLICAS_MAX && !state.others.contains_key(&beat.instance) {
            let oldest = state.others.iter().min_by_key(|(_, heard)| heard.at).map(|(name, _)| name.clone());
            if let Some(oldest) = oldest {
                state.others.remove(&oldest);
            }
        }
        state.others.insert(beat.instance, Heard { at: Instant::now() });
    }

    /// Takes part until told to stop. A connection that goes is made anew by its library; subscriptions come back with it.
    pub async fn run(self: Arc<Self>, bus: Bus, root: Root, mut stop: watch::Receiver<bool>) {
        loop {
            let part = self.part(bus.client().clone(), &root);
            tokio::select! {
                () = told(&mut stop) => return,
                result = part => if let Err(error) = result {
                    tracing::warn!(%error, "evictions cannot be heard yet");
                },
            }
            self.bus.send_replace(None);
            tokio::select! {
                () = told(&mut stop) => return,
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }

    async fn part(&self, client: Client, root: &Root) -> Result<(), homeostat_nats::async_nats::Error> {
        let (mut beats, mut evictions) = (listen(&client, root, "replica.*").await?, listen(&client, root, "receipt.*.evict").await?);
        let (mut facts, mut ticks) = (listen(&client, root, "control.keys.*").await?, listen(&client, root, "tick").await?);
        client.flush().await?;
        self.bus.send_replace(Some((client.clone(), root.clone())));
        let own = format!("{root}.replica.{}", self.instance);
        let mut every = tokio::time::interval(BEAT_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // A process that was away hears first what is to be forgotten, then that time has passed.
                biased;
                message = evictions.next() => {
                    let Some(message) = message else { return Ok(()) };
                    self.evicted(&client, root, &message.subject, &message.payload).await?;
                }
                message = facts.next() => {
                    let Some(message) = message else { return Ok(()) };
                    if let Ok(fact) = serde_json::from_slice::<KeyFact>(&message.payload) {
                        self.memory.evict(&fact.record.id, fact.record.generation);
                    }
                }
                message = ticks.next() => {
                    if message.is_none() {
                        return Ok(());
                    }
                    self.tick();
                }
                message = beats.next() => {
                    let Some(message) = message else { return Ok(()) };
                    self.heard(&message.payload, &message.subject);
                }
                _ = every.tick() => {
                    let beat = Beat { instance: self.instance.clone(), at_ms: crate::clock::now_ms(), open: self.open() };
                    client.publish(own.clone(), serde_json::to_vec(&beat)?.into()).await?;
                }
            }
        }
    }

    /// RE-1: forgotten, then said.
    async fn evicted(&self, client: &Client, root: &Root, subject: &str, payload: &[u8]) -> Result<(), homeostat_nats::async_nats::Error> {
        let id = subject.strip_prefix(root.as_str()).and_then(|rest| rest.strip_prefix(".receipt.")?.strip_suffix(".evict"));
        let (Some(id), Ok(evict)) = (id, serde_json::from_slice::<Evict>(payload)) else { return Ok(()) };
        self.memory.evict(&evict.key, evict.generation);
        client.publish(format!("{root}.receipt.{id}.ack.{}", self.instance), serde_json::to_vec(&evict)?.into()).await?;
        Ok(())
    }
}

async fn listen(client: &Client, root: &Root, what: &str) -> Result<Subscriber, homeostat_nats::async_nats::Error> {
    Ok(client.subscribe(format!("{root}.{what}")).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Memory {
        forgotten: AtomicU64,
    }

    impl Remembers for Memory {
        fn evict(&self, _: &str, _: u64) {}
        fn forget(&self) {
            self.forgotten.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A process that heard its last tick so long ago.
    fn silent_for(span: Duration) -> (Arc<Replicas>, Arc<Memory>) {
        let memory = Arc::new(Memory::default());
        let state = Mutex::new(State { others: BTreeMap::new() });
        let began = Instant::now().checked_sub(span).unwrap();
        let replicas = Replicas {
            instance: "a".to_owned(),
            began,
            joined: AtomicU64::new(0),
            ticked: AtomicU64::new(0),
            state,
            memory: memory.clone(),
            bus: watch::channel(None).0,
        };
        (Arc::new(replicas), memory)
    }

    #[test]
    fn who_hears_nothing_lets_in_fewer_and_at_last_nobody() {
        let scopes = |span| Scope::ALL.iter().filter(|scope| silent_for(span).0.allows(**scope)).count();
        assert_eq!(scopes(Duration::ZERO), 7);
        assert_eq!(scopes(ADMIN_CLOSED), 5);
        assert_eq!(scopes(CLOSED), 0);
        assert!(!silent_for(ADMIN_CLOSED).0.allows(Scope::KeysAdmin));
    }

    #[test]
    fn after_a_gap_everything_is_forgotten_once() {
        let (replicas, memory) = silent_for(CLOSED);
        assert_eq!(replicas.open(), Open::Nobody);
        replicas.tick();
        replicas.tick();
        assert_eq!((replicas.open(), memory.forgotten.load(Ordering::Relaxed)), (Open::All, 1));
    }

    #[test]
    fn a_beat_is_taken_from_whom_it_says_only_and_not_more_than_there_is_room_for() {
        let (replicas, _) = silent_for(Duration::ZERO);
        let beat = |name: &str| serde_json::to_vec(&Beat { instance: name.to_owned(), at_ms: 0, open: Open::All }).unwrap();
        replicas.heard(&beat("b"), "homeostat.v1.replica.c");
        replicas.heard(b"{}", "homeostat.v1.replica.b");
        assert_eq!(replicas.known().len(), 1);
        for number in 0..REPLICAS_MAX + 9 {
            let name = format!("r{number}");
            replicas.heard(&beat(&name), &format!("homeostat.v1.replica.{name}"));
        }
        assert_eq!(replicas.known().len(), REPLICAS_MAX + 1);
    }
}
