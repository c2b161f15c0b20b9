//! Keys in the database, and the transactions in which they change.
//!
//! Keys are the exception in the store: everything else there is a projection of the log, keys are the truth. An emptied database has no
//! keys, and so nobody gets in; that is noticed (the keyring remembers that it has been used) and said loudly, and no key is made before
//! an operator has decided what to do.
//!
//! | module | what |
//! |---|---|
//! | [`change`] | the one transaction: lock the row, judge, write the row, its hashes and the outbox |
//! | [`life`] | create, import, rotate, expire, purge, revoke, recipients: what each makes of a record |
//!
//! Promises
//! - KT-1 A change is whole or not at all: record, hashes and the rows of the outbox are one transaction, durable when it returns.
//! - KT-2 Of two that change a key at once one is first, and the other judges what it left; of two that rotate the same version one wins
//!   and the other is told ([`KeysError::Conflict`]).
//! - KT-3 At most two versions are accepted at any time; an absolute expiry is never moved further away.
//! - KT-4 A key cannot mint a wider one.
//! - KT-5 No secret is in the database: argon2id hashes, and keyed verifiers whose key is elsewhere.

mod change;
mod life;

pub use change::POINTS;
pub(crate) use life::BOOTSTRAP_LABEL;
pub use life::{Actor, Created, GRACE_MS, NewKey, RECIPIENT_DELAY_MS, ROTATE_EVERY_MS, Rotated, Rotation, Seal, Sealed};

use super::error::KeysError;
use super::format::KeyId;
use super::hash::Hasher;
use super::keyring::{Keyring, unhex};
use super::usage::Used;
use crate::clock::now_ms;
use crate::store::{Failure, Store, column, on_pool, signed, unsigned};
use homeostat_schemas::UnixMs;
use homeostat_schemas::key::{KeyRecord, KeyUsage};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

/// How many keys there are at most.
pub const KEYS_MAX: u64 = 100_000;
/// How many a list has at most.
pub const LIST_MAX: u32 = 1_000;
/// How long what was said on the bus is kept in the outbox.
const SAID_KEPT_MS: u64 = 24 * 60 * 60 * 1000;

/// What stands beside a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Which version.
    pub version: u32,
    /// Its argon2id hash, until it is purged.
    pub hash: Option<String>,
    /// Its verifier, and the keyring's generation that it was made with.
    pub verifier: Option<(u32, blake3::Hash)>,
}

/// A row of the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsaid {
    /// Its number.
    pub number: u64,
    /// Which key it is about.
    pub id: String,
    /// Where it is to be said, below the root.
    pub subject: String,
    /// What, as JSON.
    pub body: String,
}

/// Keys in the database. Clones share it.
#[derive(Clone)]
pub struct Records {
    store: Store,
    keyring: Arc<RwLock<Arc<Keyring>>>,
    keyring_path: Arc<PathBuf>,
    hasher: Hasher,
    /// Something was written to the outbox here.
    unsaid: Arc<tokio::sync::Notify>,
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Records").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Records {
    /// # Errors
    /// The keyring cannot be read or made.
    pub fn new(store: Store, keyring_path: PathBuf, hasher: Hasher) -> Result<Records, KeysError> {
        let keyring = Arc::new(RwLock::new(Arc::new(Keyring::open(&keyring_path, now_ms())?)));
        Ok(Records { store, keyring, keyring_path: Arc::new(keyring_path), hasher, unsaid: Arc::default() })
    }

    /// The keyring in use.
    #[must_use]
    pub fn keyring(&self) -> Arc<Keyring> {
        self.keyring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where the keyring is.
    #[must_use]
    pub fn keyring_path(&self) -> &std::path::Path {
        &self.keyring_path
    }

    /// Reads the keyring anew.
    ///
    /// # Errors
    /// It cannot be read; the one in use stays.
    pub fn reload_keyring(&self) -> Result<Arc<Keyring>, KeysError> {
        let keyring = Arc::new(Keyring::read(&self.keyring_path)?);
        *self.keyring.write().unwrap_or_else(PoisonError::into_inner) = keyring.clone();
        Ok(keyring)
    }

    /// Wakes when something was written to the outbox by this process.
    pub(super) async fn unsaid_here(&self) {
        self.unsaid.notified().await;
    }

    /// One key.
    ///
    /// # Errors
    /// [`KeysError::NotFound`], or the database does not answer.
    pub async fn get(&self, id: &str) -> Result<KeyRecord, KeysError> {
        let key = KeyId::parse(id).ok_or_else(|| KeysError::NotFound(id.chars().take(32).collect()))?;
        let row = self.row(&key).await?;
        row.map(|(record, _)| record).ok_or_else(|| KeysError::NotFound(id.to_owned()))
    }

    /// One key with what stands beside its versions.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn row(&self, id: &KeyId) -> Result<Option<(KeyRecord, Vec<Stored>)>, KeysError> {
        const RECORD: &str = "SELECT record FROM api_key WHERE id = $1";
        const STORED: &str = "SELECT version, hash, verifier, keyring FROM api_key_version WHERE id = $1 ORDER BY version";
        type Columns = (i64, Option<String>, Option<String>, Option<i64>);
        let work = sql(async {
            // Both reads see the same state: SQLite by its snapshot, PostgreSQL because versions are only added, and the record names
            // those that count.
            let (record, stored): (Option<String>, Vec<Columns>) = on_pool!(self.store, pool => {
                let mut tx = pool.begin().await?;
                let record = sqlx::query_scalar(RECORD).bind(id.as_str()).fetch_optional(&mut *tx).await?;
                let stored = sqlx::query_as(STORED).bind(id.as_str()).fetch_all(&mut *tx).await?;
                tx.commit().await?;
                (record, stored)
            });
            let Some(record) = record else { return Ok(None) };
            Ok(Some((read(id.as_str(), &record)?, stored.into_iter().map(stored_of).collect())))
        });
        Ok(self.store.work("keys.row", work).await?)
    }

    /// Keys by id, after `after`, of one owner or of all.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn list(&self, owner: Option<&str>, after: &str, limit: u32) -> Result<Vec<KeyRecord>, KeysError> {
        const ALL: &str = "SELECT id, record FROM api_key WHERE id > $1 ORDER BY id LIMIT $2";
        const OF: &str = "SELECT id, record FROM api_key WHERE id > $1 AND owner = $3 ORDER BY id LIMIT $2";
        let limit = i64::from(limit.clamp(1, LIST_MAX));
        let work = sql(async {
            let rows: Vec<(String, String)> = on_pool!(self.store, pool => match owner {
                None => sqlx::query_as(ALL).bind(column(after)).bind(limit).fetch_all(pool).await?,
                Some(owner) => sqlx::query_as(OF).bind(column(after)).bind(limit).bind(column(owner)).fetch_all(pool).await?,
            });
            rows.iter().map(|(id, record)| read(id, record)).collect()
        });
        Ok(self.store.work("keys.list", work).await?)
    }

    /// How the versions of a key have been used, as far as it is written down.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn usage(&self, id: &str) -> Result<Vec<KeyUsage>, KeysError> {
        let work = sql(async {
            let rows: Vec<UsageColumns> = on_pool!(self.store, pool => sqlx::query_as(USAGE).bind(column(id)).fetch_all(pool).await?);
            Ok(rows.into_iter().map(usage_of).collect())
        });
        Ok(self.store.work("keys.usage", work).await?)
    }

    /// Adds to the usage.
    ///
    /// # Errors
    /// The database does not answer; nothing was added.
    pub async fn add_usage(&self, used: &[Used]) -> Result<(), KeysError> {
        const ADD: &str = "INSERT INTO api_key_usage (id, version, count, last_used_ms, source) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (id, version) DO UPDATE SET count = api_key_usage.count + excluded.count, \
             source = CASE WHEN excluded.last_used_ms >= api_key_usage.last_used_ms THEN coalesce(excluded.source, api_key_usage.source) \
             ELSE api_key_usage.source END, \
             last_used_ms = CASE WHEN excluded.last_used_ms > api_key_usage.last_used_ms THEN excluded.last_used_ms \
             ELSE api_key_usage.last_used_ms END";
        if used.is_empty() {
            return Ok(());
        }
        // Always in the same order: two processes that count the same keys must not wait for each other in a circle.
        let mut used: Vec<&Used> = used.iter().collect();
        used.sort_by_key(|used| (used.id, used.version));
        let work = sql(async {
            on_pool!(self.store, pool => {
                let mut tx = pool.begin_with(self.store.begin()).await?;
                for used in used {
                    sqlx::query(ADD).bind(used.id.as_str()).bind(i64::from(used.version)).bind(signed(used.count))
                        .bind(signed(used.last_used_ms)).bind(used.source.map(|source| source.to_string())).execute(&mut *tx).await?;
                }
                tx.commit().await?;
            });
            Ok(())
        });
        Ok(self.store.work("keys.add_usage", work).await?)
    }

    /// Ids and generations of the keys that changed at `since` or later. For those who remember keys and may have missed a message.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn changed_since(&self, since: UnixMs) -> Result<Vec<(String, u64)>, KeysError> {
        const CHANGED: &str = "SELECT id, generation FROM api_key WHERE changed_ms >= $1";
        let work = sql(async {
            let rows: Vec<(String, i64)> = on_pool!(self.store, pool => sqlx::query_as(CHANGED).bind(signed(since)).fetch_all(pool).await?);
            Ok(rows.into_iter().map(|(id, generation)| (id, unsigned(generation))).collect())
        });
        Ok(self.store.work("keys.changed", work).await?)
    }

    /// What is still to be said on the bus, oldest first.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn unsaid(&self, limit: u32) -> Result<Vec<Unsaid>, KeysError> {
        const UNSAID: &str = "SELECT number, id, subject, body FROM api_key_outbox WHERE done_ms IS NULL ORDER BY number LIMIT $1";
        let work = sql(async {
            let rows: Vec<(i64, String, String, String)> =
                on_pool!(self.store, pool => sqlx::query_as(UNSAID).bind(i64::from(limit)).fetch_all(pool).await?);
            Ok(rows.into_iter().map(|(number, id, subject, body)| Unsaid { number: unsigned(number), id, subject, body }).collect())
        });
        Ok(self.store.work("keys.unsaid", work).await?)
    }

    /// Is this row of the outbox still unsaid?
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn is_unsaid(&self, number: u64) -> Result<bool, KeysError> {
        const OPEN: &str = "SELECT count(*) FROM api_key_outbox WHERE number = $1 AND done_ms IS NULL";
        let work = sql(async {
            let open: i64 = on_pool!(self.store, pool => sqlx::query_scalar(OPEN).bind(signed(number)).fetch_one(pool).await?);
            Ok(open > 0)
        });
        Ok(self.store.work("keys.is_unsaid", work).await?)
    }

    /// Notes that a row of the outbox stands on the bus; what was said long ago is forgotten.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn said(&self, number: u64) -> Result<(), KeysError> {
        // The body has done its work; a sealed secret need not lie about.
        const DONE: &str = "UPDATE api_key_outbox SET done_ms = $2, body = '' WHERE number = $1";
        const FORGET: &str = "DELETE FROM api_key_outbox WHERE done_ms IS NOT NULL AND done_ms < $1";
        let now = now_ms();
        let work = sql(async {
            on_pool!(self.store, pool => {
                sqlx::query(DONE).bind(signed(number)).bind(signed(now)).execute(pool).await?;
                sqlx::query(FORGET).bind(signed(now.saturating_sub(SAID_KEPT_MS))).execute(pool).await?;
            });
            Ok(())
        });
        Ok(self.store.work("keys.said", work).await?)
    }

    /// Are the keys of this database the ones that the keyring made? Loud when they are not.
    ///
    /// # Errors
    /// [`KeysError::Estranged`], or the database does not answer.
    pub async fn check(&self) -> Result<(), KeysError> {
        const KEYRING: &str = "SELECT keyring FROM api_keyring WHERE one = 1";
        let work = sql(async {
            let found: Option<String> = on_pool!(self.store, pool => sqlx::query_scalar(KEYRING).fetch_optional(pool).await?);
            Ok(found)
        });
        let found = self.store.work("keys.keyring", work).await?;
        self.is_ours(found.as_deref())
    }

    /// How many keys there are that somebody could use to administer keys at `now`.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn administrators(&self, now: UnixMs) -> Result<usize, KeysError> {
        let mut after = String::new();
        let mut count = 0;
        loop {
            let keys = self.list(None, &after, LIST_MAX).await?;
            let Some(last) = keys.last() else { return Ok(count) };
            after.clone_from(&last.id);
            let admin =
                |key: &&KeyRecord| key.scopes.contains(&homeostat_schemas::Scope::KeysAdmin) && key.accepted_at(now).next().is_some();
            count += keys.iter().filter(admin).count();
        }
    }

    fn is_ours(&self, found: Option<&str>) -> Result<(), KeysError> {
        let keyring = self.keyring();
        let (path, place) = (self.keyring_path.display(), self.store.public_url());
        match found {
            Some(found) if found != keyring.id() => Err(KeysError::Estranged(format!(
                "the keys in {place} were made with another keyring than {path}: none of them is accepted here; set `gateway.keys.keyring` to the right file"
            ))),
            None if keyring.used() => Err(KeysError::Estranged(format!(
                "{place} has no keys, although {path} has made some: it was emptied or replaced, and nobody gets in. Restore a backup; or, to begin anew, remove {path}"
            ))),
            Some(_) | None => Ok(()),
        }
    }
}

/// A piece of work for the store, so that the compiler knows what it fails with.
fn sql<T, F: Future<Output = Result<T, Failure>>>(work: F) -> F {
    work
}

const USAGE: &str = "SELECT version, count, last_used_ms, source FROM api_key_usage WHERE id = $1 ORDER BY version";
type UsageColumns = (i64, i64, i64, Option<String>);

fn usage_of((version, count, last_used_ms, source): UsageColumns) -> KeyUsage {
    KeyUsage { version: u32::try_from(version).unwrap_or_default(), count: unsigned(count), last_used_ms: unsigned(last_used_ms), source }
}

fn stored_of((version, hash, verifier, keyring): (i64, Option<String>, Option<String>, Option<i64>)) -> Stored {
    let verifier = verifier.as_deref().and_then(unhex).map(|bytes| blake3::Hash::from_bytes(*bytes));
    let keyring = keyring.and_then(|keyring| u32::try_from(keyring).ok());
    Stored { version: u32::try_from(version).unwrap_or_default(), hash, verifier: keyring.zip(verifier) }
}

fn read(id: &str, record: &str) -> Result<KeyRecord, Failure> {
    let corrupt = |why: String| Failure::Corrupt(format!("the key {id}"), why);
    let record: KeyRecord = serde_json::from_str(record).map_err(|error| corrupt(error.to_string()))?;
    record.check().map_err(|unfit| corrupt(unfit.to_string()))?;
    Ok(record)
}
