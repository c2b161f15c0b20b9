//! The one actix actor that carries every mind. It steps, and it shows; everything that waits (publishing, saving, reading) is
//! the keeper's ([`crate::supervise`]), so that a shell never blocks its arbiter for longer than one batch.
//!
//! A panic of the mind is caught here. What it leaves behind is dropped with the shell, never used again.

use crate::feed::Portion;
use crate::roster::Question;
use crate::suspect::Suspect;
use crate::telemetry::Spans;
use actix::{Actor, ActorContext, Context, Handler, Message};
use homeostat_actors::core::{Core, Output, Topics};
use homeostat_actors::driver::Driver;
use homeostat_schemas::{Content, Delivery, Position, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// How minds are carried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ShellConfig {
    /// A checkpoint is due after this many milliseconds, if the actor heard anything but ticks since the last one.
    pub checkpoint_every_ms: u64,
    /// A checkpoint is due after this many messages that the actor heard, or ten times as many that it passed over.
    pub checkpoint_every_messages: u64,
    /// A checkpoint is due after this many milliseconds though the actor heard only ticks.
    pub checkpoint_idle_ms: u64,
    /// So many restarts of one actor within `restart_window_s` end the process, so that whatever supervises it takes over.
    pub restarts_max: u32,
    /// See `restarts_max`.
    pub restart_window_s: u64,
    /// The first pause before a restart; it doubles up to `backoff_max_ms`, with jitter.
    pub backoff_ms: u64,
    /// The longest pause before a restart.
    pub backoff_max_ms: u64,
    /// A mind that is at work on one batch for longer hangs: the process ends, so that the message can be found and set aside.
    pub step_deadline_s: u64,
    /// How often the process that works says so, milliseconds.
    pub lease_renew_ms: u64,
    /// A standby takes over when it has heard nothing for so long, milliseconds.
    pub lease_patience_ms: u64,
    /// How long a graceful stop may take before the process ends all the same, seconds.
    pub stop_deadline_s: u64,
}

impl Default for ShellConfig {
    fn default() -> Self {
        ShellConfig {
            checkpoint_every_ms: 5_000,
            checkpoint_every_messages: 20_000,
            checkpoint_idle_ms: 60_000,
            restarts_max: 10,
            restart_window_s: 60,
            backoff_ms: 10,
            backoff_max_ms: 5_000,
            step_deadline_s: 30,
            lease_renew_ms: 500,
            lease_patience_ms: 2_000,
            stop_deadline_s: 20,
        }
    }
}

/// An actor with the mind `C`.
pub struct Shell<C: Core> {
    /// Boxed, so that a mind of any type can be moved.
    driver: Box<Driver<C>>,
    suspect: Option<Suspect>,
    spans: Spans,
    /// Size of the last checkpoint, for the room that the next one takes.
    saved: usize,
}

impl<C: Core> Shell<C> {
    /// A shell around a mind.
    #[must_use]
    pub fn new(driver: Driver<C>, suspect: Option<Suspect>, spans: Spans) -> Self {
        Shell { driver: Box::new(driver), suspect, spans, saved: 0 }
    }
}

impl<C: Core> Actor for Shell<C> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // One batch is outstanding at a time; the rest are views.
        ctx.set_mailbox_capacity(64);
    }
}

/// Take these messages.
pub struct Step {
    /// Messages in order; those the mind has already taken, and those it does not listen to, are passed over.
    pub portions: Vec<Portion>,
    /// Messages to pass over, because they are known to be poison.
    pub poison: Arc<BTreeSet<Position>>,
}

/// What followed from a step.
pub struct Stepped {
    /// Outputs in order, each with the trace context its reader continues.
    pub outputs: Vec<(Output, Option<String>)>,
    /// The last message taken.
    pub position: Position,
    /// Log time.
    pub now: UnixMs,
    /// How many messages it heard, ticks not counted.
    pub heard: u64,
    /// Findings open.
    pub open: usize,
}

/// The mind panicked; the shell is gone.
#[derive(Debug)]
pub struct Panicked {
    /// At which message.
    pub position: Position,
    /// What the panic said.
    pub message: String,
}

impl Message for Step {
    type Result = Result<Stepped, Panicked>;
}

impl<C: Core> Handler<Step> for Shell<C> {
    type Result = Result<Stepped, Panicked>;

    fn handle(&mut self, step: Step, ctx: &mut Self::Context) -> Self::Result {
        let mut taken = Taken::default();
        for Portion { passed, chunk } in &step.portions {
            self.driver.skip_to(passed.position, passed.at);
            for (delivery, topics) in chunk.messages() {
                if delivery.position <= self.driver.position() {
                    continue;
                }
                if !topics.meets(Self::TOPICS) || step.poison.contains(&delivery.position) {
                    self.driver.skip_to(delivery.position, delivery.at);
                    continue;
                }
                if let Err(panic) = self.take(delivery, &mut taken) {
                    // The state may be torn: nothing of it is used again.
                    ctx.stop();
                    return Err(Panicked { position: delivery.position, message: panic_message(panic.as_ref()) });
                }
            }
        }
        Ok(Stepped {
            outputs: taken.outputs,
            position: self.driver.position(),
            now: self.driver.now(),
            heard: taken.heard,
            open: self.driver.core().incidents().len(),
        })
    }
}

/// What came of the messages of a step so far.
#[derive(Default)]
struct Taken {
    outputs: Vec<(Output, Option<String>)>,
    heard: u64,
}

impl<C: Core> Shell<C> {
    const TOPICS: Topics = C::INTEREST.topics();

    fn take(&mut self, delivery: &Delivery, taken: &mut Taken) -> Result<(), Box<dyn std::any::Any + Send>> {
        let traced = delivery.context.traceparent.is_some() && C::INTEREST.hears(C::NAME, &delivery.content);
        let span = if traced { self.spans.process(C::NAME, delivery) } else { None };
        if let Some(suspect) = &mut self.suspect {
            suspect.enter(delivery.position);
        }
        let stepped = catch_unwind(AssertUnwindSafe(|| self.driver.step(delivery)));
        if let Some(suspect) = &mut self.suspect {
            suspect.leave();
        }
        let stepped = stepped?;
        taken.heard += u64::from(!matches!(delivery.content, Content::Tick));
        if !stepped.is_empty() {
            let span = span.or_else(|| self.spans.decide(C::NAME, delivery, &stepped));
            taken.outputs.extend(stepped.into_iter().map(|output| {
                let carried = || output.traceparent.clone().or_else(|| delivery.context.traceparent.clone());
                let trace = self.spans.publish(span.as_ref(), &output).or_else(carried);
                (output, trace)
            }));
        }
        Ok(())
    }
}

pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic without words".to_owned())
}

/// Answer a question.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Ask<C: Core>(pub Question<C>);

impl<C: Core> Handler<Ask<C>> for Shell<C> {
    type Result = ();

    fn handle(&mut self, Ask(question): Ask<C>, _: &mut Self::Context) {
        // Whoever asked learns of it by getting no answer.
        let _ = catch_unwind(AssertUnwindSafe(|| question(&self.driver)));
    }
}

/// Bytes before the state in a checkpoint, by which the keeper knows its place in the log again.
pub const MARK_BYTES: usize = 16;

/// Give the checkpoint.
pub struct Save;

/// A checkpoint to be written.
pub struct Saved {
    /// [`MARK_BYTES`] bytes for the mark of the message that it stands at, then the state.
    pub bytes: Vec<u8>,
    /// The last message that is in it.
    pub position: Position,
    /// The first promise that does not hold, for the metric.
    pub broken_promise: Option<&'static str>,
}

impl Message for Save {
    type Result = Result<Saved, String>;
}

impl<C: Core> Handler<Save> for Shell<C> {
    type Result = Result<Saved, String>;

    fn handle(&mut self, _: Save, _: &mut Self::Context) -> Self::Result {
        let mut bytes = Vec::with_capacity(MARK_BYTES + self.saved + self.saved / 8);
        bytes.resize(MARK_BYTES, 0);
        let written = catch_unwind(AssertUnwindSafe(|| self.driver.save_to(&mut bytes))).map_err(|panic| panic_message(panic.as_ref()))?;
        written.map_err(|error| error.to_string())?;
        self.saved = bytes.len();
        let broken_promise = catch_unwind(AssertUnwindSafe(|| self.driver.broken_promise())).unwrap_or(Some("panic"));
        Ok(Saved { bytes, position: self.driver.position(), broken_promise })
    }
}

/// End.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Stop;

impl<C: Core> Handler<Stop> for Shell<C> {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}
