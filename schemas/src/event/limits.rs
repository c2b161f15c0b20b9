//! What a value may be at most to be meant at all. What is beyond makes the event dead, with the field and the reason.

use super::Unfit;
use crate::time::{DAY, Ms, UnixMs};

/// Longest service name, in bytes (as on the wire: 1–64).
pub const SERVICE_MAX: usize = 64;

/// Longest duration an event may report (`took_us`, `wait_us`, `over_ms`): 30 days, in milliseconds. Nothing that is measured
/// takes longer; what says so is nanoseconds, or a counter that wrapped below zero.
pub const DURATION_MAX_MS: Ms = 30 * DAY;

/// How long a publisher may leave between two heartbeats (`interval_s`), seconds: 50 ms to seven days. Less is no sign of life
/// but a flood, more is nobody's to wait for.
pub const INTERVAL_S: std::ops::RangeInclusive<f64> = 0.05..=604_800.0;

/// Longest time a process may say it has been up (`up_s`), seconds: a hundred Julian years.
pub const UP_MAX_S: f64 = 100.0 * 365.25 * 86_400.0;

/// Last instant an event may name (`at_ms`, `started_ms`), Unix milliseconds: the end of the year 9999, the last that RFC 3339
/// can write. The present in microseconds or nanoseconds lies beyond it.
pub const INSTANT_MAX_MS: UnixMs = 253_402_300_799_999;

pub(super) fn service(bytes: usize) -> Result<(), Unfit> {
    if (1..=SERVICE_MAX).contains(&bytes) { Ok(()) } else { Err(Unfit { field: "service", why: "must have 1 to 64 bytes" }) }
}

pub(super) fn finite(field: &'static str, value: f64) -> Result<(), Unfit> {
    if value.is_finite() { Ok(()) } else { Err(Unfit { field, why: "must be a finite number" }) }
}

/// A field's value may be so much at most: what is more is another unit or a counter that wrapped, and would drown the rest in
/// every mean and sum.
fn at_most(field: &'static str, value: Option<u64>, limit: u64, why: &'static str) -> Result<(), Unfit> {
    if value.is_some_and(|value| value > limit) { Err(Unfit { field, why }) } else { Ok(()) }
}

pub(super) fn duration_us(field: &'static str, value: Option<u64>) -> Result<(), Unfit> {
    at_most(field, value, DURATION_MAX_MS * 1_000, "must not be longer than 30 days, in microseconds")
}

pub(super) fn duration_ms(field: &'static str, value: u64) -> Result<(), Unfit> {
    at_most(field, Some(value), DURATION_MAX_MS, "must not be longer than 30 days, in milliseconds")
}

pub(super) fn instant(field: &'static str, value: Option<UnixMs>) -> Result<(), Unfit> {
    at_most(field, value, INSTANT_MAX_MS, "must be Unix milliseconds, before the year 10000")
}

pub(super) fn not_negative(field: &'static str, value: Option<f64>) -> Result<(), Unfit> {
    match value {
        Some(v) if !v.is_finite() => Err(Unfit { field, why: "must be a finite number" }),
        Some(v) if v < 0.0 => Err(Unfit { field, why: "must not be negative" }),
        _ => Ok(()),
    }
}

/// A share is told as one: whoever sends percent means something else.
pub(super) fn share(field: &'static str, value: Option<f64>) -> Result<(), Unfit> {
    not_negative(field, value)?;
    if value.is_some_and(|value| value > 1.0) { Err(Unfit { field, why: "must be a share, 0 to 1" }) } else { Ok(()) }
}

pub(super) fn peer(bytes: usize) -> Result<(), Unfit> {
    if (1..=SERVICE_MAX).contains(&bytes) { Ok(()) } else { Err(Unfit { field: "peer", why: "must have 1 to 64 bytes" }) }
}

pub(super) fn up(seconds: f64) -> Result<(), Unfit> {
    not_negative("up_s", Some(seconds))?;
    if seconds > UP_MAX_S {
        return Err(Unfit { field: "up_s", why: "must not be more than a hundred years, in seconds" });
    }
    Ok(())
}

pub(super) fn interval(seconds: f64) -> Result<(), Unfit> {
    not_negative("interval_s", Some(seconds))?;
    if seconds == 0.0 {
        return Err(Unfit { field: "interval_s", why: "must be more than zero" });
    }
    if !INTERVAL_S.contains(&seconds) {
        return Err(Unfit { field: "interval_s", why: "must lie between 0.05 and 604800 seconds (seven days)" });
    }
    Ok(())
}
