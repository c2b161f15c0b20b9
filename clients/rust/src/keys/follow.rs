//! How deliveries come: from the log, from its beginning, in order; where this user may not read the log, from core NATS, as they pass.

use super::Shared;
use crate::client::Inner;
use crate::link::LinkState;
use crate::log::{Closed, Wanted, messages};
use async_nats::Client;
use async_nats::jetstream::consumer::DeliverPolicy;
use futures::StreamExt as _;
use homeostat_schemas::Subject;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

/// Pause after trouble.
const AGAIN: Duration = Duration::from_millis(500);
/// How often it is seen whether anybody still wants to know.
const LOOK: Duration = Duration::from_secs(1);

/// Why following stopped.
enum Ended {
    Gone,
    Broken,
    Forbidden,
}

/// Those for whom it is done.
struct For {
    client: Weak<Inner>,
    keys: Weak<Shared>,
}

impl For {
    fn alive(&self) -> Option<(Arc<Inner>, Arc<Shared>)> {
        let client = self.client.upgrade().filter(|inner| !inner.is_closed())?;
        Some((client, self.keys.upgrade()?))
    }
}

/// Follows until the client or every holder of the keys is gone.
pub(super) async fn follow(client: Weak<Inner>, keys: Weak<Shared>, mut link: watch::Receiver<LinkState>) {
    let whom = For { client, keys };
    let mut next = 1;
    let mut told = false;
    loop {
        let bus = match link.wait_for(|state| state.usable().is_some()).await {
            Ok(state) => state.usable().cloned(),
            Err(_) => return,
        };
        let Some(bus) = bus else { continue };
        match from_log(&whom, &bus, &link, &mut next).await {
            Ended::Gone => return,
            Ended::Broken => sleep(AGAIN).await,
            Ended::Forbidden => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!("this user may not read sealed keys from the log, following them as they pass");
                }
                if let Ended::Gone = as_they_pass(&whom, &bus, &link).await {
                    return;
                }
                sleep(AGAIN).await;
            }
        }
    }
}

fn subject(inner: &Inner) -> String {
    inner.root.subject(&Subject::Sealed(inner.service.clone()))
}

async fn from_log(whom: &For, bus: &Client, link: &watch::Receiver<LinkState>, next: &mut u64) -> Ended {
    let Some((inner, keys)) = whom.alive() else { return Ended::Gone };
    let from = DeliverPolicy::ByStartSequence { start_sequence: *next };
    let wanted = Wanted::new(&inner, "keys", "sealed keys", subject(&inner), from);
    drop((inner, keys));
    let consumer = match wanted.consumer(bus, link).await {
        Ok(consumer) => consumer,
        Err(Closed::Forbidden) => return Ended::Forbidden,
        Err(Closed::Broken | Closed::NoLog) => return Ended::Broken,
    };
    let Ok(mut messages) = messages(&consumer).await else { return Ended::Broken };
    loop {
        let message = tokio::select! {
            message = messages.next() => message,
            () = sleep(LOOK) => {
                if whom.alive().is_none() {
                    return Ended::Gone;
                }
                continue;
            }
        };
        let Some(Ok(message)) = message else { return Ended::Broken };
        let Some((_, keys)) = whom.alive() else { return Ended::Gone };
        let Ok(at) = message.info() else { return Ended::Broken };
        *next = at.stream_sequence + 1;
        keys.take(&message.payload);
    }
}

/// Until the connection is made anew: then the log may be open to this user.
async fn as_they_pass(whom: &For, bus: &Client, link: &watch::Receiver<LinkState>) -> Ended {
    let Some((inner, keys)) = whom.alive() else { return Ended::Gone };
    let Ok(mut messages) = bus.subscribe(subject(&inner)).await else { return Ended::Broken };
    drop((inner, keys));
    let connections = link.borrow().connections;
    loop {
        let message = tokio::select! {
            message = messages.next() => message,
            () = sleep(LOOK) => {
                if whom.alive().is_none() {
                    return Ended::Gone;
                }
                if link.borrow().connections != connections {
                    return Ended::Broken;
                }
                continue;
            }
        };
        let Some(message) = message else { return Ended::Broken };
        let Some((_, keys)) = whom.alive() else { return Ended::Gone };
        keys.take(&message.payload);
    }
}
