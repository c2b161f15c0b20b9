//! The planner of a PostgreSQL, asked about indexes that do not exist: hypothetical ones, by the extension HypoPG.
//!
//! The hand `index_advice` and `homeostat query advise --postgres` are both this. What a plan tells is pure and stands in
//! [`homeostat_actors::query::plan`]; here is the connection, and the search for the few indexes that pay.
//!
//! | module | what |
//! |---|---|
//! | [`config`] | the table `[planner]` |
//! | [`error`] | what can go wrong, without addresses and passwords |
//! | [`catalogue`] | what the database says of its tables and indexes |
//! | `search` | which of the candidates are worth it |
//!
//! Promises
//! - P-1 Nothing is changed: the session is read-only, nothing is executed but `EXPLAIN` without `ANALYZE`, and hypothetical indexes live in
//!   this session alone and are reset after every statement.
//! - P-2 Every statement ends: the server stops it after `statement_timeout_ms` and does not wait for locks beyond
//!   `lock_timeout_ms`; the whole question has the caller's deadline.
//! - P-3 No literal is sent: what is planned is the normal form, with parameters.
//! - P-4 At most [`CANDIDATES_MAX`] hypothetical indexes exist at a time.
//! - P-5 An index is advised only if the planner would use it and expects at most [`COST_RATIO_MAX`] of the cost with it.

pub mod catalogue;
pub mod config;
pub mod error;
mod search;

pub use config::PlannerConfig;
pub use error::PlannerError;
pub use homeostat_actors::query::plan::CANDIDATES_MAX;
pub use search::COST_RATIO_MAX;

use homeostat_actors::query::index::IndexCandidate;
use homeostat_actors::query::plan::{self, PlanCandidate, Statement};
use serde::Serialize;
use serde_json::Value;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};
use std::str::FromStr as _;
use std::time::Duration;

/// A statement whose parameters have no type is tried again with text for them, so often.
const UNTYPED_MAX: usize = 8;
/// The prepared statement of this session.
const PREPARED: &str = "homeostat_plan";

/// An index that the planner would use.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedIndex {
    /// The table, without quotes; with its schema where the search path does not find it.
    pub table: String,
    /// The columns in order, without quotes.
    pub columns: Vec<String>,
    /// The kind of index.
    pub using: String,
    /// Planned cost of the statement with all advised indexes over planned cost without.
    pub cost_ratio: f64,
    /// Planned cost without, in the planner's units.
    pub cost_before: f64,
    /// Planned cost with all advised indexes.
    pub cost_after: f64,
    /// Is it an index of a partitioned table? Those cannot be created concurrently.
    pub partitioned: bool,
}

impl PlannedIndex {
    /// As candidates are written.
    #[must_use]
    pub fn candidate(&self) -> IndexCandidate {
        IndexCandidate { table: self.table.clone(), columns: self.columns.clone(), using: self.using.clone() }
    }
}

/// A connection to a database whose planner can be asked.
pub struct Planner {
    connection: PgConnection,
    /// Where HypoPG was installed, quoted.
    hypopg: String,
}

impl Planner {
    /// Connects, and makes the session one that changes nothing.
    ///
    /// # Errors
    /// The address is none, nobody answers, or HypoPG is not there.
    pub async fn connect(config: &PlannerConfig) -> Result<Planner, PlannerError> {
        let url = config.url.as_deref().ok_or(PlannerError::NotConfigured)?;
        // The parser's word is not passed on: it may quote the password.
        let options = PgConnectOptions::from_str(url).map_err(|_| PlannerError::Address)?;
        let mut options = options.application_name("homeostat planner").disable_statement_logging();
        if let Some(path) = &config.password_file {
            options = options.password(&crate::config::nats::secret(path).map_err(|why| PlannerError::Password(why.to_string()))?);
        }
        let connecting = tokio::time::timeout(Duration::from_millis(config.connect_timeout_ms.get()), PgConnection::connect_with(&options));
        let mut connection = connecting.await.map_err(|_| PlannerError::Late)?.map_err(PlannerError::away)?;
        for (name, value) in [
            ("default_transaction_read_only", "on".to_owned()),
            ("statement_timeout", config.statement_timeout_ms.to_string()),
            ("lock_timeout", config.lock_timeout_ms.to_string()),
            ("idle_in_transaction_session_timeout", "10000".to_owned()),
            ("plan_cache_mode", "force_generic_plan".to_owned()),
        ] {
            let set = sqlx::query("SELECT set_config($1, $2, false)").persistent(false).bind(name).bind(value);
            set.execute(&mut connection).await.map_err(PlannerError::away)?;
        }
        let place = sqlx::query_scalar::<_, String>(
            "SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'hypopg'",
        );
        let hypopg = place.persistent(false).fetch_optional(&mut connection).await.map_err(PlannerError::away)?;
        Ok(Planner { connection, hypopg: hypopg.ok_or(PlannerError::NoHypopg)? })
    }

    /// The indexes that would make a statement cheaper. `normal` is its normal form; `rows` stands for the placeholder of a
    /// `LIMIT`; `offered` are candidates of the text, beside those that the plan itself suggests.
    ///
    /// # Errors
    /// The statement cannot be planned here, the connection is lost, or a time-out passed.
    pub async fn advise(&mut self, normal: &str, rows: u64, offered: &[IndexCandidate]) -> Result<Vec<PlannedIndex>, PlannerError> {
        let statement = plan::statement(normal, rows).ok_or(PlannerError::NoStatement)?;
        let found = search::search(self, &statement, offered).await;
        // Also after a failure: the next statement begins without hypothetical indexes.
        let reset = self.reset().await;
        let found = found?;
        reset.map(|()| found)
    }

    /// Closes the connection.
    pub async fn close(self) {
        let _ = tokio::time::timeout(Duration::from_secs(1), self.connection.close()).await;
    }

    /// Forgets all hypothetical indexes.
    async fn reset(&mut self) -> Result<(), PlannerError> {
        let text = format!("SELECT {}.hypopg_reset()", self.hypopg);
        sqlx::query(AssertSqlSafe(text)).persistent(false).execute(&mut self.connection).await.map(drop).map_err(PlannerError::refused)
    }

    /// Makes these hypothetical indexes and no others; their names, in order. One that cannot be made has none.
    async fn pretend(&mut self, indexes: &[&PlanCandidate]) -> Result<Vec<Option<String>>, PlannerError> {
        self.reset().await?;
        let text = format!("SELECT indexname::text FROM {}.hypopg_create_index($1)", self.hypopg);
        let mut names = Vec::new();
        for index in indexes.iter().take(CANDIDATES_MAX) {
            let columns: Vec<String> = index.columns.iter().map(|column| catalogue::quoted(column)).collect();
            let create = format!(
                "CREATE INDEX ON {}.{} ({})",
                catalogue::quoted(&index.schema),
                catalogue::quoted(&index.table),
                columns.join(", ")
            );
            let made = sqlx::query_scalar::<_, String>(AssertSqlSafe(text.as_str())).persistent(false).bind(create);
            match made.fetch_optional(&mut self.connection).await.map_err(PlannerError::refused) {
                Ok(name) => names.push(name),
                // A type without an order, a column that is none: this candidate is none.
                Err(PlannerError::Refused { .. }) => names.push(None),
                Err(error) => return Err(error),
            }
        }
        Ok(names)
    }

    /// The generic plan of a statement with the hypothetical indexes that there are: the root of it.
    async fn plan(&mut self, statement: &Statement, types: &mut Vec<&'static str>) -> Result<Value, PlannerError> {
        types.resize(statement.parameters, "unknown");
        for _ in 0..=UNTYPED_MAX {
            match self.prepare(statement, types).await {
                Ok(()) => break,
                // 42P18, indeterminate_datatype: nothing says what the parameter is.
                Err(PlannerError::Refused { code, message }) if code == "42P18" => {
                    let number = message.rsplit('$').next().and_then(|rest| rest.trim().parse::<usize>().ok());
                    match number.and_then(|number| types.get_mut(number.wrapping_sub(1))) {
                        Some(known) if *known == "unknown" => *known = "text",
                        _ => return Err(PlannerError::Refused { code, message }),
                    }
                }
                Err(error) => return Err(error),
            }
        }
        let nulls = if statement.parameters == 0 { String::new() } else { format!("({})", vec!["NULL"; statement.parameters].join(", ")) };
        let text = format!("EXPLAIN (VERBOSE, FORMAT JSON) EXECUTE {PREPARED}{nulls}");
        let explained =
            sqlx::query(AssertSqlSafe(text)).persistent(false).fetch_one(&mut self.connection).await.map_err(PlannerError::refused);
        // Its plan was made with the hypothetical indexes of this moment, and is kept by the session.
        self.execute(format!("DEALLOCATE {PREPARED}")).await?;
        let row = explained?;
        let value = row.try_get_raw(0).map_err(PlannerError::refused)?;
        let text = value.as_str().map_err(|_| PlannerError::Unreadable)?;
        let explained: Value = serde_json::from_str(text).map_err(|_| PlannerError::Unreadable)?;
        plan::root(&explained).cloned().ok_or(PlannerError::Unreadable)
    }

    async fn prepare(&mut self, statement: &Statement, types: &[&str]) -> Result<(), PlannerError> {
        let types = if types.is_empty() { String::new() } else { format!("({})", types.join(", ")) };
        // The extended protocol takes one statement, so the text cannot bring another one with it.
        self.execute(format!("PREPARE {PREPARED}{types} AS {}", statement.text)).await
    }

    async fn execute(&mut self, text: String) -> Result<(), PlannerError> {
        sqlx::query(AssertSqlSafe(text)).persistent(false).execute(&mut self.connection).await.map(drop).map_err(PlannerError::refused)
    }
}
