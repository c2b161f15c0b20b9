//! `homeostat publish FILE`: events from a file onto the bus.
//!
//! A reading thread parses lines and hands over pieces; [`packer`] makes messages of them; here they are stored and counted.
//! Statements are normalised before anything leaves, as every publisher does it. A bad line is told and passed over.

pub mod packer;

use super::args::PublishArgs;
use super::out::{complain, count, plain};
use super::{CliError, Context, Finish, bus};
use crate::clock::now_ms;
use crate::gateway::events::unplaced;
use crate::otlp::Mapper;
use homeostat_nats::{AppendAllError, BusError, Log, Message};
use homeostat_schemas::{Event, TraceContext};
use indicatif::{ProgressBar, ProgressStyle};
use packer::Packer;
use serde_json::json;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// A longer line is no event.
const LINE_MAX: usize = 1024 * 1024;
/// Events a piece, from the reading thread to the publishing task.
const PIECE: usize = 512;
/// Messages stored at once.
const MESSAGES: usize = 64;
/// Bad lines that are told one by one.
const TOLD_MAX: usize = 100;
/// An event further ahead than a day is set aside by whoever reads it.
const AHEAD_MAX_MS: u64 = 24 * 60 * 60 * 1_000;
/// How often a message that was not acknowledged is sent again; its id keeps it from being stored twice.
const TRIES: u32 = 6;

/// What was read in one go.
#[derive(Default)]
struct Piece {
    /// Each with the number of its line.
    events: Vec<(u64, Event)>,
    bad: Vec<(u64, String)>,
    bytes: u64,
    /// May what comes next be long in coming? Then nothing is held back for it.
    pause: bool,
}

#[derive(Default)]
struct Counts {
    published: u64,
    messages: u64,
    bad: u64,
    told: Vec<(u64, String)>,
    /// Events that readers on the bus will pass over, because their time is too far ahead.
    ahead: u64,
}

impl Counts {
    fn complain(&mut self, bar: &ProgressBar, line: u64, why: String) {
        self.bad += 1;
        if self.told.len() < TOLD_MAX {
            bar.suspend(|| complain(&format!("line {line}: {why}")));
            self.told.push((line, why));
        }
    }
}

/// Runs the command.
///
/// # Errors
/// The file cannot be read, or the bus stays away.
pub async fn run(context: &mut Context, args: &PublishArgs) -> Result<Finish, CliError> {
    let trace = match &args.traceparent {
        None => TraceContext::default(),
        Some(text) => match TraceContext::new(Some(text), None) {
            TraceContext { traceparent: None, .. } => {
                return Err(CliError::new(format!("`{text}` is no traceparent")).advise("write 00-<32 hex>-<16 hex>-<2 hex>"));
            }
            trace => trace,
        },
    };
    let (input, size) = open(&args.file)?;
    let log = bus::log_within(context, Duration::from_secs(args.wait.unwrap_or(0))).await?;
    let mut packer = Packer::new(bus::root(context.config())?, trace);
    let piece = args.rate.map_or(PIECE, |rate| usize::try_from(rate / 10).unwrap_or(PIECE).clamp(1, PIECE));
    let (sender, mut pieces) = mpsc::channel(8);
    let reader = std::thread::Builder::new().name("read events".to_owned()).spawn(move || read(input, piece, &sender))?;

    let bar = progress(size);
    let mapper = Mapper::default();
    let mut counts = Counts::default();
    let started = Instant::now();
    while let Some(mut piece) = pieces.recv().await {
        bar.inc(piece.bytes);
        for (line, why) in piece.bad.drain(..) {
            counts.complain(&bar, line, why);
        }
        mapper.redact(piece.events.iter_mut().map(|(_, event)| event));
        let horizon = now_ms().saturating_add(AHEAD_MAX_MS);
        for (line, event) in piece.events {
            if !packer.push(&event)? {
                counts.complain(
                    &bar,
                    line,
                    format!("the event is larger than {} KiB, more than a message can carry", packer::EVENT_MAX / 1024),
                );
            } else if event.at_ms() > horizon {
                counts.ahead += 1;
            }
        }
        if piece.pause && pieces.is_empty() {
            packer.close()?;
        }
        if packer.ready() >= MESSAGES || (piece.pause && pieces.is_empty()) {
            store(&log, packer.take(), &mut counts).await?;
        }
        bar.set_message(format!("{} events", counts.published));
        if let Some(rate) = args.rate {
            let due = Duration::from_secs_f64(packer.taken() as f64 / rate as f64);
            tokio::time::sleep_until(started + due).await;
        }
    }
    packer.close()?;
    store(&log, packer.take(), &mut counts).await?;
    bar.finish_and_clear();
    let read = reader.join().map_err(|_| CliError::new("reading the events failed"))?;
    // The last messages are on their way until the connection says that they are gone.
    log.bus().close().await?;
    report(context, &counts)?;
    read.map_err(|why| CliError::new(format!("{} cannot be read", args.file.display())).because(why))?;
    Ok(if counts.bad == 0 { Finish::Fine } else { Finish::Failed })
}

fn report(context: &mut Context, counts: &Counts) -> Result<(), CliError> {
    let Counts { published, messages, bad, told, ahead } = counts;
    if *ahead > 0 {
        let which = if *ahead == 1 { "1 event is".to_owned() } else { format!("{ahead} events are") };
        complain(&format!("{which} more than a day ahead of this machine's clock; what reads the log will set such events aside"));
    }
    if context.json {
        let lines = told.iter().map(|(line, why)| json!({ "line": line, "reason": why })).collect::<Vec<_>>();
        return context.out.json(&json!({ "published": published, "messages": messages, "bad": bad, "bad_lines": lines, "ahead": ahead }));
    }
    let more = if *bad > told.len() as u64 { format!(", {} of them told above", told.len()) } else { String::new() };
    let bad = if *bad == 0 { String::new() } else { format!("; {}{more}", count(*bad, "bad line")) };
    context.out.line(format!("published {} in {}{bad}", count(*published, "event"), count(*messages, "message")))
}

type Input = Box<dyn BufRead + Send>;

/// The lines, and how many bytes there are, if anyone knows.
fn open(path: &Path) -> Result<(Input, Option<u64>), CliError> {
    if path == Path::new("-") {
        return Ok((Box::new(BufReader::new(std::io::stdin())), None));
    }
    let failed = |why: std::io::Error| CliError::new(format!("{} cannot be read", path.display())).because(why);
    let file = File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    if about.is_dir() {
        return Err(CliError::new(format!("{} is a directory", path.display())).advise("name a file with one JSON event a line"));
    }
    Ok((Box::new(BufReader::with_capacity(256 * 1024, file)), about.is_file().then_some(about.len())))
}

fn progress(size: Option<u64>) -> ProgressBar {
    // Drawn on standard error, and only when that is a terminal.
    let (bar, template) = match size {
        Some(size) => (ProgressBar::new(size), "{bar:30} {percent}% {msg} {eta} left"),
        None => (ProgressBar::new_spinner(), "{spinner} {msg} {elapsed}"),
    };
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn read(mut input: Input, size: usize, pieces: &mpsc::Sender<Piece>) -> std::io::Result<()> {
    let mut line = Vec::new();
    let mut number = 0;
    let mut piece = Piece::default();
    loop {
        let read = read_line(&mut *input, &mut line)?;
        if read.bytes > 0 {
            number += 1;
            piece.bytes += read.bytes;
            let text = line.trim_ascii();
            if read.too_long {
                piece.bad.push((number, format!("longer than {LINE_MAX} bytes")));
            } else if !text.is_empty() {
                match Event::from_json(text) {
                    Ok(event) => piece.events.push((number, event)),
                    Err(why) => piece.bad.push((number, plain(&unplaced(&why.to_string())))),
                }
            }
        }
        let end = read.bytes == 0;
        // An empty buffer means that the next line may be long in coming.
        piece.pause = end || !read.more;
        if (piece.pause || piece.events.len() + piece.bad.len() >= size) && pieces.blocking_send(std::mem::take(&mut piece)).is_err() {
            return Ok(());
        }
        if end {
            return Ok(());
        }
    }
}

struct Line {
    bytes: u64,
    too_long: bool,
    more: bool,
}

/// Reads a line without its end, keeping at most [`LINE_MAX`] bytes of it.
fn read_line(input: &mut dyn BufRead, line: &mut Vec<u8>) -> std::io::Result<Line> {
    line.clear();
    let mut bytes = 0;
    let mut too_long = false;
    loop {
        let available = match input.fill_buf() {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            available => available?,
        };
        let end = available.iter().position(|byte| *byte == b'\n');
        let part = available.get(..end.unwrap_or(available.len())).unwrap_or_default();
        let room = LINE_MAX.saturating_sub(line.len());
        too_long |= part.len() > room;
        line.extend_from_slice(part.get(..part.len().min(room)).unwrap_or_default());
        let used = end.map_or(available.len(), |end| end + 1);
        let more = used < available.len();
        input.consume(used);
        bytes += used as u64;
        if end.is_some() || used == 0 {
            return Ok(Line { bytes, too_long, more });
        }
    }
}

/// Stores messages in order; what was not acknowledged is sent again for a while.
async fn store(log: &Log, batch: Vec<(Message, u64)>, counts: &mut Counts) -> Result<(), CliError> {
    let events: u64 = batch.iter().map(|(_, events)| events).sum();
    let total = batch.len() as u64;
    let mut messages: Vec<Message> = batch.into_iter().map(|(message, _)| message).collect();
    let mut pause = Duration::from_millis(100);
    for tried in 1.. {
        if messages.is_empty() {
            break;
        }
        let Err(AppendAllError { failed, .. }) = log.append_all(messages.clone()).await else { break };
        let Some((_, error)) = failed.first() else { break };
        if let BusError::TooLarge { .. } = error {
            return Err(CliError::new(format!("stopped after {}", count(counts.published, "event")))
                .because(error.clone())
                .advise("trying again would not help: raise max_payload of the server and `nats.stream.max_message_bytes` to 1 MiB"));
        }
        if tried == TRIES {
            let stored = counts.published;
            return Err(CliError::new(format!("stopped after {stored} events"))
                .because(error.clone())
                .advise("what was stored stays; publish the rest when the bus is back"));
        }
        messages = failed.iter().filter_map(|(index, _)| messages.get(*index).cloned()).collect();
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(3));
    }
    counts.published += events;
    counts.messages += total;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn a_line_without_end_is_bounded_and_the_next_one_is_read() {
        let text = [vec![b'x'; LINE_MAX + 5], b"\nshort\n\nlast".to_vec()].concat();
        let mut input = BufReader::with_capacity(4096, text.as_slice().take(u64::MAX));
        let mut line = Vec::new();
        let mut seen = Vec::new();
        while let Ok(Line { bytes: 1.., too_long, .. }) = read_line(&mut input, &mut line) {
            seen.push((line.len(), too_long));
        }
        assert_eq!(seen, [(LINE_MAX, true), (5, false), (0, false), (4, false)]);
    }
}
