//! Commands: what should be done. Published by the recovery actor alone.

use crate::time::UnixMs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a feature may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Nothing: it neither looks nor speaks.
    Off,
    /// It looks and speaks; its commands are marked as not to be executed.
    #[default]
    Observe,
    /// Its commands are meant.
    Act,
}

/// How a command's effect will be judged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verify {
    /// What must come true, as the policy says it: `resource.memory falls 20 % within 5m`.
    pub what: String,
    /// Until when, log time.
    pub until_ms: UnixMs,
}

/// What should be done, to whom, why, and until when it is worth doing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Command {
    /// This message's id, the same as its `ce-id`.
    pub id: String,
    /// What, `<topic>.<verb>`: `cache.warm`.
    pub action: String,
    /// By which service.
    pub service: String,
    /// To what: an instance, a cache, a pool, a model. Never empty, never a wildcard.
    pub target: String,
    /// Arguments of the action.
    #[serde(default)]
    pub args: Value,
    /// The alert that is the reason.
    pub reason: String,
    /// The incident it belongs to.
    pub incident: String,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// Grows with every command to the target: an executor refuses a smaller one than it has seen.
    pub fence: u64,
    /// When it was issued, log time.
    pub issued_ms: UnixMs,
    /// After which it must not be executed any more.
    pub expires_ms: UnixMs,
    /// How its effect will be judged.
    pub verify: Verify,
    /// `act` is meant; `observe` shows what would have been done.
    pub mode: Mode,
}

impl Command {
    /// `(topic, verb)` of the action; the verb is empty when the action has no dot.
    #[must_use]
    pub fn topic_and_verb(&self) -> (&str, &str) {
        self.action.split_once('.').unwrap_or((&self.action, ""))
    }
}
