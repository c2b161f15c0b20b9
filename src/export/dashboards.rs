//! Dashboards for Grafana: an overview, one an actor (made from the catalogue), applications, and the machine with its bus.
//!
//! Every query is run against a real Prometheus by `scripts/observe.py --check`, and must find data there.

use crate::roster::NAMES;
use homeostat_schemas::rule::CATALOGUE;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Grafana divides a row into this many columns.
const COLUMNS: u32 = 24;
/// Height of a panel in Grafana's rows.
const HEIGHT: u32 = 8;
/// Version of the dashboards' form that Grafana 10 and later read.
const SCHEMA_VERSION: u32 = 39;

/// How a panel shows its numbers.
#[derive(Debug, Clone, Copy)]
enum Look {
    /// Over time.
    Lines,
    /// The last value, large.
    Number,
    /// Over time, one above the other.
    Stack,
}

/// One panel.
struct Panel {
    title: String,
    about: String,
    look: Look,
    /// Grafana's name of the unit: `s`, `percentunit`, `short`, `bytes`, `ops`.
    unit: &'static str,
    /// Query and legend.
    queries: Vec<(String, &'static str)>,
    /// From here it is yellow, from there red.
    limits: Option<(f64, f64)>,
    /// Columns of 24.
    width: u32,
}

impl Panel {
    fn new(look: Look, title: &str, unit: &'static str, query: &str, legend: &'static str) -> Panel {
        Panel {
            title: title.to_owned(),
            about: String::new(),
            look,
            unit,
            queries: vec![(query.to_owned(), legend)],
            limits: None,
            width: if matches!(look, Look::Number) { 4 } else { 12 },
        }
    }

    fn about(mut self, about: &str) -> Panel {
        about.clone_into(&mut self.about);
        self
    }

    fn and(mut self, query: &str, legend: &'static str) -> Panel {
        self.queries.push((query.to_owned(), legend));
        self
    }

    fn limits(mut self, yellow: f64, red: f64) -> Panel {
        self.limits = Some((yellow, red));
        self
    }

    fn written(&self, id: usize, x: u32, y: u32) -> Value {
        let source = json!({ "type": "prometheus", "uid": "${source}" });
        let targets: Vec<Value> = self
            .queries
            .iter()
            .zip('A'..='Z')
            .map(|((expr, legend), letter)| {
                json!({ "refId": letter.to_string(), "datasource": source, "expr": expr, "legendFormat": legend, "exemplar": true })
            })
            .collect();
        let mut steps = vec![json!({ "color": "green", "value": null })];
        if let Some((yellow, red)) = self.limits {
            steps.push(json!({ "color": "yellow", "value": yellow }));
            steps.push(json!({ "color": "red", "value": red }));
        }
        let (kind, options) = match self.look {
            Look::Number => ("stat", json!({ "colorMode": "value", "graphMode": "area", "reduceOptions": { "calcs": ["lastNotNull"] } })),
            Look::Lines | Look::Stack => (
                "timeseries",
                json!({ "legend": { "displayMode": "list", "placement": "bottom" }, "tooltip": { "mode": "multi", "sort": "desc" } }),
            ),
        };
        let mut custom = json!({ "lineWidth": 1, "fillOpacity": 10, "showPoints": "never" });
        if matches!(self.look, Look::Stack) {
            custom["stacking"] = json!({ "mode": "normal" });
        }
        if self.limits.is_some() {
            custom["thresholdsStyle"] = json!({ "mode": "dashed" });
        }
        json!({
            "id": id,
            "type": kind,
            "title": self.title,
            "description": self.about,
            "datasource": source,
            "gridPos": { "x": x, "y": y, "w": self.width, "h": if matches!(self.look, Look::Number) { HEIGHT / 2 } else { HEIGHT } },
            "targets": targets,
            "options": options,
            "fieldConfig": { "defaults": { "unit": self.unit, "custom": custom, "thresholds": { "mode": "absolute", "steps": steps } }, "overrides": [] },
        })
    }
}

/// Every dashboard, by the name of its file.
#[must_use]
pub fn documents() -> BTreeMap<String, Value> {
    let mut all = BTreeMap::from([
        ("overview.json".to_owned(), dashboard("homeostat-overview", "Homeostat: overview", &[], &overview())),
        (
            "applications.json".to_owned(),
            dashboard(
                "homeostat-applications",
                "Homeostat: applications",
                &[("service", "http_server_request_duration_seconds_count", "service_name")],
                &applications(),
            ),
        ),
        ("machine.json".to_owned(), dashboard("homeostat-machine", "Homeostat: process, machine and bus", &[], &machine())),
    ]);
    for actor in NAMES {
        let title = format!("Homeostat: actor {actor}");
        all.insert(
            format!("actor-{}.json", actor.replace('_', "-")),
            dashboard(&format!("homeostat-actor-{}", actor.replace('_', "-")), &title, &[], &of_actor(actor)),
        );
    }
    all
}

/// Puts panels into rows from left to right.
fn dashboard(uid: &str, title: &str, variables: &[(&str, &str, &str)], panels: &[Panel]) -> Value {
    let (mut x, mut y, mut row) = (0, 0, 0);
    let mut placed = Vec::new();
    for (panel, id) in panels.iter().zip(1..) {
        let height = if matches!(panel.look, Look::Number) { HEIGHT / 2 } else { HEIGHT };
        if x + panel.width > COLUMNS || (row != 0 && height != row) {
            (x, y) = (0, y + row);
        }
        row = height;
        placed.push(panel.written(id, x, y));
        x += panel.width;
    }
    let mut list = vec![
        json!({ "name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus", "current": { "text": "Prometheus", "value": "prometheus" } }),
    ];
    list.extend(variables.iter().map(|(name, metric, label)| {
        json!({
            "name": name, "type": "query", "datasource": { "type": "prometheus", "uid": "${source}" },
            "query": format!("label_values({metric}, {label})"), "refresh": 2, "includeAll": true, "allValue": ".*", "multi": true,
            "current": { "text": "All", "value": "$__all" },
        })
    }));
    json!({
        "uid": uid,
        "title": title,
        "tags": ["homeostat"],
        "timezone": "browser",
        "schemaVersion": SCHEMA_VERSION,
        "refresh": "10s",
        "time": { "from": "now-1h", "to": "now" },
        "templating": { "list": list },
        "links": [{ "type": "dashboards", "title": "Homeostat", "tags": ["homeostat"], "asDropdown": true, "includeVars": false, "keepTime": true }],
        "annotations": { "list": [{
            "name": "Findings begin", "datasource": { "type": "prometheus", "uid": "${source}" }, "enable": true, "iconColor": "red",
            "expr": "sum by (rule) (increase(homeostat_alerts_total{state=\"firing\"}[1m])) > 0", "titleFormat": "{{rule}}",
        }] },
        "panels": placed,
    })
}

fn overview() -> Vec<Panel> {
    vec![
        Panel::new(Look::Number, "At work", "short", "sum(homeostat_active)", "processes")
            .about("Processes that carry the actors: exactly one."),
        Panel::new(Look::Number, "Findings open", "short", "sum(homeostat_actor_open_findings)", "open").limits(1.0, 20.0),
        Panel::new(Look::Number, "Events a second", "ops", "sum(rate(homeostat_events_total[1m]))", "events/s"),
        Panel::new(Look::Number, "Set aside", "short", "sum(increase(homeostat_dead_total[1h]))", "in an hour")
            .about("Messages and events that could not be processed in the last hour.")
            .limits(1.0, 100.0),
        Panel::new(Look::Number, "Furthest behind", "short", "max(homeostat_actor_lag_messages)", "messages").limits(1_000.0, 10_000.0),
        Panel::new(Look::Number, "Restarts", "short", "sum(increase(homeostat_actor_restarts_total[1h])) or vector(0)", "in an hour")
            .limits(1.0, 3.0),
        Panel::new(Look::Stack, "Findings open, by rule", "short", "homeostat_findings_open > 0", "{{rule}}"),
        Panel::new(Look::Stack, "Alerts, by rule", "short", &format!("sum by (rule, state) ({}) > 0", begun("")), "{{rule}} {{state}}")
            .about("What began and what ended, in each minute."),
        Panel::new(Look::Stack, "Events, by kind", "ops", "sum by (kind) (rate(homeostat_events_total[1m]))", "{{kind}}"),
        Panel::new(
            Look::Stack,
            "Intake over HTTP",
            "ops",
            "sum by (intake, result) (rate(homeostat_intake_total[1m]))",
            "{{intake}} {{result}}",
        )
        .about("Spans and events by what became of them; unavailable ones are sent again by their exporters."),
        Panel::new(
            Look::Lines,
            "From being read to being said",
            "s",
            "histogram_quantile(0.5, sum by (le) (rate(homeostat_actor_cycle_seconds_bucket[1m])))",
            "p50",
        )
        .and("histogram_quantile(0.99, sum by (le) (rate(homeostat_actor_cycle_seconds_bucket[1m])))", "p99")
        .about("Time of a batch from being read to its alerts being stored, all actors.")
        .limits(0.05, 0.5),
        Panel::new(Look::Lines, "Behind", "short", "homeostat_actor_lag_messages", "{{actor}}").limits(1_000.0, 10_000.0),
    ]
}

/// Alerts of the last minute. A rule's first alert makes its series: `increase` would see a series that begins, not an alert.
fn begun(rules: &str) -> String {
    let all = format!("homeostat_alerts_total{rules}");
    format!("{all} - ({all} offset 1m or {all} * 0)")
}

/// What can be seen of every actor, with its own rules.
fn of_actor(actor: &str) -> Vec<Panel> {
    let rules: Vec<&str> = CATALOGUE.iter().filter(|rule| rule.actor() == actor).map(|rule| rule.name).collect();
    let own = format!("{{actor=\"{actor}\"}}");
    let metric = |name: &str| format!("{name}{own}");
    let mut panels = vec![
        Panel::new(Look::Number, "Findings open", "short", &metric("homeostat_actor_open_findings"), "open").limits(1.0, 20.0),
        Panel::new(Look::Number, "Behind", "short", &metric("homeostat_actor_lag_messages"), "messages").limits(1_000.0, 10_000.0),
        Panel::new(
            Look::Number,
            "Restarts",
            "short",
            &format!("increase({}[1h]) or vector(0)", metric("homeostat_actor_restarts_total")),
            "in an hour",
        )
        .limits(1.0, 3.0),
        Panel::new(Look::Number, "State", "bytes", &metric("homeostat_actor_checkpoint_size_bytes"), "last checkpoint"),
        Panel::new(Look::Number, "Saved", "s", &format!("time() - {}", metric("homeostat_actor_checkpoint_timestamp_seconds")), "ago")
            .limits(300.0, 900.0),
        Panel::new(Look::Number, "Messages a second", "ops", &format!("rate({}[1m])", metric("homeostat_actor_position")), "messages/s")
            .about("How fast its position moves along the log."),
    ];
    if !rules.is_empty() {
        let pattern = format!("{{rule=~\"{actor}[.].*\"}}");
        panels.push(
            Panel::new(Look::Stack, "Open, by rule", "short", &format!("homeostat_findings_open{pattern} or vector(0)"), "{{rule}}")
                .about(&format!("Rules: {}.", rules.join(", "))),
        );
        panels.push(Panel::new(
            Look::Stack,
            "Alerts, by rule",
            "short",
            &format!("sum by (rule, severity, state) ({}) > 0 or vector(0)", begun(&pattern)),
            "{{rule}} {{severity}} {{state}}",
        ));
    }
    panels.push(
        Panel::new(
            Look::Lines,
            "From being read to being said",
            "s",
            &format!("histogram_quantile(0.5, sum by (le) (rate(homeostat_actor_cycle_seconds_bucket{own}[1m])))"),
            "p50",
        )
        .and(&format!("histogram_quantile(0.99, sum by (le) (rate(homeostat_actor_cycle_seconds_bucket{own}[1m])))"), "p99")
        .limits(0.05, 0.5),
    );
    if actor == "recovery" {
        panels.push(
            Panel::new(
                Look::Stack,
                "Cures",
                "short",
                "sum by (outcome) (increase(homeostat_recovery_outcomes_total[1h])) or vector(0)",
                "{{outcome}}",
            )
            .about("What became of them in the last hour: verified means that the effect was measured."),
        );
    }
    panels
}

fn applications() -> Vec<Panel> {
    let by = "{service_name=~\"$service\"}";
    vec![
        Panel::new(Look::Lines, "Requests", "reqps", &format!("sum by (service_name) (rate(http_server_request_duration_seconds_count{by}[5m]))"), "{{service_name}}"),
        Panel::new(
            Look::Lines,
            "Errors",
            "percentunit",
            "sum by (service_name) (rate(http_server_request_duration_seconds_count{service_name=~\"$service\", http_response_status_code=~\"5..\"}[5m])) \
             / sum by (service_name) (rate(http_server_request_duration_seconds_count{service_name=~\"$service\"}[5m]))",
            "{{service_name}}",
        )
        .about("Share of requests answered with 5xx.")
        .limits(0.05, 0.1),
        Panel::new(
            Look::Lines,
            "Time of requests, p95",
            "s",
            &format!("histogram_quantile(0.95, sum by (service_name, le) (rate(http_server_request_duration_seconds_bucket{by}[5m])))"),
            "{{service_name}}",
        )
        .limits(0.5, 2.0),
        Panel::new(
            Look::Lines,
            "Time of requests, p99",
            "s",
            &format!("histogram_quantile(0.99, sum by (service_name, le) (rate(http_server_request_duration_seconds_bucket{by}[5m])))"),
            "{{service_name}}",
        )
        .limits(0.5, 2.0),
        Panel::new(
            Look::Lines,
            "Time of database operations, p95",
            "s",
            &format!("histogram_quantile(0.95, sum by (service_name, db_system_name, le) (rate(db_client_operation_duration_seconds_bucket{by}[5m])))"),
            "{{service_name}} {{db_system_name}}",
        )
        .limits(0.25, 1.0),
        Panel::new(
            Look::Lines,
            "Connection pools",
            "percentunit",
            "sum by (service_name, db_client_connection_pool_name) (db_client_connection_count{service_name=~\"$service\", db_client_connection_state=\"used\"}) \
             / sum by (service_name, db_client_connection_pool_name) (db_client_connection_max{service_name=~\"$service\"})",
            "{{service_name}} {{db_client_connection_pool_name}}",
        )
        .about("Share of connections in use.")
        .limits(0.8, 0.95),
        Panel::new(
            Look::Lines,
            "Cache hits",
            "percentunit",
            "sum by (service_name, cache) (rate(app_cache_requests_total{service_name=~\"$service\", result=\"hit\"}[10m])) \
             / sum by (service_name, cache) (rate(app_cache_requests_total{service_name=~\"$service\"}[10m]))",
            "{{service_name}} {{cache}}",
        ),
        Panel::new(Look::Stack, "Homeostat's findings", "short", "homeostat_findings_open > 0", "{{rule}}"),
    ]
}

fn machine() -> Vec<Panel> {
    vec![
        Panel::new(
            Look::Lines,
            "Gateway: requests",
            "reqps",
            "sum by (http_route, http_response_status_code) (rate(http_server_request_duration_seconds_count{job=\"homeostat\"}[1m]))",
            "{{http_route}} {{http_response_status_code}}",
        ),
        Panel::new(
            Look::Lines,
            "Gateway: time, p99",
            "s",
            "histogram_quantile(0.99, sum by (http_route, le) (rate(http_server_request_duration_seconds_bucket{job=\"homeostat\"}[1m])))",
            "{{http_route}}",
        )
        .limits(0.05, 0.5),
        Panel::new(Look::Lines, "Log: messages read", "ops", "rate(homeostat_log_messages_total[1m])", "{{instance}}"),
        Panel::new(Look::Lines, "States saved", "bytes", "homeostat_actor_checkpoint_size_bytes", "{{actor}}"),
        Panel::new(
            Look::Lines,
            "Machine: processors",
            "percentunit",
            "1 - avg by (instance) (rate(node_cpu_seconds_total{mode=\"idle\"}[1m]))",
            "{{instance}}",
        )
        .limits(0.85, 0.95),
        Panel::new(
            Look::Lines,
            "Machine: memory available",
            "percentunit",
            "node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes",
            "{{instance}}",
        ),
        Panel::new(
            Look::Lines,
            "Machine: disk free",
            "percentunit",
            "node_filesystem_avail_bytes{fstype!~\"tmpfs|ramfs\"} / node_filesystem_size_bytes{fstype!~\"tmpfs|ramfs\"}",
            "{{mountpoint}}",
        ),
    ]
}
