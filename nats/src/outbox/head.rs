//! The chain head: what an actor's last write says about it.

use serde::{Deserialize, Serialize};

use crate::message::Entry;

/// Which input led to an output, and which of that input's outputs it is. Ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Sequence of the input on the log.
    pub position: u64,
    /// From 0, in the order in which the mind decided.
    pub index: u32,
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.position, self.index)
    }
}

/// The last message on an actor's chain subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The log's incarnation it was written for.
    pub incarnation: String,
    /// The actor.
    pub actor: String,
    /// Which part of the input.
    #[serde(default)]
    pub partition: u32,
    /// Generation of the owner.
    pub epoch: u64,
    /// The input up to which everything is worked off.
    pub position: u64,
    /// Identity of the last output that is on the log.
    pub last: Option<Identity>,
    /// Name of the checkpoint to start from.
    #[serde(default)]
    pub checkpoint: Option<String>,
    /// Random id of the outbox that wrote it.
    pub owner: String,
    /// Sequence of this message itself. Not part of it: the log knows.
    #[serde(skip)]
    pub seq: u64,
}

impl Head {
    /// Reads a head off the log.
    ///
    /// # Errors
    /// When the message is not one.
    pub fn decode(entry: &Entry) -> Result<Self, serde_json::Error> {
        let mut head: Self = serde_json::from_slice(&entry.payload)?;
        head.seq = entry.seq;
        Ok(head)
    }
}
