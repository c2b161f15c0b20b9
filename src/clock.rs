//! The wall clock, for what stands outside of the log: minds know log time alone.

use homeostat_schemas::UnixMs;
use std::time::{SystemTime, UNIX_EPOCH};

/// Now, by this machine's clock; 0 before 1970.
#[must_use]
pub fn now_ms() -> UnixMs {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
