//! Series from a file: CSV with a header (`at` or `timestamp`, and `value`), or one value a line.
//!
//! What is missing is missing and no error: an empty cell, `NaN`, `null`, an infinity. What is not a number at all is an error
//! with its line.

use super::CliError;
use homeostat_schemas::UnixMs;
use homeostat_schemas::time::{parse, rfc3339};
use serde_json::Value;
use std::io::Read as _;
use std::path::Path;

/// A file is at most this large.
const BYTES_MAX: u64 = 256 * 1024 * 1024;

/// How times are written, in the file and in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// There are none: the number of the row, from 0.
    Row,
    /// Unix milliseconds.
    Number,
    /// `YYYY-MM-DD hh:mm:ss`, UTC.
    Plain,
    /// RFC 3339.
    Rfc3339,
}

impl Clock {
    fn of(text: &str) -> Clock {
        if text.bytes().all(|b| b.is_ascii_digit()) {
            Clock::Number
        } else if text.contains(['T', 't']) {
            Clock::Rfc3339
        } else {
            Clock::Plain
        }
    }

    /// A time in this form.
    #[must_use]
    pub fn show(self, at: UnixMs) -> Value {
        match self {
            Clock::Row | Clock::Number => at.into(),
            Clock::Plain => rfc3339(at).get(..19).unwrap_or_default().replace('T', " ").into(),
            Clock::Rfc3339 => rfc3339(at).replace(".000Z", "Z").into(),
        }
    }
}

/// The points of a file, in its order.
#[derive(Debug, Clone, PartialEq)]
pub struct Points {
    /// How times are written.
    pub clock: Clock,
    /// Time and value; a missing value is not a number.
    pub points: Vec<(UnixMs, f64)>,
}

/// Reads a series; `-` is standard input.
///
/// # Errors
/// The file cannot be read, is too large, or holds something that is neither a number nor missing.
pub fn read(path: &Path) -> Result<Points, CliError> {
    let failed = |why: std::io::Error| CliError::new(format!("{} cannot be read", path.display())).because(why);
    let mut bytes = Vec::new();
    super::query::open(path)?.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(CliError::new(format!("{} is larger than 256 MiB", path.display())));
    }
    let text = String::from_utf8_lossy(&bytes);
    points(&text).map_err(|why| {
        CliError::new(format!("{}: {why}", path.display()))
            .advise("write CSV with the header at,value (or timestamp,value), or one value a line")
    })
}

fn points(text: &str) -> Result<Points, String> {
    let text = text.trim_start_matches('\u{feff}').trim_end();
    let mut lines = text.lines().enumerate().skip_while(|(_, line)| line.trim().is_empty() || line.starts_with('#')).peekable();
    let Some((_, first)) = lines.peek() else { return Ok(Points { clock: Clock::Row, points: Vec::new() }) };
    let split = if first.contains(';') && !first.contains(',') { ';' } else { ',' };
    let cells = |line: &str| line.split(split).map(|cell| cell.trim().trim_matches('"').trim().to_owned()).collect::<Vec<_>>();
    let head: Vec<String> = cells(first).iter().map(|name| name.to_ascii_lowercase()).collect();
    let (at, value) = if head.iter().any(|name| name == "value") {
        let place = |names: &[&str]| head.iter().position(|name| names.contains(&name.as_str()));
        lines.next();
        (place(&["at", "timestamp", "at_ms", "time"]), place(&["value"]).unwrap_or_default())
    } else if head.len() == 1 && number(&head[0]).is_ok() {
        (None, 0)
    } else if head.len() == 1 {
        return Err(format!("the first line, `{}`, is neither a header with `value` nor a number", brief(first)));
    } else {
        return Err(format!("the header `{}` has no column `value`", brief(first)));
    };
    let mut points = Vec::new();
    let mut clock = None;
    for (row, (index, line)) in lines.enumerate() {
        // A blank line is a value that is missing where there is nothing but values, and nothing in a table.
        if at.is_some() && line.trim().is_empty() {
            continue;
        }
        let cells = cells(line);
        let wrong = |why: String| format!("line {}: {why}", index + 1);
        let value = cells.get(value).map_or(Ok(f64::NAN), |cell| number(cell)).map_err(wrong)?;
        let at = match at {
            None => row as UnixMs,
            Some(column) => {
                let text = cells.get(column).map_or("", String::as_str);
                clock = clock.or_else(|| Some(Clock::of(text)));
                parse(text).map_err(|why| wrong(why.to_string()))?
            }
        };
        points.push((at, value));
    }
    Ok(Points { clock: clock.unwrap_or(Clock::Row), points })
}

/// A number, or not a number where it is missing.
fn number(cell: &str) -> Result<f64, String> {
    let missing = ["", "-", "nan", "null", "none", "na", "n/a", "nil"].iter().any(|word| cell.eq_ignore_ascii_case(word));
    if missing {
        return Ok(f64::NAN);
    }
    let value: f64 = cell.parse().map_err(|_| format!("`{}` is no number", brief(cell)))?;
    Ok(if value.is_finite() { value } else { f64::NAN })
}

fn brief(text: &str) -> String {
    super::out::plain(&text.chars().take(60).collect::<String>())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_file_is_the_same_series() {
        let table = points("\u{feff}timestamp,value\r\n2026-11-22 13:05:00,1.5\r\n2026-11-22 13:10:00,\r\n\r\n").unwrap();
        assert_eq!((table.clock, table.points[0]), (Clock::Plain, (1_795_352_700_000, 1.5)));
        assert!(table.points.len() == 2 && table.points[1].1.is_nan());
        let numbers = points("value,unit,at\n1.5,ms,1795352700000\n\"NaN\",ms,1795353000000\n").unwrap();
        assert_eq!((numbers.clock, numbers.points[0]), (Clock::Number, table.points[0]));
        let rows = points("1\n\n-2e3\nnull\n\n").unwrap();
        assert_eq!(rows.clock, Clock::Row);
        assert_eq!(format!("{:?}", rows.points), "[(0, 1.0), (1, NaN), (2, -2000.0), (3, NaN)]");
        assert_eq!(points("").unwrap().points, []);
        assert_eq!(points("value\n3\n").unwrap().points, [(0, 3.0)]);
    }

    #[test]
    fn what_is_no_series_is_told_with_its_line() {
        assert_eq!(points("at,value\n0,1\n1,soon\n").unwrap_err(), "line 3: `soon` is no number");
        assert_eq!(points("hello\n1\n").unwrap_err(), "the first line, `hello`, is neither a header with `value` nor a number");
        assert_eq!(points("a,b\n1,2\n").unwrap_err(), "the header `a,b` has no column `value`");
        assert!(points("at,value\nyesterday,2\n").unwrap_err().starts_with("line 2: `yesterday` is no time"));
    }

    #[test]
    fn times_are_shown_as_they_were_written() {
        assert_eq!(Clock::of("2026-11-22T13:05:00Z").show(1_795_352_700_000), "2026-11-22T13:05:00Z");
        assert_eq!(Clock::of("2026-11-22 13:05:00").show(1_795_352_700_000), "2026-11-22 13:05:00");
        assert_eq!(Clock::of("1795352700000").show(1_795_352_700_000), 1_795_352_700_000_u64);
    }
}
