//! `homeostat query digest FILE`: which statements took the time, as a table, or as JSON with everything that is known.

use crate::cli::args::{DigestArgs, DigestFormat, DigestSort};
use crate::cli::out::{Tone, complain, plain};
use crate::cli::{CliError, Context, Finish, Out};
use crate::digest::blocks::{Input, open};
use crate::digest::events::{FINDINGS_MAX, Ndjson};
use crate::digest::{DigestError, FileDigest, Format, digest};
use homeostat_actors::query::QueryCore;
use homeostat_actors::query::digest::LogFormat;
use homeostat_actors::query::digest::report::{DigestRow, Totals};
use homeostat_schemas::{UnixMs, time};
use indicatif::{ProgressBar, ProgressStyle};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::Path;
use std::sync::atomic;
use std::time::Duration;

/// Findings of one file that the table lists.
const FINDINGS_SHOWN: usize = 20;
/// A statement is shown up to here, characters; the JSON has more.
const STATEMENT_SHOWN: usize = 300;

/// Runs the command.
///
/// # Errors
/// A file cannot be read, or is nothing that can be digested.
pub fn run(context: &mut Context, args: &DigestArgs) -> Result<Finish, CliError> {
    let settings = context.config().actors.of::<QueryCore>()?;
    let format = args.format.map(format);
    let mut finish = Finish::Fine;
    for (number, path) in args.files.iter().enumerate() {
        let mut found = one(path, format, &settings.config).map_err(|why| explain(path, why))?;
        if args.sort != DigestSort::Total {
            found.report.queries.sort_by(|a, b| order(args.sort, a, b));
        }
        if args.check && finish == Finish::Fine && !found.findings.is_empty() {
            finish = Finish::Found;
        }
        if found.report.totals.entries == 0 && found.report.totals.broken > 0 {
            finish = Finish::Failed;
        }
        if found.report.totals.broken > 0 {
            complain(&format!(
                "{}: {} pieces could not be understood and were passed over",
                plain(&found.file),
                thousands(found.report.totals.broken)
            ));
        }
        if context.json {
            context.out.json(&found)?;
        } else {
            if number > 0 {
                context.out.line("")?;
            }
            tell(&mut context.out, &found, if args.limit == 0 { usize::MAX } else { args.limit })?;
        }
    }
    Ok(finish)
}

fn format(format: DigestFormat) -> Format {
    match format {
        DigestFormat::Ndjson => Format::Events(Ndjson::Ndjson),
        DigestFormat::PostgresqlStderr => Format::Log(LogFormat::PostgresqlStderr),
        DigestFormat::PostgresqlCsv => Format::Log(LogFormat::PostgresqlCsv),
        DigestFormat::PostgresqlJson => Format::Log(LogFormat::PostgresqlJson),
        DigestFormat::MysqlSlow => Format::Log(LogFormat::MysqlSlow),
    }
}

fn explain(path: &Path, why: DigestError) -> CliError {
    let named = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    match why {
        DigestError::Unknown => CliError::new(format!("{named} is neither events nor a log that is known"))
            .advise("say what it is: --format ndjson, postgresql-stderr, postgresql-csv, postgresql-json or mysql-slow"),
        why => CliError::new(format!("{named} cannot be read")).because(why),
    }
}

fn one(path: &Path, format: Option<Format>, config: &homeostat_actors::query::QueryConfig) -> Result<FileDigest, DigestError> {
    let Input { reader, size, done } = open(path)?;
    let name = if path == Path::new("-") { "-".to_owned() } else { path.display().to_string() };
    // Drawn on standard error, and only when that is a terminal.
    let (bar, template) = match size {
        Some(size) => (ProgressBar::new(size), "{bar:30} {percent}% {binary_bytes_per_sec} {eta} left"),
        None => (ProgressBar::new_spinner(), "{spinner} {binary_bytes} {elapsed}"),
    };
    let bar = bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    let mut reader = Watched { reader, bar: bar.clone(), done };
    let found = digest(&name, &mut reader, format, config);
    bar.finish_and_clear();
    found
}

/// Moves the bar as the file is read.
struct Watched {
    reader: Box<dyn BufRead + Send>,
    bar: ProgressBar,
    done: std::sync::Arc<atomic::AtomicU64>,
}

impl std::io::Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.bar.set_position(self.done.load(atomic::Ordering::Relaxed));
        self.reader.read(buffer)
    }
}

impl BufRead for Watched {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.bar.set_position(self.done.load(atomic::Ordering::Relaxed));
        self.reader.fill_buf()
    }
    fn consume(&mut self, amount: usize) {
        self.reader.consume(amount);
    }
}

fn order(key: DigestSort, a: &DigestRow, b: &DigestRow) -> Ordering {
    let (a, b) = (&a.row, &b.row);
    let by = match key {
        DigestSort::Total => b.total_ms.total_cmp(&a.total_ms),
        DigestSort::Mean => b.mean_ms.total_cmp(&a.mean_ms),
        DigestSort::P95 => b.p95_ms.total_cmp(&a.p95_ms),
        DigestSort::P99 => b.p99_ms.total_cmp(&a.p99_ms),
        DigestSort::Max => b.max_ms.total_cmp(&a.max_ms),
        DigestSort::Calls => b.calls.cmp(&a.calls),
        DigestSort::Rows => b.rows.cmp(&a.rows),
        DigestSort::Errors => b.errors.cmp(&a.errors),
    };
    by.then_with(|| b.total_ms.total_cmp(&a.total_ms)).then_with(|| (&a.service, &a.fingerprint).cmp(&(&b.service, &b.fingerprint)))
}

/// The table.
fn tell(out: &mut Out, found: &FileDigest, limit: usize) -> Result<(), CliError> {
    let FileDigest { file, format, report, findings } = found;
    let totals = &report.totals;
    let file = if file == "-" { "standard input".to_owned() } else { plain(file) };
    out.line(format!(
        "{}  {}: {} executions of {} statements, {} in the database{}",
        out.paint(Tone::Strong, &file),
        format.title(),
        thousands(totals.calls),
        thousands(totals.shapes),
        duration(totals.total_ms),
        span(totals)
    ))?;
    for aside in asides(totals) {
        out.line(out.paint(Tone::Faint, &aside))?;
    }
    if report.queries.is_empty() {
        return Ok(());
    }
    out.line("")?;
    // Columns that say nothing here are left out.
    let has_rows = report.queries.iter().any(|query| query.row.rows > 0);
    let has_errors = totals.errors > 0;
    let many_services = matches!(format, Format::Events(_))
        && report.queries.windows(2).any(|pair| matches!(pair, [a, b] if a.row.service != b.row.service));
    let mut head = format!("{:>4} {:>7} {:>9} {:>11}", "#", "share", "total", "calls");
    if has_errors {
        head += &format!(" {:>7}", "errors");
    }
    head += &["mean", "p50", "p95", "p99", "max"].map(|name| format!(" {name:>9}")).concat();
    if has_rows {
        head += &format!(" {:>9}", "rows/call");
    }
    out.line(out.paint(Tone::Faint, &format!("{head}  fingerprint")))?;
    let whole: f64 = report.queries.iter().map(|query| query.row.total_ms).sum();
    for (number, query) in report.queries.iter().take(limit).enumerate() {
        let row = &query.row;
        let share = if whole > 0.0 { row.total_ms / whole * 100.0 } else { 0.0 };
        let mut line = format!("{:>4} {:>6.1}% {:>9} {:>11}", number + 1, share, duration(row.total_ms), thousands(row.calls));
        if has_errors {
            line += &format!(" {:>7}", thousands(row.errors));
        }
        line += &[row.mean_ms, row.p50_ms, row.p95_ms, row.p99_ms, row.max_ms].map(|ms| format!(" {:>9}", duration(ms))).concat();
        if has_rows {
            line += &format!(" {:>9}", per_call(row.rows, row.calls));
        }
        let service = if many_services { format!("  {}", plain(&row.service)) } else { String::new() };
        out.line(format!("{line}  {}{service}", row.fingerprint))?;
        out.line(format!("     {}", out.paint(Tone::Strong, &shown(&row.statement))))?;
        for finding in &row.findings {
            out.line(format!("     {}", out.paint(Tone::Warning, finding)))?;
        }
        for advice in &row.advice {
            out.line(format!("     {}", out.paint(Tone::Good, &format!("{}: {}", advice.kind.name(), plain(&advice.reason)))))?;
            if let Some(ddl) = &advice.ddl {
                out.line(format!("       {}", plain(ddl)))?;
            }
        }
    }
    let hidden = report.queries.len().saturating_sub(limit);
    if hidden > 0 {
        let rest: f64 = report.queries.iter().skip(limit).map(|query| query.row.total_ms).sum();
        let text = format!("     and {} more with {} together; --limit 0 shows all", thousands(hidden as u64), duration(rest));
        out.line(out.paint(Tone::Faint, &text))?;
    }
    tell_findings(out, found, findings.len())
}

fn tell_findings(out: &mut Out, found: &FileDigest, all: usize) -> Result<(), CliError> {
    // Advice stands with its statement.
    let told: Vec<_> = found.findings.iter().filter(|alert| alert.rule != "query.advice").collect();
    if told.is_empty() {
        return Ok(());
    }
    let mut rules: BTreeMap<&str, usize> = BTreeMap::new();
    for alert in &told {
        *rules.entry(&alert.rule).or_default() += 1;
    }
    let sums = rules.iter().map(|(rule, count)| format!("{count} {rule}")).collect::<Vec<_>>().join(", ");
    out.line("")?;
    out.line(format!("{}  {sums}", out.paint(Tone::Strong, "findings")))?;
    for alert in told.iter().take(FINDINGS_SHOWN) {
        let service = plain(&alert.service);
        out.line(format!("  {}  {service}  {}", out.paint(Tone::Warning, &format!("{:<22}", alert.rule)), shown(&alert.summary)))?;
    }
    if told.len() > FINDINGS_SHOWN {
        let more = if all >= FINDINGS_MAX { "or more" } else { "more" };
        out.line(out.paint(Tone::Faint, &format!("  and {} {more}; --json has them", told.len() - FINDINGS_SHOWN)))?;
    }
    Ok(())
}

/// When the log was written, and how busy the database was with it.
fn span(totals: &Totals) -> String {
    let length = totals.until_ms.saturating_sub(totals.from_ms);
    if totals.from_ms == 0 || length == 0 {
        return String::new();
    }
    #[allow(clippy::cast_precision_loss)] // for show
    let (seconds, span_ms) = (length as f64 / 1_000.0, length as f64);
    #[allow(clippy::cast_precision_loss)]
    let rate = totals.calls as f64 / seconds;
    format!(
        "\n{} – {} ({}), {} executions/s, {:.2} at a time",
        at(totals.from_ms),
        at(totals.until_ms),
        duration(span_ms),
        if rate >= 10.0 { format!("{rate:.0}") } else { format!("{rate:.2}") },
        totals.total_ms / span_ms
    )
}

fn at(ms: UnixMs) -> String {
    time::rfc3339(ms).chars().take(19).collect::<String>().replace('T', " ")
}

/// What is not in the table.
fn asides(totals: &Totals) -> Vec<String> {
    let mut asides = Vec::new();
    if totals.prepared > 0 {
        asides.push(format!(
            "{} steps before an execution (parse, bind) took {} more",
            thousands(totals.prepared),
            duration(totals.prepared_ms)
        ));
    }
    if totals.untimed > 0 {
        asides.push(format!(
            "{} statements stand in the log without a duration and are not counted: set log_min_duration_statement, or log_duration with %p in log_line_prefix",
            thousands(totals.untimed)
        ));
    }
    if totals.nameless > 0 {
        asides.push(format!(
            "{} durations stand in the log without a statement and are not counted: set log_min_duration_statement",
            thousands(totals.nameless)
        ));
    }
    if totals.plans > 0 {
        asides.push(format!(
            "{} plans of auto_explain are not counted: their executions have entries of their own under log_min_duration_statement",
            thousands(totals.plans)
        ));
    }
    if totals.other_calls > 0 {
        asides
            .push(format!("{} executions of further statements are counted together: more than shapes_max", thousands(totals.other_calls)));
    }
    asides
}

/// A statement on one line, cut where a reader stops.
fn shown(text: &str) -> String {
    let text = plain(text);
    match text.char_indices().nth(STATEMENT_SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// A time with three digits that mean something: `812 µs`, `12.3 ms`, `4.56 s`, `3m20s`.
fn duration(ms: f64) -> String {
    let three = |value: f64, unit: &str| {
        let decimals = if value >= 99.95 {
            0
        } else if value >= 9.995 {
            1
        } else {
            2
        };
        format!("{value:.decimals$} {unit}")
    };
    if ms <= 0.0 {
        "0".to_owned()
    } else if ms < 0.9995 {
        format!("{:.0} µs", ms * 1_000.0)
    } else if ms < 999.5 {
        three(ms, "ms")
    } else if ms < 99_950.0 {
        three(ms / 1_000.0, "s")
    } else {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // for show
        let seconds = (ms / 1_000.0).round() as u64;
        match seconds {
            ..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
            3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
            _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
        }
    }
}

fn per_call(rows: u64, calls: u64) -> String {
    if calls == 0 {
        return "0".to_owned();
    }
    #[allow(clippy::cast_precision_loss)] // for show
    let mean = rows as f64 / calls as f64;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // for show
    if mean >= 100.0 { thousands(mean.round() as u64) } else { format!("{mean:.1}") }
}

/// `1,234,567`
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        let times = [0.0, 0.0124, 0.8, 1.0, 12.345, 123.4, 999.4, 1_000.0, 61_000.0, 200_000.0, 7_260_000.0, 200_000_000.0];
        assert_eq!(
            times.map(duration),
            ["0", "12 µs", "800 µs", "1.00 ms", "12.3 ms", "123 ms", "999 ms", "1.00 s", "61.0 s", "3m20s", "2h01m", "2d07h"]
        );
    }
}
