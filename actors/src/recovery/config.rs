//! The policy: which alert leads to which command, and within which bounds. The documentation of each field is its manual.

use super::goal::Goal;
use homeostat_schemas::{Mode, Ms};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Who has to agree before a command is issued.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    /// Nobody.
    #[default]
    Auto,
    /// A person.
    Person,
    /// Two persons of different names.
    TwoPersons,
}

impl Approval {
    /// How many have to agree.
    #[must_use]
    pub const fn needed(self) -> usize {
        match self {
            Approval::Auto => 0,
            Approval::Person => 1,
            Approval::TwoPersons => 2,
        }
    }
}

/// One rule: from an alert to a command.
///
/// `target` and the texts in `args` are templates: `{instance}` and any other label of the alert, `{service}`, `{rule}`,
/// `{severity}`, `{incident}`, `{evidence.advised_size}`. A text that is nothing but one placeholder of evidence becomes that value,
/// of its own type. An argument whose placeholder is missing is left out; a target with one is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The rule whose alert it answers: `leak.confirmed`.
    #[serde(deserialize_with = "two_tokens")]
    pub on: String,
    /// Only alerts with these labels (`*` stands for anything), of this `service`, and of at least this `severity`.
    #[serde(rename = "where", default)]
    pub filter: BTreeMap<String, String>,
    /// What to do, `<topic>.<verb>`: `memory.reclaim`.
    #[serde(rename = "do", deserialize_with = "two_tokens")]
    pub action: String,
    /// To what. One definite thing: empty targets and wildcards are refused.
    pub target: String,
    /// Arguments of the action.
    #[serde(default)]
    pub args: BTreeMap<String, Value>,
    /// How its effect is judged: `resource.memory falls 20 % within 5m`, `cache.hit_rate rises above 60 % within 5m`,
    /// `pool.usage falls below 80 % within 5m`, `<rule> resolves within 10m`. Empty: nobody judges, and the record says so.
    #[serde(default, deserialize_with = "goal")]
    pub verify: String,
    /// Time between two commands of this action to one target, seconds.
    #[serde(default = "ten_minutes")]
    pub cooldown_s: u64,
    /// So many tries without effect on one target, then a person is called.
    #[serde(default = "three")]
    pub attempts: u32,
    /// Who has to agree.
    #[serde(default)]
    pub approval: Approval,
    /// What this rule may do; never more than the actor's `mode`.
    #[serde(default = "act")]
    pub mode: Mode,
    /// It is held back while an alert of one of these rules is open for the service: the cause lies elsewhere.
    #[serde(default)]
    pub unless: Vec<String>,
    /// After so many seconds nobody may take the command up any more.
    #[serde(default = "one_minute")]
    pub expires_s: u64,
    /// A command that was taken up has failed after so many seconds.
    #[serde(default = "five_minutes")]
    pub timeout_s: u64,
}

const fn ten_minutes() -> u64 {
    600
}
const fn five_minutes() -> u64 {
    300
}
const fn one_minute() -> u64 {
    60
}
const fn three() -> u32 {
    3
}
const fn act() -> Mode {
    Mode::Act
}

/// `<topic>.<verb>` in lower case, digits and `_`.
pub(super) fn is_two_tokens(text: &str) -> bool {
    let token =
        |token: &str| (1..=64).contains(&token.len()) && token.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    text.split_once('.').is_some_and(|(topic, verb)| token(topic) && token(verb))
}

fn two_tokens<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if is_two_tokens(&text) {
        return Ok(text);
    }
    Err(serde::de::Error::custom(format!("`{text}` is not two words joined by a dot, such as leak.confirmed or cache.warm")))
}

fn goal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if !text.is_empty() {
        Goal::parse(&text).map_err(serde::de::Error::custom)?;
    }
    Ok(text)
}

impl Policy {
    /// A rule with everything else as usual.
    #[must_use]
    pub fn new(on: &str, action: &str, target: &str, verify: &str) -> Policy {
        Policy {
            on: on.to_owned(),
            filter: BTreeMap::new(),
            action: action.to_owned(),
            target: target.to_owned(),
            args: BTreeMap::new(),
            verify: verify.to_owned(),
            cooldown_s: ten_minutes(),
            attempts: three(),
            approval: Approval::Auto,
            mode: act(),
            unless: Vec::new(),
            expires_s: one_minute(),
            timeout_s: five_minutes(),
        }
    }

    fn only(mut self, label: &str, value: &str) -> Policy {
        self.filter.insert(label.to_owned(), value.to_owned());
        self
    }

    fn with(mut self, name: &str, value: &str) -> Policy {
        self.args.insert(name.to_owned(), Value::from(value));
        self
    }

    fn asking(self, approval: Approval) -> Policy {
        Policy { approval, ..self }
    }
}

/// The rules that are there unless others are named.
fn built_in() -> Vec<Policy> {
    vec![
        Policy::new("leak.confirmed", "memory.reclaim", "{instance}", "resource.memory falls 20 % within 5m"),
        Policy::new("leak.limit_near", "service.restart", "{instance}", "leak.limit_near resolves within 15m").asking(Approval::Person),
        Policy::new("query.cache_cold", "cache.warm", "{cache}", "cache.hit_rate rises above 60 % within 5m"),
        Policy::new("query.advice", "cache.warm", "{fingerprint}", "cache.hit_rate rises above 60 % within 15m")
            .only("kind", "cache")
            .with("fingerprint", "{fingerprint}")
            .with("statement", "{evidence.statement}"),
        Policy::new("health.pool_exhausted", "pool.resize", "{pool}", "pool.usage falls below 80 % within 5m")
            .with("size", "{evidence.advised_size}"),
        Policy {
            unless: vec!["breaker.open".to_owned()],
            ..Policy::new("health.error_rate", "load.shed", "{service}", "health.error_rate resolves within 10m")
                .only("severity", "critical")
                .asking(Approval::Person)
        },
        Policy {
            cooldown_s: 86_400,
            attempts: 1,
            timeout_s: 14_400,
            ..Policy::new("drift.critical", "model.retrain", "{model}", "drift.critical resolves within 24h").asking(Approval::Person)
        },
    ]
}

/// The settings table `actors.recovery`. Its `mode` is `observe` unless said otherwise: commands go out marked as not to be executed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RecoveryConfig {
    /// The rules, one table each; the first that fits an alert decides. Naming any replaces the built-in ones, which
    /// `homeostat config show` prints.
    pub rule: Vec<Policy>,
    /// Nothing is done before an alert is so old: whether it is one of many shows in that time. Milliseconds.
    pub settle_ms: Ms,
    /// A command that was held back for so long (by anything but a person, the brake or a cool-down) is a person's, seconds. Those that
    /// join a brake are told to that person within the same time.
    pub hold_max_s: u64,
    /// A proposal that nobody decides on for so long is escalated, seconds.
    pub approval_wait_s: u64,
    /// The share of a service's living instances that may be acted on at once; one is always allowed.
    pub blast_radius: f64,
    /// More than this share of a service's instances (or of all services) unhealthy for one cause stops everything about that cause.
    pub brake_share: f64,
    /// With fewer than so many unhealthy, the share means nothing.
    pub brake_min: u64,
    /// A brake is released when the share has been lower for so long, seconds.
    pub brake_clear_s: u64,
    /// So many commands in all within `budget_window_s`.
    pub budget: usize,
    /// See `budget`.
    pub budget_window_s: u64,
    /// So many commands of one action to one target within `tries_window_s`, whether they helped or not; then a person is called.
    pub tries_max: usize,
    /// See `tries_max`. Failures of a target are forgotten after so long, too.
    pub tries_window_s: u64,
    /// An instance not heard for so long is no member of its service (three of its own intervals, if that is longer), seconds.
    pub member_stale_s: u64,
    /// So many measurements in a row must show the effect.
    pub measurements: u32,
    /// So many look-ups make a measurement of a cache.
    pub lookups_min: u64,
    /// How much is kept.
    pub limits: Limits,
}

impl Default for RecoveryConfig {
    fn default() -> Self {
        RecoveryConfig {
            rule: built_in(),
            settle_ms: 5_000,
            hold_max_s: 1_800,
            approval_wait_s: 3_600,
            blast_radius: 0.2,
            brake_share: 0.5,
            brake_min: 3,
            brake_clear_s: 120,
            budget: 20,
            budget_window_s: 600,
            tries_max: 6,
            tries_window_s: 21_600,
            member_stale_s: 90,
            measurements: 2,
            lookups_min: 20,
            limits: Limits::default(),
        }
    }
}

/// How much is kept. What finds no room is counted in the view, never silently dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Incidents at once.
    pub cases: usize,
    /// Targets whose cool-down and failures are remembered.
    pub targets: usize,
    /// Instances of all services.
    pub members: usize,
    /// Series of which the last value is kept, to compare with.
    pub series: usize,
    /// Entries of the decision record.
    pub record: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { cases: 10_000, targets: 10_000, members: 50_000, series: 20_000, record: 1_000 }
    }
}

/// Issue times that are kept at most, whatever the budget.
pub(super) const BUDGET_MAX: usize = 10_000;

/// Tries of one target that are kept at most.
pub(super) const TRIES_MAX: usize = 100;
