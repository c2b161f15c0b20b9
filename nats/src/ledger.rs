//! The ledger: a stream in which nothing can be changed. Everything is written by compare-and-swap on its end, nothing can be deleted
//! or purged, and when it is full it takes nothing more instead of forgetting.
//!
//! Promises: LE-1 what is stored at a sequence was written by somebody who had seen the one before. LE-2 an append that fails with a
//! time-out may have been stored; nothing is retried here behind the caller's back. LE-3 look-ups ask the stream's leader.

use async_nats::header::NATS_EXPECTED_LAST_SEQUENCE;
use futures::{Stream, StreamExt as _};

use crate::connect::Bus;
use crate::error::{AppendError, BusError};
use crate::log::{Bounds, Log};
use crate::message::{Entry, Message};

/// Entries looked up at once when many are read.
const AHEAD: usize = 64;

/// The ledger. Clones share it.
#[derive(Debug, Clone)]
pub struct Ledger {
    log: Log,
}

impl Log {
    /// The ledger beside this log.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        Ledger { log: self.clone() }
    }
}

impl Ledger {
    fn bus(&self) -> &Bus {
        self.log.bus()
    }

    fn stream(&self) -> &str {
        &self.bus().names().ledger
    }

    /// The life of the log beside it: which bus this is.
    #[must_use]
    pub fn incarnation(&self) -> &str {
        self.log.incarnation()
    }

    /// A subject of the ledger.
    #[must_use]
    pub fn subject(&self, kind: &str) -> String {
        format!("{}.audit.{kind}", self.bus().root())
    }

    /// What is in it.
    ///
    /// # Errors
    /// Whatever keeps the bus from answering.
    pub async fn bounds(&self) -> Result<Bounds, BusError> {
        let state = self.bus().stream_info(self.stream()).await?.state;
        Ok(Bounds { first: state.first_seq, last: state.last_seq, bytes: state.bytes, messages: state.messages })
    }

    /// Stores a message behind the sequence `last` (0: it is the first one); its own, which is the next.
    ///
    /// # Errors
    /// [`AppendError::Conflict`] when somebody was faster.
    pub async fn append(&self, message: &Message, last: u64) -> Result<u64, AppendError> {
        let mut headers = message.header_map()?;
        headers.insert(NATS_EXPECTED_LAST_SEQUENCE, last.to_string());
        match self.bus().store_with(&message.subject, headers, message.payload.clone()).await {
            Ok(ack) => Ok(ack.seq),
            Err(error) if error.is_conflict() => Err(AppendError::Conflict { subject: message.subject.clone(), expected: last }),
            Err(error) => Err(error.into()),
        }
    }

    /// The last entry, of any kind or of this one.
    ///
    /// # Errors
    /// Whatever keeps the bus from answering.
    pub async fn last(&self, kind: Option<&str>) -> Result<Option<Entry>, BusError> {
        self.bus().last_in(self.stream(), &self.subject(kind.unwrap_or(">"))).await
    }

    /// The entry at a sequence.
    ///
    /// # Errors
    /// Whatever keeps the bus from answering.
    pub async fn get(&self, seq: u64) -> Result<Option<Entry>, BusError> {
        self.bus().get_in(self.stream(), &serde_json::json!({ "seq": seq })).await
    }

    /// The entries from one sequence to another, in order, both included. What is not there is left out.
    pub fn read(&self, from: u64, to: u64) -> impl Stream<Item = Result<Entry, BusError>> + '_ {
        let each = futures::stream::iter(from.max(1)..=to).map(move |seq| self.get(seq)).buffered(AHEAD);
        each.filter_map(|found| std::future::ready(found.transpose()))
    }
}
