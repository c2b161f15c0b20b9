//! Key rotation: what is due for each API key, when, and who should know of it.
//!
//! | part | what |
//! |---|---|
//! | `key` | one key, and what is due for it when |
//! | `clock` | may time be believed? |
//! | `work` | asks of the hand `keys`: one at a time a key, with time-outs, pauses after failures, a cap a minute |
//! | `notices` | what people are told: ends, old versions in use, changes of recipient, revocations |
//! | `facts` | facts and lists of keys, commands to rotate |
//! | [`config`], `view` | settings; what can be seen |
//!
//! The truth about keys is the database. This mind folds the facts about them, and once a day the whole list, into what it needs to know, and
//! asks the hand `keys` to do what is due: `rotate`, `expire`, `purge`, `recipient`. It never sees a secret. Each ask names the version
//! it is about; the hand's transaction compares, so that an ask that is carried out late, twice, or by two processes changes nothing twice.
//! Whether a key is accepted does not depend on this mind: a key whose time is over is refused whether or not that was written down.
//!
//! Promises
//! - K-1 No more keys, asks or machines are kept than the limits allow.
//! - K-2 Every key has exactly one time at which it is looked at next: none is forgotten.
//! - K-3 Of a key at most one thing is under way, and it is known which.
//! - K-4 Nothing that waits for a time is done while the clocks contradict each other, nor before they were compared after that time.

mod clock;
mod config;
mod facts;
mod key;
mod notices;
mod view;
mod work;

pub use clock::{CLOCK, Jump, Reading};
pub use config::KeyRotationConfig;
pub use facts::{ACCEPT_CLOCK, ROTATE};
pub use key::Act;
pub use view::{KeyRotationView, KeyRow, KeyTotals};
pub use work::KEYS;

use crate::core::{Core, Cx, Input, Interest};
use crate::incidents::Incidents;
use clock::Clock;
use facts::Listing;
use homeostat_schemas::{Event, EventKind, Mode, Ms, UnixMs};
use key::Key;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use work::{Asks, Pace};

/// How often what ends by itself is looked after.
const SWEEP_MS: Ms = 1_000;
/// Every key is looked at once in this time, whatever is due: settings may have changed.
const LOOK_MS: Ms = 86_400_000;
/// While a clock is wrong, what is due is looked at again after this.
const FROZEN_MS: Ms = 30_000;
/// Keys that are looked at in one step.
const LOOKS_MAX: usize = 256;

/// The mind.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct KeyRotationCore {
    keys: BTreeMap<String, Key>,
    look: BTreeSet<(UnixMs, String)>,
    asks: Asks,
    clock: Clock,
    listing: Listing,
    pace: Pace,
    incidents: Incidents,
    /// How often each thing was done.
    done: BTreeMap<Act, u64>,
    failed: u64,
    no_room: u64,
    /// Commands that were refused.
    refused: u64,
    mode: Mode,
    swept_ms: UnixMs,
    /// How many keys there may be, as was last said.
    limit: usize,
}

impl Core for KeyRotationCore {
    const NAME: &'static str = "key_rotation";
    const STATE_VERSION: u16 = 1;
    const INTEREST: Interest = Interest { events: &[EventKind::Order], commands: true, keys: true, ..Interest::NONE };
    type Config = KeyRotationConfig;
    type View = KeyRotationView;

    fn step(&mut self, input: Input<'_>, cx: &mut Cx<'_, KeyRotationConfig>) {
        self.limit(cx);
        match input {
            Input::Key(fact) => self.fact(fact, cx),
            Input::Answer(answer) => self.answer(answer, cx),
            Input::Command(command) => self.command(command, cx),
            Input::Event(Event::Order(order)) => self.order(order, cx),
            Input::Tick => self.tick(cx),
            // The end of a file does nothing to keys.
            Input::End
            | Input::Event(
                Event::Query(_)
                | Event::Request(_)
                | Event::Call(_)
                | Event::Calls(_)
                | Event::Breaker(_)
                | Event::Span(_)
                | Event::Heartbeat(_)
                | Event::Resource(_)
                | Event::Pool(_)
                | Event::Cache(_)
                | Event::Sample(_)
                | Event::Metric(_),
            )
            | Input::Alert(_)
            | Input::Outcome(_) => {}
        }
    }

    fn broken_promise(&self, _config: &KeyRotationConfig) -> Option<&'static str> {
        if self.keys.len() > self.limit || !self.asks.is_within() || !Clock::within(self.clock.len()) {
            return Some("K-1");
        }
        let placed = self.keys.iter().all(|(id, key)| key.look_ms.is_some_and(|at| self.look.contains(&(at, id.clone()))));
        if !placed || self.look.len() != self.keys.len() {
            return Some("K-2");
        }
        let known = self.asks.of_keys().all(|(ask, id)| {
            // The key may have been forgotten meanwhile.
            self.keys.get(id).is_none_or(|key| key.asked.as_ref().is_some_and(|(asked, _)| asked == ask))
        });
        let answered = |key: &Key| key.asked.as_ref().is_none_or(|(ask, _)| self.asks.is_open(ask));
        (!known || !self.keys.values().all(answered)).then_some("K-3")
    }

    fn view(&self, now: UnixMs, config: &KeyRotationConfig) -> KeyRotationView {
        self.full_view(now, config)
    }

    fn incidents(&self) -> &Incidents {
        &self.incidents
    }
}

impl KeyRotationCore {
    fn tick(&mut self, cx: &mut Cx<'_, KeyRotationConfig>) {
        if cx.actor_mode() == Mode::Off {
            return;
        }
        if cx.now >= self.swept_ms.saturating_add(SWEEP_MS) {
            self.swept_ms = cx.now;
            self.incidents.sweep(cx);
        }
        self.late(cx);
        self.look_at_clock(cx);
        self.list(cx);
        self.look_at_due(cx);
    }

    /// Looks at the keys whose time has come, as long as a hand is free.
    fn look_at_due(&mut self, cx: &mut Cx<'_, KeyRotationConfig>) {
        for _ in 0..LOOKS_MAX {
            if self.asks.is_full() {
                return;
            }
            match self.look.first() {
                Some((at, id)) if *at <= cx.now => {
                    let id = id.clone();
                    self.review(&id, cx);
                }
                _ => return,
            }
        }
    }

    /// Looks at a key: tells what is to be told, asks for what is due, and says when it is looked at again.
    fn review(&mut self, id: &str, cx: &mut Cx<'_, KeyRotationConfig>) {
        let Some(mut key) = self.take(id) else { return };
        if key.is_gone() {
            return self.close(id, &key, "it was purged", cx);
        }
        self.settle(id, &key, cx);
        let told = self.notify(id, &mut key, cx);
        let done = self.work(id, &mut key, cx);
        let observes = cx.actor_mode() != Mode::Act;
        let notice = key.next_notice(id, cx.now, observes, cx.config).unwrap_or(UnixMs::MAX);
        let soonest = cx.now.saturating_add(1);
        let at = told.into_iter().chain(done).chain([notice]).min().unwrap_or(UnixMs::MAX);
        self.put(id, key, at.clamp(soonest, cx.now.saturating_add(LOOK_MS)));
    }

    /// When something is looked at again that waits for the clocks; it makes them be looked at.
    fn wait_for_clock(&mut self, cx: &Cx<'_, KeyRotationConfig>) -> UnixMs {
        self.clock.wanted = true;
        cx.now.saturating_add(if self.clock.jump.is_some() { FROZEN_MS } else { 1 })
    }

    /// Takes a key out, to work on it. It has to be put back, or closed.
    fn take(&mut self, id: &str) -> Option<Key> {
        let key = self.keys.remove(id)?;
        if let Some(at) = key.look_ms {
            self.look.remove(&(at, id.to_owned()));
        }
        Some(key)
    }

    /// Puts a key back, to be looked at again at `at`.
    fn put(&mut self, id: &str, mut key: Key, at: UnixMs) {
        key.look_ms = Some(at);
        self.look.insert((at, id.to_owned()));
        self.keys.insert(id.to_owned(), key);
    }

    /// Holds the limit in force, which may have become stricter; and a change of mode, which changes what there is to tell.
    fn limit(&mut self, cx: &mut Cx<'_, KeyRotationConfig>) {
        self.limit = cx.config.keys;
        while self.keys.len() > self.limit
            && let Some(id) = self.keys.keys().next_back().cloned()
            && let Some(key) = self.take(&id)
        {
            self.lost(cx);
            self.close(&id, &key, "there is no longer room for it", cx);
        }
        let mode = cx.actor_mode();
        if self.mode != mode {
            self.mode = mode;
            self.look.clear();
            for (id, key) in &mut self.keys {
                key.look_ms = Some(cx.now);
                self.look.insert((cx.now, id.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
