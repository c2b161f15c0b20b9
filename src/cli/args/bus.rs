//! The flags of what reads and writes the log: `publish`, `tail`, `record`, `replay`, `verify`, `explain`.

use clap::{Args, ValueEnum, ValueHint};
use homeostat_schemas::UnixMs;
use std::path::PathBuf;

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

/// A time as [`homeostat_schemas::time::parse`] reads it, or how long ago: `90s`, `15m`, `2h`, `7d`.
pub(super) fn when(text: &str) -> Result<UnixMs, String> {
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
