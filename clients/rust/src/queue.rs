//! Between the application and the background: bounded, and never waited for.

use crate::error::PublishError;
use crate::stats::{Counters, add};
use crate::trace::Context;
use homeostat_schemas::Event;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use tokio::sync::{Notify, mpsc};

/// An event on its way, and the trace it belongs to.
pub(crate) struct Item {
    pub(crate) event: Event,
    pub(crate) context: Option<Context>,
    weight: usize,
}

#[cfg(test)]
impl Item {
    pub(crate) fn new(event: Event, context: Option<Context>) -> Item {
        Item { event, context, weight: 0 }
    }
}

/// What both ends share.
pub(crate) struct Gauge {
    bytes: AtomicUsize,
    /// Events that were taken and are not settled yet.
    pub(crate) waiting: AtomicU64,
    /// Rung when the queue is half full: pack now, whatever the clock says.
    pub(crate) bell: Notify,
}

/// The application's end.
pub(crate) struct Queue {
    sender: mpsc::Sender<Item>,
    gauge: Arc<Gauge>,
    counters: Arc<Counters>,
    events_max: usize,
    bytes_max: usize,
}

pub(crate) fn queue(events_max: usize, bytes_max: usize, counters: Arc<Counters>) -> (Queue, mpsc::Receiver<Item>, Arc<Gauge>) {
    let (sender, receiver) = mpsc::channel(events_max);
    let gauge = Arc::new(Gauge { bytes: AtomicUsize::new(0), waiting: AtomicU64::new(0), bell: Notify::new() });
    (Queue { sender, gauge: Arc::clone(&gauge), counters, events_max, bytes_max }, receiver, gauge)
}

impl Queue {
    /// Takes an event, or counts it as dropped. Never waits.
    pub(crate) fn offer(&self, event: Event, context: Option<Context>) -> Result<(), PublishError> {
        let weight = weight(&event);
        let full = || {
            add(&self.counters.dropped, 1);
            Err(PublishError::Full)
        };
        let before = self.gauge.bytes.fetch_add(weight, Relaxed);
        if before.saturating_add(weight) > self.bytes_max {
            self.gauge.bytes.fetch_sub(weight, Relaxed);
            return full();
        }
        // Before it is sent, so that it is never settled before it was counted.
        self.gauge.waiting.fetch_add(1, Relaxed);
        match self.sender.try_send(Item { event, context, weight }) {
            Ok(()) => {
                add(&self.counters.accepted, 1);
                if before > self.bytes_max / 2 || self.sender.capacity() < self.events_max / 2 {
                    self.gauge.bell.notify_one();
                }
                Ok(())
            }
            Err(error) => {
                self.gauge.bytes.fetch_sub(weight, Relaxed);
                self.gauge.waiting.fetch_sub(1, Relaxed);
                match error {
                    mpsc::error::TrySendError::Full(_) => full(),
                    mpsc::error::TrySendError::Closed(_) => Err(PublishError::Closed),
                }
            }
        }
    }

    /// How many events wait to be packed.
    pub(crate) fn queued(&self) -> u64 {
        self.events_max.saturating_sub(self.sender.capacity()) as u64
    }

    pub(crate) fn gauge(&self) -> &Gauge {
        &self.gauge
    }
}

impl Gauge {
    /// An item has left the queue.
    pub(crate) fn taken(&self, item: &Item) {
        self.bytes.fetch_sub(item.weight, Relaxed);
    }

    /// So many events are settled, one way or the other.
    pub(crate) fn settled(&self, events: u64) {
        self.waiting.fetch_sub(events, Relaxed);
    }
}

/// What an event takes in memory, near enough: the texts whose length nothing bounds, and the rest as a lump.
fn weight(event: &Event) -> usize {
    let beside = match event {
        Event::Query(query) => query.statement.len() + query.source.as_ref().map_or(0, String::len),
        Event::Sample(sample) => sample.all().iter().map(|value| size_of_val(value) + text(value)).sum(),
        Event::Heartbeat(heartbeat) => heartbeat.checks.iter().map(|check| 96 + check.detail.as_ref().map_or(0, String::len)).sum(),
        Event::Order(order) => serde_json::to_string(&order.args).map_or(0, |text| text.len()),
        Event::Request(request) => request.route.len(),
        Event::Span(span) => span.name.len() + span.op.len(),
        Event::Call(_) | Event::Calls(_) | Event::Breaker(_) | Event::Resource(_) | Event::Pool(_) | Event::Cache(_) | Event::Metric(_) => {
            0
        }
    };
    size_of::<Item>() + beside
}

fn text(value: &homeostat_schemas::event::SampleValue) -> usize {
    match value {
        homeostat_schemas::event::SampleValue::Text(text) => text.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostat_schemas::event::Query;

    fn query(bytes: usize) -> Event {
        Query { statement: "x".repeat(bytes), ..Query::default() }.into()
    }

    #[test]
    fn what_is_too_many_is_dropped_and_counted_and_room_comes_back() {
        let counters = Arc::new(Counters::default());
        let (queue, mut items, gauge) = queue(2, 1 << 20, Arc::clone(&counters));
        assert_eq!(queue.offer(query(1), None), Ok(()));
        assert_eq!(queue.offer(query(1), None), Ok(()));
        assert_eq!(queue.offer(query(1), None), Err(PublishError::Full));
        let item = items.try_recv().unwrap();
        gauge.taken(&item);
        assert_eq!(queue.offer(query(1), None), Ok(()));
        assert_eq!(counters.stats(false, 0, 0, 0).dropped, 1);
        assert_eq!(counters.stats(false, 0, 0, 0).accepted, 3);
        assert_eq!(gauge.waiting.load(Relaxed), 3);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let counters = Arc::new(Counters::default());
        let (queue, mut items, gauge) = queue(1000, 100_000, counters);
        assert_eq!(queue.offer(query(60_000), None), Ok(()));
        assert_eq!(queue.offer(query(60_000), None), Err(PublishError::Full));
        gauge.taken(&items.try_recv().unwrap());
        assert_eq!(queue.offer(query(60_000), None), Ok(()));
    }
}
