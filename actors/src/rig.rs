//! What every mind's tests stand on: feed it a story, read the transcript; restart it anywhere, nothing changes; after every
//! step its promises hold.

use crate::core::{Core, Effect, Output, Settings};
use crate::driver::Driver;
use homeostat_schemas::{Answer, Content, Delivery, Event, State, TraceContext, UnixMs};
use serde_json::Value;
use std::fmt::Write as _;

/// The epoch of stories: seconds in a transcript count from here.
pub(crate) const START: UnixMs = 1_760_000_000_000;

/// One message of a story.
pub(crate) type Story = Vec<(UnixMs, Content)>;

/// An event, `seconds` after the start. Its `at_ms` is set to the same instant.
pub(crate) fn at(seconds: f64, event: Value) -> (UnixMs, Content) {
    let at = instant(seconds);
    (at, Content::Events(vec![Ok(parse(event, at))]))
}

/// Many events in one message.
pub(crate) fn batch(seconds: f64, events: impl IntoIterator<Item = Value>) -> (UnixMs, Content) {
    let at = instant(seconds);
    (at, Content::Events(events.into_iter().map(|event| Ok(parse(event, at))).collect()))
}

/// Any other message.
pub(crate) fn message(seconds: f64, content: Content) -> (UnixMs, Content) {
    (instant(seconds), content)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn instant(seconds: f64) -> UnixMs {
    START + (seconds * 1000.0).round() as UnixMs
}

fn parse(mut event: Value, at: UnixMs) -> Event {
    let fields = event.as_object_mut().unwrap();
    fields.entry("at_ms").or_insert(at.into());
    fields.entry("service").or_insert("shop".into());
    Event::from_json(event.to_string().as_bytes()).unwrap()
}

/// A mind on the bench.
pub(crate) struct Rig<C: Core> {
    driver: Driver<C>,
    position: u64,
    ticked: UnixMs,
    outputs: Vec<Output>,
    /// Saves and loads the mind now and then.
    reloads: bool,
    /// Answers the mind's asks at once, when it is set.
    pub(crate) hand: Option<fn(&homeostat_schemas::Ask) -> Option<Answer>>,
}

impl<C: Core> Rig<C> {
    pub(crate) fn with(config: C::Config) -> Self {
        Self::with_settings(Settings { config, ..Settings::default() })
    }

    pub(crate) fn with_settings(settings: Settings<C::Config>) -> Self {
        Rig { driver: Driver::new("rig", settings), position: 0, ticked: START, outputs: Vec::new(), reloads: true, hand: None }
    }

    /// Feeds messages in the given order, with a tick every 250 ms of log time between them.
    pub(crate) fn feed(&mut self, story: impl IntoIterator<Item = (UnixMs, Content)>) -> &mut Self {
        for (at, content) in story {
            self.tick_until(at);
            self.deliver(at, content);
        }
        self
    }

    /// Lets time pass, with ticks, until `seconds` after the start.
    pub(crate) fn until(&mut self, seconds: f64) -> &mut Self {
        self.tick_until(instant(seconds));
        self
    }

    /// Lets time pass without a tick: our own outage.
    pub(crate) fn outage_until(&mut self, seconds: f64) -> &mut Self {
        self.ticked = instant(seconds);
        self.deliver(self.ticked, Content::Tick);
        self
    }

    /// Saves the mind, drops it, and loads what was saved.
    pub(crate) fn restart(&mut self) -> &mut Self {
        let saved = self.driver.save().unwrap();
        self.driver = Driver::load("rig", &saved).unwrap();
        self
    }

    pub(crate) fn end(&mut self) -> &mut Self {
        let outputs = self.driver.end();
        self.position = self.driver.position();
        self.take(outputs);
        self
    }

    pub(crate) fn driver(&self) -> &Driver<C> {
        &self.driver
    }

    pub(crate) fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    fn tick_until(&mut self, at: UnixMs) {
        while self.ticked + 250 <= at {
            self.ticked += 250;
            self.deliver(self.ticked, Content::Tick);
        }
    }

    fn deliver(&mut self, at: UnixMs, content: Content) {
        self.position += 1;
        let delivery = Delivery { position: self.position, at, subject: String::new(), content, context: TraceContext::default() };
        let outputs = self.driver.step(&delivery);
        self.take(outputs);
    }

    fn take(&mut self, outputs: Vec<Output>) {
        assert_eq!(self.driver.broken_promise(), None, "a promise is broken at message {}", self.position);
        self.reload();
        let asks: Vec<_> = outputs.iter().filter_map(|o| if let Effect::Ask(ask) = &o.effect { Some(ask.clone()) } else { None }).collect();
        self.outputs.extend(outputs);
        if let Some(hand) = self.hand {
            for answer in asks.iter().filter_map(hand) {
                self.deliver(self.driver.now(), Content::Answer(answer));
            }
        }
    }

    /// Now and then the story goes on with a mind that was saved and loaded: a state that does not come back, or comes back as
    /// another, shows in whatever story it was made by. Often at first, and ever more rarely as states grow.
    fn reload(&mut self) {
        if !self.reloads || self.position > 64 && !self.position.is_multiple_of(self.position.next_power_of_two() / 16) {
            return;
        }
        let saved = self.driver.save().unwrap();
        self.restart();
        assert_eq!(self.driver.save().unwrap(), saved, "the state is another after a restart at message {}", self.position);
    }

    /// Alerts and commands, a line each: seconds, rule, severity or `resolved`, service, summary.
    pub(crate) fn transcript(&self) -> String {
        let mut text = String::new();
        for output in &self.outputs {
            match &output.effect {
                Effect::Alert(alert) => {
                    let what = if alert.state == State::Resolved { "resolved".to_owned() } else { alert.severity.to_string() };
                    let _ = writeln!(text, "{:<7} {} {} {} {}", seconds(alert.at_ms), alert.rule, what, alert.service, alert.summary);
                }
                Effect::Command(command) => {
                    let _ = writeln!(
                        text,
                        "{:<7} {} {:?} {} {}",
                        seconds(command.issued_ms),
                        command.action,
                        command.mode,
                        command.service,
                        command.target
                    );
                }
                Effect::Ask(_) | Effect::Announce(_) => {}
            }
        }
        text
    }
}

#[allow(clippy::cast_precision_loss)]
fn seconds(at: UnixMs) -> String {
    format!("{}s", at.saturating_sub(START) as f64 / 1000.0)
}

/// Checkpoint and restore after every message of the story (a spread of 200 places of a long one): what comes out is the same.
pub(crate) fn survives_restart_anywhere<C: Core>(settings: &Settings<C::Config>, story: &Story) {
    let run = |restart_at: Option<usize>| {
        let mut rig = Rig::<C> { reloads: false, ..Rig::with_settings(settings.clone()) };
        for (index, message) in story.iter().enumerate() {
            if restart_at == Some(index) {
                rig.restart();
            }
            rig.feed([message.clone()]);
        }
        rig.until(story.last().map_or(0.0, |(at, _)| ((at - START) / 1000) as f64) + 1300.0);
        rig.outputs
    };
    let straight = run(None);
    let step = story.len().div_ceil(200).max(1);
    for index in (0..=story.len()).step_by(step) {
        assert_eq!(run(Some(index)), straight, "restarted before message {index}");
    }
}
