//! How a call ended: the codes of HTTP and of remote procedure calls.

use super::attributes::{Attribute, Key};
use super::model::Span;
use homeostat_schemas::event::CallOutcome;

/// The names of the gRPC status codes, by number (`google/rpc/code.proto`).
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The HTTP status of each gRPC code, as `google/rpc/code.proto` maps them.
const AS_HTTP: [u16; 17] = [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401];

/// The HTTP status of a span, if it has a possible one.
pub(super) fn http(span: &Span<'_>) -> Option<u16> {
    let status = span.number(Key::HttpStatus)?;
    u16::try_from(status).ok().filter(|status| (100..600).contains(status))
}

/// The gRPC code of a span.
pub(super) fn rpc(span: &Span<'_>) -> Option<usize> {
    let attribute = span.get(Key::RpcStatus)?;
    let by_name = |name: &str| NAMES.iter().position(|known| known.eq_ignore_ascii_case(name));
    let by_number = || attribute.as_number().and_then(|number| usize::try_from(number).ok()).filter(|code| *code < NAMES.len());
    match attribute {
        Attribute::Text(name) => by_name(name).or_else(by_number),
        _ => by_number(),
    }
}

/// What an inbound request answered, as an HTTP status.
pub(super) fn answered(span: &Span<'_>) -> u16 {
    let rpc = || rpc(span).and_then(|code| AS_HTTP.get(code)).copied();
    http(span).or_else(rpc).unwrap_or(if span.failed { 500 } else { 200 })
}

/// How an outbound call ended, as a breaker sees it: a refusal that is the caller's own fault says nothing of the peer.
pub(super) fn outcome(span: &Span<'_>) -> CallOutcome {
    match (http(span), rpc(span)) {
        (Some(408), _) => CallOutcome::Timeout,
        (Some(429 | 500..), _) => CallOutcome::Error,
        (Some(400..), _) => CallOutcome::Ignored,
        // A remote procedure call answers 200 at the HTTP level whatever became of it.
        (_, Some(code)) => match code {
            0 => CallOutcome::Ok,
            4 => CallOutcome::Timeout,
            2 | 8 | 13 | 14 | 15 => CallOutcome::Error,
            _ => CallOutcome::Ignored,
        },
        (Some(_), None) if !span.failed => CallOutcome::Ok,
        (None, None) if !span.failed && span.get(Key::ErrorType).is_none() => CallOutcome::Ok,
        _ => {
            let class = span.text(Key::ErrorType).unwrap_or_default();
            let says = |word: &str| class.to_ascii_lowercase().contains(word);
            if says("timeout") || says("timedout") || says("timed_out") || says("deadline") {
                CallOutcome::Timeout
            } else if says("cancel") || says("abort") {
                CallOutcome::Ignored
            } else {
                CallOutcome::Error
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(attributes: &[(&'static str, Attribute<'static>)], failed: bool) -> Span<'static> {
        let mut span = Span { failed, ..Span::default() };
        for (name, value) in attributes {
            span.set(name, value.clone());
        }
        span
    }

    #[test]
    fn outcomes_say_something_of_the_peer_only() {
        let text = |text: &'static str| Attribute::Text(text.into());
        for (attributes, failed, expected) in [
            (vec![("http.response.status_code", Attribute::Int(200))], false, CallOutcome::Ok),
            (vec![("http.status_code", Attribute::Int(404))], true, CallOutcome::Ignored),
            (vec![("http.status_code", text("503"))], true, CallOutcome::Error),
            (vec![("http.status_code", Attribute::Int(429))], true, CallOutcome::Error),
            (vec![("rpc.grpc.status_code", Attribute::Int(4))], true, CallOutcome::Timeout),
            (vec![("rpc.response.status_code", text("UNAVAILABLE"))], true, CallOutcome::Error),
            (vec![("rpc.response.status_code", text("NOT_FOUND"))], true, CallOutcome::Ignored),
            (vec![("http.status_code", Attribute::Int(200)), ("rpc.grpc.status_code", Attribute::Int(14))], true, CallOutcome::Error),
            (vec![("error.type", text("ConnectTimeout"))], true, CallOutcome::Timeout),
            (vec![("error.type", text("ECONNREFUSED"))], true, CallOutcome::Error),
            (vec![], true, CallOutcome::Error),
            (vec![], false, CallOutcome::Ok),
            (vec![("http.status_code", Attribute::Int(99_999))], false, CallOutcome::Ok),
        ] {
            assert_eq!(outcome(&span(&attributes, failed)), expected, "{attributes:?}");
        }
    }

    #[test]
    fn an_answer_always_has_an_http_status() {
        assert_eq!(answered(&span(&[("rpc.grpc.status_code", Attribute::Int(5))], false)), 404);
        assert_eq!(answered(&span(&[("rpc.response.status_code", Attribute::Text("INTERNAL".into()))], true)), 500);
        assert_eq!(answered(&span(&[], true)), 500);
        assert_eq!(answered(&span(&[("http.status_code", Attribute::Int(-1))], false)), 200);
    }
}
