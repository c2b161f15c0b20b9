//! `/api/v1/queries`: statistics by shape of statement.

use super::Gate;
use super::api::{Answer, Source, asked, database, limit, matches};
use actix_web::{HttpRequest, web};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// What `/api/v1/queries` is asked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QueriesQuery {
    /// Of this service.
    pub service: Option<String>,
    /// With this fingerprint.
    pub fingerprint: Option<String>,
    /// At most so many, 1 to 1000; 100 when not said. Those that took the most time come first.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
}

/// `/api/v1/queries`
pub(super) async fn queries(gate: web::Data<Gate>, request: HttpRequest) -> Answer {
    let asked: QueriesQuery = asked(&request)?;
    let limit = limit(asked.limit)? as usize;
    if let Some(view) = gate.state.slots.query.view().await {
        let rows = view
            .queries
            .into_iter()
            .filter(|row| matches(asked.service.as_deref(), &row.service) && matches(asked.fingerprint.as_deref(), &row.fingerprint));
        return Ok(Source::Mind.answers(&rows.take(limit).collect::<Vec<_>>()));
    }
    let rows = gate.state.store.queries().await.map_err(|error| database(&error))?;
    let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    let rows = rows.into_iter().filter(|row| {
        matches(asked.service.as_deref(), &text(row, "service")) && matches(asked.fingerprint.as_deref(), &text(row, "fingerprint"))
    });
    Ok(Source::Store.answers(&rows.take(limit).collect::<Vec<_>>()))
}
