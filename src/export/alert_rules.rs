//! Rules for Prometheus: the ten that every operator asks for (over what applications and node exporter say of themselves), those
//! by which Homeostat itself is watched, and one for each finding of the catalogue.
//!
//! Every quotient has a guard: below some traffic it says nothing. The guards and thresholds stand in one place, here; the
//! unit tests for `promtool` in `docker/prometheus/tests/` show each rule firing and each guard holding it back.

use applications::APPLICATIONS;
use homeostat::HOMEOSTAT;
use homeostat_schemas::Rule;
use homeostat_schemas::rule::{CATALOGUE, Nature};
use serde_json::{Value, json};

/// Where a rule's page is found when nobody says otherwise: relative to the repository.
pub const RUNBOOKS: &str = "docs";

/// More than `$more` (0 when not said) of a counter within a window, those included with which its series began: of these `increase` knows
/// nothing. Ours begin with 0 where all labels are known before, but a process may count before it is scraped for the first time.
macro_rules! grew {
    ($series:literal, $window:literal) => {
        grew!($series, $window, "0")
    };
    ($series:literal, $window:literal, $more:literal) => {
        concat!(
            "increase(",
            $series,
            "[",
            $window,
            "]) > ",
            $more,
            " or (",
            $series,
            " > ",
            $more,
            " unless ",
            $series,
            " offset ",
            $window,
            ")"
        )
    };
}

mod applications;
mod homeostat;

/// A rule that is written here and not in the catalogue.
struct PromRule {
    alert: &'static str,
    expr: &'static str,
    /// How long the condition holds before it is said.
    hold: &'static str,
    severity: &'static str,
    summary: &'static str,
    description: &'static str,
}

/// The rules as a file of Prometheus, each with a link to its page below `runbooks`.
#[must_use]
pub fn document(runbooks: &str) -> Value {
    let written = |rules: &[PromRule]| -> Vec<Value> { rules.iter().map(|rule| written(rule, runbooks)).collect() };
    let findings: Vec<Value> = CATALOGUE.iter().map(|rule| finding(rule, runbooks)).collect();
    json!({ "groups": [
        { "name": "applications", "rules": written(APPLICATIONS) },
        { "name": "homeostat", "rules": written(HOMEOSTAT) },
        { "name": "findings", "rules": findings },
    ] })
}

/// The names of the rules that are written here, for the test that each has a page.
#[must_use]
pub fn names() -> Vec<&'static str> {
    APPLICATIONS.iter().chain(HOMEOSTAT).map(|rule| rule.alert).collect()
}

fn written(rule: &PromRule, runbooks: &str) -> Value {
    json!({
        "alert": rule.alert,
        "expr": rule.expr,
        "for": rule.hold,
        "labels": { "severity": rule.severity },
        "annotations": {
            "summary": rule.summary,
            "description": rule.description,
            "runbook_url": format!("{runbooks}/runbook.md#{}", rule.alert.to_ascii_lowercase()),
        },
    })
}

/// A finding of the catalogue. The bus has it with all its numbers; this is the count of what is open, for who lives in Prometheus.
/// It is as urgent as the mind says, not as its rule usually is: a key that ends tomorrow is no news any more.
fn finding(rule: &Rule, runbooks: &str) -> Value {
    let over = match rule.nature {
        Nature::State => "it ends when the condition ends".to_owned(),
        Nature::Occurrence { quiet_ms } => format!("it ends {} min after the last occurrence", quiet_ms / 60_000),
    };
    json!({
        "alert": camel(rule.name),
        "expr": format!("max by (rule, severity) (homeostat_findings_open{{rule=\"{}\"}}) > 0", rule.name),
        "labels": { "severity": "{{ $labels.severity }}", "rule": rule.name },
        "annotations": {
            "summary": format!("{{{{ $value }}}} open: {}", rule.meaning),
            "description": format!("{} ({over}; `homeostat tail alerts` shows each with its numbers)", rule.advice),
            "runbook_url": format!("{runbooks}/alerts.md#{}", rule.name.replace('.', "")),
        },
    })
}

/// `query.n_plus_one` as `QueryNPlusOne`.
fn camel(name: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
    };
    name.split(['.', '_']).map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_rules_share_a_name() {
        let findings = CATALOGUE.iter().map(|rule| camel(rule.name));
        let mut all: Vec<String> = names().into_iter().map(str::to_owned).chain(findings).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn every_rule_written_here_has_its_section_in_the_runbook() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbook.md");
        let page = std::fs::read_to_string(path).unwrap();
        let missing: Vec<_> = names().into_iter().filter(|name| !page.lines().any(|line| line == format!("### {name}"))).collect();
        assert!(missing.is_empty(), "docs/runbook.md does not explain {missing:?}");
    }
}
