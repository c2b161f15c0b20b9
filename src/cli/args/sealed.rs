//! `keys open`, `keys xkey`: the owner's side of sealed deliveries.

use clap::{Args, ValueHint};
use std::path::PathBuf;

/// `keys open`
#[derive(Debug, Clone, Args)]
pub struct OpenArgs {
    /// A sealed delivery as it stands on the bus, one JSON object a line; `-` is standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath, required_unless_present = "follow", conflicts_with = "follow")]
    pub file: Option<PathBuf>,
    /// The seed of the recipient's xkey, in a file that only you may read (never on the command line, where others see it)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub seed: PathBuf,
    /// Where it is kept how far each key has come, so that an old delivery is refused [default: the seed's file with `.seen`]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub state: Option<PathBuf>,
    /// Whose deliveries are trusted: a public xkey [default: that of the first delivery that was opened]
    #[arg(long, value_name = "XKEY")]
    pub sender: Option<String>,
    /// Follow the deliveries to a service on the bus, from the beginning of the log
    #[arg(long, requires = "service")]
    pub follow: bool,
    /// The service
    #[arg(long, value_name = "SERVICE")]
    pub service: Option<String>,
    /// With --follow: end after so many
    #[arg(long, value_name = "N", requires = "follow")]
    pub count: Option<u64>,
    /// Write the secret into this file, which only you may read, instead of printing it; a newer one takes its place
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub out: Option<PathBuf>,
}

/// `keys xkey`
#[derive(Debug, Clone, Args)]
pub struct XkeyArgs {
    /// Where the seed is written: a new file that only you may read. The public xkey is printed
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
}
