//! `/api/v1/key_rotation`: what is due for each key, as the key rotation mind sees it.

use super::Gate;
use super::api::{Source, asked, limit, matches};
use super::problem::Problem;
use actix_web::{HttpRequest, HttpResponse, web};
use homeostat_actors::key_rotation::Act;
use schemars::JsonSchema;
use serde::Deserialize;

/// What `/api/v1/key_rotation` is asked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KeyRotationQuery {
    /// Keys of this service.
    pub owner: Option<String>,
    /// Keys for which this is due next: expire, rotate, purge or recipient.
    pub next: Option<Act>,
    /// At most so many keys, 1 to 1000; 100 when not said. What is due first comes first.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
}

/// `/api/v1/key_rotation`
pub(super) async fn view(gate: web::Data<Gate>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let asked: KeyRotationQuery = asked(&request)?;
    let limit = limit(asked.limit)? as usize;
    let view = gate.state.slots.key_rotation.view().await;
    let mut view =
        view.ok_or_else(|| Problem::unavailable("the key rotation actor does not run here; ask the process that owns the log"))?;
    view.keys.retain(|row| matches(asked.owner.as_deref(), &row.owner) && asked.next.is_none_or(|next| Some(next) == row.next));
    view.keys.truncate(limit);
    Ok(Source::Mind.answers(&view))
}
