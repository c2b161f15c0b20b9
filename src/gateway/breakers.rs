//! `/api/v1/breakers`: what share of calls the fleet admits.

use super::Gate;
use super::api::{Answer, Source, asked, limit, matches};
use super::problem::Problem;
use actix_web::{HttpRequest, web};
use schemars::JsonSchema;
use serde::Deserialize;

/// What `/api/v1/breakers` is asked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BreakersQuery {
    /// Of this service.
    pub service: Option<String>,
    /// About calls to this peer.
    pub peer: Option<String>,
    /// At most so many, 1 to 1000; 100 when not said.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
}

/// `/api/v1/breakers`
pub(super) async fn breakers(gate: web::Data<Gate>, request: HttpRequest) -> Answer {
    let asked: BreakersQuery = asked(&request)?;
    let limit = limit(asked.limit)? as usize;
    // What is open is told by the findings as well; the breakers themselves are the mind's alone.
    let view = gate.state.slots.breaker.view().await.ok_or_else(|| Problem::not_here("breaker"))?;
    let rows = view.into_iter().filter(|row| matches(asked.service.as_deref(), &row.service) && matches(asked.peer.as_deref(), &row.peer));
    Ok(Source::Mind.answers(&rows.take(limit).collect::<Vec<_>>()))
}
