//! What the feed hands out: messages of the log, decoded once and shared, with what each is about.

use homeostat_actors::core::Topics;
use homeostat_nats::Entry;
use homeostat_schemas::envelope::Headers;
use homeostat_schemas::{Content, Delivery, Event, Position, Rejected, Root, UnixMs};
use std::sync::Arc;

/// Decodes what was read. Nothing can fail: what is not understood says so itself.
#[must_use]
pub fn decode(root: &Root, entry: &Entry) -> Delivery {
    let [content_type, traceparent, tracestate] = entry.some_headers(["content-type", "traceparent", "tracestate"]);
    let headers = Headers { content_type, traceparent, tracestate };
    Delivery::decode(root, entry.seq, entry.at_ms, entry.subject.to_string(), headers, &entry.payload)
}

/// Everything of a message that could not be processed.
pub fn rejects(delivery: &Delivery) -> impl Iterator<Item = &Rejected> {
    let events: &[Result<Event, Rejected>] = if let Content::Events(events) = &delivery.content { events } else { &[] };
    let broken = if let Content::Broken(rejected) = &delivery.content { Some(rejected) } else { None };
    events.iter().filter_map(|event| event.as_ref().err()).chain(broken)
}

/// Messages of the log in order, decoded, shared.
#[derive(Debug, Clone)]
pub struct Chunk(Arc<Messages>);

#[derive(Debug)]
struct Messages {
    messages: Vec<Delivery>,
    /// Of each message.
    topics: Vec<Topics>,
    /// Of all of them together.
    all: Topics,
    end: Mark,
}

/// How far the log went: a place, and the latest time that a message up to there bears.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark {
    /// The place.
    pub position: Position,
    /// The latest of the stream's timestamps.
    pub at: UnixMs,
}

impl Mark {
    /// Further on.
    #[must_use]
    pub fn on(self, further: Mark) -> Mark {
        Mark { position: self.position.max(further.position), at: self.at.max(further.at) }
    }
}

impl Chunk {
    /// What its messages are about, all together.
    #[must_use]
    pub fn topics(&self) -> Topics {
        self.0.all
    }

    /// Every message with what it is about.
    pub fn messages(&self) -> impl Iterator<Item = (&Delivery, Topics)> {
        self.0.messages.iter().zip(self.0.topics.iter().copied())
    }

    /// How far it goes.
    #[must_use]
    pub fn end(&self) -> Mark {
        self.0.end
    }

    /// Those of its messages that are about any of these topics.
    #[must_use]
    pub fn about(&self, topics: Topics) -> Option<Chunk> {
        if !self.topics().meets(topics) {
            return None;
        }
        Some(self.messages().filter(|(_, about)| about.meets(topics)).map(|(delivery, _)| delivery.clone()).collect())
    }
}

impl std::ops::Deref for Chunk {
    type Target = [Delivery];

    fn deref(&self) -> &[Delivery] {
        &self.0.messages
    }
}

impl FromIterator<Delivery> for Chunk {
    fn from_iter<T: IntoIterator<Item = Delivery>>(messages: T) -> Chunk {
        let messages: Vec<Delivery> = messages.into_iter().collect();
        let topics: Vec<Topics> = messages.iter().map(|delivery| Topics::of(&delivery.content)).collect();
        let all = topics.iter().fold(Topics::NONE, |all, about| all.with(*about));
        let mark = |delivery: &Delivery| Mark { position: delivery.position, at: delivery.at };
        let end = messages.iter().map(mark).fold(Mark::default(), Mark::on);
        Chunk(Arc::new(Messages { messages, topics, all, end }))
    }
}
