//! What this mind hears: facts about keys, lists of them, commands and orders.

use super::key::{Commanded, Key};
use super::work::{About, KEYS};
use super::{KeyRotationConfig, KeyRotationCore};
use crate::core::{Cx, clip};
use homeostat_schemas::event::Order;
use homeostat_schemas::key::{KeyFact, KeyRecord, KeyState};
use homeostat_schemas::{Answer, Command, Mode, UnixMs};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The command that rotates a key: its target is the key's id, its service the owner.
pub const ROTATE: &str = "key.rotate";
/// The order that takes the time as it is for right.
pub const ACCEPT_CLOCK: &str = "key_rotation.accept_clock";

/// Keys of one page of a list.
const PAGE: usize = 100;

/// How far reading the list of all keys has come.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Listing {
    /// The last key of the last page; empty before the first.
    after: String,
    began_ms: UnixMs,
    due_ms: UnixMs,
    failures: u32,
    /// When it was last read to its end.
    pub(super) done_ms: Option<UnixMs>,
}

#[derive(Deserialize)]
struct Page {
    keys: Vec<Value>,
    #[serde(default)]
    next: Option<String>,
}

impl KeyRotationCore {
    pub(super) fn fact(&mut self, fact: &KeyFact, cx: &mut Cx<'_, KeyRotationConfig>) {
        let id = clip(&fact.record.id);
        let Some(mut key) = self.known(id, &fact.record, cx) else { return };
        key.fold(&fact.record, cx.now);
        key.used(&fact.usage);
        if fact.record.generation > key.told {
            key.told = fact.record.generation;
            self.tell(id, &key, fact, cx);
        }
        self.put(id, key, cx.now);
        self.review(id, cx);
    }

    /// The key of this record, new if there is room for it and anything is left of it.
    fn known(&mut self, id: &str, record: &KeyRecord, cx: &mut Cx<'_, KeyRotationConfig>) -> Option<Key> {
        if let Some(key) = self.take(id) {
            return Some(key);
        }
        if record.versions.iter().all(|version| version.state == KeyState::Purged) {
            return None;
        }
        if self.keys.len() >= self.limit {
            self.lost(cx);
            return None;
        }
        Some(Key::default())
    }

    /// A key found no room.
    pub(super) fn lost(&mut self, cx: &mut Cx<'_, KeyRotationConfig>) {
        self.no_room = self.no_room.saturating_add(1);
        let why = format!("there is room for {} keys (actors.key_rotation.keys)", self.limit);
        self.failed_about("", "room", Some((Self::OWN, u32::MAX, 0)), why, cx);
    }

    /// Asks for the next page of the list of all keys.
    pub(super) fn list(&mut self, cx: &mut Cx<'_, KeyRotationConfig>) {
        if cx.now < self.listing.due_ms || self.asks.has(&About::List) {
            return;
        }
        if self.listing.after.is_empty() {
            self.listing.began_ms = cx.now;
        }
        let timeout = cx.config.timeout();
        let ask = cx.ask(KEYS, "list", json!({ "after": self.listing.after, "limit": PAGE }), timeout);
        self.asks.insert(ask, About::List, cx.now.saturating_add(timeout));
    }

    pub(super) fn listed(&mut self, answer: &Answer, cx: &mut Cx<'_, KeyRotationConfig>) {
        if !answer.configured {
            self.listing.due_ms = cx.now.saturating_add(cx.config.list_every());
            return;
        }
        let page = if answer.ok { Page::deserialize(&answer.found).ok() } else { None };
        let Some(page) = page else {
            self.listing.failures = self.listing.failures.saturating_add(1);
            self.listing.due_ms = cx.now.saturating_add(cx.config.pause(self.listing.failures));
            let failed = Some((Self::OWN, self.listing.failures, self.listing.due_ms));
            let why = answer.error.as_deref().unwrap_or("the list cannot be read").chars().take(200).collect();
            return self.failed_about("", "list", failed, why, cx);
        };
        self.listing.failures = 0;
        self.works_again("", "list", Self::OWN, cx);
        for record in page.keys.iter().take(PAGE) {
            let Ok(record) = KeyRecord::deserialize(record) else { continue };
            if record.check().is_err() {
                continue;
            }
            let Some(mut key) = self.known(&record.id, &record, cx) else { continue };
            key.fold(&record, cx.now);
            self.put(&record.id, key, cx.now);
        }
        match page.next {
            // It must go on, or it would never end.
            Some(next) if next > self.listing.after && next.len() <= 64 => {
                self.listing.after = next;
                self.list(cx);
            }
            _ => self.list_ended(cx),
        }
    }

    /// What is not on the list, and was not heard of since it was begun, is gone.
    fn list_ended(&mut self, cx: &mut Cx<'_, KeyRotationConfig>) {
        self.listing.after.clear();
        self.listing.done_ms = Some(cx.now);
        self.listing.due_ms = cx.now.saturating_add(cx.config.list_every());
        let began = self.listing.began_ms;
        let gone: Vec<String> = self.keys.iter().filter(|(_, key)| key.heard_ms < began).map(|(id, _)| id.clone()).collect();
        for id in gone {
            if let Some(key) = self.take(&id) {
                self.close(&id, &key, "it is gone from the database", cx);
            }
        }
    }

    pub(super) fn command(&mut self, command: &Command, cx: &mut Cx<'_, KeyRotationConfig>) {
        if command.action != ROTATE || command.mode != Mode::Act || cx.actor_mode() == Mode::Off {
            return;
        }
        let why = match self.keys.get(&command.target) {
            _ if cx.actor_mode() != Mode::Act => "the actor key_rotation observes and does not act",
            _ if cx.now > command.expires_ms => "it came too late",
            None => "there is no such key",
            Some(key) if key.owner != command.service => "the key belongs to another service",
            Some(key) if command.fence <= key.fence => "a newer command was seen",
            Some(key) if key.command.is_some() || key.asked.is_some() => "something is being done to the key already",
            Some(key) if !key.has_recipient => "no recipient is named to whom a new secret could be sealed",
            Some(_) => {
                let Some(mut key) = self.take(&command.target) else { return };
                key.fence = command.fence;
                key.command = Some(Commanded {
                    id: clip(&command.id).to_owned(),
                    until_ms: command.expires_ms,
                    compromised: command.args.get("compromised").and_then(Value::as_bool).unwrap_or(false),
                });
                self.put(&command.target, key, cx.now);
                return self.review(&command.target, cx);
            }
        };
        self.refuse(clip(&command.id), &command.service, why, cx);
    }

    pub(super) fn order(&mut self, order: &Order, cx: &mut Cx<'_, KeyRotationConfig>) {
        // Whoever says so has a name.
        if order.action == ACCEPT_CLOCK && !order.by.is_empty() && cx.actor_mode() != Mode::Off {
            self.clock.accept();
            self.look_at_clock(cx);
        }
    }

    /// The service that findings about everything are about.
    pub(super) const OWN: &'static str = "homeostat";
}
