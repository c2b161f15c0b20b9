//! `homeostat recovery …`: orders, and who gives them.

use clap::{Args, Subcommand};

/// `recovery`
#[derive(Debug, Clone, Args)]
pub struct RecoveryArgs {
    /// What to do
    #[command(subcommand)]
    pub command: RecoveryCommand,
}

/// Who gives an order, and why.
#[derive(Debug, Clone, Default, Args)]
pub struct Named {
    /// Who says so [default: the user who runs this]
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// `recovery …`
#[derive(Debug, Clone, Subcommand)]
pub enum RecoveryCommand {
    /// Incidents, how far each has come, and what was decided of late
    List {
        /// The whole decision record that the actor remembers
        #[arg(long)]
        all: bool,
        /// What was decided, as far back as history reaches, the newest first
        #[arg(long, conflicts_with = "all")]
        history: bool,
        /// With --history: about this incident
        #[arg(long, requires = "history", value_name = "ID")]
        incident: Option<String>,
        /// With --history: at most so many, 1 to 1000
        #[arg(long, requires = "history", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000), default_value_t = 100)]
        limit: u32,
        /// With --history: older than the one of this number, which the last line of a page says
        #[arg(long, requires = "history", value_name = "NUMBER")]
        before: Option<u64>,
    },
    /// Agree to what is proposed, or ask for another try of what was escalated
    Approve {
        /// The incident, as `list` shows it
        incident: String,
        /// Who and why.
        #[command(flatten)]
        who: Named,
    },
    /// Say no to what is proposed or waits
    Deny {
        /// The incident, as `list` shows it
        incident: String,
        /// Who and why.
        #[command(flatten)]
        who: Named,
    },
    /// Issue no more commands: the kill switch
    Pause {
        /// all, service:NAME or action:NAME
        #[arg(default_value = "all")]
        scope: String,
        /// Who and why.
        #[command(flatten)]
        who: Named,
    },
    /// Issue commands again
    Resume {
        /// What was paused
        #[arg(default_value = "all")]
        scope: String,
        /// Who and why.
        #[command(flatten)]
        who: Named,
    },
    /// Ask for a command; every guard rail holds for it too
    Request {
        /// What to do, such as cache.warm
        action: String,
        /// To what: one instance, cache, pool or model
        target: String,
        /// By which service
        #[arg(long, value_name = "NAME")]
        service: String,
        /// Argument of the action; may be repeated. `instance` names who is to do it, `verify` how it is judged
        #[arg(long = "arg", value_name = "KEY=VALUE")]
        args: Vec<String>,
        /// Who and why.
        #[command(flatten)]
        who: Named,
    },
}
