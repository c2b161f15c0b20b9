//! What one message of PostgreSQL says, however it was written down.
//!
//! | setting | message |
//! |---|---|
//! | `log_min_duration_statement`, `log_min_duration_sample` | `duration: 1.5 ms  statement: …`, or `execute name: …` of the extended protocol |
//! | the same, of its other steps | `duration: 0.1 ms  parse name: …`, `bind name: …`: no execution, counted apart |
//! | `log_statement` | `statement: …` or `execute name: …` before, `duration: 1.5 ms` after it: paired by session |
//! | errors | the message, and the statement beside it |
//! | `auto_explain` | `duration: 1.5 ms  plan: …`: the execution may stand in the log by itself, so it is only counted as a plan |

use super::seam::Seam;
use super::{Digest, Execution};
use homeostat_schemas::UnixMs;
use memchr::{memchr, memchr_iter};

/// What begins a message in a text log, two blanks after it.
const SEVERITIES: [(&[u8], Severity); 18] = [
    (b"LOG", Severity::Log),
    (b"ERROR", Severity::Error),
    (b"STATEMENT", Severity::Statement),
    (b"DETAIL", Severity::Beside),
    (b"HINT", Severity::Beside),
    (b"CONTEXT", Severity::Beside),
    (b"QUERY", Severity::Beside),
    (b"LOCATION", Severity::Beside),
    (b"WARNING", Severity::Other),
    (b"NOTICE", Severity::Other),
    (b"INFO", Severity::Other),
    (b"FATAL", Severity::Error),
    (b"PANIC", Severity::Error),
    (b"DEBUG1", Severity::Other),
    (b"DEBUG2", Severity::Other),
    (b"DEBUG3", Severity::Other),
    (b"DEBUG4", Severity::Other),
    (b"DEBUG5", Severity::Other),
];

/// Numbers of so many digits always fit.
const DIGITS_MAX: usize = 19;

/// How far into a line its severity may stand, bytes.
const PREFIX_MAX: usize = 512;

/// The length of `YYYY-MM-DD hh:mm:ss`.
const CLOCK: usize = 19;

/// What kind of line of a text log it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Severity {
    Log,
    Error,
    /// The statement of the error before it.
    Statement,
    /// Something else about the message before it.
    Beside,
    Other,
}

/// The severity of a line, where it begins and where its message begins. `None` of a line that goes on with what came before.
pub(super) fn severity(line: &[u8]) -> Option<(Severity, usize, usize)> {
    if line.first().is_none_or(|first| *first == b'\t') {
        return None;
    }
    let head = line.get(..line.len().min(PREFIX_MAX))?;
    for at in memchr_iter(b':', head) {
        if head.get(at + 1..at + 3) != Some(b"  ".as_slice()) {
            continue;
        }
        let before = head.get(..at)?;
        let word = before.len() - before.iter().rev().take_while(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()).count();
        let name = before.get(word..)?;
        if let Some((_, severity)) = SEVERITIES.iter().find(|(known, _)| *known == name) {
            return Some((*severity, word, at + 3));
        }
    }
    None
}

/// Does a message begin with this line, and not only something beside the message before it?
pub(super) fn begins(line: &[u8]) -> bool {
    severity(line).is_some_and(|(severity, ..)| matches!(severity, Severity::Log | Severity::Error | Severity::Other))
}

/// Takes what a message of the log level LOG says.
pub(super) fn log(message: &str, session: u64, at: UnixMs, digest: &mut Digest, seam: &mut Seam) {
    if let Some(rest) = message.strip_prefix("duration: ") {
        let Some((took_us, rest)) = duration(rest) else {
            digest.counts.broken += 1;
            return;
        };
        let rest = rest.trim_start_matches(' ');
        if rest.trim_ascii().is_empty() {
            seam.timed(session, took_us, at, digest);
        } else if rest.starts_with("plan:") {
            digest.counts.plans += 1;
        } else if rest.starts_with("parse ") || rest.starts_with("bind ") {
            digest.counts.prepared += 1;
            digest.counts.prepared_us = digest.counts.prepared_us.saturating_add(took_us);
        } else if let Some(statement) = statement(rest) {
            digest.execution(&Execution { statement, took_us, at_ms: at, ..Execution::default() });
        } else {
            // A call of a function by the fast path, or what a later version says.
            digest.counts.broken += 1;
        }
    } else if let Some(statement) = statement(message) {
        seam.begun(session, statement, at, digest);
    }
}

/// The statement of `statement: …` or `execute name: …`.
fn statement(text: &str) -> Option<&str> {
    if let Some(statement) = text.strip_prefix("statement: ") {
        return Some(statement.trim_ascii());
    }
    let named = text.strip_prefix("execute ")?;
    // The name of a prepared statement is the client's; drivers give it no blank. Only `fetch from` may stand before it.
    let name_end = named.find(": ")?;
    let name = named.get(..name_end)?.trim_start_matches("fetch from ");
    (!name.contains('\n') && name.len() <= 160).then(|| named.get(name_end + 2..).unwrap_or_default().trim_ascii())
}

/// `12.345 ms` as microseconds, and what follows.
fn duration(text: &str) -> Option<(u64, &str)> {
    let end = memchr(b' ', text.as_bytes())?;
    let rest = text.get(end..)?.strip_prefix(" ms")?;
    Some((fixed(text.as_bytes().get(..end)?, 3)?, rest))
}

/// A number of digits, as many as always fit.
pub(super) fn whole(text: &[u8]) -> Option<u64> {
    let (number, end) = digits(text, 0);
    (end == text.len() && (1..=DIGITS_MAX).contains(&end)).then_some(number)
}

/// A number of digits, perhaps with a fraction, in units of the last of at most six `decimals`; what is smaller is cut off.
pub(super) fn fixed(text: &[u8], decimals: usize) -> Option<u64> {
    const POWERS: [u64; 7] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000];
    let (number, dot) = digits(text, 0);
    let sum = number.checked_mul(*POWERS.get(decimals)?).filter(|_| (1..=DIGITS_MAX).contains(&dot))?;
    match text.get(dot) {
        Some(b'.') => {}
        Some(_) => return None,
        None => return Some(sum),
    }
    let kept = text.get(..dot + 1 + decimals).unwrap_or(text);
    let (parts, end) = digits(kept, dot + 1);
    let (_, cut) = digits(text, end);
    let missing = POWERS.get((dot + 1 + decimals).checked_sub(end)?)?;
    (cut == text.len()).then(|| sum.saturating_add(parts * missing))
}

/// The number whose digits begin at `at`, and where they end.
#[inline]
fn digits(text: &[u8], mut at: usize) -> (u64, usize) {
    let mut number = 0u64;
    while let Some(byte) = text.get(at).filter(|byte| byte.is_ascii_digit()) {
        number = number.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
        at += 1;
    }
    (number, at)
}

/// A time as PostgreSQL writes it: `2026-11-25 16:00:18.123 UTC`, `…+02`, or seconds since 1970 (`%n`); 0 when it is none. The name of a time zone is
/// not looked up: such times are as the log has them.
pub(super) fn time(text: &str) -> UnixMs {
    let bytes = text.as_bytes();
    if let Some(at) = bytes.windows(19).take(200).position(is_time) {
        return civil(bytes.get(at..).unwrap_or_default());
    }
    // %n: 1764086418.123
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 10 && bytes.get(10) == Some(&b'.') {
        let seconds = bytes.get(..10).and_then(whole).unwrap_or(0);
        let millis = bytes.get(11..14).and_then(whole).unwrap_or(0);
        return seconds * 1_000 + millis;
    }
    0
}

fn is_time(window: &[u8]) -> bool {
    window.first().is_some_and(u8::is_ascii_digit)
        && window.iter().zip(b"0000-00-00 00:00:00").all(|(byte, wanted)| match wanted {
            b'0' => byte.is_ascii_digit(),
            b' ' => matches!(byte, b' ' | b'T'),
            _ => byte == wanted,
        })
}

/// `YYYY-MM-DD hh:mm:ss[.fff…][Z| ±hh[:mm]| zone]` as Unix milliseconds; 0 when the date does not exist.
pub(super) fn civil(bytes: &[u8]) -> UnixMs {
    // Up to the second all are of one length. What is missing is 0.
    let clock = bytes.first_chunk::<CLOCK>().copied().unwrap_or_else(|| std::array::from_fn(|at| bytes.get(at).copied().unwrap_or(b'0')));
    // Of what is no digit anything may come.
    let digit = |byte: u8| u32::from(byte & 15);
    let two = |at: usize| digit(clock[at]) * 10 + digit(clock[at + 1]);
    let (year, month, day) = (two(0) * 100 + two(2), two(5), two(8));
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || year < 1970 {
        return 0;
    }
    let mut at = CLOCK;
    let mut millis = 0;
    if matches!(bytes.get(at), Some(b'.' | b',')) {
        let part = bytes.get(at + 1..).unwrap_or_default();
        let digits = part.iter().take_while(|byte| byte.is_ascii_digit()).count();
        millis = part.iter().take(digits).zip([100, 10, 1]).fold(0, |sum, (byte, unit)| sum + digit(*byte) * unit);
        at += 1 + digits;
    }
    if bytes.get(at) == Some(&b' ') && matches!(bytes.get(at + 1), Some(b'+' | b'-')) {
        at += 1;
    }
    let mut offset = 0;
    if let Some((sign @ (b'+' | b'-'), zone)) = bytes.get(at..).unwrap_or_default().split_first() {
        let two = |at: usize| zone.get(at..at + 2).and_then(whole).and_then(|number| i64::try_from(number).ok());
        if let Some(hours) = two(0) {
            let minutes = two(if zone.get(2) == Some(&b':') { 3 } else { 2 }).unwrap_or(0);
            offset = (hours * 60 + minutes) * if *sign == b'-' { -1 } else { 1 };
        }
    }
    // Days from civil (Howard Hinnant, chrono-compatible low-level date algorithms), of years after Christ: an era is 400 of them.
    let (y, m) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 719_469;
    let minutes = i64::from(days) * 1_440 + i64::from(two(11) * 60 + two(14)) - offset;
    u64::try_from((minutes * 60 + i64::from(two(17))) * 1_000 + i64::from(millis)).unwrap_or(0)
}
