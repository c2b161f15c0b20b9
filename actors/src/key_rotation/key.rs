//! One key as this mind keeps it, and what is due for it when.

use super::KeyRotationConfig;
use homeostat_schemas::key::{KEY_VERSIONS_MAX, KeyRecord, KeyState, KeyUsage};
use homeostat_schemas::{Ms, Severity, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const MINUTE: Ms = 60_000;
const HOUR: Ms = 60 * MINUTE;
const DAY: Ms = 24 * HOUR;

/// A version that was used within so long is in use.
pub(super) const IN_USE_MS: Ms = DAY;

/// Before a key ends: how long before, and how urgent.
const BEFORE_END: [(Ms, Severity); 3] = [(14 * DAY, Severity::Info), (7 * DAY, Severity::Warning), (DAY, Severity::Critical)];
/// Before an old version ends that is still used.
const BEFORE_GRACE_ENDS: [(Ms, Severity); 3] = [(3 * DAY, Severity::Info), (DAY, Severity::Warning), (HOUR, Severity::Critical)];

/// One version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Version {
    pub(super) version: u32,
    pub(super) state: KeyState,
    pub(super) created_ms: UnixMs,
    starts_ms: Option<UnixMs>,
    pub(super) expires_ms: Option<UnixMs>,
    revoked_ms: Option<UnixMs>,
    pub(super) compromised: bool,
    pub(super) count: u64,
    pub(super) used_ms: Option<UnixMs>,
    pub(super) source: Option<String>,
}

impl Version {
    fn open(&self) -> bool {
        matches!(self.state, KeyState::Pending | KeyState::Active | KeyState::Grace)
    }

    fn state_at(&self, now: UnixMs) -> KeyState {
        match self.state {
            _ if self.open() && self.expires_ms.is_some_and(|at| now >= at) => KeyState::Expired,
            KeyState::Pending if self.starts_ms.is_none_or(|at| now >= at) => KeyState::Active,
            state => state,
        }
    }

    /// When it was over.
    fn over_ms(&self) -> UnixMs {
        self.revoked_ms.or(self.expires_ms).unwrap_or(self.created_ms)
    }
}

/// Something that is done to a key when its time has come, by the hand `keys`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Write down that a version's time is over.
    Expire,
    /// Give it a new version.
    Rotate,
    /// Destroy the hash of a version that is over.
    Purge,
    /// Let another recipient take its place.
    Recipient,
}

impl Act {
    /// All of them.
    pub const ALL: [Act; 4] = [Act::Expire, Act::Rotate, Act::Purge, Act::Recipient];

    /// What the hand is asked.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Act::Expire => "expire",
            Act::Rotate => "rotate",
            Act::Purge => "purge",
            Act::Recipient => "recipient",
        }
    }
}

/// What is due for a key: when, what, and to which of its versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) at_ms: UnixMs,
    pub(super) act: Act,
    pub(super) version: u32,
}

/// Why a key that should be rotated is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Overdue {
    pub(super) due_ms: UnixMs,
    pub(super) why: &'static str,
}

/// A command to rotate a key, until its outcome is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Commanded {
    pub(super) id: String,
    pub(super) until_ms: UnixMs,
    pub(super) compromised: bool,
}

/// One key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Key {
    pub(super) owner: String,
    pub(super) expires_ms: Option<UnixMs>,
    pub(super) rotate_every_ms: Option<Ms>,
    grace_ms: Ms,
    pub(super) has_recipient: bool,
    /// Another recipient waits until then.
    pub(super) change_ms: Option<UnixMs>,
    pub(super) generation: u64,
    /// The generation of the last change that was told.
    pub(super) told: u64,
    pub(super) versions: Vec<Version>,
    /// What was asked of the hand, and is not answered.
    pub(super) asked: Option<(String, Act)>,
    pub(super) command: Option<Commanded>,
    /// The last fence of a command to it.
    pub(super) fence: u64,
    pub(super) failures: u32,
    /// Nothing is done before that: a pause after a failure.
    pub(super) not_before_ms: UnixMs,
    /// When it is looked at again.
    pub(super) look_ms: Option<UnixMs>,
    /// Steps of notices that were taken: before its end, before the end of the old version.
    pub(super) noticed: (u8, u8),
    /// When it was heard of last.
    pub(super) heard_ms: UnixMs,
}

impl Key {
    /// Takes what a record says, unless something newer is known. True when it was taken.
    pub(super) fn fold(&mut self, record: &KeyRecord, now: UnixMs) -> bool {
        self.heard_ms = now;
        if record.generation < self.generation || (record.generation == self.generation && !self.versions.is_empty()) {
            return false;
        }
        let old = std::mem::take(&mut self.versions);
        self.versions = record
            .versions
            .iter()
            .take(KEY_VERSIONS_MAX)
            .map(|version| {
                let known = old.iter().find(|known| known.version == version.version);
                Version {
                    version: version.version,
                    state: version.state,
                    created_ms: version.created_ms,
                    starts_ms: version.starts_ms,
                    expires_ms: version.expires_ms,
                    revoked_ms: version.revoked_ms,
                    compromised: version.compromised,
                    count: known.map_or(0, |known| known.count),
                    used_ms: known.and_then(|known| known.used_ms),
                    source: known.and_then(|known| known.source.clone()),
                }
            })
            .collect();
        self.owner.clone_from(&record.owner);
        self.expires_ms = record.expires_ms;
        self.rotate_every_ms = record.rotate_every_ms.filter(|every| *every > 0);
        self.grace_ms = record.grace_ms;
        self.has_recipient = record.recipient.is_some();
        self.change_ms = record.recipient_change.as_ref().map(|change| change.from_ms);
        self.generation = record.generation;
        self.noticed = (0, 0);
        true
    }

    /// Takes how its versions have been used; counts only grow.
    pub(super) fn used(&mut self, usage: &[KeyUsage]) {
        for usage in usage {
            let Some(version) = self.versions.iter_mut().find(|version| version.version == usage.version) else { continue };
            version.count = version.count.max(usage.count);
            if version.used_ms.is_none_or(|known| known <= usage.last_used_ms) && usage.count > 0 {
                version.used_ms = Some(usage.last_used_ms);
                version.source = usage.source.as_deref().map(|source| crate::core::clip(source).to_owned());
            }
        }
    }

    pub(super) fn used_ms(&self) -> Option<UnixMs> {
        self.versions.iter().filter_map(|version| version.used_ms).max()
    }

    pub(super) fn last(&self) -> Option<&Version> {
        self.versions.last()
    }

    /// The version in force.
    pub(super) fn active(&self, now: UnixMs) -> Option<&Version> {
        self.versions.iter().rev().find(|version| version.state_at(now) == KeyState::Active)
    }

    /// Is there nothing left of it that could ever change?
    pub(super) fn is_gone(&self) -> bool {
        self.versions.iter().all(|version| version.state == KeyState::Purged)
    }

    /// When the version in force should have a successor: its period, less what chance takes off, but not while another one is in its
    /// grace, and not if the key ends before the successor would be alone.
    fn rotation(&self, id: &str, now: UnixMs, config: &KeyRotationConfig) -> Option<Due> {
        let (every, active) = (self.rotate_every_ms?, self.active(now)?);
        let period = active.created_ms.saturating_add(every);
        let jittered = period.saturating_sub(config.jitter(id, active.version, every));
        let others = self.versions.iter().filter(|version| version.version != active.version && version.open());
        let free = others.map(|version| version.expires_ms.unwrap_or(UnixMs::MAX)).max().unwrap_or(0);
        let at_ms = jittered.max(free);
        let ends = self.expires_ms.or(active.expires_ms).unwrap_or(UnixMs::MAX);
        (at_ms < UnixMs::MAX && at_ms.saturating_add(self.grace_ms) < ends).then_some(Due {
            at_ms,
            act: Act::Rotate,
            version: active.version,
        })
    }

    /// What is due next.
    pub(super) fn due(&self, id: &str, now: UnixMs, config: &KeyRotationConfig) -> Option<Due> {
        let expiries = self.versions.iter().filter(|version| version.open());
        let expiries = expiries.filter_map(|version| Some(Due { at_ms: version.expires_ms?, act: Act::Expire, version: version.version }));
        let purges = self.versions.iter().filter(|version| matches!(version.state, KeyState::Expired | KeyState::Revoked));
        let purges = purges.map(|version| Due {
            at_ms: version.over_ms().saturating_add(config.purge_after()),
            act: Act::Purge,
            version: version.version,
        });
        let change = self.change_ms.map(|at_ms| Due { at_ms, act: Act::Recipient, version: 0 });
        let rotation = self.rotation(id, now, config).filter(|_| self.has_recipient);
        let all = expiries.chain(purges).chain(change).chain(rotation);
        all.map(|due| Due { at_ms: due.at_ms.max(self.not_before_ms), ..due }).min_by_key(|due| due.at_ms)
    }

    /// When it should have been rotated, if nobody will do it.
    pub(super) fn overdue(&self, id: &str, now: UnixMs, observes: bool, config: &KeyRotationConfig) -> Option<Overdue> {
        let due_ms = self.rotation(id, now, config)?.at_ms;
        match (self.has_recipient, observes) {
            (false, _) => Some(Overdue { due_ms, why: "no recipient is named to whom a new secret could be sealed" }),
            (true, true) => Some(Overdue { due_ms, why: "the actor key_rotation observes and does not act" }),
            (true, false) => None,
        }
    }

    /// The version in force as it stands in the record: what has ended by the passing of time alone may be the work of a clock.
    fn standing(&self) -> Option<&Version> {
        self.versions.iter().rev().find(|version| matches!(version.state, KeyState::Active | KeyState::Pending))
    }

    /// Is there a version that lets anybody in, or will?
    pub(super) fn is_open(&self) -> bool {
        self.versions.iter().any(Version::open)
    }

    /// The version that has a successor and is still accepted, as it stands in the record.
    pub(super) fn grace(&self) -> Option<&Version> {
        self.versions.iter().find(|version| version.state == KeyState::Grace)
    }

    /// The end for good of the version in force.
    pub(super) fn end(&self) -> Option<UnixMs> {
        let standing = self.standing()?;
        standing.expires_ms.or(self.expires_ms)
    }

    /// The last step before its end that was reached.
    pub(super) fn ending(&self, now: UnixMs) -> Option<Step> {
        let end = self.end()?;
        reached(&BEFORE_END, end, end.saturating_sub(self.standing()?.created_ms), now)
    }

    /// The last step before the end of its old version that was reached, if that version is in use.
    pub(super) fn old_in_use(&self, now: UnixMs) -> Option<(Step, &Version)> {
        let version = self.grace()?;
        let step = reached(&BEFORE_GRACE_ENDS, version.expires_ms?, self.grace_ms, now)?;
        version.used_ms.filter(|used| now.saturating_sub(*used) < IN_USE_MS).map(|_| (step, version))
    }

    /// When a notice changes next by the passing of time alone.
    pub(super) fn next_notice(&self, id: &str, now: UnixMs, observes: bool, config: &KeyRotationConfig) -> Option<UnixMs> {
        let before = |steps: &'static [(Ms, Severity)], end: Option<UnixMs>| {
            end.into_iter().flat_map(move |end| steps.iter().map(move |(before, _)| end.saturating_sub(*before)))
        };
        let grace = self.grace();
        let unused = grace.and_then(|version| Some(version.used_ms?.saturating_add(IN_USE_MS)));
        let overdue = self.overdue(id, now, observes, config).map(|overdue| overdue.due_ms);
        let steps = before(&BEFORE_END, self.end()).chain(before(&BEFORE_GRACE_ENDS, grace.and_then(|version| version.expires_ms)));
        steps.chain(unused).chain(overdue).filter(|at| *at > now).min()
    }
}

/// A step of a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// From 1, growing with urgency.
    pub(super) number: u8,
    pub(super) severity: Severity,
    /// When it was reached.
    pub(super) since_ms: UnixMs,
    /// What it is a step before.
    pub(super) end_ms: UnixMs,
}

/// The last step before `end_ms` that was reached; one that is no shorter than the whole span says nothing.
fn reached(steps: &[(Ms, Severity)], end_ms: UnixMs, span: Ms, now: UnixMs) -> Option<Step> {
    let left = end_ms.saturating_sub(now);
    let all = (1..).zip(steps).filter(|(_, (before, _))| left <= *before && *before < span);
    all.last().map(|(number, (before, severity))| Step { number, severity: *severity, since_ms: end_ms.saturating_sub(*before), end_ms })
}
