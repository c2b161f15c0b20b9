//! The audit log as a file, one record a line, and both as something to check.

use super::chain::{Checker, Fault, Link};
use super::writer::hash_of;
use futures::{StreamExt as _, pin_mut};
use homeostat_nats::{BusError, Entry, Ledger};
use serde_json::Value;
use std::io::{BufRead, Read as _, Write};

/// Longest line that could be a record.
const LINE_MAX: u64 = 1024 * 1024;

/// Why a log could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The bus.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// What stands in the ledger at a place: a record with the hash beside it, or what is wrong with it.
///
/// # Errors
/// It is no record of ours.
pub fn link(entry: &Entry) -> Result<Link, Fault> {
    let seq = entry.seq;
    let record: Value = serde_json::from_slice(&entry.payload).map_err(|_| Fault { seq, what: format!("record {seq} is not JSON") })?;
    let hash = hash_of(entry).map_err(|_| Fault { seq, what: format!("record {seq} has no hash: somebody else wrote it") })?;
    Ok(Link { seq, record, hash })
}

/// Writes the whole log; how many records there were, and what is wrong with the first that is none.
///
/// # Errors
/// The bus does not answer, or the file cannot be written.
pub async fn export(ledger: &Ledger, out: &mut (impl Write + Send)) -> Result<u64, ExportError> {
    let bounds = ledger.bounds().await?;
    let entries = ledger.read(1, bounds.last);
    pin_mut!(entries);
    let mut count = 0;
    while let Some(entry) = entries.next().await {
        let entry = entry?;
        // What is no record of ours goes out as it is: whoever checks the file is to find it.
        let line = match link(&entry) {
            Ok(link) => serde_json::to_string(&link),
            Err(fault) => serde_json::to_string(&fault),
        };
        writeln!(out, "{}", line.map_err(std::io::Error::other)?)?;
        count += 1;
    }
    Ok(count)
}

/// Checks the log on the bus.
///
/// # Errors
/// The bus does not answer.
pub async fn check_bus(ledger: &Ledger, mut checker: Checker) -> Result<Checker, BusError> {
    let bounds = ledger.bounds().await?;
    let entries = ledger.read(1, bounds.last);
    pin_mut!(entries);
    while let Some(entry) = entries.next().await {
        let taken = match link(&entry?) {
            Ok(link) => checker.take(&link),
            Err(fault) => Err(checker.fail(fault)),
        };
        if taken.is_err() {
            break;
        }
    }
    Ok(checker)
}

/// Checks a file that [`export`] made.
///
/// # Errors
/// The file cannot be read.
pub fn check_file(mut file: impl BufRead, mut checker: Checker) -> Result<Checker, std::io::Error> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut file).take(LINE_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(checker);
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let taken = match serde_json::from_slice::<Link>(&line) {
            Ok(link) => checker.take(&link),
            Err(_) => {
                let seq = checker.head().0 + 1;
                Err(checker.fail(Fault { seq, what: format!("where record {seq} should stand is a line that is none") }))
            }
        };
        if taken.is_err() {
            return Ok(checker);
        }
    }
}
