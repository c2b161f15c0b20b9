//! `/api/v1/silences`: what nobody is told of, and `/api/v1/alerts/{id}/acknowledge`: who looks after what. People's word is an order on
//! the log like any other; the status actor follows it, and whoever tells people about alerts honours it.

use super::Gate;
use super::api::{Answer, Source, database};
use super::auth::Caller;
use super::body;
use super::problem::Problem;
use super::recovery::{self, OWN};
use crate::clock::now_ms;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use homeostat_actors::status::{self, SilenceState};
use homeostat_schemas::event::Order;
use homeostat_schemas::silence::{self, Matcher, SilenceArgs, Window};
use homeostat_schemas::{Ms, State, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a body is said not to be.
const WORD: &str = "what is asked for here";

/// What `/api/v1/silences` is asked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SilencesQuery {
    /// Only those that are `pending`, `active` or `ended`.
    pub state: Option<SilenceState>,
}

/// A silence to be made.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SilenceRequest {
    /// Its id, 1 to 64 letters, digits, `_`, `-` or `.`; one that is there is replaced. A random one when not said.
    pub id: Option<String>,
    /// What it covers: alerts for which all of these hold.
    pub matchers: Vec<Matcher>,
    /// When it begins, Unix milliseconds; now, unless said otherwise.
    pub starts_ms: Option<UnixMs>,
    /// When it ends, Unix milliseconds. One without a window has to end.
    pub ends_ms: Option<UnixMs>,
    /// Instead of `ends_ms`: how long it lasts from its beginning, milliseconds.
    pub duration_ms: Option<Ms>,
    /// Only while this window is open, again and again.
    pub window: Option<Window>,
    /// Who says so.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
}

/// Who says so.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Saying {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
}

/// Somebody looks after an incident, or no longer does.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AcknowledgeRequest {
    /// Who.
    pub by: String,
    /// What is being done.
    pub reason: Option<String>,
    /// Take it back.
    #[serde(default)]
    pub withdraw: bool,
}

/// The order stands on the log.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SilenceReceipt {
    /// The silence, or the incident.
    pub id: String,
    /// What was ordered.
    pub action: &'static str,
    /// Where to see what became of it.
    pub see: String,
}

fn order(action: &'static str, target: String, by: String, reason: Option<String>) -> Order {
    Order { service: OWN.to_owned(), at_ms: now_ms(), action: action.to_owned(), target, args: Value::Null, by, reason, ..Order::default() }
}

async fn give(gate: &Gate, caller: &Caller, request: &HttpRequest, order: Order, action: &'static str, see: String) -> Answer {
    // The mind would refuse it too, but nobody would be looking.
    status::check(&order, now_ms()).map_err(Problem::unprocessable)?;
    let receipt = SilenceReceipt { id: order.target.clone(), action, see };
    recovery::give(gate, caller, request, order).await?;
    Ok(HttpResponse::Accepted().json(receipt))
}

/// `GET /api/v1/silences`
pub(super) async fn list(gate: web::Data<Gate>, request: HttpRequest) -> Answer {
    let asked: SilencesQuery = super::api::asked(&request)?;
    let view = gate.state.slots.status.view().await;
    let mut silences = view.ok_or_else(|| Problem::not_here("status"))?.silences;
    silences.retain(|silence| asked.state.is_none_or(|state| state == silence.state));
    Ok(Source::Mind.answers(&silences))
}

/// `POST /api/v1/silences`
pub(super) async fn create(gate: web::Data<Gate>, caller: Caller, request: HttpRequest, payload: web::Payload) -> Answer {
    let asked: SilenceRequest = body::json(&gate, &request, payload, WORD).await?;
    let id = asked.id.or_else(|| gate.ids.of_key("silences", &caller, &request)).unwrap_or_else(|| gate.ids.fresh());
    let SilenceRequest { matchers, starts_ms, ends_ms, duration_ms, window, .. } = asked;
    let args = SilenceArgs { matchers, starts_ms, ends_ms, duration_ms, window };
    let args = serde_json::to_value(args).map_err(|_| Problem::bad_request("it cannot be written as JSON"))?;
    let order = Order { args, ..order(silence::CREATE, id, asked.by, asked.reason) };
    give(&gate, &caller, &request, order, silence::CREATE, "/api/v1/silences".to_owned()).await
}

/// `POST /api/v1/silences/{id}/expire`
pub(super) async fn expire(
    gate: web::Data<Gate>,
    caller: Caller,
    request: HttpRequest,
    id: web::Path<String>,
    payload: web::Payload,
) -> Answer {
    let asked: Saying = body::json(&gate, &request, payload, WORD).await?;
    // Where the actor runs elsewhere, it says there what it thinks of it.
    if let Some(view) = gate.state.slots.status.view().await {
        match view.silences.into_iter().find(|silence| silence.id == *id).map(|silence| silence.state) {
            None => return Err(Problem::not_found("no silence has this id")),
            Some(SilenceState::Ended) => return Err(Problem::new(StatusCode::CONFLICT, "this silence is over already")),
            Some(SilenceState::Pending | SilenceState::Active) => {}
        }
    }
    let order = order(silence::EXPIRE, id.into_inner(), asked.by, asked.reason);
    give(&gate, &caller, &request, order, silence::EXPIRE, "/api/v1/silences".to_owned()).await
}

/// `POST /api/v1/alerts/{id}/acknowledge`
pub(super) async fn acknowledge(
    gate: web::Data<Gate>,
    caller: Caller,
    request: HttpRequest,
    id: web::Path<String>,
    payload: web::Payload,
) -> Answer {
    let asked: AcknowledgeRequest = body::json(&gate, &request, payload, WORD).await?;
    let unknown = || Problem::not_found("no alert or incident has this id");
    let over = || Problem::new(StatusCode::CONFLICT, "this incident is over");
    let seen = gate.state.slots.status.view().await;
    let mut seen = seen.iter().flat_map(|view| view.open.iter().chain(&view.resolved));
    let found = seen.find(|alert| alert.incident == *id || alert.id == *id);
    let incident = match found {
        Some(alert) if alert.state == State::Firing => alert.incident.clone(),
        Some(_) => return Err(over()),
        // History knows its earlier messages, and where the actor runs elsewhere, the last one too.
        None => match gate.state.store.alert(&id).await {
            Ok(found) => match found.and_then(|found| found.record) {
                Some(record) if record.resolved_ms.is_some() => return Err(over()),
                Some(record) => record.alert.incident,
                None => return Err(unknown()),
            },
            Err(error) => return Err(database(&error)),
        },
    };
    let action = if asked.withdraw { silence::UNACKNOWLEDGE } else { silence::ACKNOWLEDGE };
    let see = format!("/api/v1/alerts/{incident}");
    give(&gate, &caller, &request, order(action, incident, asked.by, asked.reason), action, see).await
}
