//! What other tools read about us: JSON Schemas, the AsyncAPI document, alert rules for Prometheus and dashboards for Grafana, made
//! from the types and the rule catalogue.
//!
//! All are the same for the same types, byte for byte, so that a committed copy can be checked for drift.

pub mod alert_rules;
pub mod asyncapi;
pub mod dashboards;
pub mod yaml;

use crate::metrics::{Metrics, Objects};
use homeostat_schemas::event::{
    Breaker, Cache, Call, Calls, EventKind, Heartbeat, Metric, Order, Pool, Query, Request, Resource, Sample, Span,
};
use homeostat_schemas::{Admission, Alert, Answer, Ask, Command, KeyFact, Outcome, SealedKey};
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use std::collections::BTreeMap;

/// Where the committed schemas stand, relative to the repository.
pub const DIR: &str = "schemas";
/// Where the committed rules for Prometheus stand, relative to the repository.
pub const RULES_DIR: &str = "docker/prometheus/rules";
/// Where the committed dashboards stand, relative to the repository.
pub const DASHBOARDS_DIR: &str = "docker/grafana/dashboards";

/// Where the committed page of metrics stands, relative to the repository.
pub const PAGES_DIR: &str = "docs";

/// A word of the bus, by the name of its schema: `event.query`, `alert`, …
#[must_use]
pub fn words() -> BTreeMap<String, Schema> {
    let mut words = BTreeMap::new();
    for kind in EventKind::ALL {
        words.insert(format!("event.{kind}"), event(*kind, &mut SchemaSettings::draft2020_12().into_generator()));
    }
    words.insert("alert".to_owned(), of::<Alert>());
    words.insert("command".to_owned(), of::<Command>());
    words.insert("outcome".to_owned(), of::<Outcome>());
    words.insert("admission".to_owned(), of::<Admission>());
    words.insert("ask".to_owned(), of::<Ask>());
    words.insert("key".to_owned(), of::<KeyFact>());
    words.insert("sealed".to_owned(), of::<SealedKey>());
    words.insert("answer".to_owned(), of::<Answer>());
    words
}

fn of<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>()
}

/// The schema of the events of one kind.
fn event(kind: EventKind, generator: &mut SchemaGenerator) -> Schema {
    match kind {
        EventKind::Query => generator.root_schema_for::<Query>(),
        EventKind::Request => generator.root_schema_for::<Request>(),
        EventKind::Call => generator.root_schema_for::<Call>(),
        EventKind::Calls => generator.root_schema_for::<Calls>(),
        EventKind::Breaker => generator.root_schema_for::<Breaker>(),
        EventKind::Span => generator.root_schema_for::<Span>(),
        EventKind::Heartbeat => generator.root_schema_for::<Heartbeat>(),
        EventKind::Resource => generator.root_schema_for::<Resource>(),
        EventKind::Pool => generator.root_schema_for::<Pool>(),
        EventKind::Cache => generator.root_schema_for::<Cache>(),
        EventKind::Sample => generator.root_schema_for::<Sample>(),
        EventKind::Metric => generator.root_schema_for::<Metric>(),
        EventKind::Order => generator.root_schema_for::<Order>(),
    }
}

/// The files of `export schemas`, by their path below [`DIR`].
///
/// # Errors
/// A schema that is no JSON, which none is.
pub fn schemas() -> Result<BTreeMap<String, String>, serde_json::Error> {
    let file = |(name, schema): (String, Schema)| Ok((format!("json/{name}.schema.json"), serde_json::to_string_pretty(&schema)? + "\n"));
    words().into_iter().map(file).collect()
}

/// The files of `export asyncapi`, by their path below [`DIR`].
#[must_use]
pub fn asyncapi() -> BTreeMap<String, String> {
    BTreeMap::from([("asyncapi.yaml".to_owned(), yaml::write(&asyncapi::document()))])
}

/// The files of `export alert-rules`, by their path below [`RULES_DIR`].
#[must_use]
pub fn alert_rules(runbooks: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("homeostat.yaml".to_owned(), yaml::write(&alert_rules::document(runbooks)))])
}

/// The files of `export dashboards`, by their path below [`DASHBOARDS_DIR`].
///
/// # Errors
/// A dashboard that is no JSON, which none is.
pub fn dashboards() -> Result<BTreeMap<String, String>, serde_json::Error> {
    let file = |(name, board): (String, serde_json::Value)| Ok((name, serde_json::to_string_pretty(&board)? + "\n"));
    dashboards::documents().into_iter().map(file).collect()
}

/// The files of `export metrics`, by their path below [`PAGES_DIR`].
#[must_use]
pub fn metrics() -> BTreeMap<String, String> {
    BTreeMap::from([(crate::metrics::PAGE.to_owned(), crate::metrics::page(&Metrics::default().described(), Objects::new(0).described()))])
}
