//! Scripted calls through the local machine: what `homeostat breaker replay` does, and how the dialects are held against their
//! originals.
//!
//! At one instant happens, in this order: timers that are due, settlements, operations, new calls. A settlement that is made at
//! the very instant of its call (a latency of zero) comes before the next call of that instant.

use super::config::{Config, WindowType};
use super::local::{Event, Local};
use super::words::{Attempt, Change, Dialect, Operation, Outcome, Permit, Refusal};
use homeostat_schemas::Ms;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Most calls and operations of one case.
pub const EVENTS_MAX: usize = 1_000_000;

/// The settings of a case, as they stand in the file. What is `null` or absent is not used.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct CaseConfig {
    failure_pct: Option<f64>,
    window_type: Option<WindowType>,
    window_ms: Option<Ms>,
    buckets: Option<u32>,
    window_calls: Option<u32>,
    min_calls: Option<u32>,
    open_ms: Option<Ms>,
    half_open_permits: Option<u32>,
    slow_ms: Option<Ms>,
    slow_pct: Option<f64>,
    call_timeout_ms: Option<Ms>,
    capacity: Option<u32>,
    max_half_open_ms: Option<Ms>,
    warm_up: Option<bool>,
    open_backoff: Option<f64>,
}

/// How a scripted call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scripted {
    /// It succeeds.
    Ok,
    /// It fails.
    Err,
    /// It fails in a way that is filtered out.
    Ignored,
    /// It never ends.
    Hang,
}

/// One scripted call: when, which, how it ends, after how long.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Call(pub Ms, pub String, pub Scripted, pub Ms);

/// One case.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Case {
    /// The settings.
    #[serde(default)]
    pub config: CaseConfig,
    /// The calls.
    #[serde(default)]
    pub calls: Vec<Call>,
    /// What is done to the breaker, and when.
    #[serde(default)]
    pub ops: Vec<(Ms, Operation)>,
    /// When it ends.
    pub until_ms: Ms,
}

/// One line of a trace: when, what kind (`admit`, `reject`, `bulkhead_reject`, `state`, `op`, `final`), and which call, state or
/// operation. Serialises as `[t_ms, kind, value]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line(pub Ms, pub &'static str, pub String);

/// A case too large to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooLarge;

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a case may hold at most {EVENTS_MAX} calls and operations")
    }
}

impl std::error::Error for TooLarge {}

impl CaseConfig {
    /// As the settings of a breaker of this dialect. Waits are as scripted: no jitter, no limit, no second way to open.
    #[must_use]
    pub fn breaker(&self, dialect: Dialect) -> Config {
        let base = Config::default();
        let open_ms = self.open_ms.unwrap_or(30_000);
        Config {
            dialect,
            failure_pct: self.failure_pct.unwrap_or(base.failure_pct),
            window_type: self.window_type.unwrap_or_default(),
            window_ms: self.window_ms.unwrap_or(base.window_ms),
            buckets: self.buckets.unwrap_or(base.buckets),
            window_calls: self.window_calls.unwrap_or(base.window_calls),
            min_calls: self.min_calls.unwrap_or(base.min_calls),
            open_ms,
            open_backoff: self.open_backoff,
            open_max_ms: Ms::MAX,
            jitter: 0.0,
            half_open_permits: self.half_open_permits.unwrap_or(base.half_open_permits),
            // The script says nothing of it: a probe is given as long as a call, else as long as the wait.
            probe_deadline_ms: self.call_timeout_ms.unwrap_or(open_ms),
            max_half_open_ms: self.max_half_open_ms.unwrap_or(0),
            slow_ms: self.slow_ms,
            slow_pct: self.slow_pct.unwrap_or(base.slow_pct),
            capacity: self.capacity,
            warm_up: self.warm_up.unwrap_or(false),
            sequential: false,
            sheds: base.sheds,
        }
    }
}

/// What comes next at an instant, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Timeout,
    Timer,
    Settle,
    Operate,
    Call,
}

/// Runs a case.
///
/// # Errors
/// It holds more than [`EVENTS_MAX`] calls and operations.
pub fn replay(case: &Case, dialect: Dialect) -> Result<Vec<Line>, TooLarge> {
    if case.calls.len().saturating_add(case.ops.len()) > EVENTS_MAX {
        return Err(TooLarge);
    }
    let mut run = Run {
        breaker: Local::new(case.config.breaker(dialect), 0),
        timeout: case.config.call_timeout_ms.filter(|ms| *ms > 0),
        under_way: BTreeMap::new(),
        trace: Vec::new(),
    };
    // Scripts are written in order of time; a stable sort keeps that of one instant.
    let mut calls: Vec<&Call> = case.calls.iter().collect();
    calls.sort_by_key(|call| call.0);
    let mut operations: Vec<_> = case.ops.iter().collect();
    operations.sort_by_key(|(at, _)| *at);
    let (mut next_call, mut next_operation) = (0, 0);
    loop {
        let ends = run.under_way.first_key_value().map(|(key, _)| (key.0, key.1));
        let next = [
            run.breaker.due().map(|at| (at, Turn::Timer)),
            ends,
            operations.get(next_operation).map(|(at, _)| (*at, Turn::Operate)),
            calls.get(next_call).map(|call| (call.0, Turn::Call)),
        ];
        let Some((at, turn)) = next.into_iter().flatten().min() else { break };
        if at > case.until_ms {
            break;
        }
        match turn {
            Turn::Timer => run.step(Event::Tick, at, |_| None),
            Turn::Timeout | Turn::Settle => {
                if let Some((_, (permit, outcome, took))) = run.under_way.pop_first() {
                    run.step(Event::Settle { permit, outcome, took }, at, |_| None);
                }
            }
            Turn::Operate => {
                let operation = operations[next_operation].1;
                next_operation += 1;
                run.step(Event::Operate(operation), at, |_| Some(("op", operation.name().to_owned())));
            }
            Turn::Call => {
                let call = calls[next_call];
                run.call(call, next_call);
                next_call += 1;
            }
        }
    }
    run.trace.push(Line(case.until_ms, "final", run.breaker.state().name().to_owned()));
    Ok(run.trace)
}

type Ending = (Permit, Outcome, Ms);

struct Run {
    breaker: Local,
    timeout: Option<Ms>,
    /// By when, what turn, and the number of the call.
    under_way: BTreeMap<(Ms, Turn, usize), Ending>,
    trace: Vec<Line>,
}

impl Run {
    /// One event; changes of state are told before what else it made.
    fn step(&mut self, event: Event, at: Ms, tell: impl FnOnce(&Option<Result<Permit, Refusal>>) -> Option<(&'static str, String)>) {
        let _ = self.decide(event, at, tell);
    }

    fn decide(
        &mut self,
        event: Event,
        at: Ms,
        tell: impl FnOnce(&Option<Result<Permit, Refusal>>) -> Option<(&'static str, String)>,
    ) -> Option<Result<Permit, Refusal>> {
        let effects = self.breaker.step(event, at, 0.0);
        self.trace.extend(effects.changes.iter().map(|Change { at, to, .. }| Line(*at, "state", to.name().to_owned())));
        if let Some((kind, value)) = tell(&effects.decision) {
            self.trace.push(Line(at, kind, value));
        }
        effects.decision
    }

    fn call(&mut self, Call(at, id, scripted, latency): &Call, number: usize) {
        let decision = self.decide(Event::Acquire(Attempt::First), *at, |decision| {
            let kind = match decision {
                Some(Ok(_)) => "admit",
                Some(Err(Refusal::Bulkhead)) => "bulkhead_reject",
                Some(Err(_)) | None => "reject",
            };
            Some((kind, id.clone()))
        });
        let Some(Ok(permit)) = decision else { return };
        let outcome = match scripted {
            Scripted::Ok => Some(Outcome::Success),
            Scripted::Err => Some(Outcome::Failure),
            Scripted::Ignored => Some(Outcome::Ignored),
            Scripted::Hang => None,
        };
        let ends = at.saturating_add(*latency);
        // What nobody watches (opossum, disabled) is not given up either.
        match (outcome, self.timeout.filter(|_| permit.counted)) {
            (Some(outcome), Some(timeout)) if *latency < timeout => {
                self.under_way.insert((ends, Turn::Settle, number), (permit, outcome, *latency));
            }
            (_, Some(timeout)) => {
                let at = at.saturating_add(timeout);
                self.under_way.insert((at, Turn::Timeout, number), (permit, Outcome::Timeout, timeout));
            }
            (Some(outcome), None) => {
                self.under_way.insert((ends, Turn::Settle, number), (permit, outcome, *latency));
            }
            (None, None) => {}
        }
    }
}
