//! Sealed deliveries: how a new secret reaches the owner of a key without a human, over a bus that may be read by others.
//!
//! The secret is sealed to the owner's *xkey*, a curve key of NATS (X25519, XSalsa20-Poly1305; `nkeys`), and goes to
//! `key.sealed.<service>`. The box itself knows nothing of order or of who it is for: so key, version, recipient and time of issue stand
//! inside, and whoever opens it demands that they agree with the outside and that the version is greater than any seen before
//! ([`Seen`]). The sender's public key stands outside; whoever wants to be sure who sealed it pins it.
//!
//! The words are for everyone, sealing and opening for those with the feature `sealed`: the body and the clients.

use crate::key::is_key_id;
use crate::time::UnixMs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[cfg(feature = "sealed")]
mod xkey;
#[cfg(feature = "sealed")]
pub use xkey::{Opener, SealedError, Sealer, Secret};

/// Largest sealed delivery that anybody looks at, bytes.
pub const SEALED_MAX: usize = 4 * 1024;
/// How many keys are remembered by one who opens deliveries.
pub const SEEN_MAX: usize = 1_000;

/// A secret on its way, as it stands on the bus. Nothing of it is secret without the recipient's seed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SealedKey {
    /// The key's id.
    pub key: String,
    /// Which version of it.
    pub version: u32,
    /// The service that it belongs to.
    pub owner: String,
    /// To whom it is sealed: a public xkey.
    pub recipient: String,
    /// Who sealed it: a public xkey.
    pub sender: String,
    /// When, Unix ms, by the clock of who sealed it.
    pub issued_ms: UnixMs,
    /// The box, base64url without padding.
    pub sealed: String,
}

/// The versions that were taken, by key: a delivery that is not newer is a replay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The greatest version taken of each key.
    pub versions: BTreeMap<String, u32>,
    /// The sender that was trusted first (or was named); others are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
}

impl Seen {
    /// Is this version newer than all that were taken?
    #[must_use]
    pub fn is_new(&self, key: &str, version: u32) -> bool {
        self.versions.get(key).is_none_or(|seen| version > *seen)
    }

    /// Notes that a version was taken. False when there is no room for another key, or it is none.
    pub fn note(&mut self, key: &str, version: u32) -> bool {
        if !is_key_id(key) || (self.versions.len() >= SEEN_MAX && !self.versions.contains_key(key)) {
            return false;
        }
        let seen = self.versions.entry(key.to_owned()).or_default();
        *seen = version.max(*seen);
        true
    }
}
