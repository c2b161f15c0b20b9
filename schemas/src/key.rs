//! API keys as the bus knows them: everything about a key but its secret and whatever could be made into one.
//!
//! The truth about keys is the database (`src/keys/` of the body): nothing here lets anybody in. Every change there is said once as a
//! [`KeyFact`] on `control.keys.<id>`, so that minds can judge what is due.

mod scope;

pub use scope::{Scope, UnknownScope};

use crate::event::{INSTANT_MAX_MS, SERVICE_MAX, Unfit};
use crate::time::{Ms, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The length of a key's id, letters and digits.
pub const KEY_ID_LEN: usize = 12;
/// How many versions of a key a record holds at most: those that are accepted (two), and the latest of those that were.
pub const KEY_VERSIONS_MAX: usize = 8;
/// How many labels a key has at most.
pub const KEY_LABELS_MAX: usize = 16;
/// The longest name or value of a label, bytes.
pub const KEY_LABEL_MAX: usize = 128;

/// What a key is for; part of its text, so that one in the wrong place is seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Environment {
    /// `hst_live_…`
    #[default]
    Live,
    /// `hst_test_…`
    Test,
}

impl Environment {
    /// Its name in the key's text and on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Environment::Live => "live",
            Environment::Test => "test",
        }
    }
}

/// Where a version of a key is in its life: `pending → active → grace → expired → purged`, and `revoked` from any of them at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// It exists, but its time has not come.
    Pending,
    /// It is accepted.
    #[default]
    Active,
    /// It has a successor and is accepted for a while yet.
    Grace,
    /// Its time is over.
    Expired,
    /// It was taken back.
    Revoked,
    /// Its hash is gone; that it existed is remembered.
    Purged,
}

impl KeyState {
    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            KeyState::Pending => "pending",
            KeyState::Active => "active",
            KeyState::Grace => "grace",
            KeyState::Expired => "expired",
            KeyState::Revoked => "revoked",
            KeyState::Purged => "purged",
        }
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a secret came from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyOrigin {
    /// Drawn here.
    #[default]
    Minted,
    /// Only its hash was handed over.
    Imported,
}

/// One secret of a key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyVersion {
    /// Its number, from 1, growing.
    pub version: u32,
    /// Where it is in its life, as of the record.
    pub state: KeyState,
    /// Where the secret came from.
    #[serde(default)]
    pub origin: KeyOrigin,
    /// When it was made.
    pub created_ms: UnixMs,
    /// Before this it is not accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_ms: Option<UnixMs>,
    /// From this on it is not accepted: the end of its grace or of the key, whichever is first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<UnixMs>,
    /// When it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_ms: Option<UnixMs>,
    /// Whether somebody else may know it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compromised: bool,
}

impl KeyVersion {
    /// Where it is in its life at `now`, whether or not anybody has written it down yet: its times decide.
    #[must_use]
    pub fn state_at(&self, now: UnixMs) -> KeyState {
        match self.state {
            KeyState::Pending | KeyState::Active | KeyState::Grace if self.expires_ms.is_some_and(|at| now >= at) => KeyState::Expired,
            KeyState::Pending if self.starts_ms.is_none_or(|at| now >= at) => KeyState::Active,
            state => state,
        }
    }

    /// Does it let its holder in at `now`?
    #[must_use]
    pub fn accepted_at(&self, now: UnixMs) -> bool {
        matches!(self.state_at(now), KeyState::Active | KeyState::Grace)
    }
}

/// A change of the recipient of sealed secrets that has been asked for and waits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecipientChange {
    /// The public xkey that is to be, or nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// From when on it is the recipient.
    pub from_ms: UnixMs,
    /// Who asked.
    pub by: String,
}

/// A key without its secrets and hashes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRecord {
    /// Its id: 12 letters and digits.
    pub id: String,
    /// The service that it belongs to.
    pub owner: String,
    /// What people have noted about it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What its holder may do, in order.
    pub scopes: Vec<Scope>,
    /// What it is for.
    #[serde(default)]
    pub environment: Environment,
    /// When it was created.
    pub created_ms: UnixMs,
    /// The end of all its versions, if it has one. Never moved further away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<UnixMs>,
    /// After how long a version should have a successor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_every_ms: Option<Ms>,
    /// How long an old version is accepted beside the new one.
    pub grace_ms: Ms,
    /// The public xkey to which new secrets are sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// Another recipient that waits for its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient_change: Option<RecipientChange>,
    /// Grows with every change. What was learnt under a smaller one is void.
    pub generation: u64,
    /// Its secrets, oldest first; of the ones that are no longer accepted only the latest.
    pub versions: Vec<KeyVersion>,
}

impl KeyRecord {
    /// The version in force: the newest that is active (or pending, when its time has come) at `now`.
    #[must_use]
    pub fn active_at(&self, now: UnixMs) -> Option<&KeyVersion> {
        self.versions.iter().rev().find(|version| version.state_at(now) == KeyState::Active)
    }

    /// The versions that let their holders in at `now`: at most two.
    pub fn accepted_at(&self, now: UnixMs) -> impl Iterator<Item = &KeyVersion> {
        self.versions.iter().filter(move |version| version.accepted_at(now))
    }

    /// A version by its number.
    #[must_use]
    pub fn version(&self, version: u32) -> Option<&KeyVersion> {
        self.versions.iter().find(|found| found.version == version)
    }

    /// Is it a record that a mind can work with?
    ///
    /// # Errors
    /// Which field is wrong, and how.
    pub fn check(&self) -> Result<(), Unfit> {
        let unfit = |field, why| Err(Unfit { field, why });
        if !is_key_id(&self.id) {
            return unfit("id", "an id is 12 letters and digits");
        }
        if self.owner.is_empty() || self.owner.len() > SERVICE_MAX {
            return unfit("owner", "the owner is a service: a name of 1 to 64 bytes");
        }
        if self.labels.len() > KEY_LABELS_MAX || self.labels.iter().any(|(k, v)| k.is_empty() || k.len().max(v.len()) > KEY_LABEL_MAX) {
            return unfit("labels", "16 labels at most, names and values of 128 bytes at most");
        }
        if self.scopes.len() > Scope::ALL.len() || !self.scopes.is_sorted_by(|a, b| a < b) {
            return unfit("scopes", "each scope once, in their order");
        }
        if self.versions.len() > KEY_VERSIONS_MAX || !self.versions.is_sorted_by(|a, b| a.version < b.version) {
            return unfit("versions", "8 versions at most, by growing number");
        }
        let times = self.versions.iter().flat_map(|v| [Some(v.created_ms), v.starts_ms, v.expires_ms, v.revoked_ms]);
        let change = self.recipient_change.as_ref().map(|change| change.from_ms);
        let own = [Some(self.created_ms), self.expires_ms, self.rotate_every_ms, Some(self.grace_ms), change];
        if own.into_iter().chain(times).flatten().any(|at| at > INSTANT_MAX_MS) {
            return unfit("created_ms", "a time is later than the year 9999");
        }
        Ok(())
    }
}

/// Is this text the id of a key?
#[must_use]
pub fn is_key_id(text: &str) -> bool {
    text.len() == KEY_ID_LEN && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// What happened to a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyChange {
    /// It was created.
    Created,
    /// It was created from the hash of a secret that others know.
    Imported,
    /// It has a new version.
    Rotated,
    /// A version's time is over, and that was written down.
    Expired,
    /// A version's hash was destroyed.
    Purged,
    /// It, or one of its versions, was taken back.
    Revoked,
    /// Another recipient of its secrets was asked for, was called off, or took its place.
    Recipient,
    /// Nothing: this is how it stands, and how it has been used.
    #[default]
    Noted,
}

/// How one version of a key has been used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyUsage {
    /// Which version.
    pub version: u32,
    /// How often, since it was made.
    pub count: u64,
    /// When last.
    pub last_used_ms: UnixMs,
    /// From where last: an address, as the gateway saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// A change of a key, and how the key stands after it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyFact {
    /// How it stands now.
    pub record: KeyRecord,
    /// What happened.
    pub change: KeyChange,
    /// Who did it: a key's id, an actor, or a person at the command line.
    pub by: String,
    /// When, by the clock of who did it.
    pub at_ms: UnixMs,
    /// The version that it happened to, when it happened to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// How its versions have been used, so far as that was known then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub usage: Vec<KeyUsage>,
}

impl KeyFact {
    /// Is it a fact that a mind can work with?
    ///
    /// # Errors
    /// Which field is wrong, and how.
    pub fn check(&self) -> Result<(), Unfit> {
        self.record.check()?;
        if self.by.len() > KEY_LABEL_MAX {
            return Err(Unfit { field: "by", why: "128 bytes at most" });
        }
        if self.usage.len() > KEY_VERSIONS_MAX {
            return Err(Unfit { field: "usage", why: "8 versions at most" });
        }
        if self.usage.iter().any(|usage| usage.source.as_ref().is_some_and(|source| source.len() > KEY_LABEL_MAX)) {
            return Err(Unfit { field: "usage", why: "a source has 128 bytes at most" });
        }
        if self.usage.iter().map(|usage| usage.last_used_ms).chain([self.at_ms]).any(|at| at > INSTANT_MAX_MS) {
            return Err(Unfit { field: "at_ms", why: "a time is later than the year 9999" });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::envelope::{Content, Delivery, Headers};
    use crate::subject::Root;
    use proptest::prelude::*;

    fn version(state: KeyState, expires_ms: Option<UnixMs>) -> KeyVersion {
        KeyVersion { version: 1, state, expires_ms, ..KeyVersion::default() }
    }

    fn fact() -> KeyFact {
        KeyFact {
            record: KeyRecord {
                id: "aB3dE6gH9jK2".to_owned(),
                owner: "shop".to_owned(),
                scopes: vec![Scope::TelemetryWrite],
                versions: vec![version(KeyState::Active, None)],
                ..KeyRecord::default()
            },
            ..KeyFact::default()
        }
    }

    fn decode(id: &str, payload: &[u8]) -> Content {
        let subject = format!("homeostat.v1.control.keys.{id}");
        Delivery::decode(&Root::default(), 1, 1, subject, Headers::default(), payload).content
    }

    #[test]
    fn a_scope_is_named_the_same_in_json_and_in_text() {
        for scope in Scope::ALL {
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.name());
            assert_eq!(scope.name().parse(), Ok(*scope));
        }
        assert!("keys:Admin".parse::<Scope>().is_err());
    }

    #[test]
    fn time_alone_ends_a_version() {
        let grace = version(KeyState::Grace, Some(100));
        assert!(grace.accepted_at(99) && !grace.accepted_at(100));
        assert_eq!(grace.state_at(100), KeyState::Expired);
        let pending = KeyVersion { starts_ms: Some(50), ..version(KeyState::Pending, Some(100)) };
        assert_eq!([49, 50, 100].map(|now| pending.state_at(now)), [KeyState::Pending, KeyState::Active, KeyState::Expired]);
        assert!(!version(KeyState::Revoked, None).accepted_at(0));
    }

    #[test]
    fn a_fact_is_heard_under_its_own_id_only() {
        let payload = serde_json::to_vec(&fact()).unwrap();
        assert_eq!(decode("aB3dE6gH9jK2", &payload), Content::Key(Box::new(fact())));
        let Content::Broken(rejected) = decode("aB3dE6gH9jK3", &payload) else { panic!("another key's id") };
        assert!(rejected.reason.to_string().contains("aB3dE6gH9jK3"), "{}", rejected.reason);
    }

    #[test]
    fn what_no_mind_can_work_with_is_dead() {
        let mut far = fact();
        far.record.versions[0].created_ms = UnixMs::MAX;
        let mut twice = fact();
        twice.record.versions = vec![version(KeyState::Active, None); 2];
        let mut wide = fact();
        wide.record.scopes = vec![Scope::Probe; 9];
        let mut nobody = fact();
        nobody.record.owner.clear();
        for bad in [far, twice, wide, nobody] {
            assert!(matches!(decode(&bad.record.id, &serde_json::to_vec(&bad).unwrap()), Content::Broken(_)), "{bad:?}");
        }
        assert!(matches!(decode("aB3dE6gH9jK2", br#"{"record":{"scopes":["root"]}}"#), Content::Broken(_)));
    }

    proptest! {
        #[test]
        fn no_payload_makes_the_decoder_panic(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode("aB3dE6gH9jK2", &payload);
        }
    }
}
