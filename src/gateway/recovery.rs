//! `/api/v1/recovery`: what is being done about what is wrong, and the decision record; `/api/v1/recovery/decisions`: that record as
//! far back as history reaches; `/api/v1/recovery/orders`: people approve, deny, pause, resume and ask. An order is an event on the log
//! like any other, so that the guard rails hold for it too and a replay knows it.

use super::Gate;
use super::api::{Source, asked, database, limit};
use super::auth::Caller;
use super::body;
use super::problem::Problem;
use super::publish::{context, group, pack, store};
use crate::clock::now_ms;
use crate::store::DecisionFilter;
use actix_web::{HttpRequest, HttpResponse, web};
use homeostat_actors::recovery::{What, check, order};
use homeostat_schemas::event::{Order, SERVICE_MAX};
use homeostat_schemas::{Event, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Longest name, target or reason, bytes.
const TEXT_MAX: usize = 512;
/// The service that orders are filed under when they are about none.
pub(crate) const OWN: &str = "homeostat";

/// What somebody wants.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderRequest {
    /// `approve`, `deny`, `pause`, `resume`, or the action that is asked for (`cache.warm`).
    #[schemars(length(max = 512), regex(pattern = r"^(approve|deny|pause|resume|[^.]+\.[\s\S]+)$"))]
    pub action: String,
    /// The incident to approve or deny; `all`, `service:<name>` or `action:<name>` to pause or resume; the target of an action.
    #[schemars(length(max = 512), regex(pattern = r"\S"))]
    pub target: String,
    /// Who says so.
    #[schemars(length(max = 512), regex(pattern = r"\S"))]
    pub by: String,
    /// The service that is to do what is asked for; it has to be named then.
    #[schemars(length(min = 1, max = 64))]
    pub service: Option<String>,
    /// Arguments of the action.
    #[serde(default)]
    pub args: Map<String, Value>,
    /// Why.
    #[schemars(length(max = 512))]
    pub reason: Option<String>,
}

/// The order as it stands on the log now.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OrderReceipt {
    /// What was ordered, in full.
    pub action: String,
    /// Of what.
    pub target: String,
    /// Where to see what became of it.
    pub see: &'static str,
}

impl OrderRequest {
    /// The event, or what is wrong with the request.
    fn event(self, at_ms: u64) -> Result<Order, Problem> {
        let action = match self.action.as_str() {
            "approve" => order::APPROVE.to_owned(),
            "deny" => order::DENY.to_owned(),
            "pause" => order::PAUSE.to_owned(),
            "resume" => order::RESUME.to_owned(),
            _ => self.action,
        };
        let own = [order::APPROVE, order::DENY, order::PAUSE, order::RESUME].contains(&action.as_str());
        if !own && !action.split_once('.').is_some_and(|(topic, verb)| !topic.is_empty() && !verb.is_empty()) {
            return Err(Problem::unprocessable("action: approve, deny, pause, resume, or an action such as cache.warm"));
        }
        if self.by.trim().is_empty() || self.target.trim().is_empty() {
            return Err(Problem::unprocessable("an order needs `by` (who says so) and `target`"));
        }
        check(&action, &self.target).map_err(Problem::unprocessable)?;
        let service = match self.service {
            Some(service) => service,
            None if own => OWN.to_owned(),
            None => return Err(Problem::unprocessable("service: which one is to do it")),
        };
        let texts = [&action, &self.target, &self.by].into_iter().chain(self.reason.as_ref());
        if !(1..=SERVICE_MAX).contains(&service.len()) || texts.into_iter().any(|text| text.len() > TEXT_MAX) {
            return Err(Problem::unprocessable("a service has 1 to 64 bytes, any other text at most 512"));
        }
        let args = Value::Object(self.args);
        Ok(Order { service, at_ms, action, target: self.target, args, by: self.by, reason: self.reason, ..Order::default() })
    }
}

/// `/api/v1/recovery`
pub(super) async fn view(gate: web::Data<Gate>) -> Result<HttpResponse, Problem> {
    let view = gate.state.slots.recovery.view().await;
    let view = view.ok_or_else(|| Problem::not_here("recovery"))?;
    Ok(Source::Mind.answers(&view))
}

/// What `/api/v1/recovery/decisions` is asked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DecisionsQuery {
    /// About this incident.
    pub incident: Option<String>,
    /// About this service.
    pub service: Option<String>,
    /// About this action.
    pub action: Option<String>,
    /// Of this sort: `held`, `issued`, `verified`, …
    pub what: Option<What>,
    /// Decided at or after this, Unix ms of log time.
    #[schemars(range(min = 0, max = 18_446_744_073_709_551_615_u64))]
    pub since: Option<UnixMs>,
    /// Decided before this, Unix ms of log time.
    #[schemars(range(min = 0, max = 18_446_744_073_709_551_615_u64))]
    pub until: Option<UnixMs>,
    /// At most so many, 1 to 1000; 100 when not said.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
    /// Older than the one of this `number`.
    #[schemars(range(min = 0, max = 18_446_744_073_709_551_615_u64))]
    pub before: Option<u64>,
}

/// `/api/v1/recovery/decisions`: the newest first, from history, which is a second or two behind the mind.
pub(super) async fn decisions(gate: web::Data<Gate>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let DecisionsQuery { incident, service, action, what, since, until, limit: most, before } = asked(&request)?;
    let filter = DecisionFilter { incident, service, action, what, since, until, limit: Some(limit(most)?), before };
    let found = gate.state.store.decisions(&filter).await.map_err(|error| database(&error))?;
    Ok(Source::Store.answers(&found))
}

/// `/api/v1/recovery/orders`
pub(super) async fn take(
    gate: web::Data<Gate>,
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let asked: OrderRequest = body::json(&gate, &request, payload, "an order").await?;
    let order = asked.event(now_ms())?;
    // Where the actor runs elsewhere, its record says there what it thinks of it.
    if order::decides(&order.action)
        && let Some(view) = gate.state.slots.recovery.view().await
        && view.knows(&order.target) == Some(false)
    {
        return Err(Problem::not_found("no such incident is open"));
    }
    let receipt = OrderReceipt { action: order.action.clone(), target: order.target.clone(), see: "/api/v1/recovery" };
    give(&gate, &caller, &request, order).await?;
    Ok(HttpResponse::Accepted().json(receipt))
}

/// Puts an order into the audit log, and onto the log. With an `Idempotency-Key`, the same one twice is one.
///
/// # Errors
/// It was not stored.
pub(super) async fn give(gate: &Gate, caller: &Caller, request: &HttpRequest, order: Order) -> Result<(), Problem> {
    // Whatever else is the same, a retry comes later.
    let content = serde_json::to_vec(&Order { at_ms: 0, ..order.clone() }).unwrap_or_default();
    let id = gate.ids.of_request("orders", caller, request, &content)?;
    record(gate, caller, &order).await?;
    let mut groups = Vec::new();
    group(&mut groups, Event::from(order));
    let packed = pack(&gate.state.root, &groups, &id, &context(request));
    let packed = packed.map_err(|_| Problem::bad_request("it cannot be written as MessagePack"))?;
    store(gate, packed.messages).await
}

/// Puts an order into the audit log, before it is one.
pub(super) async fn record(gate: &Gate, caller: &Caller, order: &Order) -> Result<(), Problem> {
    let detail = json!({ "service": order.service, "by": order.by, "reason": order.reason, "args": order.args });
    gate.audit(caller, &format!("order.{}", order.action), &order.target, detail).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn event(body: Value) -> Result<Order, String> {
        let request: OrderRequest = serde_json::from_value(body).map_err(|error| error.to_string())?;
        request.event(9).map_err(|problem| problem.detail().to_owned())
    }

    #[test]
    fn orders_are_told_in_short_and_stand_on_the_log_in_full() {
        let approve = event(json!({"action": "approve", "target": "3682100b3b262197", "by": "ann"})).unwrap();
        assert_eq!((approve.action.as_str(), approve.service.as_str(), approve.at_ms), ("recovery.approve", "homeostat", 9));
        let warm = json!({"action": "cache.warm", "target": "products", "by": "ann", "service": "shop", "args": {"keys": 5}});
        assert_eq!(event(warm).unwrap().args, json!({"keys": 5}));
        for bad in [
            json!({"action": "approve", "target": "x"}),
            json!({"action": "approve", "target": "x", "by": " "}),
            json!({"action": "approve", "target": "", "by": "ann"}),
            json!({"action": "reboot", "target": "x", "by": "ann"}),
            json!({"action": "cache.warm", "target": "x", "by": "ann"}),
            json!({"action": "cache.warm", "target": "x", "by": "ann", "service": "s".repeat(65)}),
            json!({"action": "pause", "target": "x".repeat(600), "by": "ann"}),
            json!({"action": "pause", "target": "service:shop-*", "by": "ann"}),
            json!({"action": "pause", "target": "shop", "by": "ann"}),
            json!({"action": "pause", "target": "all", "by": "ann", "how_long": 5}),
        ] {
            assert!(event(bad.clone()).is_err(), "{bad}");
        }
    }
}
