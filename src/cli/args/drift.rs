//! The flags of `homeostat drift`.

use clap::{Args, Subcommand, ValueHint};
use std::path::PathBuf;

/// `drift`
#[derive(Debug, Clone, Args)]
pub struct DriftArgs {
    /// What to do
    #[command(subcommand)]
    pub command: DriftCommand,
}

/// `drift …`
#[derive(Debug, Clone, Subcommand)]
pub enum DriftCommand {
    /// Has CURRENT drifted from BASELINE? One line a feature
    Compare {
        /// CSV with a header of features, or one value a line; `-` is standard input
        #[arg(value_name = "BASELINE", value_hint = ValueHint::FilePath)]
        baseline: PathBuf,
        /// The same columns, later
        #[arg(value_name = "CURRENT", value_hint = ValueHint::FilePath)]
        current: PathBuf,
        /// This column only; may be repeated
        #[arg(long = "feature", value_name = "NAME")]
        features: Vec<String>,
        /// Exit code 3 when anything has drifted
        #[arg(long)]
        check: bool,
    },
    /// Give the features of a model baselines from history
    Baseline {
        /// CSV with a header of features, or one value a line; `-` is standard input
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// The service that the model belongs to
        #[arg(long, value_name = "NAME")]
        service: String,
        /// The model
        #[arg(long, value_name = "NAME")]
        model: String,
        /// This column only; may be repeated
        #[arg(long = "feature", value_name = "NAME")]
        features: Vec<String>,
        /// The column that says when a row was; then it is known how much days differ
        #[arg(long, value_name = "COLUMN")]
        time: Option<String>,
        /// Who asks for it
        #[arg(long, value_name = "WHO", default_value = "homeostat drift baseline")]
        by: String,
        /// Print the orders, one event a line, instead of sending them
        #[arg(long)]
        print: bool,
    },
}
