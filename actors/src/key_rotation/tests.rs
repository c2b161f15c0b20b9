//! Stories of key rotation. Time in them is days; a play answers for the hands, with a small model of what the database would do.

mod clocks;
mod stories;
mod trouble;

use super::{Act, CLOCK, KEYS, KeyRotationConfig, KeyRotationCore, KeyRotationView, Reading};
use crate::core::{Effect, Settings};
use crate::rig::{Rig, START, Story};
use homeostat_schemas::key::{KeyChange, KeyFact, KeyRecord, KeyState, KeyUsage, KeyVersion};
use homeostat_schemas::{Answer, Ask, Content, Ms, UnixMs};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(super) const MINUTE: Ms = 60_000;
pub(super) const HOUR: Ms = 60 * MINUTE;
pub(super) const DAY: Ms = 24 * HOUR;
pub(super) const ID: &str = "aB3dE6gH9jK2";

/// A key that is rotated every 90 days, with a grace of 7.
pub(super) fn key() -> KeyRecord {
    KeyRecord {
        id: ID.to_owned(),
        owner: "shop".to_owned(),
        created_ms: START,
        rotate_every_ms: Some(90 * DAY),
        grace_ms: 7 * DAY,
        recipient: Some("XBUJ".to_owned()),
        generation: 1,
        versions: vec![KeyVersion { version: 1, state: KeyState::Active, created_ms: START, ..KeyVersion::default() }],
        ..KeyRecord::default()
    }
}

/// What answers for the outside world.
pub(super) struct Play {
    pub(super) rig: Rig<KeyRotationCore>,
    settings: Settings<KeyRotationConfig>,
    story: Story,
    pub(super) at: UnixMs,
    read: usize,
    /// The database.
    pub(super) keys: BTreeMap<String, KeyRecord>,
    /// Everything that was asked about keys: what, of which key, which version.
    pub(super) asked: Vec<(UnixMs, String, Value)>,
    /// The hand does not answer; or says no.
    pub(super) away: bool,
    pub(super) refuses: bool,
    /// By how much the machine's wall clock is ahead; and log time, of which the story is told.
    pub(super) wall_ahead: i64,
    pub(super) log_ahead: i64,
    pub(super) machine: String,
}

impl Play {
    pub(super) fn new() -> Play {
        Play::with(KeyRotationConfig { jitter_s: 0, ..KeyRotationConfig::default() })
    }

    pub(super) fn with(config: KeyRotationConfig) -> Play {
        Play::with_settings(Settings { config, ..Settings::default() })
    }

    pub(super) fn with_settings(settings: Settings<KeyRotationConfig>) -> Play {
        Play {
            rig: Rig::with_settings(settings.clone()),
            settings,
            story: Story::new(),
            at: START,
            read: 0,
            keys: BTreeMap::new(),
            asked: Vec::new(),
            away: false,
            refuses: false,
            wall_ahead: 0,
            log_ahead: 0,
            machine: "boot-1".to_owned(),
        }
    }

    pub(super) fn say(&mut self, content: Content) -> &mut Self {
        self.story.push((self.at, content.clone()));
        self.rig.feed([(self.at, content)]);
        self.answer()
    }

    /// Somebody changed a key: the database has it, and the log says so.
    pub(super) fn fact(&mut self, record: &KeyRecord, change: KeyChange, usage: Vec<KeyUsage>) -> &mut Self {
        self.keys.insert(record.id.clone(), record.clone());
        let fact = KeyFact { record: record.clone(), change, by: "anna".to_owned(), at_ms: self.at, version: None, usage };
        self.say(Content::Key(Box::new(fact)))
    }

    /// Lets time pass with a tick every so often.
    pub(super) fn pass(&mut self, span: Ms, every: Ms) -> &mut Self {
        let until = self.at + span;
        while self.at < until {
            self.at = (self.at + every).min(until);
            self.tick();
        }
        self
    }

    /// Nothing is heard for a while, not even a tick: our own outage.
    pub(super) fn outage(&mut self, span: Ms) -> &mut Self {
        self.at += span;
        self.tick();
        self
    }

    #[allow(clippy::cast_precision_loss)]
    fn tick(&mut self) {
        self.rig.outage_until((self.at - START) as f64 / 1000.0);
        self.story.push((self.at, Content::Tick));
        self.answer();
    }

    /// Answers what was asked since the last time.
    fn answer(&mut self) -> &mut Self {
        while self.read < self.rig.outputs().len() {
            let effect = self.rig.outputs()[self.read].effect.clone();
            self.read += 1;
            if let Effect::Ask(ask) = effect
                && let Some(content) = self.hand(&ask)
            {
                self.story.push((self.at, content.clone()));
                self.rig.feed([(self.at, content)]);
            }
        }
        self
    }

    fn hand(&mut self, ask: &Ask) -> Option<Content> {
        let done = if ask.hand == CLOCK {
            let wall_ms = self.at.saturating_add_signed(self.wall_ahead - self.log_ahead);
            let monotonic_ms = (self.at - START).saturating_add_signed(HOUR as i64 - self.log_ahead);
            Ok(serde_json::to_value(Reading { machine: self.machine.clone(), wall_ms, monotonic_ms }).unwrap())
        } else {
            assert_eq!(ask.hand, KEYS);
            if ask.what != "list" {
                self.asked.push((self.at, ask.what.clone(), ask.args.clone()));
            }
            if self.away {
                return None;
            }
            if self.refuses { Err("the database refused".to_owned()) } else { Ok(self.database(&ask.what, &ask.args)) }
        };
        Some(Content::Answer(Answer {
            ask: ask.id.clone(),
            actor: ask.actor.clone(),
            hand: ask.hand.clone(),
            what: ask.what.clone(),
            ok: done.is_ok(),
            error: done.as_ref().err().cloned(),
            found: done.unwrap_or_default(),
            ..Answer::default()
        }))
    }

    fn database(&mut self, what: &str, args: &Value) -> Value {
        if what == "list" {
            return json!({ "keys": self.keys.values().collect::<Vec<_>>() });
        }
        if what == "refuse" {
            return Value::Null;
        }
        let now = self.at;
        let record = self.keys.get_mut(args["key"].as_str().unwrap()).unwrap();
        let number = u32::try_from(args["version"].as_u64().unwrap()).unwrap();
        let grace = record.grace_ms;
        let version = record.versions.iter_mut().find(|version| version.version == number);
        match (what, version) {
            ("expire", Some(version)) => version.state = KeyState::Expired,
            ("purge", Some(version)) => version.state = KeyState::Purged,
            ("rotate", Some(version)) => {
                version.state = KeyState::Grace;
                version.expires_ms = Some(now + grace);
                let next = KeyVersion { version: number + 1, created_ms: now, expires_ms: record.expires_ms, ..KeyVersion::default() };
                record.versions.push(next);
            }
            ("recipient", _) => record.recipient = record.recipient_change.take().unwrap().recipient,
            _ => panic!("{what} {args}"),
        }
        record.generation += 1;
        json!({ "record": record })
    }

    /// What was asked about keys, with the day.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn asked(&self) -> String {
        let line = |(at, what, args): &(UnixMs, String, Value)| {
            format!("day {:.3}: {what} {}\n", (at - START) as f64 / DAY as f64, args["version"])
        };
        self.asked.iter().map(line).collect()
    }

    /// What was said, with the day.
    pub(super) fn said(&self) -> String {
        let mut text = String::new();
        for line in self.rig.transcript().lines() {
            let (seconds, rest) = line.split_once("s ").unwrap();
            let days = seconds.trim().parse::<f64>().unwrap() / 86_400.0;
            text += &format!("day {days:.2}: {}\n", rest.trim());
        }
        text
    }

    pub(super) fn view(&self) -> KeyRotationView {
        self.rig.driver().view()
    }

    pub(super) fn done(&self, act: Act) -> u64 {
        self.view().totals.done.get(&act).copied().unwrap_or(0)
    }

    /// The same story with a restart at many places: what comes out is the same. (The rig's own check would tick four times a second
    /// for months.)
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn survives(&self) {
        let told = |restart: usize| {
            let mut rig = Rig::<KeyRotationCore>::with_settings(self.settings.clone());
            for (index, (at, content)) in self.story.iter().enumerate() {
                if index % self.story.len() == restart {
                    rig.restart();
                }
                match content {
                    Content::Tick => rig.outage_until((at - START) as f64 / 1000.0),
                    content => rig.feed([(*at, content.clone())]),
                };
            }
            rig.outputs().to_vec()
        };
        let step = (self.story.len() / 12).max(1);
        for restart in (0..self.story.len()).step_by(step) {
            assert_eq!(told(restart), self.rig.outputs(), "restarted before message {restart}");
        }
    }
}

pub(super) fn used(version: u32, count: u64, at: UnixMs) -> Vec<KeyUsage> {
    vec![KeyUsage { version, count, last_used_ms: at, source: Some("192.0.2.7".to_owned()) }]
}
