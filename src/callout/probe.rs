//! Does the server ask at all? Somebody knocks with what is no key, and it is listened whether the server asks about him.

use super::request::sender;
use super::{Callout, closed};
use crate::accounts::callout::ASK;
use crate::clock::now_ms;
use futures::StreamExt as _;
use homeostat_nats::{Bus, BusConfig, BusError};
use std::time::Duration;
use tokio::time::timeout;

/// How long the server may take to ask.
const WITHIN: Duration = Duration::from_secs(3);

/// Does the server ask whose an API key is, so that the questions can be read?
///
/// # Errors
/// It cannot be reached, or does not know the user that is asked.
pub async fn server_asks(callout: &Callout) -> Result<bool, BusError> {
    let bus = Bus::connect(&callout.config).await?;
    // Beside the queue in which processes share the work, so that it is heard whoever answers.
    let mut questions = bus.client().subscribe(ASK).await.map_err(|error| closed(ASK, error))?;
    bus.client().flush().await.map_err(|error| closed(ASK, error))?;
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| closed(ASK, error))?;
    let token = format!("nobody-{:016x}", u64::from_le_bytes(random));
    let stranger =
        BusConfig { nkey_file: None, token: Some(token.clone()), name: format!("{}-probe", callout.config.name), ..callout.config.clone() };
    let knocking = async {
        // What comes of it does not matter; where somebody gets in without being asked about, nothing is heard.
        let _ = timeout(WITHIN, Bus::connect(&stranger)).await;
        std::future::pending::<()>().await;
    };
    let hearing = async {
        while let Some(message) = questions.next().await {
            let question = callout.desk.read(sender(&message), &message.payload, now_ms());
            if question.is_ok_and(|question| question.key.is_some_and(|key| key.expose() == token)) {
                return true;
            }
        }
        false
    };
    let asked = tokio::select! {
        asked = timeout(WITHIN, hearing) => asked.unwrap_or(false),
        () = knocking => false,
    };
    if let Err(error) = bus.close().await {
        tracing::debug!(%error, "the connection did not end in order");
    }
    Ok(asked)
}
