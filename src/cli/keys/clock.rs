//! `homeostat keys accept-clock`: the time is right as it is, although it jumped.

use crate::cli::args::Named;
use crate::cli::orders::{self, OWN};
use crate::cli::{CliError, Context};
use crate::clock::now_ms;
use homeostat_actors::key_rotation::ACCEPT_CLOCK;
use homeostat_schemas::event::Order;
use serde_json::json;

/// Gives the order.
///
/// # Errors
/// Nobody says so, or there is no bus.
pub(super) async fn accept(context: &mut Context, who: &Named) -> Result<(), CliError> {
    let order = Order {
        service: OWN.to_owned(),
        at_ms: now_ms(),
        action: ACCEPT_CLOCK.to_owned(),
        target: "clock".to_owned(),
        by: orders::name(who)?,
        reason: who.reason.clone(),
        ..Order::default()
    };
    let position = orders::store(context, order).await?;
    if context.json {
        return context.out.json(&json!({ "action": ACCEPT_CLOCK, "position": position }));
    }
    context.out.line("the time is taken as it is; keys are rotated and expire by it again")
}
