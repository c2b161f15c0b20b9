//! The words of a breaker: whose rules it follows, where it stands, what a call may end as, why one was refused.

use homeostat_schemas::Ms;
/// Where a breaker stands: the word of its events.
pub use homeostat_schemas::event::BreakerState as State;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Whose rules a breaker follows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// opossum 9 (Node): `failures / fires > threshold`, judged on failures; one probe, let through by a timer; results of any
    /// era count; the window outlives the closing.
    Opossum,
    /// resilience4j 2.4 (Java): `failures / completed ≥ threshold`; half-open on the first call after the wait; a new window
    /// after the closing; ignored errors give their permit back.
    Resilience4j,
    /// Ours: the table in the head of [`crate::breaker`].
    #[default]
    Homeostat,
}

impl Dialect {
    /// The word on the command line and in settings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Dialect::Opossum => "opossum",
            Dialect::Resilience4j => "resilience4j",
            Dialect::Homeostat => "homeostat",
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Dialect {
    type Err = UnknownDialect;

    fn from_str(word: &str) -> Result<Dialect, UnknownDialect> {
        let all = [Dialect::Opossum, Dialect::Resilience4j, Dialect::Homeostat];
        all.into_iter().find(|dialect| dialect.name() == word).ok_or_else(|| UnknownDialect(word.chars().take(40).collect()))
    }
}

/// No such dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownDialect(String);

impl fmt::Display for UnknownDialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no dialect of breakers: use opossum, resilience4j or homeostat", self.0)
    }
}

impl std::error::Error for UnknownDialect {}

/// How an admitted call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It succeeded.
    Success,
    /// It failed.
    Failure,
    /// It was given up because it took too long: a failure.
    Timeout,
    /// It ended in a way that says nothing of the peer's health: the caller went away, the request was wrong.
    Ignored,
}

impl Outcome {
    /// Is it evidence against the peer?
    #[must_use]
    pub const fn failed(self) -> bool {
        matches!(self, Outcome::Failure | Outcome::Timeout)
    }

    /// Should a fallback answer in its place? What was ignored is the caller's own business: it gets its error.
    #[must_use]
    pub const fn falls_back(self) -> bool {
        self.failed()
    }
}

/// Who is held back asks again this often, ms: not much later than another word of the fleet's came.
pub const HOLD_ASK_MS: Ms = 50;

/// Is a call the first try, or the repetition of one that failed?
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attempt {
    /// The first.
    #[default]
    First,
    /// A repetition: the first thing to go when a peer is in trouble.
    Retry,
}

/// What a person or a programme may do to a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Open it; the wait runs as if it had opened by itself.
    Open,
    /// Close it with a new window.
    Close,
    /// Let everything pass, count nothing.
    Disable,
    /// Back to work, closed.
    Enable,
    /// Open until told otherwise.
    ForceOpen,
    /// Count, and never refuse.
    MetricsOnly,
}

impl Operation {
    /// The word in scripts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Operation::Open => "open",
            Operation::Close => "close",
            Operation::Disable => "disable",
            Operation::Enable => "enable",
            Operation::ForceOpen => "force_open",
            Operation::MetricsOnly => "metrics_only",
        }
    }
}

/// Why a call was not sent. Every refusal falls back, and none is evidence against the peer (except a full bulkhead in the
/// dialect of opossum, which counts it as a failure).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The breaker is open.
    Open {
        /// So long, in milliseconds, until it lets a probe through; 0 when that is due.
        retry_in: Ms,
    },
    /// It is half-open, and enough probes are under way.
    Probing,
    /// Somebody holds it open.
    ForcedOpen,
    /// As many calls are under way as may be.
    Bulkhead,
    /// The fleet's breaker admits only a share of calls, and this one is not in it.
    Fleet,
    /// Not refused but held back, while the fleet's breaker finds out whether shedding helps: ask again after so long, in
    /// milliseconds, saying how long the call has waited by then. A call that is given up instead was not made.
    Held {
        /// So long.
        wait: Ms,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Open { retry_in } => write!(f, "the breaker is open; next probe in {retry_in} ms"),
            Refusal::Probing => f.write_str("the breaker is half-open and waits for its probes"),
            Refusal::ForcedOpen => f.write_str("the breaker is held open"),
            Refusal::Bulkhead => f.write_str("too many calls are under way"),
            Refusal::Fleet => f.write_str("the fleet's breaker admits only a share of calls"),
            Refusal::Held { wait } => write!(f, "the fleet's breaker holds it back for {wait} ms"),
        }
    }
}

impl std::error::Error for Refusal {}

/// Why a breaker changed its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Too many of the calls in the window failed.
    FailureRate,
    /// Too many of the calls in the window were slow.
    SlowRate,
    /// Failures piled up faster than a peer at the threshold would make them.
    Sequential,
    /// The wait is over.
    WaitOver,
    /// Enough probes went well.
    ProbesGood,
    /// Too many probes went badly.
    ProbesBad,
    /// Probes did not come back in time.
    ProbesLost,
    /// Somebody said so.
    Operator,
    /// The fleet's breaker said so, or fell silent while it held this one back.
    Fleet,
}

impl Why {
    /// The word in events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Why::FailureRate => "failure_rate",
            Why::SlowRate => "slow_rate",
            Why::Sequential => "sequential",
            Why::WaitOver => "wait_over",
            Why::ProbesGood => "probes_good",
            Why::ProbesBad => "probes_bad",
            Why::ProbesLost => "probes_lost",
            Why::Operator => "operator",
            Why::Fleet => "fleet",
        }
    }
}

/// One change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// When.
    pub at: Ms,
    /// From where.
    pub from: State,
    /// To where.
    pub to: State,
    /// Why.
    pub why: Why,
}

/// The right to make one call. Whoever has it settles it exactly once; one that is lost is a failed probe when its deadline
/// passes, and otherwise nothing.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit that is not settled holds its place until its deadline"]
pub struct Permit {
    /// The era of the breaker that gave it: a result from another era says nothing of this one.
    pub(super) era: u64,
    /// Its number among the probes of a half-open breaker; 0 for none.
    pub(super) probe: u32,
    /// Does it hold a place in the bulkhead?
    pub(super) place: bool,
    /// Is its result counted at all?
    pub(super) counted: bool,
}

impl Permit {
    /// Is it a probe of a half-open breaker?
    #[must_use]
    pub const fn is_probe(&self) -> bool {
        self.probe != 0
    }
}
