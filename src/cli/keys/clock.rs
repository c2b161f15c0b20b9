//! `homeostat keys accept-clock`: the time is right as it is, although it jumped.

use crate::cli::args::Named;
use crate::cli::{CliError, Context, orders};
use homeostat_actors::key_rotation::ACCEPT_CLOCK;
use serde_json::{Value, json};

/// Gives the order.
///
/// # Errors
/// Nobody says so, or there is no bus.
pub(super) async fn accept(context: &mut Context, who: &Named) -> Result<(), CliError> {
    let order = orders::order(ACCEPT_CLOCK, "clock", Value::Null, who);
    let position = orders::store(context, order).await?;
    if context.json {
        return context.out.json(&json!({ "action": ACCEPT_CLOCK, "position": position }));
    }
    context.out.line("the time is taken as it is; keys are rotated and expire by it again")
}
