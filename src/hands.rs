//! Hands: I/O on a mind's behalf. An ask stands in the log; a hand does the work and answers in the log. The first answer wins;
//! an ask that nobody answered in time is the asking mind's to notice, by a tick.

mod clock;
pub mod fit;
mod index_advice;
mod keys;
mod probe;

pub use index_advice::IndexAdvice;

use crate::audit::Audit;
use crate::feed::{Feed, FeedError, Portion};
use crate::keys::Keys;
use crate::metrics::Metrics;
use crate::store::Store;
use crate::system::told;
use homeostat_actors::core::Topics;
use homeostat_nats::{AppendError, Log, Message};
use homeostat_schemas::{Answer, Ask, Content, Root, Subject};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};

/// How many asks may be at work at once; the rest waits, and comes too late if it must.
const AT_WORK_MAX: usize = 8;

/// Everything a hand may touch.
#[derive(Clone)]
pub struct Hands {
    /// The log, to answer in and to probe.
    pub log: Log,
    /// The root of subjects.
    pub root: Root,
    /// The database.
    pub store: Store,
    /// The applications' database, whose planner is asked.
    pub index_advice: IndexAdvice,
    /// The keys.
    pub keys: Keys,
    /// Where what is done to them is recorded first.
    pub audit: Audit,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

impl Hands {
    /// Answers what is asked from now on, until told to stop.
    ///
    /// # Errors
    /// What cannot be cured by reading again.
    pub async fn run(self, feed: Feed, mut stop: watch::Receiver<bool>) -> Result<(), FeedError> {
        let permits = Arc::new(Semaphore::new(AT_WORK_MAX));
        let mut follower = feed.follow(feed.dispatched(), Topics::ASKS);
        loop {
            let portion = tokio::select! {
                () = told(&mut stop) => return Ok(()),
                portion = follower.next() => portion?,
            };
            let Some(Portion { chunk, .. }) = portion else { return Ok(()) };
            let newest = chunk.end().at;
            for delivery in chunk.iter() {
                let Content::Ask(ask) = &delivery.content else { continue };
                // Log time against log time: this machine's clock may be another. An ask from before we came may be too old.
                let left = ask.until_ms.saturating_sub(newest);
                if left == 0 {
                    continue;
                }
                let Ok(permit) = permits.clone().try_acquire_owned() else {
                    tracing::warn!(ask = ask.id, hand = ask.hand, "all hands are full; the ask will time out");
                    continue;
                };
                let (hands, ask) = (self.clone(), ask.clone());
                tokio::spawn(async move {
                    hands.answer(ask, Duration::from_millis(left)).await;
                    drop(permit);
                });
            }
        }
    }

    async fn answer(&self, ask: Ask, within: Duration) {
        let began = Instant::now();
        let mut configured = true;
        let done = match ask.hand.as_str() {
            clock::NAME => clock::work(&ask),
            fit::NAME => fit::work(&ask, within).await,
            probe::NAME => probe::work(self, &ask, within).await,
            index_advice::NAME if !self.index_advice.is_configured() => {
                configured = false;
                Err("no database is named whose planner could be asked".to_owned())
            }
            index_advice::NAME => self.index_advice.work(&ask, within).await,
            keys::NAME => keys::work(self, &ask, within).await,
            // Another version's hand: its own process answers.
            _ => return,
        };
        let answer = Answer {
            ask: ask.id.clone(),
            actor: ask.actor,
            hand: ask.hand.clone(),
            what: ask.what,
            ok: done.is_ok(),
            configured,
            took_us: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
            error: done.as_ref().err().cloned(),
            found: done.unwrap_or_default(),
        };
        let subject = self.root.subject(&Subject::Answer(ask.hand, ask.id));
        let body = serde_json::to_vec(&answer).unwrap_or_default();
        let message = Message::new(subject, body).with("content-type", homeostat_schemas::batch::JSON);
        match self.log.append_if(message, 0).await {
            Ok(_) => {
                self.metrics.answers.inc();
            }
            Err(AppendError::Conflict { .. }) => {}
            Err(error) => tracing::warn!(ask = answer.ask, %error, "an answer could not be given"),
        }
    }
}
