//! `/v1/traces`: OTLP over HTTP, protobuf and JSON.
//!
//! As the OTLP specification wants it: 200 (also for a partial success), 400 for what can never be accepted, 503 with
//! `Retry-After` for what should come again; the body of an error is a `google.rpc.Status` in the encoding of the request.

use super::Gate;
use super::auth::Caller;
use super::body::{self, Body};
use super::problem::Problem;
use super::publish::{Packed, context, pack, store};
use crate::clock::now_ms;
use crate::metrics::IntakeLabels;
use crate::otlp::answer::{self, Code};
use crate::otlp::{DecodeError, Encoding, Mapped, decode};
use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use homeostat_schemas::TraceContext;

/// A body beyond this size is decoded on a thread of its own, so that it does not hold up the other requests of its worker.
const INLINE_MAX: usize = 256 * 1024;

/// Takes an export request.
pub(super) async fn export(gate: web::Data<Gate>, caller: Caller, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let Some(encoding) = content_type.and_then(Encoding::of) else {
        // In which encoding an exporter wants to hear that its own is unknown, nobody knows.
        return actix_web::ResponseError::error_response(&Problem::unsupported(
            "Content-Type: send application/x-protobuf or application/json",
        ));
    };
    match take(gate, &caller, &request, payload, encoding).await {
        Ok((rejected, reason)) => {
            HttpResponse::Ok().content_type(encoding.content_type()).body(answer::response(encoding, rejected, &reason))
        }
        Err(problem) => refuse(encoding, &problem),
    }
}

async fn take(
    gate: web::Data<Gate>,
    caller: &Caller,
    request: &HttpRequest,
    payload: web::Payload,
    encoding: Encoding,
) -> Result<(u64, String), Problem> {
    gate.intake_open(caller)?;
    if gate.log().is_none() {
        gate.count("otlp", "unavailable", 1);
        return Err(Problem::unavailable("the bus is away; send it again"));
    }
    let body = body::read(&gate, request, payload, gate.config.otlp_body_max_bytes).await?;
    gate.intake_took(caller, body.bytes.len());
    // Only now: bodies that are slow to come take nobody's place.
    let _turn = gate.intake.clone().try_acquire_owned().map_err(|_| Problem::unavailable("too many requests at once; send it again"))?;
    let context = context(request);
    let (mapped, messages) = if body.bytes.len() <= INLINE_MAX {
        digest(&gate, encoding, &body, &context)
    } else {
        let gate = gate.clone();
        // The body goes along: its memory is given back when both are done.
        web::block(move || digest(&gate, encoding, &body, &context))
            .await
            .unwrap_or_else(|_| Err(Problem::unavailable("the process is stopping; send it again")))
    }?;
    let result = store(&gate, messages).await;
    gate.count("otlp", if result.is_ok() { "accepted" } else { "unavailable" }, mapped.accepted);
    gate.count("otlp", "rejected", mapped.rejected);
    result?;
    gate.count_services(mapped.services);
    Ok((mapped.rejected, mapped.reason))
}

type Digested = (Mapped, Vec<homeostat_nats::Message>);

/// Decodes, maps and packs. Everything that costs time and needs no waiting.
fn digest(gate: &Gate, encoding: Encoding, body: &Body, context: &TraceContext) -> Result<Digested, Problem> {
    let batch = decode(encoding, &body.bytes).map_err(|error: DecodeError| Problem::bad_request(error.to_string()))?;
    let mut mapped = gate.mapper.map(&batch, now_ms());
    drop(batch);
    let id = gate.ids.of("otlp", &body.bytes);
    let groups = std::mem::take(&mut mapped.groups);
    let Packed { messages, oversized } =
        pack(&gate.state.root, &groups, &id, context).map_err(|_| Problem::bad_request("it cannot be written as MessagePack"))?;
    let oversized = oversized.len() as u64;
    if oversized > 0 {
        mapped.accepted = mapped.accepted.saturating_sub(oversized);
        mapped.rejected += oversized;
        if !mapped.reason.is_empty() {
            mapped.reason.push_str("; ");
        }
        mapped.reason.push_str(&format!("{oversized} left out: {}", Packed::reason()));
    }
    Ok((mapped, messages))
}

fn refuse(encoding: Encoding, problem: &Problem) -> HttpResponse {
    let code = match problem.status() {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::REQUEST_TIMEOUT => Code::Unavailable,
        StatusCode::PAYLOAD_TOO_LARGE => Code::ResourceExhausted,
        _ => Code::InvalidArgument,
    };
    let mut answer = problem.builder();
    if problem.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE {
        answer.insert_header((header::ACCEPT_ENCODING, "gzip"));
    }
    answer.content_type(encoding.content_type()).body(answer::status(encoding, code, problem.detail()))
}

impl Gate {
    /// Counts what came in and what became of it.
    pub(super) fn count(&self, intake: &'static str, result: &'static str, count: u64) {
        if count > 0 {
            self.state.metrics.intake.get_or_create(&IntakeLabels { intake, result }).inc_by(count);
        }
    }
}
