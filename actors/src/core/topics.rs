//! What messages of the log are about, as a set of bits.

use homeostat_schemas::{Content, EventKind};

/// What a message, or many together, are about. Whether a mind is given anything of them is one comparison, however many minds
/// there are and whatever the messages hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Topics(u64);

/// The bits below are kinds of events.
const KINDS: usize = 32;
const _: () = assert!(EventKind::ALL.len() <= KINDS);

impl Topics {
    /// Nothing.
    pub const NONE: Topics = Topics(0);
    /// Alerts.
    pub const ALERTS: Topics = Topics(1 << KINDS);
    /// Commands.
    pub const COMMANDS: Topics = Topics(1 << (KINDS + 1));
    /// Outcomes.
    pub const OUTCOMES: Topics = Topics(1 << (KINDS + 2));
    /// Questions to hands.
    pub const ASKS: Topics = Topics(1 << (KINDS + 3));
    /// Answers of hands. A mind hears only those to its own asks.
    pub const ANSWERS: Topics = Topics(1 << (KINDS + 4));
    /// Ticks.
    pub const TICKS: Topics = Topics(1 << (KINDS + 5));
    /// Settings.
    pub const SETTINGS: Topics = Topics(1 << (KINDS + 6));
    /// Facts about API keys.
    pub const KEYS: Topics = Topics(1 << (KINDS + 7));
    /// What every mind is given, whatever it listens to.
    pub const EVERYONE: Topics = Topics::ANSWERS.with(Topics::TICKS).with(Topics::SETTINGS);

    /// Events of one kind.
    #[must_use]
    pub const fn event(kind: EventKind) -> Topics {
        Topics(1 << kind as u8)
    }

    /// Both sets.
    #[must_use]
    pub const fn with(self, other: Topics) -> Topics {
        Topics(self.0 | other.0)
    }

    /// Have they anything in common?
    #[must_use]
    pub const fn meets(self, other: Topics) -> bool {
        self.0 & other.0 != 0
    }

    /// What a message is about. What could not be understood, and what only the body keeps, is about nothing.
    #[must_use]
    pub fn of(content: &Content) -> Topics {
        match content {
            Content::Events(events) => events.iter().flatten().fold(Topics::NONE, |all, event| all.with(Topics::event(event.kind()))),
            Content::Alert(_) => Topics::ALERTS,
            Content::Command(_) => Topics::COMMANDS,
            Content::Outcome(_) => Topics::OUTCOMES,
            Content::Ask(_) => Topics::ASKS,
            Content::Answer(_) => Topics::ANSWERS,
            Content::Settings(_) => Topics::SETTINGS,
            Content::Key(_) => Topics::KEYS,
            Content::Tick => Topics::TICKS,
            Content::Housekeeping | Content::Broken(_) => Topics::NONE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Interest;

    /// Every topic there is, each alone.
    fn each() -> Vec<Topics> {
        let kinds = EventKind::ALL.iter().map(|kind| Topics::event(*kind));
        let others = [
            Topics::ALERTS,
            Topics::COMMANDS,
            Topics::OUTCOMES,
            Topics::ASKS,
            Topics::ANSWERS,
            Topics::TICKS,
            Topics::SETTINGS,
            Topics::KEYS,
        ];
        kinds.chain(others).collect()
    }

    #[test]
    fn no_two_topics_share_a_bit() {
        let each = each();
        for (index, topic) in each.iter().enumerate() {
            assert!(each[..index].iter().all(|other| !other.meets(*topic)), "{topic:?}");
        }
    }

    #[test]
    fn an_interest_meets_what_it_names_and_what_comes_to_everyone() {
        let interest = Interest { events: &[EventKind::Query, EventKind::Order], alerts: true, keys: true, ..Interest::NONE };
        let wanted = [
            Topics::KEYS,
            Topics::event(EventKind::Query),
            Topics::event(EventKind::Order),
            Topics::ALERTS,
            Topics::ANSWERS,
            Topics::TICKS,
            Topics::SETTINGS,
        ];
        for topic in each() {
            assert_eq!(interest.topics().meets(topic), wanted.contains(&topic), "{topic:?}");
        }
        assert_eq!(Interest::NONE.topics(), Topics::EVERYONE);
    }
}
