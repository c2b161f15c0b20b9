//! The settings of key rotation. The documentation of each field is its manual.

use homeostat_schemas::Ms;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The settings table `actors.key_rotation`. When a key is rotated and how long its old version is accepted stands in the key itself
/// (90 days and 7 days unless it was created with others).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KeyRotationConfig {
    /// A key is rotated up to so much earlier than it is due, each by another part of it, so that what was created together is not
    /// rotated together; at most a tenth of its period. Seconds.
    pub jitter_s: u64,
    /// At most so many rotations a minute; what finds no place waits for the next one.
    pub rotations_per_min: u32,
    /// The hash of a version that expired or was revoked is destroyed after so long. Days.
    pub purge_after_days: u64,
    /// How long a hand may take. Seconds.
    pub timeout_s: u64,
    /// The pause after a failure, doubling up to `retry_max_s`. Seconds.
    pub retry_s: u64,
    /// See `retry_s`.
    pub retry_max_s: u64,
    /// So many failures in a row are an alert.
    pub failures: u32,
    /// A wall clock that moves by more than this against the monotonic clock freezes expiry and rotation. Seconds.
    pub clock_jump_s: u64,
    /// How often the clocks are looked at when nothing is due (they are looked at before anything is done). Seconds.
    pub clock_every_s: u64,
    /// How often all keys are read from the database, in case a fact about one was lost. Seconds.
    pub list_every_s: u64,
    /// Keys that are watched. What finds no room is an alert: it is neither rotated nor purged.
    pub keys: usize,
}

impl Default for KeyRotationConfig {
    fn default() -> Self {
        KeyRotationConfig {
            jitter_s: 86_400,
            rotations_per_min: 60,
            purge_after_days: 30,
            timeout_s: 30,
            retry_s: 5,
            retry_max_s: 600,
            failures: 3,
            clock_jump_s: 300,
            clock_every_s: 60,
            list_every_s: 86_400,
            keys: 50_000,
        }
    }
}

impl KeyRotationConfig {
    pub(super) fn timeout(&self) -> Ms {
        self.timeout_s.clamp(1, 3_600) * 1_000
    }

    pub(super) fn jump(&self) -> Ms {
        self.clock_jump_s.clamp(1, 86_400) * 1_000
    }

    pub(super) fn clock_every(&self) -> Ms {
        self.clock_every_s.clamp(1, 3_600) * 1_000
    }

    pub(super) fn list_every(&self) -> Ms {
        self.list_every_s.max(60).saturating_mul(1_000)
    }

    pub(super) fn purge_after(&self) -> Ms {
        self.purge_after_days.saturating_mul(86_400_000)
    }

    /// The pause after so many failures in a row.
    pub(super) fn pause(&self, failures: u32) -> Ms {
        let doubled = self.retry_s.max(1).saturating_mul(1 << failures.saturating_sub(1).min(20));
        doubled.min(self.retry_max_s.max(1)).saturating_mul(1_000)
    }

    /// By how much earlier than due the version of a key is rotated, whose period is `every`.
    pub(super) fn jitter(&self, key: &str, version: u32, every: Ms) -> Ms {
        let most = self.jitter_s.saturating_mul(1_000).min(every / 10);
        let drawn = xxhash_rust::xxh3::xxh3_64_with_seed(key.as_bytes(), u64::from(version));
        drawn % most.saturating_add(1)
    }
}
