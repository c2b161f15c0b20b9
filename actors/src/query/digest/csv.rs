//! PostgreSQL's csvlog: 23 to 26 fields a record, quotes doubled, newlines inside of quotes.
//! <https://www.postgresql.org/docs/current/runtime-config-logging.html#RUNTIME-CONFIG-LOGGING-CSVLOG>

use super::Digest;
use super::message;
use super::seam::Seam;
use memchr::{memchr, memchr2};
use std::borrow::Cow;

const TIME: usize = 0;
const PROCESS: usize = 3;
const SEVERITY: usize = 11;
const MESSAGE: usize = 13;
const QUERY: usize = 19;
/// Fields of a record that are looked at.
const FIELDS: usize = 20;

/// Counts what stands in whole records.
pub(super) fn read(text: &str, digest: &mut Digest, seam: &mut Seam) {
    let mut rest = text;
    while !rest.is_empty() {
        let mut fields = [""; FIELDS];
        let (count, after) = record(rest, &mut fields);
        rest = after;
        if count == 1 && fields[0].trim_ascii().is_empty() {
            continue;
        }
        if count <= MESSAGE {
            digest.counts.broken += 1;
            continue;
        }
        digest.counts.entries += 1;
        let session = fields[PROCESS].parse().unwrap_or(0);
        let at = message::time(fields[TIME]);
        match fields[SEVERITY] {
            "LOG" => message::log(&plain(fields[MESSAGE]), session, at, digest, seam),
            "ERROR" | "FATAL" | "PANIC" => {
                let statement = plain(fields[QUERY]);
                if !statement.trim_ascii().is_empty() {
                    digest.failure(statement.trim_ascii(), at);
                    seam.failed(session);
                }
            }
            _ => {}
        }
    }
}

/// The fields of the first record, quotes taken off and doubled ones left; how many there are, and what follows.
fn record<'a>(text: &'a str, fields: &mut [&'a str; FIELDS]) -> (usize, &'a str) {
    let (mut at, mut number) = (0, 0);
    loop {
        let Field { start, end, after } = field(text.as_bytes(), at);
        if let Some(field) = fields.get_mut(number) {
            *field = text.get(start..end).unwrap_or_default();
        }
        number += 1;
        if text.as_bytes().get(after) != Some(&b',') {
            return (number, text.get(after + 1..).unwrap_or_default());
        }
        at = after + 1;
    }
}

/// Where the last whole record ends.
pub(super) fn last_record(text: &[u8]) -> Option<usize> {
    let (mut at, mut last) = (0, None);
    while at < text.len() {
        let after = field(text, at).after;
        if text.get(after) == Some(&b'\n') {
            last = Some(after + 1);
        }
        at = after + 1;
    }
    last
}

/// One field: its text without quotes, and the comma or newline after it, or the end.
struct Field {
    start: usize,
    end: usize,
    after: usize,
}

fn field(bytes: &[u8], at: usize) -> Field {
    let separator = |from: usize| from + memchr2(b',', b'\n', bytes.get(from..).unwrap_or_default()).unwrap_or(bytes.len() - from);
    if bytes.get(at) != Some(&b'"') {
        let after = separator(at);
        return Field { start: at, end: after, after };
    }
    let mut quote = at + 1;
    while let Some(found) = memchr(b'"', bytes.get(quote..).unwrap_or_default()) {
        if bytes.get(quote + found + 1) != Some(&b'"') {
            let end = quote + found;
            return Field { start: at + 1, end, after: separator(end + 1) };
        }
        quote += found + 2;
    }
    // Never closed: the log was cut.
    Field { start: at + 1, end: bytes.len(), after: bytes.len() }
}

/// A field with doubled quotes made single.
fn plain(field: &str) -> Cow<'_, str> {
    if field.contains("\"\"") { Cow::Owned(field.replace("\"\"", "\"")) } else { Cow::Borrowed(field) }
}
