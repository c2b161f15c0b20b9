//! The flags of `homeostat query`.

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use homeostat_reflexes::sql::{Dialect, UnknownDialect};
use std::path::PathBuf;

/// `query`
#[derive(Debug, Clone, Args)]
pub struct QueryArgs {
    /// What to do
    #[command(subcommand)]
    pub command: QueryCommand,
}

/// `query …`
#[derive(Debug, Clone, Subcommand)]
pub enum QueryCommand {
    /// Statements, one JSON string a line, into their normal form, fingerprint, family, summary and tables
    #[command(visible_alias = "normalize")]
    Normalise {
        /// Whose SQL it is: postgresql (pg), mysql, sqlite, generic
        #[arg(long, default_value_t, value_parser = dialect)]
        dialect: Dialect,
        /// Where the statements are; `-` is standard input
        #[arg(value_name = "FILE", default_value = "-", value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// {sql, dialect, stats}, one a line, into {advice: [{kind, reason, …}]}; indexes are verified if there is a database to ask
    Advise {
        /// A PostgreSQL with the extension hypopg, whose planner is asked about every index; what it would not use is not advised
        /// [default: planner.url; without it, indexes are not verified]
        #[arg(long, value_name = "URL", env = "HOMEOSTAT_POSTGRES", hide_env_values = true)]
        postgres: Option<String>,
        /// Where the lines are; `-` is standard input
        #[arg(value_name = "FILE", default_value = "-", value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Which statements took the time: from events, a PostgreSQL log or a MySQL slow log
    Digest(DigestArgs),
}

/// `query digest`
#[derive(Debug, Clone, Args)]
pub struct DigestArgs {
    /// Events (one JSON object a line), a recording, PostgreSQL's stderr, csvlog or jsonlog, or a MySQL slow log, also gzipped;
    /// `-` is standard input
    #[arg(value_name = "FILE", required = true, num_args = 1.., value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,
    /// What the files are [default: told by how they begin]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<DigestFormat>,
    /// Show so many statements; 0 is all
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// What comes first
    #[arg(long, value_enum, value_name = "KEY", default_value_t)]
    pub sort: DigestSort,
    /// Exit code 3 when there is a finding
    #[arg(long)]
    pub check: bool,
}

/// What a file for `query digest` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DigestFormat {
    /// Events, one a line, or a recording
    #[value(alias = "events")]
    Ndjson,
    /// PostgreSQL's log on standard error or of syslog
    #[value(aliases = ["postgresql", "postgres", "pg", "stderr"])]
    PostgresqlStderr,
    /// PostgreSQL's csvlog
    #[value(alias = "csvlog")]
    PostgresqlCsv,
    /// PostgreSQL's jsonlog
    #[value(alias = "jsonlog")]
    PostgresqlJson,
    /// The slow log of MySQL, MariaDB or Percona Server
    #[value(aliases = ["mysql", "mariadb", "slow"])]
    MysqlSlow,
}

/// By what the rows of `query digest` are sorted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum DigestSort {
    /// Time of all executions
    #[default]
    Total,
    /// Mean time
    Mean,
    /// The time that 95 % stay within
    P95,
    /// The time that 99 % stay within
    P99,
    /// The slowest execution
    Max,
    /// Executions
    Calls,
    /// Rows
    Rows,
    /// Failed executions
    Errors,
}

fn dialect(text: &str) -> Result<Dialect, String> {
    text.parse().map_err(|error: UnknownDialect| error.to_string())
}
