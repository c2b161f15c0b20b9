//! A database's own log, digested: which statements took the time.
//!
//! The live mind hears of queries by events; this is the same counting over a log that a database wrote by itself. It is pure:
//! blocks of text in, rows out. Whoever reads the file may spread its blocks over threads, since rows are merged by adding
//! integers and what one block cannot know ([`Seam`]) is told to whoever puts them in order.
//!
//! | module | what |
//! |---|---|
//! | [`format`] | which log it is, and where it may be cut into blocks |
//! | `message` | what PostgreSQL says in one message: a duration, a statement, an error |
//! | `stderr`, `csv`, `json` | PostgreSQL's three ways to write its messages down |
//! | `mysql` | the slow log of MySQL, MariaDB and Percona Server |
//! | [`seam`] | statements and their durations that stand apart, also in different blocks |
//! | [`report`] | the rows, as `/api/v1/queries` has them |
//!
//! Promises
//! - G-1 No literal is kept: a statement is normalised before anything else is done with it, and nothing else of an entry is kept
//!   but numbers and times.
//! - G-2 At most `shapes_max` statements are told apart; the rest is counted under `__other__`.
//! - G-3 Never fails: whatever cannot be understood is counted and passed over.
//! - G-4 The rows do not depend on how a log was cut into blocks.

mod csv;
pub mod format;
mod json;
mod message;
mod mysql;
pub mod report;
pub mod seam;
mod stderr;
#[cfg(test)]
mod tests;

pub use format::LogFormat;
pub use report::{DigestReport, Totals};
pub use seam::{Seam, Seams};

use super::lookup::Lookup;
use super::shapes::cut;
use super::stats::Stats;
use homeostat_reflexes::sql::{Dialect, Fingerprint, Normaliser, Templates, Verb};
use homeostat_schemas::UnixMs;
use std::borrow::Cow;
use xxhash_rust::xxh3::xxh3_128;

/// How many texts that are no templates (with a comment, say) are remembered, so that one that comes again is not read again.
const MEMO_LEN: usize = 1 << 12;

/// Bounds and thresholds of a digest.
#[derive(Debug, Clone, Copy)]
pub struct DigestOptions {
    /// So many statements are told apart.
    pub shapes_max: usize,
    /// A longer normal form is shown only up to here, bytes.
    pub statement_max_bytes: usize,
    /// An execution that took longer is counted as slow, microseconds.
    pub slow_us: u64,
    /// An execution with at least so many rows returns more than anybody reads.
    pub many_rows: u64,
}

/// One execution as a log tells it.
#[derive(Debug, Clone, Copy, Default)]
struct Execution<'a> {
    statement: &'a str,
    /// Microseconds.
    took_us: u64,
    /// When it ended, by the log's own clock; 0 when the log does not say.
    at_ms: UnixMs,
    rows: Option<u64>,
    examined: Option<u64>,
    lock_us: u64,
    failed: bool,
}

/// One statement.
struct Row {
    fingerprint: Fingerprint,
    statement: Box<str>,
    verb: Verb,
    /// It is there in full, so that it can be analysed.
    whole: bool,
    /// Something of the database's protocol, and no SQL.
    command: bool,
    stats: Stats,
    examined: u64,
    lock_us: u64,
    many_rows: u64,
    slowest_ms: UnixMs,
}

/// What was counted beside the rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    entries: u64,
    /// Statements whose duration the log does not say.
    untimed: u64,
    /// Durations whose statement the log does not say.
    nameless: u64,
    prepared: u64,
    prepared_us: u64,
    plans: u64,
    broken: u64,
    from_ms: UnixMs,
    until_ms: UnixMs,
}

impl Counts {
    fn merge(&mut self, other: &Counts) {
        self.entries += other.entries;
        self.untimed += other.untimed;
        self.nameless += other.nameless;
        self.prepared += other.prepared;
        self.prepared_us = self.prepared_us.saturating_add(other.prepared_us);
        self.plans += other.plans;
        self.broken += other.broken;
        self.seen(other.from_ms);
        self.seen(other.until_ms);
    }

    fn seen(&mut self, at: UnixMs) {
        if at > 0 {
            self.from_ms = if self.from_ms == 0 { at } else { self.from_ms.min(at) };
            self.until_ms = self.until_ms.max(at);
        }
    }
}

/// Counts the executions of blocks of a log.
pub struct Digest {
    format: LogFormat,
    options: DigestOptions,
    rows: Vec<Row>,
    places: Lookup,
    other: Stats,
    counts: Counts,
    normaliser: Normaliser,
    templates: Templates,
    memo: Vec<Option<(u128, u32)>>,
}

/// The row of whatever found no place of its own.
const NO_ROW: u32 = u32::MAX;

impl Digest {
    /// An empty digest of a log of this format.
    #[must_use]
    pub fn new(format: LogFormat, options: DigestOptions) -> Digest {
        Digest {
            format,
            options,
            rows: Vec::new(),
            places: Lookup::default(),
            other: Stats::new(0),
            counts: Counts::default(),
            normaliser: Normaliser::new(),
            templates: Templates::new(format.dialect()),
            memo: vec![None; MEMO_LEN],
        }
    }

    /// Counts the entries of a block, which begins and ends where [`LogFormat::last_entry`] allows. What comes back is for
    /// [`Seams`], in the order of the blocks.
    pub fn block(&mut self, block: &[u8]) -> Seam {
        let mut seam = Seam::default();
        // Most logs are UTF-8 throughout, and that is found out many times faster than where one is not.
        let text = std::str::from_utf8(block).map_or_else(|_| String::from_utf8_lossy(block), Cow::Borrowed);
        match self.format {
            LogFormat::PostgresqlStderr => stderr::read(&text, self, &mut seam),
            LogFormat::PostgresqlCsv => csv::read(&text, self, &mut seam),
            LogFormat::PostgresqlJson => json::read(&text, self, &mut seam),
            LogFormat::MysqlSlow => mysql::read(&text, self),
        }
        seam
    }

    /// Takes over what another digest of the same log counted.
    pub fn merge(&mut self, other: Digest) {
        self.counts.merge(&other.counts);
        add(&mut self.other, &other.other);
        for row in other.rows {
            let number = self.place(row.fingerprint, || Row {
                stats: Stats::new(row.stats.first_seen_ms),
                examined: 0,
                lock_us: 0,
                many_rows: 0,
                slowest_ms: 0,
                statement: row.statement.clone(),
                ..row
            });
            let Some(own) = self.rows.get_mut(number as usize) else {
                add(&mut self.other, &row.stats);
                continue;
            };
            if row.stats.max_us > own.stats.max_us || own.slowest_ms == 0 {
                own.slowest_ms = row.slowest_ms;
            } else if row.stats.max_us == own.stats.max_us && row.slowest_ms > 0 {
                own.slowest_ms = own.slowest_ms.min(row.slowest_ms);
            }
            add(&mut own.stats, &row.stats);
            own.examined = own.examined.saturating_add(row.examined);
            own.lock_us = own.lock_us.saturating_add(row.lock_us);
            own.many_rows = own.many_rows.saturating_add(row.many_rows);
        }
    }

    fn dialect(&self) -> Dialect {
        self.format.dialect()
    }

    /// Counts one execution.
    fn execution(&mut self, execution: &Execution<'_>) {
        let number = self.recognise(execution.statement);
        self.count(number, execution);
    }

    /// Counts a failure of which the log does not say how long it took.
    fn failure(&mut self, statement: &str, at: UnixMs) {
        let number = self.recognise(statement);
        self.counts.seen(at);
        let stats = match self.rows.get_mut(number as usize) {
            Some(row) => &mut row.stats,
            None => &mut self.other,
        };
        stats.errors = stats.errors.saturating_add(1);
        note_time(stats, at);
    }

    fn count(&mut self, number: u32, execution: &Execution<'_>) {
        let Execution { took_us, at_ms, rows, failed, .. } = *execution;
        self.counts.seen(at_ms);
        let slow = took_us > self.options.slow_us;
        let stats = match self.rows.get_mut(number as usize) {
            Some(row) => {
                row.examined = row.examined.saturating_add(execution.examined.unwrap_or(0));
                row.lock_us = row.lock_us.saturating_add(execution.lock_us);
                row.many_rows = row.many_rows.saturating_add(u64::from(rows.is_some_and(|rows| rows >= self.options.many_rows)));
                if row.stats.calls == 0 || took_us > row.stats.max_us || took_us == row.stats.max_us && at_ms < row.slowest_ms {
                    row.slowest_ms = at_ms;
                }
                &mut row.stats
            }
            None => &mut self.other,
        };
        note_time(stats, at_ms);
        let last = stats.last_seen_ms;
        stats.add(last, took_us, rows.unwrap_or(0), failed, slow);
    }

    /// The row of a statement; [`NO_ROW`] when there is no room for a new one.
    fn recognise(&mut self, statement: &str) -> u32 {
        if let Some(number) = self.templates.find(statement) {
            return number;
        }
        let text = xxh3_128(statement.as_bytes());
        #[allow(clippy::cast_possible_truncation)] // any bits of a hash will do
        let line = text as usize % MEMO_LEN;
        if let Some(Some((known, number))) = self.memo.get(line)
            && *known == text
        {
            return *number;
        }
        let seen = self.normaliser.normalise(statement, self.format.dialect());
        let DigestOptions { statement_max_bytes, shapes_max, .. } = self.options;
        let fingerprint = seen.fingerprint;
        let number = place(&mut self.rows, &mut self.places, shapes_max, fingerprint, || {
            let kept = cut(seen.normal, statement_max_bytes);
            Row {
                fingerprint,
                whole: !seen.shape.is_unterminated() && kept.len() == seen.normal.len(),
                statement: kept.into(),
                verb: seen.verb,
                command: false,
                stats: Stats::new(0),
                examined: 0,
                lock_us: 0,
                many_rows: 0,
                slowest_ms: 0,
            }
        });
        self.templates.learn(statement, fingerprint, number, &mut self.normaliser);
        if let Some(memo) = self.memo.get_mut(line) {
            *memo = Some((text, number));
        }
        number
    }

    /// Counts a command of the protocol that is no SQL: `Quit`, `Ping`, `Prepare`. It is a word of the server's own.
    fn command(&mut self, name: &str, execution: &Execution<'_>) {
        let known = name.len() <= 32 && name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b' ' || byte == b'_');
        let text = format!("administrator command: {}", if known { name.to_ascii_lowercase() } else { "?".to_owned() });
        let fingerprint = Fingerprint::of(&text);
        let number = self.place(fingerprint, || Row {
            fingerprint,
            statement: text.into(),
            verb: Verb::Session,
            whole: false,
            command: true,
            stats: Stats::new(0),
            examined: 0,
            lock_us: 0,
            many_rows: 0,
            slowest_ms: 0,
        });
        self.count(number, execution);
    }

    fn place(&mut self, fingerprint: Fingerprint, new: impl FnOnce() -> Row) -> u32 {
        place(&mut self.rows, &mut self.places, self.options.shapes_max, fingerprint, new)
    }
}

/// The row of a fingerprint; [`NO_ROW`] when there is no room for a new one.
fn place(rows: &mut Vec<Row>, places: &mut Lookup, max: usize, fingerprint: Fingerprint, new: impl FnOnce() -> Row) -> u32 {
    if let Some(number) = places.get(fingerprint.0) {
        return number;
    }
    let Ok(number) = u32::try_from(rows.len()) else { return NO_ROW };
    if rows.len() >= max || number == NO_ROW {
        return NO_ROW;
    }
    rows.push(new());
    places.insert(fingerprint.0, number);
    number
}

/// A log's own clock: what was first and last is kept whatever the order.
fn note_time(stats: &mut Stats, at: UnixMs) {
    if at > 0 {
        stats.first_seen_ms = if stats.first_seen_ms == 0 { at } else { stats.first_seen_ms.min(at) };
        stats.last_seen_ms = stats.last_seen_ms.max(at);
    }
}

/// Adds executions to others, of which either may have no time.
fn add(own: &mut Stats, other: &Stats) {
    let first = match (own.first_seen_ms, other.first_seen_ms) {
        (0, at) | (at, 0) => at,
        (a, b) => a.min(b),
    };
    own.merge(other);
    own.first_seen_ms = first;
}
