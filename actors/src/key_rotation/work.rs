//! What is asked of the hands, and what becomes of it.

use super::clock::{CLOCK, Reading};
use super::key::{Act, Due, Key};
use super::{KeyRotationConfig, KeyRotationCore};
use crate::core::Cx;
use homeostat_schemas::key::KeyRecord;
use homeostat_schemas::{Answer, Mode, Ms, UnixMs};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The hand that changes keys.
pub const KEYS: &str = "keys";

/// Keys that are worked on at once.
const KEYS_MAX: usize = 4;
/// An answer that was given in time may be so long on its way.
const GRACE_MS: Ms = 2_000;
/// After something was done, its fact is on its way for so long.
const FACT_MS: Ms = 5_000;
/// Longest word of a hand that is kept, in characters.
const WHY_MAX: usize = 200;

/// What an ask is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum About {
    Key(String),
    Clock,
    List,
}

/// The asks that are not answered.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Asks(BTreeMap<String, (About, UnixMs)>);

impl Asks {
    pub(super) fn insert(&mut self, ask: String, about: About, until_ms: UnixMs) {
        self.0.insert(ask, (about, until_ms.saturating_add(GRACE_MS)));
    }

    /// Its answer is no longer awaited.
    pub(super) fn forget(&mut self, ask: &str) {
        self.0.remove(ask);
    }

    pub(super) fn has(&self, about: &About) -> bool {
        self.0.values().any(|(known, _)| known == about)
    }

    pub(super) fn is_open(&self, ask: &str) -> bool {
        self.0.contains_key(ask)
    }

    pub(super) fn of_keys(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|(ask, (about, _))| if let About::Key(id) = about { Some((ask.as_str(), id.as_str())) } else { None })
    }

    pub(super) fn is_full(&self) -> bool {
        self.of_keys().count() >= KEYS_MAX
    }

    pub(super) fn is_within(&self) -> bool {
        // One each for the clock and the list; and a command is carried out beside what is due.
        self.0.len() <= KEYS_MAX + 2
    }

    /// The first that is too late.
    fn late(&self, now: UnixMs) -> Option<String> {
        self.0.iter().find(|(_, (_, until))| now > *until).map(|(ask, _)| ask.clone())
    }
}

/// How many rotations there were in the present minute.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Pace {
    minute: u64,
    rotations: u32,
}

impl Pace {
    /// Takes a place; or says when there is one.
    fn take(&mut self, now: UnixMs, most: u32) -> Result<(), UnixMs> {
        let minute = now / 60_000;
        if self.minute != minute {
            *self = Pace { minute, rotations: 0 };
        }
        if self.rotations >= most.max(1) {
            return Err((minute + 1).saturating_mul(60_000));
        }
        self.rotations += 1;
        Ok(())
    }
}

fn short(why: Option<&str>) -> String {
    why.unwrap_or("no reason was given").chars().filter(|c| !c.is_control()).take(WHY_MAX).collect()
}

impl KeyRotationCore {
    /// Asks for what is due. When the key is to be looked at again for that.
    pub(super) fn work(&mut self, id: &str, key: &mut Key, cx: &mut Cx<'_, KeyRotationConfig>) -> Option<UnixMs> {
        if key.asked.is_some() || cx.actor_mode() != Mode::Act {
            return None;
        }
        if let Some(command) = key.command.take() {
            match key.active(cx.now).map(|active| active.version) {
                _ if cx.now > command.until_ms => self.refuse(&command.id, &key.owner, "it came too late", cx),
                None => self.refuse(&command.id, &key.owner, "no version of the key is in force", cx),
                Some(version) => {
                    let said = json!({ "command": command.id, "service": key.owner, "compromised": command.compromised });
                    self.ask(id, key, Due { at_ms: cx.now, act: Act::Rotate, version }, said, cx);
                    return None;
                }
            }
        }
        let due = key.due(id, cx.now, cx.config)?;
        if due.at_ms > cx.now {
            return Some(due.at_ms);
        }
        if !self.clock.vouches(due.at_ms) {
            return Some(self.wait_for_clock(cx));
        }
        if self.asks.is_full() {
            return Some(cx.now);
        }
        if due.act == Act::Rotate
            && let Err(later) = self.pace.take(cx.now, cx.config.rotations_per_min)
        {
            return Some(later);
        }
        self.ask(id, key, due, json!({}), cx);
        None
    }

    fn ask(&mut self, id: &str, key: &mut Key, due: Due, mut args: Value, cx: &mut Cx<'_, KeyRotationConfig>) {
        args["key"] = id.into();
        args["version"] = due.version.into();
        let timeout = cx.config.timeout();
        let ask = cx.ask(KEYS, due.act.name(), args, timeout);
        self.asks.insert(ask.clone(), About::Key(id.to_owned()), cx.now.saturating_add(timeout));
        key.asked = Some((ask, due.act));
    }

    /// Has it said that a command is not carried out: outcomes are a hand's.
    pub(super) fn refuse(&mut self, command: &str, service: &str, why: &str, cx: &mut Cx<'_, KeyRotationConfig>) {
        self.refused = self.refused.saturating_add(1);
        let timeout = cx.config.timeout();
        cx.ask(KEYS, "refuse", json!({ "command": command, "service": service, "why": why }), timeout);
    }

    pub(super) fn answer(&mut self, answer: &Answer, cx: &mut Cx<'_, KeyRotationConfig>) {
        let Some((about, _)) = self.asks.0.remove(&answer.ask) else { return };
        match about {
            About::Key(id) => self.answered(&id, answer, cx),
            About::List => self.listed(answer, cx),
            About::Clock if !answer.configured => self.clock.alone(),
            About::Clock => match Reading::deserialize(&answer.found) {
                Ok(reading) if answer.ok => self.read(&reading, cx),
                _ => self.failed_about("", CLOCK, None, short(answer.error.as_deref()), cx),
            },
        }
        self.look_at_due(cx);
    }

    /// What nobody answered has failed.
    pub(super) fn late(&mut self, cx: &mut Cx<'_, KeyRotationConfig>) {
        while let Some(ask) = self.asks.late(cx.now) {
            let answer = Answer { ask, error: Some("no answer in time".to_owned()), ..Answer::default() };
            self.answer(&answer, cx);
        }
    }

    fn answered(&mut self, id: &str, answer: &Answer, cx: &mut Cx<'_, KeyRotationConfig>) {
        let Some(mut key) = self.take(id) else { return };
        let Some((_, act)) = key.asked.take() else {
            let at = key.look_ms.unwrap_or(cx.now);
            return self.put(id, key, at);
        };
        if answer.ok {
            let count = self.done.entry(act).or_default();
            *count = count.saturating_add(1);
            self.works_again(id, act.name(), &key.owner, cx);
            key.failures = 0;
            let record = answer.found.get("record").and_then(|record| KeyRecord::deserialize(record).ok());
            let record = record.filter(|record| record.id == id && record.check().is_ok());
            let newer = record.is_some_and(|record| key.fold(&record, cx.now));
            key.not_before_ms = if newer { 0 } else { cx.now.saturating_add(FACT_MS) };
        } else {
            key.failures = key.failures.saturating_add(1);
            key.not_before_ms = cx.now.saturating_add(cx.config.pause(key.failures));
            self.failed_about(id, act.name(), Some((&key.owner, key.failures, key.not_before_ms)), short(answer.error.as_deref()), cx);
        }
        self.put(id, key, cx.now);
        self.review(id, cx);
    }

    /// Looks at the clocks, when it is time or something waits for it.
    pub(super) fn look_at_clock(&mut self, cx: &mut Cx<'_, KeyRotationConfig>) {
        if !self.clock.is_due(cx.now, cx.config) || self.asks.has(&About::Clock) {
            return;
        }
        self.clock.asked_ms = cx.now;
        let timeout = cx.config.timeout().min(10_000);
        let ask = cx.ask(CLOCK, "read", Value::Null, timeout);
        self.asks.insert(ask, About::Clock, cx.now.saturating_add(timeout));
    }
}
