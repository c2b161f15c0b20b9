//! From a hash to a place in an arena: the one hash table of this mind.
//!
//! It is asked and never walked, so its order shows nowhere. Its keys are xxh3 hashes already and are not hashed again; that,
//! and no random seed, make it the same in every run. A checkpoint holds it sorted.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::hash::{BuildHasherDefault, Hasher};

/// Passes a 64-bit key through.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

#[allow(clippy::disallowed_types)] // asked, never walked: see the module
type Table = std::collections::HashMap<u64, u32, BuildHasherDefault<AsIs>>;

/// A table from a hash to an index.
#[derive(Default)]
pub(super) struct Lookup(Table);

impl Lookup {
    #[inline]
    pub(super) fn get(&self, key: u64) -> Option<u32> {
        self.0.get(&key).copied()
    }

    pub(super) fn insert(&mut self, key: u64, index: u32) {
        self.0.insert(key, index);
    }

    pub(super) fn remove(&mut self, key: u64) {
        self.0.remove(&key);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Serialize for Lookup {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut entries: Vec<(u64, u32)> = self.0.iter().map(|(key, index)| (*key, *index)).collect();
        entries.sort_unstable();
        entries.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Lookup {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Lookup(Vec::<(u64, u32)>::deserialize(deserializer)?.into_iter().collect()))
    }
}
