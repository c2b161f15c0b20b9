//! Probes: is the process alive, is it ready, is a watched service ready. And what Prometheus scrapes.

use super::Gate;
use super::auth::Caller;
use super::problem::Problem;
use crate::metrics::Objects;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use homeostat_actors::health::{Level, ServiceView};
use homeostat_schemas::Scope;
use homeostat_schemas::event::SERVICE_MAX;
use homeostat_schemas::time::rfc3339;
use serde_json::{Map, Value, json};

/// The media type of draft-inadarei-api-health-check.
const HEALTH_JSON: &str = "application/health+json";
/// The media type of OpenMetrics.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `/livez`: this process serves requests. Looks at nothing else.
pub(super) async fn livez() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ok\n")
}

/// `/readyz`: may requests be sent here? Only the status, unless `?verbose` asks for more and whoever asks may know it.
pub(super) async fn readyz(gate: web::Data<Gate>, caller: Caller, request: HttpRequest) -> HttpResponse {
    let ready = gate.state.readiness.ready();
    let status = if ready.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if has(&request, "verbose") && caller.may(Scope::Probe) {
        return HttpResponse::build(status).json(ready);
    }
    word(status)
}

/// The status in words, and nothing else.
fn word(status: StatusCode) -> HttpResponse {
    HttpResponse::build(status).content_type("text/plain; charset=utf-8").body(if status.is_success() { "ready\n" } else { "not ready\n" })
}

/// `/readyz/{service}`: what the health mind says of a watched service; without the scope, only whether it is ready.
pub(super) async fn service(
    gate: web::Data<Gate>,
    caller: Caller,
    request: HttpRequest,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let unknown = || Problem::not_found("no service of that name is watched");
    if name.len() > SERVICE_MAX {
        return Err(unknown());
    }
    let view = gate.state.slots.health.view().await;
    let brief = !caller.may(Scope::Probe);
    let view = match view {
        Some(view) => view,
        None if brief => return Ok(word(StatusCode::SERVICE_UNAVAILABLE)),
        None => return Err(Problem::not_here("health")),
    };
    let service = view.services.get(name.as_str()).ok_or_else(unknown)?;
    let status = StatusCode::from_u16(service.verdict.http).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    if brief {
        return Ok(word(status));
    }
    if accepts(&request, HEALTH_JSON) {
        return Ok(HttpResponse::build(status).content_type(HEALTH_JSON).body(health_json(&name, service).to_string()));
    }
    Ok(HttpResponse::build(status).json(service))
}

/// `/metrics`. What is open is asked of the status actor; where it does not run, the others are shown without it.
pub(super) async fn metrics(gate: web::Data<Gate>) -> HttpResponse {
    if let Some(status) = gate.state.slots.status.view().await {
        gate.state.metrics.show_status(&status);
    }
    if let Some(keys) = &gate.state.registry {
        gate.state.metrics.show_keys(&keys.verifier);
    }
    gate.state.metrics.process.show();
    if let Some(log) = gate.log() {
        gate.state.metrics.process.show_bus(&log.bus().traffic());
    }
    HttpResponse::Ok().insert_header((header::CONTENT_TYPE, HeaderValue::from_static(OPENMETRICS))).body(gate.state.metrics.encode())
}

/// `/metrics/per-object`: what the minds know, made of their views. Of those that do not run here nothing is said.
pub(super) async fn per_object(gate: web::Data<Gate>) -> HttpResponse {
    let slots = &gate.state.slots;
    let objects = Objects::new(gate.config.metrics_objects_max);
    let (status, health, query, breaker, drift, forecast, leak, keys, recovery) = futures::join!(
        slots.status.view(),
        slots.health.view(),
        slots.query.view(),
        slots.breaker.view(),
        slots.drift.view(),
        slots.forecast.view(),
        slots.leak.view(),
        slots.key_rotation.view(),
        slots.recovery.view()
    );
    status.iter().for_each(|view| objects.status(view));
    health.iter().for_each(|view| objects.health(view));
    query.iter().for_each(|view| objects.query(view));
    breaker.iter().for_each(|view| objects.breaker(view));
    drift.iter().for_each(|view| objects.drift(view));
    forecast.iter().for_each(|view| objects.forecast(view));
    leak.iter().for_each(|view| objects.leak(view));
    keys.iter().for_each(|view| objects.key_rotation(view));
    recovery.iter().for_each(|view| objects.recovery(view));
    HttpResponse::Ok().insert_header((header::CONTENT_TYPE, HeaderValue::from_static(OPENMETRICS))).body(objects.encode())
}

/// A service in the words of draft-inadarei-api-health-check-06.
fn health_json(name: &str, service: &ServiceView) -> Value {
    let word = |level: Level| match level {
        Level::Pass => "pass",
        Level::Warn => "warn",
        Level::Fail => "fail",
    };
    let mut checks: Map<String, Value> = Map::new();
    for component in &service.components {
        let mut check = json!({ "componentType": "component", "status": word(component.level), "time": rfc3339(component.at_ms) });
        let mut set = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                check[key] = value;
            }
        };
        set("componentId", component.instance.clone().map(Value::from));
        set("observedValue", component.observed_value.map(Value::from));
        set("observedUnit", component.observed_unit.map(Value::from));
        set("output", component.why.clone().map(Value::from));
        if let Value::Array(list) = checks.entry(component.name.clone()).or_insert_with(|| Value::Array(Vec::new())) {
            list.push(check);
        }
    }
    json!({ "status": word(service.verdict.ready), "serviceId": name, "output": service.verdict.why.join("; "), "checks": checks })
}

/// Is the parameter in the query string, with or without a value?
pub(super) fn has(request: &HttpRequest, parameter: &str) -> bool {
    request.query_string().split('&').any(|pair| pair.split('=').next() == Some(parameter))
}

/// Does the client ask for this media type by name?
fn accepts(request: &HttpRequest, media_type: &str) -> bool {
    request
        .headers()
        .get_all(header::ACCEPT)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|range| range.split(';').next().is_some_and(|range| range.trim().eq_ignore_ascii_case(media_type)))
}
