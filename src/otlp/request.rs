//! SERVER spans into `request` events.

use super::attributes::Key;
use super::model::Span;
use super::names::{NAME_MAX, bounded, method, without_values};
use super::status;
use homeostat_schemas::event::Request;

/// What stands for the path of a request that matched no route. Its own path is never taken: it has values in it.
const UNMATCHED: &str = "(unmatched)";

/// The request of a SERVER span. `inner` is the route that a framework's span below it knows.
pub(super) fn request(span: &Span<'_>, inner: Option<&str>) -> Request {
    Request { route: route(span, inner), status: status::answered(span), ..Request::default() }
}

/// Method and route template, the remote method, or the span's name.
fn route(span: &Span<'_>, inner: Option<&str>) -> String {
    let template = span.text(Key::HttpRoute).or(inner);
    let is_http = template.is_some() || span.get(Key::HttpMethod).is_some() || span.get(Key::HttpStatus).is_some();
    if let Some(operation) = operation(span) {
        return operation;
    }
    if is_http {
        return bounded(&format!("{} {}", method(span.text(Key::HttpMethod)), template.unwrap_or(UNMATCHED)), NAME_MAX);
    }
    let name = without_values(&span.name);
    if name.is_empty() { UNMATCHED.to_owned() } else { bounded(&name, NAME_MAX) }
}

/// `package.Service/Method` of a remote procedure call.
pub(super) fn operation(span: &Span<'_>) -> Option<String> {
    let method = span.text(Key::RpcMethod)?;
    let whole = match span.text(Key::RpcService) {
        // The current conventions put the service into the method.
        Some(service) if !method.contains('/') => format!("{service}/{method}"),
        _ => method.to_owned(),
    };
    Some(bounded(&whole, NAME_MAX))
}
