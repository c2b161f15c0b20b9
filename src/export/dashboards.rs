//! Dashboards for Grafana: an overview, one an actor, applications, and the process with its bus and machine.
//!
//! Every query to Prometheus whose numbers come within a minute is run by `scripts/observe.py --check` against a real one that scraped a
//! running system, and must find data there; `tests/operations/objects.rs` asks those of which minds know only later.

mod actors;
mod boards;
mod panel;

use crate::roster::NAMES;
use panel::{COLUMNS, Panel};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Version of the dashboards' form that Grafana 10 and later read.
const SCHEMA_VERSION: u32 = 39;
/// A variable that chooses among the processes of Homeostat.
const INSTANCE: Variable = Variable { name: "instance", metric: "homeostat_active", label: "instance", all: ".*" };

/// What can be chosen at the top of a dashboard: the values that a label of a metric has.
#[derive(Clone, Copy)]
struct Variable {
    name: &'static str,
    metric: &'static str,
    label: &'static str,
    /// The pattern of all of them.
    all: &'static str,
}

/// A service, among those of which a metric speaks.
const fn service(metric: &'static str) -> Variable {
    Variable { name: "service", metric, label: "service", all: ".*" }
}

/// Every dashboard, by the name of its file.
#[must_use]
pub fn documents() -> BTreeMap<String, Value> {
    // What has no name is no application: Homeostat's own gateway.
    let applications = Variable { name: "service", metric: "http_server_request_duration_seconds_count", label: "service_name", all: ".+" };
    let mut all = BTreeMap::from([
        ("overview.json".to_owned(), dashboard("homeostat-overview", "Homeostat: overview", &[], &boards::overview())),
        (
            "applications.json".to_owned(),
            dashboard("homeostat-applications", "Homeostat: applications", &[applications], &boards::applications()),
        ),
        ("machine.json".to_owned(), dashboard("homeostat-machine", "Homeostat: process, bus and machine", &[INSTANCE], &boards::machine())),
        (
            "containers.json".to_owned(),
            dashboard("homeostat-containers", "Homeostat: nats-server and containers", &[], &boards::containers()),
        ),
    ]);
    for actor in NAMES {
        let name = actor.replace('_', "-");
        let variables: Vec<Variable> = actors::variable(actor).into_iter().collect();
        let title = format!("Homeostat: actor {actor}");
        all.insert(format!("actor-{name}.json"), dashboard(&format!("homeostat-actor-{name}"), &title, &variables, &actors::panels(actor)));
    }
    all
}

/// Puts panels into rows from left to right.
fn dashboard(uid: &str, title: &str, variables: &[Variable], panels: &[Panel]) -> Value {
    let (mut x, mut y, mut row) = (0, 0, 0);
    let mut placed = Vec::new();
    for (panel, id) in panels.iter().zip(1..) {
        let height = panel.height();
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
    list.extend(variables.iter().map(|Variable { name, metric, label, all }| {
        let query = format!("label_values({metric}, {label})");
        json!({
            "name": name, "type": "query", "datasource": { "type": "prometheus", "uid": "${source}" }, "definition": query,
            "query": { "query": query, "refId": "variable" }, "refresh": 2, "includeAll": true, "allValue": all, "multi": true,
            "current": { "text": ["All"], "value": ["$__all"] },
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
        "links": [{
            "type": "dashboards", "title": "Homeostat", "tags": ["homeostat"], "asDropdown": true, "includeVars": false, "keepTime": true,
            "icon": "external link", "targetBlank": false, "tooltip": "", "url": "",
        }],
        "annotations": { "list": [{
            "name": "Findings begin", "datasource": { "type": "prometheus", "uid": "${source}" }, "enable": true, "iconColor": "red",
            "expr": format!("sum by (rule) ({}) > 0", begun("state=\"firing\"")), "titleFormat": "{{rule}}",
        }] },
        "panels": placed,
    })
}

/// Alerts that began and ended within a minute, by these labels.
fn begun(labels: &str) -> String {
    format!("increase(homeostat_alerts_total{{{labels}}}[1m])")
}

/// Where the trace of an alert is: the span that published it carries its id. Grafana fills in the field of the row.
fn trace_of_alert() -> String {
    explore(r#"{ span.messaging.message.id = \"${__data.fields.alert}\" }"#)
}

/// An address that asks the traces in Grafana's Explore; quotation marks in the question are escaped.
fn explore(question: &str) -> String {
    format!(
        "/explore?schemaVersion=1&orgId=1&panes={{\"t\":{{\"datasource\":\"tempo\",\"queries\":[{{\"refId\":\"A\",\
         \"datasource\":{{\"type\":\"tempo\",\"uid\":\"tempo\"}},\"queryType\":\"traceql\",\"query\":\"{question}\"}}],\
         \"range\":{{\"from\":\"now-7d\",\"to\":\"now\"}}}}}}"
    )
}

/// Open findings, each with the way to its trace.
fn open_findings(rules: &str) -> Panel {
    Panel::table("Open findings", "dateTimeFromNow", format!("homeostat_alert_started_timestamp_seconds{{{rules}}} * 1000"), "since")
        .about("What is wrong now, longest first. A click on `alert` shows the trace of its decision, if it was recorded.")
        .hidden(&["incident"])
        .ascending("since")
        .link("alert", "Trace of the decision", trace_of_alert())
}
