//! The slow log of MySQL, MariaDB and Percona Server: a head of `# …` lines, then the statement, in front of which stand the
//! session's database (`use shop;`) and clock (`SET timestamp=…;`).
//!
//! Not every head has `# Time:` (before MySQL 5.7 and in MariaDB only the first of each second), nor each the same further lines; but each
//! has `# User@Host:`. A line of the statement may begin with `#` as well, so that only these two end a statement.

use super::message::{civil, fixed, whole};
use super::{Digest, Execution};
use homeostat_schemas::UnixMs;
use memchr::memchr;

const COMMAND: &[u8] = b"# administrator command: ";

/// Does a head begin with this line?
pub(super) fn is_head(line: &[u8]) -> bool {
    line.starts_with(b"# User@Host: ") || line.strip_prefix(b"# Time: ").is_some_and(|time| time.first().is_some_and(u8::is_ascii_digit))
}

/// What a server writes when it opens the file.
pub(super) fn is_banner(line: &[u8]) -> bool {
    (line.ends_with(b"started with:") && memchr::memmem::find(line, b", Version: ").is_some())
        || line.starts_with(b"Tcp port: ")
        || (line.starts_with(b"Time ") && line.ends_with(b"Argument"))
}

/// An entry that is being read.
#[derive(Default)]
struct Open {
    /// The head has been seen as far as the time it took.
    timed: bool,
    took_us: u64,
    lock_us: u64,
    at: UnixMs,
    rows: Option<u64>,
    examined: Option<u64>,
    failed: bool,
    /// The statement, from where to where.
    statement: Option<(usize, usize)>,
}

/// Counts what stands in whole entries.
pub(super) fn read(text: &str, digest: &mut Digest) {
    let bytes = text.as_bytes();
    let mut open = Open::default();
    // The last time the log told, for entries that have none.
    let mut clock = 0;
    let mut from = 0;
    while from < text.len() {
        let rest = bytes.get(from..).unwrap_or_default();
        let end = from + memchr(b'\n', rest).map_or(rest.len(), |newline| newline + 1);
        let line = bytes.get(from..end).unwrap_or_default().trim_ascii_end();
        let marked = line.first() == Some(&b'#');
        if marked && is_head(line) {
            if open.timed {
                close(text, std::mem::take(&mut open), clock, digest);
            }
            // Of a head that broke off, nothing is of this one; `# Time:` alone stands before it.
            open = Open { at: open.at, ..Open::default() };
            read_head(line, &mut open);
        } else if !marked && is_banner(line) {
            close(text, std::mem::take(&mut open), clock, digest);
        } else if let Some((_, statement_end)) = &mut open.statement {
            *statement_end = end;
        } else if let Some(command) = line.strip_prefix(COMMAND).filter(|_| open.timed) {
            let entry = std::mem::take(&mut open);
            let name = std::str::from_utf8(command).unwrap_or_default();
            digest.counts.entries += 1;
            digest.command(name.trim_end_matches(';').trim(), &entry.execution("", clock));
        } else if marked {
            read_head(line, &mut open);
        } else if !open.timed {
            digest.counts.broken += u64::from(!line.is_empty());
        } else if let Some(at) = timestamp(line) {
            open.at = if open.at / 1_000 == at / 1_000 { open.at } else { at };
        } else if !is_use(line) && !line.is_empty() {
            open.statement = Some((from, end));
        }
        if open.at > 0 {
            clock = open.at;
        }
        from = end;
    }
    close(text, open, clock, digest);
}

impl Open {
    fn execution<'a>(&self, statement: &'a str, clock: UnixMs) -> Execution<'a> {
        Execution {
            statement,
            took_us: self.took_us,
            at_ms: if self.at > 0 { self.at } else { clock },
            rows: self.rows,
            examined: self.examined,
            lock_us: self.lock_us,
            failed: self.failed,
        }
    }
}

fn close(text: &str, open: Open, clock: UnixMs, digest: &mut Digest) {
    let Some((from, end)) = open.statement else {
        digest.counts.broken += u64::from(open.timed);
        return;
    };
    let statement = text.get(from..end).unwrap_or_default().trim_ascii().trim_end_matches(';').trim_ascii_end();
    digest.counts.entries += 1;
    digest.execution(&open.execution(statement, clock));
}

/// Takes what stands on a line of a head.
fn read_head(line: &[u8], open: &mut Open) {
    let marks = line.iter().take_while(|byte| **byte == b'#').count();
    let head = line.get(marks..).unwrap_or_default().trim_ascii_start();
    if let Some(time) = head.strip_prefix(b"Time:") {
        open.at = head_time(time.trim_ascii());
        return;
    }
    if head.starts_with(b"User@Host:") || head.starts_with(b"explain:") {
        return;
    }
    let mut rest = head;
    while !rest.is_empty() {
        if let Some(value) = value(&mut rest, b"Query_time: ") {
            let took_us = seconds(value);
            open.timed = took_us.is_some();
            open.took_us = took_us.unwrap_or(0);
        } else if let Some(value) = value(&mut rest, b"Lock_time: ") {
            open.lock_us = seconds(value).unwrap_or(0);
        } else if let Some(value) = value(&mut rest, b"Rows_sent: ") {
            open.rows = whole(value);
        } else if let Some(value) = value(&mut rest, b"Rows_examined: ") {
            open.examined = whole(value);
        } else if let Some(value) = value(&mut rest, b"Last_errno: ").or_else(|| value(&mut rest, b"Errno: ")) {
            open.failed = whole(value).is_some_and(|number| number != 0);
        } else if value(&mut rest, b"Schema: ").is_none() {
            // Of no interest. (The name of a schema is not either, but it is anything.)
            word(&mut rest);
        }
    }
}

/// Takes a field of this name, with which a line begins, off the line: its value.
#[inline]
fn value<'a>(line: &mut &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    *line = line.strip_prefix(name)?.trim_ascii_start();
    Some(word(line))
}

/// Takes the word with which a line begins off the line, and the blanks after it.
#[inline]
fn word<'a>(line: &mut &'a [u8]) -> &'a [u8] {
    let end = line.iter().position(|byte| *byte <= b' ').unwrap_or(line.len());
    let (word, rest) = line.split_at(end);
    *line = rest.trim_ascii_start();
    word
}

/// `0.000123` seconds as microseconds.
fn seconds(word: &[u8]) -> Option<u64> {
    fixed(word, 6)
}

/// `2023-01-01T00:00:00.123456Z`, or `071015 21:43:52` of older servers; 0 when it is neither.
fn head_time(text: &[u8]) -> UnixMs {
    if text.get(4) == Some(&b'-') {
        return civil(text);
    }
    let Some((date, clock)) = text.split_at_checked(6).filter(|(date, _)| date.iter().all(u8::is_ascii_digit)) else { return 0 };
    let Some((b' ', clock)) = clock.split_first() else { return 0 };
    // The hour of a one-digit one is padded by a blank.
    let clock = format!("{:0>8}", String::from_utf8_lossy(clock.trim_ascii()));
    match date {
        [a, b, c, d, e, f] => {
            let [year, month, day] = [[*a, *b], [*c, *d], [*e, *f]].map(|two| String::from_utf8_lossy(&two).into_owned());
            civil(format!("20{year}-{month}-{day} {clock}").as_bytes())
        }
        _ => 0,
    }
}

/// The time of `SET timestamp=1672531200;`, also with other variables before it.
fn timestamp(line: &[u8]) -> Option<UnixMs> {
    let (set, rest) = line.split_at_checked(4)?;
    let mut rest = rest.strip_suffix(b";").filter(|_| set.eq_ignore_ascii_case(b"set "))?;
    let mut at = None;
    while !rest.is_empty() {
        let (variable, more) = rest.split_at_checked(rest.iter().position(|byte| *byte == b',').unwrap_or(rest.len()))?;
        rest = more.get(1..).unwrap_or_default();
        let equals = variable.iter().position(|byte| *byte == b'=')?;
        let name = variable.get(..equals)?.trim_ascii();
        if name.eq_ignore_ascii_case(b"timestamp") {
            at = Some(fixed(variable.get(equals + 1..)?.trim_ascii(), 3)?);
        } else if !name.eq_ignore_ascii_case(b"last_insert_id") && !name.eq_ignore_ascii_case(b"insert_id") {
            return None;
        }
    }
    at
}

/// `use shop;`, which the server puts in front of a statement of another database than the one before.
fn is_use(line: &[u8]) -> bool {
    line.get(..4).is_some_and(|word| word.eq_ignore_ascii_case(b"use ")) && line.ends_with(b";") && line.len() < 200
}
