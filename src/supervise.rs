//! Supervision. A keeper holds one actor up: starts its shell from the last checkpoint, feeds it, publishes what follows,
//! saves it now and then, and starts it again when it fell.
//!
//! Why not `actix::Supervisor`: it does not restart after a panic, and a stop in `started()` makes it a hot loop.
//!
//! Promises
//! - K-1 Nothing a mind decided is lost or published twice, wherever the process dies: outputs go through the outbox, whose
//!   chain head says what is out; everything since the checkpoint is decided again, the same, and what is out is left out.
//! - K-2 A message on which a mind fails twice is set aside with its reason, and the log moves on.
//! - K-3 Restarts back off; too many in a while end the process with a clear last word.
//! - K-4 A message that may be what ends the process is taken while no other mind works, so that none is set aside for the
//!   death that another one's message brings ([`crate::suspect`]).

mod beginning;
mod run;
mod standing;

use crate::feed::{Feed, FeedError, Portion};
use crate::metrics::{ActorLabel, Metrics, TraceLabel};
use crate::outputs;
use crate::roster::{ActorSettings, Slot};
use crate::shell::{Ask, MARK_BYTES, Save, Shell, ShellConfig, Step, Stepped};
use crate::signing::Signing;
use crate::suspect::{Accused, DEATHS};
use crate::system::told;
use crate::telemetry::Spans;
use actix::{Actor as _, System};
use beginning::{Beginning, is_of, read};
use homeostat_actors::core::{Core, Effect, Settings};
use homeostat_actors::driver::Driver;
use homeostat_nats::{BusError, CheckpointError, Checkpoints, Fence, Log, Message, OutboxError, Output, fault};
use homeostat_schemas::batch::DecodeError;
use homeostat_schemas::{Position, Rejected, Root};
use run::Run;
pub use standing::Floor;
pub(crate) use standing::alone;
use standing::{Standing, arbiter, jittered, mark_of};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// How many portions that have come while a shell was at work it is given together.
const TOGETHER: usize = 5;

/// What every keeper needs.
#[derive(Clone)]
pub struct Common {
    /// The log.
    pub log: Log,
    /// The root of subjects.
    pub root: Root,
    /// The shared reader.
    pub feed: Feed,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// How minds are carried.
    pub config: ShellConfig,
    /// The settings of a mind that is built anew on a log whose beginning is gone.
    pub settings: ActorSettings,
    /// The actix system on which arbiters are made.
    pub system: System,
    /// Where the notes of messages at work lie.
    pub suspects: PathBuf,
    /// Who works on a batch.
    pub floor: Floor,
    /// Traces.
    pub spans: Spans,
    /// The key that signs alerts and commands.
    pub signing: Signing,
    /// Set when all is to end.
    pub stop: watch::Receiver<bool>,
    /// Whether outputs are fenced; off only to prove that the fence matters.
    pub fence: Fence,
}

/// How a keeper ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// As it was told, with a last checkpoint.
    Stopped,
    /// Another process owns the actor.
    Fenced,
    /// It fell too often.
    GaveUp(String),
}

/// Why one incarnation of a shell ended.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Outbox(#[from] OutboxError),
    #[error("{0}")]
    Feed(#[from] FeedError),
    #[error("{0}")]
    Bus(#[from] BusError),
    #[error("{0}")]
    Checkpoint(#[from] CheckpointError),
    #[error("panicked at {position}: {message}")]
    Panicked { position: Position, message: String },
    #[error("died: {0}")]
    Died(String),
    #[error("has been at work on one batch for {0} s and does not come back; the message it hangs on is noted and will be set aside")]
    Hangs(u64),
    #[error("the feed ended")]
    FeedEnded,
}

impl Trouble {
    /// Is it the actor's own fault, or is the bus away?
    fn own(&self) -> bool {
        matches!(self, Trouble::Panicked { .. } | Trouble::Died(_))
    }
}

/// Holds up one actor.
pub struct Keeper<C: Core> {
    common: Common,
    slot: Slot<C>,
    /// Messages to be set aside when they come, and why.
    poison: BTreeMap<Position, String>,
    /// A message to be taken while no other mind works.
    suspected: Option<Position>,
    panicked_at: Option<Position>,
    falls: VecDeque<Instant>,
}

impl<C: Core> Keeper<C> {
    /// A keeper of an actor.
    #[must_use]
    pub fn new(common: Common, slot: Slot<C>) -> Self {
        Keeper { common, slot, poison: BTreeMap::new(), suspected: None, panicked_at: None, falls: VecDeque::new() }
    }

    fn label() -> ActorLabel {
        ActorLabel { actor: C::NAME }
    }

    /// Has the message it failed on been marked to be set aside?
    fn dealt_with(&self, trouble: &Trouble) -> bool {
        matches!(trouble, Trouble::Panicked { position, .. } if self.poison.contains_key(position))
    }

    /// Holds it up until told to stop, or until it cannot.
    pub async fn run(mut self) -> End {
        // One whose first save never succeeds is to be noticed as well.
        self.show_saved();
        let mut pause = self.common.config.backoff_ms;
        loop {
            let started = Instant::now();
            let result = self.carry().await;
            let trouble = match result {
                Ok(end) => return end,
                Err(Trouble::Outbox(OutboxError::Fenced(head))) => {
                    self.common.metrics.fenced.get_or_create(&Self::label()).inc();
                    tracing::warn!(
                        actor = C::NAME,
                        owner = head.owner,
                        position = head.position,
                        "another process owns the actor; standing by"
                    );
                    return End::Fenced;
                }
                Err(_) if *self.common.stop.borrow() => return End::Stopped,
                Err(Trouble::FeedEnded) => return End::Stopped,
                Err(trouble) => trouble,
            };
            self.common.metrics.restarts.get_or_create(&Self::label()).inc();
            self.slot.note(|condition| {
                condition.restarts += 1;
                condition.trouble = Some(trouble.to_string());
            });
            if let Trouble::Panicked { position, message } = &trouble {
                // K-2: the first time it may have been chance, the second time it was the message.
                if self.panicked_at == Some(*position) {
                    self.poison.insert(*position, format!("{} panicked on it twice: {message}", C::NAME));
                    // What is dealt with does not count as falling again and again.
                    self.falls.pop_back();
                }
                self.panicked_at = Some(*position);
            }
            if let Trouble::Hangs(_) = &trouble {
                return End::GaveUp(format!("{} {trouble}", C::NAME));
            }
            if trouble.own() && !self.dealt_with(&trouble) {
                let window = Duration::from_secs(self.common.config.restart_window_s);
                self.falls.push_back(Instant::now());
                while self.falls.front().is_some_and(|fall| fall.elapsed() > window) {
                    self.falls.pop_front();
                }
                if self.falls.len() > self.common.config.restarts_max as usize {
                    return End::GaveUp(format!(
                        "{} fell {} times within {} s, the last time because it {trouble}",
                        C::NAME,
                        self.falls.len(),
                        window.as_secs()
                    ));
                }
            }
            if started.elapsed() > Duration::from_millis(self.common.config.backoff_max_ms) {
                pause = self.common.config.backoff_ms;
            }
            tracing::warn!(actor = C::NAME, reason = %trouble, pause_ms = pause, "the actor fell and is started again");
            let mut stop = self.common.stop.clone();
            tokio::select! {
                () = tokio::time::sleep(jittered(pause)) => {}
                () = told(&mut stop) => return End::Stopped,
            }
            pause = pause.saturating_mul(2).min(self.common.config.backoff_max_ms);
        }
    }

    /// One incarnation: from the last checkpoint until something ends it.
    async fn carry(&mut self) -> Result<End, Trouble> {
        let Beginning { outbox, checkpoints, candidates } = self.common.begin(C::NAME).await?;
        let driver = self.wake(&checkpoints, &candidates).await?;
        let (suspect, accused) = self.common.suspect(C::NAME);
        match accused {
            Some(Accused::Guilty(at)) => {
                self.poison
                    .insert(at, format!("the process ended {DEATHS} times while {} worked on it, the last time on nothing else", C::NAME));
            }
            Some(Accused::Suspected(at)) => {
                tracing::warn!(actor = C::NAME, position = at, "the process has ended on this message before; it is taken alone");
                self.suspected = Some(at);
            }
            None => {}
        }
        let position = driver.position();
        let arbiter = arbiter(&self.common.system).await.map_err(Trouble::Died)?;
        let shell = Shell::new(driver, suspect, self.common.spans.clone());
        let addr = Shell::start_in_arbiter(&arbiter, move |_| shell);
        let mut run = Run {
            follower: self.common.feed.follow(position, C::INTEREST.topics()),
            outbox,
            checkpoints,
            shell: Standing { addr: addr.clone(), arbiter, slot: self.slot.clone() },
            position,
            saved: position,
            saved_at: Instant::now(),
            saving: Duration::ZERO,
            heard: 0,
        };
        self.slot.fill(Some(Arc::new(move |question| {
            let addr = addr.clone();
            // Whoever asked learns of it by getting no answer.
            Box::pin(async move { _ = addr.send(Ask(question)).await })
        })));
        self.slot.follow(run.follower.progress());
        self.slot.note(|condition| {
            condition.running = true;
            condition.position = position;
            condition.checkpoint = position;
        });
        self.feed(&mut run).await
    }

    /// The mind from the best checkpoint that can be used, or a new one.
    async fn wake(&self, checkpoints: &Checkpoints, candidates: &[String]) -> Result<Driver<C>, Trouble> {
        let log = &self.common.log;
        for name in candidates {
            let Some(bytes) = read(checkpoints, C::NAME, name).await? else { continue };
            let Some((mark, state)) = bytes.split_first_chunk::<MARK_BYTES>() else { continue };
            let driver = match Driver::<C>::load(log.incarnation(), state) {
                Ok(driver) => driver,
                Err(error) => {
                    tracing::warn!(actor = C::NAME, checkpoint = name, %error, "a checkpoint cannot be used");
                    continue;
                }
            };
            if is_of(log, driver.position(), *mark, C::NAME, name).await? {
                return Ok(driver);
            }
        }
        // The settings in force stand at the beginning of a log; when that is gone, those of this process are the best guess.
        let settings = if log.bounds().await?.first > 1 { self.common.settings.of::<C>().unwrap_or_default() } else { Settings::default() };
        Ok(Driver::new(log.incarnation(), settings))
    }

    async fn feed(&mut self, run: &mut Run<C>) -> Result<End, Trouble> {
        let mut stop = self.common.stop.clone();
        loop {
            let portion = tokio::select! {
                biased;
                () = told(&mut stop) => {
                    if run.position > run.saved {
                        self.save(run, Vec::new()).await?;
                    }
                    return Ok(End::Stopped);
                }
                portion = run.follower.next() => portion?.ok_or(Trouble::FeedEnded)?,
            };
            let began = Instant::now();
            let mut portions = vec![portion];
            portions.extend(run.follower.waiting(TOGETHER));
            let end = portions.last().map_or(0, |portion| portion.chunk.end().position);
            let alone = self.suspected.take_if(|at| *at <= end).is_some();
            let _working = self.common.floor.work(alone).await;
            let trace = self.take(run, portions).await?;
            self.common.metrics.cycle_seconds.get_or_create(&Self::label()).observe(began.elapsed().as_secs_f64(), trace, None);
            let caught_up = run.follower.caught_up() && run.follower.progress().position(run.position) >= self.common.feed.dispatched();
            self.slot.note(|condition| {
                condition.position = condition.position.max(run.position);
                condition.caught_up |= caught_up;
            });
            if run.is_due(&self.common.config) {
                self.save(run, Vec::new()).await?;
            }
        }
    }

    /// One batch: step, publish, and set aside what is poison. The trace of a decision in it, if any is recorded.
    async fn take(&mut self, run: &mut Run<C>, portions: Vec<Portion>) -> Result<Option<TraceLabel>, Trouble> {
        let poison = Arc::new(self.poison.keys().copied().collect());
        let deadline = Duration::from_secs(self.common.config.step_deadline_s);
        let stepped = match tokio::time::timeout(deadline, run.shell.addr.send(Step { portions, poison })).await {
            Err(_) => return Err(Trouble::Hangs(deadline.as_secs())),
            Ok(answer) => answer,
        };
        let stepped = match stepped {
            Ok(Ok(stepped)) => stepped,
            Ok(Err(panicked)) => return Err(Trouble::Panicked { position: panicked.position, message: panicked.message }),
            Err(error) => return Err(Trouble::Died(error.to_string())),
        };
        fault::point("keeper.after_step");
        let Stepped { outputs: decided, position, heard, open, .. } = stepped;
        run.heard += heard;
        let mut outputs = Vec::with_capacity(decided.len());
        let mut announcements = Vec::new();
        for (output, trace) in &decided {
            if let Effect::Announce(announcement) = &output.effect {
                announcements.push(outputs::announcement(&self.common.root, announcement));
            } else if let (Some(identity), Some(message)) =
                (&output.identity, outputs::message(&self.common.root, output, trace.as_deref(), &self.common.signing))
            {
                outputs.push(Output { identity: homeostat_nats::Identity { position: identity.position, index: identity.index }, message });
            }
        }
        let passed: Vec<Position> = self.poison.range(..=position).map(|(at, _)| *at).collect();
        if !passed.is_empty() {
            for at in &passed {
                outputs.push(self.dead(*at, self.poison.get(at).cloned().unwrap_or_default()).await?);
            }
            outputs.sort_by_key(|output| output.identity);
            run.position = position;
            // With the checkpoint the messages are never seen again; until it is written they stay known.
            self.save(run, outputs).await?;
            self.common.metrics.poison.get_or_create(&Self::label()).inc_by(passed.len() as u64);
            self.poison.retain(|at, _| *at > position);
        } else if !outputs.is_empty() {
            run.outbox.publish(outputs, position, None).await?;
        }
        run.position = position;
        for (output, _) in &decided {
            self.common.metrics.count_output(output);
        }
        for announcement in &announcements {
            // Said again at the next tick anyway.
            let _ = self.common.log.bus().publish(announcement).await;
        }
        self.slot.note(|condition| condition.open = open);
        Ok(decided.iter().find_map(|(_, trace)| TraceLabel::of(trace.as_deref())))
    }

    /// The dead message of a poisonous one.
    async fn dead(&self, at: Position, reason: String) -> Result<Output, Trouble> {
        tracing::error!(actor = C::NAME, position = at, reason, "a message was set aside");
        let entry = self.common.log.get(at).await?;
        let parts = entry.map(|entry| (entry.subject.to_string(), entry.header("content-type").map(str::to_owned), entry.payload.to_vec()));
        let (subject, content_type, payload) = parts.unwrap_or_default();
        let rejected = Rejected { index: 0, payload, content_type, reason: DecodeError::Poison(reason) };
        let limit = crate::feed::message_limit(&self.common.log);
        let message: Message = outputs::dead(&self.common.root, &subject, at, &rejected, C::NAME, limit);
        Ok(Output { identity: homeostat_nats::Identity { position: at, index: u32::MAX }, message })
    }

    async fn save(&self, run: &mut Run<C>, outputs: Vec<Output>) -> Result<(), Trouble> {
        let deadline = Duration::from_secs(self.common.config.step_deadline_s);
        let began = Instant::now();
        let answer = tokio::time::timeout(deadline, run.shell.addr.send(Save)).await.map_err(|_| Trouble::Hangs(deadline.as_secs()))?;
        let mut saved = match answer {
            Ok(Ok(saved)) => saved,
            Ok(Err(reason)) => return Err(Trouble::Died(reason)),
            Err(error) => return Err(Trouble::Died(error.to_string())),
        };
        if let Some(promise) = saved.broken_promise {
            self.common.metrics.broken_promises.get_or_create(&Self::label()).inc();
            tracing::error!(actor = C::NAME, promise, "a promise of the actor does not hold");
        }
        let mark = mark_of(&self.common.log, saved.position).await?.unwrap_or_default();
        if let Some(place) = saved.bytes.first_chunk_mut::<MARK_BYTES>() {
            *place = mark.to_le_bytes();
        }
        let bytes = saved.bytes;
        let name = run.checkpoints.save(C::NAME, saved.position, &bytes).await?;
        let head = run.outbox.publish(outputs, saved.position, Some(name)).await?;
        if let Err(error) = run.checkpoints.settle(&head).await {
            tracing::warn!(actor = C::NAME, %error, "old checkpoints could not be tidied away; the next time will");
        }
        run.saved = saved.position;
        run.saved_at = Instant::now();
        run.saving = began.elapsed();
        run.heard = 0;
        let metrics = &self.common.metrics;
        metrics.checkpoint.get_or_create(&Self::label()).set(i64::try_from(saved.position).unwrap_or(i64::MAX));
        metrics.checkpoint_bytes.get_or_create(&Self::label()).set(i64::try_from(bytes.len()).unwrap_or(i64::MAX));
        self.show_saved();
        self.slot.note(|condition| condition.checkpoint = saved.position);
        Ok(())
    }

    /// Shows that the state is as safe as it can be at this moment.
    fn show_saved(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        self.common.metrics.checkpoint_at.get_or_create(&Self::label()).set(i64::try_from(now).unwrap_or(i64::MAX));
    }
}
