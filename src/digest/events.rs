//! Events through the query mind: a plain file of events, one a line, or a recording of `homeostat record`.

use super::DigestError;
use crate::replay::recording::{Head, Line};
use homeostat_actors::core::{Effect, Modes, Settings};
use homeostat_actors::driver::Driver;
use homeostat_actors::query::digest::report::DigestRow;
use homeostat_actors::query::digest::{DigestReport, Totals};
use homeostat_actors::query::{QueryConfig, QueryCore};
use homeostat_reflexes::sql::{self, Dialect};
use homeostat_schemas::batch::Rejected;
use homeostat_schemas::{Alert, Content, Delivery, Event, Ms, Root, State, TraceContext, UnixMs};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, Read as _};

/// Findings that are told.
pub const FINDINGS_MAX: usize = 1_000;
/// A longer line is no event, bytes.
const LINE_MAX: u64 = 8 * 1024 * 1024;
/// Ticks stand so far apart, as on the bus…
const TICK: Ms = 250;
/// …and after a gap of this length one is enough: every deadline within a trace has passed.
const GAP: Ms = 60_000;

/// The one format of events in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ndjson {
    /// One JSON object a line.
    Ndjson,
}

/// Does a file that begins so hold events?
#[must_use]
pub fn is_ndjson(head: &[u8]) -> bool {
    let first = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    first.starts_with(b"{")
}

struct Reading {
    driver: Driver<QueryCore>,
    position: u64,
    ticked: UnixMs,
    from_ms: UnixMs,
    until_ms: UnixMs,
    events: u64,
    broken: u64,
    findings: Vec<Alert>,
    rules: BTreeMap<(String, String), BTreeSet<String>>,
}

impl Reading {
    fn deliver(&mut self, at: UnixMs, content: Content) {
        self.position += 1;
        let delivery = Delivery { position: self.position, at, subject: String::new(), content, context: TraceContext::default() };
        let outputs = self.driver.step(&delivery);
        self.take(outputs);
    }

    fn take(&mut self, outputs: Vec<homeostat_actors::core::Output>) {
        for output in outputs {
            let Effect::Alert(alert) = output.effect else { continue };
            if alert.state != State::Firing {
                continue;
            }
            if let Some(fingerprint) = alert.labels.get("fingerprint") {
                self.rules.entry((alert.service.clone(), fingerprint.clone())).or_default().insert(alert.rule.clone());
            }
            if self.findings.len() < FINDINGS_MAX {
                self.findings.push(*alert);
            }
        }
    }

    fn events(&mut self, at: UnixMs, events: Vec<Result<Event, Rejected>>) {
        if self.position > 0 {
            let gap = at.saturating_sub(self.ticked);
            if gap >= GAP {
                self.ticked = at - at % TICK;
                self.deliver(self.ticked, Content::Tick);
            }
            while at.saturating_sub(self.ticked) >= TICK {
                self.ticked += TICK;
                self.deliver(self.ticked, Content::Tick);
            }
        } else {
            self.ticked = at - at % TICK;
        }
        self.events += events.iter().flatten().count() as u64;
        self.broken += events.iter().filter(|event| event.is_err()).count() as u64;
        if self.from_ms == 0 {
            self.from_ms = at;
        }
        self.until_ms = self.until_ms.max(at);
        self.deliver(at.max(self.ticked), Content::Events(events));
    }

    fn line(&mut self, line: &[u8], root: Option<&Root>) {
        let Some(root) = root else {
            match Event::from_json(line) {
                Ok(event) => self.events(event.at_ms(), vec![Ok(event)]),
                Err(_) => self.broken += 1,
            }
            return;
        };
        match serde_json::from_slice::<Line>(line).ok().and_then(|line| line.decode(root).ok()) {
            Some(Delivery { at, content: Content::Events(events), .. }) => self.events(at, events),
            Some(_) => {}
            None => self.broken += 1,
        }
    }
}

/// Reads all events.
///
/// # Errors
/// Reading failed. What is no event is counted.
pub fn read(input: &mut dyn BufRead, config: &QueryConfig) -> Result<(DigestReport, Vec<Alert>), DigestError> {
    let mut config = config.clone();
    // No planner is asked by a digest.
    config.advice.verify_indexes = false;
    let settings = Settings { modes: Modes::default(), config };
    let mut reading = Reading {
        driver: Driver::new("digest", settings),
        position: 0,
        ticked: 0,
        from_ms: 0,
        until_ms: 0,
        events: 0,
        broken: 0,
        findings: Vec::new(),
        rules: BTreeMap::new(),
    };
    let mut root = None;
    let mut line = Vec::new();
    let mut first = true;
    loop {
        line.clear();
        let read = (&mut *input).take(LINE_MAX).read_until(b'\n', &mut line)?;
        if read == 0 {
            break;
        }
        let text = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line).trim_ascii();
        if text.is_empty() {
            continue;
        }
        if std::mem::take(&mut first)
            && let Ok(head) = serde_json::from_slice::<Head>(text)
        {
            root = Some(head.root);
            continue;
        }
        reading.line(text, root.as_ref());
    }
    let outputs = reading.driver.end();
    reading.take(outputs);
    Ok(report(reading))
}

fn report(mut reading: Reading) -> (DigestReport, Vec<Alert>) {
    let view = reading.driver.view();
    let queries: Vec<DigestRow> = view
        .queries
        .into_iter()
        .map(|mut row| {
            let dialect = row.system.as_deref().map_or(Dialect::Generic, Dialect::from_system);
            if let Some(rules) = reading.rules.remove(&(row.service.clone(), row.fingerprint.clone())) {
                row.findings = rules.into_iter().collect();
            }
            DigestRow {
                summary: sql::summary(&row.statement, dialect),
                tables: sql::tables(&row.statement, dialect),
                row,
                ..DigestRow::default()
            }
        })
        .collect();
    let totals = Totals {
        entries: reading.events,
        calls: view.totals.calls,
        errors: queries.iter().map(|query| query.row.errors).sum(),
        shapes: view.totals.shapes,
        other_calls: view.totals.other_calls,
        total_ms: (queries.iter().fold(0.0, |sum, query| sum + query.row.total_ms) * 1_000.0).round() / 1_000.0,
        from_ms: reading.from_ms,
        until_ms: reading.until_ms,
        broken: reading.broken,
        ..Totals::default()
    };
    (DigestReport { queries, totals }, reading.findings)
}
