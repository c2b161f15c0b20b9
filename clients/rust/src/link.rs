//! The connection: made in the background, kept, made anew, and what is known of it.
//!
//! The NATS library reconnects by itself, except where it cannot: a first connection that fails, credentials that changed, a
//! `homeostat up` that came back on another port. Those are this file's. It also hears what the library says only as an event:
//! a publish or a subscription that the server refused.

use crate::error::InitError;
use crate::settings::{Settings, Target};
use crate::stats::Counters;
use crate::trace::jitter;
use async_nats::{Client, ClientError, ConnectErrorKind, ConnectOptions, Event, ServerError};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// How long one try to connect may take.
const CONNECT: Duration = Duration::from_secs(5);
/// After how long without a connection the place of the bus is looked up again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How often the connection is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How often the NATS library tries to reconnect before the connection is made anew: some seconds.
const RECONNECTS: usize = 8;
/// How many refused subjects are remembered.
const REFUSED_MAX: usize = 256;

/// What is known of the connection.
#[derive(Clone, Default)]
pub(crate) struct LinkState {
    /// Which client it is; a new one has a new number.
    life: u64,
    /// The NATS client, once there was a connection.
    pub(crate) client: Option<Client>,
    /// Is there a connection?
    pub(crate) connected: bool,
    /// How many connections there were.
    pub(crate) connections: u64,
    /// Subjects that the server refused: how often, and in which words.
    pub(crate) refused: BTreeMap<String, (u64, String)>,
    closed: bool,
}

impl LinkState {
    /// The client, if something can be sent with it now.
    pub(crate) fn usable(&self) -> Option<&Client> {
        self.client.as_ref().filter(|_| self.connected)
    }

    /// Is any subject that begins so refused on this connection?
    pub(crate) fn refuses(&self, prefix: &str) -> bool {
        self.refused.keys().any(|subject| subject.starts_with(prefix))
    }

    /// How often this subject was refused.
    pub(crate) fn refusals(&self, subject: &str) -> u64 {
        self.refused.get(subject).map_or(0, |(count, _)| *count)
    }
}

/// Starts to connect. It goes on until `stop` says so, or nobody watches any more.
pub(crate) fn start(settings: Arc<Settings>, counters: Arc<Counters>, mut stop: watch::Receiver<bool>) -> watch::Receiver<LinkState> {
    let (sender, receiver) = watch::channel(LinkState::default());
    tokio::spawn(async move {
        let all = sender.clone();
        tokio::select! {
            () = keep(settings, counters, sender) => {}
            () = async {
                let orphaned = stop.wait_for(|stop| *stop).await.is_err();
                if orphaned {
                    // Every handle is gone. What they left is being delivered by whoever still watches.
                    all.closed().await;
                }
            } => {}
        }
        let client = all.send_replace(LinkState::default()).client;
        if let Some(client) = client {
            let _ = timeout(CONNECT, client.drain()).await;
        }
    });
    receiver
}

async fn keep(settings: Arc<Settings>, counters: Arc<Counters>, state: watch::Sender<LinkState>) {
    let mut failures = 0u32;
    loop {
        let target = settings.target();
        state.send_modify(|s| {
            s.life += 1;
            s.client = None;
            s.connected = false;
            s.closed = false;
        });
        match connect(&settings, &target, &counters, &state).await {
            Ok(client) => {
                failures = 0;
                state.send_modify(|s| s.client = Some(client.clone()));
                watch_over(&settings, &target, &state).await;
                // Whatever still lies in the old client is sent again by us, as the same message.
                let _ = timeout(CONNECT, client.drain()).await;
            }
            Err(error) => {
                if failures == 0 {
                    tracing::warn!(error, "bus not reached, trying on");
                }
                counters.error(error);
                failures += 1;
                sleep(jitter(Duration::from_millis((50_u64 << failures.min(6)).min(2_000)))).await;
            }
        }
    }
}

/// Returns when this connection is worth nothing any more. It looks now and then instead of subscribing, because whoever
/// subscribes counts as somebody who wants the connection.
async fn watch_over(settings: &Settings, target: &Target, state: &watch::Sender<LinkState>) {
    let mut away_since = None;
    loop {
        let (connected, closed) = {
            let now = state.borrow();
            (now.connected, now.closed)
        };
        if closed {
            return;
        }
        away_since = if connected { None } else { Some(away_since.unwrap_or_else(Instant::now)) };
        if away_since.is_some_and(|since| since.elapsed() >= LOOK_AGAIN) && settings.target() != *target {
            return;
        }
        sleep(LOOK).await;
    }
}

async fn connect(
    settings: &Settings,
    target: &Target,
    counters: &Arc<Counters>,
    state: &watch::Sender<LinkState>,
) -> Result<Client, String> {
    let options = options(settings, target).await.map_err(|error| error.to_string())?;
    let (sender, counters, life) = (state.clone(), Arc::clone(counters), state.borrow().life);
    let options = options.event_callback(move |event| {
        note(&sender, life, &counters, &event);
        std::future::ready(())
    });
    let addresses: Vec<&str> = target.url.split(',').map(str::trim).collect();
    match timeout(CONNECT, options.connect(addresses)).await {
        Ok(Ok(client)) => {
            // The event says it, too, but perhaps later.
            state.send_modify(|s| connected(s, life));
            Ok(client)
        }
        Ok(Err(error)) => Err(format!("{}: {error}", advice(error.kind()))),
        Err(_) => Err(format!("{}: nothing within {} s", advice(ConnectErrorKind::TimedOut), CONNECT.as_secs())),
    }
}

fn advice(kind: ConnectErrorKind) -> &'static str {
    match kind {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            "the bus does not know these credentials; see HOMEOSTAT_NATS"
        }
        ConnectErrorKind::Tls => "no TLS with the bus; see its certificate and `ca_file`",
        ConnectErrorKind::ServerParse => "the address of the bus cannot be read; write nats://host:port",
        ConnectErrorKind::Dns | ConnectErrorKind::TimedOut | ConnectErrorKind::Io | ConnectErrorKind::MaxReconnects => {
            "the bus is away; is Homeostat running, and is HOMEOSTAT_NATS right?"
        }
    }
}

fn connected(state: &mut LinkState, life: u64) {
    if state.life == life && !state.connected {
        state.connected = true;
        state.connections += 1;
        // Another server, or another configuration of it, may allow what this one refused.
        state.refused.clear();
    }
}

/// One event of the NATS library into the state.
fn note(state: &watch::Sender<LinkState>, life: u64, counters: &Counters, event: &Event) {
    if state.borrow().life != life {
        return;
    }
    match event {
        Event::Connected => {
            tracing::info!("bus connected");
            state.send_modify(|s| connected(s, life));
        }
        Event::Disconnected => {
            tracing::warn!("bus disconnected, reconnecting");
            state.send_modify(|s| s.connected = false);
        }
        Event::Closed | Event::ClientError(ClientError::MaxReconnects) => state.send_modify(|s| {
            s.connected = false;
            s.closed = true;
        }),
        Event::ServerError(ServerError::Other(text)) => match refused_subject(text) {
            Some(subject) => {
                counters.error(text.as_str());
                state.send_modify(|s| {
                    if s.refused.len() >= REFUSED_MAX && !s.refused.contains_key(subject) {
                        s.refused.pop_first();
                    }
                    let entry = s.refused.entry(subject.to_owned()).or_default();
                    if entry.0 == 0 {
                        tracing::error!(subject, detail = %text, "bus refuses a subject: see the permissions of this user");
                    }
                    *entry = (entry.0 + 1, text.chars().take(256).collect());
                });
            }
            None => {
                tracing::warn!(error = %text, "bus error");
                counters.error(text.as_str());
            }
        },
        Event::ServerError(error) => {
            tracing::warn!(%error, "bus error");
            counters.error(error.to_string());
        }
        Event::ClientError(error) => {
            tracing::debug!(%error, "bus client error");
            counters.error(error.to_string());
        }
        Event::SlowConsumer(_) => tracing::warn!("bus messages dropped: this process was too slow"),
        Event::LameDuckMode | Event::Draining => {}
    }
}

/// The subject in `Permissions Violation for Publish to "a.b"` (and `… Subscription to "a.b" …`), whatever the case.
fn refused_subject(text: &str) -> Option<&str> {
    if !text.to_ascii_lowercase().contains("permissions violation") {
        return None;
    }
    text.split('"').nth(1).filter(|subject| !subject.is_empty())
}

async fn options(settings: &Settings, target: &Target) -> Result<ConnectOptions, InitError> {
    let unusable = |setting: &'static str, reason: String| InitError::Setting { setting, reason };
    let mut options = ConnectOptions::new()
        .name(format!("{}/{}", settings.service, settings.instance))
        .connection_timeout(CONNECT)
        // A half-open connection is noticed after two missed pings.
        .ping_interval(Duration::from_secs(10))
        .reconnect_delay_callback(|attempt| match attempt {
            0 | 1 => jitter(Duration::from_millis(50)),
            n => jitter(Duration::from_millis((50_u64 << n.min(6)).min(2_000))),
        })
        // Then it ends, and we look anew where the bus is and how to get in: one that goes on for ever with an old password
        // would still be knocking when there is another connection.
        .max_reconnects(RECONNECTS.max(2 * target.url.split(',').count()));
    if let Some(file) = &settings.credentials_file {
        options = options.credentials_file(file).await.map_err(|e| unusable("credentials_file", format!("{}: {e}", file.display())))?;
    }
    if let Some(file) = &settings.nkey_file {
        options = options.nkey(first_line("nkey_file", file).await?);
    }
    if let Some(file) = &settings.token_file {
        options = options.token(first_line("token_file", file).await?);
    }
    let password = match (&target.password, &settings.password_file) {
        (Some(password), _) => Some(password.clone()),
        (None, Some(file)) => Some(first_line("password_file", file).await?),
        (None, None) => None,
    };
    match &target.user {
        Some(user) => options = options.user_and_password(user.clone(), password.unwrap_or_default()),
        None => options = in_url(options, &target.url)?,
    }
    if let Some(ca) = &settings.ca_file {
        options = options.add_root_certificates(ca.clone());
    }
    if let Some((certificate, key)) = &settings.client_certificate {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    if let Some(prefix) = &settings.inbox_prefix {
        options = options.custom_inbox_prefix(prefix);
    }
    Ok(options)
}

/// `nats://user:password@host`, as NATS users write it: the library reads the address and leaves the rest.
fn in_url(options: ConnectOptions, url: &str) -> Result<ConnectOptions, InitError> {
    let first = url.split(',').next().unwrap_or_default().trim();
    let address = first.parse::<async_nats::ServerAddr>();
    let address = address.map_err(|_| InitError::Setting { setting: "url", reason: "write nats://host:port".to_owned() })?;
    Ok(match (address.username(), address.password()) {
        (Some(user), Some(password)) => options.user_and_password(user.to_owned(), password.to_owned()),
        (Some(token), None) => options.token(token.to_owned()),
        (None, _) => options,
    })
}

async fn first_line(setting: &'static str, file: &Path) -> Result<String, InitError> {
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|error| InitError::Setting { setting, reason: format!("{}: {error}", file.display()) })?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

/// Reads the files that settings name once, so that a wrong one is an error at the start and not a line in a log.
pub(crate) async fn check_files(settings: &Settings) -> Result<(), InitError> {
    options(settings, &settings.target()).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refused_subject_is_read_from_the_servers_words() {
        let read = refused_subject;
        assert_eq!(read("Permissions Violation for Publish to \"a.b\""), Some("a.b"));
        assert_eq!(read("permissions violation for subscription to \"a.*\" using queue \"q\""), Some("a.*"));
        assert_eq!(read("maximum payload exceeded \"a\""), None);
        assert_eq!(read("Permissions Violation"), None);
    }

    #[test]
    fn events_of_an_older_connection_are_not_heard() {
        let (sender, receiver) = watch::channel(LinkState { life: 2, ..LinkState::default() });
        note(&sender, 1, &Counters::default(), &Event::Connected);
        assert!(!receiver.borrow().connected);
        note(&sender, 2, &Counters::default(), &Event::Connected);
        note(&sender, 2, &Counters::default(), &Event::Connected);
        assert!(receiver.borrow().connected);
        assert_eq!(receiver.borrow().connections, 1);
        note(&sender, 2, &Counters::default(), &Event::Disconnected);
        note(&sender, 2, &Counters::default(), &Event::Connected);
        assert_eq!(receiver.borrow().connections, 2);
    }
}
