//! A tower layer that asks a breaker before every call.

use super::outbound::{outcome, pass_on};
use crate::breaker::{Breaker, CallError, Held};
use homeostat_reflexes::breaker::{Attempt, Outcome, Refusal};
use homeostat_schemas::event::CallOutcome;
use http::{Request, Response};
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};
use tower_layer::Layer;
use tower_service::Service;

/// Makes a call only if the breaker lets it, and tells the breaker how it ended: an error of the service, a status of 500 or
/// above, 408 and 504 are failures; 429 and the other 4xx say nothing of the peer's health; a call whose future is dropped
/// neither. Passes the trace on as [`Outbound`](super::Outbound) does, in whose place it stands: the breaker counts the calls.
///
/// A request with the extension [`Attempt::Retry`] is a repetition. A call that is refused is the error
/// [`CallError::Refused`], or what the fallback answers. One that the fleet's breaker holds back waits
/// ([`Refusal::Held`]). For time-outs put tower's `Timeout` below it.
pub struct Breaking<R> {
    breaker: Breaker,
    fallback: Option<Fallback<R>>,
}

type Fallback<R> = Arc<dyn Fn(Refusal) -> Response<R> + Send + Sync>;

impl<R> Clone for Breaking<R> {
    fn clone(&self) -> Self {
        Breaking { breaker: self.breaker.clone(), fallback: self.fallback.clone() }
    }
}

impl<R> std::fmt::Debug for Breaking<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Breaking").field("breaker", &self.breaker).finish_non_exhaustive()
    }
}

impl<R> Breaking<R> {
    /// A layer for the calls that this breaker guards.
    #[must_use]
    pub fn new(breaker: Breaker) -> Self {
        Breaking { breaker, fallback: None }
    }

    /// Answers in place of calls that are not made.
    #[must_use]
    pub fn fallback(self, fallback: impl Fn(Refusal) -> Response<R> + Send + Sync + 'static) -> Self {
        Breaking { fallback: Some(Arc::new(fallback)), ..self }
    }
}

impl<S, R> Layer<S> for Breaking<R> {
    type Service = BreakingService<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        BreakingService { inner, layer: self.clone() }
    }
}

/// See [`Breaking`].
#[derive(Debug)]
pub struct BreakingService<S, R> {
    inner: S,
    layer: Breaking<R>,
}

impl<S: Clone, R> Clone for BreakingService<S, R> {
    fn clone(&self) -> Self {
        BreakingService { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S, B, R> Service<Request<B>> for BreakingService<S, R>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<R>;
    type Error = CallError<S::Error>;
    type Future = BreakingFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(CallError::Failed)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let attempt = request.extensions().get::<Attempt>().copied().unwrap_or_default();
        let way = match self.layer.breaker.hold(attempt) {
            Ok(held) => Way::Called(Some(held)),
            Err(Refusal::Held { wait }) => Way::Waiting { attempt, since: Instant::now(), pause: pause(wait) },
            Err(refusal) => Way::Refused(refusal),
        };
        // A service works when its future is polled: that of a call which waits is not, until it may.
        let future = (!matches!(way, Way::Refused(_))).then(|| {
            pass_on(&mut request);
            self.inner.call(request)
        });
        BreakingFuture { future, way, layer: self.layer.clone() }
    }
}

pin_project! {
    /// See [`Breaking`].
    pub struct BreakingFuture<F, R> {
        #[pin]
        future: Option<F>,
        way: Way,
        layer: Breaking<R>,
    }
}

enum Way {
    /// The call is under way.
    Called(Option<Held>),
    /// The fleet's breaker holds it back.
    Waiting { attempt: Attempt, since: Instant, pause: Pin<Box<Sleep>> },
    /// It is not made.
    Refused(Refusal),
}

impl<F, R> std::fmt::Debug for BreakingFuture<F, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BreakingFuture")
    }
}

impl<F, R, E> Future for BreakingFuture<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<R>, CallError<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match (&mut *this.way, this.future.as_mut().as_pin_mut()) {
                (Way::Called(held), Some(future)) => {
                    let result = ready!(future.poll(cx));
                    if let Some(held) = held.take() {
                        held.settle(judged(&result));
                    }
                    return Poll::Ready(result.map_err(CallError::Failed));
                }
                (Way::Waiting { attempt, since, pause: over }, Some(_)) => {
                    ready!(over.as_mut().poll(cx));
                    *this.way = match this.layer.breaker.hold_after(*attempt, *since) {
                        Ok(held) => Way::Called(Some(held)),
                        Err(Refusal::Held { wait }) => Way::Waiting { attempt: *attempt, since: *since, pause: pause(wait) },
                        Err(refusal) => Way::Refused(refusal),
                    };
                }
                (Way::Refused(refusal), _) => {
                    let refusal = *refusal;
                    this.future.set(None);
                    return Poll::Ready(match &this.layer.fallback {
                        Some(fallback) => Ok(fallback(refusal)),
                        None => Err(CallError::Refused(refusal)),
                    });
                }
                // A call that is made or waits has its future for as long as it is polled.
                (_, None) => return Poll::Pending,
            }
        }
    }
}

fn pause(wait: u64) -> Pin<Box<Sleep>> {
    Box::pin(sleep(Duration::from_millis(wait)))
}

fn judged<R, E>(result: &Result<Response<R>, E>) -> Outcome {
    let Ok(response) = result else { return Outcome::Failure };
    match outcome(response.status()) {
        CallOutcome::Timeout => Outcome::Timeout,
        CallOutcome::Error => Outcome::Failure,
        _ if response.status().is_client_error() => Outcome::Ignored,
        _ => Outcome::Success,
    }
}
