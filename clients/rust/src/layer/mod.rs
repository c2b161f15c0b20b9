//! Layers: what reports by itself once it stands in the way of a request, a call or a log line.

#[cfg(feature = "tower")]
mod breaking;
#[cfg(feature = "tower")]
mod inbound;
#[cfg(feature = "tower")]
mod outbound;
#[cfg(feature = "sqlx")]
mod queries;

#[cfg(feature = "tower")]
pub use breaking::{Breaking, BreakingFuture, BreakingService};
#[cfg(feature = "tower")]
pub use inbound::{Inbound, InboundFuture, InboundService};
#[cfg(feature = "tower")]
pub use outbound::{Outbound, OutboundFuture, OutboundService};
#[cfg(feature = "sqlx")]
pub use queries::{Queries, sqlx};
