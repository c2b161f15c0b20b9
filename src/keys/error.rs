//! What can go wrong with keys.

use super::format::NoRandomness;
use super::hash::{HashError, PhcError};
use super::keyring::KeyringError;
use crate::store::StoreError;
use homeostat_schemas::key::Scope;

/// Why something was not done with a key.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// There is no such key.
    #[error("there is no key {0}")]
    NotFound(String),
    /// It is not as whoever asked believes.
    #[error("the key {id} is at version {found}, not at {expected}: somebody else changed it; look again")]
    Conflict {
        /// Which key.
        id: String,
        /// What was expected.
        expected: u32,
        /// What is.
        found: u32,
    },
    /// It cannot be done to a key in its state.
    #[error("{0}")]
    State(String),
    /// Something that cannot be.
    #[error("{field}: {why}")]
    Invalid {
        /// What.
        field: &'static str,
        /// Why.
        why: String,
    },
    /// Whoever asks may not do that themselves.
    #[error("a key cannot mint a wider one: it lacks the scope {0}")]
    Wider(Scope),
    /// The hash to be imported cannot be.
    #[error(transparent)]
    Hash(#[from] PhcError),
    /// Not now.
    #[error("{0}; try again")]
    Busy(#[from] HashError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The keyring.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The keyring is not the one that the keys were made with, or the keys are gone.
    #[error("{0}")]
    Estranged(String),
    /// No random numbers.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The secret could not be sealed for its recipient.
    #[error("the new secret could not be sealed: {0}")]
    Seal(String),
}

impl KeysError {
    /// Is it worth trying again without anyone doing anything?
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            KeysError::Store(error) => error.may_pass(),
            KeysError::Busy(_) => true,
            _ => false,
        }
    }

    pub(super) fn invalid(field: &'static str, why: impl Into<String>) -> KeysError {
        KeysError::Invalid { field, why: why.into() }
    }
}
