//! The flags of what puts cases through the rules: `health replay`, `breaker replay`.

use clap::{Args, Subcommand, ValueHint};
use homeostat_reflexes::breaker::Dialect;
use homeostat_reflexes::breaker::words::UnknownDialect;
use std::path::PathBuf;

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
        #[arg(long, default_value_t, value_parser = dialect)]
        dialect: Dialect,
        /// Exit code 3 when a trace is not what its case expects of this dialect
        #[arg(long)]
        check: bool,
    },
}

fn dialect(text: &str) -> Result<Dialect, String> {
    text.parse().map_err(|error: UnknownDialect| error.to_string())
}
