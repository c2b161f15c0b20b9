//! What holds for every request, whichever handler serves it: limits, deadline, headers, measures.

use super::Gate;
use super::pace::Pace;
use super::problem::Problem;
use super::routes::ENDPOINTS;
use crate::metrics::{HttpLabels, TraceLabel};
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{ConnectionType, Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, ResponseError as _, web};
use std::rc::Rc;
use std::time::Instant;

/// Two years, as browsers want it before they believe it for good.
const HSTS: &str = "max-age=63072000; includeSubDomains";
/// Longest path and query together, in bytes.
const URI_MAX: usize = 2_048;

/// Wraps a handler.
pub(super) async fn around(request: ServiceRequest, next: Next<impl MessageBody + 'static>) -> Result<ServiceResponse<BoxBody>, Error> {
    let begun = Instant::now();
    let work = Work::begin(&request);
    let gate = request.app_data::<web::Data<Gate>>().cloned();
    let method = method(request.method());
    let has_body = request.headers().contains_key(header::TRANSFER_ENCODING)
        || request.headers().get(header::CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    let length = request.uri().path_and_query().map_or(0, |uri| uri.as_str().len());
    let mut response = if length > URI_MAX {
        request.into_response(
            Problem::new(StatusCode::URI_TOO_LONG, format!("a path and its query have at most {URI_MAX} bytes")).error_response(),
        )
    } else {
        let deadline = gate.as_ref().map_or_else(Default::default, |gate| gate.config.request_deadline());
        match tokio::time::timeout(deadline, next.call(request)).await {
            Ok(response) => response?.map_into_boxed_body(),
            // The request went into the handler, so that there is nothing to answer it with here; actix makes the answer.
            Err(_) => return Err(Problem::unavailable("it took too long; ask again").into()),
        }
    };
    let status = response.status();
    // What actix refuses by itself has no body, or a parser's words in it; say it in ours.
    let foreign = |kind: Option<&HeaderValue>| kind.is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if status.is_client_error() && foreign(response.headers().get(header::CONTENT_TYPE)) {
        response = response.into_response(Problem::new(status, "the request cannot be understood").error_response());
    }
    secure(response.headers_mut());
    if gate.as_ref().is_some_and(|gate| gate.config.scheme() == "https") {
        response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(HSTS));
    }
    // Its body was not read, so that nobody can tell where the next request begins: say so before the connection is closed.
    let refused = matches!(status.as_u16(), 401 | 403..=405 | 408 | 413..=415 | 421 | 429 | 503);
    if has_body && (refused || matches!(method, "GET" | "HEAD")) {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    if let Some(gate) = gate {
        let pattern = response.request().match_pattern();
        let route = ENDPOINTS.iter().map(|endpoint| endpoint.path).find(|path| pattern.as_deref() == Some(path));
        let parent = response.request().headers().get("traceparent").and_then(|value| value.to_str().ok());
        let trace = TraceLabel::of(parent);
        let labels =
            HttpLabels { http_request_method: method, http_route: route.unwrap_or("_OTHER"), http_response_status_code: status.as_u16() };
        gate.state.metrics.http_seconds.get_or_create(&labels).observe(begun.elapsed().as_secs_f64(), trace, None);
    }
    drop(work);
    Ok(response)
}

/// Says to a connection that its request is at work, and when it no longer is.
struct Work(Option<Rc<Pace>>);

impl Work {
    fn begin(request: &ServiceRequest) -> Work {
        let pace = request.request().conn_data::<Rc<Pace>>().cloned();
        if let Some(pace) = &pace {
            pace.begin();
        }
        Work(pace)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Some(pace) = &self.0 {
            pace.end();
        }
    }
}

/// The headers that every answer has: nothing here is a page, and nothing may be kept, framed or guessed at.
pub(super) fn secure(headers: &mut HeaderMap) {
    const HEADERS: [(HeaderName, &str); 6] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// A method as a label: one of the usual ones, or `_OTHER`.
fn method(method: &Method) -> &'static str {
    const USUAL: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"];
    USUAL.into_iter().find(|usual| method.as_str() == *usual).unwrap_or("_OTHER")
}
