//! Simulations: the real machines in a world that is made of one seed.
//!
//! [`breaker`] runs a fleet of clients ([`homeostat_reflexes::breaker::Gate`]) and the breaker actor
//! ([`homeostat_actors::breaker::BreakerCore`]), the very code that runs in production, over a bus that delays, loses, doubles,
//! reorders and falls apart, beside the breakers of other libraries under the same load.

pub mod breaker;
