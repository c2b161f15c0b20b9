//! What each change makes of a key.

use super::Records;
use super::change::{Edit, NewHash};
use crate::clock::now_ms;
use crate::keys::error::KeysError;
use crate::keys::format::{self, KeyId, KeyText};
use crate::keys::hash::Phc;
use crate::keys::keyring::hex;
use crate::keys::verify::verifier;
use homeostat_schemas::key::{Environment, KeyChange, KeyOrigin, KeyRecord, KeyVersion, RecipientChange};
use homeostat_schemas::time::DAY;
use homeostat_schemas::{KeyState, Ms, Scope, UnixMs};
use std::collections::{BTreeMap, BTreeSet};

/// A version should have a successor after 90 days.
pub const ROTATE_EVERY_MS: Ms = 90 * DAY;
/// An old version is accepted for 7 more days.
pub const GRACE_MS: Ms = 7 * DAY;
/// Another recipient of secrets has to wait for a day, in which the owner hears of it.
pub const RECIPIENT_DELAY_MS: Ms = DAY;
/// The longest that anything may last.
const LAST_MS: Ms = 3_660 * DAY;
/// The label of a key that may do one thing, once.
pub(crate) const BOOTSTRAP_LABEL: &str = "homeostat.bootstrap";

/// Who asks for a change.
#[derive(Debug, Clone)]
pub struct Actor {
    /// How they are named in facts: a key's id, an actor, `local`.
    pub name: String,
    /// What they may do themselves; nothing when they are not bound by a key (somebody with the data directory in hand).
    pub scopes: Option<BTreeSet<Scope>>,
    /// The key that they showed.
    pub key: Option<String>,
}

impl Actor {
    /// Somebody on this machine, or a part of Homeostat itself.
    #[must_use]
    pub fn local(name: &str) -> Actor {
        Actor { name: name.to_owned(), scopes: None, key: None }
    }
}

/// A key that is to be.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// The service that it belongs to.
    pub owner: String,
    /// Notes.
    pub labels: BTreeMap<String, String>,
    /// What its holder may do.
    pub scopes: BTreeSet<Scope>,
    /// What it is for.
    pub environment: Environment,
    /// Before this it is not accepted.
    pub starts_ms: Option<UnixMs>,
    /// The end of all its versions.
    pub expires_ms: Option<UnixMs>,
    /// After how long a version should have a successor; nothing: never.
    pub rotate_every_ms: Option<Ms>,
    /// How long an old version is accepted beside the new one.
    pub grace_ms: Ms,
    /// The public xkey to which new secrets are sealed.
    pub recipient: Option<String>,
}

impl Default for NewKey {
    fn default() -> Self {
        NewKey {
            owner: String::new(),
            labels: BTreeMap::new(),
            scopes: BTreeSet::new(),
            environment: Environment::Live,
            starts_ms: None,
            expires_ms: None,
            rotate_every_ms: Some(ROTATE_EVERY_MS),
            grace_ms: GRACE_MS,
            recipient: None,
        }
    }
}

/// A key that was created; its text is nowhere else.
#[derive(Debug)]
pub struct Created {
    /// The record.
    pub record: KeyRecord,
    /// The key; of one that was imported, what its holder puts before their own secret.
    pub text: KeyText,
}

/// How a version gets its successor.
pub struct Rotation<'a> {
    /// Which key.
    pub id: &'a str,
    /// The version that is in force, as far as whoever asks knows.
    pub expected: u32,
    /// Somebody else may know the old secret: no grace.
    pub compromised: bool,
    /// Another grace than the key's own, for this once.
    pub grace_ms: Option<Ms>,
    /// Makes the message to the owner, inside of the transaction.
    pub seal: Option<&'a Seal<'a>>,
}

/// Seals a new secret for its recipient: the record as it will be, the version, and the key.
pub type Seal<'a> = dyn Fn(&KeyRecord, u32, &KeyText) -> Result<Option<Sealed>, KeysError> + Send + Sync + 'a;

/// A message to a key's owner, said with the fact and after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Where, below the root: `key.sealed.<owner>`.
    pub subject: String,
    /// What, as JSON. Never a secret in clear.
    pub body: String,
}

/// A new version.
#[derive(Debug)]
pub struct Rotated {
    /// The record.
    pub record: KeyRecord,
    /// The new version.
    pub version: u32,
    /// The new key; nowhere else, except sealed.
    pub text: KeyText,
}

impl Records {
    /// Creates a key.
    ///
    /// # Errors
    /// See [`KeysError`].
    pub async fn create(&self, new: NewKey, by: &Actor) -> Result<Created, KeysError> {
        let record = self.judge_new(new, by, KeyOrigin::Minted)?;
        let id = KeyId::parse(&record.id).ok_or_else(|| KeysError::NotFound(record.id.clone()))?;
        let text = format::mint(record.environment, &id, self.keyring().newest().mint())?;
        let hash = self.hash_of(&id, 1, &text).await?;
        let record = self.add(record, hash, KeyChange::Created, &by.name, self.spends(by).await?.as_ref()).await?;
        Ok(Created { record, text })
    }

    /// Creates a key from the hash of a secret that its holder has already.
    ///
    /// # Errors
    /// See [`KeysError`].
    pub async fn import(&self, new: NewKey, hash: &str, by: &Actor) -> Result<Created, KeysError> {
        let phc: Phc = hash.trim().parse()?;
        let record = self.judge_new(new, by, KeyOrigin::Imported)?;
        let id = KeyId::parse(&record.id).ok_or_else(|| KeysError::NotFound(record.id.clone()))?;
        let text = format::foreign_prefix(record.environment, &id, self.keyring().newest().mint());
        let hash = NewHash { version: 1, hash: phc.to_string(), verifier: None };
        let record = self.add(record, hash, KeyChange::Imported, &by.name, self.spends(by).await?.as_ref()).await?;
        Ok(Created { record, text: KeyText::new(text) })
    }

    fn judge_new(&self, new: NewKey, by: &Actor, origin: KeyOrigin) -> Result<KeyRecord, KeysError> {
        let now = now_ms();
        if let Some(held) = &by.scopes
            && let Some(wider) = new.scopes.iter().find(|scope| !held.contains(scope))
        {
            return Err(KeysError::Wider(*wider));
        }
        if new.scopes.is_empty() {
            return Err(KeysError::invalid("scopes", "a key needs at least one"));
        }
        if new.expires_ms.is_some_and(|at| at <= now || at > now.saturating_add(LAST_MS)) {
            return Err(KeysError::invalid("expires_ms", "in the future, and within ten years"));
        }
        if new.starts_ms.is_some_and(|at| at > now.saturating_add(LAST_MS) || new.expires_ms.is_some_and(|end| at >= end)) {
            return Err(KeysError::invalid("starts_ms", "before the end, and within ten years"));
        }
        if new.rotate_every_ms.is_some_and(|every| !(60_000..=LAST_MS).contains(&every)) {
            return Err(KeysError::invalid("rotate_every_ms", "from one minute to ten years"));
        }
        if new.grace_ms > 90 * DAY {
            return Err(KeysError::invalid("grace_ms", "90 days at most"));
        }
        if by.key.is_some() && new.labels.keys().any(|name| name.starts_with("homeostat.")) {
            return Err(KeysError::invalid("labels", "names that begin with `homeostat.` are ours"));
        }
        let texts = new.labels.iter().flat_map(|(name, value)| [name, value]).chain([&new.owner]);
        if texts.into_iter().any(|text| text.chars().any(char::is_control)) {
            return Err(KeysError::invalid("labels", "no control characters in names and labels"));
        }
        check_recipient(new.recipient.as_deref())?;
        let starts_ms = new.starts_ms.filter(|at| *at > now);
        let state = if starts_ms.is_some() { KeyState::Pending } else { KeyState::Active };
        let version =
            KeyVersion { version: 1, state, origin, created_ms: now, starts_ms, expires_ms: new.expires_ms, ..KeyVersion::default() };
        let record = KeyRecord {
            id: KeyId::draw()?.to_string(),
            owner: new.owner,
            labels: new.labels,
            scopes: new.scopes.into_iter().collect(),
            environment: new.environment,
            created_ms: now,
            expires_ms: new.expires_ms,
            rotate_every_ms: new.rotate_every_ms,
            grace_ms: new.grace_ms,
            recipient: new.recipient,
            recipient_change: None,
            generation: 1,
            versions: vec![version],
        };
        record.check().map_err(|unfit| KeysError::invalid(unfit.field, unfit.why))?;
        Ok(record)
    }

    /// The key that whoever asks has shown, if it is good for one thing only.
    async fn spends(&self, by: &Actor) -> Result<Option<KeyId>, KeysError> {
        let Some(key) = &by.key else { return Ok(None) };
        let record = self.get(key).await?;
        Ok(if record.labels.contains_key(BOOTSTRAP_LABEL) { KeyId::parse(key) } else { None })
    }

    /// Draws a new secret and makes it the version in force. The hash is made before the transaction begins, so that nobody waits for it.
    ///
    /// # Errors
    /// [`KeysError::Conflict`] when another version is in force than expected: somebody else was first. The key that was drawn here is
    /// forgotten then.
    pub async fn rotate(&self, rotation: Rotation<'_>, by: &str) -> Result<Rotated, KeysError> {
        let Rotation { id, expected, compromised, grace_ms, seal } = rotation;
        let record = self.get(id).await?;
        let id = KeyId::parse(&record.id).ok_or_else(|| KeysError::NotFound(record.id.clone()))?;
        let next = expected.checked_add(1).ok_or_else(|| KeysError::invalid("expected", "there is no next version"))?;
        may_rotate(&record, expected, now_ms())?;
        let text = format::mint(record.environment, &id, self.keyring().newest().mint())?;
        let hash = self.hash_of(&id, next, &text).await?;
        let edit = |record: &mut KeyRecord, now: UnixMs| {
            may_rotate(record, expected, now)?;
            let grace_end = now.saturating_add(grace_ms.unwrap_or(record.grace_ms));
            for version in &mut record.versions {
                if version.version == expected {
                    if compromised {
                        version.state = KeyState::Revoked;
                        version.revoked_ms = Some(now);
                        version.compromised = true;
                    } else {
                        version.state = KeyState::Grace;
                        // Never later than it would have ended anyway.
                        version.expires_ms = Some(version.expires_ms.map_or(grace_end, |end| end.min(grace_end)));
                    }
                } else if version.state == KeyState::Grace {
                    // Two at most: the one before goes now, and with a leak everything that came before it.
                    version.state = if compromised { KeyState::Revoked } else { KeyState::Expired };
                    if compromised {
                        version.revoked_ms = Some(now);
                    } else {
                        version.expires_ms = Some(version.expires_ms.map_or(now, |end| end.min(now)));
                    }
                }
            }
            let expires_ms = record.expires_ms;
            record.versions.push(KeyVersion {
                version: next,
                state: KeyState::Active,
                created_ms: now,
                expires_ms,
                ..KeyVersion::default()
            });
            let mut edit = Edit::of(KeyChange::Rotated, Some(next));
            edit.hash = Some(hash);
            if let Some(seal) = seal {
                edit.say = seal(record, next, &text)?.map(|sealed| (sealed.subject, sealed.body));
            }
            Ok(edit)
        };
        let record = self.change(&id, by, Box::new(edit)).await?;
        Ok(Rotated { record, version: next, text })
    }

    /// Writes down that a version's time is over.
    ///
    /// # Errors
    /// [`KeysError::State`] when it is not over.
    pub async fn expire(&self, id: &str, version: u32, by: &str) -> Result<KeyRecord, KeysError> {
        let edit = |record: &mut KeyRecord, _: UnixMs| {
            let found = record.version(version).ok_or_else(|| no_version(&record.id, version))?;
            // Its time has been looked at already, when the row was locked.
            if found.state != KeyState::Expired {
                return Err(KeysError::State(format!("version {version} of {} is {}, and its time is not over", record.id, found.state)));
            }
            Ok(Edit::of(KeyChange::Expired, Some(version)))
        };
        self.change(&key_id(id)?, by, Box::new(edit)).await
    }

    /// Destroys the hash of a version that is over. That it existed is remembered.
    ///
    /// # Errors
    /// [`KeysError::State`] when it is not over.
    pub async fn purge(&self, id: &str, version: u32, by: &str) -> Result<KeyRecord, KeysError> {
        let edit = |record: &mut KeyRecord, _: UnixMs| {
            let key = record.id.clone();
            let found = record.versions.iter_mut().find(|found| found.version == version).ok_or_else(|| no_version(&key, version))?;
            if !matches!(found.state, KeyState::Expired | KeyState::Revoked | KeyState::Purged) {
                return Err(KeysError::State(format!("version {version} of {key} is {}: revoke it, or wait for its end", found.state)));
            }
            found.state = KeyState::Purged;
            let mut edit = Edit::of(KeyChange::Purged, Some(version));
            edit.purge.push(version);
            Ok(edit)
        };
        self.change(&key_id(id)?, by, Box::new(edit)).await
    }

    /// Takes a key back, or one version of it, whatever its state, at once. To do so twice is no mistake.
    ///
    /// # Errors
    /// [`KeysError::NotFound`], or the database does not answer.
    pub async fn revoke(&self, id: &str, version: Option<u32>, compromised: bool, by: &str) -> Result<KeyRecord, KeysError> {
        let edit = |record: &mut KeyRecord, now: UnixMs| {
            if let Some(version) = version
                && record.version(version).is_none()
            {
                return Err(no_version(&record.id, version));
            }
            for found in record.versions.iter_mut().filter(|found| version.is_none_or(|version| version == found.version)) {
                if !matches!(found.state, KeyState::Purged | KeyState::Revoked) {
                    found.state = KeyState::Revoked;
                    found.revoked_ms = Some(now);
                }
                found.compromised |= compromised;
            }
            Ok(Edit::of(KeyChange::Revoked, version))
        };
        self.change(&key_id(id)?, by, Box::new(edit)).await
    }

    /// Asks for another recipient of new secrets; it takes its place after a day. Whoever asks for the one that is calls a waiting change
    /// off.
    ///
    /// # Errors
    /// [`KeysError::Invalid`] when it is no public xkey.
    pub async fn set_recipient(&self, id: &str, recipient: Option<String>, by: &str) -> Result<KeyRecord, KeysError> {
        check_recipient(recipient.as_deref())?;
        let edit = |record: &mut KeyRecord, now: UnixMs| {
            record.recipient_change = (record.recipient != recipient).then(|| RecipientChange {
                recipient,
                from_ms: now.saturating_add(RECIPIENT_DELAY_MS),
                by: by.to_owned(),
            });
            Ok(Edit::of(KeyChange::Recipient, None))
        };
        self.change(&key_id(id)?, by, Box::new(edit)).await
    }

    /// Writes down that a recipient whose time has come has taken its place.
    ///
    /// # Errors
    /// [`KeysError::State`] when its time has not come.
    pub async fn take_recipient(&self, id: &str, by: &str) -> Result<KeyRecord, KeysError> {
        let edit = |record: &mut KeyRecord, _: UnixMs| match &record.recipient_change {
            // One whose time has come has taken its place when the row was locked.
            Some(_) => Err(KeysError::State(format!("the time of another recipient of {} has not come", record.id))),
            None => Ok(Edit::of(KeyChange::Recipient, None)),
        };
        self.change(&key_id(id)?, by, Box::new(edit)).await
    }

    /// Says how a key stands and how it has been used, so that those who hear of keys on the log alone know it again.
    ///
    /// # Errors
    /// [`KeysError::NotFound`], or the database does not answer.
    pub async fn note(&self, id: &str, by: &str) -> Result<KeyRecord, KeysError> {
        let edit = |_: &mut KeyRecord, _: UnixMs| Ok(Edit::of(KeyChange::Noted, None));
        self.change(&key_id(id)?, by, Box::new(edit)).await
    }

    async fn hash_of(&self, id: &KeyId, version: u32, text: &KeyText) -> Result<NewHash, KeysError> {
        let shown = format::parse(text.expose()).ok_or_else(|| KeysError::invalid("key", "what was minted is no key"))?;
        let keyring = self.keyring();
        let generation = keyring.newest();
        let stored = verifier(generation.verifier(), id, version, shown.secret);
        let hash = self.hasher.hash(shown.secret).await?.to_string();
        Ok(NewHash { version, hash, verifier: Some((generation.number, hex(stored.as_bytes()))) })
    }
}

fn key_id(id: &str) -> Result<KeyId, KeysError> {
    KeyId::parse(id).ok_or_else(|| KeysError::NotFound(id.chars().filter(|c| !c.is_control()).take(32).collect()))
}

fn no_version(id: &str, version: u32) -> KeysError {
    KeysError::NotFound(format!("{id}, version {version}"))
}

fn may_rotate(record: &KeyRecord, expected: u32, now: UnixMs) -> Result<(), KeysError> {
    let newest = record.versions.iter().rev().find(|version| !matches!(version.state_at(now), KeyState::Grace));
    let Some(newest) = newest else { return Err(no_version(&record.id, expected)) };
    if newest.version != expected {
        return Err(KeysError::Conflict { id: record.id.clone(), expected, found: newest.version });
    }
    if record.expires_ms.is_some_and(|end| now >= end) {
        return Err(KeysError::State(format!("the key {} has ended, and its end is not moved: create another", record.id)));
    }
    match newest.state_at(now) {
        KeyState::Active => Ok(()),
        KeyState::Pending => Err(KeysError::State(format!("the key {}: its time has not come", record.id))),
        state => Err(KeysError::State(format!("the key {} is {state}: create another", record.id))),
    }
}

/// A public xkey: `X` and 55 more characters of base32.
fn check_recipient(recipient: Option<&str>) -> Result<(), KeysError> {
    let public = |text: &str| {
        text.len() == 56 && text.starts_with('X') && text.bytes().all(|b| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b))
    };
    match recipient {
        Some(text) if !public(text) => Err(KeysError::invalid("recipient", "a public xkey: X and 55 more of A-Z and 2-7")),
        _ => Ok(()),
    }
}
