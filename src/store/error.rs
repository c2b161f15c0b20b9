//! What can go wrong with the database, and what to do then.

use std::path::PathBuf;
use std::time::Duration;

/// Why a piece of work on the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Settings that can never work.
    #[error("`{setting}` cannot be used: {why}")]
    Config {
        /// The setting.
        setting: &'static str,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// The data directory cannot be used.
    #[error("the data directory {} cannot be used: {source}; choose another with --data-dir", dir.display())]
    DataDir {
        /// Which.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The tables are not ours, or of a newer version.
    #[error("the tables in {place} cannot be used: {source}; use the version that made them, or another database")]
    Schema {
        /// Which database.
        place: String,
        /// Why.
        source: sqlx::migrate::MigrateError,
    },
    /// Nobody got a connection.
    #[error(
        "{what}: no connection to {place} within the deadline; {}",
        if *busy { format!("all {max} are in use: raise `database.pool_max`") } else { "see whether the database runs".to_owned() }
    )]
    NoConnection {
        /// What was tried.
        what: &'static str,
        /// Which database.
        place: String,
        /// Were all connections in use?
        busy: bool,
        /// How many there may be.
        max: u32,
    },
    /// It took too long.
    #[error("{what}: {place} did not answer within {} ms; see how loaded it is, or raise `database.query_timeout_ms`", after.as_millis())]
    Late {
        /// What was tried.
        what: &'static str,
        /// Which database.
        place: String,
        /// How long was waited.
        after: Duration,
    },
    /// The database said no.
    #[error("{what}: {place}: {source}")]
    Database {
        /// What was tried.
        what: &'static str,
        /// Which database.
        place: String,
        /// Its word.
        source: sqlx::Error,
    },
    /// A row nobody can read: somebody else wrote into our tables.
    #[error("{row} cannot be read: {why}; the store can be rebuilt from the log by deleting it")]
    Corrupt {
        /// Which row.
        row: String,
        /// Why.
        why: String,
    },
}

impl StoreError {
    /// Is it worth trying again without anyone doing anything?
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            StoreError::NoConnection { .. } | StoreError::Late { .. } | StoreError::Database { .. } => true,
            StoreError::Config { .. } | StoreError::DataDir { .. } | StoreError::Schema { .. } | StoreError::Corrupt { .. } => false,
        }
    }
}

/// The database was emptied or replaced under us.
pub(super) fn tables_are_missing(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    // 42P01 is PostgreSQL's undefined_table; SQLite has one code for every error in a statement.
    error.code().as_deref() == Some("42P01") || error.message().starts_with("no such table")
}
