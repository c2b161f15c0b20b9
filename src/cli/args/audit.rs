//! `audit`

use crate::audit::chain::Head;
use clap::{Args, Subcommand, ValueHint};
use std::path::PathBuf;

/// `audit`
#[derive(Debug, Clone, Args)]
pub struct AuditArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: AuditCommand,
}

/// What `audit` does.
#[derive(Debug, Clone, Subcommand)]
pub enum AuditCommand {
    /// See whether anybody edited, deleted or moved a record; names the first. Exit code 1 if somebody did
    Verify {
        /// A file that `audit export` made; `-` is standard input [default: the log on the bus]
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
        /// A public key whose signatures count; may be repeated [default: the key of the data directory, else any]
        #[arg(long = "key", value_name = "PUBLIC")]
        keys: Vec<String>,
        /// An end that was noted before, which the log must still go through
        #[arg(long, value_name = "SEQ:HASH")]
        head: Option<Head>,
    },
    /// Write the log into a file, one record a line
    Export {
        /// The file [default: standard output]
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        out: Option<PathBuf>,
    },
    /// Show the last records, and follow the log
    Tail {
        /// So many of those that are there
        #[arg(short = 'n', long, value_name = "RECORDS", default_value_t = 20)]
        lines: u64,
        /// End there
        #[arg(long)]
        no_follow: bool,
    },
}
