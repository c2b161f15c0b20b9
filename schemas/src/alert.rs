//! Alerts: a finding that began or ended. A state change is one message; nothing is repeated on the bus.

use crate::time::UnixMs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, fmt};

/// How urgent a finding is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know; nobody need be woken.
    #[default]
    Info,
    /// Someone should look within the day.
    Warning,
    /// Someone should look now.
    Critical,
}

impl Severity {
    /// All, the least urgent first.
    pub const ALL: [Severity; 3] = [Severity::Info, Severity::Warning, Severity::Critical];

    /// The word on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Whether the finding began or ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It began.
    #[default]
    Firing,
    /// It ended.
    Resolved,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            State::Firing => "firing",
            State::Resolved => "resolved",
        })
    }
}

/// A finding that began or ended, as it stands on the bus.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Alert {
    /// This message's id, the same as its `ce-id`: made of the position that caused it, so that a replay makes the same.
    pub id: String,
    /// The incident: shared by the message that fires and the one that resolves.
    pub incident: String,
    /// The rule of the catalogue, `<actor>.<condition>`.
    pub rule: String,
    /// How urgent it is.
    pub severity: Severity,
    /// Whether it began or ended.
    pub state: State,
    /// The service it is about.
    pub service: String,
    /// With rule and service, what makes this finding the same finding next time. Bounded, never a value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// One line for a person.
    pub summary: String,
    /// When the condition began, log time.
    pub since_ms: UnixMs,
    /// When this message was decided, log time.
    pub at_ms: UnixMs,
    /// The numbers behind it, and where they came from.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub evidence: BTreeMap<String, Value>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub advice: Vec<String>,
    /// Ids of the alerts or events that led to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cause: Vec<String>,
    /// A trace that shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

impl Alert {
    /// The verdict of the recovery actor that it says (`verified`, `ineffective` or `escalated`), with the incident that it is about and
    /// the last command for it, if there was one; nothing for any other alert, and for one that resolves.
    #[must_use]
    pub fn verdict(&self) -> Option<(&'static str, &str, Option<&str>)> {
        let said = self.rule.strip_prefix("recovery.")?;
        let word = ["verified", "ineffective", "escalated"].into_iter().find(|word| *word == said)?;
        let evidence = |name: &str| self.evidence.get(name).and_then(serde_json::Value::as_str).filter(|text| !text.is_empty());
        (self.state == State::Firing).then(|| Some((word, evidence("incident")?, evidence("command"))))?
    }

    /// `(actor, condition)` of the rule; the condition is empty when the rule has no dot.
    #[must_use]
    pub fn actor_and_condition(&self) -> (&str, &str) {
        self.rule.split_once('.').unwrap_or((&self.rule, ""))
    }
}
