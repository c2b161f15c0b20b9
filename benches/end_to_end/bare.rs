//! The floor: one consumer of the stock client library that decodes every message and counts, and nothing else.
//!
//! A pull consumer without acknowledgements, kept in the server's memory: the cheapest durable read there is. Decoding is that
//! of the words, because whoever wants to do anything with an event has to.

use crate::load::now_us;
use crate::stand::Usage;
use crate::{Outcome, stand};
use futures::StreamExt as _;
use homeostat_nats::async_nats::jetstream::{
    self,
    consumer::{AckPolicy, DeliverPolicy, pull},
};
use homeostat_schemas::envelope::Headers;
use homeostat_schemas::{Content, Delivery, Root};
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::time::Duration;
use tokio::time::timeout;

/// The word that makes this binary a consumer: `consume URL STREAM EVENTS`.
pub(crate) const ROLE: &str = "consume";

/// Said when it listens.
pub(crate) const READY: &str = "ready";

/// What was consumed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Consumed {
    /// When the last event had been decoded, Unix microseconds.
    pub ended_us: u64,
    /// Good events.
    pub events: u64,
    /// What it took of the machine.
    pub usage: Usage,
}

/// Consumes until so many events have come.
pub(crate) async fn serve(arguments: &[&str]) -> Outcome<()> {
    let [url, stream, events_wanted] = arguments else { return Err("consume URL STREAM EVENTS".into()) };
    let events_wanted: u64 = events_wanted.parse()?;
    let context = jetstream::new(stand::connect(url).await?);
    let config = pull::Config {
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::None,
        memory_storage: true,
        num_replicas: 1,
        ..pull::Config::default()
    };
    let consumer = context.get_stream_no_info(*stream).await?.create_consumer(config).await?;
    let mut messages = consumer.stream().max_messages_per_batch(4_096).heartbeat(Duration::from_secs(2)).messages().await?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{READY}")?;
    out.flush()?;
    let before = Usage::of(std::process::id())?;
    let root = Root::default();
    let mut events = 0;
    while events < events_wanted {
        let message = timeout(Duration::from_secs(60), messages.next()).await.map_err(|_| "nothing came for a minute")?;
        let message = message.ok_or("the consumer ended")??;
        let info = message.info()?;
        let at_ms = u64::try_from(info.published.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
        let content_type = message.headers.as_ref().and_then(|headers| headers.get("content-type")).map(|value| value.as_str());
        let headers = Headers { content_type, ..Headers::default() };
        let delivery = Delivery::decode(&root, info.stream_sequence, at_ms, message.subject.to_string(), headers, &message.payload);
        match delivery.content {
            Content::Events(decoded) => events += decoded.iter().flatten().count() as u64,
            other => return Err(format!("not an event: {other:?}").into()),
        }
    }
    let consumed = Consumed { ended_us: now_us(), events, usage: Usage::of(std::process::id())?.since(&before) };
    writeln!(out, "{}", serde_json::to_string(&consumed)?)?;
    Ok(())
}
