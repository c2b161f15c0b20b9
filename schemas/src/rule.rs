//! The catalogue of every finding: one definition from which alerts, documentation, Prometheus rules and runbooks are made.

mod breaker;
mod drift;
mod forecast;
mod health;
mod key_rotation;
mod leak;
mod query;
mod recovery;

pub use breaker::*;
pub use drift::*;
pub use forecast::*;
pub use health::*;
pub use key_rotation::*;
pub use leak::*;
pub use query::*;
pub use recovery::*;

use crate::alert::Severity;
use crate::time::Ms;
use serde::Serialize;

/// When a finding is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Nature {
    /// It is a state: it resolves when the condition ends.
    State,
    /// It is an occurrence: it resolves after this long without another.
    Occurrence {
        /// Quiet time in milliseconds.
        quiet_ms: Ms,
    },
}

/// One rule.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// `<actor>.<condition>`.
    pub name: &'static str,
    /// How urgent it is unless the mind says otherwise.
    pub severity: Severity,
    /// When it is over.
    #[serde(flatten)]
    pub nature: Nature,
    /// What it means, one sentence.
    pub meaning: &'static str,
    /// Labels that make up its identity beside rule and service.
    pub labels: &'static [&'static str],
    /// Evidence: name and meaning of each number.
    pub evidence: &'static [(&'static str, &'static str)],
    /// What to look at before something is done: evidence, labels, commands and paths of the gateway. For people and their pages; no alert carries it.
    #[serde(skip)]
    pub look: &'static str,
    /// What to do about it.
    pub advice: &'static str,
}

impl Rule {
    /// The rule of this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<&'static Rule> {
        CATALOGUE.iter().copied().find(|rule| rule.name == name)
    }

    /// The actor that owns it.
    #[must_use]
    pub fn actor(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(actor, _)| actor)
    }
}

const MINUTE: Ms = 60_000;

/// Every rule, in the order of the documentation.
pub static CATALOGUE: &[&Rule] = &[
    &QUERY_SLOW,
    &QUERY_N_PLUS_ONE,
    &QUERY_DUPLICATE,
    &QUERY_N_PLUS_ONE_WRITE,
    &QUERY_REGRESSED,
    &QUERY_ADVICE,
    &QUERY_ADVICE_EFFECTIVE,
    &QUERY_ADVICE_INEFFECTIVE,
    &QUERY_CACHE_COLD,
    &HEALTH_SILENT,
    &HEALTH_BUS_SILENT,
    &HEALTH_ERROR_RATE,
    &HEALTH_MEMORY,
    &HEALTH_PRESSURE,
    &HEALTH_OOM_KILL,
    &HEALTH_CHECK_FAILED,
    &HEALTH_POOL_EXHAUSTED,
    &HEALTH_DATABASE,
    &HEALTH_BUS,
    &BREAKER_OPEN,
    &DRIFT_SHIFTED,
    &DRIFT_CRITICAL,
    &LEAK_SUSPECTED,
    &LEAK_CONFIRMED,
    &LEAK_LIMIT_NEAR,
    &FORECAST_ANOMALY,
    &FORECAST_EXHAUSTION,
    &KEY_ROTATION_EXPIRES_SOON,
    &KEY_ROTATION_EXPIRED,
    &KEY_ROTATION_ROTATED,
    &KEY_ROTATION_OLD_VERSION_IN_USE,
    &KEY_ROTATION_OVERDUE,
    &KEY_ROTATION_RECIPIENT_CHANGES,
    &KEY_ROTATION_REVOKED,
    &KEY_ROTATION_FAILED,
    &KEY_ROTATION_CLOCK_JUMPED,
    &RECOVERY_VERIFIED,
    &RECOVERY_INEFFECTIVE,
    &RECOVERY_ESCALATED,
    &RECOVERY_APPROVAL_WANTED,
    &RECOVERY_FLEET_BRAKE,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_two_tokens_and_stands_once() {
        let mut names: Vec<_> = CATALOGUE.iter().map(|rule| rule.name).collect();
        for name in &names {
            let tokens: Vec<_> = name.split('.').collect();
            assert_eq!(tokens.len(), 2, "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b == b'.'), "{name}");
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CATALOGUE.len());
    }
}
