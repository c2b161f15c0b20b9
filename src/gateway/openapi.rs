//! The OpenAPI 3.1 description, made from the list of routes and from the types themselves, so that it cannot fall behind.

use super::alerts::{AlertEntry, AlertsQuery, IncidentEntry};
use super::breakers::BreakersQuery;
use super::commands::{CommandEntry, CommandsQuery};
use super::drift::DriftQuery;
use super::events::Receipt;
use super::forecasts::ForecastsQuery;
use super::key_rotation::KeyRotationQuery;
use super::keys::KeysQuery;
use super::leaks::LeaksQuery;
use super::problem::{PROBLEM_JSON, ProblemBody};
use super::queries::QueriesQuery;
use super::readiness::Ready;
use super::recovery::{DecisionsQuery, OrderReceipt, OrderRequest};
use super::routes::{Access, ENDPOINTS, Endpoint, Verb};
use super::silences::{AcknowledgeRequest, Saying, SilenceReceipt, SilenceRequest, SilencesQuery};
use super::status::StatusAnswer;
use super::stream::StreamQuery;
use crate::store::DecisionRecord;
use actix_web::HttpResponse;
use homeostat_actors::breaker::BreakerView;
use homeostat_actors::drift::DriftView;
use homeostat_actors::forecast::ForecastView;
use homeostat_actors::health::ServiceView;
use homeostat_actors::key_rotation::KeyRotationView;
use homeostat_actors::leak::LeakView;
use homeostat_actors::query::QueryRow;
use homeostat_actors::recovery::RecoveryView;
use homeostat_actors::status::SilenceView;
use homeostat_schemas::{Event, Scope};
use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};
use std::sync::OnceLock;

/// `/api/v1/openapi.json`
pub(super) async fn serve() -> HttpResponse {
    static TEXT: OnceLock<String> = OnceLock::new();
    let text = TEXT.get_or_init(|| document().to_string());
    HttpResponse::Ok().content_type("application/json").body(text.as_str())
}

/// The whole description.
#[must_use]
pub fn document() -> Value {
    let settings = || SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = "/components/schemas".into());
    // An answer leaves out what is empty; a request may leave out what has a default.
    let mut schemas = Schemas { answers: settings().for_serialize().into_generator(), requests: settings().into_generator() };
    let mut paths: Map<String, Value> = Map::new();
    for endpoint in ENDPOINTS {
        let mut operation = operation(endpoint, &mut schemas);
        operation["operationId"] = json!(operation_id(endpoint.path, endpoint.verb));
        let mut parameters = in_path(endpoint.path);
        parameters.extend(operation["parameters"].as_array().cloned().unwrap_or_default());
        operation["parameters"] = Value::Array(parameters);
        let problem = schemas.subschema_for::<ProblemBody>();
        operation["responses"]["default"] = answer("What is wrong, and what to do about it", PROBLEM_JSON, &problem);
        operation["security"] = security(endpoint.access);
        if let Access::Needs(scope) = endpoint.access {
            operation["responses"]["401"] = json!({ "$ref": "#/components/responses/Unauthorized" });
            operation["responses"]["403"] = answer(&format!("The key has not the scope {scope}"), PROBLEM_JSON, &problem);
        }
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        path[endpoint.verb.name()] = operation;
    }
    json!({
        "openapi": "3.1.1",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "Homeostat",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Keeps services healthy: telemetry in, findings and commands out",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "tags": [
            { "name": "probes", "description": "Is it alive, is it ready" },
            { "name": "intake", "description": "Telemetry over HTTP" },
            { "name": "api", "description": "What was found, and what is done about it" },
            { "name": "keys", "description": "Who may use all this" },
        ],
        "paths": paths,
        "components": {
            "schemas": schemas.definitions(),
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "hst_…",
                    "description": "An API key. On loopback none is needed unless gateway.auth = \"always\"." },
                "header": { "type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key in a header of its own." },
            },
            "responses": { "Unauthorized": {
                "description": "No key, or none that counts: the same whatever was wrong with it",
                "headers": { "WWW-Authenticate": { "schema": { "type": "string" } } },
                "content": { PROBLEM_JSON: { "schema": { "$ref": "#/components/schemas/ProblemBody" } } },
            } },
        },
    })
}

/// The schemas of what is answered and of what is asked.
pub(super) struct Schemas {
    answers: SchemaGenerator,
    pub(super) requests: SchemaGenerator,
}

impl Schemas {
    pub(super) fn subschema_for<T: JsonSchema>(&mut self) -> Schema {
        self.answers.subschema_for::<T>()
    }

    fn definitions(mut self) -> Map<String, Value> {
        let mut all = self.requests.take_definitions(true);
        all.extend(self.answers.take_definitions(true));
        all
    }
}

/// What a path is for, what it takes and what it answers.
fn operation(endpoint: &Endpoint, generator: &mut Schemas) -> Value {
    match endpoint.path {
        "/livez" | "/health/liveness" => {
            probe("Is the process alive?", "Depends on nothing but the process itself.", json!({ "200": plain("It is") }))
        }
        "/readyz" | "/healthz" | "/health/readiness" => {
            let ready = generator.subschema_for::<Ready>();
            let body = |what: &str| {
                json!({ "description": what, "content": {
                    "text/plain": { "schema": { "type": "string" } },
                    "application/json": { "schema": ready },
                } })
            };
            let mut probe = probe(
                "May requests be sent here?",
                "Bus, database and actors, as they were seen within the last second.",
                json!({ "200": body("They may"), "503": body("They may not") }),
            );
            probe["parameters"] = json!([{ "name": "verbose", "in": "query", "description": "Say how each part is", "allowEmptyValue": true, "schema": { "type": "string" } }]);
            probe
        }
        "/readyz/{service}" => {
            let service = generator.subschema_for::<ServiceView>();
            let body = |what: &str| {
                json!({ "description": what, "content": {
                    "application/json": { "schema": service },
                    "application/health+json": { "schema": { "type": "object" } },
                    "text/plain": { "schema": { "type": "string", "description": "Without a key: the status in words" } },
                } })
            };
            probe(
                "Is a watched service ready?",
                "As the health actor sees it; application/health+json when asked for by Accept.",
                json!({ "200": body("It is, or nobody knows"), "503": body("It is not") }),
            )
        }
        "/metrics" => probe(
            "What Prometheus scrapes",
            "OpenMetrics 1.0.",
            json!({ "200": { "description": "All metrics", "content": { "application/openmetrics-text": { "schema": { "type": "string" } } } } }),
        ),
        "/metrics/per-object" => probe(
            "What Prometheus scrapes of statements, breakers, series and the like",
            "OpenMetrics 1.0, made of what the actors that run here know.",
            json!({ "200": { "description": "All objects", "content": { "application/openmetrics-text": { "schema": { "type": "string" } } } } }),
        ),
        "/v1/traces" => traces(),
        "/v1/events" => events(generator),
        "/api/v1/status" => api("How everything is", Value::Null, generator.subschema_for::<StatusAnswer>()),
        "/api/v1/alerts" => {
            let query = in_query::<AlertsQuery>();
            api("Findings: open ones, or all of them", query, list(generator.subschema_for::<AlertEntry>()))
        }
        "/api/v1/alerts/{id}" => {
            let summary = "One finding with its whole story, by the id of a message, of the incident or of a command";
            api(summary, Value::Null, generator.subschema_for::<IncidentEntry>())
        }
        "/api/v1/alerts/{id}/acknowledge" => {
            let summary = "Somebody looks after an incident: nobody is reminded of it, and no second line is called";
            order(summary, generator.requests.subschema_for::<AcknowledgeRequest>(), generator.subschema_for::<SilenceReceipt>())
        }
        "/api/v1/silences" if endpoint.verb == Verb::Post => {
            let summary = "Tell nobody of some alerts: for a while, or in a maintenance window that comes again";
            order(summary, generator.requests.subschema_for::<SilenceRequest>(), generator.subschema_for::<SilenceReceipt>())
        }
        "/api/v1/silences" => {
            let query = in_query::<SilencesQuery>();
            api("Silences and maintenance windows", query, list(generator.subschema_for::<SilenceView>()))
        }
        "/api/v1/silences/{id}/expire" => {
            order("End a silence now", generator.subschema_for::<Saying>(), generator.subschema_for::<SilenceReceipt>())
        }
        "/api/v1/commands" => {
            let query = in_query::<CommandsQuery>();
            api("Commands and what became of them", query, list(generator.subschema_for::<CommandEntry>()))
        }
        "/api/v1/queries" => {
            let query = in_query::<QueriesQuery>();
            api("Statistics by shape of statement, most time first", query, list(generator.subschema_for::<QueryRow>()))
        }
        "/api/v1/breakers" => {
            let query = in_query::<BreakersQuery>();
            api("The fleet's breakers: what share of calls is admitted", query, list(generator.subschema_for::<BreakerView>()))
        }
        "/api/v1/drift" => {
            let query = in_query::<DriftQuery>();
            api("Models, their features, and how far they have drifted", query, generator.subschema_for::<DriftView>())
        }
        "/api/v1/forecasts" => {
            let query = in_query::<ForecastsQuery>();
            api("Series, their forecasts and what is unusual", query, generator.subschema_for::<ForecastView>())
        }
        "/api/v1/key_rotation" => {
            api("What is due for each API key", in_query::<KeyRotationQuery>(), generator.subschema_for::<KeyRotationView>())
        }
        "/api/v1/leaks" => api("Whose memory grows without a bound", in_query::<LeaksQuery>(), generator.subschema_for::<LeakView>()),
        "/api/v1/recovery" => api("What is done about what is wrong, and why", Value::Null, generator.subschema_for::<RecoveryView>()),
        "/api/v1/recovery/decisions" => {
            let query = in_query::<DecisionsQuery>();
            api("What was decided and held back, and why, from history", query, list(generator.subschema_for::<DecisionRecord>()))
        }
        "/api/v1/recovery/orders" => orders(generator),
        "/api/v1/stream" => {
            let stream = json!({ "description": "Events `alert`, `command` and `outcome`; the id is the place in the log", "content": {
                "text/event-stream": { "schema": { "type": "string" } } } });
            let mut parameters = in_query::<StreamQuery>().as_array().cloned().unwrap_or_default();
            parameters.push(json!({ "name": "Last-Event-ID", "in": "header", "description": "Go on behind this one",
                "schema": { "type": "integer", "minimum": 0 } }));
            json!({ "tags": ["api"], "summary": "Findings and commands as they happen", "parameters": parameters, "responses": { "200": stream } })
        }
        path if path.starts_with("/api/v1/keys") => super::keys::operation(path, endpoint.verb, in_query::<KeysQuery>(), generator),
        "/api/v1/openapi.json" => api("This description", Value::Null, json!({ "type": "object" })),
        // The test below sees to it that there is none.
        _ => json!({ "responses": {} }),
    }
}

fn traces() -> Value {
    let binary = json!({ "schema": { "type": "string", "format": "binary", "description": "opentelemetry.proto.collector.trace.v1" } });
    let both = |what: &str| json!({ "description": what, "content": { "application/x-protobuf": binary, "application/json": { "schema": { "type": "object" } } } });
    json!({
        "tags": ["intake"],
        "summary": "OpenTelemetry traces (OTLP/HTTP)",
        "description": "Answered when the log has acknowledged them. At most 20 MiB after decompression unless configured otherwise; gzip is understood.",
        "requestBody": { "required": true, "content": { "application/x-protobuf": binary, "application/json": { "schema": { "type": "object" } } } },
        "responses": {
            "200": both("Stored; `partial_success` says how many spans could not be used"),
            "400": both("No export request; do not send it again"),
            "408": both("The body did not come in time"),
            "413": both("Too large after decompression"),
            "503": both("Not stored; send it again after `Retry-After`"),
        },
    })
}

fn events(generator: &mut Schemas) -> Value {
    let event = generator.requests.subschema_for::<Event>();
    let one_or_more = json!({ "oneOf": [event, { "type": "array", "items": event }] });
    let (receipt, problem) = (generator.subschema_for::<Receipt>(), generator.subschema_for::<ProblemBody>());
    let useless = json!({ "anyOf": [receipt, problem] });
    json!({
        "tags": ["intake"],
        "summary": "Homeostat's own events, kinds and services mixed at will",
        "description": "Answered when the log has acknowledged them. Each event is judged for itself.",
        "parameters": [{ "name": "Idempotency-Key", "in": "header", "description": "Two requests with the same key are one",
            "schema": { "type": "string" } }],
        "requestBody": { "required": true, "content": {
            "application/json": { "schema": one_or_more },
            "application/x-ndjson": { "schema": event },
            "application/msgpack": { "schema": one_or_more },
        } },
        "responses": {
            "200": answer("What was stored, and what could not be used", "application/json", &receipt),
            "422": answer("Not one event could be used, or the Idempotency-Key came with something else before", PROBLEM_JSON, &useless),
        },
    })
}

fn orders(generator: &mut Schemas) -> Value {
    let mut orders = order(
        "Approve, deny, pause, resume, or ask for a command",
        generator.requests.subschema_for::<OrderRequest>(),
        generator.subschema_for::<OrderReceipt>(),
    );
    orders["description"] =
        json!("Answered when the order stands on the log; the decision record says what became of it. Every guard rail holds for it too.");
    orders
}

/// People's word: an order on the log.
fn order(summary: &str, order: Schema, receipt: Schema) -> Value {
    json!({
        "tags": ["api"],
        "summary": summary,
        "description": "Answered when the order stands on the log.",
        "parameters": [{ "name": "Idempotency-Key", "in": "header", "description": "Two requests with the same key are one",
            "schema": { "type": "string" } }],
        "requestBody": { "required": true, "content": { "application/json": { "schema": order } } },
        "responses": { "202": answer("It stands on the log", "application/json", &receipt) },
    })
}

fn probe(summary: &str, description: &str, responses: Value) -> Value {
    json!({ "tags": ["probes"], "summary": summary, "description": description, "responses": responses })
}

fn api(summary: &str, parameters: Value, schema: impl serde::Serialize) -> Value {
    let mut fine = answer("The answer", "application/json", schema);
    fine["headers"] = json!({ super::api::SOURCE: {
        "description": "Who answers: `mind`, the running actor; or `store`, the database, where no actor runs here or it is too busy to say. \
                        Absent where neither does.",
        "schema": { "type": "string", "enum": ["mind", "store"] }
    }});
    json!({ "tags": ["api"], "summary": summary, "parameters": parameters, "responses": { "200": fine } })
}

fn answer(description: &str, media_type: &str, schema: impl serde::Serialize) -> Value {
    json!({ "description": description, "content": { media_type: { "schema": schema } } })
}

fn plain(description: &str) -> Value {
    json!({ "description": description, "content": { "text/plain": { "schema": { "type": "string" } } } })
}

fn list(schema: Schema) -> Value {
    json!({ "type": "array", "items": schema })
}

/// The parameters of a query string, from the type that reads it.
fn in_query<T: JsonSchema>() -> Value {
    let schema =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true).into_generator().into_root_schema_for::<T>();
    let properties = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    let parameters = properties.into_iter().map(|(name, mut schema)| {
        let description = schema.as_object_mut().and_then(|schema| schema.remove("description")).unwrap_or_default();
        let flag = name == "all";
        let mut parameter = json!({ "name": name, "in": "query", "description": description, "schema": schema });
        if flag {
            parameter["allowEmptyValue"] = json!(true);
        }
        parameter
    });
    Value::Array(parameters.collect())
}

/// The parameters in the braces of a path.
fn in_path(path: &str) -> Vec<Value> {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    names.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })).collect()
}

/// GET `/api/v1/alerts/{id}` is `api_v1_alerts_id`, POST on the same path `post_api_v1_alerts_id`.
fn operation_id(path: &str, verb: Verb) -> String {
    let several = ENDPOINTS.iter().filter(|endpoint| endpoint.path == path).count() > 1;
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let verb = (several && verb != Verb::Get).then(|| verb.name());
    verb.into_iter().chain(words).collect::<Vec<_>>().join("_")
}

/// What a request needs, in the words of OpenAPI: either header, with the scope; or nothing as well.
fn security(access: Access) -> Value {
    let either = |scope: Scope| vec![json!({ "bearer": [scope.name()] }), json!({ "header": [scope.name()] })];
    match access {
        Access::Open => json!([]),
        Access::Brief(scope) => Value::Array([vec![json!({})], either(scope)].concat()),
        Access::Needs(scope) => Value::Array(either(scope)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let document = document();
        let described: BTreeSet<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(described, ENDPOINTS.iter().map(|endpoint| endpoint.path).collect());
        for (path, item) in document["paths"].as_object().unwrap() {
            for (verb, operation) in item.as_object().unwrap() {
                assert!(operation["summary"].is_string() && operation["responses"].as_object().unwrap().len() > 1, "{verb} {path}");
            }
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn walk<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
            match value {
                Value::Object(map) => map.iter().for_each(|(key, value)| match value {
                    Value::String(target) if key == "$ref" => found.push(target),
                    value => walk(value, found),
                }),
                Value::Array(list) => list.iter().for_each(|value| walk(value, found)),
                _ => {}
            }
        }
        let document = document();
        let mut references = Vec::new();
        walk(&document, &mut references);
        assert!(references.len() > 10);
        for reference in references {
            assert!(document.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference}");
        }
    }
}
