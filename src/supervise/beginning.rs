//! What an incarnation of an actor begins with, whatever its mind is.

use super::standing::mark_of;
use super::{Common, Trouble};
use crate::shell::MARK_BYTES;
use crate::suspect::{Accused, Suspect};
use homeostat_nats::{BusError, CheckpointError, Checkpoints, Log, Outbox, OutboxOptions};
use homeostat_schemas::Position;

/// Where the outputs go, and where the mind may come from.
pub(super) struct Beginning {
    pub(super) outbox: Outbox,
    pub(super) checkpoints: Checkpoints,
    /// The names of the checkpoints that may be taken up, the best first.
    pub(super) candidates: Vec<String>,
}

impl Common {
    /// Opens the outbox of an actor, and looks for its checkpoints.
    pub(super) async fn begin(&self, actor: &'static str) -> Result<Beginning, Trouble> {
        let options = OutboxOptions { fence: self.fence, ..OutboxOptions::default() };
        let (outbox, head) = Outbox::open(&self.log, actor, options).await?;
        let checkpoints = Checkpoints::of(&self.log);
        let candidates = checkpoints.candidates(actor, head.as_ref()).await?;
        Ok(Beginning { outbox, checkpoints, candidates })
    }

    /// The note of the message at work, and the message that the process has ended on.
    pub(super) fn suspect(&self, actor: &'static str) -> (Option<Suspect>, Option<Accused>) {
        match Suspect::open(&self.suspects, actor) {
            Ok((suspect, accused)) => (Some(suspect), accused),
            Err(error) => {
                tracing::warn!(actor, %error, "no note of the message at work can be kept");
                (None, None)
            }
        }
    }
}

/// The bytes of a checkpoint, if it can be used.
pub(super) async fn read(checkpoints: &Checkpoints, actor: &'static str, name: &str) -> Result<Option<bytes::Bytes>, Trouble> {
    match checkpoints.load(actor, name).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(CheckpointError::Bus(error)) => Err(error.into()),
        Err(error) => {
            tracing::warn!(actor, checkpoint = name, %error, "a checkpoint cannot be used");
            Ok(None)
        }
    }
}

/// Is a checkpoint of this log? A power cut can take the log's tail with it, and its positions are then used again for other messages.
pub(super) async fn is_of(
    log: &Log,
    position: Position,
    mark: [u8; MARK_BYTES],
    actor: &'static str,
    name: &str,
) -> Result<bool, BusError> {
    match mark_of(log, position).await? {
        Some(found) if found != u128::from_le_bytes(mark) => {
            tracing::warn!(actor, checkpoint = name, "the log has another message at the checkpoint's position");
            Ok(false)
        }
        None if position > log.bounds().await?.last => {
            tracing::warn!(actor, checkpoint = name, "the log ends before the checkpoint");
            Ok(false)
        }
        Some(_) | None => Ok(true),
    }
}
