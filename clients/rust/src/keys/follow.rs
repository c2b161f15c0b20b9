//! How deliveries come: from the log, from its beginning, in order; where this user may not read the log, from core NATS, as they pass.

use super::Shared;
use crate::client::Inner;
use crate::link::LinkState;
use crate::trace::message_id;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::{Client, jetstream};
use futures::StreamExt as _;
use homeostat_schemas::Subject;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How long the log may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// How often an idle server says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long a consumer that nobody reads from is kept by the server.
const ABANDONED: Duration = Duration::from_secs(60);
/// How long a pull lasts before it is renewed.
const PULL: Duration = Duration::from_secs(30);
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
    let mut log = jetstream::new(bus.clone());
    log.set_timeout(ANSWER);
    let config = pull::Config {
        name: message_id().ok().map(|id| format!("keys-{id}")),
        description: Some(format!("sealed keys for {}/{}", inner.service, inner.instance)),
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: *next },
        ack_policy: AckPolicy::None,
        filter_subject: subject(&inner),
        inactive_threshold: ABANDONED,
        memory_storage: true,
        num_replicas: 1,
        ..pull::Config::default()
    };
    let stream = inner.root.as_str().strip_suffix(".v1").unwrap_or(inner.root.as_str()).replace('.', "_");
    drop((inner, keys));
    let creation = timeout(ANSWER, log.create_consumer_on_stream(config, stream));
    // A refusal is only an event of the connection; the question itself is never answered.
    let mut news = link.clone();
    let consumer = tokio::select! {
        consumer = creation => match consumer {
            Ok(Ok(consumer)) => consumer,
            Ok(Err(_)) | Err(_) => return Ended::Broken,
        },
        state = news.wait_for(|state| !state.connected || state.refuses("$JS.API.CONSUMER.CREATE.")) => {
            return if state.is_ok_and(|state| state.connected) { Ended::Forbidden } else { Ended::Broken };
        }
    };
    let Ok(mut messages) = consumer.stream().heartbeat(HEARTBEAT).expires(PULL).max_messages_per_batch(64).messages().await else {
        return Ended::Broken;
    };
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
