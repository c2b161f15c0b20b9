//! What became of everything: counters, and the state of the connection.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts since the start, in events unless they say otherwise. Every event that was offered is in exactly one of
/// `published`, `dropped`, `displaced`, `refused`, `uncertain`, `invalid` or `waiting`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Is there a connection?
    pub connected: bool,
    /// How often a connection was made.
    pub connections: u64,
    /// Taken by [`event`](crate::Client::event) and its shorthands.
    pub accepted: u64,
    /// Acknowledged by the log.
    pub published: u64,
    /// Queued, packed or under way.
    pub waiting: u64,
    /// Of these, those that are not packed yet.
    pub queued: u64,
    /// Not taken because the queue was full.
    pub dropped: u64,
    /// Packed, and pushed out by newer ones while the bus was away.
    pub displaced: u64,
    /// Refused by the server.
    pub refused: u64,
    /// Given up because nobody could tell any more whether they had been stored: sending them again might have stored them twice.
    pub uncertain: u64,
    /// Values nobody could compute with, or larger than a message may be.
    pub invalid: u64,
    /// Messages acknowledged.
    pub messages: u64,
    /// Messages that turned out to have been stored by an earlier try.
    pub duplicates: u64,
    /// Tries that failed and were repeated, in messages.
    pub retries: u64,
    /// Commands that were refused because no trusted signer has signed them. Not events.
    pub commands_refused: u64,
    /// Subjects that the server refused on this connection, to publish to or to listen to: what is said there is lost, what is said
    /// there by others is not heard. See the permissions of this user.
    pub refused_subjects: Vec<String>,
    /// The last error of the bus.
    pub last_error: Option<String>,
}

/// The live counters behind [`Stats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) accepted: AtomicU64,
    pub(crate) published: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) displaced: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) uncertain: AtomicU64,
    pub(crate) invalid: AtomicU64,
    pub(crate) messages: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) commands_refused: AtomicU64,
    last_error: Mutex<Option<String>>,
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Relaxed);
}

impl Counters {
    pub(crate) fn error(&self, text: impl Into<String>) {
        let text: String = text.into().chars().take(512).collect();
        *lock(&self.last_error) = Some(text);
    }

    pub(crate) fn last_error(&self) -> Option<String> {
        lock(&self.last_error).clone()
    }

    /// Events refused, and events given up for any other reason.
    pub(crate) fn given_up(&self) -> (u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        (read(&self.refused), read(&self.dropped) + read(&self.displaced) + read(&self.uncertain))
    }

    pub(crate) fn stats(&self, connected: bool, connections: u64, waiting: u64, queued: u64) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        Stats {
            connected,
            connections,
            accepted: read(&self.accepted),
            published: read(&self.published),
            waiting,
            queued,
            dropped: read(&self.dropped),
            displaced: read(&self.displaced),
            refused: read(&self.refused),
            uncertain: read(&self.uncertain),
            invalid: read(&self.invalid),
            messages: read(&self.messages),
            duplicates: read(&self.duplicates),
            retries: read(&self.retries),
            commands_refused: read(&self.commands_refused),
            refused_subjects: Vec::new(),
            last_error: self.last_error(),
        }
    }
}

/// A lock whose holder panicked is as good as any: what is behind ours is valid at every moment.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
