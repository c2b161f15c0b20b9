//! The flags of what judges a series or a heap in a file: `forecast`, `anomalies`, `leak`, `heap`.

use clap::{Args, Subcommand, ValueHint};
use std::path::PathBuf;

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

fn share(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|share| *share > 0.0 && *share < 1.0).ok_or_else(|| "a number between 0 and 1, such as 0.95".to_owned())
}
