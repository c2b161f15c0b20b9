//! The follower: what a replica makes of the fleet's word, as a pure machine.
//!
//! The breaker actor says what share of calls may be made ([`Admission`]). The follower keeps the newest word about its calls for
//! as long as the word's lease, and disregards it when its own experience says otherwise (*dissent*): three successes and no
//! failure since the run of failures began. All time is the replica's own; the word carries durations only, so clocks may differ.

use super::words::Attempt;
use homeostat_schemas::{Admission, AdmissionState, Ms};

/// So many own successes, without a failure since the run began, outweigh the fleet's word.
pub const DISSENT: usize = 3;

/// Nobody waits for longer than this instead of being refused, whatever the word says, ms.
pub const HOLD_MAX_MS: Ms = 2_000;

/// No word binds for longer than this, whatever it says, ms: a mistaken lease must not hold a replica for ever.
pub const LEASE_MAX_MS: Ms = 60_000;

/// The newest word about some of the calls.
#[derive(Debug, Clone, PartialEq)]
struct Word {
    epoch: u64,
    share: Share,
    /// Does it decide in place of the replica's own breaker? Also where all may pass: a peer of which it was found that shedding does
    /// not help is no reason for the replica to open by itself.
    decides: bool,
    until: Ms,
    /// When the run of failures began, by the replica's clock.
    began: Ms,
}

/// What became of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It is about other calls, older than what is known, or says what holds anyway.
    Nothing,
    /// It binds from now on.
    Binds,
    /// It says that all is well again, after another said otherwise.
    Closed,
}

/// The shares that may be made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    /// Of first attempts.
    pub first: f64,
    /// Of repetitions.
    pub retry: f64,
    /// How long who is not in them waits, ms, instead of being refused; 0: not at all.
    pub hold: Ms,
}

impl Share {
    /// Both words together: what passes both. Where one of those that shed refuses, who is not in it is refused.
    fn and(self, other: Share) -> Share {
        let hold = match (self.sheds(), other.sheds()) {
            (true, true) => self.hold.min(other.hold),
            (true, false) => self.hold,
            (false, _) => other.hold,
        };
        Share { first: self.first.min(other.first), retry: self.retry.min(other.retry), hold }
    }

    fn sheds(self) -> bool {
        self.first < 1.0 || self.retry < 1.0
    }

    /// The share for such an attempt.
    #[must_use]
    pub const fn of(self, attempt: Attempt) -> f64 {
        match attempt {
            Attempt::First => self.first,
            Attempt::Retry => self.retry,
        }
    }
}

/// One replica's view of what the fleet says about its calls to a peer.
#[derive(Debug, Clone, PartialEq)]
pub struct Follower {
    operation: Option<String>,
    zone: Option<String>,
    /// About all calls, those of the zone, of the operation, of both.
    words: [Option<Word>; 4],
    failed_at: Option<Ms>,
    /// The last successes since the last failure, oldest first.
    good: [Option<Ms>; DISSENT],
}

impl Follower {
    /// A follower for calls of this operation from this zone, when they are known.
    #[must_use]
    pub fn new(operation: Option<String>, zone: Option<String>) -> Follower {
        Follower { operation, zone, words: [None, None, None, None], failed_at: None, good: [None; DISSENT] }
    }

    /// Takes a word. Numbers that are none count as "all calls".
    pub fn hear(&mut self, said: &Admission, now: Ms) -> Heard {
        let mine = |about: &Option<String>, own: &Option<String>| about.is_none() || about == own;
        if !mine(&said.operation, &self.operation) || !mine(&said.zone, &self.zone) {
            return Heard::Nothing;
        }
        let slot = &mut self.words[usize::from(said.zone.is_some()) + 2 * usize::from(said.operation.is_some())];
        if slot.as_ref().is_some_and(|known| said.epoch <= known.epoch) {
            return Heard::Nothing;
        }
        let held = slot.as_ref().is_some_and(|known| known.decides && now < known.until);
        let share = |share: f64| if share.is_finite() { share.clamp(0.0, 1.0) } else { 1.0 };
        let closed = said.state == AdmissionState::Closed;
        *slot = Some(Word {
            epoch: said.epoch,
            share: Share {
                first: share(said.fraction),
                retry: share(said.retry_fraction),
                hold: said.hold_ms.unwrap_or(0).min(HOLD_MAX_MS),
            },
            decides: !closed,
            until: now.saturating_add(said.lease_ms.min(LEASE_MAX_MS)),
            began: now.saturating_sub(said.run_ms),
        });
        match (closed, held) {
            (false, _) => Heard::Binds,
            (true, true) => Heard::Closed,
            (true, false) => Heard::Nothing,
        }
    }

    /// The shares that bind now; `None` when there is no word, or none to follow.
    #[must_use]
    pub fn share(&self, now: Ms) -> Option<Share> {
        let binding = self.words.iter().flatten().filter(|word| word.decides && now < word.until && !self.dissents(word));
        binding.map(|word| word.share).reduce(Share::and)
    }

    /// Forgets words whose lease is over. True when the replica was held back by one until then.
    pub fn lapse(&mut self, now: Ms) -> bool {
        let mut held = false;
        for slot in 0..self.words.len() {
            let Some(word) = &self.words[slot] else { continue };
            if word.decides && now >= word.until {
                held |= word.share.sheds() && !self.dissents(word);
                // The epoch stays: an old word that was under way must not come into force after it.
                self.words[slot] = Some(Word { decides: false, ..word.clone() });
            }
        }
        held
    }

    /// An own call succeeded, at `at` or later.
    pub fn succeeded(&mut self, count: u64, at: Ms) {
        for _ in 0..count.min(DISSENT as u64) {
            self.good.rotate_left(1);
            self.good[DISSENT - 1] = Some(at);
        }
    }

    /// An own call failed.
    pub fn failed(&mut self, now: Ms) {
        self.failed_at = Some(now);
        self.good = [None; DISSENT];
    }

    /// Has it had so many successes, and no failure, since the run began?
    fn dissents(&self, word: &Word) -> bool {
        self.failed_at.is_none_or(|at| at < word.began) && self.good[0].is_some_and(|first| first >= word.began)
    }
}
