//! What a webhook was not told because it was silenced: one document in the bucket `homeostat_state`, so that a process that dies
//! leaves it to the next one.

use homeostat_nats::Log;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// So many incidents are withheld at once; what finds no room is told. As many as the status actor keeps.
const ROOM: usize = 10_000;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The document.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Document {
    /// The log that the incidents are of.
    log: String,
    /// Each incident, and whether an earlier message of it was told.
    incidents: BTreeMap<String, bool>,
}

/// Incidents that are withheld from one webhook. Every change is stored before it counts.
pub(super) struct Withheld {
    log: Log,
    key: String,
    document: Document,
}

impl Withheld {
    /// What is withheld from the webhook of this name.
    pub(super) async fn load(log: &Log, name: &str) -> Result<Withheld, Failure> {
        let key = format!("withheld.{}", homeostat_schemas::subject::Token(name));
        let stored = log.state_store().await?.get(&key).await?;
        let document = stored.and_then(|bytes| serde_json::from_slice::<Document>(&bytes).ok());
        // Incidents of another log say nothing about this one's.
        let document = document.filter(|document| document.log == log.incarnation());
        let document = document.unwrap_or_else(|| Document { log: log.incarnation().to_owned(), incidents: BTreeMap::new() });
        Ok(Withheld { log: log.clone(), key, document })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.document.incidents.is_empty()
    }

    pub(super) fn incidents(&self) -> Vec<String> {
        self.document.incidents.keys().cloned().collect()
    }

    /// Whether an earlier message of a withheld incident was told; nothing when it is not withheld.
    pub(super) fn told(&self, incident: &str) -> Option<bool> {
        self.document.incidents.get(incident).copied()
    }

    pub(super) fn has_room(&self, incident: &str) -> bool {
        self.document.incidents.len() < ROOM || self.document.incidents.contains_key(incident)
    }

    pub(super) async fn keep(&mut self, incident: &str, told: bool) -> Result<(), Failure> {
        if self.document.incidents.insert(incident.to_owned(), told) == Some(told) {
            return Ok(());
        }
        self.store().await
    }

    pub(super) async fn forget(&mut self, incident: &str) -> Result<(), Failure> {
        if self.document.incidents.remove(incident).is_none() {
            return Ok(());
        }
        self.store().await
    }

    async fn store(&self) -> Result<(), Failure> {
        self.log.state_store().await?.put(&self.key, serde_json::to_vec(&self.document)?.into()).await?;
        Ok(())
    }
}
