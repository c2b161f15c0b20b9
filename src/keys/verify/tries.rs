//! Wrong secrets of keys that were imported: nothing in such a key's text says that it was minted here, so whoever knows its id may try.

use crate::keys::format::KeyId;
use homeostat_schemas::UnixMs;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// How many wrong secrets of one key are tried in a minute; its holder is told "busy" beyond that, not "wrong".
const TRIES: u32 = 10;
const TRIES_MS: u64 = 60_000;
/// How many keys are watched.
const WATCHED_MAX: usize = 4_096;

struct Tried {
    since: UnixMs,
    count: u32,
}

/// Wrong secrets of the last minute.
#[derive(Default)]
pub(super) struct Tries(Mutex<HashMap<KeyId, Tried>>);

impl Tries {
    /// Have there been so many that no more are tried now?
    pub(super) fn are_used_up(&self, id: &KeyId, now: UnixMs) -> bool {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.get(id).is_some_and(|tried| tried.count >= TRIES && now.saturating_sub(tried.since) < TRIES_MS)
    }

    /// One more.
    pub(super) fn failed(&self, id: &KeyId, now: UnixMs) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|_, tried| now.saturating_sub(tried.since) < TRIES_MS);
        if keys.len() < WATCHED_MAX || keys.contains_key(id) {
            let tried = keys.entry(*id).or_insert(Tried { since: now, count: 0 });
            tried.count = tried.count.saturating_add(1);
        }
    }
}
