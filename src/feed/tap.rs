//! Where the shared reader hands out to one follower: only what the follower asked for. The rest is passed over here, so that
//! it costs neither side more than a comparison; how far that went is known all the same.

use super::chunk::{Chunk, Mark};
use homeostat_actors::core::Topics;
use homeostat_schemas::Position;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// What a follower is given.
#[derive(Debug, Clone)]
pub struct Portion {
    /// How far it has passed over messages before these, which were about something else.
    pub passed: Mark,
    /// Messages; some of them are about what was asked for.
    pub chunk: Chunk,
}

/// How far the log went past a follower, for whoever shows its position.
#[derive(Debug, Default)]
pub struct Progress {
    /// The last message of what was handed to it last.
    given: AtomicU64,
    /// Everything up to here was handed to it, or was about something else.
    passed: AtomicU64,
}

impl Progress {
    /// Where a follower is who has taken everything up to `taken`: behind what was given since, or wherever the log is.
    #[must_use]
    pub fn position(&self, taken: Position) -> Position {
        // In this order: what is given in between makes the answer older, never newer than the truth.
        let passed = self.passed.load(Ordering::Acquire);
        if taken >= self.given.load(Ordering::Acquire) { taken.max(passed) } else { taken }
    }
}

/// The reader's side of a follower.
pub(super) struct Tap {
    sender: mpsc::Sender<Portion>,
    topics: Topics,
    passed: Mark,
    progress: Arc<Progress>,
}

impl Tap {
    /// A tap for these topics, and where its follower receives.
    pub(super) fn new(topics: Topics, waiting: usize, progress: &Arc<Progress>) -> (Tap, mpsc::Receiver<Portion>) {
        let (sender, receiver) = mpsc::channel(waiting);
        (Tap { sender, topics, passed: Mark::default(), progress: progress.clone() }, receiver)
    }

    /// Has the follower ended?
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// What is to be sent to the follower of this chunk, and through what; nothing when it is about something else.
    pub(super) fn offer(&mut self, chunk: &Chunk) -> Option<(mpsc::Sender<Portion>, Portion)> {
        let last = chunk.end();
        let wanted = chunk.topics().meets(self.topics);
        let portion = if wanted {
            self.progress.given.store(last.position, Ordering::Release);
            Some((self.sender.clone(), Portion { passed: std::mem::take(&mut self.passed), chunk: chunk.clone() }))
        } else {
            self.passed = self.passed.on(last);
            None
        };
        self.progress.passed.store(last.position, Ordering::Release);
        portion
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostat_actors::core::{Core, Settings};
    use homeostat_actors::driver::Driver;
    use homeostat_actors::health::HealthCore;
    use homeostat_schemas::{Content, Delivery, Event, TraceContext};
    use proptest::prelude::*;

    fn content(what: u8) -> Content {
        let event = match what {
            0 => r#"{"kind":"heartbeat","service":"shop","at_ms":1,"up_s":60,"interval_s":1}"#,
            1 => r#"{"kind":"query","service":"shop","at_ms":1,"statement":"select 1","took_us":5}"#,
            2 => r#"{"kind":"request","service":"shop","at_ms":1,"route":"GET /","status":500,"took_us":5}"#,
            3 => return Content::Housekeeping,
            _ => return Content::Tick,
        };
        Content::Events(vec![Ok(Event::from_json(event.as_bytes()).unwrap())])
    }

    fn chunks(messages: &[Vec<(u8, u64)>]) -> Vec<Chunk> {
        let mut position = 0;
        let mut delivery = |(what, at): &(u8, u64)| {
            position += 1;
            Delivery { position, at: *at, subject: String::new(), content: content(*what), context: TraceContext::default() }
        };
        messages.iter().map(|chunk| chunk.iter().map(&mut delivery).collect()).collect()
    }

    proptest! {
        /// F-1: clocks that step back, chunks of any size, messages about anything: nothing of it tells the two apart.
        #[test]
        fn a_mind_that_is_given_only_what_it_hears_is_the_mind_that_is_given_all(
            messages in proptest::collection::vec(proptest::collection::vec((0_u8..6, 0_u64..100_000), 1..8), 1..40)
        ) {
            let driver = || Driver::<HealthCore>::new("log", Settings::default());
            let (mut all, mut some) = (driver(), driver());
            let (mut outputs, mut fewer) = (Vec::new(), Vec::new());
            let topics = HealthCore::INTEREST.topics();
            let progress = Arc::new(Progress::default());
            let (mut tap, _receiver) = Tap::new(topics, 1, &progress);
            for chunk in chunks(&messages) {
                chunk.iter().for_each(|delivery| outputs.extend(all.step(delivery)));
                let offered = tap.offer(&chunk);
                prop_assert_eq!(offered.is_some(), chunk.topics().meets(topics));
                if let Some((_, portion)) = offered {
                    some.skip_to(portion.passed.position, portion.passed.at);
                    for (delivery, about) in portion.chunk.messages() {
                        if about.meets(topics) {
                            fewer.extend(some.step(delivery));
                        } else {
                            some.skip_to(delivery.position, delivery.at);
                        }
                    }
                }
                prop_assert_eq!(progress.position(some.position()), all.position());
            }
            some.skip_to(tap.passed.position, tap.passed.at);
            prop_assert_eq!(outputs, fewer);
            prop_assert_eq!(all.save().unwrap(), some.save().unwrap());
        }
    }

    #[test]
    fn one_who_has_not_taken_what_was_given_is_where_it_was() {
        let progress = Arc::new(Progress::default());
        let (mut tap, _receiver) = Tap::new(Topics::TICKS, 4, &progress);
        let chunks = chunks(&[vec![(3, 1), (3, 1)], vec![(5, 1)], vec![(3, 1)]]);
        assert!(tap.offer(&chunks[0]).is_none());
        assert_eq!(progress.position(0), 2, "what is about something else is behind it");
        assert!(tap.offer(&chunks[1]).is_some());
        assert!(tap.offer(&chunks[2]).is_none());
        assert_eq!(progress.position(2), 2, "the tick is still before it");
        assert_eq!(progress.position(3), 4);
    }
}
