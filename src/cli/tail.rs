//! `homeostat tail`: follow the bus, readable or as NDJSON (alerts, commands, outcomes and events as they stand on the bus).
//!
//! The reader survives a bus that goes and comes. An embedded server that was started anew has new credentials: they are found
//! again in the data directory.

pub mod readable;

use super::args::{TailArgs, Topic};
use super::out::complain;
use super::{CliError, Context, Finish, bus, verify};
use crate::feed;
use homeostat_nats::{Bus, Log, Reader, ReaderError, ReaderOptions, RunInfo};
use homeostat_schemas::signature::Verdict;
use homeostat_schemas::{Content, Delivery, Event, Root, silence, subject::Token};
use serde::Serialize;
use std::time::Duration;

/// What people say about alerts: shown between them to people, left out for machines.
const SAID: &str = "event.order";
/// How often to look whether the embedded server is another one.
const LOOK: Duration = Duration::from_secs(2);

/// Runs the command until it is stopped or has shown enough.
///
/// # Errors
/// There is no bus, or reading failed for good.
pub async fn run(context: &mut Context, args: &TailArgs) -> Result<Finish, CliError> {
    let root = bus::root(context.config())?;
    let trusted = verify::trusted(context.config())?;
    let mut left = args.count.unwrap_or(u64::MAX);
    let (mut log, mut run) = open(context).await?;
    let mut next = match args.since {
        Some(since) => bus::first_at(&log, since).await?,
        None => log.bounds().await?.last + 1,
    };
    let options = ReaderOptions { filters: filters(&root, args), ..ReaderOptions::default() };
    loop {
        let mut reader = Reader::open(&log, next, options.clone()).await?;
        loop {
            let entries = tokio::select! {
                entries = reader.next() => entries,
                another = moved(context, run.as_ref()) => {
                    // Nobody answers at the old address any more; the log there may be another, too.
                    let incarnation = log.incarnation().to_owned();
                    (log, run) = another;
                    if log.incarnation() != incarnation {
                        next = 1;
                    }
                    break;
                }
            };
            let entries = match entries {
                Ok(entries) => entries,
                Err(error @ ReaderError::Overtaken { .. }) => {
                    complain(&error.to_string());
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            for entry in entries {
                next = entry.seq + 1;
                let delivery = feed::decode(&root, &entry);
                let signed = matches!(delivery.content, Content::Alert(_) | Content::Command(_));
                let verdict = (signed && (!context.json || args.signatures)).then(|| verify::verdict(&trusted, &entry));
                left = left.saturating_sub(show(context, &delivery, verdict.as_ref(), args.topic, left)?);
                if left == 0 {
                    context.out.flush()?;
                    return Ok(Finish::Fine);
                }
            }
            context.out.flush()?;
        }
    }
}

async fn open(context: &Context) -> Result<(Log, Option<RunInfo>), CliError> {
    let (config, run) = bus::find(context.config())?;
    let log = Bus::connect(&config).await?.open_log().await?;
    Ok((log, run))
}

/// The embedded server's log once that server is another one; never, when the bus is not embedded.
async fn moved(context: &Context, run: Option<&RunInfo>) -> (Log, Option<RunInfo>) {
    let Some(run) = run else { return std::future::pending().await };
    loop {
        tokio::time::sleep(LOOK).await;
        match bus::find(context.config()) {
            Ok((_, Some(now))) if now.server_name != run.server_name => {}
            _ => continue,
        }
        if let Ok(opened) = open(context).await {
            return opened;
        }
    }
}

fn filters(root: &Root, args: &TailArgs) -> Vec<String> {
    let kinds: &[&str] = match args.topic {
        Topic::Alerts => &["alert.*.*", SAID],
        Topic::Commands => &["command.*.*", "outcome.*.*"],
        Topic::Events => &["event.*"],
        Topic::All => &["alert.*.*", "command.*.*", "outcome.*.*", "event.*"],
    };
    let service = args.service.as_deref().map_or_else(|| "*".to_owned(), |service| Token(service).to_string());
    kinds.iter().map(|kind| format!("{root}.{kind}.{service}")).collect()
}

/// An alert or command as it stands on the bus, and what its signature is worth.
#[derive(Serialize)]
struct Judged<'a, T> {
    #[serde(flatten)]
    word: &'a T,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<&'static str>,
}

/// Shows at most `left` things of a message; how many it showed.
fn show(context: &mut Context, delivery: &Delivery, verdict: Option<&Verdict>, topic: Topic, left: u64) -> Result<u64, CliError> {
    let json = context.json;
    let out = &mut context.out;
    let signature = verdict.map(Verdict::word);
    match &delivery.content {
        Content::Alert(alert) if json => out.json(&Judged { word: alert, signature })?,
        Content::Alert(alert) => readable::alert(out, alert, verdict)?,
        Content::Command(command) if json => out.json(&Judged { word: command, signature })?,
        Content::Command(command) => readable::command(out, command, verdict)?,
        Content::Outcome(outcome) => if json { out.json(outcome) } else { readable::outcome(out, delivery, outcome) }?,
        Content::Events(_) if json && topic == Topic::Alerts => return Ok(0),
        Content::Events(events) => {
            let mut shown = 0;
            for event in events.iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
                match event {
                    Ok(Event::Order(order)) if !json && silence::ORDERS.contains(&order.action.as_str()) => readable::said(out, order)?,
                    Ok(_) if topic == Topic::Alerts => continue,
                    Ok(event) if json => out.json(event)?,
                    Ok(event) => readable::event(out, event)?,
                    Err(rejected) => complain(&format!("{}: {}", delivery.subject, super::out::plain(&rejected.reason.to_string()))),
                }
                shown += u64::from(event.is_ok());
            }
            return Ok(shown);
        }
        Content::Broken(rejected) => {
            complain(&format!("{}: {}", delivery.subject, super::out::plain(&rejected.reason.to_string())));
            return Ok(0);
        }
        Content::Ask(_) | Content::Answer(_) | Content::Settings(_) | Content::Key(_) | Content::Tick | Content::Housekeeping => {
            return Ok(0);
        }
    }
    Ok(1)
}
