//! How commands come: from the log, in order, without a gap across any trouble; where this user may not read the log, from core
//! NATS, as they pass.
//!
//! A consumer of the log is this process's own and lives in the server's memory. It begins behind the end of the log, and a new
//! one, after whatever trouble, behind the last command that was seen. So what is issued while the connection is away comes
//! later, and the gate says whether it is too late then.
//!
//! On core NATS what is issued while the connection is away is missed, and Homeostat's next attempt is another command. A command
//! also passes there when the log then refuses it (two owners for a moment): it is the same command as the owner's, with the same id,
//! because a mind is a function of the log; the gate does not execute it a second time.

use crate::client::{Inner, now_ms};
use crate::link::LinkState;
use crate::log::{Closed, Wanted, messages};
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::{Client, HeaderMap};
use futures::StreamExt as _;
use homeostat_schemas::subject::Token;
use std::sync::Weak;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

/// Pause after trouble.
const AGAIN: Duration = Duration::from_millis(250);
/// Pause while there is no log at all.
const NO_LOG: Duration = Duration::from_secs(1);

/// Why listening stopped.
enum Ended {
    /// The client is gone.
    Gone,
    /// Something broke: another consumer, at the next sequence.
    Broken,
    /// There is no log, or it does not answer.
    NoLog,
    /// This user may not read the log.
    Forbidden,
}

impl From<Closed> for Ended {
    fn from(closed: Closed) -> Ended {
        match closed {
            Closed::Broken => Ended::Broken,
            Closed::NoLog => Ended::NoLog,
            Closed::Forbidden => Ended::Forbidden,
        }
    }
}

/// Listens until the client is gone.
pub(super) async fn listen(client: Weak<Inner>, mut link: watch::Receiver<LinkState>) {
    let mut next = None;
    let mut told = false;
    loop {
        let bus = match link.wait_for(|state| state.usable().is_some()).await {
            Ok(state) => state.usable().cloned(),
            Err(_) => return,
        };
        let Some(bus) = bus else { continue };
        match from_log(&client, &bus, &link, &mut next).await {
            Ended::Gone => return,
            Ended::Broken => sleep(AGAIN).await,
            Ended::NoLog => sleep(NO_LOG).await,
            Ended::Forbidden => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!("this user may not read commands from the log, listening as they pass");
                }
                if let Ended::Gone = as_they_pass(&client, &bus, &link).await {
                    return;
                }
                sleep(AGAIN).await;
            }
        }
    }
}

fn subject(inner: &Inner) -> String {
    format!("{}.command.*.*.{}", inner.root, Token(&inner.service))
}

fn alive(client: &Weak<Inner>) -> Option<std::sync::Arc<Inner>> {
    client.upgrade().filter(|inner| !inner.is_closed())
}

async fn from_log(client: &Weak<Inner>, bus: &Client, link: &watch::Receiver<LinkState>, next: &mut Option<u64>) -> Ended {
    let Some(inner) = alive(client) else { return Ended::Gone };
    let from = match *next {
        Some(start_sequence) => DeliverPolicy::ByStartSequence { start_sequence },
        None => DeliverPolicy::New,
    };
    let wanted = Wanted::new(&inner, "commands", "commands", subject(&inner), from);
    let asked = now_ms();
    let consumer = match wanted.consumer(bus, link).await {
        Ok(consumer) => consumer,
        Err(closed) => return closed.into(),
    };
    let info = consumer.cached_info();
    // The server's clock at about the middle of the question: commands are issued and expire by that clock.
    let created = i64::try_from(info.created.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
    let middle = i64::try_from(asked.midpoint(now_ms())).unwrap_or(0);
    inner.commands.clock(created.saturating_sub(middle));
    // Everything from here on is this consumer's; another one begins where it stopped.
    next.get_or_insert(info.delivered.stream_sequence + 1);
    inner.commands.begin(&inner.service, &inner.instance);
    drop(inner);
    let Ok(mut messages) = messages(&consumer).await else { return Ended::Broken };
    loop {
        let message = tokio::select! {
            message = messages.next() => message,
            () = sleep(Duration::from_secs(1)) => {
                if alive(client).is_none() {
                    return Ended::Gone;
                }
                continue;
            }
        };
        // A missed heartbeat, a consumer that is gone: from the next sequence on with another one.
        let Some(Ok(message)) = message else { return Ended::Broken };
        let Some(inner) = alive(client) else { return Ended::Gone };
        let Ok(at) = message.info() else { return Ended::Broken };
        if next.is_some_and(|next| at.stream_sequence < next) {
            continue;
        }
        *next = Some(at.stream_sequence + 1);
        let objection = inner.trust.objection(bus, link, &message).await;
        inner.command(&message.payload, traceparent(message.headers.as_ref()), objection);
    }
}

/// Until the connection is made anew: then the log may be open to this user.
async fn as_they_pass(client: &Weak<Inner>, bus: &Client, link: &watch::Receiver<LinkState>) -> Ended {
    let Some(inner) = alive(client) else { return Ended::Gone };
    let wanted = subject(&inner);
    let Ok(mut commands) = bus.subscribe(wanted.clone()).await else { return Ended::Broken };
    inner.commands.begin(&inner.service, &inner.instance);
    drop(inner);
    let connections = link.borrow().connections;
    let mut told = false;
    loop {
        let message = tokio::select! {
            message = commands.next() => message,
            () = sleep(Duration::from_secs(1)) => {
                if alive(client).is_none() {
                    return Ended::Gone;
                }
                let state = link.borrow();
                if state.connections != connections {
                    return Ended::Broken;
                }
                if !std::mem::replace(&mut told, true) {
                    // A refusal is only an event of the connection; the subscription itself stays silent for ever.
                    told = state.refuses(&wanted);
                    if told {
                        tracing::error!(subject = wanted, "no command can come: this user may not listen to them");
                    }
                }
                continue;
            }
        };
        let Some(message) = message else { return Ended::Broken };
        let Some(inner) = alive(client) else { return Ended::Gone };
        let objection = inner.trust.objection(bus, link, &message).await;
        inner.command(&message.payload, traceparent(message.headers.as_ref()), objection);
    }
}

/// The trace of a command. Names of headers are told apart by case on the wire; ours are in lower case.
fn traceparent(headers: Option<&HeaderMap>) -> Option<&str> {
    headers?.get("traceparent").map(|value| value.as_str())
}
