//! The audit log: who changed what, in a chain that shows whether anybody tampered with it.
//!
//! Whatever changes something through the gateway or the command line stands here first; what cannot be recorded is not done. Each
//! record is bound to the one before it by a hash, and now and then the hash is signed. The log lies in a ledger of the bus
//! ([`homeostat_nats::ledger`]): a stream that denies deleting and purging, and that is written by compare-and-swap on its end, so that any
//! number of processes make one chain.
//!
//! | module | what |
//! |---|---|
//! | [`record`] | what is recorded, and its bytes |
//! | [`chain`] | the hashes and the signatures; finds the first record that does not fit |
//! | [`writer`] | appends, signs |
//! | [`export`] | the log as a file, and a file as the log |
//! | [`key`] | the key that signs |
//!
//! Promises
//! - AU-1 A record that was acknowledged is in the chain, at a place that nobody else has; a change is made only behind it.
//! - AU-2 Of a log from the bus or from a file, the first record that was edited, left out or moved is named. A chain that was
//!   written anew as a whole is found out by the next signature. What was cut off at the end is missed only by whoever knew the end:
//!   the last signature, or a `--head` that was noted elsewhere.
//! - AU-3 A signature is made at the latest 60 s after a record, by a process that stays, and behind every 1,000 of them.
//! - AU-4 Nothing secret stands in it, and what stands in it is bounded.

pub mod chain;
pub mod export;
pub mod key;
pub mod record;
pub mod writer;

pub use chain::{Checker, Fault, Hash, Link, Report};
pub use key::{KeyError, SigningKey};
pub use record::{Act, Record};
pub use writer::{Audit, AuditError};
