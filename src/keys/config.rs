//! The table `[gateway.keys]` of the settings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// API keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KeysConfig {
    /// The file with the keys that keys are made and checked with; in the data directory unless named. Processes that share a database
    /// share this file too.
    pub keyring: Option<PathBuf>,
    /// Keys that are remembered at most, with the secrets that have been proven; some 500 bytes each.
    pub cached_max: usize,
    /// Runs of argon2 at once, each with 19 MiB.
    pub argon2_at_once: usize,
    /// How long a request may wait for its turn at argon2 or at the database, milliseconds; then 503.
    pub queue_ms: u64,
}

impl Default for KeysConfig {
    fn default() -> Self {
        KeysConfig { keyring: None, cached_max: 100_000, argon2_at_once: 2, queue_ms: 250 }
    }
}

impl KeysConfig {
    /// Where the keyring is.
    #[must_use]
    pub fn keyring_path(&self, data_dir: &Path) -> PathBuf {
        self.keyring.clone().unwrap_or_else(|| data_dir.join(super::keyring::FILE))
    }

    pub(super) const fn queue(&self) -> Duration {
        Duration::from_millis(self.queue_ms)
    }
}
