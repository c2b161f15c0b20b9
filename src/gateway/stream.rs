//! `/api/v1/stream`: alerts, commands and outcomes as they happen, as server-sent events. The id of each is its place in the log,
//! so that a client that comes back with `Last-Event-ID` misses nothing.
//!
//! A client without one follows what this process reads anyway. One that comes back, or that asks a process which stands by and
//! reads nothing, gets a reader of its own; the server behind it picks out the few messages that matter. Either way nothing is
//! kept for a client that does not read: it is cut off (or, with a reader of its own, simply goes on where it stopped).

use super::Gate;
use super::api::asked;
use super::problem::Problem;
use crate::feed::{Chunk, decode};
use actix_web::http::header;
use actix_web::web::{self, Bytes};
use actix_web::{HttpRequest, HttpResponse};
use homeostat_nats::{Reader, ReaderError, ReaderOptions};
use homeostat_schemas::{Content, Delivery};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};
use tokio::time::{Interval, MissedTickBehavior};

/// What a client waits before it comes back, milliseconds.
const COME_BACK_MS: u32 = 2_000;

/// What `/api/v1/stream` is asked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StreamQuery {
    /// Alerts and commands of this service only; outcomes are left out then, they name none.
    pub service: Option<String>,
}

/// Where messages come from.
enum Source {
    Live(broadcast::Receiver<Chunk>),
    Log(Box<Reader>),
}

struct Client {
    gate: web::Data<Gate>,
    source: Source,
    service: Option<String>,
    keep_alive: Interval,
    stop: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
}

/// Serves a client for as long as it stays.
pub(super) async fn events(gate: web::Data<Gate>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let StreamQuery { service } = asked(&request)?;
    let last = match request.headers().get("last-event-id") {
        Some(id) => Some(
            id.to_str()
                .ok()
                .and_then(|id| id.parse::<u64>().ok())
                .ok_or_else(|| Problem::bad_request("Last-Event-ID: the id of an event"))?,
        ),
        None => None,
    };
    let place = gate
        .clients
        .clone()
        .try_acquire_owned()
        .map_err(|_| Problem::unavailable("too many clients follow the stream; come back later"))?;
    let source = source(&gate, last).await?;
    let mut keep_alive = tokio::time::interval(Duration::from_secs(gate.config.stream_keep_alive_s.max(1)));
    keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    keep_alive.reset();
    let client = Client { stop: gate.stop.clone(), gate, source, service, keep_alive, _place: place };
    let greeting = Bytes::from(format!("retry: {COME_BACK_MS}\n\n"));
    let body = futures::stream::unfold((Some(greeting), client), |(greeting, mut client)| async move {
        let piece = match greeting {
            Some(greeting) => greeting,
            None => client.next().await?,
        };
        Some((Ok::<_, Infallible>(piece), (None, client)))
    });
    Ok(HttpResponse::Ok().content_type("text/event-stream").insert_header((header::CACHE_CONTROL, "no-store")).streaming(body))
}

async fn source(gate: &Gate, last: Option<u64>) -> Result<Source, Problem> {
    if last.is_none() && !gate.state.readiness.is_standby() {
        return Ok(Source::Live(gate.state.live.subscribe()));
    }
    let away = || Problem::unavailable("the bus is away; come back later");
    let log = gate.log().ok_or_else(away)?;
    let newest = log.bounds().await.map_err(|_| away())?.last;
    let filters = ["alert.>", "command.>", "outcome.>"].map(|subjects| log.subject(subjects)).to_vec();
    // An id beyond the end is of another log: begin at the end of this one.
    let from = last.map_or(newest, |last| last.min(newest)) + 1;
    let reader =
        Reader::open(&log, from, ReaderOptions { filters, batch_max: 256, ..ReaderOptions::default() }).await.map_err(|_| away())?;
    Ok(Source::Log(Box::new(reader)))
}

impl Client {
    /// The next piece to send; nothing when the client has to come back.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let live = matches!(self.source, Source::Live(_));
            let mut text = String::new();
            tokio::select! {
                _ = self.stop.wait_for(|stop| *stop) => return None,
                _ = self.keep_alive.tick() => {
                    // Another process reads the log now: this one would stay silent for ever.
                    if live && self.gate.state.readiness.is_standby() {
                        return None;
                    }
                    return Some(Bytes::from_static(b": still here\n\n"));
                }
                more = self.source.next(&self.gate) => match more? {
                    More::Deliveries(deliveries) => deliveries.iter().for_each(|delivery| write(&mut text, delivery, self.service.as_deref())),
                    More::Chunk(chunk) => chunk.iter().for_each(|delivery| write(&mut text, delivery, self.service.as_deref())),
                    More::Hole => text.push_str("event: hole\ndata: {\"why\":\"the log was shorter than your absence\"}\n\n"),
                },
            }
            if !text.is_empty() {
                self.keep_alive.reset();
                return Some(Bytes::from(text));
            }
        }
    }
}

enum More {
    Chunk(Chunk),
    Deliveries(Vec<Delivery>),
    Hole,
}

impl Source {
    async fn next(&mut self, gate: &Gate) -> Option<More> {
        match self {
            Source::Live(receiver) => match receiver.recv().await {
                Ok(chunk) => Some(More::Chunk(chunk)),
                // Too slow: it comes back with the id of the last event that it has.
                Err(RecvError::Lagged(_) | RecvError::Closed) => None,
            },
            Source::Log(reader) => match reader.next().await {
                Ok(entries) => Some(More::Deliveries(entries.iter().map(|entry| decode(&gate.state.root, entry)).collect())),
                Err(ReaderError::Overtaken { .. }) => Some(More::Hole),
                Err(_) => None,
            },
        }
    }
}

/// Writes one message, if it is one that the client wants.
fn write(text: &mut String, delivery: &Delivery, service: Option<&str>) {
    let wanted = |of: &str| service.is_none_or(|service| service == of);
    match &delivery.content {
        Content::Alert(alert) if wanted(&alert.service) => event(text, "alert", delivery.position, alert),
        Content::Command(command) if wanted(&command.service) => event(text, "command", delivery.position, command),
        Content::Outcome(outcome) if service.is_none() => event(text, "outcome", delivery.position, outcome),
        _ => {}
    }
}

fn event(text: &mut String, name: &str, position: u64, body: &impl Serialize) {
    // JSON has no line breaks outside of texts, and in texts they are escaped: one `data` line is enough.
    if let Ok(body) = serde_json::to_string(body) {
        text.push_str(&format!("id: {position}\nevent: {name}\ndata: {body}\n\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostat_schemas::{Alert, Outcome, TraceContext};

    #[test]
    fn one_message_is_one_event_with_its_place_in_the_log() {
        let delivery = |content| Delivery { position: 17, at: 1, subject: String::new(), content, context: TraceContext::default() };
        let alert = Alert { service: "shop".into(), summary: "two\nlines".into(), ..Alert::default() };
        let (alert, outcome) = (delivery(Content::Alert(Box::new(alert))), delivery(Content::Outcome(Outcome::default())));
        let sent = |service: Option<&str>| {
            let mut text = String::new();
            [&alert, &outcome, &delivery(Content::Tick)].iter().for_each(|delivery| write(&mut text, delivery, service));
            text
        };
        assert_eq!(sent(None).matches("id: 17\n").count(), 2);
        assert!(
            sent(None).lines().all(|line| ["id: ", "event: ", "data: {"].iter().any(|begin| line.starts_with(begin)) || line.is_empty())
        );
        assert_eq!(sent(Some("shop")).matches("event: alert\n").count(), 1);
        assert_eq!(sent(Some("till")), "");
    }
}
