//! History in SQL: a projection of the log, for questions that reach further back than a mind remembers.
//!
//! SQLite in the data directory by default, PostgreSQL by address; the same statements run on both. Nothing is decided here and
//! nothing here is the truth: losing the database loses what the archive of the log no longer holds, and nothing else.
//!
//! API keys are the exception: they live in the same database, are no projection of anything, and are lost with it. Their statements are
//! in [`crate::keys::records`].
//!
//! | module | what |
//! |---|---|
//! | [`project`](Store::project) | the log into rows, once |
//! | [`history`] | alerts, commands and outcomes, read |
//! | [`statistics`](Store::save_queries) | the query mind's last picture |
//! | [`decisions`] | what recovery decided and held back, and why |
//! | [`retention`](Store::retain) | what is old goes, in steps |
//! | [`error`] | what can go wrong, and what to do then |
//!
//! Promises
//! - DB-1 Every call ends within its deadline; a database that is away is an error of that call and never ends the process.
//! - DB-2 A batch is projected whole with its position or not at all, and a second time changes nothing.
//! - DB-3 At most `pool_max` connections; what is idle or old is closed.
//! - DB-4 A database that was away, emptied or replaced is taken up again by itself, its tables made anew where they are missing.
//!   For keys that means that there are none: nobody gets in, and [`crate::keys::Keys::watch`] says so loudly.

pub mod decisions;
pub mod error;
pub mod history;
mod postgres;
mod project;
pub mod retention;
mod sqlite;
mod statistics;

pub use decisions::{DecisionFilter, DecisionRecord};
pub use error::StoreError;
pub use history::{AlertFilter, AlertRecord, CommandFilter, CommandRecord, IncidentRecord, OutcomeRecord, VerdictRecord};
pub use sqlite::FILE as SQLITE_FILE;

use crate::config::DatabaseConfig;
use sqlx::{PgPool, SqlitePool};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as Cell};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How long making or changing the tables may take: longer than any piece of work, since an old database may be large.
const MIGRATION_DEADLINE: Duration = Duration::from_secs(120);
/// Rows that one statement inserts: fewer trips than one a row, and little memory while it is prepared. It is not kept prepared
/// (`persistent(false)`): there are as many texts as lengths of a last chunk, and a connection would keep a hundred of them.
const CHUNK: usize = 50;

/// The store. Clones share it.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) pool: Pool,
    config: DatabaseConfig,
    place: String,
    /// Are the tables there, as far as anyone knows?
    ready: AtomicBool,
    migrating: Mutex<()>,
    /// Positions as last written, so that a quiet log is not written down message by message.
    written: Cell<BTreeMap<(String, u16), (u64, u64)>>,
}

pub(crate) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// Runs the same work on whichever database it is.
macro_rules! on_pool {
    ($store:expr, $pool:ident => $work:expr) => {
        match &$store.inner.pool {
            $crate::store::Pool::Sqlite($pool) => $work,
            $crate::store::Pool::Postgres($pool) => $work,
        }
    };
}
pub(crate) use on_pool;

/// How many connections there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct PoolState {
    /// Open connections.
    pub open: u32,
    /// Those that nobody uses.
    pub idle: u32,
    /// How many there may be.
    pub max: u32,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("place", &self.inner.place).field("pool", &self.pool()).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store. A database that does not answer now is connected to later, by whoever needs it first.
    ///
    /// # Errors
    /// [`StoreError::Config`] when the settings can never work.
    pub async fn connect(config: &DatabaseConfig, data_dir: &Path) -> Result<Store, StoreError> {
        let (pool, place) = match config.url.as_deref() {
            Some(url) if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
                (Pool::Postgres(postgres::pool(config, url)?), crate::config::show::without_password(url))
            }
            url => {
                let (pool, path) = sqlite::pool(config, url, data_dir)?;
                (Pool::Sqlite(pool), path)
            }
        };
        let inner = Inner {
            pool,
            config: config.clone(),
            place,
            ready: AtomicBool::new(false),
            migrating: Mutex::new(()),
            written: Cell::default(),
        };
        let store = Store { inner: Arc::new(inner) };
        match store.prepare().await {
            Ok(()) => {}
            Err(error @ StoreError::Schema { .. }) => return Err(error),
            Err(error) => tracing::warn!(%error, place = %store.inner.place, "the database is away; going on without it"),
        }
        Ok(store)
    }

    /// Where the database is, without its password.
    #[must_use]
    pub fn public_url(&self) -> String {
        self.inner.place.clone()
    }

    /// The settings it was opened with.
    #[must_use]
    pub fn config(&self) -> &DatabaseConfig {
        &self.inner.config
    }

    /// Is it SQLite?
    pub(crate) fn is_sqlite(&self) -> bool {
        matches!(self.inner.pool, Pool::Sqlite(_))
    }

    /// Its connections now.
    #[must_use]
    pub fn pool(&self) -> PoolState {
        let (open, idle) = on_pool!(self, pool => (pool.size(), pool.num_idle()));
        PoolState { open, idle: u32::try_from(idle).unwrap_or(u32::MAX), max: self.inner.config.pool_max.get() }
    }

    /// Asks the database for an answer, the wait for a connection included; how long it took.
    ///
    /// # Errors
    /// Why there was none within `query_timeout_ms`.
    pub async fn ping(&self) -> Result<Duration, StoreError> {
        let started = Instant::now();
        let deadline = self.inner.config.query_timeout();
        let answer = on_pool!(self, pool => bounded(deadline, sqlx::query("SELECT 1").execute(pool)).await.map(drop));
        answer.map_err(|error| self.explain("ping", error))?;
        Ok(started.elapsed())
    }

    /// Closes all connections; those in use may finish what they do, but not for ever.
    pub async fn close(&self) {
        let deadline = self.inner.config.query_timeout();
        let closed = on_pool!(self, pool => tokio::time::timeout(deadline, pool.close()).await);
        if closed.is_err() {
            tracing::warn!("connections to the database were still in use when it was closed");
        }
    }

    /// Makes the tables, or brings them up to date, if that has not been done.
    async fn prepare(&self) -> Result<(), StoreError> {
        if self.inner.ready.load(Ordering::Acquire) {
            return Ok(());
        }
        // The lock is held across the migration on purpose: everyone else waits for the tables anyway.
        let _one = bounded_lock(self.inner.config.query_timeout(), &self.inner.migrating).await.map_err(|e| self.explain("migrate", e))?;
        if self.inner.ready.load(Ordering::Acquire) {
            return Ok(());
        }
        self.ping().await?;
        let migrated = match &self.inner.pool {
            Pool::Sqlite(pool) => tokio::time::timeout(MIGRATION_DEADLINE, sqlite::MIGRATIONS.run(pool)).await,
            Pool::Postgres(pool) => tokio::time::timeout(MIGRATION_DEADLINE, postgres::MIGRATIONS.run(pool)).await,
        };
        match migrated {
            Ok(Ok(())) => self.inner.ready.store(true, Ordering::Release),
            Ok(Err(sqlx::migrate::MigrateError::Execute(error))) => return Err(self.explain("migrate", Failure::Sql(error))),
            Ok(Err(source)) => return Err(StoreError::Schema { place: self.inner.place.clone(), source }),
            Err(_) => return Err(self.explain("migrate", Failure::Late(MIGRATION_DEADLINE))),
        }
        Ok(())
    }

    /// Runs one piece of work on prepared tables within the deadline.
    pub(crate) async fn work<T>(&self, what: &'static str, work: impl Future<Output = Result<T, Failure>>) -> Result<T, StoreError> {
        self.prepare().await?;
        let deadline = self.inner.config.query_timeout();
        let done = tokio::time::timeout(deadline, work).await.unwrap_or(Err(Failure::Late(deadline)));
        done.map_err(|failure| self.explain(what, failure))
    }

    fn explain(&self, what: &'static str, failure: Failure) -> StoreError {
        let place = self.inner.place.clone();
        match failure {
            Failure::Late(after) => StoreError::Late { what, place, after },
            Failure::Corrupt(row, why) => StoreError::Corrupt { row, why },
            Failure::Sql(sqlx::Error::PoolTimedOut) => {
                let PoolState { open, max, .. } = self.pool();
                StoreError::NoConnection { what, place, busy: open >= max, max }
            }
            Failure::Sql(source) => {
                if error::tables_are_missing(&source) {
                    self.inner.ready.store(false, Ordering::Release);
                    self.written().clear();
                }
                StoreError::Database { what, place, source }
            }
        }
    }

    fn written(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, u16), (u64, u64)>> {
        self.inner.written.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// How a transaction that will write begins: SQLite takes the write lock at once, or two readers that both want to write
    /// would refuse each other.
    pub(crate) fn begin(&self) -> &'static str {
        match &self.inner.pool {
            Pool::Sqlite(_) => "BEGIN IMMEDIATE",
            Pool::Postgres(_) => "BEGIN",
        }
    }
}

/// Why a piece of work failed, before it is known where.
pub(crate) enum Failure {
    Sql(sqlx::Error),
    Late(Duration),
    Corrupt(String, String),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Failure::Sql(error)
    }
}

async fn bounded<T>(deadline: Duration, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Failure> {
    tokio::time::timeout(deadline, work).await.map_or(Err(Failure::Late(deadline)), |done| done.map_err(Failure::Sql))
}

async fn bounded_lock(deadline: Duration, lock: &Mutex<()>) -> Result<tokio::sync::MutexGuard<'_, ()>, Failure> {
    tokio::time::timeout(deadline, lock.lock()).await.map_err(|_| Failure::Late(deadline))
}

/// Rust's numbers as SQL's, which have a sign. Positions and times stay far below the edge.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A text as a column may hold it: PostgreSQL refuses NUL in text. The body, which is JSON, keeps the whole truth.
pub(crate) fn column(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
