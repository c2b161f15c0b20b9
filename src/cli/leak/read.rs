//! Memory series from a file: CSV with a header, or `resource` events, one a line.

use super::super::CliError;
use super::super::query::open;
use super::{File, unreadable};
use homeostat_actors::leak::Sample;
use homeostat_schemas::time::parse;
use homeostat_schemas::{Event, UnixMs};
use std::collections::BTreeMap;
use std::io::{BufRead, Read as _};
use std::path::Path;

/// A file is at most this large.
const BYTES_MAX: u64 = 512 * 1024 * 1024;
/// And holds at most so many samples.
const SAMPLES_MAX: usize = 5_000_000;
const ADVICE: &str =
    "write CSV with the columns at_ms,memory_bytes[,memory_limit_bytes,load_rps,started_ms], or resource events, one a line";

/// Reads a file; rows that cannot be read are counted and said.
pub(super) fn read(path: &Path) -> Result<File, CliError> {
    let shown = path.display().to_string();
    let mut input = open(path)?.take(BYTES_MAX);
    let mut text = String::new();
    loop {
        text.clear();
        let read = input.read_line(&mut text).map_err(|why| CliError::new(format!("{shown} cannot be read")).because(why))?;
        if read == 0 || !text.trim_matches(['\u{feff}', ' ', '\t', '\r', '\n']).is_empty() {
            break;
        }
    }
    let first = text.trim_start_matches('\u{feff}').trim().to_owned();
    let mut rows = Rows { file: File { series: BTreeMap::new(), unreadable: 0 }, samples: 0, first: None };
    if first.starts_with('{') {
        events(&first, input, &mut rows)?;
    } else {
        csv(&first, input, &mut rows)?;
    }
    unreadable(&shown, rows.file.unreadable, rows.first);
    if rows.samples == 0 {
        return Err(CliError::new(format!("{shown} holds no memory series")).advise(ADVICE));
    }
    Ok(rows.file)
}

struct Rows {
    file: File,
    samples: usize,
    first: Option<(u64, String)>,
}

impl Rows {
    fn add(&mut self, name: (&str, &str), sample: Sample) -> Result<(), CliError> {
        self.samples += 1;
        if self.samples > SAMPLES_MAX {
            return Err(CliError::new(format!("more than {SAMPLES_MAX} samples")).advise("cut the file into parts"));
        }
        self.file.series.entry((name.0.to_owned(), name.1.to_owned())).or_default().push(sample);
        Ok(())
    }

    fn refuse(&mut self, line: u64, why: impl ToString) {
        self.file.unreadable += 1;
        if self.first.is_none() {
            self.first = Some((line, why.to_string()));
        }
    }
}

fn events(first: &str, input: impl BufRead, rows: &mut Rows) -> Result<(), CliError> {
    for (line, text) in (1..).zip(std::iter::once(Ok(first.to_owned())).chain(input.lines())) {
        let text = text?;
        if text.trim().is_empty() {
            continue;
        }
        match Event::from_json(text.trim().as_bytes()) {
            Ok(Event::Resource(event)) => {
                rows.add((&event.service, event.instance.as_deref().unwrap_or_default()), Sample::from(&event))?;
            }
            // Other kinds say nothing of memory.
            Ok(_) => {}
            Err(why) => rows.refuse(line, why),
        }
    }
    Ok(())
}

/// The places of the columns.
#[derive(Default)]
struct Columns {
    at: Option<usize>,
    memory: Option<usize>,
    limit: Option<usize>,
    heap: Option<usize>,
    load: Option<usize>,
    started: Option<usize>,
    service: Option<usize>,
    instance: Option<usize>,
}

fn csv(header: &str, input: impl BufRead, rows: &mut Rows) -> Result<(), CliError> {
    let delimiter = [b',', b';', b'\t'].into_iter().find(|delimiter| header.bytes().any(|byte| byte == *delimiter)).unwrap_or(b',');
    let mut builder = csv::ReaderBuilder::new();
    builder.has_headers(false).flexible(true).delimiter(delimiter).trim(csv::Trim::All);
    let mut columns = Columns::default();
    if let Some(record) = builder.from_reader(header.as_bytes()).records().next() {
        for (place, name) in record?.iter().enumerate() {
            let column = match name.to_ascii_lowercase().as_str() {
                "at_ms" | "at" | "timestamp" | "time" => &mut columns.at,
                "memory_bytes" | "memory" | "value" => &mut columns.memory,
                "memory_limit_bytes" | "limit_bytes" | "limit" => &mut columns.limit,
                "heap_bytes" => &mut columns.heap,
                "load_rps" | "load" => &mut columns.load,
                "started_ms" | "started" => &mut columns.started,
                "service" => &mut columns.service,
                "instance" => &mut columns.instance,
                // A column nobody knows may stand there all the same.
                _ => continue,
            };
            *column = Some(place);
        }
    }
    let (Some(at), Some(memory)) = (columns.at, columns.memory) else {
        return Err(CliError::new("the first line names no time and memory").advise(ADVICE));
    };
    for (line, record) in (2..).zip(builder.from_reader(input).records()) {
        let record = match record {
            Ok(record) => record,
            Err(why) if why.is_io_error() => return Err(why.into()),
            Err(why) => {
                rows.refuse(line, why);
                continue;
            }
        };
        let cell = |place: Option<usize>| place.and_then(|place| record.get(place)).unwrap_or_default();
        let sample = || -> Result<Sample, String> {
            Ok(Sample {
                at_ms: time(cell(Some(at)))?.ok_or("no time")?,
                // What was not measured is missing and no error.
                memory: number(cell(Some(memory)))?.unwrap_or(f64::NAN),
                limit: number(cell(columns.limit))?,
                heap: number(cell(columns.heap))?,
                load: number(cell(columns.load))?,
                started_ms: time(cell(columns.started))?,
            })
        };
        match sample() {
            Ok(sample) => rows.add((cell(columns.service), cell(columns.instance)), sample)?,
            Err(why) => rows.refuse(line, why),
        }
    }
    Ok(())
}

fn missing(text: &str) -> bool {
    text.is_empty() || ["nan", "null", "none", "na", "n/a", "-"].contains(&text.to_ascii_lowercase().as_str())
}

fn number(text: &str) -> Result<Option<f64>, String> {
    if missing(text) {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| format!("`{}` is no number", super::plain(text)))
}

/// A time as everywhere, or milliseconds with a fraction.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn time(text: &str) -> Result<Option<UnixMs>, String> {
    if missing(text) {
        return Ok(None);
    }
    match text.parse::<f64>() {
        Ok(ms) if ms.is_finite() && ms >= 0.0 && text.contains(['.', 'e', 'E']) => Ok(Some(ms.round() as UnixMs)),
        _ => parse(text).map(Some).map_err(|why| why.to_string()),
    }
}
