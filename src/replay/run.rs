//! Replays from start to end: where the messages come from, which engine takes them, what is printed.

use super::compare::difference;
use super::recording::{FORMAT, Head, Line};
use super::verify::{Verdict, Verifier};
use super::{Engine, line};
use crate::feed::decode;
use crate::roster::{ActorSettings, SettingsError};
use homeostat_actors::core::Output;
use homeostat_nats::{BusError, Log, Reader, ReaderError, ReaderOptions};
use homeostat_schemas::{Delivery, Event, Position, Root, UnixMs};
use serde::Serialize;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, BufWriter, Seek as _, Write};

/// The longest line of a file, in bytes. A message is a megabyte at most; its recording may be twice that.
const LINE_MAX: u64 = 8 * 1024 * 1024;

/// When nothing that matches a filter has come for so long, nothing more is there: what is stored comes at once.
pub(super) const QUIET: std::time::Duration = std::time::Duration::from_secs(5);

/// Why a replay ended early.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Reading or printing failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The settings cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The bus failed.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReaderError),
    /// A recording of another version.
    #[error("the recording has format {0}, this program reads {FORMAT}: record again, or use the program that wrote it")]
    Format(u32),
    /// A recording that is none.
    #[error("line {0}: {1}")]
    Broken(u64, String),
    /// What the minds knew before is not there.
    #[error(
        "nothing can be verified: the log begins at {0} here, and what the minds knew before is not in it; record from the beginning, before retention removes it"
    )]
    Begins(Position),
    /// Only a recording has something to verify against.
    #[error("a plain file of events holds nothing to verify against: make a recording with `homeostat record`, or use --stream")]
    Plain,
}

/// What is asked of a replay.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The settings; for a verification those in force before the log says which.
    pub settings: ActorSettings,
    /// Other settings to compare with.
    pub against: Option<ActorSettings>,
    /// Take these settings instead of the recorded ones.
    pub what_if: bool,
    /// Print only what was decided from here on.
    pub since: Option<UnixMs>,
    /// Print only what was decided until here.
    pub until: Option<UnixMs>,
    /// Print nothing but the verdict.
    pub verify: bool,
}

/// How a replay went.
#[derive(Debug, Default, Serialize)]
pub struct Summary {
    /// Messages or events taken.
    pub messages: u64,
    /// Alerts and commands said.
    pub said: u64,
    /// Lines that could not be read, with the first reasons.
    pub bad: u64,
    /// The first reasons.
    pub reasons: Vec<String>,
    /// Actors that panicked.
    pub fallen: Vec<String>,
    /// The log or the recording begins here, not at its beginning: nothing could be verified.
    pub begins_at: Option<Position>,
    /// A promise that did not hold: whose, which.
    pub broken_promise: Option<String>,
    /// What a verification found.
    pub verdict: Option<Verdict>,
}

/// How many bad lines are told.
const REASONS_MAX: usize = 5;

/// Where the outputs go: printed at once, or kept for a comparison.
struct Sink<'a> {
    request: &'a Request,
    out: &'a mut dyn Write,
    kept: Option<Vec<Output>>,
    said: u64,
}

impl Sink<'_> {
    fn take(&mut self, outputs: Vec<Output>) -> std::io::Result<()> {
        for output in outputs {
            let Some(text) = line(&output) else { continue };
            let at = match &output.effect {
                homeostat_actors::core::Effect::Alert(alert) => alert.at_ms,
                homeostat_actors::core::Effect::Command(command) => command.issued_ms,
                _ => 0,
            };
            if self.request.since.is_some_and(|since| at < since) || self.request.until.is_some_and(|until| at > until) {
                continue;
            }
            self.said += 1;
            match &mut self.kept {
                Some(kept) => kept.push(output),
                None if self.request.verify => {}
                None => writeln!(self.out, "{text}")?,
            }
        }
        Ok(())
    }
}

/// Everything that takes messages in a replay.
enum Machine {
    Verify(Box<Verifier>),
    WhatIf(Box<Engine>),
}

/// One or two runs at once over the same messages.
struct Replay<'a> {
    machine: Machine,
    other: Option<(Box<Engine>, Vec<Output>)>,
    sink: Sink<'a>,
    summary: Summary,
}

impl<'a> Replay<'a> {
    fn new(
        request: &'a Request,
        out: &'a mut dyn Write,
        incarnation: Option<&str>,
        poison: BTreeSet<(String, Position)>,
    ) -> Result<Self, ReplayError> {
        let hands = incarnation.is_some();
        let exact = !request.what_if && request.against.is_none();
        let machine = match incarnation {
            Some(incarnation) if exact => Machine::Verify(Box::new(Verifier::new(incarnation, &request.settings, poison.clone())?)),
            _ if request.verify => return Err(ReplayError::Plain),
            _ => Machine::WhatIf(Box::new(Engine::new(&request.settings, hands)?.passing_over(poison.clone()))),
        };
        let other = match &request.against {
            Some(settings) => Some((Box::new(Engine::new(settings, hands)?.passing_over(poison)), Vec::new())),
            None => None,
        };
        let kept = other.is_some().then(Vec::new);
        Ok(Replay { machine, other, sink: Sink { request, out, kept, said: 0 }, summary: Summary::default() })
    }

    fn event(&mut self, event: Event) -> std::io::Result<()> {
        self.summary.messages += 1;
        if let Some((engine, said)) = &mut self.other {
            said.extend(engine.event(event.clone()));
        }
        match &mut self.machine {
            Machine::WhatIf(engine) => self.sink.take(engine.event(event)),
            Machine::Verify(_) => Ok(()),
        }
    }

    fn message(&mut self, delivery: Delivery, payload: &[u8]) -> std::io::Result<()> {
        self.summary.messages += 1;
        if let Some((engine, said)) = &mut self.other {
            said.extend(engine.recorded(delivery.clone()));
        }
        match &mut self.machine {
            Machine::Verify(verifier) => self.sink.take(verifier.take(&delivery, payload)),
            Machine::WhatIf(engine) => self.sink.take(engine.recorded(delivery)),
        }
    }

    /// Takes note of where the messages begin.
    fn begins(&mut self, first: Position) -> Result<(), ReplayError> {
        if first <= 1 {
            return Ok(());
        }
        self.summary.begins_at = Some(first);
        if self.sink.request.verify { Err(ReplayError::Begins(first)) } else { Ok(()) }
    }

    fn bad(&mut self, number: u64, why: &str) {
        self.summary.bad += 1;
        if self.summary.reasons.len() < REASONS_MAX {
            self.summary.reasons.push(format!("line {number}: {why}"));
        }
    }

    /// `at_end` closes what is open: a file has no more to come, a log has.
    fn finish(mut self, at_end: bool) -> Result<Summary, ReplayError> {
        match self.machine {
            Machine::WhatIf(mut engine) => {
                if at_end {
                    self.sink.take(engine.end())?;
                    if let Some((other, said)) = &mut self.other {
                        said.extend(other.end());
                    }
                }
                self.summary.fallen = engine
                    .fallen()
                    .iter()
                    .map(|(actor, (position, why))| format!("{actor} panicked at {position} ({why}) and took no part after it"))
                    .collect();
                self.summary.broken_promise =
                    engine.broken_promise().map(|(position, actor, promise)| format!("{promise} of {actor} at {position}"));
            }
            Machine::Verify(verifier) if self.summary.begins_at.is_none() => self.summary.verdict = Some(verifier.finish()),
            Machine::Verify(_) => {}
        }
        if let (Some((_, old)), Some(new)) = (&self.other, &self.sink.kept) {
            for line in difference(old, new) {
                writeln!(self.sink.out, "{line}")?;
            }
        }
        self.sink.out.flush()?;
        self.summary.said = self.sink.said;
        Ok(self.summary)
    }
}

/// A line without its end; `None` at the end of the file.
fn read_line(input: &mut dyn BufRead, buffer: &mut Vec<u8>) -> std::io::Result<Option<()>> {
    use std::io::Read as _;
    buffer.clear();
    let read = (&mut *input).take(LINE_MAX).read_until(b'\n', buffer)?;
    if read == 0 {
        return Ok(None);
    }
    if read as u64 == LINE_MAX && buffer.last() != Some(&b'\n') {
        // The rest of a line that is too long belongs to it.
        let mut rest = Vec::new();
        while (&mut *input).take(LINE_MAX).read_until(b'\n', &mut rest)? > 0 && rest.last() != Some(&b'\n') {
            rest.clear();
        }
    }
    while buffer.last().is_some_and(u8::is_ascii_whitespace) {
        buffer.pop();
    }
    Ok(Some(()))
}

/// Replays a file: a recording, or plain events one a line. `progress` hears of every message.
///
/// Nothing of it is held in memory. A recording is read twice; `again` opens it once more at its beginning, or gives nothing when
/// that cannot be done (a pipe): then what comes is kept in a temporary file meanwhile.
///
/// # Errors
/// See [`ReplayError`]. Bad lines of a plain file are counted, not errors.
pub fn file(
    request: &Request,
    input: &mut dyn BufRead,
    again: &dyn Fn() -> std::io::Result<Option<Box<dyn BufRead>>>,
    out: &mut dyn Write,
    progress: &dyn Fn(u64),
) -> Result<Summary, ReplayError> {
    let mut buffer = Vec::new();
    let mut number = 0;
    // The first line says what kind of file it is.
    while read_line(input, &mut buffer)?.is_some() {
        number += 1;
        if !buffer.is_empty() {
            break;
        }
    }
    if let Ok(head) = serde_json::from_slice::<Head>(&buffer) {
        return match again()? {
            Some(mut again) => {
                let poison = poisons(input, &mut std::io::sink())?;
                // Its head comes once more.
                while read_line(&mut again, &mut buffer)?.is_some() && buffer.is_empty() {}
                recording(request, &head, poison, &mut again, number, out, progress)
            }
            None => {
                let mut kept = BufWriter::new(tempfile::tempfile()?);
                let poison = poisons(input, &mut kept)?;
                let mut kept = kept.into_inner().map_err(std::io::IntoInnerError::into_error)?;
                kept.rewind()?;
                recording(request, &head, poison, &mut BufReader::new(kept), number, out, progress)
            }
        };
    }
    let mut replay = Replay::new(request, out, None, BTreeSet::new())?;
    loop {
        if !buffer.is_empty() {
            match Event::from_json(&buffer) {
                Ok(event) => replay.event(event)?,
                Err(error) => replay.bad(number, &error.to_string()),
            }
            progress(number);
        }
        if read_line(input, &mut buffer)?.is_none() {
            return replay.finish(true);
        }
        number += 1;
    }
}

/// What actors passed over, by the dead messages of a recording, which come after what they are about. Everything read is written
/// on.
fn poisons(input: &mut dyn BufRead, on: &mut dyn Write) -> std::io::Result<BTreeSet<(String, Position)>> {
    let mut poison = BTreeSet::new();
    let mut buffer = Vec::new();
    while read_line(input, &mut buffer)?.is_some() {
        on.write_all(&buffer)?;
        on.write_all(b"\n")?;
        // Few lines are dead messages; those that cannot be read are told of when they are replayed.
        if !buffer.windows(DEAD.len()).any(|part| part == DEAD) {
            continue;
        }
        let Ok(line) = serde_json::from_slice::<Line>(&buffer) else { continue };
        let said = line.headers.get("homeostat-by").zip(line.headers.get("homeostat-position"));
        poison.extend(said.and_then(|(by, position)| poisoned(by, position)));
    }
    on.flush()?;
    Ok(poison)
}

/// What stands in the line of every dead message: the name of its header.
const DEAD: &[u8] = b"homeostat-by";

/// Replays what follows the head of a recording, which was line `number`.
fn recording(
    request: &Request,
    head: &Head,
    poison: BTreeSet<(String, Position)>,
    input: &mut dyn BufRead,
    mut number: u64,
    out: &mut dyn Write,
    progress: &dyn Fn(u64),
) -> Result<Summary, ReplayError> {
    if head.homeostat_recording != FORMAT {
        return Err(ReplayError::Format(head.homeostat_recording));
    }
    let mut replay = Replay::new(request, out, Some(&head.incarnation), poison)?;
    let mut buffer = Vec::new();
    let mut first = true;
    while read_line(input, &mut buffer)?.is_some() {
        number += 1;
        if buffer.is_empty() {
            continue;
        }
        let broken = |why: String| ReplayError::Broken(number, why);
        let line: Line = serde_json::from_slice(&buffer).map_err(|error| broken(error.to_string()))?;
        if std::mem::take(&mut first) {
            replay.begins(line.seq)?;
        }
        let payload = line.payload().map_err(|error| broken(error.to_string()))?;
        replay.message(line.decode(&head.root).map_err(|error| broken(error.to_string()))?, &payload)?;
        progress(number);
    }
    replay.finish(false)
}

/// The message that an actor passed over because it failed on it.
fn poisoned(by: &str, position: &str) -> Option<(String, Position)> {
    crate::roster::NAMES.contains(&by).then(|| Some((by.to_owned(), position.parse().ok()?))).flatten()
}

/// Replays the log itself.
///
/// # Errors
/// See [`ReplayError`].
pub async fn stream(
    request: &Request,
    log: &Log,
    root: &Root,
    out: &mut (dyn Write + Send),
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Summary, ReplayError> {
    let bounds = log.bounds().await?;
    let dead = read_all(log, log.subject("dead.>")).await?;
    let poison = dead.iter().filter_map(|entry| poisoned(entry.header("homeostat-by")?, entry.header("homeostat-position")?)).collect();
    let mut replay = Replay::new(request, out, Some(log.incarnation()), poison)?;
    replay.begins(bounds.first)?;
    if bounds.last < bounds.first {
        return replay.finish(false);
    }
    let mut reader = Reader::open(log, 1, ReaderOptions::default()).await?;
    loop {
        for entry in reader.next().await? {
            replay.message(decode(root, &entry), &entry.payload)?;
            progress(entry.seq);
            if entry.seq >= bounds.last {
                return replay.finish(false);
            }
        }
    }
}

/// Every message that matches a filter. Meant for rare ones.
async fn read_all(log: &Log, filter: String) -> Result<Vec<homeostat_nats::Entry>, ReplayError> {
    let mut entries = Vec::new();
    let Some(last) = log.last_on(&filter).await? else { return Ok(entries) };
    let mut reader = Reader::open(log, 1, ReaderOptions { filters: vec![filter], ..ReaderOptions::default() }).await?;
    while entries.last().is_none_or(|entry: &homeostat_nats::Entry| entry.seq < last.seq) {
        // What is there comes at once; what expired meanwhile never comes.
        let Ok(batch) = tokio::time::timeout(QUIET, reader.next()).await else { break };
        entries.extend(batch?);
    }
    Ok(entries)
}
