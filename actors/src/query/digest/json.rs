//! PostgreSQL's jsonlog: one object a line (15 and later).
//! <https://www.postgresql.org/docs/current/runtime-config-logging.html#RUNTIME-CONFIG-LOGGING-JSONLOG>

use super::Digest;
use super::message;
use super::seam::Seam;
use serde::Deserialize;
use std::borrow::Cow;

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, default)]
    timestamp: Cow<'a, str>,
    #[serde(default)]
    pid: u64,
    #[serde(borrow, default)]
    error_severity: Cow<'a, str>,
    #[serde(borrow, default)]
    message: Cow<'a, str>,
    #[serde(borrow, default)]
    statement: Cow<'a, str>,
}

/// Counts what stands in whole lines.
pub(super) fn read(text: &str, digest: &mut Digest, seam: &mut Seam) {
    for line in text.split('\n').map(str::trim_ascii).filter(|line| !line.is_empty()) {
        let Ok(line) = serde_json::from_str::<Line<'_>>(line) else {
            digest.counts.broken += 1;
            continue;
        };
        digest.counts.entries += 1;
        let at = message::time(&line.timestamp);
        match &*line.error_severity {
            "LOG" => message::log(&line.message, line.pid, at, digest, seam),
            "ERROR" | "FATAL" | "PANIC" if !line.statement.trim_ascii().is_empty() => {
                digest.failure(line.statement.trim_ascii(), at);
                seam.failed(line.pid);
            }
            _ => {}
        }
    }
}
