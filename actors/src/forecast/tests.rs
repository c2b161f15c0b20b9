//! What a forecast keeps of its word, whatever the series.
#![allow(clippy::unwrap_used)]

mod mind;
pub(crate) mod outlook;
mod watch;
