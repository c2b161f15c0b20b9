//! May time be believed? A key must not end because somebody set a clock.
//!
//! Log time is the bus server's wall clock, and whether a key is accepted is judged by that of each machine. So before anything is
//! done because its time has come, the hand `clock` reads a machine's wall clock and its monotonic one (time since boot, sleep
//! included), and three spans are compared with those since an earlier reading, the *anchor*: monotonic, wall, and log time. When one
//! of the latter two differs from the first by more than the limit, it has jumped: nothing that depends on time is done, until it is
//! back, or somebody accepts the new time.
//!
//! A reading names the boot of its machine: after a restart of the process the anchor still counts; another machine, or the same one
//! booted again, gets an anchor of its own, if its wall clock and log time agree. An anchor is renewed once an hour, so that a clock
//! that is merely corrected (slewed) may drift by less than the limit an hour, for ever.

use super::KeyRotationConfig;
use homeostat_schemas::{Ms, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The hand that reads the clocks.
pub const CLOCK: &str = "clock";

/// Readings follow each other at this distance at least.
const WANTED_MS: Ms = 1_000;
/// How old an anchor becomes.
const ANCHOR_MS: Ms = 3_600_000;
/// Machines that are remembered.
const MACHINES_MAX: usize = 8;
/// Longest name of a machine's boot, bytes.
const MACHINE_MAX: usize = 64;

/// What the clocks of a machine say at one instant; what the hand finds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Which machine, since which boot: monotonic readings with the same name can be compared.
    pub machine: String,
    /// Its wall clock, Unix ms.
    pub wall_ms: UnixMs,
    /// Its monotonic clock, ms.
    pub monotonic_ms: Ms,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Anchor {
    wall_ms: UnixMs,
    monotonic_ms: Ms,
    log_ms: UnixMs,
}

/// A clock that jumped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Jump {
    /// Which clock: `wall` of the machine, `log`, or `apart` when a machine seen for the first time and the log disagree.
    pub clock: String,
    /// How far it is ahead (behind, when negative), ms.
    pub by_ms: i64,
    /// The boot of the machine that was asked.
    pub machine: String,
    /// Since when, log time.
    pub since_ms: UnixMs,
}

/// What is known of the clocks.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Clock {
    anchors: BTreeMap<String, Anchor>,
    pub(super) jump: Option<Jump>,
    /// Log time of the last reading that agreed.
    agreed_ms: UnixMs,
    /// There is no hand (a replay without one): log time is all there is.
    alone: bool,
    /// The next reading is right, whatever it says.
    accept: bool,
    /// Something is due and waits for a reading.
    pub(super) wanted: bool,
    /// When a reading was asked for last.
    pub(super) asked_ms: UnixMs,
    /// Asks in a row that failed.
    pub(super) failures: u32,
}

fn apart(later: u64, earlier: u64) -> i64 {
    i64::try_from(later).unwrap_or(i64::MAX).saturating_sub(i64::try_from(earlier).unwrap_or(i64::MAX))
}

impl Clock {
    /// May something be done that was due at `due`? Only if no clock has jumped, as seen after that.
    pub(super) fn vouches(&self, due: UnixMs) -> bool {
        self.jump.is_none() && (self.alone || self.agreed_ms >= due)
    }

    pub(super) fn len(&self) -> usize {
        self.anchors.len()
    }

    pub(super) const fn within(len: usize) -> bool {
        len <= MACHINES_MAX
    }

    /// Is it time to read them? When something waits for it soon, after a failure not too soon.
    pub(super) fn is_due(&self, now: UnixMs, config: &KeyRotationConfig) -> bool {
        let pause = match (self.failures, self.wanted && self.jump.is_none()) {
            (1.., _) => config.pause(self.failures),
            (0, true) => WANTED_MS,
            (0, false) => config.clock_every(),
        };
        self.asked_ms == 0 || now >= self.asked_ms.saturating_add(pause)
    }

    /// Somebody says that the time is right as it is.
    pub(super) fn accept(&mut self) {
        self.anchors.clear();
        self.accept = true;
        self.wanted = true;
        self.asked_ms = 0;
    }

    /// There is nobody to read a clock.
    pub(super) fn alone(&mut self) {
        self.alone = true;
        self.wanted = false;
    }

    /// Takes a reading. The clock that has jumped, if one has.
    pub(super) fn take(&mut self, reading: &Reading, now: UnixMs, config: &KeyRotationConfig) -> Option<Jump> {
        self.alone = false;
        self.wanted = false;
        self.failures = 0;
        let machine = crate::core::clip(&reading.machine);
        let machine = &machine[..machine.floor_char_boundary(MACHINE_MAX)];
        let found = self.judge(machine, reading, now, config);
        let accepted = std::mem::take(&mut self.accept);
        match found {
            Some((clock, by_ms)) if !accepted => {
                let since_ms = self.jump.as_ref().map_or(now, |jump| jump.since_ms);
                self.jump = Some(Jump { clock: clock.to_owned(), by_ms, machine: machine.to_owned(), since_ms });
            }
            _ => {
                let old = self.anchors.get(machine).is_none_or(|anchor| {
                    reading.monotonic_ms < anchor.monotonic_ms || reading.monotonic_ms - anchor.monotonic_ms >= ANCHOR_MS
                });
                if old {
                    self.anchor(machine, Anchor { wall_ms: reading.wall_ms, monotonic_ms: reading.monotonic_ms, log_ms: now });
                }
                self.agreed_ms = now;
                self.jump = None;
            }
        }
        self.jump.clone()
    }

    fn judge(&self, machine: &str, reading: &Reading, now: UnixMs, config: &KeyRotationConfig) -> Option<(&'static str, i64)> {
        let limit = config.jump();
        let known = self.anchors.get(machine).filter(|anchor| reading.monotonic_ms >= anchor.monotonic_ms);
        let Some(anchor) = known else {
            let by = apart(reading.wall_ms, now);
            return (by.unsigned_abs() > limit).then_some(("apart", by));
        };
        let passed = apart(reading.monotonic_ms, anchor.monotonic_ms);
        let wall = apart(reading.wall_ms, anchor.wall_ms).saturating_sub(passed);
        let log = apart(now, anchor.log_ms).saturating_sub(passed);
        [("wall", wall), ("log", log)].into_iter().find(|(_, by)| by.unsigned_abs() > limit)
    }

    fn anchor(&mut self, machine: &str, anchor: Anchor) {
        if self.anchors.len() >= MACHINES_MAX && !self.anchors.contains_key(machine) {
            let oldest = self.anchors.iter().min_by_key(|(_, anchor)| anchor.log_ms).map(|(name, _)| name.clone());
            if let Some(oldest) = oldest {
                self.anchors.remove(&oldest);
            }
        }
        self.anchors.insert(machine.to_owned(), anchor);
    }
}
