//! `/api/v1/drift`: what the drift mind sees of every model.

use super::Gate;
use super::api::{Source, asked, matches};
use super::problem::Problem;
use actix_web::{HttpRequest, HttpResponse, web};
use schemars::JsonSchema;
use serde::Deserialize;

/// What `/api/v1/drift` is asked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DriftQuery {
    /// Of this service.
    pub service: Option<String>,
    /// This model.
    pub model: Option<String>,
    /// This feature.
    pub feature: Option<String>,
}

/// `/api/v1/drift`
pub(super) async fn drift(gate: web::Data<Gate>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let asked: DriftQuery = asked(&request)?;
    let view = gate.state.slots.drift.view().await;
    let mut view = view.ok_or_else(|| Problem::not_here("drift"))?;
    view.models.retain(|model| matches(asked.service.as_deref(), &model.service) && matches(asked.model.as_deref(), &model.model));
    for model in &mut view.models {
        model.features.retain(|feature| matches(asked.feature.as_deref(), &feature.feature));
    }
    view.models.retain(|model| !model.features.is_empty());
    Ok(Source::Mind.answers(&view))
}
