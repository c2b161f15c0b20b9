//! Is this a key, and whose? The hot path of everything that comes in.
//!
//! 1. form and checksum ([`format`](super::format)): tens of nanoseconds, no memory;
//! 2. the mint tag: whoever has no mint key ends here, so junk never reaches the database or argon2;
//! 3. the row: revoked and expired end here;
//! 4. the secret under a keyed BLAKE3, compared in constant time: with the digest of a secret that argon2 has proven in this process,
//!    or, while there is none, with the verifier at rest;
//! 5. only when nothing is proven yet: argon2 against the hash at rest, one at a time for a key, few at a time for all, and what waits
//!    too long is *busy*, never refused;
//! 6. the proof is remembered only if the key has not changed since its row was read, under the lock of whoever tells of changes.
//!
//! Promises
//! - KV-1 A refusal says nothing of its reason, in words or in kind; reasons are only counted.
//! - KV-2 After [`Verifier::evict`] has returned, nothing that was true before the change lets anybody in.
//! - KV-3 What cannot be judged (the database is away, too many wait) is [`Refused::Busy`].
//! - KV-4 Without the mint key nobody can make this read a row or run argon2.

mod counts;
mod tries;

pub use counts::Counts;

use super::cache::{Cache, Row, Secret};
use super::clock::SteadyClock;
use super::format::{self, KeyId, Shown};
use super::hash::{HashError, Hasher, Phc};
use super::keyring::Keyring;
use super::records::Records;
use super::usage::Usage;
use counts::count;
use homeostat_schemas::UnixMs;
use homeostat_schemas::key::{KeyOrigin, Scope};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;
use tokio::sync::{Mutex as Flight, Semaphore};
use tries::Tries;
use zeroize::Zeroizing;

/// How often a row that changes while it is being judged is read again.
const ATTEMPTS: usize = 4;
/// Rows read from the database at once.
const READS: usize = 8;
/// The holder of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The key's id; no secret.
    pub key: String,
    /// The service that it belongs to.
    pub owner: String,
    /// What its holder may do.
    pub scopes: BTreeSet<Scope>,
    /// Which version of the key was shown.
    pub version: u32,
    /// From when on that version is accepted no more, as far as that is known.
    pub expires_ms: Option<UnixMs>,
}

/// Why a key is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is none, or none that counts (any more). Which, is nobody's business outside.
    #[error("the key is not accepted")]
    Invalid,
    /// It cannot be judged now.
    #[error("keys cannot be checked now; ask again")]
    Busy,
}

/// Settings of a verifier.
#[derive(Debug, Clone, Copy)]
pub struct VerifierConfig {
    /// Keys remembered at most.
    pub cached_max: usize,
    /// How long one may wait for somebody else's reading or hashing.
    pub queue: Duration,
}

/// Judges keys.
pub struct Verifier {
    records: Records,
    keyring: RwLock<Arc<Keyring>>,
    hasher: Hasher,
    cache: Cache,
    /// The key of this process under which proven secrets are remembered.
    local: Zeroizing<[u8; 32]>,
    clock: SteadyClock,
    usage: Arc<Usage>,
    flights: Mutex<HashMap<KeyId, Weak<Flight<()>>>>,
    reads: Semaphore,
    tries: Tries,
    counts: Counts,
    config: VerifierConfig,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("cached", &self.cache.len()).field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl Verifier {
    /// # Errors
    /// The operating system gives no random numbers.
    pub fn new(
        records: Records,
        keyring: Arc<Keyring>,
        hasher: Hasher,
        usage: Arc<Usage>,
        config: VerifierConfig,
    ) -> Result<Verifier, format::NoRandomness> {
        let mut local = Zeroizing::new([0_u8; 32]);
        format::random(local.as_mut())?;
        Ok(Verifier {
            records,
            keyring: RwLock::new(keyring),
            hasher,
            cache: Cache::new(config.cached_max),
            local,
            clock: SteadyClock::default(),
            usage,
            flights: Mutex::default(),
            reads: Semaphore::new(READS),
            tries: Tries::default(),
            counts: Counts::default(),
            config,
        })
    }

    /// Whose key is this?
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn verify(&self, key: &str) -> Result<Arc<Principal>, Refused> {
        self.verify_from(key, None).await
    }

    /// The same, and remembers where it came from.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn verify_from(&self, key: &str, source: Option<IpAddr>) -> Result<Arc<Principal>, Refused> {
        match self.verify_hot(key, source) {
            Ok(judged) => judged,
            Err(shown) => self.cold(shown, source).await,
        }
    }

    /// What can be said at once, without a lock that anybody holds for long; or the parts of the key, when its row must be read or its
    /// secret proven first.
    ///
    /// # Errors
    /// The parts of a key that must be judged at leisure.
    pub fn verify_hot<'k>(&self, key: &'k str, source: Option<IpAddr>) -> Result<Result<Arc<Principal>, Refused>, Shown<'k>> {
        let refused = |counter| {
            count(counter);
            Ok(Err(Refused::Invalid))
        };
        let Some(shown) = format::parse(key) else { return refused(&self.counts.malformed) };
        if !self.keyring().minted(&shown) {
            return refused(&self.counts.forged);
        }
        let (Some(row), _) = self.cache.get(&shown.id) else { return Err(shown) };
        let now = self.clock.now();
        if row.environment != shown.environment || !row.accepts(now) {
            return refused(&self.counts.ended);
        }
        match self.proven(&row, &shown, now, source) {
            Some(principal) => {
                count(&self.counts.hot);
                Ok(Ok(principal))
            }
            None => Err(shown),
        }
    }

    /// The holder, if the secret is one that has been proven, and its version counts.
    fn proven(&self, row: &Row, shown: &Shown<'_>, now: UnixMs, source: Option<IpAddr>) -> Option<Arc<Principal>> {
        let digest = self.digest(shown);
        let secret = row.secrets.iter().find(|secret| secret.proven.get().is_some_and(|proven| *proven == digest))?;
        if !secret.version.accepted_at(now) {
            return None;
        }
        self.usage.used(&secret.usage, now, source);
        Some(secret.principal.clone())
    }

    /// The secret as this process remembers it.
    fn digest(&self, shown: &Shown<'_>) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.local);
        hasher.update(shown.id.as_bytes()).update(shown.secret);
        hasher.finalize()
    }

    async fn cold(&self, shown: Shown<'_>, source: Option<IpAddr>) -> Result<Arc<Principal>, Refused> {
        let judged = self.judge(&shown, source).await;
        if judged == Err(Refused::Busy) {
            count(&self.counts.busy);
        }
        judged
    }

    async fn judge(&self, shown: &Shown<'_>, source: Option<IpAddr>) -> Result<Arc<Principal>, Refused> {
        // What argon2 has said once about a version of this secret need not be asked again when the row changes meanwhile.
        let mut said: Option<(u32, Box<str>)> = None;
        for _ in 0..ATTEMPTS {
            // Nothing when it changed while it was read.
            let Some((row, epoch)) = self.row(&shown.id).await? else { continue };
            let now = self.clock.now();
            if row.environment != shown.environment || !row.accepts(now) {
                count(&self.counts.ended);
                return Err(Refused::Invalid);
            }
            let Some(candidates) = self.candidates(&row, shown, now) else {
                count(&self.counts.wrong);
                return Err(Refused::Invalid);
            };
            let flight = self.flight(&shown.id);
            let _one = tokio::time::timeout(self.config.queue * 4, flight.lock()).await.map_err(|_| Refused::Busy)?;
            // Whoever held the flight before may have proven it.
            if let (Some(row), _) = self.cache.get(&shown.id)
                && let Some(principal) = self.proven(&row, shown, self.clock.now(), source)
            {
                count(&self.counts.hot);
                return Ok(principal);
            }
            let mut proven = None;
            for index in candidates {
                let Some(secret) = row.secrets.get(index) else { continue };
                let Some(hash) = &secret.hash else { continue };
                let before = said.as_ref().is_some_and(|(version, of)| *version == secret.version.version && of == hash);
                if before || self.argon2(shown, hash).await? {
                    said = Some((secret.version.version, hash.clone()));
                    proven = Some(secret);
                    break;
                }
            }
            let Some(secret) = proven else {
                if shown.foreign {
                    self.tries.failed(&shown.id, now);
                }
                count(&self.counts.wrong);
                return Err(Refused::Invalid);
            };
            let digest = self.digest(shown);
            let remember = || {
                let _ = secret.proven.set(digest);
            };
            if self.cache.put_with(shown.id, &row, epoch, remember) {
                count(&self.counts.cold);
                self.usage.used(&secret.usage, now, source);
                return Ok(secret.principal.clone());
            }
            // Something changed while argon2 ran: what was read counts no more.
        }
        Err(Refused::Busy)
    }

    /// Which versions the secret may be of: the one whose verifier says so, or those that have none. Nothing when it is of none.
    fn candidates(&self, row: &Row, shown: &Shown<'_>, now: UnixMs) -> Option<Vec<usize>> {
        let keyring = self.keyring();
        let mut open = Vec::new();
        for (index, secret) in row.secrets.iter().enumerate() {
            let fits = shown.foreign == (secret.version.origin == KeyOrigin::Imported);
            if !fits || !secret.version.accepted_at(now) || secret.hash.is_none() {
                continue;
            }
            match &secret.verifier {
                Some((generation, stored)) => match keyring.generation(*generation) {
                    Some(generation) if *stored == verifier(generation.verifier(), &shown.id, secret.version.version, shown.secret) => {
                        return Some(vec![index]);
                    }
                    Some(_) => {}
                    None => open.push(index),
                },
                None => open.push(index),
            }
        }
        (!open.is_empty()).then_some(open)
    }

    async fn argon2(&self, shown: &Shown<'_>, hash: &str) -> Result<bool, Refused> {
        if shown.foreign && self.tries.are_used_up(&shown.id, self.clock.now()) {
            return Err(Refused::Busy);
        }
        let Ok(phc) = hash.parse::<Phc>() else {
            tracing::error!(key = %shown.id, "a hash in the database cannot be read: somebody else wrote into our tables");
            return Ok(false);
        };
        match self.hasher.matches(&phc, shown.secret).await {
            Ok(same) => Ok(same),
            Err(HashError::Busy | HashError::Broken) => Err(Refused::Busy),
        }
    }

    /// The row, from memory or the database, and the epoch at which it was read.
    async fn row(&self, id: &KeyId) -> Result<Option<(Arc<Row>, u64)>, Refused> {
        let (row, epoch) = self.cache.get(id);
        if let Some(row) = row {
            return Ok(Some((row, epoch)));
        }
        let permit = tokio::time::timeout(self.config.queue, self.reads.acquire()).await;
        let _permit = permit.map_err(|_| Refused::Busy)?.map_err(|_| Refused::Busy)?;
        let read = self.records.row(id).await.map_err(|error| {
            tracing::warn!(%error, "a key cannot be judged");
            Refused::Busy
        })?;
        let Some((record, stored)) = read else {
            count(&self.counts.unknown);
            return Err(Refused::Invalid);
        };
        let scopes: BTreeSet<Scope> = record.scopes.iter().copied().collect();
        let secrets = record.versions.iter().map(|version| {
            let stored = stored.iter().find(|stored| stored.version == version.version);
            let principal = Principal {
                key: record.id.clone(),
                owner: record.owner.clone(),
                scopes: scopes.clone(),
                version: version.version,
                expires_ms: version.expires_ms,
            };
            Secret {
                hash: stored.and_then(|stored| stored.hash.as_deref().map(Box::from)),
                verifier: stored.and_then(|stored| stored.verifier),
                proven: std::sync::OnceLock::new(),
                principal: Arc::new(principal),
                usage: self.usage.cell(*id, version.version),
                version: version.clone(),
            }
        });
        let row = Arc::new(Row::new(record.generation, record.environment, secrets.collect()));
        // What argon2 has said about a hash stays true, whatever else of the key has changed.
        if let Some(old) = self.cache.take_old(id) {
            for secret in &row.secrets {
                let same = |old: &&Secret| old.version.version == secret.version.version && old.hash.is_some() && old.hash == secret.hash;
                if let Some(proven) = old.secrets.iter().find(same).and_then(|old| old.proven.get()) {
                    let _ = secret.proven.set(*proven);
                }
            }
        }
        // Remembered before anything is proven, so that somebody who goes on showing a key that was taken back is not asked about
        // in the database each time.
        Ok(self.cache.put(*id, &row, epoch).map(|row| (row, epoch)))
    }

    /// Does a version still let its holder in? For somebody who got in with it and is still there; that he is counts as a use now and then.
    ///
    /// # Errors
    /// [`Refused::Invalid`] when it does not, [`Refused::Busy`] when nobody can say.
    pub async fn still(&self, id: &str, version: u32) -> Result<(), Refused> {
        let id = KeyId::parse(id).ok_or(Refused::Invalid)?;
        for _ in 0..ATTEMPTS {
            let Some((row, _)) = self.row(&id).await? else { continue };
            let now = self.clock.now();
            let accepted = row.secrets.iter().find(|secret| secret.version.version == version && secret.version.accepted_at(now));
            return accepted.map(|secret| self.usage.present(&secret.usage, now)).ok_or(Refused::Invalid);
        }
        Err(Refused::Busy)
    }

    fn flight(&self, id: &KeyId) -> Arc<Flight<()>> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(id).and_then(Weak::upgrade) {
            return flight;
        }
        // Those that have landed are forgotten from time to time.
        if flights.len() > 1_024 {
            flights.retain(|_, flight| flight.strong_count() > 0);
        }
        let flight = Arc::new(Flight::new(()));
        flights.insert(*id, Arc::downgrade(&flight));
        flight
    }

    /// Forgets what is known of a key under a smaller generation. When it has returned, nothing of it counts any more.
    pub fn evict(&self, id: &str, generation: u64) {
        if let Some(id) = KeyId::parse(id) {
            self.cache.evict(&id, generation);
        }
    }

    /// Forgets everything.
    pub fn forget(&self) {
        self.cache.clear();
    }

    /// Takes another keyring.
    pub fn set_keyring(&self, keyring: Arc<Keyring>) {
        *self.keyring.write().unwrap_or_else(PoisonError::into_inner) = keyring;
        self.cache.clear();
    }

    /// The keyring in use.
    #[must_use]
    pub fn keyring(&self) -> Arc<Keyring> {
        self.keyring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What became of the keys that were shown.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Runs of argon2 in this process.
    #[must_use]
    pub fn argon2_runs(&self) -> u64 {
        self.hasher.runs()
    }

    /// Keys that are remembered.
    #[must_use]
    pub fn cached(&self) -> usize {
        self.cache.len()
    }

    /// The time by which keys expire.
    #[must_use]
    pub fn clock(&self) -> &SteadyClock {
        &self.clock
    }
}

/// What stands beside the hash of a secret that was drawn here: a keyed BLAKE3 over id, version and secret. The key is not in the
/// database.
pub(super) fn verifier(key: &[u8; 32], id: &KeyId, version: u32, secret: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(id.as_bytes()).update(&version.to_le_bytes()).update(secret);
    hasher.finalize()
}
