//! How a command finds the bus: `--nats`, else the settings, else the server that `homeostat up` runs in the data directory.

use super::{CliError, Context};
use crate::audit::{Act, Audit};
use crate::config::Config;
use homeostat_nats::{Bus, BusConfig, BusError, Log, RunInfo, find_running};
use homeostat_schemas::{Position, Root, UnixMs};
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// JetStream's code for a stream that is not there.
const STREAM_NOT_FOUND: u64 = 10_059;
/// The pause between two looks for a bus that is waited for.
const PAUSE: Duration = Duration::from_millis(200);

/// The root of subjects.
///
/// # Errors
/// The setting is none.
pub fn root(config: &Config) -> Result<Root, CliError> {
    Root::try_from(config.nats.root.clone()).map_err(|error| CliError::new("`nats.root` cannot be used").because(error))
}

/// Where the bus is, and how to get in; with the embedded server's card when it is that one.
///
/// # Errors
/// Nobody named a bus and none of our own runs.
pub fn find(config: &Config) -> Result<(BusConfig, Option<RunInfo>), CliError> {
    if let Some(url) = &config.nats.url {
        return Ok((config.nats.bus(url)?, None));
    }
    let Some(run) = find_running(&config.data_dir) else {
        return Err(CliError::new(format!("no bus: nothing runs in the data directory {}", config.data_dir.display()))
            .advise("start it with `homeostat up` (or name its --data-dir), or name a bus with --nats URL"));
    };
    Ok((config.nats.own_bus(&run), Some(run)))
}

/// Connects to the bus.
///
/// # Errors
/// There is none, or it does not answer.
pub async fn connect(context: &Context) -> Result<Bus, CliError> {
    let (config, _) = find(context.config())?;
    Ok(Bus::connect(&config).await?)
}

/// Opens the log as it is.
///
/// # Errors
/// There is no bus, or no log on it.
pub async fn log(context: &Context) -> Result<Log, CliError> {
    let bus = connect(context).await?;
    bus.open_log().await.map_err(explain_log)
}

/// Opens the log, waiting for the bus and the log until the deadline.
///
/// # Errors
/// The last reason why it could not be opened.
pub async fn log_within(context: &Context, wait: Duration) -> Result<Log, CliError> {
    let deadline = Instant::now() + wait;
    loop {
        let error = match log(context).await {
            Ok(log) => return Ok(log),
            Err(error) => error,
        };
        if Instant::now() + PAUSE > deadline {
            return Err(error);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Puts what is about to be done into the audit log.
///
/// # Errors
/// It could not be recorded, and must not be done.
pub async fn record(log: &Log, action: &str, target: &str, by: &str, detail: Value) -> Result<(), CliError> {
    let act = Act { action, target, by, source: None, detail };
    let recorded = Audit::once(log).record(act).await;
    recorded.map(drop).map_err(|error| CliError::new("it was not done, because it could not be recorded").because(error))
}

fn explain_log(error: BusError) -> CliError {
    match error {
        BusError::Refused { code: STREAM_NOT_FOUND, .. } => {
            CliError::new("there is no log on this bus yet").advise("`homeostat up` with the same --nats makes it")
        }
        error => error.into(),
    }
}

/// The first position whose message is of `since` or later; the position after the last one when all are older.
///
/// # Errors
/// The bus does not answer.
pub async fn first_at(log: &Log, since: UnixMs) -> Result<Position, CliError> {
    let bounds = log.bounds().await?;
    let (mut low, mut high) = (bounds.first, bounds.last.saturating_add(1));
    // Times are not strictly in order; a message early or late by a clock's step is not worth a scan.
    while low < high {
        let middle = low + (high - low) / 2;
        match next_there(log, middle, high).await? {
            Some((_, at)) if at >= since => high = middle,
            Some((position, _)) => low = position + 1,
            None => high = middle,
        }
    }
    Ok(low)
}

/// The first message at or after `from` and before `end`: single messages may have expired.
async fn next_there(log: &Log, from: Position, end: Position) -> Result<Option<(Position, UnixMs)>, CliError> {
    for position in from..end.min(from.saturating_add(1_000)) {
        if let Some(entry) = log.get(position).await? {
            return Ok(Some((entry.seq, entry.at_ms)));
        }
    }
    Ok(None)
}
