//! The hand `index_advice`: which indexes a planner would use, and which are there. What it does is [`crate::planner`].

use crate::planner::{Planner, PlannerConfig, PlannerError};
use homeostat_actors::query::index::IndexCandidate;
use homeostat_schemas::Ask;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// The hand's name.
pub(super) const NAME: &str = "index_advice";

/// Rows of a `LIMIT` about which nothing is known.
const LIMIT_ROWS: u64 = 100;
/// Indexes that are looked up at once.
const LOOKED_UP_MAX: usize = 64;

/// The one connection of this hand, made when it is needed.
#[derive(Clone)]
pub struct IndexAdvice {
    config: PlannerConfig,
    planner: Arc<Mutex<Option<Planner>>>,
}

#[derive(Deserialize)]
struct Verify {
    statement: String,
    #[serde(default)]
    candidates: Vec<IndexCandidate>,
    #[serde(default)]
    rows: Option<u64>,
}

#[derive(Deserialize)]
struct Present {
    indexes: Vec<IndexCandidate>,
}

impl IndexAdvice {
    /// A hand that asks the database of these settings.
    #[must_use]
    pub fn new(config: PlannerConfig) -> IndexAdvice {
        IndexAdvice { config, planner: Arc::default() }
    }

    /// Is there a database to ask?
    pub(super) fn is_configured(&self) -> bool {
        self.config.url.is_some()
    }

    /// Answers what is asked.
    ///
    /// # Errors
    /// Why not, in words that may be shown.
    pub(super) async fn work(&self, ask: &Ask, within: Duration) -> Result<Value, String> {
        let answered = tokio::time::timeout(within, self.answer(ask)).await;
        answered.map_err(|_| PlannerError::Late.to_string())?.map_err(|why| why.to_string())
    }

    async fn answer(&self, ask: &Ask) -> Result<Value, PlannerError> {
        let mut place = self.planner.lock().await;
        // Taken out while it is used: a question that is given up half-way leaves no connection behind in an unknown state.
        let mut planner = match place.take() {
            Some(planner) => planner,
            None => Planner::connect(&self.config).await?,
        };
        let answer = match self.ask(&mut planner, ask).await {
            // The database was restarted since the last question: another connection, once.
            Err(PlannerError::Away(_)) => {
                planner = Planner::connect(&self.config).await?;
                self.ask(&mut planner, ask).await
            }
            answer => answer,
        };
        if answer.as_ref().err().is_none_or(PlannerError::is_of_the_statement) {
            *place = Some(planner);
        }
        answer
    }

    async fn ask(&self, planner: &mut Planner, ask: &Ask) -> Result<Value, PlannerError> {
        match ask.what.as_str() {
            "verify" => {
                let Verify { statement, candidates, rows } = Verify::deserialize(&ask.args).map_err(|_| PlannerError::NoStatement)?;
                let rows = rows.unwrap_or(LIMIT_ROWS).clamp(1, 1_000_000_000);
                Ok(json!({ "indexes": planner.advise(&statement, rows, &candidates).await? }))
            }
            "present" => {
                let Present { mut indexes } = Present::deserialize(&ask.args).map_err(|_| PlannerError::NoStatement)?;
                indexes.truncate(LOOKED_UP_MAX);
                Ok(json!({ "present": planner.present(&indexes).await? }))
            }
            _ => Err(PlannerError::NoStatement),
        }
    }
}
