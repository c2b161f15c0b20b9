//! A tower layer for calls to others: how they ended and how long they took, and the trace passed on.

use crate::meters::Peer;
use crate::trace::Context;
use homeostat_schemas::event::CallOutcome;
use http::{HeaderValue, Request, Response, StatusCode};
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll};
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

/// Counts every call that goes through it (see [`Peer`]) and gives it a `traceparent` below the current trace, unless it has
/// one. An error of the service and a status of 500 or above are failures, 408 and 504 time-outs, any other status is a
/// success: a peer that says "no" is well. A call whose future is dropped says nothing of the peer and is not counted.
#[derive(Clone, Debug)]
pub struct Outbound {
    peer: Peer,
}

impl Outbound {
    /// A layer for calls to this peer.
    #[must_use]
    pub fn new(peer: Peer) -> Outbound {
        Outbound { peer }
    }
}

impl<S> Layer<S> for Outbound {
    type Service = OutboundService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        OutboundService { inner, peer: self.peer.clone() }
    }
}

/// See [`Outbound`].
#[derive(Clone, Debug)]
pub struct OutboundService<S> {
    inner: S,
    peer: Peer,
}

/// How a call ended, by its status.
pub(crate) fn outcome(status: StatusCode) -> CallOutcome {
    match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => CallOutcome::Timeout,
        status if status.is_server_error() => CallOutcome::Error,
        _ => CallOutcome::Ok,
    }
}

/// Passes the current trace on, unless the request has one of its own.
pub(crate) fn pass_on<B>(request: &mut Request<B>) {
    if let Some(context) = Context::current()
        && !request.headers().contains_key("traceparent")
        && let Ok(value) = HeaderValue::from_str(&context.child().traceparent())
    {
        request.headers_mut().insert("traceparent", value);
    }
}

impl<S, B, R> Service<Request<B>> for OutboundService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = OutboundFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        pass_on(&mut request);
        OutboundFuture { start: Instant::now(), future: self.inner.call(request), peer: self.peer.clone() }
    }
}

pin_project! {
    /// See [`Outbound`].
    #[derive(Debug)]
    pub struct OutboundFuture<F> {
        #[pin]
        future: F,
        peer: Peer,
        start: Instant,
    }
}

impl<F, R, E> Future for OutboundFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let polled = this.future.poll(cx);
        if let Poll::Ready(result) = &polled {
            let outcome = result.as_ref().map_or(CallOutcome::Error, |response| outcome(response.status()));
            this.peer.record(outcome, this.start.elapsed());
        }
        polled
    }
}
