//! A fleet that calls a peer which fails: what each kind of breaker makes of it.
//!
//! The same seed makes the same world, whatever the policy: when calls come, which replica makes them, whether the peer would
//! have answered. Policies are therefore compared call by call. Only the load itself (retries, queues) depends on what a policy
//! lets through.

pub mod figures;
pub mod fleet;
pub mod goals;
pub mod parameters;
pub mod peer;
pub mod world;

pub use figures::Figures;
pub use parameters::{BusParameters, Fault, Parameters, Policy};
pub use world::run;
