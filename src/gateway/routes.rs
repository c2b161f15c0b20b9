//! Every path, its method and what serves it. The description in [`super::openapi`] and the labels of the metrics are made from
//! this list too, so that there is no other.

use super::problem::{Problem, no_route};
use super::{api, drift, events, forecasts, leaks, openapi, probes, recovery, stream, traces};
use actix_web::http::Method;
use actix_web::web::{self, ServiceConfig};
use actix_web::{FromRequest, Handler, HttpRequest, Responder, guard};

/// How a path is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// GET, and HEAD with it.
    Get,
    /// POST.
    Post,
}

impl Verb {
    /// The methods, as `Allow` names them.
    #[must_use]
    pub const fn methods(self) -> &'static [Method] {
        match self {
            Verb::Get => &[Method::GET, Method::HEAD],
            Verb::Post => &[Method::POST],
        }
    }
}

/// One path.
pub struct Endpoint {
    /// Its template.
    pub path: &'static str,
    /// How it is asked.
    pub verb: Verb,
    serve: fn(&Endpoint, &mut ServiceConfig),
}

/// All paths, in the order of the documentation.
pub const ENDPOINTS: &[Endpoint] = &[
    Endpoint { path: "/livez", verb: Verb::Get, serve: |this, app| this.serve(app, probes::livez) },
    Endpoint { path: "/health/liveness", verb: Verb::Get, serve: |this, app| this.serve(app, probes::livez) },
    Endpoint { path: "/readyz", verb: Verb::Get, serve: |this, app| this.serve(app, probes::readyz) },
    Endpoint { path: "/healthz", verb: Verb::Get, serve: |this, app| this.serve(app, probes::readyz) },
    Endpoint { path: "/health/readiness", verb: Verb::Get, serve: |this, app| this.serve(app, probes::readyz) },
    Endpoint { path: "/readyz/{service}", verb: Verb::Get, serve: |this, app| this.serve(app, probes::service) },
    Endpoint { path: "/metrics", verb: Verb::Get, serve: |this, app| this.serve(app, probes::metrics) },
    Endpoint { path: "/v1/traces", verb: Verb::Post, serve: |this, app| this.serve(app, traces::export) },
    Endpoint { path: "/v1/events", verb: Verb::Post, serve: |this, app| this.serve(app, events::publish) },
    Endpoint { path: "/api/v1/status", verb: Verb::Get, serve: |this, app| this.serve(app, api::status) },
    Endpoint { path: "/api/v1/alerts", verb: Verb::Get, serve: |this, app| this.serve(app, api::alerts) },
    Endpoint { path: "/api/v1/alerts/{id}", verb: Verb::Get, serve: |this, app| this.serve(app, api::alert) },
    Endpoint { path: "/api/v1/commands", verb: Verb::Get, serve: |this, app| this.serve(app, api::commands) },
    Endpoint { path: "/api/v1/queries", verb: Verb::Get, serve: |this, app| this.serve(app, api::queries) },
    Endpoint { path: "/api/v1/breakers", verb: Verb::Get, serve: |this, app| this.serve(app, api::breakers) },
    Endpoint { path: "/api/v1/drift", verb: Verb::Get, serve: |this, app| this.serve(app, drift::drift) },
    Endpoint { path: "/api/v1/forecasts", verb: Verb::Get, serve: |this, app| this.serve(app, forecasts::forecasts) },
    Endpoint { path: "/api/v1/leaks", verb: Verb::Get, serve: |this, app| this.serve(app, leaks::leaks) },
    Endpoint { path: "/api/v1/recovery", verb: Verb::Get, serve: |this, app| this.serve(app, recovery::view) },
    Endpoint { path: "/api/v1/recovery/orders", verb: Verb::Post, serve: |this, app| this.serve(app, recovery::take) },
    Endpoint { path: "/api/v1/stream", verb: Verb::Get, serve: |this, app| this.serve(app, stream::events) },
    Endpoint { path: "/api/v1/openapi.json", verb: Verb::Get, serve: |this, app| this.serve(app, openapi::serve) },
];

impl Endpoint {
    fn serve<F, Args>(&self, app: &mut ServiceConfig, handler: F)
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        let verb = self.verb;
        let asked = guard::fn_guard(move |context| verb.methods().contains(&context.head().method));
        let otherwise = move |_: HttpRequest| async move { Err::<&str, _>(Problem::method_not_allowed(verb.methods())) };
        app.service(web::resource(self.path).route(web::route().guard(asked).to(handler)).default_service(web::to(otherwise)));
    }
}

/// Puts all paths into an application.
pub(super) fn configure(app: &mut ServiceConfig) {
    for endpoint in ENDPOINTS {
        (endpoint.serve)(endpoint, app);
    }
    app.default_service(web::to(no_route));
}
