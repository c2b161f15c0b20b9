//! What commands share that give orders: who gives them, how they get onto the log, and how the gateway is asked what became of them.

use super::args::Named;
use super::out::plain;
use super::{CliError, Context, bus, healthcheck, keys};
use crate::clock::now_ms;
use crate::config::Config;
use homeostat_nats::Message;
use homeostat_schemas::event::{EventKind, Order};
use homeostat_schemas::{Event, Position, Subject};
use serde_json::{Value, json};
use std::time::Duration;

/// The service that orders are filed under when they are about none.
const OWN: &str = "homeostat";
/// Of an answer, no more is read.
const ANSWER_MAX: u64 = 64 * 1024 * 1024;
/// How long the gateway may take.
const WITHIN: Duration = Duration::from_secs(10);

/// Who gives an order: who was named, or whoever runs this.
pub(crate) fn name(who: &Named) -> String {
    who.by.clone().unwrap_or_else(user)
}

/// Whoever runs this, by the name that the environment has for them; without one, as in a container, by their number.
pub(crate) fn user() -> String {
    let named = ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    named.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

/// An order of this kind, about no service in particular, given now.
pub(crate) fn order(action: &str, target: &str, args: Value, who: &Named) -> Order {
    Order {
        service: OWN.to_owned(),
        at_ms: now_ms(),
        action: action.to_owned(),
        target: target.to_owned(),
        args,
        by: name(who),
        reason: who.reason.clone(),
        ..Order::default()
    }
}

/// Puts an order into the audit log, and onto the log; where it stands there.
///
/// # Errors
/// There is no bus, or it did not take it.
pub(crate) async fn store(context: &Context, order: Order) -> Result<Position, CliError> {
    let root = bus::root(context.config())?;
    let log = bus::log(context).await?;
    let detail = json!({ "service": order.service, "reason": order.reason, "args": order.args });
    bus::record(&log, &format!("order.{}", order.action), &order.target, &order.by, detail).await?;
    let subject = root.subject(&Subject::Event(EventKind::Order, order.service.clone()));
    let body = serde_json::to_vec(&Event::from(order)).map_err(|error| CliError::new("the order cannot be written").because(error))?;
    let id = super::publish::packer::id()?;
    let message = Message::new(subject, body).with("content-type", homeostat_schemas::batch::JSON).with("Nats-Msg-Id", id);
    Ok(log.append(message).await?)
}

/// Asks the running gateway.
///
/// # Errors
/// It is not there, or has no answer.
pub(crate) async fn ask(context: &Context, path: &str) -> Result<Value, CliError> {
    ask_of(context.config(), path).await
}

/// Asks the running gateway of these settings.
///
/// # Errors
/// It is not there, or has no answer.
pub(crate) async fn ask_of(config: &Config, path: &str) -> Result<Value, CliError> {
    let url = format!("{}{path}", healthcheck::gateway(config));
    let key = keys::from_environment();
    let late = |_| CliError::new(format!("{url} did not answer in time")).advise("see whether `homeostat up` runs there");
    let (status, body) = tokio::time::timeout(WITHIN, healthcheck::fetch(&url, config, key.as_ref(), ANSWER_MAX)).await.map_err(late)??;
    let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    if status != 200 {
        let detail = answer.get("detail").and_then(Value::as_str).unwrap_or("no reason was given");
        let error = CliError::new(format!("{url} answered {status}: {}", plain(detail)));
        let advice = || format!("show an API key by the variable {}", keys::KEY_VARIABLE);
        return Err(if [401, 403].contains(&status) { error.advise(advice()) } else { error });
    }
    Ok(answer)
}

/// A text in an answer of the gateway; empty when it is not there.
pub(super) fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A list in an answer of the gateway; empty when it is not there.
pub(super) fn items<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A count in an answer of the gateway; 0 when it is not there.
pub(super) fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or_default()
}
