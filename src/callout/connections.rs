//! The connections to the bus that somebody got with an API key: found and closed by the server's own account.
//!
//! Every server of a cluster is asked, and closes its own. What was closed is asked for again: a connection counts as closed when no server
//! has it any more. A server that has been heard within the last minute and does not answer is named, because what is connected to it is
//! not known.
//!
//! Promises
//! - CC-1 [`Connections::close`] reports a connection as closed only after its server no longer listed it.
//! - CC-2 Everything has a deadline; at most [`SERVERS_MAX`] servers are remembered, and [`NAMED_MAX`] connections named.

use super::closed;
use super::request::{name, named};
use crate::accounts::callout::{CONNECTIONS, PING};
use futures::StreamExt as _;
use homeostat_nats::{Bus, BusConfig, BusError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::OnceCell;
use tokio::time::{sleep, timeout, timeout_at};

/// Connections in one answer of a server.
const PAGE: usize = 512;
/// Pages of one server that are read: more connections than nats-server takes as it is rendered.
const PAGES_MAX: usize = 64;
/// How long is waited for servers to say that they are there.
const GATHER: Duration = Duration::from_millis(300);
/// How long is waited for connections where no server has been heard yet.
const STRANGERS: Duration = Duration::from_secs(1);
/// How long a server that is known may take to answer.
const ANSWER: Duration = Duration::from_millis(500);
/// One that has not been heard for so long is gone.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// Servers that are remembered.
pub const SERVERS_MAX: usize = 256;
/// Connections that a receipt names.
pub const NAMED_MAX: usize = 64;
/// How often servers that are not known are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The pause before it is looked again whether all are gone.
const AGAIN: Duration = Duration::from_millis(5);

/// What became of the connections that somebody had to the bus with a key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Closed {
    /// Connections that were there, and that no server has any more.
    pub closed: u64,
    /// Connections that are still there; 64 at most are named.
    pub open: Vec<Connection>,
    /// Servers that did not answer, by name: what is connected to them is not known.
    pub silent: Vec<String>,
    /// How long it took, microseconds.
    pub took_us: u64,
    /// Why nothing could be asked, when that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

impl Closed {
    /// Is nobody there any more, for all that is known?
    #[must_use]
    pub fn complete(&self) -> bool {
        self.open.is_empty() && self.silent.is_empty() && self.trouble.is_none()
    }
}

/// A connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Connection {
    /// The server that has it, by its id.
    pub server: String,
    /// Its number there.
    pub cid: u64,
    /// Where it came from.
    pub address: String,
    /// Which key it was got with.
    pub key: String,
    /// Which version of it.
    pub version: u32,
}

/// A server, as it was heard last.
#[derive(Debug, Clone)]
struct Heard {
    name: String,
    at: Instant,
}

/// Looks for connections, and closes them.
#[derive(Debug)]
pub struct Connections {
    config: BusConfig,
    bus: OnceCell<Bus>,
    servers: Mutex<BTreeMap<String, Heard>>,
    /// When a server that was not known was looked for last.
    looked: tokio::sync::Mutex<Option<Instant>>,
}

/// One server's answer.
#[derive(Deserialize)]
struct Answer {
    server: Server,
    #[serde(default)]
    data: Option<Page>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Server {
    id: String,
    #[serde(default)]
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Page {
    total: usize,
    connections: Vec<Listed>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Listed {
    cid: u64,
    ip: String,
    port: u16,
    authorized_user: String,
}

impl Connections {
    /// With the settings of the system account's user. Nothing is connected yet.
    #[must_use]
    pub fn new(config: BusConfig) -> Connections {
        Connections { config, bus: OnceCell::new(), servers: Mutex::default(), looked: tokio::sync::Mutex::default() }
    }

    async fn bus(&self) -> Result<&Bus, BusError> {
        self.bus.get_or_try_init(|| Bus::connect(&self.config)).await
    }

    /// Is this the id of a server of ours? Who is not known is looked for, once in [`LOOK_EVERY`] at most.
    pub(super) async fn is_server(&self, id: &str) -> bool {
        if self.knows(id) {
            return true;
        }
        let mut looked = self.looked.lock().await;
        if !self.knows(id) && looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            if let Err(error) = self.all(PING, &json!({})).await {
                tracing::warn!(%error, "servers cannot be asked who they are");
            }
            *looked = Some(Instant::now());
        }
        self.knows(id)
    }

    fn knows(&self, id: &str) -> bool {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).get(id).is_some_and(|heard| heard.at.elapsed() < FORGOTTEN)
    }

    /// The names of all servers that answer.
    ///
    /// # Errors
    /// Nobody can be asked.
    pub async fn present(&self) -> Result<Vec<String>, BusError> {
        Ok(self.all(PING, &json!({})).await?.into_iter().map(|answer| answer.server.name).collect())
    }

    fn heard(&self) -> BTreeMap<String, Heard> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.retain(|_, heard| heard.at.elapsed() < FORGOTTEN);
        servers.clone()
    }

    fn hear(&self, Server { id, name }: &Server) {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if servers.len() < SERVERS_MAX || servers.contains_key(id) {
            servers.insert(id.clone(), Heard { name: name.chars().take(128).collect(), at: Instant::now() });
        }
    }

    /// Asks all servers; when nobody is known yet, whoever answers in time.
    async fn all(&self, subject: &'static str, ask: &Value) -> Result<Vec<Answer>, BusError> {
        let known = self.heard();
        let within = match subject {
            PING => GATHER,
            _ if known.is_empty() => STRANGERS,
            _ => ANSWER,
        };
        let bus = self.bus().await?;
        let client = bus.client();
        let inbox = client.new_inbox();
        let until = tokio::time::Instant::now() + within;
        let asked = async {
            let answers = client.subscribe(inbox.clone()).await.map_err(|error| closed(subject, error))?;
            client.publish_with_reply(subject, inbox.clone(), ask.to_string().into()).await.map_err(|error| closed(subject, error))?;
            Ok::<_, BusError>(answers)
        };
        let mut answers = timeout(ANSWER, asked).await.map_err(|_| BusError::Timeout { what: subject.to_owned(), after: ANSWER })??;
        let mut all: BTreeMap<String, Answer> = BTreeMap::new();
        // Whoever is looked for may be new; otherwise those that are known are enough.
        while subject == PING || known.is_empty() || known.keys().any(|id| !all.contains_key(id)) {
            let Ok(Some(message)) = timeout_at(until, answers.next()).await else { break };
            if let Ok(answer) = serde_json::from_slice::<Answer>(&message.payload) {
                self.hear(&answer.server);
                if all.len() < SERVERS_MAX {
                    all.insert(answer.server.id.clone(), answer);
                }
            }
        }
        Ok(all.into_values().collect())
    }

    /// The connections of all keys, and the names of servers that did not answer.
    ///
    /// # Errors
    /// Nobody can be asked.
    pub(super) async fn list(&self) -> Result<(BTreeSet<Connection>, Vec<String>), BusError> {
        // Servers that are new are heard by this.
        self.all(PING, &json!({})).await?;
        self.connections(None).await
    }

    /// Those of one user, or of all.
    async fn connections(&self, user: Option<String>) -> Result<(BTreeSet<Connection>, Vec<String>), BusError> {
        let ask = |offset: usize| match &user {
            Some(user) => json!({ "auth": true, "limit": PAGE, "offset": offset, "user": user }),
            None => json!({ "auth": true, "limit": PAGE, "offset": offset }),
        };
        let known = self.heard();
        let answers = self.all(CONNECTIONS, &ask(0)).await?;
        if answers.is_empty() && known.is_empty() {
            return Err(BusError::Timeout { what: CONNECTIONS.to_owned(), after: STRANGERS });
        }
        let here: BTreeSet<&String> = answers.iter().map(|answer| &answer.server.id).collect();
        let silent = known.iter().filter(|(id, _)| !here.contains(id)).map(|(_, heard)| heard.name.clone()).collect();
        let mut found = BTreeSet::new();
        for Answer { server, data, error } in &answers {
            if let Some(error) = error {
                return Err(closed(CONNECTIONS, format!("{} says {error}", server.name)));
            }
            let mut page = data.as_ref().map(|page| (page.total, page.connections.len(), collect(&server.id, page))).unwrap_or_default();
            let mut offset = 0;
            for _ in 0..PAGES_MAX {
                let (total, count, connections) = page;
                found.extend(connections);
                offset += count;
                if count == 0 || offset >= total {
                    break;
                }
                let subject = format!("$SYS.REQ.SERVER.{}.CONNZ", server.id);
                let next = self.ask(subject, &ask(offset)).await?;
                page = next.data.map(|page| (page.total, page.connections.len(), collect(&server.id, &page))).unwrap_or_default();
            }
        }
        Ok((found, silent))
    }

    /// Asks one server.
    async fn ask(&self, subject: String, ask: &Value) -> Result<Answer, BusError> {
        let client = self.bus().await?.client();
        let late = BusError::Timeout { what: subject.clone(), after: ANSWER };
        let answer = timeout(ANSWER, client.request(subject.clone(), ask.to_string().into())).await.map_err(|_| late)?;
        let answer = answer.map_err(|error| closed(&subject, error))?;
        serde_json::from_slice(&answer.payload).map_err(|error| closed(&subject, error))
    }

    /// Tells the servers of these connections to close them. Whether they have is not known afterwards.
    pub(super) async fn kick(&self, connections: &BTreeSet<Connection>) {
        let connections: Vec<&Connection> = connections.iter().collect();
        // A few at once: each is answered on a subscription of its own.
        for some in connections.chunks(16) {
            let mut kicks = Vec::with_capacity(some.len());
            for Connection { server, cid, .. } in some {
                kicks.push(self.kick_one(server, *cid));
            }
            futures::future::join_all(kicks).await;
        }
    }

    async fn kick_one(&self, server: &str, cid: u64) {
        if let Err(error) = self.ask(format!("$SYS.REQ.SERVER.{server}.KICK"), &json!({ "cid": cid })).await {
            tracing::debug!(%error, cid, "a server says nothing about a connection that it is to close");
        }
    }

    /// Those of these versions of a key, and the servers that did not answer.
    async fn of_key(&self, key: &str, versions: &[u32]) -> Result<(BTreeSet<Connection>, BTreeSet<String>), BusError> {
        let mut looks = Vec::with_capacity(versions.len());
        for version in versions {
            looks.push(self.connections(Some(name(key, *version))));
        }
        let looks = futures::future::try_join_all(looks).await?;
        let mut all = (BTreeSet::new(), BTreeSet::new());
        for (connections, silent) in looks {
            all.0.extend(connections);
            all.1.extend(silent);
        }
        Ok(all)
    }

    /// Closes the connections of these versions of a key on every server, and looks whether they are gone.
    pub async fn close(&self, key: &str, versions: &[u32], within: Duration) -> Closed {
        let began = Instant::now();
        let mut closed = Closed::default();
        let (mut there, mut seen, mut looked) = (BTreeSet::new(), BTreeSet::new(), false);
        let all = async {
            loop {
                let (now, silent) = self.of_key(key, versions).await?;
                (closed.silent, there, looked) = (silent.into_iter().collect(), now, true);
                if there.is_empty() {
                    return Ok::<(), BusError>(());
                }
                seen.extend(there.iter().cloned());
                self.kick(&there).await;
                sleep(AGAIN).await;
            }
        };
        closed.trouble = match timeout(within, all).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => (!looked).then(|| "the servers did not answer in time".to_owned()),
        };
        closed.closed = seen.difference(&there).count() as u64;
        closed.open = there.into_iter().take(NAMED_MAX).collect();
        closed.took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        closed
    }
}

fn collect(server: &str, page: &Page) -> Vec<Connection> {
    let ours = page.connections.iter().filter_map(|listed| Some((listed, named(&listed.authorized_user)?)));
    ours.map(|(listed, (key, version))| Connection {
        server: server.to_owned(),
        cid: listed.cid,
        address: format!("{}:{}", listed.ip, listed.port),
        key: key.to_owned(),
        version,
    })
    .collect()
}
