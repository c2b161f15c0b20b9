//! `/api/v1/status`: how everything is.

use super::Gate;
use super::api::SOURCE;
use super::readiness::Ready;
use crate::clock::now_ms;
use crate::otlp::ServiceSpans;
use crate::roster::Condition;
use actix_web::{HttpResponse, web};
use homeostat_actors::health::{ServiceView, Totals};
use homeostat_actors::status::{Count, Dropped, Refusal};
use homeostat_schemas::{Severity, UnixMs};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::PoisonError;

/// From so many requests on, a service without a single database span is worth a hint.
const HINT_REQUESTS: u64 = 20;
const HINT: &str = "it reports HTTP requests but no database spans: if it uses a database, its library is not instrumented \
                    (SQLAlchemy 2.1 and later is passed over in silence by older instrumentations)";

/// `/api/v1/status`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StatusAnswer {
    /// The version of this process.
    pub version: &'static str,
    /// The wall clock, Unix milliseconds.
    pub now_ms: UnixMs,
    /// How the parts are.
    pub readiness: Ready,
    /// How each actor is, by name.
    #[schemars(with = "BTreeMap<String, Value>")]
    pub actors: BTreeMap<&'static str, Condition>,
    /// What is open; absent while the status actor is not running here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub findings: Option<FindingCounts>,
    /// Homeostat itself as its health actor sees it; absent while that is not running here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<OwnHealth>,
    /// What came in over OTLP since this process started, by service.
    pub otlp: BTreeMap<String, OtlpService>,
}

/// What is open, counted.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FindingCounts {
    /// Log time.
    pub at_ms: UnixMs,
    /// Open findings by severity.
    pub open_by_severity: BTreeMap<Severity, usize>,
    /// Open findings by service.
    pub open_by_service: BTreeMap<String, usize>,
    /// Counts by rule.
    pub rules: BTreeMap<String, Count>,
    /// What found no room.
    pub dropped: Dropped,
    /// Open findings that nobody is told of, because somebody silenced them.
    pub silenced: usize,
    /// Open findings that somebody looks after.
    pub acknowledged: usize,
    /// Silences in force.
    pub silences_active: usize,
    /// Orders about silences and acknowledgements that were not followed, the newest first.
    pub refused_orders: Vec<Refusal>,
}

/// Homeostat itself.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OwnHealth {
    /// Its own verdict.
    pub own: ServiceView,
    /// How much it watches.
    pub totals: Totals,
}

/// What a service sent over OTLP.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OtlpService {
    /// Spans by sort.
    #[serde(flatten)]
    pub spans: ServiceSpans,
    /// What looks wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<&'static str>,
}

/// `/api/v1/status`
pub(super) async fn status(gate: web::Data<Gate>) -> HttpResponse {
    let slots = &gate.state.slots;
    let (findings, health) = futures::join!(slots.status.view(), slots.health.view());
    let findings = findings.map(|view| FindingCounts {
        silenced: view.silenced(),
        acknowledged: view.acknowledged(),
        silences_active: view.silences_active(),
        at_ms: view.at_ms,
        open_by_severity: view.open_by_severity,
        open_by_service: view.open_by_service,
        rules: view.rules,
        dropped: view.dropped,
        refused_orders: view.refused_orders,
    });
    let services = gate.services.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut answer = HttpResponse::Ok();
    // Without findings there is nothing here that the store could know.
    if findings.is_some() {
        answer.insert_header((SOURCE, "mind"));
    }
    answer.json(StatusAnswer {
        version: env!("CARGO_PKG_VERSION"),
        now_ms: now_ms(),
        readiness: gate.state.readiness.ready(),
        actors: slots.conditions().into_iter().collect(),
        findings,
        health: health.map(|view| OwnHealth { own: view.own, totals: view.totals }),
        otlp: services.into_iter().map(|(name, spans)| (name, otlp_service(spans))).collect(),
    })
}

fn otlp_service(spans: ServiceSpans) -> OtlpService {
    OtlpService { spans, hint: (spans.requests >= HINT_REQUESTS && spans.database == 0).then_some(HINT) }
}
