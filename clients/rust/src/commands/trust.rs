//! Whose commands are carried out: those that a trusted signer has signed.
//!
//! | what is known | who is trusted |
//! |---|---|
//! | [`Settings::trusted_signers`](crate::Settings::trusted_signers) | these, and nobody else |
//! | the bus is that of a `homeostat up` on this machine, found by its data directory | the keys in `signing.pub` there |
//! | neither, and the bus is on this machine (loopback) | whoever answers on `{root}.signers`, once a connection |
//! | none of these | nobody: every command is refused |
//!
//! The third is trust on first use. It keeps old and misdirected commands away, and nobody who may publish on that subject: a bus
//! that others share needs the first. [`Settings::allow_unsigned_commands`](crate::Settings::allow_unsigned_commands) lets unsigned
//! commands through, for development; one with a bad signature is refused all the same.

use crate::link::LinkState;
use crate::settings::Settings;
use crate::stats::lock;
use async_nats::{Client, Message};
use futures::StreamExt as _;
use homeostat_schemas::Root;
use homeostat_schemas::signature::{HEADER, Signed, Signers, Verdict};
use serde::Deserialize;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

/// How long the first answer may take, and how long others are waited for behind it.
const FIRST: Duration = Duration::from_secs(2);
const OTHERS: Duration = Duration::from_millis(200);
/// Nobody answered: so long nobody is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// What Homeostat writes beside its `run.json`: public keys, one a line.
const PUBLIC_FILE: &str = "signing.pub";
/// No more of it is read.
const PUBLIC_BYTES_MAX: u64 = 64 * 1024;

/// How trust begins.
enum Begin {
    /// By the settings.
    Told(Signers),
    /// By a file in a data directory.
    Beside(PathBuf),
    /// By asking, where the bus is on this machine.
    Asked,
}

/// Whom a process trusts.
pub(crate) struct Trust {
    begin: Begin,
    unsigned: bool,
    root: Root,
    found: Mutex<Found>,
}

/// What was found out on one connection.
#[derive(Default)]
struct Found {
    connections: u64,
    signers: Signers,
    not_before: Option<Instant>,
}

#[derive(Deserialize)]
struct Answer {
    signers: Vec<String>,
}

impl Trust {
    pub(crate) fn new(settings: &Settings, signers: Signers, root: Root) -> Trust {
        let begin = match (&settings.url, signers.is_empty()) {
            (_, false) => Begin::Told(signers),
            (None, true) => Begin::Beside(settings.data_dir.clone()),
            (Some(_), true) => Begin::Asked,
        };
        Trust { begin, unsigned: settings.unsigned, root, found: Mutex::default() }
    }

    /// Why a command must not be carried out; nothing when it may.
    pub(super) async fn objection(&self, bus: &Client, link: &watch::Receiver<LinkState>, message: &Message) -> Option<String> {
        let headers = message.headers.iter().flat_map(async_nats::HeaderMap::iter);
        let headers = headers.flat_map(|(name, values)| values.iter().map(move |value| (AsRef::<str>::as_ref(name), value.as_str())));
        let parts = Signed::of(message.subject.as_str(), headers, &message.payload);
        let signed = message.headers.iter().flat_map(async_nats::HeaderMap::iter);
        let signed = signed.into_iter().any(|(name, _)| AsRef::<str>::as_ref(name).eq_ignore_ascii_case(HEADER));
        if !signed {
            return (!self.unsigned).then(|| Verdict::Unsigned.to_string());
        }
        let connections = link.borrow().connections;
        let verdict = match &self.begin {
            Begin::Told(signers) => signers.verify(&parts),
            Begin::Beside(_) | Begin::Asked => self.find(bus, connections).await.verify(&parts),
        };
        match (&verdict, &self.begin) {
            (Verdict::Good(_), _) => None,
            (Verdict::Untrusted(_), Begin::Told(_)) => Some(verdict.to_string()),
            (Verdict::Untrusted(_), _) => Some(format!("{verdict}; name the signer in HOMEOSTAT_CLIENT_TRUSTED_SIGNERS")),
            (Verdict::Unsigned | Verdict::Malformed | Verdict::Forged(_), _) => Some(verdict.to_string()),
        }
    }

    /// Whom to trust on this connection, found out once; again after a while, if nobody was found.
    async fn find(&self, bus: &Client, connections: u64) -> Signers {
        {
            let mut found = lock(&self.found);
            if found.connections != connections {
                *found = Found { connections, ..Found::default() };
            }
            let now = Instant::now();
            if !found.signers.is_empty() || found.not_before.is_some_and(|at| now < at) {
                return found.signers.clone();
            }
            found.not_before = Some(now + ASK_AGAIN);
        }
        let signers = match &self.begin {
            Begin::Told(signers) => signers.clone(),
            Begin::Beside(dir) => beside(dir),
            Begin::Asked => Signers::default(),
        };
        // Without a data directory that says it, the bus is one that somebody else runs here.
        let ask = signers.is_empty() && is_here(bus);
        let signers = if ask { asked(bus, &self.root).await } else { signers };
        if !signers.is_empty() {
            tracing::info!(signers = ?signers, "commands of these signers are carried out");
        }
        let mut found = lock(&self.found);
        if found.connections == connections && found.signers.is_empty() {
            found.signers = signers;
        }
        found.signers.clone()
    }
}

/// The keys that a Homeostat wrote into its data directory.
fn beside(dir: &Path) -> Signers {
    let mut text = String::new();
    let read = std::fs::File::open(dir.join(PUBLIC_FILE)).and_then(|file| file.take(PUBLIC_BYTES_MAX).read_to_string(&mut text));
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    read.ok().and_then(|_| Signers::new(lines).ok()).unwrap_or_default()
}

/// Does the server see this process on a loopback address? Then it is on this machine, or at the end of a tunnel from it.
fn is_here(bus: &Client) -> bool {
    bus.server_info().client_ip.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// The keys that are named in answer to a question: of every process that answers soon.
async fn asked(bus: &Client, root: &Root) -> Signers {
    let inbox = bus.new_inbox();
    let Ok(mut answers) = bus.subscribe(inbox.clone()).await else { return Signers::default() };
    if bus.publish_with_reply(root.signers(), inbox, "".into()).await.is_err() {
        return Signers::default();
    }
    let mut keys: Vec<String> = Vec::new();
    let Ok(Some(first)) = timeout(FIRST, answers.next()).await else { return Signers::default() };
    let deadline = Instant::now() + OTHERS;
    let mut next = Some(first);
    while let Some(message) = next {
        if let Ok(Answer { signers }) = serde_json::from_slice(&message.payload) {
            keys.extend(signers);
        }
        next = timeout_at(deadline, answers.next()).await.ok().flatten();
    }
    let _ = answers.unsubscribe().await;
    Signers::new(keys.iter().map(String::as_str)).unwrap_or_default()
}
