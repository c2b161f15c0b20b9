//! Every command and flag: from here come help, man page and completions.

mod audit;
mod bench;
mod bus;
mod cases;
mod drift;
mod keys;
mod nats;
mod query;
mod recovery;
mod sealed;
mod series;
mod silence;
mod simulate;
mod status;

pub use audit::{AuditArgs, AuditCommand};
pub use bench::BenchArgs;
pub use bus::{ExplainArgs, PublishArgs, RecordArgs, ReplayArgs, TailArgs, Topic, VerifyArgs};
pub use cases::{BreakerArgs, BreakerCommand, HealthArgs, HealthCommand};
pub use drift::{DriftArgs, DriftCommand};
pub use keys::{End, KeysArgs, KeysCommand, NewKeyArgs};
pub use nats::{ConsumerArgs, NatsArgs, NatsCommand, Reads, RenderArgs};
pub use query::{DigestArgs, DigestFormat, DigestSort, QueryArgs, QueryCommand};
pub use recovery::{Named, RecoveryArgs, RecoveryCommand};
pub use sealed::{OpenArgs, XkeyArgs};
pub use series::{AnomaliesArgs, ForecastArgs, HeapArgs, HeapCommand, LeakArgs};
pub use silence::{AcknowledgeArgs, CreateSilence, SilenceArgs, SilenceCommand};
pub use simulate::{BreakerFault, SimulateArgs, SimulateBreaker, SimulateCommand};
pub use status::{AlertsArgs, Urgency};

use crate::config::sources::Flag;
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use std::path::PathBuf;

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
    /// Say how the running system is, and how much is open
    Status,
    /// Show what is open now
    Alerts(AlertsArgs),
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
    /// Print what other tools read: JSON Schemas, the AsyncAPI document, alert rules, dashboards, the page of metrics
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
    /// Where you serve docs/runbook.md and docs/alerts.md: alert rules link there (`runbook_url`); no link is made of what is none
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
    /// The page about the metrics of `/metrics` and `/metrics/per-object`
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_one_clap_accepts() {
        Cli::command().debug_assert();
    }
}
