//! What the status actor says about alerts when they are to be told: who silenced them, and who looks after them.
//!
//! Promise: an alert is judged by everything that stood on the log before it. Who cannot be asked silences nothing: one message too
//! many is better than one that nobody heard.

use super::Post;
use homeostat_actors::driver::Driver;
use homeostat_actors::status::StatusCore;
use homeostat_schemas::Position;
use std::time::Duration;

/// How long the status actor may be behind before alerts are told without its word.
const PATIENCE: Duration = Duration::from_secs(5);

/// The status actor's answer once it has taken everything up to `position`; nothing when it does not get there in time.
pub(super) async fn ask_at<T: Send + 'static>(
    post: &Post,
    position: Position,
    question: impl FnOnce(&Driver<StatusCore>) -> T + Send + 'static,
) -> Option<T> {
    if !post.slots.status.reached(position, PATIENCE).await {
        tracing::warn!(position, "the status actor is behind: alerts are told without asking who silenced them");
        return None;
    }
    post.slots.status.ask(question).await
}
