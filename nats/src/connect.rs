//! The connection to the bus: settings, how it is made, and what state it is in.
//!
//! Why a state channel: the client library reconnects by itself and answers `Ok` to a publish the
//! server refuses; the refusal is only an event. Here every event becomes a line of the log and a
//! change of [`ConnectionState`], which the reader, the outbox and the probes watch.
//!
//! Connect on the main runtime: inside an actor's own thread the connection would starve with it.

mod events;
mod options;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_nats::{ConnectErrorKind, jetstream};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::error::BusError;
use crate::message::{Message, check_token};
use crate::streams::{Names, StreamConfig};
use events::note;
use options::options;

/// How to reach the bus.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BusConfig {
    /// Address, or several separated by commas. Default `nats://127.0.0.1:4222`.
    pub url: String,
    /// First tokens of every subject: a word and the schema version. Default `homeostat.v1`.
    /// Another word gets streams and buckets of its own.
    pub root: String,
    /// A `.creds` file (JWT and seed).
    pub credentials_file: Option<PathBuf>,
    /// A file with an nkey seed.
    pub nkey_file: Option<PathBuf>,
    /// User name.
    pub user: Option<String>,
    /// Password for `user`. Prefer `password_file`. Never written out.
    #[serde(skip_serializing)]
    pub password: Option<String>,
    /// A file whose first line is the password for `user`.
    pub password_file: Option<PathBuf>,
    /// Token, for servers that use one. Never written out.
    #[serde(skip_serializing)]
    pub token: Option<String>,
    /// Transport security.
    pub tls: TlsConfig,
    /// What the server's monitoring calls this connection. Default `homeostat`.
    pub name: String,
    /// How long making the connection may take, in milliseconds. Default 5000.
    pub connect_timeout_ms: u64,
    /// How long an answer of the bus may take, in milliseconds. Default 5000.
    pub request_timeout_ms: u64,
    /// The streams and their limits.
    pub stream: StreamConfig,
}

/// Transport security of the connection.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// Certificate authority, PEM. Default: the system's.
    pub ca: Option<PathBuf>,
    /// Client certificate, PEM; needs `key`.
    pub cert: Option<PathBuf>,
    /// Key of the client certificate, PEM.
    pub key: Option<PathBuf>,
    /// Refuse to talk without TLS. Default false (a `tls://` address demands it, too).
    pub required: bool,
}

impl Default for BusConfig {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:4222".to_owned(),
            root: "homeostat.v1".to_owned(),
            credentials_file: None,
            nkey_file: None,
            user: None,
            password: None,
            password_file: None,
            token: None,
            tls: TlsConfig::default(),
            name: "homeostat".to_owned(),
            connect_timeout_ms: 5_000,
            request_timeout_ms: 5_000,
            stream: StreamConfig::default(),
        }
    }
}

impl std::fmt::Debug for BusConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BusConfig")
            .field("url", &public_url(&self.url))
            .field("root", &self.root)
            .field("user", &self.user)
            .field("name", &self.name)
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

/// Whether there is a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// There is one.
    Connected,
    /// There is none at the moment; the client is trying.
    #[default]
    Disconnected,
    /// There is none and there will be none.
    Closed,
}

/// What is known about the connection.
#[derive(Debug, Clone, Default)]
pub struct ConnectionState {
    /// Whether there is one.
    pub phase: Phase,
    /// How often one was made, the first included.
    pub connections: u64,
    /// The last error the server or the client reported.
    pub last_error: Option<String>,
    /// How many publishes and subscriptions the server refused.
    pub violations: u64,
    /// The last of these refusals, in the server's words.
    pub last_violation: Option<String>,
    /// How often this client was too slow and messages were dropped.
    pub slow: u64,
}

struct Inner {
    client: async_nats::Client,
    jetstream: jetstream::Context,
    state: watch::Receiver<ConnectionState>,
    config: BusConfig,
    names: Names,
}

/// What went over a connection, reconnections included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages received.
    pub received: u64,
    /// Their bytes, without the protocol's own.
    pub received_bytes: u64,
    /// Messages sent.
    pub sent: u64,
    /// Their bytes, without the protocol's own.
    pub sent_bytes: u64,
    /// How often it was established.
    pub connects: u64,
}

/// A connection to the bus. Clones share it.
#[derive(Clone)]
pub struct Bus {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus").field("config", &self.inner.config).field("state", &*self.inner.state.borrow()).finish()
    }
}

impl Bus {
    /// Connects. Afterwards the client reconnects by itself, for ever.
    ///
    /// # Errors
    /// [`BusError::Config`] when a setting cannot be used, [`BusError::Connect`] when nobody
    /// answers or the credentials are wrong.
    pub async fn connect(config: &BusConfig) -> Result<Self, BusError> {
        let names = Names::of(&config.root)?;
        let url = public_url(&config.url);
        let (sender, mut state) = watch::channel(ConnectionState::default());
        let within = Duration::from_millis(config.connect_timeout_ms.max(1));
        let options = options(config).await?.event_callback(move |event| {
            note(&sender, &event);
            std::future::ready(())
        });
        let addresses: Vec<&str> = config.url.split(',').map(str::trim).collect();
        let failed = |reason: String, advice: &str| BusError::Connect { url: url.clone(), reason: format!("{reason}; {advice}") };
        let made = async {
            let client = options.connect(addresses).await.map_err(|error| failed(with_source(&error), advice(error.kind())))?;
            // The first event may come a moment later than the connection; whoever watches
            // `connections` must not take it for a second one.
            state.wait_for(|state| state.connections > 0).await.map_err(|_| failed("the client stopped".to_owned(), AWAY))?;
            Ok(client)
        };
        let late = |_| failed(format!("nothing within {} ms", within.as_millis()), AWAY);
        let client = tokio::time::timeout(within, made).await.map_err(late)??;
        let mut jetstream = jetstream::new(client.clone());
        jetstream.set_timeout(Duration::from_millis(config.request_timeout_ms.max(1)));
        Ok(Self { inner: Arc::new(Inner { client, jetstream, state, config: config.clone(), names }) })
    }

    /// The connection's state, now and whenever it changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.inner.state.clone()
    }

    /// The first tokens of every subject, without a final dot.
    #[must_use]
    pub fn root(&self) -> &str {
        &self.inner.config.root
    }

    /// The names of streams and buckets below this root.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.inner.names
    }

    /// The settings it was made with.
    #[must_use]
    pub fn config(&self) -> &BusConfig {
        &self.inner.config
    }

    /// The client library's handle, for core NATS.
    #[must_use]
    pub fn client(&self) -> &async_nats::Client {
        &self.inner.client
    }

    /// What went over the connection since it was first made.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let seen = self.inner.client.statistics();
        Traffic {
            received: seen.in_messages.load(Ordering::Relaxed),
            received_bytes: seen.in_bytes.load(Ordering::Relaxed),
            sent: seen.out_messages.load(Ordering::Relaxed),
            sent_bytes: seen.out_bytes.load(Ordering::Relaxed),
            connects: seen.connects.load(Ordering::Relaxed),
        }
    }

    /// The client library's JetStream handle, for key-value stores.
    #[must_use]
    pub fn jetstream(&self) -> &jetstream::Context {
        &self.inner.jetstream
    }

    /// Publishes on core NATS: not logged, not acknowledged, at most once (admission).
    ///
    /// # Errors
    /// [`BusError::Invalid`] when the message cannot be sent, [`BusError::Timeout`] when the
    /// client's queue stays full. A refusal by the server shows only in [`Bus::state`].
    pub async fn publish(&self, message: &Message) -> Result<(), BusError> {
        let headers = message.header_map()?;
        self.send(&message.subject, headers, message.payload.clone()).await
    }

    /// A real round trip to JetStream, and how long it took. For probes.
    ///
    /// # Errors
    /// Whatever keeps the log from answering within `deadline`.
    pub async fn ping(&self, deadline: Duration) -> Result<Duration, BusError> {
        let start = Instant::now();
        let what = self.inner.names.log.clone();
        tokio::time::timeout(deadline, self.stream_info(&what)).await.map_err(|_| BusError::Timeout { what, after: deadline })??;
        Ok(start.elapsed())
    }

    /// Writes out what is queued and closes the connection for everybody who shares it.
    ///
    /// # Errors
    /// [`BusError::Timeout`] when that takes longer than a request may.
    pub async fn close(&self) -> Result<(), BusError> {
        let after = self.request_timeout();
        let closed = |detail: String| BusError::Closed { what: "close".to_owned(), detail };
        let all = async {
            self.inner.client.flush().await.map_err(|e| closed(e.to_string()))?;
            self.inner.client.drain().await.map_err(|e| closed(e.to_string()))
        };
        tokio::time::timeout(after, all).await.map_err(|_| BusError::Timeout { what: "close".to_owned(), after })?
    }

    /// How long an answer may take.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.inner.config.request_timeout_ms.max(1))
    }
}

/// An error with its causes, in one line.
fn with_source(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// What to do when nobody answers.
const AWAY: &str = "is the server running, and is `nats.url` right?";

/// What to do about a connection that was not made: a server that refuses is there, and asking whether it runs would mislead.
fn advice(kind: ConnectErrorKind) -> &'static str {
    match kind {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            "the server runs, but user and password (or credentials) are missing or wrong: see `nats.user` with `nats.password_file`, \
             `nats.credentials_file`, `nats.nkey_file` or `nats.token_file`"
        }
        ConnectErrorKind::ServerParse => "write `nats.url` as nats://host:port",
        ConnectErrorKind::Tls => "see the settings of `nats.tls`, and the server's certificate",
        ConnectErrorKind::Dns | ConnectErrorKind::TimedOut | ConnectErrorKind::Io | ConnectErrorKind::MaxReconnects => AWAY,
    }
}

/// An address list without user names and passwords.
#[must_use]
pub fn public_url(url: &str) -> String {
    let one = |address: &str| match address.trim().split_once("://") {
        Some((scheme, rest)) => {
            let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
            format!("{scheme}://{host}")
        }
        None => {
            let address = address.trim();
            address.rsplit_once('@').map_or(address, |(_, host)| host).to_owned()
        }
    };
    url.split(',').map(one).collect::<Vec<_>>().join(",")
}

/// Refuses a root that is not plain tokens.
pub(crate) fn check_root(root: &str) -> Result<(), BusError> {
    if root.len() > 64 {
        return Err(BusError::Config { setting: "root", reason: "at most 64 bytes".to_owned() });
    }
    root.split('.').try_for_each(check_token).map_err(|error| BusError::Config { setting: "root", reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use async_nats::{Event, ServerError};

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        assert_eq!(public_url("nats://me:p@ss@host:4222, tls://b, me:secret@c"), "nats://host:4222,tls://b,c");
        let config = BusConfig {
            url: "nats://me:hidden@host".to_owned(),
            password: Some("hidden".to_owned()),
            token: Some("hidden".to_owned()),
            ..BusConfig::default()
        };
        assert!(!format!("{config:?}").contains("hidden"));
        let BusConfig { password, token, .. } = &config;
        assert!(password.is_some() && token.is_some());
        let shown = serde_json::to_value(&config).unwrap();
        assert!(shown.get("password").is_none() && shown.get("token").is_none());
    }

    #[test]
    fn a_server_that_refuses_is_not_said_to_be_away() {
        for refused in [ConnectErrorKind::AuthorizationViolation, ConnectErrorKind::Authentication] {
            assert!(advice(refused).contains("user and password (or credentials) are missing or wrong"));
        }
        assert!(advice(ConnectErrorKind::Io).contains("is the server running"));
    }

    #[test]
    fn a_misspelt_setting_is_an_error() {
        let error = serde_json::from_str::<BusConfig>(r#"{"ulr":"x"}"#).unwrap_err();
        assert!(error.to_string().contains("ulr"));
        let config: BusConfig = serde_json::from_str(r#"{"url":"nats://x"}"#).unwrap();
        assert_eq!(config.root, "homeostat.v1");
    }

    #[test]
    fn refusals_are_counted_and_kept() {
        let (sender, state) = watch::channel(ConnectionState::default());
        let text = "Permissions Violation for Publish to \"a.b\"".to_owned();
        note(&sender, &Event::ServerError(ServerError::Other(text.clone())));
        note(&sender, &Event::ServerError(ServerError::Other("maximum payload exceeded".to_owned())));
        let state = state.borrow();
        assert_eq!(state.violations, 1);
        assert_eq!(state.last_violation.as_deref(), Some(text.as_str()));
    }
}
