//! The slow log of MySQL, MariaDB and Percona Server: a head of `# …` lines, then the statement, in front of which stand the
//! session's database (`use shop;`) and clock (`SET timestamp=…;`).
//!
//! Not every head has `# Time:` (before MySQL 5.7 and in MariaDB only the first of each second), nor each the same further lines; but each
//! has `# User@Host:`. A line of the statement may begin with `#` as well, so that only these two end a statement.

use super::message::civil;
use super::{Digest, Execution};
use homeostat_schemas::UnixMs;
use memchr::memchr;

const COMMAND: &str = "# administrator command: ";

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
        let line = text.get(from..end).unwrap_or_default();
        let trimmed = line.trim_ascii_end();
        if is_head(trimmed.as_bytes()) {
            if open.timed {
                close(text, std::mem::take(&mut open), clock, digest);
            }
            // Of a head that broke off, nothing is of this one; `# Time:` alone stands before it.
            open = Open { at: open.at, ..Open::default() };
            read_head(trimmed, &mut open);
        } else if is_banner(trimmed.as_bytes()) {
            close(text, std::mem::take(&mut open), clock, digest);
        } else if let Some((_, statement_end)) = &mut open.statement {
            *statement_end = end;
        } else if let Some(command) = trimmed.strip_prefix(COMMAND).filter(|_| open.timed) {
            let entry = std::mem::take(&mut open);
            digest.counts.entries += 1;
            digest.command(command.trim_end_matches(';').trim(), &entry.execution("", clock));
        } else if trimmed.starts_with('#') {
            read_head(trimmed, &mut open);
        } else if !open.timed {
            digest.counts.broken += u64::from(!trimmed.is_empty());
        } else if let Some(at) = timestamp(trimmed) {
            open.at = if open.at / 1_000 == at / 1_000 { open.at } else { at };
        } else if !is_use(trimmed) && !trimmed.is_empty() {
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
fn read_head(line: &str, open: &mut Open) {
    let head = line.trim_start_matches('#').trim_ascii_start();
    if let Some(time) = head.strip_prefix("Time:") {
        open.at = head_time(time.trim());
        return;
    }
    if head.starts_with("User@Host:") || head.starts_with("explain:") {
        return;
    }
    let mut words = head.split_ascii_whitespace();
    while let Some(word) = words.next() {
        let Some(name) = word.strip_suffix(':') else { continue };
        // The name of a schema is anything.
        if name == "Schema" {
            words.next();
            continue;
        }
        let wanted = matches!(name, "Query_time" | "Lock_time" | "Rows_sent" | "Rows_examined" | "Last_errno" | "Errno");
        if !wanted {
            continue;
        }
        let value = words.next().unwrap_or_default();
        match name {
            "Query_time" => {
                open.timed = seconds(value).is_some();
                open.took_us = seconds(value).unwrap_or(0);
            }
            "Lock_time" => open.lock_us = seconds(value).unwrap_or(0),
            "Rows_sent" => open.rows = value.parse().ok(),
            "Rows_examined" => open.examined = value.parse().ok(),
            _ => open.failed = value.parse::<u64>().is_ok_and(|number| number != 0),
        }
    }
}

/// `0.000123` seconds as microseconds.
fn seconds(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let mut us = whole.parse::<u64>().ok()?.checked_mul(1_000_000)?;
    let mut unit = 100_000;
    for digit in part.bytes() {
        us = us.checked_add(u64::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?) * unit)?;
        unit /= 10;
    }
    Some(us)
}

/// `2023-01-01T00:00:00.123456Z`, or `071015 21:43:52` of older servers; 0 when it is neither.
fn head_time(text: &str) -> UnixMs {
    let bytes = text.as_bytes();
    if bytes.get(4) == Some(&b'-') {
        return civil(bytes);
    }
    // The hour of a one-digit one is padded by a blank.
    let Some((date, clock)) = text.split_once(' ') else { return 0 };
    if date.len() != 6 || !date.bytes().all(|byte| byte.is_ascii_digit()) {
        return 0;
    }
    let clock = format!("{:0>8}", clock.trim());
    match (date.get(..2), date.get(2..4), date.get(4..)) {
        (Some(year), Some(month), Some(day)) => civil(format!("20{year}-{month}-{day} {clock}").as_bytes()),
        _ => 0,
    }
}

/// The time of `SET timestamp=1672531200;`, also with other variables before it.
fn timestamp(line: &str) -> Option<UnixMs> {
    let set = line.get(..4).filter(|set| set.eq_ignore_ascii_case("set "))?;
    let rest = line.get(set.len()..)?;
    let variables = rest.strip_suffix(';')?;
    let mut at = None;
    for variable in variables.split(',') {
        let (name, value) = variable.split_once('=')?;
        match name.trim().to_ascii_lowercase().as_str() {
            "timestamp" => {
                let (whole, part) = value.trim().split_once('.').unwrap_or((value.trim(), ""));
                let millis = format!("{part:0<3}").get(..3).and_then(|millis| millis.parse::<u64>().ok()).unwrap_or(0);
                at = Some(whole.parse::<u64>().ok()?.checked_mul(1_000)?.checked_add(millis)?);
            }
            "last_insert_id" | "insert_id" => {}
            _ => return None,
        }
    }
    at
}

/// `use shop;`, which the server puts in front of a statement of another database than the one before.
fn is_use(line: &str) -> bool {
    line.get(..4).is_some_and(|word| word.eq_ignore_ascii_case("use ")) && line.ends_with(';') && line.len() < 200
}
