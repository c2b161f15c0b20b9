//! What the key rotation mind shows of itself: `/api/v1/key_rotation`.

use super::clock::Jump;
use super::key::{Act, Key};
use super::{KeyRotationConfig, KeyRotationCore};
use homeostat_schemas::key::KeyState;
use homeostat_schemas::{Mode, UnixMs};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// Everything that can be seen of the mind.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct KeyRotationView {
    /// Log time of this view.
    pub at_ms: UnixMs,
    /// The mode in force.
    pub mode: Mode,
    /// The clock that has jumped; while there is one, nothing expires and nothing is rotated.
    pub frozen: Option<Jump>,
    /// A row a key: what is due first comes first.
    pub keys: Vec<KeyRow>,
    /// Counters.
    pub totals: KeyTotals,
}

/// One key.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct KeyRow {
    /// Its id.
    pub key: String,
    /// The service that it belongs to.
    pub owner: String,
    /// Its newest version.
    pub version: u32,
    /// Where that is in its life.
    pub state: KeyState,
    /// The end of the key, when it has one, Unix ms.
    pub expires_ms: Option<UnixMs>,
    /// The end of its old version, when there is one, Unix ms.
    pub grace_until_ms: Option<UnixMs>,
    /// What is due next.
    pub next: Option<Act>,
    /// When that is, Unix ms.
    pub next_ms: Option<UnixMs>,
    /// What is being done.
    pub doing: Option<Act>,
    /// Tries in a row that failed.
    pub failures: u32,
    /// When any version of it was used last, as far as known, Unix ms.
    pub last_used_ms: Option<UnixMs>,
}

/// Counters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct KeyTotals {
    /// Keys watched.
    pub keys: usize,
    /// How often each thing was done, since the mind was new.
    pub done: BTreeMap<Act, u64>,
    /// Tries that failed.
    pub failed: u64,
    /// Commands that were refused.
    pub refused: u64,
    /// Keys that found no room.
    pub no_room: u64,
    /// When the list of all keys was last read to its end, log time.
    pub listed_ms: Option<UnixMs>,
    /// Findings open.
    pub open: usize,
}

impl KeyRotationCore {
    pub(super) fn full_view(&self, now: UnixMs, config: &KeyRotationConfig) -> KeyRotationView {
        let row = |(id, key): (&String, &Key)| {
            let due = key.due(id, now, config);
            KeyRow {
                key: id.clone(),
                owner: key.owner.clone(),
                version: key.last().map_or(0, |version| version.version),
                state: key.last().map_or(KeyState::Purged, |version| version.state),
                expires_ms: key.end(),
                grace_until_ms: key.grace().and_then(|old| old.expires_ms),
                next: due.map(|due| due.act),
                next_ms: due.map(|due| due.at_ms),
                doing: key.asked.as_ref().map(|(_, act)| *act),
                failures: key.failures,
                last_used_ms: key.used_ms(),
            }
        };
        let mut keys: Vec<KeyRow> = self.keys.iter().map(row).collect();
        keys.sort_by_key(|row| row.next_ms.unwrap_or(UnixMs::MAX));
        let totals = KeyTotals {
            keys: self.keys.len(),
            done: self.done.clone(),
            failed: self.failed,
            refused: self.refused,
            no_room: self.no_room,
            listed_ms: self.listing.done_ms,
            open: self.incidents.len(),
        };
        KeyRotationView { at_ms: now, mode: self.mode, frozen: self.clock.jump.clone(), keys, totals }
    }
}
