//! Receipts of what was taken back: asked for where the database itself was worked on, and told to people.

use crate::callout::{Callout, Closed};
use crate::cli::out::{Tone, plain};
use crate::cli::{CliError, Context, Out, bus};
use crate::keys::Keys;
use crate::keys::receipt::{self, Receipt};
use homeostat_schemas::KeyRecord;
use std::time::Duration;

/// Has a key forgotten by every gateway on the bus, where there is one, and then its connections closed.
pub(super) async fn everywhere(context: &Context, keys: &Keys, record: &KeyRecord) -> Result<Option<Receipt>, CliError> {
    let config = context.config();
    let callout = Callout::open(&config.nats).map_err(|error| CliError::new("").because(error))?;
    let keys = Keys { connections: callout.map(|callout| callout.connections()), ..keys.clone() };
    let (Ok(root), Ok(bus)) = (bus::root(config), bus::connect(context).await) else { return Ok(None) };
    let Ok(known) = receipt::present(bus.client(), &root).await else { return Ok(None) };
    let receipt = receipt::collect(bus.client(), &root, &known, (&record.id, record.generation), receipt::WITHIN).await;
    Ok(Some(receipt.with(keys.close(record).await)))
}

/// Who has forgotten a key, and who has not said so.
pub(super) fn tell(out: &mut Out, receipt: Option<&Receipt>) -> Result<(), CliError> {
    let Some(receipt) = receipt else {
        return out.line("No bus: a gateway that runs elsewhere learns of it from the database within two seconds");
    };
    if let Some(trouble) = &receipt.trouble {
        out.line(format!("Nobody else could be asked to forget it: {}", plain(trouble)))?;
    }
    for evicted in &receipt.evicted {
        let (name, took) = (plain(&evicted.instance), Duration::from_micros(evicted.took_us));
        out.line(format!("  {} {name} after {took:.1?}", out.paint(Tone::Good, "evicted")))?;
    }
    for missing in &receipt.missing {
        let (name, closed) = (plain(&missing.instance), missing.closed_in_ms / 1_000);
        let word = out.paint(Tone::Bad, "missing");
        out.line(format!(
            "  {word} {name}: heard {} ms ago; cut off, it lets nobody in after {closed} s at the latest",
            missing.heard_ms_ago
        ))?;
    }
    receipt.connections.as_ref().map_or(Ok(()), |connections| sent_away(out, connections))
}

/// Who was on the bus with a key, and whether all of them are gone.
fn sent_away(out: &mut Out, connections: &Closed) -> Result<(), CliError> {
    let Closed { closed, open, silent, took_us, trouble } = connections;
    let took = Duration::from_micros(*took_us);
    match (trouble, closed) {
        (Some(trouble), _) => {
            let word = out.paint(Tone::Bad, "unknown");
            out.line(format!("  {word} whether anybody is on the bus with it: {}; running gateways look every 5 s", plain(trouble)))?;
        }
        (None, 0) => out.line("  nobody was on the bus with it")?,
        (None, count) => {
            let word = out.paint(Tone::Good, "closed");
            out.line(format!("  {word} {count} connection{} to the bus after {took:.1?}", if *count == 1 { "" } else { "s" }))?;
        }
    }
    for one in open {
        let word = out.paint(Tone::Bad, "open");
        out.line(format!("  {word} connection {} of {} to server {}", one.cid, plain(&one.address), plain(&one.server)))?;
    }
    for server in silent {
        let word = out.paint(Tone::Bad, "silent");
        out.line(format!("  {word} server {}: who is connected to it is not known", plain(server)))?;
    }
    Ok(())
}
