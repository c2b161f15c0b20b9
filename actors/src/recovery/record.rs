//! The decision record: everything that was done, and everything that was held back, and why.
//!
//! An entry is known by its place: the message at which it was decided, and its number among those decided there. Both follow from
//! the log, so that what is decided again after a restart is the same entry.

use homeostat_schemas::{Position, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// What was decided or learnt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// An incident that something can be done about.
    #[default]
    Opened,
    /// Somebody asked for a command.
    Requested,
    /// It was held back.
    Held,
    /// A person has to agree.
    Proposed,
    /// A person agreed.
    Approved,
    /// A person said no.
    Denied,
    /// It was shown what would have been done.
    Observed,
    /// A command was issued.
    Issued,
    /// It was taken up.
    Accepted,
    /// It was done.
    Done,
    /// It helped.
    Verified,
    /// It did not help.
    Ineffective,
    /// It was tried and failed, or took too long.
    Failed,
    /// The application would not do it.
    Refused,
    /// Nobody took it up in time.
    Expired,
    /// An answer that came too late, or from somebody else.
    Late,
    /// A person was called.
    Escalated,
    /// The incident ended by itself.
    Resolved,
    /// Somebody stopped commands.
    Paused,
    /// Somebody let commands go on.
    Resumed,
    /// Too many are unhealthy for one cause: commands stopped.
    Braked,
    /// They go on.
    Released,
    /// An order that could not be followed.
    Rejected,
    /// There was no room for it.
    Dropped,
}

impl What {
    /// The word in views, in history and in questions.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            What::Opened => "opened",
            What::Requested => "requested",
            What::Held => "held",
            What::Proposed => "proposed",
            What::Approved => "approved",
            What::Denied => "denied",
            What::Observed => "observed",
            What::Issued => "issued",
            What::Accepted => "accepted",
            What::Done => "done",
            What::Verified => "verified",
            What::Ineffective => "ineffective",
            What::Failed => "failed",
            What::Refused => "refused",
            What::Expired => "expired",
            What::Late => "late",
            What::Escalated => "escalated",
            What::Resolved => "resolved",
            What::Paused => "paused",
            What::Resumed => "resumed",
            What::Braked => "braked",
            What::Released => "released",
            What::Rejected => "rejected",
            What::Dropped => "dropped",
        }
    }
}

/// One entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// Log time.
    pub at_ms: UnixMs,
    /// What was decided.
    pub what: What,
    /// Why, in a sentence.
    pub why: String,
    /// The incident it belongs to; empty when it belongs to none.
    pub incident: String,
    /// The rule of the alert; empty for an order.
    pub rule: String,
    /// The service.
    pub service: String,
    /// The action.
    pub action: String,
    /// The target.
    pub target: String,
    /// The command, when there is one.
    pub command: String,
    /// The message of the log at which it was decided.
    #[serde(default)]
    pub position: Position,
    /// Its number among what was decided there, from 0.
    #[serde(default)]
    pub index: u32,
}

/// The newest entries, and how many there were of each sort.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    entries: VecDeque<Entry>,
    counts: BTreeMap<What, u64>,
}

/// Longest reason that is kept, in characters.
const WHY_MAX: usize = 300;

impl Record {
    pub(super) fn write(&mut self, mut entry: Entry, limit: usize) {
        if entry.why.chars().nth(WHY_MAX).is_some() {
            entry.why = entry.why.chars().take(WHY_MAX).collect();
        }
        entry.index = self.entries.back().filter(|last| last.position == entry.position).map_or(0, |last| last.index.saturating_add(1));
        let count = self.counts.entry(entry.what).or_default();
        *count = count.saturating_add(1);
        self.entries.push_back(entry);
        self.make_room(limit);
    }

    pub(super) fn make_room(&mut self, limit: usize) {
        while self.entries.len() > limit {
            self.entries.pop_front();
        }
    }

    /// The newest first.
    pub(super) fn newest(&self, count: usize) -> Vec<Entry> {
        self.entries.iter().rev().take(count).cloned().collect()
    }

    pub(super) fn counts(&self) -> &BTreeMap<What, u64> {
        &self.counts
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}
