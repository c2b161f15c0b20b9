//! Every path, its method, who may ask it and what serves it. The description in [`super::openapi`] and the labels of the metrics are
//! made from this list too, so that there is no other.

use super::problem::{Problem, no_route};
use super::{
    admission, alerts, breakers, commands, drift, events, forecasts, key_rotation, keys, leaks, openapi, probes, queries, recovery,
    silences, status, stream, traces,
};
use actix_web::http::Method;
use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, Route, guard};
use homeostat_schemas::Scope;

/// How a path is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// GET, and HEAD with it.
    Get,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// DELETE.
    Delete,
}

impl Verb {
    /// The methods, as `Allow` names them.
    #[must_use]
    pub const fn methods(self) -> &'static [Method] {
        match self {
            Verb::Get => &[Method::GET, Method::HEAD],
            Verb::Post => &[Method::POST],
            Verb::Put => &[Method::PUT],
            Verb::Delete => &[Method::DELETE],
        }
    }

    /// Its name in the description.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::Post => "post",
            Verb::Put => "put",
            Verb::Delete => "delete",
        }
    }
}

/// Who may ask a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody, and it says the same to all.
    Open,
    /// Everybody hears the status; whoever has the scope also hears why.
    Brief(Scope),
    /// Whoever has the scope.
    Needs(Scope),
}

impl Access {
    /// May it be asked without a key?
    #[must_use]
    pub const fn is_open(self) -> bool {
        !matches!(self, Access::Needs(_))
    }
}

/// One path, asked in one way.
pub struct Endpoint {
    /// Its template.
    pub path: &'static str,
    /// How it is asked.
    pub verb: Verb,
    /// Who may.
    pub access: Access,
    serve: fn() -> Route,
}

use Access::{Brief, Needs, Open};
use Verb::{Get, Post};

/// All paths, in the order of the documentation. One path may be asked in several ways: those stand beside each other.
pub const ENDPOINTS: &[Endpoint] = &[
    Endpoint { path: "/livez", verb: Get, access: Open, serve: || web::to(probes::livez) },
    Endpoint { path: "/health/liveness", verb: Get, access: Open, serve: || web::to(probes::livez) },
    Endpoint { path: "/readyz", verb: Get, access: Brief(Scope::Probe), serve: || web::to(probes::readyz) },
    Endpoint { path: "/healthz", verb: Get, access: Brief(Scope::Probe), serve: || web::to(probes::readyz) },
    Endpoint { path: "/health/readiness", verb: Get, access: Brief(Scope::Probe), serve: || web::to(probes::readyz) },
    Endpoint { path: "/readyz/{service}", verb: Get, access: Brief(Scope::Probe), serve: || web::to(probes::service) },
    Endpoint { path: "/metrics", verb: Get, access: Needs(Scope::Metrics), serve: || web::to(probes::metrics) },
    Endpoint { path: "/metrics/per-object", verb: Get, access: Needs(Scope::StatusRead), serve: || web::to(probes::per_object) },
    Endpoint { path: "/v1/traces", verb: Post, access: Needs(Scope::TelemetryWrite), serve: || web::to(traces::export) },
    Endpoint { path: "/v1/events", verb: Post, access: Needs(Scope::TelemetryWrite), serve: || web::to(events::publish) },
    Endpoint { path: "/api/v1/status", verb: Get, access: Needs(Scope::StatusRead), serve: || web::to(status::status) },
    Endpoint { path: "/api/v1/alerts", verb: Get, access: Needs(Scope::AlertsRead), serve: || web::to(alerts::alerts) },
    Endpoint { path: "/api/v1/alerts/{id}", verb: Get, access: Needs(Scope::AlertsRead), serve: || web::to(alerts::alert) },
    Endpoint {
        path: "/api/v1/alerts/{id}/acknowledge",
        verb: Post,
        access: Needs(Scope::CommandsWrite),
        serve: || web::to(silences::acknowledge),
    },
    Endpoint { path: "/api/v1/silences", verb: Get, access: Needs(Scope::AlertsRead), serve: || web::to(silences::list) },
    Endpoint { path: "/api/v1/silences", verb: Post, access: Needs(Scope::CommandsWrite), serve: || web::to(silences::create) },
    Endpoint { path: "/api/v1/silences/{id}/expire", verb: Post, access: Needs(Scope::CommandsWrite), serve: || web::to(silences::expire) },
    Endpoint { path: "/api/v1/commands", verb: Get, access: Needs(Scope::StatusRead), serve: || web::to(commands::commands) },
    Endpoint { path: "/api/v1/queries", verb: Get, access: Needs(Scope::StatusRead), serve: || web::to(queries::queries) },
    Endpoint { path: "/api/v1/breakers", verb: Get, access: Needs(Scope::StatusRead), serve: || web::to(breakers::breakers) },
    Endpoint { path: "/api/v1/drift", verb: Get, access: Needs(Scope::StatusRead), serve: || web::to(drift::drift) },
    Endpoint { path: "/api/v1/forecasts", verb: Get, access: Needs(Scope::StatusRead), serve: || web::to(forecasts::forecasts) },
    Endpoint { path: "/api/v1/key_rotation", verb: Get, access: Needs(Scope::StatusRead), serve: || web::to(key_rotation::view) },
    Endpoint { path: "/api/v1/leaks", verb: Get, access: Needs(Scope::StatusRead), serve: || web::to(leaks::leaks) },
    Endpoint { path: "/api/v1/recovery", verb: Get, access: Needs(Scope::StatusRead), serve: || web::to(recovery::view) },
    Endpoint { path: "/api/v1/recovery/decisions", verb: Get, access: Needs(Scope::StatusRead), serve: || web::to(recovery::decisions) },
    Endpoint { path: "/api/v1/recovery/orders", verb: Post, access: Needs(Scope::CommandsWrite), serve: || web::to(recovery::take) },
    Endpoint { path: "/api/v1/keys", verb: Get, access: Needs(Scope::KeysAdmin), serve: || web::to(keys::list) },
    Endpoint { path: "/api/v1/keys", verb: Post, access: Needs(Scope::KeysAdmin), serve: || web::to(keys::create) },
    Endpoint { path: "/api/v1/keys/{id}", verb: Get, access: Needs(Scope::KeysAdmin), serve: || web::to(keys::show) },
    Endpoint { path: "/api/v1/keys/{id}/rotate", verb: Post, access: Needs(Scope::KeysAdmin), serve: || web::to(keys::rotate) },
    Endpoint { path: "/api/v1/keys/{id}/revoke", verb: Post, access: Needs(Scope::KeysAdmin), serve: || web::to(keys::revoke) },
    Endpoint { path: "/api/v1/keys/{id}/recipient", verb: Post, access: Needs(Scope::KeysAdmin), serve: || web::to(keys::recipient) },
    Endpoint { path: "/api/v1/stream", verb: Get, access: Needs(Scope::AlertsRead), serve: || web::to(stream::events) },
    Endpoint { path: "/api/v1/openapi.json", verb: Get, access: Needs(Scope::StatusRead), serve: || web::to(openapi::serve) },
];

/// The paths, each with all the ways to ask it.
pub(super) fn paths() -> impl Iterator<Item = &'static [Endpoint]> {
    ENDPOINTS.chunk_by(|one, next| one.path == next.path)
}

/// Puts all paths into an application.
pub(super) fn configure(app: &mut ServiceConfig) {
    for ways in paths() {
        let allowed: Vec<Method> = ways.iter().flat_map(|endpoint| endpoint.verb.methods()).cloned().collect();
        let mut resource = web::resource(ways[0].path);
        for endpoint in ways {
            let verb = endpoint.verb;
            let asked = guard::fn_guard(move |context| verb.methods().contains(&context.head().method));
            resource = resource.route((endpoint.serve)().guard(asked));
        }
        let otherwise = move |_: HttpRequest| {
            let problem = Problem::method_not_allowed(&allowed);
            async move { Err::<&str, _>(problem) }
        };
        let resource = resource.default_service(web::to(otherwise));
        app.service(resource.wrap(from_fn(move |request, next| admission::pass(ways, request, next))));
    }
    app.default_service(web::to(no_route).wrap(from_fn(|request, next| admission::pass(&[], request, next))));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_ways_of_a_path_stand_beside_each_other_and_are_all_different() {
        let distinct: BTreeSet<&str> = ENDPOINTS.iter().map(|endpoint| endpoint.path).collect();
        assert_eq!(paths().count(), distinct.len());
        for ways in paths() {
            let verbs: BTreeSet<&str> = ways.iter().map(|endpoint| endpoint.verb.name()).collect();
            assert_eq!(verbs.len(), ways.len(), "{}", ways[0].path);
        }
    }

    #[test]
    fn only_probes_are_open() {
        let open: Vec<&str> = ENDPOINTS.iter().filter(|endpoint| endpoint.access.is_open()).map(|endpoint| endpoint.path).collect();
        assert_eq!(open, ["/livez", "/health/liveness", "/readyz", "/healthz", "/health/readiness", "/readyz/{service}"]);
    }
}
