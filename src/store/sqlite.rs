//! SQLite: one file in the data directory.

use super::StoreError;
use crate::config::DatabaseConfig;
use sqlx::ConnectOptions as _;
use sqlx::SqlitePool;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use std::path::{Path, PathBuf};

/// The tables, in the order in which they came to be.
pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("src/migrations/sqlite");

/// The file in the data directory.
pub const FILE: &str = "homeostat.db";

/// A pool that connects when it is needed, and where the file is.
pub(super) fn pool(config: &DatabaseConfig, url: Option<&str>, data_dir: &Path) -> Result<(SqlitePool, String), StoreError> {
    let path = match url {
        None => data_dir.join(FILE),
        Some(url) => {
            let rest = url
                .strip_prefix("sqlite://")
                .or_else(|| url.strip_prefix("sqlite:"))
                .filter(|rest| !rest.is_empty() && !rest.contains(":memory:"));
            let why = "write postgres://user@host/name or sqlite:path";
            PathBuf::from(rest.ok_or_else(|| StoreError::Config { setting: "database.url", why: why.to_owned() })?)
        }
    };
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        let mut builder = std::fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.recursive(true).create(dir).map_err(|source| StoreError::DataDir { dir: dir.to_owned(), source })?;
    }
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // A power cut may undo the last transactions, never break the file; what is undone is projected again.
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(config.acquire_timeout())
        // Half a MiB of pages a connection: the operating system keeps the file in memory once, not once a connection.
        .pragma("cache_size", "-512")
        .disable_statement_logging();
    let pool = SqlitePoolOptions::new()
        .max_connections(config.pool_max.get())
        .acquire_timeout(config.acquire_timeout())
        .idle_timeout(config.idle_timeout())
        .max_lifetime(config.lifetime())
        .connect_lazy_with(options);
    Ok((pool, path.display().to_string()))
}
