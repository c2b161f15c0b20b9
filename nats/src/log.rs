//! The log: append, compare-and-swap, look up.
//!
//! Promises: LG-1 an append that returns `Ok` is stored by the log's own stream. LG-2 an append
//! that fails with a time-out may have been stored; nothing is retried here behind the caller's
//! back. LG-3 a look-up asks the stream's leader, so it sees every acknowledged append.

mod pipeline;

use std::sync::Arc;

use async_nats::header::NATS_EXPECTED_STREAM;
use async_nats::jetstream::kv;

use crate::api::{Ack, StreamInfo};
use crate::connect::Bus;
use crate::error::{AppendAllError, AppendError, BusError};
use crate::message::{Entry, Message};
use crate::streams;
use pipeline::Pipeline;

/// Where the log begins and ends, and how much it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Sequence of the oldest message still there; `last + 1` when there is none.
    pub first: u64,
    /// Sequence of the newest message ever stored; 0 when there was none.
    pub last: u64,
    /// How much is stored, in bytes.
    pub bytes: u64,
    /// How many messages are stored.
    pub messages: u64,
}

struct Inner {
    bus: Bus,
    incarnation: String,
}

/// The log. Clones share it.
#[derive(Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("stream", &self.stream()).field("incarnation", &self.inner.incarnation).finish_non_exhaustive()
    }
}

impl Bus {
    /// Creates or migrates the streams and buckets (see [`crate::streams`]) and opens the log.
    ///
    /// # Errors
    /// [`BusError::Incompatible`] and [`BusError::WouldDropData`] say what to change; the rest
    /// says why the bus did not answer.
    pub async fn ensure_log(&self) -> Result<Log, BusError> {
        let incarnation = streams::ensure(self).await?;
        Ok(Log { inner: Arc::new(Inner { bus: self.clone(), incarnation }) })
    }

    /// Opens the log as it is, without creating or changing anything: for those who only look.
    ///
    /// # Errors
    /// [`BusError::Refused`] with 10059 when there is no log, [`BusError::Incompatible`] when the
    /// stream of that name is not one.
    pub async fn open_log(&self) -> Result<Log, BusError> {
        let info = self.stream_info(&self.names().log).await?;
        let incarnation = info.metadata(streams::INCARNATION).ok_or_else(|| BusError::Incompatible {
            stream: self.names().log.clone(),
            reason: "it is not a log of ours: it has no incarnation".to_owned(),
        })?;
        Ok(Log { inner: Arc::new(Inner { bus: self.clone(), incarnation: incarnation.to_owned() }) })
    }
}

impl Log {
    /// A random id kept in the stream's metadata. A deleted and re-created stream has another
    /// one, and a position means something only together with it.
    #[must_use]
    pub fn incarnation(&self) -> &str {
        &self.inner.incarnation
    }

    /// The connection it lives on.
    #[must_use]
    pub fn bus(&self) -> &Bus {
        &self.inner.bus
    }

    /// The stream's name.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.inner.bus.names().log
    }

    /// A subject below the root: `subject("tick")` is `homeostat.v1.tick`.
    #[must_use]
    pub fn subject(&self, below: &str) -> String {
        format!("{}.{below}", self.inner.bus.root())
    }

    /// Where the log begins and ends.
    ///
    /// # Errors
    /// [`BusError::Recreated`] when the stream is not the one this handle was opened on.
    pub async fn bounds(&self) -> Result<Bounds, BusError> {
        let info = self.inner.bus.stream_info(self.stream()).await?;
        self.check(&info)?;
        Ok(Bounds { first: info.state.first_seq, last: info.state.last_seq, bytes: info.state.bytes, messages: info.state.messages })
    }

    /// Where the archive of alerts, commands and outcomes begins and ends (its own sequences).
    ///
    /// # Errors
    /// Whatever keeps the bus from answering.
    pub async fn archive_bounds(&self) -> Result<Bounds, BusError> {
        let info = self.inner.bus.stream_info(&self.inner.bus.names().archive).await?;
        Ok(Bounds { first: info.state.first_seq, last: info.state.last_seq, bytes: info.state.bytes, messages: info.state.messages })
    }

    /// Stores a message at the end of the log; its sequence. With a `Nats-Msg-Id` that is already
    /// there, the sequence of the first one.
    ///
    /// # Errors
    /// [`BusError::Denied`] when this user may not, [`BusError::Timeout`] when nobody knows.
    pub async fn append(&self, message: Message) -> Result<u64, BusError> {
        Ok(self.store(&message, None).await?.seq)
    }

    /// Stores many messages, up to 256 under way at once. They keep their order unless one of
    /// them fails. Returns their sequences.
    ///
    /// # Errors
    /// [`AppendAllError`] names those that were not acknowledged; after the first failures that
    /// mean "the bus is away", the rest is not tried.
    pub async fn append_all(&self, messages: Vec<Message>) -> Result<Vec<u64>, AppendAllError> {
        let total = messages.len();
        let all = match Pipeline::open(self, total).await {
            Ok(pipeline) => pipeline.run(&messages).await,
            Err(error) => vec![Err(error); total],
        };
        let mut sequences = Vec::with_capacity(total);
        let mut failed = Vec::new();
        for (index, result) in all.into_iter().enumerate() {
            match result {
                Ok(seq) => sequences.push(seq),
                Err(error) => failed.push((index, error)),
            }
        }
        if failed.is_empty() {
            return Ok(sequences);
        }
        Err(AppendAllError { total, failed })
    }

    /// Stores a message only if `expected` is still the last sequence on its own subject (0:
    /// nothing is there). Its sequence.
    ///
    /// # Errors
    /// [`AppendError::Conflict`] when somebody was faster.
    pub async fn append_if(&self, message: Message, expected: u64) -> Result<u64, AppendError> {
        match self.store(&message, Some(expected)).await {
            Ok(ack) => Ok(ack.seq),
            Err(error) if error.is_conflict() => Err(AppendError::Conflict { subject: message.subject, expected }),
            Err(error) => Err(error.into()),
        }
    }

    /// The last message on a subject (or on those that match it, with wildcards), from the stream's leader.
    ///
    /// # Errors
    /// Whatever keeps the bus from answering.
    pub async fn last_on(&self, subject: &str) -> Result<Option<Entry>, BusError> {
        self.inner.bus.last_in(self.stream(), subject).await
    }

    /// The message at a sequence, from the stream's leader; nothing if it has expired or is
    /// still to come.
    ///
    /// # Errors
    /// Whatever keeps the bus from answering.
    pub async fn get(&self, seq: u64) -> Result<Option<Entry>, BusError> {
        if seq == 0 {
            return Ok(None);
        }
        self.inner.bus.get_in(self.stream(), &serde_json::json!({ "seq": seq })).await
    }

    /// The bucket of current state (what is open now), for late subscribers.
    ///
    /// # Errors
    /// [`BusError::Protocol`] when it is not there.
    pub async fn state_store(&self) -> Result<kv::Store, BusError> {
        let name = self.inner.bus.names().state.clone();
        let after = self.inner.bus.request_timeout();
        let opened = self.inner.bus.jetstream().get_key_value(name.clone());
        match tokio::time::timeout(after, opened).await {
            Ok(Ok(store)) => Ok(store),
            Ok(Err(error)) => Err(BusError::Protocol { what: name, detail: error.to_string() }),
            Err(_) => Err(BusError::Timeout { what: name, after }),
        }
    }

    /// Refuses a subject that is not the log's: nobody would store it, and in the middle of a
    /// batch nobody would say so.
    pub(crate) fn own(&self, subject: &str) -> Result<(), BusError> {
        let below = subject.strip_prefix(self.inner.bus.root()).and_then(|rest| rest.strip_prefix('.'));
        if below.is_some_and(streams::is_kind) {
            return Ok(());
        }
        Err(BusError::Invalid { what: subject.chars().take(64).flat_map(char::escape_debug).collect(), reason: "not a subject of the log" })
    }

    async fn store(&self, message: &Message, expected: Option<u64>) -> Result<Ack, BusError> {
        self.own(&message.subject)?;
        let ack = self.inner.bus.store(message, expected).await?;
        self.stored_by(&ack, &message.subject)?;
        Ok(ack)
    }

    /// LG-1: an acknowledgement counts if it is the log's own.
    fn stored_by(&self, ack: &Ack, subject: &str) -> Result<u64, BusError> {
        if ack.stream == self.stream() {
            return Ok(ack.seq);
        }
        Err(BusError::Incompatible { stream: ack.stream.clone(), reason: format!("it takes `{subject}`, which belongs to the log") })
    }

    /// The header that keeps a message out of any other stream.
    pub(crate) fn stamp(&self, headers: &mut async_nats::HeaderMap) {
        headers.insert(NATS_EXPECTED_STREAM, self.stream());
    }

    pub(crate) fn check(&self, info: &StreamInfo) -> Result<(), BusError> {
        let found = info.metadata(streams::INCARNATION).unwrap_or_default();
        if found == self.inner.incarnation {
            return Ok(());
        }
        Err(BusError::Recreated { stream: self.stream().to_owned(), expected: self.inner.incarnation.clone(), found: found.to_owned() })
    }
}
