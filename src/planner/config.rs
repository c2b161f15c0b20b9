//! The table `[planner]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU64;
use std::path::PathBuf;

/// The PostgreSQL whose planner is asked before an index is advised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PlannerConfig {
    /// `postgres://user@host/name` of the applications' database, or of a copy with the same schema and statistics. The user needs no
    /// right but to read the schema; the extension `hypopg` must be there. Without it, index advice says that it is unverified.
    pub url: Option<String>,
    /// A file whose first line is the password for the user of `url`.
    pub password_file: Option<PathBuf>,
    /// How long connecting may take, milliseconds.
    pub connect_timeout_ms: NonZeroU64,
    /// How long planning one statement may take, milliseconds.
    pub statement_timeout_ms: NonZeroU64,
    /// How long to wait for a lock, milliseconds: somebody who changes a table is not to be waited for.
    pub lock_timeout_ms: NonZeroU64,
}

impl Default for PlannerConfig {
    fn default() -> Self {
        let ms = |ms: u64| NonZeroU64::new(ms).unwrap_or(NonZeroU64::MIN);
        PlannerConfig {
            url: None,
            password_file: None,
            connect_timeout_ms: ms(2_000),
            statement_timeout_ms: ms(2_000),
            lock_timeout_ms: ms(200),
        }
    }
}
