//! Which log it is, and where it may be cut.

use homeostat_reflexes::sql::Dialect;
use memchr::{memchr, memchr_iter, memmem, memrchr};
use serde::{Deserialize, Serialize};

use super::{csv, message, mysql};

/// How much of the beginning of a log is looked at to tell its format, bytes.
pub const HEAD_MAX: usize = 64 * 1024;

/// A log that a database writes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// PostgreSQL, `log_destination = stderr` (or syslog): text lines with a prefix.
    PostgresqlStderr,
    /// PostgreSQL, `log_destination = csvlog`.
    PostgresqlCsv,
    /// PostgreSQL, `log_destination = jsonlog` (15 and later).
    PostgresqlJson,
    /// The slow log of MySQL, MariaDB or Percona Server.
    MysqlSlow,
}

impl LogFormat {
    /// The format of a log that begins so (the first [`HEAD_MAX`] bytes are enough); `None` when it is none of these.
    #[must_use]
    pub fn detect(head: &[u8]) -> Option<LogFormat> {
        let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
        let lines = || head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end).filter(|line| !line.is_empty());
        let first = lines().next()?;
        if first.starts_with(b"{") {
            return memmem::find(first, b"\"error_severity\"").map(|_| LogFormat::PostgresqlJson);
        }
        // The first line that says what it is decides: a statement may hold anything.
        lines().take(1_000).find_map(|line| {
            if mysql::is_head(line) || mysql::is_banner(line) {
                Some(LogFormat::MysqlSlow)
            } else if is_csv(line) {
                Some(LogFormat::PostgresqlCsv)
            } else if message::severity(line).is_some() {
                Some(LogFormat::PostgresqlStderr)
            } else {
                None
            }
        })
    }

    /// Whose SQL it is.
    #[must_use]
    pub const fn dialect(self) -> Dialect {
        match self {
            LogFormat::PostgresqlStderr | LogFormat::PostgresqlCsv | LogFormat::PostgresqlJson => Dialect::Postgresql,
            LogFormat::MysqlSlow => Dialect::Mysql,
        }
    }

    /// What people call it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            LogFormat::PostgresqlStderr => "PostgreSQL log",
            LogFormat::PostgresqlCsv => "PostgreSQL csvlog",
            LogFormat::PostgresqlJson => "PostgreSQL jsonlog",
            LogFormat::MysqlSlow => "MySQL slow log",
        }
    }

    /// Where the last entry of a text begins that itself begins with an entry: everything before is whole, what follows may go on
    /// beyond the text. `None` when it holds no second beginning.
    #[must_use]
    pub fn last_entry(self, text: &[u8]) -> Option<usize> {
        match self {
            LogFormat::PostgresqlJson => memrchr(b'\n', text).map(|at| at + 1).filter(|at| *at > 0),
            LogFormat::PostgresqlCsv => csv::last_record(text),
            LogFormat::PostgresqlStderr => last_line(text, message::begins),
            LogFormat::MysqlSlow => {
                let at = last_line(text, mysql::is_head)?;
                // `# Time:` and `# User@Host:` are one head.
                let before = text.get(..at.saturating_sub(1))?;
                let line = memrchr(b'\n', before).map_or(0, |newline| newline + 1);
                let above = before.get(line..).is_some_and(|above| above.starts_with(b"# Time:"));
                if above && text.get(at..).is_some_and(|own| own.starts_with(b"# User@Host:")) {
                    Some(line).filter(|line| *line > 0)
                } else {
                    Some(at)
                }
            }
        }
    }
}

/// The last line, not the first, with which an entry begins.
fn last_line(text: &[u8], begins: fn(&[u8]) -> bool) -> Option<usize> {
    let mut end = text.len();
    while let Some(newline) = memrchr(b'\n', text.get(..end)?) {
        let line = text.get(newline + 1..)?;
        let line = line.get(..memchr(b'\n', line).unwrap_or(line.len())).unwrap_or_default();
        if !line.is_empty() && begins(line) {
            return Some(newline + 1);
        }
        end = newline;
    }
    None
}

/// `2026-11-25 16:00:18.123 UTC,"user","db",123,…`: a time, and the many fields of a csvlog.
fn is_csv(line: &[u8]) -> bool {
    let time = line.first_chunk::<19>().is_some_and(|time| {
        let shape = b"0000-00-00 00:00:00";
        time.iter().zip(shape).all(|(byte, wanted)| if *wanted == b'0' { byte.is_ascii_digit() } else { byte == wanted })
    });
    let comma = memchr(b',', line).is_some_and(|at| at < 40);
    time && comma && memchr_iter(b',', line).count() >= 11
}
