//! The outbox: the only writer of an actor's outputs. Atomic, fenced, once.
//!
//! All outputs of one cycle go out as one atomic batch whose first message is a compare-and-swap
//! on the actor's chain subject (`{root}.chain.<actor>`). It carries the [`Head`]: who wrote, how
//! far the input was worked off, the identity of the last output, and the pointer to the last
//! checkpoint. The batch is stored as a unit, in order, or not at all.
//!
//! Promises
//! - OB-1 an output with an identity at or before the head's last one is never sent again.
//! - OB-2 outputs stand on the log in the order of their identities, none missing between two.
//! - OB-3 when somebody else wrote the head, nothing of ours is stored any more
//!   ([`OutboxError::Fenced`]).
//! - OB-4 a lost acknowledgement is recognised by reading the head back from the stream's leader:
//!   what is stored is not sent again, what is not is.
//! - OB-5 [`Outbox::publish`] may be dropped at any await; the next call finds out how far it got.
//!
//! Why nothing is pipelined behind the fence: a second batch sent before the first is
//! acknowledged can be accepted or refused depending on the number of replicas.

mod batch;
mod head;

use std::time::Duration;

use tokio::time::{Instant, sleep};

pub use head::{Head, Identity};

use crate::api::random_hex;
use crate::error::BusError;
use crate::fault;
use crate::log::Log;
use crate::message::{Entry, Message, check_token};

/// One thing an actor wants on the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Which input led to it, and which of its outputs it is.
    pub identity: Identity,
    /// What goes out.
    pub message: Message,
}

/// Whether the head is a compare-and-swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fence {
    /// It is: at most one owner writes.
    #[default]
    On,
    /// It is not. Only for proving that the fence matters: two owners then double their outputs,
    /// and so does a lost acknowledgement.
    Off,
}

/// How an outbox works.
#[derive(Debug, Clone)]
pub struct OutboxOptions {
    /// Which generation of owner this is; must not shrink. Default: one more than the head's.
    pub epoch: Option<u64>,
    /// Which part of the input, for a time when there are several. Default 0.
    pub partition: u32,
    /// For how long a bus that is away is waited for before [`OutboxError::Unavailable`].
    /// Default 30 s.
    pub patience: Duration,
    /// Default [`Fence::On`].
    pub fence: Fence,
}

impl Default for OutboxOptions {
    fn default() -> Self {
        Self { epoch: None, partition: 0, patience: Duration::from_secs(30), fence: Fence::On }
    }
}

/// Why outputs did not go out.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OutboxError {
    /// Somebody else owns the actor now. Drop its state, reload, or stand by.
    #[error("actor `{}` is owned by {} (epoch {}, at {}); reload it or stand by", .0.actor, .0.owner, .0.epoch, .0.position)]
    Fenced(Box<Head>),
    /// The chain's last message is gone though retention had not reached it: it was purged.
    #[error("the chain of `{actor}` lost its head at {expected} though the log begins at {first}; somebody purged it, reload the actor")]
    Vanished {
        /// The actor.
        actor: String,
        /// Where the head was.
        expected: u64,
        /// Where the log begins.
        first: u64,
    },
    /// The chain's last message is not a head.
    #[error("the chain of `{actor}` is unreadable at {seq}: {reason}; delete that message")]
    Unreadable {
        /// The actor.
        actor: String,
        /// The message.
        seq: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A caller's mistake: identities must grow.
    #[error("outputs of `{actor}` are out of order: {later} came after {earlier}")]
    OutOfOrder {
        /// The actor.
        actor: String,
        /// The one before.
        earlier: Identity,
        /// The one that should have been greater.
        later: Identity,
    },
    /// The bus stayed away for longer than the patience. What was acknowledged is on the log;
    /// call again with the same outputs.
    #[error("outputs of `{actor}` could not be published within {} s: {last}", patience.as_secs())]
    Unavailable {
        /// The actor.
        actor: String,
        /// How long was waited.
        patience: Duration,
        /// The last reason.
        last: BusError,
    },
    /// Not to be cured by waiting.
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// Writes an actor's outputs. See the module's promises.
pub struct Outbox {
    log: Log,
    options: OutboxOptions,
    subject: String,
    actor: String,
    owner: String,
    epoch: u64,
    /// The head as last known, and the sequence it has on the log (0: there is none).
    head: Option<Head>,
    expected: u64,
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox")
            .field("actor", &self.actor)
            .field("owner", &self.owner)
            .field("epoch", &self.epoch)
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}

/// What reading the head back showed.
enum Reading {
    /// The head is still the one we knew: the attempt is not stored.
    Unchanged,
    /// The head is our own attempt: it is stored.
    Ours,
    /// The old head was removed by retention; the chain begins anew.
    Evicted,
}

impl Outbox {
    /// Opens an actor's chain and reads its head from the stream's leader. Opening alone fences
    /// nobody; the first write does.
    ///
    /// # Errors
    /// [`OutboxError::Unreadable`] when the head cannot be understood, otherwise what keeps the
    /// bus from answering.
    pub async fn open(log: &Log, actor: &str, options: OutboxOptions) -> Result<(Self, Option<Head>), OutboxError> {
        check_token(actor)?;
        let subject = log.subject(&format!("chain.{actor}"));
        let head = log.last_on(&subject).await?.map(|entry| read_head(actor, &entry)).transpose()?;
        // The epoch only says which generation wrote; what fences is the sequence.
        let epoch = options.epoch.unwrap_or_else(|| head.as_ref().map_or(1, |head| head.epoch.saturating_add(1)));
        let outbox = Self {
            log: log.clone(),
            options,
            subject,
            actor: actor.to_owned(),
            owner: random_hex(8)?,
            epoch,
            expected: head.as_ref().map_or(0, |head| head.seq),
            head: head.clone(),
        };
        Ok((outbox, head))
    }

    /// The head as last known.
    #[must_use]
    pub fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// The random id this outbox signs its heads with.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Puts outputs on the log, in order. Those at or before the head's last identity are left
    /// out: they are there already. `position` is the input up to which everything is worked off;
    /// `checkpoint` replaces the head's pointer if given. Without anything new to say nothing is
    /// written and the head is returned as it is.
    ///
    /// # Errors
    /// See [`OutboxError`]. After [`OutboxError::Unavailable`] and after a dropped call, calling
    /// again with the same or more outputs goes on where it stopped.
    pub async fn publish(&mut self, outputs: Vec<Output>, position: u64, checkpoint: Option<String>) -> Result<Head, OutboxError> {
        for pair in outputs.windows(2) {
            if pair[1].identity <= pair[0].identity {
                return Err(OutboxError::OutOfOrder { actor: self.actor.clone(), earlier: pair[0].identity, later: pair[1].identity });
            }
        }
        let deadline = Instant::now() + self.options.patience;
        fault::point("outbox.before_batch");
        loop {
            // Asked anew after every write: what stands on the log may be an earlier attempt.
            let rest = self.not_yet_out(&outputs);
            let pointed = |head: &Head| checkpoint.is_none() || head.checkpoint == checkpoint;
            if rest.is_empty()
                && let Some(head) = self.head.as_ref().filter(|head| pointed(head))
            {
                fault::point("outbox.after_publish");
                return Ok(head.clone());
            }
            let (now, later) = rest.split_at(batch::fitting(rest));
            let next = self.next_head(now, later, position, checkpoint.as_deref());
            self.write(&next, now, deadline).await?;
        }
    }

    /// Points the chain head to a checkpoint: the same compare-and-swap without outputs.
    ///
    /// # Errors
    /// See [`OutboxError`].
    pub async fn note_checkpoint(&mut self, position: u64, checkpoint: String) -> Result<Head, OutboxError> {
        fault::point("outbox.before_note");
        let head = self.publish(Vec::new(), position, Some(checkpoint)).await?;
        fault::point("outbox.after_note");
        Ok(head)
    }

    /// OB-1: what the head says is out is not sent again.
    fn not_yet_out<'a>(&self, outputs: &'a [Output]) -> &'a [Output] {
        let last = self.head.as_ref().and_then(|head| head.last);
        let out = outputs.partition_point(|output| Some(output.identity) <= last);
        &outputs[out..]
    }

    fn next_head(&self, now: &[Output], later: &[Output], position: u64, checkpoint: Option<&str>) -> Head {
        let before = self.head.as_ref();
        let last = now.last().map(|output| output.identity);
        // With more to come, the input of the last output is not worked off yet.
        let position = match (later.is_empty(), last) {
            (false, Some(last)) => last.position.saturating_sub(1),
            _ => position,
        };
        let checkpoint = match checkpoint {
            Some(name) if later.is_empty() => Some(name.to_owned()),
            _ => before.and_then(|head| head.checkpoint.clone()),
        };
        Head {
            incarnation: self.log.incarnation().to_owned(),
            actor: self.actor.clone(),
            partition: self.options.partition,
            epoch: self.epoch,
            position: before.map_or(position, |head| position.max(head.position)),
            last: last.or_else(|| before.and_then(|head| head.last)),
            checkpoint,
            owner: self.owner.clone(),
            seq: 0,
        }
    }

    /// Stores one head with its outputs and updates what is known; on return `self.head` is what
    /// stands on the log, which may be an earlier attempt of ours with fewer outputs.
    async fn write(&mut self, next: &Head, outputs: &[Output], deadline: Instant) -> Result<(), OutboxError> {
        let mut pause = Duration::from_millis(10);
        loop {
            let fence = match self.options.fence {
                Fence::On => Some(self.expected),
                Fence::Off => None,
            };
            let error = match batch::store(&self.log, &self.subject, next, outputs, fence).await {
                Ok(seq) => {
                    fault::point("outbox.after_commit");
                    self.expected = seq;
                    self.head = Some(Head { seq, ..next.clone() });
                    return Ok(());
                }
                Err(error) if error.is_conflict() || error.is_transient() => error,
                Err(error) => return Err(error.into()),
            };
            tracing::debug!(actor = %self.actor, %error, "outbox looks at the chain");
            let known = if fence.is_some() { self.read_back().await } else { Ok(Reading::Unchanged) };
            match known {
                Ok(Reading::Ours) => return Ok(()),
                Ok(Reading::Evicted) => continue,
                Ok(Reading::Unchanged) => {}
                Err(OutboxError::Bus(error)) if error.is_transient() => {}
                Err(error) => return Err(error),
            }
            if Instant::now() + pause > deadline {
                return Err(OutboxError::Unavailable { actor: self.actor.clone(), patience: self.options.patience, last: error });
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// Reads the head from the leader after a write whose fate is unknown.
    async fn read_back(&mut self) -> Result<Reading, OutboxError> {
        let Some(entry) = self.log.last_on(&self.subject).await? else {
            if self.expected == 0 {
                return Ok(Reading::Unchanged);
            }
            let bounds = self.log.bounds().await?;
            if bounds.first <= self.expected {
                return Err(OutboxError::Vanished { actor: self.actor.clone(), expected: self.expected, first: bounds.first });
            }
            // What is known here is older than the whole log: nobody can have written since
            // without leaving a message that is still there or is as old.
            self.expected = 0;
            return Ok(Reading::Evicted);
        };
        if entry.seq == self.expected {
            return Ok(Reading::Unchanged);
        }
        let head = read_head(&self.actor, &entry)?;
        if head.owner != self.owner {
            return Err(OutboxError::Fenced(Box::new(head)));
        }
        // Only this outbox signs with this owner, and every attempt since `expected` carried the
        // outputs that follow it: what stands there is a prefix of what was to be written.
        self.expected = entry.seq;
        self.head = Some(head);
        Ok(Reading::Ours)
    }
}

fn read_head(actor: &str, entry: &Entry) -> Result<Head, OutboxError> {
    let unreadable = |reason: String| OutboxError::Unreadable { actor: actor.to_owned(), seq: entry.seq, reason };
    let head = Head::decode(entry).map_err(|error| unreadable(error.to_string()))?;
    if head.actor != actor {
        return Err(unreadable(format!("it is a head of `{}`", head.actor)));
    }
    Ok(head)
}
