//! What people are told. Every notice is a finding with an identity, so that it is said once however often a key is looked at; its
//! severity grows with its steps, so that after an outage only the last step is said.

use super::clock::{CLOCK, Reading};
use super::key::Key;
use super::{KeyRotationConfig, KeyRotationCore};
use crate::core::Cx;
use crate::incidents::Finding;
use homeostat_schemas::key::{KeyChange, KeyFact, KeyState};
use homeostat_schemas::rule::{
    KEY_ROTATION_CLOCK_JUMPED, KEY_ROTATION_EXPIRED, KEY_ROTATION_EXPIRES_SOON, KEY_ROTATION_FAILED, KEY_ROTATION_OLD_VERSION_IN_USE,
    KEY_ROTATION_OVERDUE, KEY_ROTATION_RECIPIENT_CHANGES, KEY_ROTATION_REVOKED, KEY_ROTATION_ROTATED,
};
use homeostat_schemas::{Mode, Ms, Rule, Severity, UnixMs};

fn finding(rule: &'static Rule, id: &str, key: &Key, summary: impl Into<String>) -> Finding {
    Finding::new(rule, &key.owner, summary).label("key", id)
}

/// A span as people say it.
fn span(ms: Ms) -> String {
    match ms / 60_000 {
        minutes @ 0..120 => format!("{minutes} min"),
        minutes @ 120..2_880 => format!("{} h", minutes / 60),
        minutes => format!("{} days", minutes / 1_440),
    }
}

impl KeyRotationCore {
    /// Says what has happened.
    pub(super) fn tell(&mut self, id: &str, key: &Key, fact: &KeyFact, cx: &mut Cx<'_, KeyRotationConfig>) {
        let by: String = fact.by.chars().filter(|c| !c.is_control()).take(128).collect();
        let version = fact.version.or_else(|| key.last().map(|version| version.version));
        match fact.change {
            KeyChange::Rotated => {
                let summary = format!("version {} by {by}", version.unwrap_or(0));
                let mut told = finding(&KEY_ROTATION_ROTATED, id, key, summary)
                    .evidence("version", version)
                    .evidence("by", by)
                    .evidence("recipient", key.has_recipient);
                if let Some(until) = key.grace().and_then(|old| old.expires_ms) {
                    told = told.evidence("grace_until_ms", until);
                }
                self.incidents.fire(told, cx);
            }
            KeyChange::Revoked => {
                let compromised = key.versions.iter().any(|version| version.compromised);
                let what = if key.is_open() { format!("version {}", version.unwrap_or(0)) } else { "the key".to_owned() };
                let why = if compromised { ": somebody else may know it" } else { "" };
                let mut told = finding(&KEY_ROTATION_REVOKED, id, key, format!("{what} was taken back by {by}{why}"))
                    .evidence("version", fact.version)
                    .evidence("by", by)
                    .evidence("compromised", compromised)
                    .evidence("last_used_ms", key.used_ms());
                if let Some(source) = key.versions.iter().max_by_key(|version| version.used_ms).and_then(|version| version.source.clone()) {
                    told = told.evidence("source", source);
                }
                told.severity = compromised.then_some(Severity::Critical);
                self.incidents.fire(told, cx);
            }
            KeyChange::Recipient => {
                if let (Some(change), Some(from)) = (&fact.record.recipient_change, key.change_ms) {
                    let who: String = change.by.chars().filter(|c| !c.is_control()).take(128).collect();
                    let told =
                        finding(&KEY_ROTATION_RECIPIENT_CHANGES, id, key, format!("{who} asked for another recipient of its secrets"))
                            .evidence("by", who)
                            .evidence("from_ms", from)
                            .evidence("recipient", change.recipient.as_deref().unwrap_or("none").chars().take(64).collect::<String>());
                    self.incidents.fire(told, cx);
                }
            }
            KeyChange::Expired if !key.is_open() && key.last().is_some_and(|last| last.state == KeyState::Expired) => {
                let last = key.last();
                let told = finding(&KEY_ROTATION_EXPIRED, id, key, "no version of it is accepted any more")
                    .evidence("version", last.map(|version| version.version))
                    .evidence("expired_ms", last.and_then(|version| version.expires_ms))
                    .evidence("last_used_ms", key.used_ms());
                self.incidents.fire(told, cx);
            }
            KeyChange::Created | KeyChange::Imported | KeyChange::Expired | KeyChange::Purged | KeyChange::Noted => {}
        }
    }

    /// Ends what no longer holds.
    pub(super) fn settle(&mut self, id: &str, key: &Key, cx: &mut Cx<'_, KeyRotationConfig>) {
        if key.ending(cx.now).is_none() {
            let why = if key.is_open() { "its end is no longer near" } else { "it has ended" };
            self.incidents.resolve(finding(&KEY_ROTATION_EXPIRES_SOON, id, key, why), cx);
        }
        if key.old_in_use(cx.now).is_none() {
            let why = if key.grace().is_some() { "the old version was not used for a day" } else { "the old version has ended" };
            self.incidents.resolve(finding(&KEY_ROTATION_OLD_VERSION_IN_USE, id, key, why), cx);
        }
        let observes = cx.actor_mode() != Mode::Act;
        if key.overdue(id, cx.now, observes, cx.config).is_none_or(|overdue| overdue.due_ms > cx.now) {
            self.incidents.resolve(finding(&KEY_ROTATION_OVERDUE, id, key, "it is no longer due"), cx);
        }
        if key.change_ms.is_none() {
            self.incidents.resolve(finding(&KEY_ROTATION_RECIPIENT_CHANGES, id, key, "no change is waiting"), cx);
        }
    }

    /// Says what was reached by the passing of time. When the clocks have to be looked at first, when to look again.
    pub(super) fn notify(&mut self, id: &str, key: &mut Key, cx: &mut Cx<'_, KeyRotationConfig>) -> Option<UnixMs> {
        let now = cx.now;
        let mut again = None;
        if let Some(step) = key.ending(now).filter(|step| step.number > key.noticed.0) {
            if self.clock.vouches(step.since_ms) {
                key.noticed.0 = step.number;
                let left = step.end_ms.saturating_sub(now);
                let mut told = finding(&KEY_ROTATION_EXPIRES_SOON, id, key, format!("it ends in {}, and that is not put off", span(left)))
                    .evidence("expires_ms", step.end_ms)
                    .evidence("left_ms", left)
                    .evidence("version", key.last().map(|version| version.version))
                    .evidence("last_used_ms", key.used_ms());
                told.severity = Some(step.severity);
                told.since_ms = Some(step.since_ms);
                self.incidents.fire(told, cx);
            } else {
                again = Some(self.wait_for_clock(cx));
            }
        }
        let old = key.old_in_use(now).filter(|(step, _)| step.number > key.noticed.1);
        if let Some((step, version)) = old {
            if self.clock.vouches(step.since_ms) {
                let left = step.end_ms.saturating_sub(now);
                let from = version.source.as_deref().map_or_else(String::new, |source| format!(" from {source}"));
                let summary =
                    format!("version {} ends in {} and was used {} times, last{from}", version.version, span(left), version.count);
                let mut told = finding(&KEY_ROTATION_OLD_VERSION_IN_USE, id, key, summary)
                    .evidence("version", version.version)
                    .evidence("ends_ms", step.end_ms)
                    .evidence("left_ms", left)
                    .evidence("count", version.count)
                    .evidence("last_used_ms", version.used_ms)
                    .evidence("source", version.source.clone());
                told.severity = Some(step.severity);
                key.noticed.1 = step.number;
                self.incidents.fire(told, cx);
            } else {
                again = Some(self.wait_for_clock(cx));
            }
        }
        let observes = cx.actor_mode() != Mode::Act;
        let overdue = key.overdue(id, now, observes, cx.config).filter(|overdue| overdue.due_ms <= now);
        if let Some(overdue) = overdue {
            if self.clock.vouches(overdue.due_ms) {
                let active = key.active(now);
                let told = finding(&KEY_ROTATION_OVERDUE, id, key, format!("it should have a new version: {}", overdue.why))
                    .evidence("version", active.map(|version| version.version))
                    .evidence("created_ms", active.map(|version| version.created_ms))
                    .evidence("due_ms", overdue.due_ms)
                    .evidence("why", overdue.why);
                self.incidents.fire(told, cx);
            } else {
                again = Some(self.wait_for_clock(cx));
            }
        }
        again
    }

    /// Something failed: of whom, how often in a row, and when it is tried again. Told from the third time on.
    pub(super) fn failed_about(
        &mut self,
        id: &str,
        what: &str,
        of: Option<(&str, u32, UnixMs)>,
        why: String,
        cx: &mut Cx<'_, KeyRotationConfig>,
    ) {
        self.failed = self.failed.saturating_add(1);
        let (service, failures, again_ms) = of.unwrap_or_else(|| {
            self.clock.failures = self.clock.failures.saturating_add(1);
            (Self::OWN, self.clock.failures, cx.now.saturating_add(cx.config.pause(self.clock.failures)))
        });
        if failures < cx.config.failures.max(1) {
            return;
        }
        let told = Finding::new(&KEY_ROTATION_FAILED, service, format!("{what} failed: {why}"))
            .label("key", id)
            .label("what", what)
            .evidence("failures", failures)
            .evidence("why", why)
            .evidence("again_ms", again_ms);
        self.incidents.fire(told, cx);
    }

    /// What failed works again.
    pub(super) fn works_again(&mut self, id: &str, what: &str, service: &str, cx: &mut Cx<'_, KeyRotationConfig>) {
        let told = Finding::new(&KEY_ROTATION_FAILED, service, "it works again").label("key", id).label("what", what);
        self.incidents.resolve(told, cx);
    }

    /// A reading of the clocks.
    pub(super) fn read(&mut self, reading: &Reading, cx: &mut Cx<'_, KeyRotationConfig>) {
        self.works_again("", CLOCK, Self::OWN, cx);
        let told = |summary: String| Finding::new(&KEY_ROTATION_CLOCK_JUMPED, Self::OWN, summary);
        match self.clock.take(reading, cx.now, cx.config) {
            Some(jump) => {
                let clock = match jump.clock.as_str() {
                    "wall" => "the machine's wall clock",
                    "log" => "the bus server's clock",
                    _ => "the machine's wall clock, beside the bus server's,",
                };
                let way = if jump.by_ms < 0 { "behind" } else { "ahead" };
                let summary = format!("{clock} is {} {way}; nothing expires and nothing is rotated", span(jump.by_ms.unsigned_abs()));
                let told = told(summary).evidence("clock", jump.clock).evidence("by_ms", jump.by_ms).evidence("machine", jump.machine);
                self.incidents.fire(told, cx);
            }
            None => drop(self.incidents.resolve(told("the clocks agree".to_owned()), cx)),
        }
    }

    /// A key is no longer watched: so is nothing that was open about it, and whatever is answered about it is nobody's.
    pub(super) fn close(&mut self, id: &str, key: &Key, why: &str, cx: &mut Cx<'_, KeyRotationConfig>) {
        if let Some((ask, _)) = &key.asked {
            self.asks.forget(ask);
        }
        for rule in [&KEY_ROTATION_EXPIRES_SOON, &KEY_ROTATION_OLD_VERSION_IN_USE, &KEY_ROTATION_OVERDUE, &KEY_ROTATION_RECIPIENT_CHANGES] {
            self.incidents.resolve(finding(rule, id, key, why), cx);
        }
        for act in super::Act::ALL {
            let told = finding(&KEY_ROTATION_FAILED, id, key, why).label("what", act.name());
            self.incidents.resolve(told, cx);
        }
    }
}
