//! From the client library's events to the connection's state and the log.

use async_nats::{Event, ServerError};
use tokio::sync::watch;

use super::{ConnectionState, Phase};

/// One event of the client into the state and the log.
pub(super) fn note(state: &watch::Sender<ConnectionState>, event: &Event) {
    match event {
        Event::Connected => {
            let n = state.borrow().connections + 1;
            tracing::info!(connections = n, "bus connected");
            state.send_modify(|s| {
                s.phase = Phase::Connected;
                s.connections = n;
            });
        }
        Event::Disconnected => {
            tracing::warn!("bus disconnected, reconnecting");
            state.send_modify(|s| s.phase = Phase::Disconnected);
        }
        Event::Closed => {
            tracing::info!("bus connection closed");
            state.send_modify(|s| s.phase = Phase::Closed);
        }
        Event::LameDuckMode | Event::Draining => tracing::info!(%event, "bus connection ending"),
        Event::SlowConsumer(subscription) => {
            tracing::warn!(subscription, "bus messages dropped: this process was too slow");
            state.send_modify(|s| s.slow += 1);
        }
        Event::ServerError(ServerError::Other(text)) if is_violation(text) => {
            tracing::error!(detail = %text, "bus refused a subject");
            state.send_modify(|s| {
                s.violations += 1;
                s.last_violation = Some(text.clone());
                s.last_error = Some(text.clone());
            });
        }
        Event::ServerError(error) => {
            tracing::warn!(%error, "bus server error");
            state.send_modify(|s| s.last_error = Some(error.to_string()));
        }
        Event::ClientError(error) => {
            tracing::debug!(%error, "bus client error");
            state.send_modify(|s| s.last_error = Some(error.to_string()));
        }
    }
}

fn is_violation(text: &str) -> bool {
    text.to_ascii_lowercase().contains("permissions violation")
}
