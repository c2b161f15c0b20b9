//! Carries a mind over the log: the same code in production, in a replay and in tests, so that a replay is the live run.
//!
//! Promises
//! - D-1 Log time never runs backwards, whatever the stream's timestamps do.
//! - D-2 What a mind is given depends on the log alone, never on how messages were grouped when they were read.

use crate::core::{Core, Cx, Input, Output, Settings};
use homeostat_schemas::{Content, Delivery, Identity, Mode, Position, UnixMs};
use serde::{Deserialize, Serialize};

/// A mind with its place in the log, its clock and its settings.
pub struct Driver<C: Core> {
    core: C,
    settings: Settings<C::Config>,
    incarnation: String,
    partition: u16,
    position: Position,
    now: UnixMs,
    refused_settings: u64,
}

/// A checkpoint that cannot be taken up; the mind has to be rebuilt from the log.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It is of another actor, version or stream.
    #[error("the checkpoint is of {found}, not of {wanted}")]
    Foreign {
        /// What it is of.
        found: String,
        /// What was wanted.
        wanted: String,
    },
    /// It cannot be decoded.
    #[error("the checkpoint cannot be read: {0}")]
    Unreadable(#[from] rmp_serde::decode::Error),
}

/// The first value of a checkpoint; the state follows it. The state is compact (fields by place), guarded by its version.
#[derive(Serialize, Deserialize)]
struct Head {
    actor: String,
    version: u16,
    incarnation: String,
    partition: u16,
    position: Position,
    now: UnixMs,
    settings: String,
}

impl<C: Core> Driver<C> {
    /// A new mind before the first message of a log.
    #[must_use]
    pub fn new(incarnation: &str, settings: Settings<C::Config>) -> Self {
        Driver { core: C::default(), settings, incarnation: incarnation.to_owned(), partition: 0, position: 0, now: 0, refused_settings: 0 }
    }

    /// The mind.
    #[must_use]
    pub fn core(&self) -> &C {
        &self.core
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> &Settings<C::Config> {
        &self.settings
    }

    /// The last message taken, 0 before the first.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Log time.
    #[must_use]
    pub fn now(&self) -> UnixMs {
        self.now
    }

    /// How many settings messages could not be understood and left the old ones in force.
    #[must_use]
    pub fn refused_settings(&self) -> u64 {
        self.refused_settings
    }

    /// Takes one message, gives what follows from it.
    pub fn step(&mut self, delivery: &Delivery) -> Vec<Output> {
        self.position = delivery.position;
        self.now = self.now.max(delivery.at);
        // Most messages are of no interest to most minds.
        if !C::INTEREST.hears(C::NAME, &delivery.content) && !matches!(delivery.content, Content::Settings(_)) {
            return Vec::new();
        }
        match &delivery.content {
            // An actor that is off only sees time pass, so that what it had open ends.
            Content::Events(_) if self.settings.modes.actor == Mode::Off => Vec::new(),
            Content::Events(events) => self.run(events.iter().flatten().map(Input::Event)),
            Content::Alert(alert) => self.run([Input::Alert(alert)]),
            Content::Command(command) => self.run([Input::Command(command)]),
            Content::Outcome(outcome) => self.run([Input::Outcome(outcome)]),
            Content::Answer(answer) => self.run([Input::Answer(answer)]),
            Content::Settings(all) => {
                match all.get(C::NAME).map(Settings::read) {
                    Some(Ok(settings)) => self.settings = settings,
                    Some(Err(_)) => self.refused_settings += 1,
                    None => {}
                }
                Vec::new()
            }
            Content::Tick => self.run([Input::Tick]),
            Content::Ask(_) | Content::Housekeeping | Content::Broken(_) => Vec::new(),
        }
    }

    /// Says that a file is at its end.
    pub fn end(&mut self) -> Vec<Output> {
        self.position += 1;
        self.run([Input::End])
    }

    fn run<'a>(&mut self, inputs: impl IntoIterator<Item = Input<'a>>) -> Vec<Output> {
        let identity = Identity {
            incarnation: self.incarnation.clone(),
            actor: C::NAME.to_owned(),
            partition: self.partition,
            position: self.position,
            index: 0,
        };
        let mut cx = Cx { now: self.now, config: &self.settings.config, modes: &self.settings.modes, identity, outputs: Vec::new() };
        for input in inputs {
            match input {
                Input::Event(event) if !C::INTEREST.event(event.kind()) => {}
                input => self.core.step(input, &mut cx),
            }
        }
        cx.outputs
    }

    /// Takes note of a message of no interest, so that the position moves on.
    pub fn skip_to(&mut self, position: Position, at: UnixMs) {
        self.position = self.position.max(position);
        self.now = self.now.max(at);
    }

    /// The first promise that does not hold.
    #[must_use]
    pub fn broken_promise(&self) -> Option<&'static str> {
        self.core.incidents().broken_promise().or_else(|| self.core.broken_promise(&self.settings.config))
    }

    /// What can be seen of the mind.
    #[must_use]
    pub fn view(&self) -> C::View {
        self.core.view(self.now, &self.settings.config)
    }

    /// The checkpoint: state, place, clock and settings in force.
    ///
    /// # Errors
    /// A state that `MessagePack` cannot hold.
    pub fn save(&self) -> Result<Vec<u8>, rmp_serde::encode::Error> {
        let head = Head {
            actor: C::NAME.to_owned(),
            version: C::STATE_VERSION,
            incarnation: self.incarnation.clone(),
            partition: self.partition,
            position: self.position,
            now: self.now,
            settings: self.settings.write().to_string(),
        };
        let mut bytes = rmp_serde::to_vec_named(&head)?;
        rmp_serde::encode::write(&mut bytes, &self.core)?;
        Ok(bytes)
    }

    /// Takes up a checkpoint.
    ///
    /// # Errors
    /// When it is of another actor, version or incarnation, or cannot be read.
    pub fn load(incarnation: &str, bytes: &[u8]) -> Result<Self, StateError> {
        let mut reader = bytes;
        // The head is read first: the state of another version may not even decode.
        let head = Head::deserialize(&mut rmp_serde::Deserializer::new(&mut reader))?;
        if head.actor != C::NAME || head.version != C::STATE_VERSION || head.incarnation != incarnation {
            return Err(StateError::Foreign {
                found: format!("{} version {} on {}", head.actor, head.version, head.incarnation),
                wanted: format!("{} version {} on {incarnation}", C::NAME, C::STATE_VERSION),
            });
        }
        let core = C::deserialize(&mut rmp_serde::Deserializer::new(&mut reader))?;
        let settings = serde_json::from_str(&head.settings).ok().and_then(|table| Settings::read(&table).ok()).unwrap_or_default();
        Ok(Driver {
            core,
            settings,
            incarnation: head.incarnation,
            partition: head.partition,
            position: head.position,
            now: head.now,
            refused_settings: 0,
        })
    }
}
