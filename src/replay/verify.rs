//! Do the minds say again, byte for byte, what stands recorded?

use crate::outputs::wire;
use crate::roster::{ActorSettings, Mind, SettingsError, minds};
use crate::shell::panic_message;
use homeostat_actors::core::Output;
use homeostat_schemas::{Content, Delivery, Identity, Position};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How many differences are told in full.
const TOLD_MAX: usize = 100;

/// What a verification found.
#[derive(Debug, Default, Serialize)]
pub struct Verdict {
    /// Messages replayed.
    pub messages: u64,
    /// Outputs recorded whose input was replayed.
    pub recorded: u64,
    /// Of these, how many the minds said again, byte for byte.
    pub same: u64,
    /// Outputs that the minds made on the last messages and that had not been recorded yet.
    pub pending: u64,
    /// Recorded outputs whose input lies before the recording.
    pub before: u64,
    /// Outputs that differ.
    pub different: u64,
    /// Outputs that the minds made but that do not stand recorded, though later ones of the same actor do.
    pub missing: u64,
    /// Recorded outputs that the minds did not make.
    pub unexplained: u64,
    /// Recorded outputs that stand there more than once.
    pub doubled: u64,
    /// Recorded outputs that stand behind a later one of the same actor.
    pub out_of_order: u64,
    /// Actors that panicked.
    pub fallen: u64,
    /// The first differences, in words.
    pub told: Vec<String>,
}

impl Verdict {
    /// Is everything as it must be?
    #[must_use]
    pub fn holds(&self) -> bool {
        self.different + self.missing + self.unexplained + self.doubled + self.out_of_order + self.fallen == 0
    }

    fn tell(&mut self, what: impl FnOnce() -> String) {
        if self.told.len() < TOLD_MAX {
            self.told.push(what());
        }
    }
}

/// Verifies a recording message by message.
pub struct Verifier {
    minds: Vec<Box<dyn Mind>>,
    incarnation: String,
    first: Option<Position>,
    poison: BTreeSet<(String, Position)>,
    fallen: BTreeSet<&'static str>,
    /// Made, not yet seen on the log.
    made: BTreeMap<(String, Position, u32), Vec<u8>>,
    seen: BTreeSet<(String, Position, u32)>,
    last: BTreeMap<String, (Position, u32)>,
    verdict: Verdict,
}

impl Verifier {
    /// Minds at the beginning of a log. `settings` are in force until the log itself says which are.
    ///
    /// `poison` names the messages that an actor is known to have passed over.
    ///
    /// # Errors
    /// Settings that an actor does not understand.
    pub fn new(incarnation: &str, settings: &ActorSettings, poison: BTreeSet<(String, Position)>) -> Result<Verifier, SettingsError> {
        Ok(Verifier {
            minds: minds(incarnation, settings)?,
            incarnation: incarnation.to_owned(),
            first: None,
            poison,
            fallen: BTreeSet::new(),
            made: BTreeMap::new(),
            seen: BTreeSet::new(),
            last: BTreeMap::new(),
            verdict: Verdict::default(),
        })
    }

    /// Takes the next message of the log with its bytes; gives what the minds made of it.
    pub fn take(&mut self, delivery: &Delivery, payload: &[u8]) -> Vec<Output> {
        self.verdict.messages += 1;
        self.first.get_or_insert(delivery.position);
        self.compare(delivery, payload);
        let mut outputs = Vec::new();
        for mind in &mut self.minds {
            let name = mind.name();
            if self.fallen.contains(name) {
                continue;
            }
            if self.poison.contains(&(name.to_owned(), delivery.position)) {
                mind.skip(delivery);
                continue;
            }
            let stepped = match catch_unwind(AssertUnwindSafe(|| mind.step(delivery))) {
                Ok(stepped) => stepped,
                Err(panic) => {
                    self.fallen.insert(name);
                    self.verdict.fallen += 1;
                    let why = panic_message(panic.as_ref());
                    self.verdict.tell(|| format!("fallen: {name} panicked at {} ({why}) and took no part after it", delivery.position));
                    continue;
                }
            };
            for output in stepped {
                if let (Some(identity), Some(wire)) = (&output.identity, wire(&output.effect)) {
                    self.made.insert((identity.actor.clone(), identity.position, identity.index), wire.body);
                }
                outputs.push(output);
            }
        }
        outputs
    }

    /// The end of the log.
    #[must_use]
    pub fn finish(mut self) -> Verdict {
        for ((actor, position, index), _) in std::mem::take(&mut self.made) {
            if self.last.get(&actor).is_some_and(|last| *last > (position, index)) {
                self.verdict.missing += 1;
                self.verdict.tell(|| format!("missing: {actor} decided on {position}.{index} what does not stand on the log"));
            } else {
                self.verdict.pending += 1;
            }
        }
        self.verdict
    }

    fn compare(&mut self, delivery: &Delivery, payload: &[u8]) {
        let id = match &delivery.content {
            Content::Alert(alert) => &alert.id,
            Content::Command(command) => &command.id,
            Content::Ask(ask) => &ask.id,
            _ => return,
        };
        let Some(identity) = parse(id).filter(|identity| identity.incarnation == self.incarnation) else {
            self.verdict.unexplained += 1;
            self.verdict.tell(|| format!("unexplained: {} at {} has the foreign id {id}", delivery.subject, delivery.position));
            return;
        };
        if self.first.is_some_and(|first| identity.position < first) {
            self.verdict.before += 1;
            return;
        }
        self.verdict.recorded += 1;
        let key = (identity.actor.clone(), identity.position, identity.index);
        match self.made.remove(&key) {
            Some(body) if body == payload => self.verdict.same += 1,
            Some(body) => {
                self.verdict.different += 1;
                self.verdict.tell(|| {
                    format!(
                        "different: {id}\n  recorded {}\n  replayed {}",
                        String::from_utf8_lossy(payload),
                        String::from_utf8_lossy(&body)
                    )
                });
            }
            None if self.seen.contains(&key) => {
                self.verdict.doubled += 1;
                self.verdict.tell(|| format!("doubled: {id} stands again at {}", delivery.position));
                return;
            }
            None => {
                self.verdict.unexplained += 1;
                self.verdict.tell(|| format!("unexplained: {id} at {} was not made by the minds", delivery.position));
            }
        }
        let place = (identity.position, identity.index);
        let last = self.last.entry(identity.actor).or_default();
        if *last > place {
            self.verdict.out_of_order += 1;
            self.verdict.told.push(format!("out of order: {id} stands behind a later one"));
        }
        *last = (*last).max(place);
        self.seen.insert(key);
    }
}

/// Reads an identity as it is written into ids.
#[must_use]
pub fn parse(id: &str) -> Option<Identity> {
    let mut parts = id.rsplitn(4, '-');
    let index = parts.next()?.parse().ok()?;
    let position = parts.next()?.parse().ok()?;
    let partition = parts.next()?.parse().ok()?;
    let (incarnation, actor) = parts.next()?.rsplit_once('-')?;
    Some(Identity { incarnation: incarnation.to_owned(), actor: actor.to_owned(), partition, position, index })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_was_written() {
        let identity = Identity { incarnation: "ab-cd".into(), actor: "key_rotation".into(), partition: 0, position: 12, index: 3 };
        assert_eq!(parse(&identity.to_string()), Some(identity));
        assert_eq!(parse("nonsense"), None);
    }
}
