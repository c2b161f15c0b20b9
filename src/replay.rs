//! The minds over recorded events.
//!
//! - A **recording** (`record`, or the stream itself) holds everything in its order. *Verify* gives the minds exactly what they
//!   were given and compares what they say with what stands recorded: byte for byte the same. *What-if* leaves recorded outputs
//!   out, lets the minds hear their own instead, and takes other settings.
//! - A plain **file of events** has no order but that of its lines and no clock but the running maximum of `at_ms`; ticks are put
//!   in between. No hand is there, and every ask is answered with "not configured"; but for a fit, which needs nothing but its
//!   arguments.
//!
//! A replay never acts: nothing is published.

pub mod compare;
pub mod record;
pub mod recording;
pub mod run;
pub mod verify;

use crate::outputs::wire;
use crate::roster::{ActorSettings, Mind, SettingsError, minds};
use crate::shell::panic_message;
use homeostat_actors::core::{Effect, Output};
use homeostat_schemas::{Answer, Content, Delivery, Event, Ms, Position, TraceContext, UnixMs};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Time between two ticks, as in the live system.
const TICK: Ms = 250;
/// After this long without an event, ticks are a second apart: every deadline that precision matters to has passed.
const FINE: Ms = 10 * 60 * 1000;
/// Ticks that are a second apart.
const COARSE_TICK: Ms = 1000;
/// After this long without an event every deadline of every mind has passed: the rest of the gap is left out.
const GAP: Ms = 26 * 60 * 60 * 1000;

/// Runs minds over a log of its own making: recorded inputs, and the minds' outputs as they come.
pub struct Engine {
    minds: Vec<Box<dyn Mind>>,
    position: Position,
    now: UnixMs,
    last_event: UnixMs,
    ticked: UnixMs,
    /// Is anyone there to answer what is asked?
    hands: bool,
    /// Asks without an answer, by actor, hand and what was asked: a recorded answer goes to the oldest.
    asked: BTreeMap<(String, String, String), VecDeque<String>>,
    /// What an actor is known to have passed over, by its position in the recording.
    poison: BTreeSet<(String, Position)>,
    /// Actors that panicked: where, and what the panic said. They take no part any more.
    fallen: BTreeMap<&'static str, (Position, String)>,
    /// The first broken promise.
    broken: Option<(Position, &'static str, &'static str)>,
}

/// After how many messages the promises of all minds are looked at.
const PROMISES_EVERY: u64 = 64;
/// How many asks of one kind are remembered.
const ASKED_MAX: usize = 1000;

impl Engine {
    /// Minds with these settings before an empty log.
    ///
    /// # Errors
    /// Settings that an actor does not understand.
    pub fn new(settings: &ActorSettings, hands: bool) -> Result<Engine, SettingsError> {
        Ok(Engine {
            minds: minds("replay", settings)?,
            position: 0,
            now: 0,
            last_event: 0,
            ticked: 0,
            hands,
            asked: BTreeMap::new(),
            poison: BTreeSet::new(),
            fallen: BTreeMap::new(),
            broken: None,
        })
    }

    /// Lets actors pass over what they are known to have passed over.
    #[must_use]
    pub fn passing_over(mut self, poison: BTreeSet<(String, Position)>) -> Engine {
        self.poison = poison;
        self
    }

    /// Actors that panicked: where, and what the panic said.
    #[must_use]
    pub fn fallen(&self) -> &BTreeMap<&'static str, (Position, String)> {
        &self.fallen
    }

    /// An event of a file, at its place in time.
    pub fn event(&mut self, event: Event) -> Vec<Output> {
        let at = event.at_ms().max(self.now);
        let mut outputs = self.tick_until(at);
        self.last_event = at;
        outputs.extend(self.deliver(at, Content::Events(vec![Ok(event)]), None));
        outputs
    }

    /// A recorded message. Recorded outputs are left out: the minds hear their own.
    pub fn recorded(&mut self, delivery: Delivery) -> Vec<Output> {
        match delivery.content {
            Content::Alert(_)
            | Content::Command(_)
            | Content::Ask(_)
            | Content::Settings(_)
            | Content::Housekeeping
            | Content::Broken(_) => {
                self.now = self.now.max(delivery.at);
                Vec::new()
            }
            // What became of a command that these minds may never have issued is not known.
            Content::Outcome(_) => Vec::new(),
            Content::Answer(mut answer) => {
                let key = (answer.actor.clone(), answer.hand.clone(), answer.what.clone());
                match self.asked.get_mut(&key).and_then(VecDeque::pop_front) {
                    Some(id) => {
                        answer.ask = id;
                        self.deliver(delivery.at, Content::Answer(answer), None)
                    }
                    None => Vec::new(),
                }
            }
            content @ (Content::Events(_) | Content::Key(_) | Content::Tick) => self.deliver(delivery.at, content, Some(delivery.position)),
        }
    }

    /// The end of a file: what is open is closed as if it were idle.
    pub fn end(&mut self) -> Vec<Output> {
        let mut outputs = Vec::new();
        for mind in &mut self.minds {
            outputs.extend(mind.end());
        }
        outputs
    }

    /// The first promise that did not hold: where, whose, which.
    #[must_use]
    pub fn broken_promise(&self) -> Option<(Position, &'static str, &'static str)> {
        self.broken
    }

    /// The minds.
    #[must_use]
    pub fn minds(&self) -> &[Box<dyn Mind>] {
        &self.minds
    }

    fn tick_until(&mut self, at: UnixMs) -> Vec<Output> {
        let mut outputs = Vec::new();
        if self.position == 0 {
            // Ticks stand on whole quarters of a second; the first event needs none before it.
            self.ticked = at - at % TICK;
            return outputs;
        }
        loop {
            let quiet = self.ticked.saturating_sub(self.last_event);
            let step = if quiet > FINE { COARSE_TICK } else { TICK };
            if at.saturating_sub(self.ticked) < step {
                return outputs;
            }
            self.ticked = if quiet > GAP { at - at % TICK } else { self.ticked + step };
            outputs.extend(self.deliver(self.ticked, Content::Tick, None));
            if quiet > GAP {
                return outputs;
            }
        }
    }

    /// Gives a message to every mind, and then what they said to those who listen.
    fn deliver(&mut self, at: UnixMs, content: Content, recorded: Option<Position>) -> Vec<Output> {
        let mut said = Vec::new();
        let mut waiting = VecDeque::from([(content, recorded)]);
        while let Some((content, recorded)) = waiting.pop_front() {
            self.position += 1;
            self.now = self.now.max(at);
            let delivery =
                Delivery { position: self.position, at: self.now, subject: String::new(), content, context: TraceContext::default() };
            for mind in &mut self.minds {
                let name = mind.name();
                let passed = |at: Position| self.poison.contains(&(name.to_owned(), at));
                if self.fallen.contains_key(name) || recorded.is_some_and(passed) {
                    continue;
                }
                let outputs = match catch_unwind(AssertUnwindSafe(|| mind.step(&delivery))) {
                    Ok(outputs) => outputs,
                    Err(panic) => {
                        self.fallen.insert(name, (recorded.unwrap_or(self.position), panic_message(panic.as_ref())));
                        continue;
                    }
                };
                waiting.extend(outputs.iter().filter_map(|output| match &output.effect {
                    Effect::Alert(alert) => Some((Content::Alert(alert.clone()), None)),
                    Effect::Command(command) => Some((Content::Command(command.clone()), None)),
                    _ => None,
                }));
                for output in &outputs {
                    let Effect::Ask(ask) = &output.effect else { continue };
                    if self.hands {
                        let asked = self.asked.entry((ask.actor.clone(), ask.hand.clone(), ask.what.clone())).or_default();
                        asked.push_back(ask.id.clone());
                        if asked.len() > ASKED_MAX {
                            asked.pop_front();
                        }
                    } else {
                        waiting.push_back((Content::Answer(crate::hands::fit::answer(ask).unwrap_or_else(|| not_configured(ask))), None));
                    }
                }
                said.extend(outputs);
            }
        }
        if self.broken.is_none() && self.position.is_multiple_of(PROMISES_EVERY) {
            self.broken = self.minds.iter().find_map(|mind| Some((self.position, mind.name(), mind.broken_promise()?)));
        }
        said
    }
}

fn not_configured(ask: &homeostat_schemas::Ask) -> Answer {
    Answer {
        ask: ask.id.clone(),
        actor: ask.actor.clone(),
        hand: ask.hand.clone(),
        what: ask.what.clone(),
        configured: false,
        ..Answer::default()
    }
}

/// An alert or command as it stands on the bus; nothing for what is between actors and hands.
#[must_use]
pub fn line(output: &Output) -> Option<String> {
    if !matches!(output.effect, Effect::Alert(_) | Effect::Command(_)) {
        return None;
    }
    String::from_utf8(wire(&output.effect)?.body).ok()
}
