//! What a service links to report to Homeostat, and to do what it asks.
//!
//! ```no_run
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! let homeostat = homeostat_client::init("shop").await?;
//! homeostat.query("select * from orders where id = 7", Duration::from_millis(3));
//! homeostat.shutdown(Duration::from_secs(5)).await?;
//! # Ok(()) }
//! ```
//!
//! Heartbeats, memory and CPU are reported from the first line on. The rest:
//!
//! | what | how |
//! |---|---|
//! | queries | [`Client::query`], or [`layer::sqlx`] for everything that sqlx 0.9 executes |
//! | requests served | [`layer::Inbound`], a tower layer; [`Client::request`] |
//! | calls to others | [`layer::Outbound`], a tower layer; [`Client::peer`], [`Client::call`] |
//! | calls that should not be made to a peer in trouble | [`Client::breaker`]; [`layer::Breaking`], a tower layer |
//! | checks, pools, caches | [`Client::check`], [`Client::pool`], [`Client::cache`] |
//! | what a model saw, any series | [`Client::sample`], [`Client::metric`] |
//! | any event with all its fields | [`Client::event`] |
//! | what Homeostat asks for | [`Client::on`] |
//! | the newest version of the service's own keys | [`Client::keys`] |
//!
//! # Promises
//! - Nothing waits for the bus: an event is put into a bounded queue, or dropped and counted ([`Client::stats`]).
//! - Nothing that was acknowledged is sent twice, whatever breaks; what nobody can tell about is given up and counted.
//! - No literal of a statement leaves the process.
//! - A bus that is away, also at the start, is waited for in the background; what the application says meanwhile is kept as
//!   long as there is room.
//! - A panic in a check, a reading or a handler stays there.
//!
//! | module | what |
//! |---|---|
//! | `settings`, `discover` | how it works, and where the bus is |
//! | `client` | the handle |
//! | `queue` → `pack` → `courier` → `publish` | an event's way: bounded, packed, in order, acknowledged |
//! | `link` | the connection and what is known of it |
//! | [`breaker`] | calls that are not made, and the fleet that is followed |
//! | [`commands`] | what Homeostat asks for, done once and answered |
//! | [`keys`] | new secrets, sealed to this service |
//! | `heartbeat`, `meters`, `resource` | what is reported by itself |
//! | [`trace`] | W3C trace context |
//! | [`layer`] | tower and tracing layers |

pub mod breaker;
mod client;
pub mod commands;
mod courier;
mod discover;
mod error;
mod heartbeat;
pub mod keys;
pub mod layer;
mod link;
mod log;
mod meters;
mod pack;
mod publish;
mod queue;
mod resource;
mod settings;
mod stats;
pub mod trace;

pub use client::{Client, init, us};
pub use error::{FlushError, InitError, PublishError};
pub use heartbeat::{CHECKS_MAX, Verdict};
pub use homeostat_schemas::Command;
pub use meters::{CacheMeter, METERS_MAX, Peer, PoolUse};
pub use settings::Settings;
pub use stats::Stats;

/// The words of the bus: every kind of event with all its fields.
pub use homeostat_schemas::event;
