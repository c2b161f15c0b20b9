//! The probe: does what Homeostat itself stands on answer?

use super::Hands;
use crate::store::StoreError;
use homeostat_schemas::Ask;
use serde_json::Value;
use std::time::Duration;

/// The hand's name.
pub(super) const NAME: &str = "probe";

const NO_ANSWER: &str = "no answer in time";

/// What is wrong with the database, without its address and user.
fn public(error: &StoreError) -> &'static str {
    match error {
        StoreError::NoConnection { busy: true, .. } => "all connections of the pool are in use",
        StoreError::NoConnection { .. } => "no connection",
        StoreError::Late { .. } => NO_ANSWER,
        _ => "the database refused",
    }
}

/// Probes the database or the bus.
///
/// # Errors
/// What is wrong, in words that may be shown: no address, no user.
pub(super) async fn work(hands: &Hands, ask: &Ask, within: Duration) -> Result<Value, String> {
    match ask.what.as_str() {
        "database" => {
            let ping = tokio::time::timeout(within, hands.store.ping()).await;
            ping.map_err(|_| NO_ANSWER.to_owned())?.map_err(|error| public(&error).to_owned())?;
            Ok(Value::Null)
        }
        "bus" => {
            let ping = tokio::time::timeout(within, hands.log.bus().ping(within)).await;
            ping.map_err(|_| NO_ANSWER.to_owned())?.map_err(|_| "the bus does not answer".to_owned())?;
            Ok(Value::Null)
        }
        _ => Err("nothing of this name can be probed".to_owned()),
    }
}
