//! The hand `clock`: what this machine's wall clock and its monotonic clock say at one instant.
//!
//! The monotonic one is the time since the machine booted, sleep included, and the boot has a name: so a restart of this process is
//! no jump, and readings of another boot are not compared. Where the kernel does not say (not Linux), it is the time since this
//! process began, under a name of its own.

use crate::clock::now_ms;
use homeostat_actors::key_rotation::{CLOCK, Reading};
use homeostat_schemas::{Ask, Ms};
use serde_json::Value;
use std::sync::LazyLock;
use std::time::Instant;

/// The hand's name.
pub(super) const NAME: &str = CLOCK;

/// When this process looked first, and its name among others.
static BEGAN: LazyLock<(Instant, String)> = LazyLock::new(|| (Instant::now(), format!("process {} at {}", std::process::id(), now_ms())));

/// Reads the clocks.
///
/// # Errors
/// When it is asked for something else.
pub(super) fn work(ask: &Ask) -> Result<Value, String> {
    if ask.what != "read" {
        return Err("a clock can only be read".to_owned());
    }
    serde_json::to_value(read()).map_err(|error| error.to_string())
}

/// One reading.
fn read() -> Reading {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
    let uptime = std::fs::read_to_string("/proc/uptime").ok().as_deref().and_then(uptime_ms);
    let (machine, monotonic_ms) = match (boot, uptime) {
        (Some(boot), Some(uptime)) if !boot.trim().is_empty() => (boot.trim().to_owned(), uptime),
        _ => (BEGAN.1.clone(), u64::try_from(BEGAN.0.elapsed().as_millis()).unwrap_or(u64::MAX)),
    };
    Reading { machine, wall_ms: now_ms(), monotonic_ms }
}

/// The time since boot in the kernel's words: `12345.67 23456.78`, seconds with two digits.
fn uptime_ms(text: &str) -> Option<Ms> {
    let (seconds, hundredths) = text.split_whitespace().next()?.split_once('.')?;
    let hundredths: u64 = if hundredths.len() == 2 { hundredths.parse().ok()? } else { return None };
    seconds.parse::<u64>().ok()?.checked_mul(1_000)?.checked_add(hundredths * 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_how_long_it_is_up() {
        assert_eq!(uptime_ms("350735.47 234388.90\n"), Some(350_735_470));
        for bad in ["", "12", "1.5 2", "x.00", "99999999999999999999.00"] {
            assert_eq!(uptime_ms(bad), None, "{bad}");
        }
    }

    #[test]
    fn two_readings_are_of_one_machine_and_in_order() {
        let (a, b) = (read(), read());
        assert_eq!(a.machine, b.machine);
        assert!(b.monotonic_ms >= a.monotonic_ms && a.monotonic_ms > 0);
    }
}
