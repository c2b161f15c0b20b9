//! The gate: one replica's breaker for one peer, used from many threads.
//!
//! While all is well a permit costs one atomic load, and its success a load and a store into a cell that only its thread writes
//! ([`super::cells`]). Failures, refusals and everything that may change the state take a lock and go to the pure machine
//! ([`Edge`]), which then hears of the successes since the last time as one sum.

use super::cells::Cells;
use super::config::Config;
use super::edge::{Edge, Report, Snapshot};
use super::words::{Attempt, Operation, Outcome, Permit, Refusal};
use homeostat_schemas::{Admission, Ms};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where a gate gets time and chance from. Neither is asked for while calls pass freely.
pub trait Clock {
    /// Milliseconds since any fixed origin, from a clock that never runs backwards.
    fn now(&self) -> Ms;
    /// A number from 0 (included) to 1 (excluded), another each time.
    fn chance(&self) -> f64;
}

/// Set in the word while calls pass freely; the rest is the era.
const FREE: u64 = 1;

/// One replica's breaker for one peer, shared by its threads.
#[derive(Debug)]
pub struct Gate {
    word: AtomicU64,
    /// Slower than this is slow; never, when the breaker does not look at it.
    slow_ms: Ms,
    cells: Cells,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    edge: Edge,
    /// How many of the cells' successes the machine has heard of, and when it did.
    absorbed: u64,
    absorbed_at: Ms,
}

impl Gate {
    /// A closed breaker for calls to a peer: all of them, or those of one operation; from a zone, if that is known.
    #[must_use]
    pub fn new(config: Config, operation: Option<String>, zone: Option<String>, clock: &impl Clock) -> Gate {
        let now = clock.now();
        let slow_ms = config.slow_ms.unwrap_or(Ms::MAX);
        let edge = Edge::new(config, operation, zone, now);
        let word = word(&edge, now);
        Gate {
            word: AtomicU64::new(word),
            slow_ms,
            cells: Cells::default(),
            inner: Mutex::new(Inner { edge, absorbed: 0, absorbed_at: now }),
        }
    }

    /// May this call be made? Whoever gets a permit settles it, also when the call is cancelled (as [`Outcome::Ignored`]).
    ///
    /// # Errors
    /// Why not.
    #[inline]
    pub fn acquire(&self, attempt: Attempt, clock: &impl Clock) -> Result<Permit, Refusal> {
        let word = self.word.load(Ordering::Acquire);
        if word & FREE != 0 {
            return Ok(Permit { era: word >> 1, probe: 0, place: false, counted: true });
        }
        self.acquire_held(attempt, 0, clock)
    }

    /// May a call be made that was held back ([`Refusal::Held`]) and has waited for so many milliseconds?
    ///
    /// # Errors
    /// Why not, or not yet.
    pub fn acquire_held(&self, attempt: Attempt, waited: Ms, clock: &impl Clock) -> Result<Permit, Refusal> {
        self.locked(clock, |inner, now, chance| inner.edge.acquire(attempt, waited, now, chance))
    }

    /// A call succeeded, and nobody measured how long it took.
    #[inline]
    pub fn succeed(&self, permit: Permit, clock: &impl Clock) {
        if permit.probe == 0 && !permit.place && self.word.load(Ordering::Relaxed) == (permit.era << 1 | FREE) {
            self.cells.add();
        } else {
            self.locked(clock, |inner, now, chance| inner.edge.settle(permit, Outcome::Success, 0, now, chance));
        }
    }

    /// A call ended after `took` milliseconds. True when the fleet should hear of it at once: then call [`Gate::report`].
    #[inline]
    pub fn settle(&self, permit: Permit, outcome: Outcome, took: Ms, clock: &impl Clock) -> bool {
        if outcome == Outcome::Success && took <= self.slow_ms {
            self.succeed(permit, clock);
            return false;
        }
        self.locked(clock, |inner, now, chance| inner.edge.settle(permit, outcome, took, now, chance))
    }

    /// The fleet's breaker said something.
    pub fn hear(&self, said: &Admission, clock: &impl Clock) {
        self.locked(clock, |inner, now, chance| inner.edge.hear(said, now, chance));
    }

    /// A person or a programme does something to the breaker.
    pub fn operate(&self, operation: Operation, clock: &impl Clock) {
        self.locked(clock, |inner, now, chance| inner.edge.operate(operation, now, chance));
    }

    /// What is to be told others now: call it every [`super::REPORT_EVERY_MS`], and whenever [`Gate::settle`] asks for it.
    pub fn report(&self, clock: &impl Clock) -> Report {
        self.locked(clock, |inner, now, chance| inner.edge.report(now, chance))
    }

    /// What can be seen of it now.
    pub fn snapshot(&self, clock: &impl Clock) -> Snapshot {
        self.locked(clock, |inner, now, _| inner.edge.snapshot(now))
    }

    #[inline(never)]
    fn locked<T>(&self, clock: &impl Clock, act: impl FnOnce(&mut Inner, Ms, f64) -> T) -> T {
        let chance = clock.chance();
        let mut inner = self.lock();
        // After the lock, so that nobody's time is older than what the machine has seen.
        let now = clock.now();
        let sum = self.cells.sum();
        let (ok, since) = (sum.wrapping_sub(inner.absorbed), inner.absorbed_at);
        inner.absorbed = sum;
        inner.absorbed_at = now;
        inner.edge.absorb(ok, since, now, chance);
        let result = act(&mut inner, now, chance);
        self.word.store(word(&inner.edge, now), Ordering::Release);
        result
    }

    /// A panic elsewhere does not make a breaker unusable: its state is whole after every step.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn word(edge: &Edge, now: Ms) -> u64 {
    edge.era() << 1 | if edge.is_free(now) { FREE } else { 0 }
}
