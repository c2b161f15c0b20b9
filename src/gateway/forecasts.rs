//! Forecasts as JSON: what the forecast mind knows of every series now.

use super::Gate;
use super::api::{Source, asked, limit, matches};
use super::problem::Problem;
use actix_web::{HttpRequest, HttpResponse, web};
use schemars::JsonSchema;
use serde::Deserialize;

/// What `/api/v1/forecasts` is asked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ForecastsQuery {
    /// Of this service.
    pub service: Option<String>,
    /// Of this metric.
    pub metric: Option<String>,
    /// Of this instance.
    pub instance: Option<String>,
    /// At most so many series, 1 to 1000; 100 when not said.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
}

/// `/api/v1/forecasts`
pub(super) async fn forecasts(gate: web::Data<Gate>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let asked: ForecastsQuery = asked(&request)?;
    let limit = limit(asked.limit)? as usize;
    let mut view = gate.state.slots.forecast.view().await.ok_or_else(|| Problem::not_here("forecast"))?;
    view.series.retain(|series| {
        matches(asked.service.as_deref(), &series.service)
            && matches(asked.metric.as_deref(), &series.metric)
            && matches(asked.instance.as_deref(), series.instance.as_deref().unwrap_or_default())
    });
    view.series.truncate(limit);
    Ok(Source::Mind.answers(&view))
}
