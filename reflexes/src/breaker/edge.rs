//! One replica's breaker for one peer, whole and pure: the local machine, the follower of the fleet, and the sums that the
//! replica reports. [`super::Gate`] is this behind a lock with a lock-free front; a simulation may drive either.

use super::config::Config;
use super::follower::{Follower, Heard, Share};
use super::local::{Effects, Event, Local, Totals};
use super::words::{Attempt, Change, Dialect, HOLD_ASK_MS, Operation, Outcome, Permit, Refusal, State};
use homeostat_schemas::{Admission, Ms};
use std::collections::VecDeque;

/// Sums are reported this often while there is anything to report, ms.
pub const REPORT_EVERY_MS: Ms = 200;

/// A failure is reported at once, but not more often than this, ms.
pub const URGENT_EVERY_MS: Ms = 20;

/// So many changes wait to be fetched at most; the oldest go first.
const CHANGES_MAX: usize = 64;

/// What happened since the last report: the numbers of a `calls` event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delta {
    /// Calls that succeeded.
    pub ok: u64,
    /// Calls that failed or timed out.
    pub failed: u64,
    /// Calls that were not sent.
    pub shed: u64,
    /// Calls that succeeded and were slow.
    pub slow: u64,
    /// Over how long, ms.
    pub over_ms: Ms,
}

impl Delta {
    const fn is_empty(&self) -> bool {
        self.ok == 0 && self.failed == 0 && self.shed == 0
    }
}

/// What is to be told others now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Sums for a `calls` event, when they are due.
    pub delta: Option<Delta>,
    /// Changes of state since the last report, oldest first: a `breaker` event each.
    pub changes: Vec<Change>,
}

/// What can be seen of a breaker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Snapshot {
    /// Where the local machine stands.
    pub state: State,
    /// The fleet's word, while it binds.
    pub share: Option<Share>,
    /// What it has seen.
    pub totals: Totals,
    /// Calls under way, when there is a bulkhead.
    pub in_flight: u32,
}

/// One replica's breaker for one peer.
#[derive(Debug, Clone, PartialEq)]
pub struct Edge {
    local: Local,
    follower: Follower,
    /// Does it listen to the fleet? Only in our own dialect: the others are what they are elsewhere.
    follows: bool,
    delta: Delta,
    reported_at: Ms,
    urgent: bool,
    shed_by_fleet: u64,
    changes: VecDeque<Change>,
}

impl Edge {
    /// A closed breaker.
    #[must_use]
    pub fn new(config: Config, operation: Option<String>, zone: Option<String>, now: Ms) -> Edge {
        let follows = config.dialect == Dialect::Homeostat;
        Edge {
            local: Local::new(config, now),
            follower: Follower::new(operation, zone),
            follows,
            delta: Delta::default(),
            reported_at: now,
            urgent: false,
            shed_by_fleet: 0,
            changes: VecDeque::new(),
        }
    }

    /// May this call be made, which has been held back for `waited` milliseconds so far?
    ///
    /// # Errors
    /// Why not, or not yet.
    pub fn acquire(&mut self, attempt: Attempt, waited: Ms, now: Ms, chance: f64) -> Result<Permit, Refusal> {
        self.pass(now, chance);
        let decision = match self.share(now) {
            // The fleet decides for the local machine, which has no share in it but the bulkhead. Who waits has been drawn already.
            Some(share) if share.hold > 0 && (waited > 0 || chance >= share.of(attempt)) => match share.hold.saturating_sub(waited) {
                0 => self.local.admit(),
                left => return Err(Refusal::Held { wait: left.min(HOLD_ASK_MS) }),
            },
            Some(share) if chance >= share.of(attempt) => {
                self.shed_by_fleet += 1;
                Err(Refusal::Fleet)
            }
            Some(_) => self.local.admit(),
            None => self.step(Event::Acquire(attempt), now, chance).decision.unwrap_or(Err(Refusal::Probing)),
        };
        self.delta.shed += u64::from(decision.is_err());
        decision
    }

    /// A call ended. True when the fleet should hear of it at once: then call [`Edge::report`].
    pub fn settle(&mut self, permit: Permit, outcome: Outcome, took: Ms, now: Ms, chance: f64) -> bool {
        let slow = outcome == Outcome::Success && self.local.config().slow_ms.is_some_and(|slow| took > slow);
        match outcome {
            Outcome::Success => {
                self.delta.ok += 1;
                self.delta.slow += u64::from(slow);
                self.follower.succeeded(1, now);
            }
            Outcome::Failure | Outcome::Timeout => {
                self.delta.failed += 1;
                self.follower.failed(now);
                self.urgent = true;
            }
            Outcome::Ignored => {}
        }
        self.step(Event::Settle { permit, outcome, took }, now, chance);
        self.pass(now, chance);
        self.urgent && now.saturating_sub(self.reported_at) >= URGENT_EVERY_MS
    }

    /// So many calls succeeded quickly between `since` and now, and were not told one by one.
    pub fn absorb(&mut self, ok: u64, since: Ms, now: Ms, chance: f64) {
        if ok > 0 {
            self.delta.ok += ok;
            self.follower.succeeded(ok, since);
            self.step(Event::Absorb { ok }, now, chance);
        }
    }

    /// The fleet's breaker said something.
    pub fn hear(&mut self, said: &Admission, now: Ms, chance: f64) {
        self.pass(now, chance);
        if self.follows && self.follower.hear(said, now) == Heard::Closed {
            self.step(Event::Renew, now, chance);
        }
    }

    /// Somebody does something to it.
    pub fn operate(&mut self, operation: Operation, now: Ms, chance: f64) {
        self.step(Event::Operate(operation), now, chance);
    }

    /// Time passed: what is to be told others now?
    pub fn report(&mut self, now: Ms, chance: f64) -> Report {
        self.pass(now, chance);
        self.step(Event::Tick, now, chance);
        let waited = now.saturating_sub(self.reported_at);
        let due = !self.delta.is_empty() && (waited >= REPORT_EVERY_MS || self.urgent && waited >= URGENT_EVERY_MS);
        let delta = due.then(|| {
            self.reported_at = now;
            self.urgent = false;
            Delta { over_ms: waited.max(1), ..std::mem::take(&mut self.delta) }
        });
        Report { delta, changes: self.changes.drain(..).collect() }
    }

    /// What can be seen of it.
    #[must_use]
    pub fn snapshot(&self, now: Ms) -> Snapshot {
        let mut totals = self.local.totals();
        totals.shed += self.shed_by_fleet;
        Snapshot { state: self.local.state(), share: self.share(now), totals, in_flight: self.local.in_flight() }
    }

    /// Do calls pass without being looked at one by one?
    pub(super) fn is_free(&self, now: Ms) -> bool {
        let config = self.local.config();
        let simple = config.dialect == Dialect::Homeostat && config.capacity.is_none();
        simple && self.local.state().passes() && self.share(now).is_none()
    }

    pub(super) const fn era(&self) -> u64 {
        self.local.era()
    }

    /// The fleet's shares, unless somebody switched the breaker off or holds it open: that is a word closer to home.
    fn share(&self, now: Ms) -> Option<Share> {
        let state = self.local.state();
        let listens = self.follows && !matches!(state, State::Disabled | State::MetricsOnly | State::ForcedOpen);
        if listens { self.follower.share(now) } else { None }
    }

    /// A lease may be over.
    fn pass(&mut self, now: Ms, chance: f64) {
        if self.follows && self.follower.lapse(now) {
            self.step(Event::Inherit, now, chance);
        }
    }

    fn step(&mut self, event: Event, now: Ms, chance: f64) -> Effects {
        let effects = self.local.step(event, now, chance);
        for change in &effects.changes {
            if self.changes.len() >= CHANGES_MAX {
                self.changes.pop_front();
            }
            self.changes.push_back(*change);
        }
        effects
    }
}
