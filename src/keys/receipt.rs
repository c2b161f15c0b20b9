//! The receipt of a change: which processes have forgotten a key, and which have not said so.
//!
//! A revocation is true when the command returns. The change is committed first; then every process that is known to judge keys is
//! asked to forget what it remembers, and the answer names who has and who has not. One who has not within the deadline is cut off or
//! stopped; it lets nobody in when it has not heard the log's tick for long enough ([`super::replicas`]), and the receipt says when that
//! is at the latest.

use super::Keys;
use super::replicas::{ADMIN_CLOSED, BEAT_EVERY, Beat, CLOSED, Evict, Replicas};
use crate::callout::Closed;
use futures::StreamExt as _;
use homeostat_nats::async_nats::Client;
use homeostat_schemas::{KeyRecord, Root};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long is waited for all to answer.
pub const WITHIN: Duration = Duration::from_secs(2);

/// Who has forgotten a key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Receipt {
    /// The key's id.
    pub key: String,
    /// The generation from which on what is known counts.
    pub generation: u64,
    /// Have all that are known to judge keys forgotten it, and is nobody on the bus with it any more?
    pub complete: bool,
    /// Those that have, and how long each took.
    pub evicted: Vec<Evicted>,
    /// Those that have not said so.
    pub missing: Vec<Missing>,
    /// How long was waited, microseconds.
    pub took_us: u64,
    /// Why nobody else could be asked, when that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// What became of the connections to the bus that were got with it, where keys are credentials of the bus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<Closed>,
}

/// A process that has forgotten a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Evicted {
    /// Its name.
    pub instance: String,
    /// After how long its answer was here, microseconds.
    pub took_us: u64,
}

/// A process that has not said that it has forgotten a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Missing {
    /// Its name.
    pub instance: String,
    /// When it was heard last, ms ago.
    pub heard_ms_ago: u64,
    /// If it is cut off: in so many ms at the latest it lets nobody change anything any more.
    pub admin_closed_in_ms: u64,
    /// And in so many it lets nobody in.
    pub closed_in_ms: u64,
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn us(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

impl Replicas {
    /// Has a key forgotten everywhere: here at once, by the others within the deadline.
    pub async fn evict_everywhere(&self, key: &str, generation: u64, within: Duration) -> Receipt {
        self.memory().evict(key, generation);
        let began = Instant::now();
        let mut receipt = match self.bus() {
            Some((client, root)) => collect(&client, &root, &self.known(), (key, generation), within).await,
            None => empty(&self.known(), (key, generation), "the bus is away".to_owned()),
        };
        // This process need not be asked over the bus.
        if receipt.missing.iter().any(|missing| missing.instance == self.instance()) {
            receipt.missing.retain(|missing| missing.instance != self.instance());
            receipt.evicted.push(Evicted { instance: self.instance().to_owned(), took_us: us(began.elapsed()) });
        }
        receipt.complete = receipt.missing.is_empty() && receipt.trouble.is_none();
        receipt
    }
}

impl Receipt {
    /// The receipt with what became of connections to the bus.
    #[must_use]
    pub fn with(self, connections: Option<Closed>) -> Receipt {
        let complete = self.complete && connections.as_ref().is_none_or(Closed::complete);
        Receipt { complete, connections, ..self }
    }
}

impl Keys {
    /// Has what ended of a key forgotten everywhere, and then closes what was got with it: nobody who is sent away gets in again.
    pub(super) async fn end_everywhere(&self, record: &KeyRecord) -> Receipt {
        let receipt = self.replicas.evict_everywhere(&record.id, record.generation, WITHIN).await;
        receipt.with(self.close(record).await)
    }

    /// Closes the connections to the bus that were got with versions of a key that let nobody in any more; nothing where keys are no
    /// credentials of the bus.
    pub async fn close(&self, record: &KeyRecord) -> Option<Closed> {
        let now = self.verifier.clock().now();
        let over: Vec<u32> = record.versions.iter().filter(|one| !one.accepted_at(now)).map(|one| one.version).collect();
        match &self.connections {
            Some(connections) => Some(connections.close(&record.id, &over, WITHIN).await),
            None => None,
        }
    }
}

/// The processes that are there, for one who has not listened before: it listens for long enough to have heard all that live.
///
/// # Errors
/// The bus does not answer.
pub async fn present(client: &Client, root: &Root) -> Result<BTreeMap<String, Duration>, homeostat_nats::async_nats::Error> {
    let mut beats = client.subscribe(format!("{root}.replica.*")).await?;
    client.flush().await?;
    let until = Instant::now() + BEAT_EVERY + BEAT_EVERY / 2;
    let mut known = BTreeMap::new();
    while let Ok(Some(message)) = timeout_at(until, beats.next()).await {
        if let Ok(beat) = serde_json::from_slice::<Beat>(&message.payload) {
            known.insert(beat.instance, Duration::ZERO);
        }
    }
    Ok(known)
}

/// Asks all to forget a key, and waits for those that are known.
pub async fn collect(
    client: &Client,
    root: &Root,
    known: &BTreeMap<String, Duration>,
    (key, generation): (&str, u64),
    within: Duration,
) -> Receipt {
    let began = Instant::now();
    let asked = async {
        let mut id = [0; 16];
        super::format::random(&mut id).map_err(|error| error.to_string())?;
        let id = format!("{:032x}", u128::from_le_bytes(id));
        let answers = client.subscribe(format!("{root}.receipt.{id}.ack.*")).await.map_err(|error| error.to_string())?;
        let evict = serde_json::to_vec(&Evict { key: key.to_owned(), generation }).map_err(|error| error.to_string())?;
        client.publish(format!("{root}.receipt.{id}.evict"), evict.into()).await.map_err(|error| error.to_string())?;
        Ok::<_, String>(answers)
    };
    let mut answers = match tokio::time::timeout(within, asked).await {
        Ok(Ok(answers)) => answers,
        Ok(Err(why)) => return empty(known, (key, generation), why),
        Err(_) => return empty(known, (key, generation), "the bus did not answer in time".to_owned()),
    };
    let mut evicted: BTreeMap<String, u64> = BTreeMap::new();
    while known.keys().any(|name| !evicted.contains_key(name)) {
        let Ok(Some(message)) = timeout_at(began + within, answers.next()).await else { break };
        let fits = serde_json::from_slice::<Evict>(&message.payload).is_ok_and(|evict| evict.key == key && evict.generation >= generation);
        if let (true, Some(name)) = (fits, message.subject.rsplit('.').next()) {
            evicted.entry(name.to_owned()).or_insert_with(|| us(began.elapsed()));
        }
    }
    let missing = known.iter().filter(|(name, _)| !evicted.contains_key(*name)).map(|(name, heard)| missing(name, *heard)).collect();
    let evicted = evicted.into_iter().map(|(instance, took_us)| Evicted { instance, took_us }).collect();
    let mut receipt = Receipt { key: key.to_owned(), generation, evicted, missing, took_us: us(began.elapsed()), ..Receipt::default() };
    receipt.complete = receipt.missing.is_empty();
    receipt
}

/// A process is cut off since it was heard last, at the latest now: from now on, then, is the safe side.
fn missing(name: &str, heard: Duration) -> Missing {
    Missing { instance: name.to_owned(), heard_ms_ago: ms(heard), admin_closed_in_ms: ms(ADMIN_CLOSED), closed_in_ms: ms(CLOSED) }
}

fn empty(known: &BTreeMap<String, Duration>, (key, generation): (&str, u64), trouble: String) -> Receipt {
    let missing = known.iter().map(|(name, heard)| missing(name, *heard)).collect();
    Receipt { key: key.to_owned(), generation, missing, trouble: Some(trouble), ..Receipt::default() }
}
