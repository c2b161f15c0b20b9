//! What acts at the edge without asking a mind.
//!
//! A reflex is pure: text or numbers in, a verdict out, no clock, no I/O, no allocation that outlives the call. The
//! minds use reflexes, and so do the client libraries inside other people's processes, so a reflex must be cheap
//! and must never fail.
//!
//! - [`breaker`]: whether a call to a peer should be made, alone and as the fleet says.
//! - [`executor`]: whether a command may be carried out, so that none is executed twice, late or on the wrong target.
//! - [`sql`]: a statement's normal form, fingerprint, parameter hash and summary, without ever keeping a literal.

pub mod breaker;
pub mod executor;
pub mod sql;
