//! Rules for Prometheus: those that every operator asks for (over what applications and node exporter say of themselves), those
//! by which Homeostat itself is watched, and one for each finding of the catalogue.
//!
//! Every quotient has a guard: below some traffic it says nothing. The guards and thresholds stand in one place, here; the
//! unit tests for `promtool` in `docker/prometheus/tests/` show each rule firing and each guard holding it back.
//!
//! Rules for findings have no `for`: the mind has waited already, with its windows, its evidence against chance and its way of holding an alert
//! until it is sure. A second wait would only make it late, and the bus would say something else than Prometheus. Rules over what was counted
//! have `0s`: what happened has happened.
//!
//! A description says what to do as well, so that a pager which leads nowhere is of use. A link (`runbook_url`) is made only where it was said
//! where the pages are; the place of a page in the repository would be a link that leads nowhere, and is the annotation `runbook`.

use applications::APPLICATIONS;
use homeostat::HOMEOSTAT;
use homeostat_schemas::Rule;
use homeostat_schemas::rule::{CATALOGUE, Nature};
use serde_json::{Value, json};

/// Where a rule's page is found when nobody says otherwise: a folder of the repository, and no link.
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
    /// What to do: the same as stands in the runbook, or the beginning of it.
    advice: &'static str,
}

/// The rules as a file of Prometheus, each with its page below `runbooks`, which is a link when that is one.
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
    let (key, page) = runbook(runbooks, &format!("runbook.md#{}", rule.alert.to_ascii_lowercase()));
    json!({
        "alert": rule.alert,
        "expr": rule.expr,
        "for": rule.hold,
        "labels": { "severity": rule.severity },
        "annotations": {
            "summary": rule.summary,
            "description": format!("{} To do: {}", rule.description, rule.advice),
            key: page,
        },
    })
}

/// The annotation that says where a rule's page is.
fn runbook(runbooks: &str, page: &str) -> (&'static str, String) {
    let key = if runbooks.contains("://") { "runbook_url" } else { "runbook" };
    (key, format!("{runbooks}/{page}"))
}

/// A finding of the catalogue. The bus has it with all its numbers; this is the count of what is open, for who lives in Prometheus.
/// It is as urgent as the mind says, not as its rule usually is: a key that ends tomorrow is no news any more.
fn finding(rule: &Rule, runbooks: &str) -> Value {
    let over = match rule.nature {
        Nature::State => "ends when the condition ends".to_owned(),
        Nature::Occurrence { quiet_ms } => format!("ends {} min after the last occurrence", quiet_ms / 60_000),
    };
    let (key, page) = runbook(runbooks, &format!("alerts.md#{}", rule.name.replace('.', "")));
    json!({
        "alert": camel(rule.name),
        "expr": format!("max by (rule, severity) (homeostat_findings_open{{rule=\"{}\"}}) > 0", rule.name),
        "labels": { "severity": "{{ $labels.severity }}", "rule": rule.name },
        "annotations": {
            "summary": format!("{{{{ $value }}}} open: {}", rule.meaning),
            "description": format!(
                "To do: {} To look at (`homeostat alerts` shows each, and `homeostat explain` its numbers): {} It {over}.",
                rule.advice, rule.look
            ),
            key: page,
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

    fn page(name: &str) -> String {
        std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).unwrap()
    }

    /// A part of a rule's section in the runbook, on one line.
    fn part(page: &str, rule: &str, heading: &str) -> Option<String> {
        let section = page.split("\n### ").find_map(|section| section.strip_prefix(rule)?.strip_prefix('\n'))?;
        let text = section.split("\n## ").next()?.split(heading).nth(1)?.split("\n**").next()?;
        Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn the_runbook_says_of_every_rule_what_it_means_what_to_look_at_and_what_to_do() {
        let page = page("runbook.md");
        let mut missing = Vec::new();
        for rule in APPLICATIONS.iter().chain(HOMEOSTAT) {
            for heading in ["**Means** ", "**Look at** "] {
                if part(&page, rule.alert, heading).is_none_or(|text| text.is_empty()) {
                    missing.push(format!("{}: {heading}", rule.alert));
                }
            }
            let advice = part(&page, rule.alert, "**Do** ").unwrap_or_default().replace('`', "");
            if !advice.to_lowercase().starts_with(&rule.advice.trim_end_matches('.').replace('`', "").to_lowercase()) {
                missing.push(format!("{}: **Do** {} (it says: {advice})", rule.alert, rule.advice));
            }
        }
        assert!(missing.is_empty(), "docs/runbook.md lacks\n{}", missing.join("\n"));
    }

    #[test]
    fn a_link_is_made_only_of_what_leads_somewhere() {
        let annotations = |runbooks: &str| -> Vec<Value> {
            let document = document(runbooks);
            let groups = document["groups"].as_array().unwrap().iter();
            groups.flat_map(|group| group["rules"].as_array().unwrap()).map(|rule| rule["annotations"].clone()).collect()
        };
        assert!(annotations(RUNBOOKS).iter().all(|said| said["runbook_url"].is_null() && said["runbook"].is_string()));
        let linked = annotations("https://pages.example/homeostat");
        assert!(linked.iter().all(|said| said["runbook"].is_null()));
        assert_eq!(linked[0]["runbook_url"], "https://pages.example/homeostat/runbook.md#apilatencyp95high");
        assert!(linked.iter().all(|said| said["description"].as_str().unwrap().contains("To do: ")));
    }

    /// What stands between backticks.
    fn quoted(text: &str) -> Vec<&str> {
        text.split('`').skip(1).step_by(2).collect()
    }

    /// Is this a command of the program, or a path of the gateway with parameters that it knows?
    fn is_there(named: &str) -> bool {
        use clap::CommandFactory as _;
        if let Some(command) = named.strip_prefix("homeostat ") {
            let words = command.split(' ').take_while(|word| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'));
            let mut at = crate::cli::Cli::command();
            for (depth, word) in words.enumerate() {
                match at.find_subcommand(word).cloned() {
                    Some(next) => at = next,
                    // An argument of the command, if it takes any.
                    None => return depth > 0 && at.get_subcommands().next().is_none(),
                }
            }
            return true;
        }
        let asked = named.strip_prefix("GET ").unwrap_or(named);
        let (path, parameters) = asked.split_once('?').unwrap_or((asked, ""));
        let document = crate::gateway::openapi::document();
        let known = crate::gateway::routes::ENDPOINTS.iter().any(|endpoint| endpoint.path == path);
        let said = document["paths"][path]["get"]["parameters"].as_array().cloned().unwrap_or_default();
        let takes = |name: &str| said.iter().any(|parameter| parameter["name"] == name);
        known && parameters.split('&').filter(|name| !name.is_empty()).all(|one| takes(one.split('=').next().unwrap_or_default()))
    }

    #[test]
    fn what_a_finding_says_to_look_at_is_there() {
        let envelope = ["since_ms", "incident"];
        let mut wrong = Vec::new();
        for rule in CATALOGUE {
            let evidence = |name: &str| rule.evidence.iter().any(|(known, _)| *known == name);
            for named in quoted(rule.look) {
                let known = evidence(named) || rule.labels.contains(&named) || envelope.contains(&named) || Rule::by_name(named).is_some();
                if !known && !is_there(named) {
                    wrong.push(format!("{}: `{named}`", rule.name));
                }
            }
            assert!(!quoted(rule.look).is_empty() && rule.look.ends_with('.'), "{}", rule.name);
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        let nonsense =
            ["homeostat nonsense", "homeostat query nonsense", "GET /api/v1/nonsense", "GET /api/v1/leaks?nonsense=…", "nonsense"];
        assert!(!nonsense.into_iter().any(is_there), "the test would not notice");
    }

    #[test]
    fn commands_and_paths_in_the_runbook_are_there() {
        let page = page("runbook.md");
        let named =
            quoted(&page).into_iter().filter(|text| text.starts_with("homeostat ") || text.starts_with("GET ") || text.starts_with('/'));
        let wrong: Vec<&str> = named.filter(|text| !is_there(text)).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
