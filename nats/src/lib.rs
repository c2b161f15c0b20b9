//! Homeostat's nerves: the log on NATS JetStream, read in order and written once.
//!
//! This package knows bytes, subjects, headers and the order of the log. What a payload means is
//! said in `homeostat-schemas` and decided by the minds; neither is known here.
//!
//! | module | what |
//! |---|---|
//! | [`connect`] | settings, the connection, what state it is in |
//! | [`message`] | what goes onto the log and what comes off it |
//! | [`streams`] | the streams and buckets: created, migrated, never silently shrunk |
//! | [`log`] | append, compare-and-swap, look up |
//! | [`ledger`] | a stream in which nothing can be changed |
//! | [`reader`] | the log in order, without gap or repeat, across any trouble |
//! | [`outbox`] | the only writer of an actor's outputs: atomic, fenced, once |
//! | [`checkpoint`] | an actor's saved state: chunks first, pointer second |
//! | [`ticker`] | log time moves though nothing happens |
//! | [`lease`] | who works and who stands by (efficiency only; the chain is the fence) |
//! | [`embedded`] | a nats-server of our own, supervised |
//! | [`fault`] | places at which a test may kill the process |
//! | [`error`] | what can go wrong, and what to do then |
//!
//! Promises that hold everywhere here: every await has a deadline, every buffer a bound, and
//! input from the bus never panics.

mod api;
pub mod checkpoint;
pub mod connect;
pub mod embedded;
pub mod error;
pub mod fault;
pub mod lease;
pub mod ledger;
pub mod log;
pub mod message;
pub mod outbox;
pub mod reader;
pub mod streams;
pub mod ticker;

pub use checkpoint::{CheckpointError, Checkpoints, Pointer};
pub use connect::{Bus, BusConfig, ConnectionState, Phase, TlsConfig, Traffic};
pub use embedded::{Embedded, EmbeddedConfig, EmbeddedError, RunInfo, find_running};
pub use error::{AppendAllError, AppendError, BusError};
pub use lease::{Lease, LeaseConfig, LeaseState};
pub use ledger::Ledger;
pub use log::{Bounds, Log};
pub use message::{Entry, Message};
pub use outbox::{Fence, Head, Identity, Outbox, OutboxError, OutboxOptions, Output};
pub use reader::{Reader, ReaderError, ReaderOptions};
pub use streams::{Names, StreamConfig};
pub use ticker::{Ticker, TickerConfig, TickerStats};

/// The client library, for callers that need core NATS (admission, requests).
pub use async_nats;
