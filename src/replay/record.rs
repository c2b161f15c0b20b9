//! Writes the log, or a part of it, as a recording.

use super::recording::{FORMAT, Head, Line};
use super::run::{QUIET, ReplayError};
use homeostat_nats::{Log, Reader, ReaderOptions};
use homeostat_schemas::{Root, UnixMs};
use std::io::Write;

/// Writes the log, or a part of it, as a recording; says how many messages.
///
/// # Errors
/// See [`ReplayError`].
pub async fn record(
    log: &Log,
    root: &Root,
    range: Range,
    out: &mut (dyn Write + Send),
    progress: &(dyn Fn(u64) + Sync),
) -> Result<u64, ReplayError> {
    let bounds = log.bounds().await?;
    let from = range.from.unwrap_or(1).max(bounds.first);
    let head = Head { homeostat_recording: FORMAT, incarnation: log.incarnation().to_owned(), root: root.clone(), from };
    writeln!(out, "{}", serde_json::to_string(&head).map_err(std::io::Error::other)?)?;
    let mut count = 0;
    if bounds.last < from {
        return Ok(count);
    }
    // The last message that matches a filter may lie before the end of the log.
    let end = match &range.filter {
        None => bounds.last,
        Some(filter) => match log.last_on(filter).await? {
            Some(last) => last.seq.min(bounds.last),
            None => return Ok(count),
        },
    };
    let filters = range.filter.iter().cloned().collect();
    let mut reader = Reader::open(log, from, ReaderOptions { filters, ..ReaderOptions::default() }).await?;
    loop {
        // What is there comes at once; what expired meanwhile never comes.
        let Ok(entries) = tokio::time::timeout(QUIET, reader.next()).await else { break };
        for entry in entries? {
            if entry.seq > end || range.until.is_some_and(|until| entry.at_ms > until) {
                out.flush()?;
                return Ok(count);
            }
            if range.since.is_none_or(|since| entry.at_ms >= since) {
                writeln!(out, "{}", serde_json::to_string(&Line::of(&entry)).map_err(std::io::Error::other)?)?;
                count += 1;
            }
            progress(entry.seq);
            if entry.seq == end {
                out.flush()?;
                return Ok(count);
            }
        }
    }
    out.flush()?;
    Ok(count)
}

/// What part of the log is recorded.
#[derive(Debug, Clone, Default)]
pub struct Range {
    /// From this sequence on.
    pub from: Option<u64>,
    /// From this time on.
    pub since: Option<UnixMs>,
    /// Until this time.
    pub until: Option<UnixMs>,
    /// Only what matches this subject, in full, wildcards allowed.
    pub filter: Option<String>,
}
