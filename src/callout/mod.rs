//! API keys as credentials of the bus: nats-server asks here about whoever shows no key of its configuration (*auth callout*), and when an
//! API key ends, the connections that were got with it are closed.
//!
//! | module | what |
//! |---|---|
//! | [`request`] | what the server asks, and how it is answered |
//! | [`jwt`] | the tokens that both are made of |
//! | [`connections`] | connections of a key: found on all servers, closed, looked for again |
//! | [`probe`] | does the server ask at all? |
//!
//! What a key opens stands in [`crate::accounts::callout`]; whose it is, [`crate::keys::Verifier`] says, by the same way as for the gateway.
//!
//! A question is answered by one process of those that share the queue. The answer lets somebody in until the version of his key ends, as
//! far as that is known at the log-in; what becomes known later (a revocation, the end of a grace) closes the connection: whoever takes a key
//! back does it at once and says in the receipt what became of it, and every process compares every [`SWEEP_EVERY`] who is there with the
//! keys that count. The comparison also meets whoever got in while his key was taken back.
//!
//! Promises
//! - CO-1 Nobody is let in but by a question that a server of ours has signed and sealed to us, for this one log-in, with a key that counts.
//! - CO-2 A question that is forged is not answered at all: it cannot be used to try keys.
//! - CO-3 At most [`AT_ONCE`] questions are worked on, each for at most [`WITHIN`]; beyond that the server hears nothing and lets nobody in.
//! - CO-4 A connection whose key counts no more is closed at the next comparison at the latest, while the servers and the database answer.

pub mod connections;
mod jwt;
pub mod probe;
mod request;

pub use connections::{Closed, Connection, Connections};

use crate::accounts::callout::{ASK, FILE, Guests, ISSUER, SYSTEM_USER, USER, XKEY};
use crate::accounts::files::credential;
use crate::clock::now_ms;
use crate::config::nats::{NatsConfig, SecretError, secret};
use crate::keys::{Keys, Refused};
use crate::metrics::Metrics;
use crate::system::told;
use futures::StreamExt as _;
use homeostat_nats::async_nats::{Client, Message};
use homeostat_nats::{Bus, BusConfig, BusError};
use homeostat_schemas::Scope;
use nkeys::{KeyPair, KeyPairType, XKey};
use request::{Desk, Question};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{Semaphore, watch};
use tokio::time::MissedTickBehavior;

/// How often who is there is compared with the keys that count.
pub const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// Questions that are worked on at once.
const AT_ONCE: usize = 256;
/// How long an answer may take: less than the server waits.
const WITHIN: Duration = Duration::from_millis(1_500);
/// How often somebody is judged again when too many want in, and the pause before.
const TRIES: u32 = 4;
const AGAIN: Duration = Duration::from_millis(100);
/// The pause before the bus is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Processes that are asked share the work.
const QUEUE: &str = "homeostat";
/// How often it is said that somebody sends what is no question.
const LOUD_EVERY: Duration = Duration::from_secs(10);
/// The file with the guests is at most this large.
const FILE_MAX: u64 = 16 << 20;

/// Why there is no callout service.
#[derive(Debug, thiserror::Error)]
pub enum CalloutError {
    /// A secret cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A seed is none, or of another kind.
    #[error("{path} is no seed {kind}; `homeostat nats render --callout` writes one")]
    Seed {
        /// The file.
        path: String,
        /// What it should be.
        kind: &'static str,
    },
    /// The file with the guests cannot be used.
    #[error("{path} cannot be used ({why}); `homeostat nats render --callout` writes it")]
    Guests {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
    /// The address of the bus cannot be used.
    #[error("`nats.callout_dir` needs `nats.url`: the embedded server asks nobody about keys")]
    NoServer,
}

/// Everything that is needed to be asked, from the directory that `nats render --callout` wrote.
#[derive(Debug)]
pub struct Callout {
    dir: PathBuf,
    config: BusConfig,
    desk: Desk,
    guests: Mutex<(Arc<Guests>, Option<SystemTime>)>,
    connections: Arc<Connections>,
    loud: Mutex<Option<Instant>>,
}

impl Callout {
    /// Reads the directory of the settings; nothing when none is named. Nothing is connected.
    ///
    /// # Errors
    /// A file cannot be used.
    pub fn open(config: &NatsConfig) -> Result<Option<Arc<Callout>>, CalloutError> {
        let Some(dir) = &config.callout_dir else { return Ok(None) };
        let seed = |name: &str| {
            let path = credential(dir, name);
            let text = secret(&path)?;
            Ok::<_, CalloutError>((path.display().to_string(), text))
        };
        let (path, text) = seed(ISSUER)?;
        let issuer = KeyPair::from_seed(&text).ok().filter(|pair| pair.key_pair_type() == KeyPairType::Account);
        let issuer = issuer.ok_or(CalloutError::Seed { path, kind: "of an account" })?;
        let (path, text) = seed(XKEY)?;
        let xkey = XKey::from_seed(&text).map_err(|_| CalloutError::Seed { path, kind: "of an xkey" })?;
        Ok(Some(Arc::new(Callout {
            config: user(config, dir, USER)?,
            desk: Desk::new(issuer, xkey),
            guests: Mutex::new(read(&dir.join(FILE))?),
            connections: Arc::new(Connections::new(user(config, dir, SYSTEM_USER)?)),
            dir: dir.clone(),
            loud: Mutex::default(),
        })))
    }

    /// Who finds and closes connections.
    #[must_use]
    pub fn connections(&self) -> Arc<Connections> {
        self.connections.clone()
    }

    /// Answers and compares until told to stop.
    pub async fn run(self: Arc<Self>, keys: Keys, metrics: Arc<Metrics>, mut stop: watch::Receiver<bool>) {
        let answering = self.clone().answer(keys.clone(), metrics.clone());
        let sweeping = self.clone().sweep(keys, metrics);
        tokio::select! {
            () = told(&mut stop) => {}
            _ = futures::future::join3(answering, sweeping, self.probe()) => {}
        }
    }

    /// Says once whether the server asks.
    async fn probe(&self) {
        match probe::server_asks(self).await {
            Ok(true) => tracing::info!("API keys are credentials of the bus"),
            Ok(false) => tracing::error!(
                "`nats.callout_dir` is set, and the server does not ask about API keys: run it with what `homeostat nats render --callout` wrote"
            ),
            Err(error) => tracing::warn!(%error, "whether the server asks about API keys is not known"),
        }
    }

    /// Answers for ever.
    async fn answer(self: Arc<Self>, keys: Keys, metrics: Arc<Metrics>) {
        let mut told = false;
        loop {
            if let Err(error) = self.clone().listen(keys.clone(), metrics.clone()).await
                && !std::mem::replace(&mut told, true)
            {
                tracing::warn!(%error, "nobody gets in with an API key until the bus can be listened to");
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn listen(self: Arc<Self>, keys: Keys, metrics: Arc<Metrics>) -> Result<(), BusError> {
        let bus = Bus::connect(&self.config).await?;
        let client = bus.client().clone();
        let mut questions = client.queue_subscribe(ASK, QUEUE.to_owned()).await.map_err(|error| closed(ASK, error))?;
        let places = Arc::new(Semaphore::new(AT_ONCE));
        while let Some(message) = questions.next().await {
            let Ok(place) = places.clone().try_acquire_owned() else {
                metrics.asked("busy");
                continue;
            };
            let (this, keys, metrics, client) = (self.clone(), keys.clone(), metrics.clone(), client.clone());
            tokio::spawn(async move {
                let done = tokio::time::timeout(WITHIN, this.question(&keys, &client, &message)).await;
                metrics.asked(done.unwrap_or("busy"));
                drop(place);
            });
        }
        Ok(())
    }

    /// Answers one question. What became of it, as it is counted.
    async fn question(&self, keys: &Keys, client: &Client, message: &Message) -> &'static str {
        let Some(reply) = &message.reply else { return self.forged("it wants no answer") };
        let question = match self.desk.read(request::sender(message), &message.payload, now_ms()) {
            Ok(question) if self.connections.is_server(&question.server).await => question,
            Ok(_) => return self.forged("its server is none of ours"),
            Err(why) => return self.forged(why),
        };
        let (answer, became) = match self.judge(keys, &question).await {
            Ok(answer) => (Some(answer), "admitted"),
            Err((why, became)) => (self.desk.refuse(&question, why, now_ms()), became),
        };
        let Some(answer) = answer else { return "busy" };
        // The server takes it before anybody else can: it is sealed to it.
        match client.publish(reply.clone(), answer.into()).await {
            Ok(()) => became,
            Err(_) => "busy",
        }
    }

    /// CO-2: nothing is answered.
    fn forged(&self, why: &'static str) -> &'static str {
        let mut loud = self.loud.lock().unwrap_or_else(PoisonError::into_inner);
        if loud.is_none_or(|at| at.elapsed() >= LOUD_EVERY) {
            *loud = Some(Instant::now());
            tracing::warn!(why, subject = ASK, "a question about a log-in is not answered; more of them are only counted for a while");
        }
        "forged"
    }

    async fn judge(&self, keys: &Keys, question: &Question) -> Result<Vec<u8>, (&'static str, &'static str)> {
        let Some(key) = &question.key else { return Err(("no key was shown", "refused")) };
        let mut tries = 0;
        let principal = loop {
            match keys.verifier.verify_from(key.expose(), question.source).await {
                Ok(principal) => break principal,
                Err(Refused::Invalid) => return Err(("the key is not accepted", "refused")),
                // After an outage all come at once.
                Err(Refused::Busy) if tries < TRIES => tokio::time::sleep(AGAIN).await,
                Err(Refused::Busy) => return Err(("keys cannot be checked now", "busy")),
            }
            tries += 1;
        };
        let guests = self.guests();
        let Some(grant) = guests.grant(&principal.owner, &principal.scopes, question.name.as_deref()) else {
            return Err(("the key opens nothing on the bus: its owner is not in the plan, or its scopes do not say so", "refused"));
        };
        // What is remembered of a key is worth nothing where one would not be told of its end.
        if !grant.scopes.iter().all(|scope: &Scope| keys.replicas.allows(*scope)) {
            return Err(("keys cannot be trusted here now: the log's ticks are not heard", "busy"));
        }
        self.desk.admit(question, &principal, &grant, now_ms()).ok_or(("the key has ended", "refused"))
    }

    /// Those who can get in, as the file has them now. One that cannot be read leaves those from before.
    fn guests(&self) -> Arc<Guests> {
        let path = self.dir.join(FILE);
        let mut guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = std::fs::metadata(&path).and_then(|about| about.modified()).ok();
        if changed.is_some() && changed != guests.1 {
            match read(&path) {
                Ok(new) => {
                    tracing::info!(guests = new.0.guests.len(), "who can get in with an API key was read again");
                    *guests = new;
                }
                Err(error) => {
                    tracing::error!(%error, "who can get in with an API key stays as it was");
                    guests.1 = changed;
                }
            }
        }
        guests.0.clone()
    }

    /// CO-4: compares for ever.
    async fn sweep(self: Arc<Self>, keys: Keys, metrics: Arc<Metrics>) {
        let mut every = tokio::time::interval(SWEEP_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut well = true;
        loop {
            every.tick().await;
            let ended = self.ended(&keys).await;
            match &ended {
                Ok(ended) if ended.is_empty() => {}
                Ok(ended) => {
                    self.connections.kick(ended).await;
                    metrics.closed(ended.len());
                    tracing::info!(connections = ended.len(), "connections whose API keys count no more were closed");
                }
                // Said once, not every few seconds.
                Err(error) if well => tracing::warn!(%error, "who is on the bus with an API key cannot be looked up"),
                Err(_) => {}
            }
            well = ended.is_ok();
        }
    }

    /// Connections whose keys count no more.
    async fn ended(&self, keys: &Keys) -> Result<BTreeSet<Connection>, BusError> {
        let (mut connections, _) = self.connections.list().await?;
        let versions: BTreeSet<(String, u32)> = connections.iter().map(|one| (one.key.clone(), one.version)).collect();
        let mut over = BTreeSet::new();
        for (key, version) in versions {
            // Where nobody can say, nobody is sent away.
            if keys.verifier.still(&key, version).await == Err(Refused::Invalid) {
                over.insert((key, version));
            }
        }
        connections.retain(|one| over.contains(&(one.key.clone(), one.version)));
        Ok(connections)
    }
}

/// What goes on at `what` cannot be asked or heard.
fn closed(what: &str, error: impl std::fmt::Display) -> BusError {
    BusError::Closed { what: what.to_owned(), detail: error.to_string() }
}

/// The settings of a connection as one of the rendered users.
fn user(config: &NatsConfig, dir: &Path, name: &str) -> Result<BusConfig, CalloutError> {
    let bus = config.bus(config.url.as_deref().ok_or(CalloutError::NoServer)?)?;
    Ok(BusConfig {
        nkey_file: Some(credential(dir, name)),
        credentials_file: None,
        user: None,
        password_file: None,
        token: None,
        name: format!("{}-{name}", bus.name),
        ..bus
    })
}

/// The guests, and when their file was changed.
fn read(path: &Path) -> Result<(Arc<Guests>, Option<SystemTime>), CalloutError> {
    let wrong = |why: String| CalloutError::Guests { path: path.display().to_string(), why };
    let about = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?;
    if about.len() > FILE_MAX {
        return Err(wrong("it is too large".to_owned()));
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let guests = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    Ok((Arc::new(guests), about.modified().ok()))
}
