//! What the status actor says about alerts when they are to be told: who silenced them, and who looks after them.
//!
//! Promise: an alert is judged by everything that stood on the log before it. Who cannot be asked silences nothing: one message too
//! many is better than one that nobody heard.

use super::Post;
use homeostat_actors::status::StatusView;
use homeostat_schemas::Position;
use std::time::Duration;
use tokio::time::Instant;

/// How long the status actor may be behind before alerts are told without its word.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(2);

/// What the status actor shows once it has taken everything up to `position`; nothing when it does not get there in time.
pub(super) async fn view_at(post: &Post, position: Position) -> Option<StatusView> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let condition = post.slots.status.condition();
        if condition.running && condition.position >= position {
            return post.slots.status.view().await;
        }
        if Instant::now() > deadline {
            tracing::warn!(position, "the status actor is behind: alerts are told without asking who silenced them");
            return None;
        }
        tokio::time::sleep(LOOK).await;
    }
}
