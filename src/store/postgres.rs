//! PostgreSQL, by its address.

use super::StoreError;
use crate::config::DatabaseConfig;
use sqlx::ConnectOptions as _;
use sqlx::PgPool;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use std::str::FromStr as _;

/// The tables, in the order in which they came to be.
pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("src/migrations/postgres");

/// A pool that connects when it is needed.
pub(super) fn pool(config: &DatabaseConfig, url: &str) -> Result<PgPool, StoreError> {
    // The parser's word is not passed on: it may quote the password.
    let wrong = |_| StoreError::Config { setting: "database.url", why: "write postgres://user@host/name".to_owned() };
    let mut options = PgConnectOptions::from_str(url).map_err(wrong)?.application_name("homeostat").disable_statement_logging();
    if let Some(path) = &config.password_file {
        let password = crate::config::nats::secret(path);
        options =
            options.password(&password.map_err(|error| StoreError::Config { setting: "database.password_file", why: error.to_string() })?);
    }
    // The server gives up when we do, so that an abandoned statement does not hold its locks.
    options = options.options([("statement_timeout", config.query_timeout_ms.to_string())]);
    Ok(PgPoolOptions::new()
        .max_connections(config.pool_max.get())
        .acquire_timeout(config.acquire_timeout())
        .idle_timeout(config.idle_timeout())
        .max_lifetime(config.lifetime())
        .connect_lazy_with(options))
}
