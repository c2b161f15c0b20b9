//! The fit: the heavy part of a forecast, a pure function that must not hold up a mind.

use homeostat_actors::forecast;
use homeostat_schemas::{Answer, Ask};
use serde_json::Value;
use std::time::Duration;

/// The hand's name.
pub(super) const NAME: &str = forecast::HAND;

/// Fits what was asked, beside the tasks that must stay quick.
///
/// # Errors
/// What is wrong with the ask, or that it took too long.
pub(super) async fn work(ask: &Ask, within: Duration) -> Result<Value, String> {
    let args = ask.args.clone();
    let done = tokio::task::spawn_blocking(move || forecast::fit(&args));
    match tokio::time::timeout(within, done).await {
        Ok(Ok(found)) => found,
        Ok(Err(_)) => Err("the fit fell".to_owned()),
        Err(_) => Err("the fit took too long".to_owned()),
    }
}

/// The answer where there is nobody to ask, as in the replay of a plain file: a fit needs nothing but its arguments. `None` for
/// every other hand.
#[must_use]
pub fn answer(ask: &Ask) -> Option<Answer> {
    if ask.hand != NAME {
        return None;
    }
    let done = forecast::fit(&ask.args);
    Some(Answer {
        ask: ask.id.clone(),
        actor: ask.actor.clone(),
        hand: ask.hand.clone(),
        what: ask.what.clone(),
        ok: done.is_ok(),
        error: done.as_ref().err().cloned(),
        found: done.unwrap_or_default(),
        ..Answer::default()
    })
}
