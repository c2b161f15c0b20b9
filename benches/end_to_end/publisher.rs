//! The process that publishes: a window of messages under way, every one acknowledged by the stream.
//!
//! A process of its own, so that its time on the processor can be told from everyone else's, and one thread, so that it takes
//! as little of the machine as an application would.

use crate::load::{self, Prepared, deck, headers, now_us};
use crate::stand::Usage;
use crate::{Outcome, stand};
use futures::StreamExt as _;
use homeostat_nats::async_nats::{self, Client};
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// The word that makes this binary a publisher: `publish URL EVENTS_PER_MESSAGE EVENTS`.
pub(crate) const ROLE: &str = "publish";

/// Messages under way at once.
const WINDOW: usize = 1_024;
/// And bytes, about.
const WINDOW_BYTES: usize = 16 * 1024 * 1024;
/// An acknowledgement that takes longer has been lost.
const ACK_DEADLINE: Duration = Duration::from_secs(30);

/// What was published.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Published {
    /// When the first message was sent, Unix microseconds.
    pub began_us: u64,
    /// When the last one was acknowledged.
    pub acked_us: u64,
    /// Messages.
    pub messages: u64,
    /// Events in them.
    pub events: u64,
    /// Bytes of payload.
    pub bytes: u64,
    /// The highest sequence acknowledged.
    pub last_seq: u64,
    /// What it took of the machine, from the first message on.
    pub usage: Usage,
}

/// Publishes as many whole messages as hold at least so many events, says so on standard output.
pub(crate) async fn serve(arguments: &[&str]) -> Outcome<()> {
    let [url, per_message, events] = arguments else { return Err("publish URL EVENTS_PER_MESSAGE EVENTS".into()) };
    let deck = deck(per_message.parse()?)?;
    let client = stand::connect(url).await?;
    let published = publish(&client, &deck, events.parse()?).await?;
    writeln!(std::io::stdout().lock(), "{}", serde_json::to_string(&published)?)?;
    Ok(())
}

async fn publish(client: &Client, deck: &[Prepared], events_wanted: u64) -> Outcome<Published> {
    let largest = deck.iter().map(Prepared::size).max().unwrap_or(1).max(1);
    let window = WINDOW.min(WINDOW_BYTES / largest).max(1);
    let acks = Acks::open(client, window).await?;
    let seed = now_us();
    let (mut messages, mut events, mut bytes) = (0_u64, 0_u64, 0_u64);
    let before = Usage::of(std::process::id())?;
    let began_us = now_us();
    'all: for cycle in 1.. {
        for prepared in deck {
            if events >= events_wanted {
                break 'all;
            }
            let payload = prepared.payload(cycle, now_us() / 1_000);
            bytes += payload.len() as u64;
            events += prepared.events as u64;
            messages += 1;
            acks.send(client, load::subject(prepared.kind), headers(seed, messages), payload).await?;
        }
    }
    let last_seq = acks.all().await?;
    Ok(Published { began_us, acked_us: now_us(), messages, events, bytes, last_seq, usage: Usage::of(std::process::id())?.since(&before) })
}

/// Acknowledgements of everything that is sent through it, a window of them outstanding.
pub(crate) struct Acks {
    inbox: String,
    window: usize,
    room: Arc<Semaphore>,
    reading: tokio::task::JoinHandle<Outcome<u64>>,
    done: tokio::sync::watch::Sender<Option<u64>>,
    sent: std::sync::atomic::AtomicU64,
}

impl Acks {
    /// Subscribes.
    pub(crate) async fn open(client: &Client, window: usize) -> Outcome<Acks> {
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(inbox.clone()).await?;
        let room = Arc::new(Semaphore::new(window));
        let (done, mut wanted) = tokio::sync::watch::channel(None::<u64>);
        let freed = room.clone();
        let reading = tokio::spawn(async move {
            let (mut count, mut last_seq) = (0_u64, 0_u64);
            loop {
                if wanted.borrow_and_update().is_some_and(|wanted| count >= wanted) {
                    return Ok(last_seq);
                }
                let answer = tokio::select! {
                    answer = timeout(ACK_DEADLINE, answers.next()) => answer,
                    _ = wanted.changed() => continue,
                };
                let answer = answer.map_err(|_| "no acknowledgement in time")?.ok_or("the subscription ended")?;
                last_seq = last_seq.max(sequence(&answer)?);
                count += 1;
                freed.add_permits(1);
            }
        });
        Ok(Acks { inbox, window, room, reading, done, sent: 0.into() })
    }

    /// Sends one message as soon as there is room in the window.
    pub(crate) async fn send(&self, client: &Client, subject: String, headers: async_nats::HeaderMap, payload: Vec<u8>) -> Outcome<()> {
        let permit = timeout(ACK_DEADLINE, self.room.acquire()).await.map_err(|_| "no acknowledgement in time")??;
        permit.forget();
        self.sent.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let sending = client.publish_with_reply_and_headers(subject, self.inbox.clone(), headers, payload.into());
        timeout(ACK_DEADLINE, sending).await.map_err(|_| "the connection takes nothing more")??;
        Ok(())
    }

    /// Messages that are under way.
    pub(crate) fn under_way(&self) -> usize {
        self.window.saturating_sub(self.room.available_permits())
    }

    /// Waits for the last one; the highest sequence.
    pub(crate) async fn all(self) -> Outcome<u64> {
        self.done.send_replace(Some(self.sent.load(std::sync::atomic::Ordering::Relaxed)));
        timeout(2 * ACK_DEADLINE, self.reading).await.map_err(|_| "no acknowledgement in time")??
    }
}

/// The sequence that an acknowledgement names; a refusal is an error.
fn sequence(answer: &async_nats::Message) -> Outcome<u64> {
    #[derive(Deserialize)]
    struct Ack {
        seq: Option<u64>,
        error: Option<serde_json::Value>,
        #[serde(default)]
        duplicate: bool,
    }
    let ack: Ack = serde_json::from_slice(&answer.payload).map_err(|_| format!("no acknowledgement but {:?}", answer.status))?;
    match ack {
        Ack { error: Some(error), .. } => Err(format!("the stream refused: {error}").into()),
        Ack { duplicate: true, .. } => Err("the stream took a message for a repetition".into()),
        Ack { seq, .. } => seq.ok_or_else(|| "an acknowledgement without a sequence".into()),
    }
}
