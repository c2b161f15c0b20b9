//! The one transaction in which a key changes.

use super::{Records, USAGE, UsageColumns, read, sql, usage_of};
use crate::clock::now_ms;
use crate::keys::error::KeysError;
use crate::keys::format::KeyId;
use crate::keys::keyring::Keyring;
use crate::store::{Failure, column, on_pool, signed};
use homeostat_nats::fault;
use homeostat_schemas::key::{KEY_VERSIONS_MAX, KeyChange, KeyFact, KeyRecord, KeyUsage};
use homeostat_schemas::{KeyState, Subject, UnixMs};
use sqlx::Connection as _;

/// Where a test may end the process while a key changes.
pub const POINTS: &[&str] =
    &["keys.begun", "keys.locked", "keys.row_written", "keys.hash_written", "keys.outbox_written", "keys.committed"];

/// A new hash.
pub(super) struct NewHash {
    pub(super) version: u32,
    pub(super) hash: String,
    /// The keyring's generation and the verifier.
    pub(super) verifier: Option<(u32, String)>,
}

/// What is to become of a key.
pub(super) struct Edit {
    pub(super) change: KeyChange,
    /// Which version it happened to.
    pub(super) version: Option<u32>,
    pub(super) hash: Option<NewHash>,
    /// Versions whose hashes go.
    pub(super) purge: Vec<u32>,
    /// Something else to be said: subject below the root, and body.
    pub(super) say: Option<(String, String)>,
}

impl Edit {
    pub(super) fn of(change: KeyChange, version: Option<u32>) -> Edit {
        Edit { change, version, hash: None, purge: Vec::new(), say: None }
    }
}

/// Judges and changes the record at a time.
type Judge<'j> = dyn FnOnce(&mut KeyRecord, UnixMs) -> Result<Edit, KeysError> + Send + 'j;

/// Statements, the same on both databases.
const INSERT: &str = "INSERT INTO api_key (id, owner, generation, active, changed_ms, record) VALUES ($1, $2, $3, $4, $5, $6)";
const UPDATE: &str =
    "UPDATE api_key SET generation = $2, active = $3, changed_ms = $4, record = $5 WHERE id = $1 AND generation = $6 AND active = $7";
const HASH: &str = "INSERT INTO api_key_version (id, version, hash, verifier, keyring) VALUES ($1, $2, $3, $4, $5)";
const PURGE: &str = "UPDATE api_key_version SET hash = NULL, verifier = NULL, keyring = NULL WHERE id = $1 AND version = $2";
const SAY: &str = "INSERT INTO api_key_outbox (id, subject, body, at_ms) VALUES ($1, $2, $3, $4)";
const CLAIM: &str = "INSERT INTO api_keyring (one, keyring) VALUES (1, $1) ON CONFLICT (one) DO NOTHING";
const KEYRING: &str = "SELECT keyring FROM api_keyring WHERE one = 1";
/// What is projected from the log may be lost in a power cut and is projected again; a revocation may not.
const DURABLE: &str = "PRAGMA synchronous = FULL";
const USUAL: &str = "PRAGMA synchronous = NORMAL";
const COUNT: &str = "SELECT count(*) FROM api_key";

/// A business answer inside a database answer: what the transaction says when it decided not to write.
type Judged<T> = Result<T, KeysError>;

impl Records {
    /// Changes a key: locks its row, lets `edit` judge and change the record, and writes all of it.
    pub(super) async fn change(&self, id: &KeyId, by: &str, edit: Box<Judge<'_>>) -> Result<KeyRecord, KeysError> {
        // SQLite has locked everything with BEGIN IMMEDIATE.
        const LOCK_SQLITE: &str = "SELECT record, active FROM api_key WHERE id = $1";
        const LOCK_POSTGRES: &str = "SELECT record, active FROM api_key WHERE id = $1 FOR UPDATE";
        let sqlite = self.store.is_sqlite();
        let lock = if sqlite { LOCK_SQLITE } else { LOCK_POSTGRES };
        let work = sql(async {
            let done: Judged<KeyRecord> = on_pool!(self.store, pool => {
                let mut connection = pool.acquire().await?;
                if sqlite {
                    sqlx::query(DURABLE).execute(&mut *connection).await?;
                }
                let mut tx = connection.begin_with(self.store.begin()).await?;
                fault::point("keys.begun");
                let found: Option<(String, i64)> = sqlx::query_as(lock).bind(id.as_str()).fetch_optional(&mut *tx).await?;
                fault::point("keys.locked");
                let Some((record, active_before)) = found else { return Ok(Err(KeysError::NotFound(id.to_string()))) };
                let used: Vec<UsageColumns> = sqlx::query_as(USAGE).bind(id.as_str()).fetch_all(&mut *tx).await?;
                let mut record = read(id.as_str(), &record)?;
                let generation_before = record.generation;
                let now = now_ms();
                settle(&mut record, now);
                let mut edit = match edit(&mut record, now) {
                    Ok(edited) => edited,
                    // Dropped without a commit: rolled back.
                    Err(error) => return Ok(Err(error)),
                };
                edit.purge.extend(trim(&mut record));
                // A note changes nothing that anybody remembers.
                record.generation = generation_before.saturating_add(u64::from(edit.change != KeyChange::Noted));
                record.check().map_err(|unfit| Failure::Corrupt(format!("the key {id}"), unfit.to_string()))?;
                let body = serde_json::to_string(&record).map_err(|why| Failure::Corrupt(id.to_string(), why.to_string()))?;
                let written = sqlx::query(UPDATE).bind(id.as_str()).bind(signed(record.generation)).bind(active(&record)).bind(signed(now))
                    .bind(body).bind(signed(generation_before)).bind(active_before).execute(&mut *tx).await?;
                if written.rows_affected() != 1 {
                    return Ok(Err(KeysError::State(format!("the key {id} changed meanwhile; look again"))));
                }
                fault::point("keys.row_written");
                if let Some(new) = &edit.hash {
                    let (keyring, verifier) = new.verifier.as_ref().map(|(keyring, verifier)| (i64::from(*keyring), verifier)).unzip();
                    sqlx::query(HASH).bind(id.as_str()).bind(i64::from(new.version)).bind(&new.hash).bind(verifier).bind(keyring)
                        .execute(&mut *tx).await?;
                }
                for version in &edit.purge {
                    sqlx::query(PURGE).bind(id.as_str()).bind(i64::from(*version)).execute(&mut *tx).await?;
                }
                fault::point("keys.hash_written");
                let fact = fact(&record, &edit, by, now, used.into_iter().map(usage_of).collect());
                let body = serde_json::to_string(&fact).map_err(|why| Failure::Corrupt(id.to_string(), why.to_string()))?;
                let subject = Subject::Key(id.to_string()).to_string();
                for (subject, body) in std::iter::once((subject, body)).chain(edit.say) {
                    sqlx::query(SAY).bind(id.as_str()).bind(subject).bind(body).bind(signed(now)).execute(&mut *tx).await?;
                }
                fault::point("keys.outbox_written");
                tx.commit().await?;
                fault::point("keys.committed");
                if sqlite {
                    sqlx::query(USUAL).execute(&mut *connection).await?;
                }
                Ok(record)
            });
            Ok(done)
        });
        let done = self.store.work("keys.change", work).await??;
        self.unsaid.notify_one();
        Ok(done)
    }

    /// Adds a key; `spend` is a key that may do this once, and is taken back with it.
    pub(super) async fn add(
        &self,
        record: KeyRecord,
        hash: NewHash,
        change: KeyChange,
        by: &str,
        spend: Option<&KeyId>,
    ) -> Result<KeyRecord, KeysError> {
        const SPEND: &str = "SELECT record, active FROM api_key WHERE id = $1";
        let keyring = self.keyring();
        let sqlite = self.store.is_sqlite();
        let work = sql(async {
            let done: Judged<KeyRecord> = on_pool!(self.store, pool => {
                let mut connection = pool.acquire().await?;
                if sqlite {
                    sqlx::query(DURABLE).execute(&mut *connection).await?;
                }
                let mut tx = connection.begin_with(self.store.begin()).await?;
                fault::point("keys.begun");
                let before: Option<String> = sqlx::query_scalar(KEYRING).fetch_optional(&mut *tx).await?;
                if let Err(error) = self.is_ours(before.as_deref()) {
                    return Ok(Err(error));
                }
                sqlx::query(CLAIM).bind(keyring.id()).execute(&mut *tx).await?;
                let ours: String = sqlx::query_scalar(KEYRING).fetch_one(&mut *tx).await?;
                if let Err(error) = self.is_ours(Some(&ours)) {
                    return Ok(Err(error));
                }
                let count: i64 = sqlx::query_scalar(COUNT).fetch_one(&mut *tx).await?;
                if count >= signed(super::KEYS_MAX) {
                    return Ok(Err(KeysError::State(format!("there are {count} keys, and no room for more"))));
                }
                fault::point("keys.locked");
                let now = now_ms();
                if let Some(spend) = spend {
                    let found: Option<(String, i64)> = sqlx::query_as(SPEND).bind(spend.as_str()).fetch_optional(&mut *tx).await?;
                    let Some((text, active_before)) = found else { return Ok(Err(KeysError::NotFound(spend.to_string()))) };
                    let mut spent = read(spend.as_str(), &text)?;
                    let spent_before = spent.generation;
                    if spent.accepted_at(now).next().is_none() {
                        return Ok(Err(KeysError::State("the key for the beginning has been used".to_owned())));
                    }
                    for version in &mut spent.versions {
                        version.state = KeyState::Revoked;
                        version.revoked_ms = Some(now);
                    }
                    spent.generation = spent_before.saturating_add(1);
                    let body = serde_json::to_string(&spent).map_err(|why| Failure::Corrupt(spend.to_string(), why.to_string()))?;
                    let written = sqlx::query(UPDATE).bind(spend.as_str()).bind(signed(spent.generation)).bind(active(&spent))
                        .bind(signed(now)).bind(body).bind(signed(spent_before)).bind(active_before).execute(&mut *tx).await?;
                    if written.rows_affected() != 1 {
                        return Ok(Err(KeysError::State("the key for the beginning has been used".to_owned())));
                    }
                    let fact = fact(&spent, &Edit::of(KeyChange::Revoked, None), by, now, Vec::new());
                    let body = serde_json::to_string(&fact).map_err(|why| Failure::Corrupt(spend.to_string(), why.to_string()))?;
                    sqlx::query(SAY).bind(spend.as_str()).bind(Subject::Key(spend.to_string()).to_string()).bind(body).bind(signed(now))
                        .execute(&mut *tx).await?;
                }
                let id = record.id.as_str();
                let body = serde_json::to_string(&record).map_err(|why| Failure::Corrupt(id.to_owned(), why.to_string()))?;
                sqlx::query(INSERT).bind(id).bind(column(&record.owner)).bind(signed(record.generation)).bind(active(&record))
                    .bind(signed(now)).bind(body).execute(&mut *tx).await?;
                fault::point("keys.row_written");
                let (keyring, verifier) = hash.verifier.as_ref().map(|(keyring, verifier)| (i64::from(*keyring), verifier)).unzip();
                sqlx::query(HASH).bind(id).bind(i64::from(hash.version)).bind(&hash.hash).bind(verifier).bind(keyring)
                    .execute(&mut *tx).await?;
                fault::point("keys.hash_written");
                let fact = fact(&record, &Edit::of(change, Some(hash.version)), by, now, Vec::new());
                let body = serde_json::to_string(&fact).map_err(|why| Failure::Corrupt(id.to_owned(), why.to_string()))?;
                sqlx::query(SAY).bind(id).bind(Subject::Key(id.to_owned()).to_string()).bind(body).bind(signed(now)).execute(&mut *tx).await?;
                fault::point("keys.outbox_written");
                tx.commit().await?;
                fault::point("keys.committed");
                if sqlite {
                    sqlx::query(USUAL).execute(&mut *connection).await?;
                }
                Ok(record)
            });
            Ok(done)
        });
        let record = self.store.work("keys.add", work).await??;
        self.note_used()?;
        self.unsaid.notify_one();
        Ok(record)
    }

    /// The keyring remembers that keys were made with it, so that an emptied database is noticed.
    fn note_used(&self) -> Result<(), KeysError> {
        if !self.keyring().used() {
            Keyring::note_used(&self.keyring_path)?;
            self.reload_keyring()?;
        }
        Ok(())
    }
}

/// What time has decided already is written down with whatever else changes.
fn settle(record: &mut KeyRecord, now: UnixMs) {
    for version in &mut record.versions {
        version.state = version.state_at(now);
    }
    if let Some(change) = record.recipient_change.take_if(|change| now >= change.from_ms) {
        record.recipient = change.recipient;
    }
}

/// Only so many versions are remembered; the oldest of those that are over go, and their hashes with them.
fn trim(record: &mut KeyRecord) -> Vec<u32> {
    let mut gone = Vec::new();
    while record.versions.len() > KEY_VERSIONS_MAX {
        let over = |state| !matches!(state, KeyState::Pending | KeyState::Active | KeyState::Grace);
        let Some(oldest) = record.versions.iter().position(|version| over(version.state)) else { break };
        gone.push(record.versions.remove(oldest).version);
    }
    gone
}

/// The number of the version in force, 0 when there is none.
fn active(record: &KeyRecord) -> i64 {
    let current = |state| matches!(state, KeyState::Active | KeyState::Pending);
    record.versions.iter().rev().find(|version| current(version.state)).map_or(0, |version| i64::from(version.version))
}

fn fact(record: &KeyRecord, edit: &Edit, by: &str, now: UnixMs, mut usage: Vec<KeyUsage>) -> KeyFact {
    // Of versions that are no longer remembered nobody asks.
    usage.retain(|usage| record.version(usage.version).is_some());
    let by = by.chars().filter(|c| !c.is_control()).take(64).collect();
    KeyFact { record: record.clone(), change: edit.change, by, at_ms: now, version: edit.version, usage }
}
