//! What can go wrong on the bus, and what to do then.
//!
//! Each variant says which of the three answers is right: wait and try again
//! ([`BusError::is_transient`]), change a setting (the message says which), or stop.

use std::time::Duration;

/// JetStream's code for "the last sequence on this subject is another one".
pub const WRONG_LAST_SEQUENCE: u64 = 10071;
/// The same, reported for a constant expected value (servers since 2.12).
pub const WRONG_LAST_SEQUENCE_CONSTANT: u64 = 10164;
/// JetStream's code for a stream that does not exist.
pub const STREAM_NOT_FOUND: u64 = 10059;
/// JetStream's code for a stream name taken with another configuration.
pub const STREAM_NAME_IN_USE: u64 = 10058;
/// JetStream's code for subjects held by another stream.
pub const STREAM_SUBJECT_OVERLAP: u64 = 10065;
/// JetStream's code for a message that does not exist.
pub const NO_MESSAGE_FOUND: u64 = 10037;
/// JetStream's code for an atomic batch of which a part never arrived.
pub const BATCH_INCOMPLETE: u64 = 10176;

/// A failure of the bus.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BusError {
    /// A setting cannot be used.
    #[error("setting `nats.{setting}`: {reason}")]
    Config {
        /// The setting's name below `nats`.
        setting: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// No connection could be made.
    #[error("cannot connect to {url}: {reason}")]
    Connect {
        /// The address, without credentials.
        url: String,
        /// The client library's reason, and what to do about it.
        reason: String,
    },
    /// No answer came in time. The request may or may not have been carried out.
    #[error("{what}: no answer within {} ms", after.as_millis())]
    Timeout {
        /// What was asked.
        what: String,
        /// How long was waited.
        after: Duration,
    },
    /// Nobody listens: JetStream is off, still starting, or no stream takes the subject.
    #[error("{what}: nobody answers there; JetStream is off or starting, or no stream has the subject")]
    NoResponders {
        /// What was asked.
        what: String,
    },
    /// The server refuses this user the subject.
    #[error("{what}: not permitted ({detail}); grant the subject to this user")]
    Denied {
        /// What was asked.
        what: String,
        /// The server's words.
        detail: String,
    },
    /// JetStream said no.
    #[error("{what}: refused with {code}: {description}")]
    Refused {
        /// What was asked.
        what: String,
        /// JetStream's error code.
        code: u64,
        /// JetStream's words.
        description: String,
    },
    /// A message is larger than the server or the stream accepts.
    #[error("{what}: the message is too large: {detail}")]
    TooLarge {
        /// What was asked.
        what: String,
        /// Sizes.
        detail: String,
    },
    /// A subject, header or name contains what NATS cannot carry.
    #[error("`{what}` cannot be sent: {reason}")]
    Invalid {
        /// The offending thing, shortened.
        what: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The connection went away while the answer was awaited. It may have been carried out.
    #[error("{what}: the connection was lost: {detail}")]
    Closed {
        /// What was asked.
        what: String,
        /// The client library's words.
        detail: String,
    },
    /// The server's answer could not be understood.
    #[error("{what}: unexpected answer: {detail}")]
    Protocol {
        /// What was asked.
        what: String,
        /// What was wrong with it.
        detail: String,
    },
    /// A stream of that name exists and cannot be used.
    #[error("stream `{stream}` cannot be used: {reason}")]
    Incompatible {
        /// The stream.
        stream: String,
        /// Why, and what to do.
        reason: String,
    },
    /// A lowered limit would drop messages now.
    #[error(
        "stream `{stream}`: lowering `{limit}` drops messages that are there now ({detail}); set `nats.stream.allow_data_loss = true` to do it"
    )]
    WouldDropData {
        /// The stream.
        stream: String,
        /// The limit that was lowered.
        limit: &'static str,
        /// How much stands against how much.
        detail: String,
    },
    /// The stream was deleted and created anew: positions mean nothing any more.
    #[error("stream `{stream}` was re-created (it was {expected}, now it is {found}); restart to rebuild from it")]
    Recreated {
        /// The stream.
        stream: String,
        /// The incarnation this process works with.
        expected: String,
        /// The incarnation found.
        found: String,
    },
    /// The operating system gave no random numbers.
    #[error("no random numbers from the operating system: {0}")]
    Random(String),
}

impl BusError {
    /// Whether waiting and trying again may help: the bus is away, starting, or slow.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::NoResponders { .. } | Self::Connect { .. } | Self::Closed { .. } => true,
            // 10008 no leader or insufficient resources for the moment, 10023, 10077 store failed,
            // 10176 batch incomplete, 10009 not leader
            Self::Refused { code, .. } => {
                matches!(*code, 10008 | 10009 | 10023 | 10077 | BATCH_INCOMPLETE)
            }
            Self::Config { .. }
            | Self::Denied { .. }
            | Self::TooLarge { .. }
            | Self::Invalid { .. }
            | Self::Protocol { .. }
            | Self::Incompatible { .. }
            | Self::WouldDropData { .. }
            | Self::Recreated { .. }
            | Self::Random(_) => false,
        }
    }

    /// Whether JetStream refused a compare-and-swap.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { code: WRONG_LAST_SEQUENCE | WRONG_LAST_SEQUENCE_CONSTANT, .. })
    }

    pub(crate) fn code(&self) -> Option<u64> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// A compare-and-swap did not go through.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// Somebody else wrote on that subject first. Nothing was stored.
    #[error("`{subject}` has moved on since sequence {expected}")]
    Conflict {
        /// The subject.
        subject: String,
        /// The sequence that was expected to be the last one there.
        expected: u64,
    },
    /// Anything else; after a time-out the message may have been stored.
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// Some messages of a pipelined append were not acknowledged.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{} of {total} messages were not acknowledged; the first reason: {}", failed.len(), failed.first().map_or_else(String::new, |(_, reason)| reason.to_string()))]
pub struct AppendAllError {
    /// How many there were.
    pub total: usize,
    /// Index into the given messages, and the reason. Those not named here are stored.
    pub failed: Vec<(usize, BusError)>,
}
