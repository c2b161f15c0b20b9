//! `/api/v1/leaks`: whose memory grows, as the leak mind sees it.

use super::Gate;
use super::api::{Source, asked, limit, matches};
use super::problem::Problem;
use actix_web::{HttpRequest, HttpResponse, web};
use homeostat_actors::leak::Tier;
use schemars::JsonSchema;
use serde::Deserialize;

/// What `/api/v1/leaks` is asked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LeaksQuery {
    /// Of this service.
    pub service: Option<String>,
    /// Of this instance.
    pub instance: Option<String>,
    /// Of this verdict: none, suspected or confirmed.
    pub verdict: Option<Tier>,
    /// At most so many processes, 1 to 1000; 100 when not said. The confirmed come first.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
}

/// `/api/v1/leaks`
pub(super) async fn leaks(gate: web::Data<Gate>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let asked: LeaksQuery = asked(&request)?;
    let limit = limit(asked.limit)? as usize;
    let view = gate.state.slots.leak.view().await;
    let mut view = view.ok_or_else(|| Problem::unavailable("the leak actor does not run here; ask the process that owns the log"))?;
    view.processes.retain(|row| {
        matches(asked.service.as_deref(), &row.service)
            && matches(asked.instance.as_deref(), row.instance.as_deref().unwrap_or_default())
            && asked.verdict.is_none_or(|verdict| verdict == row.verdict)
    });
    view.processes.truncate(limit);
    Ok(Source::Mind.answers(&view))
}
