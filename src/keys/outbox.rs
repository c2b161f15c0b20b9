//! From the database's outbox onto the bus. Run by the owner of the log.
//!
//! A row is said once: the stream takes it only if nothing else came onto its subject since this side looked (compare-and-swap), and
//! what stands there last is ours if it names our row. Rows are marked one after the other, so that after a crash at most the last one
//! said is not marked. There is no message id: a predictable one could be taken by somebody else.
//!
//! Promises
//! - KO-1 Every row is said, in the order of the outbox; a crash at any place repeats none and loses none.
//! - KO-2 A bus or a database that is away delays this and ends nothing.

use super::records::{Records, Unsaid};
use homeostat_nats::{AppendError, Log, Message};
use homeostat_schemas::Root;
use homeostat_schemas::batch::JSON;
use std::time::Duration;
use tokio::sync::watch;

/// Names the row of the outbox that a message was.
pub const ROW: &str = "homeostat-outbox";
/// How often the outbox is looked at, whoever wrote to it.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Rows that are read at once.
const ROWS: u32 = 64;
/// How long one row may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// Where a test may end the process.
pub const POINTS: &[&str] = &["keys.said", "keys.marked"];

/// Says what is in the outbox until told to stop.
pub async fn run(records: Records, log: Log, root: Root, mut stop: watch::Receiver<bool>) {
    loop {
        let pause = match drain(&records, &log, &root).await {
            Ok(()) => LOOK_EVERY,
            Err(error) => {
                tracing::warn!(%error, "what happened to keys could not be said on the bus yet");
                LOOK_EVERY * 4
            }
        };
        tokio::select! {
            () = crate::system::told(&mut stop) => return,
            () = records.unsaid_here() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Says everything that is in the outbox now.
///
/// # Errors
/// The bus or the database does not answer.
pub async fn drain(records: &Records, log: &Log, root: &Root) -> Result<(), String> {
    loop {
        let rows = records.unsaid(ROWS).await.map_err(|error| error.to_string())?;
        if rows.is_empty() {
            return Ok(());
        }
        for row in &rows {
            let said = tokio::time::timeout(DEADLINE, say(records, log, root, row)).await;
            said.map_err(|_| "the bus did not answer in time".to_owned())??;
        }
    }
}

async fn say(records: &Records, log: &Log, root: &Root, row: &Unsaid) -> Result<(), String> {
    let subject = format!("{root}.{}", row.subject);
    let name = format!("{}-{}", row.id, row.number);
    loop {
        let last = log.last_on(&subject).await.map_err(|error| error.to_string())?;
        if last.as_ref().and_then(|entry| entry.header(ROW)) == Some(name.as_str()) {
            break;
        }
        // Looked at after the subject: whoever else said and marked it before did so before we looked.
        if !records.is_unsaid(row.number).await.map_err(|error| error.to_string())? {
            return Ok(());
        }
        let message = Message::new(subject.clone(), row.body.clone()).with("content-type", JSON).with(ROW, name.clone());
        match log.append_if(message, last.map_or(0, |entry| entry.seq)).await {
            Ok(_) => break,
            // Somebody else said something there meanwhile, or the acknowledgement of ours was lost: look again.
            Err(AppendError::Conflict { .. }) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    homeostat_nats::fault::point("keys.said");
    records.said(row.number).await.map_err(|error| error.to_string())?;
    homeostat_nats::fault::point("keys.marked");
    Ok(())
}
