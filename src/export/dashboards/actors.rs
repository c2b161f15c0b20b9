//! One dashboard an actor: what every actor has, and what this one knows.

use super::panel::Panel;
use super::{Variable, begun, open_findings, service};
use homeostat_schemas::rule::CATALOGUE;

/// What can be chosen on an actor's dashboard.
pub(super) fn variable(actor: &str) -> Option<Variable> {
    Some(service(match actor {
        "health" => "homeostat_service_level",
        "query" => "homeostat_query_calls_total",
        "breaker" => "homeostat_breaker_admitted_ratio",
        "drift" => "homeostat_drift_verdict",
        "forecast" => "homeostat_forecast_actual",
        "leak" => "homeostat_leak_memory_bytes",
        _ => return None,
    }))
}

/// All panels of an actor: numbers, what it knows, what it says.
pub(super) fn panels(actor: &str) -> Vec<Panel> {
    let own = format!("{{actor=\"{actor}\"}}");
    let metric = |name: &str| format!("max({name}{own})");
    let mut panels = vec![
        Panel::number("Findings open", "short", metric("homeostat_actor_open_findings"), "open").limits(1.0, 20.0),
        Panel::number("Behind", "short", metric("homeostat_actor_lag_messages"), "messages").limits(1_000.0, 10_000.0),
        Panel::number("Restarts", "short", format!("sum(increase(homeostat_actor_restarts_total{own}[1h]))"), "in an hour")
            .limits(1.0, 3.0),
        Panel::number("State", "bytes", metric("homeostat_actor_checkpoint_size_bytes"), "last checkpoint"),
        Panel::number("Saved", "s", format!("time() - {}", metric("homeostat_actor_checkpoint_timestamp_seconds")), "ago")
            .limits(300.0, 900.0),
        Panel::number("Messages a second", "ops", format!("max(deriv(homeostat_actor_position{own}[$__rate_interval]))"), "messages/s")
            .about("How fast its position moves along the log."),
    ];
    panels.extend(match actor {
        "health" => health(),
        "query" => query(),
        "breaker" => breaker(),
        "drift" => drift(),
        "forecast" => forecast(),
        "leak" => leak(),
        "key_rotation" => key_rotation(),
        "recovery" => recovery(),
        "status" => status(),
        _ => Vec::new(),
    });
    panels.extend(said(actor));
    panels.push(
        Panel::lines(
            "From being read to being said",
            "s",
            format!("histogram_quantile(0.5, sum by (le) (rate(homeostat_actor_cycle_seconds_bucket{own}[$__rate_interval])))"),
            "p50",
        )
        .and(format!("histogram_quantile(0.99, sum by (le) (rate(homeostat_actor_cycle_seconds_bucket{own}[$__rate_interval])))"), "p99")
        .about("Points are traces.")
        .limits(0.05, 0.5),
    );
    panels.push(
        Panel::traces("Decisions, traced", &format!("{{ resource.service.name = \"homeostat\" && span.homeostat.actor = \"{actor}\" }}"))
            .about("Needs Tempo."),
    );
    panels
}

/// What an actor found, if it finds anything itself.
fn said(actor: &str) -> Vec<Panel> {
    let rules: Vec<&str> = CATALOGUE.iter().filter(|rule| rule.actor() == actor).map(|rule| rule.name).collect();
    if rules.is_empty() {
        return Vec::new();
    }
    let pattern = format!("rule=~\"{actor}[.].*\"");
    vec![
        open_findings(&pattern),
        Panel::stack("Open, by rule", "short", format!("sum by (rule) (homeostat_findings_open{{{pattern}}})"), "{{rule}}")
            .about(&format!("Rules: {}.", rules.join(", "))),
        Panel::stack("Alerts, by rule", "short", format!("sum by (rule, state) ({})", begun(&pattern)), "{{rule}} {{state}}")
            .about("What began and what ended, in each minute."),
    ]
}

fn health() -> Vec<Panel> {
    let by = "{service=~\"$service\"}";
    vec![
        Panel::table("Services", "short", format!("max by (service) (homeostat_service_level{by})"), "level")
            .about("Level 0: give it work; 1: somebody should look; 2: do not. Requests and errors are those of the last minute.")
            .column(format!("max by (service) (homeostat_service_requests{by})"), "requests", "short")
            .column(format!("max by (service) (homeostat_service_errors_ratio{by})"), "errors", "percentunit")
            .column("max by (service) (homeostat_service_instances{service=~\"$service\", state=\"alive\"})", "alive", "short")
            .column("max by (service) (homeostat_service_instances{service=~\"$service\", state=\"silent\"})", "silent", "short")
            .sorted("level"),
        Panel::states(
            "Readiness",
            &["ready", "look", "not ready"],
            format!("max by (service) (homeostat_service_level{by})"),
            "{{service}}",
        ),
        Panel::lines("Errors", "percentunit", format!("max by (service) (homeostat_service_errors_ratio{by})"), "{{service}}")
            .about("Share of the requests of a minute that ended with 5xx.")
            .limits(0.05, 0.1),
        Panel::lines("Requests a minute", "short", format!("max by (service) (homeostat_service_requests{by})"), "{{service}}"),
        Panel::lines(
            "Cache hits",
            "percentunit",
            format!("max by (service, cache) (homeostat_service_cache_hits_ratio{by})"),
            "{{service}} {{cache}}",
        )
        .limits(0.6, 0.4),
    ]
}

fn query() -> Vec<Panel> {
    let by = "{service=~\"$service\"}";
    let each = |name: &str| format!("max by (service, statement, fingerprint) ({name}{by})");
    vec![
        Panel::table("Statements", "s", each("homeostat_query_time_seconds_total"), "total time")
            .about("In normal form, those that took the most time first; N+1 and other findings are in the next table.")
            .column(each("homeostat_query_calls_total"), "calls", "short")
            .column(format!("{} / {}", each("homeostat_query_time_seconds_total"), each("homeostat_query_calls_total")), "mean", "s")
            .column(
                "max by (service, statement, fingerprint) (homeostat_query_duration_seconds{service=~\"$service\", quantile=\"0.95\"})",
                "p95",
                "s",
            )
            .column(each("homeostat_query_slow_calls_total"), "slow", "short")
            .column(each("homeostat_query_errors_total"), "errors", "short")
            .sorted("total time"),
        Panel::table(
            "N+1 and what else was found",
            "short",
            format!("max by (rule, service, statement, fingerprint) (homeostat_query_finding{by})"),
            "open",
        )
        .about("Rules that are open for a statement."),
        Panel::table("Advice", "short", format!("max by (advice, text, service, statement) (homeostat_query_advice{by})"), "advised")
            .about("What to do about a statement; `homeostat query advise` asks a planner whether an index would be used."),
        Panel::lines(
            "Time in the database, by statement",
            "s",
            format!("topk(10, sum by (service, statement) (rate(homeostat_query_time_seconds_total{by}[$__rate_interval])))"),
            "{{service}} {{statement}}",
        )
        .about("Seconds a second: 1 is one connection that never rests."),
        Panel::lines(
            "p95, by statement",
            "s",
            "topk(10, max by (service, statement) (homeostat_query_duration_seconds{service=~\"$service\", quantile=\"0.95\"}))",
            "{{service}} {{statement}}",
        ),
    ]
}

fn breaker() -> Vec<Panel> {
    const WHOM: &str = "service, peer, operation, zone";
    let by = "{service=~\"$service\"}";
    let each = |name: &str| format!("max by ({WHOM}) ({name}{by})");
    let legend = "{{service}} to {{peer}} {{operation}} {{zone}}";
    vec![
        Panel::states(
            "Breakers of the fleet",
            &["closed", "ramping", "open"],
            format!(
                "2 * max by ({WHOM}) (homeostat_breaker_state{{service=~\"$service\", state=\"open\"}}) \
                 + max by ({WHOM}) (homeostat_breaker_state{{service=~\"$service\", state=\"ramping\"}})"
            ),
            legend,
        ),
        Panel::lines("Admitted", "percentunit", each("homeostat_breaker_admitted_ratio"), legend)
            .about("Share of first attempts that may be made."),
        Panel::lines("Repetitions admitted", "percentunit", each("homeostat_breaker_retries_admitted_ratio"), legend),
        Panel::lines("Attempts", "ops", each("homeostat_breaker_demand_per_second"), legend)
            .about("Of all replicas, refused ones included."),
        Panel::lines(
            "Replicas with failures",
            "short",
            format!("max by ({WHOM}) (homeostat_breaker_replicas{{service=~\"$service\", state=\"failing\"}})"),
            "{{service}} to {{peer}}: failing",
        )
        .and(
            format!("max by ({WHOM}) (homeostat_breaker_replicas{{service=~\"$service\", state=\"reporting\"}})"),
            "{{service}} to {{peer}}: all",
        ),
        Panel::stack(
            "Breakers of replicas, by state",
            "short",
            "max by (service, peer, operation, zone, state) (homeostat_breaker_local{service=~\"$service\"})",
            "{{service}} to {{peer}}: {{state}}",
        ),
        Panel::stack("Changes of replicas' breakers", "short", "sum by (to) (increase(homeostat_breaker_changes_total[5m]))", "to {{to}}"),
    ]
}

fn drift() -> Vec<Panel> {
    let by = "{service=~\"$service\"}";
    let each = |name: &str| format!("max by (service, model, feature) ({name}{by})");
    let legend = "{{service}} {{model}} {{feature}}";
    vec![
        Panel::states("Verdicts", &["none", "noticeable", "moderate", "significant", "critical"], each("homeostat_drift_verdict"), legend)
            .about("None also while there is too little data."),
        Panel::lines("Population stability index", "none", each("homeostat_drift_psi"), legend)
            .about("Of the last window, less what chance alone makes of it.")
            .limits(0.1, 0.25),
        Panel::lines("Evidence", "none", each("homeostat_drift_e_value"), legend)
            .about("Without drift it reaches x with a chance of 1/x at most, however often one looks."),
        Panel::lines("p-value of the last window", "none", each("homeostat_drift_p_value"), legend),
        Panel::lines("Values since the last look", "short", each("homeostat_drift_pending_values"), legend),
    ]
}

fn forecast() -> Vec<Panel> {
    const SERIES: &str = "service, metric, service_instance_id";
    let by = "{service=~\"$service\"}";
    let each = |name: &str| format!("max by ({SERIES}) ({name}{by})");
    let point = |ahead: &str, bound: &str| {
        format!("max by ({SERIES}) (homeostat_forecast_point{{service=~\"$service\", ahead=\"{ahead}\", bound=\"{bound}\"}})")
    };
    let legend = "{{service}} {{metric}} {{service_instance_id}}";
    vec![
        Panel::lines(
            "Actual, and the forecast of this hour",
            "short",
            each("homeostat_forecast_actual"),
            "{{service}} {{metric}} {{service_instance_id}} actual",
        )
        .about("The forecast is that of the hour that is running, with the interval that 95 % of the values are to lie in.")
        .and(point("0h", "mean"), "{{service}} {{metric}} {{service_instance_id}} mean")
        .and(point("0h", "lower"), "{{service}} {{metric}} {{service_instance_id}} lower")
        .and(point("0h", "upper"), "{{service}} {{metric}} {{service_instance_id}} upper")
        .dashed(&["lower", "upper", "mean"])
        .wide(24),
        Panel::lines(
            "Actual and expected, step by step",
            "short",
            each("homeostat_forecast_actual"),
            "{{service}} {{metric}} {{service_instance_id}} actual",
        )
        .about("What had been expected of the last step, which anomalies are judged by.")
        .and(each("homeostat_forecast_expected"), "{{service}} {{metric}} {{service_instance_id}} expected")
        .dashed(&["expected"]),
        Panel::states("Unusual", &["usual", "unusual"], each("homeostat_forecast_anomaly"), legend),
        Panel::table("Forecasts", "short", each("homeostat_forecast_actual"), "now")
            .column(point("1h", "mean"), "in 1 h", "short")
            .column(point("6h", "mean"), "in 6 h", "short")
            .column(point("24h", "lower"), "in 24 h, lower", "short")
            .column(point("24h", "mean"), "in 24 h", "short")
            .column(point("24h", "upper"), "in 24 h, upper", "short"),
        Panel::table("Limits", "short", each("homeostat_forecast_limit"), "limit")
            .column(each("homeostat_forecast_limit_probability_ratio"), "chance", "percentunit")
            .column(
                format!("max by ({SERIES}) (homeostat_forecast_limit_timestamp_seconds{{service=~\"$service\", quantile=\"0.5\"}}) * 1000"),
                "reached",
                "dateTimeFromNow",
            ),
    ]
}

fn leak() -> Vec<Panel> {
    const PROCESS: &str = "service, service_instance_id";
    let by = "{service=~\"$service\"}";
    let each = |name: &str| format!("max by ({PROCESS}) ({name}{by})");
    let growth =
        |bound: &str| format!("max by ({PROCESS}) (homeostat_leak_growth_per_hour_bytes{{service=~\"$service\", bound=\"{bound}\"}})");
    let legend = "{{service}} {{service_instance_id}}";
    vec![
        Panel::states("Verdicts", &["none", "suspected", "confirmed"], each("homeostat_leak_verdict"), legend),
        Panel::lines("Memory", "bytes", each("homeostat_leak_memory_bytes"), legend),
        Panel::lines("Growth an hour", "bytes", growth("mean"), "{{service}} {{service_instance_id}} mean")
            .and(growth("lower"), "{{service}} {{service_instance_id}} lower")
            .and(growth("upper"), "{{service}} {{service_instance_id}} upper")
            .dashed(&["lower", "upper"])
            .about("With the ends of its 95 % interval."),
        Panel::lines(
            "Share of the limit",
            "percentunit",
            format!("{} / {}", each("homeostat_leak_memory_bytes"), each("homeostat_leak_memory_limit_bytes")),
            legend,
        )
        .open_ended()
        .limits(0.8, 0.95),
        Panel::table("Processes", "bytes", each("homeostat_leak_memory_bytes"), "memory")
            .column(each("homeostat_leak_memory_limit_bytes"), "limit", "bytes")
            .column(growth("mean"), "growth an hour", "bytes")
            .column(each("homeostat_leak_time_to_limit_seconds"), "to the limit", "s")
            .column(each("homeostat_leak_verdict"), "verdict", "short")
            .sorted("verdict"),
    ]
}

fn key_rotation() -> Vec<Panel> {
    let each = |name: &str, more: &str| format!("max by (key, owner{more}) ({name})");
    vec![
        Panel::table("Keys", "short", each("homeostat_key_version", ", state"), "version")
            .column(format!("{} * 1000", each("homeostat_key_expiry_timestamp_seconds", "")), "ends", "dateTimeFromNow")
            .column(format!("{} * 1000", each("homeostat_key_last_used_timestamp_seconds", "")), "last used", "dateTimeFromNow")
            .column(each("homeostat_key_failures", ""), "failures", "short"),
        Panel::table("What is due", "dateTimeFromNow", format!("{} * 1000", each("homeostat_key_due_timestamp_seconds", ", next")), "when"),
        Panel::lines(
            "Time to the end of keys",
            "s",
            format!("{} - time()", each("homeostat_key_expiry_timestamp_seconds", "")),
            "{{owner}} {{key}}",
        )
        .limits(604_800.0, 86_400.0),
        Panel::stack(
            "Keys shown, by what became of them",
            "ops",
            "sum by (result) (rate(homeostat_key_verifications_total[$__rate_interval]))",
            "{{result}}",
        ),
    ]
}

fn recovery() -> Vec<Panel> {
    vec![
        Panel::stack("Decisions", "short", "sum by (what) (increase(homeostat_recovery_decisions_total[5m]))", "{{what}}")
            .about("Entries of the decision record in five minutes; `GET /api/v1/recovery/decisions` shows each with its reason."),
        Panel::stack("Incidents, by how far their cure has come", "short", "max by (stage) (homeostat_recovery_incidents)", "{{stage}}"),
        Panel::stack("Cures", "short", "sum by (outcome) (increase(homeostat_recovery_outcomes_total[1h]))", "{{outcome}}")
            .about("What became of them in the last hour: verified means that the effect was measured."),
        Panel::lines("Commands of late", "short", "max by (bound) (homeostat_recovery_budget)", "{{bound}}"),
        Panel::lines("Stopped", "short", "max by (by) (homeostat_recovery_stopped)", "by {{by}}")
            .about("By people (pause) or because too many are unhealthy for one cause (brake)."),
    ]
}

fn status() -> Vec<Panel> {
    vec![
        open_findings(""),
        Panel::stack("Open findings, by service", "short", "max by (service) (homeostat_alerts_open)", "{{service}}"),
        Panel::lines("Silenced and looked after", "short", "max(homeostat_findings_silenced)", "silenced")
            .and("max(homeostat_findings_acknowledged)", "acknowledged")
            .and("max(homeostat_silences_active)", "silences in force"),
        Panel::stack(
            "Deliveries",
            "short",
            "sum by (receiver, result) (increase(homeostat_deliveries_total[5m]))",
            "{{receiver}} {{result}}",
        )
        .about("To Alertmanager and webhooks, in five minutes."),
    ]
}
