//! The contract of a mind.

use homeostat_schemas::{Alert, Answer, Ask, Command, Content, Event, EventKind, Identity, KeyFact, Mode, Ms, Outcome, Position, UnixMs};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::collections::BTreeMap;

pub(crate) mod kept;
mod topics;

pub use kept::Kept;
pub use topics::Topics;

/// A mind: a state machine over the log.
///
/// `Serialize` and `Deserialize` are its checkpoint: after any prefix of the log, saving and loading must change nothing that
/// it does later. A field that only saves time (a memo) may be skipped, one that decides anything may not.
///
/// The checkpoint is compact (postcard): fields stand by their place, not by their name. So a state must not hold a type with
/// `skip_serializing_if` (most words of the bus have one: [`Alert`], [`Outcome`], [`Ask`], [`Answer`], every event), nor one that
/// is `untagged`, tagged from within or flattened: what was left out would shift the rest; nor one that holds a value of any form
/// ([`Command`], [`Value`]). What has to be kept whole is kept as [`Kept`]. The rig of the tests saves and loads a mind in the
/// course of every story, so that a forgotten one shows.
pub trait Core: Serialize + DeserializeOwned + Default + Send + 'static {
    /// One word everywhere: folder, settings table, metric label, subject token.
    const NAME: &'static str;
    /// The version of the state. A checkpoint of another version is not read; the mind is rebuilt from the log. Whoever adds, removes or
    /// moves a field of the state counts it up: where fields stand by their place none can be absent, and `default` does nothing.
    const STATE_VERSION: u16;
    /// What it may do before anybody says anything.
    const MODE: Mode = Mode::Act;
    /// What it listens to. Ticks and the end come to every mind.
    const INTEREST: Interest;
    /// Its thresholds. The documentation of each field is its manual; unknown fields are refused.
    type Config: Clone + Default + Serialize + DeserializeOwned + schemars::JsonSchema + Send + Sync + 'static;
    /// What it lets others see of itself: served by the gateway, kept by the store.
    type View: Serialize + Send + 'static;

    /// Takes one input, and pushes what follows from it.
    fn step(&mut self, input: Input<'_>, cx: &mut Cx<'_, Self::Config>);

    /// The first promise of the module's documentation that does not hold, by its name (`Q-2`).
    fn broken_promise(&self, config: &Self::Config) -> Option<&'static str>;

    /// What can be seen of it at `now`.
    fn view(&self, now: UnixMs, config: &Self::Config) -> Self::View;

    /// Every finding that is open, for the count in the metrics and the test that none leaks.
    fn incidents(&self) -> &crate::incidents::Incidents;
}

/// Longest name (of an instance, a peer, a metric, a model) that a mind keeps, bytes.
const NAME_MAX: usize = 128;

/// A name, cut to what a mind keeps of it.
pub(crate) fn clip(name: &str) -> &str {
    &name[..name.floor_char_boundary(NAME_MAX)]
}

/// What a mind listens to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Interest {
    /// Kinds of events.
    pub events: &'static [EventKind],
    /// Alerts, of every actor.
    pub alerts: bool,
    /// Commands.
    pub commands: bool,
    /// Outcomes.
    pub outcomes: bool,
    /// Facts about API keys.
    pub keys: bool,
}

impl Interest {
    /// Nothing but ticks, answers to its own asks, and the end.
    pub const NONE: Interest = Interest { events: &[], alerts: false, commands: false, outcomes: false, keys: false };

    /// Does the actor of this name hear anything in a message?
    #[must_use]
    pub fn hears(&self, actor: &str, content: &Content) -> bool {
        match content {
            Content::Events(events) => events.iter().flatten().any(|event| self.event(event.kind())),
            Content::Alert(_) => self.alerts,
            Content::Command(_) => self.commands,
            Content::Outcome(_) => self.outcomes,
            Content::Key(_) => self.keys,
            Content::Answer(answer) => answer.actor == actor,
            Content::Tick => true,
            Content::Ask(_) | Content::Settings(_) | Content::Housekeeping | Content::Broken(_) => false,
        }
    }

    /// Does it listen to this kind?
    #[must_use]
    pub fn event(&self, kind: EventKind) -> bool {
        self.events.contains(&kind)
    }

    /// Everything that a mind with this interest is given: what it listens to, and what comes to all of them.
    #[must_use]
    pub const fn topics(&self) -> Topics {
        let mut topics = Topics::EVERYONE;
        let mut index = 0;
        while index < self.events.len() {
            topics = topics.with(Topics::event(self.events[index]));
            index += 1;
        }
        topics
            .with(if self.alerts { Topics::ALERTS } else { Topics::NONE })
            .with(if self.commands { Topics::COMMANDS } else { Topics::NONE })
            .with(if self.outcomes { Topics::OUTCOMES } else { Topics::NONE })
            .with(if self.keys { Topics::KEYS } else { Topics::NONE })
    }
}

/// One thing that a mind learns.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// An application reported something.
    Event(&'a Event),
    /// An actor found something.
    Alert(&'a Alert),
    /// Something is to be done.
    Command(&'a Command),
    /// Something became of a command; the service stands in its subject.
    Outcome(&'a Outcome),
    /// Something happened to an API key.
    Key(&'a KeyFact),
    /// A hand answered one of this mind's own asks.
    Answer(&'a Answer),
    /// Log time moved.
    Tick,
    /// A file is at its end: close what is open as if it were idle. Raises no silence and resolves nothing.
    End,
}

/// What follows from an input. Plain data: the body turns it into messages.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// A finding began or ended.
    Alert(Box<Alert>),
    /// Something is to be done.
    Command(Box<Command>),
    /// Something must be known.
    Ask(Ask),
    /// Something is said to whoever listens now; not in the log, so it has no identity.
    Announce(Announcement),
}

/// An admission fraction for one service's calls to one peer.
#[derive(Debug, Clone, PartialEq)]
pub struct Announcement {
    /// The calling service.
    pub service: String,
    /// The called peer.
    pub peer: String,
    /// The message.
    pub body: Value,
}

/// An effect and, unless it is an announcement, who made it from what.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Identity, deterministic.
    pub identity: Option<Identity>,
    /// The effect.
    pub effect: Effect,
    /// The trace that it belongs to (`traceparent`), when that is another than the one of the message it was decided on.
    pub traceparent: Option<String>,
}

/// Where a step happens: log time, place, settings, and the effects so far.
pub struct Cx<'a, C> {
    /// Log time, never less than at the step before.
    pub now: UnixMs,
    /// The thresholds in force.
    pub config: &'a C,
    pub(crate) modes: &'a Modes,
    pub(crate) identity: Identity,
    pub(crate) outputs: Vec<Output>,
    pub(crate) traceparent: Option<&'a str>,
    pub(crate) follows: Option<String>,
}

impl<C> Cx<'_, C> {
    /// The place of the message in the log.
    #[must_use]
    pub fn position(&self) -> Position {
        self.identity.position
    }

    /// The mode in force for a rule of this actor.
    #[must_use]
    pub fn mode(&self, rule: &str) -> Mode {
        self.modes.of(rule)
    }

    /// The mode in force for the actor as a whole.
    #[must_use]
    pub fn actor_mode(&self) -> Mode {
        self.modes.actor
    }

    /// The W3C trace context of the message, as its `traceparent`.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.traceparent
    }

    /// From now on outputs belong to this trace, and not to that of the message: what is decided on a tick or on a measurement
    /// may be part of a story that began long before. `None` goes back to the message's own.
    pub fn follow(&mut self, traceparent: Option<String>) {
        self.follows = traceparent;
    }

    /// The identity that the next output will have.
    #[must_use]
    pub fn next_identity(&self) -> Identity {
        self.identity.clone()
    }

    /// Asks a hand something; the answer comes as [`Input::Answer`] with the returned id, or it does not come at all.
    pub fn ask(&mut self, hand: &str, what: &str, args: Value, timeout: Ms) -> String {
        let ask = Ask {
            id: self.identity.to_string(),
            actor: self.identity.actor.clone(),
            hand: hand.to_owned(),
            what: what.to_owned(),
            args,
            asked_ms: self.now,
            until_ms: self.now.saturating_add(timeout),
        };
        let id = ask.id.clone();
        self.push(Effect::Ask(ask));
        id
    }

    /// Issues a command; its id and time of issue are filled in here.
    pub fn command(&mut self, mut command: Command) {
        command.id = self.identity.to_string();
        command.issued_ms = self.now;
        self.push(Effect::Command(Box::new(command)));
    }

    /// Says something to whoever listens now.
    pub fn announce(&mut self, announcement: Announcement) {
        self.outputs.push(Output { identity: None, effect: Effect::Announce(announcement), traceparent: None });
    }

    pub(crate) fn alert(&mut self, mut alert: Alert) {
        alert.id = self.identity.to_string();
        alert.at_ms = self.now;
        self.push(Effect::Alert(Box::new(alert)));
    }

    fn push(&mut self, effect: Effect) {
        let identity = self.identity.clone();
        self.identity.index = self.identity.index.saturating_add(1);
        self.outputs.push(Output { identity: Some(identity), effect, traceparent: self.follows.clone() });
    }
}

/// What an actor and its rules may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Modes {
    /// The actor.
    pub actor: Mode,
    /// Its rules, by condition (`slow`); those not named follow the actor.
    pub rules: BTreeMap<String, Mode>,
}

impl Default for Modes {
    fn default() -> Self {
        Modes { actor: Mode::Act, rules: BTreeMap::new() }
    }
}

impl Modes {
    /// The mode of a rule (`query.slow`): its own, but never more than its actor's.
    #[must_use]
    pub fn of(&self, rule: &str) -> Mode {
        let condition = rule.split_once('.').map_or(rule, |(_, condition)| condition);
        self.rules.get(condition).copied().unwrap_or(self.actor).min(self.actor)
    }
}

/// An actor's settings before anybody says anything.
#[must_use]
pub fn defaults<C: Core>() -> Settings<C::Config> {
    Settings { modes: Modes { actor: C::MODE, ..Modes::default() }, config: C::Config::default() }
}

/// Reads the table of an actor; without a `mode` it has that of [`Core::MODE`].
///
/// # Errors
/// The parser's word: which key, and what was expected.
pub fn read<C: Core>(table: &Value) -> Result<Settings<C::Config>, serde_json::Error> {
    let mut settings = Settings::read(table)?;
    if table.get("mode").is_none() {
        settings.modes.actor = C::MODE;
    }
    Ok(settings)
}

/// An actor's table in the settings: `mode`, `rules`, and its own thresholds beside them.
#[derive(Debug, Clone, Default)]
pub struct Settings<C> {
    /// What it may do.
    pub modes: Modes,
    /// Its thresholds.
    pub config: C,
}

impl<C: Default + Clone + Serialize + DeserializeOwned> Settings<C> {
    /// Reads the table of an actor.
    ///
    /// # Errors
    /// The parser's word: which key, and what was expected.
    pub fn read(table: &Value) -> Result<Self, serde_json::Error> {
        let Value::Object(map) = table else {
            return Ok(Settings { modes: Modes::default(), config: serde_json::from_value(table.clone())? });
        };
        let mut map = map.clone();
        let mut modes = Modes::default();
        if let Some(mode) = map.remove("mode") {
            modes.actor = serde_json::from_value(mode)?;
        }
        if let Some(rules) = map.remove("rules") {
            modes.rules = serde_json::from_value(rules)?;
        }
        Ok(Settings { modes, config: serde_json::from_value(Value::Object(map))? })
    }

    /// The table of an actor, complete.
    #[must_use]
    pub fn write(&self) -> Value {
        let mut table = serde_json::to_value(&self.config).unwrap_or_default();
        if let Value::Object(map) = &mut table {
            map.insert("mode".to_owned(), serde_json::to_value(self.modes.actor).unwrap_or_default());
            map.insert("rules".to_owned(), serde_json::to_value(&self.modes.rules).unwrap_or_default());
        }
        table
    }
}
