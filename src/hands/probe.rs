//! The probe: does what Homeostat itself stands on answer?

use super::Hands;
use homeostat_schemas::Ask;
use serde_json::Value;
use std::time::Duration;

/// The hand's name.
pub(super) const NAME: &str = "probe";

/// Probes the database or the bus.
///
/// # Errors
/// What is wrong, in words that may be shown: no address, no user.
pub(super) async fn work(hands: &Hands, ask: &Ask, within: Duration) -> Result<Value, String> {
    match ask.what.as_str() {
        "database" => {
            let ping = tokio::time::timeout(within, hands.store.ping()).await;
            ping.map_err(|_| "no answer in time".to_owned())?.map_err(|error| error.public().to_owned())?;
            Ok(Value::Null)
        }
        "bus" => {
            let ping = tokio::time::timeout(within, hands.log.bus().ping(within)).await;
            ping.map_err(|_| "no answer in time".to_owned())?.map_err(|_| "the bus does not answer".to_owned())?;
            Ok(Value::Null)
        }
        _ => Err("nothing of this name can be probed".to_owned()),
    }
}
