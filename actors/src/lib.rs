//! Homeostat's minds: one folder an actor, each a pure, deterministic, bounded state machine.
//!
//! A mind gets words ([`homeostat_schemas`]) in the one order of the log and gives back [`core::Effect`]s. It has no clock, no
//! I/O, no threads, no randomness and no hash order; time, chance and settings are arguments. What it does is therefore a
//! function of the log, and a replay is the live run.
//!
//! | module | what |
//! |---|---|
//! | [`core`] | the contract: [`core::Core`], its inputs and effects |
//! | [`driver`] | carries a mind over the log, the same way live, in a replay and in tests |
//! | [`incidents`] | what is open now, so that every alert is one message on entering and one on leaving |
//! | [`breaker`] | what share of its calls to a failing peer a whole service may make |
//! | [`stats`] | statistics that minds share |
//! | [`query`] | slow queries, N+1 |
//! | [`forecast`] | forecasts, anomalies, time to exhaustion |
//! | [`health`] | signs of life, error rates, memory, pools, probes |
//! | [`drift`] | does what models see and say still look like what they were made for |
//! | [`leak`] | memory that grows without a bound |
//! | [`stats`] | mathematics that several minds use |
//! | [`key_rotation`] | what is due for each API key |
//! | [`recovery`] | from alerts to commands, and whether they helped |
//! | [`status`] | everything that is open now |

pub mod breaker;
pub mod core;
pub mod drift;
pub mod driver;
#[cfg(test)]
mod extremes;
pub mod forecast;
pub mod health;
pub mod incidents;
pub mod key_rotation;
pub mod leak;
pub mod query;
pub mod recovery;
#[cfg(test)]
pub mod rig;
pub mod stats;
pub mod status;
