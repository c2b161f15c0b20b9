//! An actor's saved state: chunks first, pointer second, old ones last.
//!
//! ```text
//! save     chunks → bucket                     a crash here leaves chunks nobody points to
//! point    Outbox::note_checkpoint(name)       the compare-and-swap: from here on it counts
//! settle   second pointer → bucket, then old checkpoints are deleted
//! ```
//!
//! The name carries everything needed to load it: `{position}-{chunks}-{bytes}-{sha256}-{nonce}`.
//! The chain head is the pointer; a second one in the bucket serves when retention has removed
//! the head.
//!
//! Promises: CP-1 [`Checkpoints::load`] returns exactly the bytes that were saved, or an error.
//! CP-2 the checkpoint a pointer names, and the one before it, are not deleted. CP-3 what a
//! crashed writer left is deleted once a later checkpoint is in force and it is 10 minutes old,
//! so the bucket stays bounded. CP-4 a slow former owner deletes nothing of the present one: it
//! deletes only what is older than what it pointed to itself, under the fence.

mod name;

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::api::{hex, random_hex};
use crate::connect::Bus;
use crate::error::BusError;
use crate::fault;
use crate::log::Log;
use crate::message::{Entry, Message, check_token};
use crate::outbox::Head;
use crate::streams::bucket_stream;
use name::Name;

/// A chunk is at most this large.
pub const CHUNK_BYTES: usize = 512 * 1024;
/// A checkpoint has at most this many chunks: 512 MiB.
pub const CHUNKS_MAX: usize = 1_024;
/// Chunks nobody points to are left alone for so long: their writer may be at work.
const LEFTOVER_AGE: Duration = Duration::from_secs(600);

/// Why a checkpoint could not be saved or loaded.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CheckpointError {
    /// More state than a checkpoint may have.
    #[error("a checkpoint of {bytes} bytes is too large; the limit is {limit}")]
    TooLarge {
        /// The state's size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Not a name of a checkpoint.
    #[error("`{0}` is not the name of a checkpoint")]
    BadName(String),
    /// A chunk is missing: it was deleted, or never written.
    #[error("checkpoint {name}: chunk {chunk} is missing; use the one before it or rebuild")]
    Missing {
        /// The checkpoint.
        name: String,
        /// The chunk, from 0.
        chunk: usize,
    },
    /// The bytes are not those that were saved.
    #[error("checkpoint {name} is damaged: {reason}; use the one before it or rebuild")]
    Damaged {
        /// The checkpoint.
        name: String,
        /// What does not fit.
        reason: &'static str,
    },
    /// The bus.
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// The second pointer, kept in the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    /// The log's incarnation it belongs to.
    pub incarnation: String,
    /// The checkpoint in force.
    pub current: String,
    /// The one before it.
    pub previous: Option<String>,
    /// Sequence of the chain head that named it.
    pub head: u64,
}

/// Saves and loads checkpoints.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    bus: Bus,
    incarnation: String,
    bucket: String,
    stream: String,
    leftover_age: Duration,
}

impl Checkpoints {
    /// The checkpoints that belong to a log. [`Bus::ensure_log`] has made their bucket.
    #[must_use]
    pub fn of(log: &Log) -> Self {
        let bucket = log.bus().names().checkpoints.clone();
        Self {
            bus: log.bus().clone(),
            incarnation: log.incarnation().to_owned(),
            stream: bucket_stream(&bucket),
            bucket,
            leftover_age: LEFTOVER_AGE,
        }
    }

    /// The same, but what crashed writers left is deleted once it is this old. Default 10 minutes;
    /// it must be longer than a writer needs from its first chunk to the chain head.
    #[must_use]
    pub fn with_leftover_age(mut self, age: Duration) -> Self {
        self.leftover_age = age;
        self
    }

    /// Stores a state in chunks and returns the checkpoint's name. Nobody points to it yet.
    ///
    /// # Errors
    /// [`CheckpointError::TooLarge`]; otherwise what keeps the bus from storing it.
    pub async fn save(&self, actor: &str, position: u64, state: &[u8]) -> Result<String, CheckpointError> {
        check_token(actor)?;
        if state.len() > CHUNK_BYTES * CHUNKS_MAX {
            return Err(CheckpointError::TooLarge { bytes: state.len(), limit: CHUNK_BYTES * CHUNKS_MAX });
        }
        let name = Name {
            position,
            chunks: state.len().div_ceil(CHUNK_BYTES).max(1),
            bytes: state.len(),
            hash: hex(&Sha256::digest(state)),
            nonce: random_hex(4)?,
        }
        .to_string();
        fault::point("checkpoint.before_chunks");
        // An empty state is one empty chunk: a checkpoint always has something to find.
        let mut chunks = state.chunks(CHUNK_BYTES);
        let mut chunk = chunks.next().unwrap_or_default();
        let mut index = 0;
        loop {
            let subject = self.chunk_subject(actor, &name, index);
            let message = Message::new(subject, Bytes::copy_from_slice(chunk));
            self.store(&message, None).await?;
            fault::point("checkpoint.after_chunk");
            let Some(next) = chunks.next() else { break };
            chunk = next;
            index += 1;
        }
        fault::point("checkpoint.after_chunks");
        Ok(name)
    }

    /// After the chain head has taken the checkpoint: writes the second pointer and deletes what
    /// is not needed any more. Safe to repeat, and to leave out: the next one makes up for it.
    ///
    /// # Errors
    /// What keeps the bus from answering. The checkpoint counts all the same.
    pub async fn settle(&self, head: &Head) -> Result<(), CheckpointError> {
        let Some(current) = head.checkpoint.clone() else {
            return Ok(());
        };
        fault::point("checkpoint.before_pointer");
        // A few rounds: somebody else may be writing the same pointer.
        for _ in 0..5 {
            let found = self.read_pointer(&head.actor).await?;
            let (before, expected) = match &found {
                Some((pointer, entry)) => (Some(pointer), entry.seq),
                None => (None, 0),
            };
            let known = before.filter(|pointer| pointer.incarnation == self.incarnation);
            if known.is_some_and(|pointer| pointer.head > head.seq) {
                // A later owner was here: nothing of this is ours to tidy.
                return Ok(());
            }
            let previous = match known {
                Some(pointer) if pointer.current == current => pointer.previous.clone(),
                Some(pointer) => Some(pointer.current.clone()),
                None => None,
            };
            let superseded = known.filter(|pointer| pointer.current != current).and_then(|pointer| pointer.previous.clone());
            let pointer = Pointer { incarnation: self.incarnation.clone(), current: current.clone(), previous, head: head.seq };
            match self.write_pointer(&head.actor, &pointer, expected).await {
                Ok(seq) => {
                    fault::point("checkpoint.after_pointer");
                    return self.tidy(&head.actor, &pointer, seq, superseded.as_deref()).await;
                }
                Err(CheckpointError::Bus(error)) if error.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Loads a checkpoint and verifies its hash.
    ///
    /// # Errors
    /// [`CheckpointError::Missing`] and [`CheckpointError::Damaged`]: use another one.
    pub async fn load(&self, actor: &str, name: &str) -> Result<Bytes, CheckpointError> {
        check_token(actor)?;
        let parsed = Name::parse(name).ok_or_else(|| CheckpointError::BadName(name.chars().take(160).collect()))?;
        let mut state = BytesMut::with_capacity(parsed.bytes);
        for chunk in 0..parsed.chunks {
            let subject = self.chunk_subject(actor, name, chunk);
            let Some(entry) = self.bus.last_in(&self.stream, &subject).await? else {
                return Err(CheckpointError::Missing { name: name.to_owned(), chunk });
            };
            if state.len() + entry.payload.len() > parsed.bytes {
                return Err(damaged(name, "more bytes than it should have"));
            }
            state.extend_from_slice(&entry.payload);
        }
        if state.len() != parsed.bytes {
            return Err(damaged(name, "fewer bytes than it should have"));
        }
        if hex(&Sha256::digest(&state)) != parsed.hash {
            return Err(damaged(name, "another hash"));
        }
        Ok(state.freeze())
    }

    /// The second pointer of an actor, if it has one for this incarnation of the log.
    ///
    /// # Errors
    /// What keeps the bus from answering.
    pub async fn pointer(&self, actor: &str) -> Result<Option<Pointer>, CheckpointError> {
        check_token(actor)?;
        let found = self.read_pointer(actor).await?.map(|(pointer, _)| pointer);
        Ok(found.filter(|pointer| pointer.incarnation == self.incarnation))
    }

    /// The names worth trying at a start, best first: the chain head's, then the second pointer's
    /// two. Each name once.
    ///
    /// # Errors
    /// What keeps the bus from answering.
    pub async fn candidates(&self, actor: &str, head: Option<&Head>) -> Result<Vec<String>, CheckpointError> {
        let pointer = self.pointer(actor).await?;
        let named = head.filter(|head| head.incarnation == self.incarnation).and_then(|head| head.checkpoint.clone());
        let (current, previous) = pointer.map_or((None, None), |p| (Some(p.current), p.previous));
        let mut names: Vec<String> = Vec::with_capacity(3);
        for name in [named, current, previous].into_iter().flatten() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// The input position a checkpoint's name states.
    #[must_use]
    pub fn position_of(name: &str) -> Option<u64> {
        Name::parse(name).map(|name| name.position)
    }

    /// The names of all checkpoints of an actor of which chunks are stored, finished or not.
    ///
    /// # Errors
    /// What keeps the bus from answering.
    pub async fn stored(&self, actor: &str) -> Result<BTreeSet<String>, CheckpointError> {
        check_token(actor)?;
        let prefix = format!("$KV.{}.chunk.{actor}.", self.bucket);
        let info: crate::api::StreamInfo =
            self.bus.call(&format!("STREAM.INFO.{}", self.stream), &serde_json::json!({ "subjects_filter": format!("{prefix}>") })).await?;
        let subjects = info.state.subjects.unwrap_or_default();
        let name = |subject: &String| Some(subject.strip_prefix(&prefix)?.split('.').next()?.to_owned());
        Ok(subjects.keys().filter_map(name).collect())
    }

    /// Deletes the superseded checkpoint and what crashed writers left.
    async fn tidy(&self, actor: &str, pointer: &Pointer, pointer_seq: u64, superseded: Option<&str>) -> Result<(), CheckpointError> {
        let Some(current) = Self::position_of(&pointer.current) else {
            return Ok(());
        };
        let now = self.bus.get_in(&self.stream, &serde_json::json!({ "seq": pointer_seq })).await?.map(|entry| entry.at_ms);
        for name in self.stored(actor).await? {
            if name == pointer.current || Some(&name) == pointer.previous.as_ref() {
                continue;
            }
            // CP-4: whoever works now works from the pointer on; what is at or behind it is his.
            if Self::position_of(&name).is_none_or(|position| position >= current) {
                continue;
            }
            if superseded != Some(name.as_str()) && !self.is_leftover(actor, &name, now).await? {
                continue;
            }
            let filter = format!("$KV.{}.chunk.{actor}.{name}.>", self.bucket);
            let removed = self.bus.purge(&self.stream, &filter).await?;
            tracing::debug!(actor, name, removed, "old checkpoint deleted");
            fault::point("checkpoint.after_delete");
        }
        Ok(())
    }

    /// Old enough, by the server's clock, that nobody can still be writing it.
    async fn is_leftover(&self, actor: &str, name: &str, now: Option<u64>) -> Result<bool, CheckpointError> {
        let newest = format!("$KV.{}.chunk.{actor}.{name}.>", self.bucket);
        let entry = self.bus.last_in(&self.stream, &newest).await?;
        Ok(match (entry, now) {
            (Some(entry), Some(now)) => Duration::from_millis(now.saturating_sub(entry.at_ms)) >= self.leftover_age,
            _ => false,
        })
    }

    async fn read_pointer(&self, actor: &str) -> Result<Option<(Pointer, Entry)>, CheckpointError> {
        let subject = self.pointer_subject(actor);
        let Some(entry) = self.bus.last_in(&self.stream, &subject).await? else {
            return Ok(None);
        };
        // An unreadable pointer is like one of another incarnation: it is replaced.
        let pointer = serde_json::from_slice(&entry.payload).unwrap_or_else(|error| {
            tracing::warn!(actor, %error, "the second pointer is unreadable and will be replaced");
            Pointer { incarnation: String::new(), current: String::new(), previous: None, head: 0 }
        });
        Ok(Some((pointer, entry)))
    }

    async fn write_pointer(&self, actor: &str, pointer: &Pointer, expected: u64) -> Result<u64, CheckpointError> {
        let subject = self.pointer_subject(actor);
        let payload =
            serde_json::to_vec(pointer).map_err(|error| BusError::Protocol { what: subject.clone(), detail: error.to_string() })?;
        self.store(&Message::new(subject, payload), Some(expected)).await
    }

    async fn store(&self, message: &Message, expected: Option<u64>) -> Result<u64, CheckpointError> {
        let mut headers: HeaderMap = message.header_map()?;
        headers.insert(async_nats::header::NATS_EXPECTED_STREAM, self.stream.as_str());
        if let Some(expected) = expected {
            headers.insert(async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string());
        }
        let ack = self.bus.store_with(&message.subject, headers, message.payload.clone()).await?;
        Ok(ack.seq)
    }

    fn chunk_subject(&self, actor: &str, name: &str, chunk: usize) -> String {
        format!("$KV.{}.chunk.{actor}.{name}.{chunk}", self.bucket)
    }

    fn pointer_subject(&self, actor: &str) -> String {
        format!("$KV.{}.pointer.{actor}", self.bucket)
    }
}

fn damaged(name: &str, reason: &'static str) -> CheckpointError {
    CheckpointError::Damaged { name: name.to_owned(), reason }
}
