//! A tower layer for requests served: route, status, time, trace.

use crate::client::{Client, Inner};
use crate::trace::Context;
use homeostat_schemas::event::Request as RequestEvent;
use http::{Request, Response};
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;
use tracing::Span;

/// Longest route, in bytes.
const ROUTE_MAX: usize = 256;

type Route = Arc<dyn Fn(&http::Extensions) -> Option<String> + Send + Sync>;

/// Reports every request that goes through it as a `request` event, continues the caller's trace (`traceparent`) or begins
/// one, and makes it the current one for as long as the request is worked on: queries and calls of that task belong to it.
///
/// A request is over when the response's head is there. One whose future is dropped before (the client went away) has
/// status 499, as nginx calls it; one that ends in an error of the service, 500.
///
/// The route must be the template, never the path: it is asked of the request's extensions. For axum, where the layer has to
/// stand inside the router (`Router::layer`), that is
///
/// ```ignore
/// Router::new()
///     .route("/orders/{id}", get(order))
///     .layer(Inbound::new(&client, |extensions| extensions.get::<MatchedPath>().map(|path| path.as_str().to_owned())))
/// ```
#[derive(Clone)]
pub struct Inbound {
    client: Client,
    route: Route,
}

impl std::fmt::Debug for Inbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inbound")
    }
}

impl Inbound {
    /// A layer that finds the route's template with `route`. A request without one is `GET {unmatched}`.
    #[must_use]
    pub fn new(client: &Client, route: impl Fn(&http::Extensions) -> Option<String> + Send + Sync + 'static) -> Inbound {
        Inbound { client: client.clone(), route: Arc::new(route) }
    }
}

impl<S> Layer<S> for Inbound {
    type Service = InboundService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        InboundService { inner, layer: self.clone() }
    }
}

/// See [`Inbound`].
#[derive(Clone, Debug)]
pub struct InboundService<S> {
    inner: S,
    layer: Inbound,
}

impl<S, B, R> Service<Request<B>> for InboundService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = InboundFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let caller = request.headers().get("traceparent").and_then(|value| value.to_str().ok()).and_then(Context::from_traceparent);
        let context = caller.map_or_else(Context::root, |caller| caller.child());
        let template = (self.layer.route)(request.extensions());
        let mut route = format!("{} {}", request.method(), template.as_deref().unwrap_or("{unmatched}"));
        crate::pack::cut(&mut route, ROUTE_MAX);
        // The span carries the trace to where the task's own context does not reach: a driver's thread, say.
        let span = tracing::info_span!(
            target: "homeostat::request",
            "request",
            route,
            homeostat.traceparent = %context,
        );
        let report = Report { client: Arc::clone(&self.layer.client.inner), context, route, start: Instant::now(), done: false };
        let future = {
            let _entered = span.enter();
            context.sync_scope(|| self.inner.call(request))
        };
        InboundFuture { future, report, span }
    }
}

/// What is said when the request is over, whichever way.
struct Report {
    client: Arc<Inner>,
    context: Context,
    route: String,
    start: Instant,
    done: bool,
}

impl Report {
    fn done(&mut self, status: u16) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        self.client.meters.served();
        let event = RequestEvent {
            route: std::mem::take(&mut self.route),
            status,
            took_us: crate::us(self.start.elapsed()),
            trace: Some(self.context.trace_id()),
            span: Some(self.context.span_id()),
            parent: self.context.parent_id(),
            ..RequestEvent::default()
        };
        let _ = self.client.event(event.into(), Some(self.context));
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.done(if std::thread::panicking() { 500 } else { 499 });
    }
}

pin_project! {
    /// See [`Inbound`].
    pub struct InboundFuture<F> {
        #[pin]
        future: F,
        report: Report,
        span: Span,
    }
}

impl<F> std::fmt::Debug for InboundFuture<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InboundFuture")
    }
}

impl<F, R, E> Future for InboundFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let _entered = this.span.enter();
        let context = this.report.context;
        let polled = context.sync_scope(|| this.future.poll(cx));
        if let Poll::Ready(result) = &polled {
            this.report.done(result.as_ref().map_or(500, |response| response.status().as_u16()));
        }
        polled
    }
}
