//! The minds over recorded events.
//!
//! - A **recording** (`record`, or the stream itself) holds everything in its order. *Verify* gives the minds exactly what they
//!   were given and compares what they say with what stands recorded: byte for byte the same. *What-if* leaves recorded outputs
//!   out, lets the minds hear their own instead, and takes other settings.
//! - A plain **file of events** has no order but that of its lines and no clock but the running maximum of `at_ms`; ticks are put
//!   in between. No hand is there, and every ask is answered with "not configured".
//!
//! A replay never acts: nothing is published.

pub mod compare;
pub mod recording;
pub mod run;
pub mod verify;

use crate::outputs::wire;
use crate::roster::{ActorSettings, Mind, SettingsError, minds};
use homeostat_actors::core::{Effect, Output};
use homeostat_schemas::{Answer, Content, Delivery, Event, Ms, Position, TraceContext, UnixMs};
use std::collections::{BTreeMap, VecDeque};

/// Time between two ticks, as in the live system.
const TICK: Ms = 250;
/// After this long without an event, ticks are a second apart: every deadline that precision matters to has passed.
const FINE: Ms = 10 * 60 * 1000;
/// Ticks that are a second apart.
const COARSE_TICK: Ms = 1000;

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
            broken: None,
        })
    }

    /// An event of a file, at its place in time.
    pub fn event(&mut self, event: Event) -> Vec<Output> {
        let at = event.at_ms().max(self.now);
        let mut outputs = self.tick_until(at);
        self.last_event = at;
        outputs.extend(self.deliver(at, Content::Events(vec![Ok(event)])));
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
                        self.deliver(delivery.at, Content::Answer(answer))
                    }
                    None => Vec::new(),
                }
            }
            content @ (Content::Events(_) | Content::Tick) => self.deliver(delivery.at, content),
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
            let step = if self.ticked.saturating_sub(self.last_event) > FINE { COARSE_TICK } else { TICK };
            if self.ticked + step > at {
                return outputs;
            }
            self.ticked += step;
            outputs.extend(self.deliver(self.ticked, Content::Tick));
        }
    }

    /// Gives a message to every mind, and then what they said to those who listen.
    fn deliver(&mut self, at: UnixMs, content: Content) -> Vec<Output> {
        let mut said = Vec::new();
        let mut waiting = VecDeque::from([content]);
        while let Some(content) = waiting.pop_front() {
            self.position += 1;
            self.now = self.now.max(at);
            let delivery =
                Delivery { position: self.position, at: self.now, subject: String::new(), content, context: TraceContext::default() };
            for mind in &mut self.minds {
                let outputs = mind.step(&delivery);
                waiting.extend(outputs.iter().filter_map(|output| match &output.effect {
                    Effect::Alert(alert) => Some(Content::Alert(alert.clone())),
                    Effect::Command(command) => Some(Content::Command(command.clone())),
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
                        waiting.push_back(Content::Answer(not_configured(ask)));
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
