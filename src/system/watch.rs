//! Watches what the system stands on, for readiness: is the bus connected, does the log take messages, do the actors move?
//!
//! An embedded server whose log stands still is started again: after a write error JetStream refuses a stream until then.

use super::Shared;
use crate::gateway::Readiness;
use homeostat_nats::{Embedded, Log, Phase};
use homeostat_schemas::Position;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Log time that has not moved for so long stands still: ticks come four times a second, and a takeover takes two seconds.
const STILL: Duration = Duration::from_secs(4);
/// After so long an embedded server is started again, and after up to [`PATIENCE_MAX`] more once more.
const PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE_MAX: Duration = Duration::from_secs(60);
/// An actor that has not moved for so long while the log did lags.
const LAG: Duration = Duration::from_secs(5);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Says to readiness, for as long as it is let, how the bus and the actors are.
pub(super) async fn watch(shared: &Shared, log: &Log, readiness: &Readiness, embedded: Option<&Embedded>) {
    let mut every = tokio::time::interval(Duration::from_millis(250));
    let mut beat = Heart::new();
    let state = log.bus().state();
    loop {
        every.tick().await;
        let connected = state.borrow().phase == Phase::Connected;
        readiness.bus(connected);
        let still = beat.stands_still(log).await;
        readiness.still(still > STILL);
        if let Some(embedded) = embedded
            && still > beat.patience
        {
            tracing::error!(
                still_s = still.as_secs(),
                "the log takes no messages; nats-server is started again, in case there is room again"
            );
            embedded.restart();
            beat.restarted();
        }
        let mut conditions = shared.slots.conditions();
        for (actor, condition) in &mut conditions {
            if beat.lags(actor, condition.position) {
                condition.caught_up = false;
                condition.trouble = Some("it does not move though the log does".to_owned());
            }
        }
        if shared.metrics.active.get() == 1 {
            let newest = conditions.iter().map(|(_, condition)| condition.position).max().unwrap_or(0);
            conditions.iter().for_each(|(actor, condition)| shared.metrics.show(actor, condition, newest));
        } else {
            // Again and again: whoever was scraping while the work was lost may have shown it once more.
            shared.metrics.forget();
        }
        readiness.actors(conditions);
    }
}

/// Does log time move? Whoever ticks: what counts is that the log stores.
struct Heart {
    last: u64,
    moved: Instant,
    looked: Option<Instant>,
    /// Where each actor was, and since when it has been there.
    places: BTreeMap<&'static str, (Position, Instant)>,
    /// After standing still for so long our own server is started again; longer every time it did not help.
    patience: Duration,
}

impl Heart {
    fn new() -> Heart {
        Heart { last: 0, moved: Instant::now(), looked: None, places: BTreeMap::new(), patience: PATIENCE }
    }

    /// For how long log time has not moved.
    async fn stands_still(&mut self, log: &Log) -> Duration {
        if self.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            self.looked = Some(Instant::now());
            let tick = tokio::time::timeout(LOOK_EVERY, log.last_on(&log.subject("tick"))).await;
            if let Ok(Ok(Some(tick))) = tick
                && tick.seq != self.last
            {
                self.last = tick.seq;
                self.moved = Instant::now();
                self.patience = PATIENCE;
            }
        }
        self.moved.elapsed()
    }

    /// Has an actor been at the same place for long while the log went on?
    fn lags(&mut self, actor: &'static str, position: Position) -> bool {
        let place = self.places.entry(actor).or_insert((position, Instant::now()));
        if place.0 != position || position >= self.last {
            *place = (position, Instant::now());
        }
        place.1.elapsed() > LAG
    }

    fn restarted(&mut self) {
        self.patience = self.moved.elapsed() + (self.patience * 2).min(PATIENCE_MAX);
    }
}
