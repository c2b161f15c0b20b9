//! Carries a mind over the log: the same code in production, in a replay and in tests, so that a replay is the live run.
//!
//! Promises
//! - D-1 Log time never runs backwards, whatever the stream's timestamps do, nor beyond the year 9999: so a mind may add a time to
//!   it and get a later one.
//! - D-2 What a mind is given depends on the log alone, never on how messages were grouped when they were read.

use crate::core::{Core, Cx, Input, Output, Settings, Topics};
use homeostat_schemas::event::INSTANT_MAX_MS;
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
    /// Its head cannot be decoded.
    #[error("the checkpoint cannot be read: {0}")]
    Head(#[from] rmp_serde::decode::Error),
    /// Its state cannot be decoded.
    #[error("the state in the checkpoint cannot be read: {0}")]
    State(#[from] postcard::Error),
    /// The settings that were in force cannot be read by this version. Others in their place would decide differently from
    /// here on than a replay from the beginning.
    #[error("the settings in the checkpoint cannot be read: {0}")]
    Settings(#[from] serde_json::Error),
}

/// A state that cannot be written as a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// Its head cannot.
    #[error("the checkpoint's head cannot be written: {0}")]
    Head(#[from] rmp_serde::encode::Error),
    /// The state itself cannot.
    #[error("the state cannot be written: {0}")]
    State(#[from] postcard::Error),
}

/// How the state behind a head is written: 1 is postcard (fields by place). A checkpoint in another encoding is not read.
const ENCODING: u16 = 1;

/// The first value of a checkpoint, named `MessagePack`, so that any version can read it; the state follows it in [`ENCODING`],
/// guarded by its version.
#[derive(Serialize, Deserialize)]
struct Head {
    actor: String,
    #[serde(default)]
    encoding: u16,
    version: u16,
    incarnation: String,
    partition: u16,
    position: Position,
    now: UnixMs,
    settings: String,
    #[serde(default)]
    refused_settings: u64,
}

impl<C: Core> Driver<C> {
    const TOPICS: Topics = C::INTEREST.topics();

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
        self.pass(delivery.at);
        // Most messages are of no interest to most minds.
        if !C::INTEREST.hears(C::NAME, &delivery.content) && !matches!(delivery.content, Content::Settings(_)) {
            return Vec::new();
        }
        let trace = delivery.context.traceparent.as_deref();
        match &delivery.content {
            // An actor that is off only sees time pass, so that what it had open ends.
            Content::Events(_) if self.settings.modes.actor == Mode::Off => Vec::new(),
            Content::Events(events) => self.run(events.iter().flatten().map(Input::Event), trace),
            Content::Alert(alert) => self.run([Input::Alert(alert)], trace),
            Content::Command(command) => self.run([Input::Command(command)], trace),
            Content::Outcome(outcome) => self.run([Input::Outcome(outcome)], trace),
            Content::Key(fact) => self.run([Input::Key(fact)], trace),
            Content::Answer(answer) => self.run([Input::Answer(answer)], trace),
            Content::Settings(all) => {
                match all.get(C::NAME).map(crate::core::read::<C>) {
                    Some(Ok(settings)) => self.settings = settings,
                    Some(Err(_)) => self.refused_settings = self.refused_settings.saturating_add(1),
                    None => {}
                }
                Vec::new()
            }
            Content::Tick => self.run([Input::Tick], trace),
            Content::Ask(_) | Content::Housekeeping | Content::Broken(_) => Vec::new(),
        }
    }

    /// Says that a file is at its end.
    pub fn end(&mut self) -> Vec<Output> {
        self.position = self.position.saturating_add(1);
        self.run([Input::End], None)
    }

    fn run<'a>(&mut self, inputs: impl IntoIterator<Item = Input<'a>>, traceparent: Option<&str>) -> Vec<Output> {
        let identity = Identity {
            incarnation: self.incarnation.clone(),
            actor: C::NAME.to_owned(),
            partition: self.partition,
            position: self.position,
            index: 0,
        };
        let mut cx = Cx {
            now: self.now,
            config: &self.settings.config,
            modes: &self.settings.modes,
            identity,
            outputs: Vec::new(),
            traceparent,
            follows: None,
        };
        for input in inputs {
            match input {
                Input::Event(event) if !Self::TOPICS.meets(Topics::event(event.kind())) => {}
                input => self.core.step(input, &mut cx),
            }
        }
        cx.outputs
    }

    /// Takes note of a message of no interest, so that the position moves on.
    pub fn skip_to(&mut self, position: Position, at: UnixMs) {
        self.position = self.position.max(position);
        self.pass(at);
    }

    fn pass(&mut self, at: UnixMs) {
        self.now = self.now.max(at.min(INSTANT_MAX_MS));
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
    /// A state that its encoding cannot hold.
    pub fn save(&self) -> Result<Vec<u8>, SaveError> {
        let mut bytes = Vec::new();
        self.save_to(&mut bytes)?;
        Ok(bytes)
    }

    /// The same, behind what is already there. A state may be many megabytes: whoever knows about how many has made room.
    ///
    /// # Errors
    /// A state that its encoding cannot hold.
    pub fn save_to(&self, bytes: &mut Vec<u8>) -> Result<(), SaveError> {
        let head = Head {
            actor: C::NAME.to_owned(),
            encoding: ENCODING,
            version: C::STATE_VERSION,
            incarnation: self.incarnation.clone(),
            partition: self.partition,
            position: self.position,
            now: self.now,
            settings: self.settings.write().to_string(),
            refused_settings: self.refused_settings,
        };
        rmp_serde::encode::write_named(bytes, &head)?;
        postcard::to_io(&self.core, bytes)?;
        Ok(())
    }

    /// Takes up a checkpoint.
    ///
    /// # Errors
    /// When it is of another actor, version or incarnation, or it or the settings in it cannot be read.
    pub fn load(incarnation: &str, bytes: &[u8]) -> Result<Self, StateError> {
        let mut reader = bytes;
        // The head is read first: the state of another version may not even decode.
        let head = Head::deserialize(&mut rmp_serde::Deserializer::new(&mut reader))?;
        let wanted = (C::NAME, C::STATE_VERSION, ENCODING, incarnation);
        let found = (head.actor.as_str(), head.version, head.encoding, head.incarnation.as_str());
        if found != wanted {
            let say =
                |(actor, version, encoding, incarnation)| format!("{actor} version {version} in encoding {encoding} on {incarnation}");
            return Err(StateError::Foreign { found: say(found), wanted: say(wanted) });
        }
        let settings = Settings::read(&serde_json::from_str(&head.settings)?)?;
        let (core, rest) = postcard::take_from_bytes(reader)?;
        if !rest.is_empty() {
            return Err(postcard::Error::DeserializeBadEncoding.into());
        }
        Ok(Driver {
            core,
            settings,
            incarnation: head.incarnation,
            partition: head.partition,
            position: head.position,
            now: head.now,
            refused_settings: head.refused_settings,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::query::QueryCore;
    use homeostat_schemas::TraceContext;
    use serde_json::{Value, json};

    fn deliver(driver: &mut Driver<QueryCore>, at: UnixMs, content: Content) {
        let position = driver.position() + 1;
        driver.step(&Delivery { position, at, subject: String::new(), content, context: TraceContext::default() });
    }

    /// A checkpoint whose settings are these.
    fn saved(settings: &str) -> Vec<u8> {
        let head = Head {
            actor: "query".to_owned(),
            encoding: ENCODING,
            version: QueryCore::STATE_VERSION,
            incarnation: "log".to_owned(),
            partition: 0,
            position: 7,
            now: 7,
            settings: settings.to_owned(),
            refused_settings: 0,
        };
        let bytes = rmp_serde::to_vec_named(&head).unwrap();
        postcard::to_extend(&QueryCore::default(), bytes).unwrap()
    }

    #[test]
    fn settings_that_cannot_be_read_make_a_checkpoint_unusable_and_never_the_defaults() {
        assert!(Driver::<QueryCore>::load("log", &saved("{}")).is_ok());
        for settings in ["", "{", r#"{"slow_ms": "soon"}"#, r#"{"slow_mss": 5}"#, r#"{"mode": "maybe"}"#] {
            assert!(matches!(Driver::<QueryCore>::load("log", &saved(settings)), Err(StateError::Settings(_))), "{settings}");
        }
    }

    #[test]
    fn a_checkpoint_that_was_cut_or_written_otherwise_is_not_taken_up() {
        let driver = Driver::<QueryCore>::new("log", Settings::default());
        let whole = driver.save().unwrap();
        assert!(Driver::<QueryCore>::load("log", &whole).is_ok());
        for end in 0..whole.len() {
            assert!(Driver::<QueryCore>::load("log", &whole[..end]).is_err(), "{end}");
        }
        assert!(matches!(Driver::<QueryCore>::load("log", &[&whole[..], b"\0"].concat()), Err(StateError::State(_))));
        assert!(matches!(Driver::<QueryCore>::load("another log", &whole), Err(StateError::Foreign { .. })));
    }

    #[test]
    fn settings_and_how_many_were_refused_survive_a_restart() {
        let mut driver = Driver::<QueryCore>::new("log", Settings::default());
        for slow_ms in [json!(250), json!("soon")] {
            deliver(&mut driver, 5, Content::Settings(json!({ "query": { "slow_ms": slow_ms } })));
        }
        let driver = Driver::<QueryCore>::load("log", &driver.save().unwrap()).unwrap();
        assert_eq!((driver.settings().config.slow_ms, driver.refused_settings()), (250, 1));
    }

    #[test]
    fn log_time_stops_at_the_year_9999() {
        let mut driver = Driver::<QueryCore>::new("log", Settings { config: Default::default(), ..Settings::default() });
        deliver(&mut driver, UnixMs::MAX, Content::Tick);
        assert_eq!(driver.now(), INSTANT_MAX_MS);
        driver.skip_to(9, UnixMs::MAX);
        assert_eq!((driver.now(), driver.position()), (INSTANT_MAX_MS, 9));
        let _: Value = serde_json::to_value(driver.view()).unwrap();
    }
}
