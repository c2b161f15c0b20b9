//! Errors as RFC 9457 problem details. What a problem says is written here: no text of a parser, a path or a library goes out.

use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, ResponseError};
use homeostat_schemas::Scope;
use schemars::JsonSchema;
use serde::Serialize;
use std::borrow::Cow;
use std::fmt;

/// The media type of problem details.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// After how many seconds a sender should try again.
pub(super) const RETRY_AFTER_S: u64 = 1;

/// A request that was not served.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    detail: Cow<'static, str>,
    allow: Option<String>,
    retry_after_s: Option<u64>,
}

/// The body of a problem.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ProblemBody {
    /// `about:blank`: the status says it all.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The words of the status.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong, and what to do about it.
    pub detail: String,
}

impl Problem {
    /// A problem with a word of explanation.
    #[must_use]
    pub fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        let retry_after_s = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_AFTER_S);
        Problem { status, detail: detail.into(), allow: None, retry_after_s }
    }

    /// 400.
    /// Only the process that owns the log has minds.
    pub(super) fn not_here(actor: &str) -> Self {
        Self::unavailable(format!(
            "no {actor} actor runs in this process: it is starting, or another process works; ask again, or ask that one"
        ))
    }

    pub(super) fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 404.
    pub(super) fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 415.
    pub(super) fn unsupported(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
    }

    /// 422: right in form, and nothing that could be done.
    pub(super) fn unprocessable(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// 401, the same whatever was wrong.
    pub(super) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "a valid API key is needed here, in the header Authorization: Bearer")
    }

    /// 403.
    pub(super) fn forbidden(scope: Scope) -> Self {
        Self::new(StatusCode::FORBIDDEN, format!("this key has not the scope {scope}"))
    }

    /// 429, with `Retry-After`.
    pub(super) fn too_many(after_s: u64) -> Self {
        let detail = format!("too many requests; ask again in {after_s} s");
        Problem { retry_after_s: Some(after_s), ..Self::new(StatusCode::TOO_MANY_REQUESTS, detail) }
    }

    /// 503, with the time after which it is worth trying again.
    pub(super) fn busy(detail: impl Into<Cow<'static, str>>, after_s: u64) -> Self {
        Problem { retry_after_s: Some(after_s), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// 503, with `Retry-After`.
    pub(super) fn unavailable(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// 405 with the methods there are.
    pub(super) fn method_not_allowed(allow: &[Method]) -> Self {
        let allow = allow.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        Problem { detail: format!("use {allow}").into(), allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "") }
    }

    /// The status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The explanation.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// An answer with the headers that belong to this problem, and without a body.
    pub(super) fn builder(&self) -> HttpResponseBuilder {
        let mut answer = HttpResponse::build(self.status);
        // Also here, for those that are answered without passing the layer on their way out.
        let mut headers = HeaderMap::new();
        super::layer::secure(&mut headers);
        headers.into_iter().for_each(|header| {
            answer.insert_header(header);
        });
        if let Some(after_s) = self.retry_after_s {
            answer.insert_header((header::RETRY_AFTER, after_s));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            answer.insert_header((header::WWW_AUTHENTICATE, "Bearer realm=\"homeostat\""));
        }
        if let Some(allow) = self.allow.as_deref().and_then(|allow| HeaderValue::from_str(allow).ok()) {
            answer.insert_header((header::ALLOW, allow));
        }
        answer
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> ProblemBody {
        ProblemBody {
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: self.detail.clone().into_owned(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }
    fn error_response(&self) -> HttpResponse {
        self.builder().content_type(PROBLEM_JSON).body(serde_json::to_vec(&self.body()).unwrap_or_default())
    }
}

/// 404 for a path that is none of ours.
pub(super) async fn no_route(_: HttpRequest) -> Problem404 {
    Err(Problem::not_found("there is nothing here; /api/v1/openapi.json lists what there is"))
}

/// What [`no_route`] answers.
pub(super) type Problem404 = Result<HttpResponse, Problem>;
