//! Events: what applications report. One struct a kind, flat, as on the wire.
//!
//! Every event carries `kind`, `service` and `at_ms` (when it *ended*), optionally `instance` and `zone`. Unknown fields are
//! ignored; a missing required field, a wrong type, a non-finite number where a number must be finite, a value beyond what can
//! be meant ([`DURATION_MAX_MS`], [`INTERVAL_S`], [`UP_MAX_S`], [`INSTANT_MAX_MS`]) or (on the live bus) a time more than a day
//! ahead of log time makes the event dead, never its siblings. Counts and bytes have no limit but that of their type.

mod breaker_state;
mod flag;
mod kinds;
mod limits;
mod sample;
mod tag;

pub use breaker_state::BreakerState;
pub use flag::Flag;
pub use kinds::{
    Breaker, Cache, Call, CallOutcome, Calls, Check, CheckStatus, Heartbeat, Metric, Order, Pool, Query, Request, Resource, Sample, Span,
};
pub use limits::{DURATION_MAX_MS, INSTANT_MAX_MS, INTERVAL_S, SERVICE_MAX, UP_MAX_S};
pub use sample::SampleValue;
pub use tag::Tag;

use crate::time::UnixMs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! for_each_kind {
    ($($(#[$doc:meta])* $kind:ident = $name:literal),* $(,)?) => {
        /// The kind of an event: the second token of its subject and the `kind` field of its body.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        #[repr(u8)]
        pub enum EventKind { $($(#[$doc])* $kind),* }

        impl EventKind {
            /// Every kind, in the order of the documentation.
            pub const ALL: &'static [EventKind] = &[$(EventKind::$kind),*];

            /// The word on the wire.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(EventKind::$kind => $name),* }
            }

            /// The kind of this name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<EventKind> {
                match name { $($name => Some(EventKind::$kind),)* _ => None }
            }

            pub(crate) const fn from_u8(value: u8) -> Option<EventKind> {
                $(if value == EventKind::$kind as u8 { return Some(EventKind::$kind); })*
                None
            }
        }

        /// One event of any kind. On the wire it is the flat object of its kind.
        #[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
        #[serde(untagged)]
        pub enum Event { $($(#[$doc])* $kind($kind)),* }

        impl Event {
            /// What kind it is.
            #[must_use]
            pub const fn kind(&self) -> EventKind {
                match self { $(Event::$kind(_) => EventKind::$kind),* }
            }

            /// The service it speaks of.
            #[must_use]
            pub fn service(&self) -> &str {
                match self { $(Event::$kind(e) => &e.service),* }
            }

            /// When it ended, by the sender's clock. Data, never the clock of a mind.
            #[must_use]
            pub const fn at_ms(&self) -> UnixMs {
                match self { $(Event::$kind(e) => e.at_ms),* }
            }

            /// Which replica of the service said it.
            #[must_use]
            pub fn instance(&self) -> Option<&str> {
                match self { $(Event::$kind(e) => e.instance.as_deref()),* }
            }

            /// Who says it, when and where: what a publisher fills in.
            #[must_use]
            pub fn stamp_mut(&mut self) -> Stamp<'_> {
                match self {
                    $(Event::$kind(e) => {
                        Stamp { service: &mut e.service, at_ms: &mut e.at_ms, instance: &mut e.instance, zone: &mut e.zone }
                    }),*
                }
            }

            /// Is every value one that a mind may compute with?
            ///
            /// # Errors
            /// The field and what is wrong with it.
            pub fn check(&self) -> Result<(), Unfit> {
                match self { $(Event::$kind(e) => Kind::check(e)),* }
            }
        }

        $(impl From<$kind> for Event { fn from(event: $kind) -> Self { Event::$kind(event) } })*

        /// Calls `$with::<Kind>(arguments)` for the struct of a kind known at run time.
        macro_rules! dispatch {
            ($value:expr, $with:ident $arguments:tt) => {
                match $value { $($crate::event::EventKind::$kind => $with::<$crate::event::$kind> $arguments),* }
            };
        }
        pub(crate) use dispatch;
    };
}

for_each_kind! {
    /// One database query.
    Query = "query",
    /// One inbound request served.
    Request = "request",
    /// One outbound call.
    Call = "call",
    /// Many outbound calls, summed by the client.
    Calls = "calls",
    /// A local breaker's state.
    Breaker = "breaker",
    /// A span that is context for N+1 and nothing else.
    Span = "span",
    /// A sign of life.
    Heartbeat = "heartbeat",
    /// What a process uses.
    Resource = "resource",
    /// A connection pool.
    Pool = "pool",
    /// A cache.
    Cache = "cache",
    /// What a model or a business rule saw or said.
    Sample = "sample",
    /// Any series worth forecasting.
    Metric = "metric",
    /// A person or another system asks for, approves, denies or pauses a command.
    Order = "order",
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The fields that all kinds share, as [`Event::stamp_mut`] gives them.
#[derive(Debug)]
pub struct Stamp<'a> {
    /// The service it speaks of.
    pub service: &'a mut String,
    /// When it ended, Unix milliseconds.
    pub at_ms: &'a mut UnixMs,
    /// Which replica said it.
    pub instance: &'a mut Option<String>,
    /// In which failure domain that replica runs.
    pub zone: &'a mut Option<String>,
}

/// What the struct of every kind can do.
pub trait Kind: for<'de> Deserialize<'de> + Into<Event> {
    /// Is every value one that a mind may compute with?
    ///
    /// # Errors
    /// The field and what is wrong with it.
    fn check(&self) -> Result<(), Unfit>;
}

/// A value of the right type that no mind can work with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct Unfit {
    /// The field as on the wire.
    pub field: &'static str,
    /// What is wrong with it.
    pub why: &'static str,
}

impl Event {
    /// One event from a JSON object, whose `kind` says what it is. This is a line of an event file.
    ///
    /// # Errors
    /// Says which field is wrong and how.
    pub fn from_json(text: &[u8]) -> Result<Event, crate::DecodeError> {
        crate::batch::event_from_json(text)
    }
}
