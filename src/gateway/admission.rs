//! The check in front of every path: who asks, whether they may, and whether they have asked too often. It is a part of each route, so
//! that what is checked and what is served cannot differ.
//!
//! | what | limit | beyond it |
//! |---|---|---|
//! | probes | none: they cost nothing | |
//! | the API, and paths that there are not | by source, and by key | 429 with `Retry-After` |
//! | intake | by key, else by source, in bytes after decompression | 503 with `Retry-After`: an exporter drops what it is answered 429 for |
//!
//! Requests that were refused count in a table of their own, so that a flood of them takes nothing from a client behind the same address
//! who has a key. Whoever is on this machine and needs no key is not limited.

use super::auth::{self, Caller, Who};
use super::limits::{Rate, Table, Verdict, subscriber};
use super::problem::Problem;
use super::routes::Endpoint;
use super::{Gate, GatewayConfig};
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, ResponseError as _, web};
use std::net::IpAddr;
use std::time::Duration;

/// The standard headers (draft-ietf-httpapi-ratelimit-headers-10).
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// What requests a minute are counted over.
const MINUTE: Duration = Duration::from_secs(60);
/// Bytes of intake that may come at once, in seconds' worth.
const INTAKE_BURST: Duration = Duration::from_secs(4);

/// What everybody has used.
#[derive(Debug, Default)]
pub(super) struct Limits {
    sources: Table,
    refused: Table,
    keys: Table,
    intake: Table,
}

/// What a path is, as far as limits go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Probe,
    Intake,
    Api,
}

impl Class {
    fn of(path: &str) -> Class {
        match path {
            "/metrics" => Class::Probe,
            path if path.starts_with("/v1/") => Class::Intake,
            path if path.starts_with("/livez") || path.starts_with("/readyz") || path.starts_with("/health") => Class::Probe,
            _ => Class::Api,
        }
    }
}

/// Lets a request through to its path, or answers it.
pub(super) async fn pass(
    ways: &'static [Endpoint],
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some(gate) = request.app_data::<web::Data<Gate>>().cloned() else {
        return Err(Problem::unavailable("the process is stopping").into());
    };
    let endpoint = ways.iter().find(|endpoint| endpoint.verb.methods().contains(request.method()));
    let class = endpoint.map_or(Class::Api, |endpoint| Class::of(endpoint.path));
    let judged = auth::judge(&gate, request.request(), endpoint).await;
    let (verdict, judged) = match judged {
        Ok(caller) => match gate.within(class, &caller) {
            Ok(verdict) => (verdict, Ok(caller)),
            Err(problem) => (None, Err(problem)),
        },
        Err(problem) => {
            let source = gate.forwarded.source(request.request()).source;
            (None, Err(gate.refused(class, source, problem)))
        }
    };
    let mut response = match judged {
        Ok(caller) => {
            let turn = (class == Class::Api).then(|| gate.api.clone().try_acquire_owned());
            if let Some(Err(_)) = turn {
                return Ok(request.into_response(Problem::unavailable("too many requests at once; ask again").error_response()));
            }
            request.extensions_mut().insert(caller);
            next.call(request).await?.map_into_boxed_body()
        }
        Err(problem) => request.into_response(problem.error_response()),
    };
    if let Some((rate, verdict)) = verdict {
        show(&mut response, rate, verdict);
    }
    Ok(response)
}

fn show(response: &mut ServiceResponse<BoxBody>, rate: Rate, verdict: Verdict) {
    let policy = format!("\"api\";q={};w={}", rate.amount, rate.period.as_secs());
    let limit = format!("\"api\";r={};t={}", verdict.remaining, verdict.after_s);
    for (name, value) in [(POLICY, policy), (LIMIT, limit)] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
}

impl GatewayConfig {
    const fn api_rate(&self) -> Rate {
        Rate { amount: self.api_per_minute, period: MINUTE }
    }

    const fn key_rate(&self) -> Rate {
        Rate { amount: self.key_per_minute, period: MINUTE }
    }

    const fn intake_rate(&self) -> Rate {
        Rate { amount: self.intake_mb_per_s.saturating_mul(1024 * 1024).saturating_mul(INTAKE_BURST.as_secs()), period: INTAKE_BURST }
    }
}

/// Whom the limit of intake is about.
fn sender(caller: &Caller) -> Option<(Option<&str>, Option<IpAddr>)> {
    match &caller.who {
        Who::Local => None,
        Who::Anyone => Some((None, Some(subscriber(caller.source)))),
        Who::Key(principal) => Some((Some(&principal.key), None)),
    }
}

impl Gate {
    /// Counts a request that may be served. The limit of the two with less left is the one that is shown.
    fn within(&self, class: Class, caller: &Caller) -> Result<Option<(Rate, Verdict)>, Problem> {
        if class != Class::Api || matches!(caller.who, Who::Local) {
            return Ok(None);
        }
        let rate = self.config.api_rate();
        let mut counted = (rate, self.limits.sources.take(subscriber(caller.source), 1, rate));
        if let Who::Key(principal) = &caller.who
            && counted.1.within
        {
            let rate = self.config.key_rate();
            let by_key = self.limits.keys.take(&principal.key, 1, rate);
            if !by_key.within || by_key.remaining < counted.1.remaining {
                counted = (rate, by_key);
            }
        }
        if counted.1.within { Ok(Some(counted)) } else { Err(Problem::too_many(counted.1.after_s)) }
    }

    /// Counts a request that is refused: beyond the limit the answer says so, and no longer why.
    fn refused(&self, class: Class, source: IpAddr, problem: Problem) -> Problem {
        if class != Class::Api || problem.status() == StatusCode::SERVICE_UNAVAILABLE {
            return problem;
        }
        let verdict = self.limits.refused.take(subscriber(source), 1, self.config.api_rate());
        if verdict.within { problem } else { Problem::too_many(verdict.after_s) }
    }

    /// May this one send more telemetry now?
    ///
    /// # Errors
    /// 503, with the time after which.
    pub(super) fn intake_open(&self, caller: &Caller) -> Result<(), Problem> {
        let Some(who) = sender(caller) else { return Ok(()) };
        let verdict = self.limits.intake.take(who, 0, self.config.intake_rate());
        if verdict.within { Ok(()) } else { Err(Problem::busy("more telemetry than one sender may send; send it later", verdict.after_s)) }
    }

    /// Counts what came. How much it would be was known only when it had.
    pub(super) fn intake_took(&self, caller: &Caller, bytes: usize) {
        if let Some(who) = sender(caller) {
            self.limits.intake.charge(who, bytes as u64, self.config.intake_rate());
        }
    }
}
