//! What people and programs ask about keys, the same at the command line and over HTTP, and what is answered.

use super::receipt::Receipt;
use super::records::{Actor, Created, GRACE_MS, NewKey, ROTATE_EVERY_MS, Rotation};
use super::{Keys, KeysError, Records};
use crate::clock::now_ms;
use homeostat_schemas::key::{Environment, KeyRecord, KeyUsage};
use homeostat_schemas::{KeyState, Ms, Scope, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How long the first key lasts.
const BOOTSTRAP_MS: Ms = 15 * 60 * 1000;

/// A key that is asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateKey {
    /// The service that it is to belong to.
    pub owner: String,
    /// What its holder may do.
    pub scopes: BTreeSet<Scope>,
    /// Notes: 16 at most.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// `live` or `test`; part of the key's text.
    #[serde(default)]
    pub environment: Environment,
    /// Before this it is not accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_ms: Option<UnixMs>,
    /// Its end, whatever happens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<UnixMs>,
    /// After how long it should be rotated; 90 days unless named, 0 for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_every_ms: Option<Ms>,
    /// How long an old version is accepted beside the new one; 7 days unless named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_ms: Option<Ms>,
    /// The public xkey to which new secrets are sealed when they are drawn without a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// The hash (argon2, PHC string format) of a secret that its holder has already; then none is drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
}

/// Another version that is asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RotateKey {
    /// The version in force, as far as whoever asks knows; whatever it is, unless named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<u32>,
    /// Somebody else may know the secret: the old version ends at once.
    pub compromised: bool,
    /// Another grace than the key's own, for this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_ms: Option<Ms>,
}

/// A key that is to be taken back.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RevokeKey {
    /// This version only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Somebody else may know the secret.
    pub compromised: bool,
}

/// Another recipient of sealed secrets.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeRecipient {
    /// The public xkey; nothing: secrets are no longer sealed for anybody.
    pub recipient: Option<String>,
}

/// One key, and its text if it was drawn just now.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct KeyAnswer {
    /// Everything but secrets and hashes.
    pub record: KeyRecord,
    /// Where it is in its life now: the state of its newest version.
    pub state: KeyState,
    /// The version that was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// The key. Shown this once; nobody can show it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What the holder of an imported secret puts before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// How its versions have been used, as far as it is written down.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub usage: Vec<KeyUsage>,
    /// Which processes have forgotten what they knew of it, and which have not said so: after it was taken back, or a version of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
}

impl KeyAnswer {
    /// What is said of a record.
    #[must_use]
    pub fn of(record: KeyRecord) -> KeyAnswer {
        let now = now_ms();
        let state = record.active_at(now).or(record.versions.last()).map(|version| version.state_at(now)).unwrap_or_default();
        KeyAnswer { record, state, version: None, key: None, prefix: None, usage: Vec::new(), receipt: None }
    }
}

impl Keys {
    /// Creates or imports a key.
    ///
    /// # Errors
    /// See [`KeysError`].
    pub async fn create(&self, asked: CreateKey, by: &Actor) -> Result<KeyAnswer, KeysError> {
        let new = NewKey {
            owner: asked.owner,
            labels: asked.labels,
            scopes: asked.scopes,
            environment: asked.environment,
            starts_ms: asked.starts_ms,
            expires_ms: asked.expires_ms,
            rotate_every_ms: Some(asked.rotate_every_ms.unwrap_or(ROTATE_EVERY_MS)).filter(|every| *every > 0),
            grace_ms: asked.grace_ms.unwrap_or(GRACE_MS),
            recipient: asked.recipient,
        };
        let Created { record, text } = match &asked.hash {
            None => self.records.create(new, by).await?,
            Some(hash) => self.records.import(new, hash, by).await?,
        };
        // A key that could be used once has been.
        if let Some(key) = &by.key
            && self.records.get(key).await?.accepted_at(now_ms()).next().is_none()
        {
            self.verifier.evict(key, u64::MAX);
        }
        let text = text.expose().to_owned();
        let answer = KeyAnswer::of(record);
        Ok(match asked.hash {
            None => KeyAnswer { version: Some(1), key: Some(text), ..answer },
            Some(_) => KeyAnswer { version: Some(1), prefix: Some(text), ..answer },
        })
    }

    /// One key.
    ///
    /// # Errors
    /// See [`KeysError`].
    pub async fn show(&self, id: &str) -> Result<KeyAnswer, KeysError> {
        let record = self.records.get(id).await?;
        let usage = self.records.usage(id).await?;
        Ok(KeyAnswer { usage, ..KeyAnswer::of(record) })
    }

    /// Draws another version.
    ///
    /// # Errors
    /// See [`KeysError`].
    pub async fn rotate(&self, id: &str, asked: &RotateKey, by: &Actor) -> Result<KeyAnswer, KeysError> {
        let record = self.records.get(id).await?;
        self.may(&record, by)?;
        let expected = match asked.expected {
            Some(expected) => expected,
            None => record.versions.last().map_or(0, |version| version.version),
        };
        let RotateKey { compromised, grace_ms, .. } = *asked;
        let rotated = self.records.rotate(Rotation { id, expected, compromised, grace_ms, seal: None }, &by.name).await?;
        self.verifier.evict(id, rotated.record.generation);
        let receipt = if compromised { Some(self.end_everywhere(&rotated.record).await) } else { None };
        let key = Some(rotated.text.expose().to_owned());
        Ok(KeyAnswer { version: Some(rotated.version), key, receipt, ..KeyAnswer::of(rotated.record) })
    }

    /// Takes a key back. When this returns, this process lets nobody in with it any more, and the receipt says who else does not, and
    /// whether anybody is still on the bus with it.
    ///
    /// # Errors
    /// See [`KeysError`].
    pub async fn revoke(&self, id: &str, asked: &RevokeKey, by: &Actor) -> Result<KeyAnswer, KeysError> {
        let record = self.records.revoke(id, asked.version, asked.compromised, &by.name).await?;
        self.verifier.evict(id, record.generation);
        let receipt = self.end_everywhere(&record).await;
        Ok(KeyAnswer { version: asked.version, receipt: Some(receipt), ..KeyAnswer::of(record) })
    }

    /// Asks for another recipient.
    ///
    /// # Errors
    /// See [`KeysError`].
    pub async fn change_recipient(&self, id: &str, asked: ChangeRecipient, by: &Actor) -> Result<KeyAnswer, KeysError> {
        let record = self.records.get(id).await?;
        self.may(&record, by)?;
        let record = self.records.set_recipient(id, asked.recipient, &by.name).await?;
        self.verifier.evict(id, record.generation);
        Ok(KeyAnswer::of(record))
    }

    /// Whoever gets hold of a key's next secret can do what that key can: so only who could do it anyway. Taking one back is nobody's gain.
    fn may(&self, record: &KeyRecord, by: &Actor) -> Result<(), KeysError> {
        match &by.scopes {
            Some(held) => match record.scopes.iter().find(|scope| !held.contains(scope)) {
                Some(wider) => Err(KeysError::Wider(*wider)),
                None => Ok(()),
            },
            None => Ok(()),
        }
    }
}

/// The first key: for an administrator who has the data directory in hand. It lasts a quarter of an hour and makes one key.
///
/// # Errors
/// [`KeysError::State`] when somebody can administer keys already.
pub async fn bootstrap(records: &Records) -> Result<Created, KeysError> {
    let now = now_ms();
    let administrators = records.administrators(now).await?;
    if administrators > 0 {
        return Err(KeysError::State(format!(
            "{administrators} key(s) with the scope keys:admin can be used already; revoke them first, or use one of them"
        )));
    }
    let new = NewKey {
        owner: "homeostat".to_owned(),
        labels: BTreeMap::from([(super::records::BOOTSTRAP_LABEL.to_owned(), "once".to_owned())]),
        scopes: Scope::ALL.iter().copied().collect(),
        expires_ms: Some(now.saturating_add(BOOTSTRAP_MS)),
        rotate_every_ms: None,
        grace_ms: 0,
        ..NewKey::default()
    };
    records.create(new, &Actor::local("bootstrap")).await
}
