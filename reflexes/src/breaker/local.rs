//! The local machine: one breaker as a pure function of what happens to it, `(event, now, chance) → (state, effects)`.
//!
//! What all dialects share stands here, what tells them apart in one file each. Promises `B-1` to `B-6` are in the head of
//! [`crate::breaker`].

mod homeostat;
mod opossum;
mod resilience4j;
mod run;

use super::config::Config;
use super::window::{Counts, Window};
use super::words::{Attempt, Change, Dialect, Operation, Outcome, Permit, Refusal, State, Why};
use homeostat_schemas::Ms;
use run::Run;

/// What happens to a breaker.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A call asks to be made.
    Acquire(Attempt),
    /// An admitted call ended.
    Settle {
        /// Its permit.
        permit: Permit,
        /// How.
        outcome: Outcome,
        /// How long it took, ms; 0 when nobody measured.
        took: Ms,
    },
    /// So many calls of this era succeeded, none of them slow, of which nobody told one by one.
    Absorb {
        /// How many.
        ok: u64,
    },
    /// Somebody does something to it.
    Operate(Operation),
    /// The fleet's breaker fell silent while it held this replica back: go on as if open for some part of a first wait.
    Inherit,
    /// The fleet's breaker says that all is well again: begin anew.
    Renew,
    /// Time passed.
    Tick,
}

/// What follows from an event.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// May the call be made? Only after [`Event::Acquire`].
    pub decision: Option<Result<Permit, Refusal>>,
    /// Changes of state, in order; at most three.
    pub changes: Vec<Change>,
}

/// How many calls a breaker has seen end, and refused, since it was made. For metrics: nothing is decided by them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Succeeded.
    pub ok: u64,
    /// Failed, timeouts included.
    pub failed: u64,
    /// Of those that succeeded, how many were slow.
    pub slow: u64,
    /// Ended in a way that says nothing.
    pub ignored: u64,
    /// Refused.
    pub shed: u64,
    /// Came back in another era than the one they were sent in.
    pub late: u64,
    /// How often it opened.
    pub opened: u64,
}

/// The probes of a half-open breaker.
#[derive(Debug, Clone, PartialEq)]
struct Half {
    /// Permits left (opossum, resilience4j).
    permits: u32,
    /// Results so far (resilience4j).
    results: Window,
    /// Results so far (ours).
    seen: Counts,
    /// The last number given to a probe.
    last: u32,
    /// Probes under way with their deadlines, in the order of both (ours).
    under_way: Vec<(u32, Ms)>,
    /// When it opens again without a verdict.
    until: Option<Ms>,
}

/// One breaker.
#[derive(Debug, Clone, PartialEq)]
pub struct Local {
    config: Config,
    born: Ms,
    state: State,
    era: u64,
    window: Window,
    /// The sum of the sequential test.
    excess: f64,
    /// The run of failures, and what is usual.
    run: Run,
    /// When a call was last counted.
    counted_at: Ms,
    /// How often it has opened since it was last closed.
    attempts: u32,
    /// When an open breaker lets a probe through.
    retry_at: Ms,
    half: Half,
    in_flight: u32,
    /// Does opossum look at all?
    enabled: bool,
    totals: Totals,
}

impl Local {
    /// A closed breaker, made at `now` (milliseconds since any fixed origin).
    #[must_use]
    pub fn new(config: Config, now: Ms) -> Local {
        let config = config.bounded();
        let window = Window::new(&config, now, now);
        let half = Local::half(&config, now);
        Local {
            config,
            born: now,
            state: State::Closed,
            era: 1,
            window,
            excess: 0.0,
            run: Run::default(),
            counted_at: now,
            attempts: 0,
            retry_at: now,
            half,
            in_flight: 0,
            enabled: true,
            totals: Totals::default(),
        }
    }

    /// Takes one event.
    ///
    /// `now` are milliseconds since any fixed origin, never less than before (what is less is taken for the same). `chance` is a
    /// number from 0 (included) to 1 (excluded) that nobody can foretell; it is used for the length of a wait only, and a constant
    /// makes the machine a function of its events.
    pub fn step(&mut self, event: Event, now: Ms, chance: f64) -> Effects {
        let mut effects = Effects::default();
        // A timeout that falls due with the breaker's own timer was set before it, and goes first.
        let timeout = matches!(event, Event::Settle { outcome: Outcome::Timeout, .. });
        if self.due().is_some_and(|due| due < now || due == now && !timeout) {
            self.timers(now, chance, &mut effects);
        }
        match event {
            Event::Acquire(attempt) => {
                let decision = match self.config.dialect {
                    Dialect::Opossum => self.opossum_acquire(now, &mut effects),
                    Dialect::Resilience4j => self.resilience4j_acquire(now, &mut effects),
                    Dialect::Homeostat => self.homeostat_acquire(attempt, now, &mut effects),
                };
                self.totals.shed += u64::from(decision.is_err());
                effects.decision = Some(decision);
            }
            Event::Settle { permit, outcome, took } => {
                if permit.place {
                    self.in_flight = self.in_flight.saturating_sub(1);
                }
                let slow = self.is_slow(took);
                self.count(outcome, slow);
                match self.config.dialect {
                    Dialect::Opossum => self.opossum_settle(&permit, outcome, took, now, &mut effects),
                    Dialect::Resilience4j => self.resilience4j_settle(outcome, slow, now, &mut effects),
                    Dialect::Homeostat => self.homeostat_settle(&permit, outcome, slow, now, chance, &mut effects),
                }
            }
            Event::Absorb { ok } => {
                self.totals.ok = self.totals.ok.saturating_add(ok);
                self.homeostat_absorb(ok, now, chance, &mut effects);
            }
            Event::Operate(operation) => match self.config.dialect {
                Dialect::Opossum => self.opossum_operate(operation, now, &mut effects),
                Dialect::Resilience4j | Dialect::Homeostat => self.operate(operation, now, chance, &mut effects),
            },
            Event::Inherit => self.inherit(now, chance, &mut effects),
            Event::Renew => {
                if !matches!(self.state, State::Disabled | State::ForcedOpen | State::MetricsOnly) {
                    self.close(Why::Fleet, now, &mut effects);
                }
            }
            Event::Tick => {}
        }
        effects
    }

    /// A permit on somebody else's word: the state is not asked, the bulkhead is.
    pub(super) fn admit(&mut self) -> Result<Permit, Refusal> {
        let Some(place) = self.place() else {
            self.totals.shed += 1;
            return Err(Refusal::Bulkhead);
        };
        Ok(Permit { era: self.era, probe: 0, place, counted: true })
    }

    /// Where it stands. An open breaker whose wait is over stays open until a call asks (opossum: until its timer).
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// The number of its era: permits of another say nothing of this one.
    #[must_use]
    pub const fn era(&self) -> u64 {
        self.era
    }

    /// The settings in force, [bounded](Config::bounded).
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// What it has seen.
    #[must_use]
    pub const fn totals(&self) -> Totals {
        self.totals
    }

    /// How many calls hold a place in the bulkhead; 0 when there is none.
    #[must_use]
    pub const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// When something changes by the mere passing of time: opossum's timer, the end of a half-open breaker's patience, a probe's
    /// deadline. The caller need not be punctual: whatever comes later looks at the timers first.
    #[must_use]
    pub fn due(&self) -> Option<Ms> {
        match (self.config.dialect, self.state) {
            (Dialect::Opossum, State::Open) => Some(self.retry_at),
            (Dialect::Resilience4j | Dialect::Homeostat, State::HalfOpen) => {
                let probe = self.half.under_way.first().map(|(_, deadline)| *deadline);
                [probe, self.half.until].into_iter().flatten().min()
            }
            _ => None,
        }
    }

    fn timers(&mut self, now: Ms, chance: f64, effects: &mut Effects) {
        match self.config.dialect {
            Dialect::Opossum => {
                let at = self.retry_at;
                self.half.permits = 1;
                self.change(State::HalfOpen, Why::WaitOver, at, effects);
            }
            Dialect::Resilience4j => self.open(Why::ProbesLost, now, chance, effects),
            Dialect::Homeostat => self.homeostat_timers(now, chance, effects),
        }
    }

    fn half(config: &Config, now: Ms) -> Half {
        Half {
            permits: config.half_open_permits,
            results: Window::of_calls(config.half_open_permits),
            seen: Counts::default(),
            last: 0,
            under_way: Vec::new(),
            until: (config.max_half_open_ms > 0).then(|| now.saturating_add(config.max_half_open_ms)),
        }
    }

    fn is_slow(&self, took: Ms) -> bool {
        /// What resilience4j calls slow unless told otherwise.
        const RESILIENCE4J_SLOW_MS: Ms = 60_000;
        match (self.config.dialect, self.config.slow_ms) {
            (Dialect::Opossum, _) | (Dialect::Homeostat, None) => false,
            (Dialect::Resilience4j, slow) => took > slow.unwrap_or(RESILIENCE4J_SLOW_MS),
            (Dialect::Homeostat, Some(slow)) => took > slow,
        }
    }

    fn count(&mut self, outcome: Outcome, slow: bool) {
        let totals = &mut self.totals;
        match outcome {
            Outcome::Success => {
                totals.ok += 1;
                totals.slow += u64::from(slow);
            }
            Outcome::Failure | Outcome::Timeout => totals.failed += 1,
            Outcome::Ignored => totals.ignored += 1,
        }
    }

    /// A place in the bulkhead, if there is one and there is room.
    fn place(&mut self) -> Option<bool> {
        match self.config.capacity {
            None => Some(false),
            Some(capacity) if self.in_flight < capacity => {
                self.in_flight += 1;
                Some(true)
            }
            Some(_) => None,
        }
    }

    fn change(&mut self, to: State, why: Why, at: Ms, effects: &mut Effects) {
        if to != self.state {
            effects.changes.push(Change { at, from: self.state, to, why });
            self.state = to;
        }
    }

    /// A new era in this state, with everything in it new; told only when the state is another.
    fn begin(&mut self, to: State, why: Why, now: Ms, effects: &mut Effects) {
        self.era += 1;
        self.window = Window::new(&self.config, self.born, now);
        self.excess = 0.0;
        self.run.discard();
        self.half = Local::half(&self.config, now);
        if matches!(to, State::Closed | State::Disabled | State::MetricsOnly) {
            self.attempts = 0;
        }
        self.change(to, why, now, effects);
    }

    fn close(&mut self, why: Why, now: Ms, effects: &mut Effects) {
        self.begin(State::Closed, why, now, effects);
    }

    fn open(&mut self, why: Why, now: Ms, chance: f64, effects: &mut Effects) {
        self.attempts = self.attempts.saturating_add(1);
        self.retry_at = now.saturating_add(self.wait(chance));
        self.totals.opened += 1;
        self.begin(State::Open, why, now, effects);
    }

    /// The wait after the `attempts`th opening: `open_ms · factor^(attempts − 1)`, cut to whole milliseconds at each step as
    /// resilience4j's exponential back-off does; ours with a limit and jitter.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    fn wait(&self, chance: f64) -> Ms {
        let config = &self.config;
        let mut wait = config.open_ms;
        if let Some(factor) = config.open_backoff {
            for _ in 1..self.attempts {
                let longer = (wait as f64 * factor) as Ms;
                let limit = if config.dialect == Dialect::Homeostat { config.open_max_ms } else { Ms::MAX };
                if longer == wait || wait >= limit {
                    break;
                }
                wait = longer.min(limit);
            }
        }
        match config.dialect {
            Dialect::Opossum => config.open_ms,
            Dialect::Resilience4j => wait,
            Dialect::Homeostat => wait.saturating_add((wait as f64 * config.jitter * chance.clamp(0.0, 1.0)) as Ms),
        }
    }

    fn half_open(&mut self, now: Ms, effects: &mut Effects) {
        self.begin(State::HalfOpen, Why::WaitOver, now, effects);
    }

    fn operate(&mut self, operation: Operation, now: Ms, chance: f64, effects: &mut Effects) {
        match operation {
            Operation::Open => self.open(Why::Operator, now, chance, effects),
            Operation::Close | Operation::Enable => self.close(Why::Operator, now, effects),
            Operation::Disable => self.begin(State::Disabled, Why::Operator, now, effects),
            Operation::MetricsOnly => self.begin(State::MetricsOnly, Why::Operator, now, effects),
            Operation::ForceOpen => {
                self.attempts = self.attempts.saturating_add(1);
                self.begin(State::ForcedOpen, Why::Operator, now, effects);
            }
        }
    }

    /// An open breaker keeps its own wait. A closed one opens for an even share of the first wait: the replicas of a fleet then
    /// probe one after the other, as they would if each had opened by itself, and none waits longer than that.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    fn inherit(&mut self, now: Ms, chance: f64, effects: &mut Effects) {
        if self.config.dialect == Dialect::Homeostat && self.state == State::Closed {
            self.open(Why::Fleet, now, chance, effects);
            self.retry_at = now.saturating_add((self.config.open_ms as f64 * chance.clamp(0.0, 1.0)) as Ms);
        }
    }
}
