//! The settings in force are part of the input: a message on `control.settings`, from which on the minds use them. So a replay
//! knows them, and they can change while the system runs.
//!
//! At start the configured settings are put on the log if they were *configured* otherwise before; what somebody changed since at
//! run time stays in force as long as the configuration is the same.

use crate::roster::{ActorSettings, SettingsError};
use homeostat_nats::{AppendError, BusError, Log, Message};
use homeostat_schemas::{Root, Subject};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// How often a lost race is run again.
const TRIES: usize = 10;

/// The body of the message: one table an actor, and beside them which configuration they come from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InForce {
    /// The hash of the configuration that was the base.
    #[serde(default)]
    configured: String,
    /// One table an actor.
    #[serde(flatten)]
    pub actors: ActorSettings,
}

impl InForce {
    /// The same configuration, changed at run time.
    #[must_use]
    pub fn with(&self, actors: ActorSettings) -> InForce {
        InForce { configured: self.configured.clone(), actors }
    }

    /// Does the running system have this configuration, changed at run time or not?
    #[must_use]
    pub fn comes_from(&self, configured: &ActorSettings) -> bool {
        self.configured == fingerprint(configured)
    }
}

/// Why settings could not be put in force.
#[derive(Debug, thiserror::Error)]
pub enum InForceError {
    /// The bus refused.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// An actor does not understand them.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The change is none.
    #[error("{0}")]
    Change(String),
    /// Somebody else changed them again and again at the same time.
    #[error("the settings were changed by somebody else at the same time; try again")]
    Race,
}

fn fingerprint(settings: &ActorSettings) -> String {
    format!("{:016x}", xxh3_64(serde_json::to_string(settings).unwrap_or_default().as_bytes()))
}

/// The settings in force and the sequence of the message that says so; nothing on a new log.
///
/// # Errors
/// What keeps the bus from answering.
pub async fn read(log: &Log, root: &Root) -> Result<Option<(InForce, u64)>, BusError> {
    let entry = log.last_on(&root.subject(&Subject::Settings)).await?;
    Ok(entry.and_then(|entry| Some((serde_json::from_slice(&entry.payload).ok()?, entry.seq))))
}

/// Puts the configured settings in force, if the configuration is another one than the last time.
///
/// # Errors
/// See [`InForceError`].
pub async fn configure(log: &Log, root: &Root, settings: &ActorSettings) -> Result<(), InForceError> {
    settings.check()?;
    let configured = fingerprint(settings);
    change(log, root, |before| match before {
        Some(before) if before.configured == configured => Ok(None),
        _ => Ok(Some(InForce { configured: configured.clone(), actors: settings.clone() })),
    })
    .await
}

/// Changes the settings in force; `None` leaves them as they are.
///
/// # Errors
/// See [`InForceError`].
pub async fn change(
    log: &Log,
    root: &Root,
    change: impl Fn(Option<&InForce>) -> Result<Option<InForce>, String>,
) -> Result<(), InForceError> {
    let subject = root.subject(&Subject::Settings);
    for _ in 0..TRIES {
        let before = log.last_on(&subject).await?;
        let seq = before.as_ref().map_or(0, |entry| entry.seq);
        let before: Option<InForce> = before.and_then(|entry| serde_json::from_slice(&entry.payload).ok());
        let Some(after) = change(before.as_ref()).map_err(InForceError::Change)? else { return Ok(()) };
        after.actors.check()?;
        let body = serde_json::to_vec(&after).map_err(|error| InForceError::Change(error.to_string()))?;
        match log.append_if(Message::new(subject.clone(), body).with("content-type", homeostat_schemas::batch::JSON), seq).await {
            Ok(_) => return Ok(()),
            Err(AppendError::Conflict { .. }) => {}
            Err(AppendError::Bus(error)) => return Err(error.into()),
        }
    }
    Err(InForceError::Race)
}
