//! What every answer of `/api/v1` has in common: what was asked, how many rows there are at most, and who answers. What is open now comes
//! from the minds, what was from the store; where a mind is not running here (another process carries it), the store answers as far as it
//! can.

use super::problem::Problem;
use crate::store::StoreError;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Most rows of an answer, and how many there are when nobody asks.
pub(super) const LIMIT_MAX: u32 = 1_000;
const LIMIT_DEFAULT: u32 = 100;
/// The header that says who answered.
pub(super) const SOURCE: &str = "homeostat-source";

pub(super) type Answer = Result<HttpResponse, Problem>;

/// Who an answer comes from. The same question has another answer from either: a mind knows what is open now, the store what was
/// projected into it, a moment or (on a standby) a while ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The running actor.
    Mind,
    /// The database.
    Store,
}

impl Source {
    pub(super) fn answers(self, body: &impl Serialize) -> HttpResponse {
        let name = match self {
            Source::Mind => "mind",
            Source::Store => "store",
        };
        HttpResponse::Ok().insert_header((SOURCE, name)).json(body)
    }
}

/// The query string, checked: a parameter nobody knows is a mistake, not a filter that does nothing.
pub(super) fn asked<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, Problem> {
    web::Query::<T>::from_query(request.query_string()).map(web::Query::into_inner).map_err(|_| {
        Problem::bad_request("the query string has an unknown parameter or a value of the wrong form; see /api/v1/openapi.json")
    })
}

pub(super) fn flag(value: Option<&str>) -> bool {
    value.is_some_and(|value| !matches!(value, "0" | "false" | "no"))
}

pub(super) fn limit(asked: Option<u32>) -> Result<u32, Problem> {
    limit_up_to(asked, LIMIT_MAX)
}

pub(super) fn limit_up_to(asked: Option<u32>, most: u32) -> Result<u32, Problem> {
    match asked {
        None => Ok(LIMIT_DEFAULT),
        Some(limit) if (1..=most).contains(&limit) => Ok(limit),
        Some(_) => Err(Problem::bad_request(format!("limit: 1 to {most}"))),
    }
}

pub(super) fn database(error: &StoreError) -> Problem {
    tracing::warn!(%error, "history could not be read");
    Problem::unavailable("history cannot be read now; ask again")
}

/// Is this the one that was asked for, or was none?
pub(super) fn matches(wanted: Option<&str>, found: &str) -> bool {
    wanted.is_none_or(|wanted| wanted == found)
}
