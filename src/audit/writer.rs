//! Writes the audit log: one record after the other, whoever else is writing.

use super::chain::{Hash, NoHash};
use super::key::SigningKey;
use super::record::{Act, BEGIN, Record};
use homeostat_nats::{AppendError, BusError, Entry, Ledger, Log, Message};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, watch};

/// The header with a record's hash.
pub const HASH: &str = "homeostat-audit-hash";
/// Kinds of records, as the last token of their subject.
const RECORD: &str = "record";
const CHECKPOINT: &str = "checkpoint";
/// How often a loser of the race for the next place tries again. Every try means that another one has succeeded.
const TRIES: u32 = 64;
/// Longest append.
const DEADLINE: Duration = Duration::from_secs(5);
/// A signature is made after so many records, and after so much time.
const RECORDS: u64 = 1_000;
const EVERY: Duration = Duration::from_secs(60);

/// Why something could not be recorded, and so must not be done.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// There is no bus.
    #[error("the bus is away, so that nothing can be recorded in the audit log")]
    Away,
    /// The bus did not take it. It may stand there all the same, when no answer came.
    #[error("the audit log took no record: {0}")]
    Bus(#[from] BusError),
    /// No answer in time.
    #[error("the audit log took no record within {} s", DEADLINE.as_secs())]
    Late,
    /// Others were faster every time.
    #[error("the audit log is written by too many at once")]
    Crowded,
    /// The end of the log is not in our form.
    #[error("the last record of the audit log has no hash: somebody else wrote it; see `homeostat audit verify`")]
    Foreign,
    /// No randomness.
    #[error("the operating system gives no random numbers")]
    Random,
}

impl From<NoHash> for AuditError {
    fn from(_: NoHash) -> Self {
        AuditError::Foreign
    }
}

/// The end of the chain: its last place, the hash there, and the last signature.
#[derive(Debug, Clone, Copy, Default)]
struct Head {
    seq: u64,
    hash: Hash,
    signed: u64,
}

/// The audit log, to be written to. Clones share it.
#[derive(Debug, Clone)]
pub struct Audit {
    log: watch::Receiver<Option<Log>>,
    key: Option<Arc<SigningKey>>,
    /// The end as last seen; nothing when it has to be looked up.
    head: Arc<Mutex<Option<Head>>>,
}

impl Audit {
    /// Writes to the ledger beside this log, as soon as there is one. Only with a key are signatures made.
    #[must_use]
    pub fn new(log: watch::Receiver<Option<Log>>, key: Option<SigningKey>) -> Audit {
        Audit { log, key: key.map(Arc::new), head: Arc::default() }
    }

    /// For a process that writes a record and ends.
    #[must_use]
    pub fn once(log: &Log) -> Audit {
        Audit::new(watch::channel(Some(log.clone())).1, None)
    }

    /// Records what is about to be done; its place. Only then may it be done.
    ///
    /// # Errors
    /// See [`AuditError`]: it must not be done.
    pub async fn record(&self, act: Act<'_>) -> Result<u64, AuditError> {
        let record = Record::new(id()?, act);
        tokio::time::timeout(DEADLINE, self.append(&record)).await.unwrap_or(Err(AuditError::Late))
    }

    async fn append(&self, record: &Record) -> Result<u64, AuditError> {
        let ledger = self.ledger()?;
        let mut known = self.head.lock().await;
        let seq = write(&ledger, &mut known, RECORD, |_| record.clone()).await?;
        if let (Some(key), Some(head)) = (&self.key, *known)
            && seq >= head.signed + RECORDS
            && let Err(error) = sign_end(&ledger, &mut known, key).await
        {
            tracing::warn!(%error, "the audit log could not be signed; it is tried again within a minute");
        }
        Ok(seq)
    }

    /// Signs what is not signed yet, if there is anything. Says whether there was.
    ///
    /// # Errors
    /// See [`AuditError`].
    pub async fn checkpoint(&self) -> Result<bool, AuditError> {
        let Some(key) = &self.key else { return Ok(false) };
        let ledger = self.ledger()?;
        let signed = async {
            let mut known = self.head.lock().await;
            // Others write too: look where the end is.
            *known = Some(head(&ledger).await?);
            match *known {
                Some(head) if head.seq > head.signed => sign_end(&ledger, &mut known, key).await.map(|_| true),
                _ => Ok(false),
            }
        };
        tokio::time::timeout(DEADLINE, signed).await.unwrap_or(Err(AuditError::Late))
    }

    /// Signs once a minute, for as long as it is let.
    pub async fn sign(self) {
        let mut every = tokio::time::interval(EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            match self.checkpoint().await {
                Ok(_) | Err(AuditError::Away) => {}
                Err(error) => tracing::warn!(%error, "the audit log could not be signed"),
            }
        }
    }

    fn ledger(&self) -> Result<Ledger, AuditError> {
        self.log.borrow().as_ref().map(Log::ledger).ok_or(AuditError::Away)
    }
}

/// Writes a record at the next place, wherever that is by then; its place. What is not known for certain afterwards is forgotten.
async fn write(ledger: &Ledger, known: &mut Option<Head>, kind: &str, record: impl Fn(Head) -> Record) -> Result<u64, AuditError> {
    for _ in 0..TRIES {
        let end = match known.take() {
            Some(end) => end,
            None => head(ledger).await?,
        };
        let (end, kind, bytes) = if end.seq == 0 {
            // Whoever is first says so; a record never stands alone at the beginning, so that a log begun anew can be told.
            let begin = Act { action: BEGIN, target: ledger.incarnation(), by: "homeostat", ..Act::default() };
            (end, RECORD, Record::new(id()?, begin).bytes())
        } else {
            (end, kind, record(end).bytes())
        };
        let seq = end.seq + 1;
        let hash = end.hash.then(seq, &bytes);
        let message = Message::new(ledger.subject(kind), bytes).with("content-type", "application/json").with(HASH, hash.to_string());
        match ledger.append(&message, end.seq).await {
            Ok(stored) => {
                let signed = if kind == CHECKPOINT { stored } else { end.signed };
                *known = Some(Head { seq: stored, hash, signed });
                if end.seq > 0 {
                    return Ok(stored);
                }
            }
            Err(AppendError::Conflict { .. }) => {}
            Err(AppendError::Bus(error)) => return Err(error.into()),
        }
    }
    Err(AuditError::Crowded)
}

async fn sign_end(ledger: &Ledger, known: &mut Option<Head>, key: &SigningKey) -> Result<u64, AuditError> {
    let id = id()?;
    write(ledger, known, CHECKPOINT, |end| key.checkpoint(id.clone(), end.seq, end.hash)).await
}

/// The end of the chain, as the bus has it.
async fn head(ledger: &Ledger) -> Result<Head, AuditError> {
    let Some(last) = ledger.last(None).await? else { return Ok(Head::default()) };
    let signed = ledger.last(Some(CHECKPOINT)).await?.map_or(0, |entry| entry.seq);
    Ok(Head { seq: last.seq, hash: hash_of(&last)?, signed })
}

/// The hash that stands beside a record.
///
/// # Errors
/// There is none.
pub fn hash_of(entry: &Entry) -> Result<Hash, NoHash> {
    entry.header(HASH).ok_or(NoHash)?.parse()
}

fn id() -> Result<String, AuditError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| AuditError::Random)?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}
