//! `homeostat status` and `homeostat alerts`: how everything is, and what is open.

use clap::{Args, ValueEnum};

/// `alerts`
#[derive(Debug, Clone, Args)]
pub struct AlertsArgs {
    /// Also those that are over, from history, the newest first
    #[arg(long)]
    pub all: bool,
    /// Of this service
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// Of this rule, such as query.slow
    #[arg(long, value_name = "RULE")]
    pub rule: Option<String>,
    /// Of this severity
    #[arg(long, value_enum)]
    pub severity: Option<Urgency>,
    /// At most so many, 1 to 10000; with --all 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    /// Exit code 3 when there are any
    #[arg(long)]
    pub check: bool,
}

/// How urgent an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Urgency {
    /// Good to know
    Info,
    /// Look within the day
    Warning,
    /// Look now
    Critical,
}

impl Urgency {
    /// The word that the gateway knows.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Urgency::Info => "info",
            Urgency::Warning => "warning",
            Urgency::Critical => "critical",
        }
    }
}
