//! The digest of a file: which statements took the time, in a log that a database wrote by itself or in events.
//!
//! Understanding a log is pure and stands in [`homeostat_actors::query::digest`]; here is what it takes to read one: files, gzip,
//! blocks, threads. A file of events goes through the query mind itself, so that repeats within a request are found too.
//!
//! | module | what |
//! |---|---|
//! | [`blocks`] | a file, inflated, in blocks that end where an entry ends |
//! | [`events`] | events and recordings through the mind |
//!
//! Promises
//! - DG-1 Memory is bounded by the threads, [`blocks::ENTRY_MAX`] and `shapes_max`, however long the file is.
//! - DG-2 The rows do not depend on how many threads there are.

pub mod blocks;
pub mod events;

use blocks::{Block, Blocks};
use homeostat_actors::query::QueryConfig;
use homeostat_actors::query::digest::{Digest, DigestOptions, DigestReport, LogFormat, Seams};
use homeostat_schemas::Alert;
use serde::Serialize;
use std::io::{self, BufRead, Read};
use std::sync::{Mutex, PoisonError};

/// Threads that read blocks at most.
const THREADS_MAX: usize = 16;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Format {
    /// A log of a database.
    Log(LogFormat),
    /// Events, one a line, or a recording.
    Events(events::Ndjson),
}

impl Format {
    /// What people call it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Format::Log(format) => format.title(),
            Format::Events(_) => "events",
        }
    }
}

/// The digest of one file.
#[derive(Debug, Clone, Serialize)]
pub struct FileDigest {
    /// The file, as it was named.
    pub file: String,
    /// What it is.
    pub format: Format,
    /// The rows and their sums.
    #[serde(flatten)]
    pub report: DigestReport,
    /// What the mind found in events: repeats within a request, shapes that became slow or slower, advice. At most
    /// [`events::FINDINGS_MAX`].
    pub findings: Vec<Alert>,
}

/// Why a file could not be digested.
#[derive(Debug, thiserror::Error)]
pub enum DigestError {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Nobody knows what it is.
    #[error("neither events nor a log that is known")]
    Unknown,
    /// A thread fell.
    #[error("reading the log failed")]
    Fallen,
}

/// Digests what `input` holds.
///
/// # Errors
/// [`DigestError`].
pub fn digest(
    file: &str,
    input: &mut (dyn BufRead + Send),
    format: Option<Format>,
    config: &QueryConfig,
) -> Result<FileDigest, DigestError> {
    let mut head = Vec::new();
    input.take(homeostat_actors::query::digest::format::HEAD_MAX as u64).read_to_end(&mut head)?;
    let format = match format {
        Some(format) => format,
        None if head.trim_ascii().is_empty() => Format::Events(events::Ndjson::Ndjson),
        None => detect(&head).ok_or(DigestError::Unknown)?,
    };
    let mut whole = io::Cursor::new(head).chain(input);
    let (report, findings) = match format {
        Format::Log(format) => (log(file, &mut whole, format, config)?, Vec::new()),
        Format::Events(_) => events::read(&mut whole, config)?,
    };
    Ok(FileDigest { file: file.to_owned(), format, report, findings })
}

fn detect(head: &[u8]) -> Option<Format> {
    LogFormat::detect(head).map(Format::Log).or_else(|| events::is_ndjson(head).then_some(Format::Events(events::Ndjson::Ndjson)))
}

/// The blocks of a log over as many threads as there are processors. Each thread reads its next block by itself, so that the
/// block is still in its processor's cache when it is looked through.
fn log(file: &str, input: &mut (dyn Read + Send), format: LogFormat, config: &QueryConfig) -> Result<DigestReport, DigestError> {
    let options = DigestOptions {
        shapes_max: config.shapes_max,
        statement_max_bytes: config.statement_max_bytes,
        slow_us: config.slow_us(),
        many_rows: config.advice.limit_min_rows,
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let blocks = Mutex::new(Blocks::new(input, format));
    let seams = Mutex::new(Seams::new(options.slow_us));
    let work = || {
        let mut digest = Digest::new(format, options);
        let mut block = Block::default();
        loop {
            let next = blocks.lock().unwrap_or_else(PoisonError::into_inner).read(&mut block);
            let Some(number) = next? else { return Ok::<_, io::Error>(digest) };
            let seam = digest.block(&block);
            seams.lock().unwrap_or_else(PoisonError::into_inner).take(number, seam);
        }
    };
    let mut digest = Digest::new(format, options);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            digest.merge(worker.join().map_err(|_| DigestError::Fallen)??);
        }
        Ok::<_, DigestError>(())
    })?;
    seams.into_inner().unwrap_or_else(PoisonError::into_inner).finish(&mut digest);
    Ok(digest.report(file, config))
}
