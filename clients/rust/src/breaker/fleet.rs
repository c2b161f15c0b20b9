//! The fleet's word: admissions on core NATS, re-sent while they hold and worth nothing when they are late.

use crate::client::Inner;
use crate::link::LinkState;
use futures::StreamExt as _;
use homeostat_schemas::Admission;
use homeostat_schemas::subject::Token;
use std::sync::Weak;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

/// How long to wait before another subscription, when one could not be made or ended.
const AGAIN: Duration = Duration::from_millis(500);

/// Listens until the client is gone.
pub(super) async fn follow(client: Weak<Inner>, mut link: watch::Receiver<LinkState>) {
    let Some(subject) = client.upgrade().map(|inner| format!("{}.admission.{}.*", inner.root, Token(&inner.service))) else { return };
    loop {
        let bus = match link.wait_for(|state| state.usable().is_some()).await {
            Ok(state) => state.usable().cloned(),
            Err(_) => return,
        };
        let Some(bus) = bus else { continue };
        // The NATS library renews it after a reconnect; it ends with this client of ours, or when the server refuses it.
        if let Ok(mut said) = bus.subscribe(subject.clone()).await {
            loop {
                let message = tokio::select! {
                    message = said.next() => message,
                    // Now and then: is anybody still there to listen for?
                    () = sleep(Duration::from_secs(1)) => {
                        if client.upgrade().is_none_or(|inner| inner.is_closed()) {
                            return;
                        }
                        continue;
                    }
                };
                let Some(message) = message else { break };
                let Some(inner) = client.upgrade() else { return };
                match serde_json::from_slice::<Admission>(&message.payload) {
                    Ok(said) if said.service == inner.service => inner.breakers.hear(&said),
                    Ok(_) => {}
                    Err(error) => tracing::debug!(%error, "an admission that cannot be read"),
                }
            }
        }
        if client.upgrade().is_none_or(|inner| inner.is_closed()) {
            return;
        }
        sleep(AGAIN).await;
    }
}
