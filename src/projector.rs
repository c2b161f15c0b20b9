//! Projections of the log: what is open now into the bucket `homeostat_state`, so that a late subscriber sees it; history into
//! the store. Both can be made again from the log, and taking a message twice changes nothing.

use crate::clock::now_ms;
use crate::feed::decode;
use crate::roster::Slots;
use crate::store::Store;
use crate::system::told;
use homeostat_actors::recovery::Entry;
use homeostat_nats::async_nats::jetstream::kv;
use homeostat_nats::{Log, Reader, ReaderError, ReaderOptions};
use homeostat_schemas::{Content, Delivery, Position, Root, State};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How often the statistics of queries are kept.
const KEEP_QUERIES: Duration = Duration::from_secs(30);
/// How soon after an alert, command or outcome recovery's decisions are kept: it hears of them, too, and has to decide first.
const KEEP_DECISIONS: Duration = Duration::from_secs(1);
/// How often history that is too old is deleted.
const RETAIN: Duration = Duration::from_secs(3600);
/// The pause after a failure, doubling up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How long one write to the bucket may take.
const PUT_DEADLINE: Duration = Duration::from_secs(5);

/// Keeps the projections up to date.
pub struct Projector {
    log: Log,
    root: Root,
    store: Store,
    slots: Slots,
}

impl Projector {
    /// A projector of a log.
    #[must_use]
    pub fn new(log: &Log, root: &Root, store: &Store, slots: &Slots) -> Self {
        Projector { log: log.clone(), root: root.clone(), store: store.clone(), slots: slots.clone() }
    }

    /// Projects until told to stop. A vanished database or bus is waited for: nothing is lost, the log keeps it.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut pause = PAUSE;
        loop {
            let mut ending = stop.clone();
            let result = tokio::select! {
                () = told(&mut ending) => return self.keep_last().await,
                result = self.project(&mut pause) => result,
            };
            if let Err(error) = result {
                tracing::warn!(%error, pause_ms = pause.as_millis(), "history cannot be written; it will be, the log keeps it");
            }
            tokio::select! {
                () = told(&mut stop) => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn project(&self, pause: &mut Duration) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let state = self.log.bus().jetstream().get_key_value(&self.log.bus().names().state).await?;
        let anew = self.look_back().await?;
        let from = self.store.position(self.log.incarnation(), 0).await? + 1;
        // Alerts, commands and outcomes are rare: the server picks them out.
        let filters = ["alert.>", "command.>", "outcome.>"].map(|subjects| self.log.subject(subjects)).to_vec();
        let mut reader = Reader::open(&self.log, from, ReaderOptions { filters, ..ReaderOptions::default() }).await?;
        let mut keep = tokio::time::interval(KEEP_QUERIES);
        keep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut retain = tokio::time::interval(RETAIN);
        let mut kept = if anew { None } else { self.last_kept().await? };
        let mut decided: Option<Instant> = None;
        loop {
            let entries = tokio::select! {
                entries = reader.next() => entries,
                _ = keep.tick() => {
                    self.keep_queries().await;
                    self.keep_decisions(&mut kept).await?;
                    continue;
                }
                () = tokio::time::sleep_until(decided.unwrap_or_else(Instant::now)), if decided.is_some() => {
                    decided = None;
                    self.keep_decisions(&mut kept).await?;
                    continue;
                }
                _ = retain.tick() => {
                    self.store.retain(now_ms()).await?;
                    continue;
                }
            };
            let entries = match entries {
                Ok(entries) => entries,
                Err(error @ ReaderError::Overtaken { .. }) => {
                    tracing::error!(%error, "history has a hole: the log was shorter than the outage");
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let deliveries: Vec<Delivery> = entries.iter().map(|entry| decode(&self.root, entry)).collect();
            for delivery in &deliveries {
                tokio::time::timeout(PUT_DEADLINE, open_now(&state, delivery)).await??;
            }
            self.store.project(self.log.incarnation(), 0, &deliveries).await?;
            decided.get_or_insert_with(|| Instant::now() + KEEP_DECISIONS);
            *pause = PAUSE;
        }
    }

    /// A power cut can take the log's tail with it, and its positions are then used again for other messages. History that has seen the
    /// old ones begins anew; what it has changes nothing. True when that is so.
    async fn look_back(&self) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
        let incarnation = self.log.incarnation();
        let position = self.store.position(incarnation, 0).await?;
        let Some(at_ms) = self.store.position_ms(incarnation, 0).await?.filter(|_| position > 0) else { return Ok(false) };
        let another = match self.log.get(position).await? {
            Some(entry) => entry.at_ms != at_ms,
            // Expired, or not there yet.
            None => position > self.log.bounds().await?.last,
        };
        if another {
            tracing::warn!(position, "the log has lost its tail: history is made from it once more");
            self.store.rewind(incarnation, 0).await?;
        }
        Ok(another)
    }

    /// At the end: what the minds still know.
    async fn keep_last(&self) {
        self.keep_queries().await;
        let kept = async { self.keep_decisions(&mut self.last_kept().await?).await };
        if let Err(error) = kept.await {
            tracing::warn!(%error, "recovery's last decisions could not be kept; they will be at the next start");
        }
    }

    /// The last decision in history.
    async fn last_kept(&self) -> Result<Option<(Position, u32)>, Box<dyn std::error::Error + Send + Sync>> {
        let last = self.log.bounds().await?.last;
        Ok(self.store.last_decision(self.log.incarnation(), 0, last).await?)
    }

    /// Keeps what recovery has decided since `kept`. Its record is in its checkpoints, so nothing is missed while this process or the
    /// database is away, unless more was decided meanwhile than the record holds.
    async fn keep_decisions(&self, kept: &mut Option<(Position, u32)>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let Some(view) = self.slots.recovery.view().await else { return Ok(()) };
        let place = |entry: &Entry| Some((entry.position, entry.index));
        let mut new: Vec<Entry> = view.record.into_iter().take_while(|entry| place(entry) > *kept).collect();
        new.reverse();
        let Some(last) = new.last().and_then(place) else { return Ok(()) };
        self.store.save_decisions(self.log.incarnation(), 0, &new).await?;
        *kept = Some(last);
        Ok(())
    }

    /// Keeps the statistics of queries, so that they are there after a restart and while the mind is not.
    async fn keep_queries(&self) {
        let Some(view) = self.slots.query.view().await else { return };
        if let Err(error) = self.store.save_queries(&view.queries).await {
            tracing::warn!(%error, "the statistics of queries could not be kept");
        }
    }
}

/// One key an incident, there while it is open.
async fn open_now(state: &kv::Store, delivery: &Delivery) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let Content::Alert(alert) = &delivery.content else { return Ok(()) };
    let key = format!("alert.{}", homeostat_schemas::subject::Token(&alert.incident));
    match alert.state {
        State::Firing => {
            state.put(key, serde_json::to_vec(alert)?.into()).await?;
        }
        State::Resolved => state.purge(key).await?,
    }
    Ok(())
}
