//! What a simulated world is made of.

use homeostat_actors::breaker::{BreakerConfig, ShedMode};
use homeostat_reflexes::breaker::{Config, Dialect, Sheds, WindowType};
use serde::Serialize;

/// What is wrong with the peer, from the end of the warm-up on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Fault {
    /// Nothing.
    None,
    /// Every call fails at once.
    Outage,
    /// Every call hangs until it is given up.
    Hang,
    /// This share of calls fails, whatever the load.
    BrownOut {
        /// The share, 0 to 1.
        share: f64,
    },
    /// So many times the usual load comes, and the peer bears 1.2 times the usual.
    Overload {
        /// How many times.
        factor: f64,
    },
    /// Every call of one replica fails: its own fault, not the peer's.
    OneReplica,
    /// Every call from one of three zones fails.
    Zone,
}

/// Who decides whether a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Nobody.
    None,
    /// opossum 9 with its defaults, in every process.
    Opossum,
    /// Half of at least 20 calls of a sliding minute, open for 30 s, in every process.
    Window60,
    /// resilience4j 2.4 with its defaults, in every process.
    Resilience4j,
    /// Ours, without the fleet.
    Local,
    /// Ours: the local breaker and the fleet's, which sheds everything but probes.
    Homeostat,
    /// Ours, shedding as much as helps; the local breaker judges by the share in its window alone.
    HomeostatFraction,
    /// Ours, shedding repetitions only.
    HomeostatRetries,
}

impl Policy {
    /// All of them.
    pub const ALL: [Policy; 8] = [
        Policy::None,
        Policy::Opossum,
        Policy::Window60,
        Policy::Resilience4j,
        Policy::Local,
        Policy::Homeostat,
        Policy::HomeostatFraction,
        Policy::HomeostatRetries,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Policy::None => "none",
            Policy::Opossum => "opossum",
            Policy::Window60 => "window60",
            Policy::Resilience4j => "resilience4j",
            Policy::Local => "local",
            Policy::Homeostat => "homeostat",
            Policy::HomeostatFraction => "homeostat_fraction",
            Policy::HomeostatRetries => "homeostat_retries",
        }
    }

    /// Does the breaker actor take part?
    #[must_use]
    pub const fn has_fleet(self) -> bool {
        matches!(self, Policy::Homeostat | Policy::HomeostatFraction | Policy::HomeostatRetries)
    }

    /// The breaker in every process; none for [`Policy::None`].
    #[must_use]
    pub fn local(self) -> Option<Config> {
        let ours = Config::default();
        match self {
            Policy::None => None,
            Policy::Opossum => Some(Config {
                dialect: Dialect::Opossum,
                window_ms: 10_000,
                buckets: 10,
                min_calls: 0,
                open_ms: 30_000,
                open_backoff: None,
                ..ours
            }),
            Policy::Window60 => {
                Some(Config { dialect: Dialect::Resilience4j, open_ms: 30_000, open_backoff: None, half_open_permits: 3, ..ours })
            }
            Policy::Resilience4j => Some(Config {
                dialect: Dialect::Resilience4j,
                window_type: WindowType::Count,
                window_calls: 100,
                min_calls: 100,
                open_ms: 60_000,
                open_backoff: None,
                half_open_permits: 10,
                ..ours
            }),
            Policy::Local | Policy::Homeostat => Some(ours),
            // By a run of failures nobody can tell in time a peer that fails in part from one that is down.
            Policy::HomeostatFraction => Some(Config { sequential: false, ..ours }),
            Policy::HomeostatRetries => Some(Config { sheds: Sheds::Retries, ..ours }),
        }
    }

    /// The settings of the breaker actor.
    #[must_use]
    pub fn fleet(self) -> BreakerConfig {
        let shedding = match self {
            Policy::HomeostatFraction => ShedMode::Fraction,
            Policy::HomeostatRetries => ShedMode::ShedRetries,
            _ => ShedMode::Open,
        };
        BreakerConfig { shedding, ..BreakerConfig::default() }
    }
}

/// What the bus does to messages, and what happens to those who use it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BusParameters {
    /// Mean delay of a message, ms; delays are drawn one by one, so messages overtake one another.
    pub delay_ms: f64,
    /// The share of messages that is lost.
    pub loss: f64,
    /// The share of messages that comes twice.
    pub duplicate: f64,
    /// From when, in seconds after the fault began, the bus is cut, and for how long.
    pub cut: Option<(f64, f64)>,
    /// What share of the replicas a cut separates from the actor.
    pub cut_share: f64,
    /// When the actor's process is killed, in seconds after the fault began, and how long it takes until another has taken over.
    pub kill_actor: Option<(f64, f64)>,
    /// How many replicas are killed and started anew, one by one, during the fault.
    pub kill_replicas: u32,
    /// How far clocks are apart, ms.
    pub skew_ms: f64,
    /// How much faster or slower clocks run, at most, as a share.
    pub drift: f64,
}

impl Default for BusParameters {
    fn default() -> Self {
        BusParameters {
            delay_ms: 4.0,
            loss: 0.0,
            duplicate: 0.0,
            cut: None,
            cut_share: 1.0,
            kill_actor: None,
            kill_replicas: 0,
            skew_ms: 0.0,
            drift: 0.0,
        }
    }
}

/// One world.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Parameters {
    /// Everything is drawn from it.
    pub seed: u64,
    /// Replicas of the calling service.
    pub replicas: u32,
    /// Calls a second of all of them.
    pub rps: f64,
    /// How long all is well first, seconds.
    pub warm_s: f64,
    /// How long the fault lasts, seconds.
    pub fault_s: f64,
    /// How long the world goes on after it, seconds.
    pub after_s: f64,
    /// What is wrong.
    pub fault: Fault,
    /// The share of calls that fails anyway.
    pub error_rate: f64,
    /// How often a failed call is repeated at most.
    pub retries: u32,
    /// A call is given up after so long, ms.
    pub timeout_ms: f64,
    /// The bus.
    pub bus: BusParameters,
}

impl Default for Parameters {
    fn default() -> Self {
        Parameters {
            seed: 1,
            replicas: 50,
            rps: 250.0,
            warm_s: 70.0,
            fault_s: 30.0,
            after_s: 45.0,
            fault: Fault::Outage,
            error_rate: 0.01,
            retries: 0,
            timeout_ms: 1_000.0,
            bus: BusParameters::default(),
        }
    }
}

impl Parameters {
    /// The same world with what is drawn by the seed drawn anew: traffic, replicas, background errors, the bus; up to a fifth
    /// more or less of each.
    #[must_use]
    pub fn varied(&self, seed: u64) -> Parameters {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x005e_ed0f_7a21);
        let mut about = |value: f64| value * (0.8 + 0.4 * rng.f64());
        let mut varied = Parameters { seed, ..self.clone() };
        varied.rps = about(self.rps);
        varied.warm_s = about(self.warm_s);
        varied.fault_s = about(self.fault_s);
        varied.error_rate = about(self.error_rate);
        varied.bus.delay_ms = about(self.bus.delay_ms);
        varied
    }
}
