//! One call through a breaker.

use super::{Breaker, Guard, Monotonic};
use homeostat_reflexes::breaker::{Attempt, Clock as _, Outcome, Permit, Refusal};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Why a call has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError<E> {
    /// It was not made.
    #[error("not called: {0}")]
    Refused(Refusal),
    /// It was given up.
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// It was made and failed.
    #[error(transparent)]
    Failed(E),
}

/// How a call is made and judged.
pub struct Options<E> {
    timeout: Option<Duration>,
    attempt: Attempt,
    judge: fn(&E) -> Outcome,
}

impl<E> Clone for Options<E> {
    fn clone(&self) -> Self {
        Options { ..*self }
    }
}

impl<E> std::fmt::Debug for Options<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("timeout", &self.timeout).field("attempt", &self.attempt).finish_non_exhaustive()
    }
}

impl<E> Default for Options<E> {
    fn default() -> Self {
        Options { timeout: None, attempt: Attempt::First, judge: |_| Outcome::Failure }
    }
}

impl<E> Options<E> {
    /// Gives the call up after so long, which counts as a failure.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Options { timeout: Some(timeout), ..self }
    }

    /// The call repeats one that failed: when the peer is in trouble, repetitions go first.
    #[must_use]
    pub fn retry(self) -> Self {
        Options { attempt: Attempt::Retry, ..self }
    }

    /// What an error says of the peer. [`Outcome::Ignored`] is right for the caller's own mistakes; without this every error
    /// is a failure.
    #[must_use]
    pub fn judge(self, judge: fn(&E) -> Outcome) -> Self {
        Options { judge, ..self }
    }
}

impl Breaker {
    /// Makes a call, if the breaker lets it. Every error counts as a failure of the peer. While the fleet's breaker finds out whether
    /// shedding helps (mode `fraction`), the call may wait for up to half a second instead of being refused.
    ///
    /// ```no_run
    /// # async fn charge() -> Result<u64, std::io::Error> { Ok(1) }
    /// # async fn f(client: homeostat_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let payments = client.breaker("payments");
    /// let receipt = payments.call(charge()).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The call's own, or why it was not made. The future is not polled when it is not.
    pub async fn call<T, E>(&self, future: impl Future<Output = Result<T, E>>) -> Result<T, CallError<E>> {
        self.call_with(&Options::default(), future).await
    }

    /// Makes a call, if the breaker lets it, with a time-out, as a repetition, or judged otherwise.
    ///
    /// # Errors
    /// The call's own, or why it was not made or given up.
    pub async fn call_with<T, E>(&self, options: &Options<E>, future: impl Future<Output = Result<T, E>>) -> Result<T, CallError<E>> {
        let held = self.held(options.attempt).await.map_err(CallError::Refused)?;
        let result = match options.timeout {
            Some(within) => match timeout(within, future).await {
                Ok(result) => result,
                Err(_) => {
                    held.settle(Outcome::Timeout);
                    return Err(CallError::TimedOut(within));
                }
            },
            None => future.await,
        };
        match result {
            Ok(value) => {
                held.settle(Outcome::Success);
                Ok(value)
            }
            Err(error) => {
                held.settle((options.judge)(&error));
                Err(CallError::Failed(error))
            }
        }
    }

    /// Makes a call, if the breaker lets it; where it was not made, was given up or failed, `fallback` answers in its place. An
    /// error that says nothing of the peer (see [`Options::judge`]) stays one.
    ///
    /// # Errors
    /// What was ignored, or what the fallback says.
    pub async fn call_or<T, E, F>(
        &self,
        options: &Options<E>,
        future: impl Future<Output = Result<T, E>>,
        fallback: impl FnOnce(CallError<E>) -> F,
    ) -> Result<T, CallError<E>>
    where
        F: Future<Output = Result<T, CallError<E>>>,
    {
        match self.call_with(options, future).await {
            Ok(value) => Ok(value),
            Err(CallError::Failed(error)) if !(options.judge)(&error).falls_back() => Err(CallError::Failed(error)),
            Err(error) => fallback(error).await,
        }
    }

    /// The right to make one call, held until it is settled; one that is dropped says nothing of the peer.
    pub(crate) fn hold(&self, attempt: Attempt) -> Result<Held, Refusal> {
        self.guard.gate.acquire(attempt, &Monotonic).map(|permit| self.holding(permit))
    }

    /// The same for a call that was held back and has waited since then.
    pub(crate) fn hold_after(&self, attempt: Attempt, since: Instant) -> Result<Held, Refusal> {
        let waited = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        self.guard.gate.acquire_held(attempt, waited, &Monotonic).map(|permit| self.holding(permit))
    }

    /// The same, waiting while the fleet's breaker holds the call back.
    async fn held(&self, attempt: Attempt) -> Result<Held, Refusal> {
        let mut answer = self.hold(attempt);
        let since = Instant::now();
        while let Err(Refusal::Held { wait }) = answer {
            sleep(Duration::from_millis(wait)).await;
            answer = self.hold_after(attempt, since);
        }
        answer
    }

    fn holding(&self, permit: Permit) -> Held {
        Held { permit: Some(permit), guard: Arc::clone(&self.guard), start: Monotonic.now() }
    }
}

/// See [`Breaker::hold`].
pub(crate) struct Held {
    permit: Option<Permit>,
    guard: Arc<Guard>,
    start: u64,
}

impl Held {
    pub(crate) fn settle(mut self, outcome: Outcome) {
        self.end(outcome);
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(permit) = self.permit.take() {
            let took = Monotonic.now().saturating_sub(self.start);
            if self.guard.gate.settle(permit, outcome, took, &Monotonic) {
                self.guard.ring();
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // The caller went away, or panicked: neither is the peer's doing.
        self.end(Outcome::Ignored);
    }
}
