//! One incarnation of an actor at work, and when its state is due to be kept.

use super::standing::Standing;
use crate::feed::Follower;
use crate::shell::ShellConfig;
use homeostat_actors::core::Core;
use homeostat_nats::{Checkpoints, Outbox};
use homeostat_schemas::Position;
use std::time::{Duration, Instant};

/// For so many times as long as a checkpoint took none is made.
const WORK_PER_SAVING: u32 = 20;
/// A message passed over is so much cheaper to read again than one heard.
const PASSED_PER_HEARD: u64 = 10;

/// One incarnation at work.
pub(super) struct Run<C: Core> {
    pub(super) follower: Follower,
    pub(super) outbox: Outbox,
    pub(super) checkpoints: Checkpoints,
    pub(super) shell: Standing<C>,
    pub(super) position: Position,
    pub(super) saved: Position,
    pub(super) saved_at: Instant,
    /// How long the last checkpoint took.
    pub(super) saving: Duration,
    /// Messages heard since the last checkpoint, ticks not counted.
    pub(super) heard: u64,
}

impl<C: Core> Run<C> {
    /// Is it time for a checkpoint? By what was heard, so that telemetry about something else does not make an actor save a state
    /// that is the same; but the place is kept now and then all the same, so that a start need not read it all again. However
    /// large a state is and however fast the log, saving it takes a small share of the time.
    pub(super) fn is_due(&self, config: &ShellConfig) -> bool {
        if self.saved_at.elapsed() < self.saving * WORK_PER_SAVING {
            return false;
        }
        let waited = u64::try_from(self.saved_at.elapsed().as_millis()).unwrap_or(u64::MAX);
        let gone = self.position - self.saved;
        self.heard > 0 && waited >= config.checkpoint_every_ms
            || self.heard >= config.checkpoint_every_messages
            || gone >= config.checkpoint_every_messages.saturating_mul(PASSED_PER_HEARD)
            || gone > 0 && waited >= config.checkpoint_idle_ms
    }
}
