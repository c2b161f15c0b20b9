//! CLIENT spans of HTTP and remote procedure calls into `call` events, which the breaker lives on.

use super::attributes::Key;
use super::model::Span;
use super::names::{NAME_MAX, authority, bounded, method};
use super::{request, status};
use homeostat_schemas::event::{Call, SERVICE_MAX};

/// Is it a call over HTTP or of a remote procedure?
pub(super) fn is_call(span: &Span<'_>) -> bool {
    [Key::HttpMethod, Key::HttpStatus, Key::RpcSystem, Key::RpcMethod, Key::Url].into_iter().any(|key| span.get(key).is_some())
}

/// The call of a CLIENT span; none when nobody knows whom it went to.
pub(super) fn call(span: &Span<'_>) -> Option<Call> {
    Some(Call { peer: peer(span)?, outcome: status::outcome(span), operation: operation(span), ..Call::default() })
}

/// Whom it went to: the service's name if the caller knows it, else its host, with the port unless that is the usual one.
fn peer(span: &Span<'_>) -> Option<String> {
    if let Some(service) = span.text(Key::PeerService) {
        return Some(bounded(service, SERVICE_MAX));
    }
    let named = span.text(Key::ServerAddress);
    let host = match (named, span.text(Key::Url).and_then(authority)) {
        (None, Some(authority)) => return Some(bounded(authority, SERVICE_MAX)),
        (named, _) => named.or_else(|| span.text(Key::NetworkPeer))?,
    };
    let port = span.number(Key::ServerPort).filter(|port| (1..=65_535).contains(port) && ![80, 443].contains(port));
    match port {
        // `http.host` has the port in it already; an IPv6 address has colons of its own.
        Some(port) if !host.ends_with(&format!(":{port}")) => {
            let whole = if host.contains(':') && !host.starts_with('[') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
            Some(bounded(&whole, SERVICE_MAX))
        }
        _ => Some(bounded(host, SERVICE_MAX)),
    }
}

/// What was asked of the peer, as far as it is known without values.
fn operation(span: &Span<'_>) -> Option<String> {
    let over_http = || {
        let method = method(Some(span.text(Key::HttpMethod)?));
        Some(match span.text(Key::UrlTemplate) {
            Some(template) => bounded(&format!("{method} {template}"), NAME_MAX),
            None => method.to_owned(),
        })
    };
    request::operation(span).or_else(over_http)
}
