//! `simulate`: what a simulated world is made of.

use crate::simulate::breaker::Policy;
use clap::{Args, Subcommand, ValueEnum};

/// `simulate`
#[derive(Debug, Clone, Args)]
pub struct SimulateArgs {
    /// What
    #[command(subcommand)]
    pub command: SimulateCommand,
}

/// `simulate …`
#[derive(Debug, Clone, Subcommand)]
pub enum SimulateCommand {
    /// A fleet that calls a failing peer: the fleet's breaker beside those of other libraries, under the same load
    Breaker(Box<SimulateBreaker>),
}

/// What is wrong with the peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum BreakerFault {
    /// Nothing
    None,
    /// Every call fails at once
    #[default]
    Outage,
    /// Every call hangs
    Hang,
    /// A share of calls fails, whatever the load (--share)
    BrownOut,
    /// So many times the usual load comes (--factor)
    Overload,
    /// Every call of one replica fails
    OneReplica,
    /// Every call from one of three zones fails
    Zone,
}

/// `simulate breaker`
#[derive(Debug, Clone, Args)]
pub struct SimulateBreaker {
    /// Measure what the fleet's breaker is held to, instead of one kind of fault
    #[arg(long)]
    pub goals: bool,
    /// Exit code 3 when a goal is missed
    #[arg(long, requires = "goals")]
    pub check: bool,
    /// Calls of the healthy world among the goals
    #[arg(long, value_name = "N", default_value_t = 10_000_000)]
    pub healthy_calls: u64,
    /// Whose breaker; may be repeated [default: all]
    #[arg(long, value_name = "POLICY", value_parser = policy)]
    pub policy: Vec<Policy>,
    /// What is wrong
    #[arg(long, value_enum, default_value_t)]
    pub fault: BreakerFault,
    /// The share of calls that fails in a brown-out
    #[arg(long, value_name = "SHARE", default_value_t = 0.6, value_parser = share)]
    pub share: f64,
    /// How many times the usual load an overload is; the peer bears 1.2 times
    #[arg(long, value_name = "TIMES", default_value_t = 2.0, value_parser = positive)]
    pub factor: f64,
    /// The first seed; the same seed is the same world
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub seed: u64,
    /// How many worlds, with seeds one after the other
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub runs: u64,
    /// Take the numbers as they are, instead of up to a fifth more or less by the seed
    #[arg(long)]
    pub exact: bool,
    /// Replicas of the calling service
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub replicas: u32,
    /// Calls a second of all of them
    #[arg(long, value_name = "CALLS", default_value_t = 250.0, value_parser = positive)]
    pub rps: f64,
    /// The share of calls that fails anyway
    #[arg(long, value_name = "SHARE", default_value_t = 0.01, value_parser = share)]
    pub error_rate: f64,
    /// How often a failed call is repeated
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=20))]
    pub retries: u32,
    /// How long all is well first, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 70.0, value_parser = positive)]
    pub warm_s: f64,
    /// How long the fault lasts, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, value_parser = positive)]
    pub fault_s: f64,
    /// How long the world goes on after it, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 45.0, value_parser = positive)]
    pub after_s: f64,
    /// Mean delay of a message, ms; messages overtake one another
    #[arg(long, value_name = "MS", default_value_t = 4.0, value_parser = positive)]
    pub delay_ms: f64,
    /// The share of messages that is lost
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub loss: f64,
    /// The share of messages that comes twice
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub duplicate: f64,
    /// Cut the bus: so many seconds after the fault began, for so long
    #[arg(long, value_name = "AT:SECONDS", value_parser = span, allow_hyphen_values = true)]
    pub cut: Option<(f64, f64)>,
    /// What share of the replicas a cut separates from the actor
    #[arg(long, value_name = "SHARE", default_value_t = 1.0, value_parser = share)]
    pub cut_share: f64,
    /// Kill the actor's process: so many seconds after the fault began; another takes over after so long
    #[arg(long, value_name = "AT:SECONDS", value_parser = span, allow_hyphen_values = true)]
    pub kill_actor: Option<(f64, f64)>,
    /// Kill so many replicas during the fault
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub kill_replicas: u32,
    /// How far clocks are apart at most, ms
    #[arg(long, value_name = "MS", default_value_t = 0.0)]
    pub skew_ms: f64,
    /// How much faster or slower clocks run at most, as a share
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub drift: f64,
}

fn policy(text: &str) -> Result<Policy, String> {
    let names: Vec<&str> = Policy::ALL.iter().map(|policy| policy.name()).collect();
    Policy::ALL.into_iter().find(|policy| policy.name() == text).ok_or_else(|| format!("use one of {}", names.join(", ")))
}

fn share(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| "write a number from 0 to 1".to_owned())
}

fn positive(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|value: &f64| *value > 0.0 && *value <= 1e6)
        .ok_or_else(|| "write a number from above 0 to a million".to_owned())
}

/// `AT:SECONDS`
fn span(text: &str) -> Result<(f64, f64), String> {
    let seconds = |text: &str| text.trim().parse::<f64>().ok().filter(|value| value.is_finite() && value.abs() <= 1e6);
    let parts = text.split_once(':').and_then(|(at, lasts)| Some((seconds(at)?, seconds(lasts)?)));
    parts.filter(|(_, lasts)| *lasts >= 0.0).ok_or_else(|| "write AT:SECONDS, such as 5:10".to_owned())
}
