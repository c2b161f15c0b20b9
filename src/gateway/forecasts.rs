//! Forecasts as JSON: what the forecast mind knows of every series now.

use super::Gate;
use super::api::{Source, asked};
use super::problem::Problem;
use actix_web::{HttpRequest, HttpResponse, web};
use schemars::JsonSchema;
use serde::Deserialize;

/// Series an answer holds at most.
const LIMIT_MAX: usize = 1_000;
const LIMIT_DEFAULT: usize = 100;

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
    pub limit: Option<usize>,
}

/// `/api/v1/forecasts`
pub(super) async fn forecasts(gate: web::Data<Gate>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let asked: ForecastsQuery = asked(&request)?;
    let limit = asked.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::bad_request("limit: 1 to 1000"));
    }
    let mut view =
        gate.state.slots.forecast.view().await.ok_or_else(|| Problem::unavailable("the forecast actor is not running here; ask again"))?;
    let matches = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
    view.series.retain(|series| {
        matches(&asked.service, &series.service)
            && matches(&asked.metric, &series.metric)
            && matches(&asked.instance, series.instance.as_deref().unwrap_or_default())
    });
    view.series.truncate(limit);
    Ok(Source::Mind.answers(&view))
}
