//! Homeostat's body: what carries the minds, touches the world on their behalf, and speaks with people.
//!
//! | module | what |
//! |---|---|
//! | [`accounts`] | who may do what on a nats-server of one's own |
//! | [`callout`] | API keys as credentials of the bus |
//! | [`cli`] | the command line, one file a command |
//! | [`config`] | settings: default < file < environment < flag |
//! | [`digest`] | which statements took the time, from a database's own log |
//! | [`export`] | schemas and AsyncAPI, generated from the words |
//! | [`system`] | the running whole: what `up` starts, and how it stops |
//! | [`roster`] | the list of all actors: the one place to add one |
//! | [`settings`] | the settings in force, which are part of the log |
//! | [`shell`] | the one actix actor that carries every mind; [`supervise`] brings it back |
//! | [`feed`] | the one reader of the log, and its distribution to the shells |
//! | [`outputs`] | from what a mind decides to what stands on the bus |
//! | [`signing`] | the key that signs alerts and commands |
//! | [`replay`] | the minds over recorded events |
//! | [`hands`] | I/O on a mind's behalf |
//! | [`keys`] | API keys: who may use the gateway, and how that ends |
//! | [`planner`] | a PostgreSQL's planner, asked about indexes that do not exist |
//! | [`private`] | files for their owner alone |
//! | [`projector`] | what is open now, and history, made from the log |
//! | [`delivery`] | alerts on their way to Alertmanager and webhooks |
//! | [`store`] | history in SQL, a projection of the log; keys, which are none |
//! | [`audit`] | who changed what, in a chain that shows tampering |
//! | [`gateway`] | HTTP: probes, intake, API |
//! | [`otlp`] | OpenTelemetry traces into events |
//! | [`metrics`], [`telemetry`] | how Homeostat itself is watched |

pub mod accounts;
pub mod audit;
pub mod callout;
pub mod cli;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod digest;
pub mod export;
pub mod feed;
pub mod gateway;
pub mod hands;
pub mod heap;
pub mod keys;
pub mod metrics;
pub mod otlp;
pub mod outputs;
pub mod planner;
pub mod private;
pub mod projector;
pub mod replay;
pub mod roster;
pub mod settings;
pub mod shell;
pub mod signing;
pub mod simulate;
pub mod store;
pub mod supervise;
pub mod suspect;
pub mod system;
pub mod telemetry;
