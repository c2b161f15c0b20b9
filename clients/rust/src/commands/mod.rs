//! Commands: what Homeostat asks of this service, done once, and answered.
//!
//! Whether a command may be carried out is decided by the gate ([`homeostat_reflexes::executor`]): expired, stale, repeated, foreign
//! and merely shown ones are not. This module brings commands to the gate (`listen.rs`), runs what it lets through, and publishes
//! what became of it.
//!
//! Promises
//! - `C-6` a command is executed at most once by this process, however often and in whatever order it comes.
//! - `C-7` a process executes nothing that was issued before it began, so a restart repeats nothing: it begins to read
//!   behind the end of the log, and the gate refuses what is older.
//! - `C-8` a handler that panics or takes too long has failed; nothing else happens.
//! - `C-9` a command in mode `observe` is never executed.
//! - `C-10` a command that no trusted signer has signed is refused before the gate hears of it, so that it changes nothing of what
//!   the gate knows: neither fences nor ids.

mod answer;
mod listen;
mod trust;

pub use answer::Answer;
pub(crate) use trust::Trust;

use crate::client::{Client, Inner};
use crate::stats::{add, lock};
use crate::trace::Context;
use futures::future::BoxFuture;
use homeostat_reflexes::executor::{Decision, Executor, ExecutorLimits, assigned};
use homeostat_schemas::{Command, Mode, Ms, Outcome, OutcomeStatus, UnixMs};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// Most actions of one process.
pub const ACTIONS_MAX: usize = 64;
/// So many refusals of what no trusted signer has signed are on their way at once; the rest are only counted. Whoever sends such
/// commands must not be able to fill the log with answers.
const REFUSALS_MAX: usize = 16;
/// How long an outcome may take to be acknowledged before it is given up.
const OUTCOME_WITHIN: Duration = Duration::from_secs(60);

type Handler = Arc<dyn Fn(Command) -> BoxFuture<'static, Answer> + Send + Sync>;

/// What this process knows how to do, and what it has done.
pub(crate) struct Commands {
    handlers: Mutex<BTreeMap<String, Handler>>,
    gate: Mutex<Option<Executor>>,
    listening: OnceLock<()>,
    /// Refusals of what no trusted signer has signed.
    refusals: Arc<Semaphore>,
    /// By how much the log's clock is ahead of ours, ms: commands are issued and expire by log time.
    ahead_ms: AtomicI64,
}

impl Client {
    /// Registers what this service does when Homeostat asks for an action (`cache.warm`, `memory.reclaim`, any
    /// `<topic>.<verb>`). A handler of an action that is known takes its place.
    ///
    /// The handler is called at most once a command. It gets 5 minutes; what it returns is published as the outcome, and
    /// whether it helped is measured by Homeostat. On one target only one command is at work at a time.
    ///
    /// Register before traffic begins: a command for which there is no handler yet is left to other replicas.
    ///
    /// ```no_run
    /// # async fn warm() -> Result<usize, std::io::Error> { Ok(3) }
    /// # async fn f(client: homeostat_client::Client) {
    /// client.on("cache.warm", |command| async move {
    ///     warm().await.map(|entries| format!("{} entries of {}", entries, command.target))
    /// });
    /// # }
    /// ```
    pub fn on<F, Fut, A>(&self, action: &str, handler: F)
    where
        F: Fn(Command) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = A> + Send + 'static,
        A: Into<Answer>,
    {
        let handler: Handler = Arc::new(move |command| {
            let answer = handler(command);
            Box::pin(async move { answer.await.into() })
        });
        let commands = &self.inner.commands;
        let mut handlers = lock(&commands.handlers);
        if handlers.len() >= ACTIONS_MAX && !handlers.contains_key(action) {
            tracing::warn!(action, limit = ACTIONS_MAX, "too many actions, this one is left out");
            return;
        }
        handlers.insert(action.to_owned(), handler);
        drop(handlers);
        if commands.listening.set(()).is_ok() {
            tokio::spawn(listen::listen(Arc::downgrade(&self.inner), self.inner.link.clone()));
        }
    }
}

impl Default for Commands {
    fn default() -> Commands {
        Commands {
            handlers: Mutex::default(),
            gate: Mutex::default(),
            listening: OnceLock::new(),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            ahead_ms: AtomicI64::new(0),
        }
    }
}

impl Commands {
    pub(crate) fn clear(&self) {
        lock(&self.handlers).clear();
    }

    /// Log time, as far as this process knows it.
    fn now(&self) -> UnixMs {
        crate::client::now_ms().saturating_add_signed(self.ahead_ms.load(Relaxed))
    }

    /// The log's clock was seen: so far ahead of ours.
    fn clock(&self, ahead_ms: i64) {
        self.ahead_ms.store(ahead_ms, Relaxed);
    }

    /// From now on commands are listened to; what was issued before is not for this process.
    fn begin(&self, service: &str, instance: &str) {
        let now = self.now();
        let mut gate = lock(&self.gate);
        if gate.is_none() {
            *gate = Some(Executor::new(service, instance, now, ExecutorLimits::default()));
        }
    }
}

impl Inner {
    /// One command from the bus, and what stands against it.
    fn command(self: &Arc<Self>, payload: &[u8], traceparent: Option<&str>, objection: Option<String>) {
        let command: Command = match serde_json::from_slice(payload) {
            Ok(command) => command,
            Err(error) => {
                tracing::warn!(%error, "a command that cannot be read");
                return;
            }
        };
        let context = traceparent.and_then(Context::from_traceparent).map_or_else(Context::root, |issuer| issuer.child());
        if let Some(objection) = objection {
            self.refuse(command, objection, context);
            return;
        }
        let handler = lock(&self.commands.handlers).get(&command.action).map(Arc::clone);
        let now = self.commands.now();
        let decision = match lock(&self.commands.gate).as_mut() {
            Some(gate) => gate.offer(&command, handler.is_some(), now),
            None => return,
        };
        match (decision, handler) {
            (Decision::Execute { accepted, until_ms }, Some(handler)) => {
                tracing::info!(id = command.id, action = command.action, target = command.target, "command accepted");
                let within = Duration::from_millis(until_ms.saturating_sub(now));
                tokio::spawn(execute(Arc::downgrade(self), command, handler, accepted, within, context));
            }
            (Decision::Execute { .. }, None) => {}
            (Decision::Answer(outcome), _) => {
                tracing::info!(id = command.id, action = command.action, status = ?outcome.status, detail = outcome.detail, "command not executed");
                let inner = Arc::clone(self);
                tokio::spawn(async move { inner.tell(&command, &outcome, context).await });
            }
            (Decision::Pass(why), _) => tracing::debug!(id = command.id, action = command.action, ?why, "command passed over"),
        }
    }

    /// Says that a command was not carried out because nobody who is trusted has signed it.
    fn refuse(self: &Arc<Self>, command: Command, objection: String, context: Context) {
        tracing::warn!(id = command.id, action = command.action, objection, "command refused");
        add(&self.counters.commands_refused, 1);
        // What is not to this process would not be answered by it either, had it been signed.
        if command.service != self.service
            || assigned(&command).is_some_and(|instance| instance != self.instance)
            || command.mode != Mode::Act
        {
            return;
        }
        let Ok(turn) = Arc::clone(&self.commands.refusals).try_acquire_owned() else { return };
        let outcome = Outcome {
            command: command.id.clone(),
            status: OutcomeStatus::Refused,
            detail: Some(objection),
            at_ms: self.commands.now(),
            instance: Some(self.instance.clone()),
            service: self.service.clone(),
        };
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            inner.tell(&command, &outcome, context).await;
            drop(turn);
        });
    }

    async fn tell(&self, command: &Command, outcome: &Outcome, context: Context) {
        let message = answer::message(&self.root, command, outcome, &self.instance, context);
        if let Err(error) = self.publish(message, Instant::now() + OUTCOME_WITHIN).await {
            tracing::error!(id = command.id, status = ?outcome.status, error, "the outcome of a command was not published");
        }
    }
}

/// Runs a handler and says how it went. The client may go meanwhile: a command that was begun is ended all the same.
async fn execute(client: Weak<Inner>, command: Command, handler: Handler, accepted: Outcome, within: Duration, context: Context) {
    let id = command.id.clone();
    let work = {
        let command = command.clone();
        // A task of its own, so that a panic stays there.
        let mut task = tokio::spawn(context.scope(async move { handler(command).await }));
        async move {
            match timeout(within, &mut task).await {
                Ok(Ok(Answer(result))) => result,
                Ok(Err(_)) => Err("the handler panicked".to_owned()),
                Err(_) => {
                    task.abort();
                    Err("it took too long".to_owned())
                }
            }
        }
    };
    let said = async {
        if let Some(inner) = client.upgrade() {
            inner.tell(&command, &accepted, context).await;
        }
    };
    let (result, ()) = tokio::join!(work, said);
    let Some(inner) = client.upgrade() else { return };
    let now: Ms = inner.commands.now();
    let outcome = lock(&inner.commands.gate).as_mut().and_then(|gate| gate.finished(&id, result, now));
    if let Some(outcome) = outcome {
        inner.tell(&command, &outcome, context).await;
    }
}
