//! `homeostat bench`: load for the bus, and how the system bears it. The events are real ones on the real log: they cost disk there, and
//! their services (`bench-…`) are watched like any other. Use a system that is there to be measured.
//!
//! With a rate, each message is due at a fixed time, whatever became of those before it. Where the system is too slow, messages are sent
//! late, and the time they waited counts (`from when it was due`): otherwise the worst moments would be the ones with the fewest
//! measurements. Without a rate, the load waits for the system, and only the throughput means anything.

mod load;
mod report;

use super::args::BenchArgs;
use super::publish::packer::Packer;
use super::{CliError, Context, Finish, bus, orders};
use crate::clock::now_ms;
use crate::system::told;
use futures::StreamExt as _;
use homeostat_nats::{Log, Message};
use homeostat_schemas::event::Query;
use homeostat_schemas::rule::QUERY_SLOW;
use homeostat_schemas::{Alert, Event, Root, State, Subject, TraceContext};
use indicatif::{ProgressBar, ProgressStyle};
use load::Load;
use report::{Alerts, Lag, Report, Times};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

/// The service of the slow queries.
const SLOW_SERVICE: &str = "bench-slow";
/// How slow they are.
const SLOW_US: u64 = 5_000_000;
/// How long the alert of the last one is waited for.
const ALERT_PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked how far the actors are.
const LOOK: Duration = Duration::from_secs(1);

/// What came back.
#[derive(Default)]
struct Answers {
    events: u64,
    messages: u64,
    bytes: u64,
    failed: u64,
    failure: Option<String>,
    sent: Times,
    due: Times,
}

/// Runs the command.
///
/// # Errors
/// There is no bus.
pub async fn run(context: &mut Context, args: &BenchArgs) -> Result<Finish, CliError> {
    let root = bus::root(context.config())?;
    let log = bus::log(context).await?;
    let mut run = [0; 8];
    getrandom::fill(&mut run).map_err(|why| CliError::new("the operating system gives no random numbers").because(why))?;
    let run = u64::from_be_bytes(run);
    let (ending, stop) = watch::channel(false);
    let alerts = (args.alert_every > 0).then(|| tokio::spawn(alerts(log.clone(), root.clone(), args.alert_every, run, stop.clone())));
    let behind = tokio::spawn(watch_lag(context.config().clone(), log.clone(), stop));

    let began = Instant::now();
    let answers = publish(&log, &root, args, run, began).await?;
    let (ended, took) = (Instant::now(), began.elapsed().as_secs_f64());
    ending.send_replace(true);
    let alerts = async {
        match alerts {
            Some(alerts) => alerts.await.map_err(|why| CliError::new("alerts could not be followed").because(why))?.map(Some),
            None => Ok(None),
        }
    };
    let lag = async {
        let max_messages = behind.await.ok().flatten()?;
        Some(Lag { max_messages, caught_up_s: caught_up(context, &log, Duration::from_millis(args.settle), ended).await })
    };
    // At the same time: alerts that do not come say nothing of when the rest was taken.
    let (alerts, lag) = futures::join!(alerts, lag);
    let alerts = alerts?;
    #[expect(clippy::cast_precision_loss, reason = "counts of a bench are far below 2^53")]
    let per_s = |count: u64| count as f64 / took.max(f64::EPSILON);
    let report = Report {
        events: answers.events,
        messages: answers.messages,
        failed_messages: answers.failed,
        bytes: answers.bytes,
        duration_s: took,
        wanted_events_per_s: args.rate,
        events_per_s: per_s(answers.events),
        messages_per_s: per_s(answers.messages),
        publish: answers.sent.percentiles(),
        publish_from_due: args.rate.and_then(|_| answers.due.percentiles()),
        alerts,
        lag,
        failure: answers.failure,
    };
    if context.json {
        context.out.pretty(&report)?;
    } else {
        report.tell(&mut context.out)?;
    }
    Ok(if report.failed_messages == 0 { Finish::Fine } else { Finish::Failed })
}

/// Publishes until the time is over; all that was sent is answered when it returns.
async fn publish(log: &Log, root: &Root, args: &BenchArgs, run: u64, began: Instant) -> Result<Answers, CliError> {
    let mut load = Load::new(args.kinds.clone(), args.services, args.shapes, args.batch, run);
    let whole = Duration::from_millis(args.duration);
    // Nanoseconds from one message to the next.
    let apart = args.rate.map(|rate| Duration::from_nanos(args.batch.saturating_mul(1_000_000_000) / rate));
    let places = Arc::new(Semaphore::new(usize::try_from(args.in_flight).unwrap_or(1)));
    let answers = Arc::new(Mutex::new(Answers::default()));
    let mut flights = JoinSet::new();
    let bar = progress(args.duration);
    let mut number: u32 = 0;
    loop {
        let due = match apart {
            Some(apart) => began + apart.saturating_mul(number),
            None => Instant::now(),
        };
        number = number.saturating_add(1);
        if due.duration_since(began) >= whole || number == u32::MAX {
            break;
        }
        let message = message(root, &load.next(), trace(run, number, args.traced))?;
        tokio::time::sleep_until(due).await;
        let Ok(place) = places.clone().acquire_owned().await else { break };
        if apart.is_none() && began.elapsed() >= whole {
            break;
        }
        let (log, answered, events) = (log.clone(), answers.clone(), args.batch);
        flights.spawn(async move {
            let (bytes, sent) = (message.payload.len() as u64, Instant::now());
            let result = log.append(message).await;
            let (now, mut answers) = (Instant::now(), answered.lock().await);
            match result {
                Ok(_) => {
                    answers.events += events;
                    answers.messages += 1;
                    answers.bytes += bytes;
                    answers.sent.record(now.duration_since(sent));
                    answers.due.record(now.duration_since(due));
                }
                Err(error) => {
                    answers.failed += 1;
                    answers.failure.get_or_insert_with(|| error.to_string());
                }
            }
            drop(place);
        });
        while flights.try_join_next().is_some() {}
        if number.is_multiple_of(64) {
            bar.set_position(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX).min(args.duration));
            bar.set_message(format!("{} events", answers.lock().await.events));
        }
    }
    // Each has its own deadline.
    while flights.join_next().await.is_some() {}
    bar.finish_and_clear();
    Ok(std::mem::take(&mut *answers.lock().await))
}

/// The trace of a message, for the share of them that has one.
fn trace(run: u64, number: u32, share: f64) -> TraceContext {
    // Evenly: a message has one whenever the share of those before it has grown past another whole.
    let before = |number: u32| (f64::from(number) * share).floor();
    if before(number) > before(number.saturating_sub(1)) {
        TraceContext::new(Some(&format!("00-{run:016x}{number:016x}-{:016x}-01", u64::from(number) + 1)), None)
    } else {
        TraceContext::default()
    }
}

fn message(root: &Root, events: &[Event], trace: TraceContext) -> Result<Message, CliError> {
    let mut packer = Packer::new(root.clone(), trace);
    for event in events {
        packer.push(event)?;
    }
    packer.close()?;
    let message = packer.take().into_iter().next().map(|(message, _)| message);
    message.ok_or_else(|| CliError::new("there was nothing to send"))
}

fn progress(whole: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {percent}% {msg} {eta} left").unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(whole).with_style(style)
}

/// A slow query now and then, each of a shape never seen before, and when its alert came.
async fn alerts(log: Log, root: Root, every: u64, run: u64, mut stop: watch::Receiver<bool>) -> Result<Alerts, CliError> {
    let (actor, condition) = QUERY_SLOW.name.split_once('.').unwrap_or((QUERY_SLOW.name, ""));
    let subject = root.subject(&Subject::Alert(actor.to_owned(), condition.to_owned(), SLOW_SERVICE.to_owned()));
    let mut alerts = log.bus().client().subscribe(subject).await.map_err(|why| CliError::new("alerts cannot be followed").because(why))?;
    let mut turn = tokio::time::interval(Duration::from_millis(every));
    turn.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut expected, mut seen, mut times) = (0, 0, Times::default());
    let mut waiting: BTreeMap<String, Instant> = BTreeMap::new();
    let mut end = None::<Instant>;
    loop {
        let over = async {
            match end {
                Some(end) => tokio::time::sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            due = turn.tick(), if end.is_none() => {
                // A table of its own: the mark by which its alert is known.
                let table = format!("slow_{run:016x}_{expected}_");
                expected += 1;
                let query = Query {
                    service: SLOW_SERVICE.to_owned(),
                    at_ms: now_ms(),
                    statement: format!("select id from {table} where id = ?"),
                    took_us: SLOW_US,
                    ..Query::default()
                };
                waiting.insert(table, due);
                log.append(message(&root, &[query.into()], TraceContext::default())?).await?;
            }
            alert = alerts.next() => {
                let Some(alert) = alert else { break };
                let Ok(alert) = serde_json::from_slice::<Alert>(&alert.payload) else { continue };
                let statement = alert.evidence.get("statement").and_then(Value::as_str).unwrap_or(&alert.summary).to_owned();
                let Some(table) = waiting.keys().find(|table| statement.contains(table.as_str())).cloned() else { continue };
                if alert.state == State::Firing && let Some(due) = waiting.remove(&table) {
                    seen += 1;
                    times.record(due.elapsed());
                }
                if end.is_some() && waiting.is_empty() {
                    break;
                }
            }
            () = told(&mut stop), if end.is_none() => {
                if waiting.is_empty() {
                    break;
                }
                end = Some(Instant::now() + ALERT_PATIENCE);
            }
            () = over => break,
        }
    }
    Ok(Alerts { expected, seen, latency: times.percentiles() })
}

/// The most messages that the slowest actor was behind, looked at once a second; nothing, when nobody could be asked.
async fn watch_lag(config: crate::config::Config, log: Log, mut stop: watch::Receiver<bool>) -> Option<u64> {
    let mut most = None;
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = told(&mut stop) => return most,
            _ = look.tick() => {}
        }
        if let Some(lag) = lag(&config, &log).await {
            most = most.max(Some(lag));
        }
    }
}

/// How many messages the slowest actor has yet to take.
async fn lag(config: &crate::config::Config, log: &Log) -> Option<u64> {
    let last = log.bounds().await.ok()?.last;
    let status = orders::ask_of(config, "/api/v1/status").await.ok()?;
    let actors = status.get("actors")?.as_object()?;
    let running = actors.values().filter(|actor| actor["running"] == true);
    let slowest = running.filter_map(|actor| actor["position"].as_u64()).min()?;
    Some(last.saturating_sub(slowest))
}

/// How long after `since` every actor had taken what stands on the log now.
async fn caught_up(context: &Context, log: &Log, within: Duration, since: Instant) -> Option<f64> {
    let last = log.bounds().await.ok()?.last;
    let deadline = Instant::now() + within;
    while Instant::now() < deadline {
        let now = log.bounds().await.ok()?.last;
        let behind = lag(context.config(), log).await?;
        if now.saturating_sub(behind) >= last {
            return Some(since.elapsed().as_secs_f64());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    None
}
