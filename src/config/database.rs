//! The table `[database]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

/// The database for history and query statistics.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `postgres://user@host/name` or `sqlite:path`. Without it, SQLite in the data directory (`homeostat.db`).
    pub url: Option<String>,
    /// A file whose first line is the password for the user of `url`.
    pub password_file: Option<PathBuf>,
    /// At most so many connections.
    pub pool_max: NonZeroU32,
    /// A connection nobody used for so long is closed, seconds.
    pub idle_timeout_s: NonZeroU64,
    /// No connection grows older, minutes.
    pub lifetime_min: NonZeroU64,
    /// How long to wait for a connection, milliseconds; then the database counts as away.
    pub acquire_timeout_ms: NonZeroU64,
    /// How long one piece of work may take, milliseconds, the wait for a connection included.
    pub query_timeout_ms: NonZeroU64,
    /// How long alerts, commands and outcomes are kept, days. What is still open is kept longer.
    pub history_days: NonZeroU32,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        DatabaseConfig {
            url: None,
            password_file: None,
            pool_max: nonzero32(20),
            idle_timeout_s: nonzero64(30),
            lifetime_min: nonzero64(30),
            acquire_timeout_ms: nonzero64(2_000),
            query_timeout_ms: nonzero64(10_000),
            history_days: nonzero32(90),
        }
    }
}

impl DatabaseConfig {
    /// How long a connection may be idle.
    #[must_use]
    pub const fn idle_timeout(&self) -> Duration {
        Duration::from_secs(self.idle_timeout_s.get())
    }

    /// How old a connection may become.
    #[must_use]
    pub const fn lifetime(&self) -> Duration {
        Duration::from_secs(self.lifetime_min.get().saturating_mul(60))
    }

    /// How long to wait for a connection.
    #[must_use]
    pub const fn acquire_timeout(&self) -> Duration {
        Duration::from_millis(self.acquire_timeout_ms.get())
    }

    /// How long one piece of work may take.
    #[must_use]
    pub const fn query_timeout(&self) -> Duration {
        Duration::from_millis(self.query_timeout_ms.get())
    }
}

const fn nonzero32(value: u32) -> NonZeroU32 {
    match NonZeroU32::new(value) {
        Some(value) => value,
        None => NonZeroU32::MIN,
    }
}

const fn nonzero64(value: u64) -> NonZeroU64 {
    match NonZeroU64::new(value) {
        Some(value) => value,
        None => NonZeroU64::MIN,
    }
}
