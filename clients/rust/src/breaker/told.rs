//! What the bus is told of one breaker: every change, and now and then where it stands, so that a word that was lost is made good.

use homeostat_reflexes::breaker::{Change, State};
use homeostat_schemas::event::Breaker;
use homeostat_schemas::{Ms, UnixMs};

/// How often a breaker that is not closed says so again, and how long after its change a closed one does so once.
pub(super) const AGAIN_EVERY_MS: Ms = 10_000;
/// So many changes go out at a time; of a breaker that flaps faster only the newest are told.
const CHANGES_MAX: usize = 8;

/// What was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    state: State,
    epoch: u64,
    since_ms: UnixMs,
    /// By the clock of the breakers.
    said_at: Ms,
    /// Was the last word about a change?
    fresh: bool,
}

impl Told {
    /// The events due now, but for whose calls they are about: `changes` since the last time, at `now` of the breakers' clock and
    /// `wall` of the world's.
    pub(super) fn due(&mut self, changes: &[Change], now: Ms, wall: UnixMs) -> Vec<Breaker> {
        let newest = changes.get(changes.len().saturating_sub(CHANGES_MAX)..).unwrap_or_default();
        let mut due = Vec::with_capacity(newest.len());
        for change in newest {
            let at_ms = wall.saturating_sub(now.saturating_sub(change.at));
            // Above that of any process before this one, unless the clock went back: then what is left of that one is soon forgotten.
            self.epoch = self.epoch.saturating_add(1).max(at_ms);
            (self.state, self.since_ms, self.said_at, self.fresh) = (change.to, at_ms, now, true);
            due.push(Breaker {
                at_ms,
                state: change.to,
                from: Some(change.from),
                why: Some(change.why.name().to_owned()),
                epoch: self.epoch,
                since_ms: Some(at_ms),
                ..Breaker::default()
            });
        }
        let again = self.epoch > 0 && (self.fresh || self.state != State::Closed) && now.saturating_sub(self.said_at) >= AGAIN_EVERY_MS;
        if again {
            (self.said_at, self.fresh) = (now, false);
            let (state, epoch, since_ms) = (self.state, self.epoch, Some(self.since_ms));
            due.push(Breaker { at_ms: wall, state, epoch, since_ms, ..Breaker::default() });
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostat_reflexes::breaker::Why;

    const WALL: UnixMs = 1_760_000_000_000;

    fn change(at: Ms, from: State, to: State) -> Change {
        Change { at, from, to, why: Why::Operator }
    }

    #[test]
    fn a_change_is_told_at_once_and_what_is_not_closed_again_and_again() {
        let mut told = Told::default();
        assert!(told.due(&[], 60_000, WALL).is_empty(), "who never changed has nothing to say");
        let open = told.due(&[change(60_900, State::Closed, State::Open)], 61_000, WALL).remove(0);
        assert_eq!((open.state, open.from, open.since_ms), (State::Open, Some(State::Closed), Some(WALL - 100)));
        assert!(told.due(&[], 70_999, WALL + 9_999).is_empty());
        for n in 1..4 {
            let again = told.due(&[], 61_000 + n * AGAIN_EVERY_MS, WALL + n * AGAIN_EVERY_MS).remove(0);
            assert_eq!((again.state, again.from, again.epoch, again.since_ms), (State::Open, None, open.epoch, open.since_ms));
        }
        let closed = told.due(&[change(95_000, State::Open, State::Closed)], 95_000, WALL + 34_000).remove(0);
        assert!(closed.epoch > open.epoch);
        let words = |told: &mut Told| (1..100u64).map(|n| told.due(&[], 95_000 + n * 1_000, WALL + n).len()).sum::<usize>();
        assert_eq!(words(&mut told), 1, "a closed one says so once more");
    }

    #[test]
    fn a_breaker_that_flaps_tells_its_newest_changes_and_epochs_grow() {
        let mut told = Told::default();
        let flap = |n: u64| if n.is_multiple_of(2) { change(n, State::Closed, State::Open) } else { change(n, State::Open, State::Closed) };
        let changes: Vec<_> = (0..64).map(flap).collect();
        // The clock stands still, or goes back.
        let due = told.due(&changes, 64, 0);
        assert_eq!((due.len(), due.last().unwrap().state), (CHANGES_MAX, State::Closed));
        assert!(due.is_sorted_by(|a, b| a.epoch < b.epoch));
    }
}
