//! PostgreSQL's text log: lines with a prefix of anybody's choice (`log_line_prefix`), a severity, two blanks, the message. What
//! goes on over several lines is indented by a tab; syslog numbers the lines instead.

use super::Digest;
use super::message::{self, Severity, severity};
use super::seam::Seam;
use memchr::{memchr, memchr_iter};
use std::borrow::Cow;

/// A message that is being read.
struct Open<'a> {
    severity: Severity,
    prefix: &'a str,
    message: Cow<'a, str>,
    /// Where it ends so far.
    end: usize,
}

/// Counts what stands in whole messages.
pub(super) fn read(text: &str, digest: &mut Digest, seam: &mut Seam) {
    let bytes = text.as_bytes();
    let mut open: Option<Open<'_>> = None;
    let mut failed = false;
    let mut from = 0;
    while from < text.len() {
        let rest = bytes.get(from..).unwrap_or_default();
        let end = from + memchr(b'\n', rest).map_or(rest.len(), |newline| newline + 1);
        let line = bytes.get(from..end).unwrap_or_default();
        match severity(line) {
            Some((severity, word, message_at)) => {
                if let Some(open) = open.take() {
                    close(&open, &mut failed, digest, seam);
                }
                let message = Cow::Borrowed(text.get(from + message_at..end).unwrap_or_default());
                open = Some(Open { severity, prefix: text.get(from..from + word).unwrap_or_default(), message, end });
            }
            None => {
                if let Some(open) = &mut open {
                    go_on(open, text, from, end);
                } else {
                    digest.counts.broken += u64::from(!line.trim_ascii().is_empty());
                }
            }
        }
        from = end;
    }
    if let Some(open) = open {
        close(&open, &mut failed, digest, seam);
    }
}

/// One more line of the message.
fn go_on<'a>(open: &mut Open<'a>, text: &'a str, from: usize, end: usize) {
    let line = text.get(from..end).unwrap_or_default();
    match &mut open.message {
        // The message and the line stand beside each other, so it only gets longer.
        Cow::Borrowed(message) if syslog(line).is_none() && open.end == from => {
            let start = open.end - message.len();
            *message = text.get(start..end).unwrap_or_default();
        }
        message => message.to_mut().push_str(&syslog(line).unwrap_or(Cow::Borrowed(line))),
    }
    open.end = end;
}

/// What a line of syslog adds to the message before it: `… postgres[123]: [5-2] #011from t`.
fn syslog(line: &str) -> Option<Cow<'_, str>> {
    if line.starts_with('\t') {
        return None;
    }
    let at = line.get(..line.len().min(200)).and_then(|head| head.find("]: ["))?;
    let number = line.get(at + 4..)?;
    let end = number.find("] ")?;
    let (major, minor) = number.get(..end)?.split_once('-')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let rest = number.get(end + 2..)?;
    (digits(major) && digits(minor))
        .then(|| if rest.contains("#011") { Cow::Owned(rest.replace("#011", "\t")) } else { Cow::Borrowed(rest) })
}

fn close(open: &Open<'_>, failed: &mut bool, digest: &mut Digest, seam: &mut Seam) {
    match open.severity {
        Severity::Log => {
            digest.counts.entries += 1;
            *failed = false;
            message::log(&open.message, session(open.prefix), message::time(open.prefix), digest, seam);
        }
        Severity::Error => {
            digest.counts.entries += 1;
            *failed = true;
        }
        Severity::Statement => {
            if std::mem::take(failed) {
                digest.failure(open.message.trim_ascii(), message::time(open.prefix));
                seam.failed(session(open.prefix));
            }
        }
        Severity::Beside => {}
        Severity::Other => {
            digest.counts.entries += 1;
            *failed = false;
        }
    }
}

/// Which session wrote the line: the process in brackets (`[123]`, `[123-1]`); 0 when the prefix does not say.
fn session(prefix: &str) -> u64 {
    let prefix = prefix.as_bytes();
    for bracket in memchr_iter(b'[', prefix) {
        let rest = prefix.get(bracket + 1..).unwrap_or_default();
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if (1..=10).contains(&digits) && matches!(rest.get(digits), Some(b']' | b'-' | b':')) {
            return rest.get(..digits).and_then(message::whole).unwrap_or(0);
        }
    }
    0
}
