//! Rules for Prometheus: the ten that every operator asks for (over what applications and node exporter say of themselves), those
//! by which Homeostat itself is watched, and one for each finding of the catalogue.
//!
//! Every quotient has a guard: below some traffic it says nothing. The guards and thresholds stand in one place, here; the
//! unit tests for `promtool` in `docker/prometheus/tests/` show each rule firing and each guard holding it back.

use homeostat_schemas::Rule;
use homeostat_schemas::rule::{CATALOGUE, Nature};
use serde_json::{Value, json};

/// Where a rule's page is found when nobody says otherwise: relative to the repository.
pub const RUNBOOKS: &str = "docs";

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

/// The ten rules over applications and machines.
const APPLICATIONS: &[PromRule] = &[
    PromRule {
        alert: "ApiLatencyP95High",
        expr: "histogram_quantile(0.95, sum by (service_name, le) (rate(http_server_request_duration_seconds_bucket[5m]))) > 0.5 \
               and on (service_name) sum by (service_name) (rate(http_server_request_duration_seconds_count[5m])) > 0.1",
        hold: "5m",
        severity: "warning",
        summary: "95 % of the requests of {{ $labels.service_name }} need up to {{ $value | humanizeDuration }}",
        description: "One request in twenty takes longer than 500 ms.",
    },
    PromRule {
        alert: "ApiLatencyP99High",
        expr: "histogram_quantile(0.99, sum by (service_name, le) (rate(http_server_request_duration_seconds_bucket[5m]))) > 2 \
               and on (service_name) sum by (service_name) (rate(http_server_request_duration_seconds_count[5m])) > 0.1",
        hold: "5m",
        severity: "critical",
        summary: "99 % of the requests of {{ $labels.service_name }} need up to {{ $value | humanizeDuration }}",
        description: "One request in a hundred takes longer than 2 s.",
    },
    PromRule {
        alert: "ErrorRateHigh",
        expr: "sum by (service_name) (rate(http_server_request_duration_seconds_count{http_response_status_code=~\"5..\"}[5m])) \
               / sum by (service_name) (rate(http_server_request_duration_seconds_count[5m])) > 0.05 \
               and on (service_name) sum by (service_name) (rate(http_server_request_duration_seconds_count[5m])) > 0.1",
        hold: "5m",
        severity: "critical",
        summary: "{{ $value | humanizePercentage }} of the requests of {{ $labels.service_name }} fail",
        description: "More than 5 % of the requests were answered with a status of 500 or above.",
    },
    PromRule {
        alert: "CacheHitRateLow",
        expr: "sum by (service_name, cache) (rate(app_cache_requests_total{result=\"hit\"}[10m])) \
               / sum by (service_name, cache) (rate(app_cache_requests_total[10m])) < 0.6 \
               and on (service_name, cache) sum by (service_name, cache) (rate(app_cache_requests_total[10m])) > 0.1",
        hold: "10m",
        severity: "warning",
        summary: "Cache {{ $labels.cache }} of {{ $labels.service_name }} answers {{ $value | humanizePercentage }} of what it is asked",
        description: "Less than 60 % of the look-ups are hits.",
    },
    PromRule {
        alert: "FixSuccessLow",
        expr: "sum(increase(homeostat_recovery_outcomes_total{outcome=\"verified\"}[1h])) \
               / sum(increase(homeostat_recovery_outcomes_total[1h])) < 0.75 \
               and sum(increase(homeostat_recovery_outcomes_total[1h])) >= 4",
        hold: "5m",
        severity: "warning",
        summary: "{{ $value | humanizePercentage }} of the cures of the last hour helped",
        description: "Less than 75 % of at least four cures had the effect that was promised of them.",
    },
    PromRule {
        alert: "ServiceDown",
        expr: "up == 0",
        hold: "1m",
        severity: "critical",
        summary: "{{ $labels.job }} at {{ $labels.instance }} cannot be scraped",
        description: "Prometheus has had no answer for a minute.",
    },
    PromRule {
        alert: "MemoryAvailableLow",
        expr: "node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes < 0.15",
        hold: "5m",
        severity: "warning",
        summary: "{{ $value | humanizePercentage }} of the memory of {{ $labels.instance }} is available",
        description: "Less than 15 % of a machine's memory can be had without swapping.",
    },
    PromRule {
        alert: "CpuHigh",
        expr: "1 - avg by (instance) (rate(node_cpu_seconds_total{mode=\"idle\"}[5m])) > 0.85",
        hold: "10m",
        severity: "warning",
        summary: "The processors of {{ $labels.instance }} are busy for {{ $value | humanizePercentage }} of the time",
        description: "A machine's processors have been busy for more than 85 % of the time.",
    },
    PromRule {
        alert: "DatabaseLatencyP95High",
        expr: "histogram_quantile(0.95, sum by (service_name, db_system_name, le) (rate(db_client_operation_duration_seconds_bucket[5m]))) > 0.25 \
               and on (service_name, db_system_name) sum by (service_name, db_system_name) (rate(db_client_operation_duration_seconds_count[5m])) > 0.1",
        hold: "5m",
        severity: "warning",
        summary: "95 % of what {{ $labels.service_name }} asks of {{ $labels.db_system_name }} takes up to {{ $value | humanizeDuration }}",
        description: "One database operation in twenty takes longer than 250 ms.",
    },
    PromRule {
        alert: "ConnectionPoolNearlyFull",
        expr: "sum by (service_name, db_client_connection_pool_name) (db_client_connection_count{db_client_connection_state=\"used\"}) \
               / sum by (service_name, db_client_connection_pool_name) (db_client_connection_max) > 0.8",
        hold: "2m",
        severity: "warning",
        summary: "Pool {{ $labels.db_client_connection_pool_name }} of {{ $labels.service_name }} is used to {{ $value | humanizePercentage }}",
        description: "More than 80 % of a pool's connections are in use.",
    },
];

/// The rules by which Homeostat itself is watched.
const HOMEOSTAT: &[PromRule] = &[
    PromRule {
        alert: "HomeostatNotAtWork",
        expr: "sum(homeostat_active) != 1",
        hold: "30s",
        severity: "critical",
        summary: "{{ $value }} processes carry the actors",
        description: "Exactly one process works; the others stand by.",
    },
    PromRule {
        alert: "HomeostatActorRestarting",
        expr: "increase(homeostat_actor_restarts_total[10m]) > 3",
        hold: "0s",
        severity: "warning",
        summary: "Actor {{ $labels.actor }} was restarted {{ $value | humanize }} times in ten minutes",
        description: "A mind fails again and again and is rebuilt from its checkpoint.",
    },
    PromRule {
        alert: "HomeostatLogLag",
        expr: "homeostat_actor_lag_messages > 10000",
        hold: "2m",
        severity: "warning",
        summary: "Actor {{ $labels.actor }} is {{ $value | humanize }} messages behind",
        description: "An actor does not keep up with what comes in; alerts come late.",
    },
    PromRule {
        alert: "HomeostatLogOvertaken",
        expr: "increase(homeostat_log_overtaken_total[1h]) > 0",
        hold: "0s",
        severity: "critical",
        summary: "Telemetry was removed before it was read",
        description: "The log is too short for how far behind an actor was.",
    },
    PromRule {
        alert: "HomeostatCheckpointOld",
        expr: "time() - homeostat_actor_checkpoint_timestamp_seconds > 900 and on (instance, job) homeostat_active == 1",
        hold: "5m",
        severity: "warning",
        summary: "The last checkpoint of actor {{ $labels.actor }} is {{ $value | humanizeDuration }} old",
        description: "States are saved every few seconds while there is work; a restart would take long now.",
    },
    PromRule {
        alert: "HomeostatDeadMessages",
        expr: "increase(homeostat_dead_total[10m]) > 0",
        hold: "0s",
        severity: "warning",
        summary: "{{ $value | humanize }} messages or events were set aside in ten minutes",
        description: "A publisher sends what cannot be understood; `homeostat.v1.dead.>` holds it with position and reason.",
    },
    PromRule {
        alert: "HomeostatPoisonMessage",
        expr: "increase(homeostat_actor_poison_total[1h]) > 0",
        hold: "0s",
        severity: "critical",
        summary: "Actor {{ $labels.actor }} failed on a message again and again",
        description: "A mind has a fault; the message was set aside so that the rest goes on.",
    },
    PromRule {
        alert: "HomeostatBrokenPromise",
        expr: "increase(homeostat_actor_broken_promises_total[1h]) > 0",
        hold: "0s",
        severity: "critical",
        summary: "A promise of actor {{ $labels.actor }} does not hold",
        description: "A mind's state is not what its page promises: a fault worth a report.",
    },
    PromRule {
        alert: "HomeostatFencedOutputs",
        expr: "increase(homeostat_actor_fenced_total[10m]) > 3",
        hold: "0s",
        severity: "warning",
        summary: "Actor {{ $labels.actor }} was refused {{ $value | humanize }} times because another process owned it",
        description: "Two processes keep taking the work from each other. Nothing is said twice, but time is lost.",
    },
    PromRule {
        alert: "HomeostatIntakeUnavailable",
        expr: "sum by (intake) (increase(homeostat_intake_total{result=\"unavailable\"}[5m])) > 0",
        hold: "2m",
        severity: "warning",
        summary: "The intake {{ $labels.intake }} cannot store what it is sent",
        description: "Senders are answered 503 and keep what they have; the bus is away, full, or too slow.",
    },
];

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
fn finding(rule: &Rule, runbooks: &str) -> Value {
    let over = match rule.nature {
        Nature::State => "it ends when the condition ends".to_owned(),
        Nature::Occurrence { quiet_ms } => format!("it ends {} min after the last occurrence", quiet_ms / 60_000),
    };
    json!({
        "alert": camel(rule.name),
        "expr": format!("max by (rule) (homeostat_findings_open{{rule=\"{}\"}}) > 0", rule.name),
        "labels": { "severity": rule.severity.to_string(), "rule": rule.name },
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
