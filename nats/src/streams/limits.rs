//! The streams' limits, which are settings, and their names, which follow from the root.

use serde::{Deserialize, Serialize};

use crate::connect::check_root;
use crate::error::BusError;

pub(super) const MIB: u64 = 1024 * 1024;
pub(super) const GIB: u64 = 1024 * MIB;

/// The streams' limits.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct StreamConfig {
    /// The log holds at most this much; the oldest goes first. Default 4 GiB.
    pub max_bytes: u64,
    /// The log holds nothing older, in seconds. Default 7 days.
    pub max_age_s: u64,
    /// The largest message, in bytes. Default 1 MiB, which is the server's own default.
    pub max_message_bytes: u32,
    /// A `Nats-Msg-Id` is remembered for so long, in seconds; a retry within it is a duplicate.
    /// Memory grows with rate × window. Default 120.
    pub duplicate_window_s: u64,
    /// The archive of alerts, commands and outcomes holds at most this much. Default 1 GiB.
    pub archive_max_bytes: u64,
    /// The archive holds nothing older, in seconds. Default 90 days.
    pub archive_max_age_s: u64,
    /// The bucket of current state holds at most this much. Default 256 MiB.
    pub state_max_bytes: u64,
    /// The bucket of checkpoints holds at most this much. Default 1.25 GiB.
    pub checkpoints_max_bytes: u64,
    /// The ledger holds at most this much; full, it takes no more, and what must stand there first is not done. Default 256 MiB,
    /// several hundred thousand records.
    pub ledger_max_bytes: u64,
    /// Copies of everything in a cluster: 1, 3 or 5. Default 1.
    pub replicas: u8,
    /// Let a lowered limit drop messages that are there now. Default false.
    pub allow_data_loss: bool,
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self {
            max_bytes: 4 * GIB,
            max_age_s: 7 * 86_400,
            max_message_bytes: 1_048_576,
            duplicate_window_s: 120,
            archive_max_bytes: GIB,
            archive_max_age_s: 90 * 86_400,
            state_max_bytes: 256 * MIB,
            checkpoints_max_bytes: GIB + 256 * MIB,
            ledger_max_bytes: 256 * MIB,
            replicas: 1,
            allow_data_loss: false,
        }
    }
}

impl StreamConfig {
    /// What all of it together may take on disk, in bytes.
    #[must_use]
    pub fn disk_bytes_max(&self) -> u64 {
        self.max_bytes
            .saturating_add(self.archive_max_bytes)
            .saturating_add(self.state_max_bytes)
            .saturating_add(self.checkpoints_max_bytes)
            .saturating_add(self.ledger_max_bytes)
    }

    /// Whether a stream can have these limits.
    ///
    /// # Errors
    /// [`BusError::Config`] with the first that it cannot.
    pub fn check(&self) -> Result<(), BusError> {
        let bad = |setting, reason: &str| Err(BusError::Config { setting, reason: reason.to_owned() });
        if !matches!(self.replicas, 1 | 3 | 5) {
            return bad("stream.replicas", "1, 3 or 5");
        }
        if self.duplicate_window_s > self.max_age_s {
            return bad("stream.duplicate_window_s", "not longer than `max_age_s`");
        }
        // Nanoseconds of an age must fit the server's signed 64 bits.
        if self.max_age_s.max(self.archive_max_age_s) > 9_000_000_000 {
            return bad("stream.max_age_s", "too long");
        }
        let sizes = [self.max_bytes, self.archive_max_bytes, self.state_max_bytes, self.checkpoints_max_bytes, self.ledger_max_bytes];
        if sizes.iter().any(|size| *size < 64 * 1024 || *size > i64::MAX as u64) {
            return bad("stream.max_bytes", "every size is at least 64 KiB");
        }
        if self.max_age_s == 0 || self.archive_max_age_s == 0 {
            return bad("stream.max_age_s", "every age is at least 1 second");
        }
        if self.max_message_bytes < 1024 || self.max_message_bytes > i32::MAX as u32 {
            return bad("stream.max_message_bytes", "at least 1 KiB");
        }
        Ok(())
    }
}

/// The names of streams and buckets below a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The log's stream.
    pub log: String,
    /// The archive's stream.
    pub archive: String,
    /// The bucket of current state.
    pub state: String,
    /// The bucket of checkpoints.
    pub checkpoints: String,
    /// The ledger's stream.
    pub ledger: String,
    /// The bucket of leases.
    pub leases: String,
}

impl Names {
    /// `homeostat.v1` → `homeostat`, `homeostat_archive`, …; `acme.eu.v1` → `acme_eu`, ….
    ///
    /// # Errors
    /// [`BusError::Config`] when the root is not made of plain tokens.
    pub fn of(root: &str) -> Result<Self, BusError> {
        check_root(root)?;
        let word = root.strip_suffix(".v1").unwrap_or(root).replace('.', "_");
        Ok(Self {
            archive: format!("{word}_archive"),
            state: format!("{word}_state"),
            checkpoints: format!("{word}_checkpoints"),
            ledger: format!("{word}_ledger"),
            leases: format!("{word}_leases"),
            log: word,
        })
    }
}
