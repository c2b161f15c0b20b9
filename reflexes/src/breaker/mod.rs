//! The breaker reflex: whether a call to a peer should be made at all.
//!
//! # For clients
//! One [`Gate`] for each peer (or peer and operation), shared by all threads:
//!
//! ```
//! use homeostat_reflexes::breaker::{Attempt, Clock, Config, Gate, Outcome};
//! # struct Mine;
//! # impl Clock for Mine { fn now(&self) -> u64 { 0 } fn chance(&self) -> f64 { 0.5 } }
//! # fn send() -> Result<(), ()> { Ok(()) }
//! let clock = Mine; // milliseconds of a monotonic clock, and a random number: see [`Clock`]
//! let gate = Gate::new(Config::default(), None, Some("eu-1a".to_owned()), &clock);
//! match gate.acquire(Attempt::First, &clock) {
//!     Ok(permit) => {
//!         let outcome = if send().is_ok() { Outcome::Success } else { Outcome::Failure };
//!         // True after a failure that the fleet should hear of at once.
//!         if gate.settle(permit, outcome, 12, &clock) {
//!             let report = gate.report(&clock); // → a `calls` event, and a `breaker` event for each change
//! #           let _ = report;
//!         }
//!     }
//!     Err(refusal) => println!("not sent: {refusal}"), // → the fallback
//! }
//! ```
//!
//! - Settle every permit exactly once; a cancelled call as [`Outcome::Ignored`]. Classify: [`Outcome::Ignored`] is what says
//!   nothing of the peer (the caller's own mistakes, 4xx); [`Outcome::Timeout`] what was given up. A refusal always falls back,
//!   an outcome when [`Outcome::falls_back`] says so.
//! - Call [`Gate::report`] every [`REPORT_EVERY_MS`], and when [`Gate::settle`] returns true. Its delta is a `calls` event (sums
//!   are published, not single calls); its changes are `breaker` events.
//! - Give every message on `homeostat.v1.admission.<service>.<peer>` to [`Gate::hear`]. Without any, or when they cease, the
//!   breaker goes on alone.
//! - Mark repetitions as [`Attempt::Retry`].
//! - [`Gate::operate`] opens, closes, holds open, disables and observes ([`Operation`]).
//!
//! # What is where
//! | module | what |
//! |---|---|
//! | [`words`] | states, outcomes, permits, refusals, operations |
//! | [`config`] | the thresholds |
//! | [`local`] | the local machine, `(event, now, chance) → (state, effects)`, in three dialects |
//! | [`follower`] | what a replica makes of the fleet's word |
//! | [`edge`] | both together, and what the replica reports: pure |
//! | [`gate`] | that behind a lock, with a lock-free front |
//! | [`usual`] | what a peer fails usually, and whether a run of failures is an outage |
//! | [`replay`] | scripted cases |
//!
//! # The states, as we have them
//! | state | lets through | leaves it |
//! |---|---|---|
//! | closed | everything | open, when the share of failed (or slow) calls in the window reaches the threshold with `min_calls` of them, or failures pile up, or it is an outage ([`Config::sequential`]) |
//! | open | nothing | half-open, with the first call after the wait, which grows and is jittered |
//! | half-open | `half_open_permits` probes | closed or open, as soon as their results make it certain; a probe that passes its deadline has failed |
//! | forced open, disabled, metrics only | nothing, all, all | when told |
//!
//! # Promises
//! - `B-1` The machine is a function of its events: no clock, no chance but what is passed in.
//! - `B-2` (ours) No wedge: whatever happened before, while calls come some call is admitted within the longest wait and one
//!   probe's deadline, unless somebody holds the breaker open; and if calls then succeed it closes.
//! - `B-3` (ours) A result from another era decides nothing.
//! - `B-4` A refusal is never evidence against the peer (ours, resilience4j).
//! - `B-5` State is bounded by the settings, whatever the traffic.
//! - `B-6` The fleet's word binds no longer than its lease, and never against the replica's own clean experience.
//! - `B-7` Whoever is held back is let through or refused after two seconds at most, whatever the fleet says or fails to say.

mod cells;
pub mod config;
pub mod edge;
pub mod follower;
pub mod gate;
pub mod local;
pub mod replay;
pub mod usual;
mod window;
pub mod words;

pub use config::{Config, Sheds, WindowType};
pub use edge::{Delta, Edge, REPORT_EVERY_MS, Report, Snapshot};
pub use follower::{Follower, HOLD_MAX_MS, Share};
pub use gate::{Clock, Gate};
pub use local::{Local, Totals};
pub use usual::Usual;
pub use words::{Attempt, Change, Dialect, Operation, Outcome, Permit, Refusal, State, Why};
