//! Every command and flag: from here come help, man page and completions.

mod audit;

pub use audit::{AuditArgs, AuditCommand};

mod bench;

pub use bench::BenchArgs;

mod drift;
mod keys;

pub use drift::{DriftArgs, DriftCommand};
pub use keys::{End, KeysArgs, KeysCommand, NewKeyArgs};

mod nats;

pub use nats::{ConsumerArgs, NatsArgs, NatsCommand, Reads, RenderArgs};

mod recovery;
mod sealed;

pub use sealed::{OpenArgs, XkeyArgs};

pub use recovery::{Named, RecoveryArgs, RecoveryCommand};

use crate::config::sources::Flag;
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use homeostat_reflexes::{breaker, sql::Dialect};
use homeostat_schemas::UnixMs;
use std::path::PathBuf;

mod silence;

pub use silence::{AcknowledgeArgs, CreateSilence, SilenceArgs, SilenceCommand};

mod simulate;

pub use simulate::{BreakerFault, SimulateArgs, SimulateBreaker, SimulateCommand};

/// Keeps services healthy: telemetry in, alerts and recovery commands out, on NATS.
#[derive(Debug, Parser)]
#[command(name = "homeostat", version, propagate_version = true, max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Settings")]
pub struct Global {
    /// Settings file [default: homeostat.toml in the working directory, when it is there]
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// One setting, such as actors.query.slow_ms=50; may be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = set)]
    pub set: Vec<Flag>,
    /// The bus [default: nats.url, else the server that `homeostat up` runs in the data directory]
    #[arg(long, global = true, value_name = "URL")]
    pub nats: Option<String>,
    /// The database [default: database.url, else SQLite in the data directory]
    #[arg(long, global = true, value_name = "URL")]
    pub database: Option<String>,
    /// The data directory [default: homeostat-data]
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub data_dir: Option<String>,
    /// Answer as JSON, or as one JSON object a line
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the system: embedded nats-server and SQLite unless --nats and --database name others
    Up(UpArgs),
    /// Put events from a file onto the bus
    Publish(PublishArgs),
    /// Follow the bus
    Tail(TailArgs),
    /// Write the log, or a part of it, into a file that replays exactly
    Record(RecordArgs),
    /// Run the minds over recorded events: prints the alerts and commands that follow
    Replay(ReplayArgs),
    /// Tell all about one alert: evidence, cause, commands, outcome
    Explain(ExplainArgs),
    /// Say whether alerts and commands on the log are what Homeostat signed
    Verify(VerifyArgs),
    /// Look at SQL statements
    Query(QueryArgs),
    /// Look at health rules
    Health(HealthArgs),
    /// Say how a series goes on, with an interval
    Forecast(ForecastArgs),
    /// Say which values of a series are unusual, and where something was wrong
    Anomalies(AnomaliesArgs),
    /// Look at circuit breakers
    Breaker(BreakerArgs),
    /// Try Homeostat out in a simulated world
    Simulate(SimulateArgs),
    /// Compare samples, give models baselines
    Drift(DriftArgs),
    /// See what is done about what is wrong, and have a word in it
    Recovery(RecoveryArgs),
    /// See who changed what, and whether anybody tampered with the record of it
    Audit(AuditArgs),
    /// Create, rotate and take back API keys
    Keys(KeysArgs),
    /// Tell nobody of some alerts for a while, or in maintenance windows that come again
    Silence(SilenceArgs),
    /// Say that somebody looks after an incident: nobody is reminded of it
    Acknowledge(AcknowledgeArgs),
    /// Say whether memory leaks: a series of a process, judged as the leak actor would have
    Leak(LeakArgs),
    /// Look at heap profiles
    Heap(HeapArgs),
    /// Prepare a nats-server of your own
    Nats(NatsArgs),
    /// Put load on the bus, and say how the system bears it
    Bench(BenchArgs),
    /// Print what other tools read: JSON Schemas, the AsyncAPI document
    Export(ExportArgs),
    /// Look at the settings
    Config(ConfigArgs),
    /// See whether everything that Homeostat needs is there and well
    Doctor,
    /// Ask a running gateway whether it is ready: exit code 0 or 1
    Healthcheck(HealthcheckArgs),
    /// Print completions for a shell
    Completions(CompletionsArgs),
    /// Print the man page
    #[command(hide = true)]
    Man,
}

/// `up`
#[derive(Debug, Clone, Args)]
pub struct UpArgs {
    /// Where the gateway listens [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
}

/// `publish`
#[derive(Debug, Clone, Args)]
pub struct PublishArgs {
    /// One JSON event a line; `-` is standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// At most so many events a second
    #[arg(long, value_name = "EVENTS", value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: Option<u64>,
    /// Wait so many seconds for a bus that is not there yet
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "30", require_equals = true)]
    pub wait: Option<u64>,
    /// W3C trace context that the events belong to
    #[arg(long, value_name = "TRACEPARENT")]
    pub traceparent: Option<String>,
}

/// What of the bus is followed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Topic {
    /// Findings that began or ended
    #[default]
    Alerts,
    /// Commands and what became of them
    Commands,
    /// Telemetry
    Events,
    /// All of these
    All,
}

/// `tail`
#[derive(Debug, Clone, Args)]
pub struct TailArgs {
    /// What to follow
    #[arg(value_enum, default_value_t)]
    pub topic: Topic,
    /// Of this service only
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// From then on: a time, or how long ago (15m, 2h)
    #[arg(long, value_name = "TIME", value_parser = when)]
    pub since: Option<UnixMs>,
    /// Stop after so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// With --json: say in a field `signature` whether an alert or command is good, unsigned, untrusted, malformed or forged
    #[arg(long)]
    pub signatures: bool,
}

/// `record`
#[derive(Debug, Clone, Args)]
pub struct RecordArgs {
    /// Where to [default: standard output]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub out: Option<PathBuf>,
    /// From then on: a time, or how long ago (15m, 2h)
    #[arg(long, value_name = "TIME", value_parser = when)]
    pub since: Option<UnixMs>,
    /// Until then
    #[arg(long, value_name = "TIME", value_parser = when)]
    pub until: Option<UnixMs>,
    /// Only what matches this subject below the root (wildcards allowed); such a part does not replay exactly
    #[arg(long, value_name = "FILTER")]
    pub subject: Option<String>,
}

/// `replay`
#[derive(Debug, Clone, Args)]
#[command(override_usage = "homeostat replay [OPTIONS] FILE\n       homeostat replay [OPTIONS] --stream")]
pub struct ReplayArgs {
    /// A recording, or one JSON event a line; `-` is standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath, required_unless_present = "stream", conflicts_with = "stream")]
    pub file: Option<PathBuf>,
    /// Replay the log on the bus instead of a file
    #[arg(long)]
    pub stream: bool,
    /// From then on: a time, or how long ago (15m, 2h)
    #[arg(long, value_name = "TIME", value_parser = when)]
    pub since: Option<UnixMs>,
    /// Until then
    #[arg(long, value_name = "TIME", value_parser = when)]
    pub until: Option<UnixMs>,
    /// Compare with what was published: exit code 1 unless it is byte for byte the same
    #[arg(long, conflicts_with = "against")]
    pub verify: bool,
    /// Print what the settings of this file would have said otherwise than those of --config
    #[arg(long, value_name = "OLD", value_hint = ValueHint::FilePath)]
    pub against: Option<PathBuf>,
    /// Exit code 3 when there is anything to print
    #[arg(long)]
    pub check: bool,
}

/// `verify`
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// Only the alerts and commands with these ids
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// From then on: a time, or how long ago (15m, 2h)
    #[arg(long, value_name = "TIME", value_parser = when)]
    pub since: Option<UnixMs>,
    /// Exit with 3 when one is not good
    #[arg(long)]
    pub check: bool,
}

/// `explain`
#[derive(Debug, Clone, Args)]
pub struct ExplainArgs {
    /// The id of an alert or of an incident
    pub id: String,
}

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

/// `health`
#[derive(Debug, Clone, Args)]
pub struct HealthArgs {
    /// What to do
    #[command(subcommand)]
    pub command: HealthCommand,
}

/// `health …`
#[derive(Debug, Clone, Subcommand)]
pub enum HealthCommand {
    /// Cases through the rules: one line a case, {id, result}
    Replay {
        /// The cases, as JSON; `-` is standard input
        #[arg(value_name = "CASES", value_hint = ValueHint::FilePath)]
        cases: PathBuf,
        /// Exit code 3 when a result is not what its case expects
        #[arg(long)]
        check: bool,
    },
}

/// `forecast`
#[derive(Debug, Clone, Args)]
pub struct ForecastArgs {
    /// CSV with `at` or `timestamp` and `value`, or one value a line; `-` is standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Steps ahead
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=homeostat_actors::forecast::HORIZON_MAX as u64))]
    pub horizon: u64,
    /// Share of future values that the interval is to cover
    #[arg(long, value_name = "SHARE", default_value_t = 0.95, value_parser = share)]
    pub level: f64,
    /// Lengths of the seasons in steps, such as 24,168 [default: found in the series]
    #[arg(long, value_name = "STEPS", value_delimiter = ',')]
    pub season: Vec<usize>,
}

/// `breaker`
#[derive(Debug, Clone, Args)]
pub struct BreakerArgs {
    /// What to do
    #[command(subcommand)]
    pub command: BreakerCommand,
}

/// `breaker …`
#[derive(Debug, Clone, Subcommand)]
pub enum BreakerCommand {
    /// Scripted calls through a local breaker: one line a case, {id, trace: [[t_ms, kind, value], …]}
    Replay {
        /// The cases, as JSON; `-` is standard input
        #[arg(value_name = "CASES", value_hint = ValueHint::FilePath)]
        cases: PathBuf,
        /// Whose breaker it is: homeostat, opossum, resilience4j
        #[arg(long, default_value_t, value_parser = breaker_dialect)]
        dialect: breaker::Dialect,
        /// Exit code 3 when a trace is not what its case expects of this dialect
        #[arg(long)]
        check: bool,
    },
}

/// `anomalies`
#[derive(Debug, Clone, Args)]
pub struct AnomaliesArgs {
    /// CSV with `at` or `timestamp` and `value`, or one value a line; `-` is standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Lengths of the seasons in steps, such as 24,168 [default: found in the series]
    #[arg(long, value_name = "STEPS", value_delimiter = ',')]
    pub season: Vec<usize>,
    /// Exit code 3 when there is an alarm
    #[arg(long)]
    pub check: bool,
}

/// `leak`
#[derive(Debug, Clone, Args)]
pub struct LeakArgs {
    /// CSV with the columns at_ms,memory_bytes[,memory_limit_bytes,load_rps,started_ms], or resource events, one a line; `-` is
    /// standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Exit code 3 when a leak is confirmed
    #[arg(long)]
    pub check: bool,
}

/// `heap`
#[derive(Debug, Clone, Args)]
pub struct HeapArgs {
    /// What to do
    #[command(subcommand)]
    pub command: HeapCommand,
}

/// `heap …`
#[derive(Debug, Clone, Subcommand)]
pub enum HeapCommand {
    /// What grew from one heap profile to the next: V8 .heapsnapshot by type, pprof by function, jemalloc by call stack; also gzipped
    Diff {
        /// The earlier profile; `-` is standard input
        #[arg(value_name = "A", value_hint = ValueHint::FilePath)]
        before: PathBuf,
        /// The later one
        #[arg(value_name = "B", value_hint = ValueHint::FilePath)]
        after: PathBuf,
        /// So many rows, those that grew most; 0 is all
        #[arg(long, value_name = "N", default_value_t = 20)]
        top: u64,
    },
}

/// `export`
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// What to print
    #[arg(value_enum)]
    pub what: ExportWhat,
    /// Write into this directory [default: print]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,
    /// Compare with the files in --out (default: where they stand in the repository) instead: exit code 1 when they differ
    #[arg(long)]
    pub check: bool,
    /// Where the pages that alert rules link to are found
    #[arg(long, value_name = "URL", default_value = crate::export::alert_rules::RUNBOOKS)]
    pub runbooks: String,
}

/// What is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportWhat {
    /// One JSON Schema a word
    Schemas,
    /// The AsyncAPI 3 document
    Asyncapi,
    /// Alert rules for Prometheus
    AlertRules,
    /// Dashboards for Grafana
    Dashboards,
    /// The page about the metrics of `/metrics`
    Metrics,
}

/// `config`
#[derive(Debug, Clone, Args)]
pub struct ConfigArgs {
    /// What to do
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// `config …`
#[derive(Debug, Clone, Subcommand)]
pub enum ConfigCommand {
    /// The settings in force, as a settings file
    Show,
    /// What settings mean, what they are, and who said so
    Explain {
        /// A setting or a table [default: all]
        key: Option<String>,
    },
    /// Change settings of actors while the system runs: they are in force from the next message on
    Set {
        /// Such as actors.query.mode=observe or actors.query.rules.slow=off
        #[arg(required = true, value_name = "KEY=VALUE", value_parser = assignment)]
        settings: Vec<Flag>,
    },
    /// Say everything that is wrong with a settings file
    Check {
        /// The file
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
}

/// `healthcheck`
#[derive(Debug, Clone, Args)]
pub struct HealthcheckArgs {
    /// What to ask [default: /readyz of the gateway that the settings name]
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub url: Option<String>,
    /// How long to wait for the answer, milliseconds
    #[arg(long, value_name = "MS", default_value_t = 3_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout_ms: u64,
}

/// `completions`
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

fn set(text: &str) -> Result<Flag, String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE, such as actors.query.slow_ms=50")?;
    Ok(Flag { name: "--set".to_owned(), key: key.trim().to_owned(), value: value.to_owned() })
}

fn assignment(text: &str) -> Result<Flag, String> {
    set(text).map(|flag| Flag { name: "config set".to_owned(), ..flag })
}

fn share(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|share| *share > 0.0 && *share < 1.0).ok_or_else(|| "a number between 0 and 1, such as 0.95".to_owned())
}

fn dialect(text: &str) -> Result<Dialect, String> {
    text.parse().map_err(|error: homeostat_reflexes::sql::UnknownDialect| error.to_string())
}

fn breaker_dialect(text: &str) -> Result<breaker::Dialect, String> {
    text.parse().map_err(|error: breaker::words::UnknownDialect| error.to_string())
}

/// A time as [`homeostat_schemas::time::parse`] reads it, or how long ago: `90s`, `15m`, `2h`, `7d`.
fn when(text: &str) -> Result<UnixMs, String> {
    let ago = || {
        let unit: u64 = match text.chars().last()? {
            's' => 1_000,
            'm' => 60_000,
            'h' => 3_600_000,
            'd' => homeostat_schemas::time::DAY,
            _ => return None,
        };
        let count: u64 = text.get(..text.len() - 1)?.parse().ok()?;
        Some(crate::clock::now_ms().saturating_sub(count.checked_mul(unit)?))
    };
    ago().map_or_else(|| homeostat_schemas::time::parse(text).map_err(|error| format!("{error}; or how long ago, as in 15m")), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_one_clap_accepts() {
        Cli::command().debug_assert();
    }

    #[test]
    fn how_long_ago_is_a_time_too() {
        let ago = when("2h").map(|at| crate::clock::now_ms() - at).unwrap_or_default();
        assert!((7_200_000..7_260_000).contains(&ago), "{ago}");
        assert_eq!(when("2026-11-22T13:05:00Z"), Ok(1_795_352_700_000));
        for text in ["", "h", "-1h", "yesterday", "99999999999999999999d"] {
            assert!(when(text).is_err(), "{text}");
        }
    }
}
