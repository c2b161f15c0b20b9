//! What the verifier remembers: rows of the database, and which secrets have been proven.
//!
//! Promises
//! - KC-1 Bounded: beyond its capacity the row that has been looked at least lately (roughly: second chance) is forgotten.
//! - KC-2 Nothing that was learnt before a change is put in after it: every change raises the shard's epoch under the same lock under
//!   which rows are put in, and a row is only put in under the epoch at which its reading began.

use super::format::KeyId;
use super::usage::Cell;
use super::verify::Principal;
use homeostat_schemas::UnixMs;
use homeostat_schemas::key::{Environment, KeyVersion};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

const SHARDS: usize = 64;

/// One version of a key, as the verifier needs it.
pub(super) struct Secret {
    pub(super) version: KeyVersion,
    /// The hash at rest; none once it is purged.
    pub(super) hash: Option<Box<str>>,
    /// The verifier at rest and the keyring's generation it was made with; none for secrets that were drawn elsewhere.
    pub(super) verifier: Option<(u32, blake3::Hash)>,
    /// The secret under this process's own key, once argon2 has proven it.
    pub(super) proven: OnceLock<blake3::Hash>,
    pub(super) principal: Arc<Principal>,
    pub(super) usage: Arc<Cell>,
}

/// One key.
pub(super) struct Row {
    pub(super) generation: u64,
    pub(super) environment: Environment,
    pub(super) secrets: Vec<Secret>,
    touched: AtomicBool,
}

impl Row {
    pub(super) fn new(generation: u64, environment: Environment, secrets: Vec<Secret>) -> Row {
        Row { generation, environment, secrets, touched: AtomicBool::new(false) }
    }

    /// Does any version let anybody in?
    pub(super) fn accepts(&self, now: UnixMs) -> bool {
        self.secrets.iter().any(|secret| secret.version.accepted_at(now))
    }
}

#[derive(Default)]
struct Shard {
    rows: HashMap<KeyId, Arc<Row>>,
    order: VecDeque<KeyId>,
    epoch: u64,
    /// Rows that no longer count, for what argon2 has said about their hashes: that stays true.
    old: HashMap<KeyId, Arc<Row>>,
}

pub(super) struct Cache {
    shards: Vec<RwLock<Shard>>,
    per_shard: usize,
    hash: RandomState,
}

impl Cache {
    pub(super) fn new(capacity: usize) -> Cache {
        let shards = (0..SHARDS).map(|_| RwLock::default()).collect();
        Cache { shards, per_shard: capacity.div_ceil(SHARDS).max(1), hash: RandomState::new() }
    }

    fn shard(&self, id: &KeyId) -> &RwLock<Shard> {
        let hash = self.hash.hash_one(id);
        &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or_default()]
    }

    fn read(&self, id: &KeyId) -> RwLockReadGuard<'_, Shard> {
        self.shard(id).read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, id: &KeyId) -> RwLockWriteGuard<'_, Shard> {
        self.shard(id).write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a key, and the epoch at which that was so.
    pub(super) fn get(&self, id: &KeyId) -> (Option<Arc<Row>>, u64) {
        let shard = self.read(id);
        let row = shard.rows.get(id).cloned();
        if let Some(row) = &row
            && !row.touched.load(Ordering::Relaxed)
        {
            row.touched.store(true, Ordering::Relaxed);
        }
        (row, shard.epoch)
    }

    /// Puts a row in that was read, unless anything changed since `epoch`. The row that is in then: the one that somebody else has read
    /// meanwhile, if there is one, as its secret may have been proven already.
    pub(super) fn put(&self, id: KeyId, row: &Arc<Row>, epoch: u64) -> Option<Arc<Row>> {
        let mut shard = self.write(&id);
        if shard.epoch != epoch {
            return None;
        }
        if let Some(there) = shard.rows.get(&id) {
            return Some(there.clone());
        }
        shard.rows.insert(id, row.clone());
        shard.order.push_back(id);
        self.make_room(&mut shard);
        Some(row.clone())
    }

    /// Puts a row in, unless anything changed since `epoch`, and does something more while nothing can change. Says whether it is in.
    pub(super) fn put_with(&self, id: KeyId, row: &Arc<Row>, epoch: u64, then: impl FnOnce()) -> bool {
        let mut shard = self.write(&id);
        if shard.epoch != epoch {
            return false;
        }
        if shard.rows.insert(id, row.clone()).is_none() {
            shard.order.push_back(id);
            self.make_room(&mut shard);
        }
        then();
        true
    }

    /// Forgets rows until there is room; those that were looked at since they were last considered are passed over once.
    fn make_room(&self, shard: &mut Shard) {
        while shard.rows.len() > self.per_shard {
            let Some(oldest) = shard.order.pop_front() else { return };
            let touched = shard.rows.get(&oldest).is_some_and(|row| row.touched.swap(false, Ordering::Relaxed));
            if touched {
                shard.order.push_back(oldest);
            } else {
                shard.rows.remove(&oldest);
            }
        }
    }

    /// Forgets what is known of a key under a smaller generation, and whatever is being learnt about it now.
    pub(super) fn evict(&self, id: &KeyId, generation: u64) {
        let mut shard = self.write(id);
        shard.epoch = shard.epoch.wrapping_add(1);
        if shard.rows.get(id).is_some_and(|row| row.generation < generation) {
            let row = shard.rows.remove(id);
            shard.order.retain(|other| other != id);
            if shard.old.len() < self.per_shard {
                shard.old.extend(row.map(|row| (*id, row)));
            }
        }
    }

    /// The row from before a change, once.
    pub(super) fn take_old(&self, id: &KeyId) -> Option<Arc<Row>> {
        self.write(id).old.remove(id)
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            shard.epoch = shard.epoch.wrapping_add(1);
            shard.rows.clear();
            shard.order.clear();
            shard.old.clear();
        }
    }

    /// How many rows are known.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).rows.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn row(generation: u64) -> Arc<Row> {
        Arc::new(Row::new(generation, Environment::Live, Vec::new()))
    }

    #[test]
    fn what_was_learnt_before_a_change_is_not_put_in_after_it() {
        let cache = Cache::new(1_000);
        let id = KeyId::draw().unwrap();
        let (nothing, epoch) = cache.get(&id);
        assert!(nothing.is_none());
        cache.evict(&id, 2);
        assert!(cache.put(id, &row(1), epoch).is_none(), "the key changed meanwhile");
        let (_, epoch) = cache.get(&id);
        assert!(cache.put(id, &row(2), epoch).is_some());
        let first = cache.get(&id).0.unwrap();
        assert!(Arc::ptr_eq(&cache.put(id, &row(2), epoch).unwrap(), &first), "what may have been proven is not replaced");
        cache.evict(&id, 2);
        assert!(cache.get(&id).0.is_some(), "of that generation it is known already");
        cache.evict(&id, 3);
        assert!(cache.get(&id).0.is_none());
    }

    #[test]
    fn it_holds_no_more_than_it_may_and_keeps_what_is_used() {
        let cache = Cache::new(SHARDS * 4);
        let kept = KeyId::draw().unwrap();
        let (_, epoch) = cache.get(&kept);
        assert!(cache.put(kept, &row(1), epoch).is_some());
        for _ in 0..SHARDS * 40 {
            let id = KeyId::draw().unwrap();
            let (_, epoch) = cache.get(&id);
            assert!(cache.put(id, &row(1), epoch).is_some());
            assert!(cache.get(&kept).0.is_some());
        }
        assert_eq!(cache.len(), SHARDS * 4);
        cache.clear();
        assert_eq!(cache.len(), 0);
    }
}
